"""Sweeps over graphs: reverse, forward, batched; and what is made of them."""

"""Wengert beside its peers: training steps, scientific gradients, kernels alone.

    python -m benchmarks.compiled [--only NAME ...] [--quick] [--check] [--write]

Every model stands here once, as a function of the library (``torch`` or ``wengert``: the same names); JAX has the
same networks as plain functions of the same weights. Contenders run in one process, in turns, and the figure
is the median over the rounds.
"""

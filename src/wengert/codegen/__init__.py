"""Kernels as loops, and loops as machine code."""

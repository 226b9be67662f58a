"""Products of a small matrix with one vector, where the matrix lies so that vectors run along the result.

In a loop they follow on each other, so what counts is how soon the result is there: a sum is cut into several, which
go on at once.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from .kernel import Kernel, Recipe, Step, kernel_builder
from .loop import BITS, Type, Value, Var, pointer
from .micro import multiply_add
from .target import Target

CHAINS = 8  # sums under way at once
LARGEST = 4096  # elements of a matrix


class Column(NamedTuple):
    """``c[i] = sum over k of a[k * a_stride + i] * x[k * x_stride]`` for ``m`` results and ``k`` terms."""

    kind: str
    m: int
    k: int
    a_stride: int
    x_stride: int


@functools.lru_cache(1024)
def column_product(spec: Column, target: Target) -> Recipe:
    """The kernel, which is one tile. Operands: a, x, c."""
    kind, m, k = spec.kind, spec.m, spec.k
    name = f"column_{kind}_{m}_{k}_{spec.a_stride}_{spec.x_stride}_{target.vector_bytes}{'_fma' * target.has_fma}"
    b = kernel_builder(name, {x: pointer(kind) for x in ("a", "x", "c")})
    lanes = target.vector_bytes * 8 // BITS[kind]
    vectors = -(-m // lanes)
    group = min(vectors, CHAINS // 2)
    with b.when(b.lo < b.hi):
        for first in range(0, vectors, group):
            starts = [v * lanes for v in range(first, min(first + group, vectors))]
            _strip(spec, target, (b.a, b.x, b.c), starts, lanes)
    size = BITS[kind] // 8
    kernel = Kernel(b.finish(), 1, 0, 2 * m * k, (m * k + m + k) * size)
    return Recipe((Step(kernel, ("a", "x", "c")),), {})


def _strip(spec: Column, target: Target, memory: tuple[Value, Value, Value], starts: list[int], lanes: int) -> None:
    """The results from some places on, a vector each."""
    (a, x, c), b = memory, memory[0].b
    chains = max(min(CHAINS // len(starts), spec.k), 1)
    vector = Type(spec.kind, lanes)
    sums: list[list[Var]] = [[b.var(0, vector) for _ in starts] for _ in range(chains)]
    masks = [None if s + lanes <= spec.m else b.iota(lanes) < b.splat(b.const(spec.m - s, Type("i64")), lanes)
             for s in starts]  # fmt: skip

    def term(k: Value | int, chain: int) -> None:
        factor = b.splat(b.load(x, k * spec.x_stride), lanes)
        for s, mask, total in zip(starts, masks, sums[chain], strict=True):
            total.set(
                multiply_add(b, b.load(a, k * spec.a_stride + s, lanes, mask), factor, total.get(), target.has_fma)
            )

    whole = spec.k // chains * chains
    with b.loop(0, whole, chains) as k:
        for chain in range(chains):
            term(k + chain, chain)
    for k in range(whole, spec.k):
        term(k, k - whole)
    for i, (s, mask) in enumerate(zip(starts, masks, strict=True)):
        parts = [chain[i].get() for chain in sums]
        while len(parts) > 1:
            rest = parts[len(parts) // 2 * 2 :]
            parts = [p + q for p, q in zip(parts[::2], parts[1::2], strict=False)] + rest
        b.store(c, s, parts[0], mask)

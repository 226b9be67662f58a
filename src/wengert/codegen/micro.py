"""Register blocks: the inner parts of every contraction.

A block of accumulators, ``rows`` by ``vectors``, is updated by outer products: for each step of the contracted index
one vector load for each of the ``vectors`` and one broadcast for each of the ``rows``. Matrix products and
convolutions differ in where the operands lie, which is theirs to say. (K. Goto, R. van de Geijn, "Anatomy of
high-performance matrix multiplication", ACM TOMS 34, 2008.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .loop import Builder, Type, Value
from .target import Target

_LATENCY = 4  # cycles from one FMA to the next that needs its result, on the processors known
_FMA_PORTS = 2
_LOAD_PORTS = 2
_LOAD = 0.06  # cycles that a load costs beside others: lines must come from the second-level cache too


class Block(NamedTuple):
    """Size of a register block: ``rows`` broadcast, ``vectors`` of ``lanes`` elements."""

    rows: int
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.vectors * self.lanes


def block_cycles(rows: int, vectors: int) -> float:
    """Estimated cycles of one step of a block: bound by multiply-adds, by loads, or by the latency of its chains."""
    loads = rows + vectors
    return max(rows * vectors / _FMA_PORTS, loads / _LOAD_PORTS, _LATENCY) + _LOAD * loads


def sweep_cycles(block: Block, i: int, j: int) -> float:
    """Estimated cycles of one step over a whole ``i`` by ``j`` result, edges with their exact size."""
    rows = [(block.rows, i // block.rows), (i % block.rows, 1 if i % block.rows else 0)]
    last = -(-(j % block.width) // block.lanes)
    columns = [(block.vectors, j // block.width), (last, 1 if last else 0)]
    return sum(n * m * block_cycles(r, v) for r, n in rows for v, m in columns)


def register_block(target: Target, lanes: int, i: int, j: int, most_vectors: int = 4) -> Block:
    """The block that fits the registers and takes the fewest estimated cycles for an ``i`` by ``j`` result."""
    best: tuple[float, Block] | None = None
    for vectors in range(1, min(most_vectors, -(-j // lanes)) + 1):
        most = (target.vector_registers - vectors - 1) // vectors
        for rows in range(1, min(most, i) + 1):
            block = Block(rows, vectors, lanes)
            cost = sweep_cycles(block, i, j)
            if best is None or cost < best[0]:
                best = cost, block
    assert best is not None
    return best[1]


class Accumulators:
    """A block of sums in registers."""

    def __init__(self, b: Builder, rows: int, vectors: int, type: Type, fused: bool = True) -> None:
        """``type`` of a vector; ``fused``: the target multiplies and adds in one instruction."""
        self.b, self.fused = b, fused
        zero = b.const(0, type)
        self.sums = [[b.var(zero) for _ in range(vectors)] for _ in range(rows)]

    def step(self, x: Callable[[int], Value], y: Callable[[int], Value]) -> None:
        """Add the outer product of ``x(row)``, a scalar, and ``y(vector)``."""
        ys = [y(j) for j in range(len(self.sums[0]))]
        for i, row in enumerate(self.sums):
            xi = self.b.splat(x(i), ys[0].lanes)
            for yj, total in zip(ys, row, strict=True):
                total.set(multiply_add(self.b, xi, yj, total.get(), self.fused))

    def values(self) -> list[list[Value]]:
        """The sums here."""
        return [[total.get() for total in row] for row in self.sums]


def multiply_add(b: Builder, x: Value, y: Value, z: Value, fused: bool) -> Value:
    """``x * y + z``, rounded once if the target can."""
    return b.fma(x, y, z) if fused else x * y + z


def transpose(b: Builder, rows: Sequence[Value]) -> list[Value]:
    """The transpose of a square of as many vectors as each has lanes, a power of two."""
    rows = list(rows)
    n = len(rows)
    half = n // 2
    while half:
        # Exchange the off-diagonal quarters of each square of 2 * half.
        low = [i % (2 * half) if i % (2 * half) < half else n + i % (2 * half) - half for i in range(n)]
        low = [p + i - i % (2 * half) for i, p in enumerate(low)]
        high = [p + half for p in low]
        out = list(rows)
        for i in range(n):
            if i % (2 * half) < half:
                out[i] = b.shuffle(rows[i], rows[i + half], low)
                out[i + half] = b.shuffle(rows[i], rows[i + half], high)
        rows, half = out, half // 2
    return rows


def first_lanes(b: Builder, lanes: int, count: int | Value) -> Value | None:
    """A mask of the first ``count`` lanes; None if these are certainly all."""
    if isinstance(count, int) and count >= lanes:
        return None
    return b.compare("lt", b.iota(lanes), b.splat(count, lanes) if isinstance(count, Value) else count)

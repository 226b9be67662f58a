"""Register blocks: the inner parts of every contraction.

A block of accumulators, ``rows`` by ``vectors``, is updated by outer products: for each step of the contracted index
one vector load for each of the ``vectors`` and one broadcast for each of the ``rows``. Matrix products and
convolutions differ in where the operands lie, which is theirs to say. (K. Goto, R. van de Geijn, "Anatomy of
high-performance matrix multiplication", ACM TOMS 34, 2008.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .loop import BITS, Builder, Type, Value
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
    """``x * y + z``, rounded once if the target can; of pairs of bfloat16, both products."""
    if x.type.kind == "u32":
        return b.dot(x, y, z)
    return b.fma(x, y, z) if fused else x * y + z


def pairs(b: Builder, x: Value, y: Value) -> Value:
    """Elements of ``x`` and ``y``, both of 16 bits, as the pairs that `multiply_add` takes together."""
    return b.cast(x, "u32") | (b.cast(y, "u32") << 16)


def transpose(b: Builder, rows: Sequence[Value]) -> list[Value]:
    """The transpose of a square of as many vectors as each has lanes, a power of two.

    First squares within blocks of 16 bytes, then whole blocks, by shuffles that x86-64 has with constants in the
    instruction. Such with constants in registers would keep these over the loops around, where a product needs all.
    """
    rows = list(rows)
    n = len(rows)
    size = min(_BLOCK // max(BITS[rows[0].type.kind] // 8, 1), n)
    squares = [_within_blocks(b, rows[i : i + size], size, 1) for i in range(0, n, size)]
    columns = [_whole_blocks(b, [square[c] for square in squares], size) for c in range(size)]
    return [columns[i % size][i // size] for i in range(n)]


_BLOCK = 16  # bytes within which x86-64's vectors are cheapest to shuffle


def _within_blocks(b: Builder, rows: list[Value], size: int, together: int) -> list[Value]:
    """Vectors with the columns of each block of ``size`` lanes, of so many rows, ``together`` lanes of which belong."""
    if len(rows) == 1:
        return rows
    n = rows[0].type.lanes
    out: list[Value] = []
    for first in (0, size // 2):
        runs = [range(at, at + together) for at in range(first, first + size // 2, together)]
        lanes = [
            block + x for block in range(0, n, size) for run in runs for start in (0, n) for x in _moved(run, start)
        ]
        pairs = [b.shuffle(x, y, lanes) for x, y in zip(rows[::2], rows[1::2], strict=True)]
        out += _within_blocks(b, pairs, size, 2 * together)
    return out


def _moved(run: range, by: int) -> range:
    return range(run.start + by, run.stop + by)


def _whole_blocks(b: Builder, rows: list[Value], size: int) -> list[Value]:
    """The transpose of blocks of ``size`` lanes: even ones and odd ones apart, until each is alone."""
    if len(rows) == 1:
        return rows
    n = rows[0].type.lanes
    even, odd = (
        [x for block in range(first, 2 * n, 2 * size) for x in range(block, block + size)] for first in (0, size)
    )
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    parts = [_whole_blocks(b, [b.shuffle(x, y, lanes) for x, y in pairs], size) for lanes in (even, odd)]
    return [x for both in zip(*parts, strict=True) for x in both]


def first_lanes(b: Builder, lanes: int, count: int | Value) -> Value | None:
    """A mask of the first ``count`` lanes; None if these are certainly all."""
    if isinstance(count, int) and count >= lanes:
        return None
    return b.compare("lt", b.iota(lanes), b.splat(count, lanes) if isinstance(count, Value) else count)


def lanes_between(b: Builder, lanes: int, low: int, high: int) -> Value | None:
    """A mask of lanes ``low`` to ``high``; None if these are all."""
    if high - low == lanes:
        return None
    there = b.iota(lanes) < high
    return there & (b.iota(lanes) >= low) if low else there

"""How a matrix product is computed: which operand is broadcast, block sizes, what is packed, how work is cut.

All of it is decided from shapes, strides and the target alone, never from the number of threads, so that results do
not depend on it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .loop import BITS
from .micro import Block, register_block, sweep_cycles
from .target import Target

Strides = tuple[tuple[int, ...], int, int]


@dataclass(frozen=True)
class Product:
    """``c[..., m, n] (+)= alpha * sum over k of a[..., m, k] * b[..., k, n]``, shapes static.

    ``a``, ``b``, ``c``: strides in elements, (of each batch dimension, of the first index, of the second); 0 repeats
    elements of ``a`` or ``b``. ``kind``: of all three, but for ``kind_a`` and ``kind_b`` where an operand is computed
    from what lies in memory; ``bf16`` is summed in float32.
    """

    kind: str
    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a: Strides
    b: Strides
    c: Strides
    accumulate: bool = False
    alpha: float = 1.0
    kind_a: str = ""
    kind_b: str = ""

    def kind_of(self, operand: str) -> str:
        """The kind in memory of ``"a"``, ``"b"`` or ``"c"``."""
        return {"a": self.kind_a, "b": self.kind_b}.get(operand) or self.kind

    @property
    def sum_kind(self) -> str:
        """The kind in which products are summed."""
        return "f64" if self.kind == "f64" else "f32"

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * math.prod(self.batch) * self.m * self.n * self.k


class Side(NamedTuple):
    """An operand: strides of the batch dimensions, of the kept index ``w`` and of ``k``."""

    operand: str
    batch: tuple[int, ...]
    w: int
    k: int


class Problem(NamedTuple):
    """A product with its roles given: rows ``i`` of ``x`` are broadcast, columns ``j`` of ``y`` are vectors.

    ``swapped``: i is n and j is m. ``c``: strides (batch, i, j). ``dims``: the product's batch dimension for each one
    here; ``folds``: those that have become part of ``i``, each with how many rows there were within one index of it.
    ``pairs``: a step of ``k`` here is two of the product's; strides stay those of single ones.
    """

    product: Product
    swapped: bool
    batch: tuple[int, ...]
    i: int
    j: int
    k: int
    x: Side
    y: Side
    c: Strides
    dims: tuple[int, ...]
    folds: tuple[tuple[int, int], ...]
    pairs: bool = False


def problem(p: Product, swapped: bool, pairs: bool = False, computed: bool = False, followed: bool = False) -> Problem:
    """The product with ``a`` broadcast, or ``b`` if ``swapped``; batch dimensions made rows where strides allow it.

    ``computed``: elements of operands go through functions; ``followed``: results do. These want to know of each lane
    in which batch and row it is, so vectors must not go from one to the next.
    """
    a, b = Side("a", *p.a), Side("b", p.b[0], p.b[2], p.b[1])
    i, j = (p.n, p.m) if swapped else (p.m, p.n)
    x, y = (b, a) if swapped else (a, b)
    batch_c, ci, cj = (p.c[0], p.c[2], p.c[1]) if swapped else p.c
    xw, dims = x.w, [d for d, size in enumerate(p.batch) if size != 1]
    folds: list[tuple[int, int]] = []
    for d in reversed(dims):
        same = (x.batch[d], batch_c[d]) == (xw * i, ci * i)
        across = batch_c[d] if i == 1 else ci
        if computed or (followed and across == 1 and cj != 1):
            break
        if y.batch[d] == 0 and (same or i == 1):
            if i == 1:
                xw, ci = x.batch[d], batch_c[d]
            folds.append((d, i))
            i *= p.batch[d]
            dims.remove(d)

    def pick(strides: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(strides[d] for d in dims)

    return Problem(
        product=p,
        swapped=swapped,
        batch=tuple(p.batch[d] for d in dims),
        i=i,
        j=j,
        k=p.k // 2 if pairs else p.k,
        x=Side(x.operand, pick(x.batch), xw, x.k if p.k > 1 else 1),
        y=Side(y.operand, pick(y.batch), y.w if j > 1 else 1, y.k if p.k > 1 else 0),
        c=(pick(batch_c), ci, cj if j > 1 else 1),
        dims=tuple(dims),
        folds=tuple(folds),
        pairs=pairs,
    )


class Plan(NamedTuple):
    """All decisions.

    ``pack_x``, ``pack_y``: ``""``, ``"tile"`` (within the kernel, y again only where the columns differ from those of
    the tile before) or ``"temp"`` (once, a step before).
    A tile has ``rows`` by ``columns`` of the result; ``kc`` steps of k go over a tile at once; ``chunk`` steps of k
    are one tile's (less than k: partial sums are combined by a step after). ``turn``: results are transposed before
    they are stored. ``near``: bytes of the second-level cache. ``how``: ``"tiles"``; or few rows have a kernel of their
    own (`contract_dot`): ``"dots"``, with vectors along k, ``block.vectors`` columns at once, or ``"sums"``, ``kc``
    steps of k at once.
    """

    problem: Problem
    block: Block
    rows: int
    columns: int
    kc: int
    chunk: int
    pack_x: str
    pack_y: str
    turn: bool
    cost: float
    near: int
    how: str = "tiles"

    def scattered(self, operand: str) -> float:
        """Cycles to read a byte of an operand from memory, more than straight on.

        Where rows lie along k, some lines of each are packed at a time, for which processors wait; the more so where
        the caches find room for few of them.
        """
        q = self.problem
        side, how = (q.x, self.pack_x) if q.x.operand == operand else (q.y, self.pack_y)
        if not how or side.w == 1 or side.k != 1:
            return 0.0
        return _SCATTERED if side.w * BITS[q.product.kind_of(operand)] // 8 % _SETS else _COLLIDING

    @property
    def row_tiles(self) -> int:
        """How many tiles along i."""
        return -(-self.problem.i // self.rows)

    @property
    def column_tiles(self) -> int:
        """How many tiles along j."""
        return -(-self.problem.j // self.columns)

    @property
    def streams(self) -> bool:
        """Whether memory is read once, each step of k on another page: no processor foresees what comes next."""
        q = self.problem
        far = q.y.k * BITS[q.product.kind_of(q.y.operand)] // 8 >= _PAGE
        return far and q.y.w == 1 and q.i <= self.block.rows and self.how == "tiles" and not self.pack_y

    @property
    def asks_for_rows(self) -> bool:
        """Whether rows of x are asked for while those before them are used.

        They are, where each is read as it lies and all come from behind the second-level cache: no processor foresees
        which are next.
        """
        q = self.problem
        size = q.i * q.k * BITS[q.product.kind_of(q.x.operand)] // 8
        return not self.pack_x and q.x.k == 1 and size > self.near

    @property
    def chunks(self) -> int:
        """How many tiles along k."""
        return max(-(-self.problem.k // self.chunk), 1)


@functools.lru_cache(4096)
def plan(p: Product, target: Target, work_a: int = 0, work_b: int = 0, followed: bool = False) -> Plan:
    """The cheaper of the two ways to give the roles.

    ``work``: additions of a function that an operand's elements go through, each time they are packed or loaded.
    ``followed``: results go through a function, too.
    """
    computed, work = bool(work_a or work_b), {"a": work_a, "b": work_b}
    pairs = (False, True) if target.bf16_dot and not computed and _has_pairs(p) else (False,)
    problems = [problem(p, swapped, two, computed, followed) for two in pairs for swapped in (False, True)]
    return min([_plan(q, target, work) for q in problems], key=lambda q: q.cost)


def _has_pairs(p: Product) -> bool:
    """Whether a product of bfloat16 can be packed by pairs of steps of k, so that an instruction takes both."""
    return p.kind == "bf16" and p.k > 1 and p.k % 2 == 0 and _is_paired(*p.a[1:]) and _is_paired(p.b[2], p.b[1])


def _is_paired(w: int, k: int) -> bool:
    """Of an operand with these strides of the kept index and of k: rows side by side, or pairs that are whole words."""
    return w == 1 or (k == 1 and w % 2 == 0)


_FAR = 512  # bytes between steps of k from which on packing is worth while
_PAGE = 4096
_SETS = 4096  # bytes after which a first-level cache begins with the same set again
_CONFLICT = 1024  # rows at multiples of this share few sets of the first-level cache
_COPY, _TURN, _GATHER = 0.4, 0.5, 1.5  # cycles to pack an element within a kernel, as measured
_AWAY = 1.0  # more if it is done before, through memory
_LINE, _FAR_LINE = 64, 4.0  # bytes of a line, and cycles that one costs which is read for a few elements
_SCATTERED, _COLLIDING = 0.04, 0.2  # cycles to read a byte of many rows at once
_AGAIN = 1.0  # cycles to read an element that rows of the same set have thrown out
_STORE_TURNED = 1.0  # cycles to store an element by a transpose
_SMALL_CHUNK = 256


def _plan(q: Problem, target: Target, work: dict[str, int]) -> Plan:
    size = BITS[q.product.sum_kind] // 8
    lanes = target.lanes(size)
    if not q.pairs and _is_dot(q, lanes):
        return _dot_plan(q, target, lanes, work)
    if not q.pairs and _is_sums(q, size, target):
        return _sum_plan(q, target, lanes, work)
    block = register_block(target, lanes, max(q.i, 1), max(q.j, 1))
    away = q.y.k * size >= _PAGE and q.j * q.k * size > target.l2
    if away and q.y.w == 1 and 0 < q.i < target.vector_registers - 1:
        block = Block(q.i, (target.vector_registers - 1) // (q.i + 1), lanes)  # memory is read once, straight on
    converted = int(q.product.kind != q.product.sum_kind)
    needs = {n: max(w, converted) for n, w in work.items()}
    x_packed, y_packed = (True, True) if q.pairs else _packs(q, block, size, needs, target)
    turn = q.c[2] != 1 and q.c[1] == 1
    batch = math.prod(q.batch)
    chunk = _chunk(q, batch)
    far = 0 if y_packed else q.y.k * size
    once = far >= _PAGE and q.i <= block.rows
    streams = _STREAMS // 4 if far % _CONFLICT == 0 else _STREAMS
    kc = streams if once and chunk > 2 * streams else _depth(chunk, block, target, size, far)
    # If y stays in the cache, a tile has all columns, and packs its own rows of x where they are used.
    whole = x_packed and q.j * q.k * size <= target.l2 // 2
    kept = _kept(block, kc, size, whole or turn or kc < chunk)
    rows, columns = _tile(q, block, target, kept, size, batch * max(-(-q.k // chunk), 1), whole)
    if once:  # long stretches of few rows of y
        columns = max(columns, -(-min(-(-q.j // 4), _STRETCH) // block.width) * block.width)
    most = 4 * target.l2 // size // max(q.k, 1) if chunk >= q.k else 0  # rows or columns that a tile may pack
    pack_x = ("tile" if columns >= q.j and rows <= most else "temp") if x_packed else ""
    pack_y = ("tile" if columns <= most else "temp") if y_packed else ""
    return Plan(
        problem=q,
        block=block,
        rows=rows,
        columns=columns,
        kc=kc,
        chunk=chunk,
        pack_x=pack_x,
        pack_y=pack_y,
        turn=turn and chunk >= q.k,
        cost=_cycles(q, block, target, work, pack_x, pack_y) * batch,
        near=target.l2,
    )


def _cycles(q: Problem, block: Block, target: Target, work: dict[str, int], pack_x: str, pack_y: str) -> float:
    """What one product of the batch takes: the sweep, packing, the values' own arithmetic, and bad strides."""
    size = BITS[q.product.sum_kind] // 8
    lanes = target.lanes(size)
    cycles = sweep_cycles(block, q.i, q.j) * q.k
    cycles += q.i * q.k * _pack_cycles(q.x, q.k, pack_x) + q.j * q.k * _pack_cycles(q.y, q.k, pack_y)
    cycles += q.i * q.k * _map_cycles(work[q.x.operand], 1 if pack_x else lanes * -(-q.j // block.width), lanes)
    cycles += q.j * q.k * _map_cycles(work[q.y.operand], 1 if pack_y else -(-q.i // block.rows), lanes)
    if not pack_x and q.x.k * size >= _PAGE and q.i * q.k * size > target.l2:
        cycles += q.k * -(-q.i // block.rows) * (block.rows * size / _LINE + 1) * _FAR_LINE
    if not pack_x and _collide(q, block, size, target.l1):
        cycles += q.i * q.k * -(-q.j // block.width) * _AGAIN
    if q.c[2] != 1:
        cycles += q.i * q.j * _STORE_TURNED * (1 if q.c[1] == 1 else 2)
    return cycles


_FEW_ROWS = 6


def _is_dot(q: Problem, lanes: int) -> bool:
    """Whether y is read so few times that it is best read where it lies, along k."""
    return 0 < q.i <= _FEW_ROWS and q.x.k == q.y.k == 1 and q.y.w != 1 and q.k >= 4 * lanes


def _dot_plan(q: Problem, target: Target, lanes: int, work: dict[str, int]) -> Plan:
    columns = next(s for s in (8, 4, 2, 1) if s == 1 or (q.i * s + q.i < target.vector_registers and s <= lanes))
    cycles = q.j * q.k * (q.i + 1) / lanes / 2 + q.j * q.k * _map_cycles(work[q.y.operand], 1, lanes)
    cycles += q.i * q.k * _map_cycles(work[q.x.operand], -(-q.j // columns), lanes)
    group = max(_DOT_STEPS // (q.i * q.k), -(-q.j // (64 * lanes)), 1)
    width = min(group, max(-(-q.j // lanes), 1)) * lanes
    return _in_place(q, target, Block(q.i, columns, lanes), width, q.k, q.k, cycles, "dots")


def _is_sums(q: Problem, size: int, target: Target) -> bool:
    """Whether rows of y are best read side by side, where they lie: they are far apart, and used few times."""
    return 0 < q.i <= _ADDED and q.y.w == 1 and q.y.k * size >= _PAGE and q.j * q.k * size > target.l2


def _sum_plan(q: Problem, target: Target, lanes: int, work: dict[str, int]) -> Plan:
    # Rows that are whole pages apart, and the sums, lie in one set of the first-level cache, which has eight lines.
    steps = max(s for s in (1, 2, 3, 6) if s == 1 or q.i * (s + 1) + 2 < target.vector_registers)
    cycles = q.j * q.k * (q.i / _FMA_PORTS + q.i / steps + 1) / lanes
    cycles += q.j * q.k * _map_cycles(work[q.y.operand], 1, lanes)
    cycles += q.i * q.k * work[q.x.operand]
    tiles = -(-q.j // _STRAIGHT)
    chunks = max(-(-_SHARES // tiles), 1)
    width = -(-q.j // (tiles * lanes)) * lanes
    chunk = -(-q.k // (chunks * steps)) * steps
    return _in_place(q, target, Block(q.i, 1, lanes), width, steps, chunk, cycles, "sums")


def _in_place(
    q: Problem, target: Target, block: Block, columns: int, kc: int, chunk: int, cycles: float, how: str
) -> Plan:
    """The plan of a few rows, all in one tile: both operands are read where they lie."""
    cost = math.prod(q.batch) * cycles
    return Plan(q, block, q.i, columns, kc, chunk, "", "", False, cost, target.l2, how)


_ADDED = 4  # rows of results to which rows of y are added
_STRAIGHT = 4096  # elements of a row of y that are read one after the other; as many sums wait near by
_SHARES = 8  # tiles for threads to share
_FMA_PORTS = 2
_DOT_STEPS = 1 << 13  # multiply-adds of one column that make a tile worth while


VECTOR_OP = 0.7  # cycles of a vector's addition beside others


def _map_cycles(work: int, times: int, lanes: int) -> float:
    """Estimated cycles to compute an element ``times`` times, as part of a vector; single numbers count as one each."""
    return work * times * VECTOR_OP / lanes


def _pack_cycles(side: Side, k: int, how: str) -> float:
    """Estimated cycles to pack an element."""
    cycles = _COPY if side.w == 1 else _TURN if side.k == 1 and k > 2 else _GATHER
    return cycles + (_AWAY if how == "temp" else 0.0) if how else 0.0


def _packs(q: Problem, block: Block, size: int, work: dict[str, int], target: Target) -> tuple[bool, bool]:
    """Whether to pack x and y: needed if vectors cannot be loaded, else if the operand is read often from far apart."""
    y_uses, x_uses = q.i / block.rows, q.j / block.width
    far_x, far_y = q.x.k * size, q.y.k * size
    often_x = 1 if q.k > 256 else 8
    often_y = 48 if far_y % _CONFLICT or q.k <= 256 else 24
    x = (x_uses - 1) * work[q.x.operand] > 1 or (far_x >= 2 * _FAR and x_uses > often_x and q.k > 32)
    x = x or (x_uses > often_x and _collide(q, block, size, target.l1))
    y = (y_uses - 1) * work[q.y.operand] > 1 or (far_y >= _FAR and y_uses > often_y and q.k > 32)
    # Each step of k is on another page, and what comes from memory is read again by each of a few sweeps.
    y = y or q.y.w != 1 or (far_y >= _PAGE and 1 < y_uses <= 8 and q.j * q.k * size > target.l2)
    return x, y


def _collide(q: Problem, block: Block, size: int, l1: int) -> bool:
    """Whether a panel's rows of x, one beside the other in memory, throw each other out of the first-level cache."""
    return q.x.k == 1 and block.rows * math.gcd(q.x.w * size, _SETS) > l1


def _chunk(q: Problem, batch: int) -> int:
    """Steps of k for one tile: all, unless the result is so small that there would be too few tiles."""
    work = q.i * q.j * batch
    if work > 1 << 16 or q.k < 8 * _SMALL_CHUNK or q.k < 4 * max(q.i, q.j):
        return max(q.k, 1)
    chunks = min(q.k // _SMALL_CHUNK, 64, max((1 << 19) // work, 1))
    return -(-q.k // max(chunks, 1))


_STREAMS = 128  # rows of y to read side by side, where each is read once; their next lines fit the first-level cache
_STRETCH = 384  # columns of y that are read side by side there
_SIDES = 320  # rows and columns of a tile that is large enough


def _depth(k: int, block: Block, target: Target, size: int, far: int) -> int:
    """Steps of k at once.

    All of them, if half of the first-level cache holds a panel of rows then, a quarter of the second one of columns:
    sums are stored once and never read again. Else as many as leave room for a tile's operands in the second. Fewer if
    y is read where it is, ``far`` bytes from step to step: rows of one page, or one set of a cache, get many.
    """
    if far < _FAR and k * size <= min(target.l1 // 2 // block.rows, target.l2 // 4 // block.width):
        return k
    most = max(target.l2 * 5 // 8 // (_SIDES * size), 64)
    if far >= _FAR:
        most = min(most, 512 if far % _CONFLICT else 256)
    return -(-k // max(-(-k // most), 1))


_THREADS = ((1, 4), (2, 3), (4, 1))  # numbers of threads to work well for, and how much each counts
_MANY, _SHARE = (16, 1), 1 << 18  # the same where each of them has so many cycles' work
_TILE_CYCLES = 400  # to begin a tile
_LOAD_BYTES = 8  # a cycle, from the third-level cache


def _kept(block: Block, kc: int, size: int, rows_again: bool) -> Callable[[int, int], int]:
    """Bytes that the second-level cache should keep of a tile, from its rows and columns.

    Columns are read again for each panel of rows, which themselves pass by once; unless ``rows_again``.
    """
    return lambda rows, columns: ((rows if rows_again else block.rows) + columns) * kc * size


def _tile(
    q: Problem, block: Block, target: Target, kept: Callable[[int, int], int], size: int, others: int, whole: bool
) -> tuple[int, int]:
    """Rows and columns of a tile: balanced for several numbers of threads, ``kept`` within the second-level cache."""
    panels_i, panels_j = max(-(-q.i // block.rows), 1), max(-(-q.j // block.width), 1)
    many = panels_i * panels_j * others * block.rows * block.vectors * q.k / 2 >= _MANY[0] * _SHARE
    threads = _THREADS[:1] if target.serial else (*_THREADS, _MANY) if many else _THREADS
    best: tuple[float, int, int] | None = None
    for pi in _divisions(panels_i):
        for pj in [panels_j] if whole else _divisions(panels_j):
            rows, columns = pi * block.rows, pj * block.width
            if kept(rows, columns) > target.l2 * 5 // 8 and (pi > 1 or pj > 1):
                continue
            tiles = -(-panels_i // pi) * -(-panels_j // pj) * others
            cycles = rows * pj * block.vectors * q.k / 2
            cycles += (rows + columns) * q.k * size / _LOAD_BYTES / 4 + _TILE_CYCLES
            cost = sum(weight * n * -(-tiles // n) * cycles for n, weight in threads)
            if best is None or cost < best[0]:
                best = cost, rows, columns
    assert best is not None
    return best[1], best[2]


_PARTS = (*range(1, 17), 20, 24, 28, 32, 48, 64, 96, 128)


def _divisions(n: int) -> list[int]:
    """Sizes of equal parts of ``n`` panels, each once."""
    return sorted({-(-n // parts) for parts in _PARTS if parts <= n})

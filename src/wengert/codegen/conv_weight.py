"""The gradient of a convolution's weight: a sum over positions, of which chunks are summed apart and then combined.

Blocks of the gradient (input channels at some taps of the row, by output channels) stay in registers while the
positions of a chunk pass by. Chunks do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from .conv_pack import Index, Panels, combine_block, unravel
from .conv_plan import lanes_of
from .conv_problem import ITEMSIZE, Axis, Problem, extent
from .kernel import Kernel, kernel_builder
from .loop import BITS, I64, Builder, Type, Value, Var, pointer
from .micro import block_cycles, multiply_add
from .target import Target

_TILES = 32  # enough for many threads; each costs a little, since x and g are read again
_LOOP = 26  # cycles that a row takes besides its steps: it ends with a branch that no processor foresees
_MASKED_BYTES = 64  # vectors as long have masks in registers of their own
_FEWEST = 200  # positions that a block passes by
_SMALL = 4  # with fewer input channels, a block holds all taps of the row


class Reach(NamedTuple):
    """Positions of the row, from and to, that see the same of its taps."""

    start: int
    stop: int
    taps: tuple[int, ...]


class WeightBlocking(NamedTuple):
    """How the gradient is computed.

    Blocks are of ``sizes`` (size, count) input channels, one after another; with ``reaches``, of all taps of the row
    too. Tiles are ``chunks`` of rows by output blocks, ``spread`` parts of the taps of the other axes, and ``parts``
    of the input blocks. All blocks of a tile go over ``strip`` rows, which stay in the cache, before the next.
    """

    sizes: tuple[tuple[int, int], ...]
    reaches: tuple[Reach, ...]
    vectors: int
    lanes: int
    chunks: int
    spread: int
    parts: int
    strip: int


def _cycles(rows: int, vectors: int, steps: int) -> float:
    """Of a step of a block: its multiply-adds, loads or latency; the sums that come and go; the loop of all steps."""
    return max(block_cycles(rows, vectors), 4.5) + (rows * vectors + 30) / 64 + _LOOP / steps


def _empty_vectors(target: Target) -> float:
    """How much slower blocks are that have vectors without any channel: processors without mask registers stumble."""
    return 1.1 if target.vector_bytes >= _MASKED_BYTES else 2.0


def _split(n: int, pieces: int) -> tuple[tuple[int, int], ...]:
    small, more = divmod(n, pieces)
    return tuple((size, count) for size, count in ((small + 1, more), (small, pieces - more)) if count and size)


def block_weight(problem: Problem, target: Target) -> WeightBlocking:
    """The best blocking by a model of multiply-adds, loads and latency."""
    lanes = lanes_of(problem.outs, target, problem.kind)
    row = problem.axes[-1]
    together = row.taps if 1 < row.taps and problem.channels < _SMALL and row.taps * problem.channels <= 24 else 1
    vecs = -(-problem.outs // lanes)
    best: tuple[float, int, int] | None = None
    for vectors in range(1, min(4, vecs) + 1):
        most = (target.vector_registers - vectors - 1) // vectors
        if together > most:
            continue
        fewest = -(-problem.channels * together // most)
        for pieces in range(fewest, min(fewest + 4, problem.channels) + 1):
            sizes = _split(problem.channels, pieces)
            if max(s for s, _ in sizes) * together > most:
                continue
            steps = [_cycles(s * together, vectors, row.outs) for s, _ in sizes]
            cost = sum(step * n for step, (_, n) in zip(steps, sizes, strict=True)) * -(-vecs // vectors)
            cost *= (1 + 0.02 * len(sizes)) * (_empty_vectors(target) if vecs % vectors else 1.0)
            best = min(best or (math.inf, 0, 0), (cost, vectors, pieces))
    assert best is not None
    _, vectors, pieces = best
    blocks = problem.groups * -(-vecs // vectors)
    tiling = _tiling(problem, target, blocks, pieces)
    reaches = _reaches(row) if together > 1 else ()
    strip = _strip(problem, target, vectors * lanes)
    return WeightBlocking(_split(problem.channels, pieces), reaches, vectors, lanes, *tiling, strip)


def _tiling(problem: Problem, target: Target, blocks: int, pieces: int) -> tuple[int, int, int]:
    """Few chunks, whose sums take little memory against x and g; then parts and taps apart, for many threads."""
    outer = math.prod(a.taps for a in problem.axes[:-1])
    rows = math.prod(a.outs for a in problem.axes[:-1])
    size = ITEMSIZE[problem.kind]
    outputs = rows * problem.axes[-1].outs * problem.groups * problem.outs
    moved = (extent(problem) + outputs) * size
    weights = problem.depth * problem.groups * problem.outs * size
    chunks = min(_TILES // blocks, moved // max(8 * weights, 1))
    chunks = max(1, min(rows, chunks))
    wanted = -(-_TILES // (blocks * chunks))
    if chunks == 1 and pieces >= wanted // 2:
        return 1, 1, _even(pieces, wanted)  # so that tiles have whole sums
    spread = outer if wanted > 1 else 1
    return chunks, spread, _even(pieces, _TILES // (blocks * chunks * spread))


def _even(n: int, pieces: int) -> int:
    """Not more than so many pieces, of as many elements each as these have at most."""
    most = -(-n // max(pieces, 1))
    return -(-n // most)


def _strip(problem: Problem, target: Target, width: int) -> int:
    """Rows whose part of x and g fits the first-level cache; at least some, since sums come and go with each strip."""
    row, size = problem.axes[-1], ITEMSIZE[problem.kind]
    channels = width if problem.depthwise else min(problem.channels, 64)
    position = (channels * row.step + width) * size
    return max(1, max(_FEWEST, target.l1 * 5 // 8 // position) // row.outs)


def _reaches(row: Axis) -> tuple[Reach, ...]:
    out: list[Reach] = []
    for o in range(row.outs):
        taps = tuple(t for t in range(row.taps) if row.valid(o, t))
        if out and out[-1].taps == taps:
            out[-1] = out[-1]._replace(stop=o + 1)
        else:
            out.append(Reach(o, o + 1, taps))
    return tuple(r for r in out if r.taps)


class WeightPiece(NamedTuple):
    """A problem, how it is blocked, and the sums: a copy for each chunk."""

    problem: Problem
    blocking: WeightBlocking
    panels: Panels

    @property
    def outer(self) -> int:
        """Taps of all axes but the row's."""
        return math.prod(a.taps for a in self.problem.axes[:-1])

    @property
    def tiles(self) -> int:
        """Independent parts."""
        k = self.blocking
        return k.chunks * self.panels.blocks * k.spread * k.parts


def weight_pieces(problems: Sequence[tuple[Problem, WeightBlocking]]) -> tuple[WeightPiece, ...]:
    """Problems with their sums one after another."""
    pieces: list[WeightPiece] = []
    start = 0
    for problem, k in problems:
        panels = Panels(problem, tuple(range(len(problem.axes))), k.vectors, k.lanes, start, k.chunks)
        pieces.append(WeightPiece(problem, k, panels))
        start += panels.elements
    return tuple(pieces)


def finishes_itself(pieces: Sequence[WeightPiece]) -> bool:
    """Whether tiles have whole sums, and write them to the gradient while they are in the cache."""
    return all(p.blocking.chunks == p.blocking.spread == 1 for p in pieces)


def sums(name: str, pieces: Sequence[WeightPiece], target: Target) -> Kernel:
    """The sums over chunks: operands x, g, sums (or out, if it `finishes_itself`)."""
    first, finishes = pieces[0].problem, finishes_itself(pieces)
    kind = pointer(first.kind)
    result = {"out": pointer(first.result_kind)} if finishes else {"sums": pointer(first.sum_kind)}
    b = kernel_builder(name, {"x": kind, "g": kind, **result})
    start = 0
    for piece in pieces:
        low, high = b.binary("max", b.lo - start, 0), b.binary("min", b.hi - start, piece.tiles)
        with b.loop(low, high) as tile:
            _Sums(b, piece, target, finishes).tile(tile)
        start += piece.tiles
    positions = [math.prod(a.outs for a in p.problem.axes) for p in pieces]
    flops = sum(p.problem.flops for p in pieces)
    moved = extent(first) + sum(positions) * first.groups * first.outs + sum(p.panels.elements for p in pieces)
    size = ITEMSIZE[first.kind]
    scratch = size * max(p.panels.size for p in pieces) if finishes else 0
    return Kernel(b.finish(), start, scratch, flops, size * moved)


class _Sums:
    """Writes the code of one piece."""

    def __init__(self, b: Builder, piece: WeightPiece, target: Target, finishes: bool) -> None:
        self.b, self.piece, self.panels, self.finishes = b, piece, piece.panels, finishes
        self.sums = b.retype(b.scratch, piece.problem.sum_kind) if finishes else b.sums
        self.p, self.k = piece.problem, piece.blocking
        self.row: Axis = self.p.axes[-1]
        self.outer = self.p.axes[:-1]
        self.rows = math.prod(a.outs for a in self.outer)
        self.fused = target.has_fma
        self.type = Type(self.p.sum_kind, self.k.lanes)

    def tile(self, tile: Value) -> None:
        """Some input blocks at some taps of the other axes, for a chunk of rows."""
        b, p, k, panels = self.b, self.p, self.k, self.panels
        counts = (k.chunks, panels.blocks, k.spread, k.parts)
        chunk, block, spread, part = (b.lift(i, I64) for i in unravel(tile, counts))
        group, number = unravel(block, (p.groups, panels.blocks_of_group))
        channel = b.lift(number * panels.width, I64)
        at = b.lift(0, I64) if self.finishes else (chunk * panels.blocks + block) * panels.size + panels.start
        low, high = chunk * self.rows // k.chunks, (chunk + 1) * self.rows // k.chunks
        pieces = sum(count for _, count in k.sizes)
        bounds = part * pieces // k.parts, (part + 1) * pieces // k.parts
        with b.loop(low, high, k.strip, unroll=1) as first:
            rows = _Rows(first, b.binary("min", first + k.strip, high), first > low)
            outer = self.piece.outer
            with b.loop(spread * outer // k.spread, (spread + 1) * outer // k.spread, unroll=1) as tap:
                taps = unravel(tap, [a.taps for a in self.outer])
                place = tap * (self.row.taps * p.channels * panels.width) + at
                self.strip(_Where(b.lift(group, I64), channel, taps, place), bounds, rows)
        if self.finishes:
            combine_block(b, panels, block, self.sums, *(self.first_channel(i) for i in bounds))

    def first_channel(self, number: Value) -> Value:
        """Of an input block."""
        b, start = self.b, 0
        channel = b.lift(0, I64)
        for size, count in self.k.sizes:
            channel = channel + b.binary("min", b.binary("max", number - start, 0), count) * size
            start += count
        return channel

    def strip(self, where: _Where, bounds: tuple[Value, Value], rows: _Rows) -> None:
        """Rows that stay in the cache while the input blocks from and to pass by."""
        b, k = self.b, self.k
        start = before = 0
        for size, count in k.sizes:
            low, high = (b.binary("min", b.binary("max", i - before, 0), count) for i in bounds)
            before += count
            with b.loop(low, high) as i, ExitStack() as loops:
                first = i * size + start
                tap: Index = 0
                if not k.reaches and self.row.taps > 1:
                    tap = loops.enter_context(b.loop(0, self.row.taps, unroll=1))
                self.block(where._replace(first=first, size=size, tap=tap), rows)
            start += size * count

    def block(self, where: _Where, rows: _Rows) -> None:
        """A block of the gradient."""
        b, p, k, panels = self.b, self.p, self.k, self.panels
        together = self.row.taps if k.reaches else 1
        zero = b.const(0, self.type)
        totals = [[b.var(zero) for _ in range(k.vectors)] for _ in range(together * where.size)]
        places = [
            where.at + ((where.tap + t) * p.channels + where.first + i) * panels.width
            for t in range(together)
            for i in range(where.size)
        ]
        with b.when(rows.more):
            for place, vectors in zip(places, totals, strict=True):
                for j, total in enumerate(vectors):
                    total.set(b.load(self.sums, place + j * k.lanes, lanes=k.lanes))
        with b.loop(rows.low, rows.high, unroll=1) as r:
            x = where.group * p.x_group + where.first * p.x_channel + p.x_base
            x = x + where.channel if p.depthwise else x
            g = where.group * p.out_group + where.channel * p.out_channel + p.out_base
            inside = None
            for axis, o, t in zip(self.outer, unravel(r, [a.outs for a in self.outer]), where.taps, strict=True):
                position = o * axis.step + t * axis.spacing + axis.first
                if not axis.always:
                    position = b.lift(position, I64)
                    ok = (position >= 0) & (position < axis.size)
                    inside = ok if inside is None else inside & ok
                x, g = position * axis.x + x, o * axis.out + g
            with ExitStack() as test:
                if inside is not None:
                    test.enter_context(b.when(inside))
                self.positions(where, x, g, totals)
        for place, vectors in zip(places, totals, strict=True):
            for j, total in enumerate(vectors):
                b.store(self.sums, place + j * k.lanes, total.get())

    def positions(self, where: _Where, x: Value, g: Value, totals: list[list[Var]]) -> None:
        """The positions of a row."""
        b, row = self.b, self.row
        if self.k.reaches:
            for reach in self.k.reaches:
                with b.loop(reach.start, reach.stop) as o:
                    self.step(where, x, g, o, reach.taps, totals)
            return
        low: Index = 0
        high: Index = row.outs
        if not row.always:
            # Both quotients are of positive numbers, since division rounds towards zero.
            begin = b.lift(where.tap * row.spacing + row.first, I64)
            low = b.binary("max", 0 - begin + (row.step - 1), 0) // row.step
            high = b.binary("min", b.binary("max", row.size - 1 + row.step - begin, 0) // row.step, row.outs)
        with b.loop(low, high) as o:
            self.step(where, x, g, o, (0,), totals)

    def step(self, where: _Where, x: Value, g: Value, o: Value, taps: Sequence[int], totals: list[list[Var]]) -> None:
        """The outer product at one position."""
        b, p, k, row = self.b, self.p, self.k, self.row
        gs = b.offset(b.g, o * row.out + g)
        ys: list[Value] = []
        masks: list[Value | None] = [None] * k.vectors
        if p.outs % self.panels.width:
            masks = [b.iota(k.lanes) + (where.channel + j * k.lanes) < p.outs for j in range(k.vectors)]
        for j, mask in enumerate(masks):
            if p.out_channel == 1 or k.lanes == 1:
                ys.append(b.load(gs, j * k.lanes * p.out_channel, lanes=k.lanes, mask=mask))
            else:
                ys.append(b.gather(gs, (b.iota(k.lanes) + j * k.lanes) * p.out_channel, mask))
        first = (where.tap + taps[0]) * row.spacing + row.first
        xs = b.offset(b.x, (o * row.step + first) * row.x + x)
        for t in taps:
            for i in range(where.size):
                place = (t - taps[0]) * row.spacing * row.x + i * p.x_channel
                if p.depthwise:
                    values = [b.load(xs, place + j * k.lanes, lanes=k.lanes, mask=m) for j, m in enumerate(masks)]
                else:
                    values = [b.splat(b.load(xs, place), k.lanes)] * k.vectors
                for total, value, y in zip(totals[t * where.size + i], values, ys, strict=True):
                    total.set(multiply_add(b, value, y, total.get(), self.fused))


class _Rows(NamedTuple):
    """Rows from and to, and whether their sums are added to those of earlier ones."""

    low: Value
    high: Value
    more: Value


class _Where(NamedTuple):
    """Which block of the gradient: group, output channel, outer taps; its panel's place; input channels, tap."""

    group: Value
    channel: Value
    taps: Sequence[Index]
    at: Value
    first: Index = 0
    size: int = 0
    tap: Index = 0


def zero_weight(name: str, kind: str, shape: Sequence[int], strides: Sequence[int]) -> Kernel:
    """Zeros in the whole gradient, for taps that meet no input at all: operand out."""
    b = kernel_builder(name, {"out": pointer(kind)})
    with b.loop(b.lo, b.hi) as tile, ExitStack() as loops:
        at = tile * strides[0]
        for n, step in zip(shape[1:], strides[1:], strict=True):
            at = loops.enter_context(b.loop(0, n)) * step + at
        b.store(b.out, at, b.const(0, Type(kind)))
    return Kernel(b.finish(), shape[0], bytes=BITS[kind] // 8 * math.prod(shape))

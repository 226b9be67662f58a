"""The gradient of a convolution's weight where positions are neighbours in memory: vectors lie along the rows.

Sums of some output channels at all taps of a row stay in registers, each a vector whose lanes are added up at the end,
while the positions of a band pass by: vectors of the input from a strip (see `conv_rows`), vectors of the result's
adjoint from a copy in which they do not lie across lines of the cache. Nothing is turned around. Bands are put
together to chunks, which do not depend on the number of threads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

from .conv_pack import Index, Panels, unravel
from .conv_problem import ITEMSIZE, Axis, Problem
from .conv_rows import TOGETHER, applies
from .conv_strips import Ahead, Segment, Source, Strips, pieces_of, segments, strip_of, whole
from .kernel import Kernel, kernel_builder
from .loop import I64, Builder, Value, Var, pointer
from .micro import first_lanes, multiply_add
from .target import Target

_PORTS, _LATENCY = 2, 4
_ENDING = 1.5  # cycles in which the lanes of a vector of sums are added up
_LEAST = 0.85  # of the peak, by the model below; else turning both operands around is cheaper
_LONGEST = 8  # vectors written after each other
_MOST, _FEWEST = 16, 8  # tiles


class Beside(NamedTuple):
    """Elements of a row, of an output channel, and in all."""

    pitch: int
    channel: int
    size: int


class RowWeight(NamedTuple):
    """Blocks of ``size`` output channels; ``rows`` together, ``vectors`` of them after each other; bands.

    Tiles are ``chunks`` of bands, by ``parts`` of the blocks.
    """

    size: int
    rows: int
    vectors: int
    band: int
    chunks: int
    parts: int

    def beside(self, p: Problem, lanes: int) -> Beside:
        """Where the adjoints of a block lie, rows that are worked on together one after another."""
        pitch = p.axes[-1].outs if self.rows > 1 else whole(p.axes[-1].outs, lanes)
        channel = whole(self.band * pitch, lanes) + lanes
        return Beside(pitch, channel, self.size * channel)

    def panels(self, p: Problem) -> Panels:
        """Where the sums lie."""
        return Panels(p, tuple(range(len(p.axes))), 1, self.size, 0, self.chunks)


def _cycles(size: int, row: Axis, straddling: float) -> float:
    """Of a vector of positions: an unaligned load takes as long as two."""
    joined = row.taps * straddling
    loads = size + (row.taps + joined) * (2 - 1 / row.taps)
    return max((size * row.taps + joined) / _PORTS, loads / _PORTS, _LATENCY)


@functools.lru_cache(1024)
def block_rows_weight(p: Problem, target: Target) -> RowWeight | None:
    """The best blocking by a model of multiply-adds and loads; None if it is not good enough."""
    if not applies(p) or p.groups != 1 or target.vector_bytes < 32:
        return None
    row, band, item = p.axes[-1], p.axes[-2], ITEMSIZE[p.kind]
    lanes = target.lanes(item)
    best: tuple[float, int, int, int] | None = None
    for rows in [r for r in TOGETHER if r == 1 or band.outs % r == 0]:
        found = segments(row.outs, rows, lanes)
        straddling = sum(len(s) - 1 for s in found) / len(found) if rows > 1 else 0.0
        vectors = next(v for v in range(_LONGEST, 0, -1) if len(found) % v == 0)
        if rows > 1 and vectors < len(found):
            continue
        size = 1
        while 2 * size <= min(lanes, 2 * p.outs - 1) and _fits(2 * size, row.taps, target):
            size *= 2
        if not _fits(size, row.taps, target):
            continue
        cycles = _cycles(size, row, straddling) * len(found) / rows
        height = _height(p, target, size, rows)
        if height:
            cost = (cycles + _ENDING * size * row.taps / height) * -(-p.outs // size)
            best = min(best or (math.inf, 0, 0, 0), (cost, size, rows, vectors))
    ideal = row.outs / lanes * p.outs * row.taps / _PORTS
    if best is None or ideal / best[0] < _LEAST:
        return None
    _, size, rows, vectors = best
    return _tiling(p, RowWeight(size, rows, vectors, _height(p, target, size, rows), 1, 1))


def _fits(size: int, taps: int, target: Target) -> bool:
    return size * taps + min(size, taps) + 1 <= target.vector_registers


def _height(p: Problem, target: Target, size: int, rows: int) -> int:
    """Rows whose adjoints, of a block, fill the first-level cache, if two strips fit the second-level one; or 0."""
    item, row, band = ITEMSIZE[p.kind], p.axes[-1], p.axes[-2]
    most = min(target.l1 // (size * row.outs * item), band.outs)
    while most >= rows and 2 * strip_of(p, target, most).size * item > target.l2 * 3 // 4:
        most -= 1
    if most < rows:
        return 0
    even = -(-band.outs // -(-band.outs // most))
    return min(-(-even // rows), most // rows) * rows


def _tiling(p: Problem, k: RowWeight) -> RowWeight | None:
    """Few chunks, whose sums take little memory against the operands; then parts, each of which fills strips again.

    None if there would be too little for threads to share.
    """
    moved = math.prod(a.size for a in p.axes) * p.channels + math.prod(a.outs for a in p.axes) * p.outs
    units = math.prod(a.outs for a in p.axes[:-2]) * -(-p.axes[-2].outs // k.band)
    blocks = -(-p.outs // k.size)
    chunks = max(1, min(_MOST, units, moved // (8 * p.depth * p.outs)))
    chunks = -(-units // -(-units // chunks))
    parts = max(1, min(blocks // 4, -(-_FEWEST // chunks)))  # each takes a twentieth longer: few
    return k._replace(chunks=chunks, parts=parts) if chunks * parts >= min(_FEWEST, units) else None


def sums_by_rows(name: str, p: Problem, k: RowWeight, target: Target) -> Kernel:
    """The sums over chunks: operands x, g, sums (panels as `conv_pack.combine_sums` takes them)."""
    b = kernel_builder(name, {"x": pointer(p.kind), "g": pointer(p.kind), "sums": pointer(p.kind)})
    sums = _Sums(b, p, k, target)
    with b.when(b.lo < b.hi):
        sums.begin(b.lo)
        with b.loop(b.lo, b.hi, unroll=1) as tile:
            sums.tile(tile)
    item, positions = ITEMSIZE[p.kind], math.prod(a.outs for a in p.axes)
    moved = math.prod(a.size for a in p.axes) * p.channels + positions * p.outs + k.panels(p).elements
    scratch = 2 * item * (strip_of(p, target, k.band).size + k.beside(p, target.lanes(item)).size)
    return Kernel(b.finish(), k.chunks * k.parts, scratch, 2 * p.depth * p.outs * positions, item * moved)


class _Unit(NamedTuple):
    """A band: its number, where its inputs are and its adjoints begin, and how many rows it has."""

    number: Value
    source: Source
    g: Value
    height: Value


class _Sums(Strips):
    """Writes the code of a tile."""

    def __init__(self, b: Builder, p: Problem, k: RowWeight, target: Target) -> None:
        super().__init__(b, p, k.rows, k.band, target)
        self.k, self.panels = k, k.panels(p)
        self.beside = k.beside(p, self.lanes)
        self.counts = [*[a.outs for a in p.axes[:-2]], -(-self.band.outs // k.band)]
        self.units, self.blocks = math.prod(self.counts), self.panels.blocks
        self.adjoints = b.offset(self.memory, 2 * self.at.size)
        self.turn_of_adjoints = b.var(0, I64)
        steps = p.channels * self.band.taps * (k.band // k.rows)
        self.inputs = self.ahead(steps * (self.blocks // k.parts))
        self.taken = pieces_of(self.row.outs, self.lanes)
        self.results = Ahead(b, k.size * k.band * self.taken.count, steps, self.fetch_adjoints, self.copy_adjoints)

    # -- tiles -----------------------------------------------------------------------------------

    def chunk(self, tile: Value) -> tuple[Value, Value, Value, Value, Value]:
        """Of a tile: which chunk, its units from and to, its blocks from and to."""
        k, units, blocks = self.k, self.units, self.blocks
        chunk, part = (self.b.lift(i, I64) for i in unravel(tile, (k.chunks, k.parts)))
        low, high = chunk * units // k.chunks, (chunk + 1) * units // k.chunks
        return chunk, low, high, part * blocks // k.parts, (part + 1) * blocks // k.parts

    def unit(self, number: Value) -> _Unit:
        """A band, by its number."""
        b, p = self.b, self.p
        *outer, band = unravel(number, self.counts)
        first = b.lift(band, I64) * self.k.band
        x, g = b.lift(p.x_base, I64), first * self.band.out + p.out_base
        for i, axis in zip(outer, p.axes, strict=False):
            x, g = i * axis.x + x, i * axis.out + g
        return _Unit(number, Source(x, first), g, b.binary("min", self.band.outs - first, self.k.band))

    def begin(self, tile: Value) -> None:
        """The strip of the first unit, and the adjoints of its first block."""
        _, low, _, block, _ = self.chunk(tile)
        unit = self.unit(low)
        self.clear()
        self.next, self.next_block = unit.source, (unit, block)
        self.inputs.rest()
        self.results.rest()

    def tile(self, tile: Value) -> None:
        """Some blocks of output channels, for a chunk of bands; strips and adjoints of what comes next are filled."""
        b = self.b
        chunk, low, high, first, last = self.chunk(tile)
        _, next_low, _, next_first, _ = self.chunk(b.binary("min", tile + 1, b.hi - 1))
        with b.loop(low, high, unroll=1) as number:
            ends = number + 1 == high
            then = self.unit(b.select(ends, next_low, number + 1))
            unit = self.unit(number)
            self.next = then.source
            self.exchange()
            with b.loop(first, last, unroll=1) as block:
                ready = block + 1 == last
                self.next_block = (
                    self.unit(b.select(ready, then.number, number)),
                    b.select(ready, b.select(ends, next_first, first), block + 1),
                )
                self.turn_of_adjoints.set(self.beside.size - self.turn_of_adjoints.get())
                self.block((chunk * self.blocks + block) * self.panels.size, unit.height, number > low)
                self.results.rest()
            self.inputs.rest()

    def block(self, at: Value, height: Value, more: Value) -> None:
        """Some output channels, for all input channels and taps."""
        b, p, k = self.b, self.p, self.k
        with b.loop(0, p.channels, unroll=1) as c, b.loop(0, self.band.taps, unroll=1) as t:
            x = b.offset(self.strip, c * self.at.channel + t * (self.band.spacing * self.at.pitch) + self.at.lead)
            totals = self.totals(x, height)
            there = b.iota(k.size) < b.splat(b.select(more, b.const(k.size, I64), b.const(0, I64)), k.size)
            for s, vectors in enumerate(totals):
                place = at + ((t * self.row.taps + s) * p.channels + c) * k.size
                before = b.load(self.b.sums, place, lanes=k.size, mask=there if k.size > 1 else more)
                b.store(self.b.sums, place, before + added_up(b, vectors, self.lanes))

    def adjoint(self, number: Value) -> tuple[Index, Index, Value, list[Index]]:
        """Of a piece of the next block's adjoints: channel of the block, row of the band, where that lies, columns."""
        b, p, k = self.b, self.p, self.k
        unit, block = self.next_block
        d, r, i = unravel(number, (k.size, k.band, self.taken.count))
        # Channels beyond the last repeat it: nobody reads their sums.
        channel = block * k.size + d
        channel = channel if p.outs % k.size == 0 else b.binary("min", channel, p.outs - 1)
        return d, r, unit.g + channel * p.out_channel + r * self.band.out, self.taken.columns(b, i)

    def fetch_adjoints(self, number: Value) -> None:
        """Have a piece in the cache soon."""
        *_, place, columns = self.adjoint(number)
        for column in columns:
            self.b.prefetch(self.b.g, place + column)

    def copy_adjoints(self, number: Value) -> None:
        """A piece of the next block's adjoints, to where vectors do not lie across lines of the cache."""
        b, lanes = self.b, self.lanes
        d, r, place, columns = self.adjoint(number)
        there = first_lanes(b, lanes, self.row.outs)
        if self.band.outs % self.k.band:
            inside = b.splat(r < self.next_block[0].height, lanes)
            there = inside if there is None else there & inside
        to = d * self.beside.channel + r * self.beside.pitch + self.beside.size - self.turn_of_adjoints.get()
        for column in columns:
            b.store(self.adjoints, to + column, b.load(b.g, place + column, lanes, there))

    def totals(self, x: Value, height: Value) -> list[list[Value]]:
        """Of each tap of the row and output channel a vector of sums."""
        b, k = self.b, self.k
        zero = b.const(0, self.type)
        sums = [[b.var(zero) for _ in range(k.size)] for _ in range(self.row.taps)]
        with b.loop(0, height, k.rows, unroll=1) as r:
            xs = b.offset(x, r * (self.band.step * self.at.pitch))
            gs = b.offset(self.adjoints, r * self.beside.pitch + self.turn_of_adjoints.get())
            self.inputs.some()
            self.results.some()
            if len(self.parts) == k.vectors:
                for j, part in enumerate(self.parts):
                    self.step(xs, b.offset(gs, j * self.lanes), part, sums)
            else:
                with b.loop(0, len(self.parts), k.vectors, unroll=1) as j:
                    for i in range(k.vectors):
                        column = (j + i) * self.lanes
                        part = [Segment(0, 0, 0, self.lanes)]
                        self.step(b.offset(xs, column), b.offset(gs, column), part, sums, column)
        return [[total.get() for total in vectors] for vectors in sums]

    def step(
        self, x: Value, g: Value, part: list[Segment], sums: list[list[Var]], column: Value | None = None
    ) -> None:  # fmt: skip
        """The products at a vector of positions."""
        b, row, mask = self.b, self.row, None
        if column is not None and row.outs % self.lanes:
            mask = first_lanes(b, self.lanes, b.lift(row.outs - column, I64))
        elif part[-1].high < self.lanes:
            mask = first_lanes(b, self.lanes, part[-1].high)
        known = [self.vector(x, s * row.spacing, part, mask) for s in range(row.taps)]
        for d in range(self.k.size):
            y = b.load(g, d * self.beside.channel, self.lanes, mask)
            for s, xs in enumerate(known):
                sums[s][d].set(multiply_add(b, xs, y, sums[s][d].get(), self.fused))


def added_up(b: Builder, vectors: Sequence[Value], lanes: int) -> Value:
    """A vector of the sums of each vector's lanes, for a power of two of them.

    Two vectors share one after half of each is added to its other half. One half of each stays where it is, so this
    takes a blend, which is cheap, and a single shuffle.
    """
    vectors, width = list(vectors), lanes  # lanes that each sum still has
    while len(vectors) > 1:
        width, n = width // 2, len(vectors) // 2
        second = [i & width for i in range(lanes)]  # not zero: the second vector's
        stay = [i + lanes if there else i for i, there in enumerate(second)]
        move = [i + lanes - width if there else i + width for i, there in enumerate(second)]
        vectors = [b.shuffle(x, y, stay) + b.shuffle(x, y, move) for x, y in zip(vectors[:n], vectors[n:], strict=True)]
    (total,) = vectors
    while width > 1:
        half, sums = width // 2, total.lanes // width
        low = [i * width + j for i in range(sums) for j in range(half)]
        total = b.shuffle(total, total, low) + b.shuffle(total, total, [i + half for i in low])
        width = half
    return total

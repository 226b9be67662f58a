"""Convolutions whose positions are neighbours in memory on both sides: vectors lie along the rows.

Where channels come first, a block of the result is some channels by some vectors of positions: vectors of the input,
which are neighbours as they are, times single weights, which need not be packed. So nothing is turned around. What a
band of rows needs of the input is copied into strips that stay in the cache, with zeros around, since channels often
lie apart by multiples of a page. Where a row is no whole number of vectors, some rows together may be.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from .conv_pack import Index, unravel
from .conv_plan import ITEMSIZE, Axis, Problem
from .kernel import Epilogue, Kernel, Place, kernel_builder
from .loop import I64, Builder, Type, Value, Var, pointer
from .micro import first_lanes, multiply_add
from .target import Target

_PORTS = 2  # multiply-adds, or loads within a line, in a cycle
_LATENCY = 4
TOGETHER = (1, 2, 4)  # rows
_LONGEST = 8  # vectors of a block
_CODE_LIMIT = 260  # multiply-adds that the loop over channels may hold before the outer taps become a loop of their own
_LEAST = 0.9  # of the peak, by the model below; else turning both sides around is cheaper
_TILES = 48


class Segment(NamedTuple):
    """Lanes ``low`` to ``high`` of a vector, which hold positions of a row from ``column - low`` on."""

    row: int
    column: int
    low: int
    high: int


class RowBlocking(NamedTuple):
    """Blocks of ``rows`` together, cut into ``runs`` (vectors, count), by ``sizes`` (channels, count); and bands."""

    rows: int
    runs: tuple[tuple[int, int], ...]
    sizes: tuple[tuple[int, int], ...]
    band: int


class Strip(NamedTuple):
    """Elements: from a row's position ``first`` to its first input (``left``), of which there are ``count``.

    Of a row, of a channel, before the first row, and in all. Behind the inputs of a row are zeros, which stand before
    those of the next row, too.
    """

    left: int
    count: int
    pitch: int
    channel: int
    before: int
    size: int

    @property
    def lead(self) -> int:
        """Where the first row's position ``first`` is."""
        return self.before - self.left


def _split(n: int, pieces: int) -> tuple[tuple[int, int], ...]:
    small, more = divmod(n, pieces)
    return tuple((size, count) for size, count in ((small + 1, more), (small, pieces - more)) if count and size)


def seen(axis: Axis, outs: int) -> int:
    """Input positions that so many outputs see, those between them too."""
    return (outs - 1) * axis.step + (axis.taps - 1) * axis.spacing + 1


def segments(width: int, rows: int, lanes: int) -> list[list[Segment]]:
    """Of each vector of so many rows together."""
    found: list[list[Segment]] = [[] for _ in range(-(-rows * width // lanes))]
    for r in range(rows):
        column = 0
        while column < width:
            vector, low = divmod(r * width + column, lanes)
            high = min(lanes, low + width - column)
            found[vector].append(Segment(r, column, low, high))
            column += high - low
    return found


def applies(p: Problem) -> bool:
    """Whether vectors can lie along the rows of a problem, and there is something to gain."""
    *others, band, row = p.axes if len(p.axes) > 1 else (None, None, *p.axes)
    if band is None or p.depthwise or row.step != 1 or row.x != 1 or row.out != 1 or row.taps < 2 or not band.taps:
        return False
    return all(a is not None and a.plain for a in others)


def _cycles(vectors: int, size: int, row: Axis, straddling: int) -> float:
    """Of a tap and a channel: an unaligned load takes as long as two, and joining two vectors as a multiply-add."""
    unaligned = 2 - 1 / row.taps
    return max((vectors * size + straddling) / _PORTS, ((vectors + straddling) * unaligned + size) / _PORTS, _LATENCY)


@functools.lru_cache(1024)
def block_rows(p: Problem, target: Target) -> RowBlocking | None:
    """The best blocking by a model of multiply-adds and loads; None if it is not good enough."""
    if not applies(p):
        return None
    row, band, lanes = p.axes[-1], p.axes[-2], target.lanes(ITEMSIZE[p.kind])
    ideal = row.outs / lanes * p.outs / _PORTS
    best: tuple[float, int, int, int] | None = None
    for rows in [r for r in TOGETHER if r == 1 or band.outs % r == 0]:
        found = segments(row.outs, rows, lanes)
        straddling = sum(len(s) - 1 for s in found) if rows > 1 else 0
        fewest = -(-len(found) // _LONGEST)
        for pieces in (1,) if rows > 1 else range(fewest, min(fewest + 3, len(found)) + 1):
            runs = _split(len(found), pieces)
            longest = runs[0][0]
            for most in range(1, p.outs + 1):
                if longest > _LONGEST or longest * most + min(longest, most) + 1 > target.vector_registers:
                    break
                blocks = -(-p.outs // most)
                cost = sum(
                    _cycles(v, d, row, straddling) * n * m for v, n in runs for d, m in _split(p.outs, blocks)
                ) / rows  # fmt: skip
                best = min(best or (math.inf, 0, 0, 0), (cost * (1 + 0.01 * len(runs)), rows, pieces, blocks))
    if best is None or ideal / best[0] < _LEAST:
        return None
    _, rows, pieces, blocks = best
    vectors = -(-rows * row.outs // lanes)
    found = RowBlocking(rows, _split(vectors, pieces), _split(p.outs, blocks), 0)
    return _banded(p, target, found)


def _banded(p: Problem, target: Target, k: RowBlocking) -> RowBlocking | None:
    """Bands as large as half of the second-level cache allows, and so many that threads share them."""
    band, outer = p.axes[-2], p.groups * math.prod(a.outs for a in p.axes[:-2])
    most = min(band.outs, max(-(-band.outs * outer // _TILES), 4 * band.taps))
    best = 0
    for n in range(k.rows, most + 1, k.rows):
        if strip_of(p, target, n).size * ITEMSIZE[p.kind] <= target.l2 // 2:
            best = n
    if not best:
        return None
    even = -(-band.outs // -(-band.outs // best))
    return k._replace(band=-(-even // k.rows) * k.rows)


def strip_of(p: Problem, target: Target, band: int) -> Strip:
    """The strip of a band; inputs of a row begin on lines, as they mostly do where they come from."""
    row, lanes = p.axes[-1], target.lanes(ITEMSIZE[p.kind])
    wide = seen(row, row.outs)
    left = min(max(-row.first, 0), wide)
    count = max(min(row.size - max(row.first, 0), wide - left), 0)
    pitch = whole(count + max(left, wide - left - count), lanes)
    before = whole(left, lanes)
    channel = pitch * seen(p.axes[-2], band)
    if channel * ITEMSIZE[p.kind] % 1024 == 0:  # or channels would contend for the same sets of the cache
        channel += max(before, lanes)
    return Strip(left, count, pitch, channel, before, before + channel * p.channels + 2 * lanes)


def whole(n: int, lanes: int) -> int:
    """Elements of as many vectors as ``n`` elements take."""
    return -(-n // lanes) * lanes


def by_rows(name: str, p: Problem, k: RowBlocking, target: Target, epilogue: Epilogue | None) -> Kernel:
    """The kernel over operands x, w (as it lies), out, then the epilogue's."""
    more = dict(epilogue.operands) if epilogue else {}
    b = kernel_builder(name, {"x": pointer(p.kind), "w": pointer(p.kind), "out": pointer(p.kind), **more})
    counts = [a.outs for a in p.axes[:-2]]
    bands = -(-p.axes[-2].outs // k.band)
    with b.loop(b.lo, b.hi, unroll=1) as tile:
        *outer, group, band = unravel(tile, [*counts, p.groups, bands])
        _Rows(b, p, k, target, epilogue).tile(outer, b.lift(group, I64), b.lift(band, I64) * k.band)
    tiles, size = math.prod(counts) * p.groups * bands, ITEMSIZE[p.kind]
    positions = math.prod(a.outs for a in p.axes)
    inputs = math.prod(a.size for a in p.axes) * p.inputs
    moved = size * (inputs + positions * p.groups * p.outs + p.depth * p.groups * p.outs)
    flops = 2 * p.depth * p.outs * p.groups * positions
    return Kernel(b.finish(), tiles, size * strip_of(p, target, k.band).size, flops, moved)


class _Box(NamedTuple):
    """Where a block is: its first row and column, its first channel, and in memory."""

    row: Value
    column: Index
    channel: Value
    x: Value  # in the strip
    w: Value
    out: Value


class Strips:
    """Writes the code that fills a strip, and that reads vectors of it."""

    def __init__(self, b: Builder, p: Problem, rows: int, band: int, target: Target) -> None:
        """``rows`` together, in bands of so many."""
        self.b, self.p = b, p
        self.row, self.band = p.axes[-1], p.axes[-2]
        self.lanes, self.fused = target.lanes(ITEMSIZE[p.kind]), target.has_fma
        self.type = Type(p.kind, self.lanes)
        self.at, self.seen = strip_of(p, target, band), seen(self.band, band)
        self.strip = b.retype(b.scratch, p.kind)
        self.parts = segments(self.row.outs, rows, self.lanes)

    def fill(self, x: Value, first: Value) -> None:
        """Rows of the input that the band sees, zeros where they reach beyond it."""
        b, p, band, at = self.b, self.p, self.band, self.at
        start, rest = first * band.step + band.first, at.channel - self.seen * at.pitch
        x = x + max(self.row.first, 0)
        self.zeros(0, at.before)
        with b.loop(0, p.channels, unroll=1) as c:
            with b.loop(0, self.seen, unroll=1) as r:
                row = start + r
                to = c * at.channel + r * at.pitch + at.before
                with b.when((row >= 0) & (row < band.size)):
                    self.copy(c * p.x_channel + row * band.x + x, to)
                with b.otherwise():
                    self.zeros(to, at.pitch)
            self.zeros(c * at.channel + (self.seen * at.pitch + at.before), rest)

    def copy(self, x: Value, to: Value) -> None:
        """One row."""
        b, lanes, rest = self.b, self.lanes, self.at.count % self.lanes
        whole = self.at.count - rest
        with b.loop(0, whole, lanes, unroll=4) as i:
            b.store(self.strip, to + i, b.load(b.x, x + i, lanes=lanes))
        if rest:
            b.store(self.strip, to + whole, b.load(b.x, x + whole, lanes, first_lanes(b, lanes, rest)))
            whole += lanes
        self.zeros(to + whole, self.at.pitch - whole)

    def zeros(self, to: Index, count: int) -> None:
        """So many elements, a whole number of vectors."""
        with self.b.loop(0, count, self.lanes, unroll=4) as i:
            self.b.store(self.strip, i + to, self.b.const(0, self.type))

    def vector(self, x: Value, shift: int, parts: Sequence[Segment], mask: Value | None = None) -> Value:
        """Positions of a vector at some tap, of more than one row if it lies across."""
        b, found = self.b, None
        for s in parts:
            place = s.row * (self.band.step * self.at.pitch) + s.column - s.low + shift
            here = b.load(x, place, self.lanes, mask)
            found = here if found is None else b.select(b.iota(self.lanes) >= s.low, here, found)
        assert found is not None
        return found


class _Rows(Strips):
    """Writes the code of a tile."""

    def __init__(self, b: Builder, p: Problem, k: RowBlocking, target: Target, epilogue: Epilogue | None) -> None:
        super().__init__(b, p, k.rows, k.band, target)
        self.k, self.epilogue = k, epilogue

    def tile(self, outer: list[Index], group: Value, first: Value) -> None:
        """A band of rows: the strip, then all channels."""
        b, p = self.b, self.p
        self.outer, self.group = outer, group
        x: Index = group * p.x_group + p.x_base
        self.out: Index = group * p.out_group + p.out_base
        for i, axis in zip(outer, p.axes, strict=False):
            x, self.out = i * axis.x + x, i * axis.out + self.out
        self.fill(b.lift(x, I64), first)
        end = b.binary("min", first + self.k.band, self.band.outs)
        start = 0
        for size, count in self.k.sizes:
            with b.loop(0, count, unroll=1) as i:
                channel = b.lift(i * size + start, I64)
                with b.loop(first, end, self.k.rows, unroll=1) as row:
                    self.rows(row, row - first, channel, size)
            start += size * count

    # -- blocks --------------------------------------------------------------------------------

    def rows(self, row: Value, place: Value, channel: Value, size: int) -> None:
        """Some rows, ``place`` is the first one's in the band, of some channels."""
        b, p, k = self.b, self.p, self.k
        x = place * (self.band.step * self.at.pitch) + self.at.lead
        w = self.group * p.w_group + channel * p.w_out + p.w_base
        out = row * self.band.out + channel * p.out_channel + self.out
        first = 0
        for vectors, count in k.runs:
            parts = self.parts[first : first + vectors]
            if k.rows > 1:
                self.block(_Box(row, 0, channel, x, w, out), parts, size)
                continue
            with b.loop(0, count, unroll=1) as i:
                column = b.lift((i * vectors + first) * self.lanes, I64)
                box = _Box(row, column, channel, x + column, w, out + column)
                there = [[Segment(0, j * self.lanes, 0, self.lanes)] for j in range(vectors)]
                self.block(box, there, size)
            first += vectors * count

    def block(self, box: _Box, parts: list[list[Segment]], size: int) -> None:
        """Sums in registers, then into memory."""
        b, p, row, band = self.b, self.p, self.row, self.band
        zero = b.const(0, self.type)
        sums = [[b.var(zero) for _ in parts] for _ in range(size)]
        unrolled = band.taps * row.taps * len(parts) * size <= _CODE_LIMIT
        with b.loop(0, p.channels, unroll=1) as c, ExitStack() as loops:
            x = b.offset(self.strip, c * self.at.channel + box.x)
            w = b.offset(b.w, c * p.w_in + box.w)
            if unrolled:
                for t in range(band.taps):
                    self.taps(x, w, t, parts, sums)
            else:
                self.taps(x, w, loops.enter_context(b.loop(0, band.taps, unroll=1)), parts, sums)
        self.store(box, parts, sums)

    def taps(self, x: Value, w: Value, t: Index, parts: list[list[Segment]], sums: list[list[Var]]) -> None:
        """The taps of a row: vectors of positions by single weights, the fewer of which wait in registers."""
        b, p, row, band = self.b, self.p, self.row, self.band
        x = b.offset(x, t * (band.spacing * self.at.pitch))
        w = b.offset(w, t * band.w)
        for s in range(row.taps):
            weights = [functools.partial(b.load, w, d * p.w_out + s * row.w) for d in range(len(sums))]
            if len(sums) <= len(parts):
                known = [b.splat(weight(), self.lanes) for weight in weights]
                for j, part in enumerate(parts):
                    xj = self.vector(x, s * row.spacing, part)
                    for d, wd in enumerate(known):
                        sums[d][j].set(multiply_add(b, xj, wd, sums[d][j].get(), self.fused))
            else:
                known = [self.vector(x, s * row.spacing, part) for part in parts]
                for d, weight in enumerate(weights):
                    wd = b.splat(weight(), self.lanes)
                    for j, xj in enumerate(known):
                        sums[d][j].set(multiply_add(b, xj, wd, sums[d][j].get(), self.fused))

    def store(self, box: _Box, parts: list[list[Segment]], sums: list[list[Var]]) -> None:
        """Through the epilogue into memory, each row's part of a vector on its own."""
        b, p, lanes = self.b, self.p, self.lanes
        for d, vectors in enumerate(sums):
            for j, (segs, total) in enumerate(zip(parts, vectors, strict=True)):
                for s in segs:
                    mask = None
                    if self.k.rows > 1:
                        mask = _lanes_between(b, lanes, s)
                    elif j == len(parts) - 1 and self.row.outs % lanes:
                        mask = first_lanes(b, lanes, b.lift(self.row.outs - box.column - s.column, I64))
                    at = box.out + (s.row * self.band.out + s.column - s.low + d * p.out_channel)
                    value = total.get()
                    if self.epilogue:
                        value = self.epilogue(b, value, self.place(box, s, d, mask))
                    b.store(b.out, at, value, mask)

    def place(self, box: _Box, s: Segment, d: int, mask: Value | None) -> Place:
        """The logical index (n, channel, *position)."""
        b, p = self.b, self.p
        found: dict[int, Value] = {1: b.lift(self.group * p.outs + box.channel + d, I64)}
        at = (*self.outer, box.row + s.row, box.column + (s.column - s.low))
        for axis, index in zip(p.axes, at, strict=True):
            parts = unravel(b.lift(index, I64), [part.count for part in axis.parts])
            for part, i in zip(axis.parts, parts, strict=True):
                found[part.dim] = b.lift(i * part.scale + part.start, I64)
        return Place(tuple(found[i] for i in sorted(found)), self.row.parts[-1].dim, self.lanes, mask)


def _lanes_between(b: Builder, lanes: int, s: Segment) -> Value | None:
    if s.high - s.low == lanes:
        return None
    there = b.iota(lanes) < s.high
    return there & (b.iota(lanes) >= s.low) if s.low else there

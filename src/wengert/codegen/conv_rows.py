"""Convolutions whose positions are neighbours in memory on both sides: vectors lie along the rows.

Where channels come first, a block of the result is some channels by some vectors of positions: vectors of the input,
which are neighbours as they are, times single weights, which need not be packed. So nothing is turned around. What a
band of rows needs of the input is copied into strips that stay in the cache, with zeros around, since channels often
lie apart by multiples of a page. Where a row is no whole number of vectors, some rows together may be.
"""

from __future__ import annotations

import functools
import math
from contextlib import ExitStack
from typing import NamedTuple

from .conv_pack import Index, unravel
from .conv_problem import ITEMSIZE, Axis, Problem
from .conv_strips import Segment, Source, Strips, segments, strip_of
from .kernel import Epilogue, Kernel, Place, kernel_builder
from .loop import I64, Builder, Value, Var, pointer
from .micro import first_lanes, lanes_between, multiply_add
from .target import Target

_PORTS = 2  # multiply-adds, or loads within a line, in a cycle
_LATENCY = 4
TOGETHER = (1, 2, 4)  # rows
_LONGEST = 8  # vectors of a block
_CODE_LIMIT = 260  # multiply-adds that the loop over channels may hold before the outer taps become a loop of their own
_LEAST = 0.9  # of the peak, by the model below; else turning both sides around is cheaper
_TILES = 48


class RowBlocking(NamedTuple):
    """Blocks of ``rows`` together, cut into ``runs`` (vectors, count), by ``sizes`` (channels, count); and bands."""

    rows: int
    runs: tuple[tuple[int, int], ...]
    sizes: tuple[tuple[int, int], ...]
    band: int


def _split(n: int, pieces: int) -> tuple[tuple[int, int], ...]:
    small, more = divmod(n, pieces)
    return tuple((size, count) for size, count in ((small + 1, more), (small, pieces - more)) if count and size)


def applies(p: Problem) -> bool:
    """Whether vectors can lie along the rows of a problem, which is none of pairs, and there is something to gain."""
    *others, band, row = p.axes if len(p.axes) > 1 else (None, None, *p.axes)
    if (
        band is None
        or p.kind not in ("f32", "f64")
        or p.depthwise
        or row.step != 1
        or row.x != 1
        or row.out != 1
        or row.taps < 2
        or not band.taps
    ):
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
                needed = longest * most + min(longest, most) + (2 if straddling else 1)
                if longest > _LONGEST or needed > target.vector_registers:
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
        if 2 * strip_of(p, target, n).size * ITEMSIZE[p.kind] <= target.l2 * 3 // 4:
            best = n
    if not best:
        return None
    even = -(-band.outs // -(-band.outs // best))
    return k._replace(band=-(-even // k.rows) * k.rows)


def by_rows(name: str, p: Problem, k: RowBlocking, target: Target, epilogue: Epilogue | None) -> Kernel:
    """The kernel over operands x, w (as it lies), out, then the epilogue's."""
    more = dict(epilogue.operands) if epilogue else {}
    b = kernel_builder(name, {"x": pointer(p.kind), "w": pointer(p.kind), "out": pointer(p.kind), **more})
    counts = [a.outs for a in p.axes[:-2]]
    bands = -(-p.axes[-2].outs // k.band)
    rows = _Rows(b, p, k, target, epilogue)

    def place(tile: Value) -> _Tile:
        *outer, group, band = unravel(tile, [*counts, p.groups, bands])
        return _Tile(outer, b.lift(group, I64), b.lift(band, I64) * k.band)

    with b.when(b.lo < b.hi):
        rows.begin(place(b.lo))
        with b.loop(b.lo, b.hi, unroll=1) as tile:
            rows.tile(place(tile), place(b.binary("min", tile + 1, b.hi - 1)))
    tiles, size = math.prod(counts) * p.groups * bands, ITEMSIZE[p.kind]
    positions = math.prod(a.outs for a in p.axes)
    inputs = math.prod(a.size for a in p.axes) * p.inputs
    moved = size * (inputs + positions * p.groups * p.outs + p.depth * p.groups * p.outs)
    flops = 2 * p.depth * p.outs * p.groups * positions
    return Kernel(b.finish(), tiles, 2 * size * strip_of(p, target, k.band).size, flops, moved)


class _Tile(NamedTuple):
    """A band: the indices of what lies around it, and its first row."""

    outer: list[Index]
    group: Value
    row: Value


class _Box(NamedTuple):
    """Where a block is: its first row and column, its first channel, and in memory."""

    row: Value
    column: Index
    channel: Value
    x: Value  # in the strip
    w: Value
    out: Value


class _Rows(Strips):
    """Writes the code of a tile."""

    def __init__(self, b: Builder, p: Problem, k: RowBlocking, target: Target, epilogue: Epilogue | None) -> None:
        super().__init__(b, p, k.rows, k.band, target)
        self.k, self.epilogue = k, epilogue

    def begin(self, first: _Tile) -> None:
        """The strip of the first tile."""
        k = self.k
        blocks = sum(n for _, n in k.sizes) * (k.band // k.rows) * (sum(n for _, n in k.runs) if k.rows == 1 else 1)
        self.clear()
        self.filling = self.ahead(blocks * self.p.channels)
        self.next = self.band_of(first)
        self.filling.rest()

    def band_of(self, tile: _Tile) -> Source:
        """Its inputs."""
        x: Index = tile.group * self.p.x_group + self.p.x_base
        for i, axis in zip(tile.outer, self.p.axes, strict=False):
            x = i * axis.x + x
        return Source(self.b.lift(x, I64), tile.row)

    def tile(self, tile: _Tile, then: _Tile) -> None:
        """A band of rows: all channels from its strip, while that of the next tile is filled."""
        b, p = self.b, self.p
        self.exchange()
        self.next = self.band_of(then)
        self.outer, self.group, first = tile
        self.out: Index = self.group * p.out_group + p.out_base
        for i, axis in zip(self.outer, p.axes, strict=False):
            self.out = i * axis.out + self.out
        end = b.binary("min", first + self.k.band, self.band.outs)
        start = 0
        for size, count in self.k.sizes:
            with b.loop(0, count, unroll=1) as i:
                channel = b.lift(i * size + start, I64)
                with b.loop(first, end, self.k.rows, unroll=1) as row:
                    self.rows(row, row - first, channel, size)
            start += size * count
        self.filling.rest()

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
            self.filling.some()
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
                        mask = lanes_between(b, lanes, s.low, s.high)
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

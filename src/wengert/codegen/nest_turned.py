"""Fused kernels that read along one axis and write along another: squares are transposed in registers."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping
from typing import Any

from ..graph.node import Node
from ..schedule.groups import full
from ..schedule.index import Affine
from ..schedule.kinds import KIND
from .evaluate import Blocks
from .loop import I64, Value
from .micro import first_lanes, transpose
from .nest_parts import Nest
from .nest_rows import TILE, TILES, Rows

TOGETHER = 4  # squares after each other: what is written is a stretch of some lines, wherever the next one lies
STRIP = 256  # bytes read from each line of memory in a row, more or less

Loads = Mapping[tuple[int, Affine], tuple[Node, bool]]


def _lies_along(blocks: Blocks, flat: Affine, last: int) -> int:
    """The block along which an index moves by single elements, if along the last one it jumps; else -1."""
    step = dict(blocks.terms(flat))
    if flat.looked or step.get(last, 1) == 1:
        return -1
    return next((i for i, c in step.items() if c == 1), -1)


def turned_block(first: Nest, blocks: Blocks) -> int:
    """The block along which most of what does not lie along the last one lies, for a kernel written once; or -1."""
    large = [i for i, n in enumerate(blocks.counts) if n > 1]
    if not isinstance(first, Rows) or first.group.cols > 1 or first.in_registers or len(large) < 2:
        return -1
    last, lanes = large[-1], first.wide
    found = collections.Counter(_lies_along(blocks, flat, last) for _, flat in first.e.loads)
    fit = [i for i in found if i >= 0 and 2 * blocks.counts[i] >= lanes]
    return max(fit, key=lambda i: found[i]) if fit and blocks.counts[last] >= lanes else -1


class Turned(Rows):
    """Roots over the same elements, of whose operands some lie along another axis."""

    def __init__(self, across: int, loads: Loads, *args: Any) -> None:
        """``across``: the block along which they lie; ``loads``: what is read."""
        super().__init__(*args)
        self.across_block, self.last = across, max(i for i, n in enumerate(self.blocks.counts) if n > 1)
        self.squares = {
            (seq, flat): (n, self.b.array(KIND[n.aval.dtype], TOGETHER * self.wide**2))
            for (seq, flat), (n, whole) in loads.items()
            if whole and KIND[n.aval.dtype] != "i1" and _lies_along(self.blocks, flat, self.last) == across
        }

    def emit(self) -> None:
        """Tiles: of the other blocks one index, of these two a rectangle."""
        self.full = full(self.blocks.sizes)
        self.times, self.time = self._times(), 0
        self.held, self.slots, self.staged = {}, [], {}
        self.e.local = self._local
        self.stores = [n for n in self.group.nodes if n.seq in self.stored]
        counts, b, width = self.blocks.counts, self.b, TOGETHER * self.wide
        others = [i for i, n in enumerate(counts) if n > 1 and i not in (self.across_block, self.last)]
        size = max(n.aval.dtype.itemsize for n in self.group.nodes)
        strip = max(STRIP // size // self.wide, 1) * self.wide
        strips = -(-counts[self.across_block] // strip)
        steps = -(-counts[self.last] // width)
        per = max(min(TILE // (strip * width), steps * strips * math.prod([counts[i] for i in others]) // TILES), 1)
        parts = -(-steps // per)
        self.tiles = parts * strips * math.prod([counts[i] for i in others])
        with b.loop(b.lo, b.hi) as t, self.e.scope():
            self.unravelled(t // (parts * strips), others)
            start = t % parts * (per * width)
            stop = b.binary("min", start + per * width, counts[self.last])
            self._rectangle(t // parts % strips * strip, strip, start, stop)

    def _rectangle(self, first: Value, strip: int, start: Value, stop: Value) -> None:
        """Strips of squares, those first that are side by side where they are read."""
        b, last, width = self.b, self.blocks.counts[self.last], TOGETHER * self.wide
        end = b.binary("min", first + strip, self.blocks.counts[self.across_block])
        rest = last % width
        whole = b.binary("min", stop, last - rest) if rest else stop
        with b.loop(start, whole, width, unroll=1) as v, b.loop(first, end, self.wide, unroll=1) as u:
            self._strip(u, v, width)
        if rest:
            with b.when(stop > whole), b.loop(first, end, self.wide, unroll=1) as u:
                self._strip(u, whole, rest)

    def _strip(self, u: Value, v: Value, columns: int) -> None:
        """Squares along the last block, which have so many columns in all."""
        b, lanes = self.b, self.wide
        rest = columns % lanes
        with b.loop(0, columns - rest, lanes, unroll=1) as at:
            self._turn(u, v + at, at, lanes)
        if rest:
            self._turn(u, v + (columns - rest), b.lift(columns - rest, I64), rest)
        count = self.blocks.counts[self.across_block]
        with b.loop(0, b.binary("min", count - u, lanes), unroll=1) as k:
            with b.loop(0, columns - rest, lanes, unroll=1) as at:
                self._vector(u + k, v + at, (at + k) * lanes, None)
            if rest:
                at = b.lift(columns - rest, I64)
                self._vector(u + k, v + at, (at + k) * lanes, first_lanes(b, lanes, rest))

    def _turn(self, u: Value, v: Value, at: Value, columns: int) -> None:
        """Transpose one square of each operand, to where its columns are kept."""
        b, e, lanes, count = self.b, self.e, self.wide, self.blocks.counts[self.across_block]
        with e.scope():
            e.variables[self.across_block], e.variables[self.last] = u, v
            there = first_lanes(b, lanes, count - u) if count % lanes else None
            for (_, flat), (n, kept) in self.squares.items():
                base, step = e.index(flat)[0], dict(self.blocks.terms(flat))[self.last]
                p = self.operands.pointer(n)
                rows = [b.load(p, base + min(r, columns - 1) * step, lanes, there) for r in range(lanes)]
                for k, x in enumerate(transpose(b, rows)):
                    b.store(kept, (at + k) * lanes, x)

    def _vector(self, u: Value, v: Value, at: Value, mask: Value | None) -> None:
        """A vector of each root, of which a part has been transposed."""
        e = self.e
        with e.scope():
            e.variables[self.across_block], e.variables[self.last] = u, v
            e.turned = {key: self.b.load(kept, at, self.wide) for key, (_, kept) in self.squares.items()}
            e.vector_block, e.lanes, e.tail, self.mask = self.last, self.wide, mask, mask
            self._settle(self.stores)
            self._write(self.stores, mask)
        e.vector_block, e.lanes, e.tail, e.turned = -1, 1, None, {}

"""What a band of rows needs of a convolution's input, channels first: copied into strips that stay in the cache.

Zeros stand around, since rows end and channels often lie apart by multiples of a page. There are two strips: while one
is read, the next band's is filled, a vector now and then, which units that multiply and add do not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .conv_pack import Index, unravel
from .conv_problem import ITEMSIZE, Axis, Problem
from .loop import I64, Builder, Type, Value
from .micro import first_lanes
from .target import Target

_LEAD = 6  # pieces between a prefetch and its use
_TOGETHER = 4  # vectors of a piece


class Segment(NamedTuple):
    """Lanes ``low`` to ``high`` of a vector, which hold positions of a row from ``column - low`` on."""

    row: int
    column: int
    low: int
    high: int


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


class Source(NamedTuple):
    """Where a band's inputs come from: its image's (and group's) first element, and its first row."""

    x: Value
    row: Value


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
    return Strip(left, count, pitch, channel, before, whole(before + channel * p.channels + 2 * lanes, lanes))


def whole(n: int, lanes: int) -> int:
    """Elements of as many vectors as ``n`` elements take."""
    return -(-n // lanes) * lanes


class Ahead:
    """Copying by pieces, spread over places in other work; each is fetched from far memory some before its turn."""

    def __init__(
        self, b: Builder, total: int, times: int, fetch: Callable[[Value], None], copy: Callable[[Value], None]
    ) -> None:  # fmt: skip
        """``total`` pieces, at about ``times`` places."""
        self.b, self.total, self.fetch, self.copy = b, total, fetch, copy
        self.each = -(-total // max(times, 1))
        self.every = 1 << max(times // (2 * (total + _LEAD)), 1).bit_length() - 1
        self.place = b.var(0, I64)

    def some(self) -> None:
        """Here is a place."""
        b = self.b
        for _ in range(self.each):
            place = self.place.get()
            with b.when((place & (self.every - 1)) == 0):
                self.next(place // self.every)
            self.place.set(place + 1)

    def next(self, fetched: Value) -> None:
        """A piece to fetch, and the one fetched some before to copy."""
        b, copied = self.b, fetched - _LEAD
        with b.when(copied < self.total):
            self.fetch(fetched)
            with b.when(copied >= 0):
                self.copy(copied)

    def rest(self) -> None:
        """What is left; then all may begin again."""
        if self.total:
            copied = (self.place.get() + (self.every - 1)) // self.every - _LEAD
            with self.b.loop(self.b.binary("max", copied, 0), self.total, unroll=1) as i:
                self.copy(i)
            self.place.set(0)


class Pieces(NamedTuple):
    """A row of ``length`` elements, cut into ``count`` pieces of so many vectors."""

    lanes: int
    length: int
    vectors: int
    count: int

    def columns(self, b: Builder, number: Index) -> list[Index]:
        """Where the vectors of a piece begin: the last overlap those before rather than reach beyond the row."""
        last = max(self.length - self.lanes, 0)
        if self.count == 1:
            return [min(j * self.lanes, last) for j in range(self.vectors)]
        first = b.lift(number * (self.vectors * self.lanes), I64)
        return [b.binary("min", first + j * self.lanes, last) for j in range(self.vectors)]


def pieces_of(length: int, lanes: int) -> Pieces:
    """Of a row of so many elements."""
    vectors = -(-length // lanes)
    count = -(-vectors // _TOGETHER)
    return Pieces(lanes, length, -(-vectors // max(count, 1)), count)


class Strips:
    """Writes the code that fills strips, and that reads vectors of them."""

    next: Source  # of the strip that is filled

    def __init__(self, b: Builder, p: Problem, rows: int, band: int, target: Target) -> None:
        """``rows`` together, in bands of so many."""
        self.b, self.p = b, p
        self.row, self.band = p.axes[-1], p.axes[-2]
        self.lanes, self.fused = target.lanes(ITEMSIZE[p.kind]), target.has_fma
        self.type = Type(p.kind, self.lanes)
        self.height, self.at, self.seen = band, strip_of(p, target, band), seen(self.band, band)
        self.memory = b.retype(b.scratch, p.kind)
        self.turn = b.var(0, I64)
        self.pieces = pieces_of(self.at.count, self.lanes)
        self.parts = segments(self.row.outs, rows, self.lanes)

    def ahead(self, times: int) -> Ahead:
        """Fills the strip that is not read from `next`, at so many places."""
        return Ahead(self.b, self.p.channels * self.seen * self.pieces.count, times, self.fetch, self.copy)

    @property
    def strip(self) -> Value:
        """The one that is read."""
        return self.b.offset(self.memory, self.turn.get())

    def exchange(self) -> None:
        """The other strip's turn."""
        self.turn.set(self.at.size - self.turn.get())

    def clear(self) -> None:
        """Zeros around the rows of both strips, where they stay."""
        b, at = self.b, self.at
        begin = at.count - at.count % self.lanes
        with b.loop(0, 2 * at.size, at.size, unroll=1) as strip:
            self.zeros(strip, at.before)
            with b.loop(0, self.p.channels, unroll=1) as c:
                channel = c * at.channel + strip + at.before
                with b.loop(0, self.seen, unroll=1) as r:
                    self.zeros(channel + r * at.pitch + begin, at.pitch - begin)
                self.zeros(channel + self.seen * at.pitch, at.channel - self.seen * at.pitch)

    def zeros(self, to: Index, count: int) -> None:
        """So many elements, a whole number of vectors."""
        with self.b.loop(0, count, self.lanes, unroll=4) as i:
            self.b.store(self.memory, i + to, self.b.const(0, self.type))

    def piece(self, number: Value) -> tuple[Index, Index, Value, Value, list[Index]]:
        """Of a piece of the next band: channel, row of the strip, row of the input, where that lies, columns."""
        c, r, i = unravel(number, (self.p.channels, self.seen, self.pieces.count))
        row = self.next.row * self.band.step + self.band.first + r
        place = self.next.x + c * self.p.x_channel + row * self.band.x + max(self.row.first, 0)
        return c, r, row, place, self.pieces.columns(self.b, i)

    def fetch(self, number: Value) -> None:
        """Have a piece in the cache soon."""
        *_, place, columns = self.piece(number)
        for column in columns:
            self.b.prefetch(self.b.x, place + column)

    def copy(self, number: Value) -> None:
        """A piece of the next band's inputs into the strip that is not read; zeros if its row lies outside."""
        b, band, at, lanes = self.b, self.band, self.at, self.lanes
        c, r, row, place, columns = self.piece(number)
        there = first_lanes(b, lanes, at.count)
        if not band.always or band.outs % self.height:
            inside = b.splat((row >= 0) & (row < band.size), lanes)
            there = inside if there is None else there & inside
        to = c * at.channel + r * at.pitch + (at.before + at.size) - self.turn.get()
        for column in columns:
            b.store(self.memory, to + column, b.load(b.x, place + column, lanes, there))

    def vector(self, x: Value, shift: int, parts: Sequence[Segment], mask: Value | None = None) -> Value:
        """Positions of a vector at some tap, of more than one row if it lies across."""
        b, found = self.b, None
        for s in parts:
            place = s.row * (self.band.step * self.at.pitch) + s.column - s.low + shift
            here = b.load(x, place, self.lanes, mask)
            found = here if found is None else b.select(b.iota(self.lanes) >= s.low, here, found)
        assert found is not None
        return found

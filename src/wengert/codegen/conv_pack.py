"""Weights between the user's memory and panels of [taps][channels][width], which the kernels read and write.

In the usual memory (D, C, *K) neighbouring output channels lie far apart, so squares are transposed in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from .conv_problem import ITEMSIZE, Pairs, Problem
from .kernel import Kernel, kernel_builder
from .loop import I64, Builder, Type, Value, pointer
from .micro import first_lanes, pairs, transpose

_TILES = 64
_AHEAD = 8  # vectors: rows lie far apart, so processors do not foresee them

Index = Value | int


def unravel(flat: Value, counts: Sequence[int]) -> list[Index]:
    """The index of each dimension, last one fastest."""
    found: list[Index] = []
    for i, n in enumerate(reversed(counts)):
        if n == 1:
            found.append(0)
        elif i == len(counts) - 1:
            found.append(flat)
        else:
            quotient = flat // n
            found.append(flat - quotient * n)
            flat = quotient
    return found[::-1]


class Panels(NamedTuple):
    """Panels of a problem's weights, from ``start`` on, one for each group and block of output channels.

    ``order`` of the axes: the taps of the last run fastest. ``copies`` of all panels follow each other.
    """

    problem: Problem
    order: tuple[int, ...]
    vectors: int
    lanes: int
    start: int
    copies: int = 1

    @property
    def width(self) -> int:
        """Output channels of a block."""
        return self.vectors * self.lanes

    @property
    def size(self) -> int:
        """Elements of a panel."""
        return self.problem.depth * self.width

    @property
    def blocks_of_group(self) -> int:
        """Blocks of output channels of each group."""
        return -(-self.problem.outs // self.width)

    @property
    def blocks(self) -> int:
        """Panels of a copy."""
        return self.problem.groups * self.blocks_of_group

    @property
    def elements(self) -> int:
        """Of all copies."""
        return self.size * self.blocks * self.copies

    @property
    def parts(self) -> int:
        """Ranges of channels that are worked on independently; each fills a square at least."""
        return max(1, min(self.problem.channels, self.problem.depth // self.lanes, _TILES // self.blocks))


def _run_length(panels: Panels) -> tuple[int, int]:
    """Taps that follow each other in memory in the panels' order, and the direction; (0, 1): they do not."""
    p = panels.problem
    axes = [p.axes[i] for i in panels.order if p.axes[i].taps != 1]
    count, signs = 1, set[bool]()
    for axis in reversed(axes):
        if abs(axis.w) != count:
            return 0, 1
        signs.add(axis.w > 0)
        count *= axis.taps
    return (count, -1 if signs == {False} else 1) if len(signs) < 2 else (0, 1)


class _Columns(NamedTuple):
    """Neighbours in memory that become rows: ``count`` taps of each channel, or of all channels together."""

    count: int
    direction: int
    all_channels: bool


def _columns(panels: Panels) -> _Columns | None:
    p = panels.problem
    count, direction = _run_length(panels)
    if panels.lanes == 1 or p.w_out == 1 or not count:
        return None
    if direction == 1 and p.w_in == count and not p.w_pairs:
        return _Columns(count, 1, True)
    return _Columns(count, direction, False) if count > 2 else None


def pack_weights(name: str, panels: Sequence[Panels]) -> Kernel:
    """Into panels, zeros where a block reaches beyond the channels: operands w, packed."""
    p = panels[0].problem
    b = kernel_builder(name, {"w": pointer(p.w_kind), "packed": pointer(p.kind)})
    return _by_tiles(b, b.packed, panels, _pack_rows, _pack_squares)


def combine_sums(name: str, panels: Sequence[Panels]) -> Kernel:
    """The sum of all copies, in the order of the weight's memory: operands sums, out."""
    p = panels[0].problem
    b = kernel_builder(name, {"sums": pointer(p.sum_kind), "out": pointer(p.result_kind)})
    return _by_tiles(b, b.sums, panels, _combine_rows, _combine_squares)


class _Tile(NamedTuple):
    """A range of channels of a panel: where it begins here and there."""

    panels: Panels
    memory: Value  # where the panels lie
    channel: Value  # the block's first output channel
    weight: Value  # offset in the weight's memory
    panel: Value  # offset of the panel in its first copy
    low: Value
    high: Value

    def mask(self, b: Builder, j: int) -> Value | None:
        """Lanes of a vector that are output channels."""
        panels, outs = self.panels, self.panels.problem.outs
        if outs % panels.width == 0:
            return None
        return first_lanes(b, panels.lanes, outs - (self.channel + j * panels.lanes))

    def load(self, b: Builder, c: Value, at: Value, mask: Value | None, step: int = 1) -> Value:
        """A vector of weights of a channel, or pair of channels, from parameter w; ``step`` from one to the next."""
        p, lanes = self.panels.problem, self.panels.lanes

        def read(at: Value, mask: Value | None) -> Value:
            return b.load(b.w, at, lanes, mask) if step == 1 else b.gather(b.w, b.iota(lanes) * step + at, mask)

        return paired(b, p.w_pairs, read, at, mask, lanes, c < p.channels - 1)


def paired(
    b: Builder, how: Pairs | None, read: Callable[[Value, Value | None], Value], at: Value, mask: Value | None,
    lanes: int, complete: Value,
) -> Value:  # fmt: skip
    """What ``read`` finds at a place where a mask holds; or pairs, with zeros for second halves if not ``complete``."""
    x = read(at, mask)
    if how is None:
        return x
    second = mask
    if how.odd:
        there = b.splat(complete, lanes)
        second = there if mask is None else mask & there
    return pairs(b, x, read(at + how.second, second))


def pack_block(b: Builder, panels: Panels, block: Value, memory: Value) -> None:
    """Code that packs one panel to the beginning of ``memory``, from the parameter w."""
    _choose(b, _whole(b, panels, block, memory), _pack_rows, _pack_squares)


def combine_block(b: Builder, panels: Panels, block: Value, memory: Value, low: Value, high: Value) -> None:
    """Code that writes channels ``low`` to ``high`` of a panel from ``memory``, its only copy, to the parameter out."""
    tile = _whole(b, panels, block, memory)._replace(low=low, high=high)
    _choose(b, tile, _combine_rows, _combine_squares)


def _whole(b: Builder, panels: Panels, block: Value, memory: Value) -> _Tile:
    channel, weight = _block_place(b, panels, block)
    zero = b.lift(0, I64)
    return _Tile(panels, memory, channel, weight, zero, zero, b.lift(panels.problem.channels, I64))


def _choose(
    b: Builder, tile: _Tile,
    rows: Callable[[Builder, _Tile], None], squares: Callable[[Builder, _Tile, _Columns], None],
) -> None:  # fmt: skip
    columns = _columns(tile.panels)
    if columns:
        squares(b, tile, columns)
    else:
        rows(b, tile)


def _by_tiles(
    b: Builder, memory: Value, panels: Sequence[Panels],
    rows: Callable[[Builder, _Tile], None], squares: Callable[[Builder, _Tile, _Columns], None],
) -> Kernel:  # fmt: skip
    start = 0
    for each in panels:
        first, last = b.binary("max", b.lo - start, 0), b.binary("min", b.hi - start, each.blocks * each.parts)
        with b.loop(first, last) as number:
            _choose(b, _tile(b, memory, each, number), rows, squares)
        start += each.blocks * each.parts
    moved = sum(each.elements + each.size * each.blocks for each in panels)
    return Kernel(b.finish(), start, 0, 0, ITEMSIZE[panels[0].problem.kind] * moved)


def _block_place(b: Builder, panels: Panels, block: Value) -> tuple[Value, Value]:
    """The first output channel of a block, and where it lies in the weight."""
    p = panels.problem
    group, i = unravel(block, (p.groups, panels.blocks_of_group))
    channel = b.lift(i * panels.width, I64)
    return channel, b.lift(group * p.w_group + channel * p.w_out + p.w_base, I64)


def _tile(b: Builder, memory: Value, panels: Panels, number: Value) -> _Tile:
    p = panels.problem
    block, part = (b.lift(i, I64) for i in unravel(number, (panels.blocks, panels.parts)))
    channel, weight = _block_place(b, panels, block)
    low, high = part * p.channels // panels.parts, (part + 1) * p.channels // panels.parts
    return _Tile(panels, memory, channel, weight, block * panels.size + panels.start, low, high)


# -- rows: neighbouring output channels one tap after another ------------------------------------


def _each_row(b: Builder, tile: _Tile, body: Callable[[Value, Value, Value], None]) -> None:
    """For each channel and tap, where it lies in the weight and in the panel; and the channel."""
    panels, p = tile.panels, tile.panels.problem
    with b.loop(tile.low, tile.high) as c, ExitStack() as loops:
        weight, tap = c * p.w_in + tile.weight, 0
        for i in panels.order:
            t: Index = loops.enter_context(b.loop(0, p.axes[i].taps)) if p.axes[i].taps != 1 else 0
            weight = t * p.axes[i].w + weight
            tap = tap * p.axes[i].taps + t
        body(weight, tile.panel + (tap * p.channels + c) * panels.width, c)


def _pack_rows(b: Builder, tile: _Tile) -> None:
    panels, p = tile.panels, tile.panels.problem

    step = p.w_out if panels.lanes > 1 else 1

    def row(weight: Value, place: Value, c: Value) -> None:
        for j in range(panels.vectors):
            x = tile.load(b, c, weight + j * panels.lanes * p.w_out, tile.mask(b, j), step)
            b.store(tile.memory, place + j * panels.lanes, x)

    _each_row(b, tile, row)


def _total(b: Builder, tile: _Tile, at: Value) -> Value:
    """A vector of the sums, all copies added up in their order."""
    panels = tile.panels
    if panels.copies == 1:
        return b.load(tile.memory, at, lanes=panels.lanes)
    total = b.var(b.const(0, Type(panels.problem.sum_kind, panels.lanes)))
    with b.loop(0, panels.copies, unroll=1) as s:
        total.set(total.get() + b.load(tile.memory, s * (panels.blocks * panels.size) + at, lanes=panels.lanes))
    return total.get()


def _combine_rows(b: Builder, tile: _Tile) -> None:
    panels, p = tile.panels, tile.panels.problem

    def row(weight: Value, place: Value, c: Value) -> None:
        for j in range(panels.vectors):
            at, mask = weight + j * panels.lanes * p.w_out, tile.mask(b, j)
            x = b.cast(_total(b, tile, place + j * panels.lanes), p.result_kind)
            if p.w_out == 1 or panels.lanes == 1:
                b.store(b.out, at, x, mask)
            else:
                b.scatter(b.out, b.iota(panels.lanes) * p.w_out + at, x, mask)

    _each_row(b, tile, row)


# -- squares: as many output channels as a vector has lanes, by as many neighbours in memory ------


def _each_square(
    b: Builder, tile: _Tile, columns: _Columns, body: Callable[[Value, Value, Value, Value | None, list[Value]], None]
) -> None:
    """For each square: its channel, vector, and place in the weight; which columns exist, and each column's place."""
    panels, p = tile.panels, tile.panels.problem
    lanes, taps = panels.lanes, columns.count

    def square(start: Value, end: Value | int, offset: Value, channel: Value) -> None:
        count = end - start
        mask = first_lanes(b, lanes, b.lift(count, I64))
        places: list[Value] = []
        for m in range(lanes):
            # Columns beyond the last repeat it, so that every place exists; they are masked or not stored.
            q = b.binary("min", start + m, end - 1)
            c, t = channel + q // taps if columns.all_channels else channel, q % taps
            tap = t if columns.direction == 1 else taps - 1 - t
            places.append(tile.panel + (tap * p.channels + c) * panels.width)
        with b.loop(0, panels.vectors, unroll=1) as j:
            body(channel, j, offset + start, mask, places)

    if columns.all_channels:
        with b.loop(tile.low * taps, tile.high * taps, lanes, unroll=1) as start:
            square(start, tile.high * taps, tile.weight, b.lift(0, I64))
        return
    first = tile.weight if columns.direction == 1 else tile.weight - (taps - 1)
    with b.loop(tile.low, tile.high, unroll=1) as c, b.loop(0, taps, lanes, unroll=1) as start:
        square(start, taps, c * p.w_in + first, c)


def _pack_squares(b: Builder, tile: _Tile, columns: _Columns) -> None:
    panels, p = tile.panels, tile.panels.problem
    zero = b.const(0, Type(p.kind, panels.lanes))

    def square(c: Value, j: Value, weight: Value, mask: Value | None, places: list[Value]) -> None:
        rows: list[Value] = []
        for i in range(panels.lanes):
            k, x = j * panels.lanes + i, b.var(zero)
            with ExitStack() as exists:
                if p.outs % panels.width:
                    exists.enter_context(b.when(tile.channel + k < p.outs))
                b.prefetch(b.w, weight + (k * p.w_out + _AHEAD * panels.lanes))
                x.set(tile.load(b, c, weight + k * p.w_out, mask))
            rows.append(x.get())
        # Backwards, so that a repeated last place is at last written by its own column.
        for place, column in reversed(list(zip(places, transpose(b, rows), strict=True))):
            b.store(tile.memory, place + j * panels.lanes, column)

    _each_square(b, tile, columns, square)


def _combine_squares(b: Builder, tile: _Tile, columns: _Columns) -> None:
    panels, p = tile.panels, tile.panels.problem

    def square(c: Value, j: Value, weight: Value, mask: Value | None, places: list[Value]) -> None:
        rows = [_total(b, tile, place + j * panels.lanes) for place in places]
        for i, x in enumerate(transpose(b, rows)):
            k = j * panels.lanes + i
            with ExitStack() as exists:
                if p.outs % panels.width:
                    exists.enter_context(b.when(tile.channel + k < p.outs))
                b.store(b.out, weight + k * p.w_out, b.cast(x, p.result_kind), mask)

    _each_square(b, tile, columns, square)

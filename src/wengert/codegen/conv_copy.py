"""Copies of inputs of convolutions, the channels of a position together and zeros around.

Of bfloat16, halves of pairs that lie apart are brought together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .conv_pack import Index, paired, unravel
from .conv_problem import ITEMSIZE, Axis, Problem, extent, shortened
from .kernel import Kernel, kernel_builder
from .loop import I1, I64, Builder, Type, Value, pointer
from .micro import first_lanes, transpose
from .target import Target


def pad_rows(name: str, problems: Sequence[Problem], copies: Sequence[Problem], target: Target) -> Kernel:
    """The copies of x that `conv_problem.padded` means, zeros around: operands x, padded."""
    kind = problems[0].kind
    b = kernel_builder(name, {"x": pointer(problems[0].x_kind), "padded": pointer(kind)})
    start = 0
    for problem, copy in zip(map(shortened, problems), map(shortened, copies), strict=True):
        rows = math.prod(a.size for a in copy.axes[:-1])
        first, last = b.binary("max", b.lo - start, 0), b.binary("min", b.hi - start, rows)
        with b.loop(first, last, unroll=1) as row:
            _Row(b, problem, copy, target).write(row)
        start += rows
    return Kernel(b.finish(), start, 0, 0, 2 * ITEMSIZE[kind] * sum(extent(c) for c in copies))


_TOGETHER = 16  # channels that lie apart: as many lines of each side stay in the cache


class _Row:
    """Writes the code for a row of one problem: all channels of its positions."""

    complete: Value  # whether a pair of images has both

    def __init__(self, b: Builder, problem: Problem, copy: Problem, target: Target) -> None:
        self.b, self.p, self.copy = b, problem, copy
        self.axis, self.wide = problem.axes[-1], copy.axes[-1]
        self.channels = problem.inputs // problem.groups
        self.lanes = target.lanes(ITEMSIZE[problem.kind])
        self.square = self._square_size()

    def _square_size(self) -> int:
        """The size of squares to transpose, if positions are neighbours in memory and channels are not; else 1."""
        if self.p.x_channel == 1 or self.axis.x != 1:
            return 1
        lanes = self.lanes
        while lanes > min(self.channels, self.axis.size, self.wide.size):
            lanes //= 2
        return lanes

    def write(self, row: Value) -> None:
        """Copy what is there of a row, and write zeros around that."""
        b, inputs, size = self.b, self.p.inputs, self.wide.size
        x, inside = self._start(row)
        shift = self.axis.first if (size, self.wide.first) != (self.axis.size, self.axis.first) else 0
        low = min(max(-shift, 0), size)
        high = max(low, min(size, self.axis.size - shift))
        begin = row * (size * inputs) + self.copy.x_base
        self._zeros(begin, low * inputs)
        with b.when(inside):
            self._positions(b.lift(x + (low + shift) * self.axis.x, I64), begin + low * inputs, high - low)
        with b.otherwise():
            self._zeros(begin + low * inputs, (high - low) * inputs)
        self._zeros(begin + high * inputs, (size - high) * inputs)

    def _start(self, row: Value) -> tuple[Index, Value]:
        """Where in x a row of the copy begins, and whether it is there."""
        b = self.b
        x: Index = self.p.x_base
        inside = self.complete = b.const(True, I1)
        outer = list(zip(self.p.axes[:-1], self.copy.axes[:-1], strict=True))
        indices = unravel(row, [wide.size for _, wide in outer])
        if self.p.x_pairs and not self.p.x_pairs.channels:
            self.complete = b.lift(indices[0], I64) < outer[0][0].size - 1
        for (axis, wide), i in zip(outer, indices, strict=True):
            x, inside = _position(b, axis, wide, i, x, inside)
        return x, inside

    def _zeros(self, start: Index, count: int) -> None:
        b, rest = self.b, count % self.lanes
        zero = b.const(0, Type(self.p.kind, self.lanes))
        with b.loop(0, count - rest, self.lanes) as i:
            b.store(b.padded, start + i, zero)
        if rest:
            b.store(b.padded, start + (count - rest), zero, first_lanes(b, self.lanes, rest))

    def _positions(self, x: Value, to: Value, count: int) -> None:
        """So many positions that are there."""
        b, p = self.b, self.p
        if self.square > 1:
            self._turned(x, to, count)
        elif p.x_channel == 1 and self.axis.x == p.inputs and (p.groups == 1 or p.x_group == self.channels):
            self._run(x, to, count * p.inputs)
        else:
            with b.loop(0, p.groups, unroll=1) as g:
                self._apart(g * p.x_group + x, g * p.channels + to, count)

    def _apart(self, x: Value, to: Value, count: int) -> None:
        """Positions that are copied one by one, of a group."""
        b, p = self.b, self.p
        if p.x_channel == 1:
            with b.loop(0, count, unroll=1) as i:
                self._run(i * self.axis.x + x, i * p.inputs + to, self.channels)
            return
        with b.loop(0, self.channels, _TOGETHER, unroll=1) as first, b.loop(0, count) as i:
            with b.loop(first, b.binary("min", first + _TOGETHER, self.channels)) as c:
                b.store(b.padded, i * p.inputs + to + c, self._load(c * p.x_channel + i * self.axis.x + x, c))

    def _run(self, x: Value, to: Value, count: int) -> None:
        """Neighbours on both sides."""
        b, rest, zero = self.b, count % self.lanes, self.b.lift(0, I64)
        with b.loop(0, count - rest, self.lanes) as i:
            b.store(b.padded, to + i, self._load(x + i, zero, self.lanes))
        if rest:
            mask, done = first_lanes(b, self.lanes, rest), count - rest
            b.store(b.padded, to + done, self._load(x + done, zero, self.lanes, mask), mask)

    def _load(self, at: Value, channel: Value, lanes: int = 1, mask: Value | None = None) -> Value:
        """Neighbours in memory, all of them of one channel or all of one position."""
        b, how = self.b, self.p.x_pairs
        complete = channel < self.channels - 1 if how and how.channels else self.complete
        return paired(b, how, lambda at, mask: b.load(b.x, at, lanes, mask), at, mask, lanes, complete)

    def _turned(self, x: Value, to: Value, count: int) -> None:
        """Positions by squares of positions and channels."""
        b, size = self.b, self.square
        rest = count % size
        with b.loop(0, count - rest, size, unroll=1) as i:
            self._squares(i + x, i * self.p.inputs + to, size)
        if rest:
            self._squares(x + (count - rest), to + (count - rest) * self.p.inputs, rest)

    def _squares(self, x: Value, to: Value, count: int) -> None:
        """All channels of ``count`` positions."""
        b, p, size = self.b, self.p, self.square
        whole = self.channels - self.channels % size
        with b.loop(0, p.groups, unroll=1) as g:
            x, to = g * p.x_group + x, g * p.channels + to
            with b.loop(0, whole, size, unroll=1) as c:
                self._one_square(x, to, c, (count, size))
            if whole < self.channels:
                self._one_square(x, to, b.lift(whole, I64), (count, self.channels - whole))

    def _one_square(self, x: Value, to: Value, first: Value, size: tuple[int, int]) -> None:
        """Positions by channels from ``first`` on, each up to the size of a square."""
        b, p, lanes = self.b, self.p, self.square
        positions, channels = size
        there = first_lanes(b, lanes, positions)
        rows = [self._load((first + i) * p.x_channel + x, first + i, lanes, there) for i in range(channels)]
        rows += rows[-1:] * (lanes - channels)  # not stored
        mask = first_lanes(b, lanes, channels)
        for i, column in enumerate(transpose(b, rows)[:positions]):
            b.store(b.padded, to + first + i * p.inputs, column, mask)


def _position(b: Builder, axis: Axis, wide: Axis, i: Index, x: Index, inside: Value) -> tuple[Index, Value]:
    """Where an index of the copy is in x, and whether it is."""
    if wide.size != axis.size or wide.first != axis.first:
        i = b.lift(i + axis.first, I64)
        inside = inside & (i >= 0) & (i < axis.size)
    return i * axis.x + x, inside

"""Copies of inputs of convolutions, the channels of a position together and zeros around."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .conv_pack import Index, unravel
from .conv_plan import ITEMSIZE, Axis, Problem, extent
from .kernel import Kernel, kernel_builder
from .loop import I1, I64, Builder, Type, Value, pointer
from .micro import first_lanes, transpose
from .target import Target


def pad_rows(name: str, problems: Sequence[Problem], copies: Sequence[Problem], target: Target) -> Kernel:
    """The copies of x that `conv_plan.padded` means, zeros around: operands x, padded."""
    kind = problems[0].kind
    b = kernel_builder(name, {"x": pointer(kind), "padded": pointer(kind)})
    start = 0
    for problem, copy in zip(problems, copies, strict=True):
        rows = math.prod(a.size for a in copy.axes[:-1])
        first, last = b.binary("max", b.lo - start, 0), b.binary("min", b.hi - start, rows)
        lanes = _lanes(problem, copy, target)
        with b.loop(first, last, unroll=1) as row:
            if lanes > 1:
                _turn_row(b, problem, copy, row, lanes)
            else:
                _pad_row(b, problem, copy, row)
        start += rows
    return Kernel(b.finish(), start, 0, 0, 2 * ITEMSIZE[kind] * sum(extent(c) for c in copies))


def _lanes(problem: Problem, copy: Problem, target: Target) -> int:
    """The size of squares to transpose, if positions are neighbours in memory and channels are not; else 1."""
    channels, shortest = problem.inputs // problem.groups, min(problem.axes[-1].size, copy.axes[-1].size)
    if problem.x_channel == 1 or problem.axes[-1].x != 1:
        return 1
    lanes = target.lanes(ITEMSIZE[problem.kind])
    while lanes > min(channels, shortest):
        lanes //= 2
    return lanes


def _turn_row(b: Builder, problem: Problem, copy: Problem, row: Value, lanes: int) -> None:
    """All channels of the positions of a row, by squares of positions and channels."""
    axis, wide = problem.axes[-1], copy.axes[-1]
    x, inside = _row_start(b, problem, copy, row)
    shift = axis.first if (wide.size, wide.first) != (axis.size, axis.first) else 0
    low = min(max(-shift, 0), wide.size)
    high = max(low, min(wide.size, axis.size - shift))
    begin = row * (wide.size * problem.inputs) + copy.x_base
    channels = problem.inputs // problem.groups

    def squares(p: Index, count: int) -> None:
        """``count`` positions from ``p`` on."""
        with b.loop(0, problem.groups, unroll=1) as g:
            start = g * problem.x_group + x + (p + shift)
            to = begin + p * problem.inputs + g * problem.channels
            with b.loop(0, channels // lanes, unroll=1) as c:
                _square(b, problem, start + c * (lanes * problem.x_channel), to + c * lanes, (count, lanes), lanes)
            if channels % lanes:
                c = channels - channels % lanes
                _square(b, problem, start + c * problem.x_channel, to + c, (count, channels % lanes), lanes)

    _zeros(b, problem, begin, low * problem.inputs, lanes)
    with b.when(inside):
        rest = (high - low) % lanes
        with b.loop(low, high - rest, lanes, unroll=1) as p:
            squares(p, lanes)
        if rest:
            squares(high - rest, rest)
    with b.otherwise():
        _zeros(b, problem, begin + low * problem.inputs, (high - low) * problem.inputs, lanes)
    _zeros(b, problem, begin + high * problem.inputs, (wide.size - high) * problem.inputs, lanes)


def _square(b: Builder, problem: Problem, start: Value, to: Value, size: tuple[int, int], lanes: int) -> None:
    """Positions by channels, each up to ``lanes``."""
    positions, channels = size
    there = first_lanes(b, lanes, positions)
    rows = [b.load(b.x, start + i * problem.x_channel, lanes, there) for i in range(channels)]
    rows += rows[-1:] * (lanes - channels)  # not stored
    mask = first_lanes(b, lanes, channels)
    for i, x in enumerate(transpose(b, rows)[:positions]):
        b.store(b.padded, to + i * problem.inputs, x, mask)


def _zeros(b: Builder, problem: Problem, start: Index, count: int, lanes: int) -> None:
    zero = b.const(0, Type(problem.kind, lanes))
    with b.loop(0, count - count % lanes, lanes) as i:
        b.store(b.padded, start + i, zero)
    if count % lanes:
        b.store(b.padded, start + (count - count % lanes), zero, first_lanes(b, lanes, count % lanes))


_TOGETHER = 16  # channels that lie apart: as many lines of each side stay in the cache


def _pad_row(b: Builder, problem: Problem, copy: Problem, row: Value) -> None:
    """All channels of the positions of a row."""
    axis, wide = problem.axes[-1], copy.axes[-1]
    x, inside = _row_start(b, problem, copy, row)
    channels = problem.inputs // problem.groups
    step = channels if problem.x_channel == 1 else _TOGETHER
    with b.loop(0, problem.groups) as g, b.loop(0, channels, step, unroll=1) as first, b.loop(0, wide.size) as i:
        start, there = _position(b, axis, wide, i, g * problem.x_group + x, inside)
        to = (row * wide.size + i) * problem.inputs + g * problem.channels + copy.x_base
        with b.loop(first, b.binary("min", first + step, channels)) as c:
            b.store(b.padded, to + c, b.load(b.x, c * problem.x_channel + start, mask=there))


def _row_start(b: Builder, problem: Problem, copy: Problem, row: Value) -> tuple[Index, Value]:
    """Where in x a row of the copy begins, and whether it is there."""
    x: Index = problem.x_base
    inside = b.const(True, I1)
    outer = list(zip(problem.axes[:-1], copy.axes[:-1], strict=True))
    for (axis, wide), i in zip(outer, unravel(row, [wide.size for _, wide in outer]), strict=True):
        x, inside = _position(b, axis, wide, i, x, inside)
    return x, inside


def _position(b: Builder, axis: Axis, wide: Axis, i: Index, x: Index, inside: Value) -> tuple[Index, Value]:
    """Where an index of the copy is in x, and whether it is."""
    if wide.size != axis.size or wide.first != axis.first:
        i = b.lift(i + axis.first, I64)
        inside = inside & (i >= 0) & (i < axis.size)
    return i * axis.x + x, inside

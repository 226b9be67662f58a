"""Direct convolution: boxes of outputs kept in registers, the input read where it lies, weights packed in panels.

No im2col and no padded copy: a box knows which of its outputs see which taps of the row, and the ranges of the
other taps are computed once a row. (E. Georganas et al., "Anatomy of high-performance deep learning convolutions on
SIMD architectures", SC 2018; here the borders are cut exactly.)
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from typing import NamedTuple

from .conv_pack import Index, Panels, pack_block, unravel
from .conv_plan import Blocking, Run
from .conv_problem import ITEMSIZE, Axis, Problem, extent
from .kernel import Epilogue, Kernel, Place, kernel_builder
from .loop import I64, Builder, Type, Value, Var, pointer
from .micro import lanes_between, multiply_add, transpose
from .target import Target

_UNROLLED_CHANNELS = 4  # up to so many, there is no loop over channels


class Piece(NamedTuple):
    """A problem, its blocking, and its packed weights."""

    problem: Problem
    blocking: Blocking
    panels: Panels

    @property
    def tiles(self) -> int:
        """Independent parts."""
        b = self.blocking
        return -(-b.blocks // b.panels) * b.chunks * b.cuts


def pieces_of(problems: Sequence[tuple[Problem, Blocking]]) -> tuple[Piece, ...]:
    """Problems with their weights packed one after another."""
    pieces: list[Piece] = []
    start = 0
    for problem, k in problems:
        panels = Panels(problem, (*k.others, k.row), k.vectors, k.lanes, start)
        pieces.append(Piece(problem, k, panels))
        start += panels.elements
    return tuple(pieces)


def packs_itself(pieces: Sequence[Piece]) -> bool:
    """Whether the kernel takes the weights as they are, and packs them in its scratch memory."""
    return all(p.blocking.packs for p in pieces)


def packed_size(pieces: Sequence[Piece]) -> int:
    """Elements of all packed weights."""
    return max(1, sum(p.panels.elements for p in pieces))


def direct(name: str, pieces: Sequence[Piece], target: Target, epilogue: Epilogue | None) -> Kernel:
    """The kernel over operands x, weights (packed, or `packs_itself`), out, then the epilogue's."""
    first_problem = pieces[0].problem
    kind, more = first_problem.kind, dict(epilogue.operands) if epilogue else {}
    weights = first_problem.w_kind if packs_itself(pieces) else kind
    out = pointer(first_problem.result_kind)
    b = kernel_builder(name, {"x": pointer(kind), "w": pointer(weights), "out": out, **more})
    start = 0
    for piece in pieces:
        first = b.binary("max", b.lo - start, 0)
        last = b.binary("min", b.hi - start, piece.tiles)
        with b.loop(first, last, unroll=1) as tile:
            _Direct(b, piece, target, epilogue, packs_itself(pieces)).tile(tile)
        start += piece.tiles
    flops = sum(p.problem.flops for p in pieces)
    scratch = ITEMSIZE[kind] * max(p.panels.size * p.blocking.panels for p in pieces) if packs_itself(pieces) else 0
    return Kernel(b.finish(), start, scratch, flops, _bytes(pieces))


def _positions(problem: Problem) -> int:
    return math.prod(a.outs for a in problem.axes)


def _bytes(pieces: Sequence[Piece]) -> int:
    first = pieces[0].problem
    inputs = extent(first)
    outputs = sum(_positions(p.problem) for p in pieces) * first.groups * first.outs
    return ITEMSIZE[first.kind] * (inputs + outputs + packed_size(pieces))


class _Box(NamedTuple):
    """A box being written: where its first output's first tap lies, and what names its outputs."""

    run: Run
    number: Value
    x: Index  # in x, of the row's position 0 (the first tap of the row added, which may lie outside)
    out: Index
    panel: Value
    channel: Value  # first output channel, in the group
    indices: tuple[Index, ...]  # of each axis, at the first output


class _Direct:
    """Writes the code of one piece."""

    def __init__(self, b: Builder, piece: Piece, target: Target, epilogue: Epilogue | None, packs: bool) -> None:
        self.b, self.piece, self.epilogue, self.packs = b, piece, epilogue, packs
        self.p, self.k = piece.problem, piece.blocking
        self.fused = target.has_fma
        self.type = Type(self.p.sum_kind, self.k.lanes)
        self.row: Axis = self.p.axes[self.k.row]
        self.lane_bytes = self.k.lanes * ITEMSIZE[self.p.kind]

    # -- loops over the output -----------------------------------------------------------------

    def tile(self, tile: Value) -> None:
        """A range of rows, or of a part of each, for some blocks of output channels."""
        b, k = self.b, self.k
        group, chunk, self.cut = unravel(tile, (-(-k.blocks // k.panels), k.chunks, k.cuts))
        first = group * k.panels
        last = b.binary("min", b.lift(first, I64) + k.panels, k.blocks)
        weights, base = b.w, b.lift(0, I64)
        if self.packs:
            weights, base = b.retype(b.scratch, self.p.kind), b.lift(first, I64)
            with b.loop(first, last, unroll=1) as block:
                memory = b.offset(weights, (block - base) * self.piece.panels.size)
                pack_block(b, self.piece.panels, block, memory)
        chunk = b.lift(chunk, I64)
        with b.loop(chunk * k.rows // k.chunks, (chunk + 1) * k.rows // k.chunks, unroll=1) as row:
            counts = [a.outs // (k.stack if i == k.stacked else 1) for i, a in enumerate(self.p.axes)]
            indices: list[Index] = [0] * len(counts)
            for i, index in zip(self.k.others, unravel(row, [counts[i] for i in self.k.others]), strict=True):
                indices[i] = index * k.stack if i == k.stacked else index
            ranges = {i: self.range(self.p.axes[i], indices[i]) for i in self.k.others}
            with b.loop(first, last, unroll=1) as block:
                start = 0 if self.packs else self.piece.panels.start
                panel = b.offset(weights, (block - base) * self.piece.panels.size + start)
                self.block(block, panel, indices, ranges)

    def range(self, axis: Axis, index: Index) -> tuple[Index, Index]:
        """The taps of an axis that lie inside, from and to."""
        if axis.always:
            return 0, axis.taps
        b = self.b
        start = b.lift(index * axis.step + axis.first, I64)
        # Both quotients are of positive numbers, since division rounds towards zero.
        before = b.binary("max", 0 - start + (axis.spacing - 1), 0)
        after = b.binary("max", axis.size - 1 + axis.spacing - start, 0)
        low = b.binary("min", before // axis.spacing, axis.taps)
        return low, b.binary("min", after // axis.spacing, axis.taps)

    def block(self, block: Value, panel: Value, indices: list[Index], ranges: dict[int, tuple[Index, Index]]) -> None:
        """A row for one block of output channels."""
        b, p, k = self.b, self.p, self.k
        group, part = unravel(block, (p.groups, k.blocks // p.groups))
        channel = b.lift(part * k.width, I64)
        x: Index = group * p.x_group + p.x_base + (channel if p.depthwise else 0)
        out: Index = group * p.out_group + channel * p.out_channel + p.out_base
        for i in self.k.others:
            x = indices[i] * (p.axes[i].step * p.axes[i].x) + x
            out = indices[i] * p.axes[i].out + out
        cut = b.lift(self.cut, I64)
        for run in k.runs:
            with b.loop(cut * run.count // k.cuts, (cut + 1) * run.count // k.cuts, unroll=1) as number:
                start = number * run.size + run.start
                at = list(indices)
                at[k.row] = start
                box = _Box(run, number, start * (self.row.step * self.row.x) + x, start * self.row.out + out,
                           panel, channel, tuple(at))  # fmt: skip
                self.box(box, ranges, b.lift(group, I64))

    # -- a box ---------------------------------------------------------------------------------

    def box(self, box: _Box, ranges: dict[int, tuple[Index, Index]], group: Value) -> None:
        """Sums in registers, then into memory."""
        b, k = self.b, self.k
        zero = b.const(0, self.type)
        sums = [[b.var(zero) for _ in range(k.vectors)] for _ in range(k.stack * box.run.size)]
        with ExitStack() as loops:
            x, w = box.x, 0
            inner = self.row.taps
            steps: dict[int, int] = {}
            for i in reversed(self.k.others):
                steps[i] = inner
                inner *= self.p.axes[i].taps
            for i in self.k.others:
                axis, (low, high) = self.p.axes[i], ranges[i]
                tap: Index = 0
                if axis.taps != 1 or not axis.always:
                    tap = loops.enter_context(b.loop(low, high, unroll=1))
                x = tap * (axis.spacing * axis.x) + x + axis.first * axis.x
                w = tap * steps[i] + w
            self.taps(x, w, box, sums)
        self.store(box, sums, group)

    def taps(self, x: Index, w: Index, box: _Box, sums: list[list[Var]]) -> None:
        """The taps of the row: those that all outputs see, and at the borders those that some see."""
        b, run = self.b, box.run
        low, high = (b.lift(run.full[0][i], I64) for i in (1, 2))
        for first, *bounds in run.full[1:]:
            reached = box.number >= first
            low, high = (b.select(reached, new, old) for new, old in zip(bounds, (low, high), strict=True))
        self.segment(tuple(range(run.size)), low, high, x, w, box, sums)
        for part, boxes in run.partial:
            with ExitStack() as here:
                if run.count > 1:
                    conditions = [box.number == i for i in boxes]
                    here.enter_context(b.when(functools.reduce(operator.or_, conditions)))
                first = b.lift(part.first, I64)
                self.segment(part.seen, first, first + part.taps, x, w, box, sums)

    def segment(
        self, seen: tuple[int, ...], low: Value, high: Value, x: Index, w: Index, box: _Box, sums: list[list[Var]]
    ) -> None:
        """Neighbouring taps of the row that the same outputs see, and the channels."""
        b, p, k, row = self.b, self.p, self.k, self.row
        # Addresses start from the first output that sees the tap: those before it may lie outside of x.
        tap_x = row.spacing * row.x
        x = x + (row.first + seen[0] * row.step) * row.x + low * tap_x
        w = (w + low) * (p.channels * k.width)
        count = high - low
        if p.x_channel == 1 and (count.constant == 1 or tap_x == p.channels):
            self.channels(seen, x, w, count * p.channels, box, sums)
            return
        with b.loop(0, count, unroll=1) as tap:
            channels = b.lift(p.channels, I64)
            self.channels(seen, tap * tap_x + x, tap * (p.channels * k.width) + w, channels, box, sums)

    def channels(
        self, seen: tuple[int, ...], x: Index, w: Index, count: Value, box: _Box, sums: list[list[Var]]
    ) -> None:
        """Outer products: inputs of the box's outputs by vectors of weights."""
        b, p, k = self.b, self.p, self.k
        stack = p.axes[k.stacked].x if k.stack > 1 else 0

        def step(c: Index) -> None:
            xs, ws = b.offset(b.x, c * p.x_channel + x), b.offset(box.panel, c * k.width + w)
            vectors = [b.load(ws, j * k.lanes, lanes=k.lanes, align=self.lane_bytes) for j in range(k.vectors)]
            for s in range(k.stack):
                for i in seen:
                    place = s * stack + (i - seen[0]) * self.row.step * self.row.x
                    values = self.inputs(xs, place, box)
                    for total, value, weight in zip(sums[s * box.run.size + i], values, vectors, strict=True):
                        total.set(multiply_add(b, value, weight, total.get(), self.fused))

        if count.constant is not None and count.constant <= _UNROLLED_CHANNELS:
            for c in range(count.constant):
                step(c)
        else:
            with b.loop(0, count) as c:
                step(c)

    def inputs(self, xs: Value, place: Index, box: _Box) -> list[Value]:
        """What each vector of weights is multiplied by: one input, or each channel's own."""
        b, k = self.b, self.k
        if not self.p.depthwise:
            return [b.splat(b.load(xs, place), k.lanes)] * k.vectors
        masks = [self.mask(box.channel + j * k.lanes) for j in range(k.vectors)]
        return [b.load(xs, place + j * k.lanes, lanes=k.lanes, mask=mask) for j, mask in enumerate(masks)]

    # -- results -------------------------------------------------------------------------------

    def store(self, box: _Box, sums: list[list[Var]], group: Value) -> None:
        """Through the epilogue into memory."""
        k, p = self.k, self.p
        turns = p.out_channel != 1 and self.row.out == 1 and k.lanes > 1
        stack = p.axes[k.stacked].out if k.stack > 1 else 0
        for j in range(k.vectors):
            channel = box.channel + j * k.lanes
            mask = self.mask(channel)
            out = box.out + j * k.lanes * p.out_channel
            found: list[tuple[int, Value]] = []
            for (s, i), vectors in zip(product(range(k.stack), range(box.run.size)), sums, strict=True):
                value = self.finish(vectors[j].get(), box, (s, i), group * p.outs + channel, mask)
                found.append((s * stack + i * self.row.out, value))
                if not turns:
                    self.write(out + found[-1][0], value, mask)
            for first in range(0, len(found) if turns else 0, k.lanes):
                self.turn(out, found[first : first + k.lanes], channel)

    def finish(self, value: Value, box: _Box, place: tuple[int, int], channel: Value, mask: Value | None) -> Value:
        """Through the epilogue; ``place`` in the box: along the stack and along the row."""
        if not self.epilogue:
            return value
        k, (s, i) = self.k, place
        at = list(box.indices)
        at[k.row] = at[k.row] + i
        if s:
            at[k.stacked] = at[k.stacked] + s
        return self.epilogue(self.b, value, self.place(at, channel, mask))

    def turn(self, out: Index, found: Sequence[tuple[int, Value]], channel: Value) -> None:
        """Vectors of channels at some positions, which are neighbours in memory: vectors of positions are stored."""
        b, p, lanes = self.b, self.p, self.k.lanes
        runs = [[0, 1]]  # of neighbours, from and to
        for i in range(1, len(found)):
            if found[i][0] == found[i - 1][0] + 1:
                runs[-1][1] += 1
            else:
                runs.append([i, i + 1])
        rows = [b.cast(value, p.sum_kind) for _, value in found]
        for c, column in enumerate(transpose(b, rows + rows[-1:] * (lanes - len(rows)))):  # these are not stored
            with ExitStack() as exists:
                if p.outs % self.k.width:
                    exists.enter_context(b.when(channel + c < p.outs))
                for low, high in runs:
                    at = out + (c * p.out_channel + found[low][0] - low)
                    b.store(b.out, at, b.cast(column, p.result_kind), lanes_between(b, lanes, low, high))

    def mask(self, channel: Value) -> Value | None:
        """Which lanes exist; None if all do in every block."""
        if self.p.outs % self.k.width == 0:
            return None
        return self.b.iota(self.k.lanes) + channel < self.p.outs

    def write(self, at: Index, value: Value, mask: Value | None) -> None:
        """Neighbouring output channels."""
        b, step = self.b, self.p.out_channel
        value = b.cast(value, self.p.result_kind)
        if step == 1 or self.k.lanes == 1:
            b.store(b.out, at, value, mask)
        else:
            b.scatter(b.out, b.iota(self.k.lanes) * step + b.lift(at, I64), value, mask)

    def place(self, at: Sequence[Index], channel: Value, mask: Value | None) -> Place:
        """The logical index (n, channel, *position)."""
        b = self.b
        found: dict[int, Value] = {1: channel}
        for axis, index in zip(self.p.axes, at, strict=True):
            parts = unravel(b.lift(index, I64), [part.count for part in axis.parts])
            for part, i in zip(axis.parts, parts, strict=True):
                found[part.dim] = b.lift(i * part.scale + part.start, I64)
        return Place(tuple(found[d] for d in sorted(found)), 1, self.k.lanes, mask)

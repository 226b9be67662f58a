"""Fused kernels of what runs along an axis: sums, products, extremes, recurrences.

A line is gone through from its beginning, as NumPy does it, so sums have the bits that they have in eager mode. Vectors
take neighbouring lines: those beside each other in memory as they are, and those that lie along the axis by squares,
which are transposed in registers before and after. Few lines along the axis are gone through number by number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..graph.node import Node
from ..ops.base import OPS
from ..schedule.groups import full
from ..schedule.index import Coords
from ..schedule.kinds import KIND
from ..schedule.roots import unflattened
from .loop import I64, Builder, Type, Value
from .micro import first_lanes, transpose
from .nest_parts import Nest, nan_extreme, neutral
from .nest_reduce import reduced_atoms
from .scalars import emit

FEW = 4  # of the lanes, one part: so many lines along the axis, or more, are worth to be turned
STRIPS = 8  # vectors of lines under way at once: as many chains, and as many bytes of a row side by side


class State:
    """What an op has come to in some lines, one a lane."""

    def __init__(self, b: Builder, n: Node, lanes: int) -> None:
        self.b, self.n, self.name, self.lanes = b, n, n.op.name, lanes
        kind = KIND[n.inputs[-1].aval.dtype]
        self.extreme = "amax" if n.attrs.get("largest") else "amin"
        self.so_far = b.var(self._start(kind), Type(kind, lanes))
        self.place = b.var(0, Type("i64", lanes)) if self.name == "running_place" else None

    def _start(self, kind: str) -> Any:
        """What leaves the first element as it is."""
        if self.name in ("running_extreme", "running_place"):
            return neutral(self.extreme, kind)
        if self.name == "cumsum":
            return -0.0 if kind[0] == "f" else 0
        return {"cumprod": 1, "logcumsumexp": -math.inf, "linear_recurrence": 0}[self.name]

    def step(self, xs: Sequence[Value], at: Value, first: int) -> Value:
        """Take in the next elements, with the number ``at`` along the axis; the op's result there.

        ``first``: the number at which lines begin.
        """
        b, x, so_far = self.b, xs[-1], self.so_far.get()
        if self.name == "cumsum":
            new = so_far + x
        elif self.name == "cumprod":
            new = so_far * x
        elif self.name == "logcumsumexp":
            new = emit(b, OPS["logaddexp"], so_far, x)
        elif self.name == "linear_recurrence":
            new = b.select(b.splat(at == first, self.lanes), x, xs[0] * so_far + x)
        else:
            new = nan_extreme(b, self.extreme, x, so_far)
        self.so_far.set(new)
        if self.place is None:
            return new
        hit = (new == x) | (x != x) if x.type.is_float else new == x
        self.place.set(b.select(hit, b.splat(at, self.lanes), self.place.get()))
        return self.place.get()


class Running(Nest):
    """Ops that run along one axis of the same elements, in one direction."""

    def emit(self) -> None:
        sizes, counts = self.blocks.sizes, self.blocks.counts
        (axis,) = self.group.axes
        along = reduced_atoms(sizes, self.group)
        blocks = [i for i, n in enumerate(counts) if n > 1]
        self.lines = [i for i in blocks if not along[self.blocks.runs[i][0]]]
        self.along = [i for i in blocks if along[self.blocks.runs[i][0]]]
        self.reverse = self.group.nodes[0].attrs.get("reverse", False)
        self.length = self.group.shape[axis]
        self.first = self.length - 1 if self.reverse else 0
        self.full = full(sizes)
        self.axis = axis
        self.extra.add(self.full)
        self.extra.add(self._coords()[axis])
        if self.lines and self.lines[-1] == blocks[-1]:
            self._across()
        else:
            self._lengthwise()

    def _coords(self) -> Coords:
        return unflattened(self.blocks.sizes, self.group.shape)

    def _values(self, n: Node, mask: Value | None) -> list[Value]:
        """The elements that an op takes in."""
        found = self.roots.behind(n, self._coords(), self.blocks.sizes)
        kind = KIND[n.inputs[-1].aval.dtype]
        return [self.b.splat(self.b.cast(self.e.value(p.source, p.coords, mask), kind), self.e.lanes) for p in found]

    def _ordered(self, blocks: Sequence[int], body: Callable[[], None]) -> None:
        """Loops over whole blocks of the axis, in the direction in which lines run."""
        if not blocks:
            body()
            return
        n = self.blocks.counts[blocks[0]]
        with self.b.loop(0, n, unroll=1) as i, self.e.scope():
            self.e.variables[blocks[0]] = n - 1 - i if self.reverse else i
            self._ordered(blocks[1:], body)

    # -- lines beside each other -----------------------------------------------------------

    def _across(self) -> None:
        """The last block numbers lines."""
        block, outer = self.lines[-1], self.lines[:-1]
        n = self.blocks.counts[block]
        strips = max(min(STRIPS // len(self.group.nodes), -(-n // self.wide)), 1)
        strips = 1 << (strips.bit_length() - 1)
        width = strips * self.wide
        parts = -(-n // width)
        self.tiles = parts * math.prod([self.blocks.counts[i] for i in outer])
        with self.b.loop(self.b.lo, self.b.hi) as t, self.e.scope():
            self.unravelled(t // parts, outer)
            starts = [t % parts * width + k * self.wide for k in range(strips)]
            masks = [None if n % width == 0 else self.b.iota(self.wide) + s < n for s in starts]
            self._strips(block, starts, masks)

    def _strips(self, block: int, starts: Sequence[Value], masks: Sequence[Value | None]) -> None:
        states = [[State(self.b, n, self.wide) for n in self.group.nodes] for _ in starts]
        self.e.vector_block, self.e.lanes = block, self.wide

        def body() -> None:
            at = self.e.index(self._coords()[self.axis])[0]
            for start, mask, own in zip(starts, masks, states, strict=True):
                with self.e.scope():
                    self.e.variables[block] = start
                    found = [s.step(self._values(n, mask), at, self.first)
                             for n, s in zip(self.group.nodes, own, strict=True)]  # fmt: skip
                    for n, x in zip(self.group.nodes, found, strict=True):
                        self.store(n, self.full, x, mask)

        self._ordered(self.along, body)
        self.e.vector_block, self.e.lanes = -1, 1

    # -- lines that lie along the axis -----------------------------------------------------

    def _lengthwise(self) -> None:
        """The last block is the axis, or its innermost part."""
        b, count = self.b, math.prod([self.blocks.counts[i] for i in self.lines])
        together = self.wide if count * FEW >= self.wide else 1
        self.tiles = -(-count // together)
        kinds = [[KIND[n.inputs[-1].aval.dtype]] * len(n.inputs) for n in self.group.nodes]
        size = together * self.wide
        self.given = [[b.array(k, size) for k in own] for own in kinds]
        self.made = [b.array(KIND[n.aval.dtype], size) for n in self.group.nodes]
        with b.loop(b.lo, b.hi) as t, self.e.scope():
            start = t * together
            here = b.binary("min", count - start, together) if count % together else b.lift(together, I64)
            states = [State(b, n, together) for n in self.group.nodes]
            self._ordered(self.along[:-1], lambda: self._pieces(start, here, states))

    def _pieces(self, start: Value, here: Value, states: Sequence[State]) -> None:
        """The last block, a vector at a time, of lines ``start`` and the ``here`` - 1 behind it."""
        b, lanes, n = self.b, self.wide, self.blocks.counts[self.along[-1]]
        whole, rest = n // lanes, n % lanes

        def last() -> None:
            if rest:
                self._piece(start, here, states, b.lift(whole * lanes, I64), rest)

        if self.reverse:
            last()
        with b.loop(0, whole, unroll=1) as i, self.e.scope():
            self._piece(start, here, states, (whole - 1 - i if self.reverse else i) * lanes, lanes)
        if not self.reverse:
            last()

    def _piece(self, start: Value, here: Value, states: Sequence[State], at: Value, columns: int) -> None:
        """A vector along the axis of each line: in, through, and out."""
        b, e, lanes, nodes = self.b, self.e, self.wide, self.group.nodes
        mask = first_lanes(b, lanes, columns)

        def each_line(body: Callable[[Value], None]) -> None:
            with b.loop(0, here, unroll=1) as r, e.scope():
                self.unravelled(start + r, self.lines)
                e.vector_block, e.lanes, e.variables[self.along[-1]] = self.along[-1], lanes, at
                body(r * lanes)
                e.vector_block, e.lanes = -1, 1

        def take(place: Value) -> None:
            for n, own in zip(nodes, self.given, strict=True):
                for array, x in zip(own, self._values(n, mask), strict=True):
                    b.store(array, place, x)

        def give(place: Value) -> None:
            for n, array in zip(nodes, self.made, strict=True):
                self.store(n, self.full, b.load(array, place, lanes), mask)

        each_line(take)
        with e.scope():
            e.variables[self.along[-1]] = at
            number = e.index(self._coords()[self.axis])[0]
        for s, own, out in zip(states, self.given, self.made, strict=True):
            (self._square if s.lanes > 1 else self._number_by_number)(s, own, out, number, columns)
        each_line(give)

    def _order(self, columns: int) -> Iterable[int]:
        return reversed(range(columns)) if self.reverse else range(columns)

    def _square(self, s: State, given: Sequence[Value], made: Value, number: Value, columns: int) -> None:
        """As many lines as columns, turned so that a vector is one column."""
        b, lanes = self.b, self.wide
        turned = [transpose(b, [b.load(x, r * lanes, lanes) for r in range(lanes)]) for x in given]
        found: list[Any] = [None] * lanes
        for j in self._order(columns):
            found[j] = s.step([x[j] for x in turned], number + j, self.first)
        known = next(x for x in found if x is not None)
        for r, x in enumerate(transpose(b, [known if x is None else x for x in found])):
            b.store(made, r * lanes, x)

    def _number_by_number(
        self, s: State, given: Sequence[Value], made: Value, number: Value, columns: int
    ) -> None:  # fmt: skip
        """One line."""
        b = self.b
        with b.loop(0, columns, unroll=1) as i:
            j = columns - 1 - i if self.reverse else i
            b.store(made, j, s.step([b.load(x, j) for x in given], number + j, self.first))

"""Fused kernels that reduce axes which are not the last ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..schedule.groups import Group
from ..schedule.index import Affine, Coords, Straddle, strides_of
from ..schedule.roots import Roots, unflattened
from .loop import Value
from .nest_parts import UNROLL, Accumulator, Nest


def reduce_atoms(roots: Roots, group: Group) -> list[int]:
    """Atoms of a reduce group: none is both kept and reduced."""
    sizes = list(group.shape)
    while True:
        try:
            for n in group.nodes:
                roots.follow(n, unflattened(sizes, group.shape), sizes)
            return sizes
        except Straddle as cut:
            sizes[cut.atom : cut.atom + 1] = [sizes[cut.atom] // cut.inner, cut.inner]


def reduced_atoms(sizes: Sequence[int], group: Group) -> list[bool]:
    """Which atoms are reduced."""
    out: list[bool] = []
    atoms = iter(sizes)
    for axis, n in enumerate(group.shape):
        taken = next(atoms)
        out.append(axis in group.axes)
        while taken < n:
            taken *= next(atoms)
            out.append(axis in group.axes)
    return out


def reduction_walls(sizes: Sequence[int], group: Group) -> set[int]:
    """Where kept and reduced atoms meet."""
    flags = reduced_atoms(sizes, group)
    return {i for i in range(1, len(sizes)) if flags[i] != flags[i - 1]}


class Reduction(Nest):
    """Reductions over axes that are not the last ones: the kept axes are shared out."""

    def emit(self) -> None:
        sizes = self.blocks.sizes
        flags = reduced_atoms(sizes, self.group)
        blocks = [i for i, n in enumerate(self.blocks.counts) if n > 1]
        self.kept = [i for i in blocks if not flags[self.blocks.runs[i][0]]]
        self.gone = [i for i in blocks if flags[self.blocks.runs[i][0]]]
        kept_atoms = [a for a in range(len(sizes)) if not flags[a]]
        strides = strides_of([sizes[a] for a in kept_atoms])
        self.out = Affine(0, tuple([(a, s) for a, s in zip(kept_atoms, strides, strict=True) if sizes[a] > 1]))
        self.extra.add(self.out)
        if self.kept and self.kept[-1] == blocks[-1]:
            self._across()
        else:
            self._along()

    def _coords(self) -> Coords:
        return unflattened(self.blocks.sizes, self.group.shape)

    def _across(self) -> None:
        """The last block is kept: vectors of it, each lane a reduction of its own."""
        block = self.kept[-1]
        n = self.blocks.counts[block]
        slots = max(min(UNROLL, 8 // max(len(self.group.nodes), 1), -(-n // self.wide)), 1)
        slots = 1 << (slots.bit_length() - 1)
        width = slots * self.wide
        strips = -(-n // width)
        outer = self.kept[:-1]
        self.tiles = strips * math.prod([self.blocks.counts[i] for i in outer])
        with self.b.loop(self.b.lo, self.b.hi) as t, self.e.scope():
            self.unravelled(t // strips, outer)
            start = (t % strips) * width
            if n % width == 0:
                self._strip(block, start, [None] * slots)
            else:
                iota = self.b.iota(self.wide)
                masks = [iota + (start + k * self.wide) < n for k in range(slots)]
                self._strip(block, start, masks)

    def _strip(self, block: int, start: Value, masks: Sequence[Value | None]) -> None:
        slots = len(masks)
        accumulators = [Accumulator(self.b, n, self.wide, slots) for n in self.group.nodes]
        self.e.vector_block, self.e.lanes = block, self.wide
        starts = [start + k * self.wide for k in range(slots)]

        def body() -> None:
            for k in range(slots):
                with self.e.scope():
                    self.e.variables[block] = starts[k]
                    for n, acc in zip(self.group.nodes, accumulators, strict=True):
                        acc.take(k, self.e.expression(n, self._coords(), masks[k]), None)

        self.nested(self.gone, body)
        for n, acc in zip(self.group.nodes, accumulators, strict=True):
            for k in range(slots):
                with self.e.scope():
                    self.e.variables[block] = starts[k]
                    self.store(n, self.out, acc.result(k), masks[k])
        self.e.vector_block, self.e.lanes = -1, 1

    def _along(self) -> None:
        """The last block is reduced: vectors along it."""
        block = self.gone[-1]
        count = self.blocks.counts[block]
        total = math.prod([self.blocks.counts[i] for i in self.kept])
        self.tiles = total
        unroll = UNROLL if count >= 2 * UNROLL * self.wide and len(self.group.nodes) <= 4 else 1
        with self.b.loop(self.b.lo, self.b.hi) as t, self.e.scope():
            self.unravelled(t, self.kept)
            accumulators = [Accumulator(self.b, n, self.wide, unroll) for n in self.group.nodes]

            def body(slot: int, mask: Value | None) -> None:
                for n, acc in zip(self.group.nodes, accumulators, strict=True):
                    acc.take(slot, self.e.expression(n, self._coords(), mask), mask)

            self.nested(self.gone[:-1], lambda: self.vectors(block, 0, count, body, unroll))
            for n, acc in zip(self.group.nodes, accumulators, strict=True):
                self.store(n, self.out, acc.total(), None)

"""Fused kernels over rows: elementwise work, and reductions of whole rows, in passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from ..graph.node import Node
from ..schedule.groups import full, row_atoms
from ..schedule.index import Affine, Coords
from ..schedule.kinds import KIND
from ..schedule.roots import unflattened
from .loop import I64, Value
from .nest_parts import UNROLL, Accumulator, Nest

TILE = 16384  # elements of a tile: enough work for a call, and small enough to share out
TILES = 64  # tiles that are enough to share out
HELD = 8  # vectors of a row that is kept in registers from pass to pass
HELD_OPS = 400  # ops on them together
STAGED = 1 << 15  # bytes of dear values of a row that wait in the first-level cache for the next pass
DEAR = 6  # additions, from which on that is less work than to compute them again
AHEAD = 1024  # bytes of a row, from which on the next one is fetched ahead
LARGE = 2  # times the third-level cache: results of that size are written past it
ACROSS = 1024  # elements that are gone through down columns of vectors: what is the same in all rows stays in registers


class Rows(Nest):
    """Roots over the same elements, and reductions of whole rows, in as many passes over a row as they depend on."""

    streamed: set[int] = set()  # the roots that are written past the caches

    def emit(self) -> None:
        runs = self.blocks.runs
        sizes = self.blocks.sizes
        cols = self.group.cols
        first_col = len(row_atoms(sizes, cols)) if cols > 1 else len(sizes)
        blocks = [i for i in range(len(runs)) if self.blocks.counts[i] > 1]
        rows = [i for i in blocks if runs[i][-1] < first_col] if cols > 1 else []
        inner = [i for i in blocks if i not in rows]
        self.times = self._times()
        self.across = self.in_registers and cols <= 1 and len(inner) == 2 and self.group.size <= ACROSS
        self.full = full(sizes)
        self.extra.add(self.full)
        large = self._large()
        if not large:
            self._loops(rows, inner)
            return
        pointers = [self.operands.pointer(n) for n in large]
        places = [self.b.address(p) % self.target.vector_bytes for p in pointers]
        self.streamed = {n.seq for n in large}
        with self.b.when(sum(places[1:], places[0]) == 0), self.e.scope():
            self._loops(rows, inner)
            self.b.fence()
        self.streamed, self.scratch = set(), 0
        with self.b.otherwise(), self.e.scope():
            self._loops(rows, inner)

    def _large(self) -> list[Node]:
        """The roots that the caches cannot keep until they are read: they need not go through them.

        What is written over something else is not among them, for it is in the caches already.
        """
        last, least = max(self.times.values()), LARGE * self.target.l3
        return [
            n
            for n in self.group.nodes
            if n.seq in self.stored and n.seq not in self.inplace and self.times[n.seq] == last
            if not self._is_row(n) and n.aval.nbytes >= least
            if self.wide * n.aval.dtype.itemsize == self.target.vector_bytes
        ]  # fmt: skip

    def _loops(self, rows: Sequence[int], inner: Sequence[int]) -> None:
        """The loops over tiles."""
        if self.group.cols > 1 or not inner:
            self._row_tiles(rows, inner)
        elif len(inner) == 1:
            self._chunks(inner[0])
        elif self.across:
            self._row_tiles([], inner)
        else:
            outer = self._outermost(inner[:-1])
            self._row_tiles(inner[:outer], inner[outer:])

    def _outermost(self, blocks: Sequence[int]) -> int:
        """How many of the outer blocks are enough to share out."""
        n = 1
        for i, block in enumerate(blocks):
            n *= self.blocks.counts[block]
            if n >= TILES:
                return i + 1
        return len(blocks)

    def _chunks(self, block: int) -> None:
        """One long loop, cut into tiles."""
        n = self.blocks.counts[block]
        self.tiles = max(-(-n // TILE), 1)
        if self.tiles == 1:
            with self.b.when(self.b.lo < self.b.hi):
                self._passes([block], 0, n)
            return
        with self.b.loop(self.b.lo, self.b.hi) as t, self.e.scope():
            start = t * TILE
            self._passes([block], start, self.b.binary("min", start + TILE, n))

    def _row_tiles(self, rows: Sequence[int], inner: Sequence[int]) -> None:
        """Tiles of whole rows."""
        count = math.prod([self.blocks.counts[i] for i in rows])
        width = math.prod([self.blocks.counts[i] for i in inner])
        per = max(min(TILE // max(width, 1), -(-count // TILES)), 1)
        self.tiles = -(-count // per)
        b = self.b
        if self.tiles == 1:
            with b.when(b.lo < b.hi), self._row_loop(b.const(0, I64), b.const(count, I64), rows):
                self._passes(inner)
            return
        stop = b.binary("min", b.hi * per, count) if count % per else b.hi * per
        with self._row_loop(b.lo * per, stop, rows):
            self._passes(inner)

    @contextmanager
    def _row_loop(self, start: Value, stop: Value, rows: Sequence[int]) -> Generator[None]:
        with self.b.loop(start, stop) as r, self.e.scope():
            self.unravelled(r, rows)
            yield

    def _times(self) -> dict[int, int]:
        """For each root in which pass its operands are known."""
        times: dict[int, int] = {}
        ready: dict[int, int] = {}
        for n in self.group.nodes:
            reads = [x for x, _ in self.roots.reads[n.seq][1]]
            at = max((ready[x.seq] for x in reads if x.seq in ready), default=0)
            times[n.seq] = at
            ready[n.seq] = at + (self.roots.role[n.seq] == "reduce")
        return times

    def _is_row(self, n: Node) -> bool:
        """Whether a root has one value a row."""
        return self.roots.role[n.seq] == "reduce" or (self.group.cols > 1 and n.aval.size != self.group.size)

    def _passes(self, inner: Sequence[int], start: Any = 0, stop: Any = None) -> None:
        """The passes over a row."""
        nodes = self.group.nodes
        self.held: dict[int, Value] = {}
        self.e.local = self._local
        last = max(self.times.values())
        self.slots = self._slots(inner, start, stop) if last else []
        self.staged = self._staged() if last and inner and not self.slots and not self.in_registers else {}
        for time in range(last + 1):
            for n in nodes:
                if self._is_row(n) and self.roots.role[n.seq] != "reduce" and self.times[n.seq] == time:
                    self._row_value(n)
            self._pass(time, inner, start, stop)

    def _slots(self, inner: Sequence[int], start: Any, stop: Any) -> list[dict[Any, Value]]:
        """What is known of each vector of a row, if the row is short enough to stay in registers between passes."""
        count = -(-self.blocks.counts[inner[-1]] // self.wide) if len(inner) == 1 and stop is None else 0
        short = 0 < count <= HELD and count * self.group.ops <= HELD_OPS
        return [dict(self.e.memo) for _ in range(count)] if short else []

    def _ahead(self) -> list[Node]:
        """What the first pass reads of large memory: of the next rows, while this one is gone over again.

        What prefetches in hardware follows lines within a page, and each row may be on another.
        """
        if self.in_registers or self.slots or self.group.cols * self.group.nodes[0].aval.dtype.itemsize < AHEAD:
            return []
        found: dict[int, Node] = {}
        for m in self.group.nodes:
            sizes, reads = self.roots.reads[m.seq]
            for x, flat in reads if self.times[m.seq] == 0 else ():
                if x.seq not in self.group.seqs and flat == full(sizes) and x.aval.size == self.group.size:
                    found[x.seq] = x
        return [x for x in found.values() if x.aval.nbytes > self.target.l2]

    def _fetch(self, ahead: Sequence[Node], rows: int) -> None:
        """Ask for the part that a row behind this one has of what is here; if it is the next one, for use at once."""
        further = rows * self.group.cols
        for n in ahead:
            self.b.prefetch(self.operands.pointer(n), self.e.index(self.full)[0] + further, later=rows > 1)

    def _staged(self) -> dict[int, Value]:
        """Memory for dear values of a row that one pass computes and a later one wants as well."""
        b, nodes, cols = self.b, self.group.nodes, self.group.cols
        readers: dict[int, set[int]] = {}
        for m in nodes:
            for x, _ in self.roots.reads[m.seq][1]:
                readers.setdefault(x.seq, set()).add(self.times[m.seq])
        found: dict[int, Value] = {}
        for n in nodes:
            times, time = readers.get(n.seq, set()), self.times[n.seq]
            dear = self.roots.weight.get(n.seq, 0) >= DEAR and not self._is_row(n) and n.seq not in self.stored
            if not dear or time not in times or max(times) == time:
                continue
            size = -(-(cols + self.wide) * n.aval.dtype.itemsize // 64) * 64
            if self.scratch + size <= STAGED:
                found[n.seq] = b.retype(b.offset(b.scratch, self.scratch), KIND[n.aval.dtype])
                self.scratch += size
        return found

    def _stage(self, time: int, mask: Value | None) -> None:
        """Put what this pass computes where later ones look for it."""
        for n in self.group.nodes:
            if n.seq in self.staged and self.times[n.seq] == time:
                x = self._local(n, self.full)
                assert x is not None
                self.b.store(self.staged[n.seq], self._within_row(), x, mask)

    def _over_slots(self, block: int, body: Callable[[int, Value | None], None]) -> None:
        """Run ``body`` for each vector of a row that is kept in registers."""
        b, e, lanes, n = self.b, self.e, self.wide, self.blocks.counts[block]
        e.vector_block, e.lanes, outer = block, lanes, e.memo
        for k, memo in enumerate(self.slots):
            e.memo, e.variables[block] = memo, b.const(k * lanes, I64)
            if (k + 1) * lanes > n and "mask" not in memo:
                memo["mask"] = b.iota(lanes) < n - k * lanes
            e.tail = memo.get("mask")
            body(k, e.tail)
        e.vector_block, e.lanes, e.memo = -1, 1, outer

    def _row_value(self, n: Node) -> None:
        """A value of the row from others."""
        x = self.e.expression(n, self._coords(n), None)
        self.held[n.seq] = x
        if n.seq in self.stored:
            self.store(n, self._row_index(), x, None)

    def _row_index(self) -> Affine:
        return full(row_atoms(self.blocks.sizes, self.group.cols))

    def _within_row(self) -> Value:
        """The number of an element in its row."""
        first = len(row_atoms(self.blocks.sizes, self.group.cols))
        return self.e.index(Affine(0, tuple([t for t in self.full.terms if t[0] >= first])))[0]

    def _coords(self, n: Node) -> Coords:
        domain = self.roots.domain(n)
        if math.prod(domain) == self.group.size:
            return unflattened(self.blocks.sizes, domain)
        return unflattened(row_atoms(self.blocks.sizes, self.group.cols), domain)

    def _local(self, n: Node, flat: Affine) -> Value | None:
        """A root of this group: held in a register, or computed again."""
        if n.seq in self.held:
            return self.b.splat(self.held[n.seq], self.e.lanes)
        if n.seq not in self.group.seqs:
            return None
        key = ("root", n.seq)
        if key not in self.e.memo:
            past = self.time > self.times[n.seq]
            if past and n.seq in self.stored:
                self.e.memo[key] = self.e.load(self.inplace.get(n.seq, n), flat, self.mask)
            elif past and n.seq in self.staged:
                self.e.memo[key] = self.b.load(self.staged[n.seq], self._within_row(), self.e.lanes)
            else:
                self.e.memo[key] = self.e.expression(n, self._coords(n), self.mask)
        return self.e.memo[key]

    def _settle(self, wanted: Sequence[Node]) -> None:
        """Compute what these read of this group, inputs first, so that expressions do not nest without end."""
        stack = [(x, False) for n in wanted for x, _ in self.roots.reads[n.seq][1]]
        while stack:
            n, ready = stack.pop()
            if n.seq not in self.group.seqs or n.seq in self.held or ("root", n.seq) in self.e.memo:
                continue
            if ready:
                self._local(n, self.full)
            elif self.time == self.times[n.seq] or not (n.seq in self.stored or n.seq in self.staged):
                stack.append((n, True))
                stack += [(x, False) for x, _ in self.roots.reads[n.seq][1]]

    def _pass(self, time: int, inner: Sequence[int], start: Any, stop: Any) -> None:
        reduces = [n for n in self.group.nodes if self.roots.role[n.seq] == "reduce" and self.times[n.seq] == time]
        stores = [n for n in self.group.nodes
                  if not self._is_row(n) and self.times[n.seq] == time and n.seq in self.stored]  # fmt: skip
        if not reduces and not stores:
            return
        self.time = time
        if not inner:
            self._single(stores)
            return
        block = inner[-1]
        count = self.blocks.counts[block]
        unroll = UNROLL if reduces and count >= 2 * UNROLL * self.wide and len(reduces) <= 4 else 1
        unroll = max(len(self.slots), unroll)
        # Memory is to be busy in all passes: the second one asks for the row after next, the last one for the next.
        rows = 1 if time == max(self.times.values()) else 2
        ahead = self._ahead() if time and (rows == 1 or time == 1) else []
        accumulators = {n.seq: Accumulator(self.b, n, self.wide, unroll) for n in reduces}

        def body(slot: int, mask: Value | None) -> None:
            self.mask = mask
            self._fetch(ahead, rows)
            self._settle([*reduces, *stores])
            for n in reduces:
                accumulators[n.seq].take(slot, self.e.expression(n, self._coords(n), mask), mask)
            self._write(stores, mask)
            self._stage(time, mask)

        if self.slots:
            self._over_slots(block, body)
        elif self.across:
            self.vectors(block, 0, count, lambda slot, mask: self.nested(inner[:-1], lambda: body(slot, mask)))
        else:
            self.nested(inner[:-1], lambda: self.vectors(block, start, count if stop is None else stop, body, unroll))
        for n in reduces:
            self.held[n.seq] = accumulators[n.seq].total()
            if n.seq in self.stored:
                self.store(n, self._row_index(), self.held[n.seq], None)

    def _write(self, stores: Sequence[Node], mask: Value | None) -> None:
        found = [self._local(n, self.full) for n in stores]  # before any is stored: some may be, in place
        for n, x in zip(stores, found, strict=True):
            assert x is not None
            self.store(n, self.full, x, mask)

    def store(self, n: Node, flat: Affine, x: Value, mask: Value | None) -> None:
        """Write a root's elements."""
        streams = n.seq in self.streamed and mask is None and self.e.lanes == self.wide
        if streams and self.e.stream(n, flat, x):
            self.operands.written.add(n.seq)
        else:
            super().store(n, flat, x, mask)

    def _single(self, stores: Sequence[Node]) -> None:
        """A domain of one element."""
        self.mask = None
        self._settle(stores)
        self._write(stores, None)

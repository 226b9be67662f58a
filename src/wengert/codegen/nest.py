"""Fused kernels: the loop nests of `rows` and `reduce` groups.

A kernel is written twice: once to see which indices come up, so that neighbouring loops can be merged, and then with
the merged loops.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..graph.node import Node, frozen
from ..optimize.checks import Lookup, lookup_of
from ..schedule.groups import Group, atoms_for, row_atoms
from ..schedule.index import Affine, Coords, strides_of
from ..schedule.kinds import KIND
from ..schedule.roots import Roots, unflattened
from .evaluate import Blocks, Evaluator, Operands, merged_runs
from .kernel import Kernel
from .loop import BITS, I64, Builder, Function, Type, Value, Var, pointer
from .lower import module_text
from .target import Target

TILE = 16384  # elements of a tile: enough work for a call, and small enough to share out
TILES = 64  # tiles that are enough to share out
UNROLL = 4  # vectors of a reduction under way at once
HELD = 8  # vectors of a row that is kept in registers from pass to pass
HELD_OPS = 400  # ops on them together


class Written(NamedTuple):
    """A kernel, the nodes whose buffers are its operands, and what it looks up that may be out of range."""

    kernel: Kernel
    operands: tuple[Node, ...]
    written: frozenset[int]
    lookups: tuple[Lookup, ...] = ()


def write(
    group: Group, roots: Roots, stored: set[int], target: Target, inplace: dict[int, Node] | None = None,
    padded: frozenset[int] = frozenset(),
) -> Written:  # fmt: skip
    """The kernel of a group. ``stored``: the roots that get memory; ``inplace``: those that get another's.

    ``padded``: values whose memory has room for whole vectors.
    """
    key, nodes = signature(group, roots, stored, inplace or {}, padded)
    known = _written.get((target, key))
    if known is None:
        found = _write(group, roots, stored, target, inplace or {}, padded)
        number = {n.seq: i for i, n in enumerate(nodes)}
        looks = [(number[x.index.seq], x.size, x.low) for x in found.lookups]
        known = (found.kernel, [number[n.seq] for n in found.operands], {number[s] for s in found.written}, looks)
        _written[target, key] = known
    kernel, operands, written, looks = known
    own = frozenset([nodes[i].seq for i in written])
    lookups = tuple([Lookup(nodes[i], size, low) for i, size, low in looks])
    return Written(kernel, tuple([nodes[i] for i in operands]), own, lookups)


_written: dict[Any, tuple[Kernel, list[int], set[int], list[tuple[int, int, int]]]] = {}


def signature(
    group: Group, roots: Roots, stored: set[int], inplace: dict[int, Node], padded: frozenset[int] = frozenset()
) -> tuple[tuple[Any, ...], list[Node]]:
    """What a group's kernel depends on, and the nodes it speaks of in that order: equal ones have equal kernels."""
    number: dict[int, int] = {}
    nodes: list[Node] = []
    parts: list[Any] = [group.kind, group.size, group.cols, group.shape, group.axes]

    def visit(n: Node, expand: bool) -> None:
        """Number a node behind everything that it is computed from."""
        if n.seq in number:
            return
        stack: list[tuple[Node, bool]] = [(n, False)]
        while stack:
            m, ready = stack.pop()
            if m.seq in number:
                continue
            leaf = roots.is_root(m) and not (expand and m is n)
            if not ready and not leaf:
                stack.append((m, True))
                stack.extend((x, False) for x in m.inputs)
                continue
            number[m.seq] = len(nodes)
            nodes.append(m)
            value = m.data.tobytes() if m.op is None and m.data is not None and m.data.size == 1 else None
            name = "" if m.op is None else m.op.name
            found = lookup_of(m)
            if found is not None:
                parts.append(found.is_sure(roots.sure))
            what = ("leaf", value) if leaf else (name, frozen(m.attrs), *[number[x.seq] for x in m.inputs])
            parts.append((m.shape, m.aval.dtype.num, what, m.seq in padded))

    for n in group.nodes:
        visit(n, True)
        parts.append((number[n.seq], n.seq in stored))
        if n.seq in inplace:
            visit(inplace[n.seq], False)
            parts.append(("in place", number[inplace[n.seq].seq]))
    return tuple(parts), nodes


def _write(
    group: Group, roots: Roots, stored: set[int], target: Target, inplace: dict[int, Node], padded: frozenset[int]
) -> Written:
    if group.kind == "rows":
        sizes = atoms_for(roots, group.nodes, group.size, group.cols)
        make: Any = Rows
        walls = {len(row_atoms(sizes, group.cols))} if group.cols > 1 else set()
    else:
        sizes = reduce_atoms(roots, group)
        make = Reduction
        walls = reduction_walls(sizes, group)
    single = [[a] for a in range(len(sizes))]
    first = make(group, roots, stored, target, Blocks(sizes, single), inplace, padded)
    first.emit()
    runs = merged_runs(sizes, first.e.seen | first.extra, walls)
    second = make(group, roots, stored, target, Blocks(sizes, runs), inplace, padded)
    second.emit()
    return second.finish()


_known: dict[str, Function] = {}


def named(f: Function) -> Function:
    """The function under a name that tells its content, the same object for the same content."""
    name = "k" + hashlib.sha256(module_text([f._replace(name="k")]).encode()).hexdigest()[:24]
    return _known.setdefault(name, f._replace(name=name))


class Nest:
    """What the two kinds of nests share: blocks, vectors, values held in registers."""

    def __init__(
        self, group: Group, roots: Roots, stored: set[int], target: Target, blocks: Blocks,
        inplace: dict[int, Node], padded: frozenset[int],
    ) -> None:  # fmt: skip
        self.group, self.roots, self.stored, self.target, self.blocks = group, roots, stored, target, blocks
        self.b = Builder("nest", scratch=pointer("u8"), lo=I64, hi=I64)
        self.operands = Operands(self.b)
        self.e = Evaluator(roots, self.b, self.operands, blocks, padded)
        self.extra: set[Affine] = set()
        self.inplace = inplace
        self.tiles = 1
        kinds = {KIND[n.aval.dtype] for n in (*group.nodes, *[x for n in group.nodes for x in n.inputs])}
        widest = 64 if kinds & {"f64"} or kinds <= {"i64", "u64"} else 32
        self.wide = target.vector_bytes * 8 // widest

    def emit(self) -> None:
        """Write the loops."""
        raise NotImplementedError

    def finish(self) -> Written:
        """The kernel as written."""
        work = sum(self.group.size for n in self.group.nodes)
        moved = sum(n.aval.nbytes for n in self.operands.nodes)
        kernel = Kernel(named(self.operands.finish()), self.tiles, 0, work, moved)
        written = frozenset(self.operands.written)
        return Written(kernel, tuple(self.operands.nodes), written, tuple(self.e.lookups.all))

    def store(self, n: Node, flat: Affine, x: Value, mask: Value | None) -> None:
        """Write a root's elements."""
        n = self.inplace.get(n.seq, n)
        self.operands.written.add(n.seq)
        self.e.store(n, flat, x, mask)

    # -- loops -----------------------------------------------------------------------------

    def nested(self, blocks: Sequence[int], body: Callable[[], None]) -> None:
        """Loops over whole blocks around a body."""
        if not blocks:
            body()
            return
        with self.b.loop(0, self.blocks.counts[blocks[0]]) as i, self.e.scope():
            self.e.variables[blocks[0]] = i
            self.nested(blocks[1:], body)

    def unravelled(self, flat: Value, blocks: Sequence[int]) -> None:
        """Set the variables of blocks from one number."""
        for i, block in enumerate(blocks):
            inner = math.prod([self.blocks.counts[c] for c in blocks[i + 1 :]])
            at = flat // inner if inner > 1 else flat
            self.e.variables[block] = at % self.blocks.counts[block] if i else at

    def vectors(
        self, block: int, start: Any, stop: Any, body: Callable[[int, Value | None], None], unroll: int = 1
    ) -> None:
        """Run ``body(slot, mask)`` over part of a block, by vectors; ``slot`` counts those of an unrolled loop."""
        b, e, lanes = self.b, self.e, self.wide
        start, stop = b.lift(start, I64), b.lift(stop, I64)
        count = stop.constant - start.constant if None not in (start.constant, stop.constant) else None
        e.vector_block, e.lanes = block, lanes
        whole = b.binary("sub", stop, (stop - start) % lanes) if count is None or count % lanes else stop
        if count is None or count >= lanes:
            at = self._unrolled(block, start, whole, unroll, body, count)
            with b.loop(at, whole, lanes) as i, e.scope():
                e.variables[block] = i
                body(0, None)
        if count is None or count % lanes:
            rest = b.binary("sub", stop, whole)

            def tail() -> None:
                with e.scope():
                    e.variables[block] = whole
                    e.tail = b.iota(lanes) < b.splat(rest, lanes)
                    body(0, e.tail)

            if count is not None:
                tail()
            else:
                with b.when(rest > 0):
                    tail()
        e.vector_block, e.lanes = -1, 1

    def _unrolled(self, block: int, start: Value, whole: Value, unroll: int, body: Any, count: int | None) -> Value:
        """The part of the loop that takes several vectors at once; where the rest starts."""
        lanes = self.wide
        if unroll == 1 or count is None or count < 2 * unroll * lanes:
            return start
        step = unroll * lanes
        end = start + (count - count % step)
        with self.b.loop(start, end, step) as i:
            for k in range(unroll):
                with self.e.scope():
                    self.e.variables[block] = i + k * lanes
                    body(k, None)
        return end


# -- reductions --------------------------------------------------------------------------------------


def _nan_extreme(b: Builder, op: str, x: Value, acc: Value) -> Value:
    better = x > acc if op == "max" else x < acc
    if x.type.is_float:
        better = better | (x != x)
    return b.select(better, x, acc)


_COMBINE: dict[str, Callable[[Builder, Value, Value], Value]] = {
    "sum": lambda b, x, acc: acc + x,
    "prod": lambda b, x, acc: acc * x,
    "amax": lambda b, x, acc: _nan_extreme(b, "max", x, acc),
    "amin": lambda b, x, acc: _nan_extreme(b, "min", x, acc),
    "any": lambda b, x, acc: acc | x,
    "all": lambda b, x, acc: acc & x,
}


def neutral(name: str, kind: str) -> Any:
    """What a reduction starts from."""
    if name in ("sum", "prod", "any", "all"):
        return {"sum": 0, "prod": 1, "any": False, "all": True}[name]
    low = name == "amax"
    if kind in ("f32", "f64", "f16", "bf16"):
        return -math.inf if low else math.inf
    if kind == "i1":
        return not low
    bits = BITS[kind]
    if kind[0] == "u":
        return 0 if low else (1 << bits) - 1
    return -(1 << (bits - 1)) if low else (1 << (bits - 1)) - 1


class Accumulator:
    """Vectors in which a reduction collects."""

    def __init__(self, b: Builder, n: Node, lanes: int, slots: int) -> None:
        self.b, self.name = b, n.op.name
        self.kind = KIND[n.aval.dtype]
        self.type = Type(self.kind, lanes)
        self.start = neutral(self.name, self.kind)
        self.slots: list[Var] = [b.var(self.start, self.type) for _ in range(slots)]

    def take(self, slot: int, x: Value, mask: Value | None) -> None:
        """Take in elements."""
        x = self.b.splat(self.b.cast(x, self.kind), self.type.lanes)
        if mask is not None:
            x = self.b.select(mask, x, self.b.const(self.start, self.type))
        v = self.slots[slot]
        v.set(_COMBINE[self.name](self.b, x, v.get()))

    def lanes(self) -> Value:
        """All slots combined."""
        values = [v.get() for v in self.slots]
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=False)
            values = [_COMBINE[self.name](self.b, y, x) for x, y in pairs] + values[len(values) // 2 * 2 :]
        return values[0]

    def total(self) -> Value:
        """All slots and lanes combined."""
        x = self.lanes()
        while x.lanes > 1:
            half = x.lanes // 2
            low = self.b.shuffle(x, x, range(half))
            x = _COMBINE[self.name](self.b, self.b.shuffle(x, x, range(half, 2 * half)), low)
        return x


# -- rows --------------------------------------------------------------------------------------------


class Rows(Nest):
    """Roots over the same elements, and reductions of whole rows, in as many passes over a row as they depend on."""

    def emit(self) -> None:
        runs = self.blocks.runs
        sizes = self.blocks.sizes
        cols = self.group.cols
        first_col = len(row_atoms(sizes, cols)) if cols > 1 else len(sizes)
        blocks = [i for i in range(len(runs)) if self.blocks.counts[i] > 1]
        rows = [i for i in blocks if runs[i][-1] < first_col] if cols > 1 else []
        inner = [i for i in blocks if i not in rows]
        self.times = self._times()
        self.full = Affine(0, _terms(sizes, strides_of(sizes)))
        self.extra.add(self.full)
        if cols > 1 or not inner:
            self._row_tiles(rows, inner)
        elif len(inner) == 1:
            self._chunks(inner[0])
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

    def _row_loop(self, start: Value, stop: Value, rows: Sequence[int]) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def loop() -> Any:
            with self.b.loop(start, stop) as r, self.e.scope():
                self.unravelled(r, rows)
                yield

        return loop()

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
        outer = row_atoms(self.blocks.sizes, self.group.cols)
        return Affine(0, _terms(outer, strides_of(outer)))

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
            if self.time > self.times[n.seq] and n.seq in self.stored:
                self.e.memo[key] = self.e.load(self.inplace.get(n.seq, n), flat, self.mask)
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
            elif self.time == self.times[n.seq] or n.seq not in self.stored:
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
        accumulators = {n.seq: Accumulator(self.b, n, self.wide, unroll) for n in reduces}

        def body(slot: int, mask: Value | None) -> None:
            self.mask = mask
            self._settle([*reduces, *stores])
            for n in reduces:
                accumulators[n.seq].take(slot, self.e.expression(n, self._coords(n), mask), mask)
            found = [self._local(n, self.full) for n in stores]  # before any is stored: some may be, in place
            for n, x in zip(stores, found, strict=True):
                assert x is not None
                self.store(n, self.full, x, mask)

        if self.slots:
            self._over_slots(block, body)
        else:
            self.nested(inner[:-1], lambda: self.vectors(block, start, count if stop is None else stop, body, unroll))
        for n in reduces:
            self.held[n.seq] = accumulators[n.seq].total()
            if n.seq in self.stored:
                self.store(n, self._row_index(), self.held[n.seq], None)

    def _single(self, stores: Sequence[Node]) -> None:
        """A domain of one element."""
        self.mask = None
        self._settle(stores)
        found = [self._local(n, self.full) for n in stores]
        for n, x in zip(stores, found, strict=True):
            assert x is not None
            self.store(n, self.full, x, None)


def _terms(sizes: Sequence[int], strides: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple([(i, s) for i, (n, s) in enumerate(zip(sizes, strides, strict=True)) if n > 1])


# -- reductions over other axes --------------------------------------------------------------------------


def reduce_atoms(roots: Roots, group: Group) -> list[int]:
    """Atoms of a reduce group: none is both kept and reduced."""
    from ..schedule.index import Straddle

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
                    self.store(n, self.out, acc.slots[k].get(), masks[k])
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

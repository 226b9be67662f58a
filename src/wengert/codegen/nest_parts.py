"""What fused kernels are made of: loops by vectors over blocks, and vectors in which a reduction collects."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..graph.node import Node
from ..optimize.checks import Lookup
from ..schedule.groups import Group
from ..schedule.index import Affine
from ..schedule.kinds import KIND
from ..schedule.roots import Roots
from .evaluate import Blocks, Evaluator, Operands
from .kernel import Kernel
from .loop import BITS, I64, Builder, Function, Type, Value, Var, pointer
from .lower import module_text
from .target import Target

UNROLL = 4  # vectors of a reduction under way at once
PAD = 16  # elements that arrays of bodies that are held are a multiple of: of any kind, the most that one load takes
PAIR = 2  # vectors that are taken as one there: they share constants, and their chains go on side by side


class Written(NamedTuple):
    """A kernel, the nodes whose buffers are its operands, and what it looks up that may be out of range."""

    kernel: Kernel
    operands: tuple[Node, ...]
    written: frozenset[int]
    lookups: tuple[Lookup, ...] = ()


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
        self.scratch = 0  # bytes that a thread has to itself
        kinds = {KIND[n.aval.dtype] for n in (*group.nodes, *[x for n in group.nodes for x in n.inputs])}
        widest = 64 if kinds & {"f64"} or kinds <= {"i64", "u64"} else 32
        self.wide = target.vector_bytes * 8 // widest
        self.in_registers = bool(padded)  # the kernel is part of a body that is held
        if self.in_registers:
            self.wide = max(self.wide, min(PAIR * self.wide, PAD))

    def emit(self) -> None:
        """Write the loops."""
        raise NotImplementedError

    def finish(self) -> Written:
        """The kernel as written."""
        work = sum(self.group.size for n in self.group.nodes)
        moved = sum(n.aval.nbytes for n in self.operands.nodes)
        kernel = Kernel(named(self.operands.finish()), self.tiles, self.scratch, work, moved)
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


_BETTER: dict[str, Callable[[Value, Value], Value]] = {"amax": lambda x, y: x > y, "amin": lambda x, y: x < y}


def nan_extreme(b: Builder, name: str, x: Value, acc: Value) -> Value:
    """The larger or smaller of two, as ``name`` says; NaN if one is."""
    better = _BETTER[name](x, acc)
    if x.type.is_float:
        better = better | (x != x)
    return b.select(better, x, acc)


_COMBINE: dict[str, Callable[[Builder, Value, Value], Value]] = {
    "sum": lambda b, x, acc: acc + x,
    "prod": lambda b, x, acc: acc * x,
    "amax": lambda b, x, acc: nan_extreme(b, "amax", x, acc),
    "amin": lambda b, x, acc: nan_extreme(b, "amin", x, acc),
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
    """Vectors in which a reduction collects.

    The largest of floating-point numbers is found without regard to NaN, which is looked for on the side: of two
    vectors a processor sees with one instruction whether either has one.
    """

    def __init__(self, b: Builder, n: Node, lanes: int, slots: int) -> None:
        self.b, self.name = b, n.op.name
        self.kind = KIND[n.aval.dtype]
        self.type = Type(self.kind, lanes)
        self.start = neutral(self.name, self.kind)
        self.slots: list[Var] = [b.var(self.start, self.type) for _ in range(slots)]
        extreme = self.name in _BETTER and self.type.is_float
        self.missing = [b.var(False, Type("i1", lanes)) for _ in range(slots)] if extreme else []

    def take(self, slot: int, x: Value, mask: Value | None) -> None:
        """Take in elements."""
        x = self.b.splat(self.b.cast(x, self.kind), self.type.lanes)
        if mask is not None:
            x = self.b.select(mask, x, self.b.const(self.start, self.type))
        v = self.slots[slot]
        if self.missing:
            missing = self.missing[slot]
            missing.set(missing.get() | (x != x))
            v.set(self.b.select(_BETTER[self.name](x, v.get()), x, v.get()))
        else:
            v.set(_COMBINE[self.name](self.b, x, v.get()))

    def result(self, slot: int) -> Value:
        """What one slot has collected."""
        found = self.slots[slot].get()
        return self.b.select(self.missing[slot].get(), math.nan, found) if self.missing else found

    def total(self) -> Value:
        """All slots and lanes combined."""
        values = [self.result(slot) for slot in range(len(self.slots))]
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=False)
            values = [_COMBINE[self.name](self.b, y, x) for x, y in pairs] + values[len(values) // 2 * 2 :]
        (x,) = values
        while x.lanes > 1:
            half = x.lanes // 2
            low = self.b.shuffle(x, x, range(half))
            x = _COMBINE[self.name](self.b, self.b.shuffle(x, x, range(half, 2 * half)), low)
        return x

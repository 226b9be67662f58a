"""The value of a graph's node at coordinates, as instructions: what fused kernels compute in their loops.

A kernel's loops are *blocks*: runs of neighbouring atoms that every access walks through together. The last block may
be covered by vectors. Values that do not change within a scope are computed once in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from ..graph.node import Node
from ..optimize.checks import Lookup, lookup_of
from ..schedule.index import Affine, Coords, Looked, flat_index
from ..schedule.kinds import KIND, Part, cost, is_number
from ..schedule.roots import Roots
from .hoist import hoist
from .lookups import Lookups, in_range, note_zero
from .loop import I64, Builder, Function, Type, Value, pointer
from .scalars import emit


class Operands:
    """The buffers that a kernel reads and writes: parameters, in the order in which they come up."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.nodes: list[Node] = []
        self.values: dict[int, Value] = {}
        self.written: set[int] = set()

    def pointer(self, n: Node) -> Value:
        """The parameter that points at a node's buffer."""
        found = self.values.get(n.seq)
        if found is None:
            name = f"p{len(self.nodes)}"
            found = self.values[n.seq] = Value(self.b, "param", (), pointer(KIND[n.aval.dtype]), name)
            self.nodes.append(n)
        return found

    def finish(self) -> Function:
        """The function, with these parameters before its own."""
        hoist(self.b.body)
        own = self.b.finish()
        found = tuple([self.values[n.seq] for n in self.nodes])
        params = tuple([(v.attr, v.type) for v in found])
        return own._replace(params=params + own.params, arguments=found + own.arguments)


class Blocks:
    """Loop blocks: which atoms each one runs over."""

    def __init__(self, sizes: Sequence[int], runs: Sequence[Sequence[int]]) -> None:
        self.sizes = tuple(sizes)
        self.runs = tuple(tuple(r) for r in runs)
        self.counts = tuple(_product([sizes[a] for a in r]) for r in self.runs)
        self.last_atom = {r[-1]: i for i, r in enumerate(self.runs)}

    def terms(self, x: Affine) -> list[tuple[int, int]]:
        """The (block, coefficient) pairs of an affine index; of a block's atoms the last one tells."""
        return [(self.last_atom[a], c) for a, c in x.terms if a in self.last_atom]


def _product(xs: Sequence[int]) -> int:
    out = 1
    for x in xs:
        out *= x
    return out


def merged_runs(sizes: Sequence[int], seen: set[Affine], walls: set[int]) -> list[list[int]]:
    """Atoms that can run as one loop: everywhere the outer moves as far as the whole inner.

    ``walls``: atoms that are not merged with the one before.
    """
    runs: list[list[int]] = []
    for a in range(len(sizes)):
        if runs and a not in walls and _continues(sizes, seen, runs[-1][-1], a):
            runs[-1].append(a)
        else:
            runs.append([a])
    return runs


def _continues(sizes: Sequence[int], seen: set[Affine], outer: int, inner: int) -> bool:
    return all(x.coefficient(outer) == x.coefficient(inner) * sizes[inner] for x in seen)


OUTLINED = 20  # additions: single numbers that cost more are computed by a function of its own


def _outlined(name: str, n: Node, kind: str, types: tuple[Type, ...]) -> Function:
    """An elementwise op of single numbers as a function that stores its result."""
    b = Builder(name, out=pointer(kind), **{f"x{i}": t for i, t in enumerate(types)})
    given = [getattr(b, f"x{i}") for i in range(len(types))]
    b.store(b.out, 0, b.cast(emit(b, n.op, *given, **n.attrs), kind))
    return b.finish()


class Evaluator:
    """Emits values of nodes. ``local(n)``: a value that the kernel holds already, or None.

    ``tail``: the mask of the last, partial vector of a block; ``padded``: values with room for the whole of it.
    """

    def __init__(
        self, roots: Roots, b: Builder, operands: Operands, blocks: Blocks, padded: frozenset[int] = frozenset()
    ) -> None:
        self.roots, self.b, self.operands, self.blocks, self.padded = roots, b, operands, blocks, padded
        self.tail: Value | None = None
        self.seen: set[Affine] = set()
        self.variables: dict[int, Value] = {}
        self.vector_block = -1
        self.lanes = 1
        self.memo: dict[Any, Value] = {}
        self.local: Callable[[Node, Affine], Value | None] = lambda n, flat: None
        self.lookups = Lookups(roots.sure)
        self.once: dict[Any, tuple[Any, Value]] = {}  # with the block of instructions that it stands in
        self.loads: dict[tuple[int, Affine], tuple[Node, bool]] = {}  # and whether all of the block is there
        self.turned: dict[tuple[int, Affine], Value] = {}  # what the kernel has brought into the order of lanes

    @contextmanager
    def scope(self) -> Generator[None]:
        """Values computed inside are not known outside."""
        outer, self.memo = self.memo, dict(self.memo)
        try:
            yield
        finally:
            self.memo = outer

    # -- indices ---------------------------------------------------------------------------

    def index(self, x: Affine) -> tuple[Value, int]:
        """An index as its value in the first lane, and how far it moves from lane to lane."""
        self.seen.add(x._replace(looked=()))
        key = ("index", x)
        step = 0
        terms: list[Value] = []
        for block, c in self.blocks.terms(x):
            if block == self.vector_block:
                step = c
            terms.append(self.variables[block] * c)
        known = self.memo.get(key)
        if known is None:
            known = self.b.const(x.const, I64)
            for t in terms:
                known = known + t
            self.memo[key] = known
        return known, step if self.lanes > 1 else 0

    def lanes_of(self, x: Affine, mask: Value | None = None) -> Value:
        """An index in all lanes; where the mask does not hold, any."""
        base, step = self.index(x)
        if not step:
            out = self.b.splat(base, self.lanes)
        else:
            out = self.b.splat(base, self.lanes) + self.b.iota(self.lanes) * step
        for looked, c in x.looked:
            out = out + self.looked(looked, mask) * c
        return out

    def looked(self, x: Looked, mask: Value | None) -> Value:
        """An index that is looked up, in all lanes, kept inside of its axis."""
        key = ("looked", x, id(mask))
        if key not in self.memo:
            found = self.b.cast(self.value(x.node, x.coords, mask), "i64")
            lookup = Lookup(x.node, x.size, -x.size)
            self.memo[key] = in_range(self.b, found, lookup, self.lookups.number(lookup), mask)
        return self.memo[key]

    # -- values ----------------------------------------------------------------------------

    def value(self, n: Node, coords: Coords, mask: Value | None) -> Value:
        """A node's element at coordinates, in all lanes; where the mask does not hold, anything."""
        key = (n.seq, coords, None if mask is None else id(mask))
        found = self.memo.get(key)
        if found is None:
            found = self.memo[key] = self._compute(n, coords, mask)
        return found

    def _compute(self, n: Node, coords: Coords, mask: Value | None) -> Value:
        if is_number(n):
            return self.b.const(n.data.reshape(())[()], Type(KIND[n.aval.dtype], self.lanes))
        if self.roots.is_root(n):
            flat = flat_index(coords, n.shape)
            held = self.local(n, flat)
            return self.load(n, flat, mask) if held is None else held
        return self.expression(n, coords, mask)

    def expression(self, n: Node, coords: Coords, mask: Value | None) -> Value:
        """A node's element from its inputs, whether it is a root or not."""
        x = n.inputs[0]
        if n.op.name == "reshape" and self.roots.is_root(x) and not is_number(x):
            flat = flat_index(coords, n.shape)
            held = self.local(x, flat)
            return self.load(x, flat, mask) if held is None else held
        found = self.roots.behind(n, coords, self.blocks.sizes)
        if self.roots.role[n.seq] in ("move", "reduce"):
            return self.value(found[0].source, found[0].coords, mask)
        if n.op.name in ("pad", "unslice", "set_slice", "cat"):
            return self._piecewise(n, found, mask)
        values = [self.value(p.source, p.coords, mask) for p in found]
        if n.op.name == "in_range":
            return self._checked(n, values[0], mask)
        lookup = lookup_of(n)
        if lookup is not None and lookup.size < 0:
            number = self.lookups.number(lookup)
            if number is not None:
                note_zero(self.b, values[1], number, mask)
        return self.apply(n, values)

    def _checked(self, n: Node, x: Value, mask: Value | None) -> Value:
        """An index that the graph itself wants looked at."""
        lookup = lookup_of(n)
        assert lookup is not None
        found = in_range(self.b, self.b.cast(x, "i64"), lookup, self.lookups.number(lookup), mask)
        return self.b.cast(found, x.type.kind)

    def apply(self, n: Node, values: Sequence[Value]) -> Value:
        """An op's meaning on values."""
        kind = KIND[n.aval.dtype]
        if n.op.name == "cast":
            return self.b.cast(values[0], kind)
        if n.op.name == "where":
            return self.b.select(self.b.cast(values[0], "i1"), values[1], values[2])
        if n.op.name in ("take_rows", "gather"):
            return values[0]
        if all(v.lanes == 1 for v in values) and cost(n) >= OUTLINED:
            return self._call(n, values)
        out = emit(self.b, n.op, *values, **n.attrs)
        return self.b.splat(self.b.cast(out, kind), self.lanes)

    def _call(self, n: Node, values: Sequence[Value]) -> Value:
        """A dear op on single numbers as a function of its own: an optimizer has hundreds of them, all alike."""
        kind = KIND[n.aval.dtype]
        types = [v.type for v in values]
        name = "_".join(["op", n.op.name, kind, *[t.kind for t in types], *(f"{k}{v}" for k, v in n.attrs.items())])
        name = re.sub(r"\W", "_", name)
        f = self.b.calls.get(name)
        if f is None:
            f = _outlined(name, n, kind, tuple(types))
        slot = self.b.array(kind, 1)
        self.b.call(f, slot, *values)
        return self.b.load(slot)

    def _piecewise(self, n: Node, found: Sequence[Part], mask: Value | None) -> Value:
        """Parts that hold where their conditions do; the last one, or a constant, elsewhere."""
        t = Type(KIND[n.aval.dtype], self.lanes)
        rest = list(found)
        out: Value
        if rest[-1].conditions and n.op.name != "cat":
            out = self.b.const(n.attrs.get("value", 0), t)
        else:
            last = rest.pop()
            inside = self._inside(last, mask, mask) if last.conditions else mask
            out = self.value(last.source, last.coords, inside)
        for p in reversed(rest):
            inside = self._inside(p, None, mask)
            both = inside if mask is None else self.masks(inside, mask)
            out = self.b.select(inside, self.value(p.source, p.coords, both), out)
        return out

    def masks(self, x: Value, y: Value) -> Value:
        """Two masks as one; the same for the same."""
        key = ("both", id(x), id(y))
        if key not in self.memo:
            self.memo[key] = x & y
        return self.memo[key]

    def _inside(self, p: Part, mask: Value | None, lanes: Value | None) -> Value:
        """Where all conditions of a part hold, and the mask; ``lanes``: which exist."""
        out = mask
        for c, low, high in p.conditions:
            key = ("inside", c, low, high, id(lanes) if c.looked else None)
            if key not in self.memo:
                at = self.lanes_of(c, lanes)
                self.memo[key] = (at >= low) & (at < high)
            out = self.memo[key] if out is None else self.masks(self.memo[key], out)
        assert out is not None
        return out

    # -- memory ----------------------------------------------------------------------------

    def load(self, n: Node, flat: Affine, mask: Value | None) -> Value:
        """Elements of a buffer."""
        key = n.seq, flat
        if key in self.turned:
            return self.turned[key]
        self.loads[key] = n, self.loads.get(key, (n, True))[1] and (mask is None or mask is self.tail)
        p = self.operands.pointer(n)
        base, step = self.index(flat)
        mask = self._needed(n, flat, mask)
        if flat.looked and step == 1 and not any(self._varies(x) for x, _ in flat.looked):
            return self.b.load(p, base + self._looked_once(flat, mask), self.lanes, mask)
        if flat.looked:
            return self.b.gather(p, self.lanes_of(flat, mask), mask) if self.lanes > 1 else self._one(p, flat, mask)
        if step == 1:
            return self.b.load(p, base, self.lanes, mask)
        if step == 0:
            one = None if mask is None else self._any(mask)
            return self.b.splat(self.b.load(p, base, 1, one), self.lanes)
        return self.b.gather(p, self.lanes_of(flat), mask)

    def _needed(self, n: Node, flat: Affine, mask: Value | None) -> Value | None:
        """The mask of an access; None if there is room for the whole vector: the block is the whole buffer."""
        if mask is None or mask is not self.tail or n.seq not in self.padded or flat.const or flat.looked:
            return mask
        whole = self.blocks.terms(flat) == [(self.vector_block, 1)]
        return None if whole and self.blocks.counts[self.vector_block] == n.aval.size else mask

    def _varies(self, x: Looked) -> bool:
        """Whether an index that is looked up differs from lane to lane."""
        inner = any(self._varies(y) for c in x.coords for y, _ in c.looked)
        return inner or any(b == self.vector_block for c in x.coords for b, _ in self.blocks.terms(c))

    def _looked_once(self, flat: Affine, mask: Value | None) -> Value:
        """The part of an index that is looked up, as one number for all lanes: also for later vectors of the block."""
        fixed = tuple([(i, id(v)) for i, v in self.variables.items() if i != self.vector_block])
        key = (id(self.b.block), flat.looked, id(mask), fixed)
        if key not in self.once:
            some = None if mask is None else self._any(mask)
            lanes, memo = self.lanes, self.memo
            self.lanes, self.memo = 1, {k: v for k, v in memo.items() if k[0] == "index"}  # numbers, not vectors
            parts = [self.looked(x, some) * c for x, c in flat.looked]
            self.lanes, self.memo = lanes, memo
            out = parts[0]
            for p in parts[1:]:
                out = out + p
            self.once[key] = (self.b.block, out)
        return self.once[key][1]

    def _one(self, p: Value, flat: Affine, mask: Value | None) -> Value:
        return self.b.load(p, self.lanes_of(flat, mask), 1, mask)

    def _any(self, mask: Value) -> Value:
        key = ("any", id(mask))
        if key not in self.memo:
            self.memo[key] = self.b.reduce("or", mask)
        return self.memo[key]

    def stream(self, n: Node, flat: Affine, x: Value) -> bool:
        """`store` past the caches in memory that begins at a whole vector; False if vectors may lie across that."""
        base, step = self.index(flat)
        others = [c for block, c in self.blocks.terms(flat) if block != self.vector_block]
        if step != 1 or any(c % self.lanes for c in (flat.const, *others)):
            return False
        self.b.stream(self.operands.pointer(n), base, x, self.lanes * n.aval.dtype.itemsize)
        return True

    def store(self, n: Node, flat: Affine, x: Value, mask: Value | None) -> None:
        """Write elements of a buffer."""
        base, step = self.index(flat)
        mask = self._needed(n, flat, mask)
        narrow = mask is not None and x.type.kind in ("i8", "u8")  # LLVM 22 writes four bytes if one lane holds
        if narrow or (step != 1 and self.lanes > 1):
            self.b.scatter(self.operands.pointer(n), self.lanes_of(flat), x, mask)
        else:
            self.b.store(self.operands.pointer(n), base, x, mask)

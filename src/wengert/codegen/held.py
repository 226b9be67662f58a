"""Bodies of loops that are small enough for registers: which they are, and how values get in and out.

Its kernels stand in line, their loops unrolled, and the buffers between them are arrays of the function's own, which
LLVM turns into registers: no call, no store, no load lies between an element's computation and its use. For that an
array is only touched by whole vectors or by single elements. So it is *padded*: as long as whole vectors, and kernels
write and read beyond its last element instead of masking.

Products alone read from memory. Their loops stay, so that their sums go on at once, as they are written (in straight
code LLVM puts one after the other), and a load spreads an element over a vector at no cost.

A carry of a scan may be larger, a sum over the steps of products of columns with rows: it stays in memory, and what
adds to it is called, on copies of the arrays that it reads. That runs beside the chain of the other operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..graph.graph import Graph
from ..graph.node import Node
from ..optimize.checks import lookup_of
from ..schedule.index import is_movement
from ..schedule.kinds import KIND, cost, role
from .column import LARGEST
from .kernel import Kernel
from .loop import BITS, FULLY, Builder, Function, Region, Type, Value
from .nest_parts import PAD, named

WIDEST = 128  # elements of a value in registers
LARGEST_SUM = 1024  # elements of a value in memory
MOST = 6000  # instructions of a body, roughly
LINE = 2000  # instructions of one kernel, more exactly


class Held(NamedTuple):
    """Inputs (by seq) of a body that is held: its states, which are arrays, and those that never change."""

    states: frozenset[int]
    fixed: frozenset[int]

    @classmethod
    def of(cls, states: Sequence[Node], fixed: Sequence[Node]) -> Held:
        """From nodes."""
        return cls(frozenset([x.seq for x in states]), frozenset([x.seq for x in fixed]))

    def padded(self, graph: Graph) -> frozenset[int]:
        """The values of the body (by seq) that are padded."""
        found = [n for n in (*graph.inputs, *graph.nodes) if type(n.aval) is not tuple and not is_large(n)]
        return frozenset([n.seq for n in found if n.op is not None or n.seq in self.states])


def fits(graph: Graph, largest: int = WIDEST) -> bool:
    """Whether all values of a body, and its code, are small; matrices may be larger, as operands of products.

    ``largest``: elements that what is computed element by element may have.
    """
    total = 0.0
    for n in graph.nodes:
        if n.op is None or is_movement(n):
            continue
        found = _instructions(n, largest)
        if found is None:
            return False
        total += found
    return all(o.aval.size <= largest and o.aval.dtype in KIND for o in graph.outputs) and total <= MOST


def is_large(n: Node) -> bool:
    """Whether a value stays in memory."""
    return n.aval.size > WIDEST


def _instructions(n: Node, largest: int) -> float | None:
    """About how many instructions an op is; None if it does not fit."""
    kind, found = role(n), lookup_of(n)
    if type(n.aval) is tuple or n.aval.size > largest:
        return None
    if found is not None and not (found.size < 0 and found.is_sure(frozenset())):  # what lies beyond is no index
        return None
    if n.op.name == "matmul":
        return _product(n)
    if n.aval.size > WIDEST and cost(n) > 1:
        return None
    if kind == "reduce":
        return n.inputs[0].aval.size if n.inputs[0].aval.size <= WIDEST else None
    return 4 * cost(n) * -(-n.aval.size // _lanes(n)) if kind == "point" else None


def _product(n: Node) -> float | None:
    """The same of a matrix times a column, or a column times a row."""
    k = n.inputs[0].shape[-1]
    if len(n.shape) != 2 or KIND.get(n.aval.dtype) not in ("f32", "f64") or n.attrs:
        return None
    if k == 1:
        return 2 * n.aval.size / _lanes(n)
    fit = n.shape[1] == 1 and n.aval.size <= WIDEST and 0 < n.aval.size * k <= LARGEST
    return 2 * n.aval.size * k / _lanes(n) if fit else None


def _lanes(n: Node) -> int:
    return 64 // n.aval.dtype.itemsize


def padded_size(n: int) -> int:
    """Elements of an array for so many."""
    return -(-n // PAD) * PAD


class Arrays:
    """Makes and copies such arrays in a function, by vectors of so many bytes."""

    def __init__(self, b: Builder, vector_bytes: int) -> None:
        self.b, self.bits = b, vector_bytes * 8

    def _lanes(self, kind: str) -> int:
        return min(self.bits // max(BITS[kind], 8), PAD)

    def make(self, kind: str, size: int) -> Value:
        """An array for so many elements, all 0: what lies beyond them is computed with as well."""
        b, count, lanes = self.b, padded_size(size), self._lanes(kind)
        out = b.array(kind, count)
        for at in range(0, count, lanes):
            b.store(out, at, b.const(0, Type(kind, lanes)))
        return out

    def copy(self, target: Value, source: Value, n: Node) -> None:
        """Copy a value from an array to memory, or from there."""
        b, kind = self.b, KIND[n.aval.dtype]
        target, source = b.retype(target, kind), b.retype(source, kind)
        found = [(at, b.load(source, at, lanes)) for at, lanes in self._pieces(kind, n.aval.size)]
        for at, x in found:
            b.store(target, at, x)

    def _pieces(self, kind: str, size: int) -> list[tuple[int, int]]:
        """Places and lengths of vectors that cover so many elements and no more."""
        out: list[tuple[int, int]] = []
        at, lanes = 0, self._lanes(kind)
        while at < size:
            while lanes > size - at:
                lanes //= 2
            out.append((at, lanes))
            at += lanes
        return out

    def whole(self, target: Value, source: Value, kind: str, size: int) -> None:
        """Copy an array for so many elements to padded memory, or from there."""
        b, lanes = self.b, self._lanes(kind)
        target, source = b.retype(target, kind), b.retype(source, kind)
        found = [(at, b.load(source, at, lanes)) for at in range(0, padded_size(size), lanes)]
        for at, x in found:
            b.store(target, at, x)

    def move(self, pairs: Sequence[tuple[Value, Value]]) -> None:
        """Copy arrays (target and source) to others, all at once."""
        b = self.b
        found: list[tuple[Value, int, Value]] = []
        for target, source in pairs:
            lanes = self._lanes(source.type.element)
            found += [(target, at, b.load(source, at, lanes)) for at in range(0, source.attr[0], lanes)]
        for target, at, x in found:
            b.store(target, at, x)


# -- kernels in line -----------------------------------------------------------------------------------


def in_line(kernel: Kernel, widest: int) -> Function | None:
    """A kernel's function to stand in line, its loops unrolled unless they say how far; None if it is too long."""
    f = kernel.function
    key = f.name, widest
    if key not in _unrolled:
        short = _length(f.body, kernel.tiles) <= LINE
        _unrolled[key] = named(f._replace(body=_without_loops(f.body), widest=widest)) if short else None
    return _unrolled[key]


_unrolled: dict[tuple[str, int], Function | None] = {}


def _length(body: Sequence[Value], tiles: int) -> float:
    """About how many instructions a body is, so unrolled; endless where bounds are not known."""
    total = 0.0
    for v in body:
        total += 1
        if v.op == "loop":
            start, stop, step = v.args
            trips = float(tiles)
            if None not in (start.constant, stop.constant, step.constant):
                trips = max(-(-(stop.constant - start.constant) // step.constant), 0)
                trips = trips if v.attr.unroll <= 1 else min(trips, v.attr.unroll)
            total += trips * _length(v.attr.bodies[0], tiles)
        elif v.op == "while":
            return math.inf
        elif v.op == "if":
            total += sum(_length(x, tiles) for x in v.attr.bodies)
    return total


def _without_loops(body: Sequence[Value]) -> list[Value]:
    out: list[Value] = []
    for v in body:
        if v.op in ("loop", "if"):
            region: Region = v.attr
            bodies = tuple([_without_loops(x) for x in region.bodies])
            unroll = region.unroll if region.unroll > 1 else FULLY
            v = Value(v.b, v.op, v.args, v.type, region._replace(bodies=bodies, unroll=unroll))
        out.append(v)
    return out

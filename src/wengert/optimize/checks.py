"""What must hold of a program's arguments before it may run: indices in range, no integer division by zero.

A program of its own finds the least and the largest of each index, and whether divisors are zero, before anything is
written. It does so where these follow from the inputs by cheap ops, one element from a few. An index that a network
computes (by ``argmax``, say), or such a divisor, is looked at where it is used, by the kernels (see `codegen.lookups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, IndexRangeError, message
from ..graph.graph import Graph
from ..graph.handle import node_of, of_node
from ..graph.node import Node, ancestors
from ..graph.trace import tracing
from ..ops.base import OPS, Elementwise
from ..ops.index import out_of_range

_MOVING = frozenset({"permute", "expand", "slice", "strided", "reshape", "windows", "cast", "where", "pad", "cat"})
_LOOKING = frozenset({"take_rows", "gather", "put_rows", "add_rows", "scatter_add", "in_range"})
_DIVIDING = frozenset({"floor_divide", "remainder", "fmod"})
LARGEST = 1 << 22  # elements that are looked at, together, for one check


Key = tuple[int, int, int]  # seq of an index, size, least value


class Check(NamedTuple):
    """What must hold of an operand of the op ``name``: that it is an index, or a divisor that is not zero (size -1).

    An index into ``size`` elements along ``axis`` is ``low`` (0 or -size) or more. ``source``: the number, as
    `_all_nodes` counts, of the node in the graph as traced that it comes from; -1 if there is none.
    """

    name: str
    source: int
    axis: int
    size: int
    low: int

    def raise_if(self, low: int, high: int, traced: Graph) -> None:
        """Raise if a least and a largest value do not go."""
        if (self.size < 0 and low <= 0 <= high) or (self.size >= 0 and (low < self.low or high >= self.size)):
            raise self.error([low, high], traced)

    def error(self, index: Any, traced: Graph) -> IndexRangeError | ArgumentError:
        """The error of a divisor, or of an index, the first bad one of several."""
        if self.size < 0:
            seen = f"made at {self._origin(traced)}"
            cure = "Divide floating numbers to get inf or NaN"
            return ArgumentError(message(self.name, "integer division by zero", seen, cure))
        name = f"{self.name} at {self._origin(traced)}"
        return out_of_range(name, np.asarray(index), self.size, self.axis, self.low)

    def _origin(self, traced: Graph) -> str:
        return _all_nodes(traced)[self.source].origin if self.source >= 0 else "an unknown line"


def _all_nodes(graph: Graph) -> list[Node]:
    """The nodes of a graph, and then those of the graphs in it."""
    out = list(graph.nodes)
    for n in graph.nodes:
        for g in (n.attrs or {}).values():
            out += _all_nodes(g) if isinstance(g, Graph) else ()
    return out


def look(checks: Sequence[Check], found: Sequence[Any], traced: Graph) -> None:
    """Raise if what the graph of `Checks` computed shows something wrong.

    Raises:
        IndexRangeError, ArgumentError: as the op in eager mode.
    """
    values = iter(found)
    for c in checks:
        first = int(next(values))
        c.raise_if(first, int(next(values)) if c.size >= 0 else first, traced)


class Lookup(NamedTuple):
    """An index into ``size`` elements, from ``low`` (0 or -size) on; or a divisor, which is not zero: of size -1."""

    index: Node
    size: int
    low: int

    @property
    def key(self) -> Key:
        """What tells lookups apart."""
        return self.index.seq, self.size, self.low

    def is_sure(self, known: frozenset[Key]) -> bool:
        """Whether it is in range if the ``known`` ones are: a constant tells itself."""
        n, seq = self.index, self.index.seq
        if self.size < 0:
            return self.key in known or _never_zero(n)
        if n.op is None and n.data is not None and n.data.size:
            return bool(self.low <= n.data.min() and n.data.max() < self.size)
        if n.op is not None and n.op.name == "in_range" and n.attrs["n"] <= self.size:
            return True
        return (seq, self.size, self.low) in known or (seq, self.size, 0) in known


def _never_zero(n: Node) -> bool:
    """Whether a value is a constant without zeros, repeated or not."""
    while n.op is not None and n.op.name in ("expand", "reshape", "permute", "slice"):
        n = n.inputs[0]
    return n.op is None and n.data is not None and bool(np.all(n.data))


def lookup_of(n: Node) -> Lookup | None:
    """What an op looks up, or divides by."""
    if n.op is None or n.op.name not in _LOOKING:
        divides = n.op is not None and n.op.name in _DIVIDING and n.aval.dtype not in dt.INEXACT_NP
        return Lookup(n.inputs[1], -1, 0) if divides else None
    size = n.attrs["n"] if "n" in n.attrs else n.inputs[0].shape[_axis(n)]
    return Lookup(n.inputs[n.op.name != "in_range"], size, n.attrs.get("low", -size))


def _axis(n: Node) -> int:
    return n.attrs.get("axis", n.attrs.get("dim", 0))


class Wanted(NamedTuple):
    """A check of a lookup, whose index or divisor the node ``by`` reads."""

    by: Node
    lookup: Lookup


def wanted_of(graph: Graph, lookup: Lookup) -> Wanted:
    """The check of a lookup by the first op of a graph that looks it up."""
    return Wanted(next(n for n in graph.nodes if lookup_of(n) == lookup), lookup)


def named(checks: Sequence[Wanted], traced: Graph) -> tuple[Check, ...]:
    """Checks without their nodes; ``traced``: the graph that the user's function became."""
    places = {(n.code, n.lasti): i for i, n in reversed([*enumerate(_all_nodes(traced))])} if checks else {}
    out: list[Check] = []
    for c in checks:
        name, source = c.by.attrs.get("by", c.by.name), places.get((c.by.code, c.by.lasti), -1)
        out.append(Check(name, source, _axis(c.by), c.lookup.size, c.lookup.low))
    return tuple(out)


def _is_cheap(values: Node, given: set[int]) -> bool:
    """Whether a value follows from the inputs by ops that cost little."""
    total, reached = 0, False
    for n in ancestors((values,), stop=lambda n: n.seq in given):
        if n.op is not None and n.op.name == "in_range":  # it may go, and must not make the difference
            continue
        total += n.aval.size if type(n.aval) is not tuple else LARGEST
        reached = reached or n.seq in given
        if n.seq not in given and n.op is not None and not isinstance(n.op, Elementwise) and n.op.name not in _MOVING:
            return False
    return reached and total <= LARGEST


class Checks:
    """The checks of a graph: ``graph`` computes what they look at, from the inputs with the numbers ``places``."""

    def __init__(self, graph: Graph) -> None:
        given = {n.seq: i for i, n in enumerate(graph.inputs)}
        self.all = list(_early(graph).values())
        ends: list[Any] = []
        with tracing():
            for c in self.all:
                x = of_node(c.lookup.index)
                axes = tuple(range(len(c.lookup.index.shape)))
                if c.lookup.size < 0:  # whether any is zero, as the least of "is not zero"
                    ends.append(OPS["cast"](OPS["all"](x != 0, axes=axes), dtype=dt.NP_INT64))
                else:
                    ends += [OPS[name](OPS["cast"](x, dtype=dt.NP_INT64), axes=axes) for name in ("amin", "amax")]
        outputs = tuple([node_of(e) for e in ends])
        used = [n for n in ancestors(outputs, stop=lambda n: n.seq in given) if n.seq in given]
        self.places = [given[n.seq] for n in used]
        self.graph = Graph(tuple(used), outputs, "checks")


def _early(graph: Graph) -> dict[Key, Wanted]:
    """What can be looked at before a graph runs."""
    given = {n.seq for n in graph.inputs}
    found: dict[Key, Wanted] = {}
    for n in graph.nodes:
        lookup = lookup_of(n)
        if lookup is None or lookup.is_sure(frozenset()):
            continue
        if lookup.index.aval.size and _is_cheap(lookup.index, given):
            found.setdefault(lookup.key, Wanted(n, lookup))
    return found


def looked_at(graph: Graph) -> frozenset[Key]:
    """The lookups that `Checks` covers, of the graph or of what it was settled from (see `decompose.settled`)."""
    return frozenset(_early(graph))


def all_of(graph: Graph) -> frozenset[Key]:
    """All lookups of a graph, for one that only runs where they are in range."""
    return frozenset([found.key for n in graph.nodes if (found := lookup_of(n)) is not None])


__all__ = [
    "Check", "Checks", "Key", "Lookup", "Wanted", "all_of", "look", "looked_at", "lookup_of", "named", "wanted_of",
]  # fmt: skip

"""What must hold of a program's arguments before it may run: indices in range, no integer division by zero.

Kernels do not look. So a program of its own finds the least and the largest of each index, and whether divisors are
zero, before anything is written. It does so where these follow from the inputs by cheap ops, one element from a few; an
index that a network computes (by ``argmax``, say) is not looked at, and kernels clamp it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, message
from ..graph.graph import Graph
from ..graph.handle import node_of, of_node
from ..graph.node import Node, ancestors
from ..graph.trace import tracing
from ..ops.base import OPS, Elementwise
from ..ops.index import out_of_range

_MOVING = frozenset({"permute", "expand", "slice", "strided", "reshape", "windows", "cast", "where", "pad", "cat"})
_DIVIDING = frozenset({"floor_divide", "remainder", "fmod"})
LARGEST = 1 << 22  # elements that are looked at, together, for one check


class Check(NamedTuple):
    """An index into ``size`` elements along ``axis``, or a divisor (size 0), of the op ``name``.

    ``source``: the number of the node in the graph as traced that it comes from; -1 if there is none.
    """

    name: str
    source: int
    axis: int
    size: int

    def raise_if(self, low: int, high: int, traced: Graph) -> None:
        """Raise if a least and a largest value do not go."""
        origin = traced.nodes[self.source].origin if self.source >= 0 else "an unknown line"
        if not self.size and low <= 0 <= high:
            cure = "Divide floating numbers to get inf or NaN"
            raise ArgumentError(message(self.name, "integer division by zero", f"made at {origin}", cure))
        if self.size and (low < -self.size or high >= self.size):
            raise out_of_range(f"{self.name} at {origin}", np.array([low, high]), self.size, self.axis)


def look(checks: Sequence[Check], found: Sequence[Any], traced: Graph) -> None:
    """Raise if what the graph of `Checks` computed shows something wrong.

    Raises:
        IndexRangeError, ArgumentError: as the op in eager mode.
    """
    values = iter(found)
    for c in checks:
        first = int(next(values))
        c.raise_if(first, int(next(values)) if c.size else first, traced)


class _Wanted(NamedTuple):
    """A check of the ``values`` that the node ``by`` reads."""

    by: Node
    values: Node
    axis: int
    size: int


def _of(n: Node) -> _Wanted | None:
    name = n.op.name if n.op is not None else ""
    if name in ("take_rows", "gather", "put_rows", "add_rows", "scatter_add"):
        axis = n.attrs.get("axis", n.attrs.get("dim", 0))
        size = n.attrs["n"] if "n" in n.attrs else n.inputs[0].shape[axis]
        return _Wanted(n, n.inputs[1], axis, size)
    if name in _DIVIDING and n.aval.dtype not in dt.INEXACT_NP:
        return _Wanted(n, n.inputs[1], 0, 0)
    return None


def _is_cheap(values: Node, given: set[int]) -> bool:
    """Whether a value follows from the inputs by ops that cost little."""
    total, reached = 0, False
    for n in ancestors((values,), stop=lambda n: n.seq in given):
        total += n.aval.size if type(n.aval) is not tuple else LARGEST
        reached = reached or n.seq in given
        if n.seq not in given and n.op is not None and not isinstance(n.op, Elementwise) and n.op.name not in _MOVING:
            return False
    return reached and total <= LARGEST


class Checks:
    """The checks of a graph: ``graph`` computes what they look at, from the inputs with the numbers ``places``."""

    def __init__(self, graph: Graph) -> None:
        given = {n.seq: i for i, n in enumerate(graph.inputs)}
        found: dict[tuple[int, int], _Wanted] = {}
        for n in graph.nodes:
            check = _of(n)
            if check is not None and check.values.aval.size and _is_cheap(check.values, set(given)):
                found.setdefault((check.values.seq, check.size), check)
        self.all = list(found.values())
        ends: list[Any] = []
        with tracing():
            for c in self.all:
                x = of_node(c.values)
                axes = tuple(range(len(c.values.shape)))
                if not c.size:  # whether any is zero, as the least of "is not zero"
                    ends.append(OPS["cast"](OPS["all"](x != 0, axes=axes), dtype=dt.NP_INT64))
                else:
                    ends += [OPS[name](OPS["cast"](x, dtype=dt.NP_INT64), axes=axes) for name in ("amin", "amax")]
        outputs = tuple([node_of(e) for e in ends])
        used = [n for n in ancestors(outputs, stop=lambda n: n.seq in given) if n.seq in given]
        self.places = [given[n.seq] for n in used]
        self.graph = Graph(tuple(used), outputs, "checks")

    def named(self, traced: Graph) -> tuple[Check, ...]:
        """The checks without their nodes; ``traced``: the graph that the user's function became."""
        places = {(n.code, n.lasti): i for i, n in reversed([*enumerate(traced.nodes)])}
        return tuple([Check(c.by.name, places.get((c.by.code, c.by.lasti), -1), c.axis, c.size) for c in self.all])


__all__ = ["Check", "Checks", "look"]

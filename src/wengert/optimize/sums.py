"""Sums that are linear combinations of sums already there.

The derivative of a norm sums ``a·x + b·y`` where a and b are constant along the axes, and the sums of x and y are
known from elsewhere. Taken apart, it needs no pass over memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtypes as dt
from ..graph.graph import Graph
from ..graph.node import Node
from .rewrite import Rewriter
from .simplify import rules

DEPTH = 8
_APART = frozenset({"add", "sub", "mul", "neg"})


class _Sums(Rewriter):
    """Builds a graph anew, with sums taken apart where that leaves none to compute."""

    def __init__(self) -> None:
        super().__init__(rules())
        self.known: dict[tuple[int, tuple[int, ...]], Node] = {}

    def _nodes(self, nodes: Sequence[Node], env: dict[int, Any]) -> None:
        for n in nodes:
            if n.op is None or n.op.name != "sum" or n.aval.dtype not in (dt.NP_FLOAT32, dt.NP_FLOAT64):
                super()._nodes([n], env)
                continue
            x, axes = env[n.inputs[0].seq], n.attrs["axes"]
            found = self._apart(x, axes, n, DEPTH) if x.op is not None and x.op.name in _APART else None
            if found is None:
                found = self.make("sum", (x,), n.attrs, n)
                self.known[x.seq, axes] = found
            env[n.seq] = found

    def _apart(self, x: Node, axes: tuple[int, ...], like: Node, depth: int) -> Node | None:
        """The sum of x from sums that are known; None if it is not made of such."""
        known = self.known.get((x.seq, axes))
        if known is not None or depth == 0 or x.op is None:
            return known
        if x.op.name == "expand" and set(axes) <= set(x.attrs["axes"]):
            small = self._without(x, axes, like)
            return self.make("mul", (small, self.number(math.prod([x.shape[a] for a in axes]), small.aval)), {}, like)
        if x.op.name in ("add", "sub"):
            parts = [self._apart(y, axes, like, depth - 1) for y in x.inputs]
            if parts[0] is None or parts[1] is None:
                return None
            return self.make(x.op.name, (parts[0], parts[1]), {}, like)
        if x.op.name == "neg":
            part = self._apart(x.inputs[0], axes, like, depth - 1)
            return None if part is None else self.make("neg", (part,), {}, like)
        if x.op.name == "mul":
            for factor, rest in (x.inputs, x.inputs[::-1]):
                if factor.op is not None and factor.op.name == "expand" and set(axes) <= set(factor.attrs["axes"]):
                    part = self._apart(rest, axes, like, depth - 1)
                    if part is not None:
                        return self.make("mul", (part, self._without(factor, axes, like)), {}, like)
        return None

    def _without(self, x: Node, axes: tuple[int, ...], like: Node) -> Node:
        """A repeated value without axes along which it is repeated."""
        left = [i for i in range(len(x.shape)) if i not in axes]
        shape = tuple([x.shape[i] for i in left])
        repeated = tuple([left.index(a) for a in x.attrs["axes"] if a not in axes])
        return self.make("expand", x.inputs, {"shape": shape, "axes": repeated}, like) if repeated else x.inputs[0]


def shared_sums(graph: Graph) -> Graph:
    """Sums from sums that are there."""
    return _Sums().run(graph)

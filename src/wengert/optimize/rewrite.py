"""Rewriting: a graph is built anew, node by node, through rules, and equal nodes become one.

A rule looks at an op about to be built, and gives another node instead, or None. What it builds goes through the
rules again, so rules stay small and their order does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.node import ITEM, NO_ATTRS, Node, frozen
from ..ops.base import OPS
from .internal import INTERNAL

Rule = Callable[["Rewriter", Any, tuple[Node, ...], dict[str, Any], Node], Any]

MERGED = 64  # elements: larger constants are told apart by identity, not by their contents


class Rewriter:
    """Builds nodes through rules, and equal ones once."""

    def __init__(self, rules: Mapping[str, Sequence[Rule]]) -> None:
        self.rules = rules
        self.table: dict[Any, Node] = {}
        self.fired: dict[str, int] = {}

    # -- building --------------------------------------------------------------------------

    def make(self, name: str, inputs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Node:
        """The node of an op on nodes built before; ``like`` gives it the place it came from."""
        op = ITEM if name == "item" else OPS.get(name) or INTERNAL[name]
        for rule in self.rules.get(name, ()):
            found = rule(self, op, inputs, attrs, like)
            if found is not None:
                self.fired[rule.__name__] = self.fired.get(rule.__name__, 0) + 1
                return found
        key = (name, tuple([x.seq for x in inputs]), frozen(attrs))
        known = self.table.get(key)
        if known is None:
            aval = op.infer(*[x.aval for x in inputs], **attrs)
            known = Node(op, inputs, attrs, None, aval, False, like.code, like.lasti, like.scope)
            self.table[key] = known
        return known

    def constant(self, value: Any) -> Node:
        """A leaf with a value."""
        value = np.asarray(value)
        small = value.size <= MERGED
        key = ("constant", value.shape, value.dtype, value.tobytes() if small else id(value))
        known = self.table.get(key)
        if known is None:
            known = self.table[key] = Node(None, (), NO_ATTRS, value, None, False)
        return known

    def number(self, x: Any, aval: Aval) -> Node:
        """A number of a dtype, repeated to a shape."""
        return self.expand_all(self.constant(np.asarray(x, aval.dtype)), aval.shape, None)

    def expand_all(self, x: Node, shape: tuple[int, ...], like: Node | None) -> Node:
        """A 0-d node repeated to a shape."""
        attrs = {"shape": shape, "axes": tuple(range(len(shape)))}
        return self.make("expand", (x,), attrs, like or x) if shape else x

    def reshape(self, x: Node, shape: tuple[int, ...], like: Node) -> Node:
        """A node under another shape."""
        return self.make("reshape", (x,), {"shape": shape}, like)

    # -- whole graphs ----------------------------------------------------------------------

    def run(self, graph: Graph) -> Graph:
        """The graph built anew; its inputs are leaves without values."""
        inputs = tuple([Node(None, (), NO_ATTRS, None, n.aval, False, n.code, n.lasti, n.scope) for n in graph.inputs])
        return self.onto(graph, inputs, {n.seq: m for n, m in zip(graph.inputs, inputs, strict=True)})

    def onto(self, graph: Graph, inputs: tuple[Node, ...], env: dict[int, Any]) -> Graph:
        """The graph on other inputs; ``env``: what its own are now, by seq."""
        self._nodes(graph.nodes, env)
        return Graph(inputs, tuple([env[n.seq] for n in graph.outputs]), graph.name, 0, graph.single)

    def _nodes(self, nodes: Sequence[Node], env: dict[int, Any]) -> None:
        for n in nodes:
            if n.seq in env:
                continue
            if n.op is None:
                env[n.seq] = self.constant(n.data)
            elif n.op is ITEM and type(env[n.inputs[0].seq]) is tuple:
                env[n.seq] = env[n.inputs[0].seq][n.attrs["index"]]
            elif n.op.name == "call":
                env[n.seq] = self._called(n, env)
            else:
                env[n.seq] = self.make(n.op.name, tuple([env[x.seq] for x in n.inputs]), n.attrs, n)

    def _called(self, n: Node, env: dict[int, Any]) -> Any:
        """What a rule makes of a call, else its body in its place; the body's nodes come from the call's line."""
        for rule in self.rules.get("call", ()):
            found = rule(self, n.op, tuple([env[x.seq] for x in n.inputs]), n.attrs, n)
            if found is not None:
                return found
        graph: Graph = n.attrs["graph"]
        inner: dict[int, Any] = {x.seq: env[y.seq] for x, y in zip(graph.inputs, n.inputs, strict=True)}
        self._nodes([_placed(m, n) for m in graph.nodes], inner)
        outs = tuple([inner[o.seq] for o in graph.outputs])
        return outs[0] if graph.single else outs


class _Placed:
    """A node of a call's body with the origin of the call."""

    __slots__ = ("attrs", "code", "data", "inputs", "lasti", "op", "scope", "seq")

    def __init__(self, m: Any, n: Any) -> None:
        self.op, self.inputs, self.attrs, self.data, self.seq = m.op, m.inputs, m.attrs, m.data, m.seq
        self.code, self.lasti, self.scope = n.code, n.lasti, (*n.scope, n.op.label(n.attrs))


def _placed(m: Any, n: Any) -> Any:
    return _Placed(m, n)


# -- questions that rules ask ------------------------------------------------------------------


def number_in(n: Node) -> Any:
    """The number of a constant that repeats one; else None."""
    while n.op is not None and n.op.name in ("expand", "reshape"):
        n = n.inputs[0]
    if n.op is None and n.data is not None and n.data.size == 1:
        return n.data.reshape(())[()]
    return None


def is_constant(n: Node) -> bool:
    """Whether a node is a leaf with a value."""
    return n.op is None and n.data is not None


def split_matches(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int, int, int]] | None:
    """Pieces of two shapes of one size that hold the same elements: (i0, i1, j0, j1) with equal products.

    >>> split_matches((6, 4), (2, 3, 4))
    [(0, 1, 0, 2), (1, 2, 2, 3)]
    """
    if math.prod(a) != math.prod(b) or 0 in a:
        return None
    out: list[tuple[int, int, int, int]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        i0, j0 = i, j
        m = n = 1
        if i < len(a):
            m, i = a[i], i + 1
        if j < len(b):
            n, j = b[j], j + 1
        while m != n:
            if m < n:
                m, i = m * a[i], i + 1
            else:
                n, j = n * b[j], j + 1
        out.append((i0, i, j0, j))
    return out

"""Loops: what need not be computed in them, or not step by step, is computed outside.

* A body is simplified like any graph; constants, and movements of constants, stand in the body itself.
* What depends on constants alone is computed once, before the loop.
* In a scan, products (and other dear ops) of what is known for all steps are computed for all steps at once.
* In a scan, sums over the steps become one product, or one sum, after the loop: the gradients of weights.
* Results that nobody wants, and carries that they alone need, go; scans that differ in their results alone are one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..graph.graph import Graph
from ..graph.node import ITEM, Node
from ..ops.control_chain import Chain
from ..ops.control_scan import Layout
from .loop_kept import Made, with_latest
from .loop_scan import Scan, is_dear
from .loop_while import rewritten
from .rewrite import Rewriter, Rule
from .simplify import rules

HOLDING = frozenset({"scan", "while_loop", "cond", "switch"})
BODIES = HOLDING | {"each"}


def loops(graph: Graph) -> Graph:
    """The graph with its loops rewritten, inner ones first."""
    found = Loops(graph)
    return with_latest(found.run(graph), found.made)


def map_bodies(graph: Graph, f: Any) -> Graph:
    """The graph with every graph in attributes replaced by ``f`` of it."""
    if not any(n.op is not None and n.op.name in BODIES for n in graph.nodes):
        return graph
    return _Bodies(f).run(graph)


class _Bodies(Rewriter):
    def __init__(self, f: Any) -> None:
        super().__init__({})
        self.f = f
        self.known: dict[int, Graph] = {}

    def make(self, name: str, inputs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Node:
        if name in BODIES:
            attrs = {k: self._mapped(v) if isinstance(v, Graph) else v for k, v in attrs.items()}
        return super().make(name, inputs, attrs, like)

    def _mapped(self, graph: Graph) -> Graph:
        if id(graph) not in self.known:
            self.known[id(graph)] = self.f(graph)
        return self.known[id(graph)]


def simplified(graph: Graph) -> Graph:
    """A body with calls in line, simplified, and its own loops rewritten."""
    known = graph.derived.get("optimised loops")
    if known is None:
        known = graph.derived["optimised loops"] = loops(Rewriter(rules()).run(graph))
    return known


class Loops(Rewriter):
    """Builds a graph anew with its loops rewritten."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(_table())
        self.made: list[Made] = []
        self.used: dict[int, set[int]] = {}
        for n in graph.nodes:
            if n.op is ITEM:
                self.used.setdefault(n.inputs[0].seq, set()).add(n.attrs["index"])
        self.twins = _twins(graph)
        self.chains = _chains(graph)
        self.known: dict[int, tuple[Chain, list[Node]]] = {}

    def _nodes(self, nodes: Sequence[Node], env: dict[int, Any]) -> None:
        for n in nodes:
            if n.seq not in env and n.op is not None and n.op is not ITEM and n.op.name in HOLDING:
                env[n.seq] = self._rewritten(n, tuple([env[x.seq] for x in n.inputs]), env)
            else:
                super()._nodes([n], env)

    def _rewritten(self, n: Node, inputs: tuple[Node, ...], env: dict[int, Any]) -> tuple[Any, ...]:
        if n.op.name == "scan":
            return self._scan(n, inputs, env)
        if n.op.name == "while_loop":
            return self._while(n, inputs)
        graphs = {k: simplified(g) for k, g in n.attrs.items()}
        used = self.used.get(n.seq, set())
        kept = sorted(used)
        chosen = {k: Graph(g.inputs, tuple([g.outputs[i] for i in kept]), g.name) for k, g in graphs.items()}
        found = iter(self.items(n.op, inputs, chosen, n))
        return tuple([next(found) if i in used else None for i in range(len(n.aval))])

    def items(self, op: Any, inputs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> list[Node]:
        """The results of an op with several."""
        made = self.make(op.name, inputs, attrs, like)
        return [self.make("item", (made,), {"index": i}, like) for i in range(len(made.aval))]

    # -- scan ------------------------------------------------------------------------------

    def _scan(self, n: Node, inputs: tuple[Node, ...], env: dict[int, Any]) -> tuple[Any, ...]:
        """A scan, together with those that do the same."""
        group = self.twins[n.seq]
        lay = Layout.of(n.attrs)
        first = lay.carries + lay.ys
        keep = tuple(sorted({j for m in group for j in m.attrs["keep"]}))
        used: set[int] = set()
        for m in group:
            place = [*range(first), *[first + keep.index(j) for j in m.attrs["keep"]]]
            used |= {place[i] for i in self.used.get(m.seq, ())}
        lay = lay._replace(body=simplified(lay.body))
        results = Scan(self, lay, n, inputs, keep, used).results()
        for m in group:
            env[m.seq] = tuple([*results[:first], *[results[first + keep.index(j)] for j in m.attrs["keep"]]])
        return env[n.seq]

    # -- while -----------------------------------------------------------------------------

    def _while(self, n: Node, inputs: tuple[Node, ...]) -> tuple[Any, ...]:
        """A loop; with the bodies of a longer chain that begins with it, which then can go on from its tape."""
        k = n.attrs["consts"]
        longest = self.chains.get(n.seq, n)
        known = self.known.get(longest.seq)
        if known is None:
            chain = Chain.of(longest.attrs)
            known = self.known[longest.seq] = rewritten(self, chain, inputs[:k], simplified, is_dear)
        chain, outer = known
        if longest is not n:
            count = len(n.attrs["carries"])
            chain = chain._replace(
                bodies=chain.bodies[:count], sizes=chain.sizes[:count], reverse=chain.reverse[:count]
            )
        used = self.used.get(n.seq, set())
        found = self.items(n.op, (*outer, *inputs[k:]), chain.attrs(), n)
        return tuple([x if i in used else None for i, x in enumerate(found)])


def _chains(graph: Graph) -> dict[int, Node]:
    """For each ``while`` the longest one that begins with it: the same passes over the same operands, and more."""
    found = [n for n in graph.nodes if n.op is not None and n.op.name == "while_loop"]
    out: dict[int, Node] = {}
    for n in found:
        for m in found:
            few, more = Chain.of(n.attrs), Chain.of(m.attrs)
            count = len(few.bodies)
            if (few.cond, few.bodies, few.consts) == (more.cond, more.bodies[:count], more.consts):
                same = all(x is y for x, y in zip(n.inputs, m.inputs, strict=False))
                if same and len(more.bodies) > len(Chain.of(out.get(n.seq, n).attrs).bodies):
                    out[n.seq] = m
    return out


def columns(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A matrix times a batch of columns is one product, with the columns as rows."""
    x, y = xs
    lead = tuple(range(len(x.shape) - 2))
    if not lead or y.shape[-1] != 1 or x.op is None or x.op.name != "expand" or x.attrs["axes"] != lead or attrs:
        return None
    matrix = rw.make("permute", x.inputs, {"order": (1, 0)}, like)
    rows = rw.reshape(y, (math.prod(y.shape[:-2]), y.shape[-2]), like)
    return rw.reshape(rw.make("matmul", (rows, matrix), {}, like), (*y.shape[:-2], x.shape[-2], 1), like)


def _table() -> dict[str, Sequence[Rule]]:
    table: dict[str, Sequence[Rule]] = dict(rules())
    return {**table, "matmul": [*rules()["matmul"], columns]}


def _twins(graph: Graph) -> dict[int, list[Node]]:
    """For each scan those that do the same, and may keep other carries."""
    groups: dict[Any, list[Node]] = {}
    for n in graph.nodes:
        if n.op is not None and n.op is not ITEM and n.op.name == "scan":
            key = (id(n.attrs["body"]), n.attrs["length"], n.attrs["reverse"], tuple([x.seq for x in n.inputs]))
            groups.setdefault(key, []).append(n)
    return {n.seq: group for group in groups.values() for n in group}

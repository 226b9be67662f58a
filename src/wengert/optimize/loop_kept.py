"""What a scan has computed is stacked for later scans over its stacks, and not computed again.

The adjoint of a scan runs over the carries that the scan kept, and computes from them what the scan computed at each
step. Where a later scan finds such values in an earlier one, the earlier gets further results. Since its node stands
already, it gets a new version, and in the end the last version takes the place of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..graph.graph import Graph
from ..graph.node import ITEM, Node, ancestors
from ..ops.control_scan import Layout
from .loop_parts import leaf
from .rewrite import Rewriter
from .simplify import rules


class Made:
    """A scan as it stands in the new graph: its versions, and what its body computes for outer stacks."""

    def __init__(self, items: Sequence[Node], is_dear: Callable[[Node], bool]) -> None:
        node = items[0].inputs[0]
        self.versions = [node]
        self.steps = node.attrs["length"]
        self.lay = lay = Layout.of(node.attrs)
        self.is_dear = is_dear
        self.rewriter = Rewriter(rules())
        body = lay.body
        env: dict[int, Any] = {x.seq: x for x in body.inputs}
        self.rewriter._nodes(body.nodes, env)
        self.outputs = [env[o.seq] for o in body.outputs]
        self.computed = {env[n.seq].seq for n in body.nodes if type(env[n.seq]) is Node}
        consts, carries, slices = lay.parts(body.inputs)
        outer, _, stacks = lay.parts(node.inputs)
        self.inner = {o.seq: x for x, o in zip((*consts, *slices), (*outer, *stacks), strict=True)}
        # Stacks among the results: of the ys, then of carries.
        self.inner |= {o.seq: x for x, o in zip(self.outputs[lay.carries :], items[lay.carries :], strict=False)}
        kept = [carries[j] for j in node.attrs["keep"]]
        self.inner |= {o.seq: x for x, o in zip(kept, items[len(self.outputs) :], strict=True)}

        self.absent: set[int] = set()

    def replaced(self, inputs: Sequence[Node], outer: dict[int, Node], moved: Sequence[tuple[Node, Node]]) -> None:
        """Values of the body that are slices now: whoever writes the same of what they were made of finds these.

        ``inputs``: of the body as it was, with ``outer`` for what they stand (by seq); ``moved``: values and stacks.
        """
        env: dict[int, Any] = {}
        for x in inputs:
            stack = outer.get(x.seq)
            if stack is None:
                continue
            if stack.seq not in self.inner:
                self.inner[stack.seq] = leaf(x)
                self.absent.add(self.inner[stack.seq].seq)
            env[x.seq] = self.inner[stack.seq]
        for value, stack in moved:
            now = self.inner.get(stack.seq)
            self.rewriter._nodes(Graph(tuple(inputs), (value,), "").nodes, env)
            keys = [k for k, n in self.rewriter.table.items() if n is env[value.seq]]
            if now is not None:
                self.rewriter.table |= dict.fromkeys(keys, now)
                self.computed.add(now.seq)
                env[value.seq] = now

    def found(self, graph: Graph, given: dict[int, Node], n: Node) -> Node | None:
        """A value of another body in terms of this one, if this one computes all that is dear in it."""
        part = Graph(graph.inputs, (n,), "")
        read = {x.seq for m in part.nodes for x in m.inputs}
        env: dict[int, Any] = {}
        for x in graph.inputs:
            if x.seq in read:
                inner = self.inner.get(given[x.seq].seq) if x.seq in given else None
                if inner is None:
                    return None
                env[x.seq] = inner
        self.rewriter._nodes(part.nodes, env)
        new = [env[m.seq] for m in part.nodes if m.op is not None and self.is_dear(m)]
        out = env[n.seq]
        if any(m.seq in self.absent for m in ancestors((out,))):
            return None
        return out if all(m.seq in self.computed for m in new) else None

    def extended(self, rw: Any, wanted: Sequence[Node]) -> list[Node]:
        """Stacks of further values of the body, results of a new version."""
        lay, last = self.lay, self.versions[-1]
        count = len(self.outputs)
        self.outputs += wanted
        body = Graph(lay.body.inputs, tuple(self.outputs), lay.body.name)
        items = rw.items(last.op, last.inputs, {**last.attrs, "body": body}, last)
        self.versions.append(items[0].inputs[0])
        return items[count : count + len(wanted)]

    def latest(self) -> dict[int, dict[int, int]]:
        """For each version, by seq, where its results stand among those of the last."""
        total = len(self.outputs)
        out: dict[int, dict[int, int]] = {}
        for v in self.versions:
            own = len(v.attrs["body"].outputs)
            places = {i: i if i < own else i - own + total for i in range(len(v.aval))}
            out[v.seq] = places
        return out


def with_latest(graph: Graph, made: Sequence[Made]) -> Graph:
    """The graph with the last version of each scan in place of all."""
    many = [m for m in made if len(m.versions) > 1]
    return _Latest(many).run(graph) if many else graph


class _Latest(Rewriter):
    def __init__(self, made: Sequence[Made]) -> None:
        super().__init__(rules())
        self.last = {seq: (m.versions[-1], places) for m in made for seq, places in m.latest().items()}
        self.built: dict[int, Node] = {}

    def _nodes(self, nodes: Sequence[Node], env: dict[int, Any]) -> None:
        for n in nodes:
            if n.op is ITEM and n.inputs[0].seq in self.last:
                last, places = self.last[n.inputs[0].seq]
                node = self.built.get(last.seq)
                if node is None:
                    inputs = tuple([env[x.seq] for x in n.inputs[0].inputs])
                    node = self.built[last.seq] = self.make(last.op.name, inputs, last.attrs, last)
                env[n.seq] = self.make("item", (node,), {"index": places[n.attrs["index"]]}, n)
            elif n.seq not in self.last:
                super()._nodes([n], env)

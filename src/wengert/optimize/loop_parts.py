"""What rewriting of loops is made of: bodies rebuilt with other inputs, and what in them depends on what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..graph.graph import Graph
from ..graph.node import ITEM, NO_ATTRS, Node
from ..ops.base import OPS
from .checks import lookup_of
from .rewrite import Rewriter, is_constant
from .simplify import rules

SUNK = frozenset({"permute", "expand", "slice", "reshape"})


def leaf(like: Node) -> Node:
    """An input like a node."""
    return Node(None, (), NO_ATTRS, None, like.aval, False, like.code, like.lasti, like.scope)


def peeled(n: Node, stop: frozenset[int] | set[int] = frozenset()) -> Node:
    """The value behind the movements that a node is, up to nodes in ``stop``."""
    while n.seq not in stop and n.op is not None and n.op.name in SUNK:
        n = n.inputs[0]
    return n


def rebuilt(
    graph: Graph, inputs: Sequence[Node], known: dict[int, Node], outputs: Sequence[Node] | None = None
) -> Graph:
    """The graph on new inputs; ``known``: what values of the old one are now, by seq (inputs, for the most part)."""
    outputs = graph.outputs if outputs is None else outputs
    rw = Rewriter(rules())
    env: dict[int, Any] = dict(known)
    by_seq = {n.seq: n for n in (*graph.inputs, *graph.nodes)}
    cut = tuple([by_seq[k] for k in known if k in by_seq])
    rw._nodes(Graph(cut, tuple(outputs), graph.name).nodes, env)
    return Graph(tuple(inputs), tuple([env[o.seq] for o in outputs]), graph.name)


def dependents(graph: Graph, seqs: Iterable[int]) -> set[int]:
    """The nodes (by seq) that depend on some."""
    found = set(seqs)
    for n in graph.nodes:
        if n.op is not None and any(x.seq in found for x in n.inputs):
            found.add(n.seq)
    return found


def sunk(bodies: Sequence[Graph], outer: Sequence[Node]) -> tuple[list[Graph], list[Node]]:
    """Bodies in which constants, and movements of operands, stand; ``outer``: their first inputs. With what is left."""
    bases: dict[int, Node] = {}
    for x in outer:
        base = peeled(x)
        if not is_constant(base):
            bases.setdefault(base.seq, base)
    out: list[Graph] = []
    for body in bodies:
        rw = Rewriter(rules())
        leaves = {k: leaf(b) for k, b in bases.items()}

        def inner(x: Node, rw: Rewriter = rw, leaves: dict[int, Node] = leaves) -> Node:
            """An outer node in the body's terms."""
            if is_constant(x):
                return rw.constant(x.data)
            known = leaves.get(x.seq)
            return rw.make(x.op.name, (inner(x.inputs[0]),), x.attrs, x) if known is None else known

        rest = [leaf(x) for x in body.inputs[len(outer) :]]
        known = [*[inner(x) for x in outer], *rest]
        env: dict[int, Any] = {x.seq: y for x, y in zip(body.inputs, known, strict=True)}
        rw._nodes(body.nodes, env)
        out.append(Graph((*leaves.values(), *rest), tuple([env[o.seq] for o in body.outputs]), body.name))
    return out, list(bases.values())


def hoisted(rw: Rewriter, bodies: Sequence[Graph], outer: Sequence[Node], runs: bool) -> tuple[list[Graph], list[Node]]:
    """Bodies without what depends on their first inputs alone, which ``rw`` builds outside; with the new operands.

    ``runs``: whether the bodies certainly run; if not, what they look up, which may fail, stays where it is.
    """
    extra = [_invariants(rw, body, outer, runs) for body in bodies]
    operands = {x.seq: x for x in outer}
    for found in extra:
        operands |= {f.outer.seq: f.outer for f in found}
    out: list[Graph] = []
    for body, found in zip(bodies, extra, strict=True):
        leaves = {k: leaf(x) for k, x in operands.items()}
        rest = [leaf(x) for x in body.inputs[len(outer) :]]
        known = {n.seq: leaves[x.seq] for n, x in zip(body.inputs, outer, strict=False)}
        known |= {n.seq: m for n, m in zip(body.inputs[len(outer) :], rest, strict=True)}
        known |= {f.inner.seq: _turned(leaves[f.outer.seq]) if f.turned else leaves[f.outer.seq] for f in found}
        out.append(rebuilt(body, (*leaves.values(), *rest), known))
    return _without_unread(out, list(operands.values()))


class Invariant(NamedTuple):
    """A value of a body that is computed outside; ``turned``: there its axes are exchanged."""

    inner: Node
    outer: Node
    turned: bool = False


def _turned(n: Node) -> Node:
    """A matrix with its axes exchanged."""
    aval = n.aval.with_shape(n.shape[::-1])
    return Node(OPS["permute"], (n,), {"order": (1, 0)}, None, aval, False, n.code, n.lasti, n.scope)


def added(x: Node, y: Node) -> Node:
    """The sum of two values of a body."""
    return Node(OPS["add"], (x, y), NO_ATTRS, None, x.aval, False, y.code, y.lasti, y.scope)


def _without_unread(bodies: Sequence[Graph], outer: Sequence[Node]) -> tuple[list[Graph], list[Node]]:
    """Bodies without the first inputs that none of them reads."""
    k = len(outer)
    read = [False] * k
    for body in bodies:
        seqs = {x.seq for n in body.nodes for x in n.inputs} | {o.seq for o in body.outputs}
        read = [r or n.seq in seqs for r, n in zip(read, body.inputs, strict=False)]
    kept = [i for i in range(k) if read[i]]
    new = [Graph((*[g.inputs[i] for i in kept], *g.inputs[k:]), g.outputs, g.name) for g in bodies]
    return new, [outer[i] for i in kept]


def _is_matrix(n: Node, i: int) -> bool:
    """Whether an operand is the matrix of a product with rows, or with a column."""
    return n.op.name == "matmul" and len(n.shape) == 2 and (i == 1 or n.shape[1] == 1)


def _may_fail(n: Node) -> bool:
    """Whether an op looks something up that may be out of range, or divides by what may be zero."""
    found = lookup_of(n)
    return found is not None and not found.is_sure(frozenset())


def _invariants(rw: Rewriter, body: Graph, outer: Sequence[Node], runs: bool) -> list[Invariant]:
    """Values of a body that depend on its first inputs alone, if others read them, with what they are outside.

    The matrix of a product lies so that vectors can run along the result: its kernel would turn it each time.
    """
    k = len(outer)
    varying = dependents(body, [x.seq for x in body.inputs[k:]])
    varying |= {n.seq for n in body.nodes if type(n.aval) is tuple or n.op is ITEM}
    varying |= {n.seq for n in body.nodes if not runs and _may_fail(n)}
    varying = dependents(body, varying)
    wanted: dict[int, Node] = {}
    matrices: dict[int, tuple[Node, bool]] = {}
    for n in body.nodes:
        for i, x in enumerate(n.inputs if n.op is not None and n.seq in varying else ()):
            if _is_matrix(n, i) and x.seq not in varying and not is_constant(x):
                matrices[x.seq] = (x, i == 0)
                continue
            base = peeled(x)
            if base.seq not in varying and base.op is not None:
                wanted.setdefault(base.seq, base)
    for x in map(peeled, body.outputs):
        if x.seq not in varying and x.op is not None:
            wanted.setdefault(x.seq, x)
    if not wanted and not matrices:
        return []
    env: dict[int, Any] = {n.seq: x for n, x in zip(body.inputs, outer, strict=False)}
    ends = (*wanted.values(), *[x for x, _ in matrices.values()])
    rw._nodes(Graph(body.inputs, ends, body.name).nodes, env)
    found = [Invariant(n, env[n.seq]) for n in wanted.values() if not is_constant(env[n.seq])]
    for x, turned in matrices.values():
        out = env[x.seq]
        out = rw.make("permute", (out,), {"order": (1, 0)}, x) if turned else out
        if not is_constant(out):
            found.append(Invariant(x, out, turned))
    return found

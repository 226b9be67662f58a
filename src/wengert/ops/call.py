"""Call: a node whose op is a sub-graph, as formulas and layers stand in the graph.

Every rule is derived by sweeping the body. In a reverse sweep over arrays the body's joint graph
(values and adjoints) is cut in two once: the forward part, which also returns what the backward
part reads of it, and the backward part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..config import STATE, quietly
from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.handle import Handle, make_node, node_of, of_node, results, symbol, wrap
from ..graph.lower import straight_line
from ..graph.node import Node, ancestors
from ..graph.trace import trace, tracing
from .base import OPS, Op, Sample, dtype_of, full_tuple, items, shape_of, to_front
from .piecewise import keeps_arguments, pullback
from .testpoints import floats


class Call(Op):
    """Apply ``graph``; as many results as it has outputs."""

    name = "call"
    is_call = True
    dtypes = ()  # the body is traced for one dtype

    def label(self, attrs: dict[str, Any]) -> str:
        return attrs["graph"].name

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        graph = attrs["graph"]
        return graph.out_avals[0] if graph.single else graph.out_avals

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return attrs["graph"].numpy(*xs)

    def inlined(self, xs: Sequence[Handle], attrs: dict[str, Any]) -> Any:
        """The body in place of the call."""
        graph = attrs["graph"]
        out = graph.replay(xs, inline=True)
        return out[0] if graph.single else tuple(out)

    def forward_with_pullback(self, values: Any, attrs: dict[str, Any], need: Sequence[bool]) -> Any:  # type: ignore[override]
        plan = Plan(attrs["graph"], tuple(need))
        found = plan.forward(*values)
        return (found[0] if plan.single else found[: plan.n]), plan.pullback(found)

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        graph: Graph = attrs["graph"]
        if not isinstance(xs[0], Handle):
            return Call.forward_with_pullback(self, xs, attrs, need)[1](g, need)
        if keeps_arguments(graph, need):
            found = iter(items(self(*xs, g, graph=pullback(graph, tuple(need)))))
        elif STATE.trace is not None and STATE.trace.captures_all:
            gs = [g] if graph.single else g
            joint, there = adjoints(graph, tuple(need), tuple([x is not None for x in gs]))
            given = [x for x in gs if x is not None]
            found = iter(spread(items(_CALL(*xs, *given, graph=joint)) if any(there) else (), there))
        else:
            gs = [g] if graph.single else g
            some = [x is not None for x in gs]
            found = iter(_vjp_handles(graph, xs, need, some)[1](*[x for x in gs if x is not None]))
        return [next(found) if n else None for n in need]

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        graph: Graph = attrs["graph"]
        if not isinstance(xs[0], Handle):
            some = tuple(t is not None for t in ts)
            tangents = pushforward(graph, some).numpy(*xs, *[t for t in ts if t is not None])
        else:
            tangents = _jvp_handles(graph, xs, ts)
        return tangents[0] if graph.single else tuple(tangents)

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        from ..transform.vmap import batch_graph

        graph: Graph = attrs["graph"]
        out = batch_graph(graph, size, xs, dims)
        return (out[0], 0) if graph.single else (tuple(out), 0)

    def samples(self) -> Iterable[Sample]:
        aval = Aval((3,), np.dtype(np.float64))
        one = trace(lambda x, y: OPS["tanh"](OPS["mul"](x, y)), [aval, aval], "one")
        two = trace(lambda x, y: (OPS["exp"](OPS["mul"](x, y)), OPS["mul"](x, x)), [aval, aval], "two")
        nested = trace(lambda x, y: OPS["mul"](OPS["call"](x, y, graph=one), x), [aval, aval], "nested")
        for graph in (one, two, nested):
            yield Sample(floats(3), floats(3, seed=1), attrs={"graph": graph}, label=graph.name)


_CALL = OPS["call"]


class Checkpoint(Call):
    """A call that keeps nothing but its arguments: the reverse sweep computes the body again."""

    name = "checkpoint"
    forward_with_pullback = None  # type: ignore[assignment]

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        from ..transform.vmap import batch_graph

        graph: Graph = attrs["graph"]
        axes = tuple([None if d is None else 0 for d in dims])
        moved = [x if d is None else to_front(x, d, size) for x, d in zip(xs, dims, strict=True)]
        key = ("batch", size, axes)
        batched = graph.derived.get(key)
        if batched is None:
            avals = [Aval(shape_of(x), dtype_of(x)) for x in moved]
            batched = trace(lambda *ys: batch_graph(graph, size, ys, axes), avals, graph.name)
            graph.derived[key] = batched
        out = self(*moved, *[of_node(n) for n in batched.captures], graph=batched)
        return (out[0] if graph.single else out), 0


class Plan:
    """How a call runs over arrays when the operands named by ``need`` carry a gradient.

    ``forward``: arrays to the results; if there is a ``backward``, to a tuple of the results, ``n`` of them, and what
    that reads: ``backward(*kept, *adjoints)``.
    """

    __slots__ = ("attrs", "backward", "forward", "n", "single")

    def __init__(self, graph: Graph, need: tuple[bool, ...]) -> None:
        self.attrs = {"graph": graph}
        self.single = graph.single
        self.backward: Callable[..., Any] | None = None
        if True in need:
            self.forward, self.backward, self.n = quietly(_reaching, graph, need)
        else:
            self.forward, self.n = graph.derived.get("runner") or _runner(graph), 0

    def pullback(self, found: tuple[Any, ...]) -> Callable[..., Any]:
        """From adjoints of the results to those of the operands; ``found`` is what ``forward`` gave."""
        backward, n = self.backward, self.n
        assert backward is not None
        if self.single:
            return partial(backward, *found[1:])
        return lambda g, need: backward(*found[n:], *full_tuple(g, found[:n]))

    def handles(self, found: Any, nodes: Sequence[Any]) -> Any:
        """Results as handles, recorded where there is a ``backward``; ``nodes``: then, those of the operands."""
        if self.backward is None:
            return wrap(found) if self.single else tuple([wrap(v) for v in found])
        value = found[0] if self.single else found[: self.n]
        node = make_node(_CALL, tuple(nodes), self.attrs, value, True, 3)
        node.saved = self.pullback(found)
        return wrap(value, node) if self.single else results(node, value)


def _runner(graph: Graph) -> Callable[..., Any]:
    """What runs a graph on arrays: kernels for large ones, else NumPy, op by op."""
    from ..runtime import eager

    run: Callable[..., Any] = graph.run
    if eager.is_heavy(graph):
        by_pieces = keeps_arguments(graph, (True,) * len(graph.inputs))
        compiled = eager.Kernels(eager.single(OPS["call"], graph.in_avals, {"graph": graph}) if by_pieces else graph)
        run = (lambda *xs: compiled(*xs)[0]) if graph.single else compiled
    graph.derived["runner"] = run
    return run


def _jvp_handles(graph: Graph, xs: Sequence[Any], ts: Sequence[Any]) -> list[Any]:
    from ..transform.flat import jvp_flat

    chosen = [x for x, t in zip(xs, ts, strict=True) if t is not None]

    def body(*ys: Any) -> Sequence[Any]:
        given = iter(ys)
        return graph.replay([x if t is None else next(given) for x, t in zip(xs, ts, strict=True)], inline=True)

    return jvp_flat(body, chosen, [t for t in ts if t is not None])[1]


def _vjp_handles(graph: Graph, xs: Sequence[Any], need: Sequence[bool], given: Sequence[bool]) -> Any:
    """`vjp_flat` of a graph for the operands named by ``need`` and the results named by ``given``.

    The adjoint is None for an operand on which these results do not depend: one of zeros would be a gradient.
    """
    from ..transform.flat import vjp_flat

    def body(*ys: Any) -> Sequence[Any]:
        chosen = iter(ys)
        outs = graph.replay([next(chosen) if n else x for x, n in zip(xs, need, strict=True)])
        return [o for o, some in zip(outs, given, strict=True) if some]

    return vjp_flat(body, [x for x, n in zip(xs, need, strict=True) if n], fill=False)


def spread(found: Sequence[Any], there: Sequence[bool]) -> list[Any]:
    """Put None where nothing is ``there``."""
    rest = iter(found)
    return [next(rest) if some else None for some in there]


def adjoints(graph: Graph, need: tuple[bool, ...], given: tuple[bool, ...]) -> tuple[Graph, list[bool]]:
    """The graph (inputs, adjoints of the results named by ``given``) -> adjoints of the inputs named by ``need``.

    Those on which the results do not depend have none; the second result says which of them have one.

    It computes the body again. Compiled programs merge that with the body's first computation, so what they trace
    need not say it anew for each call: layers of one shape have one such graph.
    """
    key = ("adjoints", need, given)
    found = graph.derived.get(key)
    if found is None:
        n = len(graph.inputs)
        avals = [*graph.in_avals, *[a for a, some in zip(graph.out_avals, given, strict=True) if some]]
        there: list[bool] = []

        def pull(*args: Any) -> list[Any]:
            gs = _vjp_handles(graph, args[:n], need, given)[1](*args[n:])
            there[:] = [g is not None for g in gs]
            return [g for g in gs if g is not None]

        found = graph.derived[key] = (trace(pull, avals, f"{graph.name} backward"), there)
    return found


def pushforward(graph: Graph, some: tuple[bool, ...]) -> Graph:
    """The graph (inputs, tangents of those named by ``some``) -> tangents of the outputs."""
    key = ("jvp", some)
    found = graph.derived.get(key)
    if found is None:
        avals = list(graph.in_avals)
        moving = [a for a, s in zip(avals, some, strict=True) if s]

        def run(*args: Any) -> list[Any]:
            given = iter(args[len(avals) :])
            return _jvp_handles(graph, args[: len(avals)], [next(given) if s else None for s in some])

        found = graph.derived[key] = trace(run, avals + moving, f"jvp of {graph.name}")
    return found


Split = tuple[Callable[..., Any], Callable[..., Any], int]


def split(graph: Graph, need: tuple[bool, ...]) -> Split:
    """(forward, backward, number of outputs) for the adjoints named by ``need``.

    ``forward(*inputs)`` returns the outputs and what ``backward(*kept, *adjoints)`` needs of them; it ignores one
    argument more, which says what is needed of it, for that is settled.
    """
    key = ("split", need)
    found = graph.derived.get(key)
    if found is None:
        found = graph.derived[key] = _make_split(graph, need)
    return found


def _reaching(graph: Graph, need: tuple[bool, ...]) -> Split:
    """The same, with None for the operands that the results do not depend on: zeros would be a gradient."""
    found, reached = split(graph, need), graph.derived["reached", need]
    return found if reached == need or True not in reached else split(graph, reached)


def _make_split(graph: Graph, need: tuple[bool, ...]) -> Split:
    from ..runtime import eager
    from ..transform.reverse import reverse

    with tracing():
        xs = [symbol(a, n) for a, n in zip(graph.in_avals, need, strict=True)]
        by_pieces = eager.is_heavy(graph) and keeps_arguments(graph, need)
        outs = items(OPS["call"](*xs, graph=graph)) if by_pieces else graph.replay(xs, inline=True)
        gs = [symbol(o.aval, True) for o in outs]
        inputs = [_node(x) for x in xs]
        wrt = [n for n, wanted in zip(inputs, need, strict=True) if wanted]
        live = [(_node(o), g) for o, g in zip(outs, gs, strict=True) if _node(o).requires_grad]
        found = reverse([o for o, _ in live], [g for _, g in live], wrt, raw=False)
        there = iter(f is not None for f in found)
        graph.derived["reached", need] = tuple([n and next(there) for n in need])
        zeros = [OPS["fill"](of_node(n), value=0) if f is None else f for f, n in zip(found, wrt, strict=True)]
    ends, seeds, grads = [_node(o) for o in outs], [_node(g) for g in gs], [_node(z) for z in zeros]
    joint = Graph((*inputs, *seeds), (*ends, *grads), graph.name)
    forward, backward = _functions(joint, len(inputs), len(ends), need)
    return forward, backward, len(ends)


def _functions(
    joint: Graph, given: int, results: int, need: tuple[bool, ...]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two halves of a graph (inputs, adjoints) -> (results, adjoints) over arrays: on kernels if it is heavy."""
    from ..runtime import eager

    if eager.is_heavy(joint):
        from ..runtime.halves import halves

        forward, backward = halves(joint, given, results)
        return forward, _with_gaps(backward, need, [n.aval for n in joint.inputs[given:]])
    inputs, seeds = joint.inputs[:given], joint.inputs[given:]
    ends, grads = joint.outputs[:results], joint.outputs[results:]
    known = {n.seq for n in inputs}
    first = [n for n in ancestors(ends) if n.seq not in known]
    computed = known | {n.seq for n in first}
    later = ancestors(grads, stop=lambda n: n.seq in computed)
    taken = {n.seq for n in seeds}
    kept = [n for n in later if n.seq in computed and (n.op is not None or n.seq in known)]
    body = [n for n in later if n.seq not in taken and n not in kept]
    forward = straight_line(inputs, first, [*ends, *kept], False, joint.name)
    found = iter(grads)
    wanted = [next(found) if n else None for n in need]
    name = f"{joint.name} backward"
    return forward, straight_line([*kept, *seeds], body, wanted, False, name, spare=", need=None")


def _with_gaps(backward: Callable[..., Any], need: Sequence[bool], seeds: Sequence[Aval]) -> Callable[..., Any]:
    """Put None where no adjoint is wanted; take, and ignore, a last argument that says what is needed.

    ``seeds``: of the last arguments before that. None stands for a result that has no adjoint, as whole numbers.
    """
    zeros = [np.broadcast_to(np.zeros((), a.dtype), a.shape) for a in seeds]

    def run(*args: Any) -> list[Any]:
        given = args[:-1] if isinstance(args[-1], (tuple, list)) else args
        kept = len(given) - len(zeros)
        adjoints = [z if g is None else g for g, z in zip(given[kept:], zeros, strict=True)]
        found = iter(backward(*given[:kept], *adjoints))
        return [next(found) if n else None for n in need]

    return run


def _node(x: Handle) -> Node:
    return node_of(x)  # a result that depends on nothing may be a plain tensor


__all__ = ["Call", "items", "pushforward", "split"]

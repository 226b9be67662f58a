"""Graphs made from the bodies of control flow: what depends on what, tangents, adjoints, batches.

A body here is closed: its inputs are all it reads, apart from constants. Masks are tuples of bools,
one entry an input or an output. All results are kept in ``graph.derived``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.handle import Handle, check_finite, lift, wrap
from ..graph.lower import numpy_function
from ..graph.node import ITEM, NO_ATTRS, Node
from ..graph.trace import trace
from .base import OPS, shape_of, to_front

Mask = tuple[bool, ...]


def either(a: Sequence[bool], b: Sequence[bool]) -> Mask:
    """Where one of two masks is set."""
    return tuple(x or y for x, y in zip(a, b, strict=True))


def both(a: Sequence[bool], b: Sequence[bool]) -> Mask:
    """Where both masks are set."""
    return tuple(x and y for x, y in zip(a, b, strict=True))


def chosen(xs: Sequence[Any], mask: Sequence[bool]) -> list[Any]:
    """The entries at which the mask is set."""
    return [x for x, m in zip(xs, mask, strict=True) if m]


def spread(found: Sequence[Any], mask: Sequence[bool]) -> list[Any]:
    """The inverse of `chosen`: None where the mask is not set."""
    given = iter(found)
    return [next(given) if m else None for m in mask]


def grown(mask: Mask, step: Callable[[Mask], Sequence[bool]]) -> Mask:
    """The smallest mask that holds ``mask`` and that ``step`` does not enlarge."""
    while True:
        more = either(mask, step(mask))
        if more == mask:
            return mask
        mask = more


def inexact(aval: Aval) -> bool:
    """Whether a value can carry a derivative."""
    return aval.dtype in dt.INEXACT_NP


def _memo(graph: Graph, key: Any, make: Callable[[], Any]) -> Any:
    found = graph.derived.get(key)
    if found is None:
        found = graph.derived[key] = make()
    return found


# -- what depends on what ----------------------------------------------------------------------


def _carries(n: Node) -> bool:
    """Whether a derivative can pass through a node."""
    if n.op is ITEM:
        return inexact(n.aval)
    return n.op is not None and n.op.differentiable and (type(n.aval) is tuple or inexact(n.aval))


def depends(graph: Graph, mask: Mask) -> Mask:
    """Which outputs have a derivative with respect to the inputs of the mask."""

    def make() -> Mask:
        live = {n.seq for n, m in zip(graph.inputs, mask, strict=True) if m and inexact(n.aval)}
        for n in graph.nodes:
            if _carries(n) and any(x.seq in live for x in n.inputs):
                live.add(n.seq)
        return tuple(o.seq in live for o in graph.outputs)

    return _memo(graph, ("depends", mask), make)


def influences(graph: Graph, mask: Mask) -> Mask:
    """Which inputs have an adjoint when the outputs of the mask have one."""

    def make() -> Mask:
        live = {o.seq for o, m in zip(graph.outputs, mask, strict=True) if m and inexact(o.aval)}
        for n in reversed(graph.nodes):
            if n.seq in live and _carries(n):
                live.update(x.seq for x in n.inputs)
        return tuple(n.seq in live and inexact(n.aval) for n in graph.inputs)

    return _memo(graph, ("influences", mask), make)


def varies(graph: Graph, mask: Mask) -> Mask:
    """Which outputs differ along a mapped axis of the inputs of the mask."""

    def make() -> Mask:
        live = {n.seq for n, m in zip(graph.inputs, mask, strict=True) if m}
        for n in graph.nodes:
            if n.op is not None and (hasattr(n.op, "always_batch") or any(x.seq in live for x in n.inputs)):
                live.add(n.seq)
        return tuple(o.seq in live for o in graph.outputs)

    return _memo(graph, ("varies", mask), make)


def used(graph: Graph) -> Mask:
    """Which inputs the graph reads."""

    def make() -> Mask:
        read = {x.seq for n in graph.nodes if n.op is not None for x in n.inputs}
        read.update(o.seq for o in graph.outputs)
        return tuple(n.seq in read for n in graph.inputs)

    return _memo(graph, "used", make)


# -- derived graphs ----------------------------------------------------------------------------


def closed(f: Callable[..., Sequence[Any]], avals: Sequence[Aval], name: str) -> Graph:
    """Trace ``f``, which reads nothing from outside but constants."""
    graph = trace(lambda *xs: list(f(*xs)), avals, name)
    return Graph(graph.args, graph.outputs, name)


def selected(graph: Graph, outputs: Mask) -> Graph:
    """The graph with some of its outputs only."""
    return Graph(graph.inputs, tuple(chosen(graph.outputs, outputs)), graph.name)


def rewired(graph: Graph, inputs: Sequence[int | Aval]) -> Graph:
    """The graph with other inputs: numbers of its own ones, or avals of ones that it ignores."""
    nodes = tuple(graph.inputs[i] if isinstance(i, int) else Node(None, (), NO_ATTRS, None, i, False) for i in inputs)
    return Graph(nodes, graph.outputs, graph.name)


def zero_node(aval: Aval) -> Node:
    """A constant of zeros."""
    return Node(None, (), NO_ATTRS, np.zeros(aval.shape, aval.dtype), None, False)


def tangents(graph: Graph, some: Mask) -> Graph:
    """(inputs, tangents of those in ``some``) -> (outputs, tangents of those that `depends` names)."""

    def make() -> Graph:
        from ..transform.flat import jvp_flat

        n, live = len(graph.inputs), depends(graph, some)

        def run(*args: Any) -> list[Any]:
            xs, ts = args[:n], list(args[n:])

            def body(*ys: Any) -> list[Any]:
                return graph.replay(merged(xs, some, ys), inline=True)

            outs, found = jvp_flat(body, chosen(xs, some), ts)
            return [*outs, *chosen(found, live)]

        avals = graph.in_avals
        return closed(run, [*avals, *chosen(avals, some)], f"jvp of {graph.name}")

    return _memo(graph, ("tangents", some), make)


def adjoints(graph: Graph, need: Mask, given: Mask) -> Graph:
    """(inputs, adjoints of the outputs in ``given``) -> adjoints of the inputs in ``need``."""

    def make() -> Graph:
        from ..transform.flat import vjp_flat

        n = len(graph.inputs)

        def run(*args: Any) -> list[Any]:
            xs = args[:n]

            def body(*ys: Any) -> list[Any]:
                return chosen(graph.replay(merged(xs, need, ys), inline=True), given)

            return vjp_flat(body, chosen(xs, need))[1](*args[n:])

        avals = [*graph.in_avals, *chosen(graph.out_avals, given)]
        return closed(run, avals, f"vjp of {graph.name}")

    return _memo(graph, ("adjoints", need, given), make)


def merged(xs: Sequence[Any], mask: Sequence[bool], ys: Sequence[Any]) -> list[Any]:
    """``xs`` with those of the mask replaced by ``ys``, in order."""
    given = iter(ys)
    return [next(given) if m else x for x, m in zip(xs, mask, strict=True)]


def batched(graph: Graph, size: int, mapped: Mask, outputs: Mask) -> Graph:
    """The graph over a mapped axis, in front, of the inputs in ``mapped`` and the outputs in ``outputs``.

    ``outputs`` holds at least what `varies` names.
    """

    def make() -> Graph:
        from ..transform.vmap import batch_pairs

        def run(*xs: Any) -> list[Any]:
            pairs = batch_pairs(graph, size, xs, [0 if m else None for m in mapped])
            return [to_front(x, d, size) if m else x for (x, d), m in zip(pairs, outputs, strict=True)]

        avals = [a.with_shape((size, *a.shape)) if m else a for a, m in zip(graph.in_avals, mapped, strict=True)]
        return closed(run, avals, graph.name)

    return _memo(graph, ("batched", size, mapped, outputs), make)


# -- running them ------------------------------------------------------------------------------


def run(graph: Graph, xs: Sequence[Any]) -> tuple[Any, ...]:
    """Apply a body to handles or to arrays, as they come."""
    if any(isinstance(x, Handle) for x in xs):
        return tuple(graph.replay([lift(x) for x in xs]))
    return graph.numpy(*xs)


def function(graph: Graph) -> Callable[..., Any]:
    """The body as a function over arrays; while anomalies are looked for, one that looks at every op."""
    if STATE.anomaly:
        return lambda *xs: _checked(graph, xs)
    found = graph.derived.get("numpy")
    if found is None:
        found = graph.derived["numpy"] = numpy_function(graph)
    return found


def _checked(graph: Graph, xs: Sequence[Any]) -> tuple[Any, ...]:
    """Run op by op, so that the first NaN is reported with the op and the line that made it."""
    env: dict[int, Any] = dict(zip((n.seq for n in graph.inputs), xs, strict=True))
    for n in graph.nodes:
        if n.op is None:
            env[n.seq] = n.value
        elif n.op is ITEM:
            env[n.seq] = env[n.inputs[0].seq][n.attrs["index"]]
        else:
            values = [env[x.seq] for x in n.inputs]
            env[n.seq] = n.op.numpy(*values, **n.attrs)
            check_finite(n.name, env[n.seq], values, n.origin or None)
    return tuple([env[o.seq] for o in graph.outputs])


def fresh(outs: Sequence[Any], inputs: Sequence[Any], graph: Graph) -> tuple[Any, ...]:
    """Results that share memory with nothing: not with inputs, constants or each other."""
    taken = {id(x) for x in inputs}
    taken.update(id(n.data) for n in graph.nodes if n.op is None)
    result: list[Any] = []
    for v in outs:
        if isinstance(v, np.ndarray) and (v.base is not None or id(v) in taken or not v.flags.writeable):
            v = np.array(v)
        taken.add(id(v))
        result.append(v)
    return tuple(result)


class Cursor:
    """Takes the parts of a flat sequence one after the other."""

    def __init__(self, xs: Sequence[Any]) -> None:
        self._rest: Iterator[Any] = iter(xs)

    def take(self, n: int) -> list[Any]:
        """The next ``n``."""
        return [next(self._rest) for _ in range(n)]

    def pick(self, mask: Sequence[bool]) -> list[Any]:
        """The next ones at the places of a mask, None elsewhere."""
        return [next(self._rest) if m else None for m in mask]


# -- choosing among mapped elements ------------------------------------------------------------


def spread_condition(condition: Any, like: Any) -> Any:
    """A condition of shape [size] repeated to the shape of ``like``, whose first axis is the same."""
    shape = shape_of(like)
    axes = tuple(range(1, len(shape)))
    return OPS["expand"](condition, shape=shape, axes=axes) if axes else condition


def select_rows(condition: Any, x: Any, y: Any) -> Any:
    """Rows of ``x`` where the condition of shape [size] holds, else rows of ``y``."""
    return OPS["where"](spread_condition(condition, x), x, y)


def substituted(taken: Any, xs: Sequence[Any], mapped: Sequence[bool], size: int) -> list[Any]:
    """Mapped operands in which the elements not ``taken`` are those of the first one that is.

    A body is then never run outside of its domain, where it might not end, or have an infinite
    derivative that a zero adjoint turns into NaN.
    """
    if not size:
        return list(xs)
    places, last = np.arange(size), np.full(size, size - 1)
    if isinstance(taken, Handle):
        places, last = wrap(places), wrap(last)
    first = OPS["amin"](OPS["where"](taken, places, last), axes=(0,))
    out: list[Any] = []
    for x, m in zip(xs, mapped, strict=True):
        if m:
            row = OPS["take_rows"](x, first)
            x = select_rows(taken, x, OPS["expand"](row, shape=shape_of(x), axes=(0,)))
        out.append(x)
    return out

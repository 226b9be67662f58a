"""Choosing one of several sub-graphs by a value: ``cond`` and ``switch``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..config import STATE
from ..errors import DTypeError, ShapeError, message
from ..graph.aval import Aval, describe
from ..graph.graph import Graph
from ..graph.handle import Handle, wrap
from .base import OPS, Opaque, Sample, to_front
from .call import split
from .control_graphs import (
    Mask,
    adjoints,
    batched,
    both,
    chosen,
    closed,
    depends,
    either,
    fresh,
    function,
    influences,
    select_rows,
    selected,
    spread,
    substituted,
    tangents,
    varies,
)
from .testpoints import floats


class Branching(Opaque):
    """Apply one of the graphs in the attributes, all of the same type, to the operands.

    The first input says which. All derivatives are the same op on the derivatives of the graphs,
    so that only what was chosen is differentiated.
    """

    dtypes = ()  # the graphs are traced for one dtype

    def which(self, x: Any, attrs: dict[str, Any]) -> Graph:
        """The chosen graph, for a value of the first input."""
        raise NotImplementedError

    def taken(self, x: Any, attrs: dict[str, Any]) -> Iterable[tuple[Graph, Any]]:
        """Each graph, with the condition under which an element of ``x`` chooses it."""
        raise NotImplementedError

    def check(self, x: Aval) -> None:
        """Raise unless the first input can choose."""
        raise NotImplementedError

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        self.check(avals[0])
        first: Graph = next(iter(attrs.values()))
        if avals[1:] != first.in_avals:
            raise ShapeError(
                message(
                    self.name,
                    "operands do not fit the branches",
                    describe(avals[1:]),
                    describe(first.in_avals),
                )
            )
        return first.out_avals

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        graph = self.which(xs[0], attrs)
        return fresh(function(graph)(*xs[1:]), xs, graph)

    def forward_with_pullback(self, values: Any, attrs: dict[str, Any], need: Sequence[bool]) -> Any:  # type: ignore[override]
        if STATE.anomaly:
            self.numpy(*values, **attrs)  # raises where the first NaN is made
        graph = self.which(values[0], attrs)
        forward, backward, n = split(graph, tuple(need[1:]))
        found = forward(*values[1:])
        kept, avals = found[n:], graph.out_avals

        def pullback(g: Any, need: Sequence[bool]) -> Any:
            gs = [np.zeros(*a) if gi is None else gi for gi, a in zip(g, avals, strict=True)]
            return [None, *backward(*kept, *gs)]

        return fresh(found[:n], values, graph), pullback

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        given = tuple(gi is not None for gi in g)
        wanted: Mask = tuple(False for _ in need[1:])
        for graph in attrs.values():
            wanted = either(wanted, influences(graph, given))
        wanted = both(wanted, need[1:])
        if not any(wanted):
            return [None] * len(xs)
        new = {k: adjoints(graph, wanted, given) for k, graph in attrs.items()}
        return [None, *spread(self(*xs, *chosen(g, given), **new), wanted)]

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        some = tuple(t is not None for t in ts[1:])
        live: Mask = tuple(False for _ in out)
        for graph in attrs.values():
            live = either(live, depends(graph, some))
        if not any(live):
            return tuple(None for _ in out)
        new = {k: pushforward(graph, some, live) for k, graph in attrs.items()}
        return tuple(spread(self(*xs, *chosen(ts[1:], some), **new), live))

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        operands = [x if d is None else to_front(x, d, size) for x, d in zip(xs[1:], dims[1:], strict=True)]
        mapped = tuple(d is not None for d in dims[1:])
        if dims[0] is not None:
            return self.batch_choice(size, to_front(xs[0], dims[0], size), operands, mapped, attrs), 0
        live: Mask = ()
        for graph in attrs.values():
            found = varies(graph, mapped)
            live = either(live, found) if live else found
        new = {k: batched(graph, size, mapped, live) for k, graph in attrs.items()}
        return self(xs[0], *operands, **new), tuple(0 if m else None for m in live)

    def batch_choice(
        self, size: int, x: Any, operands: list[Any], mapped: Mask, attrs: dict[str, Any]
    ) -> tuple[Any, ...]:
        """Each graph on the elements that choose it (not at all if there are none), then a selection."""
        outs: list[Any] = []
        for graph, condition in self.taken(x, attrs):
            everything = tuple(True for _ in graph.outputs)
            body = batched(graph, size, mapped, everything)
            found = OPS["cond"](
                OPS["any"](condition, axes=(0,)),
                *substituted(condition, operands, mapped, size),
                true=body,
                false=zeros(body),
            )
            outs = [select_rows(condition, a, b) for a, b in zip(found, outs, strict=True)] if outs else list(found)
        return tuple(outs)


def zeros(graph: Graph) -> Graph:
    """A graph like ``graph`` whose outputs are zeros."""

    def run(*xs: Any) -> list[Any]:
        return [
            OPS["expand"](wrap(np.zeros((), a.dtype)), shape=a.shape, axes=tuple(range(a.ndim)))
            for a in graph.out_avals
        ]

    return closed(run, graph.in_avals, "zeros")


def pushforward(graph: Graph, some: Mask, live: Mask) -> Graph:
    """(inputs, some tangents) -> the tangents of the outputs in ``live``, zeros where there is none."""
    own = depends(graph, some)
    if own == live:
        return selected(tangents(graph, some), (*[False] * len(own), *[True] * sum(own)))
    moving, n = tangents(graph, some), len(own)

    def run(*xs: Any) -> list[Any]:
        found = moving.replay(xs)
        ts = spread(found[n:], own)
        return [OPS["fill"](o, value=0) if t is None else t for o, t, m in zip(found[:n], ts, live, strict=True) if m]

    return closed(run, moving.in_avals, moving.name)


class Cond(Branching):
    """``true`` if the first input, a bool, holds, else ``false``."""

    name = "cond"

    def check(self, x: Aval) -> None:
        if x.shape or x.dtype != np.bool_:
            kind = ShapeError if x.shape else DTypeError
            raise kind(
                message("cond", "the predicate must be one bool", str(x), "Use a comparison, x.any() or x.all()")
            )

    def which(self, x: Any, attrs: dict[str, Any]) -> Graph:
        return attrs["true" if x else "false"]

    def taken(self, x: Any, attrs: dict[str, Any]) -> Iterable[tuple[Graph, Any]]:
        return [(attrs["false"], OPS["logical_not"](x)), (attrs["true"], x)]

    def samples(self) -> Iterable[Sample]:
        vector = Aval((3,), np.dtype(np.float64))
        attrs = {
            "true": closed(lambda x, y: (OPS["mul"](x, y), OPS["exp"](x)), [vector, vector], "product"),
            "false": closed(lambda x, y: (OPS["tanh"](x), x), [vector, vector], "bend"),
        }
        for pred in (True, False):
            yield Sample(np.array(pred), floats(3), floats(3, seed=1), attrs=attrs, label=str(pred))
        roots = {
            "true": closed(lambda x: (OPS["sqrt"](x),), [vector], "root"),
            "false": closed(lambda x: (OPS["neg"](x),), [vector], "mirror"),
        }
        yield Sample(np.array(False), -np.abs(floats(3)), attrs=roots, label="outside of the other branch's domain")


class Switch(Branching):
    """``branch0``, ``branch1`` … by the first input, an integer, which is clamped to the branches."""

    name = "switch"

    def check(self, x: Aval) -> None:
        if x.shape or x.dtype.kind not in "iu":
            kind = ShapeError if x.shape else DTypeError
            raise kind(message("switch", "the index must be one integer", str(x)))

    def which(self, x: Any, attrs: dict[str, Any]) -> Graph:
        return attrs[f"branch{min(max(int(x), 0), len(attrs) - 1)}"]

    def taken(self, x: Any, attrs: dict[str, Any]) -> Iterable[tuple[Graph, Any]]:
        last = len(attrs) - 1
        for k in range(last + 1):
            name = "le" if k == 0 else "ge" if k == last else "eq"
            limit = x if last == 0 else OPS["fill"](x, value=k) if isinstance(x, Handle) else np.full_like(x, k)
            yield attrs[f"branch{k}"], OPS[name](x, limit)

    def samples(self) -> Iterable[Sample]:
        vector = Aval((3,), np.dtype(np.float64))
        functions: list[Callable[[Any], Any]] = [OPS["exp"], OPS["tanh"], lambda x: OPS["mul"](x, x)]
        attrs = {f"branch{k}": closed(lambda x, f=f: (f(x),), [vector], f"f{k}") for k, f in enumerate(functions)}
        for k in (0, 2, -5, 7):
            yield Sample(np.array(k), floats(3), attrs=attrs, label=f"index {k}")


__all__ = ["Cond", "Switch"]

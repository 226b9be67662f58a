"""Formulas: functions of ops that stand in the graph as one Call.

A formula is traced once for each combination of shapes, dtypes and static arguments. In eager
mode its body then runs as one straight-line function over arrays, without a handle or a node for
each op inside; drawn, it is a box that opens. Derivatives come from sweeping the body.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, overload

from .. import dtypes as dt
from ..config import STATE
from ..graph.graph import Graph
from ..graph.handle import Handle, apply, node_of
from ..graph.trace import trace
from ..ops.base import OPS
from ..ops.call import Plan
from ..ops.piecewise import set_pieces

_CALL = OPS["call"]
_LIMIT = 512  # traced bodies, and plans for them, kept a formula


@overload
def formula(f: Callable[..., Any]) -> Callable[..., Any]: ...
@overload
def formula(*, pieces: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def formula(f: Any = None, *, pieces: Any = None) -> Any:
    """Mark a function of tensors as a formula.

    Tensor arguments (positional or keyword) are the inputs of the Call; everything else is static
    and must be hashable. The body must not look at values. ``pieces``, called with the same arguments, tells
    how to compute it by blocks of rows (see `ops.piecewise`).
    """
    if f is None:
        return functools.partial(_formula, pieces=pieces)
    return _formula(f, pieces)


def _formula(f: Callable[..., Any], pieces: Callable[..., Any] | None) -> Callable[..., Any]:
    kept = _Kept(f, pieces)
    plans = kept.plans

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        state = STATE.mode
        values: list[Any] = []
        nodes: list[Any] = []
        key: list[Any] = [dt._default, state.grad]
        for a in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(a, Handle):
                v, n = a._value, a._node
                values.append(v)
                nodes.append(n)
                if v is None:
                    v = a.aval
                key += (v.shape, v.dtype, n is not None and n.requires_grad)
            else:
                key += (a, type(a))  # 1, 1.0 and True are equal but do not mean the same
        if kwargs:
            key += kwargs
        try:
            plan = plans[tuple(key)]
            found = state.run(plan.forward, *values)
        except Exception:  # new, or somebody watches, or it failed: the general way knows what to do
            return kept.apply(call, args, kwargs, _tensors(args, kwargs), tuple(key))
        if plan.backward is not None and None in nodes:
            nodes = [node_of(t) for t in _tensors(args, kwargs)]
        return plan.handles(found, nodes)

    call.is_formula = True  # type: ignore[attr-defined]
    return call


def _tensors(args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """The tensors among arguments, in order."""
    return [a for a in (*args, *kwargs.values()) if isinstance(a, Handle)]


class _Kept:
    """What a formula remembers: traced bodies, and plans for running them over arrays."""

    def __init__(self, f: Callable[..., Any], pieces: Callable[..., Any] | None) -> None:
        self.f, self.pieces = f, pieces
        self.bodies: OrderedDict[Any, Graph] = OrderedDict()
        self.plans: OrderedDict[Any, Plan] = OrderedDict()

    def apply(self, call: Any, args: Any, kwargs: dict[str, Any], tensors: list[Any], key: tuple[Any, ...]) -> Any:
        """The general way, which makes a plan for the next time where it can."""
        if STATE.anomaly or not tensors:  # errors should name the op inside
            return self.f(*args, **kwargs)
        place = _place(args, kwargs)
        body = self.bodies.get(place)
        if body is None:
            body = _remember(self.bodies, place, _trace_body(self.f, self.pieces, args, kwargs, tensors))
        if STATE.watchers or key in self.plans:
            return apply(_CALL, tuple(tensors), {"graph": body})
        need = [STATE.grad and t._node is not None and t._node.requires_grad for t in tensors]
        _remember(self.plans, key, Plan(body, tuple(need)))
        return call(*args, **kwargs)


def _place(args: Any, kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """On what a traced body depends."""
    key: list[Any] = [dt._default, *kwargs]
    for a in (*args, *kwargs.values()):
        key += (a.aval, Handle) if isinstance(a, Handle) else (a, type(a))
    return tuple(key)


def _remember(known: OrderedDict[Any, Any], key: Any, value: Any) -> Any:
    """Keep a traced body, or a plan for it, and not too many of them."""
    known[key] = value
    if len(known) > _LIMIT:
        known.popitem(last=False)
    return value


def _trace_body(f: Callable[..., Any], pieces: Any, args: Any, kwargs: dict[str, Any], tensors: list[Any]) -> Graph:
    """The body as a graph of the tensor arguments, in order."""
    is_tensor = [isinstance(a, Handle) for a in args]
    static = [None if t else a for a, t in zip(args, is_tensor, strict=True)]
    named = {k: None if isinstance(v, Handle) else (v,) for k, v in kwargs.items()}

    def of_tensors(g: Callable[..., Any]) -> Callable[..., Any]:
        """A function of all arguments as one of the tensors among them."""

        def run(*symbols: Any) -> Any:
            given = iter(symbols)
            placed = [next(given) if t else a for a, t in zip(static, is_tensor, strict=True)]
            return g(*placed, **{k: next(given) if v is None else v[0] for k, v in named.items()})

        return run

    name = f.__name__.lstrip("_").removesuffix("_formula")  # how the box is labelled
    body = trace(of_tensors(f), [t.aval for t in tensors], name)
    if pieces is not None:
        set_pieces(body, of_tensors(pieces))
    return body

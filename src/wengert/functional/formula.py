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
from ..graph.handle import Handle, apply
from ..graph.trace import trace
from ..ops.base import OPS
from ..ops.call import call_on_arrays
from ..ops.piecewise import set_pieces

_CALL = OPS["call"]
_LIMIT = 512  # traced bodies kept a formula


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
    bodies: OrderedDict[Any, Graph] = OrderedDict()

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        state = STATE
        if state.anomaly:  # errors should name the op inside
            return f(*args, **kwargs)
        tensors: list[Any] = []
        values: list[Any] = []
        key: list[Any] = [dt._default]
        for a in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(a, Handle):
                v = a._value
                tensors.append(a)
                values.append(v)
                if v is None:
                    v = a.aval
                key.append(v.shape)
                key.append(v.dtype.num)
            else:
                key.append(a)
                key.append(type(a))  # 1, 1.0 and True are equal but do not mean the same
        if not tensors:
            return f(*args, **kwargs)
        if kwargs:
            key += kwargs
        found = tuple(key)
        body = bodies.get(found)
        if body is None:
            body = _remember(bodies, found, _trace_body(f, pieces, args, kwargs, tensors))
        if state.watchers:
            return apply(_CALL, tuple(tensors), {"graph": body})
        return call_on_arrays(body, tensors, values)

    call.is_formula = True  # type: ignore[attr-defined]
    return call


def _remember(bodies: OrderedDict[Any, Graph], key: Any, body: Graph) -> Graph:
    """Keep a traced body, and not too many of them."""
    bodies[key] = body
    if len(bodies) > _LIMIT:
        bodies.popitem(last=False)
    return body


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

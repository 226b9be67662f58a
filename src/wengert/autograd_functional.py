"""``wg.autograd.functional``: PyTorch's older functions of functions, on top of `wengert.func`.

Inputs are a tensor or a tuple of tensors; results follow their form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import func
from .errors import ArgumentError, message
from .graph.handle import Handle

F = Callable[..., Any]


def _tuple(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, Handle) else tuple(x)


def _as_inputs(inputs: Any, found: Any) -> Any:
    return found[0] if isinstance(inputs, Handle) else tuple(found)


def _detached(x: Any, create_graph: bool) -> Any:
    """Results without history, unless it was asked for."""
    if create_graph or x is None:
        return x
    return x.detach() if isinstance(x, Handle) else tuple(_detached(p, create_graph) for p in x)


def jacobian(func_: F, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The Jacobian: a tensor, or for several inputs or outputs nested tuples, outputs first.

    ``strategy``: ``"reverse-mode"`` or ``"forward-mode"``; ``vectorize`` and ``strict`` change nothing.

    >>> import wengert as wg
    >>> wg.autograd.functional.jacobian(lambda x: x * x, wg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    xs = _tuple(inputs)
    make = {"reverse-mode": func.jacrev, "forward-mode": func.jacfwd}.get(strategy)
    if make is None:
        raise ArgumentError(message("jacobian", "unknown strategy", repr(strategy)))
    found = make(lambda *a: func_(*a), tuple(range(len(xs))))(*xs)
    if isinstance(inputs, Handle):
        found = found[0] if isinstance(found[0], Handle) else tuple(f[0] for f in found)
    return _detached(found, create_graph)


def hessian(func_: F, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The Hessian of a scalar function: a tensor, or a tuple of tuples for several inputs."""
    xs = _tuple(inputs)
    outer = func.jacfwd if outer_jacobian_strategy == "forward-mode" else func.jacrev
    places = tuple(range(len(xs)))
    found = outer(func.grad(lambda *a: func_(*a).sum(), places), places)(*xs)
    return _detached(found[0][0] if isinstance(inputs, Handle) else found, create_graph)


def vjp(func_: F, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """Outputs, and the adjoints of the inputs for the adjoints ``v`` of the outputs (needed unless scalar)."""
    out, pull = func.vjp(func_, *_tuple(inputs))
    found = pull(_ones(out) if v is None else v)
    return _detached(out, create_graph), _detached(_as_inputs(inputs, found), create_graph)


def jvp(func_: F, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """Outputs, and their tangents for the tangents ``v`` of the inputs (needed unless they have one element)."""
    xs = _tuple(inputs)
    out, tangent = func.jvp(func_, xs, tuple(_ones(x) for x in xs) if v is None else _tuple(v))
    return _detached(out, create_graph), _detached(tangent, create_graph)


def hvp(func_: F, inputs: Any, v: Any, create_graph: bool = False, strict: bool = False) -> Any:
    """Value, and the Hessian times ``v``."""
    xs = _tuple(inputs)
    value, found = func.hvp(func_, xs, _tuple(v))
    return _detached(value, create_graph), _detached(_as_inputs(inputs, found), create_graph)


vhp = hvp  # the Hessian is symmetric


def _ones(x: Any) -> Any:
    if not isinstance(x, Handle) or x.aval.size != 1:
        raise ArgumentError(message("vjp/jvp", "v is needed unless there is one element"))
    return x.detach() * 0 + 1


__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

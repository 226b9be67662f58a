"""Modes over flat lists of handles: what `wengert.func` and the tests are made of.

A transform differentiates with respect to fresh `Identity` nodes of its arguments, so tangents and
adjoints of nested transforms belong to different nodes and cannot be confused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..config import STATE, enable_grad
from ..errors import ArgumentError, message
from ..graph.aval import Aval
from ..graph.handle import Handle
from ..graph.trace import trace
from ..ops.base import OPS
from .backward import leaf_handle, own_node
from .forward import run_forward
from .reverse import is_watched, run_reverse
from .vmap import batch_graph

Flat = Callable[..., Sequence[Any]]


def zeros_of(x: Handle) -> Any:
    """Zeros like a handle."""
    return OPS["fill"](x, value=0)


def vjp_flat(f: Flat, xs: Sequence[Handle]) -> tuple[list[Any], Callable[..., list[Any]]]:
    """Outputs, and the function from adjoints of the outputs to adjoints of the inputs."""
    with enable_grad():
        ys = [leaf_handle(x) for x in xs]
        outs = list(f(*ys))
    own = [own_node(y) for y in ys]
    live = [o for o in outs if o._node is not None and o._node.requires_grad]
    entry_grad = STATE.grad

    def pull(*gs: Any) -> list[Any]:
        """Adjoints of the inputs; zeros where the outputs do not depend on an input."""
        pairs = [(o, g) for o, g in zip(outs, gs, strict=True) if o._node is not None and o._node.requires_grad]
        if not pairs:
            return [zeros_of(x) for x in xs]
        tracked = any(g._value is None or (g._node is not None and g._node.requires_grad) for _, g in pairs)
        watched = (entry_grad or STATE.grad) and (tracked or is_watched([o._node for o in live], own))
        found = run_reverse([o for o, _ in pairs], [g for _, g in pairs], own, watched)
        return [zeros_of(x) if g is None else g for g, x in zip(found, xs, strict=True)]

    return [_released(o, own) for o in outs], pull


def _released(out: Handle, own: Sequence[Any]) -> Any:
    """An output as the caller sees it: without history where only the transform itself recorded one."""
    from ..graph.handle import wrap

    node = out._node
    if out._value is None or node is None or not node.requires_grad:
        return out
    if STATE.grad and is_watched([node], own):
        return out
    return wrap(out._value)


def jvp_flat(f: Flat, xs: Sequence[Handle], ts: Sequence[Handle]) -> tuple[list[Any], list[Any]]:
    """Outputs and their tangents."""
    with enable_grad():
        ys = [leaf_handle(x) for x in xs]
        outs = list(f(*ys))
        own = [own_node(y) for y in ys]
        tangents = run_forward(outs, own, ts)
    tangents = [zeros_of(o) if t is None else t for t, o in zip(tangents, outs, strict=True)]
    return [_released(o, own) for o in outs], [_released(t, own) for t in tangents]


def vmap_flat(f: Flat, xs: Sequence[Handle], dims: Sequence[int | None], size: int | None = None) -> list[Any]:
    """``f`` over a mapped axis of the inputs; the axis comes first in every output."""
    for x, d in zip(xs, dims, strict=True):
        if d is not None:
            n = x.aval.shape[d]
            if size is not None and n != size:
                raise ArgumentError(message("vmap", "mapped axes differ in size", f"{size} and {n}"))
            size = n
    if size is None:
        raise ArgumentError(message("vmap", "no argument is mapped", cure="Give an in_dims that is not None"))
    avals = [
        x.aval if d is None else Aval(tuple(n for i, n in enumerate(x.aval.shape) if i != d % x.aval.ndim), x.aval.dtype)
        for x, d in zip(xs, dims, strict=True)
    ]
    graph = trace(lambda *ys: list(f(*ys)), avals, "vmap")
    from ..graph.handle import of_node

    extra = [of_node(n) for n in graph.captures]
    axes = [None if d is None else d % x.aval.ndim for x, d in zip(xs, dims, strict=True)]
    return batch_graph(graph, size, [*xs, *extra], [*axes, *([None] * len(extra))])

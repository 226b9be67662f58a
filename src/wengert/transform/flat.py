"""Modes over flat lists of handles: what `wengert.func` and the tests are made of.

A transform differentiates with respect to fresh `Identity` nodes of its arguments, so tangents and
adjoints of nested transforms belong to different nodes and cannot be confused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..config import STATE, enable_grad
from ..errors import ArgumentError, message
from ..graph.aval import Aval
from ..graph.handle import Handle, of_node, symbol, wrap
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


def vjp_flat(f: Flat, xs: Sequence[Handle], fill: bool = True) -> tuple[list[Any], Callable[..., list[Any]]]:
    """Outputs, and the function from adjoints of the outputs to adjoints of the inputs.

    ``fill``: zeros where the outputs do not depend on an input, else None.
    """
    with enable_grad():
        ys = [leaf_handle(x) for x in xs]
        outs = list(f(*ys))
    own = [own_node(y) for y in ys]
    live = [o for o in outs if o._node is not None and o._node.requires_grad]
    entry_grad = STATE.grad

    def pull(*gs: Any) -> list[Any]:
        """Adjoints of the inputs."""
        pairs = [(o, g) for o, g in zip(outs, gs, strict=True) if o._node is not None and o._node.requires_grad]
        if not pairs:
            return [zeros_of(x) if fill else None for x in xs]
        tracked = any(g._value is None or (g._node is not None and g._node.requires_grad) for _, g in pairs)
        watched = (entry_grad or STATE.grad) and (tracked or is_watched([o._node for o in live], own))
        found = run_reverse([o for o, _ in pairs], [g for _, g in pairs], own, watched)
        return [zeros_of(x) if g is None and fill else g for g, x in zip(found, xs, strict=True)]

    pull.is_watched = lambda: is_watched([o._node for o in live], own)  # type: ignore[attr-defined]
    return [_released(o, own) for o in outs], pull


def _released(out: Handle, own: Sequence[Any]) -> Any:
    """An output as the caller sees it: without history where only the transform itself recorded one."""
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


def linearize_flat(f: Flat, xs: Sequence[Handle]) -> tuple[list[Any], Callable[..., list[Any]]]:
    """Outputs, and the function from tangents of the inputs to tangents of the outputs."""
    with enable_grad():
        ys = [leaf_handle(x) for x in xs]
        outs = list(f(*ys))
    own = [own_node(y) for y in ys]

    def push(*ts: Any) -> list[Any]:
        with enable_grad():
            found = run_forward(outs, own, ts)
        return [_released(zeros_of(o) if t is None else t, own) for t, o in zip(found, outs, strict=True)]

    return [_released(o, own) for o in outs], push


def vmap_chunked(
    f: Flat, xs: Sequence[Handle], dims: Sequence[int | None], randomness: str, chunk_size: int | None
) -> list[Any]:
    """`vmap_flat`, some elements of the mapped axis at a time."""
    sizes = [x.aval.shape[d] for x, d in zip(xs, dims, strict=True) if d is not None and x.aval.shape]
    if chunk_size is None or not sizes or chunk_size >= sizes[0]:
        return vmap_flat(f, xs, dims, randomness=randomness)
    rows: list[list[Any]] = []
    for start in range(0, sizes[0], chunk_size):
        length = min(chunk_size, sizes[0] - start)
        part = [x if d is None else x.narrow(d, start, length) for x, d in zip(xs, dims, strict=True)]
        rows.append(vmap_flat(f, part, dims, randomness=randomness))
    return [OPS["cat"](*column, axis=0) for column in zip(*rows, strict=True)]


def vmap_flat(
    f: Flat, xs: Sequence[Handle], dims: Sequence[int | None], size: int | None = None, randomness: str = "same"
) -> list[Any]:
    """``f`` over a mapped axis of the inputs; the axis comes first in every output."""
    for i, (x, d) in enumerate(zip(xs, dims, strict=True)):
        if d is not None:
            if not -x.aval.ndim <= d < x.aval.ndim:
                raise ArgumentError(message("vmap", f"argument {i} has no dimension {d}", str(x.aval)))
            n = x.aval.shape[d]
            if size is not None and n != size:
                raise ArgumentError(message("vmap", "mapped axes differ in size", f"{size} and {n}"))
            size = n
    if size is None:
        raise ArgumentError(message("vmap", "no argument is mapped", cure="Give an in_dims that is not None"))
    avals = [
        x.aval
        if d is None
        else Aval(tuple(n for i, n in enumerate(x.aval.shape) if i != d % x.aval.ndim), x.aval.dtype)
        for x, d in zip(xs, dims, strict=True)
    ]
    keys = _Keys(randomness, size)

    def body(*ys: Any) -> list[Any]:
        assert STATE.trace is not None
        STATE.trace.key_source = keys
        return list(f(*ys))

    graph = trace(body, avals, "vmap")
    axes = [None if d is None else d % x.aval.ndim for x, d in zip(xs, dims, strict=True)]
    extra = [of_node(n) for n in graph.captures]
    return batch_graph(graph, size, [*xs, *extra], [*axes, *([None] * len(extra))], keys.mapped)


class _Keys:
    """Where draws inside a vmap get their keys."""

    def __init__(self, randomness: str, size: int) -> None:
        self.randomness, self.size = randomness, size
        self.mapped: dict[int, tuple[Any, int]] = {}  # symbol of a key -> the keys of all elements
        self.outer = (STATE if STATE.trace is None else STATE.trace).key_source  # a capture's keys come in every call

    def __call__(self, generator: Any) -> Any:
        if self.randomness == "error":
            raise ArgumentError(
                message("vmap", "a random draw inside", cure="Pass randomness='same' or randomness='different'")
            )
        if self.randomness == "same":
            return self._next(generator)
        key = symbol(Aval((2,), np.dtype(np.uint64)), False)
        rows = [OPS["reshape"](self._next(generator), shape=(1, 2)) for _ in range(self.size)]
        self.mapped[key._node.seq] = (OPS["cat"](*rows, axis=0), 0)
        return key

    def _next(self, generator: Any) -> Any:
        return wrap(generator.next_key()) if self.outer is None else self.outer(generator)

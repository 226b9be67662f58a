"""Recompute instead of storing: only the arguments of a checkpointed function are kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .. import dtypes as dt
from .. import random as rng
from .. import tree
from ..config import STATE, enable_grad, no_grad
from ..functional.random import next_key
from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.handle import Handle, apply, node_of, of_node, symbol, wrap
from ..graph.node import Node, ancestors, next_seq
from ..graph.trace import tracing
from ..ops.base import OPS
from ..ops.custom import Rule, with_rule
from .backward import leaf_handle, own_node
from .flat import jvp_flat, vjp_flat, zeros_of
from .forward import run_forward
from .reverse import run_reverse


class _Recompute(Rule):
    """Runs the function again, with the keys it drew (``kept``), and sweeps what it records."""

    name = "checkpoint"

    def __init__(self, f: Callable[..., Sequence[Any]], n: int, captured: list[Node], key: tuple[int, int]) -> None:
        self.f, self.n, self.captured, self.key = f, n, captured, key

    @property
    def pullback(self) -> Callable[..., Any]:
        return self._pull

    @property
    def pushforward(self) -> Callable[..., Any]:
        return self._push

    def _again(self, kept: Sequence[Any], *xs: Any) -> list[Any]:
        generator, keys = rng.default_generator, iter(kept)
        now = generator._seed, generator._offset
        generator._seed, generator._offset = self.key
        try:
            with keys_from(lambda g, before: next(keys)):
                return list(self.f(*xs))
        finally:
            generator._seed, generator._offset = now

    def _pull(self, outs: Any, args: Any, kept: Any, gs: Any) -> list[Any]:
        if not self.captured:
            return vjp_flat(partial(self._again, kept), args)[1](*gs)
        with enable_grad():
            ys = [leaf_handle(x) for x in args[: self.n]]
            found = self._again(kept, *ys)
        wrt = [own_node(y) for y in ys] + self.captured
        pairs = [(o, g) for o, g in zip(found, gs, strict=True) if o._node is not None and o._node.requires_grad]
        return run_reverse([o for o, _ in pairs], [g for _, g in pairs], wrt, STATE.grad)

    def _push(self, outs: Any, args: Any, kept: Any, ts: Any) -> list[Any]:
        if not self.captured:
            return jvp_flat(partial(self._again, kept), args, ts)[1]
        with enable_grad():
            ys = [leaf_handle(x) for x in args[: self.n]]
            found = self._again(kept, *ys)
            tangents = run_forward(found, [own_node(y) for y in ys] + self.captured, ts)
        return [zeros_of(o) if t is None else t for t, o in zip(tangents, found, strict=True)]


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Call ``function(*args)`` and keep none of its intermediate values; they are computed again for gradients.

    Random numbers are the same in the second run. Gradients also reach tensors that the function
    reads from outside (parameters of a module).

    Args:
        function: takes and returns nested tensors.
        use_reentrant: accepted for PyTorch's sake, without effect.

    Source: Griewank and Walther, "Evaluating Derivatives", chapter 12; Chen et al., arXiv:1604.06174.
    """
    leaves, structure = tree.flatten((args, kwargs))
    where = [i for i, x in enumerate(leaves) if isinstance(x, Handle)]
    tensors = [leaves[i] for i in where]
    form: list[Any] = [None, None]  # structure of the result, and its leaves that are no tensors

    def f(*xs: Any) -> list[Any]:
        full = list(leaves)
        for i, x in zip(where, xs, strict=True):
            full[i] = x
        given, named = tree.unflatten(structure, full)
        parts, form[0] = tree.flatten(function(*given, **named))
        form[1] = [None if isinstance(p, Handle) else p for p in parts]
        return [p for p in parts if isinstance(p, Handle)]

    def result(tensors: Sequence[Any]) -> Any:
        rest = iter(tensors)
        return tree.unflatten(form[0], [next(rest) if p is None else p for p in form[1]])

    if not STATE.grad:
        return result(f(*tensors))
    if STATE.trace is not None:
        graph, keys = _closed(f, [t.aval for t in tensors])
        outside = [of_node(n) for n in graph.captures]
        return result(apply(OPS["checkpoint"], (*tensors, *keys, *outside), {"graph": graph}))
    key = rng.default_generator._seed, rng.default_generator._offset
    start = next_seq()
    drawn: list[Any] = []
    with keys_from(lambda g, before: _noted(drawn, wrap(g.next_key()) if before is None else before(g))):
        recorded = f(*[t.detach() for t in tensors])  # type: ignore[attr-defined]
    captured = _captured(recorded, start)
    with no_grad():
        values = [r.detach() for r in recorded]
    del recorded
    rule = _Recompute(f, len(tensors), captured, key)
    return result(with_rule(rule, values, [*tensors, *[of_node(n) for n in captured]], drawn))


def _closed(f: Callable[..., Sequence[Any]], avals: Sequence[Aval]) -> tuple[Graph, list[Any]]:
    """The graph of a function of arguments and of the keys it draws; and such keys."""
    asked: list[tuple[Any, Any]] = []
    with tracing() as state:
        xs = [symbol(a, a.dtype in dt.INEXACT_NP) for a in avals]
        state.key_source = lambda g: _noted(asked, (g, symbol(Aval((2,), np.dtype(np.uint64)), False)))[1]
        outs = tuple([node_of(o) for o in f(*xs)])
        inputs = tuple([node_of(x) for x in (*xs, *[key for _, key in asked])])
        graph = Graph(inputs, outs, "checkpoint", start=state.start)
    return graph, [next_key(g) for g, _ in asked]


@contextmanager
def keys_from(source: Callable[[Any, Any], Any]) -> Generator[None]:
    """Let ``source(generator, source before)`` hand out the keys of random draws."""
    holder = STATE if STATE.trace is None else STATE.trace
    before = holder.key_source
    holder.key_source = lambda g: source(g, before)
    try:
        yield
    finally:
        holder.key_source = before


def _noted(drawn: list[Any], key: Any) -> Any:
    drawn.append(key)
    return key


def _captured(outs: Sequence[Any], start: int) -> list[Node]:
    """Nodes from outside that carry a gradient into the outputs."""
    roots = [node_of(o) for o in outs if o._node is not None and o._node.requires_grad]
    if not roots:
        return []
    reached = ancestors(roots, stop=lambda n: n.seq < start or not n.requires_grad)
    return [n for n in reached if n.seq < start and n.requires_grad]


__all__ = ["checkpoint"]

"""``wg.compile(f, check=True)``: each call runs in eager mode too, and the first op that differs is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dtypes as dt
from . import tree
from .errors import CheckError, message
from .graph.alias import owned_base
from .graph.graph import Graph
from .graph.handle import Handle
from .graph.node import Node

# How far compiled values may be from eager ones, relative to the largest element, by dtype.
TOLERANCE = {np.dtype(np.float32): 2e-4, np.dtype(np.float64): 1e-9, np.dtype(np.float16): 2e-2, dt.bfloat16.np: 1e-1}


class Snapshot:
    """The state that a step changes, and the arguments, so that a call can be made twice from the same start."""

    def __init__(self, step: Any, arrays: Sequence[Any]) -> None:
        captured = step.captured
        handles = [s.get() for s in (*captured.slots, *captured.written) if hasattr(s, "get")]
        handles += [a for a in arrays if isinstance(a, Handle)]
        self.handles = list({id(h): h for h in handles if isinstance(h, Handle)}.values())
        self.values = [np.array(h._value) for h in self.handles]
        self.grads = [(sink, sink.grad) for sink, _ in captured.grads]
        self.generators = [(g, g._offset) for g in {id(g): g for g in captured.draws}.values()]

    def now(self) -> list[np.ndarray]:
        """The values there are now, gradients behind the others."""
        found = [np.array(h._value) for h in self.handles]
        return found + [np.array(sink.grad._value) for sink, _ in self.grads if sink.grad is not None]

    def restore(self) -> None:
        """Go back to the start."""
        for h, value in zip(self.handles, self.values, strict=True):
            owned_base(h)
            np.copyto(h._value, value)
        for sink, grad in self.grads:
            sink.grad = grad
        for g, offset in self.generators:
            g._offset = offset


def checked_call(f: Callable[..., Any], step: Any, args: Any, kwargs: Any, arrays: Sequence[Any]) -> Any:
    """Run eagerly, go back, run compiled, and compare results and state.

    Raises:
        CheckError: they differ; names the first op that does, and the user's line.
    """
    before = Snapshot(step, arrays)
    grads = [None if g is None else np.array(g._value) for _, g in before.grads]
    expected = [np.array(x._value) for x in tree.leaves(f(*args, **kwargs)) if isinstance(x, Handle)]
    expected += before.now()
    before.restore()
    for (sink, grad), value in zip(before.grads, grads, strict=True):
        if grad is not None and value is not None:
            np.copyto(sink.grad._value, value)
    values = inputs_of(step, arrays)
    out = step(arrays)
    found = [np.array(x._value) for x in tree.leaves(out) if isinstance(x, Handle)] + before.now()
    for a, b in zip(expected, found, strict=True):
        if not close(a, b):
            raise CheckError(message("compile", *first_difference(step, values)))
    return out


def inputs_of(step: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    """The values of the graph's inputs before a call."""
    inner = getattr(step, "forward", step)
    captured = step.captured
    for i, slot in enumerate(captured.numbers):
        inner.numbers[i] = slot.get()
    for taken in inner.draw_keys():
        taken[0].give_back(*taken[1:])
    given = [*[getattr(a, "_value", a) for a in arrays], *[s.get()._value for s in captured.slots]]
    return [np.array(x) for x in (*given, *[x for x, _ in inner.own])]


def close(a: np.ndarray, b: np.ndarray, least: float = 1e-6) -> bool:
    """Whether two values agree within what rounding explains; ``least``: how large the terms of sums were at least."""
    tolerance = TOLERANCE.get(a.dtype)
    if tolerance is None or not a.size:
        return bool(np.array_equal(a, b))
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.abs(a[np.isfinite(a)])
    scale = max(float(finite.max()) if finite.size else 0.0, least)
    return bool(np.allclose(b, a, rtol=tolerance, atol=tolerance * scale, equal_nan=True))


def first_difference(step: Any, values: list[np.ndarray]) -> tuple[str, str, str]:
    """The first op of the traced graph whose compiled value is not NumPy's."""
    from .optimize.pipeline import simplify
    from .runtime.eager import Native
    from .runtime.program import Program
    from .runtime.scheduling import Schedule

    flat = simplify(step.captured.graph)
    nodes: list[Node] = [n for n in flat.nodes if n.op is not None and type(n.aval) is not tuple]
    every = Graph(flat.inputs, tuple(nodes), "check")
    expected = every.numpy(*values)
    blueprint = Schedule(every, passes=False).blueprint()
    run = Native(Program(blueprint, every.in_avals, every.out_avals, every))
    outs = run(*[np.asarray(v, order="C") for v in values])
    for n, a, b in zip(nodes, expected, outs, strict=True):
        if not close(np.asarray(a), b):
            seen = f"{n.name} {n.aval} made at {n.origin}: compiled {_some(b)}, eager {_some(np.asarray(a))}"
            return "the compiled function differs from eager mode, first in", seen, "Please report it"
    return (
        "the compiled function differs from eager mode", "each op by itself agrees",
        "Large sums of terms that cancel may do so; else please report it",
    )  # fmt: skip


def _some(x: np.ndarray) -> str:
    return np.array2string(x.reshape(-1)[:4], precision=6, separator=", ")

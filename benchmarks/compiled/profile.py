"""Where the time of Wengert's eager mode goes, by operation: forward, backward, optimizer, the rest.

A clock is put around every operation's NumPy meaning, its adjoint rule and the bodies of formulas. Only the
outermost counts, so that what a rule calls belongs to the rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .workload import EAGER, Weights, Workload

Row = tuple[str, float, int]  # what, seconds a step, calls a step
OUTSIDE = "outside of ops: dispatch, graph, gradients summed"


class Clock:
    """Inclusive seconds and calls of labels; nested labels count for the outermost."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.inside = False

    def around(self, label: str, f: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return f(*args, **kwargs)
            self.inside = True
            start = time.thread_time()
            try:
                return f(*args, **kwargs)
            finally:
                self.seconds[label] = self.seconds.get(label, 0.0) + time.thread_time() - start
                self.calls[label] = self.calls.get(label, 0) + 1
                self.inside = False

        return timed

    def pair(self, label: str, f: Callable[..., Any]) -> Callable[..., Any]:
        """For a function that returns a result and its pullback."""

        def both(*args: Any, **kwargs: Any) -> Any:
            out, pullback = f(*args, **kwargs)
            return out, self.around(f"{label} backward", pullback)

        return self.around(label, both)


def install(clock: Clock) -> None:
    """Put the clock around everything, for the rest of this process."""
    from wengert.graph import lower
    from wengert.ops import call
    from wengert.ops.base import OPS
    from wengert.optim.optimizer import Optimizer

    for op in OPS.values():
        if op.is_call:
            continue
        kernel = op.kernel
        op.numpy, op.vjp = clock.around(op.name, op.numpy), clock.around(f"{op.name} backward", op.vjp)
        op.kernel = lambda avals, attrs, op=op, kernel=kernel: clock.around(op.name, kernel(avals, attrs))
        if op.forward_with_pullback is not None:
            op.forward_with_pullback = clock.pair(op.name, op.forward_with_pullback)
    written = lower.straight_line

    def straight_line(
        inputs: Any, nodes: Any, outputs: Any, single: bool, name: str, **more: Any
    ) -> Callable[..., Any]:
        return clock.around(name, written(inputs, nodes, outputs, single, name, **more))

    lower.straight_line = call.straight_line = straight_line
    Optimizer._update_all = clock.around("optimizer", Optimizer._update_all)


def profile(work: Workload, weights: Weights, quick: bool, budget: float = 3.0) -> list[Row]:
    """Rows, the longest first; the last but one is what no label covers, the last the whole step."""
    clock = Clock()
    install(clock)
    call = work.build(EAGER, weights, quick)
    call()
    call()
    clock.seconds.clear()
    clock.calls.clear()
    steps, start = 0, time.thread_time()
    while steps < 3 or time.thread_time() - start < budget:
        call()
        steps += 1
    whole = (time.thread_time() - start) / steps
    rows = [(label, s / steps, clock.calls[label] // steps) for label, s in clock.seconds.items()]
    rows.sort(key=lambda row: -row[1])
    return [*rows, (OUTSIDE, whole - sum(row[1] for row in rows), 0), ("whole", whole, 1)]

"""``wg.compare_derivatives``: the four ways to a gradient beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import numeric
from .errors import ArgumentError, message
from .graph.handle import Handle, wrap
from .transform.flat import jvp_flat, vjp_flat
from .transform.jacobian import basis
from .transform.symbolic import derivative_graph, formula


class Row(NamedTuple):
    """One way: its gradient, its largest difference to reverse mode, what it costs."""

    name: str
    gradient: Any
    error: float
    evaluations: str
    seconds: float
    note: str = ""


class Comparison:
    """The rows of `compare_derivatives`; prints as a table."""

    def __init__(self, rows: list[Row], symbolic: str) -> None:
        self.rows, self.symbolic = rows, symbolic

    def __getitem__(self, name: str) -> Row:
        return next(r for r in self.rows if r.name == name)

    def __repr__(self) -> str:
        head = f"{'way':<22}{'gradient':<34}{'max. difference':>16}  {'cost':<26}{'time':>10}"
        lines = [head, "-" * len(head)]
        for r in self.rows:
            if r.gradient is None:
                lines.append(f"{r.name:<22}{r.note}")
                continue
            text = np.array2string(r.gradient.reshape(-1), precision=6, threshold=3, edgeitems=1)
            lines.append(f"{r.name:<22}{text:<34}{r.error:>16.1e}  {r.evaluations:<26}{1e3 * r.seconds:>7.2f} ms")
        return "\n".join([*lines, "", "derivative as a formula:", self.symbolic])


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    out = run()
    return out, time.perf_counter() - start


def compare_derivatives(f: Callable[[Any], Any], x: Any) -> Comparison:
    """The gradient of a scalar function of one tensor, by every way that lectures compare.

    Numerically (one central difference, Ridders' extrapolation, the complex step), symbolically
    (the derivative's own graph, as a formula), by forward and by reverse mode.

    Args:
        f: from a tensor to a scalar tensor; it must be traceable.
        x: the point; it is converted to float64.

    Returns:
        A `Comparison`; print it for the table. Differences are to reverse mode.
    """
    if not isinstance(x, Handle):
        raise ArgumentError(message("compare_derivatives", "needs a tensor", type(x).__name__))
    x = wrap(np.asarray(x._value, np.float64))
    n = x.aval.size
    outs = vjp_flat(lambda y: [f(y)], [x])[0]
    if outs[0].aval.size != 1:
        raise ArgumentError(message("compare_derivatives", "the function must return a scalar", str(outs[0].aval)))
    graph = derivative_graph(f, x)

    def reverse() -> Any:
        outs, pull = vjp_flat(lambda y: [f(y)], [x])
        return pull(wrap(np.ones(outs[0].aval.shape)))[0]._value

    def forward() -> Any:
        rows = basis([x])[0]._value
        parts = [jvp_flat(lambda y: [f(y)], [x], [wrap(r)])[1][0]._value for r in rows]
        return np.asarray(parts).reshape(x.aval.shape)

    ways: list[tuple[str, Callable[[], Any], str]] = [
        ("numeric, central", lambda: numeric.gradient(f, x, method="central")._value, f"{2 * n} evaluations"),
        ("numeric, Ridders", lambda: numeric.gradient(f, x)._value, f"up to {20 * n} evaluations"),
        ("numeric, complex step", lambda: numeric.gradient(f, x, method="complex")._value, f"{n} complex evaluations"),
        ("symbolic", lambda: graph.numpy(x._value)[0], f"a graph of {len(graph)} ops"),
        ("forward mode", forward, f"{n} forward sweeps"),
        ("reverse mode", reverse, "1 reverse sweep"),
    ]
    truth = reverse()
    rows: list[Row] = []
    for name, run, cost in ways:
        try:
            found, seconds = _timed(run)
        except Exception as error:  # the complex step needs an analytic function; the others still tell
            rows.append(Row(name, None, float("nan"), cost, 0.0, f"not possible: {error}"))
            continue
        difference = float(np.max(np.abs(found - truth), initial=0.0))
        rows.append(Row(name, np.asarray(found), difference, cost, seconds))
    return Comparison(rows, formula(graph, ["x"]))


__all__ = ["Comparison", "Row", "compare_derivatives"]

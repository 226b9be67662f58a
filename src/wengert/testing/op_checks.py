"""The checks of DESIGN 5 for one op at one of its samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import quietly
from ..graph.aval import aval_of
from ..graph.handle import wrap
from ..graph.trace import trace
from ..ops.base import Op, Sample, items
from .checks import CheckError, Point, check_first_order, check_second_order, check_vmap, close


def numpy_results(op: Op, arrays: Sequence[Any], attrs: dict[str, Any]) -> tuple[Any, ...]:
    """The reference results."""
    return items(quietly(lambda: op.numpy(*arrays, **attrs)))


def function_of(op: Op, sample: Sample) -> tuple[Callable[..., list[Any]], list[Any]]:
    """The op as a flat function of the inputs to differentiate, and their values.

    Only inexact results are returned: indices and the like carry no derivative.
    """
    fixed = list(sample.arrays)

    def f(*xs: Any) -> list[Any]:
        args: list[Any] = [wrap(a) for a in fixed]
        for i, x in zip(sample.wrt, xs, strict=True):
            args[i] = x
        return [o for o in items(op(*args, **sample.attrs)) if o.aval.dtype in dt.INEXACT_NP]

    return f, [fixed[i] for i in sample.wrt]


def check_infer(op: Op, sample: Sample) -> None:
    """The shape rule says what NumPy gives."""
    want = items(op.infer(*[aval_of(a) for a in sample.arrays], **sample.attrs))
    got = tuple(aval_of(v) for v in numpy_results(op, sample.arrays, sample.attrs))
    if tuple(want) != got:
        raise CheckError(f"infer says {list(map(str, want))}, numpy gives {list(map(str, got))}")


def check_eager(op: Op, sample: Sample) -> None:
    """Eager results, the traced graph and its print equal the reference."""
    want = numpy_results(op, sample.arrays, sample.attrs)
    eager = items(op(*[wrap(a) for a in sample.arrays], **sample.attrs))
    graph = trace(lambda *xs: op(*xs, **sample.attrs), [aval_of(a) for a in sample.arrays], op.name)
    traced = items(quietly(graph.numpy, *sample.arrays))
    for i, w in enumerate(want):
        close(f"eager = numpy (output {i})", eager[i]._value, w, 0.0, 0.0)
        close(f"traced = numpy (output {i})", traced[i], w, 0.0, 0.0)


def check_derivatives(op: Op, sample: Sample) -> None:
    """First order in both modes."""
    f, arrays = function_of(op, sample)
    if op.differentiable and arrays:
        check_first_order(Point(f, arrays), sample.numeric, sample.tol)


def check_compositions(op: Op, sample: Sample) -> None:
    """Second order in all four compositions."""
    f, arrays = function_of(op, sample)
    if op.differentiable and arrays:
        check_second_order(Point(f, arrays), sample.numeric, sample.tol)


def check_batch(op: Op, sample: Sample) -> None:
    """vmap = loop, on all inputs."""
    check_vmap(lambda *xs: items(op(*xs, **sample.attrs)), sample.arrays, sample.tol)


def check_dtypes(op: Op, sample: Sample) -> None:
    """The other floating dtypes: the shape rule holds, and values agree to their precision."""
    if not any(a.dtype == np.float64 for a in sample.arrays) or getattr(op, "only_double", False):
        return
    for d in getattr(op, "dtypes", (dt.float32, dt.float16, dt.bfloat16)):
        arrays = [a.astype(d.np) if a.dtype == np.float64 else a for a in sample.arrays]
        rounded = [a.astype(np.float64) if a.dtype == d.np else a for a in arrays]
        got = numpy_results(op, arrays, sample.attrs)
        avals = items(op.infer(*[aval_of(a) for a in arrays], **sample.attrs))
        want = numpy_results(op, rounded, sample.attrs)
        for i, (g, w, a) in enumerate(zip(got, want, avals, strict=True)):
            if aval_of(g) != a:
                raise CheckError(f"{d}: infer says {a}, numpy gives {aval_of(g)} (output {i})")
            if g.dtype == d.np and w.dtype == np.float64:
                eps = dt.finfo(d).eps
                close(
                    f"{d} (output {i})", g.astype(np.float64), w, 8 * eps * sample.tol * getattr(op, "dtype_tol", 1.0)
                )


CHECKS: dict[str, Callable[[Op, Sample], None]] = {
    "shape rule": check_infer,
    "eager = traced = NumPy": check_eager,
    "numeric = forward = reverse": check_derivatives,
    "ff, fr, rf, rr": check_compositions,
    "vmap = loop": check_batch,
    "every dtype": check_dtypes,
}

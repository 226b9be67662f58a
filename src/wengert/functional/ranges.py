"""Numbers in equal steps: arange, linspace, logspace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, ShapeError, message
from ..graph.handle import Handle, wrap
from .creation import finish
from .front import cast


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, (Handle, np.generic)) else x  # type: ignore[attr-defined]


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """Numbers from ``start`` up to but without ``end``; int64 for integers, else the default dtype."""
    if end is None:
        start, end = 0, start
    start, end, step = _number(start), _number(end), _number(step)
    if step == 0 or not all(math.isfinite(x) for x in (start, end, step)):
        raise ArgumentError(message("arange", "needs finite bounds and a step that is not zero", f"step {step}"))
    if (end - start) * step < 0:
        raise ArgumentError(message("arange", "bounds and the sign of step do not fit", f"{start}, {end}, {step}"))
    if dtype is None:
        dtype = dt.int64 if all(isinstance(x, int) for x in (start, end, step)) else dt.get_default_dtype()
    d = dt.to_dtype(dtype)
    if d.category == 1:  # as PyTorch, which takes the whole part of the bounds first
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ArgumentError(message("arange", "the step's whole part is zero"))
        return finish(np.arange(start, end, step, dtype=d.np), device=device)
    n = max(math.ceil((end - start) / step), 0)
    value = start + step * np.arange(n, dtype=np.float64)
    return finish(value.astype(d.np), requires_grad, device)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included; differentiable in tensor ends."""
    steps = _steps("linspace", start, end, steps)
    target = dt.get_default_dtype() if dtype is None else dt.to_dtype(dtype)
    if target.category < 2:
        return finish(_spaced_integers(start, end, steps).astype(target.np), device=device)
    if isinstance(start, Handle) or isinstance(end, Handle):
        return _linspace_of_tensors(start, end, steps, target)
    return finish(np.linspace(start, end, steps).astype(target.np), requires_grad, device)


def _steps(name: str, start: Any, end: Any, steps: Any) -> int:
    """The number of points, after checks of the ends."""
    for x in (start, end):
        if isinstance(x, Handle) and x.aval.shape:
            raise ShapeError(message(name, "the ends must be numbers or 0-d tensors", str(x.aval)))
    steps = _number(steps)
    if int(steps) != steps or steps < 0:
        raise ArgumentError(message(name, "steps must be a whole number that is not negative", str(steps)))
    return int(steps)


def _spaced_integers(start: Any, end: Any, steps: int) -> Any:
    """Evenly spaced between the whole parts of the ends, from both sides, as PyTorch; not yet rounded."""
    start, end = int(_number(start)), int(_number(end))
    step, i = (end - start) / max(steps - 1, 1), np.arange(steps)
    return np.where((i < steps // 2) | (steps == 1), start + step * i, end - step * (steps - 1 - i))


def _linspace_of_tensors(start: Any, end: Any, steps: int, target: dt.dtype) -> Any:
    a, b = (cast(x, target) for x in (start, end))
    w = wrap((np.arange(steps) / max(steps - 1, 1)).astype(target.np))
    return a + (b - a) * w


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """``base`` to the powers of `linspace`."""
    steps = _steps("logspace", start, end, steps)
    target = dt.get_default_dtype() if dtype is None else dt.to_dtype(dtype)
    if target.category >= 2 and (isinstance(start, Handle) or isinstance(end, Handle)):
        from .pointwise import pow

        return pow(base, _linspace_of_tensors(start, end, steps, target))
    start, end = _number(start), _number(end)
    if target.category < 2:
        start, end = int(start), int(end)
    return finish(np.logspace(start, end, steps, base=base).astype(target.np), requires_grad, device)


__all__ = ["arange", "linspace", "logspace"]

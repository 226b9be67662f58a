"""What rules need of NumPy's arrays, in less time than NumPy takes for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt

FAST = frozenset({dt.NP_FLOAT32, dt.NP_FLOAT64})  # of which vectors are computed without conversions
SHORT = 64  # elements
_NO_STEPS = [(0,) * n for n in range(65)]
_ARRAY, _empty = np.ndarray, np.empty
_ONES = {d: np.ones((), d) for d in (dt.NP_FLOAT32, dt.NP_FLOAT64)}
_known_one = _ONES.get


def one(x: Any) -> Any:
    """A 1 to compute with ``x``: NumPy takes an array of that dtype in half of the time of Python's number."""
    return _known_one(x.dtype, 1.0) if x.__class__ is _ARRAY else 1.0


def expanded(x: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """An array repeated along new axes, without a copy; a number as a short array of it."""
    if x.ndim:
        steps = iter(x.strides)
        strides: Any = [0 if i in axes else next(steps) for i in range(len(shape))]
    elif len(shape) == 1 and shape[0] <= SHORT:  # sooner made than a view
        out = _empty(shape, x.dtype)
        out.fill(x)
        return out
    else:
        strides = _NO_STEPS[len(shape)]
    try:  # a tenth of the time of np.broadcast_to; read-only memory stays read-only
        return np.ndarray(shape, x.dtype, x, 0, strides)
    except (ValueError, TypeError, BufferError):  # bfloat16, empty or strided memory
        return np.broadcast_to(np.expand_dims(x, axes), shape)

"""Windows, under the names and with the arguments of ``torch.signal.windows``.

All take the number of points ``M``, ``sym`` (False: periodic, that is one more point, which is left
out), ``dtype`` and ``requires_grad``; they are computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, message
from ..graph.handle import apply, wrap
from ..ops.base import OPS


def _check(name: str, M: int, dtype: Any) -> Any:
    """The dtype, after checks."""
    if M < 0:
        raise ArgumentError(message(name, "the number of points must not be negative", f"M={M}"))
    d = dt.get_default_dtype() if dtype is None else dt.to_dtype(dtype)
    if not d.is_floating_point:
        raise DTypeError(message(name, "needs a floating dtype", repr(d)))
    return d


def _finish(values: Any, d: Any, requires_grad: bool) -> Any:
    out = wrap(np.asarray(values).astype(d.np))
    return out.requires_grad_() if requires_grad else out


def _span(M: int, sym: bool) -> int:
    """Number of intervals from the first point to its counterpart at the end."""
    return max(M - 1 if sym else M, 1)


def _positive(name: str, what: str, value: float) -> None:
    if value <= 0:
        raise ArgumentError(message(name, f"{what} must be positive", str(value)))


def exponential(
    M: int,
    *,
    center: float | None = None,
    tau: float = 1.0,
    sym: bool = True,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
) -> Any:
    """``exp(-|n - center| / tau)``; a symmetric window has its centre in the middle."""
    d = _check("exponential", M, dtype)
    _positive("exponential", "tau", tau)
    if sym and center is not None:
        raise ArgumentError(message("exponential", "a symmetric window has its centre in the middle", str(center)))
    middle = (_span(M, sym) if M > 1 else 0) / 2 if center is None else center
    return _finish(np.exp(-np.abs(np.arange(M) - middle) / tau), d, requires_grad)


def cosine(
    M: int, *, sym: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False, layout: Any = None
) -> Any:
    """``sin(pi (n + 1/2) / M)``."""
    d = _check("cosine", M, dtype)
    points = M + 1 if not sym and M > 1 else M
    return _finish(np.sin((np.arange(M) + 0.5) * (math.pi / max(points, 1))), d, requires_grad)


def gaussian(
    M: int,
    *,
    std: float = 1.0,
    sym: bool = True,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
) -> Any:
    """``exp(-(n - middle)**2 / (2 std**2))``."""
    d = _check("gaussian", M, dtype)
    _positive("gaussian", "std", std)
    middle = (_span(M, sym) if M > 1 else 0) / 2
    return _finish(np.exp(-0.5 * ((np.arange(M) - middle) / std) ** 2), d, requires_grad)


def kaiser(
    M: int,
    *,
    beta: float = 12.0,
    sym: bool = True,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
) -> Any:
    """``I0(beta sqrt(1 - t**2)) / I0(beta)`` for t from -1 to 1 (Kaiser and Schafer 1980)."""
    d = _check("kaiser", M, dtype)
    if beta < 0:
        raise ArgumentError(message("kaiser", "beta must not be negative", str(beta)))
    if M == 1:
        return _finish(np.ones(1), d, requires_grad)
    t = np.minimum(2.0 * np.arange(M) / _span(M, sym) - 1.0, 1.0)
    root = beta * np.sqrt(1.0 - t * t)
    attrs = {"order": 0, "scaled": True}  # exp(-x) I0(x): the quotient must not overflow
    top, whole = (apply(OPS["bessel_i"], (wrap(np.asarray(x)),), attrs)._value for x in (root, float(beta)))
    return _finish(top / whole * np.exp(root - beta), d, requires_grad)


def bartlett(
    M: int, *, sym: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False, layout: Any = None
) -> Any:
    """The triangle ``1 - |2 n / (M - 1) - 1|``."""
    d = _check("bartlett", M, dtype)
    if M == 1:
        return _finish(np.ones(1), d, requires_grad)
    return _finish(1.0 - np.abs(2.0 * np.arange(M) / _span(M, sym) - 1.0), d, requires_grad)


def general_cosine(
    M: int,
    *,
    a: Iterable[float],
    sym: bool = True,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
) -> Any:
    """The sum of ``(-1)**i a[i] cos(2 pi i n / (M - 1))``.

    >>> import wengert as wg
    >>> wg.signal.windows.general_cosine(3, a=[0.5, 0.5])
    tensor([0., 1., 0.])
    """
    d = _check("general_cosine", M, dtype)
    if not isinstance(a, Iterable):
        raise ArgumentError(message("general_cosine", "the coefficients must be a sequence", type(a).__name__))
    coefficients = list(a)
    if not coefficients:
        raise ArgumentError(message("general_cosine", "needs at least one coefficient"))
    if M == 1:
        return _finish(np.ones(1), d, requires_grad)
    angle = np.arange(M) * (2.0 * math.pi / _span(M, sym))
    value = sum((-1) ** i * c * np.cos(i * angle) for i, c in enumerate(coefficients))
    return _finish(value, d, requires_grad)


def general_hamming(
    M: int,
    *,
    alpha: float = 0.54,
    sym: bool = True,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
) -> Any:
    """``alpha - (1 - alpha) cos(2 pi n / (M - 1))``."""
    return general_cosine(M, a=(alpha, 1.0 - alpha), sym=sym, dtype=dtype, requires_grad=requires_grad)


def hamming(
    M: int, *, sym: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False, layout: Any = None
) -> Any:
    """``0.54 - 0.46 cos(2 pi n / (M - 1))``."""
    return general_hamming(M, sym=sym, dtype=dtype, requires_grad=requires_grad)


def hann(
    M: int, *, sym: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False, layout: Any = None
) -> Any:
    """``0.5 - 0.5 cos(2 pi n / (M - 1))``.

    >>> import wengert as wg
    >>> wg.signal.windows.hann(4, sym=False)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, requires_grad=requires_grad)


def blackman(
    M: int, *, sym: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False, layout: Any = None
) -> Any:
    """Three terms: 0.42, 0.5, 0.08."""
    return general_cosine(M, a=(0.42, 0.5, 0.08), sym=sym, dtype=dtype, requires_grad=requires_grad)


def nuttall(
    M: int, *, sym: bool = True, dtype: Any = None, device: Any = None, requires_grad: bool = False, layout: Any = None
) -> Any:
    """Four terms, the minimum 4-term Blackman-Harris window of Nuttall (1981)."""
    a = (0.3635819, 0.4891775, 0.1365995, 0.0106411)
    return general_cosine(M, a=a, sym=sym, dtype=dtype, requires_grad=requires_grad)


__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming",
    "hamming", "hann", "kaiser", "nuttall",
]  # fmt: skip

"""Derivatives by difference quotients: ``wg.numeric``. For comparison and checks, never inside a sweep.

Central differences halve the step and extrapolate (Ridders' method) until the estimated error
grows; the complex step has no cancellation, but needs a function that is analytic.

Sources: C. Ridders, Advances in Engineering Software 4 (1982); Squire and Trapp, SIAM Review 40 (1998).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import dtypes as dt
from .config import no_grad
from .errors import ArgumentError, DTypeError, message
from .graph.handle import Handle, wrap

F = Callable[[Any], Any]


def _point(name: str, x: Any) -> Any:
    if not isinstance(x, Handle) or x.aval.dtype not in dt.FLOATING_NP:
        seen = str(x.aval) if isinstance(x, Handle) else type(x).__name__
        raise DTypeError(message(name, "needs a floating tensor", seen))
    return np.asarray(x._value)


def default_step(x: Any, method: str) -> float:
    """The step that balances truncation and rounding for a dtype."""
    eps = dt.finfo(dt.of(x.dtype)).eps
    return 1e-30 if method == "complex" else 0.02 if method == "ridders" else float(eps ** (1 / 3))


def _evaluate(f: F, x: Any) -> Any:
    with no_grad():
        out = f(wrap(x))
    return np.asarray(out._value if isinstance(out, Handle) else out)


def _derivative(f: F, x: Any, direction: Any, method: str, step: float) -> tuple[Any, Any]:
    """Derivative along a direction, and an estimate of its error (None where there is none)."""
    if method == "complex":
        wide = np.complex128 if x.dtype == np.float64 else np.complex64
        return _evaluate(f, (x + 1j * step * direction).astype(wide)).imag / step, None
    h = step * max(1.0, float(np.max(np.abs(x * (direction != 0)), initial=0.0)))

    def central(h: float) -> Any:
        plus, minus = (x + h * direction).astype(x.dtype), (x - h * direction).astype(x.dtype)
        actual = float(np.max(np.abs(plus - minus), initial=0.0)) or 2 * h  # the step that was really taken
        return (_evaluate(f, plus).astype(np.float64) - _evaluate(f, minus)) / actual

    return (central(h), None) if method == "central" else _ridders(central, h)


def _ridders(central: Callable[[float], Any], h: float, shrink: float = 1.6, rows: int = 10) -> tuple[Any, Any]:
    """Extrapolate central differences to step zero; stop when the error estimate gets worse."""
    table = [central(h)]
    best, error = table[0], np.full(np.shape(table[0]), np.inf)
    for _ in range(1, rows):
        h /= shrink
        row = [central(h)]
        factor = 1.0
        for old in table:
            factor *= shrink * shrink
            row.append(row[-1] + (row[-1] - old) / (factor - 1.0))
            estimate = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - old))
            better = estimate <= error
            best, error = np.where(better, row[-1], best), np.where(better, estimate, error)
        if np.all(np.abs(row[-1] - table[-1]) >= 2 * error):
            break
        table = row
    return best, error


METHODS = ("central", "ridders", "complex")


def jacobian(f: F, x: Any, *, method: str = "ridders", step: float | None = None, error: bool = False) -> Any:
    """The Jacobian of ``f`` at ``x``, column by column.

    Args:
        f: from a tensor to a tensor.
        x: floating tensor; float64 for more than three digits.
        method: ``"central"`` (one difference, error of order step²), ``"ridders"`` (extrapolated) or
            ``"complex"`` (exact to rounding, ``f`` must accept complex tensors and be analytic).
        step: the step, relative to the size of ``x``; chosen by dtype and method if left out.
        error: also return the estimated absolute error (``"ridders"`` only).

    Returns:
        Tensor shaped (*f(x).shape, *x.shape), with ``error`` a pair of such.

    >>> import wengert as wg
    >>> x = wg.tensor([1.0, 2.0], dtype=wg.float64)
    >>> wg.numeric.jacobian(lambda x: x * x, x, method="complex")
    tensor([[2., 0.],
            [0., 4.]], dtype=wengert.float64)
    """
    if method not in METHODS:
        raise ArgumentError(message("numeric", "unknown method", repr(method), f"Use one of {', '.join(METHODS)}"))
    point = _point("numeric", x)
    step = default_step(point, method) if step is None else step
    shape = _evaluate(f, point).shape
    columns, errors = [], []
    for k in range(point.size):
        direction = np.zeros(point.size)
        direction[k] = 1.0
        value, estimate = _derivative(f, point, direction.reshape(point.shape), method, step)
        columns.append(value)
        errors.append(np.zeros(shape) if estimate is None else estimate)

    def assemble(parts: list[Any]) -> Any:
        full = np.stack(parts, -1) if parts else np.zeros((*shape, 0))
        return wrap(full.reshape(*shape, *point.shape).astype(point.dtype))

    return (assemble(columns), assemble(errors)) if error else assemble(columns)


def gradient(f: F, x: Any, *, method: str = "ridders", step: float | None = None, error: bool = False) -> Any:
    """The gradient of a scalar function, as `jacobian` computes it; shaped like ``x``.

    >>> import wengert as wg
    >>> wg.numeric.gradient(lambda x: (x ** 3).sum(), wg.tensor([2.0], dtype=wg.float64)).round(decimals=9)
    tensor([12.], dtype=wengert.float64)
    """
    shape = _evaluate(f, _point("numeric", x)).shape
    if shape not in ((), (1,)):
        raise ArgumentError(message("numeric.gradient", "the function must return a scalar", str(list(shape))))
    found = jacobian(f, x, method=method, step=step, error=error)
    if error:
        return tuple(wrap(part._value.reshape(x.aval.shape)) for part in found)
    return wrap(found._value.reshape(x.aval.shape))


def derivative(f: F, x: Any, direction: Any, *, method: str = "ridders", step: float | None = None) -> Any:
    """The derivative of ``f`` at ``x`` along a direction shaped like ``x``."""
    point = _point("numeric", x)
    step = default_step(point, method) if step is None else step
    value, _ = _derivative(f, point, np.asarray(direction._value), method, step)
    return wrap(np.asarray(value, point.dtype))


__all__ = ["derivative", "gradient", "jacobian"]

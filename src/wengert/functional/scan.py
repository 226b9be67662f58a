"""Scans: running sums, products and extremes; differences and integrals along a dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import dtypes as dt
from ..errors import ArgumentError, ShapeError, message
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from . import return_types
from .dims import normal_dim, numpy_names, operand, require_floating, require_real
from .front import cast, promote
from .reduction import sum


def _along(op: str, x: Any, axis: int, **attrs: Any) -> Any:
    """Apply an op along an axis; a 0-d tensor is a line of one element."""
    if x.aval.shape:
        return apply(OPS[op], (x,), {"axis": axis, **attrs})
    line = apply(OPS["reshape"], (x,), {"shape": (1,)})
    out = apply(OPS[op], (line,), {"axis": 0, **attrs})
    if type(out) is tuple:
        return tuple([apply(OPS["reshape"], (part,), {"shape": ()}) for part in out])
    return apply(OPS["reshape"], (out,), {"shape": ()})


def _running(name: str, input: Any, dim: int, dtype: Any) -> Any:
    """A running sum or product: integers and bools run in int64."""
    input = operand(name, input)
    axis = normal_dim(name, dim, len(input.aval.shape))
    if dtype is not None:
        input = cast(input, dt.to_dtype(dtype))
    elif input.aval.dtype not in dt.INEXACT_NP:
        input = cast(input, dt.int64)
    return _along(name, input, axis, reverse=False)


@numpy_names
def cumsum(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """Running sum along ``dim``; integers and bools in int64.

    >>> import wengert as wg
    >>> wg.cumsum(wg.tensor([1.0, 2.0, 3.0]), 0)
    tensor([1., 3., 6.])
    """
    return _running("cumsum", input, dim, dtype)


@numpy_names
def cumprod(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """Running product along ``dim``; integers and bools in int64.

    Its derivatives are right where elements are zero, in every mode and order.

    >>> import wengert as wg
    >>> wg.cumprod(wg.tensor([1, 2, 3]), 0)
    tensor([1, 2, 6])
    """
    return _running("cumprod", input, dim, dtype)


@numpy_names
def logcumsumexp(input: Any, dim: int) -> Any:
    """Logarithm of the running sum of exp(input) along ``dim``, without overflow; floating dtypes."""
    input = operand("logcumsumexp", input)
    require_floating("logcumsumexp", input)
    require_real("logcumsumexp", input)
    return _along("logcumsumexp", input, normal_dim("logcumsumexp", dim, len(input.aval.shape)), reverse=False)


def _running_extreme(name: str, input: Any, dim: int, kind: Any) -> Any:
    input = operand(name, input)
    require_real(name, input)
    return kind(*_along(name, input, normal_dim(name, dim, len(input.aval.shape))))


@numpy_names
def cummax(input: Any, dim: int) -> Any:
    """Running maximum along ``dim`` and where it stands (the last of ties): ``(values, indices)``.

    >>> import wengert as wg
    >>> wg.cummax(wg.tensor([1.0, 3.0, 2.0, 3.0]), 0)
    wengert.return_types.cummax(
    values=tensor([1., 3., 3., 3.]),
    indices=tensor([0, 1, 1, 3]))
    """
    return _running_extreme("cummax", input, dim, return_types.cummax)


@numpy_names
def cummin(input: Any, dim: int) -> Any:
    """Running minimum along ``dim`` and where it stands (the last of ties): ``(values, indices)``."""
    return _running_extreme("cummin", input, dim, return_types.cummin)


# -- differences ---------------------------------------------------------------------------------


def part(x: Any, axis: int, start: int, stop: int) -> Any:
    """x[start:stop] along one axis; both count from the front."""
    spec = [(0, n, 1) for n in x.aval.shape]
    spec[axis] = (start, stop, 1)
    return apply(OPS["slice"], (x,), {"spec": tuple(spec)})


def neighbours(x: Any, axis: int) -> tuple[Any, Any]:
    """All elements along an axis but the last, and all but the first."""
    n = x.aval.shape[axis]
    return part(x, axis, 0, max(n - 1, 0)), part(x, axis, min(1, n), n)


@numpy_names
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """``n`` times the difference of neighbours along ``dim``; for bools, whether they differ.

    ``prepend`` and ``append`` are joined to the input first.

    >>> import wengert as wg
    >>> wg.diff(wg.tensor([1, 4, 9, 16])), wg.diff(wg.tensor([1, 4, 9, 16]), n=2)
    (tensor([3, 5, 7]), tensor([2, 2]))
    """
    x = operand("diff", input)
    rank = len(x.aval.shape)
    if not rank:
        raise ShapeError(message("diff", "needs at least one dimension", str(x.aval)))
    if n < 0:
        raise ArgumentError(message("diff", "n must not be negative", str(n)))
    axis = normal_dim("diff", dim, rank)
    if n and (prepend is not None or append is not None):
        parts = [p for p in (prepend, x, append) if p is not None]
        if any(len(p.aval.shape) != rank for p in parts):
            raise ShapeError(message("diff", "prepend and append need the dimensions of the input", str(x.aval)))
        x = apply(OPS["cat"], tuple(promote("diff", parts)), {"axis": axis})
    for _ in range(min(n, x.aval.shape[axis])):
        before, after = neighbours(x, axis)
        x = OPS["logical_xor"](after, before) if x.aval.dtype == dt.NP_BOOL else after - before
    return x


def _line(values: Any, axis: int, rank: int) -> Any:
    """A vector laid along one of ``rank`` axes."""
    shape = [1] * rank
    shape[axis] = values.aval.shape[0]
    return apply(OPS["reshape"], (values,), {"shape": tuple(shape)})


def _inner(x: Any, axis: int, h: Any) -> Any:
    """Second-order derivative at inner points; ``h``: the steps, a number or (..., n - 1)."""
    n = x.aval.shape[axis]
    f = [part(x, axis, i, n - 2 + i) for i in range(3)]
    if not isinstance(h, Handle):
        return (f[2] - f[0]) / (2 * h)
    h1, h2 = neighbours(h, axis)
    return f[0] * (-h2 / (h1 * (h1 + h2))) + f[1] * ((h2 - h1) / (h1 * h2)) + f[2] * (h1 / (h2 * (h1 + h2)))


def _border(x: Any, axis: int, h: Any, order: int, at_end: bool) -> Any:
    """One-sided derivative of first or second order at an end."""
    n = x.aval.shape[axis]
    places = range(n - 1, n - 2 - order, -1) if at_end else range(order + 1)
    f = [part(x, axis, i, i + 1) for i in places]
    sign = -1.0 if at_end else 1.0
    if isinstance(h, Handle):
        last = h.aval.shape[axis] - 1
        steps = [part(h, axis, i, i + 1) for i in ((last - k if at_end else k) for k in range(order))]
    else:
        steps = [h] * order
    if order == 1:
        return (f[1] - f[0]) * sign / steps[0]
    h1, h2 = steps
    both = h1 + h2
    slope = f[0] * (-(h1 + both) / (h1 * both)) + f[1] * (both / (h1 * h2)) - f[2] * (h1 / (h2 * both))
    return slope * sign


def _spacings(spacing: Any, axes: Sequence[int], x: Any) -> list[Any]:
    """The step of each axis: a number, or a tensor of steps laid along it."""
    several = isinstance(spacing, (list, tuple))
    given: list[Any] = list(spacing) if several else [spacing] * len(axes)
    if len(given) != len(axes):
        raise ArgumentError(
            message("gradient", "one spacing for each dimension is needed", f"{len(given)} for {len(axes)}")
        )
    out: list[Any] = []
    for s, axis in zip(given, axes):
        if isinstance(s, Handle) and s.aval.shape:
            if s.aval.shape != (x.aval.shape[axis],):
                raise ShapeError(
                    message("gradient", f"coordinates do not fit dimension {axis}", f"{s.aval} for {x.aval}")
                )
            before, after = neighbours(s, 0)
            s = _line(cast(after - before, dt.of(x.aval.dtype)), axis, len(x.aval.shape))
        out.append(s)
    return out


def gradient(input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Any, ...]:
    """Derivative of samples of a function along each dimension: central differences of second order.

    Args:
        input: the samples.
        spacing: the step (a number), a step for each dimension, or a vector of coordinates for each.
        dim: the dimensions; all by default.
        edge_order: order, 1 or 2, of the one-sided differences at the ends.

    Returns:
        A tensor like ``input`` for each dimension.

    >>> import wengert as wg
    >>> wg.gradient(wg.tensor([1.0, 4.0, 9.0, 16.0]))
    (tensor([3., 4., 6., 7.]),)
    """
    x = operand("gradient", input)
    if x.aval.dtype not in dt.INEXACT_NP:
        x = cast(x, dt.get_default_dtype())
    rank = len(x.aval.shape)
    if edge_order not in (1, 2):
        raise ArgumentError(message("gradient", "edge_order must be 1 or 2", str(edge_order)))
    dims = range(rank) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = [normal_dim("gradient", d, rank) for d in dims]
    if len(set(axes)) != len(axes):
        raise ArgumentError(message("gradient", "a dimension appears twice", repr(dim)))
    for axis in axes:
        if not rank or x.aval.shape[axis] < edge_order + 1:
            raise ShapeError(message("gradient", f"needs {edge_order + 1} elements along each dimension", str(x.aval)))
    out: list[Any] = []
    for axis, h in zip(axes, _spacings(1 if spacing is None else spacing, axes, x)):
        ends = [_border(x, axis, h, edge_order, at_end) for at_end in (False, True)]
        out.append(apply(OPS["cat"], (ends[0], _inner(x, axis, h), ends[1]), {"axis": axis}))
    return tuple(out)


# -- integrals -----------------------------------------------------------------------------------


def _panels(name: str, y: Any, x: Any, dx: Any, dim: int) -> tuple[Any, int]:
    """Twice the area of each trapezoid along ``dim``."""
    y = operand(name, y)
    rank = len(y.aval.shape)
    axis = normal_dim(name, dim, rank)
    if not rank:
        raise ShapeError(message(name, "needs at least one dimension", str(y.aval)))
    left, right = neighbours(y, axis)
    if x is None:
        return (left + right) * dx, axis
    x = operand(name, x)
    if len(x.aval.shape) == 1:
        if x.aval.shape[0] != y.aval.shape[axis]:
            raise ShapeError(message(name, "one coordinate for each sample is needed", f"{x.aval} for {y.aval}"))
        x = _line(x, axis, rank)
    elif len(x.aval.shape) < rank:
        x = apply(OPS["reshape"], (x,), {"shape": (1,) * (rank - len(x.aval.shape)) + x.aval.shape})
    before, after = neighbours(x, axis)
    return (left + right) * (after - before), axis


def trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """Integral of samples ``y`` along ``dim`` by the trapezoidal rule; ``x``: coordinates, else step ``dx``.

    >>> import wengert as wg
    >>> wg.trapezoid(wg.tensor([1.0, 2.0, 3.0]))
    tensor(4.)
    """
    panels, axis = _panels("trapezoid", y, x, dx, dim)
    return sum(panels, axis) / 2


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """Running integral of samples by the trapezoidal rule, one element shorter; see `trapezoid`.

    >>> import wengert as wg
    >>> wg.cumulative_trapezoid(wg.tensor([1.0, 2.0, 3.0]))
    tensor([1.5000, 4.0000])
    """
    panels, axis = _panels("cumulative_trapezoid", y, x, dx, dim)
    return cumsum(panels, axis) / 2


trapz: Callable[..., Any] = trapezoid

__all__ = [
    "cummax", "cummin", "cumprod", "cumsum", "cumulative_trapezoid", "diff", "gradient", "logcumsumexp",
    "trapezoid", "trapz",
]  # fmt: skip
NOT_METHODS = ("cumulative_trapezoid", "gradient", "trapezoid", "trapz")
INPLACE = ("cumsum", "cumprod")

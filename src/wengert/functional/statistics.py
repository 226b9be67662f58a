"""Statistics: variance, order statistics, covariance, histograms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from . import return_types
from .dims import (
    elements,
    keep,
    normal_dim,
    normal_dims,
    numpy_names,
    operand,
    require_elements,
    require_floating,
    require_real,
    spread,
    squeezed,
    widened,
)
from .formula import formula
from .front import cast, expand_to
from .reduction import mean, pick, root, sum

# -- variance ------------------------------------------------------------------------------------


@formula
def variance(x: Any, axes: tuple[int, ...], correction: float) -> Any:
    """Sum of squared distances from the mean (two passes), over the elements' number less ``correction``."""
    source = dt.of(x.aval.dtype).to_real()
    return cast(_variance(widened(x), axes, correction), source)


@formula
def deviation(x: Any, axes: tuple[int, ...], correction: float) -> Any:
    """Square root of the variance; its derivative where the variance is 0 is 0."""
    source = dt.of(x.aval.dtype).to_real()
    return cast(root(_variance(widened(x), axes, correction), 2), source)


def _variance(x: Any, axes: tuple[int, ...], correction: float) -> Any:
    d = x - spread(OPS["mean"](x, axes=axes), x, axes)
    if x.aval.dtype in dt.COMPLEX_NP:
        square = cast(d * OPS["conj"](d), dt.of(x.aval.dtype).to_real())
    else:
        square = d * d
    freedom = elements(x, axes) - correction
    return OPS["sum"](square, axes=axes) / (freedom if freedom > 0 else 0.0)


def _spread_arguments(
    name: str, input: Any, dim: Any, unbiased: Any, correction: Any
) -> tuple[Any, tuple[int, ...], float]:
    """Operand, axes and correction from the two ways in which PyTorch takes them."""
    if isinstance(dim, bool):  # x.var(False)
        dim, unbiased = None, dim
    input = operand(name, input)
    require_floating(name, input)
    if correction is None:
        correction = 0 if unbiased is not None and not unbiased else 1
    return input, normal_dims(name, dim, len(input.aval.shape)), correction


@numpy_names
def var(input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Any:
    """Variance over ``dim``: squared distances from the mean, over n - ``correction`` (1 by default).

    ``unbiased=False`` is ``correction=0``. The variance of complex numbers is real.

    >>> import wengert as wg
    >>> wg.var(wg.tensor([1.0, 2.0, 6.0])), wg.var(wg.tensor([1.0, 2.0, 6.0]), correction=0)
    (tensor(7.), tensor(4.6667))
    """
    x, axes, c = _spread_arguments("var", input, dim, unbiased, correction)
    return keep(x, variance(x, axes, c), axes, keepdim)


@numpy_names
def std(input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Any:
    """Square root of the variance, see `var`; the gradient where all elements are equal is 0."""
    x, axes, c = _spread_arguments("std", input, dim, unbiased, correction)
    return keep(x, deviation(x, axes, c), axes, keepdim)


@numpy_names
def var_mean(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Any, Any]:
    """Variance and mean over ``dim``."""
    x, axes, c = _spread_arguments("var_mean", input, dim, unbiased, correction)
    return keep(x, variance(x, axes, c), axes, keepdim), mean(x, axes, keepdim)


@numpy_names
def std_mean(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Any, Any]:
    """Standard deviation and mean over ``dim``."""
    x, axes, c = _spread_arguments("std_mean", input, dim, unbiased, correction)
    return keep(x, deviation(x, axes, c), axes, keepdim), mean(x, axes, keepdim)


# -- order statistics ----------------------------------------------------------------------------


def _count_there(x: Any, axis: int) -> Any:
    """How many elements of each line are not NaN (int64, the axis kept with size 1)."""
    shape = (*x.aval.shape[:axis], 1, *x.aval.shape[axis + 1 :])
    if x.aval.dtype not in dt.FLOATING_NP:
        return wrap(np.full(shape, x.aval.shape[axis], np.int64))
    there = cast(OPS["logical_not"](OPS["isnan"](x)), dt.int64)
    return sum(there, axis, keepdim=True)


def _median_indices(x: Any, axis: int, skip_nan: bool) -> Any:
    """Where the lower median of each line stands; a NaN unless they are skipped."""
    order = apply(OPS["sort"], (x,), {"axis": axis, "descending": False})[1]
    there = _count_there(x, axis)
    if skip_nan:
        place = cast(cast(there - 1, dt.float64) * 0.5, dt.int64)  # rounds -1/2, of nothing but NaN, to 0
    else:
        n = x.aval.shape[axis]
        middle = OPS["fill"](there, value=(n - 1) // 2)
        place = OPS["where"](there < n, there, middle)
    return apply(OPS["gather"], (order, place), {"dim": axis})


def _median(name: str, input: Any, dim: Any, keepdim: bool, skip_nan: bool, kind: Any) -> Any:
    input = operand(name, input)
    require_real(name, input)
    if input.aval.dtype == dt.NP_BOOL:
        raise DTypeError(message(name, "bools have no median", str(input.aval), "Convert with x.int()"))
    if dim is None:
        return _median_of_all(name, input, skip_nan)
    axis = normal_dim(name, dim, len(input.aval.shape))
    if not input.aval.shape:
        return kind(input, wrap(np.zeros((), np.int64)))
    require_elements(name, input, dim, (axis,))
    return kind(*pick(input, _median_indices(input, axis, skip_nan), axis, keepdim))


def _median_of_all(name: str, input: Any, skip_nan: bool) -> Any:
    """The median of all elements; those equal to it share the gradient, as in PyTorch."""
    line = apply(OPS["reshape"], (input,), {"shape": (input.aval.size,)})
    inexact = line.aval.dtype in dt.INEXACT_NP
    if not line.aval.size:
        if not inexact:
            raise ArgumentError(message(name, "an empty tensor has no median", str(input.aval)))
        return sum(line) + math.nan
    source = OPS["stop_gradient"](line)
    found = sum(apply(OPS["gather"], (source, _median_indices(source, 0, skip_nan)), {"dim": 0}))
    if not inexact:
        return cast(found, dt.of(input.aval.dtype))
    each = expand_to(found, source.aval.shape)
    both_nan = OPS["logical_and"](OPS["isnan"](source), OPS["isnan"](each))
    same = OPS["logical_or"](source == each, both_nan)
    hits = sum(OPS["where"](same, line, OPS["fill"](line, value=0)))
    return OPS["substitute"](hits / cast(sum(same), dt.of(line.aval.dtype)), found)


@numpy_names
def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median: of all elements, or along ``dim`` as a named tuple ``(values, indices)``.

    A NaN makes the median NaN. The gradient goes to the index; of all elements, ties share it.

    >>> import wengert as wg
    >>> wg.median(wg.tensor([4.0, 1.0, 3.0, 2.0]))
    tensor(2.)
    """
    return _median("median", input, dim, keepdim, False, return_types.median)


@numpy_names
def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of what is not NaN, see `median`."""
    return _median("nanmedian", input, dim, keepdim, True, return_types.nanmedian)


@numpy_names
def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along ``dim`` as a named tuple ``(values, indices)``.

    The smallest of several; the index is that of its last occurrence.
    """
    input = operand("mode", input)
    require_real("mode", input)
    axis = normal_dim("mode", dim, len(input.aval.shape))
    if not input.aval.shape:
        return return_types.mode(input, wrap(np.zeros((), np.int64)))
    require_elements("mode", input, dim, (axis,))
    parts = apply(OPS["mode"], (input,), {"axis": axis})
    return return_types.mode(*[squeezed(part, axis, keepdim) for part in parts])


def _quantile_levels(name: str, input: Any, q: Any) -> Any:
    """``q`` as a tensor, checked."""
    if input.aval.dtype not in (dt.NP_FLOAT32, dt.NP_FLOAT64):
        raise DTypeError(message(name, "the input must have dtype float32 or float64", str(input.aval)))
    if not isinstance(q, Handle):
        q = wrap(np.asarray(q, input.aval.dtype))
    if q.aval.dtype != input.aval.dtype:
        raise DTypeError(message(name, "q must have the dtype of the input", f"{q.aval} for {input.aval}"))
    if len(q.aval.shape) > 1:
        raise ShapeError(message(name, "q must be a number or a vector", str(q.aval)))
    if not input.aval.size:
        raise ArgumentError(message(name, "an empty tensor has no quantiles", str(input.aval)))
    value = q._value
    if value is not None and not ((value >= 0) & (value <= 1)).all():
        raise ArgumentError(message(name, "q must lie in [0, 1]", str(value)))
    return q


def _quantile_ranks(ordered: Any, q: Any, skip_nan: bool) -> Any:
    """Places of the quantiles in the sorted lines: (..., number of quantiles), as fractions."""
    n, leading = ordered.aval.shape[-1], ordered.aval.shape[:-1]
    kind = dt.of(ordered.aval.dtype)
    there = expand_to(cast(_count_there(ordered, len(leading)), kind), (*leading, *q.aval.shape))
    levels = expand_to(q, there.aval.shape)
    if skip_nan:
        ranks = levels * (there - 1.0)
        return OPS["where"](ranks < 0, OPS["fill"](ranks, value=0), ranks)
    return OPS["where"](there < n, OPS["fill"](there, value=n - 1), levels * (n - 1))  # the last one is the NaN


def _at_ranks(ordered: Any, ranks: Any, interpolation: str) -> Any:
    """Elements at fractional places of the sorted lines."""
    axis = len(ordered.aval.shape) - 1

    def at(places: Any) -> Any:
        return apply(OPS["gather"], (ordered, cast(places, dt.int64)), {"dim": axis})

    if interpolation == "nearest":
        return at(OPS["round"](ranks))
    below = OPS["floor"](ranks)
    if interpolation == "lower":
        return at(below)
    above = OPS["ceil"](ranks)
    if interpolation == "higher":
        return at(above)
    weight = 0.5 if interpolation == "midpoint" else ranks - below
    low = at(below)
    same = above == below  # so that inf - inf does not arise between a number and itself
    step = OPS["where"](same, OPS["fill"](low, value=0), at(above) - low)
    return low + step * weight


def _quantile(name: str, input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, skip_nan: bool) -> Any:
    known = ("linear", "lower", "higher", "midpoint", "nearest")
    if interpolation not in known:
        raise ArgumentError(message(name, "no such interpolation", repr(interpolation), f"Use one of {known}"))
    input = operand(name, input)
    q = _quantile_levels(name, input, q)
    shape = input.aval.shape
    if dim is None:
        axis, x = 0, apply(OPS["reshape"], (input,), {"shape": (input.aval.size,)})
    else:
        axis = normal_dim(name, dim, len(shape))
        x = input if shape else apply(OPS["reshape"], (input,), {"shape": (1,)})
    rank = len(x.aval.shape)
    if axis != rank - 1:
        order = (*[i for i in range(rank) if i != axis], axis)
        x = apply(OPS["permute"], (x,), {"order": order})
    ordered = apply(OPS["sort"], (x,), {"axis": rank - 1, "descending": False})[0]
    levels = q if q.aval.shape else apply(OPS["reshape"], (q,), {"shape": (1,)})
    out = _at_ranks(ordered, _quantile_ranks(ordered, levels, skip_nan), interpolation)
    out = apply(OPS["permute"], (out,), {"order": (rank - 1, *range(rank - 1))})  # quantiles come first
    kept = tuple(1 if dim is None or i == axis else n for i, n in enumerate(shape)) if keepdim else None
    rest = out.aval.shape[1:] if kept is None else kept
    return apply(OPS["reshape"], (out,), {"shape": (*q.aval.shape, *rest)})


@numpy_names
def quantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """Quantiles ``q`` (a number or a vector in [0, 1]) along ``dim``, or of all elements.

    A vector of q puts its dimension first. Between two elements ``interpolation`` decides: linear,
    lower, higher, midpoint, nearest. A NaN makes the quantile NaN.

    >>> import wengert as wg
    >>> wg.quantile(wg.tensor([0.0, 1.0, 2.0, 3.0]), wg.tensor([0.25, 0.5]))
    tensor([0.7500, 1.5000])
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@numpy_names
def nanquantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """Quantiles of what is not NaN, see `quantile`."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


# -- covariance ----------------------------------------------------------------------------------


def _weights(fweights: Any, aweights: Any, observations: int, kind: dt.dtype) -> Any:
    """Product of the two kinds of weights, or None."""
    out: Any = None
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is None:
            continue
        if w.aval.shape != (observations,):
            raise ShapeError(message("cov", f"{name} needs one number for each observation", str(w.aval)))
        if (name == "fweights") == (w.aval.dtype in dt.INEXACT_NP):
            wanted = "integers" if name == "fweights" else "floating numbers"
            raise DTypeError(message("cov", f"{name} must be {wanted}", str(w.aval)))
        if w._value is not None and bool((w._value < 0).any()):
            raise ArgumentError(message("cov", f"{name} must not be negative", str(w._value.min())))
        w = cast(w, kind)
        out = w if out is None else out * w
    return out


def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """Covariance matrix of the variables in the rows of ``input``; its columns are observations.

    ``fweights`` counts how often each observation occurs, ``aweights`` weighs it.

    >>> import wengert as wg
    >>> wg.cov(wg.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    input = operand("cov", input)
    if len(input.aval.shape) > 2:
        raise ShapeError(message("cov", "needs a matrix or a vector", str(input.aval)))
    x = input if input.aval.dtype in dt.INEXACT_NP else cast(input, dt.get_default_dtype())
    if isinstance(aweights, Handle) and aweights.aval.dtype in dt.FLOATING_NP:
        x = cast(x, dt.promote_types(dt.of(x.aval.dtype), dt.of(aweights.aval.dtype)))
    rows, n = (1, x.aval.size) if len(x.aval.shape) < 2 else x.aval.shape
    x = apply(OPS["reshape"], (x,), {"shape": (rows, n)})
    real = dt.of(x.aval.dtype).to_real()
    w = _weights(fweights, aweights, n, real)
    if w is None:
        freedom: Any = float(max(n - correction, 0))
        centred = x - mean(x, 1, keepdim=True)
        weighted = centred
    else:
        total = sum(w)
        share = correction if aweights is None else correction * sum(w * cast(aweights, real)) / total
        freedom = total - share
        freedom = OPS["where"](freedom > 0, freedom, OPS["fill"](freedom, value=0))
        centred = x - sum(x * w, 1, keepdim=True) / total
        weighted = centred * w
    adjoint = OPS["conj"](weighted) if real != dt.of(x.aval.dtype) else weighted
    out = OPS["matmul"](centred, apply(OPS["permute"], (adjoint,), {"order": (1, 0)})) / freedom
    return out if rows != 1 else apply(OPS["reshape"], (out,), {"shape": ()})


def corrcoef(input: Any) -> Any:
    """Correlation matrix of the variables in the rows of ``input``, within [-1, 1].

    >>> import wengert as wg
    >>> wg.corrcoef(wg.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    c = cov(input)
    if not c.aval.shape:
        return c / c
    n = c.aval.shape[0]
    line = apply(OPS["reshape"], (c,), {"shape": (n * n,)})
    diagonal = apply(OPS["slice"], (line,), {"spec": ((0, n * n, n + 1),)})
    deviations = OPS["sqrt"](cast(diagonal, dt.of(c.aval.dtype).to_real()))
    out = c / apply(OPS["reshape"], (deviations,), {"shape": (n, 1)}) / deviations
    if out.aval.dtype in dt.COMPLEX_NP:
        return out
    above, below = out > 1, out < -1  # rounding only; a limit reached exactly keeps its gradient
    out = OPS["where"](above, OPS["fill"](out, value=1), out)
    return OPS["where"](below, OPS["fill"](out, value=-1), out)


__all__ = [
    "corrcoef", "cov", "median", "mode", "nanmedian", "nanquantile", "quantile", "std", "std_mean", "var",
    "var_mean",
]  # fmt: skip
NOT_METHODS = ("std_mean", "var_mean")

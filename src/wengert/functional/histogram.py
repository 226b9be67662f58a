"""Counting: histograms over bins, and occurrences of small integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, TraceError, message
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from . import return_types
from .dims import operand
from .front import cast, expand_to


def _floating(name: str, x: Any) -> Any:
    """A tensor of a real floating dtype."""
    x = operand(name, x)
    if x.aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message(name, "needs a floating dtype", str(x.aval), "Convert with x.float()"))
    return x


def _flat(x: Any) -> Any:
    return apply(OPS["reshape"], (x,), {"shape": (x.aval.size,)})


def _edges_between(low: Any, high: Any, bins: int) -> Any:
    """Edges of equal bins from ``low`` to ``high`` (0-d); counted from the nearer end: both are exact."""
    kind = low.aval.dtype
    steps = np.arange(bins + 1)
    from_low = wrap(np.asarray(np.where(2 * steps <= bins, steps, 0), kind))
    from_high = wrap(np.asarray(np.where(2 * steps <= bins, 0, bins - steps), kind))
    step = (high - low) / bins
    first = wrap(2 * steps <= bins)
    shape = (bins + 1,)
    low, high, step = (expand_to(e, shape) for e in (low, high, step))
    return OPS["where"](first, low + step * from_low, high - step * from_high)


def _data_range(name: str, x: Any) -> tuple[Any, Any]:
    """Smallest and largest value; 0 and 1 of nothing, one half around a single value."""
    if not x.aval.size:
        low, high = (wrap(np.asarray(v, x.aval.dtype)) for v in (0, 1))
        return low, high
    line = OPS["stop_gradient"](_flat(x))
    low, high = OPS["amin"](line, axes=(0,)), OPS["amax"](line, axes=(0,))
    if low._value is not None and not (np.isfinite(low._value) and np.isfinite(high._value)):
        seen = f"{float(low._value)} to {float(high._value)}"
        raise ArgumentError(message(name, "the range of the data is not finite", seen, "Give the range"))
    return low, high


def _widened(low: Any, high: Any, by: float) -> tuple[Any, Any]:
    """A range that is a single point, made wider on both sides."""
    extra = cast(low == high, dt.of(low.aval.dtype)) * by
    return low - extra, high + extra


def _given_range(name: str, low: float, high: float, *, kind: Any) -> tuple[Any, Any]:
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ArgumentError(message(name, "not a range", f"{low} to {high}", "Give finite numbers, the smaller first"))
    return wrap(np.asarray(low, kind)), wrap(np.asarray(high, kind))


def _bins_of(x: Any, edges: Any) -> tuple[Any, Any]:
    """The bin of each element, and whether there is one; the last bin has both its edges."""
    n = edges.aval.shape[0] - 1
    place = apply(OPS["searchsorted"], (edges, x), {"right": True}) - 1
    last = expand_to(apply(OPS["slice"], (edges,), {"spec": ((n, n + 1, 1),)}), x.aval.shape)
    place = OPS["where"](x == last, OPS["fill"](place, value=n - 1), place)
    inside = OPS["logical_and"](place >= 0, place < n)
    return OPS["where"](inside, place, OPS["fill"](place, value=0)), inside


def _counted(place: Any, inside: Any, weight: Any, n: int) -> Any:
    """The sum of the weights in each of ``n`` bins."""
    weight = OPS["where"](inside, weight, OPS["fill"](weight, value=0))
    return apply(OPS["scatter_add"], (weight, place), {"dim": 0, "n": n})


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements fall into each of ``bins`` equal bins between ``min`` and ``max``.

    If both are equal, the range of the data is taken. Elements outside are not counted. The result
    has the dtype of the input.

    >>> import wengert as wg
    >>> wg.histc(wg.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    x = _floating("histc", input)
    if bins <= 0:
        raise ArgumentError(message("histc", "bins must be positive", str(bins)))
    if min == max:
        low, high = _data_range("histc", x)
        if not x.aval.size:
            return wrap(np.zeros(bins, x.aval.dtype))
    else:
        low, high = _given_range("histc", min, max, kind=x.aval.dtype)
    low, high = _widened(low, high, 1.0)
    line = _flat(OPS["stop_gradient"](x))
    inside = OPS["logical_and"](line >= low, line <= high)
    scaled = OPS["where"](inside, (line - low) / (high - low) * bins, OPS["fill"](line, value=0))
    place = cast(scaled, dt.int64)
    place = OPS["where"](place < bins, place, OPS["fill"](place, value=bins - 1))
    return _counted(place, inside, OPS["fill"](line, value=1), bins)


def _edges(name: str, x: Any, bins: Any, range: Sequence[float] | None) -> Any:
    """Edges from a number of bins and a range, or as they are given."""
    if isinstance(bins, Handle) and bins.aval.shape:
        if len(bins.aval.shape) != 1 or bins.aval.dtype != x.aval.dtype:
            wrong = "edges must be a vector with the dtype of the input"
            raise ShapeError(message(name, wrong, f"{bins.aval} for {x.aval}"))
        return bins
    number: Any = bins  # also a 0-d tensor
    n = int(number)
    if n <= 0:
        raise ArgumentError(message(name, "the number of bins must be positive", str(n)))
    low, high = _data_range(name, x) if range is None else _given_range(name, *range, kind=x.aval.dtype)
    return _edges_between(*_widened(low, high, 0.5), n)


def _weight(name: str, x: Any, weight: Any) -> Any:
    """Weights like the elements ``x``; ones if none are given."""
    if weight is None:
        return OPS["fill"](x, value=1)
    if weight.aval.size != x.aval.size:
        raise ShapeError(message(name, "one weight for each element is needed", f"{weight.aval} for {x.aval}"))
    return cast(_flat(weight), dt.of(x.aval.dtype))


def histogram(
    input: Any, bins: Any = 100, *, range: Sequence[float] | None = None, weight: Any = None, density: bool = False
) -> Any:
    """Histogram of all elements.

    Args:
        input: a floating tensor.
        bins: the number of equal bins, or a vector of their edges.
        range: (smallest, largest) edge of equal bins; by default the range of the data.
        weight: what each element counts; 1 by default. Gradients flow to it.
        density: divide by the total and by the width of each bin.

    Returns:
        A named tuple ``(hist, bin_edges)``.

    >>> import wengert as wg
    >>> wg.histogram(wg.tensor([1.0, 2.0, 1.0]), 4, range=(0.0, 3.0)).hist
    tensor([0., 2., 1., 0.])
    """
    x = _flat(_floating("histogram", input))
    edges = _edges("histogram", x, bins, range)
    n = edges.aval.shape[0] - 1
    place, inside = _bins_of(x, edges)
    hist = _counted(place, inside, _weight("histogram", x, weight), n)
    if density:
        hist = hist / OPS["sum"](hist, axes=(0,)) / _widths(edges)
    return return_types.histogram(hist, edges)


def _widths(edges: Any) -> Any:
    """Width of each bin."""
    n = edges.aval.shape[0]
    low, high = (apply(OPS["slice"], (edges,), {"spec": (s,)}) for s in ((0, n - 1, 1), (1, n, 1)))
    return high - low


def histogramdd(
    input: Any, bins: Any, *, range: Sequence[float] | None = None, weight: Any = None, density: bool = False
) -> Any:
    """Histogram of points: the last dimension of ``input`` holds their coordinates.

    ``bins``: a number for every coordinate, or a number or a vector of edges for each; ``range``: the
    smallest and largest edge of each coordinate, one after the other. See `histogram`.

    Returns:
        A named tuple ``(hist, bin_edges)``; ``hist`` has a dimension for each coordinate, ``bin_edges``
        is a tuple of vectors.
    """
    x = _floating("histogramdd", input)
    if len(x.aval.shape) < 2:
        raise ShapeError(message("histogramdd", "needs points in the last dimension", str(x.aval)))
    d = x.aval.shape[-1]
    x = apply(OPS["reshape"], (x,), {"shape": (x.aval.size // d if d else 0, d)})
    each = [bins] * d if isinstance(bins, int) else list(bins)
    if len(each) != d or (range is not None and len(range) != 2 * d):
        wrong = "bins and range must fit the coordinates"
        raise ArgumentError(message("histogramdd", wrong, f"{len(each)} bins for {x.aval}"))
    edges: list[Any] = []
    place: Any = None
    inside: Any = None
    for k, b in enumerate(each):
        column = apply(OPS["slice"], (x,), {"spec": ((0, x.aval.shape[0], 1), (k, k + 1, 1))})
        column = _flat(column)
        edges.append(_edges("histogramdd", column, b, None if range is None else range[2 * k : 2 * k + 2]))
        p, i = _bins_of(column, edges[-1])
        place = p if place is None else place * (edges[-1].aval.shape[0] - 1) + p
        inside = i if inside is None else OPS["logical_and"](inside, i)
    shape = tuple(e.aval.shape[0] - 1 for e in edges)
    weights = _weight("histogramdd", column, weight)
    hist = apply(OPS["reshape"], (_counted(place, inside, weights, math.prod(shape)),), {"shape": shape})
    if density:
        hist = hist / OPS["sum"](hist, axes=tuple(i for i, _ in enumerate(shape)))
        for k, e in enumerate(edges):
            line = tuple(-1 if i == k else 1 for i, _ in enumerate(shape))
            line = tuple(shape[k] if n == -1 else 1 for n in line)
            hist = hist / apply(OPS["reshape"], (_widths(e),), {"shape": line})
    return return_types.histogramdd(hist, tuple(edges))


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each of 0, 1, 2 … occurs in a vector of non-negative integers.

    Args:
        input: (n,) integers.
        weights: what each counts; gradients flow to it.
        minlength: the smallest length of the result.

    Raises:
        TraceError: while tracing, for the length of the result depends on values.

    >>> import wengert as wg
    >>> wg.bincount(wg.tensor([1, 3, 1]))
    tensor([0, 2, 0, 1])
    """
    x = operand("bincount", input)
    if x._value is None:
        raise TraceError(
            message("bincount", "how long the result is depends on values, which are not known while tracing",
                    str(x.aval), "Write F.one_hot(x, n).sum(0) for numbers below n")
        )  # fmt: skip
    value = x._concrete("bincount")
    if len(x.aval.shape) != 1 or dt.of(x.aval.dtype).category != 1 or (value.size and value.min() < 0):
        raise ArgumentError(message("bincount", "needs a vector of non-negative integers", str(x.aval)))
    if minlength < 0:
        raise ArgumentError(message("bincount", "minlength must not be negative", str(minlength)))
    n = max(int(value.max()) + 1 if value.size else 0, minlength)
    index = cast(x, dt.int64)
    if weights is None:
        return wrap(np.bincount(index._value, minlength=n).astype(np.int64))
    if weights.aval.shape != x.aval.shape:
        raise ShapeError(message("bincount", "one weight for each element is needed", f"{weights.aval}, {x.aval}"))
    if weights.aval.dtype not in (dt.NP_FLOAT32, dt.NP_FLOAT64):
        weights = cast(weights, dt.float64)
    return apply(OPS["scatter_add"], (weights, index), {"dim": 0, "n": n})


__all__ = ["bincount", "histc", "histogram", "histogramdd"]
NOT_METHODS = ("histogramdd",)

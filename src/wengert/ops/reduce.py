"""Reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, message
from ..graph.aval import Aval
from .arrays import expanded
from .base import OPS, Op, Reduce, Sample, dtype_of, shape_of, to_front
from .testpoints import complexes, floats, noncontiguous


def reduce_samples() -> Iterable[Sample]:
    """Axes of every sort: one, several, all, none, an empty one."""
    yield Sample(floats(4), attrs={"axes": (0,)})
    yield Sample(floats(2, 3, 2), attrs={"axes": (0, 2)})
    yield Sample(noncontiguous(2, 3), attrs={"axes": (1,)}, label="non-contiguous")
    yield Sample(floats(2, 3), attrs={"axes": ()}, label="no axes")
    yield Sample(floats(), attrs={"axes": ()}, label="0-d")
    yield Sample(floats(0, 2), attrs={"axes": (1,)}, label="empty")


def widened(x: Any) -> Any:
    """Half precision is accumulated in float32 and rounded once."""
    return x.astype(np.float32) if x.dtype in dt.HALF_NP else x


def plain_reduction(reduce: Callable[..., Any], x: Aval, axes: tuple[int, ...]) -> Callable[..., Any] | None:
    """A reduction as NumPy does it by itself, where that means the same; None elsewhere."""
    if x.dtype not in (dt.NP_FLOAT32, dt.NP_FLOAT64) or not axes:
        return None
    axis = None if len(axes) == x.ndim else axes[0] if len(axes) == 1 else axes
    return lambda x: reduce(x, axis)


# -- sums ----------------------------------------------------------------------------------


class Sum(Reduce):
    """Sum over axes; half precision is summed in float32."""

    name = "sum"
    by_kernels = True

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        return plain_reduction(np.add.reduce, avals[0], attrs["axes"]) or super().kernel(avals, attrs)

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        x = widened(x)
        return np.add.reduce(x, axis=axes, dtype=x.dtype)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0], **attrs)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, axes: tuple[int, ...]) -> Any:
        x = xs[0]
        if axes and type(x) is np.ndarray:  # `spread`, written out
            return (expanded(g, x.shape, axes),)
        return (self.spread(g, x, axes),)

    def samples(self) -> Iterable[Sample]:
        yield from reduce_samples()
        yield Sample(floats(0, 2), attrs={"axes": (0,)}, label="sum of nothing")
        yield Sample(complexes(2, 3), attrs={"axes": (1,)})


class Mean(Reduce):
    """Mean over axes; NaN over none. Half precision is summed and divided in float32."""

    name = "mean"
    by_kernels = True

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        x, axes = avals[0], attrs["axes"]
        total = plain_reduction(np.add.reduce, x, axes)
        if total is None:
            return super().kernel(avals, attrs)
        n = x.dtype.type(math.prod([x.shape[a] for a in axes]))
        return lambda x: total(x) / n

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        x = widened(x)
        return np.true_divide(np.add.reduce(x, axis=axes), count(x, axes))

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return (self if count(ts[0], attrs["axes"]) else OPS["sum"])(ts[0], **attrs)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        n = count(xs[0], attrs["axes"])
        return [self.spread(g / n if n else g, xs[0], attrs["axes"])]

    def samples(self) -> Iterable[Sample]:
        yield from reduce_samples()
        yield Sample(floats(0, 2), attrs={"axes": (0,)}, label="mean of nothing", numeric=False)
        yield Sample(complexes(2, 3), attrs={"axes": (1,)})


def count(x: Any, axes: tuple[int, ...]) -> int:
    """How many elements are reduced to one."""
    shape = shape_of(x)
    return math.prod([shape[a] for a in axes])


# -- products ------------------------------------------------------------------------------


class Prod(Reduce):
    """Product over axes. Its derivative never divides, so that zeros, one or several, are right."""

    name = "prod"

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        x = widened(x)
        return np.multiply.reduce(x, axis=axes, dtype=x.dtype)

    def weights(self, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
        if not axes:
            return None
        first, rest = axes[0], axes[1:]
        lines = self(x, axes=rest) if rest else x
        others = product_of_others(lines, first)
        return self.spread(others, x, rest) * self.weights(None, x, rest) if rest else others

    def samples(self) -> Iterable[Sample]:
        yield from reduce_samples()
        yield Sample(floats(0, 2), attrs={"axes": (0,)}, label="product of nothing")
        yield Sample(complexes(2, 3), attrs={"axes": (1,)})
        yield Sample(ZEROS, attrs={"axes": (1,)}, label="no, one, two and three zeros")
        yield Sample(ZEROS, attrs={"axes": (0, 1)}, label="zeros, two axes")


ZEROS = np.array([[1.5, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def product_of_others(x: Any, axis: int) -> Any:
    """For each element the product of all the others on its line: of those before it and those behind it."""
    from .scan import shifted

    cumprod = OPS["cumprod"]
    before = shifted(cumprod(x, axis=axis, reverse=False), axis, 1, reverse=False)
    return before * shifted(cumprod(x, axis=axis, reverse=True), axis, 1, reverse=True)


# -- extremes ------------------------------------------------------------------------------


class Extreme(Reduce):
    """Largest or smallest value; ties share the adjoint equally, NaN wins."""

    ufunc: Any
    by_kernels = True

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        return plain_reduction(self.ufunc.reduce, avals[0], attrs["axes"]) or super().kernel(avals, attrs)

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        return self.ufunc.reduce(x, axis=axes)

    def weights(self, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
        return tie_weights(out, x, axes)

    def samples(self) -> Iterable[Sample]:
        yield from reduce_samples()
        ties = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [1.0, 1.0, 3.0]])
        yield Sample(ties, attrs={"axes": (1,)}, numeric=False, label="ties")
        infinite = np.array([[1.0, np.inf], [-np.inf, 2.0]])
        yield Sample(infinite, attrs={"axes": (1,)}, numeric=False, label="infinities")
        yield Sample(np.array([[3, 1], [2, 2]]), attrs={"axes": (1,)}, label="integers")


class Amax(Extreme):
    """Largest value; ties share the adjoint equally. NaN wins."""

    name = "amax"
    ufunc = np.maximum


class Amin(Extreme):
    """Smallest value; ties share the adjoint equally. NaN wins."""

    name = "amin"
    ufunc = np.minimum


def tie_weights(out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """One over the number of ties where ``x`` attains ``out``, else zero; NaN if ``out`` is NaN."""
    hit = OPS["cast"](x == out, dtype=dtype_of(x))
    ties = OPS["expand"](OPS["sum"](hit, axes=axes), shape=shape_of(x), axes=axes) if axes else hit
    return hit / ties


class ArgExtreme(Op):
    """Position of an extreme along ``axis``, which vanishes; the first of ties, NaN wins."""

    differentiable = False
    find: Any

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, axis = avals[0], attrs["axis"]
        if not x.shape[axis]:
            raise ArgumentError(message(self.name, "nothing to choose from", f"{x}, dimension {axis}"))
        return Aval(x.shape[:axis] + x.shape[axis + 1 :], dt.NP_INT64)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return self.find(widened(xs[0]), attrs["axis"])

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), axis=attrs["axis"] + 1), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(5), attrs={"axis": 0})
        yield Sample(noncontiguous(2, 3, 2), attrs={"axis": 1}, label="non-contiguous")
        yield Sample(np.array([[3.0, 1.0, 3.0, 1.0], [2.0, np.nan, 5.0, np.nan]]), attrs={"axis": 1}, label="ties, NaN")
        yield Sample(floats(2, 0), attrs={"axis": 0}, label="empty")


class Argmax(ArgExtreme):
    """Position of the largest value along ``axis``; the first of ties, NaN wins."""

    name = "argmax"
    find = staticmethod(np.ndarray.argmax)


class Argmin(ArgExtreme):
    """Position of the smallest value along ``axis``; the first of ties, NaN wins."""

    name = "argmin"
    find = staticmethod(np.ndarray.argmin)


# -- truth ---------------------------------------------------------------------------------


class Truth(Reduce):
    """A bool made of many."""

    out_dtype = dt.NP_BOOL
    differentiable = False
    ufunc: Any

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        return self.ufunc.reduce(x if x.dtype == dt.NP_BOOL else x != 0, axis=axes)

    def samples(self) -> Iterable[Sample]:
        yield from reduce_samples()
        yield Sample(np.array([[True, False], [True, True], [False, False]]), attrs={"axes": (1,)})
        yield Sample(np.array([[0.0, np.nan], [0.0, -0.0]]), attrs={"axes": (1,)}, label="NaN is true")
        yield Sample(np.zeros((0, 2), bool), attrs={"axes": (0,)}, label="of nothing")


class AnyTrue(Truth):
    """Whether any element is not zero."""

    name = "any"
    ufunc = np.logical_or


class AllTrue(Truth):
    """Whether no element is zero."""

    name = "all"
    ufunc = np.logical_and

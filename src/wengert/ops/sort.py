"""Sorting, selecting and searching along an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ShapeError, message
from ..graph.aval import Aval, describe
from .base import OPS, Op, Opaque, Sample, full_tuple, shape_of, to_front
from .reduce import widened
from .testpoints import floats, noncontiguous


class Selection(Opaque):
    """Elements picked along ``axis``, and the indices at which they stood.

    The author writes the choice; the derivative follows the indices.
    """

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return OPS["gather"](ts[0], out[1], dim=attrs["axis"]), None

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        axis = attrs["axis"]
        return [OPS["scatter_add"](full_tuple(g, out)[0], out[1], dim=axis, n=shape_of(xs[0])[axis])]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), **{**attrs, "axis": attrs["axis"] + 1}), 0


def ordered_indices(x: Any, axis: int, descending: bool) -> Any:
    """A stable argsort; NaN counts as the largest."""
    x = widened(x)
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    backwards = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(backwards, axis)


def picked(x: Any, indices: Any, axis: int) -> tuple[Any, Any]:
    """The results of a selection."""
    indices = np.ascontiguousarray(indices, np.int64)
    return np.take_along_axis(x, indices, axis), indices


class Sort(Selection):
    """Elements in order along ``axis``, equal ones in the order in which they stood; NaN is the largest."""

    name = "sort"

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        return avals[0], Aval(avals[0].shape, dt.NP_INT64)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        axis = attrs["axis"]
        return picked(xs[0], ordered_indices(xs[0], axis, attrs["descending"]), axis)

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(5), attrs={"axis": 0, "descending": False})
        yield Sample(noncontiguous(2, 3, 2), attrs={"axis": 1, "descending": True}, label="non-contiguous")
        ties = np.array([[2.0, 1.0, 2.0, 1.0], [3.0, 3.0, 3.0, 3.0]])
        yield Sample(ties, attrs={"axis": 1, "descending": False}, numeric=False, label="ties")
        yield Sample(ties, attrs={"axis": 1, "descending": True}, numeric=False, label="ties, descending")
        yield Sample(np.array([3, 1, 2]), attrs={"axis": 0, "descending": True}, label="integers")
        yield Sample(floats(2, 0), attrs={"axis": 1, "descending": False}, label="empty")


class Topk(Selection):
    """The ``k`` largest (or smallest) elements along ``axis``, best first; NaN is the largest."""

    name = "topk"

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        x, axis, k = avals[0], attrs["axis"], attrs["k"]
        if not 0 <= k <= x.shape[axis]:
            raise ShapeError(message("topk", "k out of range", f"k={k} of {x}, dimension {axis}"))
        shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
        return Aval(shape, x.dtype), Aval(shape, dt.NP_INT64)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, axis, k, largest = xs[0], attrs["axis"], attrs["k"], attrs["largest"]
        n = x.shape[axis]
        keys = np.moveaxis(widened(x), axis, -1)
        if n > 64 and 4 * k < n:  # finding the k best is cheaper than sorting all
            part = np.argpartition(keys, n - k if largest else k - 1, axis=-1) if k else np.zeros(keys.shape, int)
            best = np.sort(part[..., n - k :] if largest else part[..., :k], axis=-1)
            inner = ordered_indices(np.take_along_axis(keys, best, -1), -1, largest)
            indices = np.take_along_axis(best, inner, -1)
        else:
            indices = ordered_indices(keys, -1, largest)[..., :k]
        return picked(x, np.moveaxis(indices, -1, axis), axis)

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(5), attrs={"axis": 0, "k": 2, "largest": True})
        yield Sample(noncontiguous(3, 4), attrs={"axis": 0, "k": 2, "largest": False}, label="non-contiguous")
        ties = np.array([[2.0, 1.0, 2.0, 1.0], [3.0, 3.0, 3.0, 3.0]])
        yield Sample(ties, attrs={"axis": 1, "k": 3, "largest": True}, numeric=False, label="ties")
        yield Sample(floats(2, 80), attrs={"axis": 1, "k": 3, "largest": True}, label="partition")
        yield Sample(floats(80), attrs={"axis": 0, "k": 3, "largest": False}, label="partition, smallest")
        yield Sample(floats(2, 3), attrs={"axis": 1, "k": 0, "largest": True}, label="none")
        yield Sample(floats(2, 3), attrs={"axis": 1, "k": 3, "largest": True}, label="all")
        yield Sample(np.array([3, 1, 2]), attrs={"axis": 0, "k": 1, "largest": True}, label="integers")


class Mode(Selection):
    """The most frequent element along ``axis`` (the smallest of several) and where it stands last.

    The axis stays with size 1.
    """

    name = "mode"

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        x, axis = avals[0], attrs["axis"]
        if not x.shape[axis]:
            raise ShapeError(message("mode", "nothing to choose from", f"{x}, dimension {axis}"))
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        return Aval(shape, x.dtype), Aval(shape, dt.NP_INT64)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, axis = xs[0], attrs["axis"]
        keys = np.moveaxis(widened(x), axis, -1)
        order = ordered_indices(keys, -1, descending=False)
        lines = np.take_along_axis(keys, order, -1)
        places = np.arange(lines.shape[-1])
        starts = np.ones(lines.shape, bool)
        starts[..., 1:] = lines[..., 1:] != lines[..., :-1]
        run = places - np.maximum.accumulate(np.where(starts, places, 0), axis=-1)  # 0, 1, 2 … inside a run
        last = np.argmax(run, axis=-1)[..., None]
        indices = np.take_along_axis(order, last, -1)
        return picked(x, np.moveaxis(indices, -1, axis), axis)

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(4), attrs={"axis": 0})
        twice = np.array([[2.0, 1.0, 2.0, 1.0], [3.0, 5.0, 3.0, 4.0]])
        yield Sample(twice, attrs={"axis": 1}, numeric=False, label="ties")
        yield Sample(twice, attrs={"axis": 0}, numeric=False, label="all once")
        yield Sample(np.array([3, 1, 1]), attrs={"axis": 0}, label="integers")
        yield Sample(floats(0, 3), attrs={"axis": 1}, label="empty")


class Searchsorted(Op):
    """Where each value would be put into its sorted line: the first place, the last one if ``right``.

    ``lines`` has one axis, or leading axes equal to those of ``values``.
    """

    name = "searchsorted"
    differentiable = False

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        lines, values = avals
        if not lines.ndim or (lines.ndim > 1 and lines.shape[:-1] != values.shape[:-1]):
            raise ShapeError(
                message("searchsorted", "sorted lines and values differ in leading dimensions", describe(avals))
            )
        return Aval(values.shape, dt.NP_INT64)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        lines, values = widened(xs[0]), widened(xs[1])
        side = "right" if attrs["right"] else "left"
        if lines.ndim == 1:
            return np.asarray(np.searchsorted(lines, values, side), np.int64)
        rows = lines.reshape(math.prod(lines.shape[:-1]), lines.shape[-1])
        wanted = values.reshape(len(rows), values.shape[-1])
        out = np.empty(wanted.shape, np.int64)
        for i, row in enumerate(rows):
            out[i] = np.searchsorted(row, wanted[i], side)
        return out.reshape(values.shape)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        lines, values = xs
        if dims[0] is None and len(shape_of(lines)) == 1:
            return self(lines, values, **attrs), dims[1]
        lines, values = (to_front(x, d, size) for x, d in zip(xs, dims, strict=True))
        shape = shape_of(values)
        if len(shape_of(lines)) == 2:  # one line for each entry of the mapped axis
            values = OPS["reshape"](values, shape=(size, math.prod(shape[1:])))
        return OPS["reshape"](self(lines, values, **attrs), shape=shape), 0

    def samples(self) -> Iterable[Sample]:
        line = np.array([-1.0, 0.0, 0.0, 2.0])
        yield Sample(line, np.array([[-2.0, 0.0], [1.0, 2.5]]), attrs={"right": False})
        yield Sample(line, np.array([0.0, np.nan, np.inf]), attrs={"right": True}, label="ties, NaN")
        yield Sample(line, np.array(0.0), attrs={"right": True}, label="0-d")
        rows = np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 4.0]])
        yield Sample(rows, np.array([[3.0, 0.0], [2.0, 9.0]]), attrs={"right": True}, label="batched")
        yield Sample(floats(0), floats(3), attrs={"right": False}, label="empty")
        yield Sample(np.array([1, 3, 3]), np.array([3, 4]), attrs={"right": False}, label="integers")


__all__ = ["Selection", "ordered_indices"]

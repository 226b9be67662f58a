"""Indexing along one axis: picking elements, and adding up what came from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ShapeError, message
from ..graph.aval import Aval, describe
from .base import OPS, Linear, Sample, shape_of, to_front
from .heavy import HEAVY, computed, large
from .index import check_index, out_of_range, sum_rows, wrapped
from .testpoints import complexes, floats, noncontiguous


def lane_index(index: Any, dim: int, shape: tuple[int, ...]) -> Any:
    """Flat positions in an array of ``shape`` of elements picked along ``dim`` (NumPy arrays)."""
    n, inner = shape[dim], math.prod(shape[dim + 1 :])
    outer = np.arange(math.prod(shape[:dim])).reshape(*shape[:dim], *([1] * (len(shape) - dim)))
    return outer * (n * inner) + wrapped(index, n) * inner + np.arange(inner).reshape(shape[dim + 1 :])


@lru_cache(512)
def _lanes(shape: tuple[int, ...], ndim: int) -> tuple[Any, ...]:
    """Positions along each axis that broadcast to the whole: the axes of ``shape`` are the first of ``ndim``."""
    return tuple([np.arange(n).reshape(n, *[1] * (ndim - k - 1)) for k, n in enumerate(shape)])


class Gather(Linear):
    """out[i, j, k] = x[i, index[i, j, k], k] for dim = 1; the other sizes of x and index agree."""

    name = "gather"
    linear = (0,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, index = avals
        dim = attrs["dim"]
        check_index(self.name, index)
        same = x.ndim == index.ndim and all(
            m == n for i, (m, n) in enumerate(zip(x.shape, index.shape, strict=True)) if i != dim
        )
        if not same or not x.ndim:
            raise ShapeError(message(self.name, f"sizes must match except in dimension {dim}", describe(avals)))
        return x.with_shape(index.shape)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, index = xs
        dim = attrs["dim"]
        if index.size >= HEAVY and -x.shape[dim] <= index.min() and index.max() < x.shape[dim]:
            found = computed(self, xs, attrs)
            if found is not None:
                return found
        try:
            return x[(*_lanes(x.shape[:dim], x.ndim), index, *_lanes(x.shape[dim + 1 :], x.ndim - dim - 1))]
        except IndexError:
            raise out_of_range(self.name, index, x.shape[dim], dim) from None

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0], xs[1], **attrs)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["scatter_add"](g, xs[1], dim=attrs["dim"], n=shape_of(xs[0])[attrs["dim"]])

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x, index = (to_front(x, d, size) for x, d in zip(xs, dims, strict=True))
        return self(x, index, dim=attrs["dim"] + 1), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(4), np.array([2, 0, 2, -1]), attrs={"dim": 0}, label="repeated and negative")
        yield Sample(noncontiguous(2, 3), np.array([[0, 2], [1, 1]]), attrs={"dim": 1})
        yield Sample(floats(3, 2), np.array([[0, 2]], np.int32), attrs={"dim": 0})
        yield Sample(floats(2, 2, 2), np.array([[[1, 0]], [[0, 0]]]), attrs={"dim": 1})
        yield Sample(floats(2, 3), np.zeros((2, 0), np.int64), attrs={"dim": 1}, label="no index")
        yield Sample(complexes(3), np.array([1, 1]), attrs={"dim": 0})


class ScatterAdd(Linear):
    """Zeros of size ``n`` along ``dim`` with the input added at ``index``: the transpose of `Gather`."""

    name = "scatter_add"
    linear = (0,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        g, index = avals
        check_index(self.name, index)
        if g.shape != index.shape or not g.ndim:
            raise ShapeError(message(self.name, "source and index must have one shape", describe(avals)))
        dim = attrs["dim"]
        return g.with_shape((*g.shape[:dim], attrs["n"], *g.shape[dim + 1 :]))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        g, index = xs
        dim, n = attrs["dim"], attrs["n"]
        shape = (*g.shape[:dim], n, *g.shape[dim + 1 :])
        if index.size and (index.min() < -n or index.max() >= n):
            raise out_of_range(self.name, index, n, dim)
        found = large(self, xs, attrs)
        if found is not None:
            return found
        if index.dtype != dt.NP_INT64:
            index = index.astype(np.int64)
        if index.shape[dim] == 1 and all(
            k == m for i, (k, m) in enumerate(zip(index.shape, shape, strict=True)) if i != dim
        ):  # one element a lane, as a loss that picks a class: nothing can meet
            out = np.zeros(shape, g.dtype)
            np.put_along_axis(out, index, g, dim)
            return out
        work = g.astype(np.float32) if g.dtype in dt.HALF_NP else g
        out = sum_rows(work.reshape(-1), lane_index(index, dim, shape).reshape(-1), math.prod(shape))
        return out.astype(g.dtype, copy=False).reshape(shape)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0], xs[1], **attrs)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["gather"](g, xs[1], dim=attrs["dim"])

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        g, index = (to_front(x, d, size) for x, d in zip(xs, dims, strict=True))
        return self(g, index, dim=attrs["dim"] + 1, n=attrs["n"]), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(4), np.array([2, 0, 2, -1]), attrs={"dim": 0, "n": 3}, label="repeated and negative")
        yield Sample(noncontiguous(2, 2), np.array([[0, 2], [1, 1]]), attrs={"dim": 1, "n": 3})
        yield Sample(floats(2, 1, 2), np.array([[[1, 0]], [[0, 0]]], np.int32), attrs={"dim": 1, "n": 2})
        yield Sample(floats(2, 0), np.zeros((2, 0), np.int64), attrs={"dim": 1, "n": 3}, label="no index")
        yield Sample(complexes(3), np.array([1, 1, 0]), attrs={"dim": 0, "n": 2})

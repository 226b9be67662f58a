"""Indexing by arrays: picking, writing and adding up rows (`gather` does so with elements along one axis).

Indices are integer arrays that carry no derivative; -n ... n - 1 are valid, as in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, IndexRangeError, ShapeError, message
from ..graph.aval import Aval, describe
from ..graph.handle import Handle
from .base import OPS, Elementwise, Linear, Op, Sample, dtype_of, shape_of, to_front, total, zeros_like
from .heavy import large
from .movement import constant
from .testpoints import complexes, floats, noncontiguous


def check_index(name: str, index: Aval) -> None:
    """Raise unless an index has an integer dtype."""
    if dt.of(index.dtype).category != 1:
        raise DTypeError(message(name, "an index must have an integer dtype", str(index), "Convert with x.long()"))


def out_of_range(name: str, index: Any, size: int, axis: int = 0, low: int | None = None) -> IndexRangeError:
    """The error that names the first bad index: less than ``low`` (-size if not given), or not less than the size."""
    index = np.asarray(index)
    bad = index[(index < (-size if low is None else low)) | (index >= size)]
    seen = f"index {bad.reshape(-1)[0] if bad.size else '?'} along dimension {axis} with size {size}"
    return IndexRangeError(message(name, "index out of range", seen))


def cast_index(index: Any) -> Any:
    """int64, so that index arithmetic cannot overflow."""
    return index if dtype_of(index) == dt.NP_INT64 else OPS["cast"](index, dtype=dt.NP_INT64)


def wrapped(index: Any, n: int, name: str = "getitem", axis: int = 0) -> Any:
    """Negative indices counted from the front; those of a tensor must be in range."""
    if not isinstance(index, Handle):
        return np.where(index < 0, index + n, index) if index.size and index.min() < 0 else index
    return OPS["in_range"](index, n=n, low=-n, axis=axis, by=name)


def checked(name: str, index: Any, n: int, axis: int, negative: bool) -> Any:
    """An index whose values are not known yet, with a check that they will be in range."""
    if not index.aval.size:
        return index
    return OPS["in_range"](cast_index(index), n=n, low=-n if negative else 0, axis=axis, by=name)


def lanes(index: Any, size: int, n: int) -> Any:
    """Indices into ``size`` blocks of ``n`` laid one after the other; axis 0 of ``index`` counts the blocks."""
    index = OPS["in_range"](cast_index(index), n=n, low=-n, axis=0, by="vmap")
    offset = np.arange(size).reshape(size, *([1] * (len(shape_of(index)) - 1))) * n
    return index + constant(np.broadcast_to(offset, shape_of(index)), index)


def merged(x: Any) -> Any:
    """The first two axes as one."""
    shape = shape_of(x)
    return OPS["reshape"](x, shape=(shape[0] * shape[1], *shape[2:]))


def unmerged(x: Any, size: int) -> Any:
    """Undo `merged`."""
    shape = shape_of(x)
    return OPS["reshape"](x, shape=(size, shape[0] // size if size else 0, *shape[1:]))


def moved(x: Any, axis: int, to: int) -> Any:
    """Move one axis."""
    if axis == to:
        return x
    order = [i for i in range(len(shape_of(x))) if i != axis]
    order.insert(to, axis)
    return OPS["permute"](x, order=tuple(order))


def blocks(x: Any, first: int, count: int, to: int) -> Any:
    """Move ``count`` adjacent axes that start at ``first`` to position ``to`` among the others."""
    if first == to or not count:
        return x
    order = [i for i in range(len(shape_of(x))) if not first <= i < first + count]
    order[to:to] = range(first, first + count)
    return OPS["permute"](x, order=tuple(order))


class InRange(Elementwise):
    """An index (int64) into ``n`` elements, counted from the front; an error if it is less than ``low``, or n or more.

    ``low`` is 0 or -n; ``axis`` and ``by`` (an op) are for the error. It stands where an index is not known yet.
    """

    name = "in_range"
    differentiable = False
    partials = (None,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        if avals[0].dtype != dt.NP_INT64:
            raise DTypeError(message(self.name, "the index must be int64", describe(avals)))
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        (index,), n, low = xs, attrs["n"], attrs["low"]
        if index.size and (index.min() < low or index.max() >= n):
            raise out_of_range(attrs["by"], index, n, attrs["axis"], low)
        return np.array(wrapped(index, n))

    def scalar(self, s: Any, x: Any, **attrs: Any) -> Any:
        return s.where(x < 0, x + attrs["n"], x) if attrs["low"] else x

    def samples(self) -> Iterable[Sample]:
        attrs = {"n": 3, "low": -3, "axis": 0, "by": "take_rows"}
        yield Sample(np.array([2, 0, -1, -3]), attrs=attrs, label="negative")
        yield Sample(np.array([[2, 0, 1]])[:, ::-2], attrs=attrs | {"low": 0}, label="non-contiguous")
        yield Sample(np.array(1), attrs=attrs, label="0-d")
        yield Sample(np.zeros((0, 2), np.int64), attrs=attrs, label="empty")


class TakeRows(Linear):
    """x[index]: rows along ``axis`` (0 if not given), by an integer array of any shape."""

    name = "take_rows"
    linear = (0,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, index = avals
        axis = attrs.get("axis", 0)
        check_index(self.name, index)
        if axis >= x.ndim:
            raise ShapeError(message(self.name, f"needs more than {axis} dimensions", describe(avals)))
        return x.with_shape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, index = xs
        axis = attrs.get("axis", 0)
        try:
            out = x.take(index, axis) if x.flags.c_contiguous else x[(*[slice(None)] * axis, index)]
        except IndexError:
            raise out_of_range(self.name, index, x.shape[axis], axis) from None
        return out if type(out) is np.ndarray and out.base is None else np.array(out, x.dtype)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0], xs[1], **attrs)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["add_rows"](g, xs[1], n=shape_of(xs[0])[attrs.get("axis", 0)], **attrs)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x, index = xs
        axis = attrs.get("axis", 0)
        if dims[0] is None:
            return self(x, to_front(index, dims[1], size), **attrs), axis
        x = to_front(x, dims[0], size)
        if dims[1] is None:
            return self(x, index, axis=axis + 1), 0
        index = to_front(index, dims[1], size)
        x = moved(x, axis + 1, 1)
        out = self(merged(x), lanes(index, size, shape_of(x)[1]))
        return blocks(out, 1, len(shape_of(index)) - 1, axis + 1), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(4, 2), np.array([2, 0, 2, -1]), label="repeated and negative")
        yield Sample(noncontiguous(3, 2), np.array([[1, 0], [2, 2]]), label="matrix of indices")
        yield Sample(floats(2, 3, 2), np.array([[1, 0], [2, 2]]), attrs={"axis": 1}, label="inner axis")
        yield Sample(floats(3), np.array(1), label="0-d index")
        yield Sample(floats(3), np.array([2, 1], np.int32), label="int32")
        yield Sample(floats(3, 2), np.zeros((0,), np.int64), label="no index")
        yield Sample(floats(3, 0), np.array([1, 1]), label="empty rows")
        yield Sample(complexes(3), np.array([1, 1]))


def sum_rows(g: Any, index: Any, n: int) -> Any:
    """Zeros of ``n`` rows, with the rows of ``g`` added at ``index`` (both flat in their rows).

    np.add.at is slow for rows. Large ones are left to a kernel. Else rows are written at once, so that of equal
    indices the last one stays, and the others are added: a few at a time, or, where one index comes often, sorted.
    """
    width = math.prod(g.shape[1:])
    if not index.size or not width:
        return np.zeros((n, *g.shape[1:]), g.dtype)
    if index.min() < -n or index.max() >= n:
        raise out_of_range("add_rows", index, n)
    if width == 1:
        return _sum_scalars(g.reshape(-1), wrapped(index, n), n).reshape(n, *g.shape[1:])
    found = large(OPS["add_rows"], (g, index), {"n": n})
    if found is not None:
        return found
    index = wrapped(index, n)
    out = np.zeros((n, *g.shape[1:]), g.dtype)
    out[index] = g
    lost = _lost(index, n)
    for _ in range(2):
        if not lost.any():
            return out
        index, g, before = index[lost], g[lost], index.size
        if index.size * 2 > before:
            break
        lost = _lost(index, n)
        kept = ~lost
        out[index[kept]] += g[kept]
    else:
        index, g = index[lost], g[lost]
    if index.size:
        order = np.argsort(index, kind="stable")
        rows = index[order]
        starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
        out[rows[starts]] += np.add.reduceat(g[order], starts, axis=0, dtype=g.dtype)
    return out


def _lost(index: Any, n: int) -> Any:
    """Which entries of an index a later equal one overwrites."""
    count = np.arange(index.size, dtype=np.int32 if index.size < 2**31 else np.int64)
    last = np.empty(n, count.dtype)
    last[index] = count
    return last[index] != count


def _sum_scalars(g: Any, index: Any, n: int) -> Any:
    if g.dtype in (dt.NP_FLOAT32, dt.NP_FLOAT64):
        return np.bincount(index, g, n).astype(g.dtype, copy=False)  # sums in float64
    out = np.zeros(n, g.dtype)
    np.add.at(out, index, g)
    return out


class AddRows(Linear):
    """``n`` rows of zeros with the rows of the input added at ``index``: the transpose of `TakeRows`."""

    name = "add_rows"
    linear = (0,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        g, index = avals
        axis = attrs.get("axis", 0)
        check_index(self.name, index)
        if g.shape[axis : axis + index.ndim] != index.shape:
            raise ShapeError(message(self.name, "the rows do not fit the index", describe(avals)))
        return g.with_shape((*g.shape[:axis], attrs["n"], *g.shape[axis + index.ndim :]))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        g, index = xs
        axis = attrs.get("axis", 0)
        work = g.astype(np.float32) if g.dtype in dt.HALF_NP else g
        work = blocks(work, axis, index.ndim, 0)
        rest = work.shape[index.ndim :]
        out = sum_rows(work.reshape(index.size, *rest), np.asarray(index).reshape(-1), attrs["n"])
        out = out if out.dtype is g.dtype else out.astype(g.dtype)
        return np.moveaxis(out, 0, axis) if axis else out

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0], xs[1], **attrs)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["take_rows"](g, xs[1], axis=attrs.get("axis", 0))

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        g, index = xs
        n, axis = attrs["n"], attrs.get("axis", 0)
        g = to_front(g, dims[0], size)
        if dims[1] is None:
            return self(g, index, n=n, axis=axis + 1), 0
        index = to_front(index, dims[1], size)
        g = blocks(g, axis + 1, len(shape_of(index)) - 1, 1)
        out = unmerged(self(g, lanes(index, size, n), n=n * size), size)
        return moved(out, 1, axis + 1), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(5, 2), np.array([2, 0, 2, -1, 2]), attrs={"n": 4}, label="repeated and negative")
        yield Sample(floats(6, 2), np.array([1, 1, 1, 1, 0, 1]), attrs={"n": 3}, label="often repeated")
        yield Sample(floats(2, 2, 3), np.array([[0, 1], [3, 2]]), attrs={"n": 4}, label="matrix of indices")
        yield Sample(floats(2, 2, 2, 2), np.array([[0, 1], [2, 1]]), attrs={"n": 3, "axis": 1}, label="inner axis")
        yield Sample(floats(4), np.array([1, 1, 0, 1], np.int32), attrs={"n": 2})
        yield Sample(floats(), np.array(1), attrs={"n": 2}, label="0-d")
        yield Sample(floats(0, 2), np.zeros((0,), np.int64), attrs={"n": 3}, label="no index")
        yield Sample(complexes(3), np.array([1, 1, 0]), attrs={"n": 2})


class PutRows(Linear):
    """``base`` with the rows of ``value`` written at ``index``; of equal indices the last one wins.

    ``unique``: no index comes twice, which makes the derivative cheaper.
    """

    name = "put_rows"
    linear = (0, 2)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        base, index, value = avals
        check_index(self.name, index)
        if not base.ndim or (*index.shape, *base.shape[1:]) != value.shape or base.dtype != value.dtype:
            raise ShapeError(message(self.name, "the rows do not fit base and index", describe(avals)))
        return base

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        base, index, value = xs
        out = np.array(base, order="C")
        try:
            out[index] = value
        except IndexError:
            raise out_of_range(self.name, index, base.shape[0]) from None
        return out

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        base, value = (zeros_like(x) if t is None else t for t, x in ((ts[0], xs[0]), (ts[2], xs[2])))
        return self(base, xs[1], value, **attrs)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        base, index, value = xs
        if i == 0:
            return self(g, index, zeros_like(value), **attrs)
        rows = OPS["take_rows"](g, index)
        if attrs.get("unique"):
            return rows
        return OPS["where"](self._winners(base, index, value), rows, zeros_like(rows))

    def _winners(self, base: Any, index: Any, value: Any) -> Any:
        """Which rows were not written over by a later one, spread over the rows."""
        ishape, vshape = shape_of(index), shape_of(value)
        count = constant(np.arange(math.prod(ishape)).reshape(ishape), index)
        slots = constant(np.zeros(shape_of(base)[0], np.int64), index)
        won = OPS["take_rows"](self(slots, index, count), index) == count
        axes = tuple(range(len(ishape), len(vshape)))
        return OPS["expand"](won, shape=vshape, axes=axes) if axes else won

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        base, index, value = (to_front(x, d, size) for x, d in zip(xs, dims, strict=True))
        n = shape_of(base)[1]
        return unmerged(self(merged(base), lanes(index, size, n), value, **attrs), size), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(4, 2), np.array([2, 0, -1]), floats(3, 2, seed=1))
        yield Sample(floats(4), np.array([2, 0, 2, 0]), floats(4, seed=1), label="repeated: the last wins")
        yield Sample(floats(4, 2), np.array([[2, 0], [1, 2]]), floats(2, 2, 2, seed=1), label="matrix of indices")
        yield Sample(floats(4), np.array([2, 0]), floats(2, seed=1), attrs={"unique": True}, label="unique")
        yield Sample(floats(3), np.array(1), floats(seed=1), label="0-d")
        yield Sample(floats(3, 2), np.zeros((0,), np.int64), floats(0, 2), label="no index")
        yield Sample(complexes(3), np.array([1, 1]), complexes(2, seed=1))


class MaxRows(Op):
    """Elements of ``base`` at ``index`` raised to the largest ``value`` that is sent there (all one-dimensional).

    ``largest`` False: lowered to the smallest. ``include_self`` False: an element to which something is
    sent does not count itself. Ties share the adjoint equally; NaN wins.
    """

    name = "max_rows"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        base, index, value = avals
        check_index(self.name, index)
        if base.ndim != 1 or index.ndim != 1 or value.shape != index.shape or base.dtype != value.dtype:
            raise ShapeError(message(self.name, "needs vectors of one dtype, one index a value", describe(avals)))
        return base

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        base, index, value = xs
        n = base.shape[0]
        if index.size and (index.min() < -n or index.max() >= n):
            raise out_of_range(self.name, index, n)
        out = np.array(base)
        if not attrs["include_self"]:
            out[index] = value
        (np.maximum if attrs["largest"] else np.minimum).at(out, index, value)
        return out

    def _weights(self, out: Any, base: Any, index: Any, value: Any, include_self: bool) -> tuple[Any, Any]:
        """The local derivatives with respect to base and value."""
        cast, dtype = OPS["cast"], dtype_of(base)
        mine = cast(base == out, dtype=dtype)
        if not include_self:
            hits = OPS["add_rows"](OPS["fill"](value, value=1), index, n=shape_of(base)[0])
            mine = OPS["where"](hits == 0, mine, zeros_like(mine))
        theirs = cast(value == OPS["take_rows"](out, index), dtype=dtype)
        count = mine + OPS["add_rows"](theirs, index, n=shape_of(base)[0])
        return mine / count, theirs / OPS["take_rows"](count, index)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        base, index, value = xs
        mine, theirs = self._weights(out, base, index, value, attrs["include_self"])
        sent = None if ts[2] is None else OPS["add_rows"](ts[2] * theirs, index, n=shape_of(base)[0])
        return total((None if ts[0] is None else ts[0] * mine, sent))

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        base, index, value = xs
        mine, theirs = self._weights(out, base, index, value, attrs["include_self"])
        return [g * mine if need[0] else None, None, OPS["take_rows"](g, index) * theirs if need[2] else None]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        base, index, value = (to_front(x, d, size) for x, d in zip(xs, dims, strict=True))
        out = self(merged(base), merged(lanes(index, size, shape_of(base)[1])), merged(value), **attrs)
        return unmerged(out, size), 0

    def samples(self) -> Iterable[Sample]:
        index = np.array([2, 0, 2, -1])
        for largest in (True, False):
            for own in (True, False):
                attrs = {"largest": largest, "include_self": own}
                yield Sample(floats(4), index, floats(4, seed=1), attrs=attrs)
        attrs = {"largest": True, "include_self": True}
        yield Sample(np.array([2.0, 1.0]), np.array([0, 0, 1]), np.array([2.0, 2.0, 0.0]), attrs=attrs, numeric=False,
                     label="ties")  # fmt: skip
        yield Sample(floats(2), np.zeros(0, np.int64), floats(0), attrs=attrs, label="no index")

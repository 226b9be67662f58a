"""Scans: results that run along an axis.

The derivatives of products rest on one op, the linear recurrence, whose own derivative is again one;
nothing is ever divided, so that zeros are right in every mode and order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ShapeError, message
from ..graph.aval import Aval, describe
from .base import OPS, Linear, Opaque, Sample, conj, shape_of, to_front, total
from .heavy import large
from .reduce import ZEROS, widened
from .sort import Selection
from .testpoints import complexes, floats, noncontiguous

SEQUENTIAL = 32  # up to this length a recurrence runs step by step, beyond it by doubling


def shifted(x: Any, axis: int, value: float, reverse: bool) -> Any:
    """Each element's predecessor along ``axis`` (its successor if ``reverse``); the first gets ``value``."""
    shape = shape_of(x)
    n = shape[axis]
    whole = [(0, k, 1) for k in shape]
    early, late = list(whole), list(whole)
    early[axis], late[axis] = (0, max(n - 1, 0), 1), (min(1, n), n, 1)
    source, target = (tuple(late), tuple(early)) if reverse else (tuple(early), tuple(late))
    moved = OPS["slice"](x, spec=source)
    if value == 0:
        return OPS["unslice"](moved, spec=target, shape=shape)
    return OPS["set_slice"](OPS["fill"](x, value=value), moved, spec=target)


def flipped(x: Any, axis: int) -> Any:
    """A view of a bare array, last element first."""
    return np.flip(x, axis)


def scan_samples() -> Iterable[Sample]:
    """A line, both directions, an inner axis with strides, a single element, nothing."""
    yield Sample(floats(5), attrs={"axis": 0, "reverse": False})
    yield Sample(floats(4, 3), attrs={"axis": 0, "reverse": True}, label="reverse")
    yield Sample(noncontiguous(2, 3), attrs={"axis": 1, "reverse": False}, label="non-contiguous")
    yield Sample(floats(2, 1), attrs={"axis": 1, "reverse": False}, label="one element")
    yield Sample(floats(2, 0), attrs={"axis": 1, "reverse": False}, label="empty")
    yield Sample(complexes(2, 3), attrs={"axis": 1, "reverse": False})


class Cumsum(Linear):
    """Running sum along ``axis``, from the end if ``reverse``."""

    name = "cumsum"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        found = large(self, xs, attrs)
        return accumulate(np.add, xs[0], attrs["axis"], attrs["reverse"]) if found is None else found

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return self(g, axis=attrs["axis"], reverse=not attrs["reverse"])

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return along_batch(self, size, xs, dims, attrs)

    def samples(self) -> Iterable[Sample]:
        yield from scan_samples()
        yield Sample(np.array([1, 2, 3]), attrs={"axis": 0, "reverse": False}, label="integers")


def accumulate(ufunc: Any, x: Any, axis: int, reverse: bool) -> Any:
    """A ufunc's running result in the dtype of ``x``; half precision runs in float32."""
    wide = widened(x)
    if reverse:
        wide = flipped(wide, axis)
    out = ufunc.accumulate(wide, axis=axis, dtype=wide.dtype)
    if reverse:
        out = flipped(out, axis)
    return out if out.dtype is x.dtype else out.astype(x.dtype)


def along_batch(op: Any, size: int, xs: Any, dims: Any, attrs: dict[str, Any]) -> tuple[Any, Any]:
    """The batch rule of an op along one ``axis``: the mapped axis in front moves it by one."""
    fronted = [to_front(x, d, size) for x, d in zip(xs, dims, strict=True)]
    return op(*fronted, **{**attrs, "axis": attrs["axis"] + 1}), 0


class LinearRecurrence(Opaque):
    """h[i] = a[i] h[i-1] + b[i] along ``axis``, h[-1] = 0; from the end if ``reverse``.

    Its tangent is the same recurrence with another ``b``, its adjoint the same one backwards.
    """

    name = "linear_recurrence"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        if avals[0] != avals[1]:
            raise ShapeError(message(self.name, "both operands must have one shape and dtype", describe(avals)))
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        found = large(self, xs, attrs)
        if found is not None:
            return found
        axis, reverse, dtype = attrs["axis"], attrs["reverse"], xs[0].dtype
        a, b = (np.moveaxis(widened(x), axis, 0) for x in xs)
        if reverse:
            a, b = a[::-1], b[::-1]
        h = recurrence_by_doubling(a, b) if len(a) > SEQUENTIAL else None
        if h is None:
            h = recurrence_by_steps(a, b)
        h = np.ascontiguousarray(np.moveaxis(h[::-1] if reverse else h, 0, axis))
        return h if h.dtype is dtype else h.astype(dtype)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        da, db = ts
        moved = None if da is None else da * shifted(out, attrs["axis"], 0, attrs["reverse"])
        return self(xs[0], total((moved, db)), **attrs)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        axis, reverse = attrs["axis"], attrs["reverse"]
        adjoint = recurrence_adjoint(xs[0], g, axis, reverse)
        ga = adjoint * conj(shifted(out, axis, 0, reverse)) if need[0] else None
        return [ga, adjoint]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return along_batch(self, size, xs, dims, attrs)

    def samples(self) -> Iterable[Sample]:
        for s in scan_samples():
            a = s.arrays[0]
            b = complexes(*a.shape, seed=1) if a.dtype.kind == "c" else floats(*a.shape, seed=1)
            yield Sample(a, b, attrs=s.attrs, label=s.label)
        yield Sample(ZEROS, floats(4, 3), attrs={"axis": 1, "reverse": False}, label="zeros")
        yield Sample(floats(40), floats(40, seed=1), attrs={"axis": 0, "reverse": True}, label="long: doubling")


def recurrence_adjoint(a: Any, g: Any, axis: int, reverse: bool) -> Any:
    """Adjoint of ``b``: what reaches h[i] directly, and through all later ones."""
    later = conj(shifted(a, axis, 0, not reverse))
    return OPS["linear_recurrence"](later, g, axis=axis, reverse=not reverse)


def recurrence_by_steps(a: Any, b: Any) -> Any:
    """The recurrence along axis 0, one row after the other."""
    h = np.array(b)
    for i in range(1, len(h)):
        h[i] += a[i] * h[i - 1]
    return h


def recurrence_by_doubling(a: Any, b: Any) -> Any:
    """The same in log2(n) vector steps (Hillis and Steele); None where a product left the range."""
    a, h = np.array(a), np.array(b)
    step, n = 1, len(h)
    while step < n:
        h[step:] += a[step:] * h[:-step]
        a[step:] *= a[:-step].copy()
        step *= 2
    return h if np.isfinite(h).all() else None


class Cumprod(Opaque):
    """Running product along ``axis``, from the end if ``reverse``."""

    name = "cumprod"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        found = large(self, xs, attrs)
        return accumulate(np.multiply, xs[0], attrs["axis"], attrs["reverse"]) if found is None else found

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        before = shifted(out, attrs["axis"], 1, attrs["reverse"])
        return OPS["linear_recurrence"](xs[0], before * ts[0], **attrs)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        axis, reverse = attrs["axis"], attrs["reverse"]
        before = shifted(out, axis, 1, reverse)
        return [recurrence_adjoint(xs[0], g, axis, reverse) * conj(before)]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return along_batch(self, size, xs, dims, attrs)

    def samples(self) -> Iterable[Sample]:
        yield from scan_samples()
        yield Sample(ZEROS, attrs={"axis": 1, "reverse": False}, label="no, one, two and three zeros")
        yield Sample(ZEROS, attrs={"axis": 0, "reverse": True}, label="zeros, reverse")
        yield Sample(np.array([2, 0, 3]), attrs={"axis": 0, "reverse": False}, label="integers")


class Logcumsumexp(Opaque):
    """log of the running sum of exp(x) along ``axis``, without overflow.

    y[i] = logaddexp(y[i-1], x[i]), so its tangent is a linear recurrence with weights in [0, 1].
    """

    name = "logcumsumexp"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        found = large(self, xs, attrs)
        return accumulate(np.logaddexp, xs[0], attrs["axis"], attrs["reverse"]) if found is None else found

    @staticmethod
    def shares(out: Any, x: Any, axis: int, reverse: bool) -> tuple[Any, Any]:
        """How much of each result comes from its predecessor, and how much from its own input."""
        where, fill = OPS["where"], OPS["fill"]
        before = shifted(out, axis, -np.inf, reverse)
        fits = OPS["isfinite"](out)  # a sum of nothing, or an overflow, passes nothing on
        zero = fill(out, value=0)
        safe = where(fits, out, zero)
        parts = [where(fits, OPS["exp"](where(fits, part, zero) - safe), zero) for part in (before, x)]
        return parts[0], parts[1]

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        kept, own = self.shares(out, xs[0], **attrs)
        return OPS["linear_recurrence"](kept, own * ts[0], **attrs)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        kept, own = self.shares(out, xs[0], **attrs)
        return [recurrence_adjoint(kept, g, attrs["axis"], attrs["reverse"]) * own]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return along_batch(self, size, xs, dims, attrs)

    def samples(self) -> Iterable[Sample]:
        yield from [s for s in scan_samples() if s.arrays[0].dtype.kind == "f"]
        big = np.array([-np.inf, 800.0, 1.0, 801.0])
        yield Sample(big, attrs={"axis": 0, "reverse": False}, numeric=False, label="beyond exp's range")


class Cumulative(Selection):
    """Running extreme along ``axis`` and where it stands; the last of ties, NaN wins."""

    ufunc: Any

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        return avals[0], Aval(avals[0].shape, dt.NP_INT64)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, axis = xs[0], attrs["axis"]
        best = self.ufunc.accumulate(x, axis=axis)
        shape = [1] * x.ndim
        shape[axis] = -1
        places = np.arange(x.shape[axis], dtype=np.int64).reshape(shape)
        taken = np.where((best == x) | (x != x), places, 0)
        return best, np.maximum.accumulate(taken, axis=axis)

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(6), attrs={"axis": 0})
        yield Sample(noncontiguous(2, 3), attrs={"axis": 0}, label="non-contiguous")
        yield Sample(
            np.array([[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 1.0, 1.0]]),
            attrs={"axis": 1},
            numeric=False,
            label="ties",
        )
        yield Sample(np.array([3, 5, 5, 1]), attrs={"axis": 0}, label="integers")
        yield Sample(floats(2, 0), attrs={"axis": 1}, label="empty")


class Cummax(Cumulative):
    """Running maximum and where it stands; the last of ties, NaN wins."""

    name = "cummax"
    ufunc = np.maximum


class Cummin(Cumulative):
    """Running minimum and where it stands; the last of ties, NaN wins."""

    name = "cummin"
    ufunc = np.minimum


__all__ = ["accumulate", "along_batch", "recurrence_adjoint", "scan_samples", "shifted"]

"""Ops that pass values on: as they are, chosen, converted or replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.aval import Aval
from ..graph.pattern import Pattern
from .base import OPS, Linear, Op, Sample, dtype_of, to_front, zeros_like
from .testpoints import complexes, floats

_UINT32 = np.dtype(np.uint32)


class Where(Linear):
    """x where the condition holds, else y; linear in x and y."""

    name = "where"
    linear = (1, 2)
    broadcasts = True

    def scalar(self, s: Any, c: Any, x: Any, y: Any) -> Any:
        return s.where(c, x, y)

    def pattern(self, patterns: Sequence[Pattern], avals: Sequence[Aval], out: Aval, attrs: dict[str, Any]) -> Pattern:
        return Pattern.union(patterns[1:])

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        OPS["add"].infer(*[a.with_dtype(avals[1].dtype) for a in avals])
        return avals[1]

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        return np.where if avals[0].shape else lambda c, x, y: (x if c else y)[()]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return np.where(*xs)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        if ts[1] is None and ts[2] is None:
            return None
        return self(xs[0], *[zeros_like(x) if t is None else t for t, x in zip(ts[1:], xs[1:], strict=True)])

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        zero = zeros_like(g)
        return self(xs[0], g, zero) if i == 1 else self(xs[0], zero, g)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(*[to_front(x, d, size) for x, d in zip(xs, dims, strict=True)]), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(np.array([True, False, True, False]), floats(4), floats(4, seed=1))
        yield Sample(np.array([[True], [False]]), floats(2, 1), floats(2, 1, seed=1))
        yield Sample(np.array(True), floats(), floats(seed=1), label="0-d")
        yield Sample(np.zeros((0, 2), bool), floats(0, 2), floats(0, 2), label="empty")
        yield Sample(np.array([True, False, True]), complexes(3), complexes(3, seed=1))


class Cast(Linear):
    """Convert to another dtype (``dtype`` is NumPy's). Complex to real keeps the real part.

    A float that does not fit an integer dtype gives what the processor gives; on x86-64, also in compiled code, the low
    bits of an int32 or int64, which is its least number where that does not fit either.
    """

    name = "cast"

    def pattern(self, patterns: Sequence[Pattern], avals: Sequence[Aval], out: Aval, attrs: dict[str, Any]) -> Pattern:
        return Pattern.union(patterns[:1])

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0].with_dtype(attrs["dtype"])

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        source, dtype = avals[0].dtype, attrs["dtype"]
        plain = source not in dt.COMPLEX_NP and dtype != _UINT32
        return (lambda x: x.astype(dtype)) if plain else super().kernel(avals, attrs)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, dtype = xs[0], attrs["dtype"]
        if x.dtype in dt.COMPLEX_NP and dtype not in dt.COMPLEX_NP and dtype != dt.NP_BOOL:
            x = x.real
        if dtype == _UINT32 and x.dtype in dt.INEXACT_NP:  # NumPy has two ways for it, and they differ
            x = x.astype(np.int64)
        return x.astype(dtype, order="C" if 0 in x.strides else "K")  # repeated elements: row by row, as PyTorch

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0], **attrs) if attrs["dtype"] in dt.INEXACT_NP else None

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        source = dtype_of(xs[0])
        if source not in dt.INEXACT_NP or attrs["dtype"] not in dt.INEXACT_NP:
            return [None]
        return [self(g, dtype=source)]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(xs[0], **attrs), dims[0]

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3), attrs={"dtype": np.dtype("float64")})
        yield Sample(np.array([1.5, -2.5, 0.0]), attrs={"dtype": np.dtype("int64")}, numeric=False)
        yield Sample(np.array([1, 0, 3]), attrs={"dtype": np.dtype("float64")})
        yield Sample(floats(3), attrs={"dtype": np.dtype("complex128")}, label="real to complex")
        yield Sample(complexes(3), attrs={"dtype": np.dtype("float64")}, label="complex to real")


class Fill(Op):
    """A constant shaped like the input (``value`` in the input's dtype, or in ``dtype``); no derivative."""

    name = "fill"
    differentiable = False
    expands = True

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0].with_dtype(attrs.get("dtype", avals[0].dtype))

    def small(self, out: Aval, attrs: dict[str, Any]) -> Any:
        return np.full((), attrs["value"], out.dtype)[()]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return np.full(xs[0].shape, attrs["value"], attrs.get("dtype", xs[0].dtype))

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return None

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [None]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(xs[0], **attrs), dims[0]

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2, 3), attrs={"value": 2.5})
        yield Sample(floats(0), attrs={"value": 0}, label="empty")


class Identity(Linear):
    """The input itself as a new node: what a transform differentiates with respect to."""

    picks = True

    name = "identity"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0]

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return g

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return xs[0], dims[0]

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3))
        yield Sample(complexes(2))


class StopGradient(Op):
    """The input as a constant: ``detach``."""

    name = "stop_gradient"
    differentiable = False

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0]

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return None

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [None]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(xs[0]), dims[0]

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3))


class Substitute(Linear):
    """The second input, with the gradient of the first: an update made while grad mode was off."""

    name = "substitute"
    linear = (0,)

    def pattern(self, patterns: Sequence[Pattern], avals: Sequence[Aval], out: Aval, attrs: dict[str, Any]) -> Pattern:
        return Pattern.union(patterns[:1])

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[1]

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return ts[0]

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return g

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(*[to_front(x, d, size) for x, d in zip(xs, dims, strict=True)]), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3), floats(3, seed=1), wrt=(0,), numeric=False)

"""Joining: concatenation and padding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, message
from ..graph.aval import Aval, describe
from .base import OPS, Linear, Sample, shape_of, to_front, zeros_like
from .movement import filled_like
from .testpoints import complexes, floats, noncontiguous


class Cat(Linear):
    """One after the other along ``axis``; dtypes and all other sizes agree."""

    picks = True

    name = "cat"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        axis, first = attrs["axis"], avals[0]
        if first.ndim == 0:
            raise ShapeError(message("cat", "0-d tensors cannot be joined", describe(avals), "Use stack"))
        for a in avals[1:]:
            if a.dtype != first.dtype:
                raise DTypeError(message("cat", "operands must have one dtype", describe(avals)))
            if a.ndim != first.ndim or any(
                m != n for i, (m, n) in enumerate(zip(a.shape, first.shape, strict=True)) if i != axis
            ):
                raise ShapeError(message("cat", f"sizes must match except in dimension {axis}", describe(avals)))
        size = sum(a.shape[axis] for a in avals)
        return first.with_shape((*first.shape[:axis], size, *first.shape[axis + 1 :]))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return np.concatenate(xs, axis=attrs["axis"])

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(*[zeros_like(x) if t is None else t for t, x in zip(ts, xs, strict=True)], **attrs)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        axis = attrs["axis"]
        spec = [(0, n, 1) for n in shape_of(g)]
        grads: list[Any] = []
        start = 0
        for x, n in zip(xs, need, strict=True):
            stop = start + shape_of(x)[axis]
            spec[axis] = (start, stop, 1)
            grads.append(OPS["slice"](g, spec=tuple(spec)) if n else None)
            start = stop
        return grads

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(*[to_front(x, d, size) for x, d in zip(xs, dims, strict=True)], axis=attrs["axis"] + 1), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2), floats(3, seed=1), floats(1, seed=2), attrs={"axis": 0})
        yield Sample(floats(2, 3), noncontiguous(2, 2), attrs={"axis": 1})
        yield Sample(floats(0, 3), floats(2, 3), attrs={"axis": 0}, label="empty")
        yield Sample(floats(3), attrs={"axis": 0}, label="one operand")
        yield Sample(complexes(2), complexes(1, seed=1), attrs={"axis": 0})


class Pad(Linear):
    """Put ``value`` around: ``pads`` has (before, after) for each axis, none negative."""

    picks = True

    name = "pad"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, pads = avals[0], attrs["pads"]
        if len(pads) != x.ndim or any(p < 0 for pair in pads for p in pair):
            raise ShapeError(message("pad", "one pair of sizes a dimension is needed, none negative", f"{x}, {pads}"))
        return x.with_shape(tuple(a + n + b for n, (a, b) in zip(x.shape, pads, strict=True)))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, pads = xs[0], attrs["pads"]
        shape = [a + n + b for n, (a, b) in zip(x.shape, pads, strict=True)]
        out = filled_like(x, shape, attrs.get("value", 0))
        out[tuple([slice(a, a + n) for n, (a, _) in zip(x.shape, pads, strict=True)])] = x
        return out

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0], pads=attrs["pads"])

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        sizes = zip(shape_of(xs[0]), attrs["pads"], strict=True)
        return OPS["slice"](g, spec=tuple((a, a + n, 1) for n, (a, _) in sizes))

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x = to_front(xs[0], dims[0], size)
        return self(x, **{**attrs, "pads": ((0, 0), *attrs["pads"])}), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3), attrs={"pads": ((1, 2),)})
        yield Sample(noncontiguous(2, 3), attrs={"pads": ((0, 1), (2, 0)), "value": 2.5})
        yield Sample(floats(0, 2), attrs={"pads": ((1, 0), (0, 0))}, label="empty")
        yield Sample(floats(), attrs={"pads": ()}, label="0-d")
        yield Sample(complexes(2), attrs={"pads": ((1, 1),), "value": 1})

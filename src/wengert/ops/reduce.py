"""Reductions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from .base import OPS, Reduce, Sample, dtype_of, shape_of
from .testpoints import complexes, floats, noncontiguous


class Sum(Reduce):
    """Sum over axes; half precision is summed in float32."""

    name = "sum"

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        if x.dtype in dt.HALF_NP:
            x = x.astype(np.float32)
        return np.add.reduce(x, axis=axes, dtype=x.dtype)

    def weights(self, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
        return None

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0], **attrs)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [self.spread(g, xs[0], attrs["axes"])]

    def samples(self) -> Iterable[Sample]:
        yield from reduce_samples()
        yield Sample(complexes(2, 3), attrs={"axes": (1,)})


def reduce_samples() -> Iterable[Sample]:
    """Axes of every sort: one, several, all, none, an empty one."""
    yield Sample(floats(4), attrs={"axes": (0,)})
    yield Sample(floats(2, 3, 2), attrs={"axes": (0, 2)})
    yield Sample(noncontiguous(2, 3), attrs={"axes": (1,)}, label="non-contiguous")
    yield Sample(floats(2, 3), attrs={"axes": ()}, label="no axes")
    yield Sample(floats(), attrs={"axes": ()}, label="0-d")


class Amax(Reduce):
    """Largest value; ties share the adjoint equally. NaN wins."""

    name = "amax"

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        return np.maximum.reduce(x, axis=axes)

    def weights(self, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
        return tie_weights(out, x, axes)

    def samples(self) -> Iterable[Sample]:
        yield from reduce_samples()
        yield Sample(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), attrs={"axes": (1,)}, numeric=False, label="ties")


class Amin(Reduce):
    """Smallest value; ties share the adjoint equally. NaN wins."""

    name = "amin"

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        return np.minimum.reduce(x, axis=axes)

    def weights(self, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
        return tie_weights(out, x, axes)

    def samples(self) -> Iterable[Sample]:
        yield from reduce_samples()
        yield Sample(np.array([[1.0, 1.0, 3.0], [2.0, 2.0, 2.0]]), attrs={"axes": (1,)}, numeric=False, label="ties")


def tie_weights(out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """One over the number of ties where ``x`` attains ``out``, else zero."""
    hit = OPS["cast"](x == out, dtype=dtype_of(x))
    count = OPS["expand"](OPS["sum"](hit, axes=axes), shape=shape_of(x), axes=axes) if axes else hit
    return hit / count

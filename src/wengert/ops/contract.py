"""Contractions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ShapeError, message
from ..graph.aval import Aval, describe
from .base import OPS, Linear, Sample, conj, shape_of, to_front
from .testpoints import complexes, floats, noncontiguous


def swap_last(x: Any) -> Any:
    """Swap the last two axes."""
    n = len(shape_of(x))
    return OPS["permute"](x, order=(*range(n - 2), n - 1, n - 2))


class MatMul(Linear):
    """(..., m, k) @ (..., k, n); leading axes are equal (the front broadcasts first).

    Half precision is multiplied and summed in float32 and rounded once.
    """

    name = "matmul"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, y = avals
        if x.ndim < 2 or y.ndim < 2 or x.shape[:-2] != y.shape[:-2]:
            raise ShapeError(message("matmul", "needs matrices with equal batch dimensions", describe(avals)))
        if x.shape[-1] != y.shape[-2]:
            cure = "Did you mean y.mT?" if x.shape[-1] == y.shape[-1] else ""
            raise ShapeError(message("matmul", "inner sizes differ", f"{x} @ {y}", cure))
        return x.with_shape((*x.shape[:-1], y.shape[-1]))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, y = xs
        dtype = x.dtype
        if dtype in dt.HALF_NP:
            return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(dtype)
        return np.matmul(x, y)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        x, y = xs
        return self(g, conj(swap_last(y))) if i == 0 else self(conj(swap_last(x)), g)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(*[to_front(x, d, size) for x, d in zip(xs, dims, strict=True)]), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2, 3), floats(3, 4, seed=1))
        yield Sample(floats(2, 2, 3), floats(2, 3, 1, seed=1), label="batched")
        yield Sample(noncontiguous(2, 3), noncontiguous(3, 2, seed=1), label="non-contiguous")
        yield Sample(floats(2, 0), floats(0, 3), label="empty inner")
        yield Sample(floats(0, 2), floats(2, 3), label="empty outer")
        yield Sample(complexes(2, 2), complexes(2, 3, seed=1))

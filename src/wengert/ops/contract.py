"""Contractions: the matrix product, and what is built from movements around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, ShapeError, message
from ..graph.aval import Aval, describe
from ..graph.pattern import Pattern, reduced_index
from .base import OPS, Linear, Sample, conj, shape_of, to_front
from .heavy import wide_product
from .testpoints import complexes, floats, noncontiguous


def swap_last(x: Any) -> Any:
    """Swap the last two axes."""
    if type(x) is np.ndarray:
        return x.swapaxes(-1, -2)  # the same view at a third of the time
    n = len(shape_of(x))
    return OPS["permute"](x, order=(*range(n - 2), n - 1, n - 2))


class MatMul(Linear):
    """(..., m, k) @ (..., k, n); leading axes are equal (the front broadcasts first).

    Half precision is multiplied and summed in float32 and rounded once. ``order``, which the compiler chooses: the
    result's axes are permuted so, as memory should hold them.
    """

    name = "matmul"

    def pattern(self, patterns: Sequence[Pattern], avals: Sequence[Aval], out: Aval, attrs: dict[str, Any]) -> Pattern:
        """Element (i, j) depends on row i of the first operand and column j of the second."""
        parts: list[Pattern] = []
        for p, a, axis in zip(patterns, avals, (-1, -2), strict=True):
            lines = tuple(n for k, n in enumerate(a.shape) if k != a.ndim + axis)
            rows = p.group(reduced_index(a.shape, (a.ndim + axis,)), int(np.prod(lines, dtype=np.int64)))
            numbers = np.expand_dims(np.arange(rows.rows).reshape(lines), axis)
            parts.append(rows.gather(np.broadcast_to(numbers, out.shape)))
        return Pattern.union(parts)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, y = avals
        if x.dtype != y.dtype:
            raise DTypeError(
                message(
                    "matmul",
                    "operands must have one dtype",
                    describe(avals),
                    "Convert one with y.to(x.dtype)",
                )
            )
        if x.ndim < 2 or y.ndim < 2 or x.shape[:-2] != y.shape[:-2]:
            raise ShapeError(message("matmul", "needs matrices with equal batch dimensions", describe(avals)))
        if x.shape[-1] != y.shape[-2]:
            cure = "Perhaps y.mT is meant" if x.shape[-1] == y.shape[-1] else ""
            raise ShapeError(message("matmul", "inner sizes differ", f"{x} @ {y}", cure))
        shape = (*x.shape[:-1], y.shape[-1])
        return x.with_shape(tuple([shape[i] for i in attrs["order"]]) if "order" in attrs else shape)

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        """NumPy's product itself, where that is what `numpy` would come to."""
        x, y = avals
        if attrs or x.dtype in dt.HALF_NP or _is_heavy(x, y):
            return super().kernel(avals, attrs)
        return np.ndarray.dot if x.ndim == 2 and x.dtype in dt.INEXACT_NP else np.matmul

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, y = xs
        if "order" in attrs:
            return self.numpy(x, y).transpose(attrs["order"])
        dtype = x.dtype
        found = wide_product(self, x, y) if _is_heavy(x, y) else None
        if found is not None:
            return found
        if dtype in dt.HALF_NP:
            return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(dtype)
        # Of two matrices `dot` has the same bits as `matmul`; of small ones in half of the time.
        return x.dot(y) if x.ndim == 2 and dtype in dt.INEXACT_NP else np.matmul(x, y)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        x, y = xs
        return self(g, conj(swap_last(y))) if i == 0 else self(conj(swap_last(x)), g)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x, y = xs
        if dims[1] is None and len(shape_of(y)) == 2:  # one matrix for all: a single product of tall matrices
            x = to_front(x, dims[0], size)
            _, m, k = shape_of(x)
            tall = self(OPS["reshape"](x, shape=(size * m, k)), y)
            return OPS["reshape"](tall, shape=(size, m, shape_of(y)[1])), 0
        return self(*[to_front(v, d, size) for v, d in zip(xs, dims, strict=True)]), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2, 3), floats(3, 4, seed=1))
        yield Sample(floats(2, 2, 3), floats(2, 3, 1, seed=1), label="batched")
        yield Sample(noncontiguous(2, 3), noncontiguous(3, 2, seed=1), label="non-contiguous")
        yield Sample(floats(2, 0), floats(0, 3), label="empty inner")
        yield Sample(floats(0, 2), floats(2, 3), label="empty outer")
        yield Sample(complexes(2, 2), complexes(2, 3, seed=1))


PRODUCTS = 1 << 24  # multiplications from which on a kernel soon wins back the time it takes to be compiled


def _is_heavy(x: Any, y: Any) -> bool:
    """Whether a product, of arrays or avals, is one for kernels."""
    return x.dtype in (dt.NP_FLOAT32, dt.NP_FLOAT64, dt.bfloat16.np) and x.size * y.shape[-1] >= PRODUCTS


def diagonal_spec(m: int, n: int, offset: int) -> tuple[int, int, int]:
    """Where a diagonal of an m by n matrix lies among its elements in row-major order."""
    length = min(m, n - offset) if offset >= 0 else min(m + offset, n)
    if length <= 0:
        return (0, 0, 1)
    start = offset if offset >= 0 else -offset * n
    return (start, start + (length - 1) * (n + 1) + 1, n + 1)


def diagonal_of(x: Any, offset: int = 0) -> Any:
    """A diagonal of the last two axes: a strided slice of the flattened matrix."""
    *lead, m, n = shape_of(x)
    flat = OPS["reshape"](x, shape=(*lead, m * n))
    return OPS["slice"](flat, spec=(*[(0, k, 1) for k in lead], diagonal_spec(m, n, offset)))


def embed_diagonal(v: Any, m: int, n: int, offset: int = 0) -> Any:
    """Zero matrices of m by n with the last axis of ``v`` on a diagonal: the transpose of `diagonal_of`."""
    lead = shape_of(v)[:-1]
    spec = (*[(0, k, 1) for k in lead], diagonal_spec(m, n, offset))
    return OPS["reshape"](OPS["unslice"](v, spec=spec, shape=(*lead, m * n)), shape=(*lead, m, n))

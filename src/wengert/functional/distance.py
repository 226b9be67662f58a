"""Distances and similarities of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import apply, wrap
from ..ops.base import OPS
from .activation import pick, wide_formula
from .dims import keep, normal_dim, spread
from .front import broadcast_shape, expand_to, promote
from .reduction import root, vector_norm_formula


def _floating(name: str, *xs: Any) -> list[Any]:
    out = promote(name, xs)
    if out[0].aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message(name, "needs floating tensors", describe(x.aval for x in out), "Use x.float()"))
    return out


def _broadcast(name: str, *xs: Any) -> list[Any]:
    shape = broadcast_shape(name, [x.aval for x in xs])
    return [expand_to(x, shape) for x in xs]


def _norm(d: Any, p: float, axes: tuple[int, ...]) -> Any:
    """The norm over the axes; 0 of vectors without elements."""
    return vector_norm_formula(d, p if d.aval.size else 1.0, axes)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """Dot product of the directions of two vectors along ``dim``; the tensors are broadcast.

    Norms are taken to be at least ``eps``; the gradient ignores that.

    >>> import wengert as wg
    >>> wg.nn.functional.cosine_similarity(wg.tensor([1.0, 0.0]), wg.tensor([1.0, 1.0]), dim=0)
    tensor(0.7071)
    """
    x1, x2 = _broadcast("cosine_similarity", *_floating("cosine_similarity", x1, x2))
    return _cosine_similarity(x1, x2, normal_dim("cosine_similarity", dim, len(x1.aval.shape)), eps)


@wide_formula
def _cosine_similarity(x: Any, y: Any, axis: int, eps: float) -> Any:
    axes = (axis,) if x.aval.shape else ()

    def direction(v: Any) -> Any:
        size = root(OPS["sum"](v * v, axes=axes), 2)
        size = size + OPS["stop_gradient"](pick(size < eps, eps, size) - size)
        return v / spread(size, v, axes)

    return OPS["sum"](direction(x) * direction(y), axes=axes)


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The norm of order ``p`` of ``x1 - x2 + eps`` along the last dimension.

    >>> import wengert as wg
    >>> wg.nn.functional.pairwise_distance(wg.tensor([[3.0, 4.0]]), wg.tensor([[0.0, 0.0]]))
    tensor([5.0000])
    """
    x1, x2 = _broadcast("pairwise_distance", *_floating("pairwise_distance", x1, x2))
    return _pairwise_distance(x1, x2, float(p), eps, keepdim)


@wide_formula
def _pairwise_distance(x: Any, y: Any, p: float, eps: float, keepdim: bool) -> Any:
    d = x - y + eps
    axes = (len(d.aval.shape) - 1,) if d.aval.shape else ()
    return keep(d, _norm(d, p, axes), axes, keepdim)


def pdist(input: Any, p: float = 2.0) -> Any:
    """Distances of all pairs of rows i < j of a matrix, in the order (0, 1), (0, 2), …, (1, 2), and so on.

    >>> import wengert as wg
    >>> wg.nn.functional.pdist(wg.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    tensor([5.0000, 1.0000, 4.2426])
    """
    (input,) = _floating("pdist", input)
    shape = input.aval.shape
    if len(shape) != 2:
        raise ShapeError(message("pdist", "needs a matrix", str(input.aval)))
    if p < 0:
        raise ArgumentError(message("pdist", "p must not be negative", str(p)))
    i, j = (wrap(k) for k in np.triu_indices(shape[0], 1))
    d = apply(OPS["take_rows"], (input, i)) - apply(OPS["take_rows"], (input, j))
    return _norm(d, float(p), (1,))


__all__ = ["cosine_similarity", "pairwise_distance", "pdist"]

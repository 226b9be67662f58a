"""Triangles and diagonals of matrices: kept, made, and where they stand."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, ShapeError, message
from ..graph.handle import apply, wrap
from ..ops.base import OPS
from .front import expand_to
from .parts import diagonal, diagonal_attrs
from .reduction import normal_dim
from .shape import reshape

_diagonal = diagonal  # which arguments hide


def _triangle(name: str, x: Any, keep: Any) -> Any:
    shape = x.aval.shape
    if len(shape) < 2:
        raise ShapeError(message(name, "needs at least two dimensions", str(x.aval)))
    mask = expand_to(wrap(keep(np.arange(shape[-2])[:, None], np.arange(shape[-1]))), shape)
    return apply(OPS["where"], (mask, x, apply(OPS["fill"], (x,), {"value": 0})))


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle of matrices, zeros elsewhere; ``diagonal`` counts upwards from the main one."""
    k = operator.index(diagonal)
    return _triangle("tril", input, lambda i, j: j - i <= k)


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle of matrices, zeros elsewhere; ``diagonal`` counts upwards from the main one."""
    k = operator.index(diagonal)
    return _triangle("triu", input, lambda i, j: j - i >= k)


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Zeros with the last dimension of the input on the diagonal of dimensions ``dim1`` and ``dim2``."""
    shape = input.aval.shape
    if not shape:
        raise ShapeError(message("diag_embed", "needs at least one dimension", str(input.aval)))
    n = len(shape) + 1
    a, b = normal_dim("diag_embed", dim1, n), normal_dim("diag_embed", dim2, n)
    if a == b:
        raise ArgumentError(message("diag_embed", "needs two different dimensions", f"{dim1} and {dim2}"))
    offset = operator.index(offset)
    side = shape[-1] + abs(offset)
    rest = iter(shape[:-1])
    full = tuple(side if i in (a, b) else next(rest) for i in range(n))
    index = OPS["strided"].positions(full, diagonal_attrs(full, offset, a, b))
    out = apply(OPS["add_rows"], (input, wrap(index)), {"n": math.prod(full)})
    return apply(OPS["reshape"], (out,), {"shape": full})


def diagflat(input: Any, offset: int = 0) -> Any:
    """A matrix with the elements of the input on a diagonal."""
    return diag_embed(reshape(input, (input.aval.size,)), offset)


def diag(input: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with a vector on its diagonal."""
    ndim = len(input.aval.shape)
    if ndim not in (1, 2):
        raise ShapeError(message("diag", "needs a vector or a matrix", str(input.aval)))
    k = operator.index(diagonal)
    return diag_embed(input, k) if ndim == 1 else apply(OPS["clone"], (_diagonal(input, k),))


def _indices(name: str, keep: Any, row: int, col: int, dtype: Any) -> Any:
    if row < 0 or col < 0:
        raise ArgumentError(message(name, "sizes must not be negative", f"{row} and {col}"))
    found = np.nonzero(keep(np.arange(row)[:, None], np.arange(col)))
    return wrap(np.stack(found).astype(dt.int64.np if dtype is None else dt.to_dtype(dtype).np))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Any:  # fmt: skip
    """Rows and columns of the lower triangle of a ``row`` x ``col`` matrix."""
    return _indices("tril_indices", lambda i, j: j - i <= offset, row, col, dtype)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Any:  # fmt: skip
    """Rows and columns of the upper triangle of a ``row`` x ``col`` matrix."""
    return _indices("triu_indices", lambda i, j: j - i >= offset, row, col, dtype)


__all__ = ["diag", "diag_embed", "diagflat", "tril", "tril_indices", "triu", "triu_indices"]

NOT_METHODS = ("tril_indices", "triu_indices")

INPLACE = ("tril", "triu")

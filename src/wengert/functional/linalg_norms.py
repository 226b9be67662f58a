"""Norms of vectors and matrices, and the condition number. The subgradient at 0 is 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.handle import apply, wrap
from ..ops.base import OPS
from ..ops.matrices import eye_like
from .dims import keep, normal_dim, normal_dims, operand, require_elements, require_floating
from .einsum import permute
from .front import cast
from .linalg_systems import checked, inv, singular_values
from .reduction import vector_norm_formula

INF = float("inf")
Dims = int | Sequence[int] | None


def _prepared(name: str, x: Any, dtype: Any) -> Any:
    """The operand, in ``dtype`` if one is given."""
    x = operand(name, x)
    require_floating(name, x)
    if dtype is None:
        return x
    target = dt.to_dtype(dtype)
    if target.category < 2 or (x.aval.dtype in dt.COMPLEX_NP and not target.is_complex):
        raise DTypeError(message(name, "the dtype cannot hold the norm", f"{x.aval}, dtype={target!r}"))
    return cast(x, target)


def vector_norm(x: Any, ord: Any = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """(sum |x|^ord)^(1/ord) over ``dim``, or over all elements.

    ``ord``: a number, inf (largest absolute value), -inf (smallest), 0 (how many are not zero). The result
    is real.

    >>> import wengert as wg
    >>> wg.linalg.vector_norm(wg.tensor([3.0, -4.0])), wg.linalg.vector_norm(wg.tensor([3.0, -4.0]), 1)
    (tensor(5.), tensor(7.))
    """
    x = _prepared("vector_norm", x, dtype)
    axes = normal_dims("vector_norm", dim, x.aval.ndim)
    order = float(ord)
    if order < 0 or order == INF:
        require_elements("vector_norm", x, dim, axes)
    return keep(x, vector_norm_formula(x, order, axes), axes, keepdim)


def matrix_norm(
    A: Any, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """Norm of the matrices over two dimensions.

    ``ord``: "fro" (root of the sum of squares), "nuc" (sum of the singular values), inf and -inf (largest
    and smallest sum of absolute values of a row), 1 and -1 (of a column), 2 and -2 (largest and smallest
    singular value).

    >>> import wengert as wg
    >>> wg.linalg.matrix_norm(wg.tensor([[1.0, -2.0], [3.0, 4.0]]), 1)
    tensor(6.)
    """
    x = _prepared("matrix_norm", A, dtype)
    if x.aval.ndim < 2 or len(dim) != 2:
        raise ShapeError(message("matrix_norm", "needs matrices over two dimensions", f"{x.aval}, dim={tuple(dim)}"))
    rows, columns = (normal_dim("matrix_norm", int(d), x.aval.ndim) for d in dim)
    if rows == columns:
        raise ArgumentError(message("matrix_norm", "the two dimensions must differ", f"dim={tuple(dim)}"))
    return keep(x, _matrix_norm(x, ord, rows, columns), tuple(sorted((rows, columns))), keepdim)


def _matrix_norm(x: Any, ord: Any, rows: int, columns: int) -> Any:
    if ord == "fro":
        return vector_norm_formula(x, 2.0, tuple(sorted((rows, columns))))
    order = ord if ord == "nuc" else float(ord) if not isinstance(ord, str) else None
    if order in ("nuc", 2.0, -2.0):
        lead = [i for i in range(x.aval.ndim) if i not in (rows, columns)]
        values = singular_values(permute(x, (*lead, rows, columns)))
        axis = values.aval.ndim - 1
        return OPS["sum"](values, axes=(axis,)) if order == "nuc" else _extreme(values, order, axis)
    if order not in (1.0, -1.0, INF, -INF):
        raise ArgumentError(
            message("matrix_norm", "no such norm", repr(ord), "Use 'fro', 'nuc', 1, -1, 2, -2, inf, -inf")
        )
    inner, outer = (rows, columns) if order in (1.0, -1.0) else (columns, rows)
    return _extreme(vector_norm_formula(x, 1.0, (inner,)), order, outer - (inner < outer))


def _extreme(values: Any, order: float, axis: int) -> Any:
    """Largest value along an axis for a positive order (0 of none), else the smallest."""
    if order > 0 and not values.aval.shape[axis]:
        return OPS["sum"](values, axes=(axis,))
    require_elements("matrix_norm", values, axis, (axis,))
    return OPS["amax" if order > 0 else "amin"](values, axes=(axis,))


def norm(A: Any, ord: Any = None, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Vector or matrix norm.

    Without ``ord`` the 2-norm over ``dim``, or of the flattened tensor. With ``ord`` a vector norm over one
    dimension and a matrix norm over two; without ``dim`` the tensor must have one or two dimensions.
    """
    x = operand("norm", A)
    if ord is None:
        return vector_norm(x, 2, dim, keepdim, dtype=dtype)
    if dim is None:
        if x.aval.ndim not in (1, 2):
            raise ShapeError(message("norm", "needs a vector or a matrix if ord is given without dim", str(x.aval)))
        dim = tuple(range(x.aval.ndim))
    count = 1 if isinstance(dim, (int, np.integer)) else len(dim)
    if count == 2:
        return matrix_norm(x, ord, dim, keepdim, dtype=dtype)  # type: ignore[arg-type]
    if isinstance(ord, str):
        raise ArgumentError(message("norm", f"{ord!r} is a norm of matrices", str(x.aval), "Give two dimensions"))
    return vector_norm(x, ord, dim, keepdim, dtype=dtype)


def cond(A: Any, p: Any = None) -> Any:
    """Condition number for a norm; inf for a singular matrix.

    ``p``: None and 2 (largest by smallest singular value), -2 (smallest by largest), and the other norms
    of `matrix_norm`, for which it is the product of the norms of A and its inverse.
    """
    x = checked("cond", A, p not in (None, 2, -2))
    if p in (None, 2, -2):
        values = singular_values(x)
        if not values.aval.shape[-1]:
            return OPS["sum"](values, axes=(values.aval.ndim - 1,))
        large, small = values.amax(-1), values.amin(-1)
        return small / large if p == -2 else large / small
    if not x.aval.shape[-1]:
        return vector_norm_formula(x, 1.0, (x.aval.ndim - 2, x.aval.ndim - 1))
    singular = apply(OPS["slogdet"], (x,))[0] == 0
    lead = x.aval.shape[:-2]
    flags = OPS["expand"](singular, shape=x.aval.shape, axes=(len(lead), len(lead) + 1))
    eye = wrap(eye_like(x, x.aval.shape[-1]))
    out = matrix_norm(x, p) * matrix_norm(inv(OPS["where"](flags, eye, x)), p)
    return OPS["where"](singular, OPS["fill"](out, value=INF), out)


__all__ = ["cond", "matrix_norm", "norm", "vector_norm"]

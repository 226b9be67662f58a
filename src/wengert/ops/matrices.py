"""What linear algebra shares: arithmetic of matrices for arrays and handles, errors of LAPACK, the ops' base.

Every op works on the last two axes and batches over the axes before them. Rules are written with
matrix products and the ops themselves, so they hold to any order. Computation is in float32,
float64, complex64 and complex128, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, ShapeError, SingularError, message
from ..graph.aval import Aval, aval_of, describe
from .base import OPS, Opaque, conj, dtype_of, shape_of, zeros_like
from .contract import swap_last

# -- arithmetic of matrices, for arrays and handles ----------------------------------------------


def mm(*factors: Any) -> Any:
    """Product of matrices, from the left."""
    out = factors[0]
    for f in factors[1:]:
        out = OPS["matmul"](out, f)
    return out


def mH(x: Any) -> Any:
    """Conjugate transpose."""
    return conj(swap_last(x))


def herm(x: Any) -> Any:
    """Hermitian part, (x + x^H) / 2."""
    return (x + mH(x)) * 0.5


def anti(x: Any) -> Any:
    """Anti-Hermitian part, (x - x^H) / 2."""
    return (x - mH(x)) * 0.5


def real(x: Any) -> Any:
    """Real part."""
    dtype = dt.of(dtype_of(x))
    return OPS["cast"](x, dtype=dtype.to_real().np) if dtype.is_complex else x


def like(x: Any, target: Any) -> Any:
    """``x`` in the dtype of ``target``; complex to real keeps the real part."""
    dtype = dtype_of(target)
    return x if dtype_of(x) == dtype else OPS["cast"](x, dtype=dtype)


def as_rows(v: Any, m: int) -> Any:
    """The vectors on the last axis as ``m`` equal rows: multiplying by it scales columns."""
    shape = shape_of(v)
    return OPS["expand"](v, shape=(*shape[:-1], m, shape[-1]), axes=(len(shape) - 1,))


def as_columns(v: Any, n: int) -> Any:
    """The vectors on the last axis as ``n`` equal columns: multiplying by it scales rows."""
    shape = shape_of(v)
    return OPS["expand"](v, shape=(*shape, n), axes=(len(shape),))


def spread(s: Any, shape: tuple[int, ...]) -> Any:
    """One number for each matrix, repeated over matrices of ``shape``."""
    return OPS["expand"](s, shape=shape, axes=(len(shape) - 2, len(shape) - 1))


def masked(x: Any, mask: Any) -> Any:
    """``x`` where a mask of the last two axes holds, 0 elsewhere (also where ``x`` is NaN)."""
    shape = shape_of(x)
    return OPS["where"](np.broadcast_to(mask, shape), x, zeros_like(x))


def lower(x: Any, k: int = 0) -> Any:
    """Lower triangle from diagonal ``k`` down."""
    m, n = shape_of(x)[-2:]
    return masked(x, np.tri(m, n, k, dtype=np.bool_))


def upper(x: Any, k: int = 0) -> Any:
    """Upper triangle from diagonal ``k`` up."""
    m, n = shape_of(x)[-2:]
    return masked(x, ~np.tri(m, n, k - 1, dtype=np.bool_))


def constant(x: Any, value: float) -> Any:
    """An array like ``x`` of one value."""
    return OPS["fill"](x, value=value)


def eye_like(x: Any, n: int) -> Any:
    """Identity matrices of n by n with the leading axes and the dtype of ``x``."""
    return np.broadcast_to(np.eye(n, dtype=dtype_of(x)), (*shape_of(x)[:-2], n, n))


def safe_reciprocal(x: Any, floor: Any) -> Any:
    """1 / x where ``x * x`` exceeds ``floor`` (of one shape with ``x``), 0 elsewhere."""
    far = x * x > floor
    return OPS["where"](far, 1.0 / OPS["where"](far, x, constant(x, 1.0)), zeros_like(x))


def block(x: Any, rows: int, columns: int, i: int = 0, j: int = 0) -> Any:
    """Zero matrices of ``rows`` by ``columns`` with ``x`` at (i, j)."""
    *lead, m, n = shape_of(x)
    if (m, n) == (rows, columns):
        return x
    spec = (*[(0, k, 1) for k in lead], (i, i + m, 1), (j, j + n, 1))
    return OPS["unslice"](x, spec=spec, shape=(*lead, rows, columns))


def part(x: Any, rows: int, columns: int, i: int = 0, j: int = 0) -> Any:
    """The ``rows`` by ``columns`` submatrix at (i, j)."""
    *lead, m, n = shape_of(x)
    if (m, n) == (rows, columns):
        return x
    return OPS["slice"](x, spec=(*[(0, k, 1) for k in lead], (i, i + rows, 1), (j, j + columns, 1)))


def trace_of_product(x: Any, y: Any) -> Any:
    """Tr(x^T y) of each pair of matrices: the sum of products of their elements."""
    n = len(shape_of(x))
    return OPS["sum"](x * y, axes=(n - 2, n - 1))


# -- errors ---------------------------------------------------------------------------------------


def failing(f: Callable[..., Any], *xs: Any) -> tuple[int, ...]:
    """The first batch index at which LAPACK fails."""
    for index in np.ndindex(xs[0].shape[:-2]):
        try:
            f(*[x[index] for x in xs])
        except np.linalg.LinAlgError:
            return index
    return ()


def lapack(name: str, what: str, cure: str, f: Callable[..., Any], *xs: Any) -> Any:
    """Call LAPACK; where it fails, say at which matrix of the batch."""
    try:
        return f(*xs)
    except np.linalg.LinAlgError:
        index = failing(f, *xs)
        at = f", matrix {list(index)} of the batch" if index else ""
        raise SingularError(message(name, what, f"{aval_of(xs[0])}{at}", cure)) from None


def require_matrices(name: str, *avals: Aval, square: bool = False) -> None:
    """Raise unless the operands are (batches of square) matrices of one dtype LAPACK knows."""
    for a in avals:
        if a.dtype not in dt.INEXACT_NP or a.dtype in dt.HALF_NP or a.dtype != avals[0].dtype:
            raise DTypeError(
                message(name, "needs one of float32, float64, complex64, complex128", describe(avals),
                        "Convert with x.float() or x.double()")
            )  # fmt: skip
        if a.ndim < 2:
            raise ShapeError(message(name, "needs at least two dimensions", describe(avals)))
    if square and avals[0].shape[-1] != avals[0].shape[-2]:
        raise ShapeError(message(name, "needs square matrices", describe(avals)))


class MatrixOp(Opaque):
    """An op on the last two axes of its inputs.

    Values of LAPACK in single precision differ from double ones by the condition of the problem, hence
    ``dtype_tol``.
    """

    dtypes = (dt.float32,)
    dtype_tol = 200.0
    square = True

    def check(self, *avals: Aval) -> None:
        require_matrices(self.name, *avals, square=self.square)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(*self.fronted(size, xs, dims), **attrs), 0


SINGULAR = "Add a small multiple of the identity, or use wg.linalg.pinv or wg.linalg.lstsq"

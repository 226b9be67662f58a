"""Linear systems: inverses, solving, least squares, factors with row exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, ShapeError, SingularError, message
from ..graph.aval import Aval, describe
from ..graph.handle import Handle, apply, wrap
from ..ops import matrices
from ..ops.base import OPS, conj
from ..ops.contract import swap_last
from ..ops.matrices import eye_like, lower, mH, mm, upper
from .blas import batched_product as product
from .blas import require_tensors
from .dims import operand
from .einsum import reshape
from .front import broadcast_shape, expand_to
from .return_types import named

_inv_ex = named("linalg_inv_ex", "inverse", "info")
_lstsq = named("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
_lu = named("linalg_lu", "P", "L", "U")
_lu_factor = named("linalg_lu_factor", "LU", "pivots")
_lu_factor_ex = named("linalg_lu_factor_ex", "LU", "pivots", "info")
_lu_unpack = named("lu_unpack", "P", "L", "U")
_solve_ex = named("linalg_solve_ex", "result", "info")
_triangular = named("triangular_solve", "solution", "cloned_coefficient")


def checked(name: str, x: Any, square: bool = False) -> Any:
    """The operand, if it holds (square) matrices of a dtype that LAPACK knows."""
    x = operand(name, x)
    matrices.require_matrices(name, x.aval, square=square)
    return x


def _triangular_op(a: Any, b: Any, upper: bool, unit: bool = False) -> Any:
    return apply(OPS["solve_triangular"], (a, b), {"upper": upper, "unit": unit})


def _same_batch(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Broadcast the leading dimensions of two operands, and see that their dtypes agree."""
    require_tensors(name, a, b)
    s, t = a.aval.shape, b.aval.shape
    if s[:-2] == t[:-2]:
        return a, b
    lead = broadcast_shape(name, (Aval(s[:-2], a.aval.dtype), Aval(t[:-2], b.aval.dtype)))
    return expand_to(a, (*lead, *s[-2:])), expand_to(b, (*lead, *t[-2:]))


# -- inverses and systems ----------------------------------------------------------------------------


def inv(A: Any) -> Any:
    """Inverse of a square matrix.

    >>> import wengert as wg
    >>> wg.linalg.inv(wg.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])

    Raises:
        SingularError: a matrix is singular; the message says which.
    """
    return apply(OPS["inv"], (checked("inv", A, True),))


inverse = inv


def pinv(A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """Pseudoinverse; singular values up to max(atol, rtol * the largest) count as 0.

    ``rtol`` is by default max(m, n) times the machine epsilon, or 0 if ``atol`` is given. The derivative
    holds along changes that keep the rank (Golub and Pereyra, 1973). ``hermitian``: the Hermitian part
    of A is taken.
    """
    x = checked("pinv", A, hermitian)
    if hermitian:
        x = matrices.herm(x)
    absolute, relative = tolerances("pinv", x, atol, rcond if rtol is None else rtol)
    return apply(OPS["pinv"], (x,), {"atol": absolute, "rtol": relative})


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The pseudoinverse of a matrix; see `wengert.linalg.pinv`."""
    return pinv(input, rtol=rcond)


def tolerances(name: str, x: Any, atol: Any, rtol: Any) -> tuple[float, float]:
    """Absolute and relative tolerance for singular values, with PyTorch's defaults."""
    if rtol is None:
        eps = float(np.finfo(x.aval.dtype).eps) * max(x.aval.shape[-2:])
        rtol = 0.0 if atol is not None and _number(atol) > 0 else eps
    return 0.0 if atol is None else _number(atol), _number(rtol)


def _number(x: Any) -> float:
    return float(x.item()) if isinstance(x, Handle) else float(x)  # type: ignore[attr-defined]


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """The X with A @ X = B, or X @ A = B if not ``left``.

    Args:
        A: shape (..., n, n).
        B: shape (..., n, k), or (n) or (..., n) for vectors, as PyTorch decides it: B is a vector if it
            has one dimension, or has the shape of A without its last dimension.
        left: on which side A stands.

    >>> import wengert as wg
    >>> wg.linalg.solve(wg.tensor([[2.0, 0.0], [0.0, 4.0]]), wg.tensor([2.0, 2.0]))
    tensor([1.0000, 0.5000])

    Raises:
        SingularError: a matrix is singular; the message says which.
    """
    a, b = checked("solve", A, True), operand("solve", B)
    require_tensors("solve", a, b)
    if not is_vector(a, b):
        return _solve_matrices(a, b, left)
    if not left:
        raise ArgumentError(message("solve", "vectors need left=True", describe((a.aval, b.aval))))
    column = reshape(b, (*b.aval.shape, 1))
    out = _solve_matrices(a, column, True)
    return reshape(out, out.aval.shape[:-1])


def is_vector(a: Any, b: Any) -> bool:
    """Whether a right-hand side is a vector (or a batch of them) by PyTorch's rule."""
    s, t = a.aval.shape, b.aval.shape
    return len(t) == 1 or (len(s) - 1 == len(t) and t == s[:-1])


def _solve_matrices(a: Any, b: Any, left: bool) -> Any:
    matrices.require_matrices("solve", a.aval, b.aval)
    if not left:
        return swap_last(_solve_matrices(swap_last(a), swap_last(b), True))
    return apply(OPS["solve"], _same_batch("solve", a, b))


def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The X with A @ X = B (X @ A = B if not ``left``) for a triangle A.

    Only the triangle is read; ``unitriangular`` takes the diagonal for ones. A zero on the diagonal gives
    inf or NaN, no error.
    """
    a, b = checked("solve_triangular", A, True), checked("solve_triangular", B)
    if not left:
        flipped = solve_triangular(swap_last(a), swap_last(b), upper=not upper, unitriangular=unitriangular)
        return swap_last(flipped)
    a, b = _same_batch("solve_triangular", a, b)
    return _triangular_op(a, b, bool(upper), bool(unitriangular))


def triangular_solve(b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
    """(X, A) with A @ X = b; the older form of `wengert.linalg.solve_triangular`."""
    a = swap_last(A) if transpose else A
    found = solve_triangular(a, b, upper=upper != transpose, unitriangular=unitriangular)
    return _triangular(found, A)


def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: Any = None) -> Any:
    """The X of smallest norm that minimises the norm of A @ X - B.

    Args:
        A: shape (..., m, n).
        B: shape (..., m, k), or vectors as in `solve`.
        rcond: singular values up to this times the largest count as 0; by default the machine epsilon
            times max(m, n).
        driver: "gelsy" (default), "gelsd", "gelss", "gels". All compute through the pseudoinverse; the
            driver says which of the other results are filled.

    Returns:
        solution, residuals, rank, singular_values. The residuals are squared, and empty unless m > n, A has
        full rank and the driver is not gelsy.
    """
    a, b = checked("lstsq", A), operand("lstsq", B)
    if driver not in (None, "gelsy", "gelsd", "gelss", "gels"):
        raise ArgumentError(message("lstsq", "no such driver", repr(driver), "Use 'gelsy', 'gelsd', 'gelss' or 'gels'"))
    require_tensors("lstsq", a, b)
    vector = is_vector(a, b)
    right = reshape(b, (*b.aval.shape, 1)) if vector else b
    m, n = a.aval.shape[-2:]
    if right.aval.ndim < 2 or right.aval.shape[-2] != m:
        raise ShapeError(message("lstsq", "A and B must have the same rows", describe((a.aval, b.aval))))
    _, relative = tolerances("lstsq", a, None, rcond)
    x = product(apply(OPS["pinv"], (a,), {"atol": 0.0, "rtol": relative}), right)
    empty = wrap(np.zeros((0,), dt.of(a.aval.dtype).to_real().np))
    values = singular_values(a)
    rank = _rank_of(values, 0.0, relative)
    residuals = empty
    if m > n and (driver == "gels" or (driver in ("gelsd", "gelss") and _all_equal(rank, n))):
        error = product(a, x) - right
        residuals = apply(OPS["sum"], (matrices.real(error * conj(error)),), {"axes": (error.aval.ndim - 2,)})
    if vector:
        x = reshape(x, x.aval.shape[:-1])
    return _lstsq(
        x,
        residuals,
        wrap(np.zeros((0,), np.int64)) if driver == "gels" else rank,
        values if driver in ("gelsd", "gelss") else empty,
    )


def _all_equal(rank: Any, n: int) -> bool:
    return bool(np.all(rank._concrete("lstsq") == n))


def _rank_of(values: Any, atol: Any, rtol: Any) -> Any:
    """How many of the (nonnegative) values exceed max(atol, rtol * the largest), as int64."""
    k = values.aval.shape[-1]
    if not k:
        return wrap(np.zeros(values.aval.shape[:-1], np.int64))
    largest = values.amax(-1, keepdim=True) * rtol
    if isinstance(atol, Handle) or atol:
        floor = atol.unsqueeze(-1) if isinstance(atol, Handle) and atol.aval.ndim else atol  # type: ignore[attr-defined]
        largest = OPS["where"](largest > floor, largest, largest * 0 + floor)
    return (values > largest).sum(-1)


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """Number of singular values above max(atol, rtol * the largest), as int64.

    ``rtol`` is by default max(m, n) times the machine epsilon, or 0 if ``atol`` is given; ``tol`` is an
    absolute tolerance alone. ``hermitian``: absolute eigenvalues are taken.
    """
    x = checked("matrix_rank", A, hermitian)
    if tol is not None:
        atol, rtol = tol, 0.0
    if rtol is None:
        eps = float(np.finfo(x.aval.dtype).eps) * max(x.aval.shape[-2:])
        rtol = eps if atol is None else _default_rtol(atol, eps)
    values = apply(OPS["eigh"], (x,))[0].abs() if hermitian else singular_values(x)
    relative = rtol.unsqueeze(-1) if isinstance(rtol, Handle) and rtol.aval.ndim else rtol  # type: ignore[attr-defined]
    return _rank_of(values, 0.0 if atol is None else atol, relative)


def _default_rtol(atol: Any, eps: float) -> Any:
    """0 where an absolute tolerance is given."""
    if isinstance(atol, Handle):
        return (atol <= 0).to(dt.float64) * eps  # type: ignore[attr-defined]
    return 0.0 if atol > 0 else eps


def singular_values(x: Any) -> Any:
    """Singular values, descending."""
    return apply(OPS["svd"], (x,), {"full": False})[1]


# -- Cholesky factors --------------------------------------------------------------------------------


def cholesky_solve(input: Any, L: Any, upper: bool = False) -> Any:
    """The X with A @ X = input, where L is the Cholesky factor of A."""
    b, factor = checked("cholesky_solve", input), checked("cholesky_solve", L, True)
    factor, b = _same_batch("cholesky_solve", mH(factor) if upper else factor, b)
    half = _triangular_op(factor, b, upper=False)
    return _triangular_op(mH(factor), half, upper=True)


def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """The inverse of A, where L is the Cholesky factor of A."""
    factor = checked("cholesky_inverse", L, True)
    factor = mH(factor) if upper else factor
    inverse = _triangular_op(factor, wrap(eye_like(factor, factor.aval.shape[-1])), upper=False)
    return mm(mH(inverse), inverse)


# -- LU ----------------------------------------------------------------------------------------------


def linalg_lu(A: Any, *, pivot: bool = True) -> Any:
    """(P, L, U) with A = P @ L @ U: permutation, unit lower and upper triangle (m by k and k by n)."""
    _require_pivot(pivot)
    return _lu(*apply(OPS["lu"], (checked("lu", A),))[:3])


def _require_pivot(pivot: bool) -> None:
    if not pivot:
        raise ArgumentError(message("lu", "pivot=False is not supported on the CPU", cure="Leave it out"))


def _packed(A: Any) -> tuple[Any, Any]:
    """Both triangles in one matrix, and the pivots."""
    x = checked("lu_factor", A)
    m, n = x.aval.shape[-2:]
    _, low, up, pivots = apply(OPS["lu"], (x,))
    return matrices.block(lower(low, -1), m, n) + matrices.block(up, m, n), pivots


def lu_factor(A: Any, *, pivot: bool = True) -> Any:
    """(LU, pivots): both triangles packed in one matrix, and the row exchanges counted from 1, as LAPACK's.

    Raises:
        SingularError: the upper triangle has a zero on its diagonal.
    """
    _require_pivot(pivot)
    packed, pivots = _packed(A)
    value = packed._value
    if value is not None:
        diagonal = np.diagonal(value, axis1=-2, axis2=-1)
        if value.shape[-1] and value.shape[-2] and np.any(diagonal == 0):
            raise SingularError(
                message(
                    "lu_factor",
                    "the upper triangle has a zero on its diagonal",
                    str(packed.aval),
                    matrices.SINGULAR,
                )
            )
    return _lu_factor(packed, pivots)


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info); ``info`` is the number of the first zero on the diagonal of U, 0 if none."""
    _require_pivot(pivot)
    packed, pivots = lu_factor(A) if check_errors else _packed(A)
    zero = np.diagonal(packed._concrete("lu_factor_ex"), axis1=-2, axis2=-1) == 0
    info = np.where(zero.any(-1), zero.argmax(-1) + 1, 0) if zero.shape[-1] else np.zeros(zero.shape[:-1])
    return _lu_factor_ex(packed, pivots, wrap(np.asarray(info, np.int32)))


def lu(A: Any, pivot: bool = True, get_infos: bool = False, out: None = None) -> Any:
    """(LU, pivots), or with ``get_infos`` (LU, pivots, info); see `wengert.linalg.lu_factor`."""
    found = lu_factor_ex(A, pivot=pivot)
    return (found.LU, found.pivots, found.info) if get_infos else (found.LU, found.pivots)


def linalg_lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """The X with A @ X = B from the factors of A (X @ A = B if not ``left``; A.mH for A if ``adjoint``)."""
    packed, b = checked("lu_solve", LU, True), checked("lu_solve", B)
    if not left:
        return mH(linalg_lu_solve(packed, pivots, mH(b), adjoint=not adjoint))
    n = packed.aval.shape[-1]
    p = apply(OPS["permutation_matrix"], (pivots,), {"m": n, "dtype": packed.aval.dtype})
    packed, b = _same_batch("lu_solve", packed, b)
    if adjoint:
        half = _triangular_op(mH(packed), b, upper=False)
        return product(p, _triangular_op(mH(packed), half, upper=True, unit=True))
    half = _triangular_op(packed, product(swap_last(p), b), upper=False, unit=True)
    return _triangular_op(packed, half, upper=True)


def lu_solve(input: Any, LU_data: Any, LU_pivots: Any) -> Any:
    """The X with A @ X = input from the factors of A."""
    return linalg_lu_solve(LU_data, LU_pivots, input)


def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """(P, L, U) of packed factors; what is not asked for is empty."""
    x = checked("lu_unpack", LU_data)
    m, n = x.aval.shape[-2:]
    k = min(m, n)
    p = low = up = wrap(np.zeros((0,), x.aval.dtype))
    if unpack_pivots:
        p = apply(OPS["permutation_matrix"], (LU_pivots,), {"m": m, "dtype": x.aval.dtype})
    if unpack_data:
        low = lower(matrices.part(x, m, k), -1) + matrices.block(wrap(eye_like(x, k)), m, k)
        up = upper(matrices.part(x, k, n))
    return _lu_unpack(p, low, up)


# -- forms that report failure in `info` -------------------------------------------------------------


def attempt(f: Callable[..., Any], name: str, check: bool, A: Any, *rest: Any) -> tuple[Any, Any]:
    """The result with NaN for the matrices that fail, and 1 for each of them."""
    x = checked(name, A, True)
    if check:
        return f(x, *rest), wrap(np.zeros(x.aval.shape[:-2], np.int32))
    value = x._concrete(name)
    bad = np.zeros(value.shape[:-2], bool)
    for index in np.ndindex(bad.shape):
        try:
            f(wrap(value[index]), *[wrap(np.zeros((value.shape[-1], 1), value.dtype)) for _ in rest])
        except SingularError:
            bad[index] = True
    info = wrap(bad.astype(np.int32))
    if not bad.any():
        return f(x, *rest), info
    where = wrap(bad[..., None, None])
    found = f(where_broadcast(where, wrap(eye_like(x, value.shape[-1])), x), *rest)
    return where_broadcast(where, found * np.nan, found), info


def where_broadcast(condition: Any, x: Any, y: Any) -> Any:
    """`where` with a condition for each matrix."""
    shape = y.aval.shape
    return OPS["where"](expand_to(condition, shape), expand_to(x, shape), y)


def inv_ex(A: Any, *, check_errors: bool = False) -> Any:
    """(inverse, info): a singular matrix gives NaN and info 1 instead of an error."""
    return _inv_ex(*attempt(inv, "inv_ex", check_errors, A))


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """(result, info): a singular matrix gives NaN and info 1 instead of an error; B holds matrices."""
    side = solve if left else lambda a, b: solve(a, mH(b) if b.aval.shape[-1] == 1 else b, left=False)
    return _solve_ex(*attempt(side, "solve_ex", check_errors, A, B))


__all__ = [
    "cholesky_inverse",
    "cholesky_solve",
    "inv",
    "inv_ex",
    "inverse",
    "linalg_lu",
    "linalg_lu_solve",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_solve",
    "lu_unpack",
    "matrix_rank",
    "pinv",
    "pinverse",
    "solve",
    "solve_ex",
    "solve_triangular",
    "triangular_solve",
]

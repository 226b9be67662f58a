"""Linear algebra: decompositions, determinants, functions of matrices.

Functions of ``wg.linalg`` and of the top level. All take batches over leading dimensions. The names that
differ between the two (PyTorch kept older forms at the top level) carry the prefix ``linalg_`` here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import apply, wrap
from ..ops import matrices
from ..ops.base import OPS, conj
from ..ops.contract import diagonal_of
from ..ops.matrices import eye_like, lower, mH, mm
from .blas import batched_product as product
from .blas import require_tensors
from .dims import operand
from .einsum import reshape
from .front import cast
from .linalg_products import cdist, chain_matmul, renorm
from .linalg_products import cross_first as cross
from .linalg_products import vander_top as vander
from .linalg_systems import (
    attempt,
    checked,
    cholesky_inverse,
    cholesky_solve,
    inv,
    inverse,
    lu,
    lu_solve,
    lu_unpack,
    pinverse,
    triangular_solve,
)
from .return_types import named

_cholesky_ex = named("linalg_cholesky_ex", "L", "info")
_eig = named("linalg_eig", "eigenvalues", "eigenvectors")
_eigh = named("linalg_eigh", "eigenvalues", "eigenvectors")
_qr = named("linalg_qr", "Q", "R")
_qr_top = named("qr", "Q", "R")
_slogdet = named("linalg_slogdet", "sign", "logabsdet")
_slogdet_top = named("slogdet", "sign", "logabsdet")
_svd = named("linalg_svd", "U", "S", "Vh")
_svd_top = named("svd", "U", "S", "V")

# -- Cholesky ----------------------------------------------------------------------------------------


def linalg_cholesky(A: Any, *, upper: bool = False) -> Any:
    """The triangle L with L @ L.mH = A for a Hermitian positive definite A; its transpose if ``upper``.

    The Hermitian part (A + A.mH) / 2 is decomposed, and the derivative is that of this function.

    >>> import wengert as wg
    >>> wg.linalg.cholesky(wg.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])

    Raises:
        SingularError: a matrix is not positive definite; the message says which.
    """
    out = apply(OPS["cholesky"], (checked("cholesky", A, True),))
    return mH(out) if upper else out


def cholesky(input: Any, upper: bool = False) -> Any:
    """The Cholesky factor of a positive definite matrix; see `wengert.linalg.cholesky`."""
    return linalg_cholesky(input, upper=upper)


def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info): a matrix that is not positive definite gives NaN and info 1 instead of an error."""
    return _cholesky_ex(*attempt(lambda x: linalg_cholesky(x, upper=upper), "cholesky_ex", check_errors, A))


# -- QR ----------------------------------------------------------------------------------------------


def linalg_qr(A: Any, mode: str = "reduced") -> Any:
    """(Q, R) with A = Q @ R, Q with orthonormal columns and R an upper triangle.

    Args:
        A: shape (..., m, n).
        mode: "reduced" (Q is m by min(m, n)), "complete" (m by m; no derivative if m > n), or "r" (Q is
            empty; R can be differentiated).
    """
    x = checked("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(message("qr", "no such mode", repr(mode), "Use 'reduced', 'complete' or 'r'"))
    q, r = apply(OPS["qr"], (x,), {"mode": "reduced" if mode == "r" else mode})
    if mode == "r":
        q = wrap(np.zeros((0,), x.aval.dtype))
    return _qr(q, r)


def qr(input: Any, some: bool = True) -> Any:
    """See `wengert.linalg.qr`; ``some`` False means complete."""
    return _qr_top(*linalg_qr(input, "reduced" if some else "complete"))


# -- eigenvalues -------------------------------------------------------------------------------------


def eigh(A: Any, UPLO: str = "L") -> Any:
    """Eigenvalues, ascending, and eigenvectors of a Hermitian matrix.

    The Hermitian part (A + A.mH) / 2 is decomposed; for a Hermitian matrix that is the matrix, whatever
    ``UPLO`` says. Derivatives of functions that do not depend on the choice of eigenvectors are right
    also where eigenvalues are equal (see wengert/ops/linalg_decompositions.py).

    >>> import wengert as wg
    >>> wg.linalg.eigh(wg.tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    if UPLO not in ("L", "U", "l", "u"):
        raise ArgumentError(message("eigh", "UPLO must be 'L' or 'U'", repr(UPLO)))
    return _eigh(*apply(OPS["eigh"], (checked("eigh", A, True),)))


def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """Eigenvalues of a Hermitian matrix, ascending; see `eigh`."""
    return eigh(A, UPLO).eigenvalues


def eig(A: Any) -> Any:
    """Complex eigenvalues and eigenvectors (columns of length 1) of a square matrix, in no given order.

    Derivatives need a full set of eigenvectors; that of a vector keeps its length and its phase.
    """
    return _eig(*apply(OPS["eig"], (checked("eig", A, True),)))


def eigvals(A: Any) -> Any:
    """Complex eigenvalues of a square matrix, in no given order."""
    return eig(A).eigenvalues


# -- singular values ---------------------------------------------------------------------------------


def linalg_svd(A: Any, full_matrices: bool = True, *, driver: Any = None) -> Any:
    """(U, S, Vh) with A = U @ diag(S) @ Vh, singular values descending.

    ``full_matrices``: U and Vh are square. Derivatives are right where singular values are equal or zero,
    for functions that do not depend on the choice of the vectors.
    """
    return _svd(*apply(OPS["svd"], (checked("svd", A),), {"full": bool(full_matrices)}))


def svdvals(A: Any, *, driver: Any = None) -> Any:
    """Singular values, descending."""
    return linalg_svd(A, False).S


def svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with input = U @ diag(S) @ V.mH; see `wengert.linalg.svd`, which returns V.mH."""
    u, s, vh = linalg_svd(input, not some)
    if not compute_uv:
        x = input.aval
        *lead, m, n = x.shape
        u, vh = wrap(np.zeros((*lead, m, m), x.dtype)), wrap(np.zeros((*lead, n, n), x.dtype))
    return _svd_top(u, s, mH(vh))


# -- determinants ------------------------------------------------------------------------------------


def det(A: Any) -> Any:
    """Determinant of a square matrix; its derivatives of every order are right for singular matrices too.

    >>> import wengert as wg
    >>> wg.linalg.det(wg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(-2.)
    """
    return apply(OPS["det"], (checked("det", A, True),))


def linalg_slogdet(A: Any) -> Any:
    """Sign and logarithm of the absolute value of the determinant; (0, -inf) for a singular matrix."""
    return _slogdet(*apply(OPS["slogdet"], (checked("slogdet", A, True),)))


def slogdet(input: Any) -> Any:
    """Sign and logarithm of the determinant; see `wengert.linalg.slogdet`."""
    return _slogdet_top(*linalg_slogdet(input))


def logdet(input: Any) -> Any:
    """Logarithm of the determinant: -inf where it is 0, NaN where it is negative."""
    sign, log = linalg_slogdet(input)
    if sign.aval.dtype in dt.COMPLEX_NP:
        return OPS["log"](sign) + log
    return OPS["where"](sign == -1, OPS["fill"](log, value=np.nan), log)


# -- functions of matrices ---------------------------------------------------------------------------


def matrix_exp(A: Any) -> Any:
    """Matrix exponential, the sum of A^k / k! (Higham, 2005).

    >>> import wengert as wg
    >>> wg.linalg.matrix_exp(wg.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    x = operand("matrix_exp", A)
    if x.aval.dtype in dt.HALF_NP:
        return cast(matrix_exp(cast(x, dt.float32)), dt.of(x.aval.dtype))
    return apply(OPS["matrix_exp"], (checked("matrix_exp", x, True),))


def matrix_power(A: Any, n: int) -> Any:
    """The power A^n of a square matrix by repeated squaring; negative powers are those of the inverse."""
    x = operand("matrix_power", A)
    if x.aval.ndim < 2 or x.aval.shape[-1] != x.aval.shape[-2]:
        raise ShapeError(message("matrix_power", "needs square matrices", str(x.aval)))
    if n < 0:
        return matrix_power(inv(x), -n)
    if n == 0:
        return wrap(np.array(eye_like(x, x.aval.shape[-1])))
    result, square = None, x
    while True:
        if n & 1:
            result = square if result is None else product(result, square)
        n >>= 1
        if not n:
            return result if result is not x else apply(OPS["identity"], (x,))
        square = product(square, square)


def trace(input: Any) -> Any:
    """Sum of the diagonal of a matrix; integers are summed in int64."""
    x = operand("trace", input)
    if x.aval.ndim != 2:
        raise ShapeError(message("trace", "needs a matrix", str(x.aval), "Use x.diagonal(0, -2, -1).sum(-1)"))
    return diagonal_of(x).sum()


# -- Householder reflectors --------------------------------------------------------------------------


def _reflect(v: Any, tau: Any, x: Any) -> Any:
    """(1 - tau v v^H) x."""
    scaled = mm(mH(v), x)
    return x - mm(v, scaled * tau)


def _reflectors(a: Any, tau: Any) -> list[tuple[Any, Any]]:
    """The vectors and factors of the reflectors packed below the diagonal of ``a``."""
    m, n = a.aval.shape[-2:]
    k = tau.aval.shape[-1]
    vectors = lower(a, -1) + matrices.block(wrap(eye_like(a, n)), m, n)
    lead = tau.aval.shape[:-1]
    factors = reshape(tau, (*lead, k, 1, 1))

    def factor(i: int) -> Any:
        spec = (*[(0, s, 1) for s in lead], (i, i + 1, 1), (0, 1, 1), (0, 1, 1))
        return reshape(OPS["slice"](factors, spec=spec), (*lead, 1, 1))

    return [(matrices.part(vectors, m, 1, 0, i), factor(i)) for i in range(k)]


def householder_product(A: Any, tau: Any) -> Any:
    """The first n columns of the product of k reflectors 1 - tau_i v_i v_i^H, v_i below the diagonal of A.

    A has shape (..., m, n) with m >= n, ``tau`` (..., k) with k <= n.
    """
    a, t = checked("householder_product", A), operand("householder_product", tau)
    require_tensors("householder_product", a, t)
    m, n = a.aval.shape[-2:]
    if m < n or t.aval.ndim != a.aval.ndim - 1 or t.aval.shape[:-1] != a.aval.shape[:-2] or t.aval.shape[-1] > n:
        raise ShapeError(message("householder_product", "shapes do not fit", describe((a.aval, t.aval))))
    out = matrices.block(wrap(np.array(eye_like(a, n))), m, n)
    for v, factor in reversed(_reflectors(a, t)):
        out = _reflect(v, factor, out)
    return out


orgqr = householder_product


def ormqr(input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False) -> Any:
    """Q @ other (other @ Q if not ``left``, Q.mH for Q if ``transpose``), Q the product of reflectors."""
    a, t, out = checked("ormqr", input), operand("ormqr", tau), checked("ormqr", other)
    require_tensors("ormqr", a, t, out)
    if not left:
        return mH(ormqr(a, t, mH(out), True, not transpose))
    pairs = _reflectors(a, t)
    for v, factor in pairs if transpose else reversed(pairs):
        out = _reflect(v, conj(factor) if transpose else factor, out)
    return out


__all__ = [
    "cdist", "chain_matmul", "cholesky", "cholesky_inverse", "cholesky_solve", "cross", "det", "inverse",
    "logdet", "lu", "lu_solve", "lu_unpack", "matrix_exp", "matrix_power", "orgqr", "ormqr", "pinverse", "qr",
    "renorm", "slogdet", "svd", "trace", "triangular_solve", "vander",
]  # fmt: skip

NOT_METHODS = ("cdist", "chain_matmul", "lu_unpack", "vander")
INPLACE = ("renorm",)

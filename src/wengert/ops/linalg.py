"""Matrix functions: inverse, pseudoinverse, determinants, exponential.

What holds for all linear algebra is told in `matrices`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.aval import Aval
from .base import OPS, Sample, conj, dtype_of, shape_of, total, zeros_like
from .contract import swap_last
from .matrices import SINGULAR, MatrixOp, block, lapack, like, mH, mm, part, real, spread, trace_of_product
from .testpoints import complexes, floats, noncontiguous

# -- arithmetic of matrices, for arrays and handles ----------------------------------------------


# -- errors ---------------------------------------------------------------------------------------


# -- inverses -------------------------------------------------------------------------------------


def regular(n: int, *lead: int, seed: int = 0) -> Any:
    """Well-conditioned matrices without symmetry."""
    return floats(*lead, n, n, seed=seed) + 3.0 * np.eye(n)


class Inv(MatrixOp):
    """Inverse of square matrices."""

    name = "inv"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        self.check(*avals)
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return lapack("inv", "the matrix is singular", SINGULAR, np.linalg.inv, xs[0])

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return -mm(out, ts[0], out)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        h = mH(out)
        return [-mm(h, g, h)]

    def samples(self) -> Iterable[Sample]:
        yield Sample(regular(3))
        yield Sample(regular(2, 2), label="batched")
        yield Sample(np.eye(3), label="identity")
        yield Sample(noncontiguous(2, 2) + 3 * np.eye(2), label="non-contiguous")
        yield Sample(floats(0, 0), label="empty")
        yield Sample(floats(0, 2, 2), label="empty batch")
        yield Sample(complexes(2, 2) + 2 * np.eye(2))


class PInv(MatrixOp):
    """Pseudoinverse; singular values up to max(atol, rtol * largest) count as 0.

    The derivative holds along directions that keep the rank (Golub and Pereyra, 1973).
    """

    name = "pinv"
    square = False

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        self.check(*avals)
        *lead, m, n = avals[0].shape
        return avals[0].with_shape((*lead, n, m))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x = xs[0]
        *lead, m, n = x.shape
        if not x.size:
            return np.zeros((*lead, n, m), x.dtype)
        u, s, vh = lapack("pinv", "the singular values did not converge", "Look for NaN or inf",
                          lambda a: np.linalg.svd(a, full_matrices=False), x)  # fmt: skip
        limit = np.maximum(attrs["atol"], attrs["rtol"] * s[..., :1])
        kept = s > limit
        inverse = np.where(kept, 1.0 / np.where(kept, s, 1.0), 0.0).astype(s.dtype)
        return np.matmul(np.conj(np.swapaxes(vh, -1, -2)) * inverse[..., None, :], np.conj(np.swapaxes(u, -1, -2)))

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        p, a, t, h = out, xs[0], ts[0], mH(ts[0])
        q = mH(p)
        left = mm(p, q, h)
        right = mm(h, q, p)
        return -mm(p, t, p) + (left - mm(left, a, p)) + (right - mm(p, a, right))

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        p, a, h = out, xs[0], mH(g)
        q = mH(p)
        left = mm(h, p, q)
        right = mm(q, p, h)
        return [-mm(q, g, q) + (left - mm(a, p, left)) + (right - mm(right, p, a))]

    def samples(self) -> Iterable[Sample]:
        attrs = {"atol": 0.0, "rtol": 1e-6}
        yield Sample(floats(3, 3), attrs=attrs)
        yield Sample(floats(2, 4, 2), attrs=attrs, label="tall, batched")
        yield Sample(floats(2, 3), attrs=attrs, label="wide")
        yield Sample(np.eye(2), attrs=attrs, label="equal singular values")
        yield Sample(np.outer([1.0, 2.0, 3.0], [1.0, -1.0]), attrs=attrs, numeric=False, label="rank 1")
        yield Sample(np.zeros((2, 3)), attrs=attrs, numeric=False, label="zeros")
        yield Sample(floats(0, 3), attrs=attrs, label="empty")
        yield Sample(complexes(3, 2), attrs=attrs)


# -- determinants ---------------------------------------------------------------------------------


class Det(MatrixOp):
    """Determinant. Its gradient is the cofactor matrix, so it is right for singular matrices too."""

    name = "det"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        self.check(*avals)
        return avals[0].with_shape(avals[0].shape[:-2])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return np.linalg.det(xs[0])

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return trace_of_product(OPS["cofactor"](xs[0]), ts[0])

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [spread(g, shape_of(xs[0])) * conj(OPS["cofactor"](xs[0]))]

    def samples(self) -> Iterable[Sample]:
        yield from determinant_samples()


COLUMNS = 48  # size up to which second derivatives of the determinant are right for singular matrices


class Cofactor(MatrixOp):
    """Cofactor matrix: the gradient of the determinant, ``det(x) inv(x)^T`` where x is invertible.

    It is linear in each column apart, and does not depend on a column in that column of the result. So
    its derivative along t is the sum over j of ``cofactor(x with column j of t)`` without column j, at
    singular matrices too, to any order. The same sum is the adjoint, for it is a second derivative. Matrices
    of more than `COLUMNS` rows must be regular for it.
    """

    name = "cofactor"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        self.check(*avals)
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return cofactors(xs[0])

    def second(self, x: Any, t: Any) -> Any:
        *lead, n, _ = shape_of(x)
        if n > COLUMNS:  # n matrices of n by n for each would be too many: the formula for regular matrices
            inverse = swap_last(OPS["inv"](x))
            c = self(x)
            return spread(trace_of_product(inverse, t), shape_of(x)) * c - mm(inverse, swap_last(t), c)
        own = np.broadcast_to(np.eye(n, dtype=bool)[:, None, :], (*lead, n, n, n))  # column j of matrix j
        every = (*lead, n, n, n)
        axis = (len(lead),)
        one = OPS["where"](own, OPS["expand"](t, shape=every, axes=axis), OPS["expand"](x, shape=every, axes=axis))
        found = self(one)
        return OPS["sum"](OPS["where"](own, zeros_like(found), found), axes=axis)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self.second(xs[0], ts[0])

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [conj(self.second(xs[0], conj(g)))]

    def samples(self) -> Iterable[Sample]:
        yield from determinant_samples()
        n = COLUMNS + 1
        yield Sample(floats(n, n) / n + np.eye(n), label="many columns")


def determinant_samples() -> Iterable[Sample]:
    """Regular and singular matrices of every rank."""
    yield Sample(floats(3, 3))
    yield Sample(floats(2, 2, 2), label="batched")
    yield Sample(floats(1, 1), label="1 by 1")
    yield Sample(np.array([[1.0, 2.0], [2.0, 4.0]]), label="singular")
    yield Sample(np.outer([1.0, 2.0, 3.0], [1.0, 0.0, -1.0]), label="3 by 3 of rank 1")
    yield Sample(np.diag([1.0, 2.0, 0.0, 0.0]), label="4 by 4 of rank 2")
    yield Sample(np.zeros((3, 3)), label="zeros")
    yield Sample(np.eye(3), label="identity")
    yield Sample(floats(0, 0), label="empty")
    yield Sample(floats(0, 2, 2), label="empty batch")
    yield Sample(complexes(3, 3))


def cofactors(x: Any) -> Any:
    """Cofactor matrices; through the inverse where it is accurate, else through singular values."""
    n = x.shape[-1]
    if not x.size:
        return np.zeros(x.shape, x.dtype)
    if n == 1:
        return np.ones(x.shape, x.dtype)
    if n == 2:
        out = np.empty(x.shape, x.dtype)
        out[..., 0, 0], out[..., 1, 1] = x[..., 1, 1], x[..., 0, 0]
        out[..., 0, 1], out[..., 1, 0] = -x[..., 1, 0], -x[..., 0, 1]
        return out
    try:
        inverse = np.linalg.inv(x)
    except np.linalg.LinAlgError:
        return _cofactors_by_svd(x)
    out = np.linalg.det(x)[..., None, None] * np.swapaxes(inverse, -1, -2)
    condition = np.abs(x).sum(-1).max(-1) * np.abs(inverse).sum(-1).max(-1)
    poor = ~(condition < 1.0 / np.sqrt(np.finfo(x.dtype).eps))
    if poor.any():
        out[poor] = _cofactors_by_svd(x[poor])
    return out


def _cofactors_by_svd(x: Any) -> Any:
    """cof(u s v) = cof(u) cof(s) cof(v), and the cofactors of a unitary u are det(u) conj(u)."""
    if not np.isfinite(x).all():
        return np.full(x.shape, np.nan, x.dtype)
    u, s, vh = np.linalg.svd(x)
    n = x.shape[-1]
    others = np.where(np.eye(n, dtype=bool), np.ones((), s.dtype), s[..., None, :]).prod(-1)
    scale = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    return scale * np.matmul(np.conj(u) * others[..., None, :], np.conj(vh))


class SlogDet(MatrixOp):
    """Sign and logarithm of the absolute value of the determinant; (0, -inf) for a singular matrix."""

    name = "slogdet"

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        self.check(*avals)
        a = avals[0].with_shape(avals[0].shape[:-2])
        return a, a.with_dtype(dt.of(a.dtype).to_real().np)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        sign, log = np.linalg.slogdet(xs[0])
        return sign, log

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        slope = trace_of_product(swap_last(OPS["inv"](xs[0])), ts[0])
        sign = out[0]
        turn = (slope - conj(slope)) * 0.5 * sign if dtype_of(sign) in dt.COMPLEX_NP else zeros_like(sign)
        return turn, real(slope)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        sign, weight = out[0], None
        if g[1] is not None:
            weight = like(g[1], sign)
        if g[0] is not None and dtype_of(sign) in dt.COMPLEX_NP:
            turn = conj(sign) * g[0]
            weight = total((weight, (turn - conj(turn)) * 0.5))
        if weight is None:
            return [zeros_like(xs[0])]
        return [spread(weight, shape_of(xs[0])) * mH(OPS["inv"](xs[0]))]

    def samples(self) -> Iterable[Sample]:
        yield Sample(regular(3))
        yield Sample(-regular(3, 2), label="negative, batched")
        yield Sample(np.eye(2), label="identity")
        yield Sample(floats(0, 0), label="empty")
        yield Sample(floats(0, 2, 2), label="empty batch")
        yield Sample(complexes(3, 3))


# -- exponential ----------------------------------------------------------------------------------

# Coefficients of the numerator of the Padé approximant of order 13, and the 1-norm up to which it is
# accurate in double precision (Higham, "The scaling and squaring method revisited", 2005).
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_THETA = 5.371920351148152


class MatrixExp(MatrixOp):
    """Matrix exponential, by scaling and squaring with a Padé approximant of order 13.

    The derivative along t is the upper right block of the exponential of ((x, t), (0, x)).
    """

    name = "matrix_exp"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        self.check(*avals)
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x = xs[0]
        if not x.size:
            return np.zeros(x.shape, x.dtype)
        wide = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
        return exponential(wide).astype(x.dtype)

    def along(self, x: Any, t: Any) -> Any:
        n = shape_of(x)[-1]
        whole = block(x, 2 * n, 2 * n) + block(x, 2 * n, 2 * n, n, n) + block(t, 2 * n, 2 * n, 0, n)
        return part(self(whole), n, n, 0, n)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self.along(xs[0], ts[0])

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [self.along(mH(xs[0]), g)]

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3, 3))
        yield Sample(np.stack([np.zeros((2, 2)), floats(2, 2), 9.0 * floats(2, 2, seed=1)]), label="batch of norms")
        yield Sample(np.array([[0.0, 1.0], [0.0, 0.0]]), label="nilpotent")
        yield Sample(floats(0, 0), label="empty")
        yield Sample(complexes(2, 2))


def exponential(x: Any) -> Any:
    """Exponentials of float64 or complex128 matrices."""
    norm = np.abs(x).sum(-2).max(-1)
    finite = np.isfinite(norm)
    ratio = np.where(finite, norm, 0.0) / _THETA
    squarings = np.where(ratio > 1.0, np.ceil(np.log2(np.maximum(ratio, 1.0))), 0.0).astype(np.int64)
    a = np.where(finite[..., None, None], x, 0.0) * np.exp2(-squarings)[..., None, None]
    eye = np.eye(x.shape[-1])
    a2 = np.matmul(a, a)
    a4 = np.matmul(a2, a2)
    a6 = np.matmul(a4, a2)
    b = _PADE
    odd = np.matmul(a6, b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye
    odd = np.matmul(a, odd)
    even = np.matmul(a6, b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * eye
    out = np.linalg.solve(even - odd, even + odd)
    for k in range(int(squarings.max(initial=0))):
        out = np.where((squarings > k)[..., None, None], np.matmul(out, out), out)
    return np.where(finite[..., None, None], out, np.nan)

"""Decompositions: Cholesky, QR, eigenvalues, singular values.

Factors that are not unique move by a fixed rule (the gauge), the same in every mode:

* Eigenvectors and singular vectors of equal values do not turn among each other: the reciprocal of a
  gap that rounding cannot tell from zero is 0. Functions that do not depend on the choice within an
  eigenspace, such as a projector onto the whole of it or a symmetric function of the values, have
  right derivatives, where PyTorch gives NaN. (A matrix function written v f(l) v^H needs more than that
  where values are equal: its derivative is f' times the tangent there, which no eigenvector can carry.)
* Complex vectors do not change phase: the diagonal of v^H dv is real (zero for unitary v).

Cholesky and eigh decompose the Hermitian part (x + x^H) / 2 and their derivatives are those of that
function; for a Hermitian input it is the input itself, and the gradient is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import GraphError, message
from ..graph.aval import Aval
from .base import OPS, Sample, conj, dtype_of, full_tuple, shape_of, total, zeros_like
from .contract import diagonal_of, embed_diagonal
from .linalg import regular
from .matrices import (
    MatrixOp,
    anti,
    as_columns,
    as_rows,
    block,
    constant,
    herm,
    lapack,
    like,
    lower,
    masked,
    mH,
    mm,
    part,
    real,
    safe_reciprocal,
    upper,
)
from .testpoints import complexes, floats, noncontiguous

FINITE = "Look for NaN or inf in the matrix"


def positive(n: int, *lead: int, seed: int = 0) -> Any:
    """Positive definite matrices."""
    a = floats(*lead, n, n, seed=seed)
    return a @ np.swapaxes(a, -1, -2) + np.eye(n)


def complex_positive(n: int) -> Any:
    """A complex positive definite matrix."""
    a = complexes(n, n)
    return a @ a.conj().T + np.eye(n)


def numpy_herm(x: Any) -> Any:
    """Hermitian part of an array."""
    return (x + np.conj(np.swapaxes(x, -1, -2))) * 0.5


class Cholesky(MatrixOp):
    """The lower triangle l with l @ l^H = the Hermitian part of the input (Murray, arXiv 1602.07527)."""

    name = "cholesky"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        self.check(*avals)
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        cure = "Add a small multiple of the identity"
        return lapack("cholesky", "the matrix is not positive definite", cure, np.linalg.cholesky, numpy_herm(xs[0]))

    @staticmethod
    def halved(x: Any) -> Any:
        """Lower triangle with half the diagonal."""
        return lower(x, -1) + masked(x * 0.5, np.eye(shape_of(x)[-1], dtype=bool))

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        solve = OPS["solve_triangular"]
        half = solve(out, herm(ts[0]), upper=False, unit=False)
        return mm(out, self.halved(mH(solve(out, mH(half), upper=False, unit=False))))

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        solve, adjoint = OPS["solve_triangular"], mH(out)
        phi = herm(self.halved(mm(adjoint, lower(g))))
        half = solve(adjoint, phi, upper=True, unit=False)
        return [herm(mH(solve(adjoint, mH(half), upper=True, unit=False)))]

    def samples(self) -> Iterable[Sample]:
        yield Sample(positive(3))
        yield Sample(positive(2, 2), label="batched")
        yield Sample(np.eye(3), label="identity")
        yield Sample(np.array([[2.0, 0.5], [-0.25, 1.0]]), label="not symmetric")
        yield Sample(floats(0, 0), label="empty")
        yield Sample(floats(0, 2, 2), label="empty batch")
        yield Sample(complex_positive(3))


# -- QR -------------------------------------------------------------------------------------------


class QR(MatrixOp):
    """x = q @ r; ``mode`` "reduced" or "complete".

    For a wide matrix the leading square block must be regular. With "complete" and more rows than
    columns the extra columns of q are arbitrary, and there is no derivative.
    """

    name = "qr"
    square = False

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        self.check(*avals)
        x = avals[0]
        *lead, m, n = x.shape
        k = m if attrs["mode"] == "complete" else min(m, n)
        return x.with_shape((*lead, m, k)), x.with_shape((*lead, k, n))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        q, r = np.linalg.qr(xs[0], attrs["mode"])
        return q, r

    def check_unique(self, x: Any, mode: str) -> None:
        *_, m, n = shape_of(x)
        if mode == "complete" and m > n:
            raise GraphError(
                message(
                    "qr",
                    "no derivative with mode='complete' and more rows than columns",
                    str(Aval(shape_of(x), dtype_of(x))),
                    "The extra columns of Q are arbitrary: use mode='reduced'",
                )
            )

    @staticmethod
    def turning(x: Any) -> Any:
        """The anti-Hermitian matrix by which x differs from an upper triangle with real diagonal."""
        low = lower(x, -1)
        out = low - mH(low)
        if dtype_of(x) in dt.COMPLEX_NP:
            out = out + masked((x - conj(x)) * 0.5, np.eye(shape_of(x)[-1], dtype=bool))
        return out

    @staticmethod
    def turning_adjoint(x: Any) -> Any:
        out = lower(x - mH(x), -1)
        if dtype_of(x) in dt.COMPLEX_NP:
            out = out + masked((x - conj(x)) * 0.5, np.eye(shape_of(x)[-1], dtype=bool))
        return out

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        self.check_unique(xs[0], **attrs)
        (q, r), t = out, ts[0]
        m, n = shape_of(t)[-2:]
        k = min(m, n)
        r1 = part(r, k, k)
        tq = mm(mH(q), t)
        scaled = _over(part(t, m, k), r1)  # dx r^-1, of the leading columns
        x = mm(mH(q), scaled)
        w = self.turning(x)
        dq = mm(q, w) if m <= n else mm(q, w - x) + scaled
        return dq, upper(tq - mm(w, r))

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        self.check_unique(xs[0], **attrs)
        q, r = out
        gq, gr = full_tuple(g, out)
        m, n = shape_of(xs[0])[-2:]
        k = min(m, n)
        gr = upper(gr)
        gw = self.turning_adjoint(mm(mH(q), gq) - mm(gr, mH(r)))
        rest = mm(q, gw) if m <= n else mm(q, gw - mm(mH(q), gq)) + gq
        scaled = _over(rest, mH(part(r, k, k)), upper=False)
        return [mm(q, gr) + block(scaled, m, n)]

    def samples(self) -> Iterable[Sample]:
        attrs = {"mode": "reduced"}
        yield Sample(regular(3), attrs=attrs)
        yield Sample(floats(2, 4, 2), attrs=attrs, label="tall, batched")
        yield Sample(floats(2, 3), attrs=attrs, label="wide")
        yield Sample(floats(2, 3), attrs={"mode": "complete"}, label="wide, complete")
        yield Sample(np.eye(2), attrs=attrs, numeric=False, label="identity: LAPACK's signs jump")
        yield Sample(noncontiguous(3, 2), attrs=attrs, label="non-contiguous")
        yield Sample(floats(0, 0), attrs=attrs, label="empty")
        yield Sample(complexes(3, 2), attrs=attrs)
        yield Sample(complexes(2, 2), attrs=attrs)


def _over(x: Any, r: Any, upper: bool = True) -> Any:
    """``x r^-1`` for a triangle."""
    return mH(OPS["solve_triangular"](mH(r), mH(x), upper=not upper, unit=False))


# -- eigenvalues ----------------------------------------------------------------------------------


def negligible(values: Any, n: int) -> Any:
    """What the square of a gap must exceed to count: rounding of the values, as matrices of n by n."""
    eps = float(np.finfo(dtype_of(values)).eps) * 8 * n
    shape = shape_of(values)
    square = OPS["sum"](real(values * conj(values)), axes=(len(shape) - 1,))
    wide = OPS["expand"](square, shape=(*shape[:-1], n, n), axes=(len(shape) - 1, len(shape)))
    return wide * eps**2


def inverse_gaps(values: Any) -> Any:
    """1 / (l_j - l_i), 0 where the two are equal up to rounding; real values."""
    n = shape_of(values)[-1]
    return safe_reciprocal(as_rows(values, n) - as_columns(values, n), negligible(values, n))


class Eigh(MatrixOp):
    """Ascending eigenvalues and eigenvectors of the Hermitian part of the input."""

    name = "eigh"

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        self.check(*avals)
        x = avals[0]
        return Aval(x.shape[:-1], dt.of(x.dtype).to_real().np), x

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        values, vectors = lapack("eigh", "the eigenvalues did not converge", FINITE, np.linalg.eigh, numpy_herm(xs[0]))
        return values, vectors

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        values, v = out
        p = mm(mH(v), herm(ts[0]), v)
        return real(diagonal_of(p)), mm(v, p * inverse_gaps(values))

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        values, v = out
        n = shape_of(v)[-1]
        turn = None if g[1] is None else mm(mH(v), g[1]) * inverse_gaps(values)
        inner = total((turn, None if g[0] is None else like(embed_diagonal(g[0], n, n), v)))
        return [herm(mm(v, inner, mH(v)))]

    def samples(self) -> Iterable[Sample]:
        yield Sample(positive(3))
        yield Sample(positive(2, 2), label="batched")
        yield Sample(np.array([[2.0, 0.5], [-0.25, 1.0]]), label="not symmetric")
        yield Sample(np.diag([1.0, 2.0, 2.0]), numeric=False, label="equal eigenvalues")
        yield Sample(np.eye(3), numeric=False, label="identity")
        yield Sample(np.zeros((2, 2)), numeric=False, label="zeros")
        yield Sample(floats(0, 0), label="empty")
        yield Sample(complex_positive(3), numeric=False, label="complex: LAPACK chooses other phases")


class Eig(MatrixOp):
    """Complex eigenvalues and eigenvectors (columns of length 1) of a square matrix.

    The derivative needs a full set of eigenvectors.
    """

    name = "eig"

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        self.check(*avals)
        x = avals[0].with_dtype(dt.of(avals[0].dtype).to_complex().np)
        return x.with_shape(x.shape[:-1]), x

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        values, vectors = lapack("eig", "the eigenvalues did not converge", FINITE, np.linalg.eig, xs[0])
        dtype = dt.of(xs[0].dtype).to_complex().np
        return values.astype(dtype, copy=False), vectors.astype(dtype, copy=False)

    @staticmethod
    def gaps(values: Any) -> Any:
        """1 / (l_j - l_i) for complex values, 0 where they are equal up to rounding."""
        n = shape_of(values)[-1]
        d = as_rows(values, n) - as_columns(values, n)
        square = real(d * conj(d))
        far = square > negligible(values, n)
        return OPS["where"](far, conj(d) / OPS["where"](far, square, constant(square, 1.0)), zeros_like(d))

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        values, v = out
        n = shape_of(v)[-1]
        w = OPS["solve"](v, mm(like(ts[0], v), v))
        dv = mm(v, w * self.gaps(values))
        growth = real(diagonal_of(mm(mH(v), dv)))
        return diagonal_of(w), dv - v * as_rows(growth, n)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        values, v = out
        n = shape_of(v)[-1]
        inner = None if g[0] is None else embed_diagonal(g[0], n, n)
        if g[1] is not None:
            turn = mm(mH(v), g[1])
            turn = turn - mm(mH(v), v) * as_rows(real(diagonal_of(turn)), n)
            inner = total((inner, turn * conj(self.gaps(values))))
        return [like(mm(OPS["solve"](mH(v), inner), mH(v)), xs[0])]

    def samples(self) -> Iterable[Sample]:
        yield Sample(positive(3) + np.triu(floats(3, 3), 1), label="real eigenvalues")
        yield Sample(np.array([[0.0, 2.0], [-1.0, 0.5]]), numeric=False, label="a complex pair")
        yield Sample(np.eye(2), numeric=False, label="identity")
        yield Sample(floats(0, 0), label="empty")
        yield Sample(np.stack([np.diag([1.0, 3.0]) + 0.2, np.diag([2.0, -1.0]) + 0.3]), label="batched")
        yield Sample(complexes(3, 3), numeric=False, label="complex: LAPACK chooses other phases")


# -- singular values ------------------------------------------------------------------------------


class SVD(MatrixOp):
    """x = u diag(s) vh, s descending. ``full``: u and vh are square.

    With p = u^H dx v = h + k (Hermitian and anti-Hermitian part) the left vectors turn by
    h / (s_j - s_i) + k / (s_j + s_i), the right ones by h / (s_j - s_i) - k / (s_j + s_i): no quotient of
    differences is left where singular values are equal but k, which turns u v^H, is still right.
    """

    name = "svd"
    square = False

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        self.check(*avals)
        x = avals[0]
        *lead, m, n = x.shape
        k = min(m, n)
        rows, columns = (m, n) if attrs["full"] else (k, k)
        s = Aval((*lead, k), dt.of(x.dtype).to_real().np)
        return x.with_shape((*lead, m, rows)), s, x.with_shape((*lead, columns, n))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, full = xs[0], attrs["full"]
        what = "the singular values did not converge"
        u, s, vh = lapack("svd", what, FINITE, lambda a: np.linalg.svd(a, full_matrices=full), x)
        return u, s, vh

    @staticmethod
    def weights(s: Any, size: int) -> tuple[Any, Any]:
        """1 / (s_j - s_i) and 1 / (s_j + s_i) for s padded with zeros to ``size``; 0 for 1 / 0."""
        lead, k = shape_of(s)[:-1], shape_of(s)[-1]
        if k < size:
            spec = (*[(0, m, 1) for m in lead], (0, k, 1))
            s = OPS["unslice"](s, spec=spec, shape=(*lead, size))
        rows, columns, floor = as_rows(s, size), as_columns(s, size), negligible(s, size)
        return safe_reciprocal(rows - columns, floor), safe_reciprocal(rows + columns, floor)

    @staticmethod
    def sizes(x: Any, full: bool) -> tuple[int, int, int, int]:
        """Rows and columns of x, number of singular values, size of the space in which vectors turn."""
        m, n = shape_of(x)[-2:]
        return m, n, min(m, n), max(m, n) if full else min(m, n)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        (u, s, vh), t = out, ts[0]
        m, n, k, size = self.sizes(t, **attrs)
        v = mH(vh)
        p = block(mm(mH(u), t, v), size, size)
        minus, plus = self.weights(s, size)
        a, b = herm(p) * minus, anti(p) * plus
        columns_u, columns_v = shape_of(u)[-1], shape_of(v)[-1]
        du = mm(u, part(a + b, columns_u, columns_u))
        dv = mm(v, part(a - b, columns_v, columns_v))
        if not attrs["full"] and m != n:
            inverse = safe_reciprocal(s, _floor(s))
            if m > n:
                w = mm(t, v) * as_rows(inverse, m)
                du = du + (w - mm(u, mm(mH(u), w)))
            else:
                w = mm(mH(t), u) * as_rows(inverse, n)
                dv = dv + (w - mm(v, mm(mH(v), w)))
        return du, real(diagonal_of(part(p, k, k))), mH(dv)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        u, s, vh = out
        m, n, k, size = self.sizes(xs[0], **attrs)
        inner = None if g[1] is None else like(embed_diagonal(g[1], size, size) if k == size else
                                               block(embed_diagonal(g[1], k, k), size, size), u)  # fmt: skip
        beyond = None
        if g[0] is not None or g[2] is not None:
            gu, gvh = full_tuple((g[0], g[2]), (u, vh))
            gv = mH(gvh)
            minus, plus = self.weights(s, size)
            au = block(mm(mH(u), gu), size, size)
            av = block(mm(vh, gv), size, size)
            inner = total((inner, herm((au + av) * minus), anti((au - av) * plus)))
            if not attrs["full"] and m != n:
                beyond = self.beyond(gu if m > n else gv, out)
        rows, columns = shape_of(u)[-1], shape_of(vh)[-2]
        return [total((mm(u, part(inner, rows, columns), vh), beyond))]

    def beyond(self, g: Any, out: Any) -> Any:
        """The part of the adjoint outside the span of the reduced vectors on the longer side."""
        u, s, vh = out
        inverse = safe_reciprocal(s, _floor(s))
        w = g * as_rows(inverse, shape_of(g)[-2])
        if shape_of(u)[-2] > shape_of(vh)[-1]:
            return mm(w - mm(u, mm(mH(u), w)), vh)
        return mm(u, mH(w - mm(mH(vh), mm(vh, w))))

    def samples(self) -> Iterable[Sample]:
        for full in (False, True):
            attrs = {"full": full}
            yield Sample(floats(3, 3), attrs=attrs)
            yield Sample(floats(2, 4, 2), attrs=attrs, numeric=not full, label="tall, batched")
            yield Sample(floats(2, 3), attrs=attrs, numeric=not full, label="wide")
            yield Sample(np.eye(3)[:, :2], attrs=attrs, numeric=False, label="equal singular values")
            yield Sample(np.diag([2.0, 0.0, 0.0]), attrs=attrs, numeric=False, label="zero singular values")
            yield Sample(np.zeros((2, 3)), attrs=attrs, numeric=False, label="zeros")
            yield Sample(complexes(3, 2), attrs=attrs, numeric=False, label="complex: LAPACK chooses other phases")
            yield Sample(complexes(2, 2), attrs=attrs, numeric=False, label="complex, square")
        yield Sample(floats(0, 3), attrs={"full": False}, label="empty")


def _floor(s: Any) -> Any:
    """What the square of a singular value must exceed to count."""
    shape = shape_of(s)
    eps = float(np.finfo(dtype_of(s)).eps) * 8 * shape[-1]
    square = OPS["sum"](s * s, axes=(len(shape) - 1,))
    return OPS["expand"](square, shape=shape, axes=(len(shape) - 1,)) * eps**2

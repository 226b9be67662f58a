"""Linear systems: general, triangular, and the factorisation with row exchanges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ShapeError, message
from ..graph.aval import Aval, aval_of, describe
from .base import OPS, Op, Sample, full_tuple, shape_of, to_front, total, zeros_like
from .linalg import regular
from .matrices import SINGULAR, MatrixOp, block, lapack, lower, mH, mm, part, upper
from .testpoints import complexes, floats

BLOCK = 32  # rows of a triangular matrix that are eliminated one by one; the rest are matrix products


def check_system(name: str, a: Aval, b: Aval) -> None:
    """Raise unless ``a`` is square and ``b`` has its rows and leading axes."""
    if b.shape[:-1] != a.shape[:-1]:
        raise ShapeError(
            message(
                name,
                "the matrix and the right-hand side do not fit",
                describe((a, b)),
                "They are (..., n, n) and (..., n, k); a vector b is b[..., None]",
            )
        )


class Solve(MatrixOp):
    """The x with a @ x = b; leading axes are equal (the front broadcasts first)."""

    name = "solve"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        self.check(*avals)
        check_system("solve", *avals)
        return avals[1]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        a, b = xs
        if a.ndim != b.ndim:  # NumPy would take b for vectors
            check_system("solve", aval_of(a), aval_of(b))
        return lapack("solve", "the matrix is singular", SINGULAR, np.linalg.solve, a, b)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        right = total((ts[1], None if ts[0] is None else -mm(ts[0], out)))
        return self(xs[0], right)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        gb = self(mH(xs[0]), g)
        return [-mm(gb, mH(out)) if need[0] else None, gb]

    def samples(self) -> Iterable[Sample]:
        yield from system_samples(regular)
        yield Sample(complexes(2, 2) + 2 * np.eye(2), complexes(2, 3, seed=1))


def system_samples(matrix: Any, **attrs: Any) -> Iterable[Sample]:
    """A system, a batch of them, empty ones."""
    yield Sample(matrix(3), floats(3, 2, seed=1), attrs=attrs)
    yield Sample(matrix(2, 2), floats(2, 2, 1, seed=1), attrs=attrs, label="batched")
    yield Sample(floats(0, 0), floats(0, 2), attrs=attrs, label="empty")
    yield Sample(matrix(2), floats(2, 0), attrs=attrs, label="no right-hand side")


class SolveTriangular(MatrixOp):
    """The x with a @ x = b for triangular ``a``; only that triangle is looked at.

    ``unit``: the diagonal counts as ones. A zero on the diagonal gives inf or NaN, as in PyTorch.
    """

    name = "solve_triangular"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        self.check(*avals)
        check_system(self.name, *avals)
        return avals[1]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        a, b = xs
        if a.shape[:-1] != b.shape[:-1]:
            check_system(self.name, aval_of(a), aval_of(b))
        return substitute(a, b, **attrs)

    def triangle(self, x: Any, upper: bool, unit: bool) -> Any:
        return _upper(x, int(unit)) if upper else lower(x, -int(unit))

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        right = total((ts[1], None if ts[0] is None else -mm(self.triangle(ts[0], **attrs), out)))
        return self(xs[0], right, **attrs)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        gb = self(mH(xs[0]), g, upper=not attrs["upper"], unit=attrs["unit"])
        return [-self.triangle(mm(gb, mH(out)), **attrs) if need[0] else None, gb]

    def samples(self) -> Iterable[Sample]:
        for up in (False, True):
            for unit in (False, True):
                yield from system_samples(regular, upper=up, unit=unit)
        attrs = {"upper": True, "unit": False}
        yield Sample(complexes(2, 2) + 2 * np.eye(2), complexes(2, 3, seed=1), attrs=attrs)
        n = BLOCK + 3
        yield Sample(floats(n, n) / n + np.eye(n), floats(n, 1), attrs=attrs, wrt=(1,), label="several blocks")


_upper = upper


def substitute(a: Any, b: Any, upper: bool, unit: bool) -> Any:
    """Forward or back substitution by blocks, over all matrices and right-hand sides at once."""
    if upper:  # backwards it is a lower triangle
        return substitute(a[..., ::-1, ::-1], b[..., ::-1, :], False, unit)[..., ::-1, :]
    x = np.array(b)
    n = a.shape[-1]
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        if start:
            x[..., start:stop, :] -= np.matmul(a[..., start:stop, :start], x[..., :start, :])
        for i in range(start, stop):
            if i > start:
                x[..., i : i + 1, :] -= np.matmul(a[..., i : i + 1, start:i], x[..., start:i, :])
            if not unit:
                x[..., i, :] /= a[..., i, i, None]
    return x


# -- LU -------------------------------------------------------------------------------------------


def factorise(a: Any) -> tuple[Any, Any, Any]:
    """Packed factors, pivots (row exchanges counted from 1, as LAPACK's) and the permutation."""
    x = np.array(a).reshape(math.prod(a.shape[:-2]), *a.shape[-2:])
    count, m, n = x.shape
    each = np.arange(count)
    k = min(m, n)
    pivots = np.zeros((count, k), np.int32)
    order = np.tile(np.arange(m), (count, 1))
    for start in range(0, k, BLOCK):
        stop = min(start + BLOCK, k)
        for j in range(start, stop):
            column: Any = x[:, j:, j]
            size = np.abs(column.real) + np.abs(column.imag) if x.dtype.kind == "c" else np.abs(column)
            chosen = j + np.argmax(size, axis=1)
            pivots[:, j] = chosen + 1
            x[each, j], x[each, chosen] = x[each, chosen], x[each, j]
            order[each, j], order[each, chosen] = order[each, chosen], order[each, j]
            head = x[:, j, j, None]
            x[:, j + 1 :, j] /= np.where(head == 0, np.ones((), x.dtype), head)
            x[:, j + 1 :, j + 1 : stop] -= x[:, j + 1 :, j, None] * x[:, j, None, j + 1 : stop]
        if stop < n:
            right = x[:, start:stop, stop:]
            right[...] = substitute(x[:, start:stop, start:stop], right, False, True)
            x[:, stop:, stop:] -= np.matmul(x[:, stop:, start:stop], right)
    lead = a.shape[:-2]
    return x.reshape(a.shape), pivots.reshape(*lead, k), order.reshape(*lead, m)


def permutation(order: Any, dtype: Any) -> Any:
    """The matrices with a[order] = p^T a."""
    m = order.shape[-1]
    return (np.arange(m)[:, None] == order[..., None, :]).astype(dtype)


class LU(MatrixOp):
    """a = p @ l @ u with row exchanges: p, l, u, and the pivots.

    The derivative is that of the factors under the row exchanges found (p is locally constant). For a
    matrix that is not square it needs the leading square block, after the exchanges, to be regular.
    """

    name = "lu"
    square = False

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        self.check(*avals)
        a = avals[0]
        *lead, m, n = a.shape
        k = min(m, n)
        return (
            a.with_shape((*lead, m, m)),
            a.with_shape((*lead, m, k)),
            a.with_shape((*lead, k, n)),
            Aval((*lead, k), np.dtype(np.int32)),
        )

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        packed, pivots, order = factorise(xs[0])
        *_, m, n = packed.shape
        k = min(m, n)
        low = np.tril(packed[..., :, :k], -1)
        low[..., np.arange(k), np.arange(k)] = 1
        return permutation(order, packed.dtype), low, np.triu(packed[..., :k, :]), pivots

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        p, low, up = out[:3]
        t = mm(mH(p), ts[0])
        *_, m, n = shape_of(t)
        k = min(m, n)
        l1, u1 = part(low, k, k), part(up, k, k)
        x = _solve_left(l1, _solve_right(part(t, k, k), u1))
        tl, tu = mm(l1, lower(x, -1)), mm(upper(x), u1)
        if m > n:
            rest = _solve_right(part(t, m - k, k, k, 0) - mm(part(low, m - k, k, k, 0), tu), u1)
            tl = block(tl, m, k) + block(rest, m, k, k, 0)
        if n > m:
            rest = _solve_left(l1, part(t, k, n - k, 0, k) - mm(tl, part(up, k, n - k, 0, k)))
            tu = block(tu, k, n) + block(rest, k, n, 0, k)
        return zeros_like(p), tl, tu, None

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        p, low, up = out[:3]
        gl, gu = full_tuple(g[1:3], (low, up))
        *_, m, n = shape_of(xs[0])
        k = min(m, n)
        l1, u1 = part(low, k, k), part(up, k, k)
        gl1, gu1 = part(gl, k, k), part(gu, k, k)
        gt = None
        if m > n:
            rest = _solve_right(part(gl, m - k, k, k, 0), mH(u1), upper=False)
            gu1 = gu1 - mm(mH(part(low, m - k, k, k, 0)), rest)
            gt = block(rest, m, n, k, 0)
        if n > m:
            rest = _solve_left(mH(l1), part(gu, k, n - k, 0, k), upper=True)
            gl1 = gl1 - mm(rest, mH(part(up, k, n - k, 0, k)))
            gt = block(rest, m, n, 0, k)
        x = lower(mm(mH(l1), gl1), -1) + upper(mm(gu1, mH(u1)))
        x = _solve_right(_solve_left(mH(l1), x, upper=True), mH(u1), upper=False)
        return [mm(p, total((block(x, m, n), gt)))]

    def samples(self) -> Iterable[Sample]:
        yield Sample(regular(3)[::-1])
        yield Sample(floats(2, 4, 2), label="tall, batched")
        yield Sample(floats(2, 3), label="wide")
        yield Sample(np.eye(2), label="identity")
        yield Sample(floats(0, 0), label="empty")
        yield Sample(floats(0, 3), label="no rows")
        yield Sample(complexes(3, 3))


def _solve_left(low: Any, x: Any, upper: bool = False) -> Any:
    """``low^-1 x`` for a unit triangle."""
    return OPS["solve_triangular"](low, x, upper=upper, unit=True)


def _solve_right(x: Any, up: Any, upper: bool = True) -> Any:
    """``x up^-1`` for a triangle."""
    return mH(OPS["solve_triangular"](mH(up), mH(x), upper=not upper, unit=False))


class PermutationMatrix(Op):
    """The m by m matrices p of row exchanges (LAPACK's pivots), with a = p @ l @ u."""

    name = "permutation_matrix"
    differentiable = False

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        m = attrs["m"]
        return Aval((*avals[0].shape[:-1], m, m), attrs["dtype"])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        pivots, m = xs[0], attrs["m"]
        flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
        order = np.tile(np.arange(m), (len(flat), 1))
        each = np.arange(len(flat))
        for j in range(flat.shape[1]):
            chosen = flat[:, j] - 1
            order[each, j], order[each, chosen] = order[each, chosen], order[each, j]
        return permutation(order, attrs["dtype"]).reshape(*pivots.shape[:-1], m, m)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return None

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Any:
        return [None]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), **attrs), 0

    def samples(self) -> Iterable[Sample]:
        attrs = {"m": 3, "dtype": dt.NP_FLOAT64}
        yield Sample(np.array([3, 3, 3], np.int32), attrs=attrs)
        yield Sample(np.array([[2, 2], [1, 3]], np.int32), attrs=attrs, label="batched, fewer pivots")

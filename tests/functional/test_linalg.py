"""Linear algebra against NumPy and SciPy: values, factors, dtypes, batches, and what goes wrong."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

import wengert as wg
from wengert.errors import ArgumentError, DTypeError, GraphError, ShapeError, SingularError
from wengert.graph.handle import wrap
from wengert.ops.linalg_decompositions import positive
from wengert.ops.linalg_solve import BLOCK, factorise
from wengert.ops.testpoints import complexes, floats

L = wg.linalg
KINDS = {"float64": floats, "complex128": complexes}
SQUARE = [(3, 3), (2, 3, 3), (1, 1), (0, 0), (0, 3, 3)]
OBLONG = [*SQUARE, (4, 2), (2, 4), (3, 4, 2), (0, 2), (2, 0)]


def close(got, want, tol=1e-10):
    got = got._value if isinstance(got, wg.Tensor) else got
    assert got.shape == np.shape(want)
    assert got.dtype == np.asarray(want).dtype
    np.testing.assert_allclose(got, want, tol, tol)


def h(x):
    """Conjugate transpose of an array."""
    return np.conj(np.swapaxes(x, -1, -2))


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


# -- factors multiply to the matrix and have their forms -------------------------------------------


@pytest.mark.parametrize("shape", SQUARE)
def test_cholesky(make, shape):
    a = make(*shape)
    a = a @ h(a) + np.eye(shape[-1])
    low = L.cholesky(wrap(a))
    close(low, np.linalg.cholesky(a))
    close(L.cholesky(wrap(a), upper=True), h(np.linalg.cholesky(a)))
    close(wg.cholesky_inverse(low), np.linalg.inv(a))
    b = make(*shape[:-1], 2, seed=1)
    close(wg.cholesky_solve(wrap(b), low), np.linalg.solve(a, b))
    close(wg.cholesky_solve(wrap(b), low.mH, upper=True), np.linalg.solve(a, b))


@pytest.mark.quick(mode=["reduced"])
@pytest.mark.parametrize("shape", OBLONG)
@pytest.mark.parametrize("mode", ["reduced", "complete"])
def test_qr(make, shape, mode):
    a = make(*shape)
    q, r = L.qr(wrap(a), mode)
    close(q @ r, a)
    close(q.mH @ q, np.broadcast_to(np.eye(q.shape[-1]), (*shape[:-2], q.shape[-1], q.shape[-1])).astype(a.dtype))
    assert not np.tril(r._value, -1).any()
    if mode == "reduced":
        alone = L.qr(wrap(a), "r")
        assert alone.Q.shape == (0,)
        close(alone.R, r._value)


@pytest.mark.quick(full=[True])
@pytest.mark.parametrize("shape", OBLONG)
@pytest.mark.parametrize("full", [True, False])
def test_svd(make, shape, full):
    a = make(*shape)
    u, s, vh = L.svd(wrap(a), full)
    k = min(shape[-2:])
    close(u[..., :k] * s.unsqueeze(-2) @ vh[..., :k, :], a)
    assert u.shape[-1] == (shape[-2] if full else k)
    close(L.svdvals(wrap(a)), s._value)
    older = wg.svd(wrap(a), some=not full)
    close(older.V.mH, vh._value)
    close(older.S, s._value)


@pytest.mark.parametrize("shape", SQUARE)
def test_eigh_and_eig(make, shape):
    a = make(*shape)
    sym = (a + h(a)) / 2
    for value in (sym, a):  # of the second the Hermitian part is taken
        values, v = L.eigh(wrap(value))
        close(values, np.linalg.eigvalsh(sym))
        close(v * values.unsqueeze(-2).to(v.dtype) @ v.mH, sym)
    values, v = L.eig(wrap(a))
    close(wrap(a).to(wg.complex128) @ v, (v * values.unsqueeze(-2))._value)
    close(v.abs().square().sum(-2), np.ones((*shape[:-2], shape[-1])))
    close(L.eigvals(wrap(a)), values._value)


@pytest.mark.parametrize("shape", OBLONG)
def test_lu(make, shape):
    a = make(*shape)
    p, low, up = L.lu(wrap(a))
    close(p @ low @ up, a)
    if 0 not in shape:
        for index in np.ndindex(shape[:-2]):
            for got, want in zip((p, low, up), scipy.linalg.lu(a[index])):
                np.testing.assert_allclose(got._value[index], want, atol=1e-12)
        packed, pivots = L.lu_factor(wrap(a))
        assert pivots.dtype is wg.int32
        for got, want in zip(wg.lu_unpack(packed, pivots), (p, low, up)):
            close(got, want._value)


def test_lu_of_more_than_one_block():
    a = floats(2, 2 * BLOCK + 5, BLOCK + 7)
    p, low, up = L.lu(wrap(a))
    close(p @ low @ up, a)
    _, pivots, _ = factorise(a)
    assert np.array_equal(pivots[1] - 1, scipy.linalg.lu_factor(a[1])[1])


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
def test_lu_solve(make, left, adjoint):
    a, b = make(2, 3, 3), make(2, 3, 3, seed=1)
    x = L.lu_solve(*L.lu_factor(wrap(a)), wrap(b), left=left, adjoint=adjoint)._value
    m = h(a) if adjoint else a
    np.testing.assert_allclose(m @ x if left else x @ m, b, atol=1e-10)
    close(wg.lu_solve(wrap(b), *wg.lu(wrap(a))), np.linalg.solve(a, b))


def test_householder(make):
    a = make(5, 3)
    packed, tau, *_ = scipy.linalg.lapack.get_lapack_funcs("geqrf", (a,))(a)
    packed = np.ascontiguousarray(packed)
    q = scipy.linalg.qr(a)[0]
    close(L.householder_product(wrap(packed), wrap(tau)), q[:, :3])
    c = make(5, 5, seed=1)
    for left in (True, False):
        for transpose in (True, False):
            m = h(q) if transpose else q
            close(wg.ormqr(wrap(packed), wrap(tau), wrap(c), left, transpose), m @ c if left else c @ m)


# -- systems and inverses --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SQUARE)
def test_inverse_and_determinants(make, shape):
    a = make(*shape)
    close(L.inv(wrap(a)), np.linalg.inv(a))
    close(L.det(wrap(a)), np.linalg.det(a))
    sign, log = L.slogdet(wrap(a))
    want = np.linalg.slogdet(a)
    close(sign, want[0])
    close(log, want[1])
    close(L.matrix_power(wrap(a), 5), np.linalg.matrix_power(a, 5))
    close(L.matrix_power(wrap(a), 0), np.linalg.matrix_power(a, 0))
    close(L.matrix_power(wrap(a), -2), np.linalg.matrix_power(np.linalg.inv(a), 2))


@pytest.mark.parametrize(
    ("shape", "right"),
    [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 2)), ((0, 0), (0,)), ((0, 3, 3), (3, 1)),
     ((1, 3, 3), (4, 3, 2))],
)  # fmt: skip
def test_solve(make, shape, right):
    a, b = make(*shape), make(*right, seed=1)
    x = L.solve(wrap(a), wrap(b))._value
    np.testing.assert_allclose(a @ x, np.broadcast_to(b, (a @ x).shape), atol=1e-10)


def test_solve_takes_batches_of_vectors_and_the_other_side(make):
    a, b = make(2, 3, 3), make(2, 3, seed=1)
    close(L.solve(wrap(a), wrap(b)), np.linalg.solve(a, b[..., None])[..., 0])
    c = make(2, 4, 3, seed=2)
    close(L.solve(wrap(a), wrap(c), left=False) @ wrap(a), c)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("upper", [True, False])
def test_solve_triangular(make, upper, unit):
    for n in (0, 1, 3, 2 * BLOCK + 3):
        a = make(n, n) / max(n, 1) + 2 * np.eye(n)
        b = make(n, 2, seed=1)
        triangle = np.triu(a) if upper else np.tril(a)
        if unit:
            triangle[np.arange(n), np.arange(n)] = 1
        close(L.solve_triangular(wrap(a), wrap(b), upper=upper, unitriangular=unit), np.linalg.solve(triangle, b))
        x = L.solve_triangular(wrap(a), wrap(b.T.copy()), upper=upper, left=False, unitriangular=unit)
        close(x @ wrap(triangle), b.T)
        older = wg.triangular_solve(wrap(b), wrap(a), upper=upper, transpose=True, unitriangular=unit).solution
        close(older, np.linalg.solve(triangle.T, b))


def test_solve_triangular_with_zero_on_the_diagonal_gives_inf():
    x = L.solve_triangular(wg.tensor([[1.0, 0.0], [0.0, 0.0]]), wg.ones(2, 1), upper=False)
    assert x.tolist() == [[1.0], [np.inf]]


@pytest.mark.parametrize("shape", OBLONG)
def test_pinv_and_rank(make, shape):
    a = make(*shape)
    want = np.linalg.pinv(a) if a.size else np.zeros((*shape[:-2], shape[-1], shape[-2]), a.dtype)
    close(L.pinv(wrap(a)), want)
    assert L.matrix_rank(wrap(a)).tolist() == np.full(shape[:-2], min(shape[-2:])).tolist()


def test_tolerances():
    a = wrap(np.diag([4.0, 1.0, 0.1]))
    assert [L.matrix_rank(a, **k).item() for k in ({}, {"rtol": 0.1}, {"atol": 2.0}, {"tol": 0.5})] == [3, 2, 1, 2]
    assert L.matrix_rank(a, atol=wg.tensor(0.5), rtol=wg.tensor(0.0)).item() == 2
    assert L.matrix_rank(a, hermitian=True, rtol=0.5).item() == 1
    close(L.pinv(a, rtol=0.1), np.diag([0.25, 1.0, 0.0]))
    close(L.pinv(a, atol=2.0), np.diag([0.25, 0.0, 0.0]))
    close(L.pinv(a, hermitian=True), np.diag([0.25, 1.0, 10.0]))
    close(wg.pinverse(a, 0.1), np.diag([0.25, 1.0, 0.0]))


@pytest.mark.parametrize("driver", [None, "gelsy", "gelsd", "gelss", "gels"])
def test_lstsq(driver):
    a, b = floats(5, 3), floats(5, 2, seed=1)
    got = L.lstsq(wrap(a), wrap(b), driver=driver)
    x, residuals, _, values = np.linalg.lstsq(a, b)
    close(got.solution, x)
    close(got.residuals, residuals if driver in ("gelsd", "gelss", "gels") else np.zeros(0))
    close(got.rank, np.zeros(0, np.int64) if driver == "gels" else np.array(3))
    close(got.singular_values, values if driver in ("gelsd", "gelss") else np.zeros(0))
    close(L.lstsq(wrap(a), wrap(b[:, 0])).solution, x[:, 0])


def test_lstsq_of_least_norm_and_of_poor_rank():
    a = np.outer([1.0, 2.0, 3.0], [1.0, 1.0])
    b = floats(3, 1)
    close(L.lstsq(wrap(a), wrap(b)).solution, np.linalg.lstsq(a, b)[0])
    wide = floats(2, 2, 4)
    got = L.lstsq(wrap(wide), wrap(floats(2, 2, 1))).solution._value
    for k in range(2):
        np.testing.assert_allclose(got[k], np.linalg.lstsq(wide[k], floats(2, 2, 1)[k])[0])


# -- functions of matrices ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-9, 0.1, 1.0, 30.0])
def test_matrix_exp(make, scale):
    a = scale * make(4, 4)
    np.testing.assert_allclose(L.matrix_exp(wrap(a))._value, scipy.linalg.expm(a), 1e-11, 1e-13)
    single = L.matrix_exp(wrap(a).to(wg.complex64 if a.dtype.kind == "c" else wg.float32))
    np.testing.assert_allclose(single._value, scipy.linalg.expm(a), 1e-4, 1e-5 * np.abs(scipy.linalg.expm(a)).max())


def test_matrix_exp_of_matrices_that_are_not_finite():
    out = L.matrix_exp(wg.stack([wg.zeros(2, 2), wg.full((2, 2), wg.nan), wg.full((2, 2), wg.inf)]))
    assert out[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert wg.isnan(out[1:]).all()


def test_logdet():
    assert L.LinAlgError is SingularError
    a = positive(3)
    close(wg.logdet(wrap(a)), np.log(np.linalg.det(a)))
    assert wg.logdet(wg.zeros(2, 2)).item() == -wg.inf
    assert wg.isnan(wg.logdet(wg.diag(wg.tensor([1.0, -1.0]))))


def test_trace():
    a = floats(2, 3)
    close(wg.trace(wrap(a)), np.trace(a))
    assert wg.trace(wg.ones(3, 2, dtype=wg.int32)).dtype is wg.int64
    assert wg.trace(wg.zeros(0, 0)).item() == 0


# -- products ----------------------------------------------------------------------------------------


def test_cross_and_vecdot(make):
    a, b = make(2, 3), make(2, 3, seed=1)
    close(L.cross(wrap(a), wrap(b)), np.cross(a, b))
    close(L.cross(wrap(a.T.copy()), wrap(b.T.copy()), dim=0), np.cross(a, b).T)
    close(wg.cross(wrap(a), wrap(b)), np.cross(a, b))
    close(L.cross(wrap(a), wrap(b[:1])), np.cross(a, b[:1]))
    close(L.vecdot(wrap(a), wrap(b)), np.linalg.vecdot(a, b))
    close(L.vecdot(wrap(a), wrap(b[:1]), dim=0), (a.conj() * b[:1]).sum(0))


def test_multi_dot(make):
    xs = [make(2, 3), make(3, 5, seed=1), make(5, 2, seed=2), make(2, 4, seed=3)]
    want = np.linalg.multi_dot(xs)
    close(L.multi_dot([wrap(x) for x in xs]), want)
    close(wg.chain_matmul(*[wrap(x) for x in xs]), want)
    ends = [xs[0][0], xs[1], xs[2][:, 0]]
    close(L.multi_dot([wrap(x) for x in ends]), np.linalg.multi_dot(ends))
    close(L.multi_dot([wrap(x) for x in ends[1:]]), np.linalg.multi_dot(ends[1:]))


def test_tensors_as_matrices(make):
    a, b = make(2, 3, 6), make(2, 3, seed=1)
    close(L.tensorsolve(wrap(a), wrap(b)), np.linalg.tensorsolve(a, b))
    swapped = np.moveaxis(a, 0, -1).copy()
    close(L.tensorsolve(wrap(swapped), wrap(b.T.copy()), (1,)), np.linalg.tensorsolve(swapped, b.T, (1,)))
    close(L.tensorinv(wrap(a)), np.linalg.tensorinv(a))
    close(L.tensorinv(wrap(a.reshape(6, 3, 2)), 1), np.linalg.tensorinv(a.reshape(6, 3, 2), 1))


def test_vander():
    x = floats(3)
    close(wg.vander(wrap(x)), np.vander(x))
    close(wg.vander(wrap(x), 2, increasing=True), np.vander(x, 2, increasing=True))
    close(L.vander(wrap(x), N=5), np.vander(x, 5, increasing=True))
    close(L.vander(wg.tensor([[0, 2], [3, 4]])), np.array([[[1, 0], [1, 2]], [[1, 3], [1, 4]]]))


# -- norms -------------------------------------------------------------------------------------------

ORDERS = (0, 0.5, 1, 2, 2.5, 3, -1, -2, np.inf, -np.inf)


@pytest.mark.parametrize("order", ORDERS)
def test_vector_norm(make, order):
    a = make(2, 3, 4)
    for dim, keepdim in [(None, False), (1, False), ((0, 2), True), (-1, True)]:
        got = L.vector_norm(wrap(a), order, dim, keepdim)
        axis = (0, 1, 2) if dim is None else dim
        moved = np.linalg.vector_norm(a, ord=order, axis=axis, keepdims=keepdim)
        close(got, np.asarray(moved))
    close(L.norm(wrap(a[0, 0]), order), np.asarray(np.linalg.norm(a[0, 0], order)))


@pytest.mark.parametrize("order", ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_matrix_norm_and_cond(make, order):
    a = make(2, 3, 3)
    close(L.matrix_norm(wrap(a), order), np.linalg.matrix_norm(a, ord=order))
    close(L.matrix_norm(wrap(a), order, keepdim=True), np.linalg.matrix_norm(a, ord=order, keepdims=True))
    oblong = make(3, 2, 4)
    got = L.norm(wrap(oblong), order, (2, 0))
    close(got, np.linalg.norm(oblong, order, (2, 0)))
    close(L.cond(wrap(a), order), np.linalg.cond(a, order).real)  # complex with a zero part before NumPy 2.1
    singular = np.stack([np.eye(2), np.ones((2, 2))])
    if order not in (2, -2):
        assert L.cond(wrap(singular), order)[1].item() == wg.inf


def test_norm_of_nothing():
    assert L.norm(wg.zeros(0)).item() == 0
    assert L.matrix_norm(wg.zeros(2, 0), 1).item() == 0
    assert L.matrix_norm(wg.zeros(0, 2), 2).item() == 0
    assert L.norm(wg.zeros(2, 3, 4)).item() == 0
    with pytest.raises(ArgumentError, match="no such element"):
        L.vector_norm(wg.zeros(0), wg.inf)


def test_norm_in_another_dtype():
    assert L.vector_norm(wg.ones(3, dtype=wg.float16), dtype=wg.float64).dtype is wg.float64
    assert L.vector_norm(wg.full((4,), 3e4, dtype=wg.float16) / 2).item() == 30000.0  # squares overflow float16
    assert L.vector_norm(wg.ones(2, dtype=wg.complex64)).dtype is wg.float32


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3, np.inf])
def test_cdist(p):
    a, b = floats(2, 3, 4), floats(1, 5, 4, seed=1)
    want = np.linalg.vector_norm(a[:, :, None] - b[:, None], ord=p, axis=-1)
    for mode in ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist", None):
        close(wg.cdist(wrap(a), wrap(b), p, mode), want)
    assert wg.cdist(wg.ones(2, 0), wg.ones(3, 0), p).tolist() == [[0.0] * 3] * 2
    assert wg.cdist(wg.ones(0, 2), wg.ones(3, 2), p).shape == (0, 3)


def test_large_distances_go_through_a_product(monkeypatch):
    from wengert.functional import linalg_products

    monkeypatch.setattr(linalg_products, "LARGE", 10)
    a, b = floats(6, 4), floats(5, 4, seed=1)
    close(wg.cdist(wrap(a), wrap(b)), np.linalg.norm(a[:, None] - b, axis=-1))


def test_renorm():
    a = floats(3, 4)
    out = wg.renorm(wrap(a), 2, 0, 1.0)._value
    sizes = np.linalg.norm(a, axis=1)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), np.minimum(sizes, 1.0), 1e-6)


# -- dtypes and errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inv", "det", "eigh", "eig", "svd", "qr", "lu", "matrix_exp", "slogdet", "pinv"])
def test_single_precision_stays_single(name):
    for dtype in (wg.float32, wg.complex64):
        out = getattr(L, name)(wrap(floats(3, 3)).to(dtype))
        for o in out if isinstance(out, tuple) else (out,):
            assert o.dtype in (wg.float32, wg.complex64)


BATCH = np.stack([np.eye(2), np.ones((2, 2)), np.eye(2)])
ERRORS = [
    ("L.inv(S)", SingularError, r"inv: the matrix is singular: f64\[3,2,2\], matrix \[1\] of the batch\. Add"),
    ("L.inv(S[1])", SingularError, r"inv: the matrix is singular: f64\[2,2\]\. Add"),
    ("L.solve(S, S)", SingularError, r"solve: the matrix is singular.*matrix \[1\]"),
    ("L.solve(S, wg.ones(2, dtype=wg.float64))", SingularError, r"solve: .* matrix \[1\]"),
    ("L.cholesky(S - 1)", SingularError, r"cholesky: the matrix is not positive definite.*matrix \[0\]"),
    ("L.lu_factor(S)", SingularError, "lu_factor: the upper triangle has a zero"),
    ("L.svd(S * wg.nan)", SingularError, "svd: the singular values did not converge"),
    ("L.inv(wg.ones(2, 3))", ShapeError, r"inv: needs square matrices: f32\[2,3\]"),
    ("L.det(wg.ones(3))", ShapeError, "at least two dimensions"),
    ("L.inv(wg.ones(2, 2, dtype=wg.float16))", DTypeError, r"needs one of float32.*f16\[2,2\]"),
    ("L.eigh(wg.ones(2, 2, dtype=wg.int64))", DTypeError, "needs one of float32"),
    ("L.solve(wg.ones(2, 2), wg.ones(2, 2, dtype=wg.float64))", DTypeError, "one dtype"),
    ("L.solve(wg.ones(2, 2), wg.ones(3, 2))", ShapeError, "do not fit"),
    ("L.solve_triangular(wg.ones(2, 2), wg.ones(3, 2), upper=True)", ShapeError, "do not fit"),
    ("L.lstsq(wg.ones(3, 2), wg.ones(2, 2))", ShapeError, "the same rows"),
    ("L.lstsq(wg.ones(3, 2), wg.ones(3, 2), driver='x')", ArgumentError, "no such driver"),
    ("L.qr(wg.ones(2, 2), 'x')", ArgumentError, "no such mode"),
    ("L.eigh(wg.ones(2, 2), 'x')", ArgumentError, "UPLO"),
    ("L.lu(wg.ones(2, 2), pivot=False)", ArgumentError, "pivot=False"),
    ("L.matrix_norm(wg.ones(2, 2), 3)", ArgumentError, "no such norm: 3"),
    ("L.matrix_norm(wg.ones(2))", ShapeError, "matrices over two dimensions"),
    ("L.matrix_norm(wg.ones(2, 2), dim=(0, 0))", ArgumentError, "must differ"),
    ("L.norm(wg.ones(2, 2, 2), 2)", ShapeError, "a vector or a matrix"),
    ("L.norm(wg.ones(2), 'nuc')", ArgumentError, "norm of matrices"),
    ("L.vector_norm(wg.ones(2, dtype=wg.int64))", DTypeError, "floating or complex"),
    ("L.cross(wg.ones(2), wg.ones(2))", ShapeError, "must have size 3"),
    ("wg.cross(wg.ones(2, 4), wg.ones(2, 4))", ShapeError, "no dimension has size 3"),
    ("L.multi_dot([wg.ones(2, 2)])", ArgumentError, "at least two"),
    ("L.multi_dot([wg.ones(2, 2), wg.ones(2), wg.ones(2)])", ShapeError, "vectors at the ends"),
    ("L.tensorinv(wg.ones(2, 3))", ShapeError, "differ in number"),
    ("L.tensorsolve(wg.ones(2, 3), wg.ones(2))", ShapeError, "not square"),
    ("L.vander(wg.ones(2), N=1)", ArgumentError, "greater than 1"),
    ("L.matrix_power(wg.ones(2, 3), 2)", ShapeError, "square"),
    ("wg.trace(wg.ones(2))", ShapeError, "needs a matrix"),
    ("wg.cdist(wg.ones(2, 3), wg.ones(2, 4))", ShapeError, r"\(\.\.\., m, d\)"),
    ("wg.cdist(wg.ones(2, 3), wg.ones(2, 3), -1)", ArgumentError, "negative"),
    ("wg.renorm(wg.ones(2), 2, 0, 1)", ShapeError, "at least two dimensions"),
    ("L.householder_product(wg.ones(2, 3), wg.ones(3))", ShapeError, "do not fit"),
]


@pytest.mark.parametrize(("text", "kind", "match"), ERRORS, ids=[t for t, *_ in ERRORS])
def test_errors(text, kind, match):
    with pytest.raises(kind, match=match):
        eval(text, {"wg": wg, "L": L, "S": wrap(BATCH)})


def test_complete_qr_has_no_derivative_if_it_is_tall():
    a = wg.ones(3, 2, requires_grad=True)
    with pytest.raises(GraphError, match="extra columns of Q are arbitrary"):
        L.qr(a, "complete").R.sum().backward()


def test_forms_that_report_instead_of_raising():
    a = wrap(BATCH)
    inverse, info = L.inv_ex(a)
    assert info.tolist() == [0, 1, 0]
    assert wg.isnan(inverse[1]).all()
    close(inverse[0], np.eye(2))
    factor, info = L.cholesky_ex(a - 0.25 * wg.ones(2, 2))
    assert info.tolist() == [0, 1, 0]
    assert wg.isnan(factor[1]).all()
    assert L.solve_ex(a, a).info.tolist() == [0, 1, 0]
    assert L.lu_factor_ex(a).info.tolist() == [0, 2, 0]
    with pytest.raises(SingularError):
        L.inv_ex(a, check_errors=True)


def test_results_are_named():
    assert L.eigh(wg.eye(2))._fields == ("eigenvalues", "eigenvectors")
    assert L.svd(wg.eye(2))._fields == ("U", "S", "Vh")
    assert wg.svd(wg.eye(2))._fields == ("U", "S", "V")
    assert L.qr(wg.eye(2))._fields == ("Q", "R")
    assert L.slogdet(wg.eye(2))._fields == ("sign", "logabsdet")
    assert L.lu_factor(wg.eye(2))._fields == ("LU", "pivots")

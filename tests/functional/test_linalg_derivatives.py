"""Derivatives of linear algebra where they are hard.

Equal and zero singular values, singular matrices, second and third order in every mix of modes; PyTorch is
wrong or silent in several of these. The reference is mpmath with 40 digits, or a closed form.
"""

from __future__ import annotations

import itertools

import mpmath as mp
import numpy as np
import pytest

import wengert as wg
from wengert.graph.handle import wrap
from wengert.ops.base import OPS
from wengert.ops.linalg_decompositions import positive
from wengert.ops.testpoints import complexes, floats
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap
from wengert.transform.flat import jvp_flat, vjp_flat

L = wg.linalg
A, T = floats(3, 3), floats(3, 3, seed=1)
B = floats(3, 2, seed=2)
SINGULAR = np.outer([1.0, 2.0, -1.0], [0.5, 1.0, 3.0])


def derivative(f, modes):
    """The derivative of a function of one number, taken once for each letter: f forward, r reverse."""
    for mode in modes:
        if mode == "f":
            f = lambda x, f=f: jvp_flat(lambda y: [f(y)], [x], [wg.ones_like(x)])[1][0]
        else:
            f = lambda x, f=f: vjp_flat(lambda y: [f(y)], [x])[1](wg.ones_like(x))[0]
    return f(wrap(np.array(0.0)))._value


def matrix(x):
    return mp.matrix(x.tolist())


def mp_total(m):
    return mp.fsum(m[i, j] * (i + 1) * (j + 2) for i in range(m.rows) for j in range(m.cols))


def total(m):
    """A weighted sum of the elements, the same as `mp_total`."""
    rows, columns = m.shape
    w = np.outer(np.arange(rows) + 1.0, np.arange(columns) + 2.0)
    return (m * wrap(w)).sum()


def mp_pinv(m):
    return (m.T * m) ** -1 * m.T


def mp_qr(m):
    """R with the signs of LAPACK."""
    r = mp.cholesky(m.T * m).T
    signs = np.sign(np.diag(np.linalg.qr(np.array(m.tolist(), float))[1]))
    return mp.matrix([[r[i, j] * int(signs[i]) for j in range(r.cols)] for i in range(r.rows)])


def mp_lu(m):
    """U without row exchanges."""
    u = m.copy()
    for k in range(u.rows):
        for i in range(k + 1, u.rows):
            factor = u[i, k] / u[k, k]
            for j in range(u.cols):
                u[i, j] -= factor * u[k, j]
    return u


# what; ours; mpmath's; base point; direction
PATHS = {
    "det": (L.det, mp.det, A),
    "det of a singular matrix": (L.det, mp.det, SINGULAR),
    "det of a matrix of zeros": (L.det, mp.det, 0 * A),
    "slogdet": (lambda m: L.slogdet(m).logabsdet, lambda m: mp.log(abs(mp.det(m))), A),
    "logdet": (wg.logdet, lambda m: mp.log(mp.det(m)), positive(3)),
    "inv": (lambda m: total(L.inv(m)), lambda m: mp_total(m**-1), A),
    "solve": (lambda m: total(L.solve(m, wrap(B))), lambda m: mp_total(m**-1 * matrix(B)), A),
    "cholesky": (
        lambda m: total(L.cholesky(m)),
        lambda m: mp_total(mp.cholesky((m + m.T) / 2)),
        positive(3),
    ),
    "cholesky_inverse": (
        lambda m: total(wg.cholesky_inverse(m)),
        lambda m: mp_total((mp_lower(m) * mp_lower(m).T) ** -1),
        positive(3),
    ),
    "cholesky_solve": (
        lambda m: total(wg.cholesky_solve(wrap(B), m)),
        lambda m: mp_total((mp_lower(m) * mp_lower(m).T) ** -1 * matrix(B)),
        positive(3),
    ),
    "solve_triangular": (
        lambda m: total(L.solve_triangular(m, wrap(B), upper=False)),
        lambda m: mp_total(mp_lower(m) ** -1 * matrix(B)),
        positive(3),
    ),
    "matrix_exp": (lambda m: total(L.matrix_exp(m)), lambda m: mp_total(mp.expm(m)), A),
    "matrix_power": (lambda m: total(L.matrix_power(m, -3)), lambda m: mp_total(m**-3), A),
    "pinv": (lambda m: total(L.pinv(m[:, :2])), lambda m: mp_total(mp_pinv(m[:, :2])), A),
    "lstsq": (
        lambda m: total(L.lstsq(m[:, :2], wrap(B)).solution),
        lambda m: mp_total(mp_pinv(m[:, :2]) * matrix(B)),
        A,
    ),
    "qr": (lambda m: total(L.qr(m[:, :2]).R), lambda m: mp_total(mp_qr(m[:, :2])), A),
    "lu": (lambda m: total(L.lu(m).U), lambda m: mp_total(mp_lu(m)), positive(3)),
    "eigvalsh": (
        lambda m: total(L.eigvalsh(m).unsqueeze(0)),
        lambda m: mp_total(mp.eigsy((m + m.T) / 2, eigvals_only=True).T),
        np.diag([1.0, 2.0, 4.0]) + 0.1 * A,
    ),
    "svdvals": (
        lambda m: total(L.svdvals(m).unsqueeze(0)),
        lambda m: mp_total(mp.matrix(sorted(mp.svd_r(m, compute_uv=False), reverse=True)).T),
        np.diag([1.0, 2.0, 4.0]) + 0.1 * A,
    ),
    "frobenius norm": (L.matrix_norm, lambda m: mp.norm(m, 2) if m.cols == 1 else mp.mnorm(m, "f"), A),
}


def mp_lower(m):
    return mp.matrix([[m[i, j] if j <= i else 0 for j in range(m.cols)] for i in range(m.rows)])


@pytest.mark.quick(name=list(PATHS)[::4])
@pytest.mark.parametrize("name", PATHS)
def test_three_derivatives_along_a_line(name):
    """All mixes of modes: 2 of order one, 4 of order two, 8 of order three."""
    f, reference, start = PATHS[name]
    with mp.workdps(40):
        want = [float(mp.diff(lambda s: reference(matrix(start) + s * matrix(T)), 0, k)) for k in (1, 2, 3)]
    for order in (1, 2, 3):
        for modes in itertools.product("fr", repeat=order):
            got = derivative(lambda s: f(wrap(start) + s * wrap(T)), modes)
            limit = 1e-9 * max(map(abs, want))
            assert got == pytest.approx(want[order - 1], rel=1e-8, abs=limit), "".join(modes)


@pytest.mark.parametrize("start", [A, SINGULAR, 0 * A, np.eye(3)], ids=["regular", "rank 1", "zeros", "identity"])
def test_hessian_of_det_is_exact(start):
    """d2 det / dA_ij dA_kl is plus or minus the element left over: closed form for 3 by 3."""
    e = np.zeros((3, 3, 3))
    for p in itertools.permutations(range(3)):
        e[p] = np.linalg.det(np.eye(3)[list(p)])
    want = np.einsum("ikm,jln,mn->ijkl", e, e, start)
    flat = wrap(start.reshape(9))
    for outer, inner in itertools.product((wg.func.jacfwd, wg.func.jacrev), repeat=2):
        got = outer(inner(lambda x: L.det(x.reshape(3, 3))))(flat)
        np.testing.assert_allclose(got._value.reshape(3, 3, 3, 3), want, atol=1e-12)


def test_gradient_of_det_is_the_cofactor_matrix_at_every_rank():
    for n, rank in itertools.product(range(1, 6), range(6)):
        a = floats(n, rank) @ floats(rank, n, seed=1)
        minors = [
            [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)] for i in range(n)
        ]
        x = wrap(a).requires_grad_()
        L.det(x).backward()
        np.testing.assert_allclose(x.grad._value, minors, atol=1e-10)


# -- equal values ---------------------------------------------------------------------------------------

Q = np.linalg.qr(floats(4, 4))[0]
EQUAL = Q @ np.diag([1.0, 1.0, 1.0, 3.0]) @ Q.T  # rounding splits the triple eigenvalue

INVARIANT = {
    "sum of squares": lambda m: (L.eigvalsh(m) ** 2).sum(),
    "logdet": lambda m: L.eigvalsh(m).log().sum(),
    "projector onto an eigenspace": lambda m: L.eigh(m).eigenvectors[:, :3] @ L.eigh(m).eigenvectors[:, :3].mT,
    "projector onto the other": lambda m: L.eigh(m).eigenvectors[:, 3:] @ L.eigh(m).eigenvectors[:, 3:].mT,
    "nuclear norm": lambda m: L.matrix_norm(m, "nuc"),
    "polar factor": lambda m: L.svd(m).U @ L.svd(m).Vh,
    "left projector": lambda m: L.svd(m).U[:, 1:] @ L.svd(m).U[:, 1:].mT,
    "sum of logarithms": lambda m: L.svdvals(m).log().sum(),
}


@pytest.mark.parametrize("name", INVARIANT)
def test_invariant_functions_of_equal_values(name):
    p = Point(lambda m: [INVARIANT[name](m)], [EQUAL])
    check_first_order(p)


@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
def test_full_matrices_of_equal_singular_values(shape):
    """The projector onto what the singular vectors leave over is as smooth as the one onto them."""
    a = np.linalg.qr(floats(4, 2))[0]
    a = a if shape == (4, 2) else a.T.copy()

    def rest(m):
        u, _, vh = L.svd(m, full_matrices=True)
        return u[:, 2:] @ u[:, 2:].mT if shape == (4, 2) else vh[2:].mT @ vh[2:]

    check_first_order(Point(lambda m: [rest(m)], [a]))


def test_complex_vectors_through_functions_without_phase():
    a = complexes(3, 3)
    sym = a + a.conj().T

    def one(m):
        v = L.eigh(m).eigenvectors[:, :1]
        return v @ v.mH

    def low_rank(m):
        u, s, vh = L.svd(m, full_matrices=False)
        return u[:, :1] * s[:1] @ vh[:1]

    def by_eig(m):
        values, v = L.eig(m)
        return v * (values**2).unsqueeze(-2) @ L.inv(v)

    for f, x in [(one, sym), (low_rank, a), (low_rank, complexes(2, 4)), (low_rank, complexes(4, 2)), (by_eig, a),
                 (by_eig, floats(3, 3)), (lambda m: L.eig(m).eigenvectors.abs(), a)]:  # fmt: skip
        p = Point(lambda m, f=f: [f(m)], [x])
        check_first_order(p)
        check_second_order(p)


def test_symmetric_function_of_complex_eigenvalues_of_a_real_matrix():
    p = Point(lambda m: [(L.eigvals(m) ** 3).sum().real], [floats(4, 4)])
    check_first_order(p)
    np.testing.assert_allclose(p.vjp(p.arrays, [np.array(1.0)])[0], 3 * np.linalg.matrix_power(p.arrays[0], 2).T)


def test_rank_deficient_pinv_along_matrices_of_its_rank():
    b, c = floats(4, 2), floats(2, 3, seed=1)
    p = Point(lambda x, y: [L.pinv(x @ y, rtol=1e-9)], [b, c])
    check_first_order(p, tol=10)
    check_second_order(p, tol=10)


# -- public functions ---------------------------------------------------------------------------------------

FUNCTIONS = {
    "trace": (wg.trace, [(2, 3)]),
    "cholesky of a product": (lambda x: L.cholesky(x @ x.mT + wg.eye(3, dtype=wg.float64), upper=True), [(3, 3)]),
    "cholesky_inverse": (wg.cholesky_inverse, [(3, 3)]),
    "solve on the right": (lambda a, b: L.solve(a, b, left=False), [(3, 3), (2, 3)]),
    "solve a vector": (L.solve, [(3, 3), (3,)]),
    "solve_triangular on the right": (lambda a, b: L.solve_triangular(a, b, upper=True, left=False), [(3, 3), (2, 3)]),
    "lu_factor": (lambda a: L.lu_factor(a).LU, [(3, 3)]),
    "lu_solve": (lambda a, b: L.lu_solve(*L.lu_factor(a), b), [(3, 3), (3, 2)]),
    "lstsq": (lambda a, b: L.lstsq(a, b).solution, [(4, 2), (4, 1)]),
    "pinv hermitian": (lambda a: L.pinv(a, hermitian=True), [(3, 3)]),
    "cond": (L.cond, [(3, 3)]),
    "cond 1": (lambda a: L.cond(a, 1), [(3, 3)]),
    "cond nuc": (lambda a: L.cond(a, "nuc"), [(3, 3)]),
    "norm 3": (lambda a: L.vector_norm(a, 3), [(2, 3)]),
    "norm inf": (lambda a: L.matrix_norm(a, wg.inf), [(2, 3)]),
    "norm 2": (lambda a: L.matrix_norm(a, 2), [(2, 3)]),
    "norm nuc": (lambda a: L.matrix_norm(a, "nuc"), [(2, 3)]),
    "vecdot": (L.vecdot, [(2, 3), (3,)]),
    "cross": (L.cross, [(2, 3), (1, 3)]),
    "multi_dot": (lambda *xs: L.multi_dot(xs), [(2, 3), (3, 4), (4,)]),
    "tensorinv": (lambda a: L.tensorinv(a, 1), [(4, 2, 2)]),
    "tensorsolve": (L.tensorsolve, [(2, 2, 4), (2, 2)]),
    "vander": (L.vander, [(3,)]),
    "householder_product": (L.householder_product, [(4, 3), (3,)]),
    "ormqr": (lambda a, t, x: wg.ormqr(a, t, x, False, True), [(4, 3), (3,), (2, 4)]),
    "renorm": (lambda a: wg.renorm(a, 2, 0, 0.5), [(3, 4)]),
    "cdist": (wg.cdist, [(3, 4), (2, 4)]),
    "cdist by a product": (lambda a, b: wg.cdist(a, b, compute_mode="use_mm_for_euclid_dist"), [(3, 4), (2, 4)]),
    "cdist 3": (lambda a, b: wg.cdist(a, b, 3.0), [(3, 4), (2, 4)]),
    "matrix_power 0": (lambda a: L.matrix_power(a, 0) + a, [(2, 2)]),
    "matrix_power 1": (lambda a: L.matrix_power(a, 1), [(2, 2)]),
    "qr r": (lambda a: L.qr(a, "r").R, [(3, 2)]),
    "svd top level": (lambda a: wg.svd(a).U * wg.svd(a).S @ wg.svd(a).V.mT, [(3, 2)]),
}


@pytest.mark.quick(name=list(FUNCTIONS)[::4])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_in_every_mode(name):
    f, shapes = FUNCTIONS[name]
    p = Point(lambda *xs: [f(*xs)], [floats(*s, seed=k) for k, s in enumerate(shapes)])
    check_first_order(p)
    check_second_order(p)
    check_vmap(p.f, p.arrays)


def test_norms_have_gradient_zero_at_zero():
    norms = [lambda x, p=p: L.vector_norm(x, p) for p in (0.5, 1, 2, 3, wg.inf)]
    norms += [L.matrix_norm, lambda x: L.matrix_norm(x, 1), lambda x: wg.cdist(x, x).sum()]
    for norm in norms:
        x = wg.zeros(2, 3, requires_grad=True)
        norm(x).backward()
        assert x.grad.tolist() == [[0.0] * 3] * 2
    x = wg.zeros(3, dtype=wg.float64)
    hessian = wg.func.hessian(lambda y: L.vector_norm(y))(x)
    assert not wg.isnan(hessian).any()


def test_backward_through_a_singular_matrix_is_named():
    x = wg.ones(2, 2, requires_grad=True)
    with pytest.raises(wg.errors.SingularError, match="singular"):
        L.slogdet(x).logabsdet.backward()


def test_primitives_are_few():
    """What can be a formula is one."""
    mine = {"cholesky", "cofactor", "det", "eig", "eigh", "fft", "inv", "irfft", "lu", "matmul", "matrix_exp",
            "permutation_matrix", "pinv", "qr", "rfft", "slogdet", "solve", "solve_triangular", "svd"}  # fmt: skip
    found = {
        name
        for name, op in OPS.items()
        if type(op).__module__.partition("ops.")[2].startswith(("linalg", "fft", "contract"))
    }
    assert found == mine

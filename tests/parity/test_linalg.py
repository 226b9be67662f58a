"""Linear algebra as torch computes it: values, dtypes and gradients.

Factors are compared through what does not depend on phases, and gradients of functions of Hermitian
matrices through the Hermitian part, for PyTorch reads one triangle.
"""

from __future__ import annotations

import numpy as np
import pytest

# PyTorch warns of its older names, and when it drops an imaginary part.
pytestmark = pytest.mark.filterwarnings("ignore:torch:UserWarning", "ignore:Casting complex:UserWarning")

SQUARE = [(3, 3), (2, 3, 3), (1, 1), (0, 0), (0, 3, 3)]
OBLONG = [(4, 2), (2, 4), (3, 4, 2), (0, 2), (2, 0)]
ORDERS = ("0", "1", "2", "3", "0.5", "-1", "-2", "T.inf", "-T.inf")
MATRIX_ORDERS = ("'fro'", "'nuc'", "1", "-1", "2", "-2", "T.inf", "-T.inf")


def sample(shape, kind="f", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return np.asarray(x + 1j * rng.standard_normal(shape) if kind == "c" else x)


def positive(shape, kind):
    a = sample(shape, kind)
    return a @ np.conj(np.swapaxes(a, -1, -2)) + np.eye(shape[-1])


both = pytest.mark.parametrize("kind", ["f", "c"])

OF_POSITIVE = [
    "T.linalg.cholesky({h})", "T.linalg.cholesky({h}, upper=True)", "({h}).cholesky(True)",
    "T.linalg.eigvalsh({h})", "T.linalg.eigh({h})[0]", "T.linalg.eigh({h})[1].abs()", "T.linalg.svdvals(a)",
    "T.cholesky_inverse(T.linalg.cholesky({h}))", "T.cholesky_inverse(T.linalg.cholesky({h}, upper=True), upper=True)",
    "T.linalg.pinv({h}, hermitian=True)", "T.linalg.matrix_rank(a, hermitian=True)",
]  # fmt: skip


@both
@pytest.mark.parametrize("shape", SQUARE)
@pytest.mark.parametrize("text", OF_POSITIVE)
def test_positive_definite(agree, text, shape, kind):
    agree(text.format(h="(a + a.mH) / 2"), dtypes=(), tol=100, a=positive(shape, kind))


OF_SQUARE = [
    "T.linalg.inv(a)", "a.inverse()", "T.linalg.det(a)", "T.linalg.slogdet(a)", "a.slogdet()", "T.linalg.matrix_exp(a)",
    "T.linalg.matrix_rank(a)", "T.linalg.lu(a)", "T.linalg.lu_factor(a)", "T.lu_unpack(*T.linalg.lu_factor(a))",
    "T.linalg.inv_ex(a)", "T.linalg.lu_factor_ex(a)", "T.linalg.qr(a, mode='complete')",
    "T.sort(T.linalg.eigvals(a).abs())[0]",
    *[f"T.linalg.matrix_power(a, {n})" for n in (0, 1, 2, 5, -2)],
]  # fmt: skip


@both
@pytest.mark.parametrize("shape", SQUARE)
@pytest.mark.parametrize("text", OF_SQUARE)
def test_square(agree, text, shape, kind):
    agree(text, dtypes=(), tol=100, a=sample(shape, kind))


@both
def test_eigenvectors(agree, kind):
    agree("T.linalg.eig(a)[1].abs()", dtypes=(), tol=100, a=sample((4, 4), kind))
    both_ways = "(lambda r: r[1] @ T.diag_embed(r[0] ** 2) @ T.linalg.inv(r[1]))(T.linalg.eig(a))"
    agree(both_ways, dtypes=(), tol=100, a=sample((3, 3), kind))


OF_ANY = [
    "T.linalg.qr(a)", "a.qr()", "T.linalg.lu(a)", "T.linalg.lu_factor(a)", "T.lu_unpack(*T.linalg.lu_factor(a))",
    "T.linalg.svdvals(a)", "a.svd()[1]", "T.linalg.svd(a)[1]", "T.linalg.pinv(a)", "T.linalg.pinv(a, rtol=0.5)",
    "T.linalg.pinv(a, atol=0.5)", "a.pinverse()", "T.linalg.matrix_rank(a)", "T.linalg.cond(a)",
    "(lambda r: r[0] * (r[1] ** 3).unsqueeze(-2) @ r[2])(T.linalg.svd(a, full_matrices=False))",
]  # fmt: skip


@both
@pytest.mark.parametrize("shape", OBLONG)
@pytest.mark.parametrize("text", OF_ANY)
def test_oblong(agree, text, shape, kind):
    agree(text, dtypes=(), tol=100, a=sample(shape, kind))


@both
@pytest.mark.parametrize(
    ("left", "right"),
    [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((2, 3, 3), (2, 3)), ((3, 3), (2, 3, 2)), ((0, 0), (0,)),
     ((0, 3, 3), (3, 1)), ((1, 3, 3), (4, 3, 2))],
)  # fmt: skip
def test_solve(agree, left, right, kind):
    agree("T.linalg.solve(a, b)", dtypes=(), tol=100, a=sample(left, kind), b=sample(right, kind, 1))


@both
@pytest.mark.parametrize("flags", ["upper=True", "upper=False", "upper=True, unitriangular=True"])
def test_solve_triangular(agree, flags, kind):
    for shape, right in [((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((0, 0), (0, 2))]:
        a, b = sample(shape, kind) + 2 * np.eye(shape[-1]), sample(right, kind, 1)
        agree(f"T.linalg.solve_triangular(a, b, {flags})", dtypes=(), a=a, b=b)
    a, b = sample((3, 3), kind) + 2 * np.eye(3), sample((2, 3), kind, 1)
    agree(f"T.linalg.solve_triangular(a, b, left=False, {flags})", dtypes=(), a=a, b=b)
    agree(f"T.triangular_solve(b.mT, a, transpose=True, {flags})[0]", dtypes=(), a=a, b=b)


@both
@pytest.mark.parametrize("flags", ["", "left=False", "adjoint=True", "left=False, adjoint=True"])
def test_lu_solve(agree, flags, kind):
    a, b = sample((2, 3, 3), kind), sample((2, 3, 3), kind, 1)
    agree(f"T.linalg.lu_solve(*T.linalg.lu_factor(a), b, {flags})", dtypes=(), tol=100, a=a, b=b)
    agree("T.lu_solve(b, *T.lu(a))", dtypes=(), tol=100, a=a, b=b)


@both
def test_cholesky_solve(agree, kind):
    text = "T.cholesky_solve(b, T.linalg.cholesky((a + a.mH) / 2{}){})"
    for upper, flag in (("", ""), (", upper=True", ", upper=True")):
        a, b = positive((3, 3), kind), sample((3, 2), kind, 1)
        agree(text.format(upper, flag), dtypes=(), tol=100, a=a, b=b)


@both
@pytest.mark.parametrize("driver", ["gelsy", "gelsd", "gelss", "gels"])
def test_lstsq(agree, driver, kind):
    for left, right in [((4, 2), (4, 3)), ((2, 4), (2, 3)), ((4, 2), (4,)), ((3, 4, 2), (3, 4, 1)), ((3, 3), (3, 2))]:
        a, b = sample(left, kind), sample(right, kind, 1)
        agree(f"T.linalg.lstsq(a, b, driver='{driver}')[0]", dtypes=(), tol=100, a=a, b=b)
        agree(f"T.linalg.lstsq(const1, const2, driver='{driver}')", dtypes=(), tol=100, const1=a, const2=b)


@both
@pytest.mark.parametrize("order", ORDERS)
def test_vector_norm(agree, order, kind):
    for shape in [(3,), (2, 3), (2, 3, 4), ()]:
        a = sample(shape, kind)
        agree(f"T.linalg.vector_norm(a, {order})", dtypes=(), a=a)
        agree(f"T.norm(a, {order})", dtypes=(), a=a)
        if shape:
            agree(f"T.linalg.vector_norm(a, {order}, dim=-1, keepdim=True)", dtypes=(), a=a)
    agree(f"T.linalg.norm(a, {order})", dtypes=(), a=sample((3,), kind))


@pytest.mark.parametrize("order", ["0", "1", "2", "3", "T.inf", "-T.inf"])
def test_norms_at_zeros_and_ties(agree, order):
    for a in (np.zeros((2, 3)), np.ones((2, 3)), np.diag([1.0, 0.0, 2.0])):
        agree(f"T.linalg.vector_norm(a, {order})", dtypes=(), a=a)


@both
@pytest.mark.parametrize("order", MATRIX_ORDERS)
def test_matrix_norm(agree, order, kind):
    for shape in [(2, 3), (3, 2), (2, 2, 3)]:
        a = sample(shape, kind)
        agree(f"T.linalg.matrix_norm(a, {order})", dtypes=(), tol=100, a=a)
        agree(f"T.linalg.matrix_norm(a, {order}, dim=(-1, 0), keepdim=True)", dtypes=(), tol=100, a=a)
        agree(f"T.linalg.norm(a, {order}, dim=(1, 0))", dtypes=(), tol=100, a=a)
    agree(f"T.linalg.cond(const, {order})", dtypes=(), tol=1000, const=sample((2, 3, 3), kind))


PRODUCTS = [
    ("T.linalg.vecdot(a, b)", (2, 3), (3,)),
    ("T.linalg.vecdot(a, b, dim=0)", (2, 3), (2, 1)),
    ("T.linalg.cross(a, b)", (2, 3), (1, 3)),
    ("T.linalg.cross(a, b, dim=0)", (3, 2), (3, 1)),
    ("T.cross(a, b, dim=1)", (2, 3, 3), (2, 3, 3)),
    ("T.linalg.multi_dot([a, b, c, d])", (2, 3), (3, 5), (5, 2), (2, 4)),
    ("T.linalg.multi_dot([a, b, c])", (3,), (3, 5), (5,)),
    ("T.linalg.tensorinv(a)", (2, 3, 3, 2)),
    ("T.linalg.tensorinv(a, ind=1)", (6, 3, 2)),
    ("T.linalg.tensorsolve(a, b)", (2, 3, 6), (2, 3)),
    ("T.linalg.tensorsolve(a, b, dims=(0, 2))", (2, 6, 3), (6,)),
    ("T.linalg.vander(a)", (3,)),
    ("T.linalg.vander(a, N=4)", (2, 3)),
    ("T.vander(a.detach())", (3,)),  # PyTorch cannot differentiate it
    ("T.vander(a.detach(), 2, increasing=True)", (3,)),
    ("T.linalg.diagonal(a, offset=1, dim1=0, dim2=2)", (2, 3, 4)),
    ("T.trace(a)", (2, 3)),
    ("T.linalg.householder_product(a, b)", (2, 4, 3), (2, 2)),
    ("T.orgqr(a, b)", (4, 3), (3,)),
    *[(f"T.renorm(a, {p}, 1, 0.5)", (2, 3, 4)) for p in (1, 2, 0.5, "T.inf")],
]


@both
@pytest.mark.parametrize(("text", "shapes"), [(t, s) for t, *s in PRODUCTS])
def test_products(agree, text, shapes, kind):
    xs = {name: sample(s, kind, k) for k, (name, s) in enumerate(zip("abcd", shapes))}
    agree(text, dtypes=(), tol=100, **xs)


@pytest.mark.parametrize("flags", ["", "left=False", "transpose=True", "left=False, transpose=True"])
def test_ormqr(agree, flags):
    xs = {"a": sample((4, 3)), "b": sample((3,), seed=1), "c": sample((4, 4), seed=2)}
    agree(f"T.ormqr(a, b, c, {flags})", dtypes=(), **xs)


@pytest.mark.parametrize("p", ["0", "1", "2", "3", "0.5", "T.inf"])
def test_cdist(agree, p):
    for mode in ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
        a, b = sample((2, 3, 4)), sample((1, 2, 4), seed=1)
        agree(f"T.cdist(a, b, {p}, '{mode}')", dtypes=(), tol=100, a=a, b=b)
    ones = np.ones((2, 3))
    agree(f"T.cdist(a, b, {p}, 'donot_use_mm_for_euclid_dist')", dtypes=(), a=ones, b=ones)


@pytest.mark.parametrize("text", ["inv(a)", "svdvals(a)", "qr(a)", "det(a)", "matrix_exp(a)", "pinv(a)", "lu(a)",
                                  "matrix_norm(a)"])  # fmt: skip
def test_single_precision(agree, text):
    agree(f"T.linalg.{text}", dtypes=("float32",), tol=100, a=sample((3, 3)))


@pytest.mark.parametrize("text", ["det(const)", "slogdet(const)", "pinv(const)", "lu(const)", "matrix_rank(const)"])
def test_values_at_a_singular_matrix(agree, text):
    agree(f"T.linalg.{text}", dtypes=(), const=np.array([[1.0, 2.0], [2.0, 4.0]]))


def test_errors_are_runtime_errors_as_in_torch():
    import wengert as wg

    torch = pytest.importorskip("torch")
    for lib in (wg, torch):
        for text in ("inv(x)", "solve(x, x)", "cholesky(x)", "lu_factor(x)", "inv(x[0])", "svd(x * nan)"):
            with pytest.raises(RuntimeError):
                eval(f"linalg.{text}", {"linalg": lib.linalg, "x": lib.zeros(2, 2), "nan": lib.nan})

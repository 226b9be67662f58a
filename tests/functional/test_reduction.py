"""Reductions, statistics and norms: values from NumPy, awkward points, every mode, errors."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import wengert as wg
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

NAN, INF = math.nan, math.inf


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def same(got: wg.Tensor, want: object, tol: float = 1e-12) -> None:
    want = np.asarray(want)
    assert tuple(got.shape) == want.shape
    np.testing.assert_allclose(got.detach().numpy(), want, tol, tol)


def slope(f, x) -> np.ndarray:
    """The gradient of the sum of f."""
    x = wg.tensor(x, dtype=wg.float64, requires_grad=True)
    f(x).sum().backward()
    return x.grad.numpy()


X = normal(3, 4)
VALUES = {
    "sum": (lambda x: wg.sum(x, 1), X.sum(1)),
    "mean": (lambda x: x.mean(0, keepdim=True), X.mean(0, keepdims=True)),
    "mean of all": (lambda x: x.mean(), X.mean()),
    "prod": (lambda x: wg.prod(x), X.prod()),
    "amax": (lambda x: wg.amax(x, (0, 1)), X.max()),
    "aminmax": (lambda x: wg.aminmax(x, dim=1).min, X.min(1)),
    "max": (lambda x: wg.max(x, 1).values, X.max(1)),
    "max indices": (lambda x: x.max(1).indices, X.argmax(1)),
    "min": (lambda x: x.min(), X.min()),
    "maximum": (lambda x: wg.max(x, -x), np.maximum(X, -X)),
    "argmax": (lambda x: x.argmax(), X.argmax()),
    "argmin": (lambda x: x.argmin(0, keepdim=True), X.argmin(0, keepdims=True)),
    "logsumexp": (lambda x: wg.logsumexp(x, (0, 1)), np.log(np.exp(X).sum())),
    "var": (lambda x: wg.var(x, 1), X.var(1, ddof=1)),
    "std": (lambda x: x.std(0, correction=0), X.std(0)),
    "std_mean": (lambda x: wg.std_mean(x, 1)[0], X.std(1, ddof=1)),
    "norm": (lambda x: wg.norm(x), np.sqrt((X**2).sum())),
    "norm 3": (lambda x: wg.norm(x, 3, dim=1), (np.abs(X) ** 3).sum(1) ** (1 / 3)),
    "norm nuc": (lambda x: wg.norm(x, "nuc"), np.linalg.norm(X, "nuc")),
    "dist": (lambda x: wg.dist(x, wg.zeros(4, dtype=wg.float64), 1), np.abs(X).sum()),
    "median": (lambda x: wg.median(x, 1).values, np.sort(X, 1)[:, 1]),
    "median of all": (lambda x: wg.median(x), np.sort(X.ravel())[5]),
    "quantile": (lambda x: wg.quantile(x, 0.3, dim=1), np.quantile(X, 0.3, axis=1)),
    "cov": (lambda x: wg.cov(x), np.cov(X)),
    "corrcoef": (lambda x: wg.corrcoef(x), np.corrcoef(X)),
    "count_nonzero": (lambda x: wg.count_nonzero(x > 0, 0), (X > 0).sum(0)),
    "any": (lambda x: wg.any(x > 1, 1), (X > 1).any(1)),
    "all": (lambda x: wg.all(x > -1, 1), (X > -1).all(1)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    f, want = VALUES[name]
    same(f(wg.tensor(X)), want)
    same(f(wg.tensor(X.T.copy()).t()), want)  # strides do not matter


@pytest.mark.parametrize("name", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantile_interpolation(name):
    q = np.array([0.0, 0.25, 0.4, 1.0])
    want = np.quantile(X, q, axis=0, method=name)
    same(wg.quantile(wg.tensor(X), wg.tensor(q), 0, interpolation=name), want)
    same(wg.quantile(wg.tensor(X), wg.tensor(q), 0, True, interpolation=name), want[:, None])


def test_weighted_covariance():
    f, a = np.array([1, 2, 1, 3]), np.array([0.5, 1.0, 2.0, 1.5])
    got = wg.cov(wg.tensor(X), fweights=wg.tensor(f), aweights=wg.tensor(a))
    same(got, np.cov(X, fweights=f, aweights=a))


# -- NaN, ties, zeros, nothing ---------------------------------------------------------------------

HOLES = np.array([[1.0, NAN, 3.0, 2.0], [0.0, 5.0, NAN, NAN]])


def test_nan():
    x = wg.tensor(HOLES)
    same(wg.nansum(x, 1), [6.0, 5.0])
    same(wg.nanmean(x, 1), [2.0, 2.5])
    same(wg.nanmedian(x, 1).values, [2.0, 0.0])
    same(wg.nanquantile(x, 0.5, 1), [2.0, 2.5])
    same(wg.quantile(x, 0.5, 1), [NAN, NAN])
    same(wg.median(x, 1).values, [NAN, NAN])
    same(wg.median(x, 1).indices, [1, 2])
    same(wg.amax(x, 1), [NAN, NAN])
    same(wg.argmax(x, 1), [1, 2])
    same(wg.argmin(x, 1), [1, 2])


def test_ties_share_or_go_to_the_first():
    ties = [1.0, 3.0, 3.0]
    for f in (wg.amax, wg.max, lambda x: wg.aminmax(x).max, lambda x: wg.norm(x, INF), wg.median):
        np.testing.assert_array_equal(slope(f, ties), [0.0, 0.5, 0.5])
    np.testing.assert_array_equal(slope(lambda x: wg.max(x, 0).values, ties), [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(slope(lambda x: wg.mode(x).values, ties), [0.0, 0.0, 1.0])
    assert wg.argmax(wg.tensor(ties)).item() == 1


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, "fro", INF, -INF])
def test_norm_at_zero_has_gradient_zero(p):
    np.testing.assert_array_equal(slope(lambda x: wg.norm(x, p), [0.0, 0.0]), [0.0, 0.0])


def test_std_of_equal_elements_has_gradient_zero():
    np.testing.assert_array_equal(slope(wg.std, [2.0, 2.0, 2.0]), [0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("x", "want"),
    [
        ([2.0, 3.0, 4.0], [12.0, 8.0, 6.0]),
        ([2.0, 0.0, 4.0], [0.0, 8.0, 0.0]),
        ([0.0, 0.0, 4.0], [0.0, 0.0, 0.0]),
    ],
)
def test_prod_gradient_with_zeros(x, want):
    np.testing.assert_array_equal(slope(wg.prod, x), want)


def test_prod_hessian_with_zeros():
    """The second derivative by x[i] and x[j] is the product of the others, whatever is zero."""
    x = np.array([2.0, 0.0, 0.0, 3.0])
    hessian = wg.func.jacfwd(wg.func.jacfwd(wg.prod))(wg.tensor(x)).numpy()
    want = np.array([[0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(4)] for i in range(4)])
    np.testing.assert_array_equal(hessian, want)


def test_logsumexp_beyond_the_range_of_exp():
    same(wg.logsumexp(wg.tensor([1000.0, 1000.0], dtype=wg.float64), 0), 1000 + math.log(2))
    same(wg.logsumexp(wg.tensor([-INF, -INF]), 0), -INF)
    np.testing.assert_array_equal(slope(lambda x: wg.logsumexp(x, 0), [-INF, -INF]), [0.0, 0.0])


def test_variance_is_two_pass():
    x = wg.tensor([1e8 + 1, 1e8 + 2, 1e8 + 3], dtype=wg.float64)
    assert wg.var(x).item() == 1.0


def test_half_precision_accumulates_in_float32():
    x = wg.full((4096,), 100.0, dtype=wg.float16)
    assert x.mean().item() == 100.0
    assert wg.ones(3000, dtype=wg.bfloat16).sum().item() == 3008.0  # rounded once, to 8 bits
    assert wg.norm(wg.full((4,), 300.0, dtype=wg.float16)).item() == 600.0  # the squares would overflow
    assert x.var().dtype is wg.float16


EMPTY = {
    "sum": (wg.sum, 0.0),
    "prod": (wg.prod, 1.0),
    "mean": (wg.mean, NAN),
    "var": (wg.var, NAN),
    "median": (wg.median, NAN),
    "logsumexp": (lambda x: wg.logsumexp(x, 0), -INF),
    "norm": (wg.norm, 0.0),
    "any": (wg.any, False),
    "all": (wg.all, True),
    "count_nonzero": (wg.count_nonzero, 0),
    "nanmean": (wg.nanmean, NAN),
}


@pytest.mark.parametrize("name", EMPTY)
def test_of_nothing(name):
    f, want = EMPTY[name]
    same(f(wg.zeros(0)), want)


@pytest.mark.parametrize("f", [wg.sum, wg.mean, wg.prod, wg.amax, wg.max, wg.median, wg.std, wg.norm, wg.argmax])
def test_zero_dimensions(f):
    x = wg.tensor(2.0)
    out = f(x)
    assert tuple(out.shape) == ()
    if f not in (wg.std, wg.argmax):
        assert out.item() == 2.0


# -- dtypes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [wg.bool, wg.uint8, wg.int16, wg.int32, wg.int64])
def test_integers_are_summed_in_int64(dtype):
    x = wg.ones(300, dtype=dtype)
    assert x.sum().dtype is wg.int64
    assert x.sum().item() == 300
    assert wg.prod(x).dtype is wg.int64
    assert wg.count_nonzero(x).dtype is wg.int64
    assert wg.amax(x).dtype is dtype
    assert wg.sum(x, dtype=wg.float32).dtype is wg.float32


def test_dtypes_of_truth_and_positions():
    assert wg.any(wg.ones(2)).dtype is wg.bool
    assert wg.any(wg.ones(2, dtype=wg.uint8)).dtype is wg.uint8  # as PyTorch
    assert wg.argmax(wg.ones(2)).dtype is wg.int64
    assert wg.var(wg.ones(2, dtype=wg.complex64)).dtype is wg.float32
    assert wg.mean(wg.tensor([1, 2]), dtype=wg.float64).item() == 1.5


# -- every mode ------------------------------------------------------------------------------------

Z = np.array([[1.5, 0.0, -1.0], [0.0, 0.0, 2.0]])
MODES = {
    "mean": (lambda x: wg.mean(x, 1), X),
    "nansum": (lambda x: wg.nansum(x, 0), X),
    "nanmean": (lambda x: wg.nanmean(x, 0), X),
    "prod": (lambda x: wg.prod(x, 1), Z),
    "prod of all": (wg.prod, X[:2, :2]),
    "logsumexp": (lambda x: wg.logsumexp(x, 1), X),
    "max": (lambda x: wg.max(x, 1).values, X),
    "var": (lambda x: wg.var(x, 1), X),
    "std": (lambda x: wg.std(x, 0, correction=0), X),
    "norm": (lambda x: wg.norm(x, dim=1), X),
    "norm 3": (lambda x: wg.norm(x, 3, dim=1), X),
    "norm 1.5": (lambda x: wg.norm(x, 1.5), X),
    "norm inf": (lambda x: wg.norm(x, INF, 0), X),
    "median": (wg.median, X),
    "nanmedian": (lambda x: wg.nanmedian(x, 1).values, X),
    "quantile": (lambda x: wg.quantile(x, 0.3, 1), X),
    "quantile levels": (lambda q: wg.quantile(wg.tensor(X), q, 1), np.array([0.2, 0.7])),
    "cov": (wg.cov, X),
    "corrcoef": (wg.corrcoef, X),
    "complex var": (lambda x: wg.var(x, 1), X[:2] + 1j * X[1:]),
    "complex norm": (lambda x: wg.norm(x, 3, dim=1), X[:2] + 1j * X[1:]),
}


@pytest.mark.quick(name=list(MODES)[::4])
@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f, x = MODES[name]

    def flat(*xs):
        return [f(*xs)]

    point = Point(flat, [x])
    check_first_order(point)
    check_second_order(point)
    check_vmap(flat, [x])


# -- results and errors ----------------------------------------------------------------------------


def test_named_tuples():
    out = wg.max(wg.tensor([[1.0, 5.0], [7.0, 2.0]]), 1)
    values, indices = out
    assert values is out.values
    assert indices is out[1]
    assert repr(out) == "wengert.return_types.max(\nvalues=tensor([5., 7.]),\nindices=tensor([1, 0]))"
    again = pickle.loads(pickle.dumps(out))
    assert type(again) is type(out)
    assert type(copy.copy(out)) is type(out)


def test_numpy_names():
    x = wg.tensor(X)
    for f in (wg.sum, wg.mean, wg.amax, wg.std, wg.prod, wg.argmax):
        assert wg.equal(f(x, axis=1, keepdims=True), f(x, dim=1, keepdim=True))


def test_allclose_and_equal():
    x = wg.tensor([1.0, NAN])
    assert not wg.allclose(x, x)
    assert wg.allclose(x, x, equal_nan=True)
    assert not wg.equal(x, x)
    assert wg.equal(wg.tensor([1, 2]), wg.tensor([1, 2]))
    assert not wg.equal(wg.tensor([1, 2]), wg.tensor([1]))
    assert type(wg.allclose(x, x)) is bool


ERRORS = {
    "mean of integers": (
        lambda: wg.mean(wg.tensor([1, 2])),
        r"mean: needs a floating or complex dtype: i64\[2\]",
    ),
    "std of integers": (lambda: wg.std(wg.tensor([1, 2])), "std: needs a floating"),
    "amax of nothing": (lambda: wg.amax(wg.zeros(0)), "amax: .*empty"),
    "max along nothing": (lambda: wg.max(wg.zeros(0, 3), 0), "max: dimension 0 is empty"),
    "argmin of nothing": (lambda: wg.argmin(wg.zeros(0)), "argmin: an empty tensor"),
    "dim too large": (lambda: wg.sum(wg.zeros(2), 1), r"sum: dimension out of range: dim 1 .* Use -1 to 0"),
    "dim twice": (lambda: wg.sum(wg.zeros(2, 2), (0, -2)), "sum: a dimension appears twice"),
    "complex order": (lambda: wg.amax(wg.tensor([1j])), "amax: complex numbers have no order"),
    "quantile dtype": (
        lambda: wg.quantile(wg.tensor([1, 2]), 0.5),
        "quantile: the input must have dtype float32",
    ),
    "quantile level": (lambda: wg.quantile(wg.tensor([1.0]), 1.5), r"quantile: q must lie in \[0, 1\]"),
    "quantile method": (
        lambda: wg.quantile(wg.ones(1), 0.5, interpolation="x"),
        "quantile: no such interpolation",
    ),
    "norm": (lambda: wg.norm(wg.ones(2), "x"), "norm: no such norm: 'x'"),
    "norm of integers": (lambda: wg.norm(wg.tensor([3, 4])), "norm: needs a floating"),
    "norm inf of nothing": (lambda: wg.norm(wg.zeros(0), INF), "norm: .*empty"),
    "cov of a cube": (lambda: wg.cov(wg.zeros(2, 2, 2)), "cov: needs a matrix or a vector"),
    "cov weights": (lambda: wg.cov(wg.ones(3), fweights=wg.ones(3)), "cov: fweights must be integers"),
    "not a tensor": (lambda: wg.amax([1.0]), r"amax: needs a tensor: list. Wrap it with wg.tensor\(...\)"),
    "allclose dtypes": (lambda: wg.allclose(wg.ones(1), wg.tensor([1])), "allclose: dtypes differ"),
    "mode along nothing": (lambda: wg.mode(wg.zeros(2, 0)), "mode: dimension 1 is empty"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    f, text = ERRORS[name]
    with pytest.raises(RuntimeError, match=text):
        f()

"""Scans, differences, integrals: values from NumPy, zeros and ties, every mode, errors."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

NAN, INF = np.nan, np.inf


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def same(got: wg.Tensor, want: object, tol: float = 1e-12) -> None:
    want = np.asarray(want)
    assert tuple(got.shape) == want.shape
    np.testing.assert_allclose(got.detach().numpy(), want, tol, tol)


X = normal(3, 4)
C = np.array([0.0, 1.0, 1.5, 4.0])
VALUES = {
    "cumsum": (lambda x: wg.cumsum(x, 1), np.cumsum(X, 1)),
    "cumprod": (lambda x: x.cumprod(0), np.cumprod(X, 0)),
    "logcumsumexp": (lambda x: wg.logcumsumexp(x, -1), np.log(np.cumsum(np.exp(X), -1))),
    "cummax": (lambda x: wg.cummax(x, 1).values, np.maximum.accumulate(X, 1)),
    "cummin": (lambda x: wg.cummin(x, 0)[0], np.minimum.accumulate(X, 0)),
    "diff": (lambda x: wg.diff(x, 2, 0), np.diff(X, 2, 0)),
    "diff of joined": (
        lambda x: wg.diff(x, prepend=x, append=x[:, :1]), np.diff(np.hstack([X, X, X[:, :1]])),
    ),
    "gradient": (lambda x: wg.gradient(x, spacing=0.5)[1], np.gradient(X, 0.5)[1]),
    "gradient, second order": (
        lambda x: wg.gradient(x, dim=1, edge_order=2)[0], np.gradient(X, axis=1, edge_order=2),
    ),
    "gradient, coordinates": (
        lambda x: wg.gradient(x, spacing=(wg.tensor(C),), dim=1, edge_order=2)[0],
        np.gradient(X, C, axis=1, edge_order=2),
    ),
    "trapezoid": (lambda x: wg.trapezoid(x, dx=0.5), np.trapezoid(X, dx=0.5)),
    "trapezoid, coordinates": (lambda x: wg.trapz(x, wg.tensor(C)), np.trapezoid(X, C)),
    "cumulative_trapezoid": (
        lambda x: wg.cumulative_trapezoid(x, wg.tensor(C)),
        np.cumsum((X[:, 1:] + X[:, :-1]) / 2 * np.diff(C), 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    f, want = VALUES[name]
    same(f(wg.tensor(X)), want)
    same(f(wg.tensor(X.T.copy()).t()), want)


def products(x: np.ndarray, k: int) -> np.ndarray:
    """Third derivatives of each running product of a vector, by counting factors: the brute force."""
    n = len(x)
    out = np.zeros((n, *(n,) * k))
    for i in range(n):
        for places in np.ndindex(*(n,) * k):
            if len(set(places)) == k and max(places) <= i:
                out[(i, *places)] = np.prod([x[j] for j in range(i + 1) if j not in places])
    return out


@pytest.mark.quick(modes=["f", "r", "rf"])
@pytest.mark.parametrize("x", [[2.0, 0.0, 3.0, 5.0], [0.0, 0.0, 3.0, 2.0], [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
@pytest.mark.parametrize("modes", ["f", "r", "ff", "fr", "rf", "rr", "fff", "rrf"])
def test_cumprod_derivatives_with_zeros(x, modes):
    f = lambda t: wg.cumprod(t, 0)
    for m in modes:
        f = {"f": wg.func.jacfwd, "r": wg.func.jacrev}[m](f)
    np.testing.assert_array_equal(f(wg.tensor(x)).numpy(), products(np.array(x), len(modes)))


def test_long_recurrences_agree_with_short_steps():
    """Beyond some length the recurrence of the derivative runs by doubling."""
    x = np.linspace(0.9, 1.1, 100)
    x[[3, 50]] = 0.0
    g = wg.tensor(x, requires_grad=True)
    wg.cumprod(g, 0).sum().backward()
    want = [sum(np.prod(np.delete(x[: i + 1], j)) for i in range(j, 100)) for j in range(100)]
    np.testing.assert_allclose(g.grad.numpy(), want, 1e-12)
    huge = wg.tensor(np.full(2000, 10.0), requires_grad=True)  # the products overflow
    out = wg.cumprod(huge, 0)
    assert np.isinf(out[-1].item())


def test_ties_and_nan():
    out = wg.cummax(wg.tensor([1.0, 3.0, 3.0, 2.0, NAN, 5.0]), 0)
    same(out.values, [1.0, 3.0, 3.0, 3.0, NAN, NAN])
    same(out.indices, [0, 1, 2, 2, 4, 4])


def test_logcumsumexp_beyond_the_range_of_exp():
    x = wg.tensor([-INF, -INF, 800.0, 1.0, 800.0], dtype=wg.float64, requires_grad=True)
    out = wg.logcumsumexp(x, 0)
    same(out, [-INF, -INF, 800.0, 800.0, 800.0 + np.log(2)])
    out[2:].sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, 0.0, 2.5, 0.0, 0.5], atol=1e-300)


@pytest.mark.parametrize("f", [wg.cumsum, wg.cumprod, wg.logcumsumexp])
def test_shapes_without_elements_or_dimensions(f):
    same(f(wg.tensor(2.0), 0), 2.0)
    same(f(wg.zeros(2, 0), 1), np.zeros((2, 0)))
    same(f(wg.zeros(0, 2), -1), np.zeros((0, 2)))


def test_dtypes():
    x = wg.tensor([200, 100], dtype=wg.uint8)
    assert wg.cumsum(x, 0).dtype is wg.int64
    same(wg.cumsum(x, 0), [200, 300])
    assert wg.cumsum(x, 0, dtype=wg.float32).dtype is wg.float32
    assert wg.cummax(x, 0).values.dtype is wg.uint8
    assert wg.cummax(x, 0).indices.dtype is wg.int64
    same(wg.diff(wg.tensor([True, False, False])), [True, False])
    assert wg.cumsum(wg.ones(3000, dtype=wg.bfloat16), 0)[-1].item() == 3008.0  # summed in float32
    assert wg.trapezoid(wg.tensor([1, 2, 3])).dtype is wg.float32


def test_in_place():
    x = wg.tensor([1.0, 2.0, 3.0])
    assert x.cumsum_(0) is x
    same(x, [1.0, 3.0, 6.0])
    x.cumprod_(0)
    same(x, [1.0, 3.0, 18.0])


MODES = {
    "cumsum": (lambda x: wg.cumsum(x, 0), [X]),
    "cumprod": (lambda x: wg.cumprod(x, 1), [X * (X > 0)]),
    "logcumsumexp": (lambda x: wg.logcumsumexp(x, 1), [X]),
    "cummax": (lambda x: wg.cummax(x, 1).values, [X]),
    "diff": (lambda x: wg.diff(x, 2), [X]),
    "gradient": (lambda x, c: wg.gradient(x, spacing=(c,), dim=1, edge_order=2)[0], [X, C]),
    "trapezoid": (lambda x, c: wg.trapezoid(x, c), [X, C]),
    "cumulative_trapezoid": (lambda x, c: wg.cumulative_trapezoid(x, c), [X, C]),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f, arrays = MODES[name]

    def flat(*xs):
        return [f(*xs)]

    point = Point(flat, arrays)
    check_first_order(point)
    check_second_order(point)
    check_vmap(flat, arrays)


ERRORS = {
    "dim": (lambda: wg.cumsum(wg.zeros(2), 1), "cumsum: dimension out of range"),
    "complex": (lambda: wg.cummax(wg.tensor([1j]), 0), "cummax: complex numbers have no order"),
    "integers": (lambda: wg.logcumsumexp(wg.tensor([1]), 0), "logcumsumexp: needs a floating"),
    "diff of a number": (lambda: wg.diff(wg.tensor(1.0)), "diff: needs at least one dimension"),
    "diff n": (lambda: wg.diff(wg.ones(2), -1), "diff: n must not be negative"),
    "diff prepend": (lambda: wg.diff(wg.ones(2), prepend=wg.tensor(1.0)), "diff: prepend and append need"),
    "gradient size": (lambda: wg.gradient(wg.ones(2), edge_order=2), "gradient: needs 3 elements"),
    "gradient spacing": (lambda: wg.gradient(wg.ones(2, 2), spacing=[1.0]), "gradient: one spacing for each"),
    "trapezoid": (lambda: wg.trapezoid(wg.ones(2), wg.ones(3)), "trapezoid: one coordinate for each sample"),
    "trapezoid of a number": (lambda: wg.trapezoid(wg.tensor(1.0)), "trapezoid: needs at least one dim"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    f, text = ERRORS[name]
    with pytest.raises(RuntimeError, match=text):
        f()

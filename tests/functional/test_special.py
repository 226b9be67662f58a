"""Special functions: accuracy against mpmath over the whole range, edges, derivatives, errors."""

import math

import mpmath as mp
import numpy as np
import pytest

import wengert as wg
from wengert.errors import ArgumentError, DTypeError, GraphError
from wengert.testing.checks import Point, check_first_order, check_second_order

RNG = np.random.default_rng(0)
RTOL = 1e-13
inf, nan = math.inf, math.nan


def uniform(low, high, n=60):
    return RNG.uniform(low, high, n)


def powers(low, high, n=40):
    """Numbers of every size from 10**low to 10**high."""
    return 10.0 ** RNG.uniform(low, high, n)


def joined(*parts):
    return np.concatenate([np.atleast_1d(p) for p in parts])


NORMAL = joined(uniform(-6, 6), powers(-300, 0), -powers(-300, 0), [0.46875, -0.46875, 4.0, 0.0])
POSITIVE = joined(
    uniform(0, 12, 120),
    powers(-300, 300),
    1 + powers(-15, -1),
    2 - powers(-15, -1),
    [1, 2, 3, 0.5, 1.5, 2.5, 8.5, 1e305],
)
NEGATIVE = joined(-uniform(0, 2.3), -powers(-300, -1), -uniform(3.3, 40) // 1 - 0.37, -uniform(50, 1e5, 20) // 1 - 0.2)


def ndtr(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def log_ndtr(x):
    return mp.log(ndtr(x)) if x < 5 else mp.log1p(-ndtr(-x))


def erfcx(x):
    return mp.exp(x * x) * mp.erfc(x) if x < 1e4 else (1 - 1 / (2 * x * x)) / (x * mp.sqrt(mp.pi))


def polygamma(n):
    return lambda x: mp.polygamma(n, x)


ACCURACY = {
    "erf": (wg.erf, mp.erf, NORMAL),
    "erfc": (wg.erfc, mp.erfc, joined(NORMAL, uniform(4, 26))),
    "erfcx": (wg.special.erfcx, erfcx, joined(NORMAL, uniform(-26, 50), powers(4, 300))),
    "ndtr": (wg.special.ndtr, ndtr, joined(NORMAL, uniform(-37, 8))),
    "log_ndtr": (wg.special.log_ndtr, log_ndtr, joined(NORMAL, uniform(-37, 8), -powers(1, 3), [20, 37])),
    "lgamma": (wg.lgamma, mp.loggamma, POSITIVE),
    "lgamma of negative": (wg.lgamma, lambda x: mp.re(mp.loggamma(x)), NEGATIVE),
    "digamma": (wg.digamma, mp.digamma, POSITIVE),
    "digamma of negative": (wg.digamma, mp.digamma, NEGATIVE[NEGATIVE < -1e-300]),
    "i0": (wg.i0, lambda x: mp.besseli(0, x), joined(uniform(-30, 30), uniform(-713, 713), powers(-50, 0))),
    "i1": (wg.special.i1, lambda x: mp.besseli(1, x), joined(uniform(-30, 30), uniform(-713, 713), powers(-50, 0))),
    "i0e": (wg.special.i0e, lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), joined(uniform(-30, 30), uniform(30, 900))),
    "i1e": (wg.special.i1e, lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), joined(uniform(-30, 30), uniform(30, 900))),
    "entr": (wg.special.entr, lambda x: -x * mp.log(x), joined(powers(-300, 300), uniform(1.1, 5))),
    **{
        f"polygamma {n}": (
            lambda x, n=n: wg.polygamma(n, x),
            polygamma(n),
            joined(uniform(0.01, 12), powers(-5, 5), -2.63),
        )
        for n in (1, 2, 3, 6, 20)
    },
}


@pytest.mark.quick(name=list(ACCURACY)[::3])
@pytest.mark.parametrize("name", ACCURACY)
def test_accuracy(name):
    f, reference, points = ACCURACY[name]
    mp.mp.dps = 50
    got = f(wg.tensor(points, dtype=wg.float64)).numpy()
    for x, y in zip(points, got, strict=True):
        want = reference(mp.mpf(float(x)))
        if 1e-307 < abs(want) < 1e308:
            assert abs(float(y / want - 1)) < RTOL, (x, y, float(want))
        elif abs(want) <= 1e-307:
            assert abs(y) < 3e-307


def newton(x, f, slope):
    x = mp.mpf(float(x))
    for _ in range(6):
        x -= f(x) / slope(x)
    return x


@pytest.mark.slow
def test_accuracy_of_inverses():
    p = joined(uniform(0, 1), powers(-300, 0), 1 - powers(-15, -1), [0.5, 0.075, 0.925])
    mp.mp.dps = 50
    for q, y in zip(p, wg.special.ndtri(wg.tensor(p, dtype=wg.float64)).numpy(), strict=True):
        want = newton(y, lambda t, q=q: ndtr(t) - mp.mpf(float(q)), lambda t: mp.exp(-t * t / 2) / mp.sqrt(2 * mp.pi))
        assert abs(float(y - want)) <= RTOL * abs(float(want)), q
    mp.mp.dps = 330
    p = joined(uniform(-1, 1, 20), 1 - powers(-15, 0, 10), powers(-250, 0, 5), [0.85, -0.85])
    for q, y in zip(p, wg.erfinv(wg.tensor(p, dtype=wg.float64)).numpy(), strict=True):
        want = newton(y, lambda t, q=q: mp.erf(t) - mp.mpf(float(q)), lambda t: 2 * mp.exp(-t * t) / mp.sqrt(mp.pi))
        assert abs(float(y / want - 1)) < RTOL, q


def incomplete_points():
    for a in joined(powers(-6, 1.4, 30), powers(1.4, 3.5, 30), [20.0, 0.5, 1.0, 2.0]):
        for x in joined(a * powers(-0.5, 0.5, 2), a + math.sqrt(a) * RNG.normal(size=2), powers(-6, 2, 2)):
            if x > 0:
                yield a, x


@pytest.mark.slow
def test_accuracy_of_incomplete_gamma():
    """Small results lose digits in proportion to their logarithm: inputs are known to one part in 2**53 only."""
    mp.mp.dps = 40
    a, x = (wg.tensor(list(v), dtype=wg.float64) for v in zip(*incomplete_points(), strict=True))
    p, q = wg.igamma(a, x), wg.igammac(a, x)
    for ai, xi, pi, qi in zip(a.tolist(), x.tolist(), p.tolist(), q.tolist(), strict=True):
        for got, limits in ((pi, {"a": 0, "b": xi}), (qi, {"a": xi})):
            if got > 1e-100:
                want = mp.gammainc(ai, regularized=True, **limits)
                assert abs(float(got / want - 1)) < RTOL * (1 + 0.01 * abs(math.log(got))), (ai, xi, limits)


@pytest.mark.slow
@pytest.mark.parametrize("points", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_accuracy_of_zeta(points):
    for s in joined(1 + powers(-6, 0, points), uniform(1, 30, points), 80.0):
        for q in joined(uniform(0, 3, 2), powers(-4, 4, 2)):
            mp.mp.dps = 250  # mpmath loses digits where the result is small
            want = mp.zeta(mp.mpf(float(s)), mp.mpf(float(q)))
            if 1e-300 < want < 1e300:
                got = wg.special.zeta(wg.tensor(s, dtype=wg.float64), wg.tensor(q, dtype=wg.float64)).item()
                assert abs(float(got / want - 1)) < RTOL, (s, q)


EDGES = {
    "erf": (wg.erf, [0, inf, -inf, nan], [0, 1, -1, nan]),
    "erfc": (wg.erfc, [0, inf, -inf, nan], [1, 0, 2, nan]),
    "erfcx": (wg.special.erfcx, [0, inf, -inf, nan, -30], [1, 0, inf, nan, inf]),
    "erfinv": (wg.erfinv, [0, 1, -1, 1.5, -2, nan], [0, inf, -inf, nan, nan, nan]),
    "ndtr": (wg.special.ndtr, [0, inf, -inf, nan], [0.5, 1, 0, nan]),
    "ndtri": (wg.special.ndtri, [0.5, 0, 1, -0.1, 1.1, nan], [0, -inf, inf, nan, nan, nan]),
    "log_ndtr": (wg.special.log_ndtr, [inf, -inf, nan, -1e200], [0, -inf, nan, -inf]),
    "entr": (wg.special.entr, [0, 1, -1, inf, nan], [0, 0, -inf, -inf, nan]),
    "lgamma": (wg.lgamma, [0, -0.0, 1, 2, -1, -7, inf, -inf, nan], [inf, inf, 0, 0, inf, inf, inf, inf, nan]),
    "digamma": (wg.digamma, [0.0, -0.0, -1, inf, -inf, nan], [-inf, inf, nan, inf, nan, nan]),
    "trigamma": (lambda x: wg.polygamma(1, x), [0, -1, inf, nan], [inf, inf, 0, nan]),
    "i0": (wg.i0, [0, inf, -inf, nan], [1, inf, inf, nan]),
    "i1": (wg.special.i1, [0, inf, -inf, nan], [0, inf, -inf, nan]),
    "i0e": (wg.special.i0e, [0, inf, -inf, nan], [1, 0, 0, nan]),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name):
    f, points, want = EDGES[name]
    np.testing.assert_array_equal(f(wg.tensor(points, dtype=wg.float64)).numpy(), np.array(want, float))


def test_edges_of_incomplete_gamma():
    a = wg.tensor([0, 0, inf, inf, 1, 1, 1, -1, nan, 0, 1])
    x = wg.tensor([0, 1, inf, 1, inf, 0, -1, 1, 1, inf, nan])
    p = np.array([nan, 1, nan, 0, 1, 0, nan, nan, nan, 1, nan])
    np.testing.assert_array_equal(wg.igamma(a, x).numpy(), p)
    np.testing.assert_array_equal(wg.igammac(a, x).numpy(), 1 - p)


def test_products_with_logarithms():
    x, y = wg.tensor([0.0, 0.0, 0.0, 0.0, 2.0, 1.0]), wg.tensor([0.0, -3.0, inf, nan, 3.0, 0.0])
    got = wg.xlogy(x, y).numpy()
    np.testing.assert_allclose(got, [0, 0, 0, nan, 2 * math.log(3), -inf], rtol=1e-6)
    got = wg.special.xlog1py(x, y - 1).numpy()
    np.testing.assert_allclose(got, [0, 0, 0, nan, 2 * math.log(3), -inf], rtol=1e-6)
    x, y = wg.zeros(2, requires_grad=True), wg.tensor([3.0, 0.0], requires_grad=True)
    wg.xlogy(x, y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [math.log(3), 0], rtol=1e-6)
    np.testing.assert_array_equal(y.grad.numpy(), [0, 0])
    assert wg.xlogy(2, wg.tensor(1.0)).item() == 0


def test_multivariate_gamma():
    a = np.array([2.5, 4.0])
    for p in (1, 2, 3, 5):
        want = [p * (p - 1) / 4 * math.log(math.pi) + sum(math.lgamma(v - j / 2) for j in range(p)) for v in a + 1]
        np.testing.assert_allclose(wg.mvlgamma(wg.tensor(a + 1), p).numpy(), want, rtol=1e-6)
    with pytest.raises(ArgumentError, match=r"mvlgamma: p must be at least 1: p=0"):
        wg.mvlgamma(wg.tensor(a), 0)


DERIVATIVES = {
    "erf": wg.erf, "erfc": wg.erfc, "erfcx": wg.special.erfcx, "ndtr": wg.special.ndtr,
    "log_ndtr": wg.special.log_ndtr, "lgamma": wg.lgamma, "digamma": wg.digamma,
    "trigamma": lambda x: wg.polygamma(1, x), "i0": wg.i0, "i1": wg.special.i1, "i0e": wg.special.i0e,
    "i1e": wg.special.i1e, "entr": wg.special.entr, "mvlgamma": lambda x: wg.mvlgamma(x + 2, 3),
    "xlogy": lambda x: wg.xlogy(x, x * x), "xlog1py": lambda x: wg.special.xlog1py(x * 2, x),
    "igamma": lambda x: wg.igamma(wg.tensor(2.5, dtype=wg.float64), x), "erfinv": lambda x: wg.erfinv(x * 0.2),
    "zeta": lambda x: wg.special.zeta(wg.tensor(3.0, dtype=wg.float64), x),
    "ndtri": lambda x: wg.special.ndtri(x * 0.2),
}  # fmt: skip


@pytest.mark.quick(name=list(DERIVATIVES)[::4])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_in_every_mode(name):
    p = Point(lambda x: [DERIVATIVES[name](x)], [np.array([0.4, 1.3, 2.1])])
    check_first_order(p)
    check_second_order(p)


def test_third_derivative_at_zero():
    """d3 I1 / dx3 = 3/8 at 0, where I1(x) / x cannot be divided out."""
    x = wg.zeros((), dtype=wg.float64, requires_grad=True)
    y = wg.special.i1(x)
    for want in (0.5, 0.0, 0.375):
        (y,) = wg.autograd.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(want, abs=1e-15)


def test_no_derivative_in_the_first_argument():
    a = wg.tensor(2.0, requires_grad=True)
    for f in (wg.igamma, wg.igammac, wg.special.zeta):
        with pytest.raises(GraphError, match="no derivative with respect to its first argument"):
            f(a, wg.tensor(1.0)).backward()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_rounded_once(dtype):
    x = wg.tensor([0.3, 1.7, 5.0], dtype=getattr(wg, dtype))
    for f in (wg.erf, wg.lgamma, wg.digamma, wg.i0):
        got, want = f(x), f(x.double())
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(got._value, want._value.astype(x._value.dtype))


def test_dtypes():
    assert wg.erf(wg.tensor([1, 2])).dtype == wg.float32
    assert wg.lgamma(wg.tensor([True])).dtype == wg.float32
    assert wg.igamma(wg.tensor([1.0]), wg.tensor([1.0], dtype=wg.float64)).dtype == wg.float64
    assert wg.igamma(wg.ones(3, 1), wg.ones(2)).shape == (3, 2)
    with pytest.raises(DTypeError, match="erf: needs real floating numbers"):
        wg.erf(wg.tensor([1j]))
    with pytest.raises(ArgumentError, match=r"polygamma: n must not be negative: n=-1"):
        wg.polygamma(-1, wg.tensor(1.0))


def test_methods():
    x = wg.tensor([0.5, 2.0])
    assert wg.equal(x.polygamma(1), wg.polygamma(1, x))
    assert wg.equal(x.clone().polygamma_(2), wg.polygamma(2, x))
    for name in ("erf", "erfc", "erfinv", "lgamma", "digamma", "i0"):
        y = x.clone()
        assert getattr(y, f"{name}_")() is y
        np.testing.assert_array_equal(y.numpy(), getattr(wg, name)(x).numpy())
    assert wg.equal(x.xlogy(x), wg.xlogy(x, x))
    assert wg.equal(x.clone().igamma_(x), wg.special.gammainc(x, x))


def test_names_of_torch_special():
    assert all(hasattr(wg.special, name) for name in wg.special.__all__)
    assert wg.special.expit(wg.tensor(0.0)).item() == 0.5
    assert wg.special.psi is wg.special.digamma


def test_windows():
    w = wg.signal.windows
    np.testing.assert_allclose(w.hann(5, dtype=wg.float64).numpy(), [0, 0.5, 1, 0.5, 0], atol=1e-15)
    np.testing.assert_allclose(w.bartlett(4, sym=False).numpy(), [0, 0.5, 1, 0.5])
    import scipy.signal.windows as reference

    for m in (1, 2, 6, 7):
        for sym in (True, False):
            for name in ("hann", "hamming", "bartlett", "blackman", "nuttall", "cosine"):
                got = getattr(w, name)(m, sym=sym, dtype=wg.float64).numpy()
                np.testing.assert_allclose(got, getattr(reference, name)(m, sym=sym), atol=1e-14)
            for name, own, other in (("gaussian", {"std": 2.0}, (2.0,)), ("kaiser", {"beta": 8.6}, (8.6,))):
                got = getattr(w, name)(m, sym=sym, dtype=wg.float64, **own).numpy()
                np.testing.assert_allclose(got, getattr(reference, name)(m, *other, sym=sym), atol=1e-14)
    assert w.hann(0).shape == (0,)
    assert w.gaussian(3, requires_grad=True).requires_grad
    with pytest.raises(ArgumentError, match="the number of points must not be negative"):
        w.hann(-1)
    with pytest.raises(DTypeError, match="needs a floating dtype"):
        w.hann(3, dtype=wg.int64)
    with pytest.raises(ArgumentError, match="std must be positive"):
        w.gaussian(3, std=0.0)

"""The gamma function's family, computed in float64 like ops/special.py.

lgamma and polygamma have zeros on the negative axis: near those the error is absolute, not relative.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import GraphError, message
from .base import OPS, Sample
from .scalar import NUMPY
from .special import InDouble, erfcx_far, horner
from .testpoints import real

# Chebyshev fits (made with mpmath at 60 digits), errors below 1e-17:
# lgamma(2 + w) / w for |w| <= 1/2, and digamma(1.5 + w) x (x + 1) / (x - root) for |w| <= 1/2.
_LGAMMA = (
    -1.3219945666117874e-07, 2.78740805211359e-07, -4.3252393445604814e-07, 9.200527894968101e-07,
    -2.0439048107029907e-06, 4.38470440459836e-06, -9.438715099211532e-06, 2.0505590755833454e-05,
    -4.49263133791557e-05, 9.945767355819498e-05, -0.00022315475400520507, 0.0005096695154115458,
    -0.0011927539118428156, 0.002890510331034267, -0.0073855510286719986, 0.02058080842778038,
    -0.0673523010531981, 0.32246703342411326, 0.42278433509846713,
)  # fmt: skip
_DIGAMMA = (
    -1.2906322738820656e-09, 4.574817662823142e-09, -1.4989489961443563e-08, 5.366604026726816e-08,
    -1.9407794353623878e-07, 7.069415473337133e-07, -2.610590046516723e-06, 9.828215011429511e-06,
    -3.803566875159173e-05, 0.000153318635029903, -0.0006580250111822373, 0.00313050872354027,
    -0.017975945770502818, 0.1585805068089419, 2.2156206743218547, 3.5664595351193733,
)  # fmt: skip
_ROOT, _ROOT_LOW = 1.4616321449683622, 9.549995429965697e-17  # the zero of digamma
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798,
              -174611 / 330, 854513 / 138, -236364091 / 2730)  # fmt: skip
_STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI[:8], 1))[::-1]
_PSI_TAIL = tuple(b / (2 * k) for k, b in enumerate(_BERNOULLI[:8], 1))[::-1]
_ZETA_TERMS = 10


def lgamma_scalar(s: Any, x: Any) -> Any:
    """The function lgamma: reflected, then Stirling's series above 8.5, else reduced to [1.5, 2.5]."""
    y = s.where(x < 0.0, 1.0 - x, x)
    n = s.minimum(s.rint(y), 8.0)
    w = y - n
    product: Any = 1.0
    for j in range(2, 8):
        product = s.where(n > j, product * (w + float(j)), product)
    far = y > 8.5
    log = s.log(s.where(far, y, s.where(n == 0.0, y * (1.0 + y), product)))
    z = 1.0 / s.maximum(y, 8.5)
    stirling = (y - 0.5) * (log - 1.0) + (0.5 * math.log(2 * math.pi) - 0.5) + z * horner(z * z, _STIRLING)
    near = w * horner(w, _LGAMMA) + s.where(n == 1.0, -s.log1p(w), s.where(n == 0.0, -log, log))
    out = s.where(far, stirling, near)
    z = s.absolute(x)
    sine = s.absolute(s.sin(math.pi * (z - s.rint(z))))
    out = s.where(x < 0.0, -s.log(sine * (1.0 / math.pi)) - out, out)
    return s.where(s.isinf(x), s.absolute(x), out)


def digamma_scalar(s: Any, x: Any) -> Any:
    """The derivative of lgamma: reflected, then an asymptotic series above 10, else reduced to [1, 2]."""
    y = s.where(x < 0.0, 1.0 - x, x)
    k = s.minimum(s.maximum(s.ceil(y) - 2.0, 0.0), 8.0)
    low = y < 1.0
    v = s.where(low, y + 1.0, y - k)
    w = v - 1.5
    near = (v - _ROOT - _ROOT_LOW) * horner(w, _DIGAMMA) / (v * (v + 1.0))
    for j in range(8):
        near = near + s.where(k > j, 1.0 / (v + float(j)), 0.0)
    near = near - s.where(low, 1.0 / y, 0.0)
    z = 1.0 / s.maximum(y, 10.0)
    far = s.log(y) - 0.5 * z - z * z * horner(z * z, _PSI_TAIL)
    out = s.where(y > 10.0, far, near)
    r = x - s.rint(x)
    reflected = s.where(r == 0.0, math.nan, out - math.pi / s.tan(math.pi * r))
    return s.where(x < 0.0, reflected, out)


def hurwitz(s: Any, e: Any, q: Any) -> Any:
    """The sum of (q + k)**-e over k >= 0, for e > 1 and q >= 0, by Euler and Maclaurin."""
    total: Any = 0.0
    for k in range(_ZETA_TERMS):
        total = total + s.power(q + float(k), -e)
    a = q + float(_ZETA_TERMS)
    power = s.power(a, -e)
    total = total + s.power(a, 1.0 - e) / (e - 1.0) + 0.5 * power
    term = power * (e / a)
    for k, b in enumerate(_BERNOULLI, 1):
        total = total + term * (b / math.factorial(2 * k))
        term = term * ((e + (2 * k - 1.0)) / a) * ((e + 2.0 * k) / a)
    return total


def zeta_scalar(s: Any, e: Any, q: Any) -> Any:
    """Hurwitz' zeta function; for negative ``q`` and whole ``e`` the same sum over all k."""
    d = q - s.rint(q)  # the distance to the nearest pole is exact
    above = s.where(d < 0.0, 1.0 + d, d)
    below = s.where(d < 0.0, -d, 1.0 - d)
    odd = s.fmod(e, 2.0) == 1.0
    passed = hurwitz(s, e, below) - hurwitz(s, e, s.maximum(1.0 - q, 1.0))
    out = hurwitz(s, e, s.where(q > 0.0, q, above))
    out = s.where(q < 0.0, s.where(d == 0.0, math.inf, out + s.where(odd, -passed, passed)), out)
    whole = s.floor(e) == e
    out = s.where((e < 1.0) | ((q < 0.0) & s.logical_not(whole)), math.nan, out)
    return s.where(e == 1.0, math.inf, out)


class Lgamma(InDouble):
    """Logarithm of |Gamma(x)|; infinite at 0 and the negative integers."""

    name = "lgamma"
    partials = (lambda out, x: OPS["polygamma"](x, n=0),)

    def scalar(self, s: Any, x: Any) -> Any:
        return lgamma_scalar(s, x)

    def samples(self) -> Iterable[Sample]:
        for p in real(1):
            yield Sample(np.abs(p.arrays[0]) + 0.3, label=p.label)
        yield Sample(np.array([1.0, 2.0, 1.5, 8.5, 30.0, -0.5, -2.3]), label="zeros, ends, negative")


class Polygamma(InDouble):
    """The n-th derivative of digamma, which is n = 0; the static ``n`` is not negative."""

    name = "polygamma"
    partials = (lambda out, x, n: OPS["polygamma"](x, n=n + 1),)

    def scalar(self, s: Any, x: Any, n: int) -> Any:
        if n == 0:
            return digamma_scalar(s, x)
        size = float(math.factorial(n)) if n <= 170 else math.inf
        return (size if n % 2 else -size) * zeta_scalar(s, n + 1.0, x)

    def samples(self) -> Iterable[Sample]:
        for n in (0, 1, 2, 5):
            for p in real(1):
                yield Sample(np.abs(p.arrays[0]) + 0.8, attrs={"n": n}, label=p.label)
        yield Sample(np.array([1.0, 2.0, 9.5, 30.0, -1.5, -2.3]), attrs={"n": 0}, label="ends, negative")
        yield Sample(np.array([1.0, 2.0, 9.5, 30.0, -1.5, -2.3]), attrs={"n": 1}, label="ends, negative")


def _no_derivative(what: str) -> Any:
    """A partial derivative that nobody has written: asking for it is an error, as in PyTorch."""

    def partial(*args: Any, **attrs: Any) -> Any:
        raise GraphError(
            message(what, "has no derivative with respect to its first argument", cure="Detach that argument")
        )

    return partial


class Zeta(InDouble):
    """Hurwitz' zeta function of (exponent, q). Differentiable in q only."""

    name = "zeta"
    partials = (_no_derivative("zeta"), lambda out, e, q: -e * OPS["zeta"](e + 1.0, q))

    def scalar(self, s: Any, e: Any, q: Any) -> Any:
        return zeta_scalar(s, e, q)

    def samples(self) -> Iterable[Sample]:
        for p in real(2):
            yield Sample(np.abs(p.arrays[0]) + 1.5, np.abs(p.arrays[1]) + 0.8, wrt=(1,), label=p.label)


# -- incomplete gamma functions ------------------------------------------------------------------


@functools.cache
def temme_table(rows: int = 14, columns: int = 24) -> list[list[float]]:
    """Coefficients c[k][n] of Temme's uniform expansion (DLMF 8.12.8-10), lowest power first.

    Made from the series of mu(eta), where eta**2 / 2 = mu - log(1 + mu), in exact fractions.
    """
    from fractions import Fraction  # which takes a millisecond, with the decimals that it loads

    size = columns + 2 * rows + 2
    mu = [Fraction(0), Fraction(1)]
    for n in range(2, size + 2):
        known = sum((mu[i] * (n + 1 - i) * mu[n + 1 - i] for i in range(2, n)), Fraction(0))
        mu.append((mu[n - 1] - known) / (n + 1))
    inverse = [Fraction(1)]  # of mu / eta
    for n in range(1, size + 1):
        inverse.append(-sum((mu[i + 1] * inverse[n - i] for i in range(1, n + 1)), Fraction(0)))
    row = inverse[1:]
    table = []
    for _ in range(rows):
        table.append([float(c) for c in row[:columns]])
        row = [(n + 2) * row[n + 2] - row[1] * inverse[n + 1] for n in range(len(row) - 2)]
    return table


def mu_minus_log(mu: Any) -> Any:
    """``mu - log(1 + mu)`` without cancellation."""
    r = np.where(np.abs(mu) < 0.6, mu / (2.0 + mu), 0.0)
    series = horner(r * r, [1.0 / (2 * k + 1) for k in range(18, 0, -1)])
    return np.where(np.abs(mu) < 0.6, mu * r - 2.0 * r * r * r * series, mu - np.log1p(mu))


def gamma_star_correction(a: Any) -> Any:
    """Logarithm of Gamma(a) over Stirling's leading term, for a >= 20."""
    z = 1.0 / a
    return z * horner(z * z, _STIRLING)


def gamma_1p(a: Any) -> Any:
    """Gamma(1 + a) for 0 <= a < 20."""
    y, product = 1.0 + a, np.ones_like(a)
    for _ in range(20):
        high = y >= 2.5
        y = np.where(high, y - 1.0, y)
        product = np.where(high, product * y, product)
    return product * np.exp(lgamma_scalar(NUMPY, y))


def poisson_weight(a: Any, x: Any) -> Any:
    """x**a exp(-x) / Gamma(a + 1)."""
    small = np.minimum(a, 20.0)
    near = np.where(x > 800.0, 0.0, np.power(x, small) * np.exp(-x) / gamma_1p(small))
    large = np.maximum(a, 20.0)
    mu = (x - large) / large
    phi = np.where(x < 0.5 * large, mu - np.log(x / large), mu_minus_log(mu))
    far = np.exp(-large * phi - gamma_star_correction(large)) / np.sqrt(2.0 * math.pi * large)
    return np.where(a < 20.0, near, far)


def p_series(a: Any, x: Any) -> Any:
    """The lower function by its power series, good for x <= a + 1."""
    term, total = np.ones_like(x), np.ones_like(x)
    for n in range(1, 2000):
        term = term * (x / (a + n))
        total += term
        if not np.any(term > 1e-17 * total):
            break
    return poisson_weight(a, x) * total


def q_series(a: Any, x: Any) -> Any:
    """The upper function for small x and a: the first term of 1 - P is joined to the 1."""
    factor, total = np.ones_like(x), np.zeros_like(x)
    for n in range(1, 100):
        factor = factor * (-x / n)
        total += factor / (a + n)
        if not np.any(np.abs(factor) > 1e-18):
            break
    log_1p = np.where(a < 0.5, a * horner(a, _LGAMMA) - np.log1p(a), lgamma_scalar(NUMPY, 1.0 + a))
    power = a * np.log(x) - log_1p
    return -np.expm1(power) - a * np.exp(power) * total


def q_fraction(a: Any, x: Any) -> Any:
    """The upper function by its continued fraction (Lentz' method), good for x >= a + 1."""
    tiny = 1e-300
    b = x + 1.0 - a
    c, d = np.full_like(x, 1.0 / tiny), 1.0 / np.where(b == 0.0, tiny, b)
    h, done = d, np.zeros(x.shape, bool)
    for i in range(1, 2000):
        step = -i * (i - a)
        b = b + 2.0
        d = step * d + b
        d = 1.0 / np.where(np.abs(d) < tiny, tiny, d)
        c = b + step / c
        c = np.where(np.abs(c) < tiny, tiny, c)
        ratio = c * d
        h = np.where(done, h, h * ratio)
        done |= ~(np.abs(ratio - 1.0) > 2.3e-16)
        if done.all():
            break
    return poisson_weight(a, x) * a * h


def temme(a: Any, x: Any) -> tuple[Any, Any]:
    """Whether P is the smaller one, and the smaller one, for large a and x near a."""
    mu = (x - a) / a
    phi = mu_minus_log(mu)
    eta = np.copysign(np.sqrt(2.0 * phi), mu)
    z = 1.0 / a
    total: Any = 0.0
    for row in reversed(temme_table()):
        total = total * z + horner(eta, row[::-1])
    lower = mu < 0.0
    y = np.abs(eta) * np.sqrt(0.5 * a)
    half = 0.5 * np.where(y < 0.5, np.exp(y * y) * OPS["erfc"].compute(y), erfcx_far(NUMPY, y))
    rest = total / np.sqrt(2.0 * math.pi * a)
    return lower, np.exp(-a * phi) * (half + np.where(lower, -rest, rest))


def gamma_fractions(a: Any, x: Any) -> tuple[Any, Any]:
    """P and Q for one-dimensional positive finite a and x; the smaller one to full precision."""
    p, q = np.empty_like(x), np.empty_like(x)
    uniform = (a >= 20.0) & (np.abs(x - a) <= 0.3 * a)
    with_log = np.where(x <= 0.5, -0.4 / np.log(np.minimum(x, 0.5)), 1.1 * x)
    small = ~uniform & (x <= 1.1) & (a <= with_log)
    series = ~uniform & ~small & (x <= np.maximum(a, 1.1))
    fraction = ~(uniform | small | series)
    for mask, f, upper in ((small, q_series, True), (series, p_series, False), (fraction, q_fraction, True)):
        if mask.any():
            value = f(a[mask], x[mask])
            (q if upper else p)[mask] = value
            (p if upper else q)[mask] = 1.0 - value
    if uniform.any():
        lower, value = temme(a[uniform], x[uniform])
        p[uniform] = np.where(lower, value, 1.0 - value)
        q[uniform] = np.where(lower, 1.0 - value, value)
    return p, q


def gamma_pair(a: Any, x: Any) -> tuple[Any, Any]:
    """P and Q for one-dimensional a and x; NaN where they are not defined, as at (0, 0)."""
    p = np.full(a.shape, np.nan)
    valid = (a >= 0.0) & (x >= 0.0) & ~(np.isinf(a) & np.isinf(x))
    p[valid & (a > 0.0) & ((x == 0.0) | np.isinf(a))] = 0.0
    p[valid & (x > 0.0) & ((a == 0.0) | np.isinf(x))] = 1.0
    q = 1.0 - p
    inside = (a > 0.0) & (x > 0.0) & np.isfinite(a) & np.isfinite(x)
    if inside.any():
        p[inside], q[inside] = gamma_fractions(a[inside], x[inside])
    return p, q


def gamma_density(a: Any, x: Any) -> Any:
    """x**(a - 1) exp(-x) / Gamma(a), by ops."""
    flat = OPS["logical_and"](x == 0, a == 1)  # there 0 log 0 means 0
    log = OPS["log"](OPS["where"](flat, OPS["fill"](x, value=1), x))
    return OPS["exp"]((a - 1.0) * log - x - OPS["lgamma"](a))


class Gammainc(InDouble):
    """Regularised lower incomplete gamma function P(a, x). Differentiable in x only."""

    name = "gammainc"
    partials = (_no_derivative("gammainc"), lambda out, a, x: gamma_density(a, x))

    def compute(self, *xs: Any, **attrs: Any) -> Any:
        return gamma_pair(*xs)[0]

    def samples(self) -> Iterable[Sample]:
        for p in real(2):
            yield Sample(np.abs(p.arrays[0]) + 0.5, np.abs(p.arrays[1]) + 0.2, wrt=(1,), label=p.label)
        a = np.array([30.0, 30.0, 0.3, 5.0, 5.0, 150.0])
        yield Sample(a, np.array([28.0, 50.0, 0.2, 2.0, 9.0, 151.0]), wrt=(1,), label="every expansion")
        yield Sample(np.array([3.0, 4.5]), np.zeros(2), wrt=(1,), numeric=False, label="zero")


class Gammaincc(InDouble):
    """Regularised upper incomplete gamma function Q(a, x) = 1 - P(a, x). Differentiable in x only."""

    name = "gammaincc"
    partials = (_no_derivative("gammaincc"), lambda out, a, x: -gamma_density(a, x))

    def compute(self, *xs: Any, **attrs: Any) -> Any:
        return gamma_pair(*xs)[1]

    def samples(self) -> Iterable[Sample]:
        yield from OPS["gammainc"].samples()

"""The error function's family and modified Bessel functions.

All are computed in float64, whatever the input's dtype, and rounded once. Relative errors are a few
units in the last place over the whole range (tests/functional/test_special.py compares with mpmath).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, message
from .base import OPS, Elementwise, Sample
from .scalar import NUMPY
from .testpoints import real

BLOCK = 4096  # elements computed at a time: temporaries stay in the first-level caches
SQRT_HALF = math.sqrt(0.5)
SQRT_PI = math.sqrt(math.pi)


class InDouble(Elementwise):
    """An elementwise op that computes in float64, block by block, and rounds once."""

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        dtype = self.result_dtype(*[x.dtype for x in xs])
        if dtype not in dt.FLOATING_NP:
            raise DTypeError(message(self.name, "needs real floating numbers", str(dtype), "Convert with x.float()"))
        given: Sequence[Any] = np.broadcast_arrays(*xs) if len(xs) > 1 else list(xs)
        shape = given[0].shape
        flat = [np.ascontiguousarray(x).reshape(-1) for x in given]
        size = flat[0].size
        out = np.empty(size, dtype)
        for i in range(0, size, BLOCK):
            block = [np.asarray(f[i : i + BLOCK], np.float64) for f in flat]
            out[i : i + BLOCK] = self.compute(*block, **attrs)
        return out.reshape(shape)


def choose(s: Any, condition: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """``where`` of two results; NumPy computes only those that some element of the block takes."""
    if s is NUMPY:
        if condition.all():
            return yes()
        if not condition.any():
            return no()
    return s.where(condition, yes(), no())


def horner(x: Any, coefficients: Sequence[float]) -> Any:
    """A polynomial, highest power first."""
    out: Any = coefficients[0]
    for c in coefficients[1:]:
        out = out * x + c
    return out


# -- error functions -----------------------------------------------------------------------
# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969).

_ERF_P = (
    1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
    3.20937758913846947e3,
)  # fmt: skip
_ERF_Q = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_MID_P = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
    2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
    1.23033935479799725e3,
)  # fmt: skip
_MID_Q = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
    3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)  # fmt: skip
_FAR_P = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
    1.60837851487422766e-2, 6.58749161529837803e-4,
)  # fmt: skip
_FAR_Q = (
    1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
    2.33520497626869185e-3,
)  # fmt: skip
_NEAR = 0.46875


def erf_near(x: Any) -> Any:
    """The function erf for |x| <= 0.46875."""
    z = x * x
    return x * (horner(z, _ERF_P) / horner(z, _ERF_Q))


def erfcx_far(s: Any, y: Any) -> Any:
    """exp(y**2) erfc(y) for y >= 0.46875."""

    def far() -> Any:
        z = 1.0 / (y * y)
        return (1.0 / SQRT_PI - z * (horner(z, _FAR_P) / horner(z, _FAR_Q))) / y

    return choose(s, y <= 4.0, lambda: horner(y, _MID_P) / horner(y, _MID_Q), far)


def exp_square(s: Any, y: Any, factor: float) -> Any:
    """exp(factor * y**2) without the error that rounding the square would make."""
    y = s.minimum(s.absolute(y), 64.0)
    t = s.rint(y * 16.0) * 0.0625
    return s.exp(factor * (t * t)) * s.exp(factor * ((y - t) * (y + t)))


def ndtr_scalar(s: Any, x: Any) -> Any:
    """Distribution function of the standard normal distribution."""
    u = x * SQRT_HALF

    def far() -> Any:
        tail = 0.5 * exp_square(s, x, -0.5) * erfcx_far(s, s.absolute(u))
        return s.where(x < 0.0, tail, 1.0 - tail)

    return choose(s, s.absolute(u) <= _NEAR, lambda: 0.5 + 0.5 * erf_near(u), far)


class Erf(InDouble):
    """Error function, 2/sqrt(pi) times the integral of exp(-t**2) from 0 to x."""

    name = "erf"
    traits = frozenset({"monotone", "odd", "preserves_zero"})
    partials = (lambda out, x: OPS["exp"](-(x * x)) * (2.0 / SQRT_PI),)

    def scalar(self, s: Any, x: Any) -> Any:
        y = s.absolute(x)

        def far() -> Any:
            return s.copysign(1.0 - exp_square(s, y, -1.0) * erfcx_far(s, y), x)

        return choose(s, y <= _NEAR, lambda: erf_near(x), far)

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([0.0, 0.46875, -3.0, 4.0, 5.5]), label="ends of the intervals")


class Erfc(InDouble):
    """1 - erf(x), without cancellation."""

    name = "erfc"
    traits = frozenset({"monotone", "decreasing"})
    partials = (lambda out, x: OPS["exp"](-(x * x)) * (-2.0 / SQRT_PI),)

    def scalar(self, s: Any, x: Any) -> Any:
        y = s.absolute(x)
        far = exp_square(s, y, -1.0) * erfcx_far(s, y)
        return s.where(y <= _NEAR, 1.0 - erf_near(x), s.where(x < 0.0, 2.0 - far, far))

    def samples(self) -> Iterable[Sample]:
        yield from OPS["erf"].samples()


class Erfcx(InDouble):
    """exp(x**2) erfc(x)."""

    name = "erfcx"
    traits = frozenset({"monotone", "decreasing"})
    partials = (lambda out, x: x * out * 2.0 - 2.0 / SQRT_PI,)

    def scalar(self, s: Any, x: Any) -> Any:
        y = s.absolute(x)
        far, square = erfcx_far(s, y), exp_square(s, y, 1.0)
        near = square * (1.0 - erf_near(x))
        return s.where(y <= _NEAR, near, s.where(x < 0.0, 2.0 * square - far, far))

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([0.0, 0.46875, 4.0, 30.0, -1.5]), label="ends of the intervals")


class Ndtr(InDouble):
    """Distribution function of the standard normal distribution."""

    name = "ndtr"
    traits = frozenset({"monotone"})
    partials = (lambda out, x: OPS["exp"](x * x * -0.5) * (SQRT_HALF / SQRT_PI),)

    def scalar(self, s: Any, x: Any) -> Any:
        return ndtr_scalar(s, x)

    def samples(self) -> Iterable[Sample]:
        yield from OPS["erf"].samples()


class LogNdtr(InDouble):
    """Logarithm of the normal distribution function, right far out in both tails."""

    name = "log_ndtr"
    traits = frozenset({"monotone"})
    partials = (lambda out, x: math.sqrt(2.0 / math.pi) / OPS["erfcx"](x * -SQRT_HALF),)

    def scalar(self, s: Any, x: Any) -> Any:
        below = s.log(0.5 * erfcx_far(s, s.maximum(x * -SQRT_HALF, 0.5))) - 0.5 * (x * x)
        return s.where(x < -1.0, below, s.log1p(-ndtr_scalar(s, -x)))

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([-40.0, -1.0, 0.0, 3.0, 9.0]), label="tails")


# -- inverse error functions -----------------------------------------------------------------
# M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
# Statistics 37 (1988); relative error about 1e-16.

_AS_A = (
    2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
    13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608,
)  # fmt: skip
_AS_B = (
    5226.495278852854561, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
    5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0,
)  # fmt: skip
_AS_C = (
    7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
    3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734,
)  # fmt: skip
_AS_D = (
    1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
    0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0,
)  # fmt: skip
_AS_E = (
    2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.2426609473880784386e-3, 0.026532189526576123093,
    0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772,
)  # fmt: skip
_AS_F = (
    2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
    0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0,
)  # fmt: skip


def percentage_point(s: Any, q: Any, tail: Any) -> Any:
    """The normal quantile of 0.5 + q, where ``tail`` is 0.5 - |q| exactly."""
    near = 0.180625 - q * q
    r = s.sqrt(-s.log(tail))
    mid, far = r - 1.6, r - 5.0
    out = s.where(r <= 5.0, horner(mid, _AS_C) / horner(mid, _AS_D), horner(far, _AS_E) / horner(far, _AS_F))
    out = s.where(tail == 0.0, math.inf, out)
    centre = q * (horner(near, _AS_A) / horner(near, _AS_B))
    return s.where(s.absolute(q) <= 0.425, centre, s.copysign(out, q))


class Erfinv(InDouble):
    """Inverse of erf on [-1, 1]; NaN outside."""

    name = "erfinv"
    traits = frozenset({"monotone", "odd", "preserves_zero"})
    partials = (lambda out, x: OPS["exp"](out * out) * (SQRT_PI / 2.0),)

    def scalar(self, s: Any, x: Any) -> Any:
        return SQRT_HALF * percentage_point(s, 0.5 * x, 0.5 * (1.0 - s.absolute(x)))

    def samples(self) -> Iterable[Sample]:
        for p in real(1):
            yield Sample(np.tanh(p.arrays[0]), label=p.label)
        yield Sample(np.array([0.0, 0.85, -0.85, 0.999]), label="ends of the intervals")


class Ndtri(InDouble):
    """Inverse of ndtr on [0, 1]; NaN outside."""

    name = "ndtri"
    traits = frozenset({"monotone"})
    partials = (lambda out, x: OPS["exp"](out * out * 0.5) * math.sqrt(2.0 * math.pi),)

    def scalar(self, s: Any, x: Any) -> Any:
        return percentage_point(s, x - 0.5, s.minimum(x, 1.0 - x))

    def samples(self) -> Iterable[Sample]:
        for p in real(1):
            yield Sample(0.5 + 0.4 * np.tanh(p.arrays[0]), label=p.label)
        yield Sample(np.array([0.5, 0.075, 0.925, 0.999]), label="ends of the intervals")


class Entr(InDouble):
    """-x log(x); 0 at 0, -inf below."""

    name = "entr"
    partials = (lambda out, x: -OPS["log"](x) - 1.0,)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.where(x > 0.0, -x * s.log(x), s.where(x == 0.0, 0.0 * x, s.where(x < 0.0, -math.inf, x)))

    def samples(self) -> Iterable[Sample]:
        for p in real(1):
            yield Sample(np.abs(p.arrays[0]) + 0.3, label=p.label)


# -- modified Bessel functions -----------------------------------------------------------------


class BesselI(InDouble):
    """Modified Bessel function of the first kind of integer ``order``; times exp(-|x|) if ``scaled``."""

    name = "bessel_i"

    @staticmethod
    def _slope(out: Any, x: Any, order: int, scaled: bool) -> Any:
        up = OPS["bessel_i"](x, order=order + 1, scaled=scaled)
        slope = (up + OPS["bessel_i"](x, order=order - 1, scaled=scaled)) * 0.5 if order else up
        return slope - OPS["sign"](x) * out if scaled else slope

    def scalar(self, s: Any, x: Any, order: int, scaled: bool) -> Any:
        y = s.absolute(x)
        limit = 20.0 + 0.5 * order * order
        near = self._series(s.minimum(y, limit), order, int(1.9 * limit) + 4)
        far = self._hankel(s.maximum(y, limit), order) / s.sqrt((2.0 * math.pi) * y)
        if scaled:
            near = near * s.exp(-y)
        else:
            half = s.exp(0.5 * y)  # exp(y) would overflow before the product does
            far = s.where(s.isinf(y), y, far * half * half)
        out = s.where(y < limit, near, far)
        return s.where(x < 0.0, -out, out) if order % 2 else out

    @staticmethod
    def _series(y: Any, order: int, terms: int) -> Any:
        """The sum of (y/2)**(2k + n) / (k! (k + n)!): all terms are positive."""
        t = 0.25 * (y * y)
        out: Any = 1.0
        for k in range(terms, 0, -1):
            out = 1.0 + out * (t * (1.0 / (k * (k + order))))
        for k in range(1, order + 1):
            out = out * (y * (0.5 / k))
        return out

    @staticmethod
    def _hankel(y: Any, order: int) -> Any:
        """The asymptotic series, summed to its smallest term."""
        z = 0.125 / y
        out: Any = 1.0
        for k in range(30, 0, -1):
            out = 1.0 - out * (z * ((4.0 * order * order - (2 * k - 1) ** 2) / k))
        return out

    def samples(self) -> Iterable[Sample]:
        for order in (0, 1, 2):
            for scaled in (False, True):
                attrs = {"order": order, "scaled": scaled}
                for p in real(1):
                    yield Sample(*p.arrays, attrs=attrs, label=p.label)
                far = np.array([-3.0, 19.9, 25.0] if scaled else [-3.0, 6.5])
                yield Sample(far, attrs=attrs, label="far")
                yield Sample(np.zeros(1), attrs=attrs, numeric=not scaled, label="zero")


BesselI.partials = (BesselI._slope,)

"""Activations that are a number times the share of it that passes: GELU, its approximation by tanh, SiLU.

Each is an op of its own rather than a product of two: it is exact where rounding the share first is not. So is its
derivative, which reads the input alone: nothing else waits for the reverse sweep, and one exponential is enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .base import OPS, Sample
from .special import SQRT_HALF, SQRT_PI, InDouble, ndtr_scalar
from .testpoints import real

NORMAL_TOP = SQRT_HALF / SQRT_PI  # the density of the normal distribution at 0
TANH_LINEAR = math.sqrt(8.0 / math.pi)  # (1 + tanh(u / 2)) / 2 is the logistic function of u = x (a + b x**2):
TANH_CUBIC = 0.044715 * TANH_LINEAR  # these are a and b


def _within(s: Any, x: Any) -> Any:
    """``x``, at most 64 from 0: beyond, slopes stay what they are."""
    return s.minimum(s.maximum(x, -64.0), 64.0)


class Gelu(InDouble):
    """``x * ndtr(x)`` (Hendrycks and Gimpel, arXiv:1606.08415)."""

    name = "gelu"
    partials = (lambda out, x: OPS["gelu_slope"](x),)

    def scalar(self, s: Any, x: Any) -> Any:
        return x * ndtr_scalar(s, x)

    def samples(self) -> Iterable[Sample]:
        yield from OPS["erf"].samples()


class GeluSlope(InDouble):
    """The derivative of GELU: ``ndtr(x)``, and ``x`` times the normal distribution's density."""

    name = "gelu_slope"
    partials = (lambda out, x: OPS["exp"](x * x * -0.5) * (2.0 - x * x) * NORMAL_TOP,)

    def scalar(self, s: Any, x: Any) -> Any:
        x = _within(s, x)
        return ndtr_scalar(s, x) + x * (NORMAL_TOP * s.exp(-0.5 * (x * x)))

    def samples(self) -> Iterable[Sample]:
        yield from OPS["erf"].samples()


class GeluTanh(InDouble):
    """GELU with 0.5 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) for ``ndtr(x)``, by the logistic function."""

    name = "gelu_tanh"
    partials = (lambda out, x: OPS["gelu_tanh_slope"](x),)

    def scalar(self, s: Any, x: Any) -> Any:
        return x / (1.0 + s.exp(-x * (x * x * TANH_CUBIC + TANH_LINEAR)))

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([-40.0, -6.0, 6.0, 40.0]), label="far out")


class GeluTanhSlope(InDouble):
    """The derivative of GELU by tanh."""

    name = "gelu_tanh_slope"

    @staticmethod
    def _slope(out: Any, x: Any) -> Any:
        z = x * x
        share, inner = OPS["sigmoid"](x * (z * TANH_CUBIC + TANH_LINEAR)), z * (3.0 * TANH_CUBIC) + TANH_LINEAR
        rest = inner * 2.0 + z * (6.0 * TANH_CUBIC) + x * inner * inner * (1.0 - share * 2.0)
        return share * (1.0 - share) * rest

    def scalar(self, s: Any, x: Any) -> Any:
        x = _within(s, x)
        share = 1.0 / (1.0 + s.exp(-x * (x * x * TANH_CUBIC + TANH_LINEAR)))
        return share + x * (share * (1.0 - share)) * (x * x * (3.0 * TANH_CUBIC) + TANH_LINEAR)

    def samples(self) -> Iterable[Sample]:
        yield from OPS["gelu_tanh"].samples()


GeluTanhSlope.partials = (GeluTanhSlope._slope,)


class Silu(InDouble):
    """``x * sigmoid(x)``."""

    name = "silu"
    partials = (lambda out, x: OPS["silu_slope"](x),)

    def scalar(self, s: Any, x: Any) -> Any:
        return x / (1.0 + s.exp(-x))

    def samples(self) -> Iterable[Sample]:
        yield from OPS["gelu_tanh"].samples()


class SiluSlope(InDouble):
    """The derivative of SiLU."""

    name = "silu_slope"

    @staticmethod
    def _slope(out: Any, x: Any) -> Any:
        share = OPS["sigmoid"](x)
        return share * (1.0 - share) * (2.0 + x * (1.0 - share * 2.0))

    def scalar(self, s: Any, x: Any) -> Any:
        share = 1.0 / (1.0 + s.exp(-x))
        return share * (1.0 + x * (1.0 - share))

    def samples(self) -> Iterable[Sample]:
        yield from OPS["gelu_tanh"].samples()


SiluSlope.partials = (SiluSlope._slope,)

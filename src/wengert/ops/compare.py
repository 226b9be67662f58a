"""Comparisons and tests of numbers: elementwise, bool, without derivative."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from .base import Elementwise, Sample
from .testpoints import floats, real

TIES = np.array([1.0, 2.0, 3.0, np.nan, np.inf, -0.0])
OTHER = np.array([1.0, 3.0, 2.0, np.nan, np.inf, 0.0])


class Comparison(Elementwise):
    """Two numbers to a bool."""

    out_dtype = dt.NP_BOOL
    differentiable = False
    partials = (None, None)

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(TIES, OTHER, label="ties, NaN, infinities, zeros")
        yield Sample(np.array([1, 2, 3]), np.array([1, 3, 2]), label="integers")


class Eq(Comparison):
    """x == y."""

    name = "eq"
    ufunc = staticmethod(np.equal)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x == y


class Ne(Comparison):
    """x != y."""

    name = "ne"
    ufunc = staticmethod(np.not_equal)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x != y


class Lt(Comparison):
    """x < y."""

    name = "lt"
    ufunc = staticmethod(np.less)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x < y


class Le(Comparison):
    """x <= y."""

    name = "le"
    ufunc = staticmethod(np.less_equal)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x <= y


class Gt(Comparison):
    """x > y."""

    name = "gt"
    ufunc = staticmethod(np.greater)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x > y


class Ge(Comparison):
    """x >= y."""

    name = "ge"
    ufunc = staticmethod(np.greater_equal)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x >= y


class Predicate(Elementwise):
    """One number to a bool."""

    out_dtype = dt.NP_BOOL
    differentiable = False
    partials = (None,)

    def samples(self) -> Iterable[Sample]:
        yield Sample(TIES)
        yield Sample(floats(0), label="empty")


class IsNan(Predicate):
    """Whether x is not a number."""

    name = "isnan"
    ufunc = staticmethod(np.isnan)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.isnan(x)


class IsInf(Predicate):
    """Whether x is infinite."""

    name = "isinf"
    ufunc = staticmethod(np.isinf)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.isinf(x)


class IsFinite(Predicate):
    """Whether x is neither infinite nor NaN."""

    name = "isfinite"
    ufunc = staticmethod(np.isfinite)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.isfinite(x)


class SignBit(Predicate):
    """Whether the sign bit is set (true for -0.0)."""

    name = "signbit"
    ufunc = staticmethod(np.signbit)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.signbit(x)


class LogicalNot(Predicate):
    """Whether x is zero."""

    name = "logical_not"
    ufunc = staticmethod(np.logical_not)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.logical_not(x)


class LogicalAnd(Comparison):
    """Whether both are non-zero."""

    name = "logical_and"
    ufunc = staticmethod(np.logical_and)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.logical_and(x, y)


class LogicalOr(Comparison):
    """Whether one is non-zero."""

    name = "logical_or"
    ufunc = staticmethod(np.logical_or)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.logical_or(x, y)


class LogicalXor(Comparison):
    """Whether exactly one is non-zero."""

    name = "logical_xor"
    ufunc = staticmethod(np.logical_xor)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.logical_xor(x, y)

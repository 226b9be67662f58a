"""Comparisons and tests of numbers: elementwise, bool, without derivative."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, message
from ..graph.aval import Aval, aval_of, describe
from .base import OPS, Elementwise, Sample, total
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
    traits = frozenset({"commutative"})
    ufunc = staticmethod(np.equal)
    operator = staticmethod(operator.eq)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x == y


class Ne(Comparison):
    """x != y."""

    name = "ne"
    traits = frozenset({"commutative"})
    ufunc = staticmethod(np.not_equal)
    operator = staticmethod(operator.ne)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x != y


class Order(Comparison):
    """A comparison by size, which complex numbers do not have (NumPy's has one for them)."""

    compare: Any

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        refuse_complex(self.name, *avals)
        return super().infer(*avals)

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        return self.operator if self.operator is not None and avals[0].dtype.kind in "biuf" else self.numpy

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        if xs[0].dtype in dt.COMPLEX_NP:
            refuse_complex(self.name, *[aval_of(x) for x in xs])
        return self.compare(*xs)


def refuse_complex(name: str, *avals: Aval) -> None:
    """Raise if an operand is complex."""
    if any(a.dtype in dt.COMPLEX_NP for a in avals):
        raise DTypeError(message(name, "complex numbers have no order", describe(avals), "Compare x.abs()"))


class Lt(Order):
    """x < y."""

    name = "lt"
    compare = staticmethod(np.less)
    operator = staticmethod(operator.lt)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x < y


class Le(Order):
    """x <= y."""

    name = "le"
    compare = staticmethod(np.less_equal)
    operator = staticmethod(operator.le)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x <= y


class Gt(Order):
    """x > y."""

    name = "gt"
    compare = staticmethod(np.greater)
    operator = staticmethod(operator.gt)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x > y


class Ge(Order):
    """x >= y."""

    name = "ge"
    compare = staticmethod(np.greater_equal)
    operator = staticmethod(operator.ge)

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
    traits = frozenset({"even", "preserves_zero"})
    ufunc = staticmethod(np.isnan)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.isnan(x)


class IsInf(Predicate):
    """Whether x is infinite."""

    name = "isinf"
    traits = frozenset({"even", "preserves_zero"})
    ufunc = staticmethod(np.isinf)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.isinf(x)


class IsFinite(Predicate):
    """Whether x is neither infinite nor NaN."""

    name = "isfinite"
    traits = frozenset({"even"})
    ufunc = staticmethod(np.isfinite)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.isfinite(x)


class SignBit(Predicate):
    """Whether the sign bit is set (true for -0.0)."""

    name = "signbit"
    traits = frozenset({"decreasing", "preserves_zero"})
    ufunc = staticmethod(np.signbit)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.signbit(x)


class LogicalNot(Predicate):
    """Whether x is zero."""

    name = "logical_not"
    traits = frozenset({"even"})
    ufunc = staticmethod(np.logical_not)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.logical_not(x)


class LogicalAnd(Comparison):
    """Whether both are non-zero."""

    name = "logical_and"
    traits = frozenset({"commutative", "associative", "zero:0", "preserves_zero"})
    ufunc = staticmethod(np.logical_and)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.logical_and(x, y)


class LogicalOr(Comparison):
    """Whether one is non-zero."""

    name = "logical_or"
    traits = frozenset({"commutative", "associative", "preserves_zero"})
    ufunc = staticmethod(np.logical_or)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.logical_or(x, y)


class LogicalXor(Comparison):
    """Whether exactly one is non-zero."""

    name = "logical_xor"
    traits = frozenset({"commutative", "associative", "preserves_zero"})
    ufunc = staticmethod(np.logical_xor)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.logical_xor(x, y)


class Extreme(Order):
    """One of two numbers; a NaN wins. Equal ones share the derivative, half each."""

    out_dtype = None
    differentiable = True

    def share(self, g: Any, i: int, x: Any, y: Any) -> Any:
        """What of ``g`` belongs to input ``i``: chosen, so that no infinity leaks through a 0."""
        where = OPS["where"]
        zero = OPS["fill"](g, value=0)
        return where(x == y, g * 0.5, where(self.loses(i, x, y), zero, g))

    def loses(self, i: int, x: Any, y: Any) -> Any:
        """Whether input ``i`` is not the result."""
        raise NotImplementedError

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return total(None if t is None else self.share(t, i, *xs) for i, t in enumerate(ts))

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [self.share(g, i, *xs) if n else None for i, n in enumerate(need)]

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(np.array([1.0, 2.0, 0.0, -np.inf]), np.array([1.0, 2.0, -0.0, 3.0]), numeric=False, label="ties")
        yield Sample(np.array([1, 2, 3]), np.array([1, 3, 2]), label="integers")


class Maximum(Extreme):
    """The larger of two numbers."""

    name = "maximum"
    traits = frozenset({"commutative", "associative", "idempotent", "identity:-inf", "zero:inf", "preserves_zero"})
    compare = staticmethod(np.maximum)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.maximum(x, y)

    def loses(self, i: int, x: Any, y: Any) -> Any:
        return x < y if i == 0 else y < x


class Minimum(Extreme):
    """The smaller of two numbers."""

    name = "minimum"
    traits = frozenset({"commutative", "associative", "idempotent", "identity:inf", "zero:-inf", "preserves_zero"})
    compare = staticmethod(np.minimum)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.minimum(x, y)

    def loses(self, i: int, x: Any, y: Any) -> Any:
        return x > y if i == 0 else y > x

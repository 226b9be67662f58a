"""Arithmetic: the elementwise ops that everything else is made of."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, message
from ..graph.aval import Aval, describe
from ..graph.handle import Handle
from .arrays import one
from .base import OPS, Elementwise, Sample, dtype_of, zeros_like
from .testpoints import complexes, floats, real


class Add(Elementwise):
    """x + y."""

    name = "add"
    traits = frozenset({"commutative", "associative", "identity:0", "preserves_zero"})
    ufunc = staticmethod(np.add)
    operator = staticmethod(operator.add)
    partials = (1.0, 1.0)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x + y

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(complexes(3), complexes(3, seed=1))


class Sub(Elementwise):
    """x - y."""

    name = "sub"
    traits = frozenset({"identity_right:0", "preserves_zero"})
    ufunc = staticmethod(np.subtract)
    operator = staticmethod(operator.sub)
    partials = (1.0, -1.0)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x - y

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        if avals[0].dtype == dt.NP_BOOL:
            raise DTypeError(message("sub", "bool tensors cannot be subtracted", describe(avals), "Use ^ or ~"))
        return super().infer(*avals)

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(complexes(3), complexes(3, seed=1))


class Mul(Elementwise):
    """The product x y, element by element."""

    name = "mul"
    traits = frozenset({"commutative", "associative", "identity:1", "zero:0", "preserves_zero"})
    ufunc = staticmethod(np.multiply)
    operator = staticmethod(operator.mul)
    partials = (lambda out, x, y: y, lambda out, x, y: x)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x * y

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(np.array([0.0, 0.0, 2.0]), np.array([0.0, 3.0, 0.0]), label="zeros")
        yield Sample(complexes(3), complexes(3, seed=1))


class Div(Elementwise):
    """x / y, for floating and complex operands (the front converts integers)."""

    name = "div"
    traits = frozenset({"identity_right:1"})
    ufunc = staticmethod(np.true_divide)
    operator = staticmethod(operator.truediv)
    partials = (lambda out, x, y: 1.0 / y, lambda out, x, y: -out / y)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x / y

    def samples(self) -> Iterable[Sample]:
        for s in real(2):
            yield Sample(s.arrays[0], np.abs(s.arrays[1]) + 0.5, label=s.label)
        yield Sample(floats(4), -np.abs(floats(4, seed=2)) - 0.5, label="negative divisor")
        yield Sample(complexes(3), complexes(3, seed=1) + 2.0)


class Neg(Elementwise):
    """The negative, -x."""

    name = "neg"
    traits = frozenset({"involution", "odd", "monotone", "decreasing", "preserves_zero"})
    ufunc = staticmethod(np.negative)
    operator = staticmethod(operator.neg)
    partials = (-1.0,)

    def scalar(self, s: Any, x: Any) -> Any:
        return -x

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        if avals[0].dtype == dt.NP_BOOL:
            raise DTypeError(message("neg", "bools cannot be negated", describe(avals), "Use ~ to invert a mask"))
        return avals[0]

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(complexes(3))


class Pow(Elementwise):
    """x ** y. At a zero exponent d/dx is 0; at a zero base d/dy is 0 where y >= 0 (PyTorch's convention)."""

    name = "pow"
    traits = frozenset({"identity_right:1"})

    @staticmethod
    def _dx(out: Any, x: Any, y: Any) -> Any:
        if not isinstance(y, Handle) and _is_one_number(y):
            return _slope_of_power(x, y[(0,) * y.ndim])
        flat = y == 0
        if _is_differentiated(y):
            flat = flat & (x == 0)  # elsewhere the product below is 0, and its slope in y is not
        where = OPS["where"]
        slope = y * OPS["pow"](x, where(flat, _ones(y), y - 1))
        return where(flat, zeros_like(slope), slope)

    @staticmethod
    def _dy(out: Any, x: Any, y: Any) -> Any:
        where = OPS["where"]
        flat = (x == 0) & (y >= 0) if dtype_of(x) not in dt.COMPLEX_NP else x == 0
        slope = out * OPS["log"](where(flat, _ones(x), x))
        return where(flat, zeros_like(slope), slope)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.power(x, y)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, y = xs
        if y.dtype in dt.INEXACT_NP:
            if _is_one_number(y) and (not y.ndim or x.shape == y.shape):
                known = _PLAIN_POWERS if x.dtype not in dt.HALF_NP else _ROUNDED_ONCE
                plain = known.get(y[(0,) * y.ndim].item())
                if plain is not None:
                    return plain(x)
        elif x.dtype.kind == "i" and np.any(y < 0):
            return _integer_power(x, y)
        elif x.dtype == dt.NP_BOOL:
            return x | ~y
        return np.power(x, y)

    def samples(self) -> Iterable[Sample]:
        for s in real(2):
            yield Sample(np.abs(s.arrays[0]) + 0.5, s.arrays[1], label=s.label)
        yield Sample(np.array([-2.0, -1.5, 3.0]), np.array([2.0, 3.0, 2.0]), wrt=(0,), label="negative base")
        yield Sample(np.array([0.0, 0.0, 2.0]), np.array([2.0, 3.0, 0.0]), wrt=(0,), label="zeros")
        yield Sample(np.array([0.7, 2.0]), np.array([0.0, 0.0]), label="zero exponents")
        yield Sample(np.array([0.0, 0.0]), np.array([3.0, 2.5]), numeric=False, label="zero bases")
        yield Sample(np.array([0.0, 0.0]), np.array([0.0, 1.0]), numeric=False, wrt=(0,), label="0**0 and 0**1")
        yield Sample(complexes(3) + 2.0, complexes(3, seed=1))


Pow.partials = (Pow._dx, Pow._dy)

# What NumPy computes much faster than a power; with several roundings only where they are fine.
_ROUNDED_ONCE: dict[Any, Any] = {1.0: np.positive, 2.0: np.square, 0.5: np.sqrt, -1.0: np.reciprocal}
_PLAIN_POWERS = _ROUNDED_ONCE | {
    3.0: lambda x: x * x * x,
    -2.0: lambda x: np.reciprocal(x * x),
    -0.5: lambda x: np.reciprocal(np.sqrt(x)),
}


def _is_one_number(y: Any) -> bool:
    """Whether an array repeats one number."""
    return y.size == 1 or (y.size > 1 and not any(y.strides))


def _is_differentiated(x: Any) -> bool:
    return isinstance(x, Handle) and x._node is not None and x._node.requires_grad


def _slope_of_power(x: Any, y: Any) -> Any:
    """The derivative of x ** y in x, for one exponent, on bare arrays."""
    if y == 2:
        return x + x
    if y == 0:
        return zeros_like(x)
    return y * OPS["pow"](x, np.asarray(y - 1, y.dtype)[()])


def _integer_power(x: Any, y: Any) -> Any:
    """Powers of integers with some negative exponents: 0 but for 1 and -1."""
    power = np.power(x, np.where(y < 0, y & 1, y))
    return np.where((y < 0) & (np.abs(x) != 1), x.dtype.type(0), power)


class Atan2(Elementwise):
    """The angle of the point (other, input), from -pi to pi; its derivative at the origin is 0."""

    name = "atan2"
    traits = frozenset({"preserves_zero"})
    ufunc = staticmethod(np.arctan2)
    partials = (lambda out, y, x: x / _square_sum(y, x), lambda out, y, x: -y / _square_sum(y, x))

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.arctan2(x, y)

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(np.array([0.0, 0.0, -0.0]), np.array([0.0, 1.0, -0.0]), numeric=False, label="origin")


def _square_sum(x: Any, y: Any) -> Any:
    """x^2 + y^2; infinite at the origin, so that what is divided by it vanishes there."""
    r = x * x + y * y
    return OPS["where"](r == 0, OPS["fill"](r, value=np.inf), r)


class Hypot(Elementwise):
    """sqrt(x^2 + y^2) without overflow; its derivative at the origin is 0."""

    name = "hypot"
    traits = frozenset({"commutative", "associative", "zero:inf", "preserves_zero"})
    ufunc = staticmethod(np.hypot)
    partials = (lambda out, x, y: x / _or_one(out), lambda out, x, y: y / _or_one(out))

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.hypot(x, y)

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(np.array([0.0, 3e4]), np.array([0.0, 3e4]), numeric=False, label="origin, huge")


def _or_one(x: Any) -> Any:
    return OPS["where"](x == 0, _ones(x), x)


class LogAddExp(Elementwise):
    """log(exp(x) + exp(y)) without overflow; two equal infinities share the derivative."""

    name = "logaddexp"
    traits = frozenset({"commutative", "associative", "identity:-inf", "zero:inf"})
    ufunc = staticmethod(np.logaddexp)
    partials = (
        lambda out, x, y: OPS["sigmoid"](_difference(x, y)),
        lambda out, x, y: OPS["sigmoid"](_difference(y, x)),
    )

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        gap = s.where(x == y, 0.0, s.absolute(x - y))  # two equal infinities have no difference
        return s.maximum(x, y) + s.log1p(s.exp(-gap))

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(np.array([1.0, 700.0, -1e4]), np.array([1.0, 720.0, 3.0]), label="ties, large")
        inf = np.inf
        yield Sample(np.array([inf, -inf, -inf]), np.array([inf, -inf, 0.0]), numeric=False, label="infinite")


def _difference(x: Any, y: Any) -> Any:
    """X - y, and 0 between equal infinities."""
    same = (x == y) & OPS["isinf"](x)
    zero = zeros_like(x)
    return OPS["where"](same, zero, x) - OPS["where"](same, zero, y)


class NextAfter(Elementwise):
    """The number next to x in the direction of y: x plus a constant, as far as derivatives go."""

    name = "nextafter"
    traits = frozenset({"preserves_zero"})
    ufunc = staticmethod(np.nextafter)
    partials = (1.0, None)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.nextafter(x, y)

    def samples(self) -> Iterable[Sample]:
        yield from real(2)
        yield Sample(np.array([0.0, 1.0]), np.array([1.0, 1.0]), numeric=False, label="zero, tie")


class Exp(Elementwise):
    """e ** x."""

    name = "exp"
    traits = frozenset({"monotone"})
    ufunc = staticmethod(np.exp)
    partials = (lambda out, x: out,)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.exp(x)

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(complexes(3))


class Log(Elementwise):
    """Natural logarithm; -inf at 0, NaN below."""

    name = "log"
    traits = frozenset({"monotone"})
    ufunc = staticmethod(np.log)
    partials = (lambda out, x: 1.0 / x,)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.log(x)

    def samples(self) -> Iterable[Sample]:
        for s in real(1):
            yield Sample(np.abs(s.arrays[0]) + 0.3, label=s.label)
        yield Sample(complexes(3) + 2.0)


class Sqrt(Elementwise):
    """Square root; NaN below 0."""

    name = "sqrt"
    traits = frozenset({"monotone", "preserves_zero"})
    ufunc = staticmethod(np.sqrt)
    partials = (lambda out, x: 0.5 / out,)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.sqrt(x)

    def samples(self) -> Iterable[Sample]:
        for s in real(1):
            yield Sample(np.abs(s.arrays[0]) + 0.3, label=s.label)
        yield Sample(complexes(3) + 2.0)


class Tanh(Elementwise):
    """Hyperbolic tangent, sinh(x) / cosh(x)."""

    name = "tanh"
    traits = frozenset({"monotone", "odd", "preserves_zero"})
    ufunc = staticmethod(np.tanh)
    partials = (lambda out, x: one(out) - out * out,)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.tanh(x)

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(complexes(3) * 0.5)


class Conj(Elementwise):
    """Complex conjugate. Not holomorphic: its tangent and its adjoint are conjugated."""

    name = "conj"
    traits = frozenset({"involution", "odd", "preserves_zero"})
    ufunc = staticmethod(np.conjugate)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.conjugate(x)

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self(ts[0])

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [self(g)]

    def samples(self) -> Iterable[Sample]:
        yield Sample(complexes(3))


def _ones(x: Any) -> Any:
    return OPS["fill"](x, value=1) if isinstance(x, Handle) else np.ones(x.shape, x.dtype)

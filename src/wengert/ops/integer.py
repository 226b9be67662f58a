"""Division with remainder, bits, and common divisors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, message
from ..graph.aval import Aval, aval_of, describe
from .base import OPS, Elementwise, Sample
from .testpoints import floats, real

A = np.array([7, -7, 12, 0, -12, 5])
B = np.array([3, 3, -5, 4, -4, 1])


class Division(Elementwise):
    """A quotient or a remainder of real numbers. Integers cannot be divided by 0."""

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        for a in avals:
            if a.dtype == dt.NP_BOOL or a.dtype in dt.COMPLEX_NP:
                raise DTypeError(message(self.name, "needs real numbers", describe(avals)))
        return super().infer(*avals)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, y = xs
        if x.dtype not in dt.INEXACT_NP:
            self.infer(aval_of(x), aval_of(x))
            if not np.all(y):
                raise ArgumentError(
                    message(self.name, "integer division by zero", describe((aval_of(x), aval_of(y))),
                            "Divide floating numbers to get inf or NaN")
                )  # fmt: skip
        return super().numpy(*xs)

    def samples(self) -> Iterable[Sample]:
        for s in real(2):
            x, y = s.arrays
            yield Sample(5 * x, np.abs(y) + 0.7, label=s.label)
        yield Sample(5 * floats(4), -np.abs(floats(4, seed=2)) - 0.7, label="negative divisor")
        yield Sample(np.array([6.0, -6.0, 0.0, 1.0]), np.array([3.0, 3.0, 2.0, -0.5]), numeric=False, label="jumps")
        yield Sample(A, B, label="integers")


class Fmod(Division):
    """x - y trunc(x / y): the remainder with the sign of x."""

    name = "fmod"
    partials = (1.0, lambda out, x, y: -OPS["trunc"](x / y))

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.fmod(x, y)


class Remainder(Division):
    """x - y floor(x / y): the remainder with the sign of y."""

    name = "remainder"
    partials = (1.0, lambda out, x, y: -OPS["floor_divide"](x, y))

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x % y


class FloorDivide(Division):
    """floor(x / y), for floating numbers without the rounding error of the quotient."""

    name = "floor_divide"
    partials = (0.0, 0.0)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return x // y


class Bits(Elementwise):
    """A function of the bits of integers."""

    differentiable = False
    bools = True

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        for a in avals:
            if a.dtype in dt.INEXACT_NP or (a.dtype == dt.NP_BOOL and not self.bools):
                kinds = "integers or bools" if self.bools else "integers"
                raise DTypeError(message(self.name, f"needs {kinds}", describe(avals), "Convert with x.long()"))
        return super().infer(*avals)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        if not self.bools:
            self.infer(*[Aval((), x.dtype) for x in xs])
        return super().numpy(*xs)

    def samples(self) -> Iterable[Sample]:
        n = len(self.partials)
        yield Sample(*(A, B)[:n])
        yield Sample(*(A.reshape(2, 3)[:, ::-2], B.reshape(2, 3)[:, ::-2])[:n], label="non-contiguous")
        yield Sample(*(A[0], B[0])[:n], label="0-d")
        yield Sample(*(A[:0], B[:0])[:n], label="empty")
        if self.bools:
            yield Sample(*(np.array([True, True, False]), np.array([True, False, False]))[:n], label="bools")


class BitwiseNot(Bits):
    """Every bit flipped; of a bool, not."""

    name = "bitwise_not"
    traits = frozenset({"involution", "monotone", "decreasing"})
    ufunc = staticmethod(np.invert)
    partials = (None,)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.invert(x)


class BitwiseAnd(Bits):
    """Bits set in both."""

    name = "bitwise_and"
    traits = frozenset({"commutative", "associative", "idempotent", "identity:-1", "zero:0", "preserves_zero"})
    ufunc = staticmethod(np.bitwise_and)
    partials = (None, None)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.bitwise_and(x, y)


class BitwiseOr(Bits):
    """Bits set in one of the two."""

    name = "bitwise_or"
    traits = frozenset({"commutative", "associative", "idempotent", "identity:0", "zero:-1", "preserves_zero"})
    ufunc = staticmethod(np.bitwise_or)
    partials = (None, None)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.bitwise_or(x, y)


class BitwiseXor(Bits):
    """Bits set in exactly one of the two."""

    name = "bitwise_xor"
    traits = frozenset({"commutative", "associative", "identity:0", "preserves_zero"})
    ufunc = staticmethod(np.bitwise_xor)
    partials = (None, None)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.bitwise_xor(x, y)


class Shift(Bits):
    """Bits moved by y places."""

    bools = False
    partials = (None, None)

    def samples(self) -> Iterable[Sample]:
        for s in super().samples():
            yield Sample(s.arrays[0], np.abs(s.arrays[1]), label=s.label)
        yield Sample(np.array([1, -8, -8, 3]), np.array([64, 64, -1, -1]), label="too far, or back")


class ShiftLeft(Shift):
    """x 2**y; 0 when y is negative or not below the number of bits."""

    name = "bitwise_left_shift"
    traits = frozenset({"identity_right:0", "preserves_zero"})
    ufunc = staticmethod(np.left_shift)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.left_shift(x, y)


class ShiftRight(Shift):
    """floor(x / 2**y); all bits are the sign when y is negative or not below the number of bits."""

    name = "bitwise_right_shift"
    traits = frozenset({"identity_right:0", "preserves_zero"})
    ufunc = staticmethod(np.right_shift)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.right_shift(x, y)


class Gcd(Bits):
    """The greatest common divisor; not negative, and |x| when y is 0."""

    name = "gcd"
    traits = frozenset({"commutative", "associative", "zero:1", "preserves_zero"})
    ufunc = staticmethod(np.gcd)
    bools = False
    partials = (None, None)

    def scalar(self, s: Any, x: Any, y: Any) -> Any:
        return s.gcd(x, y)

"""Elementwise functions of several ops: clamp, lerp, sinc, logit, fmax, isclose and their like."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..errors import ArgumentError, DTypeError, message
from ..graph.aval import describe
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from ..ops.heavy import HEAVY
from .complex_numbers import complex, imag, real
from .dims import operand
from .formula import formula
from .front import binary, carries_gradient, cast, constant_bool, dtype_of, is_one, promote, result_type, to_inexact
from .inplace import into, with_out
from .pointwise import (
    abs,
    add,
    eq,
    exp,
    floor_divide,
    gcd,
    ge,
    gt,
    isfinite,
    isnan,
    le,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    lt,
    maximum,
    mul,
    neg,
    pow,
    signbit,
    sin,
    sub,
    true_divide,
    where,
)
from .return_types import named

_SINC = [(-1) ** k / math.factorial(2 * k + 1) for k in range(9)]


@formula
def _sinc(x: Any) -> Any:
    y = mul(x, math.pi)
    near = lt(abs(y), 0.5)
    # Near 0 the series, of which every derivative is right; the quotient is kept away from 0 / 0.
    z = where(near, mul(y, y), 0.0)
    series = _SINC[-1]
    for c in reversed(_SINC[:-1]):
        series = add(mul(z, series), c)
    far = where(near, 1.0, y)
    return where(near, series, true_divide(sin(far), far))


@with_out
def sinc(input: Any) -> Any:
    """sin(pi x) / (pi x), and 1 at 0; every derivative is right there too."""
    return _sinc(to_inexact(input))


@with_out
def logit(input: Any, eps: float | None = None) -> Any:
    """log(p / (1 - p)), the inverse of `sigmoid`; ``eps`` brings p between eps and 1 - eps first.

    >>> import wengert as wg
    >>> wg.logit(wg.tensor([0.5, 1.0]), eps=0.25)
    tensor([0.0000, 1.0986])
    """
    p = to_inexact(input)
    if eps is not None:
        p = clamp(p, eps, 1 - eps)
    return sub(log(p), log1p(neg(p)))


@with_out
def nan_to_num(input: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN and infinities replaced: by 0 and the largest finite numbers of the dtype unless told otherwise."""
    dtype = dtype_of(input)
    if dtype in dt.COMPLEX_NP:
        return complex(*[nan_to_num(part, nan, posinf, neginf) for part in (real(input), imag(input))])
    if dtype not in dt.INEXACT_NP:
        return input.clone()
    limits = dt.finfo(dt.of(dtype))
    x = where(isnan(input), 0.0 if nan is None else nan, input)
    x = where(eq(x, math.inf), limits.max if posinf is None else posinf, x)
    return where(eq(x, -math.inf), limits.min if neginf is None else neginf, x)


_Frexp = named("frexp", "mantissa", "exponent")


def frexp(input: Any, *, out: Any = None) -> Any:
    """``(mantissa, exponent)``: ``x = mantissa * 2 ** exponent``, mantissa in [0.5, 1), exponent int32.

    >>> import wengert as wg
    >>> wg.frexp(wg.tensor([3.0, -0.25])).exponent.tolist()
    [2, -1]
    """
    if dtype_of(input) not in dt.FLOATING_NP:
        raise DTypeError(message("frexp", "needs a floating dtype", str(input.aval), "Convert with x.float()"))
    parts = apply(OPS["frexp"], (input,))
    return _Frexp(*(parts if out is None else [into("frexp", o, p) for o, p in zip(out, parts, strict=True)]))


@with_out
def isposinf(input: Any) -> Any:
    """Whether x is positive infinity."""
    return _is_infinity("isposinf", input, math.inf)


@with_out
def isneginf(input: Any) -> Any:
    """Whether x is negative infinity."""
    return _is_infinity("isneginf", input, -math.inf)


def _is_infinity(name: str, x: Any, value: float) -> Any:
    dtype = dtype_of(x)
    if dtype in dt.COMPLEX_NP:
        raise DTypeError(message(name, "complex infinities have no sign", str(x.aval)))
    return eq(x, value) if dtype in dt.INEXACT_NP else constant_bool(x, False)


# -- functions of two and three numbers -------------------------------------------------------------


def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:
    """``input`` brought between ``min`` and ``max`` (numbers or tensors, either may be missing).

    Where ``min > max`` the result is ``max``. At a bound the derivative belongs to ``input``.

    >>> import wengert as wg
    >>> wg.clamp(wg.tensor([-1.0, 0.5, 2.0]), 0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if min is None and max is None:
        raise ArgumentError(message("clamp", "needs a bound", cure="Give min or max"))
    bounds = [b for b in (min, max) if b is not None]
    if out is None and (result := _clamp_array(input, min, max)) is not None:
        return result
    target = result_type(input, *bounds)
    if target.is_complex:
        raise DTypeError(message("clamp", "complex numbers have no order", str(target)))
    low, high = (b if b is None or isinstance(b, (int, float)) else cast(b, target) for b in (min, max))
    result = _clamp(cast(input, target), low, high)
    return result if out is None else into("clamp", out, result)


def _clamp_array(x: Any, low: Any, high: Any) -> Any:
    """`clamp` of floating numbers between numbers where nothing is recorded; else None."""
    value = x._value
    if STATE.watchers or value is None or value.dtype not in dt.FLOATING_NP or carries_gradient(x):
        return None
    if value.size >= HEAVY:  # a kernel for both bounds takes a tenth of the time
        return None
    for bound, extreme in ((low, np.maximum), (high, np.minimum)):
        if bound is not None:
            if not isinstance(bound, (int, float)):
                return None
            value = STATE.quiet(extreme, value, STATE.quiet(np.array, bound, value.dtype))
    return wrap(value)


@formula
def _clamp(x: Any, low: Any, high: Any) -> Any:
    if low is not None:
        x = where(_inside(ge, x, low), x, low)
    if high is not None:
        x = where(_inside(le, x, high), x, high)
    return x


def _inside(compare: Any, x: Any, bound: Any) -> Any:
    """Whether x stays; a NaN in x does, and a NaN bound replaces it."""
    if isinstance(bound, Handle):
        return logical_or(compare(x, bound), isnan(x))
    if bound != bound:
        return constant_bool(x, False)
    return logical_not((lt if compare is ge else gt)(x, bound))


clip = clamp


def clamp_min(input: Any, min: Any, *, out: Any = None) -> Any:
    """``input`` where it is not below ``min``, else ``min``."""
    return clamp(operand("clamp_min", input), min, out=out)


def clamp_max(input: Any, max: Any, *, out: Any = None) -> Any:
    """``input`` where it is not above ``max``, else ``max``."""
    return clamp(operand("clamp_max", input), None, max, out=out)


@with_out
def copysign(input: Any, other: Any) -> Any:
    """|input| with the sign of ``other``, which may be that of a zero."""
    x, y = promote("copysign", (input, other), floating=True)
    size = abs(x)
    return where(signbit(y), neg(size), size)


@with_out
def fmax(input: Any, other: Any) -> Any:
    """The larger of two numbers; a number wins over a NaN."""
    x, y = promote("fmax", (input, other))
    return where(logical_or(ge(x, y), isnan(y)), x, y)


@with_out
def fmin(input: Any, other: Any) -> Any:
    """The smaller of two numbers; a number wins over a NaN."""
    x, y = promote("fmin", (input, other))
    return where(logical_or(le(x, y), isnan(y)), x, y)


@with_out
def heaviside(input: Any, values: Any) -> Any:
    """0 below 0, 1 above, and ``values`` at 0."""
    input, values = operand("heaviside", input), operand("heaviside", values)
    if dtype_of(input) != dtype_of(values) or dtype_of(input) in dt.COMPLEX_NP:
        seen = describe((input.aval, values.aval))
        raise DTypeError(message("heaviside", "needs two real tensors of one dtype", seen))
    return where(eq(input, 0), values, cast(gt(input, 0), dt.of(input.aval.dtype)))


@with_out
def lcm(input: Any, other: Any) -> Any:
    """The least common multiple of integers, not negative."""
    x, y = promote("lcm", (input, other))
    g = gcd(x, y)
    return abs(mul(floor_divide(x, maximum(g, 1)), y))


@with_out
def ldexp(input: Any, other: Any) -> Any:
    """``input * 2 ** other``."""
    input = operand("ldexp", input)
    if isinstance(other, Handle) and other.aval.dtype not in dt.INEXACT_NP and input.aval.dtype in dt.FLOATING_NP:
        other = cast(other, dt.of(input.aval.dtype))
    return mul(input, pow(2.0, other))


_logaddexp = binary("logaddexp", floating=True)


def logaddexp(input: Any, other: Any, *, out: Any = None) -> Any:
    """log(exp(x) + exp(y)) without overflow.

    >>> import wengert as wg
    >>> wg.logaddexp(wg.tensor([-1000.0]), wg.tensor([-1000.0]))
    tensor([-999.3068])
    """
    if result_type(input, other).is_complex:
        return with_out(_logaddexp_complex)(*promote("logaddexp", (input, other)), out=out)
    return _logaddexp(input, other, out=out)


def _logaddexp_complex(x: Any, y: Any) -> Any:
    swap = lt(real(x), real(y))
    high, low = where(swap, y, x), where(swap, x, y)
    return add(high, log1p(exp(sub(low, high))))


@with_out
def logaddexp2(input: Any, other: Any) -> Any:
    """log2(2**x + 2**y) without overflow."""
    x, y = promote("logaddexp2", (input, other), floating=True)
    return true_divide(logaddexp(mul(x, math.log(2)), mul(y, math.log(2))), math.log(2))


@with_out
def float_power(input: Any, exponent: Any) -> Any:
    """``input ** exponent`` in float64, or complex128."""
    target = dt.complex128 if result_type(input, exponent).is_complex else dt.float64
    return pow(cast(input, target), cast(exponent, target))


def lerp(input: Any, end: Any, weight: Any, *, out: Any = None) -> Any:
    """``input + weight * (end - input)``, exact at both ends; ``weight`` is a number or a tensor.

    >>> import wengert as wg
    >>> wg.lerp(wg.tensor([0.0]), wg.tensor([10.0]), 0.25)
    tensor([2.5000])
    """
    if dtype_of(input) != dtype_of(end) or dtype_of(input) not in dt.INEXACT_NP:
        seen = describe((input.aval, end.aval))
        raise DTypeError(message("lerp", "needs floating tensors of one dtype", seen, "Convert with x.float()"))
    result = _lerp(input, end, weight) if isinstance(weight, Handle) else _lerp_number(input, end, weight)
    return result if out is None else into("lerp", out, result)


def _lerp_number(x: Any, end: Any, weight: Any) -> Any:
    span = end - x
    if builtins.abs(weight) < 0.5:
        return x + span * weight
    rest = (1 - np.asarray(weight, x.aval.dtype)).item()
    return end - span * rest


@formula
def _lerp(x: Any, end: Any, weight: Any) -> Any:
    span = end - x
    return where(abs(weight) < 0.5, x + span * weight, end - span * (1.0 - weight))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """``input + value * tensor1 * tensor2``."""
    x, a, b = promote("addcmul", (input, tensor1, tensor2))
    if x.aval.dtype not in dt.INEXACT_NP and not isinstance(value, Handle):
        value = int(value)
    result = x + (a if is_one(value) else mul(a, value)) * b
    return result if out is None else into("addcmul", out, result)


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """``input + value * tensor1 / tensor2``, for floating tensors."""
    if result_type(tensor1, tensor2).category < 2:
        seen = describe((tensor1.aval, tensor2.aval))
        raise DTypeError(message("addcdiv", "integers cannot be divided here", seen, "Convert with x.float()"))
    x, a, b = promote("addcdiv", (input, tensor1, tensor2))
    result = x + (a if is_one(value) else mul(a, value)) / b
    return result if out is None else into("addcdiv", out, result)


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether ``|input - other| <= atol + rtol * |other|``; equal infinities are close.

    >>> import wengert as wg
    >>> wg.isclose(wg.tensor([1.0, 1.0]), wg.tensor([1.0 + 1e-9, 1.1]))
    tensor([ True, False])
    """
    if dtype_of(input) != dtype_of(other):
        seen = describe((input.aval, other.aval))
        raise DTypeError(message("isclose", "both must have one dtype", seen, "Convert one of them"))
    if rtol < 0 or atol < 0:
        raise ArgumentError(message("isclose", "tolerances cannot be negative", f"rtol={rtol}, atol={atol}"))
    close = eq(input, other)
    if equal_nan:
        close = logical_or(close, logical_and(isnan(input), isnan(other)))
    if rtol == 0 and atol == 0:
        return close
    if dtype_of(input) not in dt.INEXACT_NP:
        input, other = cast(input, dt.float64), cast(other, dt.float64)
    distance = abs(sub(input, other))
    near = le(distance, add(mul(abs(other), rtol), atol))
    return logical_or(close, logical_and(isfinite(distance), near))


__all__ = [
    "addcdiv", "addcmul", "clamp", "clamp_max", "clamp_min", "clip", "copysign", "float_power", "fmax",
    "fmin", "frexp", "heaviside", "isclose", "isneginf", "isposinf", "lcm", "ldexp", "lerp", "logaddexp",
    "logaddexp2", "logit", "nan_to_num", "sinc",
]  # fmt: skip

INPLACE = (
    "addcdiv", "addcmul", "clamp", "clamp_max", "clamp_min", "clip", "copysign", "float_power", "heaviside",
    "lcm", "ldexp", "lerp", "logit", "nan_to_num", "sinc",
)  # fmt: skip

"""Elementwise functions: operators, functions of one or two numbers, comparisons.

Most are one op each, made by `unary` and `binary`; the rest are formulas of those.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.alias import make_view
from ..graph.aval import describe
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from ..ops.heavy import HEAVY
from .dims import operand
from .formula import formula
from .front import (
    apply_elementwise,
    binary,
    cast,
    promote,
    record_elementwise,
    reflected,
    result_type,
    unary,
)
from .inplace import inplace, into, with_out
from .return_types import named

# -- functions of one number ------------------------------------------------------------------------

abs = absolute = unary("abs")
acos = arccos = unary("acos", floating=True)
acosh = arccosh = unary("acosh", floating=True)
asin = arcsin = unary("asin", floating=True)
asinh = arcsinh = unary("asinh", floating=True)
atan = arctan = unary("atan", floating=True)
atanh = arctanh = unary("atanh", floating=True)
bitwise_not = unary("bitwise_not")
ceil = unary("ceil")
cos = unary("cos", floating=True)
cosh = unary("cosh", floating=True)
exp = unary("exp", floating=True)
exp2 = unary("exp2", floating=True)
expm1 = unary("expm1", floating=True)
floor = unary("floor")
isfinite = unary("isfinite", keeps_dtype=False)
isinf = unary("isinf", keeps_dtype=False)
isnan = unary("isnan", keeps_dtype=False)
log = unary("log", floating=True)
log10 = unary("log10", floating=True)
log1p = unary("log1p", floating=True)
log2 = unary("log2", floating=True)
logical_not = unary("logical_not", keeps_dtype=False)
neg = negative = unary("neg")
relu = unary("relu")
sgn = unary("sign")
sigmoid = unary("sigmoid", floating=True)
signbit = unary("signbit", keeps_dtype=False)
sin = unary("sin", floating=True)
sinh = unary("sinh", floating=True)
sqrt = unary("sqrt", floating=True)
tan = unary("tan", floating=True)
tanh = unary("tanh", floating=True)
trunc = fix = unary("trunc")
_round = unary("round")

# -- functions of two numbers -----------------------------------------------------------------------

_add, _sub = binary("add"), binary("sub")
_div = binary("div", floating=True)
mul = multiply = binary("mul")
atan2 = arctan2 = binary("atan2", floating=True)
bitwise_and = binary("bitwise_and")
bitwise_or = binary("bitwise_or")
bitwise_xor = binary("bitwise_xor")
bitwise_left_shift = binary("bitwise_left_shift")
bitwise_right_shift = binary("bitwise_right_shift")
eq = binary("eq", keeps_dtype=False)
ne = not_equal = binary("ne", keeps_dtype=False)
lt = less = binary("lt", keeps_dtype=False)
le = less_equal = binary("le", keeps_dtype=False)
gt = greater = binary("gt", keeps_dtype=False)
ge = greater_equal = binary("ge", keeps_dtype=False)
floor_divide = binary("floor_divide")
fmod = binary("fmod")
gcd = binary("gcd")
hypot = binary("hypot", floating=True)
_logaddexp = binary("logaddexp", floating=True)
logical_and = binary("logical_and", keeps_dtype=False)
logical_or = binary("logical_or", keeps_dtype=False)
logical_xor = binary("logical_xor", keeps_dtype=False)
maximum = binary("maximum")
minimum = binary("minimum")
nextafter = binary("nextafter", floating=True)
remainder = binary("remainder")


def _dtype(x: Any) -> Any:
    """NumPy dtype of a tensor, or of what a number stands for."""
    return x.aval.dtype if isinstance(x, Handle) else result_type(x).np


def _floating(x: Any) -> Any:
    """An integer tensor in the default dtype; others as they are."""
    return x if x.aval.dtype in dt.INEXACT_NP else cast(x, dt.get_default_dtype())


def _power(call: Any) -> Any:
    """Refuse negative numbers as exponents of integers."""

    def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:
        """``input ** exponent``; integers with a negative number as exponent raise `ArgumentError`."""
        if exponent.__class__ is int and exponent < 0 and _dtype(input) not in dt.INEXACT_NP:
            seen = f"{exponent} for {input.aval}"
            raise ArgumentError(message("pow", "integers have no negative powers", seen, "Convert with x.float()"))
        return call(input, exponent, out=out)

    return pow


pow = _power(binary("pow"))


def _is_one(factor: Any) -> bool:
    return not isinstance(factor, Handle) and factor == 1  # a tensor's number may change in a compiled function


def _scaled(name: str, x: Any, other: Any, alpha: Any) -> Any:
    """``alpha * other``, with the checks of `add` and `sub`."""
    target = result_type(x, other)
    if target.category < 2 and isinstance(alpha, float):
        raise DTypeError(message(name, "alpha must be an int for integer tensors", f"alpha={alpha}, {target}"))
    if target.category == 0:
        return logical_and(other, builtins.bool(alpha))
    return mul(cast(other, target), alpha) if isinstance(other, Handle) else other * alpha


def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """``input + alpha * other``.

    >>> import wengert as wg
    >>> wg.add(wg.tensor([1.0, 2.0]), wg.tensor([3.0, 4.0]), alpha=10)
    tensor([31., 42.])
    """
    return _add(input, other if _is_one(alpha) else _scaled("add", input, other, alpha), out=out)


def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """``input - alpha * other``; two bools cannot be subtracted."""
    return _sub(input, other if _is_one(alpha) else _scaled("sub", input, other, alpha), out=out)


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """``other - alpha * input``."""
    if _dtype(input) == dt.NP_BOOL or (isinstance(other, Handle) and other.aval.dtype == dt.NP_BOOL):
        raise DTypeError(message("sub", "bool tensors cannot be subtracted", str(input.aval), "Use ^ or ~"))
    return _sub(other, input if _is_one(alpha) else _scaled("rsub", other, input, alpha))


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """``input / other``.

    ``rounding_mode``: None divides exactly (integers give floating results), ``"trunc"`` rounds
    towards 0 and ``"floor"`` down, both in the promoted dtype of the operands.

    >>> import wengert as wg
    >>> x = wg.tensor([7, -7])
    >>> wg.div(x, 2), wg.div(x, 2, rounding_mode="trunc"), wg.div(x, 2, rounding_mode="floor")
    (tensor([ 3.5000, -3.5000]), tensor([ 3, -3]), tensor([ 3, -4]))
    """
    if rounding_mode is None:
        return _div(input, other, out=out)
    if rounding_mode == "floor":
        return floor_divide(input, other, out=out)
    if rounding_mode != "trunc":
        raise ArgumentError(
            message("div", "no such rounding_mode", repr(rounding_mode), "Use None, 'trunc' or 'floor'")
        )
    x, y = promote("div", (input, other))
    whole = trunc(_div(x, y)) if x.aval.dtype in dt.INEXACT_NP else floor_divide(_sub(x, fmod(x, y)), y)
    return whole if out is None else into("div", out, whole)


subtract, divide, true_divide = sub, div, _div


@with_out
def square(input: Any) -> Any:
    """``x ** 2``; bools become integers."""
    return pow(input, 2)


@with_out
def reciprocal(input: Any) -> Any:
    """``1 / x``."""
    return _div(1, input)


@with_out
def rsqrt(input: Any) -> Any:
    """``1 / sqrt(x)``."""
    return _div(1, sqrt(input))


@with_out
def sign(input: Any) -> Any:
    """-1, 0 or 1; for complex numbers use `sgn`, which is ``z / |z|``."""
    if _dtype(input) in dt.COMPLEX_NP:
        raise DTypeError(message("sign", "complex numbers have no sign", str(input.aval), "Use sgn"))
    return sgn(input)


def positive(input: Any) -> Any:
    """The tensor itself: ``+x``; bools have no sign."""
    if _dtype(input) == dt.NP_BOOL:
        raise DTypeError(message("positive", "bools have no sign", str(input.aval)))
    return input


@with_out
def frac(input: Any) -> Any:
    """The fractional part ``x - trunc(x)``, with the sign of x."""
    return _sub(input, trunc(input))


@with_out
def round(input: Any, *, decimals: int = 0) -> Any:
    """The nearest number with ``decimals`` digits after the point; halves go to the even one.

    >>> import wengert as wg
    >>> wg.round(wg.tensor([0.5, 1.5, 2.5]))
    tensor([0., 2., 2.])
    >>> wg.round(wg.tensor([1234.567]), decimals=-2)
    tensor([1200.])
    """
    if decimals == 0:
        return _round(input)
    if _dtype(input) not in dt.INEXACT_NP:
        raise DTypeError(message("round", "decimals needs a floating dtype", str(input.aval), "Convert with x.float()"))
    power = 10.0 ** builtins.abs(decimals)
    own = dt.of(_dtype(input))
    x = cast(input, dt.float32) if own.np in dt.HALF_NP else input
    x = _div(_round(mul(x, power)), power) if decimals > 0 else mul(_round(_div(x, power)), power)
    return cast(x, own)


@with_out
def deg2rad(input: Any) -> Any:
    """Degrees to radians."""
    return mul(_floating(input), math.pi / 180)


@with_out
def rad2deg(input: Any) -> Any:
    """Radians to degrees."""
    return mul(_floating(input), 180 / math.pi)


_SINC = [(-1) ** k / math.factorial(2 * k + 1) for k in range(9)]


@formula
def _sinc(x: Any) -> Any:
    y = mul(x, math.pi)
    near = lt(abs(y), 0.5)
    # Near 0 the series, of which every derivative is right; the quotient is kept away from 0 / 0.
    z = where(near, mul(y, y), 0.0)
    series = _SINC[-1]
    for c in reversed(_SINC[:-1]):
        series = _add(mul(z, series), c)
    far = where(near, 1.0, y)
    return where(near, series, _div(sin(far), far))


@with_out
def sinc(input: Any) -> Any:
    """sin(pi x) / (pi x), and 1 at 0; every derivative is right there too."""
    return _sinc(_floating(input))


@with_out
def logit(input: Any, eps: float | None = None) -> Any:
    """log(p / (1 - p)), the inverse of `sigmoid`; ``eps`` brings p between eps and 1 - eps first.

    >>> import wengert as wg
    >>> wg.logit(wg.tensor([0.5, 1.0]), eps=0.25)
    tensor([0.0000, 1.0986])
    """
    p = _floating(input)
    if eps is not None:
        p = clamp(p, eps, 1 - eps)
    return _sub(log(p), log1p(neg(p)))


@with_out
def nan_to_num(input: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN and infinities replaced: by 0 and the largest finite numbers of the dtype unless told otherwise."""
    dtype = _dtype(input)
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
    if _dtype(input) not in dt.FLOATING_NP:
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
    dtype = _dtype(x)
    if dtype in dt.COMPLEX_NP:
        raise DTypeError(message(name, "complex infinities have no sign", str(x.aval)))
    return eq(x, value) if dtype in dt.INEXACT_NP else _constant(x, False)


def _constant(x: Any, value: bool) -> Any:
    return apply(OPS["fill"], (x,), {"value": value, "dtype": dt.NP_BOOL})


# -- complex numbers --------------------------------------------------------------------------------


def conj(input: Any) -> Any:
    """The complex conjugate; a real tensor itself."""
    return apply(OPS["conj"], (input,)) if _dtype(input) in dt.COMPLEX_NP else input


conj_physical = with_out(conj)


def real(input: Any) -> Any:
    """The real part, a view; a real tensor itself."""
    return make_view(input, OPS["real"], {}) if _dtype(input) in dt.COMPLEX_NP else input


def imag(input: Any) -> Any:
    """The imaginary part of a complex tensor, a view."""
    if _dtype(input) not in dt.COMPLEX_NP:
        raise DTypeError(message("imag", "needs a complex dtype", str(input.aval), "Real numbers have none"))
    return make_view(input, OPS["imag"], {})


@with_out
def complex(real: Any, imag: Any) -> Any:
    """``real + i imag``; both float32 (giving complex64) or both float64, of shapes that broadcast."""
    _check_parts("complex", real, imag)
    return apply_elementwise(OPS["complex"], (real, imag))


def _check_parts(name: str, x: Any, y: Any) -> None:
    """Raise unless a complex dtype is made of both."""
    if _dtype(x) != _dtype(y) or _dtype(x) not in (dt.NP_FLOAT32, dt.NP_FLOAT64):
        raise DTypeError(message(name, "both must be float32, or both float64", describe((x.aval, y.aval))))


@with_out
def polar(abs: Any, angle: Any) -> Any:
    """The complex number with that modulus and angle.

    >>> import wengert as wg
    >>> wg.polar(wg.tensor([2.0]), wg.tensor([0.0])).real
    tensor([2.])
    """
    _check_parts("polar", abs, angle)
    return complex(mul(abs, cos(angle)), mul(abs, sin(angle)))


@with_out
def angle(input: Any) -> Any:
    """The angle of a complex number; 0 or pi for a real one."""
    if _dtype(input) in dt.COMPLEX_NP:
        return atan2(imag(input), real(input))
    x = _floating(input)
    return where(isnan(x), x, where(lt(x, 0), math.pi, apply(OPS["fill"], (x,), {"value": 0})))


def isreal(input: Any) -> Any:
    """Whether the imaginary part is 0."""
    return eq(imag(input), 0) if _dtype(input) in dt.COMPLEX_NP else _constant(input, True)


def view_as_real(input: Any) -> Any:
    """Complex numbers as pairs of real ones in a new last dimension."""
    if _dtype(input) not in dt.COMPLEX_NP:
        raise DTypeError(message("view_as_real", "needs a complex tensor", str(input.aval)))
    attrs = {"shape": (*input.aval.shape, 1)}
    parts = [apply(OPS["reshape"], (f(input),), attrs) for f in (real, imag)]
    return apply(OPS["cat"], tuple(parts), {"axis": len(input.aval.shape)})


def view_as_complex(input: Any) -> Any:
    """Pairs in the last dimension as complex numbers."""
    shape = input.aval.shape
    if not shape or shape[-1] != 2:
        raise ShapeError(message("view_as_complex", "the last dimension must have size 2", str(input.aval)))
    return complex(input[..., 0], input[..., 1])


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
    if STATE.watchers or value is None or value.dtype not in dt.FLOATING_NP or _carries_gradient(x):
        return None
    if value.size >= HEAVY:  # a kernel for both bounds takes a tenth of the time
        return None
    for bound, extreme in ((low, np.maximum), (high, np.minimum)):
        if bound is not None:
            if not isinstance(bound, (int, float)):
                return None
            value = STATE.quiet(extreme, value, STATE.quiet(np.array, bound, value.dtype))
    return wrap(value)


def _carries_gradient(*xs: Any) -> bool:
    """Whether an op on these tensors is recorded for a gradient."""
    return STATE.grad and any(x._node is not None and x._node.requires_grad for x in xs)


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
        return _constant(x, False)
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
    if _dtype(input) != _dtype(values) or _dtype(input) in dt.COMPLEX_NP:
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
    return _add(high, log1p(exp(_sub(low, high))))


@with_out
def logaddexp2(input: Any, other: Any) -> Any:
    """log2(2**x + 2**y) without overflow."""
    x, y = promote("logaddexp2", (input, other), floating=True)
    return _div(logaddexp(mul(x, math.log(2)), mul(y, math.log(2))), math.log(2))


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
    if _dtype(input) != _dtype(end) or _dtype(input) not in dt.INEXACT_NP:
        seen = describe((input.aval, end.aval))
        raise DTypeError(message("lerp", "needs floating tensors of one dtype", seen, "Convert with x.float()"))
    result = _lerp(input, end, weight) if isinstance(weight, Handle) else _lerp_number(input, end, weight)
    return result if out is None else into("lerp", out, result)


def _lerp_number(x: Any, end: Any, weight: Any) -> Any:
    span = _sub(end, x)
    if builtins.abs(weight) < 0.5:
        return _add(x, mul(span, weight))
    rest = (1 - np.asarray(weight, x.aval.dtype)).item()
    return _sub(end, mul(span, rest))


@formula
def _lerp(x: Any, end: Any, weight: Any) -> Any:
    span = _sub(end, x)
    near = lt(abs(weight), 0.5)
    return where(near, _add(x, mul(span, weight)), _sub(end, mul(span, _sub(1.0, weight))))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """``input + value * tensor1 * tensor2``."""
    x, a, b = promote("addcmul", (input, tensor1, tensor2))
    if x.aval.dtype not in dt.INEXACT_NP and not isinstance(value, Handle):
        value = int(value)
    result = _add(x, mul(a if _is_one(value) else mul(a, value), b))
    return result if out is None else into("addcmul", out, result)


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """``input + value * tensor1 / tensor2``, for floating tensors."""
    if result_type(tensor1, tensor2).category < 2:
        seen = describe((tensor1.aval, tensor2.aval))
        raise DTypeError(message("addcdiv", "integers cannot be divided here", seen, "Convert with x.float()"))
    x, a, b = promote("addcdiv", (input, tensor1, tensor2))
    result = _add(x, _div(a if _is_one(value) else mul(a, value), b))
    return result if out is None else into("addcdiv", out, result)


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether ``|input - other| <= atol + rtol * |other|``; equal infinities are close.

    >>> import wengert as wg
    >>> wg.isclose(wg.tensor([1.0, 1.0]), wg.tensor([1.0 + 1e-9, 1.1]))
    tensor([ True, False])
    """
    if _dtype(input) != _dtype(other):
        seen = describe((input.aval, other.aval))
        raise DTypeError(message("isclose", "both must have one dtype", seen, "Convert one of them"))
    if rtol < 0 or atol < 0:
        raise ArgumentError(message("isclose", "tolerances cannot be negative", f"rtol={rtol}, atol={atol}"))
    close = eq(input, other)
    if equal_nan:
        close = logical_or(close, logical_and(isnan(input), isnan(other)))
    if rtol == 0 and atol == 0:
        return close
    if _dtype(input) not in dt.INEXACT_NP:
        input, other = cast(input, dt.float64), cast(other, dt.float64)
    distance = abs(_sub(input, other))
    near = le(distance, _add(mul(abs(other), rtol), atol))
    return logical_or(close, logical_and(isfinite(distance), near))


def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """``input`` where the condition holds, else ``other``; the three are broadcast.

    With the condition alone: the indices at which it holds, a tensor for each dimension.

    >>> import wengert as wg
    >>> x = wg.tensor([-1.0, 2.0])
    >>> wg.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    if out is None and (result := _where_arrays(condition, input, other)) is not None:
        return result
    if not isinstance(condition, Handle):
        condition = wrap(np.asarray(condition))
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if condition.aval.dtype != dt.NP_BOOL:
        raise DTypeError(
            message("where", "the condition must be bool", str(condition.aval), "Compare, or use x.bool()")
        )
    x, y = promote("where", (input, other))
    result = apply_elementwise(OPS["where"], (condition, x, y))
    return result if out is None else into("where", out, result)


def _where_arrays(condition: Any, x: Any, y: Any) -> Any:
    """`where` on one floating dtype where nobody watches; None where the general path must see to it."""
    try:
        dtype = (x if isinstance(x, Handle) else y)._value.dtype
        if STATE.watchers or condition._value.dtype is not dt.NP_BOOL or dtype not in dt.FLOATING_NP:
            return None
        handles = [condition]
        for z in (x, y):
            if type(z) is float or type(z) is int:
                z = wrap(STATE.quiet(np.array, z, dtype))
            if z._value.dtype is not dtype:
                return None
            handles.append(z)
        value = STATE.run(np.where, *[h._value for h in handles])
    except Exception:  # the general path does it again, and names what is wrong
        return None
    node = record_elementwise(OPS["where"], handles, value) if _carries_gradient(*handles) else None
    return wrap(value, node)


# -- what is offered --------------------------------------------------------------------------------

__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "angle", "arccos", "arccosh", "arcsin",
    "arcsinh", "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "clamp",
    "clamp_max", "clamp_min", "clip", "complex", "conj", "conj_physical", "copysign", "cos", "cosh",
    "deg2rad", "div", "divide", "eq", "exp", "exp2", "expm1", "fix", "float_power", "floor", "floor_divide",
    "fmax", "fmin", "fmod", "frac", "frexp", "gcd", "ge", "greater", "greater_equal", "gt", "heaviside",
    "hypot", "imag", "isclose", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "isreal", "lcm",
    "ldexp", "le", "lerp", "less", "less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logaddexp2",
    "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "lt", "maximum", "minimum", "mul",
    "multiply", "nan_to_num", "ne", "neg", "negative", "nextafter", "not_equal", "polar", "positive", "pow",
    "rad2deg", "real", "reciprocal", "relu", "remainder", "result_type", "round", "rsqrt", "rsub", "sgn",
    "sigmoid", "sign", "signbit", "sin", "sinc", "sinh", "sqrt", "square", "sub", "subtract", "tan", "tanh",
    "true_divide", "trunc", "view_as_complex", "view_as_real", "where",
]  # fmt: skip

NOT_METHODS = (
    "complex",
    "imag",
    "polar",
    "real",
    "result_type",
    "rsub",
    "view_as_complex",
    "view_as_real",
    "where",
)

INPLACE = (
    "abs", "absolute", "acos", "acosh", "add", "addcdiv", "addcmul", "arccos", "arccosh", "arcsin", "arcsinh",
    "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "clamp",
    "clamp_max", "clamp_min", "clip", "conj_physical", "copysign", "cos", "cosh", "deg2rad", "div", "divide",
    "eq", "exp", "exp2", "expm1", "fix", "float_power", "floor", "floor_divide", "fmod", "frac", "gcd", "ge",
    "greater", "greater_equal", "gt", "heaviside", "hypot", "lcm", "ldexp", "le", "lerp", "less",
    "less_equal", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or", "logical_xor",
    "logit", "lt", "mul", "multiply", "nan_to_num", "ne", "neg", "negative", "nextafter", "not_equal", "pow",
    "rad2deg", "reciprocal", "relu", "remainder", "round", "rsqrt", "sgn", "sigmoid", "sign", "sin", "sinc",
    "sinh", "sqrt", "square", "sub", "subtract", "tan", "tanh", "true_divide", "trunc",
)  # fmt: skip

_OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "pow", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
_COMMUTE = ("add", "mul", "and", "or", "xor")


def _operator_methods() -> dict[str, Any]:
    """The operators of Python, their reflected and their in-place forms."""
    methods: dict[str, Any] = {"__abs__": abs, "__invert__": bitwise_not, "__neg__": neg, "__pos__": positive}
    for sign, name in _OPERATORS.items():
        floating = name == "div"
        method = methods[f"__{sign}__"] = binary(name, floating, operator=True)
        methods[f"__r{sign}__"] = method if sign in _COMMUTE else reflected(name, floating)
        methods[f"__i{sign}__"] = inplace(globals()[name], f"{name}_")
    methods["__pow__"] = _power(methods["__pow__"])
    methods["__rdiv__"] = methods["__rtruediv__"]
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        methods[f"__{name}__"] = binary(name, keeps_dtype=False, operator=True)
    return methods


def _where_method(self: Any, condition: Any, other: Any) -> Any:
    """``self`` where the condition holds, else ``other``."""
    return where(condition, self, other)


EXTRA_METHODS: dict[str, Any] = {
    **_operator_methods(),
    "imag": property(imag),
    "real": property(real),
    "where": _where_method,
}

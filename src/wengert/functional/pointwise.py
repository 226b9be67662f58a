"""Elementwise functions: operators, functions of one or two numbers, comparisons.

Most are one op each, made by `unary` and `binary`. What takes several stands in `pointwise_formulas`, what is there for
complex numbers alone in `complex_numbers`.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..errors import ArgumentError, DTypeError, message
from ..graph.handle import Handle, wrap
from ..ops.base import OPS
from .front import (
    apply_elementwise,
    binary,
    carries_gradient,
    cast,
    dtype_of,
    is_one,
    promote,
    record_elementwise,
    reflected,
    result_type,
    to_inexact,
    unary,
)
from .inplace import inplace, into, with_out

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
logical_and = binary("logical_and", keeps_dtype=False)
logical_or = binary("logical_or", keeps_dtype=False)
logical_xor = binary("logical_xor", keeps_dtype=False)
maximum = binary("maximum")
minimum = binary("minimum")
nextafter = binary("nextafter", floating=True)
remainder = binary("remainder")


def _power(call: Any) -> Any:
    """Refuse negative numbers as exponents of integers."""

    def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:
        """``input ** exponent``; integers with a negative number as exponent raise `ArgumentError`."""
        if exponent.__class__ is int and exponent < 0 and dtype_of(input) not in dt.INEXACT_NP:
            seen = f"{exponent} for {input.aval}"
            raise ArgumentError(message("pow", "integers have no negative powers", seen, "Convert with x.float()"))
        return call(input, exponent, out=out)

    return pow


pow = _power(binary("pow"))


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
    return _add(input, other if is_one(alpha) else _scaled("add", input, other, alpha), out=out)


def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """``input - alpha * other``; two bools cannot be subtracted."""
    return _sub(input, other if is_one(alpha) else _scaled("sub", input, other, alpha), out=out)


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """``other - alpha * input``."""
    if dtype_of(input) == dt.NP_BOOL or (isinstance(other, Handle) and other.aval.dtype == dt.NP_BOOL):
        raise DTypeError(message("sub", "bool tensors cannot be subtracted", str(input.aval), "Use ^ or ~"))
    return _sub(other, input if is_one(alpha) else _scaled("rsub", other, input, alpha))


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
    if dtype_of(input) in dt.COMPLEX_NP:
        raise DTypeError(message("sign", "complex numbers have no sign", str(input.aval), "Use sgn"))
    return sgn(input)


def positive(input: Any) -> Any:
    """The tensor itself: ``+x``; bools have no sign."""
    if dtype_of(input) == dt.NP_BOOL:
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
    if dtype_of(input) not in dt.INEXACT_NP:
        raise DTypeError(message("round", "decimals needs a floating dtype", str(input.aval), "Convert with x.float()"))
    power = 10.0 ** builtins.abs(decimals)
    own = dt.of(dtype_of(input))
    x = cast(input, dt.float32) if own.np in dt.HALF_NP else input
    x = _div(_round(mul(x, power)), power) if decimals > 0 else mul(_round(_div(x, power)), power)
    return cast(x, own)


@with_out
def deg2rad(input: Any) -> Any:
    """Degrees to radians."""
    return mul(to_inexact(input), math.pi / 180)


@with_out
def rad2deg(input: Any) -> Any:
    """Radians to degrees."""
    return mul(to_inexact(input), 180 / math.pi)


# -- choosing ----------------------------------------------------------------------------------------


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
    node = record_elementwise(OPS["where"], handles, value) if carries_gradient(*handles) else None
    return wrap(value, node)


# -- what is offered --------------------------------------------------------------------------------

__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_left_shift",
    "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "cos", "cosh", "deg2rad",
    "div", "divide", "eq", "exp", "exp2", "expm1", "fix", "floor", "floor_divide", "fmod", "frac", "gcd",
    "ge", "greater", "greater_equal", "gt", "hypot", "isfinite", "isinf", "isnan", "le", "less",
    "less_equal", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or",
    "logical_xor", "lt", "maximum", "minimum", "mul", "multiply", "ne", "neg", "negative", "nextafter",
    "not_equal", "positive", "pow", "rad2deg", "reciprocal", "relu", "remainder", "result_type", "round",
    "rsqrt", "rsub", "sgn", "sigmoid", "sign", "signbit", "sin", "sinh", "sqrt", "square", "sub",
    "subtract", "tan", "tanh", "true_divide", "trunc", "where",
]  # fmt: skip

NOT_METHODS = ("result_type", "rsub", "where")

INPLACE = (
    "abs", "absolute", "acos", "acosh", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_left_shift",
    "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "cos", "cosh", "deg2rad",
    "div", "divide", "eq", "exp", "exp2", "expm1", "fix", "floor", "floor_divide", "fmod", "frac", "gcd",
    "ge", "greater", "greater_equal", "gt", "hypot", "le", "less", "less_equal", "log", "log10", "log1p",
    "log2", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "mul", "multiply", "ne", "neg",
    "negative", "nextafter", "not_equal", "pow", "rad2deg", "reciprocal", "relu", "remainder", "round",
    "rsqrt", "sgn", "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "sub", "subtract", "tan", "tanh",
    "true_divide", "trunc",
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
    "where": _where_method,
}

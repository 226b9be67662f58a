"""The scalar vocabulary on loop IR: elementwise ops, which say what they mean in it, become instructions.

`LoopScalars` offers the words of `ops.scalar.Vocabulary` with NumPy's meaning; `emit` writes an op, `can_emit` tells
whether it can. Halves are computed in float32 and rounded once an op. What NumPy cannot do with integers without an
error is defined here so that no program stops: a quotient or remainder by 0 is 0.
"""

from __future__ import annotations

import functools
import math as exact
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, message
from ..ops.base import OPS, Elementwise
from ..ops.special import InDouble
from ..optimize.internal import INTERNAL
from . import math, math_integer, math_special, math_trig
from .loop import BITS, Builder, Type, Value

KINDS = {
    np.dtype(name): kind
    for name, kind in {
        "bool": "i1", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8", "uint16": "u16",
        "uint32": "u32", "uint64": "u64", "float16": "f16", "float32": "f32", "float64": "f64",
    }.items()
} | {dt.bfloat16.np: "bf16"}  # fmt: skip

# Ops that stay with NumPy, and why.
NOT_EMITTED = {
    "gammainc": "chooses among series that run until they converge",
    "gammaincc": "chooses among series that run until they converge",
    "zeta": "33 powers in line: thousands of instructions",
    "polygamma": "calls zeta for n > 0",
}

_FUNCTIONS = {
    "exp": math.exp, "exp2": math.exp2, "expm1": math.expm1, "log": math.log, "log2": math.log2, "log10": math.log10,
    "log1p": math.log1p, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "sigmoid": math.sigmoid,
    "silu": math.silu,
    "sin": math_trig.sin, "cos": math_trig.cos, "tan": math_trig.tan, "arcsin": math_trig.asin,
    "arccos": math_trig.acos, "arctan": math_trig.atan, "arctan2": math_trig.atan2, "arcsinh": math_trig.asinh,
    "arccosh": math_trig.acosh, "arctanh": math_trig.atanh, "hypot": math_special.hypot,
}  # fmt: skip
_ROUNDINGS = frozenset({"floor", "ceil", "trunc", "rint"})


def kind_of(dtype: Any) -> str | None:
    """The loop IR's name of a NumPy dtype, or None if it has none (complex numbers)."""
    return KINDS.get(np.dtype(dtype))


class LoopScalars:
    """The vocabulary for values of one builder; operands may be numbers, but not all of them."""

    def __init__(self, b: Builder) -> None:
        self.b = b

    def __getattr__(self, name: str) -> Any:
        if name in _FUNCTIONS:
            return functools.partial(self._float, name)
        if name in _ROUNDINGS:
            return functools.partial(self._round, name)
        raise AttributeError(name)

    def _lifted(self, *xs: Any) -> tuple[Value, ...]:
        """Numbers as constants of the others' type, scalars spread over the lanes."""
        given = [x for x in xs if isinstance(x, Value)]
        like = max((x.type for x in given), key=lambda t: t.lanes)
        return tuple(self.b.lift(x, like) for x in xs)

    def _const(self, number: Any, like: Value) -> Value:
        return self.b.const(number, like.type)

    def _needs(self, word: str, kinds: str, *xs: Value) -> None:
        """Raise unless the operands are floating numbers (``f``), integers (``i``) or bools (``b``)."""
        for x in xs:
            if ("f" if x.type.is_float else "b" if x.type.kind == "i1" else "i") not in kinds:
                raise DTypeError(message(word, "has no meaning in a kernel for this kind", str(x.type)))

    def _float(self, word: str, *xs: Any) -> Value:
        xs = self._lifted(*xs)
        self._needs(word, "f", *xs)
        return _FUNCTIONS[word](*xs)

    def _round(self, word: str, x: Value) -> Value:
        return self.b.unary(word, x) if x.type.is_float else x

    # -- parts of numbers --------------------------------------------------------------------

    def sqrt(self, x: Value) -> Value:
        self._needs("sqrt", "f", x)
        return self.b.unary("sqrt", x)

    def absolute(self, x: Value) -> Value:
        return self.b.unary("abs", x) if x.type.is_float or x.type.is_signed else x

    def sign(self, x: Value) -> Value:
        if x.type.kind == "i1":
            return x
        zero, one = self._const(0, x), self._const(1, x)
        if not x.type.is_float and not x.type.is_signed:
            return self.b.select(x == 0, zero, one)
        out = self.b.select(x > 0, one, self.b.select(x < 0, self._const(-1, x), zero))
        return self.b.select(x == x, out, x) if x.type.is_float else out

    def conjugate(self, x: Value) -> Value:
        return x

    def copysign(self, x: Any, y: Any) -> Value:
        x, y = self._lifted(x, y)
        self._needs("copysign", "f", x, y)
        return self.b.binary("copysign", x, y)

    def isnan(self, x: Value) -> Value:
        return x != x if x.type.is_float else self._never(x)

    def isinf(self, x: Value) -> Value:
        return self.absolute(x) == exact.inf if x.type.is_float else self._never(x)

    def isfinite(self, x: Value) -> Value:
        return self.absolute(x) < exact.inf if x.type.is_float else ~self._never(x)

    def _never(self, x: Value) -> Value:
        return self.b.const(False, Type("i1", x.lanes))

    def signbit(self, x: Value) -> Value:
        if not x.type.is_float:
            return x < 0
        return self.b.bitcast(x, f"i{BITS[x.type.kind]}") < 0

    def nextafter(self, x: Any, y: Any) -> Value:
        x, y = self._lifted(x, y)
        self._needs("nextafter", "f", x, y)
        return math_integer.nextafter(x, y)

    # -- choices -----------------------------------------------------------------------------

    def where(self, c: Value, x: Any, y: Any) -> Value:
        return self.b.select(c, x, y)

    def minimum(self, x: Any, y: Any) -> Value:
        return self._extreme("min", x, y)

    def maximum(self, x: Any, y: Any) -> Value:
        return self._extreme("max", x, y)

    def _extreme(self, op: str, x: Any, y: Any) -> Value:
        """With NaN if one is NaN. The instruction gives its second operand then, so a constant goes first."""
        x, y = self._lifted(x, y)
        if not x.type.is_float:
            return self.b.binary(op, x, y)
        if y.constant is not None and y.constant == y.constant:
            return self.b.binary(op, y, x)
        out = self.b.binary(op, x, y)
        return out if x.constant is not None and x.constant == x.constant else self.b.select(x == x, out, x)

    def fmin(self, x: Any, y: Any) -> Value:
        return self._number("min", x, y)

    def fmax(self, x: Any, y: Any) -> Value:
        return self._number("max", x, y)

    def _number(self, op: str, x: Any, y: Any) -> Value:
        """Without NaN unless both are."""
        x, y = self._lifted(x, y)
        out = self.b.binary(op, x, y)
        return self.b.select(y == y, out, x) if x.type.is_float else out

    # -- bits and logic ----------------------------------------------------------------------

    def invert(self, x: Value) -> Value:
        self._needs("invert", "ib", x)
        return ~x

    def bitwise_and(self, x: Any, y: Any) -> Value:
        return self._bits("and", x, y)

    def bitwise_or(self, x: Any, y: Any) -> Value:
        return self._bits("or", x, y)

    def bitwise_xor(self, x: Any, y: Any) -> Value:
        return self._bits("xor", x, y)

    def _bits(self, op: str, x: Any, y: Any) -> Value:
        x, y = self._lifted(x, y)
        self._needs(op, "ib", x, y)
        return self.b.binary(op, x, y)

    def left_shift(self, x: Any, y: Any) -> Value:
        return self._shift("shl", x, y)

    def right_shift(self, x: Any, y: Any) -> Value:
        return self._shift("shr", x, y)

    def _shift(self, op: str, x: Any, y: Any) -> Value:
        x, y = self._lifted(x, y)
        self._needs(op, "i", x, y)
        return math_integer.shift(op, x, y)

    def logical_not(self, x: Value) -> Value:
        return x == 0

    def logical_and(self, x: Any, y: Any) -> Value:
        return self._truth(x) & self._truth(y)

    def logical_or(self, x: Any, y: Any) -> Value:
        return self._truth(x) | self._truth(y)

    def logical_xor(self, x: Any, y: Any) -> Value:
        return self._truth(x) ^ self._truth(y)

    def _truth(self, x: Any) -> Any:
        return self.b.cast(x, "i1") if isinstance(x, Value) else bool(x)

    # -- division and powers -----------------------------------------------------------------

    def fmod(self, x: Any, y: Any) -> Value:
        return self._division("fmod", x, y)

    def remainder(self, x: Any, y: Any) -> Value:
        return self._division("remainder", x, y)

    def floor_divide(self, x: Any, y: Any) -> Value:
        return self._division("floor_divide", x, y)

    def _division(self, word: str, x: Any, y: Any) -> Value:
        x, y = self._lifted(x, y)
        self._needs(word, "fi", x, y)
        return getattr(math_special if x.type.is_float else math_integer, word)(x, y)

    def power(self, x: Any, y: Any) -> Value:
        x, y = self._lifted(x, y)
        if x.type.kind == "i1":
            return x | ~y
        if not x.type.is_float:
            return math_integer.power(x, y)
        plain = self._plain_power(x, y.constant)
        return math_special.power(x, y) if plain is None else plain

    def _plain_power(self, x: Value, exponent: float | None) -> Value | None:
        """Powers by products and roots, as eager mode computes them too."""
        if exponent in (0.5, -0.5):
            root = self.b.unary("sqrt", x)
            return root if exponent == 0.5 else 1.0 / root
        if exponent in (-1.0, -2.0):
            return 1.0 / (x if exponent == -1.0 else x * x)
        if exponent in (1.0, 2.0, 3.0):
            return x if exponent == 1.0 else x * x if exponent == 2.0 else x * x * x
        return None

    def gcd(self, x: Any, y: Any) -> Value:
        x, y = self._lifted(x, y)
        self._needs("gcd", "i", x, y)
        return math_integer.gcd(x, y)

    def lcm(self, x: Any, y: Any) -> Value:
        x, y = self._lifted(x, y)
        self._needs("lcm", "i", x, y)
        return self.absolute(math_integer.divide(x, math_integer.gcd(x, y)) * y)

    # -- ops that mean more than their formula in the vocabulary says --------------------------

    def op_add(self, x: Value, y: Value) -> Value:
        return x | y if x.type.kind == "i1" else x + y

    def op_multiply_add(self, x: Value, y: Value, z: Value) -> Value | None:
        return self.b.fma(x, y, z) if x.type.kind in ("f32", "f64") else None

    def op_remainder(self, x: Value, y: Value) -> Value:
        return self.remainder(x, y)

    def op_floor_divide(self, x: Value, y: Value) -> Value:
        return self.floor_divide(x, y)

    def op_sigmoid(self, x: Value) -> Value:
        return self._float("sigmoid", x)

    def op_erf(self, x: Value) -> Value | None:
        return math_special.erf_single(x) if x.type.kind == "f32" else None

    def op_erfc(self, x: Value) -> Value | None:
        return math_special.erfc_single(x) if x.type.kind == "f32" else None

    def op_gelu(self, x: Value) -> Value | None:
        return math_special.gelu_single(x) if x.type.kind == "f32" else None

    def op_gelu_slope(self, x: Value) -> Value | None:
        return math_special.gelu_slope_single(x) if x.type.kind == "f32" else None

    def op_gelu_tanh(self, x: Value) -> Value | None:
        return math_special.gelu_tanh_single(x) if x.type.kind == "f32" else None

    def op_gelu_tanh_slope(self, x: Value) -> Value | None:
        return math_special.gelu_tanh_slope_single(x) if x.type.kind == "f32" else None

    def op_silu(self, x: Value) -> Value:
        return self._float("silu", x)

    def op_silu_slope(self, x: Value) -> Value:
        share = self._float("sigmoid", x)
        return share * (x * (1.0 - share) + 1.0)

    def op_ndtr(self, x: Value) -> Value | None:
        return math_special.ndtr_single(x) if x.type.kind == "f32" else None


def emit(b: Builder, op: Elementwise, *values: Value, **attrs: Any) -> Value:
    """The op's result as instructions; its kind is that of the op's result dtype.

    Raises `DTypeError` for operands that the op does not take (`can_emit` asks first).
    """
    kind = values[0].type.kind
    if any(v.type.kind in ("f16", "bf16") for v in values) and op.name != "nextafter":
        values = tuple(b.cast(v, "f32") if v.type.kind in ("f16", "bf16") else v for v in values)
        out = emit(b, op, *values, **attrs)
        return b.cast(out, kind) if out.type.kind == "f32" else out
    s = LoopScalars(b)
    own = getattr(s, "op_" + op.name, None)
    out = None if own is None else own(*values)
    if out is None and isinstance(op, InDouble):
        s._needs(op.name, "f", *values)
        out = b.cast(op.scalar(s, *[b.cast(v, "f64") for v in values], **attrs), kind)
    if out is None:
        out = op.scalar(s, *values, **attrs)
    return out if isinstance(out, Value) else b.const(out, Type(kind, max(v.lanes for v in values)))


def can_emit(op: Any, dtypes: Any, attrs: dict[str, Any] | None = None) -> bool:
    """Whether `emit` can write an op for operands of these NumPy dtypes."""
    kinds = tuple(map(kind_of, dtypes))
    if not isinstance(op, Elementwise) or None in kinds or op.name in NOT_EMITTED:
        return False
    return _is_emitted(op.name, kinds, np.dtype(op.result_dtype(*map(np.dtype, dtypes))), tuple((attrs or {}).items()))


@functools.cache
def _is_emitted(name: str, kinds: tuple[str, ...], result: Any, attrs: tuple[Any, ...]) -> bool:
    """Try it."""
    b = Builder("trial", **{f"x{i}": Type(kind) for i, kind in enumerate(kinds)})
    try:
        out = emit(b, OPS.get(name) or INTERNAL[name], *b.arguments, **dict(attrs))
    except DTypeError:
        return False
    return out.type.kind == kind_of(result)

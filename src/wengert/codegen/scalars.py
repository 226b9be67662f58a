"""The scalar vocabulary of elementwise ops as instructions (see `wengert.ops.scalar`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from . import math as m
from . import math_trig as trig
from .loop import Builder, Value

_DIRECT: dict[str, Callable[..., Value]] = {
    "exp": m.exp, "exp2": m.exp2, "expm1": m.expm1, "log": m.log, "log2": m.log2, "log10": m.log10, "log1p": m.log1p,
    "sinh": m.sinh, "cosh": m.cosh, "tanh": m.tanh, "sin": trig.sin, "cos": trig.cos, "tan": trig.tan,
    "arcsin": trig.asin, "arccos": trig.acos, "arctan": trig.atan, "arctan2": trig.atan2, "arcsinh": trig.asinh,
    "arccosh": trig.acosh, "arctanh": trig.atanh,
}  # fmt: skip


class LoopScalars:
    """Emit the vocabulary on values of a builder."""

    def __init__(self, b: Builder) -> None:
        self.b = b

    def __getattr__(self, name: str) -> Any:
        try:
            return _DIRECT[name]
        except KeyError:
            raise AttributeError(name) from None

    def _both(self, x: Any, y: Any) -> tuple[Value, Value]:
        like = x if isinstance(x, Value) else y
        return self.b.lift(x, like.type), self.b.lift(y, like.type)

    def sqrt(self, x: Value) -> Value:
        return self.b.unary("sqrt", x)

    def absolute(self, x: Value) -> Value:
        return x if not (x.type.is_float or x.type.is_signed) else self.b.unary("abs", x)

    def floor(self, x: Value) -> Value:
        return self.b.unary("floor", x)

    def ceil(self, x: Value) -> Value:
        return self.b.unary("ceil", x)

    def trunc(self, x: Value) -> Value:
        return self.b.unary("trunc", x)

    def rint(self, x: Value) -> Value:
        return self.b.unary("rint", x)

    def sign(self, x: Value) -> Value:
        one = self.b.lift(1, x.type)
        out = self.b.select(x > 0, one, self.b.select(x < 0, -one, self.b.lift(0, x.type)))
        return self.b.select(x != x, x, out) if x.type.is_float else out

    def conjugate(self, x: Value) -> Value:
        return x

    def isnan(self, x: Value) -> Value:
        return x != x

    def isinf(self, x: Value) -> Value:
        return self.b.unary("abs", x) == np.inf

    def isfinite(self, x: Value) -> Value:
        return self.b.unary("abs", x) < np.inf

    def _truth(self, x: Value) -> Value:
        return self.b.cast(x, "i1")

    def logical_not(self, x: Value) -> Value:
        return ~self._truth(x)

    def logical_and(self, x: Value, y: Value) -> Value:
        return self._truth(x) & self._truth(y)

    def logical_or(self, x: Value, y: Value) -> Value:
        return self._truth(x) | self._truth(y)

    def logical_xor(self, x: Value, y: Value) -> Value:
        return self._truth(x) ^ self._truth(y)

    def maximum(self, x: Any, y: Any) -> Value:
        x, y = self._both(x, y)
        better = x > y
        return self.b.select(better | (x != x) if x.type.is_float else better, x, y)

    def minimum(self, x: Any, y: Any) -> Value:
        x, y = self._both(x, y)
        better = x < y
        return self.b.select(better | (x != x) if x.type.is_float else better, x, y)

    def where(self, c: Value, x: Any, y: Any) -> Value:
        return self.b.select(self._truth(c), x, y)

    def copysign(self, x: Any, y: Any) -> Value:
        x, y = self._both(x, y)
        return self.b.binary("copysign", x, y)

    def power(self, x: Any, y: Any) -> Value:
        """Positive bases only."""
        x, y = self._both(x, y)
        kind = x.type.kind
        x, y = self.b.cast(x, "f64"), self.b.cast(y, "f64")
        return self.b.cast(m.exp(y * m.log(x)), kind)


_EMITTED = frozenset({
    "add", "sub", "mul", "div", "neg", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "eq", "ne", "lt", "le", "gt", "ge",
    "maximum", "minimum", "abs", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
    "exp2", "expm1", "log1p", "log2", "log10", "floor", "ceil", "trunc", "round", "sign", "isnan", "isinf", "isfinite",
    "logical_not", "logical_and", "logical_or", "logical_xor", "conj", "pow",
})  # fmt: skip


def can_emit(op: Any, dtypes: Sequence[Any]) -> bool:
    """Whether an elementwise op can be emitted for operands of these dtypes."""
    return op.name in _EMITTED and all(d not in dt.COMPLEX_NP for d in dtypes)

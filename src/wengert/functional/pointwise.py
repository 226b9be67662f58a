"""Elementwise functions: operators, unary functions, comparisons."""

from __future__ import annotations

from typing import Any

from ..graph.handle import Handle, wrap
from ..ops.base import OPS
from .front import apply_elementwise, binary, promote, result_type, unary

_add, _sub = binary("add"), binary("sub")
mul = multiply = binary("mul")
div = divide = true_divide = binary("div", floating=True)
neg = negative = unary("neg")
exp = unary("exp", floating=True)
log = unary("log", floating=True)
sqrt = unary("sqrt", floating=True)
tanh = unary("tanh", floating=True)
pow = binary("pow")
eq = binary("eq", keeps_dtype=False)
ne = not_equal = binary("ne", keeps_dtype=False)
lt = less = binary("lt", keeps_dtype=False)
le = less_equal = binary("le", keeps_dtype=False)
gt = greater = binary("gt", keeps_dtype=False)
ge = greater_equal = binary("ge", keeps_dtype=False)
logical_and = binary("logical_and", keeps_dtype=False)
logical_or = binary("logical_or", keeps_dtype=False)
logical_xor = binary("logical_xor", keeps_dtype=False)
logical_not = unary("logical_not", keeps_dtype=False)
isnan = unary("isnan", keeps_dtype=False)
isinf = unary("isinf", keeps_dtype=False)
isfinite = unary("isfinite", keeps_dtype=False)
signbit = unary("signbit", keeps_dtype=False)


def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha * other."""
    return _add(input, other) if alpha == 1 else _add(input, mul(other, alpha))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input - alpha * other."""
    return _sub(input, other) if alpha == 1 else _sub(input, mul(other, alpha))


subtract = sub


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """``input`` where the condition holds, else ``other``; the three are broadcast."""
    if not isinstance(condition, Handle):
        condition = wrap(condition)
    x, y = promote("where", (input, other))
    return apply_elementwise(OPS["where"], (condition, x, y))


__all__ = [
    "add", "div", "divide", "eq", "exp", "ge", "greater", "greater_equal", "gt", "isfinite", "isinf", "isnan", "le", "less",
    "less_equal", "log", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "mul", "multiply", "ne",
    "neg", "negative", "not_equal", "pow", "result_type", "signbit", "sqrt", "sub", "subtract", "tanh",
    "true_divide", "where",
]  # fmt: skip


NOT_METHODS = ("where", "result_type")
INPLACE = ("add", "sub", "mul", "div", "true_divide", "neg", "exp", "log", "sqrt", "tanh", "pow")

"""The small vocabulary in which elementwise ops say what they mean, and its handlers.

An `Elementwise` op writes ``scalar(s, *xs)`` once, with Python operators and the functions of
`Vocabulary`. NumPy runs it here; a formula is printed here; the code generator will emit it.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Vocabulary:
    """Names every handler must offer, besides Python's operators on its values."""

    UNARY = (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan", "arcsin", "arccos",
        "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "floor", "ceil", "trunc", "rint",
        "absolute", "sign", "conjugate", "isnan", "isinf", "isfinite", "signbit", "logical_not", "invert",
    )  # fmt: skip
    BINARY = (
        "power", "arctan2", "fmod", "minimum", "maximum", "fmin", "fmax", "copysign", "hypot", "logical_and",
        "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift", "gcd",
        "lcm", "nextafter",
    )  # fmt: skip
    TERNARY = ("where",)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return cls.UNARY + cls.BINARY + cls.TERNARY


class NumpyScalars:
    """Run the vocabulary on arrays: every name is NumPy's own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class Text(str):
    """An expression as text; operators build bigger ones."""

    __slots__ = ()

    def _infix(self, op: str, other: Any, swap: bool = False) -> Text:
        a, b = (other, self) if swap else (self, other)
        return Text(f"({a} {op} {b})")

    def __add__(self, o: Any) -> Text:
        return self._infix("+", o)

    def __radd__(self, o: Any) -> Text:
        return self._infix("+", o, True)

    def __sub__(self, o: Any) -> Text:
        return self._infix("-", o)

    def __rsub__(self, o: Any) -> Text:
        return self._infix("-", o, True)

    def __mul__(self, o: Any) -> Text:
        return self._infix("*", o)

    def __rmul__(self, o: Any) -> Text:
        return self._infix("*", o, True)

    def __truediv__(self, o: Any) -> Text:
        return self._infix("/", o)

    def __rtruediv__(self, o: Any) -> Text:
        return self._infix("/", o, True)

    def __floordiv__(self, o: Any) -> Text:
        return self._infix("//", o)

    def __mod__(self, o: Any) -> Text:
        return self._infix("%", o)

    def __pow__(self, o: Any) -> Text:
        return self._infix("**", o)

    def __rpow__(self, o: Any) -> Text:
        return self._infix("**", o, True)

    def __neg__(self) -> Text:
        return Text(f"(-{self})")

    def __and__(self, o: Any) -> Text:
        return self._infix("&", o)

    def __or__(self, o: Any) -> Text:
        return self._infix("|", o)

    def __rand__(self, o: Any) -> Text:
        return self._infix("&", o, True)

    def __ror__(self, o: Any) -> Text:
        return self._infix("|", o, True)

    def __invert__(self) -> Text:
        return Text(f"(~{self})")

    def __lt__(self, o: Any) -> Text:  # type: ignore[override]
        return self._infix("<", o)

    def __le__(self, o: Any) -> Text:  # type: ignore[override]
        return self._infix("<=", o)

    def __gt__(self, o: Any) -> Text:  # type: ignore[override]
        return self._infix(">", o)

    def __ge__(self, o: Any) -> Text:  # type: ignore[override]
        return self._infix(">=", o)

    def __eq__(self, o: object) -> Any:
        return self._infix("==", o)

    def __ne__(self, o: object) -> Any:
        return self._infix("!=", o)

    __hash__ = str.__hash__


class TextScalars:
    """Print the vocabulary: ``exp(x)`` and so on."""

    def __getattr__(self, name: str) -> Any:
        if name not in Vocabulary.names():
            raise AttributeError(name)
        return lambda *xs: Text(f"{name}({', '.join(map(str, xs))})")


NUMPY = NumpyScalars()
TEXT = TextScalars()

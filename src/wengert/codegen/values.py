"""Values of the loop IR, and their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .loop import Builder


BITS = {
    "i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "u8": 8, "u16": 16, "u32": 32, "u64": 64,
    "f16": 16, "bf16": 16, "f32": 32, "f64": 64, "ptr": 64,
}  # fmt: skip
FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
UNSIGNED = frozenset({"u8", "u16", "u32", "u64", "i1"})


class Type(NamedTuple):
    """Kind of an element, and how many of them. For pointers ``kind`` is ``ptr`` and ``element`` what it points at."""

    kind: str
    lanes: int = 1
    element: str = ""

    @property
    def is_float(self) -> bool:
        """Whether elements are floating-point numbers."""
        return self.kind in FLOATS

    @property
    def is_signed(self) -> bool:
        """Whether elements are signed integers."""
        return self.kind not in FLOATS and self.kind not in UNSIGNED

    @property
    def nbytes(self) -> int:
        """Bytes of one element in memory."""
        return max(BITS[self.kind] // 8, 1)

    def widened(self, lanes: int) -> Type:
        """The same kind with another number of lanes."""
        return Type(self.kind, lanes, self.element)

    def __str__(self) -> str:
        name = f"{self.kind}*" if not self.element else f"{self.element}*"
        base = name if self.kind == "ptr" else self.kind
        return base if self.lanes == 1 else f"{base}x{self.lanes}"


I1, I32, I64 = Type("i1"), Type("i32"), Type("i64")
F32, F64 = Type("f32"), Type("f64")


def pointer(element: str) -> Type:
    """The type of a pointer to elements of a kind; indices count elements."""
    return Type("ptr", 1, element)


class Value:
    """The result of an instruction (``type`` None: a statement), a parameter or a constant."""

    __slots__ = ("args", "attr", "b", "op", "type")

    def __init__(self, b: Builder, op: str, args: tuple[Any, ...], type: Type | None, attr: Any = None) -> None:
        self.b = b
        self.op = op
        self.args = args
        self.type: Any = type
        self.attr = attr

    @property
    def lanes(self) -> int:
        """How many elements the value has."""
        return self.type.lanes

    @property
    def constant(self) -> Any:
        """The number, if the value is a constant; else None."""
        return self.attr if self.op == "const" else None

    def __add__(self, o: Any) -> Value:
        return self.b.binary("add", self, o)

    def __radd__(self, o: Any) -> Value:
        return self.b.binary("add", o, self)

    def __sub__(self, o: Any) -> Value:
        return self.b.binary("sub", self, o)

    def __rsub__(self, o: Any) -> Value:
        return self.b.binary("sub", o, self)

    def __mul__(self, o: Any) -> Value:
        return self.b.binary("mul", self, o)

    def __rmul__(self, o: Any) -> Value:
        return self.b.binary("mul", o, self)

    def __truediv__(self, o: Any) -> Value:
        return self.b.binary("div", self, o)

    def __rtruediv__(self, o: Any) -> Value:
        return self.b.binary("div", o, self)

    def __floordiv__(self, o: Any) -> Value:
        """Integers only: rounds towards zero, so both signs should agree."""
        return self.b.binary("div", self, o)

    def __mod__(self, o: Any) -> Value:
        """The remainder with the sign of the first operand."""
        return self.b.binary("rem", self, o)

    def __neg__(self) -> Value:
        return self.b.unary("neg", self)

    def __and__(self, o: Any) -> Value:
        return self.b.binary("and", self, o)

    def __rand__(self, o: Any) -> Value:
        return self.b.binary("and", o, self)

    def __or__(self, o: Any) -> Value:
        return self.b.binary("or", self, o)

    def __ror__(self, o: Any) -> Value:
        return self.b.binary("or", o, self)

    def __xor__(self, o: Any) -> Value:
        return self.b.binary("xor", self, o)

    def __invert__(self) -> Value:
        return self.b.binary("xor", self, True if self.type.kind == "i1" else -1)

    def __lshift__(self, o: Any) -> Value:
        return self.b.binary("shl", self, o)

    def __rshift__(self, o: Any) -> Value:
        """Arithmetic for signed kinds, logical for unsigned ones."""
        return self.b.binary("shr", self, o)

    def __lt__(self, o: Any) -> Value:
        return self.b.compare("lt", self, o)

    def __le__(self, o: Any) -> Value:
        return self.b.compare("le", self, o)

    def __gt__(self, o: Any) -> Value:
        return self.b.compare("gt", self, o)

    def __ge__(self, o: Any) -> Value:
        return self.b.compare("ge", self, o)

    def __eq__(self, o: object) -> Any:
        return self.b.compare("eq", self, o)

    def __ne__(self, o: object) -> Any:
        return self.b.compare("ne", self, o)

    __hash__ = object.__hash__


class Var:
    """A mutable local: a scalar or vector that lives in a register."""

    __slots__ = ("b", "slot")

    def __init__(self, b: Builder, slot: Value) -> None:
        self.b, self.slot = b, slot

    def get(self) -> Value:
        """Its value here."""
        return self.b.emit("get", (self.slot,), self.slot.attr)

    def set(self, x: Any) -> None:
        """Give it another value."""
        self.b.emit("set", (self.slot, self.b.lift(x, self.slot.attr)), None)


def truncated(x: float, kind: str) -> int:
    """A float as an integer, towards zero: as NumPy has it on x86-64, where C says nothing of what does not fit.

    There processors convert to int32 or int64, to the least of them what lies outside, NaN too. Narrower integers are
    the low bits of int32, uint32 those of int64; uint64 from 2**63 on is int64 of what is beyond.
    """
    bits, width = WIDTH.get(kind, 32), BITS[kind]
    beyond = 2**63 if kind == "u64" and x >= 2**63 else 0
    whole = int(x - beyond) if abs(x - beyond) < 2 ** (bits - 1) else -(2 ** (bits - 1))
    out = (whole + beyond) & ((1 << width) - 1)
    return out - (1 << width) if kind[0] == "i" and out >> (width - 1) else out


WIDTH = {"i64": 64, "u64": 64, "u32": 64}  # of the integers that floats are converted to first, if not 32

"""Loop IR: the small structured language in which every kernel is written.

A `Function` has pointers and integers as parameters and a body of instructions: arithmetic on scalars and
vectors, loads and stores, mutable local variables, loops and branches. `lower.py` prints it as LLVM IR;
`interpret.py` runs it slowly with NumPy, and that is what it means.

A `Builder` writes a function. Values know their builder, so Python's operators build instructions::

    b = Builder("axpy", x=pointer("f32"), y=pointer("f32"), n=I64)
    with b.loop(0, b.n, 16) as i:
        b.store(b.y, i, b.load(b.x, i, lanes=16) * 2.0 + b.load(b.y, i, lanes=16))
    function = b.finish()

Integer arithmetic wraps around; float arithmetic is IEEE and keeps its order (no fast-math), so results do not
depend on the target but through `fma`, which rounds once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

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


FULLY = -1  # as a hint to unroll: all trips, of a loop whose bounds are constants


class Region(NamedTuple):
    """The bodies of a loop or branch (``attr`` of its instruction)."""

    bodies: tuple[list[Value], ...]
    index: Value | None = None
    unroll: int = 0


class Function(NamedTuple):
    """A finished function. ``calls``: functions that it calls, by name; ``widest``: most bits of a vector register."""

    name: str
    params: tuple[tuple[str, Type], ...]
    arguments: tuple[Value, ...]
    body: list[Value]
    calls: dict[str, Function]
    external: dict[str, tuple[Type | None, tuple[Type, ...]]]
    aliased: frozenset[str]  # pointers that may point into another parameter's memory (computed in place)
    widest: int = 512


# What an instruction may be called, by how many operands of one type it takes. The result has that type.
UNARY = frozenset({"neg", "sqrt", "abs", "floor", "ceil", "trunc", "rint", "ctpop", "ctlz"})
BINARY = frozenset({"add", "sub", "mul", "div", "rem", "and", "or", "xor", "shl", "shr", "min", "max", "copysign"})
COMPARE = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
REDUCE = frozenset({"add", "mul", "min", "max", "and", "or", "xor"})
# Instructions whose result depends on operands and attribute alone.
_PURE = UNARY | BINARY | COMPARE | {
    "fma", "dot", "ldexp", "select", "cast", "bitcast", "splat", "iota", "extract", "insert", "shuffle", "any",
    "offset", "retype",
}  # fmt: skip


class Builder:
    """Writes one function. Parameters are attributes of the builder by their names."""

    def __init__(self, name: str, /, **params: Type) -> None:
        self.name = name
        self.aliased: frozenset[str] = frozenset()
        self.params = tuple(params.items())
        self.body: list[Value] = []
        self.block = self.body
        self.calls: dict[str, Function] = {}
        self.external: dict[str, tuple[Type | None, tuple[Type, ...]]] = {}
        self.arguments = tuple(Value(self, "param", (), t, n) for n, t in params.items())
        self.by_name = dict(zip(params, self.arguments, strict=True))
        self.constants: dict[Any, Value] = {}
        self.line: list[Value] = self.body  # instructions without a loop or branch between them, and those known there
        self.known: dict[Any, Value] = {}

    def __getattr__(self, name: str) -> Value:
        try:
            return self.__dict__["by_name"][name]
        except KeyError:
            raise AttributeError(name) from None

    def finish(self) -> Function:
        """The function as built."""
        from .anchors import anchor

        anchor(self.body)
        self.line, self.known, self.constants = self.body, {}, {}  # kernels are kept, and values know their builder
        return Function(self.name, self.params, self.arguments, self.body, self.calls, self.external, self.aliased)

    # -- values ----------------------------------------------------------------------------

    def emit(self, op: str, args: tuple[Any, ...], type: Type | None, attr: Any = None) -> Value:
        """Append an instruction, or find the same one a few lines before: LLVM would take longer to."""
        if op not in _PURE:
            value = Value(self, op, args, type, attr)
            self.block.append(value)
            return value
        if self.line is not self.block:  # not across loops and branches, where a value would stay in a register
            self.line, self.known = self.block, {}
        key = (op, type, attr, *map(id, args))  # not the values, whose == is an instruction
        value = self.known.get(key)
        if value is None:
            value = self.known[key] = Value(self, op, args, type, attr)
            self.block.append(value)
        return value

    def const(self, x: Any, type: Type) -> Value:
        """A number of a type (in all lanes)."""
        x = float(x) if type.is_float else bool(x) if type.kind == "i1" else int(x)
        key = (repr(x), type)  # repr: 0.0 and -0.0 differ, nan equals itself
        found = self.constants.get(key)
        if found is None:
            found = self.constants[key] = Value(self, "const", (), type, x)
        return found

    def lift(self, x: Any, like: Type) -> Value:
        """A value of the type ``like``: numbers become constants, scalars are spread over the lanes."""
        if not isinstance(x, Value):
            return self.const(x, like)
        if x.type.lanes == 1 and like.lanes > 1:
            return self.splat(x, like.lanes)
        return x

    def _pair(self, x: Any, y: Any) -> tuple[Value, Value]:
        like = x.type if isinstance(x, Value) else y.type
        if isinstance(x, Value) and isinstance(y, Value) and y.type.lanes > x.type.lanes:
            like = y.type
        x, y = self.lift(x, like), self.lift(y, like)
        assert x.type == y.type, f"{x.type} against {y.type}"
        return x, y

    def unary(self, op: str, x: Value) -> Value:
        """An instruction of `UNARY`."""
        assert op in UNARY, op
        return self.emit(op, (x,), x.type)

    def binary(self, op: str, x: Any, y: Any) -> Value:
        """An instruction of `BINARY`; ``min`` and ``max`` of floats give the second operand if one is NaN."""
        assert op in BINARY, op
        x, y = self._pair(x, y)
        if not x.type.is_float:
            folded = _fold(op, x, y)
            if folded is not None:
                return folded if isinstance(folded, Value) else self.const(folded, x.type)
        return self.emit(op, (x, y), x.type)

    def compare(self, op: str, x: Any, y: Any) -> Value:
        """An instruction of `COMPARE`, giving i1; with NaN only ``ne`` holds."""
        assert op in COMPARE, op
        x, y = self._pair(x, y)
        return self.emit(op, (x, y), Type("i1", x.type.lanes))

    def fma(self, x: Any, y: Any, z: Any) -> Value:
        """``x * y + z`` rounded once; not for halves, which are multiplied in float32."""
        like = next(v.type for v in (x, y, z) if isinstance(v, Value))
        lanes = max(v.type.lanes for v in (x, y, z) if isinstance(v, Value))
        x, y, z = (self.lift(v, like.widened(lanes)) for v in (x, y, z))
        assert x.type == y.type == z.type and x.type.kind in ("f32", "f64"), f"{x.type}, {y.type}, {z.type}"
        return self.emit("fma", (x, y, z), x.type)

    def dot(self, x: Value, y: Value, z: Value) -> Value:
        """``z``, float32, plus the products of the two bfloat16 in each element of ``x`` with those in ``y``, both u32.

        Denormals count as 0; the processor says in which order it adds and how often it rounds. For `bf16_dot` alone.
        """
        assert x.type == y.type == Type("u32", z.lanes) and z.type.kind == "f32", f"{x.type}, {y.type}, {z.type}"
        return self.emit("dot", (x, y, z), z.type)

    def ldexp(self, x: Value, n: Value) -> Value:
        """``x * 2**n`` rounded once, for float32 and float64: ``x`` is about 1 or NaN, ``n`` whole numbers as floats.

        The absolute value of ``n`` is at most twice the largest exponent, so the result may be 0 or infinite.
        """
        assert x.type == n.type and x.type.kind in ("f32", "f64"), f"{x.type} and {n.type}"
        return self.emit("ldexp", (x, n), x.type)

    def select(self, c: Value, x: Any, y: Any) -> Value:
        """``x`` where ``c`` holds, else ``y``."""
        x, y = self._pair(x, y)
        if c.type.lanes > x.type.lanes:
            x, y = self.splat(x, c.type.lanes), self.splat(y, c.type.lanes)
        return self.emit("select", (self.lift(c, Type("i1", x.type.lanes)), x, y), x.type)

    def cast(self, x: Value, kind: str) -> Value:
        """Convert elements: floats to integers as `truncated` says, to i1 by ``!= 0``."""
        if x.type.kind == kind:
            return x
        if kind == "i1":
            return self.compare("ne", x, 0)
        if x.op == "const":
            to = Type(kind, x.type.lanes)
            return self.const(truncated(x.attr, kind) if x.type.is_float and not to.is_float else x.attr, to)
        return self.emit("cast", (x,), Type(kind, x.type.lanes))

    def bitcast(self, x: Value, kind: str) -> Value:
        """The same bits as another kind of the same width."""
        assert BITS[x.type.kind] == BITS[kind]
        return self.emit("bitcast", (x,), Type(kind, x.type.lanes))

    # -- vectors ---------------------------------------------------------------------------

    def splat(self, x: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        if lanes == 1 or x.type.lanes == lanes:
            return x
        if x.op == "const":
            return self.const(x.attr, x.type.widened(lanes))
        return self.emit("splat", (x,), x.type.widened(lanes))

    def iota(self, lanes: int, kind: str = "i64") -> Value:
        """0, 1, 2, ... in the lanes."""
        return self.emit("iota", (), Type(kind, lanes))

    def extract(self, x: Value, lane: int) -> Value:
        """One element, at a constant position."""
        return self.emit("extract", (x,), x.type.widened(1), lane) if x.type.lanes > 1 else x

    def insert(self, x: Value, y: Value, lane: int) -> Value:
        """``x`` with one element replaced."""
        return self.emit("insert", (x, y), x.type, lane)

    def shuffle(self, x: Value, y: Value, lanes: Sequence[int]) -> Value:
        """Elements picked from the concatenation of two vectors; one element is a scalar."""
        return self.emit("shuffle", (x, y), x.type.widened(len(lanes)), tuple(lanes))

    def any(self, x: Value) -> Value:
        """Whether a bool holds in some lane: one i1."""
        assert x.type.kind == "i1"
        return self.emit("any", (x,), I1) if x.type.lanes > 1 else x

    def reduce(self, op: str, x: Value) -> Value:
        """All lanes combined, in the order of a balanced tree (halves against halves)."""
        assert op in REDUCE, op
        while x.type.lanes > 1:
            half, odd = divmod(x.type.lanes, 2)
            assert not odd, "a power of two of lanes"
            x = self.binary(op, self.shuffle(x, x, range(half)), self.shuffle(x, x, range(half, 2 * half)))
        return x

    # -- memory ----------------------------------------------------------------------------

    def load(self, p: Value, index: Any = 0, lanes: int = 1, mask: Value | None = None, align: int = 0) -> Value:
        """``lanes`` neighbouring elements from ``index`` on; where a mask (i1) does not hold, 0 without access.

        ``align``: bytes, if more than the element's is certain.
        """
        args = (p, self.lift(index, I64)) if mask is None else (p, self.lift(index, I64), mask)
        return self.emit("load", args, Type(p.type.element, lanes), align)

    def store(self, p: Value, index: Any, x: Value, mask: Value | None = None, align: int = 0) -> None:
        """Write all lanes of ``x`` from ``index`` on; only those where the mask holds."""
        assert x.type.kind == p.type.element, f"{x.type} into {p.type}"
        args = (p, self.lift(index, I64), x) if mask is None else (p, self.lift(index, I64), x, mask)
        self.emit("store", args, None, align)

    def stream(self, p: Value, index: Any, x: Value, align: int) -> None:
        """`store` past the caches, of whole vectors that they could not keep; a `fence` must follow in the end."""
        assert x.type.kind == p.type.element, f"{x.type} into {p.type}"
        self.emit("stream", (p, self.lift(index, I64), x), None, align)

    def fence(self) -> None:
        """Let other threads see what was written before."""
        self.emit("fence", (), None)

    def address(self, p: Value) -> Value:
        """Where a pointer points, as a number."""
        return self.emit("address", (p,), I64)

    def gather(self, p: Value, index: Value, mask: Value | None = None) -> Value:
        """One element for each lane of ``index`` (i64)."""
        args = (p, index) if mask is None else (p, index, mask)
        return self.emit("gather", args, Type(p.type.element, index.type.lanes))

    def scatter(self, p: Value, index: Value, x: Value, mask: Value | None = None) -> None:
        """Write one element for each lane; of equal indices the last lane wins."""
        self.emit("scatter", (p, index, x) if mask is None else (p, index, x, mask), None)

    def offset(self, p: Value, index: Any) -> Value:
        """The pointer moved on by ``index`` elements."""
        index = self.lift(index, I64)
        return p if index.constant == 0 else self.emit("offset", (p, index), p.type)

    def retype(self, p: Value, element: str) -> Value:
        """The same address as a pointer to another kind."""
        return p if p.type.element == element else self.emit("retype", (p,), pointer(element))

    def array(self, element: str, n: int, align: int = 64) -> Value:
        """Scratch memory of ``n`` elements on the stack, for the whole function; contents undefined."""
        return self.emit("array", (), pointer(element), (n, align))

    def prefetch(self, p: Value, index: Any, write: bool = False, later: bool = False) -> None:
        """A hint that memory will be read (or written) soon; ``later``: it need only come to the second-level cache."""
        self.emit("prefetch", (p, self.lift(index, I64)), None, (write, later))

    def in_order(self) -> None:
        """Keep what touches memory on its side of here: LLVM orders straight code in its own way otherwise."""
        self.emit("in_order", (), None)

    def var(self, init: Any, type: Type | None = None) -> Var:
        """A mutable local with a first value."""
        init = init if type is None else self.lift(init, type)
        out = Var(self, Value(self, "var", (), None, init.type))
        self.block.append(out.slot)
        out.set(init)
        return out

    # -- control ---------------------------------------------------------------------------

    @contextmanager
    def _inside(self, block: list[Value]) -> Generator[None]:
        outer, self.block = self.block, block
        try:
            yield
        finally:
            self.block = outer

    @contextmanager
    def loop(self, start: Any, stop: Any, step: Any = 1, unroll: int = 0) -> Generator[Value]:
        """``for i in range(start, stop, step)``, a positive step; ``unroll`` is a hint (1: never)."""
        bounds = tuple(self.lift(x, I64) for x in (start, stop, step))
        body: list[Value] = []
        index = Value(self, "index", (), I64)
        self.emit("loop", bounds, None, Region((body,), index, unroll))
        with self._inside(body):
            yield index

    @contextmanager
    def when(self, condition: Value) -> Generator[None]:
        """Run the body if a scalar i1 holds."""
        body: list[Value] = []
        self.emit("if", (condition,), None, Region((body, [])))
        with self._inside(body):
            yield

    @contextmanager
    def otherwise(self) -> Generator[None]:
        """The other branch of the `when` just closed."""
        assert self.block and self.block[-1].op == "if"
        with self._inside(self.block[-1].attr.bodies[1]):
            yield

    @contextmanager
    def unless(self, condition: Value) -> Generator[None]:
        """Run the body, which hardly ever happens, if a scalar i1 does not hold.

        Once does as well as many times: in a loop that changes neither condition nor body both come before the loop.
        """
        body: list[Value] = []
        self.emit("check", (condition,), None, Region((body,)))
        with self._inside(body):
            yield

    def repeat(self, condition: Callable[[], Value], body: Callable[[], None]) -> None:
        """``while condition(): body()``; state is kept in variables."""
        test: list[Value] = []
        inner: list[Value] = []
        with self._inside(test):
            again = condition()
        with self._inside(inner):
            body()
        self.emit("while", (again,), None, Region((test, inner)))

    def call(self, f: Function, *args: Any, inline: bool = False) -> None:
        """Call a function written in this language; ``inline``: its code stands here, instead of a jump."""
        known = self.calls.setdefault(f.name, f)
        assert known is f, f"two functions are called {f.name}"
        given = tuple(self.lift(a, t) for a, (_, t) in zip(args, f.params, strict=True))
        self.emit("inline" if inline else "call", given, None, f.name)

    def call_external(self, name: str, result: Type | None, *args: Value) -> Value:
        """Call a function that the loader provides under a name."""
        self.external[name] = (result, tuple(a.type for a in args))
        return self.emit("external", args, result, name)


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


def _fold(op: str, x: Value, y: Value) -> Any:
    """The value of an integer instruction that needs none: index arithmetic is full of ``0 + i * 1``."""
    a, c = x.constant, y.constant
    if a is not None and c is not None:
        return _FOLDS[op](a, c) if op in _FOLDS and (op not in ("div", "rem") or c) else None
    if op == "add":
        return y if a == 0 else x if c == 0 else None
    if op == "mul":
        return y if a == 1 else x if c == 1 else 0 if a == 0 or c == 0 else None
    if op in ("sub", "shl", "shr", "or", "xor") and c == 0 and x.type.kind != "i1":
        return x
    return x if op == "div" and c == 1 else None


_FOLDS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, c: a + c,
    "sub": lambda a, c: a - c,
    "mul": lambda a, c: a * c,
    "div": lambda a, c: abs(a) // abs(c) * (1 if (a < 0) == (c < 0) else -1),
    "rem": lambda a, c: abs(a) % abs(c) * (1 if a >= 0 else -1),
    "min": min,
    "max": max,
}

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

from .values import BITS, F32, F64, FLOATS, I1, I32, I64, UNSIGNED, WIDTH, Type, Value, Var, pointer, truncated

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

# Values and their types belong to the language: it is imported from here.
__all__ = [
    "BINARY", "BITS", "Builder", "COMPARE", "F32", "F64", "FLOATS", "FULLY", "Function", "I1", "I32", "I64", "REDUCE",
    "Region", "Type", "UNARY", "UNSIGNED", "Value", "Var", "WIDTH", "pointer", "truncated",
]  # fmt: skip

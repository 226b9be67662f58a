"""The meaning of loop IR: a slow interpreter, an instruction at a time, with NumPy.

What it does is what the language says; generated code is right if it gives the same bits (any NaN for any NaN, as its
sign and payload mean nothing). It checks what generated code cannot afford to: every access lies inside of its array
and is aligned as promised, no shift is too far, no division traps. Scratch memory begins with garbage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import bfloat16
from ..errors import ArgumentError, IndexRangeError, WengertError, message
from .loop import BITS, Function, Region, Type, Value, truncated

DTYPES = {
    "i1": np.dtype(np.bool_), "i8": np.dtype(np.int8), "i16": np.dtype(np.int16), "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64), "u8": np.dtype(np.uint8), "u16": np.dtype(np.uint16), "u32": np.dtype(np.uint32),
    "u64": np.dtype(np.uint64), "f16": np.dtype(np.float16), "bf16": bfloat16.np, "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
}  # fmt: skip
_HALVES = ("f16", "bf16")
_GARBAGE = 0xA5
_COMPARE = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
_INTEGER: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}  # fmt: skip
_FLOAT: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "rem": np.fmod,
}  # fmt: skip


class Pointer(NamedTuple):
    """A place in an array: ``memory`` are the array's bytes, ``start`` is counted in them."""

    name: str
    memory: Any
    start: int
    element: str

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return Type(self.element).nbytes


def run(function: Function, *arguments: Any, external: Mapping[str, Callable[..., Any]] | None = None) -> None:
    """Run a function on NumPy arrays (contiguous, of any dtype: they are memory), which it may write to, and integers.

    Memory holds bools as bytes. ``external`` provides the functions that `Builder.call_external` names; they take and
    return arrays of one element a lane. Raises `IndexRangeError` for an access outside of an array, `WengertError`
    for other things that generated code must not do, `ArgumentError` for arguments that do not fit.

    >>> from wengert.codegen.loop import I64, Builder, pointer
    >>> b = Builder("double", x=pointer("f32"), n=I64)
    >>> with b.loop(0, b.n) as i:
    ...     b.store(b.x, i, b.load(b.x, i) * 2.0)
    >>> x = np.array([1.0, 2.5], np.float32)
    >>> run(b.finish(), x, 2)
    >>> x
    array([2., 5.], dtype=float32)
    """
    if len(arguments) != len(function.params):
        raise ArgumentError(message(function.name, f"needs {len(function.params)} arguments", str(len(arguments))))
    given = [_argument(function.name, n, t, x) for (n, t), x in zip(function.params, arguments, strict=True)]
    with np.errstate(all="ignore"):
        Interpreter(function, given, external or {}).block(function.body)


def _argument(kernel: str, name: str, t: Type, x: Any) -> Any:
    if t.kind != "ptr":
        return np.broadcast_to(np.asarray(x, DTYPES[t.kind]), (t.lanes,))
    if isinstance(x, Pointer):
        return x._replace(name=name, element=t.element)
    if not isinstance(x, np.ndarray) or not x.flags.c_contiguous:
        raise ArgumentError(message(kernel, f"{name} must be a contiguous array", type(x).__name__))
    return Pointer(name, x.reshape(-1).view(np.uint8), 0, t.element)


class Interpreter:
    """One call of a function. A value is an array with an element for each lane."""

    def __init__(self, f: Function, arguments: Sequence[Any], external: Mapping[str, Callable[..., Any]]) -> None:
        self.f = f
        self.external = external
        self.values: dict[Value, Any] = dict(zip(f.arguments, arguments, strict=True))

    def block(self, instructions: Sequence[Value]) -> None:
        """Run instructions in order."""
        for v in instructions:
            self.values[v] = getattr(self, "op_" + v.op)(v)

    def value(self, v: Value) -> Any:
        """What an operand is here."""
        if v.op != "const":
            return self.values[v]
        x = v.attr
        if not v.type.is_float and v.type.kind != "i1":
            return _wrapped(x, v.type)
        return np.full(v.lanes, x, DTYPES[v.type.kind])

    def operands(self, v: Value) -> list[Any]:
        """All operands."""
        return [self.value(x) for x in v.args]

    def wrong(self, what: str, seen: Any) -> WengertError:
        """An error about this kernel."""
        return WengertError(message(self.f.name, what, str(seen)))

    # -- arithmetic ------------------------------------------------------------------------

    def _unary(self, v: Value) -> Any:
        (x,) = self.operands(v)
        if v.op == "neg":
            return x if v.type.kind == "i1" else -x
        if not v.type.is_float:
            return np.abs(x) if v.op == "abs" and v.type.is_signed else x
        return _rounded({"abs": np.abs}.get(v.op) or getattr(np, v.op), v.type, x)

    op_neg = op_sqrt = op_abs = op_floor = op_ceil = op_trunc = op_rint = _unary

    def _bit_count(self, v: Value) -> Any:
        (x,) = self.operands(v)
        bits = BITS[v.type.kind]
        numbers = [int(i) & ((1 << bits) - 1) for i in x]
        counts = [i.bit_count() if v.op == "ctpop" else bits - i.bit_length() for i in numbers]
        return np.array(counts).astype(x.dtype)

    op_ctpop = op_ctlz = _bit_count

    def _binary(self, v: Value) -> Any:
        x, y = self.operands(v)
        if v.type.is_float:
            return _rounded(_FLOAT[v.op], v.type, x, y)
        if v.type.kind == "i1":
            return {"add": np.logical_xor, "sub": np.logical_xor, "mul": np.logical_and}.get(v.op, _INTEGER[v.op])(x, y)
        return _INTEGER[v.op](x, y)

    op_add = op_sub = op_mul = op_and = op_or = op_xor = _binary

    def _division(self, v: Value) -> Any:
        if v.type.is_float:
            return self._binary(v)
        x, y = self.operands(v)
        least = v.type.is_signed and np.any((x == np.iinfo(x.dtype).min) & (y == -1))
        if not np.all(y) or least:
            raise self.wrong("an integer division that traps", f"{x} by {y}")
        rest = np.fmod(x, y)
        return rest if v.op == "rem" else (x - rest) // y

    op_div = op_rem = _division

    def _shift(self, v: Value) -> Any:
        x, y = self.operands(v)
        if np.any(y < 0) or np.any(y >= BITS[v.type.kind]):
            raise self.wrong("a shift by too many bits", y)
        return x << y if v.op == "shl" else x >> y

    op_shl = op_shr = _shift

    def _extreme(self, v: Value) -> Any:
        x, y = self.operands(v)
        return np.where(x < y if v.op == "min" else x > y, x, y)

    op_min = op_max = _extreme

    def op_copysign(self, v: Value) -> Any:
        return np.copysign(*self.operands(v))

    def op_fma(self, v: Value) -> Any:
        x, y, z = self.operands(v)
        return _fma_double(x, y, z) if v.type.kind == "f64" else _fma_single(x, y, z)

    def op_dot(self, v: Value) -> Any:
        x, y, z = (np.asarray(a) for a in self.operands(v))
        low = (x << np.uint32(16)).view(np.float32) * (y << np.uint32(16)).view(np.float32).astype(np.float64)
        high = (x & np.uint32(0xFFFF0000)).view(np.float32) * (y & np.uint32(0xFFFF0000)).view(np.float32).astype(
            np.float64
        )
        return (z + low + high).astype(np.float32)

    def op_ldexp(self, v: Value) -> Any:
        x, n = self.operands(v)
        return np.ldexp(x, np.where(np.isnan(n), 0, n).astype(np.int32))

    def _compare(self, v: Value) -> Any:
        return _COMPARE[v.op](*self.operands(v))

    op_lt = op_le = op_gt = op_ge = op_eq = op_ne = _compare

    def op_select(self, v: Value) -> Any:
        return np.where(*self.operands(v))

    def op_cast(self, v: Value) -> Any:
        (x,) = self.operands(v)
        return _converted(x, v.args[0].type, v.type)

    def op_bitcast(self, v: Value) -> Any:
        (x,) = self.operands(v)
        return np.ascontiguousarray(x).view(DTYPES[v.type.kind])

    # -- vectors ---------------------------------------------------------------------------

    def op_splat(self, v: Value) -> Any:
        return np.repeat(self.value(v.args[0]), v.lanes)

    def op_iota(self, v: Value) -> Any:
        return np.arange(v.lanes).astype(DTYPES[v.type.kind])

    def op_extract(self, v: Value) -> Any:
        return self.value(v.args[0])[v.attr : v.attr + 1]

    def op_insert(self, v: Value) -> Any:
        x, y = self.operands(v)
        out = x.copy()
        out[v.attr] = y[0]
        return out

    def op_shuffle(self, v: Value) -> Any:
        return np.concatenate(self.operands(v))[list(v.attr)]

    def op_any(self, v: Value) -> Any:
        return self.value(v.args[0]).any(keepdims=True)

    # -- memory ----------------------------------------------------------------------------

    def _place(self, p: Pointer, index: Any, align: int) -> slice:
        """The bytes of an element."""
        start = p.start + int(index) * p.size
        if start < 0 or start + p.size > p.memory.size:
            here = f"index {int(index)} of {p.memory.size // p.size} elements of {p.element}"
            here += f", counted from element {p.start / p.size:g}" if p.start else ""
            raise IndexRangeError(message(self.f.name, f"{p.name} is accessed outside of its memory", here))
        if (p.memory.ctypes.data + start) % (align or p.size):
            raise self.wrong(f"{p.name} is not aligned to {align or p.size} bytes", f"index {int(index)}")
        return slice(start, start + p.size)

    def _read(self, t: Type, p: Pointer, indices: Any, mask: Any, align: int = 0) -> Any:
        dtype = DTYPES[t.kind]
        out = np.zeros(t.lanes, dtype)
        for lane, index in enumerate(indices):
            if mask is None or mask[lane]:
                content = p.memory[self._place(p, index, 0 if lane else align)]
                out[lane] = content[0] != 0 if t.kind == "i1" else content.copy().view(dtype)[0]
        return out

    def _write(self, p: Pointer, indices: Any, x: Any, mask: Any, align: int = 0) -> None:
        for lane, index in enumerate(indices):
            if mask is None or mask[lane]:
                p.memory[self._place(p, index, 0 if lane else align)] = x[lane : lane + 1].view(np.uint8)

    def op_load(self, v: Value) -> Any:
        p, index, *mask = self.operands(v)
        return self._read(v.type, p, index + np.arange(v.lanes), mask[0] if mask else None, v.attr)

    def op_gather(self, v: Value) -> Any:
        p, index, *mask = self.operands(v)
        return self._read(v.type, p, index, mask[0] if mask else None)

    def op_store(self, v: Value) -> None:
        p, index, x, *mask = self.operands(v)
        self._write(p, index + np.arange(len(x)), x, mask[0] if mask else None, v.attr)

    op_stream = op_store

    def op_fence(self, v: Value) -> None:
        """Nothing: there is one thread."""

    def op_address(self, v: Value) -> Any:
        (p,) = self.operands(v)
        return np.array([p.memory.ctypes.data + p.start], np.int64)

    def op_scatter(self, v: Value) -> None:
        p, index, x, *mask = self.operands(v)
        self._write(p, index, x, mask[0] if mask else None)

    def op_offset(self, v: Value) -> Pointer:
        p, index = self.operands(v)
        return p._replace(start=p.start + int(index[0]) * p.size)

    op_anchor = op_offset

    def op_retype(self, v: Value) -> Pointer:
        return self.value(v.args[0])._replace(element=v.type.element)

    def op_array(self, v: Value) -> Pointer:
        n, align = v.attr
        size = n * Type(v.type.element).nbytes
        memory = np.full(size + align, _GARBAGE, np.uint8)
        start = -memory.ctypes.data % align
        return Pointer("array", memory[start : start + size], 0, v.type.element)

    def op_prefetch(self, v: Value) -> None:
        """Nothing: any address may be named."""

    def op_in_order(self, v: Value) -> None:
        """Nothing: all goes in order here."""

    # -- locals and control ----------------------------------------------------------------

    def op_var(self, v: Value) -> list[Any]:
        return [None]

    def op_get(self, v: Value) -> Any:
        return self.values[v.args[0]][0]

    def op_set(self, v: Value) -> None:
        slot, x = v.args
        self.values[slot][0] = self.value(x)

    def op_loop(self, v: Value) -> None:
        start, stop, step = (int(x[0]) for x in self.operands(v))
        region: Region = v.attr
        assert region.index is not None
        if step <= 0:
            raise self.wrong("a loop needs a positive step", step)
        for i in range(start, stop, step):
            self.values[region.index] = np.array([i], np.int64)
            self.block(region.bodies[0])

    def op_if(self, v: Value) -> None:
        self.block(v.attr.bodies[0 if self.value(v.args[0])[0] else 1])

    def op_check(self, v: Value) -> None:
        if not self.value(v.args[0])[0]:
            self.block(v.attr.bodies[0])

    def op_while(self, v: Value) -> None:
        while True:
            self.block(v.attr.bodies[0])
            if not self.value(v.args[0])[0]:
                return
            self.block(v.attr.bodies[1])

    def op_call(self, v: Value) -> None:
        f = self.f.calls[v.attr]
        given = [_argument(f.name, n, t, x) for (n, t), x in zip(f.params, self.operands(v), strict=True)]
        Interpreter(f, given, self.external).block(f.body)

    op_inline = op_call

    def op_external(self, v: Value) -> Any:
        if v.attr not in self.external:
            raise self.wrong("calls a function that was not provided", v.attr)
        out = self.external[v.attr](*self.operands(v))
        return None if v.type is None else np.broadcast_to(np.asarray(out, DTYPES[v.type.kind]), (v.lanes,))


# -- numbers -----------------------------------------------------------------------------------


def _wrapped(x: int, t: Type) -> Any:
    """An integer in all lanes, modulo 2**bits."""
    size = BITS[t.kind] // 8
    return np.frombuffer((x & ((1 << 8 * size) - 1)).to_bytes(size, "little"), DTYPES[t.kind]).repeat(t.lanes)


def _rounded(f: Callable[..., Any], t: Type, *xs: Any) -> Any:
    """A float operation rounded once; for halves float32 is wide enough to round twice without a difference."""
    if t.kind not in _HALVES:
        return f(*xs)
    return f(*[x.astype(np.float32) for x in xs]).astype(DTYPES[t.kind])


def _converted(x: Any, s: Type, t: Type) -> Any:
    """NumPy's conversion, for floats to integers that of `truncated`; to bfloat16 it goes by way of float32."""
    dtype = DTYPES[t.kind]
    if not s.is_float or t.is_float:
        return (x.astype(np.float32) if t.kind == "bf16" else x).astype(dtype)
    return np.array([_wrapped(truncated(float(v), t.kind), Type(t.kind))[0] for v in x], dtype)


def _fma_single(x: Any, y: Any, z: Any) -> Any:
    """The product is exact in float64; the sum is rounded to odd there, so that float32 rounds it once."""
    p, z = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    s = p + z
    back = s - p
    lost = (p - (s - back)) + (z - back)  # Knuth: s + lost is the sum
    even = (s.view(np.int64) & 1 == 0) & (lost != 0) & np.isfinite(s)
    odd = np.where(even, np.nextafter(s, np.where(lost > 0, np.inf, -np.inf)), s)
    return odd.astype(np.float32)


def _fma_double(x: Any, y: Any, z: Any) -> Any:
    """By fractions where all is finite."""
    out = np.where(np.isinf(z) & np.isfinite(x) & np.isfinite(y), z, x * y + z)
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    for i in np.flatnonzero(finite):
        exact = Fraction(float(x[i])) * Fraction(float(y[i])) + Fraction(float(z[i]))
        if exact:
            try:
                out[i] = np.copysign(float(exact), 1 if exact > 0 else -1)  # it may underflow
            except OverflowError:
                out[i] = np.inf if exact > 0 else -np.inf
        else:
            product = x[i] * y[i]
            out[i] = product + z[i] if product == 0.0 and z[i] == 0.0 else 0.0
    return out

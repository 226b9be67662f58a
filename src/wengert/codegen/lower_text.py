"""The text of LLVM's IR, and what every printer of it does: name values, append instructions."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from ..dtypes import bfloat16
from .loop import BITS, Type, Value

# bfloat16 are 16 bits here, and computed with in float32: LLVM's own type needs a library on most processors.
_LLVM = {"f16": "half", "f32": "float", "f64": "double", "ptr": "ptr"}


def llvm_kind(kind: str) -> str:
    """LLVM's name of an element in a register."""
    return _LLVM.get(kind) or f"i{BITS[kind]}"


def llvm_type(t: Type) -> str:
    """LLVM's name of a scalar or vector type."""
    name = llvm_kind(t.kind)
    return name if t.lanes == 1 else f"<{t.lanes} x {name}>"


def suffix(t: Type) -> str:
    """How intrinsics name a type: ``v16f32``."""
    name = f"i{BITS[t.kind]}" if t.kind not in _LLVM else "p0" if t.kind == "ptr" else t.kind
    return name if t.lanes == 1 else f"v{t.lanes}{name}"


def constant_text(x: object, t: Type) -> str:
    """A constant, spread over the lanes if there are several."""
    if t.kind == "i1":
        text = "true" if x else "false"
    elif not t.is_float:
        text = str(_wrapped(int(x), BITS[t.kind]))  # type: ignore[call-overload]
    elif t.kind == "bf16":
        text = str(int(np.asarray(x, bfloat16.np).view(np.int16)))
    elif t.kind == "f16":
        text = f"0xH{int(np.asarray(x, np.float16).view(np.uint16)):04X}"
    else:
        value = float(np.float32(x)) if t.kind == "f32" else float(x)  # type: ignore[arg-type]
        text = f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    return text if t.lanes == 1 else f"splat ({llvm_kind(t.kind)} {text})"


def _wrapped(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def memory_type(t: Type) -> Type:
    """How elements lie in memory: bools take a byte; 16 bits are moved as ``half``.

    Many targets have no moves of bfloat16. As integers they may come from a ``trunc``, and LLVM 22 writes the whole
    number before truncation where a masked store of a truncated vector has a single lane.
    """
    return t._replace(kind={"i1": "u8", "bf16": "f16", "i16": "f16", "u16": "f16"}.get(t.kind, t.kind))


def memory_kind(p: Value) -> str:
    """LLVM's name of the elements that a pointer points to, for arithmetic of addresses."""
    element = p.type.element
    return "i8" if element == "i1" else llvm_kind(element)


def stack_align(t: Type) -> int:
    """Alignment of a local variable in bytes: the largest power of two that divides its size, up to 64."""
    size = max(BITS[t.kind] * t.lanes // 8, 1)
    return min(size & -size, 64)


class Printer:
    """Appends instructions to the text of one function; what it uses is declared in its module."""

    def __init__(self, declarations: set[str]) -> None:
        self.declarations = declarations
        self.lines: list[str] = []
        self.names: dict[Value, str] = {}
        self.count = 0
        self.label = "entry"

    def fresh(self, stem: str = "v") -> str:
        """A new name for a value or label."""
        self.count += 1
        return f"{stem}{self.count}"

    def line(self, text: str) -> None:
        """Append an instruction."""
        self.lines.append(f"  {text}\n")

    def let(self, text: str) -> str:
        """Append an instruction and name its result."""
        name = "%" + self.fresh()
        self.lines.append(f"  {name} = {text}\n")
        return name

    def start(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:\n")
        self.label = label

    def name(self, v: Value) -> str:
        """How a value is written as an operand."""
        return constant_text(v.attr, v.type) if v.op == "const" else self.names[v]

    def typed(self, v: Value) -> str:
        """A value with its type."""
        return f"{llvm_type(v.type)} {self.name(v)}"

    def intrinsic(self, name: str, result: str, types: Sequence[str], args: Sequence[str]) -> str:
        """A call of an intrinsic, declared in the module; empty result: a statement."""
        self.declarations.add(f"declare {result} @{name}({', '.join(types)})")
        call = f"call {result} @{name}({', '.join(f'{t} {a}' for t, a in zip(types, args, strict=True))})"
        if result != "void":
            return self.let(call)
        self.line(call)
        return ""

    def block(self, instructions: Sequence[Value]) -> None:
        """Print instructions in order."""
        for v in instructions:
            found = getattr(self, "op_" + v.op)(v)
            if found:
                self.names[v] = found

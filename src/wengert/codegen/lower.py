"""Loop IR as LLVM IR text.

Mutable locals become stack slots, which LLVM's SROA turns into registers; everything else is printed as it stands.
Loops are printed with the test at the end, behind a guard where they may be empty.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from ..dtypes import bfloat16
from .loop import BITS, Function, Region, Type, Value
from .target import Target

# bfloat16 are 16 bits here, and computed with in float32: LLVM's own type needs a library on most processors.
_LLVM = {"f16": "half", "f32": "float", "f64": "double", "ptr": "ptr"}
_INT_OPS = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}
_FLOAT_OPS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
_FLOAT_UNARY = {"sqrt": "sqrt", "abs": "fabs", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "rint"}
_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}


def _single(t: Type) -> Type:
    return Type("f32", t.lanes)


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


class Lowering:
    """Prints one function; declarations of what it uses are collected for the module."""

    def __init__(self, f: Function, declarations: set[str], linkage: str, target: Target | None = None) -> None:
        self.f = f
        self.scalef = target is not None and target.architecture == "x86_64" and target.vector_bytes == 64
        self.declarations = declarations
        self.linkage = linkage
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.names: dict[Value, str] = {v: f"%{v.attr}." for v in f.arguments}
        self.count = 0
        self.label = "entry"
        self.metadata: list[str] = []

    def text(self) -> str:
        """The definition."""
        self.block(self.f.body)
        params = ", ".join(self._param(n, t) for n, t in self.f.params)
        head = f"define {self.linkage}void @{self.f.name}({params}) nounwind {{\nentry:\n"
        return head + "".join(f"  {s}\n" for s in self.slots) + "".join(self.lines) + "  ret void\n}\n"

    def _param(self, name: str, t: Type) -> str:
        noalias = " noalias" if t.kind == "ptr" and name not in self.f.aliased else ""
        return f"{llvm_type(t)}{noalias} %{name}."  # no generated name ends like that

    # -- parts -----------------------------------------------------------------------------

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

    # -- arithmetic ------------------------------------------------------------------------

    def _unary(self, v: Value) -> str:
        (x,), t = v.args, llvm_type(v.type)
        if v.op == "neg" and not v.type.is_float:
            return self.let(f"sub {t} {constant_text(0, v.type)}, {self.name(x)}")
        if v.type.kind == "bf16":
            return self._unary_bf16(v)
        if v.op == "neg":
            return self.let(f"fneg {t} {self.name(x)}")
        if v.type.is_float:
            name = f"llvm.{_FLOAT_UNARY[v.op]}.{suffix(v.type)}"
            return self.intrinsic(name, t, [t], [self.name(x)])
        if v.op == "ctlz" or (v.op == "abs" and v.type.is_signed):
            return self.intrinsic(f"llvm.{v.op}.{suffix(v.type)}", t, [t, "i1"], [self.name(x), "false"])
        if v.op == "ctpop":
            return self.intrinsic(f"llvm.ctpop.{suffix(v.type)}", t, [t], [self.name(x)])
        return self.name(x)  # an integer is whole, an unsigned one not negative

    def _unary_bf16(self, v: Value) -> str:
        if v.op not in ("neg", "abs"):
            return self._by_single(v)
        operand = f"{llvm_type(v.type)} {self.name(v.args[0])}"
        op, bits = ("xor", -0x8000) if v.op == "neg" else ("and", 0x7FFF)
        return self.let(f"{op} {operand}, {constant_text(bits, Type('i16', v.lanes))}")

    op_neg = op_sqrt = op_abs = op_floor = op_ceil = op_trunc = op_rint = op_ctpop = op_ctlz = _unary

    def _binary(self, v: Value) -> str:
        (x, y), t = v.args, v.type
        operands = f"{llvm_type(t)} {self.name(x)}, {self.name(y)}"
        if t.kind == "bf16":
            return self._by_single(v)
        if t.is_float:
            return self.let(f"{_FLOAT_OPS[v.op]} {operands}")
        if v.op in _INT_OPS:
            return self.let(f"{_INT_OPS[v.op]} {operands}")
        if v.op == "shr":
            return self.let(f"{'ashr' if t.is_signed else 'lshr'} {operands}")
        return self.let(f"{'s' if t.is_signed else 'u'}{v.op} {operands}")  # div, rem

    op_add = op_sub = op_mul = op_div = op_rem = op_and = op_or = op_xor = op_shl = op_shr = _binary

    def _extreme(self, v: Value) -> str:
        x, y = v.args
        flags = Type("i1", v.lanes)
        mask = self._compare(Value(v.b, "lt" if v.op == "min" else "gt", (x, y), flags))
        return self.let(f"select {llvm_type(flags)} {mask}, {self.typed(x)}, {self.typed(y)}")

    op_min = op_max = _extreme

    def op_copysign(self, v: Value) -> str:
        t = llvm_type(v.type)
        if v.type.kind == "bf16":
            masks = [constant_text(bits, Type("i16", v.lanes)) for bits in (0x7FFF, -0x8000)]
            parts = [self.let(f"and {t} {self.name(x)}, {m}") for x, m in zip(v.args, masks, strict=True)]
            return self.let(f"or {t} {parts[0]}, {parts[1]}")
        return self.intrinsic(f"llvm.copysign.{suffix(v.type)}", t, [t, t], [self.name(x) for x in v.args])

    def op_fma(self, v: Value) -> str:
        t = llvm_type(v.type)
        return self.intrinsic(f"llvm.fma.{suffix(v.type)}", t, [t] * 3, [self.name(x) for x in v.args])

    def op_ldexp(self, v: Value) -> str:
        x, n = v.args
        if self.scalef and v.lanes * BITS[v.type.kind] == 512:
            t, mask = llvm_type(v.type), f"i{v.lanes}"
            name = f"llvm.x86.avx512.mask.scalef.p{'s' if v.type.kind == 'f32' else 'd'}.512"
            args = [self.name(x), self.name(n), self.name(x), "-1", "4"]  # all lanes, the rounding that is set
            return self.intrinsic(name, t, [t, t, t, mask, "i32"], args)
        return self._ldexp_by_bits(v)

    def _ldexp_by_bits(self, v: Value) -> str:
        """Two multiplications by powers of two, made from their exponents: the second rounds."""
        x, n = v.args
        kind, digits, bias = ("i32", 23, 127) if v.type.kind == "f32" else ("i64", 52, 1023)
        integer, t = Type(kind, v.lanes), llvm_type(v.type)
        i = llvm_type(integer)

        def step(op: str, a: str, number: int) -> str:
            return self.let(f"{op} {i} {a}, {constant_text(number, integer)}")

        # Adding 1.5 * 2**digits leaves the number in the low bits, and NaN does no harm, which it does to fptosi.
        shifted = self.let(f"fadd {t} {self.name(n)}, {constant_text(1.5 * 2**digits, v.type)}")
        bits = self.let(f"bitcast {t} {shifted} to {i}")
        whole = step("sub", bits, ((bias + digits) << digits) + (1 << digits - 1))
        half = step("ashr", whole, 1)
        out = self.name(x)
        for exponent in (half, self.let(f"sub {i} {whole}, {half}")):
            power = step("shl", step("add", exponent, bias), digits)
            out = self.let(f"fmul {t} {out}, {self.let(f'bitcast {i} {power} to {t}')}")
        return out

    def _compare(self, v: Value) -> str:
        x, y = v.args
        t, names = x.type, [self.name(x), self.name(y)]
        if t.kind == "bf16":
            t, names = _single(t), [self._from_bf16(n, t) for n in names]
        if t.is_float:
            kind = f"fcmp {_FLOAT_COMPARE[v.op]}"
        elif v.op in ("eq", "ne"):
            kind = f"icmp {v.op}"
        else:
            kind = f"icmp {'s' if t.is_signed else 'u'}{v.op}"
        return self.let(f"{kind} {llvm_type(t)} {names[0]}, {names[1]}")

    op_lt = op_le = op_gt = op_ge = op_eq = op_ne = _compare

    def op_select(self, v: Value) -> str:
        return self.let("select " + ", ".join(self.typed(x) for x in v.args))

    def op_cast(self, v: Value) -> str:
        (x,), s, t = v.args, v.args[0].type, v.type
        name = self.name(x)
        if s.kind == "bf16":
            name, s = self._from_bf16(name, s), _single(t)
        if s.kind == "f16" and not t.is_float:  # LLVM 22 takes a NaN of half for the least integer
            name, s = self._convert("fpext", name, s, _single(t)), _single(t)
        if s.is_float and not t.is_float:
            called = f"llvm.fpto{'s' if t.is_signed else 'u'}i.sat.{suffix(t)}.{suffix(s)}"
            return self.intrinsic(called, llvm_type(t), [llvm_type(s)], [name])
        if t.kind == "bf16":  # by float32, as NumPy does
            name, s = self._convert(self._conversion(s, _single(t)), name, s, _single(t)), _single(t)
        elif (s.kind, t.kind) == ("f64", "f16"):
            name, s = self._to_odd(name, s), _single(t)
        return self._to_bf16(name, t) if t.kind == "bf16" else self._convert(self._conversion(s, t), name, s, t)

    def _conversion(self, s: Type, t: Type) -> str:
        if s.is_float:
            return "nothing" if s.kind == t.kind else "fpext" if BITS[t.kind] > BITS[s.kind] else "fptrunc"
        if t.is_float:
            return "sitofp" if s.is_signed else "uitofp"
        if BITS[s.kind] == BITS[t.kind]:
            return "nothing"
        return "trunc" if BITS[t.kind] < BITS[s.kind] else "sext" if s.is_signed else "zext"

    def _convert(self, how: str, x: str, s: Type, t: Type) -> str:
        return x if how == "nothing" else self.let(f"{how} {llvm_type(s)} {x} to {llvm_type(t)}")

    def _to_bf16(self, x: str, t: Type) -> str:
        """A float32 rounded by its bits: processors have no instruction for it, or one that loses denormals."""
        wide, i = _single(t), llvm_type(Type("u32", t.lanes))

        def step(op: str, a: str, number: int) -> str:
            return self.let(f"{op} {i} {a}, {constant_text(number, Type('u32', t.lanes))}")

        bits = self.let(f"bitcast {llvm_type(wide)} {x} to {i}")
        odd = step("and", step("lshr", bits, 16), 1)
        up = self.let(f"add {i} {step('add', bits, 0x7FFF)}, {odd}")
        nan = self.let(f"fcmp uno {llvm_type(wide)} {x}, {x}")
        quiet = step("or", bits, 0x400000)
        out = self.let(f"select {llvm_type(Type('i1', t.lanes))} {nan}, {i} {quiet}, {i} {up}")
        return self.let(f"trunc {i} {step('lshr', out, 16)} to {llvm_type(t)}")

    def _from_bf16(self, x: str, s: Type) -> str:
        """As float32, by bits."""
        bits = Type("u32", s.lanes)
        wide = self.let(f"zext {llvm_type(s)} {x} to {llvm_type(bits)}")
        high = self.let(f"shl {llvm_type(bits)} {wide}, {constant_text(16, bits)}")
        return self._convert("bitcast", high, bits, _single(s))

    def _to_odd(self, x: str, s: Type) -> str:
        """A float64 as float32 that is rounded to an odd last bit, so that rounding it again rounds once."""
        wide, d, i = llvm_type(s), llvm_type(_single(s)), llvm_type(Type("i32", s.lanes))
        c, one = llvm_type(Type("i1", s.lanes)), constant_text(1, Type("i32", s.lanes))
        near = self.let(f"fptrunc {wide} {x} to {d}")
        back = self.let(f"fpext {d} {near} to {wide}")
        sizes = [self.intrinsic(f"llvm.fabs.{suffix(s)}", wide, [wide], [y]) for y in (back, x)]
        beyond = self.let(f"fcmp ogt {wide} {sizes[0]}, {sizes[1]}")
        bits = self.let(f"bitcast {d} {near} to {i}")
        lower = self.let(f"sub {i} {bits}, {one}")
        cut = self.let(f"select {c} {beyond}, {i} {lower}, {i} {bits}")
        inexact = self.let(f"fcmp une {wide} {back}, {x}")
        odd = self.let(f"or {i} {cut}, {one}")
        out = self.let(f"select {c} {inexact}, {i} {odd}, {i} {bits}")
        return self.let(f"bitcast {i} {out} to {d}")

    def _by_single(self, v: Value) -> str:
        """An operation on bfloat16 in float32, rounded after."""
        args = tuple(Value(v.b, "cast", (x,), _single(v.type)) for x in v.args)
        out = Value(v.b, v.op, args, _single(v.type))
        self.block([*args, out])
        return self.op_cast(Value(v.b, "cast", (out,), v.type))

    def op_bitcast(self, v: Value) -> str:
        (x,) = v.args
        if llvm_type(x.type) == llvm_type(v.type):
            return self.name(x)
        return self.let(f"bitcast {self.typed(x)} to {llvm_type(v.type)}")

    # -- vectors ---------------------------------------------------------------------------

    def op_splat(self, v: Value) -> str:
        (x,), t = v.args, llvm_type(v.type)
        one = self.let(f"insertelement {t} poison, {self.typed(x)}, i32 0")
        return self.let(f"shufflevector {t} {one}, {t} poison, <{v.lanes} x i32> zeroinitializer")

    def op_iota(self, v: Value) -> str:
        kind = llvm_kind(v.type.kind)
        return f"<{', '.join(f'{kind} {i}' for i in range(v.lanes))}>" if v.lanes > 1 else "0"

    def op_extract(self, v: Value) -> str:
        return self.let(f"extractelement {self.typed(v.args[0])}, i32 {v.attr}")

    def op_insert(self, v: Value) -> str:
        return self.let(f"insertelement {self.typed(v.args[0])}, {self.typed(v.args[1])}, i32 {v.attr}")

    def op_shuffle(self, v: Value) -> str:
        x, y = v.args
        if len(v.attr) == 1:
            source, lane = (x, v.attr[0]) if v.attr[0] < x.lanes else (y, v.attr[0] - x.lanes)
            one = source.lanes == 1
            return self.name(source) if one else self.let(f"extractelement {self.typed(source)}, i32 {lane}")
        vector = f"<{x.lanes} x {llvm_kind(x.type.kind)}>"
        sources = [self.typed(z) if x.lanes > 1 else f"{vector} {self._one_lane(z, vector)}" for z in (x, y)]
        mask = ", ".join(f"i32 {i}" for i in v.attr)
        return self.let(f"shufflevector {', '.join(sources)}, <{len(v.attr)} x i32> <{mask}>")

    def _one_lane(self, x: Value, vector: str) -> str:
        return self.let(f"insertelement {vector} poison, {self.typed(x)}, i32 0")

    def op_any(self, v: Value) -> str:
        (x,) = v.args
        t = llvm_type(x.type)
        return self.intrinsic(f"llvm.vector.reduce.or.{suffix(x.type)}", "i1", [t], [self.name(x)])

    # -- memory ----------------------------------------------------------------------------

    def address(self, p: Value, index: Value) -> str:
        """Pointer (or vector of pointers) to elements; a bool takes a byte."""
        if index.constant == 0:
            return self.name(p)
        return self.let(f"getelementptr inbounds {_memory_kind(p)}, ptr {self.name(p)}, {self.typed(index)}")

    def op_offset(self, v: Value) -> str:
        return self.address(*v.args)

    def op_retype(self, v: Value) -> str:
        return self.name(v.args[0])

    def op_load(self, v: Value) -> str:
        p, index, *mask = v.args
        where = self.address(p, index)
        memory = _memory_type(v.type)
        align = v.attr or memory.nbytes
        if not mask:
            out = self.let(f"load {llvm_type(memory)}, ptr {where}, align {align}")
        else:
            out = self._masked_load(where, memory, self.name(mask[0]), align)
        return self._from_memory(out, v.type)

    def _masked_load(self, where: str, t: Type, mask: str, align: int) -> str:
        vector, bits = f"<{t.lanes} x {llvm_kind(t.kind)}>", f"<{t.lanes} x i1>"
        if t.lanes == 1:
            mask = self.let(f"insertelement {bits} poison, i1 {mask}, i32 0")
        stem = suffix(t) if t.lanes > 1 else "v1" + suffix(t)
        args = [f"align {align} {where}", mask, "zeroinitializer"]
        self.declarations.add(f"declare {vector} @llvm.masked.load.{stem}.p0(ptr, {bits}, {vector})")
        call = f"call {vector} @llvm.masked.load.{stem}.p0(ptr {args[0]}, {bits} {args[1]}, {vector} {args[2]})"
        out = self.let(call)
        return self.let(f"extractelement {vector} {out}, i32 0") if t.lanes == 1 else out

    def op_store(self, v: Value) -> None:
        p, index, x, *mask = v.args
        where = self.address(p, index)
        memory, text = self._as_memory(x)
        align = v.attr or memory.nbytes
        if not mask:
            self.line(f"store {llvm_type(memory)} {text}, ptr {where}, align {align}")
            return
        vector, bits = f"<{memory.lanes} x {llvm_kind(memory.kind)}>", f"<{memory.lanes} x i1>"
        keep = self.name(mask[0])
        if memory.lanes == 1:
            keep = self.let(f"insertelement {bits} poison, i1 {keep}, i32 0")
            text = self.let(f"insertelement {vector} poison, {llvm_kind(memory.kind)} {text}, i32 0")
        stem = suffix(memory) if memory.lanes > 1 else "v1" + suffix(memory)
        self.declarations.add(f"declare void @llvm.masked.store.{stem}.p0({vector}, ptr, {bits})")
        self.line(f"call void @llvm.masked.store.{stem}.p0({vector} {text}, ptr align {align} {where}, {bits} {keep})")

    def _as_memory(self, x: Value) -> tuple[Type, str]:
        """A value as it is stored."""
        memory = _memory_type(x.type)
        if memory == x.type:
            return memory, self.name(x)
        how = "zext" if x.type.kind == "i1" else "bitcast"
        return memory, self.let(f"{how} {self.typed(x)} to {llvm_type(memory)}")

    def _from_memory(self, x: str, t: Type) -> str:
        """A value as it was loaded."""
        memory = _memory_type(t)
        if memory == t:
            return x
        if t.kind == "i1":
            return self.let(f"icmp ne {llvm_type(memory)} {x}, {constant_text(0, memory)}")
        return self.let(f"bitcast {llvm_type(memory)} {x} to {llvm_type(t)}")

    def op_gather(self, v: Value) -> str:
        p, index, *mask = v.args
        if v.lanes == 1:
            return self.op_load(Value(v.b, "load", v.args, v.type, 0))
        memory = _memory_type(v.type)
        where, t = self._addresses(p, index), llvm_type(memory)
        bits, ptrs = f"<{v.lanes} x i1>", f"<{v.lanes} x ptr>"
        keep = self.name(mask[0]) if mask else "splat (i1 true)"
        name = f"llvm.masked.gather.{suffix(memory)}.v{v.lanes}p0"
        self.declarations.add(f"declare {t} @{name}({ptrs}, {bits}, {t})")
        pointers = f"{ptrs} align {memory.nbytes} {where}"
        out = self.let(f"call {t} @{name}({pointers}, {bits} {keep}, {t} zeroinitializer)")
        return self._from_memory(out, v.type)

    def op_scatter(self, v: Value) -> None:
        p, index, x, *mask = v.args
        if x.lanes == 1:
            self.op_store(Value(v.b, "store", v.args, None, 0))
            return
        memory, text = self._as_memory(x)
        where, t = self._addresses(p, index), llvm_type(memory)
        bits, ptrs = f"<{x.lanes} x i1>", f"<{x.lanes} x ptr>"
        keep = self.name(mask[0]) if mask else "splat (i1 true)"
        name = f"llvm.masked.scatter.{suffix(memory)}.v{x.lanes}p0"
        self.declarations.add(f"declare void @{name}({t}, {ptrs}, {bits})")
        self.line(f"call void @{name}({t} {text}, {ptrs} align {memory.nbytes} {where}, {bits} {keep})")

    def _addresses(self, p: Value, index: Value) -> str:
        return self.let(f"getelementptr inbounds {_memory_kind(p)}, ptr {self.name(p)}, {self.typed(index)}")

    def op_array(self, v: Value) -> str:
        n, align = v.attr
        name = "%" + self.fresh("a")
        self.slots.append(f"{name} = alloca [{n} x {_memory_kind(v)}], align {align}")
        return name

    def op_prefetch(self, v: Value) -> None:
        types = ["ptr", "i32", "i32", "i32"]
        self.intrinsic("llvm.prefetch.p0", "void", types, [self.address(*v.args), str(int(v.attr)), "3", "1"])

    # -- locals and control ----------------------------------------------------------------

    def op_var(self, v: Value) -> str:
        name = "%" + self.fresh("s")
        self.slots.append(f"{name} = alloca {llvm_type(v.attr)}, align {_stack_align(v.attr)}")
        return name

    def op_get(self, v: Value) -> str:
        return self.let(f"load {llvm_type(v.type)}, ptr {self.name(v.args[0])}, align {_stack_align(v.type)}")

    def op_set(self, v: Value) -> None:
        slot, x = v.args
        self.line(f"store {self.typed(x)}, ptr {self.name(slot)}, align {_stack_align(x.type)}")

    def op_loop(self, v: Value) -> None:
        start, stop, step = v.args
        region: Region = v.attr
        body, end, before = self.fresh("body"), self.fresh("end"), self.label
        known = start.constant is not None and stop.constant is not None
        if known and start.attr >= stop.attr:
            return
        if known:
            self.line(f"br label %{body}")
        else:
            some = self.let(f"icmp slt i64 {self.name(start)}, {self.name(stop)}")
            self.line(f"br i1 {some}, label %{body}, label %{end}")
        self.start(body)
        index, following = "%" + self.fresh("i"), "%" + self.fresh("n")
        assert region.index is not None
        self.names[region.index] = index
        phi = len(self.lines)
        self.lines.append("")
        self.block(region.bodies[0])
        self.lines[phi] = f"  {index} = phi i64 [{self.name(start)}, %{before}], [{following}, %{self.label}]\n"
        self.line(f"{following} = add nsw i64 {index}, {self.name(step)}")
        again = self.let(f"icmp slt i64 {following}, {self.name(stop)}")
        self.line(f"br i1 {again}, label %{body}, label %{end}{self._hint(region.unroll)}")
        self.start(end)

    def _hint(self, unroll: int) -> str:
        """Loop metadata; the module numbers it."""
        if not unroll:
            return ""
        self.metadata.append("llvm.loop.unroll.disable" if unroll == 1 else f"llvm.loop.unroll.count {unroll}")
        return f", !llvm.loop !@{len(self.metadata) - 1}@"

    def op_if(self, v: Value) -> None:
        yes, no, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.line(f"br i1 {self.name(v.args[0])}, label %{yes}, label %{no}")
        for label, body in zip((yes, no), v.attr.bodies, strict=True):
            self.start(label)
            self.block(body)
            self.line(f"br label %{end}")
        self.start(end)

    def op_while(self, v: Value) -> None:
        head, body, end = self.fresh("head"), self.fresh("body"), self.fresh("end")
        self.line(f"br label %{head}")
        self.start(head)
        self.block(v.attr.bodies[0])
        self.line(f"br i1 {self.name(v.args[0])}, label %{body}, label %{end}")
        self.start(body)
        self.block(v.attr.bodies[1])
        self.line(f"br label %{head}")
        self.start(end)

    def op_call(self, v: Value) -> None:
        self.line(f"call void @{v.attr}({', '.join(self.typed(x) for x in v.args)})")

    def op_external(self, v: Value) -> str:
        result = "void" if v.type is None else llvm_type(v.type)
        types, args = [llvm_type(x.type) for x in v.args], [self.name(x) for x in v.args]
        for i, x in enumerate(v.args):
            if x.type.kind == "bf16":
                types[i] = "bfloat" if x.lanes == 1 else f"<{x.lanes} x bfloat>"
                args[i] = self.let(f"bitcast {self.typed(x)} to {types[i]}")
        return self.intrinsic(v.attr, result, types, args)


def _memory_type(t: Type) -> Type:
    """How elements lie in memory: bools take a byte; 16 bits are moved as ``half``.

    Many targets have no moves of bfloat16. As integers they may come from a ``trunc``, and LLVM 22 writes the whole
    number before truncation where a masked store of a truncated vector has a single lane.
    """
    return t._replace(kind={"i1": "u8", "bf16": "f16", "i16": "f16", "u16": "f16"}.get(t.kind, t.kind))


def _memory_kind(p: Value) -> str:
    element = p.type.element
    return "i8" if element == "i1" else llvm_kind(element)


def _stack_align(t: Type) -> int:
    size = max(BITS[t.kind] * t.lanes // 8, 1)
    return min(size & -size, 64)


def module_text(functions: Sequence[Function], target: Target | None = None) -> str:
    """A module: the functions named are visible from outside, those that they call are not.

    Without a target the text is good for all; with one it uses instructions that only that has.
    """
    declarations: set[str] = set()
    visible = {f.name for f in functions}
    order: dict[str, Function] = {}
    stack = list(functions)
    while stack:
        f = stack.pop()
        if f.name in order:
            assert order[f.name] is f, f"two functions are called {f.name}"
            continue
        order[f.name] = f
        stack.extend(f.calls.values())
    texts: list[str] = []
    metadata: list[str] = []
    for name in sorted(order):
        printer = Lowering(order[name], declarations, "" if name in visible else "internal ", target)
        text = printer.text()
        for i, hint in enumerate(printer.metadata):
            text = text.replace(f"!@{i}@", f"!{len(metadata)}", 1)
            metadata.append(hint)
        texts.append(text)
    tail = "".join(_loop_metadata(i, hint, len(metadata)) for i, hint in enumerate(metadata))
    return "\n".join([*sorted(declarations), "", *texts]) + tail


def _loop_metadata(i: int, hint: str, n: int) -> str:
    name, _, count = hint.partition(" ")
    body = f'!"{name}", i32 {count}' if count else f'!"{name}"'
    return f"!{i} = distinct !{{!{i}, !{n + i}}}\n!{n + i} = !{{{body}}}\n"

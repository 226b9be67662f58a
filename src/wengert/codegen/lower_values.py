"""Loop IR's arithmetic, conversions and vectors as LLVM IR text."""

from __future__ import annotations

from .loop import BITS, WIDTH, Type, Value
from .lower_text import Printer, constant_text, llvm_kind, llvm_type, suffix

_INT_OPS = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}
_FLOAT_OPS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
_FLOAT_UNARY = {"sqrt": "sqrt", "abs": "fabs", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "rint"}
_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}


def _single(t: Type) -> Type:
    return Type("f32", t.lanes)


class Values(Printer):
    """Prints what computes with values in registers."""

    scalef = 0  # bits of a vector for AVX-512's instruction for x * 2^n, at most; 0 where it is missing

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

    def op_dot(self, v: Value) -> str:
        t, pairs = llvm_type(v.type), f"<{2 * v.lanes} x bfloat>"
        x, y = (self.let(f"bitcast {self.typed(a)} to {pairs}") for a in v.args[:2])
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * v.lanes}"
        return self.intrinsic(name, t, [t, pairs, pairs], [self.name(v.args[2]), x, y])

    def op_ldexp(self, v: Value) -> str:
        bits = v.lanes * BITS[v.type.kind]
        if not self.scalef or bits < 128:
            return self._ldexp_by_bits(v)
        lanes = min(bits, self.scalef) // BITS[v.type.kind]
        parts = [self._scalef(v, at, lanes) for at in range(0, v.lanes, lanes)]
        return self._joined(parts, Type(v.type.kind, lanes))

    def _scalef(self, v: Value, at: int, lanes: int) -> str:
        """One instruction, which rounds once: ``lanes`` elements from ``at`` on, a vector register of them."""
        t = Type(v.type.kind, lanes)
        x, n = (self._part(a, at, lanes) for a in v.args)
        mask, width = f"i{max(lanes, 8)}", lanes * BITS[t.kind]
        name = f"llvm.x86.avx512.mask.scalef.p{'s' if t.kind == 'f32' else 'd'}.{width}"
        rounding = ([], []) if width < 512 else (["i32"], ["4"])  # as it is set
        text = llvm_type(t)
        return self.intrinsic(name, text, [text, text, text, mask, *rounding[0]], [x, n, x, "-1", *rounding[1]])

    def _part(self, x: Value, at: int, lanes: int) -> str:
        """Some lanes of a vector."""
        if lanes == x.lanes:
            return self.name(x)
        places = ", ".join(f"i32 {i}" for i in range(at, at + lanes))
        return self.let(f"shufflevector {self.typed(x)}, {llvm_type(x.type)} poison, <{lanes} x i32> <{places}>")

    def _joined(self, parts: list[str], t: Type) -> str:
        """Vectors of one type one behind the other; as many as a power of two."""
        while len(parts) > 1:
            text, count = llvm_type(t), 2 * t.lanes
            places = ", ".join(f"i32 {i}" for i in range(count))
            parts = [
                self.let(f"shufflevector {text} {x}, {text} {y}, <{count} x i32> <{places}>")
                for x, y in zip(parts[::2], parts[1::2], strict=True)
            ]
            t = Type(t.kind, count)
        return parts[0]

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
        if s.kind == "f16" and not t.is_float:
            name, s = self._convert("fpext", name, s, _single(t)), _single(t)
        if s.is_float and not t.is_float:
            return self._truncated(name, s, t)
        if t.kind == "bf16":  # by float32, as NumPy does
            name, s = self._convert(self._conversion(s, _single(t)), name, s, _single(t)), _single(t)
        elif (s.kind, t.kind) == ("f64", "f16"):
            name, s = self._to_odd(name, s), _single(t)
        return self._to_bf16(name, t) if t.kind == "bf16" else self._convert(self._conversion(s, t), name, s, t)

    def _truncated(self, x: str, s: Type, t: Type) -> str:
        """A float as an integer, as `loop.truncated` says; LLVM is not asked for what does not fit."""
        wide, c = Type(f"i{WIDTH.get(t.kind, 32)}", t.lanes), llvm_type(Type("i1", t.lanes))
        top, f, i = 2.0 ** (BITS[wide.kind] - 1), llvm_type(s), llvm_type(wide)
        big = ""
        if t.kind == "u64":
            big = self.let(f"fcmp oge {f} {x}, {constant_text(top, s)}")
            beyond = self.let(f"fsub {f} {x}, {constant_text(top, s)}")
            x = self.let(f"select {c} {big}, {f} {beyond}, {f} {x}")
        size = self.intrinsic(f"llvm.fabs.{suffix(s)}", f, [f], [x])
        fits = self.let(f"fcmp olt {f} {size}, {constant_text(top, s)}")
        least = constant_text(-int(top), wide)
        out = self.let(f"select {c} {fits}, {i} {self.let(f'fptosi {f} {x} to {i}')}, {i} {least}")
        if big:
            flipped = self.let(f"xor {i} {out}, {least}")
            out = self.let(f"select {c} {big}, {i} {flipped}, {i} {out}")
        return self._convert(self._conversion(wide, t), out, wide, t)

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

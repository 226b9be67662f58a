"""Loop IR as LLVM IR text.

Mutable locals become stack slots, which LLVM's SROA turns into registers; everything else is printed as it stands.
Loops are printed with the test at the end, behind a guard where they may be empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from .loop import FULLY, Function, Region, Type, Value
from .lower_text import constant_text, llvm_kind, llvm_type, memory_kind, memory_type, stack_align, suffix
from .lower_values import Values
from .target import Target


class Lowering(Values):
    """Prints one function: its memory and control flow here, its arithmetic in what it is derived from."""

    def __init__(self, f: Function, declarations: set[str], linkage: str, target: Target | None = None) -> None:
        super().__init__(declarations)
        self.f = f
        if target is not None and target.architecture == "x86_64" and target.vector_bytes == 64:
            self.scalef = f.widest
        self.linkage = linkage
        self.slots: list[str] = []
        self.names = {v: f"%{v.attr}." for v in f.arguments}
        self.metadata: list[str] = []

    def text(self) -> str:
        """The definition."""
        self.block(self.f.body)
        params = ", ".join(self._param(n, t) for n, t in self.f.params)
        head = f"define {self.linkage}void @{self.f.name}({params}) nounwind {self._widest()}{{\nentry:\n"
        return head + "".join(f"  {s}\n" for s in self.slots) + "".join(self.lines) + "  ret void\n}\n"

    def _widest(self) -> str:
        """Attributes that have LLVM split wider vectors; a function gets only such inlined as have them, too."""
        bits = self.f.widest
        return f'"prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}" ' if bits < 512 else ""

    def _param(self, name: str, t: Type) -> str:
        noalias = " noalias" if t.kind == "ptr" and name not in self.f.aliased else ""
        return f"{llvm_type(t)}{noalias} %{name}."  # no generated name ends like that

    # -- memory ----------------------------------------------------------------------------

    def address(self, p: Value, index: Value) -> str:
        """Pointer to elements; a bool takes a byte."""
        return self.name(p) if index.constant == 0 else self._addresses(p, index)

    def op_offset(self, v: Value) -> str:
        return self.address(*v.args)

    def op_retype(self, v: Value) -> str:
        return self.name(v.args[0])

    def op_anchor(self, v: Value) -> str:
        """Not said to be inbounds: what is added to it within a loop may lead back."""
        p, index = v.args
        moved = self.let(f"getelementptr {memory_kind(p)}, ptr {self.name(p)}, {self.typed(index)}")
        return self.let(f"freeze ptr {moved}")

    def op_load(self, v: Value) -> str:
        p, index, *mask = v.args
        where = self.address(p, index)
        memory = memory_type(v.type)
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

    def op_stream(self, v: Value) -> None:
        p, index, x = v.args
        where, (memory, text) = self.address(p, index), self._as_memory(x)
        self.line(f"store {llvm_type(memory)} {text}, ptr {where}, align {v.attr}, !nontemporal !{{i32 1}}")

    def op_fence(self, v: Value) -> None:
        self.line("fence seq_cst")

    def op_address(self, v: Value) -> str:
        return self.let(f"ptrtoint ptr {self.name(v.args[0])} to i64")

    def _as_memory(self, x: Value) -> tuple[Type, str]:
        """A value as it is stored."""
        memory = memory_type(x.type)
        if memory == x.type:
            return memory, self.name(x)
        how = "zext" if x.type.kind == "i1" else "bitcast"
        return memory, self.let(f"{how} {self.typed(x)} to {llvm_type(memory)}")

    def _from_memory(self, x: str, t: Type) -> str:
        """A value as it was loaded."""
        memory = memory_type(t)
        if memory == t:
            return x
        if t.kind == "i1":
            return self.let(f"icmp ne {llvm_type(memory)} {x}, {constant_text(0, memory)}")
        return self.let(f"bitcast {llvm_type(memory)} {x} to {llvm_type(t)}")

    def op_gather(self, v: Value) -> str:
        p, index, *mask = v.args
        if v.lanes == 1:
            return self.op_load(Value(v.b, "load", v.args, v.type, 0))
        memory = memory_type(v.type)
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
        """As many pointers as the index has lanes."""
        return self.let(f"getelementptr inbounds {memory_kind(p)}, ptr {self.name(p)}, {self.typed(index)}")

    def op_array(self, v: Value) -> str:
        n, align = v.attr
        name = "%" + self.fresh("a")
        self.slots.append(f"{name} = alloca [{n} x {memory_kind(v)}], align {align}")
        return name

    def op_prefetch(self, v: Value) -> None:
        types = ["ptr", "i32", "i32", "i32"]
        write, later = v.attr
        hints = [str(int(write)), "2" if later else "3", "1"]
        self.intrinsic("llvm.prefetch.p0", "void", types, [self.address(*v.args), *hints])

    def op_in_order(self, v: Value) -> None:
        self.line('call void asm sideeffect "", "~{memory}"()')  # no instruction

    # -- locals and control ----------------------------------------------------------------

    def op_var(self, v: Value) -> str:
        name = "%" + self.fresh("s")
        self.slots.append(f"{name} = alloca {llvm_type(v.attr)}, align {stack_align(v.attr)}")
        return name

    def op_get(self, v: Value) -> str:
        return self.let(f"load {llvm_type(v.type)}, ptr {self.name(v.args[0])}, align {stack_align(v.type)}")

    def op_set(self, v: Value) -> None:
        slot, x = v.args
        self.line(f"store {self.typed(x)}, ptr {self.name(slot)}, align {stack_align(x.type)}")

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
        named = {1: "llvm.loop.unroll.disable", FULLY: "llvm.loop.unroll.full"}
        self.metadata.append(named.get(unroll) or f"llvm.loop.unroll.count {unroll}")
        return f", !llvm.loop !@{len(self.metadata) - 1}@"

    def op_if(self, v: Value) -> None:
        yes, no, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.line(f"br i1 {self.name(v.args[0])}, label %{yes}, label %{no}")
        for label, body in zip((yes, no), v.attr.bodies, strict=True):
            self.start(label)
            self.block(body)
            self.line(f"br label %{end}")
        self.start(end)

    def op_check(self, v: Value) -> None:
        body, end = self.fresh("then"), self.fresh("end")
        fine = self.intrinsic("llvm.expect.i1", "i1", ["i1", "i1"], [self.name(v.args[0]), "true"])
        self.line(f"br i1 {fine}, label %{end}, label %{body}")
        self.start(body)
        self.block(v.attr.bodies[0])
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

    def op_inline(self, v: Value) -> None:
        self.line(f"call void @{v.attr}({', '.join(self.typed(x) for x in v.args)}) alwaysinline")

    def op_external(self, v: Value) -> str:
        result = "void" if v.type is None else llvm_type(v.type)
        types, args = [llvm_type(x.type) for x in v.args], [self.name(x) for x in v.args]
        for i, x in enumerate(v.args):
            if x.type.kind == "bf16":
                types[i] = "bfloat" if x.lanes == 1 else f"<{x.lanes} x bfloat>"
                args[i] = self.let(f"bitcast {self.typed(x)} to {types[i]}")
        return self.intrinsic(v.attr, result, types, args)


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

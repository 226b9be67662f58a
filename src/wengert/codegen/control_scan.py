"""Scans as kernels: loops of known length over slices.

Carries change places between two buffers, or lie where they are wanted afterwards: in a stack. Those of small bodies
are held in registers, and what is kept of them is copied out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ops.control_scan import Layout as ScanLayout
from .control import Unfit, Writer, once
from .held import LARGEST_SUM, is_large
from .loop import Value, Var


class Scan:
    """Writes a loop of known length over slices."""

    def __init__(self, w: Writer) -> None:
        self.w, attrs = w, w.n.attrs
        self.lay = lay = ScanLayout.of(attrs)
        self.steps, self.reverse, keep = attrs["length"], attrs["reverse"], attrs["keep"]
        first = len(lay.body.inputs) - lay.slices - lay.carries
        (block,) = w.blocks_of([lay.body], [slice(first, first + lay.carries)], first, LARGEST_SUM)
        self.graph = graph = block.graph
        consts, self.carries, self.slices = lay.parts(graph.inputs)
        self.body = w.body(block, [*graph.inputs, *graph.outputs], consts)
        w.trips = max(self.steps, 1)
        given, starts, arrays = lay.parts(w.n.inputs)
        self.pointers = {c.seq: w.operand(x) for c, x in zip(consts, given, strict=True)}
        self.finals = [w.result(j) for j in range(lay.carries)]
        self.stacks = [w.result(lay.carries + i) for i in range(lay.ys)]
        self.kept = {j: w.result(lay.carries + lay.ys + i) for i, j in enumerate(keep)}
        if len(self.kept) != len(keep):
            raise Unfit
        self.starts = [w.operand(x) for x in starts]
        self.arrays = [w.operand(x) for x in arrays]

    def write(self) -> None:
        """The whole loop."""
        w, b = self.w, self.w.b
        self.spare = [[w.buffer(c.aval.nbytes) for _ in range(2)] for c in self.carries]
        with once(w):
            self._begin()
            if not self.steps:
                return
            w.run(self.body, self.body.before, self.pointers)
            step = self._held() if w.held else self._moving()

            def iteration(t: Value) -> None:
                w.barrier()
                at = (self.steps - 1) - t if self.reverse else t
                for x, source in zip(self.slices, self.arrays, strict=True):
                    self.pointers[x.seq] = b.offset(source, at * x.aval.nbytes)
                step(t, at)

            w.repeat(self.steps, iteration)
            if w.held:
                self._end()

    def _moving(self) -> Callable[[Value, Value], None]:
        """A step whose carries move from place to place."""
        w, b = self.w, self.w.b
        states = {j: b.var(start) for j, start in enumerate(self.starts)}

        def step(t: Value, at: Value) -> None:
            for y, stack in zip(self.graph.outputs[self.lay.carries :], self.stacks, strict=True):
                nbytes = y.aval.nbytes
                self.pointers[y.seq] = w.buffer(nbytes) if stack is None else b.offset(stack, at * nbytes)
            self._from(states, t, at)
            w.run(self.body, self.body.uses, self.pointers)
            self._to(states)

        return step

    def _from(self, states: dict[int, Var], t: Value, at: Value) -> None:
        """Where carries that move lie before and after a step."""
        for j, state in states.items():
            self.pointers[self.carries[j].seq] = state.get()
            self.pointers[self.graph.outputs[j].seq] = self._target(j, t, at, self.spare[j])

    def _to(self, states: dict[int, Var]) -> None:
        for j, state in states.items():
            state.set(self.pointers[self.graph.outputs[j].seq])

    def _held(self) -> Callable[[Value, Value], None]:
        """A step whose carries are held in arrays, unless they are large; what is kept of them is copied out."""
        w, b, lay = self.w, self.w.b, self.lay
        outputs = self.graph.outputs
        large = {j: b.var(self.starts[j]) for j, c in enumerate(self.carries) if is_large(c)}
        held = [(j, c, outputs[j]) for j, c in enumerate(self.carries) if j not in large]
        ys = list(zip(outputs[lay.carries :], self.stacks, strict=True))
        for x in (*[x for _, *pair in held for x in pair], *[y for y, _ in ys if not is_large(y)]):
            self.pointers[x.seq] = w.array(x)
        for j, c, _ in held:
            w.made.copy(self.pointers[c.seq], self.starts[j], c)

        def step(t: Value, at: Value) -> None:
            for y, stack in ys:
                if is_large(y):
                    self.pointers[y.seq] = (
                        w.buffer(y.aval.nbytes) if stack is None else b.offset(stack, at * y.aval.nbytes)
                    )
            self._from(large, t, at)
            w.run(self.body, self.body.uses, self.pointers)
            self._to(large)
            for y, stack in ys:
                if stack is not None and not is_large(y):
                    w.made.copy(b.offset(stack, at * y.aval.nbytes), self.pointers[y.seq], y)
            for j, _, o in held:
                if self.kept.get(j) is not None:
                    w.made.copy(self._target(j, t, at, self.spare[j]), self.pointers[o.seq], o)
            w.made.move([(self.pointers[c.seq], self.pointers[o.seq]) for _, c, o in held])

        return step

    def _end(self) -> None:
        """Copy the last carries to the results."""
        for c, final in zip(self.carries, self.finals, strict=True):
            if final is not None and not is_large(c):
                self.w.made.copy(final, self.pointers[c.seq], c)

    def _begin(self) -> None:
        """First carries that are results, or that are kept."""
        w = self.w
        for j, (start, c) in enumerate(zip(self.starts, self.carries, strict=True)):
            kept, final = self.kept.get(j), self.finals[j]
            if kept is not None and self.steps:
                first = (self.steps - 1) * c.aval.nbytes if self.reverse else 0
                w.copy(w.b.offset(kept, first), start, c.aval.nbytes)
            if final is not None and not self.steps:
                w.copy(final, start, c.aval.nbytes)

    def _target(self, j: int, t: Value, at: Value, spare: Sequence[Value]) -> Value:
        """Where a step's carry goes: to the next place of its stack, else to the other buffer; the last one out."""
        b, kept, last = self.w.b, self.kept.get(j), self.finals[j]
        if kept is None:
            out = b.select((t & 1) == 0, *spare)
        else:
            out = b.offset(kept, (at + (-1 if self.reverse else 1)) * self.carries[j].aval.nbytes)
            last = spare[0] if last is None else last
        return out if last is None else b.select(t == self.steps - 1, last, out)


def scan(w: Writer) -> None:
    """A loop of known length."""
    Scan(w).write()

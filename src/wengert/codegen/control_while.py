"""Loops of unknown length as kernels, with a *tape*: what later passes read of each step.

The tape has an entry a step, with the states before the step and the other results of the step that later passes read,
of each pass. A state on the tape is computed where it belongs: a step reads one entry and writes the next. The tape
grows while the first pass runs, and is given back at the end. It has one entry more at either end, where the last
states of a pass lie, in whichever direction it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph.graph import Graph
from ..graph.node import ITEM, Node
from ..ops.control_chain import Chain
from ..ops.control_graphs import used
from ..schedule.memory import ALIGN
from .control import TRIPS, Body, Writer, once
from .lookups import status
from .loop import I1, I64, Value
from .status import CODE

FIRST = 64  # entries to begin with, at least
BEGUN = 1 << 18  # bytes to begin with: what is not touched costs nothing, while growing copies
CELL = 64  # bytes that say where a tape is


class Pass:
    """One pass of a chain: its scheduled body, and where its states and ys lie on the tape (or not)."""

    def __init__(self, chain: Chain, p: int, body: Body, places: Sequence[int | None]) -> None:
        self.body, self.count, self.backward = body, chain.sizes[p], chain.reverse[p]
        graph = body.graph
        self.states: Sequence[Node] = graph.inputs[len(graph.inputs) - self.count :]
        self.outputs = graph.outputs
        self.places = places


def tape_places(chain: Chain) -> tuple[list[list[int | None]], int]:
    """For each pass where its states and ys lie in an entry of the tape, and the size of an entry."""
    at = 0
    out: list[list[int | None]] = []
    for p, block in enumerate(chain.blocks()):
        own: list[int | None] = []
        for aval, wanted in zip(block, _read_later(chain, p), strict=True):
            own.append(at if wanted else None)
            at += -(-aval.nbytes // ALIGN) * ALIGN if wanted else 0
        out.append(own)
    return out, at


def _read_later(chain: Chain, p: int) -> list[bool]:
    """Which states and ys of a pass later passes read."""
    m = chain.sizes[p] + chain.ys(p)
    at = chain.consts + sum(s + chain.ys(q) for q, s in enumerate(chain.sizes[:p]))
    masks = [used(body)[at : at + m] for body in chain.bodies[p + 1 :]]
    return [any(column) for column in zip(*masks, strict=True)] if masks else [False] * m


def continued(graph: Graph) -> dict[int, Node]:
    """For a loop of one pass (by seq) the chain that begins with it, and whose first results nobody reads."""
    found = [n for n in graph.nodes if n.op is not None and n.op.name == "while_loop"]
    read: dict[int, int] = {}  # by chain, the first result that somebody reads
    for n in graph.nodes:
        if n.op is ITEM:
            read[n.inputs[0].seq] = min(n.attrs["index"], read.get(n.inputs[0].seq, n.attrs["index"]))
    out: dict[int, Node] = {}
    for n in found:
        for m in found:
            one, more = Chain.of(n.attrs), Chain.of(m.attrs)
            longer = len(one.bodies) == 1 < len(more.bodies) and n.seq < m.seq
            if longer and (one.cond, one.bodies[0], one.consts) == (more.cond, more.bodies[0], more.consts):
                same = all(x is y for x, y in zip(n.inputs, m.inputs, strict=False))
                if same and read.get(m.seq, 0) >= one.sizes[0] and m not in out.values():
                    out.setdefault(n.seq, m)
    return out


class Tape:
    """Memory that grows, or none. A cell in the frame says where it lies, since threads share it."""

    def __init__(self, w: Writer, entry: int, cell: Value | None, there: bool) -> None:
        """``cell``: shared with another loop, which has filled the tape already if ``there``."""
        self.w, self.entry = w, entry
        b = w.b
        memory = w.buffer(CELL) if cell is None else cell
        # The memory as it was given, and aligned; the number of steps.
        self.words, self.pointers = b.retype(memory, "i64"), b.retype(memory, "ptr")
        self.room = b.var(0, I64)
        if entry and not there:
            first = max(FIRST, BEGUN // entry)
            with w.leading():
                self._take(b.const(first * entry, I64))
            self.room.set(first)

    def _take(self, size: Value) -> None:
        """Memory, by one thread. Addresses are integers here, so that they can be rounded."""
        b = self.w.b
        raw = b.call_external("malloc", I64, size + ALIGN)
        with b.when(raw == 0):
            b.call_external("abort", None)
        b.store(self.words, 0, raw)
        b.store(self.words, 1, (raw + (ALIGN - 1)) & -ALIGN)

    def grow(self, wanted: Value) -> None:
        """Have room for so many entries: all threads call it, none uses the tape meanwhile."""
        if not self.entry:
            return
        w, b = self.w, self.w.b
        with b.when(wanted > self.room.get()):
            size = self.room.get() * self.entry
            with w.leading():
                raw, old = b.load(self.words, 0), b.load(self.words, 1)
                self._take(size * 2)
                b.call_external("memcpy", I64, b.load(self.words, 1), old, size)
                b.call_external("free", None, raw)
            self.room.set(self.room.get() * 2)
            w.barrier()

    def at(self, step: Value) -> Value:
        """The entry of a step; from -1 on."""
        b = self.w.b
        return b.offset(b.retype(b.load(self.pointers, 1), "u8"), (step + 1) * self.entry)

    def leave(self, count: Value) -> None:
        """Leave it to another loop."""
        with self.w.leading():
            self.w.b.store(self.words, 2, count)

    def count(self) -> Value:
        """How many steps the loop took that left it."""
        return self.w.b.load(self.words, 2)

    def free(self) -> None:
        """Give it back."""
        if self.entry:
            with self.w.leading():
                self.w.b.call_external("free", None, self.w.b.load(self.words, 0))


class Loop:
    """Writes a chain of passes."""

    def __init__(self, w: Writer) -> None:
        self.w, self.n = w, w.n
        self.chain = chain = Chain.of(w.n.attrs)
        k = chain.consts
        graphs = [chain.cond, *chain.bodies]
        counts = [chain.sizes[0], *chain.sizes]
        states = [slice(len(g.inputs) - n, None) for g, n in zip(graphs, counts, strict=True)]
        cond, *blocks = w.blocks_of(graphs, states, k)
        w.trips, w.endless = TRIPS, True
        self.cond = w.body(cond, cond.graph.inputs, cond.graph.inputs[:k])
        share = w.parent.tapes.get(w.n.seq)
        self.cell = None if share is None else w.temp("tape", share.cell)
        self.goes_on = share is not None and share.chain is w.n
        self.is_continued = share is not None and share.chain is not w.n
        places, self.entry = tape_places(chain if share is None else Chain.of(share.chain.attrs))
        self.passes: list[Pass] = []
        for p, block in enumerate(blocks):
            graph = block.graph
            body = w.body(block, [*graph.inputs, *graph.outputs], graph.inputs[:k])
            self.passes.append(Pass(chain, p, body, places[p]))
        self.consts = [w.operand(x) for x in self.n.inputs[:k]]
        self.starts = chain.states([w.operand(x) for x in self.n.inputs[k:]])
        self.finals = chain.states([w.result(j) for j in range(sum(chain.sizes))])

    def write(self) -> None:
        """The whole loop."""
        w = self.w
        with once(w):
            w.barrier()
            self.tape = Tape(w, self.entry, self.cell, self.goes_on)
            w.barrier()
            bodies = [self.cond, *[p.body for p in self.passes]]
            for body in bodies[2:] if self.goes_on else bodies:
                w.run(body, body.before, self._constants(body))
            self.stopped = w.b.var(False, I1)
            count = self.tape.count() if self.goes_on else self._first()
            for p, one in enumerate(self.passes[1:], 1):
                self._pass(p, one, count)
            w.barrier()
            if self.is_continued:
                self.tape.leave(count)
                with w.b.when(self.stopped.get()):  # who would go on will not run
                    self.tape.free()
            else:
                self.tape.free()

    def _first(self) -> Value:
        """The first pass, which says how many steps there are."""
        w, b = self.w, self.w.b
        count = b.var(0, I64)
        states, other = self._begin(0, b.const(0, I64))

        def going() -> Value:
            w.barrier()
            self.tape.grow(count.get() + 3)
            given = dict(self._constants(self.cond))
            own = self.cond.graph.inputs[self.chain.consts :]
            given |= {s.seq: p for s, p in zip(own, self._states(0, states, count.get()), strict=True)}
            w.run(self.cond, self.cond.uses, given)
            result = self.cond.graph.outputs[0].seq
            held = self.cond.arrays.get(result)
            flag = b.offset(w.frame, self.cond.offsets[result]) if held is None else held
            self._stop_at_bad_index(flag)
            w.barrier()
            with b.when((count.get() & (w.often - 1)) == w.often - 1):
                self.stopped.set(w.poll())
            return w.flag(flag) & ~self.stopped.get()

        def step() -> None:
            self._step(0, states, other, count.get())
            count.set(count.get() + 1)

        b.repeat(going, step)
        self._end(0, states, count.get())
        return count.get()

    def _stop_at_bad_index(self, flag: Value) -> None:
        """On made up values a loop might run forever."""
        w, b = self.w, self.w.b
        if w.looks:
            w.barrier()
            with b.unless(b.load(status(b), CODE) == 0):
                b.store(b.retype(flag, "i1"), 0, b.const(False, I1))

    def _pass(self, p: int, one: Pass, count: Value) -> None:
        b, w = self.w.b, self.w
        w.barrier()
        states, other = self._begin(p, count - 1 if one.backward else b.const(0, I64))

        def step(t: Value) -> None:
            w.barrier()
            self._step(p, states, other, count - 1 - t if one.backward else t)

        with b.when(~self.stopped.get()):
            w.repeat(count, step, self.stopped)
        w.barrier()
        self._end(p, states, b.const(-1, I64) if one.backward else count)

    # -- parts -----------------------------------------------------------------------------

    def _constants(self, body: Body) -> dict[int, Value]:
        return {x.seq: p for x, p in zip(body.graph.inputs, self.consts, strict=False)}

    def _begin(self, p: int, first: Value) -> tuple[list[Any], list[Any]]:
        """The first states in their places: arrays, or variables that point at those off the tape; spare room."""
        w, b, one = self.w, self.w.b, self.passes[p]
        entry = self.tape.at(first) if self.entry else w.frame
        states: list[Any] = []
        other: list[Any] = []
        for s, start, place in zip(one.states, self.starts[p], one.places, strict=False):
            if place is not None:
                w.copy(b.offset(entry, place), start, s.aval.nbytes)
            if w.held:
                states.append(w.array(s))
                w.made.copy(states[-1], start, s)
                other.append(None)
            elif place is not None:
                states.append(None)
                other.append(None)
            else:
                spare = [w.buffer(s.aval.nbytes) for _ in range(2)]
                states.append(b.var(start))
                other.append(spare)
        if w.held:
            other = [w.array(o) for o in one.outputs]
        return states, other

    def _states(self, p: int, states: Sequence[Any], step: Value) -> list[Value]:
        """Where the states before a step lie."""
        if self.w.held:
            return list(states)
        one, b = self.passes[p], self.w.b
        entry = self.tape.at(step) if self.entry else self.w.frame
        return [
            b.offset(entry, place) if v is None else v.get()
            for v, place in zip(states, one.places, strict=False)
        ]  # fmt: skip

    def _step(self, p: int, states: Sequence[Any], other: Sequence[Any], step: Value) -> None:
        w, b, one = self.w, self.w.b, self.passes[p]
        following = step + (-1 if one.backward else 1)
        entry, after = (self.tape.at(x) if self.entry else w.frame for x in (step, following))
        given = self._constants(one.body)
        behind = iter(one.body.graph.inputs[self.chain.consts :])
        for earlier in self.passes[:p]:
            for place in earlier.places:
                x = next(behind)
                if place is not None:
                    given[x.seq] = b.offset(entry, place)
        for s, where in zip(one.states, self._states(p, states, step), strict=True):
            given[s.seq] = where
        places = [
            None if place is None else b.offset(after if j < one.count else entry, place)
            for j, place in enumerate(one.places)
        ]  # fmt: skip
        if w.held:
            self._held(one, given, states, other, places)
        else:
            self._moving(one, given, states, other, places, step)

    def _held(
        self, one: Pass, given: dict[int, Value], states: Sequence[Any], other: Sequence[Any],
        places: Sequence[Value | None],
    ) -> None:  # fmt: skip
        """A step with states and results in arrays (``other``); what belongs on the tape is copied there."""
        w = self.w
        given |= {o.seq: out for o, out in zip(one.outputs, other, strict=True)}
        w.run(one.body, one.body.uses, given)
        for o, out, place in zip(one.outputs, other, places, strict=True):
            if place is not None:
                w.made.copy(place, out, o)
        w.made.move(list(zip(states, other, strict=False)))

    def _moving(
        self, one: Pass, given: dict[int, Value], states: Sequence[Any], other: Sequence[Any],
        places: Sequence[Value | None], step: Value,
    ) -> None:  # fmt: skip
        """A step whose states and results are computed where they belong."""
        w, b = self.w, self.w.b
        for j, (o, place) in enumerate(zip(one.outputs, places, strict=True)):
            if place is not None:
                given[o.seq] = place
            elif j < one.count:
                given[o.seq] = b.select((step & 1) == 0, *other[j])
            else:
                given[o.seq] = w.buffer(o.aval.nbytes)
        w.run(one.body, one.body.uses, given)
        for v, o in zip(states, one.outputs, strict=False):
            if v is not None:
                v.set(given[o.seq])

    def _end(self, p: int, states: Sequence[Any], step: Value) -> None:
        """Copy the last states, those before step ``step``, to the results."""
        for s, where, final in zip(self.passes[p].states, self._states(p, states, step), self.finals[p], strict=True):
            if final is not None and self.w.held:
                self.w.made.copy(final, where, s)
            elif final is not None:
                self.w.copy(final, where, s.aval.nbytes)


def while_loop(w: Writer) -> None:
    """A loop of unknown length, or a chain of passes over its steps."""
    Loop(w).write()

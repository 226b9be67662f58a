"""Control flow as kernels: a loop, or a choice, is one function that calls the kernels of its bodies.

Nothing is dispatched: an iteration is a row of calls on pointers that move on. Carries change places between two
buffers, or lie where they are wanted afterwards: in the stack of a scan, on the tape of a ``while``. What a body
computes from constants alone (packing a matrix, say) is computed before the loop.

A body that is small enough is not called but written out, with its values in registers (`held`).

Where an iteration is worth it, all threads run the function together (a `collective` kernel), share out the tiles of
each kernel in it, and wait for each other where one reads what another wrote. Otherwise one thread runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..graph.graph import Graph
from ..graph.node import Node
from ..ops.base import OPS
from ..optimize.checks import Wanted
from ..schedule.kinds import KIND
from ..schedule.memory import ALIGN
from ..schedule.roots import View
from .held import WIDEST, Arrays, Held, fits, in_line, padded_size
from .kernel import Kernel, Recipe, Step
from .lookups import status
from .loop import I1, I32, I64, Builder, Type, Value, Var, pointer
from .nest_parts import named
from .plan import Launch, Place, needs_barrier
from .status import BASE
from .whole import Lowered

if TYPE_CHECKING:
    from .block import Block, Use

NAMES = frozenset({"scan", "while_loop", "cond", "switch", "each"})
SHARED = 200_000  # additions and bytes moved in an iteration, from which on threads share it
TRIPS = 64  # that a loop of unknown length is taken to have
CHUNK = 32  # bytes copied at once
POLLED = 1 << 20  # additions and bytes moved, after which a loop asks whether it is interrupted


class Unfit(Exception):
    """NumPy has to compute something in a body."""


def lower(n: Node, items: Sequence[Node], parent: Block) -> Lowered | None:
    """The kernel of a node that holds graphs, whose results are ``items``; None if NumPy is needed for it."""
    from .control_choice import choice
    from .control_each import each
    from .control_scan import scan
    from .control_while import while_loop

    made: dict[str, Callable[[Writer], None]] = {
        "scan": scan, "while_loop": while_loop, "cond": choice, "switch": choice, "each": each
    }  # fmt: skip
    try:
        w = Writer(n, items, parent)
        made[n.op.name](w)
    except Unfit:
        return None
    return w.finish()


def prepared(graph: Graph) -> Graph:
    """The graph with results that are values of their own: no inputs, no constants, none twice. Shapes may differ."""
    outputs: list[Node] = []
    seen: set[int] = set()
    for o in graph.outputs:
        while o.op is not None and o.op.name == "reshape":  # the same memory
            o = o.inputs[0]
        if o.op is None or o.seq in seen:
            o = Node(OPS["cast"], (o,), {"dtype": o.aval.dtype}, None, o.aval, False, o.code, o.lasti, o.scope)
        seen.add(o.seq)
        outputs.append(o)
    return Graph(graph.inputs, tuple(outputs), graph.name)


class Body(NamedTuple):
    """A body's steps: what is computed once, and each time. Its buffers are at offsets in the frame, or arrays."""

    graph: Graph
    before: list[Use]
    uses: list[Use]
    offsets: dict[int, int]
    arrays: dict[int, Value]


class Writer:
    """Writes the kernel of one node; memory between steps is a *frame*, a buffer of the parent's.

    A kernel of several ``tiles`` is no loop: threads share the tiles, and each has a frame in its scratch memory.
    """

    def __init__(self, n: Node, items: Sequence[Node], parent: Block) -> None:
        self.n, self.parent = n, parent
        self.items = {i.attrs["index"]: i for i in items}
        self.blocks: dict[int, Block] = {}
        self.operands: dict[str, Any] = {}
        self.params: dict[tuple[int, int], Value] = {}
        self.size = 0  # of the frame
        self.trips = self.tiles = 1
        self.endless = False
        self.collective = False
        self.held = False  # whether bodies are written out, with values in registers
        self.copies: dict[Value, Value] = {}  # memory beside arrays
        self.polls = False
        self.work = 0  # of an iteration: additions and bytes moved
        self.scratch = 0
        self.lookups: list[Wanted] = []
        self.first: Value | None = None

    # -- beginning and end -----------------------------------------------------------------

    def blocks_of(
        self, graphs: Sequence[Graph], states: Sequence[slice] = (), consts: int = 0, largest: int = WIDEST
    ) -> list[Block]:
        """The graphs, scheduled; with them it is decided who runs the kernel, and how.

        ``states``: which inputs of each graph are states of a loop; the first ``consts`` never change. ``largest``: the
        elements of a value in bodies that are held.
        """
        from .block import Block

        ready, target = [prepared(g) for g in graphs], self.parent.target
        shared = self.parent.shared and self.tiles == 1
        self.held = bool(states) and all(fits(g, largest) for g in ready)
        if self.held:
            target = target.narrowed()
            held = [Held.of(g.inputs[s], g.inputs[:consts]) for g, s in zip(ready, states, strict=True)]
            out = [Block(g, {}, target, shared, own, repeated=True) for g, own in zip(ready, held, strict=True)]
        else:
            out = [Block(g, {}, target, shared, repeated=True) for g in ready]
        if not all(x.native for x in out):
            raise Unfit
        self.collective = shared and any(x.work >= SHARED for x in out)
        self.uses = [u for x in out for u in x.uses]
        self.looks = any(u.lookups for u in self.uses)
        more = {"barrier": pointer("u8")} if self.collective else {}
        self.b = Builder("control", scratch=pointer("u8"), lo=I64, hi=I64, **more)
        self.made = Arrays(self.b, target.vector_bytes)
        self.widest = target.vector_bytes * 8 if self.held and target.unit_bytes else 512
        self.frame = Value(self.b, "param", (), pointer("u8"), "frame")
        self.scratch = max((u.kernel.scratch for u in self.uses), default=0)
        if self.tiles > 1:
            self.scratch = -(-self.scratch // ALIGN) * ALIGN
            self.frame = self.b.offset(self.b.scratch, self.scratch)
        if self.looks:
            self.first = self.b.load(status(self.b), BASE)
        self.endless = any(u.kernel.endless for u in self.uses)
        self.polls = any(u.kernel.polls for u in self.uses)
        return out

    def body(self, block: Block, external: Sequence[Node], invariant: Sequence[Node]) -> Body:
        """Place a scheduled graph's buffers; ``external`` nodes get pointers, ``invariant`` ones never change."""
        given = {x.seq for x in external}
        before, uses, lasting = _split(block, given, {x.seq for x in invariant})
        self.work = max(self.work, sum(u.kernel.flops + u.kernel.bytes for u in uses))
        if self.held:
            kinds = {k: _kind_and_count(x) for k, x in block.made(given).items()}
            apart = [k for k, (_, n) in kinds.items() if k in lasting or n > WIDEST]  # in order: names tell content
            offsets = {k: self.reserve(_padded_bytes(*kinds[k])) for k in apart}
            arrays = {k: self.made.make(*kinds[k]) for k in kinds if k not in apart}
            return Body(block.graph, before, uses, offsets, arrays)
        found = block.lay_out(given, lasting)
        base = self.reserve(found.size)
        return Body(block.graph, before, uses, {k: base + at for k, at in found.offsets.items()}, {})

    def array(self, n: Node) -> Value:
        """An array for a value."""
        return self.made.make(*_kind_and_count(n))

    def finish(self) -> Lowered:
        """The kernel on its operands."""
        own = self.b.finish()
        given = [*self.params.values(), *([self.frame] if self.tiles == 1 else [])]
        params = [(v.attr, v.type) for v in given]
        function = own._replace(
            params=(*params, *own.params), arguments=(*given, *own.arguments), widest=self.widest
        )  # fmt: skip
        flops = self.trips * sum(u.kernel.flops for u in self.uses)
        moved = self.trips * sum(u.kernel.bytes for u in self.uses)
        scratch = self.scratch + (self.size if self.tiles > 1 else 0)
        kernel = Kernel(named(function), self.tiles, scratch, flops, moved, self.collective, self.endless, self.polls)
        if self.tiles > 1:
            return Lowered(Recipe((Step(kernel, tuple(self.operands)),), {}), self.operands, tuple(self.lookups))
        step = Step(kernel, (*self.operands, "frame"))
        recipe = Recipe((step,), {"frame": ("u8", max(self.size, 1))})
        return Lowered(recipe, self.operands, tuple(self.lookups))

    # -- memory ----------------------------------------------------------------------------

    def reserve(self, size: int) -> int:
        """The offset of so many bytes of the frame."""
        at = self.size
        self.size += -(-size // ALIGN) * ALIGN
        return at

    def buffer(self, size: int) -> Value:
        """So many bytes of the frame."""
        return self.b.offset(self.frame, self.reserve(size))

    def operand(self, x: Node) -> Value:
        """Where an operand of the node, a result or a constant lies."""
        view = self.parent.roots.view(x) if x in self.n.inputs else View(x, 0, ())
        assert view is not None
        key = (view.root.seq, view.offset)
        if key not in self.params:
            name = f"p{len(self.params)}"
            self.params[key] = Value(self.b, "param", (), pointer("u8"), name)
            self.operands[name] = view
        return self.params[key]

    def temp(self, name: str, temp: Any) -> Value:
        """Memory that is shared with another kernel."""
        p = self.params[id(temp), 0] = Value(self.b, "param", (), pointer("u8"), name)
        self.operands[name] = temp
        return p

    def result(self, index: int) -> Value | None:
        """Where a result goes; None if nobody wants it."""
        item = self.items.get(index)
        return None if item is None else self.operand(item)

    def copy(self, target: Value, source: Value, size: int) -> None:
        """Copy bytes, by one thread."""
        b = self.b
        with self.leading():
            whole = size // CHUNK * CHUNK
            with b.loop(0, whole, CHUNK, unroll=1) as i:
                b.store(target, i, b.load(source, i, CHUNK))
            if size % CHUNK:
                with b.loop(whole, size, unroll=1) as i:
                    b.store(target, i, b.load(source, i))

    # -- together ---------------------------------------------------------------------------

    @contextmanager
    def leading(self) -> Any:
        """What one thread does."""
        if not self.collective:
            yield
            return
        with self.b.when(self.b.lo == 0):
            yield

    def barrier(self) -> None:
        """All threads wait for each other."""
        if self.collective:
            with self.b.when(self.b.hi > 1):
                self.b.call_external("wengert_barrier", None, self.b.barrier, self.b.cast(self.b.hi, "i32"))

    # -- interrupts ------------------------------------------------------------------------

    def stop(self) -> Value:
        """Where it stands whether the program is interrupted."""
        from .block import STOP

        known = self.params.get((id(STOP), 0))
        return self.temp("stop", STOP) if known is None else known

    @property
    def often(self) -> int:
        """Iterations between two questions whether an interrupt has come, once bodies are placed."""
        return _power_of_two(POLLED // (1 + self.work))

    def poll(self) -> Value:
        """Whether an interrupt has come, the same for all threads, which all ask: one i1."""
        b = self.b
        self.polls = True
        if not self.collective:
            return b.call_external("wengert_poll", I32, self.stop()) != 0
        cell = b.retype(self.buffer(ALIGN), "i32")
        with self.leading():
            b.store(cell, 0, b.call_external("wengert_poll", I32, self.stop()))
        self.barrier()
        found = b.load(cell) != 0
        self.barrier()
        return found

    def repeat(self, count: int | Value, body: Callable[[Value], None], stopped: Var | None = None) -> None:
        """``body(t)`` so many times, unless an interrupt comes; ``stopped`` tells whether it has."""
        b, each = self.b, self.often
        if isinstance(count, int) and count <= each and not self.polls:
            with b.loop(0, count, unroll=1) as t:
                body(t)
            return
        start = b.var(0, I64)
        stopped = b.var(False, I1) if stopped is None else stopped

        def some() -> None:
            first = start.get()
            end = b.binary("min", first + each, count)
            with b.loop(first, end, unroll=1) as t:
                body(t)
            stopped.set(self.poll())
            start.set(end)

        b.repeat(lambda: (start.get() < count) & ~stopped.get(), some)

    # -- running ---------------------------------------------------------------------------

    def run(self, body: Body, uses: Sequence[Use], pointers: dict[int, Value]) -> None:
        """Call kernels; ``pointers``: where external nodes lie, by seq."""
        waits = needs_barrier([self._launch(u, body) for u in uses]) if self.collective else [False] * len(uses)
        for use, wait in zip(uses, waits, strict=True):
            if wait:
                self.barrier()
            args = [self._argument(v, body, pointers) for v in use.views]
            if self.first is not None and use.lookups:
                self.b.store(status(self.b), BASE, self.first + len(self.lookups))
                self.lookups += use.lookups
            if self.held and uses is body.uses:
                self._call_held(use, args)
            else:
                self._call(use.kernel, args)

    def _launch(self, use: Use, body: Body) -> Launch:
        from .block import Temp, key_of

        places: list[Place] = []
        for v in use.views:
            key = key_of(v)
            size = v.nbytes if isinstance(v, Temp) else v.root.aval.nbytes
            inner = body.offsets.get(key)
            places.append(Place(-1, inner, size) if inner is not None else Place(key, 0, size))
        return Launch(use.kernel, tuple(places), tuple(use.writes))

    def _argument(self, v: Any, body: Body, pointers: dict[int, Value]) -> Value:
        from .block import STOP, Temp, key_of

        key = key_of(v)
        if v is STOP:
            self.polls = True
            return self.stop()
        if key in body.arrays:
            p = body.arrays[key]
        elif key in body.offsets:
            p = self.b.offset(self.frame, body.offsets[key])
        else:
            p = pointers[key] if key in pointers else self.operand(v.root)
        return p if isinstance(v, Temp) else self.b.offset(p, v.offset * v.root.aval.dtype.itemsize)

    def _call_held(self, use: Use, args: Sequence[Value]) -> None:
        """Call a kernel, in line or, if it is long or writes large values, on copies of the arrays."""
        large = any(w and _kind_and_count(_buffer(v))[1] > WIDEST for v, w in zip(use.views, use.writes, strict=True))
        straight = None if large else in_line(use.kernel, self.widest)
        if straight is not None:
            given = [self.b.retype(a, t.element) for a, (_, t) in zip(args, straight.params, strict=False)]
            self.b.call(straight, *given, self.b.scratch, 0, use.kernel.tiles, inline=True)
            return
        copied: dict[Value, tuple[Value, str, int]] = {}
        for a, v in zip(args, use.views, strict=True):
            if a.op == "array" and a not in copied:
                kind, count = _kind_and_count(_buffer(v))
                copied[a] = (self.copies.setdefault(a, self.buffer(_padded_bytes(kind, count))), kind, count)
                self.made.whole(copied[a][0], a, kind, count)
        self._call(use.kernel, [copied[a][0] if a in copied else a for a in args])
        for a, w in zip(args, use.writes, strict=True):
            if w and a in copied:
                memory, kind, count = copied[a]
                self.made.whole(a, memory, kind, count)

    def _call(self, kernel: Kernel, args: Sequence[Value]) -> None:
        b, f = self.b, kernel.function
        given = [b.retype(a, t.element) for a, (_, t) in zip(args, f.params, strict=False)]
        if not self.collective:
            b.call(f, *given, b.scratch, 0, kernel.tiles)
        elif kernel.collective:
            b.call(f, *given, b.scratch, b.lo, b.hi, b.barrier)
        elif kernel.tiles == 1:
            with self.leading():
                b.call(f, *given, b.scratch, 0, 1)
        else:
            lo, hi = (x * kernel.tiles // b.hi for x in (b.lo, b.lo + 1))
            with b.when(lo < hi):
                b.call(f, *given, b.scratch, lo, hi)

    def flag(self, p: Value) -> Value:
        """A bool in memory."""
        return self.b.load(self.b.retype(p, "i1"))


def _buffer(v: Any) -> Any:
    """The temp, or the node, whose buffer an operand is."""
    from .block import Temp

    return v if isinstance(v, Temp) else v.root


def _padded_bytes(kind: str, size: int) -> int:
    return Type(kind).nbytes * padded_size(size)


def _power_of_two(n: int) -> int:
    """The largest that is at most ``n``, and at least 1."""
    return 1 << max(n.bit_length() - 1, 0)


def _kind_and_count(x: Any) -> tuple[str, int]:
    """What a buffer holds."""
    from .block import Temp

    return (x.kind, x.count) if isinstance(x, Temp) else (KIND[x.aval.dtype], x.aval.size)


def _split(block: Block, external: set[int], invariant: set[int]) -> tuple[list[Use], list[Use], set[int]]:
    """The launches that read what never changes alone and come first, the others, and the buffers the former write."""
    from .block import Temp, is_made, key_of

    before: list[Use] = []
    uses: list[Use] = []
    lasting: set[int] = set()
    written_twice = _written_twice(block)

    def known(v: Any) -> bool:
        """Whether an operand is a constant."""
        return not isinstance(v, Temp) and not is_made(v.root) and v.root.seq not in external

    for use in block.uses:
        pairs = list(zip(use.views, use.writes, strict=True))
        # What may meet a bad index is not computed before it is known that it is needed.
        fixed = not use.lookups and all(writes or key_of(v) in invariant | lasting or known(v) for v, writes in pairs)
        targets = {key_of(v) for v, writes in pairs if writes}
        if fixed and not targets & (external | written_twice):
            before.append(use)
            lasting |= targets
        else:
            uses.append(use)
    return *_each_once(before, uses), lasting


def _each_once(before: Sequence[Use], uses: Sequence[Use]) -> tuple[list[Use], list[Use]]:
    """The same, without launches that make what another one has made: a matrix is packed once for all its products."""
    from .block import Temp

    made: dict[Any, list[Any]] = {}
    same: dict[Any, Any] = {}
    once: list[Use] = []
    for use in before:
        use = use._replace(views=[same.get(v, v) for v in use.views])
        targets = [v for v, writes in zip(use.views, use.writes, strict=True) if writes]
        reads = [v for v, writes in zip(use.views, use.writes, strict=True) if not writes]
        first = made.setdefault((use.kernel.function.name, *reads), targets)
        if first is targets or not all(isinstance(t, Temp) for t in targets):
            once.append(use)
        else:
            same.update(zip(targets, first, strict=True))
    return once, [use._replace(views=[same.get(v, v) for v in use.views]) for use in uses]


def _written_twice(block: Block) -> set[int]:
    from .block import key_of

    seen: set[int] = set()
    twice: set[int] = set()
    for use in block.uses:
        for key in {key_of(v) for v, writes in zip(use.views, use.writes, strict=True) if writes}:
            (twice if key in seen else seen).add(key)
    return twice


@contextmanager
def once(w: Writer) -> Any:
    """The whole of a kernel: run by all threads together, or if its only tile is asked for."""
    if w.collective:
        yield
        return
    with w.b.when(w.b.lo < w.b.hi):
        yield

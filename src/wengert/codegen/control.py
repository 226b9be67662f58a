"""Control flow as kernels: a loop, or a choice, is one function that calls the kernels of its bodies.

Nothing is dispatched: an iteration is a row of calls on pointers that move on. Carries change places between two
buffers, or lie where they are wanted afterwards: in the stack of a scan, on the tape of a ``while``. What a body
computes from constants alone (packing a matrix, say) is computed before the loop.

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
from ..ops.control_scan import Layout as ScanLayout
from ..schedule.kinds import KIND
from ..schedule.memory import ALIGN
from ..schedule.roots import View
from .kernel import Kernel, Recipe, Step
from .loop import I64, Builder, Value, pointer
from .nest import named
from .plan import Launch, Place, needs_barrier
from .whole import Lowered

if TYPE_CHECKING:
    from .block import Block, Use

NAMES = frozenset({"scan", "while_loop", "cond", "switch", "each"})
SHARED = 200_000  # additions and bytes moved in an iteration, from which on threads share it
TRIPS = 64  # that a loop of unknown length is taken to have
CHUNK = 32  # bytes copied at once


class Unfit(Exception):
    """NumPy has to compute something in a body."""


def lower(n: Node, items: Sequence[Node], parent: Block) -> Lowered | None:
    """The kernel of a node that holds graphs, whose results are ``items``; None if NumPy is needed for it."""
    from .control_each import each
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
    """A body's steps: what is computed once, and each time; ``offsets``: of its buffers in the frame."""

    graph: Graph
    before: list[Use]
    uses: list[Use]
    offsets: dict[int, int]


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
        self.scratch = 0

    # -- beginning and end -----------------------------------------------------------------

    def blocks_of(self, graphs: Sequence[Graph]) -> list[Block]:
        """The graphs, scheduled; with them it is decided who runs the kernel."""
        from .block import Block

        shared = self.parent.shared and self.tiles == 1
        out = [Block(prepared(g), {}, self.parent.target, shared) for g in graphs]
        if not all(x.native for x in out):
            raise Unfit
        self.collective = shared and any(x.work >= SHARED for x in out)
        self.uses = [u for x in out for u in x.uses]
        more = {"barrier": pointer("u8")} if self.collective else {}
        self.b = Builder("control", scratch=pointer("u8"), lo=I64, hi=I64, **more)
        self.frame = Value(self.b, "param", (), pointer("u8"), "frame")
        self.scratch = max((u.kernel.scratch for u in self.uses), default=0)
        if self.tiles > 1:
            self.scratch = -(-self.scratch // ALIGN) * ALIGN
            self.frame = self.b.offset(self.b.scratch, self.scratch)
        self.endless = any(u.kernel.endless for u in self.uses)
        return out

    def body(self, block: Block, external: Sequence[Node], invariant: Sequence[Node]) -> Body:
        """Place a scheduled graph's buffers; ``external`` nodes get pointers, ``invariant`` ones never change."""
        given = {x.seq for x in external}
        before, uses, lasting = _split(block, given, {x.seq for x in invariant})
        found = block.lay_out(given, lasting)
        base = self.reserve(found.size)
        return Body(block.graph, before, uses, {k: base + at for k, at in found.offsets.items()})

    def finish(self) -> Lowered:
        """The kernel on its operands."""
        own = self.b.finish()
        given = [*self.params.values(), *([self.frame] if self.tiles == 1 else [])]
        params = [(v.attr, v.type) for v in given]
        function = own._replace(params=(*params, *own.params), arguments=(*given, *own.arguments))
        flops = self.trips * sum(u.kernel.flops for u in self.uses)
        moved = self.trips * sum(u.kernel.bytes for u in self.uses)
        scratch = self.scratch + (self.size if self.tiles > 1 else 0)
        kernel = Kernel(named(function), self.tiles, scratch, flops, moved, self.collective, self.endless)
        if self.tiles > 1:
            return Lowered(Recipe((Step(kernel, tuple(self.operands)),), {}), self.operands)
        step = Step(kernel, (*self.operands, "frame"))
        return Lowered(Recipe((step,), {"frame": ("u8", max(self.size, 1))}), self.operands)

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

    # -- running ---------------------------------------------------------------------------

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

    def run(self, body: Body, uses: Sequence[Use], pointers: dict[int, Value]) -> None:
        """Call kernels; ``pointers``: where external nodes lie, by seq."""
        waits = needs_barrier([self._launch(u, body) for u in uses]) if self.collective else [False] * len(uses)
        for use, wait in zip(uses, waits, strict=True):
            if wait:
                self.barrier()
            args = [self._argument(v, body, pointers) for v in use.views]
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
        from .block import Temp, key_of

        key = key_of(v)
        if key in body.offsets:
            p = self.b.offset(self.frame, body.offsets[key])
        else:
            p = pointers[key] if key in pointers else self.operand(v.root)
        return p if isinstance(v, Temp) else self.b.offset(p, v.offset * v.root.aval.dtype.itemsize)

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
        fixed = all(writes or key_of(v) in invariant | lasting or known(v) for v, writes in pairs)
        targets = {key_of(v) for v, writes in pairs if writes}
        if fixed and not targets & (external | written_twice):
            before.append(use)
            lasting |= targets
        else:
            uses.append(use)
    return before, uses, lasting


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


# -- scan ----------------------------------------------------------------------------------------------


class Scan:
    """Writes a loop of known length over slices."""

    def __init__(self, w: Writer) -> None:
        self.w, attrs = w, w.n.attrs
        self.lay = lay = ScanLayout.of(attrs)
        self.steps, self.reverse, keep = attrs["length"], attrs["reverse"], attrs["keep"]
        (block,) = w.blocks_of([lay.body])
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
        with once(w):
            self._begin()
            if not self.steps:
                return
            w.run(self.body, self.body.before, self.pointers)
            spare = [[w.buffer(c.aval.nbytes) for _ in range(2)] for c in self.carries]
            states = [b.var(start) for start in self.starts]
            with b.loop(0, self.steps, unroll=1) as t:
                w.barrier()
                at = (self.steps - 1) - t if self.reverse else t
                for c, state in zip(self.carries, states, strict=True):
                    self.pointers[c.seq] = state.get()
                for x, source in zip(self.slices, self.arrays, strict=True):
                    self.pointers[x.seq] = b.offset(source, at * x.aval.nbytes)
                for y, stack in zip(self.graph.outputs[self.lay.carries :], self.stacks, strict=True):
                    nbytes = y.aval.nbytes
                    self.pointers[y.seq] = w.buffer(nbytes) if stack is None else b.offset(stack, at * nbytes)
                for j, o in enumerate(self.graph.outputs[: self.lay.carries]):
                    self.pointers[o.seq] = self._target(j, t, at, spare[j])
                w.run(self.body, self.body.uses, self.pointers)
                for o, state in zip(self.graph.outputs, states, strict=False):
                    state.set(self.pointers[o.seq])

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


# -- cond and switch -----------------------------------------------------------------------------------


def choice(w: Writer) -> None:
    """One of several graphs, by a bool or a number."""
    attrs = w.n.attrs
    graphs: list[Graph] = [attrs["false"], attrs["true"]] if w.n.op.name == "cond" else list(attrs.values())
    blocks = w.blocks_of(graphs)
    b = w.b
    which, *given = w.n.inputs
    starts = [w.operand(x) for x in given]
    results = [w.result(j) for j in range(len(graphs[0].outputs))]
    start, frame = w.size, 0
    bodies = []
    for block in blocks:  # only one of them runs: they share the frame
        w.size = start
        bodies.append(w.body(block, [*block.graph.inputs, *block.graph.outputs], ()))
        frame = max(frame, w.size)
    w.size = frame
    targets = [w.buffer(o.aval.nbytes) if p is None else p for p, o in zip(results, graphs[0].outputs, strict=True)]
    with once(w):
        kind = KIND[which.aval.dtype]
        number = b.cast(b.load(b.retype(w.operand(which), kind)), "i64")
        if w.n.op.name == "switch":
            number = b.binary("max", b.binary("min", number, len(graphs) - 1), 0)
        for k, (block, body) in enumerate(zip(blocks, bodies, strict=True)):
            pointers = dict(zip([x.seq for x in block.graph.inputs], starts, strict=True))
            pointers |= dict(zip([x.seq for x in block.graph.outputs], targets, strict=True))
            with b.when(number == k):
                w.run(body, body.uses, pointers)

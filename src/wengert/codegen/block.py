"""A scheduled graph: its groups as launches of kernels, or as steps that NumPy computes, and where values lie."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..graph.graph import Graph
from ..graph.node import ITEM, Node
from ..optimize.checks import Key, Wanted, wanted_of
from ..schedule.groups import Group, Grouping, full
from ..schedule.kinds import role
from ..schedule.memory import Layout, Room, Span, place
from ..schedule.order import LEAST, Order
from ..schedule.roots import Roots, View
from . import control, nest, whole
from .epilogue import Fused
from .held import Held
from .hoist import written_parameters
from .kernel import Kernel
from .loop import BITS, Function
from .target import Target


class HostStep(NamedTuple):
    """An op that NumPy computes; ``items``: the nodes of its results, if it has several."""

    node: Node
    run: Callable[..., Any] | None
    items: tuple[Node, ...] = ()


class Temp:
    """A buffer within a recipe."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.count = kind, count
        self.nbytes = max(BITS[kind] // 8, 1) * count
        self.root = None


STOP = Temp("i64", 1)  # a word of the program's: whether an interrupt ends it


class Tape(NamedTuple):
    """What a loop leaves to a chain that begins with it; ``cell`` says where it is."""

    chain: Node
    cell: Temp


class Use(NamedTuple):
    """A kernel on operands, each a `View` of a node's buffer or a `Temp`, and which of them it writes.

    ``lookups``: what it looks up that may be out of range.
    """

    kernel: Kernel
    views: list[Any]
    writes: list[bool]
    lookups: tuple[Wanted, ...] = ()


def key_of(v: Any) -> int:
    """What names the buffer of an operand."""
    return id(v) if isinstance(v, Temp) else v.root.seq


def written_over(graph: Graph, replaced: Sequence[tuple[int, int]]) -> dict[int, Node]:
    """For an output (by seq) the input that is its old value, each once; ``replaced``: such pairs by position."""
    old: dict[int, Node] = {}
    for i, j in replaced:
        old.setdefault(graph.outputs[i].seq, graph.inputs[j])
    taken: set[int] = set()
    return {k: n for k, n in old.items() if n.seq not in taken and not taken.add(n.seq)}


class Scheduled:
    """What is computed by one kernel, in which order, and which values have memory.

    ``written``: for an output (by seq) the input whose memory it replaces. ``shared``: whether loops may share
    the work of an iteration out among threads. ``held``: it is the body of a loop, in registers; then states, and all
    buffers within, are padded arrays. ``sure``: lookups that are in range (see `optimize.checks.Checks`). ``reuses``:
    kernels may write over buffers that nobody reads behind them. ``repeated``: it is a body, of a loop say.
    """

    def __init__(
        self, graph: Graph, written: dict[int, Node], target: Target, shared: bool = True,
        held: Held | None = None, sure: frozenset[Key] = frozenset(), reuses: bool = False,
        repeated: bool = False,
    ) -> None:  # fmt: skip
        self.graph, self.target, self.shared = graph, target if shared else replace(target, serial=True), shared
        self.held = held
        self.padded = frozenset() if held is None else held.padded(graph)
        self.roots = Roots(graph, sure, self.target if held is None else None, repeated)
        grouping = Grouping(graph, self.roots, written)
        outside = {n.seq for n in (*graph.inputs, *graph.outputs)}
        self.groups = Order(grouping.groups, self.roots.sources, outside, written).groups
        looking = [i for i, g in enumerate(self.groups) if any(self.roots.looks(n) for n in g.nodes)]
        self.last_look = looking[-1] if looking else -1
        # The last group at which a call may end early: by a bad index, an error in NumPy's step, an interrupt of that
        # or of a loop. What was there before the call is written after it.
        ends = [i for i, g in enumerate(self.groups) if g.kind == "whole" and _may_end(g.nodes[0])]
        self.last_end = max([self.last_look, *ends])
        self.inplace = _in_place(self, written)
        self.stored = _stored(self)
        self.reused = _reused(self, outside) if reuses else {}


class Block(Scheduled):
    """The steps of a scheduled graph in order: lists of `Use`, or a `HostStep`."""

    def __init__(
        self, graph: Graph, written: dict[int, Node], target: Target, *more: Any,
        announce: Callable[[Function], None] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        """``announce`` is told of each kernel as soon as it is written."""
        super().__init__(graph, written, target, *more, **options)
        self.announce = announce
        self._share_tapes()
        self.steps = [self._announced(g) for g in self.groups]
        self._keep_tapes()

    def _share_tapes(self) -> None:
        """Have loops leave their tapes to the chains of passes that begin with them."""
        from .control_while import CELL, continued

        self.tapes: dict[int, Tape] = {}
        place_of = {g.nodes[0].seq: i for i, g in enumerate(self.groups)}
        for seq, chain in continued(self.graph).items():
            if place_of[seq] < place_of[chain.seq]:
                self.tapes[seq] = self.tapes[chain.seq] = Tape(chain, Temp("u8", CELL))

    def _keep_tapes(self) -> None:
        """Nobody frees a tape that is left to NumPy: such loops keep theirs."""
        lost = {s.node.seq for s in self.steps if isinstance(s, HostStep)} & self.tapes.keys()
        if lost:
            self.tapes = {k: t for k, t in self.tapes.items() if t.chain.seq not in lost}
            again = [g.kind == "whole" and g.nodes[0].op.name == "while_loop" for g in self.groups]
            self.steps = [self._step(g) if a else s for g, s, a in zip(self.groups, self.steps, again, strict=True)]

    def _announced(self, group: Group) -> Any:
        step = self._step(group)
        if self.announce is not None and not isinstance(step, HostStep):
            for use in step:
                self.announce(use.kernel.function)
        return step

    def _step(self, group: Group) -> Any:
        if group.kind != "whole":
            if not any(n.seq in self.stored for n in group.nodes):
                return []
            found = nest.write(group, self.roots, self.stored, self.target, self.inplace | self.reused, self.padded)
            views = [View(n, 0, ()) for n in found.operands]
            checks = tuple([wanted_of(self.graph, x) for x in found.lookups])
            return [Use(found.kernel, views, [n.seq in found.written for n in found.operands], checks)]
        n = group.nodes[0]
        items = tuple(group.nodes[1:])
        if n.op is not ITEM and n.op.name in control.NAMES:
            lowered = control.lower(n, items, self)
        else:
            lowered = whole.lower(n, self.roots, self.target, self._behind(group), self.held)
        if lowered is None:
            assert not group.fused, "an epilogue follows what has kernels"
            return HostStep(n, _host_function(n), items)
        out: list[Any] = []
        temps = {name: Temp(kind, count) for name, (kind, count) in lowered.recipe.temps.items()}
        for step in lowered.recipe.steps:
            views: list[Any] = [temps[o] if o in temps else lowered.operands[o] for o in step.operands]
            stored = written_parameters(step.kernel.function)
            writes = [
                v is not STOP and (i in stored if isinstance(v, Temp) else v.root.seq in group.seqs)
                for i, v in enumerate(views)
            ]
            out.append(Use(step.kernel, views, writes, lowered.lookups))
        return out

    def _behind(self, group: Group) -> Fused | Node | None:
        """What follows an op that is computed as a whole: an epilogue, or the sum that it is added to in place."""
        if group.sums_up and group.nodes[1].seq in self.inplace and group.nodes[0].seq not in self.stored:
            return group.nodes[1]
        return Fused(group, self.roots, self.stored) if group.fused else None

    @property
    def native(self) -> bool:
        """Whether NumPy computes nothing of it."""
        return not any(isinstance(s, HostStep) for s in self.steps)

    @property
    def uses(self) -> list[Use]:
        """All launches in order."""
        return [use for s in self.steps if not isinstance(s, HostStep) for use in s]

    @property
    def work(self) -> int:
        """Additions, multiplications and bytes moved."""
        return sum(u.kernel.flops + u.kernel.bytes for u in self.uses)

    def buffers(self, step: Any) -> list[tuple[int, Any]]:
        """The buffers that a step uses, by key: temps, and nodes."""
        if isinstance(step, HostStep):
            ins = [v.root for v in (self.roots.view(x) for x in step.node.inputs) if v is not None]
            return [(self.home(n.seq), n) for n in (*ins, step.node, *step.items)]
        return [(self.home(key_of(v)), v if isinstance(v, Temp) else v.root) for use in step for v in use.views]

    def home(self, key: int) -> int:
        """The buffer that one was written over, if it was."""
        while key in self.reused:
            key = self.reused[key].seq
        return key

    def made(self, external: Container[int]) -> dict[int, Any]:
        """The buffers that are neither external nor constants, by key."""
        found = [pair for step in self.steps for pair in self.buffers(step)]
        return {key: x for key, x in found if key not in external and is_made(x)}

    def lay_out(self, external: Container[int], lasting: Container[int] = (), results: Sequence[Node] = ()) -> Layout:
        """Places of the buffers that are neither external nor constants; ``lasting`` ones share with none.

        ``results``: external ones whose memory nobody has a use for until they are written, if the call succeeds.
        """
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        sizes: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            for key, x in self.buffers(step):
                first.setdefault(key, i)
                if key not in external and is_made(x):
                    last[key] = i
                    sizes[key] = x.nbytes if isinstance(x, Temp) else x.aval.nbytes
        end = len(self.steps)
        spans = [Span(k, sizes[k], 0, end) if k in lasting else Span(k, sizes[k], first[k], last[k]) for k in sizes]
        rooms = [Room(n.seq, n.aval.nbytes, self.last_end + 1, first[n.seq]) for n in results if n.seq in first]
        return place(spans, rooms)


def is_made(x: Any) -> bool:
    """Whether a buffer's content comes about while running, rather than from outside or from a constant."""
    if isinstance(x, Temp):
        return x is not STOP
    return type(x.aval) is not tuple and not (x.op is None and x.data is not None)


def _host_function(n: Node) -> Any:
    if n.op is ITEM:
        return None
    return n.op.kernel([x.aval for x in n.inputs], n.attrs)


def _stored(p: Scheduled) -> set[int]:
    """The roots that get memory: outputs, and what another group reads."""
    out = {n.seq for n in p.graph.outputs}
    for g in p.groups:
        for n in g.nodes:
            if g.kind in ("reduce", "running") or (g.kind == "whole" and not g.fused):
                out.add(n.seq)
            whole = p.roots.role[n.seq] == "whole"
            out |= {x.seq for x in p.roots.sources(n) if whole or x.seq not in g.seqs}
    return out


def _in_place(p: Scheduled, written: dict[int, Node]) -> dict[int, Node]:
    """Which outputs can be written over the inputs that they replace: nobody needs the old value any more.

    Who reads the new one finds it there.
    """
    place_of = {n.seq: i for i, g in enumerate(p.groups) for n in g.nodes}
    last_read: dict[int, int] = {}
    for i, g in enumerate(p.groups):
        for n in g.nodes:
            for x in p.roots.sources(n):
                last_read[x.seq] = i
    kept = {n.seq for n in p.graph.outputs}
    out: dict[int, Node] = {}
    for seq, old in written.items():
        i = place_of.get(seq)
        if i is not None and i <= p.last_end:
            continue
        late = last_read.get(old.seq, -1)
        if i is None or late > i or old.seq in kept:
            continue
        if _may_fill(p.groups[i], seq, old) if late < i else _may_replace(p, p.groups[i], seq, old):
            out[seq] = old
    return out


def _may_fill(group: Group, seq: int, old: Node) -> bool:
    """Whether a group may write a root to the memory of an input that it does not read."""
    node = next(n for n in group.nodes if n.seq == seq)
    alike = (node.aval.size, node.aval.dtype) == (old.aval.size, old.aval.dtype)
    return alike and (group.kind != "whole" or (node.op is not ITEM and group.nodes[0].op.name in whole.LOWERERS))


def _may_end(n: Node) -> bool:
    """Whether a program may end at an op: NumPy computes it, or it is a loop, or holds one."""
    if n.op is ITEM or n.op is None or n.op.name in whole.LOWERERS:
        return False
    if n.op.name in ("scan", "while_loop") or n.op.name not in control.NAMES:
        return True
    bodies = [g for g in n.attrs.values() if isinstance(g, Graph)]
    return any(_is_whole(m) and _may_end(m) for g in bodies for m in g.nodes)


def _is_whole(n: Node) -> bool:
    return n.op is not None and role(n) == "whole"


def _may_replace(p: Scheduled, group: Group, seq: int, old: Node) -> bool:
    """Whether a group may write a root over an input: element by element, after it has read it."""
    if group.kind != "rows":
        return group.sums_up and old in group.nodes[1].inputs
    node = next(n for n in group.nodes if n.seq == seq)
    same = (node.aval.size, node.aval.dtype) == (old.aval.size, old.aval.dtype)
    if p.roots.role[seq] not in ("point", "move") or not same:
        return False
    passes = any(p.roots.role[n.seq] == "reduce" for n in group.nodes)
    for n in group.nodes:
        sizes, reads = p.roots.reads[n.seq]
        if any(x.seq == old.seq and (flat != full(sizes) or (passes and n is not node)) for x, flat in reads):
            return False
    return True


def _reused(p: Scheduled, outside: Container[int]) -> dict[int, Node]:
    """For a root (by seq) the value whose buffer it takes: its kernel is the last to read it, element by element."""
    last = {x.seq: i for i, g in enumerate(p.groups) for n in g.nodes for x in p.roots.sources(n)}
    out: dict[int, Node] = {}
    taken = set[int]()
    for i, g in enumerate(p.groups):
        for n in g.nodes:
            if g.kind != "rows" or n.seq in outside or n.seq not in p.stored or n.aval.nbytes < LEAST:
                continue
            for x in p.roots.sources(n):
                free = last[x.seq] == i and x.op is not None and not {x.seq} & (g.seqs | taken)
                if free and x.seq not in outside and _may_replace(p, g, n.seq, x):
                    out[n.seq] = x
                    taken.add(x.seq)
                    break
    return out

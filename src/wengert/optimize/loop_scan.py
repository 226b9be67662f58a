"""Rewriting of scans: what is known for all steps, and sums over the steps, leave the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..graph.graph import Graph
from ..graph.node import Node
from ..ops.base import Elementwise, Reduce
from ..ops.control_graphs import batched
from ..ops.control_scan import Layout
from .loop_kept import Made
from .loop_parts import SUNK, added, dependents, hoisted, leaf, peeled, rebuilt, sunk
from .rewrite import is_constant

DEAR = 8  # additions: what an element costs of an op that is worth to be computed for all steps at once
PRODUCTS = frozenset({"matmul", "conv"})
ROOM = 1 << 24  # bytes that stacks may take in any case
CACHED = 1 << 19  # bytes of stacks that stay in a cache: beyond, a sum of at most SMALL bytes is added to in the loop
SMALL = 1 << 13
TERMS = 3  # of a sum that stays in a small body


class Carry:
    """A carry: its input in the body, the value before the first step, the output, and whether it is a result."""

    def __init__(self, inner: Node, init: Node, out: Node, number: int) -> None:
        self.inner, self.init, self.out, self.number = inner, init, out, number
        self.final = self.kept = False


class Scan:
    """A scan on its way into another graph."""

    def __init__(
        self, rw: Any, lay: Layout, n: Node, inputs: Sequence[Node], keep: tuple[int, ...], used: set[int]
    ) -> None:
        self.rw, self.n, self.steps = rw, n, n.attrs["length"]
        self.count = lay.carries + lay.ys + len(keep)
        outer, inits, stacks = lay.parts(inputs)
        bodies, outer = sunk([lay.body], outer)
        if self.steps:
            bodies, outer = hoisted(rw, bodies, outer, True)
        body = bodies[0]
        k, c = len(outer), len(outer) + lay.carries
        self.body = body
        self.consts = list(zip(body.inputs[:k], outer, strict=True))
        pairs = zip(body.inputs[k:c], inits, body.outputs, strict=False)
        self.carries = [Carry(x, init, out, j) for j, (x, init, out) in enumerate(pairs)]
        self.slices = list(zip(body.inputs[c:], stacks, strict=True))
        ys = body.outputs[lay.carries :]
        self.ys = [(y, lay.carries + i) for i, y in enumerate(ys) if lay.carries + i in used]
        first = lay.carries + lay.ys
        self.kept_at = {j: first + i for i, j in enumerate(keep)}
        for carry in self.carries:
            carry.final = carry.number in used
            carry.kept = self.kept_at.get(carry.number) in used
        self.moved: list[tuple[Node, Node]] = []
        self.moving: set[int] = set()  # values of the body that depend on carries
        self.late: list[tuple[int, Callable[[], Node]]] = []  # results that are computed from those of the loop
        self.fixed = {x.seq: o for x, o in self.consts}  # what values of the body are outside, if they never change
        self.stacked = {x.seq: s for x, s in self.slices}  # the same for all steps, where they do

    def results(self) -> list[Any]:
        """Build it; the results by number, None where nobody wants one."""
        if self.steps:
            self._fix()
            self._prune()
            self._move_sums()
            self._prune()
            self._move_known()
        out = self._build()
        for number, make in self.late:
            out[number] = make()
        return out

    # -- what is there ---------------------------------------------------------------------

    def _outputs(self) -> tuple[Node, ...]:
        return (*[c.out for c in self.carries], *[y for y, _ in self.ys])

    def _inputs(self) -> tuple[Node, ...]:
        parts = ([x for x, _ in self.consts], [c.inner for c in self.carries], [x for x, _ in self.slices])
        return tuple([x for part in parts for x in part])

    def _graph(self, outputs: Sequence[Node] | None = None) -> Graph:
        return Graph(self._inputs(), tuple(self._outputs() if outputs is None else outputs), self.body.name)

    def _fix(self) -> None:
        """Carries that never change are constants."""
        for c in [c for c in self.carries if c.out is c.inner]:
            self.carries.remove(c)
            self.consts.append((c.inner, c.init))
            self.fixed[c.inner.seq] = c.init
            if c.final:
                self.late.append((c.number, lambda c=c: c.init))
            if c.kept:
                self.late.append((self.kept_at[c.number], lambda c=c: self._repeated(c.init)))

    def _repeated(self, x: Node) -> Node:
        return self.rw.make("expand", (x,), {"shape": (self.steps, *x.shape), "axes": (0,)}, self.n)

    def _prune(self) -> None:
        """Without carries that no result needs."""
        needed = {c.number for c in self.carries if c.final or c.kept}
        while True:
            outs = [*[y for y, _ in self.ys], *[c.out for c in self.carries if c.number in needed]]
            live = {n.seq for n in self._graph(outs).nodes} | {o.seq for o in outs}
            live |= {x.seq for n in self._graph(outs).nodes for x in n.inputs}
            more = {c.number for c in self.carries if c.inner.seq in live}
            if more <= needed:
                break
            needed |= more
        self.carries = [c for c in self.carries if c.number in needed]

    # -- sums over the steps ---------------------------------------------------------------

    def _move_sums(self) -> None:
        graph = self._graph()
        users: dict[int, int] = {}
        for x in [x for n in graph.nodes for x in n.inputs] + list(graph.outputs):
            users[x.seq] = users.get(x.seq, 0) + 1
        varying = dependents(graph, [x.seq for x in graph.inputs[len(self.consts) :]])
        self.moving = dependents(graph, [c.inner.seq for c in self.carries])
        for c in list(self.carries):
            chain = None if c.kept or not c.final else _addends(c.out, c.inner, users)
            if chain is None:
                continue
            if self._stays(chain):
                for d in chain:  # one after the other, so that each is a multiplication and addition in one
                    c.out = added(c.inner if d is chain[0] else c.out, d)
                continue
            plans = [self._sum_plan(d, varying) for d in chain]
            if all(p is not None for p in plans):
                self.carries.remove(c)
                self._moved_sum(c, chain, plans)

    def _sum_plan(self, d: Node, varying: set[int]) -> tuple[str, Node, list[Node]] | None:
        """How an addend is summed over the steps: the op in it, and what is stacked for it; None to leave it."""
        core = peeled(d, {x.seq for x in self._inputs()})
        if d.seq not in varying or core.op is None:
            return None
        if core.op.name == "matmul" and len(core.shape) == 2:
            bases = [b for b in (peeled(x) for x in core.inputs) if not is_constant(b)]
            size = self.steps * sum(b.aval.nbytes for b in bases)
            new = self.steps * sum(b.aval.nbytes for b in bases if b.seq in self.moving)
            fits = size <= max(ROOM, 4 * self._stack_bytes()) and (new <= CACHED or core.aval.nbytes > SMALL)
            return ("matmul", core, bases) if fits and all(x.seq in varying for x in core.inputs) else None
        if core.op.name == "sum":
            base = peeled(core.inputs[0])
            cheap = base.aval.size <= 4 * core.aval.size or any(y is base for y, _ in self.ys)
            return ("sum", core, [base]) if cheap and base.seq in varying and not is_constant(base) else None
        return None

    def _stays(self, chain: Sequence[Node]) -> bool:
        """Whether a sum costs the loop no time: few multiplications beside a chain of other operations.

        The sum is read and written once a step for all its terms.
        """
        from ..codegen.held import LARGEST_SUM, fits

        known = {x.seq for x in self._inputs()}
        cores = [peeled(d, known) for d in chain]
        products = all(n.op is not None and n.op.name == "matmul" and n.inputs[0].shape[-1] == 1 for n in cores)
        return products and len(chain) >= TERMS and fits(self._graph(), LARGEST_SUM)

    def _stack_bytes(self) -> int:
        ys = sum(y.aval.nbytes for y, _ in self.ys) + sum(c.inner.aval.nbytes for c in self.carries if c.kept)
        return sum(s.aval.nbytes for _, s in self.slices) + self.steps * ys

    def _moved_sum(self, c: Carry, chain: Sequence[Node], plans: Sequence[Any]) -> None:
        for _, _, bases in plans:
            for b in bases:
                self._want(b)

        def make() -> Node:
            out = c.init
            for d, (kind, core, bases) in zip(chain, plans, strict=True):
                total = self._product(core, bases) if kind == "matmul" else self._sum(core, bases)
                out = self.rw.make("add", (out, self._inlined([core], [total], d)), {}, self.n)
            return out

        self.late.append((c.number, make))

    def _want(self, b: Node) -> None:
        """A value is needed for all steps."""
        if b.seq not in self.fixed and b.seq not in self.stacked and not any(y is b for y, _ in self.ys):
            self.ys.append((b, -1))

    def _batched(self, bases: Sequence[Node], outputs: Sequence[Node]) -> list[Node]:
        """Values for all steps, a step a row, from what is there for all steps."""
        fixed = self.fixed
        bases = list({b.seq: b for b in bases}.values())
        graph = Graph(tuple(bases), tuple(outputs), self.body.name)
        mapped = tuple([b.seq not in fixed for b in bases])
        whole = batched(graph, self.steps, mapped, (True,) * len(outputs))
        given = [fixed[b.seq] if b.seq in fixed else self.stacked[b.seq] for b in bases]
        env: dict[int, Any] = {n.seq: x for n, x in zip(whole.inputs, given, strict=True)}
        self.rw._nodes(whole.nodes, env)
        return [env[o.seq] for o in whole.outputs]

    def _product(self, core: Node, bases: Sequence[Node]) -> Node:
        """The sum over the steps of a product: one product over the steps, and what it already was over."""
        rw, like, t = self.rw, self.n, self.steps
        a, b = self._batched(bases, core.inputs)
        (m, k), n = core.inputs[0].shape, core.inputs[1].shape[1]
        a = rw.reshape(rw.make("permute", (a,), {"order": (1, 0, 2)}, like), (m, t * k), like)
        return rw.make("matmul", (a, rw.reshape(b, (t * k, n), like)), {}, core)

    def _sum(self, core: Node, bases: Sequence[Node]) -> Node:
        (x,) = self._batched(bases, core.inputs)
        return self.rw.make("sum", (x,), {"axes": (0, *[a + 1 for a in core.attrs["axes"]])}, core)

    def _inlined(self, given: Sequence[Node], values: Sequence[Node], out: Node) -> Node:
        env: dict[int, Any] = {g.seq: v for g, v in zip(given, values, strict=True)}
        self.rw._nodes(Graph(tuple(given), (out,), "").nodes, env)
        return env[out.seq]

    # -- what is known for all steps ---------------------------------------------------------

    def _move_known(self) -> None:
        graph = self._graph()
        moving = self.moving = dependents(graph, [c.inner.seq for c in self.carries])
        sliced = dependents(graph, [x.seq for x, _ in self.slices]) - moving
        fit: set[int] = {x.seq for x in graph.inputs}
        for n in graph.nodes:
            if n.op is None or (n.seq not in moving and _batches(n) and all(x.seq in fit for x in n.inputs)):
                fit.add(n.seq)
        wanted = [n for n in graph.nodes if n.seq in sliced and n.seq in fit and is_dear(n)]
        if not wanted:
            return
        inside = {n.seq for n in Graph(graph.inputs, tuple(wanted), "").nodes}
        border = self._border(graph, inside & sliced)
        size = self.steps * sum(b.aval.nbytes for b in border)
        if not border or size > max(ROOM, 4 * self._stack_bytes()):
            return
        rest = self._take_kept(graph, border)
        if not rest:
            return
        bases = [x for x in graph.inputs if x.seq not in {c.inner.seq for c in self.carries}]
        read = {x.seq for n in Graph(graph.inputs, tuple(rest), "").nodes for x in n.inputs}
        self._known(rest, self._batched([b for b in bases if b.seq in read], rest))

    def _known(self, values: Sequence[Node], stacks: Sequence[Node]) -> None:
        """Values of the body are there for all steps."""
        self.moved += list(zip(values, stacks, strict=True))
        self.slices += list(zip(values, stacks, strict=True))
        self.stacked |= {x.seq: s for x, s in zip(values, stacks, strict=True)}

    def _take_kept(self, graph: Graph, border: Sequence[Node]) -> list[Node]:
        """Have earlier scans stack what they compute of these values; those that none computes."""
        given = self.fixed | self.stacked
        rest = list(border)
        for made in self.rw.made:
            if made.steps != self.steps:
                continue
            pairs = [(n, found) for n in rest if (found := made.found(graph, given, n)) is not None]
            if pairs:
                self._known([n for n, _ in pairs], made.extended(self.rw, [x for _, x in pairs]))
                rest = [n for n in rest if n.seq not in self.stacked]
        return rest

    def _border(self, graph: Graph, inside: set[int]) -> list[Node]:
        """The values of a part of the body that the rest reads, each behind its movements."""
        found: dict[int, Node] = {}
        readers = [n.inputs for n in graph.nodes if n.op is not None and n.seq not in inside]
        for x in [y for inputs in (*readers, graph.outputs) for y in inputs]:
            base = peeled(x, {y.seq for y in graph.inputs})
            if base.seq in inside:
                found.setdefault(base.seq, base)
        return list(found.values())

    # -- building ----------------------------------------------------------------------------

    def _build(self) -> list[Any]:
        """The loop itself; its results by number."""
        out: list[Any] = [None] * self.count
        for y, number in self.ys:
            if number >= 0 and y.seq in self.stacked:
                out[number] = self.stacked[y.seq]
        self.ys = [(y, number) for y, number in self.ys if y.seq not in self.stacked]
        if not self.carries and not self.ys:
            return out
        keep = tuple([j for j, c in enumerate(self.carries) if c.kept])
        outputs = self._outputs()
        inputs = self._drop_unread(outputs)
        leaves = [leaf(x) for x in inputs]
        body = rebuilt(self.body, leaves, {x.seq: y for x, y in zip(inputs, leaves, strict=True)}, outputs)
        attrs = {
            **self.n.attrs, "body": body, "consts": len(self.consts), "carries": len(self.carries), "keep": keep
        }  # fmt: skip
        operands = (*[x for _, x in self.consts], *[c.init for c in self.carries], *[x for _, x in self.slices])
        items = self.rw.items(self.n.op, operands, attrs, self.n)
        self.rw.made.append(Made(items, is_dear))
        self.rw.made[-1].replaced(self.body.inputs, self.fixed | self.stacked, self.moved)
        found = iter(items)
        for c in self.carries:
            item = next(found)
            if c.final:
                out[c.number] = item
        for y, number in self.ys:
            item = self.stacked[y.seq] = next(found)
            if number >= 0:
                out[number] = item
        for j in keep:
            out[self.kept_at[self.carries[j].number]] = next(found)
        return out

    def _drop_unread(self, outputs: Sequence[Node]) -> tuple[Node, ...]:
        """Forget constants and slices that the body does not read; its inputs."""
        graph = self._graph(outputs)
        read = {x.seq for n in graph.nodes for x in n.inputs} | {o.seq for o in outputs}
        self.slices = [(x, s) for x, s in self.slices if x.seq in read]
        self.consts = [(x, s) for x, s in self.consts if x.seq in read]
        return self._inputs()


def _addends(out: Node, carry: Node, users: dict[int, int]) -> list[Node] | None:
    """The terms that are added to a carry, if nothing else reads it."""
    if not _leads(out, carry):
        return None
    found: list[Node] = []
    at = out
    while at is not carry:
        if users.get(at.seq) != 1:
            return None
        x, y = at.inputs
        at, other = (x, y) if _leads(x, carry) else (y, x)
        if _leads(other, carry):
            return None
        found.append(other)
    if users.get(carry.seq) != 1:
        return None
    return [term for x in reversed(found) for term in _terms(x, users)]


def _terms(n: Node, users: dict[int, int]) -> list[Node]:
    """A sum as its terms, as far as nothing else reads it."""
    if n.op is None or n.op.name != "add" or users.get(n.seq) != 1:
        return [n]
    return [term for x in n.inputs for term in _terms(x, users)]


def _leads(n: Node, carry: Node) -> bool:
    """Whether a value is a carry with something added to it."""
    return n is carry or (n.op is not None and n.op.name == "add" and any(_leads(x, carry) for x in n.inputs))


def _batches(n: Node) -> bool:
    """Whether an op may be computed for all steps at once."""
    known = isinstance(n.op, Elementwise | Reduce) or n.op.name in SUNK or n.op.name in PRODUCTS
    return type(n.aval) is not tuple and (known or n.op.name in ("cast", "where"))


def is_dear(n: Node) -> bool:
    """Whether an op is worth to be computed for all steps at once, or to be kept."""
    from ..schedule.kinds import cost

    return n.op.name in PRODUCTS or (isinstance(n.op, Elementwise) and cost(n) >= DEAR)

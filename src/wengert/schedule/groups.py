"""Which roots are computed by one kernel, and in which order the kernels run.

Groups stand in a line. A root joins a group if all that it reads comes from groups before it, or from the group itself
in a way that one pass allows; so there are never cycles. Kinds of groups:

* ``rows``: all roots iterate over the same elements, in rows of ``cols`` (one row element if nothing is reduced).
  Reductions are over whole rows. A root may read another's element of the same row and column, or a value of
  its row.
* ``reduce``: reductions over other axes, all over the same axes of the same shape.
* ``running``: ops that run along the same axis of the same shape, in one direction.
* ``whole``: an op that has kernels of its own, or that NumPy computes; the results of a loop belong to its group.
  What follows a product or a convolution element by element joins it, as its epilogue. What a product computes of its
  operands is no root (see `operands`).
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence

from ..graph.graph import Graph
from ..graph.node import ITEM, Node
from .index import Affine, Straddle, Unaligned, strides_of
from .kinds import FOLLOWING, takes_epilogue
from .roots import Roots, unflattened

MEMBERS = 64  # roots in a group
OPS = 1024  # ops in them together: the time to compile a kernel grows faster than they do
HOLDING = frozenset({"scan", "while_loop", "cond", "switch", "each"})  # ops with graphs in their attributes
RECOMPUTED = "recomputed"  # key in `Graph.derived`: what must not be computed before its readers want it
NUMBERS = 1024  # roots in a group of single numbers


class Group:
    """Roots that one kernel computes."""

    def __init__(self, kind: str, size: int, cols: int = 0) -> None:
        self.kind = kind
        self.size = size  # elements of the domain
        self.cols = cols  # elements of a row; 0: not yet decided
        self.nodes: list[Node] = []
        self.seqs: set[int] = set()
        self.shape: tuple[int, ...] = ()  # of a reduce group: the domain, and what is reduced
        self.axes: tuple[int, ...] = ()
        self.ops = 0
        self.why = ""  # it begins: what kept its first root from joining the group before, or its roots the one behind
        self.before: list[Node] = []  # what it computes of its operands

    @property
    def sums_up(self) -> bool:
        """Whether it is a product that is added to something else, element by element."""
        return len(self.nodes) == 2 and self.nodes[0].op.name == "matmul" and _adds(*self.nodes)

    @property
    def fused(self) -> bool:
        """Whether an epilogue follows an op that is computed as a whole."""
        return self.kind == "whole" and len(self.nodes) > 1 and self.nodes[1].op is not ITEM

    def add(self, n: Node) -> None:
        """Take in a root."""
        self.nodes.append(n)
        self.seqs.add(n.seq)

    def __repr__(self) -> str:
        names = " ".join(n.name for n in self.nodes)
        return f"<{self.kind} {self.size // max(self.cols, 1)}x{self.cols}: {names}>"


def _adds(product: Node, n: Node) -> bool:
    """Whether a value is the sum of a product and something else."""
    return n.op is not None and n.op.name == "add" and product in n.inputs and n.inputs[0] is not n.inputs[1]


def row_reduction(n: Node) -> int:
    """How many elements a reduction over the last axes takes together; 0 for other axes."""
    shape, axes = n.inputs[0].shape, n.attrs["axes"]
    large = [i for i, k in enumerate(shape) if k != 1]
    reduced = [i for i in large if i in axes]
    if reduced != large[len(large) - len(reduced) :]:
        return 0
    return math.prod([shape[i] for i in reduced])


class Grouping:
    """The groups of a graph in order: ``groups``.

    ``pinned``: roots (by seq) that had better be written over an input, which must not be before the end.
    """

    def __init__(self, graph: Graph, roots: Roots, pinned: Mapping[int, Node] = {}) -> None:
        self.roots, self.pinned = roots, pinned
        self.late: Container[int] = graph.derived.get(RECOMPUTED, ())
        self.groups: list[Group] = []
        self.readers: dict[int, list[int]] = {}  # the groups that read a root, by its seq
        self.numbers: list[int] = []  # the groups of single numbers
        self.place: dict[int, int] = {}
        for n in self._ordered(graph):
            self._put(n)

    def _ordered(self, graph: Graph) -> list[Node]:
        """The roots in an order that their reads allow, single numbers as early as can be."""
        todo = [n for n in graph.nodes if n.seq in self.roots.kept and self.roots.role[n.seq] != "leaf"]
        waits: dict[int, int] = {}
        users: dict[int, list[Node]] = {}
        for n in todo:
            sources = {x.seq for x in self.roots.sources(n) if self.roots.role[x.seq] != "leaf"}
            waits[n.seq] = len(sources)
            for s in sources:
                users.setdefault(s, []).append(n)
        out: list[Node] = []
        done: set[int] = set()

        def take(n: Node) -> None:
            """Put out a root, then all single numbers that have become ready."""
            stack = [n]
            while stack:
                m = stack.pop()
                done.add(m.seq)
                out.append(m)
                for u in users.get(m.seq, ()):
                    waits[u.seq] -= 1
                    if not waits[u.seq] and self._is_number(u) and u.seq not in done:
                        stack.append(u)

        for n in [n for n in todo if not waits[n.seq] and self._is_number(n)]:
            take(n)
        for n in todo:
            if n.seq not in done:
                take(n)
        return out

    def _is_number(self, n: Node) -> bool:
        return self.roots.role[n.seq] == "point" and n.aval.size == 1

    def _put(self, n: Node) -> None:
        role = self.roots.role[n.seq]
        if n.op is ITEM and n.inputs[0].op.name in HOLDING:
            self.place[n.seq] = self.place[n.inputs[0].seq]
            self.groups[self.place[n.seq]].add(n)
            return
        if role == "whole":
            group = Group("whole", 0)
            self._append(group)
            group.add(n)
            group.before = self.roots.computed(n)
            self.place[n.seq] = len(self.groups) - 1
            return
        _, reads = self.roots.reads[n.seq]
        first = max((self.place.get(x.seq, -1) for x, _ in reads), default=-1)
        if n.seq in self.late:
            first = len(self.groups) - 1
        chosen = self._choose(n, role, first)
        if chosen < 0:
            self._append(self._new(n, role))
            self.groups[-1].why = self.why
            chosen = len(self.groups) - 1
        group = self.groups[chosen]
        group.add(n)
        if n.seq in self.roots.refused:
            parts = [group.why, f"{n.name} is not computed in the product behind: {self.roots.refused[n.seq]}"]
            group.why = "; ".join([p for p in parts if p])
        group.ops += self.roots.size.get(n.seq, 1)
        for x, _ in reads:
            known = self.readers.setdefault(x.seq, [])
            if not known or known[-1] != chosen:
                known.append(chosen)
        if role == "reduce" and group.kind == "rows":
            group.cols = row_reduction(n)
        self.place[n.seq] = chosen

    def _append(self, group: Group) -> None:
        self.groups.append(group)
        if group.size == 1:
            self.numbers.append(len(self.groups) - 1)

    def _new(self, n: Node, role: str) -> Group:
        size = math.prod(self.roots.domain(n))
        if role == "reduce" and not row_reduction(n):
            group = Group("reduce", size)
            group.shape, group.axes = n.inputs[0].shape, n.attrs["axes"]
            return group
        if role == "running":
            group = Group("running", size)
            group.shape, group.axes = n.shape, (n.attrs["axis"],)
            return group
        return Group("rows", size)

    def _choose(self, n: Node, role: str, first: int) -> int:
        """The group to join: the latest one that it reads from, else the latest that reads the same; -1 for none."""
        self.why = "nothing before it reads or makes the same" if first < 0 else ""
        if first >= 0 and self._follows(n, role, self.groups[first]):
            return first
        reads = self.roots.reads[n.seq][1]
        size = math.prod(self.roots.domain(n))
        sources = {x.seq for x, _ in reads if 2 * x.aval.size >= size}
        near = {i for s in sources for i in self.readers.get(s, ())} | set(self.numbers if size == 1 else ()) | {first}
        for i in sorted(near, reverse=True):
            if i < max(first, 0):
                break
            group = self.groups[i]
            full = len(group.nodes) >= (NUMBERS if group.size == 1 else MEMBERS) or group.ops > OPS
            if not full and self._fits(n, role, group):
                return i
        return -1

    def _follows(self, n: Node, role: str, group: Group) -> bool:
        """Whether a root can be computed in the epilogue of a product: from its elements, one by one."""
        from ..codegen.epilogue import blocks_of

        product, *members = group.nodes
        if group.kind != "whole" or role != "point" or not takes_epilogue(product):
            return False
        if n.seq in self.pinned and (members or product.op.name != "matmul" or not self._adds_up(product, n)):
            return False
        sizes, reads = self.roots.reads[n.seq]
        weight = sum(self.roots.weight[m.seq] for m in (*members, n))
        if math.prod(sizes) != product.aval.size or weight > FOLLOWING or self.roots.looks(n):
            return False
        if any(x.seq in group.seqs and flat != full(sizes) for x, flat in reads):
            return False
        return blocks_of(self.roots, product, [*members, n]) is not None

    def _adds_up(self, product: Node, n: Node) -> bool:
        """Whether a root is an input that a product is added to where it is."""
        return _adds(product, n) and self.pinned[n.seq] in n.inputs

    def _fits(self, n: Node, role: str, group: Group) -> bool:
        if group.kind == "reduce":
            same = role == "reduce" and (n.inputs[0].shape, n.attrs["axes"]) == (group.shape, group.axes)
            return same and not any(x.seq in group.seqs for x, _ in self.roots.reads[n.seq][1])
        if group.kind == "running":
            return role == "running" and self._runs_with(n, group)
        if role == "running":
            self.why = "runs along an axis"
            return False
        if group.kind != "rows":
            self.why = f"reads a result of {group.nodes[0].name} as a whole"
            return False
        size, cols = math.prod(self.roots.domain(n)), group.cols
        if role == "reduce":
            cols = row_reduction(n)
            if not cols or size != group.size or (group.cols and cols != group.cols):
                self.why = "reduces other axes, or rows of another size"
                return False
        elif size != group.size and not (cols and size * cols == group.size):
            self.why = f"iterates over {size} elements, not {group.size}"
            return False
        if not self._aligned(n, group, cols):
            self.why = "reads what is computed at other elements"
            return False
        return self._divides([*group.nodes, n], group.size, cols)

    def _runs_with(self, n: Node, group: Group) -> bool:
        """Whether an op runs along the axis that a group runs along, and needs none of its results."""
        first = group.nodes[0]
        same = (n.shape, n.attrs["axis"]) == (group.shape, *group.axes)
        same = same and n.attrs.get("reverse", False) == first.attrs.get("reverse", False)
        return same and not any(x.seq in group.seqs for x, _ in self.roots.reads[n.seq][1])

    def _aligned(self, n: Node, group: Group, cols: int) -> bool:
        """Whether all that a root reads of a group lies in the same row and column, or is a value of the row."""
        sizes, reads = self.roots.reads[n.seq]
        size = math.prod(sizes)
        if size != group.size:  # a value of each row: it may read such values only
            return all(x.seq not in group.seqs or (self._level(x, group, cols) == "row" and f == full(sizes))
                       for x, f in reads)  # fmt: skip
        for x, flat in reads:
            if x.seq not in group.seqs:
                continue
            if self._level(x, group, cols) == "full":
                if flat != full(sizes):
                    return False
            elif flat != row(sizes, cols):
                return False
        return True

    def _is_plain(self, n: Node, domain: tuple[int, ...]) -> bool:
        return self.roots.domain(n) == domain and self.roots.reads[n.seq][0] == tuple(domain)

    def _level(self, x: Node, group: Group, cols: int) -> str:
        return "full" if x.aval.size == group.size and self.roots.role[x.seq] != "reduce" else "row"

    def _divides(self, nodes: Sequence[Node], size: int, cols: int) -> bool:
        """Whether atoms can be found that all roots' shapes are made of."""
        last, domain = nodes[-1], self.roots.domain(nodes[-1])
        plain = self.roots.reads[last.seq][0] == tuple(domain)
        if plain and not cols and any(self._is_plain(n, domain) for n in nodes[:-1]):
            return True
        try:
            atoms_for(self.roots, nodes, size, cols)
        except Unaligned:
            return False
        return True


def full(sizes: Sequence[int]) -> Affine:
    """The number of an element in row-major order."""
    return Affine(0, tuple([(i, s) for i, (s, n) in enumerate(zip(strides_of(sizes), sizes, strict=True)) if n > 1]))


def row(sizes: Sequence[int], cols: int) -> Affine | None:
    """The number of an element's row; None if an atom belongs to row and column."""
    terms: list[tuple[int, int]] = []
    for i, (s, n) in enumerate(zip(strides_of(sizes), sizes, strict=True)):
        if n == 1 or s * n <= cols:
            continue
        if s % cols:
            return None
        terms.append((i, s // cols))
    return Affine(0, tuple(terms))


def atoms_for(roots: Roots, nodes: Sequence[Node], size: int, cols: int) -> list[int]:
    """The sizes of atoms, outermost first, that the shapes of all roots and what they read can be made of."""
    cols = cols or 1
    sizes = [size // cols, cols] if cols > 1 else [size]
    while True:
        try:
            for n in nodes:
                domain = roots.domain(n)
                if math.prod(domain) == size:
                    roots.follow(n, unflattened(sizes, domain), sizes)
                else:
                    outer = row_atoms(sizes, cols)
                    roots.follow(n, unflattened(outer, domain), outer)
            return sizes
        except Straddle as cut:
            sizes[cut.atom : cut.atom + 1] = [sizes[cut.atom] // cut.inner, cut.inner]


def row_atoms(sizes: Sequence[int], cols: int) -> list[int]:
    """The atoms that number rows."""
    out = list(sizes)
    inner = 1
    while inner < cols:
        inner *= out.pop()
    return out

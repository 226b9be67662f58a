"""Which values get memory of their own; all others are computed where they are needed.

A *root* is a value that a kernel stores, or hands on within the kernel. Everything between roots is recomputed from
them, element by element, so the choice is one between memory traffic and arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..graph.graph import Graph
from ..graph.node import Node
from ..optimize.checks import Key, lookup_of
from .index import Affine, Coords, Straddle, Unaligned, digits, flat_index, is_movement, strides_of, through
from .kinds import FOLLOWING, KIND, Part, cost, is_number, looked_up, parts, role, takes_epilogue
from .operands import Operand, operand_of

if TYPE_CHECKING:
    from ..codegen.target import Target

RECOMPUTED = 8  # additions: what may be computed again, for each use but the first
# Ops whose kernels want operands in row-major memory.
DENSE = frozenset({"add_rows", "scan", "while_loop", "cond", "switch"})
# Ops whose kernels want each matrix of an operand (its last two dimensions) to lie in rows, or in columns.
MATRICES = frozenset({"each"})
READS = 10  # tensors read by one expression
SHORT = 2  # terms of a product's sums: operands of so few are not packed by vectors along them
NODES = 80  # ops in one expression

Read = tuple[Node, Affine]  # a root, and which of its elements is read


class View(NamedTuple):
    """Strided memory: element ``offset`` of a root's buffer and from there on, strides in elements."""

    root: Node
    offset: int
    strides: tuple[int, ...]


class Sight(NamedTuple):
    """Where the elements of a value were found, going back from it: what had no memory, and what did.

    It stays true as long as these do.
    """

    passed: tuple[int, ...]
    end: int | None
    view: View | None

    def holds(self, kept: set[int]) -> bool:
        """Whether it is what would be found now."""
        return (self.end is None or self.end in kept) and kept.isdisjoint(self.passed)


def _view_of(root: Node, flat: Affine, shape: Sequence[int]) -> View:
    return View(root, flat.const, tuple([flat.coefficient(i) for i in range(len(shape))]))


class Roots:
    """The roots of a graph: ``is_root(n)``, and for each of them what it reads."""

    def __init__(
        self, graph: Graph, sure: frozenset[Key] = frozenset(), target: Target | None = None, repeated: bool = False,
    ) -> None:  # fmt: skip
        """``sure``: lookups that are in range (see `optimize.checks.Checks`).

        ``target``: what products are planned for that may compute their operands themselves; without it none does.
        ``repeated``: the graph runs many times, and what does not change is computed once.
        """
        self.graph, self.sure, self.target, self.repeated = graph, sure, target, repeated
        self.role = {n.seq: role(n) for n in (*graph.inputs, *graph.nodes)}
        self.kept: set[int] = {n.seq for n in (*graph.inputs, *graph.nodes) if self.role[n.seq] == "leaf"}
        self.sights: dict[int, Sight] = {}
        self.weight: dict[int, int] = {}  # of an expression down to roots
        self.size: dict[int, int] = {}
        self.users: dict[int, list[Node]] = {}
        self.operands: dict[tuple[int, int], Operand] = {}  # by product and position: those that it computes itself
        self.refused: dict[int, str] = {}  # why a product does not compute an operand
        self.wanted: dict[int, list[tuple[Node, int]]] = {}  # who reads what may be such an operand, in order
        self.settled = True
        self._choose()

    def is_root(self, n: Node) -> bool:
        """Whether a value has memory, or a register, of its own."""
        return n.seq in self.kept

    def domain(self, n: Node) -> tuple[int, ...]:
        """The shape that a root's kernel iterates over."""
        return n.inputs[0].shape if self.role[n.seq] == "reduce" else n.shape

    def looks(self, root: Node) -> bool:
        """Whether computing a root, or what a graph in it computes, looks something up that may be out of range."""
        stack, seen = [root], set[int]()
        while stack:
            n = stack.pop()
            found = lookup_of(n)
            if found is not None and not found.is_sure(self.sure):
                return True
            if n is root and any(_looks_inside(v) for v in n.attrs.values() if isinstance(v, Graph)):
                return True
            inner = [x for x in n.inputs if x.seq not in self.kept and x.seq not in seen]
            seen.update(x.seq for x in inner)
            stack += inner
        return False

    def sources(self, n: Node) -> list[Node]:
        """The roots that a root is computed from; and what has several results, or none of it in strided memory."""
        if self.role[n.seq] != "whole":
            return [x for x, _ in self.reads[n.seq][1]]
        out: list[Node] = []
        for i, x in enumerate(n.inputs):
            found, view = self.operands.get((n.seq, i)), self.view(x)
            out += [y for y, _ in found.reads] if found is not None else [x if view is None else view.root]
        return out

    def computed(self, n: Node) -> list[Node]:
        """The operands that a product computes itself, behind their movements."""
        return [_base(x) for i, x in enumerate(n.inputs) if (n.seq, i) in self.operands]

    def work(self, n: Node) -> int:
        """Additions to compute an element from roots."""
        stack, seen = [n], set[int]()
        total = 0
        while stack:
            m = stack.pop()
            if m.seq not in seen and m.seq not in self.kept:
                seen.add(m.seq)
                total += 0 if is_movement(m) else cost(m)
                stack += m.inputs
        return total

    # -- choosing --------------------------------------------------------------------------

    def _choose(self) -> None:
        order = [n for n in self.graph.nodes if n.op is not None]
        for n in order:
            for x in n.inputs:
                self.users.setdefault(x.seq, []).append(n)
        for n in order:
            if self.role[n.seq] in ("reduce", "running", "whole"):
                self.kept.add(n.seq)
            if self.role[n.seq] == "whole":
                for i, x in enumerate(n.inputs):
                    self._consider_input(n, i, x)
        self.kept |= {n.seq for n in self.graph.outputs}
        for n in order:
            self._consider(n)
        self._check()

    def _consider_input(self, n: Node, which: int, x: Node) -> None:
        """Keep an operand of an op as a whole, unless that is a product that may compute it."""
        if self._may_compute(n, x):
            self.wanted.setdefault(_base(x).seq, []).append((n, which))
            return
        self._keep_base(x)
        if n.op.name in DENSE and not self._is_dense(x):
            self.kept.add(x.seq)
        if n.op.name in MATRICES and not self._is_matrix(x):
            self.kept.add(x.seq)

    def _may_compute(self, n: Node, x: Node) -> bool:
        """Whether an op is a product that might compute an operand itself."""
        if n.op.name != "matmul" or self.target is None or not n.aval.size or n.inputs[0].shape[-1] <= SHORT:
            return False
        return KIND.get(n.aval.dtype) in ("f32", "f64", "bf16") and self.role[_base(x).seq] == "point"

    def _compute(self, n: Node, product: Node, which: int) -> str:
        """Let a product compute an operand from the value ``n``, which nobody else reads; else the reason why not."""
        from ..codegen.prologue import pays

        assert self.target is not None
        x, other = product.inputs[which], product.inputs[1 - which]
        if len(self._final_users(n)) > 1:
            return "another kernel reads it too"
        found = None if self.looks(x) else operand_of(self, x, _summed(x, which))
        if found is None:
            return "the product would not find all of it side by side"
        if takes_epilogue(found.source.root) and self.weight[n.seq] <= FOLLOWING:
            return "it follows what makes it"
        self.kept.add(n.seq)
        apart, beside = [strides_of(y.shape) if (v := self.view(y)) is None else v.strides for y in (x, other)]
        self.kept.discard(n.seq)
        if not pays(product, which, found, self.work(x), (apart, beside), self.target, self.repeated):
            return "the product would take longer than both"
        self.operands[product.seq, which] = found
        return ""

    def _keep_base(self, n: Node) -> None:
        """An operand of an op as a whole: the value behind its movements has memory, if it can be seen from there."""
        base = n
        if type(n.aval) is tuple:
            return
        while is_movement(base) and base.seq not in self.kept:
            base = base.inputs[0]
        held = base.seq in self.kept
        self.kept.add(base.seq)
        if self.view(n) is None:
            if not held:
                self.kept.discard(base.seq)
            self.kept.add(n.seq)

    def _is_dense(self, n: Node) -> bool:
        view = self.view(n)
        return view is not None and all(
            s == t for s, t, k in zip(view.strides, strides_of(n.shape), n.shape, strict=True) if k > 1
        )

    def _is_matrix(self, n: Node) -> bool:
        view = self.view(n)
        if view is None:
            return False
        (rows, columns), (across, along) = n.shape[-2:], view.strides[-2:]
        rowwise = along == 1 and (rows == 1 or across >= columns)
        return rowwise or (across == 1 and (columns == 1 or along >= rows)) or rows == columns == 1

    def view(self, n: Node) -> View | None:
        """A value as strided memory of a root; None if it is none."""
        known = self.sights.get(n.seq)
        if known is None or not known.holds(self.kept):
            known = self.sights[n.seq] = self._sight(n)
        return known.view

    def _sight(self, n: Node) -> Sight:
        if type(n.aval) is tuple:
            return Sight((), None, View(n, 0, ()))
        sizes = n.shape
        at = tuple([Affine(0, ((i, 1),)) if k > 1 else Affine() for i, k in enumerate(sizes)])
        shape = n.shape
        passed: list[int] = []
        while n.seq not in self.kept:
            passed.append(n.seq)
            if not is_movement(n):
                return Sight(tuple(passed), None, None)
            x = n.inputs[0]
            if n.op.name == "reshape" and x.seq in self.kept:
                return Sight(tuple(passed), x.seq, _view_of(x, flat_index(at, n.shape), shape))
            try:
                at = through(n, at, sizes)
            except (Unaligned, Straddle):
                return Sight((*passed, x.seq), None, None)  # a reshape shows all of the memory behind it
            n = x
        return Sight(tuple(passed), n.seq, _view_of(n, flat_index(at, n.shape), shape))

    def _consider(self, n: Node) -> None:
        """Keep a value if it would be computed again too often, or its expression becomes too large."""
        if self.role[n.seq] != "point":
            return
        self._measure(n)
        if n.seq in self.wanted:
            self._consider_operand(n)
        if n.seq in self.kept:
            return
        users = self._final_users(n)
        weight = self.weight[n.seq]
        spread = any(size > n.aval.size for _, size in users)
        times = len({u.seq for u, _ in users})
        if (spread and weight > 0) or (times - 1) * weight > RECOMPUTED or self.size[n.seq] > NODES:
            self.kept.add(n.seq)
        elif len(self._inputs_of(n)) > READS:
            self.kept.add(n.seq)

    def _consider_operand(self, n: Node) -> None:
        """Keep an operand unless the product computes it."""
        if n.seq not in self.kept:
            why = self._compute(n, *self.wanted[n.seq][0])
            if not why:
                return
            self.refused[n.seq] = why
        for product, which in self.wanted[n.seq]:
            self._keep_base(product.inputs[which])

    def _measure(self, n: Node) -> None:
        weight, size = cost(n), 1
        for x in n.inputs:
            while is_movement(x) and x.seq not in self.kept:
                x = x.inputs[0]
            if x.seq not in self.kept:
                weight += self.weight.get(x.seq, 0)
                size += self.size.get(x.seq, 0)
        self.weight[n.seq], self.size[n.seq] = weight, size

    def _final_users(self, n: Node) -> list[tuple[Node, int]]:
        """The ops that read a value, through movements, and how many elements they read it for."""
        out: list[tuple[Node, int]] = []
        stack = [(u, n.aval.size) for u in self.users.get(n.seq, [])]
        while stack:
            u, size = stack.pop()
            if is_movement(u):
                larger = max(size, u.aval.size)
                stack.extend((v, larger) for v in self.users.get(u.seq, []))
            else:
                out.append((u, size))
        return out

    def _inputs_of(self, n: Node) -> set[int]:
        found: set[int] = set()
        stack = list(n.inputs)
        while stack:
            x = stack.pop()
            if x.seq in self.kept:
                found.add(x.seq)
            else:
                stack.extend(x.inputs)
        return found

    # -- reading ---------------------------------------------------------------------------

    def _check(self) -> None:
        """What each root reads. Inputs of reshapes that cannot be followed become roots, until there are none."""
        self.reads: dict[int, tuple[tuple[int, ...], tuple[Read, ...]]] = {}
        known: set[int] = set()
        while known != self.kept:
            known = set(self.kept)
            self.settled = False
            for n in self.graph.nodes:
                if n.seq in self.kept and self.role[n.seq] in ("point", "reduce", "running", "move"):
                    self.reads[n.seq] = self._reads_of(n)
            self.settled = True
            self._check_operands()

    def _check_operands(self) -> None:
        """Operands that products compute, from what has become roots since."""
        products = [n for n in self.graph.nodes if n.inputs and any((n.seq, i) in self.operands for i in (0, 1))]
        for n in products:
            for i, x in enumerate(n.inputs):
                if self.operands.pop((n.seq, i), None) is None:
                    continue
                found = operand_of(self, x, _summed(x, i)) if self.view(x) is None else None
                if found is None:
                    self._keep_base(x)
                else:
                    self.operands[n.seq, i] = found

    def _reads_of(self, n: Node) -> tuple[tuple[int, ...], tuple[Read, ...]]:
        sizes = list(self.domain(n))
        while True:
            try:
                coords = unflattened(sizes, self.domain(n))
                return tuple(sizes), tuple(self.follow(n, coords, sizes))
            except Straddle as cut:
                sizes[cut.atom : cut.atom + 1] = [sizes[cut.atom] // cut.inner, cut.inner]

    def follow(self, root: Node, coords: Coords, sizes: Sequence[int]) -> list[Read]:
        """The roots that a root's expression reads, and which elements of them."""
        out: dict[tuple[int, Affine], Read] = {}
        seen: set[tuple[int, Coords]] = set()
        stack: list[tuple[Node, Coords]] = []
        if root.op.name == "reshape" and root.inputs[0].seq in self.kept:
            flat = flat_index(coords, root.shape)
            out[root.inputs[0].seq, flat] = (root.inputs[0], flat)
        else:
            stack += [(p.source, p.coords) for p in self.behind(root, coords, sizes)]
        while stack:
            n, at = stack.pop()
            if (n.seq, at) in seen:
                continue
            seen.add((n.seq, at))
            stack.extend((x.node, x.coords) for x in looked_up(at))
            if is_number(n):
                continue
            if n.seq in self.kept:
                flat = flat_index(at, n.shape)
                out[n.seq, flat] = (n, flat)
            elif n.op.name == "reshape" and n.inputs[0].seq in self.kept:
                flat = flat_index(at, n.shape)
                out[n.inputs[0].seq, flat] = (n.inputs[0], flat)
            else:
                stack.extend((p.source, p.coords) for p in self.behind(n, at, sizes))
        return list(out.values())

    def behind(self, n: Node, at: Coords, sizes: Sequence[int]) -> list[Part]:
        """What an element of a value is made of, one op back."""
        x = n.inputs[0] if n.inputs else n
        if self.role[n.seq] == "reduce":
            return [Part(x, at, [])]
        if self.role[n.seq] != "move":
            return parts(n, at)
        try:
            return [Part(x, through(n, at, sizes), [])]
        except Unaligned:
            if self.settled:
                raise  # in the atoms of a group: it is none of the group
            self.kept.add(x.seq)
            return [Part(x, at, [])] if x.shape == n.shape else []


def _base(n: Node) -> Node:
    """What is behind the movements of a value."""
    while is_movement(n):
        n = n.inputs[0]
    return n


def _summed(x: Node, which: int) -> int:
    """The axis that a product is summed over, of the first or the second operand."""
    return len(x.shape) - 1 - which


def _looks_inside(graph: Graph) -> bool:
    """Whether a graph looks anything up."""
    inner = [v for n in graph.nodes for v in (n.attrs or {}).values() if isinstance(v, Graph)]
    found = [lookup_of(n) for n in graph.nodes]
    return any(x is not None and not x.is_sure(frozenset()) for x in found) or any(map(_looks_inside, inner))


def unflattened(sizes: Sequence[int], shape: Sequence[int]) -> Coords:
    """Coordinates in ``shape`` of the element that atoms, outermost first, number in row-major order."""
    flat = Affine(0, tuple([(i, s) for i, (s, n) in enumerate(zip(strides_of(sizes), sizes, strict=True)) if n > 1]))
    return digits(flat, shape, sizes)

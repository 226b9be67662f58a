"""What follows a product or a convolution element by element, computed where its results still are in registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph.node import Node
from ..schedule.groups import Group, full
from ..schedule.index import Affine, Straddle, Unaligned
from ..schedule.kinds import KIND
from ..schedule.roots import Roots, View, unflattened
from .evaluate import Blocks, Evaluator, Operands, merged_runs
from .kernel import Place
from .loop import I64, Builder, Type, Value, pointer
from .nest import signature


class Named(Operands):
    """Operands that are parameters of a kernel already, by name; without names, they are collected."""

    def __init__(self, b: Builder, names: dict[int, str] | None = None) -> None:
        super().__init__(b)
        self.names = names

    def pointer(self, n: Node) -> Value:
        """The parameter that points at a node's buffer."""
        return super().pointer(n) if self.names is None else getattr(self.b, self.names[n.seq])


def memory_order(n: Node) -> tuple[int, ...]:
    """For each axis of the result in memory, which one of the op's own it is."""
    return n.attrs.get("order", tuple(range(len(n.shape))))


def blocks_of(roots: Roots, product: Node, members: Sequence[Node]) -> Blocks | None:
    """Loops that the members can be computed in: each within one axis of the product, vectors within one of them."""
    sizes = list(product.shape)
    try:
        while True:
            try:
                for n in members:
                    roots.follow(n, unflattened(sizes, roots.domain(n)), sizes)
                break
            except Straddle as cut:
                sizes[cut.atom : cut.atom + 1] = [sizes[cut.atom] // cut.inner, cut.inner]
    except Unaligned:
        return None
    seen = Body(roots, product, product.shape, members, Blocks(sizes, [[a] for a in range(len(sizes))])).seen()
    blocks = merged_blocks(sizes, product.shape, seen)
    split = len(blocks.runs) != len(product.shape)
    whole = blocks.counts[-1] == product.shape[-1] and not (split and min(_sides(product)) <= _DOTS)
    return blocks if whole else None


def merged_blocks(sizes: Sequence[int], shape: Sequence[int], seen: set[Affine]) -> Blocks:
    """As few loops as can be, each within one axis."""
    walls, inner = set[int](), 0
    for size in shape:
        walls.add(inner)
        inner += _atoms(sizes[inner:], size)
    return Blocks(sizes, merged_runs(sizes, seen | {full(sizes)}, walls))


_DOTS = 6  # products of so few rows or columns may have their vectors along either


def _sides(product: Node) -> list[int]:
    order = memory_order(product)
    return [product.shape[order.index(i)] for i in range(len(order))][-2:]


def _atoms(sizes: Sequence[int], size: int) -> int:
    """How many atoms an axis is made of."""
    count, product = 1, sizes[0]
    while product < size:
        product *= sizes[count]
        count += 1
    return count


class Body:
    """The members' values where a vector of some value is given: a product's results, or what becomes an operand."""

    def __init__(
        self, roots: Roots, given: Node, shape: tuple[int, ...], members: Sequence[Node], blocks: Blocks,
        at: Affine | None = None,
    ) -> None:  # fmt: skip
        """``shape``: what indices go over; ``at``: which elements are given, if others may be read besides."""
        self.roots, self.given, self.shape, self.members, self.blocks = roots, given, shape, members, blocks
        self.at = full(blocks.sizes) if at is None else at

    def emit(
        self, b: Builder, operands: Operands, x: Value, index: Sequence[Value], axis: int, mask: Value | None
    ) -> tuple[Evaluator, dict[int, Value]]:
        """The values by seq; ``index``: in ``shape``; the vector lies along ``axis`` of it."""
        e = Evaluator(self.roots, b, operands, self.blocks)
        e.lanes = x.lanes
        self._place(e, index, axis)
        values = {self.given.seq: x}
        e.local = lambda n, flat: values.get(n.seq) if n is not self.given or flat == self.at else None
        for n in self.members:
            coords = unflattened(self.blocks.sizes, self.roots.domain(n))
            values[n.seq] = b.splat(e.expression(n, coords, mask), x.lanes)
        return e, values

    def _place(self, e: Evaluator, index: Sequence[Value], axis: int) -> None:
        """Set the variables of the blocks from the product's indices."""
        block = 0
        for d, (i, size) in enumerate(zip(index, self.shape, strict=True)):
            own, count = [], 1
            while count < size or not own:
                own.append(block)
                count *= self.blocks.counts[block]
                block += 1
            for later, b in enumerate(own):
                inner = 1
                for c in own[later + 1 :]:
                    inner *= self.blocks.counts[c]
                at = i // inner if inner > 1 else i
                e.variables[b] = at % self.blocks.counts[b] if later else at
            if d == axis and e.lanes > 1:
                e.vector_block = own[-1]

    def dry(self) -> tuple[Evaluator, Operands]:
        """What the members need, found by writing them for nothing."""
        b = Builder("dry", i=I64)
        operands = Named(b)
        x = b.const(0, Type(KIND[self.given.aval.dtype], 1))
        e, _ = self.emit(b, operands, x, [b.i for _ in self.shape], -1, None)
        return e, operands

    def seen(self) -> set[Affine]:
        """The indices that come up."""
        return self.dry()[0].seen


class Attached:
    """What stands before or behind a product, and the buffers that it needs. Equal ones have equal code."""

    def __init__(self, key: object, nodes: Sequence[Node], name: str) -> None:
        """``name``: of the operands for ``nodes``, with a number behind."""
        self.key, self.nodes = key, nodes
        self.names = {n.seq: f"{name}{i}" for i, n in enumerate(nodes)}
        self.operands: Mapping[str, Type] = {self.names[n.seq]: pointer(KIND[n.aval.dtype]) for n in nodes}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def views(self) -> dict[str, View]:
        """The buffers that its operands are."""
        return {self.names[n.seq]: View(n, 0, ()) for n in self.nodes}


class Fused(Attached):
    """The epilogue of a group that begins with a product (see `kernel.Epilogue`)."""

    def __init__(self, group: Group, roots: Roots, stored: set[int]) -> None:
        product, *members = group.nodes
        blocks = blocks_of(roots, product, members)
        assert blocks is not None, "members join where they can be computed"
        key = signature(group, roots, stored, {})[0]
        wanted = [n for n in group.nodes if n.seq in stored]
        self.kind = KIND[product.aval.dtype]
        same = [n for n in wanted if n.aval.dtype == product.aval.dtype]
        self.main = product if product in wanted else (same or [product])[0]  # what the kernel itself stores
        self.others = [n for n in wanted if n is not self.main]
        self.flops = product.aval.size * sum(roots.size[n.seq] for n in members)
        self.body = Body(roots, product, product.shape, members, blocks)
        self.order = memory_order(product)
        read = self.body.dry()[1].nodes
        super().__init__(key, list({n.seq: n for n in (*read, *self.others)}.values()), "e")

    def __call__(self, b: Builder, x: Value, place: Place) -> Value:
        """Store all results but the main one, which is given back."""
        index = [place.index[i] for i in self.order]
        x = b.cast(x, self.kind)  # what is summed in float32 is rounded first, as it is where nothing follows
        e, values = self.body.emit(b, Named(b, self.names), x, index, self.order.index(place.axis), place.mask)
        flat = full(e.blocks.sizes)
        for n in self.others:
            e.store(n, flat, values[n.seq], place.mask)
        return values[self.main.seq]

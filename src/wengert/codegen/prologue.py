"""What is done to an operand of a product element by element, computed where the product packs or loads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph.node import Node
from ..schedule.groups import Group
from ..schedule.index import strides_of
from ..schedule.kinds import KIND
from ..schedule.operands import Operand
from ..schedule.roots import Roots
from .column import LARGEST
from .contract_plan import VECTOR_OP, Product, plan
from .epilogue import Attached, Body, Named, memory_order, merged_blocks
from .kernel import Place
from .loop import BITS, Builder, Value
from .nest import signature
from .target import Target

_LAUNCH = 1000  # cycles to begin a kernel, and to wait for its end
_NEAR, _AWAY = 0.12, 0.5  # cycles to write an element and read it again, within the second-level cache and beyond it
_READ = 0.07  # cycles to read a byte from beyond it, which is all that a kernel before a loop leaves to do


def product_of(n: Node, strides: Sequence[Sequence[int]], kinds: Sequence[str] = ("", "")) -> Product:
    """A product of operands with such strides, and kinds where these are not its own."""
    x, y = n.inputs
    m, k = x.shape[-2:]
    mine, order = strides_of(n.shape), memory_order(n)
    c = tuple([mine[order.index(i)] for i in range(len(order))])
    a, b, c = [(tuple(s[:-2]), s[-2], s[-1]) for s in (*strides, c)]
    return Product(KIND[n.aval.dtype], x.shape[:-2], m, y.shape[-1], k, a, b, c, kind_a=kinds[0], kind_b=kinds[1])


def pays(
    n: Node, which: int, operand: Operand, work: int, strides: tuple[Sequence[int], Sequence[int]], target: Target,
    repeated: bool = False,
) -> bool:  # fmt: skip
    """Whether a product had better compute an operand itself than read it.

    ``work``: additions for an element. ``strides``: of the operand if it were in memory, and of the other one.
    ``repeated``: that would be computed once for many products.
    """
    if n.shape[-1] == 1 and n.inputs[0].aval.size <= LARGEST:  # these have a kernel that waits for nothing
        return False
    x, kind = n.inputs[which].aval, KIND[operand.source.root.aval.dtype]
    fused = product_of(n, _pair(which, operand.source.strides, strides[1]), _pair(which, kind, ""))
    plain = product_of(n, _pair(which, *strides))
    far = x.nbytes > target.l2
    kernel = _LAUNCH + x.size * ((_AWAY if far else _NEAR) + work * VECTOR_OP / target.lanes(x.dtype.itemsize))

    def cost(p: Product, work: tuple[int, int]) -> float:
        found = plan(p, target, *work)
        byte = found.scattered("ab"[which]) + (_READ if repeated else 0.0) if far else 0.0
        return found.cost + byte * x.size * BITS[p.kind_of("ab"[which])] / 8

    return cost(fused, _pair(which, work, 0)) < cost(plain, (0, 0)) + (0.0 if repeated else kernel)


def _pair(which: int, own: Any, other: Any) -> tuple[Any, Any]:
    """Something of an operand, and of the other one, in order."""
    return (own, other) if which == 0 else (other, own)


class Computed(Attached):
    """The prologue of an operand (see `kernel.Prologue`)."""

    def __init__(self, roots: Roots, n: Node, operand: Operand, name: str) -> None:
        """``name``: of its further operands, with a number behind."""
        group = Group("operand", n.aval.size)
        group.add(n)
        self.work = max(roots.work(n), 1)
        self.flops = n.aval.size * self.work
        seen = {flat for _, flat in operand.reads}
        blocks = merged_blocks(operand.sizes, n.shape, seen)
        self.body = Body(roots, operand.source.root, n.shape, [n], blocks, operand.at)
        self.result = n
        super().__init__((name, signature(group, roots, set(), {})[0]), self.body.dry()[1].nodes, name)

    def __call__(self, b: Builder, x: Value, place: Place) -> Value:
        """The operand's elements from the source's."""
        _, values = self.body.emit(b, Named(b, self.names), x, place.index, place.axis, place.mask)
        return values[self.result.seq]

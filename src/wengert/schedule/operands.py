"""Operands of products that are computed where the product loads or packs them, rather than in memory.

Such an operand is an expression of roots. One of them is its *source*: strided memory with an element for each of the
operand's own, which the product's kernels go through as they would go through the operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..graph.node import Node
from .index import Affine, Straddle, Unaligned

if TYPE_CHECKING:
    from .roots import Read, Roots, View

PIECEWISE = frozenset({"pad", "unslice", "set_slice", "cat"})  # ops that read memory only where a condition holds


class Operand(NamedTuple):
    """``source``: its memory as the operand sees it; ``at``: the same as an index of atoms.

    ``sizes``: of the atoms, outermost first, each within one axis. ``reads``: all that is read.
    """

    source: View
    at: Affine
    sizes: tuple[int, ...]
    reads: tuple[Read, ...]


def operand_of(roots: Roots, n: Node, k: int) -> Operand | None:
    """How an operand is computed from a source; None if it has none, or not all lies as that does.

    ``k``: the axis that products are summed over.
    """
    if _is_piecewise(roots, n):
        return None
    try:
        sizes, reads = _followed(roots, n)
    except Unaligned:
        return None
    if any(flat.looked for _, flat in reads):
        return None
    axes = [_Axis(n.shape, i, i == k, atoms, sizes, reads) for i, atoms in enumerate(_axes(sizes, n.shape))]
    fit = [i for i in range(len(reads)) if all(a.suits(i) for a in axes) and any(a.has_vectors(i) for a in axes)]
    if not fit:
        return None
    from .roots import View

    chosen = max(fit, key=lambda i: reads[i][0].aval.nbytes)
    root, flat = reads[chosen]
    return Operand(View(root, flat.const, tuple([a.steps[chosen][-1] for a in axes])), flat, sizes, tuple(reads))


def _is_piecewise(roots: Roots, n: Node) -> bool:
    stack, seen = [n], set[int]()
    while stack:
        m = stack.pop()
        if m.seq in seen or roots.is_root(m):
            continue
        if m.op is not None and m.op.name in PIECEWISE:
            return True
        seen.add(m.seq)
        stack += m.inputs
    return False


def _followed(roots: Roots, n: Node) -> tuple[tuple[int, ...], list[Read]]:
    """The sizes of atoms, each within one axis, and the roots that a value is computed from."""
    from .roots import unflattened

    sizes = list(n.shape)
    while True:
        try:
            return tuple(sizes), roots.follow(n, unflattened(sizes, n.shape), sizes)
        except Straddle as cut:
            sizes[cut.atom : cut.atom + 1] = [sizes[cut.atom] // cut.inner, cut.inner]


def _axes(sizes: Sequence[int], shape: Sequence[int]) -> list[range]:
    """The atoms that each axis is made of."""
    out: list[range] = []
    first = 0
    for size in shape:
        stop, product = first + 1, sizes[first]
        while product < size:
            product *= sizes[stop]
            stop += 1
        out.append(range(first, stop))
        first = stop
    return out


LANES = 16  # of vectors, at most


class _Axis:
    """An axis of an operand: ``steps`` that each read makes along its atoms, of which the innermost ones run as one."""

    def __init__(
        self, shape: Sequence[int], number: int, is_k: bool, atoms: range, sizes: Sequence[int], reads: Sequence[Read]
    ) -> None:
        self.size, self.is_k, self.in_matrix = shape[number], is_k, number >= len(shape) - 2
        self.steps = [[flat.coefficient(a) for a in atoms] for _, flat in reads]
        self.even = [all(s == t * sizes[a] for s, t, a in zip(x, x[1:], atoms[1:], strict=False)) for x in self.steps]
        self.run = 1  # elements along which all reads are even
        for place in reversed(range(len(atoms))):
            self.run *= sizes[atoms[place]]
            if place and any(x[place - 1] != x[place] * sizes[atoms[place]] for x in self.steps):
                break

    def suits(self, i: int) -> bool:
        """Whether a read can be the source: it is even, moves wherever others do, and has its vectors with theirs."""
        if self.size == 1:
            return True
        if not self.even[i] or self.steps[i][-1] < 0:
            return False
        if not self.steps[i][-1]:
            return not self.in_matrix and not any(map(any, self.steps))
        # Vectors begin at multiples of their length along k, elsewhere anywhere.
        together = self.run == self.size or (self.is_k and self.run % LANES == 0)
        return not self.has_vectors(i) or (together and all(x[-1] in (0, 1) for x in self.steps))

    def has_vectors(self, i: int) -> bool:
        """Whether a read has its elements side by side along this axis."""
        return self.in_matrix and self.size > 1 and self.steps[i][-1] == 1

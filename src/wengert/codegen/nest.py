"""Fused kernels: the loop nests of `rows` (`nest_rows`, `nest_turned`), `reduce` (`nest_reduce`) and `running` groups.

A kernel is written twice: once to see which indices come up, so that neighbouring loops can be merged, and then with
the merged loops.
"""

from __future__ import annotations

import functools
import gc
from typing import Any

from ..graph.node import Node, frozen
from ..optimize.checks import Lookup, lookup_of
from ..schedule.groups import Group, atoms_for, row_atoms
from ..schedule.roots import Roots
from .evaluate import Blocks, merged_runs
from .kernel import Kernel
from .nest_parts import Written
from .nest_reduce import Reduction, reduce_atoms, reduction_walls
from .nest_rows import Rows
from .nest_running import Running
from .nest_turned import Turned, turned_block
from .target import Target


def write(
    group: Group, roots: Roots, stored: set[int], target: Target, inplace: dict[int, Node] | None = None,
    padded: frozenset[int] = frozenset(),
) -> Written:  # fmt: skip
    """The kernel of a group. ``stored``: the roots that get memory; ``inplace``: those that get another's.

    ``padded``: values whose memory has room for whole vectors.
    """
    key, nodes = signature(group, roots, stored, inplace or {}, padded)
    known = _written.get((target, key))
    if known is None:
        found = _write(group, roots, stored, target, inplace or {}, padded)
        number = {n.seq: i for i, n in enumerate(nodes)}
        looks = [(number[x.index.seq], x.size, x.low) for x in found.lookups]
        known = (found.kernel, [number[n.seq] for n in found.operands], {number[s] for s in found.written}, looks)
        _written[target, key] = known
        gc.collect(0)  # what wrote it refers to itself, and memory would be full of that by the end of a program
    kernel, operands, written, looks = known
    own = frozenset([nodes[i].seq for i in written])
    lookups = tuple([Lookup(nodes[i], size, low) for i, size, low in looks])
    return Written(kernel, tuple([nodes[i] for i in operands]), own, lookups)


_written: dict[Any, tuple[Kernel, list[int], set[int], list[tuple[int, int, int]]]] = {}


def signature(
    group: Group, roots: Roots, stored: set[int], inplace: dict[int, Node], padded: frozenset[int] = frozenset()
) -> tuple[tuple[Any, ...], list[Node]]:
    """What a group's kernel depends on, and the nodes it speaks of in that order: equal ones have equal kernels."""
    number: dict[int, int] = {}
    nodes: list[Node] = []
    parts: list[Any] = [group.kind, group.size, group.cols, group.shape, group.axes, bool(padded)]

    def visit(n: Node, expand: bool) -> None:
        """Number a node behind everything that it is computed from."""
        if n.seq in number:
            return
        stack: list[tuple[Node, bool]] = [(n, False)]
        while stack:
            m, ready = stack.pop()
            if m.seq in number:
                continue
            leaf = roots.is_root(m) and not (expand and m is n)
            if not ready and not leaf:
                stack.append((m, True))
                stack.extend((x, False) for x in m.inputs)
                continue
            number[m.seq] = len(nodes)
            nodes.append(m)
            value = m.data.tobytes() if m.op is None and m.data is not None and m.data.size == 1 else None
            name = "" if m.op is None else m.op.name
            found = lookup_of(m)
            if found is not None:
                parts.append(found.is_sure(roots.sure))
            what = ("leaf", value) if leaf else (name, frozen(m.attrs), *[number[x.seq] for x in m.inputs])
            parts.append((m.shape, m.aval.dtype.num, what, m.seq in padded))

    for n in group.nodes:
        visit(n, True)
        parts.append((number[n.seq], n.seq in stored))
        if n.seq in inplace:
            visit(inplace[n.seq], False)
            parts.append(("in place", number[inplace[n.seq].seq]))
    return tuple(parts), nodes


def _write(
    group: Group, roots: Roots, stored: set[int], target: Target, inplace: dict[int, Node], padded: frozenset[int]
) -> Written:
    if group.kind == "rows":
        sizes = atoms_for(roots, group.nodes, group.size, group.cols)
        make: Any = Rows
        walls = {len(row_atoms(sizes, group.cols))} if group.cols > 1 else set()
    else:
        sizes = reduce_atoms(roots, group)
        make = Running if group.kind == "running" else Reduction
        walls = reduction_walls(sizes, group)
    single = [[a] for a in range(len(sizes))]
    first = make(group, roots, stored, target, Blocks(sizes, single), inplace, padded)
    first.emit()
    blocks = Blocks(sizes, merged_runs(sizes, first.e.seen | first.extra, walls))
    across = turned_block(first, blocks)
    if across >= 0:
        make = functools.partial(Turned, across, first.e.loads)
    second = make(group, roots, stored, target, blocks, inplace, padded)
    second.emit()
    return second.finish()

"""A graph and its adjoints as two functions on kernels: forward, and backward, with little kept between them.

The joint graph of values and adjoints is optimised first, so that a loop stacks what its adjoint reads, and is cut
then. What the backward half can compute again for less than memory costs is not kept: movements of values that are
kept or given anyway, and cheap arithmetic on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..graph.graph import Graph
from ..graph.node import ITEM, Node, ancestors
from ..ops.base import Elementwise
from ..optimize.decompose import decompose
from ..optimize.loop_parts import dependents
from ..optimize.loops import loops
from ..optimize.pipeline import simplify
from ..optimize.rewrite import is_constant
from ..schedule.kinds import cost
from .eager import Kernels

MOVED = frozenset({"permute", "reshape", "expand"})  # what a kernel reads through at no cost
AGAIN = 16  # additions for an element, up to which it is computed again


def halves(joint: Graph, given: int, results: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(forward, backward) of a graph (inputs, adjoints) -> (outputs, adjoints of inputs).

    ``given``, ``results``: how many of its inputs and outputs belong to the forward half. ``forward(*inputs)`` returns
    the outputs and what ``backward(*kept, *adjoints)`` needs besides.
    """
    for run in (simplify, loops, decompose):
        joint = run(joint)
    inputs, seeds = joint.inputs[:given], joint.inputs[given:]
    outs, grads = joint.outputs[:results], joint.outputs[results:]
    kept = _Cut(joint, inputs, seeds, outs, grads).kept()
    place = {n.seq: i for i, n in enumerate(inputs)}
    again = [place[n.seq] for n in kept if n.seq in place]
    made = [n for n in kept if n.seq not in place]
    first = Kernels(Graph(inputs, (*outs, *made), joint.name))
    then = Kernels(Graph((*made, *[inputs[i] for i in again], *seeds), grads, f"{joint.name} backward"), shares=True)
    if not again:
        return first, then
    return (lambda *xs: (*first(*xs), *[xs[i] for i in again])), then


class _Cut:
    """Chooses the values that the forward half keeps for the backward half."""

    def __init__(
        self, joint: Graph, inputs: Sequence[Node], seeds: Sequence[Node], outs: Sequence[Node], grads: Sequence[Node]
    ) -> None:
        self.grads = grads
        self.late = dependents(joint, [n.seq for n in seeds])
        self.alive = {n.seq for n in (*inputs, *outs)} - self.late  # held by somebody anyway
        self.made = {n.seq for n in ancestors(outs)}

    def kept(self) -> list[Node]:
        """The values, in order of creation; inputs among them."""
        found = {n.seq: n for n in self._read(self.grads)}
        for seq in sorted(found, reverse=True):
            n = found[seq]
            if seq not in self.alive and self._is_cheap(n):
                sources = self._sources(n, found)
                if sources is not None:
                    del found[seq]
                    found |= {s.seq: s for s in sources}
        return [found[seq] for seq in sorted(found)]

    def _read(self, roots: Iterable[Node]) -> list[Node]:
        """The values of the forward half that the adjoints read, through movements."""
        out: list[Node] = []
        seen: set[int] = set()
        stack = list(roots)
        while stack:
            n = stack.pop()
            if n.seq in seen or is_constant(n):
                continue
            seen.add(n.seq)
            if n.seq in self.alive or self._is_stored(n):
                out.append(n)
            else:
                stack.extend(n.inputs)
        return out

    def _is_stored(self, n: Node) -> bool:
        """Whether the forward half has a value in memory, or could have."""
        if n.seq in self.late or n.op is None:
            return False
        owner = n.inputs[0] if n.op is ITEM else n
        return owner.seq in self.made and type(n.aval) is not tuple and n.op.name not in MOVED

    def _is_cheap(self, n: Node) -> bool:
        return isinstance(n.op, Elementwise) and cost(n) <= AGAIN

    def _sources(self, n: Node, found: dict[int, Node]) -> list[Node] | None:
        """What a value is computed from again; None if that is dear, or as much to keep."""
        out: dict[int, Node] = {}
        seen: set[int] = set()
        stack, work, room = [n], 0, n.aval.nbytes // 4
        while stack:
            x = stack.pop()
            if x.seq in seen or is_constant(x):
                continue
            seen.add(x.seq)
            if x is not n and (x.seq in self.alive or x.seq in found):
                out[x.seq] = x
            elif x.op.name in MOVED:
                stack.extend(x.inputs)
            elif x is n or (self._is_cheap(x) and x.aval.nbytes > room):
                work += cost(x)
                stack.extend(x.inputs)
            else:
                out[x.seq] = x
                room -= x.aval.nbytes
            if work > AGAIN or room < 0:
                return None
        return list(out.values())

"""A graph that fits a memory budget: values that wait long for their last readers are computed again for those.

Where memory is fullest, the values that merely wait are weighed: how much memory each one takes, and how much work it
is to compute it again from what is there then. The best are built a second time, right before their late readers.
(T. Chen et al., "Training deep nets with sublinear memory cost", arXiv:1604.06174; the choice is greedy, as in
M. Kirisame et al., "Dynamic tensor rematerialization", ICLR 2021.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

from ..graph.graph import Graph
from ..graph.node import ITEM, Node
from ..ops.base import Draw
from ..optimize.checks import looked_at
from ..schedule.groups import HOLDING, RECOMPUTED
from .block import Scheduled, written_over
from .target import Target

ROUNDS = 40
FLOPS = 16  # multiplications and additions of a product that take as long as one addition of other ops


class Lives:
    """When each buffer between kernels is written and read, in groups."""

    def __init__(self, s: Scheduled) -> None:
        self.node: dict[int, Node] = {}
        self.first: dict[int, int] = {}
        self.reads: dict[int, list[int]] = {}
        outside = {n.seq for n in (*s.graph.inputs, *s.graph.outputs)}
        for i, g in enumerate(s.groups):
            for n in g.nodes:
                if n.seq in s.stored and n.seq not in outside and type(n.aval) is not tuple:
                    self.node[n.seq], self.first[n.seq] = n, i
                for x in s.roots.sources(n):
                    self.reads.setdefault(x.seq, []).append(i)
        self.last = {k: max([i, *self.reads.get(k, ())]) for k, i in self.first.items()}
        change = [0] * (len(s.groups) + 1)
        for k, n in self.node.items():
            change[self.first[k]] += n.aval.nbytes
            change[self.last[k] + 1] -= n.aval.nbytes
        self.bytes = list(accumulate(change))

    @property
    def peak(self) -> int:
        """Bytes where memory is fullest."""
        return max(self.bytes, default=0)

    @property
    def fullest(self) -> int:
        """The group where it is."""
        return self.bytes.index(self.peak)

    def next_read(self, seq: int, at: int) -> int:
        """The first group behind ``at`` that reads a buffer."""
        return min((i for i in self.reads.get(seq, ()) if i > at), default=at)


def fit(graph: Graph, replaced: Sequence[tuple[int, int]], target: Target, budget: int, looks: bool = False) -> Graph:
    """The graph, changed so that buffers between kernels take ``budget`` bytes, or as few as can be.

    ``replaced``: pairs of an output and the input whose memory it replaces, by position. ``looks``: whether its inputs
    are looked at before it runs (see `optimize.checks.Checks`).
    """
    best: tuple[int, Graph] | None = None
    for _ in range(ROUNDS):
        sure = looked_at(graph) if looks else frozenset()
        s = Scheduled(graph, written_over(graph, replaced), target, sure=sure)
        lives = Lives(s)
        if best is None or lives.peak < best[0]:
            best = lives.peak, graph
        chosen = _chosen(s, lives, lives.peak - budget) if lives.peak > budget else {}
        if not chosen:
            break
        graph = _Late(s, lives.fullest, chosen).graph()
    assert best is not None
    return best[1]


def _chosen(s: Scheduled, lives: Lives, missing: int) -> dict[int, Node]:
    """What to compute again, the cheapest for its size first, until ``missing`` bytes are won."""
    at = lives.fullest
    waiting = {k: n for k, n in lives.node.items() if lives.first[k] < at < lives.last[k] and _can_again(n)}
    waiting = {k: n for k, n in waiting.items() if at not in lives.reads.get(k, ())}
    out: dict[int, Node] = {}
    for _, k in sorted((_work(s, n) / n.aval.nbytes, k) for k, n in waiting.items()):
        if missing <= 0:
            break
        n = waiting[k]
        until = lives.next_read(k, at)
        longer = [
            x for x in s.roots.sources(n) if x.seq in lives.node and x.seq not in out and lives.last[x.seq] < until
        ]
        won = n.aval.nbytes - sum(x.aval.nbytes for x in longer)
        if won > 0:
            out[k] = n
            missing -= won
    return out


def _can_again(n: Node) -> bool:
    return n.op is not ITEM and n.op.name not in HOLDING and (not isinstance(n.op, Draw) or bool(n.inputs))


def _work(s: Scheduled, n: Node) -> float:
    """Additions to compute a value from what has memory."""
    if s.roots.role[n.seq] != "whole":
        return (s.roots.weight.get(n.seq, 0) + 2) * math.prod(s.roots.domain(n))
    if n.op.name == "matmul":
        return 2 * n.aval.size * n.inputs[0].shape[-1] / FLOPS
    if n.op.name == "conv":
        return 2 * n.aval.size * math.prod(n.inputs[1].shape[1:]) / FLOPS
    return 8 * sum(x.aval.size for x in (n, *n.inputs) if type(x.aval) is not tuple)


class _Late:
    """Builds the groups behind ``at`` anew, on copies of the chosen values."""

    def __init__(self, s: Scheduled, at: int, chosen: Mapping[int, Node]) -> None:
        self.s, self.chosen = s, chosen
        self.env: dict[int, Node] = {n.seq: n for n in s.graph.inputs}
        self.again: set[int] = set(s.graph.derived.get(RECOMPUTED, ()))
        early = {n.seq: n for g in s.groups[: at + 1] for n in g.nodes}
        self.env |= {k: n for k, n in early.items() if k not in chosen}
        for g in s.groups[at + 1 :]:
            for n in g.nodes:
                self.env[n.seq] = self._built(n)

    def graph(self) -> Graph:
        """The graph with what is computed again."""
        old = self.s.graph
        outputs = tuple([self.env.get(n.seq, n) for n in old.outputs])
        out = Graph(old.inputs, outputs, old.name, 0, old.single)
        out.derived[RECOMPUTED] = frozenset(self.again)
        return out

    def _built(self, n: Node) -> Node:
        """A node on what its inputs have become; iterative, inputs first."""
        stack = [(n, False)]
        while stack:
            m, ready = stack.pop()
            if m.seq in self.env:
                continue
            if not ready:
                stack.append((m, True))
                stack += [(x, False) for x in reversed(m.inputs) if x.seq not in self.env]
            else:
                self.env[m.seq] = self._copy(m)
        return self.env[n.seq]

    def _copy(self, m: Node) -> Node:
        if m.op is None:
            return m
        inputs = tuple([self.env[x.seq] for x in m.inputs])
        out = Node(m.op, inputs, m.attrs, None, m.aval, False, m.code, m.lasti, m.scope)
        if m.seq in self.chosen or m.seq in self.again:
            self.again.add(out.seq)
        return out

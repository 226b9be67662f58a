"""The order of kernels: those that let go of memory come before those that take more."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

from ..graph.node import Node
from .groups import Group

LEAST = 1 << 12  # bytes of a buffer that counts


class Order:
    """Groups in a line, each of which may move before those that it does not depend on: ``groups``.

    ``sources``: the roots that a root is computed from. ``outside``: buffers that take no memory of the program's;
    groups with a root in ``pinned`` stay behind all before them.
    """

    def __init__(
        self, groups: Sequence[Group], sources: Callable[[Node], Iterable[Node]], outside: Container[int],
        pinned: Container[int],
    ) -> None:  # fmt: skip
        self.groups = list(groups)
        self.place = {id(g): i for i, g in enumerate(groups)}
        self.reads: dict[int, dict[int, int]] = {}  # of a group: bytes of what it reads, by seq
        self.readers: dict[int, list[int]] = {}  # of a buffer that counts: the groups
        self.depends: dict[int, set[int]] = {}
        for g in groups:
            found = {x.seq: x for n in g.nodes for x in sources(n) if x.seq not in g.seqs}
            self.depends[id(g)] = set(found)
            counted = {k: x.aval.nbytes for k, x in found.items() if k not in outside and _counts(x)}
            self.reads[id(g)] = counted
            for k in counted:
                self.readers.setdefault(k, []).append(id(g))
        self.made = {
            id(g): sum(n.aval.nbytes for n in g.nodes if n.seq in self.readers and n.seq not in outside)
            for g in groups
        }  # fmt: skip
        fixed = {id(g) for g in groups if any(n.seq in pinned for n in g.nodes)}
        for i in range(1, len(self.groups)):
            while i and id(self.groups[i]) not in fixed and self._pays(self.groups[i - 1], self.groups[i]):
                self._swap(i)
                i -= 1

    def _pays(self, a: Group, b: Group) -> bool:
        """Whether the second of two neighbours may come first, and memory is less full then."""
        if self.depends[id(b)] & a.seqs:
            return False
        taken, more = self.made[id(a)], self.made[id(b)]
        return max(more, more - self._freed(b, a) + taken) < max(taken, taken - self._freed(a, b) + more)

    def _freed(self, g: Group, other: Group) -> int:
        """Bytes of the buffers that nobody reads behind a group and its neighbour, which does not read them."""
        last = max(self.place[id(g)], self.place[id(other)])
        theirs = self.reads[id(other)]
        return sum(
            size for k, size in self.reads[id(g)].items()
            if k not in theirs and all(self.place[r] <= last for r in self.readers[k])
        )  # fmt: skip

    def _swap(self, i: int) -> None:
        a, b = self.groups[i - 1 : i + 1]
        self.groups[i - 1 : i + 1] = [b, a]
        self.place[id(a)], self.place[id(b)] = i, i - 1


def _counts(n: Node) -> bool:
    """Whether a buffer is made by a kernel, and large."""
    return n.op is not None and type(n.aval) is not tuple and n.aval.nbytes >= LEAST

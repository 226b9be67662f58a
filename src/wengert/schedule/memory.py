"""Where values lie: offsets in one arena, and in results that are still to be written, by lifetime."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

ALIGN = 64
LODGED = 1 << 18  # bytes of a buffer that is worth a place in a result: smaller ones are better near in the caches


class Span(NamedTuple):
    """A buffer of ``size`` bytes that is written in step ``first`` and read for the last time in step ``last``."""

    key: int
    size: int
    first: int
    last: int


class Room(NamedTuple):
    """Memory of ``size`` bytes that may be scribbled on from step ``since`` on, until step ``until`` writes it."""

    key: int
    size: int
    since: int
    until: int


class Layout(NamedTuple):
    """Offsets of buffers by key, and how many bytes those in the arena take together.

    ``rooms``: for buffers that are not in the arena, the room. ``live``: bytes of all buffers where they are most.
    """

    offsets: dict[int, int]
    size: int
    rooms: dict[int, int]
    live: int


class _Memory:
    """What is placed in one piece of memory, by start."""

    def __init__(self, room: Room | None = None) -> None:
        self.room = room
        self.placed: list[tuple[int, int, Span]] = []

    def gap(self, span: Span) -> int | None:
        """The lowest offset where a buffer overlaps none that lives at the same time; None if it does not fit."""
        room, size, at = self.room, max(span.size, 1), 0
        if room is not None and (span.first < room.since or span.last >= room.until):
            return None
        for start, end, other in self.placed:
            if other.last < span.first or other.first > span.last:
                continue
            if start - at >= size:
                break
            at = max(at, end)
        return at if room is None or at + size <= room.size else None

    def put(self, at: int, span: Span) -> int:
        """Place a buffer; where it ends."""
        end = at + -(-max(span.size, 1) // ALIGN) * ALIGN
        insort(self.placed, (at, end, span), key=lambda p: p[0])
        return end


def place(spans: Sequence[Span], rooms: Sequence[Room] = ()) -> Layout:
    """Offsets such that no two buffers that live at once overlap: large ones first, each at the lowest gap.

    Large ones go to the smallest room in which they fit, if there is one.
    """
    arena = _Memory()
    lodgings = [_Memory(r) for r in sorted(rooms, key=lambda r: r.size)]
    offsets: dict[int, int] = {}
    lodged: dict[int, int] = {}
    top = 0
    for span in sorted(spans, key=lambda s: (-s.size, s.first)):
        tried = [*(lodgings if span.size >= LODGED else ()), arena]
        at, memory = next((at, m) for m in tried if (at := m.gap(span)) is not None)
        offsets[span.key] = at
        end = memory.put(at, span)
        if memory.room is None:
            top = max(top, end)
        else:
            lodged[span.key] = memory.room.key
    return Layout(offsets, top, lodged, _most(spans))


def _most(spans: Sequence[Span]) -> int:
    """Bytes where most are alive."""
    change = [0] * (max((s.last for s in spans), default=0) + 2)
    for s in spans:
        change[s.first] += s.size
        change[s.last + 1] -= s.size
    return max(accumulate(change))

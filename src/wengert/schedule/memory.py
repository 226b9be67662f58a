"""Where values lie: offsets in one arena, by lifetime."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import NamedTuple

ALIGN = 64


class Span(NamedTuple):
    """A buffer of ``size`` bytes that is written in step ``first`` and read for the last time in step ``last``."""

    key: int
    size: int
    first: int
    last: int


class Layout(NamedTuple):
    """Offsets of buffers by key, and how many bytes they take together."""

    offsets: dict[int, int]
    size: int


def place(spans: Sequence[Span]) -> Layout:
    """Offsets such that no two buffers that live at once overlap: large ones first, each at the lowest gap."""
    placed: list[tuple[int, int, Span]] = []
    offsets: dict[int, int] = {}
    top = 0
    for span in sorted(spans, key=lambda s: (-s.size, s.first)):
        size = -(-max(span.size, 1) // ALIGN) * ALIGN
        at = 0
        for start, end, other in placed:  # by start
            if other.last < span.first or other.first > span.last:
                continue
            if start - at >= size:
                break
            at = max(at, end)
        offsets[span.key] = at
        insort(placed, (at, at + size, span), key=lambda p: p[0])
        top = max(top, at + size)
    return Layout(offsets, top)

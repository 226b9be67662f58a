"""Packing: an operand of a contraction copied to the order in which register blocks read it.

Panels of ``width`` neighbours along the kept index ``w``, each panel with the contracted index ``k`` outermost, so
that a block reads memory once and straight on. The last panel is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .loop import I64, Builder, Value
from .micro import first_lanes, pairs, transpose


class Source(NamedTuple):
    """A matrix to pack: ``pointer`` to its element (0, 0), strides, extents.

    ``convert(value, w, k, along, mask)`` brings loaded elements, neighbours along ``"w"`` or ``"k"``, to the kind to
    compute in. ``second``: if not 0, an element is a pair of 16 bits, and its second one that far from the first.
    """

    pointer: Value
    stride_w: int
    stride_k: int
    extent_w: int
    extent_k: int
    convert: Callable[[Value, Value, Value, str, Value | None], Value]
    second: int = 0

    def vector(self, b: Builder, at: Value, lanes: int, mask: Value | None) -> Value:
        """Elements side by side, as loaded."""
        x = b.load(self.pointer, at, lanes, mask)
        if not self.second:
            return x
        return pairs(b, x, b.load(self.pointer, at + self.second, lanes, mask))


def pack_panels(
    b: Builder,
    source: Source,
    w0: Value,
    target: Value,
    panels: Value | int,
    width: int,
    lanes: int,
    steps: tuple[Value | int, Value | int] | None = None,
) -> None:
    """Write ``panels`` panels, the first of which begins at ``w0``, one after the other to ``target`` (pointer).

    ``steps``: from where to where along k, if only some are to be written; for elements side by side along ``w``.
    """
    if source.stride_w == 1:
        _copy(b, source, w0, target, panels, width, lanes, steps or (0, source.extent_k))
        return
    assert steps is None
    with b.loop(0, panels, unroll=1) as panel:
        here = b.offset(target, panel * (width * source.extent_k))
        if source.stride_k == 1 and source.extent_k > 2:
            _turn(b, source, w0 + panel * width, here, width, lanes)
        else:
            _gather(b, source, w0 + panel * width, here, width, lanes)


_ROWS = 8  # steps of k to copy for one panel before the next one: what is read stays in the first-level cache


def _copy(
    b: Builder,
    s: Source,
    w0: Value,
    target: Value,
    panels: Value | int,
    width: int,
    lanes: int,
    steps: tuple[Value | int, Value | int],
) -> None:
    """Elements already lie side by side along ``w``. All panels together, as each of them reads parts of lines."""

    def rows(k0: Value, count: Value | int, w: Value, to: Value, masked: bool) -> None:
        masks = [_valid(b, s, w + v, lanes) if masked else None for v in range(0, width, lanes)]
        with b.loop(0, count, unroll=1) as r:
            k = k0 + r
            for v, mask in zip(range(0, width, lanes), masks, strict=True):
                mask = _both(mask, first_lanes(b, lanes, width - v))
                at = k * s.stride_k + (w + v)
                b.prefetch(s.pointer, at + _ROWS * s.stride_k)
                x = s.convert(s.vector(b, at, lanes, mask), w + v, k, "w", mask)
                _put(b, to, k * width + v, x, width - v)

    start, stop = steps
    with b.loop(start, stop, _ROWS, unroll=1) as k0, b.loop(0, panels, unroll=1) as panel:
        count = b.binary("min", stop - k0, _ROWS)
        w, to = w0 + panel * width, b.offset(target, panel * (width * s.extent_k))
        if s.extent_w % width == 0:
            rows(k0, count, w, to, False)
        else:
            with b.when(w + width <= s.extent_w):
                rows(k0, count, w, to, False)
            with b.otherwise():
                rows(k0, count, w, to, True)


def _turn(b: Builder, s: Source, w0: Value, target: Value, width: int, lanes: int) -> None:
    """Elements lie side by side along ``k``: squares are transposed in registers."""

    def squares(start: Value | int, stop: int, masked: bool) -> None:
        with b.loop(start, stop, lanes, unroll=1) as k:
            if width % lanes == 0:
                with b.loop(0, width, lanes, unroll=1) as v:
                    _square(b, s, w0 + v, k, b.offset(target, v), width, lanes, lanes, masked)
                return
            for v in range(0, width, lanes):
                _square(b, s, w0 + v, k, b.offset(target, v), width, width - v, lanes, masked)

    whole = s.extent_k // lanes * lanes
    if s.extent_w % width == 0 and whole == s.extent_k:
        squares(0, whole, False)
        return
    start = b.var(b.const(0, I64))
    if whole:
        with b.when(w0 + width <= s.extent_w):
            squares(0, whole, False)
            start.set(whole)
    squares(start.get(), s.extent_k, True)


def _square(
    b: Builder, s: Source, w0: Value, k: Value, target: Value, width: int, room: int, lanes: int, masked: bool
) -> None:
    """One square, from ``(w0, k)`` on; ``masked``: it may reach beyond the matrix."""
    rows: list[Value] = []
    for w in (w0 + r for r in range(min(lanes, room))):
        mask = None
        if masked:
            mask = b.compare("lt", b.iota(lanes) + k, s.extent_k) & b.splat(w < s.extent_w, lanes)
        x = b.load(s.pointer, w * s.stride_w + k, lanes, mask)
        rows.append(s.convert(x, w, k, "k", mask))
    rows += rows[-1:] * (lanes - len(rows))  # not stored
    for q, x in enumerate(transpose(b, rows)):
        if not masked:
            _put(b, target, (k + q) * width, x, room)
            continue
        with b.when(k + q < s.extent_k):
            _put(b, target, (k + q) * width, x, room)


def _gather(b: Builder, s: Source, w0: Value, target: Value, width: int, lanes: int) -> None:
    """Any strides, element by element."""
    masks = [_both(_valid(b, s, w0 + v, lanes), first_lanes(b, lanes, width - v)) for v in range(0, width, lanes)]
    with b.loop(0, s.extent_k) as k:
        for v, mask in zip(range(0, width, lanes), masks, strict=True):
            index = (b.iota(lanes) + (w0 + v)) * s.stride_w + k * s.stride_k
            x = s.convert(b.gather(s.pointer, index, mask), w0 + v, k, "w", mask)
            _put(b, target, k * width + v, x, width - v)


def _valid(b: Builder, s: Source, w: Value, lanes: int) -> Value:
    return b.compare("lt", b.iota(lanes) + w, s.extent_w)


def _both(a: Value | None, c: Value | None) -> Value | None:
    return c if a is None else a if c is None else a & c


def _put(b: Builder, target: Value, index: Value, x: Value, room: int) -> None:
    """Store the lanes that belong to the panel."""
    b.store(target, index, x, first_lanes(b, x.lanes, room))

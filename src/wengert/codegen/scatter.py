"""Kernels that add rows up where an index says: the gradients of lookups, messages in graphs."""

from __future__ import annotations

import functools
from typing import Any

from .kernel import Kernel, Recipe, Step, kernel_builder
from .lookups import note_outside
from .loop import Type, Value, pointer
from .target import Target

TILES = 16  # parts of the result, each of which looks at the whole index
ITEMSIZE = {"f32": 4, "f64": 8}


@functools.lru_cache(1024)
def add_rows(kind: str, index_kind: str, count: int, rows: int, width: int, target: Target, sure: bool) -> Recipe:
    """``out[index[i]] += g[i]`` for ``count`` rows of ``width`` elements, in zeros of ``rows`` rows.

    Operands: g, index, out. Each tile has rows of the result to itself and takes in their addends in order, so the
    result does not depend on how tiles are shared out. Negative indices count from the end; others out of range
    are left out, and noted by the first tile if they are not known (``sure``) to be in range.
    """
    tiles = min(TILES, rows)
    name = f"add_rows_{kind}_{index_kind}_{count}_{rows}_{width}_{target.vector_bytes}{'' if sure else '_checked'}"
    b = kernel_builder(name, {"g": pointer(kind), "index": pointer(index_kind), "out": pointer(kind)})
    lanes = max(target.vector_bytes // ITEMSIZE[kind], 1)
    first, last = b.lo * rows // tiles, b.hi * rows // tiles
    end = last * width
    with b.loop(first * width, end, lanes) as i:
        b.store(b.out, i, b.const(0, Type(kind, lanes)), b.iota(lanes) + i < b.splat(end, lanes))
    if not sure:
        with b.when(b.lo == 0):
            _check(b, count, rows, lanes)
    with b.loop(0, count) as i:
        at = b.cast(b.load(b.index, i), "i64")
        at = b.select(at < 0, at + rows, at)
        with b.when((at >= first) & (at < last)):
            _add_row(at * width, i * width, width, lanes)
    kernel = Kernel(b.finish(), tiles, 0, count * width, (count + rows) * width * ITEMSIZE[kind])
    return Recipe((Step(kernel, ("g", "index", "out")),), {})


def _check(b: Any, count: int, rows: int, lanes: int) -> None:
    """Look at all indices."""
    whole = count - count % lanes

    def look(i: Any, mask: Value | None) -> None:
        note_outside(b, b.cast(b.load(b.index, i, lanes, mask), "i64"), -rows, rows, 0, mask)

    with b.loop(0, whole, lanes) as i:
        look(i, None)
    if count % lanes:
        look(whole, b.iota(lanes) < count - whole)


def _add_row(out: Value, g: Value, width: int, lanes: int) -> None:
    """Add a row of g, from element ``g`` on, to one of the result."""
    b = out.b
    whole = width - width % lanes

    def step(j: Any, mask: Value | None) -> None:
        new = b.load(b.out, out + j, lanes, mask) + b.load(b.g, g + j, lanes, mask)
        b.store(b.out, out + j, new, mask)

    if whole:
        with b.loop(0, whole, lanes) as j:
            step(j, None)
    if width % lanes:
        step(whole, b.iota(lanes) < width - whole)

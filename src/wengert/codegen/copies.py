"""The kernel that copies a buffer."""

from __future__ import annotations

import functools

from .kernel import Kernel, kernel_builder
from .loop import BITS, pointer
from .micro import first_lanes
from .nest_parts import named
from .target import Target

TILE = 1 << 15  # elements


@functools.cache
def copy_kernel(kind: str, count: int, target: Target) -> Kernel:
    """Operands: from where, to where."""
    size = max(BITS[kind] // 8, 1)
    lanes = target.lanes(size)
    b = kernel_builder("copy", {"source": pointer(kind), "to": pointer(kind)})
    rest = count % lanes
    with b.loop(b.lo, b.hi, unroll=1) as t:
        stop = b.binary("min", (t + 1) * TILE, count - rest)
        with b.loop(t * TILE, stop, lanes) as i:
            b.store(b.to, i, b.load(b.source, i, lanes))
    if rest:
        with b.when(b.lo == 0):
            some = first_lanes(b, lanes, rest)
            b.store(b.to, count - rest, b.load(b.source, count - rest, lanes, some), some)
    return Kernel(named(b.finish()), -(-count // TILE), 0, 0, 2 * count * size)

"""The kernel of a random draw: as many elements as are wanted, from one key."""

from __future__ import annotations

import functools

from .kernel import Kernel, Recipe, Step, kernel_builder
from .loop import BITS, pointer
from .philox import draw
from .target import Target

TILE = 8192  # elements of a tile


@functools.lru_cache(1024)
def draws(name: str, kind: str, count: int, target: Target) -> Recipe:
    """``count`` elements of the draw ``name`` (see `philox.draw`). Operands: key (two u64: seed, offset), out."""
    lanes = target.vector_bytes * 8 // max(BITS[kind], 32)
    b = kernel_builder(
        f"{name}_{kind}_{count}_{target.vector_bytes}", {"key": pointer("u64"), "out": pointer(kind)}
    )  # fmt: skip
    seed, offset = b.bitcast(b.load(b.key, 0), "i64"), b.bitcast(b.load(b.key, 1), "i64")
    tiles = -(-count // TILE)
    end = b.binary("min", b.hi * TILE, count)
    whole = end - end % lanes
    with b.loop(b.lo * TILE, whole, lanes) as i:
        b.store(b.out, i, draw(b, name, kind, seed, offset, i, lanes))
    if count % lanes:
        with b.when((end % lanes) > 0):
            mask = b.iota(lanes) < b.splat(end % lanes, lanes)
            b.store(b.out, whole, draw(b, name, kind, seed, offset, whole, lanes), mask)
    kernel = Kernel(b.finish(), tiles, 0, 40 * count, count * max(BITS[kind] // 8, 1))
    return Recipe((Step(kernel, ("key", "out")),), {})

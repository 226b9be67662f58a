"""The kernels of random draws: as many elements as are wanted from one key, or some rows of a draw."""

from __future__ import annotations

import functools

from .kernel import Kernel, Recipe, Step, kernel_builder
from .loop import BITS, pointer
from .philox import draw, elements_per_block
from .target import Target

TILE = 8192  # elements of a tile
VECTORS = 2  # of block numbers under way at once: a draw is one long chain of operations


def _lanes(kind: str, count: int, vectors: int, target: Target) -> int:
    """How many elements are drawn at once: those of so many vectors of block numbers, but few more than ``count``."""
    each = elements_per_block(kind)
    blocks = 1 << (-(-count // each) - 1).bit_length()
    return min(vectors * target.vector_bytes // 8, blocks) * each


@functools.lru_cache(1024)
def draws(name: str, kind: str, count: int, target: Target) -> Recipe:
    """``count`` elements of the draw ``name`` (see `philox.draw`). Operands: key (two u64: seed, offset), out."""
    lanes = _lanes(kind, count, VECTORS, target)
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


@functools.lru_cache(1024)
def draw_rows(
    kind: str, count: int, shape: tuple[int, int], first: int, stride: int, step: int, target: Target
) -> Recipe:
    """Of ``count`` matrices of uniform numbers, the rows that `ops.random.RandomRows` describes.

    Operands: key, starts (``step`` elements apart), out. A row need not begin where a block of bits begins: vectors
    start with the block before it, and what does not belong to the row is not stored.
    """
    rows, columns = shape
    lanes = _lanes(kind, columns, 1, target)
    name = f"random_rows_{kind}_{count}_{rows}_{columns}_{first}_{stride}_{step}_{target.vector_bytes}"
    b = kernel_builder(name, {"key": pointer("u64"), "starts": pointer("i64"), "out": pointer(kind)})
    seed, offset = b.bitcast(b.load(b.key, 0), "i64"), b.bitcast(b.load(b.key, 1), "i64")
    size = max(TILE // columns, 1)  # rows of a tile
    with b.loop(b.lo * size, b.binary("min", b.hi * size, count * rows)) as r:
        at = b.load(b.starts, r // rows * step) + (r % rows * stride + first)
        skipped = at % elements_per_block(kind)
        end = skipped + columns
        with b.loop(0, end, lanes) as i:
            j = b.splat(i, lanes) + b.iota(lanes)
            x = draw(b, "random_uniform", kind, seed, offset, at - skipped + i, lanes)
            b.store(b.out, r * columns - skipped + i, x, (j >= b.splat(skipped, lanes)) & (j < b.splat(end, lanes)))
    n = count * rows * columns
    kernel = Kernel(b.finish(), -(-count * rows // size), 0, 40 * n, n * BITS[kind] // 8)
    return Recipe((Step(kernel, ("key", "starts", "out")),), {})

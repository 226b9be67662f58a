"""The kernels of a planned matrix product, in loop IR: packing, tiles, and the sum of partial results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .contract_plan import Plan, Problem, Side
from .contract_tile import Tile
from .kernel import Epilogue, Kernel, Place, kernel_builder
from .loop import BITS, I64, Builder, Type, Value, pointer
from .micro import first_lanes
from .pack import Source, pack_panels
from .target import Target

_PACK_BYTES = 1024  # packed together at least, since memory is read by lines and pages
_PACK_TILES = 64  # enough for any number of threads
_PACK_STEPS = 128  # of k for one of them, at least


class Maps(NamedTuple):
    """Functions fused into the product: of elements of ``a``, of ``b``, of the result."""

    a: Epilogue | None = None
    b: Epilogue | None = None
    c: Epilogue | None = None

    def operands(self, *which: str) -> dict[str, Type]:
        """Further operands of those named."""
        found: dict[str, Type] = {}
        for name in which:
            f = getattr(self, name)
            if f is not None:
                found |= f.operands
        return found


class Writer:
    """Writes the kernels of one plan."""

    def __init__(self, plan: Plan, target: Target, maps: Maps) -> None:
        self.plan, self.target, self.maps = plan, target, maps
        self.q: Problem = plan.problem
        self.p = self.q.product
        self.block = plan.block
        self.kind = self.p.sum_kind
        self.packed = "u32" if self.q.pairs else self.kind
        self.vector = Type(self.kind, self.block.lanes)
        self.size = BITS[self.kind] // 8

    # -- where things are ------------------------------------------------------------------

    def place(self, batch: Sequence[Value], axis: str, mask: Value | None, **at: Value) -> Place:
        """The indices that the product's own dimensions have; ``at``: two of i, j, k, in the operand's order."""
        b = self.b
        indices = [b.const(0, I64) for _ in self.p.batch]
        for d, index in zip(self.q.dims, batch, strict=True):
            indices[d] = index
        if "i" in at:
            for d, rows in reversed(self.q.folds):
                indices[d], at["i"] = at["i"] // rows, at["i"] % rows
        names = tuple(at)
        return Place((*indices, *at.values()), len(indices) + names.index(axis), self.block.lanes, mask)

    def split_batch(self, index: Value) -> list[Value]:
        """The batch indices of a linear one."""
        out: list[Value] = []
        for size in reversed(self.q.batch):
            out.insert(0, index % size)
            index = index // size
        return out

    def offset(self, p: Value, strides: Sequence[int], index: Sequence[Value]) -> Value:
        """A pointer moved to a batch element."""
        total = self.b.const(0, I64)
        for stride, i in zip(strides, index, strict=True):
            total = total + i * stride
        return self.b.offset(p, total)

    def packed_batch(self, side: Side) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Sizes of the batch dimensions that differ in an operand, and their strides in units of packed matrices."""
        sizes, strides, total = [], [], 1
        for size, stride in reversed(list(zip(self.q.batch, side.batch, strict=True))):
            sizes.insert(0, 1 if stride == 0 else size)
            strides.insert(0, 0 if stride == 0 else total)
            total *= sizes[0]
        return tuple(sizes), tuple(strides)

    # -- packing ---------------------------------------------------------------------------

    def extents(self, side: Side) -> tuple[str, int, int]:
        """The name of the kept index of an operand, its extent, and the width of its panels."""
        if side is self.q.x:
            return "i", self.q.i, self.block.rows
        return "j", self.q.j, self.block.width

    def packed_size(self, side: Side) -> int:
        """Elements of one packed matrix."""
        _, extent, width = self.extents(side)
        return -(-extent // width) * width * self.q.k

    def convert(self, side: Side, batch: Sequence[Value]) -> Callable[[Value, Value, Value, str, Value | None], Value]:
        """Brings elements of an operand to the kind to compute in, through its function if it has one."""
        index_name, _, _ = self.extents(side)
        mapped: Epilogue | None = getattr(self.maps, side.operand)

        def convert(x: Value, w: Value, k: Value, along: str, mask: Value | None) -> Value:
            if mapped is None:
                return self.b.cast(x, self.kind)
            axis = index_name if along == "w" else "k"
            at = {index_name: w, "k": k} if side.operand == "a" else {"k": k, index_name: w}
            place = self.place(batch, axis, mask, **at)._replace(lanes=x.lanes)
            return self.b.cast(mapped(self.b, x, place), self.kind)

        return convert

    def source(self, side: Side, p: Value, batch: Sequence[Value]) -> Source:
        """An operand's matrix in one batch element."""
        _, extent, _ = self.extents(side)
        here = self.offset(p, side.batch, batch)
        if self.q.pairs:
            return self.paired_source(side, here, extent)
        return Source(here, side.w, side.k, extent, self.q.k, self.convert(side, batch))

    def paired_source(self, side: Side, p: Value, extent: int) -> Source:
        """The same, its elements being pairs of neighbours along k."""

        def convert(x: Value, w: Value, k: Value, along: str, mask: Value | None) -> Value:
            return x

        if side.w == 1:
            return Source(self.b.retype(p, "u16"), 1, 2 * side.k, extent, self.q.k, convert, side.k)
        return Source(self.b.retype(p, "u32"), side.w // 2, 1, extent, self.q.k, convert)

    def pack_kernel(self, side: Side, name: str) -> tuple[Kernel, int]:
        """The kernel that packs all of an operand, and how many elements that makes."""
        kind = self.p.kind_of(side.operand)
        operands = {"source": pointer(kind), "packed": pointer(self.packed), **self.maps.operands(side.operand)}
        b = self.b = kernel_builder(name, operands)
        _, extent, width = self.extents(side)
        sizes, strides = self.packed_batch(side)
        count = math.prod(sizes)
        panels = -(-extent // width)
        together = _PACK_BYTES // (width * self.size) if side.w == 1 else 1
        group = min(max(together, panels * count // _PACK_TILES, 1), panels)
        groups = -(-panels // group)
        spans = min(max(_PACK_TILES // (groups * count), 1), -(-self.q.k // _PACK_STEPS)) if side.w == 1 else 1
        span = -(-self.q.k // spans)
        with b.loop(b.lo, b.hi, unroll=1) as t:
            start, t = t % spans * span, t // spans
            first, linear = t % groups * group, t // groups
            batch: list[Value] = []
            for size in reversed(sizes):
                batch.insert(0, linear % size)
                linear = linear // size
            to = self.offset(b.packed, [s * self.packed_size(side) for s in strides], batch)
            to = b.offset(to, first * (width * self.q.k))
            here = b.binary("min", b.const(group, I64), panels - first) if panels % group else group
            steps = (start, b.binary("min", start + span, self.q.k)) if spans > 1 else None
            pack_panels(b, self.source(side, b.source, batch), first * width, to, here, width, self.block.lanes, steps)
        elements = count * self.packed_size(side)
        moved = count * extent * self.q.k * BITS[kind] // 8 + elements * self.size
        return Kernel(b.finish(), count * groups * spans, 0, 0, moved), elements

    # -- tiles -----------------------------------------------------------------------------

    def tile_kernel(self, name: str) -> Kernel:
        """The kernel that computes tiles of the result, or of its partial sums."""
        plan, q = self.plan, self.q
        b = self.begin(name)
        self.layout_scratch()
        self.packed_columns = b.var(b.const(-1, I64))
        with b.loop(b.lo, b.hi, unroll=1) as t:
            it, columns = t % plan.row_tiles, t // plan.row_tiles
            jt, t = columns % plan.column_tiles, columns // plan.column_tiles
            chunk = t % plan.chunks
            Tile(self, it, jt, chunk, self.split_batch(t // plan.chunks), columns).write()
        tiles = math.prod(q.batch) * plan.chunks * plan.row_tiles * plan.column_tiles
        return Kernel(b.finish(), tiles, self.scratch_bytes, self.p.flops, self.touched)

    @property
    def touched(self) -> int:
        """Bytes of the operands and the result."""
        q, bits = self.q, {n: BITS[self.p.kind_of(n)] for n in "abc"}
        sides = q.i * q.k * bits[q.x.operand] + q.k * q.j * bits[q.y.operand]
        return math.prod(q.batch) * (sides + q.i * q.j * bits["c"] * (2 if self.p.accumulate else 1)) // 8

    def begin(self, name: str) -> Builder:
        """The builder of a kernel with all operands, packed ones among them, that gives the result or partial sums."""
        q, plan, partial = self.q, self.plan, self.plan.chunks > 1
        kinds = {n: self.p.kind_of(n) for n in "abc"} | ({"c": self.kind} if partial else {})
        sides = ((q.x, plan.pack_x), (q.y, plan.pack_y))
        kinds |= {side.operand: self.packed for side, how in sides if how == "temp"}
        used = [side.operand for side, how in sides if how != "temp"]
        extra = self.maps.operands(*used, *([] if partial else ["c"]))
        self.b = kernel_builder(name, {n: pointer(k) for n, k in kinds.items()} | extra)
        return self.b

    def layout_scratch(self) -> None:
        """Which parts of the scratch memory a call uses, in elements."""
        plan = self.plan
        sizes = {
            "x": plan.rows * self.q.k if plan.pack_x == "tile" else 0,
            "y": plan.columns * self.q.k if plan.pack_y == "tile" else 0,
            "sums": self.buffer_size if self.buffered else 0,
        }
        self.scratch_at: dict[str, int] = {}
        total = 0
        for name, size in sizes.items():
            self.scratch_at[name] = total
            total += -(-size // 64) * 64
        self.scratch_bytes = total * self.size

    def scratch(self, part: str) -> Value:
        """The pointer to a part of the scratch memory."""
        return self.b.offset(self.b.retype(self.b.scratch, self.kind), self.scratch_at[part])

    @property
    def steps(self) -> int:
        """How many times the tile is gone over, each time for some of k."""
        return -(-self.plan.chunk // self.plan.kc)

    @property
    def buffered(self) -> bool:
        """Whether sums go to a buffer first: something is left to do with them, or they do not lie along vectors."""
        if self.plan.chunks > 1:
            return False
        plain = (self.maps.c is None or self.direct) and self.p.alpha == 1.0 and self.p.kind == self.kind
        return not plain or self.q.c[2] != 1

    @property
    def direct(self) -> bool:
        """Whether sums go through their function while they are in registers: they lie along vectors."""
        plain = self.p.alpha == 1.0 and self.p.kind == self.kind and not self.p.accumulate and self.q.c[2] == 1
        return self.maps.c is not None and plain and self.plan.chunks == 1

    @property
    def buffer_rows(self) -> int:
        """Rows of the buffer: of a tile, whole squares of lanes."""
        lanes = self.block.lanes
        return -(-min(self.plan.rows, max(self.q.i, 1)) // lanes) * lanes

    @property
    def buffer_size(self) -> int:
        """Elements of the buffer: a panel (see `Tile.step`), or the tile if sums wait for the next steps of k."""
        if self.plan.turn:
            return self.buffer_rows * (self.block.width if self.steps == 1 else self.plan.columns)
        return (self.block.rows if self.steps == 1 else self.plan.rows) * self.plan.columns

    def combine_kernel(self, name: str) -> Kernel:
        """The kernel that adds up partial sums and finishes the result."""
        q, lanes, chunks = self.q, self.block.lanes, self.plan.chunks
        operands = {"partial": pointer(self.kind), "c": pointer(self.p.kind), **self.maps.operands("c")}
        b = self.b = kernel_builder(name, operands)
        groups = -(-q.i // 4)
        one = math.prod(q.batch) * q.i * q.j
        with b.loop(b.lo, b.hi, unroll=1) as t:
            group, linear = t % groups, t // groups
            batch = self.split_batch(linear)
            c = self.offset(b.c, q.c[0], batch)
            with (
                b.loop(group * 4, b.binary("min", group * 4 + 4, q.i)) as i,
                b.loop(0, q.j, lanes) as j,
            ):
                mask = first_lanes(b, lanes, q.j - j) if q.j % lanes else None
                total = b.var(b.const(0, self.vector))
                with b.loop(0, chunks) as s:
                    index = ((linear * chunks + s) * q.i + i) * q.j + j
                    total.set(total.get() + b.load(b.partial, index, lanes, mask))
                self.finish(c, batch, i, j, total.get(), mask, "j")
        moved = one * (chunks * self.size + BITS[self.p.kind] // 8)
        return Kernel(b.finish(), math.prod(q.batch) * groups, 0, 0, moved)

    # -- results ---------------------------------------------------------------------------

    def finish(
        self, c: Value, batch: Sequence[Value], i: Value, j: Value, x: Value, mask: Value | None, axis: str
    ) -> None:
        """What is left to do with a vector of sums along ``axis``, and its store. ``c`` points at the batch element."""
        b, (_, ci, cj) = self.b, self.q.c
        index, stride = i * ci + j * cj, ci if axis == "i" else cj
        if self.p.alpha != 1.0:
            x = x * self.p.alpha
        where = index if stride == 1 else b.iota(x.lanes) * stride + index
        if self.p.accumulate:
            old = b.load(c, where, x.lanes, mask) if stride == 1 else b.gather(c, where, mask)
            x = x + b.cast(old, self.kind)
        if self.maps.c is not None:
            at = {"j": j, "i": i} if self.q.swapped else {"i": i, "j": j}
            x = self.maps.c(b, x, self.place(batch, axis, mask, **at))
        x = b.cast(x, self.p.kind)
        if stride == 1:
            b.store(c, where, x, mask)
        else:
            b.scatter(c, where, x, mask)

"""The kernels of a planned matrix product, in loop IR: packing, tiles, and the sum of partial results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .contract_plan import Plan, Problem, Side
from .kernel import Epilogue, Kernel, Place, kernel_builder
from .loop import BITS, I64, Builder, Type, Value, pointer
from .micro import Accumulators, first_lanes, transpose
from .pack import Source, pack_panels
from .target import Target

_AHEAD = 128  # bytes that come next in each row of memory that is read once, while those of the others are in use
_LINE = 64  # bytes that come from memory at once
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


class Count(NamedTuple):
    """How many panels a tile has: ``full`` ones, and a last one of ``rest`` elements if ``has_rest`` holds there."""

    full: int | Value
    rest: int
    has_rest: bool | Value


def panel_count(extent: int, width: int, per_tile: int, tile: Value, tiles: int) -> Count:
    """The panels of a tile of ``per_tile`` panels of ``width``; those of the last tile may be fewer."""
    whole, rest = divmod(extent, width)
    if tiles == 1:
        return Count(whole, rest, bool(rest))
    full: int | Value = per_tile
    if whole != per_tile * tiles:
        full = tile.b.binary("min", tile.b.const(per_tile, I64), whole - tile * per_tile)
    return Count(full, rest, tile == tiles - 1 if rest else False)


def each_panel(b: Builder, count: Count, width: int, body: Callable[[Value, int], None]) -> None:
    """``body(panel within the tile, its elements)`` for all of them."""
    if not isinstance(count.full, int) or count.full > 0:
        with b.loop(0, count.full, unroll=1) as panel:
            body(panel, width)
    last = b.lift(count.full, I64)
    if isinstance(count.has_rest, Value):
        with b.when(count.has_rest):
            body(last, count.rest)
    elif count.has_rest:
        body(last, count.rest)


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


class Tile:
    """Writes the code of one tile."""

    def __init__(self, w: Writer, it: Value, jt: Value, chunk: Value, batch: list[Value], columns: Value) -> None:
        """``columns``: which y the tile has, a number that is the same for tiles that follow each other."""
        self.w, self.b, self.batch = w, w.b, batch
        plan, q, block = w.plan, w.q, w.block
        self.i0, self.j0 = it * plan.rows, jt * plan.columns
        self.rows = panel_count(q.i, block.rows, plan.rows // block.rows, it, plan.row_tiles)
        self.columns = panel_count(q.j, block.width, plan.columns // block.width, jt, plan.column_tiles)
        self.chunk, self.y_number = chunk, columns
        self.x = self.operand(q.x, plan.pack_x, it * (plan.rows // block.rows))
        self.y = self.operand(q.y, plan.pack_y, jt * (plan.columns // block.width))
        if plan.chunks > 1:
            # Partial sums lie one chunk after the other within a batch element, each like a plain matrix.
            linear = self.b.const(0, I64)
            for size, index in zip(q.batch, batch, strict=True):
                linear = linear * size + index
            self.c = self.b.offset(self.b.c, (linear * plan.chunks + chunk) * (q.i * q.j))
            self.ci = q.j
        else:
            self.c, self.ci = w.offset(self.b.c, q.c[0], batch), q.c[1]

    def operand(self, side: Side, packed: str, first_panel: Value) -> Value:
        """The pointer that panels are counted from: of the tile if packed, else the batch element."""
        w, b = self.w, self.b
        p = getattr(b, side.operand)
        if not packed:
            return w.offset(p, side.batch, self.batch)
        _, _, width = w.extents(side)
        if packed == "temp":
            _, strides = w.packed_batch(side)
            p = w.offset(p, [s * w.packed_size(side) for s in strides], self.batch)
            return b.offset(p, first_panel * (width * w.q.k))
        count, start = (self.rows, self.i0) if side is w.q.x else (self.columns, self.j0)
        to = b.retype(w.scratch("x" if side is w.q.x else "y"), w.packed)
        source = w.source(side, p, self.batch)
        panels = count.full + (count.has_rest if isinstance(count.has_rest, bool) else b.cast(count.has_rest, "i64"))
        if side is w.q.x:
            pack_panels(b, source, start, to, panels, width, w.block.lanes)
            return to
        with b.when(w.packed_columns.get() != self.y_number):
            pack_panels(b, source, start, to, panels, width, w.block.lanes)
            w.packed_columns.set(self.y_number)
        return to

    def write(self) -> None:
        """All steps of k over all panels."""
        w, b, plan = self.w, self.b, self.w.plan
        if w.steps == 1 and plan.chunks == 1:
            self.step(b.const(0, I64), w.q.k, None, None)
            return
        start = self.chunk * plan.chunk
        stop = b.binary("min", start + plan.chunk, w.q.k)
        with b.loop(start, stop, plan.kc, unroll=1) as k0:
            kc = b.binary("min", stop - k0, plan.kc)
            several = w.steps > 1
            self.step(k0, kc, k0 == start if several else None, k0 + kc == stop if several else None)

    def step(self, k0: Value, kc: Value | int, first: Value | None, last: Value | None) -> None:
        """``kc`` steps of k from ``k0`` on; ``first``, ``last``: whether those are (None: both).

        A panel of rows meets all columns while it is in the first-level cache; where results are transposed, a panel
        of columns meets all rows, so that whole squares are complete.
        """
        w, b, block = self.w, self.b, self.w.block

        def multiply(row_panel: Value, rows: int, panel: Value, width: int) -> None:
            self.keep(self.multiply(row_panel, rows, panel, width, k0, kc), row_panel, panel, width, first, last)

        def finish(do: Callable[[], None]) -> None:
            if w.buffered and last is None:
                do()
            elif w.buffered and last is not None:
                with b.when(last):
                    do()

        def column(panel: Value, width: int) -> None:
            each_panel(b, self.rows, block.rows, lambda r, rows: multiply(r, rows, panel, width))
            finish(lambda: self.finish_turned(panel, width))

        def row(row_panel: Value, rows: int) -> None:
            each_panel(b, self.columns, block.width, lambda panel, width: multiply(row_panel, rows, panel, width))
            finish(lambda: self.finish_rows(row_panel, rows))

        if w.plan.turn:
            each_panel(b, self.columns, block.width, column)
        else:
            each_panel(b, self.rows, block.rows, row)

    def multiply(
        self, row_panel: Value, rows: int, panel: Value, width: int, k0: Value, kc: Value | int
    ) -> list[list[Value]]:
        """The sums of one register block."""
        w, b, (most, _, lanes) = self.w, self.b, self.w.block
        sums = Accumulators(b, rows, -(-width // lanes), w.vector, w.target.has_fma)
        x_at = self.reader(w.q.x, w.plan.pack_x, self.x, row_panel, self.i0, most, k0)
        y_at = self.reader(w.q.y, w.plan.pack_y, self.y, panel, self.j0, w.block.width, k0)
        mask = first_lanes(b, lanes, width % lanes or lanes)

        def y(k: Value, v: int) -> Value:
            masked = mask if (v + 1) * lanes > width and not w.plan.pack_y else None
            return y_at(k, v * lanes, lanes, masked)

        def steps(start: Value | int, stop: Value | int) -> None:
            with b.loop(start, stop) as k:
                sums.step(lambda r: x_at(k, r, 1, None), lambda v: y(k, v))

        line = _LINE // w.size
        if not (w.plan.asks_for_rows and isinstance(kc, int)):
            steps(0, kc)
            return sums.values()
        x = self.next_rows(row_panel, k0)
        with b.loop(0, kc // line * line, line, unroll=1) as k:
            for r in range(rows):
                b.prefetch(x, k + r * w.q.x.w, later=True)
            steps(k, k + line)
        if kc % line:
            steps(kc // line * line, kc)
        return sums.values()

    def next_rows(self, row_panel: Value, k0: Value) -> Value:
        """Where the panel of rows begins that comes after one, in memory as it is."""
        w = self.w
        p = w.offset(getattr(self.b, w.q.x.operand), w.q.x.batch, self.batch)
        return self.b.offset(p, (self.i0 + (row_panel + 1) * w.block.rows) * w.q.x.w + k0)

    def reader(
        self, side: Side, packed: str, p: Value, panel: Value, start: Value, width: int, k0: Value
    ) -> Callable[[Value, int, int, Value | None], Value]:
        """Loads ``lanes`` elements at an offset within a panel, for a step of k."""
        w, b = self.w, self.b
        if packed:
            p = b.offset(p, panel * (width * w.q.k) + k0 * width)
            return lambda k, at, lanes, mask: b.load(p, k * width + at, lanes)
        begin = start + panel * width
        p = b.offset(p, begin * side.w + k0 * side.k)
        convert = w.convert(side, self.batch)

        ahead = max(_AHEAD * 8 // BITS[w.p.kind_of(side.operand)], width) if w.plan.streams and side is w.q.y else 0

        def read(k: Value, at: int, lanes: int, mask: Value | None) -> Value:
            if ahead:
                b.prefetch(p, k * side.k + at * side.w + ahead)
            x = b.load(p, k * side.k + at * side.w, lanes, mask)
            return convert(x, begin + at, k0 + k, "w", mask)

        return read

    def keep(
        self, sums: list[list[Value]], row_panel: Value, panel: Value, width: int, first: Value | None,
        last: Value | None,
    ) -> None:  # fmt: skip
        """Store sums to the result or to the buffer; add them to what is there, but for the first step of k."""
        w, b, block = self.w, self.b, self.w.block
        i, j = row_panel * block.rows, panel * block.width
        if w.buffered:
            begin, stride, mask = self.buffer(row_panel, panel), self.buffer_stride, None
        else:
            stride = self.ci
            begin = b.offset(self.c, (self.i0 + i) * stride + (self.j0 + j))
            mask = first_lanes(b, block.lanes, width % block.lanes or block.lanes)
        add = w.p.accumulate and not w.buffered and w.plan.chunks == 1

        def store(added: bool, finished: bool = False) -> None:
            for r, row in enumerate(sums):
                for v, x in enumerate(row):
                    at, keep = r * stride + v * block.lanes, mask if v == len(row) - 1 else None
                    total = b.load(begin, at, block.lanes, keep) + x if added else x
                    if finished:
                        w.finish(self.c, self.batch, self.i0 + i + r, self.j0 + j + v * block.lanes, total, keep, "j")
                    else:
                        b.store(begin, at, total, keep)

        if first is None or add:
            store(add, w.direct)
        elif w.direct:
            assert last is not None
            with b.when(last):
                store(True, True)
            with b.otherwise():
                self.first_or_more(first, store)
        else:
            self.first_or_more(first, store)

    def first_or_more(self, first: Value, store: Callable[[bool], None]) -> None:
        """Store sums of the first step of k as they are, and add later ones."""
        with self.b.when(first):
            store(False)
        with self.b.otherwise():
            store(True)

    @property
    def buffer_stride(self) -> int:
        """From one row of the buffer to the next."""
        return self.w.block.width if self.w.plan.turn else self.w.plan.columns

    def buffer(self, row_panel: Value | int, panel: Value | int) -> Value:
        """Where the sums of a register block are; those of one panel only if k is gone over in one step."""
        w, b = self.w, self.b
        if w.plan.turn:
            start = b.lift(0 if w.steps == 1 else panel, I64) * (w.buffer_rows * w.block.width)
            start = start + b.lift(row_panel, I64) * (w.block.rows * w.block.width)
        else:
            start = b.lift(0 if w.steps == 1 else row_panel, I64) * (w.block.rows * w.plan.columns)
            start = start + b.lift(panel, I64) * w.block.width
        return b.offset(w.scratch("sums"), start)

    def finish_rows(self, row_panel: Value, rows: int) -> None:
        """Store the sums of a panel of rows, when they are complete."""
        w, b, block = self.w, self.b, self.w.block
        begin, i0 = self.buffer(row_panel, 0), self.i0 + row_panel * block.rows
        count = self.here(w.plan.columns, w.q.j, self.j0, w.plan.column_tiles)
        with b.loop(0, rows, unroll=1) as r, b.loop(0, count, block.lanes, unroll=1) as v:
            x = b.load(begin, r * self.buffer_stride + v, block.lanes)
            mask = first_lanes(b, block.lanes, count - v) if w.q.j % block.lanes else None
            w.finish(self.c, self.batch, i0 + r, self.j0 + v, x, mask, "j")

    def here(self, size: int, extent: int, start: Value, tiles: int) -> Value | int:
        """How many rows or columns the tile has."""
        return self.b.binary("min", extent - start, size) if tiles > 1 and extent % size else min(size, extent)

    def finish_turned(self, panel: Value, width: int) -> None:
        """The same for a panel of columns, where the result lies along i: squares are transposed on the way."""
        w, b, block = self.w, self.b, self.w.block
        begin, j0, lanes = self.buffer(0, panel), self.j0 + panel * block.width, block.lanes
        count = self.here(w.plan.rows, w.q.i, self.i0, w.plan.row_tiles)
        square = b.array(w.kind, lanes * lanes)
        with b.loop(0, count, lanes, unroll=1) as r, b.loop(0, width, lanes, unroll=1) as v:
            rows = [b.load(begin, (r + q) * block.width + v, lanes) for q in range(lanes)]
            for q, x in enumerate(transpose(b, rows)):
                b.store(square, q * lanes, x)
            mask = first_lanes(b, lanes, count - r) if isinstance(count, Value) or count % lanes else None
            there = b.binary("min", width - v, lanes)
            with b.loop(0, there, unroll=1) as q:
                x = b.load(square, q * lanes, lanes)
                w.finish(self.c, self.batch, self.i0 + r, j0 + v + q, x, mask, "i")

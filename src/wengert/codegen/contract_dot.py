"""Products of few rows with a large matrix, which is read once, straight on: all that counts where few rows use it.

Nothing is packed. Where the matrix's rows lie along k, vectors run along k too, and each result is their sum
(`dot_kernel`). Else they run along the result, to which some rows of the matrix at once are added (`sum_kernel`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .contract_kernels import Writer
from .hoist import hoist
from .kernel import Kernel
from .loop import BITS, I64, Value
from .micro import Accumulators, first_lanes, multiply_add

_LINE = 64  # bytes that come from memory at once


def dot_kernel(w: Writer, name: str) -> Kernel:
    """The kernel of a plan with ``how="dots"``: a tile is some columns, in groups of as many as a vector has lanes."""
    plan, q, lanes = w.plan, w.q, w.block.lanes
    b = w.begin(name)
    columns = plan.column_tiles
    with b.loop(b.lo, b.hi, unroll=1) as t:
        batch, j0 = w.split_batch(t // columns), t % columns * plan.columns
        c = w.offset(b.c, q.c[0], batch)
        with b.loop(j0, b.binary("min", j0 + plan.columns, q.j), lanes, unroll=1) as j:
            sums = b.array(w.kind, q.i * lanes)
            with b.loop(0, lanes, w.block.vectors, unroll=1) as first:
                _dots(w, batch, j + first, b.offset(sums, first))
            mask = first_lanes(b, lanes, q.j - j) if q.j % lanes else None
            with b.loop(0, q.i, unroll=1) as i:
                w.finish(c, batch, i, j, b.load(sums, i * lanes, lanes), mask, "j")
    hoist(b.body)  # what a prologue reads for a whole column
    return Kernel(b.finish(), math.prod(q.batch) * columns, 0, w.p.flops, w.touched)


def _dots(w: Writer, batch: list[Value], j: Value, out: Value) -> None:
    """The results of all rows and ``vectors`` columns, those from ``j`` on; beyond the last column, its own again."""
    b, q, (rows, columns, lanes) = w.b, w.q, w.block
    x_at = w.offset(getattr(b, q.x.operand), q.x.batch, batch)
    y_at = w.offset(getattr(b, q.y.operand), q.y.batch, batch)
    convert_x, convert_y = w.convert(q.x, batch), w.convert(q.y, batch)
    js = [b.binary("min", j + s, q.j - 1) for s in range(columns)]
    sums = Accumulators(b, rows, columns, w.vector, w.target.has_fma)

    def step(k: Value, mask: Value | None) -> None:
        xs = [convert_x(b.load(x_at, r * q.x.w + k, lanes, mask), b.const(r, I64), k, "k", mask) for r in range(rows)]
        for s, column in enumerate(js):
            y = convert_y(b.load(y_at, column * q.y.w + k, lanes, mask), column, k, "k", mask)
            for r, x in enumerate(xs):
                total = sums.sums[r][s]
                total.set(multiply_add(b, x, y, total.get(), w.target.has_fma))

    whole = q.k // lanes * lanes
    bits = BITS[w.p.kind_of(q.y.operand)]
    line = max(_LINE * 8 // bits, lanes)
    # No processor foresees which rows of the matrix are next.
    asked = q.k // line * line if q.j * q.k * bits // 8 > w.plan.near else 0
    with b.loop(0, asked, line, unroll=1) as k:
        for column in js:
            b.prefetch(y_at, (column + columns) * q.y.w + k, later=True)
        with b.loop(k, k + line, lanes) as part:
            step(part, None)
    with b.loop(asked, whole, lanes) as k:
        step(k, None)
    if whole < q.k:
        step(b.const(whole, I64), first_lanes(b, lanes, q.k - whole))
    for r, row in enumerate(sums.values()):
        for s, total in enumerate(row):
            b.store(out, r * lanes + s, b.reduce("add", total))


def sum_kernel(w: Writer, name: str) -> Kernel:
    """The kernel of a plan with ``how="sums"``: a tile is some columns, or some steps of k for them.

    Its sums lie in scratch memory, or where partial ones do.
    """
    plan, q, lanes = w.plan, w.q, w.block.lanes
    b = w.begin(name)
    tiles, chunks = plan.column_tiles, plan.chunks
    room = -(-plan.columns // lanes) * lanes if chunks == 1 else q.j
    with b.loop(b.lo, b.hi, unroll=1) as t:
        j0, linear = t % tiles * plan.columns, t // tiles
        chunk, linear = linear % chunks, linear // chunks
        batch = w.split_batch(linear)
        here = b.binary("min", q.j - j0, plan.columns) if tiles > 1 else b.const(q.j, I64)
        partial = b.offset(b.c, (linear * chunks + chunk) * (q.i * q.j) + j0)
        tile = _Sums(w, batch, b.retype(b.scratch, w.kind) if chunks == 1 else partial, room, j0, here)
        for r in range(q.i):
            tile.each_vector(lambda v, mask, r=r: b.store(tile.sums, v + r * room, b.const(0, w.vector), mask))
        start = chunk * plan.chunk
        stop = b.binary("min", start + plan.chunk, q.k // plan.kc * plan.kc)
        with b.loop(start, stop, plan.kc, unroll=1) as k:
            tile.add(k, plan.kc)
        if q.k % plan.kc:
            with b.when(chunk == chunks - 1):
                tile.add(b.const(q.k // plan.kc * plan.kc, I64), q.k % plan.kc)
        if chunks == 1:
            c = w.offset(b.c, q.c[0], batch)
            with b.loop(0, q.i, unroll=1) as i, b.loop(0, here, lanes, unroll=1) as v:
                mask = first_lanes(b, lanes, here - v) if q.j % lanes else None
                w.finish(c, batch, i, j0 + v, b.load(tile.sums, i * room + v, lanes), mask, "j")
    scratch = q.i * room * BITS[w.kind] // 8 if chunks == 1 else 0
    return Kernel(b.finish(), math.prod(q.batch) * tiles * chunks, scratch, w.p.flops, w.touched)


class _Sums:
    """The sums of a tile, ``here`` columns from ``j0`` on; rows of them are ``room`` elements apart."""

    def __init__(self, w: Writer, batch: list[Value], sums: Value, room: int, j0: Value, here: Value) -> None:
        self.w, self.batch, self.sums, self.room, self.j0, self.here = w, batch, sums, room, j0, here

    def each_vector(self, body: Callable[[Value, Value | None], None]) -> None:
        """``body(column, mask)`` for all vectors of a row."""
        b, lanes = self.w.b, self.w.block.lanes
        whole = self.here - self.here % lanes
        with b.loop(0, whole, lanes, unroll=1) as v:
            body(v, None)
        if self.w.q.j % lanes:
            with b.when(whole < self.here):
                body(whole, first_lanes(b, lanes, self.here - whole))

    def add(self, k: Value, count: int) -> None:
        """Add ``count`` steps of k, from ``k`` on."""
        w, q, room = self.w, self.w.q, self.room
        b, lanes = w.b, w.block.lanes
        x_at = w.offset(getattr(b, q.x.operand), q.x.batch, self.batch)
        y_at = w.offset(getattr(b, q.y.operand), q.y.batch, self.batch)
        convert_x, convert_y = w.convert(q.x, self.batch), w.convert(q.y, self.batch)

        def factor(r: int, s: int) -> Value:
            x = b.load(x_at, (k + s) * q.x.k + r * q.x.w)
            return b.splat(convert_x(x, b.const(r, I64), k + s, "k", None), lanes)

        xs = [[factor(r, s) for s in range(count)] for r in range(q.i)]

        def vector(v: Value, mask: Value | None) -> None:
            j = self.j0 + v
            totals = [b.load(self.sums, v + r * room, lanes, mask) for r in range(q.i)]
            for s in range(count):
                y = convert_y(b.load(y_at, (k + s) * q.y.k + j, lanes, mask), j, k + s, "w", mask)
                totals = [multiply_add(b, xs[r][s], y, x, w.target.has_fma) for r, x in enumerate(totals)]
            for r, x in enumerate(totals):
                b.store(self.sums, v + r * room, x, mask)

        self.each_vector(vector)

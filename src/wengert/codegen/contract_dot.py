"""Products of few rows with a matrix whose rows lie along k: vectors run along k, and each result is their sum.

Nothing is packed: the matrix is read once, straight on, which is all that counts where few rows use it.
"""

from __future__ import annotations

import math

from .contract_kernels import Writer
from .kernel import Kernel
from .loop import I64, Value
from .micro import Accumulators, first_lanes, multiply_add


def dot_kernel(w: Writer, name: str) -> Kernel:
    """The kernel of a plan with ``dot``: a tile is some columns, in groups of as many as a vector has lanes."""
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
    with b.loop(0, whole, lanes) as k:
        step(k, None)
    if whole < q.k:
        step(b.const(whole, I64), first_lanes(b, lanes, q.k - whole))
    for r, row in enumerate(sums.values()):
        for s, total in enumerate(row):
            b.store(out, r * lanes + s, b.reduce("add", total))

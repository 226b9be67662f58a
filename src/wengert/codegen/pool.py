"""Pooling in loop IR: largest elements with their places, means, fixed windows or adaptive bins; and the gradients.

Vectors run along the dimension that is contiguous in memory: channels, or the last spatial one. A gradient is
gathered (each input position asks the windows that cover it), so nothing is written twice and the order of sums is
fixed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from .conv_pack import Index, unravel
from .conv_problem import ITEMSIZE
from .kernel import Epilogue, Kernel, Place, Recipe, Step, kernel_builder
from .loop import I64, Builder, Type, Value, Var, pointer
from .micro import first_lanes
from .target import Target

_MOST_VECTORS = 4


class Window(NamedTuple):
    """Windows along one dimension: window ``o`` covers ``o * stride - padding + k * dilation`` for ``k < kernel``."""

    kernel: int
    stride: int
    padding: int = 0
    dilation: int = 1


class Pool(NamedTuple):
    """A pooling of x (N, C, *S) of dtype ``kind`` to (N, C, *counts).

    ``windows``: one for each spatial dimension, None for bins that cover it evenly (`adaptive_avg_pool1d`); what lies
    outside of x does not count. Strides count elements; those of the result are also the indices'.
    """

    kind: str
    x_shape: tuple[int, ...]
    counts: tuple[int, ...]
    windows: tuple[Window | None, ...]
    x_strides: tuple[int, ...]
    out_strides: tuple[int, ...]

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(N, C, *counts)."""
        return (*self.x_shape[:2], *self.counts)


def max_pool(spec: Pool, target: Target, indices: bool = True, epilogue: Epilogue | None = None) -> Recipe:
    """The largest elements: operands x, out, with ``indices`` also indices (i64), then the epilogue's.

    Indices are flat in the spatial dimensions. Of equal elements the first is taken, of several NaN the last, as
    `wengert.ops.pool.WindowArgmax` does.
    """
    operands = {"x": pointer(spec.kind), "out": pointer(spec.kind)} | ({"indices": pointer("i64")} if indices else {})

    def write(pool: _Forward, at: list[Index]) -> None:
        b, shape = pool.b, pool.type
        best = [b.var(b.const(-math.inf, shape)) for _ in range(pool.vectors)]
        first = b.cast(pool.first(at), "i32")
        where = [b.var(b.splat(first, pool.lanes)) for _ in range(pool.vectors)]

        def tap(j: int, x: Value, flat: Value, mask: Value | None) -> None:
            better = (x > best[j].get()) | (x != x)
            better = better if mask is None else better & mask
            best[j].set(b.select(better, x, best[j].get()))
            where[j].set(b.select(better, b.cast(flat, "i32"), where[j].get()))

        pool.taps(at, tap)
        for j, (value, index) in enumerate(zip(best, where, strict=True)):
            if indices:
                pool.write(b.indices, j, at, b.cast(index.get(), "i64"))
            pool.finish(j, at, value.get())

    return _recipe("max_pool", spec, target, operands, epilogue, _Forward, write, indices)


def mean_pool(spec: Pool, divisor: str | float, target: Target, epilogue: Epilogue | None = None) -> Recipe:
    """The sums divided by ``divisor``: operands x, out, then the epilogue's.

    ``divisor``: a number; ``"inside"``, how many elements of x the window covers; ``"window"``, those of the padding
    too (up to the end of the padding, as PyTorch counts).
    """
    operands = {"x": pointer(spec.kind), "out": pointer(spec.kind)}

    def write(pool: _Forward, at: list[Index]) -> None:
        b = pool.b
        sums = [b.var(b.const(0, pool.type)) for _ in range(pool.vectors)]

        def tap(j: int, x: Value, flat: Value, mask: Value | None) -> None:
            sums[j].set(sums[j].get() + x)  # lanes that are masked hold zero

        pool.taps(at, tap)
        area = pool.area(at, divisor)
        for j, total in enumerate(sums):
            pool.finish(j, at, total.get() / area)

    return _recipe("mean_pool", spec, target, operands, epilogue, _Forward, write, divisor)


def max_pool_gradient(spec: Pool, target: Target, epilogue: Epilogue | None = None) -> Recipe:
    """The gradient of x: operands g, indices (as `max_pool` wrote them), out, then the epilogue's."""
    operands = {"g": pointer(spec.kind), "indices": pointer("i64"), "out": pointer(spec.kind)}

    def write(pool: _Backward, at: list[Index]) -> None:
        b = pool.b
        here = pool.flat(at)

        def window(j: int, g: Value, index: Index, mask: Value | None, o: list[Index]) -> Value:
            found = pool.load(b.indices, j, index, mask, pool.spec.out_strides)
            return b.select(found == here, g, b.const(0, pool.type))

        pool.gather(at, window)

    return _recipe("max_pool_dx", spec, target, operands, epilogue, _Backward, write, None)


def mean_pool_gradient(spec: Pool, divisor: str | float, target: Target, epilogue: Epilogue | None = None) -> Recipe:
    """The gradient of x: operands g, out, then the epilogue's; ``divisor`` as in `mean_pool`."""
    operands = {"g": pointer(spec.kind), "out": pointer(spec.kind)}

    def write(pool: _Backward, at: list[Index]) -> None:
        pool.gather(at, lambda j, g, index, mask, o: g / pool.area(o, divisor))

    return _recipe("mean_pool_dx", spec, target, operands, epilogue, _Backward, write, divisor)


def _recipe(
    stem: str, spec: Pool, target: Target, operands: dict[str, Type], epilogue: Epilogue | None,
    direction: type[_Pool], write: Callable[..., None], detail: object,
) -> Recipe:  # fmt: skip
    more = dict(epilogue.operands) if epilogue else {}
    text = repr((spec, target, detail, getattr(epilogue, "name", None), more))
    name = f"{stem}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    b = kernel_builder(name, operands | more)
    pool = direction(b, spec, target, epilogue)
    if not math.prod(pool.shape):
        return Recipe((), {})
    tiles = pool.rows(write)
    moved = ITEMSIZE[spec.kind] * (math.prod(spec.x_shape) + math.prod(spec.out_shape))
    kernel = Kernel(b.finish(), tiles, 0, 0, moved + 8 * ("indices" in operands) * math.prod(spec.out_shape))
    return Recipe((Step(kernel, (*operands, *more)),), {})


class _Pool:
    """What both directions share: rows of results of ``shape``, in vectors along dimension ``axis``."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, b: Builder, spec: Pool, target: Target, epilogue: Epilogue | None) -> None:
        self.b, self.spec, self.epilogue = b, spec, epilogue
        self.sizes, self.rank = spec.x_shape[2:], len(spec.counts)
        lanes = target.lanes(ITEMSIZE[spec.kind])
        channels = spec.x_strides[1] == spec.out_strides[1] == 1 and spec.x_shape[1] > 1
        last = spec.x_strides[-1] == spec.out_strides[-1] == 1 and self.wide_last()
        self.axis = 1 if channels or not last else self.rank + 1
        self.lanes = lanes if channels or last else 1
        n = self.shape[self.axis]
        while self.lanes > 1 and self.lanes // 2 >= n:
            self.lanes //= 2
        self.vectors = min(_MOST_VECTORS, -(-n // self.lanes)) if channels else 1
        self.type = Type(spec.kind, self.lanes)

    def wide_last(self) -> bool:
        """Whether vectors may run along the last dimension."""
        raise NotImplementedError

    def rows(self, write: Callable[..., None]) -> int:
        """Code for all tiles, which are rows along ``axis``; how many there are."""
        b = self.b
        others = [d for d in range(len(self.shape)) if d != self.axis]
        with b.loop(b.lo, b.hi) as tile:
            at: list[Index] = [0] * len(self.shape)
            for d, i in zip(others, unravel(tile, [self.shape[d] for d in others]), strict=True):
                at[d] = b.lift(i, I64)
            with b.loop(0, self.shape[self.axis], self.lanes * self.vectors) as start:
                at[self.axis] = start
                write(self, at)
        return math.prod(self.shape[d] for d in others)

    def mask(self, j: int, start: Index) -> Value | None:
        """Lanes of a vector that are results."""
        n = self.shape[self.axis]
        if n % (self.lanes * self.vectors) == 0:
            return None
        return first_lanes(self.b, self.lanes, self.b.lift(n - (start + j * self.lanes), I64))

    def load(self, p: Value, j: int, index: Index, mask: Value | None, strides: Sequence[int]) -> Value:
        """Elements at an index, one for each lane already if it has lanes."""
        if isinstance(index, Value) and index.lanes > 1:
            return self.b.gather(p, index, mask)
        return self.b.load(p, index + j * self.lanes * strides[self.axis], lanes=self.lanes, mask=mask)

    def write(self, p: Value, j: int, at: Sequence[Index], x: Value) -> None:
        """Results into memory, where the result lies."""
        place = sum((i * s for i, s in zip(at, self.strides, strict=True)), j * self.lanes * self.strides[self.axis])
        self.b.store(p, place, x, self.mask(j, at[self.axis]))

    def finish(self, j: int, at: Sequence[Index], x: Value) -> None:
        """Through the epilogue into the result."""
        if self.epilogue:
            index = [self.b.lift(i, I64) for i in at]
            index[self.axis] = index[self.axis] + j * self.lanes
            place = Place(tuple(index), self.axis, self.lanes, self.mask(j, at[self.axis]))
            x = self.epilogue(self.b, x, place)
        self.write(self.b.out, j, at, x)

    def lanewise(self, d: int, o: Index) -> Index:
        """The index of each lane, if vectors run along the dimension."""
        if self.axis != 2 + d or self.lanes == 1 or (isinstance(o, Value) and o.lanes > 1):
            return o
        return self.b.iota(self.lanes) + o

    def area(self, o: Sequence[Index], divisor: str | float) -> Value:
        """What sums of window ``o`` are divided by."""
        b = self.b
        if not isinstance(divisor, str):
            return b.const(divisor, self.type)
        total: Index = 1
        for d in range(self.rank):
            total = self.covered(d, self.lanewise(d, o[2 + d]), divisor) * total
        total = b.lift(total, I64)
        return b.splat(b.cast(total, self.spec.kind), self.lanes)

    def covered(self, d: int, o: Index, divisor: str) -> Index:
        """How many positions of a dimension count for window ``o``."""
        b, window, n = self.b, self.spec.windows[d], self.sizes[d]
        if window is not None and divisor == "window":
            start = o * window.stride - window.padding
            return b.binary("min", b.lift(window.kernel, I64), n + window.padding - start)
        low, high, _ = self.covers(d, o)
        return high - low

    def covers(self, d: int, o: Index) -> tuple[Index, Index, int]:
        """The positions inside of x that window ``o`` covers: from, to, step."""
        b, window, n = self.b, self.spec.windows[d], self.sizes[d]
        if window is None:
            count = self.spec.counts[d]
            return o * n // count, ((o + 1) * n + (count - 1)) // count, 1
        start = o * window.stride - window.padding
        end = b.binary("min", b.lift(start + ((window.kernel - 1) * window.dilation + 1), I64), n)
        missing = (b.binary("max", b.lift(0 - start, I64), 0) + (window.dilation - 1)) // window.dilation
        return start + missing * window.dilation, end, window.dilation


class _Forward(_Pool):
    """Windows in x."""

    def __init__(self, b: Builder, spec: Pool, target: Target, epilogue: Epilogue | None) -> None:
        self.shape, self.strides = spec.out_shape, spec.out_strides
        super().__init__(b, spec, target, epilogue)

    def wide_last(self) -> bool:
        """Bins are of different widths."""
        return self.spec.windows[-1] is not None

    def first(self, at: Sequence[Index]) -> Value:
        """The flat index of the first position that the window covers, for each lane."""
        b = self.b
        flat: Index = 0
        for d in range(self.rank):
            flat = flat * self.sizes[d] + self.covers(d, self.lanewise(d, at[2 + d]))[0]
        return b.lift(flat, I64)

    def taps(self, at: Sequence[Index], body: Callable[[int, Value, Value, Value | None], None]) -> None:
        """For each vector and position that its window covers: x there, the flat index, the lanes inside."""
        b, spec = self.b, self.spec
        along = self.axis != 1 and self.lanes > 1
        with ExitStack() as loops:
            x: Index = at[0] * spec.x_strides[0] + at[1] * spec.x_strides[1]
            flat: Index = 0
            for d in range(self.rank - along):
                low, high, step = self.covers(d, at[2 + d])
                position = loops.enter_context(b.loop(low, high, step))
                x, flat = position * spec.x_strides[2 + d] + x, flat * self.sizes[d] + position
            if not along:
                for j in range(self.vectors):
                    mask = self.mask(j, at[self.axis])
                    body(j, self.load(b.x, j, x, mask, spec.x_strides), b.lift(flat, I64), mask)
                return
            window, n = spec.windows[-1], self.sizes[-1]
            assert window is not None
            start = at[-1] * window.stride - window.padding
            with b.loop(0, window.kernel) as k:
                first = k * window.dilation + start
                position = b.iota(self.lanes) * window.stride + first
                mask, inside = self.mask(0, at[-1]), (position >= 0) & (position < n)
                mask = inside if mask is None else inside & mask
                index = b.lift(x, I64) + first if window.stride == 1 else position + x
                body(0, self.load(b.x, 0, index, mask, spec.x_strides), position + flat * n, mask)


class _Backward(_Pool):
    """Positions of x, and the windows that cover them."""

    def __init__(self, b: Builder, spec: Pool, target: Target, epilogue: Epilogue | None) -> None:
        self.shape, self.strides = spec.x_shape, spec.x_strides
        super().__init__(b, spec, target, epilogue)

    def wide_last(self) -> bool:
        """Windows are found by a shift, since processors have no vectors of quotients."""
        window = self.spec.windows[-1]
        return window is not None and window.stride & (window.stride - 1) == 0

    def flat(self, at: Sequence[Index]) -> Value:
        """The flat index of the position, for each lane."""
        b = self.b
        flat: Index = 0
        for n, i in zip(self.sizes, at[2:], strict=True):
            flat = flat * n + i
        flat = b.lift(flat, I64)
        return b.iota(self.lanes) + flat if self.axis != 1 and self.lanes > 1 else b.splat(flat, self.lanes)

    def covering(self, d: int, position: Index) -> tuple[Index, Index]:
        """The windows that can cover a position, from and to."""
        b, window, n, count = self.b, self.spec.windows[d], self.sizes[d], self.spec.counts[d]
        if window is None:
            return position * count // n, ((position + 1) * count + (n - 1)) // n
        first = position + (window.padding - (window.kernel - 1) * window.dilation)
        low = (b.binary("max", b.lift(first, I64), 0) + (window.stride - 1)) // window.stride
        last = b.binary("max", b.lift(position + window.padding + window.stride, I64), 0) // window.stride
        return low, b.binary("min", last, count)

    def gather(self, at: list[Index], body: Callable[[int, Value, Index, Value | None, list[Index]], Value]) -> None:
        """Sum ``body`` over the windows that can cover the positions: it gets g there, where that lies, the window."""
        b, spec = self.b, self.spec
        sums = [b.var(b.const(0, self.type)) for _ in range(self.vectors)]
        along = self.axis != 1 and self.lanes > 1
        with ExitStack() as loops:
            index: Index = at[0] * spec.out_strides[0] + at[1] * spec.out_strides[1]
            o: list[Index] = [0, 0]
            for d in range(self.rank - along):
                o.append(loops.enter_context(b.loop(*self.covering(d, at[2 + d]))))
                index = o[-1] * spec.out_strides[2 + d] + index
            if along:
                self._along(at, index, o, body, sums[0])
            else:
                for j, total in enumerate(sums):
                    mask = self.mask(j, at[self.axis])
                    g = self.load(b.g, j, index, mask, spec.out_strides)
                    total.set(total.get() + body(j, g, index, mask, o))
        for j, total in enumerate(sums):
            self.finish(j, at, total.get())

    def _along(self, at: list[Index], index: Index, o: list[Index], body: Callable[..., Value], total: Var) -> None:
        """The windows of the last dimension, a different one in each lane."""
        b, window = self.b, self.spec.windows[-1]
        assert window is not None
        span = (window.kernel - 1) * window.dilation + 1
        newest = b.iota(self.lanes) + (at[-1] + window.padding)
        newest = newest >> (window.stride.bit_length() - 1)
        most = -(-span // window.stride)
        with b.loop(0, most) as k:
            last = newest - (most - 1) + b.splat(k, self.lanes)
            end = last * window.stride + (span - window.padding)
            inside = (last >= 0) & (last < self.spec.counts[-1]) & (b.iota(self.lanes) + at[-1] < end)
            mask = self.mask(0, at[-1])
            mask = inside if mask is None else inside & mask
            where = last + index
            g = self.load(b.g, 0, where, mask, self.spec.out_strides)
            part = body(0, g, where, mask, [*o, last])
            total.set(total.get() + b.select(mask, part, b.const(0, self.type)))

"""Sliding windows over the last axes: what pooling, unfold and fold are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .. import dtypes as dt
from ..errors import ShapeError, message
from ..graph.aval import Aval
from .base import OPS, Linear, Op, Sample, shape_of, to_front
from .testpoints import complexes, floats, noncontiguous


def window_counts(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """How many windows fit along each axis."""
    return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(sizes, kernel, stride, dilation))


def taps(
    kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], counts: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
    """Each element of the kernel, with the slices of the input that it sees.

    Kernel and windows are alike: with their roles exchanged it gives each window and what it covers.
    """
    for tap in np.ndindex(*kernel):
        starts = [k * d for k, d in zip(tap, dilation)]
        yield tap, (..., *[slice(a, a + s * (n - 1) + 1, s) for a, s, n in zip(starts, stride, counts)])


def window_view(x: Any, shape: tuple[int, ...], stride: Sequence[int], dilation: Sequence[int]) -> Any:
    """(..., *kernel, *counts) of ``shape``, without a copy."""
    lead, last = x.strides[: x.ndim - len(stride)], x.strides[x.ndim - len(stride) :]
    inner = tuple([s * d for s, d in zip(last, dilation)])
    return as_strided(x, shape, (*lead, *inner, *[s * d for s, d in zip(last, stride)]))


class Windows(Linear):
    """All windows over the last axes: (..., *S) to (..., *kernel, *counts).

    ``out[..., k, o] = x[..., o·stride + k·dilation]``; what does not fill a window is left out.
    """

    name = "windows"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, kernel = avals[0], attrs["kernel"]
        rank = len(kernel)
        counts = window_counts(x.shape[x.ndim - rank :], kernel, attrs["stride"], attrs["dilation"])
        if x.ndim < rank or any(n < 1 for n in (*counts, *kernel)):
            raise ShapeError(
                message("windows", "the window is larger than the input",
                        f"{x}, kernel {list(kernel)}, dilation {list(attrs['dilation'])}")
            )  # fmt: skip
        return x.with_shape((*x.shape[: x.ndim - rank], *kernel, *counts))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x = xs[0]
        shape = self.infer(Aval(x.shape, x.dtype), **attrs).shape
        return np.array(window_view(x, shape, attrs["stride"], attrs["dilation"]), order="C")

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        shape = shape_of(xs[0])
        return OPS["unwindows"](g, sizes=shape[len(shape) - len(attrs["kernel"]) :], **attrs)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), **attrs), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(7), attrs={"kernel": (3,), "stride": (2,), "dilation": (1,)})
        yield Sample(floats(2, 5, 6), attrs={"kernel": (2, 3), "stride": (1, 2), "dilation": (2, 1)}, label="a rest")
        yield Sample(noncontiguous(4, 4), attrs={"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1)})
        yield Sample(floats(2, 5), attrs={"kernel": (4,), "stride": (1,), "dilation": (1,)}, label="large windows")
        yield Sample(floats(0, 4), attrs={"kernel": (2,), "stride": (1,), "dilation": (1,)}, label="empty")
        yield Sample(complexes(4), attrs={"kernel": (2,), "stride": (1,), "dilation": (1,)})


class Unwindows(Linear):
    """Add windows up where they came from, in zeros of ``sizes``: the transpose of `Windows`."""

    name = "unwindows"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        g, kernel, sizes = avals[0], attrs["kernel"], attrs["sizes"]
        counts = window_counts(sizes, kernel, attrs["stride"], attrs["dilation"])
        rank = len(kernel)
        if g.shape[g.ndim - 2 * rank :] != (*kernel, *counts):
            raise ShapeError(
                message("unwindows", "the windows do not fit the sizes",
                        f"{g}, kernel {list(kernel)}, sizes {list(sizes)} with {list(counts)} windows")
            )  # fmt: skip
        return g.with_shape((*g.shape[: g.ndim - 2 * rank], *sizes))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        g, kernel = xs[0], attrs["kernel"]
        rank = len(kernel)
        shape = self.infer(Aval(g.shape, g.dtype), **attrs).shape
        out = np.zeros(shape, np.float32 if g.dtype in dt.HALF_NP else g.dtype)
        counts, every = g.shape[g.ndim - rank :], [slice(None)] * rank
        if math.prod(kernel) <= math.prod(counts):
            for tap, seen in taps(kernel, attrs["stride"], attrs["dilation"], counts):
                out[seen] += g[(..., *tap, *every)]
        else:
            for window, covered in taps(counts, attrs["dilation"], attrs["stride"], kernel):
                out[covered] += g[(..., *every, *window)]
        return out.astype(g.dtype, copy=False)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["windows"](g, kernel=attrs["kernel"], stride=attrs["stride"], dilation=attrs["dilation"])

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), **attrs), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3, 3), attrs={"kernel": (3,), "stride": (2,), "dilation": (1,), "sizes": (7,)})
        yield Sample(floats(2, 2, 3, 3, 2),
                     attrs={"kernel": (2, 3), "stride": (1, 2), "dilation": (2, 1),
                            "sizes": (5, 6)})  # fmt: skip
        yield Sample(noncontiguous(2, 3), attrs={"kernel": (2,), "stride": (1,), "dilation": (1,), "sizes": (4,)})
        yield Sample(floats(0, 2, 3), attrs={"kernel": (2,), "stride": (1,), "dilation": (1,), "sizes": (4,)},
                     label="empty")  # fmt: skip
        yield Sample(complexes(2, 3), attrs={"kernel": (2,), "stride": (1,), "dilation": (1,), "sizes": (4,)})


class WindowArgmax(Op):
    """Where the largest element of each window stands: a flat index into the last axes, int64.

    (..., *S) to (..., *counts). Window o covers the positions ``o·stride - padding + k·dilation`` that
    lie inside; of equal elements the first is taken, and NaN is larger than all (the last NaN wins,
    as in PyTorch). ``order``, which the compiler chooses: the result's axes are permuted so.
    """

    name = "window_argmax"
    differentiable = False

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, rank = avals[0], len(attrs["kernel"])
        if x.ndim < rank or min(x.shape[x.ndim - rank :]) < 1:
            raise ShapeError(message("window_argmax", "needs an input that is not empty", str(x)))
        shape = (*x.shape[: x.ndim - rank], *attrs["counts"])
        return Aval(tuple([shape[i] for i in attrs["order"]]) if "order" in attrs else shape, dt.NP_INT64)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x = xs[0]
        order = attrs.pop("order", None)
        if order is not None:
            return self.numpy(x, **attrs).transpose(order)
        if x.dtype in dt.HALF_NP:
            x = x.astype(np.float32)
        scan = _Scan(x.shape, **attrs)
        floating = x.dtype in dt.FLOATING_NP
        if scan.is_wide() and not (floating and np.isnan(x).any()):
            return scan.wide_argmax(x)
        best = np.full((*scan.lead, *attrs["counts"]), -np.inf if floating else np.iinfo(x.dtype).min, x.dtype)
        tap = np.empty(best.shape, np.int32)
        tap[...] = scan.first_tap
        for number, (inside, seen) in enumerate(scan.taps()):
            values, held = x[seen], best[inside]
            np.copyto(tap[inside], number, where=values > held)
            np.maximum(held, values, out=held)
        if floating and np.isnan(best).any():
            for number, (inside, seen) in enumerate(scan.taps()):
                np.copyto(tap[inside], number, where=np.isnan(x[seen]))
        return scan.base + scan.offsets[tap]

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return None

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [None]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), **attrs), 0

    def samples(self) -> Iterable[Sample]:
        nan, inf = np.nan, np.inf
        plain = {"kernel": (2,), "stride": (2,), "dilation": (1,), "padding": (0,), "counts": (3,)}
        yield Sample(floats(2, 6), attrs=plain)
        yield Sample(np.array([1.0, 1.0, nan, 2.0, -inf, -inf]), attrs=plain, label="ties, NaN, -inf")
        yield Sample(np.array([nan, nan, 3.0, nan, nan, inf]), attrs=plain, label="several NaN")
        yield Sample(noncontiguous(2, 5, 4), attrs={
            "kernel": (3, 2), "stride": (2, 1), "dilation": (1, 2), "padding": (1, 1), "counts": (3, 4),
        }, label="padding, dilation")  # fmt: skip
        yield Sample(np.array([[3, 1, 2, 2, 9]]), attrs={
            "kernel": (2,), "stride": (2,), "dilation": (1,), "padding": (0,), "counts": (3,),
        }, label="a window that reaches over the end")  # fmt: skip
        yield Sample(floats(0, 6), attrs=plain, label="empty")
        yield Sample(floats(2, 5, 6), attrs={
            "kernel": (4, 5), "stride": (1, 1), "dilation": (1, 1), "padding": (0, 0), "counts": (2, 2),
        }, label="large windows")  # fmt: skip


class _Scan:
    """The static part of `WindowArgmax`: which tap of the kernel sees what, and where that stands."""

    def __init__(
        self,
        shape: tuple[int, ...],
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        dilation: tuple[int, ...],
        padding: tuple[int, ...],
        counts: tuple[int, ...],
    ) -> None:
        rank = len(kernel)
        self.lead, sizes = shape[: len(shape) - rank], shape[len(shape) - rank :]
        self.sizes, self.kernel, self.counts = sizes, kernel, counts
        self.stride, self.dilation, self.padding = stride, dilation, padding
        scale = [math.prod(sizes[i + 1 :]) for i in range(rank)]
        starts = [np.arange(c) * s - p for c, s, p in zip(counts, stride, padding)]
        missing = [np.maximum(-(a // d), 0) for a, d in zip(starts, dilation)]  # taps before the input
        self.base = _outer_sum([a * c for a, c in zip(starts, scale)])
        weights = [math.prod(kernel[i + 1 :]) for i in range(rank)]
        self.first_tap = _outer_sum([m * w for m, w in zip(missing, weights)])
        self.offsets = _outer_sum([np.arange(k) * d * c for k, d, c in zip(kernel, dilation, scale)]).reshape(-1)

    def is_wide(self) -> bool:
        """Whether the kernel is large against the number of windows, and lies inside for all of them."""
        ends = [
            (c - 1) * s - p + (k - 1) * d
            for c, s, p, k, d in zip(self.counts, self.stride, self.padding, self.kernel, self.dilation)
        ]
        inside = all(p <= 0 for p in self.padding) and all(e < n for e, n in zip(ends, self.sizes))
        return inside and math.prod(self.kernel) > max(16, math.prod(self.counts))

    def wide_argmax(self, x: Any) -> Any:
        """NumPy's argmax, whose cost for each window does not matter when windows are large."""
        x = x[(..., *[slice(-p, None) for p in self.padding])]
        windows = window_view(x, (*self.lead, *self.kernel, *self.counts), self.stride, self.dilation)
        rank, n = len(self.kernel), len(self.lead)
        order = (*range(n), *range(n + rank, n + 2 * rank), *range(n, n + rank))
        flat = windows.transpose(order).reshape(*self.lead, *self.counts, -1)
        return self.base + self.offsets[flat.argmax(-1)]

    def taps(self) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """For each element of the kernel the windows in which it lies inside, and what it sees."""
        axes = (self.sizes, self.counts, self.stride, self.dilation, self.padding)
        for tap in np.ndindex(*self.kernel):
            inside: list[Any] = [...]
            seen: list[Any] = [...]
            for k, n, c, s, d, p in zip(tap, *axes):
                at = k * d - p
                low, high = max(0, -(at // s)), min(c - 1, (n - 1 - at) // s)
                inside.append(slice(low, max(high + 1, low)))
                start = low * s + at
                seen.append(slice(start, start + max(high - low, -1) * s + 1, s) if high >= low else slice(0, 0))
            yield tuple(inside), tuple(seen)


def _outer_sum(parts: Sequence[Any]) -> Any:
    """parts[0][:, None, ...] + parts[1][None, :, ...] + ..."""
    total: Any = np.zeros((), np.int64)
    for p in parts:
        total = total[..., None] + p
    return total

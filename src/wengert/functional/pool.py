"""Pooling: the largest, the mean or a norm of each window, fixed or adaptive; and unpooling."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, IndexRangeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import apply, wrap
from ..ops.base import OPS
from .activation import pick
from .conv import ntuple, reshape
from .formula import formula
from .front import cast
from .windows import (
    Pooling,
    bins,
    constant,
    flat_bins,
    in_single,
    is_even,
    largest_of,
    pick_flat,
    require_floating,
    resample,
    spatial_sizes,
    wanted_sizes,
    window_sums,
)

_ARGMAX = OPS["window_argmax"]


# -- largest ---------------------------------------------------------------------------------------


@formula
def max_pool(
    x: Any,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    counts: tuple[int, ...],
) -> Any:
    """The largest element of each window, and where it stands."""
    attrs = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding, "counts": counts}
    where = apply(_ARGMAX, (x,), attrs)
    return pick_flat(x, where, len(kernel)), where


def _max_pool(
    rank: int, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, indices: bool
) -> Any:
    p = Pooling(f"max_pool{rank}d", x, rank, kernel, stride, padding, dilation, ceil_mode)
    out = max_pool(x, p.kernel, p.stride, p.padding, p.dilation, p.counts)
    return out if indices else out[0]


def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of ``input`` (N, C, L) or (C, L).

    ``stride`` defaults to ``kernel_size``; ``padding`` counts as minus infinity; ``ceil_mode`` also takes
    a last window that reaches over the end. With ``return_indices`` also the places of the largest
    elements, as flat indices into the spatial dimensions. Of equal elements the first one gets the
    gradient.

    Raises:
        ArgumentError: padding is more than half of the kernel.
        ShapeError: the window is larger than the padded input.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.max_pool1d(wg.tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2).tolist()
    [[[3.0, 2.0]]]
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of ``input`` (N, C, H, W) or (C, H, W); see `max_pool1d`."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of ``input`` (N, C, T, H, W) or (C, T, H, W); see `max_pool1d`."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# -- mean and norm -----------------------------------------------------------------------------------


def _means(x: Any, p: Pooling, count_include_pad: bool, divisor: int | None) -> Any:
    out = window_sums(x, p)
    if divisor is not None:
        return out / divisor
    areas = p.areas(count_include_pad)
    first = int(areas.reshape(-1)[0])
    return out / first if (areas == first).all() else out / constant(areas, out)


@formula
def avg_pool(
    x: Any,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Any:
    """The mean of each window."""
    p = Pooling("avg_pool", x, len(kernel), kernel, stride, padding, 1, ceil_mode)
    return in_single(lambda y: _means(y, p, count_include_pad, divisor), x)


def _avg_pool(
    rank: int,
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: Any = None,
) -> Any:
    name = f"avg_pool{rank}d"
    p = Pooling(name, x, rank, kernel, stride, padding, 1, ceil_mode)
    require_floating(name, x)
    if divisor is not None and not divisor:
        raise ArgumentError(message(name, "divisor_override must not be zero", repr(divisor)))
    return avg_pool(x, p.kernel, p.stride, p.padding, bool(ceil_mode), bool(count_include_pad), divisor)


def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """The mean of each window of ``input`` (N, C, L) or (C, L).

    ``stride`` defaults to ``kernel_size``; ``padding`` counts as zeros, which ``count_include_pad=False``
    leaves out of the divisor; ``ceil_mode`` also takes a last window that reaches over the end.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.avg_pool1d(wg.tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2).tolist()
    [[[2.0, 1.0]]]
    """
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window of ``input`` (N, C, H, W) or (C, H, W); see `avg_pool1d`.

    ``divisor_override`` divides the sums by that number instead.
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window of ``input`` (N, C, T, H, W) or (C, T, H, W); see `avg_pool2d`."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@formula
def lp_pool(x: Any, p: float, kernel: tuple[int, ...], stride: tuple[int, ...], ceil_mode: bool) -> Any:
    """The p-norm of each window."""

    def norm(y: Any) -> Any:
        pooling = Pooling("lp_pool", y, len(kernel), kernel, stride, 0, 1, ceil_mode)
        # As in PyTorch, a window that reaches over the end is scaled up to the size of a whole one.
        total = _means(y**p, pooling, True, None) * math.prod(kernel)
        # The root has no finite derivative at 0.
        return pick(total == 0, 0.0, pick(total == 0, 1.0, total) ** (1.0 / p))

    return in_single(norm, x)


def _lp_pool(rank: int, x: Any, norm_type: float, kernel: Any, stride: Any, ceil_mode: bool) -> Any:
    name = f"lp_pool{rank}d"
    p = Pooling(name, x, rank, kernel, stride, 0, 1, ceil_mode)
    require_floating(name, x)
    return lp_pool(x, float(norm_type), p.kernel, p.stride, bool(ceil_mode))


def lp_pool1d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """(sum of x^p)^(1/p) of each window of ``input`` (N, C, L) or (C, L), with p = ``norm_type``.

    Where a window is all zeros its gradient is 0, as in PyTorch.
    """
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """(sum of x^p)^(1/p) of each window of ``input`` (N, C, H, W) or (C, H, W); see `lp_pool1d`."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """(sum of x^p)^(1/p) of each window of ``input`` (N, C, T, H, W) or (C, T, H, W); see `lp_pool1d`."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


# -- adaptive --------------------------------------------------------------------------------------


@formula
def adaptive_avg_pool(x: Any, outs: tuple[int, ...]) -> Any:
    """The mean of each of ``outs`` bins."""

    def mean(y: Any) -> Any:
        lead = len(y.aval.shape) - len(outs)
        for axis, count in enumerate(outs):
            index, mask = bins(y.aval.shape[lead + axis], count)
            # A short bin repeats its last element, which then counts half: with weight 0 an infinity would be NaN.
            last = index == index[:, -1:]
            weights = np.where(last, 1 / last.sum(1, keepdims=True), 1) / mask.sum(1, keepdims=True)
            y = resample(y, lead + axis, index, weights)
        return y

    return in_single(mean, x)


def _adaptive_avg_pool(rank: int, x: Any, output_size: Any) -> Any:
    name = f"adaptive_avg_pool{rank}d"
    sizes = spatial_sizes(name, x, rank)
    outs = _adaptive_sizes(name, rank, output_size, sizes)
    require_floating(name, x)
    if is_even(sizes, outs):
        kernel = tuple(n // o for n, o in zip(sizes, outs))
        return avg_pool(x, kernel, kernel, (0,) * rank, False, True, None)
    return adaptive_avg_pool(x, outs)


def _adaptive_sizes(name: str, rank: int, output_size: Any, sizes: Sequence[int]) -> tuple[int, ...]:
    outs = wanted_sizes(name, rank, output_size, sizes)
    if min(outs) < 0:
        raise ArgumentError(message(name, "output_size must not be negative", repr(output_size)))
    return outs


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """The means of ``output_size`` bins that cover ``input`` (N, C, L) or (C, L) evenly.

    Bin i covers ``floor(i·L/n)`` to ``ceil((i+1)·L/n)``; neighbours may overlap by one.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.adaptive_avg_pool1d(wg.tensor([[[1.0, 3.0, 2.0]]]), 2).tolist()
    [[[2.0, 2.5]]]
    """
    return _adaptive_avg_pool(1, input, output_size)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """The means of bins that cover ``input`` (N, C, H, W) or (C, H, W); see `adaptive_avg_pool1d`.

    ``output_size``: a number, or two of which None keeps the input's size.
    """
    return _adaptive_avg_pool(2, input, output_size)


def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """The means of bins that cover ``input`` (N, C, T, H, W) or (C, T, H, W); see `adaptive_avg_pool2d`."""
    return _adaptive_avg_pool(3, input, output_size)


@formula
def adaptive_max_pool(x: Any, outs: tuple[int, ...]) -> Any:
    """The largest element of each of ``outs`` bins, and where it stands."""
    shape = x.aval.shape
    lead, sizes = shape[: len(shape) - len(outs)], shape[len(shape) - len(outs) :]
    table = flat_bins(sizes, outs)
    flat = reshape(x, (math.prod(lead), math.prod(sizes)))
    index = wrap(np.broadcast_to(table.reshape(1, -1), (math.prod(lead), table.size)))
    where = largest_of(flat, reshape(index, (math.prod(lead), *table.shape)))
    return pick_flat(x, where := reshape(where, (*lead, *outs)), len(outs)), where


def _adaptive_max_pool(rank: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    name = f"adaptive_max_pool{rank}d"
    sizes = spatial_sizes(name, x, rank)
    outs = _adaptive_sizes(name, rank, output_size, sizes)
    if is_even(sizes, outs):
        kernel = tuple(n // o for n, o in zip(sizes, outs))
        out = max_pool(x, kernel, kernel, (0,) * rank, (1,) * rank, outs)
    else:
        out = adaptive_max_pool(x, outs)
    return out if return_indices else out[0]


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of ``output_size`` bins of (N, C, L); bins as in `adaptive_avg_pool1d`."""
    return _adaptive_max_pool(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of bins that cover ``input`` (N, C, H, W); see `adaptive_avg_pool2d`."""
    return _adaptive_max_pool(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of bins that cover ``input`` (N, C, T, H, W); see `adaptive_avg_pool3d`."""
    return _adaptive_max_pool(3, input, output_size, return_indices)


# -- fractional --------------------------------------------------------------------------------------


@formula
def fractional_max_pool(x: Any, samples: Any, kernel: tuple[int, ...], outs: tuple[int, ...]) -> Any:
    """The largest element of windows at random places, and where it stands.

    ``samples`` (N, C, rank) in [0, 1) move the windows of each image and channel.
    """
    rank, shape = len(kernel), x.aval.shape
    lead, sizes = shape[: len(shape) - rank], shape[len(shape) - rank :]
    n = math.prod(lead)
    total: Any = wrap(np.zeros((n, 1, 1), np.int64))
    for axis, (size, k, out) in enumerate(zip(sizes, kernel, outs)):
        # PyTorch draws the width's number first in two dimensions, the time's first in three.
        u = samples[:, rank - 1 - axis : rank - axis] if rank == 2 else samples[:, axis : axis + 1]
        index = reshape(_starts(u, size, k, out), (n, 1, out, 1, 1)) + wrap(np.arange(k).reshape(1, 1, 1, 1, k))
        before = reshape(total, (n, total.aval.shape[1], 1, total.aval.shape[2], 1))
        total = before * size + index
        total = reshape(total, (n, before.aval.shape[1] * out, before.aval.shape[3] * k))
    where = reshape(largest_of(reshape(x, (n, math.prod(sizes))), total), (*lead, *outs))
    return pick_flat(x, where, rank), where


def _starts(u: Any, size: int, kernel: int, out: int) -> Any:
    """(n, out) first positions of the windows: Graham's pseudo-random sequence."""
    last = wrap(np.full((u.aval.shape[0], 1), size - kernel))
    if out == 1:
        return last
    alpha = float(u.aval.dtype.type(size - kernel) / u.aval.dtype.type(out - 1))
    steps = constant(np.arange(out - 1).reshape(1, -1), u)
    moved = cast((steps + u) * alpha, dt.int64) - cast(u * alpha, dt.int64)
    return apply(OPS["cat"], (moved, last), {"axis": 1})


def _fractional(
    rank: int, x: Any, kernel_size: Any, output_size: Any, output_ratio: Any, indices: bool, samples: Any
) -> Any:
    name = f"fractional_max_pool{rank}d"
    sizes = spatial_sizes(name, x, rank)
    kernel = ntuple(name, "kernel_size", kernel_size, rank, 1)
    if (output_size is None) == (output_ratio is None):
        raise ArgumentError(message(name, "exactly one of output_size and output_ratio is needed"))
    if output_ratio is not None:
        ratios = (output_ratio,) * rank if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
        if not all(0 < r < 1 for r in ratios):
            raise ArgumentError(message(name, "output_ratio must lie between 0 and 1", repr(output_ratio)))
        output_size = tuple(int(n * r) for n, r in zip(sizes, ratios))
    outs = ntuple(name, "output_size", output_size, rank, 1)
    if any(o + k - 1 > n for o, k, n in zip(outs, kernel, sizes)):
        raise ShapeError(
            message(
                name,
                "the windows do not fit the input",
                f"{x.aval}, kernel_size={kernel}, output_size={outs}",
            )
        )
    shape = x.aval.shape
    lead = (1, *shape[:-rank]) if len(shape) == rank + 1 else shape[:-rank]
    if samples is None:
        from .random import rand

        samples = rand(*lead, rank, dtype=dt.of(x.aval.dtype))
    if samples.aval.shape != (*lead, rank):
        raise ShapeError(message(name, "the random samples do not fit", f"{samples.aval} for {x.aval}"))
    out = fractional_max_pool(x, reshape(samples, (math.prod(lead), rank)), kernel, outs)
    return out if indices else out[0]


def fractional_max_pool2d(
    input: Any,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:
    """The largest elements of ``output_size`` windows at random places of (N, C, H, W) or (C, H, W).

    ``output_ratio`` gives the size as a fraction of the input instead. ``_random_samples`` (N, C, 2) in
    [0, 1) fixes the places. Source: Graham, Fractional Max-Pooling, arXiv:1412.6071.
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d(
    input: Any,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:
    """`fractional_max_pool2d` for ``input`` (N, C, T, H, W) or (C, T, H, W)."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


# -- unpooling ---------------------------------------------------------------------------------------


def _unpool(rank: int, x: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any) -> Any:
    name = f"max_unpool{rank}d"
    sizes = spatial_sizes(name, x, rank)
    kernel = ntuple(name, "kernel_size", kernel_size, rank, 1)
    steps = kernel if stride is None else ntuple(name, "stride", stride, rank, 1)
    pads = ntuple(name, "padding", padding, rank)
    if indices.aval.shape != x.aval.shape or indices.aval.dtype != dt.NP_INT64:
        raise ShapeError(
            message(name, "indices must be int64 and shaped like the input", describe((x.aval, indices.aval)))
        )
    usual = tuple((n - 1) * s + k - 2 * p for n, s, k, p in zip(sizes, steps, kernel, pads))
    outs = usual if output_size is None else tuple(int(n) for n in output_size)[-rank:]
    if len(outs) != rank or any(not u - s < o < u + s for u, s, o in zip(usual, steps, outs) if o != u):
        raise ArgumentError(
            message(name, "output_size does not fit", f"{output_size} for {x.aval}",
                    f"It must be closer than the stride to {list(usual)}")
        )  # fmt: skip
    lead = x.aval.shape[: len(x.aval.shape) - rank]
    n, area = math.prod(lead), math.prod(outs)
    flat = reshape(indices, (n, math.prod(sizes)))
    if flat._value is not None and flat._value.size and not 0 <= flat._value.min() <= flat._value.max() < area:
        raise IndexRangeError(
            message(name, "an index is outside of the output", f"{indices.aval}, output {list(outs)}")
        )
    place = reshape(flat + wrap(np.arange(n).reshape(-1, 1) * area), (n * math.prod(sizes),))
    zeros = wrap(np.zeros(n * area, x.aval.dtype))
    out = apply(OPS["put_rows"], (zeros, place, reshape(x, (n * math.prod(sizes),))))
    return reshape(out, (*lead, *outs))


def max_unpool1d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Write the results of `max_pool1d` back to where ``indices`` say they came from, zeros elsewhere.

    ``output_size`` picks among the lengths that pool to this one. Of equal indices the last one wins.

    Raises:
        IndexRangeError: an index lies outside of the output.
    """
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Write the results of `max_pool2d` back to where they came from; see `max_unpool1d`."""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Write the results of `max_pool3d` back to where they came from; see `max_unpool1d`."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


# -- with indices --------------------------------------------------------------------------------------


def _with_indices(pool: Callable[..., Any]) -> Callable[..., Any]:
    """The function that also gives indices, whatever ``return_indices`` says."""
    signature = inspect.signature(pool)

    @functools.wraps(pool)
    def with_indices(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.arguments["return_indices"] = True
        return pool(*given.args, **given.kwargs)

    with_indices.__name__ = with_indices.__qualname__ = f"{pool.__name__}_with_indices"
    with_indices.__doc__ = f"`{pool.__name__}` with ``return_indices=True``: the largest elements and their places."
    return with_indices


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    _with_indices, (max_pool1d, max_pool2d, max_pool3d)
)
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = map(
    _with_indices, (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d)
)
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = map(
    _with_indices, (fractional_max_pool2d, fractional_max_pool3d)
)


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "fractional_max_pool2d", "fractional_max_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d",
    "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices",
    "fractional_max_pool2d_with_indices", "fractional_max_pool3d_with_indices", "max_pool1d_with_indices",
    "max_pool2d_with_indices", "max_pool3d_with_indices",
]  # fmt: skip

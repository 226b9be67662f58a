"""Pooling to a wanted size: windows that cover the input evenly (adaptive), or at random (fractional)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, ShapeError, message
from ..graph.handle import apply, wrap
from ..ops.base import OPS
from .conv import ntuple, reshape
from .formula import formula
from .front import cast
from .pool import avg_pool, max_pool, with_indices
from .windows import (
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
)


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


# -- with indices --------------------------------------------------------------------------------------


adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = map(
    with_indices, (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d)
)
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = map(
    with_indices, (fractional_max_pool2d, fractional_max_pool3d)
)


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "fractional_max_pool2d", "fractional_max_pool3d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d_with_indices", "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d_with_indices",
]  # fmt: skip

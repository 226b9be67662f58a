"""Pooling: the largest, the mean or a norm of each window of a fixed size; and unpooling."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
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
from .windows import Pooling, constant, in_single, pick_flat, require_floating, spatial_sizes, window_sums

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


def with_indices(pool: Callable[..., Any]) -> Callable[..., Any]:
    """The function that also gives indices, whatever ``return_indices`` says."""
    signature = inspect.signature(pool)

    @functools.wraps(pool)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.arguments["return_indices"] = True
        return pool(*given.args, **given.kwargs)

    call.__name__ = call.__qualname__ = f"{pool.__name__}_with_indices"
    call.__doc__ = f"`{pool.__name__}` with ``return_indices=True``: the largest elements and their places."
    return call


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    with_indices, (max_pool1d, max_pool2d, max_pool3d)
)


__all__ = [
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d",
    "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "max_pool1d_with_indices",
    "max_pool2d_with_indices", "max_pool3d_with_indices",
]  # fmt: skip

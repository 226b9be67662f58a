"""Pooling: the largest, the mean or a norm of each window, fixed or adaptive; and unpooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from .conv import ntuple, pad_last, permute, reshape
from .formula import formula
from .front import cast

_WINDOWS, _ARGMAX, _GATHER = OPS["windows"], OPS["window_argmax"], OPS["gather"]
_SUM, _TAKE = OPS["sum"], OPS["take_rows"]


def _spatial(name: str, x: Any, rank: int) -> tuple[int, ...]:
    """The last ``rank`` sizes of an input (N, C, *spatial) or (C, *spatial)."""
    if not isinstance(x, Handle):
        raise DTypeError(message(name, "needs a tensor", type(x).__name__, "Wrap it with wg.tensor(...)"))
    shape = x.aval.shape
    if len(shape) not in (rank + 1, rank + 2):
        cure = f"Expected {rank + 2} dimensions, or {rank + 1} without a batch"
        raise ShapeError(message(name, "wrong number of dimensions", str(x.aval), cure))
    if min(shape[-rank:]) < 1 or shape[-rank - 1] < 1:
        raise ShapeError(message(name, "only the batch may be empty", str(x.aval)))
    return shape[-rank:]


def _require_floating(name: str, x: Any) -> None:
    if x.aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message(name, "needs a floating dtype", str(x.aval), "Convert with x.float()"))


def _tensor_dims(name: str, rank: int, size: Any, sizes: Sequence[int]) -> tuple[int, ...]:
    """An ``output_size``: one number, or one a dimension, None meaning the input's."""
    given = (size,) * rank if size is None or isinstance(size, (int, np.integer)) else tuple(size)
    if len(given) == 1:
        given *= rank
    if len(given) != rank:
        raise ArgumentError(message(name, f"output_size must have {rank} numbers", repr(size)))
    return tuple(n if g is None else int(g) for g, n in zip(given, sizes))


class Pooling:
    """Kernel, stride, padding and dilation of a pooling, checked, with the number of windows."""

    def __init__(
        self, name: str, x: Any, rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
    ) -> None:
        self.sizes = _spatial(name, x, rank)
        self.kernel = ntuple(name, "kernel_size", kernel, rank, 1)
        empty = stride is None or (not isinstance(stride, (int, np.integer)) and not len(stride))
        self.stride = self.kernel if empty else ntuple(name, "stride", stride, rank, 1)
        self.padding = ntuple(name, "padding", padding, rank)
        self.dilation = ntuple(name, "dilation", dilation, rank, 1)
        for k, p, d in zip(self.kernel, self.padding, self.dilation):
            if 2 * p > d * (k - 1) + 1:
                raise ArgumentError(
                    message(name, "padding must be at most half of the kernel",
                            f"padding={self.padding}, kernel_size={self.kernel}")
                )  # fmt: skip
        axes = zip(self.sizes, self.kernel, self.stride, self.padding, self.dilation)
        self.counts = tuple(_count(*axis, ceil_mode) for axis in axes)
        if min(self.counts) < 1:
            raise ShapeError(
                message(name, "the window is larger than the padded input",
                        f"{x.aval}, kernel_size={self.kernel}, padding={self.padding}")
            )  # fmt: skip

    def overhang(self) -> tuple[tuple[int, int], ...]:
        """Padding that lets every window lie inside; the last may reach over the end."""
        ends = [(c - 1) * s + d * (k - 1) + 1 - p for c, s, d, k, p in
                zip(self.counts, self.stride, self.dilation, self.kernel, self.padding)]  # fmt: skip
        return tuple((p, max(0, e - n)) for p, e, n in zip(self.padding, ends, self.sizes))

    def areas(self, count_include_pad: bool) -> Any:
        """How many elements each window covers, with or without the padding."""
        total = np.ones((), np.int64)
        for n, k, s, p, c in zip(self.sizes, self.kernel, self.stride, self.padding, self.counts):
            start = np.arange(c) * s - p
            end = np.minimum(start + k, n + p)
            covered = end - start if count_include_pad else np.minimum(end, n) - np.maximum(start, 0)
            total = total[..., None] * covered
        return total


def _count(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    room = n + 2 * p - d * (k - 1) - 1
    if not ceil_mode:
        return room // s + 1
    count = -(-room // s) + 1
    return count - 1 if (count - 1) * s >= n + p else count  # a window must start inside or in the left padding


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
    return _pick(x, where, len(kernel)), where


def _pick(x: Any, where: Any, rank: int) -> Any:
    """Elements of the flattened last axes, by their flat indices."""
    lead = x.aval.shape[: len(x.aval.shape) - rank]
    flat = reshape(x, (*lead, math.prod(x.aval.shape[len(lead) :])))
    index = reshape(where, (*lead, math.prod(where.aval.shape[len(lead) :])))
    return reshape(apply(_GATHER, (flat, index), {"dim": len(lead)}), where.aval.shape)


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


def window_sums(x: Any, p: Pooling) -> Any:
    """Sum of each window; padding counts as zero."""
    rank, lead = len(p.kernel), len(x.aval.shape) - len(p.kernel)
    attrs = {"kernel": p.kernel, "stride": p.stride, "dilation": p.dilation}
    seen = apply(_WINDOWS, (pad_last(x, p.overhang()),), attrs)
    return apply(_SUM, (seen,), {"axes": tuple(range(lead, lead + rank))})


def in_single(compute: Callable[[Any], Any], x: Any) -> Any:
    """Compute half precision in float32 and round once."""
    if x.aval.dtype not in dt.HALF_NP:
        return compute(x)
    return cast(compute(cast(x, dt.float32)), dt.of(x.aval.dtype))


def constant(a: Any, like: Any) -> Any:
    """A static array in a tensor's dtype."""
    return wrap(np.asarray(a).astype(like.aval.dtype))


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
    _require_floating(name, x)
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
        return (_means(y**p, pooling, True, None) * math.prod(kernel)) ** (1.0 / p)

    return in_single(norm, x)


def _lp_pool(rank: int, x: Any, norm_type: float, kernel: Any, stride: Any, ceil_mode: bool) -> Any:
    name = f"lp_pool{rank}d"
    p = Pooling(name, x, rank, kernel, stride, 0, 1, ceil_mode)
    _require_floating(name, x)
    return lp_pool(x, float(norm_type), p.kernel, p.stride, bool(ceil_mode))


def lp_pool1d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """(sum of x^p)^(1/p) of each window of ``input`` (N, C, L) or (C, L), with p = ``norm_type``.

    The gradient is NaN where a window is all zeros, as in PyTorch.
    """
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """(sum of x^p)^(1/p) of each window of ``input`` (N, C, H, W) or (C, H, W); see `lp_pool1d`."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """(sum of x^p)^(1/p) of each window of ``input`` (N, C, T, H, W) or (C, T, H, W); see `lp_pool1d`."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


# -- adaptive --------------------------------------------------------------------------------------


def bins(n: int, count: int) -> tuple[Any, Any]:
    """(count, widest) indices and mask: bin i of ``count`` covers floor(i·n/count) to ceil((i+1)·n/count)."""
    i = np.arange(count)
    start, end = i * n // count, -(-(i + 1) * n // count)
    index = start[:, None] + np.arange(int((end - start).max(initial=1)))
    return np.minimum(index, end[:, None] - 1), index < end[:, None]


def resample(x: Any, axis: int, index: Any, weights: Any) -> Any:
    """out[..., o, ...] = sum over t of weights[o, t] x[..., index[o, t], ...] along ``axis``."""
    order = (axis, *[i for i in range(len(x.aval.shape)) if i != axis])
    front = permute(x, order)
    rest = front.aval.shape[1:]
    taps = apply(_TAKE, (front, wrap(np.ascontiguousarray(index))))
    if index.shape[1] == 1 and (weights == 1).all():
        out = reshape(taps, (index.shape[0], *rest))
    else:
        out = apply(_SUM, (taps * constant(weights.reshape(*weights.shape, *[1] * len(rest)), x),), {"axes": (1,)})
    return permute(out, np.argsort(order).tolist())


def is_even(sizes: Sequence[int], outs: Sequence[int]) -> bool:
    """Whether adaptive bins are plain windows."""
    return all(o > 0 and n % o == 0 for n, o in zip(sizes, outs))


@formula
def adaptive_avg_pool(x: Any, outs: tuple[int, ...]) -> Any:
    """The mean of each of ``outs`` bins."""

    def mean(y: Any) -> Any:
        lead = len(y.aval.shape) - len(outs)
        for axis, count in enumerate(outs):
            index, mask = bins(y.aval.shape[lead + axis], count)
            y = resample(y, lead + axis, index, mask / mask.sum(1, keepdims=True))
        return y

    return in_single(mean, x)


def _adaptive_avg_pool(rank: int, x: Any, output_size: Any) -> Any:
    name = f"adaptive_avg_pool{rank}d"
    sizes = _spatial(name, x, rank)
    outs = _adaptive_sizes(name, rank, output_size, sizes)
    _require_floating(name, x)
    if is_even(sizes, outs):
        kernel = tuple(n // o for n, o in zip(sizes, outs))
        return avg_pool(x, kernel, kernel, (0,) * rank, False, True, None)
    return adaptive_avg_pool(x, outs)


def _adaptive_sizes(name: str, rank: int, output_size: Any, sizes: Sequence[int]) -> tuple[int, ...]:
    outs = _tensor_dims(name, rank, output_size, sizes)
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


def flat_bins(sizes: Sequence[int], outs: Sequence[int]) -> Any:
    """(number of bins, widest bin) flat indices into axes of ``sizes``; short bins repeat their last element."""
    total = np.zeros((1, 1), np.int64)
    for n, o in zip(sizes, outs):
        index = bins(n, o)[0]
        total = (total[:, None, :, None] * n + index[None, :, None, :]).reshape(
            total.shape[0] * index.shape[0], total.shape[1] * index.shape[1]
        )
    return total


@formula
def adaptive_max_pool(x: Any, outs: tuple[int, ...]) -> Any:
    """The largest element of each of ``outs`` bins, and where it stands."""
    shape = x.aval.shape
    lead, sizes = shape[: len(shape) - len(outs)], shape[len(shape) - len(outs) :]
    table = flat_bins(sizes, outs)
    flat = reshape(x, (math.prod(lead), math.prod(sizes)))
    index = wrap(np.broadcast_to(table.reshape(1, -1), (math.prod(lead), table.size)))
    where = _largest(flat, reshape(index, (math.prod(lead), *table.shape)))
    return _pick(x, where := reshape(where, (*lead, *outs)), len(outs)), where


def _largest(flat: Any, index: Any) -> Any:
    """Of x (n, S) and candidates (n, bins, width): which candidate of each bin is largest."""
    n, count, width = index.aval.shape
    values = apply(_GATHER, (flat, reshape(index, (n, count * width))), {"dim": 1})
    attrs = {"kernel": (width,), "stride": (width,), "dilation": (1,), "padding": (0,), "counts": (count,)}
    best = apply(_ARGMAX, (values,), attrs)
    return apply(_GATHER, (reshape(index, (n, count * width)), best), {"dim": 1})


def _adaptive_max_pool(rank: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    name = f"adaptive_max_pool{rank}d"
    sizes = _spatial(name, x, rank)
    outs = _adaptive_sizes(name, rank, output_size, sizes)
    if is_even(sizes, outs):
        kernel = tuple(n // o for n, o in zip(sizes, outs))
        out = max_pool(x, kernel, kernel, (0,) * rank, (1,) * rank, outs)
    else:
        out = adaptive_max_pool(x, outs)
    return out if return_indices else out[0]


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of ``output_size`` bins of ``input`` (N, C, L); bins as in `adaptive_avg_pool1d`."""
    return _adaptive_max_pool(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of bins that cover ``input`` (N, C, H, W); see `adaptive_avg_pool2d`."""
    return _adaptive_max_pool(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of bins that cover ``input`` (N, C, T, H, W); see `adaptive_avg_pool3d`."""
    return _adaptive_max_pool(3, input, output_size, return_indices)


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d",
    "lp_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
]  # fmt: skip

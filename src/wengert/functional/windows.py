"""What pooling and resizing share: checked windows, picking by flat index, weighted sums along an axis."""

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
from .front import cast

_WINDOWS, _ARGMAX, _GATHER = OPS["windows"], OPS["window_argmax"], OPS["gather"]
_SUM, _TAKE = OPS["sum"], OPS["take_rows"]


def require_tensor(name: str, x: Any) -> Any:
    """The argument; raise unless it is a tensor."""
    if not isinstance(x, Handle):
        raise DTypeError(message(name, "needs a tensor", type(x).__name__, "Wrap it with wg.tensor(...)"))
    return x


def spatial_sizes(name: str, x: Any, rank: int) -> tuple[int, ...]:
    """The last ``rank`` sizes of an input (N, C, *spatial) or (C, *spatial)."""
    shape = require_tensor(name, x).aval.shape
    if len(shape) not in (rank + 1, rank + 2):
        cure = f"Expected {rank + 2} dimensions, or {rank + 1} without a batch"
        raise ShapeError(message(name, "wrong number of dimensions", str(x.aval), cure))
    if min(shape[-rank:]) < 1 or shape[-rank - 1] < 1:
        raise ShapeError(message(name, "only the batch may be empty", str(x.aval)))
    return shape[-rank:]


def require_floating(name: str, x: Any) -> None:
    """Raise unless the dtype is floating."""
    if x.aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message(name, "needs a floating dtype", str(x.aval), "Convert with x.float()"))


def wanted_sizes(name: str, rank: int, size: Any, sizes: Sequence[int]) -> tuple[int, ...]:
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
        self,
        name: str,
        x: Any,
        rank: int,
        kernel: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: bool,
    ) -> None:
        self.sizes = spatial_sizes(name, x, rank)
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
        self.counts = tuple(window_count(*axis, ceil_mode) for axis in axes)
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


def window_count(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """How many windows an axis has; each must start inside or in the left padding."""
    room = n + 2 * p - d * (k - 1) - 1
    if not ceil_mode:
        return room // s + 1
    count = -(-room // s) + 1
    return count - 1 if (count - 1) * s >= n + p else count


def pick_flat(x: Any, where: Any, rank: int) -> Any:
    """Elements of the flattened last axes, by their flat indices."""
    lead = x.aval.shape[: len(x.aval.shape) - rank]
    flat = reshape(x, (*lead, math.prod(x.aval.shape[len(lead) :])))
    index = reshape(where, (*lead, math.prod(where.aval.shape[len(lead) :])))
    return reshape(apply(_GATHER, (flat, index), {"dim": len(lead)}), where.aval.shape)


def largest_of(flat: Any, index: Any) -> Any:
    """Of x (n, S) and candidates (n, bins, width): which candidate of each bin is largest."""
    n, count, width = index.aval.shape
    values = apply(_GATHER, (flat, reshape(index, (n, count * width))), {"dim": 1})
    attrs = {"kernel": (width,), "stride": (width,), "dilation": (1,), "padding": (0,), "counts": (count,)}
    best = apply(_ARGMAX, (values,), attrs)
    return apply(_GATHER, (reshape(index, (n, count * width)), best), {"dim": 1})


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


def flat_bins(sizes: Sequence[int], outs: Sequence[int]) -> Any:
    """(bins, widest bin) flat indices into axes of ``sizes``; short bins repeat their last element."""
    total = np.zeros((1, 1), np.int64)
    for n, o in zip(sizes, outs):
        index = bins(n, o)[0]
        total = (total[:, None, :, None] * n + index[None, :, None, :]).reshape(
            total.shape[0] * index.shape[0], total.shape[1] * index.shape[1]
        )
    return total

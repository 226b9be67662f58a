"""Padding, interpolation, and shuffling of pixels and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.handle import apply
from ..ops.base import OPS
from .conv import permute, reshape
from .formula import formula
from .pool_adaptive import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .windows import in_single, require_tensor, resample

_PAD, _SLICE, _EXPAND, _CAT = OPS["pad"], OPS["slice"], OPS["expand"], OPS["cat"]


# -- padding ---------------------------------------------------------------------------------------


def _slice_axis(x: Any, axis: int, start: int, stop: int | None, step: int = 1) -> Any:
    spec = [(0, n, 1) for n in x.aval.shape]
    spec[axis] = (start, stop, step)  # type: ignore[call-overload]
    return apply(_SLICE, (x,), {"spec": tuple(spec)})


def _crop(x: Any, pads: Sequence[tuple[int, int]]) -> Any:
    """Cut where padding is negative."""
    for axis, (a, b) in enumerate(pads):
        if a < 0 or b < 0:
            x = _slice_axis(x, axis, max(0, -a), x.aval.shape[axis] - max(0, -b))
    return x


def _constant_pad(x: Any, pads: Sequence[tuple[int, int]], value: Any) -> Any:
    x = _crop(x, pads)
    grown = tuple((max(0, a), max(0, b)) for a, b in pads)
    if not any(a or b for a, b in grown):
        return apply(OPS["clone"], (x,))
    return apply(_PAD, (x,), {"pads": grown, "value": value})


def _edge(x: Any, axis: int, at: int, count: int) -> Any:
    """The slice at ``at``, repeated."""
    one = _slice_axis(x, axis, at, at + 1)
    shape = x.aval.shape
    flat = reshape(one, (*shape[:axis], *shape[axis + 1 :]))
    return apply(_EXPAND, (flat,), {"shape": (*shape[:axis], count, *shape[axis + 1 :]), "axes": (axis,)})


def _around(x: Any, axis: int, a: int, b: int, mode: str) -> Any:
    """``a`` elements before and ``b`` after, taken from the tensor itself."""
    n = x.aval.shape[axis]
    if mode == "circular":
        parts = [_slice_axis(x, axis, n - a, n), x, _slice_axis(x, axis, 0, b)]
    elif mode == "replicate":
        parts = [_edge(x, axis, 0, a), x, _edge(x, axis, n - 1, b)]
    else:
        end = n - 2 - b
        parts = [
            _slice_axis(x, axis, a, 0, -1), x, _slice_axis(x, axis, n - 2, end if end >= 0 else None, -1)
        ]  # fmt: skip
    parts = [p for p, size in zip(parts, (a, n, b)) if size]
    return apply(_CAT, tuple(parts), {"axis": axis}) if len(parts) > 1 else x


def _check_mode(x: Any, pads: Sequence[tuple[int, int]], given: int, mode: str) -> None:
    """Raise unless the modes that take values from the tensor can do so."""
    rank = len(x.aval.shape)
    if given not in (rank - 1, rank - 2) or not 1 <= given <= 3:
        raise ShapeError(
            message("pad", f"mode {mode!r} pads the last 1 to 3 of 1 or 2 more dimensions",
                    f"{x.aval}, {2 * given} numbers")
        )  # fmt: skip
    for n, (a, b) in zip(x.aval.shape, pads):
        most = {"reflect": n - 1, "circular": n, "replicate": max(a, b) if n else 0}[mode]
        if max(a, b) > max(most, 0):
            raise ArgumentError(message("pad", f"mode {mode!r} can add at most {most} here", f"{x.aval}, pad {(a, b)}"))


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Put elements around ``input``: (before, after) the last dimension, then the one before it, and so on.

    ``mode``: ``'constant'`` (``value``, 0 by default), ``'reflect'`` (mirrored without the edge),
    ``'replicate'`` (the edge), ``'circular'``. Negative numbers cut off.

    Raises:
        ArgumentError: an odd number of numbers, an unknown mode, or more elements than can be mirrored.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.pad(wg.tensor([1.0, 2.0]), (1, 2), value=9.0)
    tensor([9., 1., 2., 9., 9.])
    """
    x = require_tensor("pad", input)
    numbers = [int(p) for p in pad]
    rank, given = len(x.aval.shape), len(numbers) // 2
    if len(numbers) % 2 or given > rank:
        raise ArgumentError(message("pad", "needs at most two numbers a dimension", f"{x.aval}, pad={numbers}"))
    pads = [(0, 0)] * (rank - given) + [(numbers[2 * i], numbers[2 * i + 1]) for i in reversed(range(given))]
    if any(n + a + b < 0 for n, (a, b) in zip(x.aval.shape, pads)):
        raise ShapeError(message("pad", "more is cut off than there is", f"{x.aval}, pad={numbers}"))
    if mode == "constant":
        return _constant_pad(x, pads, 0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise ArgumentError(
            message("pad", "unknown mode", repr(mode), "Use 'constant', 'reflect', 'replicate' or 'circular'")
        )
    if value is not None and value != 0:
        raise ArgumentError(message("pad", f"mode {mode!r} takes no value", repr(value)))
    if mode == "circular":  # PyTorch wraps what is left, but mirrors before it cuts
        x = _crop(x, pads)
        pads = [(max(a, 0), max(b, 0)) for a, b in pads]
    _check_mode(x, pads, given, mode)
    if not any(a > 0 or b > 0 for a, b in pads):
        return apply(OPS["clone"], (_crop(x, pads),))
    for axis, (a, b) in enumerate(pads):
        if a > 0 or b > 0:
            x = _around(x, axis, max(a, 0), max(b, 0), mode)
    return _crop(x, pads)


# -- interpolation -----------------------------------------------------------------------------------

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}
_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")


def nearest_table(n: int, out: int, scale: float | None, exact: bool) -> tuple[Any, Any]:
    """Source index for each output; PyTorch computes it in single precision."""
    step = np.float32(n / out if scale is None else 1.0 / scale)
    at = np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0.0)
    return np.minimum(np.floor(at * step).astype(np.int64), n - 1)[:, None], np.ones((out, 1))


def _positions(n: int, out: int, scale: float | None, align: bool) -> Any:
    """Where the outputs lie among the inputs."""
    if align:
        return np.arange(out) * ((n - 1) / (out - 1) if out > 1 else 0.0)
    return (np.arange(out) + 0.5) * (n / out if scale is None else 1.0 / scale) - 0.5


def linear_table(n: int, out: int, scale: float | None, align: bool) -> tuple[Any, Any]:
    """Two neighbours and their weights for each output."""
    at = np.maximum(_positions(n, out, scale, align), 0.0)
    low = np.minimum(np.floor(at).astype(np.int64), n - 1)
    part = np.clip(at - low, 0.0, 1.0)
    return np.stack([low, np.minimum(low + 1, n - 1)], 1), np.stack([1.0 - part, part], 1)


def cubic_weights(t: Any, a: float = -0.75) -> list[Any]:
    """Weights of the four neighbours of a point ``t`` of the way from the second to the third (Keys)."""

    def near(u: Any) -> Any:
        return ((a + 2) * u - (a + 3)) * u * u + 1

    def far(u: Any) -> Any:
        return ((a * u - 5 * a) * u + 8 * a) * u - 4 * a

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def cubic_table(n: int, out: int, scale: float | None, align: bool) -> tuple[Any, Any]:
    """Four neighbours and their weights for each output."""
    at = _positions(n, out, scale, align)
    low = np.floor(at)
    index = low.astype(np.int64)[:, None] + np.arange(-1, 3)
    return np.clip(index, 0, n - 1), np.stack(cubic_weights(at - low), 1)


def antialias_table(n: int, out: int, scale: float | None, align: bool, cubic: bool) -> tuple[Any, Any]:
    """All inputs under a filter that widens with the scale, and their weights (as in Pillow)."""
    if align:
        step = (n - 1) / (out - 1) if out > 1 else 0.0
    else:
        step = n / out if scale is None else 1.0 / scale
    width = max(step, 1.0)
    support = (2.0 if cubic else 1.0) * width
    center = step * (np.arange(out) + 0.5)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    last = np.minimum((center + support + 0.5).astype(np.int64), n)
    index = first[:, None] + np.arange(max(1, int((last - first).max())))
    distance = np.abs((index - center[:, None] + 0.5) / width)
    if cubic:
        near, far = cubic_weights(distance, -0.5)[1], cubic_weights(distance - 1.0, -0.5)[0]
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    else:
        weights = np.maximum(1.0 - distance, 0.0)
    weights = np.where(index < last[:, None], weights, 0.0)
    total = weights.sum(1, keepdims=True)
    return np.minimum(index, n - 1), weights / np.where(total == 0, 1.0, total)


def _table(n: int, out: int, scale: float | None, mode: str, align: bool, antialias: bool) -> tuple[Any, Any]:
    if mode.startswith("nearest"):
        return nearest_table(n, out, scale, mode == "nearest-exact")
    if antialias:
        return antialias_table(n, out, scale, align, mode == "bicubic")
    return (cubic_table if mode == "bicubic" else linear_table)(n, out, scale, align)


@formula
def resize(x: Any, outs: tuple[int, ...], scales: tuple[Any, ...], mode: str, align: bool, antialias: bool) -> Any:
    """Each output is a weighted sum of neighbouring inputs, along one axis after the other."""

    def run(y: Any) -> Any:
        lead = len(y.aval.shape) - len(outs)
        for i, (out, scale) in enumerate(zip(outs, scales)):
            n = y.aval.shape[lead + i]
            index, weights = _table(n, out, scale, mode, align, antialias)
            if not np.array_equal(index[:, :1], np.arange(n)[:, None]) or (weights[:, 0] != 1).any():
                y = resample(y, lead + i, index, weights)
        return apply(OPS["clone"], (y,)) if y is x else y  # a result of its own, also of the same size

    return run(x) if mode.startswith("nearest") else in_single(run, x)


def repeat(x: Any, factors: Sequence[int]) -> Any:
    """Nearest neighbours where the new size is a multiple of the old: windows that do not overlap."""
    lead = len(x.aval.shape) - len(factors)
    sizes = x.aval.shape[lead:]
    axes = tuple(range(lead, lead + len(factors)))
    windows = apply(_EXPAND, (x,), {"shape": (*x.aval.shape[:lead], *factors, *sizes), "axes": axes})
    outs = tuple(n * f for n, f in zip(sizes, factors))
    attrs = {"kernel": tuple(factors), "stride": tuple(factors), "dilation": (1,) * len(factors), "sizes": outs}
    return apply(OPS["unwindows"], (windows,), attrs)


def _factors(name: str, what: str, value: Any, rank: int) -> list[Any]:
    given = [value] * rank if isinstance(value, (int, float, np.number)) else list(value)
    if len(given) != rank:
        raise ArgumentError(message(name, f"{what} needs one number, or one a spatial dimension", repr(value)))
    return given


def _new_sizes(x: Any, size: Any, scale_factor: Any, recompute: Any) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Output sizes, and the scales to compute positions with (None: from the sizes)."""
    sizes = x.aval.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ArgumentError(message("interpolate", "exactly one of size and scale_factor is needed", str(x.aval)))
    if size is not None:
        if recompute:
            raise ArgumentError(message("interpolate", "recompute_scale_factor needs scale_factor"))
        outs = tuple(int(n) for n in _factors("interpolate", "size", size, len(sizes)))
        scales: tuple[Any, ...] = (None,) * len(outs)
    else:
        factors = [float(f) for f in _factors("interpolate", "scale_factor", scale_factor, len(sizes))]
        outs = tuple(math.floor(n * f) for n, f in zip(sizes, factors))
        scales = (None,) * len(outs) if recompute else tuple(f if f > 0 else None for f in factors)
    if min(outs) < 1 or min(sizes) < 1:
        raise ShapeError(message("interpolate", "input and output must not be empty", f"{x.aval} to {list(outs)}"))
    return outs, scales


def _check_interpolation(x: Any, mode: str, align_corners: Any, antialias: bool) -> None:
    rank = len(x.aval.shape) - 2
    if mode not in _MODES:
        raise ArgumentError(message("interpolate", "unknown mode", repr(mode), f"Use one of {', '.join(_MODES)}"))
    fits = {"bicubic": 2, **_LINEAR}.get(mode, rank)
    if not 1 <= rank <= 3 or rank != fits:
        raise ShapeError(
            message("interpolate", f"mode {mode!r} does not fit the input", str(x.aval),
                    "linear, bilinear or bicubic, trilinear need 3, 4, 5 dimensions, others any of these")
        )  # fmt: skip
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ArgumentError(message("interpolate", f"mode {mode!r} takes no align_corners", repr(align_corners)))
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ArgumentError(message("interpolate", "antialias needs mode bilinear or bicubic", repr(mode)))
    if x.aval.dtype not in dt.FLOATING_NP and not mode.startswith("nearest"):
        raise DTypeError(message("interpolate", f"mode {mode!r} needs a floating dtype", str(x.aval)))


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """Resize the spatial dimensions of ``input`` (N, C, ...) to ``size``, or by ``scale_factor``.

    ``mode``: 'nearest' (as PyTorch and OpenCV round), 'nearest-exact', 'linear' (N, C, L), 'bilinear' and
    'bicubic' (N, C, H, W), 'trilinear' (N, C, T, H, W), 'area' (means). ``align_corners`` lays the centres of
    the corner pixels on each other instead of their corners. ``antialias`` widens the filter of 'bilinear'
    and 'bicubic' when sizes shrink.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.interpolate(wg.tensor([[[1.0, 3.0]]]), scale_factor=2, mode="linear").tolist()
    [[[1.0, 1.5, 2.5, 3.0]]]
    """
    x = require_tensor("interpolate", input)
    _check_interpolation(x, mode, align_corners, antialias)
    outs, scales = _new_sizes(x, size, scale_factor, recompute_scale_factor)
    sizes = x.aval.shape[2:]
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[len(outs) - 1](x, outs)
    if mode.startswith("nearest") and all(
        o % n == 0 and (s is None or s == o // n) for n, o, s in zip(sizes, outs, scales)
    ):
        return repeat(x, [o // n for n, o in zip(sizes, outs)])
    return resize(x, outs, scales, mode, bool(align_corners), bool(antialias))


def upsample(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Any:
    """`interpolate` under its former name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` with mode 'nearest'."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` with mode 'bilinear' and aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


# -- shuffles ------------------------------------------------------------------------------------------


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """(*, C·r², H, W) to (*, C, H·r, W·r): channels become pixels. Source: Shi et al., arXiv:1609.05158."""
    x, r = require_tensor("pixel_shuffle", input), int(upscale_factor)
    shape = x.aval.shape
    if len(shape) < 3 or r < 1 or shape[-3] % (r * r):
        raise ShapeError(
            message("pixel_shuffle", "the channels must be a multiple of upscale_factor²", f"{x.aval}, factor {r}")
        )
    *lead, c, h, w = shape
    k = len(lead)
    y = reshape(x, (*lead, c // (r * r), r, r, h, w))
    y = permute(y, (*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return reshape(y, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """(*, C, H·r, W·r) to (*, C·r², H, W): the inverse of `pixel_shuffle`."""
    x, r = require_tensor("pixel_unshuffle", input), int(downscale_factor)
    shape = x.aval.shape
    if len(shape) < 3 or r < 1 or shape[-1] % r or shape[-2] % r:
        raise ShapeError(
            message(
                "pixel_unshuffle",
                "height and width must be multiples of downscale_factor",
                f"{x.aval}, factor {r}",
            )
        )
    *lead, c, h, w = shape
    k = len(lead)
    y = permute(reshape(x, (*lead, c, h // r, r, w // r, r)), (*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return reshape(y, (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Any, groups: int) -> Any:
    """Interleave ``groups`` groups of channels of (N, C, ...). Source: Zhang et al., arXiv:1707.01083."""
    x = require_tensor("channel_shuffle", input)
    shape = x.aval.shape
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise ShapeError(
            message(
                "channel_shuffle",
                "needs (N, C, ...) with C a multiple of groups",
                f"{x.aval}, groups={groups}",
            )
        )
    y = reshape(x, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshape(permute(y, (0, 2, 1, *range(3, len(shape) + 1))), shape)


def native_channel_shuffle(input: Any, groups: int) -> Any:
    """`channel_shuffle` under the name that PyTorch gives its kernel."""
    return channel_shuffle(input, groups)


__all__ = [
    "channel_shuffle", "interpolate", "native_channel_shuffle", "pad", "pixel_shuffle", "pixel_unshuffle",
    "upsample", "upsample_bilinear", "upsample_nearest",
]  # fmt: skip

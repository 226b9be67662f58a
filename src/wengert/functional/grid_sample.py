"""Sampling on a grid: values between pixels at places that another tensor names, and affine grids of places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import apply, wrap
from ..ops.base import OPS
from .conv import permute, reshape
from .formula import formula
from .front import cast
from .resize import cubic_weights
from .windows import constant, require_tensor

_TAKE, _MATMUL, _WHERE, _FLOOR, _SLICE = (OPS[n] for n in ("take_rows", "matmul", "where", "floor", "slice"))


def _between(x: Any, low: float, high: float) -> Any:
    """Clip; the gradient is 0 where it is at or outside of the limits, as in PyTorch's grid sampler."""
    x = _WHERE(x > low, x, OPS["fill"](x, value=low))
    return _WHERE(x < high, x, OPS["fill"](x, value=high))


def _reflected(x: Any, low: float, high: float) -> Any:
    """Reflect at ``low`` and ``high`` as often as needed."""
    width = high - low
    if width <= 0:
        return OPS["fill"](x, value=0)
    x = OPS["abs"](x - low)
    flips = apply(_FLOOR, (x / width,))
    rest = x - flips * width
    odd = flips - apply(_FLOOR, (flips * 0.5,)) * 2 > 0.5
    return _WHERE(odd, (width + low) - rest, rest + low)


def _inside(x: Any, n: int, padding: str, align: bool) -> Any:
    """Coordinates brought into the image, where the mode of padding does that."""
    if padding == "reflection":
        x = _reflected(x, 0.0, n - 1.0) if align else _reflected(x, -0.5, n - 0.5)
    return x if padding == "zeros" else _between(x, 0.0, n - 1.0)


def _rows_at(rows: Any, sizes: Sequence[int], places: Sequence[Any], zeros: bool) -> tuple[Any, Any]:
    """Rows (N·S, C) at integer coordinates (N, L) for each axis; and where these lie inside (None: all)."""
    n = places[0].aval.shape[0]
    index: Any = wrap(np.arange(n).reshape(n, 1))
    valid: Any = None
    for size, place in zip(sizes, places):
        i = cast(place, dt.int64)
        ok = OPS["logical_and"](i >= 0, i < size)
        index = index * size + _WHERE(ok, i, OPS["fill"](i, value=0))
        valid = ok if valid is None else OPS["logical_and"](valid, ok)
    return apply(_TAKE, (rows, index)), valid if zeros else None


def _weighted(picked: tuple[Any, Any], weight: Any) -> Any:
    """Picked rows (N, L, C) times a weight (N, L), zero outside."""
    values, valid = picked
    if valid is not None:
        weight = _WHERE(valid, weight, OPS["fill"](weight, value=0))
    return values * reshape(weight, (*weight.aval.shape, 1))


def _sample_linear(rows: Any, sizes: Sequence[int], at: Sequence[Any], zeros: bool) -> Any:
    lows = [apply(_FLOOR, (x,)) for x in at]
    out: Any = None
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        weight: Any = None
        for c, x, low in zip(corner, at, lows):
            part = x - low if c else 1.0 - (x - low)
            weight = part if weight is None else weight * part
        term = _weighted(_rows_at(rows, sizes, [low + c for low, c in zip(lows, corner)], zeros), weight)
        out = term if out is None else out + term
    return out


def _sample_cubic(rows: Any, sizes: Sequence[int], at: Sequence[Any], padding: str, align: bool) -> Any:
    lows = [apply(_FLOOR, (x,)) for x in at]
    weights = [cubic_weights(x - low) for x, low in zip(at, lows)]
    out: Any = None
    for i, j in itertools.product(range(4), repeat=2):
        places = [_inside(low + (k - 1), n, padding, align) for low, k, n in zip(lows, (i, j), sizes)]
        term = _weighted(_rows_at(rows, sizes, places, padding == "zeros"), weights[0][i] * weights[1][j])
        out = term if out is None else out + term
    return out


@formula
def grid_sample_formula(x: Any, grid: Any, mode: str, padding: str, align: bool) -> Any:
    """Values of ``x`` between its pixels, at coordinates from -1 to 1."""
    source = dt.of(x.aval.dtype)
    if x.aval.dtype in dt.HALF_NP:
        x, grid = cast(x, dt.float32), cast(grid, dt.float32)
    n, c, *sizes = x.aval.shape
    rank, outs = len(sizes), grid.aval.shape[1:-1]
    rows = reshape(permute(x, (0, *range(2, rank + 2), 1)), (n * math.prod(sizes), c))
    flat = reshape(grid, (n, math.prod(outs), rank))
    at: list[Any] = []
    for axis, size in enumerate(sizes):  # the grid's last axis counts backwards: width first
        spec = ((0, n, 1), (0, flat.aval.shape[1], 1), (rank - 1 - axis, rank - axis, 1))
        g = reshape(apply(_SLICE, (flat,), {"spec": spec}), flat.aval.shape[:2])
        place = (g + 1.0) * ((size - 1) / 2) if align else ((g + 1.0) * size - 1.0) / 2
        at.append(place if mode == "bicubic" else _inside(place, size, padding, align))
    if mode == "bicubic":
        out = _sample_cubic(rows, sizes, at, padding, align)
    elif mode == "bilinear":
        out = _sample_linear(rows, sizes, at, padding == "zeros")
    else:
        picked, valid = _rows_at(rows, sizes, [apply(OPS["round"], (p,)) for p in at], padding == "zeros")
        out = picked if valid is None else _weighted((picked, None), cast(valid, dt.of(picked.aval.dtype)))
    return cast(reshape(permute(out, (0, 2, 1)), (n, c, *outs)), source)


def grid_sample(
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:
    """Values of ``input`` (N, C, H, W) at the points ``grid`` (N, H', W', 2): (N, C, H', W').

    A point is (x, y) with -1 and 1 at the edges of the image (at the centres of its edge pixels with
    ``align_corners``). ``mode``: 'bilinear', 'nearest', 'bicubic'; ``padding_mode``, for points outside:
    'zeros', 'border', 'reflection'. For (N, C, T, H, W) points have three coordinates, and 'bilinear' is
    trilinear. Source: Jaderberg et al., arXiv:1506.02025.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.grid_sample(wg.tensor([[[[1.0, 3.0]]]]), wg.tensor([[[[0.0, 0.0]]]]), align_corners=False).tolist()
    [[[[2.0]]]]
    """
    x, grid = require_tensor("grid_sample", input), require_tensor("grid_sample", grid)
    rank = len(x.aval.shape) - 2
    seen = describe((x.aval, grid.aval))
    if rank not in (2, 3) or len(grid.aval.shape) != rank + 2 or grid.aval.shape[-1] != rank:
        raise ShapeError(message("grid_sample", "needs (N, C, H, W) and a grid (N, H', W', 2), or one more each", seen))
    if grid.aval.shape[0] != x.aval.shape[0] or min(x.aval.shape[2:]) < 1:
        raise ShapeError(message("grid_sample", "the batches differ, or the image is empty", seen))
    if grid.aval.dtype != x.aval.dtype or x.aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message("grid_sample", "input and grid must have one floating dtype", seen))
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and rank == 3):
        raise ArgumentError(message("grid_sample", "no such mode for this input", f"{mode!r}, {x.aval}"))
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ArgumentError(message("grid_sample", "unknown padding_mode", repr(padding_mode)))
    return grid_sample_formula(x, grid, mode, padding_mode, bool(align_corners))


def affine_grid(theta: Any, size: Sequence[int], align_corners: bool | None = None) -> Any:
    """The points of a regular grid moved by affine maps ``theta`` (N, 2, 3): (N, H, W, 2).

    ``size``: (N, C, H, W) of the image to be sampled by `grid_sample`; or ``theta`` (N, 3, 4) and
    (N, C, T, H, W).
    """
    theta = require_tensor("affine_grid", theta)
    n, _, *sizes = [int(s) for s in size]
    rank = len(sizes)
    if rank not in (2, 3) or theta.aval.shape != (n, rank, rank + 1):
        raise ShapeError(message("affine_grid", "theta does not fit the size", f"{theta.aval}, size={list(size)}"))
    if theta.aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message("affine_grid", "needs a floating dtype", str(theta.aval)))
    lines = [np.linspace(-1, 1, s) if s > 1 else np.zeros(s) for s in sizes]
    if not align_corners:
        lines = [line * ((s - 1) / s) for line, s in zip(lines, sizes)]
    axes = np.meshgrid(*lines, indexing="ij")
    points = np.stack([*reversed(axes), np.ones(sizes)], -1).reshape(-1, rank + 1)
    base = constant(np.broadcast_to(points, (n, *points.shape)), theta)
    return reshape(apply(_MATMUL, (base, permute(theta, (0, 2, 1)))), (n, *sizes, rank))


__all__ = ["affine_grid", "grid_sample"]

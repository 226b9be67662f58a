"""Reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import IndexRangeError, message
from ..graph.handle import apply
from ..ops.base import OPS
from .front import cast

_SUM = OPS["sum"]


def normal_dim(name: str, dim: int, ndim: int) -> int:
    """A dimension number counted from the front."""
    rank = max(ndim, 1)
    if not -rank <= dim < rank:
        raise IndexRangeError(
            message(name, "dimension out of range", f"dim {dim} of a tensor with {ndim}", f"Use {-rank} to {rank - 1}")
        )
    return dim % rank


def normal_dims(name: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """The sorted axes a ``dim`` argument means; None and () mean all."""
    if dim is None or dim == () or dim == []:
        return tuple(range(ndim))
    if isinstance(dim, (int, np.integer)):
        dim = (int(dim),)
    axes = tuple(sorted(normal_dim(name, int(d), ndim) for d in dim))
    if len(set(axes)) != len(axes):
        raise IndexRangeError(message(name, "a dimension appears twice", f"dim={tuple(dim)}"))
    return axes if ndim else ()


def keep(x: Any, out: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
    """Put the reduced axes back with size 1 if asked."""
    if not keepdim or not axes:
        return out
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.aval.shape))
    return apply(OPS["reshape"], (out,), {"shape": shape})


def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Sum over ``dim`` (an int, several, or all); integers and bools are summed in int64."""
    if dtype is not None:
        input = cast(input, dt.to_dtype(dtype))
    elif input.aval.dtype not in dt.INEXACT_NP:
        input = cast(input, dt.int64)
    axes = normal_dims("sum", dim, len(input.aval.shape))
    return keep(input, apply(_SUM, (input,), {"axes": axes}), axes, keepdim)


def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Mean over ``dim`` (an int, several, or all)."""
    if dtype is not None:
        input = cast(input, dt.to_dtype(dtype))
    shape = input.aval.shape
    axes = normal_dims("mean", dim, len(shape))
    n = 1
    for a in axes:
        n *= shape[a]
    return sum(input, axes, keepdim) / n


__all__ = ["mean", "sum"]

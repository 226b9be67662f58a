"""Arguments that name dimensions, and operands that must be of some kind.

``dim`` is an int, several ints, or None for all dimensions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, IndexRangeError, message
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from .front import cast


def operand(name: str, x: Any) -> Any:
    """A tensor argument; arrays are taken as tensors."""
    if isinstance(x, Handle):
        return x
    if isinstance(x, (np.ndarray, np.generic)):
        return wrap(x)
    raise DTypeError(message(name, "needs a tensor", type(x).__name__, "Wrap it with wg.tensor(...)"))


def normal_dim(name: str, dim: int, ndim: int) -> int:
    """A dimension number counted from the front."""
    rank = max(ndim, 1)
    if not -rank <= dim < rank:
        raise IndexRangeError(
            message(
                name,
                "dimension out of range",
                f"dim {dim} of a tensor with {ndim}",
                f"Use {-rank} to {rank - 1}",
            )
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


def spread(small: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """A reduced value repeated back over the axes of ``x``."""
    return apply(OPS["expand"], (small,), {"shape": x.aval.shape, "axes": axes}) if axes else small


def numpy_names(f: Callable[..., Any]) -> Callable[..., Any]:
    """Take NumPy's ``axis`` and ``keepdims`` for ``dim`` and ``keepdim``."""

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            if "axis" in kwargs:
                kwargs["dim"] = kwargs.pop("axis")
            if "keepdims" in kwargs:
                kwargs["keepdim"] = kwargs.pop("keepdims")
        return f(*args, **kwargs)

    return call


def elements(x: Any, axes: tuple[int, ...]) -> int:
    """How many elements are reduced to one."""
    n = 1
    for a in axes:
        n *= x.aval.shape[a]
    return n


def require_elements(name: str, x: Any, dim: Any, axes: tuple[int, ...]) -> None:
    """Raise where there is nothing to choose from."""
    if dim is None and not x.aval.size:
        raise ArgumentError(message(name, "an empty tensor has no such element", str(x.aval), "Give dim="))
    for a in axes:
        if not x.aval.shape[a]:
            raise IndexRangeError(message(name, f"dimension {a} is empty", str(x.aval)))


def require_real(name: str, x: Any) -> None:
    """Raise for complex tensors, which have no order."""
    if x.aval.dtype in dt.COMPLEX_NP:
        raise DTypeError(message(name, "complex numbers have no order", str(x.aval), "Take .abs() or .real"))


def require_floating(name: str, x: Any) -> None:
    """Raise for integers and bools."""
    if x.aval.dtype not in dt.INEXACT_NP:
        raise DTypeError(message(name, "needs a floating or complex dtype", str(x.aval), "Convert with x.float()"))


def widened(x: Any) -> Any:
    """Half precision as float32, in which it is computed."""
    return cast(x, dt.float32) if x.aval.dtype in dt.HALF_NP else x


def squeezed(x: Any, axis: int, keepdim: bool) -> Any:
    """``x`` without its axis of size 1, unless it is kept."""
    shape = x.aval.shape
    return x if keepdim else apply(OPS["reshape"], (x,), {"shape": shape[:axis] + shape[axis + 1 :]})

"""What all losses share: reductions, and operands brought to one dtype."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import Handle
from ..ops.base import OPS
from .activation import pick
from .front import expand_to, promote

_REDUCTIONS = ("none", "mean", "sum")


def chosen_reduction(name: str, reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction, checked; the two switches of old PyTorch programs are understood."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in _REDUCTIONS:
        raise ArgumentError(message(name, "not a reduction", repr(reduction), "Use 'none', 'mean' or 'sum'"))
    return reduction


def reduced(loss: Any, reduction: str) -> Any:
    """All elements, their mean (NaN of none), or their sum."""
    if reduction == "none":
        return loss
    return OPS[reduction](loss, axes=tuple(range(len(loss.aval.shape))))


def weighted(loss: Any, weight: Any, reduction: str) -> Any:
    """The weighted loss; its mean is divided by the sum of the weights."""
    if weight is None:
        return reduced(loss, reduction)
    if reduction == "mean":
        return reduced(loss * weight, "sum") / reduced(weight, "sum")
    return reduced(loss * weight, reduction)


def tensors(name: str, *xs: Any) -> list[Any]:
    """Operands in one floating dtype."""
    for x in xs:
        if not isinstance(x, Handle):
            raise DTypeError(message(name, "needs tensors", type(x).__name__, "Wrap it with wg.tensor(...)"))
    out = promote(name, xs)
    if out[0].aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message(name, "needs a floating tensor", describe(x.aval for x in xs), "Use x.float()"))
    return out


def same_size(name: str, input: Any, target: Any) -> None:
    """Raise unless the sizes are equal."""
    if input.aval.shape != target.aval.shape:
        raise ShapeError(message(name, "input and target must have the same size", describe((input.aval, target.aval))))


def pair(name: str, input: Any, target: Any, weight: Any = None) -> list[Any]:
    """Input, target and weight in one dtype; a warning if input and target would be broadcast."""
    if input.aval.shape != target.aval.shape:
        warnings.warn(
            f"Using a target size ({list(target.aval.shape)}) that is different to the input size "
            f"({list(input.aval.shape)}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )
    if weight is None:
        return [*tensors(name, input, target), None]
    if weight.aval.shape != input.aval.shape:
        raise ShapeError(message(name, "weight and input must have the same size", f"{weight.aval}, {input.aval}"))
    return tensors(name, input, target, weight)


def not_negative(x: Any) -> Any:
    """``max(x, 0)`` with derivative 1 at 0, as PyTorch's clamp_min."""
    return pick(x < 0, 0.0, x)


def expanded(*xs: Any) -> list[Any]:
    """Operands broadcast to one shape."""
    shape = np.broadcast_shapes(*[x.aval.shape for x in xs])
    return [expand_to(x, shape) for x in xs]

"""Softmax and its relatives: formulas of ops."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from .. import dtypes as dt
from ..graph.handle import apply
from ..ops.base import OPS
from . import random as rnd
from .activation import filled, floating, wide_formula
from .dims import normal_dim, spread
from .front import cast


def _along(name: str, input: Any, dim: int | None, dtype: Any) -> tuple[Any, int]:
    """The input in the wanted dtype, and the axis; ``dim=None`` means PyTorch's old implicit one."""
    if dim is None:
        warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Pass dim.", stacklevel=3)
        dim = 0 if len(input.aval.shape) in (0, 1, 3) else 1
    if dtype is not None:
        input = cast(input, dt.to_dtype(dtype))
    floating(name, input)
    return input, normal_dim(name, dim, len(input.aval.shape))


def _normalized(f: Callable[..., Any], input: Any, axis: int) -> Any:
    shape = input.aval.shape
    if not shape:
        row = apply(OPS["reshape"], (input,), {"shape": (1,)})
        return apply(OPS["reshape"], (f(row, 0),), {"shape": ()})
    if 0 in shape:
        return apply(OPS["identity"], (input,))
    return f(input, axis)


def _dtype_of_call(third: Any, dtype: Any) -> Any:
    """``softmax(x, dim, dtype)`` of wg and ``softmax(x, dim, _stacklevel, dtype)`` of nn.functional."""
    return dtype if isinstance(third, int) else third


def softmax(input: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    """``exp(x) / sum(exp(x))`` along ``dim``, without overflow; NaN where all are -inf.

    >>> import wengert as wg
    >>> wg.softmax(wg.tensor([[0.0, 0.0], [1000.0, 0.0]]), dim=1)
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]])
    """
    input, axis = _along("softmax", input, dim, _dtype_of_call(_stacklevel, dtype))
    return _normalized(_softmax, input, axis)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    """``log(softmax(x))`` along ``dim``, without overflow or cancellation.

    >>> import wengert as wg
    >>> wg.log_softmax(wg.tensor([0.0, 1000.0]), dim=0)
    tensor([-1000.,     0.])
    """
    input, axis = _along("log_softmax", input, dim, _dtype_of_call(_stacklevel, dtype))
    return _normalized(_log_softmax, input, axis)


def softmin(input: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    """``softmax(-x)`` along ``dim``."""
    input, axis = _along("softmin", input, dim, _dtype_of_call(_stacklevel, dtype))
    return _normalized(_softmax, -input, axis)


def below_top(x: Any, axis: int) -> Any:
    """The input less its largest element along the axis (no derivative flows through that)."""
    if x.aval.size == 0:  # nothing has no largest element
        return x
    axes = (axis,)
    return x - spread(OPS["stop_gradient"](OPS["amax"](x, axes=axes)), x, axes)


@wide_formula
def _softmax(x: Any, axis: int) -> Any:
    e = OPS["exp"](below_top(x, axis))
    return e / spread(OPS["sum"](e, axes=(axis,)), e, (axis,))


@wide_formula
def _log_softmax(x: Any, axis: int) -> Any:
    z = below_top(x, axis)
    return z - spread(OPS["log"](OPS["sum"](OPS["exp"](z), axes=(axis,))), z, (axis,))


def gumbel_softmax(logits: Any, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """A draw from the Gumbel-softmax distribution (Jang et al. 2016).

    ``hard``: a one-hot vector, through which the gradient of the soft one flows.
    """
    floating("gumbel_softmax", logits)
    noise = -OPS["log"](rnd.exponential(logits))
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    axis = normal_dim("gumbel_softmax", dim, len(soft.aval.shape))
    index = OPS["argmax"](soft.detach(), axis=axis)
    return _straight_through(soft, index, axis)


@wide_formula
def _straight_through(soft: Any, index: Any, axis: int) -> Any:
    index = OPS["reshape"](index, shape=tuple(1 if i == axis else n for i, n in enumerate(soft.aval.shape)))
    ones = filled(OPS["gather"](soft, index, dim=axis), 1)
    hard = OPS["scatter_add"](ones, index, dim=axis, n=soft.aval.shape[axis])
    return hard - OPS["stop_gradient"](soft) + soft


__all__ = ["gumbel_softmax", "log_softmax", "softmax", "softmin"]

TENSOR_LEVEL = ("log_softmax", "softmax")

TENSOR_METHODS = ("log_softmax", "softmax")

"""Dropout in its forms: random zeros in training, the identity otherwise."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes as dt
from ..errors import ArgumentError, message
from .front import cast
from .random import rand

_ALPHA = -1.7580993408473766  # -lambda * alpha of SELU: what a dropped unit is set to


def check_probability(name: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(message(name, "the probability must lie in [0, 1]", str(p)))


def _keep(input: Any, p: float, shape: tuple[int, ...]) -> Any:
    """1 where a unit is kept."""
    return cast(rand(shape, dtype=dt.float32) >= p, dt.of(input.aval.dtype))


def thinned(input: Any, uniform: Any, p: float) -> Any:
    """What dropout makes of an input, given numbers in [0, 1): zero where these are less than ``p``, else scaled."""
    return _scaled(input, cast(uniform >= p, dt.of(input.aval.dtype)), p)


def _scaled(input: Any, mask: Any, p: float) -> Any:
    return input * (mask * (1.0 / (1.0 - p)) if p < 1.0 else mask * 0.0)


def _drop(name: str, input: Any, p: float, training: bool, shape: tuple[int, ...], inplace: bool) -> Any:
    check_probability(name, p)
    if not training or p == 0.0:
        return input
    out = _scaled(input, _keep(input, p, shape), p)
    return input.copy_(out) if inplace else out


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero each element with probability ``p`` and scale the rest by 1 / (1 - p).

    Source: Srivastava et al., "Dropout", JMLR 15, 2014.
    """
    return _drop("dropout", input, p, training, input.aval.shape, inplace)


def _channel_shape(name: str, input: Any, spatial: int) -> tuple[int, ...]:
    shape = input.aval.shape
    if len(shape) not in (spatial + 1, spatial + 2):
        raise ArgumentError(message(name, f"needs {spatial + 1} or {spatial + 2} dimensions", str(input.aval)))
    batch = len(shape) - spatial
    return (*shape[:batch], *([1] * spatial))


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero whole channels of (N, C, L) or (C, L)."""
    return _drop("dropout1d", input, p, training, _channel_shape("dropout1d", input, 1), inplace)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero whole channels of (N, C, H, W) or (C, H, W)."""
    return _drop("dropout2d", input, p, training, _channel_shape("dropout2d", input, 2), inplace)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    return _drop("dropout3d", input, p, training, _channel_shape("dropout3d", input, 3), inplace)


def _alpha_drop(name: str, input: Any, p: float, training: bool, shape: tuple[int, ...], inplace: bool) -> Any:
    check_probability(name, p)
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input * 0.0
    mask = _keep(input, p, shape)
    a = 1.0 / math.sqrt((1 - p) * (1 + p * _ALPHA * _ALPHA))
    out = (input * mask + (1.0 - mask) * _ALPHA) * a - a * _ALPHA * p
    return input.copy_(out) if inplace else out


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps mean 0 and variance 1 behind SELU.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.
    """
    return _alpha_drop("alpha_dropout", input, p, training, input.aval.shape, inplace)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """`alpha_dropout` of whole channels: (N, C, ...)."""
    shape = input.aval.shape
    if len(shape) < 2 and training and p:
        raise ArgumentError(message("feature_alpha_dropout", "needs at least 2 dimensions", str(input.aval)))
    mask_shape = (*shape[:2], *([1] * (len(shape) - 2)))
    return _alpha_drop("feature_alpha_dropout", input, p, training, mask_shape, inplace)


__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]

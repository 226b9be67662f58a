"""Normalisations: by batch, layer, group, instance, root mean square, neighbouring channels, length.

Each is a formula: mean, variance and all derivatives come from its body. Half precision is computed in
float32 and rounded once; a weight or bias may then be float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import no_grad
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.alias import assign
from ..graph.aval import describe
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from .conv import ntuple, pad_last, reshape
from .dims import spread, widened
from .formula import formula
from .front import cast
from .reduction import norm
from .windows import constant

_MEAN, _WINDOWS = OPS["mean"], OPS["windows"]


def _operand(name: str, x: Any, least: int, others: Sequence[Any] = ()) -> Any:
    """A floating tensor of at least so many dimensions, and parameters whose dtype fits."""
    if not isinstance(x, Handle) or x.aval.dtype not in dt.FLOATING_NP:
        seen = str(x.aval) if isinstance(x, Handle) else type(x).__name__
        raise DTypeError(message(name, "needs a floating tensor", seen, "Convert with x.float()"))
    if len(x.aval.shape) < least:
        raise ShapeError(message(name, f"needs at least {least} dimensions", str(x.aval)))
    for t in others:
        if t is not None and t.aval.dtype != x.aval.dtype and x.aval.dtype not in dt.HALF_NP:
            raise DTypeError(message(name, "input and parameters must have one dtype", describe((x.aval, t.aval))))
    return x


def _parameters(name: str, shape: tuple[int, ...], x: Any, *given: Any) -> None:
    for t in given:
        if t is not None and t.aval.shape != shape:
            raise ShapeError(
                message(name, "a parameter or statistic does not fit", describe((x.aval, t.aval)),
                        f"It needs the shape {list(shape)}")
            )  # fmt: skip


def _moments(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Distances from the mean, the mean, and the variance (biased, two passes)."""
    mean = apply(_MEAN, (x,), {"axes": axes})
    distance = x - spread(mean, x, axes)
    return distance, mean, apply(_MEAN, (distance * distance,), {"axes": axes})


def _inverse_root(x: Any) -> Any:
    return 1.0 / apply(OPS["sqrt"], (x,))


def _along(t: Any, rank: int, axis: int = 1) -> Any:
    """A vector laid along one axis, ready to broadcast."""
    return reshape(t, (t.aval.shape[0], *[1] * (rank - axis - 1)))


def _affine(out: Any, weight: Any, bias: Any) -> Any:
    """Out · weight + bias, where there are such; they broadcast from the last axis."""
    if weight is not None:
        out = out * widened(weight)
    return out if bias is None else out + widened(bias)


# -- batch and instance ----------------------------------------------------------------------------


@formula
def batch_norm_by_batch(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """(x - mean) / √(variance + eps) · weight + bias for each channel, by mean and variance of the batch."""
    source, x = dt.of(x.aval.dtype), widened(x)
    rank = len(x.aval.shape)
    axes = (0, *range(2, rank))
    distance, mean, variance = _moments(x, axes)
    scale = _inverse_root(variance + eps)
    if weight is not None:
        scale = scale * widened(weight)
    out = distance * _along(scale, rank)
    if bias is not None:
        out = out + _along(widened(bias), rank)
    return cast(out, source), mean, variance


@formula
def batch_norm_by_statistics(x: Any, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Any:
    """(x - mean) / √(variance + eps) · weight + bias for each channel, with given mean and variance."""
    source, x = dt.of(x.aval.dtype), widened(x)
    rank = len(x.aval.shape)
    scale = _inverse_root(widened(variance) + eps)
    if weight is not None:
        scale = scale * widened(weight)
    out = (x - _along(widened(mean), rank)) * _along(scale, rank)
    if bias is not None:
        out = out + _along(widened(bias), rank)
    return cast(out, source)


def _update(name: str, running: Any, found: Any, momentum: float) -> None:
    """Running = (1 - momentum) running + momentum found, in the memory of ``running``."""
    with no_grad():
        new = running * (1 - momentum) + cast(found, dt.of(running.aval.dtype)) * momentum
        assign(name, running, new)


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Bring each channel of ``input`` (N, C, ...) to mean 0 and variance 1, then to ``weight`` and ``bias``.

    With ``training`` mean and (biased) variance come from the batch, and the running statistics, where
    given, move towards them by ``momentum`` (the variance unbiased), in place; None moves nothing.
    Otherwise the running statistics are used. Source: Ioffe and Szegedy, arXiv:1502.03167.

    Raises:
        ArgumentError: training with one value a channel, or no statistics outside of training.
        ShapeError: a parameter or statistic does not have C elements.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.batch_norm(wg.tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    name = "batch_norm"
    x = _operand(name, input, 2, (weight, bias))
    shape = x.aval.shape
    _parameters(name, (shape[1],), x, running_mean, running_var, weight, bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ArgumentError(message(name, "needs running statistics outside of training", str(x.aval)))
        return batch_norm_by_statistics(x, running_mean, running_var, weight, bias, eps)
    n = shape[0] * math.prod(shape[2:])
    if n == 1:
        raise ArgumentError(
            message(
                name,
                "training needs more than one value a channel",
                str(x.aval),
                "Use a larger batch or eval()",
            )
        )
    if n == 0:  # no mean; any number does, and gives parameters a gradient of 0
        zeros = constant(np.zeros(shape[1]), x)
        return batch_norm_by_statistics(x, zeros, zeros, weight, bias, eps)
    out, mean, variance = batch_norm_by_batch(x, weight, bias, eps)
    if momentum is not None:
        if running_mean is not None:
            _update(name, running_mean, mean, momentum)
        if running_var is not None:
            _update(name, running_var, variance * (n / (n - 1)), momentum)
    return out


@formula
def instance_norm_formula(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """(x - mean) / √(variance + eps) · weight + bias, for each channel of each instance."""
    source, x = dt.of(x.aval.dtype), widened(x)
    rank = len(x.aval.shape)
    axes = tuple(range(2, rank))
    distance, mean, variance = _moments(x, axes)
    out = distance * spread(_inverse_root(variance + eps), x, axes)
    out = _affine(out, None if weight is None else _along(weight, rank), None if bias is None else _along(bias, rank))
    return cast(out, source), mean, variance


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Bring each channel of each instance of ``input`` (N, C, ...) to mean 0 and variance 1.

    With ``use_input_stats`` the running statistics, where given, move towards the mean over the
    instances, in place; otherwise they are used. Source: Ulyanov et al., arXiv:1607.08022.

    Raises:
        ArgumentError: one spatial element, or no statistics where they should be used.
    """
    name = "instance_norm"
    x = _operand(name, input, 3 if use_input_stats else 2, (weight, bias))
    shape = x.aval.shape
    _parameters(name, (shape[1],), x, running_mean, running_var, weight, bias)
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    n = math.prod(shape[2:])
    if n == 1:
        raise ArgumentError(message(name, "needs more than one spatial element", str(x.aval)))
    out, mean, variance = instance_norm_formula(x, weight, bias, eps)
    if running_mean is not None:
        _update(name, running_mean, apply(_MEAN, (mean,), {"axes": (0,)}), momentum)
    if running_var is not None:
        _update(name, running_var, apply(_MEAN, (variance,), {"axes": (0,)}) * (n / (n - 1)), momentum)
    return out


# -- layer and group ---------------------------------------------------------------------------------


def _layer_axes(name: str, x: Any, normalized_shape: Any, *parameters: Any) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(map(int, normalized_shape))
    rank = len(x.aval.shape)
    if not shape or x.aval.shape[max(rank - len(shape), 0) :] != shape:
        raise ShapeError(
            message(
                name,
                "the input does not end with normalized_shape",
                f"{x.aval}, normalized_shape={list(shape)}",
            )
        )
    _parameters(name, shape, x, *parameters)
    return tuple(range(rank - len(shape), rank))


@formula
def layer_norm_formula(x: Any, weight: Any, bias: Any, axes: tuple[int, ...], eps: float) -> Any:
    """(x - mean) / √(variance + eps) · weight + bias over the last axes."""
    source, x = dt.of(x.aval.dtype), widened(x)
    distance, _, variance = _moments(x, axes)
    out = distance * spread(_inverse_root(variance + eps), x, axes)
    return cast(_affine(out, weight, bias), source)


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Bring the last dimensions, of sizes ``normalized_shape``, to mean 0 and variance 1.

    ``weight`` and ``bias`` have that shape. Source: Ba, Kiros and Hinton, arXiv:1607.06450.

    Raises:
        ShapeError: the input does not end with ``normalized_shape``.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.layer_norm(wg.tensor([1.0, 3.0]), (2,), eps=0.0).tolist()
    [-1.0, 1.0]
    """
    x = _operand("layer_norm", input, 1, (weight, bias))
    return layer_norm_formula(x, weight, bias, _layer_axes("layer_norm", x, normalized_shape, weight, bias), eps)


@formula
def group_norm_formula(x: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
    """(x - mean) / √(variance + eps) over each group of channels, then · weight + bias for each channel."""
    source, x = dt.of(x.aval.dtype), widened(x)
    shape = x.aval.shape
    flat = reshape(x, (shape[0], groups, math.prod(shape[1:]) // groups))
    distance, _, variance = _moments(flat, (2,))
    out = reshape(distance * spread(_inverse_root(variance + eps), flat, (2,)), shape)
    rank = len(shape)
    out = _affine(out, None if weight is None else _along(weight, rank), None if bias is None else _along(bias, rank))
    return cast(out, source)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Bring each of ``num_groups`` groups of channels of ``input`` (N, C, ...) to mean 0 and variance 1.

    ``weight`` and ``bias`` have C elements. Source: Wu and He, arXiv:1803.08494.

    Raises:
        ArgumentError: C is no multiple of ``num_groups``.
    """
    x = _operand("group_norm", input, 2, (weight, bias))
    channels = x.aval.shape[1]
    if num_groups < 1 or channels % num_groups:
        raise ArgumentError(
            message(
                "group_norm",
                "the channels must be a multiple of num_groups",
                f"{x.aval}, num_groups={num_groups}",
            )
        )
    _parameters("group_norm", (channels,), x, weight, bias)
    return group_norm_formula(x, weight, bias, int(num_groups), eps)


@formula
def rms_norm_formula(x: Any, weight: Any, axes: tuple[int, ...], eps: float) -> Any:
    """X / √(mean of x² + eps) · weight over the last axes."""
    source, x = dt.of(x.aval.dtype), widened(x)
    size = apply(_MEAN, (x * x,), {"axes": axes})
    return cast(_affine(x * spread(_inverse_root(size + eps), x, axes), weight, None), source)


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """Divide the last dimensions, of sizes ``normalized_shape``, by their root mean square.

    ``eps`` defaults to the machine precision of the dtype that is computed in. Source: Zhang and Sennrich,
    arXiv:1910.07467.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.rms_norm(wg.tensor([3.0, -3.0]), (2,), eps=0.0).tolist()
    [1.0, -1.0]
    """
    x = _operand("rms_norm", input, 1, (weight,))
    axes = _layer_axes("rms_norm", x, normalized_shape, weight)
    if eps is None:
        eps = dt.finfo(dt.float64 if x.aval.dtype == dt.NP_FLOAT64 else dt.float32).eps
    return rms_norm_formula(x, weight, axes, eps)


# -- neighbours and length ---------------------------------------------------------------------------


@formula
def local_response_norm_formula(x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    """X / (k + alpha · mean of x² over ``size`` neighbouring channels)^beta."""
    source, x = dt.of(x.aval.dtype), widened(x)
    shape = x.aval.shape
    square = reshape(x * x, (*shape[:2], math.prod(shape[2:])))
    square = pad_last(square, ((size // 2, (size - 1) // 2), (0, 0)))
    attrs = {"kernel": (size, 1), "stride": (1, 1), "dilation": (1, 1)}
    total = apply(OPS["sum"], (apply(_WINDOWS, (square,), attrs),), {"axes": (1, 2)})
    return cast(x / (reshape(total, shape) * (alpha / size) + k) ** beta, source)


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """Divide by the mean square of ``size`` neighbouring channels: x / (k + alpha · mean)^beta.

    ``input``: (N, C, ...). Source: Krizhevsky et al., ImageNet classification with deep convolutional
    neural networks, 2012.
    """
    x = _operand("local_response_norm", input, 3)
    size = ntuple("local_response_norm", "size", size, 1, 1)[0]
    if not x.aval.size:
        return x
    return local_response_norm_formula(x, size, float(alpha), float(beta), float(k))


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """Input / max(‖input‖_p, eps) over ``dim``.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.normalize(wg.tensor([[3.0, 4.0]])).tolist()
    [[0.6..., 0.8...]]
    """
    size = norm(input, p, dim, True)
    large = OPS["where"](size < eps, OPS["fill"](size, value=eps), size)
    result = input / large
    return result if out is None else assign("normalize", out, result)


__all__ = [
    "batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize", "rms_norm",
]  # fmt: skip

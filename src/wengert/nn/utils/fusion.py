"""A batch norm that no longer changes, put into the layer before it."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from ...config import no_grad
from ...errors import ArgumentError, message
from ...tensor import Tensor
from ..module import Module
from ..parameter import Parameter

Layer = TypeVar("Layer", bound=Module)


def _fused(name: str, layer: Any, bn: Any, axis: int) -> Any:
    """A copy of the layer that does what layer and norm do."""
    if layer.training or bn.training:
        raise ArgumentError(message(name, "both modules must be in eval mode", cure="Call .eval() first"))
    if bn.running_mean is None:
        raise ArgumentError(message(name, "the norm has no running statistics", repr(bn)))
    fused = copy.deepcopy(layer)
    given = (layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias)
    fused.weight, fused.bias = _folded(*given, axis)
    return fused


def _folded(w: Any, b: Any, mean: Any, var: Any, eps: float, scale: Any, shift: Any, axis: int) -> Any:
    with no_grad():
        factor = (var + eps).rsqrt() if scale is None else scale * (var + eps).rsqrt()
        shape = [-1 if k == axis else 1 for k in range(w.ndim)]
        weight = (w * factor.reshape(shape)).to(w.dtype)
        bias = ((-mean if b is None else b - mean) * factor + (0.0 if shift is None else shift)).to(w.dtype)
        if bias.numel() == 1:  # one norm for all features
            bias = bias.expand(w.shape[axis]).clone()
    return Parameter(weight, w.requires_grad), Parameter(bias, b is None or b.requires_grad)


def fuse_conv_bn_eval(conv: Layer, bn: Module, transpose: bool = False) -> Layer:
    """A convolution that does what ``bn(conv(x))`` does, both in eval mode.

    Args:
        conv: a convolution.
        bn: the batch norm after it, with running statistics.
        transpose: whether the convolution is a transposed one (with one group).

    >>> import wengert as wg
    >>> from wengert import nn
    >>> conv, bn, x = nn.Conv2d(2, 3, 3).eval(), nn.BatchNorm2d(3).eval(), wg.randn(1, 2, 5, 5)
    >>> wg.allclose(nn.utils.fuse_conv_bn_eval(conv, bn)(x), bn(conv(x)), atol=1e-5)
    True
    """
    return _fused("fuse_conv_bn_eval", conv, bn, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: Layer, bn: Module) -> Layer:
    """A linear layer that does what ``bn(linear(x))`` does, both in eval mode.

    >>> import wengert as wg
    >>> from wengert import nn
    >>> linear, bn, x = nn.Linear(2, 3).eval(), nn.BatchNorm1d(3).eval(), wg.randn(4, 2)
    >>> wg.allclose(nn.utils.fuse_linear_bn_eval(linear, bn)(x), bn(linear(x)), atol=1e-5)
    True
    """
    out, features = linear.out_features, bn.num_features
    if features not in (1, out):
        seen = f"{out} and {features}"
        raise ArgumentError(message("fuse_linear_bn_eval", "the norm must have the layer's outputs, or one", seen))
    return _fused("fuse_linear_bn_eval", linear, bn, 0)


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None,
    bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias for `fuse_conv_bn_eval`, from those of both modules and the running mean and variance."""
    return _folded(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias for `fuse_linear_bn_eval`."""
    return _folded(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]

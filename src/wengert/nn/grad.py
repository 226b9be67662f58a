"""Gradients of convolutions by themselves: what the backward pass of `nn.functional.conv2d` computes, as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import api
from ..func import vjp
from . import functional as F


def _of_input(name: str, convolution: Callable[..., Any]) -> Callable[..., Any]:
    def gradient(
        input_size: Sequence[int],
        weight: Any,
        grad_output: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        # A convolution is linear in its input, so that any values will do.
        zeros = api.zeros(1, dtype=weight.dtype).expand(*input_size)
        back = vjp(lambda x: convolution(x, weight, None, stride, padding, dilation, groups), zeros)[1]
        return back(grad_output)[0]

    gradient.__name__ = gradient.__qualname__ = name
    gradient.__doc__ = f"""The gradient with respect to the input of `nn.functional.{convolution.__name__}`.

    Args:
        input_size: the input's shape (N, C, *).
        weight: the convolution's (D, C / groups, *).
        grad_output: the gradient with respect to the output (N, D, *).
        stride, padding, dilation, groups: of the convolution.
    """
    return gradient


def _of_weight(name: str, convolution: Callable[..., Any]) -> Callable[..., Any]:
    def gradient(
        input: Any,
        weight_size: Sequence[int],
        grad_output: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        zeros = api.zeros(1, dtype=input.dtype).expand(*weight_size)
        back = vjp(lambda w: convolution(input, w, None, stride, padding, dilation, groups), zeros)[1]
        return back(grad_output)[0]

    gradient.__name__ = gradient.__qualname__ = name
    gradient.__doc__ = f"""The gradient with respect to the weight of `nn.functional.{convolution.__name__}`.

    Args:
        input: the convolution's (N, C, *).
        weight_size: the weight's shape (D, C / groups, *).
        grad_output: the gradient with respect to the output (N, D, *).
        stride, padding, dilation, groups: of the convolution.
    """
    return gradient


conv1d_input, conv1d_weight = _of_input("conv1d_input", F.conv1d), _of_weight("conv1d_weight", F.conv1d)
conv2d_input, conv2d_weight = _of_input("conv2d_input", F.conv2d), _of_weight("conv2d_weight", F.conv2d)
conv3d_input, conv3d_weight = _of_input("conv3d_input", F.conv3d), _of_weight("conv3d_weight", F.conv3d)

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]

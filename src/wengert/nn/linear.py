"""Layers that are a matrix product, and those that only pass on or reshape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import api
from ..errors import ArgumentError, message
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


def check_size(layer: str, name: str, value: Any, least: int = 0) -> int:
    """A layer size must be a whole number; say so where the layer is built."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ArgumentError(message(layer, f"{name} must be an integer", repr(value)))
    if value < least:
        raise ArgumentError(message(layer, f"{name} must be at least {least}", str(value)))
    return int(value)


class Identity(Module):
    """Gives back its input. Takes, and ignores, any arguments, so that it can stand for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Linear(Module):
    """``y = x Wᵀ + b``.

    Args:
        in_features: size of the input's last dimension.
        out_features: size of the output's last dimension.
        bias: whether there is a ``b``.

    Shape:
        input (*, in_features), output (*, out_features), weight (out_features, in_features),
        bias (out_features). Both start uniform over ±1/√in_features.

    >>> import wengert as wg
    >>> layer = wg.nn.Linear(20, 30)
    >>> layer(wg.randn(128, 20)).shape
    wengert.Size([128, 30])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = check_size("Linear", "in_features", in_features)
        self.out_features = check_size("Linear", "out_features", out_features)
        self.weight = Parameter(api.empty(self.out_features, self.in_features, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(api.empty(self.out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        # Kaiming with a = √5 is the uniform distribution over ±1/√in_features.
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        own = self._parameters
        try:  # straight from the table: `self.weight` goes through __getattr__, half a microsecond more
            weight, bias = own["weight"], own["bias"]
        except KeyError:  # somebody put a plain tensor or a property in a parameter's place
            weight, bias = self.weight, self.bias
        return F.linear(input, weight, bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Makes the dimensions from ``start_dim`` to ``end_dim`` one; by default all but the first.

    >>> import wengert as wg
    >>> wg.nn.Flatten()(wg.zeros(32, 1, 8, 8)).shape
    wengert.Size([32, 64])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits one dimension into several.

    >>> import wengert as wg
    >>> wg.nn.Unflatten(1, (2, 3))(wg.zeros(5, 6)).shape
    wengert.Size([5, 2, 3])
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, tuple(self.unflattened_size))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Bilinear(Module):
    """``y_k = x1ᵀ A_k x2 + b_k``.

    Args:
        in1_features: size of the last dimension of the first input.
        in2_features: that of the second.
        out_features: size of the output's last dimension.
        bias: whether there is a ``b``.

    Shape:
        inputs (*, in1_features) and (*, in2_features), output (*, out_features), weight
        (out_features, in1_features, in2_features). All start uniform over ±1/√in1_features.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features = check_size("Bilinear", "in1_features", in1_features, 1)
        self.in2_features = check_size("Bilinear", "in2_features", in2_features)
        self.out_features = check_size("Bilinear", "out_features", out_features)
        shape = (self.out_features, self.in1_features, self.in2_features)
        self.weight = Parameter(api.empty(*shape, device=device, dtype=dtype))
        offset = Parameter(api.empty(self.out_features, device=device, dtype=dtype)) if bias else None
        self.register_parameter("bias", offset)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )

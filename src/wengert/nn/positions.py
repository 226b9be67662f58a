"""Where in a sequence a vector stands: sinusoids that are added, rotations that multiply."""

from __future__ import annotations

import math
from typing import Any

from .. import api
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from .linear import check_size
from .module import Module


def _angles(name: str, positions: Any, dim: int, base: float) -> Any:
    """Positions times the frequencies base^(-2i/dim): (length, dim/2) in float64."""
    if dim % 2:
        raise ArgumentError(message(name, "the dimension must be even", str(dim)))
    rates = (api.arange(0, dim, 2, dtype=api.float64) * (-math.log(base) / max(dim, 1))).exp()
    return positions.to(api.float64).unsqueeze(-1) * rates


def sinusoidal_positions(length: int, dim: int, base: float = 10000.0, dtype: Any = None) -> Tensor:
    """A table (length, dim): ``sin(p base^(-2i/dim))`` in column 2i, the cosine in column 2i + 1.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5.

    >>> import wengert as wg
    >>> wg.nn.sinusoidal_positions(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    angles = _angles("sinusoidal_positions", api.arange(length), dim, base)
    table = api.stack([angles.sin(), angles.cos()], -1).flatten(-2)
    return table.to(dtype or api.get_default_dtype())


class SinusoidalPositions(Module):
    """Adds `sinusoidal_positions` to a sequence.

    Args:
        dim: length of the vectors, even.
        max_length: the longest sequence.
        base: sets the longest wave, 2π base.

    Shape:
        input (*, length, dim), output the same. ``start``: the position of the first vector.

    >>> import wengert as wg
    >>> wg.nn.SinusoidalPositions(8, 100)(wg.zeros(2, 5, 8)).shape
    wengert.Size([2, 5, 8])
    """

    table: Tensor

    def __init__(self, dim: int, max_length: int = 5000, base: float = 10000.0, dtype: Any = None) -> None:
        super().__init__()
        self.dim, self.max_length = dim, check_size("SinusoidalPositions", "max_length", max_length)
        self.register_buffer("table", sinusoidal_positions(max_length, dim, base, dtype), persistent=False)

    def forward(self, input: Tensor, start: int = 0) -> Tensor:
        stop = start + input.shape[-2]
        if input.shape[-1] != self.dim or stop > self.max_length:
            wanted = f"the input must be (*, length, {self.dim}) with at most {self.max_length} positions"
            raise ShapeError(message("SinusoidalPositions", wanted, f"shape {tuple(input.shape)}, start {start}"))
        return input + self.table[start:stop]

    def extra_repr(self) -> str:
        return f"{self.dim}, max_length={self.max_length}"


def apply_rotary(input: Tensor, start: int = 0, base: float = 10000.0, positions: Tensor | None = None) -> Tensor:
    """Rotary positions: turns each pair of features (2i, 2i + 1) by the angle ``p base^(-2i/dim)``.

    The product of a query at p and a key at q then depends on p - q only. Apply it to queries and keys
    (not to values) before attention.

    Args:
        input: queries or keys (*, length, dim), dim even.
        start: the position of the first vector, as when earlier keys are cached.
        base: sets the slowest rotation.
        positions: the positions themselves (length), in place of ``start`` and those that follow.

    Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.

    >>> import wengert as wg
    >>> q, k = wg.randn(1, 8), wg.randn(1, 8)
    >>> near = (wg.nn.apply_rotary(q, 7) * wg.nn.apply_rotary(k, 3)).sum()
    >>> far = (wg.nn.apply_rotary(q, 107) * wg.nn.apply_rotary(k, 103)).sum()
    >>> wg.allclose(near, far, atol=1e-5)
    True
    """
    length, dim = input.shape[-2:]
    if positions is None:
        positions = api.arange(start, start + length)
    angles = _angles("apply_rotary", positions, dim, base)
    cos, sin = angles.cos().to(input.dtype), angles.sin().to(input.dtype)
    even, odd = input[..., 0::2], input[..., 1::2]
    return api.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class RotaryPositions(Module):
    """`apply_rotary` as a layer.

    >>> import wengert as wg
    >>> wg.nn.RotaryPositions()(wg.zeros(2, 4, 10, 8)).shape  # batch, heads, length, features of a head
    wengert.Size([2, 4, 10, 8])
    """

    def __init__(self, base: float = 10000.0) -> None:
        super().__init__()
        self.base = base

    def forward(self, input: Tensor, start: int = 0) -> Tensor:
        return apply_rotary(input, start, self.base)

    def extra_repr(self) -> str:
        return f"base={self.base}"


__all__ = ["RotaryPositions", "SinusoidalPositions", "apply_rotary", "sinusoidal_positions"]

"""Padding layers."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ArgumentError, message
from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Pad(Module):
    """Adds values at both ends of the last dimensions.

    Args:
        padding: how many, one number for all ends, or two for each dimension, the last dimension first.
    """

    dims = 0
    mode = ""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        ends = (padding,) * (2 * self.dims) if isinstance(padding, int) else tuple(padding)
        if len(ends) != 2 * self.dims:
            name = type(self).__name__
            raise ArgumentError(message(name, f"padding needs one number, or {2 * self.dims}", str(padding)))
        self.padding = ends

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return str(self.padding)


class _ConstantPad(_Pad):
    """`_Pad` with one value everywhere."""

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    """`_Pad` with zeros."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return str(self.padding)


class ConstantPad1d(_ConstantPad):
    """Adds a value at both ends of the last dimension."""

    dims = 1


class ConstantPad2d(_ConstantPad):
    """Adds a value at both ends of the last two dimensions."""

    dims = 2


class ConstantPad3d(_ConstantPad):
    """Adds a value at both ends of the last three dimensions."""

    dims = 3


class ZeroPad1d(_ZeroPad):
    """Adds zeros at both ends of the last dimension."""

    dims = 1


class ZeroPad2d(_ZeroPad):
    """Adds zeros at both ends of the last two dimensions.

    >>> import wengert as wg
    >>> wg.nn.ZeroPad2d((1, 0, 0, 1))(wg.ones(1, 1, 1)).tolist()
    [[[0.0, 1.0], [0.0, 0.0]]]
    """

    dims = 2


class ZeroPad3d(_ZeroPad):
    """Adds zeros at both ends of the last three dimensions."""

    dims = 3


class ReflectionPad1d(_Pad):
    """Mirrors sequences at their ends, the end itself not repeated."""

    dims, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Mirrors images at their edges, the edge itself not repeated."""

    dims, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Mirrors volumes at their faces, the face itself not repeated."""

    dims, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Repeats the end values of sequences."""

    dims, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Repeats the edges of images."""

    dims, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Repeats the faces of volumes."""

    dims, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Continues sequences as if they were periodic."""

    dims, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Continues images as if they were periodic."""

    dims, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Continues volumes as if they were periodic."""

    dims, mode = 3, "circular"

"""Convolution layers, and transposed ones."""

from __future__ import annotations

import math
from typing import Any

from .. import api
from ..errors import ArgumentError, message
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import check_size
from .module import Module
from .parameter import Parameter

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What convolutions of one, two and three dimensions share.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: extent of the window, an integer or one for each dimension; so are the next three.
        stride: steps between windows.
        padding: how much is added at both ends; or "same" (the output is as large as the input), or "valid".
        dilation: steps between the points of the window.
        groups: into how many groups input and output channels are split; each sees only its own.
        bias: whether a number is added to each output channel.
        padding_mode: what is added: "zeros", "reflect", "replicate" or "circular".
    """

    dims = 0
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_channels = self._size("in_channels", in_channels)
        self.out_channels = self._size("out_channels", out_channels)
        self.groups = self._size("groups", groups, 1)
        self.kernel_size = self._sizes("kernel_size", kernel_size, 1)
        self.stride = self._sizes("stride", stride, 1)
        self.dilation = self._sizes("dilation", dilation, 1)
        self.padding = padding if isinstance(padding, str) else self._sizes("padding", padding)
        self.output_padding = (0,) * self.dims
        self.padding_mode = padding_mode
        self._check()
        self.weight = Parameter(api.empty(*self._weight_shape(), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(api.empty(self.out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def _size(self, name: str, value: Any, least: int = 0) -> int:
        return check_size(type(self).__name__, name, value, least)

    def _sizes(self, name: str, value: Any, least: int = 0) -> tuple[int, ...]:
        values = value if isinstance(value, tuple | list) else (value,) * self.dims
        if len(values) != self.dims:
            raise ArgumentError(message(type(self).__name__, f"{name} needs one number, or {self.dims}", str(value)))
        return tuple(self._size(name, v, least) for v in values)

    def _check(self) -> None:
        name = type(self).__name__
        for what, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ArgumentError(
                    message(name, f"{what} must be divisible by groups", f"{channels} and {self.groups}")
                )
        if self.padding_mode not in _PADDING_MODES:
            raise ArgumentError(message(name, f"padding_mode must be one of {_PADDING_MODES}", repr(self.padding_mode)))
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ArgumentError(message(name, "padding must be numbers, 'same' or 'valid'", repr(self.padding)))
            if self.padding == "same" and any(step != 1 for step in self.stride):
                raise ArgumentError(
                    message(name, "padding='same' is not supported for strided convolutions", f"{self.stride}")
                )

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform over ±1/√(inputs of an output)."""
        if 0 in self.weight.shape:
            return
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def _margins(self) -> list[int]:
        """The padding as `F.pad` wants it: both ends of each dimension, the last dimension first."""
        margins: list[int] = []
        for i in reversed(range(self.dims)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                margins += [total // 2, total - total // 2]
            else:
                margins += [0, 0] if self.padding == "valid" else [int(self.padding[i])] * 2
        return margins

    def forward(self, input: Tensor) -> Tensor:
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.dims - 1]
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._margins(), mode=self.padding_mode), 0
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.dims:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.dims:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.dims:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class Conv1d(_Conv):
    """Slides a window over sequences.

    Shape:
        input (N, in_channels, L) or (in_channels, L), output with out_channels and the new length.
    """

    dims = 1


class Conv2d(_Conv):
    """Slides a window over images; what it computes is a cross-correlation, as everywhere in the field.

    Shape:
        input (N, in_channels, H, W) or (in_channels, H, W), output with out_channels and the new size
        ``(H + 2·padding - dilation·(kernel_size - 1) - 1) // stride + 1``.

    >>> import wengert as wg
    >>> layer = wg.nn.Conv2d(1, 6, 3, padding=1)
    >>> layer(wg.randn(5, 1, 8, 8)).shape
    wengert.Size([5, 6, 8, 8])
    """

    dims = 2


class Conv3d(_Conv):
    """Slides a window over volumes or videos.

    Shape:
        input (N, in_channels, D, H, W) or (in_channels, D, H, W), output with out_channels and the new size.
    """

    dims = 3


class _ConvTranspose(_Conv):
    """What transposed convolutions share: `_Conv` read backwards, so that sizes grow with the stride.

    Args:
        output_padding: how much is added at the far end of the output, whose size a stride leaves open.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros" or isinstance(padding, str):
            name, seen = type(self).__name__, padding if isinstance(padding, str) else padding_mode
            raise ArgumentError(message(name, "padding must be numbers of zeros", repr(seen)))
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip
        self.output_padding = self._sizes("output_padding", output_padding)

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def _added(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives the wanted size."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self.dims :]
        least = [
            (n - 1) * self.stride[i] - 2 * int(self.padding[i]) + self.dilation[i] * (self.kernel_size[i] - 1) + 1
            for i, n in enumerate(input.shape[-self.dims :])
        ]
        if len(wanted) != self.dims or any(
            not low <= size < low + step for size, low, step in zip(wanted, least, self.stride, strict=True)
        ):
            most = [low + step - 1 for low, step in zip(least, self.stride, strict=True)]
            raise ArgumentError(
                message(type(self).__name__, f"output_size must be between {least} and {most}", str(tuple(output_size)))
            )
        return tuple(size - low for size, low in zip(wanted, least, strict=True))

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.dims - 1]
        added = self._added(input, output_size)
        return convolve(input, self.weight, self.bias, self.stride, self.padding, added, self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """The transpose of `Conv1d`.

    Shape:
        input (N, in_channels, L) or (in_channels, L), output with out_channels and the new length.
    """

    dims = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of `Conv2d`: what a convolution with the same settings makes small, it makes large again.

    Shape:
        input (N, in_channels, H, W) or (in_channels, H, W), output with out_channels and the new size
        ``(H - 1)·stride - 2·padding + dilation·(kernel_size - 1) + output_padding + 1``.

    >>> import wengert as wg
    >>> layer = wg.nn.ConvTranspose2d(6, 1, 4, stride=2, padding=1)
    >>> layer(wg.randn(5, 6, 8, 8)).shape
    wengert.Size([5, 1, 16, 16])
    """

    dims = 2


class ConvTranspose3d(_ConvTranspose):
    """The transpose of `Conv3d`.

    Shape:
        input (N, in_channels, D, H, W) or (in_channels, D, H, W), output with out_channels and the new size.
    """

    dims = 3

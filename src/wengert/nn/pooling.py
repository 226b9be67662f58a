"""Pooling layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..errors import ArgumentError, message
from ..tensor import Tensor
from . import functional as F
from .plain import Plain


def _each(value: Any, dims: int) -> tuple[Any, ...]:
    """A number for each dimension."""
    return tuple(value) if isinstance(value, tuple | list) else (value,) * dims


# --- the largest value -----------------------------------------------------------------------------------


class _MaxPool(Plain):
    """The largest value of each window; `MaxPool2d` describes the arguments."""

    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    function: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        return type(self).function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )


class MaxPool1d(_MaxPool):
    """`MaxPool2d` for sequences, (N, C, L) or (C, L)."""

    function = F.max_pool1d


class MaxPool2d(_MaxPool):
    """The largest value of each window.

    Args:
        kernel_size: extent of the window, an integer or one for each dimension; so are the next three.
        stride: steps between windows; by default the window's extent.
        padding: how much of minus infinity is added at both ends.
        dilation: steps between the points of the window.
        return_indices: give the positions of the largest values as well.
        ceil_mode: whether a last window may reach over the end.

    Shape:
        input (N, C, H, W) or (C, H, W).

    >>> import wengert as wg
    >>> wg.nn.MaxPool2d(2)(wg.arange(16.0).reshape(1, 4, 4)).tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """

    function = F.max_pool2d


class MaxPool3d(_MaxPool):
    """`MaxPool2d` for volumes, (N, C, D, H, W) or (C, D, H, W)."""

    function = F.max_pool3d


class _MaxUnpool(Plain):
    """Puts the values that a `MaxPool2d` gave back to where they came from, with zeros elsewhere.

    Args:
        kernel_size: that of the pooling; so are the next two.
        stride: by default the window's extent.
        padding: how much had been added at both ends.
    """

    shown = ("kernel_size", "stride", "padding")
    dims = 0
    function: ClassVar[Callable[..., Any]]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = _each(kernel_size, self.dims)
        self.stride = self.kernel_size if stride is None else _each(stride, self.dims)
        self.padding = _each(padding, self.dims)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool):
    """Puts what `MaxPool1d` gave back to where it came from."""

    dims, function = 1, F.max_unpool1d


class MaxUnpool2d(_MaxUnpool):
    """Puts what `MaxPool2d` gave back to where it came from, with zeros elsewhere.

    >>> import wengert as wg
    >>> pooled, places = wg.nn.MaxPool2d(2, return_indices=True)(wg.arange(4.0).reshape(1, 2, 2))
    >>> wg.nn.MaxUnpool2d(2)(pooled, places).tolist()
    [[[0.0, 0.0], [0.0, 3.0]]]
    """

    dims, function = 2, F.max_unpool2d


class MaxUnpool3d(_MaxUnpool):
    """Puts what `MaxPool3d` gave back to where it came from."""

    dims, function = 3, F.max_unpool3d


class _FractionalMaxPool(Plain):
    """The largest value of windows at random places. Source: Graham 2014.

    Args:
        kernel_size: extent of the window, an integer or one for each dimension.
        output_size: sizes of the output, or
        output_ratio: sizes of the output as parts of the input's, between 0 and 1.
        return_indices: give the positions of the largest values as well.
    """

    dims = 0
    function: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise ArgumentError(message(name, "give one of output_size and output_ratio"))
        self.kernel_size, self.return_indices = _each(kernel_size, self.dims), return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else _each(output_size, self.dims)
        self.output_ratio = None if output_ratio is None else _each(output_ratio, self.dims)
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ArgumentError(message(name, "output_ratio must be between 0 and 1", str(output_ratio)))

    def forward(self, input: Tensor) -> Any:
        return type(self).function(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest value of windows at random places in images. Source: Graham 2014."""

    dims, function = 2, F.fractional_max_pool2d


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest value of windows at random places in volumes."""

    dims, function = 3, F.fractional_max_pool3d


# --- means -----------------------------------------------------------------------------------------------


class AvgPool1d(Plain):
    """`AvgPool2d` for sequences, (N, C, L) or (C, L)."""

    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding = _each(kernel_size, 1), _each(padding, 1)
        self.stride = self.kernel_size if stride is None else _each(stride, 1)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(Plain):
    """The mean of each window.

    Args:
        kernel_size: extent of the window, an integer or one for each dimension; so are the next two.
        stride: steps between windows; by default the window's extent.
        padding: how many zeros are added at both ends.
        ceil_mode: whether a last window may reach over the end.
        count_include_pad: whether the zeros count in the mean.
        divisor_override: divide by this instead of by the number of values.

    >>> import wengert as wg
    >>> wg.nn.AvgPool2d(2)(wg.arange(16.0).reshape(1, 4, 4)).tolist()
    [[[2.5, 4.5], [10.5, 12.5]]]
    """

    shown = ("kernel_size", "stride", "padding")
    function: ClassVar[Callable[..., Any]] = F.avg_pool2d

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AvgPool3d(AvgPool2d):
    """`AvgPool2d` for volumes, (N, C, D, H, W) or (C, D, H, W)."""

    function = F.avg_pool3d


class _LPPool(Plain):
    """``(Σ x^p)^(1/p)`` of each window; p is ``norm_type``."""

    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")
    function: ClassVar[Callable[..., Any]]

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """``(Σ x^p)^(1/p)`` of each window of sequences."""

    function = F.lp_pool1d


class LPPool2d(_LPPool):
    """``(Σ x^p)^(1/p)`` of each window of images."""

    function = F.lp_pool2d


class LPPool3d(_LPPool):
    """``(Σ x^p)^(1/p)`` of each window of volumes."""

    function = F.lp_pool3d


# --- to a given size -------------------------------------------------------------------------------------


class _AdaptiveAvgPool(Plain):
    """The means of windows that give an output of the given size, whatever the input's."""

    shown = ("output_size",)
    function: ClassVar[Callable[..., Any]]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """`AdaptiveAvgPool2d` for sequences."""

    function = F.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of windows that give an output of size ``output_size``, whatever the input's.

    Args:
        output_size: an integer or one for each dimension; None keeps the input's.

    >>> import wengert as wg
    >>> wg.nn.AdaptiveAvgPool2d(1)(wg.ones(2, 3, 5, 7)).shape
    wengert.Size([2, 3, 1, 1])
    """

    function = F.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """`AdaptiveAvgPool2d` for volumes."""

    function = F.adaptive_avg_pool3d


class _AdaptiveMaxPool(Plain):
    """The largest values of windows that give an output of the given size, whatever the input's."""

    shown = ("output_size",)
    function: ClassVar[Callable[..., Any]]

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        return type(self).function(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """`AdaptiveMaxPool2d` for sequences."""

    function = F.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest values of windows that give an output of size ``output_size``, whatever the input's.

    Args:
        output_size: an integer or one for each dimension; None keeps the input's.
        return_indices: give the positions of the largest values as well.
    """

    function = F.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """`AdaptiveMaxPool2d` for volumes."""

    function = F.adaptive_max_pool3d

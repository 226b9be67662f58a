"""Lazy layers: they learn the size of their input from the first batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from .. import api
from ..config import STATE
from ..errors import ShapeError, message
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .module import Module
from .normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy


class LazyModuleMixin(Module):
    """A module with uninitialised parameters, which becomes an ordinary one when it is first called.

    A class has ``cls_to_become`` and ``initialize_parameters(input)``, which gives every tensor its shape.
    """

    cls_to_become: ClassVar[type[Module]]

    def _own(self) -> Iterator[Any]:
        yield from self._parameters.values()
        yield from self._buffers.values()

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(is_lazy(tensor) for tensor in self._own())

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give every parameter and buffer its shape and first values, as the input asks for."""
        raise NotImplementedError(
            message(type(self).__name__, "the module does not say how to begin", cure="Define initialize_parameters")
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trace, STATE.trace = STATE.trace, None  # drawn now and for good, also where a call is traced: shapes are known
        try:
            self.initialize_parameters(*args, **kwargs)
        finally:
            STATE.trace = trace
        if self._scope_name == type(self).__name__:
            self._set_scope_name(self.cls_to_become.__name__)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        return self(*args, **kwargs)

    def _give_shapes(self, **shapes: tuple[int, ...]) -> bool:
        """Shape what has no shape yet; what a state dictionary has brought in stays. Whether all was new."""
        new = [name for name in shapes if is_lazy(getattr(self, name))]
        for name in new:
            getattr(self, name).materialize(shapes[name])
        return bool(new)


def _lazy(bias: bool, device: Any, dtype: Any) -> tuple[UninitializedParameter, UninitializedParameter | None]:
    weight = UninitializedParameter(device=device, dtype=dtype)
    return weight, UninitializedParameter(device=device, dtype=dtype) if bias else None


class LazyLinear(LazyModuleMixin, Linear):
    """`Linear` that takes ``in_features`` from the first batch.

    >>> import wengert as wg
    >>> layer = wg.nn.LazyLinear(3)
    >>> layer(wg.ones(2, 5)).shape, layer
    (wengert.Size([2, 3]), Linear(in_features=5, out_features=3, bias=True))
    """

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        Linear.__init__(self, 0, out_features, bias=False)
        self.weight, self.bias = _lazy(bias, device, dtype)

    def initialize_parameters(self, input: Any) -> None:
        self.in_features = input.shape[-1]
        if self._give_shapes(weight=(self.out_features, self.in_features), bias=(self.out_features,)):
            self.reset_parameters()


class _LazyConv(LazyModuleMixin):
    """A convolution that takes ``in_channels`` from the first batch; the other arguments are its own."""

    def __init__(self, out_channels: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        ordinary: Any = self.cls_to_become
        place = {name: kwargs.get(name) for name in ("device", "dtype")}
        ordinary.__init__(self, 0, 0, kernel_size, *args, **kwargs)
        has_bias = self.bias is not None
        self.out_channels = out_channels
        self.weight, self.bias = _lazy(has_bias, **place)

    def initialize_parameters(self, input: Any, *args: Any, **kwargs: Any) -> None:
        layer: Any = self
        if input.ndim not in (layer.dims + 1, layer.dims + 2):
            wanted = f"expected {layer.dims + 1}D or {layer.dims + 2}D input"
            raise ShapeError(message(type(self).__name__, wanted, f"shape {tuple(input.shape)}"))
        layer.in_channels = input.shape[-layer.dims - 1]
        layer._check()
        if self._give_shapes(weight=layer._weight_shape(), bias=(layer.out_channels,)):
            layer.reset_parameters()


class LazyConv1d(_LazyConv, Conv1d):
    """`Conv1d` that takes ``in_channels`` from the first batch."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """`Conv2d` that takes ``in_channels`` from the first batch.

    >>> import wengert as wg
    >>> layer = wg.nn.LazyConv2d(6, 3, padding=1)
    >>> layer(wg.ones(1, 4, 5, 5)).shape, layer.in_channels
    (wengert.Size([1, 6, 5, 5]), 4)
    """

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """`Conv3d` that takes ``in_channels`` from the first batch."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConv, ConvTranspose1d):
    """`ConvTranspose1d` that takes ``in_channels`` from the first batch."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConv, ConvTranspose2d):
    """`ConvTranspose2d` that takes ``in_channels`` from the first batch."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConv, ConvTranspose3d):
    """`ConvTranspose3d` that takes ``in_channels`` from the first batch."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """A normalisation that takes ``num_features`` from the first batch."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: Any = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        ordinary: Any = self.cls_to_become
        ordinary.__init__(self, 0, eps, momentum, False, False)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.weight, self.bias = _lazy(bias, device, dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = api.tensor(0)

    def initialize_parameters(self, input: Any) -> None:
        layer: Any = self
        layer._check_input(input)
        batched = isinstance(layer, BatchNorm1d | BatchNorm2d | BatchNorm3d) or input.ndim == layer.input_dims[-1]
        count = layer.num_features = input.shape[1 if batched else 0]
        names = ("weight", "bias", "running_mean", "running_var")
        if self._give_shapes(**{name: (count,) for name in names}):
            layer.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """`BatchNorm1d` that takes ``num_features`` from the first batch."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """`BatchNorm2d` that takes ``num_features`` from the first batch."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """`BatchNorm3d` that takes ``num_features`` from the first batch."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """`InstanceNorm1d` that takes ``num_features`` from the first batch."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """`InstanceNorm2d` that takes ``num_features`` from the first batch."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """`InstanceNorm3d` that takes ``num_features`` from the first batch."""

    cls_to_become = InstanceNorm3d

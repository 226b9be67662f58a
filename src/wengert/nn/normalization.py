"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import api
from ..config import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import check_size
from .module import Module
from .parameter import Parameter
from .plain import Plain


class LayerNorm(Module):
    """Brings the last dimensions of each sample to mean 0 and variance 1, then scales and shifts.

    Source: Ba, Kiros & Hinton 2016.

    Args:
        normalized_shape: sizes of the last dimensions, over which mean and variance are taken.
        eps: added to the variance.
        elementwise_affine: whether there is a weight (and a bias) for each position.
        bias: whether there is a bias.

    >>> import wengert as wg
    >>> y = wg.nn.LayerNorm(4)(wg.arange(8.0).reshape(2, 4))
    >>> y.mean(dim=1).abs().max().item() < 1e-6
    True
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        self.normalized_shape = tuple(check_size("LayerNorm", "normalized_shape", size) for size in sizes)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            values = api.empty(*self.normalized_shape, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if values is None else Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        text = f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        return f"{text}, bias={self.bias is not None}"


class _RunningNorm(Module):
    """What batch and instance normalisations share: weight, bias and running averages."""

    _version = 2
    input_dims: tuple[int, ...] = ()
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = check_size(type(self).__name__, "num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats

        def channels(value: float, wanted: bool) -> Any:
            return api.full((self.num_features,), value, device=device, dtype=dtype) if wanted else None

        for name, value, wanted in (("weight", 1.0, affine), ("bias", 0.0, affine and bias)):
            self.register_parameter(name, Parameter(channels(value, True)) if wanted else None)
        self.register_buffer("running_mean", channels(0.0, track_running_stats))
        self.register_buffer("running_var", channels(1.0, track_running_stats))
        self.register_buffer("num_batches_tracked", api.tensor(0) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Forget all batches."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            assert self.num_batches_tracked is not None
            with no_grad():
                self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Forget all batches, set the weight to ones and the bias to zeros."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        key = f"{prefix}num_batches_tracked"  # which version 1 did not store
        if local_metadata.get("version", 1) < 2 and self.num_batches_tracked is not None:
            state_dict.setdefault(key, self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _check_input(self, input: Tensor) -> None:
        if input.ndim not in self.input_dims:
            wanted = " or ".join(f"{dims}D" for dims in self.input_dims)
            raise ShapeError(message(type(self).__name__, f"expected {wanted} input", f"shape {tuple(input.shape)}"))

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
    """What batch normalisations share; `BatchNorm2d` describes the arguments."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input(input)
        share = self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
            if share is None:
                assert self.running_mean is not None
                share = 1.0 / self.num_batches_tracked.to(self.running_mean.dtype)
        use_averages = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if use_averages else (None, None)
        by_batch = self.training or mean is None
        return F.batch_norm(
            input, mean, var, self.weight, self.bias, by_batch, 0.0 if share is None else share, self.eps
        )


class BatchNorm1d(_BatchNorm):
    """`BatchNorm2d` for features and sequences.

    Shape:
        input (N, C) or (N, C, L).
    """

    input_dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Brings each channel of images to mean 0 and variance 1 over the batch, then scales and shifts.

    In training mode mean and variance are the batch's, and running averages of them are kept; in
    evaluation mode those averages are used. Source: Ioffe & Szegedy 2015.

    Args:
        num_features: channels of the input.
        eps: added to the variance.
        momentum: what part of the averages the newest batch is; None for the plain average of all batches.
        affine: whether there are a weight and a bias for each channel.
        track_running_stats: whether averages are kept; if not, the batch's own are always used.
        bias: whether there is a bias.

    Shape:
        input (N, C, H, W).

    >>> import wengert as wg
    >>> layer = wg.nn.BatchNorm2d(3)
    >>> y = layer(wg.randn(16, 3, 4, 4) * 5 + 2)
    >>> y.std().item() < 1.01, layer.num_batches_tracked.item()
    (True, 1)
    """

    input_dims = (4,)


class BatchNorm3d(_BatchNorm):
    """`BatchNorm2d` for volumes.

    Shape:
        input (N, C, D, H, W).
    """

    input_dims = (5,)


class SyncBatchNorm(_BatchNorm):
    """`BatchNorm2d` over the batches of all processes of a group. Here there is one process, so it is its own batch.

    Args:
        process_group: kept as an attribute, without effect; the other arguments are those of `BatchNorm2d`.

    Shape:
        input (N, C, *).

    >>> import wengert as wg
    >>> wg.nn.SyncBatchNorm(3)(wg.randn(4, 3, 5, 5, 5)).shape
    wengert.Size([4, 3, 5, 5, 5])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ShapeError(message("SyncBatchNorm", "expected at least 2D input", f"shape {tuple(input.shape)}"))

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """Replace all batch normalisations in a network by this one, with the same parameters and averages.

        Returns:
            The network, which is changed; of a batch normalisation, another module.

        >>> import wengert as wg
        >>> net = wg.nn.Sequential(wg.nn.Linear(2, 3), wg.nn.BatchNorm1d(3))
        >>> wg.nn.SyncBatchNorm.convert_sync_batchnorm(net)[1]
        SyncBatchNorm(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
        """
        out = module
        if isinstance(module, _BatchNorm):
            settings = (module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
            out = SyncBatchNorm(*settings, process_group, bias=module.bias is not None)
            out.weight, out.bias = module.weight, module.bias
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(out, name, getattr(module, name))
            out.training = module.training
        for name, child in module.named_children():
            out.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return out


class _InstanceNorm(_RunningNorm):
    """What instance normalisations share; `InstanceNorm2d` describes the arguments."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input(input)
        single = input.ndim == self.input_dims[0]
        batch = input.unsqueeze(0) if single else input
        if batch.shape[1] != self.num_features and self.affine:
            raise ShapeError(
                message(type(self).__name__, f"expected {self.num_features} channels", f"shape {tuple(input.shape)}")
            )
        by_instance = self.training or not self.track_running_stats
        out = F.instance_norm(
            batch, self.running_mean, self.running_var, self.weight, self.bias, by_instance, self.momentum or 0.0,
            self.eps,
        )  # fmt: skip
        return out.squeeze(0) if single else out


class InstanceNorm1d(_InstanceNorm):
    """`InstanceNorm2d` for sequences.

    Shape:
        input (N, C, L) or (C, L).
    """

    input_dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Brings each channel of each image to mean 0 and variance 1. Source: Ulyanov et al. 2016.

    Args:
        num_features: channels of the input.
        eps: added to the variance.
        momentum: what part of the running averages the newest batch is.
        affine: whether there are a weight and a bias for each channel.
        track_running_stats: whether averages are kept, which are then used in evaluation mode.

    Shape:
        input (N, C, H, W) or (C, H, W).
    """

    input_dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm2d` for volumes.

    Shape:
        input (N, C, D, H, W) or (C, D, H, W).
    """

    input_dims = (4, 5)


class GroupNorm(Plain):
    """Brings each group of channels of each sample to mean 0 and variance 1, then scales and shifts.

    Source: Wu & He 2018.

    Args:
        num_groups: into how many groups the channels are split.
        num_channels: channels of the input (N, C, *).
        eps: added to the variance.
        affine: whether there are a weight and a bias for each channel.
    """

    shown = ("eps", "affine")
    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_groups = check_size("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = check_size("GroupNorm", "num_channels", num_channels)
        if self.num_channels % self.num_groups:
            seen = f"{num_channels} and {num_groups}"
            raise ArgumentError(message("GroupNorm", "num_channels must be divisible by num_groups", seen))
        self.eps, self.affine = eps, affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            values = api.empty(self.num_channels, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if values is None else Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, {super().extra_repr()}, bias={self.bias is not None}"


class RMSNorm(Plain):
    """Divides the last dimensions of each sample by their root mean square, then scales.

    Source: Zhang & Sennrich 2019.

    Args:
        normalized_shape: sizes of the last dimensions.
        eps: added to the mean square; by default the dtype's rounding unit.
        elementwise_affine: whether there is a weight for each position.

    >>> import wengert as wg
    >>> wg.nn.RMSNorm(2)(wg.tensor([1.0, 7.0])).detach()
    tensor([0.2000, 1.4000])
    """

    shown = ("eps", "elementwise_affine")
    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        self.normalized_shape = tuple(check_size("RMSNorm", "normalized_shape", size) for size in sizes)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        values = api.empty(*self.normalized_shape, device=device, dtype=dtype) if elementwise_affine else None
        self.register_parameter("weight", None if values is None else Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, {super().extra_repr()}"


class LocalResponseNorm(Plain):
    """Divides by ``(k + alpha · mean of squares)^beta``, the mean over ``size`` neighbouring channels.

    Source: Krizhevsky et al. 2012.
    """

    shown = ("alpha", "beta", "k")

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, {super().extra_repr()}"


class CrossMapLRN2d(Plain):
    """`LocalResponseNorm` of images (N, C, H, W) over ``size`` neighbouring channels, ``size`` odd.

    PyTorch's layer of this name keeps the first channel in the sums of all later ones once there are more than
    (size + 1) / 2 of them, which its gradient does not; this one has the sums that the paper has.

    Source: Krizhevsky et al. 2012.

    >>> import wengert as wg
    >>> wg.nn.CrossMapLRN2d(3, alpha=3.0, beta=1.0)(wg.ones(1, 3, 1, 1)).flatten().tolist()
    [0.333..., 0.25, 0.333...]
    """

    shown = ("alpha", "beta", "k")

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = check_size("CrossMapLRN2d", "size", size, 1), alpha, beta, k
        if size % 2 == 0:
            raise ArgumentError(message("CrossMapLRN2d", "size must be odd", str(size)))

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 4:
            raise ShapeError(message("CrossMapLRN2d", "needs images (N, C, H, W)", f"shape {tuple(input.shape)}"))
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, {super().extra_repr()}"

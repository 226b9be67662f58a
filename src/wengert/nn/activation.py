"""Activation layers. Each calls the function of the same name in ``nn.functional``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from .. import api
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import check_size
from .module import Module
from .parameter import Parameter
from .plain import Plain


class _Activation(Plain):
    """An activation with PyTorch's ``inplace`` switch."""

    function: ClassVar[Callable[..., Any]]

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, inplace=True) if self.inplace else type(self).function(input)

    def extra_repr(self) -> str:
        settings = super().extra_repr()
        return settings + (", " if settings else "") + "inplace=True" if self.inplace else settings


class ReLU(_Activation):
    """``max(0, x)``; the derivative at 0 is 0.

    >>> import wengert as wg
    >>> wg.nn.ReLU()(wg.tensor([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """

    function = F.relu


class SiLU(_Activation):
    """``x · sigmoid(x)``, also called swish."""

    function = F.silu


class SELU(_Activation):
    """`ELU`, scaled so that mean 0 and variance 1 are kept. Source: Klambauer et al. 2017."""

    function = F.selu


class Mish(_Activation):
    """``x · tanh(softplus(x))``."""

    function = F.mish


class Hardswish(_Activation):
    """``x · hardsigmoid(x)``."""

    function = F.hardswish


class Hardsigmoid(_Activation):
    """``x / 6 + 1/2``, held between 0 and 1."""

    function = F.hardsigmoid


class LeakyReLU(_Activation):
    """``x`` where positive, ``negative_slope · x`` elsewhere.

    >>> import wengert as wg
    >>> wg.nn.LeakyReLU(0.5)(wg.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    shown = ("negative_slope",)

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)


class ELU(_Activation):
    """``x`` where positive, ``alpha · (exp(x) - 1)`` elsewhere."""

    shown = ("alpha",)
    function = F.elu

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.alpha, self.inplace)


class CELU(ELU):
    """``x`` where positive, ``alpha · (exp(x / alpha) - 1)`` elsewhere."""

    function = F.celu


class Hardtanh(_Activation):
    """``x``, held between ``min_val`` and ``max_val``."""

    shown = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not min_val < max_val:
            raise ArgumentError(message("Hardtanh", "min_val must be less than max_val", f"{min_val} and {max_val}"))
        self.min_val, self.max_val = min_val, max_val

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)


class ReLU6(Hardtanh):
    """``x``, held between 0 and 6."""

    shown = ()

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)


class Threshold(_Activation):
    """``x`` where it is above ``threshold``, ``value`` elsewhere."""

    shown = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold, self.value = threshold, value

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)


class RReLU(_Activation):
    """`LeakyReLU` with slopes drawn uniformly while training, and their mean in evaluation mode."""

    shown = ("lower", "upper")

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.lower, self.upper = lower, upper

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class PReLU(Plain):
    """`LeakyReLU` with slopes that are trained: one, or one for each channel (dimension 1)."""

    shown = ("num_parameters",)
    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = check_size("PReLU", "num_parameters", num_parameters), init
        self.weight = Parameter(api.empty(self.num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all slopes to ``init``."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)


class Softplus(Plain):
    """``log(1 + exp(beta · x)) / beta``; the identity where ``beta · x`` is above ``threshold``."""

    shown = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)


class Softshrink(Module):
    """``x`` brought towards 0 by ``lambd``, and 0 between."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(Softshrink):
    """``x``, and 0 between -lambd and lambd."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)


class Softsign(Module):
    """``x / (1 + |x|)``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Tanhshrink(Module):
    """``x - tanh(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class LogSigmoid(Module):
    """``log(sigmoid(x))``, computed without overflow."""

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class GLU(Plain):
    """The first half along ``dim`` times the sigmoid of the second half."""

    shown = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: Tensor) -> Tensor:
        return input.tanh()


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    def forward(self, input: Tensor) -> Tensor:
        return input.sigmoid()


class GELU(Module):
    """``x · Φ(x)`` with the normal distribution function Φ, or its approximation by tanh.

    Args:
        approximate: ``"none"`` or ``"tanh"``.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class _AlongDim(Module):
    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """``exp(x) / Σ exp(x)`` along ``dim``, computed without overflow.

    >>> import wengert as wg
    >>> wg.nn.Softmax(dim=1)(wg.tensor([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class LogSoftmax(_AlongDim):
    """``log(softmax(x))`` along ``dim``, computed without overflow or cancellation."""

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)


class Softmin(_AlongDim):
    """`Softmax` of ``-x``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """`Softmax` over the channels of images, (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ShapeError(message("Softmax2d", "expected 3D or 4D input", f"shape {tuple(input.shape)}"))
        return F.softmax(input, -3)

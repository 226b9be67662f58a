"""Ways to fill a parameter before training; PyTorch's names and formulas.

Every function changes the tensor in place, records nothing, and returns it. ``generator`` draws the
random numbers from a `wengert.Generator` instead of the global one.

Sources: Glorot & Bengio 2010 (Xavier), He et al. 2015 (Kaiming), Saxe et al. 2014 (orthogonal).
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec

from .. import api, linalg
from ..config import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor

P = ParamSpec("P")
_SKIPPED: ContextVar[bool] = ContextVar("skipped", default=False)


@contextlib.contextmanager
def skipped() -> Iterator[None]:
    """A context in which the functions below leave their tensors as they are; behind `nn.utils.skip_init`."""
    token = _SKIPPED.set(True)
    try:
        yield
    finally:
        _SKIPPED.reset(token)


def _unless_skipped(fill: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[Concatenate[Tensor, P], Tensor]:
    @functools.wraps(fill)
    def filled(tensor: Tensor, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        return tensor if _SKIPPED.get() else fill(tensor, *args, **kwargs)

    return filled


_LINEAR = frozenset(
    [
        "linear",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "sigmoid",
    ]
)
_GAINS = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 3.0 / 4.0}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much to scale weights so that a layer with this activation keeps the variance of its input.

    >>> from wengert.nn import init
    >>> round(init.calculate_gain("leaky_relu", 0.2), 4)
    1.3868
    """
    if nonlinearity in _LINEAR:
        return 1.0
    if nonlinearity in _GAINS:
        return _GAINS[nonlinearity]
    if nonlinearity != "leaky_relu":
        known = ", ".join(sorted([*_LINEAR, *_GAINS, "leaky_relu"]))
        raise ArgumentError(
            message("calculate_gain", "unsupported nonlinearity", repr(nonlinearity), f"Known: {known}")
        )
    slope = 0.01 if param is None else param
    if isinstance(slope, bool) or not isinstance(slope, int | float):
        raise ArgumentError(message("calculate_gain", "negative_slope is not a number", repr(slope)))
    return math.sqrt(2.0 / (1.0 + slope**2))


@_unless_skipped
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from the uniform distribution over [a, b)."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


@_unless_skipped
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from the normal distribution."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


@_unless_skipped
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Fill from the normal distribution cut off outside [a, b] (values outside never occur)."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "trunc_normal_: mean is more than 2 std from [a, b]; the values may be distributed wrongly.",
            stacklevel=2,
        )

    def below(x: float) -> float:
        return (1.0 + math.erf((x - mean) / std / math.sqrt(2.0))) / 2.0

    with no_grad():
        # The inverse of the distribution function turns uniform numbers between the function's values
        # at a and b into normal numbers between a and b.
        tensor.uniform_(2 * below(a) - 1, 2 * below(b) - 1, generator=generator)
        tensor.erfinv_().mul_(std * math.sqrt(2.0)).add_(mean)
        return tensor.clamp_(a, b)


@_unless_skipped
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


@_unless_skipped
def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity (as far as it is square)."""
    if tensor.ndim != 2:
        raise ShapeError(
            message("eye_", "only tensors with 2 dimensions are supported", f"shape {tuple(tensor.shape)}")
        )
    with no_grad():
        return tensor.copy_(api.eye(*tensor.shape, dtype=tensor.dtype))


@_unless_skipped
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Make a convolution's weight pass its input on: ones in the middle of each channel's own window.

    Args:
        tensor: a weight (out, in, *window) with one to three sizes of the window.
        groups: groups of the convolution; each passes on its own channels.

    >>> import wengert as wg
    >>> x = wg.randn(1, 2, 5)
    >>> wg.equal(wg.nn.functional.conv1d(x, wg.nn.init.dirac_(wg.empty(2, 2, 3)), padding=1), x)
    True
    """
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        wanted = "the weight must have 3 to 5 dimensions, the first divisible by groups"
        raise ShapeError(message("dirac_", wanted, f"shape {tuple(tensor.shape)}, groups={groups}"))
    each = tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    with no_grad():
        tensor.fill_(0.0)
        for group in range(groups):
            for k in range(min(each, tensor.shape[1])):
                tensor[(group * each + k, k, *middle)] = 1.0
    return tensor


@_unless_skipped
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal values in a matrix, of which the fraction ``sparsity`` of each column is zero (rounded up).

    Source: Martens, "Deep learning via Hessian-free optimization", ICML 2010.

    >>> import wengert as wg
    >>> (wg.nn.init.sparse_(wg.empty(5, 3), 0.5) == 0).sum(0).tolist()
    [3, 3, 3]
    """
    if tensor.ndim != 2:
        raise ShapeError(message("sparse_", "only tensors with 2 dimensions are supported", str(tuple(tensor.shape))))
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with no_grad():
        tensor.normal_(0.0, std, generator=generator)
        for column in range(columns):
            tensor[api.randperm(rows, generator=generator)[:zeros], column] = 0.0
    return tensor


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs an output sees, and how many outputs an input reaches."""
    if tensor.ndim < 2:
        raise ShapeError(
            message(
                "init",
                "fan in and fan out can not be computed for tensor with fewer than 2 dimensions",
                f"shape {tuple(tensor.shape)}",
                "Use init.uniform_ or init.zeros_ for biases",
            )
        )
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Glorot's uniform distribution over ±gain·√(6 / (fan_in + fan_out))."""
    if 0 in tensor.shape:
        return tensor
    bound = gain * math.sqrt(6.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Glorot's normal distribution, std = gain·√(2 / (fan_in + fan_out))."""
    if 0 in tensor.shape:
        return tensor
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    fan = {"fan_in": fan_in, "fan_out": fan_out}.get(mode.lower())
    if fan is None:
        raise ArgumentError(message("kaiming", "mode not supported", repr(mode), "Use 'fan_in' or 'fan_out'"))
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """He's uniform distribution over ±gain·√(3 / fan); ``a`` is the leaky ReLU's slope."""
    if 0 in tensor.shape:
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """He's normal distribution, std = gain / √fan; ``a`` is the leaky ReLU's slope."""
    if 0 in tensor.shape:
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


@_unless_skipped
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A (semi-)orthogonal matrix times ``gain``; the dimensions after the first count as one.

    >>> import wengert as wg
    >>> w = wg.nn.init.orthogonal_(wg.empty(3, 5, dtype=wg.float64))
    >>> wg.allclose(w @ w.T, wg.eye(3, dtype=wg.float64))
    True
    """
    if tensor.ndim < 2:
        raise ShapeError(
            message(
                "orthogonal_",
                "only tensors with 2 or more dimensions are supported",
                f"shape {tuple(tensor.shape)}",
            )
        )
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with no_grad():
        draw = api.empty(rows, columns, dtype=tensor.dtype).normal_(0.0, 1.0, generator=generator)
        q, r = linalg.qr(draw.t() if rows < columns else draw)
        # QR alone is not uniform over the orthogonal matrices: fix the signs (Mezzadri 2007).
        q = q * api.sign(api.diagonal(r))
        return tensor.copy_((q.t() if rows < columns else q).reshape(tensor.shape)).mul_(gain)


def _old_name(fill: Any) -> Any:
    """The function under the name that it had before PyTorch 0.4."""

    @functools.wraps(fill)
    def filled(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"nn.init.{old} is now deprecated in favor of nn.init.{old}_.", category=FutureWarning, stacklevel=2
        )
        return fill(*args, **kwargs)

    old = filled.__name__ = filled.__qualname__ = fill.__name__.removesuffix("_")
    filled.__doc__ = f"Deprecated: the old name of `{fill.__name__}`."
    return filled


uniform, normal, constant, eye, dirac = map(_old_name, (uniform_, normal_, constant_, eye_, dirac_))
xavier_uniform, xavier_normal = _old_name(xavier_uniform_), _old_name(xavier_normal_)
kaiming_uniform, kaiming_normal = _old_name(kaiming_uniform_), _old_name(kaiming_normal_)
orthogonal, sparse = _old_name(orthogonal_), _old_name(sparse_)

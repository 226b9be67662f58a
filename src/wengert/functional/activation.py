"""Activations: formulas of ops. Derivatives at kinks are PyTorch's; docs/kinks.md has the table."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.alias import assign, check_writable
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from . import pointwise as pw
from . import random as rnd
from .dims import normal_dim
from .formula import formula
from .front import cast, expand_to
from .inplace import fit

_WHERE = OPS["where"]


# -- building blocks ---------------------------------------------------------------------------


def wide_formula(f: Callable[..., Any]) -> Callable[..., Any]:
    """A formula that computes float16 and bfloat16 in float32 and rounds once.

    It is drawn under the function's name without the leading underscore.
    """

    @functools.wraps(f)
    def body(*args: Any, **kwargs: Any) -> Any:
        half = next((a.aval.dtype for a in args if isinstance(a, Handle) and a.aval.dtype in dt.HALF_NP), None)
        if half is None:
            return f(*args, **kwargs)
        args = tuple(cast(a, dt.float32) if isinstance(a, Handle) and a.aval.dtype in dt.HALF_NP else a for a in args)
        return cast(f(*args, **kwargs), dt.of(half))

    body.__name__ = f.__name__.lstrip("_")
    return formula(body)


def floating(name: str, *xs: Any) -> None:
    """Raise unless all are tensors of real floating numbers."""
    for x in xs:
        if not isinstance(x, Handle) or x.aval.dtype not in dt.FLOATING_NP:
            seen = str(x.aval) if isinstance(x, Handle) else type(x).__name__
            raise DTypeError(message(name, "needs floating tensors", seen, "Convert with x.float()"))


def inexact(name: str, x: Any) -> Any:
    """The tensor with floating or complex numbers; integers in the default dtype."""
    if not isinstance(x, Handle):
        raise DTypeError(message(name, "needs a tensor", type(x).__name__, "Wrap it with wg.tensor(...)"))
    return x if x.aval.dtype in dt.INEXACT_NP else cast(x, dt.get_default_dtype())


def filled(x: Any, value: float) -> Any:
    """A constant like ``x``."""
    return OPS["fill"](x, value=value)


def pick(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, else ``y``; one of them may be a number."""
    if not isinstance(x, Handle):
        x = filled(y, x)
    elif not isinstance(y, Handle):
        y = filled(x, y)
    return _WHERE(condition, x, y)


def log1p_exp(x: Any) -> Any:
    """log(1 + exp(x)) without overflow. The choice of branch makes no kink."""
    positive = x > 0
    small = OPS["log1p"](OPS["exp"](pick(positive, -x, x)))
    return pick(positive, x, 0.0) + small


def finish(name: str, input: Any, out: Any, inplace: bool) -> Any:
    """The result, written into the input if asked."""
    if not inplace:
        return out
    check_writable(name, input)
    return assign(name, input, fit(name, input, out))


def in_place(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function ``f_``: ``f`` with ``inplace=True``."""

    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        return f(input, *args, **kwargs, inplace=True)

    call.__name__ = call.__qualname__ = f"{f.__name__}_"
    call.__doc__ = f"In-place `{f.__name__}`; returns the tensor itself."
    return call


# -- rectifiers and their relatives ----------------------------------------------------------------


def relu(input: Any, inplace: bool = False) -> Any:
    """``max(0, x)``; the derivative at 0 is 0.

    >>> import wengert as wg
    >>> wg.relu(wg.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    return finish("relu_", input, pw.relu(input), inplace)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """The input clipped to [min_val, max_val]; the derivative at both ends is 0."""
    if min_val > max_val:
        raise ArgumentError(message("hardtanh", "min_val must not exceed max_val", f"{min_val} > {max_val}"))
    return finish("hardtanh_", input, _hardtanh(input, min_val, max_val), inplace)


@wide_formula
def _hardtanh(x: Any, low: float, high: float) -> Any:
    return pick(x <= low, low, pick(x >= high, high, x))


def relu6(input: Any, inplace: bool = False) -> Any:
    """The input clipped to [0, 6]; the derivative at both ends is 0."""
    return finish("relu6", input, _hardtanh(input, 0.0, 6.0), inplace)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """The input where it is above ``threshold``, else ``value``."""
    return finish("threshold_", input, _threshold(input, threshold, value), inplace)


@wide_formula
def _threshold(x: Any, limit: float, value: float) -> Any:
    return pick(x <= limit, value, x)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """``x`` where positive, ``negative_slope * x`` elsewhere; the derivative at 0 is the slope.

    >>> import wengert as wg
    >>> wg.nn.functional.leaky_relu(wg.tensor([-1.0, 2.0]), 0.5)
    tensor([-0.5000,  2.0000])
    """
    floating("leaky_relu", input)
    return finish("leaky_relu_", input, _leaky_relu(input, negative_slope), inplace)


@wide_formula
def _leaky_relu(x: Any, slope: float) -> Any:
    return _WHERE(x > 0, x, x * slope)


def prelu(input: Any, weight: Any) -> Any:
    """`leaky_relu` with a learned slope: one number, or one for each channel (dimension 1).

    Raises:
        ShapeError: the number of weights is neither 1 nor the number of channels.
    """
    floating("prelu", input, weight)
    shape, size = input.aval.shape, weight.aval.size
    channels = shape[1] if len(shape) > 1 else 1
    if len(weight.aval.shape) > 1 or (size != 1 and size != channels):
        raise ShapeError(
            message(
                "prelu",
                f"needs 1 weight or {channels}, one for each channel",
                f"{weight.aval} for {input.aval}",
            )
        )
    if size != 1:
        weight = apply(OPS["reshape"], (weight,), {"shape": (size, *[1] * (len(shape) - 2))})
    elif weight.aval.shape:
        weight = apply(OPS["reshape"], (weight,), {"shape": ()})
    return _prelu(input, weight)


@wide_formula
def _prelu(x: Any, weight: Any) -> Any:
    # What is not chosen is 0, for in the gradient of the weight an infinity times 0 would be NaN.
    return _WHERE(x > 0, x, pick(x > 0, 0.0, x) * expand_to(weight, x.aval.shape))


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Any:
    """`leaky_relu` with slopes drawn from [lower, upper) while training, else their mean."""
    floating("rrelu", input)
    if lower > upper:
        raise ArgumentError(message("rrelu", "lower must not exceed upper", f"{lower} > {upper}"))
    if not training:
        return finish("rrelu_", input, _leaky_relu(input, 0.5 * (lower + upper)), inplace)
    slope = rnd.rand_like(input) * (upper - lower) + lower
    return finish("rrelu_", input, _rrelu(input, slope), inplace)


@wide_formula
def _rrelu(x: Any, slope: Any) -> Any:
    return _WHERE(x > 0, x, x * slope)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere; the derivative at 0 is ``alpha``.

    >>> import wengert as wg
    >>> wg.nn.functional.elu(wg.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    floating("elu", input)
    return finish("elu_", input, _elu(input, alpha, 1.0, 1.0), inplace)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """``x`` where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere."""
    floating("celu", input)
    alpha = float(alpha)
    if alpha == 0:
        raise ArgumentError(message("celu", "alpha must not be 0"))
    return finish("celu_", input, _elu(input, alpha, 1.0, 1.0 / alpha), inplace)


def selu(input: Any, inplace: bool = False) -> Any:
    """`elu` with the scales that keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    floating("selu", input)
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return finish("selu_", input, _elu(input, alpha, scale, 1.0), inplace)


@wide_formula
def _elu(x: Any, alpha: float, scale: float, rate: float) -> Any:
    positive = x > 0
    negative = pick(positive, 0.0, x)  # so that exp cannot overflow where it is not taken
    negative = OPS["expm1"](negative if rate == 1.0 else negative * rate) * (alpha * scale)
    return _WHERE(positive, x if scale == 1.0 else x * scale, negative)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """``relu6(x + 3) / 6``; the derivative at -3 and 3 is 0."""
    floating("hardsigmoid", input)
    return finish("hardsigmoid", input, _hardsigmoid(input), inplace)


@wide_formula
def _hardsigmoid(x: Any) -> Any:
    return pick(x <= -3, 0.0, pick(x >= 3, 1.0, (x + 3) / 6))


def hardswish(input: Any, inplace: bool = False) -> Any:
    """``x * relu6(x + 3) / 6``; the derivative at -3 is 0, at 3 it is 1."""
    floating("hardswish", input)
    return finish("hardswish", input, _hardswish(input), inplace)


@wide_formula
def _hardswish(x: Any) -> Any:
    inner = pick(abs(x) >= 3, 0.0, x)  # no infinity, whose derivative would be NaN
    return pick(x <= -3, 0.0, _WHERE(x >= 3, x, inner * (inner + 3) / 6))


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """The input where its size exceeds ``lambd``, else 0."""
    floating("hardshrink", input)
    return _hardshrink(input, lambd)


@wide_formula
def _hardshrink(x: Any, lambd: float) -> Any:
    return pick(OPS["logical_and"](x >= -lambd, x <= lambd), 0.0, x)


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """The input brought ``lambd`` nearer to 0, and 0 between -lambd and lambd."""
    floating("softshrink", input)
    if lambd < 0:
        raise ArgumentError(message("softshrink", "lambd must not be negative", str(lambd)))
    return _softshrink(input, lambd)


@wide_formula
def _softshrink(x: Any, lambd: float) -> Any:
    inside = OPS["logical_and"](x >= -lambd, x <= lambd)
    return pick(inside, 0.0, _WHERE(x > 0, x - lambd, x + lambd))


# -- smooth ones -----------------------------------------------------------------------------------


def tanh(input: Any) -> Any:
    """Hyperbolic tangent."""
    return pw.tanh(input)


def sigmoid(input: Any) -> Any:
    """``1 / (1 + exp(-x))``."""
    return pw.sigmoid(input)


def gelu(input: Any, *, approximate: str = "none") -> Any:
    """``x * ndtr(x)``, with the normal distribution function (Hendrycks and Gimpel 2016).

    ``approximate="tanh"``: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).

    >>> import wengert as wg
    >>> wg.nn.functional.gelu(wg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    """
    floating("gelu", input)
    if approximate not in ("none", "tanh"):
        raise ArgumentError(message("gelu", "no such approximation", repr(approximate), "Use 'none' or 'tanh'"))
    return _gelu(input) if approximate == "none" else _gelu_tanh(input)


@wide_formula
def _gelu(x: Any) -> Any:
    return OPS["gelu"](x)


@wide_formula
def _gelu_tanh(x: Any) -> Any:
    return OPS["gelu_tanh"](x)


def silu(input: Any, inplace: bool = False) -> Any:
    """``x * sigmoid(x)``, also called swish.

    >>> import wengert as wg
    >>> wg.nn.functional.silu(wg.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7311])
    """
    floating("silu", input)
    return finish("silu", input, _silu(input), inplace)


@wide_formula
def _silu(x: Any) -> Any:
    return OPS["silu"](x)


def mish(input: Any, inplace: bool = False) -> Any:
    """``x * tanh(softplus(x))`` (Misra 2019)."""
    floating("mish", input)
    return finish("mish", input, _mish(input), inplace)


@wide_formula
def _mish(x: Any) -> Any:
    return x * OPS["tanh"](log1p_exp(x))


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta * x)) / beta``; just ``x`` where ``beta * x`` exceeds ``threshold``.

    >>> import wengert as wg
    >>> wg.nn.functional.softplus(wg.tensor([0.0, 30.0]))
    tensor([ 0.6931, 30.0000])
    """
    floating("softplus", input)
    return _softplus(input, float(beta), float(threshold))


@wide_formula
def _softplus(x: Any, beta: float, threshold: float) -> Any:
    z = x if beta == 1 else x * beta
    soft = log1p_exp(z)
    return _WHERE(z > threshold, x, soft if beta == 1 else soft / beta)


def logsigmoid(input: Any) -> Any:
    """``log(sigmoid(x))`` without overflow or cancellation."""
    floating("logsigmoid", input)
    return _logsigmoid(input)


@wide_formula
def _logsigmoid(x: Any) -> Any:
    return -log1p_exp(-x)


def softsign(input: Any) -> Any:
    """``x / (1 + |x|)``; integers become floating, complex numbers stay complex."""
    return _softsign(inexact("softsign", input))


@wide_formula
def _softsign(x: Any) -> Any:
    size = OPS["abs"](x) + 1.0
    return x / (cast(size, dt.of(x.aval.dtype)) if x.aval.dtype in dt.COMPLEX_NP else size)


def tanhshrink(input: Any) -> Any:
    """``x - tanh(x)``; integers become floating, complex numbers stay complex."""
    return _tanhshrink(inexact("tanhshrink", input))


@wide_formula
def _tanhshrink(x: Any) -> Any:
    return x - OPS["tanh"](x)


def glu(input: Any, dim: int = -1) -> Any:
    """The first half along ``dim`` times the sigmoid of the second (Dauphin et al. 2017).

    Raises:
        ShapeError: the size along ``dim`` is odd.
    """
    floating("glu", input)
    shape = input.aval.shape
    if not shape:
        raise ShapeError(message("glu", "needs a tensor with dimensions", str(input.aval)))
    axis = normal_dim("glu", dim, len(shape))
    if shape[axis] % 2:
        raise ShapeError(message("glu", f"the size along dimension {axis} must be even", str(input.aval)))
    return _glu(input, axis)


@wide_formula
def _glu(x: Any, axis: int) -> Any:
    shape = x.aval.shape
    half = shape[axis] // 2
    parts = [
        tuple((start, start + half, 1) if i == axis else (0, n, 1) for i, n in enumerate(shape)) for start in (0, half)
    ]
    return OPS["slice"](x, spec=parts[0]) * OPS["sigmoid"](OPS["slice"](x, spec=parts[1]))


relu_, hardtanh_, threshold_, leaky_relu_ = map(in_place, (relu, hardtanh, threshold, leaky_relu))
rrelu_, elu_, celu_, selu_ = map(in_place, (rrelu, elu, celu, selu))

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "hardtanh_", "leaky_relu", "leaky_relu_", "logsigmoid", "mish", "prelu", "relu", "relu6", "relu_",
    "rrelu", "rrelu_", "selu", "selu_", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh",
    "tanhshrink", "threshold", "threshold_",
]  # fmt: skip

# What PyTorch offers as torch.name too, and which of them are methods of Tensor.
TENSOR_LEVEL = (
    "celu", "celu_", "hardshrink", "prelu", "relu", "relu_", "rrelu", "rrelu_", "selu", "selu_",
    "threshold", "threshold_",
)  # fmt: skip
TENSOR_METHODS = ("hardshrink", "prelu", "relu", "relu_")

"""Convolutions, their transposes, and what is made of sliding windows: unfold, fold; bilinear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from ..ops.conv import mirror, swap_channels
from ..ops.pool import window_counts

_CONV, _RESHAPE, _PERMUTE = OPS["conv"], OPS["reshape"], OPS["permute"]
_WINDOWS, _UNWINDOWS, _PAD, _SLICE = OPS["windows"], OPS["unwindows"], OPS["pad"], OPS["slice"]


# -- shared by the families of nn.functional ---------------------------------------------------


def reshape(x: Any, shape: Sequence[int]) -> Any:
    """Reshape a handle to an exact shape."""
    shape = tuple(shape)
    return x if x.aval.shape == shape else apply(_RESHAPE, (x,), {"shape": shape})


def permute(x: Any, order: Sequence[int]) -> Any:
    """Permute the axes of a handle."""
    return apply(_PERMUTE, (x,), {"order": tuple(order)})


def pad_last(x: Any, pads: Sequence[tuple[int, int]], value: float = 0) -> Any:
    """Put ``value`` around the last axes."""
    if not any(a or b for a, b in pads):
        return x
    full = ((0, 0),) * (len(x.aval.shape) - len(pads)) + tuple(pads)
    return apply(_PAD, (x,), {"pads": full, "value": value})


def cut_last(x: Any, starts: Sequence[int], sizes: Sequence[int]) -> Any:
    """Slice the last axes."""
    shape = x.aval.shape
    lead = len(shape) - len(sizes)
    if shape[lead:] == tuple(sizes):
        return x
    spec = tuple((0, n, 1) for n in shape[:lead]) + tuple((a, a + n, 1) for a, n in zip(starts, sizes))
    return apply(_SLICE, (x,), {"spec": spec})


def ntuple(name: str, what: str, value: Any, rank: int, least: int = 0) -> tuple[int, ...]:
    """An int, or a sequence of ``rank`` (or one) ints, as a tuple of ``rank`` ints."""
    numbers = (value,) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(numbers) == 1:
        numbers *= rank
    if len(numbers) != rank or not all(isinstance(n, (int, np.integer)) for n in numbers):
        raise ArgumentError(message(name, f"{what} must be an int or {rank} ints", repr(value)))
    if min(numbers) < least:
        raise ArgumentError(message(name, f"{what} must be at least {least}", repr(value)))
    return tuple(int(n) for n in numbers)


def batched(name: str, x: Any, rank: int) -> tuple[Any, bool]:
    """The input as (N, C, *spatial), and whether it came without N."""
    if not isinstance(x, Handle):
        raise DTypeError(message(name, "needs a tensor", type(x).__name__, "Wrap it with wg.tensor(...)"))
    shape = x.aval.shape
    if len(shape) == rank + 2:
        return x, False
    if len(shape) != rank + 1:
        axes = ", ".join("DHW"[3 - rank :])
        cure = f"Expected {rank + 2} dimensions (N, C, {axes}), or {rank + 1} without a batch"
        raise ShapeError(message(name, "wrong number of dimensions", str(x.aval), cure))
    return reshape(x, (1, *shape)), True


def unbatched(x: Any, single: bool) -> Any:
    """Take the batch axis off again."""
    return reshape(x, x.aval.shape[1:]) if single else x


# -- convolution ---------------------------------------------------------------------------------


def _check_operands(name: str, x: Any, weight: Any, bias: Any, channels: int, outs: int) -> None:
    if weight.aval.dtype != x.aval.dtype or (bias is not None and bias.aval.dtype != x.aval.dtype):
        seen = describe(t.aval for t in (x, weight, bias) if t is not None)
        raise DTypeError(message(name, "input, weight and bias must have one dtype", seen, "Convert with x.to(dtype)"))
    if x.aval.shape[1] != channels:
        raise ShapeError(
            message(name, "the weight does not fit the input", describe((x.aval, weight.aval)),
                    f"The weight expects {channels} channels, the input has {x.aval.shape[1]}")
        )  # fmt: skip
    if bias is not None and bias.aval.shape != (outs,):
        raise ShapeError(message(name, "the bias does not fit", str(bias.aval), f"It needs {outs} elements"))


def _add_bias(x: Any, bias: Any) -> Any:
    if bias is None:
        return x
    return x + reshape(bias, (bias.aval.shape[0], *[1] * (len(x.aval.shape) - 2)))


def _weight_rank(name: str, weight: Any, rank: int) -> None:
    if len(weight.aval.shape) != rank + 2:
        raise ShapeError(message(name, f"the weight must have {rank + 2} dimensions", str(weight.aval)))


def _pads(name: str, padding: Any, kernel: Sequence[int], stride: Any, dilation: Any) -> tuple[tuple[int, int], ...]:
    """(low, high) zeros for each axis; 'same' puts the odd one at the end, as PyTorch does."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if max(stride) > 1:
            raise ArgumentError(message(name, "padding='same' needs stride 1", f"stride={stride}"))
        totals = [d * (k - 1) for d, k in zip(dilation, kernel)]
        return tuple((t // 2, t - t // 2) for t in totals)
    if isinstance(padding, str):
        raise ArgumentError(message(name, "unknown padding", repr(padding), "Use 'same', 'valid' or numbers"))
    return tuple((p, p) for p in ntuple(name, "padding", padding, len(kernel)))


def _conv(rank: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    name = f"conv{rank}d"
    x, single = batched(name, x, rank)
    _weight_rank(name, weight, rank)
    stride, dilation = ntuple(name, "stride", stride, rank, 1), ntuple(name, "dilation", dilation, rank, 1)
    outs, inner, *kernel = weight.aval.shape
    if groups < 1 or outs % groups:
        raise ArgumentError(
            message(
                name,
                "the output channels must be a multiple of groups",
                f"{weight.aval} with groups={groups}",
            )
        )
    _check_operands(name, x, weight, bias, inner * groups, outs)
    attrs = {
        "stride": stride, "padding": _pads(name, padding, kernel, stride, dilation), "dilation": dilation,
        "lhs_dilation": (1,) * rank, "groups": int(groups),
    }  # fmt: skip
    return unbatched(_add_bias(apply(_CONV, (x, weight), attrs), bias), single)


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlate ``input`` (N, C, L) or (C, L) with ``weight`` (D, C / groups, K): (N, D, L').

    ``L' = (L + 2·padding - dilation·(K - 1) - 1) // stride + 1``. ``padding``: zeros on both sides, or
    ``'valid'`` (none), or ``'same'`` (L' = L, stride 1). ``groups`` splits the channels into sets that do
    not mix. Works for floating, complex and integer dtypes; input, weight and bias must agree.

    Raises:
        ShapeError: the channels do not fit, or the kernel is larger than the padded input.
        DTypeError: the dtypes differ.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.conv1d(wg.tensor([[[1.0, 2.0, 3.0, 4.0]]]), wg.tensor([[[1.0, -1.0]]])).tolist()
    [[[-1.0, -1.0, -1.0]]]
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlate ``input`` (N, C, H, W) or (C, H, W) with ``weight`` (D, C / groups, KH, KW).

    Arguments, sizes and errors are those of `conv1d`, with one number or one a dimension.
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlate ``input`` (N, C, T, H, W) or (C, T, H, W) with ``weight`` (D, C / groups, KT, KH, KW).

    Arguments, sizes and errors are those of `conv1d`, with one number or one a dimension.
    """
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


def _conv_transpose(
    rank: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Any:
    name = f"conv_transpose{rank}d"
    x, single = batched(name, x, rank)
    _weight_rank(name, weight, rank)
    stride, dilation = ntuple(name, "stride", stride, rank, 1), ntuple(name, "dilation", dilation, rank, 1)
    padding = ntuple(name, "padding", padding, rank)
    extra = ntuple(name, "output_padding", output_padding, rank)
    ins, outs, *kernel = weight.aval.shape
    if groups < 1 or ins % groups:
        raise ArgumentError(
            message(name, "the input channels must be a multiple of groups", f"{weight.aval} with groups={groups}")
        )
    _check_operands(name, x, weight, bias, ins, outs * groups)
    for e, s, d in zip(extra, stride, dilation):
        if e >= max(s, d):
            raise ArgumentError(
                message(name, "output_padding must be smaller than stride or dilation",
                        f"output_padding={extra}, stride={stride}, dilation={dilation}")
            )  # fmt: skip
    margins = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding)]
    attrs = {
        "stride": (1,) * rank, "padding": tuple((m, m + e) for m, e in zip(margins, extra)),
        "dilation": dilation, "lhs_dilation": stride, "groups": int(groups),
    }  # fmt: skip
    out = apply(_CONV, (x, mirror(swap_channels(weight, int(groups)))), attrs)
    return unbatched(_add_bias(out, bias), single)


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The transpose of `conv1d` in its input: (N, C, L) and ``weight`` (C, D / groups, K) to (N, D, L').

    ``L' = (L - 1)·stride - 2·padding + dilation·(K - 1) + output_padding + 1``. ``output_padding`` picks
    among the lengths that a convolution with this stride takes to L.

    Raises:
        ArgumentError: ``output_padding`` is not smaller than stride or dilation.
    """
    return _conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The transpose of `conv2d` in its input; arguments as in `conv_transpose1d`."""
    return _conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The transpose of `conv3d` in its input; arguments as in `conv_transpose1d`."""
    return _conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


# -- windows as columns ----------------------------------------------------------------------------


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Every window of ``input`` (N, C, H, W) or (C, H, W) as a column: (N, C·KH·KW, number of windows).

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.unfold(wg.tensor([[[1.0, 2.0, 3.0]]]), (1, 2)).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    x, single = batched("unfold", input, 2)
    kernel, stride = (
        ntuple("unfold", "kernel_size", kernel_size, 2, 1),
        ntuple("unfold", "stride", stride, 2, 1),
    )
    dilation = ntuple("unfold", "dilation", dilation, 2, 1)
    x = pad_last(x, [(p, p) for p in ntuple("unfold", "padding", padding, 2)])
    out = apply(_WINDOWS, (x,), {"kernel": kernel, "stride": stride, "dilation": dilation})
    n, c, kh, kw, oh, ow = out.aval.shape
    return unbatched(reshape(out, (n, c * kh * kw, oh * ow)), single)


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Add columns of windows up into an image of ``output_size``: the transpose of `unfold`.

    ``input``: (N, C·KH·KW, number of windows), or without N.

    Raises:
        ShapeError: the columns do not fit the kernel, or their number not the windows of the image.
    """
    shape = input.aval.shape
    if len(shape) not in (2, 3):
        raise ShapeError(message("fold", "needs 3 dimensions (N, C·K, L), or 2 without a batch", str(input.aval)))
    x = reshape(input, (1, *shape)) if len(shape) == 2 else input
    sizes, kernel = (
        ntuple("fold", "output_size", output_size, 2),
        ntuple("fold", "kernel_size", kernel_size, 2, 1),
    )
    stride, dilation = ntuple("fold", "stride", stride, 2, 1), ntuple("fold", "dilation", dilation, 2, 1)
    padding = ntuple("fold", "padding", padding, 2)
    padded = tuple(n + 2 * p for n, p in zip(sizes, padding))
    counts = window_counts(padded, kernel, stride, dilation)
    n, rows, columns = x.aval.shape
    if rows % math.prod(kernel) or columns != math.prod(counts):
        raise ShapeError(
            message("fold", "the columns do not fit",
                    f"{input.aval}, output_size={sizes}, kernel_size={kernel}",
                    f"Expected a multiple of {math.prod(kernel)} rows and {math.prod(counts)} columns")
        )  # fmt: skip
    x = reshape(x, (n, rows // math.prod(kernel), *kernel, *counts))
    out = apply(_UNWINDOWS, (x,), {"kernel": kernel, "stride": stride, "dilation": dilation, "sizes": padded})
    return unbatched(cut_last(out, padding, sizes), len(shape) == 2)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """x1ᵀ W[o] x2 + b[o] for inputs (*, I), (*, J), ``weight`` (O, I, J), ``bias`` (O): (*, O)."""
    lead, outs = input1.aval.shape[:-1], weight.aval.shape[0]
    fits = len(weight.aval.shape) == 3 and input2.aval.shape[:-1] == lead
    if not fits or weight.aval.shape[1:] != (input1.aval.shape[-1], input2.aval.shape[-1]):
        raise ShapeError(
            message("bilinear", "inputs (*, I), (*, J) and a weight (O, I, J) are needed",
                    describe(t.aval for t in (input1, input2, weight)))
        )  # fmt: skip
    _, i, j = weight.aval.shape
    n = math.prod(lead)
    half = apply(OPS["matmul"], (reshape(input1, (n, i)), reshape(permute(weight, (1, 0, 2)), (i, outs * j))))
    out = apply(OPS["matmul"], (reshape(half, (n, outs, j)), reshape(input2, (n, j, 1))))
    out = reshape(out, (*lead, outs))
    return out if bias is None else out + bias


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """`conv1d` with the time first: ``input`` (T, N, C) and ``weight`` (K, C, D) give (T + 2·pad - K + 1, N, D).

    >>> import wengert as wg
    >>> wg.nn.functional.conv_tbc(wg.ones(4, 1, 2), wg.ones(3, 2, 1), wg.zeros(1)).flatten().tolist()
    [6.0, 6.0]
    """
    for name, x in (("input", input), ("weight", weight)):
        if len(x.aval.shape) != 3:
            raise ShapeError(message("conv_tbc", f"the {name} must have 3 dimensions", str(x.aval)))
    y = conv1d(permute(input, (1, 2, 0)), permute(weight, (2, 1, 0)), bias, padding=pad)
    return permute(y, (2, 0, 1))


__all__ = [
    "bilinear", "conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "fold", "unfold",
]  # fmt: skip

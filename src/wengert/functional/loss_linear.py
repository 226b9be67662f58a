"""The cross-entropy of a linear layer's output, whole or in pieces of which no more than one is in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from .. import dtypes as dt
from ..errors import ArgumentError, ShapeError, message
from .blas import linear
from .joining import cat
from .loss_classes import cross_entropy
from .loss_parts import chosen_reduction
from .pointwise import where
from .shape import reshape

_POLICIES = ("auto", "accurate", "balanced", "compact")


@dataclass
class LinearCrossEntropyOptions:
    """How `nn.functional.linear_cross_entropy` cuts a batch in pieces, so that logits never exist all at once.

    Gradients compute the pieces again. Derivatives of every mode and order are as without options.

    Attributes:
        allow_retain_graph: no effect; ``backward`` may always be called again.
        batch_chunk_size: rows a piece.
        chunking_method: ``'aspect_ratio'`` makes a piece's logits about as large as the whole input,
            ``'aspect_ratio:N'`` N times smaller, ``'auto'`` 2 times, unless ``batch_chunk_size`` is given.
        acc_policy: ``'accurate'`` brings input and weight to ``acc_dtype`` before their product, the others
            (which differ in PyTorch) only the logits.
        acc_dtype: the dtype of the sums; by default, and with ``acc_policy='auto'``, float32 for float16 and
            bfloat16.

    Raises:
        ArgumentError: (a ValueError) a value is none of these.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: Literal["accurate", "balanced", "compact", "auto"] = "auto"
    acc_dtype: Any = None

    def __post_init__(self) -> None:
        name = "LinearCrossEntropyOptions"
        if self.acc_policy not in _POLICIES:
            raise ArgumentError(message(name, "invalid acc_policy", repr(self.acc_policy), f"One of {_POLICIES}"))
        method, _, parts = str(self.chunking_method or "auto").partition(":")
        if method not in ("auto", "aspect_ratio") or (parts and not (parts.isdigit() and int(parts) > 0)):
            cure = "Use 'auto', 'aspect_ratio', 'aspect_ratio:N' or None"
            raise ArgumentError(message(name, "invalid chunking_method", repr(self.chunking_method), cure))
        if self.batch_chunk_size is not None and self.batch_chunk_size < 1:
            seen = repr(self.batch_chunk_size)
            raise ArgumentError(message(name, "batch_chunk_size must be a positive int or None", seen))
        if self.acc_dtype is not None and self.acc_dtype not in (dt.float16, dt.bfloat16, dt.float32, dt.float64):
            raise ArgumentError(message(name, "acc_dtype must be a floating dtype or None", repr(self.acc_dtype)))

    def rows(self, batch: int, features: int, classes: int) -> int:
        """How many rows a piece has."""
        method = self.chunking_method
        if method is None or (method == "auto" and self.batch_chunk_size is not None):
            return max(1, min(batch, self.batch_chunk_size or batch))
        parts = 2 if method == "auto" else int(method.partition(":")[2] or 1)
        wanted = math.ceil(batch / max(1, math.ceil(classes / max(1, features))))
        rows = max(1, min((1 << max(0, wanted - 1).bit_length()) // parts, batch))
        if self.batch_chunk_size not in (None, rows):
            seen = f"{self.batch_chunk_size} and {method!r}, which gives {rows}"
            cure = "Pass only one of batch_chunk_size and chunking_method"
            raise ArgumentError(message("LinearCrossEntropyOptions", "two sizes of pieces", seen, cure))
        return rows

    def sums(self, dtype: Any) -> Any:
        """The dtype of the sums for inputs of a dtype."""
        if self.acc_dtype is not None:
            return self.acc_dtype
        return dt.float32 if self.acc_policy == "auto" and dtype in (dt.float16, dt.bfloat16) else dtype


def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Any:
    """`cross_entropy` of ``linear(input, linear_weight, linear_bias)``.

    Args:
        input: (in_features) or (N, in_features).
        linear_weight: (C, in_features), or (C, d₁, …, in_features) for logits (N, C, d₁, …).
        target: classes (N, d₁, …), or probabilities (N, C, d₁, …).
        linear_bias: (C, d₁, …).
        weight: one number a class (C).
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        ignore_index: a class that counts as none, by default -100; not with probabilities.
        label_smoothing: what part of the target is the uniform distribution.
        options: cut the batch in pieces, so that the logits are never in memory all at once.

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: an argument has a value that it cannot have.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> x, w = wg.tensor([[1.0, 0.0], [0.0, 2.0]]), wg.eye(2)
    >>> F.linear_cross_entropy(x, w, wg.tensor([0, 1]), reduction="none")
    tensor([0.3133, 0.1269])
    """
    outputs = _checked(input, linear_weight, linear_bias)
    chosen_reduction("linear_cross_entropy", reduction)
    logits_shape = (*input.shape[:-1], *outputs)
    probable = tuple(target.shape) == logits_shape
    if probable and ignore_index is not None:
        wanted = "ignore_index cannot be specified when the target contains probabilities"
        raise ArgumentError(message("linear_cross_entropy", wanted, str(ignore_index)))
    ignored = -100 if ignore_index is None else ignore_index
    flat = reshape(linear_weight, (math.prod(outputs), linear_weight.shape[-1]))
    bias = None if linear_bias is None else reshape(linear_bias, (math.prod(outputs),))

    def piece(x: Any, w: Any, b: Any, y: Any, kind: Any, how: str, accurate: bool = False) -> Any:
        if accurate:
            x, w, b = (None if t is None else t.to(kind) for t in (x, w, b))
        logits = reshape(linear(x, w, b), (*x.shape[:-1], *outputs)).to(kind)
        y, own = (y.to(kind) if probable else y), (None if weight is None else weight.to(kind))
        return cross_entropy(logits, y, own, ignore_index=ignored, reduction=how, label_smoothing=label_smoothing)

    if options is None or input.ndim == 1:
        return piece(input, flat, bias, target, input.dtype, reduction)
    _check_rows(input, target)
    kind, size = options.sums(input.dtype), options.rows(input.shape[0], *reversed(flat.shape))
    how = "none" if reduction == "none" else "sum"
    from ..transform.checkpoint import checkpoint

    found = [
        checkpoint(
            piece, input[a : a + size], flat, bias, target[a : a + size], kind, how, options.acc_policy == "accurate"
        )
        for a in range(0, max(1, input.shape[0]), size)
    ]
    if reduction == "none":
        return cat(found).to(input.dtype)
    total: Any = sum(found[1:], found[0])
    if reduction == "mean":
        total = total / (target.numel() / outputs[0] if probable else _counted(target, weight, ignored).to(kind))
    return total.to(input.dtype)


def _checked(input: Any, linear_weight: Any, linear_bias: Any) -> tuple[int, ...]:
    """The sizes (C, d₁, …) of a row's logits."""
    name, shape = "linear_cross_entropy", tuple(linear_weight.shape)
    if input.ndim not in (1, 2):
        raise ShapeError(message(name, "the input must have 1 or 2 dimensions", f"shape {tuple(input.shape)}"))
    if len(shape) < 2:
        raise ShapeError(message(name, "linear_weight must have at least 2 dimensions", f"shape {shape}"))
    if input.shape[-1] != shape[-1]:
        seen = f"{input.shape[-1]} and {shape[-1]}"
        raise ShapeError(message(name, "input and linear_weight must have equally many in_features", seen))
    if linear_bias is not None and tuple(linear_bias.shape) != shape[:-1]:
        raise ShapeError(message(name, f"linear_bias must have the shape {shape[:-1]}", f"{tuple(linear_bias.shape)}"))
    if len(shape) > 2 and input.ndim == 1:
        raise ShapeError(message(name, "a weight (C, d₁, …, in_features) needs an input (N, in_features)", f"{shape}"))
    return shape[:-1]


def _check_rows(input: Any, target: Any) -> None:
    if target.ndim == 0 or target.shape[0] != input.shape[0]:
        seen = f"{tuple(input.shape)} and {tuple(target.shape)}"
        raise ShapeError(message("linear_cross_entropy", "input and target must have equally many rows", seen))


def _counted(target: Any, weight: Any, ignored: int) -> Any:
    """The sum of the weights of all targets that count: what a mean is divided by."""
    counts = target != ignored
    if weight is None:
        return counts.sum()
    return (weight[where(counts, target, 0)] * counts).sum()

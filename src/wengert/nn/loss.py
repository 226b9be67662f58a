"""Losses. Each calls the function of ``nn.functional`` with the arguments that it was built with."""

from __future__ import annotations

import warnings

from ..errors import ArgumentError, message
from ..tensor import Tensor
from . import functional as F
from .module import Module

_REDUCTIONS = ("none", "mean", "sum")


class _Loss(Module):
    """``reduction``: ``"mean"`` over all elements, ``"sum"``, or ``"none"``."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            reduction = _old_reduction(size_average, reduce)
        if reduction not in _REDUCTIONS:
            raise ArgumentError(
                message(type(self).__name__, "not a reduction", repr(reduction), "Use 'none', 'mean' or 'sum'")
            )
        self.reduction = reduction


def _old_reduction(size_average: bool | None, reduce: bool | None) -> str:
    """What the two switches of old PyTorch programs mean."""
    reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(f"size_average and reduce are deprecated, use reduction='{reduction}' instead.", stacklevel=4)
    return reduction


class _WeightedLoss(_Loss):
    """A loss with a weight for each class, which belongs to the state of the module."""

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class MSELoss(_Loss):
    """The squared difference.

    >>> import wengert as wg
    >>> wg.nn.MSELoss()(wg.tensor([1.0, 2.0]), wg.tensor([0.0, 0.0])).item()
    2.5
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """The absolute difference."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class NLLLoss(_WeightedLoss):
    """Minus the log-probability of the target class; the input holds log-probabilities.

    Shape:
        input (N, C) or (N, C, *), target (N) or (N, *) with class numbers.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(_WeightedLoss):
    """Minus the log-probability of the target class; the input holds logits.

    Shape:
        input (C), (N, C) or (N, C, *); target the same without C, with class numbers, or with the
        input's shape and probabilities.

    >>> import wengert as wg
    >>> logits = wg.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> round(wg.nn.CrossEntropyLoss()(logits, wg.tensor([0, 1])).item(), 4)
    0.41
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ArgumentError(
                message("CrossEntropyLoss", "label_smoothing must be between 0 and 1", str(label_smoothing))
            )
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class BCELoss(_WeightedLoss):
    """Cross-entropy of probabilities between 0 and 1, element by element."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """`BCELoss` of ``sigmoid(input)``, computed without overflow or cancellation.

    Args:
        weight: factor of each element, broadcast.
        pos_weight: factor of the positive part, one for each class.
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, weight=self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )

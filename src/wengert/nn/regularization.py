"""Against overfitting: penalties, stochastic depth, mixup and CutMix, focal loss, an average of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import api
from ..config import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from . import functional as F
from .module import Module

# --- penalties -------------------------------------------------------------------------------------------


def l1_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of all absolute values, which drives weights to zero (the lasso); add λ times it to the loss.

    Source: Tibshirani, "Regression shrinkage and selection via the lasso", J. R. Stat. Soc. B 58, 1996.

    >>> import wengert as wg
    >>> wg.nn.l1_penalty([wg.tensor([1.0, -2.0]), wg.tensor([[3.0]])]).item()
    6.0
    """
    total: Any = sum((p.abs().sum() for p in parameters), api.zeros(()))
    return total


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of all squares, which keeps weights small (ridge regression, weight decay); add λ times it to the loss.

    ``SGD(..., weight_decay=2 * λ)`` does the same to all parameters of a group, without building a graph.

    Source: Hoerl and Kennard, "Ridge regression", Technometrics 12, 1970.

    >>> import wengert as wg
    >>> net = wg.nn.Linear(3, 2)
    >>> loss = net(wg.ones(3)).sum() + 0.01 * wg.nn.l2_penalty(p for p in net.parameters() if p.ndim > 1)
    """
    total: Any = sum(((p * p).sum() for p in parameters), api.zeros(()))
    return total


# --- stochastic depth ----------------------------------------------------------------------------------


def stochastic_depth(input: Tensor, p: float, mode: str = "row", training: bool = True) -> Tensor:
    """Zeroes the whole input ("batch") or whole samples ("row") with probability p, scales the rest by 1/(1 - p).

    Put it on the branch of a residual block, so that some samples skip the block while training.

    Source: Huang et al., "Deep networks with stochastic depth", ECCV 2016; arguments as in torchvision.

    >>> import wengert as wg
    >>> out = wg.nn.stochastic_depth(wg.ones(100, 3), 0.5)
    >>> sorted({tuple(row) for row in out.tolist()})
    [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(message("stochastic_depth", "p must be from 0 to 1", str(p)))
    if mode not in ("batch", "row"):
        raise ArgumentError(message("stochastic_depth", "mode must be 'batch' or 'row'", repr(mode)))
    if not training or p == 0.0:
        return input
    count = input.shape[0] if mode == "row" else 1
    keep = (api.rand(count, *[1] * (input.ndim - 1)) >= p).to(input.dtype)
    return input * (keep / (1.0 - p) if p < 1.0 else keep)


class StochasticDepth(Module):
    """`stochastic_depth` as a layer: acts while training only.

    >>> import wengert as wg
    >>> wg.nn.StochasticDepth(0.5).eval()(wg.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float, mode: str = "row") -> None:
        super().__init__()
        self.p, self.mode = p, mode
        stochastic_depth(api.zeros(0), p, mode, False)  # refuses wrong arguments here already

    def forward(self, input: Tensor) -> Tensor:
        return stochastic_depth(input, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode!r}"


# --- mixing samples --------------------------------------------------------------------------------------


def _mix(name: str, input: Any, target: Any, alpha: float, generator: Any) -> tuple[float, Any]:
    """A draw from Beta(alpha, alpha), and a partner for each sample."""
    if alpha <= 0:
        raise ArgumentError(message(name, "alpha must be positive", str(alpha)))
    if len(input) != len(target):
        raise ShapeError(message(name, "needs one target for each sample", f"{len(input)} and {len(target)}"))
    return _beta(alpha, generator), api.randperm(len(input), generator=generator)


def _beta(alpha: float, generator: Any) -> float:
    """One draw from Beta(alpha, alpha), by NumPy, seeded by our own generator so that `manual_seed` fixes it."""
    seed = int(api.randint(0, 2**31, (1,), generator=generator).item())
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _soft(target: Any, num_classes: int | None, dtype: Any) -> Any:
    """Targets as probabilities (N, C); those that already are stay."""
    if api.is_floating_point(target):
        return target
    return F.one_hot(target, -1 if num_classes is None else num_classes).to(dtype)


def mixup(
    input: Tensor, target: Tensor, alpha: float = 0.2, num_classes: int | None = None, generator: Any = None
) -> tuple[Tensor, Tensor]:
    """A batch mixed with itself: ``λ x_i + (1 - λ) x_j`` and the same of the targets, λ from Beta(alpha, alpha).

    Args:
        input: samples (N, *).
        target: classes (N) or probabilities (N, C).
        alpha: near 0 leaves the samples almost as they are, 1 mixes evenly.
        num_classes: C, needed where ``target`` holds classes and may lack the last.
        generator: of the random numbers.

    Returns:
        Samples like ``input``, and probabilities (N, C), as `cross_entropy` takes them.

    Source: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.

    >>> import wengert as wg
    >>> x, t = wg.nn.mixup(wg.randn(4, 3), wg.tensor([0, 1, 2, 1]), num_classes=5)
    >>> x.shape, t.shape, wg.allclose(t.sum(1), wg.ones(4))
    (wengert.Size([4, 3]), wengert.Size([4, 5]), True)
    """
    share, partner = _mix("mixup", input, target, alpha, generator)
    soft = _soft(target, num_classes, input.dtype)
    return share * input + (1 - share) * input[partner], share * soft + (1 - share) * soft[partner]


def cutmix(
    input: Tensor, target: Tensor, alpha: float = 1.0, num_classes: int | None = None, generator: Any = None
) -> tuple[Tensor, Tensor]:
    """A batch of images, each with a rectangle from another; targets mixed by area. Arguments as in `mixup`.

    Shape:
        input (N, C, H, W); the rectangle is the same for the whole batch and is cut at the border.

    Source: Yun et al., "CutMix: regularization strategy to train strong classifiers", ICCV 2019.

    >>> import wengert as wg
    >>> x, t = wg.nn.cutmix(wg.zeros(2, 1, 8, 8), wg.tensor([0, 1]))
    >>> x.shape, wg.allclose(t.sum(1), wg.ones(2))
    (wengert.Size([2, 1, 8, 8]), True)
    """
    if input.ndim != 4:
        raise ShapeError(message("cutmix", "needs images (N, C, H, W)", f"shape {tuple(input.shape)}"))
    share, partner = _mix("cutmix", input, target, alpha, generator)
    height, width = input.shape[2:]
    side = (1 - share) ** 0.5
    y, x = (int(api.randint(0, n, (1,), generator=generator).item()) for n in (height, width))
    half_y, half_x = int(side * height) // 2, int(side * width) // 2
    top, bottom = max(y - half_y, 0), min(y + half_y, height)
    left, right = max(x - half_x, 0), min(x + half_x, width)
    rows, columns = api.arange(height), api.arange(width)
    inside = ((rows >= top) & (rows < bottom)).unsqueeze(1) & ((columns >= left) & (columns < right))
    share = 1 - (bottom - top) * (right - left) / (height * width)  # what is left of each image
    soft = _soft(target, num_classes, input.dtype)
    return api.where(inside, input[partner], input), share * soft + (1 - share) * soft[partner]


# --- focal loss --------------------------------------------------------------------------------------------


def _reduced(name: str, loss: Any, reduction: str) -> Any:
    if reduction not in ("none", "mean", "sum"):
        raise ArgumentError(message(name, "reduction must be none, mean or sum", repr(reduction)))
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def sigmoid_focal_loss(
    input: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"
) -> Tensor:
    """Focal loss of independent labels: ``-α_t (1 - p_t)^γ log p_t``, with p_t the probability of the truth.

    Args:
        input: logits (*).
        target: 0 or 1, in the shape and a dtype of the input.
        alpha: weight of the ones, 1 - alpha that of the zeros; negative for no weights.
        gamma: how much sure and right answers count less; 0 gives the cross-entropy.
        reduction: 'none', 'mean' or 'sum'.

    Source: Lin et al., "Focal loss for dense object detection", ICCV 2017; arguments as in torchvision.

    >>> import wengert as wg
    >>> wg.nn.sigmoid_focal_loss(wg.tensor([0.0, 4.0]), wg.tensor([1.0, 1.0]), alpha=-1)
    tensor([1.7329e-01, 5.8716e-06])
    """
    entropy = F.binary_cross_entropy_with_logits(input, target, reduction="none")
    loss = entropy * (input.sigmoid() * (1 - target) + (-input).sigmoid() * target) ** gamma
    if alpha >= 0:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return _reduced("sigmoid_focal_loss", loss, reduction)


class FocalLoss(Module):
    """Focal loss of one label among C: ``-w_t (1 - p_t)^γ log p_t``, with p the softmax of the logits.

    Args:
        gamma: how much sure and right answers count less; 0 gives `CrossEntropyLoss`.
        weight: a weight for each class (C).
        ignore_index: targets of this value count nothing.
        reduction: 'none', 'sum', or 'mean' over the targets that count (not over their weights).

    Shape:
        input (N, C), target (N) of classes.

    Source: Lin et al., "Focal loss for dense object detection", ICCV 2017.

    >>> import wengert as wg
    >>> logits, target = wg.tensor([[0.0, 0.0], [5.0, 0.0]]), wg.tensor([0, 0])
    >>> [f"{loss:.2e}" for loss in wg.nn.FocalLoss(reduction="none")(logits, target).tolist()]
    ['1.73e-01', '3.01e-07']
    """

    def __init__(
        self, gamma: float = 2.0, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__()
        _reduced("FocalLoss", api.zeros(()), reduction)
        self.gamma, self.ignore_index, self.reduction = gamma, ignore_index, reduction
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        counts: Any = target != self.ignore_index
        picked = api.where(counts, target, api.zeros_like(target))
        logs = api.log_softmax(input, -1).gather(-1, picked.unsqueeze(-1)).squeeze(-1)
        loss = -((-logs.expm1()) ** self.gamma) * logs
        if self.weight is not None:
            loss = loss * self.weight[picked]
        loss = api.where(counts, loss, api.zeros_like(loss))
        if self.reduction == "mean":
            return loss.sum() / counts.sum().to(loss.dtype)
        return _reduced("FocalLoss", loss, self.reduction)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}"


# --- averages ----------------------------------------------------------------------------------------------


class ExponentialMovingAverage:
    """Follows a network's weights: ``average = decay * average + (1 - decay) * weight`` at each `update`.

    Args:
        module: the network.
        decay: how much of the average stays; its memory is about 1 / (1 - decay) updates.
        warmup: whether the first decays are smaller, (1 + n) / (10 + n), so that the start is forgotten.

    Buffers that hold floats (running statistics) are averaged too, other buffers are copied.

    >>> import wengert as wg
    >>> net = wg.nn.Linear(1, 1, bias=False)
    >>> ema = wg.nn.ExponentialMovingAverage(net, decay=0.5)
    >>> start = net.weight.item()
    >>> with wg.no_grad():
    ...     _ = net.weight.add_(1.0)
    >>> ema.update()
    >>> with ema.applied():  # the network with its averages, for validation
    ...     round(net.weight.item() - start, 4)
    0.5
    >>> round(net.weight.item() - start, 4)
    1.0
    """

    def __init__(self, module: Module, decay: float = 0.999, warmup: bool = False) -> None:
        if not 0.0 <= decay < 1.0:
            raise ArgumentError(message("ExponentialMovingAverage", "decay must be in [0, 1)", str(decay)))
        self.module, self.decay, self.warmup, self.updates = module, decay, warmup, 0
        self.averages = {name: x.detach().clone() for name, x in self._tensors().items()}

    def _tensors(self) -> dict[str, Any]:
        """Parameters and buffers by name, shared ones once."""
        return {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}

    def update(self) -> None:
        """Take the present weights into the averages; call it after each `optimizer.step()`."""
        n = self.updates = self.updates + 1
        decay = min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay
        with no_grad():
            for name, x in self._tensors().items():
                average = self.averages[name]
                if api.is_floating_point(x):
                    average.lerp_(x.detach(), 1 - decay)
                else:
                    average.copy_(x)

    def copy_to(self, module: Module) -> None:
        """Write the averages into a network of the same build."""
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        with no_grad():
            for name, average in self.averages.items():
                own[name].copy_(average)

    @contextmanager
    def applied(self) -> Iterator[Module]:
        """Inside, the network has the averages for weights; afterwards its own again."""
        own = {name: x.detach().clone() for name, x in self._tensors().items()}
        self.copy_to(self.module)
        try:
            yield self.module
        finally:
            with no_grad():
                for name, x in self._tensors().items():
                    x.copy_(own[name])

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on: the averages and the number of updates."""
        return {"averages": {k: v.clone() for k, v in self.averages.items()}, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        if state["averages"].keys() != self.averages.keys():
            seen = ", ".join(sorted(state["averages"].keys() ^ self.averages.keys()))
            raise ArgumentError(message("ExponentialMovingAverage", "the names differ", seen))
        self.updates = state["updates"]
        with no_grad():
            for name, average in self.averages.items():
                average.copy_(state["averages"][name])


__all__ = [
    "ExponentialMovingAverage", "FocalLoss", "StochasticDepth", "cutmix", "l1_penalty", "l2_penalty", "mixup",
    "sigmoid_focal_loss", "stochastic_depth",
]  # fmt: skip

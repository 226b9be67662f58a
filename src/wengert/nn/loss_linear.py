"""Losses that hold the last linear layer: for very many classes, and for convenience."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import api
from ..errors import ArgumentError, IndexRangeError, ShapeError, message
from ..functional.loss_linear import LinearCrossEntropyOptions
from ..tensor import Tensor
from . import functional as F
from .container import ModuleList, Sequential
from .linear import Linear, check_size
from .loss import _WeightedLoss
from .module import Module


class AdaptiveLogSoftmaxOutput(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` gives: the targets' log-probabilities (N), and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """A softmax over very many classes, rare ones behind a shared entry: cheaper where few classes are frequent.

    The head has a score for each of the classes below ``cutoffs[0]`` and for each cluster of rarer ones; inside a
    cluster the classes have a softmax of their own, over a projection that is narrower the rarer they are.

    Args:
        in_features: length of the input vectors.
        n_classes: how many classes there are, the most frequent first.
        cutoffs: where the clusters begin, increasing, each from 1 to n_classes - 1.
        div_value: by what the width of the projection is divided from one cluster to the next.
        head_bias: whether the head has a bias.

    Shape:
        input (N, in_features) or (in_features), target (N) or () of classes; see `AdaptiveLogSoftmaxOutput`.

    Source: Grave et al., "Efficient softmax approximation for GPUs", ICML 2017.

    >>> import wengert as wg
    >>> m = wg.nn.AdaptiveLogSoftmaxWithLoss(8, 100, [10, 50])
    >>> x, t = wg.randn(4, 8), wg.tensor([3, 99, 12, 50])
    >>> output, loss = m(x, t)
    >>> wg.allclose(output, m.log_prob(x)[wg.arange(4), t], atol=1e-5), m.predict(x).shape
    (True, wengert.Size([4]))
    """

    head: Linear
    tail: ModuleList

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
        head_bias: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs or any(a >= b for a, b in itertools.pairwise([0, *cutoffs, n_classes])):
            wanted = "cutoffs must increase, each from 1 to n_classes - 1"
            raise ArgumentError(message("AdaptiveLogSoftmaxWithLoss", wanted, f"{cutoffs}, {n_classes} classes"))
        check = [check_size("AdaptiveLogSoftmaxWithLoss", "cutoffs", c) for c in cutoffs]
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*check, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = self.cutoffs[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for i, (start, stop) in enumerate(itertools.pairwise(self.cutoffs)):
            inner = int(in_features // div_value ** (i + 1))
            down, up = Linear(in_features, inner, False, **place), Linear(inner, stop - start, False, **place)
            self.tail.append(Sequential(down, up))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> AdaptiveLogSoftmaxOutput:
        if target.ndim > 1 or input.ndim != target.ndim + 1 or input.shape[:-1] != target.shape:
            wanted = "input and target must be (N, in_features) and (N), or both without N"
            seen = f"{tuple(input.shape)} and {tuple(target.shape)}"
            raise ShapeError(message("AdaptiveLogSoftmaxWithLoss", wanted, seen))
        x, t = input.reshape(-1, self.in_features), target.reshape(-1)
        if t._value is None:
            return self._traced(x, t, not target.ndim)
        if bool(((t < 0) | (t >= self.n_classes)).any()):
            wanted = f"the targets must be from 0 to {self.n_classes - 1}"
            raise IndexRangeError(message("AdaptiveLogSoftmaxWithLoss", wanted, f"{t.min()} to {t.max()}"))
        entry, output = t, x.new_zeros(len(x))
        for i, (start, stop) in enumerate(itertools.pairwise(self.cutoffs)):
            inside = (t >= start) & (t < stop)
            rows = inside.nonzero().flatten()
            entry = entry.masked_fill(inside, self.shortlist_size + i)
            if len(rows):
                logs = F.log_softmax(self.tail[i](x[rows]), dim=1)
                output = output.index_add(0, rows, logs.gather(1, (t[rows] - start).unsqueeze(1)).squeeze(1))
        output = output + F.log_softmax(self.head(x), dim=1).gather(1, entry.unsqueeze(1)).squeeze(1)
        return AdaptiveLogSoftmaxOutput(output if target.ndim else output.squeeze(0), -output.mean())

    def _traced(self, x: Any, t: Any, single: bool) -> AdaptiveLogSoftmaxOutput:
        """`forward` where nobody knows which rows are in which cluster: each cluster gets them all."""
        entry, output = t, x.new_zeros(len(x))
        for i, (start, stop) in enumerate(itertools.pairwise(self.cutoffs)):
            outside = (t < start) | (t >= stop)
            logs = F.log_softmax(self.tail[i](x), dim=1)
            found = logs.gather(1, (t - start).masked_fill(outside, 0).unsqueeze(1)).squeeze(1)
            output = output + found.masked_fill(outside, 0.0)
            entry = entry.masked_fill(~outside, self.shortlist_size + i)
        output = output + F.log_softmax(self.head(x), dim=1).gather(1, entry.unsqueeze(1)).squeeze(1)
        return AdaptiveLogSoftmaxOutput(output.squeeze(0) if single else output, -output.mean())

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities (N, n_classes) of all classes, input (N, in_features)."""
        head = F.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            entry = self.shortlist_size + i
            parts.append(F.log_softmax(cluster(input), dim=1) + head[:, entry : entry + 1])
        return api.cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The class (N) that PyTorch predicts: the head's where it names one, else the most probable of all."""
        best = self.head(input).argmax(1)
        if best._value is None:  # traced: nobody knows for how many rows that is
            return api.where(best < self.shortlist_size, best, self.log_prob(input).argmax(1))
        rare = (best >= self.shortlist_size).nonzero().flatten()
        return best if not len(rare) else best.index_copy(0, rare, self.log_prob(input[rare]).argmax(1))


class LinearCrossEntropyLoss(_WeightedLoss):
    """`CrossEntropyLoss` of a linear layer's output; the layer belongs to the loss.

    Args:
        in_features: length of the input vectors.
        num_classes: C.
        out_features: further sizes d₁ … of the loss, so that logits are (N, C, d₁, …).
        bias: whether the layer has a bias.
        reduction, weight, ignore_index, label_smoothing, options: of `nn.functional.linear_cross_entropy`.

    Shape:
        input (N, in_features) or (in_features); target (N, d₁, …) of classes, or (N, C, d₁, …) of probabilities.

    >>> import wengert as wg
    >>> wg.nn.LinearCrossEntropyLoss(5, 3)(wg.randn(4, 5), wg.tensor([0, 2, 1, 0])).shape
    wengert.Size([])
    """

    def __init__(
        self, in_features: int, num_classes: int, *, out_features: Sequence[int] = (), bias: bool = False,
        device: Any = None, dtype: Any = None, reduction: str = "mean", weight: Tensor | None = None,
        ignore_index: int | None = None, label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:  # fmt: skip
        super().__init__(weight, reduction=reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            wanted = "label_smoothing must be between 0 and 1"
            raise ArgumentError(message("LinearCrossEntropyLoss", wanted, str(label_smoothing)))
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        if weight is not None and tuple(weight.shape) != (num_classes,):
            wanted = f"the weight must have the shape {(num_classes,)}"
            raise ShapeError(message("LinearCrossEntropyLoss", wanted, str(tuple(weight.shape))))
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        size = math.prod(self.out_features, start=num_classes)
        self.linear = Linear(in_features, size, bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        outputs, bias = (self.num_classes, *self.out_features), self.linear.bias
        return F.linear_cross_entropy(
            input, self.linear.weight.reshape(*outputs, self.linear.in_features), target,
            linear_bias=None if bias is None else bias.reshape(outputs), weight=self.weight,
            reduction=self.reduction, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing,
            options=self.options,
        )  # fmt: skip

    def extra_repr(self) -> str:
        names = ("reduction", "ignore_index", "label_smoothing", "options")
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            + ", ".join(f"{name}={getattr(self, name)}" for name in names)
        )


__all__ = [
    "AdaptiveLogSoftmaxOutput",
    "AdaptiveLogSoftmaxWithLoss",
    "LinearCrossEntropyLoss",
    "LinearCrossEntropyOptions",
]

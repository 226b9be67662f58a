"""Small networks for images: one of full layers, and LeNet-5."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..nn import Conv2d, Linear, Module, ReLU, Sequential
from ..nn import functional as F
from ..tensor import Tensor


class MLP(Sequential):
    """Full layers with ReLU between them; inputs of any shape are flattened.

    Args:
        sizes: the lengths of input, hidden layers and output.

    >>> import wengert as wg
    >>> from wengert.models import MLP
    >>> MLP([64, 32, 16, 10])(wg.zeros(5, 8, 8)).shape
    wengert.Size([5, 10])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        layers: list[Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [Linear(before, after), ReLU()]
        super().__init__(*layers[:-1])

    def forward(self, input: Tensor) -> Tensor:
        """Logits (N, last size)."""
        return super().forward(input.flatten(1))


class LeNet(Module):
    """LeNet-5: two convolutions with average pooling, three full layers, tanh.

    Args:
        num_classes: length of the output.
        in_channels: channels of the input.

    Shape:
        input (N, in_channels, 32, 32) or 28 by 28 (padded by two), output (N, num_classes).

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    Proc. IEEE 86, 1998, with full connections between the maps and a linear output.

    >>> import wengert as wg
    >>> from wengert.models import LeNet
    >>> LeNet()(wg.zeros(2, 1, 28, 28)).shape
    wengert.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, 6, 5)
        self.conv2 = Conv2d(6, 16, 5)
        self.fc1 = Linear(400, 120)
        self.fc2 = Linear(120, 84)
        self.fc3 = Linear(84, num_classes)

    def forward(self, input: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        if input.shape[-1] == 28:
            input = F.pad(input, (2, 2, 2, 2))
        x = F.avg_pool2d(self.conv1(input).tanh(), 2)
        x = F.avg_pool2d(self.conv2(x).tanh(), 2).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).tanh()).tanh())


__all__ = ["MLP", "LeNet"]

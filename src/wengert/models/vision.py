"""Networks for images: a plain one of full layers, LeNet-5, and the residual network of CIFAR."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..nn import BatchNorm2d, Conv2d, Identity, Linear, Module, ReLU, Sequential
from ..nn import functional as F
from ..nn.init import kaiming_normal_
from ..nn.linear import check_size
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


class _Shortcut(Module):
    """The identity where channels grow: every second pixel, new channels zero (option A, no parameters)."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, input: Tensor) -> Tensor:
        x = input[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


class _Block(Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm2d(after)
        self.conv2 = Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm2d(after)
        same = before == after and stride == 1
        self.shortcut = Identity() if same else _Shortcut(after - before, stride)

    def forward(self, input: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(input)))
        return F.relu(self.bn2(self.conv2(x)) + self.shortcut(input))


class ResNetCIFAR(Module):
    """The residual network of the CIFAR experiments: 6 n + 2 layers in three groups of 16, 32, 64 channels.

    Args:
        n: blocks in each group.
        num_classes: length of the output.
        in_channels: channels of the input.

    Shape:
        input (N, in_channels, H, W), output (N, num_classes).

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2.

    >>> import wengert as wg
    >>> from wengert.models import resnet20
    >>> net = resnet20()
    >>> net(wg.zeros(1, 3, 32, 32)).shape, sum(p.numel() for p in net.parameters())  # 0.27 M in the paper
    (wengert.Size([1, 10]), 269722)
    """

    def __init__(self, n: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        n = check_size("ResNetCIFAR", "n", n, 1)
        self.conv1 = Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = BatchNorm2d(16)
        self.layer1 = Sequential(*[_Block(16, 16, 1) for _ in range(n)])
        self.layer2 = Sequential(_Block(16, 32, 2), *[_Block(32, 32, 1) for _ in range(n - 1)])
        self.layer3 = Sequential(_Block(32, 64, 2), *[_Block(64, 64, 1) for _ in range(n - 1)])
        self.linear = Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, Conv2d | Linear):
                kaiming_normal_(module.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(input)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def resnet20(num_classes: int = 10, in_channels: int = 3) -> ResNetCIFAR:
    """`ResNetCIFAR` with 20 layers."""
    return ResNetCIFAR(3, num_classes, in_channels)


__all__ = ["MLP", "LeNet", "ResNetCIFAR", "resnet20"]

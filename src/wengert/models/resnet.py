"""Residual networks: ResNet-18 and 34, the plain net of 34 layers beside them, and those of CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Identity, Linear, MaxPool2d, Module, ReLU, Sequential
from ..nn import functional as F
from ..nn.init import kaiming_normal_
from ..nn.linear import check_size
from ..tensor import Tensor
from .stacks import scaled


class BasicBlock(Module):
    """Two convolutions of 3 by 3 and, unless ``plain``, a shortcut beside them (a projection where sizes change)."""

    downsample: Sequential | None

    def __init__(self, before: int, after: int, stride: int = 1, plain: bool = False) -> None:
        super().__init__()
        self.conv1 = Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm2d(after)
        self.relu = ReLU()
        self.conv2 = Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm2d(after)
        self.plain, self.downsample = plain, None
        if not plain and (before != after or stride != 1):
            self.downsample = Sequential(Conv2d(before, after, 1, stride, bias=False), BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """A tensor (N, after, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if not self.plain:
            y = y + (x if self.downsample is None else self.downsample(x))
        return self.relu(y)


class ResNet(Module):
    """A residual network of basic blocks in four groups of 64, 128, 256 and 512 channels.

    Args:
        layers: blocks in each group: (2, 2, 2, 2) for 18 layers, (3, 4, 6, 3) for 34.
        num_classes: length of the output.
        plain: whether the shortcuts are left out: the net that the paper compares with.
        width: all channels are multiplied by it, for small tasks; 1 is the published net.

    Shape:
        input (N, 3, H, W), 224 by 224 in the paper; output (N, num_classes).
        11,689,512 parameters with 18 layers and 1000 classes, 21,797,672 with 34.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, with its projections
    where sizes change (option B). Names and shapes of the `state_dict` are torchvision's.

    >>> import wengert as wg
    >>> from wengert.models import ResNet
    >>> ResNet((1, 1, 1, 1), 10, width=0.1)(wg.zeros(2, 3, 32, 32)).shape
    wengert.Size([2, 10])
    """

    def __init__(self, layers: Sequence[int], num_classes: int = 1000, plain: bool = False, width: float = 1.0) -> None:
        super().__init__()
        sizes = [scaled(n, width) for n in (64, 64, 128, 256, 512)]
        self.conv1 = Conv2d(3, sizes[0], 7, 2, 3, bias=False)
        self.bn1 = BatchNorm2d(sizes[0])
        self.relu = ReLU()
        self.maxpool = MaxPool2d(3, 2, 1)
        for k, count in enumerate(layers):
            first = BasicBlock(sizes[k], sizes[k + 1], 1 if k == 0 else 2, plain)
            rest = [BasicBlock(sizes[k + 1], sizes[k + 1], 1, plain) for _ in range(count - 1)]
            self.add_module(f"layer{k + 1}", Sequential(first, *rest))
        self.avgpool = AdaptiveAvgPool2d((1, 1))
        self.fc = Linear(sizes[-1], num_classes)
        for module in self.modules():
            if isinstance(module, Conv2d):
                kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(**options: Any) -> ResNet:
    """`ResNet` with 18 layers."""
    return ResNet((2, 2, 2, 2), **options)


def resnet34(**options: Any) -> ResNet:
    """`ResNet` with 34 layers."""
    return ResNet((3, 4, 6, 3), **options)


def plain34(**options: Any) -> ResNet:
    """The net of `resnet34` without its shortcuts."""
    return ResNet((3, 4, 6, 3), plain=True, **options)


class _Shortcut(Module):
    """The identity where channels grow: every second pixel, new channels zero (option A, no parameters)."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, input: Tensor) -> Tensor:
        x = input[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


class _CIFARBlock(Module):
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
        self.layer1 = Sequential(*[_CIFARBlock(16, 16, 1) for _ in range(n)])
        self.layer2 = Sequential(_CIFARBlock(16, 32, 2), *[_CIFARBlock(32, 32, 1) for _ in range(n - 1)])
        self.layer3 = Sequential(_CIFARBlock(32, 64, 2), *[_CIFARBlock(64, 64, 1) for _ in range(n - 1)])
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


__all__ = ["BasicBlock", "ResNet", "ResNetCIFAR", "plain34", "resnet18", "resnet20", "resnet34"]

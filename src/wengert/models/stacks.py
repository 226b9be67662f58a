"""AlexNet and VGG: stacks of convolutions, then three full layers."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, message
from ..nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Dropout, Linear, MaxPool2d, Module, ReLU, Sequential
from ..nn.init import constant_, kaiming_normal_, normal_, zeros_
from ..tensor import Tensor


def scaled(channels: int, width: float) -> int:
    """So many channels times ``width``, at least one."""
    if width <= 0:
        raise ArgumentError(message("wengert.models", "width must be positive", str(width)))
    return max(1, round(channels * width))


class _Stack(Module):
    """Convolutions, a mean to a fixed size, full layers."""

    features: Sequential
    avgpool: AdaptiveAvgPool2d
    classifier: Sequential

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class AlexNet(_Stack):
    """AlexNet: five convolutions and three full layers, as torchvision has it (one column, no response norm).

    Args:
        num_classes: length of the output.
        dropout: before the two large full layers, while training.
        width: all inner sizes are multiplied by it, for small tasks; 1 is the published net.

    Shape:
        input (N, 3, H, W) of at least 63 by 63, 224 by 224 in the paper; output (N, num_classes).
        61,100,840 parameters for 1000 classes.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks",
    NeurIPS 2012; the one column of Krizhevsky, arXiv:1404.5997. Names and shapes of the `state_dict` are torchvision's.

    >>> import wengert as wg
    >>> from wengert.models import AlexNet
    >>> AlexNet(10, width=0.1)(wg.zeros(2, 3, 63, 63)).shape
    wengert.Size([2, 10])
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5, width: float = 1.0) -> None:
        super().__init__()
        a, b, c, d, full = (scaled(n, width) for n in (64, 192, 384, 256, 4096))
        self.features = Sequential(
            Conv2d(3, a, 11, 4, 2), ReLU(), MaxPool2d(3, 2),
            Conv2d(a, b, 5, padding=2), ReLU(), MaxPool2d(3, 2),
            Conv2d(b, c, 3, padding=1), ReLU(),
            Conv2d(c, d, 3, padding=1), ReLU(),
            Conv2d(d, d, 3, padding=1), ReLU(), MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = AdaptiveAvgPool2d((6, 6))
        self.classifier = Sequential(
            Dropout(dropout), Linear(36 * d, full), ReLU(),
            Dropout(dropout), Linear(full, full), ReLU(),
            Linear(full, num_classes),
        )  # fmt: skip


def alexnet(**options: Any) -> AlexNet:
    """`AlexNet` with random weights, under torchvision's name."""
    return AlexNet(**options)


# Convolutions before each of the five poolings, and their channels.
_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)


class VGG(_Stack):
    """VGG: convolutions of 3 by 3 alone, five times halved, and three full layers.

    Args:
        depth: 11, 13, 16 or 19 layers with weights.
        num_classes: length of the output.
        batch_norm: whether a `BatchNorm2d` follows each convolution (not in the paper).
        dropout: after the two large full layers, while training.
        width: all inner sizes are multiplied by it, for small tasks; 1 is the published net.

    Shape:
        input (N, 3, H, W) of at least 32 by 32, 224 by 224 in the paper; output (N, num_classes).
        Parameters for 1000 classes: 132,863,336; 133,047,848; 138,357,544; 143,667,240 (the paper's 133, 133, 138
        and 144 million), with batch norm 132,868,840; 133,053,736; 138,365,992; 143,678,248.

    Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
    table 1, nets A, B, D and E. Names and shapes of the `state_dict` are torchvision's.

    >>> import wengert as wg
    >>> from wengert.models import VGG
    >>> VGG(11, 10, width=0.05)(wg.zeros(2, 3, 32, 32)).shape
    wengert.Size([2, 10])
    """

    def __init__(
        self, depth: int = 16, num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.5,
        width: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if depth not in _DEPTHS:
            raise ArgumentError(message("VGG", "depth must be 11, 13, 16 or 19", str(depth)))
        layers: list[Module] = []
        before = 3
        for count, channels in zip(_DEPTHS[depth], _CHANNELS):
            after = scaled(channels, width)
            for _ in range(count):
                norm = [BatchNorm2d(after)] if batch_norm else []
                layers += [Conv2d(before, after, 3, padding=1), *norm, ReLU()]
                before = after
            layers.append(MaxPool2d(2, 2))
        full = scaled(4096, width)
        self.features = Sequential(*layers)
        self.avgpool = AdaptiveAvgPool2d((7, 7))
        self.classifier = Sequential(
            Linear(49 * before, full), ReLU(), Dropout(dropout),
            Linear(full, full), ReLU(), Dropout(dropout),
            Linear(full, num_classes),
        )  # fmt: skip
        self.reset_parameters(width)

    def reset_parameters(self, width: float = 1.0) -> None:
        """He's initialisation (2015) of the convolutions, small normal weights of the full layers."""
        for module in self.modules():
            if isinstance(module, Conv2d):
                kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Linear):
                normal_(module.weight, 0, 0.01 / width**0.5)  # so that narrow nets keep the size of their signals
            elif isinstance(module, BatchNorm2d):
                assert module.weight is not None
                constant_(module.weight, 1)
            if isinstance(module, Conv2d | Linear | BatchNorm2d):
                assert module.bias is not None
                zeros_(module.bias)


def vgg11(**options: Any) -> VGG:
    """`VGG` with 11 layers."""
    return VGG(11, **options)


def vgg11_bn(**options: Any) -> VGG:
    """`VGG` with 11 layers and batch norm."""
    return VGG(11, batch_norm=True, **options)


def vgg13(**options: Any) -> VGG:
    """`VGG` with 13 layers."""
    return VGG(13, **options)


def vgg13_bn(**options: Any) -> VGG:
    """`VGG` with 13 layers and batch norm."""
    return VGG(13, batch_norm=True, **options)


def vgg16(**options: Any) -> VGG:
    """`VGG` with 16 layers."""
    return VGG(16, **options)


def vgg16_bn(**options: Any) -> VGG:
    """`VGG` with 16 layers and batch norm."""
    return VGG(16, batch_norm=True, **options)


def vgg19(**options: Any) -> VGG:
    """`VGG` with 19 layers."""
    return VGG(19, **options)


def vgg19_bn(**options: Any) -> VGG:
    """`VGG` with 19 layers and batch norm."""
    return VGG(19, batch_norm=True, **options)


__all__ = [
    "VGG", "AlexNet", "alexnet", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
]  # fmt: skip

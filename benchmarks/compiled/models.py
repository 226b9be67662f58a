"""Small networks as functions of the library: an MLP, ResNet-20, an LSTM of characters, a GCN."""

from __future__ import annotations

import itertools
from typing import Any


def tiny(lib: Any) -> Any:
    nn = lib.nn
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


def mlp(lib: Any) -> Any:
    nn = lib.nn
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))


def resnet20(lib: Any) -> Any:
    """He et al. 2016, section 4.2: three groups of three blocks; shortcuts without parameters."""
    nn, F = lib.nn, lib.nn.functional

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.stride, self.extra = stride, after - before

        def forward(self, x: Any) -> Any:
            y = F.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            if self.extra:
                half = self.extra // 2
                x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
            return F.relu(y + x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
            pairs = itertools.pairwise(widths)
            self.blocks = nn.Sequential(*[Block(a, b, 1 if a == b else 2) for a, b in pairs])
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = self.blocks(F.relu(self.bn1(self.conv1(x))))
            return self.linear(x.mean((2, 3)))

    return Net()


def lstm(lib: Any) -> Any:
    nn = lib.nn

    class CharLSTM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(65, 128)
            self.lstm = nn.LSTM(128, 256, batch_first=True)
            self.head = nn.Linear(256, 65)

        def forward(self, tokens: Any) -> Any:
            out, _ = self.lstm(self.embedding(tokens))
            return self.head(out).flatten(0, 1)

    return CharLSTM()


def gcn(lib: Any) -> Any:
    """Kipf and Welling 2017: two graph convolutions; messages by index, as without a graph library."""
    nn, F = lib.nn, lib.nn.functional

    class Convolution(nn.Module):
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            self.linear = nn.Linear(before, after, bias=False)
            self.bias = nn.Parameter(lib.zeros(after))

        def forward(self, x: Any, source: Any, target: Any, norm: Any) -> Any:
            messages = self.linear(x)[source] * norm
            out = lib.zeros(x.shape[0], messages.shape[1])
            return out.index_add(0, target, messages) + self.bias

    class GCN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = Convolution(1433, 16)
            self.conv2 = Convolution(16, 7)

        def forward(self, x: Any, source: Any, target: Any, norm: Any, labelled: Any) -> Any:
            x = F.relu(self.conv1(x, source, target, norm))
            return self.conv2(x, source, target, norm)[labelled]

    return GCN()

"""A small problem for the tests of the trainer: data, a network, and what it holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import api, nn, optim, train
from ..utils.data import TensorDataset


def points(count: int = 50, seed: int = 0) -> TensorDataset:
    """Points in four dimensions, and whether the first coordinate is larger than the second."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)).astype(np.float32)
    return TensorDataset(api.from_numpy(x), api.from_numpy((x[:, 0] > x[:, 1]).astype(np.int64)))


def network(dropout: float = 0.0) -> nn.Module:
    """A small classifier of them, the same each time."""
    api.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 2))


def trainer(net: nn.Module | None = None, **options: Any) -> train.Trainer:
    """A trainer of such a network, by SGD, that prints nothing."""
    net = network() if net is None else net
    optimizer = options.pop("optimizer", None) or optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return train.Trainer(net, options.pop("loss", nn.CrossEntropyLoss()), optimizer, progress=False, **options)


def weights(net: nn.Module) -> list[Any]:
    """All that a network holds, copied."""
    return [x.numpy().copy() for x in net.state_dict().values()]


def assert_equal(a: list[Any], b: list[Any]) -> None:
    """Two such lists are the same to the bit."""
    assert len(a) == len(b)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

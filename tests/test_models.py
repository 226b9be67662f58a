"""The networks of `wengert.models`: every parameter takes part, sizes are the papers', wrong sizes are refused."""

from __future__ import annotations

from typing import Any

import pytest

import wengert as wg
from wengert.models import GPT, MLP, LeNet, ResNetCIFAR
from wengert.nn import functional as F

CASES: dict[str, Any] = {
    "MLP": (lambda: MLP([12, 8, 6, 3]), (4, 3, 4), 12 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3),
    "LeNet": (lambda: LeNet(3), (4, 1, 28, 28), None),
    "LeNet of colours": (lambda: LeNet(3, in_channels=3), (4, 3, 32, 32), None),
    "ResNet-8": (lambda: ResNetCIFAR(1, 3, 1), (4, 1, 8, 8), None),
}


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_learns(name: str) -> None:
    make, shape, count = CASES[name]
    model, x, y = make(), wg.randn(*shape), wg.tensor([0, 1, 2, 0])
    if count is not None:
        assert sum(p.numel() for p in model.parameters()) == count
    optimizer = wg.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum().item() > 0 for p in model.parameters()), name
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_gpt() -> None:
    net = GPT(1000, block_size=128, layers=2, heads=12, width=96)
    block = 12 * 96**2 + 13 * 96  # weights of attention and network, biases, two norms
    assert sum(p.numel() for p in net.parameters()) == (1000 + 128) * 96 + 2 * block + 2 * 96
    small = GPT(5, block_size=4, layers=1, heads=1, width=4)
    small.loss(wg.tensor([[0, 1, 2, 3, 4]])).backward()
    assert all(p.grad is not None for p in small.parameters())
    assert small.loss(wg.tensor([[0, 1, 2, 3, 4]])).item() == pytest.approx(1.609, abs=0.1)  # log 5 at the start
    with pytest.raises(ValueError, match="at most 4 in all"):
        small(wg.zeros(1, 5).long())
    with pytest.raises(ValueError, match="heads must divide"):
        GPT(5, heads=3, width=4)

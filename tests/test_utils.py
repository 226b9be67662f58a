"""Checkpointing under PyTorch's path."""

from __future__ import annotations

import pytest

import wengert as wg
from wengert import nn
from wengert.utils.checkpoint import checkpoint, checkpoint_sequential


@pytest.mark.parametrize("segments", [1, 2, 3, 5])
def test_a_row_in_segments(segments: int) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, 3), nn.Tanh())
    x = wg.randn(4, 2, requires_grad=True)
    results = []
    for run in (net, lambda x: checkpoint_sequential(net, segments, x, use_reentrant=False)):
        wg.manual_seed(1)
        net.zero_grad()
        y = run(x)
        y.sum().backward()
        results.append((y, net[0].weight.grad, net[3].bias.grad))
    for a, b in zip(*results, strict=True):
        assert wg.allclose(a, b)


def test_segments_must_be_there() -> None:
    with pytest.raises(wg.errors.ArgumentError, match="segments must be from 1 to 1"):
        checkpoint_sequential([wg.exp], 2, wg.zeros(1))


def test_options_of_pytorch_do_not_reach_the_function() -> None:
    assert checkpoint(lambda x, k: x * k, wg.ones(1), k=2, preserve_rng_state=False, debug=True).item() == 2.0

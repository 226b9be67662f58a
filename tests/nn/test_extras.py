"""Positions, stochastic depth, mixing, focal loss, averaged weights: against formulas written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import functional as F
from wengert.testing import gradcheck, verify

# --- positions ---------------------------------------------------------------------------------------


def test_sinusoids_are_the_formula() -> None:
    got = nn.sinusoidal_positions(7, 6, dtype=wg.float64)
    for p in range(7):
        for i in range(3):
            angle = p / 10000 ** (2 * i / 6)
            assert got[p, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert got[p, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_sinusoids_layer() -> None:
    layer = nn.SinusoidalPositions(6, 10)
    x = wg.randn(2, 4, 6)
    assert wg.equal(layer(x), x + nn.sinusoidal_positions(4, 6))
    assert wg.equal(layer(x, start=6), x + nn.sinusoidal_positions(10, 6)[6:])
    assert not layer.state_dict()
    with pytest.raises(ValueError, match="at most 10 positions"):
        layer(x, start=7)
    with pytest.raises(ValueError, match="must be even"):
        nn.SinusoidalPositions(5)


def test_rotation_is_multiplication_of_complex_numbers() -> None:
    x = wg.randn(2, 3, 5, 6, dtype=wg.float64)
    z = x.numpy()[..., 0::2] + 1j * x.numpy()[..., 1::2]
    angles = (np.arange(5) + 4)[:, None] / 10000 ** (np.arange(0, 6, 2) / 6)
    want = z * np.exp(1j * angles)
    got = nn.apply_rotary(x, start=4).numpy()
    np.testing.assert_allclose(got[..., 0::2] + 1j * got[..., 1::2], want, atol=1e-12)
    assert wg.equal(nn.RotaryPositions()(x, 4), nn.apply_rotary(x, positions=wg.arange(4, 9)))


def test_rotation_gives_products_of_distance() -> None:
    q, k = wg.randn(1, 8, dtype=wg.float64), wg.randn(1, 8, dtype=wg.float64)
    products = [(nn.apply_rotary(q, p + 3) * nn.apply_rotary(k, p)).sum().item() for p in (0, 11, 500)]
    assert products == pytest.approx([products[0]] * 3, abs=1e-9)
    assert verify(lambda x: nn.apply_rotary(x, 2), wg.randn(3, 4))


# --- stochastic depth --------------------------------------------------------------------------------


def test_stochastic_depth() -> None:
    x = wg.ones(2000, 3)
    out = nn.stochastic_depth(x, 0.25)
    assert wg.equal(out[:, 0], out[:, 2])
    assert sorted(set(out.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    assert len(set(nn.stochastic_depth(x, 0.5, "batch").flatten().tolist())) == 1
    assert nn.stochastic_depth(x, 1.0).sum().item() == 0
    layer = nn.StochasticDepth(0.5).eval()
    assert layer(x) is x
    assert repr(layer) == "StochasticDepth(p=0.5, mode='row')"
    with pytest.raises(ValueError, match="p must be from 0 to 1"):
        nn.StochasticDepth(1.5)
    with pytest.raises(ValueError, match="mode must be"):
        nn.StochasticDepth(0.5, "column")


# --- mixing ------------------------------------------------------------------------------------------


def test_mixup_mixes_samples_as_targets() -> None:
    target = wg.arange(6)
    x = wg.eye(6)
    for _ in range(5):
        mixed, soft = nn.mixup(x, target, alpha=1.0)
        assert wg.allclose(mixed, soft)  # sample i is the one-hot of class i
        assert sorted(mixed.max(1).values.tolist())[0] >= 0.0
    shares = [nn.mixup(wg.tensor([[0.0], [1.0]]), wg.tensor([0, 1]), 0.3)[0] for _ in range(5)]
    assert len({float(s[0]) for s in shares}) > 1
    soft = F.one_hot(target).float()
    wg.manual_seed(3)
    first = nn.mixup(x, target)
    wg.manual_seed(3)
    again = nn.mixup(x, soft)
    assert wg.equal(first[0], again[0]) and wg.equal(first[1], again[1])
    assert F.cross_entropy(wg.zeros(6, 6), first[1]).item() == pytest.approx(math.log(6), rel=1e-5)


def test_cutmix_mixes_targets_by_area() -> None:
    images = wg.arange(4).float().reshape(4, 1, 1, 1).expand(4, 2, 9, 7)
    seen = set()
    for _ in range(20):
        mixed, soft = nn.cutmix(images, wg.arange(4))
        for i in range(4):
            for c in range(4):
                area = (mixed[i] == c).float().mean().item()
                assert soft[i, c].item() == pytest.approx(area, abs=1e-6)
        inside = (mixed != images).any(0)[0].numpy()
        rows, columns = inside.any(1), inside.any(0)
        assert (inside == rows[:, None] & columns[None, :]).all()
        seen.add(inside.sum())
    assert len(seen) > 5


def test_mixing_refuses() -> None:
    with pytest.raises(ValueError, match="alpha must be positive"):
        nn.mixup(wg.zeros(2, 1), wg.tensor([0, 1]), alpha=0)
    with pytest.raises(ValueError, match="one target for each sample"):
        nn.mixup(wg.zeros(3, 1), wg.tensor([0, 1]))
    with pytest.raises(ValueError, match="needs images"):
        nn.cutmix(wg.zeros(2, 1), wg.tensor([0, 1]))


# --- focal loss --------------------------------------------------------------------------------------


@pytest.mark.quick(gamma=[2.5])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 2.5])
def test_focal_losses_are_the_formula(gamma: float) -> None:
    x = wg.randn(6, 4, dtype=wg.float64)
    p = np.exp(x.numpy()) / np.exp(x.numpy()).sum(1, keepdims=True)
    target = wg.tensor([0, 3, 1, -100, 2, 2])
    w = wg.tensor([1.0, 2.0, 0.5, 3.0], dtype=wg.float64)
    truth = [(p[i, t], w.numpy()[t]) for i, t in enumerate(target.tolist()) if t >= 0]
    want = [-v * (1 - q) ** gamma * math.log(q) for q, v in truth]
    assert nn.FocalLoss(gamma, w)(x, target).item() == pytest.approx(np.mean(want))
    assert nn.FocalLoss(gamma, w, reduction="sum")(x, target).item() == pytest.approx(sum(want))
    assert nn.FocalLoss(gamma, reduction="none")(x, target)[3].item() == 0
    labels = (wg.rand(6, 4) < 0.5).double()
    s, t = 1 / (1 + np.exp(-x.numpy())), labels.numpy()
    truth = np.where(t == 1, s, 1 - s)
    want = -np.where(t == 1, 0.25, 0.75) * (1 - truth) ** gamma * np.log(truth)
    np.testing.assert_allclose(nn.sigmoid_focal_loss(x, labels, gamma=gamma).numpy(), want)
    assert gradcheck(lambda x: nn.FocalLoss(gamma, w)(x, target), (x.requires_grad_(),))
    assert gradcheck(lambda x: nn.sigmoid_focal_loss(x, labels, gamma=gamma, reduction="mean"), (x,))


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    x, target = wg.randn(5, 3), wg.tensor([0, 2, -100, 1, 1])
    assert wg.allclose(nn.FocalLoss(0.0)(x, target), F.cross_entropy(x, target))
    with pytest.raises(ValueError, match="reduction must be"):
        nn.FocalLoss(reduction="max")


# --- penalties ---------------------------------------------------------------------------------------


def test_penalties() -> None:
    x, y = wg.randn(3, 2, dtype=wg.float64, requires_grad=True), wg.tensor(-2.0, dtype=wg.float64, requires_grad=True)
    one, two = nn.l1_penalty([x, y]), nn.l2_penalty(iter([x, y]))
    assert one.item() == pytest.approx(np.abs(x.detach().numpy()).sum() + 2)
    assert two.item() == pytest.approx((x.detach().numpy() ** 2).sum() + 4)
    (one + two).backward()
    np.testing.assert_allclose(x.grad.numpy(), np.sign(x.detach().numpy()) + 2 * x.detach().numpy())
    assert y.grad.item() == -5.0
    assert nn.l1_penalty([]).item() == nn.l2_penalty([]).item() == 0.0


def test_l2_penalty_is_weight_decay() -> None:
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    b.load_state_dict(a.state_dict())
    plain, decaying = wg.optim.SGD(a.parameters(), lr=0.1), wg.optim.SGD(b.parameters(), lr=0.1, weight_decay=0.06)
    for _ in range(3):
        (a(wg.ones(3)).sum() + 0.03 * nn.l2_penalty(a.parameters())).backward()
        b(wg.ones(3)).sum().backward()
        plain.step()
        decaying.step()
        plain.zero_grad()
        decaying.zero_grad()
    assert wg.allclose(a.weight, b.weight, atol=1e-6)


# --- averages ----------------------------------------------------------------------------------------


def step(net: nn.Module, to: float) -> None:
    with wg.no_grad():
        for p in net.parameters():
            p.fill_(to)


def test_average_is_the_recursion() -> None:
    net: Any = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    step(net, 1.0)
    ema = nn.ExponentialMovingAverage(net, 0.9)
    want = 1.0
    for value in (2.0, -1.0, 0.5):
        step(net, value)
        ema.update()
        want = 0.9 * want + 0.1 * value
    assert ema.averages["0.weight"].flatten().tolist() == pytest.approx([want] * 4)
    net(wg.randn(8, 2))  # counts a batch
    ema.update()
    assert ema.averages["1.num_batches_tracked"].item() == 1

    def fails() -> None:
        with ema.applied() as inner:
            assert inner is net
            assert net[0].weight[0, 0].item() == pytest.approx(0.9 * want + 0.05)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert net[0].weight[0, 0].item() == 0.5


def test_average_warms_up_and_goes_on_after_a_save() -> None:
    net = nn.Linear(1, 1)
    step(net, 0.0)
    ema = nn.ExponentialMovingAverage(net, 0.999, warmup=True)
    step(net, 1.0)
    ema.update()
    assert ema.averages["weight"].item() == pytest.approx(9 / 11)
    other = nn.ExponentialMovingAverage(nn.Linear(1, 1), 0.999, warmup=True)
    other.load_state_dict(ema.state_dict())
    other.module.load_state_dict(net.state_dict())
    for e in (ema, other):
        e.update()
    assert wg.equal(ema.averages["weight"], other.averages["weight"])
    target = nn.Linear(1, 1)
    ema.copy_to(target)
    assert wg.equal(target.weight.detach(), ema.averages["weight"])
    with pytest.raises(ValueError, match="the names differ: bias"):
        nn.ExponentialMovingAverage(nn.Linear(1, 1, bias=False)).load_state_dict(ema.state_dict())
    with pytest.raises(ValueError, match="decay must be"):
        nn.ExponentialMovingAverage(net, 1.0)

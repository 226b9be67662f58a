"""Batches without samples, infinities, and zeros where derivatives have no limit: what torch gives."""

from __future__ import annotations

import math

import pytest

import wengert as wg
from wengert import nn
from wengert.nn import functional as F


def test_batch_norm_of_no_samples_leaves_parameters_alone() -> None:
    layer = nn.BatchNorm1d(3)
    layer(wg.zeros(0, 3)).sum().backward()
    assert layer.weight.grad.tolist() == layer.bias.grad.tolist() == [0.0] * 3
    assert layer.running_mean.tolist() == [0.0] * 3


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool_of_zeros_has_the_gradient_0(p: int) -> None:
    x = wg.tensor([[[0.0, 0.0, 3.0, 0.0]]], requires_grad=True)
    y = nn.LPPool1d(p, 2)(x)
    y.sum().backward()
    assert y.tolist() == [[[0.0, pytest.approx(3.0)]]]
    assert x.grad.tolist() == [[[0.0, 0.0, pytest.approx(1.0), 1.0 if p == 1 else 0.0]]]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_the_mean_of_a_short_bin_can_be_infinite(value: float) -> None:
    x = wg.tensor([[1.0, 2.0, 3.0, 4.0, value]])
    assert F.adaptive_avg_pool1d(x, 3).tolist() == [[1.5, 3.0, value]]


def test_activations_of_infinities_have_derivatives() -> None:
    weight = wg.tensor([0.25], requires_grad=True)
    F.prelu(wg.tensor([math.inf, -2.0]), weight).sum().backward()
    assert weight.grad.tolist() == [-2.0]
    x = wg.tensor([math.inf, -math.inf], requires_grad=True)
    F.hardswish(x).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("compiled", [False, True])
def test_cross_entropy_of_certain_probabilities_has_a_gradient(compiled: bool) -> None:
    logits = wg.tensor([-200.0, 200.0, 0.5, 200.0], requires_grad=True)  # whose sigmoids are exactly 0 and 1

    def loss(x: wg.Tensor) -> wg.Tensor:
        return F.binary_cross_entropy(x.sigmoid(), wg.tensor([0.0, 1.0, 1.0, 0.0]), reduction="none")

    (wg.compile(loss) if compiled else loss)(logits).sum().backward()
    assert logits.grad.tolist() == pytest.approx([0.0, 0.0, -0.37754067, 0.0])
    p = wg.tensor([0.0, 1.0, 1.0], requires_grad=True)
    F.binary_cross_entropy(p, wg.tensor([0.0, 1.0, 0.0]), reduction="sum").backward()
    assert p.grad.tolist() == [0.0, 0.0, pytest.approx(1e12)]


def test_cross_entropy_of_probabilities_between_is_differentiable_twice() -> None:
    p = wg.tensor([0.3, 0.9], dtype=wg.float64, requires_grad=True)
    t = wg.tensor([0.25, 1.0], dtype=wg.float64, requires_grad=True)
    assert wg.autograd.gradcheck(F.binary_cross_entropy, (p, t))
    assert wg.autograd.gradgradcheck(F.binary_cross_entropy, (p, t))


def test_huber_loss_of_an_infinite_distance_has_a_derivative() -> None:
    x = wg.tensor([math.inf, 0.5], requires_grad=True)
    F.huber_loss(x, wg.zeros(2), reduction="sum").backward()
    assert x.grad.tolist() == [1.0, 0.5]

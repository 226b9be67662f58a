"""Initialisers: the distribution, the bounds, the generator, what is refused."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import init

SHAPE = (40, 30, 5, 5)  # fan in 750, fan out 1000


@pytest.mark.parametrize(
    ("fill", "std", "bound"),
    [
        (lambda w: init.uniform_(w, -2.0, 4.0), 6 / math.sqrt(12), 4.0),
        (lambda w: init.normal_(w, 0.0, 3.0), 3.0, None),
        (lambda w: init.xavier_uniform_(w, gain=2.0), 2 * math.sqrt(2 / 1750), 2 * math.sqrt(6 / 1750)),
        (lambda w: init.xavier_normal_(w), math.sqrt(2 / 1750), None),
        (lambda w: init.kaiming_uniform_(w, nonlinearity="relu"), math.sqrt(2 / 750), math.sqrt(6 / 750)),
        (lambda w: init.kaiming_uniform_(w, a=2.0), math.sqrt(0.4 / 750), math.sqrt(1.2 / 750)),
        (lambda w: init.kaiming_normal_(w, mode="fan_out"), math.sqrt(2 / 1000), None),
        (lambda w: init.trunc_normal_(w, std=1.0, a=-1.0, b=1.0), 0.5396, 1.0),
    ],
)
def test_distributions(fill: Any, std: float, bound: float | None) -> None:
    w = nn.Parameter(wg.empty(*SHAPE, dtype=wg.float64))
    assert fill(w) is w
    assert w.requires_grad
    assert w.is_leaf
    assert w.std().item() == pytest.approx(std, rel=0.03)
    if bound is not None:
        assert bound * 0.99 < w.abs().max().item() <= bound


def test_trunc_normal_around_another_mean() -> None:
    w = init.trunc_normal_(wg.empty(10000), mean=1.0, std=0.5, a=0.5, b=3.0)
    assert w.min().item() >= 0.5
    assert w.max().item() <= 3.0
    with pytest.warns(UserWarning, match="mean is more than 2 std from"):
        far = init.trunc_normal_(wg.empty(100), mean=9.0, a=-1.0, b=1.0)
    assert far.abs().max().item() <= 1.0


def test_constants() -> None:
    w = nn.Parameter(wg.empty(2, 3))
    assert init.constant_(w, 3.5).tolist() == [[3.5] * 3] * 2
    assert init.ones_(w).tolist() == [[1.0] * 3] * 2
    assert init.zeros_(w).tolist() == [[0.0] * 3] * 2
    assert init.eye_(w).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (4, 2, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = init.orthogonal_(wg.empty(*shape, dtype=wg.float64), gain=2.0).numpy().reshape(shape[0], -1) / 2
    small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-12)


@pytest.mark.parametrize(
    "fill",
    [
        init.uniform_,
        init.normal_,
        init.xavier_uniform_,
        init.kaiming_normal_,
        init.orthogonal_,
        init.trunc_normal_,
    ],
)
def test_generator(fill: Any) -> None:
    draws = [fill(wg.empty(3, 4), generator=wg.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert wg.equal(draws[0], draws[1])
    assert not wg.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    "fill",
    [
        init.xavier_uniform_,
        init.xavier_normal_,
        init.kaiming_uniform_,
        init.kaiming_normal_,
        init.orthogonal_,
    ],
)
def test_empty_tensors_stay(fill: Any) -> None:
    assert fill(wg.empty(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda: init.xavier_uniform_(wg.empty(3)), "fewer than 2 dimensions: shape (3,)"),
        (lambda: init.orthogonal_(wg.empty(3)), "only tensors with 2 or more dimensions are supported"),
        (lambda: init.eye_(wg.empty(3)), "only tensors with 2 dimensions are supported"),
        (lambda: init.kaiming_uniform_(wg.empty(3, 3), mode="fan"), "mode not supported: 'fan'"),
        (lambda: init.calculate_gain("swish"), "unsupported nonlinearity: 'swish'"),
        (lambda: init.calculate_gain("leaky_relu", True), "negative_slope is not a number: True"),
    ],
)
def test_refused(fill: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        fill()

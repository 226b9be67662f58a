"""A memory budget: values are computed again, results stay the same to the bit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert import nn


def compiled(net: Any, optimizer: Any, budget: int | None) -> Any:
    """A training step of a classifier."""

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return wg.compile(step, memory_budget=budget)


def training(budget: int | None, layers: int = 8, rows: int = 256, dropout: float = 0.0) -> tuple[Any, list[Any]]:
    """A compiled step of a deep network, and its batch."""
    wg.manual_seed(0)
    parts = [nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.LayerNorm(32), nn.Dropout(dropout)) for _ in range(layers)]
    net = nn.Sequential(*parts, nn.Linear(32, 4))
    optimizer = wg.optim.Adam(net.parameters(), lr=1e-2)

    batch = [wg.randn(rows, 32), wg.randint(0, 4, (rows,))]
    return compiled(net, optimizer, budget), batch


def losses(budget: int | None, **options: Any) -> list[float]:
    step, batch = training(budget, **options)
    return [step(*batch).item() for _ in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize(("share", "dropout"), list(itertools.product((0.8, 0.5), (0.0, 0.3))))
def test_results_do_not_change(share: float, dropout: float) -> None:
    step, batch = training(None, dropout=dropout)
    peak = wg.plan(step, *batch).peak
    budget = int(peak * share)
    smaller, batch = training(budget, dropout=dropout)
    assert wg.plan(smaller, *batch).peak <= budget
    assert losses(budget, dropout=dropout) == losses(None, dropout=dropout)


@pytest.mark.slow
def test_a_budget_that_is_kept_anyway_changes_nothing() -> None:
    step, batch = training(None)
    plan = wg.plan(step, *batch)
    roomy, batch = training(plan.peak)
    assert str(wg.plan(roomy, *batch)).splitlines()[0] == str(plan).splitlines()[0]


@pytest.mark.slow
def test_too_small_a_budget_is_an_error_that_says_what_is_needed() -> None:
    step, batch = training(1000, layers=2)
    with pytest.raises(wg.errors.ArgumentError, match=r"1000 bytes, [0-9]+ are needed"):
        step(*batch)


def test_results_that_carry_gradients_have_no_budget() -> None:
    net = wg.compile(nn.Linear(4, 4), memory_budget=10**6)
    with pytest.raises(wg.errors.ArgumentError, match="later backward"):
        net(wg.zeros(2, 4))
    with wg.no_grad():
        assert net(wg.zeros(2, 4)).shape == (2, 4)


@pytest.mark.slow
def test_convolutions_and_pooling_are_computed_again() -> None:
    def training(budget: int | None) -> tuple[Any, list[Any]]:
        wg.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(5)]
        net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *blocks, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 3))
        optimizer = wg.optim.SGD(net.parameters(), lr=0.1)

        return compiled(net, optimizer, budget), [wg.randn(8, 3, 8, 8), wg.randint(0, 3, (8,))]

    step, batch = training(None)
    budget = int(wg.plan(step, *batch).peak * 0.7)
    expected = [step(*batch).item() for _ in range(3)]
    smaller, batch = training(budget)
    found = [smaller(*batch).item() for _ in range(3)]
    assert wg.plan(smaller, *batch).peak <= budget
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("layers", "share"), [(2, 0.8), (8, 0.5), (8, None)])
@pytest.mark.slow
def test_the_plan_tells_what_is_allocated(layers: int, share: float | None) -> None:
    step, batch = training(None, layers)
    plan = wg.plan(step, *batch)
    if share is not None:
        budget = int(plan.peak * share)
        step, batch = training(budget, layers)
        plan = wg.plan(step, *batch)
        assert plan.peak <= budget
    step(*batch)
    p = step.latest.program
    made = sum(p.avals[i].nbytes for i in p.made)
    assert plan.peak == p.arena.nbytes + p.scratch.nbytes // p.limit + made

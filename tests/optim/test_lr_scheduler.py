"""Schedules: what golden files do not show."""

from __future__ import annotations

import re
from typing import Any

import pytest

import wengert as wg
from wengert import nn, optim
from wengert.optim import lr_scheduler


def optimizer(lr: Any = 1.0) -> optim.Optimizer:
    return optim.SGD([nn.Parameter(wg.ones(1))], lr=lr)


def rates(schedule: Any, epochs: int) -> list[float]:
    seen = []
    for _ in range(epochs):
        schedule.optimizer.step()
        schedule.step()
        seen.append(schedule.get_last_lr()[0])
    return seen


def test_two_schedules_multiply() -> None:
    o = optimizer()
    a, b = lr_scheduler.ExponentialLR(o, 0.5), lr_scheduler.StepLR(o, 2, 0.1)
    seen = []
    for _ in range(3):
        o.step()
        a.step()
        b.step()
        seen.append(o.param_groups[0]["lr"])
    assert seen == pytest.approx([0.5, 0.025, 0.0125])


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.StepLR(o, 3, 0.5),
        lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.3),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 4, 0.1),
        lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    ],
)
def test_jumping_to_an_epoch_gives_the_same_rate(make: Any) -> None:
    walked = rates(make(optimizer()), 7)
    jumping = make(optimizer())
    jumping.optimizer.step()
    jumping.step(7)
    assert jumping.get_last_lr() == pytest.approx([walked[-1]])


@pytest.mark.parametrize("last_epoch", [3, 8])
def test_resuming_with_last_epoch(last_epoch: int) -> None:
    walked = rates(lr_scheduler.CosineAnnealingLR(optimizer(), 5), last_epoch + 3)
    o = optimizer()
    o.param_groups[0]["initial_lr"] = 1.0
    resumed = lr_scheduler.CosineAnnealingLR(o, 5, last_epoch=last_epoch)
    assert resumed.get_last_lr() == pytest.approx([walked[last_epoch]])
    assert rates(resumed, 2) == pytest.approx(walked[last_epoch + 1 :])
    with pytest.raises(KeyError, match="'initial_lr' is not specified in param_groups"):
        lr_scheduler.CosineAnnealingLR(optimizer(), 5, last_epoch=last_epoch)


def test_a_tensor_as_rate_stays_the_same_tensor() -> None:
    lr = wg.tensor(1.0)
    o = optimizer(lr)
    assert rates(lr_scheduler.ExponentialLR(o, 0.5), 2) == [0.5, 0.25]
    assert o.param_groups[0]["lr"] is lr
    assert lr.item() == 0.25


def test_stepping_before_the_optimizer_warns() -> None:
    schedule = lr_scheduler.ExponentialLR(optimizer(), 0.5)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        schedule.step()


def test_state_of_callable_objects_is_kept() -> None:
    class Warmup:
        def __init__(self, length: int) -> None:
            self.length = length

        def __call__(self, epoch: int) -> float:
            return min(1.0, epoch / self.length)

    saved = lr_scheduler.LambdaLR(optimizer(), Warmup(4)).state_dict()
    assert saved["lr_lambdas"] == [{"length": 4}]
    assert "optimizer" not in saved
    other = lr_scheduler.LambdaLR(optimizer(), Warmup(9))
    other.load_state_dict(saved)
    assert rates(other, 1) == [0.25]
    assert lr_scheduler.LambdaLR(optimizer(), lambda epoch: 1.0).state_dict()["lr_lambdas"] == [None]


def test_own_schedule() -> None:
    class Halve(lr_scheduler._LRScheduler):
        def get_lr(self) -> list[float]:
            return [base / 2**self.last_epoch for base in self.base_lrs]

    assert rates(Halve(optimizer()), 3) == [0.5, 0.25, 0.125]


def test_plateau_takes_tensors() -> None:
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer(), factor=0.5, patience=0)
    schedule.step(wg.tensor(1.0))
    schedule.step(wg.tensor(2.0))
    assert schedule.get_last_lr() == [0.5]
    schedule.step(wg.tensor(float("nan")))
    assert schedule.get_last_lr() == [0.25]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda o: lr_scheduler.StepLR(3, 1), TypeError, "int is not an Optimizer"),
        (lambda o: lr_scheduler.StepLR(o, 0), ValueError, "StepLR: step_size must be positive: 0"),
        (
            lambda o: lr_scheduler.CosineAnnealingLR(o, 0),
            ValueError,
            "CosineAnnealingLR: T_max must be positive: 0",
        ),
        (lambda o: lr_scheduler.LambdaLR(o, [abs, abs]), ValueError, "Expected 1 lr_lambdas, but got 2"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(3), TypeError, "int is not an Optimizer"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor should be < 1.0: 1.0"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, "best"), ValueError, "mode is unknown: 'best'"),
        (
            lambda o: lr_scheduler.ReduceLROnPlateau(o, threshold_mode="x"),
            ValueError,
            "threshold mode is unknown: 'x'",
        ),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, min_lr=[1, 2]), ValueError, "expected 1 min_lrs, got 2"),
        (lambda o: lr_scheduler.LRScheduler(o), NotImplementedError, "LRScheduler does not define get_lr"),
    ],
)
def test_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        make(optimizer())

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
        (lambda o: lr_scheduler.MultiplicativeLR(o, 0.9), TypeError, "'float' object is not iterable"),
        (lambda o: lr_scheduler.MultiplicativeLR(o, [0.9]), TypeError, "lr_lambda should be a function, but got float"),
        (lambda o: lr_scheduler.ConstantLR(o, 2.0), ValueError, "factor should be between 0 and 1: 2.0"),
        (lambda o: lr_scheduler.LinearLR(o, 0.0), ValueError, "start_factor should be greater than 0"),
        (lambda o: lr_scheduler.LinearLR(o, end_factor=2), ValueError, "end_factor should be between 0 and 1"),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 0), ValueError, "Expected positive integer T_0"),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1, 0), ValueError, "Expected integer T_mult >= 1"),
        (lambda o: lr_scheduler.CyclicLR(o, [1, 2], 3), ValueError, "base_lr: must have the same length"),
        (lambda o: lr_scheduler.CyclicLR(o, 1, 3, mode="x"), ValueError, "mode is invalid and scale_fn is None: 'x'"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0), ValueError, "You must define either total_steps OR"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 0), ValueError, "Expected positive integer total_steps: 0"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, pct_start=2.0), ValueError, "between 0 and 1 pct_start: 2.0"),
        (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, anneal_strategy="x"), ValueError, "one of 'cos' or 'linear'"),
        (lambda o: lr_scheduler.ChainedScheduler([]), ValueError, "expects at least one scheduler"),
        (lambda o: lr_scheduler.SequentialLR(o, [], []), ValueError, "expects at least one scheduler"),
        (
            lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ReduceLROnPlateau(o)]),
            ValueError,
            "does not support `ReduceLROnPlateau`",
        ),
        (
            lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(o, 1)], optimizer()),
            ValueError,
            "all schedulers must belong to the same optimizer",
        ),
        (
            lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 1)], [3]),
            ValueError,
            "one milestone fewer than schedulers: 1 schedulers, 1 milestones",
        ),
        (lambda o: lr_scheduler.LRScheduler(o), NotImplementedError, "LRScheduler does not define get_lr"),
    ],
)
def test_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        make(optimizer())


def test_one_cycle_ends() -> None:
    schedule = lr_scheduler.OneCycleLR(optim.SGD([nn.Parameter(wg.ones(1))], lr=1.0, momentum=0.9), 0.5, 3)
    assert len(rates(schedule, 2)) == 2
    rates(schedule, 1)
    with pytest.raises(ValueError, match="Tried to step 4 times: the total number of steps is 3"):
        schedule.step()


def test_cycles_move_adams_first_beta() -> None:
    o = optim.Adam([nn.Parameter(wg.ones(1))])
    schedule = lr_scheduler.CyclicLR(o, 0.1, 0.3, 2)
    assert rates(schedule, 4) == pytest.approx([0.2, 0.3, 0.2, 0.1])
    assert o.param_groups[0]["betas"] == (0.9, 0.999)
    with pytest.raises(ValueError, match="optimizer must support momentum or beta1"):
        lr_scheduler.CyclicLR(optim.Adagrad([nn.Parameter(wg.ones(1))]), 0.1, 0.3)


def test_plateau_takes_new_groups() -> None:
    o = optimizer()
    schedule = lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0)
    o.add_param_group({"params": [nn.Parameter(wg.ones(1))], "lr": 4.0})
    schedule.step(1.0)
    schedule.step(1.0)
    assert schedule.get_last_lr() == [0.5, 2.0]

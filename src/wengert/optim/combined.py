"""Schedules that react or are made of others: ReduceLROnPlateau, ChainedScheduler, SequentialLR."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError, message
from .optimizer import Optimizer
from .schedule import LRScheduler, check_untraced, plain, set_rate


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by ``factor`` when a measure has not improved for more than ``patience`` epochs.

    Args:
        optimizer: its groups' ``lr`` is what the schedule changes.
        mode: ``"min"`` if smaller is better, ``"max"`` if larger is.
        factor: below 1.
        patience: epochs without improvement that are let pass.
        threshold: by how much a value must be better to count.
        threshold_mode: ``"rel"``, a fraction of the best value, or ``"abs"``.
        cooldown: epochs after a reduction in which none is counted.
        min_lr: smallest rate, for all groups or a list with one for each.
        eps: smaller changes of the rate are not made.

    >>> import wengert as wg
    >>> optimizer = wg.optim.SGD([wg.nn.Parameter(wg.ones(1))], lr=1.0)
    >>> schedule = wg.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0]:
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0,
        eps: float = 1e-8,
    ) -> None:
        _check_plateau(optimizer, mode, factor, threshold_mode)
        groups = len(optimizer.param_groups)
        several = isinstance(min_lr, list | tuple)
        self.default_min_lr = None if several else min_lr
        self.min_lrs: list[float] = list(min_lr) if several else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise ArgumentError(message("ReduceLROnPlateau", f"expected {groups} min_lrs, got {len(self.min_lrs)}"))
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.last_epoch = 0
        self._last_lr = self._rates()
        self._reset()

    def _reset(self) -> None:
        """Forget the best value and all counts."""
        self.mode_worse = math.inf if self.mode == "min" else -math.inf
        self.best = self.mode_worse
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction was so recent that bad epochs do not count."""
        return self.cooldown_counter > 0

    def is_better(self, value: float, best: float) -> bool:
        """Whether a value improves on the best so far."""
        if self.threshold_mode == "rel":
            return value < best * (1 - self.threshold) if self.mode == "min" else value > best * (1 + self.threshold)
        return value < best - self.threshold if self.mode == "min" else value > best + self.threshold

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take note of the measure after an epoch and reduce the rate if it is time."""
        check_untraced(self)
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._rates()

    def _reduce(self) -> None:
        groups = len(self.optimizer.param_groups)
        if groups != len(self.min_lrs):  # one was added
            if self.default_min_lr is None:
                raise ArgumentError(message("ReduceLROnPlateau", f"expected {groups} min_lrs, got {len(self.min_lrs)}"))
            self.min_lrs = [self.default_min_lr] * groups
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            old = plain(group["lr"])
            new = max(old * self.factor, least)
            if old - new > self.eps:
                set_rate(group, new)


def _check_plateau(optimizer: Any, mode: str, factor: float, threshold_mode: str) -> None:
    name = "ReduceLROnPlateau"
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
    if factor >= 1.0:
        raise ArgumentError(message(name, "factor should be < 1.0", str(factor)))
    if mode not in ("min", "max"):
        raise ArgumentError(message(name, "mode is unknown", repr(mode), "Use 'min' or 'max'"))
    if threshold_mode not in ("rel", "abs"):
        raise ArgumentError(message(name, "threshold mode is unknown", repr(threshold_mode), "Use 'rel' or 'abs'"))


class _Combined(LRScheduler):
    """What schedules made of others share."""

    _schedulers: list[LRScheduler]

    def _check(self, schedulers: Sequence[Any], optimizer: Any) -> None:
        name = type(self).__name__
        for index, schedule in enumerate(schedulers):
            if not hasattr(schedule, "optimizer"):
                raise TypeError(message(name, f"scheduler {index} should have `optimizer` as its attribute"))
            if isinstance(schedule, ReduceLROnPlateau):
                raise ArgumentError(
                    message(name, "does not support `ReduceLROnPlateau`, which needs a measure", f"at index {index}")
                )
            if schedule.optimizer is not optimizer:
                raise ArgumentError(
                    message(name, "all schedulers must belong to the same optimizer", f"not so at index {index}")
                )

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, with the states of the schedules."""
        state = {key: value for key, value in super().state_dict().items() if key != "_schedulers"}
        return state | {"_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rest = dict(state_dict)
        for schedule, saved in zip(self._schedulers, rest.pop("_schedulers"), strict=True):
            schedule.load_state_dict(saved)
        self.__dict__.update(rest)


class ChainedScheduler(_Combined):
    """Steps several schedules at once; their effects multiply.

    >>> import wengert as wg
    >>> optimizer = wg.optim.SGD([wg.nn.Parameter(wg.ones(1))], lr=1.0)
    >>> S = wg.optim.lr_scheduler
    >>> schedule = S.ChainedScheduler([S.ExponentialLR(optimizer, 0.5), S.StepLR(optimizer, 2, 0.1)])
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.025
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if not schedulers:
            raise ArgumentError(message("ChainedScheduler", "expects at least one scheduler to be chained"))
        self.optimizer = optimizer or schedulers[0].optimizer
        self._check(schedulers, self.optimizer)
        self._schedulers = list(schedulers)
        self._last_lr = self._rates()

    def step(self) -> None:  # type: ignore[override]
        """Step all schedules."""
        check_untraced(self)
        for schedule in self._schedulers:
            schedule.step()
        self._last_lr = self._rates()


class SequentialLR(_Combined):
    """Follows one schedule after another; ``milestones`` are the epochs at which the next one takes over."""

    def __init__(
        self, optimizer: Optimizer, schedulers: list[Any], milestones: list[int], last_epoch: int = -1
    ) -> None:
        if not schedulers:
            raise ArgumentError(message("SequentialLR", "expects at least one scheduler"))
        self._check(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ArgumentError(
                message(
                    "SequentialLR",
                    "there must be one milestone fewer than schedulers",
                    f"{len(schedulers)} schedulers, {len(milestones)} milestones",
                )
            )
        self._schedulers, self._milestones = schedulers, milestones
        self.last_epoch, self.optimizer = last_epoch + 1, optimizer
        # Each schedule has set its first rate: take that back, and let the first begin.
        for group in optimizer.param_groups:
            set_rate(group, group["initial_lr"])
        _step_back(self)
        first = schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:  # type: ignore[override]
        """Step the schedule whose turn it is."""
        check_untraced(self)
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            schedule._update_lr(0)
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()


def _step_back(schedule: Any) -> None:
    if hasattr(schedule, "_schedulers"):
        for inner in schedule._schedulers:
            _step_back(inner)
    elif hasattr(schedule, "last_epoch"):
        schedule.last_epoch -= 1

"""``LRScheduler``, the base of the learning-rate schedules, and what they share."""

from __future__ import annotations

import types
import warnings
from typing import Any

from ..config import STATE, no_grad
from ..errors import ArgumentError, TraceError, message
from ..tensor import Tensor
from .optimizer import Optimizer


def check_untraced(schedule: Any) -> None:
    """Raise within a compiled function: a schedule counts in Python, which would be done once."""
    if STATE.trace is not None and STATE.trace.captures_all:
        raise TraceError(
            message(type(schedule).__name__, "a compiled function cannot step a schedule of learning rates",
                    cure="Call step() after the compiled function, which follows the rates")
        )  # fmt: skip


class LRScheduler:
    """Base of the schedules: a subclass defines `get_lr`, the rates of all groups at ``last_epoch``.

    Args:
        optimizer: its groups' ``lr`` is what the schedule changes.
        last_epoch: number of the last epoch done; -1 to start afresh.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", plain(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{number}] when resuming scheduler "
                    "with last_epoch >= 0. Load the optimizer's state first, or start with last_epoch=-1."
                )
        self.base_lrs: list[Any] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    _is_initial = False

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[Any]:
        """The rates at ``last_epoch``, computed from the present ones."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr")

    def get_last_lr(self) -> list[Any]:
        """The rates set last."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch (or to the given one) and set the rates."""
        check_untraced(self)
        self._warn_if_too_early()
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed = getattr(self, "_get_closed_form_lr", None)
        rates = self.get_lr() if epoch is None or closed is None else closed()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_rate(group, rate)
        self._last_lr = [plain(group["lr"]) for group in self.optimizer.param_groups]

    def _warn_if_too_early(self) -> None:
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the opposite "
                "order, otherwise the first value of the learning rate schedule is skipped.",
                UserWarning,
                stacklevel=3,
            )

    def _rates(self) -> list[Any]:
        return [plain(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)


def plain(rate: Any) -> Any:
    """A rate as a number."""
    return rate.item() if isinstance(rate, Tensor) else rate


def set_rate(group: dict[str, Any], rate: Any) -> None:
    """Set a group's rate; one that is a tensor stays the same tensor, for a compiled step holds on to it."""
    if isinstance(group["lr"], Tensor):
        with no_grad():
            group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def check_positive(schedule: str, name: str, value: Any) -> None:
    """Raise unless ``value > 0``."""
    if not value > 0:
        raise ArgumentError(message(schedule, f"{name} must be positive", repr(value)))


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A value for each group: the same one, or one each from a list."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
    groups = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [plain(value)] * groups
    if len(value) != groups:
        raise ArgumentError(
            message(name, "must have the same length as optimizer.param_groups", f"{len(value)} for {groups} groups")
        )
    return [plain(v) for v in value]


def set_momentum(group: dict[str, Any], momentum: Any) -> None:
    """Set a group's momentum, or the first of its betas."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def begin_momentum(schedule: str, optimizer: Optimizer, base: Any, most: Any, start: bool) -> tuple[list[Any], ...]:
    """Check that the momentum can be cycled; set it to its largest value. Returns both values for each group."""
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ArgumentError(
            message(schedule, "optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        )
    low, high = per_group("base_momentum", optimizer, base), per_group("max_momentum", optimizer, most)
    if start:
        for group, b, m in zip(optimizer.param_groups, low, high, strict=True):
            set_momentum(group, m)
            group["max_momentum"], group["base_momentum"] = m, b
    return low, high


def saved_function(f: Any) -> Any:
    """What a state dictionary holds of a function: nothing, or the attributes of a callable object."""
    return None if f is None or isinstance(f, types.FunctionType) else dict(f.__dict__)

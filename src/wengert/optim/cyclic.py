"""Schedules that go up and down: CyclicLR (Smith 2017), OneCycleLR (Smith & Topin 2019), warm restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError, message
from .optimizer import Optimizer
from .schedule import LRScheduler, begin_momentum, check_untraced, per_group, saved_function, set_momentum, set_rate


class CyclicLR(LRScheduler):
    """Lets the rate go from ``base_lr`` to ``max_lr`` and back again and again, linearly; step it every batch.

    Args:
        optimizer: its groups' ``lr`` is what the schedule changes.
        base_lr: lowest rate, for all groups or a list with one for each.
        max_lr: highest rate, likewise.
        step_size_up: steps of the rise.
        step_size_down: steps of the fall; as many if not given.
        mode: ``"triangular"``, ``"triangular2"`` (half as high each cycle) or ``"exp_range"`` (``gamma ** step``).
        gamma: for ``"exp_range"``.
        scale_fn: own scale of the height, instead of ``mode``.
        scale_mode: whether it gets the number of the ``"cycle"`` or of the step (``"iterations"``).
        cycle_momentum: let the momentum (Adam's first beta) move the other way,
            from ``max_momentum`` to ``base_momentum``.
        last_epoch: number of the last step done; -1 to start afresh.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                set_rate(group, lr)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ArgumentError(message("CyclicLR", "mode is invalid and scale_fn is None", repr(mode)))
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = "betas" in optimizer.defaults
            momenta = begin_momentum("CyclicLR", optimizer, base_momentum, max_momentum, last_epoch == -1)
            self.base_momentums, self.max_momentums = momenta
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of a cycle, as a share of the whole."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x

    def get_lr(self) -> list[Any]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                set_momentum(group, high - (high - low) * height * scale)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and a plain function; a callable object gives its attributes."""
        return super().state_dict() | {"_scale_fn_custom": saved_function(self._scale_fn_custom)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rest = dict(state_dict)
        saved = rest.pop("_scale_fn_custom", None)
        if saved is not None and self._scale_fn_custom is not None:
            self._scale_fn_custom.__dict__.update(saved)
        self.__dict__.update(rest)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Lets the rate fall to ``eta_min`` along half a cosine, then starts again from the top.

    Source: Loshchilov & Hutter 2017.

    Args:
        optimizer: its groups' ``lr`` is what the schedule changes.
        T_0: epochs of the first fall.
        T_mult: factor by which each fall is longer than the last.
        eta_min: lowest rate.
        last_epoch: number of the last epoch done; -1 to start afresh.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        name = "CosineAnnealingWarmRestarts"
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ArgumentError(message(name, "Expected positive integer T_0", f"{T_0}"))
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ArgumentError(message(name, "Expected integer T_mult >= 1", f"{T_mult}"))
        if not isinstance(eta_min, float | int):
            raise ArgumentError(message(name, "Expected float or int eta_min", f"{eta_min}"))
        self.T_0, self.T_i, self.T_mult, self.eta_min, self.T_cur = T_0, T_0, T_mult, eta_min, last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:  # type: ignore[override]
        """Go on to the next epoch, or to a given one, which may be a fraction."""
        check_untraced(self)
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            if epoch < 0:
                raise ArgumentError(message("CosineAnnealingWarmRestarts", "Expected non-negative epoch", f"{epoch}"))
            self._jump(epoch)
        self.last_epoch = math.floor(epoch)
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            set_rate(group, lr)
        self._last_lr = self._rates()

    def _update_lr(self, epoch: int | None = None) -> None:
        self.step(epoch)

    def _jump(self, epoch: float) -> None:
        self.T_cur: float
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**n


class OneCycleLR(LRScheduler):
    """Lets the rate rise to ``max_lr`` and fall far below where it began, once in training; step it every batch.

    Args:
        optimizer: its groups' ``lr`` is what the schedule changes.
        max_lr: highest rate, for all groups or a list with one for each.
        total_steps: how many steps there are; or else ``epochs`` and ``steps_per_epoch``.
        pct_start: share of the rise.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: let the momentum (Adam's first beta) move the other way,
            from ``max_momentum`` to ``base_momentum`` and back.
        div_factor: ``max_lr`` over the first rate.
        final_div_factor: the first rate over the last one.
        three_phase: fall as long as the rise took, and then further.
        last_epoch: number of the last step done; -1 to start afresh.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        max_lrs = per_group("max_lr", optimizer, max_lr)
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ArgumentError(message("OneCycleLR", "Expected float between 0 and 1 pct_start", f"{pct_start}"))
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                message("OneCycleLR", "anneal_strategy must be one of 'cos' or 'linear'", repr(anneal_strategy))
            )
        self._schedule_phases = _phases(pct_start * self.total_steps, self.total_steps, three_phase)
        self._anneal_func_type = anneal_strategy
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"], group["max_lr"] = lr / div_factor, lr
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = "betas" in optimizer.defaults
            begin_momentum("OneCycleLR", optimizer, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, share: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    def get_lr(self) -> list[Any]:
        step = self.last_epoch
        if step > self.total_steps:
            raise ArgumentError(
                message("OneCycleLR", f"Tried to step {step} times", f"the total number of steps is {self.total_steps}")
            )
        begin, phase = 0.0, self._schedule_phases[0]
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            begin = phase["end_step"]
        share = (step - begin) / (phase["end_step"] - begin)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                set_momentum(group, self._between(*ends, share))
        return rates


def _total(total_steps: Any, epochs: Any, steps_per_epoch: Any) -> int:
    given = {"total_steps": total_steps}
    if total_steps is None:
        given = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    if None in given.values():
        raise ArgumentError(message("OneCycleLR", "You must define either total_steps OR (epochs AND steps_per_epoch)"))
    for name, value in given.items():
        if not isinstance(value, int) or value <= 0:
            raise ArgumentError(message("OneCycleLR", f"Expected positive integer {name}", f"{value}"))
    return math.prod(given.values())


def _phases(rise: float, total: int, three: bool) -> list[dict[str, Any]]:
    def phase(end: float, lr: tuple[str, str], momentum: tuple[str, str]) -> dict[str, Any]:
        return {
            "end_step": end,
            "start_lr": lr[0],
            "end_lr": lr[1],
            "start_momentum": f"{momentum[0]}_momentum",
            "end_momentum": f"{momentum[1]}_momentum",
        }

    up = phase(float(rise) - 1, ("initial_lr", "max_lr"), ("max", "base"))
    if not three:
        return [up, phase(total - 1, ("max_lr", "min_lr"), ("base", "max"))]
    down = phase(float(2 * rise) - 2, ("max_lr", "initial_lr"), ("base", "max"))
    return [up, down, phase(total - 1, ("initial_lr", "min_lr"), ("max", "max"))]

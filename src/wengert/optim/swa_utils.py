"""Averages of a model's weights over training (Izmailov et al. 2018; Polyak & Juditsky 1992), and their schedule."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import api
from ..config import STATE, no_grad
from ..errors import ArgumentError, message
from ..nn.module import Module
from ..nn.normalization import _BatchNorm
from ..tensor import Tensor
from .optimizer import Optimizer
from .schedule import LRScheduler, per_group

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Average = Callable[[Any, Any, Any], Any]


def _check_decay(name: str, decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ArgumentError(message(name, "Invalid decay value", f"{decay}", "It must be between 0 and 1"))


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """The function ``(average, new, count) -> average`` of an exponential moving average."""
    _check_decay("get_ema_avg_fn", decay)

    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Average:
    """The function ``(average, new, count) -> average`` of an equal average."""

    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def _over_lists(average: Average) -> Callable[..., None]:
    """An average of lists of tensors, in place."""

    def update(averaged: Sequence[Any], current: Sequence[Any], num_averaged: Any) -> None:
        with no_grad():
            for old, new in zip(averaged, current, strict=True):
                old.copy_(average(old, new, num_averaged))

    return update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., None]:
    """The function ``(averages, new ones, count)`` of an exponential moving average, in place."""
    _check_decay("get_ema_multi_avg_fn", decay)
    return _over_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[..., None]:
    """The function ``(averages, new ones, count)`` of an equal average, in place."""
    return _over_lists(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose parameters are the averages of those that `update_parameters` has seen.

    Args:
        model: is copied.
        device: "cpu" or None.
        avg_fn: ``(average, new, count) -> average`` of one tensor; an equal average if not given.
        multi_avg_fn: the same for lists of tensors, in place.
        use_buffers: average buffers too; otherwise they are copied.

    >>> import wengert as wg
    >>> model = wg.nn.Linear(1, 1, bias=False)
    >>> average = wg.optim.swa_utils.AveragedModel(model)
    >>> for value in [1.0, 2.0, 6.0]:
    ...     _ = model.weight.detach().fill_(value)
    ...     average.update_parameters(model)
    >>> average(wg.ones(1)).item()
    3.0
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: Callable[..., None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ArgumentError(message("AveragedModel", "Only one of avg_fn and multi_avg_fn should be provided"))
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", api.tensor(0, dtype=api.int64))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take a model's parameters into the average; the first ones are copied."""
        ours, theirs = list(self.module.parameters()), list(model.parameters())
        buffers = list(self.module.buffers()), list(model.buffers())
        if self.use_buffers:
            ours, theirs = ours + buffers[0], theirs + buffers[1]
        averaged, current = [p.detach() for p in ours], [p.detach() for p in theirs]
        with no_grad():
            if STATE.trace is not None:  # whether it is the first time may be different in another call
                first, new = self.n_averaged == 0, [a.clone() for a in averaged]
                self._take_in(new, current)
                _copy(averaged, [api.where(first, c, a) for a, c in zip(new, current, strict=True)])
            elif int(self.n_averaged.item()) == 0:
                _copy(averaged, current)
            else:
                self._take_in(averaged, current)
            if not self.use_buffers:
                _copy([b.detach() for b in buffers[0]], [b.detach() for b in buffers[1]])
            self.n_averaged.add_(1)

    def _take_in(self, averaged: Sequence[Any], current: Sequence[Any]) -> None:
        """One more of several: the average by the user's function, or ours."""
        if self.multi_avg_fn is None:
            _over_lists(self.avg_fn or get_swa_avg_fn())(averaged, current, self.n_averaged)
            return
        for kind in {p.dtype for p in averaged}:
            pairs = [(a, c) for a, c in zip(averaged, current, strict=True) if a.dtype == kind]
            self.multi_avg_fn([a for a, _ in pairs], [c for _, c in pairs], self.n_averaged)


def _copy(targets: Sequence[Any], sources: Sequence[Any]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of all batch norms anew, in one pass over the data.

    Args:
        loader: batches; of lists and tuples the first entry is the input.
        model: is called on each batch in training mode.
        device: "cpu" or None.
    """
    momenta = {module: module.momentum for module in model.modules() if isinstance(module, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    try:
        for module in momenta:
            module.reset_running_stats()
            module.momentum = None
        with no_grad():
            for batch in loader:
                x = batch[0] if isinstance(batch, list | tuple) else batch
                model(x if device is None else x.to(device))
    finally:
        for module, momentum in momenta.items():
            module.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    """Lets the rate go to ``swa_lr`` within ``anneal_epochs``, and stay.

    Args:
        optimizer: its groups' ``lr`` is what the schedule changes.
        swa_lr: the rate at the end, for all groups or a list with one for each.
        anneal_epochs: how many epochs it takes.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        last_epoch: number of the last epoch done; -1 to start afresh.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        for group, lr in zip(optimizer.param_groups, per_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                message("SWALR", "anneal_strategy must be one of 'cos' or 'linear'", repr(anneal_strategy))
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ArgumentError(message("SWALR", "anneal_epochs must be equal or greater than 0", f"{anneal_epochs}"))
        self.anneal_epochs, self._anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        step = max(1, self._step_count - 1) if self.anneal_epochs == 0 else self._step_count - 1
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group, rate in zip(self.optimizer.param_groups, self._rates(), strict=True):
            goal = group["swa_lr"]
            start = goal if before == 1 else (rate - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates

"""The learning-rate range test: a short training with rates that grow, and what its losses suggest."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, message, need
from ..optim.schedule import plain, set_rate
from . import checkpoint
from .step import make_step, pair

if TYPE_CHECKING:
    from .trainer import Trainer


class RateSearch:
    """What a range test found.

    Attributes:
        rates: the learning rates that were tried, growing by a constant factor.
        losses: the loss at each, before its update.
        smoothed: the same, averaged over neighbours with the weights of a Gaussian.
    """

    def __init__(self, rates: list[float], losses: list[float], smoothing: float) -> None:
        self.rates, self.losses = rates, losses
        place = np.arange(len(losses))
        width = max(smoothing * len(losses), 1e-9)
        weights = np.exp(-0.5 * ((place[:, None] - place) / width) ** 2)
        self.smoothed: list[float] = (weights @ np.array(losses) / weights.sum(1)).tolist() if losses else []

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest over the logarithm of the rate."""
        if len(self.rates) < 3:
            cure = "Start with a smaller rate"
            raise ArgumentError(
                message("find_lr", "too few rates before the loss exploded", str(len(self.rates)), cure)
            )
        until = max(int(np.argmin(self.smoothed)) + 1, 3)  # beyond, a fall is one of many wild jumps
        slope = np.gradient(self.smoothed[:until], np.log(self.rates[:until]))
        return self.rates[int(np.argmin(slope))]

    def plot(self, path: Any = None) -> Any:
        """Draw loss over rate, with the suggestion; needs the extra ``plot``. Arguments as in `History.plot`."""
        from ..serialization import write_atomically

        figure = need("matplotlib.figure", "plot", "RateSearch.plot").Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.semilogx(self.rates, self.losses, alpha=0.3, label="loss")
        axes.semilogx(self.rates, self.smoothed, label="smoothed")
        axes.axvline(self.suggestion, color="gray", linestyle=":", label=f"{self.suggestion:.2e}")
        axes.set(xlabel="learning rate", ylabel="loss")
        axes.legend()
        if path is not None:
            kind = Path(path).suffix.lstrip(".") or "png"
            write_atomically(Path(path), lambda file: figure.savefig(file, format=kind, dpi=120))
        return figure

    def __repr__(self) -> str:
        return f"RateSearch({len(self.rates)} rates from {self.rates[0]:.1e} to {self.rates[-1]:.1e})"


def search_rate(
    trainer: Trainer, loader: Iterable[Any], start: float, end: float, steps: int, smoothing: float
) -> RateSearch:
    """See `Trainer.find_lr`."""
    if not 0 < start < end < math.inf or steps < 3 or not 0 <= smoothing < 1:
        seen = f"start {start}, end {end}, steps {steps}, smoothing {smoothing}"
        raise ArgumentError(message("find_lr", "needs 0 < start < end, steps >= 3, 0 <= smoothing < 1", seen))
    before = copy.deepcopy((trainer.model.state_dict(), trainer.optimizer.state_dict()))
    place = checkpoint.position((loader,))
    training = trainer.model.training
    trainer.model.train()
    try:
        return _try_rates(trainer, loader, np.geomspace(start, end, steps).tolist(), smoothing)
    finally:
        trainer.model.train(training)
        trainer.model.load_state_dict(before[0])
        trainer.optimizer.load_state_dict(before[1])
        trainer.optimizer.zero_grad()
        checkpoint.set_position((loader,), place)


def _try_rates(trainer: Trainer, loader: Iterable[Any], rates: list[float], smoothing: float) -> RateSearch:
    step = make_step(trainer._forward, trainer.loss, trainer.optimizer, trainer.clip_norm)
    groups = trainer.optimizer.param_groups
    first = float(plain(groups[0]["lr"]))
    ratios = [float(plain(group["lr"])) / first if first else 1.0 for group in groups]
    losses: list[float] = []
    lowest = math.inf
    for rate, (x, y) in zip(rates, _endless(loader), strict=False):
        for group, ratio in zip(groups, ratios, strict=True):
            set_rate(group, rate * ratio)
        loss = float(step(x, y)[0].item())
        recent = losses[-4:]
        average = (sum(recent) + loss) / (len(recent) + 1)
        if not math.isfinite(loss) or average > 4 * lowest:
            break
        losses.append(loss)
        lowest = min(lowest, average)
    return RateSearch(rates[: len(losses)], losses, smoothing)


def _endless(loader: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield pair(batch)
        if empty:
            raise ArgumentError(message("find_lr", "the loader gave no batch"))


__all__ = ["RateSearch", "search_rate"]

"""Callbacks: what a trainer calls while it trains; early stopping, and keeping the best weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, message

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Base of callbacks: override what you need.

    A callback that has a memory gives it in `state_dict`, so that it is in the checkpoint. When a callback raises, the
    trainer saves first; after resuming, that callback and those after it get the same call (again).

    >>> import wengert as wg
    >>> class Print(wg.train.Callback):
    ...     def on_epoch_end(self, trainer, record):
    ...         print(f"epoch {record['epoch']}: {record['train_loss']:.2f}")
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before anything else, also of a run that is resumed."""

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Before the first batch; ``trainer.epoch`` epochs are done."""

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        """After each update; ``trainer.step`` are done, the last one's loss is given."""

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """After validation, with the epoch's record (see `History`). It may set ``trainer.should_stop``."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """At the end of a fit that was not broken off."""

    def close(self, trainer: Trainer) -> None:
        """Whenever a fit is left, by an error too: close files here."""

    def state_dict(self) -> dict[str, Any]:
        """What the callback must remember, as data that `wg.save` takes."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""


class _Monitor(Callback):
    """Knows whether a value of the record is better than all before."""

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("min", "max"):
            raise ArgumentError(message(type(self).__name__, "mode must be 'min' or 'max'", repr(mode)))
        if not min_delta >= 0:
            raise ArgumentError(message(type(self).__name__, "min_delta must be at least 0", str(min_delta)))
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self.best_value, self.best_epoch = math.inf if mode == "min" else -math.inf, 0

    def improved(self, record: Mapping[str, Any]) -> bool:
        """Compare a record with the best one, and remember it if it is better."""
        value = record.get(self.monitor)
        if not isinstance(value, int | float):
            known = ", ".join(key for key, x in record.items() if isinstance(x, int | float))
            cure = "validation_... needs a validation_loader" if self.monitor.startswith("validation") else ""
            what = f"the record has no number {self.monitor!r}"
            raise ArgumentError(message(type(self).__name__, what, f"it has {known}", cure))
        gain = self.best_value - value if self.mode == "min" else value - self.best_value
        if not gain > self.min_delta:  # NaN is never better
            return False
        self.best_value, self.best_epoch = value, record["epoch"]
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]


class EarlyStopping(_Monitor):
    """Stops training when a value has not become better for some epochs.

    Args:
        monitor: name of a value of the record (see `History`).
        patience: epochs without a better value after which training stops.
        min_delta: by how much a value must be better.
        mode: "min" or "max": which values are better.

    Attributes:
        stopped: the epoch after which this stopped the training; 0 while it has not.
    """

    def __init__(
        self, monitor: str = "validation_loss", patience: int = 10, min_delta: float = 0.0, mode: str = "min"
    ) -> None:
        if patience < 1:
            raise ArgumentError(message("EarlyStopping", "patience must be at least 1", str(patience)))
        super().__init__(monitor, mode, min_delta)
        self.patience, self.stopped = patience, 0

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if not self.improved(record) and record["epoch"] - self.best_epoch >= self.patience:
            self.stopped, trainer.should_stop = record["epoch"], True


class BestCheckpoint(_Monitor):
    """Keeps the weights of the best epoch: as a safetensors file where the trainer has a directory, else in memory.

    With an exponential average these are the averaged weights, as the validation has seen them. A later ``fit`` in the
    same process goes on from them, one with ``resume=True`` from the last ones.

    Args:
        monitor: name of a value of the record (see `History`).
        mode: "min" or "max": which values are better.
        restore: whether the model gets these weights at the end of the training.
        filename: in the trainer's directory.
        min_delta: by how much a value must be better.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        mode: str = "min",
        restore: bool = True,
        filename: str = "best.safetensors",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.restore, self.filename, self._weights = restore, filename, None

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        before = self.state_dict()
        if not self.improved(record):
            return
        try:
            self._keep(trainer, record)
        except BaseException:  # as if it had not been seen, for the next try will see it again
            self.load_state_dict(before)
            raise

    def _keep(self, trainer: Trainer, record: dict[str, Any]) -> None:
        path = self.path(trainer)
        if path is None:
            with trainer.averaged():
                self._weights = copy.deepcopy(trainer.model.state_dict())
        else:
            trainer.save_weights(path, {"epoch": str(record["epoch"]), self.monitor: repr(self.best_value)})

    def path(self, trainer: Trainer) -> Path | None:
        """Where the weights stand; None without a directory."""
        return None if trainer.directory is None else trainer.directory / self.filename

    def on_fit_end(self, trainer: Trainer) -> None:
        if self.restore and self.best_epoch:
            path = self.path(trainer)
            trainer.load_weights(self._weights if path is None else path)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "weights": self._weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._weights = state_dict["weights"]


__all__ = ["BestCheckpoint", "Callback", "EarlyStopping"]

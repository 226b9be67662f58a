"""Logs as callbacks: CSV, JSON lines, TensorBoard. A resumed run goes on where its checkpoint was."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, message, need
from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer


class _FileLogger(Callback):
    """Appends lines to a file, and knows how many bytes of it belong to the run."""

    def __init__(self, path: Any) -> None:
        self.path, self._file, self._bytes = Path(path), None, 0

    def on_fit_start(self, trainer: Trainer) -> None:
        """Open the file, and cut off what an interrupted run wrote after its checkpoint."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("r+b" if self._bytes and self.path.exists() else "w+b")
        self._bytes = self._file.truncate(min(self._bytes, self._file.seek(0, io.SEEK_END)))
        self._file.seek(self._bytes)

    def write(self, text: str) -> None:
        """Append a text, at once visible to others."""
        assert self._file is not None
        self._file.write(text.encode())
        self._file.flush()
        self._bytes = self._file.tell()

    def close(self, trainer: Trainer) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self._bytes}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._bytes = state_dict["bytes"]


class CSVLogger(_FileLogger):
    """Writes a row for each epoch: the numbers of its record (see `History`), named in the first row.

    Args:
        path: the file; a new training overwrites it, a resumed one goes on.
    """

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self._columns: list[str] = []

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        numbers = {key: value for key, value in record.items() if isinstance(value, int | float)}
        text = io.StringIO()
        if not self._bytes:
            self._columns = list(numbers)
            csv.writer(text, lineterminator="\n").writerow(self._columns)
        # A validation that is added later has no column; its values are in the history.
        csv.DictWriter(text, self._columns, extrasaction="ignore", lineterminator="\n").writerow(numbers)
        self.write(text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "columns": self._columns}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._columns = list(state_dict["columns"])


class JSONLogger(_FileLogger):
    """Writes JSON lines: ``{"step": ..., "loss": ..., "lr": ...}`` for updates, and each epoch's record.

    Args:
        path: the file; a new training overwrites it, a resumed one goes on.
        every: of how many updates one is written.
    """

    def __init__(self, path: Any, every: int = 1) -> None:
        if every < 1:
            raise ArgumentError(message("JSONLogger", "every must be at least 1", str(every)))
        super().__init__(path)
        self.every = every

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if trainer.step % self.every == 0:
            self._line({"step": trainer.step, "loss": loss, "lr": trainer.learning_rate})

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        self._line(record)

    def _line(self, record: Mapping[str, Any]) -> None:
        self.write(json.dumps({key: _finite(value) for key, value in record.items()}, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, list):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TensorBoardLogger(Callback):
    """Writes losses, metrics and rates for TensorBoard; needs the extra ``tensorboard``.

    Args:
        directory: of the event files. A resumed run adds one, which hides what came after its checkpoint.
        every: of how many updates one loss is written.
    """

    def __init__(self, directory: Any, every: int = 10) -> None:
        if every < 1:
            raise ArgumentError(message("TensorBoardLogger", "every must be at least 1", str(every)))
        self._make = need("tensorboardX", "tensorboard", "TensorBoardLogger").SummaryWriter
        self.directory, self.every, self._writer = Path(directory), every, None

    def on_fit_start(self, trainer: Trainer) -> None:
        purge = trainer.step + 1 if trainer.step else None
        self._writer = self._make(str(self.directory), purge_step=purge)

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if trainer.step % self.every == 0:
            self._scalar("step/loss", loss, trainer.step)
            self._scalar("step/lr", trainer.learning_rate, trainer.step)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        for key, value in record.items():
            if isinstance(value, int | float) and key not in ("epoch", "step"):
                self._scalar(key, value, record["step"])

    def _scalar(self, tag: str, value: float, step: int) -> None:
        assert self._writer is not None
        self._writer.add_scalar(tag, value, step)

    def close(self, trainer: Trainer) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


__all__ = ["CSVLogger", "JSONLogger", "TensorBoardLogger"]

"""Progress: a bar by tqdm on a terminal, plain lines without it."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer


class Progress(Callback):
    """Shows epoch, losses, metrics, samples per second and the time to go.

    On a terminal, and if tqdm is installed (extra ``train``), a bar goes through each epoch; a line for each epoch
    stays. Elsewhere long epochs give a line now and then.

    Args:
        unit: what a sample is: "images".
        every: seconds between the lines within an epoch, where there is no bar.
        file: where to; standard output by default.
        bar: True or False, or None to decide by the terminal and by what is installed.
    """

    def __init__(
        self, unit: str = "samples", every: float = 10.0, file: IO[str] | None = None, bar: bool | None = None
    ) -> None:
        self.unit, self.every, self.file, self.bar = unit, every, file, bar
        self._bar: Any = None
        self._shown = self._started = 0.0
        self._epoch_seconds: list[float] = []

    def _out(self) -> IO[str]:
        return self.file or sys.stdout

    def on_fit_start(self, trainer: Trainer) -> None:
        self._epoch_seconds = []
        self._started = self._shown = time.perf_counter()
        if self.bar is None:
            self._with_bar = self._out().isatty() and importlib.util.find_spec("tqdm") is not None
        else:
            self._with_bar = self.bar

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        if self._with_bar:
            self._move_bar(trainer)
        elif time.perf_counter() - self._shown >= self.every:
            self._shown = time.perf_counter()
            self._print(trainer, self._within(trainer))

    def _move_bar(self, trainer: Trainer) -> None:
        if self._bar is None:
            from ..errors import need

            self._bar = need("tqdm", "train", "Progress").tqdm(
                desc=self._epoch(trainer.epoch + 1, trainer), total=trainer.batches, initial=trainer.batch, leave=False,
                unit="batch", file=self._out(), dynamic_ncols=True,
            )  # fmt: skip
        self._bar.update(trainer.batch - self._bar.n)
        now = time.perf_counter()
        if now - self._shown >= 0.2:
            self._shown = now
            speed = f"{trainer.samples_per_second:.0f} {self.unit}/s"
            values = " ".join(
                f"{key.removeprefix('train_')} {number(value)}" for key, value in trainer.running().items()
            )
            self._bar.set_postfix_str(f"{values} {speed}", refresh=False)

    def _within(self, trainer: Trainer) -> str:
        total = "" if trainer.batches is None else f"/{trainer.batches}"
        left = ""
        if trainer.batches and trainer.batch:
            left = f"  ETA {clock(trainer.seconds / trainer.batch * (trainer.batches - trainer.batch))}"
        return (
            f"{self._epoch(trainer.epoch + 1, trainer)}  batch {trainer.batch}{total}  {values(trainer.running())}"
            f"  {trainer.samples_per_second:.0f} {self.unit}/s{left}"
        )

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        now = time.perf_counter()
        self._epoch_seconds.append(now - self._started)
        self._started = self._shown = now
        mean = sum(self._epoch_seconds) / len(self._epoch_seconds)
        shown = {key: value for key, value in record.items() if key.startswith(("train_", "validation_"))}
        line = (
            f"{self._epoch(record['epoch'], trainer)}  {values(shown)}  {record['samples_per_second']:.0f} "
            f"{self.unit}/s  {self._epoch_seconds[-1]:.2f} s"
        )
        left = trainer.epochs - record["epoch"]
        self._print(trainer, line + (f"  ETA {clock(mean * left)}" if left else ""))

    def _epoch(self, epoch: int, trainer: Trainer) -> str:
        return f"epoch {epoch:3}/{trainer.epochs}"

    def _print(self, trainer: Trainer, line: str) -> None:
        self.close(trainer)
        print(line, file=self._out(), flush=True)

    def close(self, trainer: Trainer) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def number(value: float) -> str:
    """Four decimals, or four digits where these would show nothing or too much."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"


def values(record: dict[str, Any]) -> str:
    """The numbers of a record in words: ``training loss 0.1234``."""
    words = {key: key.replace("train_", "training ").replace("_", " ") for key in record}
    return "  ".join(f"{words[key]} {number(value)}" for key, value in record.items() if isinstance(value, int | float))


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(75.4), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

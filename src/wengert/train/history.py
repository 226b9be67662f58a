"""``History``: what every epoch gave, and its picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, message, need

# Not part of the curve: how long it took, which is never the same twice.
TIMES = ("seconds", "samples_per_second")


class History:
    """One record (a dictionary) for each epoch.

    A record has ``epoch`` and ``step`` (both counted from 1), ``lr``, ``train_loss``, the training metrics as
    ``train_<name>``, with validation data ``validation_loss`` and ``validation_<name>``, and ``seconds`` and
    ``samples_per_second`` of the training.

    >>> import wengert as wg
    >>> history = wg.train.History([{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.5}])
    >>> history["train_loss"], history.best("train_loss")["epoch"], len(history)
    ([2.0, 1.5], 2, 2)
    """

    def __init__(self, records: list[dict[str, Any]] | None = None) -> None:
        self.records: list[dict[str, Any]] = [] if records is None else records

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records)

    def __getitem__(self, key: str) -> list[Any]:
        """One value of all epochs, in order."""
        if not any(key in record for record in self.records):
            known = ", ".join(self.records[0]) if self.records else "no epochs yet"
            raise KeyError(f"the history has no {key!r}: it has {known}")
        return [record.get(key) for record in self.records]

    def curve(self) -> list[dict[str, Any]]:
        """The records without times: the same for two runs that did the same."""
        return [{key: value for key, value in record.items() if key not in TIMES} for record in self.records]

    def best(self, monitor: str = "validation_loss", mode: str = "min") -> dict[str, Any]:
        """The record with the smallest (``mode="max"``: largest) value; of equal ones the first."""
        values = self[monitor]
        choose = {"min": min, "max": max}.get(mode)
        if choose is None:
            raise ArgumentError(message("History.best", "mode must be 'min' or 'max'", repr(mode)))
        return self.records[values.index(choose(value for value in values if value is not None and value == value))]

    def plot(self, path: Any = None, keys: list[str] | None = None, title: str = "") -> Any:
        """Draw losses (left) and metrics (right) over the epochs; needs the extra ``plot``.

        Args:
            path: where to write the picture, as PNG, PDF or SVG by the name's ending; written atomically.
            keys: what to draw; by default all numbers but times, rates and counts.
            title: above the picture.

        Returns:
            The figure of matplotlib.
        """
        figure = need("matplotlib.figure", "plot", "History.plot").Figure(layout="constrained")
        keys = self._numbers() if keys is None else keys
        panels = [
            panel for panel in ([k for k in keys if k.endswith("loss")], [k for k in keys if k[-4:] != "loss"]) if panel
        ]
        if not panels:
            raise ArgumentError(message("History.plot", "there is nothing to draw", cure="Train an epoch first"))
        figure.set_size_inches(6 * len(panels), 4)
        epochs = self["epoch"]
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for key in panel:
                values = [float("nan") if value is None else value for value in self[key]]
                axes.plot(epochs, values, label=key.replace("_", " "), marker="." if len(epochs) < 20 else "")
            if panel[0].endswith("loss") and all(v is None or v > 0 for key in panel for v in self[key]):
                axes.set_yscale("log")
            axes.set(xlabel="epoch")
            axes.legend()
        figure.suptitle(title)
        if path is not None:
            self._write(figure, Path(path))
        return figure

    def _numbers(self) -> list[str]:
        first = self.records[0] if self.records else {}
        skip = {"epoch", "step", "lr", *TIMES}
        return [key for key, value in first.items() if isinstance(value, float) and key not in skip]

    def _write(self, figure: Any, path: Path) -> None:
        from ..serialization import write_atomically

        kind = path.suffix.lstrip(".") or "png"
        write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=120))

"""A training run with everything random that there is, which can be killed: ``child.py directory [end [workers]]``.

``end`` says how the process ends itself, without it the run goes to its end:
``step:N`` by SIGKILL after update N, ``write:N`` in the middle of writing the N-th checkpoint, ``validation:N`` in the
N-th validation; ``int:N`` and ``term:N`` by SIGINT or SIGTERM after update N, ``intval:N`` in the N-th validation;
``raise:N`` by an error in a callback after update N, ``epoch:N`` at the end of epoch N.
A run whose directory holds a checkpoint goes on from there. At its end it writes ``result.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

import wengert as wg
from wengert import nn, optim, train
from wengert.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    """Samples with noise of all three generators, drawn anew in each epoch."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(1)
        self.x = rng.normal(size=(count, 6)).astype(np.float32)
        self.y = (self.x[:, 0] * self.x[:, 1] > 0).astype(np.int64)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        noise = np.random.normal(size=6).astype(np.float32) * 0.1 + random.random() * 0.1
        return wg.from_numpy(self.x[index] + noise) + wg.rand(6) * 0.1, int(self.y[index])


class NoisyLoss(nn.Module):
    """Draws from the global generators in the training process itself."""

    def forward(self, output: Any, target: Any) -> Any:
        weight = 1 + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return nn.functional.cross_entropy(output, target) * weight


SIGNALS = {"step": signal.SIGKILL, "int": signal.SIGINT, "term": signal.SIGTERM}


class Ending(train.Callback):
    """Ends the process after an update."""

    def __init__(self, kind: str, at: int) -> None:
        self.kind, self.at = kind, at

    def on_step_end(self, trainer: train.Trainer, loss: float) -> None:
        if trainer.step == self.at and self.kind in SIGNALS:
            os.kill(os.getpid(), SIGNALS[self.kind])
        if trainer.step == self.at and self.kind == "raise":
            raise ValueError("a callback that raises")

    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, Any]) -> None:
        if trainer.epoch == self.at and self.kind == "epoch":
            raise ValueError("a callback that raises")


def kill_in_write(number: int) -> None:
    """Let the process die when the bytes of the N-th checkpoint are written, but not under their name yet."""
    replace, count = os.replace, 0

    def counted(source: Any, target: Any) -> None:
        nonlocal count
        if str(target).endswith("checkpoint.wg"):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counted


class SignalledValidation(list[Any]):
    """Batches; the N-th time they are gone through, a signal comes at the second."""

    signal, number, times = signal.SIGKILL, 0, 0

    def __iter__(self) -> Any:
        self.times += 1
        for i, batch in enumerate(super().__iter__()):
            if i == 1 and self.times == self.number:
                os.kill(os.getpid(), self.signal)
            yield batch


def main(directory: Path, end: str = "", workers: str = "0") -> None:
    kind, _, number = end.partition(":")
    train.seed_everything(5)
    net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    optimizer = optim.AdamW(net.parameters(), lr=1e-2)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=40)
    loader = DataLoader(
        Noisy(90), 8, shuffle=True, num_workers=int(workers)
    )  # 12 batches, the last of 2: 6 updates an epoch
    validation = SignalledValidation(DataLoader(Noisy(40), batch_size=16))
    callbacks = [
        train.BestCheckpoint(),
        train.JSONLogger(directory / "log.jsonl"),
        Ending(kind, int(number or 0)),
        train.EarlyStopping(patience=50),
        train.CSVLogger(directory / "log.csv"),
    ]
    if kind == "write":
        kill_in_write(int(number))
    elif kind in ("validation", "intval"):
        validation.number = int(number)
        validation.signal = signal.SIGKILL if kind == "validation" else signal.SIGINT
    trainer = train.Trainer(
        net, NoisyLoss(), optimizer, scheduler, metrics=[train.Accuracy(), train.F1(2), train.ConfusionMatrix(2)],
        accumulate=2, clip_norm=1.0, ema=0.9, callbacks=callbacks, seed=7, directory=directory, save_every=2,
        scheduler_interval="step", progress=False,
    )  # fmt: skip
    history = trainer.fit(loader, validation, epochs=5, resume=True)
    digest = hashlib.sha256(b"".join(x.numpy().tobytes() for x in net.state_dict().values())).hexdigest()
    average = hashlib.sha256(b"".join(x.numpy().tobytes() for x in trainer.ema.averages.values())).hexdigest()  # type: ignore[union-attr]
    result = {
        "curve": history.curve(),
        "weights": digest,
        "average": average,
        "evaluated": trainer.evaluate(validation),
    }
    (directory / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

"""Callbacks of the trainer: early stopping, the best weights, and what happens when one raises."""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import wengert as wg
from wengert import train
from wengert.testing.trainers import assert_equal, network, points, trainer, weights
from wengert.utils.data import DataLoader

Trainer = train.Trainer


class Fixed(train.Callback):
    """Replaces the validation loss by given values."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        record["validation_loss"] = self.values[record["epoch"] - 1]


@pytest.mark.parametrize(
    ("values", "options", "last", "best"),
    [
        ([3, 2, 1, 1, 1, 1, 1], {"patience": 2}, 5, 3),
        ([3, 2, math.nan, math.nan, 1, 1, 1], {"patience": 3}, 7, 5),
        ([3, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4], {"patience": 1, "min_delta": 0.5}, 2, 1),
        ([1, 2, 3, 2, 2, 2, 2], {"patience": 1, "mode": "max"}, 4, 3),
        ([1, 1, 1, 1, 1, 1, 1], {"patience": 9}, 7, 1),
    ],
)
def test_early_stopping(values: list[float], options: dict[str, Any], last: int, best: int) -> None:
    stopping = train.EarlyStopping(**options)
    runner = trainer(callbacks=[Fixed(values), stopping])
    history = runner.fit(DataLoader(points(), 16), epochs=7)
    assert len(history) == last
    assert stopping.best_epoch == best
    assert stopping.stopped == (last if last < 7 or options["patience"] == 2 else stopping.stopped)


@pytest.mark.parametrize("with_directory", [False, True])
def test_the_best_weights_are_restored(with_directory: bool, tmp_path: Path) -> None:
    kept = {}

    class Keep(train.Callback):
        def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
            kept[record["epoch"]] = weights(trainer.model)

    best = train.BestCheckpoint()
    runner = trainer(callbacks=[Fixed([3, 1, 2, 1]), Keep(), best], directory=tmp_path if with_directory else None)
    runner.fit(DataLoader(points(), 16), epochs=4)
    assert best.best_epoch == 2
    assert_equal(weights(runner.model), kept[2])
    if with_directory:
        from wengert.utils.safetensors import load_metadata

        assert load_metadata(tmp_path / "best.safetensors") == {"epoch": "2", "validation_loss": "1"}
        assert wg.load(tmp_path / "checkpoint.wg")["epoch"] == 4


def test_callbacks_are_called_in_order() -> None:
    calls: list[str] = []

    class Noting(train.Callback):
        pass

    for event in ("on_fit_start", "on_epoch_start", "on_step_end", "on_epoch_end", "on_fit_end", "close"):
        setattr(Noting, event, lambda self, *args, event=event: calls.append(event))
    trainer(callbacks=[Noting()]).fit(DataLoader(points(), 25), epochs=2)
    epoch = ["on_epoch_start", "on_step_end", "on_step_end", "on_epoch_end"]
    assert calls == ["on_fit_start", *epoch, *epoch, "on_fit_end", "close"]


def test_a_callback_that_raises_can_be_gone_on_from_in_the_same_process() -> None:
    def run(raises: bool) -> Any:
        class Raising(train.Callback):
            def on_step_end(self, trainer: Trainer, loss: float) -> None:
                nonlocal raises
                if raises and trainer.step == 6:
                    raises = False
                    raise ValueError("once")

        runner = trainer(network(0.3), seed=0, callbacks=[Raising()])
        loader = DataLoader(points(), 16, shuffle=True)
        if raises:
            with pytest.raises(ValueError, match="once"):
                runner.fit(loader, epochs=3)
        return runner.fit(loader, epochs=3).curve(), weights(runner.model)

    (curve, net), (curve_of_whole, whole) = run(True), run(False)
    assert curve == curve_of_whole
    assert_equal(net, whole)


@pytest.mark.filterwarnings("ignore:.*is multi-threaded:DeprecationWarning")  # of fork, from Python 3.12 on
def test_a_worker_process_can_be_terminated() -> None:
    """The handler of the training process, which a forked one inherits, does not keep a worker alive."""
    codes = []

    def sleep(ready: Any) -> None:
        ready.send(None)
        time.sleep(60)

    class Terminating(train.Callback):
        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            here, there = multiprocessing.Pipe()
            worker = multiprocessing.get_context("fork").Process(target=sleep, args=(there,))
            worker.start()
            here.recv()
            worker.terminate()
            worker.join()
            codes.append(worker.exitcode)

    trainer(callbacks=[Terminating()]).fit(DataLoader(points(16), 16))
    assert codes == [-signal.SIGTERM]


def test_an_error_that_cannot_be_saved_keeps_its_own_words(tmp_path: Path) -> None:
    class Raising(train.Callback):
        def on_step_end(self, trainer: Trainer, loss: float) -> None:
            raise ValueError("mine")

        def state_dict(self) -> dict[str, Any]:
            return {"cannot be saved": object()}

    with pytest.raises(ValueError, match="mine") as caught:
        trainer(callbacks=[Raising()], directory=tmp_path).fit(DataLoader(points(), 16))
    assert "The checkpoint could not be saved either: save:" in caught.value.__notes__[0]


def test_a_run_that_was_stopped_early_stays_stopped(tmp_path: Path) -> None:
    def make() -> Trainer:
        return trainer(callbacks=[Fixed([1.0] * 9), train.EarlyStopping(patience=1)], directory=tmp_path)

    assert len(make().fit(DataLoader(points(), 16), epochs=9)) == 2
    assert len(make().fit(DataLoader(points(), 16), epochs=9, resume=True)) == 2

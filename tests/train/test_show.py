"""Progress, logs, histories and the search for a learning rate."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn, optim, train
from wengert.train.progress import clock, number
from wengert.utils.data import DataLoader, TensorDataset


def trainer(progress: Any = False, **options: Any) -> train.Trainer:
    wg.manual_seed(0)
    net = nn.Linear(3, 2)
    own = optim.SGD(net.parameters(), lr=0.1)
    return train.Trainer(net, nn.CrossEntropyLoss(), own, progress=progress, metrics=[train.Accuracy()], **options)


def loader(count: int = 40) -> DataLoader:
    x = wg.randn(count, 3, generator=wg.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).to(wg.int64)), 8)


# --- progress ------------------------------------------------------------------------------------------


def test_plain_lines() -> None:
    out = io.StringIO()
    trainer(train.Progress("images", every=0.0, file=out)).fit(loader(), loader(), epochs=2)
    lines = out.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("epoch   1/2  batch 1/5  training loss 0.")
    for line in (lines[0], lines[5]):
        assert "images/s" in line
        assert "ETA 0:0" in line
        assert "training accuracy 0." in line
    assert "validation loss 0." in lines[5]
    assert "validation accuracy 0." in lines[5]
    assert lines[11].startswith("epoch   2/2  training loss 0.")
    assert "ETA" not in lines[11]


def test_a_stream_and_quick_epochs() -> None:
    out = io.StringIO()
    trainer(train.Progress(file=out)).fit((batch for batch in list(loader())), epochs=1)
    assert out.getvalue().count("\n") == 1
    out = io.StringIO()
    trainer(train.Progress(file=out, every=0.0)).fit((batch for batch in list(loader())), epochs=1)
    assert out.getvalue().startswith("epoch   1/1  batch 1  training")


def test_a_bar() -> None:
    out = io.StringIO()
    runner = trainer(train.Progress("images", file=out, bar=True), accumulate=2)
    runner.fit(loader(), loader(), epochs=2)
    text = out.getvalue()
    assert "epoch   1/2:  40%|" in text
    assert "2/5 [" in text
    lines = [line.split("\r")[-1] for line in text.split("\n")]
    assert lines[0].startswith("epoch   1/2  training loss")
    assert lines[1].startswith("epoch   2/2  training loss")


def test_no_bar_without_a_terminal_or_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    trainer(train.Progress(file=out)).fit(loader(), epochs=1)
    assert "it/s" in out.getvalue() or "batch/s" in out.getvalue() or "%|" in out.getvalue()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    out = Terminal()
    trainer(train.Progress(file=out)).fit(loader(), epochs=1)
    assert out.getvalue().startswith("epoch   1/1  training")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"wengert\[train\]"):
        trainer(train.Progress(bar=True)).fit(loader(), epochs=1)


def test_progress_is_on_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    trainer(True).fit(loader(), epochs=1)
    assert capsys.readouterr().out.startswith("epoch   1/1  training loss")


def test_numbers() -> None:
    assert [number(x) for x in (0.0, 0.12345, 1e-4, 12345.6, math.nan)] == [
        "0.0000", "0.1235", "1.000e-04", "1.235e+04", "nan",
    ]  # fmt: skip
    assert [clock(x) for x in (0.4, 59.6, 3599.6)] == ["0:00", "1:00", "1:00:00"]


# --- logs ------------------------------------------------------------------------------------------------


def test_csv_and_json_lines(tmp_path: Path) -> None:
    logs = [train.CSVLogger(tmp_path / "a" / "log.csv"), train.JSONLogger(tmp_path / "log.jsonl", every=2)]
    runner = trainer(callbacks=logs)
    runner.metrics["train"].append(train.ConfusionMatrix(2))  # not a number: in the lines, not in the table
    history = runner.fit(loader(), loader(), epochs=3)
    with (tmp_path / "a" / "log.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["validation_loss"]) for row in table] == history["validation_loss"]
    assert "train_confusion_matrix" not in table[0]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line for line in lines if "epoch" in line] == history.records
    assert [line["step"] for line in lines if "epoch" not in line] == [2, 4, 6, 8, 10, 12, 14]
    assert np.sum(lines[-1]["train_confusion_matrix"]) == 40
    other = trainer(callbacks=[train.CSVLogger(tmp_path / "a" / "log.csv")])
    other.fit(loader(), epochs=1)  # a new run begins a new file
    assert len((tmp_path / "a" / "log.csv").read_text().splitlines()) == 2


def test_what_is_not_finite_is_null_in_json(tmp_path: Path) -> None:
    log = train.JSONLogger(tmp_path / "log.jsonl")

    class Spoil(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, Any]) -> None:
            record |= {"a": math.nan, "b": [1.0, math.inf]}

    trainer(callbacks=[Spoil(), log]).fit(loader(), epochs=1)
    record = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert (record["a"], record["b"]) == (None, [1.0, None])


def events(directory: Path) -> list[Any]:
    """The records of all event files, in order."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):  # length (8 bytes), its checksum (4), the event, its checksum (4)
            length = int.from_bytes(data[place : place + 8], "little")
            found.append(Event.FromString(data[place + 12 : place + 12 + length]))
            place += length + 16
    return found


@pytest.mark.slow
def test_tensorboard(tmp_path: Path) -> None:
    logs, run = tmp_path / "logs", tmp_path / "run"
    runner = trainer(callbacks=[train.TensorBoardLogger(logs, every=5)], directory=run)
    history = runner.fit(loader(), loader(), epochs=2)
    found = {(value.tag, event.step): value.simple_value for event in events(logs) for value in event.summary.value}
    for record in history:
        for key in ("train_loss", "validation_accuracy", "lr"):
            assert found[key, record["step"]] == pytest.approx(record[key])
    assert {step for tag, step in found if tag == "step/loss"} == {5, 10}
    other = trainer(callbacks=[train.TensorBoardLogger(logs)], directory=run)
    other.fit(loader(), loader(), epochs=3, resume=True)
    started = [event.step for event in events(logs) if event.HasField("session_log")]
    assert started == [11]  # TensorBoard drops what an interrupted run wrote from there on


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"wengert\[tensorboard\]"):
        train.TensorBoardLogger(tmp_path)


# --- histories ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_history(tmp_path: Path) -> None:
    history = trainer().fit(loader(), loader(), epochs=3)
    assert history["epoch"] == [1, 2, 3]
    assert history.best("validation_accuracy", "max")["validation_accuracy"] == max(history["validation_accuracy"])
    assert all("seconds" not in record for record in history.curve())
    with pytest.raises(KeyError, match="no 'loss': it has epoch, step, lr, train_loss"):
        history["loss"]
    with pytest.raises(ValueError, match="mode must be"):
        history.best(mode="up")
    figure = history.plot(tmp_path / "curve.png", title="Points")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["train loss", "validation loss"]
    assert [line.get_label() for line in right.lines] == ["train accuracy", "validation accuracy"]
    np.testing.assert_array_equal(left.lines[1].get_ydata(), history["validation_loss"])
    history.plot(tmp_path / "curve.svg", keys=["lr"])
    assert b"<svg" in (tmp_path / "curve.svg").read_bytes()
    with pytest.raises(ValueError, match="nothing to draw"):
        train.History().plot()


# --- the search for a rate -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_search_finds_where_the_loss_falls_and_leaves_no_trace(tmp_path: Path) -> None:
    wg.manual_seed(0)
    x = wg.randn(256, 10)
    data = DataLoader(TensorDataset(x, x @ wg.randn(10, 1)), 32, shuffle=True)
    net = nn.Sequential(nn.Linear(10, 1), nn.BatchNorm1d(1), nn.Linear(1, 1))
    own = optim.SGD(
        [{"params": net[0].parameters()}, {"params": net[1:].parameters(), "lr": 0.02}], lr=0.01, momentum=0.9
    )
    runner = train.Trainer(net, nn.MSELoss(), own, progress=False)
    before = [x.numpy().copy() for x in net.state_dict().values()]
    rng = wg.get_rng_state()
    found = runner.find_lr(data, 1e-6, 100.0, 120)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, net.state_dict().values(), strict=True))
    assert [group["lr"] for group in own.param_groups] == [0.01, 0.02]
    assert wg.equal(wg.get_rng_state(), rng)
    assert not any(own.state.values())
    assert all(p.grad is None for p in net.parameters())
    assert len(found.rates) < 120  # it stopped when the loss exploded
    ratio = np.diff(np.log(found.rates))
    np.testing.assert_allclose(ratio, ratio[0])
    # At the suggested rate the loss falls well, at a hundredth of it hardly.
    assert 1e-4 < found.suggestion < 1
    found.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert repr(found).startswith("RateSearch(")


def test_the_suggestion_is_the_steepest_fall() -> None:
    rates = np.geomspace(1e-5, 1, 101)
    losses = 2 - np.tanh(2 * np.log10(rates / 1e-2)) + 0.01 * np.sin(np.arange(101.0))
    losses[90:] = 9.0
    found = train.RateSearch(rates.tolist(), losses.tolist(), 0.02)
    assert found.suggestion == pytest.approx(1e-2, rel=0.2)
    with pytest.raises(ValueError, match="too few rates"):
        _ = train.RateSearch([1.0], [1.0], 0.05).suggestion


@pytest.mark.parametrize("options", [{"start": 0}, {"start": 2, "end": 1}, {"steps": 2}, {"smoothing": 1}])
def test_bad_searches(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs 0 < start < end"):
        trainer().find_lr(loader(), **options)


def test_a_search_without_batches() -> None:
    with pytest.raises(ValueError, match="gave no batch"):
        trainer().find_lr([])

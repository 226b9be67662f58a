"""The demonstration and the lecture's training loop, with few epochs."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import demo
from wengert.utils.safetensors import load_file

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
def test_few_epochs_are_not_enough_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--epochs", "2", "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr()
    assert "epoch   1/2  training loss" in text.out
    assert "epoch   2/2" in text.out
    assert "images/s" in text.out
    assert "ETA" in text.out
    assert "is below the required 98.5%" in text.err
    names = ["checkpoint.wg", "loss.png", "weights.safetensors"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    net = demo.Network()
    net.load_state_dict(load_file(tmp_path / "out" / "weights.safetensors"))
    test = demo.load_digits()[2]
    with wg.no_grad():
        accuracy = (net.eval()(test.images).argmax(1) == test.labels).to(wg.float32).mean().item()
    assert f"test accuracy {accuracy:.2%}" in text.out


@pytest.mark.slow
def test_the_whole_demo_reaches_its_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Early stopping has its own test: when it strikes here depends on rounding."""
    assert demo.main(["--out", str(tmp_path)]) == 0
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_training_stops_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PATIENCE", 1)
    demo.main(["--out", str(tmp_path), "--epochs", "60", "--lr", "0.3"])
    assert "no better validation loss for 1 epochs" in capsys.readouterr().out


@pytest.mark.slow
def test_same_seed_same_network(tmp_path: Path) -> None:
    for name in ("a", "b"):
        demo.main(["--epochs", "1", "--seed", "3", "--out", str(tmp_path / name)])
    a, b = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("a", "b"))
    assert a == b


@pytest.mark.slow
def test_an_interrupted_training_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert demo.main(["--epochs", "2", "--out", str(tmp_path / "whole")]) == 1
    collate, drawn = demo.augmented, []

    def interrupted(samples: list[Any]) -> list[Any]:
        drawn.append(len(samples))
        if len(drawn) == 25:  # in the second epoch
            signal.raise_signal(signal.SIGINT)
        return collate(samples)

    monkeypatch.setattr(demo, "augmented", interrupted)
    with pytest.raises(SystemExit) as left:
        demo.main(["--epochs", "2", "--out", str(tmp_path / "half")])
    assert left.value.code == 130
    assert "interrupted by SIGINT: 1 epochs and 25 updates are done, saved" in capsys.readouterr().err
    monkeypatch.undo()
    assert demo.main(["--epochs", "2", "--out", str(tmp_path / "half"), "--resume"]) == 1
    whole, half = ((tmp_path / name / demo.WEIGHTS).read_bytes() for name in ("whole", "half"))
    assert whole == half


def test_split_is_stratified_and_fixed() -> None:
    parts = demo.load_digits()
    assert sum(len(part.labels) for part in parts) == 1797
    for part in parts:
        share = np.bincount(part.labels.numpy(), minlength=10) / len(part.labels)
        assert share == pytest.approx(np.full(10, 0.1), abs=0.01)
    rows = np.concatenate([part.images.numpy() for part in parts])
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert all(wg.equal(a.images, b.images) for a, b in zip(parts, demo.load_digits(), strict=True))


def test_shifted_images_are_the_image_moved_by_at_most_one() -> None:
    image = np.zeros((200, 1, 8, 8), np.float32)
    image[..., 3, 4] = 1
    moved = demo.shift_some(wg.from_numpy(image), np.random.default_rng(0)).numpy()
    assert moved.shape == image.shape
    _, _, rows, columns = moved.nonzero()
    assert moved.sum() == 200
    assert set(rows) == {2, 3, 4}
    assert set(columns) == {3, 4, 5}
    assert ((rows == 3) & (columns == 4)).mean() == pytest.approx(0.5 + 0.5 / 9, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--lr", "0"], "--lr must be positive and finite, got 0.0"),
        (["--lr", "nan"], "--lr must be positive and finite, got nan"),
        (["--seed", "-1"], r"--seed must be from 0 to 2**32 - 1, got -1"),
    ],
)
def test_bad_arguments(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(arguments)
    assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("library", "extra"), [("sklearn.datasets", "data"), ("matplotlib.figure", "plot")])
def test_missing_extras_are_named(
    library: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert demo.main(["--out", str(tmp_path / "out")]) == 2
    assert f"pip install 'wengert[{extra}]'" in capsys.readouterr().err


@pytest.mark.slow
def test_out_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert demo.main(["--epochs", "1", "--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit,
        match=r"the loss is not finite any more in epoch 1: nan in batch \d+\. Lower the learning rate(.|\n)*--lr",
    ):
        demo.main(["--epochs", "3", "--lr", "1e30", "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_lecture_loop(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("lecture_loop", EXAMPLES / "lecture_loop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(epochs=3) > 0.8
    text = capsys.readouterr().out
    assert "[3,    90] loss: " in text
    assert "Finished Training\nAccuracy of the network on the 359 test images: " in text

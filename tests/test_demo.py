"""The demonstration and the lecture's training loop, with few epochs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import demo

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_few_epochs_are_not_enough_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--epochs", "2", "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr()
    assert "epoch   1/2  training loss" in text.out
    assert "epoch   2/2" in text.out
    assert "is below the required 97%" in text.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.png", "weights.npz"]
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    net = demo.Network()
    demo.load_weights(net, tmp_path / "out" / "weights.npz")
    _, accuracy = demo.evaluate(net, demo.load_digits()[2])
    assert f"test accuracy {accuracy:.2%}" in text.out


@pytest.mark.slow
def test_the_whole_demo_reaches_its_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Early stopping has its own test: when it strikes here depends on rounding."""
    assert demo.main(["--out", str(tmp_path)]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_training_stops_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PATIENCE", 1)
    demo.main(["--out", str(tmp_path), "--epochs", "60", "--lr", "0.02"])
    assert "no better validation loss for 1 epochs" in capsys.readouterr().out


def test_same_seed_same_network(tmp_path: Path) -> None:
    for name in ("a", "b"):
        demo.main(["--epochs", "1", "--seed", "3", "--out", str(tmp_path / name)])
    with np.load(tmp_path / "a" / "weights.npz") as a, np.load(tmp_path / "b" / "weights.npz") as b:
        assert a.files == b.files
        assert all(np.array_equal(a[name], b[name]) for name in a.files)


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
    image = np.zeros((200, 8, 8), np.float32)
    image[:, 3, 4] = 1
    moved = demo.shift_some(wg.from_numpy(image.reshape(200, 64)), np.random.default_rng(0)).numpy().reshape(200, 8, 8)
    _, rows, columns = moved.nonzero()
    assert moved.sum() == 200
    assert set(rows) == {2, 3, 4}
    assert set(columns) == {3, 4, 5}
    assert ((rows == 3) & (columns == 4)).mean() == pytest.approx(0.5 + 0.5 / 9, abs=0.1)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(b"old")

    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        demo.write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_reading_weights_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, **{"output.bias": np.array([print], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        demo.load_weights(demo.Network(), path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--lr", "0"], "--lr must be positive and finite, got 0.0"),
        (["--lr", "nan"], "--lr must be positive and finite, got nan"),
        (["--seed", "-1"], "--seed must not be negative, got -1"),
    ],
)
def test_bad_arguments(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(arguments)
    assert words in capsys.readouterr().err


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


def test_out_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert demo.main(["--epochs", "1", "--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"the loss is not finite any more in epoch 1\. Lower the learning rate"):
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

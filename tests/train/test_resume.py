"""A run that is killed and resumed gives what the uninterrupted run gives, bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wengert as wg

pytestmark = pytest.mark.slow

CHILD = Path(__file__).with_name("child.py")


def run(directory: Path, end: str = "", workers: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the child to its end, whatever that is."""
    directory.mkdir(exist_ok=True)
    command = [sys.executable, str(CHILD), str(directory), end, str(workers)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def steps(directory: Path) -> list[Any]:
    """The lines of the log without times."""
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in lines]


def rows(directory: Path) -> list[list[str]]:
    return [line.split(",")[:-2] for line in (directory / "log.csv").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    child = run(directory)
    assert child.returncode == 0, child.stderr
    return directory


def assert_same(resumed: Path, whole: Path) -> None:
    """Curves, weights, averages, evaluation, logs and the best weights."""
    result = json.loads((resumed / "result.json").read_text())
    assert result == json.loads((whole / "result.json").read_text())
    assert len(result["curve"]) == 5
    assert steps(resumed) == steps(whole)
    assert rows(resumed) == rows(whole)
    assert (resumed / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    names = {path.name for path in resumed.iterdir()}
    assert names == {"best.safetensors", "checkpoint.wg", "log.csv", "log.jsonl", "result.json"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [
        ["step:9"],  # one update after the last checkpoint, in mid-epoch
        ["write:4"],  # while a checkpoint is written
        ["step:1", "step:8", "write:2", "validation:1", "step:26"],  # the first one before any checkpoint
    ],
    ids=" ".join,
)
def test_killed_and_resumed_is_the_same_bit_for_bit(kills: list[str], whole: Path, tmp_path: Path) -> None:
    for end in kills:
        assert run(tmp_path, end).returncode == -signal.SIGKILL
        assert not (tmp_path / "result.json").exists()
    child = run(tmp_path)
    assert child.returncode == 0, child.stderr
    assert_same(tmp_path, whole)


@pytest.mark.slow
def test_worker_processes_change_nothing(whole: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "step:9", workers=2).returncode == -signal.SIGKILL
    child = run(tmp_path, workers=1)
    assert child.returncode == 0, child.stderr
    assert_same(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        ("int:9", 130, "interrupted by SIGINT: 1 epochs and 9 updates are done, saved"),
        ("term:9", 143, "interrupted by SIGTERM: 1 epochs and 9 updates are done, saved"),
        ("intval:2", 130, "interrupted by SIGINT: 1 epochs and 12 updates are done, saved"),
    ],
)
def test_a_signal_saves_and_leaves(end: str, status: int, words: str, whole: Path, tmp_path: Path) -> None:
    child = run(tmp_path, end)
    assert child.returncode == status
    assert words in child.stderr
    assert "Traceback" not in child.stderr
    assert run(tmp_path).returncode == 0
    assert_same(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("end", "step"), [("raise:9", 9), ("epoch:3", 18)])
def test_a_callback_that_raises_loses_nothing(end: str, step: int, whole: Path, tmp_path: Path) -> None:
    child = run(tmp_path, end)
    assert child.returncode == 1
    assert "ValueError: a callback that raises" in child.stderr
    state = wg.load(tmp_path / "checkpoint.wg")
    assert state["step"] == step
    assert state["pending"][1] == ["BestCheckpoint#0", "JSONLogger#0"]  # the others are called after resuming
    assert run(tmp_path).returncode == 0
    assert_same(tmp_path, whole)

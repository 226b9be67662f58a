"""No worker process, and no memory that it shares, outlives a program, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import wengert as wg

pytestmark = pytest.mark.slow


def segments(pid: int) -> list[str]:
    """Shared memory of a process."""
    folder = Path("/dev/shm")
    pattern = f"wg{pid:x}_*"
    return sorted(path.name for path in folder.glob(pattern)) if folder.is_dir() else []


SCRIPT = """
import os, signal, sys, threading, time
from multiprocessing import resource_tracker
import numpy as np
from wengert.utils.data import DataLoader, Dataset

class Pids(Dataset):
    def __len__(self):
        return 10_000
    def __getitem__(self, index):
        time.sleep(0.01)
        if index >= 4 and sys.argv[1] == "kill in a sample":
            time.sleep(3600)
        return np.full(20_000, os.getpid())

def slowly(name, kind, register=resource_tracker.register):
    time.sleep(2.0 if kind == "shared_memory" else 0.0)
    register(name, kind)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
    pids = set()
    if sys.argv[1] == "kill while segments are made":
        resource_tracker.register = slowly
    batches = iter(DataLoader(Pids(), num_workers=2, multiprocessing_context=sys.argv[2], persistent_workers=True))
    for _ in range(4):
        pids.add(int(next(batches)[0, 0]))
    print(os.getpid(), *pids, flush=True)
    if sys.argv[1] == "interrupt":
        threading.Timer(0.1, os.killpg, (os.getpgrp(), signal.SIGINT)).start()
        for batch in batches:
            pass
    elif sys.argv[1].startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif sys.argv[1] == "raise":
        raise SystemExit(3)
"""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize(
    ("end", "context", "code"),
    [
        ("interrupt", "fork", -signal.SIGINT),
        ("raise", "fork", 3),
        ("return", "spawn", 0),
        ("return", "forkserver", 0),
        ("kill", "fork", -signal.SIGKILL),
        ("kill in a sample", "fork", -signal.SIGKILL),
        ("kill in a sample", "spawn", -signal.SIGKILL),
        ("kill while segments are made", "fork", -signal.SIGKILL),
    ],
)
def test_no_process_outlives_the_program(tmp_path: Path, end: str, context: str, code: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "PYTHONPATH": str(Path(wg.__file__).parents[1])}
    program = subprocess.run(
        [sys.executable, "-W", "error", str(script), end, context],
        capture_output=True, text=True, timeout=300, start_new_session=True, env=environment, check=False,
    )  # fmt: skip
    pid, *workers = (int(word) for word in program.stdout.split())
    assert len(workers) == 2
    assert program.returncode == code, program.stderr
    if end == "interrupt":
        assert "KeyboardInterrupt" in program.stderr  # where it struck, and how often it is told, is chance
    elif not end.startswith("kill"):  # which the tracker of shared memory reports, rightly
        assert program.stderr == ""
    until = time.monotonic() + 60
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    while segments(pid) and time.monotonic() < until:  # the tracker's work, after a kill
        time.sleep(0.05)
    assert segments(pid) == []

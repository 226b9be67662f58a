"""Eager speed beside PyTorch: both in one process, one thread, in turns.

Each workload is written once, as a function of the library. A round times one library, then the other,
so that a machine that slows down slows both; the figure is the median over the rounds. The bar is on the
ratio, Wengert's time over PyTorch's. Import times are of fresh processes, beside NumPy's.

    python benchmarks/eager.py [--json FILE] [--wheels] [--self-check]

Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import os

# Before NumPy and torch are imported, which read them once.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import importlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy

Step = Callable[[], object]
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Row:
    """One measurement; ``ratio`` or ``ours`` is what the bar is on."""

    workload: str
    unit: str
    ours: float
    theirs: float | None
    bar: float

    @property
    def figure(self) -> float:
        return self.ours if self.theirs is None else self.ours / self.theirs

    @property
    def passed(self) -> bool:
        return self.figure <= self.bar

    def __str__(self) -> str:
        theirs, sign = ("", " ") if self.theirs is None else (f"{self.theirs:.4g}", "x")
        verdict = "pass" if self.passed else "MISS"
        return (
            f"{self.workload:<44} {self.ours:>8.4g} {theirs:>8} {self.unit:<3}"
            f" {self.figure:>7.3g} {sign}  <= {self.bar:<5g} {verdict}"
        )


# Workloads: lib is torch or wengert.


def mlp(lib: Any) -> Step:
    nn = lib.nn
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    parameters = list(net.parameters())
    x, y = lib.rand(32, 2), lib.rand(32, 1)
    loss = nn.MSELoss()

    def step() -> None:
        for p in parameters:
            p.grad = None
        loss(net(x), y).backward()

    return step


def chain(lib: Any) -> Step:
    x, y = lib.rand(8, requires_grad=True), lib.rand(8)

    def step() -> None:
        x.grad = None
        (x * y).tanh().sum().backward()

    return step


def multiply(lib: Any) -> Step:
    x, y = lib.rand(8), lib.rand(8)
    return lambda: x * y


def multiply_with_grad(lib: Any) -> Step:
    x, y = lib.rand(8, requires_grad=True), lib.rand(8)
    return lambda: x * y


WORKLOADS: list[tuple[str, Callable[[Any], Step], float]] = [
    ("2-16-16-1 tanh MLP, MSE, batch 32, backward", mlp, 0.7),
    ("mul, tanh, sum, backward on 8 elements", chain, 0.5),
    ("x * y on 8 elements, no gradient", multiply, 1.5),
    ("x * y on 8 elements, with gradient", multiply_with_grad, 1.5),
]


# Measuring.


def seconds(step: Step, calls: int) -> float:
    """Time of one call, from a run of several."""
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Medians of two measurements; which one goes first alternates."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        for side in (0, 1) if i % 2 == 0 else (1, 0):
            times[side].append((ours, theirs)[side]())
    return statistics.median(times[0]), statistics.median(times[1])


def measure_workload(name: str, make: Callable[[Any], Step], bar: float, libs: tuple[Any, Any]) -> Row:
    steps = []
    for lib in libs:
        lib.manual_seed(0)
        steps.append(make(lib))
    # Warm up for 0.1 s each, then as many calls a sample as fill about 20 ms.
    calls = []
    for step in steps:
        once = min(seconds(step, 10) for _ in range(10))
        seconds(step, max(1, int(0.1 / once)))
        calls.append(max(1, int(0.02 / once)))
    ours, theirs = in_turns(lambda: seconds(steps[0], calls[0]), lambda: seconds(steps[1], calls[1]), rounds=51)
    return Row(name, "us", ours * 1e6, theirs * 1e6, bar)


def import_seconds(module: str) -> float:
    """Time of ``import module`` in a fresh process, the start of Python itself left out."""
    program = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    # Users' imports read byte code from the disk, whatever this environment says.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return float(subprocess.check_output([sys.executable, "-c", program], text=True, env=environment))


def measure_import(module: str) -> list[Row]:
    for name in (module, "numpy"):
        import_seconds(name)  # writes byte code, fills the disk cache
    ours, theirs = in_turns(lambda: import_seconds(module), lambda: import_seconds("numpy"), rounds=21)
    return [
        Row(f"import {module} beside import numpy", "ms", ours * 1e3, theirs * 1e3, 2.5),
        Row(f"import {module}", "ms", ours * 1e3, None, 150),
    ]


def measure_wheels() -> Row:
    """What a core install downloads besides Wengert itself."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
        subprocess.run([*pip, "--dest", folder, *dependencies], check=True)
        size = sum(wheel.stat().st_size for wheel in Path(folder).iterdir())
    return Row("wheels of the core dependencies", "MB", size / 1e6, None, 80)


def main() -> int:
    parser = argparse.ArgumentParser(description="Eager speed beside PyTorch, import time, install size.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--wheels", action="store_true", help="download the core's wheels, add their size")
    parser.add_argument("--self-check", action="store_true", help="measure the peer against itself: ratios should be 1")
    options = parser.parse_args()

    theirs = importlib.import_module("torch")
    theirs.set_num_threads(1)
    ours = theirs if options.self_check else importlib.import_module("wengert")

    versions = {lib.__name__: lib.__version__ for lib in (ours, theirs, numpy)}
    versions["python"] = platform.python_version()
    print("one thread;", ", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{'':<44} {'ours':>8} {'theirs':>8} {'':<3} {'ratio':>7}    {'bar':>5}")

    rows: list[Row] = []

    def report(row: Row) -> None:
        rows.append(row)
        print(row, flush=True)

    for name, make, bar in WORKLOADS:
        report(measure_workload(name, make, bar, (ours, theirs)))
    for row in measure_import("numpy" if options.self_check else "wengert"):
        report(row)
    if options.wheels:
        report(measure_wheels())

    if options.json:
        figures = [asdict(row) | {"figure": row.figure, "passed": row.passed} for row in rows]
        options.json.write_text(json.dumps({"versions": versions, "figures": figures}, indent=2) + "\n")
    return int(not all(row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main())

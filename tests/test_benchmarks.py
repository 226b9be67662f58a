"""The benchmark's bookkeeping: bars, pages; its scientific programs run with what the core has."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
try:
    report, workload, worker, measure = (
        importlib.import_module(f"benchmarks.compiled.{name}") for name in ("report", "workload", "worker", "measure")
    )
finally:
    sys.path.pop(0)

WORKS = worker.registry()


def entry(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "processor": seconds, "busy": 1.0}


def results(compiled: dict[str, Any]) -> Any:
    found = report.Results(peaks={1: {"flop": 1e11, "byte": 1e10}})
    found.times["tiny", 1] = {"wengert": entry(2e-4), "wengert compiled": compiled, "torch": entry(4e-4)}
    found.first["tiny"] = {"wengert compiled": {"cold": {"seconds": 0.4}, "warm": {"seconds": 0.1}}}
    found.memory["tiny"] = {"wengert compiled": {"bytes": 2e6}, "torch": {"bytes": 4e6}}
    return found


def test_bars_are_judged() -> None:
    verdicts = report.verdicts([WORKS["tiny"]], results(entry(1e-5)))
    assert {v.what: (round(v.figure, 3), v.passed) for v in verdicts} == {
        "compiled, times as fast as torch eager": (40.0, True),
        "compiled, times as fast as torch": (40.0, True),
        "eager, its time over torch eager's": (0.5, True),
        "first call, cold: seconds": (0.4, False),
        "first call, warm: seconds": (0.1, True),
        "peak memory over torch eager's": (0.5, True),
    }


def test_the_page_says_why_a_figure_is_missing() -> None:
    found = results({"error": "ValueError: no"})
    verdicts = report.verdicts([WORKS["tiny"]], found)
    page = report.page([WORKS["tiny"]], found, verdicts, None)
    assert "- [1]" in page
    assert "[1] `ValueError: no`" in page
    assert "400 µs" in page
    assert "MISS  tiny" in page


def test_figures_are_read_back() -> None:
    found = results(entry(1e-5))
    again = report.from_json(json.loads(json.dumps(report.as_json(found))))
    assert (again.times, again.first, again.memory, again.peaks) == (
        found.times,
        found.first,
        found.memory,
        found.peaks,
    )


@pytest.mark.parametrize(
    "name", [w.name for w in WORKS.values() if w.group == "science" and not w.name.endswith("000")]
)
def test_scientific_programs_give_finite_derivatives(name: str) -> None:
    call = WORKS[name].build(workload.EAGER, {}, True)
    found = workload.arrays(call())
    assert found
    assert all(np.isfinite(a).all() and np.abs(a).max() > 0 for a in found)


def test_a_contender_that_fails_is_reported_beside_the_others() -> None:
    found = measure.times(WORKS["overhead"], ["nobody", workload.EAGER], {}, True, 0.01)
    assert "KeyError" in found["nobody"]["error"]
    assert found[workload.EAGER]["rounds"] >= measure.FEWEST_ROUNDS

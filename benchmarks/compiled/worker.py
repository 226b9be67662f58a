"""One measurement in a process of its own: ``python -m benchmarks.compiled.worker TASK`` with TASK as JSON.

The parent sets the threads in the environment before anything reads them. The last line printed is the answer.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from . import measure, peaks, profile
from .workload import COMPILED, EAGER, LIBRARY, Weights, Workload


def registry() -> dict[str, Workload]:
    from . import halves, kernels, science, training

    return {w.name: w for m in (training, science, kernels, halves) for w in m.WORKLOADS}


def set_threads(contenders: list[str], threads: int) -> None:
    """What the environment alone does not set."""
    libraries = {LIBRARY[c] for c in contenders}
    if "torch" in libraries:
        importlib.import_module("torch").set_num_threads(threads)
    if "wengert" in libraries:
        lib: Any = importlib.import_module("wengert")
        if hasattr(lib, "set_num_threads"):
            lib.set_num_threads(threads)
    if "jax" in libraries:
        importlib.import_module("jax")


def make_weights(work: Workload, path: Path) -> None:
    """Initial weights: torch's own where there is torch, else Wengert's; the same for every contender."""
    name = "torch" if importlib.util.find_spec("torch") else "wengert"
    lib: Any = importlib.import_module(name)
    lib.manual_seed(0)
    assert work.weights is not None
    state = work.weights(lib).state_dict()
    np.savez(path, **{name: value.detach().numpy() for name, value in state.items()})


def answer(task: dict[str, Any]) -> Any:
    mode, quick, contenders = task["mode"], task.get("quick", False), task.get("contenders", [])
    if mode == "peaks":
        return peaks.peaks(task["threads"])
    work = registry()[task["workload"]]
    if mode == "weights":
        return make_weights(work, Path(task["weights"]))
    start = time.perf_counter()
    set_threads(contenders or [EAGER], task["threads"])
    imports = time.perf_counter() - start
    weights: Weights = dict(np.load(task["weights"])) if task.get("weights") else {}
    if mode == "time":
        out: Any = measure.times(work, contenders, weights, quick, task["budget"])
    elif mode == "check":
        out = measure.check(work, contenders, weights, quick)
    elif mode == "profile":
        out = profile.profile(work, weights, quick)
    else:
        out = {"first": measure.first_call, "memory": measure.memory}[mode](work, contenders[0], weights, quick)
        out["imports"] = imports
    return {"result": out, "versions": measure.loaded_libraries()}


def main() -> None:
    task = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    if not hasattr(importlib.import_module("wengert"), "compile") and task.get("contenders") == [COMPILED]:
        print(json.dumps({"result": {"error": "wengert has no compile yet"}, "versions": {}}))
        return
    print(json.dumps(answer(task)))


if __name__ == "__main__":
    main()

"""Measuring inside one process: contenders in turns, first calls, memory, agreement."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .workload import COMPILED, EAGER, JAX, TORCH, Call, Weights, Workload, arrays, wait

MOST_ROUNDS, FEWEST_ROUNDS = 51, 3
SAMPLE = 0.02  # seconds a sample lasts at least
REST = 0.02  # seconds between turns: idle threads of OpenMP spin for 7 ms, and halve a core for whoever comes next
WARM = 0.1  # seconds of a call up to which one goes before each sample
Entry = dict[str, Any]


def failed(error: Exception) -> Entry:
    lines = str(error).strip().splitlines() or [""]
    return {"error": f"{type(error).__name__}: {lines[0]}"[:300]}


def attempt(f: Callable[[], Entry]) -> Entry:
    """What ``f`` returns; where it fails, why. A contender that fails is reported, the others go on."""
    try:
        return f()
    except Exception as error:
        return failed(error)


def seconds(call: Call, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        wait(call())
    return (time.perf_counter() - start) / calls


# Times.


class Runner:
    """One contender: its call, how many calls make a sample, the samples."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.first = seconds(call, 1)
        seconds(call, 1)  # torch.compile may compile once more for the second step
        self.once = min(seconds(call, 1), seconds(call, 1))
        self.calls, self.rounds = 1, FEWEST_ROUNDS
        self.samples: list[float] = []
        self.processor: list[float] = []  # processor seconds a call: what a loaded machine does not stretch
        self.busy = 0.0  # processor time over time of the clock: a contender must not use more threads

    def plan(self, target: float, share: float) -> None:
        self.calls = max(1, int(target / self.once))
        fit = int(share / (self.once * self.calls))
        self.rounds = min(MOST_ROUNDS, max(FEWEST_ROUNDS, fit))

    def sample(self) -> None:
        time.sleep(REST)
        if self.once < WARM:
            seconds(self.call, max(1, self.calls // 8))  # fetches its data
        clock, processor = time.perf_counter(), time.process_time()
        self.samples.append(seconds(self.call, self.calls))
        used = time.process_time() - processor
        self.processor.append(used / self.calls)
        self.busy = max(self.busy, used / (time.perf_counter() - clock))

    def entry(self) -> Entry:
        spread = (max(self.samples) - min(self.samples)) / statistics.median(self.samples)
        return {
            "seconds": statistics.median(self.samples), "best": min(self.samples), "rounds": len(self.samples),
            "calls": self.calls, "spread": spread, "busy": self.busy, "processor": statistics.median(self.processor),
        }  # fmt: skip


def times(work: Workload, contenders: list[str], weights: Weights, quick: bool, budget: float) -> dict[str, Entry]:
    """Medians over rounds in which every contender has its turn, first another one each time."""
    out: dict[str, Entry] = {}
    runners: dict[str, Runner] = {}
    for c in contenders:
        try:
            runners[c] = Runner(work.build(c, weights, quick))
        except Exception as error:
            out[c] = failed(error)
    if runners:
        share = budget / len(runners)
        target = min(max([SAMPLE, *(r.once for r in runners.values())]), share / 7)
        for r in runners.values():
            r.plan(max(target, SAMPLE), share)
        in_turns(list(runners.values()))
    return out | {c: r.entry() for c, r in runners.items()}


def in_turns(runners: list[Runner]) -> None:
    gc.collect()
    for i in range(max(r.rounds for r in runners)):
        first = i % len(runners)
        for r in runners[first:] + runners[:first]:
            if i < r.rounds:
                r.sample()


# First call and memory, each in a fresh process.


def load_code(contender: str) -> None:
    """Trains a tiny network first: what libraries import and allocate once is not counted as a step's memory."""
    from .training import TASKS, torch_like_step

    if contender == JAX:
        jax: Any = importlib.import_module("jax")
        jax.jit(lambda x: x * 2 + 1)(np.ones(8, np.float32)).block_until_ready()
        return
    kept = os.environ.get("WENGERT_CACHE")
    os.environ["WENGERT_CACHE"] = "0"  # a program from the disk would leave the compiler unloaded
    try:
        seconds(torch_like_step(TASKS["tiny"], contender, {}), 2)
    finally:
        os.environ.pop("WENGERT_CACHE") if kept is None else os.environ.update(WENGERT_CACHE=kept)


def first_call(work: Workload, contender: str, weights: Weights, quick: bool) -> Entry:
    """Seconds of the first call, whatever it must import and compile."""

    def run() -> Entry:
        call = work.build(contender, weights, quick)
        return {"seconds": seconds(call, 1), "second": seconds(call, 1)}

    return attempt(run)


def memory_of(what: str) -> int:
    """VmHWM (peak) or VmRSS (now) of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def memory(work: Workload, contender: str, weights: Weights, quick: bool) -> Entry:
    """Peak resident bytes of steps, above what imports, compilers and the given weights take."""

    def run() -> Entry:
        load_code(contender)
        gc.collect()
        before = memory_of("VmRSS")
        call = work.build(contender, weights, quick)
        seconds(call, 2)
        gc.collect()
        if not reset_peak():
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return {"bytes": peak - before, "with_first_call": True}
        for _ in range(3):
            wait(call())
        return {"bytes": memory_of("VmHWM") - before}

    return attempt(run)


# Agreement.


def losses(call: Call, steps: int) -> np.ndarray:
    return np.array([float(arrays(wait(call()))[0]) for _ in range(steps)])


def results(work: Workload, contender: str, weights: Weights, quick: bool) -> list[np.ndarray]:
    """Losses of the first steps, or what one call gives."""
    call = work.build(contender, weights, quick)
    return [losses(call, work.curve)] if work.curve else arrays(wait(call()))


def check(work: Workload, contenders: list[str], weights: Weights, quick: bool) -> dict[str, Entry]:
    """How far each contender is from torch (else from the first contender)."""
    found: dict[str, list[np.ndarray]] = {}
    out: dict[str, Entry] = {}
    for c in contenders:
        try:
            found[c] = results(work, c, weights, quick)
        except Exception as error:
            out[c] = failed(error)
    reference = TORCH if TORCH in found else next(iter(found), "")
    for c, own in found.items():
        worst = distance(own, found[reference])
        out[c] = {"deviation": worst, "agrees": bool(worst <= work.tolerance), "reference": reference}
    if work.curve and reference == TORCH and not all(out[c]["agrees"] for c in found):
        judge(work, found, out, weights, quick)
    return out


def judge(work: Workload, found: dict[str, Any], out: dict[str, Entry], weights: Weights, quick: bool) -> None:
    """Where float32 curves part, as at a ReLU whose input rounds to another sign, float64 decides.

    In float64 Wengert must agree with torch; in float32 it may be twice as far from that curve as the peers are.
    """
    double = {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in weights.items()}
    exact = results(work, TORCH, double, quick)
    error = {c: distance(own, exact) for c, own in found.items()}
    peers = max((e for c, e in error.items() if c not in (EAGER, COMPILED)), default=0.0)
    for c in found:
        out[c]["from_float64"] = error[c]
        if c in (EAGER, COMPILED):
            own = attempt(lambda c=c: {"value": distance(results(work, c, double, quick), exact)})
            out[c] |= {"float64": own.get("value", own.get("error"))}
            right = "value" in own and own["value"] <= work.tolerance / 100
            out[c]["agrees"] = bool(right and error[c] <= max(work.tolerance, 2 * peers))


def distance(own: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max([deviation(a, b) for a, b in zip(own, other, strict=True)], default=0.0)


def deviation(a: np.ndarray, b: np.ndarray) -> float:
    """Losses: the largest relative difference; tensors: the largest difference over the largest element."""
    if a.shape != b.shape:
        return float("inf")
    if a.ndim == 1 and a.size <= 20:
        return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-30)))
    return float(np.max(np.abs(a - b)) / max(float(np.max(np.abs(b))), 1e-30))


def loaded_libraries() -> dict[str, str]:
    names = ("wengert", "torch", "jax", "numpy", "llvmlite")
    return {n: getattr(sys.modules[n], "__version__", "?") for n in names if n in sys.modules}

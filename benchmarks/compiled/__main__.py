"""Runs the benchmark; see the package."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import report
from .worker import registry
from .workload import COMPILED, EAGER, INDUCTOR, JAX, TORCH, Workload, installed

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("time", "first", "memory")


class Bench:
    """Runs workers, each in a fresh process with the threads in its environment; keeps the weights' files."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.versions: dict[str, str] = {}

    def environment(self, threads: int, cache: Path) -> dict[str, str]:
        n = str(threads)
        return {
            **os.environ,
            "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n, "MKL_NUM_THREADS": n, "NPROC": n,
            "WENGERT_NUM_THREADS": n,
            "OPENBLAS_THREAD_TIMEOUT": "20",  # its idle threads must not spin into the next contender's turn
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
            "XDG_CACHE_HOME": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache / "torch"),
            "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1", "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip

    def run(self, mode: str, threads: int, cache: Path | None = None, **task: Any) -> Any:
        task |= {"mode": mode, "threads": threads, "quick": self.options.quick}
        command = [sys.executable, "-m", "benchmarks.compiled.worker", json.dumps(task)]
        environment = self.environment(threads, cache or self.folder / "cache")
        done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return {"error": f"the process ended with {done.returncode}: {last}"[:300]}
        out = json.loads(done.stdout.strip().splitlines()[-1])
        if not isinstance(out, dict) or "result" not in out:
            return out
        self.versions |= out["versions"]
        return out["result"]

    def weights(self, work: Workload) -> str:
        if work.weights is None:
            return ""
        path = self.folder / f"{work.name.removesuffix('-infer')}.npz"
        if not path.exists():
            problem = self.run("weights", 1, workload=work.name, weights=str(path))
            if problem:
                raise RuntimeError(problem["error"])
        return str(path)

    def times(self, work: Workload, threads: int) -> dict[str, Any]:
        task = {"workload": work.name, "contenders": self.contenders(work), "weights": self.weights(work)}
        out = self.run("time", threads, **task, budget=self.options.budget)
        return {c: out for c in task["contenders"]} if "error" in out else out

    def checks(self, work: Workload) -> dict[str, Any]:
        task = {"workload": work.name, "contenders": self.contenders(work), "weights": self.weights(work)}
        out = self.run("check", 1, **task)
        return {c: out for c in task["contenders"]} if "error" in out else out

    def first_calls(self, work: Workload) -> dict[str, Any]:
        """Cold, then with the cache that the cold call wrote; with byte code of the library, as installers leave it."""
        compileall.compile_dir(ROOT / "src", quiet=1)
        out = {}
        for c in self.contenders(work):
            if c in (EAGER, TORCH):
                continue
            with tempfile.TemporaryDirectory(dir=self.folder) as cache:
                task = {"workload": work.name, "contenders": [c], "weights": self.weights(work)}
                out[c] = {state: self.run("first", 1, Path(cache), **task) for state in ("cold", "warm")}
        return out

    def memories(self, work: Workload) -> dict[str, Any]:
        weights = self.weights(work)
        return {
            c: self.run("memory", 1, workload=work.name, contenders=[c], weights=weights)
            for c in self.contenders(work)
        }  # fmt: skip

    def contenders(self, work: Workload) -> list[str]:
        chosen = self.options.contenders or work.contenders
        return [c for c in work.contenders if c in chosen and installed(c)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiled", description="Wengert, eager and compiled, beside torch and JAX."
    )
    add = parser.add_argument
    add("--only", nargs="+", metavar="NAME", help="workloads or groups (train, science, kernel, bfloat16, ...)")
    add("--contenders", nargs="+", choices=(EAGER, COMPILED, TORCH, INDUCTOR, JAX), help="these alone")
    add("--threads", nargs="+", type=int, default=[1, 2])
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="times, first calls, peak memory")
    add("--budget", type=float, default=20.0, help="seconds of measuring for each workload and number of threads")
    add("--clock", choices=("seconds", "processor"), default="seconds", help="processor time, on a shared machine")
    add("--quick", action="store_true", help="small scientific inputs, a short budget, one thread, times alone")
    add("--check", action="store_true", help="only compare losses and results with torch's")
    add("--profile", action="store_true", help="only print where Wengert's eager time goes")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--resume", action="store_true", help="take what is in the --json file as measured")
    add("--write", action="store_true", help="write docs/benchmarks.md and its plot")
    add("--strict", action="store_true", help="exit status 1 when a bar is missed")
    add("--list", action="store_true", help="print the names")
    options = parser.parse_args()
    if options.resume and not options.json:
        parser.error("--resume needs --json FILE")
    if options.quick:
        options.budget, options.threads, options.parts = min(options.budget, 2.0), [1], ["time"]
    return options


def chosen(only: list[str] | None) -> list[Workload]:
    every = registry()
    if not only:
        return list(every.values())
    groups = {w.group for w in every.values()}
    unknown = [n for n in only if n not in every and n not in groups]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}. Known: {', '.join([*sorted(groups), *every])}")
    return [w for w in every.values() if w.name in only or w.group in only]


def measured(bench: Bench, works: list[Workload], options: argparse.Namespace) -> report.Results:
    """All figures that are asked for; with ``--json`` they are kept after each workload, and ``--resume`` goes on."""
    results = report.Results(clock=options.clock)
    if options.resume and options.json.exists():
        results = report.from_json(json.loads(options.json.read_text()))
        bench.versions |= results.versions
    for threads in options.threads:
        if threads not in results.peaks:
            results.peaks[threads] = bench.run("peaks", threads)
    for work in works:
        measure(bench, work, options, results)
        results.versions = bench.versions
        if options.json:
            options.json.write_text(json.dumps(report.as_json(results), indent=1) + "\n")
    return results


def measure(bench: Bench, work: Workload, options: argparse.Namespace, results: report.Results) -> None:
    """The figures of a workload that are not there yet."""
    for threads in options.threads:
        if "time" in options.parts and (work.name, threads) not in results.times:
            results.times[work.name, threads] = bench.times(work, threads)
            print(report.line(work, threads, results), flush=True)
    if work.group not in ("train", "infer"):
        return
    if "first" in options.parts and work.group == "train" and work.name not in results.first:
        results.first[work.name] = bench.first_calls(work)
        print(report.first_line(work, results), flush=True)
    if "memory" in options.parts and work.name not in results.memory:
        results.memory[work.name] = bench.memories(work)
        print(report.memory_line(work, results), flush=True)


def check(bench: Bench, works: list[Workload]) -> bool:
    """Prints how far each contender is from torch; whether Wengert is near enough."""
    fine = True
    for work in works:
        for contender, entry in bench.checks(work).items():
            said = entry.get("error") or f"{entry['deviation']:.1e}"
            said += "".join(f", {key} {entry[key]:.1e}" for key in ("float64", "from_float64") if key in entry)
            verdict = "agrees" if entry.get("agrees") else "DIFFERS"
            print(f"{work.name:<16} {contender:<18} {said:<50} {verdict}", flush=True)
            fine &= verdict == "agrees" or contender not in (EAGER, COMPILED)
    return fine


def main() -> int:
    options = arguments()
    works = chosen(options.only)
    if options.list:
        print("\n".join(f"{w.name:<16} {w.group:<9} {w.title}" for w in works))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        if options.check:
            return int(not check(bench, works))
        if options.profile:
            for work in works:
                report.print_profile(work, bench.run("profile", 1, workload=work.name, weights=bench.weights(work)))
            return 0
        start = time.time()
        results = measured(bench, works, options)
        print(f"{time.time() - start:.0f} s")
    verdicts = report.verdicts(works, results)
    print("\n".join(v.text for v in verdicts))
    if options.write:
        report.write(ROOT / "docs", works, results, verdicts)
    return int(options.strict and any(not v.passed for v in verdicts))


if __name__ == "__main__":
    sys.exit(main())

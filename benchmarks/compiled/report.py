"""Lines, bars and the page: what was measured, beside what the project wants."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .workload import COMPILED, CONTENDERS, EAGER, INDUCTOR, JAX, TORCH, Workload

Entry = dict[str, Any]
PEERS = (TORCH, INDUCTOR, JAX)
WARM_FIRST = 0.5  # seconds that a first call may take when the code is on the disk


@dataclass
class Results:
    """Figures as measured; keys: workload and threads, or workload, then contender."""

    times: dict[tuple[str, int], dict[str, Entry]] = field(default_factory=dict)
    first: dict[str, dict[str, dict[str, Entry]]] = field(default_factory=dict)
    memory: dict[str, dict[str, Entry]] = field(default_factory=dict)
    peaks: dict[int, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    clock: str = "seconds"  # or "processor"

    def seconds(self, name: str, threads: int, contender: str) -> float | None:
        return self.times.get((name, threads), {}).get(contender, {}).get(self.clock)


@dataclass
class Verdict:
    """One bar, and whether it was reached."""

    workload: str
    what: str
    figure: float
    bar: float
    at_least: bool
    threads: int = 1

    @property
    def passed(self) -> bool:
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar

    @property
    def text(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = f"{'pass' if self.passed else 'MISS'}  {self.workload:<16} {self.threads} thr"
        return f"{verdict}  {self.what:<40} {self.figure:>9.3g} {sign} {self.bar:g}"


# Figures.


def duration(s: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if s * scale >= 1 or unit == "µs":
            return f"{s * scale:.3g} {unit}"
    raise AssertionError


def cell(entry: Entry | None, clock: str = "seconds") -> str:
    if entry is None:
        return ""
    return duration(entry[clock]) if clock in entry else "-"


def rate(work: Workload, entry: Entry, peak: dict[str, float], clock: str) -> str:
    """Share of the machine's peak."""
    if not work.work or clock not in entry:
        return ""
    speed = work.work / entry[clock]
    return f" ({speed / 1e9:.0f} G{work.unit}/s, {100 * speed / peak[work.unit]:.0f} %)"


def line(work: Workload, threads: int, results: Results) -> str:
    entries = results.times[work.name, threads]
    parts = []
    for c, entry in entries.items():
        text = f"{c} {cell(entry, results.clock)}{rate(work, entry, results.peaks[threads], results.clock)}"
        if "error" in entry:
            text += f" [{entry['error'][:80]}]"
        elif entry["processor"] < 0.9 * entry["seconds"] and threads == 1:
            text += " [machine busy]"
        elif entry["busy"] > threads * 1.15 + 0.05:
            text += f" [used {entry['busy']:.1f} cores]"
        parts.append(text)
    ours, theirs = (results.seconds(work.name, threads, c) for c in (EAGER, TORCH))
    if ours and theirs:
        parts.append(f"eager ratio {ours / theirs:.2f}")
    return f"{work.name:<16} {threads} thr  " + " | ".join(parts)


def first_line(work: Workload, results: Results) -> str:
    parts = [
        f"{c} {' / '.join(cell(entry[state]) for state in ('cold', 'warm'))}"
        for c, entry in results.first[work.name].items()
    ]
    return f"{work.name:<16} first call cold / warm  " + " | ".join(parts)


def megabytes(entry: Entry) -> str:
    return f"{entry['bytes'] / 1e6:.0f} MB" if "bytes" in entry else "-"


def memory_line(work: Workload, results: Results) -> str:
    return f"{work.name:<16} peak  " + " | ".join(f"{c} {megabytes(e)}" for c, e in results.memory[work.name].items())


def print_profile(work: Workload, rows: Any) -> None:
    if isinstance(rows, dict):
        print(work.name, rows["error"])
        return
    *rows, outside, (_, whole, _) = rows
    print(f"{work.name}: {duration(whole)} a step, clocks included")
    for label, own, count in [*rows[:14], outside]:
        if own > 0.005 * whole:
            print(f"  {100 * own / whole:5.1f} %  {duration(own):>8}  {count or '':>6}  {label}")


# Bars.


def verdicts(works: Iterable[Workload], results: Results) -> list[Verdict]:
    out: list[Verdict] = []
    for work in works:
        for name, threads in results.times:
            if name == work.name:
                out += speed_verdicts(work, threads, results)
        out += first_verdicts(work, results) + memory_verdicts(work, results)
    return out


def speed_verdicts(work: Workload, threads: int, results: Results) -> list[Verdict]:
    get = lambda c: results.seconds(work.name, threads, c)
    ours, eager, base = get(COMPILED), get(EAGER), get(TORCH)
    peers = {c: s for c in PEERS if (s := get(c))}
    out = []

    def add(what: str, figure: float, bar: float, at_least: bool = True) -> None:
        out.append(Verdict(work.name, what, figure, bar, at_least, threads))

    if ours and work.bar and base:
        add("compiled, times as fast as torch eager", base / ours, work.bar)
    if ours and peers and work.group in ("train", "infer", "science"):
        best = min(peers, key=lambda c: peers[c])
        add(f"compiled, times as fast as {best}", peers[best] / ours, 1.0)
    if ours and JAX in work.limits and JAX in peers:
        add("compiled, times as fast as jax.jit", peers[JAX] / ours, work.limits[JAX])
    if ours and "seconds" in work.limits:
        add("seconds of a call", ours, work.limits["seconds"], False)
    if ours and work.share:
        add("share of the peak", work.work / ours / results.peaks[threads][work.unit], work.share)
    if eager and base and work.eager_bar:
        add("eager, its time over torch eager's", eager / base, work.eager_bar, False)
    return out


def first_verdicts(work: Workload, results: Results) -> list[Verdict]:
    entry = results.first.get(work.name, {}).get(COMPILED, {})
    bars = (("cold", work.first), ("warm", WARM_FIRST))
    return [
        Verdict(work.name, f"first call, {state}: seconds", entry[state]["seconds"], bar, False)
        for state, bar in bars
        if bar and "seconds" in entry.get(state, {})
    ]


def memory_verdicts(work: Workload, results: Results) -> list[Verdict]:
    entry = results.memory.get(work.name, {})
    ours, base = (entry.get(c, {}).get("bytes") for c in (COMPILED, TORCH))
    return [Verdict(work.name, "peak memory over torch eager's", ours / base, 1.0, False)] if ours and base else []


# The page.


def machine() -> str:
    model, cores = platform.processor() or platform.machine(), os.cpu_count()
    try:
        info = Path("/proc/cpuinfo").read_text()
        model = info.split("model name")[1].split(":")[1].splitlines()[0].strip()
        wide = next((f for f in ("avx512f", "avx2", "asimd") if f in info), "")
        model += f" ({wide})" if wide else ""
    except (OSError, IndexError):
        pass
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


class Notes:
    """Footnotes: why a contender has no figure."""

    def __init__(self, clock: str) -> None:
        self.clock = clock
        self.texts: list[str] = []

    def cell(self, entry: Entry | None) -> str:
        if entry is None:
            return ""
        if "error" not in entry:
            return cell(entry, self.clock)
        if entry["error"] not in self.texts:
            self.texts.append(entry["error"])
        return f"- [{self.texts.index(entry['error']) + 1}]"

    def lines(self) -> list[str]:
        return [f"[{i + 1}] `{text}`  " for i, text in enumerate(self.texts)] + ([""] if self.texts else [])


def ratio(over: float | None, under: float | None) -> str:
    return f"{over / under:.2f}" if over and under else ""


def speed_row(w: Workload, threads: int, results: Results, notes: Notes) -> list[str]:
    entries = results.times[w.name, threads]
    ours, eager, base = (results.seconds(w.name, threads, c) for c in (COMPILED, EAGER, TORCH))
    best = min((s for c in PEERS if (s := results.seconds(w.name, threads, c))), default=None)
    figures = [notes.cell(entries.get(c)) for c in CONTENDERS]
    wanted = f"{w.bar:g} / {w.goal:g}" if w.bar and w.goal else f"{w.bar or ''}"
    return [w.title, *figures, ratio(base, ours), ratio(best, ours), ratio(eager, base), wanted]


SPEED_HEAD = ["workload", *CONTENDERS, "torch ÷ compiled", "best peer ÷ compiled", "eager ÷ torch", "bar / goal"]


SECTIONS = (
    ("Training steps and inference", ("train", "infer")), ("Scientific", ("science",)),
    ("Convolutions in bfloat16", ("bfloat16",)),
)  # fmt: skip


def speed_section(works: list[Workload], results: Results, notes: Notes) -> list[str]:
    out = []
    for threads in sorted({t for _, t in results.times}):
        for title, groups in SECTIONS:
            chosen = [w for w in works if w.group in groups and (w.name, threads) in results.times]
            rows = [speed_row(w, threads, results, notes) for w in chosen]
            if rows:
                plural = "s" if threads > 1 else ""
                out += [f"## {title}, {threads} thread{plural}", "", *table(SPEED_HEAD, rows)]
    return out + [f"{w.title}: {w.note}\n" for w in works if w.note]


def kernel_section(works: list[Workload], results: Results, notes: Notes) -> list[str]:
    out = []
    for threads, peak in results.peaks.items():
        rows = []
        for w in works:
            entries = results.times.get((w.name, threads))
            if w.group in ("kernel", "overhead") and entries:
                figures = [
                    notes.cell(e) + rate(w, e, peak, results.clock) if (e := entries.get(c)) else ""
                    for c in (EAGER, COMPILED, TORCH)
                ]
                rows.append([w.title, *figures, f"{100 * w.share:.0f} %" if w.share else "5 µs"])
        if rows:
            said = f"Peak: {peak['flop'] / 1e9:.0f} GFLOP/s in float32, {peak['byte'] / 1e9:.1f} GB/s copied."
            head = ["kernel", EAGER, COMPILED, TORCH, "bar"]
            out += [f"## Kernels alone, {threads} thread{'s' * (threads > 1)}", "", said, "", *table(head, rows)]
    return out


def once_section(works: list[Workload], results: Results) -> list[str]:
    out = []
    rows = []
    for w in works:
        if entry := results.first.get(w.name):
            states = [f"{cell(entry[c]['cold'])} / {cell(entry[c]['warm'])}" if c in entry else "" for c in FIRST]
            rows.append([w.title, *states, f"{w.first:g} s" if w.first else ""])
    if rows:
        out += ["## First call: cold / from the disk cache", "", *table(["workload", *FIRST, "bar, cold"], rows)]
    rows = [
        [w.title, *[megabytes(e) if (e := entry.get(c)) else "" for c in CONTENDERS]]
        for w in works
        if (entry := results.memory.get(w.name))
    ]
    if rows:
        said = "Peak resident memory of a step above that of the libraries, the given weights and the batch."
        out += ["## Peak memory", "", said, "", *table(["workload", *CONTENDERS], rows)]
    return out


FIRST = (COMPILED, INDUCTOR, JAX)


def page(works: list[Workload], results: Results, found: list[Verdict], picture: str | None) -> str:
    notes = Notes(results.clock)
    versions = ", ".join(f"{n} {v}" for n, v in sorted(results.versions.items()))
    lines = [
        "# Benchmarks", "",
        "Written by `make bench`. Medians; contenders in one process, in turns, with a rest between; models written "
        "once for torch and wengert, the same weights for all. Whether results agree says "
        "`python -m benchmarks.compiled --check`. An empty cell was not measured.", "",
        f"Machine: {machine()}. {versions}.", "",
        *(["Processor time, since the machine was shared.", ""] if results.clock == "processor" else []),
        *([f"![times beside torch eager]({picture})", ""] if picture else []),
        *speed_section(works, results, notes), *kernel_section(works, results, notes),
        *once_section(works, results), *notes.lines(),
    ]  # fmt: skip
    missed = [v for v in found if not v.passed]
    lines += [f"## Bars: {len(found) - len(missed)} of {len(found)} reached", "", "```text"]
    lines += [v.text for v in found] + ["```", ""]
    return "\n".join(lines)


def plot(path: Path, works: list[Workload], results: Results) -> bool:
    """Bars of speed over torch eager's, one thread; without matplotlib there is no picture."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("svg")
    from matplotlib.figure import Figure

    threads = min((t for _, t in results.times), default=1)
    rows = [w for w in works if w.group in ("train", "infer") and results.seconds(w.name, threads, TORCH)]
    if not rows:
        return False
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(CONTENDERS)
    for i, c in enumerate(CONTENDERS):
        speeds = []
        for w in rows:
            base, own = results.seconds(w.name, threads, TORCH), results.seconds(w.name, threads, c)
            speeds.append(base / own if base and own else float("nan"))
        axes.bar([j + (i - 2) * width for j in range(len(rows))], speeds, width, label=c)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("times as fast as torch eager")
    axes.set_xticks(range(len(rows)), [w.name for w in rows], rotation=30, ha="right")
    axes.set_title(f"Steps, {threads} thread{'s' * (threads > 1)}")
    figure.legend(loc="outside lower center", ncols=len(CONTENDERS), fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    return True


def write(folder: Path, works: list[Workload], results: Results, found: list[Verdict]) -> None:
    drawn = plot(folder / "benchmarks.svg", works, results)
    (folder / "benchmarks.md").write_text(page(works, results, found, "benchmarks.svg" if drawn else None))


def as_json(results: Results) -> dict[str, Any]:
    return {
        "machine": machine(), "versions": results.versions, "peaks": results.peaks,
        "times": [
            {"workload": name, "threads": threads, "contender": c, **entry}
            for (name, threads), entries in results.times.items()
            for c, entry in entries.items()
        ],
        "first": results.first, "memory": results.memory,
    }  # fmt: skip


def from_json(found: dict[str, Any]) -> Results:
    """What `as_json` was made of."""
    results = Results(first=found["first"], memory=found["memory"], versions=found["versions"])
    results.peaks = {int(threads): peaks for threads, peaks in found["peaks"].items()}
    for row in found["times"]:
        entry = {k: v for k, v in row.items() if k not in ("workload", "threads", "contender")}
        results.times.setdefault((row["workload"], row["threads"]), {})[row["contender"]] = entry
    return results

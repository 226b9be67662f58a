"""What a compiled function is made of, and what it will need: `wengert.explain` and `wengert.plan`."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .capturing import capture
from .errors import ArgumentError, message
from .graph.aval import Aval

if TYPE_CHECKING:
    from .runtime.scheduling import Schedule
    from .stepping import Step


@functools.cache
def rates() -> tuple[float, float]:
    """Additions and multiplications, and bytes moved, a second on one thread, as measured here once."""
    a = np.ones((384, 384), np.float32)
    big = np.ones(1 << 23, np.float32)
    copy = np.empty_like(big)
    flops = 2 * a.shape[0] ** 3 / _best(lambda: a @ a)
    return flops, 2 * big.nbytes / _best(lambda: np.copyto(copy, big))


def _best(f: Any, rounds: int = 5) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        f()
        best = min(best, time.perf_counter() - start)
    return best


def _predicted(flops: int, moved: int) -> float:
    speed, width = rates()
    return max(flops / speed, moved / width) + 2e-8


class Cost:
    """Work and memory of one step of a program."""

    def __init__(self, group: Any, step: Any) -> None:
        self.group = group
        self.native = isinstance(step, list)
        self.launches = step if self.native else []
        self.flops = sum(k.flops for k, *_ in self.launches)
        self.moved = sum(k.bytes for k, *_ in self.launches)
        if not self.native:
            self.moved = sum(_bytes(x.aval) for x in (*step.node.inputs, step.node))
        self.seconds = _predicted(self.flops, self.moved)

    @property
    def nodes(self) -> list[Any]:
        """What the step computes."""
        return [*self.group.before, *self.group.nodes]

    @property
    def lines(self) -> list[str]:
        """The user's lines that the step computes."""
        return sorted({n.origin for n in self.nodes if n.origin})

    @property
    def modules(self) -> list[str]:
        """The modules that the step belongs to."""
        return sorted({".".join(n.scope) for n in self.nodes if n.scope})

    @property
    def names(self) -> str:
        """The ops whose results it stores or hands on, those on operands of a product in front of it."""
        names = [n.name for n in self.nodes]
        return " ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _bytes(aval: Any) -> int:
    return aval.nbytes if isinstance(aval, Aval) else sum(a.nbytes for a in aval)


class Plan:
    """Memory, work and estimated time of a function, by the user's lines and by modules.

    ``peak``: bytes that a call needs besides its arguments and the tensors that exist already: ``arena`` between
    kernels, ``scratch`` of one thread, ``results``. ``flops`` and ``moved``: additions and multiplications, bytes
    read and written. ``seconds``: estimated on one thread, from rates measured once on this machine.
    """

    def __init__(self, schedule: Schedule) -> None:
        block = schedule.block
        self.costs = [Cost(g, s) for g, s in zip(block.groups, block.steps, strict=True) if s != []]
        self.arena = schedule.layout.size
        self.scratch = schedule.scratch
        self.results = sum(n.aval.nbytes for n in schedule.external[len(schedule.graph.inputs) :])
        self.flops = sum(c.flops for c in self.costs)
        self.moved = sum(c.moved for c in self.costs)
        self.seconds = sum(c.seconds for c in self.costs)

    @property
    def peak(self) -> int:
        """Bytes that a call needs."""
        return self.arena + self.scratch + self.results

    def by_line(self) -> dict[str, float]:
        """Estimated seconds of each of the user's lines; a kernel's time is shared among its lines."""
        return _shared((c.lines, c.seconds) for c in self.costs)

    def by_module(self) -> dict[str, float]:
        """Estimated seconds of each module."""
        return _shared((c.modules, c.seconds) for c in self.costs)

    def __str__(self) -> str:
        rows = [
            f"peak memory {_size(self.peak)}: {_size(self.arena)} between kernels, {_size(self.scratch)} scratch a "
            f"thread, {_size(self.results)} results",
            f"{len(self.costs)} steps, {self.flops / 1e9:.3f} GFLOP, {_size(self.moved)} moved, about "
            f"{self.seconds * 1e3:.3f} ms on one thread",
        ]
        for title, table in (("line", self.by_line()), ("module", self.by_module())):
            rows += ["", f"{'ms':>9}  {title}"]
            rows += [f"{t * 1e3:9.3f}  {name}" for name, t in sorted(table.items(), key=lambda kv: -kv[1])[:20]]
        return "\n".join(rows)


def _shared(parts: Iterable[tuple[list[str], float]]) -> dict[str, float]:
    out: defaultdict[str, float] = defaultdict(float)
    for names, seconds in parts:
        for name in names or ["(elsewhere)"]:
            out[name] += seconds / max(len(names), 1)
    return dict(out)


def _size(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.4g} {unit}"
        n /= 1024
    return f"{n:.4g} GiB"


def describe(step: Step) -> str:
    """The text of `wengert.explain`. The schedule is made anew: a program that comes from a file has none."""
    from .runtime.program import Program

    schedule = step.scheduled()
    plan = Plan(schedule)
    rows = ["passes"]
    rows += [f"  {name:18} {before:6} -> {after:6} ops" for name, before, after in schedule.log]
    rows += ["", str(plan).split("\n\n")[0], "", "steps"]
    rows += [
        f"{'':>4} {'kind':7} {'tiles':>6} {'MFLOP':>9} {'moved':>10} {'about us':>9} {'took us':>9}  what, where, why"
    ]
    program = Program(schedule.blueprint(), schedule.graph.in_avals, schedule.graph.out_avals)
    measured = iter(program.measure([x.kernel.endless for x in schedule.launches]))
    for i, c in enumerate(plan.costs):
        took = sum(next(measured) for _ in c.launches)
        kind = c.group.kind if c.native else "NumPy"
        tiles = max((k.tiles for k, *_ in c.launches), default=0)
        why = f" ({c.group.why})" if c.group.why else ""
        rows.append(
            f"{i:>4} {kind:7} {tiles:>6} {c.flops / 1e6:9.3f} {_size(c.moved):>10} {c.seconds * 1e6:9.1f} "
            f"{took * 1e6:9.1f}  {c.names}  {', '.join(c.lines[:3])}{why}"
        )
    return "\n".join(rows)


def _compiled(x: Any) -> Any:
    """The compiled function of a module that `compile` gave; all else as it is."""
    return getattr(x, "compiled", x) if hasattr(x, "_modules") else x


def explain(compiled: Any) -> str:
    """What the latest program of a compiled function is made of, as text: passes, kernels, memory, times.

    >>> import wengert as wg
    >>> f = wg.compile(lambda x: (x * 2).exp().sum())
    >>> _ = f(wg.zeros(4))
    >>> print(wg.explain(f).splitlines()[0])
    passes
    """
    compiled = _compiled(compiled)
    if compiled.latest is None:
        raise ArgumentError(message("explain", "the function has not been called yet"))
    if why := compiled.latest.captured.eager:
        return f"runs in eager mode: {why}"
    return describe(getattr(compiled.latest, "forward", compiled.latest))


def plan(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What compiling a function for such arguments will need, before anything runs: memory, work, time by line.

    Returns:
        A `wengert.planning.Plan`; printed, it is a table.

    >>> import wengert as wg
    >>> wg.plan(lambda x: (x @ x).exp(), wg.zeros(64, 64)).flops > 2 * 64**3
    True
    """
    from .compiler import Compiled
    from .runtime.scheduling import Schedule
    from .stepping import replaced

    f = _compiled(f)
    captured = capture(f.function if isinstance(f, Compiled) else f, args, kwargs)
    budget = f.memory_budget if isinstance(f, Compiled) else None
    return Plan(Schedule(captured.graph, replaced(captured), looks=True, budget=budget))

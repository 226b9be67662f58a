"""How to compute a Jacobian: mode, colours, chunks; decided from the graph before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError, TraceError, message
from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.handle import Handle
from ..graph.node import ITEM
from ..graph.pattern import Pattern, color, dense
from ..graph.trace import trace

DEFAULT_BUDGET = 1 << 30  # bytes
SMALL = 8  # Jacobians with fewer rows or columns are swept densely: looking for sparsity would cost more
PAIRS_LIMIT = 20_000_000  # patterns beyond this are not worth their memory


@dataclass(frozen=True)
class Plan:
    """How a Jacobian will be computed.

    ``mode``: ``"forward"``, ``"reverse"``, or ``"mixed"`` (a few dense rows in reverse, the rest forward).
    ``sweeps``: how many directions are swept. ``rows``, ``columns``: its size. ``entries``: structural non-zeros
    (None: not looked for, dense). ``bytes``: about what the sweeps take at once. ``chunk``: directions at once
    (None: all). ``column_colors``: the colour of each column swept forward; ``row_colors``: of each row swept in
    reverse; -1 for one that the other mode covers.
    """

    mode: str
    sweeps: int
    rows: int
    columns: int
    entries: int | None
    bytes: int
    chunk: int | None
    pattern: Pattern | None = None
    column_colors: Any = None
    row_colors: Any = None

    def __repr__(self) -> str:
        size = f"{self.rows} x {self.columns}"
        entries = "" if self.entries is None else f" with {self.entries} entries"
        chunk = "" if self.chunk is None else f", {self.chunk} at once"
        plural = "" if self.sweeps == 1 else "s"
        return (
            f"Plan({self.mode} mode, {self.sweeps} sweep{plural} for a {size} Jacobian{entries}{chunk}, "
            f"about {self.bytes} bytes at once)"
        )


@dataclass(frozen=True)
class Choice:
    """A mode with its colours and the number of its sweeps."""

    mode: str
    sweeps: int
    column_colors: Any = None
    row_colors: Any = None


def sparsity(graph: Graph) -> Pattern | None:
    """The pattern of a graph's outputs (stacked) in its arguments (stacked); None if it grows too large."""
    columns = sum(n.aval.size for n in graph.args)
    env: dict[int, Any] = {}
    start = 0
    for n in graph.args:
        env[n.seq] = Pattern.diagonal(start, n.aval.size, columns)
        start += n.aval.size
    for n in graph.captures:
        env[n.seq] = Pattern.empty(n.aval.size, columns)
    for n in graph.nodes:
        found = _node_pattern(n, env, columns)
        if not isinstance(found, list) and found.count > PAIRS_LIMIT:
            return None
        env[n.seq] = found
    keys, rows = [], 0
    for o in graph.outputs:
        p = env[o.seq]
        keys.append(p.keys + rows * columns)
        rows += p.rows
    return Pattern(_concatenate(keys), rows, columns)


def _concatenate(keys: Sequence[Any]) -> Any:
    return np.concatenate(keys) if keys else np.zeros(0, np.int64)


def _node_pattern(n: Any, env: dict[int, Any], columns: int) -> Any:
    """The pattern of one node; a list of them for several results."""
    if n.op is None:
        return Pattern.empty(n.aval.size, columns)
    if n.op is ITEM:
        return env[n.inputs[0].seq][n.attrs["index"]]
    xs = [env[x.seq] for x in n.inputs]
    if not isinstance(n.aval, Aval):
        return [dense(xs, a.size) if xs else Pattern.empty(a.size, columns) for a in n.aval]
    if not n.op.differentiable or all(p.count == 0 for p in xs):
        return Pattern.empty(n.aval.size, columns)
    return n.op.pattern(xs, [x.aval for x in n.inputs], n.aval, n.attrs)


def make_plan(
    f: Callable[..., Sequence[Any]],
    xs: Sequence[Handle],
    mode: str,
    budget: int | None,
    force_pattern: bool = False,
) -> tuple[Plan, tuple[Aval, ...]]:
    """The plan of the Jacobian of a flat function at arguments of these avals, and the outputs' avals."""
    if mode not in ("auto", "forward", "reverse", "mixed"):
        raise ArgumentError(message("jacobian", "mode must be 'auto', 'forward', 'reverse' or 'mixed'", repr(mode)))
    try:
        graph = trace(lambda *ys: list(f(*ys)), [x.aval for x in xs], "jacobian")
    except TraceError as error:
        raise TraceError(f"jacobian: the function cannot be planned, use jacrev or jacfwd: {error}") from error
    flat = trace(lambda *ys: graph.replay([*ys, *_captured(graph)], inline=True), [x.aval for x in xs], "jacobian")
    rows = sum(a.size for a in flat.out_avals)
    columns = sum(x.aval.size for x in xs)
    pattern = sparsity(flat) if force_pattern or min(rows, columns) >= SMALL else None
    choice = _choose(mode, pattern, rows, columns)
    per_sweep = sum(n.aval.nbytes for n in flat.nodes if isinstance(n.aval, Aval)) or 1
    fits = max(1, (budget or DEFAULT_BUDGET) // per_sweep)
    chunk = None if fits >= choice.sweeps else int(fits)
    whole = {"forward": columns, "reverse": rows}.get(choice.mode)  # sweeps of a dense Jacobian
    swept_densely = pattern is None or (choice.sweeps == whole and not force_pattern)
    plan = Plan(
        choice.mode, choice.sweeps, rows, columns, None if pattern is None else pattern.count,
        per_sweep * min(choice.sweeps, fits), chunk, None if swept_densely else pattern,
        choice.column_colors, choice.row_colors,
    )  # fmt: skip
    return plan, flat.out_avals


def _captured(graph: Graph) -> list[Any]:
    from ..graph.handle import of_node

    return [of_node(n) for n in graph.captures]


def _count(colors: Any) -> int:
    return int(colors.max(initial=-1)) + 1


def _choose(mode: str, pattern: Pattern | None, rows: int, columns: int) -> Choice:
    """Mode, number of sweeps and colours; a reverse sweep is counted dearer than a forward one."""
    choices: list[Choice] = []
    if pattern is None:
        choices = [Choice("forward", columns), Choice("reverse", rows)]
    else:
        if mode != "reverse":
            colors = color(pattern, True)
            choices.append(Choice("forward", _count(colors), colors))
        if mode != "forward":
            colors = color(pattern, False)
            choices.append(Choice("reverse", _count(colors), None, colors))
        if mode in ("auto", "mixed"):
            choices += _mixed(pattern, min(c.sweeps for c in choices))
    if mode != "auto":
        choices = [c for c in choices if c.mode == mode] or choices
    return min(choices, key=lambda c: c.sweeps if c.mode == "forward" else 1.5 * c.sweeps)


def _mixed(pattern: Pattern, best: int) -> list[Choice]:
    """Splits that sweep the densest rows in reverse and colour the columns of the rest.

    An arrow matrix of size n needs n sweeps in either mode and three in both together.
    """
    if best < SMALL:
        return []
    row = pattern.pairs()[0]
    degrees = np.bincount(row, minlength=pattern.rows)
    found: list[Choice] = []
    taken = 1
    while 2 * taken < best and taken < pattern.rows:
        dense_rows = np.argsort(-degrees, kind="stable")[:taken]
        is_dense = np.zeros(pattern.rows, bool)
        is_dense[dense_rows] = True
        inside = is_dense[row]
        columns = color(Pattern(pattern.keys[~inside], pattern.rows, pattern.columns), True)
        lines = color(Pattern(pattern.keys[inside], pattern.rows, pattern.columns), False)
        row_colors = np.where(is_dense, lines, -1)
        found.append(Choice("mixed", _count(columns) + _count(row_colors), columns, row_colors))
        taken *= 2
    return found


__all__ = ["Plan", "make_plan", "sparsity"]

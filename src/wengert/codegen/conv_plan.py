"""How the outputs of a convolution are cut into boxes, and these into registers.

Plain arithmetic, before any code is written.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from .conv_problem import ITEMSIZE, Axis, Problem
from .target import Target


class Segment(NamedTuple):
    """Neighbouring taps of the row axis that the same outputs of a box see."""

    first: int
    taps: int
    seen: tuple[int, ...]


class Run(NamedTuple):
    """``count`` boxes of ``size`` outputs side by side from ``start`` on.

    ``full``: from which box on all outputs see which taps (box, from, to). ``partial``: taps that only some see, and
    the boxes where that is so.
    """

    start: int
    size: int
    count: int
    full: tuple[tuple[int, int, int], ...]
    partial: tuple[tuple[Segment, tuple[int, ...]], ...]


class Blocking(NamedTuple):
    """How a problem is computed: boxes of ``stack`` by a piece of the row axis, by ``vectors`` of ``lanes`` outs.

    ``row``, ``others`` and ``stacked`` are numbers of axes (stacked -1: none). ``panels`` blocks of output channels
    are kept in the cache together; tiles are ``panel groups * chunks`` of rows, by ``cuts`` of each row where these are
    few. ``packs``: each tile packs its own panels, which then need not travel through memory.
    """

    row: int
    others: tuple[int, ...]
    stacked: int
    stack: int
    runs: tuple[Run, ...]
    vectors: int
    lanes: int
    blocks: int
    panels: int
    rows: int
    chunks: int
    cuts: int
    packs: bool

    @property
    def width(self) -> int:
        """Output channels of a block."""
        return self.vectors * self.lanes


def runs_of(axis: Axis, pieces: int) -> tuple[Run, ...] | None:
    """A row cut into pieces of nearly the same size; None if too many of them see differing taps."""
    small, more = divmod(axis.outs, pieces)
    runs: list[Run] = []
    start = 0
    for size, count in ((small + 1, more), (small, pieces - more)):
        if count:
            run = _run(axis, start, size, count)
            if run is None:
                return None
            runs.append(run)
        start += size * count
    return tuple(runs)


def _run(axis: Axis, start: int, size: int, count: int) -> Run | None:
    low, high = axis.inner
    first = min(max(-(-(low - start) // size), 0), count)  # boxes first..last see all taps
    last = max(first, min((high - start) // size, count))
    if first + count - last > _BORDER_BOXES:
        return None
    full: list[tuple[int, int, int]] = []
    partial: dict[Segment, list[int]] = {}
    for i in (*range(first), *((first,) if last > first else ()), *range(last, count)):
        whole, segments = _segments(axis, start + i * size, size)
        if not full or full[-1][1:] != whole:
            full.append((i, *whole))
        for segment in segments:
            partial.setdefault(segment, []).append(i)
    return Run(start, size, count, tuple(full), tuple((s, tuple(boxes)) for s, boxes in partial.items()))


def _segments(axis: Axis, start: int, size: int) -> tuple[tuple[int, int], list[Segment]]:
    """The taps that all outputs of a box see, and those that some see."""
    ranges = [axis.range(start + i) for i in range(size)]
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    out: list[Segment] = []
    for t in range(min(r[0] for r in ranges), max(r[1] for r in ranges)):
        seen = tuple(i for i, (a, z) in enumerate(ranges) if a <= t < z)
        if low <= t < high or not seen:
            continue
        if out and out[-1].seen == seen and out[-1].first + out[-1].taps == t:
            out[-1] = out[-1]._replace(taps=out[-1].taps + 1)
        else:
            out.append(Segment(t, 1, seen))
    return (low, max(low, high)), out


# Work that a kernel's code may hold, in multiply-adds: compile time grows with it.
_CODE_LIMIT = 400
_BORDER_BOXES = 6
_L2_BYTES = 16  # a cycle, as measured while multiply-adds go on
_LINE, _PAGE = 64, 4096  # bytes of a cache line, and of a page: a first-level cache is indexed within pages
_TILES = 240  # divides evenly among most numbers of threads
_ENOUGH_TILES = 16
_PAIRED_LANES = 4  # at least, of an instruction for pairs


def lanes_of(outs: int, target: Target, kind: str) -> int:
    """Elements of the vectors that hold output channels: no more than needed."""
    lanes = target.lanes(ITEMSIZE[kind])
    fewest = _PAIRED_LANES if kind == "u32" else 1
    while lanes > fewest and lanes // 2 >= outs:
        lanes //= 2
    return lanes


def _row_cost(runs: Sequence[Run], stack: int, vectors: int, vector_cycles: float, loads: int) -> float:
    """Cycles of a row for each channel of its input: multiply-adds, loads, latency of the accumulators, weights."""

    def step(outputs: int) -> float:
        n = outputs * stack
        return max(n * vectors / 2, (n * loads + vectors) / 2 + 0.5, 4.5, vectors * vector_cycles)

    cycles = 0.0
    for run in runs:
        ends = (*(first for first, _, _ in run.full[1:]), run.count)
        taps = sum((end - first) * (high - low) for (first, low, high), end in zip(run.full, ends, strict=True))
        cycles += taps * step(run.size) + 0.5 * run.count
        cycles += sum(segment.taps * step(len(segment.seen)) * len(boxes) for segment, boxes in run.partial)
    return cycles


@functools.lru_cache(4096)
def _mean_taps(axis: Axis) -> float:
    """Taps inside the input, for the mean output."""
    low, high = axis.inner
    border = sum(b - a for a, b in map(axis.range, (*range(low), *range(high, axis.outs))))
    return ((high - low) * axis.taps + border) / axis.outs


def _crowding(problem: Problem, row: int, size: int, stack: int, target: Target) -> float:
    """A factor for boxes whose inputs fall into few sets of the first-level cache, or into many pages."""
    item = ITEMSIZE[problem.kind]
    axis, first = problem.axes[row], problem.axes[0]
    places = [i * axis.step * axis.x * item + s * first.x * item for i in range(size) for s in range(stack)]
    sets, ways = _PAGE // _LINE, max(target.l1 // _PAGE, 1)
    used = collections.Counter(p // _LINE % sets for p in {p // _LINE * _LINE for p in places})
    pages = len({p // _PAGE for p in places})
    return (2.0 if max(used.values()) > ways + 1 else 1.0) + 0.004 * pages


def code_size(runs: Sequence[Run], stack: int, vectors: int) -> int:
    """Multiply-adds in the code of a row."""
    return stack * vectors * sum(run.size + sum(len(s.seen) for s, _ in run.partial) for run in runs)


def _candidates(problem: Problem, target: Target, lanes: int) -> Iterable[tuple[float, int, int, int, int]]:
    """(cost of an output channel and position, row axis, stack, vectors, pieces)."""
    vecs = -(-problem.outs // lanes)
    for row, axis in enumerate(problem.axes):
        for vectors, stack in product(range(1, min(4, vecs) + 1), _stacks(problem, row)):
            most = (target.vector_registers - vectors - 1) // vectors
            if stack > most:
                continue
            waste = -(-vecs // vectors) * vectors / vecs
            panel = problem.depth * vectors * lanes * ITEMSIZE[problem.kind]
            vector_cycles = target.vector_bytes / (_L2_BYTES if panel > target.l1 // 2 else 3 * _L2_BYTES)
            fewest = -(-axis.outs // (most // stack))
            for pieces in range(fewest, min(fewest + 2, axis.outs) + 1):
                runs = _runs_cached(axis, pieces)
                if runs is None or code_size(runs, stack, vectors) > _CODE_LIMIT:
                    continue
                loads = vectors if problem.depthwise else 1  # for each output
                cost = _row_cost(runs, stack, vectors, vector_cycles, loads) * waste / (axis.outs * stack * vectors)
                cost *= math.prod(_mean_taps(a) for i, a in enumerate(problem.axes) if i != row)
                cost *= _crowding(problem, row, runs[0].size, stack, target)
                cost *= 1 + code_size(runs, stack, vectors) / 10000
                yield cost, row, stack, vectors, pieces


_runs_cached = functools.lru_cache(4096)(runs_of)


def _stacks(problem: Problem, row: int) -> list[int]:
    first = problem.axes[0]
    if row == 0 or not first.plain:
        return [1]
    return [s for s in (1, 2, 3, 4, 6, 7, 8) if first.outs % s == 0]


@functools.lru_cache(1024)
def block(problem: Problem, target: Target) -> tuple[float, Blocking | None]:
    """The best blocking by the model above, and what it costs; none if the code would be too long."""
    lanes = lanes_of(problem.outs, target, problem.kind)
    found = min(_candidates(problem, target, lanes), default=None)
    if found is None:
        return math.inf, None
    return found[0], blocking(problem, target, *found[1:])


def blocking(problem: Problem, target: Target, row: int, stack: int, vectors: int, pieces: int) -> Blocking:
    """A blocking with what the cache sizes say about the rest."""
    lanes = lanes_of(problem.outs, target, problem.kind)
    blocks = problem.groups * -(-problem.outs // (vectors * lanes))
    panel = problem.depth * vectors * lanes * ITEMSIZE[problem.kind]
    panels = max(1, min(blocks, target.l2 // 2 // max(panel, 1)))
    groups = -(-blocks // panels)
    panels = -(-blocks // groups)
    groups = -(-blocks // panels)
    others = tuple(i for i in range(len(problem.axes)) if i != row)
    rows = math.prod(problem.axes[i].outs for i in others) // stack
    packs = groups >= _ENOUGH_TILES
    chunks = 1 if packs else max(1, min(rows, _TILES // groups))
    runs = _runs_cached(problem.axes[row], pieces)
    assert runs is not None
    few = groups * chunks < _ENOUGH_TILES
    cuts = max(1, min(runs[0].count, _TILES // (groups * chunks))) if few else 1
    return Blocking(
        row, others, 0 if stack > 1 else -1, stack, runs, vectors, lanes, blocks, panels, rows, chunks, cuts, packs
    )

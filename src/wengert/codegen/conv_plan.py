"""The geometry of convolutions: which input positions meet which taps, and how outputs are cut into boxes.

Plain arithmetic, before any code is written. Every convolution here, also the gradient of an input, is some
`Problem`: outputs at evenly spaced positions, each the sum over taps at evenly spaced input positions. Zeros
between the inputs (a transposed convolution) are skipped by splitting the outputs into phases that see the same
taps; zeros around the input are skipped by never visiting them.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from .target import Target

ITEMSIZE = {"f32": 4, "f64": 8, "u32": 4}


class Part(NamedTuple):
    """What an axis says about one logical dimension: index ``start + scale * i`` for ``i < count``."""

    dim: int
    count: int
    start: int = 0
    scale: int = 1


class Axis(NamedTuple):
    """One direction of the output positions.

    Output ``o < outs`` sees at tap ``t < taps`` the input position ``o * step + first + t * spacing`` if that lies
    in ``0 <= position < size``. ``x``, ``w`` and ``out`` are the elements of memory between neighbouring input
    positions, taps and outputs.
    """

    outs: int
    size: int
    step: int
    taps: int
    first: int
    spacing: int
    x: int
    w: int
    out: int
    parts: tuple[Part, ...]

    def valid(self, o: int, t: int) -> bool:
        """Whether the tap lies inside the input."""
        return 0 <= o * self.step + self.first + t * self.spacing < self.size

    def range(self, o: int) -> tuple[int, int]:
        """The taps inside the input, from and to."""
        position = o * self.step + self.first
        low = min(max(-(position // self.spacing), 0), self.taps)
        return low, max(low, min((self.size - 1 - position) // self.spacing + 1, self.taps))

    @property
    def inner(self) -> tuple[int, int]:
        """The outputs that see all taps, from and to."""
        last = self.size - 1 - self.first - (self.taps - 1) * self.spacing
        low = min(max(-(self.first // self.step), 0), self.outs)
        return low, max(low, min(last // self.step + 1, self.outs))

    @property
    def always(self) -> bool:
        """Whether all taps lie inside for all outputs."""
        return not self.taps or all(self.valid(o, t) for o in (0, self.outs - 1) for t in (0, self.taps - 1))

    @property
    def plain(self) -> bool:
        """Whether outputs are the input positions themselves."""
        return self.taps == 1 and self.first == 0 and self.step == 1 and self.outs == self.size


class Pairs(NamedTuple):
    """Elements that lie apart, two of which are to be a pair: the second is ``second`` behind the first.

    They are neighbours along the channels, or else along the first axis, of images; ``odd``: the last has no second.
    """

    second: int
    channels: bool
    odd: bool


class Problem(NamedTuple):
    """One dense piece of a convolution. ``channels`` are contracted and ``outs`` computed in each of the groups.

    ``kind``: of the elements that are multiplied; ``u32`` are pairs of bfloat16, which are contracted together. They
    lie in memory as such, unless ``x_pairs`` (or that of weights, or of results) says where their halves are: then
    strides count halves.
    ``depthwise``: nothing is contracted but taps; each output channel sees its own input channel, the neighbour in
    memory of the one before. (There is one group then, and ``channels`` is 1.)
    """

    kind: str
    groups: int
    channels: int
    outs: int
    axes: tuple[Axis, ...]
    x_group: int
    x_channel: int
    w_group: int
    w_in: int
    w_out: int
    out_group: int
    out_channel: int
    x_base: int = 0
    w_base: int = 0
    out_base: int = 0
    depthwise: bool = False
    x_pairs: Pairs | None = None
    w_pairs: Pairs | None = None
    out_pairs: Pairs | None = None

    @property
    def sum_kind(self) -> str:
        """What is summed in."""
        return "f32" if self.kind == "u32" else self.kind

    @property
    def result_kind(self) -> str:
        """Of results in memory."""
        return "bf16" if self.kind == "u32" else self.kind

    @property
    def x_kind(self) -> str:
        """Of x in memory."""
        return "u16" if self.x_pairs else self.kind

    @property
    def w_kind(self) -> str:
        """Of weights in memory."""
        return "u16" if self.w_pairs else self.kind

    @property
    def inputs(self) -> int:
        """Channels of x."""
        return self.outs if self.depthwise else self.groups * self.channels

    @property
    def taps(self) -> int:
        """Taps of the whole kernel."""
        return math.prod(a.taps for a in self.axes)

    @property
    def depth(self) -> int:
        """How many products, of single elements or of pairs, make one output."""
        return self.taps * self.channels

    @property
    def flops(self) -> int:
        """Of all outputs, a multiply-add counting two, as many if half of a pair is missing."""
        each = 4 if self.kind == "u32" else 2
        return each * self.depth * self.outs * self.groups * math.prod(a.outs for a in self.axes)

    @property
    def of_results(self) -> Problem:
        """The results (or their adjoint) in the place of x, and a single tap."""
        axes = tuple([Axis(a.outs, a.outs, 1, 1, 0, 1, a.out, 0, 0, a.parts) for a in self.axes])
        return self._replace(
            channels=self.outs, axes=axes, x_group=self.out_group, x_channel=self.out_channel, x_base=self.out_base,
            depthwise=False, x_pairs=self.out_pairs,
        )  # fmt: skip

    def with_results(self, copy: Problem) -> Problem:
        """This problem, its results where that one has its x."""
        axes = tuple([a._replace(out=c.x) for a, c in zip(self.axes, copy.axes, strict=True)])
        return self._replace(
            axes=axes, out_group=copy.x_group, out_channel=copy.x_channel, out_base=copy.x_base, out_pairs=None
        )  # fmt: skip

    def by_channels(self) -> Problem:
        """Of a problem of bfloat16, that of pairs of channels: those of x and of w lie so, or are told."""
        odd = bool(self.channels % 2)
        p = self._replace(kind="u32", channels=-(-self.channels // 2))
        x = (self.x_channel, self.x_group, self.x_base, *[a.x for a in self.axes])
        if odd or not _are_words(x):
            p = p._replace(x_channel=2 * self.x_channel, x_pairs=Pairs(self.x_channel, True, odd))
        else:
            axes = tuple([a._replace(x=a.x // 2) for a in p.axes])
            p = p._replace(axes=axes, x_channel=1, x_group=self.x_group // 2, x_base=self.x_base // 2)
        w = (self.w_in, self.w_group, self.w_base, self.w_out, *[a.w for a in self.axes if a.taps > 1])
        if odd or not _are_words(w):
            return p._replace(w_in=2 * self.w_in, w_pairs=Pairs(self.w_in, True, odd))
        axes = tuple([a._replace(w=a.w // 2) for a in p.axes])
        bases = self.w_group // 2, self.w_base // 2, self.w_out // 2
        return p._replace(axes=axes, w_in=1, w_group=bases[0], w_base=bases[1], w_out=bases[2])

    def by_images(self) -> Problem:
        """Of a problem of bfloat16, that of pairs of images, which are its first axis, to be contracted."""
        images, *others = self.axes
        n, odd = -(-images.outs // 2), bool(images.outs % 2)
        halved = images._replace(outs=n, size=n, x=2 * images.x, out=2 * images.out)
        x, out = Pairs(images.x, False, odd), Pairs(images.out, False, odd)
        return self._replace(kind="u32", axes=(halved, *others), x_pairs=x, out_pairs=out)


def _are_words(strides: Sequence[int]) -> bool:
    """Whether neighbours along the first stride, of 16 bits, are halves of words, wherever the others lead."""
    return strides[0] == 1 and not any(s % 2 for s in strides[1:])


class Phase(NamedTuple):
    """An axis, and where its first tap and first output lie in memory."""

    axis: Axis
    w_base: int
    out_base: int


def phases(
    dim: int, outs: int, size: int, taps: int, stride: int, low: int, dilation: int, lhs_dilation: int,
    x: int, w: int, out: int,
) -> list[Phase]:  # fmt: skip
    """The phases of one spatial dimension, in which outputs see the same taps; strides of memory are x, w, out."""
    count = lhs_dilation // math.gcd(stride, lhs_dilation)
    found: list[Phase] = []
    for r in range(min(count, outs)):
        seen = [k for k in range(taps) if (r * stride + k * dilation - low) % lhs_dilation == 0]
        k0, gap = (seen[0] if seen else 0), (seen[1] - seen[0] if len(seen) > 1 else 1)
        n = -(-(outs - r) // count)
        axis = Axis(
            outs=n, size=size, step=count * stride // lhs_dilation, taps=len(seen),
            first=(r * stride + k0 * dilation - low) // lhs_dilation, spacing=gap * dilation // lhs_dilation or 1,
            x=x, w=w * gap, out=out * count, parts=(Part(dim, n, r, count),),
        )  # fmt: skip
        found.append(Phase(axis, k0 * w, r * out))
    return found


def combine(problem: Problem, spatial: Iterable[Sequence[Phase]], merge_batch: bool = True) -> list[Problem]:
    """The problem for each combination of phases; its own axis comes first."""
    found: list[Problem] = []
    for chosen in product(*spatial):
        axes = tuple(p.axis for p in chosen)
        axes = _merged((*problem.axes, *axes)) if merge_batch else (*problem.axes, *_merged(axes))
        w_base = problem.w_base + sum(p.w_base for p in chosen)
        out_base = problem.out_base + sum(p.out_base for p in chosen)
        found.append(problem._replace(axes=axes, w_base=w_base, out_base=out_base))
    return found


def _merged(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Neighbouring axes become one where both sides of memory go on evenly: a 1x1 convolution is one long row."""
    out: list[Axis] = []
    for axis in axes:
        if out and out[-1].plain and axis.plain and _continues(out[-1], axis):
            n = out[-1].outs * axis.outs
            steps = axis if axis.outs > 1 else out[-1]
            out[-1] = steps._replace(outs=n, size=n, parts=(*out[-1].parts, *axis.parts))
        else:
            out.append(axis)
    return tuple(out)


def _continues(outer: Axis, inner: Axis) -> bool:
    if outer.outs == 1 or inner.outs == 1:
        return inner.outs == 1 or outer.outs == 1
    return outer.x == inner.x * inner.size and outer.out == inner.out * inner.outs


_LONGEST, _SHORTEST = 128, 32  # rows, where they may be cut


def shortened(problem: Problem) -> Problem:
    """The same problem with a long row of single taps cut into short ones, which a cache holds."""
    *outer, row = problem.axes
    length = max(d for d in range(1, min(row.outs, _LONGEST) + 1) if row.outs % d == 0)
    if not row.plain or row.outs == length or length < _SHORTEST:
        return problem
    n = row.outs // length
    rows = row._replace(outs=n, size=n, x=row.x * length, out=row.out * length)
    return problem._replace(axes=(*outer, rows, row._replace(outs=length, size=length)))


# -- boxes -------------------------------------------------------------------------------------


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


def padded(problem: Problem, base: int) -> Problem:
    """The same problem over a copy of x from ``base`` on, channels last, whose rows hold all that their taps see."""
    row = max(range(len(problem.axes)), key=lambda i: (problem.axes[i].outs, i))
    step = problem.inputs
    axes = list(problem.axes)
    for i in reversed(range(len(axes))):
        axis = axes[i]
        if i == row:
            size = (axis.outs - 1) * axis.step + max(axis.taps - 1, 0) * axis.spacing + 1
            axis = axis._replace(size=size, first=0)
        axes[i] = axis._replace(x=step)
        step *= axis.size
    return problem._replace(axes=tuple(axes), x_group=problem.channels, x_channel=1, x_base=base, x_pairs=None)


def extent(problem: Problem) -> int:
    """Elements of the copy that `padded` means."""
    return math.prod(a.size for a in problem.axes) * problem.inputs


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

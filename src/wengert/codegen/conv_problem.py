"""The geometry of convolutions: which input positions meet which taps.

Plain arithmetic, before any code is written. Every convolution here, also the gradient of an input, is some
`Problem`: outputs at evenly spaced positions, each the sum over taps at evenly spaced input positions. Zeros
between the inputs (a transposed convolution) are skipped by splitting the outputs into phases that see the same
taps; zeros around the input are skipped by never visiting them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

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

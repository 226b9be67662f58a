"""Convolutions of any rank in loop IR: forward, and the gradients of input and weight."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from .conv_copy import pad_rows
from .conv_direct import direct, packed_size, packs_itself, pieces_of
from .conv_pack import combine_sums, pack_weights
from .conv_plan import block
from .conv_problem import Axis, Part, Phase, Problem, combine, extent, padded, phases, shortened
from .conv_rows import block_rows, by_rows
from .conv_rows_weight import block_rows_weight, sums_by_rows
from .conv_weight import block_weight, finishes_itself, sums, weight_pieces, zero_weight
from .kernel import Epilogue, Recipe, Step
from .target import Target

Pads = tuple[tuple[int, int], ...]

_COPY_PAYS = 1.5  # how much slower by the model, before the input is copied with borders around
_FAR_CHANNELS = 8  # that lie apart: each element of the input then comes from another line, and often the same set


class Convolution(NamedTuple):
    """A convolution as `wengert.ops.conv.Conv` defines it, of dtype ``kind``, and where its operands lie.

    Of bfloat16 (``bf16``), what is contracted goes by pairs, for which the target has an instruction (`bf16_dot`): of
    channels, and of images in the gradient of a weight.

    ``x_shape`` (N, groups·C, *S), ``w_shape`` (groups·D, C, *K). Strides count elements, one for each dimension of
    x, w and the result (N, groups·D, *O), and say the order of memory: with channels last that of dimension 1 is 1.

    >>> spec = Convolution("f32", (2, 16, 8, 8), (32, 16, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1,
    ...                    (1024, 1, 128, 16), (144, 9, 3, 1), (2048, 1, 256, 32))
    >>> spec.out_shape, spec.flops
    ((2, 32, 8, 8), 1179648)
    """

    kind: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]
    lhs_dilation: tuple[int, ...]
    groups: int
    x_strides: tuple[int, ...]
    w_strides: tuple[int, ...]
    out_strides: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Spatial dimensions."""
        return len(self.stride)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(N, groups·D, *O)."""
        sizes = tuple(
            ((n - 1) * e + 1 + low + high - d * (k - 1) - 1) // s + 1
            for n, k, s, (low, high), d, e in zip(
                self.x_shape[2:], self.w_shape[2:], self.stride, self.padding, self.dilation, self.lhs_dilation
            )
        )
        return (self.x_shape[0], self.w_shape[0], *sizes)

    @property
    def flops(self) -> int:
        """Of one pass, a multiply-add counting two; the same for both gradients."""
        return 2 * math.prod(self.out_shape) * math.prod(self.w_shape[1:])


def in_rows(spec: Convolution, target: Target) -> bool:
    """Whether a convolution goes well with vectors along the rows, as they lie on both sides."""
    problems = _forward(spec)
    return len(problems) == 1 and block_rows(problems[0], target) is not None


def convolve(spec: Convolution, target: Target, epilogue: Epilogue | None = None) -> Recipe:
    """The convolution itself: operands x, w, out, then the epilogue's."""
    return _recipe("conv", spec, _forward(spec), "x", target, epilogue)


def input_gradient(spec: Convolution, target: Target, epilogue: Epilogue | None = None) -> Recipe:
    """The gradient of the input from g, that of the result: operands g, w, out, then the epilogue's.

    ``spec`` is the forward convolution, its ``out_strides`` those of g, its ``x_strides`` those of the gradient.
    As a computation of its own this is the transposed convolution.
    """
    return _recipe("conv_dx", spec, _backward(spec), "g", target, epilogue)


def weight_gradient(spec: Convolution, target: Target) -> Recipe:
    """The gradient of the weight: operands x, g, out.

    ``spec`` is the forward convolution, its ``out_strides`` those of g, its ``w_strides`` those of the gradient.
    """
    if not all(spec.w_shape):
        return Recipe((), {})
    name = _name("conv_dw", spec, target, None)
    by = _weight_by_rows(name, spec, target)
    if by is not None:
        return by
    problems = [p for p in _forward(spec, merge_batch=False) if p.taps and math.prod(a.outs for a in p.axes)]
    if spec.kind == "bf16":
        problems = [p.by_images() for p in problems]
    temps: dict[str, tuple[str, int]] = {}
    steps: list[Step] = []
    if any(_is_far(p) for p in problems):
        copies = _stacked(problems)
        steps.append(Step(pad_rows(name + "_x", problems, copies, target), ("x", "near_x")))
        temps["near_x"] = (copies[0].kind, sum(extent(c) for c in copies))
        problems = copies
    if any(p.out_channel != 1 < p.outs or p.out_pairs for p in problems):
        results = [p.of_results for p in problems]
        copies = _stacked(results)
        steps.append(Step(pad_rows(name + "_g", results, copies, target), ("g", "near_g")))
        temps["near_g"] = (copies[0].kind, sum(extent(c) for c in copies))
        problems = [p.with_results(c) for p, c in zip(problems, copies, strict=True)]
    x, g = "near_x" if "near_x" in temps else "x", "near_g" if "near_g" in temps else "g"
    pieces = weight_pieces([(p, block_weight(p, target)) for p in map(shortened, problems)])
    if sum(p.taps for p in problems) < math.prod(spec.w_shape[2:]):
        steps.append(Step(zero_weight(name + "_zero", spec.kind, spec.w_shape, spec.w_strides), ("out",)))
    if not pieces:
        return Recipe(tuple(steps), temps)
    if finishes_itself(pieces):
        steps.append(Step(sums(name, pieces, target), (x, g, "out")))
        return Recipe(tuple(steps), temps)
    steps.append(Step(sums(name, pieces, target), (x, g, "sums")))
    steps.append(Step(combine_sums(name + "_sum", [p.panels for p in pieces]), ("sums", "out")))
    temps["sums"] = (problems[0].sum_kind, sum(p.panels.elements for p in pieces))
    return Recipe(tuple(steps), temps)


def _weight_by_rows(name: str, spec: Convolution, target: Target) -> Recipe | None:
    """With vectors along the rows, if that goes well."""
    problems = _forward(spec)
    k = block_rows_weight(problems[0], target) if len(problems) == 1 else None
    if k is None:
        return None
    panels = k.panels(problems[0])
    steps = (
        Step(sums_by_rows(name, problems[0], k, target), ("x", "g", "sums")),
        Step(combine_sums(name + "_sum", [panels]), ("sums", "out")),
    )
    return Recipe(steps, {"sums": (problems[0].sum_kind, panels.elements)})


def _is_far(p: Problem) -> bool:
    """Whether x had better be copied, or must be."""
    return bool(p.x_pairs) or (p.x_channel != 1 and p.channels >= _FAR_CHANNELS)


def _stacked(problems: list[Problem]) -> list[Problem]:
    """The problems over copies of x, one after another in memory."""
    copies: list[Problem] = []
    for p in problems:
        copies.append(padded(p, sum(extent(c) for c in copies)))
    return copies


def _name(stem: str, spec: Convolution, target: Target, epilogue: Epilogue | None) -> str:
    text = repr((spec, target, getattr(epilogue, "name", None), dict(epilogue.operands) if epilogue else None))
    return f"{stem}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _batch(n: int, x: int, out: int) -> Axis:
    return Axis(n, n, 1, 1, 0, 1, x, 0, out, (Part(0, n),))


def _forward(spec: Convolution, merge_batch: bool = True) -> list[Problem]:
    x, w, out, groups = spec.x_strides, spec.w_strides, spec.out_strides, spec.groups
    d, c = spec.w_shape[0] // groups, spec.w_shape[1]
    problem = Problem(
        spec.kind, groups, c, d, (_batch(spec.x_shape[0], x[0], out[0]),), x_group=c * x[1], x_channel=x[1],
        w_group=d * w[0], w_in=w[1], w_out=w[0], out_group=d * out[1], out_channel=out[1],
    )  # fmt: skip
    spatial: list[list[Phase]] = [
        phases(
            2 + i, spec.out_shape[2 + i], spec.x_shape[2 + i], spec.w_shape[2 + i], spec.stride[i],
            spec.padding[i][0], spec.dilation[i], spec.lhs_dilation[i], x[2 + i], w[2 + i], out[2 + i],
        )
        for i in range(spec.rank)
    ]  # fmt: skip
    return combine(_depthwise(problem), spatial, merge_batch)


def _depthwise(p: Problem) -> Problem:
    """Groups of one channel each become one group, if the channels are neighbours in memory and will not be paired."""
    if p.kind == "bf16" or p.groups == 1 or p.channels != 1 or p.outs != 1 or p.x_group != 1 or p.out_group != 1:
        return p
    return p._replace(
        groups=1, outs=p.groups, x_channel=1, w_out=p.w_group, out_channel=1, w_group=0, depthwise=True
    )  # fmt: skip


def _backward(spec: Convolution) -> list[Problem]:
    """The convolution of g with the mirrored weight whose channels are exchanged (see `Conv.input_adjoint`)."""
    x, w, g, groups = spec.x_strides, spec.w_strides, spec.out_strides, spec.groups
    d, c, kernel = spec.w_shape[0] // groups, spec.w_shape[1], spec.w_shape[2:]
    last = sum((k - 1) * s for k, s in zip(kernel, w[2:]))
    problem = Problem(
        spec.kind, groups, d, c, (_batch(spec.x_shape[0], g[0], x[0]),), x_group=d * g[1], x_channel=g[1],
        w_group=d * w[0], w_in=w[0], w_out=w[1], out_group=c * x[1], out_channel=x[1], w_base=last,
    )  # fmt: skip
    spatial: list[list[Phase]] = [
        phases(
            2 + i, spec.x_shape[2 + i], spec.out_shape[2 + i], kernel[i], spec.lhs_dilation[i],
            spec.dilation[i] * (kernel[i] - 1) - spec.padding[i][0], spec.dilation[i], spec.stride[i],
            g[2 + i], -w[2 + i], x[2 + i],
        )
        for i in range(spec.rank)
    ]  # fmt: skip
    return combine(_depthwise(problem), spatial)


def _recipe(
    stem: str, spec: Convolution, problems: list[Problem], source: str, target: Target, epilogue: Epilogue | None
) -> Recipe:
    """Packed weights, then the direct kernel."""
    if spec.kind == "bf16":
        problems = [p.by_channels() for p in problems]
    if not all(math.prod(a.outs for a in p.axes) * p.outs for p in problems):
        return Recipe((), {})
    name = _name(stem, spec, target, epilogue)
    rows = block_rows(problems[0], target) if len(problems) == 1 else None
    if rows is not None:
        kernel = by_rows(name, problems[0], rows, target, epilogue)
        return Recipe((Step(kernel, (source, "w", "out", *(epilogue.operands if epilogue else ()))),), {})
    steps: list[Step] = []
    temps: dict[str, tuple[str, int]] = {}
    blocked = [(p, block(p, target)) for p in problems]
    copies = _stacked(problems)
    blocked_copies = [(c, block(c, target)) for c in copies]
    far = any(_is_far(p) for p in problems)
    if far or any(k[0] > _COPY_PAYS * q[0] for (_, k), (_, q) in zip(blocked, blocked_copies, strict=True)):
        steps.append(Step(pad_rows(name + "_pad", problems, copies, target), (source, "padded")))
        temps["padded"] = (copies[0].kind, max(1, sum(extent(c) for c in copies)))
        blocked, source = blocked_copies, "padded"
    pieces = pieces_of([(p, k) for p, (_, k) in blocked if k is not None])
    assert len(pieces) == len(problems), "rows without borders can always be cut"
    more = tuple(epilogue.operands) if epilogue else ()
    weights = "w"
    if not packs_itself(pieces):
        weights = "packed"
        steps.append(Step(pack_weights(name + "_pack", [p.panels for p in pieces]), ("w", "packed")))
        temps["packed"] = (problems[0].kind, packed_size(pieces))
    steps.append(Step(direct(name, pieces, target, epilogue), (source, weights, "out", *more)))
    return Recipe(tuple(steps), temps)

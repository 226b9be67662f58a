"""Convolutions of any rank, their gradients, and epilogues: against the op's NumPy reference in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wengert.codegen import conv
from wengert.codegen.conv import Convolution, convolve, input_gradient, weight_gradient
from wengert.codegen.conv_problem import shortened
from wengert.codegen.conv_rows_weight import block_rows_weight
from wengert.codegen.conv_weight import block_weight
from wengert.codegen.kernel import Place
from wengert.codegen.loop import F32, Builder, Type, Value, pointer
from wengert.codegen.lower import module_text
from wengert.codegen.target import Target, aarch64, avx2, avx512, host
from wengert.dtypes import bfloat16
from wengert.ops.base import OPS
from wengert.ops.conv import conv_attrs
from wengert.runtime import llvm
from wengert.testing.kernels import targets
from wengert.testing.recipes import Strides, channels_first, channels_last, interpreted, order, placed, run

pytestmark = pytest.mark.slow

CONV = OPS["conv"]
NUMPY = {"f32": np.float32, "f64": np.float64, "bf16": bfloat16.np}
PAIRED = replace(avx512(), name="paired", bf16_dot=True)
TARGETS = targets()[1:] or targets()  # those of fixed width, else the host


def kernel_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(*K, C, D): the weight's output channels run fastest."""
    return order(shape, (*range(2, len(shape)), 1, 0))


class Case:
    """A convolution with its operands in float64, and in memory as the kernels see them."""

    def __init__(
        self, x: tuple[int, ...], w: tuple[int, ...], kind: str = "f32", layout: Strides = channels_last,
        weights: Strides = channels_first, seed: int = 0, **attrs: Any,
    ) -> None:  # fmt: skip
        self.attrs = conv_attrs(len(x) - 2, **attrs)
        rng = np.random.default_rng(seed)
        number = lambda shape: rng.standard_normal(shape).astype("f4").astype(NUMPY[kind]).astype("f8")
        self.x, self.w = number(x), number(w)
        self.out = CONV.numpy(self.x, self.w, **self.attrs)
        self.g = number(self.out.shape)
        self.spec = Convolution(
            kind, x, w, **self.attrs, x_strides=layout(x), w_strides=weights(w), out_strides=layout(self.out.shape)
        )

    def expected(self, which: Any) -> np.ndarray:
        if which is convolve:
            return self.out
        adjoint = CONV.input_adjoint if which is input_gradient else CONV.weight_adjoint  # type: ignore[attr-defined]
        return adjoint(self.g, self.x, self.w, **self.attrs)

    def compute(self, which: Any, target: Target, cuts: int = 1, **more: Any) -> np.ndarray:
        """The result of the compiled recipe, as a view of logical order."""
        dtype, s = NUMPY[self.spec.kind], self.spec
        x, w, g = (placed(a.astype(dtype), t) for a, t in
                   ((self.x, s.x_strides), (self.w, s.w_strides), (self.g, s.out_strides)))  # fmt: skip
        given, name, out = {
            convolve: ({"x": x, "w": w}, "out", (s.out_shape, s.out_strides)),
            input_gradient: ({"g": g, "w": w}, "out", (s.x_shape, s.x_strides)),
            weight_gradient: ({"x": x, "g": g}, "out", (s.w_shape, s.w_strides)),
        }[which]
        result = placed(np.full(out[0], np.nan, dtype), out[1])
        recipe = which(self.spec, target, *([more["epilogue"]] if "epilogue" in more else []))
        operands = {**given, name: result, **more.get("operands", {})}
        if target.name == PAIRED.name:
            interpreted(recipe, operands)
        else:
            run(recipe, target, operands, cuts)
        return result

    def check(self, which: Any, target: Target) -> None:
        got, expected = self.compute(which, target), self.expected(which)
        assert got.shape == expected.shape
        scale = max(np.abs(expected).max(initial=0), 1e-3)
        tolerance = 4e-15 if self.spec.kind == "f64" else 2e-6  # bfloat16 is summed in float32, and rounded once
        rounding = 2.0**-8 if self.spec.kind == "bf16" else 0.0
        allowed = scale * tolerance * math.sqrt(self.x.size) + (1 + rounding) * rounding * np.abs(expected)
        assert np.all(np.abs(got.astype("f8") - expected) <= allowed)

    def paired(self) -> Case:
        """The same in bfloat16, everything in its place."""
        case = Case.__new__(Case)
        x, w, g = (a.astype("f4").astype(bfloat16.np).astype("f8") for a in (self.x, self.w, self.g))
        case.attrs, case.spec, case.x, case.w, case.g = self.attrs, self.spec._replace(kind="bf16"), x, w, g
        case.out = CONV.numpy(x, w, **self.attrs)
        return case


CASES = {
    "3x3": Case((2, 16, 9, 20), (32, 16, 3, 3), padding=((1, 1), (1, 1))),
    "short rows": Case((4, 32, 7, 7), (48, 32, 3, 3), padding=((1, 1), (1, 1))),
    "rows of one": Case((5, 8, 1, 3), (9, 8, 1, 3)),
    "deep": Case((1, 20, 3, 3), (530, 20, 3, 3), padding=((1, 1), (1, 1))),
    "stride": Case((2, 20, 11, 15), (24, 20, 3, 3), stride=(2, 2), padding=((1, 1), (1, 1))),
    "1x1": Case((3, 24, 5, 6), (40, 24, 1, 1)),
    "1x1 stride": Case((3, 24, 6, 5), (40, 24, 1, 1), stride=(2, 3)),
    "first layer": Case((2, 3, 12, 33), (16, 3, 3, 3), padding=((1, 1), (1, 1))),
    "first layer 7x7": Case((1, 3, 20, 44), (18, 3, 7, 7), stride=(2, 2), padding=((3, 3), (3, 3))),
    "first layer NCHW": Case((2, 3, 9, 17), (20, 3, 3, 3), layout=channels_first, padding=((1, 1), (1, 1))),
    "NCHW": Case((2, 18, 7, 9), (17, 18, 3, 2), layout=channels_first, padding=((1, 0), (1, 1)), stride=(1, 2)),
    "rows": Case((2, 9, 6, 32), (11, 9, 3, 3), layout=channels_first, padding=((1, 1), (1, 1))),
    "rows together": Case((1, 5, 14, 24), (7, 5, 3, 3), layout=channels_first, padding=((1, 1), (1, 1))),
    "long rows": Case((1, 3, 4, 205), (6, 3, 2, 5), layout=channels_first, padding=((0, 1), (2, 3))),
    "rows, many taps": Case((2, 4, 9, 33), (5, 4, 7, 7), layout=channels_first, padding=((3, 4), (1, 5)), kind="f64"),
    "rows of groups": Case((2, 6, 13, 64), (10, 3, 3, 3), layout=channels_first, groups=2, stride=(2, 1),
                           padding=((1, 1), (1, 1)), dilation=(2, 3)),
    "cut rows": Case((2, 3, 5, 40), (4, 3, 3, 3), layout=channels_first, padding=((-1, -1), (-2, -4))),
    "high rows": Case((3, 3, 32, 32), (11, 3, 3, 3), layout=channels_first, padding=((1, 1), (1, 1))),
    "high rows together": Case((2, 5, 60, 24), (16, 5, 3, 3), layout=channels_first, padding=((1, 1), (1, 1))),
    "high and long rows": Case((2, 2, 24, 266), (4, 2, 3, 5), layout=channels_first, padding=((0, 1), (2, 3))),
    "high rows, far borders": Case((2, 2, 50, 48), (8, 2, 3, 3), layout=channels_first, padding=((1, 1), (20, 20)),
                                   dilation=(1, 20)),
    "high rows, many channels": Case((2, 4, 26, 64), (66, 4, 3, 3), layout=channels_first, padding=((1, 1), (1, 1))),
    "short rows NCHW": Case((4, 32, 7, 7), (50, 32, 3, 3), layout=channels_first, padding=((1, 1), (1, 1))),
    "rows of one dimension": Case((6, 4, 64), (6, 4, 3), layout=channels_first, padding=((1, 1),)),
    "kernel major": Case((2, 6, 7, 9), (17, 6, 3, 2), weights=kernel_major, kind="f64"),
    "one channel": Case((3, 1, 8, 8), (1, 1, 3, 3)),
    "groups": Case((2, 12, 6, 7), (30, 4, 3, 3), groups=3, padding=((1, 1), (2, 0))),
    "depthwise": Case((2, 37, 8, 9), (37, 1, 3, 3), groups=37, padding=((1, 1), (1, 1))),
    "depthwise stride": Case((2, 16, 8, 9), (16, 1, 5, 5), groups=16, stride=(2, 2), padding=((2, 2), (2, 2))),
    "depthwise multiplier": Case((2, 5, 8, 9), (10, 1, 3, 3), groups=5, padding=((1, 1), (1, 1))),
    "dilated": Case((1, 7, 13, 14), (9, 7, 3, 3), dilation=(2, 3), padding=((2, 2), (3, 3))),
    "transposed": Case((2, 6, 5, 4), (8, 6, 4, 4), lhs_dilation=(2, 2), padding=((2, 2), (2, 2))),
    "transposed NCHW": Case((2, 9, 5, 4), (8, 9, 4, 3), layout=channels_first, lhs_dilation=(2, 3),
                            padding=((2, 2), (2, 2))),
    "transposed, taps missing": Case((2, 4, 5), (6, 4, 1), lhs_dilation=(3,), padding=((1, 2),)),
    "all attributes": Case((1, 8, 9, 5), (6, 4, 3, 2), stride=(2, 3), padding=((2, -1), (1, 3)), dilation=(2, 1),
                           lhs_dilation=(3, 2), groups=2),
    "stride and zeros alike": Case((1, 3, 9), (4, 3, 5), stride=(2,), lhs_dilation=(4,), padding=((3, 3),)),
    "cut": Case((1, 2, 9, 9), (3, 2, 2, 2), padding=((-2, -1), (-1, 3))),
    "all padding": Case((1, 3, 2, 2), (4, 3, 2, 2), padding=((3, 3), (3, 3))),
    "1-d": Case((2, 5, 50), (7, 5, 9), padding=((4, 4),)),
    "1-d long kernel": Case((1, 2, 90), (3, 2, 33), padding=((16, 16),)),
    "1-d, borders everywhere": Case((2, 3, 300), (5, 3, 101), padding=((150, 150),), stride=(2,)),
    "3-d": Case((2, 4, 4, 5, 6), (6, 4, 3, 2, 3), padding=((1, 1), (0, 1), (1, 1)), stride=(1, 2, 1), kind="f64"),
    "tall": Case((2, 3, 40, 1), (5, 3, 5, 1), padding=((2, 2), (0, 0))),
    "whole image": Case((6, 5, 4, 4), (7, 5, 4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("which", [convolve, input_gradient, weight_gradient])
@pytest.mark.parametrize("name", CASES)
def test_against_reference(name: str, which: Any) -> None:
    CASES[name].check(which, TARGETS[-1])


@pytest.mark.parametrize("which", [convolve, input_gradient, weight_gradient])
@pytest.mark.parametrize(
    "name", ["3x3", "stride", "groups", "depthwise", "first layer", "NCHW", "3-d", "rows", "high rows", "rows together"]
)
def test_narrower_target(name: str, which: Any) -> None:
    CASES[name].check(which, TARGETS[0])


@pytest.mark.parametrize("which", [convolve, input_gradient, weight_gradient])
@pytest.mark.parametrize("name", ["3x3", "deep", "groups", "stride"])
def test_weights_larger_than_the_cache(name: str, which: Any) -> None:
    small = replace(TARGETS[-1], name="small", l1=1 << 12, l2=1 << 14)
    CASES[name].check(which, small)
    if name == "deep" and which is not input_gradient:
        assert not which(CASES[name].spec, small).temps, "each tile has its own panel of the weights"


@pytest.mark.parametrize("name", ["3x3", "stride", "groups", "depthwise", "all attributes", "3-d", "1-d long kernel"])
def test_over_a_padded_copy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "_COPY_PAYS", 0.0)
    for which in (convolve, input_gradient):
        assert "padded" in which(CASES[name].spec, TARGETS[-1]).temps
        CASES[name].check(which, TARGETS[-1])


def random_case(seed: int) -> Case:
    """Any rank, any attributes, any order of memory."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    pick = lambda low, high: tuple(int(v) for v in rng.integers(low, high + 1, rank))
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    c, d = (int(v) for v in rng.integers(1, 20, 2))
    kernel, dilation, stride, lhs = pick(1, 4), pick(1, 2), pick(1, 3), pick(1, 2)
    padding = tuple((int(a), int(b)) for a, b in rng.integers(-1, 4, (rank, 2)))
    sizes = []
    for k, dil, e, (low, high) in zip(kernel, dilation, lhs, padding, strict=True):
        needed = dil * (k - 1) + 1 - low - high
        sizes.append(max(1, -(-(needed - 1) // e) + 1) + int(rng.integers(0, 9 if rank < 3 else 4)))
    layout = [channels_first, channels_last][int(rng.integers(2))]
    weights = [channels_first, kernel_major][int(rng.integers(2))]
    return Case(
        (int(rng.integers(1, 4)), groups * c, *sizes), (groups * d, c, *kernel), ["f32", "f64"][int(rng.integers(2))],
        layout, weights, seed, stride=stride, padding=padding, dilation=dilation, lhs_dilation=lhs, groups=groups,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_random(seed: int) -> None:
    case = random_case(seed)
    for which in (convolve, input_gradient, weight_gradient):
        case.check(which, TARGETS[seed % len(TARGETS)])


@pytest.mark.parametrize("which", [convolve, input_gradient, weight_gradient])
@pytest.mark.parametrize(
    "name",
    ["3x3", "stride", "depthwise", "first layer", "NCHW", "rows of groups", "high rows together",
     "high and long rows", "high rows, many channels", "short rows NCHW", "1x1", "1-d, borders everywhere"],
)  # fmt: skip
def test_cuts_do_not_change_a_bit(name: str, which: Any) -> None:
    whole, cut = (CASES[name].compute(which, TARGETS[-1], cuts) for cuts in (1, 7))
    np.testing.assert_array_equal(whole, cut)


def test_long_rows_are_shared_by_threads() -> None:
    for case in (
        Case((1, 64, 28, 28), (64, 64, 1, 1)),
        Case((1, 64, 28, 28), (64, 64, 1, 1), layout=channels_first),
        Case((1, 16, 2000), (32, 16, 9)),
    ):
        *_, last = convolve(case.spec, TARGETS[-1]).steps
        assert last.kernel.tiles >= 16
    copy = weight_gradient(Case((2, 64, 28, 28), (64, 64, 1, 1), kind="bf16").spec, PAIRED).steps[0].kernel
    assert copy.tiles >= 4


def test_tiles_write_their_own_channels_of_the_gradient() -> None:
    case = Case((1, 133, 5, 6), (128, 133, 3, 3), padding=((1, 1), (1, 1)))
    for target in TARGETS:
        recipe = weight_gradient(case.spec, target)
        assert not recipe.temps, "whole sums need no memory between kernels"
        assert recipe.steps[0].kernel.tiles >= 16, "enough for many threads"
        case.check(weight_gradient, target)
        whole, cut = (case.compute(weight_gradient, target, cuts) for cuts in (1, 7))
        np.testing.assert_array_equal(whole, cut)


@pytest.mark.parametrize("name", ["high rows, many channels", "high rows together"])
def test_bands_and_blocks_take_turns(name: str) -> None:
    """What these cases have: bands of two heights; in one, tiles that share bands, and not blocks."""
    (problem,) = conv._forward(CASES[name].spec)
    k = block_rows_weight(problem, replace(avx512(), l1=32 << 10, l2=1 << 20))
    assert k is not None
    assert problem.axes[-2].outs % k.band
    assert (k.parts > 1) == (name == "high rows, many channels")


def test_few_sums_for_large_gradients() -> None:
    """The sums of chunks take an eighth of what is read, at most."""
    x, w, ones = (8, 64, 56, 56), (64, 64, 3, 3), (1, 1)
    strides = channels_last(x)
    spec = Convolution("f32", x, w, ones, (ones, ones), ones, ones, 1, strides, channels_first(w), strides)
    read = math.prod(spec.x_shape) + math.prod(spec.out_shape)
    for target in TARGETS:
        assert weight_gradient(spec, target).temps["sums"][1] <= read / 8


@pytest.mark.parametrize("layout", [channels_first, channels_last])
def test_long_rows_of_single_taps_are_cut(layout: Strides) -> None:
    case = Case((2, 9, 24, 26), (18, 9, 1, 1), layout=layout)
    (problem,) = (shortened(p) for p in conv._forward(case.spec, merge_batch=False))
    assert [a.outs for a in problem.axes] == [2, 6, 104]
    for target in TARGETS:
        case.check(weight_gradient, target)


def test_blocks_have_no_empty_vectors_where_masks_take_registers() -> None:
    for outs in (24, 40, 104):
        case = Case((2, 64, 9, 9), (outs, 64, 3, 3))
        (problem,) = conv._forward(case.spec, merge_batch=False)
        blocking = block_weight(problem, avx2())
        assert outs % (blocking.vectors * blocking.lanes) == 0


class BiasResidualRelu:
    """max(x + bias[channel] + residual, 0), the residual in memory like the result's; what a network asks for."""

    name = "bias, residual, relu"
    operands: Mapping[str, Type] = {"bias": pointer("f32"), "residual": pointer("f32")}

    def __init__(self, strides: tuple[int, ...]) -> None:
        self.strides = strides

    def __call__(self, b: Builder, x: Value, place: Place) -> Value:
        at = sum(i * s for i, s in zip(place.index, self.strides, strict=True))
        if place.axis == 1:
            bias = b.load(b.bias, place.index[1], lanes=place.lanes, mask=place.mask)
        else:
            bias = b.splat(b.load(b.bias, place.index[1]), place.lanes)
        step = self.strides[place.axis]
        if step == 1 or place.lanes == 1:
            residual = b.load(b.residual, at, lanes=place.lanes, mask=place.mask)
        else:
            residual = b.gather(b.residual, b.iota(place.lanes) * step + at, place.mask)
        return b.binary("max", x + bias + residual, b.const(0, F32.widened(place.lanes)))


@pytest.mark.parametrize("which", [convolve, input_gradient])
@pytest.mark.parametrize("name", ["3x3", "1x1", "short rows", "stride", "groups", "depthwise", "NCHW", "transposed",
                                  "short rows NCHW", "high rows together"])  # fmt: skip
def test_epilogue(name: str, which: Any) -> None:
    case = CASES[name]
    expected = case.expected(which)
    strides = case.spec.out_strides if which is convolve else case.spec.x_strides
    rng = np.random.default_rng(1)
    bias, residual = rng.standard_normal(expected.shape[1]), rng.standard_normal(expected.shape)
    operands = {"bias": bias.astype("f4"), "residual": placed(residual.astype("f4"), strides)}
    got = case.compute(which, TARGETS[-1], epilogue=BiasResidualRelu(strides), operands=operands)
    column = bias.reshape(-1, *[1] * (expected.ndim - 2))
    np.testing.assert_allclose(got, np.maximum(expected + column + residual, 0), rtol=1e-4, atol=1e-4)


def test_empty() -> None:
    for x, w in (((0, 3, 5), (4, 3, 2)), ((2, 0, 5), (4, 0, 2)), ((2, 3, 5), (0, 3, 2))):
        for which in (convolve, input_gradient, weight_gradient):
            Case(x, w).check(which, TARGETS[-1])
            Case(x, w).paired().check(which, PAIRED)


PAIRS = {
    "words": Case((2, 4, 4, 5), (5, 4, 3, 2), padding=((1, 1), (1, 0))),
    "one channel, one image": Case((1, 1, 4, 4), (1, 1, 3, 3)),
    "odd": Case((3, 3, 4, 5), (17, 3, 2, 2), padding=((0, 1), (1, 1))),
    "odd, channels first": Case((3, 5, 3, 18), (6, 5, 1, 3), layout=channels_first, padding=((0, 0), (1, 1))),
    "even, channels first": Case((2, 18, 2, 17), (3, 18, 2, 1), layout=channels_first, stride=(1, 2)),
    "1x1": Case((4, 6, 3, 3), (18, 6, 1, 1)),
    "1x1 stride": Case((2, 5, 4, 4), (4, 5, 1, 1), stride=(2, 3)),
    "many taps": Case((1, 2, 5, 6), (18, 2, 3, 5), weights=kernel_major, padding=((1, 1), (2, 2))),
    "groups": Case((2, 6, 4, 4), (4, 3, 2, 2), groups=2),
    "groups, words": Case((2, 8, 4, 4), (6, 4, 2, 2), groups=2, dilation=(2, 1)),
    "depthwise": Case((2, 3, 4, 4), (3, 1, 2, 2), groups=3),
    "transposed": Case((2, 4, 3), (3, 4, 3), lhs_dilation=(2,), padding=((1, 1),)),
    "stride": Case((2, 2, 7), (3, 2, 3), stride=(2,), padding=((1, 1),)),
}  # fmt: skip


@pytest.mark.parametrize("which", [convolve, input_gradient, weight_gradient])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_bfloat16(name: str, which: Any) -> None:
    PAIRS[name].paired().check(which, PAIRED)


# Where the processor has no instruction for pairs they are interpreted, which is slow: fewer cases.
MACHINE = host() if host().bf16_dot else PAIRED


@pytest.mark.quick(name=["3x3", "stride", "first layer", "NCHW"])
@pytest.mark.parametrize("which", [convolve, input_gradient, weight_gradient])
@pytest.mark.parametrize("name", CASES if MACHINE is not PAIRED else ["1x1", "stride", "transposed NCHW"])
def test_pairs_of_bfloat16_in_machine_code(name: str, which: Any) -> None:
    case = CASES[name].paired()
    case.check(which, MACHINE)
    whole, cut = (case.compute(which, MACHINE, cuts) for cuts in (1, 7))
    np.testing.assert_array_equal(whole.view("u2"), cut.view("u2"))


@pytest.mark.parametrize("seed", range(12 if MACHINE is not PAIRED else 2))
def test_random_pairs(seed: int) -> None:
    case = random_case(100 + seed).paired()
    for which in (convolve, input_gradient, weight_gradient):
        case.check(which, replace(MACHINE, l1=1 << 12, l2=1 << 14) if seed % 3 == 0 else MACHINE)


def test_missing_halves_of_pairs_are_zeros() -> None:
    """Infinite numbers beside them stay away from other results."""
    case = Case((3, 3, 4, 4), (2, 3, 3, 3), padding=((1, 1), (1, 1))).paired()
    case.x[1], case.g[2] = np.inf, np.inf
    for which in (convolve, input_gradient, weight_gradient):
        with np.errstate(invalid="ignore"):
            case.out = CONV.numpy(case.x, case.w, **case.attrs)
            got, expected = case.compute(which, PAIRED).astype("f8"), case.expected(which)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(got), finite)
        np.testing.assert_allclose(got[finite], expected[finite], rtol=2.0**-7, atol=1e-3)


@pytest.mark.parametrize("which", [convolve, input_gradient, weight_gradient])
def test_equal_specs_give_equal_code(which: Any) -> None:
    texts = [[module_text([s.kernel.function]) for s in which(CASES["3x3"].spec, avx512()).steps] for _ in range(2)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("which", [convolve, input_gradient, weight_gradient])
def test_compiles_for_other_processors(which: Any) -> None:
    for case in (CASES["stride"], CASES["short rows NCHW"], CASES["high rows, many channels"]):
        for step in which(case.spec, aarch64()).steps:
            f = step.kernel.function
            assert llvm.compile_ir(module_text([f]), aarch64(), f.name)[:4] == b"\x7fELF"


def test_flops_are_those_of_the_definition() -> None:
    spec = CASES["1x1"].spec
    flops = sum(step.kernel.flops for step in convolve(spec, avx512()).steps)
    assert flops == spec.flops == 2 * 3 * 30 * 24 * 40

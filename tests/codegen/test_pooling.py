"""Pooling of any rank and order of memory, and its gradients: against the functional definitions in NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.codegen.kernel import Place, Recipe
from wengert.codegen.loop import I64, Builder, Type, Value
from wengert.codegen.lower import module_text
from wengert.codegen.pool import Pool, Window, max_pool, max_pool_gradient, mean_pool, mean_pool_gradient
from wengert.codegen.target import Target, aarch64, avx2
from wengert.functional.windows import window_count
from wengert.runtime import llvm
from wengert.testing.kernels import targets
from wengert.testing.recipes import Strides, channels_first, channels_last, placed, run

NUMPY = {"f32": np.float32, "f64": np.float64}
TARGETS = targets()[1:] or targets()  # those of fixed width, else the host


class Case:
    """A pooling with its input; ``windows`` None is adaptive."""

    def __init__(
        self, x: tuple[int, ...], windows: tuple[Window | None, ...], counts: tuple[int, ...] | None = None,
        kind: str = "f32", layout: Strides = channels_last, ceil: bool = False, special: bool = False,
    ) -> None:  # fmt: skip
        self.ceil = ceil
        if counts is None:
            counts = tuple(
                window_count(n, w.kernel, w.stride, w.padding, w.dilation, ceil)
                for n, w in zip(x[2:], windows, strict=True)
                if w is not None
            )
        rng = np.random.default_rng(0)
        self.x = rng.integers(-9, 9, x) * 0.25 if special else rng.standard_normal(x)
        if special:
            self.x[rng.random(x) < 0.1] = np.nan
            self.x[rng.random(x) < 0.1] = -np.inf
        self.x = self.x.astype(NUMPY[kind])
        self.spec = Pool(kind, x, counts, windows, layout(x), layout((*x[:2], *counts)))
        self.g = rng.standard_normal(self.spec.out_shape).astype(NUMPY[kind])

    def reference(self, mode: str, **options: Any) -> tuple[Any, ...]:
        """Values, (for "max") indices, and the gradient of x."""
        rank = len(self.spec.counts)
        x = wg.tensor(self.x, requires_grad=True)
        if self.spec.windows[0] is None:
            out = getattr(F, f"adaptive_{mode}_pool{rank}d")(x, self.spec.counts, **options)
        else:
            kernel, stride, padding, dilation = zip(*self.spec.windows, strict=True)  # type: ignore[arg-type]
            if mode == "max":
                options["dilation"] = dilation
            f = getattr(F, f"{mode}_pool{rank}d")
            out = f(x, kernel, stride, padding, ceil_mode=self.ceil, **options)
        values, indices = out if isinstance(out, tuple) else (out, None)
        values.backward(wg.tensor(self.g))
        assert x.grad is not None
        return values.detach().numpy(), None if indices is None else indices.numpy(), x.grad.numpy()

    def compute(self, recipe: Recipe, target: Target, cuts: int = 1, **given: np.ndarray) -> tuple[np.ndarray, ...]:
        """The results of a recipe, as views of logical order: out, then indices if it writes them."""
        s = self.spec
        backward = "g" in recipe.steps[0].operands
        shape, strides = (s.x_shape, s.x_strides) if backward else (s.out_shape, s.out_strides)
        buffers = {"out": placed(np.full(shape, np.nan, NUMPY[s.kind]), strides)}
        if "indices" not in given:
            buffers["indices"] = placed(np.full(s.out_shape, -7), s.out_strides)
        for name, a in given.items():
            buffers[name] = placed(a, s.x_strides if name == "x" else s.out_strides)
        run(recipe, target, buffers, cuts)
        return buffers["out"], buffers["indices"]

    def check(self, target: Target, cuts: int = 1) -> None:
        values, indices, gradient = self.reference("max", return_indices=True)
        got = self.compute(max_pool(self.spec, target), target, cuts, x=self.x)
        np.testing.assert_array_equal(got[0], values)
        np.testing.assert_array_equal(got[1], indices)
        plain = self.compute(max_pool(self.spec, target, indices=False), target, cuts, x=self.x)
        np.testing.assert_array_equal(plain[0], values)
        back = self.compute(max_pool_gradient(self.spec, target), target, cuts, g=self.g, indices=indices)
        np.testing.assert_allclose(back[0], gradient, rtol=1e-6, atol=1e-6)

    def check_mean(self, target: Target, divisor: str | float, **options: Any) -> None:
        values, _, gradient = self.reference("avg", **options)
        got = self.compute(mean_pool(self.spec, divisor, target), target, x=self.x)
        np.testing.assert_allclose(got[0], values, rtol=2e-6, atol=2e-6)
        back = self.compute(mean_pool_gradient(self.spec, divisor, target), target, g=self.g)
        np.testing.assert_allclose(back[0], gradient, rtol=2e-6, atol=2e-6)


W = Window
FIXED = {
    "2x2": ((2, 37, 8, 9), (W(2, 2), W(2, 2))),
    "3x3 stride 2": ((2, 16, 9, 40), (W(3, 2, 1), W(3, 2, 1))),
    "overlapping": ((1, 5, 7, 20), (W(3, 1, 1), W(4, 1, 2))),
    "gaps": ((1, 3, 9, 11), (W(2, 3), W(1, 4))),
    "1-d": ((2, 3, 45), (W(5, 3, 2),)),
    "3-d": ((1, 18, 5, 6, 7), (W(2, 2), W(3, 2, 1), W(2, 1))),
    "one channel": ((3, 1, 6, 6), (W(2, 2), W(3, 2))),
}
DILATED = [(W(3, 2, 1, 2), W(2, 2, 0, 3)), (W(2, 1, 1, 3), W(3, 4, 1, 1))]
LAYOUTS = [channels_last, channels_first]


@pytest.mark.quick(name=["3-d"], layout=[channels_last])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FIXED)
def test_max(name: str, layout: Strides) -> None:
    Case(*FIXED[name], layout=layout).check(TARGETS[-1])


@pytest.mark.quick(windows=[DILATED[1]], layout=[channels_last])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("windows", DILATED)
def test_max_dilated_with_ties_nan_and_infinities(windows: Any, layout: Strides) -> None:
    for ceil in (False, True):
        Case((2, 19, 12, 21), windows, layout=layout, special=True, ceil=ceil).check(TARGETS[-1])


@pytest.mark.quick(name=["3x3 stride 2"], layout=[channels_first])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FIXED)
def test_mean(name: str, layout: Strides) -> None:
    for ceil in (False, True):
        case = Case(*FIXED[name], layout=layout, ceil=ceil)
        case.check_mean(TARGETS[-1], "window")
        case.check_mean(TARGETS[-1], "inside", count_include_pad=False)


def test_mean_by_a_number() -> None:
    Case(*FIXED["2x2"]).check_mean(TARGETS[-1], 3.0, divisor_override=3)


@pytest.mark.quick(counts=[(3, 4)], layout=[channels_last])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("counts", [(1, 1), (3, 4), (7, 5)])
def test_adaptive(counts: tuple[int, int], layout: Strides) -> None:
    case = Case((2, 20, 7, 10), (None, None), counts, layout=layout, kind="f64")
    case.check(TARGETS[-1])
    case.check_mean(TARGETS[-1], "inside")


@pytest.mark.quick(layout=[channels_first])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_narrower_target_and_cuts(layout: Strides) -> None:
    case = Case(*FIXED["3x3 stride 2"], layout=layout, kind="f64")
    case.check(TARGETS[0], cuts=5)
    case.check_mean(TARGETS[0], "window")


class PlusIndex:
    """x + 100 n + 10 channel + the last position: an epilogue that shows where it stands."""

    name = "plus index"
    operands: Mapping[str, Type] = {}

    def __call__(self, b: Builder, x: Value, place: Place) -> Value:
        total: Value = b.const(0, I64.widened(place.lanes))
        for d, factor in ((0, 100), (1, 10), (len(place.index) - 1, 1)):
            i = b.splat(place.index[d], place.lanes)
            total = total + (i + b.iota(place.lanes) if d == place.axis else i) * factor
        return x + b.cast(total, "f32")


@pytest.mark.quick(layout=[channels_first])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_epilogue(layout: Strides) -> None:
    case = Case(*FIXED["3x3 stride 2"], layout=layout)
    for recipe, plain, given in (
        (max_pool(case.spec, TARGETS[-1], epilogue=PlusIndex()), max_pool(case.spec, TARGETS[-1]), {"x": case.x}),
        (mean_pool_gradient(case.spec, 2.0, TARGETS[-1], PlusIndex()),
         mean_pool_gradient(case.spec, 2.0, TARGETS[-1]), {"g": case.g}),
    ):  # fmt: skip
        got, without = (case.compute(r, TARGETS[-1], 3, **given)[0] for r in (recipe, plain))
        n, c, _, w = np.indices(got.shape)
        np.testing.assert_allclose(got, without + 100 * n + 10 * c + w, rtol=1e-6)


def test_empty() -> None:
    assert max_pool(Case((0, 3, 4), (W(2, 2),)).spec, avx2()).steps == ()


def test_compiles_for_other_processors() -> None:
    spec = Case(*FIXED["2x2"]).spec
    for recipe in (max_pool(spec, aarch64()), mean_pool_gradient(spec, "inside", aarch64())):
        f = recipe.steps[0].kernel.function
        assert llvm.compile_ir(module_text([f]), aarch64(), f.name)[:4] == b"\x7fELF"


def test_bytes_are_counted() -> None:
    spec = Case(*FIXED["2x2"]).spec
    moved = 4 * (math.prod(spec.x_shape) + math.prod(spec.out_shape))
    assert max_pool(spec, avx2(), indices=False).steps[0].kernel.bytes == moved
    assert max_pool(spec, avx2()).steps[0].kernel.bytes == moved + 8 * math.prod(spec.out_shape)

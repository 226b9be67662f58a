"""What runs along an axis has kernels: sums, products, extremes and recurrences, with eager mode's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert.ops.base import OPS

SHAPES = [
    (1,), (100,), (3, 40), (40, 100), (33, 2, 17), (4, 5, 6, 7), (20, 1),
]  # fmt: skip
DTYPES = [wg.float32, wg.float64, wg.int64, wg.int32, wg.int8, wg.uint8, wg.bool, wg.float16, wg.bfloat16]


def same(x: Any, y: Any) -> None:
    x, y = np.asarray(x.detach()._value), np.asarray(y.detach()._value)
    assert x.dtype == y.dtype
    if x.dtype.kind in "fV":
        x, y = x.astype(np.float64), y.astype(np.float64)
    np.testing.assert_array_equal(x, y)
    if x.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(x), np.signbit(y))


def run(f: Any, *xs: Any) -> Any:
    """What a function gives when it is compiled; no step of it is NumPy's."""
    compiled = wg.compile(f)
    out = compiled(*xs)
    assert compiled.latest.scheduled().native
    return out if isinstance(out, tuple) else (out,)


def numbers(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).normal(size=shape) * 4
    return wg.tensor(x).to(wg.int64 if dtype == wg.uint8 else dtype).to(dtype)


@pytest.mark.quick(shape=[(40, 100), (33, 2, 17)], dtype=[wg.float32, wg.int64])
@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_have_the_bits_of_eager_mode(shape: tuple[int, ...], dtype: Any) -> None:
    x = numbers(shape, dtype)
    for axis in range(len(shape)):
        functions = (
            lambda x, k=axis: x.cumsum(k), lambda x, k=axis: x.cumprod(k), lambda x, k=axis: tuple(wg.cummax(x, k)),
            lambda x, k=axis: tuple(wg.cummin(x, k)), lambda x, k=axis: x.flip(k).cumsum(k).flip(k),
            lambda x, k=axis: x.cumsum(k, dtype=wg.float64),
        )  # fmt: skip
        for f in functions:
            expected = f(x)
            for a, b in zip(run(f, x), expected if isinstance(expected, tuple) else (expected,), strict=True):
                same(a, b)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((37, 21), 0), ((37, 21), 1), ((3, 70), 1), ((4, 9, 18), 1)])
def test_both_directions(shape: tuple[int, ...], axis: int, reverse: bool) -> None:
    x, a = numbers(shape, wg.float64), numbers(shape, wg.float64, 1) * 0.2
    for name, xs in (("cumsum", (x,)), ("cumprod", (a,)), ("logcumsumexp", (x,)), ("linear_recurrence", (a, x))):
        (found,) = run(lambda *xs, n=name: OPS[n](*xs, axis=axis, reverse=reverse), *xs)
        expected = OPS[name].numpy(*[v.numpy() for v in xs], axis=axis, reverse=reverse)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_a_line_begins_with_its_first_element() -> None:
    x = wg.tensor([[-0.0, 0.0, 1.0], [float("nan"), 1.0, 2.0], [float("inf"), -float("inf"), 1.0]])
    for axis in (0, 1):
        for f in (lambda x, k=axis: x.cumsum(k), lambda x, k=axis: wg.logcumsumexp(x, k),
                  lambda x, k=axis: tuple(wg.cummax(x, k)), lambda x, k=axis: tuple(wg.cummin(x, k))):  # fmt: skip
            expected = f(x)
            for a, b in zip(run(f, x), expected if isinstance(expected, tuple) else (expected,), strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    assert np.signbit(run(lambda x: x.cumsum(1), x)[0].numpy()[0, 0])
    a, b = wg.tensor([[float("inf"), 1.0]]), wg.tensor([[2.0, 3.0]])
    (found,) = run(lambda a, b: OPS["linear_recurrence"](a, b, axis=1, reverse=False), a, b)
    assert found.tolist() == [[2.0, 5.0]]  # what the first element would be multiplied by does not matter


def test_what_they_read_is_computed_on_the_way() -> None:
    x, y = numbers((33, 50), wg.float32), numbers((50, 33), wg.float32, 1)
    index = wg.tensor(np.random.default_rng(0).integers(0, 33, 33))

    def f(x: Any, y: Any, index: Any) -> Any:
        return (x.tanh() * y.T + 1).cumsum(1), (x[index] - 2)[::2].cumsum(0), (x > 0).cumsum(0)

    compiled = wg.compile(f)
    for a, b in zip(compiled(x, y, index), f(x, y, index), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-4)
    groups = compiled.latest.scheduled().block.groups
    assert [g.kind for g in groups] == ["running"] * 3


def test_those_along_one_axis_share_a_kernel() -> None:
    x = numbers((20, 30), wg.float32)
    compiled = wg.compile(lambda x: (x.cumsum(0), x.cumprod(0), *wg.cummax(x, 0)))
    found, expected = compiled(x), (x.cumsum(0), x.cumprod(0), *wg.cummax(x, 0))
    for a, b in zip(found, expected, strict=True):
        same(a, b)
    assert len(compiled.latest.scheduled().block.groups) == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_gradients(axis: int) -> None:
    x = numbers((9, 12), wg.float64) * 0.3
    x[2, 3] = 0.0

    def f(x: Any) -> Any:
        values = (x.cumsum(axis) * x, x.cumprod(axis), wg.logcumsumexp(x, axis), wg.cummax(x, axis).values)
        return sum((v * v.cos()).sum() for v in values)

    first, second = wg.func.grad(f), wg.func.grad(lambda x: wg.func.grad(f)(x).square().sum())
    for g in (first, second):
        np.testing.assert_allclose(run(g, x)[0].numpy(), g(x).numpy(), rtol=1e-9, atol=1e-9)


def test_threads_do_not_change_a_bit() -> None:
    x = numbers((130, 200), wg.float32)
    before = wg.get_num_threads()
    try:
        for threads in (1, 2, 3):
            wg.set_num_threads(threads)
            for a in (0, 1):
                same(run(lambda x, a=a: x.cumsum(a), x)[0], x.cumsum(a))
    finally:
        wg.set_num_threads(before)


def test_in_a_loop() -> None:
    x = numbers((6, 20), wg.float32)

    def f(x: Any) -> Any:
        return wg.fori_loop(0, 3, lambda i, c: c.cumsum(1) * 0.1, x)

    np.testing.assert_allclose(run(f, x)[0].numpy(), f(x).numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [wg.float32, wg.int64], ids=repr)
def test_large_ones_in_eager_mode_have_numpys_bits(dtype: Any) -> None:
    x = numbers((200, 300), dtype)
    for axis in (0, 1):
        for view in (x, x.T, x.flip(axis)):
            a = view.numpy()
            np.testing.assert_array_equal(view.cumsum(axis).numpy(), np.add.accumulate(a, axis=axis))
            with np.errstate(all="ignore"):
                expected = np.multiply.accumulate(a, axis=axis)
            np.testing.assert_array_equal(view.cumprod(axis).numpy(), expected)
            if dtype.is_floating_point:
                found = wg.logcumsumexp(view, axis).numpy()
                np.testing.assert_allclose(found, np.logaddexp.accumulate(a, axis=axis), rtol=1e-5)


def test_a_bad_index_on_the_way_is_an_error() -> None:
    x, y = numbers((5, 7), wg.float32), numbers((5, 40), wg.float32)
    f = wg.compile(lambda x, y: x[y.argmax(1)].cumsum(0))
    with pytest.raises(IndexError):
        f(x, y)

"""Pooling and unpooling: values by plain loops, ties, NaN, every mode, errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.errors import WengertError
from wengert.graph.handle import wrap
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

NAN, INF = math.nan, math.inf


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def windows_of(sizes, kernel, stride, padding, dilation, counts):
    """For each window the positions it covers inside the input (flat)."""
    for o in itertools.product(*[range(c) for c in counts]):
        places = [
            [i * s - p + j * d for j in range(k) if 0 <= i * s - p + j * d < n]
            for i, n, k, s, p, d in zip(o, sizes, kernel, stride, padding, dilation)
        ]
        yield o, [int(np.ravel_multi_index(at, sizes)) for at in itertools.product(*places)]


SETTINGS = [
    ((2, 3, 7), (2,), {}, (3,)),
    ((2, 3, 7), (3,), {"stride": 2, "padding": 1}, (4,)),
    ((2, 3, 7), (2,), {"stride": 2, "ceil_mode": True}, (4,)),
    ((2, 3, 6, 7), (3, 2), {"stride": (2, 1), "padding": (1, 0)}, (3, 6)),
    ((2, 3, 6, 7), (2, 3), {"ceil_mode": True, "padding": 1, "stride": 2}, (4, 4)),
    ((2, 3, 4, 4), (4, 4), {}, (1, 1)),
    ((2, 2, 3, 4, 3), (2, 2, 1), {"stride": 1}, (2, 3, 3)),
]


def arguments(kernel, options):
    rank = len(kernel)
    full = {"stride": kernel, "padding": 0, "dilation": 1, **options}
    return [(v,) * rank if isinstance(v := full[k], int) else v for k in ("stride", "padding", "dilation")]


@pytest.mark.parametrize(("shape", "kernel", "options", "counts"), SETTINGS)
def test_max_pool(shape, kernel, options, counts):
    x = np.random.default_rng(0).integers(0, 4, shape).astype(float)  # with ties
    flat = x.reshape(*shape[:2], -1)
    out, index = getattr(F, f"max_pool{len(kernel)}d")(wg.tensor(x), kernel, return_indices=True, **options)
    assert tuple(out.shape) == (*shape[:2], *counts)
    for o, places in windows_of(shape[2:], kernel, *arguments(kernel, options), counts):
        seen = flat[..., places]
        np.testing.assert_array_equal(out.numpy()[(..., *o)], seen.max(-1))
        np.testing.assert_array_equal(index.numpy()[(..., *o)], np.array(places)[seen.argmax(-1)])


def test_dilated_max_pool():
    x = wg.tensor([[[5.0, 1.0, 2.0, 3.0, 4.0]]])
    assert F.max_pool1d(x, 2, 1, dilation=3).tolist() == [[[5.0, 4.0]]]
    assert F.max_pool1d(x, 3, 1, padding=1, dilation=2).tolist() == [[[3.0, 5.0, 3.0]]]


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize(("shape", "kernel", "options", "counts"), SETTINGS)
def test_avg_pool(shape, kernel, options, counts, include):
    x = normal(*shape)
    flat = x.reshape(*shape[:2], -1)
    out = getattr(F, f"avg_pool{len(kernel)}d")(wg.tensor(x), kernel, count_include_pad=include, **options)
    assert tuple(out.shape) == (*shape[:2], *counts)
    stride, padding, dilation = arguments(kernel, options)
    for o, places in windows_of(shape[2:], kernel, stride, padding, dilation, counts):
        sides = [
            min(i * s - p + k, n + p) - (i * s - p) for i, s, p, k, n in zip(o, stride, padding, kernel, shape[2:])
        ]
        area = math.prod(sides) if include else len(places)
        np.testing.assert_allclose(out.numpy()[(..., *o)], flat[..., places].sum(-1) / area, 1e-12, 1e-12)


def test_divisor_and_half_precision():
    assert F.avg_pool2d(wg.ones(1, 1, 2, 2), 2, divisor_override=3).item() == pytest.approx(4 / 3)
    big = wg.full((1, 1, 64, 64), 60.0, dtype=wg.float16)  # the sum is above the largest float16
    assert F.adaptive_avg_pool2d(big, 1).item() == 60.0


def test_lp_pool():
    x = normal(2, 3, 6)
    out = F.lp_pool1d(wg.tensor(x), 2, 3)
    want = np.sqrt((x.reshape(2, 3, 2, 3) ** 2).sum(-1))
    np.testing.assert_allclose(out.numpy(), want, 1e-12)


@pytest.mark.parametrize(
    ("sizes", "outs"), [((7,), (3,)), ((5, 8), (3, 4)), ((4, 6), (2, 3)), ((3,), (5,)), ((3, 4, 5), (2, 2, 3))]
)
def test_adaptive(sizes, outs):
    x = normal(2, 3, *sizes)
    rank = len(sizes)
    mean = getattr(F, f"adaptive_avg_pool{rank}d")(wg.tensor(x), outs).numpy()
    top, index = getattr(F, f"adaptive_max_pool{rank}d")(wg.tensor(x), outs, return_indices=True)
    for o in itertools.product(*[range(n) for n in outs]):
        bins = tuple(slice(i * n // m, -(-(i + 1) * n // m)) for i, n, m in zip(o, sizes, outs))
        block = x[(..., *bins)].reshape(2, 3, -1)
        np.testing.assert_allclose(mean[(..., *o)], block.mean(-1), 1e-12, 1e-12)
        np.testing.assert_array_equal(top.numpy()[(..., *o)], block.max(-1))
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 3, -1), index.numpy().reshape(2, 3, -1), 2).reshape(top.shape), top.numpy()
    )


def test_none_keeps_a_size():
    assert F.adaptive_avg_pool2d(wg.ones(1, 2, 4, 6), (None, 3)).shape == (1, 2, 4, 3)
    assert F.adaptive_max_pool3d(wg.ones(2, 4, 6, 5), (2, None, 5)).shape == (2, 2, 6, 5)


def test_ties_and_nan():
    x = wg.tensor([[[1.0, 1.0, 0.0, NAN, 2.0, NAN, -INF, -INF]]], requires_grad=True)
    out, index = F.max_pool1d(x, 2, return_indices=True)
    assert index.tolist() == [[[0, 3, 5, 6]]]  # the first of equal ones; NaN is the largest
    out[0, 0, 0].backward()
    assert x.grad.tolist() == [[[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]]


def test_empty_batch():
    assert F.max_pool2d(wg.ones(0, 3, 4, 4), 2).shape == (0, 3, 2, 2)
    assert F.adaptive_avg_pool1d(wg.ones(0, 3, 5), 2).shape == (0, 3, 2)


def test_fractional():
    """Windows lie where Graham's formula puts them; both draws of the width's and height's number count."""
    x, u = normal(1, 1, 7, 9), np.array([[[0.3, 0.8]]])
    out, index = F.fractional_max_pool2d(
        wg.tensor(x), 2, output_size=(3, 4), return_indices=True, _random_samples=wg.tensor(u)
    )

    def starts(n, count, sample):
        alpha = (n - 2) / (count - 1)
        return [int((i + sample) * alpha) - int(sample * alpha) for i in range(count - 1)] + [n - 2]

    rows, columns = starts(7, 3, 0.8), starts(9, 4, 0.3)
    want = [[x[0, 0, r : r + 2, c : c + 2].max() for c in columns] for r in rows]
    np.testing.assert_array_equal(out.numpy()[0, 0], want)
    np.testing.assert_array_equal(x.reshape(-1)[index.numpy()[0, 0]], want)
    drawn = F.fractional_max_pool3d(wg.tensor(normal(2, 5, 6, 7)), 2, output_ratio=(0.5, 0.5, 0.4))
    assert drawn.shape == (2, 2, 3, 2)


def test_unpool():
    x = wg.tensor([[[1.0, 4.0, 3.0, 2.0, 0.0]]])
    values, index = F.max_pool1d(x, 2, return_indices=True)
    assert F.max_unpool1d(values, index, 2).tolist() == [[[0.0, 4.0, 3.0, 0.0]]]
    assert F.max_unpool1d(values, index, 2, output_size=(5,)).tolist() == [[[0.0, 4.0, 3.0, 0.0, 0.0]]]
    # An index that comes twice: one write stands, and it alone has a gradient.
    twice = wg.tensor([[[1.0, 1.0]]], requires_grad=True)
    F.max_unpool1d(twice, wg.tensor([[[2, 2]]]), 2).sum().backward()
    assert twice.grad.sum().item() == 1.0


U = np.random.default_rng(1).random((2, 2, 2))
MODES = {
    "max_pool1d": lambda x: F.max_pool1d(x.reshape(4, 5, 6), 3, 2, 1),
    "max_pool2d": lambda x: F.max_pool2d(x, 2, 1, ceil_mode=True),
    "max_pool3d": lambda x: F.max_pool3d(x, (1, 2, 2)),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1, True, False),
    "lp_pool2d": lambda x: F.lp_pool2d(x, 2, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 4)),
    "fractional_max_pool2d": lambda x: F.fractional_max_pool2d(x, 2, 3, _random_samples=wg.tensor(U)),
    "max_unpool2d": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(5, 6)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f = lambda x: [MODES[name](x)]
    x = normal(2, 2, 5, 6)
    check_first_order(Point(f, [x]))
    check_second_order(Point(f, [x]))
    check_vmap(f, [x])


def ones(*shape: int, dtype=np.float32) -> wg.Tensor:
    return wrap(np.ones(shape, dtype))


ERRORS = [
    (lambda: F.max_pool2d(ones(4, 4), 2), "Expected 4 dimensions, or 3"),
    (lambda: F.max_pool1d(ones(1, 1, 4), 2, padding=2), "at most half of the kernel"),
    (lambda: F.max_pool1d(ones(1, 1, 4), 5), "window is larger"),
    (lambda: F.max_pool1d(ones(1, 0, 4), 2), "only the batch may be empty"),
    (lambda: F.max_pool1d(ones(1, 1, 4), 0), "kernel_size must be at least 1"),
    (lambda: F.avg_pool2d(ones(1, 1, 4, 4), 2, divisor_override=0), "must not be zero"),
    (lambda: F.avg_pool2d(ones(1, 1, 4, 4, dtype=np.int64), 2), "needs a floating dtype"),
    (lambda: F.adaptive_avg_pool2d(ones(1, 1, 4, 4), (1, 2, 3)), "must have 2 numbers"),
    (lambda: F.adaptive_max_pool1d(ones(1, 1, 4), -1), "must not be negative"),
    (lambda: F.fractional_max_pool2d(ones(1, 1, 4, 4), 2), "exactly one of"),
    (lambda: F.fractional_max_pool2d(ones(1, 1, 4, 4), 2, 4), "windows do not fit"),
    (lambda: F.fractional_max_pool2d(ones(1, 1, 4, 4), 2, output_ratio=1.5), "between 0 and 1"),
    (lambda: F.max_unpool1d(ones(1, 1, 2), wg.tensor([[[0, 9]]]), 2), "outside of the output"),
    (lambda: F.max_unpool1d(ones(1, 1, 2), wg.tensor([[[0]]]), 2), "shaped like the input"),
    (lambda: F.max_unpool1d(ones(1, 1, 2), wg.tensor([[[0, 1]]]), 2, output_size=(9,)), "does not fit"),
]


@pytest.mark.parametrize(("call", "text"), ERRORS)
def test_errors(call, text):
    with pytest.raises(WengertError, match=text):
        call()

"""Padding, interpolation, grid sampling, shuffles: values from NumPy, every mode, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.errors import WengertError
from wengert.graph.handle import wrap
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        ((3, 5), [(2, 1)]),
        ((2, 3, 5), [(0, 4)]),
        ((2, 3, 4, 5), [(3, 1), (2, 2)]),
        ((3, 4, 5), [(0, 3), (0, 0)]),
        ((2, 3, 3, 4, 5), [(1, 2), (0, 1), (3, 0)]),
    ],
)
def test_pad(shape, pads, mode):
    x = normal(*shape)
    numbers = [n for pair in reversed(pads) for n in pair]
    want = np.pad(x, [(0, 0)] * (x.ndim - len(pads)) + pads, mode=NUMPY_MODES[mode])
    np.testing.assert_array_equal(F.pad(wg.tensor(x), numbers, mode).numpy(), want)


def test_constant_and_negative_pad():
    x = wg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert F.pad(x, (-1, 1, 0, 1), value=9.0).tolist() == [[2, 3, 9], [5, 6, 9], [9, 9, 9]]
    assert F.pad(x, (-1, -2)).shape == (2, 0)
    assert F.pad(x, (-1, 1), "replicate").tolist() == [[2, 3, 3], [5, 6, 6]]
    assert F.pad(x, (-1, 2), "circular").tolist() == [[2, 3, 2, 3], [5, 6, 5, 6]]
    assert F.pad(x, (-1, 2), "reflect").tolist() == [[2, 3, 2, 1], [5, 6, 5, 4]]
    for same in (F.pad(x, (0, 0)), F.pad(x, (0, -1), "replicate"), F.interpolate(x[None], 3, mode="linear")):
        same.add_(1)
        assert x[0, 0].item() == 1.0  # not the same memory


def linear(x: np.ndarray, out: int, align: bool) -> np.ndarray:
    """NumPy's own interpolation along the last axis."""
    n = x.shape[-1]
    at = np.linspace(0, n - 1, out) if align else (np.arange(out) + 0.5) * n / out - 0.5
    return np.apply_along_axis(lambda row: np.interp(at, np.arange(n), row), -1, x)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("out", [1, 3, 8])
def test_linear(out, align):
    x = normal(2, 3, 5)
    got = F.interpolate(wg.tensor(x), out, mode="linear", align_corners=align)
    want = linear(x, out, align)
    np.testing.assert_allclose(got.numpy(), want, 1e-12, 1e-12)
    square = F.interpolate(wg.tensor(x[None]), (4, out), mode="bilinear", align_corners=align)
    want = np.moveaxis(linear(np.moveaxis(want, 1, 2), 4, align), 2, 1)[None]
    np.testing.assert_allclose(square.numpy(), want, 1e-12, 1e-12)


def test_nearest():
    x = wg.tensor([[[0.0, 1.0, 2.0, 3.0, 4.0]]])
    assert F.interpolate(x, 3).tolist() == [[[0, 1, 3]]]
    assert F.interpolate(x, 3, mode="nearest-exact").tolist() == [[[0, 2, 4]]]
    assert F.interpolate(x, scale_factor=2).tolist() == [[[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]]]
    assert F.interpolate(x, 7).tolist() == [[[0, 0, 1, 2, 2, 3, 4]]]
    assert F.interpolate(wg.tensor([[[1, 2]]]), 4).tolist() == [[[1, 1, 2, 2]]]


def test_cubic():
    """Convolution with the filter of Keys (1981), a = -3/4, with the edge repeated."""

    def filtered(t: float) -> float:
        t, a = abs(t), -0.75
        return (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * (t**3 - 5 * t**2 + 8 * t - 4) * (t < 2)

    x = normal(6)
    up = F.interpolate(wg.tensor(x.reshape(1, 1, 1, 6)), (1, 15), mode="bicubic").numpy()[0, 0, 0]
    edged = np.pad(x, 3, mode="edge")
    at = (np.arange(15) + 0.5) * 6 / 15 - 0.5
    want = [sum(v * filtered(p - i) for i, v in enumerate(edged, -3)) for p in at]
    np.testing.assert_allclose(up, want, 1e-10, 1e-10)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "area"])
def test_constants_stay(mode):
    for size in ((3, 9), (8, 2)):
        out = F.interpolate(wg.full((1, 2, 5, 6), 3.0), size, mode=mode)
        np.testing.assert_allclose(out.numpy(), 3.0, 1e-6)
        if mode != "area":
            out = F.interpolate(wg.full((1, 2, 5, 6), 3.0), size, mode=mode, antialias=True)
            np.testing.assert_allclose(out.numpy(), 3.0, 1e-6)


def test_area_is_the_mean():
    x = normal(1, 2, 4, 6)
    got = F.interpolate(wg.tensor(x), scale_factor=0.5, mode="area")
    np.testing.assert_allclose(got.numpy(), x.reshape(1, 2, 2, 2, 3, 2).mean((3, 5)), 1e-12)


def test_one_wild_value_stays_local():
    x = np.zeros((1, 1, 1, 9))
    x[..., 4] = np.inf
    out = F.interpolate(wg.tensor(x), (1, 18), mode="bilinear").numpy()
    assert np.isfinite(out).sum() >= 12


def sample(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear interpolation of (C, H, W) at pixel coordinates, zero outside."""
    out = np.zeros(image.shape[0])
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                out += image[:, i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return out


@pytest.mark.quick(align=[True])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_grid_sample(padding, align):
    x, grid = normal(2, 3, 4, 5), normal(2, 3, 2, 2)
    got = F.grid_sample(wg.tensor(x), wg.tensor(grid), padding_mode=padding, align_corners=align).numpy()
    for n, i, j in np.ndindex(2, 3, 2):
        at = [(g + 1) / 2 * (s - 1) if align else ((g + 1) * s - 1) / 2 for g, s in zip(grid[n, i, j], (5, 4))]
        if padding == "border":
            at = [min(max(a, 0), s - 1) for a, s in zip(at, (5, 4))]
        np.testing.assert_allclose(got[n, :, i, j], sample(x[n], *at), 1e-10, 1e-10)


def test_reflection():
    """Beyond the edge the image comes again, mirrored."""
    image = wg.tensor([[[[0.0, 1.0, 2.0, 3.0]]]])
    points = wg.tensor([[[[p, 0.0] for p in (-1.25, 1.25, -3.25, 5.25)]]])
    inner = wg.tensor([[[[p, 0.0] for p in (-0.75, 0.75, 0.75, 0.75)]]])
    options = {"padding_mode": "reflection", "align_corners": False}
    assert F.grid_sample(image, points, **options).tolist() == F.grid_sample(image, inner, **options).tolist()


@pytest.mark.quick(align=[True])
@pytest.mark.parametrize("align", [False, True])
def test_identity_grid(align):
    x = normal(2, 3, 4, 5)
    theta = np.broadcast_to(np.eye(2, 3), (2, 2, 3))
    grid = F.affine_grid(wg.tensor(theta), x.shape, align)
    for mode in ("bilinear", "nearest", "bicubic"):
        got = F.grid_sample(wg.tensor(x), grid, mode, "border", align).numpy()
        np.testing.assert_allclose(got, x, 1e-10, 1e-10)


def test_not_a_number_does_not_crash():
    grid = wg.tensor([[[[math.nan, 0.0], [math.inf, 0.0]]]])
    assert F.grid_sample(wg.ones(1, 1, 2, 2), grid, align_corners=False).shape == (1, 1, 1, 2)
    assert F.grid_sample(wg.ones(1, 1, 2, 2), grid, "nearest", "border", False).shape == (1, 1, 1, 2)


def test_shuffles():
    x = normal(2, 8, 3, 2)
    up = F.pixel_shuffle(wg.tensor(x), 2)
    assert up.numpy()[1, 1, 3, 2] == x[1, 4 + 2, 1, 1]
    np.testing.assert_array_equal(F.pixel_unshuffle(up, 2).numpy(), x)
    assert F.channel_shuffle(wg.arange(6).reshape(1, 6, 1), 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


X, GRID = normal(1, 2, 4, 5), normal(1, 3, 2, 2) * 0.8
MODES = {
    "pad": lambda x, g: F.pad(x, (1, -1, 0, 2)),
    "pad reflect": lambda x, g: F.pad(x, (3, 1, 2, 2), "reflect"),
    "pad replicate": lambda x, g: F.pad(x, (3, 1, -1, 2), "replicate"),
    "pad circular": lambda x, g: F.pad(x, (3, 1, 2, 2), "circular"),
    "nearest": lambda x, g: F.interpolate(x, (3, 7)),
    "nearest twice": lambda x, g: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x, g: F.interpolate(x, (3, 7), mode="bilinear"),
    "bicubic": lambda x, g: F.interpolate(x, (3, 7), mode="bicubic"),
    "antialias": lambda x, g: F.interpolate(x, (3, 2), mode="bicubic", antialias=True),
    "grid bilinear": lambda x, g: F.grid_sample(x, g, "bilinear", "zeros", False),
    "grid bicubic": lambda x, g: F.grid_sample(x, g, "bicubic", "border", True),
    "grid reflection": lambda x, g: F.grid_sample(x, g, "bilinear", "reflection", False),
    "grid nearest": lambda x, g: F.grid_sample(x, g, "nearest", "zeros", False),
    "affine_grid": lambda x, g: F.affine_grid(x[:, :2, :2, :3].reshape(2, 2, 3), (2, 1, 3, 2)),
    "pixel_shuffle": lambda x, g: F.pixel_shuffle(x.reshape(1, 4, 2, 5), 2),
    "pixel_unshuffle": lambda x, g: F.pixel_unshuffle(x.reshape(1, 2, 2, 10), 2),
    "channel_shuffle": lambda x, g: F.channel_shuffle(x, 2),
}


@pytest.mark.quick(name=list(MODES)[::4])
@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f = lambda x, g: [MODES[name](x, g) + 0 * g.sum()]
    check_first_order(Point(f, [X, GRID]))
    check_second_order(Point(f, [X, GRID]))
    check_vmap(f, [X, GRID])


def ones(*shape: int, dtype=np.float32) -> wg.Tensor:
    return wrap(np.ones(shape, dtype))


ERRORS = [
    (lambda: F.pad(ones(3), (1,)), "at most two numbers a dimension"),
    (lambda: F.pad(ones(3), (1, 1), "mirror"), "unknown mode"),
    (lambda: F.pad(ones(3), (-2, -2)), "more is cut off"),
    (lambda: F.pad(ones(1, 3), (3, 0), "reflect"), "can add at most 2"),
    (lambda: F.pad(ones(1, 3), (4, 0), "circular"), "can add at most 3"),
    (lambda: F.pad(ones(3), (1, 0), "reflect"), "pads the last 1 to 3"),
    (lambda: F.pad(ones(1, 3), (1, 0), "reflect", 2.0), "takes no value"),
    (lambda: F.interpolate(ones(1, 1, 3)), "exactly one of size and scale_factor"),
    (lambda: F.interpolate(ones(1, 1, 3), 4, 2.0), "exactly one of size and scale_factor"),
    (lambda: F.interpolate(ones(1, 1, 3), 4, mode="bilinear"), "does not fit the input"),
    (lambda: F.interpolate(ones(1, 1, 3), 4, mode="cubic"), "unknown mode"),
    (lambda: F.interpolate(ones(1, 1, 3), 4, align_corners=True), "takes no align_corners"),
    (lambda: F.interpolate(ones(1, 1, 3), 4, mode="linear", antialias=True), "antialias needs"),
    (lambda: F.interpolate(ones(1, 1, 3), 0), "must not be empty"),
    (lambda: F.interpolate(ones(1, 1, 3), (4, 4)), "one number, or one a spatial dimension"),
    (lambda: F.interpolate(ones(1, 1, 3, dtype=np.int64), 4, mode="linear"), "needs a floating dtype"),
    (lambda: F.grid_sample(ones(1, 1, 3, 3), ones(1, 2, 2, 3)), "needs"),
    (lambda: F.grid_sample(ones(2, 1, 3, 3), ones(1, 2, 2, 2)), "batches differ"),
    (lambda: F.grid_sample(ones(1, 1, 3, 3), ones(1, 2, 2, 2), "cubic"), "no such mode"),
    (lambda: F.grid_sample(ones(1, 1, 3, 3), ones(1, 2, 2, 2), padding_mode="edge"), "unknown padding_mode"),
    (lambda: F.grid_sample(ones(1, 1, 3, 3), ones(1, 2, 2, 2, dtype=np.float64)), "one floating dtype"),
    (lambda: F.affine_grid(ones(1, 2, 2), (1, 1, 3, 3)), "theta does not fit"),
    (lambda: F.pixel_shuffle(ones(1, 3, 2, 2), 2), r"multiple of upscale_factor"),
    (lambda: F.pixel_unshuffle(ones(1, 1, 3, 2), 2), "multiples of downscale_factor"),
    (lambda: F.channel_shuffle(ones(1, 3, 2), 2), "multiple of groups"),
]


@pytest.mark.parametrize(("call", "text"), ERRORS)
def test_errors(call, text):
    with pytest.raises(WengertError, match=text):
        call()

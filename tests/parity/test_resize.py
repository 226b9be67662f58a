"""Padding, interpolation, grid sampling and shuffles against torch."""

from __future__ import annotations

import numpy as np
import pytest

HALF = ("float32", "float16", "bfloat16")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("F.pad(x, (1, 2))", (3,)),
        ("F.pad(x, (1, 2), value=2.5)", (2, 3)),
        ("F.pad(x, (1, 2, 0, 3, -1, 1), 'constant', -1.5)", (2, 3, 4)),
        ("F.pad(x, (-1, -1, -1, 2))", (4, 5)),
        ("F.pad(x, (0, 0))", (4, 5)),
        ("F.pad(x, (1, 1))", (0, 2)),
        ("F.pad(x, (2, 1), mode='reflect')", (2, 4)),
        ("F.pad(x, (3, 0), mode='reflect')", (2, 3, 4)),
        ("F.pad(x, (1, 2, 2, 0), mode='reflect')", (2, 3, 4)),
        ("F.pad(x, (1, 2, 2, 0, 1, 1), mode='reflect')", (2, 3, 2, 4, 5)),
        ("F.pad(x, (2, 5), mode='replicate')", (2, 3, 4)),
        ("F.pad(x, (1, 2, 3, 0), mode='replicate')", (2, 3, 4, 3)),
        ("F.pad(x, (-1, 2, 3, -2), mode='replicate')", (2, 3, 4, 3)),
        ("F.pad(x, (1, 2, 2, 0, 1, 3), mode='replicate')", (3, 2, 4, 5)),
        ("F.pad(x, (2, 4), mode='circular')", (2, 3, 4)),
        ("F.pad(x, (1, 2, 3, 0), mode='circular')", (2, 3, 4, 3)),
        ("F.pad(x, (1, 2, 2, 0, 1, 1), mode='circular')", (2, 3, 2, 4, 5)),
        ("F.pad(x, (-1, 2), mode='circular')", (2, 3, 4)),
        ("F.pad(x, (-1, 2), mode='reflect')", (2, 3, 4)),
        ("F.pixel_shuffle(x, 2)", (2, 8, 3, 2)),
        ("F.pixel_shuffle(x, 3)", (2, 2, 9, 3, 2)),
        ("F.pixel_unshuffle(x, 2)", (2, 8, 4, 2)),
        ("F.pixel_unshuffle(x, 3)", (8, 6, 3)),
        ("F.channel_shuffle(x, 2)", (2, 6, 3, 2)),
        ("F.channel_shuffle(x, 3)", (2, 6, 3)),
    ],
)
def test_pad_and_shuffle(agree, text, shape):
    agree(text, HALF, x=normal(*shape))


def test_integer_pad(agree):
    agree("F.pad(x, (1, 2), value=3)", (), x=np.arange(4))


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("F.interpolate(x, 7)", (2, 3, 4)),
        ("F.interpolate(x, 8)", (2, 3, 4)),
        ("F.interpolate(x, (3, 5))", (2, 3, 4, 7)),
        ("F.interpolate(x, scale_factor=2)", (2, 3, 4, 7)),
        ("F.interpolate(x, scale_factor=(1.7, 0.6))", (2, 3, 4, 7)),
        ("F.interpolate(x, scale_factor=1.3, recompute_scale_factor=True)", (2, 3, 4, 7)),
        ("F.interpolate(x, (3, 5, 2))", (2, 3, 4, 7, 3)),
        ("F.interpolate(x, 7, mode='nearest-exact')", (2, 3, 4)),
        ("F.interpolate(x, scale_factor=2, mode='nearest-exact')", (2, 3, 4, 5)),
        ("F.interpolate(x, scale_factor=0.7, mode='nearest-exact')", (2, 3, 4, 5, 6)),
        ("F.interpolate(x, 7, mode='linear')", (2, 3, 4)),
        ("F.interpolate(x, 7, mode='linear', align_corners=True)", (2, 3, 4)),
        ("F.interpolate(x, scale_factor=0.6, mode='linear')", (2, 3, 9)),
        ("F.interpolate(x, (5, 3), mode='bilinear')", (2, 3, 4, 7)),
        ("F.interpolate(x, (1, 9), mode='bilinear', align_corners=True)", (2, 3, 4, 7)),
        ("F.interpolate(x, scale_factor=(1.6, 2.3), mode='bilinear')", (2, 3, 4, 7)),
        ("F.interpolate(x, scale_factor=1.6, mode='bilinear', recompute_scale_factor=True)", (2, 3, 4, 7)),
        ("F.interpolate(x, (9, 3), mode='bicubic')", (2, 3, 4, 7)),
        ("F.interpolate(x, (5, 9), mode='bicubic', align_corners=True)", (2, 3, 4, 7)),
        ("F.interpolate(x, scale_factor=2.5, mode='bicubic')", (2, 3, 4, 7)),
        ("F.interpolate(x, (5, 3, 4), mode='trilinear')", (2, 3, 4, 7, 2)),
        ("F.interpolate(x, scale_factor=2, mode='trilinear', align_corners=True)", (2, 3, 4, 3, 2)),
        ("F.interpolate(x, 3, mode='area')", (2, 3, 7)),
        ("F.interpolate(x, (2, 3), mode='area')", (2, 3, 4, 7)),
        ("F.interpolate(x, scale_factor=0.5, mode='area')", (2, 3, 4, 6, 8)),
        ("F.interpolate(x, (3, 2), mode='bilinear', antialias=True)", (2, 3, 8, 7)),
        ("F.interpolate(x, (3, 9), mode='bicubic', antialias=True)", (2, 3, 8, 7)),
        ("F.interpolate(x, scale_factor=0.4, mode='bicubic', antialias=True)", (2, 3, 8, 7)),
        ("F.interpolate(x, (3, 2), mode='bilinear', antialias=True, align_corners=True)", (2, 3, 8, 7)),
        ("F.upsample(x, scale_factor=2)", (2, 3, 4)),
        ("F.upsample_nearest(x, (5, 6))", (2, 3, 4, 3)),
        ("F.upsample_bilinear(x, scale_factor=2)", (2, 3, 4, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*deprecated.*", "ignore:.*upsample.*")
def test_interpolate(agree, text, shape):
    agree(text, ("float32",) if "antialias" in text else HALF, x=normal(*shape), tol=2)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(agree, mode, padding, align):
    grid = normal(2, 5, 6, 2) * 0.9
    text = f"F.grid_sample(x, g, {mode!r}, {padding!r}, {align})"
    agree(text, x=normal(2, 3, 4, 7), g=grid, tol=4)
    if mode != "bicubic":
        agree(text, x=normal(2, 3, 4, 7, 2), g=normal(2, 3, 2, 3, 3), tol=4)


@pytest.mark.parametrize("align", [False, True])
def test_grid_sample_far_outside(agree, align):
    points = np.array([[-9.3, 0.1], [7.7, -5.2], [1.0, -1.0], [0.33, 30.2]]).reshape(1, 2, 2, 2)
    for padding in ("zeros", "border", "reflection"):
        agree(
            f"F.grid_sample(x, const_g, 'bilinear', {padding!r}, {align})",
            x=normal(1, 2, 3, 4),
            const_g=points,
            tol=9,
        )


@pytest.mark.filterwarnings("ignore:.*affine_grid.*")
def test_affine_grid(agree):
    agree("F.affine_grid(x, (2, 1, 3, 4), False)", x=normal(2, 2, 3))
    agree("F.affine_grid(x, (2, 1, 3, 1), True)", x=normal(2, 2, 3))
    agree("F.affine_grid(x, (2, 1, 3, 4, 2), True)", x=normal(2, 3, 4))
    agree("F.affine_grid(x, [2, 1, 1, 4, 2], False)", x=normal(2, 3, 4))

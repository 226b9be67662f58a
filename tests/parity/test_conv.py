"""Convolutions, unfold, fold and bilinear against torch."""

from __future__ import annotations

import numpy as np
import pytest

HALF = ("float32", "float16", "bfloat16")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def complexes(*shape: int) -> np.ndarray:
    return normal(*shape) + 1j * normal(*shape, seed=1)


CASES = [
    ("F.conv1d(x, w)", (2, 3, 8), (4, 3, 3)),
    ("F.conv1d(x, w, padding=2, stride=2, dilation=2)", (2, 3, 9), (4, 3, 3)),
    ("F.conv1d(x, w, padding='same')", (2, 3, 8), (4, 3, 4)),
    ("F.conv1d(x, w, padding='same', dilation=3)", (3, 8), (4, 3, 4)),
    ("F.conv1d(x, w, padding='valid')", (2, 3, 8), (4, 3, 4)),
    ("F.conv1d(x, w, None, 2, 1, 1, 3)", (2, 3, 8), (6, 1, 4)),
    ("F.conv2d(x, w)", (2, 3, 6, 7), (4, 3, 3, 2)),
    ("F.conv2d(x, w, stride=(2, 3), padding=(1, 2))", (2, 3, 6, 7), (4, 3, 3, 2)),
    ("F.conv2d(x, w, stride=2, dilation=(1, 2), groups=2)", (2, 4, 7, 8), (6, 2, 2, 3)),
    ("F.conv2d(x, w, padding='same')", (3, 5, 6), (4, 3, 2, 3)),
    ("F.conv2d(x, w, groups=4)", (2, 4, 7, 8), (4, 1, 2, 3)),
    ("F.conv2d(x, w, groups=4, padding=1, stride=2)", (2, 4, 7, 8), (8, 1, 3, 3)),
    ("F.conv2d(x, w)", (0, 3, 6, 7), (4, 3, 3, 2)),
    ("F.conv2d(x, w)", (2, 3, 6, 7), (4, 3, 6, 7)),
    ("F.conv2d(x, w)", (2, 3, 6, 7), (4, 3, 1, 1)),
    ("F.conv2d(x, w, padding=3)", (2, 2, 1, 1), (2, 2, 3, 3)),
    ("F.conv3d(x, w, padding=1)", (2, 3, 4, 5, 3), (4, 3, 3, 2, 3)),
    ("F.conv3d(x, w, stride=(1, 2, 1), groups=2)", (4, 4, 5, 3), (4, 2, 3, 2, 1)),
    ("F.conv_transpose1d(x, w)", (2, 3, 5), (3, 4, 3)),
    ("F.conv_transpose1d(x, w, stride=3, padding=1, output_padding=2)", (2, 3, 5), (3, 4, 3)),
    ("F.conv_transpose1d(x, w, stride=2, padding=2, dilation=2, groups=3)", (3, 5), (3, 2, 3)),
    ("F.conv_transpose2d(x, w, stride=2)", (2, 3, 4, 5), (3, 4, 2, 3)),
    ("F.conv_transpose2d(x, w, None, (2, 1), (1, 0), (1, 0), 2)", (2, 4, 4, 3), (4, 3, 3, 2)),
    ("F.conv_transpose2d(x, w, dilation=2, output_padding=1)", (3, 4, 5), (3, 4, 2, 3)),
    ("F.conv_transpose2d(x, w, padding=3)", (2, 3, 6, 6), (3, 2, 3, 3)),
    ("F.conv_transpose3d(x, w, stride=2, padding=1)", (2, 3, 3, 2, 3), (3, 2, 3, 2, 3)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("text", "x", "w"), CASES)
def test_conv(agree, text, x, w):
    agree(text, HALF, x=normal(*x), w=normal(*w, seed=1), tol=4)


@pytest.mark.parametrize(("text", "x", "w"), [c for c in CASES if "conv_t" not in c[0] and "None" not in c[0]][:8])
def test_conv_bias(agree, text, x, w):
    agree(
        text.replace("(x, w", "(x, w, b"),
        HALF,
        x=normal(*x),
        w=normal(*w, seed=1),
        b=normal(w[0], seed=2),
        tol=4,
    )


@pytest.mark.parametrize(("text", "x", "w"), [c for c in CASES if "conv_t" in c[0] and "groups" not in c[0]][:2])
def test_conv_transpose_bias(agree, text, x, w):
    agree(text.replace("(x, w", "(x, w, b"), x=normal(*x), w=normal(*w, seed=1), b=normal(w[1], seed=2))


def test_complex(agree):
    agree("F.conv1d(x, w, b, padding=1)", (), x=complexes(2, 2, 5), w=complexes(3, 2, 2), b=complexes(3))
    agree("F.conv_transpose1d(x, w, b, 2)", (), x=complexes(2, 2, 5), w=complexes(2, 3, 2), b=complexes(3))


def test_integers(agree):
    agree("F.conv2d(x, w)", (), x=np.arange(16).reshape(1, 1, 4, 4), w=np.arange(4).reshape(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("F.unfold(x, 2)", (2, 3, 4, 5)),
        ("F.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 2), stride=(1, 2))", (2, 3, 4, 5)),
        ("F.unfold(x, 2, 1, 1, 2)", (3, 4, 5)),
        ("F.fold(x, (4, 5), 2)", (2, 12, 12)),
        ("F.fold(x, (4, 5), (2, 2), padding=1, stride=2)", (12, 9)),
        ("F.fold(x, (6, 5), (2, 3), dilation=2, padding=1)", (1, 6, 18)),
    ],
)
def test_unfold_fold(agree, text, shape):
    agree(text, ("float32",), x=normal(*shape))


def test_bilinear(agree):
    agree("F.bilinear(x, y, w)", x=normal(4, 3), y=normal(4, 2), w=normal(5, 3, 2))
    agree(
        "F.bilinear(x, y, w, b)",
        HALF,
        x=normal(2, 4, 3),
        y=normal(2, 4, 2),
        w=normal(5, 3, 2),
        b=normal(5),
        tol=2,
    )
    agree("F.bilinear(x, y, w, b)", x=normal(3), y=normal(2), w=normal(5, 3, 2), b=normal(5))
    agree("F.bilinear(x, y, w)", x=normal(0, 3), y=normal(0, 2), w=normal(5, 3, 2))


def test_conv_tbc(agree):
    agree("F.conv_tbc(x, w, b, 1)", ("float32",), x=normal(6, 2, 3), w=normal(3, 3, 4), b=normal(4))
    agree("F.conv_tbc(x, w, b)", x=normal(3, 2, 3), w=normal(3, 3, 1), b=normal(1))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradients_of_convolutions(rank):
    import torch

    import wengert as wg

    x, w = normal(2, 4, *(7, 6, 5)[:rank]), normal(6, 2, *(3, 2, 3)[:rank])
    options = {"stride": 2, "padding": 1, "groups": 2}
    found = []
    for lib in (wg, torch):
        make = lib.tensor
        g = make(np.cos(np.arange(2 * 6 * 4 * (4 if rank > 1 else 1) * (3 if rank > 2 else 1)))).reshape(
            2, 6, *(4, 4, 3)[:rank]
        )
        of_input, of_weight = (getattr(lib.nn.grad, f"conv{rank}d_{part}") for part in ("input", "weight"))
        found.append([of_input(x.shape, make(w), g, **options), of_weight(make(x), w.shape, g, **options)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-10, atol=1e-10)

"""Pooling against torch."""

from __future__ import annotations

import numpy as np
import pytest

HALF = ("float32", "float16", "bfloat16")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


TIES = np.random.default_rng(0).integers(0, 3, (2, 3, 7, 8)).astype(float)
WILD = TIES.copy()
WILD[0, 0, 2, 3] = WILD[0, 0, 2, 4] = WILD[1, 2, 5, 5] = np.nan
WILD[0, 1] = -np.inf
WILD[1, 0, 3] = np.inf


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("F.max_pool1d(x, 2)", (2, 3, 7)),
        ("F.max_pool1d(x, 3, 2, 1, 1, True, True)", (3, 7)),
        ("F.max_pool1d(x, 3, 1, 1, 2)", (2, 3, 9)),
        ("F.max_pool2d(x, 2)", (2, 3, 7, 8)),
        ("F.max_pool2d(x, 2, return_indices=True)", (3, 7, 8)),
        ("F.max_pool2d(x, (3, 2), (2, 1), (1, 0), ceil_mode=True, return_indices=True)", (2, 3, 7, 8)),
        ("F.max_pool2d(x, 3, 3, 1, ceil_mode=True, return_indices=True)", (2, 3, 7, 8)),
        ("F.max_pool2d(x, 3, 2, 1, 2, return_indices=True)", (2, 3, 7, 8)),
        ("F.max_pool2d(x, 7, 1)", (2, 3, 7, 8)),
        ("F.max_pool2d(x, 2)", (0, 3, 7, 8)),
        ("F.max_pool3d(x, 2, 1, return_indices=True)", (2, 3, 3, 4, 5)),
        ("F.max_pool3d(x, (1, 2, 3), ceil_mode=True)", (3, 3, 4, 5)),
        ("F.avg_pool1d(x, 3)", (2, 3, 7)),
        ("F.avg_pool1d(x, 3, 2, 1, True, False)", (3, 8)),
        ("F.avg_pool2d(x, 2)", (2, 3, 7, 8)),
        ("F.avg_pool2d(x, 3, 2, 1)", (2, 3, 7, 8)),
        ("F.avg_pool2d(x, (3, 2), (2, 3), (1, 0), True)", (2, 3, 7, 8)),
        ("F.avg_pool2d(x, (3, 2), (2, 3), (1, 1), True, False)", (3, 7, 8)),
        ("F.avg_pool2d(x, 3, divisor_override=2, padding=1)", (2, 3, 7, 8)),
        ("F.avg_pool2d(x, 2, 3, ceil_mode=True)", (2, 3, 7, 8)),
        ("F.avg_pool2d(x, 2)", (0, 3, 7, 8)),
        ("F.avg_pool3d(x, 2, 1, 1, False, False)", (2, 3, 3, 4, 5)),
        ("F.lp_pool1d(x, 2, 3)", (2, 3, 7)),
        ("F.lp_pool1d(x, 2, 3, 2, True)", (2, 3, 8)),
        ("F.lp_pool2d(x, 2.0, (2, 3), 1)", (2, 3, 4, 5)),
        ("F.lp_pool3d(x, 4, 2)", (2, 3, 4, 5, 4)),
        ("F.adaptive_avg_pool1d(x, 3)", (2, 3, 7)),
        ("F.adaptive_avg_pool1d(x, 9)", (3, 7)),
        ("F.adaptive_avg_pool2d(x, 1)", (2, 3, 7, 8)),
        ("F.adaptive_avg_pool2d(x, (None, 4))", (2, 3, 7, 8)),
        ("F.adaptive_avg_pool2d(x, (5, 3))", (2, 3, 7, 8)),
        ("F.adaptive_avg_pool3d(x, (2, 3, 4))", (2, 3, 3, 4, 5)),
        ("F.adaptive_max_pool1d(x, 3, True)", (2, 3, 7)),
        ("F.adaptive_max_pool2d(x, 1)", (2, 3, 7, 8)),
        ("F.adaptive_max_pool2d(x, (5, 3), True)", (2, 3, 7, 8)),
        ("F.adaptive_max_pool2d(x, (None, 2))", (3, 7, 8)),
        ("F.adaptive_max_pool3d(x, (2, 3, 4), return_indices=True)", (2, 3, 3, 4, 5)),
        ("F.max_pool1d_with_indices(x, 3, stride=2)", (2, 3, 7)),
        ("F.max_pool2d_with_indices(x, (3, 2), (2, 1), (1, 0), ceil_mode=True)", (2, 3, 7, 8)),
        ("F.max_pool3d_with_indices(x, 2)", (2, 3, 3, 4, 5)),
        ("F.adaptive_max_pool1d_with_indices(x, 3)", (2, 3, 7)),
        ("F.adaptive_max_pool2d_with_indices(x, (5, 3), False)", (2, 3, 7, 8)),
        ("F.adaptive_max_pool3d_with_indices(x, output_size=(2, 3, 4))", (2, 3, 3, 4, 5)),
    ],
)
def test_pool(agree, text, shape):
    # torch pools in three dimensions by mean or norm only in single and double precision
    agree(text, HALF if "_pool3d" not in text and "lp" not in text else ("float32",), x=normal(*shape), tol=2)


@pytest.mark.parametrize("x", [TIES, WILD], ids=["ties", "NaN and infinities"])
@pytest.mark.parametrize(
    "text",
    [
        "F.max_pool2d(x, 2, 1, return_indices=True)",
        "F.max_pool2d(x, 3, 2, 1, return_indices=True)",
        "F.max_pool2d(x, 3, 2, 1, ceil_mode=True, return_indices=True)",
        "F.adaptive_max_pool2d(x, (3, 5), return_indices=True)",
        "F.adaptive_max_pool2d(x, 1, return_indices=True)",
    ],
)
def test_ties_and_nan(agree, text, x):
    agree(text, (), x=x)


def test_integers(agree):
    agree("F.max_pool2d(x, 2, 1, 1, return_indices=True)", (), x=TIES.astype(np.int64))


@pytest.mark.parametrize(
    ("text", "shape", "samples"),
    [
        ("F.fractional_max_pool2d(x, 2, (3, 4), None, True, const)", (2, 3, 7, 8), (2, 3, 2)),
        ("F.fractional_max_pool2d(x, (2, 3), None, (0.5, 0.4), _random_samples=const)", (3, 7, 8), (1, 3, 2)),
        ("F.fractional_max_pool2d(x, 3, (1, 5), None, True, const)", (2, 3, 7, 8), (2, 3, 2)),
        ("F.fractional_max_pool2d_with_indices(x, 2, (3, 4), _random_samples=const)", (2, 3, 7, 8), (2, 3, 2)),
        ("F.fractional_max_pool3d_with_indices(x, 2, (3, 4, 2), None, False, const)", (2, 3, 5, 7, 4), (2, 3, 3)),
        ("F.fractional_max_pool3d(x, 2, (3, 4, 2), None, True, const)", (2, 3, 5, 7, 4), (2, 3, 3)),
        (
            "F.fractional_max_pool3d(x, (1, 2, 2), None, (0.5, 0.7, 0.6), True, const)",
            (3, 5, 7, 4),
            (1, 3, 3),
        ),
    ],
)
def test_fractional(agree, text, shape, samples):
    u = np.random.default_rng(3).random(samples)
    agree(text, x=normal(*shape), const=u)


def test_unpool(agree):
    x = normal(2, 3, 6, 8)
    agree("F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)", x=x)
    agree("F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(2, 3, 7, 8))", x=x)
    # Where windows overlap an index comes twice: the values agree, but torch counts the gradient twice.
    agree(
        "F.max_unpool2d(*F.max_pool2d(const, 3, 2, 1, return_indices=True), 3, 2, 1, output_size=(6, 8))",
        const=x,
    )
    agree("F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2)", x=normal(3, 6))
    agree("F.max_unpool3d(*F.max_pool3d(x, (1, 2, 2), return_indices=True), (1, 2, 2))", x=normal(2, 2, 3, 4, 4))

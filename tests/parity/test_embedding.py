"""Embeddings, bags and one-hot vectors against torch."""

from __future__ import annotations

import numpy as np
import pytest

HALF = ("float32", "float16", "bfloat16")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


INDEX = np.array([[1, 3, 1, 0], [4, 4, 2, 1]])


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("F.embedding(i, w)", INDEX),
        ("F.embedding(i, w)", INDEX[0]),
        ("F.embedding(i, w)", np.array(2)),
        ("F.embedding(i, w)", np.zeros((0, 2), np.int64)),
        ("F.embedding(i, w)", INDEX.astype(np.int32)),
        ("F.embedding(i, w, 1)", INDEX),
        ("F.embedding(i, w, padding_idx=-1)", INDEX),
        ("F.embedding(i, w, scale_grad_by_freq=True)", INDEX),
        ("F.embedding(i, w, 4, scale_grad_by_freq=True)", INDEX),
    ],
)
def test_embedding(agree, text, index):
    agree(text, HALF, i=index, w=normal(5, 3))


def test_max_norm(agree):
    agree("(F.embedding(i, const, max_norm=1.0), const)", i=INDEX, const=normal(6, 3))
    agree("(F.embedding(i, const, None, 0.5, 1.0), const)", i=INDEX[0], const=normal(6, 3))
    agree("F.embedding(i, w, max_norm=1.0)", i=INDEX, w=normal(6, 3))
    agree("(F.embedding_bag(i, const, max_norm=1.0), const)", i=INDEX, const=normal(6, 3))


FLAT, OFFSETS = np.array([1, 3, 1, 0, 4, 4, 2, 1]), np.array([0, 3, 3, 7])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("F.embedding_bag(i, w, mode=m)", INDEX),
        ("F.embedding_bag(i, w, o, mode=m)", FLAT),
        ("F.embedding_bag(i, w, o, mode=m, include_last_offset=True)", FLAT[:7]),
        ("F.embedding_bag(i, w, o, mode=m, padding_idx=1)", FLAT),
        ("F.embedding_bag(i, w, mode=m, padding_idx=-1)", INDEX),
    ],
)
def test_bag(agree, text, index, mode):
    agree(text, HALF, i=index, w=normal(5, 3), o=OFFSETS, m=mode, tol=2)


def test_bag_weights(agree):
    agree("F.embedding_bag(i, w, mode='sum', per_sample_weights=s)", i=INDEX, w=normal(5, 3), s=normal(2, 4))
    agree(
        "F.embedding_bag(i, w, o, mode='sum', per_sample_weights=s)",
        i=FLAT,
        w=normal(5, 3),
        s=normal(8),
        o=OFFSETS,
    )
    agree("F.embedding_bag(i, w, o, mode='sum', per_sample_weights=s, padding_idx=1)", i=FLAT, w=normal(5, 3),
          s=normal(8), o=OFFSETS)  # fmt: skip


def test_bag_frequency(agree):
    # Each index twice: torch's CPU kernel takes the count of a wrong index where counts differ.
    for mode in ("sum", "mean"):
        agree("F.embedding_bag(i, w, mode=m, scale_grad_by_freq=True)", i=np.array([[1, 3, 1], [0, 3, 0]]),
              w=normal(5, 3), m=mode)  # fmt: skip


def test_one_hot(agree):
    agree("F.one_hot(i)", (), i=INDEX)
    agree("F.one_hot(i, 7)", (), i=INDEX)
    agree("F.one_hot(i, 3)", (), i=np.array(2))
    agree("F.one_hot(i, 3)", (), i=np.zeros((0, 2), np.int64))

"""Attention against torch."""

from __future__ import annotations

import numpy as np
import pytest

HALF = ("float32", "float16", "bfloat16")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


ALLOWED = np.array([[True, False, True, True], [False, False, False, False], [True, True, False, False]])
ADDED = np.where(ALLOWED, 0.3, -np.inf)


@pytest.mark.parametrize(
    ("text", "q", "k", "v"),
    [
        ("F.scaled_dot_product_attention(q, k, v)", (3, 5), (4, 5), (4, 2)),
        ("F.scaled_dot_product_attention(q, k, v)", (2, 2, 3, 5), (2, 2, 4, 5), (2, 2, 4, 5)),
        ("F.scaled_dot_product_attention(q, k, v, scale=0.3)", (2, 3, 5), (2, 4, 5), (2, 4, 6)),
        ("F.scaled_dot_product_attention(q, k, v, is_causal=True)", (2, 3, 5), (2, 4, 5), (2, 4, 5)),
        ("F.scaled_dot_product_attention(q, k, v, is_causal=True)", (2, 1, 4, 5), (2, 1, 3, 5), (2, 1, 3, 5)),
        ("F.scaled_dot_product_attention(q, k, v, const_allowed)", (2, 3, 5), (2, 4, 5), (2, 4, 5)),
        ("F.scaled_dot_product_attention(q, k, v, const_added)", (2, 3, 5), (2, 4, 5), (2, 4, 5)),
        (
            "F.scaled_dot_product_attention(q, k, v, enable_gqa=True)",
            (2, 4, 3, 5),
            (2, 2, 4, 5),
            (2, 2, 4, 5),
        ),
        ("F.scaled_dot_product_attention(q, k, v)", (2, 1, 3, 5), (1, 3, 4, 5), (2, 3, 4, 5)),
    ],
)
def test_scaled_dot_product(agree, text, q, k, v):
    agree(text, HALF, q=normal(*q), k=normal(*k, seed=1), v=normal(*v, seed=2), const_allowed=ALLOWED,
          const_added=ADDED, tol=4)  # fmt: skip


def test_mask_gradient(agree):
    agree("F.scaled_dot_product_attention(q, k, v, m)", q=normal(2, 3, 5), k=normal(2, 4, 5),
          v=normal(2, 4, 5), m=normal(3, 4))  # fmt: skip


MASK = np.array([[False, True, False, False], [False, False, False, False], [True, False, False, True]])
HEADS = "F.multi_head_attention_forward(q, k, v, 6, 2, w, b, {bk}, {bv}, {zero}, 0.0, ow, ob, {rest})"


@pytest.mark.parametrize(
    ("options", "rest"),
    [
        ({}, ""),
        ({}, "need_weights=False"),
        ({}, "average_attn_weights=False"),
        ({"bk": "bk", "bv": "bv"}, ""),
        ({"zero": "True"}, ""),
        ({"bk": "bk", "bv": "bv", "zero": "True"}, "key_padding_mask=const_padding, attn_mask=const_mask"),
        ({}, "key_padding_mask=const_padding, need_weights=False"),
        ({}, "attn_mask=const_mask, training=False"),
        ({}, "attn_mask=const_added"),
        ({}, "attn_mask=const_per_head"),
        ({}, "attn_mask=const_causal, is_causal=True, need_weights=False"),
    ],
)
def test_heads(agree, options, rest):
    text = HEADS.format(**{"bk": None, "bv": None, "zero": False, **options}, rest=rest)
    # Gradients of keys' biases are zero up to rounding, hence a wider tolerance.
    agree(text, q=normal(3, 2, 6), k=normal(4, 2, 6, seed=1), v=normal(4, 2, 6, seed=2),
          w=normal(18, 6) * 0.4, b=normal(18), ow=normal(6, 6), ob=normal(6, seed=1),
          bk=normal(1, 1, 6), bv=normal(1, 1, 6, seed=1),
          const_padding=np.array([[False, True, False, False], [False, False, False, True]]),
          const_mask=MASK,
          const_added=normal(3, 4), const_per_head=normal(4, 3, 4),
          const_causal=np.triu(np.ones((3, 4), bool), 1), tol=30)  # fmt: skip


def test_separate_projections(agree):
    agree(
        "F.multi_head_attention_forward(q, k, v, 6, 3, None, b, None, None, False, 0.0, ow, ob, "
        "use_separate_proj_weight=True, q_proj_weight=wq, k_proj_weight=wk, v_proj_weight=wv)",
        q=normal(3, 2, 6), k=normal(4, 2, 5, seed=1), v=normal(4, 2, 3, seed=2), b=normal(18),
        ow=normal(6, 6), ob=normal(6, seed=1), wq=normal(6, 6), wk=normal(6, 5), wv=normal(6, 3), tol=30,
    )  # fmt: skip


def test_without_batch(agree):
    text = HEADS.format(bk=None, bv=None, zero=False, rest="key_padding_mask=const_padding")
    agree(text, q=normal(3, 6), k=normal(4, 6, seed=1), v=normal(4, 6, seed=2), w=normal(18, 6), b=normal(18),
          ow=normal(6, 6), ob=normal(6, seed=1), tol=30,
          const_padding=np.array([False, True, False, False]))  # fmt: skip

"""Attention: values from NumPy, masks, every mode, errors."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.errors import WengertError
from wengert.graph.handle import wrap
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


Q, K, V = normal(2, 4, 3, 5), normal(2, 4, 6, 5, seed=1), normal(2, 4, 6, 2, seed=2)
SCORES = Q @ K.swapaxes(-1, -2)
ALLOWED = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 1, 1]], bool)
ADDED = normal(4, 1, 6)
CASES = {
    "plain": ({}, softmax(SCORES / np.sqrt(5)) @ V),
    "scale": ({"scale": 0.2}, softmax(SCORES * 0.2) @ V),
    "causal": ({"is_causal": True}, softmax(np.where(np.tri(3, 6) > 0, SCORES / np.sqrt(5), -np.inf)) @ V),
    "allowed": ({"attn_mask": ALLOWED}, softmax(np.where(ALLOWED, SCORES / np.sqrt(5), -np.inf)) @ V),
    "added": ({"attn_mask": ADDED}, softmax(SCORES / np.sqrt(5) + ADDED) @ V),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    options, want = CASES[name]
    options = {k: wg.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    got = F.scaled_dot_product_attention(wg.tensor(Q), wg.tensor(K), wg.tensor(V), **options)
    np.testing.assert_allclose(got.numpy(), want, 1e-12, 1e-12)


def test_shared_heads():
    """With enable_gqa two heads of the query use one of key and value."""
    got = F.scaled_dot_product_attention(wg.tensor(Q), wg.tensor(K[:, :2]), wg.tensor(V[:, :2]), enable_gqa=True)
    want = F.scaled_dot_product_attention(wg.tensor(Q), wg.tensor(K[:, [0, 0, 1, 1]]), wg.tensor(V[:, [0, 0, 1, 1]]))
    assert got.tolist() == want.tolist()


def test_everything_masked():
    """Zeros with zero gradients, not NaN."""
    x = wg.tensor(normal(2, 3), requires_grad=True)
    out = F.scaled_dot_product_attention(x, x, x, wg.tensor([[True, False], [False, False]]))
    out.sum().backward()
    assert out[1].tolist() == [0.0] * 3
    assert np.isfinite(x.grad.numpy()).all()


def test_large_scores():
    x = wg.tensor([[1e4], [-1e4]])
    assert F.scaled_dot_product_attention(x, x, x).tolist() == [[1e4], [-1e4]]


def test_dropout():
    q = wg.tensor(normal(64, 8))
    values = wg.ones(64, 1, dtype=wg.float64)
    out = F.scaled_dot_product_attention(q, q, values, dropout_p=0.5)
    assert 0.5 < out.mean().item() < 1.5
    assert (out != 1).any()
    assert (F.scaled_dot_product_attention(q, q, values) - 1).abs().max().item() < 1e-12


def heads(q, k, v, w, b, ow, ob, **options):
    return F.multi_head_attention_forward(
        q, k, v, 6, 2, w, b, options.pop("bias_k", None), options.pop("bias_v", None),
        options.pop("add_zero_attn", False), 0.0, ow, ob, **options,
    )  # fmt: skip


POINT = [
    normal(3, 2, 6), normal(4, 2, 6, seed=1), normal(4, 2, 6, seed=2), normal(18, 6) * 0.4, normal(18),
    normal(6, 6), normal(6),
]  # fmt: skip


def heads_by_hand(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Head by head, batch by batch; ``mask`` (N, S) leaves out."""
    q, k, v, w, b, ow, ob = POINT
    q, k, v = (t @ w[6 * i : 6 * i + 6].T + b[6 * i : 6 * i + 6] for i, t in enumerate((q, k, v)))
    out, weights = np.zeros((3, 2, 6)), np.zeros((2, 2, 3, 4))
    for n, h in np.ndindex(2, 2):
        part = slice(3 * h, 3 * h + 3)
        scores = q[:, n, part] @ k[:, n, part].T / np.sqrt(3)
        weights[n, h] = softmax(np.where(mask[n], -np.inf, scores))
        out[:, n, part] = weights[n, h] @ v[:, n, part]
    return out @ ow.T + ob, weights


@pytest.mark.parametrize("need", [True, False])
def test_heads(need):
    mask = np.array([[False, True, False, False], [False, False, False, True]])
    point = [wg.tensor(a) for a in POINT]
    got, weights = heads(*point, key_padding_mask=wg.tensor(mask), need_weights=need)
    want, want_weights = heads_by_hand(mask)
    np.testing.assert_allclose(got.numpy(), want, 1e-10, 1e-10)
    if not need:
        assert weights is None
        return
    np.testing.assert_allclose(weights.numpy(), want_weights.mean(1), 1e-10, 1e-10)
    _, each = heads(*point, key_padding_mask=wg.tensor(mask), average_attn_weights=False)
    np.testing.assert_allclose(each.numpy(), want_weights, 1e-10, 1e-10)


def test_masks_mean_the_same():
    """A mask of bools, of numbers, for each head, or over the keys."""
    point = [wg.tensor(a) for a in POINT]
    left_out = np.zeros((3, 4), bool)
    left_out[:, 1] = True
    numbers = np.where(left_out, -np.inf, 0.0)
    results = [
        heads(*point, attn_mask=wg.tensor(left_out))[0],
        heads(*point, attn_mask=wg.tensor(numbers))[0],
        heads(*point, attn_mask=wg.tensor(np.stack([numbers] * 4)), need_weights=False)[0],
        heads(*point, key_padding_mask=wg.tensor(left_out[:2]))[0],
    ]
    for r in results[1:]:
        np.testing.assert_allclose(r.numpy(), results[0].numpy(), 1e-12, 1e-12)


def test_zero_attention_adds_a_key():
    point = [wg.tensor(a) for a in POINT]
    _, weights = heads(*point, add_zero_attn=True)
    assert weights.shape == (2, 3, 5)
    np.testing.assert_allclose(weights.sum(-1).numpy(), 1.0, 1e-12)


def test_static_keys():
    """Projected keys and values may be given, a batch of heads each."""
    q, k, v, w, b, ow, ob = [wg.tensor(a) for a in POINT]
    split = lambda t, i: F.linear(t, w[6 * i : 6 * i + 6], b[6 * i : 6 * i + 6]).reshape(4, 4, 3).permute(1, 0, 2)
    want, _ = heads(q, k, v, w, b, ow, ob)
    got, _ = heads(q, 0 * k, 0 * v, w, b, ow, ob, static_k=split(k, 1), static_v=split(v, 2))
    np.testing.assert_allclose(got.numpy(), want.numpy(), 1e-12, 1e-12)


MODES = {
    "plain": (lambda q, k, v: [F.scaled_dot_product_attention(q, k, v)], [Q[0, :2], K[0, :2], V[0, :2]]),
    "causal": (lambda q, k, v: [F.scaled_dot_product_attention(q, k, v, is_causal=True)], [Q[0], K[0], V[0]]),
    "mask": (
        lambda q, k, v, m: [F.scaled_dot_product_attention(q, k, v, m)],
        [Q[0, 0], K[0, 0], V[0, 0], ADDED[0]],
    ),
    "heads": (lambda *xs: list(heads(*xs, add_zero_attn=True)), POINT),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f, arrays = MODES[name]
    check_first_order(Point(f, arrays))
    check_second_order(Point(f, arrays))
    check_vmap(f, arrays)


def ones(*shape: int, dtype=np.float32) -> wg.Tensor:
    return wrap(np.ones(shape, dtype))


def sdpa(*args, **options):
    return F.scaled_dot_product_attention(*args, **options)


ERRORS = [
    (lambda: sdpa(ones(3), ones(3), ones(3)), "needs query"),
    (lambda: sdpa(ones(3, 2), ones(3, 4), ones(3, 4)), "needs query"),
    (lambda: sdpa(ones(3, 2), ones(3, 2), ones(4, 2)), "one length"),
    (lambda: sdpa(ones(3, 2), ones(3, 2), ones(3, 2, dtype=np.float64)), "one floating dtype"),
    (lambda: sdpa(ones(3, 2), ones(3, 2), ones(3, 2), ones(3, 3), is_causal=True), "not both"),
    (lambda: sdpa(ones(3, 2), ones(3, 2), ones(3, 2), ones(3, 3, dtype=np.int64)), "attn_mask must be bool"),
    (lambda: sdpa(ones(2, 3, 2), ones(3, 3, 2), ones(3, 3, 2)), "do not broadcast"),
    (lambda: sdpa(ones(3, 3, 2), ones(2, 3, 2), ones(2, 3, 2), enable_gqa=True), "heads that divide"),
    (lambda: heads(*[ones(*a.shape) for a in POINT], is_causal=True), "needs attn_mask"),
    (lambda: heads(*[ones(*a.shape) for a in POINT], attn_mask=ones(2, 4)), "attn_mask does not fit"),
    (lambda: heads(*[ones(*a.shape) for a in POINT], key_padding_mask=ones(2, 3)), "key_padding_mask does not fit"),
    (lambda: heads(ones(3, 2, 5), *[ones(*a.shape) for a in POINT[1:]]), "embedding dimension is 6"),
    (lambda: heads(ones(3, 6), *[ones(*a.shape) for a in POINT[1:]]), "need 3 dimensions"),
]


@pytest.mark.parametrize(("call", "text"), ERRORS)
def test_errors(call, text):
    with pytest.raises(WengertError, match=text):
        call()

"""Attention against loops written out in NumPy; masks; the parts of the transformer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn


def attend(layer: Any, q: Any, k: Any, v: Any, hidden: Any) -> tuple[Any, Any]:
    """Vaswani's equations for one sequence, one query at a time; ``hidden[l, s]`` hides s from l."""
    w, b = layer.in_proj_weight.detach().numpy(), layer.in_proj_bias.detach().numpy()
    size, heads = layer.embed_dim, layer.num_heads
    q, k, v = (x @ w[n * size : (n + 1) * size].T + b[n * size : (n + 1) * size] for n, x in enumerate((q, k, v)))
    weights = np.zeros((heads, len(q), len(k)))
    out = np.zeros((len(q), size))
    for head in range(heads):
        part = slice(head * size // heads, (head + 1) * size // heads)
        for row in range(len(q)):
            scores = np.array([q[row, part] @ k[s, part] / np.sqrt(size / heads) for s in range(len(k))])
            scores[hidden[row]] = -np.inf
            weights[head, row] = np.exp(scores) / np.exp(scores).sum()
            out[row, part] = weights[head, row] @ v[:, part]
    return out @ layer.out_proj.weight.detach().numpy().T + layer.out_proj.bias.detach().numpy(), weights


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_is_its_equations(batch_first: bool) -> None:
    layer = nn.MultiheadAttention(6, 3, batch_first=batch_first, dtype=wg.float64)
    for bias in (layer.in_proj_bias, layer.out_proj.bias):
        nn.init.normal_(bias)
    q, k, v = (wg.randn(2, n, 6, dtype=wg.float64) for n in (3, 4, 4))
    padding, mask = wg.tensor([[0, 0, 0, 1], [0, 0, 0, 0]]) > 0, wg.ones(3, 4).triu(2) > 0
    given = (q, k, v) if batch_first else tuple(x.transpose(0, 1) for x in (q, k, v))
    out, weights = layer(*given, key_padding_mask=padding, attn_mask=mask, average_attn_weights=False)
    fast, none = layer(*given, key_padding_mask=padding, attn_mask=mask, need_weights=False)
    assert none is None
    np.testing.assert_allclose(fast.detach().numpy(), out.detach().numpy(), rtol=1e-10)
    out = out if batch_first else out.transpose(0, 1)
    for n in range(2):
        hidden = mask.numpy() | padding.numpy()[n]
        wanted, shares = attend(layer, q[n].numpy(), k[n].numpy(), v[n].numpy(), hidden)
        np.testing.assert_allclose(out[n].detach().numpy(), wanted, rtol=1e-10)
        np.testing.assert_allclose(weights[n].detach().numpy(), shares, rtol=1e-10)


def test_attention_drops_while_training() -> None:
    layer = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = wg.randn(6, 4)
    assert not wg.equal(layer(x, x, x)[0], layer(x, x, x)[0])
    layer.eval()
    assert wg.equal(layer(x, x, x)[0], layer(x, x, x)[0])


def test_a_causal_encoder_does_not_see_the_future() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    x = wg.randn(1, 5, 4)
    changed = x.clone()
    changed[0, 3:] = 7.0
    before, after = layer(x, src_mask=mask, is_causal=True), layer(changed, src_mask=mask, is_causal=True)
    assert wg.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert not wg.allclose(before[:, 3:], after[:, 3:])


def test_layers_of_an_encoder_are_copies() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    encoder = nn.TransformerEncoder(layer, 2)
    assert len(list(encoder.parameters())) == 24
    assert len({id(p) for p in [*encoder.parameters(), *layer.parameters()]}) == 36


@pytest.mark.slow
def test_transformer_trains() -> None:
    """It learns the mean of its input, which it sees through the encoder only."""
    wg.manual_seed(0)
    model = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)
    optimizer = wg.optim.Adam(model.parameters(), lr=3e-3)
    first = last = 0.0
    for step in range(60):
        x = wg.randn(8, 4, 16)
        loss = nn.functional.mse_loss(model(x, wg.zeros(8, 1, 16)), x.mean(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < first / 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.MultiheadAttention(5, 2), "embed_dim must be divisible by num_heads: 5, 2"),
        (lambda: nn.TransformerEncoderLayer(4, 2, activation="sin"), "activation should be relu or gelu: sin"),
        (lambda: nn.TransformerEncoderLayer(4, 2)(wg.ones(3, 4), is_causal=True), "is_causal is a hint"),
        (lambda: nn.Transformer(4, 2, 1, 1, 8)(wg.ones(3, 2, 4), wg.ones(3, 1, 4)), "src and tgt need one batch"),
        (lambda: nn.Transformer(4, 2, 1, 1, 8)(wg.ones(3, 2, 4), wg.ones(3, 2, 5)), "and 4 features"),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=re.escape(words)):
        call()

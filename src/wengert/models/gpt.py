"""A decoder of text: GPT in the shape of nanoGPT."""

from __future__ import annotations

from typing import Any

from .. import api
from ..errors import ArgumentError, ShapeError, message
from ..nn import Dropout, Embedding, KVCache, LayerNorm, Linear, Module, ModuleList, generate
from ..nn import functional as F
from ..nn.init import normal_, zeros_
from ..tensor import Tensor


class _Attention(Module):
    """Causal self-attention of several heads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.p = heads, dropout
        self.c_attn = Linear(width, 3 * width)
        self.c_proj = Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, cache: KVCache | None) -> Tensor:
        n, length, width = x.shape
        parts = self.c_attn(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        if cache is not None:
            k, v = cache.extend(self, k, v)
        before = k.shape[-2] - length  # tokens that only the cache knows
        mask = api.arange(k.shape[-2]) <= api.arange(before, before + length).unsqueeze(1) if before else None
        p = self.p if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, is_causal=mask is None)
        return self.dropout(self.c_proj(y.transpose(1, 2).reshape(n, length, width)))


class _Block(Module):
    """Attention and a network of two layers, each with a norm before it and a shortcut beside it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(width)
        self.attn = _Attention(width, heads, dropout)
        self.ln_2 = LayerNorm(width)
        self.c_fc = Linear(width, 4 * width)
        self.c_proj = Linear(4 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, cache: KVCache | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.dropout(self.c_proj(F.gelu(self.c_fc(self.ln_2(x)))))


class GPT(Module):
    """A transformer that predicts the next token, in the shape of nanoGPT.

    Args:
        vocab_size: how many tokens there are.
        block_size: how many tokens it looks at.
        layers: blocks of attention and network.
        heads: of the attention; they divide ``width``.
        width: length of the vectors.
        dropout: while training.

    Shape:
        tokens (N, length) of integers, output logits (N, length, vocab_size): row t is about token t + 1.
        With a `KVCache` the tokens are those that follow what is in it.

    Source: Radford et al., "Language models are unsupervised multitask learners", 2019; Karpathy, nanoGPT.
    The output layer shares its weight with the embedding of the tokens.

    >>> import wengert as wg
    >>> from wengert.models import GPT
    >>> net = GPT(50, block_size=16, layers=2, heads=2, width=8)
    >>> net(wg.zeros(3, 10).long()).shape, net.generate(wg.zeros(1, 1).long(), 20).shape
    (wengert.Size([3, 10, 50]), wengert.Size([1, 21]))
    """

    def __init__(
        self, vocab_size: int, block_size: int = 256, layers: int = 6, heads: int = 6, width: int = 384,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if width % heads:
            raise ArgumentError(message("GPT", "the heads must divide the width", f"{heads} and {width}"))
        self.block_size = block_size
        self.wte = Embedding(vocab_size, width)
        self.wpe = Embedding(block_size, width)
        self.drop = Dropout(dropout)
        self.h = ModuleList([_Block(width, heads, dropout) for _ in range(layers)])
        self.ln_f = LayerNorm(width)
        for name, p in self.named_parameters():
            if name.endswith(".weight") and p.ndim == 2:
                # The sum of the shortcuts has 2 * layers terms: smaller ones keep its size.
                normal_(p, std=0.02 / (2 * layers) ** 0.5 if name.endswith("c_proj.weight") else 0.02)
            elif name.endswith(".bias"):
                zeros_(p)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits of the tokens that follow."""
        start = 0 if cache is None else cache.length
        stop = start + tokens.shape[-1]
        if tokens.ndim != 2 or stop > self.block_size:
            wanted = f"tokens must be (batch, length) with at most {self.block_size} in all"
            raise ShapeError(message("GPT", wanted, f"shape {tuple(tokens.shape)}, {start} before"))
        x = self.drop(self.wte(tokens) + self.wpe(api.arange(start, stop)))
        for block in self.h:
            x = block(x, cache)
        return F.linear(self.ln_f(x), self.wte.weight)

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean cross-entropy of each token given those before it; tokens (N, length), at most block_size + 1."""
        return F.cross_entropy(self(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    def generate(self, prompt: Tensor, max_new_tokens: int, **options: Any) -> Tensor:
        """Continue the prompt (N, length); see `wengert.nn.generate`."""
        return generate(self, prompt, max_new_tokens, **options)


__all__ = ["GPT"]

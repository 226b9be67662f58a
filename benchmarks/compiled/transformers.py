"""GPT as nanoGPT writes it, as a function of the library; byte and character sized."""

from __future__ import annotations

from typing import Any


def initialise(lib: Any, net: Any, layers: int) -> None:
    """GPT-2's initial weights: those before a residual sum are smaller."""
    init = lib.nn.init
    for name, p in net.named_parameters():
        if p.ndim == 2:
            init.normal_(p, std=0.02 / (2 * layers) ** 0.5 if name.endswith("c_proj.weight") else 0.02)
        elif name.endswith("bias"):
            init.zeros_(p)


def attention(lib: Any, width: int, heads: int, bias: bool) -> Any:
    nn, F = lib.nn, lib.nn.functional

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c_attn = nn.Linear(width, 3 * width, bias=bias)
            self.c_proj = nn.Linear(width, width, bias=bias)

        def forward(self, x: Any) -> Any:
            n, t, c = x.shape
            q, k, v = self.c_attn(x).split(width, dim=2)
            q = q.view(n, t, heads, c // heads).transpose(1, 2)
            k = k.view(n, t, heads, c // heads).transpose(1, 2)
            v = v.view(n, t, heads, c // heads).transpose(1, 2)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.c_proj(y.transpose(1, 2).contiguous().view(n, t, c))

    return Attention()


def gpt(lib: Any, vocabulary: int, context: int, layers: int, heads: int, width: int, bias: bool) -> Any:
    """Causal transformer; the output layer shares its weight with the embedding. No dropout."""
    nn, F = lib.nn, lib.nn.functional

    class MLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c_fc = nn.Linear(width, 4 * width, bias=bias)
            self.c_proj = nn.Linear(4 * width, width, bias=bias)

        def forward(self, x: Any) -> Any:
            return self.c_proj(F.gelu(self.c_fc(x)))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1 = nn.LayerNorm(width, bias=bias)
            self.attn = attention(lib, width, heads, bias)
            self.ln_2 = nn.LayerNorm(width, bias=bias)
            self.mlp = MLP()

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.ln_1(x))
            return x + self.mlp(self.ln_2(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte = nn.Embedding(vocabulary, width)
            self.wpe = nn.Embedding(context, width)
            self.h = nn.ModuleList([Block() for _ in range(layers)])
            self.ln_f = nn.LayerNorm(width, bias=bias)
            initialise(lib, self, layers)

        def forward(self, tokens: Any) -> Any:
            x = self.wte(tokens) + self.wpe(lib.arange(tokens.shape[1]))
            for block in self.h:
                x = block(x)
            return F.linear(self.ln_f(x), self.wte.weight).flatten(0, 1)

    return GPT()


def nanogpt(lib: Any) -> Any:
    """nanoGPT's configuration for a CPU: Shakespeare by characters."""
    return gpt(lib, vocabulary=65, context=64, layers=4, heads=4, width=128, bias=False)


def gpt2_stack(lib: Any) -> Any:
    """Two blocks of the size of GPT-2 small's, on bytes."""
    return gpt(lib, vocabulary=256, context=256, layers=2, heads=12, width=768, bias=True)

"""The vision transformer: an image as a sequence of patches."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from .. import api
from ..errors import ArgumentError, ShapeError, message
from ..nn import GELU, Conv2d, Dropout, LayerNorm, Linear, Module, MultiheadAttention, Parameter, Sequential
from ..nn.init import normal_, trunc_normal_, xavier_uniform_, zeros_
from ..tensor import Tensor


class _Block(Module):
    """Attention and a network of two layers, each with a norm before it and a shortcut beside it."""

    def __init__(self, heads: int, width: int, inner: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(width, eps=1e-6)
        self.self_attention = MultiheadAttention(width, heads, attention_dropout, batch_first=True)
        self.dropout = Dropout(dropout)
        self.ln_2 = LayerNorm(width, eps=1e-6)
        self.mlp = Sequential(Linear(width, inner), GELU(), Dropout(dropout), Linear(inner, width), Dropout(dropout))
        for layer in self.mlp:
            if isinstance(layer, Linear):
                assert layer.bias is not None
                xavier_uniform_(layer.weight)
                normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.dropout(self.self_attention(y, y, y, need_weights=False)[0])
        return x + self.mlp(self.ln_2(x))


class _Encoder(Module):
    """Positions, blocks, and a norm."""

    def __init__(self, length: int, layers: int, width: int, dropout: float, blocks: Any) -> None:
        super().__init__()
        self.pos_embedding = Parameter(normal_(api.empty(1, length, width), std=0.02))
        self.dropout = Dropout(dropout)
        self.layers = Sequential(OrderedDict((f"encoder_layer_{k}", blocks()) for k in range(layers)))
        self.ln = LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class VisionTransformer(Module):
    """ViT: patches of an image and a class token go through a transformer; the token's vector is classified.

    Args:
        image_size: height and width of the image.
        patch_size: height and width of a patch; divides ``image_size``.
        num_layers: blocks.
        num_heads: of the attention; they divide ``hidden_dim``.
        hidden_dim: length of the vectors.
        mlp_dim: length inside the networks of two layers.
        dropout, attention_dropout: while training.
        num_classes: length of the output.
        in_channels: of the image.

    Shape:
        input (N, in_channels, image_size, image_size), output (N, num_classes).

    Source: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021. Names and shapes of the `state_dict` are
    torchvision's. The classifier starts at zero, as there.

    >>> import wengert as wg
    >>> from wengert.models import VisionTransformer
    >>> net = VisionTransformer(8, 2, 1, 2, 16, 32, num_classes=10, in_channels=1)
    >>> net(wg.zeros(3, 1, 8, 8)).shape
    wengert.Size([3, 10])
    """

    def __init__(
        self, image_size: int, patch_size: int, num_layers: int, num_heads: int, hidden_dim: int, mlp_dim: int,
        dropout: float = 0.0, attention_dropout: float = 0.0, num_classes: int = 1000, in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        if image_size % patch_size:
            seen = f"{patch_size} and {image_size}"
            raise ArgumentError(message("VisionTransformer", "patch_size must divide image_size", seen))
        self.image_size, self.hidden_dim = image_size, hidden_dim
        self.class_token = Parameter(api.zeros(1, 1, hidden_dim))
        self.conv_proj = Conv2d(in_channels, hidden_dim, patch_size, patch_size)
        trunc_normal_(self.conv_proj.weight, std=(in_channels * patch_size**2) ** -0.5)
        assert self.conv_proj.bias is not None
        zeros_(self.conv_proj.bias)
        length = (image_size // patch_size) ** 2 + 1
        self.encoder = _Encoder(
            length, num_layers, hidden_dim, dropout,
            lambda: _Block(num_heads, hidden_dim, mlp_dim, dropout, attention_dropout),
        )  # fmt: skip
        self.heads = Sequential(OrderedDict(head=Linear(hidden_dim, num_classes)))
        zeros_(self.heads.head.weight)
        zeros_(self.heads.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        size = self.image_size
        if x.ndim != 4 or tuple(x.shape[2:]) != (size, size):
            wanted = f"the images must be (batch, channels, {size}, {size})"
            raise ShapeError(message("VisionTransformer", wanted, f"shape {tuple(x.shape)}"))
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(len(x), 1, self.hidden_dim)
        return self.heads(self.encoder(api.cat([token, patches], 1))[:, 0])


def vit_b_16(**options: Any) -> VisionTransformer:
    """ViT-B/16 for images of 224 by 224: 86,567,656 parameters for 1000 classes."""
    return VisionTransformer(**{"image_size": 224, **options}, patch_size=16, num_layers=12, num_heads=12,
                             hidden_dim=768, mlp_dim=3072)  # fmt: skip


__all__ = ["VisionTransformer", "vit_b_16"]

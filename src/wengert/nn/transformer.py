"""The transformer and its parts. Source: Vaswani et al. 2017."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import api
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from . import functional as F
from . import init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm


def _activation(name: str, activation: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise ArgumentError(message(name, "activation should be relu or gelu", activation))
    return getattr(F, activation)


def _copies(module: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(count)])


class _Layer(Module):
    """What encoder and decoder layers share; `TransformerEncoderLayer` describes the arguments."""

    norms = 2

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}

        def attention() -> MultiheadAttention:
            return MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **place)

        self.self_attn = attention()
        if self.norms == 3:
            self.multihead_attn = attention()
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        for k in range(1, self.norms + 1):
            setattr(self, f"norm{k}", LayerNorm(d_model, layer_norm_eps, bias=bias, **place))
        for k in range(1, self.norms + 1):
            setattr(self, f"dropout{k}", Dropout(dropout))
        self.activation = _activation(type(self).__name__, activation)

    def _attend(self, which: str, x: Any, memory: Any, mask: Any, padding: Any) -> Any:
        attention = getattr(self, which)
        return attention(x, memory, memory, key_padding_mask=padding, attn_mask=mask, need_weights=False)[0]

    def _feed(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _add(self, k: int, x: Any, part: Callable[[Any], Any]) -> Any:
        """``x + part(x)``, normed before or after, with the k-th norm and dropout."""
        norm, drop = getattr(self, f"norm{k}"), getattr(self, f"dropout{k}")
        return x + drop(part(norm(x))) if self.norm_first else norm(x + drop(part(x)))


class TransformerEncoderLayer(_Layer):
    """Self-attention and a feed-forward net, each added to its input and normed.

    Args:
        d_model: features of input and output.
        nhead: heads of the attention.
        dim_feedforward: features inside the feed-forward net.
        dropout: probability of dropping a value while training.
        activation: "relu", "gelu" or a function.
        layer_norm_eps: the eps of the norms.
        batch_first: whether the inputs are (N, S, E) instead of (S, N, E).
        norm_first: whether norms come before attention and net instead of after them.
        bias: whether there are biases.

    >>> import wengert as wg
    >>> layer = wg.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> layer(wg.randn(3, 5, 8)).shape
    wengert.Size([3, 5, 8])
    """

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        mask = _masked("TransformerEncoderLayer", src_mask, is_causal)
        x = self._add(1, src, lambda x: self._attend("self_attn", x, x, mask, src_key_padding_mask))
        return self._add(2, x, self._feed)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's output and a feed-forward net.

    The arguments are those of `TransformerEncoderLayer`.
    """

    norms = 3

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        own = _masked("TransformerDecoderLayer", tgt_mask, tgt_is_causal)
        other = _masked("TransformerDecoderLayer", memory_mask, memory_is_causal)
        x = self._add(1, tgt, lambda x: self._attend("self_attn", x, x, own, tgt_key_padding_mask))
        x = self._add(2, x, lambda x: self._attend("multihead_attn", x, memory, other, memory_key_padding_mask))
        return self._add(3, x, self._feed)


def _masked(name: str, mask: Any, causal: bool) -> Any:
    """``is_causal`` is a hint about the mask, which must be there."""
    if causal and mask is None:
        cure = "Pass Transformer.generate_square_subsequent_mask(length) as well"
        raise ArgumentError(message(name, "is_causal is a hint that needs a mask", "None", cure))
    return mask


class TransformerEncoder(Module):
    """Copies of an encoder layer in a row.

    Args:
        encoder_layer: the layer, of which copies are made.
        num_layers: how many.
        norm: what to apply at the end.
        enable_nested_tensor: no effect.
        mask_check: no effect.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """Copies of a decoder layer in a row; the arguments are those of `TransformerEncoder`."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x = tgt
        for layer in self.layers:
            x = layer(
                x, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """Encoder and decoder.

    Args:
        num_encoder_layers: how many layers the encoder has.
        num_decoder_layers: how many the decoder has.
        custom_encoder: a module in the place of the encoder.
        custom_decoder: a module in the place of the decoder. The others are those of
            `TransformerEncoderLayer`.

    Shape:
        src (S, N, E), tgt (T, N, E), or all without N, or with N first if ``batch_first``; output as tgt.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = F.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        settings: tuple[Any, ...] = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias,
        )  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, **place)

        if custom_encoder is None:
            layer = TransformerEncoderLayer(*settings, **place)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, norm())
        if custom_decoder is None:
            layer = TransformerDecoderLayer(*settings, **place)
            custom_decoder = TransformerDecoder(layer, num_decoder_layers, norm())
        self.encoder, self.decoder = custom_encoder, custom_decoder
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The causal mask: minus infinity above the diagonal, zero elsewhere.

        >>> import wengert as wg
        >>> wg.nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return api.as_tensor(np.triu(np.full((sz, sz), -np.inf), 1)).to(dtype or api.get_default_dtype())

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        batch = 0 if self.batch_first else 1
        same_batch = src.ndim == tgt.ndim and (src.ndim != 3 or src.shape[batch] == tgt.shape[batch])
        if not same_batch or {src.shape[-1], tgt.shape[-1]} != {self.d_model}:
            seen = f"{tuple(src.shape)} and {tuple(tgt.shape)}"
            raise ShapeError(message("Transformer", f"src and tgt need one batch and {self.d_model} features", seen))
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

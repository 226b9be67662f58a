"""Attention with several heads."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Sequence
from typing import Any

from .. import api
from ..errors import ArgumentError, DTypeError, message
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import Linear, check_size
from .module import Module
from .parameter import Parameter


class SDPBackend(enum.IntEnum):
    """What PyTorch computes `nn.functional.scaled_dot_product_attention` with."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(backends: SDPBackend | Sequence[SDPBackend], set_priority: bool = False) -> Iterator[None]:
    """The context in which PyTorch's programs choose a kernel. There is one here, which computes what all of them do.

    Raises:
        DTypeError: something else than backends is given.

    >>> import wengert as wg
    >>> from wengert.nn.attention import SDPBackend, sdpa_kernel
    >>> with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
    ...     wg.nn.functional.scaled_dot_product_attention(*wg.ones(3, 1, 2, 4)).shape
    wengert.Size([1, 2, 4])
    """
    for backend in [backends] if isinstance(backends, SDPBackend) else backends:
        if not isinstance(backend, SDPBackend):
            raise DTypeError(message("sdpa_kernel", "takes SDPBackend members", type(backend).__name__))
    yield


class MultiheadAttention(Module):
    """Attention with several heads between projected queries, keys and values. Source: Vaswani et al. 2017.

    Args:
        embed_dim: features of the query and of the output.
        num_heads: into how many heads they are split.
        dropout: probability of dropping an attention weight while training.
        bias: whether the projections have biases.
        add_bias_kv: whether a trained key and value are added to the sequence.
        add_zero_attn: whether a zero key and value are added.
        kdim: features of the key, by default embed_dim.
        vdim: features of the value, by default embed_dim.
        batch_first: whether the inputs are (N, L, E) instead of (L, N, E).

    Shape:
        query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim), or all without N. Masks hold True,
        or minus infinity, where nothing may be seen: ``attn_mask`` (L, S) or (N · heads, L, S),
        ``key_padding_mask`` (N, S). Output (L, N, embed_dim), and the weights (N, L, S) or None.

    >>> import wengert as wg
    >>> attention = wg.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = wg.randn(3, 5, 8)
    >>> y, weights = attention(x, x, x)
    >>> y.shape, weights.shape
    (wengert.Size([3, 5, 8]), wengert.Size([3, 5, 5]))
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = "MultiheadAttention"
        self.embed_dim = check_size(name, "embed_dim", embed_dim, 1)
        self.num_heads = check_size(name, "num_heads", num_heads, 1)
        if self.embed_dim % self.num_heads:
            raise ArgumentError(message(name, "embed_dim must be divisible by num_heads", f"{embed_dim}, {num_heads}"))
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self.head_dim = self.embed_dim // self.num_heads
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim

        def new(wanted: bool, *shape: int) -> Parameter | None:
            return Parameter(api.empty(*shape, device=device, dtype=dtype)) if wanted else None

        separate = not self._qkv_same_embed_dim
        self.register_parameter("in_proj_weight", new(not separate, 3 * embed_dim, embed_dim))
        for which, size in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            self.register_parameter(f"{which}_proj_weight", new(separate, embed_dim, size))
        self.register_parameter("in_proj_bias", new(bias, 3 * embed_dim))
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        self.register_parameter("bias_k", new(add_bias_kv, 1, 1, embed_dim))
        self.register_parameter("bias_v", new(add_bias_kv, 1, 1, embed_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections anew (Xavier); biases become zero."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for part in (self.bias_k, self.bias_v):
            if part is not None:
                init.xavier_normal_(part)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        turned = self.batch_first and query.ndim == 3
        if turned:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias,
            self.bias_k, self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias,
            training=self.training, key_padding_mask=key_padding_mask, need_weights=need_weights,
            attn_mask=attn_mask, use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight, k_proj_weight=self.k_proj_weight, v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
        return (out.transpose(0, 1) if turned else out), weights

"""Attention: scaled dot products, and several heads of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from ..ops.piecewise import Block
from .blas import linear
from .conv import permute, reshape
from .dims import spread
from .dropout import check_probability, dropout, thinned
from .formula import formula
from .front import broadcast_shape, cast, expand_to
from .random import next_key
from .windows import constant

_MATMUL, _WHERE, _FILL = OPS["matmul"], OPS["where"], OPS["fill"]
_UNIFORM = dt.NP_FLOAT32  # what dropout draws


def _swap(x: Any) -> Any:
    n = len(x.aval.shape)
    return permute(x, (*range(n - 2), n - 1, n - 2))


def _soft_maximum(scores: Any, safe: bool) -> Any:
    """Softmax over the last axis; ``safe``: zeros, not NaN, where everything is masked."""
    axes = (len(scores.aval.shape) - 1,)
    if not scores.aval.shape[-1]:
        return scores
    top = apply(OPS["stop_gradient"], (apply(OPS["amax"], (scores,), {"axes": axes}),))
    if safe:
        top = apply(_WHERE, (top == -math.inf, apply(_FILL, (top,), {"value": 0}), top))
    e = apply(OPS["exp"], (scores - spread(top, scores, axes),))
    total = apply(OPS["sum"], (e,), {"axes": axes})
    if safe:
        total = apply(_WHERE, (total == 0, apply(_FILL, (total,), {"value": 1}), total))
    return e * spread(1 / total, e, axes)  # one division a row


def _masked(scores: Any, mask: Any) -> Any:
    """Scores plus a mask of numbers, or minus infinity where a mask of bools is False."""
    if mask is None:
        return scores
    if mask.aval.dtype == dt.NP_BOOL:
        mask = expand_to(mask, scores.aval.shape)
        return apply(_WHERE, (mask, scores, apply(_FILL, (scores,), {"value": -math.inf})))
    return scores + cast(mask, dt.of(scores.aval.dtype))


def _weights(q: Any, k: Any, mask: Any, causal: bool, scale: float, first: int = 0) -> Any:
    """Row i sees columns up to ``first + i`` where ``causal``."""
    scores = apply(_MATMUL, (q * scale, _swap(k)))
    if causal:
        rows, columns = scores.aval.shape[-2:]
        scores = _masked(scores, wrap(np.tril(np.ones((rows, columns), bool), first)))
    return _soft_maximum(_masked(scores, mask), safe=mask is not None)


_CAUSAL_ROWS, _CAUSAL_BLOCKS = 32, 8  # of a block, at least; blocks, at most
_SCORES = 1 << 18  # bytes of scores in a block: a fraction of a second-level cache


def _by_rows(
    query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, drawn: Any = None, starts: Any = None,
    p: float = 0.0,
) -> list[Block]:  # fmt: skip
    """Attention by blocks of rows; where it is causal, a block does not look at columns beyond its last row."""
    rows, columns = query.aval.shape[-2], key.aval.shape[-2]
    count = -(-rows * columns * query.aval.dtype.itemsize // _SCORES)
    if causal:
        count = max(min(rows // _CAUSAL_ROWS, _CAUSAL_BLOCKS), 1)
    size = max(-(-rows // count), 1)

    def block(start: int) -> Block:
        stop = min(start + size, rows)
        seen = min(stop, columns) if causal else columns

        def run(*xs: Any) -> Any:
            q, k, v = _part(xs[0], start, stop), _part(xs[1], 0, seen), _part(xs[2], 0, seen)
            m = None if mask is None else _part(xs[3], start, stop)
            uniform = None
            if drawn is not None:  # the numbers that these rows have when all are drawn at once
                attrs = {"shape": (stop - start, seen), "first": start * columns, "stride": columns, "dtype": _UNIFORM}
                uniform = apply(OPS["random_rows"], (xs[-2], xs[-1]), attrs)
            return _attend(q, k, v, m, causal, scale, uniform, p, start)

        return Block(start, stop, run)

    return [block(i) for i in range(0, rows, size)]


def _part(x: Any, start: int, stop: int) -> Any:
    """Some rows of a matrix."""
    rows, columns = x.aval.shape
    if (start, stop) == (0, rows):
        return x
    return apply(OPS["slice"], (x,), {"spec": ((start, stop, 1), (0, columns, 1))})


@formula(pieces=_by_rows)
def attention(
    query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, drawn: Any = None, starts: Any = None,
    p: float = 0.0,
) -> Any:  # fmt: skip
    """softmax(scale · query · keyᵀ + mask) · value.

    ``drawn``: the key (1, 2) of a draw of the weights' shape, by which they are dropped with probability ``p``;
    ``starts`` (..., 1, 1): the number of the first element that each matrix of weights has in it.
    """
    uniform = None
    if drawn is not None:
        shape = (*starts.aval.shape[:-2], query.aval.shape[-2], key.aval.shape[-2])
        uniform = apply(OPS["random_uniform"], (reshape(drawn, (2,)),), {"shape": shape, "dtype": _UNIFORM})
    return _attend(query, key, value, mask, causal, scale, uniform, p)


def _attend(
    query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, uniform: Any, p: float, first: int = 0
) -> Any:
    source = dt.of(query.aval.dtype)
    if query.aval.dtype in dt.HALF_NP:
        query, key, value = (cast(t, dt.float32) for t in (query, key, value))
    weights = _weights(query, key, mask, causal, scale, first)
    if uniform is not None:
        weights = thinned(weights, uniform, p)
    return cast(apply(_MATMUL, (weights, value)), source)


def _starts(query: Any, key: Any) -> Any:
    """The number of the first weight of each matrix, of all weights in a row."""
    lead, step = query.aval.shape[:-2], query.aval.shape[-2] * key.aval.shape[-2]
    return wrap((np.arange(math.prod(lead), dtype=np.int64) * step).reshape(*lead, 1, 1))


def _repeat_heads(x: Any, heads: int) -> Any:
    """Give each group of query heads its key or value head."""
    *lead, own, rows, features = x.aval.shape
    k = len(lead) + 1
    shape = (*lead, own, heads // own, rows, features)
    return reshape(apply(OPS["expand"], (x,), {"shape": shape, "axes": (k,)}), (*lead, heads, rows, features))


def _share_heads(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    """Keys and values repeated to the heads of the query (enable_gqa)."""
    avals = (query.aval, key.aval, value.aval)
    heads = [a.shape[-3] if len(a.shape) > 2 else 0 for a in avals]
    if 0 in heads or heads[0] % heads[1] or heads[0] % heads[2]:
        raise ShapeError(
            message("scaled_dot_product_attention", "enable_gqa needs heads that divide those of the query",
                    describe(avals))
        )  # fmt: skip
    return _repeat_heads(key, heads[0]), _repeat_heads(value, heads[0])


def _check_attention(query: Any, key: Any, value: Any, mask: Any, is_causal: bool) -> None:
    name = "scaled_dot_product_attention"
    for t in (query, key, value):
        if not isinstance(t, Handle):
            raise DTypeError(message(name, "needs tensors", type(t).__name__))
    avals = (query.aval, key.aval, value.aval)
    if len({a.dtype for a in avals}) > 1 or avals[0].dtype not in dt.INEXACT_NP:
        raise DTypeError(message(name, "query, key and value must have one floating dtype", describe(avals)))
    if min(a.ndim for a in avals) < 2 or avals[0].shape[-1] != avals[1].shape[-1]:
        raise ShapeError(message(name, "needs query (..., L, E), key (..., S, E), value (..., S, V)", describe(avals)))
    if avals[1].shape[-2] != avals[2].shape[-2]:
        raise ShapeError(message(name, "key and value must have one length", describe(avals)))
    if mask is None:
        return
    if is_causal:
        raise ArgumentError(message(name, "give attn_mask or is_causal, not both", str(mask.aval)))
    if mask.aval.dtype != dt.NP_BOOL and mask.aval.dtype not in (query.aval.dtype, dt.NP_FLOAT32):
        raise DTypeError(
            message(name, "attn_mask must be bool or have the query's dtype", describe((*avals, mask.aval)))
        )


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(scale · query · keyᵀ + mask) · value, over the last two dimensions.

    ``query`` (..., L, E), ``key`` (..., S, E), ``value`` (..., S, V) give (..., L, V); leading dimensions
    broadcast. ``attn_mask`` broadcasts to (..., L, S): bool, True where attention is allowed, or numbers to
    add. ``is_causal`` lets row i see columns up to i. ``scale`` defaults to 1/√E. ``enable_gqa`` repeats
    key and value heads (dimension -3) to those of the query. ``dropout_p`` always drops, as in PyTorch:
    pass 0 in evaluation. A row in which everything is masked gives zeros.
    Source: Vaswani et al., arXiv:1706.03762.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> x = wg.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> F.scaled_dot_product_attention(x, x, x, is_causal=True)[0].tolist()
    [1.0, 0.0]
    """
    _check_attention(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        key, value = _share_heads(query, key, value)
    lead = broadcast_shape(
        "scaled_dot_product_attention", [t.aval.with_shape(t.aval.shape[:-2]) for t in (query, key, value)]
    )
    query, key, value = (expand_to(t, (*lead, *t.aval.shape[-2:])) for t in (query, key, value))
    if scale is None:
        scale = 1.0 / math.sqrt(query.aval.shape[-1]) if query.aval.shape[-1] else 1.0
    if dropout_p:
        check_probability("scaled_dot_product_attention", dropout_p)
        drawn, starts = reshape(next_key(), (1, 2)), _starts(query, key)
        return attention(
            query, key, value, attn_mask, bool(is_causal), float(scale), drawn, starts, float(dropout_p)
        )  # fmt: skip
    return attention(query, key, value, attn_mask, bool(is_causal), float(scale))


# -- several heads ------------------------------------------------------------------------------------


def _added_mask(name: str, mask: Any, like: Any) -> Any:
    """A mask as numbers to add; True in a mask of bools means: leave out."""
    if mask is None:
        return None
    if mask.aval.dtype == dt.NP_BOOL:
        zeros = constant(np.zeros(mask.aval.shape), like)
        return apply(_WHERE, (mask, apply(_FILL, (zeros,), {"value": -math.inf}), zeros))
    if mask.aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message("multi_head_attention_forward", f"{name} must be bool or floating", str(mask.aval)))
    return cast(mask, dt.of(like.aval.dtype))


def _join(x: Any, y: Any, axis: int) -> Any:
    return apply(OPS["cat"], (x, y), {"axis": axis})


def _more_column(mask: Any) -> Any:
    """A mask with one more column, in which nothing is left out."""
    if mask is None:
        return None
    pads = ((0, 0),) * (len(mask.aval.shape) - 1) + ((0, 1),)
    return apply(OPS["pad"], (mask,), {"pads": pads})


def _project(query: Any, key: Any, value: Any, weights: Any, bias: Any, dim: int) -> tuple[Any, Any, Any]:
    """The three input projections; ``weights`` is one matrix (3E, E), or three."""
    if not isinstance(weights, tuple):
        weights = [weights[i * dim : (i + 1) * dim] for i in range(3)]
    biases = [None] * 3 if bias is None else [bias[i * dim : (i + 1) * dim] for i in range(3)]
    out = [linear(t, w, b) for t, w, b in zip((query, key, value), weights, biases)]
    return out[0], out[1], out[2]


def _split_heads(x: Any, heads: int) -> Any:
    """(L, N, E) to (N, heads, L, E / heads)."""
    rows, n, features = x.aval.shape
    return permute(reshape(x, (rows, n, heads, features // heads)), (1, 2, 0, 3))


def _joint_mask(attn_mask: Any, padding: Any, n: int, heads: int, rows: int, columns: int) -> Any:
    """Both masks as one that broadcasts to (N, heads, L, S)."""
    name = "multi_head_attention_forward"
    if attn_mask is not None:
        shape = attn_mask.aval.shape
        if shape == (rows, columns):
            attn_mask = reshape(attn_mask, (1, 1, rows, columns))
        elif shape == (n * heads, rows, columns):
            attn_mask = reshape(attn_mask, (n, heads, rows, columns))
        else:
            raise ShapeError(
                message(name, "attn_mask does not fit", f"{attn_mask.aval}, expected {[rows, columns]} or "
                        f"{[n * heads, rows, columns]}")
            )  # fmt: skip
    if padding is not None:
        if padding.aval.shape != (n, columns):
            raise ShapeError(message(name, "key_padding_mask does not fit", f"{padding.aval}, expected {[n, columns]}"))
        padding = reshape(padding, (n, 1, 1, columns))
    if attn_mask is None or padding is None:
        return padding if attn_mask is None else attn_mask
    return attn_mask + padding


def _check_heads(query: Any, key: Any, value: Any, embed: int, heads: int) -> None:
    name = "multi_head_attention_forward"
    avals = (query.aval, key.aval, value.aval)
    if query.aval.ndim not in (2, 3) or any(a.ndim != query.aval.ndim for a in avals):
        raise ShapeError(message(name, "query, key and value need 3 dimensions (L, N, E), or all 2", describe(avals)))
    if query.aval.shape[-1] != embed:
        raise ShapeError(message(name, f"the embedding dimension is {embed}", describe(avals)))
    if embed % heads:
        raise ArgumentError(message(name, "embed_dim must be a multiple of num_heads", f"{embed} and {heads}"))
    if key.aval.shape[:-1] != value.aval.shape[:-1]:
        raise ShapeError(message(name, "key and value must have one length and batch", describe(avals)))


def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
    in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any,
    out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, use_separate_proj_weight: bool = False, q_proj_weight: Any = None,
    k_proj_weight: Any = None, v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Attention with ``num_heads`` heads between projected inputs, as in PyTorch's MultiheadAttention.

    ``query`` (L, N, E), ``key`` and ``value`` (S, N, E'), or all without N. Masks: True (or -inf) leaves
    out; ``attn_mask`` (L, S) or (N·heads, L, S), ``key_padding_mask`` (N, S). Returns the output (L, N, E)
    and, with ``need_weights``, the weights (N, L, S), averaged over the heads unless
    ``average_attn_weights`` is False.
    Source: Vaswani et al., arXiv:1706.03762.

    Raises:
        ShapeError: an input or mask does not fit.
        ArgumentError: E is no multiple of ``num_heads``, or ``is_causal`` without ``attn_mask``.
    """
    _check_heads(query, key, value, embed_dim_to_check, num_heads)
    if is_causal and attn_mask is None:
        raise ArgumentError(message("multi_head_attention_forward", "is_causal is a hint that needs attn_mask"))
    single = len(query.aval.shape) == 2
    if single:
        query, key, value = (reshape(t, (t.aval.shape[0], 1, t.aval.shape[1])) for t in (query, key, value))
        if key_padding_mask is not None:
            key_padding_mask = reshape(key_padding_mask, (1, *key_padding_mask.aval.shape))
    masks = [
        _added_mask("attn_mask", attn_mask, query),
        _added_mask("key_padding_mask", key_padding_mask, query),
    ]
    separate = (q_proj_weight, k_proj_weight, v_proj_weight)
    weights = separate if use_separate_proj_weight else in_proj_weight
    q, k, v = _project(query, key, value, weights, in_proj_bias, embed_dim_to_check)
    rows, n, features = q.aval.shape
    if bias_k is not None and bias_v is not None:
        k, v = (
            _join(k, expand_to(bias_k, (1, n, features)), 0),
            _join(v, expand_to(bias_v, (1, n, features)), 0),
        )
        masks = [_more_column(m) for m in masks]
    q, k, v = (_split_heads(t, num_heads) for t in (q, k, v))
    k, v = _given_heads(static_k, k), _given_heads(static_v, v)
    if add_zero_attn:
        zeros = constant(np.zeros((n, num_heads, 1, features // num_heads)), k)
        k, v, masks = _join(k, zeros, 2), _join(v, zeros, 2), [_more_column(m) for m in masks]
    mask = _joint_mask(*masks, n, num_heads, rows, k.aval.shape[2])
    out, shown = _heads(q, k, v, mask, float(dropout_p) if training else 0.0, need_weights)
    out = linear(reshape(permute(out, (2, 0, 1, 3)), (rows, n, features)), out_proj_weight, out_proj_bias)
    if need_weights and average_attn_weights:
        shown = apply(OPS["mean"], (shown,), {"axes": (1,)})
    if single:
        out = reshape(out, (rows, features))
        shown = None if shown is None else reshape(shown, shown.aval.shape[1:])
    return out, shown


def _given_heads(static: Any, projected: Any) -> Any:
    """Keys or values (N·heads, S, E / heads) given in place of the projected ones, if any."""
    if static is None:
        return projected
    return reshape(static, (*projected.aval.shape[:2], *static.aval.shape[-2:]))


def _heads(q: Any, k: Any, v: Any, mask: Any, p: float, need_weights: bool) -> tuple[Any, Any]:
    """Attention of each head, and the weights if they are needed."""
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, p), None
    weights = head_weights(q, k, mask)
    if p:
        weights = dropout(weights, p)
    return apply(_MATMUL, (weights, v)), weights


@formula
def head_weights(q: Any, k: Any, mask: Any) -> Any:
    """softmax(q · kᵀ / √E + mask)."""
    scores = apply(_MATMUL, (q * (1.0 / math.sqrt(q.aval.shape[-1])), _swap(k)))
    return _soft_maximum(_masked(scores, mask), safe=False)


__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]

"""Text from a decoder model, token after token: which to take, and what need not be computed again."""

from __future__ import annotations

from typing import Any

from .. import api
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from .modes import evaluating
from .module import Module


class KVCache:
    """Keys and values of the tokens so far, for each attention layer of a model.

    Attributes:
        length: how many tokens are in it.

    >>> import wengert as wg
    >>> cache = wg.nn.KVCache()
    >>> for _ in range(2):
    ...     k, v = cache.extend(0, wg.randn(1, 2, 3, 4), wg.randn(1, 2, 3, 4))
    >>> k.shape, cache.length
    (wengert.Size([1, 2, 6, 4]), 6)
    """

    def __init__(self) -> None:
        self.layers: dict[Any, tuple[Any, Any]] = {}

    @property
    def length(self) -> int:
        for keys, _ in self.layers.values():
            return keys.shape[-2]
        return 0

    def extend(self, layer: Any, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (*, new, features) of a layer; gives back all of that layer."""
        if layer in self.layers:
            before = self.layers[layer]
            key, value = api.cat([before[0], key], -2), api.cat([before[1], value], -2)
        self.layers[layer] = (key, value)
        return key, value


def sampling_probabilities(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The distribution from which the next token is drawn.

    Args:
        logits: (*, V).
        temperature: logits are divided by it; below 1 sharpens, 0 puts all on the largest (the first of equals).
        top_k: only the so many most probable tokens stay (and ties with the last).
        top_p: only the fewest most probable tokens stay whose probabilities sum to at least this (nucleus
            sampling, of what ``top_k`` left).

    Returns:
        Probabilities (*, V).

    Source: top-k: Fan, Lewis and Dauphin, ACL 2018; top-p: Holtzman et al., "The curious case of neural text
    degeneration", ICLR 2020.

    >>> import wengert as wg
    >>> logits = wg.tensor([0.5, 0.3, 0.15, 0.05]).log()
    >>> wg.nn.sampling_probabilities(logits, top_k=2)
    tensor([0.6250, 0.3750, 0.0000, 0.0000])
    >>> wg.nn.sampling_probabilities(logits, top_p=0.7)
    tensor([0.6250, 0.3750, 0.0000, 0.0000])
    >>> wg.nn.sampling_probabilities(logits, temperature=0)
    tensor([1., 0., 0., 0.])
    """
    _check_choice(temperature, top_k, top_p)
    size = logits.shape[-1]
    if temperature == 0:
        best = logits.argmax(-1, keepdim=True)
        return (api.arange(size) == best).to(logits.dtype)
    logits = logits / temperature
    if top_k is not None and top_k < size:
        least = api.topk(logits, top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -api.inf)
    p = api.softmax(logits, -1)
    if top_p is None or top_p >= 1:
        return p
    order = api.argsort(p, -1, descending=True, stable=True)
    sorted_p = p.gather(-1, order)
    kept = sorted_p.cumsum(-1) - sorted_p < top_p  # what comes before it does not suffice
    kept = api.zeros_like(kept).scatter(-1, order, kept)
    p = api.where(kept, p, api.zeros_like(p))
    return p / p.sum(-1, keepdim=True)


def _check_choice(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if temperature < 0:
        raise ArgumentError(message("generate", "temperature must not be negative", str(temperature)))
    if top_k is not None and top_k < 1:
        raise ArgumentError(message("generate", "top_k must be at least 1", str(top_k)))
    if top_p is not None and not 0 < top_p <= 1:
        raise ArgumentError(message("generate", "top_p must be above 0 and at most 1", str(top_p)))


def generate(
    model: Module, prompt: Tensor, max_new_tokens: int, *, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, end: int | None = None, cache: bool = True, generator: Any = None,
) -> Tensor:  # fmt: skip
    """Continue token sequences with a decoder model.

    Args:
        model: ``model(tokens, cache=None)`` gives logits (N, length, V); with a `KVCache` the tokens are those
            that it has not seen yet. If it has an attribute ``block_size``, no more tokens than that are
            looked at: then the cache is made anew from the last of them.
        prompt: tokens (N, length), length at least 1.
        max_new_tokens: the most tokens to add.
        temperature, top_k, top_p: see `sampling_probabilities`; ``temperature=0`` is the greedy choice.
        end: the token that ends a sequence; generation stops when all have ended, which repeat it until then.
        cache: whether keys and values are kept; the result is the same without, but slower.
        generator: of the random numbers.

    Returns:
        Tokens (N, length + new). Dropout is off while generating.
    """
    if prompt.ndim != 2 or not prompt.shape[1]:
        raise ShapeError(message("generate", "the prompt must be (batch, length)", f"shape {tuple(prompt.shape)}"))
    _check_choice(temperature, top_k, top_p)
    with evaluating(model):
        return _generate(model, prompt, max_new_tokens, (temperature, top_k, top_p), end, cache, generator)


def _generate(
    model: Any, tokens: Any, count: int, choice: tuple[Any, ...], end: int | None, cached: bool, generator: Any
) -> Any:
    block = getattr(model, "block_size", None)
    ended = api.zeros(len(tokens), 1, dtype=api.bool)
    cache = KVCache()
    for _ in range(count):
        if not cached:
            logits = model(tokens if block is None else tokens[:, -block:])
        else:
            seen = cache.length
            if block is not None and tokens.shape[1] > block:
                # Positions move with the window, so that nothing cached still holds.
                cache, seen = KVCache(), tokens.shape[1] - block
            logits = model(tokens[:, seen:], cache=cache)
        p = sampling_probabilities(logits[:, -1], *choice)
        new = p.argmax(-1, keepdim=True) if choice[0] == 0 else api.multinomial(p, 1, generator=generator)
        new = new.to(tokens.dtype)
        if end is not None:
            new = api.where(ended, api.full_like(new, end), new)
            ended = ended | (new == end)
        tokens = api.cat([tokens, new], 1)
        if end is not None and bool(ended.all()):
            break
    return tokens


__all__ = ["KVCache", "generate", "sampling_probabilities"]

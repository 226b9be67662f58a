"""From sequence to sequence: attention over a memory, an encoder and decoder, and ways to decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import api, tree
from ..config import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear, check_size
from .module import Module
from .recurrent import GRU, GRUCell

# --- attention over a memory -----------------------------------------------------------------------------


class _MemoryAttention(Module):
    """Attention of one query over a memory; subclasses say how well a query and a memory fit."""

    def score(self, query: Any, memory: Any) -> Any:
        """How well they fit, (N, length)."""
        raise NotImplementedError

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        score = self.score(query, memory)
        if mask is not None:
            score = score.masked_fill(mask.logical_not(), -api.inf)
        weights = api.softmax(score, -1)
        return (weights.unsqueeze(1) @ memory).squeeze(1), weights


class AdditiveAttention(_MemoryAttention):
    """Bahdanau's attention: weights are the softmax of ``v · tanh(W query + U memory)``.

    Args:
        query_size: length of the query.
        memory_size: length of the vectors of the memory.
        hidden_size: length of ``v``.

    Shape:
        query (N, query_size), memory (N, length, memory_size), mask (N, length) of bools, True where there is
        a vector. Outputs: context (N, memory_size) and weights (N, length).

    Source: Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align and translate",
    ICLR 2015.

    >>> import wengert as wg
    >>> context, weights = wg.nn.AdditiveAttention(4, 3, 8)(wg.randn(2, 4), wg.randn(2, 5, 3))
    >>> context.shape, weights.shape
    (wengert.Size([2, 3]), wengert.Size([2, 5]))
    """

    def __init__(
        self, query_size: int, memory_size: int, hidden_size: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.query = Linear(query_size, hidden_size, device=device, dtype=dtype)
        self.memory = Linear(memory_size, hidden_size, bias=False, device=device, dtype=dtype)
        self.energy = Linear(hidden_size, 1, bias=False, device=device, dtype=dtype)

    def score(self, query: Any, memory: Any) -> Any:
        return self.energy((self.query(query).unsqueeze(1) + self.memory(memory)).tanh()).squeeze(-1)


class MultiplicativeAttention(_MemoryAttention):
    """Luong's "general" attention: weights are the softmax of ``query · W memory``; "dot" without W.

    Args:
        query_size: length of the query.
        memory_size: length of the vectors of the memory.
        kind: "general" or "dot", which needs equal sizes.

    Shape:
        As in `AdditiveAttention`.

    Source: Luong, Pham and Manning, "Effective approaches to attention-based neural machine translation",
    EMNLP 2015.

    >>> import wengert as wg
    >>> context, weights = wg.nn.MultiplicativeAttention(4, 3)(wg.randn(2, 4), wg.randn(2, 5, 3))
    >>> wg.allclose(weights.sum(1), wg.ones(2))
    True
    """

    weight: Linear | None

    def __init__(
        self, query_size: int, memory_size: int, kind: str = "general", device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        if kind not in ("general", "dot") or (kind == "dot" and query_size != memory_size):
            wanted = "kind must be 'general', or 'dot' with equal sizes"
            raise ArgumentError(message("MultiplicativeAttention", wanted, f"{kind!r}, {query_size}, {memory_size}"))
        general = kind == "general"
        self.weight = Linear(memory_size, query_size, bias=False, device=device, dtype=dtype) if general else None

    def score(self, query: Any, memory: Any) -> Any:
        keys = memory if self.weight is None else self.weight(memory)
        return (keys @ query.unsqueeze(-1)).squeeze(-1)


# --- encoder and decoder -----------------------------------------------------------------------------------


class Seq2Seq(Module):
    """Encoder and decoder of gated recurrent units, with attention over what the encoder saw.

    Args:
        source_size: how many tokens the source has.
        target_size: how many tokens the target has.
        embed_size: length of their vectors.
        hidden_size: length of the states of encoder and decoder.
        attention: "bahdanau" (additive; the state before the step asks), or "luong" (multiplicative; the
            state after it asks).
        dropout: on the vectors of the tokens, while training.

    Shape:
        source (N, S) and target (N, T) of token numbers, source_mask (N, S) of bools, True where there is a
        token (at least one, padding at the end), output logits (N, T, target_size): row t is about the token
        that follows target[:, t]. So ``target`` starts with the token "begin" and lacks the last one.

    >>> import wengert as wg
    >>> net = wg.nn.Seq2Seq(10, 12, 8, 16)
    >>> source = wg.randint(0, 10, (3, 5))
    >>> net(source, wg.randint(0, 12, (3, 4))).shape
    wengert.Size([3, 4, 12])
    >>> net.greedy(source, begin=0, end=1, max_length=6).shape[0]
    3
    >>> len(net.beam(source, begin=0, end=1, max_length=6, beam=2)[0])
    2
    """

    def __init__(
        self, source_size: int, target_size: int, embed_size: int, hidden_size: int, attention: str = "bahdanau",
        dropout: float = 0.0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if attention not in ("bahdanau", "luong"):
            raise ArgumentError(message("Seq2Seq", "attention must be 'bahdanau' or 'luong'", repr(attention)))
        kind: dict[str, Any] = {"device": device, "dtype": dtype}
        self.early = attention == "bahdanau"
        self.source_embedding = Embedding(source_size, embed_size, **kind)
        self.target_embedding = Embedding(target_size, embed_size, **kind)
        self.encoder = GRU(embed_size, hidden_size, batch_first=True, **kind)
        self.bridge = Linear(hidden_size, hidden_size, **kind)
        if self.early:
            self.attention: _MemoryAttention = AdditiveAttention(hidden_size, hidden_size, hidden_size, **kind)
            self.cell = GRUCell(embed_size + hidden_size, hidden_size, **kind)
        else:
            self.attention = MultiplicativeAttention(hidden_size, hidden_size, **kind)
            self.cell = GRUCell(embed_size, hidden_size, **kind)
        self.join = Linear(2 * hidden_size, hidden_size, **kind)
        self.output = Linear(hidden_size, target_size, **kind)
        self.dropout = Dropout(dropout)

    def encode(self, source: Tensor, source_mask: Any = None) -> tuple[Any, Any, Any]:
        """State to start the decoder with (N, hidden), memory (N, S, hidden) and its mask (N, S)."""
        if source.ndim != 2 or not source.shape[1]:
            raise ShapeError(message("Seq2Seq", "the source must be (batch, length)", f"shape {tuple(source.shape)}"))
        if source_mask is None:
            source_mask = api.ones(*source.shape, dtype=api.bool)
        memory, _ = self.encoder(self.dropout(self.source_embedding(source)))
        # What comes after a sequence's last token does not reach that token's state.
        last = (source_mask.long().sum(1) - 1).reshape(-1, 1, 1).expand(len(source), 1, memory.shape[2])
        return self.bridge(memory.gather(1, last).squeeze(1)).tanh(), memory, source_mask

    def step(self, tokens: Tensor, state: tuple[Any, Any, Any]) -> tuple[Any, tuple[Any, Any, Any]]:
        """Logits (N, target_size) of the tokens that follow ``tokens`` (N), and the state after them."""
        return self._step(self.dropout(self.target_embedding(tokens)), state)

    def _step(self, x: Any, state: tuple[Any, Any, Any]) -> tuple[Any, tuple[Any, Any, Any]]:
        hidden, memory, mask = state
        if self.early:
            context, _ = self.attention(hidden, memory, mask)
            hidden = self.cell(api.cat([x, context], 1), hidden)
        else:
            hidden = self.cell(x, hidden)
            context, _ = self.attention(hidden, memory, mask)
        logits = self.output(self.join(api.cat([hidden, context], 1)).tanh())
        return logits, (hidden, memory, mask)

    def forward(
        self, source: Tensor, target: Tensor, source_mask: Tensor | None = None, teacher_forcing: float = 1.0
    ) -> Tensor:
        """Logits; with ``teacher_forcing`` below 1 some steps see the net's own last choice instead of the target.

        One coin is tossed a step for the whole batch. The first token is always the target's.
        Source: Williams and Zipser 1989; the mixture: Bengio et al., "Scheduled sampling", NeurIPS 2015.
        """
        hidden, memory, mask = self.encode(source, source_mask)
        forced = api.rand(target.shape[1]) < teacher_forcing

        def step(carry: Any, at: Any) -> tuple[Any, Any]:
            hidden, choice, first = carry
            token, force = at
            token = api.where(force | first, token, choice)
            logits, (hidden, _, _) = self.step(token, (hidden, memory, mask))
            return (hidden, logits.argmax(-1).to(token.dtype), api.zeros_like(first)), logits

        start = (hidden, target[:, 0], api.ones((), dtype=api.bool))
        _, logits = api.scan(step, start, (target.transpose(0, 1), forced))
        return logits.transpose(0, 1)

    def _starts(self, source: Any, mask: Any, begin: int) -> tuple[Any, Any]:
        return api.full((len(source),), begin, dtype=api.int64), self.encode(source, mask)

    def greedy(
        self, source: Tensor, begin: int, end: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        """The most probable token at each step; see `greedy_search`."""
        with no_grad():
            return greedy_search(self.step, *self._starts(source, source_mask, begin), max_length, end)

    def beam(
        self, source: Tensor, begin: int, end: int, max_length: int, beam: int = 5, length_penalty: float = 0.0,
        source_mask: Tensor | None = None,
    ) -> list[list[tuple[list[int], float]]]:  # fmt: skip
        """The most probable sequences; see `beam_search`."""
        with no_grad():
            tokens, state = self._starts(source, source_mask, begin)
            return beam_search(self.step, tokens, state, max_length, end, beam, length_penalty)


# --- search ------------------------------------------------------------------------------------------------

Step = Callable[[Any, Any], tuple[Any, Any]]


def greedy_search(step: Step, tokens: Tensor, state: Any, max_length: int, end: int | None = None) -> Tensor:
    """The most probable token at each step.

    Args:
        step: ``step(tokens, state) -> (logits, state)``: tokens (N), logits (N, V) of the next, and a state
            in any containers of tensors whose first dimension is N.
        tokens: the first tokens (N), which are not part of the result.
        state: the first state.
        max_length: the most tokens.
        end: the token that ends a sequence; after it comes more of the same. None: none does.

    Returns:
        Tokens (N, length), ``end`` included; the search stops when all have ended.

    >>> import wengert as wg
    >>> follow = wg.tensor([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0], [9.0, 0.0, 0.0]])
    >>> wg.nn.greedy_search(lambda t, s: (follow[t], s), wg.tensor([0, 1]), (), 4, end=2)
    tensor([[1, 2],
            [2, 2]])
    """
    found: list[Any] = []
    ended = api.zeros(len(tokens), dtype=api.bool)
    while len(found) < max_length and not bool(ended.all()):
        logits, state = step(tokens, state)
        tokens = logits.argmax(-1)
        if end is not None:
            tokens = api.where(ended, api.full_like(tokens, end), tokens)
            ended = ended | (tokens == end)
        found.append(tokens)
    return api.stack(found, 1) if found else tokens.new_zeros((len(tokens), 0))


def beam_search(
    step: Step, tokens: Tensor, state: Any, max_length: int, end: int | None = None, beam: int = 5,
    length_penalty: float = 0.0,
) -> list[list[tuple[list[int], float]]]:  # fmt: skip
    """The most probable sequences, found by keeping the ``beam`` best prefixes at each step.

    Args:
        step, tokens, state, max_length, end: as in `greedy_search`.
        beam: how many prefixes are kept, and sequences returned. One is the greedy search; as many as
            there are prefixes is the search of all.
        length_penalty: sequences are ranked by log-probability / length ** length_penalty.

    Returns:
        For each of the N a list of (tokens, rank value), best first. Tokens have no ``end``; sequences that
        reached max_length without it count as they are.

    >>> import wengert as wg
    >>> follow = wg.tensor([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.05, 0.05, 0.9]]).log()
    >>> found = wg.nn.beam_search(lambda t, s: (follow[t], s), wg.tensor([0]), (), 2, beam=2)
    >>> [(tokens, round(value, 3)) for tokens, value in found[0]]  # the first step alone would say 1
    [([2, 2], -1.309), ([1, 2], -1.427)]
    """
    beam = check_size("beam_search", "beam", beam, 1)
    if length_penalty < 0:
        raise ArgumentError(message("beam_search", "length_penalty must not be negative", str(length_penalty)))
    searches = [_Beam(beam, max_length, end, length_penalty) for _ in range(len(tokens))]
    rows, last = list(range(len(tokens))), tokens.tolist()  # of each prefix: its row of the state, its last token
    for search in searches:
        search.alive = [((), 0.0)]
    for _ in range(max_length):
        if not last:
            break
        logits, state = step(api.tensor(last, dtype=tokens.dtype), _rows(state, rows))
        logs = api.log_softmax(logits.detach(), -1).numpy()
        rows, last, at = [], [], 0
        for search in searches:
            n = len(search.alive)
            for parent, token in search.extend(logs[at : at + n]):
                rows.append(at + parent)
                last.append(token)
            at += n
    return [search.best() for search in searches]


def _rows(state: Any, rows: list[int]) -> Any:
    """Those rows of all tensors of a state."""
    index = api.tensor(rows, dtype=api.int64)
    return tree.map(lambda x: x.index_select(0, index), state)


class _Beam:
    """The prefixes of one sequence, and those that have ended."""

    def __init__(self, beam: int, max_length: int, end: int | None, penalty: float) -> None:
        self.beam, self.max_length, self.end, self.penalty = beam, max_length, end, penalty
        self.alive: list[tuple[tuple[int, ...], float]] = []
        self.ended: list[tuple[list[int], float]] = []

    def value(self, score: float, length: int) -> float:
        return score / max(length, 1) ** self.penalty

    def extend(self, logs: Any) -> list[tuple[int, int]]:
        """Add a token to each prefix; returns (number of the prefix, token) of those that go on."""
        if not self.alive:
            return []
        size = logs.shape[1]
        total = (logs.astype(float) + [[score] for _, score in self.alive]).ravel()
        # An ended prefix takes no place in the beam: so many of them can stand before the best that go on.
        best = (-total).argsort(kind="stable")[: self.beam + (len(self.alive) if self.end is not None else 0)]
        going: list[tuple[tuple[int, ...], float]] = []
        moves: list[tuple[int, int]] = []
        for place in best.tolist():
            parent, token = divmod(place, size)
            prefix, score = self.alive[parent][0], float(total[place])
            if score == -api.inf:
                break
            if token == self.end:
                self.ended.append((list(prefix), self.value(score, len(prefix) + 1)))
            elif len(going) < self.beam:
                going.append(((*prefix, token), score))
                moves.append((parent, token))
        self.alive = going
        if self._decided():
            self.alive, moves = [], []
        return moves

    def _decided(self) -> bool:
        """Whether no prefix can still come among the best: a score only falls, lengths end at max_length."""
        if not self.alive or len(self.ended) < self.beam:
            return False
        worst = sorted((value for _, value in self.ended), reverse=True)[self.beam - 1]
        return self.value(self.alive[0][1], self.max_length) <= worst

    def best(self) -> list[tuple[list[int], float]]:
        found = self.ended + [(list(p), self.value(s, len(p))) for p, s in self.alive]
        return sorted(found, key=lambda pair: -pair[1])[: self.beam]


__all__ = [
    "AdditiveAttention", "MultiplicativeAttention", "Seq2Seq", "beam_search", "greedy_search",
]  # fmt: skip

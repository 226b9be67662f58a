"""Networks for text: a recurrent language model, a transformer from sequence to sequence, a tagger."""

from __future__ import annotations

from typing import Any

from .. import api
from ..config import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..nn import (
    CRF,
    GRU,
    LSTM,
    RNN,
    Dropout,
    Embedding,
    Linear,
    Module,
    SinusoidalPositions,
    Transformer,
    greedy_search,
    sampling_probabilities,
)
from ..nn import functional as F
from ..nn.modes import evaluating
from ..nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from ..tensor import Tensor


class RNNLanguageModel(Module):
    """A recurrent network that predicts the next token.

    Args:
        vocab_size: how many tokens there are.
        embed_size: length of their vectors.
        hidden_size: length of the state.
        kind: "rnn" (Elman's, tanh), "lstm" or "gru".
        num_layers: recurrent layers, one on the other.
        dropout: between the layers and before the output, while training.

    Shape:
        tokens (N, length) of integers; output logits (N, length, vocab_size), where row t is about token t + 1, and
        the state after the last token, which continues the sequence when given back.

    Source: Elman, "Finding structure in time", 1990; Hochreiter and Schmidhuber, "Long short-term memory", 1997;
    Cho et al., EMNLP 2014; as a model of characters: Sutskever, Martens and Hinton, ICML 2011, and Karpathy's char-rnn.

    >>> import wengert as wg
    >>> from wengert.models import RNNLanguageModel
    >>> net = RNNLanguageModel(50, 8, 16, kind="gru")
    >>> logits, state = net(wg.zeros(3, 10).long())
    >>> logits.shape, net.generate(wg.zeros(1, 1).long(), 20).shape
    (wengert.Size([3, 10, 50]), wengert.Size([1, 21]))
    """

    def __init__(
        self, vocab_size: int, embed_size: int, hidden_size: int, kind: str = "lstm", num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        kinds: dict[str, Any] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
        if kind not in kinds:
            raise ArgumentError(message("RNNLanguageModel", "kind must be rnn, lstm or gru", repr(kind)))
        self.embedding = Embedding(vocab_size, embed_size)
        between = dropout if num_layers > 1 else 0.0  # there is no layer after the last
        self.rnn = kinds[kind](embed_size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.dropout = Dropout(dropout)
        self.output = Linear(hidden_size, vocab_size)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Logits of the tokens that follow, and the state."""
        hidden, state = self.rnn(self.embedding(tokens), state)
        return self.output(self.dropout(hidden)), state

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean cross-entropy of each token given those before it, tokens (N, length)."""
        logits, _ = self(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def generate(
        self, prompt: Tensor, max_new_tokens: int, *, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, generator: Any = None,
    ) -> Tensor:  # fmt: skip
        """Continue the prompt (N, length), length at least 1; the choice is that of `sampling_probabilities`."""
        if prompt.ndim != 2 or not prompt.shape[1]:
            raise ShapeError(message("generate", "the prompt must be (batch, length)", f"shape {tuple(prompt.shape)}"))
        tokens, new, state = [prompt], prompt, None
        with evaluating(self):
            for _ in range(max_new_tokens):
                logits, state = self(new, state)
                p = sampling_probabilities(logits[:, -1], temperature, top_k, top_p)
                new = api.multinomial(p, 1, generator=generator)
                tokens.append(new)
        return api.cat(tokens, 1)


class Seq2SeqTransformer(Module):
    """The transformer as it was published: tokens in, tokens out.

    Args:
        source_size: how many tokens the source has.
        target_size: how many tokens the target has.
        d_model, nhead, num_encoder_layers, num_decoder_layers, dim_feedforward, dropout: of `wengert.nn.Transformer`;
            the defaults are the paper's base model.
        max_length: the longest sequence.
        norm_first: whether norms come before attention and net, which trains without warm-up.

    Shape:
        source (N, S) and target (N, T) of token numbers, source_mask (N, S) of bools, True where there is a token;
        output logits (N, T, target_size): row t is about the token that follows target[:, t]. So ``target`` starts
        with the token "begin" and lacks the last one. Padding at the end of ``target`` needs no mask.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.

    >>> import wengert as wg
    >>> from wengert.models import Seq2SeqTransformer
    >>> net = Seq2SeqTransformer(10, 12, 8, 2, 1, 1, 16)
    >>> source = wg.randint(0, 10, (3, 5))
    >>> net(source, wg.randint(0, 12, (3, 4))).shape
    wengert.Size([3, 4, 12])
    >>> net.eval().greedy(source, begin=0, end=1, max_length=6).shape[0]
    3
    """

    def __init__(
        self, source_size: int, target_size: int, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
        num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1, max_length: int = 512,
        norm_first: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.source_embedding = Embedding(source_size, d_model)
        self.target_embedding = Embedding(target_size, d_model)
        self.positions = SinusoidalPositions(d_model, max_length)
        self.dropout = Dropout(dropout)
        self.transformer = Transformer(
            d_model, nhead, num_encoder_layers, num_decoder_layers, dim_feedforward, dropout, batch_first=True,
            norm_first=norm_first,
        )  # fmt: skip
        self.output = Linear(d_model, target_size)
        self.scale = d_model**0.5
        for embedding in (self.source_embedding, self.target_embedding):
            with no_grad():
                embedding.weight /= self.scale  # so that scaled vectors are as large as positions

    def _embed(self, embedding: Embedding, tokens: Tensor) -> Tensor:
        return self.dropout(self.positions(embedding(tokens) * self.scale))

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The memory (N, S, d_model), and which of it is padding (N, S)."""
        padding = api.zeros(*source.shape, dtype=api.bool) if source_mask is None else source_mask.logical_not()
        x = self._embed(self.source_embedding, source)
        return self.transformer.encoder(x, src_key_padding_mask=padding), padding

    def decode(self, target: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        """Logits (N, T, target_size), each from the tokens up to its own."""
        length = target.shape[1]
        later = api.ones(length, length, dtype=api.bool).triu(1)
        x = self._embed(self.target_embedding, target)
        x = self.transformer.decoder(x, memory, tgt_mask=later, memory_key_padding_mask=padding)
        return self.output(x)

    def forward(self, source: Tensor, target: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Logits (N, T, target_size)."""
        return self.decode(target, *self.encode(source, source_mask))

    def greedy(
        self, source: Tensor, begin: int, end: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        """The most probable token at each step; see `wengert.nn.greedy_search`."""

        def step(tokens: Tensor, state: Any) -> tuple[Any, Any]:
            memory, padding, before = state
            before = api.cat([before, tokens.unsqueeze(1)], 1)
            return self.decode(before, memory, padding)[:, -1], (memory, padding, before)

        with no_grad():
            start = api.full((len(source),), begin, dtype=api.int64)
            nothing = api.zeros(len(source), 0, dtype=api.int64)
            return greedy_search(step, start, (*self.encode(source, source_mask), nothing), max_length, end)


class LSTMTagger(Module):
    """A tag for each word: a bidirectional LSTM, and a conditional random field on top where wanted.

    Args:
        vocab_size: how many words there are.
        num_tags: how many tags there are.
        embed_size: length of the words' vectors.
        hidden_size: length of the state of each direction.
        crf: whether the tags of a sentence are chosen together by a `wengert.nn.CRF`, else each by itself.

    Shape:
        words (N, T) and tags (N, T) of integers, mask (N, T) of bools, True where there is a word, at least one a row
        and padding at the end. The output, scores (N, T, num_tags), does not depend on what stands in the padding.

    Source: Huang, Xu and Yu, "Bidirectional LSTM-CRF models for sequence tagging", arXiv:1508.01991, 2015.

    >>> import wengert as wg
    >>> from wengert.models import LSTMTagger
    >>> net = LSTMTagger(20, 3, 8, 8)
    >>> words, mask = wg.randint(0, 20, (2, 4)), wg.tensor([[True, True, True, True], [True, True, False, False]])
    >>> net(words, mask).shape, [len(tags) for tags in net.decode(words, mask)]
    (wengert.Size([2, 4, 3]), [4, 2])
    >>> net.loss(words, wg.zeros_like(words), mask).shape
    wengert.Size([])
    """

    crf: CRF | None

    def __init__(
        self, vocab_size: int, num_tags: int, embed_size: int = 100, hidden_size: int = 100, crf: bool = True
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocab_size, embed_size)
        self.lstm = LSTM(embed_size, hidden_size, batch_first=True, bidirectional=True)
        self.linear = Linear(2 * hidden_size, num_tags)
        self.crf = CRF(num_tags, batch_first=True) if crf else None

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Scores of the tags."""
        lengths = mask.sum(1)
        packed = pack_padded_sequence(self.embedding(words), lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=words.shape[1])
        return self.linear(hidden)

    def loss(self, words: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Minus the log-likelihood of the tags, a word."""
        scores = self(words, mask)
        if self.crf is not None:
            return -self.crf(scores, tags, mask, reduction="token_mean")
        return F.cross_entropy(scores[mask], tags[mask])

    def decode(self, words: Tensor, mask: Tensor) -> list[list[int]]:
        """The most probable tags of each sentence."""
        with no_grad():
            scores = self(words, mask)
            if self.crf is not None:
                return self.crf.decode(scores, mask)
            best = scores.argmax(2).tolist()
        return [path[:n] for path, n in zip(best, mask.sum(1).tolist())]


__all__ = ["LSTMTagger", "RNNLanguageModel", "Seq2SeqTransformer"]

"""Tokenizers: texts to numbers and back, by characters, words or pieces of words."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Self

from ..errors import ArgumentError, message, need
from ..serialization import write_atomically
from .vocabulary import Vocabulary


class Tokenizer:
    """Base of tokenizers: a subclass says how a text is split into tokens, and how they are joined again.

    A tokenizer can be called, so that it can be a data set's ``transform``.

    Attributes:
        vocabulary: numbers the tokens.
    """

    vocabulary: Vocabulary

    def split(self, text: str) -> list[str]:
        """The tokens of a text."""
        raise NotImplementedError(f"{type(self).__name__} does not define split")

    def join(self, tokens: Iterable[str]) -> str:
        """The text of tokens."""
        raise NotImplementedError(f"{type(self).__name__} does not define join")

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """The numbers of a text's tokens, between those of ``bos`` and ``eos`` where asked for."""
        return self.vocabulary.encode(self.split(text), bos, eos)

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers (a list or a tensor), without ``pad``, ``bos`` and ``eos``."""
        return self.join(self.vocabulary.decode(numbers))

    def __call__(self, text: str) -> list[int]:
        """The numbers of a text's tokens."""
        return self.encode(text)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens)"


class CharacterTokenizer(Tokenizer):
    """Every character is a token.

    >>> from wengert.data import CharacterTokenizer
    >>> tokenizer = CharacterTokenizer.train(["abba"])
    >>> tokenizer.encode("bab", eos=True), tokenizer.decode([5, 4, 5, 3])
    ([5, 4, 5, 3], 'bab')
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @classmethod
    def train(cls, texts: Iterable[str], **options: Any) -> Self:
        """Number the characters of texts; options are those of `Vocabulary.build`."""
        return cls(Vocabulary.build(texts, **options))

    def split(self, text: str) -> list[str]:
        """The characters."""
        return list(text)

    def join(self, tokens: Iterable[str]) -> str:
        """The characters, one after the other."""
        return "".join(tokens)


_BEFORE = re.compile(r" ([.,;:!?)\]}%’])")
_AFTER = re.compile(r"([(\[{]) ")


class WordTokenizer(Tokenizer):
    """Words and punctuation marks are tokens; white space only separates them, so its kind is lost.

    Args:
        vocabulary: of the tokens.
        lower: whether capitals become small letters.

    >>> from wengert.data import WordTokenizer
    >>> tokenizer = WordTokenizer.train(["It's 3.5 (or more)."], lower=True)
    >>> tokenizer.split("It's 3.5 (or more).")
    ["it's", '3.5', '(', 'or', 'more', ')', '.']
    >>> tokenizer.decode(tokenizer.encode("More (or less)."))
    'more (or <unk>).'
    """

    def __init__(self, vocabulary: Vocabulary, lower: bool = False) -> None:
        self.vocabulary, self.lower = vocabulary, lower

    @classmethod
    def train(cls, texts: Iterable[str], *, lower: bool = False, **options: Any) -> Self:
        """Number the words of texts; options are those of `Vocabulary.build`."""
        words = (_words(text, lower) for text in _several("WordTokenizer", texts))
        return cls(Vocabulary.build(words, **options), lower)

    def split(self, text: str) -> list[str]:
        """The words and punctuation marks."""
        return _words(text, self.lower)

    def join(self, tokens: Iterable[str]) -> str:
        """The words with spaces between, which are left out around punctuation."""
        return _AFTER.sub(r"\1", _BEFORE.sub(r"\1", " ".join(tokens)))


@cache
def _word() -> re.Pattern[str]:
    """A word may hold apostrophes, hyphens and a decimal point; any other sign is a token by itself.

    The module re counts neither marks, such as the vowels of Hindi and Thai, nor joiners as parts of words.
    """
    marks = [chr(i) for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)).startswith("M")]
    letter = f"[\\w{''.join(marks)}\u200c\u200d]"
    return re.compile(rf"{letter}+(?:['’.-]{letter}+)*|[^\w\s]")


def _words(text: str, lower: bool) -> list[str]:
    return _word().findall(text.lower() if lower else text)


def _several(name: str, texts: Iterable[str]) -> Iterable[str]:
    """The texts; a single one would be taken for one text a letter."""
    if isinstance(texts, str):
        raise ArgumentError(message(name, "needs several texts, not one", repr(texts[:20]), "Put it into a list"))
    return texts


class SubwordTokenizer(Tokenizer):
    """Pieces of words, found by the library ``tokenizers``: frequent words stay whole, rare ones fall apart.

    ``train`` makes one of texts, ``load`` reads one from the JSON file that the library itself writes. Text
    that spells a special token is text like any other.

    Args:
        inner: a ``tokenizers.Tokenizer``.
        pad, unk, bos, eos: names of its special tokens; those that it does not have are ignored.

    Sources: R. Sennrich, B. Haddow, A. Birch, "Neural machine translation of rare words with subword units",
    ACL 2016 (BPE); M. Schuster, K. Nakajima, "Japanese and Korean voice search", ICASSP 2012 (WordPiece).

    >>> from wengert.data import SubwordTokenizer
    >>> tokenizer = SubwordTokenizer.train(["low lower lowest newest widest"] * 3, vocab_size=280)
    >>> tokenizer.split("lowest")
    ['low', 'est']
    >>> tokenizer.decode(tokenizer.encode("the lowest, 你好"))
    'the lowest, 你好'
    """

    def __init__(
        self, inner: Any, *, pad: str = "<pad>", unk: str = "<unk>", bos: str = "<bos>", eos: str = "<eos>"
    ) -> None:
        self.inner = inner
        inner.encode_special_tokens = True
        inner.no_padding()  # published files may ask for both
        inner.no_truncation()
        numbers = inner.get_vocab()
        size = max(numbers.values(), default=-1) + 1
        # A file may leave numbers out: they get names, so that the others keep their places.
        tokens = [f"<unused{number}>" for number in range(size)]
        for token, number in numbers.items():
            tokens[number] = token
        self.vocabulary = Vocabulary.__new__(Vocabulary)
        self.vocabulary._take(tokens, [token if token in numbers else None for token in (pad, unk, bos, eos)])

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self.inner, "vocabulary": self.vocabulary}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.inner.encode_special_tokens = True  # which the library forgets

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8192,
        model: str = "bpe",
        *,
        min_frequency: int = 2,
        lower: bool = False,
        pad: str = "<pad>",
        unk: str = "<unk>",
        bos: str = "<bos>",
        eos: str = "<eos>",
    ) -> Self:
        """Find the pieces that write texts shortest.

        Args:
            texts: to learn from.
            vocab_size: the most tokens there may be, special ones included.
            model: "bpe" merges frequent pairs of bytes as GPT-2 does, knows every text and gives it back as it
                was; "wordpiece" is BERT's: white space is lost and what has unseen letters becomes ``unk``.
            min_frequency: pairs that are rarer are not merged.
            lower: whether capitals become small letters.
            pad, unk, bos, eos: names of the special tokens, which get the numbers 0 to 3.
        """
        library = need("tokenizers", "text", "SubwordTokenizer")
        if model not in ("bpe", "wordpiece"):
            raise ArgumentError(message("SubwordTokenizer", "model must be 'bpe' or 'wordpiece'", repr(model)))
        least = 4 + (256 if model == "bpe" else 1)
        if vocab_size < least:
            raise ArgumentError(message("SubwordTokenizer", f"vocab_size must be at least {least}", str(vocab_size)))
        options = {
            "vocab_size": vocab_size, "min_frequency": min_frequency, "special_tokens": [pad, unk, bos, eos],
            "show_progress": False,
        }  # fmt: skip
        inner, trainer = (_bpe if model == "bpe" else _word_piece)(library, unk, lower, options)
        inner.train_from_iterator(_several("SubwordTokenizer", texts), trainer)
        return cls(inner, pad=pad, unk=unk, bos=bos, eos=eos)

    def split(self, text: str) -> list[str]:
        """The pieces, as the library writes them (a leading space is ``Ġ`` in BPE)."""
        return self.inner.encode(text, add_special_tokens=False).tokens

    def join(self, tokens: Iterable[str]) -> str:
        """The text of pieces."""
        return self.inner.decode([self.vocabulary[token] for token in tokens])

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """The numbers of a text's pieces, between those of ``bos`` and ``eos`` where asked for."""
        return self.vocabulary.framed(self.inner.encode(text, add_special_tokens=False).ids, bos, eos)

    def encode_batch(self, texts: Iterable[str], bos: bool = False, eos: bool = False) -> list[list[int]]:
        """The numbers of many texts, by several threads."""
        found = self.inner.encode_batch(list(texts), add_special_tokens=False)
        return [self.vocabulary.framed(one.ids, bos, eos) for one in found]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers (a list or a tensor), without the special tokens."""
        self.vocabulary.decode(kept := [int(number) for number in numbers])  # refuses numbers that are out of range
        return self.inner.decode(kept, skip_special_tokens=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file of the library."""
        text = self.inner.to_str(pretty=True).encode()
        write_atomically(Path(path), lambda file: file.write(text))

    @classmethod
    def load(cls, path: str | os.PathLike[str], **specials: str) -> Self:
        """Read a JSON file of the library, by ``save`` or of a published model.

        Args:
            path: the file.
            specials: ``pad``, ``unk``, ``bos``, ``eos`` where they have other names than usual.

        Raises:
            ArgumentError: the file is not a tokenizer.
        """
        library = need("tokenizers", "text", "SubwordTokenizer")
        content = Path(path).read_bytes()
        try:
            json.loads(content)
            inner = library.Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises bare Exceptions
            raise ArgumentError(message("SubwordTokenizer.load", "not a tokenizer", f"{path}: {error}")) from error
        return cls(inner, **specials)


def _bpe(library: Any, unk: str, lower: bool, options: dict[str, Any]) -> tuple[Any, Any]:
    """A byte-level BPE, as GPT-2's; all bytes are tokens, so nothing is unknown."""
    inner = library.Tokenizer(library.models.BPE())
    inner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = library.decoders.ByteLevel()
    if lower:
        inner.normalizer = library.normalizers.Lowercase()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    return inner, library.trainers.BpeTrainer(initial_alphabet=alphabet, **options)


def _word_piece(library: Any, unk: str, lower: bool, options: dict[str, Any]) -> tuple[Any, Any]:
    """A WordPiece model with BERT's rules for words."""
    inner = library.Tokenizer(library.models.WordPiece(unk_token=unk))
    inner.normalizer = library.normalizers.BertNormalizer(lowercase=lower, strip_accents=False)
    inner.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    inner.decoder = library.decoders.WordPiece()
    return inner, library.trainers.WordPieceTrainer(**options)

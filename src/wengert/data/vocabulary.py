"""Vocabularies: the numbers of tokens, counted from texts or read from a file."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from ..errors import ArgumentError, IndexRangeError, message
from ..serialization import write_atomically

_FORMAT = "wengert.vocabulary"
_ROLES = ("pad", "unk", "bos", "eos")


class Vocabulary:
    """Tokens and their numbers: first the special tokens, then the others in the order given.

    Args:
        tokens: all tokens but the special ones, each once.
        pad: fills up shorter sequences; it has number 0. None leaves it out, as the following ones.
        unk: stands for every token that is not known.
        bos: begins a sequence.
        eos: ends a sequence.

    Attributes:
        tokens: the list of all tokens; ``tokens[i]`` has number i.
        pad_index, unk_index, bos_index, eos_index: numbers of the special tokens, or None.

    >>> from wengert.data import Vocabulary
    >>> vocabulary = Vocabulary.build([["to", "be", "or", "not", "to", "be"], ["be"]], min_freq=2)
    >>> vocabulary.tokens
    ['<pad>', '<unk>', '<bos>', '<eos>', 'be', 'to']
    >>> vocabulary.encode(["to", "be", "sure"], bos=True)
    [2, 5, 4, 1]
    >>> vocabulary.decode([2, 5, 4, 1])
    ['to', 'be', '<unk>']
    """

    def __init__(
        self,
        tokens: Iterable[str],
        *,
        pad: str | None = "<pad>",
        unk: str | None = "<unk>",
        bos: str | None = "<bos>",
        eos: str | None = "<eos>",
    ) -> None:
        self._take([token for token in (pad, unk, bos, eos) if token is not None] + list(tokens), (pad, unk, bos, eos))

    def _take(self, tokens: list[str], specials: Iterable[str | None]) -> None:
        self.tokens = tokens
        self._index: dict[str, int] = {token: number for number, token in enumerate(tokens)}
        if len(self._index) != len(tokens):
            twice = [token for token, count in Counter(tokens).items() if count > 1]
            raise ArgumentError(message("Vocabulary", "a token is there twice", repr(twice[0])))
        wrong = next((token for token in tokens if not isinstance(token, str)), None)
        if wrong is not None:
            raise ArgumentError(message("Vocabulary", "tokens must be strings", repr(wrong)))
        places = [None if token is None else self._index[token] for token in specials]
        self.pad_index, self.unk_index, self.bos_index, self.eos_index = places

    @classmethod
    def build(
        cls, texts: Iterable[Iterable[str]], *, min_freq: int = 1, max_size: int | None = None, **specials: str | None
    ) -> Self:
        """Count the tokens of texts; the most frequent come first, equally frequent ones in their sorted order.

        Args:
            texts: lists of tokens.
            min_freq: tokens that are rarer are left out.
            max_size: of the whole vocabulary, special tokens included.
            specials: ``pad``, ``unk``, ``bos``, ``eos`` as for the class.
        """
        if min_freq < 1:
            raise ArgumentError(message("Vocabulary.build", "min_freq must be at least 1", str(min_freq)))
        count = Counter(token for text in texts for token in text)
        known = {**{role: f"<{role}>" for role in _ROLES}, **specials}.values()
        kept = [t for t, n in sorted(count.items(), key=lambda item: (-item[1], item[0])) if n >= min_freq]
        kept = [token for token in kept if token not in known]
        if max_size is not None:
            room = max_size - sum(token is not None for token in known)
            if room < 0:
                raise ArgumentError(message("Vocabulary.build", "max_size has no room for tokens", str(max_size)))
            kept = kept[:room]
        return cls(kept, **specials)

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._index

    def __getitem__(self, token: str) -> int:
        number = self._index.get(token, self.unk_index)
        if number is None:
            cure = "Give the vocabulary an unk token"
            raise ArgumentError(message("Vocabulary", "the token is not known", repr(token), cure))
        return number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.tokens, self.specials) == (other.tokens, other.specials)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens)"

    @property
    def specials(self) -> dict[str, str | None]:
        """The special tokens by their roles ``pad``, ``unk``, ``bos``, ``eos``."""
        places = (self.pad_index, self.unk_index, self.bos_index, self.eos_index)
        return {role: None if place is None else self.tokens[place] for role, place in zip(_ROLES, places, strict=True)}

    def encode(self, tokens: Iterable[str], bos: bool = False, eos: bool = False) -> list[int]:
        """The numbers of tokens.

        Args:
            tokens: unknown ones get the number of ``unk``.
            bos: put the number of ``bos`` in front.
            eos: put the number of ``eos`` behind.

        Raises:
            ArgumentError: a token is unknown and there is no ``unk``, or there is no ``bos`` or ``eos``.
        """
        return self.framed([self[token] for token in tokens], bos, eos)

    def framed(self, numbers: list[int], bos: bool, eos: bool) -> list[int]:
        """Numbers with those of ``bos`` and ``eos`` around them, where asked for."""
        for role, wanted, place in (("bos", bos, self.bos_index), ("eos", eos, self.eos_index)):
            if wanted and place is None:
                raise ArgumentError(message("Vocabulary", f"there is no {role} token"))
        front = [self.bos_index] if bos else []
        return [*front, *numbers, *([self.eos_index] if eos else [])]  # type: ignore[list-item]

    def decode(self, numbers: Iterable[int], specials: bool = False) -> list[str]:
        """The tokens of numbers (a list or a tensor), without ``pad``, ``bos`` and ``eos`` unless ``specials``."""
        hidden = () if specials else (self.pad_index, self.bos_index, self.eos_index)
        found = []
        for number in map(int, numbers):
            if not 0 <= number < len(self.tokens):
                raise IndexRangeError(message("Vocabulary", f"numbers go from 0 to {len(self) - 1}", str(number)))
            if number not in hidden:
                found.append(self.tokens[number])
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON."""
        content = {"format": _FORMAT, "version": 1, **self.specials, "tokens": self.tokens}
        text = json.dumps(content, indent=0).encode()
        write_atomically(Path(path), lambda file: file.write(text))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            ArgumentError: the file is not a vocabulary.
        """
        try:
            content: dict[str, Any] = json.loads(Path(path).read_bytes())
            if content["format"] != _FORMAT or content["version"] != 1:
                raise ValueError(f"format {content['format']!r}, version {content['version']!r}")
            made = cls.__new__(cls)
            made._take(list(content["tokens"]), [content[role] for role in _ROLES])
        except (ValueError, KeyError, TypeError) as error:
            raise ArgumentError(message("Vocabulary.load", "not a vocabulary", f"{path}: {error}")) from error
        return made

"""Texts as data sets: files, folders, and windows for language models."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import api
from ..errors import ArgumentError, DTypeError, IndexRangeError, message
from ..utils.data import Dataset
from .folders import DatasetFolder


def read_topics() -> str:
    """The texts of ``help()`` topics, which come with Python: a corpus that is always at hand.

    They are those of the standard library's ``pydoc_data.topics``: about 400,000 characters of English about
    Python; the version of Python decides. Topics stand in the order of their names, every paragraph once
    (some topics repeat others), and only printable ASCII characters and line breaks are kept.

    >>> from wengert.data import read_topics
    >>> text = read_topics()
    >>> len(text) > 300_000, "lambda" in text, text.isascii()
    (True, True, True)
    """
    from pydoc_data.topics import topics

    paragraphs = "\n\n".join(topics[name] for name in sorted(topics)).split("\n\n")
    text = "\n\n".join(dict.fromkeys(paragraphs))
    return "".join(character for character in text if character == "\n" or " " <= character <= "~")


class LanguageModelWindows(Dataset):
    """Windows of a long text for a language model: sample i is (tokens, the tokens one place further on).

    Args:
        tokens: the numbers of the whole text: a tensor, an array or a list. A ``numpy.memmap`` is not read
            into memory.
        length: tokens of a window.
        stride: from the start of a window to that of the next; by default ``length``, so that every token but the
            first is predicted once. With 1 there is a window at each token, for `RandomSampler`.

    Shape:
        inputs and targets (length), int64. What is left at the end and fills no window is left out.

    >>> from wengert.data import LanguageModelWindows
    >>> windows = LanguageModelWindows([3, 1, 4, 1, 5, 9, 2], length=3)
    >>> [(inputs.tolist(), targets.tolist()) for inputs, targets in windows]
    [([3, 1, 4], [1, 4, 1]), ([1, 5, 9], [5, 9, 2])]
    """

    def __init__(self, tokens: Any, length: int, stride: int | None = None) -> None:
        self.tokens = tokens if isinstance(tokens, np.ndarray) else np.asarray(tokens)
        self.length, self.stride = length, length if stride is None else stride
        if self.tokens.ndim != 1 or self.tokens.dtype.kind not in "iu":
            seen = f"{self.tokens.dtype} {self.tokens.shape}"
            raise DTypeError(message("LanguageModelWindows", "needs a row of integers", seen))
        if length < 1 or self.stride < 1:
            seen = f"length={length}, stride={self.stride}"
            raise ArgumentError(message("LanguageModelWindows", "length and stride must be positive", seen))
        if len(self.tokens) <= length:
            seen = f"{len(self.tokens)} tokens, length={length}"
            raise ArgumentError(message("LanguageModelWindows", "the text is shorter than a window and one more", seen))

    def __len__(self) -> int:
        return (len(self.tokens) - self.length - 1) // self.stride + 1

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """The windows of a batch, cut out at once."""
        total = len(self)
        wrong = next((index for index in indices if not -total <= index < total), None)
        if wrong is not None:
            raise IndexRangeError(message("LanguageModelWindows", f"there are {total} windows", str(wrong)))
        starts = np.asarray(indices, np.int64) % total * self.stride
        rows = self.tokens[starts[:, None] + np.arange(self.length + 1)].astype(np.int64)
        tensors = api.as_tensor(rows)
        return [(row[:-1], row[1:]) for row in tensors.unbind(0)]


class TextLines(Dataset):
    """The lines of a text file, each a sample; the file is read as lines are asked for.

    Args:
        path: the file; its lines end in line feeds, or carriage returns and line feeds.
        transform: is given each line without its end, for example a `Tokenizer`.
        encoding: of the characters; any that writes a line feed as one byte 10, as UTF-8 does.

    >>> import tempfile, pathlib
    >>> from wengert.data import TextLines
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "poem.txt")
    ...     _ = path.write_text("Roses are red" + chr(10) + "Violets are blue")
    ...     lines = TextLines(path, transform=str.split)
    ...     len(lines), lines[1]
    (2, ['Violets', 'are', 'blue'])
    """

    def __init__(
        self, path: str | os.PathLike[str], transform: Callable[[str], Any] | None = None, encoding: str = "utf-8"
    ) -> None:
        self.path, self.transform, self.encoding = Path(path), transform, encoding
        starts = [0]
        with self.path.open("rb") as file:
            for line in file:
                starts.append(starts[-1] + len(line))
        self._starts = np.asarray(starts, np.int64)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> Any:
        total = len(self)
        if not -total <= index < total:
            raise IndexRangeError(message("TextLines", f"{self.path} has {total} lines", str(index)))
        start, end = self._starts[index % total], self._starts[index % total + 1]
        with self.path.open("rb") as file:
            file.seek(int(start))
            data = file.read(int(end - start))
        try:
            line = data.decode(self.encoding).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            seen = f"{self.path}, line {index % total + 1}: {error}"
            raise ArgumentError(message("TextLines", f"not in the encoding {self.encoding}", seen)) from error
        return line if self.transform is None else self.transform(line)


class _ReadText:
    """Reads a whole file; a class, so that it can be pickled."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding

    def __call__(self, path: str) -> str:
        try:
            return Path(path).read_text(encoding=self.encoding)
        except UnicodeDecodeError as error:
            wrong = f"not in the encoding {self.encoding}"
            raise ArgumentError(message("TextFolder", wrong, f"{path}: {error}")) from error


class TextFolder(DatasetFolder):
    """Texts in one folder for each class: ``root/neg/1.txt``, ``root/pos/2.txt``; see `DatasetFolder`.

    Args:
        root: the folder.
        transform: is given each text, for example a `Tokenizer`.
        target_transform: is given each class number.
        encoding: of the characters.
        extensions: endings of the files to read.
        is_valid_file: whether a file is to be read; by default its ending decides.
        allow_empty: whether a class may have no texts.

    >>> import os, tempfile
    >>> from wengert.data import TextFolder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, text in (("bad", "too long"), ("good", "well made")):
    ...         os.mkdir(f"{folder}/{name}")
    ...         with open(f"{folder}/{name}/1.txt", "w") as file:
    ...             _ = file.write(text)
    ...     texts = TextFolder(folder, transform=str.split)
    ...     texts[0], texts[1], texts.classes
    ((['too', 'long'], 0), (['well', 'made'], 1), ['bad', 'good'])
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[str], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        encoding: str = "utf-8",
        extensions: Sequence[str] = (".txt",),
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        loader = _ReadText(encoding)
        super().__init__(root, loader, extensions, transform, target_transform, is_valid_file, allow_empty)

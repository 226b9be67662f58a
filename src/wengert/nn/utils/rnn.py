"""Batches of sequences of different lengths: padded, or packed step by step without the padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from ... import api
from ...dtypes import float16, float32, float64, int8, int16, int32, int64, uint8
from ...errors import ArgumentError, ShapeError, message
from ...tensor import Tensor
from .. import functional as F


class PackedSequence(NamedTuple):
    """Sequences without padding: all first elements, then all second ones, and so on, the longest first.

    Attributes:
        data: the elements, (their number, *).
        batch_sizes: how many sequences reach each step, int64.
        sorted_indices: the order by length in which the sequences are packed, or None if they came so.
        unsorted_indices: its inverse.
    """

    data: Any
    batch_sizes: Any
    sorted_indices: Any = None
    unsorted_indices: Any = None

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same with ``data.to(...)``."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def type(self, dtype: Any) -> Self:
        """The same with ``data.type(dtype)``."""
        return self._replace(data=self.data.type(dtype))

    def double(self) -> Self:
        """The same in float64."""
        return self.type(float64)

    def float(self) -> Self:
        """The same in float32."""
        return self.type(float32)

    def half(self) -> Self:
        """The same in float16."""
        return self.type(float16)

    def long(self) -> Self:
        """The same in int64."""
        return self.type(int64)

    def int(self) -> Self:
        """The same in int32."""
        return self.type(int32)

    def short(self) -> Self:
        """The same in int16."""
        return self.type(int16)

    def char(self) -> Self:
        """The same in int8."""
        return self.type(int8)

    def byte(self) -> Self:
        """The same in uint8."""
        return self.type(uint8)

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def cpu(self) -> Self:
        """The same."""
        return self


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another."""
    return None if permutation is None else api.argsort(permutation)


def _places(lengths: np.ndarray[Any, Any]) -> tuple[Any, Any, Any]:
    """How many of the sequences, longest first, reach each step; step and sequence of each packed element."""
    alive = np.arange(int(lengths[0]))[:, None] < lengths
    step, row = np.nonzero(alive)
    return alive.sum(1), api.as_tensor(step), api.as_tensor(row)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Take the padding out.

    Args:
        input: (T, N, *), or (N, T, *) if ``batch_first``.
        lengths: of the N sequences, a tensor or numbers.
        enforce_sorted: whether the lengths must already fall; otherwise the sequences are sorted here,
            and layers give their states back in the given order.

    Raises:
        ShapeError: the lengths do not fit the input.
        ArgumentError: a length is 0, or they do not fall.

    >>> import wengert as wg
    >>> from wengert.nn.utils.rnn import pack_padded_sequence
    >>> pack_padded_sequence(wg.tensor([[1, 4], [2, 5], [3, 0]]), [3, 2])[:2]
    (tensor([1, 4, 2, 5, 3]), tensor([2, 2, 1]))
    """
    name = "pack_padded_sequence"
    x = input.transpose(0, 1) if batch_first else input
    sizes = np.asarray(lengths.tolist() if isinstance(lengths, Tensor) else lengths, np.int64)
    if sizes.shape != (x.shape[1],):
        raise ShapeError(message(name, f"expected {x.shape[1]} lengths", f"shape {sizes.shape}"))
    if not sizes.size or sizes.min() <= 0 or sizes.max() > x.shape[0]:
        raise ArgumentError(message(name, f"lengths must be from 1 to {x.shape[0]}", str(sizes.tolist())))
    order = None
    if not enforce_sorted:
        order = api.as_tensor(np.argsort(-sizes, kind="stable"))
        sizes, x = sizes[order.numpy()], x.index_select(1, order)
    elif (sizes[1:] > sizes[:-1]).any():
        cure = "Pass enforce_sorted=False to have them sorted here"
        raise ArgumentError(message(name, "lengths must fall", str(sizes.tolist()), cure))
    reach, step, row = _places(sizes)
    return PackedSequence(x[step, row], api.as_tensor(reach), order, invert_permutation(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Put the padding back: ``(T, N, *)`` and the lengths (N), in the order before packing.

    Args:
        sequence: what `pack_padded_sequence` or a layer gave.
        batch_first: give (N, T, *).
        padding_value: what to pad with.
        total_length: the T of the result, if longer than the longest sequence.
    """
    data, sizes = sequence.data, np.asarray(sequence.batch_sizes.tolist())
    longest = len(sizes) if total_length is None else total_length
    if longest < len(sizes):
        wanted = f"total_length must be at least the longest sequence's, {len(sizes)}"
        raise ArgumentError(message("pad_packed_sequence", wanted, str(total_length)))
    lengths = (np.arange(sizes[0])[:, None] < sizes).sum(1)
    _, step, row = _places(lengths)
    blank = api.full((longest, int(sizes[0]), *data.shape[1:]), padding_value, dtype=data.dtype)
    padded, counts = blank.index_put((step, row), data), api.as_tensor(lengths)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        counts = counts[sequence.unsorted_indices]
    return padded.transpose(0, 1) if batch_first else padded, counts


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stack sequences (length, *) as (T, N, *), or (N, T, *), padded to the longest.

    >>> import wengert as wg
    >>> wg.nn.utils.rnn.pad_sequence([wg.tensor([1, 2]), wg.tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    parts = list(sequences)
    if padding_side not in ("left", "right"):
        raise ArgumentError(message("pad_sequence", "padding_side must be 'left' or 'right'", repr(padding_side)))
    if not parts:
        raise ArgumentError(message("pad_sequence", "expected a non-empty list of tensors"))
    longest = max(len(part) for part in parts)
    padded = []
    for part in parts:
        missing = longest - len(part)
        ends = (0, 0) * (part.ndim - 1) + ((missing, 0) if padding_side == "left" else (0, missing))
        padded.append(F.pad(part, ends, value=padding_value) if missing else part)
    return api.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences (length, *) of a padded batch."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    sizes = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    return [row[:size] for row, size in zip(rows.unbind(0), sizes, strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (length, *)."""
    lengths = [len(part) for part in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (length, *) of a packed batch, in the order before packing."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)

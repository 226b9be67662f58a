"""Batches of sequences of different lengths: padding, packing, and batches of similar lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import api
from ..errors import ArgumentError, DTypeError, message
from ..nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_sequence
from ..tensor import Tensor
from ..utils.data import Sampler, default_collate
from ..utils.data.sampler import own_generator


class PaddedSequences(NamedTuple):
    """Sequences of a batch, padded to the longest.

    Attributes:
        data: (N, T, *).
        lengths: of the sequences without padding, (N) int64.

    >>> from wengert.data import PadCollate
    >>> batch = PadCollate()([[1, 2, 3], [4]])
    >>> batch.mask.tolist(), batch.packed().data.tolist()
    ([[True, True, True], [True, False, False]], [1, 4, 2, 3])
    """

    data: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """(N, T), True where there is no padding on the right."""
        return api.arange(self.data.shape[1]) < self.lengths.unsqueeze(1)

    def packed(self) -> PackedSequence:
        """The same for recurrent layers, which then do not run over the padding; no sequence may be empty."""
        return pack_padded_sequence(self.data, self.lengths, batch_first=True, enforce_sorted=False)


class PadCollate:
    """A ``collate_fn`` for samples that hold sequences: pads them, and stacks what else there is.

    A sample is a sequence, or a tuple, list or mapping whose parts are sequences, numbers or text. Sequences
    are lists of numbers, and tensors or arrays of at least one dimension, whose first is the length.

    Args:
        padding_value: what is put behind shorter sequences; one number, or one for each part (a list or mapping).
        pack: give a `PackedSequence` for each sequence, instead of `PaddedSequences`.

    >>> from wengert.data import PadCollate
    >>> (inputs, lengths), labels = PadCollate(padding_value=9)([([1, 2, 3], 0), ([4], 1)])
    >>> inputs.tolist(), lengths.tolist(), labels.tolist()
    ([[1, 2, 3], [4, 9, 9]], [3, 1], [0, 1])
    """

    def __init__(self, padding_value: float | Sequence[float] | Mapping[str, float] = 0, pack: bool = False) -> None:
        self.padding_value, self.pack = padding_value, pack

    def __call__(self, batch: Sequence[Any]) -> Any:
        """The batch of a list of samples."""
        if not batch:
            raise ArgumentError(message("PadCollate", "the batch is empty"))
        first = batch[0]
        if isinstance(first, Mapping):
            return {key: self._part([sample[key] for sample in batch], self._value(key)) for key in first}
        if not isinstance(first, tuple) and not _is_list_of_parts(first):
            return self._part(batch, self._value(None))
        if any(len(sample) != len(first) for sample in batch):
            seen = str(sorted({len(sample) for sample in batch}))
            raise ArgumentError(message("PadCollate", "samples have different numbers of parts", seen))
        parts = [self._part(part, self._value(i)) for i, part in enumerate(zip(*batch, strict=True))]
        return type(first)(*parts) if hasattr(first, "_fields") else parts

    def _value(self, part: Any) -> float:
        given: Any = self.padding_value
        if isinstance(given, int | float):
            return given
        try:
            return given[part]
        except (LookupError, TypeError):
            seen = f"part {part!r} of padding_value={given!r}"
            raise ArgumentError(message("PadCollate", "no value for a part of the samples", seen)) from None

    def _part(self, values: Sequence[Any], padding: float) -> Any:
        first = values[0]
        if isinstance(first, str | bytes) or not (isinstance(first, list) or getattr(first, "ndim", 0) > 0):
            return default_collate(values)
        tensors = [_sequence(value) for value in values]
        lengths = api.tensor([len(tensor) for tensor in tensors], dtype=api.int64)
        if not float(padding).is_integer() and not any(api.is_floating_point(tensor) for tensor in tensors):
            wanted = "the padding_value of integer sequences must be an integer"
            raise DTypeError(message("PadCollate", wanted, str(padding)))
        padded = PaddedSequences(pad_sequence(tensors, batch_first=True, padding_value=padding), lengths)
        return padded.packed() if self.pack else padded


def _is_list_of_parts(sample: Any) -> bool:
    """Whether a list holds parts, and is not a sequence of numbers itself."""
    return isinstance(sample, list) and any(not isinstance(item, int | float | np.number) for item in sample)


def _sequence(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value) if len(value) else np.zeros(0, np.int64)
    if array.dtype.kind not in "biuf":
        raise DTypeError(message("PadCollate", "sequences must hold numbers", str(array.dtype)))
    return api.as_tensor(array) if isinstance(value, np.ndarray) or array.dtype.kind != "f" else api.tensor(value)


class BucketBatchSampler(Sampler):
    """Batches of samples of similar length, so that little is padded.

    In each epoch the samples are shuffled and dealt out to pools of ``pool`` batches; each pool is sorted by
    length (equal lengths stay shuffled) and cut into batches, and the batches come in a random order. Give
    it to a `DataLoader` as ``batch_sampler``.

    Args:
        lengths: the length of each sample.
        batch_size: samples in a batch.
        shuffle: False sorts all samples by length once: every epoch is the same, the shortest first.
        drop_last: leave out a batch that is smaller.
        pool: how many batches are sorted together; more pad less, fewer mix better.
        generator: draws the order; by default the global one does.

    >>> from wengert.data import BucketBatchSampler
    >>> sampler = BucketBatchSampler([5, 1, 4, 2, 3], batch_size=2, shuffle=False)
    >>> list(sampler), len(sampler)
    ([[1, 3], [4, 2], [0]], 3)
    """

    def __init__(
        self,
        lengths: Sequence[int] | Any,
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        pool: int = 50,
        generator: Any = None,
    ) -> None:
        self.lengths = np.asarray(lengths, np.int64)
        if self.lengths.ndim != 1:
            raise ArgumentError(message("BucketBatchSampler", "needs one length a sample", str(self.lengths.shape)))
        for name, value in (("batch_size", batch_size), ("pool", pool)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(message("BucketBatchSampler", f"{name} must be a positive integer", repr(value)))
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.pool, self.generator = pool, generator

    def __len__(self) -> int:
        total = len(self.lengths)
        return total // self.batch_size if self.drop_last else -(-total // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        total, size = len(self.lengths), self.batch_size
        if not self.shuffle:
            order = np.argsort(self.lengths, kind="stable")
            batches = [order[i : i + size].tolist() for i in range(0, total, size)]
            yield from batches[: len(self)]
            return
        generator = own_generator() if self.generator is None else self.generator
        order = api.randperm(total, generator=generator).numpy()
        batches = []
        for start in range(0, total, size * self.pool):
            pool = order[start : start + size * self.pool]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + size].tolist() for i in range(0, len(pool), size)]
        # Only the last pool can end in a smaller batch, so all but `len(self)` is that one.
        batches = batches[: len(self)]
        for i in api.randperm(len(batches), generator=generator).tolist():
            yield batches[i]

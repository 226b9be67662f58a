"""Reading one batch; the same code runs in this process and in workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .collate import default_collate
from .dataset import IterableDataset, Subset, TensorDataset


@dataclass
class Fetcher:
    """What a batch is made of: the data set, and how its samples become a batch.

    ``batched`` is False where single samples are handed out; ``batch_size`` counts for streams only.
    """

    dataset: Any
    collate_fn: Callable[[Any], Any]
    batched: bool
    batch_size: int | None
    drop_last: bool

    @property
    def stream(self) -> bool:
        """Whether the data set has an order of its own."""
        return isinstance(self.dataset, IterableDataset)

    @property
    def plain(self) -> bool:
        """Whether batches are rows of tensors, so that no code of the user's runs and no seed matters."""
        return self.batched and self.collate_fn is default_collate and _is_plain(self.dataset)

    def fetch(self, indices: Any) -> Any:
        """The batch of some indices, or the sample of one."""
        if not self.batched:
            return self.collate_fn(self.dataset[indices])
        if self.collate_fn is default_collate:
            whole = _take(self.dataset, indices)
            if whole is not None:
                return whole
        at_once = getattr(self.dataset, "__getitems__", None)
        return self.collate_fn(at_once(indices) if callable(at_once) else [self.dataset[i] for i in indices])

    def advance(self, samples: Iterator[Any]) -> Any:
        """The next batch of a stream; raises StopIteration at its end."""
        if self.batch_size is None:
            return self.collate_fn(next(samples))
        batch = list(islice(samples, self.batch_size))
        if not batch or (self.drop_last and len(batch) < self.batch_size):
            raise StopIteration
        return self.collate_fn(batch)


def _is_plain(dataset: Any) -> bool:
    while type(dataset) is Subset:
        dataset = dataset.dataset
    plain = isinstance(dataset, TensorDataset) and type(dataset).__getitem__ is TensorDataset.__getitem__
    return plain and not hasattr(dataset, "__getitems__")


def _take(dataset: Any, indices: Any) -> Any:
    """The default batch of plain tensors, by one indexing; None where a class has its own ideas."""
    if not _is_plain(dataset):
        return None
    while type(dataset) is Subset:
        indices = [dataset.indices[i] for i in indices]
        dataset = dataset.dataset
    return dataset.take(list(indices))

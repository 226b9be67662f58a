"""``DataLoader``: batches of a data set, in order or shuffled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...errors import ArgumentError, message
from .collate import default_collate, default_convert
from .dataset import IterableDataset, Subset, TensorDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler

__all__ = ["DataLoader", "default_collate", "default_convert"]


class DataLoader:
    """Goes through a data set batch by batch; each ``for`` loop over it is one epoch.

    Args:
        dataset: a `Dataset` or `IterableDataset`, or anything with ``[index]`` and ``len()``.
        batch_size: samples in a batch; None gives single samples as they are.
        shuffle: a new random order in each epoch.
        sampler: gives the order instead of ``shuffle``.
        batch_sampler: gives whole lists of indices instead.
        num_workers: only 0 for now, the samples are read in this process.
        collate_fn: makes a batch of a list of samples; by default `default_collate`.
        pin_memory: no effect, batches are in the CPU's memory.
        drop_last: leave out a last batch that is smaller.
        timeout, worker_init_fn, multiprocessing_context, prefetch_factor, persistent_workers: for
            worker processes.
        generator: draws the order; by default the global one does.

    >>> import wengert as wg
    >>> from wengert.utils.data import DataLoader, TensorDataset
    >>> data = TensorDataset(wg.arange(5.0), wg.arange(5))
    >>> [inputs.tolist() for inputs, labels in DataLoader(data, batch_size=2)]
    [[0.0, 1.0], [2.0, 3.0], [4.0]]
    >>> len(DataLoader(data, batch_size=2, drop_last=True))
    2
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, multiprocessing_context, prefetch_factor, persistent_workers)
        stream = isinstance(dataset, IterableDataset)
        _check_order(stream, batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        self.dataset, self.generator = dataset, generator
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self.drop_last = drop_last
        if sampler is None and not stream:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        elif batch_size is not None:
            BatchSampler((), batch_size, drop_last)  # for its checks
        self.batch_size, self.sampler, self.batch_sampler = batch_size, sampler, batch_sampler
        batched = batch_size is not None or batch_sampler is not None
        self.collate_fn: Callable[[Any], Any] = collate_fn or (default_collate if batched else default_convert)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.dataset, IterableDataset):
            yield from self._stream()
        elif self.batch_sampler is not None:
            for indices in self.batch_sampler:
                yield self._batch(indices)
        else:
            assert self.sampler is not None
            for index in self.sampler:
                yield self.collate_fn(self.dataset[index])

    def _stream(self) -> Iterator[Any]:
        if self.batch_size is None:
            yield from map(self.collate_fn, self.dataset)
            return
        for samples in BatchSampler(self.dataset, self.batch_size, self.drop_last):
            yield self.collate_fn(samples)

    def _batch(self, indices: Any) -> Any:
        if self.collate_fn is default_collate:
            whole = _take(self.dataset, indices)
            if whole is not None:
                return whole
        at_once = getattr(self.dataset, "__getitems__", None)
        return self.collate_fn(at_once(indices) if callable(at_once) else [self.dataset[i] for i in indices])

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset):
            total = len(self.dataset)  # type: ignore[arg-type]
            if self.batch_size is None:
                return total
            return total // self.batch_size if self.drop_last else -(-total // self.batch_size)
        order: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(order)


def _take(dataset: Any, indices: Any) -> Any:
    """The default batch of plain tensors, by one indexing; None where a class has its own ideas."""
    while type(dataset) is Subset:
        indices = [dataset.indices[i] for i in indices]
        dataset = dataset.dataset
    plain = isinstance(dataset, TensorDataset) and type(dataset).__getitem__ is TensorDataset.__getitem__
    return dataset.take(list(indices)) if plain and not hasattr(dataset, "__getitems__") else None


def _check_workers(num_workers: Any, timeout: float, context: Any, prefetch_factor: Any, persistent: bool) -> None:
    if num_workers < 0:
        raise ArgumentError(message("DataLoader", "num_workers option should be non-negative", str(num_workers)))
    if num_workers > 0:
        raise NotImplementedError(
            message(
                "DataLoader",
                "worker processes are not there yet",
                f"num_workers={num_workers}",
                "Use num_workers=0; worker processes come with the data part of Wengert",
            )
        )
    if timeout < 0:
        raise ArgumentError(message("DataLoader", "timeout option should be non-negative", str(timeout)))
    given = {
        "prefetch_factor": prefetch_factor,
        "persistent_workers": persistent,
        "multiprocessing_context": context,
    }
    for name, value in given.items():
        if value:
            raise ArgumentError(message("DataLoader", f"{name} needs num_workers > 0", repr(value)))


def _check_order(
    stream: bool, batch_size: Any, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    """Raise where two arguments say different things about the order or the size of batches."""
    given = {"shuffle": shuffle, "sampler": sampler is not None, "batch_sampler": batch_sampler is not None}
    wrong = ""
    if stream and any(given.values()):
        name = next(name for name, value in given.items() if value)
        wrong = f"an IterableDataset has its own order, {name} cannot be given with it"
    elif sampler is not None and shuffle:
        wrong = "sampler option is mutually exclusive with shuffle"
    elif batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        wrong = "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
    elif batch_sampler is None and batch_size is None and drop_last:
        wrong = "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
    if wrong:
        raise ArgumentError(message("DataLoader", wrong))

"""Samplers: the order in which a `DataLoader` visits the samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

from ... import api
from ...errors import ArgumentError, message


class Sampler:
    """Base of samplers: a subclass defines ``__iter__``, which yields indices, and mostly ``__len__``."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__")

    def __class_getitem__(cls, item: Any) -> type:
        return cls  # Sampler[int] in annotations


def own_generator() -> Any:
    """A generator seeded from the global one, so that an epoch's order does not depend on what else draws."""
    return api.Generator().manual_seed(int(api.randint(0, 2**62, ()).item()))


class SequentialSampler(Sampler):
    """The order of the data set: 0, 1, 2 and so on."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """A random order.

    Args:
        data_source: the data set.
        replacement: whether a sample may come again before all have come.
        num_samples: how many to draw; by default as many as there are.
        generator: draws the order; by default the global one seeds each epoch's.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        if num_samples is not None:
            _check_count("RandomSampler", num_samples)
        self.data_source, self.replacement = data_source, replacement
        self._num_samples, self.generator = num_samples, generator

    @property
    def num_samples(self) -> int:
        """How many indices one iteration gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        total, wanted = len(self.data_source), self.num_samples
        generator = own_generator() if self.generator is None else self.generator
        if self.replacement:
            yield from api.randint(0, total, (wanted,), generator=generator).tolist()
            return
        while wanted > 0 and total > 0:
            yield from api.randperm(total, generator=generator).tolist()[:wanted]
            wanted -= total

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given indices in a random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in api.randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Indices drawn with the given weights, which need not add up to 1.

    >>> from wengert.utils.data import WeightedRandomSampler
    >>> list(WeightedRandomSampler([0.0, 1.0], num_samples=3))
    [1, 1, 1]
    """

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Any = None
    ) -> None:
        _check_count("WeightedRandomSampler", num_samples)
        if not isinstance(replacement, bool):
            raise ArgumentError(
                message("WeightedRandomSampler", "replacement should be a boolean value", repr(replacement))
            )
        self.weights = api.as_tensor(weights, dtype=api.float64)
        if self.weights.ndim != 1:
            raise ArgumentError(
                message(
                    "WeightedRandomSampler",
                    "weights should be a 1d sequence",
                    f"shape {tuple(self.weights.shape)}",
                )
            )
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        drawn = api.multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator)
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Gathers the indices of another sampler in lists.

    Args:
        sampler: gives the indices.
        batch_size: length of the lists.
        drop_last: leave out a last list that is shorter.

    >>> from wengert.utils.data import BatchSampler
    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        _check_count("BatchSampler", batch_size, "batch_size")
        if not isinstance(drop_last, bool):
            raise ArgumentError(message("BatchSampler", "drop_last should be a boolean value", repr(drop_last)))
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        total: int = len(self.sampler)  # type: ignore[arg-type]
        return total // self.batch_size if self.drop_last else -(-total // self.batch_size)


def _check_count(sampler: str, value: Any, name: str = "num_samples") -> None:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value <= 0:
        raise ArgumentError(message(sampler, f"{name} should be a positive integer value", f"{name}={value}"))

"""Data sets: anything with ``[index]`` and ``len()``, or anything that can be iterated."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from ... import api
from ...errors import ArgumentError, IndexRangeError, ShapeError, message
from ...tensor import Tensor


class Dataset:
    """Base of data sets with random access; a subclass defines ``__getitem__`` and ``__len__``.

    ``+`` puts two one after the other. A subclass may also define ``__getitems__(indices)``, which
    gives the samples of a whole batch at once.

    >>> from wengert.utils.data import Dataset
    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 5
    ...     def __getitem__(self, index):
    ...         return index, index**2
    >>> (Squares() + Squares())[7]
    (2, 4)
    """

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__")

    def __add__(self, other: Any) -> Any:
        return ConcatDataset([self, other])

    def __class_getitem__(cls, item: Any) -> type:
        return cls  # Dataset[int] in annotations


class IterableDataset(Dataset):
    """Base of data sets that come as a stream; a subclass defines ``__iter__``.

    >>> from wengert.utils.data import DataLoader, IterableDataset
    >>> class Count(IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(5))
    >>> [batch.tolist() for batch in DataLoader(Count(), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__")

    def __add__(self, other: Any) -> ChainDataset:
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Tensors side by side: sample ``i`` is the tuple of every tensor's ``[i]``.

    Shape:
        every tensor (N, *), with the same N.

    >>> import wengert as wg
    >>> data = wg.utils.data.TensorDataset(wg.arange(3), wg.tensor([[0.0], [1.0], [2.0]]))
    >>> len(data), data[1]
    (3, (tensor(1), tensor([1.])))
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ArgumentError(message("TensorDataset", "at least one tensor is needed"))
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    message("TensorDataset", "takes tensors", type(tensor).__name__, "Use wengert.as_tensor(data)")
                )
        if any(tensor.ndim == 0 or len(tensor) != len(tensors[0]) for tensor in tensors):
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise ShapeError(
                message(
                    "TensorDataset",
                    "Size mismatch between tensors",
                    shapes,
                    "The first dimension counts the samples",
                )
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def take(self, indices: Sequence[int]) -> list[Tensor]:
        """The collated batch of some samples: one indexing for each tensor instead of one for each sample."""
        where = api.as_tensor(indices, dtype=api.int64)
        return [tensor[where] for tensor in self.tensors]


class StackDataset(Dataset):
    """Data sets side by side: sample ``i`` is the tuple, or by name the dictionary, of every one's ``[i]``.

    Args:
        *args: data sets of one length.
        **kwargs: the same by name, instead.

    >>> from wengert.utils.data import StackDataset
    >>> StackDataset(image=[[0], [1]], text=["zero", "one"])[1]
    {'image': [1], 'text': 'one'}
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) is bool(kwargs):
            seen = "both" if args else "none"
            raise ArgumentError(message("StackDataset", "takes data sets in a row, or by name", seen))
        self.datasets: Any = args or kwargs
        sizes = [len(dataset) for dataset in self._each()]
        if len(set(sizes)) > 1:
            raise ArgumentError(message("StackDataset", "Size mismatch between datasets", str(sizes)))
        self._length = sizes[0]

    def _each(self) -> list[Any]:
        return list(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def _sample(self, parts: Iterable[Any]) -> Any:
        return dict(zip(self.datasets, parts, strict=True)) if isinstance(self.datasets, dict) else tuple(parts)

    def __getitem__(self, index: Any) -> Any:
        return self._sample(dataset[index] for dataset in self._each())

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The samples of a batch; at once, where a data set can do that."""
        columns = [Subset(dataset, range(self._length)).__getitems__(indices) for dataset in self._each()]
        return [self._sample(parts) for parts in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset):
    """Data sets one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ArgumentError(message("ConcatDataset", "datasets should not be an empty iterable"))
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise ArgumentError(
                message(
                    "ConcatDataset",
                    "does not support IterableDataset",
                    cure="Use ChainDataset, or + on the stream",
                )
            )
        self.cumulative_sizes = list(accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        size = len(self)
        if not -size <= index < size:
            raise IndexRangeError(
                message(
                    "ConcatDataset",
                    "absolute value of index should not exceed dataset length",
                    f"{index} of {size}",
                )
            )
        index %= size
        number = bisect_right(self.cumulative_sizes, index)
        return self.datasets[number][index - (self.cumulative_sizes[number - 1] if number else 0)]


class ChainDataset(IterableDataset):
    """Streams one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)


class Subset(Dataset):
    """Some samples of a data set.

    >>> from wengert.utils.data import Subset
    >>> list(Subset("abcdef", [4, 0]))
    ['e', 'a']
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The samples of a batch; at once, where the data set can do that."""
        chosen = [self.indices[i] for i in indices]
        at_once: Any = getattr(self.dataset, "__getitems__", None)
        return [self.dataset[i] for i in chosen] if at_once is None else at_once(chosen)


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset]:
    """Split a data set at random into parts that do not overlap.

    Args:
        dataset: what to split.
        lengths: sizes that add up to the whole, or fractions that add up to 1; what rounding leaves
            over goes to the parts in turn.
        generator: draws the order.

    >>> import wengert as wg
    >>> parts = wg.utils.data.random_split(range(10), [0.7, 0.3], generator=wg.Generator().manual_seed(0))
    >>> [len(part) for part in parts], sorted([*parts[0], *parts[1]]) == list(range(10))
    ([7, 3], True)
    """
    total = len(dataset)
    sizes = _sizes(lengths, total)
    order: list[int] = api.randperm(total, generator=generator).tolist()
    ends = list(accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def _sizes(lengths: Sequence[float], total: int) -> list[int]:
    if lengths and math.isclose(sum(lengths), 1):
        for number, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ArgumentError(
                    message("random_split", f"Fraction at index {number} is not between 0 and 1", str(fraction))
                )
        sizes = [math.floor(total * fraction) for fraction in lengths]
        for number in range(total - sum(sizes)):
            sizes[number % len(sizes)] += 1
        for number, size in enumerate(sizes):
            if size == 0:
                warnings.warn(f"random_split: the part at index {number} is empty.", stacklevel=3)
        return sizes
    if any(int(length) != length for length in lengths) or sum(lengths) != total:
        raise ArgumentError(
            message(
                "random_split",
                "Sum of input lengths does not equal the length of the input dataset",
                f"lengths {list(lengths)}, {total} samples",
                "Give sizes that add up to the number of samples, or fractions that add up to 1",
            )
        )
    return [int(length) for length in lengths]

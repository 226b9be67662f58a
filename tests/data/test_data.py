"""Data sets, samplers, collation and the loader."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert.utils import data
from wengert.utils.data import DataLoader, TensorDataset


def generator(seed: int = 0) -> Any:
    return wg.Generator().manual_seed(seed)


class Squares(data.Dataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[int, float]:
        if index >= self.size:
            raise IndexError(index)
        return index, float(index**2)


class Stream(data.IterableDataset):
    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))

    def __len__(self) -> int:
        return self.size


# --- data sets -----------------------------------------------------------------------------------------


def test_tensor_dataset() -> None:
    x, y = wg.arange(6.0).reshape(3, 2), wg.tensor([5, 6, 7])
    dataset = TensorDataset(x, y)
    assert len(dataset) == 3
    image, label = dataset[-1]
    assert image.tolist() == [4.0, 5.0]
    assert label.item() == 7
    assert dataset[1:][1].tolist() == [6, 7]
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize(
    ("tensors", "error", "words"),
    [
        ([], ValueError, "TensorDataset: at least one tensor is needed"),
        ([wg.ones(3), wg.ones(2, 3)], ValueError, "Size mismatch between tensors: (3,), (2, 3)"),
        ([wg.tensor(1.0)], ValueError, "Size mismatch between tensors: ()"),
        ([np.ones(3)], TypeError, "TensorDataset: takes tensors: ndarray. Use wengert.as_tensor(data)"),
    ],
)
def test_tensor_dataset_refuses(tensors: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        TensorDataset(*tensors)


def test_concat() -> None:
    both = Squares(3) + Squares(2)
    assert isinstance(both, data.ConcatDataset)
    assert [both[i][0] for i in range(len(both))] == [0, 1, 2, 0, 1]
    assert both[-1] == (1, 1.0)
    for index in (5, -6):
        with pytest.raises(IndexError, match=r"absolute value of index should not exceed dataset length: -?\d of 5"):
            both[index]
    with pytest.raises(ValueError, match="should not be an empty iterable"):
        data.ConcatDataset([])
    with pytest.raises(ValueError, match="does not support IterableDataset"):
        data.ConcatDataset([Stream(1)])


def test_chain() -> None:
    both = Stream(2) + Stream(3)
    assert list(both) == [0, 1, 0, 1, 2]
    assert len(both) == 5


def test_subset() -> None:
    part = data.Subset(Squares(9), [8, 2, 5])
    assert len(part) == 3
    assert part[0] == (8, 64.0)
    assert part.__getitems__([2, 1]) == [(5, 25.0), (2, 4.0)]
    tensors = data.Subset(TensorDataset(wg.arange(9)), [8, 2, 5])
    assert tensors[[0, 2]][0].tolist() == [8, 5]


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([7, 3], [7, 3]),
        ([0.5, 0.5], [5, 5]),
        ([0.33, 0.33, 0.34], [4, 3, 3]),
        ([1], [10]),
        ([10, 0], [10, 0]),
    ],
)
def test_random_split(lengths: Any, sizes: list[int]) -> None:
    parts = data.random_split(range(10), lengths, generator=generator())
    assert [len(part) for part in parts] == sizes
    assert sorted(i for part in parts for i in part) == list(range(10))
    again = data.random_split(range(10), lengths, generator=generator())
    assert [list(part) for part in again] == [list(part) for part in parts]
    other = data.random_split(range(10), lengths, generator=generator(1))
    assert [list(part) for part in other] != [list(part) for part in parts]


def test_random_split_refuses() -> None:
    for lengths in ([7, 4], [0.5, 0.6], [0.5, 9.5], []):
        with pytest.raises(ValueError, match="Sum of input lengths does not equal the length of the input dataset"):
            data.random_split(range(10), lengths)
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        data.random_split(range(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="the part at index 1 is empty"):
        data.random_split(range(1), [0.5, 0.5])


def test_a_base_class_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="Dataset does not define __getitem__"):
        data.Dataset()[0]
    with pytest.raises(NotImplementedError, match="IterableDataset does not define __iter__"):
        iter(data.IterableDataset())
    with pytest.raises(NotImplementedError, match="Sampler does not define __iter__"):
        iter(data.Sampler())


# --- samplers ------------------------------------------------------------------------------------------


def test_random_sampler() -> None:
    sampler = data.RandomSampler(range(10), generator=generator())
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert list(data.RandomSampler(range(10), generator=generator())) == first
    more = list(data.RandomSampler(range(4), num_samples=10))
    assert len(more) == 10
    assert Counter(more[:8]) == Counter(dict.fromkeys(range(4), 2))
    assert len(list(data.RandomSampler(range(10), num_samples=3))) == 3
    assert list(data.RandomSampler([])) == []


def test_random_sampler_with_replacement() -> None:
    sampler = data.RandomSampler(range(5), replacement=True, num_samples=100)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 100
    assert set(drawn) == set(range(5))


def test_the_global_seed_fixes_the_order() -> None:
    def order() -> list[int]:
        wg.manual_seed(4)
        return list(data.RandomSampler(range(20)))

    assert order() == order()


def test_an_epochs_order_does_not_depend_on_what_else_draws() -> None:
    def order(between: int) -> list[int]:
        wg.manual_seed(4)
        drawn = []
        for index in data.RandomSampler(range(4), num_samples=12):
            wg.randn(between)
            drawn.append(index)
        return drawn

    assert order(0) == order(5)


def test_other_samplers() -> None:
    assert list(data.SequentialSampler("abc")) == [0, 1, 2]
    subset = data.SubsetRandomSampler([3, 1, 4], generator=generator())
    assert sorted(subset) == [1, 3, 4]
    assert len(subset) == 3
    weighted = data.WeightedRandomSampler([0.0, 3.0, 1.0], 1000, generator=generator())
    count = Counter(weighted)
    assert set(count) == {1, 2}
    assert count[1] == pytest.approx(750, abs=60)
    assert sorted(data.WeightedRandomSampler([1.0, 1.0, 1.0], 3, replacement=False)) == [0, 1, 2]
    batches = data.BatchSampler(range(7), 3, drop_last=True)
    assert list(batches) == [[0, 1, 2], [3, 4, 5]]
    assert len(batches) == 2


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: data.RandomSampler([1], replacement=1), TypeError, "replacement should be a boolean value"),
        (
            lambda: data.RandomSampler([1], num_samples=0),
            ValueError,
            "num_samples should be a positive integer value",
        ),
        (
            lambda: data.WeightedRandomSampler([1.0], 1.5),
            ValueError,
            "positive integer value: num_samples=1.5",
        ),
        (
            lambda: data.WeightedRandomSampler([[1.0]], 1),
            ValueError,
            "weights should be a 1d sequence: shape (1, 1)",
        ),
        (
            lambda: data.WeightedRandomSampler([1.0], 1, 2),
            ValueError,
            "replacement should be a boolean value: 2",
        ),
        (
            lambda: data.BatchSampler([1], 0, False),
            ValueError,
            "BatchSampler: batch_size should be a positive",
        ),
        (lambda: data.BatchSampler([1], True, False), ValueError, "positive integer value: batch_size=True"),
        (lambda: data.BatchSampler([1], 1, 0), ValueError, "drop_last should be a boolean value: 0"),
    ],
)
def test_samplers_refuse(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        make()


# --- collation -----------------------------------------------------------------------------------------

Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("sample", "dtype"),
    [
        (1, "int64"),
        (1.5, "float64"),
        (True, "bool"),
        (np.float32(1), "float32"),
        (np.ones(2, np.int32), "int32"),
        (wg.ones(2, dtype=wg.float16), "float16"),
    ],
    ids=repr,
)
def test_collate_makes_one_tensor(sample: Any, dtype: str) -> None:
    batch = data.default_collate([sample, sample, sample])
    assert batch.dtype == getattr(wg, dtype)
    assert batch.shape == (3, *np.shape(sample))


def test_collate_of_arrays_that_differ() -> None:
    mixed = data.default_collate([np.float32(1), np.float64(2.5), 3, wg.tensor(4)])
    assert mixed.tolist() == [1, 2.5, 3, 4] and mixed.dtype == wg.float64
    arrays = [np.arange(6).reshape(2, 3).T, np.zeros((3, 2), np.int64)]
    assert data.default_collate(arrays).tolist() == [arrays[0].tolist(), arrays[1].tolist()]
    with pytest.raises(ValueError, match="stack expects each tensor to be equal size"):
        data.default_collate([np.zeros(2), np.zeros(3)])


def test_collate_nested() -> None:
    sample = {"p": Point(1, [2.0, "a"]), "q": (wg.ones(2), b"b"), "r": OrderedDict(s=3)}
    batch = data.default_collate([sample, sample])
    assert isinstance(batch["p"], Point)
    assert batch["p"].x.tolist() == [1, 1]
    assert batch["p"].y[0].tolist() == [2.0, 2.0]
    assert batch["p"].y[1] == ["a", "a"]
    assert batch["q"][0].shape == (2, 2)
    assert batch["q"][1] == [b"b", b"b"]
    assert type(batch["r"]) is OrderedDict


def test_collate_keeps_the_graph() -> None:
    x = wg.ones(2, requires_grad=True)
    data.default_collate([x, x * 2]).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        ([], ValueError, "default_collate: the batch is empty"),
        ([object()], TypeError, "numpy arrays, numbers, dicts or lists: builtins.object"),
        ([wg.ones(2), wg.ones(3)], ValueError, "stack expects each tensor to be equal size: (2,), (3,)"),
        ([[1], [1, 2]], ValueError, "each element in list of batch should be of equal size: lengths [1, 2]"),
        ([np.array(["a"])], TypeError, "arrays of this kind cannot become tensors: <U1"),
        ([None], TypeError, "NoneType"),
    ],
)
def test_collate_refuses(batch: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        data.default_collate(batch)


def test_convert() -> None:
    seen = data.default_convert({"a": np.ones(2), "b": (np.int64(3), "c"), "d": Point(np.zeros(1), None)})
    assert wg.is_tensor(seen["a"])
    assert wg.is_tensor(seen["b"][0])
    assert seen["b"][1] == "c"
    assert wg.is_tensor(seen["d"].x)
    assert data.default_convert(np.array(["a"])).dtype.kind == "U"


# --- the loader ----------------------------------------------------------------------------------------


def test_batches_in_order() -> None:
    loader = DataLoader(Squares(5), batch_size=2)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [index.tolist() for index, _ in batches] == [[0, 1], [2, 3], [4]]
    assert batches[1][1].tolist() == [4.0, 9.0]
    assert isinstance(batches[0], list)


def test_batches_of_tensors_are_those_of_samples() -> None:
    """The quick way (one indexing a batch) gives what collating sample by sample gives."""
    dataset = TensorDataset(wg.randn(10, 3), wg.arange(10))
    part = data.Subset(data.Subset(dataset, range(9, -1, -1)), [0, 3, 5, 7])
    for source in (dataset, part):
        quick = list(DataLoader(source, batch_size=3))
        slow = list(DataLoader(source, batch_size=3, collate_fn=lambda samples: data.default_collate(samples)))
        assert len(quick) == len(slow)
        for a, b in zip(quick, slow, strict=True):
            assert type(a) is type(b) is list
            assert all(wg.equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))


def test_a_subclass_of_tensor_dataset_is_asked_itself() -> None:
    class Doubled(TensorDataset):
        def __getitem__(self, index: Any) -> Any:
            return tuple(x * 2 for x in super().__getitem__(index))

    assert next(iter(DataLoader(Doubled(wg.arange(4)), batch_size=4)))[0].tolist() == [0, 2, 4, 6]


def test_getitems_is_used() -> None:
    class AtOnce(Squares):
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [-i for i in indices]

    assert [b.tolist() for b in DataLoader(AtOnce(3), batch_size=2)] == [[0, -1], [-2]]


def test_shuffle() -> None:
    loader = DataLoader(TensorDataset(wg.arange(50)), batch_size=20, shuffle=True, generator=generator())
    epochs = [[i for (batch,) in loader for i in batch.tolist()] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0] != epochs[1]
    again = DataLoader(TensorDataset(wg.arange(50)), batch_size=20, shuffle=True, generator=generator())
    assert [i for (batch,) in again for i in batch.tolist()] == epochs[0]


def test_samplers_and_sizes() -> None:
    squares = Squares(5)
    assert len(DataLoader(squares, batch_size=2, drop_last=True)) == 2
    by_sampler = DataLoader(squares, batch_size=2, sampler=[4, 0, 2])
    assert [index.tolist() for index, _ in by_sampler] == [[4, 0], [2]]
    by_batches = DataLoader(squares, batch_sampler=[[1, 2, 3], [0]])
    assert [index.tolist() for index, _ in by_batches] == [[1, 2, 3], [0]]
    assert len(by_batches) == 2
    single = DataLoader(squares, batch_size=None)
    assert list(single)[2] == [2, 4.0]
    assert len(single) == 5
    assert list(DataLoader(squares, batch_size=3, collate_fn=len)) == [3, 2]
    assert len(list(DataLoader([1, 2, 3]))) == 3


def test_streams() -> None:
    assert [b.tolist() for b in DataLoader(Stream(5), batch_size=2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Stream(5), batch_size=2, drop_last=True)] == [[0, 1], [2, 3]]
    assert list(DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]
    assert [len(DataLoader(Stream(5), batch_size=n)) for n in (None, 2, 5)] == [5, 3, 1]
    assert len(DataLoader(Stream(5), batch_size=2, drop_last=True)) == 2


@pytest.mark.parametrize(
    ("dataset", "arguments", "words"),
    [
        (Squares(3), {"num_workers": -1}, "num_workers option should be non-negative: -1"),
        (Squares(3), {"timeout": -1}, "timeout option should be non-negative: -1"),
        (Squares(3), {"prefetch_factor": 2}, "prefetch_factor needs num_workers > 0: 2"),
        (Squares(3), {"persistent_workers": True}, "persistent_workers needs num_workers > 0: True"),
        (Squares(3), {"num_workers": 1, "prefetch_factor": 0}, "prefetch_factor should be positive: 0"),
        (Squares(3), {"sampler": [1], "shuffle": True}, "sampler option is mutually exclusive with shuffle"),
        (
            Squares(3),
            {"batch_sampler": [[1]], "batch_size": 2},
            "batch_sampler option is mutually exclusive with",
        ),
        (
            Squares(3),
            {"batch_size": None, "drop_last": True},
            "batch_size=None option disables auto-batching",
        ),
        (Squares(3), {"batch_size": 0}, "batch_size should be a positive integer value: batch_size=0"),
        (
            Stream(3),
            {"shuffle": True},
            "an IterableDataset has its own order, shuffle cannot be given with it",
        ),
        (Stream(3), {"sampler": [1]}, "sampler cannot be given with it"),
        (Stream(3), {"batch_size": 0}, "batch_size should be a positive integer value: batch_size=0"),
    ],
)
def test_loader_refuses(dataset: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        DataLoader(dataset, **arguments)


def test_an_error_in_a_sample_names_itself() -> None:
    class Broken(Squares):
        def __getitem__(self, index: int) -> Any:
            raise KeyError("no such file")

    with pytest.raises(KeyError, match="no such file"):
        next(iter(DataLoader(Broken(3))))


def test_importable_as_torchs_modules() -> None:
    from wengert.utils.data.dataloader import DataLoader as Loader
    from wengert.utils.data.dataloader import default_collate
    from wengert.utils.data.dataset import Dataset
    from wengert.utils.data.sampler import Sampler

    assert (Loader, default_collate) == (DataLoader, data.default_collate)
    assert (Dataset, Sampler) == (data.Dataset, data.Sampler)

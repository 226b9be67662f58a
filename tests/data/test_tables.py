"""Tables, splits and folds."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pandas
import pytest
from sklearn.datasets import load_diabetes, load_iris

import wengert as wg
from wengert import data
from wengert.utils.data import DataLoader

SIZES, KINDS = [1.5, 2.5, 3.5], ["b", "a", "b"]


def test_bunches() -> None:
    iris = data.read_table(load_iris())
    assert len(iris) == 150 and iris.feature_names[0] == "sepal length (cm)"
    assert iris.class_names == ["setosa", "versicolor", "virginica"]
    features, labels = next(iter(DataLoader(iris, batch_size=150)))
    assert features.dtype == wg.float32 and labels.dtype == wg.int64
    np.testing.assert_allclose(features.numpy(), load_iris().data, rtol=1e-6)
    assert labels.tolist() == load_iris().target.tolist()
    diabetes = data.read_table(load_diabetes(), dtype=wg.float64)
    assert diabetes[0][1].dtype == wg.float64 and diabetes.class_names == []


def test_arrays() -> None:
    matrix = np.arange(12.0).reshape(4, 3)
    (features,) = data.read_table(matrix)[1]
    assert features.tolist() == [3.0, 4.0, 5.0]
    table = data.read_table(matrix, target=-1)
    assert table.feature_names == ["0", "1"] and table[3][1].item() == 11.0
    assert data.read_table(wg.from_numpy(matrix), np.array([1, 0, 1, 0]))[0][1].dtype == wg.int64
    rows = np.array([(1.0, 2), (3.0, 4)], [("x", float), ("y", int)])
    assert data.read_table(rows, "y").feature_names == ["x"]
    many = data.read_table(matrix, np.ones((4, 2)))
    assert many[0][1].shape == (2,)


def test_text_becomes_codes() -> None:
    table = data.read_table({"size": SIZES, "kind": KINDS, "good": [True, False, True]}, target="good")
    assert table.categories == {"kind": ["a", "b"]}
    assert table.tensors[0].tolist() == [[1.5, 1.0], [2.5, 0.0], [3.5, 1.0]]
    assert table.tensors[1].tolist() == [1, 0, 1] and table.tensors[1].dtype == wg.int64
    labels = data.read_table({"size": SIZES, "kind": KINDS}, target="kind")
    assert labels.class_names == ["a", "b"] and labels.tensors[1].tolist() == [1, 0, 1]


def frame() -> Any:
    return pandas.DataFrame(
        {
            "size": SIZES,
            "kind": KINDS,
            "grade": pandas.Categorical(["low", "high", "low"], categories=["low", "high"], ordered=True),
            "good": [True, False, True],
            "count": pandas.array([3, 1, 2], dtype="Int64"),
            "text": pandas.array(["v", "u", "v"], dtype="string"),
        },
        index=[7, 7, 3],
    )


def test_frames() -> None:
    table = data.read_table(frame(), target="size")
    assert table.feature_names == ["kind", "grade", "good", "count", "text"] and table.tensors[1].tolist() == SIZES
    assert table.categories == {"kind": ["a", "b"], "grade": ["low", "high"], "text": ["u", "v"]}
    assert table.tensors[0].tolist() == [[1, 0, 1, 3, 1], [0, 1, 0, 1, 0], [1, 0, 1, 2, 1]]
    graded = data.read_table(frame()[["size", "grade"]], target="grade")
    assert graded.class_names == ["low", "high"] and graded.tensors[1].tolist() == [0, 1, 0]
    alone = data.read_table(frame()[["size"]], target=frame()["grade"])
    assert alone.class_names == ["low", "high"] and alone.tensors[1].tolist() == [0, 1, 0]
    gaps = data.read_table(frame()[["size"]].assign(n=pandas.array([1, None, 3], dtype="Int64")))
    assert np.isnan(gaps.tensors[0][1, 1].item()) and gaps.tensors[0][2].tolist() == [3.5, 3]


def test_several_targets() -> None:
    table = data.read_table(frame(), target=["count", "size"])
    assert table.tensors[1].tolist() == [[count, size] for count, size in zip([3, 1, 2], SIZES, strict=True)]
    assert table.feature_names == ["kind", "grade", "good", "text"] and table.class_names == []
    labelled = data.read_table(pandas.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]}), target=["b", "a", "b"])
    assert labelled.tensors[1].tolist() == [1, 0, 1] and labelled.feature_names == ["a", "b"]
    with pytest.raises(TypeError, match="several targets must be numbers: column 'kind'"):
        data.read_table(frame(), target=["size", "kind"])


def test_frames_that_have_gaps() -> None:
    with pytest.raises(TypeError, match="column 'b' holds what is no number: <NA>"):
        data.read_table(frame().assign(b=pandas.array([True, None, False], dtype="boolean")))
    gap = pandas.Categorical(["low", None, "low"])
    with pytest.raises(TypeError, match=r"column 'g' has rows without a category: 1 of them\. Fill in what is missing"):
        data.read_table(frame().assign(g=gap))
    with pytest.raises(TypeError, match="column 't' is not of numbers or text: datetime64"):
        data.read_table(frame().assign(t=pandas.to_datetime(["2020-01-01"] * 3)))


def test_bunches_of_frames() -> None:
    plain, framed = (load_iris(as_frame=as_frame) for as_frame in (False, True))
    seen, wanted = data.read_table(framed), data.read_table(plain)
    assert all(wg.equal(a, b) for a, b in zip(seen.tensors, wanted.tensors, strict=True))
    assert seen.class_names == wanted.class_names == ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: data.read_table(np.zeros(3)), "an array must have rows and columns: (3,)"),
        (lambda: data.read_table({"a": [1], "b": [2]}, "c"), "no such column: 'c'. Columns: a, b"),
        (lambda: data.read_table(np.zeros((2, 2)), 5), "no such column: 5. Columns: 0, 1"),
        (lambda: data.read_table({"a": [1, 2], "b": [2]}), "columns have different lengths: a 2, b 1"),
        (lambda: data.read_table(frame()[["size", "size"]]), "two columns have the same name: 'size'"),
        (lambda: data.read_table({"a": [1], 0: [2], "0": [3]}), "two columns have the same name: '0'"),
        (lambda: data.read_table({"a": [[1, 2]], "b": [3]}), "column 'a' must have one value for each row: (1, 2)"),
        (lambda: data.read_table({"a": 1}), "column 'a' must have one value for each row: ()"),
        (lambda: data.read_table({"a": [1]}, "a"), "the table has no columns of features"),
    ],
)
def test_tables_refuse(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


def test_columns_that_are_no_numbers() -> None:
    with pytest.raises(TypeError, match=r"column 'a' mixes text and other values: None\. Fill in what is missing"):
        data.read_table({"a": ["x", None]})
    with pytest.raises(TypeError, match="column 'a' is not of numbers or text: complex128"):
        data.read_table({"a": [1j]})


# --- splits --------------------------------------------------------------------------------------------


def own(seed: int = 0) -> Any:
    return wg.Generator().manual_seed(seed)


def test_split() -> None:
    parts = data.train_validation_test_split(range(100), generator=own())
    assert [len(part) for part in parts] == [70, 15, 15]
    assert sorted(i for part in parts for i in part) == list(range(100))
    again = data.train_validation_test_split(range(100), generator=own())
    assert [list(part) for part in again] == [list(part) for part in parts]
    assert list(parts[0]) != list(data.train_validation_test_split(range(100), generator=own(1))[0])
    runs = data.train_validation_test_split(range(10), (0.6, 0.4), shuffle=False)
    assert [list(part) for part in runs] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]


def test_split_by_class() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    parts = data.train_validation_test_split(range(100), (0.8, 0.1, 0.1), stratify=labels, generator=own())
    counts = [Counter(labels[i] for i in part) for part in parts]
    assert counts == [{"a": 48, "b": 24, "c": 8}, {"a": 6, "b": 3, "c": 1}, {"a": 6, "b": 3, "c": 1}]
    assert sorted(i for part in parts for i in part) == list(range(100))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("stratify", [None, wg.tensor([0, 1, 1] * 7 + [0, 0])])
def test_folds(shuffle: bool, stratify: Any) -> None:
    pairs = list(data.k_fold(range(23), 5, shuffle=shuffle, stratify=stratify, generator=own()))
    assert len(pairs) == 5
    assert sorted(i for _, validation in pairs for i in validation) == list(range(23))
    for training, validation in pairs:
        assert sorted([*training, *validation]) == list(range(23))
        assert len(validation) in (4, 5)
        if stratify is not None:
            assert sum(int(stratify[i]) for i in validation) in (2, 3)


def test_splits_refuse() -> None:
    for fractions in ((), (0.5, 0.6), (1.5, -0.5)):
        with pytest.raises(ValueError, match="fractions must be positive and add up to 1"):
            data.train_validation_test_split(range(5), fractions)
    for k in (1, 6, True):
        with pytest.raises(ValueError, match="k must be from 2 to the number of samples"):
            list(data.k_fold(range(5), k))
    with pytest.raises(ValueError, match=r"stratify needs one label for each sample: \(2,\), 5 samples"):
        list(data.k_fold(range(5), 2, stratify=[0, 1]))

"""Tables: NumPy arrays, pandas' frames and scikit-learn's bunches as data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import api
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..utils.data import TensorDataset


class TableDataset(TensorDataset):
    """Rows of a table: sample ``i`` is (features, target), or (features,) without a target.

    Attributes:
        feature_names: names of the columns.
        class_names: names of the classes, where targets are class numbers; else empty.
        categories: the values of columns that were text, in the order of their codes.
    """

    def __init__(
        self,
        *tensors: Any,
        feature_names: Sequence[str],
        class_names: Sequence[str] = (),
        categories: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        super().__init__(*tensors)
        self.feature_names, self.class_names = list(feature_names), list(class_names)
        self.categories = dict(categories or {})


def read_table(data: Any, target: Any = None, *, dtype: Any = None) -> TableDataset:
    """A data set of a table.

    Args:
        data: an array (N, columns) or a tensor; a structured array, pandas' DataFrame or mapping of
            columns; or a bunch of scikit-learn.
        target: the column that is predicted: its name or (for arrays) its number; a list of names of several columns
            of numbers; or an array (N). A bunch has its own.
        dtype: of the features; by default the default dtype.

    Columns of text become codes 0, 1, 2 in sorted order, pandas' categories in their own. Targets that are text,
    categories, booleans or integers become int64 (the first two: class numbers), others ``dtype``.

    >>> from wengert.data import read_table
    >>> table = read_table({"size": [1.0, 2.0, 3.0], "kind": ["b", "a", "b"]}, target="kind")
    >>> table[0], table.class_names
    ((tensor([1.]), tensor(1)), ['a', 'b'])
    """
    dtype = dtype or api.get_default_dtype()
    class_names: Sequence[str] = ()
    if isinstance(data, Mapping) and "data" in data and "target" in data:  # a bunch
        class_names = [str(name) for name in _given(data, "target_names")]
        columns = _columns(data["data"], [str(name) for name in _given(data, "feature_names")])
        target = data["target"] if target is None else target
    else:
        columns = _columns(data, [])
    aim = _target(columns, target)
    if not columns:
        raise ArgumentError(message("read_table", "the table has no columns of features"))
    categories: dict[str, Sequence[Any]] = {}
    features = []
    for name, column in columns.items():
        codes, values = _numbers(name, column)
        features.append(codes)
        if values is not None:
            categories[name] = values
    matrix = api.as_tensor(_stacked(columns, features), dtype=dtype)
    if aim is None:
        return TableDataset(matrix, feature_names=list(columns), categories=categories)
    codes, values = _numbers("target", aim)
    if values is not None:
        class_names = [str(value) for value in values]
    exact = codes.dtype.kind in "biu"
    aims = api.as_tensor(np.ascontiguousarray(codes), dtype=api.int64 if exact else dtype)
    names = class_names if exact and aims.ndim == 1 else ()
    return TableDataset(matrix, aims, feature_names=list(columns), class_names=names, categories=categories)


def _given(bunch: Mapping[str, Any], key: str) -> list[Any]:
    value = bunch.get(key)
    return [] if value is None else list(value)


def _columns(data: Any, names: Sequence[str]) -> dict[str, Any]:
    """The table's columns by name."""
    if isinstance(data, Mapping):
        return _named(data, list(data))
    if hasattr(data, "columns") and hasattr(data, "dtypes"):  # pandas' DataFrame; need not be importable here
        return _named(data, list(data.columns))
    array = np.asarray(data)
    if array.dtype.names:
        return _named(array, list(array.dtype.names))
    if array.ndim != 2:
        raise ShapeError(message("read_table", "an array must have rows and columns", str(array.shape)))
    names = names if len(names) == array.shape[1] else [str(number) for number in range(array.shape[1])]
    return {name: array[:, number] for number, name in enumerate(names)}


def _named(data: Any, keys: list[Any]) -> dict[str, Any]:
    """Columns under the text of their keys."""
    names = [str(key) for key in keys]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ArgumentError(message("read_table", "two columns have the same name", repr(twice)))
    columns = {name: _values(data[key]) for name, key in zip(names, keys, strict=True)}
    for name, column in columns.items():
        if np.ndim(column) != 1:
            wrong = f"column {name!r} must have one value for each row"
            raise ShapeError(message("read_table", wrong, str(np.shape(column))))
    return columns


def _target(columns: dict[str, Any], target: Any) -> Any:
    """The column of targets; taken out of the table if it is one of its columns."""
    if target is None:
        return None
    if _are_names(target, columns):
        several = {name: columns.pop(name) for name in target}
        return _stacked(several, [_plain(name, column) for name, column in several.items()])
    if isinstance(target, str | int) and not isinstance(target, bool):
        names = list(columns)
        if isinstance(target, int) and -len(names) <= target < len(names):
            target = names[target]
        if target not in columns:
            raise ArgumentError(message("read_table", "no such column", repr(target), f"Columns: {', '.join(names)}"))
        return columns.pop(target)
    return _values(target)


def _are_names(target: Any, columns: dict[str, Any]) -> bool:
    """Whether a list is of columns, and not of labels: each once, all known."""
    if not isinstance(target, list) or not target or any(not isinstance(name, str) for name in target):
        return False
    return set(target) <= set(columns) and len(set(target)) == len(target)


def _plain(name: str, column: Any) -> Any:
    codes, values = _numbers(name, column)
    if values is not None:
        raise DTypeError(message("read_table", "several targets must be numbers", f"column {name!r}"))
    return codes


def _values(column: Any) -> Any:
    """A column as an array, or as pandas' ``Categorical``, which knows the order of its categories."""
    inner = getattr(column, "values", column)
    return inner if _is_categorical(inner) else np.asarray(column)


def _is_categorical(column: Any) -> bool:
    return hasattr(column, "codes") and hasattr(column, "categories")


def _numbers(name: str, column: Any) -> tuple[Any, Sequence[Any] | None]:
    """A column as numbers, and the values behind them where they are codes."""
    if _is_categorical(column):
        codes = np.asarray(column.codes, np.int64)
        if (codes < 0).any():
            wrong = f"column {name!r} has rows without a category"
            raise DTypeError(message("read_table", wrong, f"{(codes < 0).sum()} of them", "Fill in what is missing"))
        return codes, list(column.categories)
    column = np.asarray(column)
    if column.dtype.kind in "biuf":
        return column, None
    if column.dtype.kind in "OUST":
        values = column.tolist()
        if all(isinstance(value, bool | int | float) for value in values):
            return np.asarray(values), None
        odd = [value for value in values if not isinstance(value, str | bytes)]
        if odd and len(odd) < len(values):
            wrong = f"column {name!r} mixes text and other values"
            raise DTypeError(message("read_table", wrong, repr(odd[0]), "Fill in what is missing"))
        if odd:
            strange = next(value for value in odd if not isinstance(value, bool | int | float))
            wrong = f"column {name!r} holds what is no number"
            raise DTypeError(message("read_table", wrong, repr(strange), "Fill in what is missing"))
        known, codes = np.unique(np.asarray(values), return_inverse=True)
        return codes.astype(np.int64), known.tolist()
    raise DTypeError(message("read_table", f"column {name!r} is not of numbers or text", str(column.dtype)))


def _stacked(columns: dict[str, Any], features: list[Any]) -> Any:
    lengths = {name: len(column) for name, column in zip(columns, features, strict=True)}
    if len(set(lengths.values())) > 1:
        seen = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ShapeError(message("read_table", "columns have different lengths", seen))
    return np.stack([np.asarray(column, np.float64) for column in features], axis=1)

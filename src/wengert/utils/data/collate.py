"""Making one batch of many samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import api
from ...errors import ArgumentError, DTypeError, ShapeError, message
from ...tensor import Tensor


def default_convert(data: Any) -> Any:
    """Turn arrays into tensors, wherever they stand in nested mappings and sequences; the rest stays."""
    if isinstance(data, np.ndarray | np.generic):
        return data if data.dtype.kind in "SUO" else api.as_tensor(data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return [default_convert(value) for value in data]
    return data


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples into a batch.

    Tensors, arrays and numbers become one tensor with a new first dimension; strings a list; mappings,
    tuples and lists are collated element by element.

    >>> from wengert.utils.data import default_collate
    >>> default_collate([{"x": 1.0, "name": "a"}, {"x": 2.0, "name": "b"}])
    {'x': tensor([1., 2.], dtype=wengert.float64), 'name': ['a', 'b']}
    """
    if len(batch) == 0:
        raise ArgumentError(message("default_collate", "the batch is empty", cure="Does the dataset return samples?"))
    first = batch[0]
    if isinstance(first, Tensor):
        return _stack(batch)
    if isinstance(first, np.ndarray | np.generic):
        return _stack_arrays(batch, first)
    if isinstance(first, float):
        return api.tensor(batch, dtype=api.float64)
    if isinstance(first, bool | int):
        return api.tensor(batch)
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, Mapping):
        return _like_mapping(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        return _collate_sequences(batch, first)
    raise DTypeError(
        message(
            "default_collate",
            "batch must contain tensors, numpy arrays, numbers, dicts or lists",
            f"{type(first).__module__}.{type(first).__name__}",
            "Pass a collate_fn that knows this type to DataLoader",
        )
    )


def _stack_arrays(batch: Sequence[Any], first: Any) -> Tensor:
    if first.dtype.kind in "SUO":
        raise DTypeError(message("default_collate", "arrays of this kind cannot become tensors", str(first.dtype)))
    if all(_is_like(array, first) for array in batch):  # the usual case, at once
        return api.as_tensor(np.stack(batch))
    return _stack([api.as_tensor(array) for array in batch])


def _is_like(value: Any, first: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype == first.dtype and value.shape == first.shape


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise ShapeError(
            message(
                "default_collate",
                "stack expects each tensor to be equal size",
                ", ".join(map(str, sorted(shapes))),
                "Pad the samples, or pass a collate_fn",
            )
        )
    return api.stack(list(tensors))


def _collate_sequences(batch: Sequence[Any], first: Any) -> Any:
    if any(len(sample) != len(first) for sample in batch):
        lengths = sorted({len(sample) for sample in batch})
        raise ShapeError(
            message(
                "default_collate",
                "each element in list of batch should be of equal size",
                f"lengths {lengths}",
            )
        )
    parts = [default_collate(part) for part in zip(*batch, strict=True)]
    return type(first)(*parts) if isinstance(first, tuple) and hasattr(first, "_fields") else parts


def _like_mapping(pattern: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    try:
        return type(pattern)(values)  # type: ignore[call-arg]
    except TypeError:  # a mapping that is not built from a dictionary
        return values

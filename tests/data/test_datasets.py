"""Data sets side by side, and what a loader keeps."""

from __future__ import annotations

from typing import Any

import pytest

import wengert as wg
from wengert.utils.data import DataLoader, StackDataset, Subset, TensorDataset


def test_data_sets_side_by_side() -> None:
    rows = TensorDataset(wg.arange(3))
    stacked = StackDataset(rows, ["a", "b", "c"])
    assert len(stacked) == 3
    assert stacked[1][1] == "b"
    named = StackDataset(x=wg.arange(3.0), y=Subset(range(3), [2, 1, 0]))
    assert named.__getitems__([2, 0]) == [{"x": 2.0, "y": 0}, {"x": 0.0, "y": 2}]
    batches = list(DataLoader(named, batch_size=2))
    assert batches[0]["x"].tolist() == [0.0, 1.0]
    assert batches[0]["y"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [((), {}, "in a row, or by name: none"), (([1],), {"x": [1]}, "both"), (([1], [1, 2]), {}, "Size mismatch")],
)
def test_data_sets_that_do_not_stand_side_by_side(args: Any, kwargs: Any, text: str) -> None:
    with pytest.raises(wg.errors.ArgumentError, match=text):
        StackDataset(*args, **kwargs)


def test_a_loader_does_not_take_another_batch_size_in_silence() -> None:
    loader = DataLoader(range(4), batch_size=2)
    with pytest.raises(wg.errors.ArgumentError, match="batch_size attribute should not be set"):
        loader.batch_size = 3

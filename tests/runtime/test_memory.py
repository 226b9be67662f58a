"""How arrays lie in memory, and how kernels find them there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert.graph.aval import Aval
from wengert.nn import functional as F
from wengert.runtime.memory import laid, layout_of

WHOLE = np.arange(6 * 8 * 30, dtype=np.float32).reshape(48, 30).reshape(6, 8, 30)

LYING: dict[str, Any] = {
    "plain": WHOLE,
    "turned": WHOLE.transpose(2, 0, 1),
    "one number": np.broadcast_to(np.float32(3), (3, 4)),
    "repeated": np.broadcast_to(WHOLE[:, None, :1], (6, 5, 1, 30)),
    "repeated and turned": np.broadcast_to(WHOLE.transpose(2, 1, 0)[:, None], (30, 4, 8, 6)),
    "last third": WHOLE[:, :, 20:],
    "heads": WHOLE[:, :, 10:20].reshape(6, 8, 2, 5).transpose(0, 2, 3, 1),
    "every other row": WHOLE[:, 1::2],
    "every third column": WHOLE[..., ::3],
    "middle, turned and repeated": np.broadcast_to(WHOLE.transpose(2, 0, 1)[5:25, None, 1:, 1:7], (20, 7, 5, 6)),
    "one row of each": WHOLE[:, -1],
    "of size 1": WHOLE[2:3, 5:6, 7:8],
    "empty": WHOLE[3:3],
    "a number": WHOLE[1, 2, 3:4].reshape(()),
}
COPIED: dict[str, Any] = {
    "backwards": WHOLE[:, ::-1],
    "a few of many": np.zeros((100, 64))[:, ::40],
    "other bytes": WHOLE.view(np.int32)[:, :, ::2],
    "not aligned": np.frombuffer(bytes(41), np.uint8)[1:].view(np.float32)[::2],
    "windows": np.lib.stride_tricks.sliding_window_view(WHOLE, 3, 2),
}


def seen_again(x: Any) -> Any:
    """An array as its layout and its memory tell it."""
    layout = layout_of(x)
    assert layout is not None
    held, once = layout.held(x), layout.shape(x.shape)
    assert held.flags.c_contiguous
    if layout.strides is not None:
        assert held.ndim == 1
        held = np.lib.stride_tricks.as_strided(held, once, [s * x.itemsize for s in layout.strides])
    assert held.shape == once
    out = held.transpose(np.argsort(layout.order, kind="stable")) if layout.order else held
    return np.broadcast_to(np.expand_dims(out, layout.repeated), x.shape)


@pytest.mark.parametrize("name", LYING)
def test_arrays_are_read_where_they_lie(name: str) -> None:
    x = LYING[name]
    np.testing.assert_array_equal(seen_again(x), x)
    same, layout = laid(x, Aval(x.shape, x.dtype))
    assert np.shares_memory(same, x) or not x.size
    assert layout == layout_of(x)


@pytest.mark.parametrize("name", COPIED)
def test_what_kernels_cannot_read_is_copied(name: str) -> None:
    x = COPIED[name]
    copy, layout = laid(x, Aval(x.shape, x.dtype))
    assert not np.shares_memory(copy, x)
    np.testing.assert_array_equal(copy, x)
    assert layout == layout_of(copy)
    assert layout.strides is None


def test_layouts_tell_apart_what_lies_otherwise() -> None:
    arrays = [x for x in LYING.values() if x.ndim == 3]
    for x, y in itertools.permutations(arrays, 2):
        layout = layout_of(x)
        assert layout is not None
        if layout_of(y) != layout:
            held = layout.held(y)
            assert held is None or held.shape != layout.held(x).shape or not held.flags.c_contiguous


@pytest.mark.slow
def test_many_orders_of_one_formula() -> None:
    x = np.random.default_rng(0).standard_normal((24, 24, 24, 24))
    wanted = F.gelu(wg.tensor(x)).numpy()
    for order in itertools.permutations(range(4)):
        turned = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        np.testing.assert_allclose(F.gelu(wg.from_numpy(turned)).numpy(), wanted, atol=1e-14)

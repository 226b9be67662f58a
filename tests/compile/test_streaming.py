"""Results that the caches cannot keep are written past them, if whole vectors fit; the values are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert.codegen import nest, nest_rows
from wengert.codegen.evaluate import Evaluator
from wengert.nn import functional as F
from wengert.runtime.results import LARGE

ROWS = LARGE // 4096  # of 1024 float32: memory of that size begins at a line of the cache


def masked(x: Any) -> Any:
    """Results of which only one is as large as the operand, and two passes over it."""
    big = x - x.amax(1, keepdim=True)
    return big, (big.exp() * 2.0).sum(1), big > -1.0


def turned(x: Any) -> Any:
    return x.T.exp() * 2.0


CASES = {
    "elementwise": (lambda x: x * 2.0 + 1.0, (ROWS, 1024)),
    "softmax": (lambda x: F.softmax(x, 1), (ROWS, 1024)),
    "layer norm": (lambda x: F.layer_norm(x, (1024,)), (ROWS, 1024)),
    "rows that begin within a vector": (lambda x: F.softmax(x, 1), (ROWS, 1030)),
    "rows of half a vector": (lambda x: F.softmax(x, 1), (128 * ROWS, 8)),
    "a tail": (lambda x: x.exp(), (1024 * ROWS + 5,)),
    "small": (lambda x: x.exp(), (33,)),
    "several results": (masked, (ROWS, 1024)),
    "broadcast": (lambda x: x.unsqueeze(1) * wg.ones(1, 2, 1), (ROWS, 1024)),
    "turned": (turned, (512, 2 * ROWS)),
}


@pytest.mark.quick(dtype=[wg.float32], name=["softmax", "a tail", "several results"])
@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.int32])
@pytest.mark.parametrize("name", CASES)
def test_same_values(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    f, shape = CASES[name]
    if dtype == wg.int32:
        f = lambda x: (x * 2 + 1).T if name == "turned" else x * 2 + 1
    wg.manual_seed(0)
    x = (wg.randn(*shape, dtype=wg.float64) * 10).to(dtype)
    monkeypatch.setenv("WENGERT_CACHE", "0")
    through = wg.compile(f)(x)

    streamed: list[bool] = []
    stream = Evaluator.stream

    def noted(self: Evaluator, *args: Any) -> bool:
        streamed.append(stream(self, *args))
        return streamed[-1]

    monkeypatch.setattr(Evaluator, "stream", noted)
    monkeypatch.setattr(nest_rows, "LARGE", 0)
    monkeypatch.setattr(nest, "_written", {})
    past = wg.compile(lambda *xs: f(*xs))(x)
    if name in ("elementwise", "softmax", "layer norm") and dtype != wg.int32:
        assert any(streamed), "nothing was written past the caches"
    for a, b in zip(*[y if type(y) is tuple else (y,) for y in (through, past)], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), strict=True)


def test_the_way_through_the_caches_is_there_for_memory_that_begins_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WENGERT_CACHE", "0")
    monkeypatch.setattr(nest_rows, "LARGE", 0)
    monkeypatch.setattr(nest, "_written", {})
    run = wg.compile(lambda x: x * 3.0 + 1.0)
    x = wg.arange(1000.0)
    for _ in range(20):  # memory of small results begins at any multiple of 16 bytes
        held = run(x), np.empty(3)
        np.testing.assert_array_equal(held[0].numpy(), x.numpy() * 3.0 + 1.0)

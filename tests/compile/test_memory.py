"""What is alive between kernels: their order, buffers written over, what waits for the reverse sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.errors import IndexRangeError
from wengert.nn import functional as F

ROWS, WIDTH = 64, 256
HIDDEN = 4 * ROWS * WIDTH  # bytes of a hidden value


def arrays(*shapes: tuple[int, ...], seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [wg.tensor(rng.normal(0.0, 0.3, s).astype(np.float32)) for s in shapes]


@pytest.mark.parametrize("activation", [F.gelu, F.silu, lambda x: F.gelu(x, approximate="tanh")])
def test_two_values_of_an_activation_are_alive(activation: Any) -> None:
    """Its input and its result; and for the result, whose product comes first, its adjoint."""

    def loss(up: Any, down: Any, x: Any) -> Any:
        return activation(x @ up).matmul(down).square().sum()

    up, down, x = arrays((8, WIDTH), (WIDTH, 8), (ROWS, 8))
    gradient = wg.func.grad(loss, argnums=(0, 1))
    assert wg.plan(gradient, up, down, x).arena < 2.3 * HIDDEN
    for got, want in zip(wg.compile(gradient)(up, down, x), gradient(up, down, x), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-4)


def test_a_buffer_is_written_over_by_its_last_reader() -> None:
    """Also under another shape."""

    def f(x: Any, w: Any, v: Any) -> Any:
        return (x @ w).reshape(2, -1, WIDTH).tanh().reshape(ROWS, WIDTH) @ v

    given = arrays((ROWS, 8), (8, WIDTH), (WIDTH, 8))
    assert wg.plan(f, *given).arena < 1.1 * HIDDEN
    np.testing.assert_allclose(wg.compile(f)(*given).numpy(), f(*given).numpy(), rtol=1e-5, atol=1e-5)


def test_a_buffer_is_not_written_over_while_it_is_read() -> None:
    """Later, by another kernel; elsewhere than where it is written; or as a result."""
    x, w, v = arrays((WIDTH, 8), (8, WIDTH), (WIDTH, 8))

    def later(x: Any, w: Any, v: Any) -> Any:
        y = x @ w
        return y.tanh() @ v, y.t() @ v

    def turned(x: Any, w: Any, v: Any) -> Any:
        y = x @ w
        return (y.exp() + y.t()) @ v

    def twice(x: Any, w: Any, v: Any) -> Any:
        y = x @ w
        return y, y.tanh() @ v

    def softened(x: Any, w: Any, v: Any) -> Any:
        y = x @ w
        return (y - y.exp().sum(-1, keepdim=True).log()).tanh() @ v

    for f in (later, turned, twice, softened):
        got, want = wg.compile(f)(x, w, v), f(x, w, v)
        for a, b in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, want)], strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4)


def test_gradients_stay_where_they_are_beside_a_constant_index() -> None:
    """An index that is known in advance is not looked at by kernels, so nothing has to be kept for its error."""
    wg.manual_seed(0)
    places = nn.Embedding(4, 8)

    @wg.compile
    def step(x: Any) -> Any:
        places.zero_grad()
        loss = ((x + places(wg.arange(4))) ** 2).sum()
        loss.backward()
        return loss

    x = wg.randn(3, 4, 8)
    step(x)
    where = places.weight.grad.numpy().ctypes.data
    for _ in range(2):
        step(x)
    assert places.weight.grad.numpy().ctypes.data == where


def test_a_constant_index_out_of_range() -> None:
    f = wg.compile(lambda x: x[wg.tensor([0, 5])] + 1.0)
    with pytest.raises(IndexRangeError, match="5"):
        f(wg.ones(4, 3))


def test_an_update_stays_behind_what_may_fail() -> None:
    """However much memory it would let go of."""
    w = nn.Parameter(wg.ones(ROWS, WIDTH))
    optimizer = wg.optim.SGD([w], lr=0.1)

    @wg.compile
    def step(x: Any, i: Any) -> Any:
        loss = (x @ w).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss + x[(i + 0 * x.sum()).long()].sum()

    x = wg.ones(4, ROWS)
    with pytest.raises(IndexRangeError):
        step(x, wg.tensor([7.0]))
    np.testing.assert_array_equal(w.detach().numpy(), np.ones((ROWS, WIDTH), np.float32))

"""Which memory a gradient lies in: its own, never that of another gradient, a hook's tensor or a value."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert.runtime import eager


def leaves(n: int) -> list[wg.Tensor]:
    return [wg.tensor(np.arange(1.0, 7.0).reshape(2, 3) + i, requires_grad=True) for i in range(n)]


def values(t: wg.Tensor) -> np.ndarray:
    return np.array(t.tolist())


SHARED = {
    "add": lambda a, b: (a + b).tanh(),
    "add, seed handed on": lambda a, b: a + b,
    "cat": lambda a, b: wg.cat([a, b]) * 2,
    "reshaped": lambda a, b: (a.reshape(6) + b.flatten()) * 3,
    "product": lambda a, b: a * b,
    "matmul": lambda a, b: a @ b.T,
    "linear": lambda a, b: wg.nn.functional.linear(a, b),
    "stack": lambda a, b: wg.stack([a, b, a]),
    "where": lambda a, b: wg.where(a > 2, a, b),
    "views": lambda a, b: a[:, 1:] * b[:, :2],
}


@pytest.mark.parametrize("name", SHARED)
def test_writing_to_one_gradient_changes_nothing_else(name: str) -> None:
    a, b = leaves(2)
    SHARED[name](a, b).sum().backward()
    held = [a.grad, b.grad, a, b]
    for t, u in itertools.combinations(held, 2):
        assert not np.may_share_memory(t.detach().numpy(), u.detach().numpy())
    before = [values(t) for t in held]
    a.grad.zero_()
    assert np.array_equal(values(a.grad), np.zeros((2, 3)))
    for t, was in zip(held[1:], before[1:], strict=True):
        assert np.array_equal(values(t), was)


def test_gradients_accumulate_on_their_own() -> None:
    a, b = leaves(2)
    for _ in range(3):
        wg.nn.functional.linear(a, b).sum().backward()
    assert np.array_equal(values(a.grad), 3 * np.tile(values(b).sum(0), (2, 1)))
    assert np.array_equal(values(b.grad), 3 * np.tile(values(a).sum(0), (2, 1)))


def test_a_seed_stays_the_users() -> None:
    (a,) = leaves(1)
    seed = wg.ones(2, 3)
    (a * 1.0).backward(seed)
    a.backward(seed)
    a.grad.zero_()
    assert np.array_equal(values(seed), np.ones((2, 3)))


def test_a_tensor_that_a_hook_keeps_is_not_the_gradient() -> None:
    (a,) = leaves(1)
    kept: list[wg.Tensor] = []
    a.register_hook(lambda g: kept.append(g))
    (a * 2).sum().backward()
    a.grad.zero_()
    assert np.array_equal(values(kept[0]), np.full((2, 3), 2.0))


def test_an_array_that_a_custom_function_keeps_is_not_the_gradient() -> None:
    kept: list[wg.Tensor] = []

    class Twice(wg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            kept.append(g * 2)
            return kept[-1]

    (a,) = leaves(1)
    Twice.apply(a).sum().backward()
    a.grad.zero_()
    assert np.array_equal(values(kept[0]), np.full((2, 3), 2.0))


def test_the_gradient_of_a_linear_layer_lies_in_order() -> None:
    layer = wg.nn.Linear(5, 3)
    layer(wg.ones(4, 5)).sum().backward()
    assert layer.weight.grad.is_contiguous()
    assert np.array_equal(layer.weight.grad.numpy(), np.full((3, 5), 4.0, np.float32))


def test_transposed_products_in_a_traced_graph() -> None:
    a, b = wg.rand(2, 4, 5), wg.rand(2, 5, 3)
    once = wg.trace(lambda a, b: (a @ b).mT, a, b)
    both = wg.trace(lambda a, b: ((a @ b).mT, a @ b), a, b)
    want = np.swapaxes(a.numpy() @ b.numpy(), 1, 2)
    assert np.allclose(once(a, b).numpy(), want, rtol=1e-6)
    assert all(
        np.allclose(x, y, rtol=1e-6) for x, y in zip([t.numpy() for t in both(a, b)], [want, want.swapaxes(1, 2)])
    )


LARGE = (512, 300)  # of kernels, and in memory that is kept


@pytest.mark.parametrize("name", ["add", "add, seed handed on", "product", "linear", "stack", "where", "matmul"])
def test_large_gradients_have_memory_of_their_own(name: str) -> None:
    a, b = [wg.randn(*LARGE, requires_grad=True) for _ in range(2)]
    SHARED[name](a, b).sum().backward()
    for t, u in itertools.combinations([a.grad, b.grad, a, b], 2):
        assert not np.may_share_memory(t.detach().numpy(), u.detach().numpy())


def test_a_large_gradient_is_what_the_kernel_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    run = eager.Native.on

    def noted(self: eager.Native, arrays: Any) -> Any:
        found = run(self, arrays)
        made.extend(x.ctypes.data for x in found or ())
        return found

    monkeypatch.setattr(eager.Native, "on", noted)
    x, w = wg.randn(64, LARGE[1]), wg.randn(*LARGE, requires_grad=True)
    wg.nn.functional.linear(x, w).square().sum().backward()
    assert w.grad.detach().numpy().ctypes.data in made


def test_a_turned_gradient_is_laid_out_in_order() -> None:
    w = wg.randn(*LARGE, requires_grad=True)
    factor = wg.randn(*LARGE[::-1])
    (w.T * factor).sum().backward()
    assert w.grad.is_contiguous() and np.array_equal(w.grad.numpy(), factor.numpy().T)

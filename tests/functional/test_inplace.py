"""Writing into memory: in-place methods and ``out=``."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert.errors import DTypeError, GraphError, ShapeError


def values(x):
    return x.detach().numpy()


def tensor(data, dtype="float64"):
    return wg.tensor(data, dtype=getattr(wg, dtype))


def leaf(data):
    return tensor(data).requires_grad_()


WRITES = [
    lambda x, y: x.add_(y), lambda x, y: x.add_(y, alpha=3), lambda x, y: x.sub_(2.0), lambda x, y: x.mul_(y),
    lambda x, y: x.div_(y), lambda x, y: x.addcmul_(y, y, value=0.5), lambda x, y: x.addcdiv_(y, y + 1),
    lambda x, y: x.lerp_(y, 0.3), lambda x, y: x.lerp_(y, 0.9), lambda x, y: x.clamp_(0.2, 0.8), lambda x,
    y: x.exp_(), lambda x, y: x.neg_(), lambda x, y: x.sqrt_(), lambda x, y: x.copysign_(y), lambda x,
    y: x.pow_(2),
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_in_place_is_the_function_written_into_memory(write):
    a, b = np.array([[0.5, 1.5], [2.5, 0.1]]), np.array([[1.0, 3.0], [0.5, 2.0]])
    y = tensor(b)
    with_gradient = leaf(a) * 1
    want = values(write(with_gradient, y))
    x = tensor(a)
    memory, view = x.numpy(), x.t()
    assert write(x, y) is x
    np.testing.assert_array_equal(memory, want)
    np.testing.assert_array_equal(values(view), want.T)
    part = tensor(a).t()
    write(part, tensor(b.T))
    np.testing.assert_array_equal(values(part), want.T)


@pytest.mark.parametrize("write", WRITES)
def test_in_place_does_not_touch_what_a_graph_holds(write):
    x = tensor([0.5, 1.5])
    w = leaf([1.0, 2.0])
    product = x * w
    old = x.tolist()
    write(x, tensor([1.0, 3.0]))
    product.sum().backward()
    assert w.grad.tolist() == old


def test_in_place_is_differentiated():
    x = leaf([1.0, 2.0])
    y = x * 1
    y.mul_(x).add_(1).pow_(2)
    y.sum().backward()
    np.testing.assert_allclose(values(x.grad), [2 * 2 * 2.0, 2 * 5 * 4.0])


def test_in_place_under_no_grad_keeps_the_leaf():
    w = leaf([1.0, 2.0])
    memory = w.detach().numpy()
    with wg.no_grad():
        w.sub_(tensor([1.0, 1.0]), alpha=0.5)
    assert w.requires_grad
    assert w.is_leaf
    assert memory.tolist() == [0.5, 1.5]


def test_in_place_with_itself():
    x = tensor([[1.0, 2.0], [3.0, 4.0]])
    x.add_(x.t())
    assert x.tolist() == [[2.0, 5.0], [5.0, 8.0]]


def test_writing_to_the_parts_of_a_complex_tensor():
    z = wg.tensor([1 + 2j, 3 + 4j])
    z.real.mul_(10)
    z.imag.zero_()
    assert z.tolist() == [10 + 0j, 30 + 0j]


def test_in_place_operators():
    x = memory = wg.tensor([12, 10])
    x //= 5
    x <<= 3
    x |= 1
    x ^= 3
    x &= 31
    x %= 16
    x >>= 1
    assert x is memory
    assert x.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("write", "error", "text"),
    [
        (
            lambda: wg.tensor([1]).mul_(1.5),
            DTypeError,
            r"mul_: the result cannot be cast in place: f32\[1\] into i64\[1\]",
        ),
        (lambda: wg.tensor([1]).exp_(), DTypeError, r"exp_: the result cannot be cast"),
        (
            lambda: wg.ones(2).add_(wg.ones(3, 2)),
            ShapeError,
            r"add_: the result does not fit in place: f32\[3,2\]",
        ),
        (lambda: wg.ones(2).expand(3, 2).add_(1), GraphError, "add_: cannot write to an expanded tensor"),
        (lambda: leaf([1.0]).add_(1), GraphError, "add_: cannot change a leaf that requires grad in place"),
        (
            lambda: wg.add(wg.ones(2), 1, out=wg.ones(3)),
            ShapeError,
            "add: out has another shape than the result",
        ),
        (
            lambda: wg.exp(wg.ones(2), out=wg.ones(2, dtype=wg.int64)),
            DTypeError,
            "exp: the result cannot be cast",
        ),
        (lambda: wg.exp(wg.ones(2), out=3), DTypeError, "exp: out must be a tensor: int"),
    ],
)
def test_what_cannot_be_written(write, error, text):
    with pytest.raises(error, match=text):
        write()


def test_a_failed_write_changes_nothing():
    x = wg.ones(2)
    with pytest.raises(ShapeError):
        x.mul_(wg.ones(3))
    assert x.tolist() == [1.0, 1.0]


def test_out():
    x, out = tensor([1.0, 4.0]), tensor([0.0, 0.0])
    memory = out.numpy()
    assert wg.sqrt(x, out=out) is out
    assert memory.tolist() == [1.0, 2.0]
    assert wg.add(x, x, alpha=2, out=wg.empty(0, dtype=wg.float64)).tolist() == [3.0, 12.0]
    w = leaf([2.0])
    wg.mul(w, w, out=(z := tensor([0.0])))
    z.backward()
    assert w.grad.tolist() == [4.0]
    mantissa, exponent = wg.empty(2, dtype=wg.float64), wg.empty(2, dtype=wg.int32)
    wg.frexp(x, out=(mantissa, exponent))
    assert exponent.tolist() == [1, 3]


# -- errors -----------------------------------------------------------------------------------------

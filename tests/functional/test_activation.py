"""Activations: golden values, kinks, awkward rows, every mode of differentiation, errors."""

import math

import numpy as np
import pytest

import wengert as wg
from wengert.errors import ArgumentError, DTypeError, GraphError, IndexRangeError, ShapeError
from wengert.functional import activation, softmax
from wengert.nn import functional as F
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

X = np.array([-2.0, -0.6, 0.4, 1.7])
inf, nan = math.inf, math.nan


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gauss(x):
    return np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])


def softplus(x):
    return np.log1p(np.exp(x))


FORMULAS = {
    "relu": ({}, np.maximum(X, 0)),
    "relu6": ({}, np.clip(X, 0, 6)),
    "elu": ({"alpha": 0.5}, np.where(X > 0, X, 0.5 * np.expm1(X))),
    "celu": ({"alpha": 2.0}, np.where(X > 0, X, 2 * np.expm1(X / 2))),
    "selu": ({}, 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * np.expm1(X))),
    "leaky_relu": ({"negative_slope": 0.1}, np.where(X > 0, X, 0.1 * X)),
    "rrelu": ({"lower": 0.1, "upper": 0.3}, np.where(X > 0, X, 0.2 * X)),
    "gelu": ({}, X * gauss(X)),
    "gelu tanh": ({"approximate": "tanh"}, 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))),
    "silu": ({}, X * sigmoid(X)),
    "mish": ({}, X * np.tanh(softplus(X))),
    "hardtanh": ({"min_val": -0.5, "max_val": 1.0}, np.clip(X, -0.5, 1)),
    "hardswish": ({}, X * np.clip(X + 3, 0, 6) / 6),
    "hardsigmoid": ({}, np.clip(X + 3, 0, 6) / 6),
    "softplus": ({"beta": 2.0}, softplus(2 * X) / 2),
    "softsign": ({}, X / (1 + np.abs(X))),
    "softshrink": ({"lambd": 0.5}, np.sign(X) * np.maximum(np.abs(X) - 0.5, 0)),
    "hardshrink": ({"lambd": 0.5}, np.where(np.abs(X) > 0.5, X, 0)),
    "tanhshrink": ({}, X - np.tanh(X)),
    "logsigmoid": ({}, np.log(sigmoid(X))),
    "threshold": ({"threshold": 0.5, "value": 9.0}, np.where(X > 0.5, X, 9)),
    "tanh": ({}, np.tanh(X)),
    "sigmoid": ({}, sigmoid(X)),
}


def call(name, x):
    return getattr(F, name.split()[0])(x, **FORMULAS[name][0])


@pytest.mark.parametrize("name", FORMULAS)
def test_values(name):
    np.testing.assert_allclose(call(name, wg.tensor(X)).numpy(), FORMULAS[name][1], rtol=1e-13, atol=1e-16)


@pytest.mark.quick(name=list(FORMULAS)[::4])
@pytest.mark.parametrize("name", FORMULAS)
def test_every_mode(name):
    p = Point(lambda x: [call(name, x)], [X])
    check_first_order(p)
    check_second_order(p)
    check_vmap(lambda x: [call(name, x)], [X])


@pytest.mark.quick(dtype=["bfloat16"])
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_is_rounded_once(name, dtype):
    x = wg.tensor(X, dtype=getattr(wg, dtype))
    got = call(name, x)
    want = call(name, x.float())
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got._value, want._value.astype(got._value.dtype))


@pytest.mark.parametrize("name", FORMULAS)
def test_shapes(name):
    assert call(name, wg.zeros(0, 3)).shape == (0, 3)
    assert call(name, wg.tensor(0.5)).shape == ()
    assert call(name, wg.randn(4, 6).t()[::2]).shape == (3, 4)


# The table of docs/kinks.md: activation, point, derivative there.
KINKS = [
    ("relu", {}, 0.0, 0.0), ("relu6", {}, 0.0, 0.0), ("relu6", {}, 6.0, 0.0), ("hardtanh", {}, -1.0, 0.0),
    ("hardtanh", {}, 1.0, 0.0), ("threshold", {"threshold": 0.5, "value": 1.0}, 0.5, 0.0),
    ("leaky_relu", {"negative_slope": 0.2}, 0.0, 0.2), ("rrelu", {"lower": 0.2, "upper": 0.4}, 0.0, 0.3),
    ("elu", {"alpha": 0.7}, 0.0, 0.7), ("celu", {"alpha": 0.7}, 0.0, 1.0), ("selu", {}, 0.0, 1.7580993408473766),
    ("hardsigmoid", {}, -3.0, 0.0), ("hardsigmoid", {}, 3.0, 0.0), ("hardswish", {}, -3.0, 0.0),
    ("hardswish", {}, 3.0, 1.0), ("hardshrink", {}, 0.5, 0.0), ("hardshrink", {}, -0.5, 0.0),
    ("softshrink", {}, 0.5, 0.0), ("softshrink", {}, -0.5, 0.0), ("softsign", {}, 0.0, 1.0),
    ("softplus", {"threshold": 2.0}, 2.0, 0.8807970779778823), ("logsigmoid", {}, 0.0, 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs", "at", "slope"), KINKS)
def test_kinks(name, kwargs, at, slope):
    x = wg.tensor(at, dtype=wg.float64, requires_grad=True)
    getattr(F, name)(x, **kwargs).backward()
    assert x.grad.item() == pytest.approx(slope, abs=1e-15)


def test_prelu():
    x = wg.tensor([[-1.0, 0.0], [2.0, -4.0]], requires_grad=True)
    w = wg.tensor([0.5, 0.25], requires_grad=True)
    y = F.prelu(x, w)
    assert y.tolist() == [[-0.5, 0.0], [2.0, -1.0]]
    y.sum().backward()
    assert x.grad.tolist() == [[0.5, 0.25], [1.0, 0.25]]
    assert w.grad.tolist() == [-1.0, -4.0]
    check_second_order(Point(lambda x, w: [F.prelu(x, w)], [X.reshape(2, 2), np.array([0.3, 0.7])]))
    with pytest.raises(ShapeError, match="prelu: needs 1 weight or 2, one for each channel"):
        F.prelu(x, wg.zeros(3))


def test_extremes_do_not_spoil_gradients():
    for name in ("elu", "selu", "celu", "softplus", "logsigmoid", "mish", "silu", "gelu"):
        x = wg.tensor([-1000.0, 1000.0], dtype=wg.float64, requires_grad=True)
        y = getattr(F, name)(x)
        y.sum().backward()
        assert wg.isfinite(y).all(), name
        assert wg.isfinite(x.grad).all(), name


ROWS = np.random.default_rng(0).standard_normal((2, 3, 4))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_softmax(dim):
    e = np.exp(ROWS)
    want = e / e.sum(dim, keepdims=True)
    x = wg.tensor(ROWS)
    np.testing.assert_allclose(F.softmax(x, dim).numpy(), want, rtol=1e-14)
    np.testing.assert_allclose(F.log_softmax(x, dim).numpy(), np.log(want), rtol=1e-13)
    e = np.exp(-ROWS)
    np.testing.assert_allclose(F.softmin(x, dim).numpy(), e / e.sum(dim, keepdims=True), rtol=1e-14)
    for f in (F.softmax, F.log_softmax, F.softmin):
        p = Point(lambda x, f=f: [f(x, dim)], [ROWS[:, :2, :2]])
        check_first_order(p)
        check_second_order(p)
        check_vmap(lambda x, f=f: [f(x, dim)], [ROWS])


def test_softmax_of_awkward_rows():
    x = wg.tensor([[1000.0, 0.0], [-inf, 0.0], [-inf, -inf], [inf, 0.0], [nan, 0.0]])
    np.testing.assert_array_equal(F.softmax(x, 1).numpy(), [[1, 0], [0, 1], [nan, nan], [nan, nan], [nan, nan]])
    np.testing.assert_array_equal(
        F.log_softmax(x, 1).numpy(), [[0, -1000], [-inf, 0], [nan, nan], [nan, nan], [nan, nan]]
    )
    assert F.softmax(wg.zeros(0, 3), 1).shape == (0, 3)
    assert F.softmax(wg.zeros(3, 0), 1).shape == (3, 0)
    assert F.softmax(wg.tensor(5.0), 0).item() == 1.0
    x = wg.tensor([-inf, 0.0, 0.0], requires_grad=True)
    F.softmax(x, 0)[1].backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 0.25, -0.25])


def test_softmax_dtypes():
    assert F.softmax(wg.tensor([1, 2]), 0, dtype=wg.float64).dtype == wg.float64
    assert F.softmax(wg.zeros(2), 0, wg.float64).dtype == wg.float64
    assert F.softmax(wg.zeros(2, dtype=wg.float16), 0).dtype == wg.float16
    with pytest.raises(DTypeError, match=r"softmax: needs floating tensors: i64\[2\]"):
        F.softmax(wg.tensor([1, 2]), 0)
    with pytest.raises(IndexRangeError, match="softmax: dimension out of range"):
        F.softmax(wg.zeros(2), 1)
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        assert F.softmax(wg.zeros(2, 4))[0].tolist() == [0.25] * 4


def test_glu():
    x = wg.tensor(ROWS)
    np.testing.assert_allclose(F.glu(x).numpy(), ROWS[..., :2] * sigmoid(ROWS[..., 2:]), rtol=1e-14)
    np.testing.assert_allclose(F.glu(x, 0).numpy(), ROWS[:1] * sigmoid(ROWS[1:]), rtol=1e-14)
    check_second_order(Point(lambda x: [F.glu(x, 0)], [ROWS[:, 0]]))
    with pytest.raises(ShapeError, match="glu: the size along dimension 1 must be even"):
        F.glu(x, 1)
    with pytest.raises(ShapeError, match="glu: needs a tensor with dimensions"):
        F.glu(wg.tensor(1.0))


def test_rrelu_draws_slopes():
    x = -wg.ones(1000)
    y = -F.rrelu(x, 0.2, 0.6, training=True).numpy()
    assert 0.2 <= y.min() < 0.21
    assert 0.59 < y.max() <= 0.6
    x = wg.tensor([-1.0, 2.0, 0.0], requires_grad=True)
    y = F.rrelu(x, training=True)
    y.sum().backward()
    assert x.grad[0].item() == pytest.approx(-y[0].item())
    assert x.grad[1].item() == 1.0


def test_gumbel_softmax():
    logits = wg.tensor(np.log([[0.2, 0.8]]), requires_grad=True)
    draws = wg.stack([F.gumbel_softmax(logits, hard=True) for _ in range(400)]).mean(0)
    assert draws[0, 1].item() == pytest.approx(0.8, abs=0.08)
    soft = F.gumbel_softmax(logits, tau=0.5)
    assert soft.sum().item() == pytest.approx(1.0)
    hard = F.gumbel_softmax(logits, hard=True)
    assert sorted(hard[0].tolist()) == pytest.approx([0.0, 1.0])
    (hard * wg.tensor([[1.0, 0.0]])).sum().backward()
    assert (logits.grad != 0).all()


def test_inplace():
    x = wg.tensor([-1.0, 2.0])
    assert F.relu(x, inplace=True) is x
    assert x.tolist() == [0.0, 2.0]
    for name in ("elu_", "celu_", "selu_", "relu_", "leaky_relu_", "rrelu_", "hardtanh_"):
        y = wg.tensor([-1.0, 2.0])
        assert getattr(F, name)(y) is y
        np.testing.assert_array_equal(y.numpy(), getattr(F, name[:-1])(wg.tensor([-1.0, 2.0])).numpy())
    assert F.threshold_(wg.tensor([-1.0, 2.0]), 0.0, 7.0).tolist() == [7.0, 2.0]
    with pytest.raises(GraphError, match="cannot change a leaf that requires grad in place"):
        F.silu(wg.zeros(2, requires_grad=True), inplace=True)


def test_tensor_level():
    x = wg.tensor([[-1.0, 2.0]])
    for name in (*activation.TENSOR_METHODS, *softmax.TENSOR_METHODS):
        assert hasattr(x, name), name
    assert x.softmax(1).sum().item() == pytest.approx(1.0)
    assert wg.log_softmax(x, 1).exp().sum().item() == pytest.approx(1.0)
    assert all(hasattr(wg, name) for name in (*activation.TENSOR_LEVEL, *softmax.TENSOR_LEVEL))


ERRORS = [
    (lambda: F.gelu(wg.zeros(2), approximate="fast"), ArgumentError, "gelu: no such approximation: 'fast'"),
    (lambda: F.softshrink(wg.zeros(2), -1.0), ArgumentError, "softshrink: lambd must not be negative: -1.0"),
    (lambda: F.hardtanh(wg.zeros(2), 1.0, 0.0), ArgumentError, "hardtanh: min_val must not exceed max_val"),
    (lambda: F.rrelu(wg.zeros(2), 1.0, 0.0), ArgumentError, "rrelu: lower must not exceed upper"),
    (lambda: F.celu(wg.zeros(2), 0.0), ArgumentError, "celu: alpha must not be 0"),
    (lambda: F.elu(wg.tensor([1, 2])), DTypeError, r"elu: needs floating tensors: i64\[2\]"),
    (lambda: F.silu([1.0]), DTypeError, "silu: needs floating tensors: list"),
]


@pytest.mark.parametrize(("f", "error", "text"), ERRORS)
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f()

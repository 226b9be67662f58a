"""Normalisations: values from NumPy, running statistics, every mode, errors."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.errors import WengertError
from wengert.graph.handle import wrap
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def standard(x: np.ndarray, axes: tuple[int, ...], eps: float = 1e-5) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


X, W, B = normal(4, 6, 3, 2), normal(6, seed=1), normal(6, seed=2)
ALONG = (1, 6, 1, 1)
NEIGHBOURS = np.pad(X**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
VALUES = {
    "batch": (lambda x, w, b: F.batch_norm(x, None, None, training=True), standard(X, (0, 2, 3))),
    "batch with parameters": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        standard(X, (0, 2, 3)) * W.reshape(ALONG) + B.reshape(ALONG),
    ),
    "batch by statistics": (
        lambda x, w, b: F.batch_norm(x, w, w * w, None, b, eps=0.1),
        (X - W.reshape(ALONG)) / np.sqrt(W.reshape(ALONG) ** 2 + 0.1) + B.reshape(ALONG),
    ),
    "instance": (
        lambda x, w, b: F.instance_norm(x, None, None, w, b),
        standard(X, (2, 3)) * W.reshape(ALONG) + B.reshape(ALONG),
    ),
    "layer": (lambda x, w, b: F.layer_norm(x, (3, 2)), standard(X, (2, 3))),
    "layer with parameters": (
        lambda x, w, b: F.layer_norm(x, (3, 2), w.reshape(3, 2), b.reshape(3, 2), 0.1),
        standard(X, (2, 3), 0.1) * W.reshape(3, 2) + B.reshape(3, 2),
    ),
    "group": (
        lambda x, w, b: F.group_norm(x, 3, w, b),
        standard(X.reshape(4, 3, -1), (2,)).reshape(X.shape) * W.reshape(ALONG) + B.reshape(ALONG),
    ),
    "rms": (
        lambda x, w, b: F.rms_norm(x, (3, 2), w.reshape(3, 2), 0.1),
        X / np.sqrt((X**2).mean((2, 3), keepdims=True) + 0.1) * W.reshape(3, 2),
    ),
    "local response": (
        lambda x, w, b: F.local_response_norm(x, 3, 0.3, 0.5, 2.0),
        X / np.sqrt(2.0 + 0.1 * (NEIGHBOURS[:, :-2] + NEIGHBOURS[:, 1:-1] + NEIGHBOURS[:, 2:])),
    ),
    "length": (lambda x, w, b: F.normalize(x, 3, 2), X / (np.abs(X) ** 3).sum(2, keepdims=True) ** (1 / 3)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    f, want = VALUES[name]
    np.testing.assert_allclose(f(*map(wg.tensor, (X, W, B))).numpy(), want, 1e-12, 1e-12)


@pytest.mark.parametrize("name", VALUES)
def test_every_mode(name):
    f = lambda x, w, b: [VALUES[name][0](x, w, b)]
    point = [X[:2, :, :2], W, B] if "layer" not in name and name != "rms" else [X[:2], W, B]
    check_first_order(Point(f, point))
    check_second_order(Point(f, point))
    check_vmap(f, point)


@pytest.mark.parametrize("d", [wg.float16, wg.bfloat16])
def test_half_precision(d):
    """Computed in float32: a mean of large numbers does not overflow."""
    x = wg.full((2, 3, 100), 600.0, dtype=d)
    out = F.layer_norm(x, (100,), wg.ones(100), wg.ones(100))
    assert out.dtype is d
    assert out.numpy().astype(float).max() == 1.0


def test_running_statistics():
    mean, var, x = wg.zeros(6, dtype=wg.float64), wg.ones(6, dtype=wg.float64), wg.tensor(X, requires_grad=True)
    views = mean[:], var[:]
    F.batch_norm(x, mean, var, training=True, momentum=0.3)
    np.testing.assert_allclose(mean.numpy(), 0.3 * X.mean((0, 2, 3)), 1e-12)
    np.testing.assert_allclose(var.numpy(), 0.7 + 0.3 * X.var((0, 2, 3), ddof=1), 1e-12)
    assert not mean.requires_grad
    assert [v.tolist() for v in views] == [mean.tolist(), var.tolist()]
    before = mean.tolist()
    F.batch_norm(x, mean, var, training=False)
    F.batch_norm(x, mean, var, training=True, momentum=None)
    assert mean.tolist() == before
    mean, var = wg.zeros(6, dtype=wg.float64), wg.ones(6, dtype=wg.float64)
    F.instance_norm(x, mean, var, momentum=0.3)
    np.testing.assert_allclose(mean.numpy(), 0.3 * X.mean((0, 2, 3)), 1e-12)
    np.testing.assert_allclose(var.numpy(), 0.7 + 0.3 * X.var((2, 3), ddof=1).mean(0), 1e-12)


def test_awkward_points():
    assert F.normalize(wg.zeros(2, 3)).tolist() == [[0.0] * 3] * 2
    assert F.layer_norm(wg.full((2, 3), 7.0), (3,)).tolist() == [[0.0] * 3] * 2
    assert F.layer_norm(wg.ones(0, 3), (3,)).shape == (0, 3)
    out = wg.empty(2, 2)
    assert F.normalize(wg.tensor([[3.0, 4.0], [0.0, 2.0]]), out=out) is out
    assert out[1].tolist() == [0.0, 1.0]


def ones(*shape: int, dtype=np.float32) -> wg.Tensor:
    return wrap(np.ones(shape, dtype))


ERRORS = [
    (lambda: F.batch_norm(ones(1, 3), None, None, training=True), "more than one value a channel"),
    (lambda: F.batch_norm(ones(2, 3), None, None), "needs running statistics"),
    (lambda: F.batch_norm(ones(2, 3), ones(2), ones(2)), r"needs the shape \[3\]"),
    (lambda: F.batch_norm(ones(3), None, None, training=True), "at least 2 dimensions"),
    (lambda: F.instance_norm(ones(2, 3, 1)), "more than one spatial element"),
    (lambda: F.layer_norm(ones(2, 3), (4,)), "does not end with normalized_shape"),
    (lambda: F.layer_norm(ones(2, 3), (3,), ones(3, dtype=np.float64)), "must have one dtype"),
    (lambda: F.layer_norm(ones(2, 3, dtype=np.int64), (3,)), "needs a floating tensor"),
    (lambda: F.group_norm(ones(2, 3, 2), 2), "multiple of num_groups"),
    (lambda: F.rms_norm(ones(2, 3), ()), "does not end"),
    (lambda: F.local_response_norm(ones(2, 3), 2), "at least 3 dimensions"),
    (lambda: F.local_response_norm(ones(2, 3, 2), 0), "size must be at least 1"),
]


@pytest.mark.parametrize(("call", "text"), ERRORS)
def test_errors(call, text):
    with pytest.raises(WengertError, match=text):
        call()

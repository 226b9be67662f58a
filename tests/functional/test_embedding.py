"""Embeddings, bags, one-hot vectors: values from NumPy, gradients, every mode, errors."""

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


W = normal(5, 3)
INDEX = np.array([[1, 3, 1, 0], [4, 4, 2, 1]])
FLAT, OFFSETS = INDEX.reshape(-1), np.array([0, 3, 3, 7])
BAGS = [FLAT[0:3], FLAT[3:3], FLAT[3:7], FLAT[7:]]


def gradient(f) -> np.ndarray:
    w = wg.tensor(W, requires_grad=True)
    f(w).sum().backward()
    return w.grad.numpy()[:, 0]


@pytest.mark.parametrize("index", [INDEX, INDEX[0], np.array(2), np.zeros((0, 2), np.int64), INDEX.astype(np.uint8)])
def test_embedding(index):
    np.testing.assert_array_equal(F.embedding(wg.tensor(index), wg.tensor(W)).numpy(), W[index])


def test_embedding_gradient():
    i = wg.tensor(INDEX)
    assert gradient(lambda w: F.embedding(i, w)).tolist() == [1, 3, 1, 1, 2]
    assert gradient(lambda w: F.embedding(i, w, padding_idx=1)).tolist() == [1, 0, 1, 1, 2]
    assert gradient(lambda w: F.embedding(i, w, padding_idx=-1)).tolist() == [1, 3, 1, 1, 0]
    np.testing.assert_allclose(gradient(lambda w: F.embedding(i, w, scale_grad_by_freq=True)), 1.0)


def test_max_norm_changes_the_table():
    """Only rows that are used and too long, also where the table is a leaf that requires grad."""
    w = wg.tensor(W, requires_grad=True)
    out = F.embedding(wg.tensor([0, 2, 2]), w, max_norm=0.5)
    length = np.linalg.norm(W, axis=1)
    want = W.copy()
    for row in (0, 2):
        want[row] *= min(1.0, 0.5 / (length[row] + 1e-7))
    np.testing.assert_allclose(w.detach().numpy(), want, 1e-12)
    out.sum().backward()
    assert w.grad.numpy()[:, 0].tolist() == [1, 0, 2, 0, 0]


def reduced(mode: str, rows: list[np.ndarray]) -> np.ndarray:
    pick = {"sum": lambda r: r.sum(0), "mean": lambda r: r.mean(0), "max": lambda r: r.max(0)}[mode]
    return np.stack([pick(r) if len(r) else np.zeros(3) for r in rows])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags(mode):
    i, w, o = wg.tensor(FLAT), wg.tensor(W), wg.tensor(OFFSETS)
    got = F.embedding_bag(i, w, o, mode=mode)
    np.testing.assert_allclose(got.numpy(), reduced(mode, [W[b] for b in BAGS]), 1e-12)
    got = F.embedding_bag(i, w, o, mode=mode, include_last_offset=True)
    np.testing.assert_allclose(got.numpy(), reduced(mode, [W[b] for b in BAGS[:3]]), 1e-12)
    got = F.embedding_bag(i, w, o, mode=mode, padding_idx=1)
    np.testing.assert_allclose(got.numpy(), reduced(mode, [W[b[b != 1]] for b in BAGS]), 1e-12)
    got = F.embedding_bag(wg.tensor(INDEX), w, mode=mode)
    np.testing.assert_allclose(got.numpy(), reduced(mode, [W[b] for b in INDEX]), 1e-12)


def test_bag_weights_and_frequency():
    i, w, s = wg.tensor(INDEX), wg.tensor(W), normal(2, 4)
    got = F.embedding_bag(i, w, mode="sum", per_sample_weights=wg.tensor(s))
    np.testing.assert_allclose(got.numpy(), np.einsum("ij,ijk->ik", s, W[INDEX]), 1e-12)
    found = gradient(lambda t: F.embedding_bag(i, t, mode="sum", scale_grad_by_freq=True))
    np.testing.assert_allclose(found, 1.0)
    none = F.embedding_bag(wg.zeros(2, 0, dtype=wg.int64), w)
    assert none.tolist() == [[0.0] * 3] * 2


def test_one_hot():
    assert F.one_hot(wg.tensor([[1, 0]])).tolist() == [[[0, 1], [1, 0]]]
    np.testing.assert_array_equal(F.one_hot(wg.tensor(INDEX), 7).numpy(), np.eye(7, dtype=np.int64)[INDEX])
    assert F.one_hot(wg.zeros(0, 2, dtype=wg.int64), 3).shape == (0, 2, 3)
    assert F.one_hot(wg.tensor(1), 2).tolist() == [0, 1]


ROWS, STARTS = wg.tensor(INDEX), wg.tensor(OFFSETS)
MODES = {
    "embedding": lambda w, s: F.embedding(ROWS, w),
    "sum": lambda w, s: F.embedding_bag(ROWS, w, mode="sum", per_sample_weights=s),
    "mean": lambda w, s: F.embedding_bag(ROWS.reshape(-1), w, STARTS, padding_idx=1),
    "max": lambda w, s: F.embedding_bag(ROWS.reshape(-1), w, STARTS, mode="max", padding_idx=1),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f = lambda w, s: [MODES[name](w, s) + 0 * s.sum()]
    point = [W, normal(2, 4)]
    check_first_order(Point(f, point))
    check_second_order(Point(f, point))
    check_vmap(f, point)


def test_padding_has_no_gradient_in_any_mode():
    f = lambda w: [F.embedding(ROWS, w, padding_idx=1) * F.embedding(ROWS, w, padding_idx=1)]
    check_first_order(Point(f, [W]), numeric=False)
    check_second_order(Point(f, [W]), numeric=False)


def ones(*shape: int, dtype=np.float32) -> wg.Tensor:
    return wrap(np.ones(shape, dtype))


ERRORS = [
    (lambda: F.embedding(wg.tensor([0, 5]), ones(5, 3)), "index 5 in a table of 5 rows"),
    (lambda: F.embedding(wg.tensor([0, -1]), ones(5, 3)), "index -1 in a table"),
    (lambda: F.embedding(ones(2), ones(5, 3)), "must be a tensor of integers"),
    (lambda: F.embedding(wg.tensor([0]), ones(5)), "must be a matrix"),
    (lambda: F.embedding(wg.tensor([0]), ones(5, 3), 7), "padding_idx out of range"),
    (lambda: F.embedding_bag(wg.tensor([0]), ones(5, 3)), "vector of them and offsets"),
    (lambda: F.embedding_bag(wg.tensor([[0]]), ones(5, 3), wg.tensor([0])), "takes no offsets"),
    (lambda: F.embedding_bag(wg.tensor([0]), ones(5, 3), wg.tensor([1])), "begin with 0"),
    (lambda: F.embedding_bag(wg.tensor([0]), ones(5, 3), wg.tensor([0, 3])), "begin with 0"),
    (lambda: F.embedding_bag(wg.tensor([[0]]), ones(5, 3), mode="prod"), "unknown mode"),
    (lambda: F.embedding_bag(wg.tensor([[0]]), ones(5, 3), per_sample_weights=ones(1, 1)), "mode='sum'"),
    (
        lambda: F.embedding_bag(wg.tensor([[0]]), ones(5, 3), mode="sum", per_sample_weights=ones(2)),
        "shaped like the input",
    ),
    (lambda: F.one_hot(ones(2)), "must be an int64 tensor"),
    (lambda: F.one_hot(wg.tensor([3]), 3), "class 3 of 3"),
    (lambda: F.one_hot(wg.tensor([-1, 0])), "class -1 of 1"),
    (lambda: F.one_hot(wg.zeros(0, dtype=wg.int64)), "cannot be found"),
]


@pytest.mark.parametrize(("call", "text"), ERRORS)
def test_errors(call, text):
    with pytest.raises(WengertError, match=text):
        call()

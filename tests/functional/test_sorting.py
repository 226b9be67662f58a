"""Sorting, searching, sets, counting: values from NumPy, NaN and ties, every mode, errors."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

NAN, INF = np.nan, np.inf


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def same(got: wg.Tensor, want: object, tol: float = 1e-12) -> None:
    want = np.asarray(want)
    assert tuple(got.shape) == want.shape
    np.testing.assert_allclose(got.detach().numpy(), want, tol, tol)


X = normal(3, 4)
VALUES = {
    "sort": (lambda x: wg.sort(x).values, np.sort(X)),
    "sort indices": (lambda x: x.sort(0).indices, np.argsort(X, 0)),
    "sort descending": (lambda x: wg.sort(x, 1, descending=True)[0], -np.sort(-X, 1)),
    "argsort": (lambda x: wg.argsort(x, 1, True), np.argsort(-X, 1)),
    "msort": (lambda x: wg.msort(x), np.sort(X, 0)),
    "topk": (lambda x: x.topk(2).values, -np.sort(-X)[:, :2]),
    "topk smallest": (lambda x: wg.topk(x, 2, 0, largest=False).values, np.sort(X, 0)[:2]),
    "kthvalue": (lambda x: wg.kthvalue(x, 3).values, np.sort(X)[:, 2]),
    "kthvalue kept": (lambda x: wg.kthvalue(x, 1, 0, True).indices, X.argmin(0, keepdims=True)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    f, want = VALUES[name]
    same(f(wg.tensor(X)), want)
    same(f(wg.tensor(X.T.copy()).t()), want)


def test_order_of_nan_and_ties():
    x = wg.tensor([2.0, NAN, 1.0, 2.0, NAN, -INF])
    up, down = wg.sort(x), wg.sort(x, descending=True)
    same(up.values, [-INF, 1.0, 2.0, 2.0, NAN, NAN])
    same(up.indices, [5, 2, 0, 3, 1, 4])
    same(down.values, [NAN, NAN, 2.0, 2.0, 1.0, -INF])
    same(down.indices, [1, 4, 0, 3, 2, 5])
    same(wg.topk(x, 3).indices, [1, 4, 0])
    same(wg.topk(x, 2, largest=False).values, [-INF, 1.0])


@pytest.mark.parametrize("largest", [True, False])
def test_topk_of_long_lines_is_a_partition(largest):
    x = normal(3, 500)
    out = wg.topk(wg.tensor(x), 7, largest=largest)
    order = np.argsort(-x if largest else x, axis=1)[:, :7]
    same(out.indices, order)
    same(out.values, np.take_along_axis(x, order, 1))


def test_dimensions_and_elements_that_are_not_there():
    zero = wg.tensor(3.0)
    for out in (wg.sort(zero), wg.topk(zero, 1), wg.kthvalue(zero, 1), wg.mode(zero), wg.median(zero, 0)):
        same(out.values, 3.0)
        same(out.indices, 0)
    same(wg.sort(wg.zeros(2, 0)).values, np.zeros((2, 0)))
    same(wg.topk(wg.ones(3), 0).values, np.zeros(0))
    same(wg.unique(wg.zeros(0)), np.zeros(0))
    same(wg.isin(wg.ones(2), wg.zeros(0)), [False, False])


def test_searches():
    line, rows = np.array([-1.0, 0.0, 0.0, 2.0]), np.array([[0.0, 1.0, 1.0], [1.0, 3.0, 5.0]])
    v = np.array([[0.0, -9.0, 2.5], [1.0, 0.5, NAN]])
    for side in ("left", "right"):
        want = np.searchsorted(line, v, side)
        same(wg.searchsorted(wg.tensor(line), wg.tensor(v), side=side), want)
        same(wg.bucketize(wg.tensor(v), wg.tensor(line), right=side == "right"), want)
        each = [np.searchsorted(r, w, side) for r, w in zip(rows, v, strict=True)]
        same(wg.searchsorted(wg.tensor(rows), wg.tensor(v), side=side), each)
    shuffled = np.array([2, 0, 3, 1])
    got = wg.searchsorted(wg.tensor(line[shuffled]), wg.tensor(v), sorter=wg.tensor(np.argsort(shuffled)))
    same(got, np.searchsorted(line, v))
    assert wg.searchsorted(wg.tensor(line), 1.0, out_int32=True).dtype is wg.int32


@pytest.mark.parametrize("x", [np.array([3, 1, 3, 2, 2]), normal(3, 2) > 0, np.array([[2.5, 1.0], [2.5, 2.5]])])
def test_unique(x):
    values, inverse, counts = wg.unique(wg.tensor(x), return_inverse=True, return_counts=True)
    want, wanted_counts = np.unique(x, return_counts=True)
    same(values, want)
    same(counts, wanted_counts)
    same(values[inverse], x)


def test_unique_slices():
    x = np.array([[2, 2, 1], [0, 3, 1], [2, 2, 1]])
    values, inverse, counts = wg.unique(wg.tensor(x), return_inverse=True, return_counts=True, dim=0)
    same(values, [[0, 3, 1], [2, 2, 1]])
    same(inverse, [1, 0, 1])
    same(counts, [1, 2])
    same(wg.unique(wg.tensor([[1, 1, 0], [2, 2, 3]]), dim=1), [[0, 1], [3, 2]])


def test_unique_consecutive():
    x = wg.tensor([1, 1, 2, 2, 1])
    values, inverse, counts = wg.unique_consecutive(x, True, True)
    same(values, [1, 2, 1])
    same(inverse, [0, 0, 1, 1, 2])
    same(counts, [2, 2, 1])


def test_isin():
    x, among = normal(3, 3).round(), np.array([0.0, 1.0, 7.0])
    same(wg.isin(wg.tensor(x), wg.tensor(among)), np.isin(x, among))
    same(wg.isin(wg.tensor(x), wg.tensor(among), invert=True), ~np.isin(x, among))
    same(wg.isin(wg.tensor([NAN, 1.0]), wg.tensor([NAN])), [False, False])
    assert wg.isin(2, wg.tensor([1, 2])).item() is True


def test_counting():
    i, w = np.array([1, 0, 3, 1]), np.array([0.5, 1.0, 2.0, 4.0])
    same(wg.bincount(wg.tensor(i), minlength=6), np.bincount(i, minlength=6))
    weights = wg.tensor(w, requires_grad=True)
    out = wg.bincount(wg.tensor(i), weights)
    same(out, np.bincount(i, w))
    out[1].backward()
    same(weights.grad, [1.0, 0.0, 0.0, 1.0])


def test_histograms():
    x, w = normal(50), np.abs(normal(50, seed=1))
    same(wg.histc(wg.tensor(x), 7), np.histogram(x, 7)[0])
    same(wg.histc(wg.tensor(x), 7, -1, 1), np.histogram(x, 7, (-1, 1))[0])
    edges = np.array([-2.0, 0.0, 0.1, 3.0])
    for kwargs in ({}, {"weight": w}, {"weight": w, "density": True}):
        named = {k: wg.tensor(v) if k == "weight" else v for k, v in kwargs.items()}
        for bins in (5, edges):
            out = wg.histogram(wg.tensor(x), bins if bins is not edges else wg.tensor(edges), **named)
            want = np.histogram(x, bins, weights=kwargs.get("weight"), density=kwargs.get("density", False))
            same(out.hist, want[0])
            same(out.bin_edges, want[1])


def test_histogram_of_points():
    p = normal(40, 2)
    out = wg.histogramdd(wg.tensor(p), [3, 4], range=[-1.0, 1.0, 0.0, 2.0], density=True)
    want = np.histogramdd(p, [3, 4], [(-1, 1), (0, 2)], density=True)
    same(out.hist, want[0])
    for e, f in zip(out.bin_edges, want[1], strict=True):
        same(e, f)


MODES = {
    "sort": (lambda x: wg.sort(x, 0, True).values, [X]),
    "topk": (lambda x: wg.topk(x, 2).values, [X]),
    "kthvalue": (lambda x: wg.kthvalue(x, 2, 0).values, [X]),
    "mode": (lambda x: wg.mode(x).values, [X]),
    "product of sorted": (lambda x: wg.sort(x).values.cumprod(1), [X]),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f, arrays = MODES[name]

    def flat(*xs):
        return [f(*xs)]

    point = Point(flat, arrays)
    check_first_order(point)
    check_second_order(point)
    check_vmap(flat, arrays)


PURE = {
    "histogram": lambda x: wg.histogram(x, 3).hist,
    "histc": lambda x: wg.histc(x, 3),
    "isin": lambda x: wg.isin(x, x[:1]),
    "searchsorted": lambda x: wg.searchsorted(wg.sort(x).values, x),
    "bucketize": lambda x: wg.bucketize(x, wg.tensor([-0.5, 0.0, 1.0], dtype=wg.float64)),
    "argsort": lambda x: wg.argsort(x),
}


@pytest.mark.parametrize("name", PURE)
def test_batches(name):
    check_vmap(lambda x: [PURE[name](x)], [X])


ERRORS = {
    "topk": (lambda: wg.topk(wg.ones(2), 3), r"topk: k out of range: k=3 of f32\[2\]"),
    "topk of bools": (lambda: wg.topk(wg.tensor([True]), 1), "topk: bools are not supported"),
    "kthvalue": (lambda: wg.kthvalue(wg.ones(2), 0), "kthvalue: k out of range: k=0. Use 1 to 2"),
    "kthvalue of nothing": (lambda: wg.kthvalue(wg.zeros(2, 0), 1), "kthvalue: dimension 1 is empty"),
    "sort": (lambda: wg.sort(wg.tensor([1j])), "sort: complex numbers have no order"),
    "sort dim": (lambda: wg.sort(wg.ones(2), 1), "sort: dimension out of range"),
    "side": (lambda: wg.searchsorted(wg.ones(1), wg.ones(1), side="x"), "searchsorted: side must be"),
    "sides": (lambda: wg.searchsorted(wg.ones(1), wg.ones(1), side="left", right=True), "contradict"),
    "rows": (lambda: wg.searchsorted(wg.ones(2, 3), wg.ones(3, 3)), "searchsorted: .* leading dimensions"),
    "boundaries": (lambda: wg.bucketize(wg.ones(2), wg.ones(2, 2)), "bucketize: boundaries must have one"),
    "bincount": (lambda: wg.bincount(wg.tensor([-1])), "bincount: needs a vector of non-negative integers"),
    "histc": (lambda: wg.histc(wg.tensor([1])), "histc: needs a floating dtype"),
    "histc range": (lambda: wg.histc(wg.tensor([1.0, INF])), "histc: the range of the data is not finite"),
    "histogram": (lambda: wg.histogram(wg.ones(2), 2, range=(1.0, 0.0)), "histogram: not a range"),
    "isin": (lambda: wg.isin(1, 2), "isin: one argument must be a tensor"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    f, text = ERRORS[name]
    with pytest.raises(RuntimeError, match=text):
        f()

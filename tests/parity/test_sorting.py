"""Sorting, searching, sets and histograms against torch: values, gradients, dtypes."""

from __future__ import annotations

import numpy as np
import pytest

NAN, INF = np.nan, np.inf
HALF = ("float32", "float16", "bfloat16")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


SORTS = [
    "T.sort(x)", "T.sort(x, 0)", "x.sort(descending=True)", "T.sort(x, 0, True)",
    "T.sort(x, stable=True)", "T.argsort(x)", "x.argsort(0, True)", "T.argsort(x, stable=True)",
    "T.msort(x)", "T.topk(x, 1)", "x.topk(1, 0, False)", "T.kthvalue(x, 1)", "x.kthvalue(1, 0, True)",
]  # fmt: skip


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (), (100,)], ids=str)
@pytest.mark.parametrize("text", SORTS)
def test_sorts(agree, text, shape):
    x = np.asarray(
        np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) - 1.5
    )  # exact in every dtype
    agree(text, HALF, x=x)


@pytest.mark.parametrize(
    "text",
    ["T.topk(x, 3)", "T.topk(x, 2, 0)", "T.topk(x, 0)", "T.topk(x, 3, largest=False)", "T.kthvalue(x, 3)",
     "T.kthvalue(x, 2, 0, True)"],
)  # fmt: skip
def test_selection(agree, text):
    agree(text, ("float32",), x=normal(2, 3))
    agree(text.replace("x", "x.t()") if "x, 0" not in text and ", 0" not in text else text, x=normal(3, 3))


def test_partition(agree):
    for text in ("T.topk(x, 5)", "T.topk(x, 7, 1, False)"):
        agree(text, x=normal(3, 300))


SPECIAL = np.array([[3.0, NAN, 1.0, INF], [-INF, 2.0, 0.0, -0.0], [2.0, 2.0, 1.0, 1.0]])


@pytest.mark.parametrize(
    "text",
    ["T.sort(x, stable=True)", "T.sort(x, descending=True, stable=True)", "T.topk(x[0], 2)",
     "T.topk(x[0], 2, largest=False)", "T.kthvalue(x[0], 4)", "T.sort(x, dim=0, stable=True)"],
)  # fmt: skip
def test_nan_ties_infinity(agree, text):
    agree(text, HALF, x=SPECIAL)


@pytest.mark.parametrize("text", ["T.sort(x)", "T.sort(x, 0)", "T.argsort(x)", "T.topk(x, 0)", "T.msort(x)"])
def test_empty(agree, text):
    agree(text, x=normal(2, 0))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
@pytest.mark.parametrize("text", ["T.sort(x, stable=True)", "T.argsort(x, descending=True, stable=True)", "T.msort(x)"])
def test_integers(agree, text, dtype):
    agree(text, (), x=np.array([[3, 0, 2, 3], [1, 0, 0, 5]]).astype(dtype))


SEARCHES = [
    "T.searchsorted(s, v)", "T.searchsorted(s, v, right=True)", "T.searchsorted(s, v, side='right')",
    "T.searchsorted(s, v, out_int32=True)", "T.searchsorted(s, 1.0)", "T.searchsorted(rows, v)",
    "T.searchsorted(rows, v, side='left')", "T.searchsorted(s.flip(0), v, sorter=order)",
    "T.bucketize(v, s)", "T.bucketize(v, s, right=True)", "T.bucketize(1.0, s)",
    "T.bucketize(v, s, out_int32=True)", "T.bucketize(v, s[:0])", "T.searchsorted(s[:0], v)",
]  # fmt: skip


@pytest.mark.parametrize("text", SEARCHES)
def test_searches(agree, text):
    agree(
        text, ("float32",),
        s=np.array([-1.0, 0.0, 1.0, 1.0, 3.0]), v=np.array([[1.0, -5.0, 0.5], [NAN, 3.0, 9.0]]),
        rows=np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 3.0]]), order=np.array([4, 3, 2, 1, 0]),
    )  # fmt: skip


SETS = [
    "T.unique(constx)", "constx.unique(return_inverse=True)", "T.unique(constx, return_counts=True)",
    "T.unique(constx, True, True, True)",
    "T.unique(constx, dim=0, return_inverse=True, return_counts=True)",
    "T.unique(constx.nan_to_num(5), dim=1, return_inverse=True, return_counts=True)",
    "T.unique_consecutive(constx)", "constx.unique_consecutive(True, True)",
    "T.unique_consecutive(constx, True, True, 0)", "T.unique_consecutive(constx, dim=1)",
    "T.isin(constx, constx[0])", "T.isin(constx, 2)", "T.isin(constx, constx[0], invert=True)",
    "T.isin(2, constx)", "T.isin(constx, constx[:0])", "T.isin(constx[:0], constx, assume_unique=True)",
]  # fmt: skip


@pytest.mark.parametrize("text", SETS)
@pytest.mark.parametrize("x", [[[2, 2, 1], [2, 2, 1], [0, 3, 1]], [[1.5, NAN, 1.5], [1.5, 0.0, 0.0], [2.0, 2.0, 0.0]]])
def test_sets(agree, text, x):
    agree(text, (), constx=np.array(x))


@pytest.mark.parametrize(
    "text", ["T.unique(constx)", "T.unique_consecutive(constx, True, True)", "T.isin(constx, constx)"]
)
@pytest.mark.parametrize("x", [np.array(3), np.zeros(0), np.array([1, 0, 1]), np.zeros((0, 2))])
def test_small_sets(agree, text, x):
    agree(text, (), constx=x)


COUNTS = [
    "T.bincount(i)", "T.bincount(i, minlength=9)", "T.bincount(i, i)", "T.bincount(i, constw)",
    "T.bincount(i[:0])", "T.bincount(i[:0], minlength=3)", "T.histc(constx)", "T.histc(constx, 5)",
    "T.histc(constx, 4, -1, 1)", "T.histc(constx[:1], 3)", "T.histc(constx[:0], 3)",
    "constx.histc(bins=3, min=0, max=0.5)", "T.histogram(constx, 4)",
    "T.histogram(constx, 3, range=(-1.0, 1.0))", "T.histogram(constx, 4, weight=constw, density=True)",
    "T.histogram(constx, constedges)", "T.histogram(constx, constedges, density=True)",
    "T.histogram(constx * 0 + 1, 3)", "T.histogramdd(constp, [2, 3])",
    "T.histogramdd(constp, 2, range=[-1.0, 1.0, 0.0, 2.0])",
    "T.histogramdd(constp, [constedges, constedges[1:]], weight=constw[:3], density=True)",
    "T.histogramdd(constp, 3, density=True)",
]  # fmt: skip


@pytest.mark.parametrize("text", COUNTS)
def test_counts(agree, text):
    x = normal(5)
    agree(
        text, ("float32",), i=np.array([1, 0, 3, 1, 1]), constx=x, constp=normal(3, 2),
        constedges=np.array([-2.0, -0.5, 0.0, 0.1, 3.0]), constw=np.abs(x) + 0.5,
    )  # fmt: skip

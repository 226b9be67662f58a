"""Reductions, statistics and norms against torch: values, gradients, dtypes."""

from __future__ import annotations

import numpy as np
import pytest

NAN, INF = np.nan, np.inf
HALF = ("float32", "float16", "bfloat16")
DOUBLE = ("float32",)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def complexes(*shape: int) -> np.ndarray:
    return normal(*shape) + 1j * normal(*shape, seed=1)


SHAPES = [(4,), (3, 4), (2, 3, 4), (), (0,), (2, 0, 3)]
EVERYWHERE = [
    "T.sum(x)", "x.sum()", "T.sum(x, 0)", "x.sum(-1, keepdim=True)", "T.sum(x, dtype=T.float64)",
    "T.sum(x, dim=())", "T.sum(x, axis=0, keepdims=True)", "T.mean(x)", "x.mean(0)",
    "T.mean(x, -1, True)", "T.nansum(x, 0)", "T.nanmean(x)", "T.nanmean(x, -1, keepdim=True)",
    "T.prod(x)", "T.prod(x, 0)", "x.prod(-1, keepdim=True)", "T.any(x)", "T.any(x, 0)", "x.all(-1, True)",
    "T.all(x)", "T.any(x, dim=())", "T.count_nonzero(x)", "T.count_nonzero(x, 0)", "T.logsumexp(x, 0)",
    "T.logsumexp(x, -1, True)", "T.var(x)", "x.var(0)", "T.var(x, False)", "x.var(-1, True, True)",
    "T.var(x, dim=0, correction=0)", "T.var(x, -1, correction=2, keepdim=True)", "T.std(x)",
    "T.std(x, 0, False)", "T.std_mean(x, 0)", "T.var_mean(x, -1, keepdim=True)", "T.std_mean(x)",
    "T.norm(x)", "T.norm(x, 1)", "x.norm(3, 0)", "T.norm(x, 0, -1)", "T.norm(x, 2, -1, True)",
    "T.norm(x, 1.5)", "T.norm(x, 'fro', 0)", "T.norm(x, dtype=T.float64)", "T.norm(x, 0.5)",
    "T.dist(x, x * 2 + 1)", "T.dist(x, x + 1, 3)",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("text", EVERYWHERE)
def test_every_shape(agree, text, shape):
    agree(text, HALF if 0 not in shape else (), x=normal(*shape), tol=8)


SEVERAL = [
    "T.sum(x, (0, 2))", "T.sum(x, [1, -1], True)", "T.mean(x, (0, 1))", "T.amax(x, (0, 2))",
    "T.amin(x, (1, 2), True)", "T.logsumexp(x, (0, 2))", "T.var(x, (0, 1))",
    "T.std(x, [0, 2], correction=0)", "T.any(x, (0, 1))", "T.all(x, (1, 2), keepdim=True)",
    "T.norm(x, dim=(0, 1))", "T.norm(x, 3, (1, 2))", "T.count_nonzero(x, (0, 2))", "T.nansum(x, (0, 1))",
    "T.nanmean(x, (0, 1), True)", "T.var_mean(x, (1, 2))", "T.norm(x, 'fro', (0, 2), True)",
]  # fmt: skip


@pytest.mark.parametrize("text", SEVERAL)
def test_several_dimensions(agree, text):
    agree(text, HALF, x=normal(2, 3, 4), tol=8)
    agree(text, (), x=normal(4, 3, 2).T)


CHOICES = [
    "T.amax(x)", "T.amax(x, 0)", "x.amin(-1, True)", "T.amax(x, dim=())", "T.aminmax(x)",
    "T.aminmax(x, dim=0)", "x.aminmax(dim=-1, keepdim=True)", "T.max(x)", "T.max(x, 0)",
    "x.max(-1, True)", "T.min(x)", "T.min(x, dim=0)", "T.argmax(x)", "T.argmax(x, 0)",
    "T.argmin(x, -1, True)", "T.argmin(x)", "T.argmax(x, keepdim=True)", "T.norm(x, float('inf'))",
    "T.norm(x, float('-inf'), 0)", "T.norm(x, -2)", "T.median(x)", "T.median(x, 0)", "x.median(-1, True)",
    "T.nanmedian(x)", "T.nanmedian(x, 0)", "T.mode(x)", "T.mode(x, 0, True)", "T.quantile(x, 0.3)",
    "T.quantile(x, 0.3, 0)", "T.nanquantile(x, 0.7, -1, keepdim=True)",
    "T.quantile(x, 1.0, keepdim=True)", "T.max(x, x * 0.5)", "T.min(x, other=x * 0.5)",
    "T.max(x, axis=0)",
]  # fmt: skip


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (), (1, 3)], ids=str)
@pytest.mark.parametrize("text", CHOICES)
def test_choices(agree, text, shape):
    agree(text, DOUBLE if "quantile" in text else HALF, x=normal(*shape), tol=4)


@pytest.mark.parametrize("text", ["T.amax(x, 1)", "T.max(x, 1)", "T.argmin(x, 1)", "T.median(x, 1)", "T.mode(x, 1)"])
def test_empty_outside(agree, text):
    agree(text, x=normal(0, 3))


TIES = np.array([[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 4.0, 4.0]])


@pytest.mark.parametrize(
    "text",
    ["T.amax(x)", "T.amin(x, 1)", "T.max(x)", "T.min(x)", "T.max(x, 1)", "T.min(x, 0)", "T.argmax(x, 1)",
     "T.argmin(x)", "T.aminmax(x)", "T.median(x)", "T.nanmedian(x)", "T.mode(x)",
     "T.norm(x, float('inf'))", "T.norm(x, float('-inf'), 1)", "T.aminmax(x, dim=1)"],
)  # fmt: skip
def test_ties(agree, text):
    agree(text, HALF, x=TIES)


WITH_NAN = np.array([[1.0, NAN, 3.0, 2.0], [NAN, NAN, NAN, NAN], [0.0, 1.0, INF, -INF], [4.0, 3.0, NAN, 1.0]])


@pytest.mark.parametrize(
    "text",
    ["T.sum(x, 1)", "T.nansum(x)", "T.nansum(x, 1)", "T.nanmean(x[0])", "T.any(x, 1)", "T.argmax(x, 1)",
     "T.argmin(x, 1)", "T.max(x, 1)", "T.min(x, 1)", "T.median(x, 1)", "T.nanmedian(x[[0, 2, 3]], 1)",
     "T.nanmedian(x)", "T.median(x)", "T.nanmedian(x[:3:2])", "T.count_nonzero(x)",
     "T.quantile(x[:2], 0.4, 1)", "T.nanquantile(x[:2], 0.4, 1)", "T.aminmax(x)[0].detach()",
     "T.prod(x, 1).detach()", "T.std(x, 1).detach()", "T.logsumexp(x[2], 0).detach()"],
)  # fmt: skip
def test_nan_and_infinity(agree, text):
    agree(text, x=WITH_NAN)


ZEROS = np.array([[1.5, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("p", ["0.5", "1", "1.5", "2", "3", "4.0", "'fro'", "float('inf')"])
@pytest.mark.parametrize("x", [ZEROS, ZEROS[3]], ids=["matrix", "zeros"])
def test_norm_at_zero(agree, p, x):
    agree(f"T.norm(x, {p}, -1)", x=x)
    agree(f"T.dist(x, x * 1.0, {p})".replace("'fro'", "2"), x=x)


@pytest.mark.parametrize("text", ["T.prod(x)", "T.prod(x, 0)", "T.prod(x, 1)", "T.std(x * 0, 1)", "T.std(x[3])"])
def test_at_zero(agree, text):
    agree(text, x=ZEROS)


def test_nuclear_norm(agree):
    agree("T.norm(x, 'nuc')", x=normal(3, 2))
    agree("T.norm(x, 'nuc', (0, 2), True)", x=normal(3, 2, 4))


COMPLEX = [
    "T.sum(x, 0)", "T.mean(x)", "T.prod(x, 1)", "T.prod(x)", "T.var(x, 1)", "T.std(x)", "T.norm(x)",
    "T.norm(x, 1)", "T.norm(x, 3, 0)", "T.norm(x, float('inf'), 0)", "T.logsumexp(x, 0)", "T.any(x, 0)",
    "T.count_nonzero(x)", "T.cov(x)", "T.var_mean(x, 1)",
]  # fmt: skip


@pytest.mark.parametrize("text", COMPLEX)
def test_complex(agree, text):
    agree(text, (), x=complexes(2, 3))


INTEGERS = [
    "T.sum(x)", "T.sum(x, 0)", "T.sum(x, dtype=T.float32)", "T.prod(x, 0)", "T.prod(x)",
    "T.mean(x, dtype=T.float32)", "T.amax(x, 0)", "T.amin(x)", "T.aminmax(x)", "T.max(x, 1)", "T.min(x)",
    "T.any(x, 0)", "T.all(x)", "T.nansum(x)", "T.count_nonzero(x, 1)", "T.mode(x)",
]  # fmt: skip
ARITHMETIC = [
    "T.argmax(x, 0)", "T.argmin(x)", "T.median(x)", "T.median(x, 0)", "T.logsumexp(x, 1)", "T.cov(x)",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "bool"])
@pytest.mark.parametrize("text", INTEGERS + ARITHMETIC)
def test_integers(agree, text, dtype):
    if dtype == "bool" and text in ARITHMETIC:
        text = "T.sum(x, 1)"
    agree(text, (), x=np.array([[3, 0, 2, 3], [1, 0, 0, 5]]).astype(dtype))


QUANTILES = [
    "T.quantile(x, q)", "T.quantile(x, q, 1)", "T.quantile(x, q, 0, True)",
    "T.quantile(x, q, keepdim=True)", "T.quantile(x, q, 1, interpolation='lower')",
    "T.quantile(x, q, 1, interpolation='higher')", "T.quantile(x, q, 1, interpolation='midpoint')",
    "T.quantile(x, q, 1, interpolation='nearest')", "T.nanquantile(x, q, 1, keepdim=True)",
    "T.nanquantile(x, q, interpolation='nearest')",
]  # fmt: skip


@pytest.mark.parametrize("text", QUANTILES)
def test_quantiles(agree, text):
    agree(text, DOUBLE, x=normal(3, 5), q=np.array([0.0, 0.3, 0.5, 0.77, 1.0]))


@pytest.mark.parametrize(
    "text",
    ["T.cov(x)", "T.cov(x[0])", "T.cov(x, correction=0)", "T.cov(x, fweights=f)", "T.cov(x, aweights=a)",
     "T.cov(x, correction=2, fweights=f, aweights=a)", "T.corrcoef(x)", "T.corrcoef(x[0])",
     "T.cov(x[0, 0])"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_covariance(agree, text):
    agree(
        text,
        DOUBLE,
        x=normal(3, 5),
        f=np.array([1, 2, 1, 3, 1]),
        consta=np.abs(normal(5)),
        a=np.abs(normal(5)),
    )


@pytest.mark.parametrize(
    "text",
    ["T.allclose(x, x + 1e-9)", "T.allclose(x, x + 1)", "T.allclose(x, x, equal_nan=True)",
     "T.allclose(x[0], x[:1])", "T.allclose(x, x + 0.5, atol=1)", "T.equal(x, x)", "T.equal(x, x[0])",
     "T.equal(x, x + 1)", "x.equal(x * 1)"],
)  # fmt: skip
@pytest.mark.parametrize("x", [normal(2, 3), np.array([[1.0, NAN], [INF, 2.0]]), np.array([[1.0, 2.0], [3.0, 4.0]])])
def test_truth_of_all(agree, text, x):
    agree(f"T.tensor({text})", (), x=x)

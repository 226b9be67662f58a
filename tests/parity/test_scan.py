"""Scans, differences and integrals against torch: values, gradients, dtypes."""

from __future__ import annotations

import numpy as np
import pytest

NAN, INF = np.nan, np.inf
HALF = ("float32", "float16", "bfloat16")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


SCANS = [
    "T.cumsum(x, 0)", "x.cumsum(-1)", "T.cumprod(x, 0)", "x.cumprod(dim=-1)", "T.logcumsumexp(x, 0)",
    "x.logcumsumexp(-1)", "T.cummax(x, 0)", "x.cummin(-1)", "T.cumsum(x, axis=0)",
    "T.cumprod(x, 0, dtype=T.float64)",
]  # fmt: skip


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (), (0,), (2, 0), (40,)], ids=str)
@pytest.mark.parametrize("text", SCANS)
def test_scans(agree, text, shape):
    agree(text, HALF, x=normal(*shape), tol=8)


ZEROS = np.array([[1.5, -2.0, 0.5], [0.0, 3.0, -1.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("text", ["T.cumprod(x, 0)", "T.cumprod(x, 1)", "x.cumprod(1)[:, -1]"])
def test_cumprod_with_zeros(agree, text):
    agree(text, x=ZEROS)


@pytest.mark.parametrize("text", ["T.cummax(x, 0)", "T.cummin(x, 1)", "T.cummax(x, 1)"])
def test_ties_and_nan(agree, text):
    agree(text, HALF, x=np.array([[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0], [NAN, 1.0, NAN, INF]]))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
@pytest.mark.parametrize(
    "text",
    ["T.cumsum(x, 0)", "T.cumprod(x, 1)", "T.cumsum(x, 0, dtype=T.float32)", "T.cummax(x, 1)",
     "T.cummin(x, 0)", "T.diff(x)", "T.diff(x, 2)"],
)  # fmt: skip
def test_integers(agree, text, dtype):
    agree(text, (), x=np.array([[3, 0, 2, 3], [1, 0, 0, 5]]).astype(dtype))


@pytest.mark.parametrize("text", ["T.cumsum(x, 0)", "T.cumprod(x, 1)", "T.diff(x)", "T.trapezoid(x)"])
def test_complex(agree, text):
    agree(text, (), x=normal(2, 3) + 1j * normal(2, 3, seed=1))


DIFFERENCES = [
    "T.diff(x)", "T.diff(x, 2, 0)", "x.diff(n=3)", "T.diff(x, 0)", "T.diff(x, n=9)",
    "T.diff(x, dim=0, prepend=x[:1])", "T.diff(x, append=x * 2, prepend=x)", "T.gradient(x)",
    "T.gradient(x, spacing=0.5)", "T.gradient(x, spacing=(2.0, 0.5))", "T.gradient(x, dim=1)",
    "T.gradient(x, dim=(1, 0), edge_order=2)", "T.gradient(x, spacing=(c[:3], c))",
    "T.gradient(x, spacing=(c,), dim=1, edge_order=2)", "T.gradient(x, dim=0, spacing=2)",
]  # fmt: skip
COORDINATES = np.array([0.0, 1.0, 1.5, 4.0])


@pytest.mark.parametrize("text", DIFFERENCES)
def test_differences(agree, text):
    agree(text, ("float32",), x=normal(3, 4), constc=COORDINATES, c=COORDINATES)


INTEGRALS = [
    "T.trapezoid(x)", "T.trapz(x, dim=0)", "T.trapezoid(x, dx=0.5)", "T.trapezoid(x, c)",
    "T.trapezoid(x, c[:3], dim=0)", "T.trapezoid(x, x * x)", "T.cumulative_trapezoid(x)",
    "T.cumulative_trapezoid(x, dx=2, dim=0)", "T.cumulative_trapezoid(x, c)",
    "T.cumulative_trapezoid(x, x * 2)", "T.trapezoid(x[:0], dim=0)", "T.trapz(x, c)",
    "T.trapezoid(x[:, :0])", "T.cumulative_trapezoid(x[:, :0])", "T.trapz(x, dx=3)",
]  # fmt: skip


@pytest.mark.parametrize("text", INTEGRALS)
def test_integrals(agree, text):
    agree(text, ("float32",), x=normal(3, 4), c=COORDINATES)


@pytest.mark.parametrize("text", ["T.trapezoid(x)", "T.cumulative_trapezoid(x)", "T.trapezoid(x, x)", "T.gradient(x)"])
def test_integer_samples(agree, text):
    agree(text, (), x=np.array([1, 2, 4]))


def test_in_place(agree):
    agree("(x * 1).cumsum_(0)", x=normal(3, 2))
    agree("(x * 1).cumprod_(1)", x=normal(3, 2))

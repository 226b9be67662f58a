"""The places of extremes in compiled functions, which have kernels: NumPy's places, ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg

DTYPES = [wg.float32, wg.float64, wg.float16, wg.bfloat16, wg.int8, wg.uint8, wg.int32, wg.int64, wg.bool]


def values(shape, dtype):
    """Numbers with many ties."""
    return wg.tensor(np.random.default_rng(0).integers(-3, 4, shape)).to(dtype)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("shape", "axis"), [((5,), 0), ((7, 33), 1), ((33, 7), 0), ((3, 1, 20), 1), ((2, 70, 5), None)]
)
def test_places_of_extremes(name, dtype, shape, axis):
    x = values(shape, dtype)
    f = getattr(wg, name)
    assert wg.equal(wg.compile(lambda x: f(x, axis))(x), f(x, axis))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.float16])
def test_the_first_nan_wins(name, dtype):
    x = np.array(
        [[1.0, np.nan, np.inf, np.nan], [np.inf, -np.inf, np.inf, -np.inf], [0.0, -0.0, 0.0, -0.0], [np.nan] * 4]
    )
    f = getattr(wg, name)
    x = wg.tensor(x, dtype=dtype)
    assert wg.compile(lambda x: f(x, 1))(x).tolist() == f(x, 1).tolist()


def test_a_step_that_counts_what_is_right_is_one_program():
    """Nothing in it is left to NumPy."""

    @wg.compile
    def right(x, w, y):
        return ((x @ w).argmax(1) == y).float().mean()

    x, w = values((64, 8), wg.float32), values((8, 10), wg.float32)
    y = (x @ w).argmax(1)
    assert right(x, w, y) == 1
    assert " numpy " not in wg.explain(right)


def test_many_elements():
    x = wg.tensor(np.random.default_rng(0).normal(size=(1 << 20) + 3).astype(np.float32))
    assert wg.compile(lambda x: (x.argmax(), x.argmin()))(x) == (x.argmax(), x.argmin())

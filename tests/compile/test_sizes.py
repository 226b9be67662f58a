"""Compiled functions whose results have sizes that values decide: they are told, or an error says how to tell them."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.errors import IndexRangeError, TraceError


def compared(f, *arrays):
    """The compiled function, after a call that agrees with the plain one."""
    xs = [wg.tensor(a) for a in arrays]
    compiled = wg.compile(f)
    np.testing.assert_allclose(compiled(*xs).numpy(), f(*xs).numpy(), rtol=1e-6)
    return compiled


def test_repeats_that_a_tensor_counts():
    x = np.random.default_rng(0).normal(size=(5, 3))
    f = compared(lambda x, n: wg.repeat_interleave(x, n, 0, output_size=9), x, np.array([1, 0, 3, 4, 1]))
    assert f(wg.tensor(x), wg.tensor([9, 0, 0, 0, 0])).tolist() == [x[0].tolist()] * 9
    for counts in ([1, 0, 3, 4, 2], [1, 0, 3, 4, 0], [1, -1, 4, 4, 1]):
        with pytest.raises(IndexRangeError, match="repeat_interleave"):
            f(wg.tensor(x), wg.tensor(counts))
    compared(lambda n: wg.repeat_interleave(n, output_size=9), np.array([1, 0, 3, 4, 1]))
    compared(lambda x, n: wg.repeat_interleave(x, n, output_size=30), x, np.array(2))
    compared(lambda n: wg.repeat_interleave(n, output_size=0), np.zeros(0, np.int64))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("rows", "entries"), [(5, 6), (5, 0), (1, 9)])
def test_products_scattered_by_computed_places(own, rows, entries):
    rng = np.random.default_rng(0)
    base, source = rng.normal(size=(rows, 3)), rng.normal(size=(entries, 3))
    source[:1, 0] = 0.0
    index = rng.integers(0, rows, (entries, 3))

    def f(x, i, s):
        return wg.scatter_reduce(x, 0, i, s, "prod", include_self=own)

    compared(f, base, index, source)
    slope = wg.func.grad(lambda x, s, i: (f(x, i, s) ** 2).sum(), (0, 1))
    given = [wg.tensor(a) for a in (base, source, index)]
    for found, want in zip(wg.compile(slope)(*given), slope(*given), strict=True):
        np.testing.assert_allclose(found.numpy(), want.numpy(), rtol=1e-12, atol=1e-12)


def test_ctc_targets_one_after_the_other():
    rng = np.random.default_rng(0)
    x = F.log_softmax(wg.tensor(rng.normal(size=(12, 3, 5))), -1).numpy()
    given = x, rng.integers(1, 5, 9), np.array([12, 10, 7]), np.array([4, 2, 3])
    f = compared(F.ctc_loss, *given)
    with pytest.raises(IndexRangeError, match="sum of their lengths"):
        f(*[wg.tensor(a) for a in given[:3]], wg.tensor([4, 2, 2]))


@pytest.mark.parametrize(("f", "cure"), [
    (lambda n: wg.repeat_interleave(n), "output_size="),
    (lambda n: wg.repeat_interleave(n, n), "output_size="),
    (lambda n: F.one_hot(n), "num_classes"),
    (lambda n: wg.nonzero(n), "depends on values: use wg.where"),
    (lambda n: n.masked_select(n > 0), "depends on values: use wg.where"),
    (lambda n: n.unique(), "depends on values: use wg.where"),
    (lambda n: n.sum().item(), "read it after the call"),
])  # fmt: skip
def test_errors_say_how_to_tell_the_size(f, cure):
    with pytest.raises(TraceError, match=cure):
        wg.compile(f)(wg.tensor([1, 2, 0]))

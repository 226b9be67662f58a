"""Whole numbers divided by what a compiled function computes itself: zero is an error, and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.errors import ArgumentError

DIVISIONS = [lambda x, y: x // y, lambda x, y: x % y, lambda x, y: wg.fmod(x, y)]
NAMES = ["floor_divide", "remainder", "fmod"]


def computed(y: Any) -> Any:
    """The numbers, as a value that is not looked at before the call."""
    return y + 0 * y.sum().to(y.dtype)


def inside(divide: Any, x: Any, y: Any) -> Any:
    return divide(x, computed(y))


USES = [
    inside,
    lambda d, x, y: d(x[:, None], computed(y)).sum(0),
    lambda d, x, y: d(x, computed(y)[0]),
    lambda d, x, y: d(x, computed(y)).cumsum(0),
    lambda d, x, y: d(x[::2], computed(y)[::2]).flip(0),
    lambda d, x, y: wg.func.vmap(d)(x, computed(y)),
    lambda d, x, y: wg.cond(y.sum() > -1000, lambda x, y: d(x, y), lambda x, y: x, (x, y)),
    lambda d, x, y: wg.scan(lambda c, v: (c + d(v[0], v[1]), c), x[0] * 0, (x, y))[1],
    lambda d, x, y: wg.fori_loop(0, len(y), lambda i, c: c + d(x, y[i]), x * 0),
]


@pytest.mark.quick(use=USES[:1], divide=DIVISIONS[:1])
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("divide", DIVISIONS)
def test_zero_changes_nothing(divide: Any, use: Any) -> None:
    w, other = nn.Parameter(wg.ones(4)), nn.Parameter(wg.ones(300))
    optimizer, calls = wg.optim.Adam([w, other], lr=0.1), wg.tensor(0)
    x = wg.tensor([7, -7, 8, 9])

    @wg.compile
    def step(y: Any) -> Any:
        calls.add_(1)
        optimizer.zero_grad()
        found = use(divide, x, y)
        loss = (w * found.float().sum() + wg.rand(1)).sum() + (other * other).sum()
        loss.backward()
        optimizer.step()
        return found

    good = wg.tensor([2, -3, 4, 5])
    np.testing.assert_array_equal(step(good).numpy(), use(divide, x, good).numpy())
    before = [w, other, w.grad, other.grad, calls, *optimizer.state[w].values()]
    before = [v.detach().clone() if isinstance(v, wg.Tensor) else v for v in before]
    name = NAMES[DIVISIONS.index(divide)]
    for bad in (wg.tensor([0, 1, 2, 3]), wg.tensor([0, 0, 0, 0])):
        for f in (step, lambda y: use(divide, x, y)):
            with pytest.raises(ArgumentError, match=f"{name}.*integer division by zero"):
                f(bad)
        after = [w, other, w.grad, other.grad, calls, *optimizer.state[w].values()]
        for a, b in zip(after, before, strict=True):
            np.testing.assert_array_equal(np.asarray(getattr(a, "_value", a)), np.asarray(getattr(b, "_value", b)))
    np.testing.assert_array_equal(step(good).numpy(), use(divide, x, good).numpy())
    assert int(calls) == 2


@pytest.mark.quick(n=[17])
@pytest.mark.parametrize("n", [1, 2, 7, 16, 17, 33, 70])
@pytest.mark.parametrize("dtype", [wg.int8, wg.uint8, wg.int32, wg.int64], ids=repr)
def test_each_element_and_none_beyond_is_looked_at(n: int, dtype: Any) -> None:
    f = wg.compile(lambda x, y: inside(DIVISIONS[0], x, y))
    x, y = wg.arange(n).to(dtype), (wg.arange(n) % 5 + 1).to(dtype)
    np.testing.assert_array_equal(f(x, y).numpy(), (x // y).numpy())
    for at in {0, n // 2, n - 1}:
        bad = y.clone()
        bad[at] = 0
        with pytest.raises(ArgumentError, match="division by zero"):
            f(x, bad)


def test_the_error_names_op_and_line() -> None:
    f = wg.compile(lambda x, y: x % computed(y) + 1)
    line = test_the_error_names_op_and_line.__code__.co_firstlineno + 1
    with pytest.raises(ArgumentError, match=rf"remainder: integer division by zero: made at .*test_divisors.py:{line}"):
        f(wg.tensor([1]), wg.tensor([0]))


def test_a_zero_that_stands_in_the_program() -> None:
    zero = wg.tensor([2, 0, 1])
    for f in (lambda x: x // 0, lambda x: x % wg.tensor([1, 0, 2]), lambda x: wg.fmod(x, zero)):
        for run in (f, wg.compile(f)):
            with pytest.raises(ArgumentError, match="division by zero"):
                run(wg.tensor([1, 2, 3]))


def test_branches_and_loops_that_do_not_run_divide_by_nothing() -> None:
    chosen = wg.compile(lambda x, y: wg.cond(y.sum() > 0, lambda x, y: x // y, lambda x, y: x, (x, y)))
    assert chosen(wg.tensor([4, 6]), wg.tensor([2, 3])).tolist() == [2, 2]
    assert chosen(wg.tensor([4, 6]), wg.tensor([0, 0])).tolist() == [4, 6]
    looped = wg.compile(
        lambda n, x, y: wg.while_loop(lambda i, c: i < n, lambda i, c: (i + 1, c + x // y), (wg.tensor(0), x))[1]
    )
    assert looped(wg.tensor(2), wg.tensor([4, 6]), wg.tensor([2, 3])).tolist() == [8, 10]
    assert looped(wg.tensor(0), wg.tensor([4, 6]), wg.tensor([0, 3])).tolist() == [4, 6]
    with pytest.raises(ArgumentError, match="division by zero"):
        looped(wg.tensor(1), wg.tensor([4, 6]), wg.tensor([0, 3]))


def test_an_index_that_is_a_quotient() -> None:
    f = wg.compile(lambda x, i, y: x[i // y] * 2)
    x, i = wg.arange(5.0), wg.tensor([4, 2])
    assert f(x, i, wg.tensor([1, 2])).tolist() == [8.0, 2.0]
    with pytest.raises(ArgumentError, match="floor_divide"):
        f(x, i, wg.tensor([1, 0]))


def test_divisors_that_are_constants_are_not_looked_at() -> None:
    f = wg.compile(lambda x: (x // 3 + x % wg.tensor([2, 3, 5]), wg.scan(lambda c, v: (c + v // 7, c % 5), x[0], x)[1]))
    f(wg.tensor([1, 2, 3]))
    schedule = f.latest.scheduled()
    assert not schedule.lookups and schedule.block.last_look == -1


def test_any_number_of_threads() -> None:
    x, y = wg.arange(1_000_000), wg.arange(1_000_000) % 1000 + 1
    f = wg.compile(lambda x, y: inside(DIVISIONS[1], x, y))
    threads = wg.get_num_threads()
    try:
        for n in (1, 2, threads):
            wg.set_num_threads(n)
            np.testing.assert_array_equal(f(x, y).numpy(), (x % y).numpy())
            bad = y.clone()
            bad[777_777] = 0
            with pytest.raises(ArgumentError, match="division by zero"):
                f(x, bad)
    finally:
        wg.set_num_threads(threads)


def test_floats_are_divided_by_zero() -> None:
    f = wg.compile(lambda x, y: (x // computed(y), x % computed(y)))
    x, y = wg.tensor([1.0, -1.0]), wg.tensor([0.0, 2.0])
    for a, b in zip(f(x, y), (x // y, x % y), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())

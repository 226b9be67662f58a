"""An interrupt ends a native loop, and nothing has changed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupts itself by a timer")
FOREVER = 1 << 40


@pytest.fixture
def soon() -> Iterator[Callable[[], None]]:
    """Has a KeyboardInterrupt come in a moment, as Ctrl-C does: by a signal's handler."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.2)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def counted(x: Any, n: Any) -> Any:
    """A loop of as many steps as wanted."""
    start = (x, wg.zeros((), dtype=wg.int64))
    return wg.while_loop(lambda c, i: i < n, lambda c, i: (wg.tanh(c) + 0.1, i + 1), start)[0]


def scanned(x: Any, n: Any) -> Any:
    """A scan of very many steps, or none."""

    def long(x: Any) -> Any:
        return wg.scan(lambda c, _: (wg.tanh(c) + 0.1, None), x, None, length=FOREVER)[0]

    return wg.cond(n > 10, long, lambda x: x + 1.0, (x,))


def nested(x: Any, n: Any) -> Any:
    """A loop within a scan."""
    return wg.scan(lambda c, _: (counted(c, n), None), x, None, length=100)[0]


def gradient(x: Any, n: Any) -> Any:
    """With a tape, which the second loop goes on from."""
    return wg.func.grad(lambda x: wg.tanh(counted(x, n)).sum())(x)


SMALL = [(loop, 3) for loop in (counted, scanned, nested, gradient)]  # in registers
LARGE = [(loop, 100_000) for loop in (counted, scanned, nested)]  # shared by threads


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("loop", "size"), [*SMALL, *LARGE])
@pytest.mark.slow
def test_interrupt(loop: Any, size: int, threads: int, soon: Callable[[], None]) -> None:
    before = wg.get_num_threads()
    wg.set_num_threads(threads)
    try:
        _interrupted(loop, size, soon)
    finally:
        wg.set_num_threads(before)


def _interrupted(loop: Any, size: int, soon: Callable[[], None]) -> None:
    early, late = wg.ones(2), wg.ones(2)

    def step(x: Any, n: Any) -> Any:
        with wg.no_grad():
            early.add_(1.0)
            y = loop(x, n)
            late.add_(y.sum().to(wg.float32))
        return y

    compiled = wg.compile(step)
    x = wg.linspace(-1.0, 1.0, size, dtype=wg.float64)
    few, many = wg.tensor(3), wg.tensor(FOREVER)
    first = compiled(x, few).numpy()
    states = [early.numpy().copy(), late.numpy().copy()]
    for _ in range(2):
        soon()
        with pytest.raises(KeyboardInterrupt):
            compiled(x, many)
        np.testing.assert_array_equal(early.numpy(), states[0])
        np.testing.assert_array_equal(late.numpy(), states[1])
    np.testing.assert_array_equal(compiled(x, few).numpy(), first)
    assert early.numpy()[0] == states[0][0] + 1.0


@pytest.mark.slow
def test_gradients_stay_as_they_were(soon: Callable[[], None]) -> None:
    """Though they are usually written to where the last ones are."""
    w = nn.Parameter(wg.ones(3))

    @wg.compile
    def step(x: Any, n: Any) -> Any:
        w.grad = None
        (x * w).square().sum().backward()
        return counted(x + w.grad, n)

    x = wg.linspace(-1.0, 1.0, 3)
    step(x, wg.tensor(3))
    step(x, wg.tensor(3))
    before = w.grad.numpy().copy()
    soon()
    with pytest.raises(KeyboardInterrupt):
        step(x + 1, wg.tensor(FOREVER))
    np.testing.assert_array_equal(w.grad.numpy(), before)

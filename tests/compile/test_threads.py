"""Several threads call compiled functions at once, the first time too."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.runtime import llvm


@pytest.fixture(autouse=True)
def often() -> Any:
    """Threads take turns every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[int], None], n: int = 4) -> None:
    """Run in ``n`` threads; the first error is raised."""
    barrier, errors = threading.Barrier(n), []

    def run(i: int) -> None:
        barrier.wait()
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


@pytest.mark.filterwarnings("ignore::wengert.RecompileWarning")
def test_a_training_step_is_captured_while_others_run():
    """A capture binds the parameters to symbols: a program that ran meanwhile found no values, or wrote them away."""
    net = nn.Linear(4, 3)
    optimizer = wg.optim.SGD(net.parameters(), lr=0.0)

    @wg.compile
    def step(x):
        optimizer.zero_grad()
        loss = net(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    want = {n: net(wg.ones(n, 4)).pow(2).mean().item() for n in range(1, 8)}

    def work(i):
        for k in range(14):
            n = 1 + (k + i) % 7
            assert step(wg.ones(n, 4)).item() == pytest.approx(want[n], rel=1e-5)

    at_once(work)


def test_backward_passes_of_one_compiled_module():
    net = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    f, x = wg.compile(net), wg.randn(200, 64)
    want = wg.autograd.grad(f(x).sum(), list(net.parameters()))

    def work(i):
        for _ in range(25):
            for a, b in zip(wg.autograd.grad(f(x).sum(), list(net.parameters())), want, strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy())

    at_once(work)


def test_draws_are_never_the_same():
    def drawn(x):
        return wg.rand(2) + x * 0

    fs, seen = [wg.compile(lambda x, k=k: drawn(x) * (k + 1) / (k + 1)) for k in range(4)], []
    for f in fs:
        f(wg.ones(2))

    def work(i):
        for _ in range(200):
            seen.append(tuple(fs[i](wg.zeros(2)).tolist()))
            seen.append(tuple(wg.rand(2).tolist()))

    at_once(work)
    assert len({(round(a, 5), round(b, 5)) for a, b in seen}) == len(seen)


def test_what_is_loaded_is_loaded_once():
    """Else one of two threads had addresses of code that is unloaded: the process crashed, now and then."""
    made, found = [], []

    @llvm.once
    def make(name):
        time.sleep(0.01)
        made.append(name)
        return object()

    at_once(lambda i: found.append((make("a"), make("b"))))
    assert sorted(made) == ["a", "b"] and len(set(found)) == 1


FIRST = """
import sys, threading
import wengert as wg
sys.setswitchinterval(1e-5)
barrier = threading.Barrier(4)
f = wg.compile(lambda x, k=None: x * 2 if k is None else x * k)
def work(i):
    barrier.wait()
    for _ in range(50):
        y = f(wg.ones(3)) if i % 2 else f(wg.ones(3), k=wg.tensor(2.0))
        assert y.tolist() == [2, 2, 2]
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads], [t.join() for t in threads]
print("done")
"""


@pytest.mark.slow
def test_the_first_calls_of_a_process():
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FIRST], capture_output=True, text=True, check=False
        )
        assert (done.stdout.strip(), done.stderr, done.returncode) == ("done", "", 0)

"""Memory of large results: used again when nothing refers to it any more, and never before."""

from __future__ import annotations

import copy
import pickle
import sys
import threading

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.runtime import results
from wengert.runtime.memory import layout_of

F32, BF16 = np.dtype(np.float32), wg.ones(1, dtype=wg.bfloat16).numpy().dtype
SHAPE = (512, 300)


@pytest.fixture(autouse=True)
def emptied():
    results.release()
    yield
    results.release()


def make(shape=SHAPE, dtype=F32):
    return results.maker(shape, dtype)(shape, dtype)


def place(x):
    return x.__array_interface__["data"][0]


def test_is_an_ordinary_array():
    x = make()
    assert type(x) is np.ndarray and x.shape == SHAPE and x.dtype is F32
    assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned and place(x) % 64 == 0
    x[...] = 1
    assert copy.deepcopy(x).sum() == pickle.loads(pickle.dumps(x)).sum() == x.size
    middle = layout_of(x[:, 100:200])
    assert middle is not None and middle.strides == (300, 1)  # kernels find a part of it where it lies


@pytest.mark.parametrize(
    "keep", [lambda x: x[3:, ::2], lambda x: memoryview(x), lambda x: x.view(np.int32).T, copy.copy]
)
def test_used_again_when_the_last_view_has_gone(keep):
    x = make()
    where = place(x)
    kept = keep(x)
    del x
    if isinstance(kept, np.ndarray) and kept.base is None:  # a copy
        assert place(make()) == where
        return
    assert place(make()) != where
    results.release()
    del kept
    assert place(make()) == where


def made_at(*args):
    return place(make(*args))


def test_of_that_size_only():
    where = made_at()
    other = make((512, 301))
    assert place(other) != where
    found = made_at((300, 512)), made_at((150, 512), np.dtype(np.float64))
    assert found == (where, where)


def test_small_ones_are_plain():
    assert results.maker((8,), F32) is np.empty


def test_of_dtypes_that_numpy_does_not_have():
    x = make(dtype=BF16)
    assert x.dtype == BF16 and x.shape == SHAPE and x.flags.c_contiguous and x.flags.writeable and place(x) % 64 == 0
    x[...] = 3
    references, where = sys.getrefcount(x), place(x)
    view = x[5:7]
    assert sys.getrefcount(x) == references + 1  # by which others see that it is shared
    del x
    assert place(make(dtype=BF16)) != where
    assert (view == 3).all()
    results.release()
    del view
    assert place(make(dtype=BF16)) == where


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16])
@pytest.mark.parametrize("most", [0, 1 << 29])
def test_temporaries_lie_aligned_in_results(monkeypatch, most, dtype):
    monkeypatch.setattr(results, "MOST", most)
    x, w = wg.randn(8, 64, 28, 28).to(dtype), wg.randn(256, 64, 3, 3).to(dtype)
    f = wg.compile(lambda x, w: F.conv2d(x, w, padding=1).relu())
    for _ in range(2):
        y = f(x, w)
    assert f.latest.scheduled().layout.rooms
    np.testing.assert_allclose(y.float().numpy(), F.conv2d(x, w, padding=1).relu().float().numpy(), atol=1e-2)


def test_memory_of_the_user_in_a_gradient_is_left_alone():
    """It may begin anywhere, and kernels would count on a line of the cache."""
    w, x = wg.nn.Parameter(wg.randn(256, 128, 3, 3)), wg.randn(4, 128, 14, 14)

    @wg.compile
    def step(x):
        w.grad = None
        (F.conv2d(x, w, padding=1) ** 2).mean().backward()

    step(x)
    wanted = w.grad.tolist()
    memory = np.zeros(w.numel() + 64, np.float32)[1:]
    given = memory[(-place(memory) % 64) // 4 + 1 :][: w.numel()].reshape(w.shape)
    w.grad.data = wg.from_numpy(given)
    del memory, given
    assert place(w.grad._value) % 64
    step(x)
    assert place(w.grad._value) % 64 == 0 and w.grad.tolist() == wanted


def test_bounded(monkeypatch):
    size = make().nbytes
    monkeypatch.setattr(results, "MOST", 3 * size + 3 * 4096)
    alive = [make() for _ in range(6)]
    del alive
    assert sum(map(len, results._free.values())) == 3
    last = make((512, 303))
    del last  # what came up first has to go
    assert sum(n * len(pieces) for n, pieces in results._free.items()) <= results.MOST
    large = make((4 * size,))
    assert place(large) % 64 == 0
    del large
    assert 4 * size not in {n // 4 for n in results._free}


def test_in_compiled_functions():
    f = wg.compile(lambda x: x * 2 + 1)
    x = wg.arange(200_000.0)
    y = f(x)
    where, view = place(y.numpy()), y[5:7]
    del y
    z = f(x + 1)
    assert place(z.numpy()) != where and view.tolist() == [11.0, 13.0]
    del view
    assert place(f(x).numpy()) == where


def test_a_new_program_lets_go_of_what_is_kept():
    """As of what drawing the weights of a network left, which has other sizes than anything that comes later."""
    weight = wg.empty(512, 300).uniform_()
    assert sum(map(len, results._free.values())) > 0
    f = wg.compile(lambda x: (x * 2).sum())
    f(weight)
    assert not results._free
    kept = make()
    del kept
    f(weight)  # not by each call
    assert results._free


def test_in_threads():
    """Each thread fills what it gets with its own number, and finds that number there later."""
    wrong = []

    def work(number):
        held = []
        for i in range(300):
            x = make((256, 257 + i % 3))
            x[...] = number
            held = [*held[-3:], x]
            if any((y != number).any() for y in held):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong

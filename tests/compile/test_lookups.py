"""Indices that a compiled function computes itself: out of range they are errors, and change nothing."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.errors import IndexRangeError
from wengert.graph.aval import Aval
from wengert.graph.graph import Graph
from wengert.graph.handle import symbol
from wengert.graph.trace import tracing
from wengert.nn import functional as F
from wengert.ops.base import OPS
from wengert.runtime.eager import Kernels

USES = [
    lambda x, i: F.embedding(i, x),
    lambda x, i: x[i],
    lambda x, i: x[:, i],
    lambda x, i: x[i, i] * x[0, i],
    lambda x, i: x.gather(0, i[:, None].expand(3, 4)),
    lambda x, i: x[:3].gather(1, i[:, None]),
    lambda x, i: F.nll_loss(x[:3], i),
    lambda x, i: F.cross_entropy(x[:3], i),
    lambda x, i: wg.zeros(4, 4).index_add(0, i, x[:3]),
    lambda x, i: wg.zeros(3, 4).scatter_add(1, i[:, None], x[:3, :1]),
    lambda x, i: x.index_put((i,), wg.ones(4)),
    lambda x, i: wg.cat([x, x[i]]),
    lambda x, i: F.pad(x[i], (1, 2, 1, 0)),
    lambda x, i: x @ x[:, i],
    lambda x, i: (x @ x)[:3] + x[i],
    lambda x, i: wg.func.vmap(lambda k: x[k].sum())(i),
    lambda x, i: wg.cond(x.sum() > -100, lambda x, i: x[i], lambda x, i: x[:3], (x, i)),
    lambda x, i: wg.scan(lambda c, k: (c + x[k], c * x[k, 0]), x[0], i)[1],
    lambda x, i: wg.scan(lambda c, k: (c + 1, wg.scan(lambda d, j: (d * x[k, j], d), x[0, 0], i)[0]), i[0], i)[1],
]
TAKES = [
    lambda x, i: x[i],
    lambda x, i: wg.cat([x[i], x, x[i]]),
    lambda x, i: F.pad(x[i], (3, 4)),
    lambda x, i: F.pad(x[1:4] * 2, (1, 1))[i],
    lambda x, i: wg.cat([x[:2] * 2, x[:3] + 1])[i],
    lambda x, i: x[i].sum(),
    lambda x, i: wg.zeros(5).index_add(0, i, wg.ones(i.shape)),
]
UNCOUNTED = [  # from the end
    lambda x, i: F.embedding(i, x), lambda x, i: F.nll_loss(x[:3], i), lambda x, i: F.cross_entropy(x[:3], i),
    lambda x, i: x.gather(0, i[:, None]), lambda x, i: x.index_select(1, i), lambda x, i: F.one_hot(i, 4).float(),
    lambda x, i: wg.zeros(4).index_add(0, i, x[:3, 0]), lambda x, i: wg.zeros(3, 4).scatter(1, i[:, None], 1.0),
    lambda x, i: x[i - 4, i] + x[i, i - 4], lambda x, i: wg.func.vmap(lambda r, k: r[k - 4] + r[k])(x[:3], i),
]  # fmt: skip
WAYS = [  # of computing an index, of which only the first can be looked at cheaply before
    lambda s: s.long(),
    lambda s: (s + 0 * s.sum()).long(),
    lambda s: (s[:, None] == wg.arange(-20.0, 20.0)).float().argmax(1) - 20,
]


def computed(s):
    """Numbers as an index that is not looked at before the call."""
    return WAYS[1](s)


@pytest.mark.quick(use=[USES[1], USES[7], USES[17]], way=[computed])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("use", USES)
def test_a_computed_index_out_of_range_changes_nothing(use, way):
    w, other = nn.Parameter(wg.ones(4, 4)), nn.Parameter(wg.ones(300))
    optimizer, calls = wg.optim.Adam([w, other], lr=0.1), wg.tensor(0)

    @wg.compile
    def step(s):
        calls.add_(1)
        optimizer.zero_grad()
        loss = (use(w, way(s)) + wg.rand(1)).sum() + (other * other).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(wg.tensor([1.0, 2, 3]))
    before = [w, other, w.grad, other.grad, calls, wg.get_rng_state(), *optimizer.state[w].values()]
    before = [x.detach().clone() if isinstance(x, wg.Tensor) else x for x in before]
    numbers = lambda x: x.detach().numpy() if isinstance(x, wg.Tensor) else np.asarray(x)
    for bad in (9.0, -9.0):
        with pytest.raises(IndexRangeError, match=f"index {bad:.0f} along dimension . with size 4"):
            step(wg.tensor([1.0, bad, 3]))
        after = [w, other, w.grad, other.grad, calls, wg.get_rng_state(), *optimizer.state[w].values()]
        for a, b in zip(after, before, strict=True):
            np.testing.assert_array_equal(numbers(a), numbers(b))
    assert np.isfinite(step(wg.tensor([3.0, 2, 1])).item()) and int(calls) == 2


def test_the_error_names_op_index_size_and_line():
    first = wg.compile(lambda x, s: x.exp()[computed(s)] * 2)
    second = wg.compile(lambda x, s: x.exp()[computed(s)] * 2)  # the same program, kept on disk or not

    def body(c, k):
        return c + 1, x.select(0, 1)[k.long()]

    x = wg.ones(4, 4)
    third = wg.compile(lambda x, s: wg.scan(body, wg.tensor(0.0), s)[1])
    line = test_the_error_names_op_index_size_and_line.__code__.co_firstlineno
    for f, at in ((first, 1), (second, 2), (third, 5)):
        seen = rf"take_rows at .*test_lookups.py:{line + at}: .*index 7 along dimension 0 with size 4"
        with pytest.raises(IndexRangeError, match=seen):
            f(x, wg.tensor([0.0, 7, 1]))


@pytest.mark.quick(use=[TAKES[0], TAKES[-1]], n=[1, 17])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 70])
@pytest.mark.parametrize("use", TAKES)
def test_lanes_beyond_the_end_are_not_looked_at(use, n):
    f = wg.compile(lambda x, s: use(x, computed(s)))
    x, s = wg.arange(5.0), (wg.arange(float(n)) * 3) % 5
    np.testing.assert_array_equal(f(x, s).numpy(), use(x, s.long()).numpy())
    for at in {0, n // 2, n - 1}:
        bad = s.clone()
        bad[at] = 5.0
        with pytest.raises(IndexRangeError, match="index 5 along dimension 0 with size 5"):
            f(x, bad)


def test_any_number_of_threads():
    x, s = wg.rand(1000), wg.arange(1_000_000.0) % 1000
    f = wg.compile(lambda x, s: (x[computed(s)] * 2, wg.zeros(1000).index_add(0, computed(s), s)))
    threads = wg.get_num_threads()
    try:
        found = []
        for n in (1, 2, threads):
            wg.set_num_threads(n)
            found.append([y.numpy() for y in f(x, s)])
            bad = s.clone()
            bad[777_777], bad[999_999] = 1234, 5678
            for _ in range(3):
                with pytest.raises(IndexRangeError, match="index 1234 along dimension 0 with size 1000"):
                    f(x, bad)
        for a in found:
            for y, z in zip(a, found[0], strict=True):
                np.testing.assert_array_equal(y, z)
    finally:
        wg.set_num_threads(threads)


def test_a_loop_that_would_go_on_forever_ends():
    @wg.compile
    def follow(following):
        return wg.while_loop(lambda i, k: k < 100, lambda i, k: (i + 1, following[k] + 0), (wg.tensor(0), wg.tensor(0)))

    assert [int(x) for x in follow(wg.tensor([2, 100, 1]))] == [3, 100]
    with pytest.raises(IndexRangeError, match="index 3 along dimension 0 with size 3"):
        follow(wg.tensor([2, 0, 3]))
    large = wg.compile(
        lambda x, k: wg.while_loop(
            lambda x, k: k < 100, lambda x, k: (x @ x / 64, k + 5 + (x[k, k] > 9).long()), (x, k)
        )
    )
    assert int(large(wg.ones(100, 100), wg.tensor(95))[1]) == 100
    with pytest.raises(IndexRangeError, match="index 100 along dimension 0 with size 100"):
        wg.compile(lambda x, k: wg.while_loop(lambda x, k: x[k, 0] > 0, lambda x, k: (x @ x / 100, k + 5), (x, k)))(
            wg.ones(100, 100), wg.tensor(0)
        )


def test_a_loop_without_steps_looks_nothing_up():
    def never(x, i, n):
        return wg.while_loop(lambda k, y: k < n, lambda k, y: (k + 1, y + x[i]), (wg.tensor(0), wg.zeros(())))[1]

    f = wg.compile(never)
    assert f(wg.ones(3), wg.tensor(7), wg.tensor(0)).item() == 0
    with pytest.raises(IndexRangeError):
        f(wg.ones(3), wg.tensor(7), wg.tensor(1))


def test_a_backward_program_raises_too():
    class Scaled(wg.autograd.Function):
        @staticmethod
        def forward(ctx, x, table):
            ctx.save_for_backward(table)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            (table,) = ctx.saved_tensors
            return g * table[computed(g)], None

    x, table = wg.zeros(3, requires_grad=True), wg.tensor([1.0, 2, 3])
    f = wg.compile(lambda x: Scaled.apply(x, table))
    f(x).backward(wg.tensor([0.0, 1, 2]))
    np.testing.assert_array_equal(x.grad.numpy(), [0, 2, 6])
    before = x.grad.clone()
    with pytest.raises(IndexRangeError, match="index 3 along dimension 0 with size 3"):
        f(x).backward(wg.tensor([0.0, 1, 3]))
    np.testing.assert_array_equal(x.grad.numpy(), before.numpy())


def test_a_model_compiled_alone_raises_and_leaves_its_buffers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.table = nn.BatchNorm1d(4), nn.Embedding(4, 2)

        def forward(self, x):
            return self.table(self.norm(x).argmax(1) * 2)

    net = Model()
    compiled = wg.compile(net)
    good = wg.eye(4)[wg.tensor([0, 1, 0, 1])]
    compiled(good).sum().backward()
    before = net.norm.running_mean.clone(), net.table.weight.grad.clone()
    with pytest.raises(IndexRangeError):
        compiled(wg.eye(4))
    np.testing.assert_array_equal(net.norm.running_mean.numpy(), before[0].numpy())
    np.testing.assert_array_equal(net.table.weight.grad.numpy(), before[1].numpy())


def test_kernels_of_eager_mode_raise_too():
    with tracing():
        x, i = symbol(Aval((50, 4), np.dtype(np.float32)), False), symbol(Aval((40,), np.dtype(np.int64)), False)
        out = OPS["exp"](OPS["take_rows"](x, i))
    run = Kernels(Graph((x._node, i._node), (out._node,), "rows", single=True))
    values, index = np.ones((50, 4), np.float32), np.arange(40)
    np.testing.assert_allclose(run(values, index)[0], np.exp(values[:40]), rtol=1e-6)
    for _ in range(2):
        with pytest.raises(IndexRangeError, match="index 77"):
            run(values, np.where(index == 33, 77, index))
    np.testing.assert_allclose(run(values, index)[0], np.exp(values[:40]), rtol=1e-6)


def test_a_branch_that_is_not_taken_looks_nothing_up():
    f = wg.compile(lambda x, i: wg.cond(i < 3, lambda x, i: x[i] + x[0], lambda x, i: x[1] * 1, (x, i)))
    assert f(wg.arange(3.0), wg.tensor(9)).item() == 1


@pytest.mark.quick(use=UNCOUNTED[:2], way=[computed])
@pytest.mark.parametrize("use", UNCOUNTED)
@pytest.mark.parametrize("way", [lambda s: s.long(), computed])
def test_ops_that_do_not_count_from_the_end_do_not(use, way):
    f, x = wg.compile(lambda x, s: use(x, way(s)).sum()), wg.rand(4, 4)
    for bad in ([0.0, 1, -1], [0.0, 4, 1], [9.0, 0, 3]):
        for g in (f, lambda x, s: use(x, way(s))):
            with pytest.raises(IndexRangeError):
                g(x, wg.tensor(bad))
    good = wg.tensor([3.0, 0, 1])
    np.testing.assert_allclose(f(x, good).item(), use(x, way(good)).sum().item(), rtol=1e-6)


def test_targets_to_ignore_are_no_index():
    f = wg.compile(lambda x, t: F.cross_entropy(x, computed(t), ignore_index=-1))
    x, t = wg.rand(4, 5), wg.tensor([1.0, -1, 4, -1])
    np.testing.assert_allclose(f(x, t).item(), F.cross_entropy(x, t.long(), ignore_index=-1).item(), rtol=1e-6)
    with pytest.raises(IndexRangeError, match="index -2"):
        f(x, wg.tensor([1.0, -2, 4, -1]))

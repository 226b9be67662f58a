"""Compiled loops and choices: native, and with the values, gradients and random bits of eager ones."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.codegen.control import Writer

F64 = wg.float64


def rand(*shape, dtype=np.float64, seed=0):
    return wg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def close(found, expected, tol):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=tol, atol=tol)


def check(f, *args, tol=1e-12, native=True):
    """Compiled, called twice, equals eager, and NumPy computes nothing of it."""
    compiled = wg.compile(f)
    for _ in range(2):
        close(compiled(*args), f(*args), tol)
    assert compiled.latest.program.native == native
    return compiled


def cell(w, u):
    def step(h, x):
        h = (h @ w + x @ u).tanh()
        return h, (h * x[: h.shape[0]], h)

    return step


@pytest.mark.quick(length=[0, 7])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 7])
def test_scan(length, reverse):
    w, u, h, x = rand(3, 3), rand(5, 3, seed=1), rand(3, seed=2), rand(length, 5, seed=3)
    check(lambda w, u, h, x: wg.scan(cell(w, u), h, x, reverse=reverse), w, u, h, x)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.slow
def test_gradients_of_scan(reverse):
    args = rand(3, 3), rand(5, 3, seed=1), rand(3, seed=2), rand(6, 5, seed=3)

    def f(w, u, h, x):
        last, (a, b) = wg.scan(cell(w, u), h, x, reverse=reverse)
        return (last * a.sum(0)).sum() + (b**3).mean()

    check(f, *args)
    check(wg.func.grad(f, (0, 1, 2, 3)), *args)
    check(wg.func.hessian(lambda h: f(*args[:2], h, args[3])), args[2], tol=1e-10)
    check(lambda w: wg.func.jvp(lambda w: f(w, *args[1:]), (w,), (w,)), args[0])


def test_carries_of_every_kind():
    def step(c, x):
        i, flag, s, fixed, zero = c
        return (i + 1, flag ^ (x > 0), s + x.sum() * fixed, fixed, zero), (i, flag, x, fixed)

    init = (wg.tensor(3), wg.tensor([True, False]), rand(), rand(seed=1), wg.zeros((), dtype=F64))
    check(lambda x: wg.scan(step, init, x), rand(5, 2, seed=4))
    check(lambda x: wg.scan(lambda c, x: ((c[1], c[0]), c), (x[0], x[1]), x), rand(5, 2))
    check(lambda n: wg.fori_loop(0, 10, lambda i, s: s * i + 1, n), wg.tensor(2))
    check(lambda x: wg.map_loop(lambda x: x.exp().sum(), x), rand(4, 3))


@pytest.mark.slow
def test_nested_scans():
    def f(x, w):
        def outer(c, x):
            inner, ys = wg.scan(lambda c, x: ((c * w + x).sin(), c * x), c, x)
            return inner + c, ys.sum()

        c, ys = wg.scan(outer, x[0, 0] * 0, x)
        return c.sum() + (ys * ys).sum()

    x, w = rand(4, 5, 3), rand(3, seed=1)
    check(f, x, w)
    check(wg.func.grad(f, (0, 1)), x, w)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", [True, 3])
def test_checkpointed_scan(checkpoint):
    def f(w, x, checkpoint=checkpoint):
        h, ys = wg.scan(lambda h, x: ((h @ w + x).tanh(),) * 2, x[0] * 0, x, checkpoint=checkpoint)
        return (h * ys.mean(0)).sum()

    w, x = rand(4, 4), rand(11, 4, seed=1)
    check(wg.func.grad(f, (0, 1)), w, x)
    close(wg.compile(wg.func.grad(f))(w, x), wg.func.grad(lambda w, x: f(w, x, False))(w, x), 1e-12)


def test_a_checkpointed_scan_needs_less_memory():
    def f(w, x, checkpoint):
        return wg.scan(lambda h, x: ((h * w + x).sin().cos(), None), x[0] * 0, x, checkpoint=checkpoint)[0].sum()

    w, x = rand(64), rand(400, 64, seed=1)
    every, some = (wg.plan(wg.func.grad(f), w, x, checkpoint=c).arena for c in (False, True))
    assert some < every / 2


def root(a):
    def better(x):
        return (x + a / x) / 2

    return wg.while_loop(lambda x: (x * x - a).abs() > 1e-12, better, (wg.ones((), dtype=F64),))[0]


@pytest.mark.quick(a=[2.0])
@pytest.mark.parametrize("a", [1.0, 2.0, 1e6])
def test_while_and_its_derivatives(a):
    a = wg.tensor(a, dtype=F64)
    f = root
    for _ in range(4):
        check(f, a, tol=1e-9)
        f = wg.func.grad(f)


def test_while_with_products_counts_and_flags():
    def f(w, x, n):
        def step(i, x, even):
            return i + 1, (x @ w).tanh(), ~even

        return wg.while_loop(lambda i, x, even: i < n, step, (wg.tensor(0), x, wg.tensor(True)))

    w, x = rand(4, 4), rand(3, 4, seed=1)
    compiled = check(f, w, x, wg.tensor(5))
    gradient = wg.compile(wg.func.grad(lambda w, x, n: (f(w, x, n)[1] ** 2).sum(), (0, 1)))
    eager = wg.func.grad(lambda w, x, n: (f(w, x, n)[1] ** 2).sum(), (0, 1))
    for n in (0, 1, 4, 2047, 2049, 4200):  # the tape grows while it runs
        close(compiled(w, x, wg.tensor(n)), f(w, x, wg.tensor(n)), 1e-12)
        close(gradient(w, x, wg.tensor(n)), eager(w, x, wg.tensor(n)), 1e-11)
    assert gradient.latest.program.native


def test_loops_prepare_what_they_need_and_ask_by_what_they_do(monkeypatch):
    def f(w, x):
        start = (x, x[0])
        return wg.while_loop(lambda x, y: (x * x).sum() > 0.01, lambda x, y: ((w @ x).tanh(), y + x.sum()), start)[
            1
        ].exp()

    w, x = 0.1 * rand(24, 24), rand(24, seed=1)
    gradient = wg.func.grad(f, 1)
    compiled = wg.compile(gradient)
    close(compiled(w, x), gradient(w, x), 1e-11)
    loops = []
    finish = Writer.finish
    monkeypatch.setattr(Writer, "finish", lambda w: loops.append(w) or finish(w))
    compiled.latest.scheduled()
    first, second = loops
    for loop in (first, second):  # packing the matrix, once before all steps, is no work of a step
        packing = [u.kernel for u in loop.uses if "pack" in u.kernel.function.name]
        assert packing
        assert loop.work < sum(u.kernel.flops + u.kernel.bytes for u in loop.uses) - sum(k.bytes for k in packing) + 1

    def packed(block):
        inner = [packed(body) for v in block if v.op in ("if", "loop", "while") for body in v.attr.bodies]
        return sum(v.op == "call" and v.attr.startswith("pack") for v in block) + sum(inner)

    # The adjoint goes on from the tape: it multiplies with the transpose alone.
    assert [packed(loop.b.body) for loop in loops] == [1, 1]


@pytest.mark.slow
def test_optimisation_within_a_gradient():
    x, y = rand(20, 3), rand(20, seed=1)

    def loss(decay):
        def slope(w):
            return x.t() @ (x @ w - y) / 20 + decay.exp() * w

        def descend(w, g):
            w = w - 0.3 * g
            return w, slope(w)

        start = wg.zeros(3, dtype=F64)
        w, _ = wg.while_loop(lambda w, g: (g * g).sum() > 1e-18, descend, (start, slope(start)))
        return ((x @ w - y) ** 2).mean()

    decay = rand(3, seed=2) - 1
    check(loss, decay)
    assert check(wg.func.grad(loss), decay, tol=1e-10).latest.scheduled().block.tapes  # the adjoint goes on from it
    check(wg.func.vmap(loss), rand(4, 3, seed=3) - 1, tol=1e-10)


@pytest.mark.slow
def test_cond_and_switch():
    def f(x, k):
        y = wg.cond(x.sum() > 0, lambda x: (x.sin(), x), lambda x: (x * 2, x @ x.expand(3, 3)), x)
        return wg.switch(k, [lambda x: x.exp(), lambda x: x, lambda x: x.cumprod(0) * 0 + x.prod()], y[0] + y[1])

    def plain(x, k):
        y = wg.cond(x.sum() > 0, lambda x: (x.sin(), x), lambda x: (x * 2, x * x), x)
        return wg.switch(k, [lambda x: x.exp(), lambda x: x, lambda x: x / x.sum()], y[0] + y[1]).sum()

    x = rand(3)
    for sign in (1, -1):
        for k in (-1, 0, 1, 2, 9):
            close(wg.compile(f)(x * sign, wg.tensor(k)), f(x * sign, wg.tensor(k)), 1e-12)
            check(plain, x * sign, wg.tensor(k))
            check(wg.func.grad(plain), x * sign, wg.tensor(k))


def test_choices_in_loops():
    def f(x):
        def step(c, x):
            c = wg.cond(c > 1, lambda c, x: c * 0.5, lambda c, x: c + x * x, c, x)
            return c, wg.while_loop(lambda v: v < 3, lambda v: v * 2 + 1, (c,))[0]

        c, ys = wg.scan(step, x[0], x)
        return c + ys.sum()

    x = rand(9)
    check(f, x)
    check(wg.func.grad(f), x)


def test_random_bits_in_loops():
    def f(x):
        return wg.scan(lambda c, x: (c + wg.randn(3, dtype=F64), wg.rand(2, dtype=F64) * x), x[:3], x)

    compiled, x = wg.compile(f), rand(5)
    for seed in (0, 1):
        wg.manual_seed(seed)
        found = [compiled(x) for _ in range(2)]
        wg.manual_seed(seed)
        close(found, [f(x) for _ in range(2)], 1e-12)


def test_what_numpy_computes_keeps_a_loop_with_numpy():
    def f(x):
        return wg.scan(lambda c, x: (c + wg.linalg.inv(x).sum(), None), x[0, 0, 0] * 0, x)[0]

    compiled = check(f, rand(3, 2, 2), native=False, tol=1e-10)
    assert "NumPy" in wg.explain(compiled)


def test_explain_does_not_run_loops_that_may_never_end():
    f = wg.compile(lambda x: wg.while_loop(lambda x: x < 1, lambda x: x * 2, (x,))[0])
    f(wg.tensor(0.3))
    assert "while_loop" in wg.explain(f)


@pytest.mark.slow
def test_threads_give_the_same_bits():
    w, x = rand(200, 200, dtype=np.float32), rand(6, 64, 200, dtype=np.float32, seed=1)

    def f(w, x):
        h, ys = wg.scan(lambda h, x: ((h @ w + x).tanh(),) * 2, x[0] * 0, x)
        return (h * h).sum() + ys.mean()

    def count(n):
        start = (wg.tensor(0), x[0])
        return wg.while_loop(lambda i, h: i < n, lambda i, h: (i + 1, (h @ w).tanh()), start)[1].sum()

    before = wg.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            wg.set_num_threads(n)
            grads = wg.compile(wg.func.grad(f, (0, 1)))(w, x)
            found.append([t.numpy().copy() for t in (*grads, wg.compile(count)(wg.tensor(70)))])
    finally:
        wg.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_never_changes_leaves_the_loop():
    def body_of(f, *args):
        compiled = wg.compile(f)
        compiled(*args)
        (loop,) = (n for n in compiled.latest.scheduled().graph.nodes if n.op is not None and n.op.name == "scan")
        names = [n.op.name for n in loop.attrs["body"].nodes if n.op is not None]
        return [name for name in names if name not in ("reshape", "permute")]

    w, x = rand(3, 3), rand(6, 3, seed=1)
    names = body_of(lambda w, x: wg.scan(lambda h, x: (h + x @ w.exp().tanh(), None), x[0], x)[0], w, x)
    assert names == ["add"]


def ops(graph):
    return [n.op.name for n in graph.nodes if n.op is not None]


def test_the_reverse_sweep_computes_nothing_twice():
    def f(w, x, u):
        return (wg.scan(lambda h, x: ((h @ w + x @ u).tanh(), None), x[0], x)[0] ** 2).sum()

    compiled = check(wg.func.grad(f), rand(3, 3), rand(6, 2, 3, seed=1), rand(3, 3, seed=2))
    graph = compiled.latest.scheduled().graph
    forward, backward = (n for n in graph.nodes if n.op is not None and n.op.name == "scan")
    names = [ops(g) for g in (forward.attrs["body"], backward.attrs["body"], graph)]
    assert [x.count("matmul") for x in names] == [1, 1, 2]  # the last: x @ u and the gradient of w, for all steps
    assert [x.count("tanh") for x in names] == [1, 0, 0]
    assert len(backward.attrs["body"].outputs) == 2  # h's adjoint, and what the product after the loop needs


def training(build, compiled):
    wg.manual_seed(0)
    net = build()
    opt = wg.optim.Adam(net.parameters(), lr=0.01)

    def step(x, y):
        opt.zero_grad()
        out, _ = net(x)
        loss = ((out - y) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    return net, wg.compile(step) if compiled else step


NETS = {
    "LSTM": lambda: nn.LSTM(5, 7),
    "LSTM of two layers, both ways": lambda: nn.LSTM(5, 7, num_layers=2, bidirectional=True),
    "LSTM, projected": lambda: nn.LSTM(5, 7, proj_size=3),
    "GRU": lambda: nn.GRU(5, 7),
    "RNN": lambda: nn.RNN(5, 7),
    "RNN with relu": lambda: nn.RNN(5, 7, nonlinearity="relu", bias=False),
}


SLOW = ("LSTM of two layers, both ways", "RNN with relu")


@pytest.mark.quick(name=["LSTM"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETS])
def test_recurrent_networks_train_as_in_eager_mode(name):
    (a, eager), (b, compiled) = (training(NETS[name], c) for c in (False, True))
    wg.manual_seed(1)
    x = wg.randn(6, 4, 5)
    y = wg.randn(*a(x)[0].shape)
    for _ in range(3):
        np.testing.assert_allclose(compiled(x, y).item(), eager(x, y).item(), rtol=2e-6)
    assert compiled.latest.program.native
    for (k, p), (_, q) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        np.testing.assert_allclose(q.numpy(), p.numpy(), rtol=1e-4, atol=1e-5, err_msg=k)


BODIES = {
    "while_loop": lambda step, v: wg.while_loop(lambda w, i: i < 3, lambda w, i: (step(w), i + 1), (v, wg.tensor(0)))[
        0
    ],
    "scan": lambda step, v: wg.scan(lambda w, _: (step(w), None), v, None, length=3)[0],
    "cond": lambda step, v: wg.cond(v.sum() > 0, step, lambda w: w, (v,)),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_compute_anew_from_tensors_outside(kind):
    m, v = rand(2, 2), wg.ones(2, dtype=F64)
    compiled = wg.compile(lambda v: BODIES[kind](lambda w: (m.T * 2) @ w + m.exp()[0], v))
    for _ in range(3):
        close(compiled(v), BODIES[kind](lambda w: (m.T * 2) @ w + m.exp()[0], v), 1e-12)
        m.mul_(0.5)

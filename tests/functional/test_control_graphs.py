"""What control flow leaves in the graph: what bodies read gets its gradient, and nothing is kept that nobody needs."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert.errors import GraphError
from wengert.functional import control_bodies
from wengert.graph.aval import Aval
from wengert.graph.handle import wrap
from wengert.graph.trace import trace
from wengert.testing.modes import grad, mapped, normal, same, tensors, values

F64 = np.dtype(np.float64)


def rows(x):
    return [x[i] for i in range(x.shape[0])]


def babylonian(a, x):
    return wg.while_loop(lambda x: abs(x * x - a) > 1e-3, lambda x: (x + a / x) * 0.5, (x,))


def test_the_root_of_a_captured_parameter_has_the_analytic_gradient():
    a = wg.tensor(2.0, dtype=wg.float64, requires_grad=True)
    one = wg.ones((), dtype=wg.float64)
    (root,) = wg.while_loop(lambda x: abs(x * x - a) > 1e-14, lambda x: (x + a / x) / 2, (one,))
    (first,) = wg.autograd.grad(root, a, create_graph=True)
    (second,) = wg.autograd.grad(first, a, create_graph=True)
    (third,) = wg.autograd.grad(second, a)
    found = [root.item(), first.item(), second.item(), third.item()]
    want = [2**0.5, 0.5 * 2**-0.5, -0.25 * 2**-1.5, 0.375 * 2**-2.5]
    np.testing.assert_allclose(found, want, rtol=1e-7)


def test_backward_reaches_parameters_that_bodies_read():
    w = wg.tensor([0.3, -0.2], dtype=wg.float64, requires_grad=True)
    b = wg.tensor([0.1, 0.1], dtype=wg.float64, requires_grad=True)
    frozen = wg.tensor([2.0, 3.0], dtype=wg.float64)
    xs = wg.tensor(normal(4, 2))

    def run(scan):
        w.grad = b.grad = None
        scan().sum().backward()
        return w.grad.numpy(), b.grad.numpy()

    def by_scan():
        return wg.scan(lambda h, x: ((w * h + x * frozen).tanh(), b * h), b * 2, xs)[1]

    def unrolled():
        h, ys = b * 2, []
        for x in rows(xs):
            ys.append(b * h)
            h = (w * h + x * frozen).tanh()
        return wg.stack(ys)

    for got, want in zip(run(by_scan), run(unrolled), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_graph_can_be_retained_and_is_freed():
    x = wg.tensor(0.5, requires_grad=True)
    y, _ = wg.scan(lambda c, _: (c.sin(), None), x, None, 3)
    y.backward(retain_graph=True)
    first = x.grad.item()
    y.backward()
    assert x.grad.item() == pytest.approx(2 * first)
    with pytest.raises(GraphError, match="freed"):
        y.backward()


def test_nothing_is_recorded_without_grad():
    w = wg.tensor(2.0, requires_grad=True)
    with wg.no_grad():
        y, _ = wg.scan(lambda c, x: (c * w + x, None), wg.tensor(1.0), wg.ones(3))
        (z,) = wg.while_loop(lambda c: c < 10, lambda c: c * w, (wg.tensor(1.0),))
        c = wg.cond(w > 1, lambda: w * 3, lambda: w, ())
    assert (y.item(), z.item(), c.item()) == (15.0, 16.0, 6.0)
    assert [t.requires_grad for t in (y, z, c)] == [False] * 3


def test_what_a_body_does_without_grad_is_a_constant():
    def body(c, x):
        with wg.no_grad():
            scale = c * 2
        return c * scale + c.detach() * x, None

    def unrolled(c, xs):
        for x in rows(xs):
            c = c * (c * 2).detach() + c.detach() * x
        return c

    same(lambda c, xs: wg.scan(body, c, xs)[0], unrolled, 0.7, [1.0, 2.0], modes=(grad,))


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("scan", lambda x: wg.scan(lambda c, v: (c * v, c), x[0], x)[0]),
        ("while_loop", lambda x: wg.while_loop(lambda c: (c < 9).all(), lambda c: (c * 2,), (x,))[0]),
        ("cond", lambda x: wg.cond(x.sum() > 0, lambda x: x.exp().sum(), lambda x: x.sum(), (x,))),
        ("switch", lambda x: wg.switch(wg.tensor(1), [lambda x: x.sum(), lambda x: x.exp().sum()], (x,))),
    ],
)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_recording_shows_one_node(name, run, requires_grad):
    x = wg.tensor([1.0, 2.0, 3.0], requires_grad=requires_grad)
    with wg.record() as r:
        run(x)
    assert sum(n.name == name for n in r) == 1
    assert not any(n.name in ("exp", "tanh") for n in r)


def test_a_traced_program_runs_like_the_eager_one():
    def f(x, n):
        y, ys = wg.scan(lambda c, v: (c * v, c), x[0], x)
        z = wg.while_loop(lambda i, c: i < n, lambda i, c: (i + 1, c * 0.5), (0, y))[1]
        return wg.cond(z > 1, lambda: ys * z, lambda: -ys)

    x, n = normal(3), np.array(2)
    graph = trace(lambda x, n: [f(x, n)], [Aval((3,), F64), Aval((), n.dtype)])
    names = [m.name for m in graph.nodes if m.op is not None]
    assert [names.count(k) for k in ("scan", "while_loop", "cond")] == [1, 1, 1]
    np.testing.assert_array_equal(graph.numpy(x, n)[0], f(wrap(x), wrap(n)).numpy())


def test_equal_bodies_are_one_graph():
    def run(w):
        with wg.record() as r:
            wg.scan(lambda c, x: (c * w + x, None), w, wg.ones(3))
        return next(n for n in r if n.name == "scan").attrs["body"]

    first = run(wg.tensor(2.0))
    assert run(wg.tensor(3.0)) is first
    assert run(wg.ones(2)) is not first
    assert control_bodies._token(0.0) != control_bodies._token(-0.0)
    assert control_bodies._token((1, 2)) != control_bodies._token((True, 2))


@pytest.mark.slow
def test_no_graph_waits_for_the_garbage_collector():
    import gc

    def work(a):
        x = wg.tensor([1.0, 2.0], requires_grad=True)
        w = wg.tensor(0.5, requires_grad=True)
        y, _ = wg.scan(lambda c, v: ((c * w).sin() * v, c), x, wg.ones(3, 2))
        (z,) = wg.while_loop(lambda c: c.sum() > 0.01, lambda c: c * w * 0.9, (y,))
        out = wg.cond(z.sum() > 0, lambda: z * 2, lambda: z)
        (g,) = wg.autograd.grad(out.sum(), w, create_graph=True)
        g.backward()
        return values(mapped(grad(babylonian))(*tensors(a, a)))

    work([2.0, 3.0])
    control_bodies._graphs.clear()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        work([2.0, 3.0])
        control_bodies._graphs.clear()
        gc.collect()
        assert [repr(o)[:200] for o in gc.garbage] == []  # says what it is
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_kept_bodies_do_not_keep_what_they_read():
    import weakref

    def run():
        w = wg.ones(2, requires_grad=True)
        h = w * 2
        wg.scan(lambda c, _: (c * h, None), w, length=3)
        return weakref.ref(h.node)

    assert run()() is None


def test_a_printed_graph_can_be_read_again():
    from wengert.graph.show import from_python

    def f(x):
        y, ys = wg.scan(lambda c, v: (c * v, c.sin()), x[0], x)
        (z,) = wg.while_loop(lambda c: c < 5, lambda c: c * 2 + 1, (y,))
        return wg.cond(z > 6, lambda: ys * z, lambda: -ys)

    graph = wg.trace(f, wg.ones(3))
    again = from_python(str(graph))
    x = normal(3).astype(np.float32)
    np.testing.assert_array_equal(again.numpy(x), graph.numpy(x))

"""Derivatives of control flow, in every mode, are those of the loops unrolled."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import wengert as wg
from wengert.testing.modes import all_modes, grad, mapped, normal, same, several, tensors, values
from wengert.transform.flat import jvp_flat


def rows(x):
    return [x[i] for i in range(x.shape[0])]


def rnn(h, xs, w):
    h, ys = wg.scan(lambda h, x: ((h * w + x).tanh(), h * x), h, xs)
    return h, ys


def rnn_unrolled(h, xs, w):
    ys = []
    for x in rows(xs):
        ys.append(h * x)
        h = (h * w + x).tanh()
    return h, wg.stack(ys)


def rnn_reversed(h, xs, w):
    return wg.scan(lambda h, x: ((h * w + x).tanh(), h * x), h, xs, reverse=True)


def rnn_reversed_unrolled(h, xs, w):
    ys = []
    for x in rows(xs)[::-1]:
        ys.append(h * x)
        h = (h * w + x).tanh()
    return h, wg.stack(ys[::-1])


def babylonian(a, x):
    return wg.while_loop(lambda x: abs(x * x - a) > 1e-3, lambda x: (x + a / x) * 0.5, (x,))


def steps_of_babylonian(a, x):
    n = 0
    while abs(x * x - a) > 1e-3:
        x, n = (x + a / x) * 0.5, n + 1
    return n


def babylonian_unrolled(*points):
    """The loop with the number of steps that it takes at the points."""
    counts = [steps_of_babylonian(*p) for p in points]

    def run(a, x, n):
        for _ in range(n):
            x = (x + a / x) * 0.5
        return x

    if len(points) == 1:
        return lambda a, x: run(a, x, counts[0])
    return lambda a, x: wg.stack([run(a[i], x[i], n) for i, n in enumerate(counts)])


def scan_in_scan(s, xs):
    def outer(s, row):
        s, inner = wg.scan(lambda c, x: (c * x.sin() + s, c * c), s, row)
        return s, inner.sum()

    return wg.scan(outer, s, xs)


def scan_in_scan_unrolled(s, xs):
    sums = []
    for row in rows(xs):
        c, inner = s, []
        for x in rows(row):
            inner.append(c * c)
            c = c * x.sin() + s
        s = c
        sums.append(wg.stack(inner).sum())
    return s, wg.stack(sums)


def while_in_scan(a, xs):
    """Square roots by Newton's method, one after the other, each started at the last."""
    return wg.scan(lambda x, d: (babylonian(a * d, x)[0],) * 2, a, xs)


def while_in_scan_unrolled(a, xs):
    x, ys = a, []
    for d in rows(xs):
        for _ in range(steps_of_babylonian(float((a * d).detach()), float(x.detach()))):
            x = (x + a * d / x) * 0.5
        ys.append(x)
    return x, wg.stack(ys)


def cond_in_while(w, x):
    """Collatz with real numbers: shrink where large, turn where small."""

    def body(i, x):
        return i + 1, wg.cond(x > 1, lambda x: x * w, lambda x: (x * w).cos() + 1, (x,))

    return wg.while_loop(lambda i, x: i < 4, body, (0, x))[1]


def cond_in_while_unrolled(w, x):
    for _ in range(4):
        x = x * w if bool(x.detach() > 1) else (x * w).cos() + 1
    return x


def scan_in_while(w, x):
    """A while whose body is a scan over a captured vector."""

    def body(x):
        return wg.scan(lambda c, v: (c * v, None), x, w)[0]

    return wg.while_loop(lambda x: x > 0.1, body, (x,))


def scan_in_while_unrolled(w, x):
    while bool(x.detach() > 0.1):
        for v in rows(w):
            x = x * v
    return x


def while_in_cond(a, x):
    return wg.cond(a > 0, lambda a, x: babylonian(a, x)[0], lambda a, x: a * x, (a, x))


RNN = (normal(2), normal(3, 2, seed=1), normal(2, seed=2))
LOOPS = {
    "scan": (rnn, rnn_unrolled, RNN),
    "scan reversed": (rnn_reversed, rnn_reversed_unrolled, RNN),
    "while": (babylonian, babylonian_unrolled((2.0, 5.0)), (2.0, 5.0)),
    "while without steps": (babylonian, lambda a, x: x * 1, (4.0, 2.0)),
    "vmap of while": (
        mapped(babylonian),
        babylonian_unrolled((2.0, 5.0), (9.0, 3.0), (50.0, 1.0), (0.01, 0.3)),
        ([2.0, 9.0, 50.0, 0.01], [5.0, 3.0, 1.0, 0.3]),
    ),
    "scan in scan": (scan_in_scan, scan_in_scan_unrolled, (0.7, normal(2, 3))),
    "while in scan": (while_in_scan, while_in_scan_unrolled, (2.0, [0.5, 3.0, 0.1])),
    "cond in while": (cond_in_while, cond_in_while_unrolled, (0.8, 1.5)),
    "scan in while": (scan_in_while, scan_in_while_unrolled, ([0.9, 0.8], 1.3)),
    "while in cond": (while_in_cond, babylonian_unrolled((2.0, 5.0)), (2.0, 5.0)),
}  # fmt: skip


@pytest.mark.quick(name=["scan", "while"])
@pytest.mark.parametrize("name", LOOPS)
def test_derivatives_are_those_of_the_unrolled_loop(name):
    f, unrolled, point = LOOPS[name]
    same(f, unrolled, *point, orders=3 if name in ("scan", "while") else 2)


@pytest.mark.quick(name=list(LOOPS)[::4])
@pytest.mark.parametrize("name", LOOPS)
def test_every_mode(name):
    f, _, point = LOOPS[name]
    all_modes(f, *point)


def push_ones(f):
    """Tangents of the results where all arguments move alike."""

    def call(*xs):
        return jvp_flat(several(f), xs, [wg.ones_like(x) for x in xs])[1]

    return call


CHAINS = [c for n in (2, 3) for c in itertools.product((grad, push_ones, mapped), repeat=n) if c.count(mapped) == 1]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda c: "-".join(m.__name__ for m in c))
def test_vmap_at_any_place_among_derivatives_of_a_while(chain):
    points = [(2.0, 5.0), (9.0, 3.0), (50.0, 1.0)]
    f = row = babylonian
    for mode in chain:
        f = mode(f)
        row = row if mode is mapped else mode(row)
    got = values(f(*tensors(*zip(*points, strict=True))))
    want = [values(row(*tensors(*p))) for p in points]
    for i, g in enumerate(got):
        np.testing.assert_allclose(g, [w[i] for w in want], rtol=1e-9, atol=1e-12)


def test_two_mapped_axes_of_a_while():
    a, x = np.array([[2.0, 9.0], [50.0, 0.1]]), np.array([[5.0, 3.0], [1.0, 1.0]])
    got = values(mapped(mapped(grad(babylonian)))(*tensors(a, x)))
    for i, j in itertools.product(range(2), repeat=2):
        want = values(grad(babylonian)(*tensors(a[i, j], x[i, j])))
        np.testing.assert_allclose([g[i, j] for g in got], want, rtol=1e-12)


def test_hessian_of_scan_and_of_while():
    def hessian(f, x):
        rows = [values(jvp_flat(grad(f), tensors(x), tensors(e))[1])[0] for e in np.eye(x.size)]
        return np.stack(rows)

    x = normal(3, seed=5)

    def by_scan(x):
        return wg.scan(lambda c, v: ((c * v).sin() + v, None), x.sum(), x)[0]

    def unrolled(x):
        c = x.sum()
        for v in rows(x):
            c = (c * v).sin() + v
        return c

    def by_while(x):
        return wg.while_loop(lambda i, c: i < 3, lambda i, c: (i + 1, (c * x).sin().sum()), (0, x.sum()))[1]

    def while_unrolled(x):
        c = x.sum()
        for _ in range(3):
            c = (c * x).sin().sum()
        return c

    for f, g in ((by_scan, unrolled), (by_while, while_unrolled)):
        np.testing.assert_allclose(hessian(f, x), hessian(g, x), rtol=1e-10, atol=1e-12)

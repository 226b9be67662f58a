"""Compiled functions as parts of eager programs: their results carry gradients, and transforms go through them."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import functional as F


def test_a_compiled_module_trains_in_an_eager_loop():
    losses = []
    for compiled in (False, True):
        wg.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))
        f = wg.compile(net) if compiled else net
        optimizer = wg.optim.Adam(net.parameters(), lr=1e-2)
        x, y = wg.randn(6, 5), wg.randn(6, 3)
        found = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = F.mse_loss(f(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_gradients_of_arguments_and_of_several_results():
    def f(x, w):
        y = (x @ w).tanh()
        return {"sum": y.sum(), "y": y, "x": x}

    compiled = wg.compile(f)
    grads = []
    for g in (f, compiled):
        x = wg.tensor(np.linspace(-1, 1, 6).reshape(2, 3), requires_grad=True)
        w = wg.tensor(np.linspace(0, 1, 12).reshape(3, 4), requires_grad=True)
        out = g(x, w)
        (out["sum"] * 2 + (out["y"] ** 2).sum() + out["x"].sum()).backward()
        grads.append((x.grad.numpy(), w.grad.numpy()))
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


def test_transforms_of_a_compiled_function():
    def f(x):
        return (x.sin() * x).sum()

    c = wg.compile(f)
    x, t = wg.tensor(np.linspace(0, 1, 5)), wg.ones(5, dtype=wg.float64)
    for transform in (wg.func.grad, wg.func.hessian, wg.func.jacfwd, wg.func.jacrev):
        np.testing.assert_allclose(transform(c)(x).numpy(), transform(f)(x).numpy(), rtol=1e-12, atol=1e-14)
    for a, b in zip(wg.func.jvp(c, (x,), (t,)), wg.func.jvp(f, (x,), (t,)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
    rows = wg.tensor(np.random.default_rng(0).normal(size=(3, 5)))
    np.testing.assert_allclose(wg.func.vmap(c)(rows).numpy(), wg.func.vmap(f)(rows).numpy(), rtol=1e-12)


def test_compiled_transforms_carry_no_gradient():
    out = wg.compile(wg.func.grad(wg.compile(lambda x: (x**3).sum())))(wg.tensor([1.0, 2.0]))
    np.testing.assert_allclose(out.numpy(), [3, 12], rtol=1e-6)
    assert not out.requires_grad


def test_second_derivatives_through_a_recorded_call():
    c = wg.compile(lambda x: (x**3).sum())
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    (g,) = wg.autograd.grad(c(x), x, create_graph=True)
    (h,) = wg.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(h.numpy(), [6, 12], rtol=1e-6)


def test_parameters_changed_between_forward_and_backward():
    """The values of the forward pass are the ones that count, whatever is written since."""
    w = nn.Parameter(wg.tensor([2.0, 3.0]))
    f = wg.compile(lambda x: (w * w * x).sum())
    loss = f(wg.ones(2))
    with wg.no_grad():
        w.mul_(10)
    loss.backward()
    np.testing.assert_allclose(w.grad.numpy(), [4, 6])


def test_without_grad_mode_nothing_is_kept():
    w = nn.Parameter(wg.ones(2))
    f = wg.compile(lambda x: w * x)
    with wg.no_grad():
        assert not f(wg.ones(2)).requires_grad
    assert f(wg.ones(2)).requires_grad


def test_what_a_backward_pass_does_not_reach_has_no_gradient():
    """One of zeros would let an optimizer decay the weight, or go on with its momentum."""
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    both = wg.compile(lambda x: (first(x), second(x), second(x).detach()))
    for used, unused in ((0, 1), (1, 0)):
        both(wg.ones(1, 2))[used].sum().backward()
        nets = (first, second)
        assert all(p.grad is None for p in nets[unused].parameters())
        assert all(p.grad is not None for p in nets[used].parameters())
        nets[used].zero_grad()


@pytest.mark.parametrize("compiler", [lambda f: f, wg.compile])
def test_an_operand_that_a_formula_only_compares_has_no_gradient(compiler):
    x, y, t = (wg.tensor(v, requires_grad=True) for v in ([[1.0, 2.0]], [[0.5, -1.0]], [1.0]))
    compiler(lambda x, y, t: F.cosine_embedding_loss(x, y, t))(x, y, t).backward()
    assert x.grad is not None
    assert y.grad is not None
    assert t.grad is None


def test_second_derivatives_leave_out_what_the_first_ones_do_not_depend_on():
    net = nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(), nn.Linear(3, 1))

    def penalty(x):
        x = x.clone().requires_grad_()
        (g,) = wg.autograd.grad(net(x).sum(), x, create_graph=True)
        (g.norm(dim=1) - 1).pow(2).sum().backward()

    found = []
    for f in (penalty, wg.compile(penalty)):
        net.zero_grad()
        f(wg.ones(2, 2))
        found.append([None if p.grad is None else p.grad.clone() for p in net.parameters()])
    assert [g is None for g in found[0]] == [False, True, False, True]
    for a, b in zip(*found, strict=True):
        assert (a is None) is (b is None)
        assert a is None or wg.allclose(a, b)


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((4, 6, 9, 9), (10, 6, 3, 3), {"padding": 1}),
        ((3, 5, 9, 8), (7, 5, 2, 3), {"stride": 2}),
        ((2, 6, 7, 7), (4, 3, 3, 3), {"groups": 2, "dilation": 2}),
        ((1, 4, 6, 6), (4, 4, 1, 1), {}),
        ((2, 4, 6, 6), (4, 1, 3, 3), {"groups": 4}),
        ((2, 1, 6, 6), (3, 1, 3, 3), {"padding": 2}),
    ],
    ids=["even", "odd", "groups", "one image", "a group a channel", "one channel"],
)
def test_convolutions_of_bfloat16(x, w, options):
    """Summed in float32 at least, and rounded once, whichever kernels there are."""

    def f(x, w, g):
        y, pull = wg.func.vjp(lambda x, w: F.conv2d(x, w, **options), x, w)
        return y, *pull(g)

    whole = lambda shape: (wg.randn(*shape) * 3).round().to(wg.bfloat16)  # sums are exact
    x, w = whole(x), whole(w)
    g = whole(F.conv2d(x, w, **options).shape)
    for got, wanted in zip(wg.compile(f)(x, w, g), f(x.double(), w.double(), g.double()), strict=True):
        assert got.dtype is wg.bfloat16
        assert got.equal(wanted.to(wg.bfloat16))

"""What compiled functions once did otherwise than eager ones: each test is the smallest program that showed it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import wengert as wg
from wengert import nn
from wengert.nn import functional as F


def as_eager(scenario: Callable[[Any], Any], tol: float = 1e-5) -> None:
    """A scenario gets ``wg.compile``, or what leaves functions as they are, and returns what can be seen."""
    found = []
    for compiler in (lambda f: f, wg.compile):
        wg.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wg.RecompileWarning)
            seen = wg.tree.leaves(scenario(compiler))
        found.append([x.detach().numpy().copy() if isinstance(x, wg.Tensor) else x for x in seen])
    assert len(found[0]) == len(found[1])
    for a, b in zip(*found, strict=True):
        assert type(a) is type(b)
        np.testing.assert_allclose(b, a, rtol=tol, atol=tol)


def net_and_step(compiler, **options):
    """A small network, its optimizer and a training step."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = wg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    @compiler
    def step(x, y):
        optimizer.zero_grad(**options)
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return net, optimizer, step


def state_of(net):
    return [p.detach().clone() for p in net.state_dict().values()]


def batches(n, seed=1):
    rng = np.random.default_rng(seed)
    return [[wg.tensor(rng.normal(size=(6, k)).astype("f")) for k in (4, 3)] for _ in range(n)]


def test_gradients_that_are_forgotten_after_the_update():
    """The update binds parameters to new nodes; their gradients are found all the same."""

    def scenario(compiler):
        net = nn.Linear(4, 3)
        optimizer = wg.optim.SGD(net.parameters(), lr=0.1)
        accumulate = compiler(lambda x: net(x).pow(2).sum().backward())

        @compiler
        def update():
            optimizer.step()
            norm = net.weight.grad.norm()
            optimizer.zero_grad()
            return norm

        seen = []
        for k, (x, _) in enumerate(batches(6)):
            accumulate(x)
            if k % 2:
                seen += [update(), net.weight.grad is None, *state_of(net)]
        return seen

    as_eager(scenario)


def test_gradients_that_are_zeroed_in_place():
    def scenario(compiler):
        net, _, step = net_and_step(compiler, set_to_none=False)
        return [(step(*b), *[p.grad.clone() for p in net.parameters()]) for b in batches(4)]

    as_eager(scenario)


def test_a_buffer_that_is_zeroed():
    def scenario(compiler):
        total = wg.ones(3)

        @compiler
        def reset(x):
            total.zero_()
            return x + total

        seen = [reset(wg.ones(3)), total.clone()]
        total.add_(5)
        return [*seen, reset(wg.ones(3)), total]

    as_eager(scenario)


def test_a_gradient_penalty():
    def scenario(compiler):
        net, optimizer, _ = net_and_step(lambda f: f)

        @compiler
        def step(x):
            optimizer.zero_grad()
            x = x.clone().requires_grad_(True)
            (g,) = wg.autograd.grad(net(x).sum(), x, create_graph=True)
            loss = ((g.norm(dim=1) - 1) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return [(step(x), *state_of(net)) for x, _ in batches(3)]

    as_eager(scenario)


def test_updates_in_hooks_behind_the_accumulation():
    def scenario(compiler):
        net = nn.Linear(4, 3)
        optimizers = {p: wg.optim.SGD([p], lr=0.1) for p in net.parameters()}

        def update(p):
            optimizers[p].step()
            optimizers[p].zero_grad()

        for p in net.parameters():
            p.register_post_accumulate_grad_hook(update)

        @compiler
        def step(x, y):
            loss = F.mse_loss(net(x), y)
            loss.backward()
            return loss

        return [(step(*b), net.weight.grad is None, *state_of(net)) for b in batches(3)]

    as_eager(scenario)


def test_views_of_what_is_written_in_place():
    def scenario(compiler):
        @compiler
        def f(x):
            y = x.clone()
            z = y.t()[1:3]
            z.mul_(2)
            v = y.view(-1)
            v[3] = 0
            return y, z, v

        return f(wg.arange(12.0).reshape(3, 4))

    as_eager(scenario)

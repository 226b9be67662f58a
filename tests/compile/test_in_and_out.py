"""What goes into compiled functions and comes out: arguments, results, what they hold and write, as in eager mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.testing.compiled import as_eager


def state_of(net):
    return [p.detach().clone() for p in net.state_dict().values()]


def batches(n, seed=1):
    rng = np.random.default_rng(seed)
    return [[wg.tensor(rng.normal(size=(6, k)).astype("f")) for k in (4, 3)] for _ in range(n)]


def test_numbers_and_tensors_in_results():
    def scenario(compiler):
        w = nn.Parameter(wg.ones(3))

        @compiler
        def f(x):
            y = w * x
            return w, 3, y, None, "s", True, y, x, x[0], 0

        out = f(wg.arange(3.0))
        return [*out, out[2] is out[6], out[0] is w]

    as_eager(scenario)


def test_arguments_that_are_returned_are_themselves():
    def scenario(compiler):
        f = compiler(lambda x: (x.add_(1), x * 2))
        x = wg.ones(2, 3)
        a, b = f(x)
        a.add_(1)
        return x, a, b, a is x

    as_eager(scenario)


def test_tensors_that_exchange_their_values():
    def scenario(compiler):
        held = [wg.ones(3), wg.zeros(3)]

        @compiler
        def exchange(a, b):
            t, u = a.clone(), held[0].clone()
            a.copy_(b)
            b.copy_(t)
            held[0].copy_(held[1])
            held[1].copy_(u)
            return t

        a, b = wg.ones(3), wg.zeros(3)
        return [(exchange(a, b), a.clone(), b.clone(), held[0].clone(), held[1].clone()) for _ in range(2)]

    as_eager(scenario)


def test_arguments_that_share_memory_with_what_is_written():
    def scenario(compiler):
        w, x = wg.ones(4), wg.arange(6.0)

        @compiler
        def f(a, b):
            a.add_(1)
            w.mul_(2)
            return a + b

        seen = [f(x[:4], x[2:]), x.clone()]
        y = wg.ones(4)
        return [*seen, f(y, y), y.clone(), f(y, w), f(y, w[:]), w, f(y, wg.ones(4)), y]

    as_eager(scenario)


def test_modules_that_set_their_buffers_and_attributes():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.h: Any = None
            self.register_buffer("mean", wg.zeros(4))

        def forward(self, x):
            if self.h is None:
                self.h = wg.zeros(6, 4)
            self.mean = 0.9 * self.mean + x.mean(0)
            self.h = self.linear(x + self.h).tanh().detach()
            return self.h - self.mean

    def scenario(compiler):
        cell = Cell()
        f, seen = compiler(cell), []
        for k, (x, _) in enumerate(batches(6)):
            if k == 4:
                cell.h = None
            seen += [f(x), cell.h.clone(), cell.mean.clone()]
        return seen

    as_eager(scenario)


def test_tensors_that_the_function_makes_and_returns():
    """They are new in each call, also those that are written in place or never computed."""

    def scenario(compiler):
        @compiler
        def f(x):
            out, constant = wg.zeros(2, 3), wg.arange(3)
            out[1] = x
            return out, constant, out

        single = compiler(lambda x: wg.zeros(3).add_(x))
        seen = []
        for _ in range(2):
            a, b, c = f(wg.ones(3))
            d = single(wg.ones(3))
            seen += [a.clone(), b.clone(), c is a, d.clone()]
            a.add_(10)
            b.add_(10)
            d.add_(10)
        return seen

    as_eager(scenario)


def test_gradients_through_what_the_function_overwrites():
    def scenario(compiler):
        scale = wg.full((3,), 2.0)

        @compiler
        def f(x):
            y = x * scale
            scale.add_(1)
            return y

        x = wg.ones(3, requires_grad=True)
        for _ in range(2):
            f(x).sum().backward()
        return x.grad, scale

    as_eager(scenario)


def test_gradients_of_arguments():
    def scenario(compiler):
        f, seen = compiler(lambda x: (x**2).sum().backward()), []
        for k in range(3):
            x = wg.full((3,), float(k + 1), requires_grad=True)
            f(x)
            f(x)
            seen.append(x.grad)
        return seen

    as_eager(scenario)


def test_requires_grad_switched_in_turns():
    def scenario(compiler):
        wg.manual_seed(3)
        maker, judge = nn.Linear(4, 4), nn.Linear(4, 1)
        of_maker, of_judge = (wg.optim.SGD(m.parameters(), lr=0.1) for m in (maker, judge))

        @compiler
        def step(z, x):
            judge.requires_grad_(True)
            of_judge.zero_grad()
            first = (judge(maker(z).detach()) - judge(x)).mean()
            first.backward()
            of_judge.step()
            judge.requires_grad_(False)
            of_maker.zero_grad()
            second = -judge(maker(z)).mean()
            second.backward()
            of_maker.step()
            return first, second

        return [(step(x, x * 2 + 1), *state_of(maker), *state_of(judge)) for x, _ in batches(3)]

    as_eager(scenario)


def test_python_code_that_looks_at_held_values():
    def scenario(compiler):
        n = wg.tensor(2.0)
        f = compiler(lambda x: x * n.item() if n.item() > 2.5 else wg.tensor(n.numpy() * 3))
        seen = [f(wg.ones(()))]
        for _ in range(2):
            n.add_(1)
            seen += [f(wg.ones(())), f(wg.ones(()))]
        return seen

    as_eager(scenario)


def test_permutations_are_drawn_anew_and_complex_products_computed():
    def scenario(compiler):
        f = compiler(lambda x: (wg.randperm(6), x @ x, x.abs()))
        x = wg.tensor([[1 + 2j, 3], [1j, -1]])
        return [f(x), f(x)]

    as_eager(scenario)


def test_draws_that_need_values_say_so():
    with pytest.raises(wg.errors.TraceError, match="not known while tracing"):
        wg.compile(lambda: wg.poisson(wg.ones(3)))()

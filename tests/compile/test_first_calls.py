"""What a first call traces: like things once, and no collection of garbage meanwhile."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import functional as F
from wengert.optim.boxed import boxed


def calls(step, name):
    return [n for n in step.latest.captured.graph.nodes if n.name == name]


def training(net, optimizer):
    @wg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def test_updates_of_one_shape_are_calls_of_one_graph():
    net = nn.Sequential(*[nn.Linear(5, 5) for _ in range(4)])
    step = training(net, wg.optim.Adam(net.parameters()))
    step(wg.randn(3, 5), wg.randn(3, 5))
    found = calls(step, "adam")
    assert len(found) == 8 and len({id(n.attrs["graph"]) for n in found}) == 2


def test_adjoints_of_layers_of_one_shape_are_calls_of_one_graph():
    layers = [m for _ in range(3) for m in (nn.Linear(5, 5), nn.BatchNorm1d(5), nn.GELU())]
    net = nn.Sequential(*layers)
    step = training(net, wg.optim.SGD(net.parameters(), lr=0.1))
    step(wg.randn(7, 5), wg.randn(7, 5))
    backward = [n for n in step.latest.captured.graph.nodes if n.name.startswith("batch_norm") and "back" in n.name]
    assert len(backward) == 3 and len({id(n.attrs["graph"]) for n in backward}) == 1


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RMSprop", "Adagrad", "Lion", "Adafactor", "Muon"])
def test_steps_are_those_of_eager_mode(name):
    found = []
    for compiled in (False, True):
        wg.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 4, bias=False))
        step = training(net, getattr(wg.optim, name)(net.parameters(), lr=0.01, weight_decay=0.1))
        x, y = wg.randn(8, 4), wg.randn(8, 4)
        found.append([(step if compiled else step.function)(x, y).item() for _ in range(4)])
    np.testing.assert_allclose(found[0], found[1], rtol=2e-5)


def test_an_update_that_may_read_other_tensors_is_traced_where_it_stands():
    rate = wg.tensor(0.5)

    def plain(x, g):
        x -= g

    def closed(x, g):
        x -= g * rate

    said = []

    @wg.compile
    def f(x, y, g):
        said.extend([boxed(plain, (x, g), {}), boxed(closed, (y, g), {})])
        if not said[-1]:
            closed(y, g)
        return x + y

    for factor in (0.5, 2.0):
        rate.fill_(factor)
        assert f(wg.ones(3), wg.ones(3), wg.full((3,), 0.25)).tolist() == [1.75 - 0.25 * factor] * 3
    assert said == [True, False]
    assert not boxed(plain, (wg.ones(3), wg.ones(3)), {})


def test_garbage_is_not_collected_while_a_function_is_compiled():
    seen = []

    @wg.compile
    def f(x):
        seen.append(gc.isenabled())
        return x * 2

    f(wg.ones(2))
    assert seen == [False] and gc.isenabled()
    gc.disable()
    try:
        wg.compile(f.function)(wg.ones(3))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_garbage_is_collected_again_after_an_error():
    @wg.compile
    def f(x):
        raise KeyError("x")

    with pytest.raises(KeyError):
        f(wg.ones(2))
    assert gc.isenabled()

"""Compiled functions as methods, in copies and in files, and what they return."""

from __future__ import annotations

import collections
import copy
import dataclasses
import gc
import pickle
import weakref
from typing import Any

import pytest

import wengert as wg
from wengert import nn


class Scaled:
    def __init__(self, factor):
        self.weight, self.factor = wg.ones(3), factor

    @wg.compile
    def scaled(self, x):
        """Its docstring."""
        return self.weight * x * self.factor

    @property
    @wg.compile
    def total(self):
        return self.weight.sum() * self.factor


class Child(Scaled):
    @wg.compile
    def scaled(self, x):
        return super().scaled(x) + 1


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.double = wg.compile(doubled)

    @wg.compile
    def forward(self, x):
        return self.double(self.linear(x))


@wg.compile
def doubled(x):
    return x * 2


def test_methods():
    a, b = Scaled(2), Scaled(3)
    x = wg.ones(3)
    assert a.scaled(x).tolist() == [2, 2, 2] and b.scaled(x).tolist() == [3, 3, 3]
    assert b.total.item() == 9 and Child(2).scaled(x).tolist() == [3, 3, 3]
    assert Scaled.scaled(b, x).tolist() == [3, 3, 3]
    assert a.scaled is a.scaled and Scaled.scaled.__doc__ == "Its docstring."
    a.factor = 5
    with pytest.warns(wg.RecompileWarning, match=r"self\.factor' is 5 now"):
        assert a.scaled(x).tolist() == [5, 5, 5]
    a.weight.add_(1)
    assert a.scaled(x).tolist() == [10, 10, 10]
    ref = weakref.ref(a)
    del a
    gc.collect()
    assert ref() is None


def test_a_modules_forward():
    net = Layer()
    net(wg.ones(1, 3)).sum().backward()
    assert net.linear.weight.grad.tolist() == [[2, 2, 2], [2, 2, 2]]
    net.eval()
    with pytest.warns(wg.RecompileWarning, match="evaluation mode"):
        net(wg.ones(1, 3))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies(copied):
    net, scaled = Layer(), Scaled(2)
    before = net(wg.ones(1, 3)), scaled.scaled(wg.ones(3))
    other, twin = copied(net), copied(scaled)
    with wg.no_grad():
        other.linear.weight.zero_()
        other.linear.bias.fill_(1)
    twin.factor = 4
    assert other(wg.ones(1, 3)).tolist() == [[2, 2]] and twin.scaled(wg.ones(3)).tolist() == [4, 4, 4]
    assert wg.equal(net(wg.ones(1, 3)), before[0]) and wg.equal(scaled.scaled(wg.ones(3)), before[1])
    assert copied(doubled) is doubled
    method = copied(twin.scaled)
    assert method(wg.ones(3)).tolist() == [4, 4, 4]


def test_generators_and_coroutines_say_so():
    def generator(x):
        yield x

    async def coroutine(x):
        return x

    for f in (generator, coroutine):
        with pytest.raises(wg.errors.ArgumentError, match="Compile the function that makes one step"):
            wg.compile(f)


@dataclasses.dataclass
class Result:
    loss: Any
    twice: Any = dataclasses.field(init=False)
    more: list[Any] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.loss = self.loss + 1  # once, however often the result is taken apart
        self.twice = self.loss * 2


def test_containers_in_results():
    f = wg.compile(lambda x: (Result(x), collections.defaultdict(list, a=x), collections.Counter("aab"), {"a": x}))
    result, table, counter, plain = f(wg.ones(()))
    assert (result.loss.item(), result.twice.item(), result.more) == (2, 4, [])
    assert table["a"].item() == 1 and table["b"] == [] and counter["a"] == 2 and type(plain) is dict

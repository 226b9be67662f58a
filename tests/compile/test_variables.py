"""What a function reads from around it: when that changes, the function is compiled again."""

from __future__ import annotations

import functools
import types
import warnings
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.variables import WATCHED

ACTIVATION: Any = wg.relu
SCALE = 2.0


def scaled(x):
    return ACTIVATION(x) * SCALE


class Options:
    def __init__(self):
        self.scale, self.nested = 2.0, types.SimpleNamespace(shift=1.0)

    def shifted(self, x):
        return x + self.nested.shift


class Reader(nn.Module):
    """Its own attributes that are no numbers, and variables around its method."""

    def __init__(self):
        super().__init__()
        self.options, self.scales = Options(), [1.0, 2.0]

    def forward(self, x):
        return self.options.shifted(scaled(x)) * self.scales[1]


def changed_in_turn(f, *changes):
    """The compiled function's results before and after each change, beside the eager ones; nothing is stale."""
    compiled = wg.compile(f)
    x = wg.tensor([-1.5, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wg.RecompileWarning)
        for change in (lambda: None, *changes):
            change()
            for _ in range(2):
                found, expected = compiled(x), f(x)
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found.numpy().view(np.uint8), expected.numpy().view(np.uint8))
    programs = sum(map(len, getattr(compiled, "compiled", compiled).steps.values()))
    assert programs == 1 + len(changes)


def test_functions_and_what_they_read(monkeypatch):
    changed_in_turn(
        lambda x: scaled(x),
        lambda: monkeypatch.setitem(globals(), "ACTIVATION", wg.abs),
        lambda: monkeypatch.setitem(globals(), "SCALE", 3.0),
        lambda: monkeypatch.setitem(globals(), "scaled", lambda x: x - 1),
    )


def test_functions_around_functions():
    factor: Any = 2

    def inner(x):
        return x * factor

    def change(new):
        nonlocal factor
        factor = new

    within = wg.compile(inner)
    partial = functools.partial(lambda f, x: f(x) + 1, inner)
    for f in (lambda x: within(x), partial, lambda x: wg.func.vmap(lambda y: inner(y))(x)):
        change(2)
        changed_in_turn(f, lambda: change(3), lambda: change(2.0), lambda: change(-0.0), lambda: change(0.0))


def test_objects_lists_and_dictionaries():
    options, numbers, table = Options(), [1.0, 2.0], {"a": {"b": 3.0}}
    changed_in_turn(
        lambda x: options.shifted(x) * options.scale + numbers[1] - table["a"]["b"],
        lambda: setattr(options, "scale", 3.0),
        lambda: setattr(options.nested, "shift", 3.0),
        lambda: setattr(options, "nested", types.SimpleNamespace(shift=5.0)),
        lambda: numbers.__setitem__(1, 7.0),
        lambda: table["a"].update(b=9.0),
        lambda: table.update(a={"b": 10.0}),
    )


def test_arrays():
    mask = np.array([1.0, np.nan], np.float32)
    changed_in_turn(lambda x: x * mask, lambda: mask.__setitem__(0, 0.0), lambda: mask.__setitem__(0, -0.0))


def test_large_arrays_are_watched_for_being_the_same():
    table = {"mask": np.ones(WATCHED // 4 + 4, np.float32)}
    compiled = wg.compile(lambda x: x * table["mask"][:2])
    assert compiled(wg.ones(2)).tolist() == [1, 1]
    table["mask"] = np.full_like(table["mask"], 3)
    with pytest.warns(wg.RecompileWarning, match="have changed"):
        assert compiled(wg.ones(2)).tolist() == [3, 3]


def test_default_arguments():
    def f(x, scale=2.0, *, shift=1.0):
        return x * scale + shift

    changed_in_turn(f, lambda: setattr(f, "__defaults__", (3.0,)), lambda: setattr(f, "__kwdefaults__", {"shift": 5.0}))


def test_what_a_module_reads(monkeypatch):
    net = Reader()
    changed_in_turn(
        lambda x: net(x),
        lambda: monkeypatch.setitem(globals(), "SCALE", 5.0),
        lambda: setattr(net.options.nested, "shift", 3.0),
        lambda: net.scales.__setitem__(1, 4.0),
    )
    changed_in_turn(net, lambda: net.scales.__setitem__(1, 3.0))


def test_objects_among_the_arguments():
    f = wg.compile(lambda options, x: options.shifted(x))
    options = Options()
    assert f(options, wg.ones(1)).item() == 2
    options.nested.shift = 5.0
    with pytest.warns(wg.RecompileWarning, match=r"self\.nested\.shift' is 5\.0 now"):
        assert f(options, wg.ones(1)).item() == 6


def test_the_default_dtype():
    def change(dtype):
        return lambda: wg.set_default_dtype(dtype)

    try:
        changed_in_turn(lambda x: wg.zeros(2) + 1.5, change(wg.float64))
    finally:
        wg.set_default_dtype(wg.float32)


def test_what_the_function_changes_itself_is_no_reason():
    calls: list[int] = []
    counts = types.SimpleNamespace(n=0, log={})

    @wg.compile
    def f(x):
        calls.append(1)
        counts.n += 1
        counts.log[counts.n] = "seen"
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            f(wg.ones(2))
    assert calls == [1]


def test_numbers_among_the_arguments():
    f = wg.compile(lambda x, k: wg.copysign(x, wg.full((1,), k)))
    assert f(wg.ones(1), 0.0).item() == 1
    with pytest.warns(wg.RecompileWarning, match="pass a 0-d tensor for a number that changes"):
        assert f(wg.ones(1), -0.0).item() == -1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in (float("nan"), float("nan"), 1.0):
            f(wg.ones(1), k)
    assert len(f.steps) == 4


def test_the_programs_that_are_kept_have_a_limit(monkeypatch):
    monkeypatch.setattr("wengert.compiler.MOST", 3)
    f = wg.compile(lambda x, k: x * k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wg.RecompileWarning)
        for k in (0.0, 1.0, 2.0, 0.0, 3.0):  # 0 is the one that was used last but one
            assert f(wg.ones(1), k).item() == k
    assert [key[-1][1] for key in f.steps] == ["2.0", "0.0", "3.0"]


@pytest.mark.filterwarnings("ignore::wengert.RecompileWarning")
def test_a_function_that_leaves_a_module_in_another_mode():
    net = nn.Dropout(0.5)

    @wg.compile
    def f(x):
        y = net(x)
        net.eval()
        return y

    assert set(f(wg.ones(100)).tolist()) == {0, 2}
    for _ in range(2):
        nn.Linear(1, 1)  # something has changed
        assert wg.equal(f(wg.ones(100)), wg.ones(100))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: wg.manual_seed(3),
        lambda: wg.Generator().manual_seed(3),
        lambda: wg.set_rng_state(wg.tensor([3, 0], dtype=wg.uint64)),
    ],
)
def test_generators_are_seeded_outside(draw):
    before = wg.get_rng_state()
    with pytest.raises(wg.errors.TraceError, match="Seed before the call"):
        wg.compile(lambda: (draw(), wg.rand(2))[1])()
    assert wg.equal(wg.get_rng_state(), before)


class Tracker:
    """Binds tensors anew, in all ways."""

    def __init__(self):
        self.mean, self.best, self.table, self.items = wg.zeros(()), None, {"a": wg.zeros(2)}, [wg.zeros(()), 3]

    def __call__(self, x):
        self.mean = 0.5 * self.mean + x.mean()
        self.best = x.max() if self.best is None else wg.maximum(self.best, x.max())
        self.table["a"] = self.table["a"] + x
        self.table["b"] = x * 2
        self.items[0] = self.items[0] + 1
        return self.mean * 2 + self.best


COUNT: Any = wg.zeros(())


@pytest.mark.filterwarnings("ignore::wengert.RecompileWarning")
def test_tensors_that_are_bound_anew(monkeypatch):
    monkeypatch.setitem(globals(), "COUNT", wg.zeros(()))
    last: Any = wg.zeros(2)
    eager, compiled = Tracker(), Tracker()

    def step(tracker, x):
        nonlocal last
        global COUNT
        COUNT = COUNT + 1
        out = tracker(x) + last.sum()
        last = x + COUNT
        return out

    step_of_compiled = wg.compile(functools.partial(step, compiled))
    seen: list[list[Any]] = []
    for run in (functools.partial(step, eager), step_of_compiled):
        COUNT.zero_()
        last = wg.zeros(2)
        found: list[Any] = []
        for k in range(4):
            found.append(run(wg.tensor([k, 2.0])).clone())
        tracker = eager if run is not step_of_compiled else compiled
        parts = (tracker.mean, tracker.best, *tracker.table.values(), tracker.items[0], COUNT, last)
        seen.append([*found, *[x.clone() for x in parts]])
        monkeypatch.setitem(globals(), "COUNT", wg.zeros(()))
    for a, b in zip(*seen, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-6)


def test_an_error_gives_back_what_was_bound_anew():
    tracker = Tracker()
    before = tracker.mean, tracker.items[0], tracker.table["a"]

    @wg.compile
    def step(x):
        tracker(x)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        step(wg.ones(2))
    assert (tracker.mean, tracker.items[0], tracker.table["a"], tracker.best) == (*before, None)
    assert list(tracker.table) == ["a"]


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_draws_within_vmap_are_new_ones_in_every_call(randomness):
    def f(x):
        return wg.func.vmap(lambda y: y + wg.rand(2), randomness=randomness)(x)

    found = []
    for run in (f, wg.compile(f)):
        wg.manual_seed(3)
        found.append([run(wg.zeros(3, 2)) for _ in range(2)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(b.numpy(), a.numpy())
    assert not wg.equal(found[1][0], found[1][1])

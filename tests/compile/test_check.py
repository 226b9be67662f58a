"""``check=True`` finds a wrong kernel and says which op and line; passes can be verified and written out."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.errors import CheckError, GraphError
from wengert.nn import functional as F
from wengert.optimize import pipeline


def training_step():
    wg.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3))
    optimizer = wg.optim.Adam(net.parameters(), lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return net, step


def test_a_checked_step_trains_like_an_unchecked_one():
    (a, eager), (b, step) = training_step(), training_step()
    checked = wg.compile(step, check=True)
    for i in range(3):
        wg.manual_seed(i)
        x, y = wg.randn(4, 5), wg.randn(4, 3)
        wg.manual_seed(10 + i)
        first = eager(x, y).item()
        wg.manual_seed(10 + i)
        np.testing.assert_allclose(checked(x, y).item(), first, rtol=1e-5)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_wrong_rule_is_found(monkeypatch):
    """A rule that turns tanh into its argument is noticed, and tanh's line named."""
    from wengert.optimize import rewrite, simplify

    monkeypatch.setenv("WENGERT_CACHE", "0")  # which knows the library as its files are
    broken = {k: list(v) for k, v in simplify.rules().items()}
    broken["tanh"] = [lambda rw, op, xs, attrs, like: xs[0]]
    monkeypatch.setattr(pipeline, "PASSES", (("broken", lambda g: rewrite.Rewriter(broken).run(g)),))
    f = wg.compile(lambda x: (x * 2).tanh().sum(), check=True)
    with pytest.raises(CheckError, match="differs from eager mode"):
        f(wg.tensor([1.0, 2.0]))


def test_a_wrong_kernel_is_named_with_its_line(monkeypatch):
    from wengert.codegen import evaluate

    monkeypatch.setenv("WENGERT_CACHE", "0")
    right = evaluate.emit
    monkeypatch.setattr(evaluate, "emit", lambda b, op, *xs, **attrs: right(b, op, *xs, **attrs) * 2.0
                        if op.name == "cosh" else right(b, op, *xs, **attrs))  # fmt: skip
    f = wg.compile(lambda x: x.cosh().sum(), check=True)
    with pytest.raises(CheckError, match=r"first in: cosh f32\[3\] made at test_check\.py:\d+"):
        f(wg.tensor([0.1, 0.2, 0.3]))


def test_passes_are_verified_when_asked(monkeypatch):
    monkeypatch.setenv("WENGERT_CHECK", "1")
    wg.compile(lambda x: (x + 1).sum())(wg.ones(3))

    def shrinks(graph):
        from wengert.graph.graph import Graph

        return Graph(graph.inputs, graph.outputs[:0], graph.name)

    monkeypatch.setattr(pipeline, "PASSES", (("shrinks", shrinks),))
    with pytest.raises(GraphError, match="shrinks"):
        wg.compile(lambda x: x + 1)(wg.ones(3))


def test_dumps(monkeypatch, tmp_path):
    monkeypatch.setenv("WENGERT_DUMP", str(tmp_path))
    wg.compile(lambda x: (x * 3).cos())(wg.ones(5))
    names = {p.name.split(".")[-1] for p in tmp_path.iterdir()}
    assert {"py", "ll", "s"} <= names
    assert any("ops.cos" in p.read_text() for p in tmp_path.glob("*.py"))


def test_explain_and_plan():
    _, step = training_step()
    compiled = wg.compile(step)
    x, y = wg.ones(4, 5), wg.ones(4, 3)
    plan = wg.plan(step, x, y)
    compiled(x, y)
    text = wg.explain(compiled)
    for word in ("passes", "simplify", "matmul", "test_check.py", "peak memory", "took us"):
        assert word in text
    program = compiled.latest.program
    assert plan.arena == program.arena.nbytes and plan.peak >= plan.arena
    assert any("test_check.py" in line for line in plan.by_line())
    assert "Sequential.0.linear" in plan.by_module()
    with pytest.raises(wg.errors.ArgumentError, match="not been called"):
        wg.explain(wg.compile(step))


def test_what_rounding_explains_is_no_difference():
    """The gradient of a bias before a batch norm is rounding alone, which Adam makes steps of."""
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1))
    optimizer = wg.optim.Adam(net.parameters(), lr=0.01)

    @wg.compile(check=True)
    def step(x):
        optimizer.zero_grad()
        loss = net(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(4):
        step(wg.randn(8, 4))


class Mean:
    def __init__(self):
        self.value = wg.zeros(())

    def update(self, x):
        self.value = 0.5 * self.value + x.mean()
        return self.value


@pytest.mark.filterwarnings("ignore::wengert.RecompileWarning")
def test_state_of_every_kind_is_taken_back_between_the_two_calls():
    net, mean = nn.Linear(3, 1), Mean()
    optimizer = wg.optim.ASGD(net.parameters(), lr=0.1)

    @wg.compile(check=True)
    def accumulate(x):
        loss = net(wg.as_tensor(x)).pow(2).mean()
        loss.backward()
        return mean.update(loss.detach())

    @wg.compile(check=True)
    def update():
        norm = nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    @wg.compile(check=True)
    def shift(x):
        return wg.as_tensor(x).add_(1)

    array, fixed = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    fixed.flags.writeable = False
    for _ in range(3):
        accumulate(array)
        accumulate(fixed)
        update()
    for k in range(2, 4):
        assert float(shift(array)[0, 0]) == k == array[0, 0]

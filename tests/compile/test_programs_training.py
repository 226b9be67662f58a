"""Training loops as PyTorch's users write them: optimizers of all kinds, and many models at once, compiled and not."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import wengert as wg
from wengert import nn
from wengert.errors import TraceError
from wengert.testing.compiled import alike, batch, network

# -- optimizers ------------------------------------------------------------------------------------


def train(compiler: Any, make: Any, between: Any = lambda optimizer, k: None) -> Any:
    """Some steps; what comes out."""
    net = network()
    optimizer = make(net)

    @compiler
    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    losses = []
    for k in range(5):
        losses.append(step(batch(k)))
        between(optimizer, k)
    return losses, list(net.parameters()), optimizer.param_groups[0]["lr"]


class Own(wg.optim.Optimizer):
    """An optimizer as one finds it in a paper's code: momentum, and a difference to the gradient before."""

    def __init__(self, params, lr=0.1, beta=0.9, counts=False):
        super().__init__(params, {"lr": lr, "beta": beta})
        self.counts = counts

    @wg.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["m"], state["before"] = wg.zeros_like(p), p.grad.clone()
                    if self.counts:
                        state["step"] = 0
                scale = 1.0
                if self.counts:
                    state["step"] += 1
                    scale = 1 - group["beta"] ** state["step"]
                state["m"].mul_(group["beta"]).add_(p.grad + 0.1 * (p.grad - state["before"]))
                state["before"] = p.grad.clone()
                p.add_(state["m"], alpha=-group["lr"] / scale)


def slow_down(optimizer: Any, k: int) -> None:
    optimizer.param_groups[0]["lr"] *= 0.5


def test_an_optimizer_of_the_users_own_is_followed():
    alike(lambda compiler: train(compiler, lambda net: Own(net.parameters()), slow_down), 1)


def test_an_optimizer_that_counts_in_python_runs_in_eager_mode():
    alike(lambda compiler: train(compiler, lambda net: Own(net.parameters(), counts=True), slow_down))
    with pytest.warns(wg.RecompileWarning, match="Own counts 'step' in Python"):
        train(wg.compile, lambda net: Own(net.parameters(), counts=True))


def test_rates_that_a_function_sets():
    def scenario(compiler):
        net = network()
        optimizer = wg.optim.SGD(net.parameters(), lr=0.1)

        @compiler
        def step(x, lr):
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()

        for k in range(4):
            step(batch(k), (0.1, 0.01)[k % 2])
        return list(net.parameters()), optimizer.param_groups[0]["lr"]

    alike(scenario)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        scenario(wg.compile)
    assert any("sets 'lr' of SGD" in str(w.message) for w in seen)


def test_a_schedule_is_stepped_outside():
    optimizer = wg.optim.SGD([nn.Parameter(wg.ones(1))], lr=0.1)
    schedule = wg.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(TraceError, match="StepLR: a compiled function cannot step a schedule"):
        wg.compile(schedule.step)()
    assert (schedule.last_epoch, optimizer.param_groups[0]["lr"]) == (0, 0.1)


def test_a_rate_of_zero_may_change():
    def warm_up(optimizer, k):
        optimizer.param_groups[0]["lr"] = 0.01 * k

    alike(lambda compiler: train(compiler, lambda net: wg.optim.AdamW(net.parameters(), lr=0.0), warm_up), 1)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "Adagrad", "Rprop", "Muon"])
def test_states_that_are_made_when_parameters_have_changed(kind):
    def scenario(compiler):
        net = network()
        options = {"momentum": 0.9} if kind in ("SGD", "RMSprop") else {}
        optimizer = getattr(wg.optim, kind)([p for p in net.parameters() if p.ndim == 2], lr=0.01, **options)

        @compiler
        def step(x):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            with wg.no_grad():
                for p in net.parameters():
                    p.mul_(0.9)
            optimizer.step()

        for k in range(3):
            step(batch(k))
        optimizer.zero_grad()
        net(batch(9)).sum().backward()
        optimizer.step()  # not compiled
        return list(net.parameters())

    alike(scenario)


# -- many models at once ---------------------------------------------------------------------------


def test_an_ensemble():
    def scenario(compiler):
        wg.manual_seed(0)
        models = [nn.Sequential(nn.Linear(4, 3), nn.Tanh()) for _ in range(3)]
        params, buffers = wg.func.stack_module_state(models)

        @compiler
        def losses(params, x):
            def one(p, b):
                return wg.func.functional_call(models[0], (p, b), x).square().mean()

            return wg.vmap(one)(params, buffers)

        losses(params, batch(0)).sum().backward()
        expected = [m(batch(0)).square().mean() for m in models]
        return [p.grad for p in params.values()], losses(params, batch(0)), expected

    alike(scenario)


def test_models_that_cannot_be_stacked():
    linear = nn.Linear(2, 1)
    frozen = nn.Linear(2, 1).requires_grad_(False)
    for models, what in (([], "at least one"), ([linear, nn.ReLU()], "one class"), ([linear, frozen], "require grad")):
        with pytest.raises(wg.errors.ArgumentError, match=what):
            wg.func.stack_module_state(models)

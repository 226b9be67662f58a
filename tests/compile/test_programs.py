"""Programs as PyTorch's users write them: compiled, they give, and leave behind, what they do in eager mode."""

from __future__ import annotations

import copy
import types
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.errors import TraceError
from wengert.testing.compiled import alike, batch, network

# -- results and gradients -------------------------------------------------------------------------


def test_detached_results_carry_no_gradient():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            logits = self.net(x)
            with wg.no_grad():
                shifted = logits + 1
            return logits, logits.detach(), shifted, logits.argmax(1)

    def scenario(compiler):
        model = Model()
        results = compiler(model)(batch(0))
        results[0].sum().backward()
        return *results, [r.requires_grad for r in results], [p.grad for p in model.parameters()]

    alike(scenario)


def test_results_that_a_derivative_of_the_users_own_reads():
    class Exp(wg.autograd.Function):
        @staticmethod
        def forward(x):
            return x.exp()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    def scenario(compiler):
        x = batch(0, 3).requires_grad_()
        y = compiler(lambda x: Exp.apply(x))(x)
        y.sum().backward()
        return y, x.grad

    alike(scenario)


def test_gradients_of_what_another_call_used_are_forgotten():
    def scenario(compiler):
        nets = [network(), network()]
        optimizer = wg.optim.SGD([p for n in nets for p in n.parameters()], lr=0.1)

        @compiler
        def step(x, i):
            optimizer.zero_grad()
            nets[i](x).square().mean().backward()
            optimizer.step()

        out = []
        for k in range(4):
            step(batch(k), k % 2)
            out.append([p.grad is None for n in nets for p in n.parameters()])
        return out, [p for n in nets for p in n.parameters()]

    alike(scenario, 2)


def test_data_of_parameters_is_set():
    def scenario(compiler):
        net = network()

        @compiler
        def step(x):
            net.zero_grad()
            net(x).square().mean().backward()
            for p in net.parameters():
                p.data -= 0.1 * p.grad.data
                p.data.mul_(0.99)

        @compiler
        def load(vector):
            nn.utils.vector_to_parameters(vector, net.parameters())
            return net(wg.ones(1, 4))

        for k in range(3):
            step(batch(k))
        count = sum(p.numel() for p in net.parameters())
        return [p.clone() for p in net.parameters()], load(batch(7, count)), list(net.parameters())

    alike(scenario, 1)


def test_tensors_from_outside_that_are_only_handed_on():
    def scenario(compiler):
        held, w, pair = wg.zeros(2), nn.Parameter(wg.zeros(2)), [wg.zeros(1), wg.ones(1)]
        changed = wg.zeros(1)

        @compiler
        def f(x):
            w.grad = held
            changed.add_(x)
            pair[0], pair[1] = pair[1], pair[0] + x
            return held, w, changed

        out = []
        for _ in range(4):
            a, b, c = f(wg.ones(1))
            out += [a is held, b is w, c is changed, c.tolist(), a.tolist(), w.grad.tolist(), *pair]
            held.add_(1)
        return out

    alike(scenario)


def test_data_of_another_shape_is_refused():
    w = nn.Parameter(wg.zeros(2))

    @wg.compile
    def f(x):
        w.data = x

    with pytest.raises(TraceError, match="cannot change the shape or dtype"):
        f(wg.ones(3))
    assert w.tolist() == [0, 0]


def test_arrays_are_tensors_whoever_runs_the_function():
    def f(x):
        return x.unsqueeze(0)  # which an array has not

    for options in ({}, {"check": True}):
        assert wg.compile(f, **options)(np.ones(2)).tolist() == [[1, 1]]
    shared = np.zeros(3)
    with pytest.warns(wg.RecompileWarning, match="shares memory"):  # in eager mode
        wg.compile(lambda x, y: x.add_(y.sum()))(shared[:2], shared[1:])
    wg.compile(lambda x: x.add_(1))(shared)
    assert shared.tolist() == [1, 1, 1]


def test_checks_know_the_rounding_of_bfloat16_and_complex_numbers():
    net = network()
    optimizer = wg.optim.SGD(net.parameters(), lr=0.1)

    @wg.compile(check=True)
    def step(x):
        optimizer.zero_grad()
        weights = {name: p.bfloat16() for name, p in net.named_parameters()}
        wg.func.functional_call(net, weights, x.bfloat16()).float().square().mean().backward()
        optimizer.step()
        return wg.fft.ifft(wg.fft.fft(x * 1.1) * wg.fft.fft(x.sin() + 0.1))

    for k in range(3):
        step(batch(k, 5, 4))


def test_draws_by_weights():
    weights = wg.tensor([[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 1.0, 0.0]])
    for count, replacement in ((1, False), (1, True), (5, True)):

        def f(w, count=count, replacement=replacement):
            return wg.multinomial(w, count, replacement)

        found = []
        for run in (f, wg.compile(f)):
            wg.manual_seed(1)
            found.append([run(weights).tolist() for _ in range(3)])
        assert found[0] == found[1]
    with pytest.raises(TraceError, match=r"one_hot\(x, n\)"):
        wg.compile(wg.bincount)(wg.tensor([1, 2]))


# -- modules ---------------------------------------------------------------------------------------


def test_a_compiled_module_is_one():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    model = wg.compile(net)
    assert isinstance(model, nn.Module)
    assert [n for n, _ in model.named_parameters()] == [f"_orig_mod.{n}" for n, _ in net.named_parameters()]
    assert model.eval() is model
    assert not net.training
    np.testing.assert_allclose(model(batch(0)).tolist(), net(batch(0)).tolist(), rtol=1e-5)
    net.train()
    assert model.training
    model.scale = 2
    assert net.scale == 2
    other = wg.compile(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))
    other.load_state_dict(model.state_dict())
    twin = copy.deepcopy(model).eval()
    twin.requires_grad_(False)
    x = batch(1)
    np.testing.assert_allclose(other.eval()(x).tolist(), twin(x).tolist(), rtol=1e-5)
    assert all(p.requires_grad for p in net.parameters())
    with wg.no_grad():
        model(x)
    assert "passes" in wg.explain(model)


@pytest.mark.parametrize("mode", [True, False])
def test_modes_that_a_function_sets_are_set_in_every_call(mode):
    def scenario(compiler):
        net = nn.Sequential(network(), nn.BatchNorm1d(3))

        @compiler
        def f(x):
            net.train(mode)
            return net(x)

        @compiler
        def around(x):
            before = net.training
            net.eval()
            y = net(x)
            net.train(before)
            return y

        out = []
        for k in range(4):
            net.train(not mode)
            out += [f(batch(k)), net.training, net[1].training, around(batch(k)), net.training]
        return out, list(net.buffers())

    alike(scenario, 1)


def test_what_requires_grad_is_set_in_every_call():
    def scenario(compiler):
        nets = network(), nn.Sequential(nn.Linear(3, 4))
        optimizer = wg.optim.SGD(nets[0].parameters(), lr=0.1)

        @compiler
        def step(x):
            nets[0].requires_grad_(True)
            optimizer.zero_grad()
            nets[0](x).square().mean().backward()
            optimizer.step()
            nets[0].requires_grad_(False)
            frozen = nets[0](nets[1](x[:, :3]))
            frozen.sum().backward()
            return frozen.requires_grad

        out = []
        for k in range(4):
            out += [step(batch(k)), [p.requires_grad for p in nets[0].parameters()]]
            if k == 2:
                nets[0].requires_grad_(True)
        return out, [p.grad for n in nets for p in n.parameters()], list(nets[0].parameters())

    alike(scenario)


def test_an_error_gives_modes_and_flags_back():
    net = network()

    @wg.compile
    def f(x):
        net.eval()
        net.requires_grad_(False)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        f(batch(0))
    assert net.training
    assert net[0].training
    assert all(p.requires_grad for p in net.parameters())


def test_lazy_layers():
    net = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))
    f = wg.compile(net)
    for _ in range(2):
        y = f(batch(0))
    assert y.shape == (5, 3)
    assert net[0].weight.shape == (5, 4)


def test_averages_of_weights():
    utils = wg.optim.swa_utils

    def scenario(compiler):
        net = network()
        kinds = {}, {"multi_avg_fn": utils.get_ema_multi_avg_fn(0.9)}
        averages = [utils.AveragedModel(net, use_buffers=True, **kind) for kind in kinds]

        @compiler
        def update(x):
            with wg.no_grad():
                net[0].weight.add_(x.mean())
            for average in averages:
                average.update_parameters(net)

        for k in range(4):
            update(batch(k))
        return [list(a.parameters()) for a in averages], [a.n_averaged for a in averages]

    alike(scenario, 1)


# -- what is kept ----------------------------------------------------------------------------------


def test_tensors_from_earlier_calls_keep_their_values():
    def scenario(compiler):
        trainer: Any = types.SimpleNamespace(net=network(), total=wg.zeros(()), table={"h": wg.zeros(3)}, pair=[0, 0])
        trainer.pair = [wg.zeros(3)] * 2

        @compiler
        def step(x):
            y = trainer.net(x).detach().mean(0)
            trainer.total = trainer.total + y.sum()
            trainer.table["h"] = trainer.table["h"] * 0.5 + y
            trainer.pair[0], trainer.pair[1] = trainer.pair[1], trainer.pair[0] + y
            trainer.last = y * 2  # an attribute that was not there
            return y.sum()

        out = []
        for k in range(5):
            out += [step(batch(k)), trainer.total, trainer.table["h"], *trainer.pair, trainer.last]
            if k == 2:
                trainer.total = wg.zeros(())
        return out

    alike(scenario)


def test_what_hooks_keep():
    def scenario(compiler):
        net, seen = network(), {}
        net[1].register_forward_hook(lambda module, args, out: seen.__setitem__("out", out.detach()))
        net[1].register_full_backward_hook(lambda module, into, out: seen.__setitem__("grad", out[0]))
        net[0].weight.register_hook(lambda grad: seen.__setitem__("weight", grad * 2))

        @compiler
        def step(x):
            net.zero_grad()
            net(x).square().mean().backward()

        out = []
        for k in range(4):
            step(batch(k))
            out += [seen["out"], seen["grad"], seen["weight"]]
        return out

    alike(scenario, 2)


def test_what_is_reset_to_none():
    def scenario(compiler):
        wg.manual_seed(0)
        cell: Any = nn.Linear(4, 4)
        cell.h = None

        @compiler
        def f(x):
            cell.h = cell(x) if cell.h is None else cell.h + x
            y = cell.h.detach()
            cell.h = None
            return y

        return [(f(batch(k)), cell.h is None) for k in range(3)]

    alike(scenario, 1)

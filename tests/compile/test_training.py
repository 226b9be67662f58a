"""Compiled training steps: the same losses, parameters and state as eager ones, without compiling again."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.errors import TraceError, WengertError
from wengert.nn import functional as F


def make(build, optimizer, compiled, loss=F.mse_loss, **compile_options):
    """A network, its optimizer and its training step; the same weights each time."""
    wg.manual_seed(0)
    net = build()
    opt = optimizer(net.parameters())

    def step(x, y):
        opt.zero_grad()
        out = loss(net(x), y)
        out.backward()
        opt.step()
        return out

    return net, opt, wg.compile(step, **compile_options) if compiled else step


def mlp():
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(n=6, shape=(7, 5), out=(7, 3)):
    wg.manual_seed(1)
    return [(wg.randn(*shape), wg.randn(*out)) for _ in range(n)]


def same_state(a, b, tol=2e-6):
    for (k, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        np.testing.assert_allclose(y.numpy(), x.numpy(), rtol=tol, atol=tol, err_msg=k)


OPTIMIZERS = {
    "sgd": lambda p: wg.optim.SGD(p, lr=0.1),
    "momentum": lambda p: wg.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: wg.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: wg.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "adamw": lambda p: wg.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: wg.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: wg.optim.Adagrad(p, lr=0.1),
    "adadelta": lambda p: wg.optim.Adadelta(p),
    "nadam": lambda p: wg.optim.NAdam(p, lr=0.01),
    "radam": lambda p: wg.optim.RAdam(p, lr=0.01),
    "adamax": lambda p: wg.optim.Adamax(p, lr=0.01),
    "lion": lambda p: wg.optim.Lion(p, lr=0.001),
}


@pytest.mark.quick(name=["sgd", "adamw"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_equal_eager_ones(name):
    a, _, eager = make(mlp, OPTIMIZERS[name], False)
    b, _, compiled = make(mlp, OPTIMIZERS[name], True)
    for x, y in batches():
        np.testing.assert_allclose(compiled(x, y).item(), eager(x, y).item(), rtol=1e-5)
    same_state(a, b, 1e-5)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_a_schedule_changes_the_rate_without_compiling_again():
    def build(compiled):
        net, opt, step = make(mlp, lambda p: wg.optim.Adam(p, lr=0.1), compiled)
        return net, step, wg.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=6)

    a, eager, first = build(False)
    b, compiled, second = build(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x, y in batches():
            eager(x, y), compiled(x, y)
            first.step(), second.step()
    same_state(a, b, 1e-5)
    assert sum(map(len, compiled.steps.values())) == 1


@pytest.mark.slow
def test_running_statistics_and_modes():
    def build():
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        )

    a, _, eager = make(build, OPTIMIZERS["sgd"], False)
    b, _, compiled = make(build, OPTIMIZERS["sgd"], True)
    for x, y in batches(3, (6, 2, 4, 4), (6, 3)):
        np.testing.assert_allclose(compiled(x, y).item(), eager(x, y).item(), rtol=1e-5)
    same_state(a, b, 1e-5)
    predict = wg.compile(lambda x: b(x).detach())
    x = wg.randn(6, 2, 4, 4)
    with wg.no_grad():
        trained = predict(x)
        b.eval()
        with pytest.warns(wg.RecompileWarning, match="evaluation mode"):
            frozen = predict(x)
        np.testing.assert_allclose(frozen.numpy(), b(x).numpy(), rtol=1e-4, atol=1e-5)
    assert not np.allclose(trained.numpy(), frozen.numpy())


def test_dropout_draws_the_same_numbers():
    def build():
        return nn.Sequential(nn.Linear(5, 32), nn.Dropout(0.5), nn.Linear(32, 3))

    losses = []
    for compiled in (False, True):
        _, _, step = make(build, OPTIMIZERS["sgd"], compiled)
        wg.manual_seed(7)
        losses.append([step(x, y).item() for x, y in [(wg.ones(4, 5), wg.zeros(4, 3))] * 5])
        assert len(set(losses[-1])) == 5
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_gradients_accumulate_as_in_eager_mode():
    wg.manual_seed(0)
    w = nn.Parameter(wg.randn(3))

    def step(x):
        (w * x).sum().backward()

    compiled = wg.compile(step)
    compiled(wg.ones(3))
    np.testing.assert_array_equal(w.grad.numpy(), [1, 1, 1])
    with pytest.warns(wg.RecompileWarning, match="gradient"):
        compiled(wg.ones(3))
    compiled(wg.ones(3) * 2)
    np.testing.assert_array_equal(w.grad.numpy(), [4, 4, 4])
    held = w.grad
    compiled(wg.ones(3))
    np.testing.assert_array_equal(w.grad.numpy(), [5, 5, 5])
    assert held.tolist() == [5, 5, 5]


def test_values_that_a_graph_still_needs_are_kept():
    """A compiled step writes parameters in place; a graph recorded before keeps its values."""
    net, _, step = make(mlp, OPTIMIZERS["sgd"], True)
    (x, y), *_ = batches()
    step(x, y)
    before = net[0].weight.detach().clone()
    z = (net[0].weight ** 2).sum()
    step(x, y)
    z.backward()
    assert not np.array_equal(net[0].weight.detach().numpy(), before.numpy())


def test_a_loaded_optimizer_state_is_used():
    a, opt_a, eager = make(mlp, OPTIMIZERS["adam"], False)
    b, opt_b, compiled = make(mlp, OPTIMIZERS["adam"], True)
    data = batches()
    for x, y in data[:3]:
        eager(x, y), compiled(x, y)
    saved = opt_a.state_dict()
    import copy

    saved, weights = copy.deepcopy(saved), copy.deepcopy(a.state_dict())
    for x, y in data[3:]:
        eager(x, y), compiled(x, y)
    for net, opt in ((a, opt_a), (b, opt_b)):
        net.load_state_dict(weights)
        opt.load_state_dict(saved)
    for x, y in data:
        np.testing.assert_allclose(compiled(x, y).item(), eager(x, y).item(), rtol=1e-5)
    same_state(a, b, 1e-5)


def test_an_error_leaves_parameters_as_they_were():
    net, _, step = make(mlp, OPTIMIZERS["adam"], True)
    (x, y), *_ = batches()
    step(x, y)
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    wrong = wg.randn(7, 4)
    with pytest.warns(wg.RecompileWarning), pytest.raises(WengertError):
        step(wrong, y)
    for k, v in net.state_dict().items():
        np.testing.assert_array_equal(v.numpy(), before[k])


def test_control_flow_on_values_is_an_error_that_names_the_line():
    @wg.compile
    def f(x):
        if x.sum() > 0:
            return x
        return -x

    with pytest.raises(TraceError, match=r"test_training\.py:\d+"):
        f(wg.ones(3))


@pytest.mark.slow
def test_transformers_and_recurrent_nets():
    def transformer():
        return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(5, 6, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    for build, shape, out in ((transformer, (3, 4, 8), (3, 4, 8)), (Last, (2, 3, 5), (2, 3, 6))):
        # Not Adam: it makes steps of noise where a gradient is zero, as that of the keys' bias is.
        a, _, eager = make(build, OPTIMIZERS["momentum"], False)
        b, _, compiled = make(build, OPTIMIZERS["momentum"], True)
        for x, y in batches(3, shape, out):
            np.testing.assert_allclose(compiled(x, y).item(), eager(x, y).item(), rtol=1e-4)
        same_state(a, b, 1e-4)


@pytest.mark.quick(name=["adamw"])
@pytest.mark.parametrize("name", ["adamw", "momentum", "rmsprop", "lion"])
def test_all_numbers_of_an_optimizer_may_change(name):
    """Rates, momenta, decays: a schedule may set any of them, and nothing is compiled again."""
    a, opt_a, eager = make(mlp, OPTIMIZERS[name], False)
    b, opt_b, compiled = make(mlp, OPTIMIZERS[name], True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k, (x, y) in enumerate(batches()):
            for opt in (opt_a, opt_b):
                for key in ("lr", "weight_decay", "momentum", "alpha"):
                    if opt.param_groups[0].get(key):
                        opt.param_groups[0][key] *= 0.9 + 0.01 * k
            np.testing.assert_allclose(compiled(x, y).item(), eager(x, y).item(), rtol=1e-5)
    same_state(a, b, 1e-5)


@pytest.mark.quick(start=["warm"])
@pytest.mark.parametrize("start", ["cold", "warm"])
def test_the_first_call_writes_in_place_too(start, tmp_path, monkeypatch):
    """The trace lets go of the tensors that it saw: were their values held, each would move to a copy first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gc.disable()
    try:
        first_call_in_place()
        if start == "warm":
            first_call_in_place()
    finally:
        gc.enable()


def first_call_in_place():
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    optimizer = wg.optim.Adam(net.parameters())

    @wg.compile
    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = wg.randn(6, 4)
    held = (net[0].weight * net[0].weight).sum()  # a live graph, which needs its value
    tensors = [*net.parameters(), *net.buffers()]
    before = [t._value for t in tensors]
    copies = [v.copy() for v in before]
    step(x)
    moved = [t._value is not v for t, v in zip(tensors, before, strict=True)]
    assert moved == [True] + [False] * (len(tensors) - 1)
    assert all((t.detach().numpy() != v).any() for t, v in zip(tensors[:2], copies, strict=False))
    held.backward()
    np.testing.assert_array_equal(before[0], copies[0])


def test_values_whose_old_ones_are_read_later_stay_where_they_are():
    """A step that reads a weight after it has computed the new one writes that to the same memory, at the end."""
    rng = np.random.default_rng(0)
    w, b, n = (wg.tensor(rng.normal(size=s).astype(np.float32)) for s in ((40, 40), (1,), (7, 3)))
    tensors, before = (w, b, n), [x.numpy().copy() for x in (w, b, n)]
    views = [x.numpy() for x in tensors]

    @wg.compile
    def step(x):
        new = w + x.sum() * b, b * 2 + w.sum(), n.cumsum(0) + b
        out = (w @ w).sum() + (x * b).sum() + n.sum()
        for old, value in zip(tensors, new, strict=True):
            old.copy_(value)
        return out, w.t() @ x

    x = wg.ones(40, 1)
    found = step(x)
    old_w, old_b, old_n = before
    wanted = old_w + 40 * old_b, old_b * 2 + old_w.sum(), old_n.cumsum(0) + old_b
    for view, value, tensor in zip(views, wanted, tensors, strict=True):
        np.testing.assert_allclose(view, value, rtol=2e-4, atol=1e-4)
        assert tensor.numpy() is view or np.shares_memory(tensor.numpy(), view)
    np.testing.assert_allclose(found[0].item(), (old_w @ old_w).sum() + 40 * old_b[0] + old_n.sum(), rtol=1e-3)
    np.testing.assert_allclose(found[1].numpy(), wanted[0].T @ x.numpy(), rtol=1e-3, atol=1e-3)


def test_a_bad_index_changes_nothing_that_is_written_at_the_end():
    w = wg.ones(5, 4)

    @wg.compile
    def step(i):
        out = (w[i] * 2).sum()
        new = w * 3
        total = (w @ w.t()).sum()
        w.copy_(new)
        return out + total

    step(wg.tensor([0, 4]))
    with pytest.raises(IndexError):
        step(wg.tensor([0, 5]))
    assert w.tolist() == [[3.0] * 4] * 5


def test_a_rate_that_an_optimizer_keeps_itself():
    """ASGD set it in its first step, which is the one that is traced: in each call of the program it did so again."""
    found = []
    for compiled in (False, True):
        w = nn.Parameter(wg.ones(3))
        optimizer = wg.optim.ASGD([w], lr=0.1, lambd=5.0, t0=2.0)

        def step(w=w, optimizer=optimizer):
            optimizer.zero_grad()
            w.pow(2).sum().backward()
            optimizer.step()

        run = wg.compile(step) if compiled else step
        for _ in range(5):
            run()
        found.append([w.detach().numpy(), *[x.numpy() for x in optimizer.state[w].values()]])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6)


def test_gradients_of_earlier_calls_keep_their_values():
    """One that was changed in place was held by the program, which wrote each later one into it."""
    w = nn.Parameter(wg.ones(3))
    optimizer = wg.optim.SGD([w], lr=0.1)

    @wg.compile
    def update():
        nn.utils.clip_grad_value_([w], 0.5)
        optimizer.step()
        optimizer.zero_grad()

    held = []
    for k in (0.1, 0.2, 0.9):
        w.grad = wg.full((3,), k)
        held.append(w.grad)
        update()
    np.testing.assert_allclose([g[0].item() for g in held], [0.1, 0.2, 0.5], rtol=1e-6)
    assert w.grad is None

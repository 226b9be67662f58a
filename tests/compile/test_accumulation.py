"""Gradients that a compiled function adds to: in their own memory, as in eager mode, whoever holds them."""

from __future__ import annotations

import itertools
import signal
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import functional as F
from wengert.testing.compiled import eager

pytestmark = pytest.mark.filterwarnings("ignore::wengert.RecompileWarning")
MODES = pytest.mark.parametrize("mode", [eager, wg.compile], ids=["eager", "compiled"])


def mlp(sizes: tuple[int, ...] = (40, 50, 30), dtype: Any = wg.float32) -> Any:
    wg.manual_seed(0)
    layers = [nn.Linear(n, m, dtype=dtype) for n, m in itertools.pairwise(sizes)]
    return nn.Sequential(layers[0], nn.Tanh(), *layers[1:])


@pytest.mark.parametrize("end", ["none", "zeros", "clipped", "kept", "doubled"])
def test_a_held_gradient_follows(end):
    """After each call it is what it is in eager mode, also where the call ends by letting go of it."""

    def trained(mode: Any) -> list[np.ndarray]:
        net = mlp()
        optimizer = wg.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        own = list(net.parameters())

        def micro(x, y):
            F.mse_loss(net(x), y).backward()

        def last(x, y):
            micro(x, y)
            if end == "clipped":
                nn.utils.clip_grad_norm_(own, 0.1)
            if end == "doubled":
                for p in own:
                    p.grad = p.grad * 2.0
            optimizer.step()
            if end != "kept":
                optimizer.zero_grad(set_to_none=end != "zeros")

        micro_, last_ = mode(micro), mode(last)
        seen: list[np.ndarray] = []
        for _ in range(3):
            xs, ys = wg.randn(3, 16, 40), wg.randn(3, 16, 30)
            micro_(xs[0], ys[0])
            held = [p.grad for p in own]
            micro_(xs[1], ys[1])
            assert all(h is p.grad for h, p in zip(held, own, strict=True))
            seen += [h.numpy().copy() for h in held]
            last_(xs[2], ys[2])
            assert all(h is p.grad for h, p in zip(held, own, strict=True)) == (end in ("zeros", "kept"))
            seen += [x.detach().numpy().copy() for x in (*held, *own)]
        return seen

    for a, b in zip(trained(eager), trained(wg.compile), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


SIZES = [
    ((64, 48, 32), 20, wg.float32),
    ((64, 48, 32), 20, wg.float64),
    ((24, 8, 8), 9000, wg.float32),  # partial sums over the batch are combined
    ((300, 520, 1), 1500, wg.float32),  # several steps of k; a product of one column
    ((40, 24, 16), 12, wg.bfloat16),
]


@pytest.mark.parametrize(("sizes", "batch", "dtype"), SIZES)
def test_products_are_added_where_the_gradient_is(sizes, batch, dtype):
    """Nothing is made for outside, and of the large gradients nothing lies between kernels."""
    net = mlp(sizes, dtype)
    exact = mlp(sizes, wg.float64)
    exact.load_state_dict({k: v.to(wg.float64) for k, v in net.state_dict().items()})

    def gradients(net: Any, x: Any) -> None:
        net(x).square().sum().backward()

    step = wg.compile(lambda x: gradients(net, x))
    for _ in range(4):
        x = wg.randn(batch, sizes[0]).to(dtype)
        step(x)
        gradients(exact, x.to(wg.float64))
    tol = {wg.float32: 1e-4, wg.float64: 1e-10, wg.bfloat16: 0.1}[dtype]
    for p, q in zip(net.parameters(), exact.parameters(), strict=True):
        scale = q.grad.abs().max().item()
        np.testing.assert_allclose(p.grad.to(wg.float64).numpy(), q.grad.numpy(), rtol=0, atol=tol * scale)
    program = step.latest.program
    assert not program.made and len(program.replaced) == len(list(net.parameters()))
    if dtype is not wg.bfloat16:
        assert wg.explain(step).count("matmul add") == (2 if sizes[-1] > 1 else 1)


def test_convolutions_and_embeddings_and_recurrent_nets():
    """What is computed otherwise is added by a kernel of its own, or copied there at the end."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(11, 12)
            self.conv = nn.Conv1d(12, 8, 3, padding=1)
            self.rnn = nn.LSTM(8, 6, batch_first=True)
            self.scale = nn.Parameter(wg.tensor(1.5))

        def forward(self, index):
            return self.rnn(self.conv(self.table(index).transpose(1, 2)).transpose(1, 2))[0] * self.scale

    def accumulated(mode: Any) -> list[np.ndarray]:
        wg.manual_seed(0)
        net = Net()
        step = mode(lambda index: net(index).square().mean().backward())
        step(wg.randint(0, 11, (4, 9)))
        held = [p.grad for p in net.parameters()]
        for _ in range(3):
            step(wg.randint(0, 11, (4, 9)))
        assert all(h is p.grad for h, p in zip(held, net.parameters(), strict=True))
        return [h.numpy().copy() for h in held]

    for a, b in zip(accumulated(eager), accumulated(wg.compile), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


@MODES
def test_gradients_that_a_rule_gave_to_two_are_apart(mode):
    x, y = wg.tensor([1.0, 2.0], requires_grad=True), wg.tensor([3.0, 4.0], requires_grad=True)

    def both():
        (x + y).sum().backward(create_graph=True)

    def one():
        (x * 2).sum().backward()

    def all_of_it():
        both()
        one()

    for first in (both, all_of_it):
        x.grad = y.grad = None
        mode(first)()
        mode(one)()
        assert x.grad.tolist() == ([3.0, 3.0] if first is both else [5.0, 5.0])
        assert y.grad.tolist() == [1.0, 1.0]


@MODES
@pytest.mark.parametrize("create_graph", [False, True])
def test_backward_to_named_inputs(mode, create_graph):
    """With a graph the sum is another tensor, as in PyTorch."""
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    step = mode(lambda: (x**2).sum().backward(inputs=[x], create_graph=create_graph))
    step()
    held = x.grad
    step()
    step()
    assert x.grad.tolist() == [6.0, 12.0]
    assert held.tolist() == ([2.0, 4.0] if create_graph else [6.0, 12.0])


@MODES
def test_gradients_in_one_buffer(mode):
    flat = wg.zeros(5)
    p, q = wg.tensor([1.0, 2.0], requires_grad=True), wg.tensor([3.0, 4.0, 5.0], requires_grad=True)
    p.grad, q.grad = flat[:2], flat[2:]

    def step():
        ((p * 2).sum() + (q * 3).sum()).backward()
        return flat * 1.0

    run = mode(step)
    for k in range(1, 4):
        want = [2.0 * k] * 2 + [3.0 * k] * 3
        assert run().tolist() == want
        assert flat.tolist() == want
    p.grad = q.grad = None
    run()
    run()
    assert (p.grad.tolist(), q.grad.tolist(), flat.tolist()) == ([4.0] * 2, [6.0] * 3, want)


@MODES
def test_a_gradient_of_two(mode):
    p, q = wg.tensor([1.0, 2.0], requires_grad=True), wg.tensor([3.0, 4.0], requires_grad=True)
    run = mode(lambda: ((p * 2).sum() + (q * 3).sum()).backward())
    run()
    run()
    p.grad = q.grad = wg.zeros(2)
    run()
    assert p.grad is q.grad
    assert p.grad.tolist() == [5.0, 5.0]
    whole = wg.zeros(4)
    p.grad, q.grad = whole[:2], whole[1:3]
    run()
    assert whole.tolist() == [2.0, 5.0, 3.0, 0.0]


@MODES
def test_a_gradient_that_is_an_argument(mode):
    p = wg.tensor([1.0, 2.0], requires_grad=True)

    def step(x):
        (p * 2).sum().backward()
        return x + 1.0

    run = mode(step)
    run(wg.zeros(2))
    run(wg.zeros(2))
    assert run(p.grad).tolist() == [7.0, 7.0]
    assert run(p.grad[:1]).tolist() == [9.0]
    assert p.grad.tolist() == [8.0, 8.0]


@MODES
def test_a_gradient_with_a_name(mode):
    p = wg.tensor([1.0, 2.0], requires_grad=True)
    p.grad = held = wg.ones(2)

    def step():
        (p * 2).sum().backward()
        return held * 1.0

    run = mode(step)
    assert run().tolist() == [3.0, 3.0]
    assert run().tolist() == [5.0, 5.0]
    p.grad = wg.zeros(2)
    assert run().tolist() == [5.0, 5.0]
    assert p.grad.tolist() == [2.0, 2.0]
    other = wg.tensor([1.0, 1.0], requires_grad=True)
    other.grad = p.grad
    assert run().tolist() == [5.0, 5.0]
    p.grad = held
    assert run().tolist() == [7.0, 7.0]


@MODES
def test_values_that_a_graph_needs(mode):
    p, w = wg.tensor([1.0, 2.0], requires_grad=True), wg.tensor([1.0, 1.0], requires_grad=True)
    run = mode(lambda: (p * 2).sum().backward())
    run()
    run()
    z = (p.grad * w).sum()
    run()
    z.backward()
    assert w.grad.tolist() == [4.0, 4.0]
    assert p.grad.tolist() == [6.0, 6.0]


@MODES
def test_gradients_that_lie_otherwise(mode):
    p, s = wg.randn(3, 4, requires_grad=True), wg.tensor(2.0, requires_grad=True)
    run = mode(lambda: (p * s).sum().backward())
    run()
    run()
    p.grad, s.grad = wg.zeros(4, 3).t(), wg.zeros(2)[0]
    base = wg.zeros(4, 3)
    held = base.t()
    run()
    p.grad = held
    run()
    run()
    assert base.tolist() == [[4.0] * 3] * 4
    np.testing.assert_allclose(s.grad.item(), 3 * p.detach().sum().item(), rtol=1e-5)
    readonly = np.zeros((3, 4), np.float32)
    readonly.flags.writeable = False
    p.grad = wg.from_numpy(np.zeros((3, 4), np.float32))
    p.grad._value = readonly
    run()
    assert p.grad.tolist() == [[2.0] * 4] * 3
    assert not readonly.any()


def test_a_gradient_that_changes_hands():
    """A program writes to the tensor that is there in that call."""
    p = wg.tensor([1.0, 2.0], requires_grad=True)
    run = wg.compile(lambda: (p * 2).sum().backward())
    run()
    run()
    seen = []
    for k in range(3):
        p.grad = wg.full((2,), float(k))
        seen.append(p.grad)
        run()
    assert [g.tolist() for g in seen] == [[2.0] * 2, [3.0] * 2, [4.0] * 2]


def test_check_runs_both_on_the_same():
    net = mlp()

    def step(x):
        net(x).square().mean().backward()

    run = wg.compile(step, check=True)
    for _ in range(3):
        run(wg.ones(4, 40))
    expected = mlp()
    for _ in range(3):
        expected(wg.ones(4, 40)).square().mean().backward()
    for p, q in zip(net.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)


def _before(net: Any) -> list[np.ndarray]:
    return [x.detach().numpy().copy() for p in net.parameters() for x in (p, p.grad)]


def test_a_bad_index_changes_no_gradient():
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
    optimizer = wg.optim.SGD(net.parameters(), lr=0.1)
    table = nn.Parameter(wg.randn(7, 5))

    def step(x, shift):
        out = net(x)
        place = out.argmax(1) * 0 + shift
        (out * table[place]).sum().backward()
        optimizer.step()

    run = wg.compile(step)
    x = wg.randn(4, 6)
    for _ in range(3):
        run(x, wg.tensor(2))
    held, before = [p.grad for p in net.parameters()], _before(net)
    table_before = table.grad.numpy().copy()
    with pytest.raises(wg.errors.IndexRangeError):
        run(x, wg.tensor(9))
    for a, b in zip(before, _before(net), strict=True):
        np.testing.assert_array_equal(b, a)
    np.testing.assert_array_equal(table.grad.numpy(), table_before)
    assert all(h is p.grad for h, p in zip(held, net.parameters(), strict=True))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupts itself by a timer")
def test_an_interrupt_changes_no_gradient():
    net = nn.Linear(64, 64)

    def step(x, n):
        x = wg.while_loop(lambda c, i: i < n, lambda c, i: (wg.tanh(c), i + 1), (x, wg.zeros((), dtype=wg.int64)))[0]
        net(x).square().sum().backward()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    run, x = wg.compile(step), wg.randn(3, 64)
    for _ in range(3):
        run(x, wg.tensor(3))
    before = _before(net)
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            run(x, wg.tensor(1 << 40))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    for a, b in zip(before, _before(net), strict=True):
        np.testing.assert_array_equal(b, a)
    run(x, wg.tensor(3))
    assert not np.array_equal(net.weight.grad.numpy(), before[1])

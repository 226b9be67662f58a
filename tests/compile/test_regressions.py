"""What compiled functions once did otherwise than eager ones: each test is the smallest program that showed it."""

from __future__ import annotations

import gc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import functional as F
from wengert.testing.compiled import as_eager


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


@pytest.mark.slow
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


# -- what changes between calls --------------------------------------------------------------------


def trained(compiler, change, n=6, make=net_and_step):
    """Losses and weights of steps between which ``change(k, net, optimizer)`` happens."""
    net, optimizer, step = make(compiler)
    seen = []
    for k, (x, y) in enumerate(batches(n)):
        change(k, net, optimizer)
        seen += [step(x, y), *state_of(net)]
    return seen


def freeze(k, net, optimizer):
    net[0].weight.requires_grad_(k not in (2, 3))


def unfreeze(k, net, optimizer):
    net[0].requires_grad_(k > 2)


def swap_a_layer(k, net, optimizer):
    if k == 2:
        net[0] = nn.Linear(4, 8)


def swap_a_parameter(k, net, optimizer):
    if k == 2:
        net[0].weight = nn.Parameter(wg.ones(8, 4))
    if k == 4:
        net[2].bias = None


def load_by_assignment(k, net, optimizer):
    if k == 2:
        net.load_state_dict({name: wg.ones(*x.shape) for name, x in net.state_dict().items()}, assign=True)


def hook_a_module(k, net, optimizer):
    if k == 2:
        net[0].register_forward_hook(lambda module, args, out: out * 2)


def hook_a_tensor(k, net, optimizer):
    if k == 2:
        net.hooked = net[0].weight.register_hook(lambda g: g * 0)
    if k == 4:
        net.hooked.remove()


def assign_data(k, net, optimizer):
    if k == 2:
        net[0].weight.data = wg.ones(4, 8).t()


@pytest.mark.quick(change=[swap_a_parameter])
@pytest.mark.parametrize(
    "change",
    [freeze, unfreeze, swap_a_layer, swap_a_parameter, load_by_assignment, hook_a_module, hook_a_tensor, assign_data],
)
def test_what_changes_between_calls(change):
    as_eager(lambda compiler: trained(compiler, change))


def test_a_parameter_group_is_added():
    def some_of_it(compiler):
        net, _, _ = net_and_step(lambda f: f)
        optimizer = wg.optim.Adam(net[0].parameters(), lr=0.01)

        @compiler
        def step(x, y):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return net, optimizer, step

    def add(k, net, optimizer):
        if k == 2:
            optimizer.add_param_group({"params": list(net[2].parameters()), "lr": 0.1})

    as_eager(lambda compiler: trained(compiler, add, make=some_of_it))


@pytest.mark.slow
def test_attributes_of_modules_and_variables_around_the_function():
    def scenario(compiler):
        net, factor, seen = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)), 1, []
        f = compiler(lambda x: net(x).detach() * factor)
        for k in range(4):
            net[1].p, factor = 0.1 * k, k // 2
            seen.append(f(wg.ones(2, 4)))
        net.double()
        return [*seen, f(wg.ones(2, 4, dtype=wg.float64))]

    as_eager(scenario)


def test_a_reason_is_given_and_equal_calls_are_not_compiled_again():
    net = nn.Linear(4, 3)
    f = wg.compile(lambda x: net(x).detach())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(wg.ones(2, 4))
        nn.Linear(2, 2)  # something has changed, but nothing that matters here
        f(wg.ones(2, 4))
    net.weight = nn.Parameter(wg.ones(3, 4))
    with pytest.warns(wg.RecompileWarning, match="parameters of Linear have changed"):
        f(wg.ones(2, 4))
    assert sum(map(len, f.steps.values())) == 2


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda x, i: F.embedding(i, x),
        lambda x, i: x[i],
        lambda x, i: x[:, i - 1],
        lambda x, i: x.gather(0, i[:, None].expand(3, 4)),
        lambda x, i: F.nll_loss(x[:3], i),
        lambda x, i: wg.zeros(4, 4).index_add(0, i, x[:3]),
        lambda x, i: x.index_put((i,), wg.ones(4)),
    ],
)
def test_an_index_out_of_range_changes_nothing(use):
    w = nn.Parameter(wg.ones(4, 4))
    optimizer, calls = wg.optim.SGD([w], lr=0.1), wg.tensor(0)

    @wg.compile
    def step(i):
        calls.add_(1)
        optimizer.zero_grad()
        use(w, i).sum().backward()
        optimizer.step()

    step(wg.tensor([1, 2, 3]))
    before = w.detach().clone(), w.grad.clone()
    with pytest.raises(wg.errors.IndexRangeError, match=r"index 9|index 8"):
        step(wg.tensor([1, 9, 3]))
    with pytest.raises(wg.errors.IndexRangeError):
        step(wg.tensor([1, -9, 3]))
    assert bool((w == before[0]).all()) and bool((w.grad == before[1]).all()) and int(calls) == 1


@pytest.mark.parametrize("divide", [lambda x, y: x // y, lambda x, y: x % y, lambda x, y: wg.fmod(x, y)])
def test_integer_division_by_zero(divide):
    f = wg.compile(divide)
    assert f(wg.tensor([7, -7]), wg.tensor([2, 2])).tolist() == divide(wg.tensor([7, -7]), wg.tensor([2, 2])).tolist()
    with pytest.raises(wg.errors.ArgumentError, match="division by zero"):
        f(wg.tensor([7, -7]), wg.tensor([2, 0]))


def test_what_numpy_computes_fails_before_anything_is_written():
    w, calls = nn.Parameter(wg.ones(3, 3)), wg.tensor(0)
    optimizer = wg.optim.SGD([w], lr=0.1)

    @wg.compile
    def step(x):
        calls.add_(1)
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
        return wg.linalg.cholesky(x)

    step(wg.eye(3))
    before = w.detach().clone()
    with pytest.raises(wg.errors.WengertError, match="positive definite"):
        step(-wg.eye(3))
    assert bool((w == before).all()) and int(calls) == 1


def test_an_error_while_tracing_leaves_everything_as_it_was():
    net, _, _ = net_and_step(lambda f: f)
    optimizer, calls, before = wg.optim.Adam(net.parameters()), wg.zeros(3), state_of(net)

    @wg.compile
    def step(x):
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()
        calls.zero_().add_(wg.rand(3))
        raise ValueError("stop")

    drawn = wg.get_rng_state()
    with pytest.raises(ValueError, match="stop"):
        step(wg.ones(2, 4))
    for a, b in zip([*state_of(net), calls, wg.get_rng_state()], [*before, wg.zeros(3), drawn], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert net[0].weight.grad is None


def test_a_compiled_function_goes_with_its_model():
    def used():
        net, _, step = net_and_step(wg.compile)
        predict = wg.compile(net)
        for x, y in batches(2):
            step(x, y)
            predict(x).sum().backward()
        return [weakref.ref(x) for x in (net, net[0].weight, step, predict, step.latest, predict.compiled.latest)]

    refs = used()
    gc.collect()
    assert [r() for r in refs] == [None] * 6


def test_threads_may_call_one_function_at_once():
    f = wg.compile(lambda x: (x.sort(0)[0] * 2, x @ x.t(), x.sum()))
    xs = [wg.tensor(np.random.default_rng(i).normal(size=(6, 4))) for i in range(6)]
    f(xs[0])

    def work(x):
        for _ in range(50):
            a, b, c = f(x)
            np.testing.assert_allclose(a.numpy(), np.sort(x.numpy(), 0) * 2)
            np.testing.assert_allclose(b.numpy(), x.numpy() @ x.numpy().T)
            np.testing.assert_allclose(c.numpy(), x.numpy().sum())

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, xs))


def test_an_optimizer_that_looks_at_its_rate_and_averages_over_all_batches():
    def scenario(compiler):
        net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3, momentum=None))
        optimizer = wg.optim.Rprop(net.parameters(), lr=0.01)

        @compiler
        def step(x, y):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return [(step(*b), net[1].running_mean.clone(), net[1].running_var.clone()) for b in batches(4)]

    as_eager(scenario, 1e-4)


def test_attributes_that_a_method_reads():
    class Scaled:
        def __init__(self):
            self.weight, self.factor, self.unread = wg.ones(3), 1, 0

        def __call__(self, x):
            return self.weight * x * self.factor

    def scenario(compiler):
        owner = Scaled()
        f = compiler(owner.__call__)
        seen = [f(wg.ones(3))]
        owner.factor = 3
        seen.append(f(wg.ones(3)))
        owner.weight = wg.full((3,), 4.0)
        return [*seen, f(wg.ones(3))]

    as_eager(scenario)


def test_a_value_that_does_not_line_up_with_a_group_of_rows_stays_out_of_it():
    # Asking whether it would fit made a root of a value that no kernel computed.
    x, index = wg.randn(64, 7, 1, 7), wg.arange(3136).flip(0)

    def f(x):
        normed = F.layer_norm(x, (7,))
        return normed, wg.zeros(3136).index_add(0, index, x.permute(3, 0, 2, 1).reshape(3136))

    for found, expected in zip(wg.compile(f)(x), f(x), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::wengert.RecompileWarning")
def test_a_step_with_targets_takes_a_smaller_last_batch():
    # the look at the targets came before anybody had seen that the shapes are others
    step = wg.compile(lambda x, y: F.cross_entropy(x, y))
    for n in (4, 4, 3, 4, 4):
        x, y = wg.randn(n, 5), wg.randint(0, 5, (n,))
        assert wg.allclose(step(x, y), F.cross_entropy(x, y))
    x, y = wg.randn(4, 5), wg.rand(4, 5).softmax(1)
    assert wg.allclose(step(x, y), F.cross_entropy(x, y))
    both = wg.compile(lambda x, i: x[i.long()])
    for i in (wg.tensor([1, 0]), wg.tensor([1, 0]), wg.tensor([1.5, 0.0]), wg.tensor([1, 0], dtype=wg.int32)):
        assert wg.equal(both(x, i), x[i.long()])


def test_an_operand_whose_movements_no_product_can_follow():
    """It was tried whether the value behind them had memory, and remembered after that was given up."""

    def f(x, w):
        return x.tanh().permute(0, 2, 1).reshape(8, 3) @ w

    compiled, x, w = wg.compile(f), wg.randn(2, 3, 4), wg.randn(3, 5)
    np.testing.assert_allclose(compiled(x, w).numpy(), f(x, w).numpy(), rtol=1e-5, atol=1e-6)
    assert compiled.latest.program.native

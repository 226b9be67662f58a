"""Optimizers: parameter groups, closures, state dictionaries, arguments that are refused."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest

import wengert as wg
from wengert import nn, optim

METHODS = pytest.mark.parametrize("method", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad])
EVERY = [m for m in vars(optim).values() if isinstance(m, type) and issubclass(m, optim.Optimizer)]
EVERY.remove(optim.Optimizer)


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(wg.tensor(values or (1.0, 2.0)))


@pytest.mark.slow
@METHODS
def test_all_methods_find_the_bottom_of_a_bowl(method: Any) -> None:
    p = parameter(3.0, -2.0)
    optimizer = method([p], lr=1.0 if method is optim.Adagrad else 0.1)
    for _ in range(500):
        optimizer.zero_grad()
        ((p - wg.tensor([1.0, 1.0])) ** 2).sum().backward()
        optimizer.step()
    assert p.tolist() == pytest.approx([1.0, 1.0], abs=0.15)


@METHODS
def test_parameters_without_gradient_stay(method: Any) -> None:
    p, q = parameter(), parameter()
    optimizer = method([p, q])
    p.grad = wg.ones(2)
    optimizer.step()
    assert p.tolist() != [1.0, 2.0]
    assert q.tolist() == [1.0, 2.0]
    assert optimizer.state_dict()["state"].get(1, {}) == {}


@METHODS
def test_a_step_keeps_gradient_and_leaf(method: Any) -> None:
    p = parameter()
    p.grad = wg.tensor([1.0, -1.0])
    optimizer = method([p], weight_decay=0.1, maximize=True)
    optimizer.step()
    assert p.grad.tolist() == [1.0, -1.0]
    assert p.is_leaf
    assert p.requires_grad
    assert not any(v.requires_grad for v in optimizer.state[p].values())


def test_a_state_dict_taken_before_sees_the_step() -> None:
    net = nn.Linear(1, 1, bias=False)
    saved = net.state_dict()
    net.weight.grad = wg.ones(1, 1)
    before = saved["weight"].item()
    optim.SGD(net.parameters(), lr=1.0).step()
    assert saved["weight"].item() == pytest.approx(before - 1.0)


def test_an_old_graph_keeps_the_old_values() -> None:
    p = parameter(3.0)
    loss = (p * p).sum()
    with wg.no_grad():
        p.fill_(10.0)
    loss.backward()
    assert p.grad.tolist() == [6.0]


def test_closure() -> None:
    p = parameter(1.0)
    optimizer = optim.SGD([p], lr=0.5)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with wg.no_grad():  # the closure records all the same
        assert optimizer.step(closure).item() == 1.0
    assert p.tolist() == [0.0]
    assert optimizer.step() is None


def test_zero_grad() -> None:
    p, q = parameter(), parameter()
    optimizer = optim.SGD([p, q])
    p.grad = wg.ones(2)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    assert q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_zeros_are_written_into_the_gradient_that_is_there() -> None:
    p = parameter()
    p.grad = kept = wg.ones(2)
    optim.SGD([p]).zero_grad(set_to_none=False)
    assert kept.tolist() == [0.0, 0.0]


# --- groups --------------------------------------------------------------------------------------------


def test_groups_take_defaults_and_own_options() -> None:
    p, q, r = parameter(), parameter(), parameter()
    optimizer = optim.SGD([{"params": [p], "lr": 0.5}, {"params": q}], lr=0.1, momentum=0.9)
    optimizer.add_param_group({"params": (r,), "weight_decay": 0.3})
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.1, 0.1]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0, 0, 0.3]
    assert [g["params"] for g in optimizer.param_groups] == [[p], [q], [r]]
    optimizer.param_groups[1]["lr"] = 7.0
    p.grad, q.grad = wg.ones(2), wg.ones(2)
    optimizer.step()
    assert p.tolist() == [0.5, 1.5]
    assert q.tolist() == [-6.0, -5.0]


def test_named_parameters() -> None:
    net = nn.Linear(2, 1)
    optimizer = optim.Adam(net.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["params"] == [0, 1]
    with pytest.raises(ValueError, match="all param groups should be with/without names"):
        optimizer.add_param_group({"params": [parameter()]})
    with pytest.raises(ValueError, match="all optimizer params should be with/without names"):
        optim.Adam([parameter(), ("a", parameter())])


def test_repr() -> None:
    text = repr(optim.SGD([parameter()], lr=0.5))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.5\n")
    assert text.endswith(")")


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        (lambda p: p, TypeError, "should be an iterable of Tensors or dicts: a Tensor. Put it in a list"),
        (lambda p: [], ValueError, "SGD: optimizer got an empty parameter list"),
        (
            lambda p: [1.0],
            TypeError,
            "optimizer can only optimize Tensors, but one of the params is: <class 'float'>",
        ),
        (lambda p: [p * 2], ValueError, "can't optimize a non-leaf Tensor"),
        (lambda p: [{"params": {p}}], TypeError, "need to be organized in ordered collections"),
        (lambda p: [{"params": [p]}, {"params": [p]}], ValueError, "appear in more than one parameter group"),
        (lambda p: [p, p], ValueError, "a parameter group contains duplicate parameters"),
        (lambda p: [{"params": [p]}, [p]], TypeError, "param_group must be a dict"),
    ],
)
def test_refused_parameters(params: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        optim.SGD(params(parameter()), lr=0.1)


def test_a_refused_group_changes_nothing() -> None:
    p = parameter()
    optimizer = optim.SGD([p], lr=0.1)
    group = {"params": [parameter()], "lr": -1.0}
    with pytest.raises(ValueError, match="Invalid learning rate"):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    assert list(group) == ["params", "lr"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: optim.SGD(p, lr=-0.1), "SGD: Invalid learning rate: -0.1. It must be at least 0"),
        (lambda p: optim.SGD(p, lr=float("nan")), "SGD: Invalid learning rate: nan"),
        (lambda p: optim.SGD(p, momentum=-1), "SGD: Invalid momentum value: -1"),
        (lambda p: optim.SGD(p, weight_decay=-1), "SGD: Invalid weight_decay value: -1"),
        (
            lambda p: optim.SGD(p, nesterov=True),
            "SGD: Nesterov momentum requires a momentum and zero dampening",
        ),
        (lambda p: optim.Adam(p, lr=-1.0), "Adam: Invalid learning rate: -1.0"),
        (lambda p: optim.Adam(p, eps=-1.0), "Adam: Invalid epsilon value: -1.0"),
        (lambda p: optim.Adam(p, betas=(1.0, 0.9)), "Adam: Invalid beta parameter at index 0: 1.0"),
        (lambda p: optim.AdamW(p, betas=(0.9, -0.1)), "AdamW: Invalid beta parameter at index 1: -0.1"),
        (lambda p: optim.AdamW(p, weight_decay=-1), "AdamW: Invalid weight_decay value: -1"),
        (lambda p: optim.RMSprop(p, alpha=-1), "RMSprop: Invalid alpha value: -1"),
        (lambda p: optim.RMSprop(p, momentum=-1), "RMSprop: Invalid momentum value: -1"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), "Adagrad: Invalid lr_decay value: -1"),
        (
            lambda p: optim.Adagrad(p, initial_accumulator_value=-1),
            "Adagrad: Invalid initial_accumulator_value value",
        ),
        (lambda p: optim.Adam(p, differentiable=True), "Adam: differentiable=True is not supported"),
    ],
)
def test_refused_options(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        make([parameter()])


def test_torchs_switches_between_implementations_are_taken() -> None:
    optim.SGD([parameter()], foreach=True, fused=False)
    optim.AdamW([parameter()], foreach=False, fused=True, capturable=True)


# --- own methods ---------------------------------------------------------------------------------------


def test_own_method_by_update() -> None:
    class Sign(optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
            param.add_(grad.sign(), alpha=-group["lr"])

    p = parameter()
    p.grad = wg.tensor([3.0, -0.1])
    Sign([p], lr=0.5).step()
    assert p.tolist() == [0.5, 2.5]


def test_own_method_by_step() -> None:
    class Plain(optim.Optimizer):
        def step(self, closure: Any = None) -> None:
            with wg.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p -= group["lr"] * p.grad

    p = parameter()
    p.grad = wg.ones(2)
    optimizer = Plain([p], {"lr": 0.5})
    optimizer.step()
    optim.lr_scheduler.StepLR(optimizer, 1).step()  # no warning: it has stepped
    assert p.tolist() == pytest.approx([0.5, 1.5])


def test_required_option() -> None:
    with pytest.raises(ValueError, match="didn't specify a value of required optimization parameter lr"):
        optim.Optimizer([parameter()], {"lr": optim.optimizer.required})
    p = parameter()
    p.grad = wg.ones(2)
    optimizer = optim.Optimizer([p], {})
    with pytest.raises(NotImplementedError, match="Optimizer defines neither update nor step"):
        optimizer.step()


# --- state ---------------------------------------------------------------------------------------------


def trained(p: nn.Parameter, steps: int, optimizer: optim.Optimizer | None = None) -> optim.Optimizer:
    optimizer = optimizer or optim.Adam([p], lr=0.1, amsgrad=True)
    for _ in range(steps):
        optimizer.zero_grad()
        (p**3).sum().backward()
        optimizer.step()
    return optimizer


def test_state_dict_resumes_exactly() -> None:
    p = parameter()
    optimizer = trained(p, 3)
    q = nn.Parameter(p.detach().clone())
    other = optim.Adam([q], lr=9.0, amsgrad=True)
    other.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    assert other.param_groups[0]["lr"] == 0.1
    assert other.param_groups[0]["params"][0] is q
    trained(p, 3, optimizer)
    trained(q, 3, other)
    assert p.tolist() == q.tolist()


def test_loaded_state_is_a_copy_in_the_parameters_dtype() -> None:
    optimizer = trained(parameter(), 2)
    q = nn.Parameter(wg.ones(2, dtype=wg.float64))
    other = optim.Adam([q], amsgrad=True)
    other.load_state_dict(optimizer.state_dict())
    assert other.state[q]["exp_avg"].dtype == wg.float64
    assert other.state[q]["step"].dtype == wg.float32
    other.state[q]["exp_avg"].zero_()
    assert all(optimizer.state_dict()["state"][0]["exp_avg"].tolist())


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([{"params": [0]}, {"params": [1]}], "different number of parameter groups: 2 loaded, 1 here"),
        ([{"params": [0, 1]}], "doesn't match the size of optimizer's group: 2 parameters loaded, 1 here"),
    ],
)
def test_load_refuses_other_groups(groups: Any, words: str) -> None:
    optimizer = trained(parameter(), 1)
    before = repr(optimizer.state_dict())
    with pytest.raises(ValueError, match=re.escape(words)):
        optimizer.load_state_dict({"state": {}, "param_groups": groups})
    assert repr(optimizer.state_dict()) == before


def test_model_and_optimizer_copied_together_stay_together() -> None:
    p = parameter()
    optimizer = trained(p, 2)
    q, other = copy.deepcopy((p, optimizer))
    assert other.param_groups[0]["params"][0] is q
    trained(p, 2, optimizer)
    assert q.tolist() != p.tolist()
    trained(q, 2, other)
    assert q.tolist() == p.tolist()


def test_options_may_be_switched_on_later() -> None:
    p = parameter()
    optimizer = trained(p, 1, optim.Adam([p]))
    optimizer.param_groups[0]["amsgrad"] = True
    trained(p, 1, optimizer)
    optimizer = trained(p, 1, optim.RMSprop([p]))
    optimizer.param_groups[0].update(momentum=0.9, centered=True)
    trained(p, 1, optimizer)
    assert all(map(bool, p.isfinite().tolist()))


# --- every method --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", EVERY)
def test_every_method_goes_down_and_resumes(method: Any) -> None:
    def closure(p: Any, optimizer: Any) -> Any:
        optimizer.zero_grad()
        loss = ((p - 3.0) ** 2).sum()
        loss.backward()
        return loss

    def run(p: Any, optimizer: Any, steps: int) -> float:
        for _ in range(steps):
            loss = optimizer.step(lambda: closure(p, optimizer))
        return loss.item()

    p = nn.Parameter(wg.ones(2, 3))
    options: dict[str, Any] = {} if method in (optim.LBFGS, optim.Adadelta) else {"lr": 0.05}
    optimizer = method([p], **options)
    first = run(p, optimizer, 1)
    run(p, optimizer, 4)
    q = nn.Parameter(p.detach().clone())
    other = method([q], **options)
    other.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    assert run(p, optimizer, 3) == run(q, other, 3) < first
    assert p.tolist() == q.tolist()
    assert copy.deepcopy(optimizer).state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


@pytest.mark.parametrize("method", [m for m in EVERY if m is not optim.LBFGS])
def test_rate_may_be_a_tensor(method: Any) -> None:
    ends = []
    for lr in (0.125, wg.tensor(0.125)):
        p = nn.Parameter(wg.ones(2, 2))
        optimizer = method([p], lr=lr)
        for _ in range(3):
            p.grad = wg.tensor([[1.0, -2.0], [0.5, 3.0]])
            optimizer.step()
        ends.append(p.tolist())
    assert ends[0] == ends[1]
    with pytest.raises(ValueError, match=r"Tensor lr must be 1-element|Invalid learning rate"):
        method([p], lr=wg.tensor([0.1, 0.2]) if method is not optim.SparseAdam else wg.tensor(-1.0))
    with pytest.raises(ValueError, match="Invalid learning rate"):
        method([p], lr=-0.1)


@pytest.mark.quick(recorded=[False])
@pytest.mark.parametrize(
    "method", [m for m in EVERY if m not in (optim.LBFGS, optim.Muon, optim.Adafactor, optim.SparseAdam, optim.LAMB)]
)
@pytest.mark.parametrize("recorded", [False, True])
def test_complex_numbers_are_pairs_of_real_ones(method: Any, recorded: bool) -> None:
    z, x = nn.Parameter(wg.tensor([1 + 2j, -1 + 0.5j])), nn.Parameter(wg.tensor([[1.0, 2.0], [-1.0, 0.5]]))
    a, b = method([z]), method([x])
    for _ in range(3):
        z.grad, x.grad = wg.tensor([0.5 - 1j, 2 + 0.1j]), wg.tensor([[0.5, -1.0], [2.0, 0.1]])
        if recorded:
            with wg.record():
                a.step()
        else:
            a.step()
        b.step()
    assert wg.view_as_real(z.detach()).reshape(-1).tolist() == pytest.approx(x.reshape(-1).tolist(), rel=1e-6)


@pytest.mark.parametrize("method", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.NAdam, optim.Rprop])
def test_blocks_and_scratch_memory_change_nothing(method: Any, monkeypatch: Any) -> None:
    ends = []
    for block, small in ((10**9, 10**9), (7, 2), (1000, 1)):
        monkeypatch.setattr(optim.common, "BLOCK", block)
        monkeypatch.setattr(optim.common, "SMALL", small)
        monkeypatch.setattr(optim.common._SCRATCH, "arrays", {})
        p = nn.Parameter(wg.linspace(-1, 1, 30).reshape(5, 6).clone())
        optimizer = method([p])
        for k in range(3):
            p.grad = wg.linspace(k, 2, 30).reshape(6, 5).T
            optimizer.step()
        ends.append(p.reshape(-1).tolist())
    assert ends[0] == pytest.approx(ends[1], rel=1e-6) == ends[2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: optim.Adadelta(p, rho=1.5), "Adadelta: Invalid rho value: 1.5"),
        (lambda p: optim.Rprop(p, etas=(1.5, 1.2)), "Rprop: Invalid eta values: 1.5, 1.2"),
        (lambda p: optim.Adafactor(p, d=0.5), "Adafactor: Invalid clipping threshold d: 0.5"),
        (lambda p: optim.Adafactor(p, beta2_decay=1), "beta2_decay should be <= 0: 1"),
        (lambda p: optim.NAdam(p, momentum_decay=-1), "Invalid momentum_decay value"),
        (lambda p: optim.SparseAdam(p, lr=0.0), "SparseAdam: Invalid learning rate: 0.0. It must be above 0"),
        (lambda p: optim.Muon(p), "Muon: only 2D parameters are supported: size (2,)"),
        (lambda p: optim.Muon(p, adjust_lr_fn="x"), "Adjust learning rate function x is not supported"),
        (lambda p: optim.LBFGS([{"params": p}, {"params": [parameter()]}]), "doesn't support per-parameter options"),
        (lambda p: optim.LBFGS(p, line_search_fn="x"), "only 'strong_wolfe' is supported: 'x'"),
        (lambda p: optim.LBFGS(p).step(), "a closure is needed"),
    ],
)
def test_more_refused_options(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        make([parameter()])


def test_complex_parameters_are_refused() -> None:
    for method in (optim.Adafactor, optim.SparseAdam, optim.LAMB, optim.Muon):
        with pytest.raises(TypeError, match="complex parameters are not supported"):
            method([nn.Parameter(wg.tensor([[1j]]))])


# --- hooks ---------------------------------------------------------------------------------------------


def test_step_hooks() -> None:
    seen: list[str] = []
    p = parameter()
    p.grad = wg.ones(2)
    for optimizer in (optim.SGD([p]), optim.LBFGS([p])):
        handles = [
            optim.register_optimizer_step_pre_hook(lambda o, args, kwargs: seen.append("all pre")),
            optim.register_optimizer_step_post_hook(lambda o, args, kwargs: seen.append("all post")),
            optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append(f"pre {len(args)}")),
            optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("post")),
        ]
        optimizer.step(lambda: (p * p).sum())
        assert seen == ["all pre", "pre 2", "post", "all post"]
        for handle in handles:
            handle.remove()
        optimizer.step(lambda: (p * p).sum())
        assert len(seen) == 4
        seen.clear()
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(ValueError, match="must return None or a tuple of"):
        optimizer.step(lambda: (p * p).sum())


def test_hooks_may_change_arguments_and_states() -> None:
    p = parameter(1.0)
    optimizer = trained(p, 1)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: wg.tensor(7.0)), {}))
    assert optimizer.step().item() == 7.0
    seen: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("pre"))
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "note": 1})
    optimizer.register_load_state_dict_pre_hook(lambda o, state: seen.append(state.pop("note")))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    assert seen == ["pre", 1, "loaded"]
    assert state["note"] == 1
    assert "note" not in copy.deepcopy(optimizer).state_dict()  # hooks stay with their optimizer


# --- traced --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in EVERY if m is not optim.LBFGS])
def test_traced_steps_are_the_same(method: Any) -> None:
    """The step count and all that follows from it are part of the graph."""
    optimizer = method([nn.Parameter(wg.ones(2, 3))], lr=0.1)

    def steps(x: Any, g: Any) -> Any:
        x, state = x.clone(), {}
        with wg.no_grad():
            for k in range(7):
                optimizer.update(x, g * (k + 1), state, optimizer.param_groups[0])
        return x * 1

    x, g = wg.tensor([[0.5, -0.3, 2.0], [1.0, 0.2, -1.0]]), wg.tensor([[0.1, -0.3, 0.7], [0.0, 0.2, -0.4]])
    # RAdam's length of the average is a small difference of large numbers, here in float32.
    tolerance = 1e-5 if method is optim.RAdam else 1e-6
    traced = wg.trace(steps, x, g)(x, g)
    assert traced.reshape(-1).tolist() == pytest.approx(steps(x, g).reshape(-1).tolist(), rel=tolerance, abs=tolerance)

"""Module: registration, walking, modes, dtypes, copies, text."""

from __future__ import annotations

import copy
import pickle
import re
from collections import OrderedDict
from typing import Any

import pytest

import wengert as wg
from wengert import nn
from wengert.config import STATE


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.act = nn.Tanh()

    def forward(self, x: Any) -> Any:
        return self.act(self.linear(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Block()
        self.scale = nn.Parameter(wg.full((3,), 2.0))
        self.layers = nn.ModuleList([Block(), Block()])
        self.tied = self.first
        self.register_buffer("mean", wg.zeros(3))
        self.register_buffer("scratch", wg.zeros(1), persistent=False)
        self.note = "plain"

    def forward(self, x: Any) -> Any:
        x = self.first(x) * self.scale
        for layer in self.layers:
            x = layer(x)
        return self.tied(x) - self.mean


class ScopeProbe(nn.Module):
    """Notes the scope in which it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, ...]] = []

    def forward(self, x: Any) -> Any:
        self.seen.append(STATE.scope)
        return x


# --- registration --------------------------------------------------------------------------------------


def test_attributes_register_themselves() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [
        "scale", "first.linear.weight", "first.linear.bias", "layers.0.linear.weight", "layers.0.linear.bias",
        "layers.1.linear.weight", "layers.1.linear.bias",
    ]  # fmt: skip
    assert [name for name, _ in net.named_buffers()] == ["mean", "scratch"]
    assert "note" in net.__dict__
    assert "scale" not in net.__dict__
    assert {"scale", "mean", "first", "forward"} <= set(dir(net))


def test_what_is_shared_comes_once() -> None:
    net = Net()
    assert len(list(net.parameters())) == 7
    assert len(list(net.named_parameters(remove_duplicate=False))) == 9
    assert [name for name, _ in net.named_children()] == ["first", "layers"]
    assert [name for name, _ in net.named_modules()] == [
        "", "first", "first.linear", "first.act", "layers", "layers.0", "layers.0.linear", "layers.0.act",
        "layers.1", "layers.1.linear", "layers.1.act",
    ]  # fmt: skip
    assert net.tied is net.first
    assert "tied.linear.weight" in net.state_dict()


def test_named_parameters_of_one_level_and_with_prefix() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert [name for name, _ in net.named_parameters(prefix="net")][1] == "net.first.linear.weight"


def test_assigning_over_changes_the_kind() -> None:
    net = Net()
    net.note = nn.Parameter(wg.ones(1))
    assert "note" not in net.__dict__
    assert "note" in dict(net.named_parameters())
    net.note = nn.ReLU()
    assert "note" not in dict(net.named_parameters())
    assert net.get_submodule("note") is net.note
    del net.note
    assert not hasattr(net, "note")
    net.mean = wg.ones(3)
    assert dict(net.named_buffers())["mean"].tolist() == [1.0] * 3
    net.scale = None
    assert net.scale is None
    assert "scale" not in dict(net.named_parameters())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("scale", 3.0, "Net: cannot assign 'float' as parameter 'scale' (Parameter or None expected)"),
        ("first", 3.0, "Net: cannot assign 'float' as module 'first' (Module or None expected)"),
        ("mean", 3.0, "Net: cannot assign 'float' as buffer 'mean' (Tensor or None expected)"),
    ],
)
def test_assigning_the_wrong_kind(name: str, value: Any, words: str) -> None:
    net = Net()
    before = getattr(net, name)
    with pytest.raises(TypeError, match=re.escape(words)):
        setattr(net, name, value)
    assert getattr(net, name) is before


def test_a_plain_tensor_is_no_parameter() -> None:
    with pytest.raises(TypeError, match=r"cannot assign 'Tensor' as parameter 'scale'.*nn\.Parameter\(value\)"):
        Net().scale = wg.ones(3)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (3, TypeError, "name should be a string. Got int"),
        ("a.b", KeyError, "name can't contain"),
        ("", KeyError, "name can't be empty"),
        ("forward", KeyError, "attribute 'forward' already exists"),
        ("note", KeyError, "attribute 'note' already exists"),
    ],
)
def test_bad_names(name: Any, error: type[Exception], words: str) -> None:
    net = Net()
    for register, value in (
        (net.register_parameter, nn.Parameter(wg.ones(1))),
        (net.register_buffer, wg.ones(1)),
        (net.add_module, nn.ReLU()),
    ):
        with pytest.raises(error) as caught:
            register(name, value)
        assert words in caught.value.args[0]


def test_registering_the_wrong_kind() -> None:
    net = Net()
    for register, value in (
        (net.register_parameter, wg.ones(1)),
        (net.register_buffer, 1),
        (net.add_module, 1),
    ):
        with pytest.raises(TypeError, match="cannot assign"):
            register("new", value)


@pytest.mark.parametrize("value", [nn.ReLU(), nn.Parameter(wg.ones(1))], ids=["module", "parameter"])
def test_forgotten_super_init(value: Any) -> None:
    class Forgot(nn.Module):
        def __init__(self) -> None:
            self.part = value

    with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call. Call super\(\).__init__\(\) first"):
        Forgot()


def test_forgotten_super_init_and_called() -> None:
    class Forgot(nn.Module):
        def __init__(self) -> None:
            self.size = 3

        def forward(self, x: Any) -> Any:
            return x

    with pytest.raises(AttributeError, match=r"Forgot: cannot be used before Module.__init__\(\) call"):
        Forgot()(1)


def test_missing_attribute_and_missing_forward() -> None:
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        Net().nothing  # noqa: B018
    with pytest.raises(NotImplementedError, match="Module: the module has no forward method"):
        nn.Module()(1)


# --- looking up ----------------------------------------------------------------------------------------


def test_paths() -> None:
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("layers.1.act") is net.layers[1].act
    assert net.get_parameter("layers.1.linear.bias") is net.layers[1].linear.bias
    assert net.get_buffer("mean") is net.mean


@pytest.mark.parametrize(
    ("get", "path", "words"),
    [
        ("get_submodule", "layers.7.act", "ModuleList has no attribute `7`"),
        ("get_submodule", "note", "Net has, but not as a module, `note`"),
        ("get_parameter", "layers.1.linear.gain", "Linear has no attribute `gain`"),
        ("get_parameter", "mean", "`mean` is not an nn.Parameter"),
        ("get_buffer", "scale", "`scale` is not a buffer"),
    ],
)
def test_bad_paths(get: str, path: str, words: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(words)):
        getattr(Net(), get)(path)


# --- calling -------------------------------------------------------------------------------------------


def test_scope_is_the_path() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.probe = ScopeProbe()
            self.body = nn.Sequential(self.probe, nn.Identity())
            self.layers = nn.ModuleList([nn.Identity(), ScopeProbe()])
            self.heads = nn.ModuleDict({"a": ScopeProbe()})

        def forward(self, x: Any) -> Any:
            return self.heads["a"](self.layers[1](self.body(x)))

    net = Outer()
    net(1)
    assert net.probe.seen == [("Outer", "body", "0")]
    assert net.layers[1].seen == [("Outer", "layers.1")]
    assert net.heads["a"].seen == [("Outer", "heads.a")]
    assert STATE.scope == ()


def test_scope_is_restored_after_an_error() -> None:
    def fail(x: Any) -> Any:
        raise ZeroDivisionError

    net = nn.Sequential(nn.Identity())
    net[0].forward = fail
    with pytest.raises(ZeroDivisionError):
        net(1)
    assert STATE.scope == ()


def test_nodes_know_their_module() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    assert net(wg.ones(1, 2)).node.scope == ("Sequential", "1")


# --- modes, gradients, dtypes --------------------------------------------------------------------------


def test_train_and_eval_reach_all() -> None:
    net = Net()
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.layers.train()
    assert net.layers[0].act.training
    assert not net.training
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        net.train("yes")  # type: ignore[arg-type]


def test_gradients() -> None:
    net = Net()
    net(wg.ones(2, 3)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all(p.grad is not None and p.grad.abs().sum().item() == 0 for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.requires_grad_(False) is net
    assert not net(wg.ones(2, 3)).requires_grad


def test_shared_parameter_gets_both_gradients() -> None:
    layer = nn.Linear(1, 1, bias=False)
    net = nn.Sequential(layer, layer)
    net.load_state_dict({"0.weight": wg.tensor([[3.0]]), "1.weight": wg.tensor([[3.0]])})
    net(wg.ones(1, 1)).sum().backward()
    assert layer.weight.grad.tolist() == [[6.0]]


def test_apply_visits_children_first() -> None:
    names: list[str] = []
    Block().apply(lambda module: names.append(type(module).__name__))
    assert names == ["Linear", "Tanh", "Block"]


def test_to_keeps_parameters_the_same_objects() -> None:
    net = Net()
    net.register_buffer("count", wg.tensor(3))
    net(wg.ones(1, 3)).sum().backward()
    before = list(net.parameters())
    assert net.double() is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert all(p.dtype == wg.float64 and p.requires_grad and p.is_leaf for p in net.parameters())
    assert all(p.grad.dtype == wg.float64 for p in net.parameters())
    assert net.mean.dtype == wg.float64
    assert net.count.dtype == wg.int64
    assert net.to("cpu").float().scale.dtype == wg.float32
    assert net.to(wg.ones(1, dtype=wg.float64)).scale.dtype == wg.float64
    assert net.to(device="cpu", dtype=wg.float32).scale.dtype == wg.float32
    assert net.half().scale.dtype == wg.float16
    assert net.bfloat16().cpu().scale.dtype == wg.bfloat16


def test_to_refuses_integers_and_unknown_arguments() -> None:
    net = Net()
    with pytest.raises(TypeError, match="only accepts floating point or complex dtypes"):
        net.to(wg.int64)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        net.to(colour="red")
    assert net.scale.dtype == wg.float32


# --- copies and text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_copies_are_whole_and_apart(clone: Any) -> None:
    net = Net()
    other = clone(net)
    x = wg.ones(2, 3)
    assert wg.equal(other(x), net(x))
    assert other.tied is other.first
    assert isinstance(other.scale, nn.Parameter)
    assert other.scale.requires_grad
    with wg.no_grad():
        other.scale.zero_()
    assert net.scale.tolist() == [2.0] * 3
    assert list(other.state_dict()) == list(net.state_dict())


def test_a_handle_kept_in_the_module_is_copied_with_it() -> None:
    net = nn.Identity()
    net.handle = net.register_forward_hook(_times_ten)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        other.handle.remove()
        assert other(1) == 1
    assert net(1) == 10


def _times_ten(module: Any, args: Any, output: Any) -> Any:
    return output * 10


def test_repr_is_torchs() -> None:
    assert repr(nn.Module()) == "Module()"
    assert repr(Net()) == (
        "Net(\n"
        "  (first): Block(\n"
        "    (linear): Linear(in_features=3, out_features=3, bias=True)\n"
        "    (act): Tanh()\n"
        "  )\n"
        "  (layers): ModuleList(\n"
        "    (0-1): 2 x Block(\n"
        "      (linear): Linear(in_features=3, out_features=3, bias=True)\n"
        "      (act): Tanh()\n"
        "    )\n"
        "  )\n"
        "  (tied): Block(\n"
        "    (linear): Linear(in_features=3, out_features=3, bias=True)\n"
        "    (act): Tanh()\n"
        "  )\n"
        ")"
    )


def test_repr_with_extra_lines() -> None:
    class Odd(nn.Module):
        def extra_repr(self) -> str:
            return "one\ntwo"

    assert repr(Odd()) == "Odd(\n  one\n  two\n)"


# --- state dictionaries --------------------------------------------------------------------------------


def test_state_dict_names_and_prefix() -> None:
    net = Net()
    assert list(net.state_dict(prefix="net."))[:3] == ["net.scale", "net.mean", "net.first.linear.weight"]
    assert "scratch" not in net.state_dict()
    into: OrderedDict[str, Any] = OrderedDict(other=1)
    assert net.state_dict(destination=into) is into
    assert not net.state_dict()["scale"].requires_grad
    assert net.state_dict(keep_vars=True)["scale"] is net.scale


def test_state_dict_shares_memory() -> None:
    net = Net()
    saved = net.state_dict()
    with wg.no_grad():
        net.scale.fill_(7.0)
    assert saved["scale"].tolist() == [7.0] * 3


def test_load_copies_tensors_and_arrays() -> None:
    net, other = Net(), Net()
    scale = net.scale
    result = net.load_state_dict(other.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert net.scale is scale
    assert wg.equal(net.first.linear.weight, other.first.linear.weight)
    net.load_state_dict({name: value.numpy() * 0 for name, value in other.state_dict().items()})
    assert net.scale.tolist() == [0.0] * 3
    assert other.scale.tolist() == [2.0] * 3


def test_load_converts_the_dtype() -> None:
    net = Net()
    net.load_state_dict(Net().double().state_dict())
    assert net.scale.dtype == wg.float32


def test_load_lists_everything_that_is_wrong_and_changes_nothing() -> None:
    net = Net()
    state = {name: value + 1 for name, value in Net().state_dict().items()}
    before = {name: value.clone() for name, value in net.state_dict().items()}
    del state["mean"]
    state["extra"] = wg.ones(1)
    state["layers.1.linear.bias"] = wg.ones(4)
    state["layers.0.linear.bias"] = "text"
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    text = str(error.value)
    assert "Error(s) in loading state_dict for Net" in text
    assert 'Missing key(s) in state_dict: "mean".' in text
    assert 'Unexpected key(s) in state_dict: "extra".' in text
    assert "size mismatch for layers.1.linear.bias: copying a param with shape (4,) from checkpoint, " in text
    assert "the shape in current model is (3,)." in text
    assert 'While copying the parameter named "layers.0.linear.bias"' in text
    assert all(wg.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(RuntimeError, match="size mismatch"):
        net.load_state_dict(state, strict=False)
    assert all(wg.equal(value, before[name]) for name, value in net.state_dict().items())


def test_load_not_strict() -> None:
    net = Net()
    missing, unexpected = net.load_state_dict({"scale": wg.zeros(3), "extra": wg.ones(1)}, strict=False)
    assert unexpected == ["extra"]
    assert "mean" in missing
    assert net.scale.tolist() == [0.0] * 3


def test_load_assign() -> None:
    net = nn.Linear(2, 1, bias=False)
    net.load_state_dict({"weight": wg.ones(1, 2, dtype=wg.float64)}, assign=True)
    assert isinstance(net.weight, nn.Parameter)
    assert net.weight.dtype == wg.float64
    assert net.weight.requires_grad


def test_load_hints_at_the_prefix_of_wrapped_models() -> None:
    state = {f"module.{name}": value for name, value in Net().state_dict().items()}
    with pytest.raises(RuntimeError, match="strip that prefix"):
        Net().load_state_dict(state)


def test_load_wants_a_mapping() -> None:
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        Net().load_state_dict([1, 2])  # type: ignore[arg-type]


def test_extra_state() -> None:
    class Counter(nn.Module):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.count = count

        def get_extra_state(self) -> int:
            return self.count

        def set_extra_state(self, state: int) -> None:
            self.count = state

    net = nn.Sequential(Counter(3))
    assert dict(net.state_dict()) == {"0._extra_state": 3}
    other = nn.Sequential(Counter(0))
    other.load_state_dict(net.state_dict())
    assert other[0].count == 3
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"0._extra_state\""):
        other.load_state_dict({})

"""Hooks around forward and backward passes and with states; the same beside torch in tests/parity/test_hooks.py."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import wengert as wg
from wengert import nn


def doubled(weight: float) -> Any:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data = wg.tensor([[weight]])
    return layer


def test_a_backward_hook_sees_both_gradients() -> None:
    net, seen = nn.Sequential(doubled(2.0), doubled(3.0)), []
    for name, layer in net.named_children():
        layer.register_full_backward_hook(lambda m, into, out, name=name: seen.append((name, into[0], out[0])))
    x = wg.tensor([[5.0]], requires_grad=True)
    net(x).sum().backward()
    assert [(name, into.item(), out.item()) for name, into, out in seen] == [("1", 3.0, 1.0), ("0", 6.0, 3.0)]
    assert x.grad.item() == 6.0 and net[0].weight.grad.item() == 15.0


def test_hooks_replace_gradients() -> None:
    layer = doubled(2.0)
    first = layer.register_full_backward_pre_hook(lambda m, out: (out[0] * 10,))
    layer.register_full_backward_pre_hook(lambda m, out: out[0] + 1)  # one gradient needs no tuple
    layer.register_full_backward_hook(lambda m, into, out: (into[0] + out[0],))
    x = wg.tensor([[5.0]], requires_grad=True)
    layer(x).backward()
    assert layer.weight.grad.item() == 55.0 and x.grad.item() == 22.0 + 11.0
    first.remove()
    x.grad = None
    layer(x).backward()
    assert x.grad.item() == 4.0 + 2.0


def test_inputs_without_a_gradient() -> None:
    layer, seen = doubled(2.0), []
    layer.register_full_backward_hook(lambda m, into, out: seen.append((into, out[0].item())))
    layer(wg.ones(1, 1)).sum().backward()
    assert seen == [((None,), 1.0)] and layer.weight.grad.item() == 1.0
    with wg.no_grad():
        layer(wg.ones(1, 1, requires_grad=True))
    for p in layer.parameters():
        p.requires_grad_(False)
    layer(wg.ones(1, 1))
    assert len(seen) == 1


class Several(nn.Module):
    def forward(self, x: Any, n: int, y: Any, *, z: Any) -> Any:
        return x * n + z, n, y.sin()


@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_backward_hook"])
def test_several_inputs_and_outputs(register: str) -> None:
    m, seen = Several(), []
    getattr(m, register)(lambda m, into, out: seen.append((into, out)))
    x, y, z = (wg.tensor(v, requires_grad=True) for v in (1.0, 2.0, 3.0))
    a, n, b = m(x, 4, y, z=z)
    assert n == 4
    (a + b * 0).backward()
    ((into, out),) = seen
    assert (into[0].item(), into[1], into[2].item()) == (4.0, None, 0.0)
    assert (out[0].item(), out[1], out[2].item()) == (1.0, None, 0.0)
    assert (x.grad.item(), y.grad.item(), z.grad.item()) == (4.0, 0.0, 1.0)


def test_second_derivatives_pass_through() -> None:
    layer = nn.Tanh()
    layer.register_full_backward_hook(lambda m, into, out: (into[0] * 3,))
    x = wg.tensor(0.5, dtype=wg.float64, requires_grad=True)
    (g,) = wg.autograd.grad(layer(x), x, create_graph=True)
    t = x.detach().tanh()
    assert g.item() == pytest.approx(3 * (1 - t**2).item())
    (h,) = wg.autograd.grad(g, x)
    assert h.item() == pytest.approx(3 * (-2 * t * (1 - t**2)).item())


def test_hooks_are_copied_and_followed_by_compiled_programs() -> None:
    layer = doubled(2.0)
    step = wg.compile(lambda x: wg.autograd.grad(layer(x).sum(), x)[0])
    x = wg.ones(1, 1, requires_grad=True)
    assert step(x).item() == 2.0
    handle = layer.register_full_backward_hook(lambda m, into, out: (into[0] * 10,))
    with pytest.warns(wg.RecompileWarning):
        assert step(x).item() == 20.0
    twin = copy.deepcopy(layer)
    handle.remove()
    assert step(x).item() == 2.0
    y = wg.ones(1, 1, requires_grad=True)
    twin(y).sum().backward()
    assert y.grad.item() == 20.0


def test_wrong_numbers_of_gradients() -> None:
    layer = doubled(2.0)
    layer.register_full_backward_hook(lambda m, into, out: (None, None))
    with pytest.raises(ValueError, match="a backward hook must return None or 1 gradients: 2"):
        layer(wg.ones(1, 1, requires_grad=True)).sum().backward()


# --- states ------------------------------------------------------------------------------------------


def test_hooks_of_states() -> None:
    net, said = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1))), []

    for module in (net, net[1], net[1][0]):
        module.register_state_dict_pre_hook(lambda m, prefix, keep: said.append(("before", prefix)))
        module.register_state_dict_post_hook(lambda m, found, prefix, meta: said.append(("after", prefix, len(found))))
    net[1].register_state_dict_post_hook(lambda m, found, prefix, meta: found.update({prefix + "more": 1}) or None)
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.0.weight", "1.0.bias", "1.more"]
    assert said == [
        ("before", ""), ("before", "1."), ("before", "1.0."), ("after", "1.0.", 4), ("after", "1.", 4), ("after", "", 5)
    ]  # fmt: skip
    net.register_state_dict_post_hook(lambda m, found, prefix, meta: found)
    with pytest.raises(ValueError, match="must return None"):
        net.state_dict()


def test_hooks_before_loading_rename() -> None:
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer)

    def rename(m: Any, state: Any, prefix: str, *rest: Any) -> None:
        if prefix + "kernel" in state:
            state[prefix + "weight"] = state.pop(prefix + "kernel")

    handle = layer.register_load_state_dict_pre_hook(rename)
    old = {"0.kernel": wg.full((2, 2), 7.0), "0.bias": wg.zeros(2)}
    net.load_state_dict(old)
    assert net[0].weight.tolist() == [[7.0] * 2] * 2 and list(old) == ["0.kernel", "0.bias"]
    handle.remove()
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.weight"):
        net.load_state_dict(old)
    layer.register_load_state_dict_pre_hook(
        lambda m, state, p, meta, strict, missing, unexpected, errors: errors.append("no")
    )
    with pytest.raises(RuntimeError, match="no\nNothing was loaded"):
        net.load_state_dict(net.state_dict())


def test_hooks_after_loading_forgive() -> None:
    net, order = nn.Sequential(nn.Linear(1, 1)), []
    net.register_load_state_dict_post_hook(lambda m, keys: order.append("outer"))
    inner = net[0].register_load_state_dict_post_hook(
        lambda m, keys: (order.append("inner"), keys.missing_keys.clear())
    )
    keys = net.load_state_dict({"0.weight": wg.full((1, 1), 3.0)})
    assert order == ["inner", "outer"] and keys.missing_keys == [] and net[0].weight.item() == 3.0
    inner.remove()
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict({"0.weight": wg.full((1, 1), 4.0)})
    assert net[0].weight.item() == 4.0
    with pytest.raises(RuntimeError, match="size mismatch"):
        net.load_state_dict({"0.weight": wg.full((2, 1), 5.0), "0.bias": wg.ones(1)})
    assert net[0].weight.item() == 4.0


# --- other methods of modules ------------------------------------------------------------------------


def test_modules_are_put_in_places() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(1, 2), nn.ReLU()))
    net.set_submodule("0.1", nn.Tanh())
    assert isinstance(net[0][1], nn.Tanh)
    net.set_submodule("new", nn.ReLU())
    assert isinstance(net.get_submodule("new"), nn.ReLU)
    for call, error, words in (
        (lambda: net.set_submodule("", nn.ReLU()), ValueError, "needs the path of a module"),
        (lambda: net.set_submodule("0", wg.ones(1)), ValueError, "needs a module: Tensor"),
        (lambda: net.set_submodule("other", nn.ReLU(), strict=True), AttributeError, "has no attribute `other`"),
        (lambda: net.set_submodule("3.other", nn.ReLU()), AttributeError, "has no attribute `3`"),
        (lambda: net.set_submodule("0.0.weight", nn.ReLU()), AttributeError, "not as a module"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_types_and_empty_modules() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    weight = net[0].weight
    net.type(wg.float64)
    assert net[0].weight is weight and {v.dtype for v in net.state_dict().values()} == {wg.float64}
    net.type("torch.FloatTensor").to_empty(device="cpu", recurse=False)
    assert net[0].weight.any()
    net.to_empty(device="cpu")
    assert not any(v.any() for v in net.state_dict().values()) and net[0].weight is weight
    with pytest.raises(TypeError, match="no such device"):
        net.to_empty(device="cuda")


def test_forward_hooks() -> None:
    log: list[str] = []
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda module, args: log.append(f"pre {args}"))
    change = layer.register_forward_pre_hook(lambda module, args: args[0] + 1)
    layer.register_forward_hook(lambda module, args, output: log.append(f"post {args} {output}"))
    layer.register_forward_hook(lambda module, args, output: output * 10)
    layer.register_forward_pre_hook(lambda module, args: log.append("first"), prepend=True)
    assert layer(1) == 20
    assert log == ["first", "pre (1,)", "post (2,) 2"]
    change.remove()
    change.remove()
    assert layer(1) == 10


def test_forward_hooks_with_kwargs() -> None:
    class Scale(nn.Module):
        def forward(self, x: Any, by: int = 1) -> Any:
            return x * by

    layer = Scale()
    with layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"by": 5}), with_kwargs=True):
        layer.register_forward_hook(lambda m, args, kwargs, out: (out, kwargs["by"]), with_kwargs=True)
        assert layer(2) == (10, 5)
    with (
        layer.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True),
        pytest.raises(ValueError, match=r"Scale: a forward pre-hook with kwargs must return None or a tuple"),
    ):
        layer(2)

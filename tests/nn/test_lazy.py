"""Lazy modules, buffers, lists and dictionaries of parameters."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest

import wengert as wg
from wengert import nn

CASES = [
    (lambda: nn.LazyLinear(3), (2, 5)),
    (lambda: nn.LazyLinear(3, bias=False), (2, 5)),
    (lambda: nn.LazyConv1d(4, 2), (2, 3, 5)),
    (lambda: nn.LazyConv2d(4, 2, groups=2), (4, 5, 5)),
    (lambda: nn.LazyConv3d(4, 1), (1, 2, 2, 2, 2)),
    (lambda: nn.LazyConvTranspose1d(4, 2), (2, 3, 5)),
    (lambda: nn.LazyConvTranspose2d(4, 2), (2, 3, 2, 2)),
    (lambda: nn.LazyConvTranspose3d(4, 2), (1, 3, 2, 2, 2)),
    (lambda: nn.LazyBatchNorm1d(), (4, 3)),
    (lambda: nn.LazyBatchNorm2d(bias=False), (4, 3, 2, 2)),
    (lambda: nn.LazyBatchNorm3d(affine=False), (4, 3, 2, 2, 2)),
    (lambda: nn.LazyInstanceNorm1d(), (3, 4)),
    (lambda: nn.LazyInstanceNorm2d(), (2, 3, 2, 2)),
    (lambda: nn.LazyInstanceNorm3d(), (2, 3, 2, 2, 2)),
]


@pytest.mark.parametrize(("make", "shape"), CASES, ids=lambda c: "" if isinstance(c, tuple) else type(c()).__name__)
def test_lazy_modules_become_ordinary_ones(make: Any, shape: tuple[int, ...]) -> None:
    lazy = make().double()
    names = list(lazy.state_dict())
    assert lazy.has_uninitialized_params()
    parameters = list(lazy.parameters())
    out = lazy(wg.randn(*shape, dtype=wg.float64))
    assert out.dtype == wg.float64
    assert type(lazy) is lazy.cls_to_become if hasattr(lazy, "cls_to_become") else type(lazy).__name__[:4] != "Lazy"
    assert list(lazy.state_dict()) == names
    assert all(a is b for a, b in zip(parameters, lazy.parameters(), strict=True))
    assert all(type(p) is nn.Parameter and p.requires_grad for p in parameters)
    if parameters:
        out.sum().backward()
        assert all(p.grad is not None for p in parameters)


def test_a_trained_state_gives_a_lazy_module_its_shape() -> None:
    trained, lazy = nn.Linear(5, 3), nn.LazyLinear(3)
    lazy.load_state_dict(trained.state_dict())
    assert not lazy.has_uninitialized_params()
    x = wg.randn(2, 5)
    assert wg.equal(lazy(x), trained(x))
    assert lazy.in_features == 5


def test_uninitialised_parameters() -> None:
    net = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2))
    assert type(net[0].weight) is nn.UninitializedParameter
    assert nn.parameter.is_lazy(net[0].weight)
    assert "<UninitializedParameter>" in repr(net[0].weight)
    with pytest.raises(RuntimeError, match=r"UninitializedParameter: has no shape and no values yet\. Call the module"):
        _ = net[0].weight.shape
    with pytest.raises(RuntimeError, match="has no shape"):
        net[0].weight.numel()
    again = copy.deepcopy(net)
    assert again(wg.ones(1, 4)).shape == (1, 2)
    assert nn.parameter.is_lazy(net[0].weight)
    assert pickle.loads(pickle.dumps(net))(wg.ones(1, 7)).shape == (1, 2)
    optimizer = wg.optim.SGD(net.parameters(), lr=0.1)
    net(wg.ones(1, 4)).sum().backward()
    before = net[2].bias.tolist()
    optimizer.step()
    assert net[2].bias.tolist() != before


def test_lazy_modules_check_their_input() -> None:
    with pytest.raises(ValueError, match=re.escape("LazyConv2d: expected 3D or 4D input: shape (2, 2)")):
        nn.LazyConv2d(3, 2)(wg.ones(2, 2))
    with pytest.raises(ValueError, match="expected 4D input"):
        nn.LazyBatchNorm2d()(wg.ones(2, 2))


def test_buffers() -> None:
    module = nn.Module()
    module.mean = nn.Buffer(wg.zeros(2))
    module.scratch = nn.Buffer(wg.zeros(1), persistent=False)
    assert [name for name, _ in module.named_buffers()] == ["mean", "scratch"]
    assert list(module.state_dict()) == ["mean"]
    module.mean = wg.ones(2)
    assert list(module.state_dict()) == ["mean"]
    with pytest.raises(TypeError, match="Buffer: takes a tensor: list"):
        nn.Buffer([1.0])


def test_parameter_lists() -> None:
    values = nn.ParameterList([wg.ones(1), nn.Parameter(wg.zeros(2))])
    values.append(wg.full((3,), 2.0)).extend([wg.ones(4)])
    values += [wg.ones(5)]
    assert [len(p) for p in values] == [1, 2, 3, 4, 5]
    assert list(values.state_dict()) == ["0", "1", "2", "3", "4"]
    assert [len(p) for p in values[1:3]] == [2, 3]
    values[-1] = wg.ones(6)
    assert len(values.pop(0)) == 1
    assert [len(p) for p in values] == [2, 3, 4, 6]
    assert "(0): Parameter containing: [wengert.float32 of size 2]" in repr(values)
    assert len(list(copy.deepcopy(values).parameters())) == 4
    with pytest.raises(IndexError, match="index 4 is out of range: it holds 4"):
        values[4]
    with pytest.raises(RuntimeError, match="ParameterList should not be called"):
        values(1)


def test_parameter_dicts() -> None:
    values = nn.ParameterDict({"a": wg.ones(1), "b": nn.Parameter(wg.zeros(2))})
    values["c"] = wg.ones(3)
    values.update([("d", wg.ones(4))])
    assert [(name, len(p)) for name, p in values.items()] == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    assert list(values.state_dict()) == list(values.keys()) == ["a", "b", "c", "d"]
    assert len(values.pop("a")) == 1
    del values["b"]
    assert "b" not in values
    assert values.get("b") is None
    assert len(values.setdefault("e", wg.ones(7))) == 7
    assert len(values.setdefault("e", wg.ones(8))) == 7
    assert [len(p) for p in values.values()] == [3, 4, 7]
    with pytest.raises(KeyError):
        values["a"]
    values.clear()
    assert len(values) == 0
    assert list(values.parameters()) == []

"""Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

import wengert as wg
from wengert import nn


class Add(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: float) -> float:
        return x + self.by

    def extra_repr(self) -> str:
        return str(self.by)


def bys(modules: Any) -> list[float]:
    return [module.by for module in modules]


KINDS = pytest.mark.parametrize(
    "make", [lambda *m: nn.Sequential(*m), lambda *m: nn.ModuleList(m)], ids=["seq", "list"]
)


def test_sequential_runs_in_order() -> None:
    assert nn.Sequential(Add(1), Add(2))(0) == 3
    assert nn.Sequential()(5) == 5
    named = nn.Sequential(OrderedDict(a=Add(1), b=Add(2)))
    assert named.b.by == 2
    assert named(0) == 3
    assert [name for name, _ in named[1:].named_children()] == ["b"]


@KINDS
def test_list_methods(make: Any) -> None:
    net = make(Add(0), Add(1), Add(2), Add(3))
    assert len(net) == 4
    assert net[-1].by == net[3].by == 3
    assert bys(net[1:3]) == [1, 2]
    assert type(net[1:3]) is type(net)
    assert bys(net.append(Add(4))) == [0, 1, 2, 3, 4]
    assert bys(net.insert(1, Add(9))) == [0, 9, 1, 2, 3, 4]
    assert bys(net.insert(-1, Add(8))) == [0, 9, 1, 2, 3, 8, 4]
    net[0] = Add(7)
    assert net.pop(1).by == 9
    del net[-1]
    del net[1:3]
    assert bys(net) == [7, 3, 8]
    assert list(net._modules) == ["0", "1", "2"]
    net += type(net)(Add(5)) if isinstance(net, nn.Sequential) else [Add(5)]
    assert bys(net.extend([Add(6)])) == [7, 3, 8, 5, 6]
    assert not any(name.isdigit() for name in dir(net))


@KINDS
def test_list_errors(make: Any) -> None:
    net = make(Add(0))
    with pytest.raises(IndexError, match="index 1 is out of range: it holds 1 modules"):
        net[1]
    with pytest.raises(IndexError, match="index -2 is out of range"):
        net[-2] = Add(1)
    with pytest.raises(IndexError, match="index 3 is out of range"):
        net.insert(3, Add(1))
    with pytest.raises(TypeError, match="cannot assign 'int' as module"):
        net.insert(0, 3)
    with pytest.raises(TypeError, match="cannot assign 'int' as module"):
        net.append(3)
    with pytest.raises(TypeError, match="should be called with an iterable"):
        net.extend(3)
    assert bys(net) == [0]


def test_sequential_arithmetic() -> None:
    a, b = nn.Sequential(Add(1)), nn.Sequential(Add(2))
    assert bys(a + b) == [1, 2]
    assert bys(2 * (a + b)) == [1, 2, 1, 2]
    a *= 2
    assert bys(a) == [1, 1]
    with pytest.raises(ValueError, match="can only be added to another Sequential, got list"):
        a + [Add(1)]  # noqa: RUF005
    with pytest.raises(TypeError, match="an integer number of times"):
        a * 1.5
    with pytest.raises(ValueError, match="a positive number of times, got 0"):
        a * 0


def test_module_list_is_not_called() -> None:
    with pytest.raises(NotImplementedError, match="ModuleList: the module has no forward method"):
        nn.ModuleList([Add(1)])(0)
    assert bys(nn.ModuleList([Add(1)]) + [Add(2)]) == [1, 2]  # noqa: RUF005
    assert repr(nn.ModuleList()) == "ModuleList()"


def test_module_dict() -> None:
    table = nn.ModuleDict({"a": Add(1)})
    table["b"] = Add(2)
    table.update([("c", Add(3)), ("a", Add(9))])
    table.update(nn.ModuleDict({"d": Add(4)}))
    assert list(table) == list(table.keys()) == ["a", "b", "c", "d"]
    assert bys(table.values()) == [9, 2, 3, 4]
    assert [name for name, _ in table.items()] == list(table)
    assert table.pop("d").by == 4
    del table["c"]
    assert len(table) == 2
    assert "c" not in table
    table.clear()
    assert len(table) == 0
    with pytest.raises(KeyError):
        table["a"]
    with pytest.raises(TypeError, match="expected a mapping or"):
        table.update(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"element 0 is not a \(name, module\) pair"):
        table.update([Add(1)])  # type: ignore[list-item]


def test_state_dict_names() -> None:
    net = nn.ModuleDict({"a": nn.ModuleList([nn.Linear(1, 1)])})
    assert list(net.state_dict()) == ["a.0.weight", "a.0.bias"]
    assert wg.is_tensor(net.state_dict()["a.0.weight"])

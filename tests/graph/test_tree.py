"""Containers taken apart and put together again: dataclasses of every kind keep what they hold."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any, ClassVar

import pytest

import wengert as wg
from wengert import tree


@dataclasses.dataclass
class Plain:
    x: Any
    y: Any = 0
    made: ClassVar[int] = 0

    def __post_init__(self):
        Plain.made += 1
        self.name = "plain"
        self.double = self.x * 2
        self.log = [1, {"a": 2.0}]


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any
    late: Any = dataclasses.field(init=False)
    default: int = dataclasses.field(init=False, default=3)

    def __post_init__(self):
        object.__setattr__(self, "size", 5)

    @functools.cached_property
    def square(self):
        return self.x * self.x


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: Any
    label: str = "a"


class Base:
    __slots__ = ("__own", "mark")

    def __init__(self):
        self.__own = 7

    @property
    def own(self):
        return self.__own


@dataclasses.dataclass
class Derived(Base):
    x: Any

    def __post_init__(self):
        super().__init__()
        self.mark = [self.x * 3]


@dataclasses.dataclass
class More(Plain):
    z: Any = None


def again(x: Any) -> Any:
    leaves, structure = tree.flatten(x)
    return tree.unflatten(structure, leaves)


def test_what_is_no_field_goes_along():
    x = wg.ones(2)
    old = Plain(x)
    count = Plain.made
    new = again(old)
    assert Plain.made == count
    assert vars(new) == vars(copy.copy(old)) | {"log": [1, {"a": 2.0}]}
    assert new.log is not old.log  # a container of its own, as of a field
    assert len(tree.leaves(old)) == 3  # both fields, and the tensor that is none
    moved = tree.map(lambda v: v + 1, old)
    assert (moved.x.tolist(), moved.y, moved.double.tolist(), moved.name) == ([2.0, 2.0], 1, [3.0, 3.0], "plain")
    derived = again(More(x, z=(x, None)))
    assert derived.z == (x, None) and derived.name == "plain"


def test_frozen_and_slots():
    f = Frozen(2.0)
    assert f.square == 4.0
    new = again(f)
    assert (new.x, new.default, new.size) == (2.0, 3, 5)
    assert not hasattr(new, "late")
    assert tree.map(lambda v: v + 1, f).square == 9.0  # not what was kept of the old one
    object.__setattr__(f, "late", [1])
    assert again(f).late == [1]
    assert again(Slotted(1, "b")) == Slotted(1, "b")
    d = again(Derived(wg.ones(1)))
    assert d.own == 7 and d.mark[0].tolist() == [3.0]


def test_structures_are_equal_where_contents_are():
    def of(x: Any) -> Any:
        return tree.flatten(x)[1]

    a, b = Plain(1), Plain(2)
    assert of(a) != of(b)  # by `double`
    b.double = a.double
    assert of(a) == of(b) and hash(of(a)) == hash(of(b))
    first = of(a)
    a.log.append(3)
    assert of(a) != of(b) and first == of(b)
    b.name = "other"
    b.log.append(3)
    assert of(a) != of(b)
    a.name, a.other = "other", object()
    b.other = object()
    assert of(a) != of(b)
    b.other = a.other
    assert of(a) == of(b)


def test_what_refers_to_itself():
    x = Plain(1)
    x.me, x.log = x, [Frozen(x)]
    new = again(x)
    assert new.me is x and new.log[0].x is x
    with pytest.raises(ValueError, match="structures differ"):
        tree.map(lambda a, b: a, x, Plain(1))


def test_dataclasses_in_and_out_of_compiled_functions():
    @wg.compile
    def f(p):
        return Plain(p.double + p.x, len(p.name))

    for k in range(3):
        out = f(Plain(wg.full((2,), float(k))))
        assert (out.x.tolist(), out.y, out.name, out.double.tolist()) == ([3.0 * k] * 2, 5, "plain", [6.0 * k] * 2)
        out.log.append(k)
    other = Plain(wg.ones(2))
    other.name = "x"
    with pytest.warns(wg.RecompileWarning):
        assert f(other).y == 1


def test_dataclasses_in_transforms():
    value = wg.func.grad(lambda p: (p.x * p.double).sum())(Plain(wg.ones(2), wg.zeros(())))
    assert (value.x.tolist(), value.double.tolist(), value.name) == ([2.0, 2.0], [1.0, 1.0], "plain")
    rows = wg.func.vmap(lambda p: Plain(p.x.sum(), p.y))(Plain(wg.ones(3, 2), wg.ones(3)))
    assert (rows.x.tolist(), rows.double.tolist(), rows.name) == ([2.0] * 3, [4.0] * 3, "plain")

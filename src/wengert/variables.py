"""What a Python function reads from around it: variables, attributes, elements, found by the names in its code.

A captured function has all this built in, so a program fits only as long as everything is what it was. `Variables`
finds it, also for functions of the user's that the function calls, and says what has changed. Names that stand for more
than one thing are watched wherever they may stand: too much rather than too little.
"""

from __future__ import annotations

import functools
import inspect
import operator
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .graph.capture import MISSING, place_of
from .graph.handle import Handle

_PLAIN = (int, bool, str, bytes, type(None))
_INEXACT = (float, complex)


def is_simple(value: Any) -> bool:
    """Whether a value can be compared with another one and printed: a number, a string, None, or a tuple of such."""
    kind = type(value)
    if kind in _PLAIN or kind in _INEXACT or isinstance(value, np.generic):
        return True
    return kind is tuple and all(is_simple(v) for v in value)


def same(a: Any, b: Any) -> bool:
    """Whether a program made with one value fits the other one: 0.0 and -0.0 are two, NaN is one."""
    if a is b:
        return True
    kind = type(a)
    if kind is not type(b) or not is_simple(a) or not is_simple(b):
        return False
    if kind is tuple:
        return len(a) == len(b) and all(map(same, a, b))
    return a == b if kind in _PLAIN else repr(a) == repr(b)


class Attributes:
    """An object's attributes as a table: that of a variable of an enclosing function, or a function's defaults."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def get(self, key: str) -> Any:
        """An attribute, or None."""
        return getattr(self.owner, key, None)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.owner, key, value)


class Items:
    """A list as a table."""

    def __init__(self, owner: list[Any]) -> None:
        self.owner = owner

    def get(self, key: int) -> Any:
        """An element, or None."""
        return self.owner[key] if key < len(self.owner) else None

    def __setitem__(self, key: int, value: Any) -> None:
        if key < len(self.owner):
            self.owner[key] = value


class Entry:
    """Something with a name in a table, which must stay the same object, or an equal number."""

    __slots__ = ("get", "key", "name", "table", "value")

    def __init__(self, name: str, table: Any, key: str, value: Any) -> None:
        self.name, self.table, self.key, self.value = name, table, key, value
        # Called in each call of a program, so without Python code between.
        attribute = isinstance(table, Attributes)
        self.get = (
            functools.partial(getattr, table.owner, key, None) if attribute else functools.partial(table.get, key)
        )

    def rebound(self) -> Iterator[tuple[Any, Any, Any]]:
        """The table, the key and what was there, if a tensor is there now that was not."""
        now = self.get()
        if now is not self.value and isinstance(now, Handle):
            yield self.table, self.key, self.value

    def broken(self) -> str:
        """What is different now, in words; empty if nothing."""
        now = self.get()
        if now is self.value or same(now, self.value):
            return ""
        return f"the variable {self.name!r} is {repr(now) if is_simple(now) else 'another object'} now"


class Elements:
    """A list, tuple or dictionary, whose elements must stay the same."""

    __slots__ = ("free", "items", "name", "value", "values")

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value, self.items = name, value, Items(value)
        self.free: set[Any] = set()
        self.values = self._now()

    def _now(self) -> tuple[Any, ...]:
        x, free = self.value, self.free
        if not isinstance(x, dict):
            return tuple([v for i, v in enumerate(x) if i not in free]) if free else tuple(x)
        return (*x, *[v for k, v in x.items() if k not in free]) if x else ()

    def let_go(self, places: set[Any]) -> None:
        """Watch no more what is at some places, only that there is something."""
        self.free = {key for owner, key in places if owner == id(self.value)}
        self.values = self._now()

    def rebound(self) -> Iterator[tuple[Any, Any, Any]]:
        """As of an entry, for each element."""
        x, seen = self.value, self.values
        if isinstance(x, dict):
            n = len(seen) // 2
            before, now, table = dict(zip(seen[:n], seen[n:], strict=True)), list(x.items()), x
        else:
            before, now, table = dict(enumerate(seen)), list(enumerate(x))[: len(seen)], self.items
        for key, new in now:
            old = before.get(key, MISSING)
            if new is not old and isinstance(new, Handle):
                yield table, key, old

    def broken(self) -> str:
        """What is different now, in words; empty if nothing."""
        x, before = self.value, self.values
        if type(x) is list and not self.free and len(x) == len(before) and all(map(operator.is_, x, before)):
            return ""
        now = self._now()
        if len(now) == len(before) and (all(map(operator.is_, now, before)) or all(map(same, now, before))):
            return ""
        return f"the elements of {self.name!r} have changed"


class Added:
    """An object's attributes, for which of them are new when the function has run."""

    __slots__ = ("own", "seen")

    def __init__(self, own: dict[str, Any]) -> None:
        self.own, self.seen = own, set(own)

    def rebound(self) -> Iterator[tuple[Any, Any, Any]]:
        """As of an entry, for each new attribute."""
        for key, new in self.own.items():
            if key not in self.seen and isinstance(new, Handle):
                yield self.own, key, MISSING


class Bits:
    """A NumPy array, which must keep its bits."""

    __slots__ = ("name", "seen", "value")

    def __init__(self, name: str, value: np.ndarray) -> None:
        self.name, self.value = name, value
        self.seen = bits(value)

    def broken(self) -> str:
        """What is different now, in words; empty if nothing."""
        return "" if bits(self.value) == self.seen else f"the values of the array {self.name!r} have changed"


def bits(x: np.ndarray) -> Any:
    """What tells arrays apart, down to signs of zeros."""
    return x.shape, x.dtype, x.tolist() if x.dtype.hasobject else x.tobytes()


class Variables:
    """All this for one function, as it was when made; also for the objects among its arguments."""

    def __init__(self, f: Callable[..., Any], arguments: Any = ()) -> None:
        self.found: list[Any] = []
        self.optimizers: list[tuple[Any, bool]] = []  # and whether they are of the user's own make
        seen: set[Any] = set()
        names = self._function(f, seen)
        for i, x in enumerate(arguments):
            if not isinstance(x, np.ndarray):
                self._look(f"argument {i}", x, names, seen)

    def rebound(self) -> Iterator[tuple[Any, Any, Any]]:
        """Where a tensor has come that was not there: tables, keys and what was there before."""
        for e in self.found:
            if not isinstance(e, Bits):
                yield from e.rebound()

    def tensors(self) -> set[int]:
        """The tensors among it, by id."""
        found = [x for e in self.found for x in (e.values if type(e) is Elements else (e.value,))]
        return {id(x) for x in found if isinstance(x, Handle)}

    def settle(self, others: Iterable[Variables], free: set[Any]) -> None:
        """Take over what others have found, and leave out what the function itself has changed, and ``free`` places."""
        found = [e for v in (self, *others) for e in v.found if type(e) is not Added]
        for e in found:
            if type(e) is Elements:
                e.let_go(free)
        self.found = [
            e for e in found if not e.broken() and not (type(e) is Entry and place_of(e.table, e.key) in free)
        ]
        self._objects = [(e.get, e.value) for e in self.found if type(e) is Entry]
        self._contents = [e for e in self.found if type(e) is not Entry]

    def values(self) -> Iterator[Any]:
        """What is watched for being the same object."""
        yield from [value for _, value in self._objects]
        for e in self._contents:
            if type(e) is Elements:
                yield from e.values

    def broken(self) -> str:
        """What is different now, in words; empty if nothing."""
        for get, value in self._objects:
            if get() is not value:  # an equal number, it may be
                break
        else:
            for e in self._contents:
                if why := e.broken():
                    return why
            return ""
        return next(filter(None, [e.broken() for e in self.found]), "")

    # -- finding ---------------------------------------------------------------------------

    def _function(self, f: Any, seen: set[Any]) -> frozenset[str]:
        """Find what a function reads; the names in its code."""
        given, owner, f = _unwrapped(f)
        code = getattr(f, "__code__", None)
        names: frozenset[str] = frozenset() if code is None else frozenset(_each_name(code))
        for x in given:
            self._look("an argument of partial", x, names, seen)
        if code is None or (code, id(owner)) in seen:
            return names
        seen.add((code, id(owner)))
        for n, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            self._visit(n, Attributes(cell), "cell_contents", names, seen)
        for key in ("__defaults__", "__kwdefaults__"):
            if getattr(f, key):
                self._visit(f"{f.__name__}.{key}", Attributes(f), key, names, seen)
        space = f.__globals__
        for n in names:
            if n in space:
                self._visit(n, space, n, names, seen)
        if owner is not None:
            self._attributes("self", owner, names, seen)
        return names

    def _visit(self, name: str, table: Any, key: str, names: frozenset[str], seen: set[Any]) -> None:
        """Something with a name."""
        value = table.get(key)
        place = (id(getattr(table, "owner", table)), key)
        if not isinstance(value, types.ModuleType) and place not in seen:
            seen.add(place)
            self.found.append(Entry(name, table, key, value))
        self._look(name, value, names, seen)

    def _look(self, name: str, value: Any, names: frozenset[str], seen: set[Any]) -> None:
        """Find what there is to watch in a value."""
        if is_simple(value) or isinstance(value, (Handle, type)) or (id(value), names) in seen:
            return
        seen.add((id(value), names))
        if _is_function(value):
            if is_users(value):
                self._function(value, seen)
        elif isinstance(value, np.ndarray):
            if value.nbytes <= WATCHED:
                self.found.append(Bits(name, value))
        elif not isinstance(value, (list, tuple, dict)):
            self._attributes(name, value, names, seen)
        elif len(value) <= MOST:
            self.found.append(Elements(name, value))
            for key, x in value.items() if isinstance(value, dict) else enumerate(value):
                self._look(f"{name}[{key!r}]", x, names, seen)

    def _attributes(self, name: str, owner: Any, names: frozenset[str], seen: set[Any]) -> None:
        """Find the attributes that an object has of its own, and the user's methods of its class."""
        kind: Any = owner if isinstance(owner, types.ModuleType) else type(owner)
        users = is_users(kind) if kind is owner else not _file(kind).startswith(_LIBRARY)
        if hasattr(owner, "param_groups"):  # optimizers change what they have
            self.optimizers.append((owner, users))
            users = False
        if not users and name != "self":
            return
        own = getattr(owner, "__dict__", {})
        if users and kind is not owner and place_of(own, None) not in seen:
            seen.add(place_of(own, None))
            self.found.append(Added(own))
        for n in (*names, *_SPECIAL):
            if n in own:
                if users or is_simple(own[n]) or isinstance(own[n], Handle) or hasattr(own[n], "_modules"):
                    self._visit(f"{name}.{n}", own, n, names, seen)
            elif users and kind is not owner and (method := _method(kind, n)) is not None:
                self._function(types.MethodType(method, owner), seen)


_SPECIAL = ("__call__", "__enter__", "__exit__", "__getitem__", "__iter__")  # methods that no name in the code calls
MOST = 1000  # elements of a list that is watched
WATCHED = 1 << 18  # bytes of an array that is looked at in each call, which takes 20 microseconds


def _unwrapped(f: Any) -> tuple[list[Any], Any, Any]:
    """What partial functions give to a function, whose method it is, and the function behind all wrappers."""
    given: list[Any] = []
    owner: Any = None
    while True:
        if isinstance(f, functools.partial):
            given += [*f.args, *f.keywords.values()]
            f = f.func
        elif isinstance(f, types.MethodType):
            owner, f = f.__self__, f.__func__
        elif hasattr(f, "__wrapped__"):
            f = f.__wrapped__
        else:
            return given, owner, f


def _method(kind: type, name: str) -> Any:
    """A class's function of a name, also that behind a property, if it is the user's."""
    found = inspect.getattr_static(kind, name, None)
    found = getattr(found, "fget", getattr(found, "__func__", found))
    return found if _is_function(found) and is_users(found) else None


def _is_function(x: Any) -> bool:
    kinds = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)
    return isinstance(x, kinds) or (callable(x) and hasattr(x, "__wrapped__"))


def is_users(x: Any) -> bool:
    """Whether a function, a class or a module is the user's own: not ours, Python's, or of an installed package."""
    if not isinstance(x, (type, types.ModuleType)):
        x = _unwrapped(x)[2]
    name = x.__name__ if isinstance(x, types.ModuleType) else getattr(x, "__module__", None) or "builtins"
    file = _file(x)
    return name.partition(".")[0] not in _STANDARD and not file.startswith(_LIBRARY) and "site-packages" not in file


def _file(x: Any) -> str:
    """Where a function, a class or a module stands."""
    code = getattr(x, "__code__", None)
    if code is not None:
        return code.co_filename
    module = x if isinstance(x, types.ModuleType) else sys.modules.get(getattr(x, "__module__", None) or "builtins")
    return getattr(module, "__file__", None) or ""


_STANDARD = sys.stdlib_module_names - {"__main__"}
_LIBRARY = os.path.dirname(__file__) + os.sep


def _each_name(code: types.CodeType) -> Iterator[str]:
    """The names of globals and attributes in a function's code, and in that of the functions in it."""
    yield from code.co_names
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            yield from _each_name(c)

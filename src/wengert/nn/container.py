"""Modules that hold other modules: `Sequential`, `ModuleList`, `ModuleDict`."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, cast

from ..errors import IndexRangeError, message
from .module import Module, indent


class _ModuleSequence(Module):
    """What `Sequential` and `ModuleList` share: modules by position, under the names "0", "1" and so on."""

    _modules: dict[str, Module]

    def _key(self, index: int) -> str:
        """The name of the module at a position, counted from either end."""
        position, size = operator.index(index), len(self._modules)
        if not -size <= position < size:
            raise IndexRangeError(
                message(type(self).__name__, f"index {position} is out of range", f"it holds {size} modules")
            )
        return list(self._modules)[position]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        for key in list(self._modules)[index] if isinstance(index, slice) else [self._key(index)]:
            del self._modules[key]
        self._renumber(list(self._modules.values()))

    def _renumber(self, modules: list[Module]) -> None:
        self._modules.clear()
        for position, module in enumerate(modules):
            self._put_module(str(position), module)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                f"{type(self).__name__}.extend should be called with an iterable, got {type(modules).__name__}"
            )
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before the one at ``index``."""
        size = len(self)
        if not isinstance(module, Module):
            raise TypeError(self._cannot_assign(module, "module", str(index), "Module"))
        if not -size <= index <= size:
            raise IndexRangeError(
                message(type(self).__name__, f"index {index} is out of range", f"it holds {size} modules")
            )
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def pop(self, key: int | slice = -1) -> Any:
        """Take out and return the module at a position."""
        module = self[key]  # type: ignore[index]
        del self[key]
        return module

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]


class Sequential(_ModuleSequence):
    """Modules in a row: the output of each is the input of the next.

    Args:
        *args: the modules, or one ``OrderedDict`` of modules by name.

    >>> import wengert as wg
    >>> from wengert import nn
    >>> net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    >>> net(wg.ones(32, 2)).shape
    wengert.Size([32, 1])
    >>> net[:2]
    Sequential(
      (0): Linear(in_features=2, out_features=16, bias=True)
      (1): Tanh()
    )
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], OrderedDict) else enumerate(args)
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return self._modules[self._key(index)]

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *_sequential(other))

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(_sequential(other))

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*list(self) * _positive(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        return self.extend(list(self) * (_positive(times) - 1))


def _sequential(other: Any) -> Sequential:
    if not isinstance(other, Sequential):
        raise ValueError(f"Sequential: can only be added to another Sequential, got {type(other).__name__}")
    return other


def _positive(times: Any) -> int:
    if not isinstance(times, int):
        raise TypeError(f"Sequential: can only be repeated an integer number of times, got {type(times).__name__}")
    if times <= 0:
        raise ValueError(f"Sequential: can only be repeated a positive number of times, got {times}")
    return times


class _Uncalled(Module):
    """A container that is never called itself, so that its children carry its name in the scope."""

    def _scope_name_of_child(self, name: str) -> str:
        own = self._scope_name
        return name if own == type(self).__name__ else f"{own}.{name}"

    def _set_scope_name(self, name: str) -> None:
        super()._set_scope_name(name)
        for key, module in self._modules.items():
            if module is not None:
                module._set_scope_name(self._scope_name_of_child(key))


class ModuleList(_Uncalled, _ModuleSequence):
    """A list of modules whose parameters belong to the module that holds the list.

    >>> from wengert import nn
    >>> layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    >>> layers
    ModuleList(
      (0-2): 3 x Linear(in_features=4, out_features=4, bias=True)
    )
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            # A slice is a view of the list: the modules keep the names that they have in the whole.
            part = type(self)()
            part._modules.update((str(i), module) for i, module in enumerate(list(self)[index]))
            return part
        return self._modules[self._key(index)]

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        runs: list[tuple[int, int, str]] = []
        for position, text in enumerate(repr(module) for module in self):
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], position, text)
            else:
                runs.append((position, position, text))
        if not runs:
            return f"{self._get_name()}()"
        lines = [
            f"({first}): {indent(text)}" if first == last else f"({first}-{last}): {last - first + 1} x {indent(text)}"
            for first, last, text in runs
        ]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


class ModuleDict(_Uncalled):
    """Modules by name, in the order in which they were put in.

    >>> import wengert as wg
    >>> from wengert import nn
    >>> heads = nn.ModuleDict({"digit": nn.Linear(8, 10), "odd": nn.Linear(8, 1)})
    >>> heads["odd"](wg.ones(3, 8)).shape
    wengert.Size([3, 1])
    >>> sorted(heads.keys()), "digit" in heads
    (['digit', 'odd'], True)
    """

    _modules: dict[str, Module]

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take out and return the module of that name."""
        return self._modules.pop(key)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """The modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and modules."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Put in, or replace, the given modules."""
        if isinstance(modules, Mapping | ModuleDict):
            pairs = cast("Iterable[tuple[str, Module]]", modules.items())
        elif isinstance(modules, Iterable):
            pairs = modules
        else:
            raise TypeError(
                f"ModuleDict.update: expected a mapping or (name, module) pairs, got {type(modules).__name__}"
            )
        for position, pair in enumerate(pairs):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ValueError(f"ModuleDict.update: element {position} is not a (name, module) pair: {pair!r}")
            self[pair[0]] = pair[1]

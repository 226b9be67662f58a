"""``ParameterList`` and ``ParameterDict``: parameters by position and by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from ..errors import IndexRangeError, message
from ..tensor import Tensor
from .module import Module, indent
from .parameter import Parameter


def _as_parameter(value: Any) -> Any:
    """Plain tensors become parameters."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


class _Parameters(Module):
    """What the two share: values by key; those that are no tensors are kept, but not registered."""

    _keys: dict[str, None]

    def __init__(self) -> None:
        super().__init__()
        self._keys = {}

    def _put(self, key: str, value: Any) -> None:
        self._keys[key] = None
        setattr(self, key, _as_parameter(value))

    def _take(self, key: str) -> Any:
        value = getattr(self, key)
        del self._keys[key]
        delattr(self, key)
        return value

    def __len__(self) -> int:
        return len(self._keys)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{type(self).__name__} should not be called.")

    def extra_repr(self) -> str:
        return "\n".join(f"({key}): {indent(_described(getattr(self, key)))}" for key in self._keys)


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    size = "x".join(map(str, value.shape))
    return f"Parameter containing: [{value.dtype} of size {size}]"


class ParameterList(_Parameters):
    """A list of parameters that belong to the module that holds the list.

    >>> import wengert as wg
    >>> weights = wg.nn.ParameterList([wg.ones(2), wg.zeros(3)])
    >>> len(weights), [name for name, _ in weights.named_parameters()], weights[-1].tolist()
    (2, ['0', '1'], [0.0, 0.0, 0.0])
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def _key(self, index: int) -> str:
        size = len(self)
        if not -size <= index < size:
            raise IndexRangeError(message("ParameterList", f"index {index} is out of range", f"it holds {size}"))
        return str(index % size)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, self._key(index))

    def __setitem__(self, index: int, value: Any) -> None:
        self._put(self._key(index), value)

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, key) for key in self._keys])

    def append(self, value: Any) -> Self:
        """Add a value at the end."""
        self._put(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several values at the end."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"ParameterList.extend should be called with an iterable, got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def pop(self, index: int = -1) -> Any:
        """Take out and return the value at ``index``."""
        values = list(self)
        value = values.pop(index)
        for key in list(self._keys):
            self._take(key)
        self.extend(values)
        return value


class ParameterDict(_Parameters):
    """Parameters by name, in the order in which they were put in.

    >>> import wengert as wg
    >>> scales = wg.nn.ParameterDict({"left": wg.ones(1), "right": wg.zeros(1)})
    >>> list(scales), scales["left"].tolist(), "middle" in scales
    (['left', 'right'], [1.0], False)
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._put(key, value)

    def __delitem__(self, key: str) -> None:
        self._take(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        """The values."""
        return [getattr(self, key) for key in self._keys]

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and values."""
        return [(key, getattr(self, key)) for key in self._keys]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of that name, or the default."""
        return getattr(self, key) if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of that name; the default is put in where there is none."""
        if key not in self._keys:
            self._put(key, default)
        return getattr(self, key)

    def pop(self, key: str) -> Any:
        """Take out and return the value of that name."""
        value = self[key]
        self._take(key)
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take out and return the last name and its value."""
        if not self._keys:
            raise KeyError("popitem(): the ParameterDict is empty")
        key = list(self._keys)[-1]
        return key, self.pop(key)

    def copy(self) -> ParameterDict:
        """Another dictionary of the same values."""
        return ParameterDict(self)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A dictionary with one value for all names."""
        return ParameterDict((key, default) for key in keys)

    def __or__(self, other: Any) -> ParameterDict:
        out = self.copy()
        out.update(other)
        return out

    def __ror__(self, other: Any) -> ParameterDict:
        return ParameterDict(other) | self

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def clear(self) -> None:
        """Take all values out."""
        for key in list(self._keys):
            self._take(key)

    def update(self, parameters: Any) -> None:
        """Put in, or replace, the given values."""
        pairs = parameters.items() if isinstance(parameters, Mapping | ParameterDict) else parameters
        for key, value in pairs:
            self._put(key, value)

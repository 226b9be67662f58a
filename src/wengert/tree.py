"""Nested containers: take the leaves out, put new ones in.

Knows dicts (sorted by insertion), lists, tuples, named tuples, dataclasses and None; everything
else is a leaf. Other classes join with `register`.

A dataclass is made again as `copy.copy` does it, without `__init__` and `__post_init__`, which have done what they do.
So whatever it holds besides its fields goes along: with leaves of its own where there are tensors in it, else as a
part of the structure. What `functools.cached_property` keeps does not: it follows from the rest.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

_registry: dict[type, tuple[Callable[[Any], tuple[Sequence[Any], Hashable]], Callable[[Any, Sequence[Any]], Any]]] = {}


def register(
    kind: type,
    flatten: Callable[[Any], tuple[Sequence[Any], Hashable]],
    unflatten: Callable[[Any, Sequence[Any]], Any],
) -> None:
    """Teach the tree functions a container: ``flatten(x) -> (children, aux)`` and back."""
    _registry[kind] = (flatten, unflatten)


class Structure:
    """What is left of a nested container when its leaves are out; comparable and hashable."""

    __slots__ = ("aux", "children", "kind")

    def __init__(self, kind: Any, aux: Hashable, children: tuple[Structure, ...]) -> None:
        self.kind, self.aux, self.children = kind, aux, children

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Structure):
            return NotImplemented
        return (self.kind, self.aux, self.children) == (other.kind, other.aux, other.children)

    def __hash__(self) -> int:
        return hash((self.kind, self.aux, self.children))

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        inner = ", ".join(map(repr, self.children))
        return f"{getattr(self.kind, '__name__', self.kind)}({inner})"


LEAF = Structure(None, None, ())


class Alone:
    """Stands for an object that cannot be hashed: equal to itself alone."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __hash__(self) -> int:
        return id(self.x)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alone) and self.x is other.x


def token(x: Any) -> Any:
    """What leaves that are no tensors are compared by."""
    if isinstance(x, (float, complex, np.generic)):
        return repr(x)  # 0.0 and -0.0 are two, NaN is one
    return x if getattr(type(x), "__hash__", None) else Alone(x)


class _Kept:
    """Attributes without tensors that go along with a dataclass: equal where they had the same contents."""

    __slots__ = ("key", "parts")

    def __init__(self, parts: Sequence[tuple[str, Structure, list[Any]]]) -> None:
        self.parts = parts
        self.key = tuple([(name, form, *[(type(x), token(x)) for x in leaves]) for name, form, leaves in parts])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class _Attributes(NamedTuple):
    """Those of a dataclass: the names of its children, and the others."""

    names: tuple[str, ...]
    kept: _Kept


def _attributes(x: Any, above: tuple[int, ...]) -> _Attributes:
    """The attributes of a dataclass, those above it being ``above``."""
    state: Any = object.__getstate__(x)
    tables = state if isinstance(state, tuple) else (state,)
    fields = {f.name: None for f in dataclasses.fields(x) if hasattr(x, f.name)}
    names, kept = list(fields), []
    for name, value in [pair for table in tables if table for pair in table.items()]:
        static = inspect.getattr_static(type(x), name, None)
        if name in fields or isinstance(static, functools.cached_property):
            continue
        leaves: list[Any] = []
        form = _walk(value, leaves, (*above, id(x)))
        if any(hasattr(leaf, "dtype") and hasattr(leaf, "shape") for leaf in leaves):
            names.append(name)
        else:
            kept.append((name, form, leaves))
    return _Attributes(tuple(names), _Kept(kept))


def _children(x: Any, above: tuple[int, ...]) -> tuple[Any, Hashable, Sequence[Any]] | None:
    """(kind, aux, children) of a container, None for a leaf."""
    kind = type(x)
    if x is None:
        return kind, None, ()
    if kind in _registry:
        parts, aux = _registry[kind][0](x)
        return kind, aux, parts
    if isinstance(x, dict):
        return kind, (getattr(x, "default_factory", None), *x), tuple(x.values())
    if isinstance(x, (list, tuple)):
        return kind, len(x), x
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        found = _attributes(x, above)
        return kind, found, tuple([getattr(x, n) for n in found.names])
    return None


def _rebuild(kind: Any, aux: Any, parts: list[Any]) -> Any:
    if kind in _registry:
        return _registry[kind][1](aux, parts)
    if kind is tuple or kind is list:
        return kind(parts)
    if kind is type(None):
        return None
    if issubclass(kind, dict):
        factory, *keys = aux
        pairs = dict(zip(keys, parts, strict=True))
        given = (pairs,) if factory is None else (factory, pairs)
        return pairs if kind is dict else kind(*given)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return kind(*parts)
    if issubclass(kind, (list, tuple)):
        return kind(parts)
    out = object.__new__(kind)
    for name, part in zip(aux.names, parts, strict=True):
        object.__setattr__(out, name, part)
    for name, form, leaves in aux.kept.parts:
        object.__setattr__(out, name, unflatten(form, leaves))
    return out


def flatten(x: Any) -> tuple[list[Any], Structure]:
    """Leaves in order, and the structure.

    >>> flatten({"a": 1, "b": (2, [3])})
    ([1, 2, 3], dict(*, tuple(*, list(*))))
    """
    leaves: list[Any] = []
    return leaves, _walk(x, leaves, ())


def _walk(x: Any, leaves: list[Any], above: tuple[int, ...]) -> Structure:
    """The structure; the leaves go into the list. A dataclass among those ``above`` it (by id) is one of them."""
    # No closure: one that calls itself is a cycle.
    found = None if above and id(x) in above else _children(x, above)
    if found is None:
        leaves.append(x)
        return LEAF
    kind, aux, parts = found
    if type(aux) is _Attributes:
        above = (*above, id(x))
    return Structure(kind, aux, tuple([_walk(p, leaves, above) for p in parts]))


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """Put leaves into a structure again.

    >>> leaves, s = flatten((1, {"k": 2}))
    >>> unflatten(s, [10, 20])
    (10, {'k': 20})
    """
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure.kind is None:
        return next(leaves)
    parts = [next(leaves) if c is LEAF else _build(c, leaves) for c in structure.children]
    return _rebuild(structure.kind, structure.aux, parts)


def leaves(x: Any) -> list[Any]:
    """The leaves of a nested container, in order."""
    return flatten(x)[0]


def map(f: Callable[..., Any], x: Any, *rest: Any) -> Any:
    """Apply ``f`` to corresponding leaves.

    >>> map(lambda a, b: a + b, [1, (2,)], [10, (20,)])
    [11, (22,)]
    """
    first, structure = flatten(x)
    others = []
    for r in rest:
        more, s = flatten(r)
        if s != structure:
            raise ValueError(f"tree.map: structures differ: {structure} and {s}")
        others.append(more)
    return unflatten(structure, [f(*parts) for parts in zip(first, *others, strict=True)])

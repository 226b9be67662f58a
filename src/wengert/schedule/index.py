"""Index arithmetic: coordinates as affine functions of loop variables, followed through movements.

A kernel iterates over *atoms*, loop variables of known sizes. A coordinate of a value is an `Affine` over them.
Movements change coordinates and nothing else, so a value can be read through any chain of them. A reshape needs
its coordinates to be digits of a mixed-radix number; where an atom would have to be a part of two digits, `Straddle`
says how to cut it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..graph.node import Node


class Looked(NamedTuple):
    """An index that is looked up: the value of a node at coordinates, one of ``size`` (negative ones from the end)."""

    node: Node
    coords: tuple[Affine, ...]
    size: int


class Affine(NamedTuple):
    """``const + sum of coefficient * atom + sum of coefficient * looked-up index``."""

    const: int = 0
    terms: tuple[tuple[int, int], ...] = ()  # (atom, coefficient), by atom; zero coefficients are left out
    looked: tuple[tuple[Looked, int], ...] = ()

    def __add__(self, o: Affine) -> Affine:  # type: ignore[override]
        out = affine(self.const + o.const, [*self.terms, *o.terms])
        return out._replace(looked=self.looked + o.looked) if self.looked or o.looked else out

    def times(self, k: int) -> Affine:
        """Multiplied by a number."""
        if k == 1:
            return self
        terms = tuple([(a, c * k) for a, c in self.terms])
        return Affine(self.const * k, terms, tuple([(x, c * k) for x, c in self.looked])) if k else Affine()

    def plus(self, k: int) -> Affine:
        """With a number added."""
        return Affine(self.const + k, self.terms, self.looked)

    def coefficient(self, atom: int) -> int:
        """How far it moves with an atom."""
        return next((c for a, c in self.terms if a == atom), 0)


def affine(const: int, terms: Sequence[tuple[int, int]]) -> Affine:
    """Terms of one atom are added up."""
    total: dict[int, int] = {}
    for a, c in terms:
        total[a] = total.get(a, 0) + c
    return Affine(const, tuple(sorted((a, c) for a, c in total.items() if c)))


class Straddle(Exception):
    """An atom must be cut so that its inner part has a size."""

    def __init__(self, atom: int, inner: int) -> None:
        super().__init__(f"atom {atom} at {inner}")
        self.atom, self.inner = atom, inner


class Unaligned(Exception):
    """A reshape cannot be followed: its input must be computed on its own."""


Coords = tuple[Affine, ...]


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of row-major memory, in elements."""
    return tuple([math.prod(shape[i + 1 :]) for i in range(len(shape))])


def flat_index(coords: Coords, shape: Sequence[int]) -> Affine:
    """The position in row-major memory."""
    out = Affine()
    for c, s in zip(coords, strides_of(shape), strict=True):
        out = out + c.times(s)
    return out


def digits(flat: Affine, shape: Sequence[int], sizes: Sequence[int]) -> Coords:
    """Coordinates in ``shape`` of a position in row-major memory; ``sizes`` are those of the atoms."""
    strides = strides_of(shape)
    parts: list[list[tuple[int, int]]] = [[] for _ in shape]
    consts = [0] * len(shape)
    rest = flat.const
    if rest < 0 or flat.looked:
        raise Unaligned
    for d, s in enumerate(strides):
        consts[d], rest = divmod(rest, s)
    for atom, c in flat.terms:
        if sizes[atom] == 1:
            continue
        d = next((d for d, (s, n) in enumerate(zip(strides, shape, strict=True)) if n > 1 and s <= c < s * n), -1)
        if d < 0 or c % strides[d]:  # a negative coefficient finds no digit either
            raise Unaligned
        room = strides[d] * shape[d]
        if c * sizes[atom] > room and d:
            inner = room // c
            if room % c or sizes[atom] % inner or inner < 2:
                raise Unaligned
            raise Straddle(atom, inner)
        parts[d].append((atom, c // strides[d]))
    coords = tuple([affine(k, p) for k, p in zip(consts, parts, strict=True)])
    if any(c.const + sum(k * (sizes[a] - 1) for a, k in c.terms) >= n for c, n in zip(coords, shape, strict=True)):
        raise Unaligned
    return coords


def through(n: Node, coords: Coords, sizes: Sequence[int]) -> Coords:
    """The coordinates in the input of a movement, from those in its result."""
    attrs: dict[str, Any] = n.attrs
    name, shape = n.op.name, n.inputs[0].shape
    if name == "permute":
        out: list[Affine] = [Affine()] * len(coords)
        for i, source in enumerate(attrs["order"]):
            out[source] = coords[i]
        return tuple(out)
    if name == "expand":
        return tuple([c for i, c in enumerate(coords) if i not in attrs["axes"]])
    if name == "slice":
        return tuple([c.times(t[2]).plus(t[0]) for c, t in zip(coords, attrs["spec"], strict=True)])
    if name == "windows":
        rank = len(attrs["kernel"])
        lead = len(shape) - rank
        taps, places = coords[lead : lead + rank], coords[lead + rank :]
        steps = zip(taps, attrs["dilation"], places, attrs["stride"], strict=True)
        return (*coords[:lead], *[k.times(d) + o.times(s) for k, d, o, s in steps])
    if name == "strided":
        return tuple([
            _sum([c.times(step[axis]) for c, step in zip(coords, attrs["steps"], strict=True)]).plus(start)
            for axis, start in enumerate(attrs["start"])
        ])  # fmt: skip
    assert name == "reshape", name
    return reshaped(coords, n.shape, shape, sizes)


def reshaped(coords: Coords, shape: Sequence[int], source: Sequence[int], sizes: Sequence[int]) -> Coords:
    """Coordinates under ``source``, from those under ``shape``."""
    large = [(c, n) for c, n in zip(coords, shape, strict=True) if n != 1]
    if [n for _, n in large] == [n for n in source if n != 1]:  # only axes of size 1 come and go
        given = iter(large)
        return tuple([next(given)[0] if n != 1 else Affine() for n in source])
    return digits(flat_index(coords, shape), source, sizes)


def _sum(parts: list[Affine]) -> Affine:
    out = Affine()
    for p in parts:
        out = out + p
    return out


MOVEMENTS = frozenset({"permute", "expand", "slice", "strided", "reshape", "windows"})


def is_movement(n: Node) -> bool:
    """Whether a node only moves elements in a way that coordinates can be followed through."""
    return n.op is not None and n.op.name in MOVEMENTS

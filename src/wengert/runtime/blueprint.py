"""A program as plain data: all that the runtime needs to run a graph, and nothing that has to be worked out again.

Scheduling makes a blueprint of a graph (`scheduling`), a file holds one, and `program` makes it run; so a program that
was compiled before and one that is compiled now are made in the same way.

A file is JSON, behind it the bytes that the JSON refers to. Reading it runs no code.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes as dt
from ..optimize.checks import Check

LARGEST = 1 << 24  # bytes of constants in a file


class Array(NamedTuple):
    """An array in the buffer of a slot, ``offset`` bytes from its beginning; ``strides`` in bytes."""

    slot: int
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Host(NamedTuple):
    """An op that NumPy computes. ``op``: its name, or the op itself if it is not one of the library's.

    ``outs``: which of its results (-1: its only one) goes where. If ``source`` is not -1, there is nothing to compute:
    the results are those of the step with that number.
    """

    op: Any
    attrs: dict[str, Any]
    ins: tuple[Array, ...]
    outs: tuple[tuple[int, Array], ...]
    source: int = -1


class Looks(NamedTuple):
    """What must hold of the inputs: a program that looks at those numbered ``places``, and what it looks for."""

    blueprint: Blueprint
    places: tuple[int, ...]
    checks: tuple[Check, ...]


class Blueprint(NamedTuple):
    """A program. Values are numbered: the inputs, then those ``made`` (how many) for outside, then ``constants``.

    ``outputs``: the number of each output's value; those at the positions ``replaced`` are written over an input.
    ``names``: the kernels' entries, which ``objects`` define. ``steps``: a `Host`, or words for the driver with
    kernels by number (`driver.linked`). ``arena``, ``scratch``: bytes between kernels, and of each thread.
    ``wide``: whether more threads than one pay. ``waits``: whether kernels wait for each other. ``polls``: whether
    loops ask for interrupts. ``views``: the shape of each output's memory and how it is seen from there
    (`memory.Movement`), where outputs may be views. ``lookups``: what kernels look up that may be out of range. If
    a call ends early, by that or by an interrupt, the values ``sparing`` are not written.
    """

    outputs: tuple[int, ...]
    replaced: tuple[int, ...]
    made: int
    constants: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    objects: tuple[bytes, ...]
    steps: tuple[Any, ...]
    arena: int
    scratch: int
    wide: bool
    waits: bool
    polls: bool
    looks: Looks | None
    views: tuple[Any, ...] = ()
    lookups: tuple[Check, ...] = ()
    sparing: tuple[int, ...] = ()


_TUPLES = {t.__name__: t for t in (Array, Host, Looks, Blueprint, Check)}
_PLAIN = (bool, int, float, str, type(None))


def encode(blueprint: Blueprint) -> bytes | None:
    """The blueprint as bytes; None if it holds something that has no place in a file (code, or large constants)."""
    if sum(c.nbytes for c in blueprint.constants) > LARGEST:
        return None
    blobs: list[bytes] = []
    try:
        text = json.dumps([_as_json(blueprint, blobs), [len(b) for b in blobs]], separators=(",", ":")).encode()
    except TypeError:
        return None
    return b"".join([len(text).to_bytes(8, "little"), text, *blobs])


def decode(content: bytes) -> Blueprint | None:
    """The blueprint that `encode` wrote; None if the bytes are something else."""
    start = 8 + int.from_bytes(content[:8], "little")
    blobs: list[bytes] = []
    try:
        value, sizes = json.loads(content[8:start])
        for size in sizes:
            blobs.append(content[start : start + size])
            start += size
        found = _from_json(value, blobs)
    except (ValueError, TypeError, LookupError):
        return None
    return found if type(found) is Blueprint else None


def _as_json(x: Any, blobs: list[bytes]) -> Any:
    """Lists begin with what they stand for; numbers and strings stand for themselves."""
    if type(x) in _PLAIN:
        return x
    if type(x) is tuple or type(x).__name__ in _TUPLES:
        kind = "" if type(x) is tuple else type(x).__name__
        return [kind, *[_as_json(y, blobs) for y in x]]
    if isinstance(x, dict):
        return ["dict", *[[k, _as_json(y, blobs)] for k, y in x.items()]]
    if isinstance(x, np.dtype):
        return ["dtype", dt.of(x).name]
    if type(x) is bytes:
        blobs.append(x)
        return ["bytes", len(blobs) - 1]
    if isinstance(x, np.ndarray | np.generic):
        blobs.append(x.tobytes())
        kind = "array" if isinstance(x, np.ndarray) else "number"
        return [kind, dt.of(x.dtype).name, list(x.shape), len(blobs) - 1]
    raise TypeError(f"{type(x)} has no place in a file")


def _from_json(x: Any, blobs: list[bytes]) -> Any:
    if type(x) is not list:
        return x
    kind, *rest = x
    if kind in ("array", "number"):
        name, shape, i = rest
        found = np.ndarray(shape, dt.by_name(name).np, blobs[i])
        return found if kind == "array" else found[()]
    if kind == "bytes":
        return blobs[rest[0]]
    if kind == "dtype":
        return dt.by_name(rest[0]).np
    if kind == "dict":
        return {k: _from_json(y, blobs) for k, y in rest}
    found = [_from_json(y, blobs) for y in rest]
    return tuple(found) if not kind else _TUPLES[kind](*found)

"""What an index means: slices for each dimension, new axes, and the arrays and masks that pick elements."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, IndexRangeError, TraceError, message
from ..graph.handle import Handle, wrap

_MASKS = (dt.NP_BOOL, dt.uint8.np)
_PLAIN = frozenset((int, slice))
_YES, _NO = np.zeros(1, np.int64), np.zeros(0, np.int64)


class Pick(NamedTuple):
    """An advanced index: positions along ``count`` dimensions of the basic view, from ``axis`` on, as one."""

    axis: int
    count: int
    index: Any  # integer handle
    mask: Any  # the boolean handle it comes from, or None
    dim: int  # of the indexed tensor, for messages


class Parsed(NamedTuple):
    """An index in normal form: slices for each dimension, the shape of the view, the advanced part."""

    spec: tuple[Any, ...]
    shape: tuple[int, ...]
    picks: list[Pick]


def _as_item(x: Any) -> Any:
    """An int, a slice, None, Ellipsis, a bool, or a handle of at least one dimension."""
    kind = type(x)
    if kind is int or kind is slice or kind is bool or x is None or x is Ellipsis:
        return x
    if isinstance(x, Handle):
        aval = x.aval
        if aval.shape or x._value is None:
            return x
        return bool(x._value) if aval.dtype == dt.NP_BOOL else operator.index(x)
    if isinstance(x, np.bool_):
        return bool(x)
    if isinstance(x, np.integer):
        return int(x)
    if isinstance(x, (list, tuple, range, np.ndarray)):
        return _as_array(x)
    try:
        return operator.index(x)
    except TypeError:
        raise IndexRangeError(
            message("getitem", "not an index", type(x).__name__,
                    "Use ints, slices, None, ..., or bool and integer tensors")
        ) from None  # fmt: skip


def _as_array(x: Any) -> Any:
    """A sequence of numbers, tensors or sequences as an index handle."""
    if isinstance(x, (list, tuple)) and any(isinstance(v, Handle) for v in x):
        x = [v.tolist() if isinstance(v, Handle) else v for v in x]
    array = np.asarray(x)
    if not array.size and array.dtype == np.float64 and not isinstance(x, np.ndarray):
        array = array.astype(np.int64)
    return wrap(array) if array.shape else _as_item(array[()])


def _width(item: Any) -> int:
    """How many dimensions an item consumes."""
    if isinstance(item, Handle):
        return item.aval.ndim if item.aval.dtype in _MASKS else 1
    return 0 if item is None or item is Ellipsis or type(item) is bool else 1


def _expand_ellipsis(items: list[Any], shape: tuple[int, ...]) -> list[Any]:
    ndim, seen = len(shape), f"a tensor of shape {list(shape)}"
    used = sum(map(_width, items))
    if used > ndim:
        raise IndexRangeError(message("getitem", "too many indices", f"{used} for {seen}"))
    spots = [i for i, x in enumerate(items) if x is Ellipsis]
    if len(spots) > 1:
        raise IndexRangeError(message("getitem", "an index can have one ellipsis", f"{len(spots)} for {seen}"))
    at = spots[0] if spots else len(items)
    return [*items[:at], *[slice(None)] * (ndim - used), *items[at + 1 :]]


def _range(i: int, n: int, d: int) -> tuple[int, int, int]:
    if not -n <= i < n:
        raise IndexRangeError(message("getitem", "index out of range", f"index {i} along dimension {d} with size {n}"))
    i = i + n if i < 0 else i
    return i, i + 1, 1


def _span(s: slice, n: int) -> tuple[tuple[int, int | None, int], int]:
    """The normal form of a slice, and its length."""
    if s.start is None and s.stop is None and s.step is None:
        return (0, n, 1), n
    try:
        start, stop, step = s.indices(n)
    except (TypeError, ValueError) as error:
        raise ArgumentError(message("getitem", str(error), repr(s))) from None
    length = len(range(start, stop, step))
    if not length:
        return (0, 0, 1), 0
    return (start, None if stop < 0 else stop, step), length


def parse(index: Any, shape: tuple[int, ...]) -> Parsed:
    """Bring an index of a tensor of that shape to normal form.

    Raises:
        IndexRangeError: an index out of range, too many of them, or one of a wrong kind.
    """
    items = index if type(index) is tuple else (index,)
    spec: list[Any] = []
    out: list[int] = []
    picks: list[Pick] = []
    if len(items) > len(shape) or not all([type(x) in _PLAIN for x in items]):
        items = _expand_ellipsis([_as_item(x) for x in items], shape)
    for x in items:
        d = len(spec)
        kind = type(x)
        if kind is int:
            spec.append(_range(x, shape[d], d))
        elif kind is slice:
            span, n = _span(x, shape[d])
            spec.append(span)
            out.append(n)
        elif x is None:
            out.append(1)
        elif kind is bool:
            picks.append(Pick(len(out), 1, wrap(_YES if x else _NO), None, d))
            out.append(1)
        else:
            sizes = shape[d : d + _width(x)]
            picks.append(_pick(x, len(out), sizes, d))
            spec.extend([(0, n, 1) for n in sizes])
            out.extend(sizes)
    for n in shape[len(spec) :]:
        spec.append((0, n, 1))
        out.append(n)
    if len(picks) > 1:
        check_picks("getitem", picks, shape)
    return Parsed(tuple(spec), tuple(out), picks)


def _pick(x: Any, axis: int, sizes: tuple[int, ...], d: int) -> Pick:
    """Check the kind of an index array or mask."""
    aval = x.aval
    if aval.dtype in _MASKS:
        if aval.shape != sizes:
            seen = f"{aval} for sizes {list(sizes)} from dimension {d} on"
            raise IndexRangeError(message("getitem", "the shape of the mask does not match", seen))
        return Pick(axis, len(sizes), None, x, d)
    if dt.of(aval.dtype).category != 1:
        raise IndexRangeError(message("getitem", "an index tensor must hold integers or bools", str(aval)))
    return Pick(axis, 1, x, None, d)


def check_picks(name: str, picks: list[Pick], shape: tuple[int, ...]) -> None:
    """Raise if a known index lies outside of -n ... n - 1; a single one is checked where it is used."""
    for pick in picks:
        if pick.index is None or pick.index._value is _YES or pick.index._value is _NO:
            continue
        v, n = pick.index._value, shape[pick.dim]
        if v is None or not v.size:
            continue
        low, high = v.min(), v.max()
        if low < -n or high >= n:
            bad = low if low < -n else high
            seen = f"index {bad} along dimension {pick.dim} with size {n}"
            raise IndexRangeError(message(name, "index out of range", seen))


def positions(pick: Pick) -> Any:
    """The integer index of a pick; a mask must be known for that."""
    if pick.index is not None:
        return pick.index
    if pick.mask._value is None:
        raise TraceError(
            message("indexing by a mask", "how many it chooses is not known while tracing", str(pick.mask.aval),
                    "Write x[mask] = value, or wg.where(mask, a, b), whose shapes do not depend on it")
        )  # fmt: skip
    return wrap(np.flatnonzero(pick.mask._concrete("indexing by a mask")))

"""Indexing: ``x[index]`` and ``x[index] = value`` with PyTorch's meaning.

Ints, slices (negative steps too), None, Ellipsis and bools select a *view*; masks and integer arrays
pick elements into new memory. Ints take effect first, as in PyTorch: only arrays and masks count as
advanced indices, whose dimension stands where they stood if they are adjacent, else in front.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..errors import IndexRangeError, ShapeError, message
from ..graph.alias import assign, check_writable, is_recorded, make_view, origin_of, owned_base, view_along
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from ..ops.index import blocks, wrapped
from .front import cast, expand_to
from .index_parsing import Parsed, Pick, check_picks, parse, positions

_SLICE, _RESHAPE, _TAKE, _PUT, _WHERE = (OPS[n] for n in ("slice", "reshape", "take_rows", "put_rows", "where"))


# -- reading ---------------------------------------------------------------------------------


def _path(shape: tuple[int, ...], p: Parsed) -> tuple[Any, ...]:
    """The movements of the ints, slices and new axes; none where they change nothing."""
    path: list[Any] = []
    for (start, stop, step), n in zip(p.spec, shape, strict=True):
        if start or stop != n or step != 1:
            path.append((_SLICE, {"spec": p.spec}))
            shape = tuple([len(range(*slice(*t).indices(m))) for t, m in zip(p.spec, shape, strict=True)])
            break
    if shape != p.shape:
        path.append((_RESHAPE, {"shape": p.shape}))
    return tuple(path)


def _basic(x: Any, shape: tuple[int, ...], p: Parsed) -> Any:
    """The view of the ints, slices and new axes; the tensor itself where they change nothing."""
    path = _path(shape, p)
    return view_along(x, path) if path else x


def getitem(input: Any, index: Any) -> Any:
    """``x[index]``.

    >>> import wengert as wg
    >>> x = wg.arange(6).reshape(2, 3)
    >>> x[1, ::-1]
    tensor([5, 4, 3])
    >>> x[:, [2, 0]]
    tensor([[2, 0],
            [5, 3]])
    """
    value = input._value
    shape = input.aval.shape if value is None else value.shape
    kind = type(index)
    if kind is int:
        key: Any = (shape, index)
    else:
        key = _key(shape, index if kind is tuple else (index,))
    known = _known.get(key)
    if known is not None:
        op, attrs, rest, where = known
        return view_along(input, ((op, attrs), *rest), where)  # the pair is new, for views are told apart by it
    p = parse(index, shape)
    if key is not None and not p.picks:
        _keep(key, index, _path(shape, p) or ((_RESHAPE, {"shape": p.shape}),))
    y = _basic(input, shape, p)
    if p.picks:
        try:
            return _take(y, p.picks)
        except IndexRangeError:
            check_picks("getitem", p.picks, shape)  # knows the dimension
            raise
    return make_view(y, _RESHAPE, {"shape": p.shape}) if y is input else y


_known: dict[Any, tuple[Any, dict[str, Any], Any, Any]] = {}  # what plain indices of tensors of a shape mean
_KNOWN = 4096  # how many of them are kept
_ENDS = frozenset((int, type(None)))


def _key(shape: tuple[int, ...], items: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """An index of ints, slices, new axes and dots as something that can be hashed; None for any other."""
    key: list[Any] = [shape, slice]
    for x in items:
        kind = type(x)
        if kind is slice:
            a, b, c = x.start, x.stop, x.step
            if type(a) not in _ENDS or type(b) not in _ENDS or type(c) not in _ENDS:
                return None
            key += (a, b, c, slice)
        elif kind is int or x is None or x is Ellipsis:
            key.append(x)
        else:
            return None
    return tuple(key)


def _keep(key: Any, index: Any, path: tuple[Any, ...]) -> None:
    """Remember the movements of a plain index, and what it is to NumPy."""
    if len(_known) >= _KNOWN:
        _known.clear()
    (op, attrs), *rest = path
    where = index if type(index) is tuple else (index,)
    _known[key] = (op, attrs, tuple(rest), where if Ellipsis in where else (*where, ...))


def _plan(shape: tuple[int, ...], picks: list[Pick]) -> tuple[int, int, int]:
    """Where the picked dimensions stand: their first axis, how many, and where the result's go."""
    first, count = picks[0].axis, sum(p.count for p in picks)
    adjacent = picks[-1].axis + picks[-1].count - first == count
    return first, count, first if adjacent else 0


def _gathered(y: Any, picks: list[Pick], front: int, view: bool = False) -> Any:
    """``y`` with the picked dimensions together at ``front`` and merged into one."""
    shape = y.aval.shape
    axes = [a for p in picks for a in range(p.axis, p.axis + p.count)]
    rest = [i for i in range(len(shape)) if i not in axes]
    order = (*rest[:front], *axes, *rest[front:])
    if order != tuple(range(len(shape))):
        y = apply(OPS["permute"], (y,), {"order": order})
    if len(axes) == 1:
        return y
    merged = (*[shape[i] for i in rest[:front]], math.prod(shape[i] for i in axes), *[shape[i] for i in rest[front:]])
    return apply(_RESHAPE, (y,), {"shape": merged})


def _linear(picks: list[Pick], shape: tuple[int, ...]) -> Any:
    """One index into the merged dimensions."""
    indices = [positions(p) for p in picks]
    if len(indices) == 1:
        return indices[0]
    sizes = [math.prod(shape[p.axis : p.axis + p.count]) for p in picks]
    if STATE.watchers or any(i._value is None for i in indices):
        out: Any = 0
        for i, n, d in zip(indices, sizes, [p.dim for p in picks], strict=True):
            out = out * n + wrapped(cast(i, dt.int64), n, axis=d)
        return out
    try:
        arrays = np.broadcast_arrays(*[i._value for i in indices])
    except ValueError:
        seen = ", ".join(str(list(i.aval.shape)) for i in indices)
        raise IndexRangeError(message("getitem", "index tensors do not broadcast", f"shapes {seen}")) from None
    out = 0
    for a, n in zip(arrays, sizes, strict=True):
        out = out * n + wrapped(a.astype(np.int64), n)
    return wrap(np.asarray(out))


def _take(y: Any, picks: list[Pick]) -> Any:
    first, _, front = _plan(y.aval.shape, picks)
    if len(picks) == 1 and picks[0].count == 1:
        index = positions(picks[0])
        return apply(_TAKE, (y, index), {"axis": first} if first else {})
    index = _linear(picks, y.aval.shape)
    return apply(_TAKE, (_gathered(y, picks, front), index), {"axis": front} if front else {})


# -- writing ---------------------------------------------------------------------------------


def _value_for(x: Any, value: Any) -> Any:
    """The value in the dtype of ``x``."""
    if isinstance(value, Handle):
        return cast(value, dt.of(x.aval.dtype))
    try:
        array = np.asarray(value)
        return wrap(array if array.dtype == x.aval.dtype else _cast_array(array, x.aval.dtype))
    except (TypeError, ValueError) as error:
        raise ShapeError(message("setitem", f"cannot store this value ({error})", type(value).__name__)) from None


def _cast_array(array: Any, dtype: Any) -> Any:
    if array.dtype.kind == "c" and dtype not in dt.COMPLEX_NP:
        array = array.real
    return STATE.quiet(array.astype, dtype)


def _fit(value: Any, target: tuple[int, ...], seen: Any) -> Any:
    """Broadcast a value to the shape that is written; leading ones too many are dropped."""
    shape = value.aval.shape
    if shape == target:
        return value
    own = shape
    while len(own) > len(target) and own[0] == 1:
        own = own[1:]
    if len(own) > len(target) or any(n not in (1, m) for n, m in zip(reversed(own), reversed(target), strict=False)):
        raise ShapeError(message("setitem", "the value does not fit", f"{value.aval} into {list(target)} of {seen}"))
    if own != shape:
        value = apply(_RESHAPE, (value,), {"shape": own})
    return value if value._value is not None and not STATE.watchers else expand_to(value, target)


def setitem(x: Any, index: Any, value: Any) -> None:
    """``x[index] = value``: the value is broadcast and cast; views and bases see it.

    Outside of any graph the memory is written; else the tensor is bound to a new node and the old
    value stays what it was.

    Raises:
        IndexRangeError, ShapeError: nothing is changed then.
    """
    check_writable("setitem", x)
    p = parse(index, x.aval.shape)
    if isinstance(value, Handle) and _is_that_part(x, p, value):
        return
    value = _value_for(x, value)
    try:
        if is_recorded(x, value):
            _set_recorded(x, p, value)
        else:
            _set_memory(x, p, value)
    except IndexError:
        check_picks("setitem", p.picks, x.aval.shape)
        raise


def _is_that_part(x: Any, p: Parsed, value: Any) -> bool:
    """Whether the value already is this view: Python ends ``x[i] += v`` by setting ``x[i]`` to it."""
    if p.picks or value._alias is None:
        return False
    base, path = origin_of(x)
    there, its_path = origin_of(value)
    return there is base and its_path == path + _path(x.aval.shape, p)


def _indices_of(p: Parsed) -> tuple[Any, ...]:
    """The advanced part as a NumPy index of the basic view."""
    index: list[Any] = [slice(None)] * len(p.shape)
    for pick in reversed(p.picks):
        taken = pick.index._value if pick.mask is None else pick.mask._value.astype(bool)
        index[pick.axis : pick.axis + pick.count] = [taken]
    return tuple(index)


def _set_memory(x: Any, p: Parsed, value: Any) -> None:
    target = p.shape if not p.picks else _picked_shape(p)
    value = _fit(value, target, x.aval)
    owned_base(x)
    place = x._value[(*[slice(*t) for t in p.spec], ...)]  # the dots make a view of a 0-d array too
    if place.shape != p.shape:
        place = place.reshape(p.shape)
    if p.picks:
        place[_indices_of(p)] = value._value
    else:
        place[...] = value._value


def _picked_shape(p: Parsed) -> tuple[int, ...]:
    """Shape of what an advanced index picks."""
    _, _, front = _plan(p.shape, p.picks)
    shapes = [
        pick.index.aval.shape if pick.mask is None else (int(np.count_nonzero(pick.mask._value)),) for pick in p.picks
    ]
    try:
        inner = shapes[0] if len(shapes) == 1 else np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexRangeError(
            message("setitem", "index tensors do not broadcast", f"shapes {', '.join(map(str, shapes))}")
        ) from None
    axes = {a for pick in p.picks for a in range(pick.axis, pick.axis + pick.count)}
    rest = [n for i, n in enumerate(p.shape) if i not in axes]
    return (*rest[:front], *inner, *rest[front:])


def _set_recorded(x: Any, p: Parsed, value: Any) -> None:
    """By nodes: the basic view is given the new contents, through which the base gets them."""
    if not p.picks:
        value = _fit(value, p.shape, x.aval)
        y = _basic(x, x.aval.shape, p)
        value = expand_to(value, p.shape)
        assign("setitem", y, apply(OPS["clone"], (value,)) if y is x else value)
        return
    y = _basic(x, x.aval.shape, p)
    masked = p.picks[0].mask
    if (
        masked is not None
        and len(p.picks) == 1
        and value.aval.ndim <= len(p.shape) - p.picks[0].count - p.picks[0].axis
    ):
        new = _set_where(y, p.picks[0], value)
    else:
        new = set_rows(y, p, value)
    assign("setitem", y, new)


def _set_where(y: Any, pick: Pick, value: Any) -> Any:
    """A mask and a value that is the same for all of its elements: no positions are needed."""
    shape = y.aval.shape
    mask = apply(_RESHAPE, (cast(pick.mask, dt.bool_),),
                 {"shape": (*pick.mask.aval.shape, *[1] * (len(shape) - pick.axis - pick.count))})  # fmt: skip
    _fit(value, shape[pick.axis + pick.count :], y.aval)
    return apply(_WHERE, (expand_to(mask, shape), expand_to(value, shape), y))


def set_rows(y: Any, p: Parsed, value: Any, add: bool = False) -> Any:
    """Integer positions: rows are written (or added to), and the dimensions put back in place."""
    shape = p.shape
    _, _, front = _plan(shape, p.picks)
    index = _linear(p.picks, shape)
    axes = [a for pick in p.picks for a in range(pick.axis, pick.axis + pick.count)]
    rest = [i for i in range(len(shape)) if i not in axes]
    inner = index.aval.ndim
    target = (*[shape[i] for i in rest[:front]], *index.aval.shape, *[shape[i] for i in rest[front:]])
    value = blocks(expand_to(_fit(value, target, y.aval), target), front, inner, 0)
    rows = _gathered(y, p.picks, 0)
    if add:
        rows = apply(OPS["add"], (rows, apply(OPS["add_rows"], (value, index), {"n": rows.aval.shape[0]})))
    else:
        rows = apply(_PUT, (rows, index, value), {"unique": True} if p.picks[0].mask is not None else {})
    out = apply(_RESHAPE, (rows,), {"shape": tuple(shape[i] for i in (*axes, *rest))})
    back = [0] * len(shape)
    for i, a in enumerate((*axes, *rest)):
        back[a] = i
    return apply(OPS["permute"], (out,), {"order": tuple(back)})


__all__: list[str] = []
EXTRA_METHODS = {"__getitem__": getitem}

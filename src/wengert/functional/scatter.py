"""Gathering and scattering by index tensors and masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from ..ops.index import blocks, cast_index, checked, wrapped
from .front import SIZE_UNKNOWN, broadcast_shape, cast, expand_to
from .index_parsing import parse
from .indexing import set_rows
from .reduction import normal_dim
from .shape import reshape
from .sorting import searchsorted

_SLICE, _RESHAPE, _TAKE, _ADD, _PUT, _WHERE = (
    OPS[n] for n in ("slice", "reshape", "take_rows", "add_rows", "put_rows", "where")
)
_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


# -- checks ----------------------------------------------------------------------------------


def _check_index(name: str, index: Any, n: int, dim: int, negative: bool = False) -> Any:
    """The index; raise unless it holds integers in range."""
    if not isinstance(index, Handle) or dt.of(index.aval.dtype).category != 1:
        seen = str(index.aval) if isinstance(index, Handle) else type(index).__name__
        raise DTypeError(message(name, "the index must be an integer tensor", seen, "Convert with x.long()"))
    v = index._value
    if v is None:
        return checked(name, index, n, dim, negative)
    if not v.size:
        return index
    low, high = v.min(), v.max()
    if high >= n or low < (-n if negative else 0):
        bad = high if high >= n else low
        raise IndexRangeError(message(name, "index out of range", f"index {bad} along dimension {dim} with size {n}"))
    return index


def _same_dtype(name: str, input: Any, src: Any) -> None:
    if input.aval.dtype != src.aval.dtype:
        raise DTypeError(
            message(name, "input and source must have one dtype", describe((input.aval, src.aval)), "Cast the source")
        )


def _at_least_1d(x: Any) -> Any:
    return x if x.aval.shape else apply(_RESHAPE, (x,), {"shape": (1,)})


def _cut(x: Any, shape: tuple[int, ...]) -> Any:
    """The leading part of that shape."""
    if x.aval.shape == shape:
        return x
    return apply(_SLICE, (x,), {"spec": tuple((0, n, 1) for n in shape)})


def _lane_args(name: str, input: Any, dim: int, index: Any, src: Any = None) -> tuple[Any, int, Any, Any]:
    """Operands of the functions that work along ``dim``, with at least one dimension, checked."""
    d = normal_dim(name, dim, len(input.aval.shape))
    x = _at_least_1d(input)
    n = x.aval.shape[d]
    index = _check_index(name, index, n, d)
    i = _at_least_1d(index)
    a, b = x.aval, i.aval
    if a.ndim != b.ndim or any(
        m > k for j, (m, k) in enumerate(zip(b.shape, a.shape, strict=True)) if j != d and b.size
    ):
        raise ShapeError(
            message(name, f"the index must not exceed the input except in dimension {d}", describe((a, b)))
        )
    if src is not None:
        src = _at_least_1d(src)
        if src.aval.ndim != b.ndim or any(m > k for m, k in zip(b.shape, src.aval.shape, strict=True)):
            raise ShapeError(message(name, "the index must not exceed the source", describe((src.aval, b))))
        src = _cut(src, b.shape)
    return x, d, i, src


def _lane_positions(index: Any, dim: int, shape: tuple[int, ...]) -> Any:
    """Flat positions in a tensor of ``shape`` of elements picked along ``dim``."""
    step = math.prod(shape[dim + 1 :])
    rest = np.zeros(index.aval.shape, np.int64)
    for i, n in enumerate(index.aval.shape):
        if i != dim:
            place = np.arange(n) * math.prod(shape[i + 1 :])
            rest += place.reshape(-1, *([1] * (len(shape) - 1 - i)))
    if index._value is not None and not STATE.watchers:
        return wrap(np.asarray(index._value.astype(np.int64) * step + rest))
    return cast_index(index) * step + wrap(rest)


def _flat(x: Any) -> Any:
    return x if len(x.aval.shape) == 1 else apply(_RESHAPE, (x,), {"shape": (x.aval.size,)})


def _fill(like: Any, value: Any) -> Any:
    return apply(OPS["fill"], (like,), {"value": value})


# -- gathering -------------------------------------------------------------------------------


def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    """Elements along ``dim``: ``out[i, j] = input[index[i, j], j]`` for dim = 0.

    Raises:
        IndexRangeError: an index outside of 0 ... n - 1.
        ShapeError: the index is larger than the input in another dimension.
    """
    if not index.aval.size and len(index.aval.shape) != len(input.aval.shape):
        normal_dim("gather", dim, len(input.aval.shape))
        return wrap(np.zeros(index.aval.shape, input.aval.dtype))
    x, d, i, _ = _lane_args("gather", input, dim, index)
    if not i.aval.size:
        i = apply(_RESHAPE, (i,), {"shape": i.aval.shape})
    sizes = tuple(n if k == d else m for k, (m, n) in enumerate(zip(i.aval.shape, x.aval.shape, strict=True)))
    if any(m > n for m, n in zip(sizes, x.aval.shape, strict=True)):  # only where the index is empty
        return wrap(np.zeros(i.aval.shape, x.aval.dtype))
    out = apply(OPS["gather"], (_cut(x, sizes), i), {"dim": d})
    return out if index.aval.shape else apply(_RESHAPE, (out,), {"shape": ()})


def _any_negative(index: Any) -> bool:
    """Whether indices count from the end, as far as they are known."""
    value = index._value
    return value is not None and value.dtype.kind == "i" and bool((value < 0).any())


def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """`gather` with broadcasting; without ``dim`` from the flat input."""
    if dim is None:
        return gather(reshape(input, (input.aval.size,)), 0, reshape(indices, (indices.aval.size,)))
    a, b = input.aval, indices.aval
    if a.ndim != b.ndim:
        raise ShapeError(message("take_along_dim", "needs equally many dimensions", describe((a, b))))
    d = normal_dim("take_along_dim", dim, a.ndim)
    indices = indices % a.shape[d] if a.shape[d] and _any_negative(indices) else indices
    hole = [x.with_shape((*x.shape[:d], 1, *x.shape[d + 1 :])) for x in (a, b)]
    shape = broadcast_shape("take_along_dim", hole)
    x = expand_to(input, (*shape[:d], a.shape[d], *shape[d + 1 :]))
    return gather(x, d, expand_to(indices, (*shape[:d], b.shape[d], *shape[d + 1 :])))


def index_select(input: Any, dim: int, index: Any) -> Any:
    """Entries along ``dim``, by a vector of indices.

    >>> import wengert as wg
    >>> wg.index_select(wg.eye(3), 1, wg.tensor([2, 0]))
    tensor([[0., 1.],
            [0., 0.],
            [1., 0.]])
    """
    d = normal_dim("index_select", dim, len(input.aval.shape))
    if len(index.aval.shape) > 1:
        raise IndexRangeError(message("index_select", "the index must be a vector", str(index.aval)))
    x = _at_least_1d(input)
    index = _check_index("index_select", index, x.aval.shape[d], d)
    out = apply(_TAKE, (x, _at_least_1d(index)), {"axis": d} if d else {})
    return out if input.aval.shape else apply(_RESHAPE, (out,), {"shape": ()})


def take(input: Any, index: Any) -> Any:
    """Elements of the flat input."""
    index = _check_index("take", index, input.aval.size, 0, negative=True)
    return apply(_TAKE, (reshape(input, (input.aval.size,)), index))


# -- positions -------------------------------------------------------------------------------


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """Positions of the elements that are not zero: a matrix, one row each, or a vector a dimension.

    >>> import wengert as wg
    >>> wg.nonzero(wg.tensor([[0, 3], [5, 0]]))
    tensor([[0, 1],
            [1, 0]])
    """
    value = input._concrete("nonzero", SIZE_UNKNOWN)
    if as_tuple:
        return tuple(wrap(i) for i in np.nonzero(np.atleast_1d(value)))
    if not value.ndim:
        return wrap(np.zeros((int(bool(value)), 0), np.int64))
    return wrap(np.stack(np.nonzero(value), axis=1).astype(np.int64, copy=False))


def argwhere(input: Any) -> Any:
    """Positions of the elements that are not zero, one row each."""
    return nonzero(input)


def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """Coordinates, a tensor a dimension, of flat indices."""
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if dt.of(indices.aval.dtype).category != 1:
        raise DTypeError(message("unravel_index", "needs an integer tensor", str(indices.aval)))
    indices = _check_index("unravel_index", indices, math.prod(sizes), 0, negative=True)
    rest = wrapped(cast_index(indices), math.prod(sizes)) if indices._value is None else wrap(
        np.asarray(wrapped(indices._value.astype(np.int64), math.prod(sizes)))
    )  # fmt: skip
    out: list[Any] = []
    for n in reversed(sizes):
        out.append(rest.remainder(n))
        rest = rest.div(n, rounding_mode="floor")
    return tuple(reversed(out))


# -- scattering along a dimension ------------------------------------------------------------


def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """The input with ``src`` (a tensor or a number) written at ``index`` along ``dim``; the last of equal indices wins.

    ``reduce`` 'add' or 'multiply' combines instead.
    """
    src = value if src is None else src
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            raise ArgumentError(message("scatter", "reduce must be 'add' or 'multiply'", repr(reduce)))
        if not isinstance(src, Handle):
            src = wrap(np.full(index.aval.shape, src, input.aval.dtype))
        return scatter_reduce(input, dim, index, src, "sum" if reduce == "add" else "prod")
    if isinstance(src, Handle):
        _same_dtype("scatter", input, src)
        x, d, i, src = _lane_args("scatter", input, dim, index, src)
    else:
        x, d, i, _ = _lane_args("scatter", input, dim, index)
        src = wrap(np.full(i.aval.shape, src, x.aval.dtype))
    if not i.aval.size:
        return apply(OPS["clone"], (input,))
    flat = apply(_PUT, (_flat(x), _lane_positions(i, d, x.aval.shape), src))
    return apply(_RESHAPE, (flat,), {"shape": input.aval.shape})


def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """The input with ``src`` added at ``index`` along ``dim``."""
    _same_dtype("scatter_add", input, src)
    x, d, i, src = _lane_args("scatter_add", input, dim, index, src)
    if not i.aval.size:
        return apply(OPS["clone"], (input,))
    shape = x.aval.shape
    out = apply(OPS["scatter_add"], (src, i), {"dim": d, "n": shape[d]})
    if out.aval.shape != shape:
        pads = tuple((0, n - m) for n, m in zip(shape, out.aval.shape, strict=True))
        out = apply(OPS["pad"], (out,), {"pads": pads})
    return apply(OPS["add"], (input, out if input.aval.shape else apply(_RESHAPE, (out,), {"shape": ()})))


def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """Combine ``src`` into the input at ``index`` along ``dim`` by 'sum', 'prod', 'mean', 'amax' or 'amin'.

    ``include_self`` False: elements of the input to which something is sent do not count.
    """
    if reduce not in _REDUCTIONS:
        raise ArgumentError(message("scatter_reduce", f"reduce must be one of {', '.join(_REDUCTIONS)}", repr(reduce)))
    _same_dtype("scatter_reduce", input, src)
    x, d, i, src = _lane_args("scatter_reduce", input, dim, index, src)
    if not i.aval.size:
        return apply(OPS["clone"], (input,))
    index = _flat(_lane_positions(i, d, x.aval.shape))
    out = _combine(_flat(x), index, _flat(src), reduce, include_self)
    return apply(_RESHAPE, (out,), {"shape": input.aval.shape})


def _combine(base: Any, index: Any, value: Any, how: str, include_self: bool) -> Any:
    """Vectors: ``base`` with the entries of ``value`` at ``index`` combined into it."""
    if how in ("amax", "amin"):
        return apply(OPS["max_rows"], (base, index, value), {"largest": how == "amax", "include_self": include_self})
    n = {"n": base.aval.size}
    hits = apply(_ADD, (_fill(value, 1), index), n)
    if not include_self:
        neutral = _fill(base, 1 if how == "prod" else 0)
        base = apply(_WHERE, (hits > 0, neutral, base))
    if how == "prod":
        return apply(OPS["mul"], (base, _products(index, value, base)))
    out = apply(OPS["add"], (base, apply(_ADD, (value, index), n)))
    if how == "sum":
        return out
    count = hits + 1 if include_self else apply(_WHERE, (hits > 0, hits, _fill(hits, 1)))
    return out / count if base.aval.dtype in dt.INEXACT_NP else out.div(count, rounding_mode="floor")


def _products(index: Any, value: Any, like: Any) -> Any:
    """The product of the values sent to each place.

    In the order of their places each entry is multiplied with the one before, then with the one two before, and so
    on, where both are of one place: the last of a place is its product. Products alone, whose derivatives of any order
    are right also where factors are zero.
    """
    n, numbers = value.aval.size, wrap(np.arange(like.aval.size))
    if not n or not like.aval.size:
        return _fill(like, 1)
    places, order = apply(OPS["sort"], (cast(index, dt.int64),), {"axis": 0, "descending": False})
    v, step = apply(_TAKE, (value, order)), 1
    while step < (n if index._value is None else np.bincount(index._value).max()):
        late, early = ((step, n, 1),), ((0, n - step, 1),)
        alike = OPS["eq"](*(apply(_SLICE, (places,), {"spec": spec}) for spec in (late, early)))
        own, other = (apply(_SLICE, (v,), {"spec": spec}) for spec in (late, early))
        longer = OPS["mul"](own, apply(_WHERE, (alike, other, _fill(other, 1))))
        v = apply(OPS["set_slice"], (v, longer), {"spec": late})
        step *= 2
    last = OPS["maximum"](searchsorted(places, numbers, right=True) - 1, _fill(numbers, 0))
    hit = OPS["eq"](apply(_TAKE, (places, last)), numbers)
    return apply(_WHERE, (hit, apply(_TAKE, (v, last)), _fill(like, 1)))


# -- whole entries along a dimension -----------------------------------------------------------


def _entry_args(name: str, input: Any, dim: int, index: Any, source: Any) -> tuple[Any, int, Any, Any]:
    """Operands of index_add and its like: ``source`` has an entry along ``dim`` for each index."""
    d = normal_dim(name, dim, len(input.aval.shape))
    x, source = _at_least_1d(input), _at_least_1d(source)
    if len(index.aval.shape) > 1:
        raise IndexRangeError(message(name, "the index must be a vector", str(index.aval)))
    index = _check_index(name, index, x.aval.shape[d], d)
    i = _at_least_1d(index)
    shape = x.aval.shape
    if source.aval.shape != (*shape[:d], i.aval.size, *shape[d + 1 :]):
        raise ShapeError(
            message(name, "the source does not fit input and index", describe((x.aval, i.aval, source.aval)))
        )
    _same_dtype(name, input, source)
    return x, d, i, source


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """The input with ``alpha * source`` added to the entries ``index`` along ``dim``."""
    x, d, i, source = _entry_args("index_add", input, dim, index, source)
    out = apply(_ADD, (source, i), {"n": x.aval.shape[d], "axis": d} if d else {"n": x.aval.shape[d]})
    out = out if input.aval.shape else apply(_RESHAPE, (out,), {"shape": ()})
    return apply(OPS["add"], (input, out if alpha == 1 else cast(out * alpha, dt.of(input.aval.dtype))))


def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """The input with the entries ``index`` along ``dim`` replaced by those of ``source``."""
    x, d, i, source = _entry_args("index_copy", input, dim, index, source)
    out = blocks(apply(_PUT, (blocks(x, d, 1, 0), i, blocks(source, d, 1, 0))), 0, 1, d)
    return out if input.aval.shape else apply(_RESHAPE, (out,), {"shape": ()})


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """The input with the entries ``index`` along ``dim`` set to a number or a 0-d tensor."""
    d = normal_dim("index_fill", dim, len(input.aval.shape))
    shape = input.aval.shape or (1,)
    index = _check_index("index_fill", index, shape[d], d, negative=True)
    i = _at_least_1d(index)
    hit = apply(_PUT, (wrap(np.zeros(shape[d], bool)), i, wrap(np.ones(i.aval.shape, bool))))
    hit = apply(_RESHAPE, (hit,), {"shape": (shape[d], *[1] * (len(shape) - d - 1)) if input.aval.shape else ()})
    return masked_fill(input, hit, value)


def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """Combine entries of ``source`` into the entries ``index`` along ``dim``: 'prod', 'mean', 'amax', 'amin'."""
    if reduce not in _REDUCTIONS[1:]:
        raise ArgumentError(message("index_reduce", "reduce must be prod, mean, amax or amin", repr(reduce)))
    x, d, i, source = _entry_args("index_reduce", input, dim, index, source)
    lane = apply(_RESHAPE, (i,), {"shape": tuple(i.aval.size if k == d else 1 for k in range(x.aval.ndim))})
    out = scatter_reduce(x, d, expand_to(lane, source.aval.shape), source, reduce, include_self=include_self)
    return out if input.aval.shape else apply(_RESHAPE, (out,), {"shape": ()})


# -- single elements -------------------------------------------------------------------------


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """The input with elements of its flat form replaced (or added to, with ``accumulate``)."""
    _same_dtype("put", input, source)
    if index.aval.size != source.aval.size:
        raise ShapeError(message("put", "needs one index for each element", describe((index.aval, source.aval))))
    index = _check_index("put", index, input.aval.size, 0, negative=True)
    flat, i, v = _flat(input), _flat(index), _flat(source)
    if accumulate:
        out = apply(OPS["add"], (flat, apply(_ADD, (v, i), {"n": input.aval.size})))
    else:
        out = apply(_PUT, (flat, i, v))
    return apply(_RESHAPE, (out,), {"shape": input.aval.shape})


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """The input after ``input[indices] = values`` (``+=`` with every duplicate, with ``accumulate``)."""
    _same_dtype("index_put", input, values)
    p = parse(tuple(slice(None) if i is None else _at_least_1d(i) for i in indices), input.aval.shape)
    if not p.picks:
        return expand_to(values, input.aval.shape)
    return set_rows(input, p, values, add=accumulate)


# -- masks -----------------------------------------------------------------------------------


def _check_mask(name: str, mask: Any) -> None:
    if not isinstance(mask, Handle) or mask.aval.dtype != dt.NP_BOOL:
        seen = str(mask.aval) if isinstance(mask, Handle) else type(mask).__name__
        raise DTypeError(message(name, "the mask must be a bool tensor", seen, "Convert with mask.bool()"))


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """``value`` (a number or a 0-d tensor) where the mask holds, else the input; the two are broadcast.

    >>> import wengert as wg
    >>> wg.masked_fill(wg.ones(3), wg.tensor([True, False, True]), -1)
    tensor([-1.,  1., -1.])
    """
    _check_mask("masked_fill", mask)
    own = dt.of(input.aval.dtype)
    if isinstance(value, Handle) and value.aval.shape:
        raise ShapeError(message("masked_fill", "the value must be a number or a 0-d tensor", str(value.aval)))
    given = dt.of(value.aval.dtype) if isinstance(value, Handle) else dt.python_dtype(value)
    if given.category > max(own.category, 1 if isinstance(value, Handle) else 2):
        raise DTypeError(message("masked_fill", f"cannot store {given.name} in {own.name}", str(input.aval)))
    shape = broadcast_shape("masked_fill", (input.aval, mask.aval))
    parts = (expand_to(mask, shape), expand_to(cast(value, own), shape), expand_to(input, shape))
    return apply(_WHERE, parts)


def masked_select(input: Any, mask: Any) -> Any:
    """The elements where the mask holds, as a vector; the two are broadcast."""
    _check_mask("masked_select", mask)
    shape = broadcast_shape("masked_select", (input.aval, mask.aval))
    known = np.broadcast_to(mask._concrete("masked_select", SIZE_UNKNOWN), shape)
    return apply(_TAKE, (_flat(expand_to(_at_least_1d(input), shape or (1,))), wrap(np.flatnonzero(known))))


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """Elements of ``source``, in order, where the mask holds, else the input."""
    _check_mask("masked_scatter", mask)
    _same_dtype("masked_scatter", input, source)
    shape = broadcast_shape("masked_scatter", (input.aval, mask.aval))
    x, m = expand_to(input, shape), expand_to(mask, shape)
    if m._value is not None and source.aval.size < np.count_nonzero(np.broadcast_to(m._value, shape)):
        raise ShapeError(message("masked_scatter", "the source has too few elements", describe((source.aval, m.aval))))
    if not source.aval.size:
        return apply(OPS["clone"], (x,))
    count = _flat(cast(m, dt.int64)).cumsum(0) - 1
    index = reshape(count.clamp(0, source.aval.size - 1), shape)
    return apply(_WHERE, (m, apply(_TAKE, (_flat(source), index)), x))


__all__ = [
    "argwhere", "gather", "index_add", "index_copy", "index_fill", "index_put", "index_reduce", "index_select",
    "masked_fill", "masked_scatter", "masked_select", "nonzero", "put", "scatter", "scatter_add", "scatter_reduce",
    "take", "take_along_dim", "unravel_index",
]  # fmt: skip
NOT_METHODS = ("unravel_index",)
INPLACE = (
    "index_add", "index_copy", "index_fill", "index_put", "index_reduce", "masked_fill", "masked_scatter", "put",
    "scatter", "scatter_add", "scatter_reduce",
)  # fmt: skip

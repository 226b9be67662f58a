"""Joining, repeating and rearranging: results in new memory, unless said otherwise."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, TraceError, message
from ..graph.alias import release
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from ..ops.index import checked
from .front import cast, promote
from .parts import diagonal_attrs
from .reduction import normal_dim
from .scan import cumsum
from .shape import (
    atleast_nd,
    expand,
    ints,
    reshape,
    tensors_of,
    transpose,
    unsqueeze,
)

_SLICE, _RESHAPE, _EXPAND, _CAT, _CLONE = (OPS[n] for n in ("slice", "reshape", "expand", "cat", "clone"))


def owned(x: Handle) -> Any:
    """A result in memory of its own, where an op has returned a part of its input."""
    if x._value is not None and (x._alias is not None or not x._value.flags.writeable or x._value.base is not None):
        release(x)
        x._value = np.array(x._value, order="C")
    return x


def _listed(name: str, tensors: Any) -> list[Any]:
    """The tensors to join, as a list."""
    if isinstance(tensors, Handle) or not isinstance(tensors, (list, tuple)):
        raise DTypeError(message(name, "needs a list or tuple of tensors", type(tensors).__name__))
    if not tensors:
        raise ArgumentError(message(name, "needs at least one tensor"))
    for x in tensors:
        if not isinstance(x, Handle):
            raise DTypeError(message(name, "needs a list or tuple of tensors", f"it holds {type(x).__name__}"))
    return list(tensors)


# -- joining ---------------------------------------------------------------------------------


def cat(tensors: Any, dim: int = 0) -> Any:
    """Put tensors one after the other along ``dim``; dtypes are promoted.

    Raises:
        ShapeError: sizes differ in another dimension.

    >>> import wengert as wg
    >>> wg.cat([wg.tensor([1, 2]), wg.tensor([3])])
    tensor([1, 2, 3])
    """
    parts = promote("cat", _listed("cat", tensors))
    full = [x for x in parts if x.aval.shape != (0,)] or parts[:1]  # an empty vector joins anything
    ndim = len(full[0].aval.shape)
    if not ndim:
        raise ShapeError(message("cat", "0-d tensors cannot be joined", str(full[0].aval), "Use stack"))
    return apply(_CAT, tuple(full), {"axis": normal_dim("cat", dim, ndim)})


concat = concatenate = cat


def stack(tensors: Any, dim: int = 0) -> Any:
    """Put tensors of one shape side by side along a new dimension."""
    parts = _listed("stack", tensors)
    first = parts[0].aval
    for x in parts[1:]:
        if x.aval.shape != first.shape:
            raise ShapeError(message("stack", "tensors must have one shape", f"{first} and {x.aval}"))
    d = normal_dim("stack", dim, len(first.shape) + 1)
    shape = (*first.shape[:d], 1, *first.shape[d:])
    return cat([apply(_RESHAPE, (x,), {"shape": shape}) for x in parts], d)


def hstack(tensors: Any) -> Any:
    """Join along the second dimension (the first of vectors)."""
    parts = [atleast_nd(1, (x,)) for x in _listed("hstack", tensors)]
    return cat(parts, 0 if len(parts[0].aval.shape) == 1 else 1)


def vstack(tensors: Any) -> Any:
    """Join along the first dimension; vectors count as rows."""
    return cat([atleast_nd(2, (x,)) for x in _listed("vstack", tensors)], 0)


row_stack = vstack


def dstack(tensors: Any) -> Any:
    """Join along the third dimension."""
    return cat([atleast_nd(3, (x,)) for x in _listed("dstack", tensors)], 2)


def column_stack(tensors: Any) -> Any:
    """Join along the second dimension; vectors count as columns."""
    parts = _listed("column_stack", tensors)
    return cat([reshape(x, (x.aval.size, 1)) if len(x.aval.shape) <= 1 else x for x in parts], 1)


def block_diag(*tensors: Any) -> Any:
    """Matrices along the diagonal, zeros elsewhere; vectors count as rows."""
    parts = [atleast_nd(2, (x,)) for x in promote("block_diag", tensors)]
    for x in parts:
        if len(x.aval.shape) != 2:
            raise ShapeError(message("block_diag", "needs tensors with at most two dimensions", str(x.aval)))
    if not parts:
        return wrap(np.zeros((1, 0), dt.get_default_dtype().np))
    widths = [x.aval.shape[1] for x in parts]
    left, width = 0, sum(widths)
    rows: list[Any] = []
    for x, w in zip(parts, widths, strict=True):
        rows.append(apply(OPS["pad"], (x,), {"pads": ((0, 0), (left, width - left - w))}))
        left += w
    return cat(rows, 0)


def constant_pad_nd(input: Any, pad: Any, value: Any = 0) -> Any:
    """Put ``value`` around: ``pad`` lists (before, after) from the last dimension on; negative sizes cut off."""
    pad, shape = ints("constant_pad_nd", (pad,)), input.aval.shape
    if len(pad) % 2 or len(pad) > 2 * len(shape):
        raise ShapeError(message("pad", "needs a pair of sizes a dimension, at most", f"{input.aval}, pad {pad}"))
    pairs = [(0, 0)] * (len(shape) - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    if any(n + a + b < 0 for n, (a, b) in zip(shape, pairs, strict=True)):
        raise ShapeError(message("pad", "a size would become negative", f"{input.aval}, pad {pad}"))
    spec = tuple((min(max(-a, 0), n), max(n - max(-b, 0), 0), 1) for n, (a, b) in zip(shape, pairs, strict=True))
    x = apply(_SLICE, (input,), {"spec": spec}) if any(p < 0 for p in pad) else input
    grown = tuple((max(a, 0), max(b, 0)) for a, b in pairs)
    if dt.of(x.aval.dtype).category < 2:
        value = bool(value) if x.aval.dtype == dt.NP_BOOL else int(value)
    if not any(map(any, grown)):
        return apply(_CLONE, (x,))
    return apply(OPS["pad"], (x,), {"pads": grown, "value": value} if value else {"pads": grown})


# -- order along a dimension -----------------------------------------------------------------


def flip(input: Any, *axes: Any, dims: Any = ()) -> Any:
    """Reverse the order along dimensions: ``flip(x, 0, 1)``, ``flip(x, (0, 1))`` or ``flip(x, dims=(0, 1))``."""
    shape = input.aval.shape
    dims = axes or (dims,)
    axes = tuple(normal_dim("flip", d, len(shape)) for d in ints("flip", dims))
    if len(set(axes)) != len(axes):
        raise ArgumentError(message("flip", "a dimension appears twice", repr(dims)))
    spec = tuple((n - 1, None, -1) if i in axes and n else (0, n, 1) for i, n in enumerate(shape))
    return owned(apply(_SLICE, (input,), {"spec": spec}))


def fliplr(input: Any) -> Any:
    """Reverse the order along the second dimension."""
    if len(input.aval.shape) < 2:
        raise ShapeError(message("fliplr", "needs at least two dimensions", str(input.aval)))
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """Reverse the order along the first dimension."""
    if not input.aval.shape:
        raise ShapeError(message("flipud", "needs at least one dimension", str(input.aval)))
    return flip(input, 0)


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Shift elements along dimensions; what leaves at the end comes in at the beginning."""
    steps = ints("roll", (shifts,))
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        if len(steps) != 1:
            raise ArgumentError(message("roll", "several shifts need as many dims", repr(shifts)))
        return reshape(roll(reshape(input, (input.aval.size,)), steps[0], 0), input.aval.shape)
    axes = ints("roll", (dims,))
    if len(axes) != len(steps):
        raise ArgumentError(message("roll", "needs one shift a dimension", f"{shifts} and {dims}"))
    out = input
    if not input.aval.shape:
        raise ShapeError(message("roll", "dims are given, but the tensor has no dimensions", str(input.aval)))
    for step, dim in zip(steps, axes, strict=True):
        d = normal_dim("roll", dim, len(input.aval.shape))
        n = input.aval.shape[d]
        k = -step % n if n else 0
        if k:
            whole = [(0, m, 1) for m in input.aval.shape]
            parts = [(*whole[:d], cut, *whole[d + 1 :]) for cut in ((k, n, 1), (0, k, 1))]
            out = apply(_CAT, tuple(apply(_SLICE, (out,), {"spec": s}) for s in parts), {"axis": d})
    return apply(_CLONE, (input,)) if out is input else out


def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """Rotate the plane of two dimensions by 90 degrees, ``k`` times, from the first towards the second."""
    n = len(input.aval.shape)
    given = ints("rot90", (dims,))
    if len(given) != 2 or n < 2:
        raise ArgumentError(message("rot90", "needs two dimensions", f"{input.aval}, dims {given}"))
    a, b = (normal_dim("rot90", d, n) for d in given)
    if a == b:
        raise ArgumentError(message("rot90", "needs two different dimensions", repr(given)))
    k %= 4
    if k == 0:
        return apply(_CLONE, (input,))
    if k == 2:
        return flip(input, (a, b))
    return owned(transpose(flip(input, b if k == 1 else a), a, b))


# -- repeating -------------------------------------------------------------------------------


def repeat(self: Any, *sizes: Any, repeats: Any = None) -> Any:
    """Repeat the tensor along each dimension; more sizes than dimensions add dimensions in front.

    >>> import wengert as wg
    >>> wg.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    counts = ints("repeat", sizes if repeats is None else (repeats,))
    shape = self.aval.shape
    if len(counts) < len(shape) or any(c < 0 for c in counts):
        raise ShapeError(message("repeat", "needs a count, not negative, for each dimension", f"{self.aval}, {counts}"))
    if all(c == 1 for c in counts):
        x = apply(_CLONE, (self,))
        return x if len(counts) == len(shape) else reshape(x, (*[1] * (len(counts) - len(shape)), *shape))
    own = (*[1] * (len(counts) - len(shape)), *shape)
    axes, wide = [], []
    for c, n in zip(counts, own, strict=True):
        if c != 1:
            axes.append(len(wide))
            wide.append(c)
        wide.append(n)
    x = self if own == shape else apply(_RESHAPE, (self,), {"shape": own})
    x = apply(_EXPAND, (x,), {"shape": tuple(wide), "axes": tuple(axes)})
    return owned(apply(_RESHAPE, (x,), {"shape": tuple(c * n for c, n in zip(counts, own, strict=True))}))


def tile(input: Any, *dims: Any) -> Any:
    """`repeat`, with ones for the leading dimensions that ``dims`` leaves out."""
    counts = ints("tile", dims)
    return repeat(input, (*[1] * (len(input.aval.shape) - len(counts)), *counts))


def repeat_interleave(input: Any, repeats: Any = None, dim: int | None = None, *, output_size: Any = None) -> Any:
    """Repeat each element: ``repeats`` times, or as often as a tensor says for each entry along ``dim``.

    ``output_size``: how many entries that makes, which compiled functions must know if a tensor of several counts is
    computed in them or given to them. Without ``repeats`` the input has the counts, and the entries are their numbers.

    Raises:
        ArgumentError: a count is negative, or they do not sum up to ``output_size``.
        DTypeError: the counts are no integers.
        ShapeError: there is not one count for each entry.

    >>> import wengert as wg
    >>> wg.repeat_interleave(wg.tensor([1, 2]), wg.tensor([1, 3]))
    tensor([1, 2, 2, 2])
    """
    name = "repeat_interleave"
    if repeats is None:
        return _numbers_repeated(_counts(input), output_size)
    if dim is None:
        input, dim = reshape(input, (input.aval.size,)), 0
    d = normal_dim(name, dim, len(input.aval.shape))
    x = input if input.aval.shape else reshape(input, (1,))
    shape = x.aval.shape
    counts = _counts(repeats if isinstance(repeats, Handle) else wrap(np.asarray(repeats)))
    if counts.aval.size == 1:
        if counts._value is not None:
            c = int(counts._value.reshape(()))
            wide = (*shape[: d + 1], c, *shape[d + 1 :])
            out = apply(_EXPAND, (x,), {"shape": wide, "axes": (d + 1,)})
            return owned(apply(_RESHAPE, (out,), {"shape": (*shape[:d], shape[d] * c, *shape[d + 1 :])}))
        counts = expand(reshape(counts, (1,)), (shape[d],))
    if counts.aval.shape != (shape[d],):
        raise ShapeError(message(name, "needs one count for each entry", f"{counts.aval} for size {shape[d]}"))
    index = _numbers_repeated(counts, output_size)
    return apply(OPS["take_rows"], (x, index), {"axis": d} if d else {})


def _counts(x: Any) -> Any:
    """How often each entry is repeated: integers, not negative where they are known."""
    if dt.of(x.aval.dtype).category != 1:
        raise DTypeError(message("repeat_interleave", "repeats must be integers", str(x.aval)))
    if x._value is not None and x._value.size and x._value.min() < 0:
        raise ArgumentError(message("repeat_interleave", "repeats must not be negative", str(x._value.min())))
    return x


def _numbers_repeated(counts: Any, size: int | None) -> Any:
    """0, 1, ..., each as often as its count says; without values of the counts ``size`` is their sum."""
    name = "repeat_interleave"
    if counts._value is not None:
        value = counts._concrete(name)
        if size is not None and value.sum() != size:
            raise ArgumentError(message(name, "output_size is not the sum of the repeats", f"{size}, {value.sum()}"))
        return wrap(np.repeat(np.arange(value.size), value))
    if size is None:
        raise TraceError(
            message(name, "how many entries there will be is not known while tracing", str(counts.aval),
                    "Give output_size=, the sum of the repeats")
        )  # fmt: skip
    n = counts.aval.size
    ends = cumsum(checked(name, counts, size + 1, 0, False), 0)
    missing = size - ends[-1:] if n else wrap(np.asarray([size]))
    missing = checked(f"{name}: output_size less the sum of the repeats", missing, 1, 0, False)  # must be 0
    return apply(OPS["searchsorted"], (ends + missing, wrap(np.arange(size))), {"right": True})


# -- grids -----------------------------------------------------------------------------------


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Any, ...]:
    """Coordinates of the grid that vectors span, as views; ``indexing`` 'ij' (default) or 'xy'."""
    many = promote("meshgrid", tensors_of(tensors))
    if indexing not in (None, "ij", "xy"):
        raise ArgumentError(message("meshgrid", "indexing must be 'ij' or 'xy'", repr(indexing)))
    for x in many:
        if len(x.aval.shape) > 1:
            raise ShapeError(message("meshgrid", "needs vectors or 0-d tensors", str(x.aval)))
    swap = indexing == "xy" and len(many) >= 2
    if swap:
        many[:2] = many[1], many[0]
    shape = tuple(x.aval.size for x in many)
    outs = [expand(reshape(x, (*[1] * i, shape[i], *[1] * (len(many) - 1 - i))), shape) for i, x in enumerate(many)]
    if swap:
        outs[:2] = outs[1], outs[0]
    return tuple(outs)


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of one element of each vector, as rows."""
    many = tensors_of(tensors)
    for x in many:
        if len(x.aval.shape) != 1:
            raise ShapeError(message("cartesian_prod", "needs vectors", str(x.aval)))
    if len(many) == 1:
        return many[0]
    return stack([reshape(g, (g.aval.size,)) for g in meshgrid(*many, indexing="ij")], 1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All combinations of ``r`` elements of a vector, as rows."""
    if len(input.aval.shape) != 1:
        raise ShapeError(message("combinations", "needs a vector", str(input.aval)))
    if r < 0:
        raise ArgumentError(message("combinations", "r must not be negative", str(r)))
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    if not r:
        return wrap(np.zeros(0, input.aval.dtype))
    index = np.asarray(list(pick(range(input.aval.size), r)), np.int64).reshape(-1, r)
    return apply(OPS["take_rows"], (input, wrap(index)))


# -- the input with a part replaced ------------------------------------------------------------


def _replaced(name: str, input: Any, src: Any, op: Any, attrs: dict[str, Any], shape: tuple[int, ...]) -> Any:
    if src.aval.shape != shape:
        raise ShapeError(message(name, f"the source must have the shape {list(shape)} of the part", str(src.aval)))
    src = cast(src, dt.of(input.aval.dtype))
    return op.put(input, src, **attrs)


def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """The input with one entry along ``dim`` replaced."""
    shape = input.aval.shape
    d, i = normal_dim("select_scatter", dim, len(shape)), operator.index(index)
    if not shape or not -shape[d] <= i < shape[d]:
        raise IndexRangeError(
            message("select_scatter", "index out of range", f"index {i}, dimension {d}, {input.aval}")
        )
    if src.aval.shape != (*shape[:d], *shape[d + 1 :]):
        raise ShapeError(message("select_scatter", "the source does not fit", f"{src.aval} for {input.aval}"))
    i %= shape[d]
    spec = tuple((i, i + 1, 1) if k == d else (0, n, 1) for k, n in enumerate(shape))
    return _replaced(
        "select_scatter", input, unsqueeze(src, d), _SLICE, {"spec": spec}, (*shape[:d], 1, *shape[d + 1 :])
    )


def slice_scatter(input: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """The input with start:end:step along ``dim`` replaced."""
    shape = input.aval.shape
    d = normal_dim("slice_scatter", dim, len(shape))
    a, b, s = slice(start, end, step).indices(shape[d])
    b = max(a, b)
    spec = tuple((a, b, s) if k == d else (0, n, 1) for k, n in enumerate(shape))
    part = (*shape[:d], len(range(a, b, s)), *shape[d + 1 :])
    return _replaced("slice_scatter", input, src, _SLICE, {"spec": spec}, part)


def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The input with a diagonal replaced."""
    shape = input.aval.shape
    n = len(shape)
    attrs = diagonal_attrs(shape, offset, normal_dim("diagonal", dim1, n), normal_dim("diagonal", dim2, n))
    return _replaced("diagonal_scatter", input, src, OPS["strided"], attrs, attrs["shape"])


def as_strided_scatter(input: Any, src: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """The input, in row-major order, with the elements of a strided window replaced."""
    flat = reshape(input, (input.aval.size,))
    attrs = {"shape": ints("as_strided_scatter", (size,)), "start": (storage_offset or 0,),
             "steps": tuple((s,) for s in ints("as_strided_scatter", (stride,)))}  # fmt: skip
    OPS["strided"].infer(flat.aval, **attrs)
    return reshape(_replaced("as_strided_scatter", flat, src, OPS["strided"], attrs, attrs["shape"]), input.aval.shape)


__all__ = [
    "as_strided_scatter", "block_diag", "cartesian_prod", "cat", "column_stack", "combinations", "concat",
    "concatenate", "constant_pad_nd", "diagonal_scatter", "dstack", "flip", "fliplr", "flipud", "hstack",
    "meshgrid", "repeat_interleave", "roll", "rot90", "row_stack", "select_scatter", "slice_scatter",
    "stack", "tile", "vstack",
]  # fmt: skip
NOT_METHODS = (
    "block_diag", "cartesian_prod", "cat", "column_stack", "combinations", "concat", "concatenate",
    "constant_pad_nd", "dstack", "hstack", "meshgrid", "row_stack", "stack", "vstack",
)  # fmt: skip
EXTRA_METHODS: dict[str, Any] = {"repeat": repeat}

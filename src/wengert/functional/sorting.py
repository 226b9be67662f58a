"""Sorting, selecting, searching, sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from . import return_types
from .dims import normal_dim, numpy_names, operand, require_elements, require_real
from .front import SIZE_UNKNOWN, cast, promote
from .reduction import pick


def _zero_index() -> Any:
    return wrap(np.zeros((), np.int64))


def _along(name: str, input: Any, dim: int) -> tuple[Any, int]:
    """A real operand with at least one dimension, and the axis; a 0-d tensor becomes a vector of one."""
    input = operand(name, input)
    require_real(name, input)
    axis = normal_dim(name, dim, len(input.aval.shape))
    return (input if input.aval.shape else apply(OPS["reshape"], (input,), {"shape": (1,)})), axis


@numpy_names
def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Elements in order along ``dim``, and where they stood: a named tuple ``(values, indices)``.

    Always stable. NaN counts as the largest number. The gradient follows the indices.

    >>> import wengert as wg
    >>> wg.sort(wg.tensor([3.0, 1.0, 2.0]))
    wengert.return_types.sort(
    values=tensor([1., 2., 3.]),
    indices=tensor([1, 2, 0]))
    """
    x, axis = _along("sort", input, dim)
    values, indices = apply(OPS["sort"], (x,), {"axis": axis, "descending": bool(descending)})
    if x is not input and not input.aval.shape:
        return return_types.sort(*[apply(OPS["reshape"], (part,), {"shape": ()}) for part in (values, indices)])
    return return_types.sort(values, indices)


@numpy_names
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Indices that put ``input`` in order along ``dim``; see `sort`."""
    return sort(input, dim, descending, stable).indices


def msort(input: Any) -> Any:
    """Elements in ascending order along the first dimension."""
    return sort(input, 0).values


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The ``k`` largest (or smallest) elements along ``dim``, best first, and where they stood.

    Returns:
        A named tuple ``(values, indices)``. The results are in order whatever ``sorted`` says.

    >>> import wengert as wg
    >>> wg.topk(wg.tensor([3.0, 1.0, 2.0]), 2)
    wengert.return_types.topk(
    values=tensor([3., 2.]),
    indices=tensor([0, 2]))
    """
    x, axis = _along("topk", input, dim)
    if x.aval.dtype == dt.NP_BOOL:
        raise DTypeError(message("topk", "bools are not supported", str(x.aval), "Convert with x.int()"))
    k = int(k)
    if not 0 <= k <= x.aval.shape[axis]:
        raise ShapeError(message("topk", "k out of range", f"k={k} of {x.aval} along dimension {axis}"))
    if not input.aval.shape and k == 1:
        return return_types.topk(input, _zero_index())
    parts = apply(OPS["topk"], (x,), {"axis": axis, "k": k, "largest": bool(largest)})
    return return_types.topk(*parts)


@numpy_names
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The ``k``-th smallest element along ``dim`` (from 1), and where it stood.

    Returns:
        A named tuple ``(values, indices)``; NaN counts as the largest number.

    >>> import wengert as wg
    >>> wg.kthvalue(wg.tensor([3.0, 1.0, 2.0]), 2).values
    tensor(2.)
    """
    x, axis = _along("kthvalue", input, dim)
    require_elements("kthvalue", x, dim, (axis,))
    n = x.aval.shape[axis]
    if not 1 <= k <= n:
        raise ArgumentError(message("kthvalue", "k out of range", f"k={k}", f"Use 1 to {n}"))
    if not input.aval.shape:
        return return_types.kthvalue(input, _zero_index())
    order = apply(OPS["sort"], (x,), {"axis": axis, "descending": False})[1]
    spec = [(0, m, 1) for m in x.aval.shape]
    spec[axis] = (k - 1, k, 1)
    place = apply(OPS["slice"], (order,), {"spec": tuple(spec)})
    return return_types.kthvalue(*pick(x, place, axis, keepdim))


# -- searching -----------------------------------------------------------------------------------


def _search(name: str, lines: Any, values: Any, out_int32: bool, right: bool) -> Any:
    lines, values = operand(name, lines), operand(name, values)
    if lines.aval.dtype != values.aval.dtype:
        lines, values = promote(name, (lines, values))
    out = apply(OPS["searchsorted"], (lines, values), {"right": right})
    return cast(out, dt.int32) if out_int32 else out


def _number_like(x: Any, like: Any) -> Any:
    """A Python number as a 0-d tensor; the search compares in the common dtype."""
    if isinstance(x, bool | int | float):
        return wrap(np.asarray(x, dt.python_dtype(x).np if like.aval.dtype not in dt.FLOATING_NP else like.aval.dtype))
    return x


def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: Any = None,
    sorter: Any = None,
) -> Any:
    """Where each element of ``input`` would stand in the sorted last dimension of ``sorted_sequence``.

    Args:
        sorted_sequence: (n,), or (..., n) with the leading dimensions of ``input``.
        input: the values, or a number.
        out_int32: int32 rather than int64.
        right: behind equal elements rather than before them; ``side="right"`` says the same.
        side: "left" or "right".
        sorter: indices that put an unsorted ``sorted_sequence`` in order.

    >>> import wengert as wg
    >>> wg.searchsorted(wg.tensor([1, 3, 5]), wg.tensor([3, 6]))
    tensor([1, 3])
    """
    if side not in (None, "left", "right"):
        raise ArgumentError(message("searchsorted", "side must be 'left' or 'right'", repr(side)))
    if side == "left" and right:
        raise ArgumentError(message("searchsorted", "side='left' and right=True contradict each other"))
    lines = operand("searchsorted", sorted_sequence)
    if not lines.aval.shape:
        raise ShapeError(message("searchsorted", "the sorted sequence needs a dimension", str(lines.aval)))
    values = _number_like(input, lines)
    if len(lines.aval.shape) > 1 and not values.aval.shape:
        raise ShapeError(
            message("searchsorted", "a number needs a sorted sequence with one dimension", str(lines.aval))
        )
    if sorter is not None:
        if sorter.aval.shape != lines.aval.shape:
            raise ShapeError(
                message("searchsorted", "sorter and sequence differ in shape", f"{sorter.aval}, {lines.aval}")
            )
        lines = apply(OPS["gather"], (lines, sorter), {"dim": len(lines.aval.shape) - 1})
    return _search("searchsorted", lines, values, out_int32, right or side == "right")


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """The number of the bucket of each element: i with boundaries[i-1] < x <= boundaries[i].

    With ``right`` it is boundaries[i-1] <= x < boundaries[i].

    >>> import wengert as wg
    >>> wg.bucketize(wg.tensor([0, 3, 9]), wg.tensor([1, 3, 5]))
    tensor([0, 1, 3])
    """
    boundaries = operand("bucketize", boundaries)
    if len(boundaries.aval.shape) != 1:
        raise ShapeError(message("bucketize", "boundaries must have one dimension", str(boundaries.aval)))
    return _search("bucketize", boundaries, _number_like(input, boundaries), out_int32, right)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element is among ``test_elements`` (not among them if ``invert``); NaN is in nothing.

    >>> import wengert as wg
    >>> wg.isin(wg.tensor([1, 2, 3]), wg.tensor([3, 1]))
    tensor([ True, False,  True])
    """
    if not isinstance(elements, Handle) and not isinstance(test_elements, Handle):
        raise DTypeError(message("isin", "one argument must be a tensor"))
    x, among = promote("isin", (elements, test_elements))
    shape = x.aval.shape
    n = among.aval.size
    if not n:
        return OPS["fill"](x, value=bool(invert), dtype=dt.NP_BOOL)
    line = apply(OPS["reshape"], (among,), {"shape": (n,)})
    line = apply(OPS["sort"], (line,), {"axis": 0, "descending": False})[0]
    flat = apply(OPS["reshape"], (x,), {"shape": (x.aval.size,)})
    place = apply(OPS["searchsorted"], (line, flat), {"right": False})
    place = OPS["where"](place < n, place, OPS["fill"](place, value=n - 1))
    found = apply(OPS["gather"], (line, place), {"dim": 0}) == flat
    found = apply(OPS["reshape"], (found,), {"shape": shape})
    return OPS["logical_not"](found) if invert else found


# -- sets: the shape of the result depends on values ---------------------------------------------


def _results(values: Any, inverse: Any, counts: Any) -> Any:
    """One tensor, or a tuple of those asked for."""
    parts = [wrap(np.ascontiguousarray(values))]
    parts += [wrap(np.asarray(part, np.int64)) for part in (inverse, counts) if part is not None]
    return parts[0] if len(parts) == 1 else tuple(parts)


def unique(
    input: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements in ascending order, or the distinct slices along ``dim``.

    Args:
        input: a tensor; each NaN counts as distinct.
        sorted: the result is in order whatever it says.
        return_inverse: also where each element of ``input`` stands in the result.
        return_counts: also how often each occurs.
        dim: compare whole slices along this dimension.

    Returns:
        A tensor, or a tuple ``(values, inverse, counts)`` of those asked for; no gradient flows.

    Raises:
        TraceError: while tracing, for the size of the result depends on values.

    >>> import wengert as wg
    >>> wg.unique(wg.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    input = operand("unique", input)
    x = np.asarray(input._concrete("unique", SIZE_UNKNOWN))
    axis = None if dim is None else normal_dim("unique", dim, x.ndim)
    if dim is None:
        lines = x.reshape(-1)
        order = np.argsort(_keys(lines), kind="stable")
    else:
        lines = np.moveaxis(x.reshape(1) if not x.ndim else x, axis or 0, 0)
        rows = _keys(lines.reshape(len(lines), -1))
        order = np.lexsort(rows.T[::-1]) if rows.size else np.arange(len(lines))
    starts, inverse, counts = _runs(lines[order])
    back = np.empty(len(order), np.int64)
    back[order] = inverse
    return _collect(x, lines[order][starts], axis, back if return_inverse else None, counts if return_counts else None)


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or the slices along ``dim``) without those that repeat the one before.

    See `unique` for the arguments.

    >>> import wengert as wg
    >>> wg.unique_consecutive(wg.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    input = operand("unique_consecutive", input)
    x = np.asarray(input._concrete("unique_consecutive", SIZE_UNKNOWN))
    axis = None if dim is None else normal_dim("unique_consecutive", dim, x.ndim)
    lines = x.reshape(-1) if dim is None else np.moveaxis(x.reshape(1) if not x.ndim else x, axis or 0, 0)
    starts, inverse, counts = _runs(lines)
    return _collect(x, lines[starts], axis, inverse if return_inverse else None, counts if return_counts else None)


def _keys(x: Any) -> Any:
    """Half precision as float32, which NumPy orders with NaN last."""
    return x.astype(np.float32) if x.dtype in dt.HALF_NP else x


def _runs(lines: Any) -> tuple[Any, Any, Any]:
    """Where runs of equal entries start, the run of each entry, and the lengths of the runs."""
    n = len(lines)
    new = np.ones(n, bool)
    if n > 1:
        new[1:] = (lines[1:] != lines[:-1]).reshape(n - 1, -1).any(1)
    starts = np.flatnonzero(new)
    return starts, np.cumsum(new) - 1, np.diff(np.append(starts, n))


def _collect(x: Any, values: Any, axis: int | None, inverse: Any, counts: Any) -> Any:
    """Bring the results into the shapes PyTorch gives them."""
    if axis is None:
        inverse = None if inverse is None else inverse.reshape(x.shape)
    else:
        values = np.moveaxis(values, 0, axis)
    return _results(values, inverse, counts)


__all__ = [
    "argsort", "bucketize", "isin", "kthvalue", "msort", "searchsorted", "sort", "topk", "unique",
    "unique_consecutive",
]  # fmt: skip
NOT_METHODS = ("bucketize", "isin", "searchsorted")

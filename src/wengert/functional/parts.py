"""Views of parts: slices, pieces, diagonals, windows."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import ArgumentError, IndexRangeError, ShapeError, message
from ..graph.alias import follow, make_view, view_along
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from .reduction import normal_dim
from .shape import compact, ints, layout, reshape

_RESHAPE, _SLICE, _STRIDED = OPS["reshape"], OPS["slice"], OPS["strided"]


def slice_dim(x: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
    """A view of start:stop:step along one dimension (already normalised)."""
    spec = [(0, n, 1) for n in x.aval.shape]
    spec[dim] = (start, stop, step)
    return make_view(x, _SLICE, {"spec": tuple(spec)})


def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """``length`` entries from ``start`` on along ``dim``.

    Raises:
        IndexRangeError: the range reaches outside.
    """
    if not input.aval.shape:
        raise ShapeError(message("narrow", "a 0-d tensor has no dimension to narrow"))
    d = normal_dim("narrow", dim, len(input.aval.shape))
    n, start = input.aval.shape[d], operator.index(start)
    if not -n <= start <= n or length < 0 or (start + n if start < 0 else start) + length > n:
        seen = f"start {start} and length {length} along dimension {d} with size {n}"
        raise IndexRangeError(message("narrow", "reaches outside of the tensor", seen))
    start += n if start < 0 else 0
    return slice_dim(input, d, start, start + length)


def narrow_copy(input: Any, dim: int, start: int, length: int) -> Any:
    """`narrow` into new memory."""
    return apply(OPS["clone"], (narrow(input, dim, start, length),))


def select(input: Any, dim: int, index: int) -> Any:
    """One entry along ``dim``, which vanishes."""
    shape = input.aval.shape
    if not shape:
        raise IndexRangeError(message("select", "a 0-d tensor has no dimension to select from"))
    d = normal_dim("select", dim, len(shape))
    i, n = operator.index(index), shape[d]
    if not -n <= i < n:
        raise IndexRangeError(message("select", "index out of range", f"index {i} along dimension {d} with size {n}"))
    i %= n
    spec = [(0, m, 1) for m in shape]
    spec[d] = (i, i + 1, 1)
    path = ((_SLICE, {"spec": tuple(spec)}), (_RESHAPE, {"shape": (*shape[:d], *shape[d + 1 :])}))
    return view_along(input, path)


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """All entries along ``dim``, as a tuple of views."""
    shape = input.aval.shape
    if not shape:
        raise IndexRangeError(message("unbind", "a 0-d tensor has no dimension to unbind"))
    d = normal_dim("unbind", dim, len(shape))
    return tuple([select(input, d, i) for i in range(shape[d])])


def _pieces(x: Any, d: int, bounds: Iterable[int]) -> tuple[Any, ...]:
    edges = list(bounds)
    return tuple([slice_dim(x, d, a, max(a, b)) for a, b in itertools.pairwise(edges)])


def _split_dim(name: str, x: Any, dim: int) -> tuple[int, int]:
    if not x.aval.shape:
        raise ShapeError(message(name, "a 0-d tensor cannot be split"))
    d = normal_dim(name, dim, len(x.aval.shape))
    return d, x.aval.shape[d]


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces of one size (the last may be smaller), or of the sizes given.

    >>> import wengert as wg
    >>> wg.arange(5).split(2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    d, n = _split_dim("split", tensor, dim)
    if isinstance(split_size_or_sections, Sequence):
        sizes = ints("split", (split_size_or_sections,))
        if sum(sizes) != n or any(s < 0 for s in sizes):
            raise ShapeError(message("split", f"sizes must sum to {n}", f"{list(sizes)} for {tensor.aval}"))
        return _pieces(tensor, d, [sum(sizes[:i]) for i in range(len(sizes) + 1)])
    size = operator.index(split_size_or_sections)
    if size < 0 or (size == 0 and n):
        raise ArgumentError(message("split", "the size of a piece must be positive", str(size)))
    return _pieces(tensor, d, [*range(0, n, size or 1), n] if n else [0, 0])


def split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> tuple[Any, ...]:
    """`split` by a list of sizes."""
    return split(input, tuple(split_sizes), dim)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most ``chunks`` pieces of one size; the last may be smaller."""
    d, n = _split_dim("chunk", input, dim)
    if chunks <= 0:
        raise ArgumentError(message("chunk", "the number of pieces must be positive", str(chunks)))
    return split(input, -(-n // chunks), d) if n else _pieces(input, d, [0] * (chunks + 1))


def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces whose sizes differ by at most one, or cut at the indices given."""
    d, n = _split_dim("tensor_split", input, dim)
    cuts = indices_or_sections
    if isinstance(cuts, Handle) and cuts.aval.shape:
        cuts = cuts.tolist()
    if isinstance(cuts, (list, tuple)):
        spots = [min(max(c + n if c < 0 else c, 0), n) for c in cuts]
        return _pieces(input, d, [0, *spots, n])
    k = operator.index(cuts)
    if k <= 0:
        raise ArgumentError(message("tensor_split", "the number of pieces must be positive", str(k)))
    return _pieces(input, d, [i * (n // k) + min(i, n % k) for i in range(k + 1)])


def _axis_split(name: str, least: int, axis: int, x: Any, how: Any) -> tuple[Any, ...]:
    if len(x.aval.shape) < least:
        raise ShapeError(message(name, f"needs at least {least} dimensions", str(x.aval)))
    if isinstance(how, int) and (how <= 0 or x.aval.shape[axis] % how):
        raise ShapeError(message(name, f"dimension {axis} does not split into {how} equal pieces", str(x.aval)))
    return tensor_split(x, how, axis)


def hsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Split along the second dimension (the first of a vector)."""
    return _axis_split("hsplit", 1, min(len(input.aval.shape), 2) - 1, input, indices_or_sections)


def vsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Split along the first dimension."""
    return _axis_split("vsplit", 2, 0, input, indices_or_sections)


def dsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Split along the third dimension."""
    return _axis_split("dsplit", 3, 2, input, indices_or_sections)


# -- windows ---------------------------------------------------------------------------------


def diagonal_attrs(shape: tuple[int, ...], offset: int, a: int, b: int) -> dict[str, Any]:
    """The diagonal of dimensions ``a`` and ``b`` as attributes of the op `strided`."""
    if a == b:
        raise ArgumentError(message("diagonal", "needs two different dimensions", f"twice {a}"))
    count = max(0, min(shape[a] + min(offset, 0), shape[b] - max(offset, 0)))
    rest = [i for i in range(len(shape)) if i not in (a, b)]
    start = [0] * len(shape)
    if count:
        start[a], start[b] = max(-offset, 0), max(offset, 0)
    steps = [tuple(int(i == j) for i in range(len(shape))) for j in rest]
    steps.append(tuple(int(i in (a, b)) for i in range(len(shape))))
    return {"shape": (*[shape[i] for i in rest], count), "start": tuple(start), "steps": tuple(steps)}


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of two dimensions, as the last dimension of the result."""
    shape = input.aval.shape
    if len(shape) < 2:
        raise IndexRangeError(message("diagonal", "needs at least two dimensions", str(input.aval)))
    a, b = normal_dim("diagonal", dim1, len(shape)), normal_dim("diagonal", dim2, len(shape))
    return make_view(input, _STRIDED, diagonal_attrs(shape, offset, a, b))


def unfold(self: Any, dimension: int, size: int, step: int) -> Any:
    """Windows of ``size`` that move by ``step`` along a dimension; each is laid along a new last dimension."""
    shape = self.aval.shape or (1,)
    x = self if self.aval.shape else reshape(self, (1,))
    d = normal_dim("unfold", dimension, len(shape))
    if not 0 <= size <= shape[d] or step <= 0:
        seen = f"size {size}, step {step}, dimension {d} of size {shape[d]}"
        raise ArgumentError(message("unfold", "the window does not fit", seen))
    unit = [tuple(int(i == j) for i in range(len(shape))) for j in range(len(shape))]
    steps = [tuple(step * k for k in u) if j == d else u for j, u in enumerate(unit)]
    count = (shape[d] - size) // step + 1
    attrs = {"shape": (*shape[:d], count, *shape[d + 1 :], size), "start": (0,) * len(shape),
             "steps": (*steps, unit[d])}  # fmt: skip
    out = make_view(x, _STRIDED, attrs)
    return out if self.aval.shape else reshape(out, (size,))


def as_strided(input: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """A view by strides and offset, counted in elements of the memory that the tensor's base holds.

    Raises:
        IndexRangeError: the view reaches outside of that memory.
    """
    size, stride = ints("as_strided", (size,)), ints("as_strided", (stride,))
    if len(size) != len(stride):
        raise ShapeError(message("as_strided", "needs one stride a dimension", f"{size}, {stride}"))
    alias = input._alias
    base = input if alias is None or alias.base is None else alias.base
    if base._value is not None and not base._value.flags.c_contiguous and not compact(base):
        raise ShapeError(message("as_strided", "the memory of the base has gaps", str(base.aval), "Use x.clone()"))
    start = storage_offset_of(input) if storage_offset is None else operator.index(storage_offset)
    flat = reshape(base, (base.aval.size,))
    attrs = {"shape": size, "start": (start,), "steps": tuple((s,) for s in stride)}
    _STRIDED.infer(flat.aval, **attrs)
    if alias is not None and alias.base is not None and any(op.name == "stop_gradient" for op, _ in alias.path):
        flat = flat.detach()
    return make_view(flat, _STRIDED, attrs)


def storage_offset_of(x: Handle) -> int:
    """By how many elements the first element lies behind the beginning of the base's memory."""
    alias = x._alias
    if alias is None or alias.base is None or not x.aval.size:
        return 0
    if x._value is not None:
        here, there = layout(x), layout(alias.base)
    else:
        there = layout(alias.base)
        here = follow(there, alias.path)
    first = here.__array_interface__["data"][0] - there.__array_interface__["data"][0]
    return first // here.dtype.itemsize


__all__ = [
    "as_strided", "chunk", "diagonal", "dsplit", "hsplit", "narrow", "narrow_copy", "select", "split",
    "split_with_sizes", "tensor_split", "unbind", "vsplit",
]  # fmt: skip
EXTRA_METHODS: dict[str, Any] = {"unfold": unfold}

"""Views: functions that show the same memory under another shape.

Every function here returns a view (see graph/alias.py) unless it says otherwise, so that writing
through the result is seen by the input, as in PyTorch.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.alias import check_writable, follow, make_view, release
from ..graph.aval import Aval
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from .front import broadcast_shape
from .reduction import normal_dim

_RESHAPE, _PERMUTE, _SLICE, _EXPAND, _STRIDED = (OPS[n] for n in ("reshape", "permute", "slice", "expand", "strided"))
_REVERSED: list[dict[str, Any]] = [{"order": tuple(range(n))[::-1]} for n in range(65)]


# -- arguments -------------------------------------------------------------------------------


def ints(name: str, args: Any) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` alike; 0-d integer tensors count as ints."""
    if len(args) == 1 and type(args[0]) is not int and isinstance(args[0], Sequence):
        args = args[0]
    try:
        return tuple([operator.index(a) for a in args])
    except TypeError:
        raise DTypeError(message(name, "needs integers", repr(args))) from None


def full_shape(name: str, x: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with -1 computed."""
    if not shape or min(shape) >= 0:
        return shape
    if shape.count(-1) > 1 or min(shape) < -1:
        raise ShapeError(message(name, "sizes must not be negative, but for one -1", f"{list(shape)}"))
    size, rest = x.aval.size, -math.prod(shape)
    if rest == 0 or size % rest:
        cure = "-1 is ambiguous where another size is 0" if rest == 0 else f"{size} is no multiple of {rest}"
        raise ShapeError(message(name, "the size for -1 cannot be found", f"{x.aval} to {list(shape)}", cure))
    return tuple(size // rest if n == -1 else n for n in shape)


def tensors_of(tensors: Any) -> tuple[Any, ...]:
    """``f(a, b)`` and ``f([a, b])`` alike."""
    return tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tuple(tensors)


# -- memory ----------------------------------------------------------------------------------


def layout(x: Handle) -> Any:
    """An array with the strides of ``x``; while tracing one that is never read."""
    if x._value is not None:
        return x._value
    alias = x._alias
    aval = x.aval if alias is None or alias.base is None else alias.base.aval
    if not aval.size:
        return np.empty(aval.shape, aval.dtype)
    strides = [aval.dtype.itemsize * math.prod(aval.shape[i + 1 :]) for i in range(len(aval.shape))]
    array = np.lib.stride_tricks.as_strided(np.empty(1, aval.dtype), aval.shape, strides)
    return array if alias is None else follow(array, alias.path)


def fits(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether an array can be seen under another shape of as many elements without a copy."""
    if array.flags.c_contiguous or not array.size:
        return True
    chunks: list[list[int]] = []  # sizes and last strides of the runs of axes that lie behind one another
    for n, s in zip(array.shape, array.strides, strict=True):
        if n == 1:
            continue
        if chunks and chunks[-1][1] == s * n:
            chunks[-1] = [chunks[-1][0] * n, s]
        else:
            chunks.append([n, s])
    left = 1
    for n in reversed(shape):
        while left == 1 and chunks and n != 1:
            left = chunks.pop()[0]
        if n != 1:
            if left % n:
                return False
            left //= n
    return left == 1 and not chunks


def compact(x: Handle) -> bool:
    """Lay out in row-major order a result that shares memory with nothing; False where it does."""
    alias = x._alias
    if alias is not None and (alias.base is not None or any(v() is not None for v in alias.views)):
        return False
    x._value = np.ascontiguousarray(x._value)
    if alias is not None:
        release(x)
    if x._node is not None and x._node.op is None:
        x._node.data = x._value
    return True


# -- reshaping -------------------------------------------------------------------------------


def _view(name: str, x: Handle, shape: tuple[int, ...]) -> Any:
    """A view under a shape that needs no copy."""
    if math.prod(shape) != x.aval.size:
        _RESHAPE.infer(x.aval, shape=shape)
    return make_view(x, _RESHAPE, {"shape": shape})


def reshape(input: Any, *sizes: Any, shape: Any = None) -> Any:
    """The same elements in row-major order under a new shape; one size may be -1.

    A view where the strides allow it, else a copy.

    >>> import wengert as wg
    >>> wg.arange(4).reshape(2, -1)
    tensor([[0, 1],
            [2, 3]])
    """
    new = full_shape("reshape", input, ints("reshape", sizes if shape is None else (tuple(shape),)))
    value = input._value
    if value is not None and math.prod(new) == value.size and value.flags.c_contiguous:
        return make_view(input, _RESHAPE, {"shape": new})
    if math.prod(new) != input.aval.size or fits(layout(input), new):
        return _view("reshape", input, new)
    return apply(_RESHAPE, (input,), {"shape": new})


def view(self: Any, *shape: Any, dtype: Any = None) -> Any:
    """A view under a new shape, or of the same bytes under a new dtype.

    Raises:
        ShapeError: the strides do not allow a view; `reshape` copies then.
    """
    if dtype is None and len(shape) == 1 and not isinstance(shape[0], (int, np.integer, Sequence, Handle)):
        dtype = shape[0]
    if dtype is not None:
        target = dt.to_dtype(dtype).np
        if target == self.aval.dtype:
            return _view("view", self, self.aval.shape)
        OPS["bitcast"].infer(self.aval, dtype=target)
        if target.itemsize != self.aval.dtype.itemsize and layout(self).strides[-1:] != (self.aval.dtype.itemsize,):
            raise ShapeError(message("view", "the last dimension must be contiguous to change the size of an element"))
        return make_view(self, OPS["bitcast"], {"dtype": target})
    new = full_shape("view", self, ints("view", shape))
    if math.prod(new) == self.aval.size and not fits(layout(self), new) and not compact(self):
        raise ShapeError(
            message("view", "the strides of the tensor do not allow it", f"{self.aval} to {list(new)}",
                    "Use reshape, which copies, or x.contiguous().view(...)")
        )  # fmt: skip
    return _view("view", self, new)


def reshape_as(self: Any, other: Any) -> Any:
    """Reshape to the shape of ``other``."""
    return reshape(self, other.aval.shape)


def view_as(self: Any, other: Any) -> Any:
    """View under the shape of ``other``."""
    return view(self, other.aval.shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Make one dimension of the dimensions ``start_dim`` to ``end_dim``.

    >>> import wengert as wg
    >>> wg.zeros(2, 3, 4).flatten(1).shape
    wengert.Size([2, 12])
    """
    shape = input.aval.shape
    if not shape:
        for dim in (start_dim, end_dim):
            normal_dim("flatten", dim, 1)
        return reshape(input, (1,))
    a, b = normal_dim("flatten", start_dim, len(shape)), normal_dim("flatten", end_dim, len(shape))
    if a > b:
        raise ArgumentError(message("flatten", "start_dim comes after end_dim", f"{start_dim} and {end_dim}"))
    return input if a == b else reshape(input, (*shape[:a], math.prod(shape[a : b + 1]), *shape[b + 1 :]))


def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """Make several dimensions of one; one size may be -1."""
    shape = input.aval.shape
    d = normal_dim("unflatten", dim, len(shape))
    sizes = ints("unflatten", (sizes,))
    if not sizes:
        raise ArgumentError(message("unflatten", "sizes must not be empty"))
    known = -math.prod(sizes) if -1 in sizes else math.prod(sizes)
    if sizes.count(-1) > 1 or (shape[d] % known if -1 in sizes and known else shape[d] != known):
        raise ShapeError(message("unflatten", f"sizes do not multiply to dimension {dim}", f"{input.aval}, {sizes}"))
    sizes = tuple(shape[d] // known if n == -1 and known else 0 if n == -1 else n for n in sizes)
    return view(input, (*shape[:d], *sizes, *shape[d + 1 :]))


def ravel(input: Any) -> Any:
    """All elements in one dimension; a view where the strides allow it."""
    return reshape(input, (-1,)) if input.aval.size else reshape(input, (0,))


def squeeze(input: Any, dim: Any = None) -> Any:
    """Drop dimensions of size 1: all, or those of ``dim`` (an int or several).

    >>> import wengert as wg
    >>> wg.zeros(1, 2, 1).squeeze().shape, wg.zeros(1, 2, 1).squeeze(0).shape
    (wengert.Size([2]), wengert.Size([2, 1]))
    """
    shape = input.aval.shape
    if dim is None:
        dims = set(range(len(shape)))
    else:
        given = dim if isinstance(dim, (tuple, list)) else (dim,)
        dims = {normal_dim("squeeze", operator.index(d), len(shape)) for d in given}
    return _view("squeeze", input, tuple(n for i, n in enumerate(shape) if n != 1 or i not in dims))


def unsqueeze(input: Any, dim: int) -> Any:
    """Insert a dimension of size 1 at ``dim``."""
    shape = input.aval.shape
    d = normal_dim("unsqueeze", operator.index(dim), len(shape) + 1)
    return _view("unsqueeze", input, (*shape[:d], 1, *shape[d:]))


def atleast_nd(n: int, tensors: Any) -> Any:
    """Views with at least ``n`` dimensions, put where NumPy puts them."""
    many = tensors_of(tensors)
    outs: list[Any] = []
    for x in many:
        shape = x.aval.shape
        if len(shape) >= n:
            outs.append(x)
        elif n == 3 and len(shape) > 0:
            outs.append(_view("atleast_3d", x, (*shape, 1) if len(shape) == 2 else (1, *shape, 1)))
        else:
            outs.append(_view("atleast", x, (*[1] * (n - len(shape)), *shape)))
    return outs[0] if len(tensors) == 1 and isinstance(tensors[0], Handle) else tuple(outs)


def atleast_1d(*tensors: Any) -> Any:
    """Views with at least one dimension."""
    return atleast_nd(1, tensors)


def atleast_2d(*tensors: Any) -> Any:
    """Views with at least two dimensions; new ones come first."""
    return atleast_nd(2, tensors)


def atleast_3d(*tensors: Any) -> Any:
    """Views with at least three dimensions: a vector becomes (1, n, 1), a matrix (m, n, 1)."""
    return atleast_nd(3, tensors)


# -- expanding -------------------------------------------------------------------------------


def expand(input: Any, *sizes: Any, size: Any = None) -> Any:
    """Repeat dimensions of size 1, and new ones in front, without copying; -1 keeps a size.

    Raises:
        ShapeError: a dimension that is not 1 would have to change.
    """
    target = ints("expand", sizes if size is None else (tuple(size),))
    own = input.aval.shape
    extra = len(target) - len(own)
    wrong = extra < 0 or any(n < 0 for n in target[:extra])
    if not wrong:
        target = tuple(own[i - extra] if n == -1 else n for i, n in enumerate(target))
        wrong = any(n != m and m != 1 for n, m in zip(target[extra:], own, strict=True)) or any(n < 0 for n in target)
    if wrong:
        raise ShapeError(
            message("expand", "the sizes do not fit", f"{input.aval} to {list(target)}",
                    "Only dimensions of size 1 can be repeated")
        )  # fmt: skip
    grown = [
        i for i in range(len(target)) if (i < extra and target[i] != 1) or (i >= extra and own[i - extra] != target[i])
    ]
    kept = tuple(n for i, n in enumerate(target) if i not in grown)
    x = input if kept == own and grown else _view("expand", input, kept)
    return make_view(x, _EXPAND, {"shape": target, "axes": tuple(grown)}) if grown else x


def expand_as(self: Any, other: Any) -> Any:
    """Expand to the shape of ``other``."""
    return expand(self, other.aval.shape)


def broadcast_to(input: Any, size: Any) -> Any:
    """Expand to a shape."""
    return expand(input, ints("broadcast_to", (size,)))


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Expand tensors to their common shape."""
    many = tensors_of(tensors)
    shape = broadcast_shape("broadcast_tensors", [x.aval for x in many])
    return tuple(expand(x, shape) for x in many)


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape to which these shapes broadcast.

    >>> import wengert as wg
    >>> wg.broadcast_shapes((2, 1), (3,))
    wengert.Size([2, 3])
    """
    avals = [Aval((s,) if isinstance(s, int) else tuple(s), dt.NP_FLOAT32) for s in shapes]
    if any(n < 0 for a in avals for n in a.shape):
        raise ShapeError(message("broadcast_shapes", "sizes must not be negative", repr(shapes)))
    shape = broadcast_shape("broadcast_shapes", avals)
    return wrap(np.broadcast_to(np.float32(0), shape)).shape


def sum_to_size(self: Any, *size: Any) -> Any:
    """Sum over dimensions until the shape is ``size``, to which it must broadcast."""
    shape, target = self.aval.shape, ints("sum_to_size", size)
    extra = len(shape) - len(target)
    if extra < 0 or any(n not in (1, m) for n, m in zip(target, shape[extra:], strict=True)):
        raise ShapeError(message("sum_to_size", "the size does not broadcast to the shape", f"{self.aval}, {target}"))
    axes = [i for i, m in enumerate(shape) if i < extra or target[i - extra] != m]
    return reshape(self.sum(axes), target) if axes or not target else self


# -- order of dimensions ----------------------------------------------------------------------


def permute(input: Any, *dims: Any) -> Any:
    """Reorder the dimensions: dimension i of the result is dimension ``dims[i]`` of the input."""
    n = len(input.aval.shape)
    order = tuple(normal_dim("permute", d, n) for d in ints("permute", dims))
    if sorted(order) != list(range(n)):
        raise ShapeError(message("permute", "not an order of the dimensions", f"{input.aval}, dims {list(order)}"))
    return make_view(input, _PERMUTE, {"order": order})


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Swap two dimensions."""
    n = len(input.aval.shape)
    a, b = normal_dim("transpose", dim0, n), normal_dim("transpose", dim1, n)
    order = list(range(n))
    if n:
        order[a], order[b] = b, a
    return make_view(input, _PERMUTE, {"order": tuple(order)})


swapaxes = swapdims = transpose


def t(input: Any) -> Any:
    """Transpose of a matrix; vectors and 0-d tensors as they are."""
    n = len(input.aval.shape)
    if n > 2:
        raise ShapeError(message("t", "needs at most two dimensions", str(input.aval), "Use x.mT or x.permute(...)"))
    return make_view(input, _PERMUTE, _REVERSED[n])


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Move dimensions to new places; the others keep their order."""
    n = len(input.aval.shape)
    pairs: list[list[int]] = []
    for dims in (source, destination):
        given = ints("movedim", (dims,))
        pairs.append([normal_dim("movedim", d, n) for d in given])
        if len(set(pairs[-1])) != len(pairs[-1]):
            raise ArgumentError(message("movedim", "a dimension appears twice", repr(dims)))
    if len(pairs[0]) != len(pairs[1]):
        raise ArgumentError(message("movedim", "needs as many sources as destinations", f"{source} to {destination}"))
    order = [i for i in range(n) if i not in pairs[0]]
    for to, d in sorted(zip(pairs[1], pairs[0], strict=True)):
        order.insert(to, d)
    return make_view(input, _PERMUTE, {"order": tuple(order)}) if n else _view("movedim", input, ())


moveaxis = movedim


def adjoint(input: Any) -> Any:
    """Conjugate transpose of matrices (the last two dimensions)."""
    out = _matrix_transpose(input, "adjoint")
    return apply(OPS["conj"], (out,)) if out.aval.dtype in dt.COMPLEX_NP else out


def _matrix_transpose(x: Any, name: str) -> Any:
    if len(x.aval.shape) < 2:
        raise ShapeError(message(name, "needs at least two dimensions", str(x.aval)))
    return transpose(x, -2, -1)


def _get_T(self: Any) -> Any:
    """All dimensions in reverse order."""
    value = self._value
    return make_view(self, _PERMUTE, _REVERSED[len(self.aval.shape) if value is None else value.ndim])


def _get_mT(self: Any) -> Any:
    """The last two dimensions swapped."""
    return _matrix_transpose(self, "mT")


def _get_H(self: Any) -> Any:
    """Conjugate transpose of a matrix."""
    if len(self.aval.shape) not in (0, 2):
        raise ShapeError(message("H", "needs a matrix", str(self.aval), "Use x.mH"))
    return adjoint(self) if self.aval.shape else self


# -- in place --------------------------------------------------------------------------------


def _reshaper(name: str, function: Any) -> Any:
    """``x.unsqueeze_()`` and the like: the tensor itself becomes the view."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_writable(name, self)
        alias = self._alias
        if alias is not None and alias.base is None and any(v() is not None for v in alias.views):
            raise ArgumentError(message(name, "the tensor has views", cure=f"Use x = x.{name[:-1]}(...)"))
        out = function(self, *args, **kwargs)
        self._value, self._node = out._value, out._node
        self._alias = out._alias if alias is not None and alias.base is not None else alias
        if self._alias is not None and self._alias.base is self:
            self._alias = None
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place `{name[:-1]}`; returns the tensor itself."
    return method


__all__ = [
    "adjoint", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_shapes", "broadcast_tensors", "broadcast_to",
    "flatten", "moveaxis", "movedim", "permute", "ravel", "reshape", "squeeze", "swapaxes", "swapdims", "t",
    "transpose", "unflatten", "unsqueeze",
]  # fmt: skip
NOT_METHODS = ("atleast_1d", "atleast_2d", "atleast_3d", "broadcast_shapes", "broadcast_tensors")
EXTRA_METHODS: dict[str, Any] = {
    "T": property(_get_T),
    "mT": property(_get_mT),
    "H": property(_get_H),
    "mH": property(adjoint),
    "expand": expand,
    "expand_as": expand_as,
    "reshape_as": reshape_as,
    "sum_to_size": sum_to_size,
    "view": view,
    "view_as": view_as,
    **{f"{f.__name__}_": _reshaper(f"{f.__name__}_", f) for f in (squeeze, unsqueeze, transpose, t)},
}
EXTRA_METHODS["swapaxes_"] = EXTRA_METHODS["swapdims_"] = EXTRA_METHODS["transpose_"]

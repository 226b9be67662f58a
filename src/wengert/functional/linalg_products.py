"""Products and sums of products of the linalg family: vectors, chains, tensors as matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import apply, wrap
from ..ops.base import OPS, conj
from ..ops.contract import swap_last
from .blas import batched_product as product
from .blas import matmul, require_tensors
from .dims import normal_dim, operand, widened
from .einsum import permute, reshape
from .formula import formula
from .front import broadcast_shape, cast, expand_to, promote
from .reduction import root, vector_norm_formula

# -- vectors ---------------------------------------------------------------------------------------


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """Inner products along ``dim`` of two tensors that are broadcast; the first is conjugated."""
    x, y = operand("vecdot", x), operand("vecdot", y)
    require_tensors("vecdot", x, y)
    out = conj(x) * y
    return out.sum(normal_dim("vecdot", dim, out.aval.ndim))


def _rolled(x: Any, axis: int, by: int) -> Any:
    """Elements of an axis of size 3 moved to the left by ``by``."""
    spec = [(0, n, 1) for n in x.aval.shape]

    def piece(start: int, stop: int) -> Any:
        spec[axis] = (start, stop, 1)
        return OPS["slice"](x, spec=tuple(spec))

    return OPS["cat"](piece(by, 3), piece(0, by), axis=axis)


@formula
def _cross(x: Any, y: Any, axis: int) -> Any:
    return _rolled(x, axis, 1) * _rolled(y, axis, 2) - _rolled(x, axis, 2) * _rolled(y, axis, 1)


def linalg_cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """Cross products of the vectors of size 3 along ``dim``; the rest is broadcast.

    >>> import wengert as wg
    >>> wg.linalg.cross(wg.tensor([1.0, 0.0, 0.0]), wg.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    x, y = operand("cross", input), operand("cross", other)
    if x.aval.ndim != y.aval.ndim:
        raise ShapeError(message("cross", "operands must have as many dimensions", describe((x.aval, y.aval))))
    x, y = promote("cross", (x, y))
    shape = broadcast_shape("cross", (x.aval, y.aval))
    axis = normal_dim("cross", dim, len(shape))
    if x.aval.shape[axis] != 3 or y.aval.shape[axis] != 3:
        raise ShapeError(message("cross", f"dimension {dim} must have size 3", describe((x.aval, y.aval))))
    return _cross(expand_to(x, shape), expand_to(y, shape), axis)


def cross_first(input: Any, other: Any, dim: int | None = None) -> Any:
    """Cross products along ``dim``, by default the first dimension of size 3."""
    x, y = operand("cross", input), operand("cross", other)
    if dim is None:
        shape = broadcast_shape("cross", (x.aval, y.aval))
        if 3 not in shape:
            raise ShapeError(message("cross", "no dimension has size 3", describe((x.aval, y.aval))))
        dim = shape.index(3)
    return linalg_cross(x, y, dim=dim)


def vander(x: Any, *, N: int | None = None) -> Any:
    """The powers 0 to N - 1 of each element, as a new last axis; N is the size of the last by default."""
    x = operand("vander", x)
    if not x.aval.ndim and N is None:
        raise ShapeError(message("vander", "needs at least one dimension, or N", str(x.aval)))
    if N is not None and N <= 1:
        raise ArgumentError(message("vander", "N must be greater than 1", str(N)))
    if x.aval.dtype not in dt.INEXACT_NP:
        x = cast(x, dt.int64)
    n = x.aval.shape[-1] if N is None else N
    powers = np.arange(n).astype(dt.of(x.aval.dtype).to_real().np)
    return reshape(x, (*(x.aval.shape or (1,)), 1)) ** wrap(powers.astype(x.aval.dtype))


def vander_top(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Vandermonde matrix of a vector, with falling powers unless ``increasing``."""
    x = operand("vander", x)
    if x.aval.ndim != 1:
        raise ShapeError(message("vander", "needs a vector", str(x.aval)))
    n = x.aval.shape[0] if N is None else N
    if x.aval.dtype not in dt.INEXACT_NP:
        x = cast(x, dt.int64)
    powers = np.arange(n) if increasing else np.arange(n)[::-1]
    return reshape(x, (x.aval.shape[0], 1)) ** wrap(np.asarray(powers, x.aval.dtype))


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonal of the matrices over two dimensions, as the last dimension; a view."""
    return operand("diagonal", A).diagonal(offset, dim1, dim2)


# -- chains ----------------------------------------------------------------------------------------


def _cheapest(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Where to split the product of matrices i..j, by the number of multiplications."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            best: tuple[int, int] | None = None
            for k in range(i, j):
                c = cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                if best is None or c < best[0]:
                    best = (c, k)
            assert best is not None
            cost[i, j], split[i, j] = best
    return split


def multi_dot(tensors: Sequence[Any]) -> Any:
    """Product of two or more matrices in the cheapest order; the first and last may be vectors.

    >>> import wengert as wg
    >>> wg.linalg.multi_dot([wg.ones(2, 3), wg.ones(3, 4), wg.ones(4)])
    tensor([12., 12.])
    """
    xs = list(tensors)
    if len(xs) < 2:
        raise ArgumentError(message("multi_dot", "needs at least two tensors", str(len(xs))))
    require_tensors("multi_dot", *xs)
    for k, x in enumerate(xs):
        if x.aval.ndim != 2 and not (x.aval.ndim == 1 and k in (0, len(xs) - 1)):
            raise ShapeError(
                message("multi_dot", "needs matrices, or vectors at the ends", describe(t.aval for t in xs))
            )
    row, column = xs[0].aval.ndim == 1, xs[-1].aval.ndim == 1
    if row:
        xs[0] = reshape(xs[0], (1, xs[0].aval.size))
    if column:
        xs[-1] = reshape(xs[-1], (xs[-1].aval.size, 1))
    split = _cheapest([*[x.aval.shape[0] for x in xs], xs[-1].aval.shape[1]])

    def chain(i: int, j: int) -> Any:
        if i == j:
            return xs[i]
        k = split[i, j]
        return matmul(chain(i, k), chain(k + 1, j))

    out = chain(0, len(xs) - 1)
    m, n = out.aval.shape
    return reshape(out, (() if row else (m,)) + (() if column else (n,)))


def chain_matmul(*matrices: Any) -> Any:
    """Product of matrices in the cheapest order."""
    if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)):
        matrices = tuple(matrices[0])
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


# -- tensors as matrices -----------------------------------------------------------------------------


def tensorinv(A: Any, ind: int = 2) -> Any:
    """The X with tensordot(A, X, ind) the identity; the first ``ind`` dimensions of A count as rows."""
    a = operand("tensorinv", A)
    if ind <= 0:
        raise ArgumentError(message("tensorinv", "ind must be positive", str(ind)))
    rows, columns = a.aval.shape[:ind], a.aval.shape[ind:]
    n = math.prod(rows)
    if n != math.prod(columns):
        raise ShapeError(message("tensorinv", "rows and columns differ in number", f"{a.aval}, ind={ind}"))
    return reshape(apply(OPS["inv"], (reshape(a, (n, n)),)), (*columns, *rows))


def tensorsolve(A: Any, B: Any, dims: Sequence[int] | None = None) -> Any:
    """The X with tensordot(A, X, X.ndim) = B; the dimensions ``dims`` of A are moved to its end first."""
    a, b = operand("tensorsolve", A), operand("tensorsolve", B)
    require_tensors("tensorsolve", a, b)
    if dims is not None:
        last = [normal_dim("tensorsolve", d, a.aval.ndim) for d in dims]
        a = permute(a, (*[i for i in range(a.aval.ndim) if i not in last], *last))
    columns = a.aval.shape[b.aval.ndim :]
    n = math.prod(columns)
    if n != b.aval.size or a.aval.size != n * n:
        raise ShapeError(message("tensorsolve", "A as a matrix is not square for B", describe((a.aval, b.aval))))
    return reshape(apply(OPS["solve"], (reshape(a, (n, n)), reshape(b, (n, 1)))), columns)


# -- norms and distances of rows -----------------------------------------------------------------------


def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """The tensor with each slice along ``dim`` scaled down to a norm of at most ``maxnorm``."""
    x = operand("renorm", input)
    if x.aval.ndim < 2:
        raise ShapeError(message("renorm", "needs at least two dimensions", str(x.aval)))
    axis = normal_dim("renorm", dim, x.aval.ndim)
    axes = tuple(i for i in range(x.aval.ndim) if i != axis)
    return _renorm(x, float(p), axes, float(maxnorm))


@formula
def _renorm(x: Any, p: float, axes: tuple[int, ...], maxnorm: float) -> Any:
    size = vector_norm_formula(x, p, axes)
    ones = OPS["fill"](size, value=1)
    factor = OPS["where"](size > maxnorm, maxnorm / (size + 1e-7), ones)
    return x * OPS["expand"](factor, shape=x.aval.shape, axes=axes)


LARGE = 2**22  # elements of all differences from which distances go through a matrix product


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = "use_mm_for_euclid_dist_if_necessary") -> Any:
    """Distances of order ``p`` between the rows of two collections.

    Args:
        x1: shape (..., m, d).
        x2: shape (..., n, d); leading dimensions broadcast.
        p: the order, from 0 to inf.
        compute_mode: whether euclidean distances may go through a matrix product (faster, less exact);
            "..._if_necessary" does it when the table of differences would be large.

    The gradient at distance 0 is 0.
    """
    x, y = operand("cdist", x1), operand("cdist", x2)
    if x.aval.ndim < 2 or y.aval.ndim < 2 or x.aval.shape[-1] != y.aval.shape[-1]:
        raise ShapeError(message("cdist", "needs (..., m, d) and (..., n, d)", describe((x.aval, y.aval))))
    if p < 0:
        raise ArgumentError(message("cdist", "the order must not be negative", str(p)))
    for a in (x, y):
        if a.aval.dtype not in dt.FLOATING_NP:
            raise DTypeError(message("cdist", "needs a floating dtype", str(a.aval), "Convert with x.float()"))
    x, y = promote("cdist", (x, y))
    (m, d), n = x.aval.shape[-2:], y.aval.shape[-2]
    a, b = x.aval.with_shape(x.aval.shape[:-2]), y.aval.with_shape(y.aval.shape[:-2])
    lead = broadcast_shape("cdist", (a, b))
    x, y = expand_to(x, (*lead, m, d)), expand_to(y, (*lead, n, d))
    large = math.prod(lead) * m * n * d > LARGE
    if p == 2 and (compute_mode in (1, "use_mm_for_euclid_dist") or (compute_mode in _MAYBE and large)):
        return _euclidean(x, y)
    return _distances(x, y, float(p) if d else 1.0)  # nothing has no largest element, but no length either


_MAYBE = (None, 0, "use_mm_for_euclid_dist_if_necessary")


@formula
def _distances(x: Any, y: Any, p: float) -> Any:
    shape = (*x.aval.shape[:-1], y.aval.shape[-2], x.aval.shape[-1])
    k = len(shape)
    difference = OPS["expand"](x, shape=shape, axes=(k - 2,)) - OPS["expand"](y, shape=shape, axes=(k - 3,))
    return vector_norm_formula(difference, p, (k - 1,))


@formula
def _euclidean(x: Any, y: Any) -> Any:
    """|x|^2 + |y|^2 - 2 x y, which rounding may make negative."""
    source = x.aval.dtype
    x, y = widened(x), widened(y)
    k = x.aval.ndim
    shape = (*x.aval.shape[:-1], y.aval.shape[-2])
    left = OPS["expand"](OPS["sum"](x * x, axes=(k - 1,)), shape=shape, axes=(k - 1,))
    right = OPS["expand"](OPS["sum"](y * y, axes=(k - 1,)), shape=shape, axes=(k - 2,))
    square = left + right - 2.0 * product(x, swap_last(y))
    positive = OPS["where"](square > 0, square, OPS["fill"](square, value=0))
    return cast(root(positive, 2), dt.of(source))


__all__ = [
    "cdist", "chain_matmul", "cross_first", "diagonal", "linalg_cross", "multi_dot", "renorm", "tensorinv",
    "tensorsolve", "vander", "vander_top", "vecdot",
]  # fmt: skip

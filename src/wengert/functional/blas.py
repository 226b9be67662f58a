"""Products of vectors and matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.aval import Aval, describe
from ..graph.handle import Handle, apply, make_node, node_of, wrap
from ..graph.node import NO_ATTRS
from ..ops.base import OPS, conj
from ..ops.contract import PRODUCTS
from .einsum import einsum, permute, reshape
from .formula import formula
from .front import apply_elementwise, broadcast_shape, cast, expand_to, promote

_MATMUL, _PERMUTE, _EXPAND, _ADD = OPS["matmul"], OPS["permute"], OPS["expand"], OPS["add"]
_product = np.ndarray.dot  # of two matrices: the bits of np.matmul, of small ones in half of its time
_DIRECT = frozenset(np.dtype(d) for d in ("float32", "float64", "complex64", "complex128"))
_SWAP: dict[str, Any] = {"order": (1, 0)}


def require_tensors(name: str, *xs: Any) -> None:
    """Raise unless all are tensors of one dtype that can be multiplied."""
    for x in xs:
        if not isinstance(x, Handle):
            raise DTypeError(message(name, "needs tensors", type(x).__name__, "Wrap it with wg.tensor(...)"))
    avals = [x.aval for x in xs]
    if any(a.dtype != avals[0].dtype for a in avals):
        raise DTypeError(
            message(name, "operands must have one dtype", describe(avals), "Convert one with y.to(x.dtype)")
        )
    if avals[0].dtype == dt.NP_BOOL:
        raise DTypeError(message(name, "bool tensors have no products", describe(avals), "Convert with x.float()"))


def _ranks(name: str, ranks: Sequence[int], *xs: Any) -> None:
    """Raise unless the tensors fit `require_tensors` and have these numbers of dimensions."""
    require_tensors(name, *xs)
    if [x.aval.ndim for x in xs] != list(ranks):
        cure = "Use wg.matmul to broadcast" if name in ("mm", "bmm", "mv", "dot") else ""
        raise ShapeError(
            message(
                name,
                f"needs {' and '.join(f'{r}-d' for r in ranks)} tensors",
                describe(x.aval for x in xs),
                cure,
            )
        )


def matmul(input: Any, other: Any) -> Any:
    """Matrix product with PyTorch's rules: vectors count as a row or a column, leading dimensions broadcast.

    Args:
        input: shape (k), (m, k) or (..., m, k).
        other: shape (k), (k, n) or (..., k, n), of the same dtype.

    >>> import wengert as wg
    >>> wg.tensor([[1.0, 2.0], [3.0, 4.0]]) @ wg.tensor([1.0, -1.0])
    tensor([-1., -1.])

    Raises:
        ShapeError: inner sizes differ, or leading dimensions do not broadcast.
        DTypeError: the dtypes differ.
    """
    state = STATE.mode
    try:
        x, y = input._value, other._value
        rank = x.ndim
        if (
            x.dtype is y.dtype
            and x.dtype in _DIRECT
            and rank == y.ndim
            and (rank == 2 or (rank > 2 and x.shape[:-2] == y.shape[:-2]))
            and x.size * y.shape[-1] < PRODUCTS
        ):
            value = state.run(_product if rank == 2 else np.matmul, x, y)
            p, q = input._node, other._node
            out = wrap(value)
            if ((p is not None and p.requires_grad) or (q is not None and q.requires_grad)) and state.grad:
                if p is None:
                    p = node_of(input)
                if q is None:
                    q = node_of(other)
                out._node = make_node(_MATMUL, (p, q), NO_ATTRS, value, True)
            return out
    except Exception:  # the general path does it again, and names what is wrong
        pass
    return _matmul(input, other)


def _matmul(x: Any, y: Any) -> Any:
    require_tensors("matmul", x, y)
    m, n = x.aval.shape, y.aval.shape
    if not m or not n:
        raise ShapeError(message("matmul", "needs at least one dimension", describe((x.aval, y.aval)), "Use x * y"))
    row, column = len(m) == 1, len(n) == 1
    if m[-1] != (n[0] if column else n[-2]):
        cure = "Perhaps y.mT is meant" if not column and m[-1] == n[-1] else ""
        raise ShapeError(message("matmul", "inner sizes differ", f"{x.aval} @ {y.aval}", cure))
    return _matmul_formula(x, y, row, column) if row or column else batched_product(x, y)


@formula
def _matmul_formula(x: Any, y: Any, row: bool, column: bool) -> Any:
    """With a vector, which counts as a row or a column."""
    a = reshape(x, (1, *x.aval.shape)) if row else x
    b = reshape(y, (*y.aval.shape, 1)) if column else y
    out = batched_product(a, b)
    shape = out.aval.shape
    if column:
        shape = shape[:-1]
    if row:
        shape = shape[:-2] if column else (*shape[:-2], shape[-1])
    return reshape(out, shape)


def batched_product(a: Any, b: Any) -> Any:
    """Product of (..., m, k) and (..., k, n), leading dimensions broadcast."""
    s, t = a.aval.shape, b.aval.shape
    if s[:-2] != t[:-2]:
        if len(t) == 2:  # one matrix for all: a single product of a tall matrix
            rows = a.aval.size // s[-1] if s[-1] else _count(s[:-1])
            return reshape(apply(_MATMUL, (reshape(a, (rows, s[-1])), b)), (*s[:-1], t[-1]))
        lead = broadcast_shape("matmul", (Aval(s[:-2], a.aval.dtype), Aval(t[:-2], b.aval.dtype)))
        a, b = expand_to(a, (*lead, *s[-2:])), expand_to(b, (*lead, *t[-2:]))
    return apply(_MATMUL, (a, b))


def _count(shape: Sequence[int]) -> int:
    n = 1
    for k in shape:
        n *= k
    return n


def rmatmul(input: Any, other: Any) -> Any:
    """``other @ input``."""
    return matmul(other, input)


def mm(input: Any, mat2: Any) -> Any:
    """Product of two matrices, (m, k) and (k, n); nothing broadcasts."""
    _ranks("mm", (2, 2), input, mat2)
    return matmul(input, mat2)


def bmm(input: Any, mat2: Any) -> Any:
    """Products of the matrices of two batches, (b, m, k) and (b, k, n); nothing broadcasts."""
    _ranks("bmm", (3, 3), input, mat2)
    return apply(_MATMUL, (input, mat2))


def mv(input: Any, vec: Any) -> Any:
    """Product of a matrix (m, k) and a vector (k)."""
    _ranks("mv", (2, 1), input, vec)
    return _matmul(input, vec)


def dot(input: Any, tensor: Any) -> Any:
    """Inner product of two vectors; complex values are not conjugated (see `vdot`).

    >>> import wengert as wg
    >>> wg.dot(wg.tensor([1.0, 2.0]), wg.tensor([3.0, 4.0]))
    tensor(11.)
    """
    _ranks("dot", (1, 1), input, tensor)
    return _matmul(input, tensor)


def vdot(input: Any, other: Any) -> Any:
    """Inner product of two vectors, the first conjugated."""
    _ranks("vdot", (1, 1), input, other)
    return _matmul(conj(input), other)


def inner(input: Any, other: Any) -> Any:
    """Sums of products over the last dimensions; a 0-d operand multiplies."""
    if not (isinstance(input, Handle) and isinstance(other, Handle)):
        require_tensors("inner", input, other)
    m, n = input.aval.shape, other.aval.shape
    if not m or not n:
        return input * other
    require_tensors("inner", input, other)
    if m[-1] != n[-1]:
        raise ShapeError(message("inner", "last sizes differ", describe((input.aval, other.aval))))
    rows = reshape(input, (_count(m[:-1]), m[-1]))
    columns = permute(reshape(other, (_count(n[:-1]), n[-1])), (1, 0))
    return reshape(apply(_MATMUL, (rows, columns)), (*m[:-1], *n[:-1]))


def outer(input: Any, vec2: Any) -> Any:
    """All products of the elements of two vectors, (m) and (n) to (m, n).

    >>> import wengert as wg
    >>> wg.outer(wg.tensor([1.0, 2.0]), wg.tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    for x in (input, vec2):
        if not isinstance(x, Handle) or x.aval.ndim != 1:
            seen = str(x.aval) if isinstance(x, Handle) else type(x).__name__
            raise ShapeError(message("outer", "needs vectors", seen, "Use x.reshape(-1)"))
    x, y = promote("outer", (input, vec2))
    return apply_elementwise(OPS["mul"], (reshape(x, (x.aval.size, 1)), y))


ger = outer


# -- a sum and a product ----------------------------------------------------------------------


def _combine(name: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """``beta * input + alpha * product``; ``input`` is not looked at where beta is 0."""
    if input.aval.dtype != product.aval.dtype:
        raise DTypeError(
            message(
                name,
                "operands must have one dtype",
                describe((input.aval, product.aval)),
                "Convert with .to()",
            )
        )
    if product.aval.dtype not in dt.INEXACT_NP and (isinstance(beta, float) or isinstance(alpha, float)):
        raise DTypeError(message(name, "beta and alpha must be integers for integer tensors", f"{beta}, {alpha}"))
    shape = product.aval.shape
    if broadcast_shape(name, (input.aval, product.aval)) != shape:
        raise ShapeError(
            message(name, "the input does not broadcast to the product", f"{input.aval} to {product.aval}")
        )
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product
    return apply_elementwise(_ADD, (input if beta == 1 else input * beta, product))


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * (mat1 @ mat2)``; ``input`` broadcasts, and is ignored if beta is 0."""
    return _combine("addmm", input, mm(mat1, mat2), beta, alpha)


def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * (mat @ vec)``."""
    return _combine("addmv", input, mv(mat, vec), beta, alpha)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    out = _combine("addr", input, outer(vec1, vec2), beta, alpha)
    return cast(out, dt.bool_) if input.aval.dtype == dt.NP_BOOL else out


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * bmm(batch1, batch2)``."""
    return _combine("baddbmm", input, bmm(batch1, batch2), beta, alpha)


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * (the sum of the products of two batches of matrices)``."""
    product = apply(OPS["sum"], (bmm(batch1, batch2),), {"axes": (0,)})
    return _combine("addbmm", input, product, beta, alpha)


# -- products along given dimensions ------------------------------------------------------------


def tensordot(a: Any, b: Any, dims: Any = 2, out: None = None) -> Any:
    """Sum of products over pairs of dimensions.

    Args:
        a: a tensor.
        b: a tensor of the same dtype.
        dims: a number n (the last n dimensions of ``a`` with the first n of ``b``), or two lists of
            dimensions that go together.
        out: accepted for PyTorch's sake; must be None.
    """
    require_tensors("tensordot", a, b)
    left, right = _contracted(dims, a.aval.ndim, b.aval.ndim)
    for i, j in zip(left, right, strict=True):
        if a.aval.shape[i] != b.aval.shape[j]:
            a, b = _narrowed(a, b, i, j)
    rest_a = [i for i in range(a.aval.ndim) if i not in left]
    rest_b = [j for j in range(b.aval.ndim) if j not in right]
    s, t = a.aval.shape, b.aval.shape
    k = _count([s[i] for i in left])
    x = reshape(permute(a, (*rest_a, *left)), (_count([s[i] for i in rest_a]), k))
    y = reshape(permute(b, (*right, *rest_b)), (k, _count([t[j] for j in rest_b])))
    return reshape(apply(_MATMUL, (x, y)), (*[s[i] for i in rest_a], *[t[j] for j in rest_b]))


def _narrowed(a: Any, b: Any, i: int, j: int) -> tuple[Any, Any]:
    """Bring a pair of dimensions to one size, where one of them is 1: the other is summed."""
    if a.aval.shape[i] != 1 and b.aval.shape[j] != 1:
        raise ShapeError(
            message("tensordot", "sizes differ", f"dimension {i} of {a.aval} and dimension {j} of {b.aval}")
        )
    x, k = (b, j) if a.aval.shape[i] == 1 else (a, i)
    shape = tuple(1 if axis == k else n for axis, n in enumerate(x.aval.shape))
    x = reshape(apply(OPS["sum"], (x,), {"axes": (k,)}), shape)
    return (a, x) if x.aval.ndim == b.aval.ndim and a.aval.shape[i] == 1 else (x, b)


def _contracted(dims: Any, m: int, n: int) -> tuple[list[int], list[int]]:
    """The dimensions of both operands that ``dims`` of `tensordot` means."""
    if isinstance(dims, Handle):
        dims = dims.tolist()  # type: ignore[attr-defined]
    if isinstance(dims, int):
        if dims < 0 or dims > min(m, n):
            raise ArgumentError(message("tensordot", "dims out of range", f"{dims} of {m} and {n} dimensions"))
        return list(range(m - dims, m)), list(range(dims))
    left, right = [([d] if isinstance(d, int) else list(d)) for d in dims]
    if len(left) != len(right):
        raise ArgumentError(message("tensordot", "dims must pair up", f"{left} and {right}"))
    for axes, rank in ((left, m), (right, n)):
        for k, d in enumerate(axes):
            if not -rank <= d < rank:
                raise ArgumentError(message("tensordot", "dimension out of range", f"{d} of {rank} dimensions"))
            axes[k] = d % rank
        if len(set(axes)) != len(axes):
            raise ArgumentError(message("tensordot", "a dimension appears twice", str(dims)))
    return left, right


def kron(input: Any, other: Any) -> Any:
    """Kronecker product; dimensions missing in one operand count as 1.

    >>> import wengert as wg
    >>> wg.kron(wg.tensor([1, 2]), wg.tensor([1, 10]))
    tensor([ 1, 10,  2, 20])
    """
    x, y = promote("kron", (input, other))
    rank = max(x.aval.ndim, y.aval.ndim)
    s = (*[1] * (rank - x.aval.ndim), *x.aval.shape)
    t = (*[1] * (rank - y.aval.ndim), *y.aval.shape)
    wide = tuple(n for pair in zip(s, [1] * rank, strict=True) for n in pair)
    fine = tuple(n for pair in zip([1] * rank, t, strict=True) for n in pair)
    out = apply_elementwise(OPS["mul"], (reshape(x, wide), reshape(y, fine)))
    return reshape(out, tuple(m * n for m, n in zip(s, t, strict=True)))


# -- what nn.functional builds on ----------------------------------------------------------------


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """``input @ weight.T + bias``, as ``torch.nn.functional.linear``.

    Args:
        input: shape (..., k).
        weight: shape (n, k), or (k) for a single output without a dimension.
        bias: shape (n), or () with a 1-d weight.
    """
    return _linear(input, weight) if bias is None else _linear(input, weight, bias)


@formula
def _linear(x: Any, w: Any, b: Any = None) -> Any:
    given = (x, w) if b is None else (x, w, b)
    require_tensors("linear", *given)
    s, t = x.aval.shape, w.aval.shape
    if len(t) not in (1, 2) or not s or s[-1] != t[-1]:
        raise ShapeError(
            message("linear", "the last size of the input must be the last size of the weight",
                    f"input {x.aval}, weight {w.aval}", "The weight has shape (out_features, in_features)")
        )  # fmt: skip
    if b is not None and b.aval.shape != t[:-1]:
        raise ShapeError(message("linear", "the bias does not fit the weight", f"bias {b.aval}, weight {w.aval}"))
    if len(t) == 1:
        out = _matmul(x, w)
        return out if b is None else apply_elementwise(_ADD, (out, b))
    rows = reshape(x, (_count(s[:-1]), s[-1]))
    out = apply(_MATMUL, (rows, apply(_PERMUTE, (w,), _SWAP)))
    if b is not None:
        out = apply_elementwise(_ADD, (out, b))
    return reshape(out, (*s[:-1], t[0]))


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """sum_ij input1_i weight_kij input2_j + bias_k, as ``torch.nn.functional.bilinear``."""
    require_tensors("bilinear", input1, input2, weight)
    s, t, w = input1.aval.shape, input2.aval.shape, weight.aval.shape
    if len(w) != 3 or s[:-1] != t[:-1] or s[-1:] + t[-1:] != w[1:]:
        seen = describe((input1.aval, input2.aval, weight.aval))
        raise ShapeError(message("bilinear", "shapes do not fit", seen, "They are (..., i), (..., j), (k, i, j)"))
    out = einsum("...i,kij,...j->...k", input1, weight, input2)
    return out if bias is None else out + bias


__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "dot", "einsum", "ger", "inner", "kron", "matmul",
    "mm", "mv", "outer", "tensordot", "vdot",
]  # fmt: skip

NOT_METHODS = ("einsum", "tensordot")
EXTRA_METHODS = {"__matmul__": matmul, "__rmatmul__": rmatmul}
INPLACE = ("addbmm", "addmm", "addmv", "addr", "baddbmm")

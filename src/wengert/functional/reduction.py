"""Reductions: sums, products, extremes, truth, norms.

``dim`` is an int, several ints, or None for all dimensions; ``keepdim`` keeps them with size 1.
NumPy's names ``axis`` and ``keepdims`` are taken as well, as PyTorch does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..errors import ArgumentError, DTypeError, message
from ..graph.handle import Handle, apply, make_node, wrap
from ..ops.base import OPS
from ..ops.heavy import HEAVY
from . import return_types
from .dims import (
    elements,
    keep,
    normal_dim,
    normal_dims,
    numpy_names,
    operand,
    require_elements,
    require_floating,
    require_real,
    spread,
    squeezed,
    widened,
)
from .formula import formula
from .front import cast

_SUM, _MEAN = OPS["sum"], OPS["mean"]
_ADD_REDUCE = np.add.reduce
_FAST = frozenset((dt.NP_FLOAT32, dt.NP_FLOAT64, dt.complex64.np, dt.complex128.np))
_ALL_AXES: list[dict[str, Any]] = [{"axes": tuple(range(n))} for n in range(65)]


def _of_all(op: Any, reduce: Any, input: Any) -> Any:
    """An op over all elements in the common case, without the general path's questions; None in any other."""
    try:
        mode = STATE.mode
        v = input._value
        if v.dtype not in _FAST or v.size >= HEAVY:
            return None
        value = mode.run(reduce, v, None)
    except Exception:  # the general path does it again, and names what is wrong
        return None
    n = input._node
    if n is None or not (n.requires_grad and mode.grad):
        return wrap(value)
    return wrap(value, make_node(op, (n,), _ALL_AXES[v.ndim], value, True, 3, mode))


# -- sums and products ---------------------------------------------------------------------------


def _summable(x: Any, dtype: Any) -> Any:
    """The operand in the dtype in which it is summed: integers and bools in int64."""
    if dtype is not None:
        return cast(x, dt.to_dtype(dtype))
    return x if x.aval.dtype in dt.INEXACT_NP else cast(x, dt.int64)


def sum(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """Sum over ``dim``; integers and bools are summed in int64, half precision in float32.

    >>> import wengert as wg
    >>> wg.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(0)
    tensor([4., 6.])
    """
    if dim is None and dtype is None and axis is None and not (keepdim or keepdims):
        out = _of_all(_SUM, _ADD_REDUCE, input)
        if out is not None:
            return out
    input = _summable(operand("sum", input), dtype)
    axes = normal_dims("sum", dim if axis is None else axis, len(input.aval.shape))
    return keep(input, apply(_SUM, (input,), {"axes": axes}), axes, keepdim or keepdims)


def mean(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """Mean over ``dim`` of a floating or complex tensor; NaN where there is no element.

    >>> import wengert as wg
    >>> wg.tensor([1.0, 2.0, 6.0]).mean()
    tensor(3.)
    """
    if dim is None and dtype is None and axis is None and not (keepdim or keepdims):
        out = _of_all(_MEAN, _mean_of_all, input)
        if out is not None:
            return out
    input = operand("mean", input)
    if dtype is not None:
        input = cast(input, dt.to_dtype(dtype))
    require_floating("mean", input)
    axes = normal_dims("mean", dim if axis is None else axis, len(input.aval.shape))
    return keep(input, apply(_MEAN, (input,), {"axes": axes}), axes, keepdim or keepdims)


def without_nan(name: str, x: Any) -> Any:
    """Zero where there is a NaN."""
    require_real(name, x)
    if x.aval.dtype not in dt.FLOATING_NP:
        return x
    return OPS["where"](OPS["isnan"](x), OPS["fill"](x, value=0), x)


def _mean_of_all(v: Any, axis: None) -> Any:
    return _ADD_REDUCE(v, axis) / v.size


@numpy_names
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Sum over ``dim`` of what is not NaN."""
    return sum(without_nan("nansum", operand("nansum", input)), dim, keepdim, dtype=dtype)


@numpy_names
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Mean over ``dim`` of what is not NaN.

    >>> import wengert as wg
    >>> wg.nanmean(wg.tensor([1.0, wg.nan, 3.0]))
    tensor(2.)
    """
    input = operand("nanmean", input)
    require_floating("nanmean", input)
    x = without_nan("nanmean", input if dtype is None else cast(input, dt.to_dtype(dtype)))
    there = cast(OPS["logical_not"](OPS["isnan"](input)), dt.int64)
    wide = widened(x)
    out = sum(wide, dim, keepdim) / cast(sum(there, dim, keepdim), dt.of(wide.aval.dtype))
    return cast(out, dt.of(x.aval.dtype))


@numpy_names
def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Product over ``dim``; integers and bools are multiplied in int64.

    The gradient is right where elements are zero, in every mode and order.

    >>> import wengert as wg
    >>> x = wg.tensor([2.0, 0.0, 3.0], requires_grad=True)
    >>> x.prod().backward()
    >>> x.grad
    tensor([0., 6., 0.])
    """
    input = _summable(operand("prod", input), dtype)
    shape = input.aval.shape
    axes = normal_dims("prod", dim, len(shape))
    x = input
    if len(axes) == len(shape) > 1:  # one long line has the simpler derivative
        x = apply(OPS["reshape"], (input,), {"shape": (input.aval.size,)})
    out = apply(OPS["prod"], (x,), {"axes": (0,) if x is not input else axes})
    return keep(input, out, axes, keepdim)


@numpy_names
def count_nonzero(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """How many elements are not zero, int64."""
    return sum(operand("count_nonzero", input) != 0, dim, keepdim)


@formula
def log_sum_exp(x: Any, axes: tuple[int, ...]) -> Any:
    """log(sum(exp(x))) over the axes without overflow: the largest element is taken out first."""
    source = dt.of(x.aval.dtype)
    x = widened(x)
    if not elements(x, axes):
        return cast(OPS["log"](_SUM(OPS["exp"](x), axes=axes)), source)
    where, fill = OPS["where"], OPS["fill"]
    real = cast(x, source.to_real()) if source.is_complex else x
    top = OPS["stop_gradient"](OPS["amax"](real, axes=axes))
    top = where(OPS["isfinite"](top), top, fill(top, value=0))
    top = cast(top, dt.of(x.aval.dtype))
    total = _SUM(OPS["exp"](x - spread(top, x, axes)), axes=axes)
    none = total == 0  # all are -inf: no gradient, rather than NaN
    out = where(none, fill(total, value=-np.inf), OPS["log"](where(none, fill(total, value=1), total)) + top)
    return cast(out, source)


@numpy_names
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log(sum(exp(input))) over ``dim``, without overflow; -inf where there is no element.

    >>> import wengert as wg
    >>> wg.logsumexp(wg.tensor([100.0, 100.0]), 0)
    tensor(100.6931)
    """
    input = operand("logsumexp", input)
    if input.aval.dtype not in dt.INEXACT_NP:
        input = cast(input, dt.get_default_dtype())
    axes = normal_dims("logsumexp", dim, len(input.aval.shape))
    return keep(input, log_sum_exp(input, axes), axes, keepdim)


# -- extremes ------------------------------------------------------------------------------------


def _extreme(name: str, op: str, input: Any, dim: Any, keepdim: bool) -> Any:
    if not keepdim and (dim is None or dim == ()) and isinstance(input, Handle) and input.aval.dtype in dt.FLOATING_NP:
        out = _of_all(OPS[op], OPS[op].ufunc.reduce, input)
        if out is not None:
            return out
    input = operand(name, input)
    require_real(name, input)
    axes = normal_dims(name, dim, len(input.aval.shape))
    require_elements(name, input, None if dim == () or dim == [] else dim, axes)
    return keep(input, apply(OPS[op], (input,), {"axes": axes}), axes, keepdim)


@numpy_names
def amax(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """Largest value over ``dim``; ties share the gradient, NaN wins.

    >>> import wengert as wg
    >>> x = wg.tensor([1.0, 3.0, 3.0], requires_grad=True)
    >>> x.amax().backward()
    >>> x.grad
    tensor([0.0000, 0.5000, 0.5000])
    """
    return _extreme("amax", "amax", input, dim, keepdim)


@numpy_names
def amin(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """Smallest value over ``dim``; ties share the gradient, NaN wins."""
    return _extreme("amin", "amin", input, dim, keepdim)


@numpy_names
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """Smallest and largest value over one dimension or all, as a named tuple ``(min, max)``."""
    return return_types.aminmax(
        _extreme("aminmax", "amin", input, dim, keepdim), _extreme("aminmax", "amax", input, dim, keepdim)
    )


def _position(name: str, op: str, input: Any, dim: int | None, keepdim: bool) -> Any:
    """Indices of an extreme, by the op argmax or argmin."""
    input = operand(name, input)
    require_real(name, input)
    shape = input.aval.shape
    if dim is None or not shape:
        axes: tuple[int, ...] = tuple(range(len(shape)))
        require_elements(name, input, None, ())
        normal_dim(name, 0 if dim is None else dim, len(shape))
        line = apply(OPS["reshape"], (input,), {"shape": (input.aval.size,)}) if len(shape) != 1 else input
        return keep(input, apply(OPS[op], (line,), {"axis": 0}), axes, keepdim)
    axis = normal_dim(name, dim, len(shape))
    require_elements(name, input, dim, (axis,))
    return keep(input, apply(OPS[op], (input,), {"axis": axis}), (axis,), keepdim)


@numpy_names
def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Index of the largest value along ``dim``, or in the flattened tensor; the first of ties, NaN wins."""
    return _position("argmax", "argmax", input, dim, keepdim)


@numpy_names
def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Index of the smallest value along ``dim``, or in the flattened tensor; the first of ties, NaN wins."""
    return _position("argmin", "argmin", input, dim, keepdim)


def pick(x: Any, indices: Any, axis: int, keepdim: bool) -> tuple[Any, Any]:
    """Values at ``indices`` (which have size 1 along ``axis``), and the indices."""
    values = apply(OPS["gather"], (x, indices), {"dim": axis})
    return squeezed(values, axis, keepdim), squeezed(indices, axis, keepdim)


@formula
def extreme_with_index(x: Any, op: str, axis: int, keepdim: bool) -> tuple[Any, Any]:
    """The largest or smallest element along an axis, chosen by argmax or argmin, and its index."""
    return tuple(pick(x, _position(op, op, x, axis, True), axis, keepdim))


def _choice(name: str, input: Any, dim: Any, keepdim: bool, kind: Any) -> Any:
    """The three forms of max and min."""
    if isinstance(dim, Handle):
        from . import pointwise

        return getattr(pointwise, f"{name}imum")(input, dim)
    if dim is None:
        return _extreme(name, f"a{name}", input, None, False)
    input = operand(name, input)
    require_real(name, input)
    axis = normal_dim(name, dim, len(input.aval.shape))
    if not input.aval.shape:
        return kind(input, wrap(np.zeros((), np.int64)))
    require_elements(name, input, dim, (axis,))
    return kind(*extreme_with_index(input, f"arg{name}", axis, bool(keepdim)))


@numpy_names
def max(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Largest value: of all elements, along ``dim`` with its index, or of two tensors elementwise.

    Along ``dim`` the result is a named tuple ``(values, indices)``; the gradient goes to that index. Of
    all elements, ties share it, as in `amax`.

    >>> import wengert as wg
    >>> wg.max(wg.tensor([[1.0, 5.0], [7.0, 2.0]]), 1)
    wengert.return_types.max(
    values=tensor([5., 7.]),
    indices=tensor([1, 0]))
    """
    return _choice("max", input, dim if other is None else other, keepdim, return_types.max)


@numpy_names
def min(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Smallest value: of all elements, along ``dim`` with its index, or of two tensors; see `max`."""
    return _choice("min", input, dim if other is None else other, keepdim, return_types.min)


# -- truth ---------------------------------------------------------------------------------------


def _truth(name: str, input: Any, dim: Any, keepdim: bool) -> Any:
    input = operand(name, input)
    axes = () if dim == () or dim == [] else normal_dims(name, dim, len(input.aval.shape))
    out = keep(input, apply(OPS[name], (input,), {"axes": axes}), axes, keepdim)
    return cast(out, dt.uint8) if input.aval.dtype == dt.uint8.np else out  # as PyTorch does


@numpy_names
def any(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether any element over ``dim`` is not zero; bool (uint8 for uint8)."""
    return _truth("any", input, dim, keepdim)


@numpy_names
def all(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether no element over ``dim`` is zero; bool (uint8 for uint8)."""
    return _truth("all", input, dim, keepdim)


def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether |input - other| <= atol + rtol |other| everywhere, as a Python bool.

    Raises:
        DTypeError: the dtypes differ.
    """
    x, y = operand("allclose", input), operand("allclose", other)
    if x.aval.dtype != y.aval.dtype:
        raise DTypeError(message("allclose", "dtypes differ", f"{x.aval}, {y.aval}", "Convert one of them"))
    a, b = widened(x)._concrete("allclose"), widened(y)._concrete("allclose")
    return bool(STATE.quiet(np.isclose, a, b, rtol, atol, equal_nan).all())


def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have one shape and equal elements, as a Python bool; NaN equals nothing."""
    x, y = operand("equal", input), operand("equal", other)
    if x.aval.shape != y.aval.shape:
        return False
    return bool(np.all(x._concrete("equal") == y._concrete("equal")))


# -- norms ---------------------------------------------------------------------------------------


def root(x: Any, degree: float) -> Any:
    """The root ``x ** (1 / degree)`` with derivative 0 at 0."""
    where, fill = OPS["where"], OPS["fill"]
    zero = x == 0
    safe = where(zero, fill(x, value=1), x)
    return where(zero, x, OPS["sqrt"](safe) if degree == 2 else safe ** (1.0 / degree))


@formula
def vector_norm_formula(x: Any, ord: float, axes: tuple[int, ...]) -> Any:
    """(sum |x|**ord)**(1/ord) over the axes, which vanish; the result is real.

    ``ord`` 0 counts what is not zero, inf and -inf are the largest and smallest absolute value. The
    subgradient at 0 is 0; equal largest elements share it. Half precision is computed in float32.
    """
    source = dt.of(x.aval.dtype).to_real()
    x = widened(x)
    real = dt.of(x.aval.dtype).to_real()
    if ord == 0:
        out = _SUM(cast(x != 0, real), axes=axes)
    elif ord == 2:
        square = cast(x * OPS["conj"](x), real) if x.aval.dtype in dt.COMPLEX_NP else x * x
        out = root(_SUM(square, axes=axes), 2)
    elif ord in (np.inf, -np.inf):
        out = OPS["amax" if ord > 0 else "amin"](OPS["abs"](x), axes=axes)
    elif ord == 1:
        out = _SUM(OPS["abs"](x), axes=axes)
    else:
        out = root(_SUM(_power(OPS["abs"](x), ord), axes=axes), ord)
    return cast(out, source)


def _power(size: Any, p: float) -> Any:
    """The power ``size ** p`` with derivative 0 at 0."""
    where, fill = OPS["where"], OPS["fill"]
    zero = size == 0
    at_zero = size if p > 0 else fill(size, value=float("inf"))
    return where(zero, at_zero, where(zero, fill(size, value=1), size) ** p)


def _nuclear(name: str, x: Any, dim: Any, keepdim: bool) -> Any:
    """Sum of the singular values of the matrices over two dimensions."""
    from . import linalg

    shape = x.aval.shape
    pair = (0, 1) if dim is None else tuple(normal_dim(name, int(d), len(shape)) for d in dim)
    if len(shape) < 2 or len(pair) != 2 or (dim is None and len(shape) != 2):
        raise ArgumentError(
            message(name, "the nuclear norm needs matrices over two dimensions", f"{x.aval}, dim={dim}")
        )
    order = (*[i for i in range(len(shape)) if i not in pair], *pair)
    matrices = apply(OPS["permute"], (x,), {"order": order})
    return keep(x, sum(linalg.svdvals(matrices), -1), tuple(sorted(pair)), keepdim)


@numpy_names
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None) -> Any:
    """Vector norm of order ``p`` over ``dim``, or of the flattened tensor.

    ``p``: a number, inf, -inf, "fro" (the same as 2) or "nuc" (sum of the singular values over two
    dimensions). The gradient at 0 is 0.

    >>> import wengert as wg
    >>> wg.norm(wg.tensor([3.0, 4.0])), wg.norm(wg.tensor([3.0, 4.0]), 1)
    (tensor(5.), tensor(7.))
    """
    input = operand("norm", input)
    require_floating("norm", input)
    if dtype is not None:
        input = cast(input, dt.to_dtype(dtype))
    if p == "nuc":
        return _nuclear("norm", input, dim, keepdim)
    if isinstance(p, str) and p != "fro":
        raise ArgumentError(message("norm", "no such norm", repr(p), "p is a number, 'fro' or 'nuc'"))
    axes = normal_dims("norm", dim, len(input.aval.shape))
    order = 2.0 if p is None or p == "fro" else float(p)
    if order < 0 or order == np.inf:
        require_elements("norm", input, dim, axes)
    return keep(input, vector_norm_formula(input, order, axes), axes, keepdim)


def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The norm of order ``p`` of ``input - other``, which are broadcast; its gradient at 0 is 0."""
    difference = operand("dist", input) - other
    return vector_norm_formula(difference, float(p), tuple(range(len(difference.aval.shape))))


__all__ = [
    "all", "allclose", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "dist", "equal",
    "logsumexp", "max", "mean", "min", "nanmean", "nansum", "norm", "prod", "sum",
]  # fmt: skip

"""In-place methods and ``out=``: ``x.f_(...)`` is ``x = f(x, ...)`` written into x's memory or node.

Where nothing records the values, the common methods compute in x's memory instead of allocating.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.alias import assign, check_writable
from ..graph.handle import Handle, apply
from ..graph.pinned import is_pinned
from ..ops.base import OPS
from .front import expand_to


def fit(name: str, x: Handle, new: Handle) -> Any:
    """``new`` in the shape and dtype of ``x``, if PyTorch allows to write it there."""
    if new.aval.shape != x.aval.shape:
        if len(new.aval.shape) > len(x.aval.shape) or any(
            n not in (1, m) for n, m in zip(reversed(new.aval.shape), reversed(x.aval.shape), strict=False)
        ):
            raise ShapeError(message(name, "the result does not fit in place", f"{new.aval} into {x.aval}"))
        new = expand_to(new, x.aval.shape)
    if new.aval.dtype != x.aval.dtype:
        if not dt.can_cast(dt.of(new.aval.dtype), dt.of(x.aval.dtype)):
            raise DTypeError(
                message(name, "the result cannot be cast in place", f"{new.aval} into {x.aval}",
                        "Convert the tensor first, for example x = x.float()")
            )  # fmt: skip
        new = apply(OPS["cast"], (new,), {"dtype": x.aval.dtype})
    return new


# -- writing into memory -------------------------------------------------------------------------


def memory_of(name: str, x: Handle, operands: tuple[Any, ...]) -> list[Any] | None:
    """The arrays of ``x`` and the operands, if the method may write into the memory of ``x``.

    That is so when no node needs the old or the new value, no dtype changes and ``x`` has the
    result's shape. Numbers come as they are.
    """
    state = STATE.mode
    value = x._value
    if state.watchers or type(value) is not np.ndarray or not value.flags.writeable:
        return None
    dtype, grad = value.dtype, state.grad
    arrays = [value]
    for o in operands:
        if isinstance(o, Handle):
            v, n = o._value, o._node
            if v.dtype is not dtype or (grad and n is not None and n.requires_grad):
                return None
            arrays.append(v)
        elif type(o) is float or type(o) is int:
            if dtype not in dt.FLOATING_NP:
                return None
            arrays.append(state.quiet(np.array, o, dtype))
        else:
            return None
    alias = x._alias
    base = x if alias is None or alias.base is None else alias.base
    node = base._node
    if node is not None and node.requires_grad and (grad or node.op is not None):
        return None
    if alias is not None:
        check_writable(name, x)
    return None if is_pinned(base) else arrays


def _add(x: Any, y: Any, alpha: Any = None) -> None:
    np.add(x, y if alpha is None else y * alpha, out=x)


def _sub(x: Any, y: Any, alpha: Any = None) -> None:
    np.subtract(x, y if alpha is None else y * alpha, out=x)


def _addcmul(x: Any, a: Any, b: Any, value: Any = None) -> None:
    np.add(x, (a if value is None else a * value) * b, out=x)


def _addcdiv(x: Any, a: Any, b: Any, value: Any = None) -> None:
    np.add(x, (a if value is None else a * value) / b, out=x)


def _lerp(x: Any, end: Any, weight: Any) -> None:
    if weight.ndim:
        raise NotImplementedError
    if abs(weight) < 0.5:
        np.add(x, (end - x) * weight, out=x)
    else:
        np.subtract(end, (end - x) * (1 - weight), out=x)


def _clamp(x: Any, low: Any, high: Any) -> None:
    np.clip(x, low, high, out=x)


def _ufunc(f: Any) -> Callable[..., None]:
    def write(x: Any, *ys: Any) -> None:
        f(x, *ys, out=x)

    return write


# Keyword arguments of a method that are operands too, as the functions here take them.
_EXTRA = {"add_": "alpha", "sub_": "alpha", "addcmul_": "value", "addcdiv_": "value"}

_IN_MEMORY: dict[str, Callable[..., None]] = {
    "add_": _add, "sub_": _sub, "addcmul_": _addcmul, "addcdiv_": _addcdiv, "lerp_": _lerp, "clamp_": _clamp,
    "mul_": _ufunc(np.multiply), "div_": _ufunc(np.true_divide), "neg_": _ufunc(np.negative),
    "exp_": _ufunc(np.exp), "log_": _ufunc(np.log), "sqrt_": _ufunc(np.sqrt), "tanh_": _ufunc(np.tanh),
    "abs_": _ufunc(np.absolute), "floor_": _ufunc(np.floor), "ceil_": _ufunc(np.ceil), "trunc_": _ufunc(np.trunc),
    "square_": _ufunc(np.square), "sin_": _ufunc(np.sin), "cos_": _ufunc(np.cos),
    "clamp_min_": _ufunc(np.maximum), "clamp_max_": _ufunc(np.minimum),
}  # fmt: skip


def _write(name: str, recipe: Callable[..., None], x: Handle, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Compute in the memory of ``x``; False, and nothing changed, where that cannot be done."""
    if kwargs:
        if len(kwargs) != 1 or _EXTRA.get(name) not in kwargs:
            return False
        args = (*args, *kwargs.values())
    try:
        arrays = memory_of(name, x, args)
        if arrays is None:
            return False
        STATE.quiet(recipe, *arrays)
    except Exception:  # the general path does it again, and names what is wrong
        return False
    return True


def inplace(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The in-place method of a function of ``x``."""
    recipe = _IN_MEMORY.get(name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if recipe is not None and _write(name, recipe, self, args, kwargs):
            return self
        check_writable(name, self)
        return assign(name, self, fit(name, self, function(self, *args, **kwargs)))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place `{name.rstrip('_')}`; returns the tensor itself."
    return method


# -- out= --------------------------------------------------------------------------------------------


def into(name: str, out: Handle, result: Handle) -> Any:
    """Write ``result`` into ``out``; an ``out`` without elements takes the result's shape."""
    if not isinstance(out, Handle):
        raise DTypeError(message(name, "out must be a tensor", type(out).__name__))
    if out.aval.size == 0 and out.aval.shape != result.aval.shape and out._alias is None:
        out._value, out._node = np.empty(result.aval.shape, out.aval.dtype), None
    elif out.aval.shape != result.aval.shape:
        raise ShapeError(message(name, "out has another shape than the result", f"{out.aval} for {result.aval}"))
    check_writable(name, out)
    return assign(name, out, fit(name, out, result))


def _write_results(name: str, out: Any, result: Any) -> Any:
    """Write one result, or several into a tuple of tensors."""
    if not isinstance(result, tuple):
        return into(name, out, result)
    if not isinstance(out, (tuple, list)) or len(out) != len(result):
        raise ArgumentError(message(name, f"out must be a tuple of {len(result)} tensors", type(out).__name__))
    make = getattr(type(result), "_make", tuple)
    return make([into(name, o, r) for o, r in zip(out, result, strict=True)])


def with_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the keyword ``out``: a tensor, or a tuple of them, to write the result into."""

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return result if out is None else _write_results(function.__name__, out, result)

    call.takes_out = True  # type: ignore[attr-defined]
    return call

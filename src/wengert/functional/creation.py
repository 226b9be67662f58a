"""Tensors out of nothing, out of data, out of ranges."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from .. import pages
from ..config import STATE
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.alias import assign, check_writable
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from .front import cast, expand_to


def check_device(name: str, device: Any) -> None:
    """Only the CPU is there; a device or its name."""
    if str(getattr(device, "type", device)).partition(":")[0] != "cpu":
        raise DTypeError(message(name, "no such device here", repr(str(device)), "Only 'cpu' is supported"))


def finish(value: Any, requires_grad: bool = False, device: Any = None) -> Any:
    """A tensor of an array; under a recording it becomes a leaf there."""
    if device is not None:
        check_device("device", device)
    out = wrap(value)
    return out.requires_grad_() if requires_grad else out


def as_size(name: str, size: Sequence[Any]) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` to a tuple of ints."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    try:
        shape = tuple([operator.index(n) for n in size])
    except TypeError:
        raise DTypeError(message(name, "sizes must be integers", repr(size))) from None
    if any(n < 0 for n in shape):
        raise ShapeError(message(name, "a size is negative", str(list(shape))))
    return shape


def _np_dtype(dtype: Any, default: dt.dtype | None = None) -> Any:
    return (dt.to_dtype(dtype) if dtype is not None else default or dt.get_default_dtype()).np


def _from_nested(data: Any) -> Any:
    """Replace tensors inside nested lists by arrays."""
    if isinstance(data, Handle):
        return data._concrete("tensor")  # type: ignore[attr-defined]
    if isinstance(data, (list, tuple)) and any(isinstance(d, (Handle, list, tuple)) for d in data):
        return [_from_nested(d) for d in data]
    return data


def _array(data: Any, dtype: Any, copy: bool) -> Any:
    """An array of data, with PyTorch's dtype for Python numbers."""
    data = _from_nested(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(message("tensor", f"nested sequences of unequal length: {error}")) from error
    if array.dtype == object or array.dtype.kind in "USmM":
        raise DTypeError(message("tensor", "data of this type cannot be a tensor", str(array.dtype)))
    python = not isinstance(data, (np.ndarray, np.generic))
    if dtype is not None:
        target = dt.to_dtype(dtype).np
    elif python and array.dtype.kind in "fc" and _is_python_floats(data):
        default = dt.get_default_dtype()
        target = default.np if array.dtype.kind == "f" else default.to_complex().np
    else:
        target = dt.of(array.dtype.newbyteorder("=")).np
    if not (copy or array.dtype != target) and array.flags.writeable:
        return array
    return array.astype(target)


def _is_python_floats(data: Any) -> bool:
    """Whether the leaves of nested lists are Python numbers (so the default dtype decides)."""
    while isinstance(data, (list, tuple)):
        if not data:
            return True
        data = data[0]
    return not isinstance(data, (np.ndarray, np.generic))


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Any:
    """A new tensor with a copy of ``data`` (numbers, nested sequences, arrays, tensors).

    Args:
        data: what to copy. Python floats get the default dtype, ints int64, bools bool.
        dtype: the dtype, instead of the one inferred.
        requires_grad: whether gradients are summed into ``.grad``.

    >>> import wengert as wg
    >>> wg.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    return finish(_array(data, dtype, copy=True), requires_grad, device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """A tensor of ``data``, sharing its memory (and history) where possible."""
    if isinstance(data, Handle):
        if device is not None:
            check_device("as_tensor", device)
        return data if dtype is None else cast(data, dt.to_dtype(dtype))
    return finish(_array(data, dtype, copy=False), device=device)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """A tensor of ``obj``, sharing its memory where possible and ``copy`` does not say otherwise.

    Raises:
        ArgumentError: ``copy=False``, and the data cannot be shared.
    """
    out = tensor(obj, dtype=dtype, device=device) if copy else as_tensor(obj, dtype, device)
    own = obj._value if isinstance(obj, Handle) else obj
    if copy is False and not (isinstance(own, np.ndarray) and np.may_share_memory(own, out._value)):
        raise ArgumentError(message("asarray", "the data cannot be shared", type(obj).__name__, "Use copy=None"))
    return out.detach().requires_grad_() if requires_grad else out


def from_numpy(ndarray: Any) -> Any:
    """A tensor that shares the memory of an array."""
    if not isinstance(ndarray, np.ndarray):
        raise DTypeError(message("from_numpy", "needs a NumPy array", type(ndarray).__name__, "Use wg.tensor"))
    dt.of(ndarray.dtype)
    return finish(ndarray)


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """A tensor of ``size`` filled with one value; the dtype is the value's unless given."""
    if dtype is None:
        dtype = dt.of(fill_value.aval.dtype) if isinstance(fill_value, Handle) else dt.python_dtype(fill_value)
    if isinstance(fill_value, Handle):
        fill_value = fill_value.item()  # type: ignore[attr-defined]
    return finish(_filled(as_size("full", (size,)), fill_value, _np_dtype(dtype)), requires_grad, device)


def _filled(shape: tuple[int, ...], value: Any, dtype: Any) -> Any:
    """An array of one value. Zeros in huge pages take no memory before something is written there.

    Small pages of zeros that are read and then written, as an optimizer's state is, would cost two faults each.
    """
    if type(value) in (int, bool, float) and value == 0 and math.copysign(1.0, value) > 0:
        if math.prod(shape) * dtype.itemsize >= pages.HUGE:
            return pages.zeros(shape, dtype)
    return np.full(shape, value, dtype)


def zeros(
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """Zeros of a shape: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return finish(pages.zeros(as_size("zeros", size), _np_dtype(dtype)), requires_grad, device)


def ones(
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """Ones of a shape."""
    return finish(np.ones(as_size("ones", size), _np_dtype(dtype)), requires_grad, device)


def empty(
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """A tensor whose contents are unspecified (zeros here, so that nothing depends on chance)."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def _like(input: Any, value: Any, dtype: Any, requires_grad: bool, device: Any) -> Any:
    if device is not None:
        check_device("device", device)
    target = input.aval.dtype if dtype is None else dt.to_dtype(dtype).np
    if input._value is not None and (not STATE.watchers or (STATE.trace is not None and STATE.trace.captures_all)):
        return finish(_filled(input._value.shape, value, target), requires_grad)
    attrs = {"value": value} if target == input.aval.dtype else {"value": value, "dtype": target}
    return apply(OPS["fill"], (input,), attrs)


def zeros_like(
    input: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """Zeros shaped like a tensor."""
    return _like(input, 0, dtype, requires_grad, device)


def ones_like(
    input: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """Ones shaped like a tensor."""
    return _like(input, 1, dtype, requires_grad, device)


def empty_like(
    input: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """A tensor shaped like another; contents are zeros."""
    return _like(input, 0, dtype, requires_grad, device)


def full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """One value shaped like a tensor."""
    return _like(input, fill_value, dtype, requires_grad, device)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """The identity matrix, n by m."""
    rows, columns = as_size("eye", (n, n if m is None else m))
    return finish(np.eye(rows, columns, dtype=_np_dtype(dtype)), requires_grad, device)


def scalar_tensor(
    s: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """A 0-d tensor of a number, in the default dtype unless given."""
    return finish(np.asarray(s, _np_dtype(dtype)), requires_grad, device)


# -- methods -----------------------------------------------------------------------------------


def _new(maker: Any, size: tuple[Any, ...], self: Any, dtype: Any, options: dict[str, Any]) -> Any:
    return maker(*size, dtype=dt.of(self.aval.dtype) if dtype is None else dtype, **options)


def new_zeros(
    self: Any,
    *shape: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """`zeros` with this tensor's dtype."""
    options = {"device": device, "requires_grad": requires_grad}
    return _new(zeros, shape if size is None else (size,), self, dtype, options)


def new_ones(
    self: Any,
    *shape: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """`ones` with this tensor's dtype."""
    options = {"device": device, "requires_grad": requires_grad}
    return _new(ones, shape if size is None else (size,), self, dtype, options)


def new_empty(
    self: Any,
    *shape: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """`empty` with this tensor's dtype."""
    options = {"device": device, "requires_grad": requires_grad}
    return _new(empty, shape if size is None else (size,), self, dtype, options)


def new_full(
    self: Any,
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """`full` with this tensor's dtype."""
    return _new(full, (size, fill_value), self, dtype, {"device": device, "requires_grad": requires_grad})


def new_tensor(self: Any, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """`tensor` with this tensor's dtype."""
    return _new(tensor, (data,), self, dtype, {"device": device, "requires_grad": requires_grad})


def fill_(self: Any, value: Any) -> Any:
    """Set every element to one value (a number or a 0-d tensor)."""
    check_writable("fill_", self)
    if isinstance(value, Handle):
        if value.aval.shape:
            raise ShapeError(message("fill_", "the value must be 0-d", str(value.aval)))
        return assign("fill_", self, expand_to(cast(value, dt.of(self.aval.dtype)), self.aval.shape))
    return assign("fill_", self, full_like(self, value))


def zero_(self: Any) -> Any:
    """Set every element to zero."""
    return fill_(self, 0)


def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Take over the values of ``src``, broadcast and converted to this tensor's shape and dtype."""
    check_writable("copy_", self)
    if not isinstance(src, Handle):
        raise DTypeError(message("copy_", "needs a tensor", type(src).__name__))
    return assign("copy_", self, expand_to(cast(src, dt.of(self.aval.dtype)), self.aval.shape))


EXTRA_METHODS = {
    "new_zeros": new_zeros,
    "new_ones": new_ones,
    "new_empty": new_empty,
    "new_full": new_full,
    "new_tensor": new_tensor,
    "fill_": fill_,
    "zero_": zero_,
    "copy_": copy_,
}

__all__ = [
    "as_tensor", "asarray", "empty", "empty_like", "eye", "from_numpy", "full", "full_like", "ones",
    "ones_like", "scalar_tensor", "tensor", "zeros", "zeros_like",
]  # fmt: skip
NOT_METHODS = tuple(__all__)

"""Copies, conversions of dtype, and what there is to know about a tensor's memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, ShapeError, message
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from .front import cast
from .parts import storage_offset_of
from .reduction import normal_dim
from .shape import layout

_CLONE = OPS["clone"]


def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy; gradients flow through it."""
    return apply(_CLONE, (input,))


def contiguous(self: Any, memory_format: Any = None) -> Any:
    """The tensor itself if it lies in memory in row-major order, else a copy that does."""
    return self if layout(self).flags.c_contiguous else apply(_CLONE, (self,), {"contiguous": True})


def is_contiguous(self: Any, memory_format: Any = None) -> bool:
    """Whether the elements lie in memory in row-major order without gaps."""
    return bool(layout(self).flags.c_contiguous)


def stride(self: Any, dim: int | None = None) -> Any:
    """By how many elements the memory position moves along each dimension, or along ``dim``."""
    shape, array = self.aval.shape, layout(self)
    if array.flags.c_contiguous:  # NumPy says anything where a size is 0 or 1
        steps = tuple(math.prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape)))
    else:
        steps = tuple(s // array.dtype.itemsize for s in array.strides)
    return steps if dim is None else steps[normal_dim("stride", dim, len(shape))]


def storage_offset(self: Any) -> int:
    """By how many elements the tensor begins behind the beginning of its base."""
    return storage_offset_of(self)


def data_ptr(self: Any) -> int:
    """Address of the first element."""
    value = self._concrete("data_ptr")
    return 0 if value.size == 0 else self.detach().numpy().__array_interface__["data"][0]


def numel(input: Any) -> int:
    """Number of elements."""
    return input.aval.size


def size(self: Any, dim: int | None = None) -> Any:
    """The shape, or the size of one dimension."""
    return self.shape if dim is None else self.aval.shape[normal_dim("size", dim, len(self.aval.shape))]


def dim(self: Any) -> int:
    """Number of dimensions."""
    return len(self.aval.shape)


def element_size(self: Any) -> int:
    """Bytes of an element."""
    return self.aval.dtype.itemsize


def _get_nbytes(self: Any) -> int:
    """Bytes of all elements."""
    return self.aval.nbytes


def _get_itemsize(self: Any) -> int:
    """Bytes of an element."""
    return self.aval.dtype.itemsize


def is_same_size(self: Any, other: Any) -> bool:
    """Whether two tensors have one shape."""
    return self.aval.shape == other.aval.shape


# -- conversion ------------------------------------------------------------------------------


def _is_dtype(x: Any) -> bool:
    return isinstance(x, (dt.dtype, np.dtype)) or x in (bool, int, float, complex)


def to(self: Any, *args: Any, other: Any = None, dtype: Any = None, device: Any = None, non_blocking: bool = False,
       copy: bool = False, memory_format: Any = None) -> Any:  # fmt: skip
    """The tensor with another dtype (or that of another tensor); the device can only be the CPU.

    ``x.to(dtype)``, ``x.to(device)``, ``x.to(device, dtype)``, ``x.to(other)``. Nothing to change: the
    tensor itself, unless ``copy``.

    >>> import wengert as wg
    >>> wg.tensor([1, 2]).to(wg.float32)
    tensor([1., 2.])
    """
    flags: list[Any] = []
    if other is not None:
        args = (other, *args)
    for a in args:
        if isinstance(a, Handle):
            dtype = dt.of(a.aval.dtype)
        elif isinstance(a, bool):
            flags.append(a)
        elif _is_dtype(a):
            dtype = a
        elif a is not None:
            device = a
    if device is not None:
        self.device.__class__(device)  # raises where there is no such device
    out = self if dtype is None else cast(self, dt.to_dtype(dtype))
    return clone(self) if (copy or (len(flags) > 1 and flags[1])) and out is self else out


def type_as(self: Any, other: Any) -> Any:
    """The tensor in the dtype of ``other``."""
    return cast(self, dt.of(other.aval.dtype))


TENSOR_TYPES = {
    "Float": dt.float32, "Double": dt.float64, "Half": dt.float16, "BFloat16": dt.bfloat16, "Long": dt.int64,
    "Int": dt.int32, "Short": dt.int16, "Char": dt.int8, "Byte": dt.uint8, "Bool": dt.bool_,
}  # fmt: skip


def type(self: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The tensor in a dtype; without one the name of the type, such as ``'torch.FloatTensor'``."""
    if dtype is None:
        own = dt.of(self.aval.dtype)
        return f"torch.{next((k for k, d in TENSOR_TYPES.items() if d is own), own.name)}Tensor"
    if isinstance(dtype, str) and dtype.endswith("Tensor"):
        name = dtype.rsplit(".", 1)[-1].removesuffix("Tensor")
        if name not in TENSOR_TYPES or ".cuda." in dtype:
            raise DTypeError(message("type", "no such tensor type here", repr(dtype)))
        dtype = TENSOR_TYPES[name]
    dtype = getattr(dtype, "tensor_dtype", dtype)  # of a constructor such as wg.FloatTensor
    return cast(self, dt.to_dtype(dtype))


def cpu(self: Any, memory_format: Any = None) -> Any:
    """The tensor itself: it is on the CPU."""
    return self


def _caster(name: str, target: dt.dtype) -> Any:
    def method(self: Any, memory_format: Any = None) -> Any:
        return cast(self, target)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor converted to {target.name}; itself if it has that dtype."
    return method


_CASTS = {
    "bfloat16": dt.bfloat16, "bool": dt.bool_, "byte": dt.uint8, "cdouble": dt.complex128, "cfloat": dt.complex64,
    "char": dt.int8, "double": dt.float64, "float": dt.float32, "half": dt.float16, "int": dt.int32,
    "long": dt.int64, "short": dt.int16,
}  # fmt: skip


def resize_(self: Any, *sizes: Any) -> Any:
    """Give the tensor another shape; where it has more elements the new ones are zero."""
    from .shape import ints

    shape = ints("resize_", sizes)
    if self._node is not None and self._node.requires_grad:
        raise ShapeError(message("resize_", "the tensor requires grad", str(self.aval), "Use reshape"))
    value = np.zeros(math.prod(shape), self.aval.dtype)
    old = self._concrete("resize_").reshape(-1)[: value.size]
    value[: old.size] = old
    self._value, self._node, self._alias = value.reshape(shape), None, None
    return self


__all__ = ["clone", "numel"]
EXTRA_METHODS: dict[str, Any] = {
    "contiguous": contiguous,
    "cpu": cpu,
    "data_ptr": data_ptr,
    "dim": dim,
    "element_size": element_size,
    "is_contiguous": is_contiguous,
    "is_same_size": is_same_size,
    "itemsize": property(_get_itemsize),
    "nbytes": property(_get_nbytes),
    "ndimension": dim,
    "nelement": numel,
    "resize_": resize_,
    "size": size,
    "storage_offset": storage_offset,
    "stride": stride,
    "to": to,
    "type": type,
    "type_as": type_as,
    **{name: _caster(name, target) for name, target in _CASTS.items()},
}

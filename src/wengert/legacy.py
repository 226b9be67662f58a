"""What older programs call: typed constructors such as ``wg.FloatTensor`` and the default tensor type."""

from __future__ import annotations

from typing import Any

from . import dtypes as dt
from .devices import device
from .errors import DTypeError, message
from .functional.creation import tensor, zeros
from .functional.memory import TENSOR_TYPES
from .graph.handle import Handle
from .tensor import Size, Tensor


class TensorType:
    """A constructor of tensors of one dtype; ``isinstance`` asks for that dtype.

    >>> import wengert as wg
    >>> x = wg.LongTensor([1, 2])
    >>> x.dtype, isinstance(x, wg.LongTensor), isinstance(x, wg.FloatTensor)
    (wengert.int64, True, False)
    >>> wg.FloatTensor(2, 3).shape
    wengert.Size([2, 3])
    """

    def __init__(self, name: str, tensor_dtype: dt.dtype) -> None:
        self.__name__ = self.__qualname__ = name
        self.tensor_dtype = self.dtype = tensor_dtype
        self.is_cuda = False
        self.__doc__ = f"A {tensor_dtype.name} tensor of data, or zeros of a size: ``{name}(2, 3)``."

    def __call__(self, *data: Any, device: Any = None) -> Any:
        """Sizes as ints, or one sequence, array, tensor or `Size`."""
        return build(self.tensor_dtype, data, device)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, Handle) and instance.aval.dtype == self.tensor_dtype.np

    def __repr__(self) -> str:
        return f"<class 'wengert.{self.__name__}'>"


def build(dtype: dt.dtype, data: tuple[Any, ...], device: Any = None) -> Any:
    """The old constructor: ``(2, 3)`` and ``(Size,)`` are shapes, one other argument is data."""
    if len(data) == 1 and isinstance(data[0], Handle):
        if data[0].aval.dtype != dtype.np:
            seen = f"{data[0].aval} for {dtype.name}"
            raise DTypeError(message("Tensor", "the data have another dtype", seen, "Use .to(dtype)"))
        return data[0].detach()
    if not data or isinstance(data[0], Size) or all(type(d) is int for d in data):
        return zeros(*(data or (0,)), dtype=dtype, device=device)
    return tensor(data[0], dtype=dtype, device=device)


def new(self: Any, *data: Any, device: Any = None) -> Any:
    """A tensor of data, or zeros of a size, in this tensor's dtype; newer programs write `new_tensor`, `new_zeros`."""
    return build(dt.of(self.aval.dtype), data, device)


def set_default_tensor_type(t: Any) -> None:
    """Set the default dtype by a tensor type: ``wg.DoubleTensor`` or ``"torch.DoubleTensor"``."""
    if isinstance(t, str):
        name = t.rpartition(".")[2].removesuffix("Tensor")
        if name not in TENSOR_TYPES or ".cuda." in t:
            raise DTypeError(message("set_default_tensor_type", "no such tensor type here", repr(t)))
        t = TENSOR_TYPES[name]
    dt.set_default_dtype(getattr(t, "tensor_dtype", t))


def get_default_device() -> device:
    """The device of new tensors (the CPU)."""
    return device("cpu")


def set_default_device(device: Any) -> None:
    """Accepts the CPU, which is the only device."""
    globals()["device"](device if device is not None else "cpu")


Tensor.new = new  # type: ignore[attr-defined]

BFloat16Tensor = TensorType("BFloat16Tensor", dt.bfloat16)
BoolTensor = TensorType("BoolTensor", dt.bool_)
ByteTensor = TensorType("ByteTensor", dt.uint8)
CharTensor = TensorType("CharTensor", dt.int8)
DoubleTensor = TensorType("DoubleTensor", dt.float64)
FloatTensor = TensorType("FloatTensor", dt.float32)
HalfTensor = TensorType("HalfTensor", dt.float16)
IntTensor = TensorType("IntTensor", dt.int32)
LongTensor = TensorType("LongTensor", dt.int64)
ShortTensor = TensorType("ShortTensor", dt.int16)

__all__ = [
    "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor",
    "IntTensor", "LongTensor", "ShortTensor", "get_default_device", "set_default_device", "set_default_tensor_type",
]  # fmt: skip

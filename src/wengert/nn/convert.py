"""What the arguments of `Module.to` ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dtypes import dtype as DType
from ..dtypes import to_dtype
from ..errors import DTypeError, message
from ..tensor import Tensor

_HARMLESS = ("non_blocking", "copy", "memory_format")  # they change no value


def converter(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """A function that brings one tensor to the device and dtype that ``Module.to(*args, **kwargs)`` names."""
    device, dtype = _parse(args, dict(kwargs))
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise DTypeError(
            message(
                "Module.to",
                "only accepts floating point or complex dtypes",
                str(dtype),
                "Use float32 or float64",
            )
        )

    def convert(x: Tensor) -> Tensor:
        wanted: dict[str, Any] = {} if device is None else {"device": device}
        if dtype is not None and (x.dtype.is_floating_point or x.dtype.is_complex):
            wanted["dtype"] = dtype
        return x.to(**wanted) if wanted else x

    return convert


def _parse(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, DType | None]:
    device, dtype, tensor = (kwargs.pop(name, None) for name in ("device", "dtype", "tensor"))
    for name in _HARMLESS:
        kwargs.pop(name, None)
    if kwargs:
        raise TypeError(f"Module.to: got an unexpected keyword argument {next(iter(kwargs))!r}")
    for arg in args:
        if isinstance(arg, Tensor):
            tensor = arg
        elif isinstance(arg, DType):
            dtype = arg
        elif not isinstance(arg, bool):  # a bool is non_blocking
            device = arg
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    return device, dtype if dtype is None else to_dtype(dtype)

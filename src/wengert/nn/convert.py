"""Other dtypes and devices for a module's tensors: `Module.to` and its relatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from .. import api
from ..config import no_grad
from ..dtypes import bfloat16, float16, float32, float64, to_dtype
from ..dtypes import dtype as DType
from ..errors import DTypeError, message
from ..tensor import Tensor
from .parameter import Parameter, is_lazy

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


class Conversions:
    """What `Module` has of them."""

    parameters: Callable[..., Iterator[Parameter]]
    modules: Callable[..., Iterator[Any]]
    _buffers: dict[str, Any]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace every parameter, gradient and buffer by ``fn`` of it. Parameters stay the same objects."""
        with no_grad():
            # A shared tensor is converted once: converting twice would split what is shared.
            for param in self.parameters(recurse):
                param.data = fn(param.data)
                if param.grad is not None:
                    param.grad = fn(param.grad)
            done: dict[int, Tensor] = {}
            for module in self.modules() if recurse else (self,):
                for name, buffer in module._buffers.items():
                    if buffer is None:
                        continue
                    if is_lazy(buffer):
                        buffer.data = fn(buffer.data)
                        continue
                    if id(buffer) not in done:
                        done[id(buffer)] = fn(buffer)
                    module._buffers[name] = done[id(buffer)]
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Change dtype or device: ``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(tensor)``.

        A dtype must be floating-point and reaches only the floating-point parameters and buffers.
        """
        return self._apply(converter(args, kwargs))

    def type(self, dst_type: Any) -> Self:
        """Give all parameters and buffers, those of integers too, a dtype."""
        return self._apply(lambda x: x.type(dst_type))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Replace all parameters and buffers by tensors whose contents are unspecified (zeros here).

        Args:
            device: only the CPU.
            recurse: whether also those of sub-modules.
        """
        return self._apply(lambda x: api.empty_like(x, device=device), recurse)

    def float(self) -> Self:
        """Make all floating-point parameters and buffers float32."""
        return self.to(float32)

    def double(self) -> Self:
        """Make all floating-point parameters and buffers float64."""
        return self.to(float64)

    def half(self) -> Self:
        """Make all floating-point parameters and buffers float16."""
        return self.to(float16)

    def bfloat16(self) -> Self:
        """Make all floating-point parameters and buffers bfloat16."""
        return self.to(bfloat16)

    def share_memory(self) -> Self:
        """The module itself: memory is not shared between processes."""
        return self

    def cpu(self) -> Self:
        """Move everything to the CPU."""
        return self.to(device="cpu")

    def cuda(self, device: Any = "cuda") -> Self:
        """Move everything to a GPU."""
        return self.to(device=device)

"""Small functions and methods that programs written for PyTorch call, most of them questions with one answer here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.alias import assign, check_writable
from ..graph.handle import Handle, wrap
from .creation import check_device, fill_, full_like, zero_


class _Option:
    """A memory format or a layout: a name that arguments can be compared with."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"wengert.{self.name}"


preserve_format, contiguous_format = _Option("preserve_format"), _Option("contiguous_format")
channels_last, channels_last_3d = _Option("channels_last"), _Option("channels_last_3d")
strided = _Option("strided")


def fill(input: Any, value: Any) -> Any:
    """One value in the shape and dtype of a tensor.

    >>> import wengert as wg
    >>> wg.fill(wg.zeros(2), 3)
    tensor([3., 3.])
    """
    return full_like(input, value) if not isinstance(value, Handle) else fill_(input.detach().clone(), value)


# -- questions -----------------------------------------------------------------------------------


def is_nonzero(input: Any) -> bool:
    """Whether the only element of a tensor is not zero."""
    if input.aval.size != 1:
        raise ArgumentError(message("is_nonzero", "needs a tensor with one element", str(input.aval)))
    return bool(input.item() != 0)


def is_signed(input: Any) -> bool:
    """Whether the dtype has negative numbers."""
    return dt.of(input.aval.dtype).is_signed


def is_conj(input: Any) -> bool:
    """False: conjugation is computed at once, never put off."""
    return False


def is_neg(input: Any) -> bool:
    """False: negation is computed at once, never put off."""
    return False


def is_inference(input: Any) -> bool:
    """False: tensors made under `inference_mode` are ordinary ones."""
    return False


def resolve_conj(input: Any) -> Any:
    """The tensor itself: conjugation is never put off."""
    return input


def resolve_neg(input: Any) -> Any:
    """The tensor itself: negation is never put off."""
    return input


def get_device(input: Any) -> int:
    """-1, as PyTorch gives for a tensor on the CPU."""
    return -1


def typename(obj: Any) -> str:
    """The name of the type: for tensors as ``x.type()`` gives it."""
    return obj.type() if isinstance(obj, Handle) else f"{type(obj).__module__}.{type(obj).__qualname__}"


def _is_floating_point(self: Any) -> bool:
    """Whether the dtype is a floating one."""
    return self.aval.dtype in dt.FLOATING_NP


def _is_complex(self: Any) -> bool:
    """Whether the dtype is a complex one."""
    return self.aval.dtype in dt.COMPLEX_NP


def _is_pinned(self: Any, device: Any = None) -> bool:
    """False: memory is never pinned."""
    return False


def _is_shared(self: Any) -> bool:
    """False: memory is never shared between processes."""
    return False


def _is_set_to(self: Any, tensor: Any) -> bool:
    """Whether both are the same memory seen in the same way."""
    a, b = self.detach().numpy(), tensor.detach().numpy()
    return a.__array_interface__ == b.__array_interface__


# -- methods -------------------------------------------------------------------------------------


def itself(name: str, why: str) -> Callable[..., Any]:
    """A method with nothing to do."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor itself: {why}."
    return method


def cuda(self: Any, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
    """Raises an error: the CPU is the only device.

    Raises:
        DTypeError: always.
    """
    check_device("cuda", "cuda")


def apply_(self: Any, callable: Callable[[Any], Any]) -> Any:
    """Replace every element by what a Python function returns for it (slow)."""
    check_writable("apply_", self)
    old = self._concrete("apply_")
    new = np.array([callable(v) for v in old.reshape(-1).tolist()], dtype=old.dtype).reshape(old.shape)
    return assign("apply_", self, wrap(new))


def map_(self: Any, tensor: Any, callable: Callable[[Any, Any], Any]) -> Any:
    """Replace every element by what a Python function returns for it and the other tensor's element (slow)."""
    check_writable("map_", self)
    old = self._concrete("map_")
    other = np.broadcast_to(tensor._concrete("map_"), old.shape).reshape(-1).tolist()
    new = [callable(a, b) for a, b in zip(old.reshape(-1).tolist(), other)]
    return assign("map_", self, wrap(np.array(new, dtype=old.dtype).reshape(old.shape)))


def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Set the main diagonal to one value; ``wrap``: begin again below a tall matrix, after a row left out."""
    shape = self.aval.shape
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        cause = "needs a matrix, or equal sizes in all dimensions"
        raise ShapeError(message("fill_diagonal_", cause, str(self.aval)))
    n = min(shape)
    step = shape[1] + 1 if len(shape) == 2 else sum(n**i for i in range(len(shape)))
    stop = shape[0] * shape[1] if wrap and len(shape) == 2 else step * n if n else 0
    mask = np.zeros(int(np.prod(shape)), bool)
    mask[:stop:step] = True
    return self.masked_fill_(_mask(mask.reshape(shape)), fill_value)


def _mask(value: Any) -> Any:
    return wrap(value)


def resize_as_(self: Any, the_template: Any, memory_format: Any = None) -> Any:
    """`resize_` to the shape of another tensor."""
    return self.resize_(*the_template.aval.shape)


def set_(self: Any, source: Any = None) -> Any:
    """Let the tensor share the memory of another one; without one it becomes empty."""
    self.data = wrap(np.empty(0, self.aval.dtype)) if source is None else source
    return self


def _reversed(self: Any) -> Any:
    """The elements in reverse order along every dimension, as PyTorch's ``reversed``."""
    return self.flip(tuple(range(len(self.aval.shape)))) if self.aval.shape else self


def _dlpack(self: Any, **options: Any) -> Any:
    """A DLPack capsule of the memory, so that other libraries can share it."""
    return self.numpy().__dlpack__(**options)


def _dlpack_device(self: Any) -> Any:
    """DLPack's number of the CPU."""
    return self._concrete("__dlpack_device__").__dlpack_device__()


def from_dlpack(ext_tensor: Any) -> Any:
    """A tensor that shares the memory of another library's array.

    >>> import numpy as np, wengert as wg
    >>> wg.from_dlpack(np.ones(2, np.float32))
    tensor([1., 1.])
    """
    if isinstance(ext_tensor, Handle):
        return ext_tensor.detach()
    if not hasattr(ext_tensor, "__dlpack__"):
        seen = type(ext_tensor).__name__
        raise DTypeError(message("from_dlpack", "needs an object with __dlpack__", seen, "Use wg.tensor"))
    return wrap(np.from_dlpack(ext_tensor))


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Any:
    """A tensor (1-d) that shares the memory of a buffer such as bytes or a bytearray.

    >>> import wengert as wg
    >>> wg.frombuffer(bytearray([1, 2, 3]), dtype=wg.uint8)
    tensor([1, 2, 3], dtype=wengert.uint8)
    """
    try:
        out = wrap(np.frombuffer(buffer, dt.to_dtype(dtype).np, count, offset))
    except ValueError as error:
        raise ArgumentError(message("frombuffer", str(error))) from None
    return out.requires_grad_() if requires_grad else out


# -- windows ---------------------------------------------------------------------------------------


def _window(name: str, symmetric: str) -> Callable[..., Any]:
    """``torch.hann_window`` and its like: periodic unless asked otherwise."""

    def call(window_length: int, periodic: bool = True, *args: Any, **options: Any) -> Any:
        from ..signal import windows

        names = {"hamming": ("alpha", "beta"), "kaiser": ("beta",)}.get(name, ())
        shape = {**dict(zip(names, args)), **{k: options.pop(k) for k in names if k in options}}
        for ignored in ("layout", "pin_memory"):
            options.pop(ignored, None)
        if name == "hamming" and shape:
            a = (shape.get("alpha", 0.54), shape.get("beta", 0.46))
            return windows.general_cosine(window_length, a=a, sym=not periodic, **options)
        return getattr(windows, symmetric)(window_length, sym=not periodic, **shape, **options)

    call.__name__ = call.__qualname__ = f"{name}_window"
    call.__doc__ = f"`wengert.signal.windows.{symmetric}`, periodic unless ``periodic=False``."
    return call


bartlett_window = _window("bartlett", "bartlett")
blackman_window = _window("blackman", "blackman")
hamming_window = _window("hamming", "hamming")
hann_window = _window("hann", "hann")
kaiser_window = _window("kaiser", "kaiser")


def _constant(name: str, value: Any, doc: str) -> property:
    def get(self: Any) -> Any:
        return value

    get.__name__, get.__doc__ = name, doc
    return property(get)


_NEVER = ("cuda", "meta", "mkldnn", "mps", "nested", "quantized", "sparse", "sparse_csr", "vulkan", "xla", "xpu")

EXTRA_METHODS: dict[str, Any] = {
    "__dlpack__": _dlpack,
    "__dlpack_device__": _dlpack_device,
    "__reversed__": _reversed,
    "apply_": apply_,
    "cuda": cuda,
    "fill_diagonal_": fill_diagonal_,
    "get_device": get_device,
    "is_complex": _is_complex,
    "is_floating_point": _is_floating_point,
    "is_pinned": _is_pinned,
    "is_set_to": _is_set_to,
    "is_shared": _is_shared,
    "layout": _constant("layout", strided, "How elements lie in memory: always strided."),
    "map_": map_,
    "name": _constant("name", None, "None: tensors have no name."),
    "output_nr": _constant("output_nr", 0, "0: a node is one result."),
    "pin_memory": itself("pin_memory", "there is no device to copy to"),
    "resize_as_": resize_as_,
    "set_": set_,
    "share_memory_": itself("share_memory_", "memory is not shared between processes"),
    "to_dense": itself("to_dense", "it is dense"),
    "is_cpu": _constant("is_cpu", True, "True: the CPU is the only device."),
    **{f"is_{name}": _constant(f"is_{name}", False, f"False: not {name}.") for name in _NEVER},
}

__all__ = [
    "bartlett_window", "blackman_window", "channels_last", "channels_last_3d", "contiguous_format", "fill", "fill_",
    "from_dlpack", "frombuffer", "get_device", "hamming_window", "hann_window", "is_conj", "is_inference", "is_neg",
    "is_nonzero", "is_signed", "kaiser_window", "preserve_format", "resolve_conj", "resolve_neg", "strided",
    "typename", "zero_",
]  # fmt: skip
NOT_METHODS = (
    "bartlett_window", "blackman_window", "channels_last", "channels_last_3d", "contiguous_format", "fill",
    "from_dlpack", "frombuffer", "hamming_window", "hann_window", "kaiser_window", "preserve_format", "strided",
    "typename",
)  # fmt: skip

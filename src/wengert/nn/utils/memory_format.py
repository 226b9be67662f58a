"""Memory formats of convolutions, which PyTorch programs set. Here a layout is the compiler's choice."""

from __future__ import annotations

from typing import Any

from ... import api
from ...errors import ArgumentError, message


def _checked(name: str, module: Any, memory_format: Any, known: tuple[Any, ...]) -> Any:
    if memory_format not in known:
        wanted = f"memory_format must be one of {', '.join(map(str, known))}"
        raise ArgumentError(message(name, wanted, repr(memory_format)))
    return module


def convert_conv2d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """The module as it is: `wengert.compile` turns convolutions to channels last where that is faster, by itself."""
    known = (api.contiguous_format, api.channels_last, api.preserve_format)
    return _checked("convert_conv2d_weight_memory_format", module, memory_format, known)


def convert_conv3d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """The module as it is: `wengert.compile` turns convolutions to channels last where that is faster, by itself."""
    known = (api.contiguous_format, api.channels_last_3d, api.preserve_format)
    return _checked("convert_conv3d_weight_memory_format", module, memory_format, known)

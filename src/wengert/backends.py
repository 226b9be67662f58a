"""``wg.backends``: switches between implementations, which programs for PyTorch set. Here they change no value.

Results have the same bits in every run and for every number of threads, and products of float32 are computed as such.
"""

from __future__ import annotations

import types
from typing import Any

from .errors import ArgumentError, message

_PRECISIONS = ("highest", "high", "medium")
_state: dict[str, Any] = {"precision": "highest", "deterministic": True}


def _absent(**switches: Any) -> Any:
    return types.SimpleNamespace(is_available=lambda: False, **switches)


cudnn = _absent(benchmark=False, deterministic=True, enabled=False, allow_tf32=False, version=lambda: None)
cuda = types.SimpleNamespace(matmul=types.SimpleNamespace(allow_tf32=False))
mps = _absent(is_built=lambda: False)
mkldnn = _absent()


def set_float32_matmul_precision(precision: str) -> None:
    """Say how exact products of float32 must be; they are exact as float32 is, whatever is said.

    Args:
        precision: "highest", "high" or "medium".

    Raises:
        ArgumentError: another word.

    >>> import wengert as wg
    >>> wg.set_float32_matmul_precision("high")
    >>> wg.get_float32_matmul_precision()
    'high'
    >>> wg.set_float32_matmul_precision("highest")
    """
    if precision not in _PRECISIONS:
        raise ArgumentError(
            message("set_float32_matmul_precision", "no such precision", repr(precision), f"One of {_PRECISIONS}")
        )
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told."""
    return _state["precision"]


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same results in every run, which they are anyway."""
    _state["deterministic"] = mode


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told, at first True."""
    return _state["deterministic"]


__all__ = [
    "are_deterministic_algorithms_enabled", "cuda", "cudnn", "get_float32_matmul_precision", "mkldnn", "mps",
    "set_float32_matmul_precision", "use_deterministic_algorithms",
]  # fmt: skip

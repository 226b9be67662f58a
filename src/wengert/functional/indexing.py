"""Indexing and scattering."""

from __future__ import annotations

from typing import Any

__all__: list[str] = []


def setitem(x: Any, index: Any, value: Any) -> None:
    """``x[index] = value``."""
    raise NotImplementedError

"""Formulas: functions of ops that stand in the graph as one Call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def formula(f: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function of tensors as a formula.

    Tensor arguments are the inputs of the Call, everything else is static (hashable). The body is
    traced once per shapes, dtypes and static arguments, so it must not look at values.
    """
    return f

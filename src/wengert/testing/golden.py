"""Weights and inputs that any library can make, so that outputs made with another one can be compared with."""

from __future__ import annotations

from typing import Any

import numpy as np


def formula(name: str, shape: tuple[int, ...]) -> Any:
    """Values between -1 and 1 without a pattern, of the size of usual weights; variances near one."""
    numbers = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(2654435761 + len(name))
    for factor in (73244475, 73244475, 1):
        numbers = ((numbers ^ numbers >> np.uint64(16)) * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    values = (numbers / 2.0**31 - 1).reshape(shape)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return 1 + 0.2 * values
    return values * (6 * shape[0] / values.size) ** 0.5 if len(shape) > 1 else 0.1 * values

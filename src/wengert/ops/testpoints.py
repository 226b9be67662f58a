"""Points at which ops are sampled: fixed, so that a failure can be repeated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .base import Sample


def floats(*shape: int, seed: int = 0) -> Any:
    """Normal float64 numbers."""
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def complexes(*shape: int, seed: int = 0) -> Any:
    """Normal complex128 numbers."""
    return floats(*shape, seed=seed) + 1j * floats(*shape, seed=seed + 1000)


def noncontiguous(*shape: int, seed: int = 0) -> Any:
    """Every second element of a transposed array: strides that are neither dense nor positive."""
    wide = floats(*[2 * n for n in reversed(shape)], seed=seed)
    return wide.T[tuple(slice(None, None, -2) for _ in shape)]


def real(inputs: int) -> Iterable[Sample]:
    """A vector, a matrix with strides, a 0-d value and an empty array, for each input."""
    seeds = range(inputs)
    yield Sample(*[floats(4, seed=s) for s in seeds])
    yield Sample(*[noncontiguous(2, 3, seed=s) for s in seeds], label="non-contiguous")
    yield Sample(*[floats(seed=s) for s in seeds], label="0-d")
    yield Sample(*[floats(0, 3, seed=s) for s in seeds], label="empty")

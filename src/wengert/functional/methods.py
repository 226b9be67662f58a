"""Which functions are methods of Tensor, under which names.

A family says what it offers: ``__all__`` the public functions (``wg.name``), ``NOT_METHODS`` those
among them that are no methods of Tensor, ``EXTRA_METHODS`` methods that are no public functions,
``INPLACE`` the names that have an in-place form ``name_`` too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import (
    activation,
    blas,
    compat,
    complex_numbers,
    creation,
    histogram,
    indexing,
    joining,
    linalg,
    memory,
    parts,
    pointwise,
    pointwise_formulas,
    random,
    reduction,
    scan,
    scatter,
    shape,
    softmax,
    sorting,
    special,
    statistics,
    stft,
    triangles,
)
from .inplace import inplace

FAMILIES = (
    pointwise, pointwise_formulas, complex_numbers, special, reduction, statistics, shape, parts, joining, triangles,
    memory, indexing, scatter, scan, sorting, histogram, blas, linalg, creation, random, stft, compat,
)  # fmt: skip

METHODS: dict[str, Callable[..., Any]] = {}

for _family in FAMILIES:
    for _name in _family.__all__:
        if _name not in getattr(_family, "NOT_METHODS", ()):
            METHODS[_name] = getattr(_family, _name)
    METHODS.update(getattr(_family, "EXTRA_METHODS", {}))
    for _name in getattr(_family, "INPLACE", ()):
        METHODS[f"{_name}_"] = inplace(getattr(_family, _name), f"{_name}_")

for _family in (activation, softmax):
    for _name in _family.TENSOR_METHODS:
        METHODS[_name] = getattr(_family, _name)

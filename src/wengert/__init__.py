"""Wengert: computational graphs, differentiated in every mode, seen step by step."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import ops
from .api import *

__version__ = "0.1.0"

# Loaded when first used, so that ``import wengert`` stays quick.
_LAZY = (
    "autograd", "backends", "cuda", "data", "errors", "fft", "func", "linalg", "models", "nn", "numeric", "optim",
    "signal", "special", "testing", "train", "tree", "utils",
)  # fmt: skip

if TYPE_CHECKING:
    from . import (
        autograd,
        backends,
        cuda,
        data,
        errors,
        fft,
        func,
        linalg,
        models,
        nn,
        numeric,
        optim,
        signal,
        special,
        testing,
        train,
        tree,
        utils,
    )


# Functions of modules that are loaded when first used.
_ELSEWHERE = {
    "vmap": "func", "compile": "compiler", "explain": "planning", "plan": "planning", "Compiled": "compiler",
    "RecompileWarning": "compiler", "detect_anomaly": "autograd",
    "set_float32_matmul_precision": "backends", "get_float32_matmul_precision": "backends",
    "use_deterministic_algorithms": "backends", "are_deterministic_algorithms_enabled": "backends",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    if name.startswith("_foreach_"):
        from .functional.foreach import FUNCTIONS

        if name in FUNCTIONS:
            return FUNCTIONS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_ELSEWHERE})

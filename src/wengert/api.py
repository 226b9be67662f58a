"""The names of ``wengert``: everything users reach as ``wg.name``."""

from __future__ import annotations

import math as _math
from typing import Any


from . import dtypes as _dt
from .config import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .dtypes import can_cast, finfo, get_default_dtype, iinfo, promote_types, set_default_dtype
from .dtypes import dtype as dtype
from .functional import activation, control
from .functional.methods import FAMILIES as _FAMILIES
from .graph.handle import Handle as _Handle
from .graph.graph import Graph
from .graph.node import Node
from .graph.trace import Recording, record
from .compare import compare_derivatives
from .custom import custom
from .tensor import Size, Tensor, device
from .tracing import trace as trace
from .transform.checkpoint import checkpoint
from .transform.reverse import gradients

pi, inf, nan, e = _math.pi, _math.inf, _math.nan, _math.e
newaxis = None

_NAMES = [
    "Graph", "Node", "Recording", "Size", "Tensor", "can_cast", "checkpoint", "compare_derivatives", "custom", "device", "dtype", "e", "enable_grad", "finfo",
    "get_default_dtype", "gradients", "iinfo", "inf", "inference_mode", "is_grad_enabled",
    "is_inference_mode_enabled", "nan", "newaxis", "no_grad", "pi", "promote_types", "record", "set_default_dtype",
    "set_grad_enabled", "trace",
]  # fmt: skip

for _d in _dt.ALL:
    globals()[_d.name] = _d
    _NAMES.append(_d.name)
for _name in ("half", "double", "short", "long", "cfloat", "cdouble"):
    globals()[_name] = getattr(_dt, _name)
    _NAMES.append(_name)
globals()["float"], globals()["int"] = _dt.float32, _dt.int32
_NAMES += ["float", "int"]

for _family in (*_FAMILIES, control):
    for _name in _family.__all__:
        if _name != "trace":  # tracing.trace hands matrices on to it
            globals()[_name] = getattr(_family, _name)
            _NAMES.append(_name)
for _name in activation.TENSOR_LEVEL:
    globals()[_name] = getattr(activation, _name)
    _NAMES.append(_name)


def is_tensor(obj: Any) -> bool:
    """Whether an object is a Tensor."""
    return isinstance(obj, _Handle)


def is_floating_point(input: Any) -> bool:
    """Whether a tensor has a floating dtype."""
    return input.aval.dtype in _dt.FLOATING_NP


def is_complex(input: Any) -> bool:
    """Whether a tensor has a complex dtype."""
    return input.aval.dtype in _dt.COMPLEX_NP


__all__ = [*_NAMES, "is_complex", "is_floating_point", "is_tensor"]

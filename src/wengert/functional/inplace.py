"""In-place methods: ``x.f_(...)`` is ``x = f(x, ...)`` written into x's memory or node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dtypes as dt
from ..errors import DTypeError, ShapeError, message
from ..graph.alias import assign, check_writable
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from .front import expand_to

def fit(name: str, x: Handle, new: Handle) -> Any:
    """``new`` in the shape and dtype of ``x``, if PyTorch allows to write it there."""
    if new.aval.shape != x.aval.shape:
        if len(new.aval.shape) > len(x.aval.shape) or any(
            n not in (1, m) for n, m in zip(reversed(new.aval.shape), reversed(x.aval.shape), strict=False)
        ):
            raise ShapeError(message(name, "the result does not fit in place", f"{new.aval} into {x.aval}"))
        new = expand_to(new, x.aval.shape)
    if new.aval.dtype != x.aval.dtype:
        if not dt.can_cast(dt.of(new.aval.dtype), dt.of(x.aval.dtype)):
            raise DTypeError(
                message(name, "the result cannot be cast in place", f"{new.aval} into {x.aval}",
                        "Convert the tensor first, for example x = x.float()")
            )  # fmt: skip
        new = apply(OPS["cast"], (new,), {"dtype": x.aval.dtype})
    return new


def inplace(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The in-place method of a function of ``x``."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_writable(name, self)
        return assign(name, self, fit(name, self, function(self, *args, **kwargs)))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place `{name.rstrip('_')}`; returns the tensor itself."
    return method

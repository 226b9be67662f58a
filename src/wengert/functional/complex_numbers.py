"""Complex numbers: parts, angle, conjugate, and what makes one of real numbers."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes as dt
from ..errors import DTypeError, ShapeError, message
from ..graph.alias import make_view
from ..graph.aval import describe
from ..graph.handle import apply
from ..ops.base import OPS
from .front import apply_elementwise, constant_bool, dtype_of, to_inexact
from .inplace import with_out
from .pointwise import atan2, cos, eq, isnan, lt, mul, sin, where


def conj(input: Any) -> Any:
    """The complex conjugate; a real tensor itself."""
    return apply(OPS["conj"], (input,)) if dtype_of(input) in dt.COMPLEX_NP else input


conj_physical = with_out(conj)


def real(input: Any) -> Any:
    """The real part, a view; a real tensor itself."""
    return make_view(input, OPS["real"], {}) if dtype_of(input) in dt.COMPLEX_NP else input


def imag(input: Any) -> Any:
    """The imaginary part of a complex tensor, a view."""
    if dtype_of(input) not in dt.COMPLEX_NP:
        raise DTypeError(message("imag", "needs a complex dtype", str(input.aval), "Real numbers have none"))
    return make_view(input, OPS["imag"], {})


@with_out
def complex(real: Any, imag: Any) -> Any:
    """``real + i imag``; both float32 (giving complex64) or both float64, of shapes that broadcast."""
    _check_parts("complex", real, imag)
    return apply_elementwise(OPS["complex"], (real, imag))


def _check_parts(name: str, x: Any, y: Any) -> None:
    """Raise unless a complex dtype is made of both."""
    if dtype_of(x) != dtype_of(y) or dtype_of(x) not in (dt.NP_FLOAT32, dt.NP_FLOAT64):
        raise DTypeError(message(name, "both must be float32, or both float64", describe((x.aval, y.aval))))


@with_out
def polar(abs: Any, angle: Any) -> Any:
    """The complex number with that modulus and angle.

    >>> import wengert as wg
    >>> wg.polar(wg.tensor([2.0]), wg.tensor([0.0])).real
    tensor([2.])
    """
    _check_parts("polar", abs, angle)
    return complex(mul(abs, cos(angle)), mul(abs, sin(angle)))


@with_out
def angle(input: Any) -> Any:
    """The angle of a complex number; 0 or pi for a real one."""
    if dtype_of(input) in dt.COMPLEX_NP:
        return atan2(imag(input), real(input))
    x = to_inexact(input)
    return where(isnan(x), x, where(lt(x, 0), math.pi, apply(OPS["fill"], (x,), {"value": 0})))


def isreal(input: Any) -> Any:
    """Whether the imaginary part is 0."""
    return eq(imag(input), 0) if dtype_of(input) in dt.COMPLEX_NP else constant_bool(input, True)


def view_as_real(input: Any) -> Any:
    """Complex numbers as pairs of real ones in a new last dimension."""
    if dtype_of(input) not in dt.COMPLEX_NP:
        raise DTypeError(message("view_as_real", "needs a complex tensor", str(input.aval)))
    attrs = {"shape": (*input.aval.shape, 1)}
    parts = [apply(OPS["reshape"], (f(input),), attrs) for f in (real, imag)]
    return apply(OPS["cat"], tuple(parts), {"axis": len(input.aval.shape)})


def view_as_complex(input: Any) -> Any:
    """Pairs in the last dimension as complex numbers."""
    shape = input.aval.shape
    if not shape or shape[-1] != 2:
        raise ShapeError(message("view_as_complex", "the last dimension must have size 2", str(input.aval)))
    return complex(input[..., 0], input[..., 1])


__all__ = [
    "angle", "complex", "conj", "conj_physical", "imag", "isreal", "polar", "real", "view_as_complex",
    "view_as_real",
]  # fmt: skip

NOT_METHODS = ("complex", "imag", "polar", "real", "view_as_complex", "view_as_real")

INPLACE = ("conj_physical",)

EXTRA_METHODS = {"imag": property(imag), "real": property(real)}

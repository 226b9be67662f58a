"""Data types, and the rules by which operands are brought to one (PyTorch's)."""

from __future__ import annotations

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from .errors import DTypeError, message


class dtype:
    """A data type, compared by identity: ``wg.float32``.

    Attributes: ``np`` the NumPy dtype, ``name``, ``itemsize`` in bytes,
    ``is_floating_point``, ``is_complex``, ``is_signed``.

    >>> import wengert as wg
    >>> wg.float32, wg.float32.itemsize, wg.float32.is_floating_point
    (wengert.float32, 4, True)
    """

    __slots__ = ("category", "is_complex", "is_floating_point", "is_signed", "itemsize", "kind", "name", "np", "short")

    def __init__(self, name: str, short: str, np_dtype: Any, category: int) -> None:
        self.name, self.short = name, short
        self.np = np.dtype(np_dtype)
        self.itemsize = self.np.itemsize
        self.kind = self.np.kind if category < 3 else "c"  # as NumPy's, so that rules can ask either
        self.category = category  # 0 bool, 1 integer, 2 floating, 3 complex: PyTorch's order of promotion
        self.is_floating_point = category == 2
        self.is_complex = category == 3
        self.is_signed = not (name == "bool" or name.startswith("uint"))

    def __repr__(self) -> str:
        return f"wengert.{self.name}"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return (by_name, (self.name,))

    def __copy__(self) -> dtype:
        return self

    def __deepcopy__(self, memo: Any) -> dtype:
        return self

    def to_real(self) -> dtype:
        """The dtype of the parts of a complex number."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def to_complex(self) -> dtype:
        """The complex dtype whose parts have this dtype."""
        return complex128 if self in (float64, complex128) else complex64


bool_ = dtype("bool", "b1", np.bool_, 0)
uint8 = dtype("uint8", "u8", np.uint8, 1)
uint16 = dtype("uint16", "u16", np.uint16, 1)
uint32 = dtype("uint32", "u32", np.uint32, 1)
uint64 = dtype("uint64", "u64", np.uint64, 1)
int8 = dtype("int8", "i8", np.int8, 1)
int16 = dtype("int16", "i16", np.int16, 1)
int32 = dtype("int32", "i32", np.int32, 1)
int64 = dtype("int64", "i64", np.int64, 1)
float16 = dtype("float16", "f16", np.float16, 2)
bfloat16 = dtype("bfloat16", "bf16", ml_dtypes.bfloat16, 2)
float32 = dtype("float32", "f32", np.float32, 2)
float64 = dtype("float64", "f64", np.float64, 2)
complex64 = dtype("complex64", "c64", np.complex64, 3)
complex128 = dtype("complex128", "c128", np.complex128, 3)

ALL = (
    bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64,
    float16, bfloat16, float32, float64, complex64, complex128,
)  # fmt: skip
half, float_, double = float16, float32, float64
short, int_, long = int16, int32, int64
cfloat, cdouble = complex64, complex128

_BY_NP = {d.np: d for d in ALL}
_BY_NAME = {d.name: d for d in ALL}
_BY_PYTHON = {bool: bool_, int: int64, float: float32, complex: complex64}

NP_BOOL, NP_INT64, NP_FLOAT32, NP_FLOAT64 = bool_.np, int64.np, float32.np, float64.np
FLOATING_NP = frozenset(d.np for d in ALL if d.category == 2)
INEXACT_NP = frozenset(d.np for d in ALL if d.category >= 2)
COMPLEX_NP = frozenset(d.np for d in ALL if d.category == 3)
HALF_NP = frozenset((float16.np, bfloat16.np))

_default = float32


def by_name(name: str) -> dtype:
    """The dtype of that name."""
    return _BY_NAME[name]


def of(np_dtype: Any) -> dtype:
    """The dtype of a NumPy dtype."""
    found = _BY_NP.get(np_dtype)
    if found is None:
        raise DTypeError(
            message("dtype", "NumPy dtype not supported", str(np_dtype), "Convert the array to a numeric dtype first")
        )
    return found


def to_dtype(x: Any) -> dtype:
    """Accept a dtype in any spelling: ours, NumPy's, Python's types, a name."""
    if type(x) is dtype:
        return x
    if isinstance(x, str) and x in _BY_NAME:
        return _BY_NAME[x]
    if x is float:
        return _default
    if isinstance(x, type) and x in _BY_PYTHON:
        return _BY_PYTHON[x]
    try:
        return of(np.dtype(x))
    except TypeError:
        raise DTypeError(message("dtype", "not a dtype", repr(x))) from None


def get_default_dtype() -> dtype:
    """The dtype of floating tensors made from Python numbers."""
    return _default


def set_default_dtype(d: Any) -> None:
    """Set the dtype of floating tensors made from Python numbers; it must be a floating dtype."""
    global _default
    d = to_dtype(d)
    if not d.is_floating_point:
        raise DTypeError(message("set_default_dtype", "only floating dtypes can be the default", repr(d)))
    _default = d


@cache
def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that both can be converted to, by PyTorch's lattice.

    >>> promote_types(int32, float16), promote_types(float16, bfloat16), promote_types(uint8, int8)
    (wengert.float16, wengert.float32, wengert.int16)
    """
    if a is b:
        return a
    if a.category > b.category:
        a, b = b, a
    if b.category == 3:
        return complex128 if float64 in (a, b) or complex128 in (a, b) else complex64
    if b.category == 2 and a.category < 2:
        return b
    if b.category == 2:
        return float64 if float64 in (a, b) else float32
    if a.category == 0:
        return b
    found = of(np.promote_types(a.np, b.np))
    if found.category != 1:
        raise DTypeError(message("promote_types", "no integer dtype holds both", f"{a} and {b}", "Cast one of them"))
    return found


def _combine(higher: dtype | None, lower: dtype | None) -> dtype | None:
    """Let a higher-priority operand's dtype win unless the lower one has a higher category."""
    if higher is None or lower is None:
        return higher or lower
    if higher.category >= 2:
        return higher.to_complex() if lower.category == 3 and higher.category == 2 else higher
    if higher.category == 0 or lower.category >= 2:
        return promote_types(higher, lower)
    return higher


def python_dtype(x: Any) -> dtype:
    """The dtype a Python number stands for."""
    if isinstance(x, bool):
        return bool_
    if isinstance(x, int):
        return int64
    if isinstance(x, complex):
        return _default.to_complex()
    return _default


def combine_priorities(dims: list[dtype], zeros: list[dtype], numbers: list[dtype]) -> dtype:
    """One dtype for tensors with dimensions, 0-d tensors and Python numbers, in that priority."""
    found: dtype | None = None
    for group in (numbers, zeros, dims):
        top: dtype | None = None
        for d in group:
            top = d if top is None else promote_types(top, d)
        found = _combine(top, found)
    assert found is not None
    return found


@cache
def _limits(d: dtype) -> Any:
    return ml_dtypes.finfo(d.np) if d.category >= 2 else ml_dtypes.iinfo(d.np)


class finfo:
    """Limits of a floating dtype: ``eps, min, max, tiny, smallest_normal, resolution, bits``."""

    def __init__(self, type: Any = None) -> None:
        d = _default if type is None else to_dtype(type)
        if d.category < 2:
            raise DTypeError(message("finfo", "needs a floating dtype", repr(d), "Use iinfo"))
        info = _limits(d.to_real())
        self.dtype = d.name
        self.bits = int(info.bits)
        self.eps, self.min, self.max = float(info.eps), float(info.min), float(info.max)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = float(info.resolution)

    def __repr__(self) -> str:
        return f"finfo({', '.join(f'{k}={v}' for k, v in vars(self).items())})"


class iinfo:
    """Limits of an integer dtype: ``min, max, bits``."""

    def __init__(self, type: Any) -> None:
        d = to_dtype(type)
        if d.category != 1:
            raise DTypeError(message("iinfo", "needs an integer dtype", repr(d), "Use finfo"))
        info = _limits(d)
        self.dtype, self.bits = d.name, int(info.bits)
        self.min, self.max = int(info.min), int(info.max)

    def __repr__(self) -> str:
        return f"iinfo({', '.join(f'{k}={v}' for k, v in vars(self).items())})"


def can_cast(source: dtype, target: dtype) -> bool:
    """Whether PyTorch casts ``source`` to ``target`` in place: never to a lower category."""
    if source.category > target.category:
        return False
    return not (source.is_signed and source.category == 1 and target.category == 0)

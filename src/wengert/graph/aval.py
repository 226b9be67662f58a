"""What is known about a value before it is computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import dtypes as dt


class Aval(NamedTuple):
    """Shape and NumPy dtype of a value.

    >>> print(Aval((3, 4), np.dtype("float32")))
    f32[3,4]
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for k in self.shape:
            n *= k
        return n

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{dt.of(self.dtype).short}[{','.join(map(str, self.shape))}]"

    def with_shape(self, shape: tuple[int, ...]) -> Aval:
        """The same dtype under another shape."""
        return Aval(shape, self.dtype)

    def with_dtype(self, dtype: np.dtype[Any]) -> Aval:
        """The same shape in another dtype (NumPy's)."""
        return Aval(self.shape, dtype)


def aval_of(value: Any) -> Any:
    """The Aval of an array, or a tuple of them for a tuple of arrays."""
    if type(value) is tuple:
        return tuple(aval_of(v) for v in value)
    return Aval(value.shape, value.dtype)


def describe(avals: Any) -> str:
    """Avals as they stand in messages: ``f32[3,4], f32[4]``."""
    return ", ".join(map(str, avals))

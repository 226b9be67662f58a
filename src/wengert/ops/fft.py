"""Discrete Fourier transforms without scaling; all other transforms are formulas of these three.

``fft``: complex, over several axes. ``rfft``: real, one axis of size n, to the n // 2 + 1 frequencies that
are not conjugates of others. ``irfft``: back to n real numbers; the imaginary part of the first frequency,
and of the last for an even n, is not looked at. The two real ones are linear over the reals, and the
adjoint of each is the other with weights: inner frequencies stand for two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, ShapeError, message
from ..graph.aval import Aval
from .base import OPS, Linear, Sample, dtype_of, shape_of, to_front
from .testpoints import complexes, floats, noncontiguous

SINGLE_AND_DOUBLE = (dt.float32.np, dt.float64.np)


def require(name: str, x: Aval, complex_input: bool) -> None:
    """Raise unless the operand is of float32, float64, or the complex dtypes of these."""
    if x.dtype not in (dt.COMPLEX_NP if complex_input else SINGLE_AND_DOUBLE):
        need = "complex64 or complex128" if complex_input else "float32 or float64"
        raise DTypeError(message(name, f"needs {need}", str(x), "Convert with x.to(dtype)"))


class FFT(Linear):
    """Sum over the axes of x exp(-2 pi i k t / n); ``inverse``: with + in the exponent. No scaling."""

    name = "fft"
    dtypes = (dt.float32,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        require("fft", avals[0], True)
        for axis in attrs["axes"]:
            require_size("fft", avals[0], axis)
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, axes = xs[0], attrs["axes"]
        if not axes or not x.size:
            return x.copy()
        if attrs["inverse"]:
            return np.fft.ifftn(x, axes=axes, norm="forward")
        return np.fft.fftn(x, axes=axes)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return self(g, axes=attrs["axes"], inverse=not attrs["inverse"])

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x = to_front(xs[0], dims[0], size)
        return self(x, axes=tuple(a + 1 for a in attrs["axes"]), inverse=attrs["inverse"]), 0

    def samples(self) -> Iterable[Sample]:
        for inverse in (False, True):
            yield Sample(complexes(5), attrs={"axes": (0,), "inverse": inverse})
            yield Sample(complexes(3, 2, 4), attrs={"axes": (0, 2), "inverse": inverse}, label="two axes")
        yield Sample(complexes(2, 3), attrs={"axes": (), "inverse": False}, label="no axes")
        yield Sample(complexes(0, 3), attrs={"axes": (1,), "inverse": False}, label="empty")
        yield Sample(complexes(1), attrs={"axes": (0,), "inverse": False}, label="size 1")


def require_size(name: str, x: Aval, axis: int) -> None:
    """Raise for an axis without elements."""
    if not x.shape[axis]:
        raise ShapeError(message(name, f"dimension {axis} is empty", str(x), "Give n to pad it"))


def weigh(x: Any, axis: int, n: int, inner: float) -> Any:
    """Half spectra of size n // 2 + 1 with all but the first and, for an even n, the last scaled."""
    k = shape_of(x)[axis]
    w = np.full(k, inner, dt.of(dtype_of(x)).to_real().np)
    w[0] = 1
    if n % 2 == 0:
        w[-1] = 1
    return x * w.reshape(tuple(k if i == axis else 1 for i in range(len(shape_of(x)))))


class RFFT(Linear):
    """The first n // 2 + 1 frequencies of real numbers along ``axis``; no scaling."""

    name = "rfft"
    dtypes = (dt.float32,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, axis = avals[0], attrs["axis"]
        require("rfft", x, False)
        require_size("rfft", x, axis)
        shape = (*x.shape[:axis], x.shape[axis] // 2 + 1, *x.shape[axis + 1 :])
        return Aval(shape, dt.of(x.dtype).to_complex().np)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return np.fft.rfft(xs[0], axis=attrs["axis"])

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        axis = attrs["axis"]
        n = shape_of(xs[0])[axis]
        return OPS["irfft"](weigh(g, axis, n, 0.5), axis=axis, n=n)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), axis=attrs["axis"] + 1), 0

    def samples(self) -> Iterable[Sample]:
        for n in (1, 2, 5, 6):
            yield Sample(floats(n), attrs={"axis": 0}, label=f"size {n}")
        yield Sample(noncontiguous(4, 3), attrs={"axis": 0}, label="first axis, non-contiguous")
        yield Sample(floats(0, 3), attrs={"axis": 1}, label="empty")


class IRFFT(Linear):
    """The ``n`` real numbers along ``axis`` that half a spectrum belongs to, times n."""

    name = "irfft"
    dtypes = (dt.float32,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, axis, n = avals[0], attrs["axis"], attrs["n"]
        require("irfft", x, True)
        if n < 1 or x.shape[axis] != n // 2 + 1:
            raise ShapeError(message("irfft", f"size {n} needs {n // 2 + 1} frequencies", f"{x}, dimension {axis}"))
        return Aval((*x.shape[:axis], n, *x.shape[axis + 1 :]), dt.of(x.dtype).to_real().np)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return np.fft.irfft(xs[0], attrs["n"], axis=attrs["axis"], norm="forward")

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        axis, n = attrs["axis"], attrs["n"]
        return weigh(OPS["rfft"](g, axis=axis), axis, n, 2.0)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), axis=attrs["axis"] + 1, n=attrs["n"]), 0

    def samples(self) -> Iterable[Sample]:
        for n in (1, 2, 5, 6):
            yield Sample(complexes(n // 2 + 1), attrs={"axis": 0, "n": n}, label=f"size {n}")
        yield Sample(complexes(3, 2), attrs={"axis": 0, "n": 4}, label="first axis")
        yield Sample(complexes(0, 3), attrs={"axis": 1, "n": 4}, label="empty")

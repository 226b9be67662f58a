"""Fourier transforms with PyTorch's sizes, dimensions and scalings.

``norm``: "backward" (the default: the inverse transform is divided by n), "forward" (the forward one is),
"ortho" (both by the root of n). ``n`` or ``s``: sizes to which dimensions are cut or padded with zeros first;
-1 leaves one as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, message
from ..graph.handle import apply, wrap
from ..ops.base import OPS, conj
from .dims import normal_dim, operand
from .front import cast

Sizes = Sequence[int] | None


def _input(name: str, x: Any, kind: str) -> Any:
    """The operand in the dtype in which it is transformed: ``kind`` is "complex" or "real"."""
    x = operand(name, x)
    dtype = dt.of(x.aval.dtype)
    if dtype.np in dt.HALF_NP:
        raise DTypeError(message(name, "half precision is not supported", str(x.aval), "Convert with x.float()"))
    if dtype.category < 2:
        dtype = dt.get_default_dtype()
    if kind == "complex":
        return cast(x, dtype.to_complex())
    if dtype.is_complex:
        raise DTypeError(message(name, "needs real numbers", str(x.aval), "Use the complex transform"))
    return cast(x, dtype)


def _resized(name: str, x: Any, axes: Sequence[int], sizes: Sequence[int]) -> Any:
    """The operand cut or padded with zeros along the axes."""
    shape = x.aval.shape
    for axis, n in zip(axes, sizes, strict=True):
        if n < 1:
            raise ShapeError(message(name, "needs at least one element", f"{n} along dimension {axis} of {x.aval}"))
    cut = list(shape)
    target = list(shape)
    for axis, n in zip(axes, sizes, strict=True):
        cut[axis], target[axis] = min(shape[axis], n), n
    spec = tuple((0, n, 1) for n in cut)
    if tuple(cut) != shape:
        x = apply(OPS["slice"], (x,), {"spec": spec})
    if cut != target:
        x = apply(OPS["unslice"], (x,), {"spec": spec, "shape": tuple(target)})
    return x


def _scaled(name: str, x: Any, norm: str | None, forward: bool, sizes: Sequence[int]) -> Any:
    """The transform divided as ``norm`` says."""
    n = math.prod(sizes)
    if norm not in (None, "backward", "forward", "ortho"):
        raise ArgumentError(message(name, "no such norm", repr(norm), "Use 'backward', 'forward' or 'ortho'"))
    if norm == "ortho":
        return x * (1.0 / math.sqrt(n)) if n != 1 else x
    divided = norm == "forward" if forward else norm in (None, "backward")
    return x * (1.0 / n) if divided and n != 1 else x


def _plan(name: str, x: Any, s: Sizes, dim: Any) -> tuple[list[int], list[int]]:
    """Axes and sizes of a transform over several dimensions."""
    rank = x.aval.ndim
    if isinstance(dim, int):
        dim = (dim,)
    if isinstance(s, int):
        s = (s,)
    if dim is None:
        if s is not None and len(s) > rank:
            raise ShapeError(message(name, "more sizes than dimensions", f"s={tuple(s)} for {x.aval}"))
        dim = range(rank) if s is None else range(rank - len(s), rank)
    axes = [normal_dim(name, int(d), rank) for d in dim]
    if len(set(axes)) != len(axes):
        raise IndexRangeError(message(name, "a dimension appears twice", f"dim={tuple(dim)}"))
    if rank == 0 and axes:
        raise IndexRangeError(message(name, "needs at least one dimension", str(x.aval)))
    if s is None:
        return axes, [x.aval.shape[a] for a in axes]
    if len(s) != len(axes):
        raise ShapeError(message(name, "as many sizes as dimensions are needed", f"s={tuple(s)}, dim={tuple(dim)}"))
    return axes, [x.aval.shape[a] if n == -1 else int(n) for a, n in zip(axes, s, strict=True)]


def _complex(name: str, x: Any, s: Sizes, dim: Any, norm: str | None, forward: bool) -> Any:
    """Complex transform over several dimensions."""
    x = _input(name, x, "complex")
    axes, sizes = _plan(name, x, s, dim)
    x = _resized(name, x, axes, sizes)
    out = apply(OPS["fft"], (x,), {"axes": tuple(sorted(axes)), "inverse": not forward})
    return _scaled(name, out, norm, forward, sizes)


def _to_half(name: str, x: Any, s: Sizes, dim: Any, norm: str | None, forward: bool) -> Any:
    """Real numbers to half a spectrum: the last dimension first, then the others."""
    x = _input(name, x, "real")
    axes, sizes = _plan(name, x, s, dim)
    if not axes:
        raise ArgumentError(message(name, "needs at least one dimension", str(x.aval)))
    x = _resized(name, x, axes, sizes)
    out = apply(OPS["rfft"], (x,), {"axis": axes[-1]})
    if not forward:
        out = conj(out)
    if len(axes) > 1:
        out = apply(OPS["fft"], (out,), {"axes": tuple(sorted(axes[:-1])), "inverse": not forward})
    return _scaled(name, out, norm, forward, sizes)


def _from_half(name: str, x: Any, s: Sizes, dim: Any, norm: str | None, forward: bool) -> Any:
    """Half a spectrum to real numbers: the last dimension last."""
    x = _input(name, x, "complex")
    axes, sizes = _plan(name, x, s, dim)
    if not axes:
        raise ArgumentError(message(name, "needs at least one dimension", str(x.aval)))
    last = axes[-1]
    if s is None or (s if isinstance(s, int) else s[-1]) == -1:
        sizes[-1] = 2 * (x.aval.shape[last] - 1)
    n = sizes[-1]
    if n < 1:
        raise ShapeError(message(name, f"{n} is no size to transform to", f"{x.aval}, dimension {last}", "Give n"))
    x = _resized(name, x, axes, [*sizes[:-1], n // 2 + 1])
    if len(axes) > 1:
        x = apply(OPS["fft"], (x,), {"axes": tuple(sorted(axes[:-1])), "inverse": not forward})
    out = apply(OPS["irfft"], (conj(x) if forward else x,), {"axis": last, "n": n})
    return _scaled(name, out, norm, forward, sizes)


def _one(n: int | None) -> Sizes:
    return None if n is None else (n,)


# -- one dimension -----------------------------------------------------------------------------------


def fft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """Discrete Fourier transform along ``dim``; the result is complex.

    >>> import wengert as wg
    >>> wg.fft.fft(wg.tensor([1.0, 0.0, 0.0]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j])
    """
    return _complex("fft", input, _one(n), (dim,), norm, True)


def ifft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """Inverse of `fft`."""
    return _complex("ifft", input, _one(n), (dim,), norm, False)


def rfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """The first n // 2 + 1 frequencies of real numbers; the others are their conjugates."""
    return _to_half("rfft", input, _one(n), (dim,), norm, True)


def irfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """Inverse of `rfft`; ``n`` is the size of the result, by default 2 * (size - 1)."""
    return _from_half("irfft", input, _one(n), (dim,), norm, False)


def hfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """Transform of half a Hermitian signal, which is real; ``n`` as in `irfft`."""
    return _from_half("hfft", input, _one(n), (dim,), norm, True)


def ihfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """Inverse of `hfft`."""
    return _to_half("ihfft", input, _one(n), (dim,), norm, False)


# -- several dimensions --------------------------------------------------------------------------------


def fftn(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Any:
    """Transform over several dimensions; all by default, or the last ones if ``s`` is given."""
    return _complex("fftn", input, s, dim, norm, True)


def ifftn(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Any:
    """Inverse of `fftn`."""
    return _complex("ifftn", input, s, dim, norm, False)


def rfftn(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Any:
    """Transform of real numbers; the last of the dimensions keeps half its frequencies."""
    return _to_half("rfftn", input, s, dim, norm, True)


def irfftn(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Any:
    """Inverse of `rfftn`."""
    return _from_half("irfftn", input, s, dim, norm, False)


def hfftn(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Any:
    """Transform of a signal that is Hermitian in the last of the dimensions, of which half is given."""
    return _from_half("hfftn", input, s, dim, norm, True)


def ihfftn(input: Any, s: Sizes = None, dim: Any = None, norm: str | None = None) -> Any:
    """Inverse of `hfftn`."""
    return _to_half("ihfftn", input, s, dim, norm, False)


def fft2(input: Any, s: Sizes = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """`fftn` over two dimensions."""
    return fftn(input, s, dim, norm)


def ifft2(input: Any, s: Sizes = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """`ifftn` over two dimensions."""
    return ifftn(input, s, dim, norm)


def rfft2(input: Any, s: Sizes = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """`rfftn` over two dimensions."""
    return rfftn(input, s, dim, norm)


def irfft2(input: Any, s: Sizes = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """`irfftn` over two dimensions."""
    return irfftn(input, s, dim, norm)


def hfft2(input: Any, s: Sizes = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """`hfftn` over two dimensions."""
    return hfftn(input, s, dim, norm)


def ihfft2(input: Any, s: Sizes = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
    """`ihfftn` over two dimensions."""
    return ihfftn(input, s, dim, norm)


# -- frequencies ---------------------------------------------------------------------------------------


def _frequencies(name: str, k: Any, n: int, d: float, dtype: Any, requires_grad: bool) -> Any:
    target = dt.get_default_dtype() if dtype is None else dt.to_dtype(dtype)
    if target.category < 2:
        raise DTypeError(message(name, "needs a floating or complex dtype", repr(target)))
    if n < 1:
        raise ArgumentError(message(name, "n must be positive", str(n)))
    out = wrap((k / (n * d)).astype(target.np))
    return out.requires_grad_() if requires_grad else out


def fftfreq(
    n: int,
    d: float = 1.0,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """The frequencies of `fft` of size ``n`` with samples ``d`` apart: 0, 1, ..., -1 divided by n d.

    >>> import wengert as wg
    >>> wg.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    k = np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)])
    return _frequencies("fftfreq", k, n, d, dtype, requires_grad)


def rfftfreq(
    n: int,
    d: float = 1.0,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """The frequencies of `rfft` of size ``n`` with samples ``d`` apart: 0, 1, ..., n // 2 divided by n d."""
    return _frequencies("rfftfreq", np.arange(n // 2 + 1), n, d, dtype, requires_grad)


def _rolled(name: str, x: Any, dim: Any, back: bool) -> Any:
    x = operand(name, x)
    rank = x.aval.ndim
    dims = range(rank) if dim is None else (dim,) if isinstance(dim, int) else dim
    for d in dims:
        axis = normal_dim(name, int(d), rank)
        if not rank:
            raise IndexRangeError(message(name, "needs at least one dimension", str(x.aval)))
        n = x.aval.shape[axis]
        start = n // 2 if back else (n + 1) // 2
        if not start or start == n:
            continue
        before = tuple((0, start, 1) if i == axis else (0, m, 1) for i, m in enumerate(x.aval.shape))
        after = tuple((start, n, 1) if i == axis else (0, m, 1) for i, m in enumerate(x.aval.shape))
        parts = apply(OPS["slice"], (x,), {"spec": after}), apply(OPS["slice"], (x,), {"spec": before})
        x = apply(OPS["cat"], parts, {"axis": axis})
    return x


def fftshift(input: Any, dim: Any = None) -> Any:
    """Frequency 0 moved to the middle of the dimensions."""
    return _rolled("fftshift", input, dim, False)


def ifftshift(input: Any, dim: Any = None) -> Any:
    """Inverse of `fftshift`."""
    return _rolled("ifftshift", input, dim, True)


__all__: list[str] = []  # the transforms are reached as ``wg.fft.fft``

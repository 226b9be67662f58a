"""Fourier transforms of short pieces of a signal."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.handle import apply, wrap
from ..ops.base import OPS
from .complex_numbers import view_as_complex, view_as_real
from .dims import operand
from .einsum import reshape
from .front import apply_elementwise, cast
from .resize import pad


def _window(name: str, window: Any, n_fft: int, win_length: int, dtype: Any) -> Any:
    """The window in the middle of n_fft places, as a column."""
    if not 0 < win_length <= n_fft:
        raise ArgumentError(message(name, "win_length must be from 1 to n_fft", f"{win_length}, n_fft={n_fft}"))
    if window is None:
        window = wrap(np.ones(win_length, dt.of(dtype).to_real().np))
    if window.aval.shape != (win_length,):
        raise ShapeError(message(name, "the window does not have win_length elements", f"{window.aval}, {win_length}"))
    left = (n_fft - win_length) // 2
    if win_length < n_fft:
        spec = ((left, left + win_length, 1),)
        window = apply(OPS["unslice"], (window,), {"spec": spec, "shape": (n_fft,)})
    return reshape(window, (n_fft, 1))


def stft(
    input: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
) -> Any:
    """Short-time Fourier transform: (..., time) to (..., frequencies, frames).

    Args:
        input: shape (time) or (batch, time), real or complex.
        n_fft: size of each transform.
        hop_length: distance of the frames, by default n_fft // 4.
        win_length: size of the window, by default n_fft; a smaller one stands in the middle.
        window: weights of win_length, by default ones.
        center: pad the signal by n_fft // 2 at both ends, so that frame t is centred at t * hop_length.
        pad_mode: how (see `pad`).
        normalized: divide by the root of n_fft.
        onesided: only the first n_fft // 2 + 1 frequencies; by default for real input and window.
        return_complex: must be True for real input; False gives pairs of real numbers in a last dimension.
    """
    x = operand("stft", input)
    hop, length = hop_length or n_fft // 4, win_length or n_fft
    is_complex = x.aval.dtype in dt.COMPLEX_NP or (window is not None and window.aval.dtype in dt.COMPLEX_NP)
    if return_complex is None:
        if not is_complex:
            raise ArgumentError(message("stft", "return_complex must be given for real input", cure="Pass True"))
        return_complex = True
    if x.aval.dtype not in dt.INEXACT_NP or x.aval.ndim not in (1, 2):
        raise DTypeError(message("stft", "needs a floating or complex signal (time) or (batch, time)", str(x.aval)))
    onesided = not is_complex if onesided is None else onesided
    if onesided and is_complex:
        raise ArgumentError(message("stft", "complex signals have no one-sided transform", str(x.aval)))
    single = x.aval.ndim == 1
    x = reshape(x, (1, *x.aval.shape)) if single else x
    if center:
        x = _padded(x, n_fft // 2, pad_mode)
    if not 0 < n_fft <= x.aval.shape[-1] or hop <= 0:
        raise ArgumentError(message("stft", "the frames do not fit", f"{x.aval}, n_fft={n_fft}, hop_length={hop}"))
    frames = apply(OPS["windows"], (x,), {"kernel": (n_fft,), "stride": (hop,), "dilation": (1,)})
    frames = frames * _window("stft", window, n_fft, length, x.aval.dtype)
    if onesided:
        out = apply(OPS["rfft"], (frames,), {"axis": 1})
    else:
        out = cast(frames, dt.of(frames.aval.dtype).to_complex())
        out = apply(OPS["fft"], (out,), {"axes": (1,), "inverse": False})
    if normalized:
        out = out * n_fft**-0.5
    out = reshape(out, out.aval.shape[1:]) if single else out
    return out if return_complex else view_as_real(out)


def _padded(x: Any, by: int, mode: str) -> Any:
    if x.aval.dtype in dt.COMPLEX_NP:
        pairs = [pad(part, (by, by), mode) for part in (x.real, x.imag)]
        return pairs[0] + pairs[1] * 1j
    return pad(x, (by, by), mode)


def istft(
    input: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Any:
    """The signal of which `stft` gives ``input``, by weighted least squares (Griffin and Lim, 1984).

    The arguments are those of `stft`; ``length`` cuts or pads the signal, ``return_complex`` keeps its
    imaginary part (then the transform must not be one-sided).

    Raises:
        ArgumentError: somewhere all windows are 0.
    """
    x = operand("istft", input)
    if x.aval.dtype not in dt.COMPLEX_NP:
        x = view_as_complex(x)
    if x.aval.ndim not in (2, 3) or not x.aval.size:
        raise ShapeError(message("istft", "needs (frequencies, frames) or (batch, frequencies, frames)", str(x.aval)))
    hop, size = hop_length or n_fft // 4, win_length or n_fft
    bins = x.aval.shape[-2]
    onesided = bins != n_fft if onesided is None else onesided
    if bins != (n_fft // 2 + 1 if onesided else n_fft) or not 0 < hop <= size:
        raise ShapeError(message("istft", "sizes do not fit", f"{x.aval}, n_fft={n_fft}, hop_length={hop}"))
    if onesided and return_complex:
        raise ArgumentError(message("istft", "a one-sided transform gives a real signal", cure="onesided=False"))
    single = x.aval.ndim == 2
    x = reshape(x, (1, *x.aval.shape)) if single else x
    frames = _frames(x, n_fft, return_complex) * ((n_fft**0.5 if normalized else 1.0) / n_fft)
    column = _window("istft", window, n_fft, size, frames.aval.dtype)
    out = _overlap(frames * column, hop, _span(n_fft, center, length), column)
    return reshape(out, out.aval.shape[1:]) if single else out


def _frames(x: Any, n_fft: int, keep_complex: bool) -> Any:
    """The inverse transforms of all frames, times n_fft; a real signal takes half the frequencies."""
    if keep_complex:
        return apply(OPS["fft"], (x,), {"axes": (1,), "inverse": True})
    spec = tuple((0, n_fft // 2 + 1 if i == 1 else n, 1) for i, n in enumerate(x.aval.shape))
    return apply(OPS["irfft"], (apply(OPS["slice"], (x,), {"spec": spec}),), {"axis": 1, "n": n_fft})


def _span(n_fft: int, center: bool, length: int | None) -> tuple[int, int, int | None]:
    """Where the signal starts, how much padding ends it, and the length asked for."""
    start = n_fft // 2 if center else 0
    return start, start, length


def _overlap(frames: Any, hop: int, span: tuple[int, int, int | None], column: Any) -> Any:
    """Add the frames up and divide by the sum of the squared windows."""
    _, n_fft, count = frames.aval.shape
    total = n_fft + hop * (count - 1)
    attrs = {"kernel": (n_fft,), "stride": (hop,), "dilation": (1,), "sizes": (total,)}
    signal = apply(OPS["unwindows"], (frames,), attrs)
    square = apply_elementwise(OPS["mul"], (column, column))
    square = OPS["expand"](reshape(square, (n_fft,)), shape=(1, n_fft, count), axes=(0, 2))
    envelope = apply(OPS["unwindows"], (square,), attrs)
    start, behind, length = span
    stop = total - behind if length is None else min(start + length, total)

    def cut(x: Any) -> Any:
        return apply(OPS["slice"], (x,), {"spec": ((0, x.aval.shape[0], 1), (start, stop, 1))})

    signal, envelope = cut(signal), cut(envelope)
    if envelope._value is not None and not np.all(np.abs(envelope._value) > 1e-11):
        raise ArgumentError(
            message("istft", "somewhere all windows are 0", f"hop_length={hop}", "Use a smaller hop_length")
        )
    out = signal / envelope
    missing = 0 if length is None else length - out.aval.shape[1]
    return pad(out, (0, missing)) if missing > 0 else out


__all__ = ["istft", "stft"]

"""Spectra of waveforms, their power, and the way back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ... import api
from ...errors import ArgumentError, ShapeError, message
from ...nn import Module
from ...nn import functional as F
from ...tensor import Tensor


class _Frames(Module):
    """What transforms of short frames share: the sizes and the window, a buffer."""

    window: Tensor

    def _set(
        self, n_fft: int, win_length: int | None, hop_length: int | None, window_fn: Callable[..., Any], wkwargs: Any
    ) -> None:
        self.n_fft = n_fft
        self.win_length = n_fft if win_length is None else win_length
        self.hop_length = self.win_length // 2 if hop_length is None else hop_length
        if not 0 < self.win_length <= n_fft or self.hop_length < 1:
            seen = f"n_fft={n_fft}, win_length={self.win_length}, hop_length={self.hop_length}"
            raise ArgumentError(message(type(self).__name__, "needs 0 < win_length <= n_fft and a hop", seen))
        self.register_buffer("window", window_fn(self.win_length, **(wkwargs or {})))

    def extra_repr(self) -> str:
        """The sizes."""
        return f"n_fft={self.n_fft}, win_length={self.win_length}, hop_length={self.hop_length}"


def _rows(x: Tensor, kept: int) -> tuple[Tensor, tuple[int, ...]]:
    """All but the last ``kept`` dimensions as one, and what they were."""
    batch = tuple(x.shape[: x.ndim - kept])
    return x.reshape(math.prod(batch), *x.shape[x.ndim - kept :]), batch


def _check_normalized(name: str, normalized: bool | str) -> None:
    if normalized not in (True, False, "window", "frame_length"):
        wanted = "normalized must be True, False, 'window' or 'frame_length'"
        raise ArgumentError(message(name, wanted, repr(normalized)))


class Spectrogram(_Frames):
    """Short-time spectra of a waveform.

    Args:
        n_fft: size of each Fourier transform.
        win_length: size of the window; ``n_fft`` unless given.
        hop_length: distance of the frames; ``win_length // 2`` unless given.
        pad: zeros at both ends before anything else.
        window_fn: makes the window, given its length.
        power: of the magnitude: 1 for magnitudes, 2 for power, None for complex numbers.
        normalized: True or "window" divides by the root of the sum of the squared window, "frame_length" by
            that of ``n_fft``.
        wkwargs: further arguments of ``window_fn``.
        center: whether frame t is centred at sample ``t * hop_length``, the signal being padded.
        pad_mode: how (see `wengert.nn.functional.pad`).
        onesided: only the ``n_fft // 2 + 1`` frequencies that determine the others.

    Shape:
        waveform (..., time), output (..., frequencies, frames).

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> tone = wg.sin(2 * wg.pi * 440 / 8000 * wg.arange(8000))
    >>> spectrum = audio.Spectrogram(n_fft=800)(tone)
    >>> spectrum.shape, spectrum[:, 10].argmax().item() * 8000 / 800
    (wengert.Size([401, 21]), 440.0)
    """

    def __init__(
        self,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        pad: int = 0,
        window_fn: Callable[..., Any] = api.hann_window,
        power: float | None = 2.0,
        normalized: bool | str = False,
        wkwargs: Mapping[str, Any] | None = None,
        center: bool = True,
        pad_mode: str = "reflect",
        onesided: bool = True,
    ) -> None:
        super().__init__()
        self._set(n_fft, win_length, hop_length, window_fn, wkwargs)
        _check_normalized("Spectrogram", normalized)
        self.pad, self.power, self.normalized = pad, power, normalized
        self.center, self.pad_mode, self.onesided = center, pad_mode, onesided

    def forward(self, waveform: Tensor) -> Tensor:
        """The spectra."""
        if waveform.ndim < 1:
            raise ShapeError(message("Spectrogram", "needs a waveform (..., time)", str(tuple(waveform.shape))))
        if self.pad > 0:
            waveform = F.pad(waveform, (self.pad, self.pad))
        x, batch = _rows(waveform, 1)
        window = self.window.to(x.dtype)
        spectrum = api.stft(
            x, self.n_fft, self.hop_length, self.win_length, window, self.center, self.pad_mode,
            self.normalized == "frame_length", self.onesided, return_complex=True,
        )  # fmt: skip
        if self.normalized in (True, "window"):
            spectrum = spectrum / window.square().sum().sqrt()
        if self.power == 2:
            spectrum = spectrum.real.square() + spectrum.imag.square()  # has a derivative at 0
        elif self.power is not None:
            spectrum = spectrum.abs() if self.power == 1 else spectrum.abs() ** self.power
        return spectrum.reshape(*batch, *spectrum.shape[1:])


class InverseSpectrogram(_Frames):
    """The waveform of complex spectra, by weighted least squares; arguments as for `Spectrogram`.

    Shape:
        spectrum (..., frequencies, frames), complex; output (..., time), or ``length`` samples.

    Source: D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", 1984.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> waveform = wg.randn(2, 1000)
    >>> spectrum = audio.Spectrogram(power=None)(waveform)
    >>> wg.allclose(audio.InverseSpectrogram()(spectrum, 1000), waveform, atol=1e-5)
    True
    """

    def __init__(
        self,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        pad: int = 0,
        window_fn: Callable[..., Any] = api.hann_window,
        normalized: bool | str = False,
        wkwargs: Mapping[str, Any] | None = None,
        center: bool = True,
        pad_mode: str = "reflect",
        onesided: bool = True,
    ) -> None:
        super().__init__()
        self._set(n_fft, win_length, hop_length, window_fn, wkwargs)
        _check_normalized("InverseSpectrogram", normalized)
        self.pad, self.normalized, self.center = pad, normalized, center
        self.pad_mode, self.onesided = pad_mode, onesided

    def forward(self, spectrogram: Tensor, length: int | None = None) -> Tensor:
        """The waveform."""
        if not api.is_complex(spectrogram) or spectrogram.ndim < 2:
            seen = f"{spectrogram.dtype} {tuple(spectrogram.shape)}"
            raise ShapeError(message("InverseSpectrogram", "needs complex (..., frequencies, frames)", seen))
        x, batch = _rows(spectrogram, 2)
        window = self.window.to(x.real.dtype)
        if self.normalized in (True, "window"):
            x = x * window.square().sum().sqrt()
        whole = None if length is None else length + 2 * self.pad
        out = api.istft(
            x, self.n_fft, self.hop_length, self.win_length, window, self.center,
            self.normalized == "frame_length", self.onesided, whole,
        )  # fmt: skip
        if self.pad > 0:
            out = out[:, self.pad : -self.pad]
        return out.reshape(*batch, out.shape[-1])


class GriffinLim(_Frames):
    """A waveform whose spectra have the given magnitudes: the phases are found step by step.

    Args:
        n_fft, win_length, hop_length, window_fn, power, wkwargs: those of the `Spectrogram`.
        n_iter: steps.
        momentum: how far each step goes on in the direction of the last, from 0 to less than 1.
        length: of the result.
        rand_init: start with random phases; else with phases of 0.

    Shape:
        spectrum (..., frequencies, frames), output (..., time).

    Source: N. Perraudin, P. Balazs, P. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> spectrum = audio.Spectrogram()(wg.sin(wg.arange(2000.0)))
    >>> again = audio.Spectrogram()(audio.GriffinLim(length=2000)(spectrum))
    >>> bool((again - spectrum).norm() < 0.5 * spectrum.norm())
    True
    """

    def __init__(
        self,
        n_fft: int = 400,
        n_iter: int = 32,
        win_length: int | None = None,
        hop_length: int | None = None,
        window_fn: Callable[..., Any] = api.hann_window,
        power: float = 2.0,
        wkwargs: Mapping[str, Any] | None = None,
        momentum: float = 0.99,
        length: int | None = None,
        rand_init: bool = True,
    ) -> None:
        super().__init__()
        self._set(n_fft, win_length, hop_length, window_fn, wkwargs)
        if not 0 <= momentum < 1:
            raise ArgumentError(message("GriffinLim", "momentum must be from 0 to less than 1", str(momentum)))
        self.n_iter, self.power, self.momentum = n_iter, power, momentum
        self.length, self.rand_init = length, rand_init

    def forward(self, specgram: Tensor) -> Tensor:
        """The waveform."""
        rows, batch = _rows(specgram, 2)
        magnitude: Any = rows.pow(1 / self.power)
        phases = 2 * math.pi * api.rand_like(magnitude) if self.rand_init else api.zeros_like(magnitude)
        angles, before = api.polar(api.ones_like(magnitude), phases), None
        settings = (self.n_fft, self.hop_length, self.win_length, self.window.to(magnitude.dtype))
        pull = self.momentum / (1 + self.momentum)
        for _ in range(self.n_iter):
            wave = api.istft(magnitude * angles, *settings, length=self.length)
            rebuilt = api.stft(wave, *settings, return_complex=True)
            angles = rebuilt if before is None else rebuilt - pull * before
            angles, before = angles / (angles.abs() + 1e-16), rebuilt
        wave = api.istft(magnitude * angles, *settings, length=self.length)
        return wave.reshape(*batch, wave.shape[-1])

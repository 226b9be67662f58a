"""Spectra of waveforms: power, mel bands, cepstra, decibels, and the way back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

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


# --- mel bands -----------------------------------------------------------------------------------------

# Slaney's scale is linear up to 1000 Hz, 15 mels, then 27 mels go to 6.4 times the frequency.
_LINEAR, _BREAK, _STEP = 200 / 3, 1000.0, math.log(6.4) / 27


def _to_mel(hertz: Any, scale: str) -> Any:
    hertz = np.asarray(hertz, np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    above = _BREAK / _LINEAR + np.log(np.maximum(hertz, _BREAK) / _BREAK) / _STEP
    return np.where(hertz < _BREAK, hertz / _LINEAR, above)


def _to_hertz(mel: Any, scale: str) -> Any:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    start = _BREAK / _LINEAR
    return np.where(mel < start, mel * _LINEAR, _BREAK * np.exp(_STEP * np.maximum(mel - start, 0)))


def melscale_fbanks(
    n_freqs: int,
    f_min: float,
    f_max: float,
    n_mels: int,
    sample_rate: int,
    norm: str | None = None,
    mel_scale: str = "htk",
) -> Tensor:
    """Triangular filters that gather frequencies in mel bands.

    Args:
        n_freqs: frequencies of a spectrum, from 0 to half the sampling rate.
        f_min, f_max: where the first band begins and the last ends, in Hz.
        n_mels: how many bands.
        sample_rate: in Hz.
        norm: "slaney" divides each filter by its width, so that all have the same area.
        mel_scale: "htk" (logarithmic) or "slaney" (linear up to 1000 Hz).

    Returns:
        A tensor (n_freqs, n_mels). Warns where a filter is so narrow that it holds no frequency.

    >>> from wengert.data import audio
    >>> audio.melscale_fbanks(6, 0.0, 4000.0, 2, 8000)
    tensor([[0.0000, 0.0000],
            [0.8467, 0.1533],
            [0.1634, 0.8366],
            [0.0000, 0.7244],
            [0.0000, 0.3622],
            [0.0000, 0.0000]])
    """
    if norm not in (None, "slaney") or mel_scale not in ("htk", "slaney"):
        seen = f"norm={norm!r}, mel_scale={mel_scale!r}"
        wanted = "norm must be None or 'slaney', mel_scale 'htk' or 'slaney'"
        raise ArgumentError(message("melscale_fbanks", wanted, seen))
    if not 0 <= f_min < f_max or n_mels < 1 or n_freqs < 1:
        seen = f"f_min={f_min}, f_max={f_max}, n_mels={n_mels}, n_freqs={n_freqs}"
        raise ArgumentError(message("melscale_fbanks", "needs 0 <= f_min < f_max and positive sizes", seen))
    low, high = _to_mel([f_min, f_max], mel_scale)
    edges = _to_hertz(np.linspace(low, high, n_mels + 2), mel_scale)
    widths, frequencies = np.diff(edges), np.linspace(0, sample_rate / 2, n_freqs)[:, None]
    rising, falling = (frequencies - edges[:-2]) / widths[:-1], (edges[2:] - frequencies) / widths[1:]
    bank = np.maximum(np.minimum(rising, falling), 0) + 0.0  # no -0
    if norm == "slaney":
        bank = bank * (2 / (edges[2:] - edges[:-2]))
    if (bank.max(0) == 0).any():
        seen = f"n_mels={n_mels}, n_freqs={n_freqs}"
        warnings.warn(
            message("melscale_fbanks", "a filter holds no frequency", seen, "Use fewer bands or a larger n_fft"),
            stacklevel=2,
        )
    return api.tensor(bank, dtype=api.get_default_dtype())


class MelScale(Module):
    """Gather the frequencies of spectra in mel bands; arguments as for `melscale_fbanks`.

    Shape:
        spectrum (..., n_stft, frames), output (..., n_mels, frames). ``n_stft`` is ``n_fft // 2 + 1``.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> audio.MelScale(n_mels=40)(wg.ones(2, 201, 7)).shape
    wengert.Size([2, 40, 7])
    """

    fb: Tensor

    def __init__(
        self,
        n_mels: int = 128,
        sample_rate: int = 16000,
        f_min: float = 0.0,
        f_max: float | None = None,
        n_stft: int = 201,
        norm: str | None = None,
        mel_scale: str = "htk",
    ) -> None:
        super().__init__()
        top = float(sample_rate // 2) if f_max is None else f_max
        self.n_mels, self.sample_rate, self.f_min, self.f_max = n_mels, sample_rate, f_min, top
        self.register_buffer("fb", melscale_fbanks(n_stft, f_min, top, n_mels, sample_rate, norm, mel_scale))

    def forward(self, specgram: Tensor) -> Tensor:
        """The bands."""
        if specgram.ndim < 2 or specgram.shape[-2] != self.fb.shape[0]:
            wanted = f"needs spectra (..., {self.fb.shape[0]}, frames)"
            raise ShapeError(message("MelScale", wanted, str(tuple(specgram.shape)), "n_stft must be n_fft // 2 + 1"))
        return self.fb.to(specgram.dtype).T @ specgram

    def extra_repr(self) -> str:
        """The bands."""
        return f"n_mels={self.n_mels}, sample_rate={self.sample_rate}, f_min={self.f_min}, f_max={self.f_max}"


class MelSpectrogram(Module):
    """`Spectrogram`, then `MelScale`; their arguments.

    Shape:
        waveform (..., time), output (..., n_mels, frames).

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> audio.MelSpectrogram(16000, n_fft=1024, hop_length=512)(wg.randn(3, 16000)).shape
    wengert.Size([3, 128, 32])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        pad: int = 0,
        n_mels: int = 128,
        window_fn: Callable[..., Any] = api.hann_window,
        power: float = 2.0,
        normalized: bool | str = False,
        wkwargs: Mapping[str, Any] | None = None,
        center: bool = True,
        pad_mode: str = "reflect",
        norm: str | None = None,
        mel_scale: str = "htk",
    ) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.spectrogram = Spectrogram(
            n_fft, win_length, hop_length, pad, window_fn, power, normalized, wkwargs, center, pad_mode
        )
        self.mel_scale = MelScale(n_mels, sample_rate, f_min, f_max, n_fft // 2 + 1, norm, mel_scale)

    def forward(self, waveform: Tensor) -> Tensor:
        """The mel spectra."""
        return self.mel_scale(self.spectrogram(waveform))


# --- decibels and cepstra ------------------------------------------------------------------------------


def amplitude_to_DB(
    x: Tensor, multiplier: float, amin: float, db_multiplier: float, top_db: float | None = None
) -> Tensor:
    """``multiplier * (log10(max(x, amin)) - db_multiplier)``, not more than ``top_db`` below the loudest place.

    Args:
        x: (frequencies, frames), (channels, frequencies, frames) or (..., channels, frequencies, frames).
        multiplier: 10 for power, 20 for amplitude.
        amin: smaller values count as this.
        db_multiplier: log10 of the reference.
        top_db: bound of the range; the loudest place is looked for in each sample of a batch.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> audio.amplitude_to_DB(wg.tensor([[1.0, 0.1, 0.0]]), 10.0, 1e-10, 0.0, top_db=80.0)
    tensor([[  0., -10., -80.]])
    """
    out = multiplier * x.clamp(min=amin).log10() - multiplier * db_multiplier
    if top_db is None:
        return out
    if x.ndim < 2:
        raise ShapeError(message("amplitude_to_DB", "needs spectra (..., frequencies, frames)", str(tuple(x.shape))))
    loudest = out.amax(tuple(range(-min(x.ndim, 3), 0)), keepdim=True)
    return api.maximum(out, loudest - top_db)


class AmplitudeToDB(Module):
    """Decibels of spectra: `amplitude_to_DB` with a reference of 1.

    Args:
        stype: what the input is, "power" or "magnitude".
        top_db: how far below the loudest place the result may be; None for any distance.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> audio.AmplitudeToDB("magnitude")(wg.tensor([[1.0, 0.1]]))
    tensor([[  0., -20.]])
    """

    def __init__(self, stype: str = "power", top_db: float | None = None) -> None:
        super().__init__()
        if stype not in ("power", "magnitude") or (top_db is not None and top_db < 0):
            seen = f"stype={stype!r}, top_db={top_db}"
            raise ArgumentError(message("AmplitudeToDB", "needs 'power' or 'magnitude' and top_db >= 0", seen))
        self.stype, self.top_db = stype, top_db

    def forward(self, x: Tensor) -> Tensor:
        """The decibels."""
        return amplitude_to_DB(x, 10.0 if self.stype == "power" else 20.0, 1e-10, 0.0, self.top_db)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.stype!r}, top_db={self.top_db}"


def create_dct(n_mfcc: int, n_mels: int, norm: str | None) -> Tensor:
    """The first ``n_mfcc`` columns of a discrete cosine transform of type 2, (n_mels, n_mfcc).

    Args:
        n_mfcc: how many.
        n_mels: size of the transform.
        norm: "ortho" makes the columns orthonormal; None gives SciPy's unscaled transform.

    >>> from wengert.data import audio
    >>> audio.create_dct(2, 2, "ortho")
    tensor([[ 0.7071,  0.7071],
            [ 0.7071, -0.7071]])
    """
    if norm not in (None, "ortho"):
        raise ArgumentError(message("create_dct", "norm must be None or 'ortho'", repr(norm)))
    matrix = 2 * np.cos(math.pi / n_mels * (np.arange(n_mels)[:, None] + 0.5) * np.arange(n_mfcc))
    if norm == "ortho":
        matrix *= math.sqrt(0.5 / n_mels)
        matrix[:, :1] *= math.sqrt(0.5)
    return api.tensor(matrix, dtype=api.get_default_dtype())


class MFCC(Module):
    """Mel-frequency cepstral coefficients: the cosine transform of a mel spectrum in decibels.

    Args:
        sample_rate: in Hz.
        n_mfcc: how many coefficients.
        dct_type: 2 is the only one.
        norm: of the transform, "ortho" or None.
        log_mels: take ``log(x + 1e-6)`` instead of decibels, which reach at most 80 dB down from the loudest.
        melkwargs: arguments of the `MelSpectrogram`.

    Shape:
        waveform (..., time), output (..., n_mfcc, frames).

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> audio.MFCC(16000, 13, melkwargs={"n_mels": 40})(wg.randn(2, 8000)).shape
    wengert.Size([2, 13, 41])
    """

    dct_mat: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mfcc: int = 40,
        dct_type: int = 2,
        norm: str | None = "ortho",
        log_mels: bool = False,
        melkwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if dct_type != 2:
            raise ArgumentError(message("MFCC", "dct_type must be 2", str(dct_type)))
        self.n_mfcc, self.log_mels = n_mfcc, log_mels
        self.amplitude_to_DB = AmplitudeToDB("power", 80.0)
        self.MelSpectrogram = MelSpectrogram(sample_rate, **(melkwargs or {}))
        if not 0 < n_mfcc <= self.MelSpectrogram.n_mels:
            seen = f"n_mfcc={n_mfcc}, n_mels={self.MelSpectrogram.n_mels}"
            raise ArgumentError(message("MFCC", "there are no more coefficients than mel bands", seen))
        self.register_buffer("dct_mat", create_dct(n_mfcc, self.MelSpectrogram.n_mels, norm))

    def forward(self, waveform: Tensor) -> Tensor:
        """The coefficients."""
        bands = self.MelSpectrogram(waveform)
        bands = (bands + 1e-6).log() if self.log_mels else self.amplitude_to_DB(bands)
        return self.dct_mat.to(bands.dtype).T @ bands

    def extra_repr(self) -> str:
        """The arguments."""
        return f"n_mfcc={self.n_mfcc}, log_mels={self.log_mels}"

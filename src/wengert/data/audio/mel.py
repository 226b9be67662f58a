"""The mel scale: filter banks, spectra in mels, decibels, cepstra."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import api
from ...errors import ArgumentError, ShapeError, message
from ...nn import Module
from ...tensor import Tensor
from .spectra import Spectrogram

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

"""Resampling by a windowed sinc, one set of weights for each phase of the output (polyphase)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import api
from ...errors import ArgumentError, DTypeError, message
from ...nn import Module
from ...nn import functional as F
from ...tensor import Tensor

_LARGEST = 1 << 25  # weights; more than any pair of usual rates needs
METHODS = ("sinc_interp_hann", "sinc_interp_kaiser")


def _rate(name: str, value: Any) -> int:
    if isinstance(value, bool) or int(value) != value or value <= 0:
        raise ArgumentError(message(name, "rates must be positive integers", repr(value)))
    return int(value)


def sinc_weights(old: int, new: int, width: int, rolloff: float, method: str, beta: float | None) -> tuple[Any, int]:
    """The weights of each phase and how many samples they reach back: output ``j`` is ``Σ w[j, k] x[k - reach]``.

    After ``new`` outputs and ``old`` inputs everything repeats. The weights are a sinc that lets pass what is
    below ``rolloff`` times the smaller Nyquist frequency, under a window that ends at its ``width``-th zero.

    Returns:
        float64 (new, 2 * reach + old), and reach.
    """
    base = min(old, new) * rolloff
    reach = math.ceil(width * old / base)
    if new * (2 * reach + old) > _LARGEST:
        seen = f"{old} and {new} after division by their greatest common divisor"
        raise ArgumentError(message("resample", "the rates have too few divisors in common", seen, "Round the rates"))
    t = np.arange(-reach, reach + old) / old - np.arange(new)[:, None] / new
    t = np.clip(t * base, -width, width)
    if method == "sinc_interp_hann":
        window = np.cos(t * math.pi / width / 2) ** 2
    else:
        steepness = 14.769656459379492 if beta is None else beta
        window = np.i0(steepness * np.sqrt(1 - (t / width) ** 2)) / np.i0(steepness)
    return np.sinc(t) * window * (base / old), reach


class Resample(Module):
    """Change the sampling rate of waveforms.

    Args:
        orig_freq: the rate they have.
        new_freq: the rate they get; only the ratio of the two counts.
        resampling_method: the window of the sinc, "sinc_interp_hann" or "sinc_interp_kaiser".
        lowpass_filter_width: zeros of the sinc on each side; more is sharper and slower.
        rolloff: where the filter starts to cut, as a share of the smaller Nyquist frequency.
        beta: shape of the Kaiser window, 14.77 unless given.
        dtype: of the weights; by default each waveform's.

    Shape:
        waveform (..., time), output (..., ceil(time * new_freq / orig_freq)). Outside there is silence.

    Source: J. O. Smith, "Digital audio resampling", CCRMA 2020; as in torchaudio.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> audio.Resample(44100, 16000)(wg.randn(2, 44100)).shape
    wengert.Size([2, 16000])
    """

    def __init__(
        self,
        orig_freq: int = 16000,
        new_freq: int = 16000,
        resampling_method: str = "sinc_interp_hann",
        lowpass_filter_width: int = 6,
        rolloff: float = 0.99,
        beta: float | None = None,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.orig_freq, self.new_freq = _rate("Resample", orig_freq), _rate("Resample", new_freq)
        if resampling_method not in METHODS:
            wanted = f"resampling_method must be one of {', '.join(METHODS)}"
            raise ArgumentError(message("Resample", wanted, repr(resampling_method)))
        if lowpass_filter_width <= 0 or not 0 < rolloff <= 1:
            seen = f"lowpass_filter_width={lowpass_filter_width}, rolloff={rolloff}"
            raise ArgumentError(message("Resample", "needs a positive width and rolloff from 0 to 1", seen))
        common = math.gcd(self.orig_freq, self.new_freq)
        self._old, self._new = self.orig_freq // common, self.new_freq // common
        if self._old != self._new:
            settings = (lowpass_filter_width, rolloff, resampling_method, beta)
            weights, self._reach = sinc_weights(self._old, self._new, *settings)
            kernel = api.as_tensor(weights, dtype=dtype or api.float64)
            self.register_buffer("kernel", kernel, persistent=False)
        self._own_dtype = dtype is not None

    def forward(self, waveform: Tensor) -> Tensor:
        """The waveform at the new rate."""
        if not isinstance(waveform, Tensor) or not waveform.ndim or not api.is_floating_point(waveform):
            seen = f"{type(waveform).__name__} {getattr(waveform, 'dtype', '')} {tuple(np.shape(waveform))}"
            raise DTypeError(message("Resample", "needs a floating tensor (..., time)", seen))
        if self._old == self._new:
            return waveform
        kernel: Any = self.kernel if self._own_dtype else self.kernel.to(waveform.dtype)
        *batch, length = waveform.shape
        wanted = -(-length * self._new // self._old)
        padded = F.pad(waveform.reshape(math.prod(batch), length), (self._reach, self._reach + self._old))
        frames = padded.unfold(-1, kernel.shape[1], self._old)
        out = (frames @ kernel.T).flatten(1)[:, :wanted]
        return out.reshape(*batch, wanted)

    def extra_repr(self) -> str:
        """The rates."""
        return f"{self.orig_freq}, {self.new_freq}"


def resample(
    waveform: Tensor,
    orig_freq: int,
    new_freq: int,
    lowpass_filter_width: int = 6,
    rolloff: float = 0.99,
    resampling_method: str = "sinc_interp_hann",
    beta: float | None = None,
) -> Tensor:
    """`Resample` as a function; the module keeps the weights, so it is quicker for many waveforms.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> audio.resample(wg.sin(wg.arange(100.0) / 10), 1, 2)[100:103]  # sin(5), sin(5.05), sin(5.1)
    tensor([-0.9589, -0.9442, -0.9258])
    """
    make = Resample(orig_freq, new_freq, resampling_method, lowpass_filter_width, rolloff, beta)
    return make(waveform)

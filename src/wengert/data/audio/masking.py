"""SpecAugment: masks over frequencies and frames of spectra."""

from __future__ import annotations

from typing import Any

from ... import api
from ...errors import ArgumentError, ShapeError, message
from ...nn import Module
from ...tensor import Tensor


def mask_along_axis(
    specgram: Tensor, mask_param: int, mask_value: Any, axis: int, p: float = 1.0, iid_masks: bool = False
) -> Tensor:
    """Mask a random run of frequencies or frames.

    Its length is drawn from 0 to ``mask_param`` (not included), then its place.

    Args:
        specgram: (..., frequencies, frames).
        mask_param: bound of the length.
        mask_value: what stands there afterwards.
        axis: -2 for frequencies, -1 for frames.
        p: the largest share of the axis that may be masked.
        iid_masks: another run for each spectrum of the batch.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> out = audio.mask_along_axis(wg.ones(2, 50, 100), 30, 0.0, -1)
    >>> bool((out.sum((0, 1)) % 100 == 0).all()), 70 <= out.sum() / 100 <= 100
    (True, tensor(True))
    """
    dim = specgram.ndim
    if dim < 2 or axis not in (-2, -1, dim - 2, dim - 1):
        seen = f"shape {tuple(specgram.shape)}, axis={axis}"
        raise ShapeError(message("mask_along_axis", "axis must be one of the last two of a spectrum", seen))
    if not 0 <= p <= 1 or mask_param < 0:
        seen = f"mask_param={mask_param}, p={p}"
        raise ArgumentError(message("mask_along_axis", "needs mask_param >= 0 and p from 0 to 1", seen))
    axis = axis - dim if axis >= 0 else axis
    size = specgram.shape[axis]
    longest = min(mask_param, int(size * p))
    if longest < 1:
        return specgram
    batch = tuple(specgram.shape[:-2]) if iid_masks else ()
    length = api.rand(*batch, 1, 1) * longest
    start = (api.rand(*batch, 1, 1) * (size - length)).long()
    place = api.arange(size).unsqueeze(-1) if axis == -2 else api.arange(size)
    inside = (place >= start) & (place < start + length.long())
    return api.where(inside, mask_value, specgram)


class _Masking(Module):
    axis = -1

    def __init__(self, mask_param: int, iid_masks: bool = False, p: float = 1.0) -> None:
        super().__init__()
        self.mask_param, self.iid_masks, self.p = mask_param, iid_masks, p
        mask_along_axis(api.zeros(1, 1), mask_param, 0.0, self.axis, p)  # refuses wrong arguments here already

    def forward(self, specgram: Tensor, mask_value: Any = 0.0) -> Tensor:
        """The spectrum (..., frequencies, frames) with a run masked."""
        return mask_along_axis(specgram, self.mask_param, mask_value, self.axis, self.p, self.iid_masks)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.mask_param}, iid_masks={self.iid_masks}, p={self.p}"


class FrequencyMasking(_Masking):
    """Mask a random run of fewer than ``freq_mask_param`` frequencies, in evaluation mode too.

    Args:
        freq_mask_param: bound of the run.
        iid_masks: another run for each spectrum of the batch.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> out = audio.FrequencyMasking(5)(wg.ones(8, 20))
    >>> bool(((out == 0).any(1).sum() < 5) & (out.amin(1) == out.amax(1)).all())
    True
    """

    axis = -2

    def __init__(self, freq_mask_param: int, iid_masks: bool = False) -> None:
        super().__init__(freq_mask_param, iid_masks)


class TimeMasking(_Masking):
    """Mask a random run of fewer than ``time_mask_param`` frames, in evaluation mode too.

    Args:
        time_mask_param: bound of the run.
        iid_masks: another run for each spectrum of the batch.
        p: the largest share of the frames that may be masked.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> out = audio.TimeMasking(50, p=0.1)(wg.ones(8, 100))
    >>> (out[0] == 0).sum() < 10
    tensor(True)
    """

    def __init__(self, time_mask_param: int, iid_masks: bool = False, p: float = 1.0) -> None:
        super().__init__(time_mask_param, iid_masks, p)


class SpecAugment(Module):
    """Mask several runs of frames and of frequencies, in evaluation mode too.

    Args:
        n_time_masks: how many runs of frames.
        time_mask_param: bound of their length.
        n_freq_masks: how many runs of frequencies.
        freq_mask_param: bound of their length.
        iid_masks: other runs for each spectrum of the batch.
        p: the largest share of an axis that one run may mask.
        zero_masking: put 0 there; else the mean of the whole input.

    Source: D. Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition",
    Interspeech 2019; without its time warping.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> out = audio.SpecAugment(2, 20, 2, 10, zero_masking=True)(wg.ones(4, 80, 100))
    >>> out.shape, sorted(set(out.flatten().tolist()))
    (wengert.Size([4, 80, 100]), [0.0, 1.0])
    """

    def __init__(
        self,
        n_time_masks: int,
        time_mask_param: int,
        n_freq_masks: int,
        freq_mask_param: int,
        iid_masks: bool = True,
        p: float = 1.0,
        zero_masking: bool = False,
    ) -> None:
        super().__init__()
        self.n_time_masks, self.time_mask_param = n_time_masks, time_mask_param
        self.n_freq_masks, self.freq_mask_param = n_freq_masks, freq_mask_param
        self.iid_masks, self.p, self.zero_masking = iid_masks, p, zero_masking
        for bound in (time_mask_param, freq_mask_param):
            mask_along_axis(api.zeros(1, 1), bound, 0.0, -1, p)  # refuses wrong arguments here already

    def forward(self, specgram: Tensor) -> Tensor:
        """The spectrum (..., frequencies, frames), masked."""
        value = 0.0 if self.zero_masking else specgram.mean()
        runs = [(-1, self.time_mask_param)] * self.n_time_masks + [(-2, self.freq_mask_param)] * self.n_freq_masks
        for axis, bound in runs:
            specgram = mask_along_axis(specgram, bound, value, axis, self.p, self.iid_masks)
        return specgram

    def extra_repr(self) -> str:
        """The arguments."""
        names = ("n_time_masks", "time_mask_param", "n_freq_masks", "freq_mask_param", "iid_masks", "p", "zero_masking")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

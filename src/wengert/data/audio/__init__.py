"""Sounds: files and folders of them (with soundfile), resampling, spectra, and masking.

Waveforms are tensors (..., time) from -1 to 1, spectra (..., frequencies, frames). The transforms are modules
under the names, arguments and ``state_dict`` keys of ``torchaudio.transforms``. They are made of operations, so
gradients flow through them to the waveform.

>>> import wengert as wg
>>> from wengert.data import audio
>>> waveform = wg.randn(1, 16000, requires_grad=True)
>>> features = wg.nn.Sequential(audio.MelSpectrogram(16000, n_mels=64), audio.AmplitudeToDB(top_db=80))
>>> features(waveform).shape
wengert.Size([1, 64, 81])
"""

from .files import AudioFolder, AudioInfo, FixLength, audio_info, read_audio, write_audio
from .masking import FrequencyMasking, SpecAugment, TimeMasking, mask_along_axis
from .mel import MFCC, AmplitudeToDB, MelScale, MelSpectrogram, amplitude_to_DB, create_dct, melscale_fbanks
from .resampling import Resample, resample
from .spectra import GriffinLim, InverseSpectrogram, Spectrogram

__all__ = [
    "AmplitudeToDB",
    "AudioFolder",
    "AudioInfo",
    "FixLength",
    "FrequencyMasking",
    "GriffinLim",
    "InverseSpectrogram",
    "MFCC",
    "MelScale",
    "MelSpectrogram",
    "Resample",
    "SpecAugment",
    "Spectrogram",
    "TimeMasking",
    "amplitude_to_DB",
    "audio_info",
    "create_dct",
    "mask_along_axis",
    "melscale_fbanks",
    "read_audio",
    "resample",
    "write_audio",
]

"""Sounds in files, read and written by libsndfile: WAV, FLAC, Ogg, MP3 and others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ... import api
from ...errors import ArgumentError, ShapeError, message, need
from ...nn import Module
from ...nn import functional as F
from ...tensor import Tensor
from ..folders import DatasetFolder
from .resampling import resample

EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64")


class AudioInfo(NamedTuple):
    """What a file of sound says of itself; lengths in samples of each channel."""

    sample_rate: int
    num_frames: int
    num_channels: int
    format: str
    subtype: str

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.sample_rate


def _opened(name: str, path: str | os.PathLike[str]) -> Any:
    library = need("soundfile", "audio", name)
    if not Path(path).is_file():
        raise FileNotFoundError(message(name, "no such file", str(path)))
    try:
        return library.SoundFile(os.fspath(path))
    except library.SoundFileError as error:
        raise ArgumentError(message(name, "cannot read the sound", f"{path}: {error}")) from error


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Rate, length, channels and format of a file, without reading the sound.

    Raises:
        ArgumentError: the file is no sound that libsndfile can read.

    >>> import tempfile, wengert as wg
    >>> from wengert.data import audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     audio.write_audio(wg.zeros(2, 8000), f"{folder}/silence.wav", 8000)
    ...     audio.audio_info(f"{folder}/silence.wav")
    AudioInfo(sample_rate=8000, num_frames=8000, num_channels=2, format='WAV', subtype='PCM_16')
    """
    with _opened("audio_info", path) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels, file.format, file.subtype)


def read_audio(
    path: str | os.PathLike[str],
    frame_offset: int = 0,
    num_frames: int = -1,
    *,
    sample_rate: int | None = None,
    mono: bool = False,
) -> tuple[Tensor, int]:
    """Read a sound; float32 (channels, time) from -1 to 1, and its sampling rate in Hz.

    Args:
        path: a file of any format that libsndfile reads: WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF ...
        frame_offset: samples of each channel to skip.
        num_frames: samples of each channel to read, fewer at the end of the file; -1 for all.
        sample_rate: resample to this rate; by default the file's own. The other arguments count the file's samples.
        mono: average the channels.

    Raises:
        ArgumentError: the file is no sound that libsndfile can read, or the offset lies behind its end.

    >>> import tempfile, wengert as wg
    >>> from wengert.data import audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     audio.write_audio(wg.zeros(2, 8000), f"{folder}/silence.flac", 8000)
    ...     waveform, rate = audio.read_audio(f"{folder}/silence.flac", num_frames=4000, sample_rate=16000)
    >>> waveform.shape, rate
    (wengert.Size([2, 8000]), 16000)
    """
    with _opened("read_audio", path) as file:
        if not 0 <= frame_offset <= file.frames or num_frames < -1:
            seen = f"frame_offset={frame_offset}, num_frames={num_frames}, {file.frames} frames in the file"
            raise ArgumentError(message("read_audio", "needs 0 <= frame_offset <= length and num_frames >= -1", seen))
        rate = file.samplerate
        try:
            file.seek(frame_offset)
            samples = file.read(num_frames, dtype="float32", always_2d=True)
        except need("soundfile", "audio", "read_audio").SoundFileError as error:
            raise ArgumentError(message("read_audio", "cannot read the sound", f"{path}: {error}")) from error
    if mono:
        samples = samples.mean(1, keepdims=True)
    waveform = api.as_tensor(np.ascontiguousarray(samples.T))
    if sample_rate is not None and sample_rate != rate:
        waveform, rate = resample(waveform, rate, sample_rate), sample_rate
    return waveform, rate


def write_audio(waveform: Any, path: str | os.PathLike[str], sample_rate: int, *, subtype: str | None = None) -> None:
    """Write a sound; the name's ending says the format.

    Args:
        waveform: floats (channels, time) or (time) from -1 to 1, what is beyond is cut off in formats of integers; or
            int16 or int32 as they are.
        path: the file.
        sample_rate: in Hz.
        subtype: how numbers are stored, such as "PCM_16", "PCM_24" or "FLOAT"; by default what is usual for
            the format (16 bits in WAV and FLAC).

    Raises:
        ArgumentError: libsndfile cannot write such a file.

    >>> import tempfile, wengert as wg
    >>> from wengert.data import audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     audio.write_audio(wg.tensor([0.5, 2.0]), f"{folder}/two.wav", 8000, subtype="PCM_24")
    ...     audio.read_audio(f"{folder}/two.wav")[0]
    tensor([[0.5000, 1.0000]])
    """
    library = need("soundfile", "audio", "write_audio")
    samples = np.asarray(waveform.detach().numpy() if isinstance(waveform, Tensor) else waveform)
    if samples.dtype.kind == "f" and samples.dtype not in (np.float32, np.float64):
        samples = samples.astype(np.float32)
    if samples.ndim not in (1, 2) or samples.dtype not in (np.float32, np.float64, np.int16, np.int32):
        seen = f"{samples.dtype} {samples.shape}"
        raise ShapeError(message("write_audio", "needs floats or int16 or int32 (channels, time) or (time)", seen))
    try:
        library.write(os.fspath(path), samples.T, int(sample_rate), subtype=subtype)
    except (library.SoundFileError, ValueError, TypeError) as error:
        cure = "Is it (channels, time)?" if samples.ndim == 2 and len(samples) > samples.shape[1] else ""
        raise ArgumentError(message("write_audio", "cannot write the sound", f"{path}: {error}", cure)) from error


class FixLength(Module):
    """Cut waveforms, or put silence behind them, so that all have one length.

    Args:
        length: samples.
        random: cut at a random place, and put the silence on both sides at random; else cut the end.

    >>> import wengert as wg
    >>> from wengert.data import audio
    >>> audio.FixLength(3)(wg.arange(5.0)), audio.FixLength(3)(wg.ones(1, 2))
    (tensor([0., 1., 2.]), tensor([[1., 1., 0.]]))
    """

    def __init__(self, length: int, random: bool = False) -> None:
        super().__init__()
        if length < 1:
            raise ArgumentError(message("FixLength", "length must be positive", str(length)))
        self.length, self.random = length, random

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time) to (..., length)."""
        missing = self.length - waveform.shape[-1]
        if missing == 0:
            return waveform
        start = int(api.randint(0, abs(missing) + 1, ()).item()) if self.random else 0
        if missing < 0:
            return waveform[..., start : start + self.length]
        return F.pad(waveform, (start, missing - start))

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.length}, random={self.random}"


class _ReadAudio:
    """Reads a file at one rate; a class, so that it can be pickled."""

    def __init__(self, sample_rate: int, mono: bool) -> None:
        self.sample_rate, self.mono = sample_rate, mono

    def __call__(self, path: str) -> Tensor:
        return read_audio(path, sample_rate=self.sample_rate, mono=self.mono)[0]


class AudioFolder(DatasetFolder):
    """Sounds in one folder for each class: ``root/yes/1.wav``, ``root/no/2.flac``; see `DatasetFolder`.

    Args:
        root: the folder.
        sample_rate: all sounds are brought to this rate, in Hz.
        mono: average the channels.
        transform: is given each waveform (channels, time); `FixLength` first makes them all of one length.
        target_transform: is given each class number.
        is_valid_file: whether a file is to be read; by default its ending decides.
        allow_empty: whether a class may have no sounds.

    >>> import os, tempfile, wengert as wg
    >>> from wengert.data import audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, length in (("long", 9000), ("short", 50)):
    ...         os.mkdir(f"{folder}/{name}")
    ...         audio.write_audio(wg.zeros(length), f"{folder}/{name}/1.wav", 8000)
    ...     sounds = audio.AudioFolder(folder, sample_rate=8000, transform=audio.FixLength(1000))
    ...     [(waveform.shape, sounds.classes[label]) for waveform, label in (sounds[0], sounds[1])]
    [(wengert.Size([1, 1000]), 'long'), (wengert.Size([1, 1000]), 'short')]
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        sample_rate: int,
        mono: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        loader = _ReadAudio(sample_rate, mono)
        super().__init__(root, loader, EXTENSIONS, transform, target_transform, is_valid_file, allow_empty)

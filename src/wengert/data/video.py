"""Videos: frames by time, clips, folders (with PyAV, the libraries of FFmpeg).

Frames are uint8 (frames, channels, height, width), as the pictures of `wengert.data.read_image`, turned as the file
says that they are shown. Times are in seconds from the first frame. `transforms.PerClip` gives all frames of a clip
the same random change.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import api
from ..errors import ArgumentError, IndexRangeError, ShapeError, message, need
from ..tensor import Tensor
from ..utils.data import Dataset, get_worker_info
from .folders import DatasetFolder

EXTENSIONS = (".mp4", ".m4v", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".gif")


class VideoInfo(NamedTuple):
    """What a file of video holds: frames, their rate a second, the duration in seconds, sizes in pixels, the codec."""

    num_frames: int
    frame_rate: float
    duration: float
    height: int
    width: int
    codec: str


@contextmanager
def _opened(name: str, path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """The container and its first stream of video; errors of FFmpeg become errors of arguments."""
    av = need("av", "video", name)
    if not Path(path).is_file():
        raise FileNotFoundError(message(name, "no such file", str(path)))
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise ArgumentError(message(name, "the file holds no video", str(path)))
            stream = container.streams.video[0]
            if get_worker_info() is not None:
                stream.codec_context.thread_count = 1  # the workers share the processors already
            yield container, stream
    except av.FFmpegError as error:
        raise ArgumentError(message(name, "cannot read the video", f"{path}: {error}")) from error


def _stamps(container: Any, stream: Any) -> list[int]:
    """When each frame is shown, sorted, in units of the stream; nothing is decoded where the file says so itself."""
    packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
    if all(packet.pts is not None for packet in packets):
        return sorted(packet.pts for packet in packets)
    container.seek(0)
    return sorted(frame.pts for frame in container.decode(stream) if frame.pts is not None)


def _seconds(stamps: Any, stream: Any) -> Any:
    """Times from the first stamp; one division rounds once, so that 12/10 is 1.2."""
    return (stamps - stamps[:1]) * stream.time_base.numerator / stream.time_base.denominator


def frame_times(path: str | os.PathLike[str]) -> Any:
    """When each frame of a video is shown, in seconds from the first: float64 (frames).

    >>> import tempfile, numpy as np
    >>> from wengert import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data.write_video(np.zeros((3, 3, 16, 16), np.uint8), f"{folder}/dark.mp4", frame_rate=10)
    ...     data.frame_times(f"{folder}/dark.mp4").tolist()
    [0.0, 0.1, 0.2]
    """
    with _opened("frame_times", path) as (container, stream):
        stamps = np.array(_stamps(container, stream), np.int64)
        return _seconds(stamps, stream)


def video_info(path: str | os.PathLike[str]) -> VideoInfo:
    """Number and rate of the frames, duration, sizes and codec; at most the first frame is decoded.

    Raises:
        ArgumentError: the file is no video that FFmpeg can read.

    >>> import tempfile, numpy as np
    >>> from wengert import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data.write_video(np.zeros((30, 3, 16, 32), np.uint8), f"{folder}/dark.mp4", frame_rate=15)
    ...     data.video_info(f"{folder}/dark.mp4")
    VideoInfo(num_frames=30, frame_rate=15.0, duration=2.0, height=16, width=32, codec='h264')
    """
    with _opened("video_info", path) as (container, stream):
        stamps = _stamps(container, stream)
        span = float((stamps[-1] - stamps[0]) * stream.time_base) if stamps else 0.0
        guess = float(stream.average_rate or 0)
        rate = (len(stamps) - 1) / span if span else guess
        duration = len(stamps) / rate if rate else 0.0
        return VideoInfo(len(stamps), rate, duration, *_size(container, stream), stream.codec_context.name)


def _decoded(container: Any, stream: Any, first: int, stamp: int) -> Iterator[tuple[int, Any]]:
    """Frames with their stamps, from one at or before ``stamp`` on; ``first`` is the first frame's stamp."""
    if stamp > first:
        container.seek(stamp, stream=stream)  # to the key frame before
        frames = ((frame.pts, frame) for frame in container.decode(stream))
        start = next(frames, None)
        if start is not None and start[0] <= stamp:
            yield start
            yield from frames
            return
    container.seek(first, stream=stream)  # some formats seek badly: from the beginning, then
    yield from ((frame.pts, frame) for frame in container.decode(stream))


def _converted(frame: Any, layout: str) -> Any:
    """The frame in another layout of pixels. By one thread: several wait for ever in a forked process."""
    try:
        return frame.reformat(format=layout, threads=1)
    except TypeError:  # older versions of PyAV have one thread, and no such argument
        return frame.reformat(format=layout)


def _pixels(frame: Any) -> Any:
    """Channels, height, width as the video is shown: cameras store how they were held."""
    turned = np.rot90(_converted(frame, "rgb24").to_ndarray(), round(frame.rotation / 90))
    return np.ascontiguousarray(turned.transpose(2, 0, 1))


def _size(container: Any, stream: Any) -> tuple[int, int]:
    """Height and width as the video is shown."""
    container.seek(0)
    frame = next(container.decode(stream), None)
    if frame is None:
        return stream.codec_context.height, stream.codec_context.width
    return (frame.width, frame.height) if round(frame.rotation / 90) % 2 else (frame.height, frame.width)


def _read_stamps(container: Any, stream: Any, first: int, wanted: Sequence[int]) -> Any:
    """The frames with the given stamps (sorted, of frames that exist), each decoded once."""
    found: dict[int, Any] = {}
    missing = set(wanted)
    for stamp, frame in _decoded(container, stream, first, wanted[0]):
        if stamp in missing:
            found[stamp] = _pixels(frame)
            missing.discard(stamp)
        if not missing:
            break
    if missing:  # broken at its end: what stamps promise cannot be decoded
        seen = f"{container.name}: {len(missing)} of {len(set(wanted))} frames"
        raise ArgumentError(message("read_frames", "frames cannot be decoded", seen))
    return np.stack([found[stamp] for stamp in wanted])


def read_frames(path: str | os.PathLike[str], times: Any) -> Any:
    """The frames of a video that are shown at some times; uint8 (len(times), 3, height, width).

    Args:
        path: a file of any format that FFmpeg reads.
        times: seconds from the first frame, in any order, at most the video's duration. A frame is shown from its
            time on until the next one.

    Only frames from the last key frame before the first time on are decoded.

    Raises:
        ArgumentError: the file is no video that FFmpeg can read.
        IndexRangeError: a time is before the first frame or after the video's end.

    >>> import tempfile, numpy as np
    >>> from wengert import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     brighter = np.zeros((30, 1, 16, 16), np.uint8) + np.arange(0, 240, 8, np.uint8)[:, None, None, None]
    ...     data.write_video(brighter, f"{folder}/dawn.mp4", frame_rate=15)
    ...     frames = data.read_frames(f"{folder}/dawn.mp4", [1.0, 0.5])  # numbers 15 and 7
    >>> frames.shape, np.allclose(frames.mean((1, 2, 3)), [15 * 8, 7 * 8], atol=5)
    ((2, 3, 16, 16), True)
    """
    with _opened("read_frames", path) as (container, stream):
        stamps = np.array(_stamps(container, stream), np.int64)
        return _at_times(container, stream, stamps, np.asarray(times, np.float64))


def _at_times(container: Any, stream: Any, stamps: Any, times: Any) -> Any:
    if not len(stamps):
        raise ArgumentError(message("read_frames", "the video has no frames", str(container.name)))
    if times.ndim != 1:
        raise ShapeError(message("read_frames", "times must be a row of numbers", str(times.shape)))
    if not times.size:
        return np.zeros((0, 3, *_size(container, stream)), np.uint8)
    unit, seconds = float(stream.time_base), _seconds(stamps, stream)
    last = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
    if not (times >= 0).all() or not (times <= seconds[-1] + last).all():
        seen = f"{times.min():g} to {times.max():g}, the video goes from 0 to {seconds[-1] + last:g}"
        raise IndexRangeError(message("read_frames", "times outside the video", seen))
    # Stamps are rounded to the stream's unit, so that a time computed as k / rate may lie just before its frame.
    places = np.searchsorted(seconds, times + min(unit / 2, last / 10), side="right") - 1
    unique, back = np.unique(places, return_inverse=True)
    return _read_stamps(container, stream, int(stamps[0]), stamps[unique].tolist())[back]


def read_video(path: str | os.PathLike[str], start: float = 0.0, end: float | None = None) -> tuple[Any, Any]:
    """Read the frames from one time to another.

    Args:
        path: a file of any format that FFmpeg reads.
        start: seconds from the first frame.
        end: frames shown at this time or later are left out; None reads to the video's end.

    Returns:
        Frames uint8 (frames, 3, height, width), and their times float64 (frames).

    Raises:
        ArgumentError: the file is no video that FFmpeg can read.

    >>> import tempfile, numpy as np
    >>> from wengert import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data.write_video(np.zeros((30, 3, 16, 16), np.uint8), f"{folder}/dark.mp4", frame_rate=10)
    ...     frames, times = data.read_video(f"{folder}/dark.mp4", start=1.0, end=1.35)
    >>> frames.shape, times.tolist()
    ((4, 3, 16, 16), [1.0, 1.1, 1.2, 1.3])
    """
    with _opened("read_video", path) as (container, stream):
        stamps = np.array(_stamps(container, stream), np.int64)
        seconds = _seconds(stamps, stream)
        inside = (seconds >= start) & (seconds < (np.inf if end is None else end))
        if not inside.any():
            return np.zeros((0, 3, *_size(container, stream)), np.uint8), np.zeros(0)
        return _read_stamps(container, stream, int(stamps[0]), stamps[inside].tolist()), seconds[inside]


def write_video(
    frames: Any,
    path: str | os.PathLike[str],
    frame_rate: float = 25,
    *,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
) -> None:
    """Write frames as a video; the name's ending says the format of the file.

    Args:
        frames: uint8 (frames, channels, height, width) with 1 or 3 channels.
        path: the file.
        frame_rate: frames a second.
        codec: "libx264", "mpeg4", "libvpx-vp9", ...; "libx264rgb" with ``options={"qp": "0"}`` keeps every pixel.
        options: of the codec, for example ``{"crf": "18"}`` for libx264.

    Raises:
        ArgumentError: FFmpeg cannot write such a video; most codecs want an even height and width.

    >>> import tempfile, numpy as np
    >>> from wengert import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pictures = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), np.uint8)
    ...     data.write_video(pictures, f"{folder}/noise.mp4", codec="libx264rgb", options={"qp": "0"})
    ...     np.array_equal(data.read_video(f"{folder}/noise.mp4")[0], pictures)
    True
    """
    av = need("av", "video", "write_video")
    pixels = np.asarray(frames.numpy() if isinstance(frames, Tensor) else frames)
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[1] not in (1, 3) or not pixels.size:
        seen = f"{pixels.dtype} {pixels.shape}"
        raise ShapeError(message("write_video", "needs uint8 (frames, 1 or 3 channels, height, width)", seen))
    if not frame_rate > 0:
        raise ArgumentError(message("write_video", "frame_rate must be positive", str(frame_rate)))
    try:
        encoder = av.codec.Codec(codec, "w")
        formats = [one.name for one in encoder.video_formats or ()]
        with av.open(os.fspath(path), "w") as container:
            rate = Fraction(frame_rate).limit_denominator(100_000)
            stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
            stream.height, stream.width = pixels.shape[2:]
            stream.pix_fmt = next((one for one in ("rgb24", "yuv420p") if one in formats), formats[0])
            for picture in pixels:
                rows = np.ascontiguousarray(np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0))
                frame = av.VideoFrame.from_ndarray(rows, format="rgb24")
                container.mux(stream.encode(_converted(frame, stream.pix_fmt)))
            container.mux(stream.encode())
    except (av.FFmpegError, ValueError, TypeError) as error:
        seen = f"{path}, {codec}, {pixels.shape[2]}x{pixels.shape[3]}: {error}"
        cure = "Are height and width even?" if pixels.shape[2] % 2 or pixels.shape[3] % 2 else ""
        raise ArgumentError(message("write_video", "cannot write the video", seen, cure)) from error


# --- clips ---------------------------------------------------------------------------------------------


def _clip_times(times: Any, frame_rate: float | None) -> Any:
    """The times from which clips are made: those of the frames, or evenly spaced ones."""
    if frame_rate is None or len(times) < 2:
        return times
    step = float(np.median(np.diff(times)))
    return np.arange(int((times[-1] + step) * frame_rate + 1e-6)) / frame_rate


def _check_clip(name: str, length: int, frame_rate: float | None) -> None:
    if length < 1 or (frame_rate is not None and not frame_rate > 0):
        seen = f"clip_length={length}, frame_rate={frame_rate}"
        raise ArgumentError(message(name, "clip_length and frame_rate must be positive", seen))


class VideoClips(Dataset):
    """All clips of some videos: sample i is (clip, target), or the clip alone without targets.

    Args:
        paths: of the videos.
        clip_length: frames of a clip, uint8 (clip_length, 3, height, width). A shorter video gives one clip, whose last
            frame stands still.
        step: frames from the start of a clip to that of the next; ``clip_length`` unless given.
        frame_rate: take so many frames a second; by default all there are.
        targets: one for each video.
        transform: is given each clip; see `transforms.PerClip`.

    Attributes:
        clips: the pairs (number of the video, number of the clip's first frame).

    >>> import tempfile, numpy as np
    >>> from wengert import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data.write_video(np.zeros((30, 3, 16, 16), np.uint8), f"{folder}/dark.mp4")
    ...     clips = data.VideoClips([f"{folder}/dark.mp4"], clip_length=8, targets=["dark"])
    ...     len(clips), clips[2][0].shape, clips[2][1]
    (3, (8, 3, 16, 16), 'dark')
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        clip_length: int,
        step: int | None = None,
        frame_rate: float | None = None,
        targets: Sequence[Any] | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        _check_clip("VideoClips", clip_length, frame_rate)
        self.paths, self.clip_length, self.frame_rate = [os.fspath(path) for path in paths], clip_length, frame_rate
        self.step, self.targets, self.transform = clip_length if step is None else step, targets, transform
        if self.step < 1 or (targets is not None and len(targets) != len(self.paths)):
            seen = f"step={step}, {len(self.paths)} videos, {'no' if targets is None else len(targets)} targets"
            raise ArgumentError(message("VideoClips", "needs a positive step and one target for each video", seen))
        self._times = [_clip_times(frame_times(path), frame_rate) for path in self.paths]
        self.clips = [
            (video, start)
            for video, times in enumerate(self._times)
            for start in range(0, max(len(times) - clip_length, 0) + 1, self.step)
        ]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Any:
        video, start = self.clips[index]
        times = self._times[video]
        places = np.minimum(np.arange(start, start + self.clip_length), len(times) - 1)
        clip = read_frames(self.paths[video], times[places])
        clip = clip if self.transform is None else self.transform(clip)
        return clip if self.targets is None else (clip, self.targets[video])


class _ReadClip:
    """Reads one clip of a file; a class, so that it can be pickled."""

    def __init__(self, length: int, frame_rate: float | None, random: bool) -> None:
        self.length, self.frame_rate, self.random = length, frame_rate, random

    def __call__(self, path: str) -> Any:
        with _opened("VideoFolder", path) as (container, stream):
            stamps = np.array(_stamps(container, stream), np.int64)
            times = _clip_times(_seconds(stamps, stream), self.frame_rate)
            spare = max(len(times) - self.length, 0)
            start = int(api.randint(0, spare + 1, ()).item()) if self.random else spare // 2
            places = np.minimum(np.arange(start, start + self.length), len(times) - 1)
            return _at_times(container, stream, stamps, times[places])


class VideoFolder(DatasetFolder):
    """Videos in one folder for each class, one clip of each: ``root/wave/1.mp4``; see `DatasetFolder`.

    Args:
        root: the folder.
        clip_length: frames of a clip, uint8 (clip_length, 3, height, width). The last frame of a shorter video stands
            still.
        frame_rate: take so many frames a second; by default all there are.
        random: take a clip from a random place each time; else from the middle.
        transform: is given each clip; see `transforms.PerClip`.
        target_transform: is given each class number.
        is_valid_file: whether a file is to be read; by default its ending decides.
        allow_empty: whether a class may have no videos.

    >>> import os, tempfile, numpy as np
    >>> from wengert import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/dark")
    ...     data.write_video(np.zeros((30, 3, 16, 16), np.uint8), f"{folder}/dark/1.mp4")
    ...     videos = data.VideoFolder(folder, clip_length=8, random=True)
    ...     videos[0][0].shape, videos.classes[videos[0][1]]
    ((8, 3, 16, 16), 'dark')
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        clip_length: int,
        frame_rate: float | None = None,
        random: bool = False,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        _check_clip("VideoFolder", clip_length, frame_rate)
        loader = _ReadClip(clip_length, frame_rate, random)
        super().__init__(root, loader, EXTENSIONS, transform, target_transform, is_valid_file, allow_empty)

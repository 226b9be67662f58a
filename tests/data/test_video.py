"""Videos: frames by time, clips, folders, and transforms of clips."""

from __future__ import annotations

import math
import pickle
import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import wengert as wg
from wengert import data
from wengert.data import transforms as T
from wengert.utils.data import DataLoader

EXACT = {"codec": "libx264rgb", "options": {"qp": "0", "g": "10", "bf": "2"}}  # every pixel kept, seeks to be done


def noise(frames: int, height: int = 16, width: int = 24, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (frames, 3, height, width), np.uint8)


def ramp(frames: int, step: int = 5, size: int = 32) -> Any:
    """Frame k has the grey value k * step."""
    return np.broadcast_to((np.arange(frames) * step).astype(np.uint8)[:, None, None, None], (frames, 3, size, size))


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """47 frames of noise, 30 a second."""
    path = tmp_path_factory.mktemp("video") / "exact.mp4"
    data.write_video(noise(47), path, 30, **EXACT)
    return path


# --- reading and writing -------------------------------------------------------------------------------


def test_every_pixel_comes_back(exact: Path) -> None:
    frames, times = data.read_video(exact)
    assert frames.dtype == np.uint8 and np.array_equal(frames, noise(47))
    np.testing.assert_allclose(times, np.arange(47) / 30, atol=1e-9)
    np.testing.assert_array_equal(data.frame_times(exact), times)
    info = data.video_info(exact)
    assert info[0] == 47 and info[3:] == (16, 24, "h264")
    np.testing.assert_allclose(info[1:3], [30, 47 / 30])


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [(0, 0.1, 0, 3), (0.5, 1.0, 15, 30), (0.51, 0.99, 16, 30), (1.5, None, 45, 47), (0, 99, 0, 47), (-3, 0.01, 0, 1),
     (0.5, 0.5, 0, 0), (2, 3, 0, 0), (1, 0, 0, 0)],
)  # fmt: skip
def test_a_span_of_time(exact: Path, start: float, end: float | None, first: int, last: int) -> None:
    frames, times = data.read_video(exact, start, end)
    assert np.array_equal(frames, noise(47)[first:last]) and frames.shape[1:] == (3, 16, 24)
    np.testing.assert_allclose(times, np.arange(first, last) / 30, atol=1e-9)


def test_frames_at_any_times(exact: Path) -> None:
    rng = np.random.default_rng(1)
    for size in (1, 2, 7):
        times = rng.uniform(0, 47 / 30, size)
        assert np.array_equal(data.read_frames(exact, times), noise(47)[np.floor(times * 30).astype(int)])
    assert np.array_equal(data.read_frames(exact, np.arange(47) / 30), noise(47))
    assert np.array_equal(data.read_frames(exact, [1.0, 0.2, 1.0]), noise(47)[[30, 6, 30]])
    assert data.read_frames(exact, []).shape == (0, 3, 16, 24)


@pytest.mark.quick(rate=[12])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mp4", "mpeg4"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9"),
     ("a.gif", "gif")],
)  # fmt: skip
@pytest.mark.parametrize("rate", [12, 30000 / 1001])
def test_formats(tmp_path: Path, name: str, codec: str, rate: float) -> None:
    """Grey values are kept nearly; GIF counts hundredths of a second, Matroska thousandths."""
    data.write_video(ramp(30), tmp_path / name, rate, codec=codec)
    info = data.video_info(tmp_path / name)
    assert info.num_frames == 30 and info.frame_rate == pytest.approx(rate, rel=0.004)
    frames = data.read_frames(tmp_path / name, (np.arange(30) + (0.5 if codec == "gif" else 0)) / info.frame_rate)
    assert np.abs(frames.mean((1, 2, 3)) - 5 * np.arange(30)).max() < (8 if codec == "gif" else 4)
    late = data.read_frames(tmp_path / name, [28.5 / info.frame_rate])
    assert np.array_equal(late[0], frames[28])


def test_frames_at_uneven_times(tmp_path: Path) -> None:
    """A stream that starts late, and whose frames stand for different times."""
    stamps = [5000, 5010, 5100, 5500, 5510, 6200]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.codec_context.time_base = 32, 32, Fraction(1, 1000)
        for stamp, picture in zip(stamps, ramp(6, 40), strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(1, 2, 0)), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    np.testing.assert_allclose(data.frame_times(tmp_path / "a.mkv"), [0, 0.01, 0.1, 0.5, 0.51, 1.2])
    seen = data.read_frames(tmp_path / "a.mkv", [0, 0.005, 0.01, 0.3, 0.505, 0.6, 1.2])
    assert np.rint(seen.mean((1, 2, 3)) / 40).tolist() == [0, 0, 1, 2, 3, 4, 5]
    frames, times = data.read_video(tmp_path / "a.mkv", 0.1, 0.51)
    assert np.rint(frames.mean((1, 2, 3)) / 40).tolist() == [2, 3]
    np.testing.assert_allclose(times, [0.1, 0.5])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_camera_that_was_turned(tmp_path: Path, turns: int) -> None:
    """The matrix by which an MP4 says how it is to be shown is written over."""
    data.write_video(noise(3), tmp_path / "a.mp4", **EXACT)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    cosine, sine = round(math.cos(turns * math.pi / 2)) << 16, round(math.sin(turns * math.pi / 2)) << 16
    place = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), content.index(b"tkhd"))
    content[place : place + 36] = struct.pack(">9i", cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30)
    (tmp_path / "a.mp4").write_bytes(content)
    wanted = np.rot90(noise(3), -turns, (2, 3))  # clockwise
    assert np.array_equal(data.read_video(tmp_path / "a.mp4")[0], wanted)
    assert data.video_info(tmp_path / "a.mp4")[3:5] == wanted.shape[2:]
    assert data.read_frames(tmp_path / "a.mp4", []).shape == (0, 3, *wanted.shape[2:])


def test_grey_frames_and_tensors(tmp_path: Path) -> None:
    data.write_video(wg.tensor(noise(3)[:, :1]), tmp_path / "a.mp4", **EXACT)
    frames, times = data.read_video(tmp_path / "a.mp4")
    assert np.array_equal(frames, np.repeat(noise(3)[:, :1], 3, 1))
    np.testing.assert_allclose(times, [0, 0.04, 0.08])
    data.write_video(noise(1), tmp_path / "b.mp4", **EXACT)
    assert data.video_info(tmp_path / "b.mp4")[:3] == (1, 25, 0.04)
    assert data.read_frames(tmp_path / "b.mp4", [0.0, 0.5]).shape == (2, 3, 16, 24)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: data.read_video(p / "no.mp4"), FileNotFoundError, "read_video: no such file: "),
        (lambda p: data.read_video(p / "text.mp4"), ValueError, "read_video: cannot read the video: "),
        (lambda p: data.video_info(p / "a.wav"), ValueError, "video_info: the file holds no video: "),
        (lambda p: data.read_frames(p / "a.mp4", [-0.1]), IndexError, "-0.1 to -0.1, the video goes from 0 to 0.12"),
        (lambda p: data.read_frames(p / "a.mp4", [0.2]), IndexError, "times outside the video: 0.2 to 0.2"),
        (lambda p: data.read_frames(p / "a.mp4", [np.nan]), IndexError, "times outside the video: nan"),
        (lambda p: data.read_frames(p / "a.mp4", 0.0), ValueError, "times must be a row of numbers: ()"),
        (lambda p: data.write_video(noise(2, 15), p / "b.mp4"), ValueError, "15x24: "),
        (lambda p: data.write_video(noise(2, 15), p / "b.mp4"), ValueError, "Are height and width even?"),
        (lambda p: data.write_video(noise(2), p / "b.xyz"), ValueError, "cannot write the video: "),
        (lambda p: data.write_video(noise(2), p / "b.mp4", codec="none"), ValueError, "cannot write the video: "),
        (lambda p: data.write_video(noise(2), p / "b.mp4", 0), ValueError, "frame_rate must be positive: 0"),
        (lambda p: data.write_video(noise(0), p / "b.mp4"), ValueError, "uint8 (0, 3, 16, 24)"),
        (lambda p: data.write_video(noise(2)[:, :2], p / "b.mp4"), ValueError, "uint8 (2, 2, 16, 24)"),
        (lambda p: data.write_video(noise(2) / 255, p / "b.mp4"), ValueError, "float64 (2, 3, 16, 24)"),
        (lambda p: data.VideoClips([], 0), ValueError, "clip_length=0, frame_rate=None"),
        (lambda p: data.VideoClips([], 1, frame_rate=0), ValueError, "clip_length=1, frame_rate=0"),
        (lambda p: data.VideoClips([], 1, 0), ValueError, "step=0, 0 videos, no targets"),
        (lambda p: data.VideoClips([p / "a.mp4"], 1, targets=[]), ValueError, "step=None, 1 videos, 0 targets"),
    ],
)
def test_videos_refuse(tmp_path: Path, make: Any, error: type[Exception], words: str) -> None:
    (tmp_path / "text.mp4").write_text("text")
    data.write_video(noise(3), tmp_path / "a.mp4", **EXACT)
    data.audio.write_audio(np.zeros(800), tmp_path / "a.wav", 8000)
    with pytest.raises(error, match=re.escape(words)):
        make(tmp_path)


def test_an_error_names_the_line_of_the_program(tmp_path: Path) -> None:
    """And not one of contextlib, through which the file is opened."""
    with pytest.raises(FileNotFoundError, match=r"\(test_video\.py:\d+\)$"):
        data.read_video(tmp_path / "no.mp4")


def test_a_broken_video(exact: Path, tmp_path: Path) -> None:
    """Whole packets of nonsense: what the file promises cannot be decoded."""
    content = bytearray(exact.read_bytes())
    start = content.index(b"mdat") + 4
    content[start + 2000 : start + 30000] = bytes(28000)
    (tmp_path / "a.mp4").write_bytes(content)
    assert data.video_info(tmp_path / "a.mp4").num_frames == 47
    with pytest.raises(ValueError, match=r"cannot (read the video|be decoded)"):
        data.read_video(tmp_path / "a.mp4")


# --- clips ---------------------------------------------------------------------------------------------


def test_all_clips(exact: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    data.write_video(noise(3, seed=1), short, 30, **EXACT)
    clips = data.VideoClips([exact, short], 10, step=15, targets=["a", "b"])
    assert clips.clips == [(0, 0), (0, 15), (0, 30), (1, 0)] and len(clips) == 4
    for index, start in enumerate((0, 15, 30)):
        clip, target = clips[index]
        assert target == "a" and np.array_equal(clip, noise(47)[start : start + 10])
    clip, target = clips[3]
    assert target == "b" and np.array_equal(clip, noise(3, seed=1)[[0, 1, 2, 2, 2, 2, 2, 2, 2, 2]])
    assert data.VideoClips([exact], 47).clips == [(0, 0)] and data.VideoClips([exact], 46).clips == [(0, 0)]
    assert data.VideoClips([exact], 46, 1).clips == [(0, 0), (0, 1)]
    halved = data.VideoClips([exact], 5, frame_rate=10, transform=lambda clip: clip[:, :1])
    assert np.array_equal(halved[1], noise(47)[15:30:3, :1]) and len(halved) == 3
    doubled = data.VideoClips([exact], 4, frame_rate=60)
    assert np.array_equal(doubled[0], noise(47)[[0, 0, 1, 1]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, frames in (("up/a.mp4", ramp(40)), ("up/b.mkv", ramp(25)), ("down/c.mp4", ramp(30)[::-1])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data.write_video(frames, tmp_path / name, 10)
    return tmp_path


def test_a_folder_of_videos(folder: Path) -> None:
    videos = data.VideoFolder(folder, 8, transform=T.ToFloat())
    assert videos.classes == ["down", "up"] and videos.targets == [0, 1, 1]
    clip, label = videos[1]
    assert clip.shape == (8, 3, 32, 32) and clip.dtype == np.float32 and label == 1
    np.testing.assert_allclose(clip.mean((1, 2, 3)) * 255, 5 * np.arange(16, 24), atol=3)  # the middle
    slow = data.VideoFolder(folder, 8, frame_rate=5)[1][0]
    np.testing.assert_allclose(slow.mean((1, 2, 3)), 5 * np.arange(12, 28, 2), atol=3)
    wg.manual_seed(0)
    starts = {round(data.VideoFolder(folder, 38, random=True)[1][0][0].mean() / 5) for _ in range(25)}
    assert starts == {0, 1, 2}
    assert pickle.loads(pickle.dumps(videos))[0][1] == 0


def test_random_clips_in_a_loader(folder: Path) -> None:
    prepare = T.PerClip(T.Compose([T.RandomResizedCrop(16), T.RandomHorizontalFlip(), T.Normalize(0.5, 0.5)]))
    seen = []
    for workers in (0, 2):
        wg.manual_seed(2)
        videos = data.VideoFolder(folder, 5, random=True, transform=prepare)
        loader = DataLoader(videos, batch_size=2, shuffle=True, num_workers=workers)
        seen.append([(clips, labels.tolist()) for clips, labels in loader])
    for (ours, labels), (theirs, others) in zip(*seen, strict=True):
        assert ours.shape[1:] == (5, 3, 16, 16) and wg.equal(ours, theirs) and labels == others


# --- transforms of clips -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [T.RandomCrop(7), T.RandomHorizontalFlip(), T.RandomResizedCrop(6), T.RandomRotation(40), T.RandomErasing(0.9),
     T.ColorJitter(0.5, 0.5, 0.5, 0.2), T.RandAugment(), T.Compose([T.RandomCrop(8), T.RandomVerticalFlip()])],
    ids=lambda transform: type(transform).__name__,
)  # fmt: skip
@pytest.mark.slow
def test_one_decision_for_all_frames(transform: Any) -> None:
    """Frames that are equal stay equal, which they would not under the transform alone."""
    still = np.repeat(noise(1), 12, 0)
    rng = np.random.default_rng(3)
    outs = [T.PerClip(transform)(still, rng) for _ in range(10)]
    assert all((out == out[0]).all() for out in outs)
    assert any((out != outs[0]).any() for out in outs)
    frames = [transform(still, rng) for _ in range(10)]
    assert any((out != out[0]).any() for out in frames)
    moving = noise(5)
    out = T.PerClip(transform)(moving, np.random.default_rng(4))
    alone = [transform(frame, np.random.default_rng(4)) for frame in moving]
    assert np.array_equal(out, alone)


def test_clips_of_a_batch_decide_for_themselves() -> None:
    clips = np.repeat(np.repeat(noise(1), 6, 0)[None], 8, 0)
    out = T.PerClip(T.RandomCrop(5))(clips)
    assert out.shape == (8, 6, 3, 5, 5) and (out == out[:, :1]).all() and (out != out[:1]).any()
    wg.manual_seed(5)
    first = T.PerClip(T.RandomCrop(5))(clips)
    wg.manual_seed(5)
    assert np.array_equal(T.PerClip(T.RandomCrop(5))(clips), first)
    doubled = T.PerClip(lambda frame: frame[:1])(clips[0])
    assert doubled.shape == (6, 1, 16, 24)
    assert "RandomCrop" in repr(T.PerClip(T.RandomCrop(5)))
    for wrong in (np.zeros((3, 4, 4), np.uint8), np.zeros((0, 3, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match=r"PerClip: needs a clip \(frames, channels, height, width\) or several"):
            T.PerClip(T.RandomCrop(2))(wrong)

"""Cropping, flipping, resizing, and the two steps from pixels to a network's input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ArgumentError, ShapeError, message
from .base import Fixed, Transform, pair, probability


class ToFloat(Fixed):
    """uint8 from 0 to 255 to float32 from 0 to 1; floats become float32."""

    def batch(self, images: Any, rng: Any) -> Any:
        """(n, channels, height, width) float32."""
        scaled = images.astype(np.float32)
        return scaled / np.float32(255) if images.dtype == np.uint8 else scaled


class Normalize(Fixed):
    """Subtract a mean and divide by a standard deviation, channel by channel; float32.

    uint8 pictures are scaled to 0 to 1 first, so the numbers are those for `ToFloat`'s pictures.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean, self.std = mean, std
        self._mean, self._std = (np.atleast_1d(np.asarray(x, np.float32))[:, None, None] for x in (mean, std))
        if (self._std == 0).any():
            raise ArgumentError(message("Normalize", "std must not be zero", repr(std)))

    def batch(self, images: Any, rng: Any) -> Any:
        """(n, channels, height, width) float32."""
        for values in (self._mean, self._std):
            if len(values) not in (1, images.shape[1]):
                seen = f"{len(values)} numbers, {images.shape[1]} channels"
                raise ShapeError(message("Normalize", "needs one number, or one for each channel", seen))
        return (ToFloat().batch(images, rng) - self._mean) / self._std


def _cut(name: str, images: Any, tops: Any, lefts: Any, size: tuple[int, int]) -> Any:
    """One window of each picture."""
    count, _, height, width = images.shape
    if size[0] > height or size[1] > width:
        raise ShapeError(
            message(name, "the picture is smaller than the crop", f"{height}x{width} and {size[0]}x{size[1]}", "Resize")
        )
    windows = np.lib.stride_tricks.sliding_window_view(images, size, (2, 3))
    return np.ascontiguousarray(windows[np.arange(count), :, tops, lefts])


class CenterCrop(Fixed):
    """The middle, of the given size."""

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = pair("CenterCrop", size)

    def batch(self, images: Any, rng: Any) -> Any:
        """(n, channels, *size)."""
        count, _, height, width = images.shape
        top, left = (height - self.size[0]) // 2, (width - self.size[1]) // 2
        return _cut("CenterCrop", images, np.full(count, max(top, 0)), np.full(count, max(left, 0)), self.size)


class RandomCrop(Transform):
    """A window of the given size at a random place, another one for each picture.

    Args:
        size: height and width, or one number for both.
        padding: pixels that are put around the picture before, one number or (vertical, horizontal).
        fill: what they are filled with.
        padding_mode: "constant", "reflect", "symmetric" or "edge".
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int | tuple[int, int] = 0,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size, self.padding = pair("RandomCrop", size), pair("RandomCrop", padding, "padding")
        if padding_mode not in ("constant", "reflect", "symmetric", "edge"):
            raise ArgumentError(message("RandomCrop", "no such padding_mode", repr(padding_mode)))
        self.fill, self.padding_mode = fill, padding_mode

    def batch(self, images: Any, rng: np.random.Generator) -> Any:
        """(n, channels, *size)."""
        if any(self.padding):
            around = ((0, 0), (0, 0), (self.padding[0],) * 2, (self.padding[1],) * 2)
            extra: dict[str, Any] = {"constant_values": self.fill} if self.padding_mode == "constant" else {}
            images = np.pad(images, around, self.padding_mode, **extra)  # type: ignore[call-overload]
        count, _, height, width = images.shape
        rows = rng.integers(0, max(height - self.size[0], 0) + 1, count)
        return _cut("RandomCrop", images, rows, rng.integers(0, max(width - self.size[1], 0) + 1, count), self.size)


class _Flip(Transform):
    axis = 3

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(type(self).__name__, p)

    def batch(self, images: Any, rng: np.random.Generator) -> Any:
        chosen = rng.random(len(images)) < self.p
        out = images.copy()
        out[chosen] = np.flip(images[chosen], self.axis)
        return out


class RandomHorizontalFlip(_Flip):
    """Left becomes right, with probability ``p``."""


class RandomVerticalFlip(_Flip):
    """Up becomes down, with probability ``p``."""

    axis = 2


def resize_weights(starts: Any, lengths: Any, out: int, size: int, antialias: bool = True) -> Any:
    """Matrices (n, out, size) that stretch ``[start, start + length)`` of a line to ``out`` pixels.

    Triangles that widen when the line shrinks (Pillow's BILINEAR), or, without ``antialias``, that
    do not (PyTorch's bilinear interpolation without aligned corners).
    """
    starts, lengths = (np.asarray(x, np.float64)[:, None] for x in (starts, lengths))
    scale = lengths / out
    reach = (np.maximum(scale, 1.0) if antialias else np.ones_like(scale))[..., None]
    centers = starts + (np.arange(out) + 0.5) * scale
    if not antialias:
        centers = np.clip(centers, starts + 0.5, np.maximum(starts + lengths - 0.5, starts + 0.5))
    pixels = np.arange(size) + 0.5
    inside = (pixels > starts) & (pixels < starts + lengths)
    inside |= ~inside.any(1, keepdims=True)  # a window between two pixels' centers
    weights = np.maximum(0, 1 - np.abs(pixels - centers[..., None]) / reach) * inside[:, None]
    total = weights.sum(-1, keepdims=True)
    return (weights / np.where(total == 0, 1, total)).astype(np.float32)


def stretch(images: Any, rows: Any, columns: Any) -> Any:
    """Apply matrices to the rows and columns of pictures; rounds uint8."""
    floats = images.astype(np.float32, copy=False)
    out = rows[:, None] @ floats @ columns[:, None].swapaxes(-1, -2)
    if images.dtype == np.uint8:
        return np.rint(np.clip(out, 0, 255)).astype(np.uint8)
    return out.astype(images.dtype, copy=False)


class Resize(Fixed):
    """Bilinear resizing.

    Args:
        size: (height, width); one number is that of the shorter side, the other keeps the ratio.
        antialias: smooth when shrinking, as Pillow does.
    """

    def __init__(self, size: int | tuple[int, int], antialias: bool = True) -> None:
        both = pair("Resize", size)
        self.size, self.antialias = both[0] if np.ndim(size) == 0 else both, antialias

    def batch(self, images: Any, rng: Any) -> Any:
        """(n, channels, new height, new width)."""
        height, width = images.shape[2:]
        if isinstance(self.size, int):
            short = min(height, width)
            new = (height * self.size // short, width * self.size // short)
        else:
            new = (self.size[0], self.size[1])
        if new == (height, width):
            return images
        rows = resize_weights([0], [height], new[0], height, self.antialias)
        return stretch(images, rows, resize_weights([0], [width], new[1], width, self.antialias))


class RandomResizedCrop(Transform):
    """A random window of random size and shape, resized to the given size.

    Args:
        size: height and width, or one number for both.
        scale: the window's area, as lower and upper bound of its share of the picture's.
        ratio: bounds of width over height.
        antialias: smooth when shrinking.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        antialias: bool = True,
    ) -> None:
        self.size = pair("RandomResizedCrop", size)
        if not 0 < scale[0] <= scale[1] or not 0 < ratio[0] <= ratio[1]:
            seen = f"scale={scale}, ratio={ratio}"
            raise ArgumentError(message("RandomResizedCrop", "bounds must be positive and in order", seen))
        self.scale, self.ratio, self.antialias = scale, ratio, antialias

    def batch(self, images: Any, rng: np.random.Generator) -> Any:
        """(n, channels, *size)."""
        count, _, height, width = images.shape
        area = height * width * rng.uniform(*self.scale, count)
        ratio = np.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), count))
        widths = np.clip(np.rint(np.sqrt(area * ratio)), 1, width)
        heights = np.clip(np.rint(np.sqrt(area / ratio)), 1, height)
        tops = np.floor(rng.random(count) * (height - heights + 1))
        lefts = np.floor(rng.random(count) * (width - widths + 1))
        rows = resize_weights(tops, heights, self.size[0], height, self.antialias)
        return stretch(images, rows, resize_weights(lefts, widths, self.size[1], width, self.antialias))

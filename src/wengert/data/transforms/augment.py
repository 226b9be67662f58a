"""Augmentation: colours, erasing, rotation, and RandAugment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ArgumentError, ShapeError, message
from .base import Fixed, Transform, as_unit, back, columns, probability

# Luma of ITU-R BT.601, as Pillow's.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]


def grey(images: Any) -> Any:
    """Brightness of each pixel, (n, 1, height, width)."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise ShapeError(message("transforms", "colours need 1 or 3 channels", str(images.shape[1])))
    return (images * _GREY).sum(1, keepdims=True)


def blend(images: Any, other: Any, amount: Any) -> Any:
    """``amount`` 1 is the picture, 0 the other one; more than 1 exaggerates the difference."""
    return np.clip(other + (images - other) * columns(amount), 0, 1)


class Grayscale(Fixed):
    """Colours to grey, in 1 or 3 equal channels."""

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ArgumentError(message("Grayscale", "num_output_channels must be 1 or 3", str(num_output_channels)))
        self.num_output_channels = num_output_channels

    def batch(self, images: Any, rng: Any) -> Any:
        """(n, num_output_channels, height, width)."""
        return np.repeat(back(grey(as_unit(images)), images), self.num_output_channels, 1)


def _brightness(x: Any, amount: Any) -> Any:
    return blend(x, np.float32(0), amount)


def _contrast(x: Any, amount: Any) -> Any:
    return blend(x, grey(x).mean((1, 2, 3), keepdims=True), amount)


def _saturation(x: Any, amount: Any) -> Any:
    return blend(x, grey(x), amount)


def _hue(x: Any, turn: Any) -> Any:
    """Turn the colour wheel by a share of the whole circle."""
    if x.shape[1] == 1:
        return x
    top, low = x.max(1), x.min(1)
    span = top - low
    safe = np.where(span == 0, 1, span)
    red, green, blue = x[:, 0], x[:, 1], x[:, 2]
    sector = np.where(
        top == red, (green - blue) / safe, np.where(top == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    sector = (sector + 6 * np.asarray(turn, np.float32)[:, None, None]) % 6
    # Smith's formula: each channel is the same trapezium of the hue, two sectors apart.
    place = (np.array([5, 3, 1], np.float32)[:, None, None] + sector[:, None]) % 6
    return (top[:, None] - span[:, None] * np.clip(np.minimum(place, 4 - place), 0, 1)).astype(np.float32)


class ColorJitter(Transform):
    """Change brightness, contrast, saturation and hue at random, in this order.

    Args:
        brightness, contrast, saturation: factors are drawn from max(0, 1 - x) to 1 + x, or from the
            bounds given.
        hue: the colour wheel is turned by a share from -x to x of it (at most 0.5), or between the
            bounds given.
    """

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self._steps = [
            (_brightness, 1, self._bounds("brightness", brightness, 1, 0, math.inf)),
            (_contrast, 1, self._bounds("contrast", contrast, 1, 0, math.inf)),
            (_saturation, 1, self._bounds("saturation", saturation, 1, 0, math.inf)),
            (_hue, 0, self._bounds("hue", hue, 0, -0.5, 0.5)),
        ]

    @staticmethod
    def _bounds(name: str, value: Any, center: float, low: float, high: float) -> tuple[float, float]:
        if isinstance(value, int | float):
            wrong = value < 0 or value > high
            bounds = (max(low, center - value), center + value)
        else:
            bounds = tuple(value)
            wrong = len(bounds) != 2 or not low <= bounds[0] <= bounds[1] <= high
        if wrong:
            raise ArgumentError(message("ColorJitter", f"{name} is out of range", repr(value)))
        return bounds[0], bounds[1]

    def batch(self, images: Any, rng: np.random.Generator) -> Any:
        """The same shape and dtype."""
        x = as_unit(images)
        for change, neutral, bounds in self._steps:
            amounts = rng.uniform(bounds[0], bounds[1], len(images))
            if bounds != (neutral, neutral):
                x = change(x, amounts)
        return back(x, images)


class RandomErasing(Transform):
    """Fill a random rectangle of each picture, with probability ``p``.

    Args:
        p: how often.
        scale: bounds of its share of the picture's area.
        ratio: bounds of its height over its width.
        value: what it is filled with, in the pictures' own unit: one number, or one for each channel; "random"
            for noise.

    Source: Z. Zhong et al., "Random erasing data augmentation", AAAI 2020.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
    ) -> None:
        self.p, self.scale, self.ratio, self.value = probability("RandomErasing", p), scale, ratio, value
        if not 0 <= scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            seen = f"scale={scale}, ratio={ratio}"
            raise ArgumentError(message("RandomErasing", "bounds must be in order, scale between 0 and 1", seen))
        if isinstance(value, str) and value != "random":
            raise ArgumentError(message("RandomErasing", "value must be numbers or 'random'", repr(value)))

    def batch(self, images: Any, rng: np.random.Generator) -> Any:
        """The same shape and dtype."""
        count, _, height, width = images.shape
        chosen = rng.random(count) < self.p
        area = height * width * rng.uniform(*self.scale, count)
        ratio = np.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), count))
        heights = np.minimum(np.rint(np.sqrt(area * ratio)), height)
        widths = np.minimum(np.rint(np.sqrt(area / ratio)), width)
        tops = np.floor(rng.random(count) * (height - heights + 1))
        lefts = np.floor(rng.random(count) * (width - widths + 1))
        rows, across = np.arange(height), np.arange(width)
        inside_rows = (rows >= tops[:, None]) & (rows < (tops + heights)[:, None])
        inside_columns = (across >= lefts[:, None]) & (across < (lefts + widths)[:, None])
        mask = chosen[:, None, None] & inside_rows[:, :, None] & inside_columns[:, None, :]
        return np.where(mask[:, None], self._filling(images, rng), images)

    def _filling(self, images: Any, rng: np.random.Generator) -> Any:
        if isinstance(self.value, str):
            return _noise(images, rng).astype(images.dtype, copy=False)
        values = np.atleast_1d(np.asarray(self.value, np.float64))
        if values.shape not in ((1,), images.shape[1:2]):
            seen = f"{values.shape}, {images.shape[1]} channels"
            raise ShapeError(message("RandomErasing", "needs one value, or one for each channel", seen))
        if images.dtype == np.uint8 and not ((values >= 0) & (values <= 255)).all():
            raise ArgumentError(message("RandomErasing", "uint8 pictures need values from 0 to 255", repr(self.value)))
        return values[:, None, None].astype(images.dtype)


def _noise(images: Any, rng: np.random.Generator) -> Any:
    if images.dtype == np.uint8:
        return rng.integers(0, 256, images.shape, np.uint8)
    return rng.standard_normal(images.shape, np.float32)


def warp(images: Any, matrices: Any, fill: float = 0.0) -> Any:
    """Bilinear sampling at places ``matrix @ (x, y, 1)``, counted from the picture's middle.

    Shape:
        images (n, channels, height, width) float, matrices (n, 2, 3) from target to source.
    """
    count, _, height, width = images.shape
    ys, xs = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    places = np.stack([xs, ys, np.ones_like(xs)]).reshape(3, -1)
    source = (np.asarray(matrices, np.float64) @ places).reshape(count, 2, height, width)
    x, y = source[:, 0] + (width - 1) / 2, source[:, 1] + (height - 1) / 2
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    which = np.arange(count)[:, None, None]
    out = np.zeros_like(images)
    for down in (0, 1):
        for right in (0, 1):
            rows, across = top + down, left + right
            weight = (1 - np.abs(y - rows)) * (1 - np.abs(x - across))
            inside = (rows >= 0) & (rows < height) & (across >= 0) & (across < width)
            values = images[which, :, np.clip(rows, 0, height - 1), np.clip(across, 0, width - 1)].transpose(0, 3, 1, 2)
            out += np.where(inside[:, None], values, np.float32(fill)) * weight[:, None].astype(np.float32)
    return out


def _affine(count: int, **entries: Any) -> Any:
    """Matrices of the identity with some entries replaced: xx, xy, x, yx, yy, y."""
    out = np.zeros((count, 2, 3))
    out[:, 0, 0] = out[:, 1, 1] = 1
    for name, values in entries.items():
        out[:, "xy".index(name[0]), "xy".index(name[1]) if len(name) == 2 else 2] = values
    return out


def _turned(count: int, degrees: Any) -> Any:
    angle = np.deg2rad(degrees)
    return _affine(count, xx=np.cos(angle), xy=-np.sin(angle), yx=np.sin(angle), yy=np.cos(angle))


class RandomRotation(Transform):
    """Turn each picture about its middle, counter-clockwise, by an angle from -degrees to degrees.

    Args:
        degrees: the largest angle, or (lower, upper) bound.
        fill: what comes in at the corners, from 0 to 1.
    """

    def __init__(self, degrees: float | tuple[float, float], fill: float = 0.0) -> None:
        bounds = (-degrees, degrees) if isinstance(degrees, int | float) else degrees
        self.degrees: tuple[float, float] = bounds
        if len(self.degrees) != 2 or self.degrees[0] > self.degrees[1]:
            raise ArgumentError(message("RandomRotation", "degrees must be positive, or two bounds", repr(degrees)))
        self.fill = fill

    def batch(self, images: Any, rng: np.random.Generator) -> Any:
        """The same shape and dtype."""
        # y points down: this matrix takes targets to sources, so what is seen turns the other way.
        matrices = _turned(len(images), rng.uniform(self.degrees[0], self.degrees[1], len(images)))
        return back(warp(as_unit(images), matrices, self.fill), images)


def _posterize(x: Any, bits: Any) -> Any:
    steps = columns(2.0 ** (8 - np.asarray(bits)))
    return np.floor(np.rint(x * 255) / steps) * steps / 255


def _autocontrast(x: Any, amount: Any) -> Any:
    low, high = x.min((2, 3), keepdims=True), x.max((2, 3), keepdims=True)
    flat = high == low
    return np.where(flat, x, (x - low) / np.where(flat, 1, high - low))


def _equalize(x: Any, amount: Any) -> Any:
    """Spread the grey values of each channel evenly: each pixel becomes its rank's share."""
    count, channels, height, width = x.shape
    levels = np.rint(x * 255).astype(np.int64).reshape(count * channels, -1)
    flat = (levels + 256 * np.arange(count * channels)[:, None]).ravel()
    histogram = np.bincount(flat, minlength=256 * count * channels).reshape(-1, 256)
    below = np.cumsum(histogram, 1)
    first = np.take_along_axis(below, levels.min(1, keepdims=True), 1)
    table = np.clip((below - first) / np.maximum(height * width - first, 1), 0, 1)
    out = np.take_along_axis(table, levels, 1).reshape(x.shape).astype(np.float32)
    single = (levels.min(1) == levels.max(1)).reshape(count, channels, 1, 1)
    return np.where(single, x, out)


def _sharpness(x: Any, amount: Any) -> Any:
    """Blend with a smoothed picture (3 by 3, the middle counts five times); borders stay."""
    height, width = x.shape[2:]
    if height < 3 or width < 3:
        return x
    smooth = x.copy()
    windows = [x[:, :, i : i + height - 2, j : j + width - 2] for i in range(3) for j in range(3)]
    smooth[:, :, 1:-1, 1:-1] = (sum(windows) + 4 * windows[4]) / 13
    return blend(x, smooth, amount)


class RandAugment(Transform):
    """Some random changes to each picture, all of one strength.

    Of fourteen (identity, shear and shift in x and y, rotation, brightness, colour, contrast, sharpness,
    posterising, solarising, autocontrast, equalising) each picture gets ``num_ops`` of its own, signs drawn.

    Args:
        num_ops: how many, one after the other.
        magnitude: strength, from 0 to ``num_magnitude_bins`` - 1.
        num_magnitude_bins: what full strength is.
        fill: what comes in at the borders, from 0 to 1.

    Source: E. Cubuk et al., "RandAugment", NeurIPS 2020; ranges as in torchvision.
    """

    names = (
        "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast",
        "sharpness", "posterize", "solarize", "autocontrast", "equalize",
    )  # fmt: skip

    def __init__(self, num_ops: int = 2, magnitude: int = 9, num_magnitude_bins: int = 31, fill: float = 0.0) -> None:
        if num_ops < 0 or not 0 <= magnitude < num_magnitude_bins:
            seen = f"num_ops={num_ops}, magnitude={magnitude} of {num_magnitude_bins}"
            raise ArgumentError(message("RandAugment", "needs num_ops >= 0 and 0 <= magnitude < bins", seen))
        self.num_ops, self.magnitude, self.num_magnitude_bins, self.fill = num_ops, magnitude, num_magnitude_bins, fill

    def batch(self, images: Any, rng: np.random.Generator) -> Any:
        """The same shape and dtype."""
        x = np.array(as_unit(images), np.float32)
        strength = self.magnitude / max(self.num_magnitude_bins - 1, 1)
        for _ in range(self.num_ops):
            chosen = rng.integers(0, len(self.names), len(x))
            signs = rng.integers(0, 2, len(x)) * 2 - 1
            for number in np.unique(chosen):
                which = np.flatnonzero(chosen == number)
                x[which] = np.clip(self.change(self.names[number], x[which], strength * signs[which]), 0, 1)
        return back(x, images)

    def change(self, name: str, x: Any, strength: Any) -> Any:
        """One change to pictures from 0 to 1, with one signed strength from -1 to 1 for each."""
        count, _, height, width = x.shape
        moves = {
            "shear_x": lambda: _affine(count, xy=0.3 * strength),
            "shear_y": lambda: _affine(count, yx=0.3 * strength),
            "translate_x": lambda: _affine(count, x=np.rint(150 / 331 * width * strength)),
            "translate_y": lambda: _affine(count, y=np.rint(150 / 331 * height * strength)),
            "rotate": lambda: _turned(count, 30 * strength),
        }
        if name in moves:
            return warp(x, moves[name](), self.fill)
        colours = {
            "brightness": _brightness, "color": _saturation, "contrast": _contrast, "sharpness": _sharpness,
            "autocontrast": _autocontrast, "equalize": _equalize,
        }  # fmt: skip
        if name in colours:
            return colours[name](x, 1 + 0.9 * strength)
        if name == "posterize":
            return _posterize(x, 8 - np.rint(4 * np.abs(strength)))
        if name == "solarize":  # pixels above a threshold are turned round
            return np.where(x >= columns(1 - np.abs(strength)), 1 - x, x)
        return x

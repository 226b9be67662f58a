"""Transforms of pictures: against Pillow, against pictures done by hand, and one by one."""

from __future__ import annotations

import colorsys
import pickle
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import wengert as wg
from wengert.data import transforms as T
from wengert.data.transforms import augment, geometry

PICTURES = np.random.default_rng(1).integers(0, 256, (6, 3, 12, 9), np.uint8)
UNIT = (PICTURES / 255).astype(np.float32)
EVERY = [
    T.Compose([T.RandomVerticalFlip(), T.ToFloat()]), T.CenterCrop(5), T.RandomCrop((8, 9), padding=2),
    T.RandomHorizontalFlip(), T.RandomVerticalFlip(0.3), T.Resize(7), T.Resize((20, 5)), T.RandomResizedCrop(6),
    T.ColorJitter(0.4, 0.4, 0.4, 0.2), T.Grayscale(3), T.RandomErasing(0.9), T.RandomErasing(1, value="random"),
    T.RandomRotation(30), T.RandAugment(3, 20), T.ToFloat(), T.Normalize(0.5, [1, 2, 3]),
]  # fmt: skip


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pillow(image: Any) -> Any:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def array(image: Any) -> Any:
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_every_transform(transform: Any) -> None:
    for images in (PICTURES, UNIT):
        before = images.copy()
        out = transform(images, rng())
        assert np.array_equal(images, before)
        floats = isinstance(transform, T.Compose | T.ToFloat | T.Normalize)
        assert out.dtype == (np.float32 if floats else images.dtype)
        assert len(out) == 6 and out.ndim == 4 and np.isfinite(out).all()
        if images is UNIT and not isinstance(transform, T.Normalize | T.RandomErasing):
            assert -1e-6 <= out.min() and out.max() <= 1 + 1e-6
        assert np.array_equal(transform(images, rng()), out)
        single = transform(images[0], rng())
        assert single.shape == out.shape[1:]
        assert np.array_equal(single, transform(images[:1], rng())[0])
        assert transform(images[:0], rng()).shape == (0, *out.shape[1:])
    wg.manual_seed(7)
    first, second = transform(PICTURES), transform(PICTURES)
    wg.manual_seed(7)
    assert np.array_equal(transform(PICTURES), first) and np.array_equal(transform(PICTURES), second)
    assert pickle.loads(pickle.dumps(transform))(PICTURES, rng()).shape == first.shape


@pytest.mark.parametrize("transform", [T.CenterCrop(5), T.Resize(7), T.ToFloat(), T.Normalize(0, 1), T.Grayscale()])
def test_what_draws_nothing_takes_no_key(transform: Any) -> None:
    before = wg.get_rng_state().tolist()
    transform(PICTURES)
    assert wg.get_rng_state().tolist() == before


@pytest.mark.parametrize("size", [(5, 4), (24, 30), (7, 20), (12, 9), (1, 1)])
def test_resize_is_pillows(size: tuple[int, int]) -> None:
    seen = T.Resize(size)(PICTURES)
    for ours, picture in zip(seen, PICTURES, strict=True):
        expected = array(pillow(picture).resize(size[::-1], Image.Resampling.BILINEAR))
        assert np.abs(ours.astype(int) - expected).max() <= 1  # Pillow rounds between rows and columns
    channel = UNIT[0, 0]
    expected = np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(T.Resize(size)(channel[None])[0], expected, atol=1e-6)


@pytest.mark.parametrize("size", [(5, 4), (24, 30)])
def test_resize_without_antialias_is_interpolate(size: tuple[int, int]) -> None:
    expected = wg.nn.functional.interpolate(wg.from_numpy(UNIT.copy()), size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(T.Resize(size, antialias=False)(UNIT), expected.numpy(), atol=1e-6)


def test_resize_of_the_shorter_side() -> None:
    assert T.Resize(np.int64(6))(PICTURES).shape == (6, 3, 8, 6)
    assert T.Resize(6)(PICTURES).shape == (6, 3, 8, 6)
    assert T.Resize(6)(PICTURES.swapaxes(2, 3)).shape == (6, 3, 6, 8)
    assert T.Resize(9)(PICTURES) is not None and T.Resize(9)(PICTURES).shape == PICTURES.shape


def test_a_resized_crop_is_crop_then_resize() -> None:
    rows = geometry.resize_weights([2, 0], [6, 12], 4, 12)
    across = geometry.resize_weights([1, 3], [5, 2], 4, 9)
    seen = geometry.stretch(UNIT[:2], rows, across)
    np.testing.assert_allclose(seen[0], T.Resize((4, 4))(UNIT[0, :, 2:8, 1:6]), atol=1e-6)
    np.testing.assert_allclose(seen[1], T.Resize((4, 4))(UNIT[1, :, :, 3:5]), atol=1e-6)
    whole = T.RandomResizedCrop((12, 9), scale=(1, 1), ratio=(0.75, 0.75))
    np.testing.assert_array_equal(whole(PICTURES, rng()), PICTURES)
    flat = np.full((50, 1, 10, 10), 0.3, np.float32)
    np.testing.assert_allclose(T.RandomResizedCrop(5, scale=(1e-6, 1))(flat, rng()), 0.3, rtol=1e-6)


def test_crops() -> None:
    assert np.array_equal(T.CenterCrop((4, 3))(PICTURES), PICTURES[:, :, 4:8, 3:6])
    ramp = np.broadcast_to(np.arange(144, dtype=np.uint8).reshape(1, 1, 12, 12), (500, 1, 12, 12))
    out = T.RandomCrop(10)(ramp, rng())
    corners = {(int(c) // 12, int(c) % 12) for c in out[:, 0, 0, 0]}
    assert corners == {(i, j) for i in range(3) for j in range(3)}
    for crop in out[:20]:
        i, j = divmod(int(crop[0, 0, 0]), 12)
        assert np.array_equal(crop, ramp[0, :, i : i + 10, j : j + 10])
    padded = T.RandomCrop((16, 13), padding=2, fill=9)(PICTURES, rng())
    assert np.array_equal(padded, np.pad(PICTURES, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=9))
    edge = T.RandomCrop((16, 9), padding=(2, 0), padding_mode="edge")(PICTURES, rng())
    assert np.array_equal(edge[:, :, 0], PICTURES[:, :, 0])


def test_flips() -> None:
    many = np.repeat(PICTURES[:1], 1000, 0)
    for transform, axis in ((T.RandomHorizontalFlip(0.25), 2), (T.RandomVerticalFlip(0.25), 1)):
        out = transform(many, rng())
        turned = (out == np.flip(PICTURES[0], axis)).all((1, 2, 3))
        assert (turned | (out == PICTURES[0]).all((1, 2, 3))).all()
        assert 200 < turned.sum() < 300
    assert np.array_equal(T.RandomHorizontalFlip(1)(PICTURES), PICTURES[..., ::-1])


def test_to_float_and_normalize() -> None:
    np.testing.assert_array_equal(T.ToFloat()(PICTURES), PICTURES.astype(np.float32) / np.float32(255))
    expected = (UNIT - np.array([0.1, 0.2, 0.3])[:, None, None]) / np.array([1, 2, 4])[:, None, None]
    np.testing.assert_allclose(T.Normalize([0.1, 0.2, 0.3], [1, 2, 4])(PICTURES), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("color", ImageEnhance.Color)],
)
@pytest.mark.parametrize("strength", [-0.8, 0.0, 0.5])
def test_colours_are_pillows(change: str, enhance: Any, strength: float) -> None:
    seen = T.RandAugment().change(change, UNIT, np.full(6, strength))
    for ours, picture in zip(seen, PICTURES, strict=True):
        expected = array(enhance(pillow(picture)).enhance(1 + 0.9 * strength))
        np.testing.assert_allclose(ours * 255, expected, atol=1.6)  # Pillow's greys are integers


def test_sharpness_is_pillows() -> None:
    seen = T.RandAugment().change("sharpness", UNIT, np.full(6, 0.5))
    expected = array(ImageEnhance.Sharpness(pillow(PICTURES[0])).enhance(1.45))
    np.testing.assert_allclose(seen[0] * 255, expected, atol=1.6)


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [
        ("autocontrast", 0.5, ImageOps.autocontrast),
        ("posterize", 0.5, lambda image: ImageOps.posterize(image, 6)),
        ("solarize", 0.6, lambda image: ImageOps.solarize(image, 102)),
    ],
)
def test_tables_are_pillows(name: str, strength: float, expected: Any) -> None:
    seen = T.RandAugment().change(name, UNIT, np.full(6, -strength))
    for ours, picture in zip(seen, PICTURES, strict=True):
        np.testing.assert_allclose(ours * 255, array(expected(pillow(picture))), atol=1.01)


def test_equalize() -> None:
    """The levels that occur end up evenly spread, in their order."""
    levels = np.array([10, 20, 20, 200], np.float32).reshape(1, 1, 2, 2) / 255
    seen = T.RandAugment().change("equalize", levels, np.ones(1))
    np.testing.assert_allclose(seen.ravel(), [0, 2 / 3, 2 / 3, 1], atol=1e-6)
    flat = np.full((1, 3, 4, 4), 0.25, np.float32)
    np.testing.assert_array_equal(T.RandAugment().change("equalize", flat, np.ones(1)), flat)


def test_hue_is_the_standard_librarys() -> None:
    turns = np.linspace(-0.5, 0.5, 6)
    seen = augment._hue(UNIT, turns)
    for ours, picture, turn in zip(seen, UNIT, turns, strict=True):
        for i, j in ((0, 0), (3, 4), (11, 8), (5, 5)):
            h, s, v = colorsys.rgb_to_hsv(*map(float, picture[:, i, j]))
            np.testing.assert_allclose(ours[:, i, j], colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-5)


def test_color_jitter_of_one_strength() -> None:
    """Equal bounds leave nothing to chance, but they still change the pictures."""
    enhancers = {
        "brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "saturation": ImageEnhance.Color,
    }  # fmt: skip
    for name, enhance in enhancers.items():
        ours = T.ColorJitter(**{name: (0.5, 0.5)})(PICTURES[0]).astype(int)
        assert np.abs(ours - array(enhance(pillow(PICTURES[0])).enhance(0.5))).max() <= 1
    turned = augment._hue(UNIT, np.full(6, 0.5))
    np.testing.assert_array_equal(T.ColorJitter(hue=(0.5, 0.5))(UNIT), np.clip(turned, 0, 1))


def test_color_jitter_keeps_to_its_bounds() -> None:
    grey = np.full((400, 3, 2, 2), 0.4, np.float32)
    out = T.ColorJitter(brightness=(0.5, 2.0))(grey, rng())[:, 0, 0, 0]
    assert 0.2 <= out.min() < 0.22 and 0.78 < out.max() <= 0.8
    np.testing.assert_array_equal(T.ColorJitter()(PICTURES, rng()), PICTURES)
    assert not np.array_equal(T.ColorJitter(hue=0.5)(PICTURES, rng()), PICTURES)


def test_grey() -> None:
    expected = np.asarray(pillow(PICTURES[0]).convert("L"))
    assert np.abs(T.Grayscale()(PICTURES)[0, 0].astype(int) - expected).max() <= 1
    assert T.Grayscale(3)(PICTURES[:, :1]).shape == (6, 3, 12, 9)


def test_erasing() -> None:
    images = np.ones((300, 3, 20, 20), np.float32)
    out = T.RandomErasing(0.5, scale=(0.1, 0.2), ratio=(0.5, 2), value=0.25)(images, rng())
    erased = (out == 0.25).all(1)
    counts = erased.sum((1, 2))
    assert 110 < (counts > 0).sum() < 190
    assert 30 < counts[counts > 0].min() and counts.max() < 95  # a tenth to a fifth of 400, sides rounded
    for mask in erased[counts > 0][:20]:
        assert np.array_equal(mask, np.outer(mask.any(1), mask.any(0)))
    whole = T.RandomErasing(1, scale=(1, 1), ratio=(1, 1), value=(1, 2, 255))(PICTURES[:, :, :9])
    assert (whole == np.array([1, 2, 255])[:, None, None]).all()


def test_rotation() -> None:
    square = UNIT[:, :, :9, :9]
    np.testing.assert_allclose(T.RandomRotation((90, 90))(square), np.rot90(square, axes=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(T.RandomRotation(0)(square), square, atol=1e-6)
    seen = augment.warp(square, augment._affine(6, x=2), fill=0.5)
    np.testing.assert_allclose(seen[..., :7], square[..., 2:], atol=1e-6)
    np.testing.assert_allclose(seen[..., 7:], 0.5)
    expected = pillow(PICTURES[0, :, :9, :9]).rotate(33, Image.Resampling.BILINEAR)
    inner = slice(3, 6)
    ours = T.RandomRotation((33, 33))(PICTURES[:1, :, :9, :9])[0]
    assert np.abs(ours[:, inner, inner].astype(int) - array(expected)[:, inner, inner]).max() <= 2


def test_rand_augment() -> None:
    np.testing.assert_array_equal(T.RandAugment(0)(PICTURES, rng()), PICTURES)
    for name in T.RandAugment.names:
        for strength in (-1.0, 0.0, 1.0):
            out = T.RandAugment().change(name, UNIT, np.full(6, strength))
            assert out.shape == UNIT.shape and np.isfinite(out).all()
            if strength == 0 and name not in ("autocontrast", "equalize", "solarize"):
                np.testing.assert_allclose(out, UNIT, atol=1e-5)
    assert not np.array_equal(T.RandAugment()(PICTURES, rng(1)), T.RandAugment()(PICTURES, rng(2)))
    assert T.RandAugment()(PICTURES[:, :1], rng()).shape == (6, 1, 12, 9)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: T.ToFloat()(np.zeros((2, 2))), ValueError, "ToFloat: needs images (n, channels, height, width) or"),
        (lambda: T.ToFloat()(np.zeros((1, 2, 2), int)), TypeError, "needs uint8 or floating images: int64"),
        (lambda: T.Resize(4)(pillow(PICTURES[0])), TypeError, "Resize: needs an array, not a picture of Pillow: Image"),
        (lambda: T.Resize(4)(PICTURES[:, :, :0]), ValueError, "Resize: the pictures have no pixels: (6, 3, 0, 9)"),
        (lambda: T.CenterCrop(20)(PICTURES), ValueError, "CenterCrop: the picture is smaller than the crop: 12x9"),
        (lambda: T.RandomCrop(20)(PICTURES), ValueError, "RandomCrop: the picture is smaller than the crop"),
        (lambda: T.RandomCrop(0), ValueError, "size must be a positive integer or two of them: 0"),
        (lambda: T.RandomCrop(3, padding_mode="wrap"), ValueError, "no such padding_mode: 'wrap'"),
        (lambda: T.Resize((1, 2, 3)), ValueError, "size must be a positive integer or two of them: (1, 2, 3)"),
        (lambda: T.RandomHorizontalFlip(2), ValueError, "p must be between 0 and 1: 2"),
        (lambda: T.Normalize(0, 0), ValueError, "std must not be zero: 0"),
        (lambda: T.Normalize([1, 2], 1)(PICTURES), ValueError, "one for each channel: 2 numbers, 3 channels"),
        (lambda: T.Grayscale(2), ValueError, "num_output_channels must be 1 or 3: 2"),
        (lambda: T.Grayscale()(PICTURES[:, :2]), ValueError, "colours need 1 or 3 channels: 2"),
        (lambda: T.ColorJitter(hue=0.6), ValueError, "hue is out of range: 0.6"),
        (lambda: T.ColorJitter((1, 0)), ValueError, "brightness is out of range: (1, 0)"),
        (lambda: T.RandomErasing(value="x"), ValueError, "value must be numbers or 'random': 'x'"),
        (lambda: T.RandomErasing(1, value=300)(PICTURES), ValueError, "uint8 pictures need values from 0 to 255: 300"),
        (lambda: T.RandomErasing(1, value=(1, 2))(PICTURES), ValueError, "one for each channel: (2,), 3 channels"),
        (lambda: T.RandomErasing(scale=(0, 2)), ValueError, "bounds must be in order"),
        (lambda: T.RandomResizedCrop(3, scale=(0, 1)), ValueError, "bounds must be positive and in order"),
        (lambda: T.RandomRotation(-3), ValueError, "degrees must be positive, or two bounds: -3"),
        (lambda: T.RandAugment(1, 31), ValueError, "magnitude=31 of 31"),
        (lambda: T.Transform()(PICTURES), NotImplementedError, "Transform does not define batch"),
    ],
)
def test_transforms_refuse(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        make()

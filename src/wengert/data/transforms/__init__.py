"""Transforms and augmentation of pictures, for whole batches of NumPy arrays at once.

Every transform takes (n, channels, height, width) or one picture (channels, height, width), uint8 from
0 to 255 or float32 from 0 to 1, and gives the same dtype back (but for `ToFloat` and `Normalize`). Each
picture of a batch draws for itself. ``transform(images, generator)`` takes a ``np.random.Generator``;
without one, a key of Wengert's global generator seeds it, which a `DataLoader` seeds for each batch.
"""

from .augment import ColorJitter, Grayscale, RandAugment, RandomErasing, RandomRotation
from .base import Compose, Lambda, Transform
from .clips import PerClip
from .geometry import (
    CenterCrop,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
    ToFloat,
)

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Grayscale",
    "Lambda",
    "Normalize",
    "PerClip",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToFloat",
    "Transform",
]

"""Pictures: files and folders of them (with Pillow), and arrays of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, message, need
from ..utils.data import Dataset
from .folders import DatasetFolder

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif")


def read_image(path: str | os.PathLike[str], mode: str = "RGB") -> Any:
    """Read a picture; uint8 (channels, height, width).

    Args:
        path: a file of any format that Pillow reads.
        mode: "RGB" (3 channels), "L" (grey, 1 channel) or "RGBA" (4 channels).

    Of 16 bits the upper 8 are kept.

    Raises:
        ArgumentError: the file is not a picture that Pillow can read, or its pixels have 32 bits, or no such mode.

    >>> import tempfile, numpy as np
    >>> from wengert import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data.write_image(np.full((3, 4, 6), 7, np.uint8), f"{folder}/a.png")
    ...     data.read_image(f"{folder}/a.png", "L").tolist()[0][0]
    [7, 7, 7, 7, 7, 7]
    """
    pillow = need("PIL.Image", "images", "read_image")
    if mode not in ("RGB", "L", "RGBA"):
        raise ArgumentError(message("read_image", "mode must be 'RGB', 'L' or 'RGBA'", repr(mode)))
    try:
        with pillow.open(path) as picture:
            pixels = np.asarray(_eight_bits(pillow, picture).convert(mode))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise ArgumentError(message("read_image", "cannot read the picture", f"{path}: {error}")) from error
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _eight_bits(pillow: Any, picture: Any) -> Any:
    """The picture itself, or that of its upper bytes: Pillow would cut off what is above 255."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        return pillow.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, and no largest value is known")
    return picture


def write_image(image: Any, path: str | os.PathLike[str]) -> None:
    """Write uint8 (channels, height, width) with 1, 3 or 4 channels; the name's ending says the format.

    Raises:
        ArgumentError: Pillow cannot write such a file.
    """
    pillow = need("PIL.Image", "images", "write_image")
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] not in (1, 3, 4):
        seen = f"{pixels.dtype} {pixels.shape}"
        raise ShapeError(message("write_image", "needs uint8 (channels, height, width), 1, 3 or 4 channels", seen))
    picture = pillow.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    try:
        picture.save(path)
    except (OSError, ValueError, SystemError) as error:
        raise ArgumentError(message("write_image", "cannot write the picture", f"{path}: {error}")) from error


class ArrayImages(Dataset):
    """Pictures of one size in an array, with their labels; transforms work on a whole batch at once.

    Args:
        images: (N, channels, height, width).
        targets: (N) integers.
        transform: is given the pictures of a batch (n, channels, height, width), or of one sample
            (channels, height, width); those of `wengert.data.transforms` take both.
        target_transform: is given one label.

    >>> import numpy as np
    >>> from wengert.data import ArrayImages
    >>> data = ArrayImages(np.zeros((5, 1, 2, 2), np.uint8), [0, 1, 0, 1, 1])
    >>> data[3][0].shape, data[3][1]
    ((1, 2, 2), 1)
    """

    def __init__(
        self,
        images: Any,
        targets: Sequence[int] | Any,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        self.images, self.targets = np.asarray(images), np.asarray(targets)
        if self.images.ndim != 4 or self.targets.shape != self.images.shape[:1]:
            raise ShapeError(
                message(
                    type(self).__name__,
                    "needs images (N, channels, height, width) and N labels",
                    f"{self.images.shape} and {self.targets.shape}",
                )
            )
        self.transform, self.target_transform = transform, target_transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = self.images[index]
        return image if self.transform is None else self.transform(image), self._target(index)

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """The samples of a batch, transformed together."""
        images = self.images[np.asarray(indices, np.int64)]
        if self.transform is not None:
            images = self.transform(images)
        return list(zip(images, (self._target(index) for index in indices), strict=True))

    def _target(self, index: int) -> Any:
        label = int(self.targets[index])
        return label if self.target_transform is None else self.target_transform(label)


class ImageFolder(DatasetFolder):
    """Pictures in one folder for each class: ``root/cat/1.png``, ``root/dog/a/2.jpg``; see `DatasetFolder`.

    Args:
        root: the folder.
        transform: is given each picture, uint8 (channels, height, width).
        target_transform: is given each class number.
        loader: reads a file; `read_image` unless given.
        is_valid_file: whether a file is to be read; by default its ending decides.
        allow_empty: whether a class may have no pictures.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        loader: Callable[[str], Any] = read_image,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, loader, EXTENSIONS, transform, target_transform, is_valid_file, allow_empty)

"""What all transforms share: batches, generators, dtypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import ArgumentError, DTypeError, ShapeError, message
from ...random import default_generator


def fresh_generator() -> np.random.Generator:
    """A generator seeded by the next key of Wengert's global one."""
    return np.random.default_rng(default_generator.next_key())


class Transform:
    """Base of transforms: a subclass defines ``batch(images, rng)`` for (n, channels, height, width)."""

    def __call__(self, images: Any, generator: np.random.Generator | None = None) -> Any:
        """Transform a batch, or one picture."""
        name = type(self).__name__
        if hasattr(images, "getbands"):  # its array would have the channels last, and be taken for something else
            cure = "read_image reads files as arrays; np.asarray(picture).transpose(2, 0, 1) is one"
            raise DTypeError(message(name, "needs an array, not a picture of Pillow", type(images).__name__, cure))
        array = np.asarray(images)
        if array.ndim not in (3, 4):
            wanted = "needs images (n, channels, height, width) or (channels, height, width)"
            raise ShapeError(message(name, wanted, str(array.shape)))
        if 0 in array.shape[-3:]:
            raise ShapeError(message(name, "the pictures have no pixels", str(array.shape)))
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise DTypeError(message(name, "needs uint8 or floating images", str(array.dtype)))
        single = array.ndim == 3
        out = self.batch(array[None] if single else array, self._generator(generator))
        return out[0] if single else out

    def _generator(self, generator: np.random.Generator | None) -> Any:
        return fresh_generator() if generator is None else generator

    def batch(self, images: Any, rng: np.random.Generator) -> Any:
        """The transformed batch; ``rng`` draws what is random."""
        raise NotImplementedError(f"{type(self).__name__} does not define batch")

    def __repr__(self) -> str:
        inner = ", ".join(f"{key}={value}" for key, value in self.__dict__.items() if not key.startswith("_"))
        return f"{type(self).__name__}({inner})"


class Fixed(Transform):
    """Base of transforms that draw nothing: they take no key either."""

    def _generator(self, generator: np.random.Generator | None) -> Any:
        return generator


class Compose(Transform):
    """Transforms one after the other; functions of one argument may stand among them.

    >>> import numpy as np
    >>> from wengert.data import transforms as T
    >>> prepare = T.Compose([T.CenterCrop(2), T.ToFloat()])
    >>> prepare(np.full((1, 4, 4), 51, np.uint8)).tolist()
    [[[0.20000000298023224, 0.20000000298023224], [0.20000000298023224, 0.20000000298023224]]]
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Any, generator: np.random.Generator | None = None) -> Any:
        """Apply all of them; they share one generator."""
        rng = fresh_generator() if generator is None else generator
        for transform in self.transforms:
            images = transform(images, rng) if isinstance(transform, Transform) else transform(images)
        return images


class Lambda(Transform):
    """A function of a batch as a transform."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, images: Any, generator: np.random.Generator | None = None) -> Any:
        """Apply the function."""
        return self.function(images)


def as_unit(images: Any) -> Any:
    """Pictures as floats from 0 to 1."""
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images


def back(images: Any, like: Any) -> Any:
    """Floats from 0 to 1 in the dtype that pictures came in; clipped."""
    images = np.clip(images, 0, 1)
    if like.dtype == np.uint8:
        return np.rint(images * 255).astype(np.uint8)
    return images.astype(like.dtype, copy=False)


def columns(values: Any) -> Any:
    """One number for each picture, to be broadcast over its pixels."""
    return np.asarray(values, np.float32)[:, None, None, None]


def pair(name: str, value: Any, what: str = "size") -> tuple[int, int]:
    """A size as (height, width)."""
    both = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(both) != 2 or any(not isinstance(side, int | np.integer) or side < (what == "size") for side in both):
        raise ArgumentError(message(name, f"{what} must be a positive integer or two of them", repr(value)))
    return int(both[0]), int(both[1])


def probability(name: str, p: float) -> float:
    """A probability, checked."""
    if not 0 <= p <= 1:
        raise ArgumentError(message(name, "p must be between 0 and 1", str(p)))
    return p

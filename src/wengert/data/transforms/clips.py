"""Transforms of pictures for the clips of videos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import ShapeError, message
from .base import Transform, fresh_generator


class PerClip(Transform):
    """A transform of pictures with the same random decisions for all frames of a clip.

    Without it, every frame of a clip would be cropped at another place. The frames are changed one by one, and
    the generator is set back for each; so it works for every `Transform`, but not for functions that draw from
    elsewhere.

    Args:
        transform: of pictures, also a `Compose`.

    Shape:
        clip (frames, channels, height, width), or several (n, frames, channels, height, width), each of which
        draws for itself.

    >>> import numpy as np
    >>> from wengert.data import transforms as T
    >>> clip = np.broadcast_to(np.arange(25, dtype=np.uint8).reshape(5, 5), (8, 1, 5, 5))
    >>> out = T.PerClip(T.RandomCrop(2))(clip)
    >>> out.shape, bool((out == out[0]).all())
    ((8, 1, 2, 2), True)
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        self.transform = transform

    def __call__(self, images: Any, generator: np.random.Generator | None = None) -> Any:
        """Transform a clip, or several."""
        clips = np.asarray(images)
        if clips.ndim not in (4, 5) or not clips.shape[-4]:
            wanted = "needs a clip (frames, channels, height, width) or several, with frames"
            raise ShapeError(message("PerClip", wanted, str(clips.shape)))
        rng = fresh_generator() if generator is None else generator
        if clips.ndim == 4:
            return self._clip(clips, rng)
        return np.stack([self._clip(clip, rng) for clip in clips])

    def _clip(self, clip: Any, rng: np.random.Generator) -> Any:
        state = rng.bit_generator.state
        frames = []
        for frame in clip:
            rng.bit_generator.state = state
            frames.append(
                self.transform(frame, rng) if isinstance(self.transform, Transform) else self.transform(frame)
            )
        return np.stack(frames)

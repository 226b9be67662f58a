"""Every batch is drawn under its own seed, so that it is the same whoever draws it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ...random import default_generator


def seed_all(base: int, *position: int) -> None:
    """Seed the global generators of Wengert, NumPy and Python from an epoch's seed and a place in it."""
    words = np.random.SeedSequence([base, *position]).generate_state(6)
    default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:4])
    random.seed(int(words[4]) << 32 | int(words[5]))


@contextmanager
def seeded(base: int, *position: int) -> Iterator[None]:
    """Draw under a seed of its own, and leave the global generators as they were."""
    ours = default_generator.clone_state()
    numpys, pythons = np.random.get_state(legacy=False), random.getstate()
    seed_all(base, *position)
    try:
        yield
    finally:
        default_generator._seed, default_generator._offset = ours._seed, ours._offset
        np.random.set_state(numpys)
        random.setstate(pythons)

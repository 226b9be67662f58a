"""The random generators that a training run draws from: seeding, saving, restoring."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from ..errors import ArgumentError, message
from ..random import default_generator


def seed_everything(seed: int) -> None:
    """Seed the global generators of Wengert, NumPy and Python. Call it before the model is made.

    Args:
        seed: from 0 to 2³² - 1, which is what NumPy takes.

    >>> import wengert as wg
    >>> wg.train.seed_everything(3)
    >>> first = wg.rand(2)
    >>> wg.train.seed_everything(3)
    >>> wg.equal(first, wg.rand(2))
    True
    """
    if not isinstance(seed, int) or not 0 <= seed < 1 << 32:
        raise ArgumentError(message("seed_everything", "the seed must be an integer from 0 to 2**32 - 1", repr(seed)))
    default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def rng_state() -> dict[str, Any]:
    """The states of all three generators, as data that `wg.save` takes."""
    return {
        "wengert": default_generator.get_state(),
        "numpy": np.random.get_state(legacy=False),
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Go on where `rng_state` was taken."""
    default_generator.set_state(state["wengert"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])

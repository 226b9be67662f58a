"""``wg.cuda``: what programs for PyTorch ask about graphics cards. There is none; `wengert` computes on processors."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """Whether there is a graphics card to compute on: no.

    >>> import wengert as wg
    >>> wg.device("cuda" if wg.cuda.is_available() else "cpu")
    device(type='cpu')
    """
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether such a card knows bfloat16: there is none."""
    return False


def is_initialized() -> bool:
    """Whether there is anything to begin with."""
    return False


def device_count() -> int:
    """How many such cards there are: none."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed the card's generator, of which there is none; `wengert.manual_seed` seeds the one that is there."""


def manual_seed_all(seed: int) -> None:
    """The same for all cards."""


def synchronize(device: Any = None) -> None:
    """Wait until the card has done its work, of which there is none."""


def empty_cache() -> None:
    """Give memory back that is kept on the card, of which there is none."""


__all__ = [
    "device_count", "empty_cache", "is_available", "is_bf16_supported", "is_initialized", "manual_seed",
    "manual_seed_all", "synchronize",
]  # fmt: skip

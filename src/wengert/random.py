"""Counter-based random bits (Philox4x32-10) and the generators that hand out keys.

A draw is a pure function of a key (seed, offset) and of the position of the element, so its bits do
not depend on threads, order or tier, and a recorded draw can be repeated.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from .config import STATE
from .errors import ArgumentError, TraceError, message

_DEFAULT_SEED = 67280421310721
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_CHUNK = 1 << 14  # blocks at a time: the working set stays in the L2 cache


def _rounds(block: Any, seed: int, offset: int) -> Any:
    """Four words for each block number; (n, 4) uint32."""
    c0, c1 = block & _LOW, block >> _32
    c2 = np.full_like(block, offset & 0xFFFFFFFF)
    c3 = np.full_like(block, (offset >> 32) & 0xFFFFFFFF)
    k0, k1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            (p1 >> _32) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _32) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], -1).astype(np.uint32)


def philox(seed: int, offset: int, n: int, first: int = 0) -> Any:
    """``n`` 32-bit words of the stream of a key, from word ``first`` on.

    >>> philox(0, 0, 4)
    array([1713891541, 3781805453, 3159862348, 2600524760], dtype=uint32)
    """
    block, skipped = divmod(first, 4)
    out = np.empty((-(-(skipped + n) // 4), 4), np.uint32)
    for start in range(0, len(out), _CHUNK):
        stop = min(start + _CHUNK, len(out))
        out[start:stop] = _rounds(np.arange(block + start, block + stop, dtype=np.uint64), seed, offset)
    return out.reshape(-1)[skipped : skipped + n]


_TURN = [threading.Lock()]


def _renew() -> None:
    """In a child process nobody would let go of what another thread had."""
    _TURN[0] = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


class Generator:
    """A source of keys: a seed, and an offset that every draw moves on.

    >>> import wengert as wg
    >>> g = wg.Generator().manual_seed(3)
    >>> a = wg.rand(2, generator=g)
    >>> bool((a == wg.rand(2, generator=g.manual_seed(3))).all())
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = device
        self._seed, self._offset = _DEFAULT_SEED, 0

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of a seed (any 64-bit integer, negative ones too)."""
        _not_while_capturing("manual_seed")
        try:
            self._seed = int(seed) % (1 << 64)
        except (TypeError, ValueError):
            raise ArgumentError(message("manual_seed", "the seed must be an integer", repr(seed))) from None
        self._offset = 0
        return self

    def seed(self) -> int:
        """Start a stream from the operating system's randomness; returns the seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._seed

    def get_state(self) -> Any:
        """Seed and offset as a uint64 tensor, for `set_state`."""
        from .graph.handle import wrap

        return wrap(np.array([self._seed, self._offset], np.uint64))

    def set_state(self, state: Any) -> None:
        """Go on where `get_state` was taken."""
        _not_while_capturing("set_state")
        values = np.asarray(state._value if hasattr(state, "_value") else state)
        if values.shape != (2,):
            raise ArgumentError(message("set_state", "not a state of a generator", f"shape {values.shape}"))
        self._seed, self._offset = int(values[0]), int(values[1])

    def next_key(self) -> Any:
        """The key of the next draw: uint64 [seed, offset]."""
        _not_while_capturing("next_key")
        return np.array([self._seed, self.reserve(1)], np.uint64)

    def reserve(self, n: int) -> int:
        """The offset of the first of ``n`` draws, which no other thread gets."""
        with _TURN[0]:
            first = self._offset
            self._offset = first + n
        return first

    def give_back(self, first: int, n: int) -> None:
        """These draws were not made: go back, unless others have drawn meanwhile."""
        with _TURN[0]:
            if self._offset == first + n:
                self._offset = first

    def clone_state(self) -> Generator:
        """A generator that goes on like this one."""
        other = Generator(self.device)
        other._seed, other._offset = self._seed, self._offset
        return other


def _not_while_capturing(name: str) -> None:
    """A program gets its keys from outside; what Python code does to a generator would be done once, while tracing."""
    if STATE.trace is not None and STATE.trace.captures_all:
        raise TraceError(
            message(name, "a compiled function cannot set the state of a generator, nor take keys from it itself",
                    cure="Seed before the call")
        )  # fmt: skip


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; the same seed gives the same numbers on every machine."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """State of the default generator."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Put the default generator into a state that `get_rng_state` gave."""
    default_generator.set_state(new_state)

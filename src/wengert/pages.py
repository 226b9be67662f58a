"""Large memory in huge pages, where the system has them.

Memory that nothing has touched before costs a fault for each page: 1.3 µs for 4 KiB on a virtual machine, half of the
time in which a training step writes its first gradients. A huge page of 2 MiB costs 90. So memory begins where a huge
page does, and all that fill one whole are asked for; the rest comes in small ones, so that nothing is taken in vain.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import math
import mmap
import sys
import tracemalloc
from typing import Any

import numpy as np

HUGE = 1 << 21
LINE, PAGE = 64, 4096
_ADVICE: Any = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux alone

# Where in their pages blocks begin: if it were the same for all, they would contend for the same sets of the caches.
_places = itertools.count(step=5 * LINE)


@functools.cache
def _trim() -> Any:
    """What gives the free memory of C's allocator back to the system; glibc alone has it."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def trim() -> None:
    """Give back the pages that an allocator keeps though nothing is in them, as after compiling."""
    give_back = _trim()
    if give_back is not None:
        give_back(0)


class Sole:
    """Memory as the base of one array, which makes it that array's own: views of the array have that as base."""

    __slots__ = ()


def is_own(base: Any) -> bool:
    """Whether what an array has as base leaves its memory to that array alone."""
    return base is None or isinstance(base, Sole)


class _Mapping(Sole):
    """Pages of zeros of the system's, which go back to it with the last array over them.

    While `tracemalloc` looks it is told of them, as of all memory of NumPy's.
    """

    __slots__ = ("__array_interface__", "memory", "told")

    def __init__(self, size: int, shape: tuple[int, ...], typestr: str) -> None:
        self.told = 0
        place = next(_places) % (PAGE - LINE)
        self.memory = mmap.mmap(-1, size + place + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = np.frombuffer(self.memory, np.uint8).ctypes.data
        skipped = -start % HUGE
        with contextlib.suppress(OSError):  # a kernel without huge pages
            self.memory.madvise(_ADVICE, skipped, (size + place) // HUGE * HUGE)
        data = (start + skipped + place, False)
        self.__array_interface__ = {"shape": shape, "typestr": typestr, "data": data, "version": 3}
        if tracemalloc.is_tracing() and _told(data[0], size):
            self.told = data[0]

    def __del__(self) -> None:
        if self.told:
            _told(self.told)


def _told(address: int, size: int | None = None) -> bool:
    """Tell `tracemalloc` of new memory, or that it has gone; whether it took it in."""
    domain = ctypes.c_uint(np.lib.tracemalloc_domain)
    if size is None:
        return ctypes.pythonapi.PyTraceMalloc_Untrack(domain, ctypes.c_size_t(address)) == 0
    return ctypes.pythonapi.PyTraceMalloc_Track(domain, ctypes.c_size_t(address), ctypes.c_size_t(size)) == 0


def block(size: int) -> np.ndarray:
    """Bytes that begin at a line of the cache; what is in them is whatever was there."""
    found = _mapped(size, (size,), "|u1")
    if found is not None:
        return found
    raw = np.empty(size + PAGE, np.uint8)
    start = -raw.ctypes.data % LINE + next(_places) % (PAGE - LINE)
    return raw[start : start + size]


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of zeros. Its pages are taken when something is written there."""
    dtype = np.dtype(dtype)
    found = None
    if dtype.isbuiltin == 1:  # of other dtypes NumPy cannot be told by a string
        found = _mapped(math.prod(shape) * dtype.itemsize, tuple(shape), dtype.str)
    return np.zeros(shape, dtype) if found is None else found


def _mapped(size: int, shape: tuple[int, ...], typestr: str) -> np.ndarray | None:
    if size < HUGE or _ADVICE is None:
        return None
    try:
        return np.asarray(_Mapping(size, shape, typestr))
    except OSError:  # no memory: let NumPy say so
        return None

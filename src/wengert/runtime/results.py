"""Memory of large results, kept when the last array over it has gone, for the next result of that size.

Fresh memory comes from the system a page at a time, and each page is cleared first: a softmax over 256 MiB then takes
1.7 times as long. What is kept is bounded by ``WENGERT_KEEP_BYTES`` (512 MiB; 0 keeps none). Kept or not, large memory
begins at a line of the cache: temporaries lie in results that are still to be written, and kernels count on that.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import pages
from ..schedule.memory import LODGED

LARGE = LODGED  # bytes of a result from which on its memory is kept: allocators hand smaller pieces out again
MOST = int(os.environ.get("WENGERT_KEEP_BYTES", 512 << 20))

Piece = tuple[np.ndarray, int]  # memory, and its address

# Free pieces by size. Operations of lists and dictionaries are atomic, and no more is needed: what a race between two
# threads makes forget is only freed.
_free: dict[int, list[Piece]] = {}


class _Lease(pages.Sole):
    """What an array over some memory has as base: it knows when that and all views of it have gone."""

    __slots__ = ("__array_interface__", "piece")

    def __init__(self, piece: Piece, shape: tuple[int, ...], typestr: str) -> None:
        self.piece = piece
        self.__array_interface__ = {"shape": shape, "typestr": typestr, "data": (piece[1], False), "version": 3}

    def __del__(self) -> None:
        _give_back(self.piece)


def _give_back(piece: Piece) -> None:
    size = piece[0].size
    if size > MOST:
        return
    same = _free.get(size)
    if same is None:
        same = _free[size] = []
    same.append(piece)
    if sum([n * len(pieces) for n, pieces in _free.copy().items()]) > MOST:
        _trim(size)


def _trim(latest: int) -> None:
    """Free pieces of other sizes than the latest one, those first that came up first, until the rest is not too much.

    Then of that size, too.
    """
    excess = sum([n * len(pieces) for n, pieces in _free.copy().items()]) - MOST
    for size in [*[n for n in _free.copy() if n != latest], latest]:
        pieces = _free.get(size, [])
        while excess > 0 and pieces:
            del pieces[-1:]
            excess -= size
        if not pieces:
            _free.pop(size, None)


def maker(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[Any, Any], np.ndarray]:
    """What makes arrays of a shape and dtype whose elements are whatever was there: called with both of them."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty
    named = dtype.isbuiltin == 1  # of other dtypes NumPy cannot be told by a string
    typestr = dtype.str if named else f"|V{dtype.itemsize}"

    def make(shape: Any, dtype: Any) -> np.ndarray:
        try:
            piece = _free[size].pop()
        except (KeyError, IndexError):
            memory = pages.block(size)
            piece = memory, memory.ctypes.data
        x = np.asarray(_Lease(piece, shape, typestr))
        if not named:
            # No view of it: views of that would not refer to it, by which others see that it is shared.
            x.dtype = dtype  # type: ignore[misc]
        return x

    return make


def is_made(x: np.ndarray) -> bool:
    """Whether an array is as a `maker` makes it: large ones begin at a line of the cache."""
    return x.nbytes < LARGE or type(x.base) is _Lease


def release() -> None:
    """Give all memory that is kept back to the system, and what allocators keep."""
    _free.clear()
    pages.trim()

"""Batches from process to process: small ones through the pipe, arrays of large ones through shared memory.

A batch is pickled with its arrays out of band. One segment of shared memory carries them; the receiver takes
them over and removes the segment, so none outlives the batch. An array that makes up most of a large batch is
not copied: its pages stay where they are, mapped privately, so that nobody else sees what is written to them.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import threading
import warnings
import weakref
from collections.abc import Sequence
from multiprocessing import shared_memory
from typing import Any

import ml_dtypes
import numpy as np

from ...errors import GraphError, message
from ...graph.handle import wrap
from ...tensor import Tensor

INLINE = 1 << 15  # bytes; less than a pipe holds, and less than a segment is worth
ALIGN = 64
MAPPED = 1 << 20  # bytes; for fewer a copy is quicker
MOST_MAPPED = 64  # mappings at a time, for each keeps a file descriptor
SHELF = "/dev/shm" if sys.platform == "linux" else None  # where segments are files
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def _restore(array: Any, requires_grad: bool) -> Any:
    tensor = wrap(array)
    return tensor.requires_grad_() if requires_grad else tensor


def _as_bfloat16(words: Any) -> Any:
    return words.view(BFLOAT16)


class _Pickler(pickle.Pickler):
    """Leaves arrays, also those of tensors, out of the stream."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor:
            if obj.requires_grad and not obj.is_leaf:
                raise GraphError(
                    message("DataLoader", "only leaves can leave a worker process", str(obj.aval), "Use x.detach()")
                )
            return _restore, (np.asarray(obj._concrete("DataLoader"), order="C"), obj.requires_grad)
        if type(obj) is np.ndarray and obj.dtype == BFLOAT16:  # pickled by value otherwise
            return _as_bfloat16, (np.asarray(obj, order="C").view(np.uint16),)
        if type(obj) is np.ndarray and not (obj.flags.c_contiguous or obj.flags.f_contiguous):
            return np.ascontiguousarray(obj).__reduce_ex__(5)
        return NotImplemented


def pack(batch: Any, name: str) -> bytes:
    """A message that `unpack` turns into the batch; ``name`` is that of the segment, if one is needed."""
    buffers: list[Any] = []
    stream = io.BytesIO()
    _Pickler(stream, 5, buffer_callback=buffers.append).dump(batch)
    raw = [buffer.raw() for buffer in buffers]
    sizes = [view.nbytes for view in raw]
    if sum(sizes) <= INLINE:
        return pickle.dumps((stream.getvalue(), sizes, [bytes(view) for view in raw]))
    starts, total = _layout(sizes)
    segment = _segment(name, total)
    if segment is None:
        return pickle.dumps((stream.getvalue(), sizes, [bytes(view) for view in raw]))
    for start, view in zip(starts, raw):
        _bytes(segment)[start : start + view.nbytes] = view
    segment.close()
    return pickle.dumps((stream.getvalue(), sizes, name))


# Held while a segment is made: its name is told to the tracker, who removes it when nobody else does, only afterwards.
MAKING = threading.Lock()


def _segment(name: str, size: int) -> shared_memory.SharedMemory | None:
    """A new segment; None, and a warning, where there is no room for it."""
    segment = None
    try:
        with MAKING:
            segment = shared_memory.SharedMemory(name, create=True, size=size)
        if SHELF is not None:
            _reserve(name, size)
    except OSError as error:
        if segment is not None:
            segment.close()
            segment.unlink()
        seen = f"{size / 1e6:.1f} MB: {error.strerror}"
        cure = f"Batches go through pipes, which is slower; enlarge {SHELF or 'it'}, or use smaller batches"
        warnings.warn(message("DataLoader", "no room in shared memory", seen, cure), stacklevel=2)
        return None
    return segment


def _reserve(name: str, size: int) -> None:
    """Take the pages now: without room, writing to them later would kill the process."""
    file = os.open(f"{SHELF}/{name}", os.O_RDWR)
    try:
        os.posix_fallocate(file, 0, size)
    finally:
        os.close(file)


def unpack(data: bytes) -> Any:
    """The batch of a message; its arrays are this process's own, and can be written to."""
    stream, sizes, carried = pickle.loads(data)
    if not isinstance(carried, str):
        return pickle.loads(stream, buffers=[bytearray(piece) for piece in carried])
    segment = shared_memory.SharedMemory(carried)
    try:
        starts, total = _layout(sizes)
        mapped = _map(carried, total) if max(sizes) * 4 > sum(sizes) * 3 else None
        buffers: list[Any] = []
        for start, size in zip(starts, sizes):
            if mapped is not None and size == max(sizes):
                buffers.append(memoryview(mapped)[start : start + size])
                continue
            buffers.append(np.empty(size, np.uint8))
            buffers[-1].data[:] = _bytes(segment)[start : start + size]
    finally:
        segment.close()
        segment.unlink()
    return pickle.loads(stream, buffers=buffers)


_mappings: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def _map(name: str, size: int) -> mmap.mmap | None:
    """The pages of a segment, private to this process; None where a copy is better, or the only way."""
    if SHELF is None or size < MAPPED or len(_mappings) >= MOST_MAPPED:
        return None
    room = os.statvfs(SHELF)
    if room.f_bavail * 2 < room.f_blocks:  # a small one, as in containers: it must not fill up with what is kept
        return None
    file = os.open(f"{SHELF}/{name}", os.O_RDWR)
    try:
        mapped = mmap.mmap(file, size, flags=mmap.MAP_PRIVATE)
    finally:
        os.close(file)
    _mappings.add(mapped)
    return mapped


def discard(name: str) -> None:
    """Remove a segment that nobody will read; nothing happens where there is none."""
    try:
        segment = shared_memory.SharedMemory(name)
    except FileNotFoundError:
        return
    except ValueError:  # its maker was killed before it gave it a size: no bytes, but a name
        _unlink(name)
        return
    segment.close()
    segment.unlink()


def _unlink(name: str) -> None:
    from multiprocessing import resource_tracker

    try:
        import _posixshmem  # type: ignore[import-not-found]

        _posixshmem.shm_unlink("/" + name)
    except (ImportError, FileNotFoundError):
        return
    resource_tracker.unregister("/" + name, "shared_memory")


def _bytes(segment: shared_memory.SharedMemory) -> memoryview:
    view = segment.buf
    assert view is not None  # only a closed segment has none
    return view


def _layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where each buffer starts, and the size of the whole."""
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // ALIGN) * ALIGN
    return starts, end

"""Large memory: where it lies, what is in it, and who hears of it."""

from __future__ import annotations

import mmap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import wengert as wg
from wengert import pages

LARGE = (3 * pages.HUGE + 4096) // 4


def huge_kilobytes(x):
    """What the system says of huge pages behind an array."""
    address, found = x.ctypes.data, 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            begin, end = (int(n, 16) for n in first.split("-"))
            inside = begin < address + x.nbytes and end > address
        elif inside and first == "AnonHugePages:":
            found += int(line.split()[1])
    return found


def has_huge_pages():
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return hasattr(mmap, "MADV_HUGEPAGE") and enabled.exists() and "[never]" not in enabled.read_text()


def test_zeros_are_ordinary_arrays():
    for shape, dtype in (
        ((LARGE,), np.float32),
        ((2, LARGE), np.int64),
        ((3,), np.float32),
        ((0, 5), bool),
        ((), "f8"),
    ):
        x = pages.zeros(shape, dtype)
        assert type(x) is np.ndarray and x.shape == shape and x.dtype == dtype and not x.any()
        assert x.flags.c_contiguous and x.flags.aligned and x.flags.writeable
        x[...] = 1
        assert x.all()
    half = wg.zeros(LARGE, dtype=wg.bfloat16).numpy()
    assert half.dtype == wg.bfloat16.np and not half.any()


def test_blocks_begin_at_lines_but_not_all_at_the_same_place():
    for size in (1000, 5 * pages.HUGE):
        found = [pages.block(size) for _ in range(8)]
        assert all(x.nbytes == size and x.ctypes.data % 64 == 0 for x in found)
        assert len({x.ctypes.data % 4096 for x in found}) > 4


@pytest.mark.skipif(not has_huge_pages(), reason="the system has no huge pages")
def test_whole_ones_are_huge_and_nothing_beyond_is_taken():
    x = pages.zeros((LARGE,), np.float32)
    before = huge_kilobytes(x)
    x[...] = 1
    assert huge_kilobytes(x) - before == 3 * pages.HUGE >> 10 or huge_kilobytes(x) == 0  # where memory is in pieces


def test_is_counted_while_memory_is_traced():
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        x = pages.zeros((LARGE,), np.float32)
        during = tracemalloc.get_traced_memory()[0]
        assert during - before >= x.nbytes
        del x
        assert tracemalloc.get_traced_memory()[0] - before < 1 << 16
    finally:
        tracemalloc.stop()


def test_zeros_take_memory_when_they_are_written():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    like = wg.ones(1 << 24)
    before = resident()
    kept = [wg.zeros(1 << 24), wg.zeros_like(like), wg.full((1 << 24,), 0.0)]
    assert resident() - before < 1 << 24
    assert all(x.numpy()[-1] == 0 for x in kept)


def test_minus_zero_is_no_zero():
    for x in (wg.full((LARGE,), -0.0), wg.full_like(wg.ones(3), -0.0)):
        assert np.signbit(x.numpy()).all()


def test_what_does_not_fit_is_a_memory_error():
    with pytest.raises(MemoryError):
        pages.zeros((1 << 60,), np.int8)
    with pytest.raises(MemoryError):
        pages.block(1 << 60)

"""Two thousand random programs, in slices: compiled is what eager mode gives. ``make fuzz`` goes on from there."""

from __future__ import annotations

import pytest

from wengert.testing.fuzz import check

SLICE = 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 2000, SLICE))
def test_random_programs(first, monkeypatch):
    monkeypatch.setenv("WENGERT_CACHE", "0")  # nobody will compile these again
    found = [check(seed) for seed in range(first, first + SLICE)]
    assert not [f for f in found if f]

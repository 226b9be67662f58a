"""What programs for PyTorch ask and say about machines before they begin."""

from __future__ import annotations

import pytest

import wengert as wg


def test_boilerplate():
    device = wg.device("cuda" if wg.cuda.is_available() else "mps" if wg.backends.mps.is_available() else "cpu")
    assert wg.ones(1, device=device).device == device
    assert (wg.cuda.device_count(), wg.cuda.is_initialized(), wg.cuda.is_bf16_supported()) == (0, False, False)
    wg.cuda.manual_seed(1)
    wg.cuda.manual_seed_all(1)
    wg.cuda.synchronize()
    wg.cuda.empty_cache()
    wg.backends.cudnn.benchmark = True
    wg.backends.cuda.matmul.allow_tf32 = True
    assert not wg.backends.cudnn.is_available()


def test_switches_are_remembered():
    before = wg.get_float32_matmul_precision(), wg.are_deterministic_algorithms_enabled()
    wg.set_float32_matmul_precision("medium")
    wg.use_deterministic_algorithms(False)
    assert (wg.get_float32_matmul_precision(), wg.are_deterministic_algorithms_enabled()) == ("medium", False)
    wg.set_float32_matmul_precision(before[0])
    wg.use_deterministic_algorithms(before[1])
    with pytest.raises(wg.errors.ArgumentError, match="no such precision: 'fast'"):
        wg.set_float32_matmul_precision("fast")

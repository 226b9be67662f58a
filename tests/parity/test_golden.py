"""The stored results are what torch gives today."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1]


def made() -> dict[str, dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(json.dumps(module.make()))


def numbers(value: Any) -> np.ndarray | None:
    """Nested lists of numbers as an array."""
    try:
        out = np.asarray(value)
    except ValueError:  # of different lengths
        return None
    return out if out.dtype.kind in "if" else None


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of nested dictionaries and lists by its path; an array is a leaf."""
    if isinstance(value, dict):
        return {k: v for name, part in value.items() for k, v in flat(part, f"{path}/{name}").items()}
    if isinstance(value, list):
        array = numbers(value) if value else None
        if array is not None:
            return {path: array}
        return {k: v for i, part in enumerate(value) for k, v in flat(part, f"{path}/{i}").items()}
    return {path: value}


def test_stored_results_are_torchs() -> None:
    """Up to rounding: processors differ in the order of sums, so an element may be off by a part of its neighbours."""
    for folder, now in made().items():
        stored = json.loads((TESTS / folder / "golden.json").read_text())
        now.pop("torch")
        stored.pop("torch")
        old, new = flat(stored), flat(now)
        assert old.keys() == new.keys()
        for path, value in new.items():
            if not isinstance(value, np.ndarray | float):
                assert value == old[path], f"{folder}{path}"
                continue
            scale = np.abs(old[path], where=np.isfinite(old[path]), out=np.zeros(np.shape(old[path]))).max(initial=0)
            np.testing.assert_allclose(value, old[path], rtol=1e-6, atol=1e-12 + 1e-7 * scale, err_msg=folder + path)

"""The stored results are what torch gives today."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]


def made() -> dict[str, dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(json.dumps(module.make()))


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of nested dictionaries and lists by its path."""
    if isinstance(value, dict):
        return {k: v for name, part in value.items() for k, v in flat(part, f"{path}/{name}").items()}
    if isinstance(value, list):
        return {k: v for i, part in enumerate(value) for k, v in flat(part, f"{path}/{i}").items()}
    return {path: value}


def test_stored_results_are_torchs() -> None:
    for folder, now in made().items():
        stored = json.loads((TESTS / folder / "golden.json").read_text())
        now.pop("torch")
        stored.pop("torch")
        old, new = flat(stored), flat(now)
        assert old.keys() == new.keys()
        for path, value in new.items():
            same = pytest.approx(old[path], rel=1e-6, abs=1e-12) if isinstance(value, float) else old[path]
            assert value == same, f"{folder}{path}"

"""Every example runs in its smoke mode, keeps to its size, and says what it should reach."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if "--smoke" in path.read_text())


def test_all_are_there() -> None:
    assert len(NAMES) == len(list(EXAMPLES.glob("*.py"))) - 1  # lecture_loop.py is a program of another form


@pytest.mark.parametrize("name", NAMES)
def test_smoke(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    assert main(smoke=True)
    last = capsys.readouterr().out.splitlines()[-1]
    assert "wanted" in last


@pytest.mark.parametrize("name", NAMES)
def test_form(name: str) -> None:
    source = (EXAMPLES / f"{name}.py").read_text()
    assert len(source.splitlines()) < 120
    text = ast.get_docstring(ast.parse(source)) or ""
    assert f"python examples/{name}.py [--smoke]" in text
    assert "hould" in text or "Wanted" in text
    assert "manual_seed(" in source

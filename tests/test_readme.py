"""The code of README.md and of docs/ runs, and prints what the page says it prints.

The ``python`` blocks of a page run in order, in one namespace, as a reader would type them. Where a
``text`` block follows one, it is the block's output. Other blocks (shell, diagrams) are left alone.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$(?:\n+^```text\n(?P<output>.*?)^```$)?", re.DOTALL | re.MULTILINE)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.quick(page=[ROOT / "README.md", ROOT / "docs/first_look.md"])
@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=page_name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for what the examples save
    text = page.read_text()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start("code"))
        # Empty lines before the code give errors the line of the page.
        program = compile("\n" * line + block["code"], str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program, namespace)
        if block["output"] is not None:
            assert printed.getvalue() == block["output"], f"output of {page_name(page)}:{line + 1}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_no_placeholder_is_left(page: Path) -> None:
    assert "@@" not in page.read_text()

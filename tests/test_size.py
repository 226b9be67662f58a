"""tools/size.py counts code only, and lets a large file pass only with a reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "size.py"


def report(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, path], capture_output=True, text=True, check=False)


def test_comments_and_docstrings_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_text('"""One.\n\nTwo.\n"""\n\n# three\nx = """\nfour\n"""  # five\n')
    result = report(file)
    assert result.returncode == 0
    assert f"3  {file}" in result.stdout


@pytest.mark.quick(status=[1])
@pytest.mark.parametrize(
    ("lines", "docstring", "status"),
    [
        (600, "A file.", 0),
        (601, "A file.", 1),
        (601, "A file.\n\nSize: a table that is read as a whole.", 0),
    ],
)
def test_a_large_file_needs_a_reason(tmp_path: Path, lines: int, docstring: str, status: int) -> None:
    (tmp_path / "large.py").write_text(f'"""{docstring}\n"""\n' + "x = 1\n" * lines)
    assert report(tmp_path).returncode == status

"""tools/size.py counts lines of files as wc does, those of functions without docstrings, and refuses long ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "size.py"


def report(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, path], capture_output=True, text=True, check=False)


@pytest.mark.quick(lines=[501])
@pytest.mark.parametrize(("lines", "status"), [(500, 0), (501, 1)])
def test_a_long_file_fails(tmp_path: Path, lines: int, status: int) -> None:
    file = tmp_path / "long.py"
    file.write_text('"""One.\n\nTwo.\n"""\n' + "# a comment\n" * (lines - 4))
    result = report(file)
    assert result.returncode == status
    assert f"{lines}  {file}" in result.stdout


@pytest.mark.quick(lines=[51])
@pytest.mark.parametrize(("lines", "status"), [(50, 0), (51, 1)])
def test_a_long_function_fails(tmp_path: Path, lines: int, status: int) -> None:
    body = "    # a comment\n" * (lines - 2) + "    return 1\n"
    (tmp_path / "long.py").write_text('def long():\n    """One.\n\n    Two.\n    """\n' + body)
    result = report(tmp_path)
    assert result.returncode == status
    assert ("long.py:1 long" in result.stdout) == bool(status)

"""Report the size of files and functions in lines; fail above 500 lines a file and 50 a function.

Lines of a file are what ``wc -l`` counts. A function's are those from ``def`` to its end, without its docstring, so
that nobody is tempted to save on words there.

    python tools/size.py [FOLDER_OR_FILE ...]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE_LIMIT, FUNCTION_LIMIT = 500, 50
ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "tests", "benchmarks", "examples", "tools")

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Size:
    """Lines of one file or function."""

    where: str
    lines: int


def function_lines(node: FUNCTION) -> int:
    """Lines of a function without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        docstring = node.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def measure(path: Path) -> tuple[Size, list[Size]]:
    """Size of a file, and of each of its functions."""
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    source = path.read_bytes()
    functions = [
        Size(f"{name}:{node.lineno} {node.name}", function_lines(node))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, FUNCTION)
    ]
    return Size(name, source.count(b"\n")), functions


def python_files(roots: list[Path]) -> Iterator[Path]:
    """The Python files below the folders, and the files among them."""
    for root in roots:
        yield from sorted(root.rglob("*.py")) if root.is_dir() else [root]


def main(arguments: list[str]) -> int:
    """Print the report; 1 if a file or a function is too long."""
    roots = [Path(a).resolve() for a in arguments] or [ROOT / name for name in FOLDERS if (ROOT / name).is_dir()]
    measured = [measure(path) for path in python_files(roots)]
    files = sorted([file for file, _ in measured], key=lambda size: -size.lines)
    functions = sorted([size for _, sizes in measured for size in sizes], key=lambda size: -size.lines)
    long_files = [size for size in files if size.lines > FILE_LIMIT]
    long_functions = [size for size in functions if size.lines > FUNCTION_LIMIT]

    print(" lines  file")
    for size in files:
        print(f"{size.lines:6}  {size.where}")
    print(f"{sum(size.lines for size in files):6}  in {len(files)} files")
    for what, sizes, total, limit in (
        ("files", long_files, len(files), FILE_LIMIT),
        ("functions", long_functions, len(functions), FUNCTION_LIMIT),
    ):
        print(f"\n{len(sizes)} of {total} {what} are longer than {limit} lines")
        for size in sizes:
            print(f"{size.lines:6}  {size.where}")
    return int(bool(long_files or long_functions))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

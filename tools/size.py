"""Report the size of files and functions in lines of code.

A line of code is a line that holds Python tokens; comments and docstrings do not count, so nobody is
tempted to save on them. Warns above 500 lines a file and 50 a function, and fails above 600 lines a
file, unless its docstring says why: a line ``Size: <reason>``.

    python tools/size.py [FOLDER_OR_FILE ...]
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE_WARNS, FILE_FAILS, FUNCTION_WARNS = 500, 600, 50
ROOT = Path(__file__).resolve().parents[1]

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


@dataclass(frozen=True)
class Size:
    """Lines of code of one file or function."""

    where: str
    lines: int


def code_lines(path: Path, tree: ast.Module) -> set[int]:
    """Numbers of the lines that hold code."""
    lines: set[int] = set()
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type not in NOT_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | FUNCTION) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return lines


def measure(path: Path) -> tuple[Size, list[Size], str | None]:
    """Size of a file, of each of its functions, and the reason it gives for its size."""
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    tree = ast.parse(path.read_bytes())
    code = code_lines(path, tree)
    functions = [
        Size(f"{name}:{node.lineno} {node.name}", len(code & set(range(node.lineno, node.end_lineno + 1))))
        for node in ast.walk(tree)
        if isinstance(node, FUNCTION) and node.end_lineno is not None
    ]
    reason = re.search(r"^Size: (.+)$", ast.get_docstring(tree) or "", re.MULTILINE)
    return Size(name, len(code)), functions, reason and reason[1]


def python_files(roots: list[Path]) -> Iterator[Path]:
    """The Python files below the folders, and the files among them."""
    for root in roots:
        yield from sorted(root.rglob("*.py")) if root.is_dir() else [root]


def main(arguments: list[str]) -> int:
    """Print the report; 1 if a file is too large."""
    roots = [Path(a).resolve() for a in arguments] or [ROOT / "src"]
    measured = [measure(path) for path in python_files(roots)]
    functions = [size for _, sizes, _ in measured for size in sizes]

    print("  code  file")
    for file, _, reason in sorted(measured, key=lambda m: -m[0].lines):
        too_large = "too large" if file.lines > FILE_FAILS else "large" if file.lines > FILE_WARNS else ""
        note = f"  <- {too_large}: {reason or 'no reason given'}" if too_large else ""
        print(f"{file.lines:6}  {file.where}{note}")
    print(f"{sum(file.lines for file, _, _ in measured):6}  in {len(measured)} files")

    long = [size for size in functions if size.lines > FUNCTION_WARNS]
    print(f"\n{len(long)} of {len(functions)} functions are longer than {FUNCTION_WARNS} lines of code")
    for size in sorted(long, key=lambda size: -size.lines):
        print(f"{size.lines:6}  {size.where}")

    return int(any(file.lines > FILE_FAILS and not reason for file, _, reason in measured))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

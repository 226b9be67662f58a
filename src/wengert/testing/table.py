"""``python -m wengert.testing.table``: ops by checks, as a page; fails if one check fails."""

from __future__ import annotations

import sys

from .. import ops as _ops
from ..ops.base import OPS, Elementwise, Linear, Op, Reduce
from .op_checks import CHECKS

_FILLED = _ops.__all__


def kind(op: Op) -> str:
    """Which kind derives its rules."""
    for base in (Elementwise, Reduce, Linear):
        if isinstance(op, base):
            return base.__name__.lower()
    return "own rules"


def row(op: Op) -> tuple[list[str], bool]:
    """The cells of one op, and whether all checks passed."""
    samples = list(op.samples())
    cells = [f"`{op.name}`", kind(op), str(len(samples))]
    good = bool(samples)
    for check in CHECKS.values():
        failed = 0
        for s in samples:
            try:
                check(op, s)
            except Exception:  # counted, and shown by the test suite in full
                failed += 1
        good = good and not failed
        none = not op.differentiable and check in (CHECKS["numeric = forward = reverse"], CHECKS["ff, fr, rf, rr"])
        cells.append(f"{failed} failed" if failed else "none by definition" if none else "ok")
    return cells, good


def table() -> tuple[str, bool]:
    """The page, and whether every check of every op passed."""
    rows = [row(OPS[name]) for name in sorted(OPS)]
    head = ["op", "derivatives by", "samples", *CHECKS]
    lines = [
        "# Derivatives: every op, every check",
        "",
        "Made by `make docs-table`. Each op runs through each check at each of its samples, which include zeros,",
        "ties, kinks, empty, 0-dimensional, strided and complex inputs. At a kink the difference quotient is left",
        "out and the modes must agree with each other. ff, fr, rf, rr: forward over forward, forward over reverse,",
        "reverse over forward, reverse over reverse.",
        "",
        f"{len(rows)} ops, {sum(int(cells[2]) for cells, _ in rows)} samples, "
        f"{sum(not good for _, good in rows)} ops with a failure.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(cells) + " |" for cells, _ in rows),
    ]
    return "\n".join(lines) + "\n", all(good for _, good in rows)


if __name__ == "__main__":
    text, good = table()
    sys.stdout.write(text)
    raise SystemExit(0 if good else 1)

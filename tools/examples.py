"""Run all examples in full and print a table: what each reached, how long it took.

    python tools/examples.py [NAME ...]

The seconds are those of the processor, which do not depend on what else the machine does. Exits with 1 if one of the
examples did not reach what it says that it should.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def used() -> float:
    """Seconds of processor time of all programs that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> int:
    chosen = sys.argv[1:] or [path.stem for path in sorted(EXAMPLES.glob("*.py"))]
    failed = 0
    print(f"{'example':24} {'':4} {'seconds':>7}  result")
    for name in chosen:
        path = EXAMPLES / f"{name}.py"
        if "--smoke" not in path.read_text():  # a program of another form
            continue
        start = used()
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr * (done.returncode != 0)).strip().splitlines()
        failed += done.returncode != 0
        state = "FAIL" if done.returncode else "ok"
        print(f"{name:24} {state:4} {used() - start:7.1f}  {lines[-1] if lines else ''}", flush=True)
    print(f"{'in all':24} {'':4} {used():7.1f}  {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

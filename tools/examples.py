"""Run all examples in full and print a table: what each reached, how long it took.

    python tools/examples.py

Exits with 1 if one of them did not reach what it says that it should.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> int:
    failed = 0
    print(f"{'example':20} {'':4} {'seconds':>7}  result")
    for path in sorted(EXAMPLES.glob("*.py")):
        if "--smoke" not in path.read_text():  # a program of another form
            continue
        start = time.perf_counter()
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        lines = (done.stdout or done.stderr).strip().splitlines()
        if done.returncode:
            failed += 1
            lines = (done.stdout + done.stderr).strip().splitlines()
        state = "FAIL" if done.returncode else "ok"
        print(f"{path.stem:20} {state:4} {seconds:7.1f}  {lines[-1] if lines else ''}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

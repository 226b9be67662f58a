"""Interrupts of native loops: now and then a loop asks whether a signal has come, and ends if its handler raises.

The exception stays set in the thread until the call from Python returns with it. Meanwhile the program's kernels are
skipped, so that none writes to parameters what the loop has not computed.
"""

from __future__ import annotations

import ctypes

from ..codegen.target import host
from . import llvm, pool
from .cache import get_object

_PYTHON = ("PyErr_CheckSignals", "PyGILState_Ensure", "PyGILState_Release")
# Of so many questions one goes to Python, which takes the GIL: loops ask after a fraction of a millisecond.
_EACH = 64

_IR = f"""
@asked = internal global i64 0
declare i32 @PyErr_CheckSignals()
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)

; Whether the program that %stop belongs to has to end: then it is set.
define i32 @wengert_poll(ptr %stop) nounwind {{
entry:
  %was = load atomic i64, ptr %stop monotonic, align 8
  %stopped = icmp ne i64 %was, 0
  br i1 %stopped, label %yes, label %count
count:
  %n = atomicrmw add ptr @asked, i64 1 monotonic
  %rest = urem i64 %n, {_EACH}
  %now = icmp eq i64 %rest, 0
  br i1 %now, label %ask, label %no
ask:
  %gil = call i32 @PyGILState_Ensure()
  %raised = call i32 @PyErr_CheckSignals()
  call void @PyGILState_Release(i32 %gil)
  %fine = icmp eq i32 %raised, 0
  br i1 %fine, label %no, label %stop.now
stop.now:
  store atomic i64 1, ptr %stop seq_cst, align 8
  br label %yes
yes:
  ret i32 1
no:
  ret i32 0
}}
"""


@llvm.once
def _library() -> llvm.Library:
    imports = {name: pool._address(ctypes.pythonapi[name]) for name in _PYTHON}
    return llvm.load([get_object(_IR, host(), "interrupt")], ["wengert_poll"], imports)


def symbols() -> dict[str, int]:
    """What loops import: ``i32 wengert_poll(ptr stop)``."""
    return {"wengert_poll": _library().address("wengert_poll")}

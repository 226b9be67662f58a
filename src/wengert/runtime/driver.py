"""The driver: native code that runs a program's kernels, as a list of records tells it.

A record is a row of words: address of the kernel, its tiles (0: collective, all threads call it together), whether to
wait for all threads first, how many operands, the number of its first lookup, then for each operand a slot of the table
and bytes from there on. So a program needs no code of its own besides its kernels, and equal kernels are one. Behind a
loop that was interrupted kernels are skipped, but threads still wait for each other.

A record without a kernel is a *guard*: all threads wait for each other, and if any of them met an index out of range
(see `codegen.lookups`), all stop there.

The table begins with addresses and sizes that the driver itself reads; the other slots are buffers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..codegen.status import BASE, STATUS
from ..codegen.target import host
from . import llvm, pool
from .cache import get_object

# Slots. EACH: bytes of scratch memory a thread; STOPPED: not 0 if an interrupt ends the program, STOP: its address.
ARENA, SCRATCH, EACH, RECORDS, END, STOP, STOPPED, FIRST = range(8)
HEAD = 5  # words of a record before its operands
GUARD = (-1, 0, 0, 0, 0)
OPERANDS = 4096  # of a kernel, at most: groups of single numbers have many (see schedule/groups.py)

_BARRIER = "declare void @wengert_barrier(ptr, i32)"
_IR = f"""
{_BARRIER}
define void @wengert_drive(ptr %table, i32 %thread, i32 %threads, ptr %barrier) nounwind {{
entry:
  %args = alloca [{OPERANDS} x ptr], align 16
  %records.p = getelementptr i64, ptr %table, i64 {RECORDS}
  %first = load ptr, ptr %records.p
  %end.p = getelementptr i64, ptr %table, i64 {END}
  %end = load ptr, ptr %end.p
  %scratch.p = getelementptr i64, ptr %table, i64 {SCRATCH}
  %scratch.0 = load ptr, ptr %scratch.p
  %each.p = getelementptr i64, ptr %table, i64 {EACH}
  %each = load i64, ptr %each.p
  %stopped.p = getelementptr i64, ptr %table, i64 {STOPPED}
  %t = zext i32 %thread to i64
  %n = zext i32 %threads to i64
  %mine = mul i64 %t, %each
  %status = getelementptr i8, ptr %scratch.0, i64 %mine
  %scratch = getelementptr i8, ptr %status, i64 {STATUS}
  %first.word = getelementptr i64, ptr %status, i64 {BASE}
  %t1 = add i64 %t, 1
  %alone = icmp eq i32 %threads, 1
  %leads = icmp eq i32 %thread, 0
  br label %head
head:
  %r = phi ptr [%first, %entry], [%next, %after]
  %more = icmp ult ptr %r, %end
  br i1 %more, label %record, label %done
record:
  %kernel = load ptr, ptr %r
  %tiles.p = getelementptr i64, ptr %r, i64 1
  %tiles = load i64, ptr %tiles.p
  %waits.p = getelementptr i64, ptr %r, i64 2
  %waits.w = load i64, ptr %waits.p
  %count.p = getelementptr i64, ptr %r, i64 3
  %count = load i64, ptr %count.p
  %lookup.p = getelementptr i64, ptr %r, i64 4
  %lookup = load i64, ptr %lookup.p
  store i64 %lookup, ptr %first.word
  %operands = getelementptr i64, ptr %r, i64 {HEAD}
  %words = shl i64 %count, 1
  %next = getelementptr i64, ptr %operands, i64 %words
  %waits = icmp ne i64 %waits.w, 0
  %collective = icmp eq i64 %tiles, 0
  %guards = icmp eq ptr %kernel, null
  br i1 %guards, label %guard, label %work
guard:
  br i1 %alone, label %look, label %meet
meet:
  call void @wengert_barrier(ptr %barrier, i32 %threads)
  br label %look
look:
  %k = phi i64 [0, %guard], [0, %meet], [%k1, %fine]
  %other = mul i64 %k, %each
  %code.p = getelementptr i8, ptr %scratch.0, i64 %other
  %code = load i64, ptr %code.p
  %bad = icmp ne i64 %code, 0
  br i1 %bad, label %done, label %fine
fine:
  %k1 = add i64 %k, 1
  %others = icmp ult i64 %k1, %n
  br i1 %others, label %look, label %after
work:
  br i1 %alone, label %all, label %shared
shared:
  br i1 %waits, label %wait, label %share
wait:
  call void @wengert_barrier(ptr %barrier, i32 %threads)
  br label %share
share:
  br i1 %collective, label %together, label %some.tiles
together:
  br label %operand
some.tiles:
  %one = icmp eq i64 %tiles, 1
  br i1 %one, label %single, label %divide
single:
  br i1 %leads, label %all, label %after
divide:
  %lo.n = mul i64 %tiles, %t
  %lo.d = udiv i64 %lo.n, %n
  %hi.n = mul i64 %tiles, %t1
  %hi.d = udiv i64 %hi.n, %n
  %some = icmp ult i64 %lo.d, %hi.d
  br i1 %some, label %operand, label %after
all:
  %hi.all = select i1 %collective, i64 1, i64 %tiles
  br label %operand
operand:
  %lo = phi i64 [0, %all], [%lo.d, %divide], [%t, %together], [%lo, %operand]
  %hi = phi i64 [%hi.all, %all], [%hi.d, %divide], [%n, %together], [%hi, %operand]
  %i = phi i64 [0, %all], [0, %divide], [0, %together], [%i1, %operand]
  %pair = shl i64 %i, 1
  %slot.p = getelementptr i64, ptr %operands, i64 %pair
  %slot = load i64, ptr %slot.p
  %offset.p = getelementptr i64, ptr %slot.p, i64 1
  %offset = load i64, ptr %offset.p
  %base.p = getelementptr i64, ptr %table, i64 %slot
  %base = load ptr, ptr %base.p
  %address = getelementptr i8, ptr %base, i64 %offset
  %arg.p = getelementptr ptr, ptr %args, i64 %i
  store ptr %address, ptr %arg.p
  %i1 = add i64 %i, 1
  %last = icmp uge i64 %i1, %count
  br i1 %last, label %call, label %operand
call:
  %stopped = load atomic i64, ptr %stopped.p monotonic, align 8
  %goes.on = icmp eq i64 %stopped, 0
  br i1 %goes.on, label %run, label %after
run:
  call void %kernel(ptr %args, ptr %scratch, i64 %lo, i64 %hi, ptr %barrier)
  br label %after
after:
  br label %head
done:
  ret void
}}
"""


_libraries: dict[bool, llvm.Library] = {}


def address(alone: bool) -> int:
    """The driver as a plan: ``void drive(table, thread, threads, barrier)``, for several threads or only for one.

    For one there is nobody to wait for, and the pool's code is not needed; where that is there, its driver serves too.
    """
    alone = alone and False not in _libraries
    with llvm.LOCK:
        if alone not in _libraries:
            _libraries[alone] = _load(alone)
    return _libraries[alone].address("wengert_drive")


def _load(alone: bool) -> llvm.Library:
    if not alone:
        return llvm.load([get_object(_IR, host(), "driver")], ["wengert_drive"], pool.symbols())
    text = _IR.replace(_BARRIER, _BARRIER.replace("declare", "define internal") + " alwaysinline {\n  ret void\n}")
    return llvm.load([get_object(text, host(), "driver.alone")], ["wengert_drive"])


def linked(words: np.ndarray, addresses: Sequence[int]) -> np.ndarray:
    """Records as the driver reads them, of records with the numbers of kernels in place of ``addresses``."""
    out = words.copy()
    for at in starts(words):
        out[at] = addresses[words[at]] if words[at] >= 0 else 0
    return out


def starts(words: np.ndarray) -> list[int]:
    """Where the records begin."""
    counts, out, at = words.tolist(), [], 0
    while at < len(counts):
        out.append(at)
        at += HEAD + 2 * counts[at + 3]
    return out

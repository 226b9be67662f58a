"""A plan: kernels in order as one function that every thread runs, with barriers where one needs another's results.

``plan(table, thread, threads, barrier)``: ``table`` holds the addresses of buffers. Each thread computes its share of
each kernel's tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .kernel import Kernel
from .loop import I32, Builder, Function, Value, pointer


class Place(NamedTuple):
    """A buffer: a slot of the table, and bytes from there on. ``size``: bytes that may be touched."""

    slot: int
    offset: int
    size: int


class Launch(NamedTuple):
    """A kernel on buffers, and which of them it writes."""

    kernel: Kernel
    places: tuple[Place, ...]
    writes: tuple[bool, ...]


class _Access(NamedTuple):
    place: Place
    writes: bool


def _conflicts(a: _Access, b: _Access) -> bool:
    if not (a.writes or b.writes) or a.place.slot != b.place.slot:
        return False
    return a.place.offset < b.place.offset + b.place.size and b.place.offset < a.place.offset + a.place.size


def scratch_bytes(launches: Sequence[Launch]) -> int:
    """Memory that each thread has to itself."""
    return -(-max((x.kernel.scratch for x in launches), default=0) // 64) * 64


def plan_function(launches: Sequence[Launch], scratch_slot: int, scratch: int) -> Function:
    """The plan as a function in loop IR. ``scratch``: bytes a thread, in the buffer of ``scratch_slot``."""
    b = Builder("plan", table=pointer("ptr"), thread=I32, threads=I32, barrier=pointer("u8"))
    bases: dict[int, Value] = {}

    def base(slot: int) -> Value:
        if slot not in bases:
            bases[slot] = b.retype(b.load(b.table, slot), "u8")
        return bases[slot]

    used = {p.slot for x in launches for p in x.places}
    for slot in sorted(used):
        base(slot)
    thread, threads = b.cast(b.thread, "i64"), b.cast(b.threads, "i64")
    private = b.offset(base(scratch_slot), thread * scratch) if scratch else b.retype(b.load(b.table, 0), "u8")
    recent: list[_Access] = []
    for x in launches:
        accesses = [_Access(p, w) for p, w in zip(x.places, x.writes, strict=True)]
        if any(_conflicts(a, r) for a in accesses for r in recent):
            b.call_external("wengert_barrier", None, b.barrier, b.threads)
            recent = []
        recent += accesses
        _launch(b, x, [base(p.slot) for p in x.places], private, thread, threads)
    return b.finish()


def _launch(b: Builder, x: Launch, bases: Sequence[Value], private: Value, thread: Value, threads: Value) -> None:
    f = x.kernel.function
    pointers = [
        b.retype(b.offset(base, p.offset), t.element)
        for base, p, (_, t) in zip(bases, x.places, f.params[:-3], strict=True)
    ]
    if x.kernel.tiles == 1:
        with b.when(thread == 0):
            b.call_external(f.name, None, *pointers, private, b.const(0, thread.type), b.const(1, thread.type))
        return
    tiles = x.kernel.tiles
    lo, hi = thread * tiles // threads, (thread + 1) * tiles // threads
    b.call_external(f.name, None, *pointers, private, lo, hi)

"""Launches: kernels on buffers in order, and between which of them all threads must wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .kernel import Kernel
from .loop import I64, Builder, Function, pointer
from .status import STATUS


class Place(NamedTuple):
    """A buffer: a slot of the table, and bytes from there on. ``size``: bytes that may be touched."""

    slot: int
    offset: int
    size: int


class Launch(NamedTuple):
    """A kernel on buffers, and which of them it writes; ``first``: the number of its first lookup."""

    kernel: Kernel
    places: tuple[Place, ...]
    writes: tuple[bool, ...]
    first: int = 0


def _overlaps(a: Place, b: Place) -> bool:
    """Whether two places in one slot share bytes."""
    return a.offset < b.offset + b.size and b.offset < a.offset + a.size


def needs_barrier(launches: Sequence[Launch]) -> list[bool]:
    """Before which launches every thread must have finished what came before."""
    out: list[bool] = []
    recent: dict[tuple[int, bool], list[Place]] = {}  # by slot, and whether they were written
    for x in launches:
        wait = any(
            _overlaps(p, r)
            for p, writes in zip(x.places, x.writes, strict=True)
            for before in ((True, False) if writes else (True,))
            for r in recent.get((p.slot, before), ())
        )
        out.append(wait)
        if wait:
            recent = {}
        for p, writes in zip(x.places, x.writes, strict=True):
            recent.setdefault((p.slot, writes), []).append(p)
    return out


def scratch_bytes(launches: Sequence[Launch]) -> int:
    """Memory that each thread has to itself, its status in front."""
    return STATUS + -(-max((x.kernel.scratch for x in launches), default=0) // 64) * 64


def entry_name(f: Function) -> str:
    """What a kernel is called by the driver."""
    return "e" + f.name


def entry(f: Function) -> Function:
    """A kernel under the one signature that all have for the driver: ``(operands*, scratch, lo, hi, barrier)``."""
    bytes_ = pointer("u8")
    b = Builder(entry_name(f), operands=pointer("ptr"), scratch=bytes_, lo=I64, hi=I64, barrier=bytes_)
    own = [b.scratch, b.lo, b.hi, *[b.barrier] * (f.params[-1][0] == "barrier")]
    params = f.params[: len(f.params) - len(own)]
    b.call(f, *[b.retype(b.load(b.operands, i), t.element) for i, (_, t) in enumerate(params)], *own)
    return b.finish()

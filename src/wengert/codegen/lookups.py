"""Indices that kernels look up, and what happens to those that lie out of range; divisors, which must not be zero.

A kernel that meets a bad index, or divides a whole number by zero, notes in the status of its thread (see `status`)
which of the program's lookups it was, and goes on with index 0, or result 0. Nothing of the caller's is written before
the driver has found that no thread noted anything (see `runtime.driver`).

Which lookup it was is a number, counted over all kernels of a program: kernels know their own lookups by number, and
who calls a kernel leaves the number of the first one in the status.
"""

from __future__ import annotations

from ..optimize.checks import Key, Lookup
from .loop import Builder, Type, Value
from .status import BASE, CODE, LANES, STATUS, VALUES


class Lookups:
    """The lookups of a kernel that are looked at while it runs, in order of their numbers."""

    def __init__(self, sure: frozenset[Key]) -> None:
        """``sure``: those that are known to be in range."""
        self.sure = sure
        self.all: list[Lookup] = []

    def number(self, lookup: Lookup) -> int | None:
        """The number of a lookup; None if it is in range for sure."""
        if lookup.is_sure(self.sure):
            return None
        if lookup not in self.all:
            self.all.append(lookup)
        return self.all.index(lookup)


def status(b: Builder) -> Value:
    """The words of the status."""
    return b.retype(b.offset(b.scratch, -STATUS), "i64")


def in_range(b: Builder, index: Value, lookup: Lookup, number: int | None, mask: Value | None) -> Value:
    """An index (i64) counted from the front, with 0 in place of what is out of range, which is noted."""
    size = lookup.size
    at = b.select(index < 0, index + size, index) if lookup.low else index
    fine = b.cast(at, "u64") < size
    if number is not None:
        _note(b, index, fine, number, mask)
    return b.select(fine, at, 0)


def note_outside(b: Builder, index: Value, low: int, size: int, number: int, mask: Value | None) -> None:
    """Note the first of a thread's indices that is less than ``low``, or not less than ``size``."""
    _note(b, index, (index >= low) & (index < size), number, mask)


def note_zero(b: Builder, divisor: Value, number: int, mask: Value | None) -> None:
    """Note a divisor that is zero."""
    _note(b, b.cast(divisor, "i64"), divisor != 0, number, mask)


def _note(b: Builder, index: Value, fine: Value, number: int, mask: Value | None) -> None:
    if mask is not None:
        fine = fine | ~mask
    bad = ~fine
    with b.unless(~b.any(bad)):
        words = status(b)
        with b.when(b.load(words, CODE) == 0):
            b.store(words, VALUES, b.const(0, Type("i64", LANES)))
            b.store(words, VALUES, b.select(bad, index, 0))
            b.store(words, CODE, b.load(words, BASE) + (number + 1))

"""What the parts of the compiler hand to each other: kernels, and recipes of several kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from .loop import I64, Builder, Function, Type, Value, pointer


class Kernel(NamedTuple):
    """One loop nest.

    ``function``: its parameters are a pointer for each operand, then ``scratch`` (``u8*``), ``lo`` and ``hi``.
    It computes the tiles ``lo <= t < hi`` of ``tiles``. Threads call it with disjoint ranges, and what a tile
    computes does not depend on how the range was cut, so results are bitwise the same for any number of threads.
    ``scratch``: bytes of memory, aligned to 64, that each call has to itself.

    A ``collective`` kernel is called by all threads at once, with the thread's number and how many there are in place
    of ``lo`` and ``hi``, and one more parameter, the barrier at which they wait for each other.
    ``endless``: how long it runs depends on its data. ``polls``: it may end early, with its program, by an interrupt.
    """

    function: Function
    tiles: int
    scratch: int = 0
    flops: int = 0
    bytes: int = 0
    collective: bool = False
    endless: bool = False
    polls: bool = False


class Step(NamedTuple):
    """A kernel applied to buffers, named as the recipe names them."""

    kernel: Kernel
    operands: tuple[str, ...]


class Recipe(NamedTuple):
    """Kernels in order, a barrier between them; ``temps``: (kind, number of elements) of buffers between them."""

    steps: tuple[Step, ...]
    temps: Mapping[str, tuple[str, int]]


class Place(NamedTuple):
    """Where in the result an epilogue stands: an index for each of its dimensions.

    The value covers ``lanes`` neighbours along dimension ``axis``, from that dimension's index on; ``mask``
    (i1 for each lane, or None) says which of them exist.
    """

    index: tuple[Value, ...]
    axis: int
    lanes: int
    mask: Value | None


class Epilogue(Protocol):
    """What is done to a result before it is stored (bias, activation, residual, ...).

    ``operands``: further pointer parameters of the kernel, by name.
    """

    operands: Mapping[str, Type]

    def __call__(self, b: Builder, x: Value, place: Place) -> Value:
        """The value to store instead of ``x``; may store other results by itself."""
        ...


class Prologue(Epilogue, Protocol):
    """What is done to an operand's elements before they are multiplied (cast, scale, activation, ...).

    ``work``: additions that it takes for each of them, at least 1.
    """

    work: int


def kernel_builder(name: str, operands: Mapping[str, Type]) -> Builder:
    """A builder whose parameters are the operands, then ``scratch``, ``lo`` and ``hi``."""
    return Builder(name, **operands, scratch=pointer("u8"), lo=I64, hi=I64)

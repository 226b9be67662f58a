"""Eager mode's heavy work on generated kernels: calls of formulas, and convolutions, over large arrays.

Each graph is compiled when it first meets large arrays, and its object code is kept on disk, so nobody waits twice.
Small arrays stay with NumPy, which answers before native code could. ``WENGERT_EAGER_KERNELS=0`` leaves all to NumPy.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.handle import symbol
from ..graph.trace import tracing
from ..ops.base import OPS
from .driver import ARENA, SCRATCH

if TYPE_CHECKING:
    from .program import Program

HEAVY = 1 << 15  # elements of the largest array, from which on kernels pay
KEPT = 256  # ops with their shapes whose kernels are kept loaded

ENABLED = os.environ.get("WENGERT_EAGER_KERNELS", "1") not in ("", "0")


class _Shared(threading.local):
    """Memory between kernels, of which one call at a time has need in a thread."""

    def __init__(self) -> None:
        self.arena = self.scratch = np.empty(0, np.uint8)

    def lend(self, program: Program) -> None:
        """Let a program use it."""
        from .program import aligned

        if self.arena.nbytes < program.arena.nbytes:
            self.arena = aligned(program.arena.nbytes)
        if self.scratch.nbytes < program.scratch.nbytes:
            self.scratch = aligned(program.scratch.nbytes)
        program.table[ARENA], program.table[SCRATCH] = self.arena.ctypes.data, self.scratch.ctypes.data


_SHARED = _Shared()


class Native:
    """A program as a function of arrays."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.inputs = program.avals[: program.first_made]
        self.specs = [(a.shape, a.dtype) for a in program.avals[program.first_made :]]
        self.run = program.caller(range(len(program.avals)))
        self.lock = threading.Lock()

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """The outputs, in memory of their own."""
        outs = [np.empty(shape, dtype) for shape, dtype in self.specs]
        with self.lock:
            if self.program.native:  # NumPy's steps look into the program's own memory
                _SHARED.lend(self.program)
            if self.run(*arrays, *outs) is not True:
                plain = [np.array(x, a.dtype, order="C") for x, a in zip(arrays, self.inputs, strict=True)]
                if self.run(*plain, *outs) is not True:
                    raise RuntimeError("kernels do not take these arrays")
        first = len(arrays)
        return tuple([outs[i - first] if i in self.program.made else self._known(i, arrays)
                      for i in self.program.outputs])  # fmt: skip

    def _known(self, number: int, arrays: Sequence[Any]) -> Any:
        """An output that is an input or a constant."""
        return np.array(arrays[number] if number < len(arrays) else self.program.known(number))


def is_heavy(graph: Graph) -> bool:
    """Whether a graph's arrays are large enough for kernels."""
    return ENABLED and max((a.size for a in (*graph.in_avals, *graph.out_avals)), default=0) >= HEAVY


def native(graph: Graph) -> Native | None:
    """A graph's function on kernels; None if it has ops that only NumPy computes."""
    from .program import compiled

    program = compiled(graph)
    return Native(program) if program.native else None


# -- single ops ------------------------------------------------------------------------------------

_ops: OrderedDict[Any, Callable[..., Any] | None] = OrderedDict()


def compute(op: Any, arrays: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """An op on large arrays; None if NumPy should compute it."""
    if not ENABLED:
        return None
    orders = [_order(x) for x in arrays]
    plain = [np.ascontiguousarray(x) if o is None else x.transpose(o) for x, o in zip(arrays, orders, strict=True)]
    orders = [tuple(range(x.ndim)) if o is None else o for x, o in zip(arrays, orders, strict=True)]
    key = (op.name, tuple((x.shape, x.dtype.num) for x in plain), tuple(orders), repr(attrs))
    if key not in _ops:
        _ops[key] = native(_graph_of(op, plain, orders, attrs))
        if len(_ops) > KEPT:
            _ops.popitem(last=False)
    found = _ops[key]
    return None if found is None else found(*plain)[0]


def _order(x: Any) -> tuple[int, ...] | None:
    """The permutation under which an array lies in row-major memory; None if there is none."""
    if x.flags.c_contiguous:
        return tuple(range(x.ndim))
    order = tuple(sorted(range(x.ndim), key=lambda i: (-x.strides[i], i)))
    return order if x.transpose(order).flags.c_contiguous else None


def _graph_of(op: Any, arrays: Sequence[Any], orders: Sequence[tuple[int, ...]], attrs: dict[str, Any]) -> Graph:
    """The op on arrays as they lie in memory."""
    with tracing():
        inputs = [symbol(Aval(x.shape, x.dtype), False) for x in arrays]
        turned = []
        for x, order in zip(inputs, orders, strict=True):
            inverse = tuple(sorted(range(len(order)), key=order.__getitem__))
            turned.append(x if inverse == tuple(range(len(order))) else OPS["permute"](x, order=inverse))
        out = op(*turned, **attrs)
    return Graph(tuple([x._node for x in inputs]), (out._node,), op.name, single=True)

"""Eager mode's heavy work on generated kernels: calls of formulas, loops, and single ops, over large arrays.

Each graph is compiled when it first meets large arrays, and its object code is kept on disk, so nobody waits twice.
Small arrays stay with NumPy, which answers before native code could. ``WENGERT_EAGER_KERNELS=0`` leaves all to NumPy.

Kernels take arrays as they lie in memory, and leave results as suits them: a convolution's has its channels last
behind a shape that has them first, and whatever reads it next gets kernels for that order. Nothing is turned around.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.handle import symbol
from ..graph.trace import tracing
from ..ops.heavy import HEAVY
from .driver import ARENA, SCRATCH
from .memory import Layout, held_graph, laid, seen
from .results import maker

if TYPE_CHECKING:
    from .program import Program

KEPT = 256  # ops with their shapes whose kernels are kept loaded
LAYOUTS = 6  # combinations of layouts that a graph gets kernels for; operands in others are copied

DEAR = 16  # additions for an element, from which on an op alone takes its time, and passes over memory do not matter

ENABLED = os.environ.get("WENGERT_EAGER_KERNELS", "1") not in ("", "0")


class _Shared(threading.local):
    """Memory between kernels, of which one call at a time has need in a thread."""

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}
        self.sizes = {ARENA: -1, SCRATCH: -1}
        self.addresses = {ARENA: 0, SCRATCH: 0}

    def lend(self, program: Program) -> None:
        """Let a program use it."""
        for slot, size in ((ARENA, program.arena.nbytes), (SCRATCH, program.scratch.nbytes)):
            if self.sizes[slot] < size:
                from .program import aligned

                found = self.memory[slot] = aligned(size)
                self.sizes[slot], self.addresses[slot] = size, found.ctypes.data
            program.table[slot] = self.addresses[slot]
        if program.lookups:
            program.watch(self.memory[SCRATCH])


_SHARED = _Shared()


class Native:
    """A program as a function of arrays.

    ``shares``: an output that is an input may be that array itself; else it gets memory of its own, as the others do.
    """

    def __init__(self, program: Program, shares: bool = False) -> None:
        self.program, self.shares = program, shares
        self.inputs = program.avals[: program.first_made]
        made = program.avals[program.first_made :]
        self.specs = [(maker(a.shape, a.dtype), a.shape, a.dtype) for a in made]
        self.run = program.caller(range(len(program.avals)))
        self.lock = threading.Lock()

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """The outputs."""
        found = self.on(arrays)
        if found is None:
            found = self.on([np.array(x, a.dtype, order="C") for x, a in zip(arrays, self.inputs, strict=True)])
        if found is None:
            raise RuntimeError("kernels do not take these arrays")
        return found

    def on(self, arrays: Sequence[Any]) -> tuple[Any, ...] | None:
        """The outputs; None unless all arrays are aligned, in row-major memory."""
        outs = [make(shape, dtype) for make, shape, dtype in self.specs]
        with self.lock:
            if self.program.native:  # NumPy's steps look into the program's own memory
                _SHARED.lend(self.program)
            if self.run(*arrays, *outs) is not True:
                return None
        first = len(arrays)
        return tuple([outs[i - first] if i in self.program.made else self._known(i, arrays)
                      for i in self.program.outputs])  # fmt: skip

    def _known(self, number: int, arrays: Sequence[Any]) -> Any:
        """An output that is an input or a constant."""
        if number >= len(arrays):
            return np.array(self.program.known(number))
        return arrays[number] if self.shares else np.array(arrays[number])


class Kernels:
    """A graph as a function of arrays, run by kernels; by NumPy if it has ops that only NumPy computes.

    For each way in which its arguments lie in memory it has a program. ``shares`` is that of `Native`. ``views``:
    results may be seen from memory in another order.
    """

    def __init__(self, graph: Graph, shares: bool = False, views: bool = True) -> None:
        self.graph, self.shares, self.views = graph, shares, views
        self.known: dict[tuple[Layout, ...], _Lying] = {}
        self.latest: _Lying | None = None
        self.usable = True

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """The outputs."""
        found = self.on(arrays)
        if found is not None:
            return found
        out = self.graph.run(*arrays)
        return (out,) if self.graph.single else out

    def on(self, arrays: Sequence[Any]) -> tuple[Any, ...] | None:
        """The outputs; None if some op has no kernel."""
        found = None if self.latest is None else self.latest(arrays)
        if found is not None or not self.usable:
            return found
        avals = self.graph.in_avals
        lying = [laid(x, a) for x, a in zip(arrays, avals, strict=True)]
        if len(self.known) >= LAYOUTS and tuple([lay for _, lay in lying]) not in self.known:
            lying = [laid(np.array(x, order="C"), a) for (x, _), a in zip(lying, avals, strict=True)]
        self.latest = self._for(tuple([lay for _, lay in lying]))
        if self.latest is None:
            return None
        found = self.latest([x for x, _ in lying])
        if found is None:
            raise RuntimeError("kernels do not take these arrays")
        return found

    def _for(self, layouts: tuple[Layout, ...]) -> _Lying | None:
        """The program for arrays that lie so in memory."""
        if layouts not in self.known:
            from .program import compiled

            program = compiled(held_graph(self.graph, layouts), views=self.views)
            self.usable = program.native
            if not program.native:
                return None
            self.known[layouts] = _Lying(self.graph.name, layouts, Native(program, self.shares))
        return self.known[layouts]


class _Lying:
    """A function of arrays that lie in memory in a given way."""

    def __init__(self, name: str, layouts: Sequence[Layout], native: Native) -> None:
        self.name, self.native = name, native
        self.layouts = [None if lay.is_plain else lay for lay in layouts]
        self.plain = all(lay is None for lay in self.layouts)
        moved = any(m != (None, None) for m in native.program.movements)
        self.movements = native.program.movements if moved else []  # none: results lie in row-major order

    def __call__(self, arrays: Sequence[Any]) -> tuple[Any, ...] | None:
        """The outputs; None if the arrays lie otherwise."""
        if not self.plain:
            try:
                arrays = [x if lay is None else lay.held(x) for x, lay in zip(arrays, self.layouts, strict=True)]
            except ValueError:  # an array that is still to be repeated has fewer axes
                return None
        found = self.native.on(arrays)
        if found is None or not self.movements:
            return found
        return tuple([seen(x, m) for x, m in zip(found, self.movements, strict=True)])


# -- single ops and loops ------------------------------------------------------------------------


def is_heavy(graph: Graph) -> bool:
    """Whether a graph's arrays are large enough for kernels."""
    return ENABLED and max((a.size for a in (*graph.in_avals, *graph.out_avals)), default=0) >= HEAVY


_ops: OrderedDict[Any, _Function] = OrderedDict()


class _Function(NamedTuple):
    """A function of ops on kernels, and which of its arguments it reads."""

    kernels: Kernels
    reads: tuple[int, ...]


def compute(
    f: Callable[..., Any], avals: Sequence[Aval], arrays: Sequence[Any], attrs: dict[str, Any], least: int = 1,
    views: bool = True,
) -> Any:  # fmt: skip
    """The result of an op, or of a function of at least so many, on large arrays; None if NumPy should compute it."""
    if not ENABLED:
        return None
    key = (f, views, *avals, *attrs.items())
    found = _ops.get(key)
    if found is None:
        found = _ops[key] = _function(single(f, avals, attrs), least, views)
        if len(_ops) > KEPT:
            _ops.popitem(last=False)
    out = found.kernels.on([arrays[i] for i in found.reads])
    return None if out is None else out[0]


def _function(graph: Graph, least: int, views: bool) -> _Function:
    from ..schedule.kinds import cost

    read = {x.seq for n in graph.nodes for x in n.inputs}
    reads = tuple([i for i, n in enumerate(graph.inputs) if n.seq in read])
    kernels = Kernels(Graph(tuple([graph.inputs[i] for i in reads]), graph.outputs, graph.name), views=views)
    kernels.usable = len(graph) >= least and (
        least == 1 or all(cost(n) <= DEAR for n in graph.nodes if n.op is not None)
    )
    return _Function(kernels, reads)


def single(f: Callable[..., Any], avals: Sequence[Aval], attrs: dict[str, Any]) -> Graph:
    """An op, or a function of ops, as a graph."""
    with tracing():
        inputs = [symbol(a, False) for a in avals]
        out = f(*inputs, **attrs)
    outs = tuple([x._node for x in out]) if type(out) is tuple else (out._node,)
    name = getattr(f, "name", None) or f.__name__
    return Graph(tuple([x._node for x in inputs]), outs, name, single=type(out) is not tuple)


def is_native(graph: Graph) -> bool:
    """Whether kernels can do all that a graph does."""
    from .scheduling import Schedule

    return Schedule(graph).native

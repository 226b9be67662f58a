"""A scheduled graph in memory: buffers, native segments, and what NumPy computes between them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..codegen.block import Block, HostStep, Temp
from ..codegen.lower import module_text
from ..codegen.plan import Launch, Place, entry, scratch_bytes
from ..codegen.target import Target, host
from ..config import STATE
from ..graph.graph import Graph
from ..graph.node import Node
from ..schedule.roots import View
from . import driver, llvm, pool
from .cache import get_object
from .call import ArraySpec, make_array_caller, make_caller
from .driver import ARENA, EACH, END, FIRST, RECORDS, SCRATCH

SMALL_WORK = 4_000_000  # additions and bytes moved, below which waking threads costs more than they bring


class Program:
    """A compiled graph. ``slots``: where in the table each external buffer's address goes, by seq of its node."""

    def __init__(self, graph: Graph, written: dict[int, Node], target: Target | None = None, link: bool = True) -> None:
        """``written``: for an output (by seq) the input whose memory it replaces. Without ``link``, only planned."""
        self.graph = graph
        self.target = target or host()
        self.block = Block(graph, written, self.target)
        self.roots, self.groups, self.steps = self.block.roots, self.block.groups, self.block.steps
        self.inplace = self.block.inplace
        self._lay_out()
        self._collect()
        if link:
            self._link()

    # -- memory ----------------------------------------------------------------------------

    def _lay_out(self) -> None:
        external = [*self.graph.inputs]
        seen = {n.seq for n in external}
        for n in self.graph.outputs:
            if n.seq not in seen and n.seq not in self.inplace and n.op is not None:
                seen.add(n.seq)
                external.append(n)
        self.constants: dict[int, np.ndarray] = {}
        self.slots: dict[int, int] = {n.seq: FIRST + i for i, n in enumerate(external)}
        self.external = external
        for step in self.steps:
            for _, x in self.block.buffers(step):
                if not isinstance(x, Temp) and x.op is None and x.data is not None:
                    self._constant(x)
        self.layout = self.block.lay_out(self.slots)

    def _constant(self, n: Node) -> None:
        if n.seq not in self.slots:
            self.slots[n.seq] = FIRST + len(self.external) + len(self.constants)
            self.constants[n.seq] = np.asarray(n.data, order="C")

    def _place(self, v: Any) -> Place:
        if isinstance(v, Temp):
            return Place(ARENA, self.layout.offsets[id(v)], v.nbytes)
        n = v.root
        size = n.aval.dtype.itemsize
        if n.seq in self.slots:
            return Place(self.slots[n.seq], v.offset * size, n.aval.nbytes)
        return Place(ARENA, self.layout.offsets[n.seq] + v.offset * size, n.aval.nbytes)

    # -- code ------------------------------------------------------------------------------

    def _collect(self) -> None:
        """The steps as segments: lists of launches, with NumPy's steps between them."""
        segments: list[Any] = []
        launches: list[Launch] = []
        for step in self.steps:
            if isinstance(step, HostStep):
                segments += [launches, step]
                launches = []
            else:
                launches += [Launch(k, tuple([self._place(v) for v in vs]), tuple(ws)) for k, vs, ws in step]
        self.planned = [*segments, launches]
        native = [s for s in self.planned if not isinstance(s, HostStep)]
        self.each = scratch_bytes([x for s in native for x in s])
        self.launches = [x for s in native for x in s]
        shared = [x.kernel for x in self.launches if x.kernel.tiles > 1 or x.kernel.collective]
        work = sum(k.flops + k.bytes for k in shared)
        self.limit = 1 if work < SMALL_WORK else max(os.cpu_count() or 1, 1)

    def _link(self) -> None:
        """Memory and machine code."""
        self.arena = _aligned(self.layout.size)
        self.scratch = _aligned(self.each * self.limit)
        self.table = np.zeros(FIRST + len(self.external) + len(self.constants), np.uintp)
        self.table[ARENA], self.table[SCRATCH] = self.arena.ctypes.data, self.scratch.ctypes.data
        for seq, value in self.constants.items():
            self.table[self.slots[seq]] = value.ctypes.data
        self.table[EACH] = self.each
        addresses = self._load({x.kernel.function.name: x.kernel.function for x in self.launches})
        self.segments: list[Any] = [
            s if isinstance(s, HostStep) else driver.records(s, addresses) for s in self.planned
        ]
        self.enter(self.segments[0])

    def _load(self, functions: dict[str, Any]) -> dict[str, int]:
        """Addresses of the kernels' entries."""
        if not functions:
            return {}
        entries = {name: entry(f) for name, f in functions.items()}
        objects = [get_object(module_text([e], self.target), self.target, name) for name, e in entries.items()]
        collective = any(x.kernel.collective for x in self.launches)
        self.library = llvm.load(objects, [e.name for e in entries.values()], pool.symbols() if collective else None)
        return {name: self.library.address(e.name) for name, e in entries.items()}

    def enter(self, records: np.ndarray) -> None:
        """Make a segment the one that the driver runs."""
        self.table[RECORDS] = records.ctypes.data
        self.table[END] = records.ctypes.data + records.nbytes

    def measure(self, seconds: float = 0.002) -> list[list[float]]:
        """Seconds of each launch of each native segment, on one thread and on buffers of zeros.

        NaN for loops that depend on data: on zeros they might never end.
        """
        kernels = iter([x.kernel for x in self.launches])
        arrays = [np.zeros(n.shape, n.aval.dtype) for n in self.external]
        for n, a in zip(self.external, arrays, strict=True):
            self.table[self.slots[n.seq]] = a.ctypes.data
        run = make_caller(driver.address(), limit=1, keep=self)
        pointer = self.table.ctypes.data
        out: list[list[float]] = []
        for s in self.segments:
            times: list[float] = []
            at = 0
            while not isinstance(s, HostStep) and at < len(s):
                record = s[at : at + 4 + 2 * int(s[at + 3])]
                self.enter(record)
                endless = next(kernels).endless
                times.append(float("nan") if endless else _best_time(lambda: run(pointer), seconds))
                at += len(record)
            if not isinstance(s, HostStep):
                out.append(times)
        self.enter(self.segments[0])
        return out

    def caller(self, given: Sequence[Node], fixed: Sequence[tuple[Any, Node]], writes: set[int]) -> Any:
        """What runs the program on arrays of ``given`` nodes, and on the tensors fixed for others."""

        def spec(n: Node) -> ArraySpec:
            return ArraySpec(n.aval.dtype, n.shape, self.slots[n.seq], n.seq in writes)

        head = make_array_caller(
            driver.address(), [spec(n) for n in given], table=self.table, fixed=[(h, spec(n)) for h, n in fixed],
            limit=self.limit, release_gil=self.limit > 1, keep=self,
        )  # fmt: skip
        if len(self.segments) == 1:
            return head
        return _Interleaved(self, head, given, fixed)


def _best_time(f: Callable[[], Any], seconds: float) -> float:
    f()  # the first one pays for pages that nothing has touched yet
    best, spent = float("inf"), 0.0
    while spent < seconds:
        start = time.perf_counter()
        f()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return best


class _Interleaved:
    """Runs native segments and NumPy's steps in turns."""

    def __init__(self, program: Program, head: Any, given: Sequence[Node], fixed: Sequence[tuple[Any, Node]]) -> None:
        self.program, self.head, self.given, self.fixed = program, head, given, fixed
        self.pointer = program.table.ctypes.data
        self.run = make_caller(driver.address(), limit=program.limit, keep=program)

    def __call__(self, *arrays: Any) -> Any:
        self.program.enter(self.program.segments[0])
        done = self.head(*arrays)
        if done is not True:
            return done
        values = {n.seq: getattr(a, "_value", a) for n, a in zip(self.given, arrays, strict=True)}
        values |= {n.seq: getattr(h, "_value", h) for h, n in self.fixed}
        tuples: dict[int, Any] = {}
        for step in self.program.segments[1:]:
            if isinstance(step, HostStep):
                self._host(step, values, tuples)
            elif len(step):
                self.program.enter(step)
                self.run(self.pointer)
        return True

    def _host(self, step: HostStep, values: dict[int, Any], tuples: dict[int, Any]) -> None:
        n = step.node
        if step.run is None:
            self._array(View(n, 0, ()), n, values)[...] = tuples[n.inputs[0].seq][n.attrs["index"]]
            return
        views = [(self.program.roots.view(x), x) for x in n.inputs]
        found = STATE.quiet(step.run, *[self._array(v, x, values) for v, x in views])
        if type(n.aval) is tuple:
            tuples[n.seq] = found
            for item in step.items:
                self._array(View(item, 0, ()), item, values)[...] = found[item.attrs["index"]]
        else:
            self._array(View(n, 0, ()), n, values)[...] = found

    def _array(self, v: Any, n: Node, values: dict[int, Any]) -> Any:
        """A value as an array in its place."""
        root, p = v.root, self.program
        dtype = root.aval.dtype
        if root.seq in values:
            whole = values[root.seq]
        elif root.seq in p.constants:
            whole = p.constants[root.seq]
        else:
            at = p.layout.offsets[root.seq]
            whole = p.arena[at : at + root.aval.nbytes].view(dtype).reshape(root.shape)
        if root is n:
            return whole
        flat = whole.reshape(-1)[v.offset :] if v.offset else whole.reshape(-1)
        return np.lib.stride_tricks.as_strided(flat, n.shape, [s * dtype.itemsize for s in v.strides])


def _aligned(size: int) -> np.ndarray:
    """Bytes of memory that begin at a multiple of 64."""
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]

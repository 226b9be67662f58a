"""A blueprint in memory: buffers, native steps, and what NumPy computes between them."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np

from .. import pages
from ..codegen.status import CODE, STATUS, VALUES
from ..config import STATE, uncollected
from ..graph.aval import Aval
from ..graph.graph import Graph
from ..ops.base import OPS
from . import cache, driver, interrupt, llvm, pool
from .blueprint import Array, Blueprint, Host, Looks, decode, encode
from .call import ArraySpec, make_array_caller, make_caller
from .driver import ARENA, EACH, END, FIRST, RECORDS, SCRATCH, STOP, STOPPED
from .fingerprint import fingerprint

MOVED = 1 << 20  # bytes of a constant that is worth a copy


def compiled(
    graph: Graph, replaced: Sequence[tuple[int, int]] = (), looks: bool = False, budget: int | None = None,
    views: bool = False,
) -> Program:  # fmt: skip
    """The program of a graph, made before or now; the arguments are those of `scheduling.Schedule`.

    ``WENGERT_DUMP`` and ``WENGERT_CHECK`` want to see passes and kernels, and so have everything made anew.
    """
    replaced = tuple(replaced)
    watched = any(os.environ.get(f"WENGERT_{name}", "0") not in ("", "0") for name in ("DUMP", "CHECK"))
    key = None if watched or cache.directory() is None else fingerprint(graph, replaced, looks, budget, views)
    content = None if key is None else cache.read(key, cache.PROGRAM)
    blueprint = None if content is None else decode(content)
    if blueprint is None:
        from .scheduling import Schedule

        with uncollected():
            blueprint = Schedule(graph, replaced, looks, budget, views=views).blueprint()
        content = None if key is None else encode(blueprint)
        if key is not None and content is not None:
            cache.write(key, cache.PROGRAM, content)
            blueprint = decode(content) or blueprint  # what runs is what is read later
    return Program(blueprint, graph.in_avals, graph.out_avals, graph)


class Program:
    """A compiled graph. Values have numbers, as the blueprint says, and slots of the driver's table behind those of it.

    ``avals``: of the inputs and of what is made for outside. ``made``: the numbers of the latter, ``outputs``: of the
    results; those at the positions ``replaced`` are inputs that are written over. ``movements``: how results are seen
    in the memory of those values, where they may be views. ``sparing``: the numbers of the made values that are not
    touched if a call ends early.
    """

    def __init__(
        self, blueprint: Blueprint, inputs: Sequence[Aval], outputs: Sequence[Aval], traced: Graph | None = None
    ) -> None:
        """``traced``: the graph that the program was made of, if its kernels look up what may be out of range."""
        self.outputs, self.replaced = blueprint.outputs, blueprint.replaced
        self.constants = [_on_lines(c) for c in blueprint.constants]
        self.looks, self.lookups = blueprint.looks, blueprint.lookups
        self.traced = traced if self.lookups else None
        self.movements = [movement for _, movement in blueprint.views]
        if blueprint.views:
            outputs = [a.with_shape(shape) for a, (shape, _) in zip(outputs, blueprint.views, strict=True)]
        self.first_made = len(inputs)
        self.made = range(len(inputs), len(inputs) + blueprint.made)
        self.sparing = blueprint.sparing
        of_outputs = dict(zip(self.outputs, outputs, strict=True))
        self.avals = [*inputs, *[of_outputs[i] for i in self.made]]
        self.limit = max(os.cpu_count() or 1, 1) if blueprint.wide else 1
        self._lay_out(blueprint)
        self._link(blueprint)

    @staticmethod
    def of_checks(looks: Looks, inputs: Sequence[Aval]) -> Program:
        """The program that looks at inputs: whole numbers come out."""
        count = len(looks.blueprint.outputs)
        return Program(looks.blueprint, inputs, [Aval((), np.dtype(np.int64))] * count)

    def _lay_out(self, blueprint: Blueprint) -> None:
        self.arena = aligned(blueprint.arena)
        self.scratch = aligned(blueprint.scratch * self.limit)
        self.each = blueprint.scratch
        self.table = np.zeros(FIRST + len(self.avals) + len(self.constants), np.uintp)
        self.table[ARENA], self.table[SCRATCH] = self.arena.ctypes.data, self.scratch.ctypes.data
        if self.lookups:
            self.watch(self.scratch)
        self.table[EACH] = blueprint.scratch
        self.table[STOP] = self.stopped = self.table.ctypes.data + STOPPED * self.table.itemsize
        for i, value in enumerate(self.constants):
            self.table[FIRST + len(self.avals) + i] = value.ctypes.data

    def watch(self, scratch: np.ndarray) -> None:
        """Look for indices out of range in that memory, which is what kernels work in."""
        rows = scratch[: self.each * self.limit].reshape(self.limit, self.each)
        self.status = rows[:, :STATUS].view(np.int64)
        self.status[:, CODE] = 0

    def raise_if_lost(self) -> None:
        """Raise if a kernel met an index out of range, or a divisor that is zero.

        Raises:
            IndexRangeError, ArgumentError: as the op in eager mode.
        """
        codes = self.status[:, CODE]
        if not codes.any():
            return
        number = int(codes[codes > 0].min())  # of the first one in order, whichever thread met it
        values = self.status[int(np.flatnonzero(codes == number)[0]), VALUES:]
        bad = values[values != 0]
        index = int(bad[0]) if bad.size else 0
        codes[:] = 0
        assert self.traced is not None
        raise self.lookups[number - 1].error(index, self.traced)

    def _link(self, b: Blueprint) -> None:
        addresses: list[int] = []
        if b.names:
            imports = (pool.symbols() if b.waits else {}) | (interrupt.symbols() if b.polls else {})
            self.library = llvm.load(b.objects, b.names, imports)
            addresses = [self.library.address(name) for name in b.names]
        self.steps: list[Any] = [HostCall(s) if isinstance(s, Host) else driver.linked(s, addresses) for s in b.steps]
        self.enter(self.steps[0])

    @property
    def native(self) -> bool:
        """Whether no step is left to NumPy."""
        return len(self.steps) == 1

    def known(self, number: int) -> Any:
        """The constant of that number."""
        return self.constants[number - len(self.avals)]

    def enter(self, records: np.ndarray) -> None:
        """Make records those that the driver runs."""
        self.table[RECORDS] = records.ctypes.data
        self.table[END] = records.ctypes.data + records.nbytes

    def measure(self, endless: Sequence[bool], seconds: float = 0.002) -> list[float]:
        """Seconds of each launch, on one thread and on buffers of zeros.

        NaN for loops that depend on data, which ``endless`` tells of: on zeros they might never end.
        """
        arrays = [np.full(a.shape, 0, a.dtype) for a in self.avals]  # written: what is not has no memory of its own
        self.table[FIRST : FIRST + len(arrays)] = [a.ctypes.data for a in arrays]
        run = make_caller(driver.address(True), limit=1, stop=self.stopped, keep=self)
        pointer = self.table.ctypes.data
        times: list[float] = []
        for words in [s for s in self.steps if not isinstance(s, HostCall)]:
            for at, end in itertools.pairwise([*driver.starts(words), len(words)]):
                if words[at] == 0:  # a guard
                    continue
                self.enter(words[at:end])
                skip = endless[len(times)]
                times.append(float("nan") if skip else _best_time(lambda: run(pointer), seconds))
        self.enter(self.steps[0])
        if self.lookups:
            self.status[:, CODE] = 0  # zeros may be no index
        return times

    def caller(self, given: Sequence[int], fixed: Sequence[tuple[Any, int]] = (), writes: Container[int] = ()) -> Any:
        """What runs the program on arrays of ``given`` values, and on the tensors fixed for others.

        Values that are made are written; ``writes``: others that are.
        """

        def spec(i: int) -> ArraySpec:
            aval = self.avals[i]
            return ArraySpec(aval.dtype, aval.shape, FIRST + i, i >= self.first_made or i in writes)

        head = make_array_caller(
            driver.address(self.limit == 1), [spec(i) for i in given], table=self.table,
            fixed=[(h, spec(i)) for h, i in fixed],
            limit=self.limit, release_gil=self.limit > 1, stop=self.stopped, keep=self,
        )  # fmt: skip
        if self.lookups:
            head = _Looking(self, head)
        return head if self.native else _Interleaved(self, head, given, fixed)


def _best_time(f: Callable[[], Any], seconds: float) -> float:
    f()  # the first one pays for pages that nothing has touched yet
    best, spent = float("inf"), 0.0
    while spent < seconds:
        start = time.perf_counter()
        f()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return best


class _Looking:
    """Runs records, and raises if an index was out of range."""

    def __init__(self, program: Program, run: Any) -> None:
        self.program, self.run = program, run

    def __call__(self, *args: Any) -> Any:
        try:
            done = self.run(*args)
        except BaseException:  # an interrupt, which comes first
            self.program.status[:, CODE] = 0
            raise
        self.program.raise_if_lost()
        return done


class HostCall:
    """A step of NumPy's."""

    def __init__(self, step: Host) -> None:
        self.ins, self.outs, self.source = step.ins, step.outs, step.source
        if step.source < 0:
            avals = [Aval(x.shape, x.dtype) for x in step.ins]
            self.run = _op(step.op).kernel(avals, step.attrs)


def _op(op: Any) -> Any:
    if type(op) is not str:
        return op
    found = OPS.get(op)
    if found is None:
        from ..optimize.internal import INTERNAL

        found = INTERNAL[op]
    return found


class _Interleaved:
    """Runs native steps and NumPy's in turns."""

    def __init__(self, program: Program, head: Any, given: Sequence[int], fixed: Sequence[tuple[Any, int]]) -> None:
        self.program, self.head, self.given, self.fixed = program, head, given, fixed
        self.pointer = program.table.ctypes.data
        plan = driver.address(program.limit == 1)
        run = make_caller(plan, limit=program.limit, stop=program.stopped, keep=program)
        self.run = _Looking(program, run) if program.lookups else run

    def __call__(self, *arrays: Any) -> Any:
        program = self.program
        program.enter(program.steps[0])
        done = self.head(*arrays)
        if done is not True:
            return done
        values = {FIRST + i: getattr(a, "_value", a) for i, a in zip(self.given, arrays, strict=True)}
        values |= {FIRST + i: getattr(h, "_value", h) for h, i in self.fixed}
        values |= {FIRST + len(program.avals) + i: c for i, c in enumerate(program.constants)}
        found: dict[int, Any] = {}
        for number, step in enumerate(program.steps[1:], 1):
            if isinstance(step, HostCall):
                if step.source < 0:
                    found[number] = STATE.quiet(step.run, *[self._array(x, values) for x in step.ins])
                result = found[number if step.source < 0 else step.source]
                for which, end in step.outs:
                    self._array(end, values)[...] = result if which < 0 else result[which]
            elif len(step):
                program.enter(step)
                self.run(self.pointer)
        return True

    def _array(self, x: Array, values: dict[int, Any]) -> Any:
        """A value as an array in its place."""
        if x.slot == ARENA:
            return np.ndarray(x.shape, x.dtype, self.program.arena, x.offset, x.strides)
        flat = values[x.slot].reshape(-1)[x.offset // x.dtype.itemsize :]
        return np.lib.stride_tricks.as_strided(flat, x.shape, x.strides)


def _on_lines(x: np.ndarray) -> np.ndarray:
    """A constant where vectors of it do not lie across lines of the cache, unless it is large."""
    if x.ctypes.data % 64 == 0 or not 64 <= x.nbytes <= MOVED:
        return x
    out = aligned(x.nbytes).view(x.dtype).reshape(x.shape)
    out[...] = x
    return out


def aligned(size: int) -> np.ndarray:
    """Bytes of memory that begin at a multiple of 64."""
    if size >= pages.HUGE:
        return pages.block(size)
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]

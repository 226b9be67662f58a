"""From a graph as traced to a blueprint: the passes, kernels, memory, and the order in which all runs.

A start with a full cache does without all this, so nothing else at run time imports this module early.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..codegen.block import STOP as STOPPING
from ..codegen.block import Block, HostStep, Temp, Use, written_over
from ..codegen.copies import copy_kernel
from ..codegen.loop import Function
from ..codegen.lower import module_text
from ..codegen.plan import Launch, Place, entry, entry_name, needs_barrier, scratch_bytes
from ..codegen.target import host
from ..codegen.whole import goes_by_rows
from ..errors import ArgumentError, message
from ..graph.graph import Graph
from ..graph.node import ITEM, Node
from ..ops.base import OPS
from ..optimize.checks import Checks, Wanted, all_of, looked_at, named
from ..optimize.decompose import settled
from ..optimize.internal import INTERNAL
from ..optimize.layout import turned_back
from ..optimize.pipeline import optimise
from ..schedule.index import strides_of
from ..schedule.kinds import KIND
from ..schedule.roots import View
from . import crew
from .blueprint import Array, Blueprint, Host, Looks
from .cache import begin, get_object
from .driver import ARENA, FIRST, GUARD, OPERANDS, STOP
from .memory import Movement, behind

SMALL_WORK = 4_000_000  # additions and bytes moved, below which waking threads costs more than they bring
MUCH = 24  # nodes of a graph that takes longer to compile than a process to start
TRIES = 6  # at a memory budget: what kernels need for themselves is known when they are written


class Schedule:
    """A graph as it will run. ``replaced``: outputs (by position) and the inputs that they may be written over.

    ``looks``: also find out what must hold of the inputs. ``budget``: bytes that a call may need (see `peak`).
    Without ``passes`` the graph stays as it is. ``views``: outputs may be views of what is computed. ``trusts``:
    what it looks up is in range.
    """

    def __init__(
        self, traced: Graph, replaced: Sequence[tuple[int, int]] = (), looks: bool = False, budget: int | None = None,
        passes: bool = True, views: bool = False, trusts: bool = False,
    ) -> None:  # fmt: skip
        if len(traced.nodes) >= MUCH:
            crew.start()
        self.log: list[tuple[str, int, int]] = []
        found: list[Checks] = []
        self.graph = optimise(traced, self.log, found if looks else None) if passes else traced
        self.views: list[tuple[Node, Movement]] = [behind(n) for n in self.graph.outputs] if views else []
        if views:
            self.graph = Graph(self.graph.inputs, tuple([n for n, _ in self.views]), traced.name)
        elif passes:
            before, self.graph = len(self.graph), turned_back(self.graph, lambda n: goes_by_rows(n, host()))
            self.log.append(("turned convolutions", before, len(self.graph)))
        self.checks = found[0] if found and found[0].all else None
        self.traced = traced
        self.target = host()
        self.looks, self.trusts = looks, trusts
        self.texts: dict[str, str] = {}
        self._plan(replaced)
        if budget is not None and self.peak > budget:
            self._fit(replaced, budget)

    def _plan(self, replaced: Sequence[tuple[int, int]]) -> None:
        sure = looked_at(self.graph) if self.looks else all_of(self.graph) if self.trusts else frozenset()
        written = written_over(self.graph, replaced)
        self.block = Block(self.graph, written, self.target, sure=sure, reuses=True, announce=self._begin)
        self.late = self._late(written)
        self.over = self.block.inplace | self.late
        self._lay_out()
        self._collect()

    def _late(self, written: dict[int, Node]) -> dict[int, Node]:
        """Outputs whose old values somebody reads until later: copied over those at the end."""
        outputs = collections.Counter(n.seq for n in self.graph.outputs)
        found = {n.seq: n for n in self.graph.outputs if n.op is not None and outputs[n.seq] == 1}
        return {
            k: old for k, old in written.items()
            if k in found and k not in self.block.inplace and old.seq not in outputs and _alike(found[k], old)
        }  # fmt: skip

    def _copy(self, n: Node, old: Node) -> Launch:
        kernel = copy_kernel(KIND[n.aval.dtype], n.aval.size, self.target)
        return Launch(kernel, (self._place(View(n, 0, ())), self._place(View(old, 0, ()))), (False, True))

    def _fit(self, replaced: Sequence[tuple[int, int]], budget: int) -> None:
        """Compute values again until a call needs no more than ``budget`` bytes."""
        from ..codegen.budget import fit

        graph, allowed = self.graph, budget - self.peak + self.layout.live
        for _ in range(TRIES):
            if self.peak <= budget or allowed <= 0:
                break
            self.graph = fit(graph, replaced, self.target, allowed, self.looks)
            self._plan(replaced)
            allowed -= max((self.peak - budget) * 3 // 2, self.layout.size // 64)  # a little less changes nothing
        if self.peak > budget:
            raise ArgumentError(
                message("compile", "the memory budget is too small", f"{budget} bytes, {self.peak} are needed",
                        "Give more, or work on smaller batches")
            )  # fmt: skip

    @property
    def peak(self) -> int:
        """Bytes that a call needs besides its arguments and the tensors that exist already, on one thread."""
        made = self.external[len(self.graph.inputs) :]
        return self.layout.size + self.scratch + sum(n.aval.nbytes for n in made)

    # -- memory ----------------------------------------------------------------------------

    def _lay_out(self) -> None:
        external = [*self.graph.inputs]
        seen = {n.seq for n in external}
        for n in self.graph.outputs:
            if n.seq not in seen and n.seq not in self.over and n.op is not None:
                seen.add(n.seq)
                external.append(n)
        self.constants: dict[int, np.ndarray] = {}
        self.external = external
        self.slots: dict[int, int] = {n.seq: FIRST + i for i, n in enumerate(external)}
        self.slots |= {k: self.slots[old.seq] for k, old in self.block.inplace.items()}
        for n in self.graph.outputs:
            self._constant(n)
        for step in self.block.steps:
            for _, x in self.block.buffers(step):
                self._constant(x)
        # NumPy's steps see arrays of a result's own dtype there.
        results = external[len(self.graph.inputs) :] if self.block.native else ()
        self.layout = self.block.lay_out(self.slots, self.late, results)

    def _constant(self, n: Any) -> None:
        if not isinstance(n, Temp) and n.op is None and n.data is not None and n.seq not in self.slots:
            self.slots[n.seq] = FIRST + len(self.external) + len(self.constants)
            self.constants[n.seq] = np.asarray(n.value, order="C")

    def _place(self, v: Any) -> Place:
        if v is STOPPING:
            return Place(STOP, 0, v.nbytes)
        if isinstance(v, Temp):
            return self._lodged(id(v), 0, v.nbytes)
        n = v.root
        size = n.aval.dtype.itemsize
        if n.seq in self.slots:
            return Place(self.slots[n.seq], v.offset * size, n.aval.nbytes)
        return self._lodged(self.block.home(n.seq), v.offset * size, n.aval.nbytes)

    def _lodged(self, key: int, offset: int, size: int) -> Place:
        """A place from an offset on in a buffer: in the arena, or in a result."""
        room = self.layout.rooms.get(key)
        return Place(ARENA if room is None else self.slots[room], self.layout.offsets[key] + offset, size)

    # -- steps -----------------------------------------------------------------------------

    def _collect(self) -> None:
        """The steps as lists of launches, with NumPy's between them."""
        self.steps: list[Any] = [[]]
        self.lookups: list[Wanted] = []
        self.guard: tuple[int, int] | None = None  # number of a step, and of launches in it
        for i, step in enumerate(self.block.steps):
            if isinstance(step, HostStep):
                self.steps += [step, []]
            else:
                self.steps[-1] += [self._launch(use) for use in step]
            if i == self.block.last_look and self.lookups:
                self.guard = len(self.steps) - 1, len(self.steps[-1])
        ends = {n.seq: n for n in self.graph.outputs}
        self.steps[-1] += [self._copy(ends[k], old) for k, old in self.late.items()]
        self.launches: list[Launch] = [x for s in self.steps if isinstance(s, list) for x in s]
        self.scratch = scratch_bytes(self.launches)

    @property
    def native(self) -> bool:
        """Whether no step is left to NumPy."""
        return len(self.steps) == 1

    def _launch(self, use: Use) -> Launch:
        first = len(self.lookups)
        self.lookups += use.lookups
        return Launch(use.kernel, tuple([self._place(v) for v in use.views]), tuple(use.writes), first)

    def _sparing(self) -> tuple[int, ...]:
        """The numbers of the values made for outside that nothing is written to while the call may still end."""
        late = {n.seq for g in self.block.groups[self.block.last_end + 1 :] for n in g.nodes}
        return tuple([i for i, n in enumerate(self.external) if n.seq in late])

    def blueprint(self) -> Blueprint:
        """All of it as data, kernels compiled."""
        functions = {x.kernel.function.name: x.kernel.function for x in self.launches}
        number = {name: i for i, name in enumerate(functions)}
        shared = [x.kernel for x in self.launches if x.kernel.tiles > 1 or x.kernel.collective]
        ends = [self.over.get(n.seq, n) for n in self.graph.outputs]
        return Blueprint(
            outputs=tuple([self.slots[n.seq] - FIRST for n in ends]),
            replaced=tuple([i for i, n in enumerate(self.graph.outputs) if n.seq in self.over]),
            made=len(self.external) - len(self.graph.inputs),
            constants=tuple(self.constants.values()),
            names=tuple([entry_name(f) for f in functions.values()]),
            objects=self._objects(functions),
            steps=self._host_steps(number),
            arena=self.layout.size,
            scratch=self.scratch,
            wide=sum(k.flops + k.bytes for k in shared) >= SMALL_WORK,
            waits=any(x.kernel.collective for x in self.launches),
            polls=any(x.kernel.polls for x in self.launches),
            looks=self._looks(),
            views=tuple([(n.shape, movement) for n, movement in self.views]),
            lookups=named(self.lookups, self.traced),
            sparing=self._sparing(),
        )

    def _text(self, f: Function) -> str:
        """The module of a kernel; once."""
        if f.name not in self.texts:
            self.texts[f.name] = module_text([entry(f)], self.target)
        return self.texts[f.name]

    def _begin(self, f: Function) -> None:
        """Have a kernel compiled, while others are still being written."""
        begin(self._text(f), self.target)

    def _objects(self, functions: dict[str, Function]) -> tuple[bytes, ...]:
        """Object code of each; from the last one on, which helpers come to last."""
        found = {name: get_object(self._text(f), self.target, name) for name, f in reversed(functions.items())}
        return tuple([found[name] for name in functions])

    def _host_steps(self, number: dict[str, int]) -> tuple[Any, ...]:
        out: list[Any] = []
        places: dict[int, int] = {}
        for step in self.steps:
            if isinstance(step, HostStep):
                places[step.node.seq] = len(out)
                out.append(self._host(step, places))
            else:
                guard = self.guard[1] if self.guard is not None and self.guard[0] == len(out) else None
                out.append(_records(step, number, guard))
        return tuple(out)

    def _host(self, step: HostStep, places: dict[int, int]) -> Host:
        n = step.node
        if n.op is ITEM:
            end = (n.attrs["index"], self._array(View(n, 0, strides_of(n.shape)), n))
            return Host(n.op.name, {}, (), (end,), places[n.inputs[0].seq])
        ins = tuple([self._array(self.block.roots.view(x), x) for x in n.inputs])
        own = ((x.attrs["index"], x) for x in step.items) if type(n.aval) is tuple else ((-1, n),)
        outs = tuple([(i, self._array(View(x, 0, strides_of(x.shape)), x)) for i, x in own])
        known = OPS.get(n.op.name) is n.op or INTERNAL.get(n.op.name) is n.op
        return Host(n.op.name if known else n.op, n.attrs, ins, outs)

    def _array(self, view: Any, n: Node) -> Array:
        """A value, or a view of one, in its place."""
        size = n.aval.dtype.itemsize
        place = self._place(view)
        strides = strides_of(n.shape) if view.root is n else view.strides
        return Array(place.slot, place.offset, n.aval.dtype, n.shape, tuple([s * size for s in strides]))

    def _looks(self) -> Looks | None:
        """The program of the checks."""
        if self.checks is None:
            return None
        own = Schedule(settled(self.checks.graph, None), trusts=True).blueprint()
        return Looks(own, tuple(self.checks.places), named(self.checks.all, self.traced))


def _alike(n: Node, old: Node) -> bool:
    """Whether a kernel can copy one over the other."""
    x, y = n.aval, old.aval
    return type(x) is not tuple and (x.shape, x.dtype) == (y.shape, y.dtype) and x.size > 0 and x.dtype in KIND


def _records(launches: Sequence[Launch], number: dict[str, int], guard: int | None) -> np.ndarray:
    """The words that tell the driver what to run, with kernels by number; a guard stands behind so many launches."""
    words: list[int] = []
    waits = needs_barrier(launches)
    ends = [False, *[x.kernel.polls for x in launches]]
    for i, (x, wait, end) in enumerate(zip(launches, waits, ends, strict=False)):
        if i == guard:
            words += GUARD
        assert 0 < len(x.places) <= OPERANDS, "operands of a kernel"
        tiles = 0 if x.kernel.collective else x.kernel.tiles
        words += [number[x.kernel.function.name], tiles, int(wait or end), len(x.places), x.first]
        for p in x.places:
            words += [p.slot, p.offset]
    return np.array(words, np.int64)

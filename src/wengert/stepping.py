"""A captured function with its program: values go in, state and results come out; what a compiled call runs."""

from __future__ import annotations

import collections
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tree
from .capturing import ArgumentSlot, Captured, Output, identity
from .errors import message
from .graph.alias import is_turned_view, move_to_copy, origin_of, owned_base, refresh
from .graph.capture import EntrySlot, GradSlot, HeldSlot
from .graph.handle import Handle, wrap
from .graph.node import Sink
from .graph.pinned import is_pinned
from .runtime.results import is_made, maker
from .tensor import Tensor
from .turns import CAPTURES, Turns

if TYPE_CHECKING:
    from .runtime.scheduling import Schedule

MISSED = object()


class Step:
    """A captured function with its program: what a call of `Compiled` runs.

    Values are known by their numbers (see `runtime.program.Program`). The inputs are the arguments, then hidden
    tensors, numbers, and random keys.
    """

    def __init__(self, captured: Captured, budget: int | None = None) -> None:
        from .runtime.eager import Native
        from .runtime.program import Program, compiled

        self.captured, self.budget = captured, budget
        inputs, slots = len(captured.graph.inputs), len(captured.slots)
        self.n_args = inputs - slots - len(captured.numbers) - len(captured.draws)
        hidden = range(self.n_args, self.n_args + slots)
        self.old = {identity(s): i for s, i in zip(captured.slots, hidden, strict=True)}
        self.program = p = compiled(captured.graph, replaced(captured), True, budget)
        first = _result_count(captured)
        last = first + len(captured.written)
        self.results = p.outputs[:first]
        self.written = list(zip(captured.written, range(first, last), strict=True))
        self.grad_values = p.outputs[last:]
        self.numbers = np.zeros(max(len(captured.numbers), 1), np.float64)
        self.keys = np.zeros((max(len(captured.draws), 1), 2), np.uint64)
        numbers = range(hidden.stop, hidden.stop + len(captured.numbers))
        self.own = [(self.numbers[k : k + 1].reshape(()), i) for k, i in enumerate(numbers)]
        self.own += [(self.keys[k], i) for k, i in enumerate(range(numbers.stop, inputs))]
        places: dict[int, tuple[Any, list[int]]] = {}
        for i, g in enumerate(captured.draws):
            places.setdefault(id(g), (g, []))[1].append(i)
        self.draws = list(places.values())
        self.changed = [s.index for s in captured.written if isinstance(s, ArgumentSlot)]
        self.touched = {id(s.handle) for s in captured.written if isinstance(s, HeldSlot)}
        self.added_to = [s for s in captured.written if isinstance(s, GradSlot)]
        self.writes = bool(self.changed or self.touched or self.added_to)
        self.looks: Any = p.looks
        self.turns = Turns()
        self._bind()
        if self.looks is not None:
            avals = [p.avals[i] for i in self.looks.places]
            self.look = Native(Program.of_checks(self.looks, avals))

    def _bind(self) -> None:
        """Resolve the hidden tensors and make the caller."""
        captured, p = self.captured, self.program
        replaced = {p.outputs[i] for i in p.replaced}
        self.fixed: list[tuple[Any, int]] = list(self.own)
        self.given_slots: list[Any] = []
        given = list(range(self.n_args))
        self.donated: list[Handle] = []
        self.donated_slots: list[GradSlot] = []
        for i, slot in enumerate(captured.slots, self.n_args):
            if isinstance(slot, GradSlot) or identity(slot) in captured.moving:
                self.given_slots.append(slot)
                given.append(i)
                if i in replaced:
                    self.donated_slots.append(slot)
                continue
            handle = slot.get()
            if i in replaced:
                self.donated.append(handle)
            self.fixed.append((handle, i))
        self.owners = {id(s.owner): (s.owner, s.owner.state) for s in captured.slots if isinstance(s, EntrySlot)}
        self.groups = {id(s.owner): (s.owner, s.owner.param_groups) for s in captured.numbers}
        self.sources = [(s.owner.param_groups[s.group], s.key, s.index) for s in captured.numbers]
        self.follows = bool(self.owners or self.groups)
        self.refreshes = bool(self.sources or self.donated or self.donated_slots)
        held = [s.handle for s in (*captured.slots, *captured.written) if isinstance(s, HeldSlot)]
        self.held = {id(origin_of(h)[0]) for h in held}
        self.run = p.caller([*given, *p.made], self.fixed, replaced)
        self._plan_delivery()

    def _plan_delivery(self) -> None:
        """Sort out once how outputs get to where they belong."""
        captured, p = self.captured, self.program
        moving = captured.moving
        self.copies = [
            (slot, p.outputs[at])
            for slot, at in self.written
            if identity(slot) not in moving and (at not in p.replaced or self.old.get(identity(slot)) != p.outputs[at])
        ]
        self.moves = [(slot, p.outputs[at]) for slot, at in self.written if identity(slot) in moving]
        grads = iter(self.grad_values)
        self.grads = [(sink, next(grads) if there else None) for sink, there in captured.grads]
        # The first to ask for a fresh array gets it, the others get copies.
        first: set[int] = set()
        self.owned: list[bool] = []
        for i in [*self.results, *self.grad_values, *[i for _, i in self.moves]]:
            self.owned.append(i in p.made and i not in first)
            first.add(i)
        # Gradients are written to where the last ones are, if nobody else refers to those, nor the program reads them.
        counts = collections.Counter(self.grad_values)
        alone = {i for i in p.sparing if counts[i] == 1 and i not in self.results}
        added_to = {id(s.sink) for s in (*captured.slots, *captured.written) if isinstance(s, GradSlot)}
        sinks = {i: sink for sink, i in self.grads if i in alone and id(sink) not in added_to}
        made = [p.avals[i] for i in p.made]
        self.shapes: list[tuple[Any, Any, Any, Sink | None, list[Any]]] = [
            (maker(a.shape, a.dtype), a.shape, a.dtype, sinks.get(i), [None]) for i, a in zip(p.made, made, strict=True)
        ]
        self.single = captured.structure is tree.LEAF
        made = [i - p.first_made for i in self.results]
        self.sets = bool(self.moves or captured.settings)
        alone = not self.copies and not self.sets and not self.grads and all(self.owned)
        # Where the leaves of the result are among the fresh outputs, if nothing else comes out.
        self.leaves = [made[r] for r in captured.results] if alone and _are_fresh(captured.results) else None

    def scheduled(self) -> Schedule:
        """The graph, kernels and memory behind the program, which it does not keep."""
        from .runtime.scheduling import Schedule

        return Schedule(self.captured.graph, replaced(self.captured), looks=True, budget=self.budget)

    # -- running ---------------------------------------------------------------------------

    def mixes(self, arrays: Sequence[Any]) -> str:
        """Why only eager mode knows what to do, if so: an argument shares memory with what is written."""
        why = "an argument shares memory with something else that the function changes"
        touched = self.touched
        if self.added_to:
            grads = {id(origin_of(s.get())[0]) for s in self.added_to}
            if len(grads) < len(self.added_to) or grads & self.held:
                return "a gradient shares memory with something else that the function reads or changes"
            if any(is_turned_view(s.get()) for s in self.added_to):
                return "a gradient is a view that does not lie in order"
            touched = touched | grads
        for x in arrays:
            if isinstance(x, Handle) and id(origin_of(x)[0]) in touched:
                return why
        if not self.changed:
            return ""
        values = [getattr(x, "_value", x) for x in arrays]
        shared = any(np.may_share_memory(values[i], v) for i in self.changed for j, v in enumerate(values) if j != i)
        return why if shared else ""

    def __call__(self, arrays: Sequence[Any]) -> Any:
        """Run on the arrays (or tensors) of the arguments; the result."""
        return self.turns.take(self._run_surely, arrays)

    def attempt(self, arrays: Sequence[Any]) -> Any:
        """Run if the arrays are such as native code takes; the result, or MISSED and nothing has happened."""
        with self.turns.lock:
            if CAPTURES.owner is None:  # `take`, written out
                return self._run_maybe(arrays)
        return self.turns.take(self._run_maybe, arrays)

    def _run_surely(self, arrays: Sequence[Any]) -> Any:
        outs = self._run_natively(arrays)
        return self._deliver(arrays, self._run_slowly(arrays) if outs is None else outs)

    def _run_maybe(self, arrays: Sequence[Any]) -> Any:
        outs = self._run_natively(arrays)
        return MISSED if outs is None else self._deliver(arrays, outs)

    def _run_natively(self, arrays: Sequence[Any]) -> list[Any] | None:
        """The fresh outputs; None if the arrays are not such as native code takes, and nothing has happened."""
        if self.follows:
            self._follow_owners()
        if self.looks is not None and not self._check(arrays):
            return None
        if self.refreshes:
            self._refresh()
        taken = self.draw_keys() if self.draws else ()
        outs = [
            make(shape, dtype) if sink is None or sink.grad is not last[0] or _is_shared(last) else last[0]._value
            for make, shape, dtype, sink, last in self.shapes
        ]
        done = False
        try:
            if self.given_slots:
                done = self.run(*arrays, *[s.get() for s in self.given_slots], *outs)
            else:
                done = self.run(*arrays, *outs)
        finally:
            if done is not True:
                for g, first, n in taken:
                    g.give_back(first, n)
        return outs if done is True else None

    def _check(self, arrays: Sequence[Any]) -> bool:
        """Raise if an index is out of range or a divisor zero, before anything is written; False for other shapes."""
        from .optimize.checks import look

        n, slots = self.n_args, self.captured.slots
        given = [arrays[i] if i < n else slots[i - n].get() for i in self.looks.places]
        values = [getattr(x, "_value", x) for x in given]
        found = self.look.on(values)
        if found is None:  # of another form, or lying in memory in another way
            if any(x.shape != a.shape or x.dtype != a.dtype for x, a in zip(values, self.look.inputs, strict=True)):
                return False
            found = self.look(*values)
        look(self.looks.checks, found, self.captured.graph)
        return True

    def _follow_owners(self) -> None:
        """Look tensors and options up again where an optimizer has got others, as by loading a state dictionary."""
        for owner, state in self.owners.values():
            if owner.state is not state:
                self._bind()
                return
        for owner, groups in self.groups.values():
            if owner.param_groups is not groups:
                self._bind()
                return

    def _refresh(self) -> None:
        """Numbers as they are now; tensors that a live graph needs move to a copy."""
        numbers = self.numbers
        for i, (options, key, index) in enumerate(self.sources):
            numbers[i] = options[key] if index is None else options[key][index]
        donated = self.donated
        if self.donated_slots:
            donated = [*donated, *[origin_of(s.get())[0] for s in self.donated_slots]]
        for h in donated:
            # As `is_pinned` says of a tensor without views.
            free = h._node is None or _references(h._node) <= _NODE_REFERENCES
            if (h._alias is not None or not free) and is_pinned(h):
                move_to_copy(h)

    def draw_keys(self) -> list[tuple[Any, int, int]]:
        """Take the random keys of a call; what was taken, by generators."""
        taken: list[tuple[Any, int, int]] = []
        for g, places in self.draws:
            first = g.reserve(len(places))
            taken.append((g, first, len(places)))
            for offset, i in enumerate(places, first):
                self.keys[i, 0], self.keys[i, 1] = g._seed, offset
        return taken

    def _run_slowly(self, arrays: Sequence[Any]) -> list[Any]:
        """Bring everything into the form that native code takes, and run."""
        for h in [*[h for h, _ in self.fixed if isinstance(h, Handle)], *[s.get() for s in self.given_slots]]:
            owned_base(h)
            if not h._value.flags.carray:
                h._value = np.require(h._value, requirements=["C", "A", "W"])
                if origin_of(h)[0] is h:
                    refresh(h)
        avals = self.program.avals[: self.n_args]
        plain = [np.array(getattr(x, "_value", x), a.dtype, order="C") for x, a in zip(arrays, avals, strict=True)]
        outs = self._run_natively(plain)
        if outs is None:
            raise RuntimeError(message("compile", "the program does not take its arguments"))
        return outs

    def _deliver(self, arrays: Sequence[Any], outs: list[Any]) -> Any:
        """Put outputs where they belong; the result. All is read before anything is written."""
        if self.leaves is not None:
            leaves = [wrap(outs[i]) for i in self.leaves]
            return leaves[0] if self.single else tree.unflatten(self.captured.structure, leaves)
        owned, first_made = iter(self.owned), self.program.first_made
        results = [wrap(self._array(i, next(owned), arrays, outs)) for i in self.results]
        grads = [None if i is None else self._array(i, next(owned), arrays, outs) for _, i in self.grads]
        moved = [wrap(self._array(i, next(owned), arrays, outs)) for _, i in self.moves] if self.moves else ()
        if self.copies:
            self._copy(arrays, outs)
        if self.sets:
            self._set(moved)
        for (sink, i), value in zip(self.grads, grads, strict=True):
            if i is None:
                sink.grad = None
            elif sink.grad is None or sink.grad._value is not value:
                sink.grad = wrap(value)
                if i in self.program.made:
                    self.shapes[i - first_made][-1][0] = sink.grad
        leaves = [self.leaf(r, results, arrays) for r in self.captured.results]
        return leaves[0] if self.single else tree.unflatten(self.captured.structure, leaves)

    def _set(self, moved: Sequence[Any]) -> None:
        """Bind places to their new tensors; set modes, flags and the like."""
        for (slot, _), value in zip(self.moves, moved, strict=True):
            slot.set(value)
        for slot, value in self.captured.settings:
            slot.set(value)

    def _copy(self, arrays: Sequence[Any], outs: list[Any]) -> None:
        """Outputs that could not be written in place go to where they belong."""
        p = self.program
        values = [outs[i - p.first_made] if i in p.made else np.array(self._known(i, arrays)) for _, i in self.copies]
        for (slot, _), value in zip(self.copies, values, strict=True):
            h: Any = arrays[slot.index] if isinstance(slot, ArgumentSlot) else slot.get()
            if isinstance(h, Handle):
                owned_base(h)
            target: Any = getattr(h, "_value", h)
            np.copyto(target, value)

    @staticmethod
    def leaf(r: Any, results: Sequence[Any], arrays: Sequence[Any]) -> Any:
        """A leaf of the result."""
        if type(r) is Output:
            return results[r]
        if type(r) is ArgumentSlot:
            return arrays[r.index]
        return r

    def _array(self, i: int, owned: bool, arrays: Sequence[Any], outs: list[Any]) -> Any:
        """The value with a number, in memory of its own."""
        p = self.program
        if owned:
            return outs[i - p.first_made]
        return np.array(outs[i - p.first_made] if i in p.made else self._known(i, arrays))

    def _known(self, i: int, arrays: Sequence[Any]) -> Any:
        """The value of an input or a constant."""
        slots = self.captured.slots
        if i < self.n_args:
            x = arrays[i]
        elif i < self.n_args + len(slots):
            x = slots[i - self.n_args].get()
        elif i < self.program.first_made:
            x = next(x for x, number in self.own if number == i)
        else:
            x = self.program.known(i)
        return getattr(x, "_value", x)


class EagerStep:
    """In place of a `Step` where calls must run in eager mode."""

    writes = True

    def __init__(self, captured: Captured) -> None:
        self.captured = captured

    def mixes(self, arrays: Sequence[Any]) -> str:
        """Why they must."""
        return self.captured.eager


def _are_fresh(results: Sequence[Any]) -> bool:
    """Whether each leaf of a result is an output of its own."""
    return all(type(r) is Output for r in results) and len(set(results)) == len(results)


def _result_count(captured: Captured) -> int:
    return len({r for r in captured.results if type(r) is Output})


def replaced(captured: Captured) -> list[tuple[int, int]]:
    """The outputs, by position, that are the new values of tensors, and which inputs are the old ones."""
    graph = captured.graph
    n_args = len(graph.inputs) - len(captured.slots) - len(captured.numbers) - len(captured.draws)
    old = {identity(s): i for i, s in enumerate(captured.slots, n_args)}
    return [
        (at, old[identity(s)])
        for at, s in enumerate(captured.written, _result_count(captured))
        if isinstance(s, HeldSlot | EntrySlot | GradSlot) and identity(s) in old and identity(s) not in captured.moving
    ]


def _is_shared(last: list[Any]) -> bool:
    """Whether anybody but us and its leaf refers to the gradient that was made last, or to its memory, or gave that."""
    h = last[0]
    if h is None or h._node is not None or h._alias is not None or type(h._value) is not np.ndarray:
        return True
    if not is_made(h._value):
        return True
    return _references(h) > _GRAD_REFERENCES or _references(h._value) > _MEMORY_REFERENCES


_references = sys.getrefcount


def _calibrated() -> tuple[int, int]:
    """What `sys.getrefcount` says in `_is_shared` of a gradient that only its leaf and a list hold."""
    sink = Sink()
    last: list[Any] = [wrap(np.zeros(1))]
    sink.grad = last[0]

    def seen(last: list[Any]) -> tuple[int, int]:
        h = last[0]
        return _references(h), _references(h._value)

    return seen(last)


def _node_references() -> int:
    """What `sys.getrefcount` says of a node that only its tensor holds."""
    h = Tensor(1.0).requires_grad_()
    return _references(h._node)


_GRAD_REFERENCES, _MEMORY_REFERENCES = _calibrated()
_NODE_REFERENCES = _node_references()

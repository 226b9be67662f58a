"""A trace that takes in the state a program reads and changes: parameters, buffers, gradients, random keys.

`Capture` is what `wengert.compile` traces with. Tensors that the program reads without getting them as
arguments become hidden inputs; those that it changes, and gradients, hidden outputs too. Whatever the program
made itself and let go of again is a constant. When the capture is over, everything holds again what it held before.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config import CHANGES
from ..errors import TraceError, message
from .alias import follow, origin_of
from .aval import Aval
from .handle import Handle, node_of, symbol
from .node import Node, Sink
from .trace import Trace

KEY = Aval((2,), np.dtype(np.uint64))
NUMBER = Aval((), np.dtype(np.float64))
MISSING = object()


class HeldSlot(NamedTuple):
    """A tensor that the program refers to."""

    handle: Handle

    def get(self) -> Any:
        """The tensor."""
        return self.handle


class GradSlot(NamedTuple):
    """The gradient of a leaf."""

    sink: Sink

    def get(self) -> Any:
        """The gradient there now, or None."""
        return self.sink.grad


class EntrySlot(NamedTuple):
    """A tensor that an object finds by keys, such as one in an optimizer's state."""

    owner: Any
    keys: tuple[Any, ...]

    def get(self) -> Any:
        """The tensor there now, or None."""
        found = self.owner.state
        for key in self.keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def set(self, x: Handle) -> None:
        """Set it."""
        self.owner.state[self.keys[0]][self.keys[1]] = x


class PlaceSlot(NamedTuple):
    """A place that the program binds to other tensors: a variable, an attribute, an element, by its table and key."""

    table: Any
    key: Any

    def get(self) -> Any:
        """What is there now, or None."""
        return self.table.get(self.key)

    def set(self, x: Any) -> None:
        """Set it. A tensor like the one before is nothing that programs rest on."""
        old = self.get()
        if not isinstance(self.table, dict):
            self.table[self.key] = x
            return
        dict.__setitem__(self.table, self.key, x)
        if not (isinstance(old, Handle) and isinstance(x, Handle) and old.aval == x.aval):
            CHANGES()


def place_of(table: Any, key: Any) -> tuple[int, Any]:
    """What tells places apart: one object may have several tables that stand for it (`wengert.variables`)."""
    return id(getattr(table, "owner", table)), key


class ModeSlot(NamedTuple):
    """Whether a module is in training mode."""

    module: Any

    def get(self) -> bool:
        """Whether it is now."""
        return self.module.training

    def set(self, mode: bool) -> None:
        """Set it, if it is not so already."""
        if self.module.training is not mode:
            self.module.training = mode


class FlagSlot(NamedTuple):
    """Whether a leaf requires grad."""

    handle: Handle

    def get(self) -> bool:
        """Whether it does now."""
        return self.handle.requires_grad

    def set(self, flag: bool) -> None:
        """Say so, if it is not so already."""
        self.handle.requires_grad_(flag)


class NumberSlot(NamedTuple):
    """A number among an optimizer's options: ``param_groups[group][key]``, or an element of it."""

    owner: Any
    group: int
    key: str
    index: int | None

    def get(self) -> float:
        """The number there now."""
        value = self.owner.param_groups[self.group][self.key]
        return value if self.index is None else value[self.index]


class Capture(Trace):
    """A trace whose ops are all recorded, also those on tensors with known values."""

    def __init__(self, dynamic: Callable[[str, Any], bool]) -> None:
        super().__init__()
        self.captures_all = True
        self.dynamic = dynamic  # whether an option of an optimizer may change from call to call
        self.seen: dict[int, tuple[Handle, Node]] = {}
        self.arguments: dict[int, int] = {}  # numbers of the symbols that stand for arguments, by id
        self.grads: dict[int, tuple[Sink, Any]] = {}
        self.grads_read: list[tuple[Sink, Any]] = []  # None, or a view, which stays what it is; else `MISSING`
        self.entries: dict[int, EntrySlot] = {}
        self.grad_of: dict[int, GradSlot] = {}
        self.draws: list[tuple[Any, Node]] = []
        self.numbers: list[tuple[NumberSlot, Node]] = []
        self.fixed: list[tuple[NumberSlot, Any]] = []
        self.values: list[tuple[weakref.ref[Handle], np.ndarray]] = []  # tensors whose values Python code looked at
        self.views: list[Handle] = []  # from outside, that have nodes of the trace
        self.freed = False  # whether a backward pass was made, after which results lead nowhere
        self.modules: dict[int, Any] = {}  # pictures of modules, see `wengert.guards`
        self.owners: dict[int, Any] = {}  # optimizers
        self.places: dict[tuple[int, Any], tuple[PlaceSlot, Any]] = {}  # what was bound, and to what before
        self.moved: list[tuple[PlaceSlot | EntrySlot, Any]] | None = None
        self.bound: dict[int, PlaceSlot | EntrySlot] = {}  # by id of the tensor that was there before
        self.kept: dict[int, Kept] = {}  # optimizers
        self.settled = False
        self.modes: dict[int, tuple[Any, bool]] = {}  # modules whose mode is set, and what it was
        self.flags: dict[int, tuple[weakref.ref[Handle], bool]] = {}  # the same for what requires grad
        self.key_source = self._next_key

    # -- what the program does -------------------------------------------------------------

    def behind(self, x: Handle) -> Node | None:
        """A view is read through its base, whose memory alone a program knows."""
        base, path = origin_of(x)
        if base is x or x._value is None or (base._node is not None and base._node.op is not None):
            return None
        self.views.append(x)
        node = x._node = node_of(self.stopped(follow(base, path)))
        return node

    def saw_leaf(self, x: Handle, node: Node) -> None:
        """A tensor got its leaf."""
        self.seen.setdefault(node.seq, (x, node))

    def saw_read(self, xs: Sequence[Handle]) -> None:
        """An op reads tensors; what has a graph of its own outside cannot be differentiated through."""
        for x in xs:
            node = x._node
            if x._value is None or node is None or node.seq in self.seen:
                continue
            if node.op is None:
                self.seen[node.seq] = (x, node)
            elif node.seq < self.start and node.requires_grad:
                raise TraceError(
                    message("compile", "the function reads a tensor from outside that has a graph behind it",
                            f"{node.name} made at {node.origin}", "Pass it as an argument, or detach it")
                )  # fmt: skip

    def saw_grad(self, sink: Sink, reads: bool) -> None:
        """The gradient of a leaf is about to be read or replaced."""
        if id(sink) in self.grads or sink.seq > self.start:  # of a tensor that the program made
            return
        self.grads[id(sink)] = (sink, sink.grad)
        grad = sink.grad
        if reads:
            # A view is written through its base, so it is bound like any other tensor.
            apart = grad is not None and (grad._alias is None or grad._alias.base is None)
            self.grads_read.append((sink, MISSING if apart else grad))
            if apart:
                self.grad_of[id(grad)] = GradSlot(sink)

    def saw_value(self, x: Handle) -> None:
        """Python code looks at the values of a tensor: they are part of what was traced."""
        self.values.append((weakref.ref(x), np.array(x._value)))

    def saw_backward(self) -> None:
        """Results lead nowhere any more."""
        self.freed = True

    def saw_state(self, owner: Any, key: Any, state: dict[str, Any]) -> None:
        """An optimizer keeps tensors under ``owner.state[key]``."""
        for name, value in state.items():
            if isinstance(value, Handle):
                self.entries[id(value)] = EntrySlot(owner, (key, name))

    def saw_module(self, module: Any) -> None:
        """A module is called: what it is made of is part of what was traced."""
        if id(module) not in self.modules:
            from ..guards import Picture

            for m in module.modules():
                if id(m) not in self.modules:
                    self.modules[id(m)] = Picture(m)

    def saw_attribute(self, table: dict[str, Any], name: str) -> None:
        """A module's attribute, which ``table`` holds, is about to be set to a tensor."""
        self.saw_place(table, name, table.get(name, MISSING))

    def saw_place(self, table: Any, key: Any, old: Any) -> None:
        """What ``table`` has under a key is another tensor than before, or will be."""
        self.places.setdefault(place_of(table, key), (PlaceSlot(table, key), old))

    def saw_optimizer(self, owner: Any, own: bool = True) -> None:
        """An optimizer that the function may change; ``own``: one of the user's, which may keep things in any way."""
        if id(owner) in self.kept or not {"state", "param_groups"} <= vars(owner).keys():
            return
        groups, tables = owner.param_groups, _tables(owner.state) if own else []
        self.kept[id(owner)] = Kept(owner, groups, {id(t): (t, dict(t)) for t in tables})
        owner.param_groups = [Options(g) for g in groups]
        for key, state in owner.state.items() if own else ():
            if isinstance(state, dict):
                self.saw_state(owner, key, state)

    def unsettled(self) -> tuple[str, bool]:
        """Why no program can stand for such optimizers, empty if one can; and whether it can from the next call on."""
        why, once = "", False
        for owner, groups, tables in self.kept.values():
            name = type(owner).__name__
            for g in owner.param_groups if len(owner.param_groups) == len(groups) else [Options(changed=["groups"])]:
                why = f"it sets {g.changed[0]!r} of {name} (set it before the call)" if g.changed else why
            for table in _tables(owner.state) if tables else ():
                _, was = tables.get(id(table), (table, {}))
                once = once or was.keys() != table.keys()
                for key in was.keys() & table.keys():
                    old, new = was[key], table[key]
                    if isinstance(old, Handle) and isinstance(new, Handle) and new is not old:
                        self.saw_place(table, key, old)
                    elif new is not old and (isinstance(new, Handle) or new != old):
                        why = f"{name} counts {key!r} in Python (a tensor, changed in place, is followed)"
        self.settled = not (why or once)
        return why, once and not why

    def saw_mode(self, module: Any) -> None:
        """A module is about to be set to training or evaluation mode."""
        self.modes.setdefault(id(module), (module, module.training))

    def saw_flag(self, x: Handle) -> None:
        """Whether a tensor requires grad is about to be changed."""
        self.flags.setdefault(id(x), (weakref.ref(x), x.requires_grad))

    def options(self, owner: Any, group: int, options: dict[str, Any]) -> dict[str, Any]:
        """An optimizer's options, numbers that may change as symbols."""
        self.owners[id(owner)] = owner
        out = dict(options)
        for key, value in options.items():
            if key in ("params", "param_names"):
                continue
            if type(value) is tuple and value and all(type(v) is float for v in value):
                out[key] = tuple(self._number(NumberSlot(owner, group, key, i), v) for i, v in enumerate(value))
            else:
                out[key] = self._number(NumberSlot(owner, group, key, None), value)
        return out

    def _number(self, slot: NumberSlot, value: Any) -> Any:
        if isinstance(value, Handle):
            return value
        if type(value) not in (float, int) or not self.dynamic(slot.key, value):
            self.fixed.append((slot, value))
            return value
        for known, node in self.numbers:
            if known == slot:
                return self._symbol_of(node)
        made = symbol(NUMBER, False)
        self.numbers.append((slot, made._node))
        return made

    def _symbol_of(self, node: Node) -> Any:
        out = symbol(NUMBER, False)
        out._node = node
        return out

    def _next_key(self, generator: Any) -> Any:
        key = symbol(KEY, False)
        self.draws.append((generator, key._node))
        return key

    # -- what is left of it ----------------------------------------------------------------

    def is_own(self, x: Handle, leaves: list[Any]) -> bool:
        """Whether the program made a tensor, which it returns: only the other ``leaves`` of the result refer to it."""
        held = sum(y is x for y in leaves) + sum(y is x for y, _, _ in self.writes)
        return sys.getrefcount(x) - held - sum(y is x for y, _ in self.seen.values()) <= _RESULT

    def _held(self) -> Counter[int]:
        """How often the trace itself refers to tensors, by id."""
        return Counter([id(x) for x, _, _ in self.writes] + [id(x) for x, _ in self.seen.values()])

    def slots(self) -> dict[int, Any]:
        """The slots of hidden inputs by the seq of their leaf. Of tensors nobody else holds the value is constant."""
        found: dict[int, Any] = {}
        held = self._held()
        while self.seen:
            seq, (handle, node) = self.seen.popitem()
            held[id(handle)] -= 1
            if id(handle) in self.bound:
                found[seq] = self.bound[id(handle)]
            elif id(handle) in self.entries:
                found[seq] = self.entries[id(handle)]
            elif id(handle) in self.grad_of:
                found[seq] = self.grad_of[id(handle)]
            elif node.requires_grad or sys.getrefcount(handle) - held[id(handle)] > _TEMPORARY:
                found[seq] = HeldSlot(handle)
        return found

    def end_of(self, x: Handle) -> Node:
        """The node of a tensor that lives on, which may be one from outside that no op has read."""
        node = node_of(x)
        self.saw_read([x])
        return node

    def written(self) -> list[tuple[Any, Node]]:
        """Slots of the tensors that were changed and live on, with the nodes of their new values."""
        first: dict[int, Any] = {}
        last: dict[int, tuple[Handle, Any]] = {}
        for x, value, _ in self.writes:
            first.setdefault(id(x), value)
            last[id(x)] = (x, x._node)
        out: list[tuple[Any, Node]] = [(slot, self.end_of(slot.get())) for slot, _ in self.rebound()]
        held = self._held()
        for key, (x, node) in last.items():
            if key in self.entries or key in self.grad_of:
                out.append((self.entries.get(key) or self.grad_of[key], node))
            elif key in self.arguments or (first[key] is not None and sys.getrefcount(x) > held[key] + _LOCAL):
                out.append((HeldSlot(x), node))
        return out

    def rebound(self) -> list[tuple[PlaceSlot | EntrySlot, Any]]:
        """The places that other tensors were bound to, with what was there before.

        They get new tensors in every call, as in eager mode: others may hold those from before.
        """
        if self.moved is None:
            self.moved = [
                (self.entries.get(id(old)) or slot, old)
                for slot, old in self.places.values()
                if (new := slot.get()) is not old and isinstance(new, Handle)
            ]
        return self.moved

    def gradients(self) -> list[tuple[Sink, Any]]:
        """The gradients that were replaced, with the new tensor or None.

        One that was set to None unread is replaced also where there was none: in another call there may be one.
        """
        read = {id(sink) for sink, _ in self.grads_read}
        return [
            (sink, sink.grad)
            for sink, old in self.grads.values()
            if sink.grad is not old or (old is None and id(sink) not in read)
        ]

    def settings(self) -> list[tuple[Any, Any]]:
        """The modes, flags, and places without tensors that were set, with what they are now; not the program's own."""
        first: dict[int, Any] = {}
        for x, value, _ in self.writes:
            first.setdefault(id(x), value)
        slots: list[ModeSlot | FlagSlot] = [ModeSlot(m) for m, _ in self.modes.values()]
        for key, (ref, _) in self.flags.items():
            x = ref()
            if x is not None and key not in self.arguments and first.get(key, x._value) is not None:
                slots.append(FlagSlot(x))
        ends: list[tuple[Any, Any]] = [(slot, slot.get()) for slot in slots]
        for slot, old in self.places.values():
            new = slot.get()
            if new is not old and not isinstance(new, Handle):  # as None, behind a tensor
                ends.append((slot, new))
        return ends

    def undo(self) -> None:
        """Give tensors and gradients what they had before. Nothing is traced behind this."""
        self.key_source = None  # its own method: with it nobody but the collector of garbage would free the trace
        for x in self.views:
            x._node = None
        self.undo_writes()
        for module, mode in self.modes.values():
            ModeSlot(module).set(mode)
        for ref, flag in self.flags.values():
            x = ref()
            if x is not None and x._value is not None:  # else it is the trace's own
                FlagSlot(x).set(flag)
        for owner, groups, tables in self.kept.values():
            owner.param_groups = groups
            for table, was in () if self.settled else tables.values():
                table.clear()
                table.update(was)
        for slot, old in self.places.values():
            if old is MISSING:
                slot.table.pop(slot.key, None)
            else:
                slot.table[slot.key] = old
        for sink, grad in self.grads.values():
            sink.grad = grad


class Kept(NamedTuple):
    """An optimizer as it was when the function began, and its state's tables with what was in them."""

    owner: Any
    groups: list[dict[str, Any]]
    tables: dict[int, tuple[dict[Any, Any], dict[Any, Any]]]


class Options(dict[str, Any]):
    """A parameter group in place of the real one, which notes what is set."""

    def __init__(self, group: Any = (), changed: Sequence[str] = ()) -> None:
        super().__init__(group)
        self.changed = list(changed)

    def __setitem__(self, key: str, value: Any) -> None:
        self.changed.append(key)
        super().__setitem__(key, value)


def _tables(state: dict[Any, Any]) -> list[dict[Any, Any]]:
    """An optimizer's state, and its tables for each parameter."""
    return [state, *[t for t in state.values() if isinstance(t, dict)]]


def _temporary_references() -> int:
    """What `sys.getrefcount` says of an object that only a tuple and a local variable hold, as in `slots`."""
    seen = {0: (object(), None)}
    _, (handle, _) = seen.popitem()
    return sys.getrefcount(handle)


def _local_references() -> int:
    """The same for a tuple in a dictionary's value, unpacked."""
    last = {0: (object(), None)}
    for _, (x, _) in last.items():
        return sys.getrefcount(x)
    raise AssertionError


def _result_references() -> int:
    """The same for an object that a local variable of a caller holds, and is given to a method as in `is_own`."""

    def count(x: Any, leaves: list[Any]) -> int:
        return sys.getrefcount(x) - sum(y is x for y in leaves)

    leaves = [object()]
    x = leaves.pop(0)
    return count(x, leaves)


_RESULT = _result_references()
_TEMPORARY = _temporary_references()
_LOCAL = _local_references()


__all__ = ["Capture", "EntrySlot", "GradSlot", "HeldSlot", "NumberSlot", "PlaceSlot"]

"""What a captured function looked at besides shapes and dtypes, and must be the same when its program is used.

Most of it changes rarely: modules, hooks, what requires grad, whom an optimizer updates. All that changes such things
counts up (`config.changed`), so a call looks at them again only when the count has moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import dtypes
from .config import CHANGES
from .graph.capture import MISSING, HeldSlot, PlaceSlot, place_of
from .graph.handle import Handle
from .variables import Variables, bits, is_simple, is_users, same

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks")
_TABLES = ("_parameters", "_buffers", "_modules", *_HOOKS)


class Picture:
    """What a module is made of: the objects in its tables, and its attributes that are numbers, strings or tensors."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.tables: dict[str, Any] = {}
        self.attributes = {
            k: v for k, v in vars(module).items() if k != "_scope_name" and (is_simple(v) or isinstance(v, Handle))
        }
        self.variables = [Variables(f) for f in _functions(module)]

    def settle(self, free: set[Any]) -> None:
        """The function has run: what it changes itself is no reason, nor what is at the ``free`` places."""
        now = vars(self.module)
        kept = {k: v for k, v in self.attributes.items() if k in now and same(v, now[k])}
        self.attributes = {k: v for k, v in kept.items() if (id(now), k) not in free}
        for name in _TABLES:
            entries = now[name]
            self.tables[name] = (
                len(entries),
                tuple([(k, v) for k, v in entries.items() if (id(entries), k) not in free]),
            )

    def values(self) -> Iterator[Any]:
        """What is watched for being the same object."""
        yield from self.attributes.values()
        for _, entries in self.tables.values():
            yield from [v for _, v in entries]

    def broken(self) -> str:
        """What is different now, in words; empty if nothing."""
        name, now = type(self.module).__name__, vars(self.module)
        if self.attributes["training"] is not now["training"]:
            return f"{name} is in {'training' if now['training'] else 'evaluation'} mode now"
        for key, value in self.attributes.items():
            if not same(value, now.get(key)):
                return (
                    f"{key} of {name} is {now[key]!r} now"
                    if is_simple(now.get(key))
                    else f"{key} of {name} has changed"
                )
        for table, (count, entries) in self.tables.items():
            found = now[table]
            if len(found) != count or any(found.get(k) is not v for k, v in entries):
                return f"{table.strip('_').replace('_', ' ')} of {name} have changed"
        return ""


def _functions(module: Any) -> Iterator[Any]:
    """The user's functions that a call of a module runs besides those that it calls: its own, and hooks."""
    if is_users(type(module)):
        yield module.forward
    hooks = [entry[0] for table in _HOOKS for entry in vars(module)[table].values()]
    for p in vars(module)["_parameters"].values():
        sink = None if p is None or p._node is None else p._node.sink
        hooks += [] if sink is None else sink.hooks.values()
    yield from filter(is_users, hooks)


class Bound:
    """A place that the function binds to another tensor in each call: what is there must be like what was there.

    ``reads``: the function has read the tensor; else any will do. ``shared``: it was elsewhere too, so what is there
    must be the same thing, which holds in the first call alone.
    """

    def __init__(self, slot: Any, old: Any, reads: bool, shared: bool) -> None:
        self.slot, self.old = slot, old
        self.exact = not isinstance(old, Handle) or (reads and shared)
        self.like = None if self.exact or not reads else (old.aval, old.requires_grad)

    def broken(self) -> str:
        """What is different now, in words; empty if nothing."""
        now = self.slot.get()
        if self.exact:
            there = now is self.old or same(now, self.old) or (now is None and self.old is MISSING)
        else:
            there = isinstance(now, Handle) and (self.like is None or (now.aval, now.requires_grad) == self.like)
        return "" if there else f"{self.slot.key!r}, which the function sets, is something else now"


class Leaf:
    """What a hidden tensor is: shape, dtype, whether it requires grad, and its hooks."""

    def __init__(self, x: Handle) -> None:
        self.x, self.seen = x, self._look(x)

    @staticmethod
    def _look(x: Handle) -> tuple[Any, ...]:
        node = x._node
        sink = None if node is None else node.sink
        hooks = () if sink is None else (*sink.hooks.values(), None, *sink.after.values())
        return x.aval, node is not None and node.requires_grad, hooks

    def broken(self) -> str:
        """What is different now, in words; empty if nothing."""
        now = self._look(self.x)
        if now == self.seen:
            return ""
        if now[0] != self.seen[0]:
            return f"a tensor that it uses, {self.seen[0]}, is {now[0]} now"
        if now[1] != self.seen[1]:
            return f"a tensor that it uses, {now[0]}, {'requires' if now[1] else 'does not require'} grad now"
        return f"the hooks of a tensor that it uses, {now[0]}, have changed"


class Members:
    """Which tensors an optimizer updates, group by group, and its hooks."""

    def __init__(self, owner: Any) -> None:
        self.owner, self.seen = owner, self._look(owner)

    @staticmethod
    def _look(owner: Any) -> list[list[Any]]:
        hooks = [h for table in getattr(owner, "_hooks", {}).values() for h in table.values()]
        return [hooks, *[[id(p) for p in group["params"]] for group in owner.param_groups]]

    def broken(self) -> str:
        """What is different now, in words; empty if nothing."""
        if self._look(self.owner) == self.seen:
            return ""
        return f"{type(self.owner).__name__} has other parameter groups or hooks now"


class Guards:
    """All of this for one captured function, made when tracing is over and undone."""

    def __init__(self, capture: Any, names: Variables, slots: list[Any]) -> None:
        self.count = CHANGES.count
        self.names = names
        self.pictures: list[Picture] = list(capture.modules.values())
        self.dtype = dtypes._default
        for module, mode in capture.modes.values():
            if id(module) in capture.modules:  # its picture may be later than that it was set
                capture.modules[id(module)].attributes["training"] = mode
        rebound = capture.rebound()
        free = {place_of(slot.table, slot.key) for slot, _ in rebound if isinstance(slot, PlaceSlot)}
        for picture in self.pictures:
            picture.settle(free)
        names.settle([v for p in self.pictures for v in p.variables], free)
        fixed = Counter([id(v) for p in self.pictures for v in p.values()] + [id(v) for v in names.values()])
        fixed.update([id(old) for _, old in rebound])
        self.bound = [
            Bound(slot, old, any(s is slot for s in slots), fixed[id(old)] > 1)
            for slot, old in rebound
            if isinstance(slot, PlaceSlot)
        ]
        self.rare: list[Any] = [*self.pictures, *map(Members, capture.owners.values())]
        self.rare += [Leaf(s.handle) for s in slots if isinstance(s, HeldSlot)]
        self.fixed = list(capture.fixed)
        # A gradient that the function also knows by a name stays that tensor, as a view does.
        named = names.tensors()
        self.grads = [(sink, kept if sink.grad is None or id(sink.grad) not in named else sink.grad)
                      for sink, kept in capture.grads_read]  # fmt: skip
        self.values = [(x, bits(value)) for ref, value in capture.values if (x := ref()) is not None]
        self.owners = {id(s.owner): (s.owner, s.owner.param_groups) for s, _ in self.fixed}
        self.options = self._options()

    def _options(self) -> list[tuple[Any, Any, Any, Any]]:
        return [(s.owner.param_groups[s.group], s.key, s.index, value) for s, value in self.fixed]

    def broken(self) -> str:
        """What has changed, in words; empty if nothing."""
        if self.count != CHANGES.count:
            count = CHANGES.count
            for watched in self.rare:
                if reason := watched.broken():
                    return reason
            self.count = count
        for x, value in self.values:
            if bits(x._value) != value:
                return f"a tensor whose values Python code looks at, {x.aval}, has changed"
        if dtypes._default is not self.dtype:
            return f"the default dtype is {dtypes._default} now"
        for b in self.bound:
            if reason := b.broken():
                return reason
        return self.names.broken() or self._options_broken() or self._grads_broken()

    def _options_broken(self) -> str:
        for owner, groups in self.owners.values():
            if owner.param_groups is not groups:  # loaded from a state dictionary
                self.owners[id(owner)] = (owner, owner.param_groups)
                self.options = self._options()
        for options, key, index, value in self.options:
            now = options[key] if index is None else options[key][index]
            if now is not value and now != value:
                return f"the option {key!r} of an optimizer is {now} now"
        return ""

    def _grads_broken(self) -> str:
        for sink, kept in self.grads:
            grad = sink.grad
            if (grad is None) if kept is MISSING else (grad is not kept):
                return "a gradient is there now" if kept is None else "a gradient is None or another tensor now"
        return ""

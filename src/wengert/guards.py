"""What a captured function looked at besides shapes and dtypes, and must be the same when its program is used.

Most of it changes rarely: modules, hooks, what requires grad, whom an optimizer updates. All that changes such things
counts up (`config.changed`), so a call looks at them again only when the count has moved.
"""

from __future__ import annotations

from typing import Any

from . import dtypes
from .config import CHANGES
from .graph.capture import HeldSlot
from .graph.handle import Handle
from .variables import Variables, bits, is_simple, is_users, same

_TABLES = ("_parameters", "_buffers", "_modules", "_forward_pre_hooks", "_forward_hooks", "_backward_hooks")


class Picture:
    """What a module is made of: the objects in its tables, and its attributes that are numbers, strings or tensors."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.tables: dict[str, Any] = {}
        self.attributes = {
            k: v for k, v in vars(module).items() if k != "_scope_name" and (is_simple(v) or isinstance(v, Handle))
        }
        self.variables = Variables(module.forward) if is_users(type(module)) else None

    def settle(self) -> None:
        """The function has run: what it changes itself is no reason, so leave out such attributes."""
        now = vars(self.module)
        self.tables = {name: tuple(now[name].items()) for name in _TABLES}
        self.attributes = {k: v for k, v in self.attributes.items() if k in now and same(v, now[k])}

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
        for table, entries in self.tables.items():
            found = now[table]
            if len(found) != len(entries) or any(found.get(k) is not v for k, v in entries):
                return f"{table.strip('_').replace('_', ' ')} of {name} have changed"
        return ""


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
        for picture in self.pictures:
            picture.settle()
        names.settle(p.variables for p in self.pictures if p.variables is not None)
        self.rare: list[Any] = [*self.pictures, *map(Members, capture.owners.values())]
        self.rare += [Leaf(s.handle) for s in slots if isinstance(s, HeldSlot)]
        self.fixed = list(capture.fixed)
        self.grads = list(capture.grads_read)
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
        for sink, was_none in self.grads:
            if (sink.grad is None) is not was_none:
                return "a gradient is None now" if not was_none else "a gradient is there now"
        return ""

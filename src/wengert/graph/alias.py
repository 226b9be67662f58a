"""Tensors that share memory, and writing to them.

A view remembers its base and the movements that lead from the base to it. Writing has two ways:

* In memory, when nothing has recorded the values: NumPy writes, every view sees it.
* By new nodes, when the write itself must be differentiated or traced: the base is bound to a node
  with the new value, and its views are made again from it. Old nodes keep their values.

If the memory is pinned (a live graph holds its old value), the base moves to a copy first, so that
in-place code that PyTorch refuses to differentiate simply works.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import numpy as np

from ..config import STATE
from ..errors import GraphError, ShapeError, message
from .handle import Handle, apply, of_node, wrap
from .node import NO_ATTRS, Node

Path = tuple[tuple[Any, dict[str, Any]], ...]  # movements from the base to a view: (op, attrs) each


class Alias:
    """What a tensor shares memory with: as a base its views, as a view its base and path."""

    __slots__ = ("base", "path", "pins", "views")

    def __init__(self, base: Handle | None, path: Path) -> None:
        self.base = base  # None for a base; strong for a view, as PyTorch's ._base
        self.path = path
        self.views: list[weakref.ref[Handle]] = []
        self.pins: list[weakref.ref[Node]] = []

    def pin(self, node: Node) -> None:
        """A leaf node was made that holds this memory as its value."""
        owner = self if self.base is None else self.base._alias
        owner.pins.append(weakref.ref(node))


def make_view(x: Handle, op: Any, attrs: dict[str, Any]) -> Any:
    """Apply a movement and remember that the result shares memory with ``x``."""
    out = apply(op, (x,), attrs)
    return share(x, out, ((op, attrs),))


def share(x: Handle, out: Handle, path: Path) -> Any:
    """Register ``out`` as a view of ``x`` along ``path``."""
    alias = x._alias
    if alias is not None and alias.base is not None:
        base, path = alias.base, alias.path + path
    else:
        base = x
        if alias is None:
            alias = base._alias = Alias(None, ())
            if base._node is not None:
                alias.pins.append(weakref.ref(base._node))
    owner = base._alias
    views = owner.views
    if len(views) > 8 and len(views) & (len(views) - 1) == 0:  # drop dead ones now and then
        owner.views = views = [v for v in views if v() is not None]
    out._alias = Alias(base, path)
    views.append(weakref.ref(out))
    return out


def _is_detached(path: Path) -> bool:
    return any(op.name == "stop_gradient" for op, _ in path)


def follow(x: Any, path: Path) -> Any:
    """Apply the movements of a path to a handle, or to an array."""
    for op, attrs in path:
        x = op.numpy(x, **attrs) if isinstance(x, np.ndarray) else apply(op, (x,), attrs)
    return x


def check_writable(name: str, x: Handle) -> None:
    """Raise where PyTorch forbids an in-place change, before anything is computed."""
    alias = x._alias
    base = x if alias is None or alias.base is None else alias.base
    node = base._node
    if STATE.grad and node is not None and node.op is None and node.requires_grad and x._value is not None:
        detached = alias is not None and _is_detached(alias.path)
        if not detached:
            what = "a leaf that requires grad" if base is x else "a view of a leaf that requires grad"
            raise GraphError(
                message(name, f"cannot change {what} in place", str(x.aval),
                        "Update parameters under wg.no_grad(), or work on x.clone()")
            )  # fmt: skip
    if alias is not None and any(op.name == "expand" and attrs["axes"] for op, attrs in alias.path):
        raise GraphError(
            message(name, "cannot write to an expanded tensor, several elements share memory", str(x.aval),
                    "Call .clone() first")
        )  # fmt: skip


def assign(name: str, x: Handle, new: Handle) -> Any:
    """Give ``x``, and all that shares its memory, the contents of ``new`` (same shape and dtype)."""
    check_writable(name, x)
    if new.aval != x.aval:
        raise ShapeError(message(name, "the result does not fit in place", f"{new.aval} into {x.aval}"))
    alias = x._alias
    base = x if alias is None or alias.base is None else alias.base
    path: Path = () if base is x else alias.path
    detached = _is_detached(path)
    recorded = _needs_node(base, new, detached)
    if not recorded:
        _write_memory(base, x, new)
        return x
    if not path:
        value = new
    else:
        value = _scatter(base, path, new, keep_gradient=not detached)
    if (detached or not STATE.grad) and base._node is not None and base._node.requires_grad:
        value = _with_gradient_of(base, value)
    base._value, base._node = value._value, value._node
    refresh(base)
    if not detached and path and x._node is None:
        x._node = new._node
    return x


def _needs_node(base: Handle, new: Handle, detached: bool) -> bool:
    """Whether a write must become a node."""
    if STATE.trace is not None and (base._value is None or new._value is None):
        return True
    if STATE.recorder is not None:
        return True
    node = base._node
    if node is not None and node.requires_grad and node.op is not None:
        return True
    return not detached and STATE.grad and new._node is not None and new._node.requires_grad


def _scatter(base: Handle, path: Path, new: Handle, keep_gradient: bool) -> Any:
    """The base's value with ``new`` written where the path leads."""
    from ..ops.base import OPS

    source = base if keep_gradient else apply(OPS["stop_gradient"], (base,))
    moves = [(op, attrs) for op, attrs in path if op.name != "stop_gradient"]
    if len(moves) == 1 and moves[0][0].name == "slice":
        return apply(OPS["set_slice"], (source, new), moves[0][1])
    aval = base.aval
    index = follow(np.arange(aval.size).reshape(aval.shape), path).reshape(-1)
    flat = apply(OPS["reshape"], (source,), {"shape": (aval.size,)})
    value = apply(OPS["reshape"], (new,), {"shape": (index.size,)})
    flat = apply(OPS["put_rows"], (flat, wrap(index), value), NO_ATTRS)
    return apply(OPS["reshape"], (flat,), {"shape": aval.shape})


def _with_gradient_of(base: Handle, value: Handle) -> Any:
    """A change made while grad mode was off: the new value, through which the old gradient flows."""
    from ..ops.base import OPS

    grad, STATE.grad = STATE.grad, True
    try:
        constant = wrap(value._value) if value._value is not None else apply(OPS["stop_gradient"], (value,))
        return apply(OPS["substitute"], (base, constant))
    finally:
        STATE.grad = grad


def _write_memory(base: Handle, x: Handle, new: Handle) -> None:
    if is_pinned(base) or not _is_writable(base._value):
        move_to_copy(base)
    np.copyto(x._value, new._value)


def _is_writable(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.flags.writeable


def _references(x: Any) -> int:
    return sys.getrefcount(x)


_PROBE = object()
_OWN = _references(_PROBE) - 1  # what the call itself adds; it differs between Python versions


def is_pinned(base: Handle) -> bool:
    """Whether a live graph holds the base's memory as a value.

    A leaf node that only its own tensor refers to is held by no graph.
    """
    alias = base._alias
    if alias is None:
        node = base._node
        return node is not None and _references(node) - _OWN > 2  # `node` here and in `base`
    family = [base, *(v for v in (r() for r in alias.views) if v is not None)]
    nodes = {id(n): n for n in (r() for r in alias.pins) if n is not None}
    nodes.update((id(h._node), h._node) for h in family if h._node is not None)
    while nodes:
        node = nodes.popitem()[1]
        handles = sum(h._node is node for h in family)
        if _references(node) - _OWN > handles + 1:
            return True
    return False


def move_to_copy(base: Handle) -> None:
    """Move a base and its views to fresh memory; graphs keep the old one."""
    base._value = np.array(base._value)
    node = base._node
    if node is not None:
        fresh = None
        if node.requires_grad:
            fresh = Node(None, (), NO_ATTRS, base._value, None, True, node.code, node.lasti, node.scope)
            fresh.sink = node.sink
        base._node = fresh
    if base._alias is not None:
        base._alias.pins = []
    refresh(base)


def refresh(base: Handle) -> None:
    """Make every live view again from its base."""
    if base._alias is None:
        return
    for ref in base._alias.views:
        view = ref()
        if view is None:
            continue
        again = follow(of_node(base._node) if base._node is not None else wrap(base._value), view._alias.path)
        view._value, view._node = again._value, again._node


def detached(x: Handle) -> Any:
    """The same memory without history: ``x.detach()``."""
    from ..ops.base import OPS

    op = OPS["stop_gradient"]
    out = apply(op, (x,))
    if x._value is not None:
        out._value = x._value
    return share(x, out, ((op, NO_ATTRS),))


__all__ = [
    "Alias", "assign", "check_writable", "detached", "follow", "is_pinned", "make_view", "move_to_copy", "refresh",
    "share",
]  # fmt: skip

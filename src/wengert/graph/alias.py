"""Tensors that share memory, and writing to them.

A view remembers its base and the movements that lead from the base to it. Writing has two ways:

* In memory, when nothing has recorded the values: NumPy writes, every view sees it.
* By new nodes, when the write itself must be differentiated or traced: the base is bound to a node
  with the new value, and its views are made again from it. Old nodes keep their values.

If the memory is pinned (a live graph holds its old value), the base moves to a copy first, so that
in-place code that PyTorch refuses to differentiate simply works. NumPy arrays that shared the memory
do not follow then.

Ops return a part of their input instead of a copy wherever NumPy does. Such a result *borrows* memory:
only `make_view` makes it a view, else it is copied before either side is written.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..config import STATE
from ..errors import GraphError, ShapeError, message
from .handle import Handle, apply, make_node, of_node, set_lender, wrap
from .node import NO_ATTRS, Node, Sink
from .pinned import is_pinned

Path = tuple[tuple[Any, dict[str, Any]], ...]  # movements from the base to a view: (op, attrs) each


class Alias:
    """What a tensor shares memory with: as a base its views, as a view its base and path.

    ``borrowers`` are results that only happen to lie in this memory (an op returned a part of its input
    instead of a copy): they keep their values when this memory is written. ``lender`` says, for such a
    result, whose memory it lies in.

    A view may be a leaf of its own (``requires_grad_()`` on a view): ``leaf`` is where its gradient goes.
    ``through`` says, for a view of such a leaf, which one it is and how long its path is.
    """

    __slots__ = ("base", "borrowers", "grad", "leaf", "lender", "path", "pins", "through", "views")

    def __init__(self, base: Handle | None, path: Path, lender: Alias | None = None) -> None:
        self.base = base  # None for a base; strong for a view, as PyTorch's ._base
        self.path = path
        self.lender = lender
        self.grad = STATE.mode.grad  # whether a view, made again from its base, is recorded
        self.leaf: Sink | None = None
        self.through: tuple[Handle, int] | None = None
        if base is None:
            self.views: list[weakref.ref[Handle]] = []
            self.borrowers: list[weakref.ref[Handle]] = []
            self.pins: list[weakref.ref[Node]] = []

    def pin(self, node: Node) -> None:
        """A leaf node was made that holds this memory as its value."""
        owner = self if self.base is None else self.base._alias
        _add(owner.pins, node)
        if owner.lender is not None:
            _add(owner.lender.pins, node)


def _add(refs: list[weakref.ref[Any]], x: Any) -> None:
    """Append a weak reference; the dead ones are dropped now and then."""
    n = len(refs)
    if n >= 16 and n & (n - 1) == 0:
        refs[:] = [r for r in refs if r() is not None]
    refs.append(weakref.ref(x))


def _own_alias(x: Handle) -> Alias:
    """The alias of a base, made where there is none."""
    alias = x._alias
    if alias is None:
        alias = x._alias = Alias(None, ())
        if x._value is not None and type(x._value) is not np.ndarray:
            x._value = np.array(x._value)  # a NumPy scalar has no memory to share
        if x._node is not None and x._value is not None:  # a trace's node holds no memory
            alias.pins.append(weakref.ref(x._node))
    return alias


def lend(x: Handle, out: Handle) -> None:
    """``out`` lies in the memory of ``x``, which nobody should notice."""
    alias = x._alias
    owner = _own_alias(x) if alias is None else alias if alias.base is None else alias.base._alias
    owner = owner if owner.lender is None else owner.lender
    out._alias = Alias(None, (), owner)
    _add(owner.borrowers, out)


def release(x: Handle) -> None:
    """Forget that ``x`` borrows memory: it has got memory of its own, or becomes a view."""
    alias, x._alias = x._alias, None
    if alias is not None and alias.lender is not None:
        alias.lender.borrowers = [r for r in alias.lender.borrowers if r() is not x]


def make_view(x: Handle, op: Any, attrs: dict[str, Any]) -> Any:
    """Apply a movement and remember that the result shares memory with ``x``."""
    return view_along(x, ((op, attrs),))


def view_along(x: Handle, path: Path, index: Any = None) -> Any:
    """Apply movements one after the other; only the last result becomes a view.

    ``index``: what NumPy is asked for, if it does all of them at once.
    """
    value, node = x._value, x._node
    if value is not None and type(value) is not np.ndarray:
        _own_alias(x)
        value = x._value
    mode = STATE.mode
    if value is None or mode.watchers:
        return share(x, follow(x, path), path)
    if node is None or not (node.requires_grad and mode.grad):
        if index is not None:
            return share(x, wrap(value[index]), path)
        for op, attrs in path:
            value = op.numpy(value, **attrs)
        return share(x, wrap(value), path)
    for op, attrs in path:
        if not op.differentiable:
            return share(x, follow(x, path), path)
        value = op.numpy(value, **attrs)
        node = make_node(op, (node,), attrs, value, True, 3)
    return share(x, wrap(value, node), path)


def share(x: Handle, out: Handle, path: Path) -> Any:
    """Register ``out`` as a view of ``x`` along ``path``."""
    if out._alias is not None:
        release(out)  # the op took it for a borrower
    alias = x._alias
    if alias is None or alias.base is None:
        owner = _own_alias(x) if alias is None else alias
        new = out._alias = Alias(x, path)
    else:
        owner = alias.base._alias
        new = out._alias = Alias(alias.base, alias.path + path)
        new.through = alias.through if alias.leaf is None else (x, len(alias.path))
    _add(owner.views, out)
    return out


def origin_of(x: Handle) -> tuple[Handle, Path]:
    """The base of a tensor and the movements from there; a tensor that is no view is its own base."""
    alias = x._alias
    return (x, ()) if alias is None or alias.base is None else (alias.base, alias.path)


def is_turned_view(x: Handle) -> bool:
    """Whether a tensor shares memory in which its elements are not side by side."""
    return x._alias is not None and x._alias.base is not None and not x._value.flags.c_contiguous


def _is_detached(path: Path) -> bool:
    return any(op.name == "stop_gradient" for op, _ in path)


def follow(x: Any, path: Path) -> Any:
    """Apply the movements of a path to a handle, or to an array."""
    for op, attrs in path:
        x = op.numpy(x, **attrs) if isinstance(x, np.ndarray) else apply(op, (x,), attrs)
    return x


def check_writable(name: str, x: Handle) -> None:
    """Raise where PyTorch forbids an in-place change, before anything is computed."""
    root, path = origin_of(x)
    base, rest = _leaf_behind(x) or (root, path)
    node = base._node
    if STATE.grad and node is not None and node.op is None and node.requires_grad and x._value is not None:
        if not _is_detached(rest):
            what = "a leaf that requires grad" if base is x else "a view of a leaf that requires grad"
            raise GraphError(
                message(name, f"cannot change {what} in place", str(x.aval),
                        "Update parameters under wg.no_grad(), or work on x.clone()")
            )  # fmt: skip
    if any(_repeats(op, attrs) for op, attrs in path):
        raise GraphError(
            message(name, "cannot write to an expanded tensor, several elements share memory", str(x.aval),
                    "Call .clone() first")
        )  # fmt: skip


def _leaf_behind(x: Handle) -> tuple[Handle, Path] | None:
    """For a view that is a leaf, or a view of one: that leaf, and the path from there."""
    alias = x._alias
    if alias is None or alias.base is None:
        return None
    if alias.leaf is not None:
        return x, ()
    return None if alias.through is None else (alias.through[0], alias.path[alias.through[1] :])


def _repeats(op: Any, attrs: dict[str, Any]) -> bool:
    """Whether a movement shows one element at several places."""
    if op.name == "expand":
        return any(attrs["shape"][a] > 1 for a in attrs["axes"])
    return op.name == "strided" and any(
        n > 1 and not any(step) for n, step in zip(attrs["shape"], attrs["steps"], strict=True)
    )


def assign(name: str, x: Handle, new: Handle) -> Any:
    """Give ``x``, and all that shares its memory, the contents of ``new`` (same shape and dtype)."""
    check_writable(name, x)
    if new.aval != x.aval:
        raise ShapeError(message(name, "the result does not fit in place", f"{new.aval} into {x.aval}"))
    if _starts_history(x, new):
        assign(name, x, detached(new))
        _split(x, 1 + max(i for i, (op, _) in enumerate(x._alias.path) if op.name == "stop_gradient"))
    base, path = origin_of(x)
    cut = _is_detached(path)
    if not _needs_node(base, new):
        _write_memory(x, new)
        return x
    value = _scatter(base, path, new, keep_gradient=not cut) if path else _own(new)
    if (cut or not STATE.grad) and base._node is not None and base._node.requires_grad:
        value = _with_gradient_of(base, value)
    elif path:
        x._alias.grad = True
    if not cut and STATE.grad:
        value = _still_tracked(base, value)
    _lay_out_like(base, value)
    if STATE.trace is not None:
        STATE.trace.saw_write(base)
    _hand_over(base._node, value._node)
    base._value, base._node = value._value, value._node
    if base._alias is not None:
        base._alias.lender = None
    refresh(base)
    return x


def _hand_over(old: Node | None, new: Node | None) -> None:
    """What `retain_grad` asked for belongs to the tensor, so it goes on to its new node; hooks stay, as in PyTorch."""
    if old is None or new is None or old is new or old.op is None or old.sink is None or not old.sink.retain:
        return
    new.sink = new.sink or Sink()
    new.sink.retain, new.sink.grad = True, old.sink.grad
    old.sink.retain, old.sink.grad = False, None


def _needs_node(base: Handle, new: Handle) -> bool:
    """Whether a write must become a node."""
    trace = STATE.trace
    if trace is not None and (trace.captures_all or base._value is None or new._value is None):
        return True
    if STATE.recorder is not None:
        return True
    node = base._node
    if node is not None and node.requires_grad and node.op is not None:
        return True
    return _has_gradient(new)


def _has_gradient(new: Handle) -> bool:
    return STATE.grad and new._node is not None and new._node.requires_grad


def _starts_history(x: Handle, new: Handle) -> bool:
    """Whether something with a gradient is written into a detached view, which then has a history of its own."""
    return _has_gradient(new) and x._alias is not None and _is_detached(x._alias.path)


def _split(x: Handle, k: int) -> None:
    """Make a base of the view that the first ``k`` movements of the path of ``x`` lead to.

    The views that came through it become views of it. The memory is shared until one side is written.
    """
    alias = x._alias
    base, prefix = alias.base, alias.path[:k]
    owner = base._alias
    members = [
        v
        for v in (r() for r in owner.views)
        if v is not None
        and len(v._alias.path) >= k
        and all(a is b for a, b in zip(v._alias.path, prefix, strict=False))
    ]
    owner.views = [r for r in owner.views if not any(r() is m for m in members)]
    root: Any = next((m for m in members if len(m._alias.path) == k), None)
    if root is None:
        root = follow(of_node(base._node) if base._node is not None else wrap(base._value), prefix)
    paths = [m._alias.path[k:] for m in members]
    release(root)
    lend(base, root)
    for m, path in zip(members, paths, strict=True):
        if m is not root:
            m._alias = Alias(root, path)
            _add(root._alias.views, m)


def become_leaf(x: Handle) -> bool:
    """Whether a tensor may become a leaf without leaving the memory that it shares."""
    base, path = origin_of(x)
    if not path or _is_detached(path) or type(x._value) is not np.ndarray:
        return not path
    return base._node is None or not base._node.requires_grad


def separate(x: Handle) -> None:
    """Make a view a tensor of its own; the memory is shared until one side is written."""
    if x._alias is not None and x._alias.base is not None:
        _split(x, len(x._alias.path))


def _scatter(base: Handle, path: Path, new: Handle, keep_gradient: bool) -> Any:
    """The base's value with ``new`` written where the path leads."""
    from ..ops.base import OPS

    whole = base if keep_gradient else apply(OPS["stop_gradient"], (base,))
    moves = [(op, attrs) for op, attrs in path if op.name != "stop_gradient"]
    if not moves:
        return _own(new)
    stages = [whole]
    for op, attrs in moves[:-1]:
        stages.append(apply(op, (stages[-1],), attrs))
    for stage, (op, attrs) in zip(reversed(stages), reversed(moves), strict=True):
        new = op.put(stage, new, **attrs)
    return new


def _with_gradient_of(base: Handle, value: Handle) -> Any:
    """A change made while grad mode was off: the new value, through which the old gradient flows."""
    from ..ops.base import OPS

    grad, STATE.grad = STATE.grad, True
    try:
        constant = wrap(value._value) if value._value is not None else apply(OPS["stop_gradient"], (value,))
        return apply(OPS["substitute"], (base, constant))
    finally:
        STATE.grad = grad


def _still_tracked(base: Handle, value: Handle) -> Any:
    """A tensor overwritten by a constant still requires grad, with the gradient zero, as in PyTorch."""
    from ..ops.base import OPS

    node = base._node
    if node is None or not node.requires_grad or (value._node is not None and value._node.requires_grad):
        return value
    return apply(OPS["set_slice"], (base, value), {"spec": tuple((0, n, 1) for n in base.aval.shape)})


def _lay_out_like(base: Handle, value: Handle) -> None:
    """Give a new value the strides of the old one, so that what was a view of it can be one again."""
    old, new = base._value, value._value
    if old is not None and new is not None and (type(new) is not np.ndarray or old.strides != new.strides):
        value._value = np.empty_like(old)
        np.copyto(value._value, new)
        if value._node is not None:
            value._node.data = value._value


def _own(new: Handle) -> Any:
    """A new value that is a node of its own: not a leaf, and not the memory of another tensor."""
    from ..ops.base import OPS

    if new._node is not None and new._node.op is not None and new._alias is None:
        return new
    return apply(OPS["clone"], (new,))


def is_recorded(x: Handle, new: Handle) -> bool:
    """Whether writing ``new`` into ``x`` must become nodes instead of a change in memory."""
    return _needs_node(origin_of(x)[0], new)


def owned_base(x: Handle) -> None:
    """Make sure that the memory of ``x`` may be written: move its base to a copy where it may not."""
    base, _ = origin_of(x)
    if not _is_writable(base._value) or is_pinned(base):
        move_to_copy(base)


def _write_memory(x: Handle, new: Handle) -> None:
    owned_base(x)
    np.copyto(x._value, new._value)


def _is_writable(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.flags.writeable


def move_to_copy(base: Handle) -> None:
    """Move a base and its views to fresh memory; graphs and borrowers keep the old one."""
    base._value = np.array(base._value)
    node = base._node
    if node is not None:
        fresh = None
        if node.requires_grad:
            fresh = Node(None, (), NO_ATTRS, base._value, None, True, node.code, node.lasti, node.scope)
            fresh.sink = node.sink
        base._node = fresh
    alias = base._alias
    if alias is not None:
        alias.pins, alias.borrowers, alias.lender = [], [], None
    refresh(base)


def refresh(base: Handle) -> None:
    """Make every live view again from its base."""
    if base._alias is None:
        return
    grad = STATE.grad
    try:
        for ref in base._alias.views:
            view = ref()
            if view is not None:
                STATE.grad = view._alias.grad
                _refresh_view(base, view)
    finally:
        STATE.grad = grad


def _refresh_view(base: Handle, view: Handle) -> None:
    """Make one view again; a leaf stays one, and its own views come from it."""
    alias = view._alias
    start, path = (base, alias.path)
    if alias.through is not None:
        start, path = alias.through[0], alias.path[alias.through[1] :]
    again = follow(of_node(start._node) if start._node is not None else wrap(start._value), path)
    node = again._node
    if alias.leaf is not None and again._value is not None:
        node = Node(None, (), NO_ATTRS, again._value, None, True)
        node.sink = alias.leaf
        alias.pin(node)
    else:
        _hand_over(view._node, node)
    view._value, view._node = again._value, node


def detached(x: Handle) -> Any:
    """The same memory without history: ``x.detach()``."""
    from ..ops.base import OPS

    op = OPS["stop_gradient"]
    out = apply(op, (x,))
    if x._value is not None:
        out._value = x._value
    return share(x, out, ((op, NO_ATTRS),))


__all__ = [
    "Alias", "assign", "become_leaf", "check_writable", "detached", "follow", "is_recorded", "is_turned_view",
    "make_view", "move_to_copy", "origin_of", "owned_base", "refresh", "release", "separate",
    "share", "view_along",
]  # fmt: skip

set_lender(lend)

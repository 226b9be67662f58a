"""``loss.backward()`` over bare arrays, the commonest sweep: what `reverse` does, with the choices taken out.

Adjoints that nothing else holds are added to in place and become gradients without a copy; reference counts tell.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from ..graph.handle import wrap
from ..graph.node import ITEM, Node
from ..ops.base import plus
from ..ops.heavy import HEAVY
from ..pages import is_own
from .reverse import deliver, into_slot, owns_memory, walk

_ONE = (True,)


def deliver_arrays(root: Node, seed: Any, free: bool) -> None:  # noqa: C901  (flat, because it is the hottest loop)
    """Sweep from one root to the sinks (``.grad``); ``free``: let go of values and edges behind the sweep."""
    adjoints = {root: seed}
    take = adjoints.pop
    order, leaves = walk((root,))
    for n in order:
        g = take(n, None)
        if g is None:
            continue
        if n.sink is not None:
            g = deliver(n, n.sink, g, True, True)
        op, inputs, pull = n.op, n.inputs, n.saved
        if op is ITEM:
            into_slot(adjoints, n, g, None)
        elif len(inputs) == 1:
            x = inputs[0]
            if op.add_adjoint is not None and _add_part(adjoints, x, n, g):
                gx = None
            elif pull is not None:
                gx = pull(g, _ONE)[0]
            elif n.attrs:
                gx = op.vjp(g, n.data, (x.data,), _ONE, **n.attrs)[0]
            else:
                gx = op.vjp(g, n.data, (x.data,), _ONE)[0]
            if gx is not None and x in adjoints:
                _add(adjoints, x, gx)
            elif gx is not None:
                adjoints[x] = gx
        else:
            if len(inputs) == 2:  # spelled out: a comprehension is a call of its own before Python 3.12
                x, y = inputs
                need: Any = (x.requires_grad, y.requires_grad)
                values: Any = (x.data, y.data) if pull is None else None
            else:
                need = [x.requires_grad for x in inputs]
                values = [x.data for x in inputs] if pull is None else None
            if pull is not None:
                found = pull(g, need)
            elif n.attrs:
                found = op.vjp(g, n.data, values, need, **n.attrs)
            else:
                found = op.vjp(g, n.data, values, need)
            for x, gx in zip(inputs, found):  # None where it is not needed
                if gx is not None and x in adjoints:
                    _add(adjoints, x, gx)
                elif gx is not None:
                    adjoints[x] = gx
        g = gx = pull = found = values = None  # what nothing else holds is added to in place, or given to a leaf
        if free:
            n.inputs = n.data = n.saved = None
    _deliver_leaves(adjoints, leaves)


def _deliver_leaves(adjoints: dict[Node, Any], leaves: list[Node]) -> None:
    """Hand the leaves their gradients; an array that nothing else holds becomes the gradient as it is."""
    for n in leaves:
        g = adjoints.pop(n, None)
        sink = n.sink
        if g is None or sink is None:
            continue
        unshared = getrefcount(g) == _ALONE
        plain = unshared and sink.grad is None and sink.retain and not (sink.hooks or sink.after)
        if plain and g.dtype is n.data.dtype and owns_memory(g):
            sink.grad = wrap(g)
        else:
            deliver(n, sink, g, True, True, unshared)


def _add(adjoints: dict[Node, Any], x: Node, g: Any) -> None:
    """Add to an adjoint that is there; in its memory, if it is large and nothing else holds that."""
    old = adjoints.pop(x)
    alike = old.size >= HEAVY and type(g) is np.ndarray and g.dtype is old.dtype and g.shape == old.shape
    adjoints[x] = np.add(old, g, out=old) if alike and _is_held_once(old) else plus(old, g)


def _add_part(adjoints: dict[Node, Any], x: Node, n: Node, g: Any) -> bool:
    """Add the adjoint of a part in place, if there is a large one that nothing else holds; whether that was so."""
    total = adjoints.pop(x, None)
    if total is None:
        return False
    found = total.size >= HEAVY and total.dtype is g.dtype and _is_held_once(total)
    if found:
        n.op.add_adjoint(total, g, **n.attrs)
    adjoints[x] = total
    return found


def _is_held_once(x: Any) -> bool:
    """Whether only a local variable of the caller's holds an array, and the array alone its memory."""
    if type(x) is not np.ndarray or not x.flags.writeable or getrefcount(x) != _HELD[0]:
        return False
    owner = x.base
    if is_own(owner):
        return True
    return type(owner) is np.ndarray and is_own(owner.base) and getrefcount(owner) == _HELD[1]


def _held_once() -> tuple[int, int]:
    """What `getrefcount` says in `_is_held_once` of such an array, and of its memory, in this version of Python."""

    def count(x: Any) -> tuple[int, int]:
        owner = x.base
        return getrefcount(x), getrefcount(owner)

    array = np.empty((1, 2)).T
    return count(array)


_HELD = _held_once()


def _alone() -> int:
    """What `getrefcount` says of an array that one local variable holds, in this version of Python."""
    array = np.empty(1)
    return getrefcount(array)


_ALONE = _alone()

"""The reverse sweep: adjoints of every node an output depends on, outputs first.

Nodes are visited once, in reverse order of creation, which is a reverse topological order;
partial adjoints are summed where a value branched. The sweep knows no op: it asks each for its
``vjp``. It runs on bare arrays when nobody looks at the derivative (``raw``), else on handles,
which record or trace what is done to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np

from ..config import STATE, quietly
from ..errors import AnomalyError, GraphError, message
from ..graph.alias import assign, origin_of, owned_base
from ..graph.handle import Handle, has_nan, node_of, of_node, wrap
from ..graph.node import ITEM, Node, Sink
from ..ops.base import plus
from ..ops.movement import row_major
from ..pages import is_own


def collect(roots: Sequence[Node]) -> list[Node]:
    """The nodes that carry a gradient from leaves to the roots, latest first."""
    order, leaves = walk(roots)
    order += leaves
    order.sort(key=_made, reverse=True)
    return order


def walk(roots: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """The results of ops and the leaves that carry a gradient to the roots, each latest first."""
    found: set[Node] = set()
    order: list[Node] = []
    leaves: list[Node] = []
    for x in roots:
        if x.requires_grad and x not in found:
            found.add(x)
            (leaves if x.op is None else order).append(x)
    for n in order:  # which grows on the way
        for x in n.inputs or _inputs(n):
            if x.requires_grad and x not in found:
                found.add(x)
                (leaves if x.op is None else order).append(x)
    if len(order) > 1:
        order.sort(key=_made, reverse=True)
    if len(leaves) > 1:
        leaves.sort(key=_made, reverse=True)
    return order, leaves


def _inputs(n: Node) -> tuple[Node, ...]:
    """The inputs of a node, which a backward pass may have freed."""
    if n.inputs is None:
        raise GraphError(
            message(
                "backward",
                "the graph was freed by an earlier backward",
                f"{n.name} made at {n.origin}",
                "Pass retain_graph=True to the first backward, or compute the value again",
            )
        )
    return n.inputs  # none at all: an op without operands


_made = attrgetter("seq")


def dependents(order: Sequence[Node], wrt: Sequence[Node]) -> set[Node]:
    """Which of the nodes (latest first) depend on one of ``wrt``."""
    needed = set(wrt)
    for n in reversed(order):
        if n not in needed and any(x.requires_grad and x in needed for x in n.inputs):
            needed.add(n)
    return needed


def reverse(
    roots: Sequence[Node],
    seeds: Sequence[Any],
    wrt: Sequence[Node] | None = None,
    raw: bool = True,
    free: bool = False,
    keep: dict[Node, Any] | None = None,
) -> list[Any]:
    """Sweep from ``roots`` with adjoints ``seeds``.

    ``wrt`` None: deliver to the sinks (``.grad``). Otherwise return the adjoint of each node of
    ``wrt``, None where it has none. ``free``: let go of values and edges behind the sweep.
    ``keep``: filled with the adjoint of every node visited.
    """
    order = collect(roots)
    needed = None if wrt is None else dependents(order, wrt)
    adjoints: dict[Node, Any] = {}
    for root, seed in zip(roots, seeds, strict=True):
        if root.requires_grad:
            adjoints[root] = adjoints[root] + seed if root in adjoints else seed
    wanted: dict[Node, Any] = dict.fromkeys(wrt or ())
    for n in order:
        g = adjoints.pop(n, None)
        if g is None or (needed is not None and n not in needed):
            continue
        if n.sink is not None:
            g = deliver(n, n.sink, g, raw, needed is None)
        if n in wanted:
            wanted[n] = in_dtype_of(n, g) if raw else g
        if keep is not None and type(g) is not list:
            keep[n] = g
        if n.op is not None:
            _pass_on(n, g, adjoints, needed, raw)
            if free:
                _release(n)
    return [wanted[n] for n in wrt or ()]


def _release(n: Node) -> None:
    """Let go of the values and edges of a node whose adjoint has been passed on."""
    n.inputs = n.data = n.saved = None


def _pass_on(n: Node, g: Any, adjoints: dict[Node, Any], needed: set[Node] | None, raw: bool) -> None:
    """Ask a node for the adjoints of its inputs and add them up."""
    if n.op is ITEM:
        into_slot(adjoints, n, g, needed)
        return
    inputs = n.inputs
    need = [x.requires_grad and (needed is None or x in needed) for x in inputs]
    found = _pull_arrays(n, g, inputs, need) if raw else _pull_handles(n, g, need)
    for x, wants, gx in zip(inputs, need, found, strict=True):
        if wants and gx is not None:
            adjoints[x] = plus(adjoints[x], gx) if x in adjoints else gx


def into_slot(adjoints: dict[Node, Any], n: Node, g: Any, needed: set[Node] | None) -> None:
    """The adjoint of one result of several is collected at the op's node."""
    parent = n.inputs[0]
    if needed is None or parent in needed:
        slots = adjoints.get(parent)
        if slots is None:
            slots = adjoints[parent] = [None] * len(parent.aval)
        i = n.attrs["index"]
        slots[i] = g if slots[i] is None else plus(slots[i], g)


def _pull_arrays(n: Node, g: Any, inputs: tuple[Node, ...], need: list[bool]) -> Sequence[Any]:
    """Ask one node for the adjoints of its inputs, over arrays."""
    if n.saved is not None:
        grads = n.saved(g, need)
    else:
        out = n.data
        if out is None:  # a value that was not kept
            out = n.value
            for x in inputs:
                x.data = x.value
        grads = n.op.vjp(g, out, [x.data for x in inputs], need, **n.attrs)
    if STATE.anomaly:
        _check(n, g, grads)
    return grads


def _pull_handles(n: Node, g: Any, need: list[bool]) -> Sequence[Any]:
    """Ask one node for the adjoints of its inputs, over handles."""
    out = tuple(_item_handles(n)) if type(g) is list else of_node(n)
    grads = n.op.vjp(g, out, [of_node(x) for x in n.inputs], need, **n.attrs)
    if STATE.anomaly:
        _check(n, g, grads)
    return grads


def _item_handles(n: Node) -> list[Any]:
    """Handles to the results of a tuple node."""
    from ..graph.node import item_node

    values = n.value
    return [
        wrap(None if values is None else values[i], item_node(n, i, None if values is None else values[i], True))
        for i in range(len(n.aval))
    ]


def _check(n: Node, g: Any, grads: Sequence[Any]) -> None:
    """Raise when the rule of a node made a NaN out of an adjoint without one."""
    plain = [x._value if isinstance(x, Handle) else x for x in grads]
    incoming = g if type(g) is list else [g]
    if any(has_nan(x._value if isinstance(x, Handle) else x) for x in incoming if x is not None):
        return
    for i, x in enumerate(plain):
        if x is not None and has_nan(x):
            raise AnomalyError(
                message("backward", f"the derivative of {n.name} made the first NaN, in its input {i}",
                        f"{n.inputs[i].aval}", f"The forward op stands at {n.origin or 'an unknown line'}")
            )  # fmt: skip


def in_dtype_of(n: Node, g: Any) -> Any:
    """An array in the dtype of a node: NumPy computes bfloat16 rules with numbers in them in float32."""
    if type(g) is list or g.dtype is n.dtype:
        return g
    return g.astype(n.dtype)


def deliver(n: Node, sink: Sink, g: Any, raw: bool, accumulate: bool, unshared: bool = False) -> Any:
    """Run the hooks of a node and add its adjoint to ``.grad``; one that nothing else holds becomes ``.grad``."""
    if raw and g.dtype is not n.data.dtype:
        g = in_dtype_of(n, g)
    if sink.hooks:
        handle = wrap(np.asarray(g)) if raw else g
        for hook in tuple(sink.hooks.values()):
            changed = hook(handle)
            if changed is not None:
                handle = _checked(n, changed)
        g = handle._value if raw else handle
    if sink.retain and accumulate:
        if not raw:
            add_to(sink, g)
        elif unshared and sink.grad is None and not sink.hooks and owns_memory(g):
            sink.grad = wrap(g)
        else:
            sink.grad = _add_array(sink.grad, g)
        if sink.after:
            for hook in tuple(sink.after.values()):
                hook(sink.grad)
    return g


def _checked(n: Node, changed: Any) -> Any:
    """What a hook gave instead of the adjoint of a node."""
    if not isinstance(changed, Handle) or changed.aval != n.aval:
        seen = str(changed.aval) if isinstance(changed, Handle) else type(changed).__name__
        raise GraphError(message("hook", "must return None or a tensor like the gradient", f"{seen} for {n.aval}"))
    return changed


def owns_memory(g: Any) -> bool:
    """Whether an array is whole, in order and may be written."""
    return type(g) is np.ndarray and is_own(g.base) and g.flags.carray


def _add_array(old: Any, g: Any) -> Any:
    """``.grad`` after one more adjoint; in place where nobody can notice but through ``.grad``."""
    if old is None:
        # Rules may hand the same array to several inputs, or a view: a gradient must own its memory.
        return wrap(row_major(g) if type(g) is np.ndarray else np.array(g))
    if old._node is None and old._alias is None and type(old._value) is np.ndarray and old._value.flags.writeable:
        np.add(old._value, g, out=old._value)
        return old
    if STATE.watchers or not _is_written_in_place(old):
        return old + wrap(np.asarray(g))
    owned_base(old)
    np.add(old._value, g, out=old._value)
    return old


def add_to(sink: Sink, g: Any) -> None:
    """Add an adjoint to ``.grad``, both being tensors; in place unless the sum itself is to be differentiated."""
    trace = STATE.trace
    if trace is not None:
        trace.saw_grad(sink, True)
    old = sink.grad
    if old is None:
        # A rule may hand the same tensor to several inputs.
        from ..ops.base import OPS

        sink.grad = wrap(None, g._node) if g._value is None else OPS["clone"](g)
        return
    sink.grad = old + g
    if not STATE.grad and (trace is None or trace.captures_all) and _is_written_in_place(old):
        sink.grad = assign("backward", old, sink.grad)


def _is_written_in_place(grad: Handle) -> bool:
    """Whether the next adjoint goes into the memory of ``.grad``: also when it is a part of a flat buffer."""
    node, base = grad._node, origin_of(grad)[0]._node
    if any(n is not None and n.requires_grad for n in (node, base)):
        return False
    return grad._value is None or 0 not in grad._value.strides


# -- entries ---------------------------------------------------------------------------------


def seed_for(root: Handle) -> Any:
    """Ones like the root, as an array."""
    value = root._value
    if value is None:
        value = root.aval
    return np.ones(value.shape, value.dtype) if value.shape else _one(value.dtype)


@cache
def _one(dtype: Any) -> Any:
    """A 1 of a dtype."""
    return np.ones((), dtype)[()]


def is_watched(roots: Sequence[Node], own: Sequence[Node]) -> bool:
    """Whether a derivative of these roots can itself be looked at.

    That is the case when they depend on something that requires grad other than the nodes a
    transform made for itself (``own``), or when a trace or a recording is under way.
    """
    if STATE.trace is not None or STATE.recorder is not None:
        return True
    if not STATE.grad:
        return False
    mine = {n.seq for n in own}
    seen: set[int] = set()
    stack = [r for r in roots if r.requires_grad]
    while stack:
        n = stack.pop()
        if n.seq in seen:
            continue
        seen.add(n.seq)
        behind = [x for x in n.inputs if x.requires_grad]
        if not behind and n.seq not in mine:
            return True  # a leaf of the user's, or what another transform differentiates with respect to
        stack.extend(behind)
    return False


def run_reverse(
    roots: Sequence[Handle],
    seeds: Sequence[Any] | None,
    wrt: Sequence[Node] | None,
    create_graph: bool,
    free: bool = False,
    keep: dict[Node, Any] | None = None,
) -> list[Any]:
    """Sweep from handles; returns handles (or None) for ``wrt``."""
    nodes = [node_of(r) for r in roots]
    symbolic = any(r._value is None for r in roots)
    raw = not (create_graph or symbolic)
    given: list[Any] = [None] * len(roots) if seeds is None else list(seeds)
    start = [wrap(seed_for(r)) if s is None else s for r, s in zip(roots, given, strict=True)]
    raw = raw and all(s._value is not None for s in start)
    if raw:
        found = quietly(reverse, nodes, [s._value for s in start], wrt, True, free, keep)
        return [None if f is None else wrap(f) for f in found]
    previous, STATE.grad = STATE.grad, create_graph
    try:
        return reverse(nodes, start, wrt, False, free, keep)
    finally:
        STATE.grad = previous


def gradients(out: Handle, gradient: Any = None, create_graph: bool = True) -> dict[Node, Any]:
    """The adjoint of every node that ``out`` depends on: the algorithm as lectures write it.

    Args:
        out: a tensor that something requiring grad leads to.
        gradient: its adjoint; ones by default.
        create_graph: record the adjoints, so that they can be differentiated again.

    Returns:
        ``{node: adjoint}``, outputs first; the adjoints are tensors with nodes of their own.

    >>> import wengert as wg
    >>> x = wg.tensor(3.0, requires_grad=True)
    >>> y = x * x
    >>> adjoint = wg.gradients(y)
    >>> adjoint[y.node].item(), adjoint[x.node].item()
    (1.0, 6.0)
    """
    root = node_of(out)
    if not root.requires_grad:
        raise GraphError(
            message("gradients", "the tensor depends on nothing that requires grad", str(out.aval),
                    "Make an input with requires_grad=True")
        )  # fmt: skip
    keep: dict[Node, Any] = {}
    run_reverse([out], None if gradient is None else [gradient], _leaves(root), create_graph, keep=keep)
    return {n: wrap(np.asarray(g)) if not isinstance(g, Handle) else g for n, g in keep.items()}


def _leaves(root: Node) -> list[Node]:
    """The leaves that carry a gradient: naming them as ``wrt`` leaves ``.grad`` alone."""
    return [n for n in collect([root]) if n.op is None]


def graph_backward(graph: Any, given: Sequence[Any]) -> Any:
    """Adjoints of a Graph at its last forward point; fills ``graph.adjoints``."""
    if not graph.values:
        raise GraphError(message(graph.name, "backward needs values", cure="Call graph.forward(...) first"))
    from ..config import enable_grad
    from ..graph.graph import replay_nodes
    from ..graph.handle import lift
    from ..graph.trace import record

    with record() as recording, enable_grad():
        env: dict[int, Any] = {}
        for n in graph.inputs:
            h = env[n.seq] = wrap(graph.values[n]._value)
            node_of(h).requires_grad = n.requires_grad
        replay_nodes(graph.nodes, env)
        outs = [env[n.seq] for n in graph.outputs]
        keep: dict[Node, Any] = {}
        wrt = [node_of(env[n.seq]) for n in graph.inputs]
        seeds = [lift(g) for g in given] if given else None
        found = run_reverse(outs, seeds, wrt, False, keep=keep)
    del recording
    back = {env[n.seq]._node.seq: n for n in graph.inputs + graph.nodes if isinstance(env.get(n.seq), Handle)}
    graph.adjoints = {back[m.seq]: wrap(np.asarray(g)) for m, g in keep.items() if m.seq in back}
    parts = found[: len(graph.args)]
    return parts[0] if len(parts) == 1 else tuple(parts)

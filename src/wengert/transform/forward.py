"""The forward sweep: tangents travel with the values, inputs first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..config import STATE, quietly
from ..graph.handle import Handle, node_of, of_node, wrap
from ..graph.node import ITEM, Node, ancestors
from .reverse import _item_handles, in_dtype_of, is_watched


def forward(roots: Sequence[Node], wrt: Sequence[Node], tangents: Sequence[Any], raw: bool) -> list[Any]:
    """Tangents of ``roots`` for tangents of the nodes ``wrt``; None where there is none."""
    own = {n.seq for n in wrt}
    order = ancestors([r for r in roots if r.requires_grad], stop=lambda n: n.seq in own or not n.requires_grad)
    known: dict[int, Any] = dict(zip((n.seq for n in wrt), tangents, strict=True))
    last = {x.seq: n.seq for n in order if n.seq not in own for x in n.inputs or ()}
    last |= dict.fromkeys((r.seq for r in roots), -1)
    for n in order:
        if n.seq in known or n.op is None or not n.requires_grad:
            continue
        if n.op is ITEM:
            t = known.get(n.inputs[0].seq)
            t = None if t is None else t[n.attrs["index"]]
        else:
            t = _push(n, [known.get(x.seq) for x in n.inputs], raw)
        if t is not None:
            known[n.seq] = t
        for x in n.inputs:  # what nobody reads any more is let go of
            if last[x.seq] == n.seq:
                known.pop(x.seq, None)
    return [known.get(r.seq) for r in roots]


def _push(n: Node, ts: list[Any], raw: bool) -> Any:
    if all(t is None for t in ts):
        return None
    if raw:
        return n.op.jvp(ts, n.value, [x.value for x in n.inputs], **n.attrs)
    out = tuple(_item_handles(n)) if type(n.aval) is tuple and not hasattr(n.aval, "shape") else of_node(n)
    return n.op.jvp(ts, out, [of_node(x) for x in n.inputs], **n.attrs)


def run_forward(roots: Sequence[Handle], wrt: Sequence[Node], tangents: Sequence[Handle]) -> list[Any]:
    """Sweep over handles; returns tangent handles, None for a root that does not depend on ``wrt``.

    Runs on bare arrays when neither the function nor the tangents are looked at from outside.
    """
    nodes = [node_of(r) for r in roots]
    seen = is_watched(nodes, wrt) or any(t._value is None or _tracked(t) for t in tangents)
    if seen or any(r._value is None for r in roots):
        return forward(nodes, wrt, tangents, False)
    found = quietly(forward, nodes, wrt, [t._value for t in tangents], True)
    return [None if f is None else wrap(in_dtype_of(n, f)) for f, n in zip(found, nodes, strict=True)]


def _tracked(t: Handle) -> bool:
    return STATE.grad and t._node is not None and t._node.requires_grad

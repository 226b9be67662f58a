"""The batched sweep: run a graph with a mapped axis by the ops' batch rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph.graph import Graph, last_reads
from ..graph.handle import wrap
from ..graph.node import ITEM
from ..ops.base import to_front


def batch_graph(
    graph: Graph,
    size: int,
    xs: Sequence[Any],
    dims: Sequence[int | None],
    leaves: dict[int, tuple[Any, int]] | None = None,
) -> list[Any]:
    """Outputs of ``graph`` with the mapped axis in front.

    ``xs``: handles for ``graph.inputs``; ``dims``: the mapped axis of each, None if it is not mapped.
    ``leaves``: values and mapped axes for other leaves, by their seq.
    """
    return [to_front(x, d, size) for x, d in batch_pairs(graph, size, xs, dims, leaves)]


def batch_pairs(
    graph: Graph,
    size: int,
    xs: Sequence[Any],
    dims: Sequence[int | None],
    leaves: dict[int, tuple[Any, int]] | None = None,
) -> list[tuple[Any, int | None]]:
    """Outputs of ``graph``, each with its mapped axis (None: it is not mapped)."""
    env: dict[int, tuple[Any, Any]] = {n.seq: (x, d) for n, x, d in zip(graph.inputs, xs, dims, strict=True)}
    env.update(leaves or {})
    for n, done in zip(graph.nodes, last_reads(graph), strict=True):
        if n.seq in env:
            continue
        if n.op is None:
            env[n.seq] = (wrap(n.value, n), None)
        elif n.op is ITEM:
            parent, parent_dims = env[n.inputs[0].seq]
            i = n.attrs["index"]
            env[n.seq] = (parent[i], parent_dims[i] if isinstance(parent_dims, tuple) else parent_dims)
            parent = None
        else:
            values, axes = zip(*[env[x.seq] for x in n.inputs], strict=True) if n.inputs else ((), ())
            if all(d is None for d in axes) and not hasattr(n.op, "always_batch"):
                env[n.seq] = (n.op(*values, **n.attrs), None)
            else:
                env[n.seq] = n.op.batch(size, values, axes, **n.attrs)
            values = ()  # nor must a local variable keep what is let go of
        for seq in done:
            del env[seq]
    return [env[o.seq] for o in graph.outputs]

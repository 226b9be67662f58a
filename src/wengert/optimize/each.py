"""Calls over leading dimensions as one op, `each`: its graph computes one element, by pieces that stay in the cache."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes as dt
from ..graph.graph import Graph
from ..graph.node import Node
from ..graph.trace import trace
from ..ops.piecewise import ONE
from .rewrite import Rewriter

ELEMENTS = 8  # enough for threads to share


def each(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A call that says how one element of its leading dimensions is computed; its results."""
    graph: Graph = attrs["graph"]
    if ONE not in graph.derived:
        return None
    lead = graph.out_avals[0].shape[:-2]
    same = all(a.ndim >= 2 and a.shape[:-2] == lead for a in graph.out_avals)
    sizes = [x.aval.size for x in xs]
    if not same or math.prod(lead) < ELEMENTS or 0 in sizes or graph.out_avals[0].dtype not in _DTYPES:
        return None
    mapped = tuple([len(x.shape) > 2 for x in xs])
    given = tuple([_repeated(rw, x, lead, like) if m else x for x, m in zip(xs, mapped, strict=True)])
    body = _body(graph, [x.aval.with_shape(x.shape[-2:]) for x in xs])
    made = rw.make("each", given, {"graph": body, "lead": lead, "mapped": mapped}, like)
    found = [rw.make("item", (made,), {"index": i}, like) for i in range(len(body.outputs))]
    return found[0] if graph.single else tuple(found)


_DTYPES = frozenset({dt.NP_FLOAT32, dt.NP_FLOAT64})


def _body(graph: Graph, avals: list[Any]) -> Graph:
    key = (ONE, tuple(avals))
    found = graph.derived.get(key)
    if found is None:
        found = graph.derived[key] = trace(graph.derived[ONE], avals, graph.name)
    return found


def _repeated(rw: Rewriter, x: Node, lead: tuple[int, ...], like: Node) -> Node:
    """An operand with all leading dimensions."""
    own, matrix = x.shape[:-2], x.shape[-2:]
    if own == lead:
        return x
    own = (1,) * (len(lead) - len(own)) + own
    axes = tuple([i for i, (k, n) in enumerate(zip(own, lead, strict=True)) if k != n])
    kept = rw.reshape(x, (*[k for i, k in enumerate(own) if i not in axes], *matrix), like)
    return rw.make("expand", (kept,), {"shape": (*lead, *matrix), "axes": axes}, like)

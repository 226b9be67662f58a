"""Calls that can be computed by pieces: element by element of their leading dimensions, and by blocks of rows.

A formula that says how keeps its arguments alone for the reverse sweep, which is then a Call again, of a body that
computes the pieces anew. So the compiler can run pieces one after the other in memory that stays in the cache, and
what is large within a formula is never there as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..graph.graph import Graph
from ..graph.trace import trace
from .base import OPS

PIECES, ONE = "pieces", "one"  # keys in `Graph.derived`


class Block(NamedTuple):
    """Rows ``start`` to ``stop`` of a formula's result, as a function of its tensor arguments."""

    start: int
    stop: int
    rows: Callable[..., Any]


# The blocks of a formula, asked with symbols for one element of the leading dimensions: matrices all.
Pieces = Callable[..., "list[Block]"]


def set_pieces(graph: Graph, pieces: Pieces) -> None:
    """Say how the body of a call is computed by pieces."""
    graph.derived[PIECES] = pieces
    graph.derived[ONE] = lambda *xs: [_joined([b.rows(*xs) for b in pieces(*xs)])]


def _joined(blocks: Sequence[Any]) -> Any:
    return blocks[0] if len(blocks) == 1 else OPS["cat"](*blocks, axis=0)


def keeps_arguments(graph: Graph, need: Sequence[bool]) -> bool:
    """Whether the adjoints named by ``need`` can be computed by pieces: none is summed over leading dimensions."""
    if PIECES not in graph.derived or not graph.single:
        return False
    lead = graph.out_avals[0].shape[:-2]
    return all(a.ndim >= 2 and a.shape[:-2] == lead for a, n in zip(graph.in_avals, need, strict=True) if n)


def pullback(graph: Graph, need: tuple[bool, ...]) -> Graph:
    """The graph (inputs, adjoint) -> adjoints of the inputs named by ``need``, by pieces too."""
    key = ("pullback", need)
    found = graph.derived.get(key)
    if found is None:
        avals = [*graph.in_avals, graph.out_avals[0]]

        def run(*args: Any) -> list[Any]:
            return _adjoints(lambda *xs: graph.replay(xs, inline=True)[0], args, need)

        found = graph.derived[key] = trace(run, avals, f"{graph.name} backward")
        found.derived[ONE] = lambda *args: _by_blocks(graph.derived[PIECES], args, need)
    return found


def _adjoints(f: Callable[..., Any], args: Sequence[Any], need: Sequence[bool]) -> list[Any]:
    from ..transform.flat import vjp_flat

    *xs, g = args
    chosen = [x for x, n in zip(xs, need, strict=True) if n]

    def body(*ys: Any) -> list[Any]:
        given = iter(ys)
        return [f(*[next(given) if n else x for x, n in zip(xs, need, strict=True)])]

    return vjp_flat(body, chosen)[1](g)


def _by_blocks(pieces: Pieces, args: Sequence[Any], need: Sequence[bool]) -> list[Any]:
    """Adjoints summed over blocks; each block is done with before the next one begins."""
    *xs, g = args
    total: list[Any] = []
    for block in pieces(*xs):
        rows = ((block.start, block.stop, 1), (0, g.aval.shape[-1], 1))
        found = _adjoints(block.rows, [*xs, OPS["slice"](g, spec=rows)], need)
        total = [a + b for a, b in zip(total, found, strict=True)] if total else found
    return total

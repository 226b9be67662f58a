"""The passes in order. Each takes a graph and gives one that computes the same."""

from __future__ import annotations

from collections.abc import Callable

from ..graph.graph import Graph
from .rewrite import Rewriter
from .simplify import rules


def simplify(graph: Graph) -> Graph:
    """Calls in line, equal nodes merged, rules applied, dead code gone."""
    return Rewriter(rules()).run(graph)


PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (("simplify", simplify),)


def optimise(graph: Graph) -> Graph:
    """Run the passes."""
    for _, run in PASSES:
        graph = run(graph)
    return graph

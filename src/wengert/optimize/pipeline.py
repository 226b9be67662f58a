"""The passes in order. Each takes a graph and gives one that computes the same."""

from __future__ import annotations

from collections.abc import Callable

from ..graph.graph import Graph
from .decompose import decompose, split_reductions
from .layout import layout, turned_products
from .rewrite import Rewriter
from .simplify import rules
from .sums import shared_sums


def simplify(graph: Graph) -> Graph:
    """Calls in line, equal nodes merged, rules applied, dead code gone."""
    return Rewriter(rules()).run(graph)


PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("simplify", simplify),
    ("decompose", decompose),
    ("layout", layout),
    ("shared sums", shared_sums),
    ("turned products", turned_products),
    ("split reductions", split_reductions),
)


def optimise(graph: Graph) -> Graph:
    """Run the passes."""
    for _, run in PASSES:
        graph = run(graph)
    return graph

"""The passes in order. Each takes a graph and gives one that computes the same."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import GraphError, message
from ..graph.graph import Graph
from .checks import Checks, looked_at
from .decompose import decompose, settled, split_reductions
from .layout import layout, turned_products
from .loops import loops, map_bodies
from .rewrite import Rewriter
from .simplify import rules
from .sums import shared_sums


def simplify(graph: Graph) -> Graph:
    """Calls in line, equal nodes merged, rules applied, dead code gone."""
    return Rewriter(rules()).run(graph)


PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("simplify", simplify),
    ("loops", loops),
    ("decompose", decompose),
    ("layout", layout),
    ("shared sums", shared_sums),
    ("turned products", turned_products),
    ("split reductions", split_reductions),
)


def bodies(graph: Graph) -> Graph:
    """The bodies of loops and choices, which `loops` has seen already, through the passes behind it."""
    return map_bodies(graph, _optimised_body)


def _optimised_body(graph: Graph) -> Graph:
    for name, run in PASSES:
        graph = graph if name == "loops" else run(graph)
    return bodies(graph)


def optimise(graph: Graph, log: list[Any] | None = None, checks: list[Checks] | None = None) -> Graph:
    """Run the passes. ``log`` takes in (name, ops before, ops after) of each, ``checks`` what inputs must be like.

    ``WENGERT_CHECK=1`` verifies the graph after each pass; ``WENGERT_DUMP=dir`` writes it there.
    """
    verifies = os.environ.get("WENGERT_CHECK", "0") not in ("", "0")
    dump(graph, 0, "traced")
    for i, (name, run) in enumerate(PASSES):
        before = len(graph)
        after = run(graph)
        if verifies:
            verify(name, graph, after)
        graph = after
        if log is not None:
            log.append((name, before, len(graph)))
        dump(graph, i + 1, name)
    graph = bodies(graph)
    if checks is not None:
        checks.append(Checks(graph))
        graph = settled(graph, looked_at(graph))
    return graph


def verify(name: str, before: Graph, after: Graph) -> None:
    """Raise unless a pass kept inputs and outputs, and every node is what its op infers from inputs made earlier."""
    if after.in_avals != before.in_avals or after.out_avals != before.out_avals:
        raise GraphError(message(name, "the pass changed the graph's inputs or outputs"))
    known = {n.seq for n in after.inputs}
    for n in after.nodes:
        for x in n.inputs or ():
            if x.seq not in known:
                raise GraphError(message(name, f"{n.name} reads a node that comes later, or from elsewhere"))
        if n.op is not None and n.op.infer(*[x.aval for x in n.inputs], **n.attrs) != n.aval:
            raise GraphError(message(name, f"{n.name} is not what its op infers", str(n.aval)))
        known.add(n.seq)


_dumped = itertools.count()


def dump(graph: Graph, number: int, name: str) -> None:
    """Write a graph to the directory that ``WENGERT_DUMP`` names."""
    directory = os.environ.get("WENGERT_DUMP")
    if directory:
        Path(directory).mkdir(parents=True, exist_ok=True)
        stem = f"graph{next(_dumped):04d}.{number}.{name.replace(' ', '_')}"
        (Path(directory) / f"{stem}.py").write_text(str(graph), encoding="utf-8")

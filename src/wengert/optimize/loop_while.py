"""Rewriting of loops of unknown length: what never changes leaves them, and later passes compute nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..graph.graph import Graph
from ..graph.node import Node
from ..ops.control_chain import Chain
from .loop_parts import dependents, hoisted, leaf, peeled, rebuilt, sunk
from .rewrite import Rewriter
from .simplify import rules


def rewritten(
    rw: Rewriter, chain: Chain, outer: Sequence[Node], simplified: Callable[[Graph], Graph],
    is_dear: Callable[[Node], bool],
) -> tuple[Chain, list[Node]]:  # fmt: skip
    """A chain of passes with better bodies, and its constants."""
    bodies, operands = sunk([simplified(g) for g in (chain.cond, *chain.bodies)], outer)
    bodies, operands = hoisted(rw, bodies, operands, False)
    new = chain._replace(cond=bodies[0], bodies=tuple(bodies[1:]), consts=len(operands))
    return (_with_results(new, is_dear) if len(new.bodies) > 1 else new), operands


def _with_results(chain: Chain, is_dear: Callable[[Node], bool]) -> Chain:
    """The first pass hands on what later ones would compute again from its states."""
    first, k, m = chain.bodies[0], chain.consts, chain.sizes[0]
    rw = Rewriter(rules())
    env: dict[int, Any] = {x.seq: x for x in first.inputs}
    rw._nodes(first.nodes, env)
    computed = {env[n.seq].seq for n in first.nodes if type(env[n.seq]) is Node}
    outputs = [env[o.seq] for o in first.outputs]
    extra: list[Node] = []
    replaced: list[dict[int, int]] = []  # for each later body, its values (by seq) that are extra results
    for body in chain.bodies[1:]:
        names: dict[int, Any] = {x.seq: y for x, y in zip(body.inputs, [*first.inputs, *outputs[m:]], strict=False)}
        here: dict[int, int] = {}
        for n in _border(body, k + len(outputs), is_dear):
            rw._nodes([x for x in Graph(body.inputs, (n,), "").nodes if x.seq not in names], names)
            part = [x for x in Graph(body.inputs, (n,), "").nodes if x.op is not None and is_dear(x)]
            if all(names[x.seq].seq in computed for x in part):
                if not any(names[n.seq] is x for x in extra):
                    extra.append(names[n.seq])
                here[n.seq] = next(i for i, x in enumerate(extra) if x is names[n.seq])
        replaced.append(here)
    if not extra:
        return chain
    bodies = [Graph(first.inputs, (*outputs, *extra), first.name)]
    at = k + len(outputs)
    for body, here in zip(chain.bodies[1:], replaced, strict=True):
        leaves = [leaf(x) for x in body.inputs]
        more = [leaf(x) for x in extra]
        known = {x.seq: y for x, y in zip(body.inputs, leaves, strict=True)}
        known |= {seq: more[i] for seq, i in here.items()}
        bodies.append(rebuilt(body, (*leaves[:at], *more, *leaves[at:]), known))
    return chain._replace(bodies=tuple(bodies))


def _border(body: Graph, count: int, is_dear: Callable[[Node], bool]) -> list[Node]:
    """What a body computes from its first inputs alone with dear ops, as far as others read it."""
    inputs = {x.seq for x in body.inputs}
    moving = dependents(body, [x.seq for x in body.inputs[count:]])
    fixed = [n for n in body.nodes if n.op is not None and n.seq not in moving and type(n.aval) is not tuple]
    wanted = [n for n in fixed if is_dear(n)]
    inside = {n.seq for n in Graph(body.inputs, tuple(wanted), "").nodes if n.op is not None} - moving
    found: dict[int, Node] = {}
    readers = [n.inputs for n in body.nodes if n.op is not None and n.seq not in inside]
    for x in [y for xs in (*readers, body.outputs) for y in xs]:
        base = peeled(x, inputs)
        if base.seq in inside:
            found.setdefault(base.seq, base)
    return list(found.values())

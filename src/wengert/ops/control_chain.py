"""A chain of passes over the same steps, which a while loop is made of: its tangents, adjoints and mapped axes.

The derivative of a loop needs what its steps computed, in the opposite order. So the op is a chain
of *passes* over the same steps 0 … n-1. The first pass runs forward while the condition holds, which
says what n is. Each later pass runs forward or backward over the steps, with a state of its own, and
its body reads, besides that state, what the earlier passes had at the same step: their states before
it, and their other results (their ys). A plain loop is a chain of one.

That makes it closed. Tangents go along in each pass. The adjoint of a chain of P passes is the chain
followed by the adjoints of its passes, last to first, each in the opposite direction. A mapped
loop goes on until all its elements are done, those that are done keeping their states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..graph.aval import Aval
from ..graph.graph import Graph
from .base import OPS, total
from .control_graphs import (
    Cursor,
    Mask,
    adjoints,
    batched,
    both,
    chosen,
    closed,
    depends,
    either,
    grown,
    influences,
    rewired,
    select_rows,
    spread,
    substituted,
    tangents,
    varies,
    zero_node,
)

BOOL = Aval((), np.dtype(np.bool_))


class Chain(NamedTuple):
    """The attributes of a loop, taken apart.

    A body takes the constants, for each earlier pass its states and ys, and its own states; it
    gives its new states, then its ys.
    """

    cond: Graph
    bodies: tuple[Graph, ...]
    consts: int
    sizes: tuple[int, ...]
    reverse: Mask

    @classmethod
    def of(cls, attrs: dict[str, Any]) -> Chain:
        sizes = attrs["carries"]
        bodies = tuple(attrs[body_name(p)] for p in range(len(sizes)))
        return cls(attrs["cond"], bodies, attrs["consts"], sizes, attrs["reverse"])

    def attrs(self) -> dict[str, Any]:
        """The attributes again."""
        bodies = {body_name(p): body for p, body in enumerate(self.bodies)}
        return {
            "cond": self.cond, **bodies, "consts": self.consts, "carries": self.sizes, "reverse": self.reverse
        }  # fmt: skip

    def ys(self, p: int) -> int:
        """Number of ys of a pass."""
        return len(self.bodies[p].outputs) - self.sizes[p]

    def states(self, xs: Sequence[Any]) -> list[Any]:
        """The states of each pass, out of the operands or results behind the constants."""
        cursor = Cursor(xs)
        return [tuple(cursor.take(m)) for m in self.sizes]

    def blocks(self) -> list[list[Aval]]:
        """Avals of the states and ys of each pass."""
        out: list[list[Aval]] = []
        for body, m in zip(self.bodies, self.sizes, strict=True):
            own = body.in_avals[len(body.inputs) - m :]
            out.append([*own, *body.out_avals[m:]])
        return out

    def derived(self, key: Any, make: Callable[[], Any]) -> Any:
        """What was derived from the chain before, or now; it is kept with the body of the first pass."""
        known, key = self.bodies[0].derived, (*key, self.cond, self.bodies[1:], *self[2:])
        if key not in known:
            known[key] = make()
        return known[key]


def body_name(p: int) -> str:
    """The attribute that holds the body of pass ``p``."""
    return f"body{p}" if p else "body"


# -- tangents ------------------------------------------------------------------------------


def forward_chain(chain: Chain, some: Mask) -> tuple[Chain, list[Mask]]:
    """The chain with tangents, behind the values in each group; and which states have one."""
    k = some[: chain.consts]
    groups = [k]  # then the states and the ys of each pass: which move
    states: list[Mask] = []
    bodies: list[Graph] = []
    for body, start in zip(chain.bodies, chain.states(some[chain.consts :]), strict=True):
        known = tuple(x for group in groups for x in group)
        moving, ys = settled(depends, body, known, start)
        bodies.append(_forward_body(body, [*groups, moving]))
        states.append(moving)
        groups += [moving, ys]
    n, moving = chain.consts, states[0]
    numbers = list(range(n + chain.sizes[0]))
    avals = chain.cond.in_avals
    inputs: list[int | Aval] = [
        *numbers[:n], *chosen(avals[:n], k), *numbers[n:], *chosen(avals[n:], moving)
    ]  # fmt: skip
    sizes = tuple(m + sum(mask) for m, mask in zip(chain.sizes, states, strict=True))
    return Chain(rewired(chain.cond, inputs), tuple(bodies), n + sum(k), sizes, chain.reverse), states


def settled(rule: Callable[[Graph, Mask], Mask], body: Graph, known: Mask, start: Mask) -> tuple[Mask, Mask]:
    """What `depends` or `varies` says of the states and ys of a pass, once its states go round."""
    m = len(start)
    states = grown(start, lambda mask: rule(body, (*known, *mask))[:m])
    return states, rule(body, (*known, *states))[m:]


def _forward_body(body: Graph, groups: list[Mask]) -> Graph:
    """A body with tangents; ``groups``: of its inputs, which move. Tangents stand behind each group."""
    some: Mask = tuple(x for group in groups for x in group)
    moving, live = tangents(body, some), depends(body, some)
    n = len(body.inputs)
    numbers, places = Cursor(range(n)), Cursor(range(n, n + sum(some)))
    inputs: list[int | Aval] = []
    for group in groups:
        inputs += [*numbers.take(len(group)), *places.take(sum(group))]
    graph = rewired(moving, inputs)
    outs, m = len(body.outputs), len(groups[-1])
    found = spread(graph.outputs[outs:], live)
    carried = [found[j] or zero_node(body.outputs[j].aval) for j, moves in enumerate(groups[-1]) if moves]
    ys = [t for t in found[m:] if t is not None]
    outputs = (*graph.outputs[:m], *carried, *graph.outputs[m:outs], *ys)
    return Graph(graph.inputs, outputs, moving.name)


# -- adjoints ------------------------------------------------------------------------------


class ReversePlan(NamedTuple):
    """The adjoint passes of a chain: their bodies, and of which passes they are the adjoints.

    ``states``, ``consts``: for each pass, of which states and constants its adjoint pass has the adjoint.
    """

    bodies: tuple[Graph, ...]
    passes: tuple[int, ...]
    states: list[Mask]
    consts: list[Mask]


class Flow(NamedTuple):
    """Through which places of a chain adjoints flow.

    ``states``: those of each pass that have one; ``ys``: its ys that have one; ``asked``: the
    inputs of its body, but for its states, that get one from it.
    """

    states: list[Mask]
    ys: list[Mask]
    asked: list[Mask]


def reverse_plan(chain: Chain, need: Mask, given: Mask) -> ReversePlan:
    """The adjoint of a chain: for adjoints of the results in ``given``, of the operands in ``need``."""
    flow = adjoint_flow(chain, need, given)
    passes = tuple(p for p in reversed(range(len(chain.bodies))) if any(flow.states[p]) or any(flow.ys[p]))
    consts = [asked[: chain.consts] for asked in flow.asked]
    bodies = tuple(_adjoint_body(chain, flow, passes[:at], p) for at, p in enumerate(passes))
    return ReversePlan(bodies, passes, flow.states, consts)


def with_adjoints(chain: Chain, plan: ReversePlan) -> Chain:
    """The chain, then its adjoint passes."""
    sizes = tuple(sum(plan.states[p]) + sum(plan.consts[p]) for p in plan.passes)
    reverse = tuple(not chain.reverse[p] for p in plan.passes)
    return chain._replace(bodies=chain.bodies + plan.bodies, sizes=chain.sizes + sizes, reverse=chain.reverse + reverse)


def adjoint_flow(chain: Chain, need: Mask, given: Mask) -> Flow:
    """What depends on ``need`` and influences ``given``."""
    k = need[: chain.consts]
    before: list[Mask] = []
    for body, start in zip(chain.bodies, chain.states(need[chain.consts :]), strict=True):
        known = (*k, *[x for block in before for x in block])
        moving, ys = settled(depends, body, known, start)
        before.append((*moving, *ys))
    wanted: list[Mask] = [(False,) * len(block) for block in before]
    count = len(chain.bodies)
    flow = Flow([()] * count, [()] * count, [()] * count)
    ends = chain.states(given)
    for p in reversed(range(count)):
        body, m = chain.bodies[p], chain.sizes[p]
        ys = both(wanted[p][m:], before[p][m:])
        live = _influencing(body, either(ends[p], wanted[p][:m]), ys)
        flow.states[p], flow.ys[p] = both(live, before[p][:m]), ys
        asked = influences(body, (*flow.states[p], *ys))[: len(body.inputs) - m]
        flow.asked[p] = both(asked, (*k, *[x for block in before[:p] for x in block]))
        cursor = Cursor(flow.asked[p][chain.consts :])
        for q in range(p):
            wanted[q] = either(wanted[q], cursor.take(len(before[q])))
    return flow


def _influencing(body: Graph, states: Mask, ys: Mask) -> Mask:
    """Which states of a pass influence those states and ys, at once or over several steps."""
    rest = len(body.inputs) - len(states)
    return grown(states, lambda mask: influences(body, (*mask, *ys))[rest:])


def _adjoint_body(chain: Chain, flow: Flow, earlier: Sequence[int], p: int) -> Graph:
    """The body of the adjoint pass of pass ``p``.

    Its states: adjoints of the states, sums of the adjoints of the constants. Its ys: the adjoints
    that it gives to what earlier passes had at the step.
    """
    n, m, body = chain.consts, chain.sizes[p], chain.bodies[p]
    blocks, constants = chain.blocks(), list(body.in_avals[:n])
    pull = adjoints(body, (*flow.asked[p], *flow.states[p]), (*flow.states[p], *flow.ys[p]))

    def state_avals(q: int) -> list[Aval]:
        return [*chosen(blocks[q][: chain.sizes[q]], flow.states[q]), *chosen(constants, flow.asked[q][:n])]

    def given_avals(q: int) -> list[Aval]:
        return chosen([a for block in blocks[:q] for a in block], flow.asked[q][n:])

    at = sum(len(block) for block in blocks[:p])
    groups = [constants, *blocks]
    for q in earlier:
        groups += [state_avals(q), given_avals(q)]
    groups.append(state_avals(p))

    def step(*args: Any) -> list[Any]:
        cursor = Cursor(args)
        k = cursor.take(n)
        values = [cursor.take(len(block)) for block in blocks]
        to_states, to_ys = _received(
            cursor, [(len(state_avals(q)), flow.asked[q][n:]) for q in earlier], at, blocks[p], m
        )
        own = cursor.take(sum(flow.states[p]))
        sums = cursor.take(sum(flow.asked[p][:n]))
        operands = [*k, *[x for block in values[:p] for x in block], *values[p][:m]]
        got = Cursor(pull.replay([*operands, *own, *chosen(to_ys, flow.ys[p])]))
        dk, gives = got.take(len(sums)), got.take(sum(flow.asked[p][n:]))
        ds = got.pick(flow.states[p])
        new = [total((a, b)) for a, b in zip(ds, to_states, strict=True)]
        return [
            *chosen(new, flow.states[p]),
            *[OPS["add"](a, b) for a, b in zip(sums, dk, strict=True)],
            *gives,
        ]

    return closed(step, [a for group in groups for a in group], f"{body.name} backward")


def _received(
    cursor: Cursor, earlier: list[tuple[int, Mask]], at: int, block: list[Aval], m: int
) -> tuple[list[Any], list[Any]]:
    """What earlier adjoint passes give to the states and ys of a pass, whose block starts at ``at``."""
    sums: list[Any] = [None] * len(block)
    for states, mask in earlier:
        cursor.take(states)
        found = cursor.pick(mask)[at : at + len(block)]
        sums = [total((a, b)) for a, b in zip(sums, found, strict=True)]
    return sums[:m], sums[m:]


# -- mapped axes ---------------------------------------------------------------------------


class BatchPlan(NamedTuple):
    """A chain over a mapped axis.

    ``states``: which are mapped; ``cond``: the first condition of each element, if each ends on its own.
    """

    chain: Chain
    states: list[Mask]
    cond: Graph | None


def batch_plan(chain: Chain, size: int, mapped: Mask) -> BatchPlan:
    """The chain over a mapped axis of the operands in ``mapped``."""
    n, k = chain.consts, mapped[: chain.consts]
    starts = chain.states(mapped[n:])
    first, _ = settled(varies, chain.bodies[0], k, starts[0])
    alone = varies(chain.cond, (*k, *first))[0]  # each element ends on its own
    known = k
    bodies: list[Graph] = []
    states: list[Mask] = []
    for p, (body, start) in enumerate(zip(chain.bodies, starts, strict=True)):
        moving, ys = settled(varies, body, known, start)
        if alone:
            moving, ys = (True,) * len(moving), (True,) * len(ys)
        inner = batched(body, size, (*known, *moving), (*moving, *ys))
        if alone:
            cond = batched(chain.cond, size, (*k, *moving), (True,)) if p == 0 else None
            inner = _masked_body(chain, inner, cond, size, k, len(moving))
        bodies.append(inner)
        states.append(moving)
        known = (*known, *moving, *ys)
    if not alone:
        cond = batched(chain.cond, size, (*k, *states[0]), (False,))
        return BatchPlan(Chain(cond, tuple(bodies), n, chain.sizes, chain.reverse), states, None)
    start = batched(chain.cond, size, (*k, *states[0]), (True,))
    some = closed(lambda *xs: [OPS["any"](xs[n], axes=(0,))], bodies[0].in_avals, "any active")
    sizes = (chain.sizes[0] + 1, *chain.sizes[1:])
    return BatchPlan(Chain(some, tuple(bodies), n, sizes, chain.reverse), states, start)


def _masked_body(chain: Chain, inner: Graph, cond: Graph | None, size: int, k: Mask, m: int) -> Graph:
    """A body that changes only the elements that are active, which is the first state of the first pass."""
    n = chain.consts

    def step(*args: Any) -> list[Any]:
        active, xs = args[n], [*args[:n], *args[n + 1 :]]
        mapped = (*k, *[True] * (len(xs) - n))
        found = inner.replay(substituted(active, xs, mapped, size))
        old = xs[len(xs) - m :] if m else []
        new = [select_rows(active, a, b) for a, b in zip(found[:m], old, strict=True)]
        if cond is None:
            return [*new, *found[m:]]
        still = OPS["logical_and"](active, cond.replay([*xs[:n], *new])[0])
        return [still, *new, *found[m:]]

    avals = inner.in_avals
    return closed(step, [*avals[:n], BOOL.with_shape((size,)), *avals[n:]], inner.name)

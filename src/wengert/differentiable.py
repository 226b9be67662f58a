"""Compiled functions whose results carry gradients: a forward program, and a backward one for ``backward()``.

The graph of a function and its adjoints is cut in two, as a `Call` is: the forward program also gives what the
backward one reads. In the graph of eager mode the whole function stands as one call, so higher derivatives and forward
mode sweep its body.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import tree
from .capturing import ArgumentSlot, Captured, Output, identity
from .graph.graph import Graph
from .graph.handle import lift, make_node, node_of, of_node, results, symbol, wrap
from .graph.node import ITEM, Node, ancestors, reach, union
from .graph.trace import tracing
from .ops.base import OPS, full_tuple
from .stepping import Step
from .turns import Turns


def carries_gradient(captured: Captured) -> bool:
    """Whether a result depends on something that requires grad."""
    if captured.freed:
        return False
    graph = captured.graph
    depends = {n.seq for n in graph.inputs if n.requires_grad}
    for n in graph.nodes:
        if n.requires_grad and n.inputs and any(x.seq in depends for x in n.inputs):
            depends.add(n.seq)
    return any(graph.outputs[r].seq in depends for r in captured.results if type(r) is Output)


class Halves:
    """The graph of a function cut in two.

    ``changed``: which inputs the function itself writes. ``forward``: its inputs to its outputs, then ``kept``
    values. ``backward``: kept values (or inputs, by number) and adjoints of ``outs`` to adjoints of the inputs ``wrt``.
    ``reach``: for each of ``outs`` the inputs that get a gradient from it, as bits.
    """

    def __init__(self, graph: Graph, outs: Sequence[int], changed: set[int]) -> None:
        from .transform.reverse import reverse

        self.outs = tuple(i for i in outs if graph.outputs[i].requires_grad)
        self.wrt = tuple(i for i, n in enumerate(graph.inputs) if n.requires_grad)
        with tracing():
            xs = [symbol(n.aval, n.requires_grad) for n in graph.inputs]
            found = graph.replay(xs, inline=True)
            seeds = [symbol(found[i].aval, True) for i in self.outs]
            inputs = [node_of(x) for x in xs]
            roots = [node_of(found[i]) for i in self.outs]
            self.reach = reach(roots, inputs)
            live = [(r, s) for r, s in zip(roots, seeds, strict=True) if r.requires_grad]
            wrt = [inputs[i] for i in self.wrt]
            adjoints = reverse([r for r, _ in live], [s for _, s in live], wrt, raw=False)
            filled = [OPS["fill"](of_node(n), value=0) if a is None else a for a, n in zip(adjoints, wrt, strict=True)]
        ends, grads = [node_of(f) for f in found], [node_of(a) for a in filled]
        computed = {n.seq for n in ancestors(ends)} | {n.seq for n in inputs}

        def is_there(n: Node) -> bool:
            """Whether the forward half has it: a result of an op of several is asked for by itself."""
            return n.seq in computed or (n.op is ITEM and n.inputs[0].seq in computed)

        later = ancestors(grads, stop=is_there)
        known = {n.seq for n in inputs}
        number = {n.seq: i for i, n in enumerate(inputs) if i not in changed}
        kept = [n for n in later if is_there(n) and (n.op is not None or n.seq in known)]
        self.sources: list[int | Node] = [number.get(n.seq, n) for n in kept]
        extra = [n for n in kept if n.seq not in number]
        self.forward = Graph(tuple(inputs), (*ends, *extra), graph.name)
        self.backward = Graph((*kept, *[node_of(s) for s in seeds]), tuple(grads), f"{graph.name} backward")


class DifferentiableStep:
    """Like `stepping.Step`, with results that lead back to parameters and arguments."""

    def __init__(self, captured: Captured) -> None:
        from .runtime.program import compiled

        self.captured = captured
        outs = self.outs = sorted({r for r in captured.results if type(r) is Output})
        self.halves = Halves(captured.graph, outs, _changed(captured))
        more = len(self.halves.forward.outputs) - len(captured.graph.outputs)
        self.forward = Step(_extended(captured, self.halves.forward, outs, more))
        self.program = self.forward.program
        self.adjoints = compiled(self.halves.backward)
        self.run = self.adjoints.caller(range(len(self.adjoints.avals)))
        self.turns = Turns()

    def __call__(self, arrays: Sequence[Any]) -> Any:
        """Run forward; the results know how to run backward."""
        return self.forward.turns.take(self._run_forward, arrays)

    def _run_forward(self, arrays: Sequence[Any]) -> Any:
        values = self.forward(arrays)
        captured, halves = self.captured, self.halves
        count = len(self.outs)
        handles = [*arrays, *[s.get() for s in captured.slots], *[lift(x) for x, _ in self.forward.own]]
        extra = iter(v._value for v in values[count:])
        kept = [handles[s]._value if type(s) is int else next(extra) for s in halves.sources]
        outs = values[:count]
        shapes = [o._value for o in outs]
        call = {"graph": _only(captured.graph, self.outs)}
        node = make_node(OPS["call"], tuple([node_of(h) for h in handles]), call, None, True)
        value: Any = shapes[0] if count == 1 else tuple(shapes)
        node.data = value
        node.saved = lambda g, need: self._pull(g, kept, shapes, len(handles))
        found = results(node, value)
        tracked = set(halves.outs)
        ends = [
            end if i in tracked else wrap(end._value) for i, end in enumerate(found if count > 1 else (found,))
        ]  # what was detached stays so
        leaves = [self.forward.leaf(r, ends, arrays) for r in captured.results]
        return tree.unflatten(captured.structure, leaves)

    def _pull(self, g: Any, kept: list[Any], shapes: list[Any], n_inputs: int) -> list[Any]:
        """Adjoints of the inputs, over arrays; None for those that get nothing from the results with an adjoint."""
        halves = self.halves
        given = [g] if len(self.outs) == 1 else g
        reached = union(m for i, m in zip(halves.outs, halves.reach, strict=True) if given[i] is not None)
        gs = full_tuple(given, shapes)
        seeds = [gs[i] for i in halves.outs]
        p = self.adjoints
        values = [*self.turns.take(self._run_backward, [*kept, *seeds]), *p.constants]
        out: list[Any] = [None] * n_inputs
        for i, number in zip(halves.wrt, p.outputs, strict=True):
            out[i] = values[number] if reached >> i & 1 else None
        return out

    def _run_backward(self, given: list[Any]) -> list[Any]:
        """The values of the backward program, those that it gets and those that it makes."""
        p = self.adjoints
        inputs, made = p.avals[: p.first_made], p.avals[p.first_made :]
        outs = [np.empty(a.shape, a.dtype) for a in made]
        given = [np.require(x, requirements=["C", "A"]) for x in given]
        if self.run(*given, *outs) is not True:
            given = [np.array(x, a.dtype, order="C") for x, a in zip(given, inputs, strict=True)]
            if self.run(*given, *outs) is not True:
                raise RuntimeError("the backward program does not take its arguments")
        return [*given, *outs]


def _changed(captured: Captured) -> set[int]:
    """The numbers of the inputs whose tensors the function writes."""
    n_args = len(captured.graph.inputs) - len(captured.slots) - len(captured.numbers) - len(captured.draws)
    written = {identity(s) for s in captured.written}
    arguments = {i for i in range(n_args) if identity(ArgumentSlot(i)) in written}
    return arguments | {n_args + i for i, s in enumerate(captured.slots) if identity(s) in written}


def _only(graph: Graph, outs: Sequence[int]) -> Graph:
    """A graph with some of its outputs."""
    key = ("only", tuple(outs))
    if key not in graph.derived:
        graph.derived[key] = Graph(
            graph.inputs, tuple([graph.outputs[i] for i in outs]), graph.name, single=len(outs) == 1
        )
    return graph.derived[key]


def _extended(captured: Captured, forward: Graph, outs: Sequence[int], more: int) -> Captured:
    """The capture of the forward half: the results as a list, then what is kept for the backward half."""
    new = copy.copy(captured)
    ends = list(forward.outputs)
    first = len(outs)
    rest = ends[len(captured.graph.outputs) :]
    order = [*[ends[i] for i in outs], *rest, *ends[first : len(captured.graph.outputs)]]
    new.graph = Graph(forward.inputs, tuple(order), forward.name)
    new.results = [Output(i) for i in range(first + more)]
    _, new.structure = tree.flatten([0] * (first + more))
    return new


__all__ = ["DifferentiableStep", "carries_gradient"]

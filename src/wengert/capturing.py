"""What a function does, as a closed graph with all its state: the front end of `wengert.compile`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import tree
from .config import STATE
from .errors import DTypeError, TraceError
from .graph.alias import is_turned_view
from .graph.capture import Capture, EntrySlot, GradSlot, HeldSlot, PlaceSlot, place_of
from .graph.graph import Graph
from .graph.handle import Handle, symbol, wrap
from .graph.node import NO_ATTRS, Node, Sink
from .graph.trace import using
from .guards import Guards
from .turns import capturing
from .variables import Variables


class ArgumentSlot(NamedTuple):
    """A tensor among the arguments, by its number."""

    index: int


def identity(slot: Any) -> Any:
    """What tells slots apart."""
    if isinstance(slot, ArgumentSlot):
        return ("argument", slot.index)
    if isinstance(slot, HeldSlot):
        return ("held", id(slot.handle))
    if isinstance(slot, PlaceSlot):
        return ("place", *place_of(slot.table, slot.key))
    if isinstance(slot, EntrySlot):
        return ("entry", id(slot.owner), tuple(id(k) if isinstance(k, Handle) else k for k in slot.keys))
    return ("grad", id(slot.sink))


class Output(int):
    """A result that the graph computes, by the number of its output. A tensor that is returned twice has one."""


class Captured:
    """What a function did: a graph, and what its inputs and outputs are outside.

    The graph's inputs are the tensors among the arguments, then one for each of ``slots`` (hidden tensors), ``numbers``
    and ``draws`` (random keys). Its outputs are the tensors of the result, then ``written`` tensors, then gradients.
    """

    graph: Graph
    slots: list[Any]
    numbers: list[Any]
    draws: list[Any]
    results: list[Any]  # for each leaf of the result: `Output`, `ArgumentSlot`, a tensor from outside, or any object
    structure: Any
    written: list[Any]  # slots of changed tensors
    grads: list[tuple[Sink, bool]]  # gradients that are replaced, and whether by a tensor or by None
    settings: list[tuple[Any, bool]]  # slots of modes of modules, and of what requires grad, that are set
    moving: set[Any]  # identities of the slots among ``written`` that get a new tensor in each call
    guards: Guards
    eager: str  # why calls must run in eager mode, if they must
    once: bool  # whether this call must, alone: an optimizer's own step makes its state
    freed: bool  # a backward pass was made inside: the results carry no gradient


def capture(f: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Captured:
    """Run ``f`` on symbols in place of the tensors among its arguments."""
    # An optimizer's code may branch on one of its options, or count with it: let only the learning rate change then, or
    # nothing. An option that is 0 is not in use, and costs nothing as such; a rate that is 0 is one of a warm-up.
    attempts: tuple[Callable[[str, Any], bool], ...] = (
        lambda key, value: value != 0 or key == "lr",
        lambda key, value: key == "lr",
    )
    for dynamic in attempts:
        try:
            with capturing():
                return _capture(f, args, kwargs, dynamic)
        except (TraceError, DTypeError):
            continue
    with capturing():
        return _capture(f, args, kwargs, lambda key, value: False)


def _capture(f: Callable[..., Any], args: Any, kwargs: dict[str, Any], dynamic: Callable[[str, Any], bool]) -> Captured:
    leaves, structure = tree.flatten((args, kwargs))
    state = Capture(dynamic)
    inputs: list[Node] = []
    given: list[Any] = []
    names = Variables(f, leaves)
    for x in leaves:
        if isinstance(x, np.ndarray):
            x = wrap(x)
        if isinstance(x, Handle):
            made = symbol(x.aval, x._node is not None and x._node.requires_grad)
            made._node.sink = None if x._node is None else x._node.sink
            inputs.append(made._node)
            x = made
        given.append(x)
    state.arguments = {id(x): i for i, x in enumerate([x for x in given if isinstance(x, Handle)])}
    grad = STATE.grad
    try:
        with using(state):
            STATE.grad = grad  # the caller's mode
            for optimizer, own in names.optimizers:
                state.saw_optimizer(optimizer, own)
            owner = getattr(f, "__self__", None)
            if hasattr(owner, "_modules"):  # a module whose forward is called
                state.saw_module(owner)
            symbolic_args, symbolic_kwargs = tree.unflatten(structure, given)
            found = [f(*symbolic_args, **symbolic_kwargs)]
            _see_rebound(state, names)
        out = _close(state, inputs, found)
    finally:
        _see_rebound(state, names)  # of a function that has failed, too
        state.undo()
    out.guards = Guards(state, names, out.slots)
    return out


def _see_rebound(state: Capture, names: Variables) -> None:
    """Variables, attributes and elements that the function has bound to other tensors."""
    for variables in (names, *[v for p in state.modules.values() for v in p.variables]):
        for place in variables.rebound():
            state.saw_place(*place)


def _close(state: Capture, inputs: list[Node], found: list[Any]) -> Captured:
    """Make a graph of what was traced, and sort out what lives on. ``found``: the result, which is taken out."""
    out = Captured()
    leaves, out.structure = tree.flatten(found.pop())
    known = {id(x) for x, _ in state.seen.values()}
    results: list[Any] = []
    ends: list[Node] = []
    places: dict[int, Output] = {}
    while leaves:  # emptied, so that only what lives on is referred to
        x = leaves.pop(0)
        if not isinstance(x, Handle) or ((x._value is not None or id(x) in known) and not state.is_own(x, leaves)):
            results.append(x)
        elif id(x) in state.arguments:
            results.append(ArgumentSlot(state.arguments[id(x)]))
        else:
            if id(x) not in places:
                places[id(x)] = Output(len(ends))
                ends.append(state.end_of(x))
            results.append(places[id(x)])
    x = None
    why, out.once = state.unsettled()
    rebound = state.rebound()
    state.bound = {id(old): slot for slot, old in rebound if isinstance(old, Handle)}
    written = state.written()
    gradients = state.gradients()
    ends += [node for _, node in written]
    ends += [state.end_of(g) for _, g in gradients if g is not None]
    slots = state.slots()
    hidden = _own_leaves(Graph(tuple(inputs), tuple(ends), start=0).nodes, slots)
    ends = [hidden.get(n.seq, n) for n in ends]
    numbers = [(s, n) for s, n in state.numbers]
    order = (*inputs, *hidden.values(), *[n for _, n in numbers], *[n for _, n in state.draws])
    out.graph = Graph(order, tuple(ends), "step", start=0)
    out.slots = [slots[seq] for seq in hidden]
    out.numbers = [s for s, _ in numbers]
    out.draws = [g for g, _ in state.draws]
    out.results = results
    out.written = [
        ArgumentSlot(state.arguments[id(s.handle)])
        if isinstance(s, HeldSlot) and id(s.handle) in state.arguments
        else s
        for s, _ in written
    ]
    out.grads = [(sink, g is not None) for sink, g in gradients]
    out.freed = state.freed
    out.settings = state.settings()
    out.moving = {identity(slot) for slot, _ in rebound}
    out.eager = _unnatural(out, inputs) or why
    return out


def _unnatural(out: Captured, inputs: list[Node]) -> str:
    """Why only eager mode can run what was captured, if so."""
    sinks = {id(n.sink) for n in inputs if n.sink is not None}
    delivered = [s for s, _ in out.grads] + [s.sink for s in out.written if isinstance(s, GradSlot)]
    if any(id(s) in sinks for s in delivered):
        return "a gradient is delivered to an argument"
    turned = any(isinstance(s, HeldSlot) and is_turned_view(s.handle) for s in out.slots)
    return "it reads a view that does not lie in order" if turned else ""


def _own_leaves(nodes: Sequence[Node], slots: dict[int, Any]) -> dict[int, Node]:
    """Leaves in place of those of tensors from outside, by seq: a graph that held the latter would pin their values."""
    own = {
        n.seq: Node(None, (), NO_ATTRS, None, n.aval, n.requires_grad, n.code, n.lasti, n.scope)
        for n in nodes
        if n.op is None and n.seq in slots
    }
    for seq, n in own.items():
        n.seq = seq  # which stands for the place in the order
    for n in nodes:
        if n.inputs and any(x.seq in own for x in n.inputs):
            n.inputs = tuple([own.get(x.seq, x) for x in n.inputs])
    return own

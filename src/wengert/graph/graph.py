"""A closed program: inputs, nodes in order, outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from ..errors import ArgumentError, ShapeError, message
from .aval import Aval
from .handle import Handle, apply, lift, of_node, wrap
from .node import ITEM, Node, ancestors, register_nodes


class Graph:
    """A closed program over nodes.

    ``inputs``: the leaves that stand for arguments, then ``captures``, nodes from outside the
    trace. ``nodes``: everything between, inputs before users. ``outputs``: the results.
    Constants are leaves with a value. A graph is immutable; ``derived`` caches what sweeps made
    of it (its vjp, its jvp, its batched form, its Python function).
    """

    def __init__(
        self,
        inputs: tuple[Node, ...],
        outputs: tuple[Node, ...],
        name: str = "graph",
        start: int = 0,
        single: bool = False,
    ) -> None:
        given = {n.seq for n in inputs}

        def outside(n: Node) -> bool:
            """Made before the trace; an item of a result from outside is outside too, whenever it was made."""
            return n.seq not in given and (n.seq < start or (n.op is ITEM and n.inputs[0].seq < start))

        order = ancestors(outputs, stop=lambda n: n.seq in given or outside(n))
        self.captures = tuple(n for n in order if outside(n))
        self.args = inputs
        self.inputs = inputs + self.captures
        held = {n.seq for n in self.inputs}
        self.nodes = tuple(n for n in order if n.seq not in held)
        self.outputs = outputs
        self.name = name
        self.single = single
        self.derived: dict[Any, Any] = {}
        self.values: dict[Node, Any] = {}
        self.adjoints: dict[Node, Any] = {}
        register_nodes(self)

    # -- what it is ------------------------------------------------------------------------

    @property
    def in_avals(self) -> tuple[Aval, ...]:
        """Avals of the inputs, captures last."""
        return tuple(n.aval for n in self.inputs)

    @property
    def out_avals(self) -> tuple[Aval, ...]:
        """Avals of the outputs."""
        return tuple(n.aval for n in self.outputs)

    @property
    def constants(self) -> tuple[Node, ...]:
        """The leaves with a value inside the graph."""
        return tuple(n for n in self.nodes if n.op is None)

    def users(self, node: Node) -> list[Node]:
        """The nodes of this graph that read ``node``."""
        return [n for n in self.nodes if n.inputs and node in n.inputs]

    def __len__(self) -> int:
        return sum(n.op is not None for n in self.nodes)

    def __str__(self) -> str:
        from .show import to_python

        return to_python(self)

    def __repr__(self) -> str:
        args = ", ".join(map(str, self.in_avals))
        outs = ", ".join(map(str, self.out_avals))
        return f"<Graph {self.name}: ({args}) -> ({outs}), {len(self)} ops>"

    def print(self) -> None:
        """Print the graph as a Python program that makes it again (`wengert.graph.show.from_python`)."""
        print(str(self))

    @staticmethod
    def from_python(text: str, **objects: Any) -> Graph:
        """The graph that ``str(graph)`` describes; runs the text, so only read what you trust.

        ``objects``: what the text refers to by name, such as the rule of a custom function (see
        `wengert.graph.show.objects_of`).

        >>> import wengert as wg
        >>> g = wg.trace(lambda x: x.exp(), wg.ones(2))
        >>> len(wg.Graph.from_python(str(g)))
        1
        """
        from .show import from_python

        return from_python(text, **objects)

    # -- running it ------------------------------------------------------------------------

    def numpy(self, *values: Any) -> Any:
        """Run on arrays; a tuple of arrays, or one if the graph has a single result."""
        return self.run(*values)

    @cached_property
    def run(self) -> Callable[..., Any]:
        """The straight-line function over arrays."""
        from .lower import numpy_function

        return numpy_function(self)

    def replay(self, xs: Sequence[Handle], inline: bool = False) -> list[Handle]:
        """Apply every op again on handles (recorded, traced or plain, as the mode is).

        ``inline``: replay the body of a Call in place of the Call.
        """
        env = replay_nodes(self.nodes, dict(zip((n.seq for n in self.inputs), xs, strict=True)), inline)
        return [env[n.seq] for n in self.outputs]

    def __call__(self, *xs: Any) -> Any:
        """Run on tensors; captured tensors are passed by the graph itself."""
        out = self.replay(self._arguments(xs))
        return out[0] if self.single else tuple(out)

    def _arguments(self, xs: Sequence[Any]) -> list[Handle]:
        if len(xs) != len(self.args):
            raise ArgumentError(message(self.name, f"takes {len(self.args)} inputs", f"{len(xs)} given"))
        handles = [lift(x) for x in xs]
        for i, (h, n) in enumerate(zip(handles, self.args, strict=True)):
            if h.aval != n.aval:
                raise ShapeError(
                    message(self.name, f"input {i} does not fit", f"{h.aval}, traced with {n.aval}", "Trace it again")
                )
        return handles + [of_node(n) for n in self.captures]

    def forward(self, *xs: Any) -> Any:
        """Evaluate node by node and keep every value in ``values``; returns the outputs.

        >>> import wengert as wg
        >>> g = wg.trace(lambda x: (x * x).sum(), wg.tensor([1.0, 2.0]))
        >>> g.forward(wg.tensor([1.0, 3.0])).item()
        10.0
        """
        env = {n.seq: h for n, h in zip(self.inputs, self._arguments(xs), strict=True)}
        replay_nodes(self.nodes, env)
        by_seq = {n.seq: n for n in self.inputs + self.nodes}
        self.values = {by_seq[k]: v for k, v in env.items() if k in by_seq}
        out = [env[n.seq] for n in self.outputs]
        return out[0] if self.single else tuple(out)

    def backward(self, *gradients: Any) -> Any:
        """Adjoints of the inputs at the point of the last `forward`; all of them stay in ``adjoints``.

        ``gradients``: one seed an output; ones by default.

        >>> import wengert as wg
        >>> g = wg.trace(lambda x: (x * x).sum(), wg.tensor([1.0, 2.0]))
        >>> _ = g.forward(wg.tensor([1.0, 3.0]))
        >>> g.backward()
        tensor([2., 6.])
        """
        from ..transform.reverse import graph_backward

        return graph_backward(self, gradients)


def replay_nodes(nodes: Sequence[Node], env: dict[int, Any], inline: bool = False) -> dict[int, Any]:
    """Apply nodes in order; ``env`` maps the seq of what is known to handles and is filled."""
    for n in nodes:
        if n.seq in env:
            continue
        if n.op is None:
            # A constant gets a leaf of its own: in a trace under way the old one would be a capture.
            env[n.seq] = wrap(n.value, n if n.requires_grad else None)
        elif n.op is ITEM:
            env[n.seq] = env[n.inputs[0].seq][n.attrs["index"]]
        else:
            xs = tuple([env[x.seq] for x in n.inputs])
            env[n.seq] = n.op.inlined(xs, n.attrs) if inline and n.op.is_call else apply(n.op, xs, n.attrs)
    return env


def last_reads(graph: Graph) -> list[tuple[int, ...]]:
    """For each node of a graph, the seqs of what nobody reads behind it: values that a walk can let go of there.

    Inputs and outputs are not among them.
    """
    found = graph.derived.get("last reads")
    if found is None:
        kept = {n.seq for n in (*graph.inputs, *graph.outputs)}
        found = []
        for n in reversed(graph.nodes):
            last = tuple(dict.fromkeys([x.seq for x in n.inputs or () if x.seq not in kept]))
            kept.update(last)
            found.append(last)
        found = graph.derived["last reads"] = found[::-1]
    return found

"""Run a function on symbols and close what it did into a Graph; record what runs anyway."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .. import dtypes as dt
from ..config import STATE, watching
from ..errors import TraceError, message
from .alias import refresh
from .aval import Aval
from .graph import Graph
from .handle import Handle, node_of, symbol
from .node import Node, next_seq, register_nodes


class Trace:
    """A trace under way: nodes made before it are captured, not part of it.

    ``captures_all``: ops on tensors with known values are part of the trace too (`Capture`, and traces within it: what
    a loop's body computes from tensors outside may be something else in the next call).
    """

    def __init__(self) -> None:
        self.start = next_seq()
        self.outer = STATE.trace
        self.captures_all: bool = self.outer is not None and self.outer.captures_all
        self.key_source: Callable[[Any], Any] | None = (STATE if self.outer is None else self.outer).key_source
        self.leaves: list[tuple[Handle, Node]] = []
        self.writes: list[tuple[Handle, Any, Node | None]] = []  # tensors changed in place, with what they were

    def stopped(self, x: Handle) -> Any:
        """What an op reads of a tensor while grad mode is off: its value as a constant."""
        if x._node is None or not x._node.requires_grad:
            return x
        from ..ops.base import OPS

        return OPS["stop_gradient"](x)

    def behind(self, x: Handle) -> Node | None:
        """The node of a tensor that shares memory, if it is none of its own."""
        return None

    def saw_leaf(self, x: Handle, node: Node) -> None:
        """A tensor from outside was read for the first time; keep it alive with its node."""
        self.leaves.append((x, node))
        if self.outer is not None:
            self.outer.saw_leaf(x, node)

    def saw_read(self, xs: Sequence[Handle]) -> None:
        """An op of the trace reads tensors."""
        if self.outer is not None:
            self.outer.saw_read(xs)

    def saw_grad(self, sink: Any, reads: bool) -> None:
        """The gradient of a leaf is about to be read or replaced."""
        if self.outer is not None:
            self.outer.saw_grad(sink, reads)

    def saw_value(self, x: Handle) -> None:
        """Python code looks at the values of a tensor."""
        if self.outer is not None:
            self.outer.saw_value(x)

    def saw_backward(self) -> None:
        """A backward pass frees its graph."""
        if self.outer is not None:
            self.outer.saw_backward()

    def saw_state(self, owner: Any, key: Any, state: dict[str, Any]) -> None:
        """An optimizer keeps tensors under ``owner.state[key]``."""
        if self.outer is not None:
            self.outer.saw_state(owner, key, state)

    def saw_module(self, module: Any) -> None:
        """A module is called."""
        if self.outer is not None:
            self.outer.saw_module(module)

    def saw_attribute(self, table: dict[str, Any], name: str) -> None:
        """A module's attribute, which ``table`` holds, is about to be set to a tensor."""
        if self.outer is not None:
            self.outer.saw_attribute(table, name)

    def saw_mode(self, module: Any) -> None:
        """A module is about to be set to training or evaluation mode."""
        if self.outer is not None:
            self.outer.saw_mode(module)

    def saw_flag(self, x: Handle) -> None:
        """Whether a tensor requires grad is about to be changed."""
        if self.outer is not None:
            self.outer.saw_flag(x)

    def saw_optimizer(self, owner: Any, own: bool = True) -> None:
        """An optimizer that may be changed, by a step of the user's ``own``."""
        if self.outer is not None:
            self.outer.saw_optimizer(owner, own)

    def options(self, owner: Any, group: int, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a parameter group as an optimizer should see them."""
        return options if self.outer is None else self.outer.options(owner, group, options)

    def saw_write(self, x: Handle) -> None:
        """A tensor is about to be bound to a new node."""
        self.writes.append((x, x._value, x._node))

    def undo_writes(self) -> None:
        """Give the tensors changed in place what they had before the trace."""
        for x, value, node in reversed(self.writes):
            x._value, x._node = value, node
            if value is not None:  # else it is the trace's own
                refresh(x)


@contextmanager
def tracing() -> Generator[Trace]:
    """Let ops on symbols build nodes. Gradients are on: what is traced can be differentiated."""
    with using(Trace()) as trace:
        yield trace


@contextmanager
def using(trace: Any) -> Generator[Any]:
    """Let a trace follow what runs in the context."""
    previous, grad, recorder = STATE.trace, STATE.grad, STATE.recorder
    STATE.trace, STATE.grad, STATE.recorder = trace, True, None
    try:
        with watching():
            yield trace
    finally:
        STATE.trace, STATE.grad, STATE.recorder = previous, grad, recorder


def trace(f: Callable[..., Any], avals: Sequence[Aval], name: str = "graph") -> Graph:
    """Close ``f`` over symbols of these avals; ``f`` takes and returns handles (one, or a sequence).

    Tensors that ``f`` reads from outside become ``captures`` of the graph.
    """
    with tracing() as state:
        symbols = [symbol(a, a.dtype in dt.INEXACT_NP) for a in avals]
        outs = f(*symbols)
        single = isinstance(outs, Handle)
        parts = [outs] if single else list(outs)
        for p in parts:
            if not isinstance(p, Handle):
                raise TraceError(message(name, "a traced function must return tensors", type(p).__name__))
        inputs = tuple(node_of(s) for s in symbols)
        graph = Graph(inputs, tuple(node_of(p) for p in parts), name, start=state.start, single=single)
    return graph


class Recording:
    """What `record` collected: every node in order of creation, kept with its value."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._seen: set[int] = set()
        register_nodes(self)

    def add(self, node: Node) -> None:
        """Keep a node (called by the op machinery)."""
        for x in node.inputs:
            if x.op is None and x.seq not in self._seen:  # a leaf from before the recording
                self._seen.add(x.seq)
                self.nodes.append(x)
        if node.seq not in self._seen:
            self._seen.add(node.seq)
            self.nodes.append(node)

    def users(self, node: Node) -> list[Node]:
        """The recorded nodes that read ``node``."""
        return [n for n in self.nodes if n.inputs and node in n.inputs]

    def graph(self, *outputs: Handle) -> Graph:
        """Close the recording over some outputs (all unused results if none is named)."""
        if outputs:
            ends = tuple(node_of(o) for o in outputs)
        else:
            read = {x.seq for n in self.nodes if n.inputs for x in n.inputs}
            ends = tuple(n for n in self.nodes if n.seq not in read and n.op is not None)
        seen = {n.seq: n for n in Graph((), ends).nodes}
        leaves = tuple(n for n in seen.values() if n.op is None)
        return Graph(leaves, ends)

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __repr__(self) -> str:
        return f"<Recording of {len(self.nodes)} nodes>"


@contextmanager
def record() -> Generator[Recording]:
    """Keep the whole graph and its values, even where nothing needs a gradient.

    >>> import wengert as wg
    >>> with wg.record() as r:
    ...     y = wg.exp(wg.tensor([0.0])) * 3
    >>> [n.name for n in r.nodes if not n.is_leaf]
    ['exp', 'expand', 'mul']
    """
    recording = Recording()
    previous = STATE.recorder
    STATE.recorder = recording
    try:
        with watching():
            yield recording
    finally:
        STATE.recorder = previous

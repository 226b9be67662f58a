"""One vertex of the computational graph."""

from __future__ import annotations

import functools
import gc
import itertools
import operator
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .aval import Aval, aval_of

next_seq = itertools.count(1).__next__

NO_ATTRS: dict[str, Any] = {}


class Sink:
    """Where the adjoint of a node is delivered: ``.grad`` of a tensor, and its hooks."""

    __slots__ = ("after", "grad", "hooks", "retain", "seq")

    def __init__(self, retain: bool = True) -> None:
        self.grad: Any = None
        self.retain = retain
        self.hooks: dict[int, Callable[[Any], Any]] = {}
        self.after: dict[int, Callable[[Any], Any]] = {}
        self.seq = next_seq()


class Node:
    """One vertex: an op applied to input nodes, or a leaf (``op is None``).

    A node never changes what it means. ``seq`` grows with creation, so sorting by it is a
    topological order. ``data`` caches the value; an implicit broadcast keeps the small array
    there (NumPy broadcasts by itself in every rule) and `value` gives the full one.
    After a backward pass that freed the graph, ``inputs`` is None.
    """

    __slots__ = (
        "__weakref__",
        "_aval",
        "attrs",
        "code",
        "data",
        "inputs",
        "lasti",
        "op",
        "requires_grad",
        "saved",
        "scope",
        "seq",
        "sink",
        "symbolic",
    )

    def __init__(
        self,
        op: Any,
        inputs: tuple[Node, ...],
        attrs: dict[str, Any],
        data: Any,
        aval: Any,
        requires_grad: bool,
        code: Any = None,
        lasti: int = 0,
        scope: tuple[str, ...] = (),
    ) -> None:
        self.op = op
        self.inputs: Any = inputs  # a tuple of nodes; None when a backward pass has freed it
        self.attrs = attrs
        self.data = data
        self._aval = aval
        self.requires_grad = requires_grad
        self.code = code
        self.lasti = lasti
        self.scope = scope
        self.sink: Sink | None = None
        self.saved: Any = None  # a pullback over arrays, made in the forward pass by ops that keep residuals
        self.seq = next_seq()

    @property
    def aval(self) -> Any:
        """Shape and dtype; a tuple of them for an op with several results."""
        known = self._aval
        if known is None:
            known = self._aval = aval_of(self.data)
        return known

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        """NumPy's dtype of the value."""
        return self.aval.dtype

    @property
    def value(self) -> Any:
        """The value, computed again from the inputs where it was not kept; None while tracing."""
        data = self.data
        if data is None:
            return recompute(self)
        known = self._aval
        if type(known) is Aval and data.shape != known.shape:
            data = self.data = np.broadcast_to(data, known.shape)
        return data

    @property
    def is_leaf(self) -> bool:
        """Whether no op made the node."""
        return self.op is None

    @property
    def freed(self) -> bool:
        """Whether a backward pass has let go of its inputs."""
        return self.inputs is None

    @property
    def name(self) -> str:
        """The op, or the formula, that made it."""
        return "leaf" if self.op is None else self.op.label(self.attrs)

    @property
    def origin(self) -> str:
        """The user's line that made the node, as ``train.py:41``; empty if unknown."""
        place = self.place
        return f"{os.path.basename(place[0])}:{place[1]}" if place else ""

    @property
    def place(self) -> tuple[str, int] | None:
        """File and line of the user's code that made the node."""
        code = self.code
        if code is None:
            return None
        index = self.lasti // 2
        for i, (start, _, _, _) in enumerate(code.co_positions()):
            if i == index and start is not None:
                return code.co_filename, start
        return code.co_filename, code.co_firstlineno

    @property
    def users(self) -> list[Node]:
        """The live nodes that read this one: those of recordings and graphs that hold it, else all there are.

        Nodes do not refer to their users, who would never be freed; without a recording Python's garbage collector is
        asked, which looks through all objects. Users whose inputs a backward pass has freed are none any more.
        """
        held = [n for r in tuple(_registries) for n in r.nodes]
        found = {n.seq: n for n in held if n.inputs and self in n.inputs}
        if not found and self not in held:
            inputs = [x for x in gc.get_referrers(self) if type(x) is tuple]
            readers = [n for n in gc.get_referrers(*inputs) if isinstance(n, Node)]
            found = {n.seq: n for n in readers if n.inputs and self in n.inputs}
        return [found[k] for k in sorted(found)]

    def local_derivatives(self) -> list[Any]:
        """Per input the local derivative of this node (see `wengert.transform.local`)."""
        from ..transform.local import local_derivatives

        return local_derivatives(self)

    def __repr__(self) -> str:
        made = f" at {self.origin}" if self.origin else ""
        avals = self.aval
        text = str(avals) if isinstance(avals, Aval) else "(" + ", ".join(map(str, avals)) + ")"
        return f"<{self.name} #{self.seq} {text}{made}>"


# Live recordings and graphs; a node finds its users there. Weak, so that nothing is kept alive.
_registries: weakref.WeakSet[Any] = weakref.WeakSet()


def register_nodes(holder: Any) -> None:
    """Let ``node.users`` look through ``holder.nodes`` while the holder lives."""
    _registries.add(holder)


class ItemOp:
    """Structural: one result of an op with several results. Sweeps know it as part of the graph."""

    name = "item"
    differentiable = True
    traits: frozenset[str] = frozenset()
    broadcasts = expands = False

    def infer(self, x: Any, *, index: int) -> Aval:
        """Aval of the result."""
        return x[index]

    def numpy(self, x: Any, *, index: int) -> Any:
        """The result itself."""
        return x[index]

    def label(self, attrs: dict[str, Any]) -> str:
        """What the node is called."""
        return self.name

    def __repr__(self) -> str:
        return "item"


ITEM = ItemOp()


def item_node(parent: Node, index: int, data: Any, requires_grad: bool) -> Node:
    """The node of one result of a tuple node."""
    aval = None if data is not None else parent.aval[index]
    attrs = {"index": index}
    return Node(ITEM, (parent,), attrs, data, aval, requires_grad, parent.code, parent.lasti, parent.scope)


def frozen(attrs: dict[str, Any]) -> tuple[Any, ...]:
    """Attributes as a key; what cannot be hashed goes by identity."""
    out: list[Any] = []
    for k, v in attrs.items():
        try:
            hash(v)
        except TypeError:
            v = id(v)
        out.append((k, type(v), repr(v) if isinstance(v, float) else v))
    return tuple(sorted(out, key=lambda item: item[0])) if len(out) > 1 else tuple(out)


def ancestors(roots: Iterable[Node], stop: Callable[[Node], bool] | None = None) -> list[Node]:
    """All nodes the roots depend on, the roots too, inputs before users; iterative.

    ``stop(node)`` true keeps the node but does not look behind it.
    """
    seen: dict[int, Node] = {}
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node.seq in seen:
            continue
        seen[node.seq] = node
        if node.inputs and (stop is None or not stop(node)):
            stack.extend(node.inputs)
    return [seen[k] for k in sorted(seen)]


def reach(outs: Sequence[Node], inputs: Sequence[Node]) -> list[int]:
    """For each result the inputs that it gets a gradient from: bit ``i`` stands for ``inputs[i]``."""
    masks = {n.seq: 1 << i for i, n in enumerate(inputs)}
    for n in ancestors(outs):
        if n.seq not in masks:
            masks[n.seq] = 0
            for x in (n.inputs or ()) if n.requires_grad else ():
                masks[n.seq] |= masks[x.seq]
    return [masks[n.seq] for n in outs]


def union(masks: Iterable[int]) -> int:
    """All bits that are set in one of the masks."""
    return functools.reduce(operator.or_, masks, 0)


def recompute(node: Node) -> Any:
    """The value of a node from its inputs; None when it rests on a symbolic leaf."""
    order = [n for n in ancestors((node,), stop=lambda n: n.data is not None or _is_symbolic(n)) if n.data is None]
    for n in order:
        if not n.inputs or any(_is_symbolic(x) for x in n.inputs):
            n.symbolic = True  # known from now on: traces ask of each node, and look behind it once
    if _is_symbolic(node):
        return None
    for n in order:
        n.data = n.op.numpy(*[x.value for x in n.inputs], **n.attrs)
    return node.data


def _is_symbolic(node: Node) -> bool:
    """Whether a node is known to rest on a leaf without a value."""
    return getattr(node, "symbolic", False)  # a slot that nobody has filled so far

"""How arrays lie in memory, and graphs as functions of what lies there."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.node import NO_ATTRS, Node

SPARSE = 8  # of so many elements in memory one must be wanted: else they are copied together

Order = tuple[int, ...]


class Layout(NamedTuple):
    """How an array lies in memory.

    ``repeated``: axes along which it is repeated. ``order``: that of the others, as in row-major memory. ``strides``,
    in elements, where there are gaps: it is a part of what a larger array owns.
    """

    repeated: tuple[int, ...]
    order: Order
    strides: tuple[int, ...] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether that is row-major memory."""
        return not self.repeated and self.order == tuple(range(len(self.order))) and self.strides is None

    def seen(self, x: Any) -> Any:
        """What is there once of an array, in the order of memory; None of one that is not repeated so."""
        if self.repeated:
            strides = x.strides
            if x.ndim != len(self.repeated) + len(self.order) or any(strides[a] for a in self.repeated):
                return None
            x = x[(*[0 if i in self.repeated else slice(None) for i in range(x.ndim)], ...)]  # the dots keep an array
        return x.transpose(self.order)

    def held(self, x: Any) -> Any:
        """The memory of an array that lies so, from its first element on; None of one that lies otherwise."""
        x = self.seen(x)
        return x if self.strides is None or x is None else _part(x, self.strides)

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of what is there once of an array of some shape, in the order of memory."""
        kept = [n for i, n in enumerate(shape) if i not in self.repeated]
        return tuple([kept[i] for i in self.order])


@functools.cache
def plain(ndim: int) -> Layout:
    """Row-major memory."""
    return Layout((), tuple(range(ndim)))


def layout_of(x: Any) -> Layout | None:
    """How an array lies in memory; None if kernels cannot read it there."""
    if x.flags.c_contiguous:
        return plain(x.ndim)
    repeated = tuple([i for i, (n, s) in enumerate(zip(x.shape, x.strides, strict=True)) if s == 0 and n > 1])
    strides = [s for i, s in enumerate(x.strides) if i not in repeated]
    found = Layout(repeated, tuple(range(len(strides))))
    if found.seen(x).flags.c_contiguous:
        return found
    found = Layout(repeated, tuple(sorted(found.order, key=lambda i: (-strides[i], i))))
    once = found.seen(x)
    if once.flags.c_contiguous:
        return found
    steps = tuple([s // x.itemsize for s in once.strides])
    return None if _part(once, steps) is None else found._replace(strides=steps)


def _part(x: Any, strides: tuple[int, ...]) -> Any:
    """The memory from an array's first element to its last, of what a larger array owns; None if it is not in such."""
    whole, size = x, x.itemsize
    while type(whole.base) is np.ndarray:
        whole = whole.base
    if type(whole) is not np.ndarray or whole.dtype is not x.dtype or not whole.flags.c_contiguous:
        return None
    if x.strides != tuple([s * size for s in strides]) or any(
        s <= 0 < n - 1 for n, s in zip(x.shape, strides, strict=True)
    ):
        return None
    length = _length(x.shape, strides)
    start = (x.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // size
    return whole.reshape(-1)[start : start + length] if length <= SPARSE * x.size else None


def _length(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last one."""
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


def laid(x: Any, aval: Aval) -> tuple[Any, Layout]:
    """An array as kernels can read it, and how it lies: as it is, or a copy in the order in which it lies."""
    x = np.asarray(x, aval.dtype)
    if x.shape != aval.shape:
        x = np.broadcast_to(x, aval.shape)
    found = layout_of(x) if x.flags.aligned else None
    if found is None:
        x = np.array(x, order="K")
        found = layout_of(x)
    assert found is not None, "a copy has no gaps"
    return x, found


def held_graph(graph: Graph, layouts: Sequence[Layout]) -> Graph:
    """The graph as a function of the memory of its inputs."""
    if all(lay.is_plain for lay in layouts):
        return graph
    from ..optimize.rewrite import Rewriter

    rw = Rewriter({})
    inputs, env = [], {}
    for n, lay in zip(graph.inputs, layouts, strict=True):
        once = lay.shape(n.shape)
        aval = n.aval.with_shape(once if lay.strides is None else (_length(once, lay.strides),))
        x = Node(None, (), NO_ATTRS, None, aval, False, n.code, n.lasti, n.scope)
        inputs.append(x)
        if lay.strides is not None:
            steps = tuple([(s,) for s in lay.strides])
            x = rw.make("strided", (x,), {"shape": once, "start": (0,), "steps": steps}, n)
        order = lay.order
        if order != tuple(range(len(order))):
            x = rw.make("permute", (x,), {"order": tuple(sorted(range(len(order)), key=order.__getitem__))}, n)
        if lay.repeated:
            x = rw.make("expand", (x,), {"shape": n.shape, "axes": lay.repeated}, n)
        env[n.seq] = x
    return rw.onto(graph, tuple(inputs), env)


# -- results -----------------------------------------------------------------------------------

Movement = tuple[tuple[int, ...] | None, Order | None]  # a shape to see memory under, then an order of axes


def behind(n: Node) -> tuple[Node, Movement]:
    """What a result is a view of, and how it is seen from there."""
    order, shape = None, None
    if n.op is not None and n.op.name == "permute":
        order, n = n.attrs["order"], n.inputs[0]
    if n.op is not None and n.op.name == "reshape":
        inner = n.inputs[0]
        if inner.op is not None and inner.op.name != "permute":  # that would be a copy
            shape, n = n.attrs["shape"], inner
    return n, (shape, order)


def seen(x: Any, movement: Movement) -> Any:
    """Memory as a result."""
    shape, order = movement
    if shape is not None:
        x = x.reshape(shape)
    return x if order is None else x.transpose(order)

"""A graph for each element of leading dimensions: a tile is one element, and what is between lies in its scratch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..graph.graph import Graph
from ..graph.node import NO_ATTRS, Node
from ..optimize.rewrite import Rewriter
from .control import Writer
from .conv_pack import unravel
from .loop import I64


def each(w: Writer) -> None:
    """All steps of the graph for one element, then for the next one."""
    attrs, lead = w.n.attrs, w.n.attrs["lead"]
    w.tiles = w.trips = math.prod(lead)
    views = [w.parent.roots.view(x) for x in w.n.inputs]
    strides = [() if v is None else v.strides for v in views]
    (block,) = w.blocks_of([_windowed(attrs["graph"], [s[-2:] for s in strides])])
    graph, mapped = block.graph, attrs["mapped"]
    shared = [x for x, m in zip(graph.inputs, mapped, strict=True) if not m]
    body = w.body(block, [*graph.inputs, *graph.outputs], shared)
    starts = [w.operand(x) for x in w.n.inputs]
    results = [w.result(j) for j in range(len(graph.outputs))]
    pointers = {x.seq: p for x, p in zip(graph.inputs, starts, strict=True)}
    w.run(body, body.before, pointers)
    unwanted = [w.buffer(o.aval.nbytes) if p is None else p for o, p in zip(graph.outputs, results, strict=True)]
    b = w.b
    with b.loop(b.lo, b.hi, unroll=1) as t:
        index = [b.lift(i, I64) for i in unravel(t, lead)]
        for x, p, s, m in zip(graph.inputs, starts, strides, mapped, strict=True):
            if m:
                moved = b.const(0, I64)
                for i, k in zip(index, s, strict=False):
                    moved = moved + i * (k * x.aval.dtype.itemsize)
                pointers[x.seq] = b.offset(p, moved)
        for o, result, p in zip(graph.outputs, results, unwanted, strict=True):
            pointers[o.seq] = p if result is None else b.offset(p, t * o.aval.nbytes)
        w.run(body, body.uses, pointers)


def _windowed(graph: Graph, strides: Sequence[tuple[int, ...]]) -> Graph:
    """The graph on inputs that lie in wider rows, or in columns, as these strides say: windows of larger inputs."""
    rw = Rewriter({})
    inputs: list[Node] = []
    env: dict[int, Node] = {}
    for x, (across, along) in zip(graph.inputs, strides, strict=True):
        (rows, columns), turned = x.shape, along != 1
        if turned:
            rows, columns, across = columns, rows, along
        leaf = Node(None, (), NO_ATTRS, None, x.aval.with_shape((rows, max(across, columns))), False)
        inputs.append(leaf)
        if leaf.shape[1] != columns:
            leaf = rw.make("slice", (leaf,), {"spec": ((0, rows, 1), (0, columns, 1))}, x)
        env[x.seq] = rw.make("permute", (leaf,), {"order": (1, 0)}, x) if turned else leaf
    return rw.onto(graph, tuple(inputs), env)

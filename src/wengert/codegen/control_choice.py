"""``cond`` and ``switch``: one of several graphs runs, and they share a frame."""

from __future__ import annotations

from ..graph.graph import Graph
from ..schedule.kinds import KIND
from .control import Writer, once


def choice(w: Writer) -> None:
    """One of several graphs, by a bool or a number."""
    attrs = w.n.attrs
    graphs: list[Graph] = [attrs["false"], attrs["true"]] if w.n.op.name == "cond" else list(attrs.values())
    blocks = w.blocks_of(graphs)
    b = w.b
    which, *given = w.n.inputs
    starts = [w.operand(x) for x in given]
    results = [w.result(j) for j in range(len(graphs[0].outputs))]
    start, frame = w.size, 0
    bodies = []
    for block in blocks:  # only one of them runs: they share the frame
        w.size = start
        bodies.append(w.body(block, [*block.graph.inputs, *block.graph.outputs], ()))
        frame = max(frame, w.size)
    w.size = frame
    targets = [w.buffer(o.aval.nbytes) if p is None else p for p, o in zip(results, graphs[0].outputs, strict=True)]
    with once(w):
        kind = KIND[which.aval.dtype]
        number = b.cast(b.load(b.retype(w.operand(which), kind)), "i64")
        if w.n.op.name == "switch":
            number = b.binary("max", b.binary("min", number, len(graphs) - 1), 0)
        for k, (block, body) in enumerate(zip(blocks, bodies, strict=True)):
            pointers = dict(zip([x.seq for x in block.graph.inputs], starts, strict=True))
            pointers |= dict(zip([x.seq for x in block.graph.outputs], targets, strict=True))
            with b.when(number == k):
                w.run(body, body.uses, pointers)

"""A graph as one straight-line Python function over NumPy arrays: the reference tier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .node import ITEM, Node

if TYPE_CHECKING:
    from .graph import Graph


def numpy_function(graph: Graph) -> Callable[..., Any]:
    """``f(*arrays) -> arrays`` that runs the graph's ops in order."""
    return straight_line(graph.inputs, graph.nodes, graph.outputs, graph.single, graph.name)


def straight_line(
    inputs: Sequence[Node],
    nodes: Sequence[Node],
    outputs: Sequence[Node],
    single: bool,
    name: str,
) -> Callable[..., Any]:
    """Write and compile the function. Values are dropped after their last use."""
    names: dict[int, str] = {}
    space: dict[str, Any] = {}
    for i, n in enumerate(inputs):
        names[n.seq] = f"x{i}"
    last = _last_uses(nodes, outputs)
    lines: list[str] = []
    constant: set[int] = set()
    for i, n in enumerate(nodes):
        var = names[n.seq] = f"v{i}"
        if n.data is not None and all(x.seq in constant for x in n.inputs):
            constant.add(n.seq)
            space[var] = n.data  # a broadcast constant stays small: NumPy broadcasts in every rule
            continue
        lines.append(f"    {var} = {_call(n, i, names, space)}")
        dead = [names[x.seq] for x in dict.fromkeys(n.inputs) if last.get(x.seq) == n.seq and names[x.seq] not in space]
        if dead:
            lines.append(f"    {' = '.join(dead)} = None")
    for o in outputs:
        if o.seq in constant:
            space[names[o.seq]] = o.value
    results = ", ".join(names[o.seq] for o in outputs)
    lines.append(f"    return {results}" if single else f"    return ({results},)" if outputs else "    return ()")
    head = f"def run({', '.join(names[n.seq] for n in inputs)}):\n"
    code = compile(head + "\n".join(lines) + "\n", f"<wengert {name}>", "exec")
    exec(code, space)
    return space.pop("run")  # in its own globals it would be a reference cycle


def _call(n: Node, i: int, names: dict[int, str], space: dict[str, Any]) -> str:
    """One op as a Python expression; its NumPy function and attributes go into the name space."""
    if n.op is ITEM:
        return f"{names[n.inputs[0].seq]}[{n.attrs['index']}]"
    args = ", ".join(names[x.seq] for x in n.inputs)
    space[f"f{i}"] = n.op.kernel([x.aval for x in n.inputs], n.attrs)
    return f"f{i}({args})"


def _last_uses(nodes: Sequence[Node], outputs: Sequence[Node]) -> dict[int, int]:
    """For each value the seq of the node that reads it last; outputs are never dead."""
    last: dict[int, int] = {}
    for n in nodes:
        for x in n.inputs:
            last[x.seq] = n.seq
    for o in outputs:
        last.pop(o.seq, None)
    return last

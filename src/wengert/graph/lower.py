"""A graph as one straight-line Python function over NumPy arrays: the reference tier."""

from __future__ import annotations

from collections import Counter
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
    swapped = _transposed_products(nodes, outputs)
    skipped = {product.seq for product in swapped.values()}
    reads = {n.seq: swapped.get(n.seq, n).inputs for n in nodes if n.seq not in skipped}
    last = _last_uses(reads, outputs)
    lines: list[str] = []
    constant: set[int] = set()
    for i, n in enumerate(nodes):
        if n.seq in skipped:
            continue
        var = names[n.seq] = f"v{i}"
        used = reads[n.seq]
        if n.data is not None and all(x.seq in constant for x in used):
            constant.add(n.seq)
            space[var] = n.data  # a broadcast constant stays small: NumPy broadcasts in every rule
            continue
        if n.seq in swapped:
            space[f"f{i}"] = _transposed(swapped[n.seq])
        lines.append(f"    {var} = {_call(n, used, i, names, space)}")
        dead = [names[x.seq] for x in dict.fromkeys(used) if last.get(x.seq) == n.seq and names[x.seq] not in space]
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


def _call(n: Node, reads: Sequence[Node], i: int, names: dict[int, str], space: dict[str, Any]) -> str:
    """One op as a Python expression; its NumPy function and attributes go into the name space."""
    if n.op is ITEM:
        return f"{names[reads[0].seq]}[{n.attrs['index']}]"
    args = ", ".join(names[x.seq] for x in reads)
    if f"f{i}" not in space:
        space[f"f{i}"] = n.op.kernel([x.aval for x in reads], n.attrs)
    return f"f{i}({args})"


def _transposed_products(nodes: Sequence[Node], outputs: Sequence[Node]) -> dict[int, Node]:
    """Matrix products that are only transposed, by the seq of the node that transposes.

    They are computed as (A B)ᵀ = Bᵀ Aᵀ, so that the result, the gradient of a weight as a rule, lies in
    order in memory.
    """
    uses = Counter([x.seq for n in nodes for x in n.inputs] + [o.seq for o in outputs])
    here = {n.seq for n in nodes if n.op is not None and n.op.name == "matmul" and not n.attrs}
    found: dict[int, Node] = {}
    for n in nodes:
        if n.op is not None and n.op.name == "permute" and n.inputs[0].seq in here and uses[n.inputs[0].seq] == 1:
            *lead, row, column = n.attrs["order"]
            if (row, column) == (len(lead) + 1, len(lead)) and lead == list(range(len(lead))):
                found[n.seq] = n.inputs[0]
    return found


def _transposed(product: Node) -> Callable[..., Any]:
    """Bᵀ Aᵀ as a function of A and B."""
    a, b = product.inputs
    multiply = product.op.kernel([b.aval, a.aval], {})
    return lambda a, b: multiply(b.swapaxes(-1, -2), a.swapaxes(-1, -2))


def _last_uses(reads: dict[int, Sequence[Node]], outputs: Sequence[Node]) -> dict[int, int]:
    """For each value the seq of the node that reads it last; outputs are never dead."""
    last: dict[int, int] = {}
    for seq, used in reads.items():
        for x in used:
            last[x.seq] = seq
    for o in outputs:
        last.pop(o.seq, None)
    return last

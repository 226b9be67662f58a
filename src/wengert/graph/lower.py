"""A graph as one straight-line Python function over NumPy arrays: the reference tier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .node import ITEM, Node, frozen

if TYPE_CHECKING:
    from .graph import Graph


def numpy_function(graph: Graph) -> Callable[..., Any]:
    """``f(*arrays) -> arrays`` that runs the graph's ops in order."""
    return straight_line(graph.inputs, graph.nodes, graph.outputs, graph.single, graph.name)


def straight_line(
    inputs: Sequence[Node],
    nodes: Sequence[Node],
    outputs: Sequence[Node | None],
    single: bool,
    name: str,
    spare: str = "",
) -> Callable[..., Any]:
    """Write and compile the function. Values are dropped after their last use; equal nodes are computed once.

    ``outputs``: None among them stands for itself. ``spare``: more parameters, as text, of which it reads nothing.
    """
    ends = [o for o in outputs if o is not None]
    plan = _Plan(inputs, nodes, ends)
    lines: list[str] = []
    for i, n in enumerate(nodes):
        lines += plan.lines(i, n)
    for o in ends:
        if o.seq in plan.constant:
            plan.space[plan.names[o.seq]] = o.value
    results = ", ".join("None" if o is None else plan.names[o.seq] for o in outputs)
    lines.append(f"    return {results}" if single else f"    return ({results},)" if outputs else "    return ()")
    head = f"def run({', '.join(plan.names[n.seq] for n in inputs)}{spare}):\n"
    code = compile(head + "\n".join(lines) + "\n", f"<wengert {name}>", "exec")
    exec(code, plan.space)
    return plan.space.pop("run")  # in its own globals it would be a reference cycle


class _Plan:
    """What is known of the function while it is written: ``names`` of values, by seq, and its global ``space``."""

    def __init__(self, inputs: Sequence[Node], nodes: Sequence[Node], ends: Sequence[Node]) -> None:
        self.names = {n.seq: f"x{i}" for i, n in enumerate(inputs)}
        self.space: dict[str, Any] = {}
        self.constant: set[int] = set()
        self.swapped = _transposed_products(nodes, ends)
        self.implicit = _implicit_expansions(nodes, ends)
        skipped = {product.seq for product in self.swapped.values()}
        reads = {n.seq: self.swapped.get(n.seq, n).inputs for n in nodes if n.seq not in skipped}
        self.numbers = {n.seq for n in nodes if n.seq in self.implicit and _is_number(n)}
        self.same = same = _equal_nodes([n for n in nodes if n.seq in reads], ends, self.implicit)
        self.reads: dict[int, Sequence[Node]] = {
            k: [] if k in self.numbers else [same.get(x.seq, x) for x in used]
            for k, used in reads.items()
            if k not in same
        }
        self.last = _last_uses(self.reads, ends)

    def lines(self, i: int, n: Node) -> list[str]:
        """The line that computes a node, and the one that lets go of what nobody reads after it."""
        if n.seq in self.same:
            self.names[n.seq] = self.names[self.same[n.seq].seq]
        if n.seq not in self.reads:
            return []
        names, space, used = self.names, self.space, self.reads[n.seq]
        var = names[n.seq] = f"v{i}"
        if n.seq in self.numbers:
            space[var] = n.op.small(n.aval, n.attrs)
            return []
        if n.data is not None and all(x.seq in self.constant for x in used):
            self.constant.add(n.seq)
            # A broadcast constant stays small: NumPy broadcasts in every rule. Scalars are quicker than 0-d arrays.
            space[var] = n.data if type(n.data) is tuple or n.data.ndim else n.data[()]
            return []
        if n.seq in self.swapped:
            space[f"f{i}"] = _transposed(self.swapped[n.seq])
        if n.seq in self.implicit:
            text = names[used[0].seq]
            small = n.op.small(n.aval, n.attrs)
            if small is not None:
                space[f"f{i}"] = small
                text = f"f{i}({text})"
        else:
            text = _call(n, used, i, names, space)
        lines = [f"    {var} = {text}"]
        dead = [names[x.seq] for x in {x.seq: x for x in used}.values() if self.last.get(x.seq) == n.seq]
        dead = [x for x in dead if x not in space]
        if dead:
            lines.append(f"    {' = '.join(dead)} = None")
        return lines


def _call(n: Node, reads: Sequence[Node], i: int, names: dict[int, str], space: dict[str, Any]) -> str:
    """One op as a Python expression; its NumPy function and attributes go into the name space."""
    if n.op is ITEM:
        return f"{names[reads[0].seq]}[{n.attrs['index']}]"
    args = ", ".join(names[x.seq] for x in reads)
    if f"f{i}" not in space:
        space[f"f{i}"] = n.op.kernel([x.aval for x in reads], n.attrs)
    return f"f{i}({args})"


def _equal_nodes(nodes: Sequence[Node], ends: Sequence[Node], implicit: set[int]) -> dict[int, Any]:
    """For each node that computes what an earlier one has computed, by seq, the earlier one.

    Results are computed each by itself, because each needs memory of its own.
    """
    known: dict[Any, Node] = {}
    same: dict[int, Any] = {}
    own = {o.seq for o in ends}
    for n in nodes:
        if n.op is not None and n.seq not in own:
            inputs = tuple([same.get(x.seq, x).seq for x in n.inputs])
            first = known.setdefault((n.op, inputs, frozen(n.attrs), n.seq in implicit), n)
            if first is not n:
                same[n.seq] = first
    return same


def _implicit_expansions(nodes: Sequence[Node], ends: Sequence[Node]) -> set[int]:
    """The expansions that NumPy does by itself: ops that broadcast read them, beside an operand of the whole shape."""
    kept = {o.seq for o in ends}
    found = {n.seq for n in nodes if n.op is not None and n.op.expands and n.data is None and n.seq not in kept}
    small = {n.seq for n in nodes if type(n.data) is not tuple and n.data is not None and n.data.shape != n.shape}
    for n in nodes:
        if n.op is not None and not (n.op.broadcasts and any(x.seq not in found | small for x in n.inputs)):
            found.difference_update([x.seq for x in n.inputs])
    return found


def _is_number(n: Node) -> bool:
    """Whether the small form of a node that expands is a constant."""
    small = n.op.small(n.aval, n.attrs)
    return small is not None and not callable(small)


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
    if len(a.shape) == 2:
        return lambda a, b: multiply(b.T, a.T)
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

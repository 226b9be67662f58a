"""Memory order: convolutions compute with channels last, and the permutations to and from that order are moved out.

A convolution's result is laid out with channels last, and permuted back. Permutations are then pushed through
everything elementwise, and through reductions, towards the outputs, where they meet the next convolution's and
cancel; so within a network nothing is turned around.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..graph.graph import Graph
from ..graph.node import Node
from ..ops.base import OPS, Elementwise, Reduce
from .rewrite import Rewriter, Rule, number_in
from .simplify import rules

Order = tuple[int, ...]


def inverse(order: Order) -> Order:
    """The permutation that undoes one."""
    out = [0] * len(order)
    for i, source in enumerate(order):
        out[source] = i
    return tuple(out)


def permuted(rw: Rewriter, x: Node, order: Order, like: Node) -> Node:
    """A node with its axes permuted."""
    return rw.make("permute", (x,), {"order": order}, like)


def order_of(x: Node) -> Order | None:
    """The order of a permutation; None for another node."""
    return x.attrs["order"] if x.op is not None and x.op.name == "permute" else None


def channels_last(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A convolution whose result lies with channels last, or, of a weight's gradient, as the weight does."""
    if "order" in attrs:
        return None
    rank = len(xs[0].shape)
    if _is_weight_gradient(xs, attrs):
        last: Order = (1, 0, *range(2, rank))
    else:
        last = (0, *range(2, rank), 1)
    out = rw.make("conv", xs, {**attrs, "order": last}, like)
    return permuted(rw, out, inverse(last), like)


def _is_weight_gradient(xs: tuple[Node, ...], attrs: dict[str, Any]) -> bool:
    """Whether a convolution is one of an input with an adjoint: its kernel is larger than its result."""
    sizes = OPS["conv"].infer(*[x.aval for x in xs], **attrs).shape[2:]
    return attrs["groups"] == 1 and math.prod(xs[1].shape[2:]) > math.prod(sizes)


def pool_channels_last(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Pooling of what lies with channels last gives a result that does."""
    order = next((o for o in map(order_of, xs) if o is not None), None)
    if "order" in attrs or order is None or not _is_layout(order):
        return None
    last = inverse(order)
    return permuted(rw, rw.make(op.name, xs, {**attrs, "order": last}, like), order, like)


def through_elementwise(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """op(permute(x), permute(y)) is permute(op(x, y)), where every operand is permuted alike, or costs nothing to.

    Beside an input that is not, something is turned around in any case: then the input.
    """
    order = next((o for o in map(order_of, xs) if o is not None), None)
    if order is None or not _is_layout(order):
        return None
    back = inverse(order)
    if not all(order_of(x) == order or _is_free(x) or x.op is None for x in xs):
        return None
    inner = tuple([permuted(rw, x, back, like) for x in xs])
    return permuted(rw, rw.make(op.name, inner, attrs, like), order, like)


def _is_layout(order: Order) -> bool:
    """Whether a permutation only brings the last axis to position 1."""
    rank = len(order)
    return rank > 2 and order == inverse((0, *range(2, rank), 1))


def _is_given(n: Node) -> bool:
    """Whether an input lies with its channels last."""
    return n.op.name == "permute" and _is_layout(n.attrs["order"]) and n.inputs[0].op is None


def _is_free(x: Node) -> bool:
    """Whether a value costs the same in any order: numbers, and what is repeated along other axes."""
    if number_in(x) is not None:
        return True
    while x.op is not None and x.op.name == "reshape":
        x = x.inputs[0]
    return x.op is not None and x.op.name == "expand" and x.inputs[0].aval.size * 8 <= x.aval.size


def through_reduce(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """reduce(permute(x)) is a reduction of x over the axes as x has them."""
    order = order_of(xs[0])
    if order is None:
        return None
    axes = tuple(sorted(order[a] for a in attrs["axes"]))
    out = rw.make(op.name, xs[0].inputs, {**attrs, "axes": axes}, like)
    kept = [order[i] for i in range(len(order)) if i not in attrs["axes"]]
    ranks = sorted(kept)
    return permuted(rw, out, tuple([ranks.index(k) for k in kept]), like)


def through_expand(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """permute(expand(x)) repeats permute(x)."""
    x, order = xs[0], attrs["order"]
    if x.op is None or x.op.name != "expand":
        return None
    axes = x.attrs["axes"]
    kept = [i for i in range(len(order)) if i not in axes]
    moved = [kept.index(o) for o in order if o not in axes]
    inner = permuted(rw, x.inputs[0], tuple(moved), like)
    shape = tuple([x.shape[o] for o in order])
    return rw.make(
        "expand", (inner,), {"shape": shape, "axes": tuple([i for i, o in enumerate(order) if o in axes])}, like
    )


def through_reshape(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A reshape that only adds or removes axes of size 1 goes before the permutation."""
    x, shape = xs[0], attrs["shape"]
    order = order_of(x)
    if order is None or [n for n in shape if n != 1] != [n for n in x.shape if n != 1]:
        return None
    source = x.inputs[0]
    large = [i for i, n in enumerate(source.shape) if n != 1]
    ones = len(shape) - len(large)
    inner = rw.reshape(source, (*[source.shape[i] for i in large], *[1] * ones), like)
    moved = iter([large.index(i) for i in order if source.shape[i] != 1])
    free = iter(range(len(large), len(shape)))
    return permuted(rw, inner, tuple([next(moved) if n != 1 else next(free) for n in shape]), like)


def through_window(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """slice, pad and unslice of a permutation permute what they take of x."""
    order = order_of(xs[0])
    if order is None or not _is_layout(order):
        return None
    back = inverse(order)
    key = "pads" if op.name == "pad" else "spec"
    inner = {**attrs, key: tuple([attrs[key][i] for i in back])}
    if "shape" in attrs:
        inner["shape"] = tuple([attrs["shape"][i] for i in back])
    return permuted(rw, rw.make(op.name, xs[0].inputs, inner, like), order, like)


def _table() -> dict[str, Sequence[Rule]]:
    table: dict[str, list[Rule]] = {name: list(found) for name, found in rules().items()}
    table["conv"].append(channels_last)
    table["permute"].append(through_expand)
    table["reshape"].append(through_reshape)
    for name in ("slice", "pad", "unslice"):
        table[name].append(through_window)
    for name in ("window_argmax", "max_pool", "max_pool_gradient"):
        table.setdefault(name, []).append(pool_channels_last)
    for name, op in OPS.items():
        if isinstance(op, Elementwise) or name in ("cast", "where"):
            table[name].append(through_elementwise)
        elif isinstance(op, Reduce):
            table[name].append(through_reduce)
    return dict(table)


def layout(graph: Graph) -> Graph:
    """Convolutions with channels last, and what is given so, if there is any."""
    if not any(n.op is not None and (n.op.name == "conv" or _is_given(n)) for n in graph.nodes):
        return graph
    return Rewriter(_table()).run(graph)


# -- results in the order in which they are wanted ---------------------------------------------------


def turned_products(graph: Graph) -> Graph:
    """permute(x @ y), where nothing else reads the product, is a product that is laid out so."""
    return _Turner(_read_once(graph)).run(graph)


def turned_back(graph: Graph, fits: Callable[[Node], bool]) -> Graph:
    """Convolutions of what lies as it is written leave their results so, where these are wanted so outside.

    They may be followed by what goes element by element. ``fits``: a convolution does so as well as with channels last.
    """
    single, kept = _read_once(graph), {n.seq for n in graph.outputs}
    found: dict[int, list[Node]] = {}
    for n in graph.nodes:
        order = order_of(n)
        if n.seq in kept and order is not None and _is_layout(order):
            chain = _chain(n.inputs[0], single)
            if chain and chain[-1].inputs[0].op is None and fits(chain[-1]):
                found[n.seq] = chain
    return _BackTurner(found).run(graph) if found else graph


def _read_once(graph: Graph) -> set[int]:
    """What one op reads, and nobody else."""
    users: dict[int, int] = {}
    for n in graph.nodes:
        for x in n.inputs:
            users[x.seq] = users.get(x.seq, 0) + 1
    kept = {n.seq for n in graph.outputs}
    return {n.seq for n in graph.nodes if users.get(n.seq) == 1 and n.seq not in kept}


def _chain(x: Node, single: set[int]) -> list[Node]:
    """From a value back to the convolution that it is computed from element by element; nothing if there is none."""
    out: list[Node] = []
    while x.op is not None and x.seq in single:
        out.append(x)
        if x.op.name == "conv":
            return out
        wide = [y for y in x.inputs if not _is_free(y)]
        if not isinstance(x.op, Elementwise) or len(wide) != 1:
            return []
        x = wide[0]
    return []


class _BackTurner(Rewriter):
    """Builds the graph anew, some permutations moved through the ops before them into the convolution."""

    def __init__(self, found: dict[int, list[Node]]) -> None:
        super().__init__(rules())
        self.found = found

    def _nodes(self, nodes: Sequence[Node], env: dict[int, Any]) -> None:
        for n in nodes:
            if n.seq not in self.found:
                super()._nodes([n], env)
                continue
            *chain, conv = self.found[n.seq]
            attrs = {**conv.attrs, "order": tuple(range(len(conv.shape)))}
            last, out = conv, self.make("conv", tuple([env[x.seq] for x in conv.inputs]), attrs, conv)
            for m in reversed(chain):
                inner = [out if x is last else permuted(self, env[x.seq], n.attrs["order"], m) for x in m.inputs]
                last, out = m, self.make(m.op.name, tuple(inner), m.attrs, m)
            env[n.seq] = out


class _Turner(Rewriter):
    """Builds the graph anew, products under a permutation turned."""

    def __init__(self, single: set[int]) -> None:
        super().__init__(rules())
        self.single = single

    def _nodes(self, nodes: Sequence[Node], env: dict[int, Any]) -> None:
        for n in nodes:
            x = n.inputs[0] if n.op is not None and n.op.name == "permute" else None
            if x is not None and x.op is not None and x.op.name == "matmul" and x.seq in self.single:
                inner = x.attrs.get("order", tuple(range(len(x.shape))))
                order = tuple([inner[i] for i in n.attrs["order"]])
                env[n.seq] = self.make("matmul", tuple([env[y.seq] for y in x.inputs]), {"order": order}, n)
            else:
                super()._nodes([n], env)

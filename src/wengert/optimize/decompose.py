"""Ops that are other ops in disguise: written so that they fuse, share work out, or become large products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.graph import Graph
from ..graph.node import Node
from .checks import Key, lookup_of
from .rewrite import Rewriter, Rule
from .simplify import rules

CHUNK = 4096  # elements that one partial result of a split reduction takes in, at least
PARTS = 64  # partial results that are enough to share out
FEW = 32  # results, of which a reduction is split


def _make(rw: Rewriter, name: str, like: Node, *xs: Node, **attrs: Any) -> Node:
    return rw.make(name, xs, attrs, like)


def picked_class(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Adding one element a line at an index: a comparison of positions with the index."""
    g, index = xs
    dim, n = attrs["dim"], attrs["n"]
    if index.shape[dim] != 1 or g.aval.dtype not in dt.FLOATING_NP:
        return None
    shape = (*g.shape[:dim], n, *g.shape[dim + 1 :])

    def spread(x: Node) -> Node:
        small = rw.reshape(x, (*x.shape[:dim], *x.shape[dim + 1 :]), like)
        return _make(rw, "expand", like, small, shape=shape, axes=(dim,))

    others = tuple([i for i in range(len(shape)) if i != dim])
    position = rw.constant(np.arange(n, dtype=np.int64))
    if others:
        position = _make(rw, "expand", like, position, shape=shape, axes=others)
    index = index if index.aval.dtype == dt.NP_INT64 else _make(rw, "cast", like, index, dtype=dt.NP_INT64)
    index = spread(_make(rw, "in_range", like, index, n=n, low=-n, axis=dim, by="scatter_add"))
    return _make(
        rw, "where", like, _make(rw, "eq", like, index, position), spread(g), rw.number(0, g.aval.with_shape(shape))
    )


def whole_rows(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """An index that is the same along all other axes picks, or adds up, whole rows."""
    x, index = xs
    dim = attrs["dim"]
    if index.op is None or index.op.name != "expand" or len(index.inputs[0].shape) != 1 or dim in index.attrs["axes"]:
        return None
    if op.name == "gather" and any(
        a != b for i, (a, b) in enumerate(zip(x.shape, index.shape, strict=True)) if i != dim
    ):
        return None
    if op.name == "gather":
        return _make(rw, "take_rows", like, x, index.inputs[0], axis=dim)
    return _make(rw, "add_rows", like, x, index.inputs[0], n=attrs["n"], axis=dim) if dim == 0 else None


def lanes(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Elements added up along one axis are rows of one element, added up at places in the flat result."""
    g, index = xs
    dim, n = attrs["dim"], attrs["n"]
    shape = (*g.shape[:dim], n, *g.shape[dim + 1 :])
    if index.aval.dtype != dt.NP_INT64:
        index = _make(rw, "cast", like, index, dtype=dt.NP_INT64)
    before, after = math.prod(g.shape[:dim]), math.prod(g.shape[dim + 1 :])
    places = index.aval.with_shape((before, g.shape[dim], after))
    index = rw.reshape(index, places.shape, like)
    negative = _make(rw, "lt", like, index, rw.number(0, places))
    index = _make(rw, "where", like, negative, _make(rw, "add", like, index, rw.number(n, places)), index)
    flat = _make(rw, "mul", like, index, rw.number(after, places))
    for count, step, axes in ((before, n * after, (1, 2)), (after, 1, (0, 1))):
        if count > 1:
            starts = rw.constant(np.arange(count, dtype=np.int64) * step)
            flat = _make(rw, "add", like, flat, _make(rw, "expand", like, starts, shape=places.shape, axes=axes))
    size = (g.aval.size,)
    rows = _make(rw, "add_rows", like, rw.reshape(g, size, like), rw.reshape(flat, size, like), n=math.prod(shape))
    return rw.reshape(rows, shape, like)


def _argmax_behind(index: Node, dim: int) -> Node | None:
    """The `window_argmax` whose flattened result an index into (N, C, positions) is."""
    while index.op is not None and index.op.name == "reshape":
        index = index.inputs[0]
    if index.op is None or index.op.name != "window_argmax" or dim != 2 or "order" in index.attrs:
        return None
    return index if len(index.shape) == 2 + len(index.attrs["kernel"]) else None


def pooled(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Picking the largest element of each window, and the adjoint of that, are kernels of their own."""
    x, index = xs
    argmax = _argmax_behind(index, attrs["dim"])
    if argmax is None or x.aval.dtype not in (dt.NP_FLOAT32, dt.NP_FLOAT64):
        return None
    source = argmax.inputs[0]
    sizes = source.shape[2:]
    if op.name == "gather":
        flat = x.inputs[0] if x.op is not None and x.op.name == "reshape" else x
        if flat is not source or x.shape[2:] != (math.prod(sizes),):
            return None
        return rw.reshape(rw.make("max_pool", (source,), argmax.attrs, like), index.shape, like)
    if attrs["n"] != math.prod(sizes):
        return None
    g = rw.reshape(x, argmax.shape, like)
    out = rw.make("max_pool_gradient", (g, argmax), {**argmax.attrs, "sizes": sizes}, like)
    return rw.reshape(out, (*x.shape[:2], attrs["n"]), like)


def one_window(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A single window over everything is the input itself."""
    x, kernel = xs[0], attrs["kernel"]
    rank = len(kernel)
    if op.name == "windows" and x.shape[len(x.shape) - rank :] == kernel:
        return rw.reshape(x, (*x.shape, *[1] * rank), like)
    return None


def tiled_windows(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Windows that do not overlap, added up where they came from, are the input in another order."""
    g, kernel, sizes = xs[0], attrs["kernel"], attrs["sizes"]
    rank = len(kernel)
    lead, counts = g.shape[: len(g.shape) - 2 * rank], g.shape[len(g.shape) - rank :]
    ones = all(d == 1 or k == 1 for d, k in zip(attrs["dilation"], kernel, strict=True))
    tiled = all(s == k or c == 1 for s, k, c in zip(attrs["stride"], kernel, counts, strict=True))
    if not (ones and tiled):
        return None
    n = len(lead)
    order = [*range(n)]
    for i in range(rank):
        order += [n + rank + i, n + i]
    out = _make(rw, "permute", like, g, order=tuple(order))
    covered = tuple([c * k for c, k in zip(counts, kernel, strict=True)])
    out = rw.reshape(out, (*lead, *covered), like)
    if covered == tuple(sizes):
        return out
    pads = (*[(0, 0)] * n, *[(0, s - c) for s, c in zip(sizes, covered, strict=True)])
    return _make(rw, "pad", like, out, pads=pads)


def split_reduction(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Many elements to few results: first to partial results, so that threads, and vectors, have something to share."""
    x, axes = xs[0], attrs["axes"]
    reduced = math.prod([x.shape[a] for a in axes])
    kept = x.aval.size // max(reduced, 1)
    if x.aval.dtype in dt.HALF_NP or not axes:
        return None
    last_kept = [i for i in range(len(x.shape)) if i not in axes and x.shape[i] > 1]
    lanes = x.shape[last_kept[-1]] if last_kept and last_kept[-1] == _last_large(x.shape) else 1
    if kept // lanes > FEW or reduced < 2 * CHUNK or (lanes > 1 and reduced * lanes < 16 * CHUNK):
        return None
    first = next(a for a in axes if x.shape[a] > 1)
    parts = _divisor(x.shape[first], PARTS if x.shape[first] >= PARTS else x.shape[first])
    if parts < 2:
        return None
    if parts == x.shape[first]:
        if len([a for a in axes if x.shape[a] > 1]) == 1:
            return None
        inner = _make(rw, op.name, like, x, axes=tuple([a for a in axes if a != first]))
        at = first - sum(a < first for a in axes if a != first)
        return _make(rw, op.name, like, inner, axes=(at,))
    shape = (*x.shape[:first], parts, x.shape[first] // parts, *x.shape[first + 1 :])
    inner_axes = tuple([a + (a >= first) for a in axes])
    inner = _make(rw, op.name, like, rw.reshape(x, shape, like), axes=inner_axes)
    at = first - sum(a < first for a in axes)
    return _make(rw, op.name, like, inner, axes=(at,))


def _last_large(shape: Sequence[int]) -> int:
    return max((i for i, n in enumerate(shape) if n > 1), default=-1)


def _divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most ``most``."""
    return next(d for d in range(most, 0, -1) if n % d == 0)


def flat_product(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A batch of products with one matrix on the right is one product of a taller matrix."""
    x, y = xs
    rank = len(x.shape)
    lead = tuple(range(rank - 2))
    if rank < 3 or y.op is None or y.op.name != "expand" or not set(lead) <= set(y.attrs["axes"]):
        return None
    if set(y.attrs["axes"]) != set(lead):
        return None
    m = math.prod(x.shape[:-1])
    out = _make(rw, "matmul", like, rw.reshape(x, (m, x.shape[-1]), like), y.inputs[0])
    return rw.reshape(out, (*x.shape[:-1], y.shape[-1]), like)


def _factors(rw: Rewriter, n: Node, like: Node) -> tuple[Node, Node] | None:
    """The column and the row, spread, that a product of single terms multiplies."""
    if n.op is None or n.op.name != "matmul" or n.attrs or len(n.shape) != 2 or n.inputs[0].shape[1] != 1:
        return None
    if n.aval.dtype not in (dt.NP_FLOAT32, dt.NP_FLOAT64):
        return None
    x, y = [rw.reshape(v, (v.aval.size,), like) for v in n.inputs]
    column = _make(rw, "expand", like, x, shape=n.shape, axes=(1,))
    return column, _make(rw, "expand", like, y, shape=n.shape, axes=(0,))


def outer(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A product with a single term in each sum has none: it fuses with what follows."""
    found = None if attrs else _factors(rw, Node(op, xs, attrs, None, like.aval, False), like)
    return None if found is None else _make(rw, "mul", like, *found)


def outer_added(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Such a product added to something."""
    for x, y in (xs, xs[::-1]):
        if _is_outer(x):
            return _make(rw, "multiply_add", like, *x.inputs, y)
    return None


def _is_outer(n: Node) -> bool:
    """Whether a value is a column times a row, spread."""
    both = n.op is not None and n.op.name == "mul" and all(x.op is not None and x.op.name == "expand" for x in n.inputs)
    return both and len(n.shape) == 2 and {x.attrs["axes"] for x in n.inputs} == {(0,), (1,)}


def _reduced(n: Node, name: str) -> Node | None:
    """The reduction that a value repeats."""
    while n.op is not None and n.op.name in ("expand", "reshape"):
        n = n.inputs[0]
    return n if n.op is not None and n.op.name == name else None


def shares(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """exp(x - max) / sum by one division a sum: that is at least 1, so no quotient is less exact than by one unit."""
    e, spread = xs
    total = _reduced(spread, "sum")
    if total is None or total.inputs[0] is not e or e.op is None or e.op.name != "exp" or spread.op.name != "expand":
        return None
    below = e.inputs[0]
    top = _reduced(below.inputs[1], "amax") if below.op is not None and below.op.name == "sub" else None
    if top is None or top.inputs[0] is not below.inputs[0] or top.attrs["axes"] != total.attrs["axes"]:
        return None
    inner = spread.inputs[0]
    inverse = _make(rw, "div", like, rw.number(1, inner.aval), inner)
    return _make(rw, "mul", like, e, rw.make("expand", (inverse,), spread.attrs, like))


def first_extreme(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """The place of an extreme: the least of the places that have it; those of NaN, which wins."""
    (x,), axis = xs, attrs["axis"]
    if x.aval.dtype in dt.HALF_NP or x.aval.dtype == dt.NP_BOOL:  # exact
        x = _make(rw, "cast", like, x, dtype=dt.int32.np if x.aval.dtype == dt.NP_BOOL else dt.NP_FLOAT32)
    top = _make(rw, "amax" if op.name == "argmax" else "amin", like, x, axes=(axis,))
    hit = _make(rw, "eq", like, x, _make(rw, "expand", like, top, shape=x.shape, axes=(axis,)))
    if x.aval.dtype in dt.FLOATING_NP:
        hit = _make(rw, "logical_or", like, hit, _make(rw, "isnan", like, x))
    numbers = np.arange(x.shape[axis], dtype=np.int64 if x.aval.dtype.itemsize == 8 else np.int32)
    others = tuple([i for i in range(len(x.shape)) if i != axis])
    place = (
        _make(rw, "expand", like, rw.constant(numbers), shape=x.shape, axes=others) if others else rw.constant(numbers)
    )
    found = _make(
        rw, "amin", like, _make(rw, "where", like, hit, place, rw.number(len(numbers), place.aval)), axes=(axis,)
    )
    return found if found.aval.dtype == dt.NP_INT64 else _make(rw, "cast", like, found, dtype=dt.NP_INT64)


def widened(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Half precision for which there is no kernel is computed in float32 and rounded once, as in eager mode."""
    dtype = xs[0].aval.dtype
    if dtype not in dt.HALF_NP or (dtype == dt.bfloat16.np and _has_kernel(op, xs)):
        return None
    wide = [_make(rw, "cast", like, x, dtype=dt.NP_FLOAT32) if x.aval.dtype == dtype else x for x in xs]
    out = _make(rw, op.name, like, *wide, **attrs)
    return _make(rw, "cast", like, out, dtype=dtype) if out.aval.dtype == dt.NP_FLOAT32 else out


def _has_kernel(op: Any, xs: Sequence[Node]) -> bool:
    """Whether bfloat16 is taken as it is: by products, and by convolutions that contract channels where pairs gain."""
    from ..codegen.target import host

    return op.name == "matmul" or (op.name == "conv" and xs[1].shape[1] > 1 and host().bf16_dot)


_WIDE = ("conv", "matmul", "sum", "prod", "amax", "amin", "add_rows", "scatter_add", "window_argmax")


def _table() -> dict[str, Sequence[Rule]]:
    table: dict[str, list[Rule]] = {name: list(found) for name, found in rules().items()}
    table["scatter_add"] += [picked_class, whole_rows, pooled, lanes]
    table["gather"] += [whole_rows, pooled]
    table["windows"].append(one_window)
    table["unwindows"].append(tiled_windows)
    table["matmul"] += [flat_product, outer]
    table["add"].append(outer_added)
    table["div"].append(shares)
    table["argmax"].append(first_extreme)
    table["argmin"].append(first_extreme)
    for name in _WIDE:
        table[name].append(widened)
    return dict(table)


def decompose(graph: Graph) -> Graph:
    """Ops as the ops that they are made of."""
    return Rewriter(_table()).run(graph)


class _Splitter(Rewriter):
    """Splits the reductions of a graph, and not those that it makes itself."""

    def _nodes(self, nodes: Sequence[Node], env: dict[int, Any]) -> None:
        for n in nodes:
            if n.op is not None and n.op.name in _SPLIT and n.seq not in env:
                xs = tuple([env[x.seq] for x in n.inputs])
                found = split_reduction(self, n.op, xs, n.attrs, n)
                if found is not None:
                    env[n.seq] = found
                    continue
            super()._nodes([n], env)


_SPLIT = frozenset({"sum", "prod", "amax", "amin", "any", "all"})


def split_reductions(graph: Graph) -> Graph:
    """Reductions of very many elements in two steps."""
    quiet = {name: [r for r in found if r.__name__ != "sum_"] for name, found in rules().items()}
    return _Splitter(quiet).run(graph)


def settled(graph: Graph, sure: frozenset[Key] | None) -> Graph:
    """The graph without the checks of its own for what is in range for ``sure``; None: for all."""

    def counted(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
        """The index counted from the front."""
        (x,), n, found = xs, attrs["n"], lookup_of(like)
        if found is None or not (sure is None or found.key in sure):
            return None
        if not attrs["low"]:
            return x
        negative = _make(rw, "lt", like, x, rw.number(0, x.aval))
        return _make(rw, "where", like, negative, _make(rw, "add", like, x, rw.number(n, x.aval)), x)

    if not any(n.op is not None and n.op.name == "in_range" for n in graph.nodes):
        return graph
    return Rewriter({"in_range": [counted]}).run(graph)

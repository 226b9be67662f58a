"""Ops that have kernels of their own: which recipe computes them from strided memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..graph.node import Node
from ..optimize.checks import Lookup, Wanted, lookup_of
from ..schedule.index import strides_of
from ..schedule.kinds import KIND
from ..schedule.roots import Roots, View
from .column import LARGEST, Column, column_product
from .contract import matmul
from .conv import Convolution, convolve, in_rows, weight_gradient
from .draws import draw_rows, draws
from .epilogue import Fused
from .held import Held
from .kernel import Recipe
from .pool import Pool, Window, max_pool, max_pool_gradient
from .prologue import Computed, product_of
from .scatter import add_rows
from .target import Target


class Lowered(NamedTuple):
    """A recipe, the memory that its operands are, and what its kernels look up that may be out of range."""

    recipe: Recipe
    operands: dict[str, View]
    lookups: tuple[Wanted, ...] = ()


def own(n: Node) -> View:
    """The buffer of a node's result."""
    return View(n, 0, strides_of(n.shape))


def _matmul(
    n: Node, views: list[View], target: Target, behind: Fused | Node | None = None,
    prologues: Mapping[str, Computed] = {},
) -> Lowered | None:  # fmt: skip
    """``views``: of operands that have prologues, what these are given. ``behind``: an epilogue, or the sum."""
    if KIND.get(n.aval.dtype) not in ("f32", "f64", "bf16") or not n.aval.size:
        return None
    a, b = views
    kinds = [KIND[v.root.aval.dtype] if name in prologues else "" for name, v in (("a", a), ("b", b))]
    spec = product_of(n, (a.strides, b.strides), kinds)
    if isinstance(behind, Node):
        spec = replace(spec, accumulate=True)
    epilogue = behind if isinstance(behind, Fused) else None
    end = behind if isinstance(behind, Node) else n if epilogue is None else epilogue.main
    operands = {"a": a, "b": b, "c": own(end)}
    for more in (epilogue, *prologues.values()):
        operands |= {} if more is None else more.views
    return Lowered(matmul(spec, target, epilogue, prologues.get("a"), prologues.get("b")), operands)


def _column(n: Node, views: Sequence[View], target: Target, held: Held | None) -> Lowered | None:
    """A small matrix times a column, if vectors of the matrix run along the result, or it is worth to have them so."""
    a, x = views
    kind, shape = KIND.get(n.aval.dtype), n.inputs[0].shape
    if len(shape) != 2 or n.shape[-1] != 1 or kind not in ("f32", "f64") or not 0 < n.aval.size * shape[1] <= LARGEST:
        return None
    packed = held is not None and (a.root.seq in held.fixed or a.root.data is not None)
    if a.strides[0] != 1 and not packed:
        return None
    spec = Column(kind, shape[0], shape[1], a.strides, x.strides[0], held is not None, packed)
    return Lowered(column_product(spec, target), {"a": a, "x": x, "c": own(n)})


def _conv(n: Node, views: list[View], target: Target, epilogue: Fused | None = None) -> Lowered | None:
    """A convolution; of an input with an adjoint, it is the gradient of a weight."""
    kind = KIND.get(n.aval.dtype)
    if not (kind in ("f32", "f64") or (kind == "bf16" and target.bf16_dot)) or not n.aval.size:
        return None
    x, w = views
    attrs = n.attrs
    x_shape, w_shape = n.inputs[0].shape, n.inputs[1].shape
    order = attrs.get("order", tuple(range(len(x_shape))))
    mine = strides_of(n.shape)
    out = tuple([mine[order.index(i)] for i in range(len(order))])
    sizes = tuple([n.shape[order.index(i)] for i in range(2, len(order))])
    if attrs["groups"] == 1 and math.prod(w_shape[2:]) > math.prod(sizes):
        padding = tuple([
            (low, (o - 1) * s + d * (k - 1) + 1 - ((m - 1) * e + 1) - low)
            for (low, _), o, s, d, k, m, e in zip(
                attrs["padding"], w_shape[2:], attrs["dilation"], attrs["stride"], sizes, x_shape[2:],
                attrs["lhs_dilation"], strict=True,
            )
        ])  # fmt: skip
        spec = Convolution(
            kind, _swapped(x_shape), (w_shape[0], x_shape[0], *sizes), attrs["dilation"], padding, attrs["stride"],
            attrs["lhs_dilation"], 1, _swapped(x.strides), _swapped(out), _swapped(w.strides),
        )  # fmt: skip
        return Lowered(weight_gradient(spec, target), {"x": x, "g": w, "out": own(n)})
    spec = Convolution(
        kind, x_shape, w_shape, attrs["stride"], attrs["padding"], attrs["dilation"], attrs["lhs_dilation"],
        attrs["groups"], x.strides, w.strides, out,
    )  # fmt: skip
    if epilogue is None:
        return Lowered(convolve(spec, target), {"x": x, "w": w, "out": own(n)})
    return Lowered(convolve(spec, target, epilogue), {"x": x, "w": w, "out": own(epilogue.main), **epilogue.views})


def goes_by_rows(n: Node, target: Target) -> bool:
    """Whether a convolution whose input lies as it is written had better leave its result so, too."""
    kind, attrs = KIND.get(n.aval.dtype), n.attrs
    x, w = n.inputs
    if kind not in ("f32", "f64") or not n.aval.size or x.aval.dtype != n.aval.dtype:
        return False
    order = attrs.get("order", tuple(range(len(x.shape))))
    out = strides_of(tuple([n.shape[order.index(i)] for i in range(len(order))]))
    spec = Convolution(
        kind, x.shape, w.shape, attrs["stride"], attrs["padding"], attrs["dilation"], attrs["lhs_dilation"],
        attrs["groups"], strides_of(x.shape), strides_of(w.shape), out,
    )  # fmt: skip
    return in_rows(spec, target)


def _swapped(x: tuple[int, ...]) -> tuple[int, ...]:
    """The first two exchanged."""
    return (x[1], x[0], *x[2:])


def _add_rows(n: Node, views: list[View], target: Target, sure: bool) -> Lowered | None:
    g, index = views
    kind, index_kind = KIND.get(n.aval.dtype), KIND.get(n.inputs[1].aval.dtype, "")
    if kind not in ("f32", "f64") or n.attrs.get("axis", 0) or not n.aval.size or not n.inputs[0].aval.size:
        return None
    count, rows = n.inputs[1].aval.size, n.attrs["n"]
    recipe = add_rows(kind, index_kind, count, rows, n.aval.size // rows, target, sure)
    check = Wanted(n, Lookup(n.inputs[1], rows, -rows))
    lookups = () if sure else (check,)
    return Lowered(recipe, {"g": g, "index": index, "out": own(n)}, lookups)


def _pool_spec(n: Node, x_shape: tuple[int, ...], x: tuple[int, ...], out: tuple[int, ...]) -> Pool:
    attrs = n.attrs
    windows = tuple([
        Window(k, s, p, d)
        for k, s, p, d in zip(attrs["kernel"], attrs["stride"], attrs["padding"], attrs["dilation"], strict=True)
    ])  # fmt: skip
    return Pool(KIND[n.inputs[0].aval.dtype], x_shape, attrs["counts"], windows, x, out)


def _logical_strides(n: Node) -> tuple[int, ...]:
    """Strides of a result's axes before its ``order``."""
    mine = strides_of(n.shape)
    order = n.attrs.get("order", tuple(range(len(mine))))
    return tuple([mine[order.index(i)] for i in range(len(order))])


def _max_pool(n: Node, views: list[View], target: Target) -> Lowered | None:
    x = n.inputs[0]
    if KIND.get(x.aval.dtype) not in ("f32", "f64") or len(x.shape) != 2 + len(n.attrs["kernel"]):
        return None
    spec = _pool_spec(n, x.shape, views[0].strides, _logical_strides(n))
    return Lowered(max_pool(spec, target, False), {"x": views[0], "out": own(n)})


def _window_argmax(n: Node, views: list[View], target: Target) -> Lowered | None:
    x = n.inputs[0]
    if KIND.get(x.aval.dtype) not in ("f32", "f64") or len(x.shape) != 2 + len(n.attrs["kernel"]):
        return None
    recipe = max_pool(_pool_spec(n, x.shape, views[0].strides, _logical_strides(n)), target)
    temps = {**recipe.temps, "out": (KIND[x.aval.dtype], n.aval.size)}
    return Lowered(recipe._replace(temps=temps), {"x": views[0], "indices": own(n)})


def _max_pool_gradient(n: Node, views: list[View], target: Target) -> Lowered | None:
    g, index = views
    if g.strides != index.strides:
        return None
    sizes = (*n.inputs[0].shape[:2], *n.attrs["sizes"])
    spec = _pool_spec(n, sizes, _logical_strides(n), g.strides)
    return Lowered(max_pool_gradient(spec, target), {"g": g, "indices": index, "out": own(n)})


def _random(n: Node, views: list[View], target: Target) -> Lowered | None:
    if n.inputs[0].shape != (2,) or not n.aval.size:
        return None
    recipe = draws(n.op.name, KIND[n.aval.dtype], n.aval.size, target)
    return Lowered(recipe, {"key": views[0], "out": own(n)})


def _even_stride(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """How far neighbours are apart in row-major order, if it is the same everywhere."""
    found, inner = 0, 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n > 1 and inner == 1:
            found = s
        elif n > 1 and s != found * inner:
            return None
        inner *= n
    return found


def _random_rows(n: Node, views: list[View], target: Target) -> Lowered | None:
    key, starts = views
    kind, own_key, matrices = KIND[n.aval.dtype], n.inputs[0].aval.size, n.inputs[1].aval.size
    step = _even_stride(n.inputs[1].shape, starts.strides)
    if own_key != 2 or kind not in ("f32", "f64") or not n.aval.size or step is None:
        return None
    attrs = n.attrs
    recipe = draw_rows(kind, matrices, attrs["shape"], attrs["first"], attrs["stride"], step, target)
    return Lowered(recipe, {"key": key, "starts": starts, "out": own(n)})


Lowerer = Callable[..., "Lowered | None"]

LOWERERS: dict[str, Lowerer] = {
    "matmul": _matmul, "conv": _conv, "add_rows": _add_rows, "max_pool": _max_pool, "window_argmax": _window_argmax,
    "max_pool_gradient": _max_pool_gradient, "random_bits": _random, "random_uniform": _random,
    "random_normal": _random, "random_rows": _random_rows,
}  # fmt: skip


def _counted(lowered: Lowered, more: Sequence[Fused | Computed]) -> Lowered:
    """A recipe whose last kernel is said to do the work of what goes before and behind too."""
    *steps, last = lowered.recipe.steps
    kernel = last.kernel._replace(
        flops=last.kernel.flops + sum(x.flops for x in more),
        bytes=last.kernel.bytes + sum(n.aval.nbytes for x in more for n in x.nodes),
    )
    return lowered._replace(recipe=lowered.recipe._replace(steps=(*steps, last._replace(kernel=kernel))))


def lower(
    n: Node, roots: Roots, target: Target, behind: Fused | Node | None = None, held: Held | None = None
) -> Lowered | None:
    """The recipe of an op as a whole, with what follows it; None if NumPy has to compute it.

    ``behind``: an epilogue, or of a product the value that has the result added to what lies in its memory.
    ``held``: it is in such a body.
    """
    lowerer: Any = LOWERERS.get(n.op.name)
    if lowerer is None or any(type(x.aval) is tuple for x in (n, *n.inputs)):
        return None
    computed = {i: x for i in (0, 1) if (x := roots.operands.get((n.seq, i))) is not None}
    found = [computed[i].source if i in computed else roots.view(x) for i, x in enumerate(n.inputs)]
    views = [v for v in found if v is not None]
    if len(views) < len(found):
        return None
    if computed:
        prologues = {"ab"[i]: Computed(roots, n.inputs[i], x, "xy"[i]) for i, x in computed.items()}
        more = [*([behind] if isinstance(behind, Fused) else []), *prologues.values()]
        return _counted(lowerer(n, views, target, behind, prologues), more)
    if behind is not None:
        return _counted(lowerer(n, views, target, behind), [behind] if isinstance(behind, Fused) else [])
    found = lookup_of(n)
    if found is not None:
        return lowerer(n, views, target, found.is_sure(roots.sure))
    small = _column(n, views, target, held) if n.op.name == "matmul" else None
    return lowerer(n, views, target) if small is None else small

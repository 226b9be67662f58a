"""Ops that have kernels of their own: which recipe computes them from strided memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..graph.node import Node
from ..schedule.index import strides_of
from ..schedule.kinds import KIND
from ..schedule.roots import Roots, View
from .contract import Product, matmul
from .kernel import Recipe
from .target import Target


class Lowered(NamedTuple):
    """A recipe, and the memory that its operands are."""

    recipe: Recipe
    operands: dict[str, View]


def own(n: Node) -> View:
    """The buffer of a node's result."""
    return View(n, 0, strides_of(n.shape))


def _matmul(n: Node, views: list[View], target: Target) -> Lowered | None:
    kind = KIND[n.aval.dtype]
    if kind not in ("f32", "f64", "bf16") or not n.aval.size:
        return None
    a, b = views
    m, k = n.inputs[0].shape[-2:]
    c = strides_of(n.shape)
    spec = Product(
        kind, n.shape[:-2], m, n.shape[-1], k,
        (a.strides[:-2], *a.strides[-2:]), (b.strides[:-2], *b.strides[-2:]), (c[:-2], *c[-2:]),
    )  # fmt: skip
    return Lowered(matmul(spec, target), {"a": a, "b": b, "c": own(n)})


Lowerer = Callable[[Node, "list[View]", Target], "Lowered | None"]

LOWERERS: dict[str, Lowerer] = {"matmul": _matmul}


def lower(n: Node, roots: Roots, target: Target) -> Lowered | None:
    """The recipe of an op as a whole; None if NumPy has to compute it."""
    lowerer: Any = LOWERERS.get(n.op.name)
    if lowerer is None or any(type(x.aval) is tuple for x in (n, *n.inputs)):
        return None
    views = [roots.view(x) for x in n.inputs]
    return None if any(v is None for v in views) else lowerer(n, views, target)

"""Work on large arrays, which eager mode leaves to generated kernels (`wengert.runtime.eager`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.aval import Aval
from ..graph.graph import Graph
from .arrays import FAST

HEAVY = 1 << 15  # elements of the largest array, from which on kernels pay
WIDE = 1 << 20  # elements of a result, from which on kernels pay for what NumPy computes in one pass: they have threads
FEW = 1 << 14  # elements of operands, below which the result of broadcasting them is taken to be no larger than that
STEPS = 1 << 22  # elements that a loop computes, from which on kernels pay
DISPATCH = 512  # elements in the time that NumPy takes to begin


def computed(f: Callable[..., Any], arrays: Sequence[Any], attrs: dict[str, Any], views: bool = True) -> Any:
    """The one result of an op, or of a function of ops, by kernels; None if NumPy should compute it.

    ``views``: it may lie in memory in any order, else in row-major order.
    """
    return _compute()(f, [Aval(x.shape, x.dtype) for x in arrays], arrays, attrs, views=views)


@cache
def _compute() -> Callable[..., Any]:
    """`eager.compute`, which is not imported before it is wanted; nor each time, which takes half a microsecond."""
    from ..runtime.eager import compute

    return compute


def is_turned(x: Any) -> bool:
    """Whether an array is large, and neighbours in memory are not neighbours along its last axis."""
    if x.size < HEAVY or x.flags.c_contiguous:
        return False
    steps = [abs(step) for n, step in zip(x.shape, x.strides, strict=True) if n > 1]
    return steps[-1] > min(steps) > 0


def wide_product(f: Callable[..., Any], x: Any, y: Any) -> Any:
    """A product by kernels, where they have vectors of 64 bytes; else None.

    With 32 bytes NumPy's BLAS takes as long. With 64 it depends on the processor whether it uses them: on Zen 5 it does
    not, and takes twice as long. What decides must be the same in every run, for so are the results then.
    """
    from ..codegen.target import host

    return computed(f, (x, y), {}) if host().vector_bytes >= 64 else None


def large(f: Callable[..., Any], arrays: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """`computed`, where the first array is large."""
    return computed(f, arrays, attrs) if arrays[0].size >= HEAVY else None


def fused(f: Callable[..., Any], xs: Sequence[Any], attrs: dict[str, Any], least: int) -> Any:
    """A function of elementwise ops on arrays, which broadcast, in one pass; None if there are less than ``least``.

    Half precision is left to NumPy: kernels round after each op.
    """
    if xs[0].dtype in dt.HALF_NP:
        return None
    shape = common_shape(xs)
    return _compute()(f, [Aval(shape, x.dtype) for x in xs], xs, attrs, least)


def common_shape(xs: Sequence[Any]) -> tuple[int, ...]:
    """The shape that arrays broadcast to."""
    shape = xs[0].shape
    for x in xs:
        if x.shape != shape:
            return np.broadcast_shapes(*[x.shape for x in xs])
    return shape


def wide(f: Callable[..., Any], xs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """`fused`, where the result is so large that threads, and memory that is kept, are worth a kernel; else None."""
    if xs[0].dtype not in FAST or math.prod(common_shape(xs)) < WIDE:
        return None
    return fused(f, xs, attrs, 1)


def loop(op: Any, body: Graph, arrays: Sequence[Any], attrs: dict[str, Any]) -> Graph | None:
    """A loop as a graph of that one op, where it has much to do and kernels can do all of it."""
    from ..runtime import eager

    derived = body.derived
    if "work" not in derived:
        derived["work"] = _work(body)
    if not eager.ENABLED or attrs["length"] * derived["work"] < STEPS:
        return None
    key = ("loop", *[v for v in attrs.values() if v is not body])
    if key not in derived:
        graph = eager.single(op, [Aval(x.shape, x.dtype) for x in arrays], attrs)
        derived[key] = graph if eager.is_native(graph) else None
    return derived[key]


def _work(graph: Graph) -> int:
    """Elements that a graph computes, those in calls too, and what it costs to begin each."""
    inner = [g for n in graph.nodes for g in n.attrs.values() if isinstance(g, Graph)]
    return sum(map(_work, inner)) + sum(DISPATCH + a.size for n in graph.nodes if type(a := n.aval) is Aval)


def kernels(graph: Graph) -> Callable[..., tuple[Any, ...]]:
    """A graph as a function of arrays, run by kernels."""
    from ..runtime.eager import Kernels

    found = graph.derived.get("kernels")
    if found is None:
        found = graph.derived["kernels"] = Kernels(graph)
    return found

"""Local derivatives of one node: what stands on an edge of the drawn graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import quietly
from ..graph.handle import wrap
from ..graph.node import ITEM, Node


def local_derivatives(node: Node, limit: int = 4096) -> list[Any]:
    """For each input, d node / d input as a tensor shaped (*node.shape, *input.shape).

    For elementwise ops the derivative is shaped like the input alone (the Jacobian is diagonal).
    None where no derivative flows, or where the Jacobian would have more than ``limit`` elements.

    >>> import wengert as wg
    >>> x = wg.tensor(2.0, requires_grad=True)
    >>> (x * x).node.local_derivatives()
    [tensor(2.), tensor(2.)]
    """
    if node.op is None or node.op is ITEM or not node.op.differentiable:
        return [None] * len(node.inputs)
    out, xs = node.value, [x.value for x in node.inputs]
    if type(out) is tuple:
        return [None] * len(xs)
    if hasattr(node.op, "partials"):
        return [_elementwise(node, out, xs, i) for i in range(len(xs))]
    return [_jacobian(node, out, xs, i, limit) for i in range(len(xs))]


def _elementwise(node: Node, out: Any, xs: list[Any], i: int) -> Any:
    need = [k == i for k in range(len(xs))]
    g = np.ones(out.shape, out.dtype)
    found = quietly(lambda: node.op.vjp(g, out, xs, need, **node.attrs))[i]
    return None if found is None else wrap(np.asarray(found))


def _jacobian(node: Node, out: Any, xs: list[Any], i: int, limit: int) -> Any:
    if out.size * xs[i].size > limit:
        return None
    need = [k == i for k in range(len(xs))]
    rows: list[Any] = []
    for k in range(out.size):
        g = np.zeros(out.size, out.dtype)
        g[k] = 1
        seed = g.reshape(out.shape)
        row = quietly(lambda seed=seed: node.op.vjp(seed, out, xs, need, **node.attrs))[i]
        if row is None:
            return None
        rows.append(np.asarray(row))
    return wrap(np.stack(rows).reshape(*out.shape, *xs[i].shape) if rows else np.zeros((*out.shape, *xs[i].shape)))

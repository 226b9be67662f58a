"""Ops that only the compiler makes: what several ops of the user's graph amount to, where a kernel does it at once.

They have a meaning, as every op does, and no derivative: graphs are compiled when all derivatives are in them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph.aval import Aval
from ..ops.base import OPS, Elementwise, Op


class MaxPool(Op):
    """The largest elements of windows over the last axes; ``order``: the result's axes are permuted so."""

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        (x,) = avals
        shape = (*x.shape[: x.ndim - len(attrs["kernel"])], *attrs["counts"])
        return x.with_shape(ordered(shape, attrs))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        order = attrs.pop("order", None)
        index = OPS["window_argmax"].numpy(*xs, **attrs)
        rank = len(attrs["kernel"])
        lead = xs[0].shape[: xs[0].ndim - rank]
        flat = np.take_along_axis(xs[0].reshape(*lead, -1), index.reshape(*lead, -1), -1)
        out = flat.reshape(*lead, *attrs["counts"])
        return out if order is None else out.transpose(order)


class MaxPoolGradient(Op):
    """Adjoints added up where the largest elements stood: of (g, indices), with the ``sizes`` of the input."""

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        g = avals[0]
        shape = (*g.shape[: g.ndim - len(attrs["kernel"])], *attrs["sizes"])
        return g.with_shape(ordered(shape, attrs))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        g, index = xs
        rank, sizes = len(attrs["kernel"]), attrs["sizes"]
        lead = g.shape[: g.ndim - rank]
        flat = OPS["scatter_add"].numpy(
            g.reshape(*lead, -1), index.reshape(*lead, -1), dim=len(lead), n=math.prod(sizes)
        )
        out = flat.reshape(*lead, *sizes)
        return out.transpose(attrs["order"]) if "order" in attrs else out


class Each(Op):
    """A graph applied to each element of ``lead``, the leading dimensions of the inputs that are ``mapped``."""

    def label(self, attrs: dict[str, Any]) -> str:
        return f"each {attrs['graph'].name}"

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        return tuple([a.with_shape((*attrs["lead"], *a.shape)) for a in attrs["graph"].out_avals])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        graph, lead = attrs["graph"], attrs["lead"]
        outs = [np.empty((*lead, *a.shape), a.dtype) for a in graph.out_avals]
        for i in np.ndindex(*lead):
            given = [x[i] if m else x for x, m in zip(xs, attrs["mapped"], strict=True)]
            found = graph.numpy(*given)
            for out, value in zip(outs, [found] if graph.single else found, strict=True):
                out[i] = value
        return tuple(outs)


class RunningExtreme(Op):
    """The largest, or smallest, so far along ``axis``: what `cummax` and `cummin` give first."""

    result = 0

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return OPS["cummax"].infer(avals[0], axis=attrs["axis"])[self.result]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return OPS["cummax" if attrs["largest"] else "cummin"].numpy(xs[0], axis=attrs["axis"])[self.result]


class RunningPlace(RunningExtreme):
    """Where along ``axis`` that stands: what they give second."""

    result = 1


class MultiplyAdd(Elementwise):
    """``x * y + z``, which kernels round once; as in a product of matrices, that is for them to choose."""

    def scalar(self, s: Any, *xs: Any) -> Any:
        x, y, z = xs
        return x * y + z


def ordered(shape: tuple[int, ...], attrs: dict[str, Any]) -> tuple[int, ...]:
    """A shape with its axes permuted as an ``order`` says."""
    return tuple([shape[i] for i in attrs["order"]]) if "order" in attrs else shape


def _named(op: Op, name: str) -> Op:
    """Give an op a name without putting it among those that users' graphs are made of."""
    op.name = name
    return op


INTERNAL: dict[str, Any] = {
    op.name: op
    for op in (
        _named(MaxPool(), "max_pool"),
        _named(MaxPoolGradient(), "max_pool_gradient"),
        _named(Each(), "each"),
        _named(MultiplyAdd(), "multiply_add"),
        _named(RunningExtreme(), "running_extreme"),
        _named(RunningPlace(), "running_place"),
    )
}

"""Modes of differentiation that take a function of tensors to another one, so that they compose in any order.

Two programs that mean the same, a loop and the same loop unrolled, say, must agree under all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import api
from ..graph.handle import wrap
from ..transform.flat import jvp_flat, vjp_flat, vmap_flat
from .checks import Flat, Point, check_first_order, check_second_order, check_vmap


def several(f: Callable[..., Any]) -> Flat:
    """A function that returns a list of tensors."""

    def call(*xs: Any) -> list[Any]:
        out = f(*xs)
        return list(out) if isinstance(out, (tuple, list)) else [out]

    return call


def grad(f: Callable[..., Any]) -> Flat:
    """Adjoints of the arguments for ones."""

    def call(*xs: Any) -> Any:
        outs, pull = vjp_flat(several(f), xs)
        return pull(*[api.ones_like(o) for o in outs])

    return call


def push(f: Callable[..., Any]) -> Flat:
    """Tangents of the results for a fixed direction."""

    def call(*xs: Any) -> Any:
        directions = [wrap(np.cos(np.arange(x.aval.size) + 0.5).reshape(x.aval.shape)) for x in xs]
        return jvp_flat(several(f), xs, directions)[1]

    return call


def mapped(f: Callable[..., Any]) -> Flat:
    """The function over the first axis of all arguments."""

    def call(*xs: Any) -> Any:
        return vmap_flat(several(f), xs, [0] * len(xs))

    return call


def tensors(*arrays: Any) -> list[Any]:
    """Float64 tensors."""
    return [wrap(np.asarray(a, np.float64)) for a in arrays]


def values(xs: Sequence[Any]) -> list[Any]:
    """Arrays of tensors."""
    return [np.asarray(x._value) for x in xs]


def normal(*shape: int, seed: int = 0) -> Any:
    """Numbers drawn from the normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape)


def same(
    f: Callable[..., Any], g: Callable[..., Any], *arrays: Any, orders: int = 2, modes: Sequence[Any] = (grad, push)
) -> None:
    """Values and all compositions of derivatives up to an order agree."""
    for k in range(orders + 1):
        for chain in itertools.product(modes, repeat=k):
            a, b = several(f), several(g)
            for mode in chain:
                a, b = mode(a), mode(b)
            for p, q in zip(values(a(*tensors(*arrays))), values(b(*tensors(*arrays))), strict=True):
                np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-11, err_msg=str([m.__name__ for m in chain]))


def all_modes(f: Callable[..., Any], *arrays: Any, numeric: bool = True) -> None:
    """Every check that an op passes: numeric = forward = reverse, four compositions, vmap = loop."""
    arrays = tuple(np.asarray(a, np.float64) for a in arrays)
    point = Point(several(f), list(arrays))
    check_first_order(point, numeric)
    check_second_order(point, numeric)
    check_vmap(several(f), arrays)

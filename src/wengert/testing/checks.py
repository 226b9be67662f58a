"""The checks every op passes at every sample, and every user's function in `verify`.

All are stated for a flat function ``f(*handles) -> handles`` at float64 or complex128 points:
numeric = forward = reverse; the four compositions of two modes agree with each other and with a
difference quotient of the reverse mode; the batched function equals a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import quietly
from ..graph.handle import wrap
from ..transform.flat import jvp_flat, vjp_flat, vmap_flat

Flat = Callable[..., Sequence[Any]]
RTOL = 1e-6


class CheckError(AssertionError):
    """A check failed; the message names it."""


def close(name: str, got: Any, want: Any, rtol: float = RTOL, atol: float | None = None) -> None:
    """Raise unless two arrays agree (NaN equals NaN)."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        raise CheckError(f"{name}: shapes differ: {got.shape}, expected {want.shape}")
    if not got.size:
        return
    finite = want[np.isfinite(want)] if want.dtype.kind in "fc" else want
    scale = float(np.max(np.abs(finite), initial=0.0)) if want.dtype.kind in "fcui" else 1.0
    limit = rtol * max(scale, 1.0) if atol is None else atol
    if not quietly(np.allclose, got, want, rtol, limit, True):
        raise CheckError(f"{name}: got {got!r}, expected {want!r}")


def inner(a: Sequence[Any], b: Sequence[Any]) -> float:
    """Real inner product over several arrays; complex numbers count as pairs of reals."""
    return float(sum(np.real(np.vdot(x, y)) for x, y in zip(a, b, strict=True)))


def directions(arrays: Sequence[Any], seed: int) -> list[Any]:
    """A random direction for each array."""
    rng = np.random.default_rng(seed)
    out: list[Any] = []
    for a in arrays:
        d = rng.standard_normal(np.shape(a))
        if np.asarray(a).dtype.kind == "c":
            d = d + 1j * rng.standard_normal(np.shape(a))
        out.append(np.asarray(d, np.asarray(a).dtype))
    return out


def quotient(f: Callable[[float], Sequence[Any]], eps: float = 1e-4) -> list[Any]:
    """d f / d h at 0, by central differences extrapolated twice (error of order eps**6)."""
    table = []
    for e in (eps, eps / 2, eps / 4):
        plus, minus = f(e), f(-e)
        table.append([(np.asarray(p) - np.asarray(m)) / (2 * e) for p, m in zip(plus, minus, strict=True)])
    once = [[(4 * b - a) / 3 for a, b in zip(r, s, strict=True)] for r, s in pairwise(table)]
    return [(16 * b - a) / 15 for a, b in zip(once[0], once[1], strict=True)]


class Point:
    """A flat function at a point, with fixed random directions."""

    def __init__(self, f: Flat, arrays: Sequence[Any], seed: int = 0) -> None:
        self.f = f
        self.arrays = [np.asarray(a) for a in arrays]
        self.t = directions(self.arrays, seed + 1)
        self.u = directions(self.arrays, seed + 2)
        self.out = self.run(self.arrays)
        self.g = directions(self.out, seed + 3)

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Values of the function."""
        return [o._value for o in self.f(*[wrap(a) for a in arrays])]

    def moved(self, direction: Sequence[Any], h: float) -> list[Any]:
        """The point moved along a direction."""
        return [np.asarray(a + h * d, a.dtype) for a, d in zip(self.arrays, direction, strict=True)]

    def jvp(self, arrays: Sequence[Any], t: Sequence[Any]) -> list[Any]:
        """Tangents of the outputs."""
        return [o._value for o in jvp_flat(self.f, _wrap(arrays), _wrap(t))[1]]

    def vjp(self, arrays: Sequence[Any], g: Sequence[Any]) -> list[Any]:
        """Adjoints of the inputs."""
        return [o._value for o in vjp_flat(self.f, _wrap(arrays))[1](*_wrap(g))]


def _wrap(arrays: Sequence[Any]) -> list[Any]:
    return [wrap(np.asarray(a)) for a in arrays]


def check_first_order(p: Point, numeric: bool = True, tol: float = 1.0) -> None:
    """numeric = forward, and <vjp(g), t> = <g, jvp(t)>."""
    forward = p.jvp(p.arrays, p.t)
    if numeric:
        slope = quotient(lambda h: p.run(p.moved(p.t, h)))
        for i, (a, b) in enumerate(zip(forward, slope, strict=True)):
            close(f"forward = numeric (output {i})", a, b, RTOL * tol)
    reverse = p.vjp(p.arrays, p.g)
    for i, (r, a) in enumerate(zip(reverse, p.arrays, strict=True)):
        if np.shape(r) != a.shape or r.dtype != a.dtype:
            raise CheckError(f"adjoint of input {i} is {r.dtype}{np.shape(r)}, the input {a.dtype}{a.shape}")
    close("<vjp(g), t> = <g, jvp(t)>", inner(reverse, p.t), inner(p.g, forward), 1e-9 * tol)


def second_order(p: Point) -> dict[str, float]:
    """<g, D2 f [t, u]> by the four compositions of two modes."""

    def push(*xs: Any) -> list[Any]:
        return jvp_flat(p.f, xs, _wrap(p.t))[1]

    def pull(*xs: Any) -> list[Any]:
        return vjp_flat(p.f, xs)[1](*_wrap(p.g))

    xs = _wrap(p.arrays)
    ff = jvp_flat(push, xs, _wrap(p.u))[1]
    fr = jvp_flat(pull, xs, _wrap(p.u))[1]
    rf = vjp_flat(push, xs)[1](*_wrap(p.g))
    rr = vjp_flat(pull, xs)[1](*_wrap(p.t))
    return {
        "forward over forward": inner(p.g, [o._value for o in ff]),
        "forward over reverse": inner(p.t, [o._value for o in fr]),
        "reverse over forward": inner(p.u, [o._value for o in rf]),
        "reverse over reverse": inner(p.u, [o._value for o in rr]),
    }


def check_second_order(p: Point, numeric: bool = True, tol: float = 1.0) -> None:
    """The four compositions agree with each other and with a difference quotient."""
    found = second_order(p)
    if numeric:
        slope = quotient(lambda h: [inner(p.vjp(p.moved(p.u, h), p.g), p.t)])[0]
        for name, value in found.items():
            close(f"{name} = numeric", value, slope, 1e-5 * tol)
    first = found["reverse over reverse"]
    for name, value in found.items():
        close(f"{name} = reverse over reverse", value, first, 1e-8 * tol)


def check_vmap(f: Flat, arrays: Sequence[Any], tol: float = 1.0) -> None:
    """vmap = loop: all inputs mapped; each input mapped alone; an axis that is not the first."""
    size = 3
    stacks = [np.stack([a * (1 + 0.01 * k) if a.dtype.kind in "fc" else a for k in range(size)]) for a in arrays]
    n = len(arrays)
    cases: list[tuple[int | None, ...]] = [(0,) * n, (-1,) * n]
    if n > 1:
        cases += [tuple(0 if i == k else None for i in range(n)) for k in range(n)]
    for dims in cases:
        moved = [a if d is None else np.moveaxis(s, 0, d) for a, s, d in zip(arrays, stacks, dims, strict=True)]
        got = vmap_flat(f, _wrap(moved), dims)
        rows = []
        for k in range(size):
            row = [a if d is None else s[k] for a, s, d in zip(arrays, stacks, dims, strict=True)]
            rows.append([o._value for o in f(*_wrap(row))])
        for i, o in enumerate(got):
            close(f"vmap{dims} = loop (output {i})", o._value, np.stack([r[i] for r in rows]), 1e-9 * tol)


def is_inexact(a: Any) -> bool:
    """Whether an array can be differentiated."""
    return np.asarray(a).dtype in dt.INEXACT_NP

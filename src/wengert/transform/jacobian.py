"""Jacobians and Hessians of functions of nested tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..config import STATE, set_grad_enabled
from ..errors import ArgumentError, message
from ..graph.handle import Handle, wrap
from ..ops.base import OPS
from .flat import jvp_flat, vjp_flat, vmap_chunked

F = Callable[..., Any]
ArgNums = int | Sequence[int]


def basis(handles: Sequence[Handle]) -> list[Any]:
    """For several tensors with n elements in all: unit directions, stacked along a new first axis of size n."""
    sizes = [h.aval.size for h in handles]
    n, start = sum(sizes), 0
    out: list[Any] = []
    for h, size in zip(handles, sizes, strict=True):
        rows = np.zeros((n, size), h.aval.dtype)
        rows[start : start + size] = np.eye(size, dtype=h.aval.dtype)
        out.append(wrap(rows.reshape(n, *h.aval.shape)))
        start += size
    return out


class Partial:
    """A function of the arguments that are differentiated, flat."""

    def __init__(self, f: F, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: ArgNums, has_aux: bool) -> None:
        self.f, self.args, self.kwargs, self.has_aux = f, args, kwargs, has_aux
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        if any(not -len(args) <= a < len(args) for a in numbers):
            raise ArgumentError(message("jacobian", f"argnums {argnums} out of range", f"{len(args)} arguments"))
        self.numbers = tuple(a % len(args) for a in numbers)
        self.single = isinstance(argnums, int)
        self.leaves, self.structure = tree.flatten(tuple(args[i] for i in self.numbers))
        for x in self.leaves:
            if not isinstance(x, Handle):
                raise ArgumentError(message("jacobian", "arguments must be tensors", type(x).__name__))
        self.out: Any = None
        self.aux: Any = None

    def __call__(self, *xs: Any) -> list[Any]:
        full = list(self.args)
        for i, p in zip(self.numbers, tree.unflatten(self.structure, xs), strict=True):
            full[i] = p
        out = self.f(*full, **self.kwargs)
        if self.has_aux:
            out, self.aux = out
        leaves, self.out = tree.flatten(out)
        return leaves

    def nest(self, blocks: Sequence[Sequence[Any]]) -> Any:
        """``blocks[output][input]`` in the structures of the output and of the arguments."""
        rows = [tree.unflatten(self.structure, row) for row in blocks]
        rows = [r[0] for r in rows] if self.single else rows
        nested = tree.unflatten(self.out, rows)
        return (nested, self.aux) if self.has_aux else nested


def reverse_blocks(p: Partial, chunk_size: int | None = None) -> list[list[Any]]:
    """Blocks of the Jacobian by one reverse sweep for each element of the outputs."""
    outs, pull = vjp_flat(p, p.leaves)
    seeds = basis(outs)
    # What the sweep reads is recorded on the transform's own nodes; nobody else need see it.
    with set_grad_enabled(STATE.grad and pull.is_watched()):  # type: ignore[attr-defined]
        rows = vmap_chunked(pull, seeds, [0] * len(seeds), "same", chunk_size) if seeds else []
    blocks: list[list[Any]] = []
    start = 0
    for o in outs:
        n = o.aval.size
        parts = [_rows(r, start, n, (*o.aval.shape, *x.aval.shape)) for r, x in zip(rows, p.leaves, strict=True)]
        blocks.append(parts)
        start += n
    return blocks


def _rows(x: Any, start: int, n: int, shape: tuple[int, ...]) -> Any:
    spec = ((start, start + n, 1), *((0, k, 1) for k in x.aval.shape[1:]))
    return OPS["reshape"](OPS["slice"](x, spec=spec), shape=shape)


def forward_blocks(p: Partial, chunk_size: int | None = None) -> list[list[Any]]:
    """Blocks of the Jacobian by one forward sweep for each element of the arguments."""
    directions = basis(p.leaves)
    dims: list[int | None] = [0] * len(directions)
    columns = vmap_chunked(lambda *ts: jvp_flat(p, p.leaves, ts)[1], directions, dims, "same", chunk_size)
    blocks: list[list[Any]] = []
    for c in columns:
        out_shape = c.aval.shape[1:]
        row: list[Any] = []
        start = 0
        for x in p.leaves:
            n = x.aval.size
            part = _rows(c, start, n, (n, *out_shape))
            order = (*range(1, len(out_shape) + 1), 0)
            part = OPS["permute"](part, order=order)
            row.append(OPS["reshape"](part, shape=(*out_shape, *x.aval.shape)))
            start += n
        blocks.append(row)
    return blocks


def jacrev(f: F, argnums: ArgNums = 0, *, has_aux: bool = False, chunk_size: int | None = None) -> F:
    """The Jacobian by reverse mode: shape (*output.shape, *input.shape).

    >>> import wengert as wg
    >>> wg.func.jacrev(lambda x: x * x)(wg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        p = Partial(f, args, kwargs, argnums, has_aux)
        return p.nest(reverse_blocks(p, chunk_size))

    return run


def jacfwd(
    f: F, argnums: ArgNums = 0, has_aux: bool = False, *, randomness: str = "error", chunk_size: int | None = None
) -> F:
    """The Jacobian by forward mode: shape (*output.shape, *input.shape)."""

    def run(*args: Any, **kwargs: Any) -> Any:
        p = Partial(f, args, kwargs, argnums, has_aux)
        return p.nest(forward_blocks(p, chunk_size))

    return run


def jacobian(f: F, argnums: ArgNums = 0, *, has_aux: bool = False, chunk_size: int | None = None) -> F:
    """The Jacobian by whichever mode needs fewer sweeps."""

    def run(*args: Any, **kwargs: Any) -> Any:
        p = Partial(f, args, kwargs, argnums, has_aux)
        outs = vmap_free_size(p)
        n = sum(x.aval.size for x in p.leaves)
        return p.nest(reverse_blocks(p, chunk_size) if outs < n else forward_blocks(p, chunk_size))

    return run


def vmap_free_size(p: Partial) -> int:
    """Number of elements of the outputs."""
    from ..graph.trace import trace

    return sum(a.size for a in trace(lambda *xs: p(*xs), [x.aval for x in p.leaves]).out_avals)


def hessian(f: F, argnums: ArgNums = 0) -> F:
    """The Hessian of a scalar function: forward over reverse.

    >>> import wengert as wg
    >>> wg.func.hessian(lambda x: (x ** 3).sum())(wg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(f, argnums), argnums)


__all__ = ["hessian", "jacfwd", "jacobian", "jacrev"]

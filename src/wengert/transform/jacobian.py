"""Jacobians and Hessians: planned first, then computed by the fewest sweeps that the sparsity allows."""

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
from .plan import Plan, make_plan

F = Callable[..., Any]
ArgNums = int | Sequence[int]


def basis(handles: Sequence[Handle]) -> list[Any]:
    """For several tensors with n elements in all: unit directions, stacked along a new first axis of size n."""
    n = sum(h.aval.size for h in handles)
    return seeds_for(handles, np.eye(n))


def seeds_for(handles: Sequence[Handle], rows: Any) -> list[Any]:
    """Rows of numbers, one for each element of all handles, cut up and shaped like the handles."""
    out: list[Any] = []
    start = 0
    for h in handles:
        size = h.aval.size
        part = rows[:, start : start + size].astype(h.aval.dtype)
        out.append(wrap(part.reshape(len(rows), *h.aval.shape)))
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
        for o in leaves:
            if not isinstance(o, Handle):
                raise ArgumentError(message("jacobian", "the function must return tensors", type(o).__name__))
        return leaves

    def nest(self, blocks: Sequence[Sequence[Any]]) -> Any:
        """``blocks[output][input]`` in the structures of the output and of the arguments."""
        rows = [tree.unflatten(self.structure, row) for row in blocks]
        rows = [r[0] for r in rows] if self.single else rows
        nested = tree.unflatten(self.out, rows)
        return (nested, self.aux) if self.has_aux else nested


# -- sweeps ------------------------------------------------------------------------------------


def pull_rows(p: Partial, seeds: Callable[[Sequence[Handle]], list[Any]], chunk: int | None) -> tuple[Any, list[Any]]:
    """Outputs, and the adjoints of the arguments for stacked adjoints of the outputs."""
    outs, pull = vjp_flat(p, p.leaves)
    given = seeds(outs)
    # What the sweep reads is recorded on the transform's own nodes; nobody else need see it.
    with set_grad_enabled(STATE.grad and pull.is_watched()):  # type: ignore[attr-defined]
        rows = vmap_chunked(pull, given, [0] * len(given), "same", chunk) if given else []
    return outs, rows


def push_rows(p: Partial, directions: list[Any], chunk: int | None) -> list[Any]:
    """Tangents of the outputs for stacked tangents of the arguments."""
    dims: list[int | None] = [0] * len(directions)
    return vmap_chunked(lambda *ts: jvp_flat(p, p.leaves, ts)[1], directions, dims, "same", chunk)


def reverse_blocks(p: Partial, chunk: int | None = None) -> list[list[Any]]:
    """Blocks of the Jacobian by one reverse sweep for each element of the outputs."""
    outs, rows = pull_rows(p, basis, chunk)
    blocks: list[list[Any]] = []
    start = 0
    for o in outs:
        n = o.aval.size
        blocks.append([_rows(r, start, n, (*o.aval.shape, *x.aval.shape)) for r, x in zip(rows, p.leaves, strict=True)])
        start += n
    return blocks


def _rows(x: Any, start: int, n: int, shape: tuple[int, ...]) -> Any:
    spec = ((start, start + n, 1), *((0, k, 1) for k in x.aval.shape[1:]))
    return OPS["reshape"](OPS["slice"](x, spec=spec), shape=shape)


def forward_blocks(p: Partial, chunk: int | None = None) -> list[list[Any]]:
    """Blocks of the Jacobian by one forward sweep for each element of the arguments."""
    blocks: list[list[Any]] = []
    for c in push_rows(p, basis(p.leaves), chunk):
        out_shape = c.aval.shape[1:]
        row: list[Any] = []
        start = 0
        for x in p.leaves:
            n = x.aval.size
            part = OPS["permute"](_rows(c, start, n, (n, *out_shape)), order=(*range(1, len(out_shape) + 1), 0))
            row.append(OPS["reshape"](part, shape=(*out_shape, *x.aval.shape)))
            start += n
        blocks.append(row)
    return blocks


def indicator_rows(colors: Any) -> Any:
    """For each colour a row with ones where it stands."""
    rows = np.zeros((int(colors.max(initial=-1)) + 1, colors.size))
    marked = np.flatnonzero(colors >= 0)
    rows[colors[marked], marked] = 1.0
    return rows


def compressed_values(p: Partial, plan: Plan) -> Any:
    """The values of the pairs of the plan's pattern, from sweeps along sums of directions of one colour."""
    assert plan.pattern is not None
    row, column = plan.pattern.pairs()
    parts: list[Any] = []
    index = np.zeros(row.size, np.int64)
    backward = np.zeros(row.size, bool) if plan.row_colors is None else plan.row_colors[row] >= 0
    start = 0
    if plan.column_colors is not None:
        lines = indicator_rows(plan.column_colors)
        parts.append(_flat_rows(push_rows(p, seeds_for(p.leaves, lines), plan.chunk), len(lines)))
        index[~backward] = (plan.column_colors[column] * plan.pattern.rows + row)[~backward]
        start = len(lines) * plan.pattern.rows
    if plan.row_colors is not None:
        lines = indicator_rows(plan.row_colors)
        parts.append(_flat_rows(pull_rows(p, lambda outs: seeds_for(outs, lines), plan.chunk)[1], len(lines)))
        index[backward] = start + (plan.row_colors[row] * plan.pattern.columns + column)[backward]
    whole = parts[0] if len(parts) == 1 else OPS["cat"](*parts, axis=0)
    return OPS["take_rows"](whole, wrap(index))


def _flat_rows(found: Sequence[Any], n: int) -> Any:
    """Stacked results of n sweeps, each laid out flat and side by side, as one vector."""
    flat = [OPS["reshape"](f, shape=(n, f.aval.size // max(n, 1))) for f in found]
    whole = flat[0] if len(flat) == 1 else OPS["cat"](*flat, axis=1)
    return OPS["reshape"](whole, shape=(whole.aval.size,))


def scattered_blocks(p: Partial, plan: Plan, out_avals: Sequence[Any]) -> list[list[Any]]:
    """Dense blocks of a Jacobian computed by colours."""
    assert plan.pattern is not None
    values = compressed_values(p, plan)
    m, n = plan.pattern.rows, plan.pattern.columns
    full = OPS["add_rows"](values, wrap(plan.pattern.keys), n=m * n)
    full = OPS["reshape"](full, shape=(m, n))
    blocks: list[list[Any]] = []
    r = 0
    for o in out_avals:
        row, c = [], 0
        for x in p.leaves:
            spec = ((r, r + o.size, 1), (c, c + x.aval.size, 1))
            row.append(OPS["reshape"](OPS["slice"](full, spec=spec), shape=(*o.shape, *x.aval.shape)))
            c += x.aval.size
        blocks.append(row)
        r += o.size
    return blocks


def scipy_matrix(p: Partial, plan: Plan) -> Any:
    """The Jacobian as SciPy's COO matrix: rows are elements of the outputs, columns of the arguments."""
    from ..errors import need

    sparse = need("scipy.sparse", "sparse", "jacobian(sparse=True)")
    assert plan.pattern is not None
    values = compressed_values(p, plan)
    row, column = plan.pattern.pairs()
    return sparse.coo_matrix(
        (np.asarray(values._value), (row, column)), shape=(plan.pattern.rows, plan.pattern.columns)
    )


# -- public ------------------------------------------------------------------------------------


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


def jacobian(
    f: F,
    argnums: ArgNums = 0,
    *,
    mode: str = "auto",
    sparse: bool = False,
    plan: bool = False,
    memory_budget: int | None = None,
    has_aux: bool = False,
) -> F:
    """The Jacobian in the mode and by the number of sweeps that cost least.

    The sparsity is read off the graph; columns (or rows) that share no entry are computed together
    (coloured), and sweeps run in chunks that fit the budget.

    Args:
        f: takes and returns nested tensors; must be traceable.
        argnums: which arguments to differentiate.
        mode: ``"forward"``, ``"reverse"``, ``"mixed"`` (dense rows in reverse, the rest forward), or ``"auto"``
            for the cheapest.
        sparse: return SciPy's COO matrix (needs SciPy), outputs by inputs, flattened.
        plan: return the `Plan` (mode, sweeps, entries, bytes) without running a sweep.
        memory_budget: bytes that the sweeps may take at once; 1 GiB by default.
        has_aux: ``f`` returns ``(output, aux)``.

    Returns:
        A function of the same arguments: the Jacobian, shape (*output.shape, *input.shape), nested like the
        output and then like the arguments.

    >>> import wengert as wg
    >>> x = wg.arange(20.0)
    >>> wg.func.jacobian(lambda x: x[1:] * x[:-1], plan=True)(x)
    Plan(forward mode, 2 sweeps for a 19 x 20 Jacobian with 38 entries, about 456 bytes at once)
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        p = Partial(f, args, kwargs, argnums, has_aux)
        found, out_avals = make_plan(p, p.leaves, mode, memory_budget, force_pattern=sparse)
        if plan:
            return found
        if sparse:
            return scipy_matrix(p, found)
        if found.pattern is not None:
            return p.nest(scattered_blocks(p, found, out_avals))
        return p.nest((forward_blocks if found.mode == "forward" else reverse_blocks)(p, found.chunk))

    return run


def hessian(
    f: F, argnums: ArgNums = 0, *, sparse: bool = False, plan: bool = False, memory_budget: int | None = None
) -> F:
    """The Hessian of a scalar function: the planned `jacobian` of its gradient.

    Args:
        f, argnums, sparse, plan, memory_budget: as for `jacobian`.

    >>> import wengert as wg
    >>> wg.func.hessian(lambda x: (x ** 3).sum())(wg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """

    def gradient(*args: Any, **kwargs: Any) -> Any:
        p = Partial(f, args, kwargs, argnums, False)
        outs, pull = vjp_flat(p, p.leaves)
        if len(outs) != 1 or outs[0].aval.size != 1:
            seen = ", ".join(str(o.aval) for o in outs)
            raise ArgumentError(message("hessian", "the function must return a scalar", seen))
        found = tree.unflatten(p.structure, pull(OPS["fill"](outs[0], value=1)))
        return found[0] if p.single else found

    return jacobian(gradient, argnums, sparse=sparse, plan=plan, memory_budget=memory_budget)


__all__ = ["hessian", "jacfwd", "jacobian", "jacrev"]

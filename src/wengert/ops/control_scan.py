"""``scan``: a body applied along the first axis of arrays, with a carry. All modes are scans again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config import STATE
from ..errors import ShapeError, message
from ..graph.aval import Aval, describe
from ..graph.graph import Graph
from .base import OPS, Opaque, Sample, shape_of, to_front, zeros_like
from .call import split
from .control_graphs import (
    Cursor,
    Mask,
    adjoints,
    batched,
    both,
    chosen,
    closed,
    depends,
    either,
    fresh,
    function,
    grown,
    influences,
    rewired,
    spread,
    tangents,
    used,
    varies,
    zero_node,
)
from .heavy import kernels, loop
from .testpoints import floats


class Layout(NamedTuple):
    """How many inputs of the body are constants, carries and slices; how many outputs it has."""

    body: Graph
    consts: int
    carries: int
    slices: int
    ys: int

    @classmethod
    def of(cls, attrs: dict[str, Any]) -> Layout:
        body, k, c = attrs["body"], attrs["consts"], attrs["carries"]
        return cls(body, k, c, len(body.inputs) - k - c, len(body.outputs) - c)

    def parts(self, xs: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Constants, carries, slices."""
        k, c = self.consts, self.consts + self.carries
        return xs[:k], xs[k:c], xs[c:]


class Scan(Opaque):
    """Apply ``body(*constants, *carries, *slices) -> (*carries, *ys)`` ``length`` times.

    Inputs: constants, first carries, arrays whose first axis is run over. Results: last carries,
    the ys stacked, and, for each carry numbered in ``keep``, the values it had before each step,
    stacked. ``reverse``: run from the last slice to the first; stacks are in the order of the slices.
    """

    name = "scan"
    dtypes = ()  # the body is traced for one dtype

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        lay, n = Layout.of(attrs), attrs["length"]
        k, c, x = lay.parts(avals)
        for a in x:
            if not a.shape or a.shape[0] != n:
                raise ShapeError(message("scan", f"arrays must have {n} slices", describe(avals)))
        if (*k, *c, *[a.with_shape(a.shape[1:]) for a in x]) != lay.body.in_avals:
            raise ShapeError(
                message("scan", "operands do not fit the body", describe(avals), describe(lay.body.in_avals))
            )
        ys = lay.body.out_avals[lay.carries :]
        kept = [c[i] for i in attrs["keep"]]
        return (*c, *[a.with_shape((n, *a.shape)) for a in (*ys, *kept)])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        lay, n, keep = Layout.of(attrs), attrs["length"], attrs["keep"]
        whole = loop(self, lay.body, xs, attrs)
        if whole is not None:
            return kernels(whole)(*xs)
        consts, carry, arrays = lay.parts(xs)
        c, step = lay.carries, function(lay.body)
        stacks = [np.empty((n, *a.shape), a.dtype) for a in self._stacked(lay, keep)]
        ys, kept = stacks[: lay.ys], stacks[lay.ys :]
        for i in order(n, attrs["reverse"]):
            for stack, j in zip(kept, keep):
                stack[i] = carry[j]
            found = step(*consts, *carry, *[x[i] for x in arrays])
            carry = found[:c]
            for stack, y in zip(ys, found[c:]):
                stack[i] = y
        return (*fresh(carry, xs, lay.body), *stacks)

    def _stacked(self, lay: Layout, keep: tuple[int, ...]) -> list[Aval]:
        """What is stacked over the steps."""
        carries = lay.parts(lay.body.in_avals)[1]
        return [*lay.body.out_avals[lay.carries :], *[carries[j] for j in keep]]

    # -- reverse, over arrays ------------------------------------------------------------------

    def forward_with_pullback(self, values: Any, attrs: dict[str, Any], need: Sequence[bool]) -> Any:  # type: ignore[override]
        if STATE.anomaly:
            self.numpy(*values, **attrs)  # raises where the first NaN is made
        if attrs["keep"]:
            return self.numpy(*values, **attrs), lambda g, need: self.vjp(g, None, values, need, **attrs)
        lay, n = Layout.of(attrs), attrs["length"]
        whole = loop(self, lay.body, values, attrs)
        if whole is not None:
            return OPS["call"].forward_with_pullback(values, {"graph": whole}, need)
        consts, carry, arrays = lay.parts(values)
        varying = self._varying(lay, tuple(need))
        steps = order(n, attrs["reverse"])
        forward, backward, _ = split(lay.body, varying)
        stacks = [np.empty((n, *a.shape), a.dtype) for a in self._stacked(lay, ())]
        c, end = lay.carries, len(lay.body.outputs)
        tape: list[Any] = []
        for i in steps:
            found = forward(*consts, *carry, *[x[i] for x in arrays])
            tape.append(found[end:])
            carry = found[:c]
            for stack, y in zip(stacks, found[c:end]):
                stack[i] = y
        pull = Pullback(lay, values, varying, steps, tape, backward)
        return (*fresh(carry, values, lay.body), *stacks), pull

    def _varying(self, lay: Layout, need: Mask) -> Mask:
        """Which inputs of the body depend on an input of ``need``."""
        k, c, x = lay.parts(need)
        c = grown(c, lambda c: depends(lay.body, (*k, *c, *x))[: lay.carries])
        return (*k, *c, *x)

    # -- rules ---------------------------------------------------------------------------------

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        lay, n = Layout.of(attrs), attrs["length"]
        given = tuple(gi is not None for gi in g)
        plan = reverse_plan(lay, tuple(need), given, attrs["keep"])
        if plan is None:
            return [None] * len(xs)
        consts, carry, arrays = lay.parts(xs)
        stacks = self._kept(plan.reads, out, xs, attrs)
        found = Cursor(g)
        gc, gy, gk = (found.take(m) for m in (lay.carries, lay.ys, len(attrs["keep"])))
        zeros = [zeros_like(x) if gi is None else gi for x, gi in zip(carry, gc, strict=True)]
        inits = [*chosen(zeros, plan.carries), *[zeros_like(x) for x in chosen(consts, plan.consts)]]
        given_slices = [*chosen(gy, plan.ys), *chosen(gk, plan.kept)]
        operands = [*consts, *inits, *arrays, *stacks, *given_slices]
        new = {
            "body": plan.body, "consts": sum(plan.reads_consts), "carries": len(inits), "length": n,
            "reverse": not attrs["reverse"], "keep": (),
        }  # fmt: skip
        got = Cursor(self(*chosen(operands, plan.reads_all), **new))
        ac, ak, ax = got.pick(plan.carries), got.pick(plan.consts), got.pick(plan.slices)
        return [a if m else None for a, m in zip((*ak, *ac, *ax), need, strict=True)]

    def _kept(self, reads: Sequence[int], out: Any, xs: Any, attrs: dict[str, Any]) -> list[Any]:
        """The carries before each step, for the carries that a pullback reads."""
        keep: tuple[int, ...] = attrs["keep"]
        if out is None or not set(reads) <= set(keep):
            keep = tuple(reads)
            out = self(*xs, **{**attrs, "keep": keep}) if keep else ()
        first = len(out) - len(keep)
        return [out[first + keep.index(j)] for j in reads]

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        lay, keep = Layout.of(attrs), attrs["keep"]
        some = self._varying(lay, tuple(t is not None for t in ts))
        live = depends(lay.body, some)
        live_carries, live_ys = lay.parts(some)[1], live[lay.carries :]
        consts, carry, arrays = lay.parts(xs)
        tk, tc, tx = (chosen(part, m) for part, m in zip(lay.parts(ts), lay.parts(some), strict=True))
        tc = [zeros_like(x) if t is None else t for t, x in zip(tc, chosen(carry, live_carries), strict=True)]
        moved = [j for j in range(lay.carries) if live_carries[j]]
        new = {
            **attrs, "body": forward_body(lay, some), "consts": lay.consts + len(tk),
            "carries": lay.carries + len(tc),
            "keep": (*keep, *[lay.carries + moved.index(j) for j in keep if live_carries[j]]),
        }  # fmt: skip
        got = Cursor(self(*consts, *tk, *carry, *tc, *arrays, *tx, **new))
        got.take(lay.carries)
        dc = got.pick(live_carries)
        got.take(lay.ys)
        dy = got.pick(live_ys)
        got.take(len(keep))
        return (*dc, *dy, *got.pick([live_carries[j] for j in keep]))

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        lay = Layout.of(attrs)
        k, c, x = lay.parts(tuple(d is not None for d in dims))
        c = grown(c, lambda c: varies(lay.body, (*k, *c, *x))[: lay.carries])
        ys = varies(lay.body, (*k, *c, *x))[lay.carries :]
        body = batched(lay.body, size, (*k, *c, *x), (*c, *ys))
        consts, carry, arrays = lay.parts(list(zip(xs, dims, strict=True)))
        operands = [
            *[to_front(v, d, size) if m else v for (v, d), m in zip((*consts, *carry), (*k, *c), strict=True)],
            *[to_second(v, d) for v, d in arrays],
        ]
        mapped = [
            *[0 if m else None for m in c],
            *[1 if m else None for m in (*ys, *[c[j] for j in attrs["keep"]])],
        ]
        return self(*operands, **{**attrs, "body": body}), tuple(mapped)

    def samples(self) -> Iterable[Sample]:
        number, vector = Aval((), np.dtype(np.float64)), Aval((2,), np.dtype(np.float64))

        def cell(w: Any, h: Any, x: Any) -> list[Any]:
            h = OPS["tanh"](OPS["add"](OPS["mul"](w, h), x))
            return [h, OPS["mul"](h, x)]

        body = closed(cell, [vector, vector, vector], "cell")
        attrs = {"body": body, "consts": 1, "carries": 1, "length": 3, "reverse": False, "keep": ()}
        points = (floats(2), floats(2, seed=1), floats(3, 2))
        yield Sample(*points, attrs=attrs, label="cell")
        yield Sample(*points, attrs={**attrs, "reverse": True}, label="reverse")
        yield Sample(*points, attrs={**attrs, "keep": (0,)}, label="with its carries")
        yield Sample(floats(2), floats(2, seed=1), floats(0, 2), attrs={**attrs, "length": 0}, label="no steps")
        sums = closed(lambda s, p, x: [OPS["add"](s, x), OPS["mul"](p, x), p], [number] * 3, "sums")
        attrs = {"body": sums, "consts": 0, "carries": 2, "length": 4, "reverse": False, "keep": ()}
        yield Sample(floats(), floats(seed=1), np.array([1.0, 0.0, 2.0, -1.0]), attrs=attrs, label="sum and product")
        power = closed(lambda x, a: [OPS["mul"](a, x)], [number] * 2, "power")
        attrs = {"body": power, "consts": 1, "carries": 1, "length": 3, "reverse": False, "keep": ()}
        yield Sample(floats(), floats(seed=1), attrs=attrs, label="without slices")


def order(n: int, reverse: bool) -> range:
    """Step numbers in the order in which they are run."""
    return range(n - 1, -1, -1) if reverse else range(n)


def to_second(x: Any, dim: int | None) -> Any:
    """Bring the mapped axis of a stack to position 1, behind the axis that is run over."""
    if dim is None or dim == 1:
        return x
    rest = [i for i in range(len(shape_of(x))) if i != dim]
    return OPS["permute"](x, order=(rest[0], dim, *rest[1:]))


class Pullback:
    """The reverse sweep over arrays: the body's backward part over what the forward pass kept."""

    def __init__(self, lay: Layout, values: Any, varying: Mask, steps: range, tape: list[Any], backward: Any) -> None:
        self.lay, self.varying, self.steps, self.tape, self.backward = lay, varying, steps, tape, backward
        self.avals = [Aval(v.shape, v.dtype) for v in values]

    def __call__(self, g: Sequence[Any], need: Sequence[bool]) -> list[Any]:
        lay = self.lay
        outs = lay.body.out_avals
        moving = lay.parts(self.varying)[1]
        carry = [
            None if not m else np.zeros(*a) if gi is None else gi
            for gi, m, a in zip(g[: lay.carries], moving, outs[: lay.carries], strict=True)
        ]
        gy = [
            np.broadcast_to(np.zeros((), a.dtype), (len(self.steps), *a.shape)) if gi is None else gi
            for gi, a in zip(g[lay.carries :], outs[lay.carries :], strict=True)
        ]
        sums = [np.zeros(*a) if m else None for a, m in zip(self.avals[: lay.consts], self.varying, strict=False)]
        first = lay.consts + lay.carries
        stacks = [np.empty(*a) if m else None for a, m in zip(self.avals[first:], self.varying[first:], strict=True)]
        adding = [(j, s) for j, s in enumerate(sums) if s is not None]
        filling = [(first + j, s) for j, s in enumerate(stacks) if s is not None]
        for kept, i in zip(reversed(self.tape), reversed(self.steps)):
            found = self.backward(*kept, *carry, *[y[i] for y in gy])
            carry = found[lay.consts : first]
            for j, s in adding:
                s += found[j]
            for j, s in filling:
                s[i] = found[j]
        return [*sums, *carry, *stacks]


# -- plans ---------------------------------------------------------------------------------


class ReversePlan(NamedTuple):
    """The body of the reversed scan, and what it takes and gives.

    ``consts``, ``carries``, ``slices``: what has an adjoint. ``ys``, ``kept``: which adjoints are
    given. ``reads``: carries whose values are needed; ``reads_all``, ``reads_consts``: operands.
    """

    body: Graph
    consts: Mask
    carries: Mask
    slices: Mask
    ys: Mask
    kept: Mask
    reads: tuple[int, ...]
    reads_all: Mask
    reads_consts: Mask


def reverse_plan(lay: Layout, need: Mask, given: Mask, keep: tuple[int, ...]) -> ReversePlan | None:
    """How the adjoint of a scan is computed; None if nothing is to be done."""
    key = ("reverse scan", lay[1:], need, given, keep)
    derived = lay.body.derived
    if key not in derived:
        derived[key] = _reverse_plan(lay, need, given, keep)
    return derived[key]


def _reverse_plan(lay: Layout, need: Mask, given: Mask, keep: tuple[int, ...]) -> ReversePlan | None:
    body, c = lay.body, lay.carries
    k, carries, x = lay.parts(need)
    moving = grown(carries, lambda m: depends(body, (*k, *m, *x))[:c])
    varying = depends(body, (*k, *moving, *x))
    gc, gy, gk = given[:c], given[c : c + lay.ys], given[c + lay.ys :]
    started = either(gc, tuple(any(j == i and m for i, m in zip(keep, gk, strict=True)) for j in range(c)))
    ys = both(gy, varying[c:])
    live = grown(started, lambda m: lay.parts(influences(body, (*m, *ys)))[1])
    live = both(live, moving)
    if not any(live) and not any(ys):
        return None
    asked = influences(body, (*live, *ys))
    consts, slices = both(lay.parts(asked)[0], k), both(lay.parts(asked)[2], x)
    kept = tuple(m and live[j] for j, m in zip(keep, gk, strict=True))
    return _reverse_body(lay, consts, live, slices, ys, kept, keep)


def _reverse_body(
    lay: Layout, consts: Mask, live: Mask, slices: Mask, ys: Mask, kept: Mask, keep: tuple[int, ...]
) -> ReversePlan:
    body = lay.body
    pull = adjoints(body, (*consts, *live, *slices), (*live, *ys))
    in_k, in_c, in_x = lay.parts(body.in_avals)
    out_y = body.out_avals[lay.carries :]
    groups: list[list[Aval]] = [
        list(in_k), [*chosen(in_c, live), *chosen(in_k, consts)], list(in_x), list(in_c), chosen(out_y, ys),
        chosen([in_c[j] for j in keep], kept),
    ]  # fmt: skip
    targets = chosen(keep, kept)

    def step(*args: Any) -> list[Any]:
        cursor = Cursor(args)
        k, a, x, c, gy, gk = (cursor.take(len(group)) for group in groups)
        ac, ak = a[: sum(live)], a[sum(live) :]
        got = Cursor(pull.replay([*k, *c, *x, *ac, *gy]))
        dk, dc, dx = got.take(sum(consts)), got.pick(live), got.take(sum(slices))
        for j, more in zip(targets, gk, strict=True):
            dc[j] = OPS["add"](dc[j], more)
        return [*chosen(dc, live), *[OPS["add"](p, q) for p, q in zip(ak, dk, strict=True)], *dx]

    graph = closed(step, [a for group in groups for a in group], f"{body.name} backward")
    reads = list(used(graph))
    n, m = len(groups[0]), len(groups[1])
    reads[n : n + m] = [True] * m  # carries stay
    graph = rewired(graph, [i for i, r in enumerate(reads) if r])
    at = n + m + len(groups[2])
    needed = tuple(j for j in range(lay.carries) if reads[at + j])
    del reads[at : at + lay.carries]
    reads[at:at] = [True] * len(needed)
    return ReversePlan(graph, consts, live, slices, ys, kept, needed, tuple(reads), tuple(reads[:n]))


def forward_body(lay: Layout, some: Mask) -> Graph:
    """The body of the scan that runs tangents along: each group followed by its tangents."""
    key = ("forward scan", lay[1:], some)
    found = lay.body.derived.get(key)
    if found is None:
        found = lay.body.derived[key] = _forward_body(lay, some)
    return found


def _forward_body(lay: Layout, some: Mask) -> Graph:
    body = lay.body
    moving, n = tangents(body, some), len(body.inputs)
    places = spread(range(n, n + sum(some)), some)
    inputs: list[int] = []
    for own, ts in zip(lay.parts(range(n)), lay.parts(places), strict=True):
        inputs += [*own, *[t for t in ts if t is not None]]
    live, outs = depends(body, some), len(body.outputs)
    # A carry that has a tangent at the start has one after the step, if only zeros.
    moved = lay.parts(some)[1]
    graph = rewired(moving, inputs)
    found = spread(graph.outputs[outs:], live)
    c = lay.carries
    carried = [found[j] or zero_node(body.outputs[j].aval) for j in range(c) if moved[j]]
    ys = [t for t in found[c:] if t is not None]
    outputs = (*graph.outputs[:c], *carried, *graph.outputs[c:outs], *ys)
    return Graph(graph.inputs, outputs, moving.name)


__all__ = ["Layout", "Scan"]

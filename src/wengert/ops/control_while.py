"""``while_loop``: a loop of unknown length. All modes are loops of the same kind again (`control_chain`).

Time is proportional to the number of steps. Memory is too: a pass keeps what later ones read of each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..config import STATE
from ..errors import ShapeError, message
from ..graph.aval import Aval, describe
from ..graph.handle import wrap
from .base import OPS, Opaque, Sample, to_front, total, zeros_like
from .call import split
from .control_chain import Chain, batch_plan, forward_chain, reverse_plan, with_adjoints
from .control_graphs import Cursor, Mask, chosen, closed, depends, either, fresh, function, grown, run, used
from .testpoints import floats


class While(Opaque):
    """Apply ``body(*constants, *carries) -> carries`` while ``cond(*constants, *carries)`` holds.

    Inputs: constants, first carries (of each pass). Results: last carries (of each pass).
    """

    name = "while_loop"
    dtypes = ()  # the bodies are traced for one dtype

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        chain = Chain.of(attrs)
        k, blocks = list(avals[: chain.consts]), chain.blocks()
        states = [a for block, m in zip(blocks, chain.sizes, strict=True) for a in block[:m]]
        if list(avals) != [*chain.bodies[0].in_avals[: chain.consts], *states]:
            raise ShapeError(
                message("while_loop", "operands do not fit the body", describe(avals), describe([*k, *states]))
            )
        return tuple(states)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        chain = Chain.of(attrs)
        consts, states = xs[: chain.consts], chain.states(xs[chain.consts :])
        outs: list[Any] = []
        tapes: list[list[Any]] = []
        for p, body in enumerate(chain.bodies):
            picks = self._read_later(chain, p)
            if p == 0:
                state, tape = self._first(chain, consts, states[0], picks)
            else:
                state, tape = self._later(chain, p, consts, states[p], tapes, picks)
            outs.extend(fresh(state, (*xs, *outs), body))
            tapes.append(tape)
        return tuple(outs)

    def _read_later(self, chain: Chain, p: int) -> Mask:
        """Which states and ys of a pass later passes read."""
        m = chain.sizes[p] + chain.ys(p)
        mask: Mask = (False,) * m
        at = chain.consts + sum(s + chain.ys(q) for q, s in enumerate(chain.sizes[:p]))
        for body in chain.bodies[p + 1 :]:
            mask = either(mask, used(body)[at : at + m])
        return mask

    def _first(self, chain: Chain, consts: Any, state: Any, picks: Mask) -> tuple[Any, list[Any]]:
        test, step, m = function(chain.cond), function(chain.bodies[0]), chain.sizes[0]
        tape: list[Any] = []
        if not any(picks):
            if len(chain.bodies) == 1:
                while test(*consts, *state)[0]:
                    state = step(*consts, *state)
                return state, tape
        while test(*consts, *state)[0]:
            found = step(*consts, *state)
            tape.append([x if keep else None for x, keep in zip((*state, *found[m:]), picks)])
            state = found[:m]
        return state, tape

    def _later(self, chain: Chain, p: int, consts: Any, state: Any, tapes: Any, picks: Mask) -> tuple[Any, list[Any]]:
        step, m, n = function(chain.bodies[p]), chain.sizes[p], len(tapes[0])
        tape: list[Any] = [None] * n
        for i in range(n - 1, -1, -1) if chain.reverse[p] else range(n):
            found = step(*consts, *[x for t in tapes for x in t[i]], *state)
            tape[i] = [x if keep else None for x, keep in zip((*state, *found[m:]), picks)]
            state = found[:m]
        return state, tape

    # -- reverse, over arrays ------------------------------------------------------------------

    def forward_with_pullback(self, values: Any, attrs: dict[str, Any], need: Sequence[bool]) -> Any:  # type: ignore[override]
        if STATE.anomaly:
            self.numpy(*values, **attrs)  # raises where the first NaN is made
        chain = Chain.of(attrs)
        if chain.bodies[1:]:
            return self.numpy(*values, **attrs), lambda g, need: self.vjp(g, None, values, need, **attrs)
        body, k = chain.bodies[0], chain.consts
        moving = grown(tuple(need[k:]), lambda m: depends(body, (*need[:k], *m)))
        forward, backward, m = split(body, (*need[:k], *moving))
        consts, state, test = values[:k], values[k:], function(chain.cond)
        tape: list[Any] = []
        while test(*consts, *state)[0]:
            found = forward(*consts, *state)
            tape.append(found[m:])
            state = found[:m]
        avals = [Aval(v.shape, v.dtype) for v in values]

        def pullback(g: Any, need: Sequence[bool]) -> Any:
            state = [
                None if not s else np.zeros(*a) if gi is None else gi
                for gi, s, a in zip(g, moving, avals[k:], strict=True)
            ]
            sums = [np.zeros(*a) if n else None for a, n in zip(avals[:k], need, strict=False)]
            adding = [(j, s) for j, s in enumerate(sums) if s is not None]
            for kept in reversed(tape):
                found = backward(*kept, *state)
                state = found[k:]
                for j, s in adding:
                    s += found[j]
            return [*sums, *state]

        return fresh(state, values, body), pullback

    # -- rules ---------------------------------------------------------------------------------

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        chain = Chain.of(attrs)
        given = tuple(gi is not None for gi in g)
        plan = chain.derived(("reverse loop", tuple(need), given), lambda: reverse_plan(chain, tuple(need), given))
        if not plan.passes:
            return [None] * len(xs)
        consts, inits, seeds = xs[: chain.consts], chain.states(xs[chain.consts :]), chain.states(g)
        more: list[Any] = []
        for p in plan.passes:
            start = [zeros_like(x) if s is None else s for x, s in zip(inits[p], seeds[p], strict=True)]
            more += [*chosen(start, plan.states[p]), *[zeros_like(x) for x in chosen(consts, plan.consts[p])]]
        got = Cursor(self(*xs, *more, **with_adjoints(chain, plan).attrs())[len(xs) - chain.consts :])
        grads: list[list[Any]] = [[None] * m for m in chain.sizes]
        parts: list[list[Any]] = []
        for p in plan.passes:
            grads[p] = got.pick(plan.states[p])
            parts.append(got.pick(plan.consts[p]))
        sums = [total(column) for column in zip(*parts, strict=True)]
        return [a if n else None for a, n in zip((*sums, *[a for own in grads for a in own]), need, strict=True)]

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        chain, k = Chain.of(attrs), attrs["consts"]
        some = tuple(t is not None for t in ts)
        new, live = chain.derived(("forward loop", some), lambda: forward_chain(chain, some))
        operands = [*xs[:k], *chosen(ts[:k], some[:k])]
        for own, tangents_, mask in zip(chain.states(xs[k:]), chain.states(ts[k:]), live, strict=True):
            moved = [zeros_like(x) if t is None else t for x, t in zip(own, tangents_, strict=True)]
            operands += [*own, *chosen(moved, mask)]
        got = Cursor(self(*operands, **new.attrs()))
        result: list[Any] = []
        for m, mask in zip(chain.sizes, live, strict=True):
            got.take(m)
            result += got.pick(mask)
        return tuple(result)

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        chain, k = Chain.of(attrs), attrs["consts"]
        mapped = tuple(d is not None for d in dims)
        plan = chain.derived(("batched loop", size, mapped), lambda: batch_plan(chain, size, mapped))
        states = [m for own in plan.states for m in own]
        operands = [to_front(x, d, size) if m else x for x, d, m in zip(xs, dims, (*mapped[:k], *states), strict=True)]
        where = tuple(0 if m else None for m in states)
        if plan.cond is None:
            return self(*operands, **plan.chain.attrs()), where
        active = run(plan.cond, operands[: k + chain.sizes[0]])
        outs = self(*operands[:k], *active, *operands[k:], **plan.chain.attrs())
        return outs[1:], where

    def samples(self) -> Iterable[Sample]:
        number, vector = Aval((), np.dtype(np.float64)), Aval((2,), np.dtype(np.float64))

        def off(a: Any, x: Any) -> list[Any]:
            return [OPS["gt"](OPS["sub"](OPS["mul"](x, x), a), wrap(np.array(1e-3)))]

        def newton(a: Any, x: Any) -> list[Any]:
            return [OPS["mul"](OPS["add"](x, OPS["div"](a, x)), wrap(np.array(0.5)))]

        shape: dict[str, Any] = {"consts": 1, "carries": (1,), "reverse": (False,)}
        root = {
            "cond": closed(off, [number] * 2, "off"),
            "body": closed(newton, [number] * 2, "newton"),
            **shape,
        }
        yield Sample(np.array(2.0), np.array(5.0), attrs=root, label="square root")
        yield Sample(np.array(2.0), np.array(0.5), attrs=root, label="no steps")
        integer = Aval((), np.dtype(np.int64))
        avals = [vector, integer, vector]

        def more(w: Any, i: Any, x: Any) -> list[Any]:
            return [OPS["gt"](i, OPS["fill"](i, value=0))]

        def cell(w: Any, i: Any, x: Any) -> list[Any]:
            return [OPS["sub"](i, OPS["fill"](i, value=1)), OPS["tanh"](OPS["mul"](w, x))]

        power = {
            **shape,
            "cond": closed(more, avals, "more"),
            "body": closed(cell, avals, "cell"),
            "carries": (2,),
        }
        yield Sample(floats(2), np.array(3), floats(2, seed=1), attrs=power, label="counted")
        chain = Chain.of(root)
        chain = with_adjoints(chain, reverse_plan(chain, (True, True), (True,)))
        points = (np.array(2.0), np.array(5.0), np.array(1.5), np.array(0.0))
        yield Sample(*points, attrs=chain.attrs(), label="the adjoint of square root")


# -- tangents ------------------------------------------------------------------------------


# -- adjoints ------------------------------------------------------------------------------


# -- mapped axes ---------------------------------------------------------------------------


__all__ = ["Chain", "While"]

"""A value with a derivative of its own: user-defined functions, checkpoints.

The node's inputs are the results as computed (through which nothing is differentiated), then the
arguments, then whatever the rule kept. Its value is the results; its derivative comes from the
`Rule`. So a custom function is a pure node like any other: traced, printed, batched, replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..config import STATE, enable_grad, reentered
from ..errors import GraphError, message
from ..graph.aval import Aval
from ..graph.handle import Handle, apply, wrap
from .base import OPS, Op, Sample, dtype_of, full_tuple, shape_of
from .testpoints import floats

Handles = Sequence[Any]


class Rule:
    """Derivative of a custom function, over handles. One direction is enough: the other is its transpose.

    ``pullback(outs, args, kept, gs)``: adjoints of the arguments (None where there is none).
    ``pushforward(outs, args, kept, ts)``: tangents of the results; ``ts`` has zeros where none came.
    """

    name = "custom"
    materialize = True  # whether the pullback wants zeros, not None, for a result without adjoint

    # Properties: a bound method kept in the rule itself would be a reference cycle.
    @property
    def pullback(self) -> Callable[..., Handles] | None:
        """The reverse rule, None where there is none."""
        return None

    @property
    def pushforward(self) -> Callable[..., Handles] | None:
        """The forward rule, None where there is none."""
        return None

    def pull(self, outs: Handles, args: Handles, kept: Handles, gs: Handles) -> list[Any]:
        """Adjoints of the arguments, from whichever direction is there."""
        back, push = self.pullback, self.pushforward
        if back is not None:
            return list(back(outs, args, kept, gs))
        if push is None:
            raise GraphError(message(self.name, "the function defines no derivative"))
        return _transpose(lambda *ts: push(outs, args, kept, ts), args, gs)

    def push(self, outs: Handles, args: Handles, kept: Handles, ts: Handles) -> list[Any]:
        """Tangents of the results, from whichever direction is there."""
        push = self.pushforward
        if push is not None:
            return list(push(outs, args, kept, ts))
        return _transpose(lambda *gs: self.pull(outs, args, kept, gs), outs, ts)


def _transpose(linear: Callable[..., Handles], at: Handles, given: Handles) -> list[Any]:
    """Apply the transpose of a linear function of handles shaped like ``at``."""
    from ..transform.flat import vjp_flat, zeros_of

    def filled(*xs: Any) -> list[Any]:
        return [zeros_of(g) if o is None else o for o, g in zip(linear(*xs), given, strict=True)]

    with enable_grad():
        return vjp_flat(filled, [zeros_of(x) for x in at])[1](*given)


class BatchedRule(Rule):
    """The rule of a custom function under vmap: the rule itself under vmap."""

    def __init__(self, rule: Rule, size: int, n_out: int, n_args: int, dims: Sequence[int | None]) -> None:
        self.rule, self.size, self.n_out, self.n_args, self.dims = rule, size, n_out, n_args, tuple(dims)
        self.name = rule.name

    def _mapped(self, which: str, outs: Handles, args: Handles, kept: Handles, vs: Handles) -> list[Any]:
        from ..transform.flat import vmap_flat

        n, m = self.n_out, self.n_out + self.n_args

        def one(*flat: Any) -> list[Any]:
            k = len(self.dims)
            found = getattr(self.rule, which)(flat[:n], flat[n:m], flat[m:k], flat[k:])
            like = flat[n:m] if which == "pull" else flat[:n]
            return [OPS["fill"](x, value=0) if f is None else f for f, x in zip(found, like, strict=True)]

        axes = [*self.dims, *([0] * len(vs))]
        out = vmap_flat(one, [*outs, *args, *kept, *vs], axes, self.size)
        like = list(zip(args, self.dims[n:m], strict=True)) if which == "pull" else [(o, 0) for o in outs]
        return [x if d is not None else OPS["sum"](x, axes=(0,)) for x, (_, d) in zip(out, like, strict=True)]

    def pull(self, outs: Handles, args: Handles, kept: Handles, gs: Handles) -> list[Any]:
        return self._mapped("pull", outs, args, kept, gs)

    def push(self, outs: Handles, args: Handles, kept: Handles, ts: Handles) -> list[Any]:
        from .base import to_front

        n, m = self.n_out, self.n_out + self.n_args
        full = [to_front(t, None, self.size) if d is None else t for t, d in zip(ts, self.dims[n:m], strict=True)]
        return self._mapped("push", outs, args, kept, full)


class Custom(Op):
    """Results with the derivative of ``rule``; ``n_out`` results, ``n_args`` arguments."""

    name = "custom"
    dtypes = ()  # the rule decides

    def label(self, attrs: dict[str, Any]) -> str:
        return attrs["rule"].name

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        return tuple(avals[: attrs["n_out"]])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return tuple(xs[: attrs["n_out"]])

    def _parts(self, xs: Sequence[Any], attrs: dict[str, Any]) -> tuple[list[Any], list[Any], list[Any]]:
        n, m = attrs["n_out"], attrs["n_out"] + attrs["n_args"]
        handles = [x if isinstance(x, Handle) else wrap(x) for x in xs]
        return handles[:n], handles[n:m], handles[m:]

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        raw = not isinstance(xs[0], Handle)
        _, args, kept = self._parts(xs, attrs)
        outs = [o if isinstance(o, Handle) else wrap(o) for o in out]  # with the rule's own derivative
        rule = attrs["rule"]
        gs = full_tuple(g, out) if rule.materialize or rule.pullback is None else g
        found = _run(raw, rule.pull, outs, args, kept, gs)
        rest = len(xs) - attrs["n_out"] - attrs["n_args"]
        return (
            [None] * attrs["n_out"]
            + [_check(attrs["rule"], f, a) for f, a in zip(found, args, strict=True)]
            + ([None] * rest)
        )

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        raw = not isinstance(xs[0], Handle)
        _, args, kept = self._parts(xs, attrs)
        outs = [o if isinstance(o, Handle) else wrap(o) for o in out]
        given = ts[attrs["n_out"] : attrs["n_out"] + attrs["n_args"]]
        full = [OPS["fill"](a, value=0) if t is None else t for t, a in zip(given, args, strict=True)]
        found = _run(raw, attrs["rule"].push, outs, args, kept, full)
        return tuple([_check(attrs["rule"], t, o) for t, o in zip(found, outs, strict=True)])

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        from .base import to_front

        n, m = attrs["n_out"], attrs["n_out"] + attrs["n_args"]
        moved = [to_front(x, d, size) if i < n or d is not None else x for i, (x, d) in enumerate(zip(xs, dims))]
        axes = [0 if i < n or d is not None else None for i, d in enumerate(dims)]
        rule = BatchedRule(attrs["rule"], size, n, m - n, axes)
        return self(*moved, rule=rule, n_out=n, n_args=m - n), 0

    def samples(self) -> Iterable[Sample]:
        x, y = floats(3), floats(3, seed=1)
        for rule in (_ProductRule(True), _ProductRule(False)):
            attrs = {"rule": rule, "n_out": 1, "n_args": 2}
            yield Sample(x * y, x, y, attrs=attrs, wrt=(1, 2), numeric=False)


class _ProductRule(Rule):
    """x y with one direction only, for the samples."""

    name = "product"

    def __init__(self, reverse: bool) -> None:
        self.reverse = reverse

    @property
    def pullback(self) -> Callable[..., Handles] | None:
        return (lambda outs, args, kept, gs: [gs[0] * args[1], gs[0] * args[0]]) if self.reverse else None

    @property
    def pushforward(self) -> Callable[..., Handles] | None:
        return None if self.reverse else (lambda outs, args, kept, ts: [ts[0] * args[1] + args[0] * ts[1]])


def _handle(x: Any) -> Any:
    return x if x is None or isinstance(x, Handle) else wrap(np.asarray(x))


def _run(raw: bool, f: Callable[..., Any], *parts: Any) -> list[Any]:
    """Call a rule; over arrays it runs on plain handles, and arrays come back."""
    if not raw:
        return list(f(*parts))
    grad, STATE.grad = STATE.grad, False
    try:
        with reentered():
            found = f(*[[_handle(p) for p in part] for part in parts])
    finally:
        STATE.grad = grad
    return [x._value if isinstance(x, Handle) else x for x in found]


def _check(rule: Rule, g: Any, x: Any) -> Any:
    if g is not None and shape_of(g) != shape_of(x):
        raise GraphError(
            message(rule.name, "a gradient has the wrong shape", f"{list(shape_of(g))} for {x.aval}",
                    "A derivative rule returns adjoints shaped like the arguments, tangents shaped like the results")
        )  # fmt: skip
    if g is not None and dtype_of(g) != dtype_of(x):
        return OPS["cast"](g, dtype=dtype_of(x))  # whatever the user's rule gave
    return g


def with_rule(rule: Rule, outs: Handles, args: Handles, kept: Handles) -> tuple[Any, ...]:
    """The results as handles with the derivative of ``rule``."""
    attrs = {"rule": rule, "n_out": len(outs), "n_args": len(args)}
    return apply(OPS["custom"], (*outs, *args, *kept), attrs)

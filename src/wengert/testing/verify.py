"""Check the derivatives of a user's function in every mode, and find the op that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from .. import tree
from ..errors import ArgumentError, GraphError, message
from ..graph.graph import Graph
from ..graph.handle import Handle, wrap
from ..graph.node import ITEM, Node
from ..graph.trace import trace
from ..transform.flat import vjp_flat
from .checks import CheckError, Point, check_first_order, check_second_order, check_vmap

STEPS: dict[str, Callable[[Point, Sequence[Any]], None]] = {
    "numeric = forward = reverse": lambda p, arrays: check_first_order(p),
    "ff, fr, rf, rr": lambda p, arrays: check_second_order(p),
    "vmap = loop": lambda p, arrays: check_vmap(p.f, arrays),
}


def _flat(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., list[Any]], list[Any]]:
    """A flat float64 function of the inexact leaves of the arguments, and their values."""
    leaves, structure = tree.flatten(args)
    where = [i for i, x in enumerate(leaves) if isinstance(x, Handle) and x.aval.dtype in dt.INEXACT_NP]
    if not where:
        raise ArgumentError(message("verify", "no floating tensor among the arguments"))

    def run(*xs: Any) -> list[Any]:
        full = list(leaves)
        for i, x in zip(where, xs, strict=True):
            full[i] = x
        out = tree.leaves(f(*tree.unflatten(structure, full)))
        return [o for o in out if isinstance(o, Handle) and o.aval.dtype in dt.INEXACT_NP]

    wide = [np.complex128 if leaves[i].aval.dtype in dt.COMPLEX_NP else np.float64 for i in where]
    return run, [np.asarray(leaves[i]._value, w) for i, w in zip(where, wide, strict=True)]


def failing_check(f: Callable[..., Any], arrays: Sequence[Any]) -> tuple[str, str] | None:
    """(check, what happened) of the first check that fails; None if all pass."""
    for name, step in STEPS.items():
        try:
            step(Point(f, arrays), arrays)
        except (CheckError, GraphError, NotImplementedError) as error:
            return name, str(error)
    return None


def smallest_failure(graph: Graph, arrays: Sequence[Any]) -> tuple[Node, str, str] | None:
    """The first node whose own derivative fails at the values it gets; the smallest failing graph.

    Calls are looked into, so the node is never a formula.
    """
    values = graph_values(graph, arrays)
    for n in graph.nodes:
        if n.op is None or n.op is ITEM or not n.op.differentiable:
            continue
        xs = [np.asarray(values[x.seq]) for x in n.inputs]
        if n.op.is_call:
            inner = smallest_failure(n.attrs["graph"], xs)
            if inner is not None:
                return inner
            continue
        single = _OneNode(n, xs)
        if not single.wrt:
            continue
        found = failing_check(single, [xs[i] for i in single.wrt])
        if found is not None:
            return n, *found
    return None


class _OneNode:
    """A node as a function of its inexact inputs; the others keep their values."""

    def __init__(self, n: Node, values: Sequence[Any]) -> None:
        self.n, self.values = n, values
        self.wrt = [i for i, v in enumerate(values) if v.dtype in dt.INEXACT_NP]

    def __call__(self, *xs: Any) -> list[Any]:
        args: list[Any] = [wrap(v) for v in self.values]
        for i, x in zip(self.wrt, xs, strict=True):
            args[i] = x
        out = self.n.op(*args, **self.n.attrs)
        parts = out if isinstance(out, tuple) else (out,)
        return [o for o in parts if o.aval.dtype in dt.INEXACT_NP]


def graph_values(graph: Graph, arrays: Sequence[Any]) -> dict[int, Any]:
    """The value of every node at a point."""
    from ..graph.graph import replay_nodes

    start = [*arrays, *[n.value for n in graph.captures]]
    env: dict[int, Any] = {n.seq: wrap(a) for n, a in zip(graph.inputs, start, strict=True)}
    replay_nodes(graph.nodes, env)
    return {k: tuple(p._value for p in v) if isinstance(v, tuple) else v._value for k, v in env.items()}


def verify(f: Callable[..., Any], *args: Any) -> bool:
    """Check every derivative of ``f`` at a point; True, or an error that names the op at fault.

    The checks, in float64: forward = reverse = difference quotient; ``<vjp(g), t> = <g, jvp(t)>``; the
    four compositions of two modes agree with each other and with a difference quotient; ``vmap`` =
    loop. If one fails, the graph is searched for the smallest part that fails by itself.

    Args:
        f: takes and returns nested tensors; smooth at the point.
        args: the point.

    Raises:
        CheckError: with the check, the op, its inputs and the user's line.

    >>> import wengert as wg
    >>> wg.testing.verify(lambda x, y: (x * y).tanh().sum(), wg.randn(3), wg.randn(3))
    True
    """
    run, arrays = _flat(f, args)
    found = failing_check(run, arrays)
    if found is None:
        return True
    check, what = found
    text = f"verify: the check {check!r} failed: {what}"
    try:
        graph = trace(lambda *xs: run(*xs), [wrap(a).aval for a in arrays], "verify")
        culprit = smallest_failure(graph, arrays)
    except Exception as error:  # the function cannot be traced; the check itself still tells
        raise CheckError(f"{text} (the graph could not be searched: {error})") from None
    if culprit is None:
        raise CheckError(f"{text} No single op fails by itself; look at kinks and at values near rounding.")
    node, check, what = culprit
    avals = ", ".join(str(x.aval) for x in node.inputs)
    raise CheckError(
        f"{text}\nSmallest failing graph: {node.name}({avals}) made at {node.origin or 'an unknown line'}, "
        f"attributes {node.attrs}; check {check!r}: {what}"
    )


def _gradcheck_point(inputs: Any) -> list[Any]:
    given = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    if not _tracked(given):
        raise ArgumentError(message("gradcheck", "no input requires grad", cure="Make one with requires_grad=True"))
    return given


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    check_forward_ad: bool = False,
    **_: Any,
) -> bool:
    """Compare reverse (and with ``check_forward_ad`` forward) derivatives with difference quotients.

    The inputs that require grad must be float64 or complex128 for the default tolerances.
    """
    return _checked(
        lambda: _compare(func, _gradcheck_point(inputs), eps, atol, rtol, check_forward_ad), raise_exception
    )


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **_: Any,
) -> bool:
    """`gradcheck` of the gradient itself."""
    given = _gradcheck_point(inputs)
    where = _tracked(given)

    def gradient(*xs: Any) -> list[Any]:
        def body(*ys: Any) -> list[Any]:
            full = list(xs)
            for i, y in zip(where, ys, strict=True):
                full[i] = y
            return tree.leaves(func(*full))

        outs, pull = vjp_flat(body, [xs[i] for i in where])
        return pull(*[wrap(rng_like(o, np.random.default_rng(1))) for o in outs])

    del grad_outputs  # the check holds for every adjoint; a fixed random one is used
    return _checked(lambda: _compare(gradient, given, eps, atol, rtol, False), raise_exception)


def _tracked(given: Sequence[Any]) -> list[int]:
    """Which arguments require grad."""
    return [i for i, x in enumerate(given) if isinstance(x, Handle) and x._node is not None and x._node.requires_grad]


def rng_like(x: Any, rng: np.random.Generator) -> Any:
    """Normal numbers shaped like a handle."""
    value = rng.standard_normal(x.aval.shape)
    if x.aval.dtype in dt.COMPLEX_NP:
        value = value + 1j * rng.standard_normal(x.aval.shape)
    return np.asarray(value, x.aval.dtype)


def _checked(run: Callable[[], None], raise_exception: bool) -> bool:
    try:
        run()
    except CheckError:
        if raise_exception:
            raise
        return False
    return True


def _compare(func: Callable[..., Any], given: list[Any], eps: float, atol: float, rtol: float, forward: bool) -> None:
    where = _tracked(given)

    def run(*xs: Any) -> list[Any]:
        full = list(given)
        for i, x in zip(where, xs, strict=True):
            full[i] = x
        return [o for o in tree.leaves(func(*full)) if o.aval.dtype in dt.INEXACT_NP]

    p = Point(lambda *xs: run(*xs), [np.asarray(given[i]._value) for i in where])

    def values(h: float, k: int, d: Any) -> list[Any]:
        moved = [a + h * d if j == k else a for j, a in enumerate(p.arrays)]
        return [o._value for o in run(*[wrap(np.asarray(m)).requires_grad_() for m in moved])]

    for k, a in enumerate(p.arrays):
        for direction in _unit_directions(a):
            slope = [
                (u - v) / (2 * eps) for u, v in zip(values(eps, k, direction), values(-eps, k, direction), strict=True)
            ]
            ts = [direction if j == k else np.zeros_like(b) for j, b in enumerate(p.arrays)]
            analytic = p.jvp(p.arrays, ts)
            if forward:
                _near("forward", k, analytic, slope, atol, rtol)
            rev = p.vjp(p.arrays, p.g)
            got = float(np.real(np.vdot(rev[k], direction)))
            want = float(sum(np.real(np.vdot(g, s)) for g, s in zip(p.g, slope, strict=True)))
            _near("reverse", k, [np.asarray(got)], [np.asarray(want)], atol * max(1, p.g[0].size), rtol)


def _unit_directions(a: Any) -> list[Any]:
    out: list[Any] = []
    for i in range(a.size):
        for unit in (1.0, 1j) if a.dtype.kind == "c" else (1.0,):
            d = np.zeros(a.size, a.dtype)
            d[i] = unit
            out.append(d.reshape(a.shape))
    return out


def _near(mode: str, k: int, got: Sequence[Any], want: Sequence[Any], atol: float, rtol: float) -> None:
    for g, w in zip(got, want, strict=True):
        if not np.allclose(g, w, rtol, atol, equal_nan=True):
            raise CheckError(f"gradcheck: {mode} derivative in input {k}: got {g!r}, difference quotient {w!r}")


__all__ = ["gradcheck", "gradgradcheck", "verify"]

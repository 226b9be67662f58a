"""Rules that make graphs smaller: movements joined, numbers folded, what does nothing removed.

Each rule is exact: the result has the same bits (a sign of zero aside where an addition of zero goes).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import STATE
from ..graph.node import Node
from ..ops.base import OPS
from .each import each
from .rewrite import Rewriter, Rule, is_constant, number_in

FOLDED = 1 << 20  # bytes of a result that is computed while compiling


def drop(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """What only matters to derivatives, or to memory, is its input."""
    return xs[0]


def take_second(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """`substitute` gives its second input."""
    return xs[1]


def results_of_custom(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A custom function's results are inputs of its node."""
    return xs[: attrs["n_out"]]


def fill(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A constant, repeated."""
    aval = OPS["fill"].infer(xs[0].aval, **attrs)
    return rw.number(attrs["value"], aval)


def in_range(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """An index is looked at before it is repeated or moved, and once."""
    (x,) = xs
    name = x.op.name if x.op is not None else ""
    if name == "in_range" and x.attrs["n"] <= attrs["n"]:
        return x
    if name in ("expand", "reshape", "permute") and x.aval.size:
        return rw.make(name, (rw.make("in_range", x.inputs, attrs, like),), x.attrs, like)
    return None


# -- movements -----------------------------------------------------------------------------------


def permute(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """No order, two in a row, or one that only moves axes of size 1."""
    (x,), order = xs, attrs["order"]
    if order == tuple(range(len(order))):
        return x
    if x.op is not None and x.op.name == "permute":
        inner = x.attrs["order"]
        return rw.make("permute", x.inputs, {"order": tuple(inner[i] for i in order)}, like)
    large = [i for i in order if x.shape[i] != 1]
    if large == sorted(large):
        return rw.reshape(x, tuple(x.shape[i] for i in order), like)
    if number_in(x) is not None:
        return rw.number(number_in(x), x.aval.with_shape(tuple(x.shape[i] for i in order)))
    return None


def reshape(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """The same shape, two in a row, a repeated number."""
    (x,), shape = xs, attrs["shape"]
    if shape == x.shape:
        return x
    if x.op is not None and x.op.name == "reshape":
        return rw.reshape(x.inputs[0], shape, like)
    found = number_in(x)
    if found is not None and x.op is not None:
        return rw.number(found, x.aval.with_shape(shape))
    return None


def expand(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Along axes of size 1, or twice in a row."""
    (x,), shape, axes = xs, attrs["shape"], attrs["axes"]
    if all(shape[a] == 1 for a in axes):
        return rw.reshape(x, shape, like)
    if x.op is not None and x.op.name == "expand":
        kept = [i for i in range(len(shape)) if i not in axes]
        more = {kept[a] for a in x.attrs["axes"]}
        return rw.make("expand", x.inputs, {"shape": shape, "axes": tuple(sorted({*axes, *more}))}, like)
    return None


def slice_(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """All of it."""
    if all(t == (0, n, 1) for t, n in zip(attrs["spec"], xs[0].shape, strict=True)):
        return xs[0]
    found = number_in(xs[0])
    if found is not None:
        return rw.number(found, OPS["slice"].infer(xs[0].aval, **attrs))
    return None


def set_slice(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """All of it."""
    return xs[1] if all(t == (0, n, 1) for t, n in zip(attrs["spec"], xs[0].shape, strict=True)) else None


# -- reductions ----------------------------------------------------------------------------------


def reduce(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Over no axes, or over axes of size 1, of a value that is its own reduction."""
    (x,), axes = xs, attrs["axes"]
    if op.name not in _OWN_REDUCTION or any(x.shape[a] != 1 for a in axes):
        return None
    if op.out_dtype is not None:
        x = rw.make("cast", xs, {"dtype": op.out_dtype}, like)
    return rw.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes), like)


_OWN_REDUCTION = frozenset({"sum", "prod", "amax", "amin", "any", "all"})


def mean(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """The sum divided by the number of elements; half precision goes through float32."""
    (x,), axes = xs, attrs["axes"]
    n = math.prod([x.shape[a] for a in axes])
    aval = x.aval
    if aval.dtype in dt.HALF_NP:
        x = rw.make("cast", xs, {"dtype": dt.NP_FLOAT32}, like)
    total = rw.make("sum", (x,), attrs, like)
    out = rw.make("div", (total, rw.number(n, total.aval)), {}, like)
    return out if out.aval.dtype == aval.dtype else rw.make("cast", (out,), {"dtype": aval.dtype}, like)


def sum_(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Of a repetition, a product; of a sum, one sum over all the axes."""
    (x,), axes = xs, attrs["axes"]
    if x.op is None or not axes:
        return None
    if x.op.name == "expand":
        spread = [a for a in axes if a in x.attrs["axes"]]
        if not spread or x.aval.dtype not in dt.FLOATING_NP:
            return None
        rest = tuple(a for a in axes if a not in spread)
        shape = tuple(n for i, n in enumerate(x.shape) if i not in spread)
        kept_axes = tuple(_renumbered(a, spread) for a in x.attrs["axes"] if a not in spread)
        small = x.inputs[0]
        out = rw.make("expand", (small,), {"shape": shape, "axes": kept_axes}, like) if kept_axes else small
        out = rw.make("mul", (out, rw.number(math.prod([x.shape[a] for a in spread]), out.aval)), {}, like)
        return rw.make("sum", (out,), {"axes": tuple(_renumbered(a, spread) for a in rest)}, like) if rest else out
    if x.op.name == "sum" and x.aval.dtype not in dt.HALF_NP:
        inner = x.attrs["axes"]
        kept = [i for i in range(len(x.inputs[0].shape)) if i not in inner]
        return rw.make("sum", x.inputs, {"axes": tuple(sorted({*inner, *(kept[a] for a in axes)}))}, like)
    return None


def _renumbered(axis: int, gone: list[int]) -> int:
    return axis - sum(g < axis for g in gone)


def running(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Along an axis of size 1 nothing runs. Half precision runs in float32."""
    if xs[-1].shape[attrs["axis"]] == 1:
        return xs[-1]
    dtype = xs[-1].aval.dtype
    if dtype not in dt.HALF_NP:
        return None
    wide = tuple([rw.make("cast", (x,), {"dtype": dt.NP_FLOAT32}, like) for x in xs])
    return rw.make("cast", (rw.make(op.name, wide, attrs, like),), {"dtype": dtype}, like)


def running_extreme(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """The extremes so far and their places are two ops."""
    (x,), own, dtype = xs, {"axis": attrs["axis"], "largest": op.name == "cummax"}, xs[0].aval.dtype
    if x.shape[attrs["axis"]] == 1:
        return x, rw.number(0, x.aval.with_dtype(dt.NP_INT64))
    simple = dt.NP_FLOAT32 if dtype in dt.HALF_NP else np.dtype(np.uint8) if dtype == dt.NP_BOOL else dtype
    x = rw.make("cast", (x,), {"dtype": simple}, like)
    place = rw.make("running_place", (x,), own, like)
    return rw.make("cast", (rw.make("running_extreme", (x,), own, like),), {"dtype": dtype}, like), place


# -- elementwise ---------------------------------------------------------------------------------


def identity(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """An operand that changes nothing, by the op's traits: ``identity:0``, ``identity_right:1``."""
    for i, x in enumerate(xs):
        found = number_in(x)
        if found is None:
            continue
        for sign in ("identity", "identity_right") if i == 1 else ("identity",):
            for trait in op.traits:
                name, _, value = trait.partition(":")
                if name == sign and value and found == float(value) and not np.signbit(found):
                    return xs[1 - i]
    return None


def cast(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """To the dtype that it has, or of a repeated number."""
    (x,), dtype = xs, attrs["dtype"]
    if x.aval.dtype == dtype:
        return x
    found = number_in(x)
    if found is not None and x.shape:
        return rw.number(STATE.quiet(OPS["cast"].numpy, np.asarray(found), dtype=dtype), x.aval.with_dtype(dtype))
    return None


def neg_of_neg(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """An involution twice."""
    x = xs[0]
    return x.inputs[0] if x.op is not None and x.op.name == op.name and "involution" in x.op.traits else None


def power(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A power whose exponent is a small number, as NumPy's reference computes it too."""
    x, y = xs
    exponent = number_in(y)
    if exponent is None or x.aval.dtype not in (dt.NP_FLOAT32, dt.NP_FLOAT64):
        return None

    def one() -> Node:
        return rw.number(1, x.aval)

    def times(a: Node, b: Node) -> Node:
        return rw.make("mul", (a, b), {}, like)

    plain: dict[float, Callable[[], Node]] = {
        1.0: lambda: x,
        2.0: lambda: times(x, x),
        3.0: lambda: times(times(x, x), x),
        0.5: lambda: rw.make("sqrt", (x,), {}, like),
        -1.0: lambda: rw.make("div", (one(), x), {}, like),
        -2.0: lambda: rw.make("div", (one(), times(x, x)), {}, like),
        -0.5: lambda: rw.make("div", (one(), rw.make("sqrt", (x,), {}, like)), {}, like),
    }
    found = plain.get(float(exponent))
    return None if found is None else found()


def where(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """A known condition, or no choice."""
    c, x, y = xs
    if x is y:
        return x
    found = number_in(c)
    return None if found is None else (x if found else y)


def folded(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """Computed now, if all inputs are known and the result is small."""
    if not xs or not all(is_constant(x) for x in xs) or any(x.data.nbytes > FOLDED for x in xs):
        return None

    aval = op.infer(*[x.aval for x in xs], **attrs)
    if type(aval) is tuple or aval.nbytes > FOLDED:
        return None
    return rw.constant(STATE.quiet(op.numpy, *[x.data for x in xs], **attrs))


def spread_number(rw: Rewriter, op: Any, xs: tuple[Node, ...], attrs: dict[str, Any], like: Node) -> Any:
    """An elementwise op on repeated numbers, once."""
    numbers = [number_in(x) for x in xs]
    if any(v is None for v in numbers) or not xs[0].shape:
        return None
    aval = op.infer(*[x.aval for x in xs], **attrs)
    one = STATE.quiet(op.numpy, *[np.asarray(v) for v in numbers], **attrs)
    return rw.expand_all(rw.constant(np.asarray(one, aval.dtype).reshape(())), aval.shape, like)


def _table() -> dict[str, list[Rule]]:
    """The rules of each op, by its name; elementwise ops are asked for their traits."""
    table: dict[str, list[Rule]] = {
        "identity": [drop], "stop_gradient": [drop], "clone": [drop], "substitute": [take_second],
        "custom": [results_of_custom], "fill": [fill], "permute": [permute], "reshape": [reshape],
        "expand": [expand], "slice": [slice_], "set_slice": [set_slice], "mean": [mean], "sum": [sum_],
        "cast": [cast], "pow": [power], "where": [where], "call": [each],
        "in_range": [in_range], "cumsum": [running], "cumprod": [running], "logcumsumexp": [running],
        "linear_recurrence": [running], "cummax": [running_extreme], "cummin": [running_extreme],
    }  # fmt: skip
    from ..ops.base import Draw, Elementwise, Reduce

    for name, op in OPS.items():
        rules = table.setdefault(name, [])
        if isinstance(op, Elementwise):
            rules += [spread_number] + [identity] * any("identity" in t for t in op.traits)
            rules += [neg_of_neg] * ("involution" in op.traits)
        if isinstance(op, Reduce):
            rules.append(reduce)
        if not isinstance(op, Draw) and name not in ("expand", "call", "checkpoint", "custom"):
            rules.append(folded)
    return table


def rules() -> dict[str, list[Rule]]:
    """The table, made once."""
    global _RULES
    if _RULES is None:
        _RULES = _table()
    return _RULES


_RULES: dict[str, list[Rule]] | None = None

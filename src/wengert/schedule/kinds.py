"""What the scheduler must know of an op: whether its value can be computed element by element, and from where."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.node import ITEM, Node
from ..ops.base import Elementwise, Reduce
from .index import Affine, Coords, Looked, is_movement

KIND = {
    np.dtype(np.bool_): "i1", np.dtype(np.int8): "i8", np.dtype(np.int16): "i16", np.dtype(np.int32): "i32",
    np.dtype(np.int64): "i64", np.dtype(np.uint8): "u8", np.dtype(np.uint16): "u16", np.dtype(np.uint32): "u32",
    np.dtype(np.uint64): "u64", np.dtype(np.float16): "f16", dt.bfloat16.np: "bf16", np.dtype(np.float32): "f32",
    np.dtype(np.float64): "f64",
}  # fmt: skip

# Reductions that kernels compute; how partial results are combined stands in codegen/nest_parts.py.
REDUCTIONS = frozenset({"sum", "prod", "amax", "amin", "any", "all"})

# Ops that run along an axis, of whose operands each element is read once.
RUNNING = frozenset({"cumsum", "cumprod", "logcumsumexp", "linear_recurrence", "running_extreme", "running_place"})

# Ops whose elements are elements of their inputs, chosen by comparing coordinates or by an index that is looked up.
_PICKING = frozenset({"cast", "where", "pad", "unslice", "set_slice", "cat", "take_rows", "gather"})


def role(n: Node) -> str:
    """``leaf``, ``move``, ``point``, ``reduce``, ``running``, or ``whole``: ops with own kernels, or NumPy's."""
    if n.op is None:
        return "leaf"
    if n.op is ITEM:
        return "whole"
    if any(a.dtype not in KIND or not a.size for a in _avals(n)) or any(type(x.aval) is tuple for x in n.inputs):
        return "whole"
    if is_movement(n):
        return "move"
    if isinstance(n.op, Elementwise):
        from ..codegen.scalars import can_emit

        return "point" if can_emit(n.op, [x.aval.dtype for x in n.inputs], n.attrs) else "whole"
    if isinstance(n.op, Reduce) and n.op.name in REDUCTIONS:
        return "reduce" if all(n.inputs[0].shape) and n.inputs[0].aval.dtype not in dt.HALF_NP else "whole"
    if n.op.name in RUNNING:
        return "whole" if n.inputs[0].aval.dtype in (*dt.HALF_NP, dt.NP_BOOL) else "running"
    if n.op.name in _PICKING and _picks_simply(n):
        return "point"
    return "whole"


FOLLOWING = 4  # additions in an epilogue: it is written out for each vector of a block of registers


def takes_epilogue(n: Node) -> bool:
    """Whether the kernel of an op can go on with its results: products, and convolutions that lie well."""
    if (
        n.op is None
        or n.op is ITEM
        or n.op.name not in ("matmul", "conv")
        or KIND.get(n.aval.dtype) not in ("f32", "f64", "bf16")
    ):
        return False
    rank = len(n.shape)
    order = n.attrs.get("order", tuple(range(rank)))
    if n.op.name == "matmul":
        return n.shape[-1] > 1 and order[-1] >= rank - 2
    kernel, sizes = n.inputs[1].shape[2:], [k for o, k in zip(order, n.shape, strict=True) if o > 1]
    chosen = order[-1] == 1 or ("order" in n.attrs and order == tuple(range(rank)))
    return chosen and n.shape[-1] > 1 and math.prod(kernel) <= math.prod(sizes)


def is_number(n: Node) -> bool:
    """Whether a leaf is a known number, which stands in the code itself."""
    return n.op is None and n.data is not None and n.data.size == 1


def _avals(n: Node) -> Iterator[Any]:
    own = n.aval
    yield from own if type(own) is tuple else (own,)
    for x in n.inputs:
        if type(x.aval) is not tuple:
            yield x.aval


def _picks_simply(n: Node) -> bool:
    spec = n.attrs.get("spec") if n.op.name in ("unslice", "set_slice") else None
    return spec is None or all(t[2] == 1 for t in spec)


# How much work an op is for each element, in additions.
_DEAR = {
    "div": 4, "sqrt": 5, "exp": 8, "log": 10, "tanh": 10, "sigmoid": 12, "erf": 14, "pow": 30, "sin": 14, "cos": 14,
    "expm1": 12, "log1p": 12, "atan2": 20, "remainder": 8, "floor_divide": 8, "fmod": 8,
}  # fmt: skip
_CHEAP = frozenset({
    "add", "sub", "mul", "neg", "abs", "maximum", "minimum", "relu", "cast", "where", "eq", "ne", "lt", "le", "gt",
    "ge", "logical_not", "logical_and", "logical_or", "logical_xor", "sign", "isnan", "isinf", "isfinite", "floor",
    "ceil", "trunc", "round", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "pad", "unslice", "set_slice",
    "cat", "take_rows", "gather", "in_range", "multiply_add",
})  # fmt: skip


def cost(n: Node) -> int:
    """Work for an element, in additions."""
    return 1 if n.op.name in _CHEAP else _DEAR.get(n.op.name, 16)


class Part:
    """What an element of a picking op is: an input at coordinates, where all conditions ``low <= c < high`` hold."""

    __slots__ = ("conditions", "coords", "source")

    def __init__(self, source: Node, coords: Coords, conditions: list[tuple[Affine, int, int]]) -> None:
        self.source, self.coords, self.conditions = source, coords, conditions


def parts(n: Node, coords: Coords) -> list[Part]:
    """The inputs that an element of a point op is made of, and at which coordinates."""
    name, attrs = n.op.name, n.attrs
    if name == "take_rows":
        x, index = n.inputs
        axis, rank = attrs.get("axis", 0), len(index.shape)
        found = Affine(0, (), ((Looked(index, coords[axis : axis + rank], x.shape[axis]), 1),))
        return [Part(x, (*coords[:axis], found, *coords[axis + rank :]), [])]
    if name == "gather":
        x, index = n.inputs
        dim = attrs["dim"]
        found = Affine(0, (), ((Looked(index, coords, x.shape[dim]), 1),))
        return [Part(x, (*coords[:dim], found, *coords[dim + 1 :]), [])]
    if name == "cat":
        out: list[Part] = []
        axis, start = attrs["axis"], 0
        for x in n.inputs:
            moved = (*coords[:axis], coords[axis].plus(-start), *coords[axis + 1 :])
            out.append(Part(x, moved, [(coords[axis], start, start + x.shape[axis])]))
            start += x.shape[axis]
        return out
    if name in ("pad", "unslice", "set_slice"):
        inner = n.inputs[-1] if name == "set_slice" else n.inputs[0]
        starts = [a for a, _ in attrs["pads"]] if name == "pad" else [t[0] for t in attrs["spec"]]
        moved = tuple([c.plus(-s) for c, s in zip(coords, starts, strict=True)])
        conditions = [
            (c, s, s + m)
            for c, s, m, whole in zip(coords, starts, inner.shape, n.shape, strict=True)
            if m != whole
        ]  # fmt: skip
        base = [Part(n.inputs[0], coords, [])] if name == "set_slice" else []
        return [Part(inner, moved, conditions), *base]
    return [Part(x, coords, []) for x in n.inputs]


def looked_up(coords: Coords) -> Iterator[Looked]:
    """The index values that coordinates depend on."""
    for c in coords:
        for x, _ in c.looked:
            yield x

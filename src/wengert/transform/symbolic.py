"""The symbolic way: the derivative as a graph, printed as a formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph.graph import Graph
from ..graph.handle import Handle
from ..graph.node import ITEM, Node
from ..graph.trace import trace
from ..ops.base import OPS, Elementwise
from ..ops.scalar import TEXT, Text
from .flat import vjp_flat

_SILENT = ("expand", "reshape", "identity", "cast", "clone")  # what a formula on paper does not write


def derivative_graph(f: Callable[..., Any], *examples: Handle) -> Graph:
    """The graph of the gradient of a scalar function, as a function of its arguments."""

    def gradient(*xs: Any) -> list[Any]:
        outs, pull = vjp_flat(lambda *ys: [f(*ys)], xs)
        return pull(OPS["fill"](outs[0], value=1))

    return trace(gradient, [x.aval for x in examples], f"gradient of {getattr(f, '__name__', 'f')}")


def formula(graph: Graph, names: Sequence[str] = ()) -> str:
    """The outputs of a graph as formulas of its inputs; values used more than once get a name.

    >>> import wengert as wg
    >>> print(formula(wg.trace(lambda x: (x * x).tanh() + 1, wg.tensor(0.0)), ["x"]))
    (tanh((x * x)) + 1)
    """
    names = names or [f"x{i}" for i in range(len(graph.inputs))]
    uses: dict[int, int] = {}
    for n in graph.nodes:
        for x in n.inputs:
            uses[x.seq] = uses.get(x.seq, 0) + 1
    for o in graph.outputs:
        uses[o.seq] = uses.get(o.seq, 0) + 1
    env: dict[int, Any] = {n.seq: Text(name) for n, name in zip(graph.inputs, names, strict=False)}
    lines: list[str] = []
    for n in graph.nodes:
        text = _simplified(_text(n, env))
        shared = uses.get(n.seq, 0) > 1 and n.op is not None and len(str(text)) > 8 and n.op is not ITEM
        if shared:
            name = f"t{len(lines)}"
            lines.append(f"{name} = {text}")
            text = Text(name)
        env[n.seq] = text
    outs = [str(env[o.seq]) for o in graph.outputs]
    return "\n".join([*lines, ", ".join(outs)])


def _number(value: Any) -> str:
    array = np.asarray(value)
    if array.size == 1:
        return f"{array.reshape(-1)[0]:.6g}"
    return np.array2string(array, separator=", ", threshold=6)


def _text(n: Node, env: dict[int, Any]) -> Any:
    if n.op is None:
        return Text(_number(n.value))
    if n.op.name == "fill":
        return Text(_number(n.attrs["value"]))
    xs = [env[x.seq] for x in n.inputs]
    if n.op.name in _SILENT:
        return xs[0]
    if isinstance(n.op, Elementwise) and type(n.op).scalar is not Elementwise.scalar and not n.attrs:
        return n.op.scalar(TEXT, *xs)
    args = [str(x) for x in xs] + [f"{k}={v!r}" for k, v in n.attrs.items() if not isinstance(v, Graph)]
    return Text(f"{n.name}({', '.join(args)})")


def _simplified(text: Any) -> Any:
    """Leave out factors 1 and terms 0 at the top of an expression."""
    s = str(text)
    for pattern in ("(1 * ", "(0 + "):
        if s.startswith(pattern) and s.endswith(")") and _balanced(s[len(pattern) : -1]):
            return Text(s[len(pattern) : -1])
    if s.endswith(" * 1)") and _balanced(s[1:-5]):
        return Text(s[1:-5])
    return text


def _balanced(s: str) -> bool:
    depth = 0
    for c in s:
        depth += (c == "(") - (c == ")")
        if depth < 0 or (depth == 0 and c == " "):
            return False
    return depth == 0


__all__ = ["derivative_graph", "formula"]

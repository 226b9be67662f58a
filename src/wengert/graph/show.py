"""A graph as a Python program, and back.

``str(graph)`` is valid Python: one line a node, shapes as annotations, the user's line as a comment,
sub-graphs as functions before the one that uses them. `from_python` runs it and gives the graph again.
"""

from __future__ import annotations

import base64 as codec
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, message
from .aval import Aval
from .graph import Graph
from .handle import wrap
from .node import ITEM, Node

_SHORT = {d.short: d for d in dt.ALL}
_AVAL = re.compile(r"(\w+)\[([\d,]*)\]")
_INLINE_LIMIT = 16  # constants with more elements are printed as base64


def parse_aval(text: str) -> Aval:
    """``f32[3,4]`` as an Aval."""
    found = _AVAL.fullmatch(text)
    if found is None or found[1] not in _SHORT:
        raise ArgumentError(message("graph", "not an aval", repr(text), "Write it like f32[3,4]"))
    return Aval(tuple(int(n) for n in found[2].split(",") if n), _SHORT[found[1]].np)


def _avals_text(avals: Any) -> str:
    return str(avals) if isinstance(avals, Aval) else ", ".join(map(str, avals))


class _Printer:
    """Prints graphs; equal sub-graphs are printed once, objects that have no text get a name."""

    def __init__(self) -> None:
        self.functions: list[str] = []
        self.names: dict[int, str] = {}
        self.objects: dict[str, Any] = {}
        self.taken: set[str] = set()

    def unique(self, name: str) -> str:
        base = re.sub(r"\W+", "_", name).strip("_") or "graph"
        if not base[0].isalpha():
            base = f"g_{base}"
        found, k = base, 1
        while found in self.taken:
            k += 1
            found = f"{base}_{k}"
        self.taken.add(found)
        return found

    def graph(self, graph: Graph, name: str | None = None) -> str:
        """Print a graph as a function; returns the function's name."""
        known = self.names.get(id(graph))
        if known is not None:
            return known
        lines: list[str] = []
        env: dict[int, str] = {}
        params: list[str] = []
        for i, n in enumerate(graph.inputs):
            var = env[n.seq] = f"x{i}" if i < len(graph.args) else f"captured{i - len(graph.args)}"
            params.append(f'{var}: "{n.aval}"')
        count = 0
        for n in graph.nodes:
            env[n.seq] = var = f"c{count}" if n.op is None else f"v{count}"
            count += 1
            lines.append(f"    {var} = {self.call(n, env)}{_comment(n)}")
        results = ", ".join(env[o.seq] for o in graph.outputs)
        tail = results if graph.single else f"({results}{',' if len(graph.outputs) == 1 else ''})"
        own = self.names[id(graph)] = self.unique(name or graph.name)
        self.functions.append("\n".join([f"def {own}({', '.join(params)}):", *lines, f"    return {tail}"]))
        return own

    def call(self, n: Node, env: dict[int, str]) -> str:
        if n.op is None:
            return _constant(n.value)
        if n.op is ITEM:
            return f"{env[n.inputs[0].seq]}[{n.attrs['index']}]"
        args = [env[x.seq] for x in n.inputs]
        args += [f"{k}={self.attr(v)}" for k, v in n.attrs.items()]
        return f"ops.{n.op.name}({', '.join(args)})"

    def attr(self, value: Any) -> str:
        if isinstance(value, Graph):
            return self.graph(value)
        if isinstance(value, np.dtype):
            return f'dtype("{dt.of(value).name}")'
        if isinstance(value, tuple):
            inner = ", ".join(self.attr(v) for v in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, slice) or value is None or isinstance(value, (bool, int, str)):
            return repr(value)
        if isinstance(value, float):
            return repr(value) if np.isfinite(value) else f'float("{value}")'
        if isinstance(value, complex):
            return repr(value)
        for name, known in self.objects.items():
            if known is value:
                return name
        name = self.unique(type(value).__name__.lower())
        self.objects[name] = value
        return name


def _comment(n: Node) -> str:
    parts = [_avals_text(n.aval)]
    if n.origin:
        parts.append(n.origin)
    if n.scope:
        parts.append(".".join(n.scope))
    return f"  # {'  '.join(parts)}"


def _constant(value: Any) -> str:
    array = np.asarray(value)
    aval = Aval(array.shape, array.dtype)
    exact = array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool(np.isfinite(array).all()))
    if array.size <= _INLINE_LIMIT and exact and array.dtype not in dt.HALF_NP:
        return f'const("{aval}", {array.tolist()!r})'
    return f'const("{aval}", base64="{codec.b64encode(array.tobytes()).decode()}")'


def to_python(graph: Graph) -> str:
    """The graph as a program; the last function is the graph itself."""
    printer = _Printer()
    printer.graph(graph)
    return "\n\n\n".join(printer.functions) + "\n"


def objects_of(graph: Graph) -> dict[str, Any]:
    """The objects without a text (derivative rules) that the printed program refers to by name."""
    printer = _Printer()
    printer.graph(graph)
    return printer.objects


def _read_constant(aval: str, values: Any = None, *, base64: str | None = None) -> Any:
    """A leaf; its handle has no value, so that ops on constants become nodes as they were printed."""
    a = parse_aval(aval)
    if base64 is None:
        array = np.asarray(values, a.dtype).reshape(a.shape)
    else:
        array = np.frombuffer(codec.b64decode(base64), a.dtype).reshape(a.shape).copy()
    return wrap(None, Node(None, (), {}, array, None, False))


class _Ops:
    """``ops.name(*xs, **attrs)`` in a printed program."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from ..ops.base import OPS

        op = OPS[name]

        def call(*xs: Any, **attrs: Any) -> Any:
            return op(*xs, **{k: _as_graph(v) for k, v in attrs.items()})

        return call


def _as_graph(value: Any) -> Any:
    """A printed function stands for its graph."""
    if isinstance(value, tuple):
        return tuple(_as_graph(v) for v in value)
    return trace_printed(value) if callable(value) and hasattr(value, "__annotations__") else value


_traced: dict[int, tuple[Any, Graph]] = {}


def trace_printed(function: Callable[..., Any]) -> Graph:
    """The graph of a printed function; the same one each time."""
    from .trace import trace

    known = _traced.get(id(function))
    if known is None:
        avals = [parse_aval(a) for a in function.__annotations__.values()]
        known = _traced[id(function)] = (function, trace(function, avals, function.__name__))
    return known[1]


def from_python(text: str, **objects: Any) -> Graph:
    """The graph that a printed program describes; runs the text, so only read what you trust.

    Args:
        text: what ``str(graph)`` gave.
        objects: the objects named in it that have no text (see `objects_of`).
    """
    space: dict[str, Any] = {"ops": _Ops(), "const": _read_constant, "dtype": lambda s: dt.by_name(s).np, **objects}
    exec(compile(text, "<wengert graph>", "exec", dont_inherit=True), space)
    functions = [v for v in space.values() if callable(v) and getattr(v, "__annotations__", None) is not None
                 and getattr(getattr(v, "__code__", None), "co_filename", "") == "<wengert graph>"]  # fmt: skip
    if not functions:
        raise ArgumentError(message("graph", "the text defines no function"))
    graph = trace_printed(functions[-1])
    for f in functions:
        _traced.pop(id(f), None)
    return graph

"""What names a compiled graph: two graphs with one fingerprint compute the same, by the same kernels.

It covers ops, attributes, shapes and constants of the graph as traced, the processor, and the library's own source;
not the places in the user's code, so that a script may be edited around a function.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..codegen.target import host
from ..config import LOADED
from ..graph.graph import Graph
from ..graph.node import Node
from ..ops.custom import Rule
from . import llvm

LARGEST = 1 << 24  # bytes of constants that are read

_SOURCE = Path(__file__).resolve().parents[1]
_FOLDERS = ("", "codegen", "graph", "ops", "optimize", "runtime", "schedule")  # what programs are made by


class Unnamed(Exception):
    """A graph holds what has no text: a function, or very large constants."""


def fingerprint(graph: Graph, *options: Any) -> str | None:
    """The name of a graph compiled with such options; None if it has none."""
    source = _source()
    if source is None:
        return None
    try:
        rows = _Text().graph(graph)
    except Unnamed:
        return None
    text = repr((rows, options, host(), llvm.versions(), np.__version__, source))
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _source() -> str | None:
    """The hash of the source; None if it cannot be read, or is not what runs here: it was edited since the start."""
    digest = hashlib.sha256()
    try:
        for folder in _FOLDERS:
            within = os.path.join(_SOURCE, folder)
            for name in sorted([n for n in os.listdir(within) if n.endswith(".py")]):
                with open(os.path.join(within, name), "rb", 0) as file:  # half of the time of a Path and a buffer
                    digest.update(file.read())
                    if os.fstat(file.fileno()).st_mtime > LOADED:
                        return None
    except OSError:
        return None
    return digest.hexdigest()


_DTYPES, _ARRAYS = (np.dtype, dt.dtype), (np.ndarray, np.generic)


@functools.cache
def _name(dtype: np.dtype[Any]) -> str:
    """A dtype's name, which NumPy puts together each time."""
    return dtype.name


class _Text:
    """Graphs as rows of numbers, strings and tuples."""

    def __init__(self) -> None:
        self.graphs: dict[int, int] = {}
        self.bytes = 0

    def graph(self, graph: Graph) -> Any:
        """Inputs and nodes in order, each naming those before by number; only a number if the graph was seen before."""
        if id(graph) in self.graphs:
            return self.graphs[id(graph)]
        self.graphs[id(graph)] = len(self.graphs)
        number = {n.seq: i for i, n in enumerate(graph.inputs)}
        rows: list[Any] = [(len(graph.args), graph.single), [self._aval(n.aval) for n in graph.inputs]]
        for n in graph.nodes:
            number[n.seq] = len(number)
            if n.op is None:
                rows.append((self._aval(n.aval), self._array(n.data)))
            else:
                attrs = [(k, self._attribute(v)) for k, v in n.attrs.items()]
                rows.append((self._op(n), [number[x.seq] for x in n.inputs], attrs))
        rows.append([number[n.seq] for n in graph.outputs])
        return rows

    @staticmethod
    def _op(n: Node) -> str:
        if not type(n.op).__module__.startswith("wengert."):
            raise Unnamed
        return n.op.name

    @staticmethod
    def _aval(aval: Any) -> Any:
        return [_Text._aval(a) for a in aval] if type(aval) is tuple else (aval.shape, _name(aval.dtype))

    def _attribute(self, x: Any) -> Any:
        kind = type(x)
        if kind in (int, str, bool, float, type(None)):
            return x
        if kind is tuple or kind is list:
            return (kind.__name__, *[self._attribute(y) for y in x])
        if isinstance(x, _DTYPES):
            return ("dtype", x.name)
        if isinstance(x, _ARRAYS):
            return self._array(x)
        if kind is slice:
            return ("slice", *[self._attribute(y) for y in (x.start, x.stop, x.step)])
        if isinstance(x, Graph):
            return ("graph", self.graph(x))
        if isinstance(x, Rule):  # says what the derivative is, which is in the graph already
            return "rule"
        raise Unnamed

    def _array(self, x: Any) -> Any:
        self.bytes += x.nbytes
        if self.bytes > LARGEST or x.dtype.hasobject:
            raise Unnamed
        return ("array", x.shape, _name(x.dtype), hashlib.sha256(x.tobytes()).digest())

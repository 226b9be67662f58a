"""Functions given to control flow, traced and closed into graphs.

What a function reads from outside, parameters and symbols of an outer trace too, becomes an
explicit operand, so that gradients and mapped axes reach it. Graphs that are equal are the same
object: what has been derived from a body serves the next call, though the function is traced again.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import dtypes as dt
from .. import tree
from ..errors import ArgumentError, DTypeError, GraphError, ShapeError, TraceError, message
from ..graph.aval import Aval, aval_of
from ..graph.graph import Graph
from ..graph.handle import Handle, node_of, of_node, symbol, wrap
from ..graph.node import NO_ATTRS, Node
from ..graph.trace import Trace, tracing
from ..ops.base import OPS

Mask = tuple[bool, ...]
NUMBERS = (bool, int, float, complex)
_LIMIT = 512  # graphs kept
_CONSTANT_BYTES = 256  # larger constants make a graph unique
_graphs: OrderedDict[Any, Graph] = OrderedDict()


# -- values in and out -------------------------------------------------------------------------


def operand(name: str, x: Any) -> Any:
    """A handle of a tensor, a number or an array."""
    if isinstance(x, Handle):
        return x
    if isinstance(x, NUMBERS):
        return wrap(np.asarray(x, dt.python_dtype(x).np))
    if isinstance(x, (np.ndarray, np.generic)) and x.dtype != object:
        return wrap(np.array(x))
    raise DTypeError(message(name, "operands must be tensors, in nested containers", type(x).__name__))


def flat_operands(name: str, x: Any) -> tuple[list[Any], tree.Structure]:
    """The leaves of a nested container as handles, and its structure."""
    leaves, structure = tree.flatten(x)
    return [operand(name, v) for v in leaves], structure


def fits(number: Any, aval: Aval) -> bool:
    """Whether a Python number can stand for a tensor of that type."""
    kinds = {bool: 0, int: 1, float: 2, complex: 3}
    return not aval.shape and kinds[type(number)] <= dt.of(aval.dtype).category


# -- tracing -----------------------------------------------------------------------------------


class Keys:
    """Random keys of a body: one operand for each draw, folded with the number of the step.

    The body is traced once to see whether it draws; then again with the keys it asked for.
    """

    def __init__(self, bases: Sequence[Any] | None = None) -> None:
        self.bases = bases
        self.asked: list[Any] = []
        self.step: Any = None

    def source(self, generator: Any) -> Any:
        """The key of a draw in the body."""
        self.asked.append(generator)
        if self.bases is None:
            return wrap(np.zeros(2, np.uint64))
        base = self.bases[len(self.asked) - 1]
        return base if self.step is None else folded(base, self.step)


def folded(key: Any, step: Any) -> Any:
    """The key of one step, by drawing it with the key of the loop."""
    count = OPS["add"](OPS["cast"](step, dtype=np.dtype(np.uint64)), wrap(np.array(1, np.uint64)))
    move = OPS["mul"](OPS["expand"](count, shape=(2,), axes=(0,)), wrap(np.array([0, 1 << 32], np.uint64)))
    return OPS["random_bits"](OPS["add"](key, move), shape=(2,), dtype=np.dtype(np.uint64))


def with_keys(make: Callable[[Keys], Any]) -> Any:
    """``make(keys)``, made again with keys from outside if it asked for any."""
    keys = Keys()
    made = make(keys)
    if keys.asked:
        from .random import next_key

        made = make(Keys([next_key(g) for g in keys.asked]))
    return made


class Traced:
    """What a function did with symbols of its arguments.

    ``step``: which symbol is the number of the step; the function does not get it. ``counts``: give
    the next number as a last output. ``outputs``: a node for each leaf of the result, or a Python
    number, which has no dtype yet. ``reads``: the nodes from outside, with a handle to each.
    """

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        avals: Sequence[Aval],
        structure: tree.Structure,
        keys: Keys,
        step: int | None = None,
        counts: bool = False,
    ) -> None:
        self.name = getattr(f, "__name__", name).replace("<lambda>", "body")
        with undoing() as state:
            symbols = [symbol(a, a.dtype in dt.INEXACT_NP) for a in avals]
            self.inputs = tuple([node_of(s) for s in symbols])
            state.key_source, keys.step = keys.source, None if step is None else symbols.pop(step)
            self.outputs, self.structure = self._outputs(name, f(*tree.unflatten(structure, symbols)))
            if counts:
                self.outputs.append(node_of(OPS["add"](keys.step, wrap(np.array(1, np.int64)))))
            _check_writes(name, state)
            nodes = tuple(o for o in self.outputs if isinstance(o, Node))
            graph = Graph(self.inputs, nodes, start=state.start)
            self.reads = {n: of_node(n) for n in graph.captures}
            constants = {n.seq for n in graph.constants}
            # Tensors that somebody outside holds are operands; those made by the function are constants.
            constants = {n.seq for n in graph.constants}
            leaves = [leaf for leaf in state.leaves if leaf[1].seq in constants]
            held = _held(state, [x for x, _ in leaves])
            self.reads |= {n: x for (x, n), h in zip(leaves, held, strict=True) if h}

    def _outputs(self, name: str, out: Any) -> tuple[list[Any], tree.Structure]:
        leaves, structure = tree.flatten(out)
        return [x if isinstance(x, NUMBERS) else node_of(operand(name, x)) for x in leaves], structure


@contextmanager
def undoing() -> Iterator[Trace]:
    """A trace; if it fails, tensors that the function changed are what they were."""
    state = None
    try:
        with tracing() as state:
            yield state
    except BaseException:
        if state is not None:
            state.undo_writes()
        raise


def _held(state: Trace, xs: list[Any]) -> list[bool]:
    """Which handles are held by others than the traces under way (and views that only those hold)."""
    known: Counter[int] = Counter()
    trace: Trace | None = state
    while trace is not None:
        known.update(id(x) for x, *_ in (*trace.leaves, *trace.writes))
        trace = trace.outer
    alone, asked = _references([object()], 0), Counter(map(id, xs))
    views = list({id(x): x for x, _ in state.leaves if x._alias is not None and x._alias.base is not None}.values())
    for i in range(len(views)):
        key = id(views[i])
        if _references(views, i) - alone <= known[key] + asked[key]:
            known[id(views[i]._alias.base)] += 1
    del views
    return [_references(xs, i) - alone > known[id(xs[i])] for i in range(len(xs))]


def _references(xs: list[Any], i: int) -> int:
    return sys.getrefcount(xs[i])


def _check_writes(name: str, state: Trace) -> None:
    """Raise if a body changed a tensor from outside: it would be changed once, not at every step."""
    written = list({id(x): x for x, _, _ in state.writes}.values())
    for i, held in enumerate(_held(state, written)):
        if held:
            raise GraphError(
                message(name, "the function changes a tensor from outside in place", str(written[i].aval),
                        "Make it a carry and return its new value")
            )  # fmt: skip


def resolve(traced: Traced, avals: Sequence[Aval]) -> None:
    """Give the numbers among the outputs the dtypes of ``avals``, where they fit."""
    for i, (o, aval) in enumerate(zip(traced.outputs, avals, strict=True)):
        if not isinstance(o, Node):
            dtype = aval.dtype if fits(o, aval) else dt.python_dtype(o).np
            traced.outputs[i] = Node(None, (), NO_ATTRS, np.asarray(o, dtype), None, False)


def out_avals(traced: Traced) -> list[Aval]:
    """The avals of the outputs; a number has the dtype it would have as a tensor."""
    return [o.aval if isinstance(o, Node) else Aval((), dt.python_dtype(o).np) for o in traced.outputs]


def check_types(name: str, what: str, got: Sequence[Aval], want: Sequence[Aval], texts: tuple[str, str, str]) -> None:
    """Raise unless two lists of avals agree; ``texts``: what the two are, and the cure."""
    here, there, cure = texts
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        if a != b:
            kind = ShapeError if a.shape != b.shape else DTypeError
            thing = "shape" if a.shape != b.shape else "dtype"
            raise kind(message(name, f"{what} {i} differs in {thing}", f"{b} {there}, {a} {here}", cure))


def check_structure(name: str, what: str, got: tree.Structure, want: tree.Structure) -> None:
    """Raise unless two results have the same containers."""
    if got != want:
        raise ArgumentError(message(name, what, f"{got}, expected {want}"))


# -- closing -----------------------------------------------------------------------------------


def close(bodies: Sequence[Traced]) -> tuple[list[Graph], list[Any]]:
    """The bodies as graphs that take what any of them reads first; and handles to that."""
    reads: dict[Node, Any] = {}
    for b in bodies:
        reads.update(b.reads)
    return [_sealed(b, tuple(reads)) for b in bodies], list(reads.values())


def _sealed(traced: Traced, reads: tuple[Node, ...]) -> Graph:
    """A graph of its own nodes; an equal one made before, if there is one."""
    given = (*reads, *traced.inputs)
    source = Graph(given, tuple(traced.outputs))
    key = _key(source, traced.name)
    if key is not None and key in _graphs:
        _graphs.move_to_end(key)
        return _graphs[key]
    graph = _copied(source, traced.name)
    if key is not None:
        _graphs[key] = graph
        if len(_graphs) > _LIMIT:
            _graphs.popitem(last=False)
    return graph


def _copied(source: Graph, name: str) -> Graph:
    """The same graph with nodes of its own, which no history or tensor hangs on."""
    env = {n.seq: Node(None, (), NO_ATTRS, None, n.aval, n.aval.dtype in dt.INEXACT_NP) for n in source.inputs}
    for n in source.nodes:
        if n.op is None:
            value = n.value
            if value is None:
                raise TraceError(
                    message(name, "a tensor of a finished trace was used", str(n.aval),
                            "Return it from the traced function instead of keeping it")
                )  # fmt: skip
            env[n.seq] = Node(None, (), NO_ATTRS, value, None, False)
            continue
        inputs = tuple([env[x.seq] for x in n.inputs])
        env[n.seq] = Node(n.op, inputs, n.attrs, None, n.aval, n.requires_grad, n.code, n.lasti, n.scope)
    return Graph(tuple(env[n.seq] for n in source.inputs), tuple(env[o.seq] for o in source.outputs), name)


def _key(graph: Graph, name: str) -> Any:
    """What two graphs have in common exactly if they mean the same and were written at the same lines."""
    place = {n.seq: i for i, n in enumerate((*graph.inputs, *graph.nodes))}
    parts: list[Any] = [name, graph.in_avals]
    for n in graph.nodes:
        if n.op is None:
            value = n.value
            if value is None or value.nbytes > _CONSTANT_BYTES:
                return None
            parts.append((aval_of(value), value.tobytes()))
        else:
            inputs = tuple([place[x.seq] for x in n.inputs])
            attrs = tuple([(k, _token(v)) for k, v in n.attrs.items()])
            parts.append((n.op.name, attrs, inputs, n.requires_grad, id(n.code), n.lasti, n.scope))
    parts.append(tuple([place[o.seq] for o in graph.outputs]))
    try:
        key = tuple(parts)
        hash(key)
    except TypeError:
        return None
    return key


def _token(value: Any) -> Any:
    """An attribute such that 0.0 and -0.0, 1 and True are not the same."""
    if type(value) is tuple:
        return tuple([_token(v) for v in value])
    return (type(value), repr(value)) if isinstance(value, NUMBERS) else value


def common_length(arrays: Sequence[Any], length: int | None) -> int:
    """The number of steps."""
    sizes = set()
    for x in arrays:
        if not x.aval.shape:
            raise ShapeError(message("scan", "xs must have a first axis to run over", str(x.aval)))
        sizes.add(x.aval.shape[0])
    if len(sizes) > 1:
        seen = ", ".join(str(x.aval) for x in arrays)
        raise ShapeError(message("scan", "the first sizes of xs differ", seen))
    if length is None:
        if not sizes:
            raise ArgumentError(message("scan", "needs xs or length"))
        return sizes.pop()
    n = int(length)
    if n < 0 or (sizes and sizes != {n}):
        raise ArgumentError(message("scan", "length does not fit", f"length {n}, xs of {sizes.pop() if sizes else 0}"))
    return n

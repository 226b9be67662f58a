"""``wg.compile(f, check=True)``: each call runs in eager mode too, and the first op that differs is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dtypes as dt
from . import tree
from .capturing import ArgumentSlot, Output
from .errors import CheckError, message
from .graph.alias import owned_base
from .graph.capture import EntrySlot, PlaceSlot
from .graph.graph import Graph
from .graph.handle import Handle
from .graph.node import ITEM, NO_ATTRS, Node
from .ops.base import Linear, Reduce

# How far compiled values may be from eager ones, relative to the largest element, by dtype.
TOLERANCE = {
    np.dtype(np.float32): 2e-4, np.dtype(np.float64): 1e-9, np.dtype(np.float16): 2e-2, dt.bfloat16.np: 1e-1,
    np.dtype(np.complex64): 2e-4, np.dtype(np.complex128): 1e-9,
}  # fmt: skip


class Snapshot:
    """The state that a step changes, and the arguments, so that a call can be made twice from the same start."""

    def __init__(self, step: Any, arrays: Sequence[Any]) -> None:
        captured = step.captured
        slots = (*captured.slots, *captured.written)
        held = [s.get() for s in slots if hasattr(s, "get")]
        held = [h for h in (*held, *arrays) if isinstance(h, Handle)]
        self.tensors = list({id(h): h for h in held}.values())
        self.values = [np.array(_value(h)) for h in self.tensors]
        self.grads = [(sink, sink.grad) for sink, _ in captured.grads]
        entries = [(s.owner.state[s.keys[0]], s.keys[1]) for s in slots if isinstance(s, EntrySlot)]
        places = [(s.table, s.key) for s in captured.written if isinstance(s, PlaceSlot)]
        self.bound = [(table, key, table.get(key)) for table, key in (*places, *entries)]
        # What is bound anew, or a gradient that something is added to, may be the same tensor in one mode alone.
        self.own = {id(x): ("bound", id(table), key) for table, key, x in self.bound}
        self.own |= {id(x): ("grad", id(sink)) for sink, x in self.grads}
        self.settings = [(slot, slot.get()) for slot, _ in captured.settings]
        self.generators = [(g, g._offset) for g in {id(g): g for g in captured.draws}.values()]

    def seen(self, result: Any) -> dict[Any, np.ndarray]:
        """What a call gave and left behind."""
        out = {("result", i): x for i, x in enumerate(tree.leaves(result)) if isinstance(x, Handle)}
        out |= {self.name(x): x for x in self.tensors if id(x) not in self.own}
        out |= {("bound", id(table), key): table.get(key) for table, key, _ in self.bound}
        out |= {("grad", id(sink)): sink.grad for sink, _ in self.grads}
        return {name: np.array(_value(x)) for name, x in out.items() if x is not None}

    def name(self, x: Any) -> Any:
        """What `seen` calls a tensor that was there at the start."""
        return self.own.get(id(x), ("tensor", id(x)))

    def names(self, step: Any, arrays: Sequence[Any]) -> list[list[Any]]:
        """For each output of the graph what `seen` calls it."""
        captured = step.captured
        results = max([r for r in captured.results if type(r) is Output], default=-1) + 1
        out: list[list[Any]] = [[] for _ in range(results)]
        for i, r in enumerate(captured.results):
            if type(r) is Output:
                out[r].append(("result", i))
        for s in captured.written:
            x = arrays[s.index] if isinstance(s, ArgumentSlot) else s.get()
            out.append([("bound", id(s.table), s.key) if isinstance(s, PlaceSlot) else self.name(x)])
        return out + [[("grad", id(sink))] for sink, there in captured.grads if there]

    def restore(self) -> None:
        """Go back to the start."""
        for x, value in zip(self.tensors, self.values, strict=True):
            if isinstance(x, Handle):
                owned_base(x)
            np.copyto(_value(x), value)
        for sink, grad in self.grads:
            sink.grad = grad
        for table, key, x in self.bound:
            table[key] = x
        for slot, value in self.settings:
            slot.set(value)
        for g, offset in self.generators:
            g._offset = offset


def _value(x: Any) -> Any:
    return x._value if isinstance(x, Handle) else x


def checked_call(f: Callable[..., Any], step: Any, args: Any, kwargs: Any, arrays: Sequence[Any]) -> Any:
    """Run eagerly, go back, run compiled, and compare results and state.

    Raises:
        CheckError: they differ by more than rounding explains; names the first op that does, and the user's line.
    """
    before = Snapshot(step, arrays)
    expected = before.seen(f(*args, **kwargs))
    before.restore()
    values, names = inputs_of(step, arrays), before.names(step, arrays)
    out = step(arrays)
    found = before.seen(out)
    if not _agree(expected, found, {}):
        why = first_difference(step, values)
        spread = {} if why else {k: s for ks, s in zip(names, _spread(step, values), strict=True) for k in ks}
        if why or not _agree(expected, found, spread):
            raise CheckError(message("compile", *(why or _NO_OP)))
    return out


_NO_OP = (
    "the compiled function differs from eager mode", "by more than rounding explains, but each op by itself agrees",
    "Please report it",
)  # fmt: skip


def _agree(expected: dict[Any, np.ndarray], found: dict[Any, np.ndarray], spread: dict[Any, np.ndarray]) -> bool:
    """Whether all values agree; ``spread``: how far apart they are in runs that round otherwise."""
    for name, a in expected.items():
        b = found.get(name)
        if b is None or a.shape != b.shape or a.dtype != b.dtype:
            return False
        if name in spread and a.dtype in TOLERANCE:
            b = np.where(_distance(a, b) <= AMPLE * spread[name], a, b)
        if not close(a, b):
            return False
    return len(expected) == len(found)


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)  # NumPy subtracts no bfloat16 in another type


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(_wide(a) - _wide(b))


SEEDS, AMPLE = 4, 8.0  # runs with results of ops that are a unit of rounding away, and how much further programs may be


def _spread(step: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    """How far apart the graph's outputs are when the result of each op is a unit of rounding more or less.

    Source: Vignes, "A stochastic arithmetic for reliable scientific computation", 1993.
    """
    from .optimize.pipeline import simplify

    flat = simplify(step.captured.graph)
    runs = [_run(flat, values, None if seed == 0 else np.random.default_rng(seed)) for seed in range(SEEDS + 1)]
    spread: list[np.ndarray] = []
    for first, *others in zip(*runs, strict=True):
        far = [_distance(x, first) for x in others] if first.dtype in TOLERANCE else []
        spread.append(np.nan_to_num(np.maximum.reduce([np.zeros(first.shape), *far])))
    return spread


def _run(flat: Graph, values: list[np.ndarray], moved: np.random.Generator | None) -> list[np.ndarray]:
    """The outputs by NumPy; ``moved``: draws by which floats are moved up or down on the way."""

    def shifted(x: Any) -> Any:
        dtype = np.asarray(x).dtype
        if moved is None or dtype not in TOLERANCE:
            return x
        unit = float(dt.finfo(dtype).eps)
        wide = np.promote_types(dtype, np.float32)
        return (np.asarray(x, wide) * (1 + unit * moved.choice([-1, 1], np.shape(x)))).astype(dtype)

    known: dict[int, Any] = {n.seq: x for n, x in zip(flat.inputs, values, strict=True)}
    with np.errstate(all="ignore"):
        for n in flat.nodes:
            if n.op is ITEM:
                known[n.seq] = known[n.inputs[0].seq][n.attrs["index"]]
            elif n.op is not None:
                out = n.op.numpy(*[known[x.seq] for x in n.inputs], **n.attrs)
                known[n.seq] = tuple(map(shifted, out)) if isinstance(out, (tuple, list)) else shifted(out)
            else:
                known.setdefault(n.seq, n.value)
    return [np.asarray(known[n.seq]) for n in flat.outputs]


def inputs_of(step: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    """The values of the graph's inputs before a call."""
    inner = getattr(step, "forward", step)
    captured = step.captured
    for i, slot in enumerate(captured.numbers):
        inner.numbers[i] = slot.get()
    for taken in inner.draw_keys():
        taken[0].give_back(*taken[1:])
    given = [*[getattr(a, "_value", a) for a in arrays], *[s.get()._value for s in captured.slots]]
    return [np.array(x) for x in (*given, *[x for x, _ in inner.own])]


def close(a: np.ndarray, b: np.ndarray, least: float = 1e-6) -> bool:
    """Whether two values agree within what rounding explains; ``least``: how large the terms of sums were at least."""
    tolerance = TOLERANCE.get(a.dtype)
    if tolerance is None or not a.size:
        return bool(np.array_equal(a, b))
    a, b = _wide(a), _wide(b)
    finite = np.abs(a[np.isfinite(a)])
    scale = max(float(finite.max()) if finite.size else 0.0, least)
    return bool(np.allclose(b, a, rtol=tolerance, atol=tolerance * scale, equal_nan=True))


def first_difference(step: Any, values: list[np.ndarray]) -> tuple[str, str, str] | None:
    """The first op of the traced graph whose compiled value is not NumPy's, each on the same operands; else None."""
    from .optimize.pipeline import simplify
    from .runtime.eager import Native
    from .runtime.program import Program
    from .runtime.scheduling import Schedule

    flat = simplify(step.captured.graph)
    nodes: list[Node] = [n for n in flat.nodes if n.op is not None and type(n.aval) is not tuple]
    expected = Graph(flat.inputs, tuple(nodes), "check").numpy(*values)
    alone = _apart(flat, nodes)
    blueprint = Schedule(alone, passes=False).blueprint()
    run = Native(Program(blueprint, alone.in_avals, alone.out_avals, alone))
    given = [np.asarray(v, order="C") for v in (*values, *expected)]
    outs = run(*given)
    known = {n.seq: v for n, v in zip((*flat.inputs, *nodes), given, strict=True)}
    for n, a, b in zip(nodes, expected, outs, strict=True):
        if not close(np.asarray(a), b, _terms(n, known)):
            seen = f"{n.name} {n.aval} made at {n.origin}: compiled {_some(b)}, eager {_some(np.asarray(a))}"
            return "the compiled function differs from eager mode, first in", seen, "Please report it"
    return None


def _apart(flat: Graph, nodes: list[Node]) -> Graph:
    """The graph (inputs, values of nodes) -> values of nodes, each from those of its operands."""
    leaves: dict[int, Node] = {n.seq: Node(None, (), NO_ATTRS, None, n.aval, n.requires_grad) for n in nodes}
    made: dict[int, Node] = {}
    for n in flat.nodes:
        if n.op is not None:
            inputs: list[Any] = [leaves[x.seq] if x.seq in leaves else made.get(x.seq, x) for x in n.inputs]
            made[n.seq] = Node(n.op, tuple(inputs), n.attrs, None, n.aval, n.requires_grad, n.code, n.lasti, n.scope)
    return Graph((*flat.inputs, *leaves.values()), tuple([made[n.seq] for n in nodes]), "check")


def _terms(n: Node, known: dict[int, np.ndarray]) -> float:
    """How large the terms are that an op adds up, for where they cancel, rounding is all that is left."""
    xs = [known.get(x.seq) for x in n.inputs]
    if not isinstance(n.op, Linear | Reduce) or not all(x is not None and x.dtype in TOLERANCE for x in xs):
        return 1e-6
    with np.errstate(all="ignore"):
        total = np.asarray(n.op.numpy(*[np.abs(x) for x in xs if x is not None], **n.attrs))
    finite = np.abs(total[np.isfinite(total)])
    return max(float(finite.max(initial=0)), 1e-6)


def _some(x: np.ndarray) -> str:
    return np.array2string(x.reshape(-1)[:4], precision=6, separator=", ")

"""Control flow that is part of the graph: `cond`, `switch`, `while_loop`, `scan`, `fori_loop`, `map_loop`.

Each is one node that holds its bodies as graphs. It computes at once, can be traced, and has every
mode: tangents, adjoints and mapped axes of a loop are loops again, in any nesting. What a body reads
from outside (parameters, say) gets its gradient too. Bodies are traced: they must not look at values,
and are run again for every call, but what was derived from them is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.aval import Aval
from ..graph.graph import Graph
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from .control_bodies import (
    Keys,
    Traced,
    check_structure,
    check_types,
    close,
    common_length,
    flat_operands,
    operand,
    out_avals,
    resolve,
    with_keys,
)

COUNT = Aval((), np.dtype(np.int64))
_BRANCH_CURE = "All branches must give the same shapes and dtypes"
_CARRY_CURE = "The carries must keep their shapes and dtypes; convert what the body returns, or the first carry"


# -- choosing ----------------------------------------------------------------------------------


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *args: Any, operands: Any = None) -> Any:
    """``true_fn(*operands)`` where ``pred`` holds, else ``false_fn(*operands)``.

    Args:
        pred: a bool tensor with one element, or a Python bool, which chooses at once.
        true_fn: a function of the operands.
        false_fn: another; their results must have the same containers, shapes and dtypes.
        *args: the operands one after the other, as in JAX; or as one tuple, as in PyTorch.
        operands: the tuple, by name.

    Only the chosen function runs, forward and backward. Under vmap with a mapped ``pred`` each function
    runs once on all elements, with elements that chose it in place of those that did not, so that an
    infinite derivative outside of its domain never becomes a NaN.

    Raises:
        ShapeError, DTypeError: the results differ, or ``pred`` is not one bool.

    >>> import wengert as wg
    >>> x = wg.tensor(-4.0, requires_grad=True)
    >>> y = wg.cond(x > 0, lambda x: x.sqrt(), lambda x: 3 * x, (x,))
    >>> y.backward()
    >>> y.item(), x.grad.item()
    (-12.0, 3.0)
    """
    pred = _predicate(pred)
    graphs, values, structure = _branches("cond", (true_fn, false_fn), _operands("cond", args, operands))
    if isinstance(pred, bool):
        return tree.unflatten(structure, graphs[0 if pred else 1].replay(values))
    out = apply(OPS["cond"], (pred, *values), {"true": graphs[0], "false": graphs[1]})
    return tree.unflatten(structure, out)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *args: Any, operands: Any = None) -> Any:
    """``branches[index](*operands)``; an index out of range is clamped to the first or last branch.

    Args:
        index: an integer tensor with one element, or an int, which chooses at once.
        branches: functions of the operands, whose results have the same containers, shapes, dtypes.
        *args: the operands one after the other, or as one tuple.
        operands: the tuple, by name.

    >>> import wengert as wg
    >>> x = wg.tensor(2.0)
    >>> fs = [lambda x: x, lambda x: x * x, lambda x: -x]
    >>> [wg.switch(wg.tensor(k), fs, (x,)).item() for k in range(4)]
    [2.0, 4.0, -2.0, -2.0]
    """
    branches = tuple(branches)
    if not branches:
        raise ArgumentError(message("switch", "needs at least one branch"))
    if not isinstance(index, int):
        index = _one_element("switch", "the index", index)
        if index.aval.dtype.kind not in "iu":
            raise DTypeError(message("switch", "the index must be an integer", str(index.aval)))
    graphs, values, structure = _branches("switch", branches, _operands("switch", args, operands))
    if isinstance(index, int):
        chosen = graphs[min(max(index, 0), len(graphs) - 1)]
        return tree.unflatten(structure, chosen.replay(values))
    attrs = {f"branch{k}": graph for k, graph in enumerate(graphs)}
    return tree.unflatten(structure, apply(OPS["switch"], (index, *values), attrs))


def _operands(name: str, args: tuple[Any, ...], operands: Any) -> tuple[Any, ...]:
    """The operands of either calling form, as a tuple."""
    if operands is not None:
        if args:
            raise ArgumentError(message(name, "operands were given twice"))
        args = (operands,)
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args


def _one_element(name: str, what: str, x: Any) -> Any:
    """A 0-d handle."""
    x = operand(name, x)
    if x.aval.shape == ():
        return x
    if x.aval.size != 1:
        raise ShapeError(message(name, f"{what} must have one element", str(x.aval)))
    return apply(OPS["reshape"], (x,), {"shape": ()})


def _predicate(pred: Any) -> Any:
    """A Python bool, or a 0-d bool handle."""
    if isinstance(pred, (bool, np.bool_)):
        return bool(pred)
    if not isinstance(pred, Handle):
        raise DTypeError(message("cond", "the predicate must be a bool or a tensor", type(pred).__name__))
    if pred.aval.dtype != np.bool_:
        raise DTypeError(message("cond", "the predicate must be a bool", str(pred.aval), "Compare it, as in x != 0"))
    if pred.aval.size != 1:
        raise ShapeError(
            message("cond", "the predicate must have one element", str(pred.aval),
                    "Use pred.any() or pred.all(), or wg.where to choose element by element")
        )  # fmt: skip
    return _one_element("cond", "the predicate", pred)


def _branches(
    name: str, functions: Sequence[Callable[..., Any]], given: tuple[Any, ...]
) -> tuple[list[Graph], list[Any], tree.Structure]:
    """The functions as graphs of one type, their operands, and the structure of the result."""
    leaves, structure = flat_operands(name, given)
    avals = [x.aval for x in leaves]
    traced = with_keys(lambda keys: [Traced(name, f, avals, structure, keys) for f in functions])
    first = traced[0]
    for other in traced[1:]:
        check_structure(name, "the branches return different containers", other.structure, first.structure)
    for i in range(len(first.outputs)):  # numbers take the dtype of the tensors they meet
        typed = [out_avals(t)[i] for t in traced if not isinstance(t.outputs[i], (bool, int, float, complex))]
        for t in traced if typed else ():
            resolve(t, [typed[0] if j == i else a for j, a in enumerate(out_avals(t))])
    for t in traced:
        resolve(t, out_avals(t))
    for k, other in enumerate(traced[1:], 1):
        texts = (f"in branch {k} ({other.name})", f"in branch 0 ({first.name})", _BRANCH_CURE)
        check_types(name, "output", out_avals(other), out_avals(first), texts)
    graphs, reads = close(traced)
    return graphs, [*reads, *leaves], first.structure


# -- loops of unknown length -------------------------------------------------------------------


def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any) -> Any:
    """Apply ``body_fn`` to the carries while ``cond_fn`` of them holds; returns the last carries.

    Args:
        cond_fn: ``cond_fn(*carries)`` gives one bool.
        body_fn: ``body_fn(*carries)`` gives new carries in the same containers, shapes and dtypes.
        carried_inputs: a tuple (or list) of tensors and nested containers of tensors. Anything else is
            one carry, which both functions take and ``body_fn`` returns.

    The number of steps may depend on the data, and the loop has a reverse mode all the same. Its memory
    is proportional to the number of steps if something requires grad, else constant. Under vmap
    the loop runs until the last element is done; the others keep their carries.

    Raises:
        ShapeError, DTypeError: a carry changes its shape or dtype.

    >>> import wengert as wg
    >>> a = wg.tensor(2.0, dtype=wg.float64, requires_grad=True)
    >>> one = wg.ones((), dtype=wg.float64)
    >>> (root,) = wg.while_loop(lambda x: abs(x * x - a) > 1e-12, lambda x: (x + a / x) / 2, (one,))
    >>> root.backward()
    >>> round(root.item(), 9), round(a.grad.item(), 9)
    (1.414213562, 0.353553391)
    """
    starred = isinstance(carried_inputs, (tuple, list))
    given = tuple(carried_inputs) if starred else (carried_inputs,)
    leaves, structure = flat_operands("while_loop", given)
    if not leaves:
        raise ArgumentError(message("while_loop", "needs at least one carry"))
    graphs, reads, counted = with_keys(lambda keys: _loop(keys, cond_fn, body_fn, leaves, structure))
    first = [*leaves, wrap(np.array(0, np.int64))] if counted else leaves
    attrs = {"cond": graphs[0], "body": graphs[1], "consts": len(reads), "carries": (len(first),)}
    attrs["reverse"] = (False,)
    out = apply(OPS["while_loop"], (*reads, *first), attrs)
    found = tree.unflatten(structure, out[: len(leaves)])
    return found if starred else found[0]


def _loop(
    keys: Keys, cond_fn: Any, body_fn: Any, leaves: list[Any], structure: tree.Structure
) -> tuple[list[Graph], list[Any], bool]:
    """Condition and body as graphs, what they read, and whether they count the steps (for random keys)."""
    counted = keys.bases is not None
    carries = [x.aval for x in leaves]
    avals = [*carries, COUNT] if counted else carries
    step = len(carries) if counted else None
    test = Traced("while_loop", cond_fn, avals, structure, keys, step)
    body = Traced("while_loop", body_fn, avals, structure, keys, step, counted)
    _check_condition(test)
    check_carries("while_loop", body, body.structure, structure, avals)
    graphs, reads = close([test, body])
    return graphs, reads, counted


def check_carries(name: str, body: Traced, got: tree.Structure, want: tree.Structure, avals: Sequence[Aval]) -> None:
    """Raise unless a body returns carries like those it takes, first among its outputs."""
    bare = len(want.children) == 1 and got == want.children[0]
    as_list = got.kind is list and got.children == want.children
    if not (bare or as_list):
        check_structure(name, "the body returns other containers than it takes", got, want)
    n = len(avals)
    resolve(body, [*avals, *out_avals(body)[n:]])
    check_types(name, "carry", out_avals(body)[:n], avals, ("after the step", "before it", _CARRY_CURE))


def _check_condition(test: Traced) -> None:
    """The condition must give one bool."""
    resolve(test, out_avals(test))
    avals = out_avals(test)
    if len(avals) != 1 or avals[0].shape or avals[0].dtype != np.bool_:
        kind = ShapeError if len(avals) != 1 or avals[0].shape else DTypeError
        seen = ", ".join(map(str, avals)) or "nothing"
        raise kind(message("while_loop", "the condition must be one bool", seen, "Use a comparison, .any() or .all()"))


# -- loops of known length ---------------------------------------------------------------------


def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    *,
    checkpoint: bool | int = False,
) -> tuple[Any, Any]:
    """Apply ``f(carry, x) -> (carry, y)`` along the first axis of ``xs``.

    Args:
        f: takes the carry and a slice of ``xs``; returns the new carry, in the same containers, shapes
            and dtypes, and a result, in any containers (None for nothing).
        init: the first carry, in any containers.
        xs: tensors of equal first size, in any containers; None for none, then ``length`` is needed.
        length: the number of steps.
        reverse: run from the last slice to the first. The stacked results are in the order of the slices.
        checkpoint: for the reverse sweep, keep the carry of every so many steps only (True: the square
            root of the length) and run the steps in between again: memory for 2 sqrt(n) steps instead
            of n, for one more forward pass.

    Returns:
        The last carry, and the results stacked along a new first axis.

    Raises:
        ShapeError, DTypeError: a carry changes its shape or dtype; first sizes differ.

    >>> import wengert as wg
    >>> total, sums = wg.scan(lambda s, x: (s + x, s + x), wg.tensor(0.0), wg.tensor([1.0, 2.0, 3.0]))
    >>> sums
    tensor([1., 3., 6.])
    """
    carry, carry_structure = flat_operands("scan", init)
    arrays, slice_structure = flat_operands("scan", xs)
    n = common_length(arrays, length)
    if checkpoint is not False and n:
        step = math.isqrt(n - 1) + 1 if checkpoint is True else int(checkpoint)
        return _in_chunks(f, init, arrays, slice_structure, n, reverse, step)
    structure = tree.Structure(tuple, 2, (carry_structure, slice_structure))
    graph, reads, counted, ys = with_keys(lambda keys: _scan_body(keys, f, carry, arrays, structure))
    if counted:
        arrays = [*arrays, wrap(np.arange(n))]
    attrs = {"body": graph, "consts": len(reads), "carries": len(carry), "length": n}
    attrs |= {"reverse": bool(reverse), "keep": ()}
    out = apply(OPS["scan"], (*reads, *carry, *arrays), attrs)
    return tree.unflatten(carry_structure, out[: len(carry)]), tree.unflatten(ys, out[len(carry) :])


def _scan_body(
    keys: Keys, f: Callable[..., Any], carry: list[Any], arrays: list[Any], structure: tree.Structure
) -> tuple[Graph, list[Any], bool, tree.Structure]:
    """The body as a graph, what it reads, whether it counts the steps, and the structure of its ys."""
    counted = keys.bases is not None
    carries = [x.aval for x in carry]
    avals = [*carries, *[x.aval.with_shape(x.aval.shape[1:]) for x in arrays]]
    step = len(avals) if counted else None
    body = Traced("scan", f, [*avals, COUNT] if counted else avals, structure, keys, step)
    pair = body.structure
    if pair.kind not in (tuple, list) or len(pair.children) != 2:
        raise ArgumentError(message("scan", "the body must return (carry, y)", repr(pair)))
    check_structure("scan", "the body returns another carry than it takes", pair.children[0], structure.children[0])
    check_carries("scan", body, pair.children[0], pair.children[0], carries)
    (graph,), reads = close([body])
    return graph, reads, counted, pair.children[1]


def _in_chunks(
    f: Callable[..., Any],
    init: Any,
    arrays: list[Any],
    structure: tree.Structure,
    n: int,
    reverse: bool,
    step: int,
) -> tuple[Any, Any]:
    """A scan of scans: the adjoint of the outer one runs each inner one again."""
    if step < 1:
        raise ArgumentError(message("scan", "checkpoint must be positive", str(step)))
    chunks = n // step
    whole = chunks * step

    def chunk(carry: Any, slices: Any) -> Any:
        return scan(f, carry, slices, step, reverse)

    def blocks(x: Any) -> Any:
        x = part(x, 0, whole)
        return apply(OPS["reshape"], (x,), {"shape": (chunks, step, *x.aval.shape[1:])})

    def flat(y: Any) -> Any:
        return apply(OPS["reshape"], (y,), {"shape": (whole, *y.aval.shape[2:])})

    def run_whole(carry: Any) -> Any:
        carry, ys = scan(chunk, carry, tree.unflatten(structure, [blocks(x) for x in arrays]), chunks, reverse)
        return carry, tree.map(flat, ys)

    def run_rest(carry: Any) -> Any:
        return scan(f, carry, tree.unflatten(structure, [part(x, whole, n) for x in arrays]), n - whole, reverse)

    if whole == n:
        return run_whole(init)
    first, second = (run_rest, run_whole) if reverse else (run_whole, run_rest)
    carry, ys = first(init)
    carry, more = second(carry)
    head, tail = (more, ys) if reverse else (ys, more)
    return carry, tree.map(lambda a, b: apply(OPS["cat"], (a, b), {"axis": 0}), head, tail)


def part(x: Any, start: int, stop: int | None, step: int = 1) -> Any:
    """x[start:stop:step] along the first axis."""
    spec = ((start, stop, step), *[(0, n, 1) for n in x.aval.shape[1:]])
    return apply(OPS["slice"], (x,), {"spec": spec})


def fori_loop(lower: Any, upper: Any, body_fun: Callable[..., Any], init_val: Any) -> Any:
    """``for i in range(lower, upper): val = body_fun(i, val)``; returns the last value.

    Args:
        lower: the first i.
        upper: the end; if both are ints the loop has a known length and is a `scan`, else a `while_loop`.
        body_fun: takes an int64 tensor and the value; returns a value in the same containers, shapes, dtypes.
        init_val: the first value, in any containers.

    >>> import wengert as wg
    >>> wg.fori_loop(0, 5, lambda i, s: s + i, wg.tensor(0)).item()
    10
    """
    if isinstance(lower, (int, np.integer)) and isinstance(upper, (int, np.integer)):
        steps = wrap(np.arange(int(lower), max(int(lower), int(upper)), dtype=np.int64))
        return scan(lambda val, i: (body_fun(i, val), None), init_val, steps)[0]
    bounds = []
    for what, x in (("the lower bound", lower), ("the upper bound", upper)):
        x = _one_element("fori_loop", what, x)
        if x.aval.dtype.kind not in "iu":
            raise DTypeError(message("fori_loop", f"{what} must be an integer", str(x.aval)))
        bounds.append(apply(OPS["cast"], (x,), {"dtype": np.dtype(np.int64)}))
    first, last = bounds

    def body(i: Any, val: Any) -> Any:
        return apply(OPS["add"], (i, wrap(np.array(1, np.int64)))), body_fun(i, val)

    return while_loop(lambda i, val: apply(OPS["lt"], (i, last)), body, (first, init_val))[1]


def map_loop(f: Callable[..., Any], xs: Any) -> Any:
    """``f`` of each slice along the first axis of ``xs``, one after the other; results stacked.

    As `vmap`, with memory for one slice at a time.

    >>> import wengert as wg
    >>> wg.map_loop(lambda x: x.sum(), wg.ones(3, 2))
    tensor([2., 2., 2.])
    """
    return scan(lambda _, x: (None, f(x)), None, xs)[1]


__all__ = ["cond", "fori_loop", "map_loop", "scan", "switch", "while_loop"]

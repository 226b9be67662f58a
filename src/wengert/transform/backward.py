"""`Tensor.backward` and `autograd.grad`: the reverse sweep as PyTorch offers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import dtypes as dt
from ..config import STATE, set_grad_enabled
from ..errors import ArgumentError, GraphError, ShapeError, message
from ..graph.handle import Handle, lift, node_of, wrap
from ..graph.node import Node
from .deliver import deliver_arrays
from .reverse import add_to, run_reverse, seed_for


def _sequence(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]


def _seeds(name: str, outs: Sequence[Handle], given: Any) -> list[Any]:
    """Adjoints of the outputs, checked."""
    seeds = [None] * len(outs) if given is None else _sequence(given)
    if len(seeds) != len(outs):
        raise ArgumentError(
            message(name, "one gradient an output is needed", f"{len(outs)} outputs, {len(seeds)} given")
        )
    checked: list[Any] = []
    for out, seed in zip(outs, seeds, strict=True):
        aval = out.aval
        if seed is None:
            if aval.shape and aval.size != 1:
                raise GraphError(
                    message(name, "a gradient is needed for an output that is not a scalar", str(aval),
                            "Reduce it first, for example loss.sum(), or pass gradient=")
                )  # fmt: skip
            if aval.dtype in dt.COMPLEX_NP:
                raise GraphError(
                    message(name, "a gradient is needed for a complex output", str(aval),
                            "Make it real first, for example with .abs(), or pass gradient=")
                )  # fmt: skip
            checked.append(None)
            continue
        seed = lift(seed, out)
        if seed.aval.shape != aval.shape:
            raise ShapeError(message(name, "the gradient must be shaped like the output", f"{seed.aval} for {aval}"))
        if seed.aval.dtype != aval.dtype:
            from ..ops.base import OPS

            seed = OPS["cast"](seed, dtype=aval.dtype)
        checked.append(seed)
    return checked


def _frees(retain: bool) -> bool:
    """Whether a sweep lets go of the graph behind it; a trace keeps the graph, and is told."""
    if STATE.trace is not None and not retain:
        STATE.trace.saw_backward()
    return not retain and STATE.recorder is None and STATE.trace is None


def _check_outputs(name: str, outs: Sequence[Any]) -> None:
    for out in outs:
        if not isinstance(out, Handle):
            raise ArgumentError(message(name, "outputs must be tensors", type(out).__name__))
        if out._node is None or not out._node.requires_grad:
            raise GraphError(
                message(name, "the tensor does not require grad and has no graph behind it", str(out.aval),
                        "Make an input with requires_grad=True, and do not leave grad mode or detach on the way")
            )  # fmt: skip


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Sum the gradients of ``tensors`` into ``.grad`` of the leaves (or of ``inputs`` only).

    Args:
        tensors: one tensor or several.
        grad_tensors: their adjoints, shaped like them; optional for scalars.
        retain_graph: keep the graph for another backward; default ``create_graph``.
        create_graph: record the gradients themselves.
        inputs: accumulate only into these.
    """
    if grad_tensors is None and inputs is None and not create_graph and isinstance(tensors, Handle):
        node, value = tensors._node, tensors._value
        if value is not None and value.size == 1 and node is not None and node.requires_grad:
            mode = STATE.mode
            if not mode.watchers and value.dtype.kind != "c":
                run = mode.sweep
                if run is None:  # `quietly`, written out
                    deliver_arrays(node, seed_for(tensors), not retain_graph)
                    return
                mode.sweep = None
                try:
                    run(deliver_arrays, node, seed_for(tensors), not retain_graph)
                finally:
                    mode.sweep = run
                return
    outs = _sequence(tensors)
    _check_outputs("backward", outs)
    seeds = _seeds("backward", outs, grad_tensors)
    free = _frees(create_graph if retain_graph is None else retain_graph)
    if inputs is None:
        run_reverse(outs, seeds, None, create_graph, free)
        return
    targets = list({id(t): t for t in _sequence(inputs)}.values())
    if not targets:
        raise ArgumentError(message("backward", "inputs is empty", cure="Leave it out to reach all leaves"))
    _check_inputs("backward", targets)
    found = run_reverse(outs, seeds, [node_of(t) for t in targets], create_graph, free)
    with set_grad_enabled(create_graph):
        for t, g in zip(targets, found, strict=True):
            if g is not None:
                add_to(t._sink(), g)


def _check_inputs(name: str, targets: Sequence[Any]) -> None:
    for t in targets:
        if not isinstance(t, Handle) or t._node is None or not t._node.requires_grad:
            seen = str(t.aval) if isinstance(t, Handle) else type(t).__name__
            raise GraphError(message(name, "an input does not require grad", seen, "Make it with requires_grad=True"))


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """Gradients of ``outputs`` with respect to ``inputs``, without touching ``.grad``.

    Args:
        outputs, inputs: a tensor or a sequence of tensors; an input need not be a leaf.
        grad_outputs: adjoints of the outputs; optional for scalars.
        retain_graph: keep the graph; default ``create_graph``.
        create_graph: record the gradients, to differentiate them again.
        only_inputs: of old programs; PyTorch takes no notice of it any more.
        allow_unused: give None for an input the outputs do not depend on, instead of an error.
        materialize_grads: give zeros for such an input.
        is_grads_batched: ``grad_outputs`` has a first axis of adjoints to sweep at once; so have the results.

    Returns:
        One tensor (or None) an input.

    >>> import wengert as wg
    >>> x = wg.tensor([1.0, 2.0], requires_grad=True)
    >>> (g,) = wg.autograd.grad((x ** 3).sum(), x, create_graph=True)
    >>> wg.autograd.grad(g.sum(), x)
    (tensor([ 6., 12.]),)
    """
    outs, targets = _sequence(outputs), _sequence(inputs)
    _check_outputs("grad", outs)
    _check_inputs("grad", targets)
    if is_grads_batched:
        found = _grad_batched(outs, _sequence(grad_outputs), targets, create_graph)
    else:
        seeds = _seeds("grad", outs, grad_outputs)
        free = _frees(create_graph if retain_graph is None else retain_graph)
        found = run_reverse(outs, seeds, [node_of(t) for t in targets], create_graph, free)
    return tuple(
        _present(g, t, i, allow_unused, materialize_grads) for i, (g, t) in enumerate(zip(found, targets, strict=True))
    )


def _grad_batched(outs: list[Any], seeds: list[Any], targets: list[Any], create_graph: bool) -> list[Any]:
    """`run_reverse` under vmap over the first axis of the adjoints."""
    from .flat import vmap_flat

    if len(seeds) != len(outs) or not all(
        isinstance(s, Handle) and s.aval.shape[1:] == o.aval.shape and s.aval.shape
        for s, o in zip(seeds, outs, strict=False)
    ):
        raise ShapeError(
            message("grad", "batched adjoints need one more axis, in front, than their outputs",
                    ", ".join(str(o.aval) for o in outs))
        )  # fmt: skip
    wrt = [node_of(t) for t in targets]
    reached: list[bool] = []

    def pull(*gs: Any) -> list[Any]:
        found = run_reverse(outs, _seeds("grad", outs, list(gs)), wrt, create_graph)
        reached[:] = [g is not None for g in found]
        return [g for g in found if g is not None]

    with set_grad_enabled(create_graph):
        rows = iter(vmap_flat(pull, seeds, [0] * len(seeds)))
    return [next(rows) if there else None for there in reached]


def _present(g: Any, target: Handle, i: int, allow_unused: bool | None, materialize: bool) -> Any:
    if g is not None:
        return g
    if materialize:
        from ..ops.base import OPS

        return OPS["fill"](target, value=0)
    if allow_unused:
        return None
    raise GraphError(
        message("grad", f"the outputs do not depend on input {i}", str(target.aval),
                "Pass allow_unused=True to get None for it")
    )  # fmt: skip


def leaf_handle(x: Handle) -> Any:
    """A fresh handle to an `Identity` node of ``x``: what a transform differentiates with respect to."""
    from ..graph.handle import make_node
    from ..ops.base import OPS

    node = make_node(OPS["identity"], (node_of(x),), {}, x._value, True)
    if x._value is None:
        node._aval = x.aval
    return wrap(x._value, node)


def own_node(x: Handle) -> Node:
    """The node of a handle made by `leaf_handle`."""
    assert x._node is not None
    return x._node

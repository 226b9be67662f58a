"""``wg.trace``: the closed graph of a function, from example arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import tree
from .errors import ArgumentError, message
from .functional.linalg import trace as _matrix_trace
from .graph.handle import Handle
from .graph.trace import trace as _trace


def trace(f: Callable[..., Any] | Handle, *examples: Any) -> Any:
    """The graph of ``f`` for arguments shaped like the examples; of a matrix, the sum of its diagonal.

    Args:
        f: takes and returns nested tensors. Python control flow on values is an error: use `wengert.cond`
            and `wengert.while_loop`.
        examples: only shapes and dtypes of their tensors matter; other things stay as they are.

    Returns:
        A `Graph` whose inputs are the tensors of the arguments in order. Tensors that ``f`` reads from
        outside are its ``captures``.
        ``trace(matrix)`` is PyTorch's function: a 0-d tensor.

    >>> import wengert as wg
    >>> g = wg.trace(lambda x: (x * x).sum(), wg.ones(3))
    >>> g(wg.tensor([1.0, 2.0, 3.0]))
    tensor(14.)
    """
    if isinstance(f, Handle):
        return _matrix_trace(f, *examples)
    leaves, structure = tree.flatten(examples)
    where = [i for i, x in enumerate(leaves) if isinstance(x, Handle)]
    if not where and leaves:
        raise ArgumentError(message("trace", "no tensor among the examples"))

    def run(*symbols: Any) -> Any:
        full = list(leaves)
        for i, s in zip(where, symbols, strict=True):
            full[i] = s
        out = f(*tree.unflatten(structure, full))
        return out if isinstance(out, Handle) else tree.leaves(out)

    return _trace(run, [leaves[i].aval for i in where], getattr(f, "__name__", "graph").replace("<lambda>", "graph"))


__all__ = ["trace"]

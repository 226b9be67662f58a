"""An optimizer's update as one op of a graph that is traced for compiling.

A network's parameters are updated alike, and many have the same shape. So an update is traced once for each
combination of shapes, dtypes and options, and each parameter's is a Call of that: 36 ops less to trace, to name and to
sort for each of the 110 parameters of a ResNet-34.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from .. import dtypes as dt
from .. import tree
from ..config import STATE
from ..graph.alias import assign
from ..graph.graph import Graph
from ..graph.handle import Handle, apply, node_of, symbol
from ..graph.trace import tracing
from ..ops.base import OPS, items

_CALL = OPS["call"]
_LIMIT = 512
_bodies: OrderedDict[Any, Graph | None] = OrderedDict()


def boxed(formula: Callable[..., None], tensors: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Let ``formula(*tensors, **options)`` change all but the last of the tensors, as a Call.

    Returns:
        False, and nothing has happened, unless ops on known tensors are traced too, or where it may read other tensors.
    """
    if STATE.trace is None or not STATE.trace.captures_all or getattr(formula, "__closure__", ()) is not None:
        return False
    leaves, structure = tree.flatten((tensors, options))
    key: list[Any] = [formula, structure, dt._default]
    for x in leaves:
        key += (x.aval, Handle) if isinstance(x, Handle) else (x, type(x))
    try:
        known = tuple(key) in _bodies
    except TypeError:  # an option that cannot be hashed
        return False
    body = _bodies.get(tuple(key)) if known else _remember(tuple(key), _traced(formula, leaves, structure))
    if body is None:
        return False
    given = tuple([x for x in leaves if isinstance(x, Handle)])
    changed = [x for x in tensors[:-1] if x is not None]
    for x, new in zip(changed, items(apply(_CALL, given, {"graph": body})), strict=True):
        assign(formula.__name__, x, new)
    return True


def _remember(key: Any, body: Graph | None) -> Graph | None:
    _bodies[key] = body
    if len(_bodies) > _LIMIT:
        _bodies.popitem(last=False)
    return body


def _traced(formula: Callable[..., None], leaves: Sequence[Any], structure: Any) -> Graph | None:
    """The new values of what a formula changes, as a graph of all tensors; None if it reads others."""
    with tracing() as state:
        symbols = [symbol(x.aval, False) if isinstance(x, Handle) else x for x in leaves]
        inputs = tuple([node_of(s) for s in symbols if isinstance(s, Handle)])
        tensors, options = tree.unflatten(structure, symbols)
        formula(*tensors, **options)
        outputs = tuple([node_of(x) for x in tensors[:-1] if x is not None])
        body = Graph(inputs, outputs, formula.__name__.lstrip("_"), start=state.start)
    return None if body.captures else body

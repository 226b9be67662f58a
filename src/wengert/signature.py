"""What tells calls of a compiled function apart before anything else is looked at: its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .config import STATE
from .graph.handle import Handle
from .tree import token
from .variables import is_simple


def signature(leaves: Sequence[Any], structure: Any) -> tuple[Any, list[Any]]:
    """What programs are found by, and the tensors among the leaves."""
    parts: list[Any] = [structure, STATE.grad]
    arrays: list[Any] = []
    for x in leaves:
        if isinstance(x, Handle):
            aval = x.aval
            parts.append((aval.shape, aval.dtype.num, x._node is not None and x._node.requires_grad))
            arrays.append(x)
        else:
            parts.append((type(x), token(x)))
    return tuple(parts), arrays


def difference(key: Any, known: Iterable[Any]) -> str:
    """Why none of the programs fits the arguments, in words; empty if one differs in grad mode alone."""
    why = "the arguments have another structure, shape or dtype"
    for other in known:
        if other[0] != key[0]:
            continue
        differ = [(a, b) for a, b in zip(key[2:], other[2:], strict=True) if a != b]
        if not differ:
            return ""  # inference beside training is nothing to speak of
        if all(len(a) == 2 and len(b) == 2 for a, b in differ):
            numbers = all(is_simple(a[1]) for a, _ in differ)
            why = (
                "a number or a string among the arguments is another one (pass a 0-d tensor for a number that changes)"
                if numbers
                else "an object among the arguments is another one"
            )
    return why

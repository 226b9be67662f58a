"""Whether something must keep the values in a tensor's memory: read off the counts of references."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .handle import Handle
from .node import Node

if TYPE_CHECKING:
    from .alias import Alias


def _references(x: Any) -> int:
    return sys.getrefcount(x)


_PROBE = object()
_OWN = _references(_PROBE) - 1  # what the call itself adds; it differs between Python versions


def is_pinned(base: Handle) -> bool:
    """Whether something must keep the values that the base's memory holds now.

    That is a live graph, a result that only borrows the memory, or, for such a result, its lender.
    Nodes to which nothing but the base and its views refer are held by no graph.
    """
    alias = base._alias
    if alias is None:
        node = base._node
        return node is not None and _references(node) - _OWN > 2  # `node` here and in `base`
    if alias.lender is not None or any(_borrows(r(), alias) for r in alias.borrowers):
        return True
    nodes, expected = _family_nodes(base)
    node = None
    while nodes:
        key, node = nodes.popitem()
        if _references(node) - _OWN > expected[key] + 1:
            return True
    return False


def _borrows(x: Handle | None, owner: Alias) -> bool:
    """Whether a result still lies in the owner's memory without being a view of it."""
    return x is not None and x._alias is not None and x._alias.lender is owner


def _family_nodes(base: Handle) -> tuple[dict[int, Node], dict[int, int]]:
    """The nodes that hold a base's memory as their value, and how often base and views refer to each.

    The nodes between a view and its base belong to the family too.
    """
    alias = base._alias
    family = [base, *(v for v in (r() for r in alias.views) if v is not None)]
    nodes = {id(n): n for n in (r() for r in alias.pins) if n is not None}
    stack = [h._node for h in family if h._node is not None]
    while stack:
        node = stack.pop()
        nodes[id(node)] = node
        if node.inputs is not None and len(node.inputs) == 1 and node is not base._node:
            stack.append(node.inputs[0])
    expected = dict.fromkeys(nodes, 0)
    held = [h._node for h in family] + [i for n in nodes.values() for i in n.inputs or ()]
    for node in held:
        if id(node) in expected:
            expected[id(node)] += 1
    return nodes, expected

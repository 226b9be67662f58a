"""All partial results of an associative function, in a logarithmic number of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import tree
from ..errors import IndexRangeError, message
from ..graph.handle import apply
from ..ops.base import OPS
from .control import part
from .control_bodies import check_structure, check_types, common_length, flat_operands


def associative_scan(combine_fn: Callable[..., Any], xs: Any, dim: int = 0, reverse: bool = False) -> Any:
    """All partial results of an associative function, in log2(n) calls.

    Args:
        combine_fn: takes two values, in the containers of ``xs``, and combines them elementwise along
            ``dim`` (it is called with many pairs at once).
        xs: tensors of equal size along ``dim``, in any containers.
        dim: the axis to run along.
        reverse: combine from the end.

    Source: Blelloch, "Prefix sums and their applications", 1990.

    >>> import wengert as wg
    >>> wg.associative_scan(lambda a, b: a * b, wg.tensor([1.0, 2.0, 3.0, 4.0]))
    tensor([ 1.,  2.,  6., 24.])
    """
    leaves, structure = flat_operands("associative_scan", xs)
    moved = [_to_first("associative_scan", x, dim) for x in leaves]
    n = common_length(moved, None)
    if reverse:
        moved = [part(x, n - 1, None, -1) for x in moved]

    def combine(a: list[Any], b: list[Any]) -> list[Any]:
        out = combine_fn(tree.unflatten(structure, a), tree.unflatten(structure, b))
        found, got = flat_operands("associative_scan", out)
        check_structure("associative_scan", "the function returns other containers than it takes", got, structure)
        texts = ("after it", "before the function", "The function must keep shapes and dtypes")
        check_types("associative_scan", "value", [x.aval for x in found], [x.aval for x in a], texts)
        return found

    found = _prefixes(combine, moved, n)
    if reverse:
        found = [part(x, n - 1, None, -1) for x in found]
    return tree.unflatten(structure, [_from_first(x, dim) for x in found])


def _to_first(name: str, x: Any, dim: int) -> Any:
    ndim = len(x.aval.shape)
    if not -ndim <= dim < ndim:
        raise IndexRangeError(message(name, "dimension out of range", f"dim {dim} of {x.aval}"))
    dim %= ndim
    order = (dim, *[i for i in range(ndim) if i != dim])
    return apply(OPS["permute"], (x,), {"order": order})


def _from_first(x: Any, dim: int) -> Any:
    ndim = len(x.aval.shape)
    order = list(range(1, ndim))
    order.insert(dim % ndim, 0)
    return apply(OPS["permute"], (x,), {"order": tuple(order)})


def _prefixes(combine: Callable[..., list[Any]], xs: list[Any], n: int) -> list[Any]:
    """Partial results along the first axis: pairs are combined, scanned, and the places between filled in."""
    levels: list[tuple[list[Any], int]] = []
    while n > 1:
        levels.append((xs, n))
        even = n - n % 2
        xs = combine([part(x, 0, even, 2) for x in xs], [part(x, 1, even, 2) for x in xs])
        n //= 2
    for above, n in reversed(levels):
        first = [part(x, 0, 1) for x in above]
        between = xs  # the results at odd places; those at even places follow from them
        if n > 2:
            fill = combine([part(x, 0, (n - 1) // 2) for x in xs], [part(x, 2, n, 2) for x in above])
            first = [apply(OPS["cat"], (a, b), {"axis": 0}) for a, b in zip(first, fill, strict=True)]
        xs = [_interleaved(a, b, n) for a, b in zip(first, between, strict=True)]
    return xs


def _interleaved(even: Any, odd: Any, n: int) -> Any:
    """Rows of two tensors, alternating; the first has as many or one more."""
    if n % 2:
        odd = apply(OPS["cat"], (odd, part(even, 0, 1)), {"axis": 0})
    rest = even.aval.shape[1:]
    pairs = [apply(OPS["reshape"], (x,), {"shape": (x.aval.shape[0], 1, *rest)}) for x in (even, odd)]
    both = apply(OPS["cat"], tuple(pairs), {"axis": 1})
    return part(apply(OPS["reshape"], (both,), {"shape": (2 * both.aval.shape[0], *rest)}), 0, n)


__all__ = ["associative_scan"]

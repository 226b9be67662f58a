"""Einstein summation, lowered to diagonals, sums, permutes, products and matrix products.

A plan is made once per equation and shapes: which operands meet in which order (the cheapest order
for up to six operands, greedy for more), and the plain ops each meeting is made of. So every mode of
differentiation and batching follows, and the second call costs little more than its ops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from ..ops.contract import diagonal_spec
from .formula import formula
from .front import apply_elementwise

Labels = tuple[Any, ...]
Sizes = dict[Any, int]
Steps = tuple[tuple[Any, dict[str, Any]], ...]  # ops of one tensor with their attributes
EXACT_LIMIT = 6  # operands up to which every order is tried (3 ** 6 pairs of subsets)

_RESHAPE, _PERMUTE, _SUM, _SLICE = OPS["reshape"], OPS["permute"], OPS["sum"], OPS["slice"]
_MUL, _MATMUL = OPS["mul"], OPS["matmul"]


class Meeting(NamedTuple):
    """Operands ``i`` and ``j`` are prepared, multiplied by ``op``, and the result appended."""

    i: int
    j: int
    left: Steps
    right: Steps
    op: Any
    result: Steps


class Plan(NamedTuple):
    """What to do with each operand first, the meetings, and what to do with the last result."""

    operands: tuple[Steps, ...]
    meetings: tuple[Meeting, ...]
    last: Steps


# -- reading the equation ----------------------------------------------------------------------


def _fail(wrong: str, seen: str, cure: str = "") -> Exception:
    return ArgumentError(message("einsum", wrong, seen, cure))


def _terms(side: str, equation: str) -> tuple[str | None, ...]:
    """One side of an equation as labels; None stands for the ellipsis."""
    out: list[str | None] = []
    rest = side.replace(" ", "")
    while rest:
        if rest.startswith("..."):
            out.append(None)
            rest = rest[3:]
        elif rest[0].isascii() and rest[0].isalpha():
            out.append(rest[0])
            rest = rest[1:]
        else:
            raise _fail(f"unexpected {rest[0]!r}", repr(equation), "Subscripts are letters, commas, '...' and '->'")
    if out.count(None) > 1:
        raise _fail("more than one ellipsis in a term", repr(equation))
    return tuple(out)


def _parse(equation: str) -> tuple[tuple[tuple[str | None, ...], ...], tuple[str | None, ...] | None]:
    left, arrow, right = equation.partition("->")
    return tuple(_terms(term, equation) for term in left.split(",")), _terms(right, equation) if arrow else None


def _from_sublists(args: Sequence[Any]) -> tuple[Any, Any, list[Any]]:
    """The other calling form: ``einsum(x, [0, 1], y, [1, 2], [0, 2])``."""

    def term(labels: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(None if k is Ellipsis else int(k) for k in labels)

    pairs, rest = len(args) // 2, len(args) % 2
    operands = [args[2 * k] for k in range(pairs)]
    terms = tuple(term(args[2 * k + 1]) for k in range(pairs))
    return terms, term(args[-1]) if rest else None, operands


def _order(label: Any) -> tuple[int, Any]:
    return (0, label) if isinstance(label, int) else (1, label)


def _spread_ellipsis(term: tuple[Any, ...], rank: int, ndim: int, k: int) -> Labels:
    """Replace the ellipsis by labels of its own, counted from the right."""
    named = sum(t is not None for t in term)
    if None not in term:
        if named != ndim:
            raise ShapeError(message("einsum", f"operand {k} has {ndim} dimensions, its subscripts have {named}"))
        return term
    if named > ndim:
        raise ShapeError(
            message("einsum", f"operand {k} has {ndim} dimensions, its subscripts name {named} besides '...'")
        )
    dots = ndim - named
    i = term.index(None)
    return (*term[:i], *[("...", d) for d in range(rank - dots, rank)], *term[i + 1 :])


def _labels(terms: Any, output: Any, ndims: Sequence[int]) -> tuple[list[Labels], Labels]:
    """Labels of the operands and of the result, ellipses spread out."""
    if len(terms) != len(ndims):
        raise _fail(f"{len(terms)} terms for {len(ndims)} operands", f"ranks {list(ndims)}")
    rank = 0
    for t, n in zip(terms, ndims, strict=True):
        if None in t:
            rank = max(rank, n - len(t) + 1)
    inputs = [_spread_ellipsis(t, rank, n, k) for k, (t, n) in enumerate(zip(terms, ndims, strict=True))]
    dots = tuple(("...", d) for d in range(rank))
    flat = [a for t in inputs for a in t]
    if output is None:
        once = [a for a in dict.fromkeys(flat) if not isinstance(a, tuple) and flat.count(a) == 1]
        return inputs, (*dots, *sorted(once, key=_order))
    out: list[Any] = []
    for a in output:
        out.extend(dots if a is None else (a,))
    for a in out:
        if out.count(a) > 1:
            raise _fail(f"subscript {a!r} appears twice in the result", "".join(map(str, output)))
        if a not in flat and a not in dots:
            raise _fail(f"subscript {a!r} of the result is in no operand", "".join(map(str, output)))
    return inputs, tuple(out)


def _sizes(inputs: Sequence[Labels], shapes: Sequence[tuple[int, ...]]) -> Sizes:
    """The size of each label; sizes of 1 broadcast."""
    sizes: Sizes = {}
    for k, (labels, shape) in enumerate(zip(inputs, shapes, strict=True)):
        own: Sizes = {}
        for a, n in zip(labels, shape, strict=True):
            if own.setdefault(a, n) != n:
                raise ShapeError(message("einsum", f"subscript {a!r} repeats in operand {k}", f"sizes {own[a]}, {n}"))
            known = sizes.get(a, 1)
            if n != 1 and known not in (1, n):
                raise ShapeError(message("einsum", f"subscript {a!r} has several sizes", f"{known} and {n}"))
            sizes[a] = n if known == 1 else known
    return sizes


# -- choosing an order -------------------------------------------------------------------------


def _product(labels: frozenset[Any], sizes: Sizes) -> int:
    return math.prod(sizes[a] for a in labels)


def _exact_order(sets: list[frozenset[Any]], out: frozenset[Any], sizes: Sizes) -> list[tuple[int, int]]:
    """The cheapest order: dynamic programming over subsets, by the number of multiplications."""
    n = len(sets)
    everything = (1 << n) - 1

    def result(mask: int) -> frozenset[Any]:
        inside = frozenset[Any]().union(*[s for i, s in enumerate(sets) if mask >> i & 1])
        outside = out.union(*[s for i, s in enumerate(sets) if not mask >> i & 1])
        return inside & outside

    kept = [result(m) for m in range(everything + 1)]
    best: dict[int, tuple[int, int]] = {1 << i: (0, 0) for i in range(n)}
    for mask in range(1, everything + 1):
        if mask in best:
            continue
        part = (mask - 1) & mask
        found: tuple[int, int] | None = None
        while part > mask ^ part:  # each split once
            other = mask ^ part
            cost = best[part][0] + best[other][0] + _product(kept[part] | kept[other], sizes)
            if found is None or cost < found[0]:
                found = (cost, part)
            part = (part - 1) & mask
        assert found is not None
        best[mask] = found
    order: list[tuple[int, int]] = []
    slots = {1 << i: i for i in range(n)}
    stack = [(everything, False)]
    while stack:
        mask, ready = stack.pop()
        if mask in slots:
            continue
        a = best[mask][1]
        if ready:
            order.append((slots[a], slots[mask ^ a]))
            slots[mask] = n + len(order) - 1
        else:
            stack += [(mask, True), (a, False), (mask ^ a, False)]
    return order


def _greedy_order(sets: list[frozenset[Any]], out: frozenset[Any], sizes: Sizes) -> list[tuple[int, int]]:
    """Always the pair whose result grows least."""
    live = dict(enumerate(sets))
    order: list[tuple[int, int]] = []
    while len(live) > 1:
        found: tuple[int, int, int] | None = None
        for i in live:
            for j in live:
                if i < j:
                    keep = _kept(live, i, j, out)
                    growth = _product(keep, sizes) - _product(live[i], sizes) - _product(live[j], sizes)
                    if found is None or growth < found[0]:
                        found = (growth, i, j)
        assert found is not None
        _, i, j = found
        live[len(sets) + len(order)] = _kept(live, i, j, out)
        order.append((i, j))
        del live[i], live[j]
    return order


def _kept(live: dict[int, frozenset[Any]], i: int, j: int, out: frozenset[Any]) -> frozenset[Any]:
    """The labels that the meeting of ``i`` and ``j`` must leave."""
    return (live[i] | live[j]) & out.union(*[s for k, s in live.items() if k not in (i, j)])


# -- making the plan ---------------------------------------------------------------------------


class Term:
    """A tensor that is planned: a label for each axis, the shape, and the steps that lead to it."""

    __slots__ = ("labels", "shape", "steps")

    def __init__(self, labels: Labels, shape: tuple[int, ...], steps: Steps = ()) -> None:
        self.labels, self.shape, self.steps = labels, shape, steps

    def size(self, label: Any) -> int:
        return self.shape[self.labels.index(label)]

    def then(self, op: Any, attrs: dict[str, Any], labels: Labels, shape: tuple[int, ...]) -> Term:
        return Term(labels, shape, (*self.steps, (op, attrs)))

    def reshaped(self, labels: Labels, shape: tuple[int, ...]) -> Term:
        if shape == self.shape:
            return Term(labels, shape, self.steps)
        return self.then(_RESHAPE, {"shape": shape}, labels, shape)

    def arranged(self, labels: Sequence[Any]) -> Term:
        """With its axes in that order."""
        order = tuple(self.labels.index(a) for a in labels)
        if order == tuple(range(len(order))):
            return self
        return self.then(_PERMUTE, {"order": order}, tuple(labels), tuple(self.shape[i] for i in order))

    def without(self, drop: Callable[[Any], bool]) -> Term:
        """Summed over the axes whose label is to be dropped (axes of size 1 are merely taken away)."""
        axes = tuple(i for i, a in enumerate(self.labels) if drop(a))
        if not axes:
            return self
        labels = tuple(a for i, a in enumerate(self.labels) if i not in axes)
        shape = tuple(n for i, n in enumerate(self.shape) if i not in axes)
        if all(self.shape[i] == 1 for i in axes):
            return self.reshaped(labels, shape)
        return self.then(_SUM, {"axes": axes}, labels, shape)

    def diagonals(self) -> Term:
        """One axis for each label: repeated labels run along a diagonal."""
        t, names = self, self.labels
        while len(set(names)) < len(names):
            a = next(a for a in names if names.count(a) > 1)
            i = names.index(a)
            j = names.index(a, i + 1)
            rest = [k for k in range(len(names)) if k not in (i, j)]
            t = Term(tuple(range(len(names))), t.shape, t.steps).arranged([*rest, i, j])
            names = (*[names[k] for k in rest], a)
            *lead, n, _ = t.shape
            t = t.reshaped((), (*lead, n * n))
            spec = (*[(0, k, 1) for k in lead], diagonal_spec(n, n, 0))
            t = t.then(_SLICE, {"spec": spec}, names, (*lead, n))
        return t


def _multiply(i: int, j: int, a: Term, b: Term) -> tuple[Meeting, Term]:
    """Where nothing is summed: align the axes, and broadcast."""
    extra = tuple(label for label in b.labels if label not in a.labels)
    labels = (*a.labels, *extra)
    left = a.reshaped(labels, (*a.shape, *[1] * len(extra)))
    right = b.arranged([label for label in labels if label in b.labels])
    right = right.reshaped(labels, tuple(b.size(label) if label in b.labels else 1 for label in labels))
    shape = tuple(n if m == 1 else m for m, n in zip(left.shape, right.shape, strict=True))
    return Meeting(i, j, left.steps, right.steps, _MUL, ()), Term(labels, shape)


def _contract(i: int, j: int, a: Term, b: Term, keep: frozenset[Any]) -> tuple[Meeting, Term]:
    """Multiply two terms and sum over the labels not kept."""
    a = a.without(lambda label: label not in keep and label not in b.labels)
    b = b.without(lambda label: label not in keep and label not in a.labels)
    both = [label for label in a.labels if label in b.labels]
    narrow = {label for label in both if (a.size(label) == 1) != (b.size(label) == 1)}  # these broadcast
    c = a.without(lambda label: label in narrow and (a.size(label) == 1 or label not in keep))
    d = b.without(lambda label: label in narrow and (b.size(label) == 1 or label not in keep))
    summed = [label for label in both if label not in keep and label not in narrow]
    if not summed:
        return _multiply(i, j, c, d)
    batch = [label for label in both if label in keep and label not in narrow]
    left = [label for label in c.labels if label not in batch and label not in summed]
    right = [label for label in d.labels if label not in batch and label not in summed]
    lead = [c.size(label) for label in batch]

    def block(t: Term, *parts: Sequence[Any]) -> Term:
        """As a batch of matrices."""
        shape = (*lead, *[math.prod(t.size(label) for label in part) for part in parts])
        return t.arranged([*batch, *[label for part in parts for label in part]]).reshaped((), shape)

    x, y = block(c, left, summed), block(d, summed, right)
    out = Term((), (*x.shape[:-1], y.shape[-1]))
    sizes = (*[c.size(label) for label in (*batch, *left)], *[d.size(label) for label in right])
    out = out.reshaped((*batch, *left, *right), sizes)
    return Meeting(i, j, x.steps, y.steps, _MATMUL, out.steps), Term(out.labels, out.shape)


@lru_cache(maxsize=1024)
def _plan(equation: Any, output: Any, shapes: tuple[tuple[int, ...], ...]) -> Plan:
    """The plan of an equation (a string, or terms and output of the sublist form) for given shapes."""
    terms, output = _parse(equation) if isinstance(equation, str) else (equation, output)
    inputs, out = _labels(terms, output, [len(s) for s in shapes])
    sizes = _sizes(inputs, shapes)
    started = [Term(t, s).diagonals() for t, s in zip(inputs, shapes, strict=True)]
    parts = [Term(t.labels, t.shape) for t in started]  # what lies before is done when the plan starts
    live = {i: frozenset(t.labels) for i, t in enumerate(parts)}
    wanted = frozenset(out)
    order = [(0, 1)] if len(live) == 2 else []
    if len(live) > 2:
        find = _exact_order if len(live) <= EXACT_LIMIT else _greedy_order
        order = find(list(live.values()), wanted, sizes)
    meetings: list[Meeting] = []
    for i, j in order:
        keep = _kept(live, i, j, wanted)
        meeting, term = _contract(i, j, parts[i], parts[j], keep)
        meetings.append(meeting)
        live[len(parts)] = keep
        parts.append(term)
        del live[i], live[j]
    last = parts[-1].without(lambda label: label not in wanted).arranged(out)
    return Plan(tuple(t.steps for t in started), tuple(meetings), last.steps)


# -- carrying it out ---------------------------------------------------------------------------


def reshape(x: Any, shape: tuple[int, ...]) -> Any:
    """``x`` in another shape; itself if it has it already."""
    return x if x.aval.shape == shape else apply(_RESHAPE, (x,), {"shape": shape})


def permute(x: Any, order: tuple[int, ...]) -> Any:
    """``x`` with its axes in another order; itself if it is the same."""
    return x if order == tuple(range(len(order))) else apply(_PERMUTE, (x,), {"order": order})


def _follow(x: Any, steps: Steps) -> Any:
    for op, attrs in steps:
        x = apply(op, (x,), attrs)
    return x


def einsum(*args: Any) -> Any:
    """Sum of products over the subscripts that the result does not name.

    Args:
        args: an equation and the operands, ``einsum("bij,bjk->bik", x, y)``; or operands each followed
            by its subscripts as a list of ints, and at the end those of the result.

    The equation may hold ``...`` for broadcast dimensions and repeat a subscript within an operand (a
    diagonal). Without ``->`` the result has the subscripts that appear once, in alphabetical order,
    behind the ellipsis. Dimensions of size 1 broadcast. All operands have one dtype. With more than
    two operands the cheapest order of pairs is found first.

    >>> import wengert as wg
    >>> x = wg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> wg.einsum("ij,kj->ik", x, x)
    tensor([[ 5., 11.],
            [11., 25.]])
    >>> wg.einsum("ii", x)
    tensor(5.)

    Raises:
        ArgumentError: the equation cannot be read.
        ShapeError: subscripts and dimensions do not fit.
        DTypeError: operands differ in dtype.
    """
    if not args:
        raise _fail("needs an equation and operands", "nothing")
    if isinstance(args[0], str):
        equation, output, operands = args[0], None, list(args[1:])
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
    else:
        equation, output, operands = _from_sublists(args)
    if not operands or not all(isinstance(x, Handle) for x in operands):
        raise _fail("operands must be tensors", ", ".join(type(x).__name__ for x in operands) or "none")
    dtypes = {x.aval.dtype for x in operands}
    if len(dtypes) > 1:
        seen = ", ".join(str(x.aval) for x in operands)
        raise DTypeError(message("einsum", "operands must have one dtype", seen, "Convert them with x.to(dtype)"))
    # Of one operand the result may lie in its memory, which only ops that stand for themselves take note of.
    return (_evaluated if len(operands) == 1 else _einsum)(equation, output, *operands)


def _evaluated(equation: Any, output: Any, *operands: Any) -> Any:
    plan = _plan(equation, output, tuple([x.aval.shape for x in operands]))
    live = [_follow(x, steps) for x, steps in zip(operands, plan.operands, strict=True)]
    for i, j, left, right, op, result in plan.meetings:
        pair = _follow(live[i], left), _follow(live[j], right)
        live.append(_follow(apply_elementwise(op, pair) if op is _MUL else apply(op, pair), result))
        live[i] = live[j] = None
    out = _follow(live[-1], plan.last)
    return out if out is not operands[0] else apply(OPS["identity"], (out,))


@formula
def _einsum(equation: Any, output: Any, *operands: Any) -> Any:
    return _evaluated(equation, output, *operands)


__all__ = ["einsum"]

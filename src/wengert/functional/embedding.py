"""Embeddings: rows of a table by index, alone or reduced in bags; one-hot vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..config import no_grad
from ..errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, TraceError, message
from ..graph.alias import assign, detached
from ..graph.aval import describe
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from ..ops.index import checked
from .conv import reshape
from .formula import formula
from .front import cast, expand_to
from .reduction import norm
from .scan import cumsum
from .sorting import searchsorted
from .windows import constant

_TAKE, _ADD, _WHERE, _FILL = OPS["take_rows"], OPS["add_rows"], OPS["where"], OPS["fill"]


def _check_table(name: str, index: Any, weight: Any) -> Any:
    """The index, which must be one of the table."""
    if not isinstance(index, Handle) or dt.of(index.aval.dtype).category != 1:
        seen = str(index.aval) if isinstance(index, Handle) else type(index).__name__
        raise DTypeError(message(name, "the input must be a tensor of integers", seen, "Convert with x.long()"))
    if len(weight.aval.shape) != 2:
        raise ShapeError(message(name, "the weight must be a matrix (rows, features)", str(weight.aval)))
    value = index._value
    rows = weight.aval.shape[0]
    if value is None:
        return checked(name, index, rows, 0, False)
    if value.size and not (value.min() >= 0 and value.max() < rows):
        bad = value[(value < 0) | (value >= rows)].reshape(-1)[0]
        raise IndexRangeError(
            message(name, "index out of range", f"index {bad} in a table of {rows} rows",
                    "Indices count from 0; is num_embeddings large enough?")
        )  # fmt: skip
    return index


def _padding_row(name: str, padding_idx: int | None, rows: int) -> int | None:
    """The padding row counted from the front."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise IndexRangeError(message(name, "padding_idx out of range", f"{padding_idx} of {rows} rows"))
    return int(padding_idx) % rows


def _shorten(name: str, index: Any, weight: Any, max_norm: float, norm_type: float) -> None:
    """Scale rows that are too long down, in the memory of ``weight``."""
    with no_grad():
        flat = reshape(index, (index.aval.size,))
        rows = apply(_TAKE, (detached(weight), flat))
        size = norm(rows, norm_type, 1, True)
        scale = _WHERE(size > max_norm, max_norm / (size + 1e-7), apply(_FILL, (size,), {"value": 1}))
        table = detached(weight)
        assign(name, table, apply(OPS["put_rows"], (table, flat, rows * scale)))


def _by_row(condition: Any, rows: Any) -> Any:
    """A condition a row, shaped like the rows."""
    return expand_to(reshape(condition, (*condition.aval.shape, 1)), rows.aval.shape)


@formula
def embedding_rows(weight: Any, index: Any, padding_idx: int | None, scale_grad_by_freq: bool) -> Any:
    """weight[index]; no gradient for the padding row, or gradients divided by how often a row is used."""
    rows = apply(_TAKE, (weight, index))
    passed = rows
    if scale_grad_by_freq:
        flat = reshape(index, (index.aval.size,))
        ones = constant(np.ones(index.aval.size), weight)
        count = apply(_TAKE, (apply(_ADD, (ones, flat), {"n": weight.aval.shape[0]}), index))
        passed = rows * reshape(1.0 / count, (*count.aval.shape, 1))
    if padding_idx is not None:
        zeros = apply(_FILL, (passed,), {"value": 0})
        passed = apply(_WHERE, (_by_row(index == padding_idx, passed), zeros, passed))
    return rows if passed is rows else apply(OPS["substitute"], (passed, apply(OPS["stop_gradient"], (rows,))))


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """Rows of ``weight`` (V, D) by integer ``input`` (any shape): (*, D).

    ``padding_idx``: a row that gets no gradient. ``max_norm``: rows that are used and longer, in the
    ``norm_type`` norm, are first scaled down, in place. ``scale_grad_by_freq`` divides gradients by how
    often the row occurs. ``sparse`` is accepted; gradients are dense.

    Raises:
        IndexRangeError: an index is negative or not less than V.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.embedding(wg.tensor([1, 0]), wg.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    input = _check_table("embedding", input, weight)
    padding = _padding_row("embedding", padding_idx, weight.aval.shape[0])
    if max_norm is not None:
        _shorten("embedding", input, weight, float(max_norm), float(norm_type))
    return embedding_rows(weight, input, padding, bool(scale_grad_by_freq))


# -- bags --------------------------------------------------------------------------------------------


@formula
def bag_sums(rows: Any, bag: Any, keep: Any, scale: Any, count: int, mean: bool) -> Any:
    """Sum or mean of the rows of each of ``count`` bags; ``keep`` marks those that are not padding."""
    if scale is not None:
        rows = rows * reshape(scale, (*scale.aval.shape, 1))
    if keep is not None:
        rows = apply(_WHERE, (_by_row(keep, rows), rows, apply(_FILL, (rows,), {"value": 0})))
    out = apply(_ADD, (rows, bag), {"n": count})
    if not mean:
        return out
    used = constant(np.ones(bag.aval.shape), rows) if keep is None else cast(keep, dt.of(rows.aval.dtype))
    size = apply(_ADD, (used, bag), {"n": count})
    size = apply(_WHERE, (size > 0, size, apply(_FILL, (size,), {"value": 1})))
    return out / reshape(size, (count, 1))


@formula
def bag_maxima(rows: Any, table: Any, valid: Any) -> Any:
    """Largest element of each bag; ``table`` (bags, width) numbers the rows of each, ``valid`` marks them."""
    width = table.aval.shape[1]
    picked = apply(_TAKE, (rows, table))
    shown = apply(OPS["stop_gradient"], (picked,))
    shown = apply(_WHERE, (_by_row(valid, shown), shown, apply(_FILL, (shown,), {"value": -np.inf})))
    best = apply(OPS["argmax"], (shown,), {"axis": 1})
    bags, features = best.aval.shape
    chosen = apply(OPS["gather"], (picked, reshape(best, (bags, 1, features))), {"dim": 1})
    out = reshape(chosen, (bags, features))
    filled = apply(OPS["any"], (valid,), {"axes": (1,)}) if width else None
    assert filled is not None
    return apply(_WHERE, (_by_row(filled, out), out, apply(_FILL, (out,), {"value": 0})))


class Bags:
    """Which bag each of ``n`` indices is in."""

    def __init__(self, index: Any, offsets: Any, include_last_offset: bool) -> None:
        name = "embedding_bag"
        shape = index.aval.shape
        if len(shape) == 2:
            if offsets is not None:
                raise ArgumentError(message(name, "a matrix of indices takes no offsets", str(offsets.aval)))
            starts = np.arange(shape[0]) * shape[1]
        else:
            if len(shape) != 1 or offsets is None or len(offsets.aval.shape) != 1:
                raise ArgumentError(
                    message(name, "needs a matrix of indices, or a vector of them and offsets", str(index.aval))
                )
            starts = np.asarray(offsets._concrete(name)).astype(np.int64)
            if not starts.size or starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] > shape[0]:
                raise ArgumentError(
                    message(name, "offsets must begin with 0, not fall, and not pass the end",
                            f"{starts.tolist()} for {shape[0]} indices")
                )  # fmt: skip
        self.n = index.aval.size
        self.ends = starts[1:] if include_last_offset else np.append(starts[1:], self.n)
        self.starts = starts[:-1] if include_last_offset else starts
        self.count = len(self.starts)
        last = int(self.ends[-1]) if self.count else 0
        self.used = last  # indices behind the last bag belong to none
        self.rows = self.count
        self.bag = wrap(np.repeat(np.arange(self.count), self.ends - self.starts))

    def table(self) -> tuple[Any, Any]:
        """(bags, width) numbers of the indices in each bag, and which of them exist."""
        width = max(1, int((self.ends - self.starts).max(initial=0)))
        numbers = self.starts[:, None] + np.arange(width)
        return wrap(np.minimum(numbers, max(self.n - 1, 0))), wrap(numbers < self.ends[:, None])


class TracedBags:
    """`Bags` by offsets without values: any bag may have all indices. The program checks that the offsets fit."""

    def __init__(self, index: Any, offsets: Any, include_last_offset: bool) -> None:
        name = "embedding_bag"
        self.n = self.used = n = index.aval.size
        self.rows = offsets.aval.shape[0]  # with include_last_offset one more, of the indices that belong to no bag
        self.count = self.rows - include_last_offset
        if not self.rows:
            raise ArgumentError(message(name, "offsets must begin with 0", str(offsets.aval)))
        first = checked(name, offsets[:1], 1, 0, False)
        steps = checked(name, offsets[1:] - offsets[:-1], n + 1, 0, False)
        offsets = checked(
            name, cumsum(apply(OPS["cat"], (first, cast(steps, dt.int64)), {"axis": 0}), 0), n + 1, 0, False
        )
        self.bag = searchsorted(offsets, wrap(np.arange(n)), right=True) - 1

    def table(self) -> tuple[Any, Any]:
        """As of `Bags`."""
        shape = (self.count, max(self.n, 1))
        place = wrap(np.broadcast_to(np.arange(shape[1]), shape))
        number = wrap(np.broadcast_to(np.arange(self.count)[:, None], shape))
        return place, expand_to(reshape(self.bag, (1, shape[1])), shape) == number


def _check_bag_arguments(index: Any, weight: Any, mode: str, scale: Any) -> None:
    name = "embedding_bag"
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(message(name, "unknown mode", repr(mode), "Use 'sum', 'mean' or 'max'"))
    if scale is None:
        return
    if mode != "sum":
        raise ArgumentError(message(name, "per_sample_weights need mode='sum'", repr(mode)))
    if scale.aval.shape != index.aval.shape or scale.aval.dtype != weight.aval.dtype:
        raise ShapeError(
            message(name, "per_sample_weights must be shaped like the input, with the weight's dtype",
                    describe((index.aval, weight.aval, scale.aval)))
        )  # fmt: skip


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Sum, mean or maximum of the rows of ``weight`` (V, D) in each bag of indices: (bags, D).

    ``input``: (bags, n) indices, or a vector of them with ``offsets``, where each bag begins (with
    ``include_last_offset`` also where the last one ends). An empty bag gives zeros. Indices equal to
    ``padding_idx`` do not count. ``per_sample_weights``, shaped like ``input``, multiply rows (mode 'sum').

    Raises:
        IndexRangeError: an index is negative or not less than V.
        ArgumentError: offsets that do not fit, or weights with another mode than 'sum'.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> table = wg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> F.embedding_bag(wg.tensor([1, 0, 0]), table, wg.tensor([0, 2]), mode="sum").tolist()
    [[4.0, 6.0], [1.0, 2.0]]
    """
    name = "embedding_bag"
    input = _check_table(name, input, weight)
    _check_bag_arguments(input, weight, mode, per_sample_weights)
    padding = _padding_row(name, padding_idx, weight.aval.shape[0])
    traced = offsets is not None and offsets._value is None and len(input.aval.shape) == len(offsets.aval.shape) == 1
    bags = (TracedBags if traced else Bags)(input, offsets, include_last_offset)
    if max_norm is not None:
        _shorten(name, input, weight, float(max_norm), float(norm_type))
    flat = reshape(input, (bags.n,))
    scale = None if per_sample_weights is None else reshape(per_sample_weights, (bags.n,))
    if mode == "max":
        return _largest(embedding_rows(weight, flat, None, bool(scale_grad_by_freq)), flat, bags, padding)
    if bags.used < bags.n:
        flat = flat[: bags.used]
        scale = None if scale is None else scale[: bags.used]
    rows = embedding_rows(weight, flat, None, bool(scale_grad_by_freq))
    keep = None if padding is None else flat != padding
    sums = bag_sums(rows, bags.bag, keep, scale, bags.rows, mode == "mean")
    return sums if bags.rows == bags.count else sums[: bags.count]


def _largest(rows: Any, flat: Any, bags: Bags | TracedBags, padding: int | None) -> Any:
    table, valid = bags.table()
    if padding is not None:
        valid = OPS["logical_and"](valid, apply(_TAKE, (flat != padding, table)))
    if not bags.n:
        return constant(np.zeros((bags.count, rows.aval.shape[1])), rows)
    return bag_maxima(rows, table, valid)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 zeros with a one at each class: (*) to (*, num_classes).

    ``num_classes`` defaults to one more than the largest class.

    Raises:
        IndexRangeError: a class is negative or not less than ``num_classes``.
        DTypeError: the classes are not int64.

    >>> import wengert as wg
    >>> import wengert.nn.functional as F
    >>> F.one_hot(wg.tensor([2, 0])).tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    if not isinstance(tensor, Handle) or tensor.aval.dtype != dt.NP_INT64:
        seen = str(tensor.aval) if isinstance(tensor, Handle) else type(tensor).__name__
        raise DTypeError(message("one_hot", "the classes must be an int64 tensor", seen, "Convert with x.long()"))
    if num_classes == -1:
        known: Any = tensor
        if known._value is None:
            raise TraceError(
                message("one_hot", "how many classes there are is not known while tracing", str(tensor.aval),
                        "Give num_classes")
            )  # fmt: skip
        value = known._concrete("one_hot")
        if not value.size:
            raise ArgumentError(message("one_hot", "num_classes cannot be found in an empty tensor", str(tensor.aval)))
        num_classes = int(value.max()) + 1
    if tensor._value is None:
        tensor = checked("one_hot", tensor, num_classes, 0, False)
    value = tensor._value
    if num_classes < 1:
        raise ArgumentError(message("one_hot", "num_classes must be positive", repr(num_classes)))
    if value is not None and value.size and not 0 <= value.min() <= value.max() < num_classes:
        bad = int(value.min() if value.min() < 0 else value.max())
        raise IndexRangeError(message("one_hot", "class out of range", f"class {bad} of {num_classes}"))
    shape = (*tensor.aval.shape, num_classes)
    classes = expand_to(wrap(np.arange(num_classes)), shape)
    hit = OPS["eq"](expand_to(reshape(tensor, (*tensor.aval.shape, 1)), shape), classes)
    return cast(hit, dt.int64)


__all__ = ["embedding", "embedding_bag", "one_hot"]

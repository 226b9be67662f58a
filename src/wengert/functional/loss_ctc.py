"""Connectionist temporal classification (Graves et al. 2006)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from ..ops.index import checked
from .activation import pick, wide_formula
from .control import scan
from .dims import spread
from .front import cast, expand_to
from .loss_parts import chosen_reduction, reduced, tensors
from .scan import cumsum

# Stands for log 0: finite, so that differences of it are no NaN; what is below half of it is log 0.
NEVER = -1e30
_WHERE = OPS["where"]


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """Minus the log-probability that a sequence of label distributions reads as the target.

    Shapes: log_probs (T, N, C) or (T, C); targets (N, S), or all targets one after the other; lengths
    (N) tensors or tuples. The mean divides each loss by its target's length first. ``zero_infinity``:
    0 for targets that are too long for their input.

    The gradient is that of the function of ``log_probs`` itself. PyTorch's contains the gradient of a
    log_softmax before it; behind a log_softmax both are equal.

    Raises:
        ShapeError: shapes or lengths do not fit.
        ArgumentError: ``blank`` is no class.
    """
    reduction = chosen_reduction("ctc_loss", reduction)
    (log_probs,) = tensors("ctc_loss", log_probs)
    single = len(log_probs.aval.shape) == 2
    if single:
        log_probs = apply(OPS["reshape"], (log_probs,), {"shape": _with_batch(log_probs.aval.shape)})
    if len(log_probs.aval.shape) != 3:
        raise ShapeError(message("ctc_loss", "log_probs must be (T, N, C) or (T, C)", str(log_probs.aval)))
    steps, batch, count = log_probs.aval.shape
    if not 0 <= blank < count:
        raise ArgumentError(message("ctc_loss", "blank is no class", f"{blank} of {count} classes"))
    inputs = _lengths("input_lengths", input_lengths, batch, steps)
    lengths = _lengths("target_lengths", target_lengths, batch, None)
    targets = _padded(targets, lengths, batch)
    loss = _ctc_loss(log_probs, targets, inputs, lengths, blank, zero_infinity)
    if reduction == "mean":
        loss = loss / cast(OPS["maximum"](lengths, OPS["fill"](lengths, value=1)), dt.of(loss.aval.dtype))
    out = reduced(loss, reduction)
    return apply(OPS["reshape"], (out,), {"shape": ()}) if single and reduction == "none" else out


def _with_batch(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], 1, shape[1])


def _lengths(what: str, x: Any, batch: int, limit: int | None) -> Any:
    """Lengths as int64 of shape (N)."""
    x = x if isinstance(x, Handle) else wrap(np.asarray(x, np.int64))
    if dt.of(x.aval.dtype).category != 1:
        raise DTypeError(message("ctc_loss", f"{what} must be integers", str(x.aval)))
    if x.aval.size != batch:
        raise ShapeError(message("ctc_loss", f"{what} must have one entry a sequence", f"{x.aval}, batch {batch}"))
    value = x._value
    if value is not None and value.size and (value.min() < 0 or (limit is not None and value.max() > limit)):
        raise ShapeError(message("ctc_loss", f"{what} out of range", f"{value.tolist()}, log_probs have {limit} steps"))
    return apply(OPS["reshape"], (cast(x, dt.int64),), {"shape": (batch,)})


def _padded(targets: Any, lengths: Any, batch: int) -> Any:
    """Targets as an int64 matrix (N, S)."""
    if dt.of(targets.aval.dtype).category != 1:
        raise DTypeError(message("ctc_loss", "targets must be integers", str(targets.aval)))
    targets = cast(targets, dt.int64)
    shape = targets.aval.shape
    sizes = None if lengths._value is None else [int(n) for n in lengths._value]
    if len(shape) == 2:
        if shape[0] != batch or (sizes and max(sizes) > shape[1]):
            raise ShapeError(message("ctc_loss", "targets are too short", f"{targets.aval}, lengths {sizes}"))
        return targets
    if len(shape) == 1 and batch == 1 and (sizes is None or sizes[0] <= shape[0]):
        return apply(OPS["reshape"], (targets,), {"shape": (1, shape[0])})
    if len(shape) != 1 or (sizes is not None and sum(sizes) != shape[0]):
        raise ShapeError(message("ctc_loss", "targets do not fit their lengths", f"{targets.aval}, lengths {sizes}"))
    return _apart(targets, lengths, shape[0] if sizes is None else max(sizes, default=0))


def _apart(targets: Any, lengths: Any, width: int) -> Any:
    """Targets that stand one after the other as rows of a matrix; what lies behind the end of each is not used."""
    total, batch = targets.aval.size, lengths.aval.size
    if not total or not batch:
        return wrap(np.zeros((batch, width), np.int64))
    ends = cumsum(lengths, 0)
    if lengths._value is None:  # all targets must be used
        ends = ends + checked("ctc_loss: targets less the sum of their lengths", total - ends[-1:], 1, 0, False)
    index = expand_to(OPS["reshape"](ends - lengths, shape=(batch, 1)), (batch, width))
    index = index + expand_to(wrap(np.arange(width)), (batch, width))
    return apply(OPS["take_rows"], (targets, OPS["minimum"](index, OPS["fill"](index, value=total - 1))))


def _log_add(parts: list[Any]) -> Any:
    """log(sum(exp(parts))) for finite parts."""
    top = parts[0]
    for p in parts[1:]:
        top = OPS["maximum"](top, p)
    top = OPS["stop_gradient"](top)
    total = OPS["exp"](parts[0] - top)
    for p in parts[1:]:
        total = total + OPS["exp"](p - top)
    return OPS["log"](total) + top


def _shifted(a: Any, by: int) -> Any:
    """Moved to the right along axis 1; log 0 comes in."""
    rows, columns = a.aval.shape
    by = min(by, columns)
    if not by:
        return a
    part = OPS["slice"](a, spec=((0, rows, 1), (0, columns - by, 1)))
    return OPS["set_slice"](OPS["fill"](a, value=NEVER), part, spec=((0, rows, 1), (by, columns, 1)))


def _with_blanks(targets: Any, blank: int) -> Any:
    """(N, S) to (N, 2S + 1): a blank before, between and after the labels."""
    rows, n = targets.aval.shape
    empty = wrap(np.full((rows, 2 * n + 1), blank, np.int64))
    return OPS["set_slice"](empty, targets, spec=((0, rows, 1), (1, 2 * n + 1, 2)))


def _at(a: Any, index: Any) -> Any:
    """a[n, index[n]]."""
    rows = index.aval.shape[0]
    return OPS["reshape"](OPS["gather"](a, OPS["reshape"](index, shape=(rows, 1)), dim=1), shape=(rows,))


@wide_formula
def _ctc_loss(x: Any, targets: Any, inputs: Any, lengths: Any, blank: int, zero_infinity: bool) -> Any:
    steps, batch, _ = x.aval.shape
    labels = _with_blanks(targets, blank)
    states = labels.aval.shape[1]
    x = pick(x < NEVER, NEVER, x)
    x = OPS["gather"](x, expand_to(labels, (steps, batch, states)), dim=2)
    numbers = wrap(np.arange(states))
    first = expand_to(numbers < 2, (batch, states))
    alpha = pick(first, 0.0, OPS["fill"](labels, value=NEVER, dtype=x.aval.dtype))
    # a state is entered from itself, from its left neighbour, or over a blank between different labels
    before = OPS["set_slice"](
        OPS["fill"](labels, value=blank),
        OPS["slice"](labels, spec=((0, batch, 1), (0, max(states - 2, 0), 1))),
        spec=((0, batch, 1), (min(2, states), states, 1)),
    )
    may_skip = OPS["logical_and"](labels != blank, labels != before)

    def step(alpha: Any, given: Any) -> Any:
        row, t = given
        skipped = pick(may_skip, _shifted(alpha, 2), NEVER)
        entered = _log_add([alpha, _shifted(alpha, 1), skipped])
        entered = _WHERE(expand_to(t == 0, (batch, states)), alpha, entered) + row
        running = spread(expand_to(t, (batch,)) < inputs, entered, (1,))
        return _WHERE(running, entered, alpha), None

    if steps:
        alpha = scan(step, alpha, (x, wrap(np.arange(steps))))[0]
    blank_end = _at(alpha, lengths * 2)
    label_end = _at(alpha, OPS["maximum"](lengths * 2 - 1, OPS["fill"](lengths, value=0)))
    label_end = pick(OPS["logical_or"](lengths == 0, inputs == 0), NEVER, label_end)
    loss = -_log_add([blank_end, label_end])
    impossible = loss > -0.5 * NEVER
    return pick(impossible, 0.0 if zero_infinity else np.inf, loss)

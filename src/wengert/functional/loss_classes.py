"""Losses whose targets are classes: cross-entropy and the multi-class margin losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import Handle, wrap
from ..ops.base import OPS
from ..ops.index import checked
from .activation import pick, wide_formula
from .dims import spread
from .front import cast, expand_to
from .loss_parts import chosen_reduction, reduced, tensors
from .softmax import below_top

_LOG, _EXP, _SUM = OPS["log"], OPS["exp"], OPS["sum"]


# -- class targets ---------------------------------------------------------------------------------


def class_axis(input: Any) -> int:
    """The dimension of the classes: the only one, else the second."""
    return 0 if len(input.aval.shape) == 1 else 1


def check_shapes(name: str, input: Any, target: Any) -> None:
    """Raise unless the target has the input's shape without the classes."""
    shape = input.aval.shape
    axis = class_axis(input)
    if not shape or target.aval.shape != shape[:axis] + shape[axis + 1 :]:
        need = "(C), (N, C) or (N, C, ...)" if not shape else f"{list(shape[:axis] + shape[axis + 1 :])}"
        raise ShapeError(
            message(name, "the target's shape does not fit the input's", describe((input.aval, target.aval)),
                    f"The input must be {need}" if not shape else f"The target must be {need}")
        )  # fmt: skip


def classes(name: str, target: Any, count: int, ignore: int | None) -> tuple[Any, int | None]:
    """The target as int64, and ``ignore``, None if it is known that no target has it.

    Raises:
        IndexRangeError: a known target is no class.
    """
    if dt.of(target.aval.dtype).category != 1:
        raise DTypeError(message(name, "class targets must be integers", str(target.aval), "Use target.long()"))
    value = target._value
    if value is not None:
        outside = (value < 0) | (value >= count)
        if outside.any():
            wrong = np.asarray(value)[np.asarray(outside)]
            if ignore is not None:
                wrong = wrong[wrong != ignore]
            if wrong.size:
                raise IndexRangeError(
                    message(name, "target out of range", f"class {wrong[0]} of {count} classes",
                            f"Classes are 0 to {count - 1}")
                )  # fmt: skip
            if ignore is not None and not np.any(value == ignore):
                ignore = None
        elif ignore is not None and not (0 <= ignore < count and np.any(value == ignore)):
            ignore = None
        return cast(target, dt.int64), ignore
    if ignore is None:
        return checked(name, cast(target, dt.int64), count, 1, False), ignore
    target = cast(target, dt.int64)
    ignored = target == ignore
    return pick(ignored, ignore, checked(name, pick(ignored, 0, target), count, 1, False)), ignore


def check_weight(name: str, weight: Any, count: int) -> None:
    """Raise unless there is one weight for each class."""
    if weight.aval.shape != (count,):
        raise ShapeError(message(name, f"needs one weight for each of the {count} classes", str(weight.aval)))


def pick_class(x: Any, target: Any, axis: int) -> Any:
    """x[n, target[n, ...], ...], shaped like the target."""
    shape = target.aval.shape
    index = OPS["reshape"](target, shape=(*shape[:axis], 1, *shape[axis:]))
    return OPS["reshape"](OPS["gather"](x, index, dim=axis), shape=shape)


def class_weights(like: Any, target: Any, weight: Any, ignored: Any) -> Any:
    """The factor of each target; None if all are 1."""
    factor = None if weight is None else OPS["take_rows"](weight, target)
    if ignored is not None:
        factor = pick(ignored, 0.0, OPS["fill"](like, value=1) if factor is None else factor)
    return factor


def averaged(loss: Any, factor: Any, reduction: str) -> Any:
    """The reduction of losses that are weighted already; the mean is divided by the sum of the weights."""
    if reduction != "mean" or factor is None:
        return reduced(loss, reduction)
    return reduced(loss, "sum") / reduced(factor, "sum")


# -- cross-entropy -----------------------------------------------------------------------------------


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Minus the input (log-probabilities) at the target class.

    Shapes: input (C), (N, C) or (N, C, ...), target the same without C. The mean is weighted; of no
    targets it is NaN.

    >>> import wengert as wg
    >>> wg.nn.functional.nll_loss(wg.tensor([[-0.5, -1.0]]), wg.tensor([1]))
    tensor(1.)

    Raises:
        ShapeError: the shapes do not fit.
        IndexRangeError: a target is no class and not ``ignore_index``.
    """
    reduction = chosen_reduction("nll_loss", reduction, size_average, reduce)
    return _class_loss(_nll_loss, "nll_loss", input, target, weight, ignore_index, reduction)


def _class_loss(
    f: Any, name: str, input: Any, target: Any, weight: Any, ignore: int, reduction: str, *more: Any
) -> Any:
    if not isinstance(input, Handle) or not isinstance(target, Handle):
        raise DTypeError(message(name, "needs tensors", f"{type(input).__name__}, {type(target).__name__}"))
    check_shapes(name, input, target)
    axis = class_axis(input)
    count = input.aval.shape[axis]
    if weight is None:
        (input,) = tensors(name, input)
    else:
        check_weight(name, weight, count)
        input, weight = tensors(name, input, weight)
    target, known = classes(name, target, count, ignore)
    return f(input, target, weight, axis, known, reduction, *more)


@wide_formula
def _nll_loss(x: Any, target: Any, weight: Any, axis: int, ignore: int | None, reduction: str) -> Any:
    ignored = None if ignore is None else target == ignore
    if ignored is not None:
        target = pick(ignored, 0, target)
    loss = -pick_class(x, target, axis)
    return _weigh(loss, target, weight, ignored, reduction)


def _weigh(loss: Any, target: Any, weight: Any, ignored: Any, reduction: str) -> Any:
    factor = class_weights(loss, target, weight, ignored)
    if factor is not None:
        loss = loss * factor if ignored is None else pick(ignored, 0.0, loss * factor)
    return averaged(loss, factor, reduction)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Minus the log-probability of the target; the input holds logits.

    Shapes: input (C), (N, C) or (N, C, ...); target the same without C and integer (classes), or the
    input's shape and floating (probabilities). ``label_smoothing`` mixes the target with the uniform
    distribution (Szegedy et al. 2016).

    >>> import wengert as wg
    >>> wg.nn.functional.cross_entropy(wg.tensor([[2.0, 0.0], [0.0, 0.0]]), wg.tensor([0, 1]))
    tensor(0.4100)

    Raises:
        ShapeError: the shapes do not fit.
        IndexRangeError: a target is no class and not ``ignore_index``.
    """
    name = "cross_entropy"
    reduction = chosen_reduction(name, reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(message(name, "label_smoothing must be between 0 and 1", str(label_smoothing)))
    if isinstance(target, Handle) and isinstance(input, Handle) and target.aval.shape == input.aval.shape != ():
        return _from_probabilities(name, input, target, weight, reduction, label_smoothing)
    return _class_loss(_cross_entropy, name, input, target, weight, ignore_index, reduction, label_smoothing)


@wide_formula
def _cross_entropy(
    x: Any, target: Any, weight: Any, axis: int, ignore: int | None, reduction: str, smoothing: float
) -> Any:
    ignored = None if ignore is None else target == ignore
    if ignored is not None:
        target = pick(ignored, 0, target)
    z = below_top(x, axis)
    log_total = _LOG(_SUM(_EXP(z), axes=(axis,)))
    loss = _weigh(log_total - pick_class(z, target, axis), target, weight, ignored, reduction)
    if not smoothing:
        return loss
    if weight is None:
        smooth = log_total * x.aval.shape[axis] - _SUM(z, axes=(axis,))
    else:
        w = along(weight, z, axis)
        smooth = log_total * _SUM(weight, axes=(0,)) - _SUM(z * w, axes=(axis,))
    if ignored is not None:
        smooth = pick(ignored, 0.0, smooth)
    smooth = averaged(smooth, class_weights(smooth, target, weight, ignored), reduction)
    return loss * (1.0 - smoothing) + smooth * (smoothing / x.aval.shape[axis])


def along(weight: Any, like: Any, axis: int) -> Any:
    """One number a class, repeated to the shape of ``like``."""
    shape = tuple(n if i == axis else 1 for i, n in enumerate(like.aval.shape))
    return expand_to(OPS["reshape"](weight, shape=shape), like.aval.shape)


def _from_probabilities(name: str, input: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Any:
    if target.aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(
            message(name, "a target of the input's shape must hold probabilities", str(target.aval),
                    "For classes leave out the class dimension, for probabilities use target.float()")
        )  # fmt: skip
    axis = class_axis(input)
    if weight is None:
        x, t = tensors(name, input, target)
    else:
        check_weight(name, weight, input.aval.shape[axis])
        x, t, weight = tensors(name, input, target, weight)
    return _soft_cross_entropy(x, t, weight, axis, reduction, smoothing)


@wide_formula
def _soft_cross_entropy(x: Any, t: Any, weight: Any, axis: int, reduction: str, smoothing: float) -> Any:
    shape = x.aval.shape
    z = below_top(x, axis)
    log_p = z - spread(_LOG(_SUM(_EXP(z), axes=(axis,))), z, (axis,))
    if smoothing:
        t = t * (1.0 - smoothing) + smoothing / shape[axis]
    loss = log_p * t
    if weight is not None:
        loss = loss * along(weight, loss, axis)
    loss = -_SUM(loss, axes=(axis,))
    if reduction == "mean":
        return reduced(loss, "sum") / float(math.prod(shape) / shape[axis] if shape[axis] else 0)
    return reduced(loss, reduction)


# -- margins -------------------------------------------------------------------------------------------


def _rows(name: str, input: Any) -> None:
    if len(input.aval.shape) not in (1, 2):
        raise ShapeError(message(name, "the input must have the shape (C) or (N, C)", str(input.aval)))


def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Mean over the other classes i of ``max(0, margin - x[target] + x[i])**p`` (p is 1 or 2).

    Shapes: input (N, C) or (C), target (N) or (); ``weight`` one number for each class.
    """
    name = "multi_margin_loss"
    reduction = chosen_reduction(name, reduction, size_average, reduce)
    if p not in (1, 2):
        raise ArgumentError(message(name, "p must be 1 or 2", str(p)))
    _rows(name, input)
    if len(input.aval.shape) == 1 and target.aval.shape == (1,):
        target = target.reshape(())
    check_shapes(name, input, target)
    count = input.aval.shape[-1]
    target, _ = classes(name, target, count, None)
    if weight is None:
        (x,) = tensors(name, input)
    else:
        check_weight(name, weight, count)
        x, weight = tensors(name, input, weight)
    return _multi_margin_loss(x, target, weight, p, float(margin), reduction)


@wide_formula
def _multi_margin_loss(x: Any, target: Any, weight: Any, p: int, margin: float, reduction: str) -> Any:
    axis = len(x.aval.shape) - 1
    own = spread(pick_class(x, target, axis), x, (axis,))
    number = expand_to(wrap(np.arange(x.aval.shape[axis])), x.aval.shape)
    z = x - own + margin
    z = pick(OPS["logical_and"](z > 0, number != spread(target, x, (axis,))), z, 0.0)
    if p == 2:
        z = z * z
    loss = OPS["mean"](z, axes=(axis,))
    if weight is not None:
        loss = loss * OPS["take_rows"](weight, target)
    return reduced(loss, reduction)


def multilabel_margin_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """Sum over targets j and other classes i of ``max(0, 1 - x[j] + x[i])``, divided by C.

    Shapes: input and target (N, C) or (C). A row of the target lists classes and ends at the first -1.
    """
    name = "multilabel_margin_loss"
    reduction = chosen_reduction(name, reduction, size_average, reduce)
    _rows(name, input)
    if target.aval.shape != input.aval.shape:
        raise ShapeError(message(name, "input and target must have the same size", describe((input.aval, target.aval))))
    target, _ = classes(name, target, input.aval.shape[-1], -1)
    (x,) = tensors(name, input)
    return _multilabel_margin_loss(x, target, reduction)


@wide_formula
def _multilabel_margin_loss(x: Any, target: Any, reduction: str) -> Any:
    axis = len(x.aval.shape) - 1
    size = x.aval.shape[axis]
    square = (*x.aval.shape, size)  # (target j, class i)
    listed = OPS["cumsum"](cast(target < 0, dt.int64), axis=axis, reverse=False) == 0
    own = OPS["gather"](x, pick(listed, target, 0), dim=axis)

    def columns(y: Any) -> Any:
        return OPS["expand"](y, shape=square, axes=(axis,))

    def rows(y: Any) -> Any:
        return OPS["expand"](y, shape=square, axes=(axis + 1,))

    number = expand_to(wrap(np.arange(size)), square)
    hit = OPS["logical_and"](rows(target) == number, rows(listed))
    other = OPS["logical_not"](OPS["any"](hit, axes=(axis,)))
    z = columns(x) - rows(own) + 1.0
    taken = OPS["logical_and"](OPS["logical_and"](rows(listed), columns(other)), z > 0)
    return reduced(_SUM(pick(taken, z, 0.0), axes=(axis, axis + 1)) / size, reduction)

"""Losses of numbers: regression, binary, ranking. Losses of classes stand in loss_classes.py."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..graph.aval import describe
from ..graph.handle import Handle, apply
from ..ops.base import OPS
from .activation import log1p_exp, pick, wide_formula
from .distance import cosine_similarity, pairwise_distance, pdist
from .front import expand_to
from .loss_classes import cross_entropy, multi_margin_loss, multilabel_margin_loss, nll_loss
from .loss_ctc import ctc_loss
from .loss_linear import linear_cross_entropy
from .loss_parts import chosen_reduction, expanded, not_negative, pair, reduced, same_size, tensors, weighted

# -- regression ----------------------------------------------------------------------------------


def mse_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """Mean squared error.

    >>> import wengert as wg
    >>> wg.nn.functional.mse_loss(wg.tensor([1.0, 2.0]), wg.tensor([0.0, 0.0]))
    tensor(2.5000)
    """
    reduction = chosen_reduction("mse_loss", reduction, size_average, reduce)
    return _mse_loss(*pair("mse_loss", input, target, weight), reduction)


@wide_formula
def _mse_loss(x: Any, y: Any, weight: Any, reduction: str) -> Any:
    d = x - y
    return weighted(d * d, weight, reduction)


def l1_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """Mean absolute error; the derivative at 0 is 0."""
    reduction = chosen_reduction("l1_loss", reduction, size_average, reduce)
    return _l1_loss(*pair("l1_loss", input, target, weight), reduction)


@wide_formula
def _l1_loss(x: Any, y: Any, weight: Any, reduction: str) -> Any:
    return weighted(OPS["abs"](x - y), weight, reduction)


def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Any:
    """``d**2 / (2 beta)`` where |d| < beta, else ``|d| - beta / 2``."""
    reduction = chosen_reduction("smooth_l1_loss", reduction, size_average, reduce)
    if beta < 0:
        raise ArgumentError(message("smooth_l1_loss", "beta must not be negative", str(beta)))
    x, y, _ = pair("smooth_l1_loss", input, target)
    return _smooth_l1_loss(x, y, reduction, beta) if beta else _l1_loss(x, y, None, reduction)


@wide_formula
def _smooth_l1_loss(x: Any, y: Any, reduction: str, beta: float) -> Any:
    d = OPS["abs"](x - y)
    return reduced(OPS["where"](d < beta, d * d * (0.5 / beta), d - 0.5 * beta), reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """``d**2 / 2`` where |d| < delta, else ``delta (|d| - delta / 2)`` (Huber 1964)."""
    reduction = chosen_reduction("huber_loss", reduction)
    if delta <= 0:
        raise ArgumentError(message("huber_loss", "delta must be positive", str(delta)))
    return _huber_loss(*pair("huber_loss", input, target, weight), reduction, delta)


@wide_formula
def _huber_loss(x: Any, y: Any, weight: Any, reduction: str, delta: float) -> Any:
    d = OPS["abs"](x - y)
    near = pick(d < delta, d, 0.0)  # no infinity, whose derivative would be NaN
    loss = OPS["where"](d < delta, near * near * 0.5, (d - 0.5 * delta) * delta)
    return reduced(loss if weight is None else loss * weight, reduction)


def _fitting_variance(input: Any, var: Any) -> Any:
    """The variance as a tensor that broadcasts to the input."""
    if not isinstance(var, Handle):
        if var < 0:
            raise ArgumentError(message("gaussian_nll_loss", "var has negative entries", str(var)))
        return OPS["fill"](input, value=float(var))
    if var._value is not None and bool(np.any(var._value < 0)):
        raise ArgumentError(message("gaussian_nll_loss", "var has negative entries", str(var.aval)))
    shape, own = input.aval.shape, var.aval.shape
    if own == shape:
        return var
    if shape[:-1] == own:
        return apply(OPS["reshape"], (var,), {"shape": (*own, 1)})
    different = [n for m, n in zip(shape, own, strict=False) if m != n]
    if len(shape) != len(own) or different != [1]:
        raise ShapeError(message("gaussian_nll_loss", "var is of incorrect size", f"{var.aval} for {input.aval}"))
    return var


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """Negative log-likelihood of a normal distribution with mean ``input`` and variance ``var``.

    ``var``: a number, or a tensor like the input, or one value for each row. It is clamped to at least
    ``eps``; the gradient ignores the clamp. ``full`` adds log(2 pi) / 2.
    """
    reduction = chosen_reduction("gaussian_nll_loss", reduction)
    x, y, v = tensors("gaussian_nll_loss", input, target, _fitting_variance(input, var))
    return _gaussian_nll_loss(x, y, v, full, eps, reduction)


@wide_formula
def _gaussian_nll_loss(x: Any, y: Any, var: Any, full: bool, eps: float, reduction: str) -> Any:
    var = var + OPS["stop_gradient"](pick(var < eps, eps, var) - var)
    d = x - y
    loss = (OPS["log"](var) + d * d / var) * 0.5
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Negative log-likelihood of Poisson counts with rate ``exp(input)``, or ``input``.

    ``full`` adds Stirling's approximation of log(target!) where the target exceeds 1.
    """
    reduction = chosen_reduction("poisson_nll_loss", reduction, size_average, reduce)
    return _poisson_nll_loss(*tensors("poisson_nll_loss", input, target), log_input, full, eps, reduction)


@wide_formula
def _poisson_nll_loss(x: Any, y: Any, log_input: bool, full: bool, eps: float, reduction: str) -> Any:
    loss = OPS["exp"](x) - y * x if log_input else x - y * OPS["log"](x + eps)
    if full:
        log = OPS["log"](pick(y <= 1, 1.0, y))
        loss = loss + pick(y <= 1, 0.0, y * log - y + log * 0.5 + 0.5 * math.log(2 * math.pi))
    return reduced(loss, reduction)


def kl_div(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Any:
    """Kullback-Leibler divergence of the target from ``exp(input)``: sum of t (log t - input).

    ``reduction="batchmean"`` divides the sum by the first size, as the definition wants.
    """
    batch = reduction == "batchmean"
    chosen = chosen_reduction("kl_div", "sum" if batch else reduction, size_average, reduce)
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    out = _kl_div(*tensors("kl_div", input, target), chosen, log_target)
    return out / input.aval.shape[0] if batch and input.aval.shape else out


@wide_formula
def _kl_div(x: Any, t: Any, reduction: str, log_target: bool) -> Any:
    if log_target:
        return reduced(OPS["exp"](t) * (t - x), reduction)
    return reduced(t * OPS["log"](pick(t == 0, 1.0, t)) - t * x, reduction)


# -- binary ----------------------------------------------------------------------------------------


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Cross-entropy of probabilities; logarithms are clamped at -100.

    >>> import wengert as wg
    >>> wg.nn.functional.binary_cross_entropy(wg.tensor([0.5]), wg.tensor([1.0]))
    tensor(0.6931)

    Raises:
        ShapeError: input and target differ in size.
        ArgumentError: an input is outside [0, 1].
    """
    name = "binary_cross_entropy"
    reduction = chosen_reduction(name, reduction, size_average, reduce)
    same_size(name, input, target)
    value = input._value
    if value is not None and value.size and not ((value.min() >= 0 and value.max() <= 1) or np.isnan(value).any()):
        raise ArgumentError(message(name, "inputs must lie between 0 and 1", str(input.aval), "Apply sigmoid first"))
    if weight is None:
        return _binary_cross_entropy(*tensors(name, input, target), None, reduction)
    x, t, w = tensors(name, input, target, weight)
    return _binary_cross_entropy(x, t, expand_to(w, x.aval.shape), reduction)


@wide_formula
def _binary_cross_entropy(x: Any, t: Any, weight: Any, reduction: str) -> Any:
    # As in PyTorch, the derivatives have x (1 - x), but at least 1e-12, below: they are finite at 0 and 1.
    edge = x * (1.0 - x) < 1e-12
    inner = pick(edge, 0.5, x)
    yes = _with_slope(OPS["log"](x), OPS["where"](edge, x * (1.0 - 0.5 * x) * 1e12, OPS["log"](inner)))
    no = _with_slope(OPS["log1p"](-x), OPS["where"](edge, x * x * -0.5e12, OPS["log1p"](-inner)))
    loss = (t - 1.0) * no - t * yes
    return reduced(loss if weight is None else loss * weight, reduction)


def _with_slope(value: Any, slope: Any) -> Any:
    """The value, at least -100, with the derivatives of ``slope``."""
    return OPS["substitute"](slope, OPS["stop_gradient"](pick(value < -100, -100.0, value)))


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """Cross-entropy of ``sigmoid(input)``, without overflow or cancellation.

    ``weight`` and ``pos_weight`` (a factor of the positive part) are broadcast.

    >>> import wengert as wg
    >>> wg.nn.functional.binary_cross_entropy_with_logits(wg.tensor([0.0, 100.0]), wg.tensor([1.0, 0.0]))
    tensor(50.3466)
    """
    name = "binary_cross_entropy_with_logits"
    reduction = chosen_reduction(name, reduction, size_average, reduce)
    same_size(name, input, target)
    given = [x for x in (weight, pos_weight) if x is not None]
    x, t, *rest = tensors(name, input, target, *given)
    rest = iter(rest)
    w = None if weight is None else next(rest)
    return _binary_cross_entropy_with_logits(x, t, w, None if pos_weight is None else next(rest), reduction)


@wide_formula
def _binary_cross_entropy_with_logits(x: Any, t: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
    positive = x > 0
    small = OPS["log1p"](OPS["exp"](pick(positive, -x, x)))
    yes = t if pos_weight is None else t * pos_weight
    # (1 - t) softplus(x) + yes softplus(-x), where both share `small`
    loss = x * OPS["where"](positive, 1.0 - t, -yes)
    loss = loss + (small if pos_weight is None else small * (1.0 - t + yes))
    return reduced(loss if weight is None else loss * weight, reduction)


def soft_margin_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Any:
    """``log(1 + exp(-target * input))`` for targets 1 and -1."""
    reduction = chosen_reduction("soft_margin_loss", reduction, size_average, reduce)
    same_size("soft_margin_loss", input, target)
    return _soft_margin_loss(*tensors("soft_margin_loss", input, target), reduction)


@wide_formula
def _soft_margin_loss(x: Any, t: Any, reduction: str) -> Any:
    return reduced(log1p_exp(-t * x), reduction)


def multilabel_soft_margin_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Binary cross-entropy with logits, averaged over the last dimension, then reduced."""
    name = "multilabel_soft_margin_loss"
    reduction = chosen_reduction(name, reduction, size_average, reduce)
    if weight is None:
        return _multilabel_soft_margin_loss(*tensors(name, input, target), None, reduction)
    return _multilabel_soft_margin_loss(*tensors(name, input, target, weight), reduction)


@wide_formula
def _multilabel_soft_margin_loss(x: Any, t: Any, weight: Any, reduction: str) -> Any:
    loss = t * log1p_exp(-x) + (1.0 - t) * log1p_exp(x)
    if weight is not None:
        loss = loss * weight
    return reduced(OPS["mean"](loss, axes=(len(loss.aval.shape) - 1,)), reduction)


# -- ranking and embeddings ------------------------------------------------------------------------


def hinge_embedding_loss(
    input: Any,
    target: Any,
    margin: float = 1.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """The input where the target is 1, ``max(0, margin - input)`` where it is -1."""
    reduction = chosen_reduction("hinge_embedding_loss", reduction, size_average, reduce)
    return _hinge_embedding_loss(*tensors("hinge_embedding_loss", input, target), margin, reduction)


@wide_formula
def _hinge_embedding_loss(x: Any, t: Any, margin: float, reduction: str) -> Any:
    x, t = expanded(x, t)
    loss = pick(t == 1, 0.0, not_negative(margin - x)) + pick(t == -1, 0.0, x)
    return reduced(loss, reduction)


def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """``max(0, margin - target * (input1 - input2))`` for targets 1 and -1."""
    name = "margin_ranking_loss"
    reduction = chosen_reduction(name, reduction, size_average, reduce)
    ranks = {len(x.aval.shape) for x in (input1, input2, target)}
    if len(ranks) != 1:
        raise ShapeError(
            message(name, "inputs and target must have as many dimensions",
                    describe((input1.aval, input2.aval, target.aval)))
        )  # fmt: skip
    return _margin_ranking_loss(*tensors(name, input1, input2, target), margin, reduction)


@wide_formula
def _margin_ranking_loss(x: Any, y: Any, t: Any, margin: float, reduction: str) -> Any:
    return reduced(not_negative(-t * (x - y) + margin), reduction)


def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """``1 - cos`` of the rows where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Shapes: inputs (N, D) and target (N), or inputs (D) and target ().
    """
    name = "cosine_embedding_loss"
    reduction = chosen_reduction(name, reduction, size_average, reduce)
    seen = describe((input1.aval, input2.aval, target.aval))
    rank = len(target.aval.shape)
    if rank > 1:
        raise ShapeError(message(name, "the target must have 0 or 1 dimensions", seen))
    if len(input1.aval.shape) != rank + 1 or len(input2.aval.shape) != rank + 1:
        raise ShapeError(message(name, f"a {rank}-d target needs {rank + 1}-d inputs", seen))
    return _cosine_embedding_loss(*tensors(name, input1, input2, target), margin, reduction)


@wide_formula
def _cosine_embedding_loss(x: Any, y: Any, t: Any, margin: float, reduction: str) -> Any:
    x, y = expanded(x, y)
    axes = (len(x.aval.shape) - 1,)
    dot, left, right = (OPS["sum"](p, axes=axes) for p in (x * y, x * x, y * y))
    cos = dot / OPS["sqrt"]((left + 1e-12) * (right + 1e-12))
    cos, t = expanded(cos, t)
    loss = pick(t == 1, 1.0 - cos, 0.0) + pick(t == -1, not_negative(cos - margin), 0.0)
    return reduced(loss, reduction)


def _check_triplet(name: str, margin: float, anchor: Any, positive: Any, negative: Any) -> None:
    if margin <= 0:
        raise ArgumentError(message(name, "margin must be greater than 0", str(margin)))
    avals = [x.aval for x in (anchor, positive, negative)]
    if len({len(a.shape) for a in avals}) != 1:
        raise ShapeError(message(name, "the three tensors must have as many dimensions", describe(avals)))


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """``max(0, distance(anchor, positive) - distance(anchor, negative) + margin)``.

    ``swap``: the distance of positive and negative counts if it is the smaller one (Balntas et al. 2016).
    """
    name = "triplet_margin_with_distance_loss"
    reduction = chosen_reduction(name, reduction)
    _check_triplet(name, margin, anchor, positive, negative)
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = OPS["minimum"](far, distance(positive, negative))
    return _triplet(near, far, margin, reduction)


@wide_formula
def _triplet(near: Any, far: Any, margin: float, reduction: str) -> Any:
    return reduced(not_negative(near - far + margin), reduction)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """`triplet_margin_with_distance_loss` with `pairwise_distance` of order ``p``."""
    reduction = chosen_reduction("triplet_margin_loss", reduction, size_average, reduce)
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda x, y: pairwise_distance(x, y, p, eps),
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "ctc_loss", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss",
    "linear_cross_entropy", "margin_ranking_loss", "mse_loss", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss", "pairwise_distance", "pdist", "poisson_nll_loss", "smooth_l1_loss",
    "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
]  # fmt: skip

# What PyTorch offers as torch.name too (with the same arguments); none of them is a method of Tensor.
TENSOR_LEVEL = ("cosine_similarity", "pairwise_distance", "pdist")

"""Gradient clipping."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

from ... import api, linalg
from ...config import no_grad
from ...errors import AnomalyError, message
from ...tensor import Tensor

Tensors = Iterable[Tensor] | Tensor


def _listed(tensors: Tensors) -> list[Any]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensors) -> list[Any]:
    return [p.grad for p in _listed(parameters) if p.grad is not None]


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The p-norm of all tensors as if they were one vector.

    Args:
        tensors: one, or several.
        norm_type: the p; may be infinite.
        error_if_nonfinite: whether a norm that is infinite or NaN is an error.
        foreach: no effect.

    >>> import wengert as wg
    >>> wg.nn.utils.get_total_norm([wg.tensor([3.0]), wg.tensor([[0.0, 4.0]])])
    tensor(5.)
    """
    parts = [linalg.vector_norm(x, float(norm_type)) for x in _listed(tensors)]
    if not parts:
        return api.tensor(0.0)
    total = linalg.vector_norm(api.stack(parts), float(norm_type))
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise AnomalyError(
            message(
                "get_total_norm",
                f"the total norm of order {float(norm_type)} is non-finite",
                str(total.item()),
                "Find the op that made it with wg.autograd.detect_anomaly(), or pass error_if_nonfinite=False",
            )
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale gradients down by ``max_norm / total_norm`` if that is below 1."""
    with no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for gradient in _gradients(parameters):
            gradient.mul_(factor.to(gradient.dtype))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale gradients down so that their norm, all together, is at most ``max_norm``.

    Returns:
        The norm before. The other arguments are those of `get_total_norm`.

    >>> import wengert as wg
    >>> p = wg.nn.Parameter(wg.ones(2))
    >>> (p * wg.tensor([3.0, 4.0])).sum().backward()
    >>> wg.nn.utils.clip_grad_norm_([p], 1.0), p.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    listed = _listed(parameters)
    with no_grad():
        total = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(listed, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Deprecated: the old name of `clip_grad_norm_`."""
    words = "nn.utils.clip_grad_norm is now deprecated in favor of nn.utils.clip_grad_norm_."
    warnings.warn(words, category=FutureWarning, stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Hold each element of the gradients between -clip_value and clip_value."""
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.clamp_(-float(clip_value), float(clip_value))

"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ... import api
from ...errors import ShapeError, message
from ...tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters flat, one after the other; gradients flow through.

    >>> import wengert as wg
    >>> wg.nn.utils.parameters_to_vector([wg.ones(1, 2), wg.zeros(1)])
    tensor([1., 1., 0.])
    """
    return api.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Any]) -> None:
    """Put the parts of a vector in the parameters' place.

    Raises:
        ShapeError: the vector has not as many elements as all parameters.
    """
    listed = list(parameters)
    wanted = sum(p.numel() for p in listed)
    if tuple(vec.shape) != (wanted,):
        seen = f"shape {tuple(vec.shape)}"
        raise ShapeError(message("vector_to_parameters", f"expected a vector of {wanted} elements", seen))
    start = 0
    for p in listed:
        p.data = vec[start : start + p.numel()].reshape(p.shape).detach().clone()
        start += p.numel()

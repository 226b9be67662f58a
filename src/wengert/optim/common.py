"""What the methods share: running on bare arrays, the step count, the gradient to follow, checks of options.

Each method's mathematics stands once, in a function of one parameter's tensors or arrays: it is written
with the operators that both have, and changes its first arguments by ``+=``, ``-=``, ``*=`` and
``x[...] =`` only. `in_place` chooses which of the two it gets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import api
from ..config import STATE
from ..errors import ArgumentError, message
from ..graph.alias import is_pinned
from ..tensor import Tensor

BLOCK = 16384  # elements: a block of all arrays of a formula, and what it computes between, stays in the cache


def in_place(formula: Callable[..., None], changed: tuple[Tensor | None, ...], grad: Tensor, **options: Any) -> None:
    """Let ``formula(*changed, grad, **options)`` change tensors of one shape.

    While nothing looks on it gets the bare arrays, which saves most of the time of a step on small
    parameters, and large ones block by block. While a graph is traced or recorded, and where memory is
    shared or a graph still needs its values, it gets the tensors.
    """
    if STATE.watchers or not all(x is None or is_free(x) for x in changed):
        formula(*changed, grad, **options)
        return
    arrays = [None if x is None else x._value for x in (*changed, grad)]
    size = grad._value.size
    if size <= BLOCK or not all(x is None or x.flags.c_contiguous for x in arrays[:-1]):
        formula(*arrays, **options)
        return
    arrays[-1] = np.ascontiguousarray(arrays[-1])  # gradients of weights often come transposed
    flat = [None if x is None else x.reshape(-1) for x in arrays]
    for start in range(0, size, BLOCK):
        formula(*[None if x is None else x[start : start + BLOCK] for x in flat], **options)


def is_free(x: Tensor) -> bool:
    """Whether a tensor's memory may be overwritten: it is the tensor's own, and no graph needs the values."""
    value, node, alias = x._value, x._node, x._alias
    if type(value) is not np.ndarray or not value.flags.writeable:
        return False
    recorded = node is not None and node.requires_grad and node.op is not None
    view = alias is not None and alias.base is not None
    del node, alias  # `is_pinned` counts who refers to them
    return not recorded and not view and not is_pinned(x)


def new_step() -> Tensor:
    """The step count at the start. A tensor, so that a compiled training step counts on."""
    return api.zeros((), dtype=api.float32)


def count(step: Tensor) -> Any:
    """Add one to a step count in place; gives it as a number, or while a graph is traced as a tensor."""
    if STATE.watchers == 0 and is_free(step):
        step._value += 1
    else:
        step.add_(1)
    return step if STATE.trace is not None else step.item()


def effective_gradient(param: Any, grad: Any, weight_decay: Any, maximize: bool) -> Any:
    """The gradient to follow: turned round to maximize, and with the gradient of the L2 penalty."""
    if maximize:
        grad = -grad
    if isinstance(weight_decay, Tensor) or weight_decay != 0:
        grad = grad + param * weight_decay
    return grad


def maximum(x: Any, y: Any) -> Any:
    """The larger of two arrays or tensors, element by element."""
    return np.maximum(x, y) if isinstance(x, np.ndarray) else api.maximum(x, y)


def rate(lr: Any) -> Any:
    """A learning rate as a number; while a graph is traced one that is a tensor stays one."""
    if isinstance(lr, Tensor):
        return lr if STATE.trace is not None else lr.item()
    return float(lr)


def check_at_least(optimizer: str, what: str, value: Any, least: float = 0.0) -> None:
    """Raise unless ``value >= least``."""
    if isinstance(value, Tensor):
        return
    if not value >= least:
        raise ArgumentError(message(optimizer, f"Invalid {what}", f"{value}", f"It must be at least {least:g}"))


def check_below_one(optimizer: str, what: str, value: Any) -> None:
    """Raise unless ``0 <= value < 1``."""
    if isinstance(value, Tensor):
        return
    if not 0.0 <= value < 1.0:
        raise ArgumentError(message(optimizer, f"Invalid {what}", f"{value}", "It must be at least 0 and below 1"))


def ignore_hints(optimizer: str, foreach: Any, fused: Any, capturable: Any, differentiable: Any) -> None:
    """PyTorch's switches between implementations change no value; there is one implementation here."""
    del foreach, fused, capturable
    if differentiable:
        raise ArgumentError(
            message(
                optimizer,
                "differentiable=True is not supported",
                "",
                "Write the update with tensors in your own code",
            )
        )

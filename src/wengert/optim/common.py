"""What the methods share: running on bare arrays, the step count, the gradient to follow, checks of options.

Each method's mathematics stands once, in a function of one parameter's tensors or arrays: it is written
with the operators that both have, and changes its first arguments by ``+=``, ``-=``, ``*=`` and
``x[...] =`` only. `in_place` chooses which of the two it gets.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import api
from ..config import STATE
from ..errors import ArgumentError, DTypeError, message
from ..graph.pinned import is_pinned
from ..tensor import Tensor
from .boxed import boxed

BLOCK = 262144  # elements: what is computed between stays in the cache, and calls are few
SMALL = 4096  # elements: below, fresh arrays are cheaper than finding scratch memory


class _Scratch(threading.local):
    """Scratch memory of a thread, one array for each dtype."""

    def __init__(self) -> None:
        self.arrays: dict[Any, Any] = {}


_SCRATCH = _Scratch()


def in_place(formula: Callable[..., None], changed: tuple[Tensor | None, ...], grad: Tensor, **options: Any) -> None:
    """Let an elementwise ``formula(*changed, grad, **options)`` change tensors of one shape.

    While nothing looks on it gets the bare arrays, which saves most of the time of a step on small
    parameters, and large ones block by block. While a graph is traced or recorded, and where memory is
    shared or a graph still needs its values, it gets the tensors. Of complex tensors it gets real and
    imaginary parts as coordinates.
    """
    if STATE.watchers or not all_free(changed):
        if not grad.is_complex():
            _on_tensors(formula, (*changed, grad), options)
            return
        parts = tuple([None if x is None else api.view_as_real(x) for x in (*changed, grad)])
        _on_tensors(formula, parts, options)
        for x, part in zip(changed, parts):
            if x is not None:
                x.copy_(api.view_as_complex(part))
        return
    arrays: list[Any] = [None if x is None else x._value for x in changed]
    last = grad._value
    if last.size <= BLOCK and last.dtype.kind != "c":
        formula(*arrays, last, **options)
        return
    arrays.append(last)
    if not all([x is None or x.flags.c_contiguous for x in arrays[:-1]]):
        formula(*[None if x is None else _parts(x) for x in arrays], **options)
        return
    arrays[-1] = np.ascontiguousarray(arrays[-1])  # gradients of weights often come transposed
    flat: list[Any] = [None if x is None else _parts(x.reshape(-1)) for x in arrays]
    for start in range(0, flat[-1].size, BLOCK):
        formula(*[None if x is None else x[start : start + BLOCK] for x in flat], **options)


def whole(formula: Callable[..., None], changed: tuple[Tensor | None, ...], grad: Tensor, **options: Any) -> None:
    """`in_place` for a formula that is not elementwise: no blocks, and shapes may differ."""
    if STATE.watchers or not all_free(changed):
        _on_tensors(formula, (*changed, grad), options)
    else:
        formula(*[None if x is None else x._value for x in (*changed, grad)], **options)


def _on_tensors(formula: Callable[..., None], tensors: tuple[Any, ...], options: dict[str, Any]) -> None:
    if not boxed(formula, tensors, options):
        formula(*tensors, **options)


def _parts(x: Any) -> Any:
    """An array, or the real and imaginary parts of a complex one: views."""
    if x.dtype.kind != "c":
        return x
    if x.flags.c_contiguous:
        return x.reshape(-1).view(x.real.dtype)
    return np.lib.stride_tricks.as_strided(x.real, (*x.shape, 2), (*x.strides, x.itemsize // 2))


def all_free(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether the memory of all of them may be overwritten."""
    for x in tensors:
        if x is None:
            continue
        if x._node is None and x._alias is None:  # the usual case, in short
            value = x._value
            if type(value) is np.ndarray and value.flags.writeable:
                continue
            return False
        if not is_free(x):
            return False
    return True


def is_free(x: Tensor) -> bool:
    """Whether a tensor's memory may be overwritten: it is the tensor's own, and no graph needs the values."""
    value, node, alias = x._value, x._node, x._alias
    if type(value) is not np.ndarray or not value.flags.writeable:
        return False
    recorded = node is not None and node.requires_grad and node.op is not None
    view = alias is not None and alias.base is not None
    del node, alias  # `is_pinned` counts who refers to them
    return not recorded and not view and not is_pinned(x)


# --- updates that formulas are made of: on large arrays without fresh memory ---------------------------


def _scratch(x: Any) -> Any:
    """Memory like a large array's, kept for the next call; None for anything else."""
    if type(x) is not np.ndarray or not SMALL < x.size <= BLOCK:
        return None
    kept = _SCRATCH.arrays.get(x.dtype)
    if kept is None:
        kept = _SCRATCH.arrays[x.dtype] = np.empty(BLOCK, x.dtype)
    return kept[: x.size].reshape(x.shape)


def add_scaled(x: Any, y: Any, factor: Any) -> None:
    """``x += y · factor``."""
    work = _scratch(x)
    if work is None:
        x += y * factor
    else:
        np.multiply(y, factor, work)
        x += work


def add_product(x: Any, y: Any, z: Any, factor: Any) -> None:
    """``x += y · z · factor``."""
    work = _scratch(x)
    if work is None:
        x += y * z * factor
    else:
        np.multiply(y, z, work)
        work *= factor
        x += work


def move_towards(x: Any, y: Any, share: Any) -> None:
    """``x += (y - x) · share``: a running average takes in a new value."""
    work = _scratch(x)
    if work is None:
        x += (y - x) * share
    else:
        np.subtract(y, x, work)
        work *= share
        x += work


def add_over_root(x: Any, y: Any, square: Any, eps: Any, factor: Any) -> None:
    """``x += y / (√square + eps) · factor``: the step of all methods that scale by a running square."""
    work = _scratch(x)
    if work is None:
        x += y / (square**0.5 + eps) * factor
    else:
        np.sqrt(square, work)
        work += eps
        np.divide(y, work, work)
        work *= factor
        x += work


def seen(beta: Any, step: Any) -> Any:
    """``1 - beta ** step``: how much a running average that starts at zero has taken in."""
    if isinstance(step, Tensor) and not isinstance(beta, Tensor) and beta > 0:
        return -(step * math.log(beta)).expm1()  # in float32 the plain difference loses four digits
    kept: Any = beta
    return 1 - kept**step


def library(x: Any) -> Any:
    """The module whose ``where``, ``sign``, ``maximum`` … take ``x``: NumPy for arrays, else `wengert.api`."""
    return np if isinstance(x, np.ndarray | np.generic) else api


def larger(x: Any, y: Any) -> Any:
    """The larger of two numbers, one of which may be a tensor while a graph is traced."""
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        return max(x, y)
    x, y = (v if isinstance(v, Tensor) else api.full((), v, dtype=api.float32) for v in (x, y))
    return api.maximum(x, y)


def smaller(x: Any, y: Any) -> Any:
    """The smaller of two numbers, one of which may be a tensor while a graph is traced."""
    return -larger(-x, -y)


def state_for(param: Any, value: Any = 0) -> Any:
    """A number in a parameter's shape and dtype, to begin with: known also where the parameter is a symbol."""
    return api.full(tuple(param.shape), value, dtype=param.dtype)


def new_step() -> Tensor:
    """The step count at the start. A tensor, so that a compiled training step counts on."""
    return api.zeros((), dtype=api.float32)


def count(step: Tensor) -> Any:
    """Add one to a step count in place; gives it as a number, or while a graph is traced as a tensor."""
    if STATE.watchers == 0 and all_free((step,)):
        value = step._value
        value += 1
        return value.item()
    step.add_(1)
    return number(step)


def at_first(step: Any, start: Any, x: Tensor) -> Any:
    """The number ``start`` in the first step, later that of a tensor of a state.

    A compiled step begins each call like the one that was traced, so what Python code asks about the state is settled.
    """
    return api.where(step == 1, start, x) if isinstance(step, Tensor) else start if step == 1 else number(x)


def number(x: Tensor) -> Any:
    """The value of a 0-d tensor of a state; while a graph is traced the tensor itself."""
    return x if STATE.trace is not None else x.item()


def multiply(x: Tensor, factor: Any) -> Any:
    """Multiply a 0-d tensor of a state in its own precision; gives it like `number`."""
    x.mul_(factor)
    return number(x)


def put(x: Tensor, value: Any) -> None:
    """Set a 0-d tensor of a state."""
    if isinstance(value, Tensor):
        x.copy_(value)
    else:
        x.fill_(value)


def is_used(factor: Any) -> bool:
    """Whether a factor is not the number 0; one that may change from call to call of a compiled step never is."""
    return isinstance(factor, Tensor) or factor != 0


def effective_gradient(param: Any, grad: Any, weight_decay: Any, maximize: bool) -> Any:
    """The gradient to follow: turned round to maximize, and with the gradient of the L2 penalty."""
    if maximize:
        grad = -grad
    if is_used(weight_decay):
        grad = grad + param * weight_decay
    return grad


def rate(lr: Any) -> Any:
    """A learning rate as a number; while a graph is traced one that is a tensor stays one."""
    if isinstance(lr, Tensor):
        return lr if STATE.trace is not None else lr.item()
    return float(lr)


def check_rate(optimizer: str, lr: Any) -> None:
    """Raise unless a learning rate is a number, or a tensor with one element, and at least 0."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ArgumentError(message(optimizer, "Tensor lr must be 1-element", f"shape {tuple(lr.shape)}"))
    check_at_least(optimizer, "learning rate", lr)


def _unknown(value: Any) -> bool:
    return isinstance(value, Tensor) and value._value is None  # while a graph is traced


def check_at_least(optimizer: str, what: str, value: Any, least: float = 0.0) -> None:
    """Raise unless ``value >= least``."""
    if not _unknown(value) and not value >= least:
        raise ArgumentError(message(optimizer, f"Invalid {what}", f"{value}", f"It must be at least {least:g}"))


def check_above(optimizer: str, what: str, value: Any, bound: float = 0.0) -> None:
    """Raise unless ``value > bound``."""
    if not _unknown(value) and not value > bound:
        raise ArgumentError(message(optimizer, f"Invalid {what}", f"{value}", f"It must be above {bound:g}"))


def check_below_one(optimizer: str, what: str, value: Any) -> None:
    """Raise unless ``0 <= value < 1``."""
    if not _unknown(value) and not 0.0 <= value < 1.0:
        raise ArgumentError(message(optimizer, f"Invalid {what}", f"{value}", "It must be at least 0 and below 1"))


def check_adam(optimizer: str, group: dict[str, Any]) -> None:
    """The checks that all of Adam's kin share."""
    check_rate(optimizer, group["lr"])
    check_at_least(optimizer, "epsilon value", group.get("eps", 0.0))
    for index, beta in enumerate(group["betas"]):
        check_below_one(optimizer, f"beta parameter at index {index}", beta)
    check_at_least(optimizer, "weight_decay value", group.get("weight_decay", 0.0))


def refuse_complex(optimizer: str, param: Tensor) -> None:
    """Raise for a complex parameter."""
    if param.is_complex():
        raise DTypeError(message(optimizer, "complex parameters are not supported", str(param.dtype)))


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

"""RMSprop (Hinton, Neural Networks for Machine Learning, lecture 6e; centred: Graves 2013)."""

from __future__ import annotations

from typing import Any

from .. import api
from ..tensor import Tensor
from .optimizer import Optimizer, check_at_least, count, effective_gradient, ignore_hints, new_step


def rmsprop(
    param: Tensor,
    grad: Tensor,
    square_avg: Tensor,
    grad_avg: Tensor | None,
    momentum_buffer: Tensor | None,
    *,
    lr: Any,
    alpha: float,
    eps: float,
    momentum: float,
) -> None:
    """One step on one parameter, in place; ``grad_avg`` makes it the centred variant."""
    square_avg.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
    if grad_avg is not None:
        grad_avg.lerp_(grad, 1 - alpha)
        average = square_avg.addcmul(grad_avg, grad_avg, value=-1).sqrt_()
    else:
        average = square_avg.sqrt()
    average.add_(eps)
    if momentum_buffer is not None:
        momentum_buffer.mul_(momentum).addcdiv_(grad, average)
        param.add_(momentum_buffer, alpha=-lr)
    else:
        param.addcdiv_(grad, average, value=-lr)


class RMSprop(Optimizer):
    """Divides the gradient by the root of a running average of its square.

    Args:
        params: parameters or groups of parameters.
        lr: step size.
        alpha: how much the average keeps at each step.
        eps: added to the denominator.
        weight_decay: factor of the L2 penalty.
        momentum: how much of the last step is kept.
        centered: divide by the standard deviation of the gradient instead.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        ignore_hints("RMSprop", foreach, None, capturable, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        names = {"lr": "learning rate", "eps": "epsilon value", "momentum": "momentum value"}
        names |= {"weight_decay": "weight_decay value", "alpha": "alpha value"}
        for key, what in names.items():
            check_at_least("RMSprop", what, group[key])

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["square_avg"] = api.zeros_like(param)
        if group["momentum"] > 0 and "momentum_buffer" not in state:
            state["momentum_buffer"] = api.zeros_like(param)
        if group["centered"] and "grad_avg" not in state:
            state["grad_avg"] = api.zeros_like(param)
        count(state["step"])
        rmsprop(
            param,
            effective_gradient(param, grad, group["weight_decay"], group["maximize"]),
            state["square_avg"],
            state["grad_avg"] if group["centered"] else None,
            state["momentum_buffer"] if group["momentum"] > 0 else None,
            lr=group["lr"],
            alpha=group["alpha"],
            eps=group["eps"],
            momentum=group["momentum"],
        )

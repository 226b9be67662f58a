"""RMSprop (Hinton, Neural Networks for Machine Learning, lecture 6e; centred: Graves 2013)."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .common import (
    add_over_root,
    add_product,
    add_scaled,
    check_at_least,
    check_rate,
    count,
    effective_gradient,
    ignore_hints,
    in_place,
    is_used,
    move_towards,
    new_step,
    rate,
    state_for,
)
from .optimizer import Optimizer


def rmsprop(
    param: Any,
    square_avg: Any,
    grad_avg: Any,
    momentum_buffer: Any,
    grad: Any,
    *,
    lr: Any,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    maximize: bool,
) -> None:
    """One step on one parameter, in place; ``grad_avg`` (or None) makes it the centred variant."""
    grad = effective_gradient(param, grad, weight_decay, maximize)
    square_avg *= alpha
    add_product(square_avg, grad, grad, 1 - alpha)
    variance = square_avg
    if grad_avg is not None:
        move_towards(grad_avg, grad, 1 - alpha)
        variance = square_avg - grad_avg * grad_avg
    if momentum_buffer is None:
        add_over_root(param, grad, variance, eps, -lr)
        return
    momentum_buffer *= momentum
    add_over_root(momentum_buffer, grad, variance, eps, 1)
    add_scaled(param, momentum_buffer, -lr)


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
        check_rate("RMSprop", group["lr"])
        names = {"eps": "epsilon value", "momentum": "momentum value"}
        names |= {"weight_decay": "weight_decay value", "alpha": "alpha value"}
        for key, what in names.items():
            check_at_least("RMSprop", what, group[key])

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["square_avg"] = state_for(param)
        if is_used(group["momentum"]) and "momentum_buffer" not in state:
            state["momentum_buffer"] = state_for(param)
        if group["centered"] and "grad_avg" not in state:
            state["grad_avg"] = state_for(param)
        count(state["step"])
        in_place(
            rmsprop,
            (
                param,
                state["square_avg"],
                state["grad_avg"] if group["centered"] else None,
                state["momentum_buffer"] if is_used(group["momentum"]) else None,
            ),
            grad,
            lr=rate(group["lr"]),
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            maximize=group["maximize"],
        )

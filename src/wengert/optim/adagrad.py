"""Adagrad (Duchi, Hazan & Singer 2011)."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .common import (
    add_over_root,
    add_product,
    check_at_least,
    check_rate,
    count,
    effective_gradient,
    ignore_hints,
    in_place,
    new_step,
    rate,
    state_for,
)
from .optimizer import Optimizer


def adagrad(
    param: Any,
    total: Any,
    grad: Any,
    *,
    step: Any,
    lr: Any,
    lr_decay: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """One step on one parameter, in place; ``total`` sums the squares, ``step`` counts from 1."""
    grad = effective_gradient(param, grad, weight_decay, maximize)
    add_product(total, grad, grad, 1)
    add_over_root(param, grad, total, eps, -(lr / (1 + (step - 1) * lr_decay)))


class Adagrad(Optimizer):
    """Divides the gradient by the root of the sum of its squares since the start.

    Args:
        params: parameters or groups of parameters.
        lr: step size.
        lr_decay: how fast the step size falls: ``lr / (1 + t · lr_decay)``.
        weight_decay: factor of the L2 penalty.
        initial_accumulator_value: start of the sum of squares.
        eps: added to the denominator.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        ignore_hints("Adagrad", foreach, fused, None, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        check_rate("Adagrad", group["lr"])
        names = {"lr_decay": "lr_decay value", "weight_decay": "weight_decay value"}
        names |= {"initial_accumulator_value": "initial_accumulator_value value", "eps": "epsilon value"}
        for key, what in names.items():
            check_at_least("Adagrad", what, group[key])

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            start = group["initial_accumulator_value"]
            state["sum"] = state_for(param, complex(start, start) if param.is_complex() else start)
        in_place(
            adagrad,
            (param, state["sum"]),
            grad,
            step=count(state["step"]),
            lr=rate(group["lr"]),
            lr_decay=group["lr_decay"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )

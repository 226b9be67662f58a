"""Adam (Kingma & Ba 2015), AMSGrad (Reddi et al. 2018) and AdamW (Loshchilov & Hutter 2019)."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .common import (
    add_over_root,
    add_product,
    check_adam,
    count,
    effective_gradient,
    ignore_hints,
    in_place,
    is_used,
    library,
    move_towards,
    new_step,
    rate,
    seen,
    state_for,
)
from .optimizer import Optimizer


def adam(
    param: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    max_exp_avg_sq: Any,
    grad: Any,
    *,
    step: Any,
    lr: Any,
    betas: tuple[Any, Any],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """One step on one parameter, in place; ``max_exp_avg_sq`` (or None) makes it AMSGrad, ``step`` counts from 1."""
    beta1, beta2 = betas
    if decoupled and is_used(weight_decay):
        param *= 1 - lr * weight_decay
    grad = effective_gradient(param, grad, 0 if decoupled else weight_decay, maximize)
    move_towards(exp_avg, grad, 1 - beta1)
    exp_avg_sq *= beta2
    add_product(exp_avg_sq, grad, grad, 1 - beta2)
    square = exp_avg_sq
    if max_exp_avg_sq is not None:
        max_exp_avg_sq[...] = library(exp_avg_sq).maximum(max_exp_avg_sq, exp_avg_sq)
        square = max_exp_avg_sq
    # Both averages start at zero and are too small at first: divide by how much they have seen,
    # m/seen₁ / (√(v/seen₂) + eps), here with √seen₂ brought to the other numbers.
    root2 = seen(beta2, step) ** 0.5
    add_over_root(param, exp_avg, square, eps * root2, -(lr * root2 / seen(beta1, step)))


class Adam(Optimizer):
    """Steps of about ``lr`` in each coordinate, from running averages of the gradient and its square.

    Args:
        params: parameters or groups of parameters.
        lr: step size.
        betas: how much the averages of the gradient and of its square keep at each step.
        eps: added to the denominator.
        weight_decay: factor of the L2 penalty (in `AdamW`: of the decay, apart from the gradient).
        amsgrad: divide by the largest average so far instead of the newest.
        maximize: go up instead of down.
        decoupled_weight_decay: decay as `AdamW` does.

    >>> import wengert as wg
    >>> w = wg.nn.Parameter(wg.tensor([4.0]))
    >>> optimizer = wg.optim.Adam([w], lr=0.5)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     (w**2).sum().backward()
    ...     optimizer.step()
    >>> abs(w.item()) < 0.1
    True
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        ignore_hints(type(self).__name__, foreach, fused, capturable, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        check_adam(type(self).__name__, group)

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["exp_avg"], state["exp_avg_sq"] = state_for(param), state_for(param)
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = state_for(param)
        in_place(
            adam,
            (
                param,
                state["exp_avg"],
                state["exp_avg_sq"],
                state["max_exp_avg_sq"] if group["amsgrad"] else None,
            ),
            grad,
            step=count(state["step"]),
            lr=rate(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=group["decoupled_weight_decay"],
            maximize=group["maximize"],
        )


class AdamW(Adam):
    """`Adam` whose weight decay acts on the parameter itself, not through the gradient.

    The arguments are `Adam`'s; ``weight_decay`` starts at 0.01.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

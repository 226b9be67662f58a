"""Adam (Kingma & Ba 2015), AMSGrad (Reddi et al. 2018) and AdamW (Loshchilov & Hutter 2019)."""

from __future__ import annotations

from typing import Any

from .. import api
from ..tensor import Tensor
from .optimizer import (
    Optimizer,
    check_at_least,
    check_below_one,
    count,
    effective_gradient,
    ignore_hints,
    new_step,
)


def adam(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    *,
    step: Any,
    lr: Any,
    betas: tuple[Any, Any],
    eps: float,
) -> None:
    """One step on one parameter, in place. ``step`` counts from 1; ``max_exp_avg_sq`` makes it AMSGrad."""
    beta1, beta2 = betas
    exp_avg.lerp_(grad, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    # Both averages start at zero and are too small at first: divide by how much they have seen.
    seen1, seen2 = 1 - beta1**step, 1 - beta2**step
    square = exp_avg_sq
    if max_exp_avg_sq is not None:
        square = max_exp_avg_sq.copy_(api.maximum(max_exp_avg_sq, exp_avg_sq))
    denominator = (square.sqrt() / seen2**0.5).add_(eps)
    param.addcdiv_(exp_avg, denominator, value=-(lr / seen1))


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
        name = type(self).__name__
        check_at_least(name, "learning rate", group["lr"])
        check_at_least(name, "epsilon value", group["eps"])
        for index, beta in enumerate(group["betas"]):
            check_below_one(name, f"beta parameter at index {index}", beta)
        check_at_least(name, "weight_decay value", group["weight_decay"])

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["exp_avg"], state["exp_avg_sq"] = api.zeros_like(param), api.zeros_like(param)
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = api.zeros_like(param)
        decay = group["weight_decay"]
        if group["decoupled_weight_decay"]:
            grad = effective_gradient(param, grad, 0, group["maximize"])
            param.mul_(1 - group["lr"] * decay)
        else:
            grad = effective_gradient(param, grad, decay, group["maximize"])
        adam(
            param,
            grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            state["max_exp_avg_sq"] if group["amsgrad"] else None,
            step=count(state["step"]),
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
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

"""Adadelta (Zeiler 2012), Adamax (Kingma & Ba 2015), NAdam (Dozat 2016), RAdam (Liu et al. 2020), SparseAdam."""

from __future__ import annotations

from typing import Any

from .. import api
from ..errors import ArgumentError, message
from ..tensor import Tensor
from .common import (
    add_over_root,
    add_product,
    add_scaled,
    check_above,
    check_adam,
    check_at_least,
    check_rate,
    count,
    effective_gradient,
    ignore_hints,
    in_place,
    is_used,
    larger,
    library,
    move_towards,
    multiply,
    new_step,
    rate,
    refuse_complex,
    seen,
    state_for,
)
from .optimizer import Optimizer


def adadelta(
    param: Any, square_avg: Any, acc_delta: Any, grad: Any, *, lr: Any, rho: float, eps: float, **penalty: Any
) -> None:
    """One step on one parameter, in place."""
    grad = effective_gradient(param, grad, **penalty)
    square_avg *= rho
    add_product(square_avg, grad, grad, 1 - rho)
    delta = (acc_delta + eps) ** 0.5 / (square_avg + eps) ** 0.5 * grad
    acc_delta *= rho
    add_product(acc_delta, delta, delta, 1 - rho)
    add_scaled(param, delta, -lr)


class Adadelta(Optimizer):
    """Scales the gradient by the ratio of running averages of the steps' and the gradients' squares.

    Args:
        params: parameters or groups of parameters.
        lr: factor of the step.
        rho: how much the averages keep at each step.
        eps: added to both averages.
        weight_decay: factor of the L2 penalty.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        ignore_hints("Adadelta", foreach, None, capturable, differentiable)
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_rate("Adadelta", group["lr"])
        if not 0.0 <= group["rho"] <= 1.0:
            raise ArgumentError(
                message("Adadelta", "Invalid rho value", f"{group['rho']}", "It must be between 0 and 1")
            )
        check_at_least("Adadelta", "epsilon value", group["eps"])
        check_at_least("Adadelta", "weight_decay value", group["weight_decay"])

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["square_avg"], state["acc_delta"] = state_for(param), state_for(param)
        count(state["step"])
        in_place(
            adadelta,
            (param, state["square_avg"], state["acc_delta"]),
            grad,
            lr=rate(group["lr"]),
            rho=group["rho"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )


def adamax(
    param: Any,
    exp_avg: Any,
    exp_inf: Any,
    grad: Any,
    *,
    step: Any,
    lr: Any,
    betas: tuple[Any, Any],
    eps: float,
    **penalty: Any,
) -> None:
    """One step on one parameter, in place; ``step`` counts from 1."""
    beta1, beta2 = betas
    grad = effective_gradient(param, grad, **penalty)
    move_towards(exp_avg, grad, 1 - beta1)
    exp_inf[...] = library(exp_inf).maximum(exp_inf * beta2, abs(grad) + eps)
    param -= exp_avg / exp_inf * (lr / seen(beta1, step))


class Adamax(Optimizer):
    """`Adam` with a decaying maximum of the gradient's size instead of the root of its mean square.

    Args:
        params: parameters or groups of parameters.
        lr: step size.
        betas: how much the average and the maximum keep at each step.
        eps: added to the gradient's size.
        weight_decay: factor of the L2 penalty.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        ignore_hints("Adamax", foreach, None, capturable, differentiable)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_adam("Adamax", group)

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["exp_avg"], state["exp_inf"] = state_for(param), state_for(param)
        in_place(
            adamax,
            (param, state["exp_avg"], state["exp_inf"]),
            grad,
            step=count(state["step"]),
            lr=rate(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )


def averages(
    param: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    grad: Any,
    lr: Any,
    betas: tuple[Any, Any],
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> Any:
    """What NAdam and RAdam begin with: decay, and the two averages. Returns the gradient to follow."""
    if decoupled and is_used(weight_decay):
        param *= 1 - lr * weight_decay
    grad = effective_gradient(param, grad, 0 if decoupled else weight_decay, maximize)
    move_towards(exp_avg, grad, 1 - betas[0])
    exp_avg_sq *= betas[1]
    add_product(exp_avg_sq, grad, grad, 1 - betas[1])
    return grad


def nadam(
    param: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    grad: Any,
    *,
    step: Any,
    lr: Any,
    betas: tuple[Any, Any],
    eps: float,
    momentum_now: Any,
    momentum_next: Any,
    product: Any,
    **penalty: Any,
) -> None:
    """One step on one parameter, in place; ``product`` is that of all momenta up to now."""
    grad = averages(param, exp_avg, exp_avg_sq, grad, lr, betas, **penalty)
    root = seen(betas[1], step) ** 0.5
    ahead = grad * ((1 - momentum_now) / (1 - product)) + exp_avg * (momentum_next / (1 - product * momentum_next))
    add_over_root(param, ahead, exp_avg_sq, eps * root, -(lr * root))


class NAdam(Optimizer):
    """`Adam` with Nesterov's momentum, which looks one step ahead.

    Args:
        params: parameters or groups of parameters.
        lr: step size.
        betas: how much the averages of the gradient and of its square keep at each step.
        eps: added to the denominator.
        weight_decay: factor of the L2 penalty, or of the decay.
        momentum_decay: how fast the momentum grows to its full size.
        decoupled_weight_decay: decay as `AdamW` does.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        ignore_hints("NAdam", foreach, None, capturable, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        check_adam("NAdam", group)
        check_at_least("NAdam", "momentum_decay value", group["momentum_decay"])

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"], state["mu_product"] = new_step(), api.ones((), dtype=api.float32)
            state["exp_avg"], state["exp_avg_sq"] = state_for(param), state_for(param)
        step, decay = count(state["step"]), group["momentum_decay"]
        now, following = (group["betas"][0] * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        in_place(
            nadam,
            (param, state["exp_avg"], state["exp_avg_sq"]),
            grad,
            step=step,
            lr=rate(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            momentum_now=now,
            momentum_next=following,
            product=multiply(state["mu_product"], now),
            weight_decay=group["weight_decay"],
            decoupled=group["decoupled_weight_decay"],
            maximize=group["maximize"],
        )


def radam(
    param: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    grad: Any,
    *,
    step: Any,
    lr: Any,
    betas: tuple[Any, Any],
    eps: float,
    **penalty: Any,
) -> None:
    """One step on one parameter, in place; while the variance is not yet known it is not divided by."""
    averages(param, exp_avg, exp_avg_sq, grad, lr, betas, **penalty)
    beta1, beta2 = betas
    seen1, seen2 = seen(beta1, step), seen(beta2, step)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / seen2
    rectified = larger((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length), 0.0) ** 0.5
    factor = lr / seen1
    known = length > 5.0
    if isinstance(known, Tensor):
        adaptive = rectified * seen2**0.5 / (exp_avg_sq**0.5 + eps)
        param -= exp_avg * factor * api.where(known, adaptive, api.ones_like(adaptive))
    elif known:
        add_over_root(param, exp_avg, exp_avg_sq, eps, -(factor * rectified * seen2**0.5))
    else:
        add_scaled(param, exp_avg, -factor)


class RAdam(Optimizer):
    """`Adam` that divides by the mean square only as far as enough gradients were seen to know it.

    Args:
        params: parameters or groups of parameters.
        lr: step size.
        betas: how much the averages of the gradient and of its square keep at each step.
        eps: added to the denominator.
        weight_decay: factor of the L2 penalty, or of the decay.
        decoupled_weight_decay: decay as `AdamW` does.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        ignore_hints("RAdam", foreach, None, capturable, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        check_adam("RAdam", group)

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["exp_avg"], state["exp_avg_sq"] = state_for(param), state_for(param)
        in_place(
            radam,
            (param, state["exp_avg"], state["exp_avg_sq"]),
            grad,
            step=count(state["step"]),
            lr=rate(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=group["decoupled_weight_decay"],
            maximize=group["maximize"],
        )


def sparse_adam(
    param: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    grad: Any,
    *,
    step: Any,
    lr: Any,
    betas: tuple[Any, Any],
    eps: float,
    maximize: bool,
) -> None:
    """One step of Adam where the gradient is not zero, in place."""
    lib = library(param)
    there, zero = grad != 0, lib.zeros_like(grad)
    grad = effective_gradient(param, grad, 0, maximize)
    beta1, beta2 = betas
    exp_avg += lib.where(there, (grad - exp_avg) * (1 - beta1), zero)
    exp_avg_sq += lib.where(there, (grad * grad - exp_avg_sq) * (1 - beta2), zero)
    size = lr * seen(beta2, step) ** 0.5 / seen(beta1, step)
    param -= lib.where(there, exp_avg / (exp_avg_sq**0.5 + eps) * size, zero)


class SparseAdam(Optimizer):
    """`Adam` that leaves parameter and averages alone where the gradient is zero, for embeddings.

    PyTorch's takes gradients of sparse layout only; this one takes dense gradients.

    Args:
        params: parameters or groups of parameters.
        lr: step size.
        betas: how much the averages of the gradient and of its square keep at each step.
        eps: added to the denominator.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def _check_group(self, group: dict[str, Any]) -> None:
        check_above("SparseAdam", "learning rate", group["lr"])
        check_above("SparseAdam", "epsilon value", group["eps"])
        check_adam("SparseAdam", group)
        for param in group["params"]:
            refuse_complex("SparseAdam", param)

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["exp_avg"], state["exp_avg_sq"] = state_for(param), state_for(param)
        elif not isinstance(state["step"], Tensor):  # PyTorch's counts in Python
            state["step"] = api.tensor(float(state["step"]), dtype=api.float32)
        in_place(
            sparse_adam,
            (param, state["exp_avg"], state["exp_avg_sq"]),
            grad,
            step=count(state["step"]),
            lr=rate(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            maximize=group["maximize"],
        )

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's format, in which this method's step counts are integers."""
        saved = super().state_dict()
        for key, entry in saved["state"].items():
            if isinstance(entry.get("step"), Tensor):
                saved["state"][key] = {**entry, "step": int(entry["step"].item())}
        return saved

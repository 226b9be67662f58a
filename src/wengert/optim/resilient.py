"""Methods that follow signs or average the path.

Rprop (Riedmiller & Braun 1993), Lion (Chen et al. 2023) and ASGD (Polyak & Juditsky 1992).
"""

from __future__ import annotations

from typing import Any

from .. import api
from ..errors import ArgumentError, message
from ..tensor import Tensor
from .common import (
    add_scaled,
    at_first,
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
    new_step,
    number,
    put,
    rate,
    state_for,
)
from .optimizer import Optimizer


def rprop(
    param: Any,
    prev: Any,
    step_size: Any,
    grad: Any,
    *,
    etas: tuple[float, float],
    step_sizes: tuple[float, float],
    maximize: bool,
) -> None:
    """One step on one parameter, in place; ``prev`` is the last gradient, zero where it turned round."""
    lib = library(param)
    grad = effective_gradient(param, grad, 0, maximize)
    same = lib.sign(grad * prev)
    step_size[...] = lib.where(same > 0, step_size * etas[1], lib.where(same < 0, step_size * etas[0], step_size))
    step_size[...] = lib.clip(step_size, *step_sizes)
    prev[...] = lib.where(same < 0, lib.zeros_like(grad), grad)
    param -= lib.sign(prev) * step_size


class Rprop(Optimizer):
    """Resilient backpropagation: steps by sign, each coordinate's longer while its sign stays.

    Args:
        params: parameters or groups of parameters.
        lr: first step size.
        etas: factors of the step size after a change of sign, and without one.
        step_sizes: smallest and largest step size.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        ignore_hints("Rprop", foreach, None, capturable, differentiable)
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def _check_group(self, group: dict[str, Any]) -> None:
        check_rate("Rprop", group["lr"])
        less, more = group["etas"]
        if not 0.0 < less < 1.0 < more:
            raise ArgumentError(message("Rprop", "Invalid eta values", f"{less}, {more}", "They lie around 1"))

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            lr = group["lr"].item() if isinstance(group["lr"], Tensor) else group["lr"]
            state["step"], state["prev"] = new_step(), state_for(param)
            state["step_size"] = state_for(param, complex(lr, lr) if param.is_complex() else lr)
        count(state["step"])
        in_place(
            rprop,
            (param, state["prev"], state["step_size"]),
            grad,
            etas=group["etas"],
            step_sizes=group["step_sizes"],
            maximize=group["maximize"],
        )


def asgd(param: Any, average: Any, grad: Any, *, eta: Any, share: Any, lambd: float, **penalty: Any) -> None:
    """One step on one parameter, in place; the average takes in ``share`` of the new value."""
    grad = effective_gradient(param, grad, **penalty)
    param *= 1 - lambd * eta
    add_scaled(param, grad, -eta)
    average *= 1 - share
    add_scaled(average, param, share)


class ASGD(Optimizer):
    """Stochastic gradient descent that also averages the path: ``state[p]["ax"]`` is the average.

    Args:
        params: parameters or groups of parameters.
        lr: first step size.
        lambd: decay, and how fast the step size falls.
        alpha: power with which the step size falls.
        t0: step at which averaging begins.
        weight_decay: factor of the L2 penalty.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        ignore_hints("ASGD", foreach, None, capturable, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        check_rate("ASGD", group["lr"])
        check_at_least("ASGD", "weight_decay value", group["weight_decay"])

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, lambd = rate(group["lr"]), group["lambd"]
        if not state:
            state["step"], state["ax"] = new_step(), state_for(param)
            state["eta"], state["mu"] = api.zeros((), dtype=api.float32), api.ones((), dtype=api.float32)
        step = count(state["step"])
        put(state["eta"], at_first(step, lr, state["eta"]))
        in_place(
            asgd,
            (param, state["ax"]),
            grad,
            eta=number(state["eta"]),
            share=number(state["mu"]),
            lambd=lambd,
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )
        put(state["eta"], lr / (1 + lambd * lr * step) ** group["alpha"])
        put(state["mu"], 1 / larger(step - group["t0"], 1.0))


def lion(
    param: Any,
    exp_avg: Any,
    grad: Any,
    *,
    lr: Any,
    betas: tuple[Any, Any],
    weight_decay: float,
    maximize: bool,
) -> None:
    """One step on one parameter, in place."""
    grad = effective_gradient(param, grad, 0, maximize)
    if is_used(weight_decay):
        param *= 1 - lr * weight_decay
    add_scaled(param, library(param).sign(exp_avg * betas[0] + grad * (1 - betas[0])), -lr)
    move_towards(exp_avg, grad, 1 - betas[1])


class Lion(Optimizer):
    """Steps of ``lr`` by the sign of an average of the gradient (Chen et al. 2023, Algorithm 2).

    Args:
        params: parameters or groups of parameters.
        lr: step size; a third to a tenth of what Adam takes.
        betas: share of the average in the step, and how much the average keeps.
        weight_decay: decay of the parameter, apart from the gradient.
        maximize: go up instead of down.

    >>> import wengert as wg
    >>> w = wg.nn.Parameter(wg.tensor([4.0, -1.0]))
    >>> w.grad = wg.tensor([0.1, -9.0])
    >>> wg.optim.Lion([w], lr=0.5).step()
    >>> w.tolist()
    [3.5, -0.5]
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    def _check_group(self, group: dict[str, Any]) -> None:
        check_adam("Lion", group)

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["exp_avg"] = state_for(param)
        in_place(
            lion,
            (param, state["exp_avg"]),
            grad,
            lr=rate(group["lr"]),
            betas=group["betas"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )

"""Methods that look at a parameter as a whole.

Adafactor (Shazeer & Stern 2018), Muon (Jordan 2024) and LAMB (You et al. 2020).
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from .. import api
from ..config import STATE
from ..errors import ArgumentError, message
from ..tensor import Tensor
from .common import (
    add_product,
    check_adam,
    check_at_least,
    check_rate,
    count,
    effective_gradient,
    ignore_hints,
    is_used,
    larger,
    library,
    move_towards,
    new_step,
    rate,
    refuse_complex,
    seen,
    smaller,
    state_for,
    whole,
)
from .optimizer import Optimizer


def _scalar(x: Any) -> Any:
    """A 0-d value as a number; while a graph is traced as a tensor."""
    return x if isinstance(x, Tensor) and STATE.trace is not None else float(x)


def _norm(x: Any) -> Any:
    return _scalar((x * x).sum()) ** 0.5


def adafactor(
    param: Any,
    row_var: Any,
    col_var: Any,
    variance: Any,
    grad: Any,
    *,
    step: Any,
    lr: Any,
    beta2_decay: float,
    eps: tuple[float, float],
    d: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """One step on one parameter, in place; matrices keep the square's means over rows and columns only."""
    grad = effective_gradient(param, grad, 0, maximize)
    lib, size, share = library(param), math.prod(param.shape) ** 0.5, step**beta2_decay
    factor = larger(_norm(param) / size, eps[1]) * smaller(1 / step**0.5, lr)
    if is_used(weight_decay):
        param *= 1 - lr * weight_decay
    square = grad * grad
    if variance is None:
        move_towards(row_var, square.mean(-1).reshape(row_var.shape), share)
        move_towards(col_var, square.mean(-2).reshape(col_var.shape), share)
        mean = row_var.mean(-2).reshape((*row_var.shape[:-2], 1, 1))
        estimate = row_var @ col_var / lib.clip(mean, eps[0], None)
    else:
        move_towards(variance, square, share)
        estimate = variance
    update = grad / lib.clip(estimate, eps[0] ** 2, None) ** 0.5
    param -= update * (factor / larger(_norm(update) / (size * d), 1.0))


class Adafactor(Optimizer):
    """Keeps of a matrix of squares only the means of rows and columns, and limits the size of the step.

    Args:
        params: parameters or groups of parameters.
        lr: largest relative step, and factor of the decay.
        beta2_decay: power of the step count by which the averages take in new squares.
        eps: least squared gradient (None: the dtype's), and least size of a parameter.
        d: largest root mean square of an update.
        weight_decay: decay of the parameter, apart from the gradient.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        ignore_hints("Adafactor", foreach, None, None, False)
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        check_rate("Adafactor", group["lr"])
        if not group["beta2_decay"] <= 0.0:
            raise ArgumentError(message("Adafactor", "beta2_decay should be <= 0", f"{group['beta2_decay']}"))
        for index, eps in enumerate(group["eps"]):
            if eps is not None:
                check_at_least("Adafactor", f"epsilon{index + 1}", eps)
        check_at_least("Adafactor", "clipping threshold d", group["d"], 1.0)
        check_at_least("Adafactor", "weight_decay value", group["weight_decay"])
        for param in group["params"]:
            refuse_complex("Adafactor", param)

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            shape = tuple(param.shape)
            if len(shape) > 1:
                state["row_var"] = api.zeros((*shape[:-1], 1), dtype=param.dtype)
                state["col_var"] = api.zeros((*shape[:-2], 1, shape[-1]), dtype=param.dtype)
            else:
                state["variance"] = state_for(param)
        least, smallest = group["eps"]
        whole(
            adafactor,
            (param, state.get("row_var"), state.get("col_var"), state.get("variance")),
            grad,
            step=count(state["step"]),
            lr=rate(group["lr"]),
            beta2_decay=group["beta2_decay"],
            eps=(float(ml_dtypes.finfo(param.aval.dtype).eps) if least is None else least, smallest),
            d=group["d"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )


def _bfloat16(x: Any) -> Any:
    """Rounded to bfloat16, in float32: so products of matrices round once."""
    if isinstance(x, np.ndarray):
        return x.astype(ml_dtypes.bfloat16).astype(np.float32)
    return x.to(dtype=api.bfloat16).to(dtype=api.float32)


def orthogonalized(x: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """About the nearest orthogonal matrix, in bfloat16, by the quintic Newton–Schulz iteration."""
    a, b, c = coefficients
    tall, dtype = x.shape[0] > x.shape[1], x.dtype
    x = _bfloat16(x)
    x = x.T if tall else x
    length = _bfloat16(library(x).clip(_bfloat16((x * x).sum().reshape((1, 1)) ** 0.5), eps, None))
    x = _bfloat16(x / length)
    for _ in range(steps):
        gram = _bfloat16(x @ x.T)
        gram = _bfloat16(gram * b + gram @ gram * c)
        x = _bfloat16(x * a + gram @ x)
    x = x.T if tall else x
    return x.astype(dtype) if isinstance(x, np.ndarray) else x.to(dtype=dtype)


def muon(
    param: Any,
    buffer: Any,
    grad: Any,
    *,
    lr: Any,
    ratio: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    ns_coefficients: tuple[float, float, float],
    ns_steps: int,
    eps: float,
) -> None:
    """One step on one matrix, in place."""
    move_towards(buffer, grad, 1 - momentum)
    update = grad + (buffer - grad) * momentum if nesterov else buffer
    update = orthogonalized(update, ns_coefficients, ns_steps, eps)
    if is_used(weight_decay):
        param *= 1 - lr * weight_decay
    param -= update * (lr * ratio)


class Muon(Optimizer):
    """Momentum whose matrices are made orthogonal before the step: for the weights of hidden layers only.

    Args:
        params: matrices, or groups of matrices.
        lr: step size.
        weight_decay: decay of the parameter, apart from the gradient.
        momentum: how much the average of the gradient keeps.
        nesterov: look ahead along the momentum.
        ns_coefficients: of the iteration ``X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X``.
        eps: least norm to divide by.
        ns_steps: steps of the iteration.
        adjust_lr_fn: ``"original"`` (or None) multiplies the rate by ``√max(1, rows/columns)``,
            ``"match_rms_adamw"`` by ``0.2 √max(rows, columns)``.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        check_rate("Muon", group["lr"])
        check_at_least("Muon", "momentum value", group["momentum"])
        check_at_least("Muon", "weight_decay value", group["weight_decay"])
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ArgumentError(
                message("Muon", f"Adjust learning rate function {group['adjust_lr_fn']} is not supported")
            )
        if group["ns_steps"] >= 100:
            raise ArgumentError(message("Muon", "Number of steps must be less than 100", f"{group['ns_steps']}"))
        if len(group["ns_coefficients"]) != 3:
            raise ArgumentError(message("Muon", "Coefficients must be a tuple of exactly 3 values"))
        for param in group["params"]:
            refuse_complex("Muon", param)
            if param.ndim != 2:
                raise ArgumentError(
                    message(
                        "Muon", "only 2D parameters are supported", f"size {tuple(param.shape)}", "Use AdamW for it"
                    )
                )

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["momentum_buffer"] = state_for(param)
        rows, columns = param.shape
        match = group["adjust_lr_fn"] == "match_rms_adamw"
        whole(
            muon,
            (param, state["momentum_buffer"]),
            grad,
            lr=rate(group["lr"]),
            ratio=0.2 * max(rows, columns) ** 0.5 if match else max(1, rows / columns) ** 0.5,
            **{k: group[k] for k in ("weight_decay", "momentum", "nesterov", "ns_coefficients", "ns_steps", "eps")},
        )


def lamb(
    param: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    grad: Any,
    *,
    step: Any,
    lr: Any,
    betas: tuple[Any, Any],
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """One step on one parameter, in place: Adam's, as long as ``lr`` times the parameter."""
    grad = effective_gradient(param, grad, 0, maximize)
    move_towards(exp_avg, grad, 1 - betas[0])
    exp_avg_sq *= betas[1]
    add_product(exp_avg_sq, grad, grad, 1 - betas[1])
    update = exp_avg / seen(betas[0], step) / ((exp_avg_sq / seen(betas[1], step)) ** 0.5 + eps)
    if is_used(weight_decay):
        update = update + param * weight_decay
    size, length = _norm(param), _norm(update)
    if isinstance(size, Tensor):
        trust = api.where((size > 0) & (length > 0), size / length, api.ones_like(size))
    else:
        trust = size / length if size > 0 and length > 0 else 1.0
    param -= update * (trust * lr)


class LAMB(Optimizer):
    """`AdamW` whose step on each parameter is as long as ``lr`` times that parameter: for large batches.

    Args:
        params: parameters or groups of parameters.
        lr: length of the step relative to the parameter's.
        betas: how much the averages of the gradient and of its square keep at each step.
        eps: added to the denominator.
        weight_decay: decay of the parameter, part of the step.
        maximize: go up instead of down.

    >>> import wengert as wg
    >>> w = wg.nn.Parameter(wg.tensor([3.0, 4.0]))
    >>> w.grad = wg.tensor([0.0, 9.0])
    >>> wg.optim.LAMB([w], lr=0.1).step()
    >>> w
    Parameter containing:
    tensor([3.0000, 3.5000], requires_grad=True)
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def _check_group(self, group: dict[str, Any]) -> None:
        check_adam("LAMB", group)
        for param in group["params"]:
            refuse_complex("LAMB", param)

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = new_step()
            state["exp_avg"], state["exp_avg_sq"] = state_for(param), state_for(param)
        whole(
            lamb,
            (param, state["exp_avg"], state["exp_avg_sq"]),
            grad,
            step=count(state["step"]),
            lr=rate(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )

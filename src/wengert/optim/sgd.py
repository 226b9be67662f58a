"""Stochastic gradient descent, with momentum (Polyak 1964; Nesterov 1983; Sutskever et al. 2013)."""

from __future__ import annotations

from typing import Any

from .. import api
from ..errors import ArgumentError, message
from ..tensor import Tensor
from .common import (
    add_scaled,
    check_at_least,
    check_rate,
    count,
    effective_gradient,
    ignore_hints,
    in_place,
    is_used,
    new_step,
    rate,
    state_for,
)
from .optimizer import Optimizer


def sgd(
    param: Any,
    buffer: Any,
    grad: Any,
    *,
    taken: Any,
    lr: Any,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """One step on one parameter, in place; ``buffer`` is the momentum, None without, zeros at first.

    ``taken``: how much of the gradient the momentum takes in; None for all.
    """
    grad = effective_gradient(param, grad, weight_decay, maximize)
    if buffer is not None:
        buffer *= momentum  # pyright: ignore[reportOptionalOperand]
        buffer += grad if taken is None else grad * taken
        grad = grad + buffer * momentum if nesterov else buffer
    add_scaled(param, grad, -lr)


class SGD(Optimizer):
    """Stochastic gradient descent: ``p -= lr · g``, or with momentum ``b = momentum · b + g; p -= lr · b``.

    Args:
        params: parameters or groups of parameters.
        lr: step size.
        momentum: how much of the last step is kept.
        dampening: how much of the gradient the momentum leaves out.
        weight_decay: factor of the L2 penalty.
        nesterov: look ahead along the momentum; needs momentum and no dampening.
        maximize: go up instead of down.

    >>> import wengert as wg
    >>> w = wg.nn.Parameter(wg.tensor([4.0]))
    >>> optimizer = wg.optim.SGD([w], lr=0.1, momentum=0.5)
    >>> for _ in range(30):
    ...     optimizer.zero_grad()
    ...     (w**2).sum().backward()
    ...     optimizer.step()
    >>> abs(w.item()) < 1e-2
    True
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        ignore_hints("SGD", foreach, fused, None, differentiable)
        self._steps: dict[Tensor, Tensor] = {}  # how many a momentum with dampening has taken
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        check_rate("SGD", group["lr"])
        check_at_least("SGD", "momentum value", group["momentum"])
        check_at_least("SGD", "weight_decay value", group["weight_decay"])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError(
                message(
                    "SGD",
                    "Nesterov momentum requires a momentum and zero dampening",
                    f"momentum={group['momentum']}, dampening={group['dampening']}",
                )
            )

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        buffer, taken = None, None
        if is_used(group["momentum"]):
            taken = self._taken(param, state, group["dampening"])
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = state_for(param)
        in_place(
            sgd,
            (param, buffer),
            grad,
            taken=taken,
            lr=rate(group["lr"]),
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )

    def _taken(self, param: Tensor, state: dict[str, Any], dampening: Any) -> Any:
        """How much of the gradient the momentum takes in; None for all, as the first step does.

        Which step it is stands in a tensor, so that a compiled one knows it too, but not in the state, for PyTorch has
        no such number; a momentum that was loaded has taken steps.
        """
        if not is_used(dampening):
            return None
        if state.get("momentum_buffer") is None:
            self._steps[param] = new_step()
        elif param not in self._steps:
            self._steps[param] = api.ones((), dtype=api.float32)
        later: Any = count(self._steps[param]) > 1
        return 1 - dampening * (later.double() if isinstance(later, Tensor) else later)

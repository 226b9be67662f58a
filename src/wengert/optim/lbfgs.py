"""L-BFGS (Liu & Nocedal 1989) with a line search for the strong Wolfe conditions (Nocedal & Wright, section 3.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import api
from ..config import enable_grad, no_grad
from ..errors import ArgumentError, message
from ..tensor import Tensor
from .common import check_rate, rate
from .optimizer import Optimizer


class _Point:
    """A step length with the loss, the gradient and the slope along the direction there."""

    __slots__ = ("grad", "loss", "slope", "t")

    def __init__(self, t: Any, loss: Any, grad: Any, slope: Any) -> None:
        self.t, self.loss, self.grad, self.slope = t, loss, grad, slope


def _cubic(a: _Point, b: _Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through the values and slopes of two points is least, within bounds."""
    low, high = bounds or ((a.t, b.t) if a.t <= b.t else (b.t, a.t))
    first, last = (a, b) if a.t <= b.t else (b, a)
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = square**0.5
    bottom = last.slope - first.slope + 2 * d2
    if bottom == 0:
        return (low + high) / 2
    best = last.t - (last.t - first.t) * ((last.slope + d2 - d1) / bottom)
    return min(max(best, low), high)


class _LineSearch:
    """Looks along a direction for a point with enough descent and a slope that is flat enough."""

    def __init__(
        self, evaluate: Callable[[Any], _Point], start: _Point, longest: float, least: float, steps: int
    ) -> None:
        self.evaluate, self.start, self.longest, self.least, self.steps = evaluate, start, longest, least, steps
        self.evaluations = 0
        self.iterations = 0

    def at(self, t: Any) -> _Point:
        self.evaluations += 1
        return self.evaluate(t)

    def too_high(self, point: _Point) -> bool:
        return point.loss > self.start.loss + 1e-4 * point.t * self.start.slope

    def flat(self, point: _Point) -> bool:
        return abs(point.slope) <= -0.9 * self.start.slope

    def run(self, t: Any) -> _Point:
        bracket, done = self.bracket(t)
        return bracket[0] if done else self.zoom(bracket)

    def bracket(self, t: Any) -> tuple[list[_Point], bool]:
        """Go on until a good point is found, or two points with one between them."""
        last, point = self.start, self.at(t)
        while self.iterations < self.steps:
            if self.too_high(point) or (self.iterations > 1 and point.loss >= last.loss):
                return [last, point], False
            if self.flat(point):
                return [point], True
            if point.slope >= 0:
                return [last, point], False
            t = _cubic(last, point, (point.t + 0.01 * (point.t - last.t), point.t * 10))
            last, point = point, self.at(t)
            self.iterations += 1
        return [self.start, point], False

    def zoom(self, ends: list[_Point]) -> _Point:
        """Narrow the bracket down. ``ends`` keeps the order in which the two points stand."""
        low = 0 if ends[0].loss <= ends[1].loss else 1
        stuck = False
        while self.iterations < self.steps and abs(ends[1].t - ends[0].t) * self.longest >= self.least:
            t, stuck = self.away_from_ends(_cubic(ends[0], ends[1]), ends[0].t, ends[1].t, stuck)
            point = self.at(t)
            self.iterations += 1
            if self.too_high(point) or point.loss >= ends[low].loss:
                ends[1 - low] = point
                low = 0 if ends[0].loss <= ends[1].loss else 1
                continue
            good = self.flat(point)
            if not good and point.slope * (ends[1 - low].t - ends[low].t) >= 0:
                ends[1 - low] = ends[low]
            ends[low] = point
            if good:
                break
        return ends[low]

    def away_from_ends(self, t: Any, a: Any, b: Any, stuck: bool) -> tuple[Any, bool]:
        """Keep off the ends of the bracket when the last step was near one already."""
        low, high = min(a, b), max(a, b)
        margin = 0.1 * (high - low)
        if min(high - t, t - low) >= margin:
            return t, False
        if not (stuck or t >= high or t <= low):
            return t, True
        return (high - margin if abs(t - high) < abs(t - low) else low + margin), False


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last changes of the parameters and the gradient.

    Needs a closure, which `step` calls several times. There can be only one parameter group.

    Args:
        params: the parameters.
        lr: step size; with a line search, where it begins.
        max_iter: most iterations a step.
        max_eval: most calls of the closure a step; ``max_iter · 1.25`` if not given.
        tolerance_grad: stop when no entry of the gradient is larger.
        tolerance_change: stop when parameters or loss change by less.
        history_size: how many changes are kept.
        line_search_fn: ``"strong_wolfe"`` or None.

    >>> import wengert as wg
    >>> w = wg.nn.Parameter(wg.tensor([-1.0, 2.0]))
    >>> optimizer = wg.optim.LBFGS([w], line_search_fn="strong_wolfe", max_iter=100)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> [round(x, 3) for x in w.tolist()]
    [1.0, 1.0]
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )

    def _check_group(self, group: dict[str, Any]) -> None:
        if self.param_groups:
            raise ArgumentError(message("LBFGS", "doesn't support per-parameter options (parameter groups)"))
        check_rate("LBFGS", group["lr"])
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ArgumentError(message("LBFGS", "only 'strong_wolfe' is supported", repr(group["line_search_fn"])))

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    def _flat_grad(self) -> Any:
        parts = []
        for p in self._params:
            grad = api.zeros_like(p) if p.grad is None else p.grad
            parts.append((api.view_as_real(grad) if grad.is_complex() else grad).reshape(-1))
        return api.cat(parts)

    def _move(self, t: Any, direction: Any) -> None:
        """Add ``t · direction`` to the parameters."""
        at = 0
        for p in self._params:
            n = p.numel() * (2 if p.is_complex() else 1)
            part = direction[at : at + n] * t
            p.add_(api.view_as_complex(part.reshape(*p.shape, 2)) if p.is_complex() else part.reshape(p.shape))
            at += n

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take up to ``max_iter`` quasi-Newton steps.

        Args:
            closure: computes the loss and its gradient anew; the first loss is returned.
        """
        if closure is None:
            raise ArgumentError(message("LBFGS.step", "a closure is needed", cure="It computes loss and gradients"))
        with no_grad():
            return self._run(closure)

    def _run(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        with enable_grad():
            first = closure()
        loss, grad = float(first), self._flat_grad()
        state["func_evals"] += 1
        evaluations, iterations = 1, 0
        if _largest(grad) <= group["tolerance_grad"]:
            return first
        while iterations < group["max_iter"]:
            iterations += 1
            state["n_iter"] += 1
            self._direction(state, grad, group["history_size"])
            before, state["prev_loss"] = loss, loss
            state["prev_flat_grad"] = grad.clone()
            direction, t = state["d"], rate(group["lr"])
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / grad.abs().sum().item()) * t
            state["t"] = t
            slope = grad.dot(direction).item()
            if slope > -group["tolerance_change"]:
                break
            start = _Point(0.0, loss, grad, slope)
            last = iterations == group["max_iter"]
            point, used = self._advance(closure, start, t, evaluations, last)
            state["t"], loss, grad = point.t, point.loss, point.grad
            evaluations += used
            state["func_evals"] += used
            if last or evaluations >= group["max_eval"] or self._settled(point, direction, before):
                break
        return first

    def _settled(self, point: _Point, direction: Any, before: float) -> bool:
        """Whether the gradient is nothing, or nothing changes any more."""
        group = self.param_groups[0]
        return (
            _largest(point.grad) <= group["tolerance_grad"]
            or _largest(direction * point.t) <= group["tolerance_change"]
            or abs(point.loss - before) < group["tolerance_change"]
        )

    def _direction(self, state: dict[str, Any], grad: Any, history: int) -> None:
        """Take the last change into the history, and multiply the gradient by the inverse Hessian it tells of."""
        if state["n_iter"] == 1:
            state["d"], state["H_diag"] = -grad, 1
            state["old_dirs"], state["old_stps"], state["ro"] = [], [], []
            return
        ys_all, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = grad - state["prev_flat_grad"], state["d"] * state["t"]
        ys = y.dot(s)
        if ys > 1e-10:
            if len(ys_all) == history:
                for old in (ys_all, steps, ro):
                    old.pop(0)
            ys_all.append(y)
            steps.append(s)
            ro.append(1.0 / ys)
            state["H_diag"] = ys / y.dot(y)
        q: Any = -grad
        shares = state["al"] = [None] * history
        for i in range(len(ys_all) - 1, -1, -1):
            shares[i] = steps[i].dot(q) * ro[i]
            q = q - ys_all[i] * shares[i]
        q = q * state["H_diag"]
        for i in range(len(ys_all)):
            q = q + steps[i] * (shares[i] - ys_all[i].dot(q) * ro[i])
        state["d"] = q

    def _advance(
        self, closure: Callable[[], Any], start: _Point, t: Any, evaluations: int, last: bool
    ) -> tuple[_Point, int]:
        """Move the parameters along the direction; returns where they are, and how often the closure ran."""
        group, direction = self.param_groups[0], self.state[self._params[0]]["d"]

        def evaluate(t: Any) -> _Point:
            with enable_grad():
                loss = float(closure())
            grad = self._flat_grad()
            return _Point(t, loss, grad, grad.dot(direction).item())

        if group["line_search_fn"] is None:
            self._move(t, direction)
            if last:  # nobody needs the loss: in a stochastic setting the next step computes its own
                return _Point(t, start.loss, start.grad, start.slope), 0
            return evaluate(t), 1
        here = [p.clone() for p in self._params]

        def there(t: Any) -> _Point:
            self._move(t, direction)
            point = evaluate(t)
            for p, value in zip(self._params, here, strict=True):
                p.copy_(value)
            return point

        search = _LineSearch(
            there, start, _largest(direction), group["tolerance_change"], group["max_eval"] - evaluations
        )
        point = search.run(t)
        self._move(point.t, direction)
        return point, search.evaluations


def _largest(x: Any) -> float:
    return x.abs().max().item()

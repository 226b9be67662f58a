"""``wg.autograd``: gradients on demand, user-defined functions, anomaly detection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .config import STATE, _GradMode, enable_grad, inference_mode, no_grad, set_grad_enabled, watching
from .errors import GraphError, message
from .graph.alias import assign
from .graph.handle import Handle
from .ops.custom import Rule, with_rule
from .transform.backward import backward, grad
from .transform.reverse import gradients


class detect_anomaly:
    """Name the op and the line that made the first NaN, forward or backward.

    Every value is checked, so it is slow; formulas run op by op inside.

    >>> import wengert as wg
    >>> with wg.autograd.detect_anomaly():
    ...     try:
    ...         wg.log(wg.tensor(-1.0))
    ...     except wg.errors.AnomalyError as e:
    ...         print(str(e)[:28])
    log: made the first NaN: f32
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._stack: list[Any] = []

    def __enter__(self) -> None:
        context = watching()
        self._stack.append((STATE.anomaly, context))
        context.__enter__()
        STATE.anomaly = self.check_nan

    def __exit__(self, *exc: Any) -> None:
        STATE.anomaly, context = self._stack.pop()
        context.__exit__(*exc)


class set_detect_anomaly(detect_anomaly):
    """`detect_anomaly` switched on or off at once; also a context that restores the old mode."""

    _active: list[detect_anomaly] = []

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(check_nan)
        while set_detect_anomaly._active:
            set_detect_anomaly._active.pop().__exit__(None, None, None)
        if mode:
            detect_anomaly.__enter__(self)
            set_detect_anomaly._active.append(self)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: Any) -> None:
        if self._stack:
            detect_anomaly.__exit__(self, *exc)
            if self in set_detect_anomaly._active:
                set_detect_anomaly._active.remove(self)


class FunctionCtx:
    """What ``forward`` (or ``setup_context``) hands to ``backward`` and ``jvp`` of a `Function`."""

    def __init__(self) -> None:
        self._saved: tuple[Any, ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()
        self._materialize = True
        self._not_differentiable: tuple[int, ...] = ()
        self._dirty: tuple[int, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for ``backward`` (and ``jvp``): inputs, outputs or others; None is allowed."""
        for t in tensors:
            if t is not None and not isinstance(t, Handle):
                raise GraphError(
                    message("save_for_backward", "only tensors can be saved", type(t).__name__,
                            "Keep other things as attributes of ctx")
                )  # fmt: skip
        self._saved = tensors

    save_for_forward = save_for_backward

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that were saved."""
        return self._saved

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say that some outputs carry no gradient."""
        self._not_differentiable = tuple(id(t) for t in tensors)

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which arguments ``forward`` changed in place and returned."""
        self._dirty = tuple(id(t) for t in tensors)

    def set_materialize_grads(self, value: bool) -> None:
        """Whether ``backward`` gets zeros (True, the default) or None for outputs without a gradient."""
        self._materialize = value


class _FunctionRule(Rule):
    """Derivatives of one call of a `Function`."""

    def __init__(
        self,
        cls: Any,
        ctx: FunctionCtx,
        places: list[int],
        n: int,
        source: list[int | None],
        spots: list[int],
        n_out: int,
    ) -> None:
        self.cls, self.ctx, self.places, self.n = cls, ctx, places, n
        self.name = cls.__name__
        self.source = source  # for each saved tensor: None, an output's number, or -1 for a kept one
        self.spots, self.n_out = spots, n_out  # which of the outputs are tensors
        self.materialize = ctx._materialize

    @property
    def pullback(self) -> Callable[..., Any] | None:
        return self._backward if self.cls._defines("backward") or self.cls._defines("vjp") else None

    @property
    def pushforward(self) -> Callable[..., Any] | None:
        return self._jvp if self.cls._defines("jvp") else None

    def _with_saved(self, rule: Callable[..., Any], outs: Any, kept: Any, given: list[Any]) -> Any:
        """Call a rule with what was saved; ``ctx`` lets go of it again, for the outputs refer to ``ctx``."""
        rest, before = iter(kept), self.ctx._saved
        self.ctx._saved = tuple(None if s is None else next(rest) if s < 0 else outs[s] for s in self.source)
        try:
            return rule(self.ctx, *given)
        finally:
            self.ctx._saved = before

    def _backward(self, outs: Any, args: Any, kept: Any, gs: Any) -> list[Any]:
        rule = self.cls.backward if self.cls._defines("backward") else self.cls.vjp
        full: list[Any] = [None] * self.n_out
        for i, g in zip(self.spots, gs, strict=True):
            full[i] = g
        found = self._with_saved(rule, outs, kept, full)
        found = found if isinstance(found, tuple) else (found,)
        if len(found) < self.n or any(f is not None for f in found[self.n :]):
            raise GraphError(
                message(self.name, "backward must return one gradient an argument of forward",
                        f"{len(found)} returned, {self.n} arguments", "Return None for arguments without one")
            )  # fmt: skip
        return [found[i] for i in self.places]

    def _jvp(self, outs: Any, args: Any, kept: Any, ts: Any) -> list[Any]:
        full: list[Any] = [None] * self.n
        for i, t in zip(self.places, ts, strict=True):
            full[i] = t
        found = self._with_saved(self.cls.jvp, outs, kept, full)
        found = found if isinstance(found, tuple) else (found,)
        return [found[i] for i in self.spots] if len(found) == self.n_out else list(found)


class Function:
    """A function with a derivative of its own.

    Write static methods: ``forward(ctx, *args)``, or ``forward(*args)`` and
    ``setup_context(ctx, inputs, output)``; then ``backward(ctx, *grads)`` or ``jvp(ctx, *tangents)`` or
    both. One direction is enough: the other one, higher orders and ``vmap`` follow.

    >>> import wengert as wg
    >>> class Square(wg.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x * g
    >>> x = wg.tensor(3.0, requires_grad=True)
    >>> Square.apply(x).backward()
    >>> x.grad
    tensor(6.)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the results."""
        raise NotImplementedError("write a static method forward")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep on ``ctx`` what the derivative needs, when ``forward`` takes no ctx."""

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """One adjoint an argument of ``forward``; None where there is none."""
        raise NotImplementedError("write a static method backward (or jvp)")

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Tangents of the results; an argument without tangent comes as None or zeros."""
        raise NotImplementedError("write a static method jvp (or backward)")

    @classmethod
    def _defines(cls, name: str) -> bool:
        return getattr(cls, name) is not getattr(Function, name)

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the function and record it as one node."""
        ctx = FunctionCtx()
        places = [i for i, a in enumerate(args) if isinstance(a, Handle)]
        tensors = [args[i] for i in places]
        ctx.needs_input_grad = tuple(isinstance(a, Handle) and a.requires_grad for a in args)  # type: ignore[attr-defined]
        with _GradMode(False):
            if cls._defines("setup_context"):
                output = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args, **kwargs)
        single = not isinstance(output, (tuple, list))
        results = [output] if single else list(output)
        spots = [i for i, o in enumerate(results) if isinstance(o, Handle)]
        outs = [results[i] for i in spots]
        numbers = {id(o): i for i, o in enumerate(outs)}
        source = [None if s is None else numbers.get(id(s), -1) for s in ctx._saved]
        kept = [s for s, k in zip(ctx._saved, source, strict=True) if s is not None and k == -1]
        ctx._saved = ()
        rule = _FunctionRule(cls, ctx, places, len(args), source, spots, len(results))
        found = with_rule(rule, outs, tensors, kept) if tensors and outs else tuple(outs)
        for i, f, o in zip(spots, found, outs, strict=True):
            if id(o) in ctx._dirty:
                results[i] = assign(cls.__name__, o, f)
            elif id(o) not in ctx._not_differentiable:
                results[i] = f
        return results[0] if single else type(output)(results)


def once_differentiable(f: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``backward`` that must not be differentiated again: its results are constants."""
    import functools

    @functools.wraps(f)
    def run(ctx: Any, *grads: Any) -> Any:
        with _GradMode(False):
            return f(ctx, *grads)

    return run


class Variable:
    """PyTorch's old name of a tensor that may require grad: ``Variable(x, requires_grad=True)``."""

    def __new__(cls, data: Any, requires_grad: bool = False) -> Any:
        """A tensor, not an object of this class."""
        out = data.detach() if requires_grad else data
        return out.requires_grad_() if requires_grad else out


def __getattr__(name: str) -> Any:
    if name == "functional":  # built on wengert.func, which is loaded when first used
        from . import autograd_functional

        return autograd_functional
    if name in ("gradcheck", "gradgradcheck"):  # PyTorch's place for them
        from . import testing

        return getattr(testing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Function", "FunctionCtx", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "gradients",
    "inference_mode", "no_grad", "once_differentiable", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip

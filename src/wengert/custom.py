"""``wg.custom``: write the forward computation, or it and one derivative rule, once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .config import no_grad
from .errors import ArgumentError, message
from .functional.formula import formula
from .graph.handle import Handle
from .ops.custom import Rule, with_rule


class custom:
    """A function that stands in the graph as one node; all modes, orders and ``vmap`` follow.

    With the forward computation alone it is a formula: its derivatives come from its body. With a
    rule for one direction, ``@f.vjp`` or ``@f.jvp``, the body is never differentiated; the other
    direction is the rule's transpose.

    ``vjp(g, out, *args)`` returns one adjoint an argument (or a single one); ``jvp(tangents, out, *args)``
    returns the tangent of the result. For several results ``g`` and ``out`` are tuples. Rules are
    written with tensor operations. Tensor arguments are positional, everything else is static.

    >>> import wengert as wg
    >>> @wg.custom
    ... def softplus(x):
    ...     return (1 + x.exp()).log()
    >>> @softplus.vjp
    ... def _(g, out, x):
    ...     return g * (1 - (-out).exp())
    >>> wg.func.jvp(softplus, (wg.tensor(0.0),), (wg.tensor(1.0),))[1]
    tensor(0.5000)
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward
        self._formula = formula(forward)
        self._vjp: Callable[..., Any] | None = None
        self._jvp: Callable[..., Any] | None = None
        functools.update_wrapper(self, forward)

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the reverse rule (a decorator)."""
        self._vjp = rule
        return rule

    def jvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the forward rule (a decorator)."""
        self._jvp = rule
        return rule

    def __call__(self, *args: Any, **static: Any) -> Any:
        """Apply the function."""
        if self._vjp is None and self._jvp is None:
            return self._formula(*args, **static)
        places = [i for i, a in enumerate(args) if isinstance(a, Handle)]
        if not places:
            raise ArgumentError(message(self.forward.__name__, "needs a tensor argument"))
        with no_grad():
            out = self.forward(*args, **static)
        single = isinstance(out, Handle)
        rule = _CustomRule(self, args, places, static, single)
        found = with_rule(rule, [out] if single else list(out), [args[i] for i in places], [])
        return found[0] if single else found


class _CustomRule(Rule):
    """The rules of a `custom` for one choice of static arguments."""

    def __init__(
        self, owner: custom, args: tuple[Any, ...], places: list[int], static: dict[str, Any], single: bool
    ) -> None:
        self.owner, self.places, self.static, self.single = owner, places, static, single
        self.template = [None if i in places else a for i, a in enumerate(args)]
        self.name = owner.forward.__name__

    @property
    def pullback(self) -> Callable[..., Any] | None:
        return None if self.owner._vjp is None else self._pull

    @property
    def pushforward(self) -> Callable[..., Any] | None:
        return None if self.owner._jvp is None else self._push

    def _args(self, tensors: Any) -> list[Any]:
        full = list(self.template)
        for i, t in zip(self.places, tensors, strict=True):
            full[i] = t
        return full

    def _pull(self, outs: Any, args: Any, kept: Any, gs: Any) -> list[Any]:
        assert self.owner._vjp is not None
        g, out = (gs[0], outs[0]) if self.single else (tuple(gs), tuple(outs))
        found = self.owner._vjp(g, out, *self._args(args), **self.static)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(found) == len(self.template) != len(self.places):
            found = [found[i] for i in self.places]
        if len(found) != len(self.places):
            raise ArgumentError(
                message(self.name, "the vjp rule must return one adjoint a tensor argument",
                        f"{len(found)} returned, {len(self.places)} arguments")
            )  # fmt: skip
        return found

    def _push(self, outs: Any, args: Any, kept: Any, ts: Any) -> list[Any]:
        assert self.owner._jvp is not None
        out = outs[0] if self.single else tuple(outs)
        found = self.owner._jvp(tuple(ts), out, *self._args(args), **self.static)
        return [found] if self.single else list(found)


__all__ = ["custom"]

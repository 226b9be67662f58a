"""A module whose calls are compiled: what `wengert.compile` makes of a module."""

from __future__ import annotations

from typing import Any

from ..compiler import Compiled
from .module import Module


class OptimizedModule(Module):
    """A module that computes what another one does, compiled, and is that one in all else.

    It has the attributes and methods of the module, which is its only sub-module, ``_orig_mod``; so in `state_dict`
    and `named_parameters` the names begin with ``_orig_mod.``, as in PyTorch. Both are in the same mode.

    Args:
        module: the module.
        compiled: the compiled function of it.

    >>> import wengert as wg
    >>> net = wg.compile(wg.nn.Linear(2, 1))
    >>> net(wg.ones(3, 2)).shape, net.eval().training, net.in_features
    (wengert.Size([3, 1]), False, 2)
    """

    def __init__(self, module: Module, compiled: Compiled) -> None:
        super().__init__()
        self._modules["_orig_mod"] = module  # which keeps the name that it has
        self.__dict__["compiled"] = compiled

    @property
    def training(self) -> bool:
        """Whether the module is in training mode."""
        return self._orig_mod.training

    @training.setter
    def training(self, mode: bool) -> None:
        self._orig_mod.training = mode

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result, by a program."""
        return self.compiled(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._forward_pre_hooks or self._forward_hooks or self._backward_hooks:
            return super().__call__(*args, **kwargs)
        return self.compiled(*args, **kwargs)  # the module's name is on the scope once

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__.get("_modules", {})
        if name == "_orig_mod" or not own:
            return super().__getattr__(name)
        return getattr(own["_orig_mod"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training" or "compiled" not in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._modules["_orig_mod"], name, value)


__all__ = ["OptimizedModule"]

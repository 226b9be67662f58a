"""Modules without initial values."""

from __future__ import annotations

import inspect
from typing import Any

from ...errors import ArgumentError, message
from .. import init


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Make ``module_cls(*args, **kwargs)`` without drawing initial values; the functions of `nn.init` do nothing.

    For large modules whose values are loaded anyway. The parameters hold zeros, and no random number is drawn.

    Args:
        module_cls: a class of modules with an argument ``device``, as all of `nn` that have parameters.
        *args: of the class.
        **kwargs: of the class.

    Raises:
        ArgumentError: ``module_cls`` is no such class.

    >>> import wengert as wg
    >>> wg.nn.utils.skip_init(wg.nn.Linear, 3, 1).weight
    Parameter containing:
    tensor([[0., 0., 0.]], requires_grad=True)
    """
    from ..module import Module

    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise ArgumentError(message("skip_init", "expected a class of modules", repr(module_cls)))
    if "device" not in inspect.signature(module_cls).parameters:
        wanted = "the module must take an argument 'device'"
        raise ArgumentError(message("skip_init", wanted, module_cls.__name__, "Make it in the usual way"))
    with init.skipped():
        return module_cls(*args, **kwargs)

"""Evaluating a module for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..config import no_grad
from .module import Module


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode without a graph; afterwards each part is in the mode that it was in.

    >>> import wengert as wg
    >>> from wengert.nn.modes import evaluating
    >>> net = wg.nn.Sequential(wg.nn.Dropout(), wg.nn.Dropout().eval())
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training, [part.training for part in net]
    (True, [True, False])
    """
    was = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in was.items():
            module.training = training

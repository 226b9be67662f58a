"""The handle that a registered hook gives back, so that it can be taken off again."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from typing import Any

from ..config import CHANGES

_ids = itertools.count()


class RemovableHandle:
    """Takes one hook off; also a context that takes it off at its end.

    The handle does not keep the object alive that the hook hangs on.

    >>> import wengert as wg
    >>> layer = wg.nn.ReLU()
    >>> with layer.register_forward_hook(lambda module, args, output: print(type(module).__name__)):
    ...     _ = layer(wg.ones(1))
    ReLU
    >>> _ = layer(wg.ones(1))
    """

    __slots__ = ("_hooks", "id")

    def __init__(self, hooks: OrderedDict[int, Any], hook: Any, first: bool = False) -> None:
        self.id = next(_ids)
        self._hooks: weakref.ref[OrderedDict[int, Any]] | None = weakref.ref(hooks)
        hooks[self.id] = hook
        if first:
            hooks.move_to_end(self.id, last=False)
        CHANGES()

    def remove(self) -> None:
        """Take the hook off; calling it twice does no harm."""
        hooks = self._hooks() if self._hooks is not None else None
        if hooks is not None:
            hooks.pop(self.id, None)
        CHANGES()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    # A weak reference can be neither copied nor pickled: the dictionary itself travels instead, and
    # `copy` and `pickle` see to it that it is the same one as the copied module's.
    def __getstate__(self) -> tuple[OrderedDict[int, Any] | None, int]:
        return (self._hooks() if self._hooks is not None else None), self.id

    def __setstate__(self, state: tuple[OrderedDict[int, Any] | None, int]) -> None:
        hooks, self.id = state
        self._hooks = None if hooks is None else weakref.ref(hooks)

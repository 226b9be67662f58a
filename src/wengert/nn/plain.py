"""``Plain``: the base of layers that only keep settings and pass them on to a function."""

from __future__ import annotations

from .module import Module


class Plain(Module):
    """A layer whose repr is its settings, ``name=value``, in the order of ``shown``."""

    shown: tuple[str, ...] = ()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)

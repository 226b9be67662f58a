"""``wg.nn.functional``: the functions behind the layers, gathered from their families."""

from __future__ import annotations

from typing import Any

from ..functional import activation, attention, conv, dropout, embedding, loss, norm, pool, resize
from ..functional.blas import linear

_FAMILIES = (activation, attention, conv, dropout, embedding, loss, norm, pool, resize)

__all__ = ["linear"]
for _family in _FAMILIES:
    for _name in _family.__all__:
        globals()[_name] = getattr(_family, _name)
        __all__ += [_name]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no function {name!r}")

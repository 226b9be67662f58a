"""One call of native code for the update of all parameters, where they are large.

The optimizer's own update, as it is written for one parameter, is captured and compiled; nothing is said twice.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ..config import STATE
from ..errors import WengertError
from ..runtime import eager

if TYPE_CHECKING:
    from .optimizer import Optimizer

HEAVY = 1 << 16  # elements of all parameters together, from which on kernels pay


class Fused:
    """An optimizer's compiled update. ``step()`` is False where NumPy has to do it."""

    def __init__(self) -> None:
        self.compiled: Any = None
        self.usable = True

    def step(self, optimizer: Optimizer) -> bool:
        """Update all parameters, if that can be done natively."""
        if not (self.usable and eager.ENABLED and STATE.watchers == 0) or not _is_heavy(optimizer):
            return False
        if self.compiled is None:
            from ..compiler import Compiled

            self.compiled = Compiled(optimizer._update_all)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other parameters may have gradients each time
                self.compiled()
        except WengertError:  # an update that looks at values
            self.usable = False
        return self.usable


def _is_heavy(optimizer: Optimizer) -> bool:
    """Whether the first steps are over, which make the state, and there is enough to do."""
    total = 0
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p._node is None or p._node.sink is None or p._node.sink.grad is None:
                continue
            if not optimizer.state.get(p) or p._value.dtype.kind != "f":
                return False
            total += p._value.size
    return total >= HEAVY

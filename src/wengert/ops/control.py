"""Control flow that is part of the graph: ``cond``, ``switch``, ``scan``, ``while_loop``."""

from __future__ import annotations

from .control_cond import Cond, Switch
from .control_scan import Scan
from .control_while import While

__all__ = ["Cond", "Scan", "Switch", "While"]

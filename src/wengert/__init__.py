"""Wengert: computational graphs, differentiated in every mode, seen step by step."""

from __future__ import annotations

from . import ops
from .api import *
from .api import __all__ as _public

__version__ = "0.1.0"
__all__ = ["__version__", "ops", *_public]

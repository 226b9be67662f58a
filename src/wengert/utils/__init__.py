"""``wengert.utils``: here for programs that import ``torch.utils.data``."""

from . import data

__all__ = ["data"]

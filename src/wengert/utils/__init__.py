"""``wengert.utils``: data loading and checkpointing under PyTorch's names, and the safetensors format."""

from . import checkpoint, data, safetensors

__all__ = ["checkpoint", "data", "safetensors"]

"""``wengert.utils``: data loading under PyTorch's names, and the safetensors format."""

from . import data, safetensors

__all__ = ["data", "safetensors"]

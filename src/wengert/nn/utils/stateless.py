"""`functional_call` under the path that it had in older versions of PyTorch."""

from ..stateless import functional_call

__all__ = ["functional_call"]

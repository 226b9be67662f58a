"""Checks of derivatives: for the ops themselves and for users' functions."""

from .checks import CheckError
from .verify import gradcheck, gradgradcheck, verify

__all__ = ["CheckError", "gradcheck", "gradgradcheck", "verify"]

"""Whole networks: what the lectures show, built from the layers of `wengert.nn`."""

from .gpt import GPT
from .vision import MLP, LeNet, ResNetCIFAR, resnet20

__all__ = ["GPT", "MLP", "LeNet", "ResNetCIFAR", "resnet20"]

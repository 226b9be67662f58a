"""Helpers for networks: clipping gradients, parameters as one vector, reparametrised weights, sequences."""

from . import rnn

__all__ = ["rnn"]

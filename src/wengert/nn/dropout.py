"""Dropout: zeroing values at random while training."""

from __future__ import annotations

from ..errors import ArgumentError, message
from ..tensor import Tensor
from . import functional as F
from .module import Module


class Dropout(Module):
    """Zeroes each value with probability ``p`` while training and scales the rest by ``1 / (1 - p)``.

    Source: Srivastava et al. 2014.

    >>> import wengert as wg
    >>> layer = wg.nn.Dropout(0.5)
    >>> sorted(set(layer(wg.ones(1000)).tolist()))
    [0.0, 2.0]
    >>> layer.eval()(wg.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(message("Dropout", "dropout probability has to be between 0 and 1, but got", str(p)))
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"

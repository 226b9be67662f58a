"""Dropout: zeroing values at random while training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..errors import ArgumentError, message
from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Dropout(Module):
    """What dropouts share: the probability ``p`` and the switch ``inplace``."""

    function: ClassVar[Callable[..., Any]]

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            name = type(self).__name__
            raise ArgumentError(message(name, "dropout probability has to be between 0 and 1, but got", str(p)))
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zeroes each value with probability ``p`` while training and scales the rest by ``1 / (1 - p)``.

    Source: Srivastava et al. 2014.

    >>> import wengert as wg
    >>> layer = wg.nn.Dropout(0.5)
    >>> sorted(set(layer(wg.ones(1000)).tolist()))
    [0.0, 2.0]
    >>> layer.eval()(wg.ones(2)).tolist()
    [1.0, 1.0]
    """

    function = F.dropout


class Dropout1d(_Dropout):
    """Zeroes whole channels of sequences, (N, C, L) or (C, L)."""

    function = F.dropout1d


class Dropout2d(_Dropout):
    """Zeroes whole channels of images, (N, C, H, W) or (C, H, W). Source: Tompson et al. 2015."""

    function = F.dropout2d


class Dropout3d(_Dropout):
    """Zeroes whole channels of volumes, (N, C, D, H, W) or (C, D, H, W)."""

    function = F.dropout3d


class AlphaDropout(_Dropout):
    """Dropout that keeps mean 0 and variance 1, for `SELU`. Source: Klambauer et al. 2017."""

    function = F.alpha_dropout


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels."""

    function = F.feature_alpha_dropout

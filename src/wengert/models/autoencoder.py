"""Networks that give back their input through a narrow code."""

from __future__ import annotations

from collections.abc import Sequence

from .. import api
from ..nn import Module
from ..nn import functional as F
from ..tensor import Tensor
from .vision import MLP


class Autoencoder(Module):
    """Full layers to a code, and the same mirrored back.

    Args:
        sizes: the lengths of input, hidden layers and code.

    Shape:
        input (N, sizes[0]), code (N, sizes[-1]), output like the input: logits where the input is from 0 to 1.

    Source: Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313, 2006.

    >>> import wengert as wg
    >>> from wengert.models import Autoencoder
    >>> net = Autoencoder([64, 32, 4])
    >>> net.encoder(wg.zeros(5, 64)).shape, net(wg.zeros(5, 64)).shape
    (wengert.Size([5, 4]), wengert.Size([5, 64]))
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.encoder = MLP(sizes)
        self.decoder = MLP(sizes[::-1])

    def forward(self, x: Tensor) -> Tensor:
        """The input as the code tells it."""
        return self.decoder(self.encoder(x))


class VAE(Module):
    """A variational autoencoder of values from 0 to 1, with a normal code.

    Args:
        sizes: the lengths of input, hidden layers and code.

    Shape:
        input (N, sizes[0]) from 0 to 1; `forward` gives logits of the same shape, mean and logarithm of the variance
        of the code (N, sizes[-1]).

    Source: Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014.

    >>> import wengert as wg
    >>> from wengert.models import VAE
    >>> net = VAE([64, 32, 2])
    >>> logits, mean, log_var = net(wg.rand(5, 64))
    >>> logits.shape, mean.shape, net.bound(wg.rand(5, 64)).shape, net.sample(3).shape
    (wengert.Size([5, 64]), wengert.Size([5, 2]), wengert.Size([]), wengert.Size([3, 64]))
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.encoder = MLP([*sizes[:-1], 2 * sizes[-1]])
        self.decoder = MLP(sizes[::-1])
        self.code_size = sizes[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of a drawn code, and mean and log-variance of the code."""
        mean, log_var = self.encoder(x).chunk(2, 1)
        code = mean + (log_var / 2).exp() * api.randn_like(mean)
        return self.decoder(code), mean, log_var

    def bound(self, x: Tensor) -> Tensor:
        """The negative evidence lower bound in nats, mean over N: cross-entropy, and divergence from N(0, 1)."""
        logits, mean, log_var = self(x)
        cost = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        divergence = (mean**2 + log_var.exp() - 1 - log_var).sum(1) / 2
        return (cost + divergence).mean()

    def sample(self, count: int) -> Tensor:
        """New samples (count, sizes[0]), from 0 to 1."""
        return self.decoder(api.randn(count, self.code_size)).sigmoid()


__all__ = ["VAE", "Autoencoder"]

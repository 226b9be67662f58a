"""Learning to rank from pairs: a siamese encoder, a comparison, and an order that follows from it."""

from __future__ import annotations

from typing import Any

from .. import api
from ..config import no_grad
from ..errors import ShapeError, message
from ..tensor import Tensor
from . import functional as F
from .activation import Tanh
from .container import Sequential
from .linear import Linear
from .module import Module


class Comparator(Module):
    """Neural comparator: the logit of "a comes after b", ``c(e(a), e(b)) - c(e(b), e(a))``.

    Both items go through the same encoder e; c is any network of the pair. The difference makes the
    layer antisymmetric whatever c is: ``f(a, b) = -f(b, a)`` and ``f(a, a) = 0``, bit for bit.

    Args:
        encoder: a network from items (*, …) to vectors (*, features); `Identity` where items are vectors.
        features: length of those vectors.
        hidden: width of the comparison's hidden layer; 0 makes c linear, so that f is the difference of
            two scores and the order is always free of cycles.
        compare: another network from (*, 2 features) to (*, 1) in place of the built-in one.

    Shape:
        a and b (N, …) items, output (N). The loss is `binary_cross_entropy_with_logits`, see `loss`.

    Source: Bromley et al., "Signature verification using a siamese time delay neural network", NeurIPS 1993;
    Rigutini et al., "SortNet: learning to rank by a neural preference function", IEEE TNN 22, 2011.

    >>> import wengert as wg
    >>> order = wg.nn.Comparator(wg.nn.Identity(), 3)
    >>> a, b = wg.randn(5, 3), wg.randn(5, 3)
    >>> bool((order(a, b) == -order(b, a)).all())
    True
    >>> sorted(order.argsort(a).tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(
        self, encoder: Module, features: int, hidden: int = 32, compare: Module | None = None,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = encoder
        if compare is not None:
            self.compare = compare
        elif hidden:
            first = Linear(2 * features, hidden, device=device, dtype=dtype)
            self.compare = Sequential(first, Tanh(), Linear(hidden, 1, device=device, dtype=dtype))
        else:
            self.compare = Linear(2 * features, 1, bias=False, device=device, dtype=dtype)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self._logits(self.encoder(a), self.encoder(b))

    def _logits(self, a: Any, b: Any) -> Any:
        # Two calls, not one batch: a product's rounding may depend on where in the batch a row stands, while
        # the same call gives the same bits.
        forth, back = self._value(a, b), self._value(b, a)
        return forth - back

    def _value(self, a: Any, b: Any) -> Any:
        pair = api.cat([a, b], -1)
        value = self.compare(pair)
        if tuple(value.shape) != (*pair.shape[:-1], 1):
            wanted = "the comparison must give one number for each pair"
            raise ShapeError(message("Comparator", wanted, f"shape {tuple(value.shape)}"))
        return value.squeeze(-1)

    def loss(self, a: Tensor, b: Tensor, after: Tensor) -> Tensor:
        """Mean cross-entropy where ``after`` (N) says how probably a comes after b: 0, 1, or 0.5 for a tie."""
        logits = self(a, b)
        return F.binary_cross_entropy_with_logits(logits, after.to(logits.dtype))

    def matrix(self, items: Tensor) -> Tensor:
        """All comparisons (N, N): element i, j is f(item i, item j). Each item is encoded once."""
        code = self.encoder(items)
        n = len(code)
        a = code.unsqueeze(1).expand(n, n, code.shape[-1])
        return self._logits(a, a.transpose(0, 1))

    def argsort(self, items: Tensor, descending: bool = False) -> Tensor:
        """The order (N) of N items that agrees with their comparisons.

        Each item is ranked by how many others it comes after (Copeland's count), equals by the sum of
        their probabilities. If the comparisons have no cycle the order agrees with every single one; if they
        have, it still does not depend on the order in which the items were given. N² comparisons.
        """
        with no_grad():
            logits = self.matrix(items)
            logits = logits - logits.T  # rounding may differ between the rows of one product
            wins = ((logits > 0).to(api.float64) + (logits >= 0).to(api.float64)).sum(1)
            # The sum of probabilities is less than n, so it never outweighs a win.
            rank = wins + logits.to(api.float64).sigmoid().sum(1) / (len(wins) + 1)
            return api.argsort(rank, descending=descending, stable=True)

    def sort(self, items: Tensor, descending: bool = False) -> Tensor:
        """The items in the order of `argsort`."""
        return items[self.argsort(items, descending)]


__all__ = ["Comparator"]

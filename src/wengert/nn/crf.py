"""Conditional random field: tags of a sequence that depend on their neighbours, summed over exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import api
from ..errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, message
from ..func import grad
from ..tensor import Tensor
from . import init
from .linear import check_size
from .module import Module
from .parameter import Parameter


class CRF(Module):
    """Linear-chain conditional random field.

    The score of tags y₁ … y_T is ``start[y₁] + Σ emissions[t, y_t] + Σ transitions[y_t, y_t+1] + end[y_T]``,
    and their probability is the softmax of that over all K^T paths, which the forward algorithm sums in
    O(T K²) steps. Calling the layer gives the log-likelihood; its negative is the loss.

    Args:
        num_tags: K, how many tags there are.
        batch_first: whether the batch is the first dimension; else time is.

    Shape:
        emissions (T, B, K), tags (T, B) of integers, mask (T, B) of bools, True where there is a word; with
        ``batch_first`` (B, T, …). Sequences are padded at their ends and have at least one word.
        start_transitions and end_transitions (K), transitions (from K, to K); all start uniform over ±0.1.

    Source: Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001; names as in pytorch-crf.

    >>> import wengert as wg
    >>> crf = wg.nn.CRF(3, batch_first=True)
    >>> emissions, tags = wg.randn(2, 4, 3), wg.tensor([[0, 1, 2, 1], [2, 2, 0, 0]])
    >>> mask = wg.tensor([[True, True, True, True], [True, True, False, False]])
    >>> crf(emissions, tags, mask, reduction="none").shape
    wengert.Size([2])
    >>> [len(path) for path in crf.decode(emissions, mask)]
    [4, 2]
    >>> wg.allclose(crf.marginals(emissions, mask).sum(-1), mask.float(), atol=1e-5)
    True
    """

    start_transitions: Parameter
    end_transitions: Parameter
    transitions: Parameter

    def __init__(self, num_tags: int, batch_first: bool = False, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        n = self.num_tags = check_size("CRF", "num_tags", num_tags, 1)
        self.batch_first = batch_first
        self.start_transitions = Parameter(api.empty(n, device=device, dtype=dtype))
        self.end_transitions = Parameter(api.empty(n, device=device, dtype=dtype))
        self.transitions = Parameter(api.empty(n, n, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the transitions anew."""
        for p in (self.start_transitions, self.end_transitions, self.transitions):
            init.uniform_(p, -0.1, 0.1)

    def forward(self, emissions: Tensor, tags: Tensor, mask: Any = None, reduction: str = "sum") -> Tensor:
        """Log-likelihood of the tags; ``reduction``: 'none' (B), 'sum', 'mean', or 'token_mean' over the words."""
        if reduction not in ("none", "sum", "mean", "token_mean"):
            raise ArgumentError(message("CRF", "reduction must be none, sum, mean or token_mean", repr(reduction)))
        emissions, mask = self._time_first(emissions, mask)
        tags = self._checked_tags(tags, emissions, mask)
        value = self._score(emissions, tags, mask) - self._log_partition(emissions, mask)
        if reduction == "none":
            return value
        if reduction == "token_mean":
            return value.sum() / mask.sum().to(value.dtype)
        return value.sum() if reduction == "sum" else value.mean()

    def log_partition(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logarithm of the sum of exp(score) over all paths, (B): the forward algorithm, as one `wg.scan`."""
        return self._log_partition(*self._time_first(emissions, mask))

    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Probability of each tag at each place given the whole sequence, like ``emissions``; padding has zeros.

        They are the derivative of the log-partition by the emissions: reverse mode through the forward
        algorithm is the forward-backward algorithm. They can be differentiated themselves.
        """
        return grad(lambda e: self.log_partition(e, mask).sum())(emissions)

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """The most probable path of each sequence, without padding: the Viterbi algorithm."""
        return [best[0][0] for best in self.k_best(emissions, 1, mask)]

    def k_best(self, emissions: Tensor, k: int, mask: Any = None) -> list[list[tuple[list[int], float]]]:
        """For each sequence its ``k`` most probable paths with their scores, best first; fewer if it has fewer.

        Each state keeps its k best ways to get there (the list Viterbi algorithm), which is exact. No gradient.

        Source: Seshadri and Sundberg, "List Viterbi decoding algorithms", IEEE Trans. Comm. 42, 1994.
        """
        k = check_size("CRF", "k", k, 1)
        emissions, mask = self._time_first(emissions, mask)
        given = (emissions, self.start_transitions, self.transitions, self.end_transitions)
        e, start, step, end = (x.detach().numpy() for x in given)
        lengths = mask.numpy().sum(0)
        return [_best_paths(e[:n, b], start, step, end, k) for b, n in enumerate(lengths)]

    # --- inside: time comes first --------------------------------------------------------------------

    def _time_first(self, emissions: Any, mask: Any) -> tuple[Any, Any]:
        """Emissions (T, B, K) and mask (T, B), checked."""
        shape = tuple(emissions.shape)
        if len(shape) != 3 or shape[2] != self.num_tags or 0 in shape[:2]:
            order = "(batch, time, tags)" if self.batch_first else "(time, batch, tags)"
            wanted = f"emissions must be {order} with {self.num_tags} tags"
            raise ShapeError(message("CRF", wanted, f"shape {shape}"))
        if mask is None:
            mask = api.ones(*shape[:2], dtype=api.bool)
        if tuple(mask.shape) != shape[:2]:
            raise ShapeError(message("CRF", "the mask must fit the emissions", f"{tuple(mask.shape)} for {shape}"))
        if mask.dtype != api.bool:
            raise DTypeError(message("CRF", "the mask must be bool", str(mask.dtype), "Convert with mask.bool()"))
        if self.batch_first:
            emissions, mask = emissions.transpose(0, 1), mask.transpose(0, 1)
        value = mask._value  # None while tracing
        if value is not None and not (value[0].all() and (value[1:] <= value[:-1]).all()):
            raise ArgumentError(
                message("CRF", "each sequence needs a first word, and padding only at its end", "another mask")
            )
        return emissions, mask

    def _checked_tags(self, tags: Any, emissions: Any, mask: Any) -> Any:
        """Tags (T, B); what stands in the padding may be any number and becomes 0."""
        if self.batch_first and tags.ndim == 2:
            tags = tags.transpose(0, 1)
        if tuple(tags.shape) != tuple(mask.shape):
            seen = f"{tuple(tags.shape)} for {tuple(emissions.shape)}, time first"
            raise ShapeError(message("CRF", "the tags must fit the emissions", seen))
        tags = api.where(mask, tags, api.zeros_like(tags))
        if tags._value is not None and not ((tags._value >= 0) & (tags._value < self.num_tags)).all():
            seen = f"{tags._value.min()} to {tags._value.max()}"
            raise IndexRangeError(message("CRF", f"tags must be from 0 to {self.num_tags - 1}", seen))
        return tags

    def _score(self, emissions: Any, tags: Any, mask: Any) -> Any:
        """Score of the given paths, (B)."""
        here = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)
        total = api.where(mask, here, api.zeros_like(here)).sum(0) + self.start_transitions[tags[0]]
        if len(tags) > 1:
            moves = self.transitions[tags[:-1], tags[1:]]
            total = total + api.where(mask[1:], moves, api.zeros_like(moves)).sum(0)
        last = tags.gather(0, mask.long().sum(0, keepdim=True) - 1)[0]
        return total + self.end_transitions[last]

    def _log_partition(self, emissions: Any, mask: Any) -> Any:
        def step(alpha: Any, at: Any) -> tuple[Any, None]:
            emission, on = at
            new = api.logsumexp(alpha.unsqueeze(2) + self.transitions, 1) + emission
            return api.where(on.unsqueeze(1), new, alpha), None

        alpha = self.start_transitions + emissions[0]
        if len(emissions) > 1:
            alpha, _ = api.scan(step, alpha, (emissions[1:], mask[1:]))
        return api.logsumexp(alpha + self.end_transitions, 1)

    def extra_repr(self) -> str:
        return f"num_tags={self.num_tags}, batch_first={self.batch_first}"


def _best_paths(emissions: Any, start: Any, step: Any, end: Any, k: int) -> list[tuple[list[int], float]]:
    """The k best paths of one sequence of emissions (T, K)."""
    tags = len(start)
    scores = np.full((tags, k), -np.inf)  # of each tag: the scores of its k best paths so far
    scores[:, 0] = start + emissions[0]
    back = []  # for each step: (tag, rank) -> flat (tag, rank) before
    for emission in emissions[1:]:
        ways = (scores[:, :, None] + step[:, None, :]).reshape(tags * k, tags)
        chosen = np.argsort(-ways, axis=0, kind="stable")[:k]
        scores = np.take_along_axis(ways, chosen, 0).T + emission[:, None]
        back.append(chosen.T)
    final = (scores + end[:, None]).ravel()
    found = []
    for place in np.argsort(-final, kind="stable")[:k]:
        if final[place] == -np.inf:
            break
        score, path = float(final[place]), [int(place) // k]
        for chosen in reversed(back):
            place = chosen.flat[place]
            path.append(int(place) // k)
        found.append((path[::-1], score))
    return found


__all__ = ["CRF"]

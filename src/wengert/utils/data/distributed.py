"""A data set shared out among several processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized

from ... import api
from ...errors import ArgumentError, message
from .sampler import Sampler


class DistributedSampler(Sampler):
    """Every ``num_replicas``-th sample of an order that all processes share, beginning with the ``rank``-th.

    All processes get equally many: the order is filled up from its beginning, or with ``drop_last`` cut.

    Args:
        dataset: the data set.
        num_replicas: how many processes there are; there is no process group from which to know.
        rank: the number of this one, from 0.
        shuffle: whether each epoch has a new order; call `set_epoch` before each.
        seed: of the order, the same in all processes.
        drop_last: whether to cut what can not be shared out evenly.

    >>> from wengert.utils.data import DistributedSampler
    >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
        seed: int = 0, drop_last: bool = False,
    ) -> None:  # fmt: skip
        if num_replicas is None or rank is None:
            raise ArgumentError(message("DistributedSampler", "num_replicas and rank must be given"))
        if not 0 <= rank < num_replicas:
            seen = f"rank {rank} of {num_replicas}"
            raise ArgumentError(message("DistributedSampler", "rank must be from 0 to num_replicas - 1", seen))
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0

    @property
    def num_samples(self) -> int:
        """How many indices this process gets."""
        share = len(self.dataset) / self.num_replicas
        return math.floor(share) if self.drop_last else math.ceil(share)

    @property
    def total_size(self) -> int:
        """How many indices all processes get together."""
        return self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        indices = list(range(len(self.dataset)))
        if self.shuffle:
            generator = api.Generator().manual_seed(self.seed + self.epoch)
            indices = api.randperm(len(indices), generator=generator).tolist()
        copies = math.ceil(self.total_size / max(len(indices), 1))
        return iter((indices * copies)[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Give the next iteration the order of this epoch."""
        self.epoch = epoch


__all__ = ["DistributedSampler"]

"""Samples shared out among processes."""

from __future__ import annotations

from collections import Counter

import pytest

from wengert.utils.data import DataLoader, DistributedSampler


@pytest.mark.quick(size=[0, 7])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 12])
@pytest.mark.parametrize("replicas", [1, 3, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_everyone_gets_as_many(size: int, replicas: int, shuffle: bool) -> None:
    shares = [list(DistributedSampler(range(size), replicas, rank, shuffle, seed=3)) for rank in range(replicas)]
    assert {len(share) for share in shares} == {-(-size // replicas)}
    counts = Counter(i for share in shares for i in share)
    assert set(counts) == set(range(size))
    assert sum(counts.values()) - size < replicas
    cut = [DistributedSampler(range(size), replicas, rank, shuffle, drop_last=True) for rank in range(replicas)]
    given = [i for sampler in cut for i in sampler]
    assert len(given) == len(set(given)) == replicas * len(cut[0]) == cut[0].total_size == size // replicas * replicas


def test_epochs() -> None:
    sampler = DistributedSampler(range(20), 2, 1, seed=5)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    loader = DataLoader(range(20), batch_size=5, sampler=DistributedSampler(range(20), 2, 0, shuffle=False))
    assert [batch.tolist() for batch in loader] == [[0, 2, 4, 6, 8], [10, 12, 14, 16, 18]]


def test_refused() -> None:
    with pytest.raises(ValueError, match="num_replicas and rank must be given"):
        DistributedSampler(range(3))
    with pytest.raises(ValueError, match="rank must be from 0 to num_replicas - 1: rank 2 of 2"):
        DistributedSampler(range(3), 2, 2)

"""CRF against sums over all paths, written out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.testing import gradcheck, gradgradcheck, verify

LENGTHS = (4, 1, 3)
TAGS = 3


def layer(batch_first: bool = False) -> nn.CRF:
    crf = nn.CRF(TAGS, batch_first=batch_first, dtype=wg.float64)
    with wg.no_grad():
        for p in crf.parameters():
            p.copy_(wg.randn(*p.shape, dtype=wg.float64))
    return crf


def batch() -> tuple[Any, Any, Any]:
    """Emissions, tags and mask with time first; the padding holds numbers that must not matter."""
    time = max(LENGTHS)
    emissions = wg.randn(time, len(LENGTHS), TAGS, dtype=wg.float64)
    tags = wg.randint(0, TAGS, (time, len(LENGTHS)))
    mask = wg.arange(time).unsqueeze(1) < wg.tensor(LENGTHS)
    return emissions, wg.where(mask, tags, wg.full_like(tags, -100)), mask


def score(crf: nn.CRF, emissions: Any, path: Any) -> float:
    start, end, moves = (p.detach().numpy() for p in (crf.start_transitions, crf.end_transitions, crf.transitions))
    total = start[path[0]] + end[path[-1]] + sum(emissions[t, y] for t, y in enumerate(path))
    return total + sum(moves[a, b] for a, b in itertools.pairwise(path))


def all_paths(crf: nn.CRF, emissions: Any) -> list[tuple[float, list[int]]]:
    """Every path with its score, best first."""
    found = [(score(crf, emissions, y), list(y)) for y in itertools.product(range(TAGS), repeat=len(emissions))]
    return sorted(found, reverse=True)


def test_log_likelihood_is_over_all_paths() -> None:
    crf = layer()
    emissions, tags, mask = batch()
    got = crf(emissions, tags, mask, reduction="none")
    for b, n in enumerate(LENGTHS):
        e = emissions.numpy()[:n, b]
        partition = np.logaddexp.reduce([s for s, _ in all_paths(crf, e)])
        assert crf.log_partition(emissions, mask)[b].item() == pytest.approx(partition, rel=1e-12)
        assert got[b].item() == pytest.approx(score(crf, e, tags.numpy()[:n, b]) - partition, rel=1e-10)
    total = got.sum().item()
    assert crf(emissions, tags, mask).item() == pytest.approx(total)
    assert crf(emissions, tags, mask, "mean").item() == pytest.approx(total / 3)
    assert crf(emissions, tags, mask, "token_mean").item() == pytest.approx(total / sum(LENGTHS))


def test_marginals_are_over_all_paths() -> None:
    crf = layer()
    emissions, _, mask = batch()
    got = crf.marginals(emissions, mask).detach().numpy()
    for b, n in enumerate(LENGTHS):
        found = all_paths(crf, emissions.numpy()[:n, b])
        weights = np.exp([s for s, _ in found] - np.logaddexp.reduce([s for s, _ in found]))
        want = np.zeros((max(LENGTHS), TAGS))
        for w, (_, path) in zip(weights, found, strict=True):
            want[np.arange(n), path] += w
        np.testing.assert_allclose(got[:, b], want, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5, 100])
def test_best_paths_are_those_of_all(k: int) -> None:
    crf = layer()
    emissions, _, mask = batch()
    for b, got in enumerate(crf.k_best(emissions, k, mask)):
        want = all_paths(crf, emissions.numpy()[: LENGTHS[b], b])[:k]
        assert [path for path, _ in got] == [path for _, path in want]
        np.testing.assert_allclose([s for _, s in got], [s for s, _ in want])
    assert crf.decode(emissions, mask) == [best[0][0] for best in crf.k_best(emissions, k, mask)]


def test_batch_first_is_the_same() -> None:
    crf, other = layer(), layer(batch_first=True)
    other.load_state_dict(crf.state_dict())
    emissions, tags, mask = batch()
    turned = [x.transpose(0, 1) for x in (emissions, tags, mask)]
    assert wg.allclose(crf(emissions, tags, mask, "none"), other(*turned, "none"))
    assert wg.allclose(crf.marginals(emissions, mask), other.marginals(turned[0], turned[2]).transpose(0, 1))
    assert crf.decode(emissions, mask) == other.decode(turned[0], turned[2])
    assert wg.equal(crf(emissions, tags.clamp(0)), crf(emissions, tags.clamp(0), wg.ones(4, 3, dtype=wg.bool)))


@pytest.mark.slow
def test_derivatives() -> None:
    crf = layer()
    emissions, tags, mask = batch()

    def loss(e: Any, start: Any, end: Any, moves: Any) -> Any:
        own = {"start_transitions": start, "end_transitions": end, "transitions": moves}
        return wg.func.functional_call(crf, own, (e, tags, mask, "none"))

    given = (emissions, crf.start_transitions, crf.end_transitions, crf.transitions)
    points = [x.detach().requires_grad_() for x in given]
    assert gradcheck(loss, points)
    assert verify(lambda e: crf.log_partition(e, mask), emissions)
    assert gradgradcheck(lambda e: crf(e, tags, mask), (emissions.requires_grad_(),))


@pytest.mark.slow
def test_marginals_can_be_differentiated() -> None:
    crf = layer()
    emissions, _, mask = batch()
    assert gradcheck(lambda e: crf.marginals(e, mask)[1, :, 0], (emissions.requires_grad_(),))
    crf.marginals(emissions, mask)[0, 0, 0].backward()
    assert crf.transitions.grad is not None and crf.transitions.grad.abs().sum().item() > 0


def test_impossible_moves() -> None:
    crf = layer()
    with wg.no_grad():
        crf.transitions[0, 1] = -wg.inf
    emissions, _, mask = batch()
    assert wg.isfinite(crf.log_partition(emissions, mask)).all()
    paths = [path for found in crf.k_best(emissions, 100, mask) for path, _ in found]
    assert not any(pair == (0, 1) for path in paths for pair in itertools.pairwise(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"emissions": wg.zeros(4, 3, 2)}, "emissions must be .time, batch, tags. with 3 tags"),
        ({"mask": wg.ones(3, 4, dtype=wg.bool)}, "the mask must fit"),
        ({"mask": wg.ones(4, 3)}, "must be bool"),
        ({"mask": wg.zeros(4, 3, dtype=wg.bool)}, "needs a first word"),
        ({"tags": wg.zeros(3, 3).long()}, "the tags must fit"),
        ({"tags": wg.full((4, 3), 3)}, "tags must be from 0 to 2"),
        ({"reduction": "max"}, "reduction must be"),
    ],
)
def test_refuses(change: dict[str, Any], words: str) -> None:
    emissions, tags, mask = batch()
    with pytest.raises(RuntimeError, match=words):
        layer()(**{"emissions": emissions, "tags": tags, "mask": mask} | change)

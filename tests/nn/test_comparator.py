"""The neural comparator: antisymmetric for any weights, and an order that follows from the comparisons."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn, optim
from wengert.testing import gradcheck

ENCODERS = {"vectors": lambda: nn.Linear(4, 6, dtype=wg.float64), "identity": nn.Identity}


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_antisymmetric_bit_for_bit(encoder: str, hidden: int) -> None:
    width = 6 if encoder == "vectors" else 4
    order = nn.Comparator(ENCODERS[encoder](), width, hidden, dtype=wg.float64)
    a, b = wg.randn(7, 4, dtype=wg.float64), wg.randn(7, 4, dtype=wg.float64)
    assert wg.equal(order(a, b), -order(b, a))
    assert order(a, a).tolist() == [0.0] * 7
    m = order.matrix(a)
    for i, j in itertools.product(range(7), repeat=2):
        assert m[i, j].item() == pytest.approx(order(a[i : i + 1], a[j : j + 1]).item(), abs=1e-12)


def test_any_network_compares() -> None:
    order = nn.Comparator(nn.Identity(), 3, compare=nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)))
    a, b = wg.randn(4, 3), wg.randn(4, 3)
    assert wg.equal(order(a, b), -order(b, a))
    with pytest.raises(RuntimeError, match="one number for each pair"):
        nn.Comparator(nn.Identity(), 3, compare=nn.Linear(6, 2))(a, b)


class _Table(nn.Module):
    """Comparisons from a table: items are (n, 1) numbers of rows."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = wg.tensor(table, dtype=wg.float64)

    def forward(self, pair: Any) -> Any:
        at = pair.long()
        return self.table[at[..., 0], at[..., 1]].unsqueeze(-1)


def comparator_of(table: Any) -> nn.Comparator:
    return nn.Comparator(nn.Identity(), 1, compare=_Table(table))


def test_order_agrees_with_comparisons_without_a_cycle() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 9):
        want = rng.permutation(n)
        place = np.argsort(want)
        # Wins of any margin: the sums of the logits alone would give another order.
        table = np.sign(place[:, None] - place[None, :]) * rng.exponential(5.0, (n, n))
        items = wg.arange(n).unsqueeze(1).double()
        assert comparator_of(table).argsort(items).tolist() == want.tolist()
        assert comparator_of(table).argsort(items, descending=True).tolist() == want[::-1].tolist()


def test_order_does_not_depend_on_the_order_given() -> None:
    table = wg.randn(6, 6).numpy()  # with cycles
    order = comparator_of(table)
    items = wg.arange(6).unsqueeze(1).double()
    want = order.sort(items).flatten().tolist()
    for _ in range(5):
        assert order.sort(items[wg.randperm(6)]).flatten().tolist() == want


def test_ties_keep_their_order() -> None:
    assert comparator_of(np.zeros((4, 4))).argsort(wg.arange(4).unsqueeze(1).double()).tolist() == [0, 1, 2, 3]


def test_linear_comparison_is_a_difference_of_scores() -> None:
    order = nn.Comparator(nn.Identity(), 3, hidden=0, dtype=wg.float64)
    items = wg.randn(8, 3, dtype=wg.float64)
    w = order.compare.weight.detach()[0]
    scores = items @ (w[:3] - w[3:])
    assert wg.equal(order.argsort(items), wg.argsort(scores))


def test_derivatives() -> None:
    order = nn.Comparator(nn.Linear(2, 3, dtype=wg.float64), 3, hidden=4, dtype=wg.float64)
    a, b = (wg.randn(3, 2, dtype=wg.float64, requires_grad=True) for _ in range(2))
    after = wg.tensor([0.0, 0.5, 1.0], dtype=wg.float64)
    assert gradcheck(lambda a, b: order.loss(a, b, after), (a, b))


@pytest.mark.slow
def test_learns_an_order() -> None:
    wg.manual_seed(1)
    order = nn.Comparator(nn.Linear(2, 8), 8, hidden=16)
    optimizer = optim.Adam(order.parameters(), lr=0.02)
    for _ in range(120):
        a, b = wg.randn(64, 2), wg.randn(64, 2)
        loss = order.loss(a, b, a.sum(1) > b.sum(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    items = wg.randn(10, 2)
    found, want = order.argsort(items).argsort(), items.sum(1).argsort().argsort()
    assert (found - want).abs().max().item() <= 1

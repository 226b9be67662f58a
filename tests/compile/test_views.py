"""Views that a compiled function reads from around it follow their bases."""

from __future__ import annotations

import pytest

import wengert as wg
from wengert import nn
from wengert.testing.compiled import eager

pytestmark = pytest.mark.filterwarnings("ignore::wengert.RecompileWarning")
MODES = pytest.mark.parametrize("mode", [eager, wg.compile], ids=["eager", "compiled"])


@MODES
@pytest.mark.parametrize("turned", [False, True])
def test_a_view_follows_its_base(mode, turned):
    base = wg.arange(6.0).reshape(2, 3).clone()
    view = base.T if turned else base[1:]
    run = mode(lambda x: (view * x).sum())
    for k in range(4):
        want = 15.0 + 6 * k if turned else 12.0 + 3 * k
        assert run(wg.ones(())).item() == want
        base.add_(1.0)
    assert view._alias.base is base and view._node is None
    base.copy_(wg.zeros(2, 3))
    assert view.sum().item() == 0.0 == run(wg.ones(())).item()


@MODES
def test_a_view_is_read_before_and_after_its_base_is_written(mode):
    base = wg.zeros(1 << 12)
    view, other = base[:-1], base[1:]

    def step(x):
        before = view * 2.0
        base.add_(x)
        late = (before.cumsum(0) + view).sum()
        view.mul_(2.0)
        return late, before.sum(), other[0] * 1.0

    run = mode(step)
    value = 0.0
    for _ in range(4):
        late, before, first = run(wg.ones(()))
        n = (1 << 12) - 1
        assert before.item() == 2 * value * n
        assert late.item() == pytest.approx(2 * value * n * (n + 1) / 2 + n * (value + 1), rel=1e-6)
        value = 2 * (value + 1)
        assert first.item() == value == base[0].item() == view[5].item()
        base[-1] = value


@MODES
def test_views_of_parameters(mode):
    """Detached, or made without gradients, they carry none; a view that carries one is an error as before."""
    w = nn.Parameter(wg.ones(2, 3))
    detached = w.detach().T
    with wg.no_grad():
        quiet = w[0]

    def step(x):
        ((w * x).sum() + detached.sum() * x + (quiet * x).sum()).backward()
        return quiet * 1.0

    run = mode(step)
    assert run(wg.tensor(2.0)).tolist() == [1.0] * 3
    with wg.no_grad():
        w.add_(1.0)
    assert run(wg.tensor(3.0)).tolist() == [2.0] * 3
    assert w.grad.tolist() == [[5.0] * 3] * 2
    assert not quiet.requires_grad and not detached.requires_grad


@MODES
def test_a_turned_view_in_a_loop(mode):
    base = wg.arange(6.0).reshape(2, 3)
    view = base.T
    run = mode(lambda x: wg.fori_loop(0, 3, lambda i, c: c + view, x))
    for k in range(3):
        assert run(wg.zeros(3, 2)).sum().item() == 3 * (15.0 + 6 * k)
        base.add_(1.0)

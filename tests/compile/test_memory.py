"""What is alive between kernels: their order, buffers written over, what waits for the reverse sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.errors import IndexRangeError
from wengert.nn import functional as F
from wengert.schedule.memory import LODGED, Room, Span, place

ROWS, WIDTH = 64, 256
HIDDEN = 4 * ROWS * WIDTH  # bytes of a hidden value


def arrays(*shapes: tuple[int, ...], seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [wg.tensor(rng.normal(0.0, 0.3, s).astype(np.float32)) for s in shapes]


@pytest.mark.parametrize("activation", [F.gelu, F.silu, lambda x: F.gelu(x, approximate="tanh")])
def test_two_values_of_an_activation_are_alive(activation: Any) -> None:
    """Its input and its result; and for the result, whose product comes first, its adjoint."""

    def loss(up: Any, down: Any, x: Any) -> Any:
        return activation(x @ up).matmul(down).square().sum()

    up, down, x = arrays((8, WIDTH), (WIDTH, 8), (ROWS, 8))
    gradient = wg.func.grad(loss, argnums=(0, 1))
    assert wg.plan(gradient, up, down, x).arena < 2.3 * HIDDEN
    for got, want in zip(wg.compile(gradient)(up, down, x), gradient(up, down, x), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-4)


def test_a_buffer_is_written_over_by_its_last_reader() -> None:
    """Also under another shape."""

    def f(x: Any, w: Any, v: Any) -> Any:
        return (x @ w).reshape(2, -1, WIDTH).tanh().reshape(ROWS, WIDTH) @ v

    given = arrays((ROWS, 8), (8, WIDTH), (WIDTH, 8))
    assert wg.plan(f, *given).arena < 1.1 * HIDDEN
    np.testing.assert_allclose(wg.compile(f)(*given).numpy(), f(*given).numpy(), rtol=1e-5, atol=1e-5)


def test_a_buffer_is_not_written_over_while_it_is_read() -> None:
    """Later, by another kernel; elsewhere than where it is written; or as a result."""
    x, w, v = arrays((WIDTH, 8), (8, WIDTH), (WIDTH, 8))

    def later(x: Any, w: Any, v: Any) -> Any:
        y = x @ w
        return y.tanh() @ v, y.t() @ v

    def turned(x: Any, w: Any, v: Any) -> Any:
        y = x @ w
        return (y.exp() + y.t()) @ v

    def twice(x: Any, w: Any, v: Any) -> Any:
        y = x @ w
        return y, y.tanh() @ v

    def softened(x: Any, w: Any, v: Any) -> Any:
        y = x @ w
        return (y - y.exp().sum(-1, keepdim=True).log()).tanh() @ v

    for f in (later, turned, twice, softened):
        got, want = wg.compile(f)(x, w, v), f(x, w, v)
        for a, b in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, want)], strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4)


def test_gradients_stay_where_they_are_beside_a_constant_index() -> None:
    """An index that is known in advance is not looked at by kernels, so nothing has to be kept for its error."""
    wg.manual_seed(0)
    places = nn.Embedding(4, 8)

    @wg.compile
    def step(x: Any) -> Any:
        places.zero_grad()
        loss = ((x + places(wg.arange(4))) ** 2).sum()
        loss.backward()
        return loss

    x = wg.randn(3, 4, 8)
    step(x)
    where = places.weight.grad.numpy().ctypes.data
    for _ in range(2):
        step(x)
    assert places.weight.grad.numpy().ctypes.data == where


def test_a_constant_index_out_of_range() -> None:
    f = wg.compile(lambda x: x[wg.tensor([0, 5])] + 1.0)
    with pytest.raises(IndexRangeError, match="5"):
        f(wg.ones(4, 3))


def test_an_update_stays_behind_what_may_fail() -> None:
    """However much memory it would let go of."""
    w = nn.Parameter(wg.ones(ROWS, WIDTH))
    optimizer = wg.optim.SGD([w], lr=0.1)

    @wg.compile
    def step(x: Any, i: Any) -> Any:
        loss = (x @ w).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss + x[(i + 0 * x.sum()).long()].sum()

    x = wg.ones(4, ROWS)
    with pytest.raises(IndexRangeError):
        step(x, wg.tensor([7.0]))
    np.testing.assert_array_equal(w.detach().numpy(), np.ones((ROWS, WIDTH), np.float32))


# -- memory of results --------------------------------------------------------------------------------

SIDE = 300  # squares of this are larger than LODGED


def test_no_two_buffers_share_memory_while_both_are_alive() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        starts = rng.integers(0, 30, 60)
        sizes = rng.choice([0, 1, 100, LODGED, LODGED + 1, 3 * LODGED], 60)
        spans = [Span(i, int(n), int(t), int(t + rng.integers(0, 9))) for i, (n, t) in enumerate(zip(sizes, starts))]
        rooms = [Room(100 + i, int(n), int(t), int(t + rng.integers(0, 25)))
                 for i, (n, t) in enumerate(zip(rng.integers(1, 5 * LODGED, 6), rng.integers(0, 9, 6)))]  # fmt: skip
        found = place(spans, rooms)
        alive = [sum(s.size for s in spans if s.first <= t <= s.last) for t in range(40)]
        assert found.live == max(alive) and found.size <= place(spans).size and found.rooms
        where = {s.key: found.rooms.get(s.key) for s in spans}
        for s in spans:
            at, room = found.offsets[s.key], next((r for r in rooms if r.key == where[s.key]), None)
            assert at % 64 == 0 and at + s.size <= (found.size if room is None else room.size)
            assert room is None or (s.size >= LODGED and room.since <= s.first and s.last < room.until)
            for t in spans[: s.key]:
                apart = at + s.size <= found.offsets[t.key] or found.offsets[t.key] + t.size <= at
                assert apart or where[t.key] != where[s.key] or t.last < s.first or s.last < t.first


def trained(compiled: bool, steps: int = 3) -> list[Any]:
    wg.manual_seed(0)
    net = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(SIDE, SIDE), nn.Tanh())])
    optimizer = wg.optim.SGD(net.parameters(), lr=0.01)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    run = wg.compile(step) if compiled else step
    losses = [run(wg.randn(SIDE, SIDE)) for _ in range(steps)]
    if compiled:
        layout = run.latest.scheduled().layout
        assert layout.rooms and layout.size < layout.live
        assert run.latest.program.arena.nbytes == layout.size
    return [*losses, *net.parameters(), *[p.grad for p in net.parameters()]]


def test_temporaries_lie_in_gradients_that_are_still_to_be_computed() -> None:
    for got, want in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_gradients_are_whole_where_an_index_is_out_of_range() -> None:
    """What is computed before the last index is looked at does not lie where the last gradients do."""
    wg.manual_seed(0)
    net = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(SIDE, SIDE), nn.Tanh())])

    @wg.compile
    def step(x: Any, i: Any) -> Any:
        net.zero_grad()
        y = net(x)
        loss = y[(i + 0 * y.sum()).long()].square().sum()
        loss.backward()
        return loss

    x = wg.randn(SIDE, SIDE)
    for _ in range(2):
        step(x, wg.tensor([7.0]))
    old = [p.grad for p in net.parameters()]
    kept = [np.array(g.numpy()) for g in old]
    del old
    with pytest.raises(IndexRangeError):
        step(2 * x, wg.tensor([1000.0]))
    for p, want in zip(net.parameters(), kept, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), want)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_that_are_added_to_are_read_before_they_are_written(compiled: bool) -> None:
    """Here in another order than they are written in."""
    w = nn.Parameter(wg.zeros(SIDE, SIDE))
    first = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    w.grad = wg.tensor(first)

    def step() -> Any:
        loss = (w * w.grad.detach().t()).sum()
        loss.backward()
        return loss

    run = wg.compile(step) if compiled else step
    for _ in range(3):
        run()
    want = first
    for _ in range(3):
        want = want + want.T
    np.testing.assert_array_equal(w.grad.numpy(), want)


def test_gradients_that_are_added_to_hold_no_temporaries() -> None:
    wg.manual_seed(0)
    net = nn.Sequential(nn.Linear(SIDE, SIDE), nn.Tanh(), nn.Linear(SIDE, SIDE), nn.Tanh())
    x = wg.randn(SIDE, SIDE)

    def step() -> None:
        net(x).square().sum().backward()

    run = wg.compile(step)
    step()
    once = [np.array(p.grad.numpy()) for p in net.parameters()]
    for n in range(2, 6):
        run()
        for p, g in zip(net.parameters(), once, strict=True):
            np.testing.assert_allclose(p.grad.numpy(), n * g, rtol=1e-4, atol=1e-2)

"""What follows a product or a convolution is computed where its results still are in registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F


def r(*shape: int, dtype: Any = np.float32) -> Any:
    seed = sum(k * 7**i for i, k in enumerate(shape))
    return wg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def groups(compiled: Any) -> list[list[str]]:
    """The ops of each group's roots."""
    return [[n.op.name for n in g.nodes] for g in compiled.latest.scheduled().block.groups]


def check(f: Callable[..., Any], *args: Any, tol: float = 2e-5) -> list[list[str]]:
    compiled = wg.compile(f)
    for x, y in zip(wg.tree.leaves(compiled(*args)), wg.tree.leaves(f(*args)), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        x, y = (z.detach().float() if z.dtype is wg.bfloat16 else z.detach() for z in (x, y))
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=tol, atol=tol)
    return groups(compiled)


def residual(h: Any, w: Any) -> Any:
    return F.conv2d((h + F.conv2d(h, w, padding=1)).relu(), w)


FUSED: dict[str, Any] = {
    "bias and relu": (lambda x, w, b: F.linear(x, w, b).relu(), [(33, 20), (40, 20), (40,)]),
    "the product is wanted too": (lambda x, w, y: (x @ w, x @ w + y), [(33, 20), (20, 17), (33, 17)]),
    "several results": (lambda x, w, y: (x @ w + y, (x @ w - y).abs()), [(33, 20), (20, 17), (33, 17)]),
    "a result of bools": (lambda x, w, y: (x @ w > 0) & (y > 0), [(33, 20), (20, 17), (33, 17)]),
    "another shape": (lambda x, w, y: x @ w + y, [(3, 11, 20), (20, 17), (3, 11, 17)]),
    "a part of the rows": (lambda x, w, y: x @ w + y, [(3, 11, 20), (20, 17), (11, 17)]),
    "batches": (lambda x, w, y: x @ w + y, [(2, 3, 11, 20), (2, 3, 20, 17), (3, 11, 17)]),
    "turned": (lambda x, w, y: (x @ w).transpose(0, 1) + y, [(33, 20), (20, 17), (17, 33)]),
    "few rows": (lambda x, w, y: x @ w + y, [(3, 200), (200, 17), (3, 17)]),
    "few rows, turned": (lambda x, w, y: (x @ w).mT + y, [(3, 200), (200, 17), (17, 3)]),
    "few columns": (lambda x, w, y: (x @ w).mT + y, [(40, 70), (70, 2), (2, 40)]),
    "k in steps": (lambda x, w, y: (x @ w + y).relu(), [(50, 3000), (3000, 70), (50, 70)]),
    "k in partial sums": (lambda x, w, y: (x @ w + y).relu(), [(20, 9000), (9000, 16), (20, 16)]),
    "convolution": (lambda x, w, y: F.max_pool2d(F.conv2d(x, w, y).relu(), 2), [(2, 5, 9, 9), (7, 5, 3, 3), (7,)]),
    "groups": (
        lambda x, w, y: F.max_pool2d(F.conv2d(x, w, y, groups=2).relu(), 2), [(2, 6, 9, 9), (8, 3, 3, 3), (8,)],
    ),
    "a residual": (
lambda x, w: residual(F.conv2d(x, w, padding=1), w),
        [(2, 8, 9, 9), (8, 8, 3, 3)],
    ),
}  # fmt: skip


@pytest.mark.quick(name=list(FUSED)[1::4])
@pytest.mark.parametrize("name", FUSED)
def test_fused(name: str) -> None:
    f, shapes = FUSED[name]
    found = check(f, *[r(*s) for s in shapes], tol=2e-3 if name.startswith(("k in", "a residual")) else 2e-5)
    assert any(g[0] in ("matmul", "conv") and len(g) > 1 for g in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSED)
def test_fused_in_float64(name: str) -> None:
    f, shapes = FUSED[name]
    narrow = wg.compile(f)
    narrow(*[r(*s) for s in shapes])
    found = check(f, *[r(*s, dtype=np.float64) for s in shapes], tol=1e-10)
    assert found == groups(narrow)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSED)
def test_fused_in_bfloat16(name: str) -> None:
    """What is summed in float32 is rounded, and then what follows, as in eager mode."""
    f, shapes = FUSED[name]
    found = check(f, *[(r(*s) / s[0] ** 0.5).to(wg.bfloat16) for s in shapes], tol=2.0**-6)
    assert any(g[0] in ("matmul", "conv") and len(g) > 1 for g in found)


@pytest.mark.parametrize(
    "f", [lambda x, w: F.conv2d(x, w, padding=1), lambda x, w: x.flatten(1) @ w.flatten(1).T], ids=["conv", "matmul"]
)
def test_what_follows_bfloat16_sees_it_rounded(f: Callable[..., Any]) -> None:
    x, w = r(6, 8, 3, 3).to(wg.bfloat16), r(40, 8, 3, 3).to(wg.bfloat16)
    compiled = wg.compile(lambda x, w: (f(x, w), f(x, w) * 1.5 + 1))
    once, twice = compiled(x, w)
    assert (once * 1.5 + 1).equal(twice)


@pytest.mark.parametrize(("m", "batch", "n"), [(40, 7, 5), (16, 50, 3), (33, 20, 1)])
def test_batches_side_by_side_in_memory(m: int, batch: int, n: int) -> None:
    w, x, y = r(m, 30), r(30, batch, n), r(n)

    def f(w: Any, x: Any, y: Any) -> Any:
        return (w.unsqueeze(0).expand(batch, m, 30) @ x.permute(1, 0, 2)).permute(1, 0, 2) + y

    check(f, w, x, y)


def test_partial_sums_of_a_long_product_agree_with_float64() -> None:
    x, w, y = r(50, 3000), r(3000, 70), r(50, 70)
    found = wg.compile(lambda x, w, y: (x @ w + y).relu())(x, w, y).numpy()
    expected = np.maximum(x.numpy().astype(np.float64) @ w.numpy() + y.numpy(), 0)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    "f",
    [
        pytest.param(lambda x, w: (x @ w).exp().tanh().erf(), id="long"),
        pytest.param(lambda x, w: x @ w + (x @ w).sum(1, keepdim=True), id="reads a reduction of it"),
        pytest.param(lambda x, w: x @ w + (x @ w).mT, id="reads other elements of it"),
    ],
)
def test_not_fused(f: Callable[..., Any]) -> None:
    found = check(f, r(24, 20), r(20, 24))
    assert all(len(g) == 1 for g in found if g[0] == "matmul")


def test_parameters_are_not_written_before_the_end() -> None:
    w, x = r(20, 17).requires_grad_(), r(33, 20)
    optimizer = wg.optim.SGD([w], lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (x @ w).sum()
        loss.backward()
        optimizer.step()
        return loss

    compiled, before = wg.compile(step), w.detach().numpy().copy()
    compiled(x)
    np.testing.assert_allclose(w.detach().numpy(), before - 0.1 * x.numpy().sum(0)[:, None], rtol=1e-5, atol=1e-5)
    assert all(len(g) == 1 for g in groups(compiled) if g[0] == "matmul")
    assert compiled.latest.program.replaced


@pytest.mark.slow
def test_a_convolution_with_channels_first_on_both_sides_is_one_kernel() -> None:
    x, w, b = r(2, 5, 6, 64), r(7, 5, 3, 3), r(7)
    assert check(lambda x, w: F.conv2d(x, w, padding=1), x, w) == [["conv"]]
    assert [g[0] for g in check(lambda x, w, b: F.conv2d(x, w, b, padding=1).relu() * 0.5, x, w, b)] == ["conv"]
    found = check(lambda x, w: (F.conv2d(x, w, padding=1), F.conv2d(x[..., :9], w)), x, w)
    assert ["permute"] in found, "rows of 9 are turned around"


@pytest.mark.parametrize("which", [0, 1])
def test_gradients_with_channels_first(which: int) -> None:
    x, w, g = r(3, 4, 40, 64), r(9, 4, 3, 3), r(3, 9, 40, 64)
    before, found = wg.get_num_threads(), []

    def gradient(x: Any, w: Any, g: Any) -> Any:
        return wg.func.vjp(lambda x, w: F.conv2d(x, w, padding=1), x, w)[1](g)[which]

    try:
        for threads in (1, 2, 5):
            wg.set_num_threads(threads)
            assert check(gradient, x, w, g, tol=1e-3) == [["conv"]]
            found.append(wg.compile(gradient)(x, w, g).numpy().tobytes())
    finally:
        wg.set_num_threads(before)
    assert len(set(found)) == 1


def test_equal_bits_for_any_number_of_threads() -> None:
    before, found = wg.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            wg.set_num_threads(threads)
            f = wg.compile(lambda x, w, b: (F.linear(x, w, b).relu(), F.linear(x, w) > 0))
            found.append([y.numpy().copy() for y in f(r(300, 200), r(400, 200), r(400))])
    finally:
        wg.set_num_threads(before)
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)

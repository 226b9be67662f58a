"""What is done to an operand of a product is computed where the product packs or loads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.codegen import prologue


def r(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    seed += sum(k * 7**i for i, k in enumerate(shape))
    return wg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def whole(*shape: int, dtype: Any = np.int8) -> Any:
    return wg.tensor(np.random.default_rng(1).integers(0 if dtype == np.uint8 else -100, 100, shape).astype(dtype))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it pays or not."""
    monkeypatch.setattr(prologue, "pays", lambda *_: True)
    monkeypatch.setenv("WENGERT_CACHE", "0")


def groups(compiled: Any) -> list[list[str]]:
    """The ops of each group's roots, behind those that a product computes of its operands."""
    found = compiled.latest.scheduled().block.groups
    return [[f"({n.op.name})" for n in g.before] + [n.op.name for n in g.nodes] for g in found]


def check(f: Callable[..., Any], *args: Any, tol: float = 2e-5) -> list[list[str]]:
    compiled = wg.compile(f)
    for x, y in zip(wg.tree.leaves(compiled(*args)), wg.tree.leaves(f(*args)), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        x, y = x.detach().double().numpy(), y.detach().double().numpy()
        np.testing.assert_allclose(x, y, rtol=tol, atol=tol * max(np.abs(y).max(initial=0), 1))
    return groups(compiled)


def dequantised(x: Any, w: Any, scale: Any) -> Any:
    return x @ (w.to(wg.float32) * scale[:, None]).T


FUSED: dict[str, Any] = {
    "scaled weights": (dequantised, lambda m: [r(m, 200), whole(70, 200), r(70)]),
    "scaled columns": (lambda x, w, s: x @ (w.float() * s), lambda m: [r(m, 200), whole(200, 70), r(70)]),
    "scaled in groups": (
        lambda x, w, s: x @ (w.float().reshape(70, 6, 32) * s[..., None]).reshape(70, 192).T,
        lambda m: [r(m, 192), whole(70, 192), r(70, 6)],
    ),
    "columns scaled in groups": (
        lambda x, w, s: x @ (w.float().reshape(20, 10, 70) * s[:, None]).reshape(200, 70),
        lambda m: [r(m, 200), whole(200, 70), r(20, 70)],
    ),
    "with an offset": (
        lambda x, w, s, z: x @ ((w.float() - z[:, None]) * s[:, None]).T,
        lambda m: [r(m, 37), whole(19, 37, dtype=np.uint8), r(19), r(19, seed=1)],
    ),
    "bfloat16 weights": (lambda x, w: F.linear(x, w.float()), lambda m: [r(m, 100), r(33, 100).bfloat16()]),
    "float16 weights": (lambda x, w: x @ w.float(), lambda m: [r(m, 100), r(100, 33).half()]),
    "rounded weights": (lambda x, w: x @ w.half().float(), lambda m: [r(m, 100), r(100, 33)]),
    "wider weights": (lambda x, w: x.double() @ w.double(), lambda m: [r(m, 100, dtype=np.float64), r(100, 33)]),
    "bools": (lambda x, w: (x > 0).float() @ (w > 0).float(), lambda m: [r(m, 100), r(100, 33)]),
    "numbers": (lambda x, w: x.float() @ w.float(), lambda m: [whole(m, 64, dtype=np.int64), whole(64, 5)]),
    "an activation": (lambda x, w: F.gelu(x) @ w, lambda m: [r(m, 60), r(60, 45)]),
    "both": (lambda x, w: x.sigmoid() @ w.tanh(), lambda m: [r(m, 60), r(60, 45)]),
    "both, transposed": (lambda x, w: x.sigmoid().T @ w.tanh().T, lambda m: [r(60, m), r(45, 60)]),
    "a mask and a scale": (lambda x, u, s, w: (x * u * s) @ w, lambda m: [r(m, 60), r(m, 60), r(60), r(60, 45)]),
    "a number": (lambda x, s, w: (x * s + 1) @ w, lambda m: [r(m, 60), r(), r(60, 45)]),
    "part of the rows": (lambda x, p, w: (x + p).tanh() @ w, lambda m: [r(4, m, 20), r(m, 20), r(20, 45)]),
    "batches": (lambda x, y, s: (x * s) @ (y + s[:, None]), lambda m: [r(2, 3, m, 20), r(2, 3, 20, 17), r(20)]),
    "a batch of scales": (lambda x, y, s: x @ (y * s[:, None, None]), lambda m: [r(3, m, 20), r(3, 20, 17), r(3)]),
    "a part": (lambda x, w: x[1:, 2:].relu() @ w, lambda m: [r(m + 1, 62), r(60, 45)]),
    "an epilogue too": (
        lambda x, w, s, b: F.linear(x, w.float() * s[:, None], b).relu(),
        lambda m: [r(m, 200), whole(70, 200), r(70), r(70)],
    ),
    "turned": (lambda x, w: (x.exp() @ w).T + 1, lambda m: [r(m, 60), r(60, 45)]),
    "a norm's end": (
        lambda x, g, b, w: F.layer_norm(x, (60,), g, b) @ w, lambda m: [r(m, 60), r(60), r(60), r(60, 45)],
    ),
    "k in steps": (lambda x, w, s: x @ (w.float() * s), lambda m: [r(m, 3000), whole(3000, 33), r(33)]),
    "k in partial sums": (lambda x, w: x.relu() @ w.relu(), lambda m: [r(m, 9000), r(9000, 16)]),
    "a column": (lambda x, w: x @ (w.float() * 0.5), lambda m: [r(m, 300), whole(300, 1)]),
    "half products": (
        lambda x, w, s: x @ (w.float() * s).bfloat16(), lambda m: [r(m, 60).bfloat16(), whole(60, 45), r(45)],
    ),
}  # fmt: skip


@pytest.mark.quick(name=list(FUSED)[::5], m=[3])
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("m", [1, 3, 50])
@pytest.mark.parametrize("name", FUSED)
def test_fused(name: str, m: int) -> None:
    f, arguments = FUSED[name]
    found = check(f, *arguments(m), tol=2e-2 if name == "half products" else 2e-3 if name.startswith("k in") else 2e-5)
    assert any("(" in g[0] and "matmul" in g for g in found)


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", FUSED)
def test_fused_for_a_narrower_processor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WENGERT_TARGET", "avx2")
    f, arguments = FUSED[name]
    check(f, *arguments(29), tol=2e-2 if name == "half products" else 2e-3 if name.startswith("k in") else 2e-5)


@pytest.mark.usefixtures("always")
def test_casts_and_scales_have_the_bits_of_a_kernel_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, s = r(3, 200), whole(70, 200), r(70)
    fused = wg.compile(lambda x, w, s: dequantised(x, w, s))
    found = fused(x, w, s).numpy()
    assert groups(fused) == [["(mul)", "matmul"]]
    monkeypatch.setattr(prologue, "pays", lambda *_: False)
    apart = wg.compile(lambda x, w, s: dequantised(x, w, s))
    np.testing.assert_array_equal(found, apart(x, w, s).numpy())
    assert groups(apart) == [["mul"], ["matmul"]]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    "f",
    [
        pytest.param(lambda x, w: (x.exp() @ w, x.exp()), id="a result"),
        pytest.param(lambda x, w: (x.exp() @ w, x.exp().sum(0)), id="read by a reduction"),
        pytest.param(lambda x, w: (x.exp() @ w) @ x.exp(), id="read by two products"),
        pytest.param(lambda x, w: x.exp() @ x.exp(), id="both operands"),
        pytest.param(lambda x, w: (x + x.T) @ w, id="read along both axes"),
        pytest.param(lambda x, w: x @ (w * x.reshape(4, 6, 24)[:, :1]), id="a repeated matrix"),
        pytest.param(lambda x, w: F.pad(x, (0, 1, 0, 1)).exp()[1:, 1:] @ w, id="padded"),
        pytest.param(lambda x, w: wg.cat([x[:12], x[12:] * 2]).exp() @ w, id="put together"),
        pytest.param(lambda x, w: (x @ w).relu() @ w, id="an epilogue"),
    ],
)
def test_not_fused(f: Callable[..., Any]) -> None:
    assert all("(" not in g[0] for g in check(f, r(24, 24), r(24, 24), tol=1e-4))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    "shapes", [((0, 5), (5, 4)), ((3, 0), (0, 4)), ((3, 5), (5, 0)), ((3, 1), (1, 4)), ((3, 2), (2, 4))]
)
def test_small_and_empty(shapes: Any) -> None:
    check(lambda x, w: x.exp() @ w.tanh(), *[r(*s) for s in shapes])
    check(lambda x, w: x.T.exp().T @ w.T.tanh().T, *[r(*s) for s in shapes])


@pytest.mark.usefixtures("always")
def test_values_that_are_not_finite() -> None:
    w = np.full((20, 30), 2, np.float16)
    w[3, 4], w[5, 6], w[7, 8] = np.nan, np.inf, -np.inf
    x = np.ones((2, 30), np.float32)
    found = wg.compile(lambda x, w: F.linear(x, w.float()))(wg.tensor(x), wg.tensor(w)).numpy()
    np.testing.assert_array_equal(found, x @ w.T.astype(np.float32))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("m", [1, 3, 300])
def test_equal_bits_for_any_number_of_threads(m: int) -> None:
    before, found = wg.get_num_threads(), []
    x, w, s = r(m, 200), whole(400, 200), r(400)
    try:
        for threads in (1, 2, 5):
            wg.set_num_threads(threads)
            found.append(wg.compile(lambda x, w, s: dequantised(x.tanh(), w, s))(x, w, s).numpy().tobytes())
    finally:
        wg.set_num_threads(before)
    assert len(set(found)) == 1


@pytest.mark.usefixtures("always")
def test_parameters_are_not_written_before_they_are_read() -> None:
    w, x = r(20, 17).requires_grad_(), r(33, 20)
    optimizer = wg.optim.SGD([w], lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (x @ w.detach().half().float()).sum() + (x @ w).sum()
        loss.backward()
        optimizer.step()
        return loss

    compiled, before = wg.compile(step), w.detach().numpy().copy()
    loss = compiled(x).item()
    np.testing.assert_allclose(loss, 2 * (x.numpy() @ before).sum(), rtol=1e-2)
    np.testing.assert_allclose(w.detach().numpy(), before - 0.1 * x.numpy().sum(0)[:, None], rtol=1e-5, atol=1e-5)
    assert compiled.latest.program.replaced


@pytest.mark.usefixtures("always")
def test_in_loops_and_under_transforms() -> None:
    x, w, s = r(5, 30), whole(30, 30), r(30)

    def loop(x: Any, w: Any, s: Any) -> Any:
        return wg.scan(lambda h, _: (dequantised(h, w, s * 0.001).tanh(), h.sum()), x, length=4)

    check(loop, x, w, s, tol=1e-4)
    check(lambda x, w, s: wg.func.vmap(lambda x: dequantised(x, w, s))(x[:, None]), x, w, s)
    check(lambda x, w, s: wg.func.grad(lambda x: dequantised(x.tanh(), w, s).square().sum())(x), x, w, s, tol=1e-4)


def test_weights_are_read_as_they_are_where_that_pays() -> None:
    few, many = r(2, 512), r(300, 512)
    for x in (few, many):
        compiled = wg.compile(lambda x, w, s: dequantised(x, w, s))
        compiled(x, whole(1024, 512), r(1024))
        assert groups(compiled) == [["(mul)", "matmul"]]
        assert wg.plan(lambda x, w, s: dequantised(x, w, s), x, whole(1024, 512), r(1024)).arena < 1024 * 512 * 4


def test_rows_that_are_read_one_by_one_are_computed_before() -> None:
    assert check(lambda x, w: F.gelu(x) @ w, r(300, 512), r(512, 300), tol=1e-4) == [["gelu"], ["matmul"]]


def test_explain() -> None:
    def f(x: Any, w: Any, s: Any, v: Any) -> Any:
        return F.gelu(dequantised(x, w, s)) @ v

    compiled = wg.compile(f)
    compiled(r(300, 512), whole(1024, 512), r(1024), r(1024, 256))
    rows = wg.explain(compiled).splitlines()
    (first,) = [row for row in rows if " mul matmul" in row]
    assert "test_prologue.py" in first
    (second,) = [row for row in rows if " gelu" in row]
    assert "gelu is not computed in the product behind: the product would take longer than both" in second

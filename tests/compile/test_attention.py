"""Attention by pieces: one element of the batch after the other, rows in blocks, nothing large in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.errors import ArgumentError
from wengert.graph.graph import Graph
from wengert.optimize.internal import INTERNAL


def heads(x: Any, count: int) -> Any:
    """(N, T, C) to (N, heads, T, C / heads), a view."""
    n, t, c = x.shape
    return x.view(n, t, count, c // count).transpose(1, 2)


def step(q: Any, k: Any, v: Any, weight: Any, causal: bool, count: int, mask: Any = None) -> Any:
    """Attention of several heads, joined again, and the gradients of its inputs."""
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    found = F.scaled_dot_product_attention(*[heads(x, count) for x in leaves], attn_mask=mask, is_causal=causal)
    y = found.transpose(1, 2).reshape(q.shape)
    (y * weight).sum().backward()
    return y.detach(), *[x.grad for x in leaves]


def held(q: Any, k: Any, v: Any, mask: Any, causal: bool, p: float) -> Any:
    """Attention with dropout by its formula, the weights and what drops them held: from the key of the next draw."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if causal:
        mask = wg.ones(*scores.shape[-2:], dtype=wg.bool).tril()
    if mask is not None:
        scores = wg.where(mask, scores, -float("inf")) if mask.dtype == wg.bool else scores + mask
    return F.dropout(scores.softmax(-1), p) @ v


def gradients(f: Any, *xs: Any) -> list[Any]:
    """The value of a function, and the gradients of its inputs at uneven adjoints."""
    leaves = [x.detach().requires_grad_() for x in xs]
    y = f(*leaves)
    (y * (wg.arange(y.numel(), dtype=y.dtype).reshape(y.shape) * 0.7).cos()).sum().backward()
    return [y.detach(), *[x.grad for x in leaves]]


def ops_of(compiled: Any) -> list[str]:
    return [n.op.name for n in compiled.latest.scheduled().graph.nodes if n.op is not None]


CASES = [
    pytest.param(64, 64, True, wg.float32, id="causal"),
    pytest.param(100, 100, True, wg.float64, id="causal, blocks that do not divide", marks=pytest.mark.slow),
    pytest.param(40, 24, True, wg.float64, id="causal, more queries than keys"),
    pytest.param(24, 40, True, wg.float64, id="causal, more keys than queries"),
    pytest.param(33, 17, False, wg.float32, id="no mask"),
    pytest.param(300, 270, False, wg.float64, id="several blocks without a mask", marks=pytest.mark.slow),
    pytest.param(1, 1, True, wg.float32, id="one"),
]


@pytest.mark.quick(rows=[24])
@pytest.mark.parametrize(("rows", "columns", "causal", "dtype"), CASES)
def test_compiled_attention_is_eager_attention(rows: int, columns: int, causal: bool, dtype: Any) -> None:
    wg.manual_seed(0)
    shapes = [(3, rows, 48), (3, columns, 48), (3, columns, 48), (3, rows, 48)]
    arguments = [wg.randn(*s, dtype=dtype) for s in shapes]
    compiled = wg.compile(lambda *xs: step(*xs, causal=causal, count=4))
    expected = step(*arguments, causal=causal, count=4)
    for x, y in zip(compiled(*arguments), expected, strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-5, atol=2e-6 if dtype == wg.float32 else 1e-13)
    assert ops_of(compiled).count("each") == 2  # forward and backward


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(20, 20), (2, 1, 20, 20), (4, 1, 20), (2, 4, 20, 20)])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks_of_any_shape(shape: tuple[int, ...], kind: str) -> None:
    wg.manual_seed(1)
    random = np.random.default_rng(0).random(shape)
    mask = wg.tensor(random > 0.4 if kind == "bool" else np.log(random).astype(np.float32))
    arguments = [wg.randn(2, 20, 32) for _ in range(4)]
    compiled = wg.compile(lambda *xs: step(*xs[:4], causal=False, count=4, mask=xs[4]))
    expected = step(*arguments, causal=False, count=4, mask=mask)
    for x, y in zip(compiled(*arguments, mask), expected, strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-5, atol=2e-6)


@pytest.mark.slow
def test_a_row_in_which_all_is_masked_gives_zeros() -> None:
    mask = wg.zeros(20, 20, dtype=wg.bool)
    arguments = [wg.randn(2, 20, 32) for _ in range(4)]
    compiled = wg.compile(lambda *xs: step(*xs, causal=False, count=4, mask=mask))
    for x in compiled(*arguments):
        assert not np.any(x.numpy())


@pytest.mark.slow
def test_the_gradient_of_a_mask_that_broadcasts() -> None:
    wg.manual_seed(2)
    q, mask = wg.randn(4, 2, 20, 8), wg.randn(20, 20)

    def f(q: Any, mask: Any) -> Any:
        return F.scaled_dot_product_attention(q, q, q, attn_mask=mask).pow(2).sum()

    expected = wg.func.grad(f, argnums=(0, 1))(q, mask)
    for x, y in zip(wg.compile(wg.func.grad(f, argnums=(0, 1)))(q, mask), expected, strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_second_derivatives() -> None:
    wg.manual_seed(3)
    x, t = wg.randn(2, 4, 12, 4, dtype=wg.float64), wg.randn(2, 4, 12, 4, dtype=wg.float64)

    def f(x: Any) -> Any:
        return F.scaled_dot_product_attention(x, x, x, is_causal=True).pow(2).sum()

    def product(x: Any) -> Any:
        return wg.func.jvp(wg.func.grad(f), (x,), (t,))[1]

    step = 1e-6
    numeric = (wg.func.grad(f)(x + step * t) - wg.func.grad(f)(x - step * t)) / (2 * step)
    np.testing.assert_allclose(product(x).numpy(), numeric.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(wg.compile(product)(x).numpy(), product(x).numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_the_matrix_of_weights_is_never_there() -> None:
    n, count, t, c = 2, 8, 512, 64
    arguments = [wg.randn(n, t, c) for _ in range(4)]
    planned = wg.plan(lambda *xs: step(*xs, causal=True, count=count), *arguments)
    whole = n * count * t * t * 4
    assert planned.peak < whole / 2


def same_bits(f: Any, arguments: list[Any]) -> None:
    """Compiled for one, two and three threads a function gives the same, bit for bit."""
    results = []
    before = wg.get_num_threads()
    try:
        for threads in (1, 2, 3):
            wg.set_num_threads(threads)
            wg.manual_seed(4)
            compiled = wg.compile(lambda *xs: f(*xs))
            results.append([x.numpy().copy() for x in compiled(*arguments)])
    finally:
        wg.set_num_threads(before)
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.slow
def test_threads_do_not_change_a_bit() -> None:
    wg.manual_seed(4)
    same_bits(lambda *xs: step(*xs, causal=True, count=8), [wg.randn(4, 96, 64) for _ in range(4)])


DROPPED = [
    pytest.param((2, 4, 64, 8), (2, 4, 64, 8), True, wg.float32, id="causal"),
    pytest.param((2, 4, 70, 6), (2, 4, 67, 6), True, wg.float64, id="causal, rows begin anywhere in a block of bits"),
    pytest.param((9, 33, 8), (9, 43, 8), False, wg.float32, id="no mask"),
    pytest.param((2, 4, 300, 4), (2, 4, 271, 4), False, wg.float32, id="several blocks", marks=pytest.mark.slow),
    pytest.param((3, 9, 4), (3, 5, 4), False, wg.float64, id="few elements, not by pieces"),
    pytest.param((7, 3), (5, 3), True, wg.float32, id="one matrix"),
]


@pytest.mark.quick(query=[(2, 4, 70, 6)])
@pytest.mark.parametrize(("query", "key", "causal", "dtype"), DROPPED)
def test_dropout_drops_what_the_formula_drops(query: Any, key: Any, causal: bool, dtype: Any) -> None:
    arguments = [wg.randn(*s, dtype=dtype) for s in (query, key, key)]
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == wg.float32 else {"rtol": 1e-12, "atol": 1e-12}

    def attended(*xs: Any) -> Any:
        return F.scaled_dot_product_attention(*xs, dropout_p=0.3, is_causal=causal)

    compiled = wg.compile(lambda *xs: gradients(attended, *xs))
    runs = (compiled, lambda *xs: gradients(attended, *xs), lambda *xs: gradients(formula, *xs))

    def formula(*xs: Any) -> Any:
        return held(*xs, None, causal, 0.3)

    results = []
    for run in runs:
        wg.manual_seed(7)
        results.append([x.numpy().copy() for _ in range(2) for x in run(*arguments)])
    for found in results[:2]:
        for x, y in zip(found, results[2], strict=True):
            np.testing.assert_allclose(x, y, **tolerance)
    assert not np.array_equal(results[0][0], results[0][4])  # each call drops others
    assert ops_of(compiled).count("each") == (0 if np.prod(query[:-2]) < 8 else 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_dropout_with_masks_of_any_shape(kind: str) -> None:
    for shape in ((20, 21), (2, 1, 20, 21), (4, 1, 21), (2, 4, 20, 21)):
        random = np.random.default_rng(0).random(shape)
        random[..., :2] = 0.9  # of each row something can be seen
        mask = wg.tensor(random > 0.4 if kind == "bool" else np.log(random).astype(np.float32))
        arguments = [wg.randn(2, 4, n, 8) for n in (20, 21, 21)]
        run = wg.compile(
            lambda *xs, m=mask: gradients(
                lambda *ys: F.scaled_dot_product_attention(*ys, attn_mask=m, dropout_p=0.5), *xs
            )
        )
        wg.manual_seed(3)
        found = run(*arguments)
        wg.manual_seed(3)
        expected = gradients(lambda *xs, m=mask: held(*xs, m, False, 0.5), *arguments)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_dropout_of_shared_heads() -> None:
    q, k = wg.randn(2, 8, 40, 4), wg.randn(2, 2, 40, 4)
    shared = wg.compile(
        lambda q, k: gradients(
            lambda q, k: F.scaled_dot_product_attention(q, k, k, dropout_p=0.4, enable_gqa=True, is_causal=True), q, k
        )
    )
    wg.manual_seed(3)
    found = shared(q, k)
    wg.manual_seed(3)
    repeated = [x.repeat_interleave(4, 1) for x in (k,)]
    y, gq, gk = gradients(lambda q, k: held(q, k, k, None, True, 0.4), q, *repeated)
    gk = gk.reshape(2, 2, 4, 40, 4).sum(2)
    for x, z in zip(found, (y, gq, gk), strict=True):
        np.testing.assert_allclose(x.numpy(), z.numpy(), rtol=1e-5, atol=1e-5)
    assert ops_of(shared).count("each") == 2


@pytest.mark.slow
def test_second_derivatives_with_dropout() -> None:
    x, t = wg.randn(2, 4, 12, 4, dtype=wg.float64), wg.randn(2, 4, 12, 4, dtype=wg.float64)

    def product(attend: Any) -> Any:
        def f(x: Any) -> Any:
            wg.manual_seed(1)
            return attend(x).pow(2).sum()

        return wg.func.jvp(wg.func.grad(f), (x,), (t,))[1].numpy()

    expected = product(lambda x: held(x, x, x, None, True, 0.3))
    found = product(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.3, is_causal=True))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_vmap_of_dropout(randomness: str) -> None:
    x = wg.randn(3, 8, 12, 4)

    def batched(attend: Any, compiles: bool = False) -> Any:
        f = wg.func.vmap(wg.func.grad(lambda x: attend(x).pow(2).sum()), randomness=randomness)
        wg.manual_seed(1)
        return (wg.compile(f) if compiles else f)(x).numpy()

    def attend(x: Any) -> Any:
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.3, is_causal=True)

    expected = batched(lambda x: held(x, x, x, None, True, 0.3))
    for compiles in (False, True):
        np.testing.assert_allclose(batched(attend, compiles), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_matrix_of_weights_is_never_there_with_dropout() -> None:
    n, count, t, c = 2, 8, 512, 64
    arguments = [wg.randn(n, count, t, c // count) for _ in range(3)]
    for causal in (True, False):
        planned = wg.plan(
            lambda *xs, c=causal: gradients(
                lambda *ys: F.scaled_dot_product_attention(*ys, dropout_p=0.1, is_causal=c), *xs
            ),
            *arguments,
        )
        assert planned.peak < n * count * t * t * 4 / 2


@pytest.mark.slow
def test_threads_do_not_change_what_is_dropped() -> None:
    def f(*xs: Any) -> Any:
        return gradients(lambda *ys: F.scaled_dot_product_attention(*ys, dropout_p=0.2), *xs)

    same_bits(f, [wg.randn(3, 4, 96, 16) for _ in range(3)])


def test_dropout_of_everything_gives_zeros() -> None:
    x = wg.randn(2, 4, 8, 4)
    assert not np.any(F.scaled_dot_product_attention(x, x, x, dropout_p=1.0).numpy())
    with pytest.raises(ArgumentError, match="probability"):
        F.scaled_dot_product_attention(x, x, x, dropout_p=1.5)


def test_each_means_its_graph_for_every_element() -> None:
    graph: Graph = wg.trace(lambda x, y: (x @ y, x + 1), wg.zeros(3, 4), wg.zeros(4, 2))
    x, y = np.random.default_rng(0).random((2, 5, 3, 4)), np.random.default_rng(1).random((4, 2))
    op = INTERNAL["each"]
    attrs = {"graph": graph, "lead": (2, 5), "mapped": (True, False)}
    product, more = op.numpy(x, y, **attrs)
    np.testing.assert_allclose(product, (x @ y).astype(np.float32), rtol=1e-6)
    np.testing.assert_allclose(more, (x + 1).astype(np.float32), rtol=1e-6)

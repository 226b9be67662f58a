"""Bodies in registers: arrays and kernels in line, as the loop IR means it; which bodies are small enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import wengert as wg
from wengert.capturing import capture
from wengert.codegen import interpret, target
from wengert.codegen.held import LARGEST_SUM, Arrays, fits, in_line, padded_size
from wengert.codegen.kernel import Kernel, kernel_builder
from wengert.codegen.loop import FULLY, Builder, pointer
from wengert.codegen.lower import module_text
from wengert.codegen.target import host_features
from wengert.graph.aval import Aval
from wengert.graph.graph import Graph
from wengert.graph.node import NO_ATTRS, Node
from wengert.optimize.rewrite import Rewriter
from wengert.runtime.scheduling import Schedule

KINDS = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "i1": np.bool_, "u8": np.uint8, "f16": np.float16}


def leaf(n, kind="f64"):
    return Node(None, (), NO_ATTRS, None, Aval((n,), np.dtype(KINDS[kind])), False)


@pytest.mark.quick(n=[1, 17], vector_bytes=[32])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 3, 8, 14, 16, 17, 100])
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_arrays_keep_elements(kind, n, vector_bytes):
    b = Builder("copies", x=pointer(kind), y=pointer(kind), z=pointer(kind))
    arrays = Arrays(b, vector_bytes)
    first, second = arrays.make(kind, n), arrays.make(kind, n)
    arrays.copy(first, b.x, leaf(n, kind))
    arrays.move([(second, first), (first, second)])  # all at once
    arrays.copy(b.y, second, leaf(n, kind))
    arrays.copy(b.z, first, leaf(n, kind))
    x = (np.arange(n) % 2 + 1).astype(KINDS[kind])
    y, z = np.zeros_like(x), np.ones_like(x)
    interpret.run(b.finish(), x, y, z)  # which fails if anything beyond x, y or z is touched
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(z, np.zeros_like(x))


def test_kernels_in_line_mean_the_same():
    b = kernel_builder("cumulate", {"x": pointer("f64"), "y": pointer("f64")})
    with b.loop(b.lo, b.hi) as t, b.loop(0, 4) as i:
        b.store(b.y, t, b.load(b.y, t) + b.load(b.x, t * 4 + i))
    kernel = Kernel(b.finish(), 3)
    short = in_line(kernel, 512)
    assert short is not None
    outer = next(v for v in short.body if v.op == "loop")
    assert outer.attr.unroll == FULLY
    caller = Builder("caller", x=pointer("f64"), y=pointer("f64"), scratch=pointer("u8"))
    caller.call(short, caller.x, caller.y, caller.scratch, 0, 3, inline=True)
    x, y = np.arange(12.0), np.zeros(3)
    interpret.run(caller.finish(), x, y, np.zeros(1, np.uint8))
    np.testing.assert_array_equal(y, x.reshape(3, 4).sum(1))
    assert in_line(kernel._replace(function=kernel.function._replace(name="long"), tiles=10**6), 512) is None


def loops(f, *args):
    """The text of the native loops of a function."""
    kernels = [u.kernel.function for u in Schedule(capture(f, args, {}).graph).block.uses]
    return "".join(t for t in (module_text([k], target.host()) for k in kernels) if "wengert_poll" in t or "phi" in t)


def test_halves_of_vectors_one_by_one(monkeypatch):
    """Where units take half a vector, vectors are as wide as the units, instructions for powers of two as well."""
    processor = replace(target.avx512(), unit_bytes=32)
    monkeypatch.setattr(target, "_chosen", lambda name: processor)
    w, x = wg.tensor(np.eye(16) * 0.5), wg.tensor(np.linspace(-3, 3, 16))

    def f(w, x):
        return wg.scan(lambda y, _: (w @ y.sigmoid().exp(), y.exp()), x, None, length=9)

    text = loops(f, w, x)
    assert '"min-legal-vector-width"="256"' in text
    assert "scalef.pd.256" in text
    assert "scalef.pd.512" not in text
    if host_features().issuperset(n[1:] for n in processor.features.split(",") if n[0] == "+"):
        for found, right in zip(wg.tree.leaves(wg.compile(f)(w, x)), wg.tree.leaves(f(w, x)), strict=True):
            np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-13)


def test_a_matrix_is_packed_once_for_all_its_products():
    w, x = wg.tensor(np.random.default_rng(0).normal(size=(16, 16)) / 4), wg.tensor(np.ones(16))

    def f(w, x):
        return wg.scan(lambda y, _: (w @ (w.T @ (w @ (w @ y))), None), x, None, length=3)[0]

    np.testing.assert_allclose(wg.compile(f)(w, x).numpy(), f(w, x).numpy(), rtol=1e-13)
    packs = [line for line in loops(f, w, x).splitlines() if "call void @pack" in line]
    assert len(packs) == 2  # the matrix, and the other way around


def product(m, k, n):
    x, y = leaf(m * k), leaf(k * n)
    rw = Rewriter({})
    out = rw.make("matmul", (rw.reshape(x, (m, k), x), rw.reshape(y, (k, n), x)), {}, x)
    return Graph((x, y), (out,), "product")


def test_what_fits():
    assert fits(product(16, 16, 1))
    assert not fits(product(16, 16, 2))
    assert not fits(product(128, 64, 1))  # too many multiplications
    assert not fits(product(16, 1, 16))
    assert fits(product(16, 1, 16), LARGEST_SUM)
    assert [padded_size(n) for n in (1, 16, 17)] == [16, 16, 32]
    x = leaf(1000)
    assert not fits(Graph((x,), (Rewriter({}).make("tanh", (x,), {}, x),), "wide"))


SIZES = (1, 3, 14, 16, 17, 64, 128, 129)


@pytest.mark.quick(n=[17], reverse=[False], dtype=[np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("reverse", [False, True])
def test_scans_of_small_bodies(dtype, n, reverse):
    rng = np.random.default_rng(n)
    w, x, xs = [wg.tensor(rng.normal(size=s).astype(dtype)) for s in ((n, n), (n,), (5, n))]

    def step(carry, x):
        h, most, count = carry
        h = ((w @ h) / n + x).tanh()
        most = wg.maximum(most, h.amax())
        return (h, most, count + (h > 0).sum()), (h * h, h > 0, most)

    def f(x, xs):
        start = (x, wg.full((), -1.0, dtype=x.dtype), wg.zeros((), dtype=wg.int64))
        return wg.scan(step, start, xs, reverse=reverse)

    def loss(x, xs):
        (h, most, _), (squares, _, _) = f(x, xs)
        return (h * squares.sum(0)).sum() + most

    tol = 1e-5 if dtype is np.float32 else 1e-12
    for g in (f, wg.func.grad(loss, (0, 1))):
        for found, right in zip(wg.tree.leaves(wg.compile(g)(x, xs)), wg.tree.leaves(g(x, xs)), strict=True):
            assert found.dtype == right.dtype
            np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=tol, atol=tol)


@pytest.mark.quick(n=[17], length=[33])
@pytest.mark.parametrize("n", [1, 3, 14, 16, 17, 33])
@pytest.mark.parametrize("length", [1, 2, 33])
def test_sums_of_products_stay_in_the_loop(n, length):
    """Four products of a column with a row are added up in each step of the gradient."""
    rng = np.random.default_rng(n)
    w, x = wg.tensor(rng.normal(size=(n, n)) / n), wg.tensor(rng.normal(size=n))

    def f(w, x):
        def step(y, _):
            for _ in range(4):
                y = 0.9 * y + 0.1 * (w @ y.tanh())
            return y, None

        return (wg.scan(step, x, None, length=length)[0] ** 2).sum()

    gradient = wg.func.grad(f, (0, 1))
    for found, right in zip(wg.compile(gradient)(w, x), gradient(w, x), strict=True):
        np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.quick(n=[17])
@pytest.mark.parametrize("n", SIZES)
def test_while_loops_of_small_bodies(n):
    rng = np.random.default_rng(n)
    w, x = wg.tensor(rng.normal(size=(n, n)) / (2 * n)), wg.tensor(rng.normal(size=n))

    def f(w, x):
        def going(y, change):
            return (change * change).sum() > 1e-12

        def body(y, _):
            new = (w @ y + x).sigmoid()
            return new, new - y

        y, _ = wg.while_loop(going, body, (wg.zeros_like(x), wg.ones_like(x)))
        return (y * y).sum()

    for g in (f, wg.func.grad(f, (0, 1))):
        for found, right in zip(wg.tree.leaves(wg.compile(g)(w, x)), wg.tree.leaves(g(w, x)), strict=True):
            np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-11, atol=1e-13)


def test_equal_loops_have_equal_names():
    """Whatever addresses the compiler's own objects happen to have: names are keys of the cache."""
    matrix = wg.randn(16, 16, dtype=wg.float64)

    def run(x):
        def step(c, _):
            for _ in range(5):  # each packs the matrix
                c = wg.tanh(matrix @ c)
            return c, None

        return wg.scan(step, x, length=10)[0]

    graph = wg.trace(run, wg.randn(16, 1, dtype=wg.float64))
    keep = [Schedule(graph) for _ in range(6)]
    assert len({tuple([x.kernel.function.name for x in s.launches]) for s in keep}) == 1

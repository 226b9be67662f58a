"""Products of a small matrix with a column, against NumPy, as the loop IR means it."""

from __future__ import annotations

import numpy as np
import pytest

from wengert.codegen import interpret, lower
from wengert.codegen.column import Column, column_product
from wengert.codegen.target import avx512, host


@pytest.mark.quick(m=[1, 17], gap=[3])
@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize(("m", "k"), [(1, 1), (3, 2), (14, 14), (16, 16), (17, 9), (100, 5), (64, 7)])
@pytest.mark.parametrize("gap", [0, 3])
def test_products_with_a_column(kind, m, k, gap):
    dtype = np.float32 if kind == "f32" else np.float64
    rng = np.random.default_rng(0)
    a = rng.normal(size=(k, m + gap)).astype(dtype)
    x = rng.normal(size=(k, 1 + gap)).astype(dtype)
    c = np.zeros(m, dtype)
    (step,) = column_product(Column(kind, m, k, (1, m + gap), 1 + gap), host()).steps
    interpret.run(step.kernel.function, a, x, c, np.zeros(1, np.uint8), 0, 1)
    np.testing.assert_allclose(c, a[:, :m].T @ x[:, 0], rtol=1e-5, atol=1e-5 if kind == "f32" else 1e-12)


@pytest.mark.quick(m=[17], kind=["f32"])
@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize(("m", "k"), [(1, 1), (14, 14), (17, 9), (16, 64), (64, 16)])
@pytest.mark.parametrize("across", [False, True])
def test_packed_matrices(kind, m, k, across):
    dtype = np.float32 if kind == "f32" else np.float64
    rng = np.random.default_rng(0)
    a, x = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=k).astype(dtype)
    memory = np.ascontiguousarray(a if across else a.T)
    strides = (k, 1) if across else (1, m)
    recipe = column_product(Column(kind, m, k, strides, 1, padded=True, packed=True), host())
    (name, (_, n)) = next(iter(recipe.temps.items()))
    given = {"a": memory, "x": x, "c": np.full(m + 15, np.nan, dtype), name: np.full(n, np.nan, dtype)}
    for step in recipe.steps:
        interpret.run(step.kernel.function, *[given[o] for o in step.operands], np.zeros(1, np.uint8), 0, 1)
    np.testing.assert_allclose(given["c"][:m], a @ x, rtol=1e-5, atol=1e-5 if kind == "f32" else 1e-12)


@pytest.mark.parametrize(("m", "k", "turns"), [(16, 16, 0), (64, 16, 0), (4, 300, 0), (8, 4096, 8)])
def test_terms_come_column_by_column(m, k, turns):
    """A term of each sum after the other, so that LLVM does not put the whole of one sum before the next."""
    (step,) = column_product(Column("f64", m, k, (1, m), 1), avx512()).steps
    (region,) = [v for v in step.kernel.function.body if v.op == "if"]
    body = region.attr.bodies[0]
    loops = [v for v in body if v.op == "loop"]
    assert len(loops) == (turns > 0)
    code = "".join({"fma": "f", "in_order": "|"}.get(v.op, "") for v in (loops[0].attr.bodies[0] if turns else body))
    vectors = -(-m // 8)
    assert code == ("f" * vectors + "|") * (k // turns if turns else k)


def test_columns_stay_in_order():
    (step,) = column_product(Column("f64", 16, 16, (1, 16), 1), avx512()).steps
    text = lower.module_text([step.kernel.function], avx512())
    assert text.count('asm sideeffect "", "~{memory}"') == 16

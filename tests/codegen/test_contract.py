"""Matrix products by generated kernels, against NumPy in float64."""

from __future__ import annotations

import ctypes
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert.codegen import target as targets
from wengert.codegen.contract import Product, matmul
from wengert.codegen.contract_plan import plan
from wengert.codegen.kernel import Place, Recipe
from wengert.codegen.loop import Builder, Type, Value, pointer
from wengert.codegen.lower import module_text
from wengert.codegen.target import Target, aarch64, avx2, avx512, host, host_features
from wengert.dtypes import bfloat16
from wengert.runtime import llvm
from wengert.testing.recipes import interpreted

pytestmark = pytest.mark.slow

NEEDS = {"avx2": targets._X86_V3, "avx512": (*targets._X86_V3, *targets._AVX512)}
HERE = [host(), *(t for t in (avx2(), avx512()) if host_features().issuperset(NEEDS[t.name]))]
DTYPES = {
    "f32": np.dtype(np.float32), "f64": np.dtype(np.float64), "bf16": np.dtype(bfloat16.np), "i8": np.dtype(np.int8),
    "f16": np.dtype(np.float16),
}  # fmt: skip
MEMORY = {**DTYPES, "u32": np.dtype(np.uint32)}  # packed pairs
ROUNDING = {"f32": 2.0**-24, "f64": 2.0**-53, "bf16": 2.0**-9}
GUARD = 32  # elements around each array that must stay untouched


def aligned(nbytes: int) -> np.ndarray[Any, Any]:
    raw = np.full(nbytes + 64, 0xFF, np.uint8)  # NaN to all kinds
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


class Compiled:
    """A recipe as machine code."""

    def __init__(self, recipe: Recipe, target: Target) -> None:
        self.recipe = recipe
        functions = {s.kernel.function.name: s.kernel.function for s in recipe.steps}
        code = llvm.compile_ir(module_text(list(functions.values())), target, "test")
        self.library = llvm.load([code], list(functions))

    def __call__(self, operands: Mapping[str, int], parts: int) -> None:
        """Run all steps, each in ``parts`` ranges of tiles, the last one first."""
        temps = {name: aligned(n * MEMORY[kind].itemsize) for name, (kind, n) in self.recipe.temps.items()}
        address = {**operands, **{name: memory.ctypes.data for name, memory in temps.items()}}
        for kernel, names in self.recipe.steps:
            kinds = [ctypes.c_void_p] * (len(names) + 1) + [ctypes.c_int64] * 2
            f = ctypes.CFUNCTYPE(None, *kinds)(self.library.address(kernel.function.name))
            scratch = aligned(kernel.scratch)
            for part in reversed(range(parts)):
                lo, hi = kernel.tiles * part // parts, kernel.tiles * (part + 1) // parts
                f(*(address[n] for n in names), scratch.ctypes.data, lo, hi)


def shape_of(p: Product, name: str) -> tuple[int, ...]:
    return (*p.batch, *{"a": (p.m, p.k), "b": (p.k, p.n), "c": (p.m, p.n)}[name])


class Array:
    """An operand with guards around its memory."""

    def __init__(self, p: Product, name: str, rng: np.random.Generator) -> None:
        self.dtype, shape = DTYPES[p.kind_of(name)], shape_of(p, name)
        batch, first, second = getattr(p, name)
        steps = (*batch, first, second)
        size = 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) if 0 not in shape else 0
        beside = 77 if self.dtype.kind == "i" else np.nan
        self.memory = np.full(size + 2 * GUARD, beside).astype(self.dtype)
        width = 20 if self.dtype.kind == "i" else 1
        self.memory[GUARD : GUARD + size] = (rng.standard_normal(size) * width).astype(self.dtype)
        self.steps, self.shape = steps, shape
        self.address = self.memory.ctypes.data + GUARD * self.dtype.itemsize

    def view(self, memory: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        memory = self.memory if memory is None else memory
        steps = [step * memory.itemsize for step in self.steps]
        return np.lib.stride_tricks.as_strided(memory[GUARD:], self.shape, steps)

    def untouched(self) -> np.ndarray[Any, Any]:
        mask = np.ones(self.memory.size, bool)
        mask[self.view(np.arange(self.memory.size)).ravel()] = False
        return self.memory[mask].view(np.uint8)


def check(
    p: Product,
    target: Target,
    maps: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray[Any, Any]] | None = None,
    reference: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], np.ndarray[Any, Any]] = np.matmul,
    after: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda c: c,
) -> None:
    """Run a product as a whole and cut in three; compare with float64, and what lies beside the result."""
    rng = np.random.default_rng(1)
    a, b, c = (Array(p, name, rng) for name in "abc")
    wide_a, wide_b, old = (x.view().astype(np.float64) for x in (a, b, c))
    want = after(reference(wide_a, wide_b) * p.alpha + (old if p.accumulate else 0.0))
    scale = np.matmul(np.abs(wide_a), np.abs(wide_b)) * abs(p.alpha) + np.abs(old) + np.abs(want)
    run = Compiled(matmul(p, target, **(maps or {})), target)
    before, beside = c.memory.copy(), c.untouched()
    operands = {"a": a.address, "b": b.address, "c": c.address} | {n: x.ctypes.data for n, x in (extra or {}).items()}
    results = []
    for parts in (1, 3):
        c.memory[:] = before
        run(operands, parts)
        results.append(c.memory.tobytes())
        assert np.array_equal(c.untouched(), beside)
    assert results[0] == results[1]
    error = np.abs(c.view().astype(np.float64) - want)
    allowed = (2 * ROUNDING[p.kind] + (8 + p.k**0.5) * ROUNDING[p.kind if p.kind != "bf16" else "f32"]) * scale
    assert np.all(error <= allowed), float(np.max(error / allowed))


def row_major(*shape: int) -> tuple[tuple[int, ...], int, int]:
    steps = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    return tuple(steps[:-2]), steps[-2], steps[-1]


def plain(kind: str, m: int, n: int, k: int, transposed: str = "", **more: Any) -> Product:
    """A product of whole matrices, those named stored transposed."""
    strides = {}
    for name, (rows, columns) in {"a": (m, k), "b": (k, n), "c": (m, n)}.items():
        strides[name] = ((), 1, rows) if name in transposed else ((), columns, 1)
    return Product(kind, (), m, n, k, strides["a"], strides["b"], strides["c"], **more)


def random_product(rng: random.Random, kind: str) -> Product:
    """Any order of dimensions in memory, gaps, repeated batches."""
    m, n, k = (rng.choice([1, 2, 3, rng.randint(1, 70), rng.randint(1, 150)]) for _ in range(3))
    batch = tuple(rng.randint(1, 4) for _ in range(rng.choice([0, 0, 1, 2])))
    strides = {}
    for name, matrix in {"a": (m, k), "b": (k, n), "c": (m, n)}.items():
        shape = (*batch, *matrix)
        order = list(range(len(shape)))
        if rng.random() < 0.5:
            rng.shuffle(order)
        steps, step = [0] * len(shape), 1
        for position, d in enumerate(reversed(order)):
            steps[d] = step
            step = step * shape[d] + (rng.choice([0, 0, 3]) if position == 0 else 0)
        if name != "c":
            steps[: len(batch)] = [0 if rng.random() < 0.3 else s for s in steps[: len(batch)]]
        strides[name] = (tuple(steps[:-2]), steps[-2], steps[-1])
    return Product(
        kind, batch, m, n, k, strides["a"], strides["b"], strides["c"], rng.random() < 0.3, rng.choice([1.0, 1.0, 0.5])
    )


@pytest.mark.parametrize("target", HERE, ids=lambda t: t.name)
@pytest.mark.parametrize("kind", ["f32", "f64", "bf16"])
def test_random_products(kind: str, target: Target) -> None:
    rng = random.Random(f"{kind} {target.name}")
    for _ in range(25):
        check(random_product(rng, kind), target)


@pytest.mark.parametrize("transposed", ["", "a", "b", "c", "ab", "ac", "bc", "abc"])
def test_every_order_in_memory(transposed: str) -> None:
    for kind in ("f32", "f64"):
        check(plain(kind, 61, 83, 131, transposed), host())


@pytest.mark.parametrize("kind", ["f32", "bf16"])
@pytest.mark.parametrize("transposed", ["", "ab"])
def test_sums_in_several_passes_over_k(kind: str, transposed: str) -> None:
    for accumulate in (False, True):
        check(plain(kind, 70, 90, 1500, transposed, accumulate=accumulate), host())


@pytest.mark.parametrize("transposed", ["", "a", "c"])
def test_small_results_of_long_sums_are_cut_along_k(transposed: str) -> None:
    p = plain("f32", 5, 17, 9001, transposed, alpha=0.5, accumulate=True)
    assert plan(p, host()).chunks > 8
    check(p, host())


@pytest.mark.parametrize(("m", "n", "k"), [(0, 3, 2), (3, 0, 2), (3, 4, 0), (1, 1, 1), (1, 1, 300), (300, 1, 1)])
def test_empty_and_smallest(m: int, n: int, k: int) -> None:
    for accumulate in (False, True):
        check(plain("f32", m, n, k, accumulate=accumulate), host())


@pytest.mark.parametrize(("m", "n"), [(1, 37), (37, 1), (4, 50), (6, 16)])
@pytest.mark.parametrize("transposed", ["", "b", "ab", "bc"])
def test_few_rows(m: int, n: int, transposed: str) -> None:
    for kind in ("f32", "f64", "bf16"):
        check(plain(kind, m, n, 203, transposed, accumulate=True), host())
    bias = np.linspace(-9, 9, n, dtype=np.float32)
    check(
        plain("f32", m, n, 203, transposed),
        host(),
        {"epilogue": BiasRelu(n)},
        {"bias": bias},
        after=lambda c: np.maximum(c + bias, 0.0),
    )


def test_few_rows_of_a_wide_matrix() -> None:
    check(plain("f32", 3, 1100, 150), host())


def test_attention_heads_as_views() -> None:
    batch, time, heads, width = 2, 40, 3, 24
    rows = ((time * heads * width, width), heads * width, 1)  # (B, H, T, D) of memory (B, T, H, D)
    columns = ((time * heads * width, width), 1, heads * width)
    scores = ((heads * time * time, time * time), time, 1)
    check(Product("f32", (batch, heads), time, time, width, rows, columns, scores, alpha=width**-0.5), host())
    check(Product("f32", (batch, heads), time, width, time, scores, rows, rows), host())


def test_a_shared_matrix_makes_batches_rows() -> None:
    p = Product("f32", (3, 4), 5, 7, 6, row_major(3, 4, 5, 6), ((0, 0), 7, 1), row_major(3, 4, 5, 7))
    assert plan(p, host()).problem.i == 60
    check(p, host())


@dataclass(frozen=True)
class BiasRelu:
    """``max(x + bias, 0)`` with a bias for each n and for each sum of batch indices."""

    n: int

    @property
    def operands(self) -> dict[str, Type]:
        return {"bias": pointer("f32")}

    def __call__(self, b: Builder, x: Value, place: Place) -> Value:
        *batch, _, n = place.index
        index = n
        for i in batch:
            index = index + i * self.n
        if place.axis == len(place.index) - 1:
            bias = b.load(b.bias, index, place.lanes, place.mask)
        else:
            bias = b.splat(b.load(b.bias, index), place.lanes)
        return b.binary("max", x + b.cast(bias, x.type.kind), 0.0)


@dataclass(frozen=True)
class Scale:
    """Multiplies by an element of a vector for each index of the dimension ``axis``."""

    name: str
    axis: int
    work: int = 2

    @property
    def operands(self) -> dict[str, Type]:
        return {self.name: pointer("f32")}

    def __call__(self, b: Builder, x: Value, place: Place) -> Value:
        p, index, x = getattr(b, self.name), place.index[self.axis], b.cast(x, "f32")
        if place.axis == self.axis:
            return x * b.load(p, index, place.lanes, place.mask)
        return x * b.splat(b.load(p, index), place.lanes)


def epilogue_cases() -> Iterator[Product]:
    for transposed in ("", "b", "c", "ac", "abc"):
        yield plain("f32", 37, 45, 30, transposed)
    yield plain("f32", 20, 18, 900, "b", accumulate=True, alpha=2.0)
    yield plain("f32", 9, 18, 5000)
    yield plain("bf16", 33, 34, 35)


@pytest.mark.parametrize("target", HERE, ids=lambda t: t.name)
def test_epilogue(target: Target) -> None:
    for p in epilogue_cases():
        bias = np.linspace(-9, 9, p.n, dtype=np.float32)
        check(
            p,
            target,
            {"epilogue": BiasRelu(p.n)},
            {"bias": bias},
            after=lambda c, bias=bias: np.maximum(c + bias, 0.0),
        )


def test_epilogue_of_a_batch_that_became_rows() -> None:
    p = Product("f32", (3, 4), 5, 7, 6, row_major(3, 4, 5, 6), ((0, 0), 7, 1), row_major(3, 4, 5, 7))
    bias = np.linspace(-9, 9, 6 * 7, dtype=np.float32)

    def after(c: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        batch = np.add.outer(np.arange(3), np.arange(4))[:, :, None, None]
        return np.maximum(c + bias[batch * 7 + np.arange(7)], 0.0)

    check(p, host(), {"epilogue": BiasRelu(7)}, {"bias": bias}, after=after)


@pytest.mark.parametrize("transposed", ["", "a", "b", "c", "abc"])
@pytest.mark.parametrize(("m", "n"), [(6, 5), (90, 100)])
def test_prologues(transposed: str, m: int, n: int) -> None:
    rng = np.random.default_rng(2)
    u, v = rng.uniform(-1, 1, (2, 300)).astype(np.float32)

    def reference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.matmul(a * u[: a.shape[1]], b * v[: b.shape[1]])

    maps = {"prologue_a": Scale("u", 1), "prologue_b": Scale("v", 1)}
    for k in (19, 260):
        check(plain("f32", m, n, k, transposed), host(), maps, {"u": u, "v": v}, reference)


@pytest.mark.parametrize("target", HERE, ids=lambda t: t.name)
@pytest.mark.parametrize("kind", ["i8", "f16", "bf16"])
def test_prologues_of_other_kinds(kind: str, target: Target) -> None:
    u, v = np.random.default_rng(2).uniform(-1, 1, (2, 300)).astype(np.float32)
    maps = {"prologue_a": Scale("u", 1), "prologue_b": Scale("v", 0)}

    def reference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.matmul(a * u[: a.shape[1]], b * v[: b.shape[0], None])

    for m, n, k, transposed in (
        (1, 50, 133, "b"),
        (6, 45, 64, "b"),
        (3, 45, 64, ""),
        (37, 100, 45, "a"),
        (37, 9, 70, "b"),
    ):
        p = replace(plain("f32", m, n, k, transposed), kind_a=kind, kind_b=kind)
        check(p, target, maps, {"u": u, "v": v}, reference)


def test_a_prologue_of_a_batch_of_rows() -> None:
    p = Product("f32", (5,), 6, 30, 40, ((6,), 1, 30), ((0,), 30, 1), row_major(5, 6, 30))  # rows of all would be 30
    u = np.linspace(-1, 1, 6, dtype=np.float32)

    def reference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.matmul(a * u[:, None], b)

    check(p, host(), {"prologue_a": Scale("u", 1)}, {"u": u}, reference)


def test_dear_prologues_are_not_repeated() -> None:
    p = plain("f32", 300, 300, 300)
    assert not plan(p, avx512()).pack_x and plan(p, avx512(), 20).pack_x
    assert plan(p, avx512(), 20).cost > plan(p, avx512(), 1).cost > plan(p, avx512()).cost
    few = plain("f32", 2, 300, 300, "b")
    assert plan(few, avx512(), 20).cost - plan(few, avx512()).cost > 10 * 2 * 300, "once for each group of columns"


def test_rows_of_the_same_sets_of_the_cache_are_not_read_side_by_side() -> None:
    target = replace(avx512(), l1=32 << 10)
    for transposed in ("", "b"):
        decided = plan(plain("f32", 16, 2048, 2048, transposed), target)
        assert decided.pack_x or decided.block.rows <= 8
        apart = plan(plain("f32", 16, 2048, 2064, transposed), target)
        assert not apart.pack_x and apart.block.rows > 8


@pytest.mark.parametrize(
    "p",
    [
        plain("f32", 13, 21, 9),
        plain("f64", 14, 9, 11, "b"),
        plain("f32", 9, 18, 17, "c", accumulate=True, alpha=0.5),
        plain("f32", 3, 10, 37, "b"),
        plain("f32", 2, 3, 2100, "a"),
        plain("bf16", 7, 9, 10),
        plain("f32", 1, 1030, 66),
    ],
    ids=["plain", "packed", "turned", "dots", "chunks", "bf16", "streams"],
)
def test_machine_code_and_interpreter_give_the_same_bits(p: Product) -> None:
    target = next((t for t in HERE if t.name == "avx2"), host())
    bias = np.linspace(-9, 9, p.n, dtype=np.float32)
    for epilogue in (None, BiasRelu(p.n)):
        recipe, results = matmul(p, target, epilogue), []
        for run in (lambda r, m: Compiled(r, target)({n: x.ctypes.data for n, x in m.items()}, 1), interpreted):
            rng = np.random.default_rng(3)
            sizes = {n: math.prod(shape_of(p, n)) for n in "abc"}
            arrays = {n: aligned(k * DTYPES[p.kind].itemsize).view(DTYPES[p.kind]) for n, k in sizes.items()}
            for x in arrays.values():
                x[:] = rng.standard_normal(x.size).astype(x.dtype)
            run(recipe, {**arrays, "bias": bias})
            results.append(arrays["c"].tobytes())
        assert results[0] == results[1]


@pytest.mark.quick(k=[130])
@pytest.mark.parametrize("transposed", ["", "a", "b", "abc"])
@pytest.mark.parametrize("k", [64, 130, 131])
def test_pairs_of_bfloat16(transposed: str, k: int) -> None:
    p, target = plain("bf16", 17, 35, k, transposed), replace(avx512(), bf16_dot=True)
    assert plan(p, target).problem.pairs == (k % 2 == 0)
    assert not plan(p, avx512()).problem.pairs
    arrays = {name: Array(p, name, np.random.default_rng(k)) for name in "abc"}
    interpreted(matmul(p, target), {n: x.memory[GUARD:-GUARD] for n, x in arrays.items()})
    a, b, c = (x.view().astype(np.float64) for x in arrays.values())
    assert np.all(np.abs(c - a @ b) <= 2 * ROUNDING["bf16"] * (np.abs(a) @ np.abs(b)))
    if host().bf16_dot:
        check(p, host())


def test_pairs_of_bfloat16_need_whole_words() -> None:
    target = replace(avx512(), bf16_dot=True)
    assert plan(plain("bf16", 64, 64, 64, "b"), target).problem.pairs
    odd = Product("bf16", (), 64, 64, 64, ((), 65, 1), ((), 64, 1), ((), 64, 1))
    assert not plan(odd, target).problem.pairs
    assert not plan(plain("bf16", 1, 4096, 4096, "b"), target).problem.pairs  # memory is read once, as it lies
    for x in (np.inf, -np.inf, np.nan):
        a, b = (wg.full((32, 32), v, dtype=wg.bfloat16) for v in (x, 1.0))
        assert np.array_equal(wg.compile(wg.matmul)(a, b).float().numpy(), np.full((32, 32), x), equal_nan=True)


def test_equal_products_share_their_code() -> None:
    p = plain("f32", 20, 30, 40)
    assert matmul(p, avx2()) is matmul(plain("f32", 20, 30, 40), avx2())
    first, second = matmul(p, avx2(), BiasRelu(30)), matmul(p, avx2(), BiasRelu(30))
    assert first is second
    other = matmul(p, avx2(), BiasRelu(31))
    assert other is not first and other.steps[-1].kernel.function is first.steps[-1].kernel.function


def test_other_processors_are_targets_too() -> None:
    recipe = matmul(plain("f32", 61, 83, 131, "b"), aarch64())
    code = llvm.compile_ir(module_text([s.kernel.function for s in recipe.steps]), aarch64(), "test")
    assert code[:4] == b"\x7fELF" and int.from_bytes(code[18:20], "little") == 183  # EM_AARCH64


def test_memory_far_apart_is_read_once_where_one_block_has_all_rows():
    """A gradient of weights with 16 columns, over rows of more than a page: packing would read and write all of it."""
    p = Product("f32", (), 1433, 16, 2708, ((), 1, 1433), ((), 16, 1), ((), 1, 1433))
    decided = plan(p, avx512())
    assert decided.block.rows == 16 and not decided.pack_y
    assert plan(p, avx2()).pack_y  # there it takes several sweeps


def test_sums_are_stored_once_where_their_panels_fit_the_caches():
    target = replace(avx512(), l1=48 << 10, l2=1 << 20)
    decided = plan(plain("f32", 1024, 1024, 1024), target)
    assert decided.kc == 1024 and decided.columns > decided.block.width
    assert decided.column_tiles * decided.row_tiles >= 16  # many processors have work, too
    assert plan(plain("f32", 1024, 1024, 1024), replace(target, l1=24 << 10)).kc < 1024
    assert plan(plain("f32", 1024, 1024, 1024), replace(target, l2=256 << 10)).kc < 1024


@pytest.mark.parametrize(("m", "k"), [(300, 131), (300, 144), (1100, 37)])
def test_rows_from_behind_the_second_level_cache_are_asked_for(m: int, k: int) -> None:
    p, target = plain("f32", m, 83, k), replace(host(), l1=48 << 10, l2=150 << 10)
    assert plan(p, target).asks_for_rows
    assert not plan(p, replace(target, l2=1 << 20)).asks_for_rows
    text = module_text([s.kernel.function for s in matmul(p, target).steps])
    assert "i32 0, i32 2, i32 1)" in text  # a hint: to read, from the second-level cache
    check(p, target)


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1030, 67), (2, 1100, 73), (3, 9000, 50), (4, 40000, 19), (1, 40000, 3)])
@pytest.mark.parametrize("kind", ["f32", "f64", "bf16"])
def test_rows_of_a_large_matrix_are_added_up(m: int, n: int, k: int, kind: str) -> None:
    """They are read side by side, a few at once, whoever shares the work."""
    target = replace(host(), l2=1 << 17, bf16_dot=False)
    p = plain(kind, m, n, k, accumulate=True, alpha=0.5)
    decided = plan(p, target)
    assert decided.how == "sums" and decided.chunks * decided.column_tiles >= min(k // decided.kc, 5)
    check(p, target)
    check(plain(kind, m, n, k, "a"), target)
    bias = np.linspace(-9, 9, n, dtype=np.float32)
    after = {"after": lambda c: np.maximum(c + bias, 0.0)}
    check(plain(kind, m, n, k), target, {"epilogue": BiasRelu(n)}, {"bias": bias}, **after)
    batch = Product(kind, (2, 3), m, n, k, row_major(2, 3, m, k), ((0, k * n), n, 1), row_major(2, 3, m, n))
    check(batch, target)


@pytest.mark.parametrize("transposed", ["", "b"])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1030, 131), (3, 2100, 70)])
def test_few_rows_by_a_computed_matrix(m: int, n: int, k: int, transposed: str) -> None:
    target = replace(host(), l2=1 << 17)
    p = replace(plain("f32", m, n, k, transposed), kind_b="i8")
    assert plan(p, target, 0, 2).how == ("dots" if transposed else "sums")
    scales = {name: np.linspace(0.5, 1.5, size, dtype=np.float32) for name, size in (("s", n), ("t", k))}
    for name, axis, factor in (("s", 1, scales["s"]), ("t", 0, scales["t"][:, None])):
        reference = lambda a, b, factor=factor: a @ (b * factor)
        check(p, target, {"prologue_b": Scale(name, axis)}, {name: scales[name]}, reference=reference)
    steps = matmul(p, target, prologue_b=Scale("s", 1)).steps
    assert ("i32 0, i32 2, i32 1)" in module_text([x.kernel.function for x in steps])) == bool(transposed)

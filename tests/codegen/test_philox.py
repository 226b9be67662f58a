"""Random draws of kernels are those of eager mode: the same bits, normal numbers but for their last place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wengert.codegen.interpret import DTYPES, run
from wengert.codegen.loop import I64, Builder, Function, pointer
from wengert.codegen.philox import draw, draw_at, elements_per_block, philox
from wengert.codegen.target import Target
from wengert.ops.base import OPS
from wengert.random import philox as reference
from wengert.testing.kernels import bits_differ, native, targets

KEYS = [(0, 0), (7, 3), (2**64 - 1, 2**63 + 12345), (67280421310721, 2**32)]
DRAWS = [
    ("random_bits", "u32"), ("random_bits", "u64"),
    *[(f"random_{name}", kind) for name in ("uniform", "normal") for kind in ("f32", "f64", "f16", "bf16")],
]  # fmt: skip
TARGETS = pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)


def kernel(name: str, kind: str, lanes: int, anywhere: bool) -> Function:
    """The function ``(key, y, start, n)``: elements ``start`` to ``start + n`` of a draw."""
    b = Builder("draw", key=pointer("u64"), y=pointer(kind), start=I64, n=I64)
    seed, offset = b.load(b.key, 0), b.load(b.key, 1)
    with b.loop(0, b.n, lanes) as i:
        first = b.start + i
        if anywhere:
            index = b.splat(first, lanes) + b.iota(lanes)
            x = draw_at(b, name, kind, seed, offset, index)
        else:
            x = draw(b, name, kind, seed, offset, first, lanes)
        b.store(b.y, i, x)
    return b.finish()


def drawn(f: Any, key: tuple[int, int], kind: str, start: int, n: int) -> Any:
    out = np.zeros(n, DTYPES[kind])
    f(np.array(key, np.uint64), out, start, n)
    return out


@pytest.mark.quick(kind=["f32", "i64"], anywhere=[True], target=targets()[:1])
@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param(name, kind, marks=[pytest.mark.slow] if "16" in kind else []) for name, kind in DRAWS],
)
@pytest.mark.parametrize("anywhere", [False, True])
@TARGETS
def test_draws_are_those_of_eager_mode(name: str, kind: str, anywhere: bool, target: Target) -> None:
    f = native(kernel(name, kind, 16, anywhere), target)
    for key in KEYS:
        want = OPS[name](np.array(key, np.uint64), shape=(96,), dtype=DTYPES[kind])
        for start in (0, 32):
            got = drawn(f, key, kind, start, 64)
            if name == "random_normal":
                digits = {"f64": 52, "f32": 23, "f16": 10, "bf16": 7}[kind]
                difference = got.astype(np.float64) - want[start : start + 64].astype(np.float64)
                assert np.abs(difference).max() < 8 * 2.0**-digits
            else:
                assert not bits_differ(got, want[start : start + 64]).any()


@pytest.mark.quick(lanes=[8])
@pytest.mark.parametrize("lanes", [4, 8, 32])
def test_number_of_lanes_does_not_matter(lanes: int) -> None:
    draws = [drawn(native(kernel("random_uniform", "f32", n, False)), (5, 1), "f32", 64, 64) for n in (lanes, 16)]
    assert not bits_differ(*draws).any()


def test_interpreter_draws_the_same() -> None:
    for name, kind in (("random_uniform", "f32"), ("random_normal", "f64")):
        f = kernel(name, kind, 4, False)
        got = [drawn(g, (3, 4), kind, 8, 8) for g in (native(f), lambda *arguments, f=f: run(f, *arguments))]
        assert not bits_differ(*got).any()


def test_blocks_of_large_numbers() -> None:
    """Indices beyond 2**32 blocks."""
    b = Builder("blocks", key=pointer("u64"), at=pointer("i64"), y=pointer("u32"))
    for i, w in enumerate(philox(b, b.load(b.key, 0), b.load(b.key, 1), b.load(b.at, 0, lanes=4))):
        b.store(b.y, 4 * i, w)
    blocks = np.array([0, 1, 2**32, 2**40 + 5])
    y = np.zeros((4, 4), np.uint32)
    native(b.finish())(np.array([9, 8], np.uint64), blocks, y)
    assert y[:, 0].tolist() == reference(9, 8, 4).tolist()
    assert y[:, 1].tolist() == reference(9, 8, 8)[4:].tolist()
    from wengert.random import _rounds

    assert np.array_equal(y.T, _rounds(blocks.astype(np.uint64), 9, 8))


def test_elements_per_block() -> None:
    assert [elements_per_block(k) for k in ("f16", "f32", "u64")] == [4, 4, 2]

"""Every elementwise op as loop IR, against its NumPy meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wengert import dtypes as dt
from wengert.codegen.interpret import DTYPES, run
from wengert.codegen.loop import F32, I64, Builder, Type, pointer
from wengert.codegen.scalars import KINDS, NOT_EMITTED, LoopScalars, can_emit, emit
from wengert.errors import DTypeError
from wengert.ops.base import OPS, Elementwise
from wengert.ops.scalar import Vocabulary
from wengert.testing.kernels import mapped, mapping, native

pytestmark = pytest.mark.slow

OPERATIONS = {n: op for n, op in OPS.items() if isinstance(op, Elementwise)}
FLOATING = [np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16), dt.bfloat16.np]
EXACT = [np.dtype(n) for n in ("int8", "int32", "int64", "uint8", "uint32", "bool")]
TOLERANCE = dict(zip(FLOATING, (2e-6, 1e-14, 2e-3, 2e-2), strict=True))

# Kinds of number that an op does not take: NumPy or the op's `infer` refuses them too.
ONLY_FLOATING = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i", "cos", "cosh", "entr", "erf", "erfc",
    "erfcx", "erfinv", "exp", "exp2", "expm1", "gelu", "gelu_slope", "gelu_tanh", "gelu_tanh_slope", "hypot", "lgamma",
    "log", "log10", "log1p", "log2", "log_ndtr", "logaddexp", "ndtr", "ndtri", "nextafter", "sigmoid", "silu",
    "silu_slope", "sin", "sinh", "sqrt", "tan", "tanh",
})  # fmt: skip
ONLY_EXACT = frozenset({
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "gcd",
})  # fmt: skip
NO_BOOLS = frozenset({"bitwise_left_shift", "bitwise_right_shift", "floor_divide", "fmod", "gcd", "remainder"})


def emitted(op: Any, arrays: Any, attrs: Any, lanes: int = 8) -> Any:
    result = KINDS[np.dtype(op.result_dtype(*[a.dtype for a in arrays]))]
    return mapped(lambda *xs: emit(xs[0].b, op, *xs, **attrs), *arrays, result=result, lanes=lanes)


def points(op: Any, dtype: Any) -> Any:
    """The op's samples in a dtype; floats become integers only where they are whole."""
    for s in op.samples():
        kinds = {a.dtype.kind for a in s.arrays}
        if "c" in kinds or (dtype.kind in "iub" and "f" in kinds and not all(_whole(a) for a in s.arrays)):
            continue
        with np.errstate(all="ignore"):
            yield [np.ascontiguousarray(a).astype(dtype).reshape(a.shape) for a in s.arrays], s.attrs
    if dtype.kind == "f" or dtype == dt.bfloat16.np:
        x = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.0, np.inf, -np.inf, np.nan, 100.0, -100.0])
    else:
        x = np.array([0, 1, 2, 3, 7, 100, -1, -2, -3, -128, 127])
    grid = [a.reshape(-1) for a in np.meshgrid(*[x] * len(next(iter(op.samples())).arrays), indexing="ij")]
    with np.errstate(all="ignore"):
        yield [a.astype(dtype) for a in grid], next(iter(op.samples())).attrs


def _whole(a: Any) -> bool:
    return a.dtype.kind != "f" or bool(np.all(np.isfinite(a)) and np.all(a == np.rint(a)))


def defined(op: Any, arrays: Any) -> Any:
    """Where integer ops have a meaning that eager mode shares."""
    keep = np.ones(arrays[0].shape, bool)
    if op.name in ("fmod", "remainder", "floor_divide") and arrays[0].dtype.kind in "iu":
        keep = arrays[1] != 0
        if arrays[0].dtype.kind == "i":
            keep &= ~((arrays[0] == np.iinfo(arrays[0].dtype).min) & (arrays[1] == -1))
    if op.name == "pow" and arrays[0].dtype.kind == "i":
        keep = (arrays[0] != 0) | (arrays[1] >= 0)
    return keep


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - NOT_EMITTED.keys() - {"in_range"}))
def test_every_op(name: str) -> None:
    op = OPERATIONS[name]
    tried = 0
    for dtype in [*FLOATING, *EXACT]:
        exact = dtype in EXACT
        if (exact and name in ONLY_FLOATING) or (not exact and name in ONLY_EXACT):
            continue
        if dtype == np.bool_ and name in (*NO_BOOLS, "sub", "neg", "relu", "div"):
            continue
        if exact and name == "div":
            continue
        for arrays, attrs in points(op, dtype):
            assert can_emit(op, [a.dtype for a in arrays], attrs)
            keep = defined(op, arrays)
            kept = [a[keep] for a in arrays] if not keep.all() else arrays
            with np.errstate(all="ignore"):
                want = np.asarray(op.numpy(*kept, **attrs))
                got = emitted(op, kept, attrs)
                assert got.dtype == want.dtype
                tolerance = TOLERANCE.get(got.dtype, 0)
                np.testing.assert_allclose(
                    got.astype(np.float64), want.astype(np.float64), rtol=tolerance, atol=tolerance, err_msg=str(kept)
                )
            tried += got.size
    assert tried


def test_in_range_takes_indices_alone() -> None:
    op = OPERATIONS["in_range"]  # of other numbers, and of indices out of range, it is an error
    for sample in op.samples():
        arrays = [np.ascontiguousarray(a).reshape(a.shape) for a in sample.arrays]
        np.testing.assert_array_equal(emitted(op, arrays, sample.attrs), op.numpy(*arrays, **sample.attrs))


@pytest.mark.parametrize("name", sorted(NOT_EMITTED))
def test_ops_left_to_numpy(name: str) -> None:
    op = OPERATIONS[name]
    assert not can_emit(op, [np.float64] * len(op.partials))


def test_what_cannot_be_emitted() -> None:
    assert not can_emit(OPS["exp"], [np.int64])
    assert not can_emit(OPS["exp"], [np.complex64])
    assert not can_emit(OPS["bitwise_and"], [np.float32, np.float32])
    assert not can_emit(OPS["sum"], [np.float32])
    assert can_emit(OPS["bessel_i"], [np.float32], {"order": 1, "scaled": True})
    b = Builder("f", n=I64)
    with pytest.raises(DTypeError, match=r"exp: has no meaning in a kernel for this kind: i64"):
        emit(b, OPS["exp"], b.n)


def test_all_words_are_there() -> None:
    s = LoopScalars(Builder("f"))
    assert all(callable(getattr(s, word)) for word in Vocabulary.names())
    with pytest.raises(AttributeError):
        s.no_such_word  # noqa: B018


def test_kinds_are_those_of_the_interpreter() -> None:
    assert {kind: dtype for dtype, kind in KINDS.items()} == DTYPES


@pytest.mark.parametrize("lanes", [1, 16])
def test_words_that_no_op_uses(lanes: int) -> None:
    x = np.array([1.5, -2.0, np.nan, 3.0, np.nan, 0.0], np.float32)
    y = np.array([2.5, np.nan, 1.0, -3.0, np.nan, -1.0], np.float32)
    m, n = np.array([12, -8, 0, 7], np.int32), np.array([18, 6, 5, 0], np.int32)
    with np.errstate(all="ignore"):
        for word in ("fmin", "fmax", "copysign", "logical_xor"):
            got = mapped(
                lambda a, c, word=word: getattr(LoopScalars(a.b), word)(a, c), x, y,
                result="i1" if word == "logical_xor" else "f32", lanes=lanes,
            )  # fmt: skip
            np.testing.assert_array_equal(got, getattr(np, word)(x, y))
        got = mapped(lambda a, c: LoopScalars(a.b).lcm(a, c), m, n, result="i32", lanes=lanes)
        np.testing.assert_array_equal(got, np.lcm(m, n))


@pytest.mark.parametrize("exponent", [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 0.3])
def test_constant_exponents(exponent: float) -> None:
    x = np.array([0.0, -0.0, 1.0, -2.0, 3.5, np.inf, -np.inf, np.nan], np.float32)
    with np.errstate(all="ignore"):
        want = OPS["pow"].numpy(x, np.broadcast_to(np.float32(exponent), x.shape))
    got = mapped(lambda v: LoopScalars(v.b).power(v, exponent), x, result="f32", lanes=4)
    np.testing.assert_allclose(got, want, rtol=2e-7)


def test_numbers_take_the_type_of_the_values_beside_them() -> None:
    b = Builder("f", x=pointer("bf16"))
    s, x = LoopScalars(b), b.load(b.x, 0, lanes=4)
    assert s.maximum(x, 0).type == s.where(x > 0, x, 1).type == s.power(x, 2).type == Type("bf16", 4)
    assert s.maximum(b.const(1.0, F32), b.const(1.0, F32.widened(8))).lanes == 8


@pytest.mark.parametrize("word", ["fmod", "remainder", "floor_divide"])
@pytest.mark.parametrize("kind", ["i8", "i32", "i64", "u8", "u64"])
def test_no_integer_division_stops_the_program(word: str, kind: str) -> None:
    """By 0 the result is 0; the least number by -1 wraps around, as NumPy's."""
    info = np.iinfo(DTYPES[kind])
    x = np.array([5, 0, info.min, info.max, info.min, 1], DTYPES[kind])
    y = np.array([0, 0, 0, 0, info.max if info.min == 0 else -1, 1], DTYPES[kind])
    with np.errstate(all="ignore"):
        want = getattr(np, word)(x, y)
    f = mapping(lambda a, c: getattr(LoopScalars(a.b), word)(a, c), (kind, kind), kind, 2)
    for way in (native(f), lambda *arguments: run(f, *arguments)):
        out = np.ones_like(x)
        way(x, y, out, x.size)
        np.testing.assert_array_equal(out, want)

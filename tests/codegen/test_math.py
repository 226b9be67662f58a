"""Our vector mathematics against float64 and mpmath, in units in the last place, over all of the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special

from wengert.codegen import math, math_special, math_trig
from wengert.codegen.interpret import DTYPES, run
from wengert.codegen.loop import BITS, Value
from wengert.codegen.lower import module_text
from wengert.codegen.target import Target, avx512
from wengert.testing.kernels import bits_differ, mapped, mapping, native, targets

pytestmark = pytest.mark.slow

TARGETS = pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)
mpmath.mp.prec = 200
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38,
     1e30, -1e30, 3.4e38, -3.4e38, 88.7, 88.8, -87.4, -103.9, -104.1, 89.4, 89.5, 127.9, 128.0, -149.0, -150.1, 1e5]
)  # fmt: skip


def logistic(x: Any) -> Any:
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, z) / (1.0 + z)


def gate(x: Any) -> Any:
    return np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)


Case = tuple[Callable[..., Value], Callable[..., Any], Any, float, float]

# The function, float64's, mpmath's (None: float64 is not tested), and the errors allowed in float32 and float64.
FUNCTIONS: dict[str, Case] = {
    "exp": (math.exp, np.exp, mpmath.exp, 1.05, 1.1),
    "exp2": (math.exp2, np.exp2, lambda x: mpmath.mpf(2) ** x, 1.0, 1.1),
    "expm1": (math.expm1, np.expm1, mpmath.expm1, 1.5, 1.8),
    "log": (math.log, np.log, mpmath.log, 0.95, 0.9),
    "log2": (math.log2, np.log2, lambda x: mpmath.log(x, 2), 1.05, 1.0),
    "log10": (math.log10, np.log10, mpmath.log10, 1.0, 1.0),
    "log1p": (math.log1p, np.log1p, mpmath.log1p, 1.55, 1.5),
    "tanh": (math.tanh, np.tanh, mpmath.tanh, 1.6, 1.6),
    "sigmoid": (math.sigmoid, logistic, lambda x: 1 / (1 + mpmath.exp(-x)), 2.0, 2.5),
    "sinh": (math.sinh, np.sinh, mpmath.sinh, 1.7, 1.7),
    "cosh": (math.cosh, np.cosh, mpmath.cosh, 1.5, 1.5),
    "sin": (math_trig.sin, np.sin, mpmath.sin, 1.0, 1.0),
    "cos": (math_trig.cos, np.cos, mpmath.cos, 1.0, 1.0),
    "tan": (math_trig.tan, np.tan, mpmath.tan, 1.3, 1.2),
    "asin": (math_trig.asin, np.arcsin, mpmath.asin, 1.6, 1.6),
    "acos": (math_trig.acos, np.arccos, mpmath.acos, 1.5, 1.5),
    "atan": (math_trig.atan, np.arctan, mpmath.atan, 1.4, 1.4),
    "asinh": (math_trig.asinh, np.arcsinh, mpmath.asinh, 0.51, 2.5),
    "acosh": (math_trig.acosh, np.arccosh, mpmath.acosh, 0.51, 2.5),
    "atanh": (math_trig.atanh, np.arctanh, mpmath.atanh, 0.51, 2.5),
    "erf": (math_special.erf_single, scipy.special.erf, None, 1.4, 0.0),
    "erfc": (math_special.erfc_single, scipy.special.erfc, None, 1.5, 0.0),
    "ndtr": (math_special.ndtr_single, scipy.special.ndtr, None, 1.6, 0.0),
    "gelu": (math_special.gelu_single, lambda x: x * scipy.special.ndtr(x), None, 1.5, 0.0),
    "gelu_tanh": (math_special.gelu_tanh_single, lambda x: x * logistic(gate(x)), None, 1.15, 0.0),
    "silu": (math.silu, lambda x: x * logistic(np.float64(x)), lambda x: x / (1 + mpmath.exp(-x)), 1.15, 1.1),
}
# Where they miss the most, of all 2**32 numbers (log2 and tan: of a large sample).
WORST = {
    "exp": "-0x1.b60c42p+4", "expm1": "0x1.0fc74p+4", "log": "0x1.69c994p-1", "log1p": "0x1.c4e6fap-2",
    "log2": "0x1.673bccp-1", "tanh": "0x1.339bb6p-1", "sigmoid": "-0x1.8f3676p+2", "sin": "0x1.ae73bcp+93",
    "cos": "0x1.902838p+20", "tan": "0x1.2dd1f2p+1", "erf": "0x1.b7ba92p-126", "erfc": "0x1.c57552p+2",
    "ndtr": "-0x1.9bda9ep-1", "gelu": "-0x1.dc2f4cp+0", "gelu_tanh": "-0x1.5fafa2p+1", "silu": "-0x1.4c9f9ap+2",
}  # fmt: skip
ONLY_SINGLE = ("erf", "erfc", "ndtr", "gelu", "gelu_tanh")
PAIRS: dict[str, Case] = {
    "power": (math_special.power, np.power, mpmath.power, 0.51, 1.2),
    "hypot": (math_special.hypot, np.hypot, mpmath.hypot, 0.51, 1.3),
    "atan2": (math_trig.atan2, np.arctan2, mpmath.atan2, 1.5, 1.5),
}


def unit(x: Any, kind: str) -> Any:
    """The distance of neighbouring numbers of a kind at a float64."""
    digits, least = {"f32": (24, -149), "f64": (53, -1074)}[kind]
    return np.ldexp(np.float64(1.0), np.maximum(np.frexp(x)[1] - digits, least))


def errors(got: Any, exact: Any) -> Any:
    """Units in the last place by which float32 numbers miss exact ones, which stand in float64."""
    with np.errstate(all="ignore"):
        right = exact.astype(np.float32)
        same = (got == right) | (np.isnan(got) & np.isnan(right))
        limit = 2.0**128  # what infinity stands for
        near, far = np.clip(got.astype(np.float64), -limit, limit), np.clip(exact, -limit, limit)
        out = np.abs(near - far) / unit(far, "f32")
    return np.where(same & ~np.isfinite(exact), 0.0, np.where(np.isnan(out), np.where(same, 0.0, np.inf), out))


def all_floats(stride: int) -> Any:
    """Every ``stride``-th of all bit patterns, and special numbers."""
    patterns = np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([patterns, SPECIAL.astype(np.float32)])


def widened(x: Any) -> Any:
    with np.errstate(invalid="ignore"):  # signalling NaN
        return x.astype(np.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
@TARGETS
def test_float32_everywhere(name: str, target: Target) -> None:
    f, reference, _, allowed, _ = FUNCTIONS[name]
    worst = float.fromhex(WORST.get(name, "0x0p+0"))
    x = np.concatenate([all_floats(4099), np.array([worst, -worst], np.float32)])
    with np.errstate(all="ignore"):
        exact = reference(widened(x))
    found = errors(mapped(f, x, result="f32", target=target), exact)
    assert found.max() < allowed, f"{found.max()} at {x[found.argmax()]}"


@pytest.mark.parametrize("name", PAIRS)
@TARGETS
def test_float32_pairs_everywhere(name: str, target: Target) -> None:
    f, reference, _, allowed, _ = PAIRS[name]
    rng = np.random.default_rng(0)
    x = rng.permutation(all_floats(16411))
    small = rng.uniform(-20.0, 20.0, x.size).astype(np.float32)
    corners = [a.reshape(-1).astype(np.float32) for a in np.meshgrid(SPECIAL, SPECIAL)]
    pairs = [(x, rng.permutation(x)), (np.abs(x), small), (np.abs(small), np.round(small)), (small, x), tuple(corners)]
    for a, b in pairs:
        with np.errstate(all="ignore"):
            exact = reference(widened(a), widened(b))
        found = errors(mapped(f, a, b, result="f32", target=target), exact)
        assert found.max() < allowed, f"{found.max()} at {a[found.argmax()]}, {b[found.argmax()]}"


def samples(seed: int, n: int) -> Any:
    """Numbers of all magnitudes, many of them of usual ones."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 2**63, n // 4).view(np.float64)
    signs = rng.choice([-1.0, 1.0], n // 4)
    return np.concatenate([raw * signs, rng.normal(0.0, 1.0, n // 4), rng.uniform(-700.0, 700.0, n // 4),
                           1.0 + rng.normal(0.0, 1e-3, n // 8), np.exp(rng.uniform(-50.0, 50.0, n // 8))])  # fmt: skip


def exact_errors(got: Any, xs: Any, f: Callable[..., Any], double: Any) -> Any:
    """Units by which float64 numbers miss mpmath's; what is not finite must be what float64's function says."""
    out = np.zeros(got.size)
    for i, y in enumerate(got):
        if not np.isfinite(double[i]) or not np.isfinite(y):
            out[i] = 0.0 if y == double[i] or (np.isnan(y) and np.isnan(double[i])) else np.inf
            continue
        exact = f(*[mpmath.mpf(float(x[i])) for x in xs])
        out[i] = float(abs(mpmath.mpf(float(y)) - exact) / mpmath.mpf(float(unit(double[i], "f64"))))
    return out


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if FUNCTIONS[n][2]])
def test_float64(name: str) -> None:
    f, reference, exact, _, allowed = FUNCTIONS[name]
    x = samples(1, 2000)
    if name in ("asin", "acos", "atanh"):
        x = np.concatenate([x, np.tanh(x), np.sin(x)])
    with np.errstate(all="ignore"):
        double = reference(x)
    found = exact_errors(mapped(f, x, result="f64", lanes=8), [x], exact, double)
    assert found.max() < allowed, f"{found.max()} at {x[found.argmax()]!r}"


@pytest.mark.parametrize("name", PAIRS)
def test_float64_pairs(name: str) -> None:
    f, reference, exact, _, allowed = PAIRS[name]
    x, y = samples(2, 2000), np.random.default_rng(3).permutation(samples(4, 2000))
    for a, b in ((x, y), (np.abs(x), np.random.default_rng(5).uniform(-300.0, 300.0, x.size))):
        a, b = (a, b) if name != "power" else (np.abs(a), b)
        with np.errstate(all="ignore"):
            double = reference(a, b)
        found = exact_errors(mapped(f, a, b, result="f64", lanes=8), [a, b], exact, double)
        assert found.max() < allowed, f"{found.max()} at {a[found.argmax()]!r}, {b[found.argmax()]!r}"


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("name", [*FUNCTIONS, *PAIRS, "fmod", "remainder", "floor_divide"])
def test_special_numbers(name: str, kind: str) -> None:
    """Infinities, NaN, zeros with their signs, ends of ranges: what NumPy says of them."""
    if name in ONLY_SINGLE and kind == "f64":
        return
    more = {n: (getattr(math_special, n), getattr(np, n)) for n in ("fmod", "remainder", "floor_divide")}
    f, reference = (more.get(name) or {**FUNCTIONS, **PAIRS}[name])[:2]
    x = SPECIAL.astype(DTYPES[kind])
    operands = [x] if name in FUNCTIONS else [a.reshape(-1).copy() for a in np.meshgrid(x, x)]
    with np.errstate(all="ignore"):
        want = reference(*operands).astype(DTYPES[kind])
    got = mapped(f, *operands, result=kind, lanes=4)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    number = ~np.isnan(want)
    assert np.array_equal(np.signbit(got[number]), np.signbit(want[number]))
    np.testing.assert_allclose(got, want, rtol=1e-6 if kind == "f32" else 1e-15, atol=1e-44 if kind == "f32" else 0)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_exact_where_one_expects_it(kind: str) -> None:
    n = np.arange(-100, 100).astype(DTYPES[kind])
    assert np.array_equal(mapped(math.exp2, n, result=kind), np.ldexp(np.ones(1, n.dtype), n.astype(int)))
    powers = np.ldexp(np.ones(1, n.dtype), n.astype(int))
    assert np.array_equal(mapped(math.log2, powers, result=kind), n)
    tens = (10.0 ** np.arange(11)).astype(n.dtype)
    assert np.array_equal(mapped(math.log10, tens, result=kind), np.arange(11))
    assert np.array_equal(mapped(math_special.power, np.abs(n), np.full_like(n, 2.0), result=kind), n * n)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_halves_are_rounded_once(name: str, kind: str) -> None:
    """All of them are float32's numbers, or float64's where that is what is computed with, rounded."""
    f, reference, *_ = FUNCTIONS[name]
    if name in ONLY_SINGLE:
        return
    x = np.arange(2**16).astype(np.uint16).view(DTYPES[kind])
    with np.errstate(all="ignore"):
        single = mapped(f, x.astype(np.float32), result="f32").astype(DTYPES[kind])
        exact = reference(x.astype(np.float64)).astype(DTYPES[kind])
        got = mapped(f, x, result=kind)
        same = (got == single) | (got == exact) | (np.isnan(got.astype(float)) & np.isnan(exact.astype(float)))
    assert same.all()


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_remainders_are_exact(kind: str) -> None:
    """Of all quotients, and where the divisor divides nearly."""
    rng = np.random.default_rng(7)
    x = (rng.normal(0.0, 1.0, 30000) * 10.0 ** rng.uniform(-30.0, 30.0, 30000)).astype(DTYPES[kind])
    near, usual = x / rng.integers(1, 1000, x.size), x * rng.uniform(0.001, 10.0, x.size)
    for y in (near, usual, rng.permutation(x), np.full(x.size, 1e-44)):
        y = y.astype(DTYPES[kind])
        for name in ("fmod", "remainder", "floor_divide"):
            with np.errstate(all="ignore"):
                want = getattr(np, name)(x, y)
            assert not bits_differ(mapped(getattr(math_special, name), x, y, result=kind), want).any()


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_huge_angles(kind: str) -> None:
    """The float64 nearest to a multiple of pi/2, and the largest numbers."""
    x = np.array([6381956970095103.0 * 2.0**797, 1e22, 2.0**1023, -1.7e308, 1e9 + 0.5, 1e5 + 0.25, 3e38])
    x = x if kind == "f64" else np.array([1e22, 3.4e38, -(2.0**127), 16367173.0 * 2.0**72, 1e5 + 0.25], np.float32)
    for f, exact in ((math_trig.sin, mpmath.sin), (math_trig.cos, mpmath.cos), (math_trig.tan, mpmath.tan)):
        got = mapped(f, x, result=kind, lanes=4)
        with mpmath.workprec(1400):
            want = [exact(mpmath.mpf(float(v))) for v in x]
        error = [abs((mpmath.mpf(float(g)) - w) / w) for g, w in zip(got, want, strict=True)]
        assert max(error) < (2.0**-23 if kind == "f32" else 2.0**-52)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_interpreter_computes_the_same(kind: str) -> None:
    """Bit for bit, on every target: no step depends on the processor."""
    rng = np.random.default_rng(6)
    x = np.concatenate([SPECIAL[:28], rng.normal(0.0, 3.0, 3), [2e9]]).astype(DTYPES[kind])
    y = rng.permutation(x)
    only = [FUNCTIONS[n][0] for n in ONLY_SINGLE]
    unary = [f for f, *_ in FUNCTIONS.values() if kind == "f32" or f not in only]
    binary = [f for f, *_ in PAIRS.values()]
    for f, operands in [*[(f, (x,)) for f in unary], *[(f, (x, y)) for f in binary]]:
        function = mapping(f, (kind,) * len(operands), kind, 16)
        want = np.empty_like(x)
        run(function, *operands, want, x.size)
        for target in targets():
            got = np.empty_like(x)
            native(function, target)(*operands, got, x.size)
            assert not bits_differ(got, want).any()


def test_one_lane_is_enough_for_the_branch() -> None:
    """A huge angle does not disturb its neighbours."""
    x = np.linspace(-3.0, 3.0, 32)
    y = x.copy()
    y[5] = 1e300
    a, b = (mapped(math_trig.sin, v, result="f64", lanes=16) for v in (x, y))
    assert np.array_equal(np.delete(a, 5), np.delete(b, 5))


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("registers", [0.25, 0.5, 1, 2, 4])
def test_scaling_by_a_power_of_two_is_an_instruction_a_register(kind, registers):
    lanes = int(registers * 512) // BITS[kind]
    text = module_text([mapping(math.exp, (kind,), kind, lanes)], avx512())
    scaled = [line for line in text.splitlines() if "= call" in line and "scalef" in line]
    assert len(scaled) == max(registers, 1)
    assert f"scalef.p{'s' if kind == 'f32' else 'd'}.{min(int(registers * 512), 512)}(" in scaled[0]

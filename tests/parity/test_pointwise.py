"""Pointwise functions: values, dtypes and gradients as torch's, for every dtype, broadcast, 0-d and empty."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import wengert as wg

torch = pytest.importorskip("torch")

DTYPES = (
    "bool",
    "uint8",
    "int8",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
)
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 3e-6, "complex64": 1e-5}

UNARY = """
    abs absolute acos acosh angle arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh
    bitwise_not ceil conj conj_physical cos cosh deg2rad exp exp2 expm1 fix floor frac imag isfinite isinf
    isnan isneginf isposinf isreal log log10 log1p log2 logical_not logit nan_to_num neg negative positive
    rad2deg real reciprocal relu round rsqrt sgn sigmoid sign signbit sin sinc sinh sqrt square tan tanh trunc
    frexp
""".split()
WITH_NUMBER = """
    add bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign div divide eq
    float_power floor_divide fmod ge greater greater_equal gt le less less_equal lt mul multiply ne not_equal
    pow remainder rsub sub subtract true_divide
""".split()
BINARY = """
    arctan2 atan2 fmax fmin gcd heaviside hypot isclose lcm ldexp logaddexp logaddexp2 logical_and logical_or
    logical_xor maximum minimum nextafter
""".split()

# Expressions of tensors and numbers; T is the library.
EXPRESSIONS = [
    *(f"T.{name}(x)" for name in UNARY),
    *(f"T.{name}(x, y)" for name in BINARY + WITH_NUMBER),
    *(f"T.{name}(x, {number})" for name in WITH_NUMBER for number in ("2", "2.5", "True", "-3")),
    "x + 1", "1 + x", "x - 2", "2 - x", "x * 3", "3 * x", "x / 2", "2 / x", "x // 2", "7 // x", "x % 3",
    "7 % x", "x ** 2", "2 ** x", "x & 3", "3 & x", "x | 3", "3 | x", "x ^ 3", "3 ^ x", "x << 1", "1 << x",
    "x >> 1", "9 >> x", "~x", "-x", "+x", "abs(x)", "x + y", "x - y", "x * y", "x / y", "x // y", "x % y",
    "x ** y", "x & y", "x | y", "x ^ y", "x << y", "x >> y", "x == y", "x != 1", "x < y", "x >= 1.5",
    "x * 1.5", "x + True", "x * 2j", "T.add(x, y, alpha=2)", "T.sub(x, y, alpha=2)", "T.add(x, y, alpha=0.5)",
    "T.rsub(x, y, alpha=2)", "T.div(x, y, rounding_mode='floor')", "T.div(x, y, rounding_mode='trunc')",
    "T.round(x, decimals=1)", "T.round(x, decimals=-1)", "T.clamp(x, 0, 1)", "T.clamp(x, min=0.5)",
    "T.clamp(x, max=1.5)", "T.clamp(x, 2, 1)", "T.clamp(x, y, y + y)", "T.clamp(x, max=y)", "x.clamp_min(1)",
    "x.clamp_max(1.5)", "T.clamp_min(x, y)", "x.clip(0, 1)", "T.clamp(x, math.nan)", "T.logit(x, 0.2)",
    "T.nan_to_num(x, 1.5, 2.5, -2.5)", "T.isclose(x, y, equal_nan=True)", "T.isclose(x, y, 0.5, 1.0)",
    "T.lerp(x, y, 0.25)", "T.lerp(x, y, 0.75)", "T.lerp(x, y, x)", "T.addcmul(x, y, y)",
    "T.addcmul(x, y, y, value=2)", "T.addcmul(x, y, y, value=0.5)", "T.addcdiv(x, y, y)",
    "T.addcdiv(x, y, y, value=2.0)", "T.where(x == y, x, y)", "T.where(x == y, x, 2)",
    "T.where(x == y, 1.5, y)", "T.where(x == y, 1, 2.5)", "x.where(x == y, y)", "T.complex(x, y)",
    "T.polar(x, y)", "T.view_as_real(x)", "T.view_as_complex(x)", "x.float()", "x.double()", "x.half()",
    "x.bfloat16()", "x.int()", "x.long()", "x.short()", "x.char()", "x.bool()", "x.to(T.float32)", "x.to(y)",
    "x.type_as(y)", "x.to('cpu', T.int64)", "x.to(dtype=T.complex64)", "x.__rdiv__(2)",
]  # fmt: skip


def points(dtype: str, seed: int) -> np.ndarray:
    """A matrix of numbers of which some are awkward."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, (3, 2)).astype(bool)
    if "int" in dtype:
        a = rng.integers(1, 9, (3, 2))
        return a if dtype.startswith("u") else a * rng.choice([-1, 1], (3, 2))
    a = np.round(rng.standard_normal((3, 2)), 2)
    return a + 1j * np.round(rng.standard_normal((3, 2)), 2) if "complex" in dtype else a


def both(a: np.ndarray, dtype: str) -> tuple[Any, Any]:
    """The array as a tensor of wengert and of torch."""
    theirs = torch.tensor(a).to(getattr(torch, dtype))
    ours = wg.tensor(a).to(getattr(wg, dtype))
    return ours, theirs


def parts(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple) else [out]


def array(t: Any) -> np.ndarray:
    if isinstance(t, torch.Tensor):
        t = t.detach().clone().resolve_conj().resolve_neg()
        return (t.double() if t.dtype in (torch.float16, torch.bfloat16) else t).numpy()
    a = np.asarray(t.detach().numpy())
    return a.astype(np.float64) if str(t.dtype) in ("wengert.float16", "wengert.bfloat16") else a


def name_of(t: Any) -> str:
    return str(t.dtype).partition(".")[2]


def same(ours: Any, theirs: Any, what: str, tolerance: float = 0) -> None:
    """Values and dtypes agree."""
    for o, t in zip(parts(ours), parts(theirs), strict=True):
        assert name_of(o) == name_of(t), f"{what}: {name_of(o)}, torch {name_of(t)}"
        a, b = array(o), array(t)
        assert a.shape == b.shape, f"{what}: {a.shape}, torch {b.shape}"
        tol = max(tolerance, TOLERANCE.get(name_of(t), 1e-12))
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol, err_msg=what)


def attempt(text: str, library: Any, **names: Any) -> Any:
    """The value, or None for an error."""
    expected = wg.errors.WengertError if library is wg else (RuntimeError, TypeError, ValueError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return eval(text, {"T": library, "math": math, **names})
        except expected:
            return None


def check(text: str, dx: str, dy: str, xs: np.ndarray, ys: np.ndarray) -> None:
    """Where torch has a result, ours is the same (it may have more). complex32 does not exist here."""
    x, tx = both(xs, dx)
    y, ty = both(ys, dy)
    theirs = attempt(text, torch, x=tx, y=ty)
    if theirs is None or any(name_of(t) == "complex32" for t in parts(theirs)):
        return
    ours = attempt(text, wg, x=x, y=y)
    assert ours is not None, f"{text} on {dx}, {dy}: an error, torch has none"
    low = min((dx, dy), key=lambda d: -TOLERANCE.get(d, 0))
    same(ours, theirs, f"{text} on {dx}, {dy}", TOLERANCE.get(low, 1e-12) if "ldexp" in text else 0)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_values_and_dtypes(text: str) -> None:
    for dx in DTYPES:
        for dy in DTYPES if "y" in text.replace("copysign", "").replace("type", "") else [dx]:
            check(text, dx, dy, points(dx, 1), points(dy, 2))


SHAPES = [((), ()), ((3,), ()), ((2, 1), (1, 3)), ((0, 2), (1, 2)), ((2, 1, 3), (4, 1)), ((1,), (0,))]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_shapes(text: str) -> None:
    for sx, sy in SHAPES:
        xs, ys = (np.resize(points("float64", seed), s) for seed, s in ((1, sx), (2, sy)))
        check(text, "float64", "float64", xs, ys)
        check(text, "int64", "int64", np.resize(points("int64", 1), sx), np.resize(points("int64", 2), sy))


def test_non_contiguous() -> None:
    for text in EXPRESSIONS:
        check(text, "float64", "float64", points("float64", 1).T[:, ::2], points("float64", 2).T[:, ::2])


INF, NAN = math.inf, math.nan
X = np.array([0.0, 0.0, 0.0, -0.0, 1.0, INF, INF, -INF, 2.0, 2.0, -2.0, 0.0, 0.0, NAN, 1.0])
Y = np.array([0.0, 1.0, -1.0, 2.0, 1.0, INF, 1.0, 2.0, 0.0, INF, 3.0, 0.5, 2.0, 1.0, NAN])
# Values torch computes in another order, and so rounds or overflows otherwise.
OTHER_VALUES = ("T.lerp(x, y, x)", "T.polar(x, y)", "T.logaddexp2(x, y)")
AT_NAN = ("T.sgn(x)", "T.sign(x)")  # NaN here, 0 in torch


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_awkward_values(text: str) -> None:
    if text not in OTHER_VALUES:
        known = slice(-2) if text in AT_NAN else slice(None)
        check(text, "float64", "float64", X[known], Y[known])


POINTS = {
    "normal": (points("float64", 1), points("float64", 2)),
    "unit": (np.abs(np.tanh(points("float64", 1))) * 0.9, points("float64", 2)),
    "positive": (np.abs(points("float64", 1)) + 1.2, np.abs(points("float64", 2)) + 0.1),
    "awkward": (X[:-2], Y[:-2]),
    "complex": (points("complex128", 1), points("complex128", 2)),
    "broadcast": (points("float64", 1)[:, None, :], points("float64", 3)[:, :1]),
    "0-d": (np.array(0.5), np.array(2.0)),
}
# Derivatives that differ on purpose, and why.
OTHER_DERIVATIVES = {
    ("acosh", "normal"): "NaN outside the domain",
    ("acosh", "awkward"): "NaN outside the domain",
    ("acosh", "broadcast"): "NaN outside the domain",
    ("arccosh", "normal"): "NaN outside the domain",
    ("arccosh", "awkward"): "NaN outside the domain",
    ("arccosh", "broadcast"): "NaN outside the domain",
    ("copysign", "awkward"): "finite at infinity",
    ("hypot", "awkward"): "0 at the origin, as of |x|",
    ("logaddexp", "awkward"): "equal infinities share",
    ("logaddexp2", "awkward"): "equal infinities share",
    ("nextafter", "awkward"): "1 at ties too",
    ("T.div(x, y, rounding_mode='trunc')", "awkward"): "NaN where the quotient is",
    ("T.clamp(x, y, y + y)", "awkward"): "bounds that are equal and infinite",
    ("lerp", "awkward"): "infinite weights",
    ("polar", "awkward"): "infinite moduli",
    ("polar", "normal"): "a negative modulus has a slope of its own sign",
    ("polar", "broadcast"): "a negative modulus has a slope of its own sign",
    ("logit", "normal"): "outside the domain",
    ("logit", "positive"): "outside the domain",
    ("logit", "awkward"): "outside the domain",
    ("logit", "broadcast"): "outside the domain",
}


def differs_on_purpose(text: str, point: str) -> bool:
    name = text.partition("(")[0].removeprefix("T.")
    return (text, point) in OTHER_DERIVATIVES or (name, point) in OTHER_DERIVATIVES


def gradients(text: str, library: Any, make: Any, arrays: dict[str, np.ndarray]) -> list[Any] | None:
    """Gradients for fixed adjoints; None where there is no result to differentiate."""
    names = {k: make(a).requires_grad_() for k, a in arrays.items()}
    out = attempt(text, library, **names)
    if out is None or not parts(out)[0].requires_grad:
        return None
    out = parts(out)[0]
    weights = np.cos(np.arange(np.prod(tuple(out.shape), dtype=int)) * 0.7).reshape(tuple(out.shape))
    if "complex" in str(out.dtype):
        weights = weights * (1 - 0.5j)
    try:
        out.backward(make(weights))
    except RuntimeError:  # torch has no derivative
        return None
    return [np.zeros(a.shape) if x.grad is None else array(x.grad) for x, a in zip(names.values(), arrays.values())]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_gradients(text: str, point: str) -> None:
    if differs_on_purpose(text, point):
        return
    arrays = dict(zip("xy", POINTS[point]))
    want = gradients(text, torch, torch.tensor, arrays)
    if want is None:
        return
    got = gradients(text, wg, wg.tensor, arrays)
    assert got is not None, text
    for name, g, w in zip("xy", got, want):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-9, err_msg=f"{text}, {name}")


IN_PLACE = [
    "abs_()", "acos_()", "add_(y)", "add_(y, alpha=2)", "add_(2)", "addcdiv_(y, y)",
    "addcdiv_(y, y, value=0.5)", "addcmul_(y, y)", "addcmul_(y, y, value=2)", "bitwise_and_(y)",
    "bitwise_not_()", "ceil_()", "clamp_(0, 1)", "clamp_(max=1)", "clamp_(y, y)", "clamp_max_(1)",
    "clamp_min_(y)", "copysign_(y)", "cos_()", "deg2rad_()", "div_(y)", "div_(2)",
    "div_(y, rounding_mode='floor')", "eq_(y)", "exp_()", "float_power_(2)", "floor_()", "floor_divide_(y)",
    "fmod_(y)", "frac_()", "gcd_(y)", "ge_(y)", "gt_(1)", "hypot_(y)", "lcm_(y)", "le_(y)", "lerp_(y, 0.25)",
    "lerp_(y, 0.75)", "lerp_(y, y)", "log_()", "log1p_()", "logical_and_(y)", "logical_not_()", "logit_()",
    "lt_(y)", "mul_(y)", "mul_(1.5)", "nan_to_num_()", "ne_(y)", "neg_()", "pow_(y)", "pow_(2)",
    "reciprocal_()", "relu_()", "remainder_(y)", "round_()", "rsqrt_()", "sgn_()", "sigmoid_()", "sign_()",
    "sin_()", "sqrt_()", "square_()", "sub_(y)", "sub_(y, alpha=2)", "tanh_()", "trunc_()", "__iadd__(y)",
    "__iand__(y)", "__ifloordiv__(y)", "__ilshift__(1)", "__imod__(y)", "__imul__(y)", "__ior__(y)",
    "__ipow__(2)", "__irshift__(1)", "__isub__(y)", "__itruediv__(y)", "__ixor__(y)",
]  # fmt: skip


@pytest.mark.parametrize("text", IN_PLACE)
def test_in_place(text: str) -> None:
    for dx in DTYPES:
        for dy in (dx, "int64", "float32"):
            if "ipow" in text or ("pow_(2)" in text and dx == "bool"):
                continue
            x, tx = both(points(dx, 1), dx)
            y, ty = both(points(dy, 2), dy)
            theirs = attempt(f"x.{text}", torch, x=tx, y=ty)
            ours = attempt(f"x.{text}", wg, x=x, y=y)
            if theirs is not None:
                assert ours is x, f"{text} on {dx}, {dy}"
                same(x, tx, f"{text} on {dx}, {dy}")


OUT = [
    "T.add(x, y, out=z)", "T.add(x, y, alpha=2, out=z)", "T.mul(x, 2, out=z)", "T.exp(x, out=z)",
    "T.clamp(x, 0, 1, out=z)", "T.eq(x, y, out=z)", "T.div(x, y, rounding_mode='trunc', out=z)",
    "T.lerp(x, y, 0.5, out=z)", "T.pow(x, 2, out=z)",
]  # fmt: skip


@pytest.mark.parametrize("text", OUT)
@pytest.mark.parametrize("empty", [False, True])
def test_out(text: str, empty: bool) -> None:
    for dz in ("int32", "float32", "float64", "complex64"):
        x, tx = both(points("float32", 1), "float32")
        y, ty = both(points("float32", 2), "float32")
        z, tz = both(np.zeros((0,) if empty else (3, 2)), dz)
        theirs = attempt(text, torch, x=tx, y=ty, z=tz)
        ours = attempt(text, wg, x=x, y=y, z=z)
        if theirs is not None:
            assert ours is z, f"{text} into {dz}"
            same(z, tz, f"{text} into {dz}", 1e-6)

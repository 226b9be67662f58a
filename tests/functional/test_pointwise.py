"""Pointwise functions: values, awkward points, promotion, errors."""

from __future__ import annotations

import itertools
import math
import operator

import mpmath
import numpy as np
import pytest

import wengert as wg
from wengert.errors import ArgumentError, DTypeError, ShapeError, WengertError
from wengert.transform.flat import jvp_flat, vjp_flat

INF, NAN = math.inf, math.nan


def values(x):
    return x.detach().numpy()


def tensor(data, dtype="float64"):
    return wg.tensor(data, dtype=getattr(wg, dtype))


def leaf(data):
    return tensor(data).requires_grad_()


# -- values -----------------------------------------------------------------------------------------

NUMPY_UNARY = {
    "abs": np.abs, "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh,
    "atan": np.arctan, "atanh": np.arctanh, "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh,
    "deg2rad": np.deg2rad, "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "floor": np.floor,
    "isfinite": np.isfinite, "isinf": np.isinf, "isnan": np.isnan, "isneginf": np.isneginf,
    "isposinf": np.isposinf, "log": np.log, "log10": np.log10, "log1p": np.log1p, "log2": np.log2,
    "logical_not": np.logical_not, "nan_to_num": np.nan_to_num, "neg": np.negative, "positive": np.positive,
    "rad2deg": np.rad2deg, "reciprocal": np.reciprocal, "round": np.rint, "sgn": np.sign, "sign": np.sign,
    "signbit": np.signbit, "sin": np.sin, "sinc": np.sinc, "sinh": np.sinh, "sqrt": np.sqrt,
    "square": np.square, "tan": np.tan, "tanh": np.tanh, "trunc": np.trunc,
}  # fmt: skip
NUMPY_BINARY = {
    "add": np.add, "atan2": np.arctan2, "copysign": np.copysign, "div": np.divide, "eq": np.equal,
    "float_power": np.float_power, "floor_divide": np.floor_divide, "fmax": np.fmax, "fmin": np.fmin,
    "fmod": np.fmod, "ge": np.greater_equal, "gt": np.greater, "hypot": np.hypot, "le": np.less_equal,
    "logaddexp": np.logaddexp, "logaddexp2": np.logaddexp2, "logical_and": np.logical_and,
    "logical_or": np.logical_or, "logical_xor": np.logical_xor, "lt": np.less, "maximum": np.maximum,
    "minimum": np.minimum, "mul": np.multiply, "ne": np.not_equal, "nextafter": np.nextafter, "pow": np.power,
    "remainder": np.remainder, "sub": np.subtract,
}  # fmt: skip
NUMPY_INTEGER = {
    "bitwise_and": np.bitwise_and, "bitwise_left_shift": np.left_shift, "bitwise_or": np.bitwise_or,
    "bitwise_right_shift": np.right_shift, "bitwise_xor": np.bitwise_xor, "fmod": np.fmod, "gcd": np.gcd,
    "lcm": np.lcm, "remainder": np.remainder, "floor_divide": np.floor_divide, "maximum": np.maximum,
}  # fmt: skip
SPECIAL = np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5, -2.5, 20.0, -300.0, INF, -INF, NAN])


@pytest.mark.parametrize("name", NUMPY_UNARY)
def test_unary_values(name):
    with np.errstate(all="ignore"):
        want = NUMPY_UNARY[name](SPECIAL)
    for shape in (SPECIAL.shape, (2, 7), (7, 1, 2)):
        got = getattr(wg, name)(tensor(SPECIAL.reshape(shape)))
        np.testing.assert_allclose(values(got), want.reshape(shape), rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("name", NUMPY_BINARY)
def test_binary_values(name):
    x, y = SPECIAL[:, None], SPECIAL[None, :]
    with np.errstate(all="ignore"):
        want = NUMPY_BINARY[name](x, y)
    got = getattr(wg, name)(tensor(x), tensor(y))
    np.testing.assert_allclose(values(got), want, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", NUMPY_INTEGER)
def test_integer_values(name):
    x, y = np.arange(-6, 7), np.array([[1], [2], [5], [7]])
    got = getattr(wg, name)(wg.tensor(x), wg.tensor(y))
    np.testing.assert_array_equal(values(got), NUMPY_INTEGER[name](x, y))
    assert got.dtype is wg.int64


@pytest.mark.parametrize(
    ("name", "exact", "points"),
    [
        ("sigmoid", lambda x: 1 / (1 + mpmath.exp(-x)), [-700.0, -40.0, -1e-9, 0.3, 35.0, 1000.0]),
        ("rsqrt", lambda x: 1 / mpmath.sqrt(x), [1e-300, 0.1, 7.0, 1e300]),
        ("logit", lambda x: mpmath.log(x / (1 - x)), [1e-300, 1e-9, 0.3, 0.75, 1 - 1e-12]),
        ("expm1", mpmath.expm1, [-1e-12, 1e-12, 0.5]),
        ("log1p", mpmath.log1p, [-1e-12, 1e-12, 0.5]),
        ("sinc", mpmath.sincpi, [1e-9, 0.01, 0.1591, 0.16, 0.5, 3.25]),
        ("asinh", mpmath.asinh, [-1e-9, 1e-9, 3.0, 1e200]),
    ],
)
def test_precise_values(name, exact, points):
    with mpmath.workdps(40):
        want = [float(exact(mpmath.mpf(p))) for p in points]
    np.testing.assert_allclose(values(getattr(wg, name)(tensor(points))), want, rtol=3e-15)


def test_hypot_and_logaddexp_do_not_overflow():
    assert wg.hypot(tensor([3e200]), tensor([4e200])).item() == pytest.approx(5e200)
    assert wg.logaddexp(tensor([1e4]), tensor([1e4])).item() == pytest.approx(1e4 + math.log(2))


def test_relu_clamp_and_friends_keep_nan():
    x = tensor([NAN, -1.0, 2.0])
    np.testing.assert_array_equal(values(wg.relu(x)), [NAN, 0.0, 2.0])
    np.testing.assert_array_equal(values(wg.clamp(x, 0, 1)), [NAN, 0.0, 1.0])
    np.testing.assert_array_equal(values(wg.clamp(tensor([1.0]), NAN)), [NAN])
    np.testing.assert_array_equal(values(wg.clamp(x, 3, 1)), [NAN, 1.0, 1.0])
    np.testing.assert_array_equal(values(wg.clamp(x, tensor([0.0, NAN, 5.0]))), [NAN, NAN, 5.0])


def test_frexp_and_ldexp_undo_each_other():
    x = tensor([0.0, 3.0, -0.1, 5e-324, 1e308, INF])
    mantissa, exponent = wg.frexp(x)
    assert exponent.dtype is wg.int32
    np.testing.assert_array_equal(values(mantissa), np.frexp(values(x))[0])
    back = wg.ldexp(wg.ldexp(mantissa, exponent // 2), exponent - exponent // 2)
    np.testing.assert_array_equal(values(back), values(x))


def test_negative_integer_powers():
    got = wg.pow(wg.tensor([2, 1, -1, -1, 0, 3]), wg.tensor([-1, -5, -1, -2, 0, 2]))
    assert got.tolist() == [0, 1, -1, 1, 1, 9]
    with pytest.raises(ArgumentError, match=r"pow: integers have no negative powers: -1 for i64\[2\]"):
        wg.tensor([1, 2]) ** -1


def test_rounding_modes():
    x = tensor([7.0, -7.0, 0.5])
    assert wg.div(x, 2, rounding_mode="floor").tolist() == [3.0, -4.0, 0.0]
    assert wg.div(x, 2, rounding_mode="trunc").tolist() == [3.0, -3.0, 0.0]
    assert wg.div(wg.tensor([7, -7]), -2, rounding_mode="trunc").tolist() == [-3, 3]
    with pytest.raises(ArgumentError, match="div: no such rounding_mode: 'up'"):
        wg.div(x, 2, rounding_mode="up")


def test_isclose():
    x, y = tensor([1.0, 1.0, INF, INF, NAN, 0.0]), tensor([1.0 + 1e-6, 1.1, INF, -INF, NAN, 1e-9])
    assert wg.isclose(x, y).tolist() == [True, False, True, False, False, True]
    assert wg.isclose(x, y, equal_nan=True).tolist() == [True, False, True, False, True, True]
    assert wg.isclose(wg.tensor([1, 2]), wg.tensor([1, 3])).tolist() == [True, False]


# -- operators --------------------------------------------------------------------------------------

ARITHMETIC = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
]
BITS = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]
ORDER = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("sign", ARITHMETIC + BITS + ORDER)
def test_operators(sign):
    x, y = np.array([7, 2, 9]), np.array([2, 3, 1])
    for a, b in ((x, y), (x, 2), (9, y)):
        for kind in (np.int64,) if sign in BITS else (np.int64, np.float64):
            p, q = (kind(v) if isinstance(v, np.ndarray) else v for v in (a, b))
            want = sign(p, q)
            got = sign(*(wg.tensor(v) if isinstance(v, np.ndarray) else v for v in (p, q)))
            np.testing.assert_allclose(values(got), want, rtol=1e-7)


def test_unary_operators():
    x = wg.tensor([True, False])
    assert (~x).tolist() == [False, True]
    assert (~wg.tensor([5, -1])).tolist() == [-6, 0]
    assert abs(wg.tensor([-3])).tolist() == [3]
    y = wg.tensor([1.0])
    assert +y is y


def test_operators_leave_strangers_to_the_other_side():
    class Stranger:
        def __radd__(self, other):
            return "mine"

        def __rsub__(self, other):
            return "mine"

        def __lt__(self, other):
            return "mine"

    x = wg.tensor([1.0])
    assert x + Stranger() == "mine"
    assert x - Stranger() == "mine"
    assert (x > Stranger()) == "mine"
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True
    for wrong in (None, "a", [1.0]):
        with pytest.raises(TypeError):
            x + wrong
        with pytest.raises(TypeError):
            wrong - x


def test_numpy_arrays_are_operands():
    x, a = wg.tensor([1.0, 2.0]), np.array([3.0, 4.0], np.float32)
    for got in (x + a, a + x):
        assert isinstance(got, wg.Tensor)
        assert got.tolist() == [4.0, 6.0]
    assert (x * np.float32(2)).dtype is wg.float32


# -- promotion --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "dtype"),
    [
        (lambda: wg.tensor([1]) + 1.5, "float32"),
        (lambda: wg.tensor([1], dtype=wg.uint8) + 1, "uint8"),
        (lambda: wg.tensor([1], dtype=wg.uint8) + 300, "uint8"),
        (lambda: wg.tensor([True]) + 1, "int64"),
        (lambda: wg.tensor([True]) * True, "bool"),
        (lambda: wg.tensor([1.0], dtype=wg.float16) * 2.5, "float16"),
        (lambda: wg.tensor([1.0], dtype=wg.bfloat16) * 2.5, "bfloat16"),
        (lambda: 2.5 - wg.tensor([1.0], dtype=wg.bfloat16), "bfloat16"),
        (lambda: wg.tensor([1.0], dtype=wg.float16) + wg.tensor([1.0], dtype=wg.bfloat16), "float32"),
        (lambda: wg.tensor([1.0]) + wg.tensor(1.0, dtype=wg.float64), "float32"),
        (lambda: wg.tensor(1) + wg.tensor(1.0, dtype=wg.float64), "float64"),
        (lambda: wg.tensor([1]) / 2, "float32"),
        (lambda: wg.tensor([1], dtype=wg.int16) // 2, "int16"),
        (lambda: wg.tensor([1.0]) * 2j, "complex64"),
        (lambda: wg.tensor([1]).sqrt(), "float32"),
        (lambda: wg.tensor([1]).floor(), "int64"),
        (lambda: wg.tensor([1], dtype=wg.int8).square(), "int8"),
        (lambda: wg.tensor([True]).square(), "int64"),
        (lambda: wg.tensor([1, 2]).clamp(max=1.5), "float32"),
        (lambda: wg.tensor([1 + 1j]).abs(), "float32"),
        (lambda: wg.float_power(wg.tensor([2]), 0.5), "float64"),
        (lambda: wg.where(wg.tensor([True]), 1, 2.0), "float32"),
        (lambda: wg.where(wg.tensor([True]), wg.tensor([1]), 2.5), "float32"),
        (lambda: wg.tensor([1.5]) > 1, "bool"),
    ],
)
def test_promotion(compute, dtype):
    assert compute().dtype is getattr(wg, "bool_" if dtype == "bool_" else dtype)


def test_numbers_too_large_for_the_dtype():
    assert (wg.tensor([1.0]) * 1e300).tolist() == [INF]
    assert (wg.tensor([250], dtype=wg.uint8) + 10).tolist() == [4]


@pytest.mark.parametrize(
    "name", ["bool", "byte", "char", "short", "int", "long", "half", "bfloat16", "float", "double"]
)
def test_casts(name):
    x = wg.tensor([0.0, 1.0, 2.7])
    got = getattr(x, name)()
    assert got.tolist() == pytest.approx(values(x).astype(got.dtype.np).astype(float).tolist())
    assert getattr(got, name)() is got


def test_to():
    x = wg.tensor([1.5])
    assert x.to(wg.float32) is x
    assert x.to("cpu") is x
    assert x.to("cpu", wg.int64, non_blocking=True).tolist() == [1]
    assert x.to(wg.tensor([1], dtype=wg.float64)).dtype is wg.float64
    assert x.type_as(wg.tensor([1])).dtype is wg.int64
    copy = x.to(wg.float32, copy=True)
    assert copy is not x
    assert copy.tolist() == [1.5]
    with pytest.raises(WengertError, match="no such device here: 'cuda:0'"):
        x.to("cuda:0")


def test_integers_carry_no_gradient():
    assert not leaf([1.5]).long().requires_grad
    assert leaf([1.5]).float().requires_grad


# -- derivatives at awkward points ------------------------------------------------------------------


def slope(f, *points):
    xs = [leaf(p) for p in points]
    f(*xs).sum().backward()
    return [None if x.grad is None else x.grad.tolist() for x in xs]


@pytest.mark.parametrize(
    ("f", "points", "want"),
    [
        (abs, ([0.0, -0.0],), [[0.0, 0.0]]),
        (wg.relu, ([0.0, -1.0, 1.0],), [[0.0, 0.0, 1.0]]),
        (wg.sign, ([0.0, 2.0],), [[0.0, 0.0]]),
        (wg.floor, ([0.0, 2.5],), [[0.0, 0.0]]),
        (wg.maximum, ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]), [[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]),
        (wg.minimum, ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]), [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]),
        (wg.fmax, ([1.0, NAN], [1.0, 2.0]), [[1.0, 0.0], [0.0, 1.0]]),
        (wg.atan2, ([0.0], [0.0]), [[0.0], [0.0]]),
        (wg.hypot, ([0.0], [0.0]), [[0.0], [0.0]]),
        (wg.logaddexp, ([-INF, 1.0], [-INF, 1.0]), [[0.5, 0.5], [0.5, 0.5]]),
        (wg.sinc, ([0.0],), [[0.0]]),
        (lambda x: wg.clamp(x, 0, 1), ([-1.0, 0.0, 1.0, 2.0],), [[0.0, 1.0, 1.0, 0.0]]),
        (lambda x: x**0, ([0.0, 2.0],), [[0.0, 0.0]]),
        (lambda x: x**1, ([0.0, 2.0],), [[1.0, 1.0]]),
        (lambda x: x**0.5, ([0.0, 4.0],), [[INF, 0.25]]),
        (wg.pow, ([0.0, 0.0, 0.0], [0.0, 1.0, 2.0]), [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]),
        (wg.pow, ([0.0], [-1.0]), [[-INF], [-INF]]),
        (wg.nan_to_num, ([1.0, NAN, INF],), [[1.0, 0.0, 0.0]]),
    ],
)
def test_derivatives_at_kinks(f, points, want):
    assert slope(f, *points) == want


def second_derivatives(f, point):
    """F'' by forward and reverse mode, in the four compositions."""
    x, one = tensor(point), tensor(1.0)

    def forward(g):
        return lambda y: [jvp_flat(g, [y], [one])[1][0]]

    def reverse(g):
        return lambda y: [vjp_flat(g, [y])[1](one)[0]]

    return [b(a(lambda y: [f(y)]))(x)[0].item() for a, b in itertools.product((forward, reverse), repeat=2)]


@pytest.mark.parametrize(
    ("f", "point", "want"),
    [
        (lambda x: x**2, 0.0, 2.0),
        (lambda x: x**3, 0.0, 0.0),
        (lambda x: x**1, 0.0, 0.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x ** tensor(2.0), 0.0, 2.0),
        (lambda x: wg.pow(x, leaf(2.0)), 0.0, 2.0),
        (lambda x: x**2, 1e-200, 2.0),
        (wg.square, 0.0, 2.0),
        (wg.sinc, 0.0, -(math.pi**2) / 3),
        (lambda x: wg.logaddexp(x, tensor(0.0)), 0.0, 0.25),
        (wg.sigmoid, 0.0, 0.0),
        (lambda x: wg.lerp(x * x, x, 0.25), 0.0, 1.5),
    ],
)
def test_second_derivatives_at_awkward_points(f, point, want):
    assert second_derivatives(f, point) == pytest.approx([want] * 4, rel=1e-12)


def test_mixed_derivative_of_pow_at_zero_exponent():
    x, y = leaf(2.0), leaf(0.0)
    (dx,) = wg.gradients(wg.pow(x, y))[x.node].reshape(1)
    assert wg.gradients(dx)[y.node].item() == pytest.approx(0.5)


def test_complex_derivatives_are_pytorchs():
    z = wg.tensor([3 + 4j], dtype=wg.complex128).requires_grad_()
    z.abs().sum().backward()
    assert z.grad.tolist() == pytest.approx([0.6 + 0.8j])
    z.grad = None
    (z.real * 2 + z.imag * 3).sum().backward()
    assert z.grad.tolist() == [2 + 3j]
    z.grad = None
    wg.view_as_real(z).sum().backward()
    assert z.grad.tolist() == [1 + 1j]
    x, y = leaf([1.0]), leaf([2.0])
    (wg.complex(x, y) * (2 + 1j)).real.sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0], [-1.0])


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: wg.ones(2) + wg.ones(3), ShapeError, r"add: shapes do not broadcast: f32\[2\], f32\[3\]"),
        (lambda: wg.add(wg.ones(2), None), DTypeError, "add: operands must be tensors or numbers: NoneType"),
        (lambda: wg.exp([1.0]), DTypeError, "exp: needs a tensor: list"),
        (lambda: -wg.tensor([True]), DTypeError, r"neg: bools cannot be negated: b1\[1\]. Use ~"),
        (lambda: wg.tensor([True]) - wg.tensor([True]), DTypeError, "sub: bool tensors cannot be subtracted"),
        (lambda: wg.tensor([1]) // wg.tensor([0]), ArgumentError, "floor_divide: integer division by zero"),
        (lambda: wg.tensor([1, 2]) % 0, ArgumentError, "remainder: integer division by zero"),
        (lambda: wg.fmod(wg.tensor([1j]), 2), DTypeError, "fmod: needs real numbers"),
        (lambda: wg.ones(2) & 1, DTypeError, r"bitwise_and: needs integers or bools"),
        (lambda: wg.ones(2) << 1, DTypeError, "bitwise_left_shift: needs integers"),
        (lambda: ~wg.ones(2), DTypeError, "bitwise_not: needs integers or bools"),
        (lambda: wg.gcd(wg.ones(2), wg.ones(2)), DTypeError, "gcd: needs integers"),
        (lambda: wg.tensor([1j]) < wg.tensor([2j]), DTypeError, "lt: complex numbers have no order"),
        (
            lambda: wg.maximum(wg.tensor([1j]), wg.tensor([2j])),
            DTypeError,
            "maximum: complex numbers have no order",
        ),
        (lambda: wg.sign(wg.tensor([1j])), DTypeError, "sign: complex numbers have no sign.*Use sgn"),
        (lambda: wg.floor(wg.tensor([1j])), DTypeError, "floor: complex numbers have no order"),
        (lambda: wg.relu(wg.tensor([True])), DTypeError, "relu: needs real numbers"),
        (lambda: wg.clamp(wg.ones(2)), ArgumentError, "clamp: needs a bound"),
        (lambda: wg.round(wg.tensor([1]), decimals=1), DTypeError, "round: decimals needs a floating dtype"),
        (
            lambda: wg.heaviside(wg.ones(2), wg.tensor([1])),
            DTypeError,
            "heaviside: needs two real tensors of one dtype",
        ),
        (
            lambda: wg.lerp(wg.tensor([1]), wg.tensor([2]), 0.5),
            DTypeError,
            "lerp: needs floating tensors of one dtype",
        ),
        (
            lambda: wg.addcdiv(wg.tensor([1]), wg.tensor([2]), wg.tensor([2])),
            DTypeError,
            "addcdiv: integers cannot",
        ),
        (
            lambda: wg.add(wg.tensor([1]), 1, alpha=0.5),
            DTypeError,
            "add: alpha must be an int for integer tensors",
        ),
        (lambda: wg.imag(wg.ones(2)), DTypeError, "imag: needs a complex dtype"),
        (
            lambda: wg.complex(wg.ones(2), wg.tensor([1])),
            DTypeError,
            "complex: both must be float32, or both float64",
        ),
        (
            lambda: wg.view_as_complex(wg.ones(3)),
            ShapeError,
            "view_as_complex: the last dimension must have size 2",
        ),
        (lambda: wg.frexp(wg.tensor([1])), DTypeError, "frexp: needs a floating dtype"),
        (lambda: wg.where(wg.tensor([1]), 1, 2), DTypeError, "where: the condition must be bool"),
        (lambda: wg.isclose(wg.ones(1), wg.tensor([1])), DTypeError, "isclose: both must have one dtype"),
        (
            lambda: wg.isclose(wg.ones(1), wg.ones(1), rtol=-1),
            ArgumentError,
            "isclose: tolerances cannot be negative",
        ),
    ],
)
def test_errors(wrong, error, text):
    with pytest.raises(error, match=text):
        wrong()

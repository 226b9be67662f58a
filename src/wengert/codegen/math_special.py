"""Powers, hypotenuse, error function, remainders, vectorised; conventions and sources are those of `math`."""

from __future__ import annotations

import math as exact
from typing import Any, NamedTuple

from ..ops.gates import TANH_CUBIC, TANH_LINEAR
from .loop import Value
from .math import (
    F32,
    F64,
    FORMATS,
    absolute,
    at_least,
    at_most,
    copysign,
    exp,
    expm1_near,
    gated,
    multiple,
    polynomial,
    power_of_two,
    sigmoid,
    split,
    to_float,
    widened,
)

# Fits of log and exp for float32 powers, which are computed in float64: 36 and 33 bits.
_LOG_SHORT = (
    -0.04823683996810136, 0.0911765878189908, -0.09287626958729629, 0.09039912493754237, -0.09889213647623456,
    0.11105479634925616, -0.12505726829760244, 0.14286179518036798, -0.16666532048160393, 0.19999989240612917,
    -0.25000001129943933, 0.3333333339935189,
)  # fmt: skip
_EXP_SHORT = (
    0.00019790245667939882, 0.0013944758632377632, 0.008333497670094314, 0.041666293633551545, 0.16666665864614355,
    0.5000000068037723,
)  # fmt: skip
# (2 atanh(s) / s - 2 - 2 s**2 / 3) / s**4 of s**2
_LOG_RATIO = (
    0.11997583634130203, 0.11673788487875328, 0.1333636820889306, 0.15384555549511403, 0.181818188897059,
    0.2222222221737824, 0.2857142857144576, 0.39999999999999974,
)  # fmt: skip
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
_ERF_NEAR = (7.579197e-05, -0.00072546146, 0.0046127276, -0.023804957, 0.09999943, -0.3333333)
_ERF_FAR = (-2.08285e-05, 0.00043139228, -0.004156249, 0.025080603, -0.10822036, -0.63340086, -1.1294883, 0.00016920349)


class _Tail(NamedTuple):
    """exp(factor y**2) times a tail of the normal distribution is p(q) / (y + k), of q = (y - k) / (y + k).

    ``k`` is a power of two; ``low`` is what the last two coefficients lack. By ``slope``, a + b q, errors of
    1 / (y + k) count in the whole: 1 - (1 - q) p'(q) / p(q), roughly.
    """

    factor: float
    k: float
    coefficients: tuple[float, ...]
    low: tuple[float, float]
    slope: tuple[float, float]


_ERFC = _Tail(
    1.0, 2.0,
    (6.9700494e-05, 4.735317e-05, -0.0005925734, -0.0008324336, 0.003062509, 0.0064759906, -0.02150569, -0.036441796,
     0.27947176, -0.6871607, 1.0215827),
    (-2.5889886e-08, -1.3946355e-08), (1.67, -0.67),
)  # fmt: skip
_NDTR = _Tail(
    0.5, 4.0,
    (-0.00013420632, 0.00017463836, 0.0015684019, -0.0035102002, -0.0075239986, 0.06040349, -0.18652366, 0.3871369,
     -0.60789657, 0.75528514),
    (-1.3446446e-08, -8.5998915e-09), (1.87, -1.27),
)  # fmt: skip
_TWO_OVER_ROOT_PI = (1.1283792, -3.4690933e-08)
_NORMAL_TOP = 0.3989423  # the density of the normal distribution at 0


# -- powers ----------------------------------------------------------------------------------


def _normal_split(a: Value) -> tuple[Value, Value]:
    """`split` of a positive finite number that may be denormal; k as a float."""
    b, f = a.b, FORMATS[a.type.kind]
    tiny = a < 2.0 ** (1 - f.bias)
    m, k = split(b.select(tiny, a * 2.0**f.digits, a))
    return m, to_float(b.select(tiny, k - f.digits, k))


def _sum(x: Any, y: Any) -> tuple[Value, Value]:
    """The sum and what rounding took from it, for abs(x) >= abs(y) (Dekker)."""
    s = x + y
    return s, (x - s) + y


def _product(x: Value, y: Value) -> tuple[Value, Value]:
    """The product and what rounding took from it."""
    p = x * y
    return p, x.b.fma(x, y, -p)


def _log_pair(a: Value) -> tuple[Value, Value]:
    """log(a) of a positive finite float64 in two parts, relative error about 2**-66."""
    b = a.b
    m, k = _normal_split(a)
    f = m - 1.0
    d, d_low = _sum(b.const(2.0, f.type), f)
    inverse = 1.0 / d
    s = f * inverse
    s_low = (b.fma(-s, d, f) - s * d_low) * inverse
    z, z_low = _product(s, s)
    z_low = b.fma(s + s, s_low, z_low)
    tail = z * polynomial(z, _LOG_RATIO)
    q, q_low = _sum(b.const(_TWO_THIRDS[0], f.type), tail)
    q_low = q_low + _TWO_THIRDS[1]
    cube, cube_low = _product(z, s)
    cube_low = cube_low + b.fma(z, s_low, z_low * s)
    rest, rest_low = _product(cube, q)
    rest_low = rest_low + b.fma(cube, q_low, cube_low * q)
    whole, whole_low = _product(k, b.const(F64.ln2[0], f.type))
    whole_low = b.fma(k, F64.ln2[1], whole_low)
    out, low = _sum(whole, s + s)  # whole is 0 or larger
    out, more = _sum(out, rest)
    low = low + more + (rest_low + (s_low + s_low) + whole_low)
    return _sum(out, low)


def _exp_pair(x: Value, low: Value) -> Value:
    """exp(x + low) of float64."""
    b, f = x.b, F64
    x = at_least(f.exp_range[0], at_most(f.exp_range[1], x))
    n, _ = multiple(x, f.log2e[0])
    r = b.fma(n, -f.ln2[0], x)
    r = b.fma(n, -f.ln2[1], r) + low
    return b.ldexp(b.fma(r * r, polynomial(r, f.exp), r) + 1.0, n)


def _power_double(a: Value, y: Value) -> Value:
    """a ** y of float64, for a >= 0; NaN where a is 1 and y infinite or NaN."""
    b = a.b
    log, log_low = _log_pair(a)
    log = b.select(a < exact.inf, b.select(a == 0.0, b.const(-exact.inf, a.type), log), a)
    x, x_low = _product(log, y)
    x_low = b.fma(log_low, y, x_low)
    return _exp_pair(x, b.select(absolute(x) < 1024.0, x_low, b.const(0.0, a.type)))


def _power_single(a: Value, y: Value) -> Value:
    """a ** y of float32, for a >= 0, through float64; NaN where a is 1 and y infinite or NaN."""
    b = a.b
    a, y = b.cast(a, "f64"), b.cast(y, "f64")
    m, k = split(a)
    f = m - 1.0
    rest = (f * f) * b.fma(f, polynomial(f, _LOG_SHORT), -0.5)
    log = b.fma(to_float(k), F64.ln2[0], f + rest)
    log = b.select(a < exact.inf, b.select(a == 0.0, b.const(-exact.inf, a.type), log), a)
    x = at_least(-110.0, at_most(90.0, log * y))
    n, _ = multiple(x, F64.log2e[0])
    r = b.fma(n, -F64.ln2[0], x)
    return b.cast(b.ldexp(b.fma(r * r, polynomial(r, _EXP_SHORT), r) + 1.0, n), "f32")


@widened
def power(x: Value, y: Value) -> Value:
    """x ** y, with C99's special cases."""
    b, a = x.b, absolute(x)
    one = b.const(1.0, x.type)
    out = _power_double(a, y) if x.type.kind == "f64" else _power_single(a, y)
    whole = b.unary("trunc", y) == y
    half = y * 0.5
    odd = whole & (b.unary("trunc", half) != half)
    negative = b.bitcast(x, FORMATS[x.type.kind].integer) < 0
    out = b.select(a == 1.0, one, out)
    out = b.select(negative & odd, -out, out)
    out = b.select((x < 0.0) & ~whole & (a < exact.inf), b.const(exact.nan, x.type), out)
    out = b.select((x != x) | ((y != y) & (x != 1.0)), x + y, out)
    return b.select(y == 0.0, one, out)


@widened
def hypot(x: Value, y: Value) -> Value:
    """sqrt(x**2 + y**2) without overflow; infinite if one is, even beside NaN."""
    b, kind, f = x.b, x.type.kind, FORMATS[x.type.kind]
    a, c = absolute(x), absolute(y)
    if kind == "f32":
        wide, other = b.cast(a, "f64"), b.cast(c, "f64")
        out = b.cast(b.unary("sqrt", b.fma(wide, wide, other * other)), kind)
    else:
        top = b.select(a < c, c, a)
        bits = b.binary("max", b.binary("min", b.bitcast(top, f.integer) >> f.digits, 2 * f.bias - 100), 100)
        down, up = (b.bitcast(n << f.digits, kind) for n in (2 * f.bias - bits, bits))
        wide, other = a * down, c * down
        out = b.unary("sqrt", b.fma(wide, wide, other * other)) * up
    infinite = (a == exact.inf) | (c == exact.inf)
    return b.select(infinite, b.const(exact.inf, x.type), out)


# -- error function --------------------------------------------------------------------------


def erf_single(x: Value) -> Value:
    """The error function of float32: odd polynomial near 0, else 1 - exp(polynomial)."""
    b, a = x.b, absolute(x)
    z = x * x
    rest = x * z * polynomial(z, _ERF_NEAR)
    near = b.fma(x, _TWO_OVER_ROOT_PI[0], b.fma(rest, _TWO_OVER_ROOT_PI[0], x * _TWO_OVER_ROOT_PI[1]))
    t = at_most(3.95, a)
    far = 1.0 - exp(polynomial(t, _ERF_FAR))
    return copysign(b.select(a < 0.9, near, far), x)


def _gaussian(y: Value, factor: float) -> tuple[Value, Value]:
    """exp(-factor y**2) as 2**n (1 + growth): ``growth`` and 2**(n + 64), for 0 <= y <= 15; ``factor`` is 1 or 1/2."""
    b = y.b
    square, low = _product(y, y)
    exponent = at_least(F32.exp_range[0] - 20.0, square * -factor)
    m, n = multiple(exponent, F32.log2e[0])
    rest = b.fma(m, -F32.ln2[0], exponent) + b.fma(m, -F32.ln2[1], low * -factor)
    return expm1_near(rest), power_of_two(n + 64)


def _tail(y: Value, t: _Tail, times: Value | None = None) -> Value:
    """The tail at y >= 0, ``times`` a number.

    Where values end in ``low`` they are what rounding took from the value of that name.
    """
    b = y.b
    y = at_most(15.0, y)  # far beyond the last denormal
    d = y + t.k
    back = d - t.k
    inverse = 1.0 / d
    lost = b.fma(-inverse, d, 1.0) - inverse * ((t.k - (d - back)) + (y - back))  # what the inverse lacks, of 1
    q = b.fma(inverse, -2.0 * t.k, 1.0)
    q_low = b.fma(inverse, -2.0 * t.k, 1.0 - q)
    *more, second, first, last = t.coefficients
    rest = b.fma(polynomial(q, more), q, second)
    inner = b.fma(rest, q, first)
    inner_low = b.fma(rest, q, first - inner) + t.low[0]
    p = b.fma(inner, q, last)
    p_low = b.fma(inner, q, last - p) + b.fma(q, inner_low, t.low[1])
    p_low = b.fma(q_low, b.fma(q, second, inner), p_low)
    out, low = _product(p, inverse)
    low = b.fma(p_low, inverse, low)
    if times is not None:
        scaled, scaled_low = out, low
        out, low = _product(scaled, times)
        low = b.fma(scaled_low, times, low)
    low = b.fma(out, lost * b.fma(q, t.slope[1], t.slope[0]), low)
    growth, power = _gaussian(y, t.factor)
    return (out + b.fma(out, growth, b.fma(low, growth, low))) * power * 2.0**-64  # rounds once, where it is denormal


def erfc_single(x: Value) -> Value:
    """1 - erf(x) of float32, without cancellation; below 2 units."""
    out = _tail(absolute(x), _ERFC)
    return x.b.select(x < 0.0, 2.0 - out, out)


def ndtr_single(x: Value) -> Value:
    """Distribution function of the normal distribution, of float32; below 2 units."""
    out = _tail(absolute(x), _NDTR)
    return x.b.select(x < 0.0, out, 1.0 - out)


def gelu_single(x: Value) -> Value:
    """x ndtr(x) of float32; below 2 units."""
    a = at_most(15.0, absolute(x))
    return x.b.select(x < 0.0, x * 0.0, x) - _tail(a, _NDTR, a)  # NaN at -inf


def gelu_slope_single(x: Value) -> Value:
    """The derivative of x ndtr(x), of float32: ndtr(x) + x exp(-x**2 / 2) / sqrt(2 pi), one exponential for both."""
    b, a, t = x.b, at_most(13.0, absolute(x)), _NDTR
    inverse = 1.0 / (a + t.k)
    q = b.fma(inverse, -2.0 * t.k, 1.0)
    growth, power = _gaussian(a, t.factor)
    out = b.fma(a, -_NORMAL_TOP, polynomial(q, t.coefficients) * inverse)
    out = b.fma(out, growth, out) * power * 2.0**-64
    return b.select(x < 0.0, out, 1.0 - out)


def gelu_tanh_single(x: Value) -> Value:
    """`ops.gates.GeluTanh` of float32: what goes into the exponential counts a hundred times, so it is float64."""
    b = x.b
    a = b.cast(at_most(12.0, absolute(x)), "f64")
    t = -a * b.fma(a * a, TANH_CUBIC, TANH_LINEAR)
    n, _ = multiple(t, F64.log2e[0])
    return gated(x, b.cast(b.fma(n, -F64.ln2[0], t), "f32"), b.cast(n, "f32"))


def gelu_tanh_slope_single(x: Value) -> Value:
    """The derivative of `gelu_tanh_single`, of float32."""
    b, x = x.b, at_most(16.0, at_least(-16.0, x))
    z = x * x
    share = sigmoid(x * b.fma(z, TANH_CUBIC, TANH_LINEAR))
    return b.fma(x * (share * (1.0 - share)), b.fma(z, 3.0 * TANH_CUBIC, TANH_LINEAR), share)


# -- division with remainder -----------------------------------------------------------------


@widened
def fmod(x: Value, y: Value) -> Value:
    """x - y trunc(x / y), exactly; NaN where y is 0 or x infinite.

    By a rounded quotient where that is small: then fma subtracts exactly, and the quotient is right or 1 too large.
    A vector with another element goes through the instruction, which calls C's fmod for each.
    """
    b, f = x.b, FORMATS[x.type.kind]
    a, c = absolute(x), absolute(y)
    quotient = a / c
    # The lower bound keeps products and remainders away from denormals, where fma is not exact.
    easy = (quotient < 2.0 ** (f.digits - 2)) & (c > 2.0 ** (2 * f.digits - f.bias)) & (c < exact.inf)
    rest = b.fma(-b.unary("trunc", quotient), c, a)
    out = b.var(copysign(b.select(rest < 0.0, rest + c, rest), x))
    with b.when(b.any(~easy)):
        out.set(b.binary("rem", x, y))
    return out.get()


@widened
def remainder(x: Value, y: Value) -> Value:
    """x - y floor(x / y): `fmod` brought to the sign of y, with NumPy's signs of zeros."""
    b = x.b
    rest = fmod(x, y)
    other = (rest < 0.0) ^ (y < 0.0)
    return b.select(rest == 0.0, copysign(b.const(0.0, x.type), y), b.select(other, rest + y, rest))


@widened
def floor_divide(x: Value, y: Value) -> Value:
    """floor(x / y) by way of the exact remainder, as NumPy does; x / y where y is 0."""
    b = x.b
    rest = fmod(x, y)
    quotient = (x - rest) / y
    other = (rest != 0.0) & ((rest < 0.0) ^ (y < 0.0))
    quotient = b.select(other, quotient - 1.0, quotient)
    down = b.unary("floor", quotient)
    down = b.select(quotient - down > 0.5, down + 1.0, down)
    zero = copysign(b.const(0.0, x.type), x / y)
    return b.select(y == 0.0, x / y, b.select(quotient == 0.0, zero, down))

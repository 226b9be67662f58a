"""Sine, cosine, tangent and their inverses, vectorised; conventions and sources are those of `math`.

Arguments of sine, cosine and tangent are reduced by three-part Cody-Waite constants, exactly enough up to
`_HUGE`; a vector with a larger element takes a branch to `reduce_huge`, which multiplies by as many digits of 2/pi
as it takes (Payne and Hanek, "Radian reduction for trigonometric functions", SIGNUM Newsletter 18, 1983).
"""

from __future__ import annotations

import functools
import math as exact
from typing import NamedTuple

from .loop import I64, Builder, Function, Type, Value, pointer
from .math import FORMATS, absolute, copysign, in_double, log1p, multiple, polynomial, widened

_HALF_PI = {
    "f32": (1.5707964, -4.371139e-08, -1.7151245e-15),
    "f64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
_HUGE = {"f32": 1e5, "f64": 1e9}
_SIN = {
    "f32": (-0.00019514632, 0.008332156, -0.16666655),
    "f64": (1.589590462536406e-10, -2.5050742305936033e-08, 2.755731358760736e-06, -0.00019841269829495465,
            0.008333333333322005, -0.1666666666666663),
}  # fmt: skip
_COS = {
    "f32": (2.443773e-05, -0.0013887362, 0.041666646),
    "f64": (-1.1359448610644068e-11, 2.087571955732509e-09, -2.7557314326020174e-07, 2.480158728939489e-05,
            -0.001388888888887399, 0.0416666666666666),
}  # fmt: skip
_ASIN = {
    "f32": (0.04217823, 0.024172952, 0.04547161, 0.074952886, 0.16666752),
    "f64": (0.03193496951025663, -0.016256805978612395, 0.019548637551473652, 0.006520672963981009,
            0.012170865657845774, 0.01388498909297102, 0.017359729106744853, 0.022371756479164756,
            0.03038195920053755, 0.04464285682683935, 0.07500000000338747, 0.16666666666665403),
}  # fmt: skip
_ATAN = {
    "f32": (-0.0017936303, 0.010914648, -0.031177932, 0.057957686, -0.08403456, 0.10952188, -0.14264242, 0.19998549,
            -0.333333),
    "f64": (1.322506307280026e-05, -0.0001521607348633293, 0.000831321220777872, -0.0028849166245262965,
            0.007196499560605866, -0.013900554950600634, 0.02198484798230538, -0.029903854296474505,
            0.03664190843913673, -0.04219178845599739, 0.047223221806986175, -0.05253518544651575,
            0.05880527813537777, -0.06666404057580201, 0.07692279839324044, -0.09090907002997471,
            0.11111111007026736, -0.14285714282575138, 0.19999999999951462, -0.3333333333333307),
}  # fmt: skip

# The digits of 2/pi behind the point, in words of 32 bits: as many as the largest float64 needs.
_TWO_OVER_PI = (
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921c"
    "fe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d08"
    "56033046fc7b6bab"
)
_ZEROS = 2  # words of zeros before the point
_LIMBS = 6  # of 32 bits: a product modulo 4 and its first 190 binary places


# -- reduction of huge arguments -------------------------------------------------------------


@functools.cache
def reduce_huge() -> Function:
    """The function ``(x, r, low, q, n)``: x[i] = pi/2 (q[i] + 4 k) + r[i] + low[i] for an integer k, |r| <= pi/4.

    For abs(x) >= 1e5, and nothing of use for smaller ones; an infinity gives NaN.
    """
    b = Builder("wengert_reduce_huge", x=pointer("f64"), r=pointer("f64"), low=pointer("f64"), q=pointer("i64"), n=I64)
    digits = [0] * _ZEROS + [int(_TWO_OVER_PI[i : i + 8], 16) for i in range(0, len(_TWO_OVER_PI), 8)]
    table = b.array("u64", len(digits))
    for i, word in enumerate(digits):
        b.store(table, i, b.const(word, Type("u64")))
    with b.loop(0, b.n) as i:
        x = b.load(b.x, i)
        bits = b.bitcast(x, "i64")
        exponent = ((bits >> 52) & 0x7FF) - 1075
        significand = b.bitcast((bits & ((1 << 52) - 1)) | (1 << 52), "u64")
        window = _window(table, b.binary("max", exponent - 2 + 32 * _ZEROS, 0))  # small ones need no digits
        high, middle = _product(significand, window)
        q, r, low = _radians(high, middle)
        negative = bits < 0
        nothing = x - x
        b.store(b.r, i, b.select(negative, -r, r) + nothing)
        b.store(b.low, i, b.select(negative, -low, low))
        b.store(b.q, i, b.select(negative, -q, q))
    return b.finish()


def _window(table: Value, start: Value) -> list[Value]:
    """Words of 32 bits from a bit on, the lowest first."""
    b = table.b
    word, shift = start >> 5, b.cast(32 - (start & 31), "u64")
    words = [b.load(table, word + i) for i in range(_LIMBS + 1)]
    return [(((words[i] << 32) | words[i + 1]) >> shift) & 0xFFFFFFFF for i in reversed(range(_LIMBS))]


def _product(m: Value, window: list[Value]) -> tuple[Value, Value]:
    """The upper two of the three 64-bit words of ``m * window`` modulo 2**192."""
    b = m.b
    out = [b.const(0, m.type)] * _LIMBS
    for position, factor in enumerate((m & 0xFFFFFFFF, m >> 32)):
        carry = b.const(0, m.type)
        for i in range(position, _LIMBS):
            t = window[i - position] * factor + (out[i] + carry)
            out[i], carry = t & 0xFFFFFFFF, t >> 32
    return (out[5] << 32) | out[4], (out[3] << 32) | out[2]


def _radians(high: Value, middle: Value) -> tuple[Value, Value, Value]:
    """The nearest quarter turn, and the angle that is left, of a fraction with 62 + 64 places."""
    b = high.b
    fraction = b.bitcast((high << 2) | (middle >> 62), "i64")  # as a signed number: what is left, in quarter turns
    rest = middle << 2
    q = b.bitcast(high >> 62, "i64") + b.select(fraction < 0, b.const(1, I64), b.const(0, I64))
    scale = 2.0**-64
    a = b.cast(fraction, "f64")
    tail = b.fma(b.cast(rest, "f64"), scale, b.cast(fraction - b.cast(a, "i64"), "f64"))
    a, tail = a * scale, tail * scale
    first, second, _ = _HALF_PI["f64"]
    p = a * first
    e = b.fma(a, first, -p) + (a * second + tail * first)
    r = p + e
    return q, r, (p - r) + e


# -- sine, cosine, tangent -------------------------------------------------------------------


def _quarter_turns(x: Value) -> tuple[Value, Value, Value]:
    """``q``, ``r`` and ``low``: x = pi/2 (q + 4 k) + r + low."""
    b, kind, f = x.b, x.type.kind, FORMATS[x.type.kind]
    m, q = multiple(x, 2 / exact.pi)
    first, second, third = _HALF_PI[kind]
    t = b.fma(m, -first, x)  # exact
    p = m * -second
    r = t + p
    s = r - t
    lost = (t - (r - s)) + (p - s)  # Knuth's sum: r + lost is t + p
    low = b.fma(m, -third, lost + b.fma(m, -second, -p))
    huge = ~(absolute(x) < _HUGE[kind])
    variables = [b.var(v) for v in (q, r, low)]
    with b.when(b.any(huge)):
        arrays = [b.array(k, x.lanes) for k in ("f64", "f64", "f64", "i64")]
        b.store(arrays[0], 0, b.cast(x, "f64"))
        b.call(reduce_huge(), *arrays, x.lanes)
        wide, rest, turns = (b.load(a, 0, lanes=x.lanes) for a in arrays[1:])
        near = b.cast(wide, kind)
        slow = (b.cast(turns, f.integer), near, b.cast(rest + (wide - b.cast(near, "f64")), kind))
        for v, usual, other in zip(variables, (q, r, low), slow, strict=True):
            v.set(b.select(huge, other, usual))
    q, r, low = (v.get() for v in variables)
    return q, r, low


class _Pair(NamedTuple):
    """A number, and what rounding took from it."""

    value: Value
    low: Value


def _sine_cosine(x: Value) -> tuple[Value, _Pair, _Pair]:
    """Quarter turns, and sine and cosine of what is left."""
    b, kind = x.b, x.type.kind
    q, r, low = _quarter_turns(x)
    z = r * r
    more = b.fma(r * z, polynomial(z, _SIN[kind]), low)
    sine = r + more
    half = z * 0.5
    w = 1.0 - half
    rest = b.fma(z * z, polynomial(z, _COS[kind]), b.fma(-r, low, (1.0 - w) - half))
    cosine = w + rest
    return q, _Pair(sine, (r - sine) + more), _Pair(cosine, (w - cosine) + rest)


def _turned(q: Value, even: Value, odd: Value) -> Value:
    """One of two numbers by the parity of ``q``; negative where bit 1 of it is set."""
    b, f, kind = q.b, FORMATS[even.type.kind], even.type.kind
    out = b.select((q & 1) == 0, even, odd)
    shift = {"i32": 30, "i64": 62}[f.integer]
    return b.bitcast(b.bitcast(out, f.integer) ^ ((q & 2) << shift), kind)


@widened
def sin(x: Value) -> Value:
    """Sine of an angle in radians."""
    b = x.b
    q, sine, cosine = _sine_cosine(x)
    return b.select(absolute(x) < 2.0**-30, x, _turned(q, sine.value, cosine.value))  # keeps -0 and denormals


@widened
def cos(x: Value) -> Value:
    """Cosine of an angle in radians."""
    q, sine, cosine = _sine_cosine(x)
    return _turned(q + 1, sine.value, cosine.value)


@widened
def tan(x: Value) -> Value:
    """Tangent of an angle in radians."""
    b = x.b
    q, sine, cosine = _sine_cosine(x)
    even = (q & 1) == 0
    above = [b.select(even, s, -c) for s, c in zip(sine, cosine, strict=True)]
    below = [b.select(even, c, s) for s, c in zip(sine, cosine, strict=True)]
    inverse = 1.0 / below[0]
    out = above[0] * inverse
    rest = b.fma(-out, below[0], above[0]) + b.fma(-out, below[1], above[1])
    return b.select(absolute(x) < 2.0**-30, x, b.fma(rest, inverse, out))


# -- inverses --------------------------------------------------------------------------------


def _arc_parts(x: Value) -> tuple[Value, Value, Value]:
    """Whether abs(x) > 1/2; then s with asin = pi/2 - 2 s - 2 rest, else s + rest; and the rest."""
    b, a = x.b, absolute(x)
    large = a > 0.5
    z = b.select(large, b.fma(a, -0.5, 0.5), a * a)
    s = b.select(large, b.unary("sqrt", z), a)
    return large, s, s * z * polynomial(z, _ASIN[x.type.kind])


@widened
def asin(x: Value) -> Value:
    """Arc sine; NaN outside [-1, 1]."""
    b = x.b
    large, s, rest = _arc_parts(x)
    first, second, _ = _HALF_PI[x.type.kind]
    out = b.select(large, first - (b.fma(rest, 2.0, -second) + (s + s)), s + rest)
    return copysign(out, x)


@widened
def acos(x: Value) -> Value:
    """Arc cosine; NaN outside [-1, 1]."""
    b = x.b
    large, s, rest = _arc_parts(x)
    first, second, _ = _HALF_PI[x.type.kind]
    negative = x < 0.0
    signed_s, signed_rest = b.select(negative, -s, s), b.select(negative, -rest, rest)
    near = first - (signed_s + (signed_rest - second))
    far = b.fma(signed_rest, 2.0, signed_s + signed_s)
    turn = b.fma(signed_rest, 2.0, 2.0 * second) + (signed_s + signed_s) + 2.0 * first
    return b.select(large, b.select(negative, turn, far), near)


def _atan_near(q: Value) -> Value:
    """atan(q) - q for 0 <= q <= 1."""
    z = q * q
    return q * z * polynomial(z, _ATAN[q.type.kind])


@widened
def atan(x: Value) -> Value:
    """Arc tangent."""
    b, a = x.b, absolute(x)
    first, second, _ = _HALF_PI[x.type.kind]
    inverse = a > 1.0
    q = b.select(inverse, 1.0 / a, a)
    rest = _atan_near(q)
    out = b.select(inverse, first - (q + (rest - second)), q + rest)
    return copysign(out, x)


@widened
def atan2(y: Value, x: Value) -> Value:
    """The angle of the point (x, y), from -pi to pi, by the signs of zeros too."""
    b, ax, ay = x.b, absolute(x), absolute(y)
    first, second, _ = _HALF_PI[x.type.kind]
    steep = ay > ax
    small, large = b.select(steep, ax, ay), b.select(steep, ay, ax)
    q = small / large
    q = b.select(ax == ay, b.select(ax == 0.0, b.const(0.0, x.type), b.const(1.0, x.type)), q)
    rest = _atan_near(q)
    out = b.select(steep, first - (q + (rest - second)), q + rest)
    negative = _is_negative(x)
    out = b.select(negative, 2.0 * first - (out - 2.0 * second), out)
    return b.select((x != x) | (y != y), x + y, copysign(out, y))


def _is_negative(x: Value) -> Value:
    """Whether the sign bit is set."""
    return x.b.bitcast(x, FORMATS[x.type.kind].integer) < 0


# -- inverse hyperbolic functions ------------------------------------------------------------


@in_double
def asinh(x: Value) -> Value:
    """Inverse hyperbolic sine; float64 below 2.5 units."""
    b, a = x.b, absolute(x)
    huge = a > 2.0**60
    square = a * a
    out = a + square / (b.unary("sqrt", square + 1.0) + 1.0)
    out = log1p(b.select(huge, a, out)) + b.select(huge, b.const(exact.log(2.0), x.type), b.const(0.0, x.type))
    return copysign(b.select(a < 2.0**-30, a, out), x)


@in_double
def acosh(x: Value) -> Value:
    """Inverse hyperbolic cosine; NaN below 1."""
    b = x.b
    huge = x > 2.0**60
    t = x - 1.0
    out = t + b.unary("sqrt", b.fma(t, t, t + t))
    out = b.select(t < 0.0, b.const(exact.nan, x.type), out)
    return log1p(b.select(huge, x, out)) + b.select(huge, b.const(exact.log(2.0), x.type), b.const(0.0, x.type))


@in_double
def atanh(x: Value) -> Value:
    """Inverse hyperbolic tangent; float64 below 2.5 units."""
    b, a = x.b, absolute(x)
    rest = 1.0 - a
    t = b.select(a < 0.5, b.fma(a + a, a / rest, a + a), (a + a) / rest)
    return copysign(b.select(a < 2.0**-30, a, 0.5 * log1p(t)), x)

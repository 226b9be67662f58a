"""Exponentials, logarithms and hyperbolic functions, vectorised: sequences of loop IR instructions without branches.

Each function takes a float `Value` of any number of lanes. float32 and float64 are computed in their own precision
(`in_double`: float32 in float64), float16 and bfloat16 in float32 and rounded once. Signed zeros, infinities, NaN
and denormals give what C99 and NumPy say. Errors are bounded in tests/codegen/test_math.py: below 1.8 units in the last
place where a function does not say otherwise.

The method is the usual one: reduce the argument with exact or nearly exact steps (Cody and Waite), evaluate a minimax
polynomial (tools/minimax.py made the coefficients), put the exponent back by integer arithmetic.
Source: Muller et al., "Handbook of Floating-Point Arithmetic", 2nd ed., 2018; Cody and Waite, "Software Manual for the
Elementary Functions", 1980.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .loop import Value


class Format(NamedTuple):
    """What the functions must know of a floating-point format."""

    integer: str
    digits: int  # stored bits of the significand
    bias: int
    round_number: float  # adding and subtracting this rounds to an integer, which stands in the low bits meanwhile
    ln2: tuple[float, float]
    log2e: tuple[float, float]
    log10e: tuple[float, float]
    log10_2: tuple[float, float]
    exp_range: tuple[float, float]  # beyond these exp is 0 and inf
    exp: tuple[float, ...]  # (e**r - 1 - r) / r**2
    log: tuple[float, ...]  # (log(1 + f) - f + f**2 / 2) / f**3
    sinh: tuple[float, ...]  # (sinh(x) / x - 1) / x**2 of x**2
    tanh: tuple[tuple[float, ...], tuple[float, ...]]  # (1 - tanh(x) / x) / z for z = x**2, as a fraction
    odd: tuple[float, ...]  # r / tanh(r) is (1 + even z) / (1 + odd z) for z = r**2
    even: tuple[float, ...]


F32 = Format(
    "i32", 23, 127, 1.5 * 2**23,
    (0.6931472, -1.9046542e-09),
    (1.442695, 1.925963e-08),
    (0.4342945, -1.010305e-08),
    (0.30103, -1.4320989e-08),
    (-104.0, 89.0),
    (0.0013814467, 0.008368781, 0.041668393, 0.1666652, 0.49999994),
    (-0.07635652, 0.12763324, -0.13160583, 0.14201553, -0.16623299, 0.20001233, -0.25000823, 0.3333333),
    (2.8169513e-06, 0.0001983616, 0.00833335, 0.16666667),
    ((14 / 15, 21.0), (1.0, 28.0, 63.0)),  # Lambert's continued fraction
    (), (-0.022127764, 0.33333236),
)  # fmt: skip
F64 = Format(
    "i64", 52, 1023, 1.5 * 2**52,
    (0.6931471805599453, 2.3190468138462996e-17),
    (1.4426950408889634, 2.0355273740931033e-17),
    (0.4342944819032518, 1.098319650216765e-17),
    (0.3010299956639812, -2.8037281277851704e-18),
    (-746.0, 710.0),
    (2.4999962752161227e-08, 2.7630378614888184e-07, 2.7557587350023017e-06, 2.4801492762837084e-05,
     0.00019841269504757152, 0.0013888888943922556, 0.008333333333495627, 0.04166666666652919, 0.1666666666666641,
     0.5000000000000011),
    (-0.024285177858434058, 0.056989193826858756, -0.06276269221152464, 0.05415682005085922, -0.05326297676227029,
     0.05817723592744062, -0.0626987002558969, 0.06675165128772212, -0.07141995148185949, 0.0769171275246427,
     -0.08333345943011594, 0.09090933597207622, -0.10000000380227701, 0.11111110513331039, -0.12499999982020805,
     0.1428571429388496, -0.1666666666691489, 0.19999999999945803, -0.24999999999998918, 0.33333333333333454),
    (7.758748816870638e-13, 1.6057259768331725e-10, 2.505212313672566e-08, 2.755731915707188e-06,
     0.00019841269841431873, 0.008333333333333148, 0.16666666666666669),
    ((0.964399179425052238628, 99.2877231001918586564, 1614.68768441708447952),  # Moshier's, of [0, 0.625]
     (1.0, 112.811678491632931402, 2235.48839060100448583, 4844.06305325125486048)),
    (0.0020188350891969693, 0.12119776308297678),
    (9.606352164437263e-05, 0.02019586722797473, 0.45453109641631007),
)  # fmt: skip
FORMATS = {"f32": F32, "f64": F64}
_ROUND_BITS = {"i32": 0x4B400000, "i64": 0x4338000000000000}  # the bits of round_number


def widened(f: Callable[..., Value]) -> Callable[..., Value]:
    """Compute float16 and bfloat16 in float32, and round once."""

    @functools.wraps(f)
    def wide(*xs: Value) -> Value:
        kind = xs[0].type.kind
        if kind in FORMATS:
            return f(*xs)
        assert kind in ("f16", "bf16"), f"{f.__name__} of {kind}"
        b = xs[0].b
        return b.cast(f(*[b.cast(x, "f32") for x in xs]), kind)

    return wide


def in_double(f: Callable[..., Value]) -> Callable[..., Value]:
    """Compute everything in float64, and round once."""

    @functools.wraps(f)
    def double(*xs: Value) -> Value:
        kind = xs[0].type.kind
        b = xs[0].b
        return b.cast(f(*[b.cast(x, "f64") for x in xs]), kind)

    return double


# -- parts -----------------------------------------------------------------------------------


def polynomial(x: Value, coefficients: Sequence[float], first: Any = None) -> Value:
    """Horner's scheme, highest power first; ``first`` starts it as if it stood before the coefficients."""
    b = x.b
    out: Any = coefficients[0] if first is None else b.fma(first, x, coefficients[0])
    for c in coefficients[1:]:
        out = b.fma(out, x, c)
    return b.lift(out, x.type)


def at_most(bound: float, x: Value) -> Value:
    """The smaller of the two; NaN stays."""
    return x.b.binary("min", x.b.const(bound, x.type), x)


def at_least(bound: float, x: Value) -> Value:
    """The larger of the two; NaN stays."""
    return x.b.binary("max", x.b.const(bound, x.type), x)


def absolute(x: Value) -> Value:
    """The number without its sign bit."""
    return x.b.unary("abs", x)


def copysign(x: Any, y: Value) -> Value:
    """``x`` with the sign bit of ``y``."""
    return y.b.binary("copysign", x, y)


def nearest(x: Value) -> tuple[Value, Value]:
    """The nearest integer of a small number, as a float and as an integer of the same width."""
    return _split_nearest(x.b.binary("add", x, FORMATS[x.type.kind].round_number))


def multiple(x: Value, factor: float) -> tuple[Value, Value]:
    """The integer nearest to ``factor * x``, as a float and as an integer; it is small."""
    return _split_nearest(x.b.fma(x, factor, FORMATS[x.type.kind].round_number))


def _split_nearest(shifted: Value) -> tuple[Value, Value]:
    b, f = shifted.b, FORMATS[shifted.type.kind]
    return shifted - f.round_number, b.bitcast(shifted, f.integer) - _ROUND_BITS[f.integer]


def power_of_two(n: Value) -> Value:
    """``2**n`` for integers whose result is a normal number."""
    kind = "f32" if n.type.kind == "i32" else "f64"
    f = FORMATS[kind]
    return n.b.bitcast((n + f.bias) << f.digits, kind)


# -- exponentials ----------------------------------------------------------------------------


def _reduce(x: Value) -> tuple[Value, Value, Value]:
    """``r`` and ``n`` of x = n log(2) + r, with abs(r) <= log(2) / 2; ``n`` as a float and as an integer."""
    b, f = x.b, FORMATS[x.type.kind]
    m, n = multiple(x, f.log2e[0])
    r = b.fma(m, -f.ln2[0], x)
    return b.fma(m, -f.ln2[1], r), m, n


def expm1_near(r: Value) -> Value:
    """exp(r) - 1 for abs(r) <= log(2) / 2; in float64 even and odd powers apart: half as long a chain of operations."""
    b, c, z = r.b, FORMATS[r.type.kind].exp, r * r
    if r.type.kind == "f32":
        return b.fma(z, polynomial(r, c), r)
    return b.fma(z, b.fma(r, polynomial(z, c[-2::-2][::-1]), polynomial(z, c[-1::-2][::-1])), r)


@widened
def exp(x: Value) -> Value:
    """e ** x."""
    b = x.b
    low, high = FORMATS[x.type.kind].exp_range
    r, n, _ = _reduce(at_most(high, x))
    # Processors take a hundred cycles to round a result away, and a softmax's mask makes many of them: choose 0. Said
    # this way round, the choice is part of the instruction that scales, which then leaves such lanes out.
    return b.select(~(x < low), b.ldexp(expm1_near(r) + 1.0, n), 0.0)


@widened
def exp2(x: Value) -> Value:
    """2 ** x; exact for integers."""
    b, f = x.b, FORMATS[x.type.kind]
    x = at_least(-f.bias - f.digits - 2.0, at_most(f.bias + 1.0, x))
    n, _ = nearest(x)
    r = x - n
    r = b.fma(r, f.ln2[0], r * f.ln2[1])
    return b.ldexp(expm1_near(r) + 1.0, n)


def _expm1_small(x: Value) -> Value:
    """exp(x) - 1 where exp(x) neither overflows nor vanishes beside 1 by far."""
    b = x.b
    r, _, n = _reduce(x)
    half = power_of_two(n - 1)  # half of 2**n: n may be one more than there is a power of two for
    out = b.fma(half, expm1_near(r), half - 0.5)
    tiny = absolute(x) < 2.0 ** -(FORMATS[x.type.kind].digits + 2)
    return b.select(tiny, x, out + out)


@widened
def expm1(x: Value) -> Value:
    """exp(x) - 1, exact near 0."""
    f = FORMATS[x.type.kind]
    return _expm1_small(at_least(-0.75 * (f.digits + 2), at_most(f.exp_range[1], x)))


@widened
def sigmoid(x: Value) -> Value:
    """1 / (1 + exp(-x)), also where it is denormal; below 2 units in float32, 2.5 in float64."""
    b = x.b
    low, _ = FORMATS[x.type.kind].exp_range
    y = at_least(low, -absolute(x))
    if x.type.kind == "f64":
        p, q, n, _ = _fraction(y, 1.0, exact=True)
        z = b.ldexp(p, n)
        return b.select(x >= 0.0, q, z) / (q + z)
    r, n, _ = _reduce(y)
    z = b.ldexp(expm1_near(r) + 1.0, n)
    d = z + 1.0
    out = b.select(x >= 0.0, 1.0, z) / d
    lost = (1.0 - d) + z
    return b.fma(out * lost, out - 1.0, out)  # below 0, 1 - out is 1 / d


def gated(x: Value, r: Value, n: Value) -> Value:
    """x / (1 + exp(-t)) for a t with the sign of x, given exp(-abs(t)) as 2**n exp(r); below 2 units.

    Where values end in ``low`` they are what rounding took from the value of that name.
    """
    b, f = x.b, FORMATS[x.type.kind]
    growth = expm1_near(r)
    s = growth + 1.0
    s_low = (1.0 - s) + growth
    z = b.ldexp(s, n)
    d = z + 1.0
    d_low = (1.0 - d) + z
    below, y = x < 0.0, at_least(f.exp_range[0] - 10.0, x)  # no product of it overflows
    top = b.select(below, y * s, x)
    top_low = b.select(below, b.fma(x, 0.0, b.fma(y, s_low, b.fma(y, s, -top))), 0.0)  # NaN at -inf
    inverse = 1.0 / d
    out = top * inverse
    lost = b.fma(-out, d_low, b.fma(-out, d, top) + top_low)
    out = b.ldexp(b.fma(lost, inverse, out), b.select(below, n, 0.0))
    return b.select((x > 0.75 * (f.digits + 2)) | (x == 0.0), x, out)  # infinity stays, and -0


@widened
def silu(x: Value) -> Value:
    """x / (1 + exp(-x)); NaN at -inf, as the product with sigmoid is."""
    r, n, _ = _reduce(at_least(FORMATS[x.type.kind].exp_range[0] - 10.0, -absolute(x)))
    return gated(x, r, n)


def _fraction(x: Value, times: float, exact: bool = False) -> tuple[Value, Value, Value, Value]:
    """e ** (times * x) as 2**n p / q: ``p``, ``q``, ``n`` as a float and as an integer; p and q are about 2 / times.

    For what divides anyway: its chain of operations is short. What a step of the reduction leaves out, the last places
    of ``r``, counts in the odd part alone where abs(x) is at most 25; ``exact`` if it may be more. ``times``: 1 or 2.
    Source: Moshier, "Methods and Programs for Mathematical Functions", 1989.
    """
    b, f, u = x.b, FORMATS[x.type.kind], times / 2
    m, n = multiple(x, times * f.log2e[0])
    r = b.fma(m, -f.ln2[0] / times, x)
    rest = b.fma(m, -f.ln2[1] / times, r)
    r = rest if exact else r
    z = r * r
    # The coefficients are those for times = 2, scaled by powers of two.
    odds = [c * u ** (2 * k) for k, c in zip(range(len(f.odd), 0, -1), f.odd, strict=True)]
    evens = [c * u ** (2 * k - 1) for k, c in zip(range(len(f.even), 0, -1), f.even, strict=True)]
    odd = b.fma(r * z, polynomial(z, odds), rest) if odds else rest
    even = b.fma(z * z, polynomial(z, evens[:-1]), b.fma(z, evens[-1], 1.0 / u))
    return even + odd, even - odd, m, n


@widened
def tanh(x: Value) -> Value:
    """Hyperbolic tangent; below 2 units.

    x - x z P(z) / Q(z) with z = x**2 where x is small, 1 - 2 / (e ** 2x + 1) elsewhere: one division for both.
    """
    b, a, f = x.b, absolute(x), FORMATS[x.type.kind]
    z = x * x
    p, q, _, n = _fraction(at_most(0.375 * (f.digits + 2), a), 2.0)  # where n is large, the last places are lost in 1
    near = a < 0.6
    over = b.select(near, a * z * polynomial(z, f.tanh[0]), q + q)
    under = b.select(near, polynomial(z, f.tanh[1]), b.fma(power_of_two(n), p, q))
    return copysign(b.select(near, a, 1.0) - over / under, x)


def _half_exp(a: Value) -> Value:
    """exp(a) / 2 for a >= 0: does not overflow before sinh and cosh do."""
    r, n, _ = _reduce(at_most(FORMATS[a.type.kind].exp_range[1] + 1.0, a))
    return a.b.ldexp(expm1_near(r) + 1.0, n - 1.0)


@widened
def sinh(x: Value) -> Value:
    """Hyperbolic sine."""
    b, a = x.b, absolute(x)
    half, z = _half_exp(a), x * x
    near = b.fma(x * z, polynomial(z, FORMATS[x.type.kind].sinh), x)
    return b.select(a < 1.0, near, copysign(half - 0.25 / half, x))


@widened
def cosh(x: Value) -> Value:
    """Hyperbolic cosine."""
    half = _half_exp(absolute(x))
    return half + 0.25 / half


# -- logarithms ------------------------------------------------------------------------------


def split(x: Value) -> tuple[Value, Value]:
    """``m`` and the integer ``k`` of x = m 2**k with m in [sqrt(1/2), sqrt(2)), for positive finite normal x."""
    b, f, kind = x.b, FORMATS[x.type.kind], x.type.kind
    least = {"f32": 0x3F3504F3, "f64": 0x3FE6A09E667F3BCD}[kind]  # the bits of sqrt(1/2)
    bits = b.bitcast(x, f.integer) + ((f.bias << f.digits) - least)
    return b.bitcast((bits & ((1 << f.digits) - 1)) + least, kind), (bits >> f.digits) - f.bias


def to_float(n: Value) -> Value:
    """A small integer as a float."""
    if n.type.kind == "i32":
        return n.b.cast(n, "f32")
    return n.b.bitcast(n + _ROUND_BITS["i64"], "f64") - F64.round_number  # AVX2 has no instruction for it


def _log_near(f: Value, k: Value, base: str) -> Value:
    """log(1 + f) + k log(2), to base e, 2 or 10."""
    b, c = f.b, FORMATS[f.type.kind]
    rest = (f * f) * b.fma(f, polynomial(f, c.log), -0.5)
    if base == "e":
        return b.fma(k, c.ln2[0], f + b.fma(k, c.ln2[1], rest))
    factor = c.log2e if base == "2" else c.log10e
    rest = b.fma(f, factor[1], rest * factor[0])
    if base == "2":
        return k + b.fma(f, factor[0], rest)
    return b.fma(k, c.log10_2[0], b.fma(f, factor[0], b.fma(k, c.log10_2[1], rest)))


def _logarithm(x: Value, base: str) -> Value:
    b, f = x.b, FORMATS[x.type.kind]
    tiny = x < 2.0 ** (1 - f.bias)
    m, k = split(b.select(tiny, x * 2.0**f.digits, x))
    out = _log_near(m - 1.0, to_float(b.select(tiny, k - f.digits, k)), base)
    return _log_edges(x, out)


def _log_edges(x: Value, out: Value) -> Value:
    """inf and NaN as they are, -inf at zeros, NaN below."""
    b = x.b
    out = b.select(x < float("inf"), out, x)
    return b.select(x > 0.0, out, b.select(x == 0.0, float("-inf"), float("nan") * x))


@widened
def log(x: Value) -> Value:
    """Natural logarithm."""
    return _logarithm(x, "e")


@widened
def log2(x: Value) -> Value:
    """Logarithm to base 2; exact for powers of two."""
    return _logarithm(x, "2")


@widened
def log10(x: Value) -> Value:
    """Logarithm to base 10."""
    return _logarithm(x, "10")


@widened
def log1p(x: Value) -> Value:
    """log(1 + x), exact near 0."""
    b, f = x.b, FORMATS[x.type.kind]
    u = x + 1.0
    _, k = split(u)
    s = power_of_two(2 - k)  # 4 times 2**-k, which need not be normal
    out = _log_near(b.fma(x * 0.25, s, s * 0.25 - 1.0), to_float(k), "e")  # (1 + x) / 2**k - 1 without the error of u
    out = b.select(absolute(x) < 2.0 ** -(f.digits + 2), x, out)
    return _log_edges(u, out)

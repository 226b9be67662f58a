"""Integer arithmetic with NumPy's meaning: division that rounds down, powers, common divisors, shifts, next floats."""

from __future__ import annotations

from collections.abc import Callable

from .loop import BITS, Type, Value


def _safe_pair(x: Value, y: Value) -> tuple[Value, Value]:
    """The divisor without 0 and -1, which would trap (the least number by -1 does not fit), and where it was 0."""
    b = x.b
    zero = y == 0
    y = b.select(zero, b.const(1, y.type), y)
    return (b.select(y == -1, b.const(1, y.type), y) if y.type.is_signed else y), zero


def divide(x: Value, y: Value) -> Value:
    """The quotient rounded towards 0; 0 where y is 0, and it wraps around for the least number by -1."""
    b = x.b
    divisor, zero = _safe_pair(x, y)
    out = b.binary("div", x, divisor)
    if y.type.is_signed:
        out = b.select(y == -1, -x, out)
    return b.select(zero, b.const(0, x.type), out)


def fmod(x: Value, y: Value) -> Value:
    """The remainder with the sign of x; 0 where y is 0."""
    divisor, _ = _safe_pair(x, y)  # x modulo 1 is 0, as modulo -1
    return x.b.binary("rem", x, divisor)


def remainder(x: Value, y: Value) -> Value:
    """The remainder with the sign of y; 0 where y is 0."""
    rest = fmod(x, y)
    if not x.type.is_signed:
        return rest
    return x.b.select((rest != 0) & ((rest < 0) ^ (y < 0)), rest + y, rest)


def floor_divide(x: Value, y: Value) -> Value:
    """The quotient rounded down; 0 where y is 0."""
    out = divide(x, y)
    if not x.type.is_signed:
        return out
    rest = fmod(x, y)
    return x.b.select((rest != 0) & ((rest < 0) ^ (y < 0)), out - 1, out)


def power(x: Value, y: Value) -> Value:
    """x ** y by squaring; for negative exponents 1 and -1 as they are, others 0 (0 too)."""
    b = x.b
    one, zero = b.const(1, x.type), b.const(0, x.type)
    negative = y < 0 if y.type.is_signed else b.const(False, Type("i1", y.lanes))
    exponent = b.var(b.select(negative, y & 1, y))
    base, out = b.var(x), b.var(one)

    def step() -> None:
        e = exponent.get()
        out.set(b.select((e & 1) == 1, out.get() * base.get(), out.get()))
        base.set(base.get() * base.get())
        exponent.set(e >> 1)

    b.repeat(lambda: b.any(exponent.get() != 0), step)
    result = out.get()
    return b.select(negative & (x != 1) & (x != -1), zero, result) if y.type.is_signed else result


def gcd(x: Value, y: Value) -> Value:
    """The greatest common divisor by Euclid's algorithm, not negative."""
    b = x.b
    magnitude: Callable[[Value], Value] = (lambda v: b.unary("abs", v)) if x.type.is_signed else (lambda v: v)
    unsigned = f"u{BITS[x.type.kind]}"  # the least number has no positive counterpart
    first, second = (b.var(b.bitcast(magnitude(v), unsigned)) for v in (x, y))

    def step() -> None:
        p, q = first.get(), second.get()
        more = q != 0
        second.set(b.select(more, fmod(p, q), q))
        first.set(b.select(more, q, p))

    b.repeat(lambda: b.any(second.get() != 0), step)
    return b.bitcast(first.get(), x.type.kind)


def shift(op: str, x: Value, y: Value) -> Value:
    """Bits moved by y places; by too many, or by a negative number, nothing but the sign is left."""
    b, bits = x.b, BITS[x.type.kind]
    inside = y < bits
    if y.type.is_signed:
        inside = inside & (y >= 0)
    last = b.const(bits - 1, y.type)
    if op == "shr":
        out = b.binary(op, x, b.select(inside, y, last))
        return out if x.type.is_signed else b.select(inside, out, b.const(0, x.type))
    return b.select(inside, b.binary(op, x, b.select(inside, y, last)), b.const(0, x.type))


def nextafter(x: Value, y: Value) -> Value:
    """The float next to x in the direction of y; y if they are equal."""
    b, kind = x.b, f"i{BITS[x.type.kind]}"
    bits = b.bitcast(x, kind)
    away = (y > x) ^ (bits < 0)  # a larger magnitude is one more in the bits
    step = b.select(away, b.const(1, bits.type), b.const(-1, bits.type))
    out = b.bitcast(bits + step, x.type.kind)
    least = b.bitcast(b.const(1, bits.type), x.type.kind)
    out = b.select(x == 0, b.binary("copysign", least, y), out)
    return b.select(x == y, y, b.select((x != x) | (y != y), x + y, out))

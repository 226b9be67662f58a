"""Random draws in loop IR: the bits of `wengert.random.philox`, and the numbers that `ops.random` makes of them.

Bits and uniform numbers are those of eager mode exactly. Normal numbers come of the same bits, but logarithm, sine and
cosine may differ from NumPy's in the last place, so they may differ by a few units in the last place.
Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math as exact
from collections.abc import Sequence

from . import math, math_trig
from .loop import BITS, Builder, Type, Value

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = 0xFFFFFFFF
_DIGITS = {"f64": 53, "f32": 24, "f16": 11, "bf16": 8}  # random bits of a uniform number


def philox(b: Builder, seed: Value, offset: Value, block: Value) -> tuple[Value, Value, Value, Value]:
    """Four words (u32) for each block number; ``seed`` and ``offset`` are the key, all are 64-bit integers."""
    wide = Type("u64", block.lanes)
    seed, offset, block = (b.bitcast(x, "u64") for x in (seed, offset, block))
    c0, c1 = block & _LOW, block >> 32
    c2, c3 = b.lift(offset & _LOW, wide), b.lift(offset >> 32, wide)
    k0, k1 = seed & _LOW, seed >> 32
    for _ in range(_ROUNDS):
        # All are below 2**32, which LLVM sees: the products are single instructions.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ b.lift(k0, wide), p1 & _LOW, (p0 >> 32) ^ c3 ^ b.lift(k1, wide), p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return b.cast(c0, "u32"), b.cast(c1, "u32"), b.cast(c2, "u32"), b.cast(c3, "u32")


def elements_per_block(kind: str) -> int:
    """How many elements of a draw a block of four words makes: 4, or 2 of 64 bits."""
    return 2 if BITS[kind] == 64 else 4


def draw(b: Builder, name: str, kind: str, seed: Value, offset: Value, first: Value, lanes: int) -> Value:
    """Neighbouring elements of the draw ``name`` (an op: ``random_bits``, ``random_uniform``, ``random_normal``).

    ``first``, the index (i64) of the first one, and ``lanes`` are multiples of `elements_per_block`; ``lanes`` over
    it is a power of two. ``kind``: of the elements, ``u32`` or ``u64`` for bits.
    """
    each = elements_per_block(kind)
    blocks = lanes // each
    assert blocks * each == lanes, f"{lanes} lanes of {kind}"
    start = first // each
    block = b.splat(start, blocks) + b.iota(blocks) if blocks > 1 else start
    return _interleaved(_elements(name, kind, philox(b, seed, offset, block)))


def draw_at(b: Builder, name: str, kind: str, seed: Value, offset: Value, index: Value) -> Value:
    """Elements of a draw at any indices (i64): each lane computes its block, so this is slower than `draw`."""
    each = elements_per_block(kind)
    made = _elements(name, kind, philox(b, seed, offset, index // each))
    position = index & (each - 1)
    out = made[0]
    for i in range(1, each):
        out = b.select(position == i, made[i], out)
    return out


def _elements(name: str, kind: str, words: Sequence[Value]) -> list[Value]:
    """The elements of each block, the first, second, ... of all blocks together."""
    b = words[0].b
    if name == "random_bits":
        return _whole_words(words, kind)
    if name == "random_uniform":
        wide = "f64" if kind == "f64" else "f32"
        return [b.cast(u, kind) for u in _uniform(words, wide, _DIGITS[kind])]
    assert name == "random_normal", name
    wide = "f64" if kind == "f64" else "f32"
    u = _uniform(words, wide, _DIGITS[wide])
    out: list[Value] = []
    for first, second in zip(u[::2], u[1::2], strict=True):
        radius = b.unary("sqrt", math.log(1.0 - first) * -2.0)
        angle = second * (2 * exact.pi)
        out += [radius * math_trig.cos(angle), radius * math_trig.sin(angle)]
    return [b.cast(x, kind) for x in out]


def _whole_words(words: Sequence[Value], kind: str) -> list[Value]:
    if BITS[kind] == 32:
        return list(words)
    b = words[0].b
    high, low = [b.cast(w, "u64") for w in words[::2]], [b.cast(w, "u64") for w in words[1::2]]
    return [(h << 32) | w for h, w in zip(high, low, strict=True)]


def _uniform(words: Sequence[Value], wide: str, digits: int) -> list[Value]:
    """Numbers in [0, 1) of the upper bits."""
    bits = 64 if wide == "f64" else 32
    b, signed = words[0].b, f"i{bits}"  # signed numbers are converted by one instruction
    tops = [w >> (bits - digits) for w in _whole_words(words, f"u{bits}")]
    return [b.cast(b.bitcast(t, signed), wide) * 2.0**-digits for t in tops]


def _interleaved(parts: Sequence[Value]) -> Value:
    """Element i of part j at place i n + j, for n parts, a power of two."""
    if len(parts) == 1:
        return parts[0]
    even, odd = _interleaved(parts[::2]), _interleaved(parts[1::2])
    n = even.lanes
    return even.b.shuffle(even, odd, [i // 2 + i % 2 * n for i in range(2 * n)])

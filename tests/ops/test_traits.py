"""What elementwise ops say of themselves: one meaning in every handler, and traits that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wengert.ops.base import OPS, Elementwise
from wengert.ops.scalar import NUMPY, TEXT, Text

ELEMENTWISE = sorted(n for n, op in OPS.items() if isinstance(op, Elementwise))
ITERATED = ("gammainc", "gammaincc")  # a series and a continued fraction: no scalar formula


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n not in ITERATED] + ["where"])
@pytest.mark.slow
def test_scalar_means_the_same_in_every_handler(name):
    op = OPS[name]
    for sample in op.samples():
        text = op.scalar(TEXT, *(Text(f"x{i}") for i in range(len(sample.arrays))), **sample.attrs)
        assert isinstance(text, Text)
        assert all(f"x{i}" in text for i in range(len(sample.arrays)))
        if not any(a.dtype.kind == "c" for a in sample.arrays):
            with np.errstate(all="ignore"):
                got = op.scalar(NUMPY, *sample.arrays, **sample.attrs)
                want = op.numpy(*sample.arrays, **sample.attrs)
            np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-14)


GRID = np.concatenate([np.linspace(-3, 3, 61), np.linspace(-0.99, 0.99, 41), [0.0, 1.5, 30.0, -30.0]])
GRID.sort()
INTEGERS = np.array([-9, -4, -1, 0, 1, 2, 3, 5, 8, 12])


def points_for(op):
    """Numbers the op takes."""
    integer = (type(op).__module__.endswith("integer") and "bit" in op.name) or op.name == "gcd"
    return INTEGERS if integer else GRID


def run(op, *xs):
    with np.errstate(all="ignore"):
        return op.numpy(*xs)


def equal(a, b):
    return bool(np.allclose(np.asarray(a, float), np.asarray(b, float), 1e-12, 1e-12, equal_nan=True))


def in_one_direction(op, x):
    y = np.asarray(run(op, x), float)
    steps = np.diff(y[np.isfinite(y)])
    return 1 if (steps >= 0).all() else -1 if (steps <= 0).all() else 0


def pairs(op):
    """Operands of a binary op, none of which the op refuses."""
    x, y = np.meshgrid(points_for(op)[::3], points_for(op)[::4])
    if op.name in ("bitwise_left_shift", "bitwise_right_shift"):
        y = np.abs(y)
    return x.ravel(), y.ravel()


UNARY_TRAITS = {
    "odd": lambda op, x: equal(run(op, -x), -run(op, x)),
    "even": lambda op, x: equal(run(op, -x), run(op, x)),
    "monotone": lambda op, x: in_one_direction(op, x) != 0,
    "decreasing": lambda op, x: in_one_direction(op, x) == -1,
    "idempotent": lambda op, x: equal(run(op, run(op, x)), run(op, x)),
    "involution": lambda op, x: equal(run(op, run(op, x)), x),
    "preserves_zero": lambda op, x: run(op, np.zeros(1, x.dtype))[0] == 0,
}
BINARY_TRAITS = {
    "commutative": lambda op, x, y: equal(run(op, x, y), run(op, y, x)),
    "associative": lambda op, x, y: equal(run(op, run(op, x, y), x[::-1]), run(op, x, run(op, y, x[::-1]))),
    "idempotent": lambda op, x, y: equal(run(op, x, x), x),
    "preserves_zero": lambda op, x, y: run(op, np.zeros(1, x.dtype), np.zeros(1, x.dtype))[0] == 0,
}
CONSTANT_TRAITS = {
    "identity": lambda op, x, c: equal(run(op, x, c), x) and equal(run(op, c, x), x),
    "identity_right": lambda op, x, c: equal(run(op, x, c), x),
    "zero": lambda op, x, c: equal(run(op, x, c), c) and equal(run(op, c, x), c),
}


def holds(op, trait):
    """Whether a trait is true at the points."""
    kind, _, constant = trait.partition(":")
    x = points_for(op)
    if constant:
        if "inf" in constant:
            x = np.concatenate([[-math.inf], x, [math.inf]])
        return CONSTANT_TRAITS[kind](op, x, np.full(x.shape, float(constant)).astype(x.dtype))
    if arity(op) == 1:
        return UNARY_TRAITS[kind](op, x)
    return BINARY_TRAITS[kind](op, *pairs(op))


def arity(op):
    return len(next(iter(op.samples())).arrays)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if OPS[n].traits])
def test_traits_are_true(name):
    op = OPS[name]
    assert {t for t in op.traits if not holds(op, t)} == set()
    assert "decreasing" in op.traits or "monotone" not in op.traits or in_one_direction(op, points_for(op)) == 1


OWN = ("arithmetic", "compare", "unary", "integer")


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if type(OPS[n]).__module__.rpartition(".")[2] in OWN])
def test_traits_are_complete(name):
    op = OPS[name]
    if op.out_dtype is not None or name == "conj":  # a bool, or for real numbers nothing but themselves
        return
    known = UNARY_TRAITS if arity(op) == 1 else BINARY_TRAITS
    constants = ("0", "1", "-1") if points_for(op) is INTEGERS else ("0", "1", "-1", "inf", "-inf")
    found = {t for t in known if holds(op, t)}
    if name == "nextafter":  # to within the tolerance it is its first operand
        found -= {"associative", "idempotent"}
        constants = ()
    assert found == {t for t in op.traits if ":" not in t}
    if arity(op) == 2:
        found = {f"{k}:{c}" for k in CONSTANT_TRAITS for c in constants if holds(op, f"{k}:{c}")}
        found -= {f"identity_right:{c}" for c in constants if f"identity:{c}" in found}
        assert found == {t for t in op.traits if ":" in t}

"""Functions of one number: roots of the vocabulary, rounding, sigmoid and relu, parts of complex numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, message
from ..graph.aval import Aval, aval_of, describe
from .base import OPS, Elementwise, Linear, Opaque, Sample, conj, dtype_of, require_inexact, select, to_front
from .heavy import HEAVY, fused
from .testpoints import complexes, real

LN2, LN10 = math.log(2.0), math.log(10.0)


class Word(Elementwise):
    """One word of the scalar vocabulary, which NumPy offers under the same name.

    ``scale`` and ``shift`` bring normal numbers into the domain for the samples.
    """

    word: str
    scale, shift = 1.0, 0.0

    def __init_subclass__(cls) -> None:
        if "word" in cls.__dict__ and "ufunc" not in cls.__dict__:
            cls.ufunc = staticmethod(getattr(np, cls.word))
        super().__init_subclass__()

    def scalar(self, s: Any, x: Any) -> Any:
        return getattr(s, self.word)(x)

    def samples(self) -> Iterable[Sample]:
        for s in real(1):
            yield Sample(self._into(s.arrays[0]), label=s.label)
        yield Sample(complexes(3) * 0.3 * self.scale + self.shift, label="complex")

    def _into(self, x: Any) -> Any:
        """Real points inside the domain."""
        return x * self.scale + self.shift


class Bounded(Word):
    """A function of numbers between -1 and 1."""

    def _into(self, x: Any) -> Any:
        return np.tanh(x) * 0.9


class Positive(Word):
    """A function of positive numbers."""

    shift = 0.3

    def _into(self, x: Any) -> Any:
        return np.abs(x) + self.shift


class Sin(Word):
    """Sine of an angle in radians."""

    name = word = "sin"
    traits = frozenset({"odd", "preserves_zero"})
    partials = (lambda out, x: OPS["cos"](x),)


class Cos(Word):
    """Cosine of an angle in radians."""

    name = word = "cos"
    traits = frozenset({"even"})
    partials = (lambda out, x: -OPS["sin"](x),)


class Tan(Word):
    """Tangent of an angle in radians."""

    name = word = "tan"
    traits = frozenset({"odd", "preserves_zero"})
    partials = (lambda out, x: 1.0 + out * out,)
    scale = 0.5


class ArcSin(Bounded):
    """Arc sine; NaN outside [-1, 1]."""

    name, word = "asin", "arcsin"
    traits = frozenset({"odd", "monotone", "preserves_zero"})
    partials = (lambda out, x: 1.0 / OPS["sqrt"]((1.0 - x) * (1.0 + x)),)


class ArcCos(Bounded):
    """Arc cosine; NaN outside [-1, 1]."""

    name, word = "acos", "arccos"
    traits = frozenset({"monotone", "decreasing"})
    partials = (lambda out, x: -1.0 / OPS["sqrt"]((1.0 - x) * (1.0 + x)),)


class ArcTan(Word):
    """Arc tangent, in radians from -pi/2 to pi/2."""

    name, word = "atan", "arctan"
    traits = frozenset({"odd", "monotone", "preserves_zero"})
    partials = (lambda out, x: 1.0 / (1.0 + x * x),)


class Sinh(Word):
    """Hyperbolic sine, (exp(x) - exp(-x)) / 2."""

    name = word = "sinh"
    traits = frozenset({"odd", "monotone", "preserves_zero"})
    partials = (lambda out, x: OPS["cosh"](x),)


class Cosh(Word):
    """Hyperbolic cosine, (exp(x) + exp(-x)) / 2."""

    name = word = "cosh"
    traits = frozenset({"even"})
    partials = (lambda out, x: OPS["sinh"](x),)


class ArcSinh(Word):
    """Inverse hyperbolic sine."""

    name, word = "asinh", "arcsinh"
    traits = frozenset({"odd", "monotone", "preserves_zero"})
    partials = (lambda out, x: 1.0 / OPS["sqrt"](x * x + 1.0),)


class ArcCosh(Positive):
    """Inverse hyperbolic cosine; NaN below 1."""

    name, word = "acosh", "arccosh"
    traits = frozenset({"monotone"})
    # Two roots, not one of a product: on the complex plane only so the branch is the function's own.
    partials = (lambda out, x: 1.0 / (OPS["sqrt"](x - 1.0) * OPS["sqrt"](x + 1.0)),)
    shift = 1.3


class ArcTanh(Bounded):
    """Inverse hyperbolic tangent; infinite at -1 and 1, NaN outside."""

    name, word = "atanh", "arctanh"
    traits = frozenset({"odd", "monotone", "preserves_zero"})
    partials = (lambda out, x: 1.0 / ((1.0 - x) * (1.0 + x)),)


class Exp2(Word):
    """2 ** x."""

    name = word = "exp2"
    traits = frozenset({"monotone"})
    partials = (lambda out, x: out * LN2,)


class Expm1(Word):
    """exp(x) - 1, exact near 0."""

    name = word = "expm1"
    traits = frozenset({"monotone", "preserves_zero"})
    partials = (lambda out, x: OPS["exp"](x),)  # not out + 1, which is 0 far below 0


class Log1p(Positive):
    """log(1 + x), exact near 0; -inf at -1, NaN below."""

    name = word = "log1p"
    traits = frozenset({"monotone", "preserves_zero"})
    partials = (lambda out, x: 1.0 / (1.0 + x),)
    shift = -0.7


class Log2(Positive):
    """Logarithm to base 2."""

    name = word = "log2"
    traits = frozenset({"monotone"})
    partials = (lambda out, x: 1.0 / (x * LN2),)


class Log10(Positive):
    """Logarithm to base 10."""

    name = word = "log10"
    traits = frozenset({"monotone"})
    partials = (lambda out, x: 1.0 / (x * LN10),)


# -- steps -----------------------------------------------------------------------------------


class Step(Word):
    """A function that is constant between jumps: its derivative is 0. Integers stay as they are."""

    partials = (0.0,)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        if avals[0].dtype in dt.COMPLEX_NP:
            raise DTypeError(message(self.name, "complex numbers have no order", describe(avals)))
        return avals[0]

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([-1.5, -0.5, 0.5, 1.5, 2.5, 2.0, -0.0]), numeric=False, label="jumps")
        yield Sample(np.array([-3, 0, 7]), label="integers")


class Floor(Step):
    """The largest integer that is not above x."""

    name = word = "floor"
    traits = frozenset({"monotone", "idempotent", "preserves_zero"})


class Ceil(Step):
    """The smallest integer that is not below x."""

    name = word = "ceil"
    traits = frozenset({"monotone", "idempotent", "preserves_zero"})


class Trunc(Step):
    """The integer part, towards 0."""

    name = word = "trunc"
    traits = frozenset({"monotone", "odd", "idempotent", "preserves_zero"})


class Round(Step):
    """The nearest integer; halves go to the even one."""

    name, word = "round", "rint"
    traits = frozenset({"monotone", "odd", "idempotent", "preserves_zero"})

    ufunc = None

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x = xs[0]
        if x.dtype in dt.COMPLEX_NP:
            self.infer(aval_of(x))
        return np.rint(x) if x.dtype in dt.INEXACT_NP else x


class Sign(Word):
    """-1, 0 or 1; of a complex number z / |z|, and 0 at 0."""

    name = word = "sign"
    traits = frozenset({"monotone", "odd", "idempotent", "preserves_zero"})
    holomorphic = False
    partials = (0.0,)
    ufunc = None

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return np.sign(xs[0]) if xs[0].dtype != dt.NP_BOOL else xs[0]

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return self._turn(ts[0], out, xs[0])

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [self._turn(g, out, xs[0])]

    def _turn(self, t: Any, out: Any, x: Any) -> Any:
        """On the complex plane only the part of ``t`` across z turns z / |z|; the map is self-adjoint."""
        if dtype_of(x) not in dt.COMPLEX_NP:
            return OPS["fill"](t, value=0)
        size = OPS["abs"](x)
        size = OPS["where"](size == 0, OPS["fill"](size, value=math.inf), size)
        along = OPS["real"](conj(out) * t)
        return (t - out * along) / size

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([0.0, -0.0, -2.0]), numeric=False, label="zeros")
        yield Sample(complexes(3))
        yield Sample(np.array([0j, 1 + 1j]), numeric=False, label="complex zero")
        yield Sample(np.array([-3, 0, 7]), label="integers")


class Abs(Word):
    """|x|; its derivative at 0 is 0. Of a complex number the modulus, a real number."""

    name, word = "abs", "absolute"
    traits = frozenset({"even", "idempotent", "preserves_zero"})
    holomorphic = False
    partials = (lambda out, x: OPS["sign"](x),)

    def result_dtype(self, *dtypes: Any) -> Any:
        return real_dtype(dtypes[0])

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        if dtype_of(xs[0]) not in dt.COMPLEX_NP:
            return super().jvp(ts, out, xs)
        return OPS["real"](conj(OPS["sign"](xs[0])) * ts[0])

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [g * OPS["sign"](xs[0])]

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([0.0, -0.0, 2.0]), numeric=False, label="zeros")
        yield Sample(complexes(3), label="complex")
        yield Sample(np.array([0j, 3 + 4j]), numeric=False, label="complex zero")
        yield Sample(np.array([-3, 0, 7]), label="integers")


# -- activations that are primitives ------------------------------------------------------------


class Sigmoid(Elementwise):
    """1 / (1 + exp(-x)). No input overflows: exp(-x) may become inf, of which the inverse is 0."""

    name = "sigmoid"
    traits = frozenset({"monotone"})
    partials = (lambda out, x: out * (1.0 - out),)

    def scalar(self, s: Any, x: Any) -> Any:
        return 1.0 / (1.0 + s.exp(-x))

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        require_inexact("sigmoid", *avals)
        return avals[0]

    def compute(self, *xs: Any, **attrs: Any) -> Any:
        if xs[0].dtype not in dt.INEXACT_NP:
            require_inexact("sigmoid", aval_of(xs[0]))
        out = np.exp(-xs[0])
        if not out.ndim:
            return np.reciprocal(out + 1)
        out += 1
        return np.reciprocal(out, out=out)

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([-800.0, -40.0, 40.0, 800.0]), label="far out")
        yield Sample(complexes(3) * 0.5, label="complex")


class Relu(Elementwise):
    """max(x, 0); its derivative at 0 is 0."""

    name = "relu"
    traits = frozenset({"monotone", "idempotent", "preserves_zero"})
    partials = (select(lambda out, x: x > 0),)

    def scalar(self, s: Any, x: Any) -> Any:
        return s.maximum(x, 0)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        if avals[0].dtype == dt.NP_BOOL or avals[0].dtype in dt.COMPLEX_NP:
            raise DTypeError(message("relu", "needs real numbers", describe(avals)))
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x = xs[0]
        if x.dtype == dt.NP_BOOL or x.dtype in dt.COMPLEX_NP:
            self.infer(aval_of(x))
        found = fused(self, xs, attrs, 1) if x.size >= HEAVY else None  # NumPy takes longer beside a number
        return np.maximum(x, np.zeros((), x.dtype)) if found is None else found

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([0.0, -0.0, 2.0]), numeric=False, label="zeros")
        yield Sample(np.array([-3, 0, 7]), label="integers")


# -- parts ----------------------------------------------------------------------------------------


class Frexp(Opaque):
    """Mantissa in [0.5, 1) and exponent of x = mantissa 2**exponent."""

    name = "frexp"

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        if avals[0].dtype not in dt.FLOATING_NP:
            raise DTypeError(message("frexp", "needs a floating dtype", describe(avals)))
        return avals[0], avals[0].with_dtype(np.dtype(np.int32))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        mantissa, exponent = np.frexp(xs[0])
        finite = np.isfinite(mantissa)  # the C library may leave any exponent at inf and NaN
        return mantissa, np.where(finite, exponent, np.int32(0))

    @staticmethod
    def _slope(out: Any, x: Any) -> Any:
        """2**-exponent, as a quotient; 1 at 0 and at infinity, where the mantissa is x itself."""
        plain = out[0] == x
        one = OPS["fill"](x, value=1)
        return OPS["where"](plain, one, out[0] / OPS["where"](plain, one, x))

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return ts[0] * self._slope(out, xs[0]), None

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [None if g[0] is None else g[0] * self._slope(out, xs[0])]

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size)), 0

    def samples(self) -> Iterable[Sample]:
        yield from real(1)
        yield Sample(np.array([0.0, 3.0, -0.3]), numeric=False, label="zero")


class Real(Linear):
    """The real part."""

    name = "real"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0].with_dtype(real_dtype(avals[0].dtype))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0].real

    def put(self, x: Any, new: Any, **attrs: Any) -> Any:
        """``x`` with this part replaced: how a view is written to."""
        return OPS["complex"](new, OPS["imag"](x))

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["cast"](g, dtype=dtype_of(xs[0]))

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(xs[0]), dims[0]

    def samples(self) -> Iterable[Sample]:
        yield Sample(complexes(2, 3))
        yield Sample(complexes(0), label="empty")
        yield Sample(complexes(), label="0-d")


class Imag(Real):
    """The imaginary part."""

    name = "imag"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        if avals[0].dtype not in dt.COMPLEX_NP:
            raise DTypeError(message("imag", "needs a complex dtype", describe(avals), "Real numbers have none"))
        return super().infer(*avals)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0].imag

    def put(self, x: Any, new: Any, **attrs: Any) -> Any:
        return OPS["complex"](OPS["real"](x), new)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["complex"](OPS["fill"](g, value=0), g)


class Complex(Linear):
    """The complex number x + iy of two real ones."""

    name = "complex"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        require_inexact("complex", *avals)
        if avals[0] != avals[1]:
            raise DTypeError(message("complex", "both parts must have one dtype and shape", describe(avals)))
        return avals[0].with_dtype(dt.of(avals[0].dtype).to_complex().np)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        out = np.empty(xs[0].shape, dt.of(xs[0].dtype).to_complex().np)
        out.real, out.imag = xs
        return out

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        zero = OPS["fill"]
        return self(*[zero(x, value=0) if t is None else t for t, x in zip(ts, xs, strict=True)])

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        part = OPS["imag" if i else "real"](g)
        dtype = dtype_of(xs[i])
        return part if dtype_of(part) == dtype else OPS["cast"](part, dtype=dtype)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(*[to_front(x, d, size) for x, d in zip(xs, dims, strict=True)]), 0

    def samples(self) -> Iterable[Sample]:
        yield from real(2)


def real_dtype(dtype: Any) -> Any:
    """The NumPy dtype of the parts of a number."""
    return dt.of(dtype).to_real().np if dtype in dt.COMPLEX_NP else dtype

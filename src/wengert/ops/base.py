"""What an op is, and the kinds that derive most of its rules.

An op stands in one place: a class with its meaning, one derivative statement and samples. The
rules are written with operators and other ops, which take whatever they are given: handles when
the derivative itself is recorded or traced, bare arrays when nobody looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import DTypeError, ShapeError, message
from ..graph.aval import Aval, describe
from ..graph.handle import Handle, apply, lift
from ..graph.node import ITEM, NO_ATTRS
from ..graph.pattern import Pattern, dense, reduced_index
from .arrays import FAST, expanded
from .heavy import FEW, HEAVY, WIDE, computed, fused, wide
from .scalar import NUMPY

OPS: dict[str, Any] = {}  # name -> Op; Any, so that a family may use more of an op than the contract


class Sample:
    """One point at which an op is checked.

    ``arrays``: the inputs; ``attrs``; ``wrt``: which inputs to differentiate (all inexact ones by
    default); ``numeric``: False where the function has a kink at the point, so that a difference
    quotient means nothing there (the modes must still agree); ``tol``: factor on tolerances.
    """

    __slots__ = ("arrays", "attrs", "label", "numeric", "tol", "wrt")

    def __init__(
        self,
        *arrays: Any,
        attrs: dict[str, Any] | None = None,
        wrt: Sequence[int] | None = None,
        numeric: bool = True,
        tol: float = 1.0,
        label: str = "",
    ) -> None:
        self.arrays = tuple(np.asarray(a) for a in arrays)
        self.attrs = attrs or NO_ATTRS
        kinds = [a.dtype in dt.INEXACT_NP for a in self.arrays]
        self.wrt = tuple(i for i, k in enumerate(kinds) if k) if wrt is None else tuple(wrt)
        self.numeric = numeric
        self.tol = tol
        self.label = label


class Op:
    """The whole contract of an operation.

    ``infer``: avals to aval (a tuple for several results), raising the errors users see.
    ``numpy``: arrays to array; the reference.
    ``vjp(g, out, xs, need)``: adjoints of the inputs, None where there is none or ``need[i]`` is
    False. For several results ``g`` and ``out`` are tuples and entries of ``g`` may be None.
    ``jvp(ts, out, xs)``: tangent of the result; entries of ``ts`` may be None.
    ``batch(size, xs, dims)``: the op over a mapped axis; returns results and their mapped axes.
    ``add_adjoint(total, g, **attrs)``: optional; adds the adjoint of the only input to ``total`` in place,
    for less than ``vjp`` costs.
    ``forward_with_pullback(values, attrs, need)``: optional; the results and a function
    ``(g, need) -> adjoints`` over arrays that uses what the forward pass kept. Reverse sweeps over
    arrays then call that instead of ``vjp``.
    """

    name: str
    traits: frozenset[str] = frozenset()
    differentiable = True
    is_call = False  # a formula: `Call` alone
    add_adjoint: Callable[..., None] | None = None
    broadcasts = False  # its NumPy function takes operands that broadcast to its one shape
    expands = False  # its result repeats itself, and `small` is less of it that broadcasts to the same
    forward_with_pullback: Callable[..., tuple[Any, Callable[..., Any]]] | None = None

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:  # final classes carry a name; kinds do not
            assert cls.name not in OPS, f"duplicate op {cls.name!r}"
            OPS[cls.name] = cls()

    def __call__(self, *xs: Any, **attrs: Any) -> Any:
        for x in xs:
            if isinstance(x, Handle):
                return apply(self, tuple([lift(y, x) for y in xs]), attrs or NO_ATTRS)
        return self.numpy(*xs, **attrs)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> Any:
        return (op_named, (self.name,))

    def label(self, attrs: dict[str, Any]) -> str:
        """What the node is called in pictures and messages."""
        return self.name

    def infer(self, *avals: Aval, **attrs: Any) -> Any:
        raise NotImplementedError(self.name)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        raise NotImplementedError(self.name)

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        """What generated code calls for operands of these avals: `numpy` with the attributes, or what is quicker."""
        return partial(self.numpy, **attrs) if attrs else self.numpy

    def small(self, out: Aval, attrs: dict[str, Any]) -> Any:
        """For an op that ``expands``: a function of the input, None for the input itself, or a constant."""
        raise NotImplementedError(self.name)

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        raise NotImplementedError(self.name)

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        raise NotImplementedError(self.name)

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        raise NotImplementedError(self.name)

    def pattern(self, patterns: Sequence[Pattern], avals: Sequence[Aval], out: Aval, attrs: dict[str, Any]) -> Pattern:
        """What each element of the (single) result can depend on; everything, unless a kind knows better."""
        return dense(patterns, out.size)

    def samples(self) -> Iterable[Sample]:
        raise NotImplementedError(self.name)


def op_named(name: str) -> Op:
    """The op of that name (pickles refer to ops by name)."""
    return OPS[name]


def total(terms: Iterable[Any]) -> Any:
    """Sum of the terms that are there; None if none is."""
    out: Any = None
    for t in terms:
        if t is not None:
            out = t if out is None else out + t
    return out


def conj(x: Any) -> Any:
    """Complex conjugate; a real value is returned as it is."""
    dtype = x.aval.dtype if isinstance(x, Handle) else getattr(x, "dtype", None)
    return OPS["conj"](x) if dtype in dt.COMPLEX_NP else x


def to_front(x: Any, dim: int | None, size: int) -> Any:
    """Bring the mapped axis to position 0, repeating ``x`` along it if it is not mapped."""
    if dim is None:
        return OPS["expand"](x, shape=(size, *shape_of(x)), axes=(0,))
    if dim == 0:
        return x
    order = (dim, *(i for i in range(len(shape_of(x))) if i != dim))
    return OPS["permute"](x, order=order)


def shape_of(x: Any) -> tuple[int, ...]:
    """Shape of a handle or an array, as a plain tuple."""
    return x.aval.shape if isinstance(x, Handle) else x.shape


def dtype_of(x: Any) -> Any:
    """NumPy dtype of a handle or an array."""
    return x.aval.dtype if isinstance(x, Handle) else x.dtype


_ARRAY = np.ndarray
_FUNCTION = type(op_named)


def zeros_like(x: Any) -> Any:
    """Zeros shaped like a handle or an array."""
    return OPS["fill"](x, value=0) if isinstance(x, Handle) else np.zeros(x.shape, x.dtype)


def full_tuple(g: Sequence[Any], out: Sequence[Any]) -> list[Any]:
    """Adjoints of several results with zeros where none arrived."""
    return [zeros_like(o) if gi is None else gi for gi, o in zip(g, out, strict=True)]


# -- kinds ---------------------------------------------------------------------------------


def select(partial: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a partial derivative that is a condition: 1 where it holds, 0 elsewhere.

    The adjoint is then chosen, not multiplied, so that an infinite or NaN adjoint does not leak
    through a zero.
    """
    partial.is_condition = True  # type: ignore[attr-defined]
    return partial


class Elementwise(Op):
    """One scalar function applied to every element.

    The author writes ``scalar(s, *xs)`` and ``partials``: for each input a function of
    ``(out, *xs)`` that gives the local derivative, the number 1.0 or -1.0, or None for an input
    through which no derivative flows. All inputs have one shape: the front broadcasts first.
    ``ufunc``: NumPy's own function, where one means the same; ``operator``: Python's operator for it, which is
    ten times quicker on NumPy's scalars. ``out_dtype``: a fixed result dtype.
    """

    broadcasts = True
    ufunc: Callable[..., Any] | None = None
    operator: Callable[..., Any] | None = None
    partials: tuple[Any, ...] = ()
    out_dtype: np.dtype[Any] | None = None
    holomorphic = True

    def __init__(self) -> None:
        self.vjp = _short_vjp(self)

    def scalar(self, s: Any, *xs: Any) -> Any:
        raise NotImplementedError(self.name)

    def result_dtype(self, *dtypes: Any) -> Any:
        return self.out_dtype or dtypes[0]

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        first = avals[0]
        for a in avals[1:]:
            if a.shape != first.shape:
                raise ShapeError(message(self.name, "operands must have one shape", describe(avals)))
        return Aval(first.shape, self.result_dtype(*[a.dtype for a in avals]))

    def compute(self, *xs: Any, **attrs: Any) -> Any:
        if self.ufunc is not None:
            return self.ufunc(*xs, **attrs)
        return self.scalar(NUMPY, *xs, **attrs)

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        """NumPy's ufunc itself, where it gives the right dtype."""
        if self.ufunc is None or attrs:
            return super().kernel(avals, attrs)
        dtypes = tuple([a.dtype for a in avals])
        wanted = self.result_dtype(*dtypes)
        try:
            with np.errstate(all="ignore"):
                if self.ufunc(*[np.ones(1, d) for d in dtypes]).dtype is not wanted:
                    return self.numpy
                if self.operator is not None and is_scalar(self.operator(*[d.type(1) for d in dtypes]), wanted):
                    return self.operator
        except TypeError:
            return self.numpy
        return self.ufunc

    def by_kernel(self, xs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The result for large arrays; None if NumPy should compute it."""
        if self.ufunc is not None:
            return wide(self, xs, attrs)
        return fused(self, xs, attrs, 1) if xs[0].size >= HEAVY else None

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        dtype = self.result_dtype(*[x.dtype for x in xs])
        if xs[0].size >= FEW or xs[-1].size >= FEW:
            found = self.by_kernel(xs, attrs)
            if found is not None:
                return found
        if self.ufunc is None:
            if any(x.dtype in dt.HALF_NP for x in xs):  # ufuncs round once by themselves
                xs = tuple([x.astype(np.float32) if x.dtype in dt.HALF_NP else x for x in xs])
        out = self.compute(*xs, **attrs)
        return out if out.dtype is dtype else out.astype(dtype)

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        return total(
            None if t is None else scale(t, p, False, out, xs, attrs) for t, p in zip(ts, self.partials, strict=True)
        )

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        return [scale(g, p, True, out, xs, attrs) if n else None for n, p in zip(need, self.partials)]

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        return self(*[to_front(x, d, size) for x, d in zip(xs, dims, strict=True)], **attrs), 0

    def pattern(self, patterns: Sequence[Pattern], avals: Sequence[Aval], out: Aval, attrs: dict[str, Any]) -> Pattern:
        flowing = [p for p, d in zip(patterns, self.partials, strict=False) if d is not None]
        return Pattern.union(flowing) if flowing else Pattern.union(patterns)


def is_scalar(x: Any, dtype: Any) -> bool:
    """Whether a value is a NumPy scalar of that dtype."""
    return isinstance(x, np.generic) and x.dtype is dtype


def picked(op: Op, patterns: Sequence[Pattern], avals: Sequence[Aval], attrs: dict[str, Any]) -> Pattern:
    """The pattern of an op that picks elements: run it on element numbers and see where each went."""
    numbers, keys, start = [], [], 0
    for a, p in zip(avals, patterns, strict=True):
        numbers.append(np.arange(start + 1, start + a.size + 1, dtype=np.int64).reshape(a.shape))
        keys.append(p.keys + start * p.columns)
        start += a.size
    plain = {**attrs, "value": 0} if "value" in attrs else attrs
    source = np.asarray(op.numpy(*numbers, **plain)).reshape(-1) - 1
    return Pattern(np.concatenate(keys), start, patterns[0].columns).gather(source)


def scale(g: Any, partial: Any, adjoint: bool, out: Any, xs: Any, attrs: dict[str, Any]) -> Any:
    """Multiply by a local derivative; the adjoint direction takes its conjugate."""
    if type(partial) is float:
        return g if partial == 1.0 else negative(g) if partial == -1.0 else zeros_like(g)
    if partial is None:
        return None
    if adjoint and type(g) is np.ndarray and g.size >= HEAVY:
        found = fused(_scaled_by(partial), (g, out, *xs), attrs, 1 if g.size >= WIDE else 2)
        if found is not None:
            return found
    p = partial(out, *xs, **attrs) if attrs else partial(out, *xs)
    if type(p) is float:
        return g * p
    kind = p.dtype.kind
    if kind == "f":
        return g * p
    if kind == "b":
        return OPS["where"](p, g, zeros_like(g))
    return g * (conj(p) if adjoint else p)


def negative(g: Any) -> Any:
    """The negative of an adjoint or a tangent."""
    return -g if isinstance(g, Handle) or g.size < FEW else OPS["neg"].numpy(g)


def plus(a: Any, b: Any) -> Any:
    """The sum of two adjoints."""
    if isinstance(a, Handle) or a.size < FEW or a.dtype is not b.dtype:
        return a + b
    return OPS["add"].numpy(a, b)


def _short_vjp(op: Elementwise) -> Callable[..., Any]:
    """`Elementwise.vjp`, with all calls but those of the partials written out for short arrays: half of the time."""
    general, partials = op.vjp, op.partials
    n = len(partials)
    if n not in (1, 2) or not all(type(p) is _FUNCTION and p.__code__.co_argcount == n + 1 for p in partials):
        return general  # also where partials want attributes
    dx, dy = partials[0], partials[-1]

    def unary(g: Any, out: Any, xs: Any, need: Any) -> Sequence[Any]:
        if g.__class__ is _ARRAY and g.size < HEAVY:
            p = dx(out, xs[0])
            if p.__class__ is _ARRAY and p.dtype.kind == "f":
                return (g * p,)
        return general(g, out, xs, need)

    def binary(g: Any, out: Any, xs: Any, need: Any) -> Sequence[Any]:
        if g.__class__ is not _ARRAY or g.size >= HEAVY:
            return general(g, out, xs, need)
        x, y = xs
        gx = gy = None
        if need[0]:
            p = dx(out, x, y)
            gx = g * p if p.__class__ is _ARRAY and p.dtype.kind == "f" else scale(g, dx, True, out, xs, NO_ATTRS)
        if need[1]:
            p = dy(out, x, y)
            gy = g * p if p.__class__ is _ARRAY and p.dtype.kind == "f" else scale(g, dy, True, out, xs, NO_ATTRS)
        return gx, gy

    return unary if n == 1 else binary


@cache
def _scaled_by(partial: Callable[..., Any]) -> Callable[..., Any]:
    """An adjoint times a local derivative, as a function of the adjoint, the result and the operands."""

    def adjoint(g: Any, out: Any, *xs: Any, **attrs: Any) -> Any:
        return scale(g, partial, True, out, xs, attrs)

    return adjoint


class Linear(Op):
    """Linear in each input named in ``linear`` by itself (all by default).

    The author writes ``transpose(g, i, *xs)``: the adjoint of input ``i``. The other inputs
    (indices, masks) carry no derivative.
    """

    linear: tuple[int, ...] | None = None
    picks = False  # each element of the result is an element of an input, or a constant

    def pattern(self, patterns: Sequence[Pattern], avals: Sequence[Aval], out: Aval, attrs: dict[str, Any]) -> Pattern:
        if not self.picks:
            return super().pattern(patterns, avals, out, attrs)
        return picked(self, patterns, avals, attrs)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        raise NotImplementedError(self.name)

    def is_linear(self, i: int) -> bool:
        return self.linear is None or i in self.linear

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        return total(
            self(*xs[:i], t, *xs[i + 1 :], **attrs)
            for i, t in enumerate(ts)
            if t is not None and self.is_linear(i)
        )  # fmt: skip

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        return [self.transpose(g, i, *xs, **attrs) if n and self.is_linear(i) else None for i, n in enumerate(need)]


class Reduce(Op):
    """Reduce ``axes`` (sorted, not negative) of one input; the axes vanish.

    The author writes ``reduce(x, axes)`` in NumPy and ``weights(out, x, axes)``: d out / d x shaped
    like ``x`` (``out`` comes spread back over the axes), None meaning ones.
    """

    out_dtype: np.dtype[Any] | None = None
    by_kernels = False  # whether generated kernels reduce large rows in less time than NumPy

    def reduce(self, x: Any, axes: tuple[int, ...]) -> Any:
        raise NotImplementedError(self.name)

    def weights(self, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
        raise NotImplementedError(self.name)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        axes, x = attrs["axes"], avals[0]
        return Aval(tuple(n for i, n in enumerate(x.shape) if i not in axes), self.out_dtype or x.dtype)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, axes = xs[0], attrs["axes"]
        if self.by_kernels and x.size >= HEAVY and x.dtype in FAST and x.ndim - 1 in axes:  # NumPy is good at the rest
            found = computed(self, xs, attrs)
            if found is not None:
                return found
        out = self.reduce(x, axes)
        dtype = self.out_dtype or x.dtype
        return out if out.dtype is dtype else out.astype(dtype)

    def spread(self, g: Any, x: Any, axes: tuple[int, ...]) -> Any:
        if not axes:
            return g
        return OPS["expand"](g, shape=shape_of(x), axes=axes) if isinstance(g, Handle) else expanded(g, x.shape, axes)

    def jvp(self, ts: Sequence[Any], out: Any, xs: Any, **attrs: Any) -> Any:
        axes = attrs["axes"]
        w = self.weights(self.spread(out, xs[0], axes), xs[0], axes)
        return OPS["sum"](ts[0] if w is None else ts[0] * w, axes=axes)

    def vjp(self, g: Any, out: Any, xs: Any, need: Sequence[bool], **attrs: Any) -> Sequence[Any]:
        axes, x = attrs["axes"], xs[0]
        spread = self.spread(g, x, axes)
        w = self.weights(self.spread(out, x, axes), x, axes)
        return [spread if w is None else spread * conj(w)]

    def batch(self, size: int, xs: Any, dims: Sequence[int | None], **attrs: Any) -> tuple[Any, Any]:
        axes = tuple(a + 1 for a in attrs["axes"])
        return self(to_front(xs[0], dims[0], size), axes=axes), 0

    def pattern(self, patterns: Sequence[Pattern], avals: Sequence[Aval], out: Aval, attrs: dict[str, Any]) -> Pattern:
        return patterns[0].group(reduced_index(avals[0].shape, attrs["axes"]), out.size)


class Opaque(Op):
    """An op whose rules are all written out: sorts, decompositions, scans."""

    def fronted(self, size: int, xs: Any, dims: Sequence[int | None]) -> list[Any]:
        """Inputs with the mapped axis at the front, for ops that batch over leading axes by themselves."""
        return [to_front(x, d, size) for x, d in zip(xs, dims, strict=True)]


class Draw(Op):
    """Random numbers: the bits come from a key, so a draw is a pure function and can be replayed."""

    differentiable = False


def require_inexact(name: str, *avals: Aval) -> None:
    """Raise unless all operands are floating or complex."""
    for a in avals:
        if a.dtype not in dt.INEXACT_NP:
            raise DTypeError(
                message(name, "needs a floating or complex dtype", describe(avals), "Convert with x.float()")
            )


def items(node_value: Any) -> tuple[Any, ...]:
    """Results as a tuple, whether there is one or several."""
    return node_value if type(node_value) is tuple else (node_value,)


__all__ = [
    "ITEM", "OPS", "Aval", "Draw", "Elementwise", "Linear", "Op", "Opaque", "Reduce", "Sample", "conj", "dtype_of",
    "full_tuple", "items", "op_named", "require_inexact", "select", "shape_of", "to_front", "total",
    "zeros_like",
]  # fmt: skip

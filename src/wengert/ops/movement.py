"""Movement: ops that only rearrange, repeat or pick elements by static rules. All linear."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter, methodcaller
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import IndexRangeError, ShapeError, message
from ..graph.aval import Aval, describe
from ..graph.handle import Handle, wrap
from .arrays import expanded
from .base import OPS, Linear, Op, Sample, dtype_of, shape_of, to_front, zeros_like
from .heavy import computed, is_turned
from .testpoints import complexes, floats, noncontiguous


def constant(x: Any, like: Any) -> Any:
    """A static array as a value among ``like``'s kind: a handle among handles."""
    return wrap(x) if isinstance(like, Handle) else x


class Movement(Linear):
    """Kind of the ops whose result can share memory with the input.

    ``put(whole, part, **attrs)``: the input with its result replaced by ``part``; how a write through a view
    becomes a new value of the base.
    """

    picks = True

    def put(self, whole: Any, part: Any, **attrs: Any) -> Any:
        raise NotImplementedError(self.name)


class Expand(Movement):
    """Repeat along new ``axes`` until the shape is ``shape``."""

    name = "expand"
    expands = True

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, shape, axes = avals[0], attrs["shape"], attrs["axes"]
        kept = tuple(n for i, n in enumerate(shape) if i not in axes)
        if kept != x.shape:
            raise ShapeError(message("expand", "shapes do not fit", f"{x} to {list(shape)} by new axes {list(axes)}"))
        return x.with_shape(shape)

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        shape, axes, kept = attrs["shape"], attrs["axes"], len(avals[0].shape)
        if axes != tuple(range(len(axes))) or not kept:
            return super().kernel(avals, attrs)
        nothing = (0,) * len(axes)

        def lead(x: Any) -> Any:
            try:
                return np.ndarray(shape, x.dtype, x, 0, nothing + x.strides)
            except (ValueError, TypeError, BufferError):
                return np.broadcast_to(x, shape)

        return lead

    def small(self, out: Aval, attrs: dict[str, Any]) -> Any:
        axes = attrs["axes"]
        if axes == tuple(range(len(axes))):
            return None
        return methodcaller("reshape", tuple([1 if i in axes else n for i, n in enumerate(out.shape)]))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return expanded(xs[0], attrs["shape"], attrs["axes"])

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["sum"](g, axes=attrs["axes"])

    def put(self, whole: Any, part: Any, **attrs: Any) -> Any:
        return OPS["reshape"](part, shape=shape_of(whole))  # only new axes of size 1 can be written through

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x = to_front(xs[0], dims[0], size)
        return self(x, shape=(size, *attrs["shape"]), axes=tuple(a + 1 for a in attrs["axes"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3), attrs={"shape": (2, 3), "axes": (0,)})
        yield Sample(floats(2, 3), attrs={"shape": (2, 4, 3, 1), "axes": (1, 3)})
        yield Sample(floats(), attrs={"shape": (2, 2), "axes": (0, 1)}, label="0-d")
        yield Sample(floats(3), attrs={"shape": (0, 3), "axes": (0,)}, label="to empty")
        yield Sample(complexes(2), attrs={"shape": (2, 2), "axes": (1,)})


class Reshape(Movement):
    """The same elements in row-major order under a new ``shape``."""

    name = "reshape"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, shape = avals[0], attrs["shape"]
        if math.prod(shape) != x.size:
            raise ShapeError(
                message("reshape", "numbers of elements differ", f"{x} has {x.size}, {list(shape)} needs "
                        f"{math.prod(shape)}", "One dimension may be -1 to be computed")
            )  # fmt: skip
        return x.with_shape(shape)

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        return methodcaller("reshape", attrs["shape"])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, shape = xs[0], attrs["shape"]
        if is_turned(x):
            try:
                return np.reshape(x, shape, copy=False)
            except ValueError:  # it must be copied
                x = row_major(x)
            except TypeError:  # NumPy 2.0, which has no such argument
                pass
        return x.reshape(shape)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return self(g, shape=shape_of(xs[0]))

    def put(self, whole: Any, part: Any, **attrs: Any) -> Any:
        return self(part, shape=shape_of(whole))

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), shape=(size, *attrs["shape"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2, 3), attrs={"shape": (3, 2)})
        yield Sample(noncontiguous(2, 3), attrs={"shape": (6,)}, label="non-contiguous")
        yield Sample(floats(), attrs={"shape": (1, 1)}, label="0-d")
        yield Sample(floats(0, 3), attrs={"shape": (3, 0, 2)}, label="empty")


class Permute(Movement):
    """Reorder the axes: axis i of the result is axis ``order[i]`` of the input."""

    name = "permute"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, order = avals[0], attrs["order"]
        if sorted(order) != list(range(x.ndim)):
            raise ShapeError(message("permute", "not an order of the dimensions", f"{x}, order {list(order)}"))
        return x.with_shape(tuple(x.shape[i] for i in order))

    def kernel(self, avals: Sequence[Aval], attrs: dict[str, Any]) -> Callable[..., Any]:
        order = attrs["order"]
        return attrgetter("T") if order == tuple(reversed(range(len(order)))) else methodcaller("transpose", order)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0].transpose(attrs["order"])

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        order = attrs["order"]
        inverse = [0] * len(order)
        for to, source in enumerate(order):
            inverse[source] = to
        return self(g, order=tuple(inverse))

    def put(self, whole: Any, part: Any, **attrs: Any) -> Any:
        return self.transpose(part, 0, whole, **attrs)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), order=(0, *[k + 1 for k in attrs["order"]])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2, 3), attrs={"order": (1, 0)})
        yield Sample(floats(2, 3, 4), attrs={"order": (2, 0, 1)})
        yield Sample(floats(0, 3), attrs={"order": (1, 0)}, label="empty")
        yield Sample(floats(), attrs={"order": ()}, label="0-d")


@lru_cache(4096)
def _slices(spec: tuple[tuple[int, int | None, int], ...]) -> tuple[Any, ...]:
    """What NumPy is asked for; the dots keep a 0-d result an array."""
    return (*[slice(*t) for t in spec], ...)


class Slice(Movement):
    """Basic indexing: ``spec`` has for each axis an (start, stop, step) triple, already normalised.

    ``stop`` is None where a negative step runs past the beginning.
    """

    name = "slice"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, spec = avals[0], attrs["spec"]
        if len(spec) != x.ndim:
            raise IndexRangeError(message("slice", "one triple a dimension is needed", f"{x}, {spec}"))
        shape = tuple(len(range(*slice(*t).indices(n))) for t, n in zip(spec, x.shape, strict=True))
        return x.with_shape(shape)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0][_slices(attrs["spec"])]

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["unslice"](g, spec=attrs["spec"], shape=shape_of(xs[0]))

    def add_adjoint(self, total: Any, g: Any, **attrs: Any) -> None:
        total[(*[slice(*t) for t in attrs["spec"]], ...)] += g

    def put(self, whole: Any, part: Any, **attrs: Any) -> Any:
        return OPS["set_slice"](whole, part, **attrs)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), spec=((0, size, 1), *attrs["spec"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(5), attrs={"spec": ((1, 4, 1),)})
        yield Sample(floats(5, 3), attrs={"spec": ((4, None, -2), (0, 3, 2))}, label="negative step")
        yield Sample(floats(3, 2), attrs={"spec": ((1, 1, 1), (0, 2, 1))}, label="to empty")
        yield Sample(floats(), attrs={"spec": ()}, label="0-d")


def filled_like(x: Any, shape: Sequence[int], value: float = 0) -> Any:
    """An array of another shape full of a number, with its axes in memory in the order that those of ``x`` have."""
    if x.flags.c_contiguous:
        return np.zeros(shape, x.dtype) if value == 0 else np.full(shape, value, x.dtype)
    order = sorted(range(x.ndim), key=lambda i: (-x.strides[i], i))
    lying = [shape[i] for i in order]
    out = np.zeros(lying, x.dtype) if value == 0 else np.full(lying, value, x.dtype)
    return out.transpose(sorted(range(x.ndim), key=order.__getitem__))


class Unslice(Linear):
    """Zeros of ``shape`` with the input written at ``spec``: the transpose of `Slice`."""

    picks = True

    name = "unslice"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        inner = OPS["slice"].infer(Aval(attrs["shape"], avals[0].dtype), spec=attrs["spec"])
        if inner.shape != avals[0].shape:
            raise ShapeError(message("unslice", "shapes do not fit", describe((avals[0], inner))))
        return avals[0].with_shape(attrs["shape"])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        out = filled_like(xs[0], attrs["shape"])
        out[_slices(attrs["spec"])] = xs[0]
        return out

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["slice"](g, spec=attrs["spec"])

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x = to_front(xs[0], dims[0], size)
        return self(x, spec=((0, size, 1), *attrs["spec"]), shape=(size, *attrs["shape"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3), attrs={"spec": ((1, 4, 1),), "shape": (5,)})
        yield Sample(floats(3, 2), attrs={"spec": ((4, None, -2), (0, 3, 2)), "shape": (5, 3)})
        yield Sample(floats(0, 2), attrs={"spec": ((1, 1, 1), (0, 2, 1)), "shape": (3, 2)}, label="empty")


class SetSlice(Linear):
    """The first input with the second written at ``spec``: ``x[a:b] = v`` as a value."""

    picks = True

    name = "set_slice"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        inner = OPS["slice"].infer(avals[0], spec=attrs["spec"])
        if inner.shape != avals[1].shape:
            raise ShapeError(message("set_slice", "the value does not fit the slice", describe((avals[1], inner))))
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        out = np.array(xs[0])
        out[_slices(attrs["spec"])] = xs[1]
        return out

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        base, value = (zeros_like(x) if t is None else t for t, x in zip(ts, xs, strict=True))
        return self(base, value, **attrs)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        inner = OPS["slice"](g, spec=attrs["spec"])
        if i == 1:
            return inner
        return self(g, zeros_like(inner), **attrs)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        base, value = (to_front(x, d, size) for x, d in zip(xs, dims, strict=True))
        return self(base, value, spec=((0, size, 1), *attrs["spec"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(5), floats(3, seed=1), attrs={"spec": ((1, 4, 1),)})
        yield Sample(floats(5, 3), floats(3, 2, seed=1), attrs={"spec": ((4, None, -2), (0, 3, 2))})
        yield Sample(floats(3, 2), floats(0, 2), attrs={"spec": ((1, 1, 1), (0, 2, 1))}, label="empty")
        yield Sample(complexes(3), complexes(1, seed=1), attrs={"spec": ((2, 3, 1),)})


class Strided(Movement):
    """A window moved along the axes: out[i, j] = x[start + i * steps[0] + j * steps[1]].

    ``steps``: for each axis of the result, by how much it moves along each axis of the input. Diagonals,
    sliding windows and ``as_strided`` are of this form, and all are views.
    """

    name = "strided"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, shape = avals[0], attrs["shape"]
        if math.prod(shape):
            moves = list(zip(shape, attrs["steps"], strict=True))
            for axis, (n, begin) in enumerate(zip(x.shape, attrs["start"], strict=True)):
                low = begin + sum(min(0, (m - 1) * s[axis]) for m, s in moves)
                high = begin + sum(max(0, (m - 1) * s[axis]) for m, s in moves)
                if low < 0 or high >= n:
                    raise IndexRangeError(
                        message("strided", "reaches outside of the tensor", f"{x}: {low} to {high} along {axis}")
                    )
        return x.with_shape(shape)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, shape = xs[0], attrs["shape"]
        if not math.prod(shape):
            return np.zeros(shape, x.dtype)
        strides = [sum(k * s for k, s in zip(step, x.strides, strict=True)) for step in attrs["steps"]]
        corner = x[(*[slice(b, b + 1) for b in attrs["start"]],)]
        return np.lib.stride_tricks.as_strided(corner, shape, strides)

    def positions(self, size: tuple[int, ...], attrs: dict[str, Any]) -> Any:
        """Which elements of the flat input the result shows."""
        flat = np.arange(math.prod(size)).reshape(size)
        return np.ascontiguousarray(self.numpy(flat, **attrs))

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        shape = shape_of(xs[0])
        index = constant(self.positions(shape, attrs), g)
        return OPS["reshape"](OPS["add_rows"](g, index, n=math.prod(shape)), shape=shape)

    def put(self, whole: Any, part: Any, **attrs: Any) -> Any:
        shape = shape_of(whole)
        flat = OPS["reshape"](whole, shape=(math.prod(shape),))
        index = constant(self.positions(shape, attrs), part)
        return OPS["reshape"](OPS["put_rows"](flat, index, part), shape=shape)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x = to_front(xs[0], dims[0], size)
        steps = ((1, *[0] * (len(shape_of(x)) - 1)), *[(0, *s) for s in attrs["steps"]])
        return self(x, shape=(size, *attrs["shape"]), start=(0, *attrs["start"]), steps=steps), 0

    def samples(self) -> Iterable[Sample]:
        diagonal = {"shape": (2,), "start": (0, 1), "steps": ((1, 1),)}
        yield Sample(floats(2, 3), attrs=diagonal, label="diagonal")
        yield Sample(noncontiguous(2, 3), attrs=diagonal, label="non-contiguous")
        windows = {"shape": (3, 2), "start": (0,), "steps": ((1,), (2,))}
        yield Sample(floats(5), attrs=windows, label="windows that overlap")
        yield Sample(floats(2, 0), attrs={"shape": (0,), "start": (0, 0), "steps": ((1, 1),)}, label="empty")
        yield Sample(floats(), attrs={"shape": (2,), "start": (), "steps": ((),)}, label="0-d repeated")
        yield Sample(complexes(2, 2), attrs={"shape": (2,), "start": (0, 0), "steps": ((1, 1),)})


class Bitcast(Op):
    """The same bytes under another dtype; the last axis grows or shrinks with the size of an element."""

    name = "bitcast"
    differentiable = False

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, dtype = avals[0], attrs["dtype"]
        old, new = x.dtype.itemsize, dtype.itemsize
        if old == new:
            return x.with_dtype(dtype)
        if not x.ndim or x.shape[-1] * old % new:
            raise ShapeError(
                message("view", "the last dimension does not hold a whole number of elements", f"{x} as {dt.of(dtype)}")
            )
        return Aval((*x.shape[:-1], x.shape[-1] * old // new), dtype)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0].view(attrs["dtype"])

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [None]

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return None

    def put(self, whole: Any, part: Any, **attrs: Any) -> Any:
        """See `Movement.put`."""
        return self(part, dtype=dtype_of(whole))

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), **attrs), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(np.arange(4, dtype=np.int32), attrs={"dtype": np.dtype("float32")})
        yield Sample(np.arange(4, dtype=np.int32).reshape(2, 2), attrs={"dtype": np.dtype("int64")}, label="wider")
        yield Sample(np.arange(2, dtype=np.int32), attrs={"dtype": np.dtype("uint8")}, label="narrower")


def dense_order(x: Any) -> Any:
    """In which order to copy an array: as it lies, but row by row where elements were repeated, as PyTorch."""
    return "C" if 0 in x.strides else "K"


def row_major(x: Any) -> Any:
    """A copy in row-major order; a large transposed array is turned by a kernel, in a tenth of NumPy's time."""
    found = computed(OPS["clone"], (x,), {"contiguous": True}, views=False) if is_turned(x) else None
    return np.array(x, order="C") if found is None else found


class Clone(Linear):
    """The same values in memory of their own; ``contiguous`` lays them out in row-major order."""

    picks = True

    name = "clone"
    traits = frozenset({"copy"})

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return row_major(xs[0]) if attrs.get("contiguous") else np.array(xs[0], order=dense_order(xs[0]))

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return g

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), **attrs), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3))
        yield Sample(noncontiguous(2, 3), attrs={"contiguous": True}, label="non-contiguous")
        yield Sample(floats(), label="0-d")
        yield Sample(complexes(2))

"""Movement: ops that only rearrange, repeat or pick elements by static rules. All linear."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import IndexRangeError, ShapeError, message
from ..graph.aval import Aval, describe
from .base import OPS, Linear, Sample, dtype_of, shape_of, to_front
from .testpoints import complexes, floats, noncontiguous


class Expand(Linear):
    """Repeat along new ``axes`` until the shape is ``shape``."""

    name = "expand"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, shape, axes = avals[0], attrs["shape"], attrs["axes"]
        kept = tuple(n for i, n in enumerate(shape) if i not in axes)
        if kept != x.shape:
            raise ShapeError(message("expand", "shapes do not fit", f"{x} to {list(shape)} by new axes {list(axes)}"))
        return x.with_shape(shape)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, shape, axes = xs[0], attrs["shape"], attrs["axes"]
        steps = iter(x.strides)
        strides = [0 if i in axes else next(steps) for i in range(len(shape))]
        try:  # a tenth of the time of np.broadcast_to; read-only memory stays read-only
            return np.ndarray(shape, x.dtype, x, 0, strides)
        except (ValueError, TypeError, BufferError):  # bfloat16, empty or strided memory
            return np.broadcast_to(np.expand_dims(x, axes), shape)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["sum"](g, axes=attrs["axes"])

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        x = to_front(xs[0], dims[0], size)
        return self(x, shape=(size, *attrs["shape"]), axes=tuple(a + 1 for a in attrs["axes"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(3), attrs={"shape": (2, 3), "axes": (0,)})
        yield Sample(floats(2, 3), attrs={"shape": (2, 4, 3, 1), "axes": (1, 3)})
        yield Sample(floats(), attrs={"shape": (2, 2), "axes": (0, 1)}, label="0-d")
        yield Sample(floats(3), attrs={"shape": (0, 3), "axes": (0,)}, label="to empty")
        yield Sample(complexes(2), attrs={"shape": (2, 2), "axes": (1,)})


class Reshape(Linear):
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

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0].reshape(attrs["shape"])

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return self(g, shape=shape_of(xs[0]))

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), shape=(size, *attrs["shape"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2, 3), attrs={"shape": (3, 2)})
        yield Sample(noncontiguous(2, 3), attrs={"shape": (6,)}, label="non-contiguous")
        yield Sample(floats(), attrs={"shape": (1, 1)}, label="0-d")
        yield Sample(floats(0, 3), attrs={"shape": (3, 0, 2)}, label="empty")


class Permute(Linear):
    """Reorder the axes: axis i of the result is axis ``order[i]`` of the input."""

    name = "permute"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, order = avals[0], attrs["order"]
        if sorted(order) != list(range(x.ndim)):
            raise ShapeError(message("permute", "not an order of the dimensions", f"{x}, order {list(order)}"))
        return x.with_shape(tuple(x.shape[i] for i in order))

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        return xs[0].transpose(attrs["order"])

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        order = attrs["order"]
        inverse = [0] * len(order)
        for to, source in enumerate(order):
            inverse[source] = to
        return self(g, order=tuple(inverse))

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), order=(0, *[k + 1 for k in attrs["order"]])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2, 3), attrs={"order": (1, 0)})
        yield Sample(floats(2, 3, 4), attrs={"order": (2, 0, 1)})
        yield Sample(floats(0, 3), attrs={"order": (1, 0)}, label="empty")
        yield Sample(floats(), attrs={"order": ()}, label="0-d")


class Slice(Linear):
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
        return xs[0][tuple([slice(*t) for t in attrs["spec"]])]

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        return OPS["unslice"](g, spec=attrs["spec"], shape=shape_of(xs[0]))

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), spec=((0, size, 1), *attrs["spec"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(5), attrs={"spec": ((1, 4, 1),)})
        yield Sample(floats(5, 3), attrs={"spec": ((4, None, -2), (0, 3, 2))}, label="negative step")
        yield Sample(floats(3, 2), attrs={"spec": ((1, 1, 1), (0, 2, 1))}, label="to empty")
        yield Sample(floats(), attrs={"spec": ()}, label="0-d")


class Unslice(Linear):
    """Zeros of ``shape`` with the input written at ``spec``: the transpose of `Slice`."""

    name = "unslice"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        inner = OPS["slice"].infer(Aval(attrs["shape"], avals[0].dtype), spec=attrs["spec"])
        if inner.shape != avals[0].shape:
            raise ShapeError(message("unslice", "shapes do not fit", describe((avals[0], inner))))
        return avals[0].with_shape(attrs["shape"])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        out = np.zeros(attrs["shape"], xs[0].dtype)
        out[tuple([slice(*t) for t in attrs["spec"]])] = xs[0]
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

    name = "set_slice"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        inner = OPS["slice"].infer(avals[0], spec=attrs["spec"])
        if inner.shape != avals[1].shape:
            raise ShapeError(message("set_slice", "the value does not fit the slice", describe((avals[1], inner))))
        return avals[0]

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        out = np.array(xs[0])
        out[tuple([slice(*t) for t in attrs["spec"]])] = xs[1]
        return out

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        from .base import zeros_like

        base, value = (zeros_like(x) if t is None else t for t, x in zip(ts, xs, strict=True))
        return self(base, value, **attrs)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        inner = OPS["slice"](g, spec=attrs["spec"])
        if i == 1:
            return inner
        return self(g, inner * 0 if dtype_of(g) in dt.INEXACT_NP else inner, **attrs)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        base, value = (to_front(x, d, size) for x, d in zip(xs, dims, strict=True))
        return self(base, value, spec=((0, size, 1), *attrs["spec"])), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(5), floats(3, seed=1), attrs={"spec": ((1, 4, 1),)})
        yield Sample(floats(5, 3), floats(3, 2, seed=1), attrs={"spec": ((4, None, -2), (0, 3, 2))})
        yield Sample(floats(3, 2), floats(0, 2), attrs={"spec": ((1, 1, 1), (0, 2, 1))}, label="empty")

"""Random draws as pure functions of a key: uint64 [..., 2] = (seed, offset).

Leading dimensions of the key are batch dimensions: one draw each. The bits are those of
`wengert.random.philox`; element i of a draw uses words i (32 bits) or 2i, 2i+1 (64 bits).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..errors import ShapeError, message
from ..graph.aval import Aval, describe
from ..random import philox
from .base import OPS, Draw, Sample, shape_of, to_front
from .heavy import HEAVY, computed

KEY = np.array([7, 3], np.uint64)


class Random(Draw):
    """A draw of ``shape`` and ``dtype``. ``exact``: kernels give the same bits as NumPy."""

    exact = True

    def draw(self, seed: int, offset: int, n: int, dtype: np.dtype[Any]) -> Any:
        raise NotImplementedError(self.name)

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        key = avals[0]
        if not key.shape or key.shape[-1] != 2:
            raise ShapeError(message(self.name, "a key has two words", str(key)))
        return Aval((*key.shape[:-1], *attrs["shape"]), attrs["dtype"])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        key, shape, dtype = xs[0], attrs["shape"], attrs["dtype"]
        n = prod(shape)
        if n >= HEAVY and self.exact:
            found = computed(self, xs, attrs)
            if found is not None:
                return found
        rows = [self.draw(int(s), int(o), n, dtype) for s, o in key.reshape(-1, 2)]
        return np.stack(rows).reshape(*key.shape[:-1], *shape) if key.ndim > 1 else rows[0].reshape(shape)

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [None]

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return None

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        return self(to_front(xs[0], dims[0], size), **attrs), 0

    def samples(self) -> Iterable[Sample]:
        for dtype in self.sample_dtypes:
            yield Sample(KEY, attrs={"shape": (2, 3), "dtype": np.dtype(dtype)})
            yield Sample(np.stack([KEY, KEY + 1]), attrs={"shape": (5,), "dtype": np.dtype(dtype)}, label="batch")
            yield Sample(KEY, attrs={"shape": (0,), "dtype": np.dtype(dtype)}, label="empty")
            yield Sample(KEY, attrs={"shape": (), "dtype": np.dtype(dtype)}, label="0-d")

    sample_dtypes: tuple[Any, ...] = (np.float32, np.float64, np.float16, dt.bfloat16.np)


class RandomBits(Random):
    """Uniform 32-bit or 64-bit words."""

    name = "random_bits"
    sample_dtypes = (np.uint32, np.uint64)

    def draw(self, seed: int, offset: int, n: int, dtype: np.dtype[Any]) -> Any:
        return _words(seed, offset, n, dtype.itemsize)


class RandomUniform(Random):
    """Uniform in [0, 1): as many random bits as the significand holds."""

    name = "random_uniform"

    def draw(self, seed: int, offset: int, n: int, dtype: np.dtype[Any]) -> Any:
        return _unit(seed, offset, n, dtype)


class RandomRows(Draw):
    """Parts of the draw ``random_uniform``: of each element of the leading dimensions a matrix of ``shape``.

    Of a key [..., 1, 2] and ``starts`` [..., 1, 1]. A matrix begins with element ``start + first`` of the draw, and
    its rows lie ``stride`` elements apart.
    """

    name = "random_rows"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        key, starts = avals
        if key.ndim < 2 or key.shape[-2:] != (1, 2) or starts.shape[-2:] != (1, 1):
            raise ShapeError(message(self.name, "needs a key [..., 1, 2] and starts [..., 1, 1]", describe(avals)))
        lead = np.broadcast_shapes(key.shape[:-2], starts.shape[:-2])
        return Aval((*lead, *attrs["shape"]), attrs["dtype"])

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        key, starts = xs
        (rows, columns), stride, dtype = attrs["shape"], attrs["stride"], attrs["dtype"]
        lead = np.broadcast_shapes(key.shape[:-2], starts.shape[:-2])
        keys, places = np.broadcast_to(key[..., 0, :], (*lead, 2)), np.broadcast_to(starts[..., 0, 0], lead)
        out = np.empty((*lead, rows, columns), dtype)
        for i in np.ndindex(*lead) if out.size else ():
            seed, offset = keys[i]
            n = (rows - 1) * stride + columns
            found = _unit(int(seed), int(offset), n, dtype, int(places[i]) + attrs["first"])
            out[i] = np.lib.stride_tricks.as_strided(found, (rows, columns), (stride * found.itemsize, found.itemsize))
        return out

    def vjp(self, g: Any, out: Any, xs: Any, need: Any, **attrs: Any) -> Any:
        return [None, None]

    def jvp(self, ts: Any, out: Any, xs: Any, **attrs: Any) -> Any:
        return None

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        rank = max(len(shape_of(x)) - (d is not None) for x, d in zip(xs, dims, strict=True))
        given: list[Any] = []
        for x, d in zip(xs, dims, strict=True):
            moved = x if d is None else to_front(x, d, size)
            shape = shape_of(moved)
            own, batch = (shape, ()) if d is None else (shape[1:], (size,))
            given.append(OPS["reshape"](moved, shape=(*batch, *[1] * (rank - len(own)), *own)))
        return self(*given, **attrs), 0

    def samples(self) -> Iterable[Sample]:
        starts = np.arange(6, dtype=np.int64).reshape(2, 3, 1, 1) * 35
        for dtype in (np.float32, np.float64, np.float16):
            attrs = {"shape": (4, 5), "stride": 7, "first": 14, "dtype": np.dtype(dtype)}
            yield Sample(KEY.reshape(1, 2), starts, attrs=attrs)
            yield Sample(KEY.reshape(1, 2), starts[0, 0] + 1, attrs={**attrs, "shape": (1, 7)}, label="one matrix")
            yield Sample(np.stack([KEY, KEY + 1]).reshape(2, 1, 1, 2), starts, attrs=attrs, label="keys")
            yield Sample(KEY.reshape(1, 2), starts, attrs={**attrs, "shape": (0, 5)}, label="empty")


class RandomNormal(Random):
    """Standard normal, by Box and Muller: elements 2j and 2j+1 share a pair of uniforms."""

    name = "random_normal"
    exact = False

    def draw(self, seed: int, offset: int, n: int, dtype: np.dtype[Any]) -> Any:
        wide = np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)
        # By kernels, if there are many. Logarithms and cosines stay NumPy's: eager draws have the same bits everywhere.
        key = np.array([seed, offset], np.uint64)
        pairs = OPS["random_uniform"].numpy(key, shape=(-(-n // 2), 2), dtype=wide)
        radius = wide.type(1) - pairs[:, 0]
        np.sqrt(np.multiply(np.log(radius, out=radius), wide.type(-2), out=radius), out=radius)
        angle = wide.type(2 * np.pi) * pairs[:, 1]
        np.multiply(radius, np.cos(angle), out=pairs[:, 0])
        np.multiply(radius, np.sin(angle, out=angle), out=pairs[:, 1])
        return pairs.reshape(-1)[:n].astype(dtype, copy=False)


def _words(seed: int, offset: int, n: int, itemsize: int, first: int = 0) -> Any:
    if itemsize == 8:
        pairs = philox(seed, offset, 2 * n, 2 * first).astype(np.uint64).reshape(-1, 2)
        return pairs[:, 0] << np.uint64(32) | pairs[:, 1]
    return philox(seed, offset, n, first)


def _unit(seed: int, offset: int, n: int, dtype: np.dtype[Any], first: int = 0) -> Any:
    """Uniform numbers in [0, 1) with as many bits as the significand of the dtype holds, from number ``first`` on."""
    digits = 53 if dtype.itemsize == 8 else {np.dtype(np.float32): 24, np.dtype(np.float16): 11}.get(dtype, 8)
    words = _words(seed, offset, n, 8 if digits == 53 else 4, first)
    top = words >> words.dtype.type(words.dtype.itemsize * 8 - digits)
    return (top.astype(np.float64 if digits == 53 else np.float32) * 2.0**-digits).astype(dtype, copy=False)

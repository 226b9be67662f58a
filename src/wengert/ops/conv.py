"""Convolution: one bilinear op for every rank, and for both its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .. import dtypes as dt
from ..errors import DTypeError, ShapeError, message
from ..graph.aval import Aval, describe
from .base import OPS, Linear, Sample, conj, shape_of, to_front
from .heavy import computed
from .testpoints import complexes, floats, noncontiguous

Pads = tuple[tuple[int, int], ...]

HEAVY = 1 << 22  # multiplications, from which on generated kernels are quicker than NumPy
_KERNELS = (dt.NP_FLOAT32, dt.NP_FLOAT64, *dt.HALF_NP)
TILE = 1 << 18  # elements of a block of unfolded windows: it stays in the second-level cache


class Conv(Linear):
    """Cross-correlation of x (N, G·C, *S) with w (G·D, C, *K): (N, G·D, *O), channels first as in PyTorch.

    ``out[n, d, o] = sum over c, k of x'[n, c, o·stride + k·dilation] w[d, c, k]``, where ``x'`` is x with
    ``lhs_dilation - 1`` zeros put between neighbours and ``padding`` (low, high) zeros around it
    (negative: cut off). Channels are contracted within each of ``groups`` G. Half precision is summed
    in float32 and rounded once.

    ``order``, which the compiler chooses: the result's axes are permuted so, as memory should hold them.

    Both gradients are convolutions again: that of x puts ``stride - 1`` zeros between the adjoints, and
    that of w exchanges the roles of batch and channels (Dumoulin and Visin, arXiv:1603.07285).
    """

    name = "conv"

    def infer(self, *avals: Aval, **attrs: Any) -> Aval:
        x, w = avals
        groups = attrs["groups"]
        if x.ndim != w.ndim or x.ndim < 3:
            raise ShapeError(
                message("conv", "needs an input (N, C, *sizes) and a weight (D, C/groups, *kernel)",
                        describe(avals))
            )  # fmt: skip
        if x.dtype != w.dtype:
            raise DTypeError(message("conv", "input and weight must have one dtype", describe(avals)))
        if x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
            raise ShapeError(
                message("conv", "channels do not fit", f"{describe(avals)} with groups={groups}",
                        f"The weight expects {w.shape[1] * groups} channels, the input has {x.shape[1]}; "
                        "the number of output channels must be a multiple of groups")
            )  # fmt: skip
        if min(x.shape[2:]) < 1 or min(w.shape[2:]) < 1:
            raise ShapeError(message("conv", "input and kernel must not be empty", describe(avals)))
        out = out_sizes(x.shape[2:], w.shape[2:], **attrs)
        if min(out) < 1:
            raise ShapeError(
                message("conv", "the kernel is larger than the padded input",
                        f"{describe(avals)}, padding {attrs['padding']}, dilation {attrs['dilation']}",
                        "Pad the input or use a smaller kernel")
            )  # fmt: skip
        shape = (x.shape[0], w.shape[0], *out)
        return Aval(tuple([shape[i] for i in attrs["order"]]) if "order" in attrs else shape, x.dtype)

    def numpy(self, *xs: Any, **attrs: Any) -> Any:
        x, w = xs
        order = attrs.pop("order", None)
        if order is not None:
            return self.numpy(x, w, **attrs).transpose(order)
        dtype = x.dtype
        shape = self.infer(Aval(x.shape, dtype), Aval(w.shape, w.dtype), **attrs).shape
        if not x.size or not w.size or not math.prod(shape):
            return np.zeros(shape, dtype)
        if math.prod(shape) * math.prod(w.shape[1:]) >= HEAVY and dtype in _KERNELS:
            found = computed(self, (x, w), attrs)
            if found is not None:
                return found
        if dtype in dt.HALF_NP:
            x, w = x.astype(np.float32), w.astype(np.float32)
        return convolve(x, w, shape, **attrs).astype(dtype, copy=False)

    def transpose(self, g: Any, i: int, *xs: Any, **attrs: Any) -> Any:
        x, w = xs
        return self.input_adjoint(g, x, w, **attrs) if i == 0 else self.weight_adjoint(g, x, w, **attrs)

    def input_adjoint(self, g: Any, x: Any, w: Any, **attrs: Any) -> Any:
        """The adjoint of x: g, with zeros between, against the mirrored weight."""
        groups, dilation, padding = attrs["groups"], attrs["dilation"], attrs["padding"]
        stride, lhs_dilation = attrs["stride"], attrs["lhs_dilation"]
        sizes, kernel, outs = shape_of(x)[2:], shape_of(w)[2:], shape_of(g)[2:]
        lows = tuple(d * (k - 1) - p[0] for d, k, p in zip(dilation, kernel, padding))
        pads = fitting_pads(lows, outs, stride, sizes, lhs_dilation, kernel, dilation)
        return self(
            g, conj(swap_channels(mirror(w), groups)), stride=lhs_dilation, padding=pads, dilation=dilation,
            lhs_dilation=stride, groups=groups,
        )  # fmt: skip

    def weight_adjoint(self, g: Any, x: Any, w: Any, **attrs: Any) -> Any:
        """The adjoint of w: x against g, contracted over the batch.

        Where x has zeros between (the forward pass was a transposed convolution), g takes the place of
        the input instead, so that nothing is multiplied by those zeros.
        """
        groups, dilation, padding = attrs["groups"], attrs["dilation"], attrs["padding"]
        stride, lhs_dilation = attrs["stride"], attrs["lhs_dilation"]
        sizes, kernel, outs = shape_of(x)[2:], shape_of(w)[2:], shape_of(g)[2:]
        if max(lhs_dilation) > 1 and max(stride) == 1:
            lows = tuple(d * (k - 1) - p[0] for d, k, p in zip(dilation, kernel, padding))
            pads = fitting_pads(lows, outs, stride, kernel, dilation, sizes, lhs_dilation)
            out = self(
                batch_to_channels(g, groups), swap_batch(conj(x)), stride=dilation, padding=pads,
                dilation=lhs_dilation, lhs_dilation=stride, groups=groups,
            )  # fmt: skip
            return mirror(swap_channels(swap_batch(out), groups))
        lows = tuple(p[0] for p in padding)
        pads = fitting_pads(lows, sizes, lhs_dilation, kernel, dilation, outs, stride)
        out = self(
            batch_to_channels(conj(x), groups), swap_batch(g), stride=dilation, padding=pads, dilation=stride,
            lhs_dilation=lhs_dilation, groups=groups,
        )  # fmt: skip
        return swap_batch(out)

    def batch(self, size: int, xs: Any, dims: Any, **attrs: Any) -> tuple[Any, Any]:
        """A mapped input is more batch; a mapped weight is more output channels; both are more groups."""
        (x, w), groups = xs, attrs["groups"]
        if dims[1] is None:
            x = to_front(x, dims[0], size)
            n = shape_of(x)[1]
            out = self(_reshape(x, (size * n, *shape_of(x)[2:])), w, **attrs)
            return _reshape(out, (size, n, *shape_of(out)[1:])), 0
        w = to_front(w, dims[1], size)
        d, kernel = shape_of(w)[1] // groups, shape_of(w)[2:]
        if dims[0] is None:
            w = _permute(_reshape(w, (size, groups, d, *kernel)), (1, 0, 2))
            out = self(x, _reshape(w, (groups * size * d, *kernel)), **attrs)
            out = _reshape(out, (shape_of(out)[0], groups, size, d, *shape_of(out)[2:]))
            out = _permute(out, (2, 0, 1, 3))
            return _reshape(out, (size, shape_of(out)[1], groups * d, *shape_of(out)[4:])), 0
        x = _permute(to_front(x, dims[0], size), (1, 0, 2))
        n = shape_of(x)[0]
        x = _reshape(x, (n, size * shape_of(x)[2], *shape_of(x)[3:]))
        out = self(x, _reshape(w, (size * groups * d, *kernel)), **{**attrs, "groups": size * groups})
        out = _reshape(out, (n, size, groups * d, *shape_of(out)[2:]))
        return _permute(out, (1, 0, 2)), 0

    def samples(self) -> Iterable[Sample]:
        yield Sample(floats(2, 3, 7), floats(4, 3, 3, seed=1), attrs=conv_attrs(1))
        yield Sample(floats(2, 2, 5, 6), floats(3, 2, 2, 3, seed=1),
                     attrs=conv_attrs(2, stride=(2, 1), padding=((1, 0), (2, 1))))  # fmt: skip
        yield Sample(floats(1, 2, 6, 5), floats(2, 2, 2, 2, seed=1),
                     attrs=conv_attrs(2, stride=(2, 3), dilation=(2, 1)), label="with a rest")  # fmt: skip
        yield Sample(floats(2, 4, 5), floats(6, 2, 3, seed=1), attrs=conv_attrs(1, groups=2, padding=((1, 1),)))
        yield Sample(floats(2, 3, 4, 4), floats(3, 1, 2, 2, seed=1), attrs=conv_attrs(2, groups=3), label="depthwise")
        yield Sample(floats(1, 2, 3, 4, 3), floats(2, 2, 2, 2, 2, seed=1), attrs=conv_attrs(3), label="3-d")
        yield Sample(floats(2, 2, 4), floats(3, 2, 3, seed=1),
                     attrs=conv_attrs(1, lhs_dilation=(2,), padding=((1, 2),)), label="zeros")  # fmt: skip
        yield Sample(floats(1, 4, 3), floats(4, 2, 3, seed=1),
                     attrs=conv_attrs(1, (2,), ((2, -1),), (2,), (3,), 2), label="all attributes")  # fmt: skip
        yield Sample(floats(1, 1, 6), floats(1, 1, 2, seed=1), attrs=conv_attrs(1, padding=((-2, -1),)), label="cut")
        yield Sample(
            noncontiguous(2, 2, 5),
            noncontiguous(3, 2, 3, seed=1),
            attrs=conv_attrs(1),
            label="non-contiguous",
        )
        yield Sample(floats(0, 2, 5), floats(3, 2, 3), attrs=conv_attrs(1), label="empty batch")
        yield Sample(complexes(2, 2, 5), complexes(3, 2, 3, seed=1), attrs=conv_attrs(1, stride=(2,)))


def conv_attrs(
    rank: int,
    stride: tuple[int, ...] | None = None,
    padding: Pads | None = None,
    dilation: tuple[int, ...] | None = None,
    lhs_dilation: tuple[int, ...] | None = None,
    groups: int = 1,
) -> dict[str, Any]:
    """The attributes of `Conv`, with the usual defaults."""
    ones = (1,) * rank
    return {
        "stride": stride or ones,
        "padding": padding or ((0, 0),) * rank,
        "dilation": dilation or ones,
        "lhs_dilation": lhs_dilation or ones,
        "groups": groups,
    }


# -- shapes ----------------------------------------------------------------------------------


def padded_sizes(sizes: Sequence[int], padding: Pads, lhs_dilation: Sequence[int], **_: Any) -> tuple[int, ...]:
    """Sizes of the input after dilation and padding."""
    return tuple((n - 1) * d + 1 + a + b for n, d, (a, b) in zip(sizes, lhs_dilation, padding))


def out_sizes(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Pads,
    dilation: Sequence[int],
    lhs_dilation: Sequence[int],
    **_: Any,
) -> tuple[int, ...]:
    """Spatial sizes of the result; below 1 where the kernel does not fit."""
    padded = padded_sizes(sizes, padding, lhs_dilation)
    return tuple((p - d * (k - 1) - 1) // s + 1 for p, d, k, s in zip(padded, dilation, kernel, stride))


def fitting_pads(
    lows: Sequence[int],
    sizes: Sequence[int],
    lhs_dilation: Sequence[int],
    outs: Sequence[int],
    stride: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
) -> Pads:
    """The padding that starts at ``lows`` and gives a result of exactly ``outs``."""
    pads: list[tuple[int, int]] = []
    for low, n, e, o, s, k, d in zip(lows, sizes, lhs_dilation, outs, stride, kernel, dilation):
        pads.append((low, (o - 1) * s + d * (k - 1) + 1 - ((n - 1) * e + 1) - low))
    return tuple(pads)


def _reshape(x: Any, shape: Sequence[int]) -> Any:
    return OPS["reshape"](x, shape=tuple(shape))


def _permute(x: Any, order: Sequence[int]) -> Any:
    """Permute the first axes."""
    return OPS["permute"](x, order=(*order, *range(len(order), len(shape_of(x)))))


def mirror(w: Any) -> Any:
    """Reverse the kernel's axes."""
    shape = shape_of(w)
    keep = tuple((0, n, 1) for n in shape[:2])
    return OPS["slice"](w, spec=(*keep, *[(n - 1, None, -1) for n in shape[2:]]))


def swap_channels(w: Any, groups: int) -> Any:
    """(G·D, C, *K) to (G·C, D, *K)."""
    if groups == 1:
        return _permute(w, (1, 0))
    d, c, *kernel = shape_of(w)
    d //= groups
    return _reshape(_permute(_reshape(w, (groups, d, c, *kernel)), (0, 2, 1)), (groups * c, d, *kernel))


def swap_batch(x: Any) -> Any:
    """(N, C, *S) to (C, N, *S)."""
    return _permute(x, (1, 0))


def batch_to_channels(x: Any, groups: int) -> Any:
    """(N, G·C, *S) to (C, G·N, *S)."""
    if groups == 1:
        return swap_batch(x)
    n, c, *sizes = shape_of(x)
    c //= groups
    return _reshape(_permute(_reshape(x, (n, groups, c, *sizes)), (2, 1, 0)), (c, groups * n, *sizes))


# -- the reference computation -----------------------------------------------------------------


def convolve(
    x: Any,
    w: Any,
    shape: tuple[int, ...],
    stride: Sequence[int],
    padding: Pads,
    dilation: Sequence[int],
    lhs_dilation: Sequence[int],
    groups: int,
) -> Any:
    """Choose the way with the fewest multiplications; each runs in blocks that stay in the cache."""
    sizes, kernel, outs = x.shape[2:], w.shape[2:], shape[2:]
    padded = padded_sizes(sizes, padding, lhs_dilation)
    lows = tuple(p[0] for p in padding)
    xg = x.reshape((x.shape[0], groups, x.shape[1] // groups, *sizes))  # splitting an axis never copies
    wg = w.reshape((groups, w.shape[0] // groups, *w.shape[1:]))
    d, c = wg.shape[1:3]
    if max(lhs_dilation) > 1 and max(stride) == 1:
        out = scatter_products(xg, wg, outs, lows, dilation, lhs_dilation)
    else:
        source = Padded(xg, padded, lows, lhs_dilation, kernel, outs, stride, dilation)
        if math.prod(outs) < math.prod(kernel):
            out = contract_channels(source, wg)
        elif c == 1 and d <= 4 and groups > 1:
            out = multiply_taps(source, wg)
        else:
            out = unfold_and_multiply(source, wg)
    return out.reshape(shape)


class Padded:
    """Blocks of x (N, G, C, *S), dilated and padded, and the windows of them that a kernel sees."""

    def __init__(
        self,
        x: Any,
        padded: Sequence[int],
        lows: Sequence[int],
        lhs_dilation: Sequence[int],
        kernel: tuple[int, ...],
        outs: tuple[int, ...],
        stride: Sequence[int],
        dilation: Sequence[int],
    ) -> None:
        self.x, self.padded = x, tuple(padded)
        self.kernel, self.outs, self.stride, self.dilation = kernel, outs, stride, dilation
        spans = [span(*t) for t in zip(x.shape[3:], padded, lows, lhs_dilation)]
        self.source = tuple([s for s, _ in spans])
        self.target = tuple([t for _, t in spans])
        self.plain = all(t == slice(0, n, 1) for t, n in zip(self.target, padded))
        self.memory: Any = None

    def block(self, part: Any) -> Any:
        """A part of x in its place among zeros; the memory is used again for the next part."""
        part = part[(..., *self.source)]
        if self.plain:
            return part
        memory = self.memory
        if memory is None or memory.shape[:3] != part.shape[:3]:
            memory = self.memory = np.zeros(part.shape[:3] + self.padded, part.dtype)
        memory[(..., *self.target)] = part
        return memory

    def windows(self, block: Any) -> Any:
        """(n, G, C, *K, *O): all that the kernel sees, without a copy."""
        lead, space = block.strides[:3], block.strides[3:]
        taps = tuple([s * d for s, d in zip(space, self.dilation)])
        steps = tuple([s * d for s, d in zip(space, self.stride)])
        return as_strided(block, block.shape[:3] + self.kernel + self.outs, lead + taps + steps)


def span(size: int, padded: int, low: int, dilation: int) -> tuple[slice, slice]:
    """Which elements of an axis land in the padded axis, and where."""
    first = max(0, -(low // dilation))
    last = min(size - 1, (padded - 1 - low) // dilation)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start = first * dilation + low
    return slice(first, last + 1), slice(start, last * dilation + low + 1, dilation)


def unfold_and_multiply(source: Padded, w: Any) -> Any:
    """The usual way: copy windows of some images (or rows of one) into a matrix, multiply by the weights."""
    x, kernel, outs = source.x, source.kernel, source.outs
    n, groups, c = x.shape[:3]
    rank, d, area, rest = len(kernel), w.shape[1], math.prod(kernel), math.prod(outs[1:])
    matrix = w.reshape(groups, d, c * area)
    out = np.empty((n, groups, d, *outs), x.dtype)
    row = groups * c * area * rest
    images = max(1, min(n, TILE // (row * outs[0])))
    rows = outs[0] if images > 1 else max(1, min(outs[0], max(TILE // row, 64 // rest)))
    for i in range(0, n, images):
        windows = np.moveaxis(source.windows(source.block(x[i : i + images])), 0, 2 + rank)  # (G, C, *K, n, *O)
        for r in range(0, outs[0], rows):
            part = windows[(*[slice(None)] * (3 + rank), slice(r, r + rows))]
            block = np.matmul(matrix, part.reshape(groups, c * area, -1))
            out[i : i + images, :, :, r : r + rows] = np.moveaxis(
                block.reshape(groups, d, *part.shape[2 + rank :]), 2, 0
            )
    return out


def contract_channels(source: Padded, w: Any) -> Any:
    """For kernels larger than the result (gradients of weights): sum over blocks of channels."""
    x, kernel, outs = source.x, source.kernel, source.outs
    n, groups, c = x.shape[:3]
    d, area, cells, rank = w.shape[1], math.prod(kernel), math.prod(outs), len(outs)
    step = max(1, min(c, TILE // (groups * n * area * cells)))
    order = (1, 0, *range(3 + rank, 3 + 2 * rank), 2, *range(3, 3 + rank))  # (G, n, *O, c, *K)
    total: Any = 0
    for i in range(0, c, step):
        windows = source.windows(source.block(x[:, :, i : i + step])).transpose(order)
        weights = w[:, :, i : i + step].reshape(groups, d, -1)
        total = total + np.matmul(windows.reshape(groups, n * cells, -1), weights.transpose(0, 2, 1))
    return np.ascontiguousarray(total.reshape(groups, n, cells, d).transpose(1, 0, 3, 2))


def multiply_taps(source: Padded, w: Any) -> Any:
    """For depthwise kernels: one multiply-add of whole images for each element of the kernel."""
    x, kernel, outs = source.x, source.kernel, source.outs
    n, groups = x.shape[:2]
    d = w.shape[1]
    out = np.empty((n, groups, d, *outs), x.dtype)
    images = max(1, min(n, TILE // (groups * d * math.prod(outs))))
    factors = w.reshape(groups, d, *kernel, *[1] * len(outs))
    buffer: Any = None
    for i in range(0, n, images):
        windows = source.windows(source.block(x[i : i + images]))
        into = out[i : i + images]
        if buffer is None or buffer.shape != into.shape:
            buffer = np.empty(into.shape, x.dtype)
        for number, tap in enumerate(np.ndindex(*kernel)):
            np.multiply(windows[(slice(None), slice(None), slice(None), *tap)],
                        factors[(slice(None), slice(None), *tap)],
                        out=buffer if number else into)  # fmt: skip
            if number:
                into += buffer
    return out


def scatter_products(
    x: Any,
    w: Any,
    outs: tuple[int, ...],
    lows: Sequence[int],
    dilation: Sequence[int],
    lhs_dilation: Sequence[int],
) -> Any:
    """Transposed convolution: multiply every input by the whole kernel, add each tap where it lands."""
    n, groups, c = x.shape[:3]
    sizes, kernel, d = x.shape[3:], w.shape[3:], w.shape[1]
    matrix = np.moveaxis(w.reshape(groups, d, c, -1), 3, 1).reshape(groups, -1, c)  # (G, K·D, C)
    out = np.zeros((n, groups, d, *outs), x.dtype)
    images = max(1, min(n, TILE // (matrix.shape[0] * matrix.shape[1] * math.prod(sizes))))
    places = [
        [span(size, o, low - k * dil, step) for k in range(taps)]
        for size, o, low, taps, dil, step in zip(sizes, outs, lows, kernel, dilation, lhs_dilation)
    ]
    for i in range(0, n, images):
        part = np.moveaxis(x[i : i + images], 0, 2)
        count = part.shape[2]
        products = np.matmul(matrix, part.reshape(groups, c, -1)).reshape(groups, -1, d, count, *sizes)
        products = np.moveaxis(products, 3, 0)  # (n, G, K, D, *S)
        into = out[i : i + images]
        for tap, place in enumerate(product(*places)):
            target = (..., *[t for _, t in place])
            into[target] += products[(slice(None), slice(None), tap, slice(None), *[s for s, _ in place])]
    return out

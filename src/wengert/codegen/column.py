"""Products of a small matrix with one vector, where the matrix lies so that vectors run along the result.

In a loop they follow on each other, so what counts is how soon the result is there: a sum is cut into several, which
go on at once, column by column, in the order in which the factors come. It is straight code whose columns
LLVM must leave in order: it would put the whole of one sum before the next, while processors look ahead by some two
hundred instructions only, and would keep a matrix that is read again in its registers, which are too few.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from .kernel import Kernel, Recipe, Step, kernel_builder
from .loop import BITS, Type, Value, Var, pointer
from .micro import multiply_add
from .target import Target

TERMS = 4  # of a sum of a chain, at least
SUMS = 8  # that go on at once, at least: two instructions begin in a cycle, and a result is there after four
STRAIGHT = 512  # multiply-adds of straight code, at most
LARGEST = 4096  # elements of a matrix


class Column(NamedTuple):
    """``c[i] = sum over k of a[i * a_strides[0] + k * a_strides[1]] * x[k * x_stride]``, ``m`` results, ``k`` terms.

    ``padded``: ``c`` has room for whole vectors. ``packed``: the matrix is copied to where each of its columns begins
    with a line of memory and is as long as whole vectors, in a step that reads nothing else; if not, ``a_strides[0]``
    is 1.
    """

    kind: str
    m: int
    k: int
    a_strides: tuple[int, ...]
    x_stride: int
    padded: bool = False
    packed: bool = False


@functools.lru_cache(1024)
def column_product(spec: Column, target: Target) -> Recipe:
    """The kernels, each one tile. Operands: a, x, c."""
    kind, m, k = spec.kind, spec.m, spec.k
    lanes = target.vector_bytes * 8 // BITS[kind]
    size = BITS[kind] // 8
    if spec.packed:
        width = -(-m // lanes) * lanes
        inner = spec._replace(m=width if spec.padded else m, a_strides=(1, width), packed=False)
        (step,) = column_product(inner, target).steps
        pack = Step(_pack(spec, target, width, lanes), ("a", "packed"))
        return Recipe((pack, step._replace(operands=("packed", "x", "c"))), {"packed": (kind, k * width)})
    b = kernel_builder(_name("column", spec, target), {x: pointer(kind) for x in ("a", "x", "c")})
    vectors = -(-m // lanes)
    group = -(-vectors // -(-vectors // SUMS))
    with b.when(b.lo < b.hi):
        for first in range(0, vectors, group):
            starts = [v * lanes for v in range(first, min(first + group, vectors))]
            _strip(spec, target, (b.a, b.x, b.c), starts, lanes)
    kernel = Kernel(b.finish(), 1, 0, 2 * m * k, (m * k + m + k) * size)
    return Recipe((Step(kernel, ("a", "x", "c")),), {})


def _name(stem: str, spec: Column, target: Target) -> str:
    strides = "_".join(map(str, (spec.m, spec.k, *spec.a_strides, spec.x_stride)))
    return f"{stem}_{spec.kind}_{strides}_{target.vector_bytes}{'_fma' * target.has_fma}{'_padded' * spec.padded}"


def _pack(spec: Column, target: Target, width: int, lanes: int) -> Kernel:
    """Copies the matrix, with 0 where it has no element."""
    b = kernel_builder(_name("pack_column", spec, target), {x: pointer(spec.kind) for x in ("a", "packed")})
    along, step = spec.a_strides
    with b.when(b.lo < b.hi), b.loop(0, spec.k, unroll=1) as k:
        for s in range(0, width, lanes):
            mask = None if s + lanes <= spec.m else b.iota(lanes) < spec.m - s
            at = k * step + s * along
            x = b.load(b.a, at, lanes, mask) if along == 1 else b.gather(b.a, b.iota(lanes) * along + at, mask)
            b.store(b.packed, k * width + s, x)
    size = BITS[spec.kind] // 8
    return Kernel(b.finish(), 1, 0, 0, (spec.m + width) * spec.k * size)


def _strip(spec: Column, target: Target, memory: tuple[Value, Value, Value], starts: list[int], lanes: int) -> None:
    """The results from some places on, a vector each."""
    (a, x, c), b = memory, memory[0].b
    chains = max(min(-(-SUMS // len(starts)), spec.k // TERMS), 1)
    vector = Type(spec.kind, lanes)
    sums: list[list[Var]] = [[b.var(0, vector) for _ in starts] for _ in range(chains)]
    masks = [None if s + lanes <= spec.m else b.iota(lanes) < b.splat(b.const(spec.m - s, Type("i64")), lanes)
             for s in starts]  # fmt: skip

    def term(k: Value | int, chain: int) -> None:
        factor = b.splat(b.load(x, k * spec.x_stride), lanes)
        for s, mask, total in zip(starts, masks, sums[chain], strict=True):
            total.set(
                multiply_add(b, b.load(a, k * spec.a_strides[1] + s, lanes, mask), factor, total.get(), target.has_fma)
            )
        b.in_order()

    columns = STRAIGHT // len(starts) // chains * chains
    looped = spec.k // columns * columns if spec.k > columns else 0
    if looped:
        with b.loop(0, looped, columns, unroll=1) as first:
            for j in range(columns):
                term(first + j, j % chains)
    for k in range(looped, spec.k):
        term(k, k % chains)
    for i, (s, mask) in enumerate(zip(starts, masks, strict=True)):
        b.store(c, s, _total([chain[i].get() for chain in sums]), None if spec.padded else mask)


def _total(parts: list[Value]) -> Value:
    """The sum, as a tree."""
    while len(parts) > 1:
        rest = parts[len(parts) // 2 * 2 :]
        parts = [p + q for p, q in zip(parts[::2], parts[1::2], strict=False)] + rest
    return parts[0]

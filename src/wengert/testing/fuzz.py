"""Random programs, compiled and not: ``python -m wengert.testing.fuzz`` runs on until it finds a difference.

A program is a few dozen operations on a few arrays, drawn from a seed: elementwise functions, reductions, movements,
products, choices and lookups, over many shapes, dtypes, strides and numbers of threads, sometimes with a gradient.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import api
from .. import dtypes as dt
from ..checking import close
from ..compiler import Compiled
from ..config import get_num_threads, set_num_threads
from ..graph.handle import Handle, wrap

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 70)
LARGEST = 20_000  # elements of a value

# All are continuous: where one jumped, a last bit would decide.
UNARY: tuple[Callable[[Any], Any], ...] = (
    lambda x: x.tanh(), lambda x: x.sigmoid(), lambda x: x.relu(), lambda x: x.abs(), lambda x: -x, lambda x: x.sin(),
    lambda x: (x.abs() + 0.5).log(), lambda x: (x.abs() + 0.1).sqrt(), lambda x: (x * 0.1).exp(), lambda x: x * 2.5,
    lambda x: 1.0 / (x.abs() + 1.0), lambda x: x.clamp(-1.0, 1.0), lambda x: x**2, lambda x: api.erf(x),
    lambda x: (x * 0.3).expm1(), lambda x: x.cos() + 1,
)  # fmt: skip
BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / (y.abs() + 1.0), api.maximum,
    api.minimum, lambda x, y: api.where(x > y, x - y, (x - y) * 0.5), lambda x, y: x * y * (y > 0), api.hypot,
)  # fmt: skip


class Draw:
    """The choices of one program, made by a seed alone."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.dtype = self.rng.choice([np.float32, np.float32, np.float64])

    def shape(self) -> tuple[int, ...]:
        """A shape of up to four dimensions."""
        while True:
            shape = tuple(self.rng.choice(SIZES) for _ in range(self.rng.choice([0, 1, 2, 2, 3, 3, 4])))
            if np.prod(shape, dtype=int) <= LARGEST:
                return shape

    def array(self) -> Any:
        """An array, now and then with unusual strides."""
        shape = self.shape()
        a = self.numbers.normal(size=shape).astype(self.dtype)
        if shape and self.rng.random() < 0.3:
            a = np.asarray(a[..., ::-1]) if self.rng.random() < 0.5 else a.T
        return a


Step = Callable[[list[Any]], Any]


def _pick(d: Draw, values: list[tuple[int, ...]]) -> int:
    return d.rng.randrange(max(0, len(values) - 6), len(values))


def _unary(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]]:
    i, f = _pick(d, shapes), d.rng.choice(UNARY)
    return lambda v: f(v[i]), shapes[i]


def _binary(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i, j, f = _pick(d, shapes), _pick(d, shapes), d.rng.choice(BINARY)
    try:
        shape = np.broadcast_shapes(shapes[i], shapes[j])
    except ValueError:
        return None
    return (lambda v: f(v[i], v[j])), shape


def _reduce(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i]:
        return None
    axes = tuple(sorted(d.rng.sample(range(len(shapes[i])), d.rng.randint(1, len(shapes[i])))))
    keep = d.rng.random() < 0.5
    name = d.rng.choice(["sum", "mean", "amax", "amin"])
    shape = tuple(1 if k in axes else n for k, n in enumerate(shapes[i]) if keep or k not in axes)
    return (lambda v: getattr(v[i], name)(axes, keep)), shape


def _softmax(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i]:
        return None
    axis = d.rng.randrange(len(shapes[i]))
    return (lambda v: v[i].softmax(axis)), shapes[i]


def _run(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i]:
        return None
    axis = d.rng.randrange(len(shapes[i]))
    n = shapes[i][axis]
    f: Callable[[Any], Any] = d.rng.choice([
        lambda x: x.cumsum(axis) * (1 / n), lambda x: x.flip(axis).cumsum(axis) * (1 / n),
        lambda x: x.cummax(axis).values, lambda x: x.cummin(axis).values, lambda x: (x * 0.5).sin().cumprod(axis),
        lambda x: x.logcumsumexp(axis),
    ])  # fmt: skip
    return (lambda v: f(v[i])), shapes[i]


def _permute(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]]:
    i = _pick(d, shapes)
    order = d.rng.sample(range(len(shapes[i])), len(shapes[i]))
    return (lambda v: v[i].permute(*order) if order else v[i]), tuple(shapes[i][k] for k in order)


def _reshape(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]]:
    i = _pick(d, shapes)
    rest = int(np.prod(shapes[i], dtype=int))
    out: list[int] = []
    while rest > 1 and len(out) < 3:
        n = d.rng.choice([k for k in range(1, rest + 1) if rest % k == 0][:12])
        out.append(n)
        rest //= n
    shape = (*out, rest)
    return (lambda v: v[i].reshape(shape)), shape


def _slice(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i]:
        return None
    index: list[slice] = []
    for n in shapes[i]:
        start = d.rng.randrange(n)
        index.append(slice(start, d.rng.randint(start + 1, n), d.rng.choice([1, 1, 2])))
    shape = tuple(len(range(*s.indices(n))) for s, n in zip(index, shapes[i], strict=True))
    return (lambda v: v[i][tuple(index)]), shape


def _cat(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i] or np.prod(shapes[i], dtype=int) * 2 > LARGEST:
        return None
    axis = d.rng.randrange(len(shapes[i]))
    shape = tuple(2 * n if k == axis else n for k, n in enumerate(shapes[i]))
    return (lambda v: api.cat([v[i], v[i] * 0.5], axis)), shape


def _pad(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i] or np.prod(shapes[i], dtype=int) * 4 > LARGEST:
        return None
    low, high = d.rng.randint(0, 3), d.rng.randint(0, 3)
    from ..nn import functional as F

    return (lambda v: F.pad(v[i], (low, high))), (*shapes[i][:-1], shapes[i][-1] + low + high)


def _matmul(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if len(shapes[i]) < 2:
        return None
    shape = (*shapes[i][:-1], shapes[i][-2])
    if np.prod(shape, dtype=int) > LARGEST:
        return None
    return (lambda v: (v[i] @ v[i].transpose(-1, -2)) * 0.1), shape


def _computed_product(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    """A product of operands that it may compute itself: numbers of another kind, scaled, and a function of a value."""
    i, f = _pick(d, shapes), d.rng.choice(UNARY)
    if len(shapes[i]) < 2:
        return None
    n, k = d.rng.choice([1, 5, 17, 40]), shapes[i][-1]
    w = (d.numbers.normal(size=(n, k)) * 50).astype(d.rng.choice([np.int8, np.int16, np.float16, np.float32]))
    shape = (*shapes[i][:-1], n)
    if np.prod(shape, dtype=int) > LARGEST:
        return None
    scale = (d.numbers.normal(size=(n, 1)) * 0.02 / k).astype(d.dtype)
    turned = d.rng.random() < 0.5
    dtype = api.float64 if d.dtype is np.float64 else api.float32

    def step(v: list[Any]) -> Any:
        y = wrap(w if turned else np.ascontiguousarray(w.T)).to(dtype)
        return f(v[i]) @ ((y * wrap(scale)).transpose(0, 1) if turned else y * wrap(scale.T))

    return step, shape


def _take(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i]:
        return None
    index = d.numbers.integers(-shapes[i][0], shapes[i][0], size=d.rng.choice([1, 5, 17]))
    shape = (len(index), *shapes[i][1:])
    return ((lambda v: v[i][wrap(index)]), shape) if np.prod(shape, dtype=int) <= LARGEST else None


def _gather(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i]:
        return None
    axis = d.rng.randrange(len(shapes[i]))
    index = d.numbers.integers(0, shapes[i][axis], size=shapes[i])
    return (lambda v: api.gather(v[i], axis, wrap(index))), shapes[i]


def _scatter(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i = _pick(d, shapes)
    if not shapes[i]:
        return None
    axis = d.rng.randrange(len(shapes[i]))
    index = d.numbers.integers(0, shapes[i][axis], size=shapes[i])
    return (lambda v: api.zeros_like(v[i]).scatter_add(axis, wrap(index), v[i])), shapes[i]


def _normalise(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    from ..nn import functional as F

    i = _pick(d, shapes)
    if not shapes[i] or shapes[i][-1] < 3:
        return None
    # Moved away from 0: else nothing but rounding would be left of the sum of a row; and not to halves, whose sums are
    # cut to whole numbers this way or that.
    return (lambda v: F.layer_norm(v[i], shapes[i][-1:], eps=1e-2) + 0.37), shapes[i]


def _classify(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    from ..nn import functional as F

    i = _pick(d, shapes)
    if len(shapes[i]) != 2:
        return None
    target = d.numbers.integers(0, shapes[i][1], size=shapes[i][0])
    target[d.numbers.random(len(target)) < 0.2] = -100
    return (lambda v: F.cross_entropy(v[i], wrap(target), reduction="none")), shapes[i][:1]


def _write(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    i, kind = _pick(d, shapes), d.rng.randrange(4)
    if not shapes[i]:
        return None
    k = d.rng.randrange(shapes[i][0])

    def step(v: list[Any]) -> Any:
        out = v[i].clone()
        if kind == 0:
            out[k] = 0.5
        elif kind == 1:
            out[k:].mul_(2.0)
        elif kind == 2:
            out[out > 0.3] = -1.0
        else:
            out.transpose(0, -1)[..., : k + 1].add_(1.0)
        return out

    return step, shapes[i]


def _whole_numbers(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]]:
    """Integers and bools on the way: they carry no gradient, and are multiplied back onto the value."""
    i, kind = _pick(d, shapes), d.rng.randrange(4)
    dtype = d.rng.choice(["int8", "int16", "int32", "int64", "uint8", "bool"])

    def step(v: list[Any]) -> Any:
        n = (v[i].detach().clamp(-9, 9).abs() * 4).to(getattr(api, dtype))
        if kind == 0 or dtype == "bool":
            m = n.to(dt.int32)
        elif kind == 1:
            m = n * 3 + n // 2
        elif kind == 2:
            m = (n & 3) ^ (n % 5)
        else:
            m = n.cumsum(0) if shapes[i] else n
        return v[i] * (m.to(dt.int32) % 7).to(v[i].dtype)

    return step, shapes[i]


def _convolve(d: Draw, shapes: list[tuple[int, ...]]) -> tuple[Step, tuple[int, ...]] | None:
    from ..nn import functional as F

    i = _pick(d, shapes)
    if len(shapes[i]) != 3 or shapes[i][1] > 17:
        return None
    w = d.numbers.normal(size=(d.rng.choice([1, 3, 8]), shapes[i][1], 3)).astype(d.dtype) * 0.2
    stride = d.rng.choice([1, 1, 2])
    shape = (shapes[i][0], len(w), (shapes[i][2] - 1) // stride + 1)
    return (lambda v: F.conv1d(v[i], wrap(w), stride=stride, padding=1)), shape


MAKERS: tuple[Callable[..., Any], ...] = (
    _unary, _unary, _unary, _binary, _binary, _binary, _reduce, _reduce, _softmax, _permute, _reshape, _slice, _cat,
    _pad, _matmul, _computed_product, _take, _gather, _scatter, _normalise, _classify, _write, _whole_numbers,
    _convolve, _run,
)  # fmt: skip


def program(seed: int) -> tuple[Callable[..., Any], list[Any], int]:
    """The function, its arrays and the number of threads of a seed."""
    d = Draw(seed)
    arrays = [d.array() for _ in range(d.rng.randint(1, 3))]
    shapes: list[tuple[int, ...]] = [a.shape for a in arrays]
    steps: list[Step] = []
    for _ in range(d.rng.randint(3, 18)):
        made = d.rng.choice(MAKERS)(d, shapes)
        if made is not None:
            steps.append(made[0])
            shapes.append(made[1])
    wanted = sorted({len(shapes) - 1, *[d.rng.randrange(len(shapes)) for _ in range(2)]})
    differentiate = d.rng.random() < 0.3

    def run(*xs: Any) -> Any:
        values = list(xs)
        for step in steps:
            values.append(step(values))
        return [values[i] for i in wanted]

    def gradient(*xs: Any) -> Any:
        from .. import func

        return func.grad(lambda *ys: sum((o * o).sum() for o in run(*ys)) * 0.01, tuple(range(len(xs))))(*xs)

    return (gradient if differentiate else run), arrays, d.rng.choice([1, 1, 2, 3])


def check(seed: int) -> str:
    """Run a program eagerly and compiled; what differs, in words, or nothing."""
    f, arrays, threads = program(seed)
    before = get_num_threads()
    set_num_threads(threads)
    try:
        expected = f(*[wrap(a) for a in arrays])
        found = Compiled(f)(*[wrap(a) for a in arrays])
    finally:
        set_num_threads(before)
    for i, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert isinstance(a, Handle) and isinstance(b, Handle)
        x, y = np.asarray(a._value), np.asarray(b._value)
        if x.shape != y.shape or x.dtype != y.dtype:
            return f"seed {seed}, result {i}: {y.dtype}{y.shape} instead of {x.dtype}{x.shape}"
        if not close(x, y, 1e-2):
            worst = np.nanmax(np.abs(x.astype(np.float64) - y.astype(np.float64)))
            return f"seed {seed}, result {i}: differs by up to {worst:.3g}"
    return ""


def main() -> int:
    """Run programs until the time is over; 1 if one differed."""
    parser = argparse.ArgumentParser(description="Random programs, compiled and not.")
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    seed, bad = options.start, 0
    while time.monotonic() < end:
        try:
            found = check(seed)
        except Exception as error:  # whatever it is, it is a find
            found = f"seed {seed}: {type(error).__name__}: {error}"
        if found:
            bad += 1
            print(found, flush=True)
        seed += 1
    print(f"{seed - options.start} programs from seed {options.start}, {bad} differ")
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())

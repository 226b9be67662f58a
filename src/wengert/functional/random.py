"""Random tensors and in-place draws. Each draw takes one key from its generator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes as dt
from .. import random as rng
from ..config import STATE
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..graph.alias import assign, check_writable
from ..graph.handle import Handle, apply, wrap
from ..ops.base import OPS
from .creation import as_size, check_device, finish
from .front import cast, expand_to
from .sorting import argsort, searchsorted

Generator = rng.Generator
manual_seed, seed, initial_seed = rng.manual_seed, rng.seed, rng.initial_seed
get_rng_state, set_rng_state = rng.get_rng_state, rng.set_rng_state


def next_key(generator: Generator | None = None) -> Any:
    """The key of the next draw, as a handle; a trace or a checkpoint may forbid draws or hand out its own keys."""
    generator = generator or rng.default_generator
    source = (STATE if STATE.trace is None else STATE.trace).key_source
    return wrap(generator.next_key()) if source is None else source(generator)


def _draw(name: str, shape: tuple[int, ...], np_dtype: Any, generator: Generator | None) -> Any:
    return apply(OPS[name], (next_key(generator),), {"shape": shape, "dtype": np_dtype})


def _check_device(name: str, device: Any) -> None:
    if device is not None:
        check_device(name, device)


def _floating(name: str, dtype: Any) -> Any:
    d = dt.get_default_dtype() if dtype is None else dt.to_dtype(dtype)
    if not d.is_floating_point:
        raise DTypeError(message(name, "needs a floating dtype", repr(d)))
    return d.np


def rand(
    *size: Any,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """Uniform numbers in [0, 1).

    >>> import wengert as wg
    >>> x = wg.rand(1000)
    >>> ((x >= 0) & (x < 1)).all()
    tensor(True)
    """
    _check_device("rand", device)
    out = _draw("random_uniform", as_size("rand", size), _floating("rand", dtype), generator)
    return out.requires_grad_() if requires_grad else out


def randn(
    *size: Any,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """Standard normal numbers (complex dtypes: variance 1 split between the parts)."""
    _check_device("randn", device)
    shape = as_size("randn", size)
    if dtype is not None and dt.to_dtype(dtype).is_complex:
        d = dt.to_dtype(dtype)
        parts = _draw("random_normal", (*shape, 2), d.to_real().np, generator)
        out = finish((parts._value * math.sqrt(0.5)).astype(d.to_real().np).view(d.np)[..., 0])
    else:
        out = _draw("random_normal", shape, _floating("randn", dtype), generator)
    return out.requires_grad_() if requires_grad else out


def _like_dtype(input: Any, dtype: Any) -> Any:
    return dt.of(input.aval.dtype) if dtype is None else dtype


def rand_like(
    input: Any,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """`rand` in the shape and dtype of a tensor."""
    options = {"device": device, "requires_grad": requires_grad}
    return rand(input.aval.shape, dtype=_like_dtype(input, dtype), generator=generator, **options)


def randn_like(
    input: Any,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """`randn` in the shape and dtype of a tensor."""
    options = {"device": device, "requires_grad": requires_grad}
    return randn(input.aval.shape, dtype=_like_dtype(input, dtype), generator=generator, **options)


def _integers(low: int, high: int, shape: tuple[int, ...], generator: Any) -> Any:
    """Uniform integers as an int64 handle: 64 random bits modulo the range (bias below 2**-32 up to 2**32)."""
    bits = _draw("random_bits", shape, np.dtype(np.uint64), generator)
    if bits._value is None:
        span, start = wrap(np.array(high - low, np.uint64)), wrap(np.array(low, np.int64))
        rest = apply(OPS["remainder"], (bits, expand_to(span, shape)))
        return apply(OPS["cast"], (rest,), {"dtype": dt.NP_INT64}) + start
    return wrap((bits._value % np.uint64(high - low)).astype(np.int64) + low)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """Uniform integers in [low, high): ``randint(10, (2,))`` or ``randint(5, 10, (2,))``; int64 by default."""
    _check_device("randint", device)
    if size is None:
        low, high, size = 0, low, high
    low, high = int(low), int(high)
    if low >= high:
        raise ArgumentError(message("randint", "the range is empty", f"low {low}, high {high}"))
    out = cast(_integers(low, high, as_size("randint", (size,)), generator), dt.to_dtype(dtype or dt.int64))
    return out.requires_grad_() if requires_grad else out


def randint_like(
    input: Any,
    low: int,
    high: Any = None,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """`randint` in the shape and dtype of a tensor."""
    if high is None:
        low, high = 0, low
    options = {"device": device, "requires_grad": requires_grad}
    return randint(low, high, input.aval.shape, dtype=_like_dtype(input, dtype), generator=generator, **options)


def randperm(
    n: int,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """A random permutation of 0 … n-1."""
    _check_device("randperm", device)
    bits = _draw("random_bits", (int(n),), np.dtype(np.uint64), generator)
    order = apply(OPS["sort"], (bits,), {"axis": 0, "descending": False})[1]
    out = cast(order, dt.to_dtype(dtype or dt.int64))
    return out.requires_grad_() if requires_grad else out


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Any:
    """Normal numbers; tensor means and deviations are broadcast, and gradients flow to them."""
    tensors = [x for x in (mean, std) if isinstance(x, Handle)]
    if not tensors:
        if size is None:
            raise ArgumentError(message("normal", "a size is needed when mean and std are numbers"))
        out = randn(as_size("normal", (size,)), dtype=dtype, device=device, generator=generator) * std + mean
        return out.requires_grad_() if requires_grad else out
    d = dt.of(tensors[0].aval.dtype)
    shape = (tensors[0] if len(tensors) == 1 else tensors[0] + tensors[1]).aval.shape  # type: ignore[operator]
    return randn(shape, dtype=d, generator=generator) * std + mean


def _check_probabilities(name: str, p: Any) -> None:
    value = p._value if isinstance(p, Handle) else np.asarray(p)
    if value is not None and value.size and not bool(((value >= 0) & (value <= 1)).all()):
        raise ArgumentError(message(name, "probabilities must lie in [0, 1]", f"{value.min()} to {value.max()}"))


def bernoulli(input: Any, p: Any = None, *, generator: Any = None, out: Any = None) -> Any:
    """1 with the probability that the input (or ``p``) gives, else 0; in the input's dtype."""
    if p is not None:
        _check_probabilities("bernoulli", p)
        d = dt.of(input.aval.dtype)
        u = rand(input.aval.shape, dtype=d if d.is_floating_point else None, generator=generator)
        return cast(u < p, d)
    if input.aval.dtype not in dt.FLOATING_NP:
        raise DTypeError(message("bernoulli", "probabilities must be floating", str(input.aval)))
    _check_probabilities("bernoulli", input)
    return cast(rand_like(input, generator=generator) < input.detach(), dt.of(input.aval.dtype))


def poisson(input: Any, generator: Any = None) -> Any:
    """Poisson counts with the rates of the input, by inversion of the distribution."""
    rate = input._concrete("poisson").astype(np.float64)
    if bool((rate < 0).any()):
        raise ArgumentError(message("poisson", "rates must not be negative", str(rate.min())))
    key = next_key(generator)._concrete("poisson")
    bits = np.random.Generator(np.random.Philox(key=int(key[0]), counter=[0, 0, 0, int(key[1])]))
    return finish(bits.poisson(rate).astype(input.aval.dtype))


def _check_weights(weights: Any, num_samples: int, replacement: bool) -> None:
    """Raise if nothing can be drawn with such weights; while tracing they are not known."""
    if weights.aval.dtype not in dt.FLOATING_NP or len(weights.aval.shape) not in (1, 2):
        raise ShapeError(message("multinomial", "needs one or two dimensions of floating weights", str(weights.aval)))
    if num_samples <= 0:
        raise ArgumentError(message("multinomial", "num_samples must be positive", str(num_samples)))
    few = "too few non-zero weights to draw without replacement"
    if not replacement and weights.aval.shape[-1] < num_samples:
        raise ArgumentError(message("multinomial", few, f"{num_samples} asked of {weights.aval}"))
    if weights._value is None:
        return
    w = weights._value.astype(np.float64)
    if not np.isfinite(w).all() or (w < 0).any() or (w.sum(-1) <= 0).any():
        raise ArgumentError(message("multinomial", "weights must be finite, not negative, and not all zero in a row"))
    if not replacement and ((w > 0).sum(-1) < num_samples).any():
        raise ArgumentError(message("multinomial", few, f"{num_samples} asked"))


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Any:
    """Indices drawn with the (unnormalised) weights of each row: shape (..., num_samples), int64.

    Without replacement the draws are the order in which exponential clocks ring.

    Raises:
        ShapeError: not one or two dimensions of floating weights.
        ArgumentError: a weight is negative or not finite, a row has too few that are not zero. In a compiled function
            this is not looked at.
    """
    _check_weights(input, num_samples, replacement)
    w: Any = cast(input.detach(), dt.float64)
    shape = w.aval.shape
    if replacement:
        u = rand((*shape[:-1], num_samples), dtype=dt.float64, generator=generator)
        index = searchsorted(w.cumsum(-1) / w.sum(-1, keepdim=True), u, right=True)
        last = shape[-1] - 1 - cast(w.flip(-1) > 0, dt.uint8).argmax(-1, keepdim=True)
        return apply(OPS["minimum"], (index, expand_to(last, index.aval.shape)))  # rounding must not lead behind it
    u = rand(shape, dtype=dt.float64, generator=generator)
    clock = apply(OPS["where"], (w > 0, -(-u).log1p() / w, expand_to(wrap(np.array(np.inf)), shape)))
    if num_samples == 1:
        return clock.argmin(-1, keepdim=True)
    return argsort(clock, -1, stable=True)[..., :num_samples]


# -- in place ------------------------------------------------------------------------------------


def _fill_from(name: str, self: Any, new: Any) -> Any:
    return assign(name, self, expand_to(cast(new, dt.of(self.aval.dtype)), self.aval.shape))


def _unit_like(self: Any, generator: Any) -> Any:
    d = dt.of(self.aval.dtype)
    return rand(self.aval.shape, dtype=d if d.is_floating_point else dt.float32, generator=generator)


def _check_positive(name: str, what: str, value: float) -> None:
    if not value > 0:
        raise ArgumentError(message(name, f"{what} must be positive", str(value)))


def uniform_(self: Any, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **named: float) -> Any:
    """Fill with uniform numbers in [from, to)."""
    check_writable("uniform_", self)
    low, high = named.get("from", from_), named.get("b", to)
    low = named.get("a", low)
    if low > high:
        raise ArgumentError(message("uniform_", "the range is empty", f"[{low}, {high})"))
    return _fill_from("uniform_", self, _unit_like(self, generator) * (high - low) + low)


def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Fill with normal numbers of the given mean and standard deviation."""
    check_writable("normal_", self)
    if std < 0:
        raise ArgumentError(message("normal_", "std is negative", str(std)))
    return _fill_from("normal_", self, randn_like(self, generator=generator) * std + mean)


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """1 with probability ``p`` (a number or a tensor), else 0."""
    check_writable("bernoulli_", self)
    _check_probabilities("bernoulli_", p)
    return _fill_from("bernoulli_", self, _unit_like(self, generator) < p)


def exponential_(self: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Fill with exponential numbers of rate ``lambd``."""
    check_writable("exponential_", self)
    _check_positive("exponential_", "lambd", lambd)
    return _fill_from("exponential_", self, (1 - _unit_like(self, generator)).log() * (-1.0 / lambd))


def geometric_(self: Any, p: float, *, generator: Any = None) -> Any:
    """Fill with the number of trials up to the first success of probability ``p``."""
    check_writable("geometric_", self)
    if not 0 < p < 1:
        raise ArgumentError(message("geometric_", "p must lie in (0, 1)", str(p)))
    return _fill_from("geometric_", self, ((1 - _unit_like(self, generator)).log() / math.log1p(-p)).floor() + 1)


def cauchy_(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Any:
    """Fill with numbers of the Cauchy distribution."""
    check_writable("cauchy_", self)
    _check_positive("cauchy_", "sigma", sigma)
    return _fill_from("cauchy_", self, ((_unit_like(self, generator) - 0.5) * math.pi).tan() * sigma + median)


def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
    """Fill with numbers whose logarithm is normal."""
    check_writable("log_normal_", self)
    _check_positive("log_normal_", "std", std)
    return _fill_from("log_normal_", self, (randn_like(self, generator=generator) * std + mean).exp())


# The whole numbers up to here are all there are in a floating dtype.
_EXACT = {dt.float16: 2**11, dt.bfloat16: 2**8, dt.float32: 2**24, dt.float64: 2**53}


def random_(self: Any, from_: int = 0, to: int | None = None, *, generator: Any = None, **named: int) -> Any:
    """Uniform integers in [from, to); ``random_(n)`` means [0, n); without both, all the dtype can hold."""
    check_writable("random_", self)
    from_ = named.get("from", from_)
    if to is None and from_:
        from_, to = 0, from_
    d = dt.of(self.aval.dtype)
    if to is None:
        to = _EXACT[d] if d.is_floating_point else min(dt.iinfo(d).max, 2**62) + 1 if d.category == 1 else 2
    if from_ >= to:
        raise ArgumentError(message("random_", "the range is empty", f"[{from_}, {to})"))
    return _fill_from("random_", self, _integers(from_, to, self.aval.shape, generator))


def exponential(input: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Exponential numbers in the shape of a tensor."""
    return exponential_(input.detach().clone(), lambd, generator=generator)


EXTRA_METHODS = {
    "bernoulli": bernoulli,
    "multinomial": multinomial,
    "uniform_": uniform_,
    "normal_": normal_,
    "bernoulli_": bernoulli_,
    "exponential_": exponential_,
    "geometric_": geometric_,
    "cauchy_": cauchy_,
    "log_normal_": log_normal_,
    "random_": random_,
}

__all__ = [
    "Generator", "bernoulli", "get_rng_state", "initial_seed", "manual_seed", "multinomial", "normal", "poisson",
    "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "seed", "set_rng_state",
]  # fmt: skip
NOT_METHODS = tuple(__all__)

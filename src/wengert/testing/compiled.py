"""The same program compiled and not: what can be seen of it must be the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import api, nn, tree
from ..compiler import RecompileWarning, compile
from ..tensor import Tensor


def eager(f: Any) -> Any:
    """In place of ``wg.compile``: leaves functions as they are."""
    return f


def network() -> Any:
    """A small network, the same each time, for `batch`."""
    api.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def batch(seed: int, *shape: int) -> Any:
    """Normal numbers in float32; of shape (5, 4) if none is said."""
    return api.tensor(np.random.default_rng(seed).normal(size=shape or (5, 4)).astype(np.float32))


def as_eager(scenario: Callable[[Any], Any], tol: float = 1e-5) -> None:
    """A scenario gets ``wg.compile``, or what leaves functions as they are, and returns what can be seen."""
    found = []
    for compiler in (eager, compile):
        api.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecompileWarning)
            seen = tree.leaves(scenario(compiler))
        found.append([x.detach().numpy().copy() if isinstance(x, Tensor) else x for x in seen])
    assert len(found[0]) == len(found[1])
    for a, b in zip(*found, strict=True):
        assert type(a) is type(b)
        if isinstance(a, str):
            assert a == b
            continue
        np.testing.assert_allclose(b, a, rtol=tol, atol=tol)


def plain(x: Any) -> Any:
    """A tensor as nested lists of numbers."""
    return x.detach().tolist() if isinstance(x, Tensor) else x


def alike(scenario: Callable[[Any], Any], programs: int | None = None) -> None:
    """The scenario's values are the same compiled, and with each call checked; it got so many programs."""
    made: list[Any] = []

    def compiled(**options: Any) -> Any:
        def wrap(f: Any) -> Any:
            made.append(compile(f, **options))
            return made[-1]

        return wrap

    expected = tree.map(plain, scenario(eager))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        for options in ({}, {"check": True}):
            found = tree.map(plain, scenario(compiled(**options)))
            tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-6), expected, found)
    if programs is not None:
        counts = [sum(map(len, getattr(f, "compiled", f).steps.values())) for f in made]
        assert counts == [programs] * len(made)

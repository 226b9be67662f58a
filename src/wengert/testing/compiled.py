"""The same program compiled and not: what can be seen of it must be the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import api, tree
from ..compiler import RecompileWarning, compile
from ..tensor import Tensor


def as_eager(scenario: Callable[[Any], Any], tol: float = 1e-5) -> None:
    """A scenario gets ``wg.compile``, or what leaves functions as they are, and returns what can be seen."""
    found = []
    for compiler in (lambda f: f, compile):
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

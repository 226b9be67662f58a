"""``minimize`` hands exact derivatives to SciPy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import optim
from wengert.errors import MissingExtra


def rosenbrock(p: Any) -> Any:
    return ((1 - p[:-1]) ** 2 + 100 * (p[1:] - p[:-1] ** 2) ** 2).sum()


GRADIENT = ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP"]
SECOND = ["Newton-CG", "trust-ncg", "trust-krylov", "trust-constr", "dogleg", "trust-exact"]


@pytest.mark.quick(method=["Nelder-Mead", GRADIENT[0], SECOND[0]])
@pytest.mark.parametrize("method", ["Nelder-Mead", "Powell", *GRADIENT, *SECOND])
def test_methods(method: str) -> None:
    # dogleg needs a Hessian that is positive definite everywhere.
    f = rosenbrock if method != "dogleg" else lambda x: ((x - 1).cosh() + (x - 1) ** 2).sum() - 3
    options = {"maxfun" if method == "TNC" else "maxiter": 2000}
    result = optim.minimize(f, wg.tensor([0.8, 0.9, 0.7], dtype=wg.float64), method, options=options)
    np.testing.assert_allclose(result.x.numpy(), np.ones(3), atol=1e-3 if method == "TNC" else 2e-4)
    assert result.fun == pytest.approx(0.0, abs=1e-5)


def test_nested_arguments() -> None:
    x0 = {"a": 2.0, "b": (wg.ones(2, 2), [wg.tensor(1.0)])}
    seen = []
    result = optim.minimize(
        lambda p: (p["a"] - 1) ** 2 + ((p["b"][0] - 3) ** 2).sum() + p["b"][1][0] ** 2, x0, callback=seen.append
    )
    assert result.x["a"].item() == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(result.x["b"][0].numpy(), np.full((2, 2), 3.0), atol=1e-4)
    assert result.x["b"][0].dtype == wg.float32
    assert isinstance(seen[0]["b"][1], list)


def test_bounds_and_constraints() -> None:
    result = optim.minimize(lambda x: (x**2).sum(), wg.tensor([3.0, 3.0]), "L-BFGS-B", bounds=[(1, None), (None, 5)])
    np.testing.assert_allclose(result.x.numpy(), [1.0, 0.0], atol=1e-5)
    line = {"type": "eq", "fun": lambda x: x.sum() - 1}
    result = optim.minimize(lambda x: (x**2).sum(), wg.tensor([3.0, 0.0]), "SLSQP", constraints=line)
    np.testing.assert_allclose(result.x.numpy(), [0.5, 0.5], atol=1e-5)


def test_refused(monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match=r"f must return a tensor with one element: shape \(2,\)"):
        optim.minimize(lambda x: x, wg.ones(2))
    with pytest.raises(ValueError, match="x0 holds nothing"):
        optim.minimize(rosenbrock, [])
    with pytest.raises(ValueError, match="x0 must be real floating-point numbers"):
        optim.minimize(rosenbrock, wg.ones(2, dtype=wg.int64))
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtra, match=r"pip install 'wengert\[scipy\]'"):
        optim.minimize(rosenbrock, wg.ones(2))

"""``minimize``: SciPy's minimisers with exact gradients and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import api, func, tree
from ..errors import ArgumentError, ShapeError, message, need
from ..tensor import Tensor

# What each of SciPy's methods wants to know besides the value.
_NOTHING = {"nelder-mead", "powell", "cobyla", "cobyqa"}
_PRODUCTS = {"newton-cg", "trust-ncg", "trust-krylov", "trust-constr"}
_HESSIAN = {"dogleg", "trust-exact"}


class _Problem:
    """A function of nested tensors as one of a flat float64 array."""

    def __init__(self, f: Callable[[Any], Any], x0: Any) -> None:
        leaves, self.structure = tree.flatten(x0)
        if not leaves:
            raise ArgumentError(message("minimize", "x0 holds nothing to minimise over"))
        self.f, self.like = f, [_as_leaf(x) for x in leaves]
        self.start = self.flat(self.like)
        self._value_and_grad = func.grad_and_value(self.value_at)
        self._linear: tuple[bytes, Any] | None = None

    @staticmethod
    def flat(leaves: Any) -> np.ndarray:
        return np.concatenate([np.asarray(x.detach().numpy(), np.float64).reshape(-1) for x in leaves])

    def leaves(self, x: np.ndarray) -> list[Any]:
        out, at = [], 0
        for like in self.like:
            n = like.numel()
            out.append(api.tensor(x[at : at + n].reshape(tuple(like.shape)), dtype=like.dtype))
            at += n
        return out

    def nested(self, x: np.ndarray) -> Any:
        return tree.unflatten(self.structure, self.leaves(np.asarray(x)))

    def value_at(self, leaves: Any) -> Any:
        value = self.f(tree.unflatten(self.structure, leaves))
        if not isinstance(value, Tensor) or value.numel() != 1:
            seen = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(message("minimize", "f must return a tensor with one element", seen))
        return value.reshape(())

    def value(self, x: np.ndarray) -> float:
        return float(self.value_at(self.leaves(x)).item())

    def value_and_grad(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        grads, value = self._value_and_grad(self.leaves(x))
        return float(value.item()), self.flat(grads)

    def product(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The Hessian at x times v: forward over reverse, with what depends on x alone computed once."""
        key = x.tobytes()
        if self._linear is None or self._linear[0] != key:
            _, push = func.linearize(func.grad(self.value_at), self.leaves(x))
            self._linear = key, push
        return self.flat(self._linear[1](self.leaves(v)))

    def hessian(self, x: np.ndarray) -> np.ndarray:
        return np.stack([self.product(x, e) for e in np.eye(x.size)])


def _as_leaf(x: Any) -> Tensor:
    leaf = x.detach() if isinstance(x, Tensor) else api.as_tensor(float(x) if isinstance(x, int) else x)
    if not leaf.dtype.is_floating_point:
        raise ArgumentError(message("minimize", "x0 must be real floating-point numbers", str(leaf.dtype)))
    return leaf


def minimize(
    f: Callable[[Any], Any],
    x0: Any,
    method: str = "BFGS",
    *,
    tol: float | None = None,
    bounds: Any = None,
    constraints: Any = (),
    callback: Callable[[Any], Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """Minimise a function with ``scipy.optimize.minimize``, which gets exact derivatives.

    Methods that use gradients get them by reverse mode; ``Newton-CG``, ``trust-ncg``, ``trust-krylov`` and
    ``trust-constr`` get Hessian-vector products by forward over reverse mode, ``dogleg`` and
    ``trust-exact`` the Hessian.

    Args:
        f: takes one argument nested like ``x0``, returns a tensor with one element.
        x0: where to begin: a tensor, a number, or nested dicts, lists, tuples of them. SciPy computes in
            float64, ``f`` in the dtype of each tensor: use float64 for results to more than six digits.
        method: one of SciPy's.
        tol, options: SciPy's.
        bounds, constraints: SciPy's, on all entries of ``x0`` in order as one flat array.
        callback: called after every iteration with the present point, nested like ``x0``.

    Returns:
        SciPy's ``OptimizeResult``, whose ``x`` is nested like ``x0``.

    Raises:
        MissingExtra: SciPy is not installed.

    >>> import wengert as wg
    >>> result = wg.optim.minimize(lambda p: (p["a"] - 3) ** 2 + (p["b"] ** 2).sum(), {"a": 0.0, "b": wg.ones(2)})
    >>> round(result.x["a"].item(), 3), result.success
    (3.0, True)
    """
    optimize = need("scipy.optimize", "scipy", "wg.optim.minimize")
    problem, kind = _Problem(f, x0), str(method).lower()
    given: dict[str, Any] = {"fun": problem.value} if kind in _NOTHING else {"fun": problem.value_and_grad, "jac": True}
    if kind in _PRODUCTS:
        given["hessp"] = problem.product
    elif kind in _HESSIAN:
        given["hess"] = problem.hessian
    if callback is not None:
        given["callback"] = _callback(problem, callback, kind)
    result = optimize.minimize(
        x0=problem.start, method=method, tol=tol, bounds=bounds, constraints=constraints, options=options, **given
    )
    result.x = problem.nested(result.x)
    return result


def _callback(problem: _Problem, callback: Callable[[Any], Any], kind: str) -> Callable[..., Any]:
    def call(x: Any) -> Any:
        return callback(problem.nested(x))

    def call_with_state(x: Any, state: Any) -> Any:
        return callback(problem.nested(x))

    return call_with_state if kind == "trust-constr" else call

"""Planned Jacobians: patterns read off the graph, colours, modes, chunks, sparse results."""

import numpy as np
import pytest

import wengert as wg
from wengert.func import hessian, jacobian, jacrev


def x_of(*shape):
    return wg.randn(*shape, dtype=wg.float64)


A = x_of(6, 6)
FUNCTIONS = {
    "diagonal": (lambda x: x.sin() * x, (30,), "forward", 1),
    "band": (lambda x: x[1:] * x[:-1], (30,), "forward", 2),
    "sum": (lambda x: (x * x).sum(), (30,), "reverse", 1),
    "arrow": (lambda x: wg.cat([(x * x).sum().reshape(1), x[1:] * x[0]]), (30,), "mixed", 3),
    "rows of a product": (lambda x: A @ x, (6, 5), "forward", 6),
    "softmax of rows": (lambda x: wg.softmax(x, 1), (10, 3), "forward", 3),
    "stencil": (lambda x: wg.nn.functional.pad(x, (1, 1))[2:] - 2 * x + x.roll(1), (30,), "forward", 3),
    "branches": (lambda x: wg.where(wg.arange(30) % 2 == 0, x * x.flip(0), x), (30,), "forward", 2),
    "groups": (lambda x: x.reshape(10, 3).sum(1), (30,), "reverse", 1),
    "dense": (lambda x: x.cumsum(0), (12,), "forward", 12),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_planned_equals_dense(name):
    f, shape, mode, sweeps = FUNCTIONS[name]
    x = x_of(*shape)
    plan = jacobian(f, plan=True)(x)
    assert (plan.mode, plan.sweeps) == (mode, sweeps), plan
    want = jacrev(f)(x).numpy()
    np.testing.assert_allclose(jacobian(f)(x).numpy(), want, atol=1e-12)
    for forced in ("forward", "reverse", "mixed"):
        np.testing.assert_allclose(jacobian(f, mode=forced)(x).numpy(), want, atol=1e-12)
    found = jacobian(f, sparse=True)(x)
    np.testing.assert_allclose(found.toarray(), want.reshape(found.shape), atol=1e-12)


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_a_banded_hessian_takes_three_sweeps():
    x = x_of(400)
    plan = hessian(rosenbrock, plan=True)(x)
    assert plan.sweeps == 3 and plan.entries == 3 * 400 - 2
    found = hessian(rosenbrock, sparse=True)(x).toarray()
    np.testing.assert_allclose(found, jacrev(jacrev(rosenbrock))(x).numpy(), atol=1e-9)


def test_budget_cuts_the_sweeps_into_chunks():
    x = x_of(40)
    f = lambda x: x.cumsum(0).sin()
    plan = jacobian(f, plan=True, memory_budget=4000)(x)
    assert plan.chunk is not None and plan.chunk < plan.sweeps
    assert plan.bytes <= 4000
    np.testing.assert_allclose(jacobian(f, memory_budget=4000)(x).numpy(), jacrev(f)(x).numpy(), atol=1e-12)


def test_planned_jacobians_can_be_differentiated_and_nested():
    def f(p):
        return {"u": p["a"] * p["b"], "v": p["a"][1:] * p["a"][:-1]}

    p = {"a": x_of(12), "b": x_of(12)}
    j = jacobian(f)(p)
    np.testing.assert_allclose(j["u"]["b"].numpy(), np.diag(p["a"].numpy()))
    assert j["v"]["a"].shape == (11, 12)
    g = wg.func.grad(lambda x: (jacobian(lambda y: y.sin())(x) ** 2).sum())(p["a"])
    a = p["a"].numpy()
    np.testing.assert_allclose(g.numpy(), -2 * np.cos(a) * np.sin(a), atol=1e-12)


def test_value_dependent_python_is_an_error_that_names_the_cure():
    with pytest.raises(wg.errors.TraceError, match="use jacrev or jacfwd"):
        jacobian(lambda x: x if x.sum() > 0 else -x)(x_of(3))

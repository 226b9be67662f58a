"""The straight-line function of a graph, beside the same ops applied one by one."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
from wengert.graph.lower import straight_line
from wengert.ops.base import OPS

X = np.array([[1.5, -2.0, 0.25], [3.0, 0.0, -0.5]])


def expanded(x, shape, axes):
    return OPS["expand"](x, shape=shape, axes=axes)


GRAPHS = {
    "leading axes": lambda x, r, c: x * expanded(r, (2, 3), (0,)),
    "trailing axes": lambda x, r, c: x - expanded(c, (2, 3), (1,)),
    "a middle axis": lambda x, r, c: expanded(x, (2, 4, 3), (1,)).exp() + expanded(x, (2, 4, 3), (1,)),
    "both small": lambda x, r, c: expanded(r, (2, 3), (0,)) + expanded(c, (2, 3), (1,)),
    "small beside a number": lambda x, r, c: expanded(r, (2, 3), (0,)) * 2.0,
    "read by an op that does not broadcast": lambda x, r, c: (
        (x * expanded(r, (2, 3), (0,))) @ expanded(r, (2, 3), (0,)).T
    ),
    "a result": lambda x, r, c: (expanded(r, (2, 3), (0,)), x + expanded(r, (2, 3), (0,))),
    "chosen": lambda x, r, c: OPS["where"](x > 0, x, expanded(r, (2, 3), (0,))),
    "a scalar": lambda x, r, c: expanded(r.sum(), (2, 3), (0, 1)) * x,
    "twice the same": lambda x, r, c: x.exp() * x.exp() + (x.exp() - r),
    "equal numbers of different kinds": lambda x, r, c: x * 0.0 + x * -0.0,
    "numbers of no dimension": lambda x, r, c: (r.sum() - c.sum()) * r.sum() / c.mean() + -r.sum(),
    "filled": lambda x, r, c: OPS["where"](x > 0, x, OPS["fill"](x, value=-1)),
    "a filled result": lambda x, r, c: (OPS["fill"](x, value=2), x + OPS["fill"](x, value=2)),
    "nothing but filled": lambda x, r, c: OPS["fill"](x, value=2) * OPS["fill"](x, value=3),
    "scalars compared": lambda x, r, c: OPS["where"](r.sum() > c.sum(), r.sum(), OPS["fill"](r.sum(), value=1)),
    "scalars equal": lambda x, r, c: (r.sum() == r.sum(), r.sum() != c.sum(), r.sum() <= c.sum()),
    "extremes": lambda x, r, c: (x.amax(0), x.amin(1), x.amax(), r.amin()),
    "means": lambda x, r, c: (x.mean(), x.mean(0), x.mean((0, 1)), OPS["mean"](x, axes=())),
}


@pytest.mark.quick(dtype=["float64", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", GRAPHS)
def test_same_as_op_by_op(name, dtype):
    given = [wg.tensor(X), wg.tensor(X[0]), wg.tensor(X[:, 1])]
    given = [x.to(getattr(wg, dtype)) for x in given]
    graph = wg.trace(GRAPHS[name], *given)
    wanted = graph.replay(given)
    found = graph.run(*[x.numpy() for x in given])
    for a, b in zip([found] if graph.single else found, wanted, strict=True):
        assert a.dtype == b.numpy().dtype
        np.testing.assert_array_equal(a, b.numpy())


def test_a_scalar_chosen_is_no_operand():
    graph = wg.trace(lambda c, x: OPS["where"](c, x, x), wg.tensor(True), wg.tensor(2.0))
    given = np.array(2.0)
    assert not np.may_share_memory(graph.run(np.array(True), given), given)


def test_equal_results_have_memory_of_their_own():
    graph = wg.trace(lambda x: (x.exp(), x.exp(), x.exp() * 2), wg.tensor(X))
    a, b, c = graph.run(X)
    a[:] = 0
    np.testing.assert_array_equal(b, np.exp(X))
    np.testing.assert_array_equal(c, 2 * np.exp(X))


def test_equal_nodes_are_computed_once(monkeypatch):
    calls = []
    exp = OPS["exp"]
    monkeypatch.setattr(type(exp), "kernel", lambda self, avals, attrs: lambda x: calls.append(1) or np.exp(x))
    graph = wg.trace(lambda x: x.exp() + x.exp() * 2, wg.tensor(X))
    np.testing.assert_allclose(graph.run(X), 3 * np.exp(X))
    assert len(calls) == 1


def test_none_among_the_outputs_stands_for_itself():
    graph = wg.trace(lambda x: x * 2, wg.tensor(X))
    run = straight_line(graph.inputs, graph.nodes, [None, *graph.outputs], False, "gaps", spare=", need=None")
    nothing, double = run(X, [True])
    assert nothing is None
    np.testing.assert_array_equal(double, 2 * X)

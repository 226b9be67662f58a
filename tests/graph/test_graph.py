"""Nodes, recordings, closed graphs, their print; walks over long and branching graphs; memory."""

import gc
import re
import weakref

import numpy as np
import pytest

import wengert as wg
from wengert.graph.show import from_python, objects_of


def strip(text):
    return re.sub(r"  #.*", "", text)


def test_node_says_what_made_it_and_where():
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).tanh()
    assert y.producing_op.name == "tanh"
    assert y.node.inputs[0].name == "mul"
    assert y.node.inputs[0].inputs == (x.node, x.node)
    assert re.fullmatch(r"test_graph\.py:\d+", y.node.origin)
    assert x.producing_op is None and x.node.is_leaf


def test_origin_inside_a_layer_is_the_users_line():
    net = wg.nn.Linear(2, 1)
    out = net(wg.ones(3, 2))
    assert out.node.origin.startswith("test_graph.py:")
    assert out.node.scope == ("Linear",)


def test_recording_keeps_nodes_without_gradient_and_knows_users():
    with wg.record() as r:
        x = wg.tensor([1.0, 2.0])
        y = x.exp()
        z = y * y
    assert [n.name for n in r.nodes] == ["leaf", "exp", "mul"]
    assert z.node.value.tolist() == pytest.approx([np.e**2, np.e**4])
    assert y.node.users == [z.node]
    assert not z.requires_grad


def test_users_without_a_recording():
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    z, w = y.exp(), y + 1
    assert y.node.users == [z.node, w.node]
    assert x.node.users == [y.node]
    assert z.node.users == []
    del w
    assert y.node.users == [z.node]


def test_recorded_program_becomes_a_graph():
    with wg.record() as r:
        x = wg.tensor([1.0, 2.0])
        y = (x * 3).sum()
    g = r.graph(y)
    assert g.outputs == (y.node,)
    assert x.node in g.inputs


def test_trace_forward_backward_keep_values_and_adjoints():
    g = wg.trace(lambda x, w: (x * w).tanh().sum(), wg.ones(3), wg.ones(3))
    x, w = wg.tensor([0.1, 0.2, 0.3]), wg.tensor([1.0, 2.0, 3.0])
    out = g.forward(x, w)
    gx, gw = g.backward()
    d = 1 - np.tanh(x.numpy() * w.numpy()) ** 2
    np.testing.assert_allclose(out.item(), np.tanh(x.numpy() * w.numpy()).sum(), rtol=1e-6)
    np.testing.assert_allclose(gx.numpy(), d * w.numpy(), rtol=1e-5)
    np.testing.assert_allclose(gw.numpy(), d * x.numpy(), rtol=1e-5)
    assert all(n in g.values for n in g.nodes)
    assert all(n in g.adjoints for n in g.nodes)


def test_captured_tensors_are_inputs_of_the_graph():
    w = wg.tensor([2.0, 3.0], requires_grad=True)
    g = wg.trace(lambda x: (x * w).sum(), wg.ones(2))
    assert g.captures == (w.node,)
    assert g(wg.ones(2)).item() == 5.0


PROGRAMS = {
    "elementwise": lambda x, y: (x * y + 2.0).tanh() / 3,
    "broadcast": lambda x, y: (x + y.sum(0)) * x.mean(1, keepdim=True),
    "matmul": lambda x, y: wg.matmul(x, y.t()).relu(),
    "formula": lambda x, y: wg.softmax(x * y, 1),
    "several results": lambda x, y: (x.sum(), y.sort(1)[0]),
    "constant": lambda x, y: x * wg.arange(30).reshape(5, 6)[:2, :3] + wg.tensor(float("inf")) * 0 * y,
    "control flow": lambda x, y: wg.cond(x.sum() > 0, lambda a, b: a * b, lambda a, b: a - b, (x, y)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_print_is_a_program_that_gives_the_graph_back(name):
    x, y = wg.randn(2, 3), wg.randn(2, 3)
    g = wg.trace(PROGRAMS[name], x, y)
    h = from_python(str(g), **objects_of(g))
    assert strip(str(h)) == strip(str(g))
    first, second = g(x, y), h(x, y)
    for a, b in zip(wg.tree.leaves(first), wg.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_eager_and_traced_build_the_same_ops():
    x, y = wg.randn(2, 3), wg.randn(2, 3)
    f = PROGRAMS["broadcast"]
    with wg.record() as r:
        f(x, y)
    traced = wg.trace(f, x, y)
    eager = [n.name for n in r.nodes if not n.is_leaf]
    assert eager == [n.name for n in traced.nodes if not n.is_leaf]


@pytest.mark.slow
def test_a_chain_of_100000_ops_is_differentiated_and_freed():
    x = wg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    del y


def test_a_diamond_ladder_takes_linear_time():
    x = wg.tensor(1.0, requires_grad=True, dtype=wg.float64)
    y = x
    for _ in range(60):
        y = (y + y) * 0.5
    y.backward()
    assert x.grad.item() == 1.0
    wide = wg.tensor(1.0, requires_grad=True, dtype=wg.float64)
    (g,) = wg.autograd.grad(_ladder(wide), wide, create_graph=True)
    (h,) = wg.autograd.grad(g, wide)
    assert h.item() == 0.0 or np.isfinite(h.item())


def _ladder(x):
    for _ in range(60):
        x = x * 0.5 + x * 0.5
    return x * x


def test_gradients_by_node_are_nodes_and_can_be_differentiated():
    x = wg.tensor(2.0, requires_grad=True)
    y = x * x * x
    adjoint = wg.gradients(y)
    assert adjoint[y.node].item() == 1.0
    assert adjoint[x.node].item() == 12.0
    (second,) = wg.autograd.grad(adjoint[x.node], x)
    assert second.item() == 12.0
    assert x.grad is None


def test_partial_adjoints_are_summed_at_a_branch():
    x = wg.tensor(3.0, requires_grad=True)
    a, b = x * 2, x * 5
    y = a * b
    adjoint = wg.gradients(y)
    assert adjoint[a.node].item() == 15.0
    assert adjoint[b.node].item() == 6.0
    assert adjoint[x.node].item() == 2 * 15.0 + 5 * 6.0


def test_local_derivatives():
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    w = wg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    dx, dy = (x * x.exp()).node.local_derivatives()
    np.testing.assert_allclose(dx.numpy(), np.exp([1.0, 2.0]), rtol=1e-6)
    np.testing.assert_allclose(dy.numpy(), [1.0, 2.0])
    (ds,) = x.sum().node.local_derivatives()
    assert ds.tolist() == [1.0, 1.0]
    y = wg.matmul(w, x.reshape(2, 1))
    dw, dv = y.node.local_derivatives()
    assert dw.shape == (2, 1, 2, 2) and dv[:, 0, :, 0].tolist() == w.tolist()


def test_the_graph_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = wg.randn(4, requires_grad=True)
        y = (x * x).tanh()
        z = wg.softmax(y, 0).sum()
        refs = [weakref.ref(n) for n in (y.node, z.node)]
        z.backward()
        del y, z
        assert [r() for r in refs] == [None, None]
        w = wg.randn(3, 3, requires_grad=True)
        v = w[0]
        v2 = w.detach()
        ref = weakref.ref(w)
        del w, v, v2
        assert ref() is None
    finally:
        gc.enable()


def test_backward_frees_values_behind_it():
    x = wg.randn(4, requires_grad=True)
    y = x.exp()
    node = y.node
    z = (y * y).sum()
    z.backward()
    assert node.freed and node.data is None
    assert y.numpy(force=True) is not None  # the tensor keeps its own value

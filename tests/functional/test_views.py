"""Memory that tensors share, and writing to it: with and without a graph."""

import gc

import numpy as np
import pytest

import wengert as wg
from wengert.errors import GraphError
from wengert.graph.handle import wrap

RNG = np.random.default_rng(0)

VIEWS = {
    "row": lambda x: x[1],
    "element": lambda x: x[1, 2],
    "part": lambda x: x[:, 1:3],
    "step": lambda x: x[::2, ::-1],
    "new axis": lambda x: x[None, :, None],
    "reshape": lambda x: x.reshape(2, 8),
    "view": lambda x: x.view(-1),
    "transpose": lambda x: x.T,
    "permute of part": lambda x: x[1:].permute(1, 0),
    "diagonal": lambda x: x.diagonal(1),
    "window": lambda x: x.unfold(1, 2, 2),
    "narrow": lambda x: x.narrow(0, 1, 2),
    "split": lambda x: x.split(2, 1)[1],
    "chunk": lambda x: x.chunk(2)[0],
    "unbind": lambda x: x.unbind(1)[3],
    "squeeze": lambda x: x[:1].squeeze(),
    "unflatten": lambda x: x.unflatten(1, (2, 2)),
    "as_strided": lambda x: x.as_strided((2, 2), (4, 1), 5),
    "view of view": lambda x: x.T[1:][::2].diagonal(),
    "movedim": lambda x: x.unflatten(0, (2, 2)).movedim(0, 2)[1],
    "detach": lambda x: x.detach()[2],
    "view_as": lambda x: x.view_as(wg.zeros(8, 2)),
    "expand of one": lambda x: x.expand(1, 4, 4),
}


def base():
    """A matrix whose elements are all different."""
    return wg.arange(16.0).reshape(4, 4) * 1


@pytest.mark.parametrize("name", VIEWS)
def test_memory_is_shared_both_ways(name):
    x = base()
    v = VIEWS[name](x)
    sibling = x.T
    array, part = x.numpy(), v.numpy()
    v.mul_(-1)
    assert np.shares_memory(array, part) and (array < 0).sum() in (v.numel(), v.numel() - 1)  # -0.0 is not below 0
    np.testing.assert_array_equal(sibling._value.T, x._value)
    np.testing.assert_array_equal(VIEWS[name](x)._value, v._value)
    x.fill_(3.0)
    assert (v == 3).all() and (part == 3).all() and (sibling == 3).all()
    part[...] = 5
    assert (v == 5).all() and (x == 5).sum() == v.numel()


@pytest.mark.parametrize("name", VIEWS)
def test_writing_through_a_view_in_a_graph(name):
    """Compared with the same computation on values alone: positions are found by a view of arange."""
    if name == "detach":
        return
    where = VIEWS[name](wg.arange(16).reshape(4, 4))._value.reshape(-1)
    a = RNG.standard_normal((4, 4))
    leaf = wrap(a).requires_grad_()
    w = wrap(np.array(3.0)).requires_grad_()
    x = leaf * 1
    v = VIEWS[name](x)
    sibling = x.view(-1)
    used = v * v  # the old values stay what they were
    v.mul_(w)
    v += 1
    assert v._value.reshape(-1) == pytest.approx(a.reshape(-1)[where] * 3 + 1)
    (x.exp().sum() + used.sum() + sibling.sum() + v.sin().sum()).backward()

    flat = a.reshape(-1)
    new = flat.copy()
    new[where] = flat[where] * 3 + 1
    inner = np.exp(new) + 1
    inner[where] += np.cos(new[where])
    want = inner.copy()
    want[where] = inner[where] * 3 + 2 * flat[where]
    np.testing.assert_allclose(leaf.grad._value.reshape(-1), want)
    np.testing.assert_allclose(w.grad._value, (inner[where] * flat[where]).sum())


@pytest.mark.parametrize("name", VIEWS)
def test_writing_to_the_base_in_a_graph(name):
    if name == "detach":
        return
    leaf = wrap(RNG.standard_normal((4, 4))).requires_grad_()
    x = leaf * 1
    v = VIEWS[name](x)
    x.mul_(2)
    x[0] = x[1] * x[2]
    np.testing.assert_array_equal(v._value, VIEWS[name](x)._value)
    v.sum().backward()
    got = leaf.grad._value.copy()
    leaf.grad = None
    y = leaf * 2
    VIEWS[name](wg.cat([(y[1] * y[2])[None], y[1:]])).sum().backward()
    np.testing.assert_allclose(got, leaf.grad._value)


def test_values_in_a_live_graph_stay():
    """PyTorch refuses this backward; here it is right."""
    x, w = wg.tensor([1.0, 2.0]), wg.tensor([3.0, 4.0], requires_grad=True)
    y = x * w
    x.mul_(10)
    y.sum().backward()
    assert w.grad.tolist() == [1, 2] and x.tolist() == [10, 20]

    a = wg.tensor([1.0, 2.0], requires_grad=True)
    b = a * 1
    c = b * b
    b.zero_()
    c.sum().backward()
    assert a.grad.tolist() == [2, 4]


def test_values_seen_through_views_stay():
    x, w = wg.arange(4.0), wg.tensor([2.0, 3.0], requires_grad=True)
    y = x[:2] * w
    x[0] = 9.0
    y.sum().backward()
    assert w.grad.tolist() == [0, 1]


def test_results_that_lie_in_an_operand_keep_their_values():
    """A function may use a movement inside: what it returns, or a graph holds of it, is not a view."""
    from wengert.graph.handle import apply
    from wengert.ops.base import OPS

    x, w = base(), wg.ones(4, 4).requires_grad_()
    borrowed = apply(OPS["permute"], (x,), {"order": (1, 0)})
    y = borrowed * w
    x.zero_()
    assert borrowed[0, 1].item() == 4.0
    borrowed.add_(1)
    assert x.sum().item() == 0.0
    y.sum().backward()
    assert w.grad[0, 1].item() == 4.0


def test_memory_stays_in_place_when_no_graph_holds_it():
    p = wg.ones(3, requires_grad=True)
    view, address = p.view(-1), p.data_ptr()
    for _ in range(3):
        (p * p).sum().backward()
        with wg.no_grad():
            p.sub_(0.1 * p.grad)
    assert p.data_ptr() == address == view.data_ptr() and p.is_leaf and view.tolist() == p.tolist()


def test_memory_moves_when_a_graph_holds_it():
    p = wg.ones(3, requires_grad=True)
    loss = (p * p).sum()
    with wg.no_grad():
        p.mul_(5)
    loss.backward()
    assert p.grad.tolist() == [2, 2, 2] and p.tolist() == [5, 5, 5]


def test_no_grad_write_keeps_the_gradient():
    x = wg.ones(3, requires_grad=True)
    y = x * 2
    v = y[0]
    with wg.no_grad():
        y[1] = 10.0
    (y * y).sum().backward()
    assert x.grad.tolist() == [8, 40, 8] and v.requires_grad and v.item() == 2.0


def test_detach_and_data_share():
    x = wg.ones(3, requires_grad=True)
    for d in (x.detach(), x.data):
        d.add_(1)
        assert not d.requires_grad
    assert x.tolist() == [3, 3, 3] and x.requires_grad
    y = x * 1
    y.detach().zero_()
    assert y.tolist() == [0, 0, 0]
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


def test_a_detached_tensor_gets_a_history_of_its_own():
    x, w = wg.ones(2, requires_grad=True), wg.tensor(3.0, requires_grad=True)
    h = (x * 2).detach()
    h += w
    h[0] *= w
    assert h.tolist() == [15, 5]
    h.sum().backward()
    assert x.grad is None and w.grad.item() == 3 + 5 + 1


def test_requires_grad_on_a_view():
    x = wg.zeros(4)
    v = x[1:3].requires_grad_()
    (v * v).sum().backward()
    assert v.grad.tolist() == [0, 0] and v.is_leaf
    x.add_(1)
    assert v.requires_grad and v.is_leaf


def test_constants_do_not_drop_the_gradient():
    x = wg.ones(2, requires_grad=True)
    y = x * 1
    y[...] = 3.0
    assert y.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [0, 0]


def test_a_whole_write_makes_a_node_of_its_own():
    p = wg.ones(2, requires_grad=True)
    x = wg.zeros(2)
    x[:] = p
    assert not x.is_leaf
    with wg.no_grad():
        x.add_(1)
    assert p.tolist() == [1, 1]
    (x * x).sum().backward()
    assert p.grad.tolist() == [4, 4]


@pytest.mark.parametrize("f", [
    lambda x: x.expand(3, 2).add_(1), lambda x: x[None].expand(3, 2).__setitem__(0, 1.0),
    lambda x: x[0].expand(3).mul_(2),
    lambda x: x.as_strided((4,), (0,)).add_(1), lambda x: wg.broadcast_to(x, (2, 2)).zero_(),
])  # fmt: skip
def test_expanded_tensors_are_refused(f):
    x = wg.ones(2)
    with pytest.raises(GraphError, match=r"expanded tensor, several elements share memory.*clone"):
        f(x)
    assert x.tolist() == [1, 1]


def test_numpy_shares_both_ways():
    a = np.arange(3.0)
    x = wg.from_numpy(a)
    x[0] = 7
    a[1] = 8
    assert a.tolist() == [7, 8, 2] == x.tolist() == x[:].tolist()
    s = (wg.ones(2).sum() * 1)[None]  # a view of a 0-d result
    s.numpy()[0] = 4
    assert s.item() == 4


def test_0d_views():
    x = wg.zeros(3)
    x[1].add_(2)
    x[2].copy_(wg.tensor(5.0))
    s = x.sum()
    s[...] = 1.0
    s.view(1)[0] = 4.0
    assert x.tolist() == [0, 2, 5] and s.item() == 4.0


def test_views_keep_their_base_alive_and_nothing_else():
    import weakref

    x = base()
    seen = weakref.ref(x)
    v = x[0]
    del x
    assert seen() is not None and v.sum().item() == 6
    del v
    assert seen() is None  # by reference counting alone
    gc.collect()


def test_many_views_are_forgotten():
    x = wg.zeros(4)
    for _ in range(2000):
        x[1:3].add_(0)
    assert len(x._alias.views) < 64
    w = wg.ones(2, requires_grad=True)
    for _ in range(2000):
        (x[1:3] * w).sum()
    assert len(x._alias.pins) < 64 and len(x._alias.views) < 64


def test_reshaping_in_place():
    x = wg.arange(6.0).reshape(2, 3) * 1
    assert x.unsqueeze_(0).shape == (1, 2, 3) and x.squeeze_().shape == (2, 3) and x.t_().shape == (3, 2)
    x[0] = -1.0
    assert x.tolist() == [[-1, -1], [1, 4], [2, 5]]
    y = wg.ones(2, requires_grad=True) * 1
    y.unsqueeze_(1).mul_(3)
    assert y.shape == (2, 1) and y.requires_grad


def test_in_place_while_tracing():
    from wengert.graph.trace import trace

    def f(x):
        y = x * 2
        v = y.T[1]
        v.add_(1)
        y[0] = v * y[1, 0]
        return y + v.sum()

    a = RNG.standard_normal((2, 2))
    np.testing.assert_allclose(trace(f, [wrap(a).aval]).numpy(a), f(wrap(a))._value)


def test_two_views_by_one_index_are_told_apart():
    x = wg.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    with wg.no_grad():
        a, b = x[1:3], x[1:3]
        a.requires_grad_()  # a tensor of its own from now on
        x.zero_()
    assert a.tolist() == [1.0, 2.0] and b.tolist() == [0.0, 0.0]


def test_a_view_of_a_gradient_by_two_movements():
    x = wg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2
    y[1].backward(retain_graph=True)
    y[-1:][0].backward()
    assert x.grad.tolist() == [0.0, 2.0, 2.0]
    assert [n.name for n in wg.trace(lambda x: x[1], x).nodes] == ["slice", "reshape"]

"""What once went wrong between tensors, graphs and transforms; each test failed before its mend."""

import copy
import gc

import numpy as np
import pytest

import wengert as wg
from wengert.errors import ArgumentError, GraphError, ShapeError

F = wg.nn.functional


def leaf():
    return wg.tensor([1.0, 2.0, 3.0], requires_grad=True)


def close(a, b):
    np.testing.assert_allclose(np.asarray(a.detach()), np.asarray(b, np.float32), rtol=1e-5)


# -- .grad ---------------------------------------------------------------------------------------


def test_a_gradient_in_a_flat_buffer_is_summed_there():
    x, buffer = leaf(), wg.zeros(6)
    x.grad = buffer[:3]
    (x * x).sum().backward()
    close(buffer, [2, 4, 6, 0, 0, 0])


def test_a_view_of_a_gradient_follows_it():
    x = leaf()
    (x * x).sum().backward()
    part = x.grad[1:]
    (x * x).sum().backward()
    close(part, [8, 12])


def test_a_gradient_that_a_graph_reads_is_not_changed_for_it():
    x, w = leaf(), wg.ones(3, requires_grad=True)
    (x * x).sum().backward()
    g = x.grad
    y = (w * g).sum()
    (x * x).sum().backward()
    assert x.grad is g
    close(g, [4, 8, 12])
    y.backward()
    close(w.grad, [2, 4, 6])


def test_an_input_named_twice_gets_its_gradient_once():
    x = leaf()
    (x * x).sum().backward(inputs=[x, x])
    close(x.grad, [2, 4, 6])


def test_del_grad():
    x = leaf()
    (x * x).sum().backward()
    del x.grad
    assert x.grad is None


def test_a_hook_must_keep_the_shape():
    x = leaf()
    x.register_hook(lambda g: g.sum())
    with pytest.raises(GraphError, match="like the gradient"):
        (x * x).sum().backward()


def test_retain_grad_goes_on_after_a_change_in_place():
    x = leaf()
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    y.sum().backward()
    close(y.grad, [1, 1, 1])
    close(x.grad, [6, 6, 6])


def test_a_complex_output_needs_a_gradient():
    x = wg.tensor(1 + 2j, requires_grad=True)
    with pytest.raises(GraphError, match="complex"):
        (x * x).backward()


def test_batched_adjoints():
    x = leaf()
    (g,) = wg.autograd.grad(x * x, x, wg.eye(3), is_grads_batched=True)
    close(g, [[2, 0, 0], [0, 4, 0], [0, 0, 6]])
    with pytest.raises(ShapeError, match="one more axis"):
        wg.autograd.grad(x * x, x, wg.ones(3), is_grads_batched=True)


def test_a_copied_parameter_has_no_gradient():
    p = wg.nn.Parameter(wg.ones(2))
    p.sum().backward()
    assert copy.deepcopy(p).grad is None and p.grad is not None


# -- leaves that are views -----------------------------------------------------------------------


def test_a_view_that_becomes_a_leaf_stays_in_its_memory():
    flat = wg.arange(6.0)
    p, q = flat[:2].requires_grad_(), flat[2:].view(2, 2).requires_grad_()
    row = q[0]
    with wg.no_grad():
        p.add_(1)
        flat.mul_(2)
    close(flat, [2, 4, 4, 6, 8, 10])
    close(p, [2, 4])
    assert p.is_leaf and p.requires_grad
    loss = (row * p).sum()
    with wg.no_grad():
        flat.zero_()  # the graph keeps the old values, the leaves follow
    loss.backward()
    close(p.grad, [4, 6])
    close(q.grad, [[2, 4], [0, 0]])
    close(q, np.zeros((2, 2)))
    (row + p).sum().backward()
    close(q.grad, [[3, 5], [0, 0]])


@pytest.mark.parametrize("change", [lambda p: p.add_(1), lambda p: p[0].add_(1)], ids=["leaf", "view of leaf"])
def test_a_leaf_that_is_a_view_is_guarded(change):
    flat = wg.arange(4.0)
    with pytest.raises(GraphError, match="leaf that requires grad"):
        change(flat[1:].requires_grad_())
    close(flat, [0, 1, 2, 3])


# -- functions with derivatives of their own -----------------------------------------------------


class Both(wg.autograd.Function):
    """2 x, x * x, and a number."""

    seen: list = []

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.set_materialize_grads(False)
        return x * 2, x * x, 5

    @staticmethod
    def backward(ctx, g, h, n):
        Both.seen.append((g is None, n is None))
        return (h * 2 * ctx.saved_tensors[0]).double()


def test_function_results_that_are_no_tensors_and_grads_that_are_none():
    Both.seen.clear()
    x = leaf()
    _, b, n = Both.apply(x)
    b.sum().backward()
    close(x.grad, [2, 4, 6])
    assert n == 5 and Both.seen == [(True, True)]


def test_a_gradient_has_the_dtype_of_its_tensor_when_recorded_too():
    x = leaf()
    (g,) = wg.autograd.grad(Both.apply(x)[1].sum(), x, create_graph=True)
    assert g.dtype == wg.float32


def test_mark_dirty_rebinds_the_argument():
    class Double(wg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = leaf()
    y = x * 1
    assert Double.apply(y) is y
    y.sum().backward()
    close(x.grad, [2, 2, 2])


def test_checkpoint_passes_other_results_through():
    x = leaf()
    y, n = wg.checkpoint(lambda a: (a * 2, 5), x)
    y.sum().backward()
    close(x.grad, [2, 2, 2])
    assert n == 5


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_checkpoint_draws_the_same_numbers_again_under_vmap(randomness):
    def drop(x):
        return wg.checkpoint(lambda a: F.dropout(a, 0.5), x)

    f = wg.func.vmap(drop, randomness=randomness)
    wg.manual_seed(1)
    y = f(wg.ones(5, 4))
    wg.manual_seed(1)
    g = wg.func.grad(lambda x: f(x).sum())(wg.ones(5, 4))
    close(g, y)


def test_checkpoint_draws_the_same_numbers_again_from_any_generator():
    x, source = wg.ones(6, requires_grad=True), wg.Generator().manual_seed(3)
    y = wg.checkpoint(lambda a: a * wg.rand(6, generator=source), x)
    y.sum().backward()
    close(x.grad, y.detach())


def test_checkpoint_of_a_captured_tensor_is_differentiated_after_its_trace():
    def f(x, w):
        return wg.checkpoint(lambda a: wg.checkpoint(lambda b: (b * w).tanh(), a) * w, x)

    xs, ws = wg.rand(4, 3), wg.rand(4, 3)
    found = wg.func.grad(lambda x, w: wg.func.vmap(f)(x, w).sum(), (0, 1))(xs, ws)
    expected = wg.func.grad(lambda x, w: ((x * w).tanh() * w).sum(), (0, 1))(xs, ws)
    for a, b in zip(found, expected, strict=True):
        close(a, b)
    graph = wg.trace(f, xs[0], ws[0])
    close(wg.func.jvp(graph, (xs[0], ws[0]), (ws[0], xs[0]))[1], wg.func.jvp(f, (xs[0], ws[0]), (ws[0], xs[0]))[1])


# -- transforms ----------------------------------------------------------------------------------


def test_cotangents_and_tangents_must_fit():
    x = wg.ones(2)
    with pytest.raises(ArgumentError, match="not shaped like its output"):
        wg.func.vjp(lambda x: x * 2, x)[1](wg.ones(3))
    with pytest.raises(ArgumentError, match="not shaped like its argument"):
        wg.func.linearize(lambda x: x * 2, x)[1](wg.ones(3))


# -- memory and state ----------------------------------------------------------------------------


@pytest.mark.parametrize("copy_of", [lambda x: x.clone(), lambda x: x.double()], ids=["clone", "cast"])
def test_a_copy_of_an_expanded_tensor_is_contiguous(copy_of):
    y = copy_of(wg.arange(3.0).expand(2, 3))
    assert y.is_contiguous()
    y.view(-1)[0] = 9
    assert y[0, 0].item() == 9


def _exp():
    class Exp(wg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[1]

    return Exp.apply


@wg.custom
def sine(x):
    return x.sin()


@sine.vjp
def _(g, out, x):
    return g * x.cos()


@pytest.mark.parametrize(
    "f", [_exp(), sine, lambda x: wg.checkpoint(lambda a: a * a, x)], ids=["Function", "custom", "checkpoint"]
)
@pytest.mark.parametrize("sweep", [True, False])
@pytest.mark.slow
def test_functions_leave_no_cycles(f, sweep):
    def once():
        y = f(leaf()).sum()
        if sweep:
            y.backward()

    once()
    gc.collect()
    gc.disable()
    try:
        once()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_no_grad_holds_for_the_steps_of_a_generator():
    @wg.no_grad()
    def steps():
        got = yield wg.is_grad_enabled()
        yield wg.is_grad_enabled(), got

    running = steps()
    assert next(running) is False and wg.is_grad_enabled()
    assert running.send(7) == (False, 7) and wg.is_grad_enabled()


def test_draws_of_no_rows():
    for replacement in (False, True):
        assert wg.multinomial(wg.ones(0, 3), 2, replacement).shape == (0, 2)
    with pytest.raises(ArgumentError, match="too few non-zero weights"):
        wg.multinomial(wg.tensor([[1.0, 1.0], [1.0, 0.0]]), 2)

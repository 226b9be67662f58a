"""`backward`, `autograd.grad`, hooks, grad modes: PyTorch's behaviour."""

import threading

import numpy as np
import pytest

import wengert as wg
from wengert.errors import GraphError


def leaf(*values):
    return wg.tensor(list(values), dtype=wg.float64, requires_grad=True)


def test_gradients_accumulate_into_the_same_tensor():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    g = x.grad
    (x * x).sum().backward()
    assert g is x.grad and g.tolist() == [4.0, 8.0]
    x.grad = None
    (3 * x).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_gradients_of_two_leaves_do_not_share_memory():
    x, y = leaf(1.0), leaf(2.0)
    (x + y).sum().backward()
    x.grad.zero_()
    assert y.grad.tolist() == [1.0]


def test_non_scalar_output_with_gradient():
    x = leaf(1.0, 2.0)
    (x**3).backward(wg.tensor([1.0, 10.0], dtype=wg.float64))
    assert x.grad.tolist() == [3.0, 120.0]


def test_inputs_limits_where_gradients_go():
    x, y = leaf(1.0), leaf(2.0)
    (x * y).sum().backward(inputs=[x])
    assert x.grad.tolist() == [2.0] and y.grad is None


def test_retain_graph_and_create_graph():
    x = leaf(2.0)
    y = (x**3).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [24.0]
    (g,) = wg.autograd.grad((x**4).sum(), x, create_graph=True)
    (h,) = wg.autograd.grad(g.sum(), x, create_graph=True)
    (k,) = wg.autograd.grad(h.sum(), x)
    assert (g.item(), h.item(), k.item()) == (32.0, 48.0, 48.0)
    assert not k.requires_grad


def test_create_graph_in_backward_records_grad():
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    (h,) = wg.autograd.grad(x.grad.sum(), x)
    assert h.item() == 12.0


def test_grad_of_an_intermediate_and_unused_inputs():
    x, y = leaf(3.0), leaf(1.0)
    h = x * x
    out = (h * h).sum()
    assert wg.autograd.grad(out, h, retain_graph=True)[0].item() == 18.0
    assert wg.autograd.grad(out, [x, y], allow_unused=True, retain_graph=True)[1] is None
    assert wg.autograd.grad(out, [x, y], materialize_grads=True)[1].tolist() == [0.0]


def test_grad_does_not_touch_dot_grad():
    x = leaf(1.0)
    wg.autograd.grad((x * x).sum(), x)
    assert x.grad is None


def test_several_outputs():
    x = leaf(2.0)
    (g,) = wg.autograd.grad([x * x, x * 3], x, [wg.ones(1, dtype=wg.float64), wg.ones(1, dtype=wg.float64)])
    assert g.item() == 7.0


def test_hooks_see_and_replace_gradients():
    x = leaf(1.0)
    h = x * 2
    seen = []
    handle = h.register_hook(lambda g: seen.append(g.item()) or g * 10)
    (h * 3).sum().backward()
    assert seen == [3.0] and x.grad.tolist() == [60.0]
    handle.remove()
    x.grad = None
    (x * 2 * 3).sum().backward()
    assert x.grad.tolist() == [6.0]


def test_hook_on_a_leaf_and_after_accumulation():
    x = leaf(1.0)
    x.register_hook(lambda g: g + 1)
    after = []
    x.register_post_accumulate_grad_hook(lambda p: after.append(p.grad.item()))
    (x * 5).sum().backward()
    assert x.grad.item() == 6.0 and after == [6.0]


def test_retain_grad():
    x = leaf(1.0)
    h = x * 2
    h.retain_grad()
    (h * h).sum().backward()
    assert h.grad.tolist() == [4.0] and h.retains_grad and not h.is_leaf


def test_grad_modes():
    x = leaf(1.0)
    with wg.no_grad():
        assert not (x * 2).requires_grad
        with wg.enable_grad():
            assert (x * 2).requires_grad
    with wg.inference_mode():
        assert not (x * 2).requires_grad

    @wg.no_grad()
    def f(v):
        return v * 2

    assert not f(x).requires_grad
    with wg.set_grad_enabled(False):
        assert not wg.is_grad_enabled()
    assert wg.is_grad_enabled()
    wg.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        wg.set_grad_enabled(True)


def test_detach_shares_memory_and_stops_gradients():
    x = leaf(1.0, 2.0)
    d = x.detach()
    assert not d.requires_grad
    d[0] = 5.0
    assert x.tolist() == [5.0, 2.0]
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [5.0, 2.0]


def test_integer_and_bool_results_carry_no_gradient():
    x = leaf(1.0, 3.0)
    assert not (x > 2).requires_grad
    assert not x.argmax().requires_grad
    values, indices = x.sort()
    assert values.requires_grad and not indices.requires_grad


def test_mixed_dtypes_cast_back():
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    y = wg.tensor([3.0, 4.0], dtype=wg.float64, requires_grad=True)
    (x * y).sum().backward()
    assert x.grad.dtype is wg.float32 and y.grad.dtype is wg.float64


def test_broadcast_sums_back():
    x, b = wg.ones(3, 4, requires_grad=True), wg.ones(4, requires_grad=True)
    c = wg.ones(3, 1, requires_grad=True)
    (x * b + c).sum().backward()
    assert b.grad.tolist() == [3.0] * 4
    assert c.grad.tolist() == [[4.0]] * 3


def test_in_place_code_that_pytorch_refuses():
    x = leaf(1.0, 2.0)
    h = x * x
    y = h.exp()
    y.mul_(2.0)  # exp keeps its result for the gradient; the old value stays in the graph
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp([1.0, 4.0]) * 2 * np.array([1.0, 2.0]))


def test_old_values_stay_when_data_changes_under_a_live_graph():
    w, x = leaf(2.0), wg.tensor([3.0], dtype=wg.float64)
    y = (w * x).sum()
    x.add_(100.0)
    with wg.no_grad():
        w.add_(1.0)
    y.backward()
    assert w.grad.tolist() == [3.0] and w.tolist() == [3.0] and x.tolist() == [103.0]


def test_optimizer_style_updates_stay_in_memory():
    w = leaf(1.0, 2.0)
    array = w.detach().numpy()
    (w * w).sum().backward()
    with wg.no_grad():
        w.sub_(w.grad, alpha=0.5)
    assert w.tolist() == [0.0, 0.0] and np.shares_memory(array, w.detach().numpy())
    assert w.is_leaf and w.requires_grad


def test_complex_gradients_follow_pytorchs_convention():
    z = wg.tensor([1.0 + 2.0j], dtype=wg.complex128, requires_grad=True)
    (z * z.conj()).real.sum().backward()
    assert z.grad.tolist() == [2.0 + 4.0j]


def test_anomaly_names_op_and_line():
    x = wg.tensor([0.0], requires_grad=True)
    with wg.autograd.detect_anomaly():
        y = (x.sqrt() * 0.0).sum()
        with pytest.raises(wg.errors.AnomalyError, match=r"derivative of sqrt made the first NaN.*test_backward\.py"):
            y.backward()
        with pytest.raises(wg.errors.AnomalyError, match=r"log: made the first NaN"):
            (x - 1).log()
    (x - 1).log()
    assert wg.detect_anomaly is wg.autograd.detect_anomaly


def test_pytorchs_places_of_gradcheck():
    x = wg.tensor([0.3, 2.0], dtype=wg.float64, requires_grad=True)
    assert wg.autograd.gradcheck(wg.sin, (x,)) and wg.autograd.gradgradcheck(wg.sin, (x,))


def test_threads_have_their_own_grad_mode():
    seen = []
    with wg.no_grad():
        t = threading.Thread(target=lambda: seen.append(wg.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_backward_within_a_hook_is_quiet_too():
    x, z = (wg.tensor([0.0], requires_grad=True) for _ in range(2))
    x.register_hook(lambda g: (z.log() + z.sqrt()).sum().backward())
    for _ in range(2):
        x.sqrt().sum().backward()
        assert x.grad.item() == z.grad.item() == np.inf
    assert np.geterr()["divide"] == "warn"


def test_a_thread_has_a_mode_of_its_own():
    x = wg.tensor([0.0], requires_grad=True)
    seen = []

    def run():
        y = x.log() * 2
        seen.append((y.requires_grad, wg.is_grad_enabled()))
        with wg.no_grad():
            (x.log() * 2).exp()
            seen.append((x.log().requires_grad, wg.is_grad_enabled()))
        y.sum().backward()

    with wg.no_grad():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert not wg.is_grad_enabled()
    assert seen == [(True, True), (False, False)]
    assert x.grad.item() == np.inf


@pytest.mark.parametrize("retain", [True, False])
def test_several_results_of_one_op(retain):
    x = wg.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    values, vectors = wg.linalg.eigh(x)
    loss = (values * values).sum() + (vectors[0] * values).sum()
    (wanted,) = wg.autograd.grad(loss, x, retain_graph=True)
    loss.backward(retain_graph=retain)
    np.testing.assert_array_equal(x.grad.numpy(), wanted.numpy())
    if retain:
        loss.backward()
        np.testing.assert_array_equal(x.grad.numpy(), 2 * wanted.numpy())
    with pytest.raises(GraphError, match="freed by an earlier backward"):
        values.sum().backward()

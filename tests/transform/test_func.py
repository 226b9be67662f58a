"""`wg.func`: transforms over nested arguments, and their compositions."""

from dataclasses import dataclass

import numpy as np
import pytest

import wengert as wg
from wengert.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
    vmap,
)


def t(*values):
    return wg.tensor(list(values), dtype=wg.float64)


def f(x):
    return (x.sin() * x).sum()


def test_no_perturbation_confusion():
    assert grad(lambda x: x * grad(lambda y: x + y)(x))(wg.tensor(3.0)).item() == 1.0
    assert jvp(lambda x: x * jvp(lambda y: x * y, (wg.tensor(1.0),), (wg.tensor(1.0),))[1], (wg.tensor(3.0),),
               (wg.tensor(1.0),))[1].item() == 6.0  # fmt: skip


def test_orders_of_x_to_the_sixth():
    g = lambda x: x**6
    for k, want in enumerate([64.0, 192.0, 480.0, 960.0, 1440.0]):
        assert g(wg.tensor(2.0, dtype=wg.float64)).item() == pytest.approx(want), k
        g = grad(g)


@dataclass
class Params:
    weight: object
    bias: object


def test_nested_arguments():
    p = {"a": t(1.0, 2.0), "b": [t(3.0, 4.0), Params(t(1.0, 1.0), t(2.0, 2.0))]}

    def loss(q):
        return (q["a"] * q["b"][0] * q["b"][1].weight + q["b"][1].bias).sum()

    value, g = value_and_grad(loss)(p)
    assert value.item() == 15.0
    assert g["a"].tolist() == [3.0, 4.0] and g["b"][1].bias.tolist() == [1.0, 1.0]
    assert isinstance(g["b"][1], Params)
    g2, value2 = grad_and_value(loss)(p)
    assert value2.item() == 15.0 and g2["a"].tolist() == [3.0, 4.0]


def test_argnums_and_aux():
    def h(x, y):
        return (x * y).sum(), {"y": y * 2}

    (gx, gy), aux = grad(h, argnums=(0, 1), has_aux=True)(t(2.0), t(5.0))
    assert (gx.item(), gy.item(), aux["y"].item()) == (5.0, 2.0, 10.0)
    assert grad(lambda x, y: (x * y).sum(), argnums=-1)(t(2.0), t(5.0)).item() == 2.0


def test_vjp_and_jvp_and_linearize():
    x, v = t(0.3, 0.7), t(1.0, -2.0)
    d = np.cos(x.numpy()) * x.numpy() + np.sin(x.numpy())
    out, pull = vjp(lambda x: x.sin() * x, x)
    np.testing.assert_allclose(pull(v)[0].numpy(), d * v.numpy())
    np.testing.assert_allclose(jvp(lambda x: x.sin() * x, (x,), (v,))[1].numpy(), d * v.numpy())
    same, push = linearize(lambda x: x.sin() * x, x)
    np.testing.assert_allclose(push(v).numpy(), d * v.numpy())
    np.testing.assert_allclose(push(2 * v).numpy(), 2 * d * v.numpy())
    assert same.tolist() == out.tolist()


MODES = {"jacrev": jacrev, "jacfwd": jacfwd, "jacobian": jacobian}


@pytest.mark.parametrize("mode", MODES)
def test_jacobian_shapes_and_values(mode):
    a = wg.randn(3, 2, dtype=wg.float64)

    def g(x):
        return {"y": wg.matmul(a, x), "z": x.sum()}

    x = wg.randn(2, 4, dtype=wg.float64)
    j = MODES[mode](g)(x)
    assert j["y"].shape == (3, 4, 2, 4) and j["z"].shape == (2, 4)
    np.testing.assert_allclose(j["y"].numpy(), np.einsum("ij,kl->ikjl", a.numpy(), np.eye(4)))
    two = MODES[mode](lambda x, y: x * y, argnums=(0, 1))(t(1.0, 2.0), t(3.0, 4.0))
    assert two[0].tolist() == [[3.0, 0.0], [0.0, 4.0]] and two[1].tolist() == [[1.0, 0.0], [0.0, 2.0]]


@pytest.mark.parametrize("outer", MODES)
@pytest.mark.parametrize("inner", MODES)
def test_hessian_by_every_pair_of_modes(inner, outer):
    x = t(0.3, -0.8, 1.1)
    want = np.diag(2 * np.cos(x.numpy()) - np.sin(x.numpy()) * x.numpy())
    np.testing.assert_allclose(MODES[outer](MODES[inner](f))(x).numpy(), want, atol=1e-12)
    np.testing.assert_allclose(hessian(f)(x).numpy(), want, atol=1e-12)


def test_hvp_is_a_row_of_the_hessian():
    x, v = t(0.3, -0.8, 1.1), t(1.0, 2.0, 3.0)
    value, product = hvp(f, x, v)
    np.testing.assert_allclose(product.numpy(), hessian(f)(x).numpy() @ v.numpy())
    assert value.item() == pytest.approx(f(x).item())


def test_vmap_axes_and_nesting():
    a, b = wg.randn(5, 3, dtype=wg.float64), wg.randn(3, 4, dtype=wg.float64)
    prod = vmap(vmap(lambda x, y: (x * y).sum(), in_dims=(None, 1)), in_dims=(0, None))(a, b)
    np.testing.assert_allclose(prod.numpy(), a.numpy() @ b.numpy())
    out = vmap(lambda x: (x, x.sum()), in_dims=1, out_dims=(1, 0))(a)
    assert out[0].shape == (5, 3) and out[1].shape == (3,)
    assert vmap(lambda d, k: d["x"] * k, in_dims=({"x": 0}, None))({"x": a}, t(2.0, 2.0, 2.0)).shape == (5, 3)
    chunked = vmap(lambda x: x * 2, chunk_size=2)(a)
    np.testing.assert_array_equal(chunked.numpy(), 2 * a.numpy())


def test_vmap_of_grad_and_grad_of_vmap():
    a = wg.randn(5, 3, dtype=wg.float64)
    per_sample = vmap(grad(f))(a)
    want = np.cos(a.numpy()) * a.numpy() + np.sin(a.numpy())
    np.testing.assert_allclose(per_sample.numpy(), want)
    np.testing.assert_allclose(grad(lambda a: vmap(f)(a).sum())(a).numpy(), want)
    np.testing.assert_allclose(vmap(hessian(f))(a).numpy().shape, (5, 3, 3))


def test_vmap_randomness():
    z = wg.zeros(3, 2)
    with pytest.raises(wg.errors.ArgumentError, match="a random draw inside"):
        vmap(lambda x: x + wg.rand(2))(z)
    same = vmap(lambda x: x + wg.rand(2), randomness="same")(z)
    assert same[0].tolist() == same[1].tolist()
    different = vmap(lambda x: x + wg.rand(2), randomness="different")(z)
    assert different[0].tolist() != different[1].tolist()


def test_transforms_reach_captured_parameters():
    w = t(1.0, 2.0).requires_grad_()
    g = grad(lambda x: (w * x * x).sum())(t(3.0, 4.0))
    assert g.tolist() == [6.0, 16.0]
    g.sum().backward()
    assert w.grad.tolist() == [6.0, 8.0]


def test_results_without_outside_gradients_have_no_history():
    g = grad(f)(t(1.0))
    assert not g.requires_grad and g._node is None


def test_works_under_no_grad():
    with wg.no_grad():
        assert grad(lambda x: (x * x).sum())(t(3.0)).item() == 6.0


def test_functional_call_restores_the_module():
    net = wg.nn.Linear(2, 1, bias=False)
    old = net.weight
    out = functional_call(net, {"weight": wg.ones(1, 2)}, (wg.tensor([[1.0, 2.0]]),))
    assert out.item() == 3.0 and net.weight is old
    g = grad(lambda p: functional_call(net, p, (wg.tensor([[1.0, 2.0]]),)).sum())({"weight": wg.ones(1, 2)})
    assert g["weight"].tolist() == [[1.0, 2.0]]
    with pytest.raises(wg.errors.ArgumentError, match="do not fit the module"):
        functional_call(net, {"wieght": old}, (wg.ones(1, 2),))


def test_checkpoint_recomputes_the_same_numbers():
    w = t(1.0, 2.0).requires_grad_()
    x = t(0.5, 0.25).requires_grad_()
    runs = []

    def block(v):
        runs.append(1)
        return (v * w).tanh() * wg.rand(2, dtype=wg.float64)

    wg.manual_seed(5)
    out = wg.checkpoint(block, x)
    wg.manual_seed(5)
    plain = block(x)
    np.testing.assert_array_equal(out.detach().numpy(), plain.detach().numpy())
    g = wg.autograd.grad(plain.sum(), [x, w])
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), g[0].numpy())
    np.testing.assert_allclose(w.grad.numpy(), g[1].numpy())
    assert len(runs) == 3
    h = hessian(lambda v: wg.checkpoint(lambda u: (u**3).sum(), v))(t(1.0, 2.0))
    np.testing.assert_allclose(h.numpy(), np.diag([6.0, 12.0]))


ERRORS = [
    (lambda: grad(lambda x: x)(t(1.0, 2.0)), "the function must return a scalar"),
    (lambda: jvp(f, (t(1.0),), (t(1.0, 2.0),)), "not shaped like its argument"),
    (lambda: vmap(lambda x, y: x + y)(wg.ones(2), wg.ones(3)), "mapped axes differ in size"),
    (lambda: vmap(lambda x: x, in_dims=None)(wg.ones(2)), "no argument is mapped"),
    (lambda: vmap(lambda x: x * x.item())(wg.ones(2)), "the value is not known while tracing"),
    (lambda: grad(f, argnums=3)(t(1.0)), "out of range"),
    (lambda: vmap(lambda x: x if x > 0 else -x)(wg.ones(2)), "the value is not known while tracing.*wg.cond"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case):
    run, text = ERRORS[case]
    with pytest.raises(wg.errors.WengertError, match=text):
        run()


def test_no_grad_inside_a_traced_function_stays_no_grad_when_replayed():
    def f(x):
        with wg.no_grad():
            scale = x.exp()
        return (scale * x).sum()

    x = t(0.5, 1.0)
    want = np.exp(x.numpy())
    np.testing.assert_allclose(grad(f)(x).numpy(), want)
    graph = wg.trace(f, x)
    np.testing.assert_allclose(grad(graph)(x).numpy(), want)
    np.testing.assert_allclose(vmap(grad(f))(x.reshape(1, 2)).numpy()[0], want)

"""PyTorch's older functions of functions: forms of results, values."""

import numpy as np

import wengert as wg
from wengert.autograd import functional as AF

x, y = wg.tensor([1.0, 2.0], dtype=wg.float64), wg.tensor([3.0, 5.0], dtype=wg.float64)


def test_jacobian_forms():
    assert AF.jacobian(lambda a: a * a, x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
    one, two = AF.jacobian(lambda a, b: a * b, (x, y), strategy="forward-mode")
    assert one.tolist() == [[3.0, 0.0], [0.0, 5.0]] and two.tolist() == [[1.0, 0.0], [0.0, 2.0]]
    (first, second) = AF.jacobian(lambda a: (a.sum(), a * 2), x)
    assert first.tolist() == [1.0, 1.0] and second.tolist() == [[2.0, 0.0], [0.0, 2.0]]


def test_hessian_and_products():
    def f(a, b):
        return (a * a * b).sum()

    h = AF.hessian(f, (x, y))
    np.testing.assert_allclose(h[0][0].numpy(), np.diag([6.0, 10.0]))
    np.testing.assert_allclose(h[0][1].numpy(), np.diag([2.0, 4.0]))
    value, (pa, pb) = AF.hvp(f, (x, y), (x, y))
    assert value.item() == f(x, y).item()
    np.testing.assert_allclose(pa.numpy(), [6 * 1 + 2 * 3, 10 * 2 + 4 * 5])
    np.testing.assert_allclose(pb.numpy(), [2 * 1, 4 * 2])
    assert AF.hessian(lambda a: (a**3).sum(), x).tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_vjp_jvp_and_create_graph():
    out, g = AF.vjp(lambda a: a * a, x, y)
    assert out.tolist() == [1.0, 4.0] and g.tolist() == [6.0, 20.0]
    _, t = AF.jvp(lambda a: a * a, x, y)
    assert t.tolist() == [6.0, 20.0]
    w = wg.tensor([1.0, 2.0], requires_grad=True)
    j = AF.jacobian(lambda a: a**3, w, create_graph=True)
    j.sum().backward()
    assert w.grad.tolist() == [6.0, 12.0]
    assert not AF.jacobian(lambda a: a**3, w).requires_grad

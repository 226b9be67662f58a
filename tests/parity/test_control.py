"""Control flow against torch's higher-order ops, run eagerly: values, dtypes and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg

torch = pytest.importorskip("torch")
ops = pytest.importorskip("torch._higher_order_ops")
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own parts


def torch_scan(f, init, xs, reverse=False):
    from torch._higher_order_ops.scan import scan

    return scan(f, init, xs, reverse=reverse)


def torch_associative_scan(f, xs, dim, reverse=False):
    from torch._higher_order_ops.associative_scan import associative_scan

    return associative_scan(f, xs, dim, reverse=reverse, combine_mode="generic")


def points(*arrays):
    ours = [wg.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    theirs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    return ours, theirs


def agree(got, want):
    assert str(got.dtype).rpartition(".")[2] == str(want.dtype).rpartition(".")[2]
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-6)


def compare(ours, theirs, *arrays):
    """Results, and gradients of their sum."""
    a, b = points(*arrays)
    got, want = ours(*a), theirs(*b)
    for p, q in zip(got, want, strict=True):
        agree(p, q)
    sum(p.sum() for p in got if p.requires_grad).backward()
    sum(q.sum() for q in want if q.requires_grad).backward()
    for p, q in zip(a, b, strict=True):
        if q.grad is not None:
            agree(p.grad, q.grad)


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("sign", [1, -1])
def test_cond(sign):
    def run(lib, x, y):
        return lib.cond(x.sum() > 0, lambda x, y: (x * y, x.sin()), lambda x, y: (x - y, y.exp()), (x, y))

    x = np.abs(normal(3)) * np.float32(sign)
    compare(lambda *a: run(wg, *a), lambda *a: run(torch, *a), x, normal(3, seed=1))


def test_cond_by_a_python_bool_and_a_vector_of_one():
    for pred in (True, False):
        want = torch.cond(torch.tensor([pred]), lambda x: x * 2, lambda x: x - 1, (torch.ones(2),))
        assert wg.cond(wg.tensor([pred]), lambda x: x * 2, lambda x: x - 1, (wg.ones(2),)).tolist() == want.tolist()
        assert wg.cond(pred, lambda x: x * 2, lambda x: x - 1, (wg.ones(2),)).tolist() == want.tolist()


def test_while_loop():
    """Values only: torch's loop has no reverse mode in eager code."""

    def run(loop, tensor, x):
        return loop(lambda i, x: i < 5, lambda i, x: (i + 1, (x * x).sin() + 0.5), (tensor(0), x))

    x = normal(3)
    got = run(wg.while_loop, wg.tensor, wg.tensor(x))
    want = run(ops.while_loop, torch.tensor, torch.tensor(x))
    for p, q in zip(got, want, strict=True):
        agree(p, q)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan(reverse):
    def body(c, x):
        return (c * x).sin() + x, c * x

    compare(
        lambda c, x: wg.scan(body, c, x, reverse=reverse),
        lambda c, x: torch_scan(body, c, x, reverse),
        normal(3),
        normal(4, 3, seed=1),
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dim", [0, 1])
def test_associative_scan(reverse, dim):
    got = wg.associative_scan(lambda a, b: a * b, wg.tensor(normal(5, 3)), dim, reverse)
    want = torch_associative_scan(lambda a, b: a * b, torch.tensor(normal(5, 3)), dim, reverse)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5)


def test_what_torch_refuses_we_refuse():
    for lib in (wg, torch):
        with pytest.raises(RuntimeError):
            lib.cond(lib.tensor([True, False]), lambda x: x, lambda x: -x, (lib.ones(2),))
        with pytest.raises(RuntimeError):
            lib.cond(lib.tensor(True), lambda x: x, lambda x: x[:1], (lib.ones(2),))

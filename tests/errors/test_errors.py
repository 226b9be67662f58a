"""Every error says op, what was seen, the likely cure and the user's line; a failed op changes nothing."""

import re

import numpy as np
import pytest

import wengert as wg

a34, a45, v3 = wg.ones(3, 4), wg.ones(4, 5), wg.ones(3)


def leaf():
    return wg.ones(3, requires_grad=True)


def twice():
    y = (leaf() * 2).sum()
    y.backward()
    y.backward()


CASES = {
    "broadcast": (lambda: a34 + v3, wg.errors.ShapeError, r"add: shapes do not broadcast: f32\[3,4\], f32\[3\]"),
    "matmul": (lambda: a34 @ a34, wg.errors.ShapeError, r"matmul: inner sizes differ: f32\[3,4\] @ f32\[3,4\]"),
    "reshape": (lambda: a34.reshape(5, 2), wg.errors.ShapeError, r"12.*10"),
    "dim": (lambda: a34.sum(2), IndexError, r"dim.* out of range"),
    "index": (lambda: a34[3], IndexError, r"out of (range|bounds)"),
    "index tensor": (lambda: a34[wg.tensor([0, 7])], IndexError, r"7"),
    "dtype": (lambda: wg.ones(2, dtype=wg.bool) - wg.ones(2, dtype=wg.bool), TypeError, r"sub: .*bool"),
    "bitwise float": (lambda: v3 & v3, wg.errors.WengertError, r"bitwise_and"),
    "backward twice": (twice, wg.errors.GraphError, r"freed by an earlier backward.*retain_graph"),
    "no graph": (lambda: v3.sum().backward(), wg.errors.GraphError, r"does not require grad"),
    "not a scalar": (lambda: (leaf() * 2).backward(), wg.errors.GraphError, r"not a scalar: f32\[3\].*gradient="),
    "gradient's shape": (lambda: (leaf() * 2).backward(wg.ones(2)), wg.errors.ShapeError, r"shaped like the output"),
    "leaf in place": (lambda: leaf().add_(1), wg.errors.GraphError, r"leaf that requires grad.*no_grad"),
    "view of a leaf": (lambda: leaf()[0].add_(1), wg.errors.GraphError, r"view of a leaf"),
    "expanded": (lambda: wg.ones(1).expand(3).add_(1), wg.errors.GraphError, r"expanded.*clone"),
    "bool": (lambda: bool(v3 > 0), wg.errors.GraphError, r"ambiguous.*any\(\) or \.all\(\)"),
    "item": (lambda: v3.item(), wg.errors.GraphError, r"one element: f32\[3\]"),
    "numpy of a leaf": (lambda: leaf().numpy(), wg.errors.GraphError, r"detach\(\)\.numpy\(\)"),
    "integer leaf": (lambda: wg.ones(2, dtype=wg.int64).requires_grad_(), TypeError, r"only floating"),
    "singular": (lambda: wg.linalg.inv(wg.zeros(2, 2)), wg.errors.SingularError, r"singular"),
    "not positive definite": (lambda: wg.linalg.cholesky(-wg.eye(2)), wg.errors.SingularError, r"positive"),
    "in place dtype": (lambda: wg.ones(2, dtype=wg.int64).add_(0.5), TypeError, r"cast in place"),
    "in place shape": (lambda: wg.ones(2).add_(wg.ones(3, 2)), wg.errors.ShapeError, r"does not fit in place"),
    "unsupported data": (lambda: wg.tensor(["a"]), TypeError, r"cannot be a tensor"),
    "ragged": (lambda: wg.tensor([[1.0], [1.0, 2.0]]), wg.errors.ShapeError, r"unequal length"),
    "device": (lambda: wg.ones(2).to("cuda"), wg.errors.WengertError, r"no such device"),
    "grad of an unused input": (
        lambda: wg.autograd.grad(leaf().sum(), leaf()), wg.errors.GraphError, r"not depend on input 0.*allow_unused"),
    "cat": (lambda: wg.cat([a34, a45]), wg.errors.ShapeError, r"cat"),
    "class out of range": (
        lambda: wg.nn.functional.cross_entropy(wg.ones(2, 3), wg.tensor([0, 5])), IndexError, r"5"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_error(name):
    run, kind, text = CASES[name]
    with pytest.raises(kind, match=text) as caught:
        run()
    assert isinstance(caught.value, wg.errors.WengertError)
    assert re.search(r"\(test_errors\.py:\d+\)", str(caught.value)), str(caught.value)


def test_errors_are_runtime_errors_as_in_pytorch():
    for kind in vars(wg.errors).values():
        if isinstance(kind, type) and issubclass(kind, wg.errors.WengertError):
            assert issubclass(kind, RuntimeError)


def test_a_failed_op_leaves_every_tensor_as_it_was():
    x, y = wg.arange(3.0), wg.ones(4)
    before = x.clone()
    for run in (lambda: x.add_(y), lambda: x.copy_(y), lambda: x.__setitem__(5, 1.0),
                lambda: x.__setitem__(slice(0, 2), y), lambda: x.mul_(wg.ones(3, dtype=wg.complex64))):  # fmt: skip
        with pytest.raises(wg.errors.WengertError):
            run()
        assert x.tolist() == before.tolist()
    w = wg.ones(3, requires_grad=True)
    with pytest.raises(wg.errors.WengertError):
        (w * 2).backward()
    assert w.grad is None


def test_forgotten_zero_grad_is_not_an_error():
    w = wg.ones(1, requires_grad=True)
    for _ in range(3):
        (w * 2).sum().backward()
    assert w.grad.item() == 6.0


def test_floating_point_trouble_is_silent_and_numpys_settings_are_untouched():
    old = np.geterr()
    assert wg.log(wg.zeros(1)).item() == -np.inf
    assert (wg.ones(1) / wg.zeros(1)).item() == np.inf
    assert np.geterr() == old
    with np.errstate(all="raise"):
        assert np.isnan((wg.zeros(1) / wg.zeros(1)).item())

"""Tensors print as PyTorch prints them."""

import numpy as np
import pytest

import wengert as wg

CASES = [
    (wg.tensor([1.0, 2.0]), "tensor([1., 2.])"),
    (wg.tensor(3.5), "tensor(3.5000)"),
    (wg.tensor([0.5, 1e5]), "tensor([5.0000e-01, 1.0000e+05])"),
    (wg.tensor([[1, 20], [3, 4]]), "tensor([[ 1, 20],\n        [ 3,  4]])"),
    (wg.tensor([True, False]), "tensor([ True, False])"),
    (wg.zeros(0, 3), "tensor([], size=(0, 3))"),
    (wg.tensor([float("nan"), 1.0, float("inf")]), "tensor([nan, 1., inf])"),
    (wg.tensor([1.0], dtype=wg.float64), "tensor([1.], dtype=wengert.float64)"),
    (wg.tensor([1 + 2j]), "tensor([1.+2.j])"),
    (wg.ones(1, requires_grad=True), "tensor([1.], requires_grad=True)"),
    (wg.ones(1, requires_grad=True) * 2, "tensor([2.], grad_fn=<mul>)"),
    (wg.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
]


@pytest.mark.parametrize(("x", "text"), CASES, ids=[t for _, t in CASES])
def test_repr(x, text):
    assert repr(x) == text


def test_short_form_of_several_dimensions():
    text = repr(wg.tensor(np.zeros((20, 30, 4), np.float32)))
    assert "..." in text and text.count("0.") == 6 * 6 * 4


def test_symbolic_tensors_print_their_aval():
    seen = []
    wg.trace(lambda x: seen.append(repr(x)) or x, wg.ones(2, 3))
    assert seen == ["<symbolic tensor f32[2,3]>"]

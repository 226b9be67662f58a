"""Activations beside torch."""

from __future__ import annotations

import numpy as np
import pytest

from wengert.functional import activation, softmax

HALF = ("float32", "float16", "bfloat16")
RNG = np.random.default_rng(0)
KINKS = np.array([-1000.0, -30.0, -3.5, -3.0, -1.0, -0.5, -0.25, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 5.5, 6.0, 30.0, 900.0])
SHAPES = {
    "kinks": KINKS,
    "matrix": RNG.standard_normal((3, 4)) * 3,
    "0-d": np.array(0.7),
    "empty": np.zeros((0, 4)),
    "strided": RNG.standard_normal((4, 6)).T[::2],
}
ELEMENTWISE = [
    "F.relu(x)", "F.relu6(x)", "F.elu(x)", "F.elu(x, 0.7)", "F.celu(x, alpha=2)", "F.selu(x)",
    "F.leaky_relu(x)", "F.leaky_relu(x, 0.2)", "F.rrelu(x, 0.1, 0.3)", "F.gelu(x)",
    "F.gelu(x, approximate='tanh')", "F.silu(x)", "F.mish(x)", "F.hardtanh(x)",
    "F.hardtanh(x, min_val=-0.5, max_val=2.0)", "F.hardswish(x)", "F.softplus(x)", "F.softplus(x, 2, 10)",
    "F.softsign(x)", "F.softshrink(x)", "F.softshrink(x, 0.25)", "F.hardshrink(x)", "F.hardshrink(x, 1.0)",
    "F.tanhshrink(x)", "F.logsigmoid(x)", "F.threshold(x, 0.5, -2.0)", "F.tanh(x)", "F.sigmoid(x)",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("text", ELEMENTWISE)
def test_elementwise(agree, text, shape):
    agree(text, HALF, x=SHAPES[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_hardsigmoid(agree, shape):
    agree("F.hardsigmoid(x)", HALF, x=SHAPES[shape], tol=100)  # torch has 1/6 in float32


@pytest.mark.parametrize("text", [t for t in ELEMENTWISE if "hardswish" not in t])
def test_not_finite(agree, text):
    const = np.array([np.nan, np.inf, -np.inf])
    agree(text.replace("(x", "(const"), () if "gelu(x)" in text else HALF, const=const)  # torch: NaN at inf


ROWS = {
    "matrix": (RNG.standard_normal((3, 5)), 1),
    "first": (RNG.standard_normal((3, 5)), 0),
    "middle": (RNG.standard_normal((2, 3, 4)), -2),
    "0-d": (np.array(2.0), 0),
    "empty": (np.zeros((0, 3)), 1),
    "empty dim": (np.zeros((3, 0)), 1),
    "large": (np.array([[1000.0, 0.0, -1000.0], [1e4, 1.0, 2.0]]), 1),
}
NOT_FINITE = np.array([[-np.inf, 0.0, 1.0], [-np.inf, -np.inf, -np.inf], [np.inf, 0.0, 1.0], [np.nan, 1.0, 2.0]])


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_rows(agree, name, case):
    x, dim = ROWS[case]
    agree(f"F.{name}(x, {dim})", HALF, x=x)
    agree(f"F.{name}(x, dim={dim}, dtype=T.float64)", (), x=x)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_rows_not_finite(agree, name):
    agree(f"F.{name}(const, 1)", HALF, const=NOT_FINITE)
    agree(f"F.{name}(n, 1, dtype=T.float64)", (), n=np.arange(6).reshape(2, 3))


def test_softmax_ignores_masked_entries(agree):
    agree("F.softmax(x, 1)", HALF, x=np.array([[-np.inf, 0.0, 1.0], [2.0, -np.inf, -np.inf]]))


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (2, 3, 4), (2, 3, 4, 2)])
def test_implicit_dim_warns(agree, name, shape):
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        agree(f"F.{name}(x)", x=RNG.standard_normal(shape))


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 4, 3), (2, 3, 4, 2)])
def test_prelu(agree, shape):
    channels = shape[1] if len(shape) > 1 else 1
    agree("F.prelu(x, w)", HALF, x=RNG.standard_normal(shape), w=RNG.standard_normal(1))
    agree("F.prelu(x, w)", HALF, x=RNG.standard_normal(shape), w=RNG.standard_normal(channels))
    agree("F.prelu(x, w)", HALF, x=RNG.standard_normal(shape), w=np.array(0.25))


@pytest.mark.parametrize(("shape", "dim"), [((4,), 0), ((3, 4), -1), ((4, 3), 0), ((2, 6, 3), 1), ((0, 2), 1)])
def test_glu(agree, shape, dim):
    agree(f"F.glu(x, {dim})", HALF, x=RNG.standard_normal(shape))


INPLACE = [
    "relu",
    "relu6",
    "elu",
    "celu",
    "selu",
    "leaky_relu",
    "rrelu",
    "hardtanh",
    "hardswish",
    "silu",
    "mish",
]


@pytest.mark.parametrize("name", INPLACE)
def test_inplace(agree, name):
    agree(f"F.{name}(x * 1, inplace=True)", HALF, x=RNG.standard_normal(5))


@pytest.mark.parametrize("name", [n for n in activation.__all__ if n.endswith("_")])
def test_underscore_names(agree, name):
    more = ", 0.1, 2.0" if name == "threshold_" else ""
    agree(f"F.{name}(x * 1{more})", HALF, x=RNG.standard_normal(5))


@pytest.mark.parametrize("name", [*activation.TENSOR_LEVEL, *softmax.TENSOR_LEVEL])
def test_names_of_the_tensor_level(name):
    torch = pytest.importorskip("torch")
    assert hasattr(torch, name)
    assert (name in (*activation.TENSOR_METHODS, *softmax.TENSOR_METHODS)) == hasattr(torch.Tensor, name)

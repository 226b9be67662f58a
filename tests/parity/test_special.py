"""Special functions and windows beside torch."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg

POINTS = np.array([-3.7, -2.5, -1.3, -0.4, 0.2, 0.7, 1.0, 1.6, 2.0, 5.5, 12.0])
POSITIVE = np.abs(POINTS)
SHAPES = {
    "points": POINTS,
    "0-d": np.array(0.7),
    "empty": np.zeros((0, 2)),
    "strided": POINTS[:10].reshape(2, 5).T[::2],
}
UNARY = [
    "T.erf(x)", "T.erfc(x)", "T.special.erfcx(x * 0.5)", "T.erfinv(T.tanh(x))", "T.lgamma(x)", "T.digamma(x)",
    "T.i0(x)", "T.special.i0e(x)", "T.special.i1(x)", "T.special.i1e(x)", "T.special.ndtr(x)",
    "T.special.log_ndtr(x)", "T.special.ndtri(T.sigmoid(x))", "T.polygamma(1, x)", "T.polygamma(0, x)",
    "T.special.psi(x)", "T.special.gammaln(x)", "x.erf()", "x.lgamma()", "x.digamma()", "T.special.expit(x)",
    "T.special.expm1(x)", "T.special.exp2(x)", "T.special.sinc(x)", "(x * 1).erf_()", "(x * 1).erfc_()",
    "(x * 1).lgamma_()", "(x * 1).polygamma_(1)",
]  # fmt: skip
OF_POSITIVE = [
    "T.special.entr(x)", "T.polygamma(2, x)", "T.polygamma(3, x)", "x.polygamma(4)", "T.mvlgamma(x + 3, 1)",
    "T.mvlgamma(x + 3, 3)", "T.mvlgamma(x + 3, 5)", "T.special.multigammaln(x + 3, 2)", "T.xlogy(x, x)",
    "T.special.xlog1py(x, x)", "T.special.zeta(const, x)", "T.igamma(const, x)", "T.igammac(const, x)",
    "T.special.gammainc(const, x)", "T.xlogy(x, 2.0)", "T.xlogy(2, x)", "x.igamma(x * 1).detach()",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("text", UNARY)
def test_unary(agree, text, shape):
    agree(text, ("float32",), x=SHAPES[shape], tol=10)


@pytest.mark.parametrize("text", OF_POSITIVE)
def test_of_positive(agree, text):
    agree(text, ("float32",), x=POSITIVE, const=np.linspace(1.5, 6, 11), tol=10)


@pytest.mark.parametrize(
    "text", ["T.erf(n)", "T.lgamma(n)", "T.digamma(n)", "T.i0(n)", "T.special.ndtr(n)", "T.xlogy(n, n)"]
)
def test_integers(agree, text):
    agree(text, (), n=np.array([1, 2, 3]), tol=1e4)


def test_names():
    torch = pytest.importorskip("torch")
    ours = set(wg.special.__all__)
    assert ours <= set(dir(torch.special))


@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("points", [0, 1, 2, 7, 8])
@pytest.mark.parametrize("name", wg.signal.windows.__all__)
def test_windows(agree, name, points, sym):
    more = ", a=[0.4, 0.3, 0.2]" if name == "general_cosine" else ""
    agree(f"T.signal.windows.{name}({points}, sym={sym}{more}, dtype=T.float64)", ())
    agree(f"T.signal.windows.{name}({points}, sym={sym}{more})", (), tol=1e4)

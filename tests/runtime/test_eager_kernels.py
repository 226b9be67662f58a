"""Eager mode gives on kernels what it gives on NumPy, in every order of memory.

Run as a program, this file writes the results of all cases to a file; so the tests get those of a process in which
``WENGERT_EAGER_KERNELS=0`` leaves all to NumPy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.codegen.target import host
from wengert.nn import functional as F
from wengert.ops.base import OPS
from wengert.runtime import eager

CASES: dict[str, Callable[[], list[Any]]] = {}


def case(f: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    CASES[f.__name__] = f
    return f


def run(name: str) -> list[np.ndarray]:
    """The results of a case as arrays."""
    wg.manual_seed(0)
    return [np.array(x.detach().numpy() if isinstance(x, wg.Tensor) else x) for x in CASES[name]()]


def randn(*shape: int, dtype: Any = wg.float32, grad: bool = True) -> Any:
    return wg.randn(*shape, dtype=dtype).requires_grad_(grad)


def with_gradients(f: Callable[..., Any], *xs: Any, seed: Any = None) -> list[Any]:
    """The result of ``f`` and the gradients of its arguments, for an adjoint that differs from element to element."""
    out = f(*xs)
    out.backward(wg.cos(wg.arange(out.numel(), dtype=out.dtype)).reshape(out.shape) if seed is None else seed)
    return [out, *[x.grad for x in xs if x.requires_grad]]


@case
def wide_ops() -> list[Any]:
    """What NumPy does in one pass, so large that threads pay; the results of some are much larger than operands."""
    out: list[Any] = []
    for dtype in (wg.float32, wg.float64):
        x = wg.randn(1100, 1000, dtype=dtype) * 3
        x[0, 0], x[1, 1], x[2, 2], x[3] = float("nan"), float("inf"), -float("inf"), -0.0
        y, row = wg.randn(1100, 1000, dtype=dtype), wg.randn(1000, dtype=dtype)
        turned, part = wg.randn(1000, 1100, dtype=dtype).T, wg.randn(1100, 2000, dtype=dtype)[:, ::2]
        out += [x + y, x * row, row - x, x / y, x * 2, 3 - x, -x, x.abs(), x + turned, part * y, y[::-1] * x]
        out += [x.exp(), y.square().sqrt(), x > y, x == x, wg.maximum(x, y), wg.atan2(x, y), x.sign(), y**2]
        out += [y[:, None, :8] - row[:128, None], wg.randn(1, 1, dtype=dtype) * y, wg.tensor(2.0, dtype=dtype) * y]
    x = wg.arange(1100 * 1000).reshape(1100, 1000)
    return [*out, x * x, x > 7, (x % 7).to(wg.float16) * 2, wg.complex(y, y) * 2]


@case
def wide_adjoints() -> list[Any]:
    out: list[Any] = []
    for dtype in (wg.float32, wg.float64):
        x, y = randn(1100, 1000, dtype=dtype), randn(1100, 1000, dtype=dtype)
        row, column = randn(1000, dtype=dtype), randn(1100, 1, dtype=dtype)
        out += with_gradients(lambda x, y, row: (x - y) * row, x, y, row)
        out += with_gradients(lambda x, y: x * x + x * y.exp(), x.detach().requires_grad_(), y)
        turned = randn(1000, 1100, dtype=dtype)
        out += with_gradients(lambda t, c, x: (t.T * c - x) * t.T, turned, column, x.detach().requires_grad_())
        a, b = randn(1200, 32, dtype=dtype), randn(50, 32, dtype=dtype)
        out += with_gradients(lambda a, b: ((a[:, None] - b) ** 2).sum(2).sqrt(), a, b)
        z = randn(1100, 1000, dtype=dtype)
        out += wg.autograd.grad(((z * z).sum() + (z.T * turned.detach()).sum()) / 2, z)
    return out


@case
def einsums() -> list[Any]:
    out: list[Any] = []
    for dtype in (wg.float32, wg.float64):
        w, c, v = randn(5, 8, 8, dtype=dtype), randn(900, 5, 8, dtype=dtype), randn(8, dtype=dtype)
        out += with_gradients(lambda w, c: wg.einsum("kij,nkj->nki", w, c), w, c)
        c = randn(900, 5, 8, dtype=dtype)
        out += with_gradients(lambda c, v: wg.einsum("nki,i->in", c, v), c, v)
        c = randn(900, 5, 8, dtype=dtype)
        out += with_gradients(lambda c: wg.einsum("nki,nki->k", c, c), c)
    return out


@case
def single_ops() -> list[Any]:
    """What NumPy does in one pass, but not in the best time."""
    out: list[Any] = []
    for dtype in (wg.float32, wg.float64):
        x = randn(40, 900, dtype=dtype, grad=False) * 3
        x[0, 0], x[1, 1], x[2, 2], x[3] = float("nan"), float("inf"), -float("inf"), -0.0
        out += [
            x.relu(),
            x.clamp(-1, 1),
            x.clamp(min=0.5),
            x.clamp(max=0.5),
            x.amax(1),
            x.amin((0, 1)),
            x.max(),
            x.min(),
        ]
        y = x.nan_to_num(0, 1, -1)
        out += [y.sum(), y.sum(1), y.mean(-1, keepdim=True), y.mean(), y.T.sum(0), y.reshape(40, 30, 30).sum((0, 2))]
        out += with_gradients(lambda y: y.relu().sum(1), y.requires_grad_())
    return out


@case
def turned_copies() -> list[Any]:
    out: list[Any] = []
    for dtype in (wg.float32, wg.int64, wg.uint8, wg.bool, wg.bfloat16):
        x = (randn(7, 90, 70, grad=False) * 5).to(dtype)
        y = x.transpose(0, 2)
        out += [
            z.float() for z in (y.contiguous(), y.reshape(-1), y.reshape(70, 30, 21), y.reshape(70, 630).contiguous())
        ]
    x = randn(300, 200)
    return out + with_gradients(lambda x: x.T.reshape(-1), x)


@case
def formulas() -> list[Any]:
    x, w, b = randn(64, 512), randn(128, 512), randn(128)
    out = with_gradients(lambda x, w, b: F.gelu(F.linear(x, w, b)), x, w, b)
    out += with_gradients(lambda x: F.layer_norm(x, (512,)), x.detach().requires_grad_())
    out += with_gradients(lambda x: F.softmax(x, 1), x.detach().requires_grad_())
    out += with_gradients(lambda x: F.log_softmax(x, 0), x.detach().requires_grad_())
    target = wg.arange(64) % 512
    return out + with_gradients(lambda x: F.cross_entropy(x, target), x.detach().requires_grad_())


@case
def orders() -> list[Any]:
    """Transposed, sliced, reversed, repeated, and shared operands."""
    out: list[Any] = []
    for w in (randn(512, 128).detach().t(), randn(256, 512).detach()[::2], randn(128, 512).detach().flip(0)):
        w = w.requires_grad_()
        for x in (randn(64, 512), randn(512, 64).detach().t().requires_grad_(), wg.randn(512).expand(64, 512)):
            out += with_gradients(F.linear, x, w)
    x = randn(4, 16, 33, 40)
    last = x.detach().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).requires_grad_()
    turned = x.detach().permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0).requires_grad_()
    for y in (x, last, turned, x.detach()[:, :, ::2].requires_grad_()):
        weight, bias = randn(16), randn(16)
        out += with_gradients(lambda y, w, b: F.batch_norm(y, None, None, w, b, True), y, weight, bias)
        out += with_gradients(F.relu, y.detach().requires_grad_(), seed=wg.ones(1).expand(y.shape))
        out += with_gradients(lambda y: F.gelu(y) + y.mean((2, 3), keepdim=True), y.detach().requires_grad_())
    return out


@case
def parts_of_memory() -> list[Any]:
    """Slices of larger arrays, read where they lie; their adjoints add up in memory that nothing else holds."""
    x, out = randn(4, 64, 3 * 128), []
    h, seen = x * 1, []
    h.register_hook(lambda g: seen.append(g) or None)
    heads = [p.view(4, 64, 4, 32).transpose(1, 2) for p in h.split(128, 2)]
    heads[0].register_hook(lambda g: seen.append(g) or None)
    y = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).reshape(4, 64, 128)
    parts = (
        h[:, 5],
        h[1:, ::2, 100:228],
        h[:, :, 256:].transpose(0, 2),
        h[:, 3:, -1:],
        h[..., ::3],
        h[:, :1].expand(4, 9, 384),
    )
    loss = (y * y).sum() + h.sum() + (h * h).sum() + sum(F.softmax(F.gelu(p), -1).square().sum() for p in parts)
    loss.backward()
    out += [y, loss, x.grad, *seen]
    w = randn(2000, 64)
    for p in (h.detach()[:, 5:, 7:71], h.detach()[2, :, 3:387:6], h.detach()[:, 63]):
        v = w[:, : p.shape[-1]] if p.shape[-1] <= 64 else randn(300, p.shape[-1])
        out += with_gradients(F.linear, p.requires_grad_(), v.detach().requires_grad_())
    return out


@case
def convolutions() -> list[Any]:
    """Chains whose values lie with channels last, beside ops that look at strides or leave them."""
    torso = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, 2, padding=1, groups=2), nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.AvgPool2d(2),
    )  # fmt: skip
    x = randn(16, 3, 32, 32)
    y = torso(x)
    z = F.pad(y[:, :, ::2, 1:], (1, 0, 2, 1, 3, 3)) + F.interpolate(y, (7, 8)).sum(1, keepdim=True)
    loss = (z * z).mean() + y.view(16, -1).logsumexp(1).sum() + y.reshape(-1)[::3].sum() + y.flatten(2).amax(2).sum()
    loss.backward()
    out = [y, z, loss, x.grad, *[p.grad for p in torso.parameters()], *torso.buffers()]
    with wg.no_grad():
        y.mul_(2).view(-1)[:5].fill_(1)
        return [*out, y, y.sum((0, 2, 3))]


@case
def conv_of_other_ranks() -> list[Any]:
    out = with_gradients(lambda x, w: F.conv1d(x, w, padding=2), randn(8, 16, 512), randn(64, 16, 5))
    return out + with_gradients(
        lambda x, w: F.conv3d(x, w, dilation=(1, 2, 1)), randn(2, 8, 10, 12, 14), randn(16, 8, 3, 3, 3)
    )


@case
def kinks() -> list[Any]:
    """Zeros of both signs, infinite and missing numbers; an infinite adjoint where the derivative is zero."""
    x = wg.tensor([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-45]).repeat(8192).requires_grad_()
    out = with_gradients(F.relu, x, seed=wg.full((65536,), np.inf))
    out += with_gradients(lambda x: x.abs().clamp(0.5, 2), x.detach().requires_grad_())
    return out + with_gradients(lambda x: F.leaky_relu(x) + F.hardtanh(x), x.detach().requires_grad_())


@case
def elementwise() -> list[Any]:
    """Ops that take NumPy several passes, with operands that broadcast; half precision; what no kernel computes."""
    out: list[Any] = []
    ops = (wg.sigmoid, wg.tanh, F.elu, F.softplus, wg.reciprocal, wg.sqrt, wg.atan, wg.lgamma, lambda x: x**3)
    for dtype, dense in ((wg.float32, True), (wg.float64, False), (wg.bfloat16, True)):
        x = wg.randn(64, 640, dtype=wg.float64).abs().add(0.1).to(dtype)
        x = (x if dense else x.t()).requires_grad_()
        for op in ops:
            out += with_gradients(op, x.detach().requires_grad_())
        y = (wg.rand(x.shape[1], dtype=wg.float64) + 0.5).to(dtype).requires_grad_()
        for pair in (lambda x, y: x / y, wg.atan2, wg.hypot, wg.maximum, lambda x, y: wg.where(x > y, x, y * x)):
            out += with_gradients(pair, x.detach().requires_grad_(), y.detach().requires_grad_())
            out += with_gradients(pair, y.detach().requires_grad_(), x.detach().requires_grad_())
    z = wg.complex(randn(64, 640, grad=False), randn(64, 640, grad=False)).requires_grad_()
    w = wg.sigmoid(z)
    w.backward(wg.ones_like(w))
    return [x.float() if x.dtype is wg.bfloat16 else x for x in [*out, wg.view_as_real(w), wg.view_as_real(z.grad)]]


@case
def draws() -> list[Any]:
    x = randn(64, 1024)
    out = with_gradients(lambda x: F.dropout(x, 0.3), x)
    out += [wg.rand(40000), wg.rand(3, 20000, dtype=wg.float64), wg.randint(0, 9, (200, 200)), wg.randperm(40000)]
    out += [wg.randn(40001), wg.randn(3, 20001, dtype=wg.float64)]
    return [*out, wg.bernoulli(wg.full((50000,), 0.3)), wg.rand(50000, dtype=wg.float16).float()]


@case
def lanes() -> list[Any]:
    """Gathering and adding up along each axis, by indices of both signs and two sizes, many of them equal."""
    out: list[Any] = []
    gather, scatter = OPS["gather"], OPS["scatter_add"]
    for dim, n in ((0, 7), (1, 50), (2, 3)):
        for dtype in (wg.int64, wg.int32):
            index = ((wg.arange(40 * 30 * 35) * 7919) % (2 * n) - n).reshape(40, 30, 35).to(dtype)
            shape = [40, 30, 35]
            shape[dim] = n
            out += with_gradients(lambda x, i=index, d=dim: gather(x, i, dim=d), randn(*shape))
            out += with_gradients(lambda g, i=index, d=dim, n=n: scatter(g, i, dim=d, n=n), randn(40, 30, 35))
    return out


@case
def rows() -> list[Any]:
    out: list[Any] = []
    index = (wg.arange(5000) * 7919) % 130 - 65
    for dtype in (wg.float32, wg.float64):
        x, table = randn(5000, 16, dtype=dtype), randn(65, 16, dtype=dtype)
        out += with_gradients(lambda t, x: (t[index % 65] * x).index_add(0, index % 65, x), table, x)
        out += with_gradients(lambda t: t[index.to(wg.int32)], table.detach().requires_grad_())
        out += with_gradients(lambda t: F.embedding(index % 65, t, padding_idx=3), table.detach().requires_grad_())
    wide = randn(16, 5000).detach().t().requires_grad_()
    return out + with_gradients(lambda x: wg.zeros(65, 16).index_add(0, index % 65, x), wide)


def recurrent(kind: Any, **options: Any) -> list[Any]:
    net = kind(24, 48, batch_first=True, **options)
    x = randn(32, 64, 24)
    y, state = net(x)
    last = [s for s in (state if isinstance(state, tuple) else (state,))]
    loss = (y * y).sum() + sum(s.sin().sum() for s in last)
    loss.backward()
    with wg.no_grad():
        again = net(x)[0]
    return [y, again, *last, loss, x.grad, *[p.grad for p in net.parameters()]]


@case
def lstm() -> list[Any]:
    return recurrent(nn.LSTM)


@case
def lstm_two_ways() -> list[Any]:
    return recurrent(nn.LSTM, num_layers=2, bidirectional=True)


@case
def gru() -> list[Any]:
    return recurrent(nn.GRU, num_layers=2)


@case
def scans() -> list[Any]:
    """Unused results, carries that do not change, no slices, no steps' worth of gradient; twice backward."""
    w, h, xs = randn(64, 64, dtype=wg.float64), randn(64, dtype=wg.float64), randn(2000, 64, dtype=wg.float64)

    def cell(carry: Any, x: Any) -> Any:
        h, n, fixed = carry
        h = wg.tanh(w @ h * 0.1 + x * fixed)
        return (h, n + 1, fixed), (h, h.sum())

    fixed = randn(64, dtype=wg.float64)
    (last, n, same), (hs, sums) = wg.scan(cell, (h, wg.tensor(0), fixed), xs, reverse=True)
    loss = (last * same).sum() + hs[::7].sin().sum()
    loss.backward(retain_graph=True)
    out = [last, n, same, hs, sums, w.grad.clone(), h.grad.clone(), xs.grad.clone(), fixed.grad.clone()]
    sums.cos().sum().backward()
    out += [w.grad, h.grad, xs.grad, fixed.grad]
    value = randn(32, dtype=wg.float64)
    y, _ = wg.scan(lambda v, _: (v * 0.999 + v.sin() * 1e-3, None), value, length=5000)
    return [*out, *wg.autograd.grad(y.sum(), value)]


@case
def scan_that_numpy_runs() -> list[Any]:
    """A body with an op that has no kernel."""
    x = randn(8000, 32, dtype=wg.float64)
    y, ys = wg.scan(lambda c, x: (c * 0.5 + x.sort()[0], c.cumsum(0)), wg.zeros(32, dtype=wg.float64), x)
    (y.sum() + (ys * ys).mean()).backward()
    return [y, ys, x.grad]


@case
def derivatives_of_derivatives() -> list[Any]:
    x, w = randn(64, 512, dtype=wg.float64), randn(512, dtype=wg.float64)
    y = F.layer_norm(F.gelu(x), (512,), w)
    (g,) = wg.autograd.grad((y * y).sum(), x, create_graph=True)
    return [g, *wg.autograd.grad(g.sin().sum(), (x, w))]


@case
def writing_afterwards() -> list[Any]:
    """Results and arguments are written to; nothing else may change, gradients neither."""
    x = randn(64, 1024)
    y, z = F.dropout(x, 0.0), F.softmax(x, 1)
    before = x.detach().clone()
    with wg.no_grad():
        y.add_(1)
        z.mul_(2)
        x.mul_(3)
    (y * z).sum().backward()
    plain = before.clone()
    same = F.dropout(plain, 0.0)
    same.add_(1)
    return [x, y, z, x.grad, plain, same]


@case
def products() -> list[Any]:
    """Of matrices, views of larger ones, and batches."""
    out = with_gradients(lambda a, b: a @ b, randn(300, 200), randn(200, 400))
    out += with_gradients(lambda a, b: a.mT @ b[:, 3:], randn(256, 270), randn(256, 310))
    out += with_gradients(lambda a, b: a @ b, randn(4, 130, 190), randn(4, 190, 200))
    return out + with_gradients(
        lambda a, b: a @ b, randn(260, 260, dtype=wg.float64), randn(260, 270, dtype=wg.float64)
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of all cases as NumPy computes them, in a process without kernels."""
    file = tmp_path_factory.mktemp("plain") / "results.npz"
    environment = {**os.environ, "WENGERT_EAGER_KERNELS": "0"}
    subprocess.run([sys.executable, __file__, str(file)], check=True, env=environment)
    return np.load(file)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the graphs that kernels ran."""
    seen: list[str] = []
    call = eager._Lying.__call__

    def counted(self: Any, arrays: Any) -> Any:
        out = call(self, arrays)
        if out is not None:
            seen.append(self.name)
        return out

    monkeypatch.setattr(eager._Lying, "__call__", counted)
    return seen


@pytest.mark.slow  # a process of its own
@pytest.mark.parametrize("name", CASES)
def test_kernels_agree_with_numpy(name: str, plain: Any, runs: list[str]) -> None:
    found = run(name)
    wanted = [plain[key] for key in sorted(plain.files) if key.partition(":")[0] == name]
    assert len(found) == len(wanted)
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert a.dtype == b.dtype and a.shape == b.shape
        exact = 1e-12 if a.dtype == np.float64 else 2e-5
        size = np.abs(b[np.isfinite(b)]).max(initial=0.0) if b.dtype.kind == "f" else 0.0
        if name == "draws":
            exact = 0.0
        np.testing.assert_allclose(a, b, rtol=exact * 10, atol=exact * (1 + size), err_msg=f"{name}, result {i}")
    assert runs or not eager.ENABLED or name == "scan_that_numpy_runs"
    products = runs.count("matmul") if name == "products" else 0
    assert products == (12 if name == "products" and eager.ENABLED and host().vector_bytes >= 64 else 0)


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
def test_wide_ops_have_the_bits_of_numpy_where_that_rounds_once(dtype: Any, runs: list[str]) -> None:
    a, b = wg.randn(1100, 1000, dtype=dtype), wg.randn(1000, dtype=dtype)
    x, y = a.numpy(), b.numpy()
    runs.clear()  # of the draws
    for ours, theirs in ((a + b, x + y), (a - b, x - y), (b * a, y * x), (a / b, x / y), (-a, -x), (a * 2, x * 2)):
        assert np.array_equal(ours.numpy(), theirs)
    assert runs == (["add", "sub", "mul", "div", "neg", "mul"] if eager.ENABLED else [])


def test_what_numpy_does_in_one_pass_is_left_to_it_below_a_million(runs: list[str]) -> None:
    x, y = randn(1000, 1000, grad=False), randn(1000, 1, grad=False)
    runs.clear()  # of the draws
    assert (x * y + x).exp().shape == (1000, 1000)
    assert not runs


def test_small_products_are_left_to_numpy(runs: list[str]) -> None:
    a, b = randn(100, 200, grad=False), randn(200, 300, grad=False)
    assert np.array_equal((a @ b).numpy(), a.numpy() @ b.numpy())
    assert "matmul" not in runs


@pytest.mark.parametrize("n", [-8, 7])
def test_an_index_out_of_range_is_an_error_on_kernels_too(n: int) -> None:
    index = wg.zeros(40000, 2, dtype=wg.int64)
    index[777, 1] = n
    with pytest.raises(IndexError, match=r"index out of range: index -?[78] along dimension"):
        wg.zeros(7, 2).gather(0, index)
    with pytest.raises(IndexError, match=r"index out of range: index -?[78] along dimension"):
        wg.zeros(7, 2).index_add(0, index[:, 1], wg.ones(40000, 2))
    with pytest.raises(IndexError, match=r"index out of range: index -?[78] along dimension"):
        OPS["scatter_add"](wg.ones(40000, 2), index, dim=0, n=7)


def test_convolutions_leave_results_as_the_next_one_reads_them(runs: list[str]) -> None:
    x = wg.randn(8, 16, 32, 32)
    layers = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
    runs.clear()  # of the draws
    y = layers(x)
    if eager.ENABLED:
        assert y.stride() == (16 * 32 * 32, 1, 32 * 16, 16)
        assert runs == ["conv", "relu", "conv"]
    assert y.view(8, -1).shape == (8, 16 * 32 * 32)
    assert y.is_contiguous()


def test_turned_copies_are_copies_in_order_and_views_stay_views() -> None:
    x = wg.zeros(256, 512)
    flat, whole, seen = x.T.reshape(-1), x.T.contiguous(), x.T.reshape(512, 16, 16)
    assert flat.is_contiguous() and whole.is_contiguous()
    assert (flat.stride(), whole.stride(), seen.stride()) == ((1,), (256, 1), (1, 8192, 512))
    flat[0] = whole[0, 0] = 1.0
    assert x[0, 0] == 0
    seen[0, 0, 0] = 2.0
    assert x[0, 0] == 2 and whole[0, 0] == 1


if __name__ == "__main__":
    np.savez(sys.argv[1], **{f"{name}:{i:03}": x for name in CASES for i, x in enumerate(run(name))})


def test_a_scan_with_a_carry_that_has_no_gradient() -> None:
    wg.manual_seed(0)
    w, xs = (0.1 * wg.randn(256, 256)).requires_grad_(), wg.randn(3, 256, 256)

    def body(carry: Any, x: Any) -> Any:
        h, n = carry
        h = (h @ w + x).tanh()
        return (h, n + 1), h

    (last, count), states = wg.scan(body, (wg.zeros(256, 256), wg.zeros(64, dtype=wg.int64)), xs)
    (last.sum() + states.sum()).backward()
    by_hand, h = w.detach().clone().requires_grad_(), wg.zeros(256, 256)
    total = wg.zeros(())
    for x in xs:
        h = (h @ by_hand + x).tanh()
        total = total + h.sum()
    (total + h.sum()).backward()
    assert count.tolist() == [3] * 64
    np.testing.assert_allclose(w.grad.numpy(), by_hand.grad.numpy(), rtol=1e-3, atol=1e-3)

"""Convolutions, unfold, fold and bilinear: values by plain loops, every mode, errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F
from wengert.errors import WengertError
from wengert.graph.handle import wrap
from wengert.ops.base import OPS
from wengert.ops.conv import conv_attrs
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape))


def by_loops(x, w, stride, padding, dilation, groups) -> np.ndarray:
    """The definition, one output element after the other."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    outs = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation)]
    per, inner = w.shape[0] // groups, w.shape[1]
    out = np.zeros((x.shape[0], w.shape[0], *outs), np.result_type(x, w))
    for n, c, *o in itertools.product(*[range(k) for k in out.shape]):
        first = c // per * inner
        window = tuple(slice(i * s, i * s + d * (k - 1) + 1, d) for i, s, d, k in zip(o, stride, dilation, w.shape[2:]))
        out[(n, c, *o)] = (x[(n, slice(first, first + inner), *window)] * w[c]).sum()
    return out


def transposed_by_loops(x, w, stride, padding, output_padding, dilation) -> np.ndarray:
    """Each input element adds its kernel to the output (one group, one spatial dimension)."""
    kernel = w.shape[2]
    size = (x.shape[2] - 1) * stride + dilation * (kernel - 1) + 1
    out = np.zeros((x.shape[0], w.shape[1], size + output_padding))
    for i, k in itertools.product(range(x.shape[2]), range(kernel)):
        out[:, :, i * stride + k * dilation] += x[:, :, i] @ w[:, :, k]
    return out[:, :, padding : out.shape[2] - padding]


CONVOLUTIONS = [
    ((2, 3, 8), (4, 3, 3), {}),
    ((2, 3, 9), (4, 3, 3), {"stride": 2, "padding": 2, "dilation": 2}),
    ((2, 4, 6), (6, 2, 3), {"groups": 2, "padding": 1}),
    ((2, 3, 5, 6), (4, 3, 3, 2), {"stride": (1, 2), "padding": (1, 0)}),
    ((2, 3, 6, 6), (6, 1, 3, 3), {"groups": 3, "padding": 1, "stride": 2}),
    ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), {"dilation": (1, 2, 1)}),
    ((3, 2, 2, 2), (2, 2, 2, 2), {}),
    ((40, 16, 12, 12), (5, 16, 3, 3), {"padding": 1}),  # several blocks of images
]


@pytest.mark.parametrize(("x", "w", "options"), CONVOLUTIONS)
def test_convolution(x, w, options):
    x, w = normal(*x), normal(*w, seed=1)
    rank = x.ndim - 2
    full = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
    s, p, d = ((v,) * rank if isinstance(v := full[k], int) else v for k in ("stride", "padding", "dilation"))
    want = by_loops(x, w, s, [(q, q) for q in p], d, full["groups"])
    got = getattr(F, f"conv{rank}d")(wg.tensor(x), wg.tensor(w), **options)
    np.testing.assert_allclose(got.numpy(), want, 1e-12, 1e-12)


@pytest.mark.parametrize("dtype", [np.complex128, np.int64])
def test_other_dtypes(dtype):
    x, w = (10 * normal(2, 2, 6)).astype(dtype), (10 * normal(3, 2, 3)).astype(dtype)
    got = F.conv1d(wg.tensor(x), wg.tensor(w))
    assert got.numpy().dtype == dtype
    np.testing.assert_allclose(got.numpy(), by_loops(x, w, (1,), [(0, 0)], (1,), 1))


def test_half_precision_sums_in_single():
    x, w = wg.ones(1, 4096, 1, dtype=wg.float16), wg.full((1, 4096, 1), 0.125, dtype=wg.float16)
    assert F.conv1d(x, w).item() == 512.0  # 0.125 can no longer be added to 512 in float16


def test_same_puts_the_odd_zero_last():
    x, w = wg.tensor([[[1.0, 2.0, 3.0]]]), wg.tensor([[[1.0, 10.0]]])
    assert F.conv1d(x, w, padding="same").tolist() == [[[21.0, 32.0, 3.0]]]


@pytest.mark.parametrize("setting", [(1, 0, 0, 1), (2, 1, 1, 1), (3, 0, 2, 2), (1, 2, 0, 1), (1, 4, 0, 2)])
def test_transposed_convolution(setting):
    stride, padding, extra, dilation = setting
    x, w = normal(2, 3, 5), normal(3, 4, 3, seed=1)
    got = F.conv_transpose1d(wg.tensor(x), wg.tensor(w), None, stride, padding, extra, 1, dilation)
    want = transposed_by_loops(x, w, stride, padding, extra, dilation)
    np.testing.assert_allclose(got.numpy(), want, 1e-12, 1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolution_is_the_adjoint(rank):
    """<conv(x), y> = <x, conv_transpose(y)>."""
    x, w = wg.tensor(normal(2, 4, *[7, 6, 5][:rank])), wg.tensor(normal(6, 2, *[3, 2, 2][:rank], seed=1))
    down, up = getattr(F, f"conv{rank}d"), getattr(F, f"conv_transpose{rank}d")
    y = down(x, w, stride=2, padding=1, groups=2)
    z = wg.tensor(normal(*y.shape, seed=2))
    short = [n - ((m - 1) * 2 - 2 + k) for n, m, k in zip(x.shape[2:], z.shape[2:], w.shape[2:])]
    back = up(z, w, stride=2, padding=1, output_padding=short, groups=2)
    assert back.shape == x.shape
    np.testing.assert_allclose((y * z).sum().item(), (x * back).sum().item(), 1e-12)


def test_large_blocks_do_not_change_results(monkeypatch):
    """Whatever the size of a block, the sums are the same up to rounding."""
    import wengert.ops.conv as module

    x, w = normal(5, 4, 9, 8), normal(6, 2, 3, 3, seed=1)
    deep = normal(3, 4, 9, 8, seed=2), normal(2, 2, 8, 7, seed=3)
    thin = normal(3, 4, 9, 8, seed=4), normal(4, 1, 3, 3, seed=5)
    points = [
        (*deep, conv_attrs(2, groups=2)), (x, w, conv_attrs(2, groups=2)), (*thin, conv_attrs(2, groups=4)),
        (x, w, conv_attrs(2, lhs_dilation=(2, 3), groups=2)),
        (x, w, conv_attrs(2, lhs_dilation=(2, 3), stride=(2, 1), groups=2)),
    ]  # fmt: skip
    whole = [OPS["conv"].numpy(a, b, **attrs) for a, b, attrs in points]
    monkeypatch.setattr(module, "TILE", 1)
    for (a, b, attrs), want in zip(points, whole):
        np.testing.assert_allclose(OPS["conv"].numpy(a, b, **attrs), want, 1e-12, 1e-12)


def test_unfold_and_fold():
    x = normal(2, 3, 5, 6)
    columns = F.unfold(wg.tensor(x), (2, 3), dilation=(1, 2), padding=(1, 0), stride=2)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    want = [padded[:, :, i : i + 2, j : j + 5 : 2].reshape(2, -1) for i in (0, 2, 4) for j in (0,)]
    np.testing.assert_array_equal(columns.numpy(), np.stack(want, -1))
    ones = F.fold(wg.ones(1, 4, 4), (3, 3), 2)
    assert ones.tolist() == [[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]]


def test_bilinear():
    x, y, w, b = normal(2, 4, 3), normal(2, 4, 2, seed=1), normal(5, 3, 2), normal(5)
    got = F.bilinear(*[wg.tensor(t) for t in (x, y, w, b)])
    np.testing.assert_allclose(got.numpy(), np.einsum("abi,oij,abj->abo", x, w, y) + b, 1e-12, 1e-12)


MODES = {
    "conv2d": (
        lambda x, w, b: F.conv2d(x, w, b, (2, 1), 1, 1, 2),
        (normal(2, 4, 5, 4), normal(4, 2, 3, 2), normal(4)),
    ),
    "conv_transpose2d": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 1), 1, (1, 0), 2),
        (normal(2, 4, 2, 3), normal(4, 2, 3, 3), normal(4)),
    ),
    "unfold": (lambda x: F.unfold(x, 2, padding=1, stride=2), (normal(2, 2, 4, 3),)),
    "fold": (lambda x: F.fold(x, (4, 3), 2, padding=1, stride=2), (normal(2, 8, 6),)),
    "bilinear": (lambda x, y, w: F.bilinear(x, y, w), (normal(3, 2), normal(3, 4), normal(2, 2, 4))),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(name):
    f, arrays = MODES[name]
    flat = lambda *xs: [f(*xs)]
    check_first_order(Point(flat, arrays))
    check_second_order(Point(flat, arrays))
    check_vmap(flat, arrays)


def ones(*shape: int, dtype=np.float32) -> wg.Tensor:
    return wrap(np.ones(shape, dtype))


ERRORS = [
    (lambda: F.conv2d(ones(2, 3, 4, 4), ones(5, 4, 3, 3)), "expects 4 channels, the input has 3"),
    (lambda: F.conv2d(ones(4, 4), ones(5, 4, 3, 3)), r"Expected 4 dimensions \(N, C, H, W\)"),
    (lambda: F.conv2d(ones(1, 4, 4, 4), ones(5, 4, 3)), "weight must have 4 dimensions"),
    (lambda: F.conv2d(ones(1, 1, 2, 2), ones(1, 1, 3, 3)), "kernel is larger than the padded input"),
    (lambda: F.conv1d(ones(1, 1, 5), ones(1, 1, 2, dtype=np.float64)), "must have one dtype"),
    (lambda: F.conv1d(ones(1, 1, 5), ones(2, 1, 2), ones(3)), "bias does not fit"),
    (lambda: F.conv1d(ones(1, 1, 5), ones(2, 1, 2), stride=0), "stride must be at least 1"),
    (lambda: F.conv1d(ones(1, 1, 5), ones(2, 1, 2), padding=-1), "padding must be at least 0"),
    (lambda: F.conv1d(ones(1, 1, 5), ones(2, 1, 2), padding="full"), "unknown padding"),
    (lambda: F.conv1d(ones(1, 1, 5), ones(2, 1, 2), stride=2, padding="same"), "needs stride 1"),
    (lambda: F.conv1d(ones(1, 2, 5), ones(3, 1, 2), groups=2), "multiple of groups"),
    (lambda: F.conv2d(ones(1, 1, 5, 5), ones(2, 1, 2, 2), dilation=(1, 2, 3)), "dilation must be an int or 2"),
    (lambda: F.conv_transpose1d(ones(1, 1, 5), ones(1, 2, 2), output_padding=1), "smaller than stride"),
    (lambda: F.conv_transpose1d(ones(1, 3, 5), ones(1, 2, 2)), "expects 1 channels"),
    (lambda: F.fold(ones(1, 4, 5), (3, 3), 2), "Expected a multiple of 4 rows and 4 columns"),
    (lambda: F.unfold(ones(1, 1, 2, 2), 3), "larger than the input"),
    (lambda: F.bilinear(ones(2, 3), ones(2, 3), ones(4, 3, 2)), "bilinear"),
    (lambda: F.conv1d([[1.0]], ones(1, 1, 1)), "needs a tensor"),
]


@pytest.mark.parametrize(("call", "text"), ERRORS)
def test_errors(call, text):
    with pytest.raises(WengertError, match=text):
        call()

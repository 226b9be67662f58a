"""Losses with their own last layer, response norm, orthogonal weights, fused norms, sparse and Dirac weights."""

from __future__ import annotations

import copy
import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import functional as F
from wengert.nn.utils import parametrizations
from wengert.runtime import results


def test_adaptive_softmax_is_a_distribution() -> None:
    m = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0, head_bias=True).double()
    x, t = wg.randn(6, 8, dtype=wg.float64, requires_grad=True), wg.tensor([0, 11, 3, 2, 6, 7])
    logs = m.log_prob(x)
    np.testing.assert_allclose(logs.exp().sum(1).detach().numpy(), np.ones(6))
    output, loss = m(x, t)
    np.testing.assert_allclose(output.detach().numpy(), logs[wg.arange(6), t].detach().numpy())
    # The loss and the whole distribution have the same derivative.
    seen = wg.autograd.grad(loss, [x, *m.parameters()])
    wanted = wg.autograd.grad(F.nll_loss(logs, t), [x, *m.parameters()])
    for a, b in zip(seen, wanted):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-14)
    before = m.head.weight.clone()
    m.reset_parameters()
    assert not wg.equal(before, m.head.weight)


def test_adaptive_softmax_predicts() -> None:
    m = nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2, 4])
    with wg.no_grad():
        m.head.weight.copy_(wg.eye(4))
    x = 9 * wg.eye(4)[wg.tensor([1, 2, 0, 3])]
    best = m.log_prob(x).argmax(1)
    assert m.predict(x).tolist() == [1, best[1].item(), 0, best[3].item()]
    assert best[1].item() in (2, 3) and best[3].item() in (4, 5)
    assert m.predict(x[:1]).tolist() == [1]


@pytest.mark.parametrize("cutoffs", [[], [0], [3, 3], [4, 2], [6]])
def test_wrong_cutoffs(cutoffs: list[int]) -> None:
    with pytest.raises(ValueError, match="cutoffs must increase, each from 1 to n_classes - 1"):
        nn.AdaptiveLogSoftmaxWithLoss(4, 6, cutoffs)


def test_adaptive_softmax_refuses() -> None:
    m = nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2])
    with pytest.raises(IndexError, match="the targets must be from 0 to 5: 1 to 6"):
        m(wg.zeros(2, 4), wg.tensor([1, 6]))
    with pytest.raises(ValueError, match=r"\(N, in_features\) and \(N\), or both without N: \(2, 4\) and \(3,\)"):
        m(wg.zeros(2, 4), wg.tensor([1, 2, 3]))


def test_linear_cross_entropy() -> None:
    m = nn.LinearCrossEntropyLoss(4, 3, bias=True, label_smoothing=0.1, ignore_index=1, weight=wg.tensor([1.0, 2, 3]))
    x, t = wg.randn(5, 4), wg.tensor([0, 1, 2, 2, 1])
    wanted = F.cross_entropy(m.linear(x), t, m.weight, ignore_index=1, label_smoothing=0.1)
    assert m(x, t).item() == pytest.approx(wanted.item())
    assert list(m.state_dict()) == ["weight", "linear.weight", "linear.bias"]
    images = nn.LinearCrossEntropyLoss(4, 3, out_features=(2, 2), reduction="none")
    t = wg.randint(0, 3, (5, 2, 2))
    logits = wg.stack([F.linear(x, w) for w in images.linear.weight.reshape(3, 4, 4).unbind(1)], 2)
    np.testing.assert_allclose(
        images(x, t).detach().numpy(), F.cross_entropy(logits.unflatten(2, (2, 2)), t, reduction="none").detach(), 1e-5
    )
    with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1"):
        nn.LinearCrossEntropyLoss(4, 3, label_smoothing=2)


PIECES = [
    nn.LinearCrossEntropyOptions(batch_chunk_size=2),
    nn.LinearCrossEntropyOptions(chunking_method="aspect_ratio:2", acc_policy="accurate"),
    nn.LinearCrossEntropyOptions(batch_chunk_size=99, acc_dtype=wg.float64),
]
CASES: list[dict[str, Any]] = [
    {},
    {"bias": True, "ignore_index": 1, "weight": True},
    {"bias": True, "label_smoothing": 0.2, "weight": True, "ignore_index": 0},
    {"outputs": (2, 3), "bias": True, "weight": True},
    {"probable": True, "weight": True, "label_smoothing": 0.1},
    {"probable": True, "outputs": (2,)},
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", PIECES, ids=["rows", "ratio", "one"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.slow
def test_pieces_are_the_whole(case: dict[str, Any], options: Any, reduction: str) -> None:
    outputs = (4, *case.get("outputs", ()))
    x = wg.randn(7, 3, dtype=wg.float64, requires_grad=True)
    w = wg.randn(*outputs, 3, dtype=wg.float64, requires_grad=True)
    b = wg.randn(*outputs, dtype=wg.float64, requires_grad=True) if case.get("bias") else None
    target = wg.randint(0, 4, (7, *outputs[1:]))
    if case.get("probable"):
        target = wg.randn(7, *outputs, dtype=wg.float64).softmax(1)
    settings = {k: v for k, v in case.items() if k in ("label_smoothing", "ignore_index")}
    if case.get("weight"):
        settings["weight"] = wg.tensor([0.5, 1.0, 2.0, 0.0], dtype=wg.float64)
    leaves, found = [t for t in (x, w, b) if t is not None], []
    for given in (None, options):
        loss = F.linear_cross_entropy(x, w, target, linear_bias=b, reduction=reduction, options=given, **settings)
        gradients = wg.autograd.grad(loss.sin().sum(), leaves, create_graph=True)
        second = wg.autograd.grad(sum(g.sin().sum() for g in gradients), leaves)
        found.append([loss, *gradients, *second])
    for whole, pieces in zip(*found, strict=True):
        np.testing.assert_allclose(pieces.detach().numpy(), whole.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_pieces_never_hold_all_logits() -> None:
    """256 rows of 4096 classes are 8 MB of float64 logits; 16 pieces keep half a megabyte of them."""
    x, w = (wg.randn(n, 8, dtype=wg.float64, requires_grad=True) for n in (256, 4096))
    target = wg.randint(0, 4096, (256,))

    def peak(options: Any) -> int:
        F.linear_cross_entropy(x, w, target, options=options).backward()  # what is compiled and kept is not measured
        gc.collect()
        results.release()
        tracemalloc.start()
        F.linear_cross_entropy(x, w, target, options=options).backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    whole, pieces = peak(None), peak(nn.LinearCrossEntropyOptions(batch_chunk_size=16))
    assert pieces < whole / 3 and pieces < 6e6 < whole


def test_pieces_compile_and_are_rounded_once() -> None:
    x, w, target = wg.randn(9, 5), wg.randn(6, 5), wg.tensor([0, 5, 1, 2, 3, 4, 4, -100, 1])
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=4)
    want = F.linear_cross_entropy(x, w, target)
    assert wg.allclose(wg.compile(lambda x, w: F.linear_cross_entropy(x, w, target, options=options))(x, w), want)
    half = F.linear_cross_entropy(x.bfloat16(), w.bfloat16(), target, options=nn.LinearCrossEntropyOptions())
    assert half.dtype == wg.bfloat16 and half.item() == pytest.approx(want.item(), rel=2e-2)
    empty = F.linear_cross_entropy(x[:0], w, target[:0], reduction="none", options=options)
    assert empty.shape == (0,)
    assert F.linear_cross_entropy(x[:0], w, target[:0], options=options).isnan()
    one = F.linear_cross_entropy(x[0], w, target[0], options=options)
    assert one.item() == pytest.approx(F.cross_entropy(w @ x[0], target[0]).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("batch", "features", "classes", "settings", "rows"),
    [
        (1024, 64, 4096, {}, 8),  # 16 are a power of two, and two times less
        (1024, 64, 4096, {"chunking_method": "aspect_ratio"}, 16),
        (1000, 64, 4000, {"chunking_method": "aspect_ratio:4"}, 4),
        (1024, 64, 4096, {"batch_chunk_size": 100}, 100),
        (50, 64, 4096, {"batch_chunk_size": 100, "chunking_method": None}, 50),
        (50, 64, 4096, {"chunking_method": None}, 50),
        (3, 64, 4096, {"chunking_method": "aspect_ratio:8"}, 1),
        (100, 64, 10, {}, 64),
    ],
)
def test_rows_of_a_piece(batch: int, features: int, classes: int, settings: dict[str, Any], rows: int) -> None:
    assert nn.LinearCrossEntropyOptions(**settings).rows(batch, features, classes) == rows


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.LinearCrossEntropyOptions(acc_policy="fast"), "invalid acc_policy: 'fast'"),  # type: ignore[arg-type]
        (lambda: nn.LinearCrossEntropyOptions(chunking_method="rows"), "invalid chunking_method: 'rows'"),
        (lambda: nn.LinearCrossEntropyOptions(chunking_method="aspect_ratio:0"), "invalid chunking_method"),
        (lambda: nn.LinearCrossEntropyOptions(batch_chunk_size=0), "batch_chunk_size must be a positive int"),
        (lambda: nn.LinearCrossEntropyOptions(acc_dtype=wg.int32), "acc_dtype must be a floating dtype"),
        (
            lambda: nn.LinearCrossEntropyOptions(batch_chunk_size=3, chunking_method="aspect_ratio").rows(64, 4, 8),
            "two sizes of pieces: 3 and 'aspect_ratio', which gives 32",
        ),
        (lambda: F.linear_cross_entropy(wg.ones(2, 3, 4), wg.ones(5, 4), wg.zeros(2).long()), "1 or 2 dimensions"),
        (lambda: F.linear_cross_entropy(wg.ones(2, 3), wg.ones(3), wg.zeros(2).long()), "at least 2 dimensions"),
        (lambda: F.linear_cross_entropy(wg.ones(2, 3), wg.ones(5, 4), wg.zeros(2).long()), "equally many in_features"),
        (
            lambda: F.linear_cross_entropy(wg.ones(2, 3), wg.ones(5, 3), wg.zeros(2).long(), linear_bias=wg.ones(4)),
            r"linear_bias must have the shape \(5,\): \(4,\)",
        ),
        (lambda: F.linear_cross_entropy(wg.ones(3), wg.ones(5, 2, 3), wg.zeros(2).long()), "needs an input"),
        (
            lambda: F.linear_cross_entropy(wg.ones(2, 3), wg.ones(5, 3), wg.ones(2, 5), ignore_index=0),
            "ignore_index cannot be specified",
        ),
        (
            lambda: F.linear_cross_entropy(
                wg.ones(2, 3), wg.ones(5, 3), wg.zeros(3).long(), options=nn.LinearCrossEntropyOptions()
            ),
            "equally many rows",
        ),
        (lambda: nn.LinearCrossEntropyLoss(4, 3, weight=wg.ones(2)), "the weight must have the shape"),
    ],
)
def test_linear_cross_entropy_refuses(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_cross_map_norm() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 2, 1))
    square = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    total = sum(square[:, k : k + 6] for k in range(5))
    seen = nn.CrossMapLRN2d(5, 0.5, 0.6, 2.0)(wg.tensor(x))
    np.testing.assert_allclose(seen.numpy(), x / (2.0 + 0.1 * total) ** 0.6)
    assert repr(nn.CrossMapLRN2d(3)) == "CrossMapLRN2d(3, alpha=0.0001, beta=0.75, k=1)"
    with pytest.raises(ValueError, match="size must be odd: 4"):
        nn.CrossMapLRN2d(4)
    with pytest.raises(ValueError, match=r"needs images \(N, C, H, W\)"):
        nn.CrossMapLRN2d(3)(wg.zeros(1, 2, 3))


@pytest.mark.quick(trivial=[False])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("trivial", [True, False])
def test_orthogonal_stays_orthogonal(kind: str, shape: tuple[int, int], trivial: bool) -> None:
    wg.manual_seed(0)
    layer = nn.Linear(*shape[::-1], dtype=wg.float64)
    if not trivial and kind != "householder":
        parametrizations.orthogonal(layer, orthogonal_map=kind, use_trivialization=True)
        with pytest.raises(ValueError, match=f"a weight can not be assigned to {kind}"):
            parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map=kind, use_trivialization=False)
        return
    q = nn.init.orthogonal_(wg.empty(*shape, dtype=wg.float64))
    with wg.no_grad():
        layer.weight.copy_(q)
    parametrizations.orthogonal(layer, orthogonal_map=kind, use_trivialization=trivial)
    np.testing.assert_allclose(layer.weight.detach().numpy(), q.numpy(), atol=1e-12)
    optimizer = wg.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (layer.weight * wg.arange(1.0, 1 + q.numel()).reshape(shape)).sum().backward()
        optimizer.step()
    w = layer.weight.detach().numpy()
    gram = w @ w.T if shape[0] < shape[1] else w.T @ w
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-12)
    assert np.abs(w - q.numpy()).max() > 1e-3
    other = wg.flip(q, [0])
    layer.weight = other
    np.testing.assert_allclose(layer.weight.detach().numpy(), other.numpy(), atol=1e-12)


def test_orthogonal_takes_the_nearest_by_qr() -> None:
    layer = nn.Linear(2, 2)
    with wg.no_grad():
        layer.weight.copy_(wg.tensor([[3.0, 1.0], [0.0, -2.0]]))
    w = parametrizations.orthogonal(layer).weight
    np.testing.assert_allclose(w.detach().numpy(), [[1.0, 0.0], [0.0, -1.0]], atol=1e-6)
    batch = nn.Bilinear(3, 2, 4)
    w = parametrizations.orthogonal(batch, orthogonal_map="cayley").weight
    np.testing.assert_allclose((w.mT @ w).detach().numpy(), np.broadcast_to(np.eye(2), (4, 2, 2)), atol=1e-5)
    with pytest.raises(ValueError, match="orthogonal_map must be one of matrix_exp, cayley, householder: 'exp'"):
        parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="exp")
    with pytest.raises(ValueError, match=r"needs a real matrix or a batch of them: shape \(2,\)"):
        parametrizations.orthogonal(nn.Linear(2, 2), "bias")
    with pytest.raises(ValueError, match=r"a parametrized weight keeps its shape: \(3, 3\) for \(2, 2\)"):
        layer.weight = wg.eye(3)


def normed(bn: Any) -> Any:
    """Statistics, weight and bias that are not those of the beginning."""
    for x in (bn.running_mean, bn.running_var, bn.weight, bn.bias):
        if x is not None:
            x.detach().copy_(wg.rand(*x.shape) + 0.5)
    return bn.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_fusing(bias: bool, affine: bool) -> None:
    bn = normed(nn.BatchNorm2d(4, affine=affine))
    for layer, shape, options in (
        (nn.Conv2d(6, 4, 3, groups=2, padding=1, bias=bias), (2, 6, 4, 3), {}),
        (nn.ConvTranspose2d(6, 4, 2, bias=bias), (2, 6, 4, 3), {"transpose": True}),
    ):
        x = wg.randn(*shape)
        before = copy.deepcopy(layer.state_dict())
        fused = nn.utils.fuse_conv_bn_eval(layer.eval(), bn, **options)
        np.testing.assert_allclose(fused(x).detach().numpy(), bn(layer(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
        assert all(wg.equal(v, before[k]) for k, v in layer.state_dict().items())
    linear, one = nn.Linear(3, 4, bias=bias).eval(), normed(nn.BatchNorm1d(1, affine=affine))
    x = wg.randn(5, 3)
    fused = nn.utils.fuse_linear_bn_eval(linear, one)
    assert fused.bias.shape == (4,)
    wanted = one(linear(x).unsqueeze(1)).squeeze(1)
    np.testing.assert_allclose(fused(x).detach().numpy(), wanted.detach().numpy(), rtol=1e-4, atol=1e-5)
    parts = (linear.weight, linear.bias, one.running_mean, one.running_var, one.eps, one.weight, one.bias)
    assert wg.equal(nn.utils.fuse_linear_bn_weights(*parts)[0], fused.weight)
    conv = nn.Conv1d(2, 1, 1, bias=bias).eval()
    parts = (conv.weight, conv.bias, *parts[2:])
    assert wg.equal(nn.utils.fuse_conv_bn_weights(*parts)[1], nn.utils.fuse_conv_bn_eval(conv, one).bias)


def test_fusing_refuses() -> None:
    with pytest.raises(ValueError, match="both modules must be in eval mode"):
        nn.utils.fuse_conv_bn_eval(nn.Conv1d(1, 1, 1), nn.BatchNorm1d(1).eval())
    with pytest.raises(ValueError, match="the norm has no running statistics"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(1, 2).eval(), nn.BatchNorm1d(2, track_running_stats=False).eval())
    with pytest.raises(ValueError, match="the norm must have the layer's outputs, or one: 3 and 2"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(1, 3).eval(), nn.BatchNorm1d(2).eval())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_dirac(dims: int) -> None:
    conv = getattr(F, f"conv{dims}d")
    x = wg.randn(1, 6, *(4,) * dims)
    w = nn.init.dirac_(wg.empty(4, 6, *(3,) * dims))
    assert wg.equal(conv(x, w, padding=1), x[:, :4])
    w = nn.init.dirac_(wg.empty(6, 2, *(3,) * dims), groups=3)
    assert wg.equal(conv(x, w, padding=1, groups=3), x)
    with pytest.raises(ValueError, match="the first divisible by groups"):
        nn.init.dirac_(wg.empty(4, 2, 3), groups=3)


@pytest.mark.slow
def test_sparse() -> None:
    w = nn.init.sparse_(wg.empty(7, 400), 0.3, std=2.0, generator=wg.Generator().manual_seed(1))
    assert set((w == 0).sum(0).tolist()) == {3}
    assert w[w != 0].std().item() == pytest.approx(2.0, rel=0.1)
    assert min((w == 0).sum(1).tolist()) > 100  # the zeros are everywhere
    again = nn.init.sparse_(wg.empty(7, 400), 0.3, std=2.0, generator=wg.Generator().manual_seed(1))
    assert wg.equal(w, again)
    with pytest.raises(ValueError, match="only tensors with 2 dimensions"):
        nn.init.sparse_(wg.empty(2), 0.3)

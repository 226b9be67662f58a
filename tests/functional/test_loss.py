"""Losses: values by brute force, reductions, every mode of differentiation, errors."""

import itertools
import math

import numpy as np
import pytest

import wengert as wg
from wengert.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError
from wengert.functional import loss as F
from wengert.testing.checks import Point, check_first_order, check_second_order, check_vmap

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 3, 4))
P, Q = RNG.uniform(0.1, 0.9, (2, 3, 4))
SIGNS = np.where(RNG.uniform(size=(3, 4)) < 0.5, -1.0, 1.0)
LABELS = np.array([2, 0, 3])
WEIGHT = np.array([0.5, 1.0, 2.0, 0.25])
inf, nan = math.inf, math.nan


def log_softmax(x, axis=-1):
    z = x - x.max(axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


def huber(d, delta):
    return np.where(np.abs(d) < delta, d * d / 2, delta * (np.abs(d) - delta / 2))


def norm(d, p=2.0):
    return (np.abs(d) ** p).sum(-1) ** (1 / p)


def cosine(x, y):
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def softplus(x):
    return np.log1p(np.exp(x))


def multi_margin():
    z = np.maximum(0, 1 - X[np.arange(3), LABELS][:, None] + X)
    z[np.arange(3), LABELS] = 0
    return z.sum(1) / 4


# loss -> (arguments, further arguments, losses without reduction)
CASES = {
    "mse_loss": ((X, Y), {}, (X - Y) ** 2),
    "l1_loss": ((X, Y), {}, np.abs(X - Y)),
    "smooth_l1_loss": ((X, Y), {"beta": 0.5}, huber(X - Y, 0.5) / 0.5),
    "huber_loss": ((X, Y), {"delta": 0.5}, huber(X - Y, 0.5)),
    "poisson_nll_loss": ((X, P), {}, np.exp(X) - P * X),
    "gaussian_nll_loss": ((X, Y, P), {}, 0.5 * (np.log(P) + (X - Y) ** 2 / P)),
    "kl_div": ((X, P), {}, P * (np.log(P) - X)),
    "binary_cross_entropy": ((P, Q), {}, -(Q * np.log(P) + (1 - Q) * np.log(1 - P))),
    "binary_cross_entropy_with_logits": ((X, Q), {}, Q * softplus(-X) + (1 - Q) * softplus(X)),
    "soft_margin_loss": ((X, SIGNS), {}, softplus(-SIGNS * X)),
    "multilabel_soft_margin_loss": ((X, Q), {}, (Q * softplus(-X) + (1 - Q) * softplus(X)).mean(1)),
    "hinge_embedding_loss": ((X, SIGNS), {"margin": 0.5}, np.where(SIGNS == 1, X, np.maximum(0, 0.5 - X))),
    "margin_ranking_loss": ((X, Y, SIGNS), {"margin": 0.3}, np.maximum(0, -SIGNS * (X - Y) + 0.3)),
    "cosine_embedding_loss": (
        (X, Y, SIGNS[:, 0]), {"margin": 0.1},
        np.where(SIGNS[:, 0] == 1, 1 - cosine(X, Y), np.maximum(0, cosine(X, Y) - 0.1)),
    ),
    "triplet_margin_loss": (
        (X, Y, P), {"margin": 2.0}, np.maximum(0, norm(X - Y + 1e-6) - norm(X - P + 1e-6) + 2.0),
    ),
    "nll_loss": ((X, LABELS), {}, -X[np.arange(3), LABELS]),
    "cross_entropy": ((X, LABELS), {}, -log_softmax(X)[np.arange(3), LABELS]),
    "multi_margin_loss": ((X, LABELS), {}, multi_margin()),
}  # fmt: skip
FLOATING = {name: [i for i, a in enumerate(args) if a.dtype.kind == "f"] for name, (args, _, _) in CASES.items()}


@pytest.mark.quick(reduction=["mean"])
@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_values(name, reduction):
    args, kwargs, want = CASES[name]
    got = getattr(F, name)(*map(wg.tensor, args), **kwargs, reduction=reduction)
    want = {"none": want, "mean": want.mean(), "sum": want.sum()}[reduction]
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_every_mode(name):
    args, kwargs, _ = CASES[name]
    moving = [i for i in FLOATING[name] if args[i] is not SIGNS and args[i].ndim > 1]

    def f(*xs):
        given = [wg.tensor(a) for a in args]
        for i, x in zip(moving, xs, strict=True):
            given[i] = x
        return [getattr(F, name)(*given, **kwargs, reduction="sum")]

    p = Point(f, [args[i] for i in moving])
    check_first_order(p)
    check_second_order(p)
    check_vmap(f, [args[i] for i in moving])


@pytest.mark.filterwarnings("ignore:reduction", "ignore:Using a target size")
@pytest.mark.parametrize("name", CASES)
def test_empty_batch(name):
    """The mean of nothing is NaN, the sum 0."""
    args, kwargs, _ = CASES[name]
    empty = [wg.tensor(a[:0]) for a in args]
    assert math.isnan(getattr(F, name)(*empty, **kwargs).item())
    assert getattr(F, name)(*empty, **kwargs, reduction="sum").item() == 0
    assert getattr(F, name)(*empty, **kwargs, reduction="none").shape[0] == 0


@pytest.mark.quick(dtype=["bfloat16"])
@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_dtypes(name, dtype):
    args, kwargs, _ = CASES[name]
    given = [wg.tensor(a, dtype=getattr(wg, dtype)) if a.dtype.kind == "f" else wg.tensor(a) for a in args]
    got = getattr(F, name)(*given, **kwargs)
    want = getattr(F, name)(*[g.double() if wg.is_floating_point(g) else g for g in given], **kwargs)
    assert got.dtype == getattr(wg, dtype)
    assert got.item() == pytest.approx(want.item(), rel={"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}[dtype])


def test_weights():
    x, y, w = wg.tensor(X), wg.tensor(Y), wg.tensor(P)
    assert F.mse_loss(x, y, weight=w).item() == pytest.approx(((X - Y) ** 2 * P).sum() / P.sum())
    assert F.l1_loss(x, y, weight=w).item() == pytest.approx((np.abs(X - Y) * P).sum() / P.sum())
    picked = -X[np.arange(3), LABELS] * WEIGHT[LABELS]
    n, c = wg.tensor(LABELS), wg.tensor(WEIGHT)
    np.testing.assert_allclose(F.nll_loss(x, n, c, reduction="none").numpy(), picked)
    assert F.nll_loss(x, n, c).item() == pytest.approx(picked.sum() / WEIGHT[LABELS].sum())
    pos = F.binary_cross_entropy_with_logits(x, wg.tensor(Q), pos_weight=c, reduction="none")
    np.testing.assert_allclose(pos.numpy(), WEIGHT * Q * softplus(-X) + (1 - Q) * softplus(X), rtol=1e-12)


def test_ignored_targets():
    x, n = wg.tensor(X, requires_grad=True), wg.tensor([2, -100, 3])
    loss = F.cross_entropy(x, n)
    want = -log_softmax(X)[[0, 2], [2, 3]].mean()
    assert loss.item() == pytest.approx(want)
    loss.backward()
    assert not x.grad[1].numpy().any()
    assert F.cross_entropy(x, n, reduction="none").tolist()[1] == 0
    assert math.isnan(F.cross_entropy(x, wg.tensor([-100] * 3)).item())
    masked = wg.tensor([[0.0, -inf], [0.0, -inf]])
    assert F.nll_loss(masked, wg.tensor([0, 1]), ignore_index=1).item() == 0


def test_more_dimensions():
    x = RNG.standard_normal((2, 4, 3, 2))
    n = RNG.integers(0, 4, (2, 3, 2))
    want = [-log_softmax(x, 1)[i, n[i, j, k], j, k] for i, j, k in itertools.product(range(2), range(3), range(2))]
    got = F.cross_entropy(wg.tensor(x), wg.tensor(n), reduction="none")
    np.testing.assert_allclose(got.numpy().reshape(-1), want)
    assert F.cross_entropy(wg.tensor(x[0, :, 0, 0]), wg.tensor(n[0, 0, 0])).item() == pytest.approx(want[0])


def test_probabilities_and_smoothing():
    t = Q / Q.sum(1, keepdims=True)
    lp = log_softmax(X)
    assert F.cross_entropy(wg.tensor(X), wg.tensor(t)).item() == pytest.approx(-(t * lp).sum(1).mean())
    one_hot = np.eye(4)[LABELS]
    mixed = 0.8 * one_hot + 0.2 / 4
    for weight in (None, wg.tensor(WEIGHT)):
        a = F.cross_entropy(wg.tensor(X), wg.tensor(LABELS), weight, reduction="sum", label_smoothing=0.2)
        b = F.cross_entropy(wg.tensor(X), wg.tensor(one_hot), weight, reduction="sum", label_smoothing=0.2)
        c = F.cross_entropy(wg.tensor(X), wg.tensor(mixed), weight, reduction="sum")
        assert a.item() == pytest.approx(c.item())
        assert b.item() == pytest.approx(c.item())
    f = lambda x, t: [F.cross_entropy(x, t, label_smoothing=0.1)]
    check_second_order(Point(f, [X, t]))


def test_no_overflow_or_cancellation():
    x = wg.tensor([-1000.0, -50.0, 50.0, 1000.0], dtype=wg.float64)
    got = F.binary_cross_entropy_with_logits(x, wg.tensor([0.0, 0.0, 1.0, 1.0]), reduction="none").numpy()
    np.testing.assert_allclose(got, [0, math.exp(-50), math.exp(-50), 0])
    got = F.binary_cross_entropy_with_logits(x, wg.tensor([1.0, 1.0, 0.0, 0.0]), reduction="none").numpy()
    np.testing.assert_allclose(got, [1000, 50, 50, 1000])
    logits = wg.tensor([[1000.0, 0.0]], requires_grad=True)
    loss = F.cross_entropy(logits, wg.tensor([1]))
    loss.backward()
    assert loss.item() == 1000
    assert logits.grad.tolist() == [[1.0, -1.0]]
    assert F.binary_cross_entropy(wg.tensor([0.0, 1.0]), wg.tensor([1.0, 0.0])).item() == 100
    assert F.soft_margin_loss(wg.tensor([-1000.0]), wg.tensor([1.0])).item() == 1000


def test_variances():
    x, y = wg.tensor(X), wg.tensor(Y)
    full = F.gaussian_nll_loss(x, y, 0.5, full=True)
    want = (0.5 * (math.log(0.5) + (X - Y) ** 2 / 0.5)).mean() + 0.5 * math.log(2 * math.pi)
    assert full.item() == pytest.approx(want)
    v = wg.tensor(1e-9, dtype=wg.float64).expand(3, 1).clone().requires_grad_()
    F.gaussian_nll_loss(x, y, v, eps=0.1, reduction="sum").backward()  # the gradient ignores the clamp
    np.testing.assert_allclose(v.grad[:, 0].numpy(), (0.5 / 0.1 - 0.5 * (X - Y) ** 2 / 0.01).sum(1))


def test_multilabel_margin():
    x = RNG.standard_normal((2, 4))
    target = np.array([[3, 0, -1, 1], [2, -1, 0, 3]])
    want = []
    for row, t in zip(x, target, strict=True):
        hits = list(itertools.takewhile(lambda j: j >= 0, t))
        others = [i for i in range(4) if i not in hits]
        want.append(sum(max(0, 1 - row[j] + row[i]) for j in hits for i in others) / 4)
    got = F.multilabel_margin_loss(wg.tensor(x), wg.tensor(target), reduction="none")
    np.testing.assert_allclose(got.numpy(), want)
    check_second_order(Point(lambda x: [F.multilabel_margin_loss(x, wg.tensor(target))], [x]))


@pytest.mark.parametrize("p", [0.0, 1.0, 1.5, 2.0, inf])
def test_distances(p):
    d = X[:, None] - X[None]
    size = {0.0: lambda d: (d != 0).sum(-1), inf: lambda d: np.abs(d).max(-1)}.get(p, lambda d: norm(d, p))
    i, j = np.triu_indices(3, 1)
    np.testing.assert_allclose(F.pdist(wg.tensor(X), p).numpy(), size(d[i, j]), rtol=1e-12)
    got = F.pairwise_distance(wg.tensor(X), wg.tensor(Y[0]), p, eps=0.0)
    np.testing.assert_allclose(got.numpy(), size(X - Y[0]), rtol=1e-12)
    if p:
        check_second_order(Point(lambda x, y: [F.pairwise_distance(x, y, p)], [X, Y]))


def test_distances_at_zero():
    x = wg.zeros(3, 2, requires_grad=True)
    F.pdist(x).sum().backward()
    assert not x.grad.numpy().any()
    assert F.pdist(wg.zeros(1, 2)).shape == (0,)
    assert F.pdist(wg.zeros(3, 0), inf).tolist() == [0, 0, 0]
    assert F.cosine_similarity(wg.zeros(1, 2), wg.ones(1, 2)).item() == 0
    np.testing.assert_allclose(F.cosine_similarity(wg.tensor(X), wg.tensor(Y)).numpy(), cosine(X, Y))
    check_second_order(Point(lambda x, y: [F.cosine_similarity(x, y)], [X, Y]))


def test_triplets_with_swap_and_distance():
    a, p, n = map(wg.tensor, (X, Y, P))
    near, far, swap = norm(X - Y), norm(X - P), norm(Y - P)
    got = F.triplet_margin_with_distance_loss(
        a, p, n, distance_function=lambda u, v: ((u - v) ** 2).sum(-1).sqrt(), swap=True, margin=3.0, reduction="none"
    )
    np.testing.assert_allclose(got.numpy(), np.maximum(0, near - np.minimum(far, swap) + 3.0))


# -- connectionist temporal classification ---------------------------------------------------------------


def ctc_by_enumeration(lp, target, blank=0):
    """Sum over all paths that read as the target."""
    steps, count = lp.shape
    total = 0.0
    for path in itertools.product(range(count), repeat=steps):
        kept = [c for i, c in enumerate(path) if i == 0 or path[i - 1] != c]
        if [c for c in kept if c != blank] == list(target):
            total += math.exp(sum(lp[t, c] for t, c in enumerate(path)))
    return -math.log(total) if total else inf


CTC = [([1, 2], 4), ([1, 1], 4), ([2], 3), ([], 3), ([1, 1], 2), ([1, 2, 1], 5), ([2], 0), ([], 0)]


def test_ctc():
    lp = log_softmax(RNG.standard_normal((5, len(CTC), 3)))
    want = [ctc_by_enumeration(lp[:n, i], t) for i, (t, n) in enumerate(CTC)]
    padded = np.array([t + [0] * (3 - len(t)) for t, _ in CTC])
    inputs, lengths = [n for _, n in CTC], [len(t) for t, _ in CTC]
    for targets in (padded, np.array([c for t, _ in CTC for c in t])):
        got = F.ctc_loss(wg.tensor(lp), wg.tensor(targets), inputs, lengths, reduction="none")
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    got = F.ctc_loss(wg.tensor(lp), wg.tensor(padded), inputs, lengths, zero_infinity=True)
    finite = np.where(np.isinf(want), 0, want)
    assert got.item() == pytest.approx((finite / np.maximum(lengths, 1)).mean())
    one = F.ctc_loss(wg.tensor(lp[:4, 0]), wg.tensor([1, 2]), wg.tensor(4), wg.tensor(2), reduction="none")
    assert one.shape == ()
    assert one.item() == pytest.approx(want[0])


def test_ctc_derivatives():
    x = RNG.standard_normal((4, 2, 3))
    targets = wg.tensor([[1, 2], [1, 1]])
    p = Point(lambda x: [F.ctc_loss(x, targets, (4, 4), (2, 1), reduction="sum")], [x])
    check_first_order(p)
    check_second_order(p)
    x = wg.tensor(x, requires_grad=True)
    F.ctc_loss(x, targets, (2, 2), (2, 2), reduction="sum", zero_infinity=True).backward()
    assert wg.isfinite(x.grad).all()


ZERO, ROW = wg.zeros(2, 3), wg.zeros(2, dtype=wg.int64)
ERRORS = [
    (lambda: F.cross_entropy(ZERO, wg.tensor([0, 3])), IndexRangeError, "target out of range: class 3 of 3 classes"),
    (lambda: F.nll_loss(ZERO, wg.tensor([-1, 0])), IndexRangeError, "target out of range: class -1 of 3 classes"),
    (lambda: F.nll_loss(ZERO, wg.tensor([0])), ShapeError, r"nll_loss: .* f32\[2,3\], i64\[1\].*must be \[2\]"),
    (lambda: F.cross_entropy(ZERO, wg.zeros(2)), DTypeError, "class targets must be integers"),
    (lambda: F.cross_entropy(ZERO, wg.zeros(2, 3, dtype=wg.int64)), DTypeError, "must hold probabilities"),
    (lambda: F.cross_entropy(ZERO, ROW, wg.ones(2)), ShapeError, "needs one weight for each of the 3 classes"),
    (lambda: F.cross_entropy(ZERO, ROW, label_smoothing=2.0), ArgumentError, "label_smoothing must be between 0 and 1"),
    (lambda: F.cross_entropy(wg.zeros(2, 3, dtype=wg.int64), ROW), DTypeError, "needs a floating tensor"),
    (lambda: F.mse_loss(ZERO, ZERO, reduction="avg"), ArgumentError, "mse_loss: not a reduction: 'avg'"),
    (lambda: F.binary_cross_entropy(ZERO, wg.zeros(2)), ShapeError, "input and target must have the same size"),
    (lambda: F.binary_cross_entropy(ZERO + 2, ZERO), ArgumentError, "inputs must lie between 0 and 1"),
    (lambda: F.huber_loss(ZERO, ZERO, delta=0.0), ArgumentError, "huber_loss: delta must be positive"),
    (lambda: F.smooth_l1_loss(ZERO, ZERO, beta=-1.0), ArgumentError, "beta must not be negative"),
    (lambda: F.gaussian_nll_loss(ZERO, ZERO, wg.zeros(4)), ShapeError, "var is of incorrect size"),
    (lambda: F.gaussian_nll_loss(ZERO, ZERO, -ZERO - 1), ArgumentError, "var has negative entries"),
    (lambda: F.triplet_margin_loss(ZERO, ZERO, ZERO, margin=0.0), ArgumentError, "margin must be greater than 0"),
    (lambda: F.triplet_margin_loss(ZERO, ZERO, ZERO[0]), ShapeError, "must have as many dimensions"),
    (lambda: F.margin_ranking_loss(ZERO, ZERO, ROW), ShapeError, "must have as many dimensions"),
    (lambda: F.cosine_embedding_loss(ZERO, ZERO, ZERO), ShapeError, "the target must have 0 or 1 dimensions"),
    (lambda: F.multi_margin_loss(ZERO, ROW, p=3), ArgumentError, "p must be 1 or 2"),
    (lambda: F.multilabel_margin_loss(ZERO, ROW), ShapeError, "must have the same size"),
    (lambda: F.pdist(wg.zeros(3)), ShapeError, "pdist: needs a matrix"),
    (lambda: F.ctc_loss(wg.zeros(3, 1, 2), wg.ones(1, 2), (3,), (2,)), DTypeError, "targets must be integers"),
    (lambda: F.ctc_loss(wg.zeros(3, 1, 2), ROW[None], (4,), (2,)), ShapeError, "input_lengths out of range"),
    (lambda: F.ctc_loss(wg.zeros(3, 1, 2), ROW[None], (3,), (2,), blank=2), ArgumentError, "blank is no class"),
]


@pytest.mark.parametrize(("f", "error", "text"), ERRORS)
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f()


def test_warnings():
    with pytest.warns(UserWarning, match="different to the input size"):
        F.mse_loss(ZERO, wg.zeros(3))
    with pytest.warns(UserWarning, match="'batchmean' divides only by the batch size"):
        F.kl_div(ZERO, ZERO + 0.5)
    with pytest.warns(UserWarning, match="please use reduction='sum'"):
        assert F.mse_loss(ZERO + 1, ZERO, size_average=False).item() == 6
    assert F.kl_div(ZERO, ZERO + 1, reduction="batchmean").item() == 0


def test_cross_entropy_over_no_classes():
    """The mean over nothing is NaN and the sum 0, as in PyTorch; an index into no classes is out of range."""
    nothing = wg.zeros(2, 0, requires_grad=True)
    assert F.cross_entropy(nothing, wg.zeros(2, 0)).isnan().item()
    out = F.cross_entropy(nothing, wg.zeros(2, 0), reduction="sum")
    out.backward()
    assert out.item() == 0.0
    assert nothing.grad.shape == (2, 0)
    with pytest.raises(IndexRangeError, match="out of range"):
        F.cross_entropy(nothing, wg.tensor([0, 0]))
